"""What is measured: each `Case` names its contenders, which do the same work, and its goals.

To add a case, append to `CASES`; `run.py` and `bench_rbm.py` find it there. A contender is a
function of the number of threads that sets the work up and returns something to measure
(`contenders.Contender`). Peers that need an environment of their own are given to ``run.py --peer``
and name these cases in their own script.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import reinforce
from contenders import Contender, Fresh, Local

OURS = "fastboltz"
SKLEARN = "scikit-learn"
NUMPY_BLAS = "NumPy's BLAS"
SCIPY_BLAS = "SciPy's BLAS"
ONE_THREAD = "one thread"
RBMS = "rbms"
NUMPY_PRODUCTS, NUMPY_EINSUM = "NumPy, matrix products", "NumPy, einsum"
NUMPY = "NumPy"
DENSE = "the full array"
TORCH_RNN_RBM = "torch_rnn_rbm"
#: In a goal: the faster of the two BLAS.
FLOOR = "floor"
BLAS = (NUMPY_BLAS, SCIPY_BLAS)

V, H = 784, 500
N_CHAINS = 1000
#: For samplers that are slow on dense models.
FEW_CHAINS = 64
#: Gibbs sweeps, and inverse temperatures of an annealing, that a call makes.
SWEEPS, N_BETAS = 5, 51
#: Visible units, hidden units, rows of a minibatch.
DIGITS = (64, 100, 10)
N_DIGITS = 1797
RATE = 0.05
#: Visible, hidden and recurrent units of a model of sequences; steps and number of sequences, steps
#: of a minibatch, and sweeps of an update.
SEQUENCE_UNITS = (88, 150, 100)
N_STEPS, N_SEQUENCES, CHUNK, SEQUENCE_SWEEPS = 400, 20, 100, (15, 5)
#: Share of ones in sequences; that of the music.
SEQUENCE_DENSITY = 0.045
#: Share of ones in the data; that of binarised MNIST.
DENSITY = 0.13
#: Rows of an epoch, and minibatches at least.
EPOCH_ROWS, MIN_BATCHES = 4096, 8


@dataclass(frozen=True)
class Goal:
    """A figure to reach.

    Parameters
    ----------
    against : str
        `FLOOR`: our time over the floor's is at most ``limit``. A peer: its time over ours is at
        least ``limit``. Empty: our figure, in the unit of the case, is at most ``limit``.
    limit : float
    """

    against: str
    limit: float


@dataclass(frozen=True)
class Case:
    """One kind of work, done by several contenders.

    Parameters
    ----------
    name : str
        As given to ``--cases``.
    title : str
        As it stands in the table.
    unit : str
        What the figures are in.
    scale : float
        Figures are what a call measures times this, so that they are for one minibatch, chain, ...
    contenders : dict
        Name -> function of the number of threads. `OURS` is one of them.
    goals : sequence of Goal
    threads : sequence of int, optional
        The only numbers of threads that make sense; all that are asked for by default.
    repeats, calls : int, optional
        Instead of what the runner would choose.
    fresh : bool
        Whether contenders are processes of their own, which pytest-benchmark cannot time.
    remark : callable, optional
        Returns a sentence to go with the row.
    """

    name: str
    title: str
    unit: str
    scale: float
    contenders: Mapping[str, Callable[[int], Contender]]
    goals: Sequence[Goal] = ()
    threads: Sequence[int] | None = None
    repeats: int | None = None
    calls: int | None = None
    fresh: bool = False
    remark: Callable[[], str] | None = None


# -- data ------------------------------------------------------------------------------------------


@cache
def binary_rows(n: int) -> np.ndarray:
    """Rows of independent bits."""
    rng = np.random.default_rng(0)
    return (rng.random((n, V), dtype=np.float32) < DENSITY).astype(np.float32)


@cache
def real_rows(n: int) -> np.ndarray:
    """Rows of uniform numbers."""
    return np.random.default_rng(0).random((n, V), dtype=np.float32)


@cache
def digits(dtype: str, binary: bool = False) -> np.ndarray:
    """scikit-learn's digits, scaled to [0, 1] or cut at a half."""
    from sklearn.datasets import load_digits

    x = load_digits().data / 16
    return (x > 0.5 if binary else x).astype(dtype)


