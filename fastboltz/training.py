"""The one minibatch loop: positive phase, negative phase, update, callbacks.

A training is a value: `TrainingState` holds everything that the next update depends on. Ctrl-C is
taken between two updates, or gives one up, so the parameters are always those of a whole update.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fastboltz_ext import packed

from . import interrupts, rng, threads
from .energy import Energy
from .interrupts import GivenUp, Interrupted, deferred_interrupt, may_be_given_up
from .objectives import Objective, PhaseState
from .optimizers import Optimizer, OptimizerState, Schedule, centre
from .pair_loop import PairLoop
from .terms import DenseTerm, Params

#: How fast the offsets of centring follow the activities.
CENTRING_RATE = 0.01
_NOT_SHARED = (
    "comm shares the updates of the compiled loop alone, and this training is not one of these: "
    "binary or spin units on both sides, rows between the two values of a visible unit, "
    "method='pcd' or 'cd', optimizer='sgd', no sparsity, no sample_weight, and minibatches of at "
    "most 2**18 rows (2**17 with spins). Change what differs, or fit without comm."
)


class Rows:
    """Rows of one group, dense or CSR, handed out a minibatch at a time.

    Parameters
    ----------
    x : ndarray or CSR matrix of shape (n_rows, size)
        Of any type of numbers: a minibatch at a time is made what the model works with.
    shape : tuple of int
        Shape of the group.
    dtype : float32 or float64

    Attributes
    ----------
    ranks : Ranks or None
        The processes among which the rows are shared (`fastboltz.distributed`).
    """

    ranks: Any = None

    def __init__(self, x: Any, shape: tuple[int, ...], dtype: Any) -> None:
        self.x = x
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.is_sparse = hasattr(x, "toarray")

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def take(self, rows: np.ndarray | slice) -> np.ndarray:
        """Values (n, *shape) of some rows."""
        part = self.x[rows]
        if self.is_sparse:
            part = part.toarray()
        part = np.ascontiguousarray(part, dtype=self.dtype)
        return part.reshape(len(part), *self.shape)

    def bits(self, states: np.ndarray | None) -> np.ndarray | None:
        """Rows as words of 32 bits, (n_rows, words), if every value is one of two states."""
        if states is None or states.shape != (2,):
            return None
        low, high = float(states[0]), states[1]
        if high != 1:
            return None
        out = np.empty((len(self), (self.x.shape[1] + 31) // 32), dtype=np.uint32)
        for start in range(0, len(self), 4096):
            x = self.x[start : start + 4096]
            x = x.toarray() if self.is_sparse else np.asarray(x)
            if x.dtype not in (np.float32, np.float64):
                x = x.astype(np.float32)
            words = packed.row_words(np.ascontiguousarray(x), low=low)
            if words is None:
                return None
            out[start : start + 4096] = words
        return out

    def plain(self, low: float, high: float) -> np.ndarray | None:
        """The rows as a C-contiguous float32 matrix, where they are an array of numbers between."""
        # NaN, which marks an unknown unit, is not between them.
        if type(self.x) is not np.ndarray or not (
            self.x.min(initial=low) >= low and self.x.max(initial=high) <= high
        ):
            return None
        return np.ascontiguousarray(self.x, dtype=np.float32)

    def moments(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and mean square of each entry, in double precision.

        Without weights they do not depend on the order in which rows are added up, nor on which
        process holds which: every value is rounded first, so that sums are not (0 and 1 stay as
        they are; of 2**16 rows, values keep 36 bits below the largest).
        """
        if weights is None:
            n, largest = len(self), self._largest()
            first, second = self._sums((_unit(n * largest), _unit(n * largest**2))) / n
        elif self.is_sparse:
            w = weights / weights.sum()
            first, second = self.x.T @ w, self.x.multiply(self.x).T @ w
        else:
            w = weights / weights.sum()
            first, second = np.zeros((2, self.x.shape[1]))
            for start in range(0, len(self), 4096):
                x = np.ascontiguousarray(self.x[start : start + 4096], dtype=np.float64)
                first += w[start : start + 4096] @ x
                second += w[start : start + 4096] @ (x * x)
        return np.reshape(first, self.shape), np.reshape(second, self.shape)

    def _largest(self) -> float:
        """The largest absolute value."""
        x = self.x.data if self.is_sparse else self.x
        return max(float(x.max(initial=0)), -float(x.min(initial=0)))

    def _sums(self, units: tuple[float, float]) -> np.ndarray:
        """Sums of values and of squares, (2, size), each rounded to multiples of a unit before."""
        total = np.zeros((2, self.x.shape[1]))
        for start in range(0, self.x.shape[0], 256):
            part = self.x[start : start + 256]
            ones = np.ones(part.shape[0])
            x = np.array(part.data if self.is_sparse else part, dtype=np.float64)
            for k, values in enumerate((x, x * x)):
                # Adding so much leaves no place for what is below the unit.
                values += 1.5 * 2.0**52 * units[k]
                values -= 1.5 * 2.0**52 * units[k]
                if self.is_sparse:
                    values = type(part)((values, part.indices, part.indptr), part.shape)
                total[k] += values.T @ ones
        return total


