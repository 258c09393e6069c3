"""The same seed gives the same bytes: for every number of threads, sharding and process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from catalogue import CATALOGUE
from sklearn.base import clone

import fastboltz as fb
from fastboltz import RBM, rng
from fastboltz.likelihood import ais
from fastboltz_ext import packed

#: Sizes that no block of rows or columns divides, and that are enough for several.
N_ROWS, N_VISIBLE, N_HIDDEN = 301, 147, 83
KINDS = ["bernoulli", "spin", "gaussian", "relu"]


def _rows(visible, dtype, seed=0, binary=True):
    random = np.random.default_rng(seed)
    if visible in ("gaussian", "relu"):
        x = random.standard_normal((N_ROWS, N_VISIBLE))
        return (np.abs(x) if visible == "relu" else x).astype(dtype)
    x = (random.random((N_ROWS, N_VISIBLE)) < 0.3).astype(dtype)
    if not binary:
        x[:, ::7] *= 0.5
    return 2 * x - 1 if visible == "spin" else x


def _answers(n_threads, visible, hidden, dtype, **options):
    """Bytes of everything that a training and its model give."""
    binary = options.pop("binary", True)
    X = _rows(visible, dtype, binary=binary)
    settings = {"n_iter": 2, "batch_size": 64, "learning_rate": 0.01, "random_state": 1} | options
    rbm = RBM(N_HIDDEN, visible=visible, hidden=hidden, n_threads=n_threads, **settings).fit(X)
    rbm.partial_fit(X)
    found = {f"params {key}": x for key, x in rbm.params_.items()}
    if hasattr(rbm, "chains_"):
        found["chains"] = rbm.chains_
    found["transform"] = H = rbm.transform(X)
    found["inverse"] = rbm.inverse_transform(H)
    found["free energy"] = rbm.free_energy(X)
    found["sample"] = rbm.sample(150, 3, random_state=2)
    known = np.where(np.arange(N_VISIBLE) < 40, X[0], np.nan)
    found["given"] = rbm.sample(150, 3, given=known, random_state=2)
    found["gibbs"] = rbm.gibbs(X, 2, random_state=3)
    if visible in ("bernoulli", "spin"):
        found["pseudo"] = rbm.pseudo_likelihood(X[:20])
    z = rbm.log_partition("ais", betas=12, n_chains=100)
    found["log Z"] = np.array([z.value, z.low, z.high, z.effective_chains])
    return {name: np.ascontiguousarray(x).tobytes() for name, x in found.items()}


SETTINGS = [
    ("bernoulli", "bernoulli", np.float32, {}),
    ("bernoulli", "bernoulli", np.float32, {"method": "cd", "momentum": 0.5}),
    ("bernoulli", "bernoulli", np.float32, {"binary": False, "optimizer": "adam"}),
    ("bernoulli", "bernoulli", np.float64, {}),
    ("spin", "spin", np.float32, {"centered": False}),
    ("spin", "gaussian", np.float32, {}),
    ("gaussian", "bernoulli", np.float32, {}),
    ("gaussian", "spin", np.float64, {"method": "cd", "l1": 0.01}),
    ("gaussian", "relu", np.float32, {}),
    ("relu", "bernoulli", np.float32, {"optimizer": "adam", "learning_rate": 1e-3}),
]


@pytest.mark.filterwarnings("ignore:annealed importance sampling has degenerated")
@pytest.mark.parametrize(("visible", "hidden", "dtype", "options"), SETTINGS)
def test_the_number_of_threads_does_not_show(visible, hidden, dtype, options):
    """Deliberate bug that this catches: a sum that every thread adds its part to, in any order."""
    expected = _answers(1, visible, hidden, dtype, **options)
    for n_threads in (2, 4):
        found = _answers(n_threads, visible, hidden, dtype, **options)
        differing = [name for name in expected if found[name] != expected[name]]
        assert not differing, f"{n_threads} threads: {differing}"


@pytest.mark.filterwarnings("ignore:annealed importance sampling has degenerated")
@pytest.mark.parametrize("entry", CATALOGUE, ids=str)
def test_the_number_of_threads_does_not_show_in_any_energy(entry):
    """Sampling, annealing and one gradient of each energy of the catalogue."""
    params = entry.parameters()
    found = []
    for n_threads in (1, 2, 4):
        sampler = fb.Gibbs(entry.energy, n_threads=n_threads)
        state = sampler.init(params, n_chains=150, random_state=0)
        state = sampler.step(params, state, 3)
        z = ais(entry.energy, params, betas=4, n_chains=100, random_state=0, n_threads=n_threads)
        of = next(iter(entry.groups))
        one = fb.objectives.LogLikelihood(of=of, negative="cd")
        objective = fb.objectives.Objective(entry.energy, one, n_threads=n_threads)
        gradient = objective.gradient(params, {of: state.values[of]}, random_state=0)
        arrays = [*state.values.values(), *gradient.values(), np.array([z.value, z.low, z.high])]
        found.append([x.tobytes() for x in arrays])
    assert found[0] == found[1] == found[2]


def _big_models():
    """Name -> (a model of every class with binary units, what it is fitted to).

    So large that products are made on bits, and by several threads.
    """
    random = np.random.default_rng(0)
    n, m = 330, 211
    X = (random.random((n, m)) < np.linspace(0.05, 0.9, m)).astype(np.float32)
    y = np.where(X.sum(axis=1) > np.median(X.sum(axis=1)), "many", "few")
    one_hot = np.stack([X, 1 - X], axis=2).reshape(n, -1)
    narrow = X[:, :61].copy()
    edges = [(i, (i + 1) % m) for i in range(m)] + [(i, i + 1, i + 7) for i in range(0, m - 7, 3)]
    how = {"n_iter": 1, "batch_size": n, "random_state": 0, "learning_rate": 0.05}
    pre = how | {"n_pretraining": 1}
    v, h = fb.Bernoulli(m), fb.Bernoulli(120)
    of_three = fb.BoltzmannMachine(
        {"v": v, "h": h, "k": fb.Spin(70)}, ["v_i h_j", "v_i k_a", "h_j k_a"], visible="v", **how
    )
    lateral = fb.BoltzmannMachine({"v": v, "h": h}, ["v_i h_j", "v_i v_k"], visible="v", **how)
    return {
        "RBM": (fb.RBM(150, **how), X),
        "RBM, Adam": (fb.RBM(150, method="cd", hidden="spin", optimizer="adam", **how), X),
        "RBM, spins": (fb.RBM(150, visible="spin", hidden="spin", momentum=0.5, **how), 2 * X - 1),
        "RBM, one-hot": (fb.RBM(100, visible=fb.Categorical(m, 2), **how), one_hot),
        "RBM, one-hot hidden": (fb.RBM(50, hidden=fb.Categorical(50, 3), **how), X),
        "RBM, tempered": (fb.RBM(100, method="tempered", **how), X),
        "BernoulliRBM": (fb.BernoulliRBM(150, n_iter=1, batch_size=n, random_state=0), X),
        "RBMClassifier": (fb.RBMClassifier(150, **how), X, y),
        "RBMClassifier, generative": (fb.RBMClassifier(150, objective="generative", **how), X, y),
        "ClassGatedRBMClassifier": (fb.ClassGatedRBMClassifier(150, **how), X, y),
        "ClassGated, factored": (fb.ClassGatedRBMClassifier(150, n_factors=40, **how), X, y),
        "TwoGroupRBMClassifier": (fb.TwoGroupRBMClassifier(150, n_nuisance=60, **how), X, y),
        "GatedRBM": (fb.GatedRBM(40, **how), narrow, narrow[:, ::-1].copy()),
        "GatedRBM, joint": (fb.GatedRBM(40, mode="joint", **how), narrow, narrow[:, ::-1].copy()),
        "GatedRBM, factored": (fb.GatedRBM(80, n_factors=50, **how), X, X[:, ::-1].copy()),
        "PointwiseGatedRBM": (fb.PointwiseGatedRBM((60, 50), **pre), X),
        "PointwiseGatedRBM, Gibbs": (fb.PointwiseGatedRBM((60, 50), inference="gibbs", **pre), X),
        "PointwiseGatedRBMClassifier": (fb.PointwiseGatedRBMClassifier((60, 50), **pre), X, y),
        "HigherOrderBoltzmannMachine": (
            fb.HigherOrderBoltzmannMachine(n_hidden=30, edges=edges, **how),
            X,
        ),
        "BoltzmannMachine": (of_three, X),
        "BoltzmannMachine, lateral": (lateral, X[:60]),
        "DeepBoltzmannMachine": (fb.DeepBoltzmannMachine((150, 70), **pre), X),
        "DeepBeliefNetwork": (fb.DeepBeliefNetwork([150, 70], **how), X),
        "SigmoidBeliefNetwork": (fb.SigmoidBeliefNetwork((150, 70), **how), X),
        "RNNRBM": (
            fb.RNNRBM(150, n_gibbs=2, n_iter=1, random_state=0),
            [X[:130], X[130:201], X[201:]],
        ),
    }


BIG_MODELS = _big_models()


@pytest.mark.parametrize("name", BIG_MODELS)
def test_neither_kernels_nor_threads_show_in_any_model_of_binary_units(name):
    """What is learnt, answered and sampled. Catches sums in floating point, and random numbers by
    the order in which something is done."""
    model, *data = BIG_MODELS[name]
    before, found = packed.kernel(), {}
    try:
        for kernel, n_threads in ((packed.kernels()[0], 1), (before, 2), ("portable", 4)):
            packed.kernel(kernel)
            made = clone(model)
            if "n_threads" in made.get_params():
                made.set_params(n_threads=n_threads)
            made.fit(*data)
            layers = made.rbms_ if hasattr(made, "rbms_") else [made]
            arrays = [x for one in layers for x in one.params_.values()]
            if not isinstance(model, fb.GatedRBM):
                arrays += list(made.transform(data[0]))
            if isinstance(model, fb.RNNRBM):
                sampled = made.sample(20, random_state=1)
            elif isinstance(model, fb.GatedRBM):
                sampled = made.sample(data[0], n_steps=2, random_state=1)
            else:
                sampled = made.sample(
                    200, random_state=1, **({} if "Sigm" in name else {"n_steps": 2})
                )
            arrays += sampled if isinstance(sampled, tuple) else [sampled]
            found[kernel, n_threads] = [np.ascontiguousarray(x).tobytes() for x in arrays]
    finally:
        packed.kernel(before)
    first, *others = found.values()
    assert len(first) > 2
    assert all(other == first for other in others)


HASH = """
import hashlib, sys
import numpy as np
from fastboltz import RBM
X = (np.random.default_rng(0).random((300, 90)) < 0.3).astype(np.float32)
digest = hashlib.sha256()
for options in ({}, {"visible": "gaussian"}, {"hidden": "relu"}):
    rbm = RBM(50, n_iter=2, learning_rate=0.01, random_state=0, **options).fit(X)
    for x in (*rbm.params_.values(), rbm.sample(20), rbm.transform(X)):
        digest.update(np.ascontiguousarray(x).tobytes())
