"""Watching a training, and ending it at its best.

A callback is called after each epoch with a `fastboltz.training.Progress`; what it records stands
in ``history_``, and `fastboltz.plots.HistoryDisplay` draws it.

One that remembers something from epoch to epoch says so by two methods, and then a training that is
killed and goes on from its `fastboltz.Checkpoint` has the callback go on as well::

    class Patience:
        def __init__(self):
            self.count = 0

        def __call__(self, progress):
            self.count += 1
            return self.count == 10

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

A state is a dict of numbers, text, arrays, and lists and dicts of them: files hold it, and no code.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict
from typing import Any

import numpy as np

from .carried import GROUPS, CarriedLogPartition
from .likelihood import LogPartition
from .terms import Params
from .training import Progress, TrainingState
from .validation import NotEnumerableError, check_count, check_flag, check_number, one_of

#: Metrics in the order in which they are measured: the cheap ones first.
METRICS = (
    "weight_norm",
    "free_energy_gap",
    "reconstruction_error",
    "pseudo_likelihood",
    "log_likelihood",
)
#: Those of which less is better.
_LESS = ("weight_norm", "free_energy_gap", "reconstruction_error")
#: Parts of the share of seconds that measures have; one where not named.
_PARTS = {"pseudo_likelihood": 2, "log_likelihood": 4}
#: Rows whose free energy is timed; rows, steps and temperatures by which a log-likelihood is.
_GUESSED, _FEW, _FEW_STEPS, _FEW_BETAS = 200, 16, 2, 3
#: Annealing of a log-likelihood while a training goes on.
_ANNEALING = {"betas": 200, "n_chains": 100}
#: An average of parameters at update t weighs those of update s by s to this power.
_POWER = 3
#: Updates from one look at the parameters to the next, until so many times that many were made;
#: twice as many until twice then, and so on.
_LOOK, _LOOKS = 16, 100
#: Largest and smallest scatter of the log weights that a step along the training is planned for.
_COARSE, _FINE = 0.5, 0.05
#: Parameters further from their average, by the scatter of the log weights, have no estimate.
_MAX_JUMP = 1.0
#: Products with the weights that an update makes for each row of its minibatch, Gibbs sweeps aside
#: (the positive phase and two of a gradient), and that a step makes for each chain: three, and the
#: parameters in between, which count for the more the fewer the chains.
_PASSES_OF_UPDATE, _PASSES_OF_STEP = 3, 4


class Watch:
    """What callbacks that follow one training have in common: they know a new one when they see it.

    A state that was loaded belongs to the training whose epochs go on after it.
    """

    def __init__(self) -> None:
        self._state: Any = None
        self._epoch = 0
        self._is_loaded = False

    def _begin(self) -> None:
        """Forget what another training left."""
        raise NotImplementedError

    def _see(self, features: Callable[[Any], Any]) -> None:
        """Put features of the rows in their place."""
        raise NotImplementedError

    def of_features(self, features: Callable[[Any], Any]) -> Any:
        """A callback like this one for a model of features: an RBM on the hidden units of others.

        Parameters
        ----------
        features : callable
            From rows to their features.
        """
        own = copy(self)
        Watch.__init__(own)
        own._see(features)
        own._begin()
        return own

    def _is_mine(self, state: TrainingState, first: int) -> bool:
        """Whether a training is the one that is followed; a loaded one is at ``first`` or later."""
        if self._is_loaded and state.epoch >= first:
            self._state, self._is_loaded = state, False
        return state is self._state

    def _follow(self, state: TrainingState) -> None:
        """Follow a training to its present epoch."""
        if not self._is_mine(state, self._epoch + 1):
            self._begin()
        self._state, self._is_loaded, self._epoch = state, False, state.epoch

    def _load(self, state: Mapping[str, Any]) -> None:
        self._state, self._is_loaded, self._epoch = None, True, state["epoch"]


class _Metrics:
    """What can be measured of a model on held-out rows (and rows of the training data)."""

    def __init__(self, X: Any, X_train: Any, annealing: Mapping[str, Any] | None) -> None:
        self.X = X
        self.X_train = X_train
        self.given = dict(annealing or {})
        self.annealing = _ANNEALING | self.given

    def of_features(self, features: Callable[[Any], Any]) -> _Metrics:
        """The same of features of the rows."""
        train = None if self.X_train is None else features(self.X_train)
        return _Metrics(features(self.X), train, self.given)

    def why_not(self, name: str, model: Any) -> str:
        """What stands against a metric; empty where nothing does."""
        if name == "weight_norm":
            return ""
        if name == "free_energy_gap" and self.X_train is None:
            return "give X_train, rows of the training data"
        method = {
            "free_energy_gap": "free_energy",
            "reconstruction_error": "reconstruct",
            "pseudo_likelihood": "pseudo_likelihood",
            "log_likelihood": "score_samples",
        }[name]
        return "" if hasattr(model, method) else f"{type(model).__name__} has no {method}"

    def guess(self, name: str, model: Any) -> float:
        """Seconds that a measure will take, roughly, before it was ever taken: of the slow ones.

        A pseudo-likelihood takes a free energy of each row for each unit. A log-likelihood takes
        that of a few rows so many times, and annealing that of a few temperatures.
        """
        if name == "pseudo_likelihood":
            rows = self.X[:_GUESSED]
            begin = time.perf_counter()
            model.free_energy(rows)
            each = (time.perf_counter() - begin) / rows.shape[0]
            return each * self.X.shape[0] * self.X.shape[1]
        if name != "log_likelihood":
            return 0.0
        if _learns_sequences(model):
            few, times = _few(self.X[0] if isinstance(self.X, tuple) else self.X)
            begin = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                model.log_likelihood(few, **self.given)
            return (time.perf_counter() - begin) * times
        few, times = _few(self.X)
        betas = self.annealing["betas"]
        short = self.annealing | {"betas": np.linspace(0, 1, _FEW_BETAS)}
        n_betas = betas if np.ndim(betas) == 0 else len(betas)
        took, whole = 0.0, 0.0

        def log_partition() -> LogPartition:
            nonlocal took, whole
            begin = time.perf_counter()
            z: LogPartition = model.log_partition(**short)
            took = time.perf_counter() - begin
            whole = took if z.method == "exact" else took * n_betas / _FEW_BETAS
            return z

        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            _call(_with_log_partition(model, log_partition).score_samples, few)
        return (time.perf_counter() - begin - took) * times + whole

    def measure(self, name: str, progress: Progress) -> dict[str, float]:
        """Values under the names that the history has."""
        model = progress.model
        if name == "weight_norm":
            biases = model._bias_keys() if hasattr(model, "_bias_keys") else set()
            weights = [x for key, x in progress.params.items() if key not in biases]
            return {name: float(np.sqrt(sum(float(np.vdot(x, x)) for x in weights)))}
        if name == "free_energy_gap":
            here, there = (_call(model.free_energy, X) for X in (self.X, self.X_train))
            return {name: float(here.mean() - there.mean())}
        if name == "reconstruction_error":
            rows = self.X.toarray() if hasattr(self.X, "toarray") else np.asarray(self.X)
            return {name: float(np.mean((rows - model.reconstruct(self.X)) ** 2))}
        if name == "pseudo_likelihood":
            return {name: float(np.mean(_call(model.pseudo_likelihood, self.X)))}
        if _learns_sequences(model):
            # Every step has a log Z of its own.
            X = self.X if isinstance(self.X, tuple) else (self.X,)
            steps = model.log_likelihood(*X, **self.given)
            ends = {f"{name}_low": steps.low, f"{name}_high": steps.high}
            is_exact = steps.log_partition.method == "exact"
            return {name: steps.mean} | ({} if is_exact else ends)
        found: list[LogPartition] = []

        def log_partition() -> LogPartition:
            found.append(model.log_partition(**self.annealing))
            return found[-1]

        twin = _with_log_partition(model, log_partition)
        mean = float(np.mean(_call(twin.score_samples, self.X)))
        if not found or found[0].method == "exact":
            return {name: mean}
        (z,) = found
        return {
            name: mean,
            f"{name}_low": mean + z.value - z.high,
            f"{name}_high": mean + z.value - z.low,
        }


def _learns_sequences(model: Any) -> bool:
    """Whether a model learns sequences, each step given those before it."""
    return getattr(model, "_of_sequences", False)


def _with_log_partition(model: Any, log_partition: Callable[[], LogPartition]) -> Any:
    """A copy of a model, with the same parameters, that finds log Z so, if it is asked for."""
    twin = copy(model)
    if hasattr(type(model), "log_partition"):
        twin._log_partition = None
        twin.log_partition = log_partition
    return twin


def _few(X: Any) -> tuple[Any, float]:
    """A few rows (of a list, steps of the first sequence), and how many times as many there are."""
    if isinstance(X, tuple):
        parts = [_few(x) for x in X]
        return tuple(few for few, _ in parts), parts[0][1]
    if isinstance(X, list) and np.ndim(X[0]) == 2:
        first = X[0][:_FEW_STEPS]
        return [first], sum(len(x) for x in X) / len(first)
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    return X[:_FEW], max(1.0, n / _FEW)


def _call(method: Callable[..., np.ndarray], X: Any) -> np.ndarray:
    return method(*X) if isinstance(X, tuple) else method(X)


class Monitor(Watch):
    """Record measures of the model while it learns.

    ======================== ===================================================================
    ``log_likelihood``       mean log-likelihood of the held-out rows, in nats; where log Z is
                             annealed also ``log_likelihood_low`` and ``..._high``, its interval
    ``free_energy_gap``      mean free energy of the held-out rows less that of rows of the
                             training data: log Z cancels, and a gap that grows is overfitting
                             (Hinton, "A practical guide to training restricted Boltzmann
                             machines", 2012, section 6)
    ``pseudo_likelihood``    mean over the held-out rows
    ``reconstruction_error`` mean squared difference of the held-out rows and their
                             reconstructions: it says little of the likelihood
    ``weight_norm``          Euclidean norm of all weights, biases aside
    ======================== ===================================================================

    The training is not changed. Epochs in which something was not measured have NaN in the history.

    Parameters
    ----------
    X : array-like, CSR matrix or tuple
        Held-out rows, as the model's methods take them; a tuple ``(X, Y)`` where they take two,
        ``(X, lengths)`` of sequences.
    X_train : array-like or CSR matrix, optional
        Rows of the training data, as many as X, for the gap.
    what : sequence of str, optional
        Measures; the default is all that the model has, without those that would have to enumerate
        too many states.
    every : int, optional
        Epochs from one measurement to the next. The default measures as often as ``max_share``
        allows.
    max_share : float, default=0.05
        Seconds of measuring by seconds of training. The log-likelihood has the largest part of it,
        the pseudo-likelihood the next; a measure is taken when what was spent on it, and what it
        took the last time, stay below its part. Before the first time of a slow one it is guessed
        from a few rows and temperatures what it will take, so a short training may end without it.
    annealing : dict, optional
        Options of `log_partition` where log Z is annealed; ``{"betas": 200, "n_chains": 100}``. Of
        an `RNNRBM`, those of its `log_likelihood`.

    Attributes
    ----------
    seconds : float
        Spent in measuring, in the last training.
    share : float
        The same by the seconds of training.

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.callbacks import Monitor
    >>> from fastboltz.datasets import load_digits
    >>> train, test = load_digits()
    >>> monitor = Monitor(test.X[:200], train.X[:200])
    >>> rbm = RBM(16, n_iter=5, callbacks=[monitor], random_state=0).fit(train.X)
    >>> len(rbm.history_["free_energy_gap"])
    5
    """

    def __init__(
        self,
        X: Any,
        X_train: Any = None,
        *,
        what: Sequence[str] | None = None,
        every: int | None = None,
        max_share: float = 0.05,
        annealing: Mapping[str, Any] | None = None,
    ) -> None:
        for name in (what,) if isinstance(what, str) else what or ():
            one_of("what", name, METRICS)
        if every is not None:
            check_count("every", every)
        check_number("max_share", max_share, 0)
        self.metrics = _Metrics(X, X_train, annealing)
        self.what = (what,) if isinstance(what, str) else what
        self.every = every
        self.max_share = max_share
        self.seconds = 0.0
        self.share = 0.0
        super().__init__()
        self._begin()

    def _see(self, features: Callable[[Any], Any]) -> None:
        self.metrics = self.metrics.of_features(features)

    def _begin(self) -> None:
        self.seconds = 0.0
        self._cost: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        self._left_out: set[str] = set()
        self._names: dict[str, tuple[str, ...]] = {}

    def state_dict(self) -> dict[str, Any]:
        """What was spent on each measure."""
        return {
            "epoch": self._epoch,
            "seconds": self.seconds,
            "share": self.share,
            "cost": dict(self._cost),
            "spent": dict(self._spent),
            "names": dict(self._names),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._load(state)
        self.seconds, self.share = state["seconds"], state["share"]
        self._cost, self._spent = dict(state["cost"]), dict(state["spent"])
        self._names = dict(state["names"])

    def __call__(self, progress: Progress) -> None:
        """Measure what is due after an epoch."""
        state = progress.state
        self._follow(state)
        for name in METRICS:
            if not self._is_wanted(name, progress.model):
                continue
            try:
                found = self._found(name, progress)
            except NotEnumerableError:
                if self.what is not None:
                    raise
                self._left_out.add(name)
                continue
            for key in self._names.get(name, (name,)):
                state.record(**{key: found.get(key, np.nan)})
        self.share = self.seconds / max(state.seconds, 1e-9)

    def _found(self, name: str, progress: Progress) -> dict[str, float]:
        """A measure, if it is due, else nothing."""
        if not self._is_due(name, progress):
            return {}
        begin = time.perf_counter()
        found = self.metrics.measure(name, progress)
        self._cost[name] = time.perf_counter() - begin
        self.seconds += self._cost[name]
        self._spent[name] = self._spent.get(name, 0.0) + self._cost[name]
        self._names[name] = tuple(found)
        return found

    def _is_wanted(self, name: str, model: Any) -> bool:
        why_not = self.metrics.why_not(name, model)
        if self.what is None:
            return not why_not and name not in self._left_out
        if name in self.what and why_not:
            raise ValueError(f"{name} cannot be measured: {why_not}.")
        return name in self.what

    def _is_due(self, name: str, progress: Progress) -> bool:
        state = progress.state
        if self.every is not None:
            return bool(state.epoch % self.every == 0)
        if name not in self._cost:
            begin = time.perf_counter()
            self._cost[name] = self.metrics.guess(name, progress.model)
            self.seconds += time.perf_counter() - begin
        # Each measure has its part of the share, so that a slow one comes to its turn.
        parts = {x: _PARTS.get(x, 1) for x in METRICS if self._is_wanted(x, progress.model)}
        share = self.max_share * parts[name] / sum(parts.values())
        return bool(self._spent.get(name, 0.0) + self._cost[name] <= share * state.seconds)


class TrajectoryLikelihood(Watch):
    """Record the log-likelihood of held-out rows with a log Z that is carried along the training.

    Chains of its own follow the model, and log Z with them (`fastboltz.carried`): what was spent on
    one epoch serves the next, so the curve has its 95 % interval at a few per cent of the
    training's work, where annealing anew for each point is short of temperatures. The training is
    not changed, and the same seed gives the same curve for every number of threads.

    Parameters of single updates scatter about their mean: learning at a rate that is not small
    raises the energy wherever the persistent chains happen to be, and most of the probability of
    such a model lies where they are not, at this moment. No affordable chains can follow that, and
    little is to be learnt from it. The path that is followed is the running average of the
    parameters, with weights that grow as the third power of the number of the update: about the
    last quarter of the training so far. It is the better model while the rate is high. From there
    a branch of steps leads to the current parameters where they are near, as they are when the rate
    is small or has fallen. The history has, for epochs in which something was measured (else NaN),

    ============================ ===============================================================
    ``averaged_log_likelihood``  mean log-likelihood of the rows by the averaged parameters, in
                                 nats, and ``..._low`` and ``..._high``, the interval of log Z
    ``current_log_likelihood``   the same by the current parameters; NaN where they are far from
                                 their average
    ============================ ===============================================================

    Parameters
    ----------
    X : array-like or CSR matrix
        Held-out rows, as the model's `free_energy` takes them. Their free energies are part of the
        work, so a thousand may do better than ten thousand.
    every : int, optional
        Epochs from one measurement to the next. The default measures as often as `max_share`
        allows, and after the last epoch.
    max_share : float, default=0.04
        Work of measuring by that of the training, in rows times products with the weights: counted,
        not timed, so that the curve is repeatable. Half of what a whole `fit` has is there from the
        beginning, for most of the way lies there. With `every`, what is needed is spent anyway.
    n_chains : int, default=256
        In 16 groups, whose scatter is the interval.

    Attributes
    ----------
    averaged_params_ : dict of arrays
        The averaged parameters, after the last epoch.
    log_partition_ : LogPartition
        Of the averaged parameters, when last measured.
    current_log_partition_ : LogPartition or None
        Of the current parameters, at the same time.
    share : float
        Work of measuring by that of the training.

    Warns
    -----
    RuntimeWarning
        When the training ends with few groups of chains that carry an estimate.

    Notes
    -----
    For models with one log Z, whose free energy can be computed: RBMs of all units, and Boltzmann
    machines without given groups.

    An RBM of 500 hidden units that learns binarised MNIST for 20 epochs in minibatches of 128, and
    is measured on 1000 rows, spends 4 % more of the processor's seconds.

    The interval is that of what chains have found. Modes of the model that no chain ever saw are
    missing from it, as from every estimate by annealing; `log_partition` with ``samples=`` closes
    the bracket for the model that is kept.

    References
    ----------
    As of `fastboltz.carried.CarriedLogPartition`.
    Shamir & Zhang, "Stochastic gradient descent for non-smooth optimization: convergence results
    and optimal averaging schemes", ICML 2013 (the average).

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.callbacks import TrajectoryLikelihood
    >>> from fastboltz.datasets import load_digits
    >>> train, test = load_digits()
    >>> watch = TrajectoryLikelihood(test.X, every=1)
    >>> rbm = RBM(16, n_iter=10, callbacks=[watch], random_state=0).fit(train.X)
    >>> exact = rbm.score(test.X)
    >>> low, high = (rbm.history_[f"current_log_likelihood_{end}"][-1] for end in ("low", "high"))
    >>> low < exact < high
    True
    """

    def __init__(
        self, X: Any, *, every: int | None = None, max_share: float = 0.04, n_chains: int = 256
    ) -> None:
        self.X = X
        self.every = None if every is None else check_count("every", every)
        self.max_share = check_number("max_share", max_share, 0)
        self.n_chains = check_count("n_chains", n_chains, minimum=GROUPS)
        if n_chains % GROUPS:
            raise ValueError(
                f"n_chains is {n_chains}; expected a multiple of {GROUPS}, so that the groups of "
                f"chains are equal."
            )
        super().__init__()
        self._begin()

    def _see(self, features: Callable[[Any], Any]) -> None:
        self.X = features(self.X)

    def _begin(self) -> None:
        self.averaged_params_: Params = {}
        self.log_partition_: LogPartition | None = None
        self.current_log_partition_: LogPartition | None = None
        self.share = 0.0
        #: Updates made before the first that was seen, and until the last that was.
        self._origin, self._seen = 0, 0
        self._carried: CarriedLogPartition | None = None
        self._kept: dict[str, Any] | None = None
        self._spent = 0.0
        self._needed = 1

    def state_dict(self) -> dict[str, Any]:
        """The average, the chains that follow it, and the work that was spent."""
        carried = self._kept if self._carried is None else self._carried.state_dict()
        return {
            "epoch": self._epoch,
            "averaged": dict(self.averaged_params_),
            "origin": self._origin,
            "seen": self._seen,
            "carried": {} if carried is None else carried,
            "spent": self._spent,
            "share": self.share,
            "needed": self._needed,
            "log_partitions": [
                {} if z is None else asdict(z)
                for z in (self.log_partition_, self.current_log_partition_)
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._begin()
        self._load(state)
        self.averaged_params_ = {key: x.copy() for key, x in state["averaged"].items()}
        self._origin, self._seen = state["origin"], state["seen"]
        self._kept = dict(state["carried"]) or None
        self._spent, self.share, self._needed = state["spent"], state["share"], state["needed"]
        found = [LogPartition(**z) if z else None for z in state["log_partitions"]]
        self.log_partition_, self.current_log_partition_ = found

    # -- within an epoch -----------------------------------------------------------------------

    def due(self, update: int) -> int:
        """Number of the next update after which the parameters are taken into their average."""
        apart = _LOOK * 2 ** int(max(0, update // (_LOOK * _LOOKS)).bit_length())
        return (update // apart + 1) * apart

    def observe(self, params: Params, state: TrainingState) -> None:
        """Take the parameters into their average."""
        if not self._is_mine(state, self._epoch):
            self._begin()
            # An update at least must have been made before the first parameters that count.
            self._origin = self._seen = state.update - 1
        self._state, self._is_loaded = state, False
        if not self.averaged_params_:
            self.averaged_params_ = {key: x.copy() for key, x in params.items()}
            self._seen = state.update
        if state.update == self._seen:
            return
        share = 1 - ((self._seen - self._origin) / (state.update - self._origin)) ** (_POWER + 1)
        self._seen = state.update
        for key, x in self.averaged_params_.items():
            x += x.dtype.type(share) * (params[key] - x)

    # -- after an epoch ------------------------------------------------------------------------

    def __call__(self, progress: Progress) -> None:
        """Measure, where it is due."""
        state = progress.state
        self._check(progress.model)
        self.observe(progress.params, state)
        self._epoch = state.epoch
        found = self._measure(progress) if self._is_due(progress) else {}
        for name in ("averaged", "current"):
            for end in ("", "_low", "_high"):
                key = f"{name}_log_likelihood{end}"
                state.record(**{key: found.get(key, np.nan)})
        self.share = self._spent / max(self._work(progress), 1.0)

    @staticmethod
    def _check(model: Any) -> None:
        why = ""
        if not (hasattr(model, "free_energy") and hasattr(model, "_reference")):
            why = "has no free energy" if model is not None else "has no estimator"
        elif getattr(model, "_given", ()):
            why = "has a log Z for each row of its given groups"
        if why:
            kind = "this training" if model is None else type(model).__name__
            raise TypeError(
                f"TrajectoryLikelihood follows the one log Z of a model with a free energy, such "
                f"as an RBM, but {kind} {why}. Record a score of the model in a callback of your "
                f"own, or by Monitor."
            )

    def _work(self, progress: Progress, n_epochs: int | None = None) -> float:
        """Rows times products of the training so far, or in so many epochs."""
        state, model = progress.state, progress.model
        passes = _PASSES_OF_UPDATE + 2 * getattr(model, "n_gibbs", 1)
        n = state.update if n_epochs is None else state.update / state.epoch * n_epochs
        return float(n * model.batch_size * passes)

    def _affordable(self, progress: Progress) -> int:
        """Steps that may be made now."""
        planned = self._work(progress, max(progress.n_iter, progress.state.epoch))
        ready = self.max_share * (self._work(progress) + planned) / 2
        rows = 2 * self.X.shape[0] + 2 * self.n_chains
        return int((ready - self._spent - rows) / (_PASSES_OF_STEP * self.n_chains))

    def _is_due(self, progress: Progress) -> bool:
        if self.every is not None:
            return progress.state.epoch % self.every == 0
        is_last = progress.state.epoch >= progress.n_iter > 1
        return is_last or self._affordable(progress) >= 2 * self._needed

    def _measure(self, progress: Progress) -> dict[str, float]:
        """Follow the average, and from there look at the current parameters."""
        model, averaged = progress.model, self.averaged_params_
        if self._carried is None:
            self._carried = CarriedLogPartition(
                model.energy_,
                averaged,
                reference=model._reference(),
                n_chains=self.n_chains,
                random_state=model._seed,
                n_threads=model.n_threads,
            )
            if self._kept is not None:
                self._carried.load_state_dict(self._kept)
        carried = self._carried
        scatter = carried.scatter(averaged)
        self._needed = max(1, int(np.ceil(scatter / _COARSE)))
        before = carried.n_sweeps
        carried.move(averaged, self._n_steps(progress, scatter))
        made = carried.n_sweeps - before
        self.log_partition_ = carried.log_partition()
        found = self._found("averaged", model, averaged, self.log_partition_)
        scatter = carried.scatter(progress.params)
        self._spend(made)
        self.current_log_partition_ = None
        if scatter <= _MAX_JUMP:
            n = self._n_steps(progress, scatter)
            self.current_log_partition_ = carried.branch(progress.params, n)
            found |= self._found("current", model, progress.params, self.current_log_partition_)
            self._spend(n)
        return found

    def _n_steps(self, progress: Progress, scatter: float) -> int:
        """Steps for a scatter: a third of those that may be made now, within reason."""
        few, many = (max(1, int(np.ceil(scatter / by))) for by in (_COARSE, _FINE))
        return int(np.clip(self._affordable(progress) // 3, few, many))

    def _spend(self, n_steps: int) -> None:
        """Count steps, two free energies of the chains and one of the rows."""
        self._spent += (_PASSES_OF_STEP * n_steps + 2) * self.n_chains + self.X.shape[0]

    def _found(self, name: str, model: Any, params: Params, z: LogPartition) -> dict[str, float]:
        """Log-likelihoods of the rows under the names that the history has."""
        twin = copy(model)
        twin.params_ = params
        mean = -float(twin.free_energy(self.X).mean())
        name = f"{name}_log_likelihood"
        return {name: mean - z.value, f"{name}_low": mean - z.high, f"{name}_high": mean - z.low}

    def end(self, progress: Progress) -> None:
        """Say so where the last estimates are not to be believed."""
        if not self._is_mine(progress.state, self._epoch) or self._carried is None:
            return
        for name, z in (
            ("averaged", self.log_partition_),
            ("current", self.current_log_partition_),
        ):
            if z is not None and z.is_degenerate:
                warnings.warn(
                    f"log Z of the {name} parameters, carried along the training, has degenerated: "
                    f"chains worth {z.effective_chains:.0f} of {z.n_chains} carry it, so the "
                    f"log-likelihood is likely too high, and its interval too short. Take a larger "
                    f"max_share (now {self.max_share:g}) or more n_chains.",
                    RuntimeWarning,
                    stacklevel=2,
                )


class EarlyStopping(Watch):
    """End a training that no longer gets better, and put its best parameters back.

    Parameters
    ----------
    X : array-like, CSR matrix or tuple
        Held-out rows, as the model's methods take them; a tuple ``(X, Y)`` where they take two,
        ``(X, lengths)`` of sequences.
    metric : str or callable, default="log_likelihood"
        A measure of `Monitor`, or a function of the model and X of which more is better.
    X_train : array-like or CSR matrix, optional
        Rows of the training data, for ``metric="free_energy_gap"``.
    patience : int, default=10
        Measurements without an improvement after which the training ends.
    min_delta : float, default=0.0
        What counts as an improvement is larger than this.
    every : int, default=1
        Epochs from one measurement to the next.
    restore_best : bool, default=True
        Whether the model ends with the parameters of its best measurement: also where the training
        made all its epochs, was interrupted, or failed. Persistent chains and the optimizer stay
        where they are, and `partial_fit` never goes back.
    annealing : dict, optional
        As of `Monitor`.

    Attributes
    ----------
    best : float
    best_epoch : int
    stopped_epoch : int or None
        None where the training made all its epochs.

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.callbacks import EarlyStopping
    >>> from fastboltz.datasets import load_digits
    >>> train, test = load_digits()
    >>> stop = EarlyStopping(test.X[:100], patience=2)
    >>> rbm = RBM(10, n_iter=20, callbacks=[stop], random_state=0).fit(train.X[:100])
    >>> abs(rbm.score(test.X[:100]) - stop.best) < 1e-6
    True
    """

    def __init__(
        self,
        X: Any,
        metric: str | Callable[[Any, Any], float] = "log_likelihood",
        *,
        X_train: Any = None,
        patience: int = 10,
        min_delta: float = 0.0,
        every: int = 1,
        restore_best: bool = True,
        annealing: Mapping[str, Any] | None = None,
    ) -> None:
        if not callable(metric):
            one_of("metric", metric, METRICS)
        check_count("patience", patience)
        check_count("every", every)
        check_number("min_delta", min_delta, 0)
        check_flag("restore_best", restore_best)
        self.metrics = _Metrics(X, X_train, annealing)
        self.metric = metric
        self.patience = patience
        self.min_delta = min_delta
        self.every = every
        self.restore_best = restore_best
        super().__init__()
        self._begin()

    def _see(self, features: Callable[[Any], Any]) -> None:
        self.metrics = self.metrics.of_features(features)

    def _begin(self) -> None:
        self.best = np.nan
        self.best_epoch = 0
        self.stopped_epoch: int | None = None
        self._since = 0
        self._params: Params = {}

    def state_dict(self) -> dict[str, Any]:
        """The best measurement with its parameters, and how long ago it was."""
        return {
            "epoch": self._epoch,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "since": self._since,
            "params": dict(self._params),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._load(state)
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.stopped_epoch, self._since = state["stopped_epoch"], state["since"]
        self._params = dict(state["params"])

    def _value(self, progress: Progress) -> float:
        if callable(self.metric):
            return float(self.metric(progress.model, self.metrics.X))
        if why_not := self.metrics.why_not(self.metric, progress.model):
            raise ValueError(f"{self.metric} cannot be measured: {why_not}.")
        return self.metrics.measure(self.metric, progress)[self.metric]

    def __call__(self, progress: Progress) -> bool:
        """Measure; true where the training should end."""
        state = progress.state
        self._follow(state)
        if state.epoch % self.every:
            return False
        value = self._value(progress)
        sign = -1 if self.metric in _LESS else 1
        if np.isnan(self.best) or sign * (value - self.best) > self.min_delta:
            self.best, self.best_epoch, self._since = value, state.epoch, 0
            if self.restore_best:
                self._params = {key: x.copy() for key, x in progress.params.items()}
        else:
            self._since += 1
        if self._since >= self.patience:
            self.stopped_epoch = state.epoch
            return True
        return False

    def end(self, progress: Progress) -> None:
        """Put the best parameters back, in place."""
        # A pass of `partial_fit` is no training that ends: going back would keep it from going on.
        is_mine = self._is_mine(progress.state, self._epoch)
        if not is_mine or not progress.is_whole:
            return
        for key, x in self._params.items():
            np.copyto(progress.params[key], x)
        self._params = {}
        if progress.model is not None and hasattr(progress.model, "_log_partition"):
            progress.model._log_partition = None  # it may be that of other parameters


class Average(Watch):
    """The mean of the parameters after the last epochs, in place of the last ones.

    With a rate that stays, parameters move about what they are looking for, and their mean lies
    nearer to it than any of them. A model's own early stopping judges, and puts back, means.

    Parameters
    ----------
    begin : int
        The first epoch whose parameters count.

    Attributes
    ----------
    params : dict of ndarrays
        The mean so far, in double precision; empty before epoch ``begin``, and when the training
        has ended, since the model has them then.
    n_epochs : int
        How many epochs it is of.

    Notes
    -----
    The training itself goes on from the parameters as they are. When it ends, for whatever reason,
    the mean is written over the model's parameters; persistent chains and the optimizer stay where
    they are, and `partial_fit` changes nothing by itself.

    References
    ----------
    Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control and
    Optimization 30, 1992.
    Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018.

    Examples
    --------
    >>> from fastboltz import RBMClassifier
    >>> from fastboltz.callbacks import Average
    >>> from fastboltz.datasets import load_digits
    >>> train, test = load_digits()
    >>> average = Average(begin=6)
    >>> model = RBMClassifier(30, n_iter=10, callbacks=[average], random_state=0)
    >>> accuracy = model.fit(train.X, train.y).score(test.X, test.y)
    >>> average.n_epochs
    5
    """

    def __init__(self, begin: int) -> None:
        self.begin = check_count("begin", begin)
        super().__init__()
        self._begin()

    def _see(self, features: Callable[[Any], Any]) -> None:
        """It looks at no rows."""

    def _begin(self) -> None:
        self.n_epochs = 0
        self.params: Params = {}

    def state_dict(self) -> dict[str, Any]:
        """What a training that goes on from a file has to know."""
        return {"epoch": self._epoch, "n_epochs": self.n_epochs, "params": dict(self.params)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` said."""
        self._load(state)
        self.n_epochs = int(state["n_epochs"])
        self.params = {key: np.array(x, np.float64) for key, x in state["params"].items()}

    def averaged(self, params: Params, state: TrainingState) -> Params:
        """The mean, with the parameters after this epoch; before ``begin``, these themselves."""
        is_new = not (self._state is state and self._epoch == state.epoch)
        if is_new:
            self._follow(state)
        if is_new and state.epoch >= self.begin:
            self.n_epochs = self.n_epochs + 1 if self.params else 1
            for key, x in params.items():
                mean = self.params.setdefault(key, np.zeros(x.shape))
                mean += (x - mean) / self.n_epochs
        return {key: x.astype(params[key].dtype) for key, x in self.params.items()} or params

    def __call__(self, progress: Progress) -> None:
        """Have the parameters after an epoch count."""
        self.averaged(progress.params, progress.state)

    def end(self, progress: Progress) -> None:
        """Give the model the mean, in place."""
        # As in `EarlyStopping`: a pass of `partial_fit` is no training that ends.
        is_mine = self._is_mine(progress.state, self._epoch)
        if not is_mine or not progress.is_whole:
            return
        for key, x in self.params.items():
            np.copyto(progress.params[key], x, casting="same_kind")
        self.params = {}
        if progress.model is not None and hasattr(progress.model, "_log_partition"):
            progress.model._log_partition = None  # it may be that of other parameters


class Trajectory:
    """Keep models that the training goes through, for ``sample(..., method="trajectory")``.

    After the first epoch, and then after each whose number is `growth` times that of the one before
    or more, a copy of the parameters is put into the model's ``trajectory_``: a training changes
    most at its beginning. The models are saved to files with the model they belong to.

    Parameters
    ----------
    growth : float, default=1.25
        1 keeps every epoch. With 1.25, 200 epochs leave 20 models.

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.callbacks import Trajectory
    >>> from fastboltz.datasets import load_digits
    >>> train, _ = load_digits()
    >>> rbm = RBM(16, n_iter=10, callbacks=[Trajectory()], random_state=0).fit(train.X)
    >>> [epoch for epoch, params in rbm.trajectory_]
    [1, 2, 3, 4, 5, 7, 9]
    >>> rbm.sample(5, method="trajectory").shape
    (5, 64)
    """

    def __init__(self, growth: float = 1.25) -> None:
        self.growth = check_number("growth", growth, 1)

    def __call__(self, progress: Progress) -> None:
        """Keep the model after an epoch, where it is due."""
        if progress.model is None:
            raise TypeError(
                "Trajectory puts models into an estimator's trajectory_, but this training has no "
                "estimator; copy the parameters in a callback of your own."
            )
        kept = vars(progress.model).setdefault("trajectory_", [])
        if kept and progress.state.epoch < max(kept[-1][0] + 1, self.growth * kept[-1][0]):
            return
        kept.append((progress.state.epoch, {key: x.copy() for key, x in progress.params.items()}))


def check_pairs(callbacks: Sequence[Any] | None, kind: str) -> None:
    """Refuse held-out rows of one table where the log-likelihood is that of pairs."""
    for one in callbacks or ():
        if isinstance(one, Monitor):
            measured: Sequence[Any] = METRICS if one.what is None else one.what
        else:
            measured = (one.metric,) if isinstance(one, EarlyStopping) else ()
        if "log_likelihood" in measured and not isinstance(one.metrics.X, tuple):
            name = type(one).__name__
            raise TypeError(
                f"{name} measures the log-likelihood of rows of X alone, but {kind} has that of "
                f"pairs; give both tables, as in {name}((X, Y))."
            )


__all__ = ["METRICS", "Average", "EarlyStopping", "Monitor", "Trajectory", "TrajectoryLikelihood"]