def _unit(bound: float) -> float:
    """A power of two of which multiples up to a bound are added in double precision exactly."""
    return 2.0 ** (np.frexp(bound)[1] - 52) if bound else 0.0


class Blocks:
    """The rows of a training, a block after the other: one where they are in memory.

    Parameters
    ----------
    read : callable
        Begins a pass, told the number of the epoch from 1 on: an iterator of (rows of each group,
        weights of the rows or None). Blocks but the last have a multiple of the rows of a
        minibatch.
    n_rows : int or None
        Rows of a pass; None where they were never counted, and no schedule needs it.
    mean_weight : float
        Of all rows.
    fingerprint : str
        Of all rows, where a `fastboltz.Checkpoint` has to know them again.
    """

    def __init__(
        self,
        read: Callable[[int], Iterator[tuple[Mapping[str, Rows], np.ndarray | None]]],
        n_rows: int | None,
        mean_weight: float = 1.0,
        fingerprint: str = "",
    ) -> None:
        self.read = read
        self.n_rows = n_rows
        self.mean_weight = mean_weight
        self.fingerprint = fingerprint

    @classmethod
    def of(cls, data: Mapping[str, Rows], weight: np.ndarray | None) -> Blocks:
        """Rows in memory."""
        n = len(next(iter(data.values())))
        mean = 1.0 if weight is None else float(weight.mean())
        return cls(lambda epoch: iter([(data, weight)]), n, mean)


@dataclass
class TrainingState:
    """Everything that the next update depends on, besides the parameters and the data.

    Attributes
    ----------
    phases : PhaseState
    optimizer : dict
        The optimizer's velocities or moments.
    offsets : dict of arrays
        Running means of the activities, for centring.
    epoch, update : int
        Whole passes over the data and updates made.
    seconds : float
        Time spent in updates.
    history : dict of lists
        One entry an epoch: ``epoch``, ``seconds``, ``learning_rate``, and what callbacks add.
    position : dict
        Where in a pass an interruption came; empty between two passes.
    kept : dict
        What early stopping keeps from epoch to epoch, while it lasts.
    callbacks : dict
        What callbacks with a method ``state_dict`` answered after the last epoch, by their names.
    finished : bool
        Whether early stopping or a callback has ended the training.
    is_general : bool
        Whether the weights have left the range of the compiled loop (``PairLoop``).
    fingerprint : str
        Of the data, where a `fastboltz.Checkpoint` has to know them again.
    """

    phases: PhaseState
    optimizer: OptimizerState
    offsets: dict[str, np.ndarray] = field(default_factory=dict)
    epoch: int = 0
    update: int = 0
    seconds: float = 0.0
    history: dict[str, list[Any]] = field(default_factory=dict)
    position: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    finished: bool = False
    is_general: bool = False
    fingerprint: str = ""

    def passes(self, n_epochs: int, resume: bool) -> range:
        """Numbers of the epochs to make: that many more or, to go on, up to that many in all."""
        if not resume:
            self.position, self.finished, self.is_general = {}, False, False
            return range(self.epoch, self.epoch + n_epochs)
        return range(self.epoch, self.epoch if self.finished else n_epochs)

    def record(self, **values: Any) -> None:
        """Add values to this epoch's entry of the history; NaN stands where none were recorded."""
        for name, value in values.items():
            column = self.history.setdefault(name, [])
            # The number of the epoch is what comes first.
            n = len(self.history.get("epoch", ())) - 1
            column.extend([np.nan] * (n - len(column)))
            column.append(value)

    def complete(self) -> None:
        """Have every column of the history reach to this epoch, with NaN where nothing was."""
        n = len(self.history.get("epoch", ()))
        for column in self.history.values():
            column.extend([np.nan] * (n - len(column)))