print(digest.hexdigest())
"""


def test_another_process_with_other_numbers_of_threads_gives_the_same_bytes(tmp_path):
    """OMP_NUM_THREADS and the order of hashes are what differs between two machines alike."""
    found = set()
    for number, threads in enumerate(("1", "2")):
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONHASHSEED": str(number),
            "PYTHONPATH": os.pathsep.join([str(Path(fb.__file__).parents[1]), *sys.path]),
        }
        done = subprocess.run(
            [sys.executable, "-c", HASH],
            cwd=tmp_path,  # not the checkout, whose extensions need not be built
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().strip()) == hashlib.sha256().digest_size * 2


OTHER_BLAS = """
import hashlib
import numpy as np
import fastboltz as fb
random = np.random.default_rng(0)
digest = hashlib.sha256()
for units in ("bernoulli", "spin"):
    X = (random.random((300, 64)) < 0.3).astype(np.float32)
    X = 2 * X - 1 if units == "spin" else X
    for how in ({"batch_size": 10}, {"method": "cd", "momentum": 0.5, "batch_size": 100}):
        rbm = fb.RBM(100, visible=units, hidden=units, n_iter=3, random_state=0, **how).fit(X)
        log_z = rbm.log_partition("ais", betas=20, n_chains=50)
        for x in (*rbm.params_.values(), rbm.sample(200, 20), log_z.value):
            digest.update(np.ascontiguousarray(x).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.filterwarnings("ignore:annealed importance sampling has degenerated")
def test_an_rbm_of_binary_units_has_the_same_bytes_with_the_blas_of_another_processor(tmp_path):
    """OpenBLAS and NumPy are told that the processor is one of 2008. Catches sums that BLAS makes,
    and exponentials of NumPy's, on the way to what is learnt, sampled or annealed."""
    other = {"OPENBLAS_CORETYPE": "Nehalem", "FASTBOLTZ_KERNEL": "portable"}
    other |= {"NPY_DISABLE_CPU_FEATURES": "X86_V3 AVX2 FMA3"}  # names of new and old NumPy
    found = set()
    for settings in ({}, other):
        environment = os.environ | settings
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(fb.__file__).parents[1]), *sys.path])
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", OTHER_BLAS],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        found.add(done.stdout)
    assert len(found) == 1


