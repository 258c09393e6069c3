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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .terms import Params
from .training import Progress, TrainingState
from .validation import check_count, check_flag, check_number, one_of

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
#: Rows whose free energy is timed.
_GUESSED = 200
#: Annealing of a log-likelihood while a training goes on.
_ANNEALING = {"betas": 200, "n_chains": 100}


class _Watch:
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
        self.annealing = _ANNEALING | dict(annealing or {})

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

        From the seconds of one row's free energy: a pseudo-likelihood takes one for each unit, and
        annealing about one for each temperature and chain.
        """
        slow = name in ("pseudo_likelihood", "log_likelihood")
        if not slow or isinstance(self.X, tuple) or not hasattr(model, "free_energy"):
            return 0.0
        rows = self.X[:_GUESSED]
        begin = time.perf_counter()
        model.free_energy(rows)
        each = (time.perf_counter() - begin) / rows.shape[0]
        if name == "pseudo_likelihood":
            return each * self.X.shape[0] * self.X.shape[1]
        return each * self.annealing["betas"] * self.annealing["n_chains"]

    def measure(self, name: str, progress: Progress) -> dict[str, float]:
        """Values under the names that the history has."""
        model = progress.model
        if name == "weight_norm":
            own = model.energy_.own_keys() if hasattr(model, "energy_") else set()
            weights = [x for key, x in progress.params.items() if key not in own]
            return {name: float(np.sqrt(sum(float(np.vdot(x, x)) for x in weights)))}
        if name == "free_energy_gap":
            here, there = (_call(model.free_energy, X) for X in (self.X, self.X_train))
            return {name: float(here.mean() - there.mean())}
        if name == "reconstruction_error":
            rows = self.X.toarray() if hasattr(self.X, "toarray") else np.asarray(self.X)
            return {name: float(np.mean((rows - model.reconstruct(self.X)) ** 2))}
        if name == "pseudo_likelihood":
            return {name: float(np.mean(_call(model.pseudo_likelihood, self.X)))}
        if not (hasattr(model, "free_energy") and hasattr(model, "log_partition")):
            return {name: float(np.mean(_call(model.score_samples, self.X)))}
        mean = -float(_call(model.free_energy, self.X).mean())
        z = model.log_partition(**self.annealing)
        if z.method == "exact":
            return {name: mean - z.value}
        return {name: mean - z.value, f"{name}_low": mean - z.high, f"{name}_high": mean - z.low}


def _call(method: Callable[..., np.ndarray], X: Any) -> np.ndarray:
    return method(*X) if isinstance(X, tuple) else method(X)


class Monitor(_Watch):
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
    ``weight_norm``          Euclidean norm of all weights
    ======================== ===================================================================

    The training is not changed. Epochs in which something was not measured have NaN in the history.

    Parameters
    ----------
    X : array-like, CSR matrix or tuple
        Held-out rows, as the model's methods take them; a tuple ``(X, Y)`` where they take two.
    X_train : array-like or CSR matrix, optional
        Rows of the training data, as many as X, for the gap.
    what : sequence of str, optional
        Measures; the default is all that the model has.
    every : int, optional
        Epochs from one measurement to the next. The default measures as often as ``max_share``
        allows.
    max_share : float, default=0.05
        Seconds of measuring by seconds of training. The log-likelihood has the largest part of it,
        the pseudo-likelihood the next; a measure is taken when what was spent on it, and what it
        took the last time, stay below its part. Before the first time of a slow one it is guessed
        from a free energy what it will take, so a short training may end without it.
    annealing : dict, optional
        Options of `log_partition` where log Z is annealed; ``{"betas": 200, "n_chains": 100}``.

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

    def _begin(self) -> None:
        self.seconds = 0.0
        self._cost: dict[str, float] = {}
        self._spent: dict[str, float] = {}
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
            found: dict[str, float] = {}
            if self._is_due(name, progress):
                begin = time.perf_counter()
                found = self.metrics.measure(name, progress)
                self._cost[name] = time.perf_counter() - begin
                self.seconds += self._cost[name]
                self._spent[name] = self._spent.get(name, 0.0) + self._cost[name]
                self._names[name] = tuple(found)
            for key in self._names.get(name, (name,)):
                self._record(state, key, found.get(key, np.nan))
        self.share = self.seconds / max(state.seconds, 1e-9)

    def _is_wanted(self, name: str, model: Any) -> bool:
        why_not = self.metrics.why_not(name, model)
        if self.what is None:
            return not why_not
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

    @staticmethod
    def _record(state: Any, key: str, value: float) -> None:
        """One entry an epoch, also where the first ones are missing."""
        column = state.history.setdefault(key, [])
        column.extend([np.nan] * (len(state.history["epoch"]) - 1 - len(column)))
        column.append(value)


class EarlyStopping(_Watch):
    """End a training that no longer gets better, and put its best parameters back.

    Parameters
    ----------
    X : array-like, CSR matrix or tuple
        Held-out rows, as the model's methods take them; a tuple ``(X, Y)`` where they take two.
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
        if not is_mine or progress.n_iter < progress.state.epoch:
            return
        for key, x in self._params.items():
            np.copyto(progress.params[key], x)
        self._params = {}
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


__all__ = ["METRICS", "EarlyStopping", "Monitor", "Trajectory"]