def n_batches(batch_size: int) -> int:
    """Minibatches of an epoch."""
    return max(MIN_BATCHES, EPOCH_ROWS // batch_size)


def minibatches(x: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Consecutive slices."""
    return [x[i : i + batch_size] for i in range(0, len(x), batch_size)]


# -- this package ----------------------------------------------------------------------------------


@cache
def energy() -> Any:
    """Energy of a binary RBM, as the estimator declares it."""
    from fastboltz import RBM

    return RBM(H, n_iter=0).fit(binary_rows(2)).energy_


def training(
    rows: Callable[[int], np.ndarray],
    batch_size: int,
    method: str,
    centered: bool,
    n_threads: int,
) -> Local:
    """An epoch of the trainer that every ``fit`` goes through, as `RBM.fit` sets it up."""
    from fastboltz.objectives import LogLikelihood, Objective
    from fastboltz.optimizers import SGD, Constant
    from fastboltz.training import Rows, Trainer

    rbm = energy()
    params = rbm.init(0)
    likelihood = LogLikelihood(of="v", negative=method, n_chains=batch_size)
    trainer = Trainer(
        rbm,
        Objective(rbm, likelihood, n_threads),
        SGD(),
        Constant(RATE),
        centered=centered,
        n_threads=n_threads,
    )
    data = Rows(rows(n_batches(batch_size) * batch_size), (V,), np.float32)
    epochs = trainer.epochs(
        params,
        {"v": data},
        trainer.init(params, seed=0),
        batch_size=batch_size,
        n_epochs=10**9,
        seed=0,
    )
    return Local(lambda: next(epochs))


@cache
def sequences() -> np.ndarray:
    """Sequences of independent bits, (n_steps, n_sequences, n_visible)."""
    shape = (N_STEPS, N_SEQUENCES, SEQUENCE_UNITS[0])
    rng = np.random.default_rng(0)
    return (rng.random(shape, dtype=np.float32) < SEQUENCE_DENSITY).astype(np.float32)


def sequence_training(n_gibbs: int, n_threads: int) -> Local:
    """An epoch of the trainer that every ``fit`` goes through, as `RNNRBM.fit` sets it up."""
    from fastboltz import RNNRBM
    from fastboltz.optimizers import Constant
    from fastboltz.training import Rows

    x = np.ascontiguousarray(sequences().swapaxes(0, 1))
    n_visible, n_hidden, n_recurrent = SEQUENCE_UNITS
    rnn = RNNRBM(
        n_hidden,
        n_recurrent,
        n_gibbs=n_gibbs,
        learning_rate=Constant(1e-4),
        centered=False,
        n_iter=0,
        n_threads=n_threads,
        random_state=0,
    ).fit(list(x))
    trainer = rnn._trainer(rnn.energy_)
    epochs = trainer.sequence_epochs(
        rnn.params_,
        Rows(x.reshape(-1, n_visible), (n_visible,), np.float32),
        np.full(N_SEQUENCES, N_STEPS),
        rnn._training,
        n_streams=N_SEQUENCES,
        chunk=CHUNK,
        n_epochs=10**9,
        seed=0,
        decay=False,
    )
    return Local(lambda: next(epochs))


def digits_model(n_iter: int, n_threads: int) -> Any:
    """The drop-in with the settings of the digits cases."""
    from fastboltz import BernoulliRBM

    _, n_components, batch_size = DIGITS
    model = BernoulliRBM(
        n_components, learning_rate=RATE, batch_size=batch_size, n_iter=n_iter, random_state=0
    )
    model.n_threads = n_threads
    return model


def digits_epoch(dtype: str, binary: bool, n_threads: int) -> Local:
    """A pass over the digits by ``partial_fit`` of the drop-in."""
    x = digits(dtype, binary)
    model = digits_model(1, n_threads).fit(x)
    return Local(lambda: model.partial_fit(x))


def digits_fit(dtype: str, n_iter: int, n_threads: int) -> Local:
    """A whole ``fit`` of the drop-in, per epoch."""
    x = digits(dtype)
    return Local(lambda: digits_model(n_iter, n_threads).fit(x))


def gibbs(n_steps: int, n_threads: int, precision: str = "full", n_chains: int = N_CHAINS) -> Local:
    """Sweeps of many chains."""
    import fastboltz as fb

    rbm = energy()
    params = rbm.init(0, 0.05)
    sampler = fb.Gibbs(rbm, n_threads=n_threads, precision=precision)
    state = sampler.init(params, n_chains=n_chains, random_state=0)

    def call() -> None:
        nonlocal state
        state = sampler.step(params, state, n_steps)

    return Local(call)


def annealing(n_betas: int, n_threads: int) -> Local:
    """Annealed importance sampling."""
    from fastboltz.likelihood import ais

    rbm = energy()
    params = rbm.init(0, 0.05)
    options = {"betas": n_betas, "n_chains": N_CHAINS, "random_state": 0, "n_threads": n_threads}

    def call() -> None:
        with warnings.catch_warnings():
            # So few temperatures would not do for an estimate.
            warnings.simplefilter("ignore", RuntimeWarning)
            ais(rbm, params, **options)

    return Local(call)


def transform(n_rows: int, n_threads: int) -> Local:
    """Means of the hidden units."""
    from fastboltz import RBM

    x = binary_rows(n_rows)
    model = RBM(H, n_iter=0, n_threads=n_threads, random_state=0).fit(x)
    return Local(lambda: model.transform(x))


#: Units of a gated machine for pairs of 13 x 13 images, and of a class-gated one for digits.
GATED, CLASS_GATED = ("x_i y_j h_k", (169, 169, 100)), ("v_i y_ak h_j", (V, 10, 200))


def third_order(term: str, sizes: tuple[int, int, int], n_rows: int, n_threads: int) -> Local:
    """Field of the last group of a term of three binary groups, or one of them one-hot."""
    import fastboltz as fb

    names = [slot.split("_")[0] for slot in term.split()]
    kinds = [fb.Categorical(1, n) if g == "y" and n == 10 else fb.Bernoulli(n)
             for g, n in zip(names, sizes, strict=True)]  # fmt: skip
    energy = fb.Energy(dict(zip(names, kinds, strict=True)), terms=[term])
    params = energy.init(random_state=0)
    random = np.random.default_rng(0)
    state = {}
    for g, unit in energy.groups.items():
        table = np.asarray(unit.states(), dtype=np.float32)
        state[g] = table[random.integers(0, len(table), (n_rows, *unit.unit_shape))]
    return Local(lambda: energy.field(params, state, names[-1], n_threads=n_threads, check=False))


#: Side of the images of a gated machine, its hidden units, its factors, and rows of a minibatch.
GATED_SIDES, GATED_HIDDEN, N_FACTORS, GATED_ROWS = (8, 13, 18), 100, 200, 128


def gated_update(side: int, rank: int | None, n_threads: int) -> Local:
    """Gradient of a minibatch of pairs, CD-1 with the first images given: `GatedRBM`'s."""
    import fastboltz as fb
    from fastboltz.objectives import LogLikelihood, Objective
    from fastboltz.threads import computing

    n = side * side
    factors = f" | {rank}" if rank else ""
    groups = {"x": fb.Bernoulli(n), "y": fb.Bernoulli(n), "h": fb.Bernoulli(GATED_HIDDEN)}
    energy = fb.Energy(groups, terms=[f"x_i y_j h_k{factors}"])
    params = energy.init(random_state=0)
    objective = Objective(energy, LogLikelihood("y", "x", negative="cd"), n_threads)
    random, state = np.random.default_rng(0), objective.init(0)
    batch = {g: (random.random((GATED_ROWS, n)) < DENSITY).astype(np.float32) for g in "xy"}
    out = energy.zeros(params)

    def call() -> None:
        with computing():
            objective.step(params, batch, state, out=out)

    return Local(call)


def gated_products(side: int) -> str:
    """How many products a row's field takes, factored and dense."""
    n = side * side
    few, many = N_FACTORS * (2 * n + GATED_HIDDEN), n * n * GATED_HIDDEN
    return f"F (I + J + K) is {few:,}; I J K is {many:,}, {many / few:.1f} times as many"


#: Two components of a point-wise gated machine.
SWITCHED = (250, 250)


@cache
def switched() -> Any:
    """A point-wise gated machine with parameters to begin with."""
    from fastboltz import PointwiseGatedRBM

    model = PointwiseGatedRBM(SWITCHED, n_iter=0, n_pretraining=0, random_state=0)
    return model.fit(binary_rows(N_CHAINS))


def switches(method: str, n_threads: int) -> Local:
    """Sweeps of Gibbs, or steps of mean field, over switches and hidden units given the rows."""
    from fastboltz.models.point_wise_gated import _Inference
    from fastboltz.rng import Address
    from fastboltz.threads import computing

    model, x = switched(), binary_rows(N_CHAINS)
    inference = _Inference(model.energy_, method, SWEEPS, n_threads)

    def call() -> None:
        with computing():
            inference(model.params_, {"v": x}, Address(0))

    return Local(call)


def numpy_switches(method: str, how: str, n_threads: int) -> Local:
    """The same in NumPy, by matrix products of the masked rows or by einsum of all there is."""
    model, x = switched(), binary_rows(N_CHAINS)
    params, components = model.params_, range(len(SWITCHED))
    w = np.stack(model.components_)
    b = np.stack([params[f"h{r}"] for r in components])
    c = np.stack([params[f"v_i z_i{r}"] for r in components], axis=1)
    random = np.random.default_rng(0)

    def products_of_rows(z: np.ndarray) -> np.ndarray:
        return np.stack([(x * z[..., r]) @ w[r].T for r in components], axis=1)

    def products_of_hidden(h: np.ndarray) -> np.ndarray:
        return x[..., None] * (np.stack([h[:, r] @ w[r] for r in components], axis=-1) + c)

    def sums_over_rows(z: np.ndarray) -> np.ndarray:
        return np.einsum("ni,nir,rki->nrk", x, z, w, optimize=True)

    def sums_over_hidden(h: np.ndarray) -> np.ndarray:
        return x[..., None] * (np.einsum("nrk,rki->nir", h, w, optimize=True) + c)

    up, down = {
        "products": (products_of_rows, products_of_hidden),
        "einsum": (sums_over_rows, sums_over_hidden),
    }[how]

    def call() -> None:
        z = np.full((*x.shape, len(SWITCHED)), 0.5, dtype=np.float32)
        for _ in range(SWEEPS):
            h = 1 / (1 + np.exp(-(up(z) + b)))
            if method == "gibbs":
                h = (random.random(h.shape, dtype=np.float32) < h).astype(np.float32)
            a = down(h) + params["z"]
            z = np.exp(a - a.max(axis=-1, keepdims=True))
            z /= z.sum(axis=-1, keepdims=True)
            if method == "gibbs":
                first = random.random(x.shape, dtype=np.float32) < z[..., 0]
                z = np.stack([first, ~first], axis=-1).astype(np.float32)

    return Local(call)  # the runner holds BLAS at the number of threads


# -- scikit-learn ----------------------------------------------------------------------------------


def sklearn_model(x: np.ndarray, n_components: int, batch_size: int, n_iter: int = 0) -> Any:
    """Its RBM, by default with parameters to begin with."""
    from sklearn.neural_network import BernoulliRBM

    model = BernoulliRBM(
        n_components, learning_rate=RATE, batch_size=batch_size, n_iter=n_iter, random_state=0
    )
    return model.fit(x)


def sklearn_training(rows: Callable[[int], np.ndarray], batch_size: int, n_threads: int) -> Local:
    """What its ``fit`` does with the minibatches of an epoch (PCD-1)."""
    x = rows(n_batches(batch_size) * batch_size)
    return _sklearn_epoch(x, H, batch_size)


def _sklearn_epoch(x: np.ndarray, n_components: int, batch_size: int) -> Local:
    model = sklearn_model(x, n_components, batch_size)
    rng = np.random.RandomState(0)
    batches = minibatches(x, batch_size)

    def call() -> None:
        for batch in batches:
            model._fit(batch, rng)

    return Local(call)


def sklearn_digits_epoch(dtype: str, binary: bool, n_threads: int) -> Local:
    """What its ``fit`` does in a pass over the digits."""
    _, n_components, batch_size = DIGITS
    return _sklearn_epoch(digits(dtype, binary), n_components, batch_size)


def sklearn_digits_fit(dtype: str, n_iter: int, n_threads: int) -> Local:
    """Its whole ``fit``, per epoch."""
    _, n_components, batch_size = DIGITS
    x = digits(dtype)
    return Local(lambda: sklearn_model(x, n_components, batch_size, n_iter))


def sklearn_gibbs(n_steps: int, n_threads: int) -> Local:
    """Its ``gibbs``."""
    v: Any = binary_rows(N_CHAINS)
    model = sklearn_model(v, H, 10)

    def call() -> None:
        nonlocal v
        for _ in range(n_steps):
            v = model.gibbs(v)

    return Local(call)


def sklearn_transform(n_rows: int, n_threads: int) -> Local:
    """Its ``transform``."""
    x = binary_rows(n_rows)
    model = sklearn_model(x, H, 10)
    return Local(lambda: model.transform(x))


# -- BLAS alone ------------------------------------------------------------------------------------


def products(
    library: str,
    shapes: Iterable[tuple[str, int, int, int]],
    dtype: str,
    times: int,
    n_threads: int,
) -> Local:
    """Matrix products and nothing else, into arrays that are there already.

    Parameters
    ----------
    library : str
        One of `BLAS`.
    shapes : tuples (kind, m, k, n)
        Products (m, k) by (k, n); kind "nn", or "nt" where the second factor, "tn" where the
        first one, is stored as its transpose.
    times : int
        How often a call makes all of them.
    """
    from scipy.linalg.blas import get_blas_funcs

    rng = np.random.default_rng(0)
    jobs = []
    for kind, m, k, n in shapes:
        a = rng.random((k, m) if kind == "tn" else (m, k)).astype(dtype)
        b = rng.random((n, k) if kind == "nt" else (k, n)).astype(dtype)
        jobs.append((kind, a, b, np.empty((m, n), dtype)))
    if library == NUMPY_BLAS:
        turned = [
            (a.T if kind == "tn" else a, b.T if kind == "nt" else b, c) for kind, a, b, c in jobs
        ]

        def call() -> None:
            for _ in range(times):
                for a, b, c in turned:
                    np.matmul(a, b, out=c)

    else:
        gemm = get_blas_funcs("gemm", dtype=np.dtype(dtype))

        def call() -> None:
            # In Fortran's order: the transpose of the product of the transposes.
            for _ in range(times):
                for kind, a, b, c in jobs:
                    gemm(1.0, b.T, a.T, 0.0, c.T, kind == "nt", kind == "tn", overwrite_c=True)

    return Local(call)


def floors(
    shapes: Sequence[tuple[str, int, int, int]], dtype: str = "float32", times: int = 1
) -> dict[str, Callable[[int], Contender]]:
    """The same products by each BLAS."""
    return {name: partial(products, name, shapes, dtype, times) for name in BLAS}


def step_products(batch_size: int, v: int = V, h: int = H) -> list[tuple[str, int, int, int]]:
    """The five products of a minibatch of contrastive divergence, persistent or not."""
    up, down = ("nn", batch_size, v, h), ("nt", batch_size, h, v)
    statistics = ("tn", v, batch_size, h)
    return [up, down, up, statistics, statistics]


def sweep_products(n: int) -> list[tuple[str, int, int, int]]:
    """The two products of a Gibbs sweep of an RBM."""
    return [("nn", n, V, H), ("nt", n, H, V)]


# -- fresh processes -------------------------------------------------------------------------------

_TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
_FIRST_FIT = """
from sklearn.datasets import load_digits
from {} import {} as Model
Model({}).fit(load_digits().data / 16)
"""
#: 10 epochs by the drop-in; `RBM` with everything at its default makes 50.
_DROP_IN, _DEFAULTS = ("BernoulliRBM", "n_components=100, random_state=0"), ("RBM", "")
_CHAINS = """
import ctypes, gc
import numpy as np
from fastboltz import RBM

def fit(n_chains):
    X = np.random.default_rng(0).integers(0, 2, (128, {v})).astype(np.float32)
    return RBM({h}, batch_size=128, n_chains=n_chains, random_state=0).partial_fit(X)

def memory():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    # (resource's ru_maxrss begins with what the parent had when it forked.)
    with open("/proc/self/status") as status:
        kilobytes = {{line.split(":")[0]: line.split()[1] for line in status if "kB" in line}}
    return {{"held": int(kilobytes["VmRSS"]), "peak": int(kilobytes["VmHWM"])}}

fit(128)
before = memory()
rbm = fit({n})
after = memory()
print(1024 * (after["{what}"] - before["{what}"]))
"""
#: Modules that cost time and have no place in the main path. (scikit-learn itself imports pandas
#: where it is installed.)
_UNWANTED = ("numba", "llvmlite", "matplotlib", "torch", "dask", "mpi4py")


def _modules(code: str) -> str:
    """How many modules some code loads, and which of the unwanted ones."""
    code += "\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True
    )
    names = done.stdout.split()
    there = [name for name in _UNWANTED if name in names]
    if there:
        return f"{len(names)} modules; loads {', '.join(there)}, which it should not"
    return f"{len(names)} modules; none of {', '.join(_UNWANTED)}"


def first_fit(module: str, model: tuple[str, str], threads: int) -> Fresh:
    """From the start of the interpreter to the end of a ``fit``."""
    return Fresh(_FIRST_FIT.format(module, *model), threads)


def chain_memory(what: str, n: int, threads: int) -> Fresh:
    """Bytes by which a process grows ("held") or has grown at most ("peak") with ``n`` chains."""
    return Fresh(_CHAINS.format(v=V, h=H, n=n, what=what), threads, prints=True)


# -- the list --------------------------------------------------------------------------------------


def _minibatch_case(
    name: str,
    title: str,
    batch_size: int,
    goals: Sequence[Goal],
    method: str = "pcd",
    rows: Callable[[int], np.ndarray] = binary_rows,
    centered: bool = False,
) -> Case:
    return Case(
        name=f"{name}-{batch_size}",
        title=f"{title}, {V} x {H}, B {batch_size}",
        unit="us a minibatch",
        scale=1e6 / n_batches(batch_size),
        contenders={
            OURS: partial(training, rows, batch_size, method, centered),
            SKLEARN: partial(sklearn_training, rows, batch_size),
            **floors(step_products(batch_size), times=n_batches(batch_size)),
        },
        goals=goals,
    )


def _digits_case(
    name: str,
    title: str,
    dtype: str,
    ours: Callable[[int], Contender],
    sklearn: Callable[[int], Contender],
    goals: Sequence[Goal],
    epochs: int = 1,
) -> Case:
    v, h, batch_size = DIGITS
    per_epoch = -(-N_DIGITS // batch_size)
    return Case(
        name=f"{name}-{dtype}",
        title=f"{title}, {v} x {h}, B {batch_size}, {dtype}",
        unit="ms an epoch",
        scale=1e3 / epochs,
        contenders={
            OURS: ours,
            SKLEARN: sklearn,
            **floors(step_products(batch_size, v, h), dtype, times=epochs * per_epoch),
        },
        goals=goals,
    )


_FIVE_TIMES = [Goal(SKLEARN, 5), Goal(RBMS, 5)]
_SIX_TIMES = [Goal(SKLEARN, 6)]
_FIT_EPOCHS = 10
_TRANSFORM_ROWS = 10_000
_CHAIN_COUNT = 100_000

CASES: list[Case] = [
    _minibatch_case("pcd1", "PCD-1 minibatch", 128, [Goal(FLOOR, 0.36), *_FIVE_TIMES]),
    _minibatch_case("pcd1", "PCD-1 minibatch", 1024, [Goal(FLOOR, 0.30), *_FIVE_TIMES]),
    _minibatch_case("cd1", "CD-1 minibatch", 128, [Goal(FLOOR, 0.36), *_FIVE_TIMES], "cd"),
    _minibatch_case("cd1", "CD-1 minibatch", 1024, [Goal(FLOOR, 0.30), *_FIVE_TIMES], "cd"),
    _minibatch_case("centred", "PCD-1 minibatch, centred", 128, [], centered=True),
    _minibatch_case("centred", "PCD-1 minibatch, centred", 1024, [], centered=True),
    _minibatch_case(
        "real", "PCD-1 minibatch, data in [0, 1]", 128, [Goal(FLOOR, 0.70)], rows=real_rows
    ),
    _minibatch_case(
        "real", "PCD-1 minibatch, data in [0, 1]", 1024, [Goal(FLOOR, 0.70)], rows=real_rows
    ),
    Case(
        name="threads-1024",
        title=f"PCD-1 minibatch, {V} x {H}, B 1024: two threads over one",
        unit="us a minibatch",
        scale=1e6 / n_batches(1024),
        contenders={
            OURS: partial(training, binary_rows, 1024, "pcd", False),
            ONE_THREAD: lambda _: training(binary_rows, 1024, "pcd", False, 1),
        },
        goals=[Goal(ONE_THREAD, 1.9)],
        threads=(2,),
    ),
    _digits_case(
        "digits-epoch",
        "digits, one pass by partial_fit",
        "float32",
        partial(digits_epoch, "float32", False),
        partial(sklearn_digits_epoch, "float32", False),
        _SIX_TIMES,
    ),
    _digits_case(
        "digits-epoch-binary",
        "binary digits, one pass by partial_fit",
        "float32",
        partial(digits_epoch, "float32", True),
        partial(sklearn_digits_epoch, "float32", True),
        _SIX_TIMES,
    ),
    *(
        _digits_case(
            "digits-fit",
            f"digits, fit of {_FIT_EPOCHS} epochs by the drop-in",
            dtype,
            partial(digits_fit, dtype, _FIT_EPOCHS),
            partial(sklearn_digits_fit, dtype, _FIT_EPOCHS),
            _SIX_TIMES,
            _FIT_EPOCHS,
        )
        for dtype in ("float32", "float64")
    ),
    Case(
        name="gibbs",
        title=f"Gibbs sweep, {V} x {H}, {N_CHAINS} chains",
        unit="us a chain",
        scale=1e6 / (N_CHAINS * SWEEPS),
        contenders={
            OURS: partial(gibbs, SWEEPS),
            SKLEARN: partial(sklearn_gibbs, SWEEPS),
            **floors(sweep_products(N_CHAINS), times=SWEEPS),
        },
        goals=[Goal(SKLEARN, 9), Goal(RBMS, 9)],
    ),
    Case(
        name="gibbs-low",
        title=f"Gibbs sweep, sums of 16 bits, {V} x {H}, {N_CHAINS} chains",
        unit="us a chain",
        scale=1e6 / (N_CHAINS * SWEEPS),
        contenders={
            OURS: partial(gibbs, SWEEPS, precision="low"),
            SKLEARN: partial(sklearn_gibbs, SWEEPS),
            **floors(sweep_products(N_CHAINS), times=SWEEPS),
        },
        goals=[Goal(SKLEARN, 14), Goal(RBMS, 14)],
    ),
    Case(
        name="gibbs-few",
        title=f"Gibbs sweep, {V} x {H}, {FEW_CHAINS} chains",
        unit="us a chain",
        scale=1e6 / (FEW_CHAINS * SWEEPS),
        contenders={
            OURS: partial(gibbs, SWEEPS, n_chains=FEW_CHAINS),
            **floors(sweep_products(FEW_CHAINS), times=SWEEPS),
        },
    ),
    Case(
        name="ais",
        title=f"annealed importance sampling, {V} x {H}, {N_CHAINS} chains",
        unit="us a chain and temperature",
        scale=1e6 / (N_CHAINS * (N_BETAS - 1)),
        contenders={
            OURS: partial(annealing, N_BETAS),
            **floors(sweep_products(N_CHAINS), times=N_BETAS - 1),
        },
        goals=[Goal(RBMS, 10)],
    ),
    *(
        Case(
            name=f"{name}-{n}",
            title=f"third-order field, {what}, {' x '.join(map(str, sizes))}, B {n}",
            unit="us a row",
            scale=1e6 / n,
            contenders={
                OURS: partial(third_order, term, sizes, n),
                **floors([("nn", n, sizes[0] * sizes[1], sizes[2])]),
            },
            goals=[Goal(FLOOR, 0.35)],
        )
        for name, what, (term, sizes) in (
            ("gated", "three binary groups", GATED),
            ("class-gated", "one of them a label", CLASS_GATED),
        )
        for n in (128, 1024)
    ),
    *(
        Case(
            name=f"gated-factored-{side}",
            title=f"gradient of a gated minibatch, {N_FACTORS} factors, {side**2} x {side**2} x "
            f"{GATED_HIDDEN}, B {GATED_ROWS}",
            unit="us a row",
            scale=1e6 / GATED_ROWS,
            contenders={
                OURS: partial(gated_update, side, N_FACTORS),
                DENSE: partial(gated_update, side, None),
            },
            remark=partial(gated_products, side),
        )
        for side in GATED_SIDES
    ),
    *(
        Case(
            name=f"reinforce-{b}",
            title=f"REINFORCE, baseline {b.replace('_', ' ')}, {reinforce.N_UNITS} Bernoulli, "
            f"{reinforce.N_SAMPLES:,} samples",
            unit="ms",
            scale=1e3,
            contenders=reinforce.CONTENDERS[b],
            goals=[Goal(NUMPY, 15)],
        )
        for b in reinforce.BASELINES
    ),
    Case(
        name="reinforce-memory",
        title="REINFORCE: growth of memory from 10,000 to 1,000,000 samples",
        unit="MB",
        scale=1e-6,
        contenders={OURS: partial(reinforce.memory, 10_000, 1_000_000)},
        goals=[Goal("", 1)],
        repeats=3,
        calls=1,
        fresh=True,
    ),
    *(
        Case(
            name=f"switches-{method}",
            title=f"switches given the rows, {V} x {' + '.join(map(str, SWITCHED))}, "
            f"{N_CHAINS} rows, {what}",
            unit="us a row",
            scale=1e6 / (N_CHAINS * SWEEPS),
            contenders={
                OURS: partial(switches, method),
                NUMPY_PRODUCTS: partial(numpy_switches, method, "products"),
                NUMPY_EINSUM: partial(numpy_switches, method, "einsum"),
            },
            goals=[Goal(NUMPY_EINSUM, 5)],
        )
        for method, what in (("gibbs", "a Gibbs sweep"), ("mean-field", "a mean-field step"))
    ),
    Case(
        name="transform",
        title=f"transform of {_TRANSFORM_ROWS} rows, {V} x {H}",
        unit="us a row",
        scale=1e6 / _TRANSFORM_ROWS,
        contenders={
            OURS: partial(transform, _TRANSFORM_ROWS),
            SKLEARN: partial(sklearn_transform, _TRANSFORM_ROWS),
            **floors([("nn", _TRANSFORM_ROWS, V, H)]),
        },
    ),
    *(
        Case(
            name=name,
            title=f"`{ours}` in a fresh process",
            unit="s",
            scale=1,
            contenders={
                OURS: partial(Fresh, _TIMED.format(ours), prints=True),
                SKLEARN: partial(Fresh, _TIMED.format(theirs), prints=True),
            },
            threads=(1,),
            repeats=7,
            calls=1,
            fresh=True,
            remark=partial(_modules, ours),
        )
        for name, ours, theirs in (
            ("import", "import fastboltz", "import sklearn.neural_network"),
            (
                "import-rbm",
                "from fastboltz import RBM",
                "from sklearn.neural_network import BernoulliRBM",
            ),
        )
    ),
    Case(
        name="first-fit",
        title="first fit in a fresh process: digits, drop-in, 100 units, 10 epochs",
        unit="s wall",
        scale=1,
        contenders={
            OURS: partial(first_fit, "fastboltz", _DROP_IN),
            SKLEARN: partial(first_fit, "sklearn.neural_network", _DROP_IN),
        },
        goals=[Goal("", 1.5)],
        repeats=7,
        calls=1,
        fresh=True,
        remark=partial(_modules, _FIRST_FIT.format("fastboltz", *_DROP_IN)),
    ),
    Case(
        name="first-fit-defaults",
        title="first fit in a fresh process: digits, RBM() as it is (256 units, 50 epochs)",
        unit="s wall",
        scale=1,
        contenders={OURS: partial(first_fit, "fastboltz", _DEFAULTS)},
        goals=[Goal("", 1.5)],
        repeats=7,
        calls=1,
        fresh=True,
    ),
    *(
        Case(
            name=f"rnn-rbm-cd{k}",
            title=f"RNN-RBM, CD-{k} minibatch, {' x '.join(map(str, SEQUENCE_UNITS))}, "
            f"{N_SEQUENCES} sequences of {CHUNK} steps",
            unit="ms a minibatch",
            scale=1e3 * CHUNK / N_STEPS,
            contenders={OURS: partial(sequence_training, k)},
            goals=[Goal(TORCH_RNN_RBM, 5)],
        )
        for k in SEQUENCE_SWEEPS
    ),
    *(
        Case(
            name=f"memory-{what}",
            title=f"memory of {_CHAIN_COUNT:,} persistent chains, {V} x {H}: {meaning}",
            unit="MB",
            scale=1e-6,
            contenders={OURS: partial(chain_memory, what, _CHAIN_COUNT)},
            goals=goals,
            threads=(1,),
            repeats=3,
            calls=1,
            fresh=True,
        )
        for what, meaning, goals in (
            ("held", "held between updates", [Goal("", 20)]),
            ("peak", "most during an update", []),
        )
    ),
]