# ------------------------------------------------------------------------------------------ seeds


def _small(**options):
    settings = {"n_iter": 2, "batch_size": 20, "random_state": 0} | options
    return RBM(5, **settings)


def _bits(dtype=np.float64):
    return (np.random.default_rng(0).random((60, 8)) < 0.4).astype(dtype)


def _bytes(rbm):
    return {key: x.tobytes() for key, x in rbm.params_.items()}


@pytest.mark.parametrize("method", ["pcd", "cd"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_seed_is_one_training_and_another_is_another(method, dtype):
    X = _bits(dtype)
    first = _bytes(_small(method=method).fit(X))
    assert _bytes(_small(method=method).fit(X)) == first
    assert _bytes(_small(method=method, random_state=1).fit(X)) != first


def test_without_a_seed_every_training_is_another():
    X = _bits()
    assert _bytes(_small(random_state=None).fit(X)) != _bytes(_small(random_state=None).fit(X))


def test_a_random_state_is_advanced_so_that_two_fits_differ_and_a_copy_repeats_them():
    X = _bits()
    state, copy = np.random.RandomState(3), np.random.RandomState(3)
    model, other = _small(random_state=state), _small(random_state=copy)
    first, second = _bytes(model.fit(X)), _bytes(model.fit(X))
    assert first != second
    assert [_bytes(other.fit(X)), _bytes(other.fit(X))] == [first, second]


def test_calls_of_sample_differ_and_the_sequence_of_calls_repeats():
    X = _bits()
    a, b = _small().fit(X), _small().fit(X)
    first, second = a.sample(30), a.sample(30)
    assert (first != second).any()
    np.testing.assert_array_equal(b.sample(30), first)
    np.testing.assert_array_equal(b.sample(30), second)
    np.testing.assert_array_equal(a.fit(X).sample(30), first)


@pytest.mark.parametrize(
    "make", [lambda: 4, lambda: np.random.RandomState(4), np.random.default_rng]
)
def test_a_seed_of_the_call_decides_alone(make):
    rbm = _small().fit(_bits())
    seed = make() if make is not np.random.default_rng else make(4)
    again = make() if make is not np.random.default_rng else make(4)
    first = rbm.sample(30, random_state=seed)
    rbm.sample(3)
    np.testing.assert_array_equal(rbm.sample(30, random_state=again), first)
    if not isinstance(seed, int):
        assert (rbm.sample(30, random_state=seed) != first).any(), "a generator is advanced"


def test_questions_do_not_change_what_is_drawn_next():
    """Catches likelihoods that take from the same sequence as samples."""
    X = _bits()
    asked, quiet = _small().fit(X), _small().fit(X)
    asked.score(X)
    asked.log_partition("ais", betas=5, n_chains=50)
    asked.pseudo_likelihood(X)
    asked.sample(3, random_state=0)
    np.testing.assert_array_equal(asked.sample(30), quiet.sample(30))
    assert _bytes(asked.partial_fit(X)) == _bytes(quiet.partial_fit(X))


def test_callbacks_that_sample_do_not_change_the_training():
    X = _bits(np.float32)

    def nosy(progress):
        progress.model.sample(3)
        progress.model.score(X)

    assert _bytes(_small(callbacks=[nosy]).fit(X)) == _bytes(_small().fit(X))


# ------------------------------------------------------------------------------------- sharding


@pytest.mark.parametrize("entry", CATALOGUE, ids=str)
def test_shards_of_chains_draw_what_one_sampler_of_all_rows_draws(entry):
    """Row r of a shard that begins at row r0 has the random numbers of row r0 + r.

    Real values may differ in the last digits, since matrix products of other heights round
    otherwise. Deliberate bug that this catches: rows counted from 0 in every shard.
    """
    params = entry.parameters()
    sampler = fb.Gibbs(entry.energy, n_threads=1)
    n = 100

    def draw(first, last):
        address = rng.Address.of(11, "chains", row=first)
        state = sampler.start(params, last - first, address, {})
        return sampler.step(params, state, 4).values

    whole = draw(0, n)
    parts = [draw(0, 37), draw(37, 64), draw(64, n)]
    for g, (kind, _) in entry.groups.items():
        joined = np.concatenate([part[g] for part in parts])
        if kind in ("gaussian", "relu"):
            np.testing.assert_allclose(joined, whole[g], rtol=1e-9, atol=1e-11, err_msg=g)
        else:
            np.testing.assert_array_equal(joined, whole[g], err_msg=g)
    assert any((draw(1, n)[g][: n - 1] != whole[g][: n - 1]).any() for g in entry.groups)


def test_sweeps_in_one_call_or_in_many_are_the_same():
    for entry in CATALOGUE[:25]:
        params = entry.parameters()
        sampler = fb.Gibbs(entry.energy)
        start = sampler.init(params, n_chains=20, random_state=0)
        whole = sampler.step(params, start, 5)
        parts = start
        for n in (2, 0, 3):
            parts = sampler.step(params, parts, n)
        for g, x in whole.values.items():
            np.testing.assert_array_equal(parts.values[g], x, err_msg=f"{entry}: {g}")
        assert parts.address == whole.address
        assert parts.step == 5


# -------------------------------------------------------------------------------- random addresses


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_table_of_uniforms_is_the_same_from_any_row_and_by_any_threads(dtype):
    address = rng.Address.of(5, "user", group=2, step=7)
    whole = rng.uniform(address, (50, 3, 5), dtype)
    later = rng.Address.of(5, "user", group=2, step=7, row=20)
    np.testing.assert_array_equal(rng.uniform(later, (30, 3, 5), dtype, n_threads=3), whole[20:])
    assert whole.min() > 0
    assert whole.max() < 1


def test_every_part_of_an_address_counts():
    base = rng.Address.of(5, "chains", group=1, step=2, row=3)
    others = [
        rng.Address.of(6, "chains", group=1, step=2, row=3),
        rng.Address.of(5, "sample", group=1, step=2, row=3),
        base.at(group=2),
        base.at(step=3),
        rng.Address.of(5, "chains", group=1, step=2, row=100),
    ]
    table = rng.uniform(base, (10, 4))
    for other in others:
        assert not np.isin(rng.uniform(other, (10, 4)), table).any()
    assert base.at(group=2).at(group=1) == base == base.at(step=9).at(step=2)


def test_normal_numbers_have_the_moments_of_normal_numbers():
    """100,000 of them; 4.5 standard errors of each of the first four moments."""
    x = rng.normal(rng.Address.of(0, "user"), (1000, 100)).ravel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - moment) < 4.5 * np.sqrt(variance / len(x))


def test_permutations_are_permutations_and_depend_on_the_whole_address():
    address = rng.Address.of(1, "shuffle", step=4)
    order = rng.permutation(address, 100)
    np.testing.assert_array_equal(np.sort(order), np.arange(100))
    np.testing.assert_array_equal(rng.permutation(address, 100), order)
    for other in (address.at(step=5), rng.Address.of(2, "shuffle", step=4), address.at(group=1)):
        assert (rng.permutation(other, 100) != order).any()


def test_seeds_of_every_kind_fill_64_bits():
    for make in (lambda k: k, np.random.RandomState, np.random.default_rng, np.int64):
        seeds = [rng.seed_from(make(k)) for k in range(50)]
        assert len(set(seeds)) == 50
        assert all(isinstance(s, int) and 0 <= s < 2**64 for s in seeds)
        assert max(seeds) > 2**60
    assert rng.seed_from(None) != rng.seed_from(None)
    assert rng.seed_from(3) == rng.seed_from(np.int32(3))