@dataclass(frozen=True)
class Progress:
    """What a callback is handed after each epoch.

    Attributes
    ----------
    model : object
        The estimator that is trained (None without one); usable as it is.
    params : dict of arrays
        Parameters, at a whole update.
    state : TrainingState
    n_iter : int
        Epochs in all.
    is_whole : bool
        Whether the training ends after them; a pass of `partial_fit` is a part of one that goes on.
    """

    model: Any
    params: Params
    state: TrainingState
    n_iter: int
    is_whole: bool = True


#: Called after each epoch; a true return value stops the training. One with a true ``comes_last``
#: is called after the others, and one with a method ``interrupted(progress)`` is told of Ctrl-C; it
#: answers with a sentence. One that remembers something from epoch to epoch has two methods,
#: ``state_dict()`` and ``load_state_dict(state)``: what the first answers goes into checkpoints and
#: files of models, and is handed to the second when the training goes on from there. One that is an
#: `Observer` also sees the parameters within the epochs.
Callback = Callable[[Progress], Any]


@runtime_checkable
class Observer(Protocol):
    """What looks at the parameters within an epoch, and leaves them as they are.

    A callback that has these two methods is one.
    """

    def due(self, update: int) -> int:
        """Number of the update after which it looks next, larger than that of the last one.

        A function of this number alone, so that a training that goes on from a file is looked at
        where it would have been.
        """
        ...

    def observe(self, params: Params, state: TrainingState) -> None:
        """Look at the parameters of a whole update."""
        ...


class Trainer:
    """Minibatch ascent of an objective.

    Parameters
    ----------
    energy : Energy
    objective : Objective
    optimizer : Optimizer
    schedule : Schedule
        Learning rate.
    centered : bool
        Whether gradients are those of the centred parametrisation.
    l1, l2 : float
        Penalties on the weights of terms (not on biases).
    limit : float, optional
        Largest change of a parameter in one update (before momentum).
    clip_norm : float, optional
        Largest Euclidean norm of a whole gradient; longer ones are scaled down to it.
    n_threads : int or None

    Attributes
    ----------
    decrements : dict of str to float
        Parameter -> what is taken off each of its entries after the first update, and after later
        ones in the measure of their learning rates. Off the biases of hidden units, it makes them
        sparse.
    activities : dict of str to (float, float)
        Group of units -> (target, strength): ``strength * (target - mean activity)``, with the mean
        over the minibatch in the positive phase, is added to the gradient of each bias (Lee,
        Ekanadham & Ng, NIPS 2007). Every unit then has its share of the data to be active for.
        A minibatch without rows that a likelihood of the group applies to adds nothing.
    monitor : callable or None
        Called after each epoch with the parameters and the training's state, before anybody else
        sees them; a true answer makes this epoch the last. What it has to know at the next epoch
        are its attributes that its ``kept`` names.
    observers : sequence of Observer
        Shown the parameters within the epochs, after the updates that they name.
    """

    def __init__(
        self,
        energy: Energy,
        objective: Objective,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        centered: bool = True,
        l1: float = 0.0,
        l2: float = 0.0,
        limit: float | None = None,
        clip_norm: float | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.energy = energy
        self.objective = objective
        self.optimizer = optimizer
        self.schedule = schedule
        self.centered = centered
        self.limit = limit
        self.clip_norm = clip_norm
        self.n_threads = threads.resolve(n_threads)
        own = energy.own_keys()
        self.penalties = {
            key: (l1, l2) for key in energy.parameter_shapes() if key not in own and (l1 or l2)
        }
        self.decrements: dict[str, float] = {}
        self.activities: dict[str, tuple[float, float]] = {}
        self.monitor: Any = None
        self.observers: Sequence[Observer] = ()
        self._gradient: Params | None = None
        self._lateral = [t for t in energy.terms if isinstance(t, DenseTerm) and t.lateral]

    def init(self, params: Params, seed: int) -> TrainingState:
        """State before the first update."""
        return TrainingState(
            self.objective.init(np.random.default_rng(seed)), self.optimizer.init(params)
        )

    def update(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        state: TrainingState,
        weights: np.ndarray | None = None,
        n_updates: int | None = None,
        emphasis: float = 1.0,
    ) -> float:
        """One update of ``params`` and ``state`` in place; returns the learning rate.

        Raises
        ------
        GivenUp
            Where Ctrl-C came, with ``params`` and ``state`` as they were.
        """
        with may_be_given_up():
            gradient, means, phases = self.objective.step(
                params, batch, state.phases, weights, self._gradient
            )
        self._gradient = gradient
        offsets = state.offsets
        if self.centered:
            offsets = dict(offsets)
            for g, m in means.items():
                if g in offsets:
                    offsets[g] += np.asarray(CENTRING_RATE, m.dtype) * (m - offsets[g])
                else:
                    offsets[g] = m.copy()
            # From groups of which no minibatch has known anything yet, nothing is taken off.
            unseen = {g: np.zeros_like(params[g]) for g in self.energy.groups if g not in offsets}
            centre(self.energy, gradient, offsets | unseen, self.n_threads)
        for g, (target, strength) in self.activities.items():
            if g not in means:
                continue  # a minibatch that says nothing of a group is no sign of its rest
            dtype = gradient[g].dtype.type
            gradient[g] += dtype(strength) * (dtype(target) - means[g])
        for term in self._lateral:
            # Symmetric but for rounding, which would add up over many updates.
            gradient[term.name][...] = term.symmetrized(gradient[term.name])
        if self.clip_norm is not None:
            norm = sum(float(np.vdot(x, x)) for x in gradient.values()) ** 0.5
            if norm > self.clip_norm:
                for x in gradient.values():
                    x *= x.dtype.type(self.clip_norm / norm)
        rate = self.schedule(state.update, n_updates)
        if self.limit is not None:
            bound = self.limit / (rate * emphasis) if rate else np.inf
            for x in gradient.values():
                np.clip(x, -bound, bound, out=x)
        # From here to the end is one update: nothing in between waits or raises.
        self.optimizer.step(
            params, gradient, state.optimizer, rate * emphasis, self.penalties, self.n_threads
        )
        if self.decrements:
            first = self.schedule(0, n_updates)
            share = rate / first if first else 1.0
            for key, amount in self.decrements.items():
                params[key] -= params[key].dtype.type(amount * share)
        state.offsets = offsets
        state.phases = phases
        state.update += 1
        return rate

    def epochs(
        self,
        params: Params,
        data: Mapping[str, Rows] | Blocks,
        state: TrainingState,
        *,
        batch_size: int,
        n_epochs: int,
        seed: int,
        sample_weight: np.ndarray | None = None,
        shuffle: bool = True,
        decay: bool = True,
        resume: bool = False,
    ) -> Iterator[TrainingState]:
        """Make passes over the data, yielding after each.

        Rows in memory are shuffled in each pass; blocks come in their order, and the rows of each
        are shuffled.

        Parameters
        ----------
        n_epochs : int
            Passes to make.
        decay : bool
            Whether the learning rate's schedule ends with the last of these passes.
        resume : bool
            Go on with a training of so many passes in all, from where it was left.
        """
        compiled: np.ndarray | None = None
        ranks: Any = None
        in_memory = not isinstance(data, Blocks)
        if isinstance(data, Blocks):
            blocks = data
        else:
            compiled = PairLoop.serve(self, params, data, sample_weight, batch_size)
            blocks = Blocks.of(data, sample_weight)
            ranks = next(iter(data.values())).ranks
            if ranks is not None and compiled is None and not state.is_general:
                raise ValueError(_NOT_SHARED)
        n_updates = None
        if decay:
            assert blocks.n_rows is not None, "a schedule that ends needs the number of rows"
            n_updates = -(-blocks.n_rows // batch_size) * n_epochs
            n_updates += 0 if resume else state.update
        if resume:
            self._recall(state)
        for _ in state.passes(n_epochs, resume):
            begin = time.perf_counter()
            position, state.position = state.position, {}
            rate, first = position.get("rate", 0.0), 0
            with threads.computing(), deferred_interrupt(ranks is None) as event:
                interrupted = event if ranks is None else ranks.event(event)
                for number, (rows, weights) in enumerate(blocks.read(state.epoch + 1)):
                    n = len(next(iter(rows.values())))
                    left_at = position.get("block", 0)
                    if number >= left_at:
                        order = np.arange(n)
                        if shuffle:
                            address = rng.Address.of(seed, "shuffle", step=state.epoch, row=first)
                            order = rng.permutation(address, n)
                        if not in_memory and not state.is_general:
                            compiled = PairLoop.serve(self, params, rows, weights, batch_size)
                        start, rate = self._minibatches(
                            params,
                            rows,
                            weights,
                            state,
                            order,
                            position.get("start", 0) if number == left_at else 0,
                            rate,
                            None if state.is_general else compiled,
                            batch_size,
                            n_updates,
                            blocks.mean_weight,
                            interrupted,
                        )
                        if interrupted.is_set():
                            state.seconds += time.perf_counter() - begin
                            state.position = {"block": number, "start": start, "rate": rate}
                            raise interrupts.after(state.update, state.epoch)
                    first += n
                    del rows, weights  # before the next block is made
            state.epoch += 1
            state.seconds += time.perf_counter() - begin
            state.record(epoch=state.epoch, seconds=state.seconds, learning_rate=rate)
            self._check_finite(params, state)
            self._watch(params, state)
            yield state
            if interrupted.is_set():  # since the last update
                raise Interrupted(f"interrupted after epoch {state.epoch}.")
            if state.finished:
                return

    def _minibatches(
        self,
        params: Params,
        data: Mapping[str, Rows],
        sample_weight: np.ndarray | None,
        state: TrainingState,
        order: np.ndarray,
        start: int,
        rate: float,
        compiled: np.ndarray | None,
        batch_size: int,
        n_updates: int | None,
        mean_weight: float,
        interrupted: Any,
    ) -> tuple[int, float]:
        """Updates over a block of rows from ``start`` on, until its end or an interruption.

        Returns the rows that were taken, and the rate of the last update.
        """
        n = len(order)
        loop: PairLoop | None = None
        ranks = next(iter(data.values())).ranks
        due = self._next_look(state.update, ranks)
        try:
            while start < n:
                if compiled is not None and loop is None:
                    (group,) = self.objective.observed
                    loop = PairLoop(
                        self,
                        params,
                        state,
                        compiled,
                        batch_size,
                        partial(data[group].take, order[:batch_size]),
                        None if data[group].ranks is None else data[group],
                        interrupted,
                    )
                if loop is not None:
                    end = n if due is None else start + (due - state.update) * batch_size
                    made, rate = loop.run(order[start:end], n_updates, self)
                    start += made * batch_size
                    if made == 0 and not interrupted.is_set():
                        # Weights whose sums leave the range of fixed point.
                        loop.close()
                        loop = compiled = None
                        state.is_general = True
                else:
                    chosen = order[start : start + batch_size]
                    start += batch_size
                    weights, emphasis = None, 1.0
                    if sample_weight is not None:
                        weights = sample_weight[chosen]
                        # A minibatch counts by the weight of its rows, so that over an epoch every
                        # row does.
                        emphasis = float(weights.mean()) / mean_weight
                        if emphasis == 0:
                            continue
                    batch = {g: x.take(chosen) for g, x in data.items()}
                    try:
                        rate = self.update(params, batch, state, weights, n_updates, emphasis)
                    except GivenUp:
                        start -= batch_size
                        break
                if state.update == due:
                    if loop is not None:
                        loop.flush()
                    for one in self.observers:
                        if one.due(due - 1) == due:
                            one.observe(params, state)
                    due = self._next_look(due, ranks)
                if interrupted.is_set():
                    break
        finally:
            # Also when a schedule raises: the chains are those of the last update.
            if loop is not None:
                loop.close()
        return min(start, n), rate

    def _next_look(self, update: int, ranks: Any) -> int | None:
        """Number of the update after which some observer looks next, on any of the ranks.

        Observers may be on some ranks only, but all ranks have to stop there: they hand out rows,
        and put together what each has a part of, at the same time.
        """
        looks = [one.due(update) for one in self.observers]
        if ranks is not None:
            looks = [one for theirs in ranks.each(looks) for one in theirs]
        return min(looks, default=None)

    @staticmethod
    def _check_finite(params: Params, state: TrainingState) -> None:
        """Raise a sentence after an epoch that has left numbers."""
        for key, x in params.items():
            if not np.isfinite(x).all():
                raise FloatingPointError(
                    f"parameter {key!r} is not finite after epoch {state.epoch}: the training "
                    f"has left the region in which the energy has a distribution. Lower the "
                    f"learning rate, standardise real-valued columns, or take bounded hidden "
                    f"units such as hidden='bernoulli'."
                )

    def _watch(self, params: Params, state: TrainingState) -> None:
        """Have early stopping look at an epoch."""
        if self.monitor is not None:
            seen = getattr(self.monitor, "seen", None)
            judged = params if seen is None else seen(params, state)
            state.finished = bool(self.monitor(judged, state))
            state.kept = {name: getattr(self.monitor, name) for name in self._kept}

    def _recall(self, state: TrainingState) -> None:
        """Give early stopping what it kept."""
        for name in self._kept:
            if name in state.kept:
                setattr(self.monitor, name, state.kept[name])

    @property
    def _kept(self) -> tuple[str, ...]:
        return getattr(self.monitor, "kept", ())


class Best:
    """Early stopping of a model's own: the best parameters so far, as `Trainer.monitor`.

    Parameters
    ----------
    model : estimator
        Whose ``params_`` are trained.

    Attributes
    ----------
    params : dict of arrays
        Empty before the first measurement.
    epoch : int
        After which the model had them.
    """

    kept: tuple[str, ...] = ("params", "epoch")

    def __init__(self, model: Any) -> None:
        self.model = model
        self.params: Params = {}
        self.epoch = 0

    def seen(self, params: Params, state: TrainingState) -> Params:
        """What is judged after an epoch: a callback's mean of parameters, where there is one."""
        for one in self.model.callbacks or ():
            if hasattr(one, "averaged"):
                params = one.averaged(params, state)
        return params

    def keep(self, params: Params, state: TrainingState) -> None:
        """The best parameters are these."""
        self.params = {key: x.copy() for key, x in params.items()}
        self.epoch = state.epoch

    def put_back(self) -> None:
        """Give the model its best parameters, in place, and say of which epoch they are."""
        for key, x in self.params.items():
            np.copyto(self.model.params_[key], x)
        self.model.best_iter_ = self.epoch


class BestScore(Best):
    """Early stopping: the parameters with the highest score so far.

    Parameters
    ----------
    model : estimator
        Whose ``params_`` are trained.
    score_of : callable
        From a model, which is like this one and has the parameters that are judged, to a number.
    every : int
        Epochs from one score to the next; what lies between has NaN in the history.
    patience : int
        Scores without a new best after which the training ends.

    Attributes
    ----------
    score : float
        The best.
    since : int
        Scores since the best.
    """

    kept = ("params", "score", "epoch", "since")

    def __init__(
        self, model: Any, score_of: Callable[[Any], float], *, every: int, patience: int
    ) -> None:
        super().__init__(model)
        self.score_of = score_of
        self.every = every
        self.patience = patience
        self.score = -np.inf
        self.since = 0

    def __call__(self, params: Params, state: TrainingState) -> bool:
        if state.epoch % self.every:
            state.record(validation=np.nan)
            return False
        # What is judged need not be what the model has: a callback may average parameters.
        judged = copy(self.model)
        judged.params_ = params
        score = self.score_of(judged)
        state.record(validation=score)
        self.since += 1
        if score > self.score:
            self.score, self.since = score, 0
            self.keep(params, state)
        return self.since >= self.patience

    def put_back(self) -> None:
        """Give the model its best parameters, in place, with their epoch and score."""
        super().put_back()
        self.model.best_score_ = self.score


def run(
    epochs: Iterator[TrainingState],
    params: Params,
    *,
    model: Any,
    n_iter: int,
    callbacks: Sequence[Callback] = (),
    state: TrainingState | None = None,
    resume: bool = False,
    is_whole: bool = True,
) -> None:
    """Drive a training to its end, calling the callbacks after each epoch.

    Those with a method ``end`` have it called when the training ends, for whatever reason.

    Parameters
    ----------
    state : TrainingState, optional
        That of the training, which callbacks that hear of Ctrl-C are told.
    resume : bool
        Whether the training goes on from a file, and so the callbacks from what it says of them.
    is_whole : bool
        Of the `Progress` that callbacks are handed.
    """
    callbacks = sorted(callbacks, key=lambda one: getattr(one, "comes_last", False))
    if resume and state is not None:
        restore_callbacks(callbacks, state.callbacks)
    is_at_rest = False
    try:
        for state in epochs:
            is_at_rest = True
            progress = Progress(model, params, state, n_iter, is_whole)
            # Every callback is called, also when an earlier one asks to stop.
            for callback in callbacks:
                if getattr(callback, "comes_last", False):
                    state.complete()
                    state.callbacks = states_of_callbacks(callbacks)
                if callback(progress):
                    state.finished = True
            state.complete()
            state.callbacks = states_of_callbacks(callbacks)
            if state.finished:
                break
            is_at_rest = False
    except KeyboardInterrupt as stop:
        # A second Ctrl-C may come in the midst of an update: there is nothing whole to save then.
        if state is not None and (is_at_rest or isinstance(stop, Interrupted)):
            told = [one for one in callbacks if hasattr(one, "interrupted")]
            if not is_at_rest:
                # Those that look within the epochs know more than they did after the last one.
                state.callbacks = states_of_callbacks(callbacks)
            progress = Progress(model, params, state, n_iter, is_whole)
            said = [one.interrupted(progress) for one in told]
            if said:
                raise Interrupted(" ".join([*map(str, stop.args), *said])) from None
        raise
    finally:
        for one in callbacks:
            if state is not None and hasattr(one, "end"):
                one.end(Progress(model, params, state, n_iter, is_whole))
        if state is not None:
            state.callbacks = states_of_callbacks(callbacks)


def _with_state(callbacks: Sequence[Callback]) -> dict[str, Any]:
    """Callbacks that remember something, by the names of their classes and, from 2 on, numbers."""
    found: dict[str, Any] = {}
    for one in callbacks:
        if hasattr(one, "state_dict"):
            name = type(one).__name__
            n = sum(key.partition("#")[0] == name for key in found)
            found[f"{name}#{n + 1}" if n else name] = one
    return found


def states_of_callbacks(callbacks: Sequence[Callback]) -> dict[str, dict[str, Any]]:
    """What callbacks remember, by their names."""
    states = {name: one.state_dict() for name, one in _with_state(callbacks).items()}
    for name, state in states.items():
        if not isinstance(state, dict):
            raise TypeError(f"state_dict() of {name} must return a dict; got {state!r}.")
    return states


def restore_callbacks(callbacks: Sequence[Callback], states: Mapping[str, Any]) -> None:
    """Hand to callbacks what those of their names remembered.

    One that is new begins anew; one that is missing is an error, as the training would go on
    without it.
    """
    known = _with_state(callbacks)
    for name, state in states.items():
        if name not in known:
            raise ValueError(
                f"the training had a callback {name}, whose state is in the file, but none of "
                f"those given now has that name and a state (with one: "
                f"{', '.join(known) or 'none'}). Give it again, as it was made."
            )
        known[name].load_state_dict(state)
