"""What every model that is trained has in common, and what those trained as an energy have.

A model of an energy is a description and a face. The description is two answers, `_declare` (the
energy) and `_likelihoods` (what is maximised); the face checks what a person gives, and hands the
observed groups to `_fit`. All between the two is here.
"""

from __future__ import annotations

import copy
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import chain
from typing import Any, TypeVar, cast

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import rng, threads
from ..chunks import (
    Part,
    block_rows,
    is_chunked,
    parts_of,
    passes_over,
    real_types,
    regrouped,
    take_names,
)
from ..diagnostics import SamplingInfo
from ..diagnostics import run as run_diagnosed
from ..distributed import Ranks, SharedRows, together
from ..energy import Energy
from ..enumeration import Enumeration, split
from ..gibbs import Gibbs, layer
from ..jobs import step_in_jobs
from ..likelihood import (
    AUTO_LOG2_STATES,
    ConditionalLogPartition,
    LogPartition,
    check_options,
    conditional_ais,
    impossible,
    log_partition,
)
from ..objectives import Chains, LogLikelihood, Objective
from ..optimizers import RATES, Linear, Schedule, as_optimizer, as_schedule
from ..persistence import Checkpoint, SavedEstimator, fingerprint, is_same
from ..tempering import TemperedState, Tempering, TrajectoryTempering
from ..terms import Params
from ..training import (
    Best,
    Blocks,
    Callback,
    Observer,
    Progress,
    Rows,
    Trainer,
    TrainingState,
    restore_callbacks,
    run,
    states_of_callbacks,
)
from ..units import BY_NAME, Own, Unit
from ..units.spin import refuse_bits
from ..validation import (
    check_callbacks,
    check_count,
    check_flag,
    check_number,
    not_by_group,
    one_of,
)

#: Rows that are worked on at once where memory would otherwise grow with the data.
CHUNK_ROWS = 4096
#: With real-valued units one outlier can be worth hundreds of ordinary rows, so the change of a
#: parameter in one update is bounded; at usual rates the bound is not met.
_LARGEST_CHANGE = 1.0
#: Constructor's arguments that say which parameters there are; a model that has learnt keeps them.
_STRUCTURE = frozenset(
    {
        *("n_components", "n_hidden", "n_recurrent", "n_nuisance", "n_factors", "layers", "order"),
        *("visible", "hidden", "units", "groups", "terms", "edges", "given", "mode"),
        *("recurrent", "emits", "weight_rank"),
    }
)
#: Observed groups of one training: group -> array or CSR matrix of shape (n_rows, size).
Data = Mapping[str, Any]
_Learning = TypeVar("_Learning", bound=Callable[..., Any])


def check_rows(model: Any, X: Any, y: Any = "no_validation", *, reset: bool, **options: Any) -> Any:
    """Rows as scikit-learn's checks leave them, with its sentences.

    Of an array in which they would find nothing they are not asked: they take as long as a small
    model takes to learn from a hundred rows.
    """
    if not reset and isinstance(y, str) and _is_plain(model, X):
        return X
    refuse_chunks(model, X, learns=reset)
    options = {"accept_sparse": "csr", "dtype": real_types(X), **options}
    return validate_data(model, X, y, reset=reset, **options)


def refuse_chunks(model: Any, X: Any, name: str = "X", *, learns: bool = False) -> None:
    """Raise a sentence if X is a function or an iterator of chunks, where rows are needed."""
    if not is_chunked(X) or hasattr(X, "shape"):  # what Dask has become rows when they are checked
        return
    what = "an iterator of chunks" if isinstance(X, Iterator) else "a function of chunks"
    remedy = "call the method for each chunk"
    if learns and hasattr(model, "partial_fit"):
        remedy = "for more than fit into memory, call partial_fit with some at a time"
    raise TypeError(
        f"{name} must be an array, a matrix or a table of rows; got {what} ({type(X).__name__}), "
        f"which {type(model).__name__} does not read here; {remedy}."
    )


def _is_plain(model: Any, X: Any) -> bool:
    """Whether X is an array of reals with the columns that a model without names has seen."""
    if (
        type(X) is not np.ndarray
        or X.ndim != 2
        or X.dtype not in (np.float32, np.float64)
        or X.shape[0] == 0
        or X.shape[1] != getattr(model, "n_features_in_", None)
        or hasattr(model, "feature_names_in_")
    ):
        return False
    # Where an end is infinite or NaN, scikit-learn finds out why.
    return math.isfinite(X.max(initial=0)) and math.isfinite(X.min(initial=0))


def unchanged_if_refused(method: _Learning) -> _Learning:
    """Let a method that learns change nothing of the model where it fails before its first update.

    Rows, labels and parameters are checked one after another, and scikit-learn counts columns as it
    checks them: without this, a fitted model would refuse the data that it knows, because others
    were refused. Once an update was made the model stays where that left it.
    """

    @wraps(method)
    def learn(self: Any, *args: Any, **options: Any) -> Any:
        before = dict(vars(self))
        training, n_updates = getattr(self, "_training", None), _updates_of(self)
        try:
            return method(self, *args, **options)
        except BaseException:
            same = getattr(self, "_training", None) is training
            if _updates_of(self) == (n_updates if same else 0):
                for name in vars(self).keys() - before.keys():
                    delattr(self, name)
                vars(self).update(before)
            raise

    return cast(_Learning, learn)


def _updates_of(model: Any) -> int:
    """Updates that a model's training has made; 0 before there is one."""
    training = getattr(model, "_training", None)
    return 0 if training is None else training.update


class TrainedEstimator(SavedEstimator, BaseEstimator):
    """What every model that is trained in minibatches has in common.

    A subclass has the parameters named here as constructor arguments, and in `fit` makes
    ``params_``, the training's state and the model's sequence of seeds (``_draws``).

    Attributes
    ----------
    params_ : dict of arrays
    history_ : dict of lists
        One entry an epoch.
    n_iter_ : int
        Epochs made.
    """

    method: str
    learning_rate: Any
    batch_size: int
    n_iter: int
    optimizer: Any
    momentum: float
    l1: float
    l2: float
    centered: bool
    n_threads: int | None
    callbacks: Sequence[Callback] | None
    verbose: int
    random_state: Any

    #: What the parameter `method` may name.
    _methods: tuple[str, ...]

    params_: Params
    _training: TrainingState
    _seed: int
    _draws: np.random.Generator
    _begun_with: dict[str, Any]
    #: The processes that share the training, while there is one.
    _ranks: Ranks | None = None

    # -- checks --------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        """Raise a sentence if a parameter common to all models makes no sense."""
        check_count("batch_size", self.batch_size)
        check_count("n_iter", self.n_iter, minimum=0)
        check_number("momentum", self.momentum, 0, below=1)
        check_number("l1", self.l1, 0)
        check_number("l2", self.l2, 0)
        one_of("method", self.method, self._methods)
        check_flag("centered", self.centered)
        if not isinstance(self.verbose, (bool, np.bool_)):
            check_count("verbose", self.verbose, minimum=0)
        check_callbacks(self.callbacks)

    def _structure(self) -> dict[str, Any]:
        """The constructor's arguments that say which parameters there are."""
        return {k: x for k, x in self.get_params(deep=False).items() if k in _STRUCTURE}

    def _check_structure(self) -> None:
        """Raise a sentence if a model that is to learn on was given another structure meanwhile."""
        if "params_" not in vars(self):
            return
        # A model of an older file does not know what it was begun with.
        for name, then in getattr(self, "_begun_with", {}).items():
            now = getattr(self, name)
            if now is not then and not is_same(name, then, now):
                raise ValueError(
                    f"the model was begun with {name}={then!r}, but now it is {now!r}; "
                    f"partial_fit goes on with the units and the parameters that there are. Set it "
                    f"back, or begin anew with fit."
                )

    def _check_weights(
        self, sample_weight: Any, X: Any, is_part: bool = False
    ) -> np.ndarray | None:
        """Weights of the rows of X, or None; those of a part of the rows may all be zero."""
        if sample_weight is None:
            return None
        if is_part and np.shape(sample_weight) == X.shape[:1] and not np.any(sample_weight):
            return np.zeros(X.shape[0], _single(X.dtype))
        dtype = _single(X.dtype)
        weight = _check_sample_weight(sample_weight, X, dtype=dtype, ensure_non_negative=True)
        if weight.sum() == 0:
            raise ValueError("sample_weight is zero for every row; give some row a weight.")
        return weight

    def _check_support(self, unit: Unit, X: Any, name: str = "X") -> Any:
        """Rows as the units can take them, or a sentence if they hold other values.

        Those that rounding has put beyond an end of what the units take come back at that end.
        """
        try:
            self._refuse_values(unit, X, name)
            return X
        except ValueError:
            near = unit.put_back(X)
            if near is X:
                raise
        self._refuse_values(unit, near, name)
        return near

    def _refuse_values(self, unit: Unit, X: Any, name: str) -> None:
        """Raise a sentence if rows hold values that the units cannot take."""
        if not hasattr(X, "toarray") and X.dtype.kind == "f":
            unit.check_support(name, X.reshape(len(X), *unit.shape))
            refuse_bits(unit, X, name)
            return
        for start in range(0, X.shape[0], CHUNK_ROWS):
            rows = X[start : start + CHUNK_ROWS]
            rows = rows.toarray() if hasattr(rows, "toarray") else rows.astype(np.float32)
            unit.check_support(name, rows.reshape(len(rows), *unit.shape))
            refuse_bits(unit, rows, name)

    # -- training ------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Drop what only some trainings leave, so that it is not taken for that of a new one."""
        for name in ("best_iter_", "best_score_", "trajectory_"):
            self.__dict__.pop(name, None)

    def _run(
        self,
        epochs: Iterator[TrainingState],
        n_epochs: int,
        resume: bool = False,
        best: Best | None = None,
        *,
        is_whole: bool,
    ) -> None:
        """Drive a training to its end, with callbacks, progress and early stopping."""
        state, ranks = self._training, self._ranks
        callbacks = list(self.callbacks or ())
        is_first = ranks is None or ranks.rank == 0
        if not is_first:
            callbacks = [one for one in callbacks if not isinstance(one, Checkpoint)]
        bar = None
        if self.verbose and is_first:
            bar = _ProgressBar(n_epochs, state.epoch if resume else 0)
            callbacks.append(bar)
        if ranks is not None:
            if resume:
                # The file has the states of the first rank's callbacks; others may have fewer.
                mine = states_of_callbacks(callbacks)
                if not is_first:
                    state.callbacks = {k: x for k, x in state.callbacks.items() if k in mine}
                ranks.agree(lambda: restore_callbacks(callbacks, state.callbacks))
            # The last but for checkpoints: if one process ends the training, all do.
            callbacks.append(lambda progress: ranks.any(progress.state.finished))
        try:
            try:
                run(
                    epochs,
                    self.params_,
                    model=self,
                    n_iter=n_epochs,
                    callbacks=callbacks,
                    state=state,
                    resume=resume,
                    is_whole=is_whole,
                )
            finally:
                # Also where the training was interrupted, or failed.
                if best is not None and best.params:
                    best.put_back()
            for one in callbacks:
                if isinstance(one, Checkpoint):
                    one.over(Progress(self, self.params_, state, n_epochs, is_whole))
        finally:
            state.kept = {}
            if bar is not None:
                bar.close()

    @property
    def _checkpoints(self) -> list[Checkpoint]:
        return [one for one in self.callbacks or () if isinstance(one, Checkpoint)]

    def _will_resume(self) -> bool:
        """Whether a training that has been begun is in the file of a `Checkpoint`."""
        return any([one.exists() for one in self._checkpoints])

    def _resume(self, *tables: Any, mark: str | None = None) -> bool:
        """Go to where a `Checkpoint` left a training of these data, if there is one.

        ``mark`` is the data's fingerprint, where it is known.
        """
        checkpoints = self._checkpoints
        if not checkpoints:
            return False
        ranks = self._ranks
        mark = fingerprint(tables, ranks=ranks) if mark is None else mark
        if ranks is None:
            resumed = any([one.take_up(self, mark) for one in checkpoints])
        else:
            # The file need not be seen by other machines than that of the first rank.
            resumed = ranks.agree(
                lambda: ranks.rank == 0 and any([one.take_up(self, mark) for one in checkpoints])
            )
            if resumed := ranks.of_first(resumed):
                given = (*self.get_params(deep=False), "_ranks")
                learnt = {k: v for k, v in vars(self).items() if k not in given}
                for name, value in ranks.of_first(learnt).items():
                    setattr(self, name, value)
        self._training.fingerprint = mark
        return resumed

    # -- what was learnt -----------------------------------------------------------------------

    def _learnt(self, name: str) -> Params:
        """The parameters, for a part of the fitted model that does not exist before `fit`."""
        if "params_" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}; call fit first."
            )
        return self.params_

    @property
    def history_(self) -> dict[str, list[Any]]:
        """What was recorded, one entry an epoch."""
        self._learnt("history_")
        return self._training.history

    @property
    def n_iter_(self) -> int:
        """Epochs made."""
        self._learnt("n_iter_")
        return self._training.epoch

    def _bias_keys(self) -> set[str]:
        """Parameters that are no weights: biases, and what else units have of their own."""
        raise NotImplementedError

    def _sampling_seed(self, random_state: Any) -> int:
        """Seed of one call: as given, or the next of the fitted model's own sequence."""
        return rng.seed_from(self._draws if random_state is None else random_state)


class EnergyEstimator(TrainedEstimator, ABC):
    """Base of the models: an energy, its training, and what was learnt.

    A subclass answers `_declare` and `_likelihoods`, has the parameters named here as constructor
    arguments (or as attributes of the class), and calls `_fit` or `_partial_fit` with its observed
    groups after its own checks. It may refine how a training starts (`_start_of_group`,
    `_weight_scale`, `_starting_params`) and what it maximises (`_objective`).

    Attributes
    ----------
    energy_ : Energy
    params_ : dict of arrays
    log_partition_ : LogPartition
    history_ : dict of lists
        One entry an epoch.
    n_iter_ : int
        Epochs made.
    """

    n_gibbs: int
    n_chains: int | None

    #: Negative phases that the parameter `method` may name.
    _methods: tuple[str, ...] = ("pcd", "cd", "exact", "tempered", "trajectory")

    energy_: Energy

    # -- what a model answers ------------------------------------------------------------------

    @abstractmethod
    def _declare(self, data: Data) -> Energy:
        """The energy, for these observed groups."""

    @abstractmethod
    def _likelihoods(self) -> LogLikelihood | Sequence[LogLikelihood]:
        """What is maximised; `_likelihood` makes one from the parameters."""

    def _likelihood(
        self, of: Any, given: Any = (), weight: float = 1.0, **options: Any
    ) -> LogLikelihood:
        """``weight * log p(of | given)`` with the negative phase that the parameters name."""
        n_chains = self.batch_size if self.n_chains is None else self.n_chains
        phases = {"negative": self.method, "n_gibbs": self.n_gibbs, "n_chains": n_chains}
        return LogLikelihood(of, given, weight, **(phases | options))  # type: ignore[arg-type]

    def _objective(self, energy: Energy, n_threads: int) -> Objective:
        return Objective(energy, self._likelihoods(), n_threads)

    def _starting_params(self, energy: Energy, dtype: np.dtype) -> Params:
        """Parameters before the data are looked at."""
        return energy.init(self._seed, self._weight_scale(energy), dtype)

    def _weight_scale(self, energy: Energy) -> float:
        # Large enough that the hidden units differ from the start: from tiny weights learning
        # spends its first epochs leaving the saddle where all of them do nothing.
        return float(sum(u.size for u in energy.groups.values()) ** -0.5)

    def _start_of_group(self, unit: Unit, mean: np.ndarray, square: np.ndarray) -> Own:
        """An observed group's own parameters, from the moments of its data."""
        return unit.from_moments(mean, square)

    def _doubt(self, group: str, unit: Unit, square: np.ndarray) -> str | None:
        """A sentence where learning from data of this mean square is likely to fail, or None."""
        return unit.doubt(f"group {group!r}", square)

    # -- checks --------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_gibbs", self.n_gibbs)
        if self.n_chains is not None:
            check_count("n_chains", self.n_chains)

    def _unit(self, name: str, n: int) -> Unit:
        """The unit type that a parameter names, for ``n`` columns or components."""
        kind = getattr(self, name)
        if isinstance(kind, str):
            one_of(name, kind, BY_NAME)
            if BY_NAME[kind].event_axes:
                raise ValueError(
                    f"{name}='{kind}' does not say how many states a unit has; give the unit with "
                    f"its shape, e.g. {name}=fastboltz.{BY_NAME[kind].__name__}(n_units, n_states)."
                )
            return BY_NAME[kind](n)
        if isinstance(kind, type) and issubclass(kind, Unit):
            return kind(n)
        if not isinstance(kind, Unit):
            raise TypeError(
                f"{name} must be a name ({', '.join(map(repr, BY_NAME))}) or a unit type; "
                f"got {kind!r}."
            )
        if name == "visible" and kind.size != n:
            raise ValueError(
                f"visible={kind!r} has {kind.size} entries, but X has {n} columns; give one "
                f"column an entry."
            )
        if name == "hidden" and kind.n_units != n:
            raise ValueError(
                f"hidden={kind!r} has {kind.n_units} units, but n_components is {n}; make them "
                f"equal."
            )
        return kind

    def _observed_kinds(self) -> list[Any]:
        """Names, types or declarations of the units that rows are given of."""
        return [getattr(self, "visible", None)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = all(map(refuses_negative, self._observed_kinds()))
        return tags

    # -- training ------------------------------------------------------------------------------

    def _fit(self, data: Data, weight: np.ndarray | None = None) -> None:
        """Learn from rows of the observed groups, anew."""
        self._begin(data, weight)
        if not self._will_resume():
            self._pretrain(data, weight)
        self._train(data, weight, self.n_iter, decay=True)

    def _pretrain(self, data: Data | Callable[[int], Iterator[Part]], weight: Any) -> None:
        """What is learnt from all rows before the first update: here nothing.

        Data in chunks are a function that begins a pass over blocks and is told the epoch.
        """

    def _fit_shared(self, check: Callable[[], Data], comm: Any) -> None:
        """Learn from rows of the observed groups of which this process holds a part.

        Parameters
        ----------
        check : callable
            Makes the data of what a person gave, or raises a sentence.
        comm : mpi4py.MPI.Intracomm
        """
        with together(comm) as ranks:
            apart = ("callbacks", "n_threads", "random_state", "verbose")
            same = {k: v for k, v in self.get_params(deep=False).items() if k not in apart}
            ranks.check_same(type(self).__name__, same)
            data = ranks.agree(check)
            for x in data.values():
                ranks.check_shards(x)
            self._ranks = ranks
            try:
                self._fit(data)
            finally:
                del self._ranks
            # What callbacks measured, or put back, may differ by the time that they took.
            ranks.copy_first(list(self.params_.values()))
            self._training.history = ranks.of_first(self._training.history)
            self._training.seconds = ranks.of_first(self._training.seconds)

    def _partial_fit(self, data: Data, weight: np.ndarray | None = None) -> None:
        """One pass, going on from where the model stands."""
        if not hasattr(self, "params_"):
            self._begin(data, weight)
        self._train(data, weight, 1, decay=False)

    #: What a chunk consists of, besides weights.
    _chunk: tuple[str, ...] = ("rows",)

    def _fit_chunks(
        self,
        X: Any,
        sample_weight: Any,
        prepare: Callable[[Any], None] | None = None,
        **known: Any,
    ) -> None:
        """Learn from chunks, anew: a pass that checks and counts them, then those of the training.

        Nothing of the model changes before all chunks were seen. ``prepare`` is then called with a
        copy of the model that has seen them; ``known`` are attributes that it has before.
        """
        begin = self._passes_over(X, sample_weight, "fit")
        fresh = copy.copy(self)
        for name, value in known.items():
            setattr(fresh, name, value)
        survey: _Survey | None = None
        for data, weight in self._blocks(begin(0), fresh, is_new=True):
            survey = survey or _Survey(self, fresh.energy_, fresh._dtype)
            survey.add(data, weight)
            del data, weight  # before the next block is made
        if survey is None:
            raise ValueError("the function that was given in place of rows returned no rows.")
        if survey.weight == 0:
            raise ValueError("sample_weight is zero for every row; give some row a weight.")
        if prepare is not None:
            prepare(fresh)
        take_names(self, fresh)
        self._begin_at(fresh.energy_, fresh._dtype, survey.moments, survey.weight)
        if not self._will_resume():
            self._pretrain(lambda epoch: self._blocks(begin(epoch), self), None)
        n_rows = survey.n_rows

        def read(epoch: int) -> Iterator[tuple[dict[str, Rows], np.ndarray | None]]:
            n = 0
            for data, weight in self._blocks(begin(epoch), self):
                n += next(iter(data.values())).shape[0]
                if n <= n_rows:
                    yield self._rows(data), weight
                del data, weight
            if n != n_rows:
                raise ValueError(
                    f"the chunks had {n_rows:,} rows together when they were first read, but "
                    f"{n:,} now; the function must return as many each time it is called."
                )

        self._train(
            Blocks(read, n_rows, survey.mean_weight, survey.fingerprint),
            None,
            self.n_iter,
            decay=True,
        )

    def _partial_fit_chunks(self, X: Any, sample_weight: Any, **known: Any) -> None:
        """One pass over chunks; a model that has learnt nothing yet begins at the first block."""
        begin = self._passes_over(X, sample_weight, "partial_fit")
        is_new = not hasattr(self, "params_")
        checker = copy.copy(self) if is_new else self
        for name, value in known.items():
            setattr(checker, name, value)
        epoch = 1 if is_new else 1 + self._training.epoch
        blocks = self._blocks(begin(epoch), checker, is_new=is_new)
        first = next(blocks, None)
        if first is None:
            raise ValueError("there was no chunk of rows; partial_fit needs one at least.")
        if is_new:
            take_names(self, checker)
            self._begin(*first)
        read = ((self._rows(data), weight) for data, weight in chain([first], blocks))
        # No mean weight is known: a row of weight one counts as one.
        self._train(Blocks(lambda epoch: read, None), None, 1, decay=False)

    def _passes_over(self, X: Any, sample_weight: Any, name: str) -> Callable[[int], Iterator[Any]]:
        if sample_weight is not None:
            raise ValueError(
                f"the weights of chunks come with them: let each be a tuple "
                f"({', '.join(self._chunk)}, sample_weight), and leave the argument sample_weight "
                f"out."
            )
        self._check_parameters()
        return passes_over(X, name)

    def _blocks(
        self, chunks: Iterator[Any], checker: EnergyEstimator, is_new: bool = False
    ) -> Iterator[Part]:
        """Checked rows in blocks; the first chunk of a new training makes its declaration."""

        def checked() -> Iterator[Part]:
            is_first = is_new
            for chunk in chunks:
                X, weight = parts_of(chunk, self._chunk)
                data, weight = checker._check_chunk(X, weight, reset=is_first)
                if is_first:
                    checker.energy_ = checker._declare(data)
                    checker._dtype = _precision(data)
                is_first = False
                yield data, weight

        parts = checked()
        first = next(parts, None)
        if first is not None:
            n = block_rows(first[0], checker._dtype, self.batch_size)
            yield from regrouped(chain([first], parts), n)

    def _check_chunk(
        self, X: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Data, np.ndarray | None]:
        """Checked rows of the observed groups, and weights, of what `fit` is given."""
        raise TypeError(
            f"{type(self).__name__} does not take chunks of rows; call its partial_fit for each, "
            f"if it has one, or give an array."
        )

    def _begin(self, data: Data, weight: np.ndarray | None) -> None:
        """Everything learnt, before the first update."""
        energy, dtype = self._declare(data), _precision(data)
        self._dtype = dtype
        rows = self._rows(data, energy)
        # A row of weight two counts as two rows, one of weight zero as none.
        n_rows: float = len(next(iter(rows.values())))
        if weight is not None:
            n_rows = float(weight.sum(dtype=np.float64))
        moments = {g: self._moments(x, weight) for g, x in rows.items()}
        self._begin_at(energy, dtype, moments, n_rows)

    def _begin_at(
        self,
        energy: Energy,
        dtype: np.dtype,
        moments: Mapping[str, tuple[np.ndarray, np.ndarray]],
        n_rows: float,
    ) -> None:
        """Everything learnt, before the first update, from the moments of the data."""
        self._seed = rng.seed_from(self.random_state)
        if self._ranks is not None:
            self._seed = self._ranks.of_first(self._seed)
        trainer = self._trainer(energy)
        params = self._starting_params(energy, dtype)
        base_rates = {}
        for g, (mean, square) in moments.items():
            unit = energy.groups[g]
            if (doubt := self._doubt(g, unit, square)) is not None:
                warnings.warn(doubt, UserWarning, stacklevel=6)
            mean, square = _smoothed(unit, mean, square, n_rows)
            for p, start in self._start_of_group(unit, mean, square).items():
                params[energy.own_key(g, p)] = start.astype(dtype)
            base_rates[g] = mean
        self._dtype = dtype
        self._base_rates = base_rates
        # Apart from the seeds that the training draws from this one.
        self._draws = np.random.default_rng([self._seed, 1])
        self.energy_ = energy
        self.params_ = params
        self._training = trainer.init(params, self._seed)
        self._begun_with = self._structure()
        self._forget()
        self._log_partition: tuple[int, LogPartition] | None = None

    def _moments(self, rows: Rows, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return rows.moments(weight)

    def _weight_of_moments(self, rows: Rows, weight: np.ndarray | None) -> Any:
        """What the moments of some rows count in the mean over all: a number, or one an entry."""
        return float(len(rows)) if weight is None else float(weight.sum(dtype=np.float64))

    def _rows(self, data: Data, energy: Energy | None = None) -> dict[str, Rows]:
        """Rows of the observed groups: those in memory, or all of which this process holds some."""
        energy = self.energy_ if energy is None else energy
        of = {g: (x, energy.groups[g].shape, self._dtype) for g, x in data.items()}
        if self._ranks is None:
            return {g: Rows(*one) for g, one in of.items()}
        return {g: SharedRows(*one, self._ranks) for g, one in of.items()}

    def _schedule(self, energy: Energy) -> Schedule:
        if not (isinstance(self.learning_rate, str) and self.learning_rate == "auto"):
            if isinstance(self.learning_rate, str):
                one_of("learning_rate", self.learning_rate, ("auto",), RATES)
            return as_schedule(self.learning_rate)
        real = [unit.states() is None for unit in energy.groups.values()]
        # Real units on both sides drive each other: a large rate leaves energies without a minimum.
        rate = 0.01 if all(real) else 0.03 if any(real) else 0.1
        return Linear(rate * as_optimizer(self.optimizer).rate_factor)

    def _trainer(self, energy: Energy) -> Trainer:
        ranks = self._ranks
        resolve = threads.resolve if ranks is None else ranks.n_threads
        n_threads = resolve(self.n_threads)
        return Trainer(
            energy,
            self._objective(energy, n_threads),
            as_optimizer(self.optimizer, self.momentum),
            self._schedule(energy),
            centered=self.centered,
            l1=self.l1,
            l2=self.l2,
            limit=_LARGEST_CHANGE if _is_real(energy) else None,
            n_threads=n_threads,
        )

    def _train(
        self, data: Data | Blocks, weight: np.ndarray | None, n_epochs: int, decay: bool
    ) -> None:
        self._log_partition = None
        if isinstance(data, Blocks):
            resume = decay and self._resume(mark=data.fingerprint)
        else:
            resume = decay and self._resume(*data.values(), weight)
        trainer = self._trainer(self.energy_)
        every: list[Any] = list(self.callbacks or ())
        trainer.observers = [one for one in every if isinstance(one, Observer)]
        epochs = trainer.epochs(
            self.params_,
            data if isinstance(data, Blocks) else self._rows(data),
            self._training,
            batch_size=self.batch_size,
            n_epochs=n_epochs,
            seed=self._seed,
            sample_weight=weight,
            decay=decay,
            resume=resume,
        )
        self._run(epochs, n_epochs, resume, trainer.monitor, is_whole=decay)

    # -- what was learnt -----------------------------------------------------------------------

    @property
    def tempering_(self) -> dict[str, Any]:
        """Of a training with tempered chains: ``betas``, ``swap_rates`` and ``round_trips``.

        With ``method="trajectory"``, ``positions`` in place of inverse temperatures. All is counted
        since the levels were last placed, which is after every 100 sweeps.
        """
        self._learnt("tempering_")
        state = self._chain_state()
        for sampler in (Tempering(self.energy_), TrajectoryTempering(self.energy_, ())):
            if isinstance(state, TemperedState) and sampler.goes_on(state):
                return sampler.report(state)
        if self.method in ("tempered", "trajectory"):
            raise AttributeError(
                "there are no tempered chains: no update was made, or all that was maximised has "
                "negative phases without chains."
            )
        raise AttributeError(f"there are no tempered chains with method={self.method!r}.")

    def _chain_state(self) -> Chains | None:
        """Persistent chains of the first likelihood of the objective that keeps some."""
        return next((x for x in self._training.phases.chains if x is not None), None)

    def log_partition(self, method: str = "auto", **options: Any) -> LogPartition:
        """Log Z, with its 95 % interval.

        Parameters
        ----------
        method : {"auto", "exact", "ais"}
            "auto" enumerates the smaller side up to 2**20 states, and anneals beyond.
        **options
            Of `fastboltz.likelihood.ais`: ``betas`` (1000), ``n_chains`` (256), ``random_state``
            (the model's own seed, so that the answer is repeatable), ``progress``; and
            ``samples``, from which reverse annealing closes the interval from above: a dict of
            groups, rows of the observed group where there is one, or "chains", the persistent
            chains of the training.

        Returns
        -------
        LogPartition
        """
        check_is_fitted(self, "params_")
        if (samples := options.get("samples")) is not None:
            options["samples"] = self._samples_of(samples)
        options.setdefault("reference", self._reference())
        options.setdefault("random_state", self._seed)
        options.setdefault("n_threads", self.n_threads)
        return log_partition(self.energy_, self.params_, method, **options)

    def _credible(self, log_probabilities: np.ndarray, groups: Iterable[str]) -> np.ndarray:
        """Log-probabilities of rows of some groups, with a warning where they cannot be."""
        doubt = impossible(log_probabilities, [self.energy_.groups[g] for g in groups])
        if doubt is not None:
            warnings.warn(doubt, RuntimeWarning, stacklevel=3)
        return log_probabilities

    def conditional_log_partition(
        self, given: Mapping[str, Any], method: str = "auto", **options: Any
    ) -> ConditionalLogPartition:
        """Log Z of all that is not given, for each row, with its 95 % interval.

        Parameters
        ----------
        given : dict of arrays of shape (n_rows, *shape), or of rows (n_rows, size)
            Values of some groups of `energy_`.
        method : {"auto", "exact", "ais"}
            "auto" enumerates the cheaper side up to 2**20 states, and anneals beyond.
        **options
            Of `fastboltz.likelihood.conditional_ais`: ``betas`` (100), ``n_chains`` (16, of each
            row), ``random_state`` (the model's own seed), ``progress``; and ``samples``, a dict of
            groups that are not given, from which reverse annealing closes the intervals.

        Returns
        -------
        ConditionalLogPartition

        Warns
        -----
        RuntimeWarning
            With each of `ConditionalLogPartition.doubts`.
        """
        check_is_fitted(self, "params_")
        one_of("method", method, ("auto", "exact", "ais"))
        check_options("conditional_log_partition", conditional_ais, options)
        energy = self.energy_
        if not isinstance(given, Mapping):
            # Models of p(y | x) name what is given; of the others any group may be.
            raise not_by_group(self, given, getattr(self, "_given", ()) or energy.groups)
        given = {
            g: Rows(x, energy.groups[g].shape, self._dtype).take(slice(None))
            if g in energy.groups and np.shape(x)[1:] == (energy.groups[g].size,)
            else x
            for g, x in given.items()
        }
        given = energy._checked(self.params_, given, given)
        free = [g for g in energy.groups if g not in given]
        if method == "auto":
            try:
                small = split(energy, free).log2_states <= AUTO_LOG2_STATES
            except ValueError:
                small = False
            method = "exact" if small else "ais"
        if method == "exact":
            log_z = np.concatenate(
                [
                    Enumeration(
                        energy, self.params_, part, remedy="Use method='ais'."
                    ).log_partition()
                    for part in self._chunks(given)
                ]
            )
            return ConditionalLogPartition(log_z, 0 * log_z, np.full(len(log_z), np.inf))
        reference = {g: own for g, own in self._reference().items() if g in free}
        options.setdefault("reference", reference)
        options.setdefault("random_state", self._seed)
        options.setdefault("n_threads", self.n_threads)
        found = conditional_ais(energy, self.params_, given, **options)
        for doubt in found.doubts():
            warnings.warn(doubt, RuntimeWarning, stacklevel=2)
        return found

    def _reference(self) -> dict[str, Own]:
        """Independent units with the base rates of the data."""
        reference = {}
        for g, mean in self._base_rates.items():
            own = self.energy_.own(self.params_, g)
            reference[g] = {"bias": self.energy_.groups[g].reference_bias(own, mean)}
        return reference

    def _samples_of(self, samples: Any) -> Mapping[str, Any]:
        """What reverse annealing starts from, as values of groups."""
        if isinstance(samples, Mapping):
            return samples
        groups = list(self._base_rates)
        if isinstance(samples, str):
            if samples != "chains":
                raise ValueError(
                    f"samples must be 'chains', rows or a dict of groups; got {samples!r}."
                )
            state = self._chain_state()
            if state is None:
                raise ValueError("there are no persistent chains; give samples as rows.")
            return dict(state.values)
        if len(groups) > 1:
            raise ValueError(
                f"samples must be a dict, for the observed groups are {', '.join(groups)}."
            )
        rows = Rows(samples, self.energy_.groups[groups[0]].shape, self._dtype)
        return {groups[0]: rows.take(slice(None))}

    @property
    def log_partition_(self) -> LogPartition:
        """Log Z with its 95 % interval, computed when it is first asked for."""
        self._learnt("log_partition_")
        # It is that of one update: a callback may ask for it while the training goes on.
        if self._log_partition is None or self._log_partition[0] != self._training.update:
            self._log_partition = (self._training.update, self.log_partition())
        return self._log_partition[1]

    def _sampler(self, method: str, clamp: Sequence[str] = ()) -> Any:
        """The sampler that the parameter `method` of `sample` names."""
        one_of("method", method, ("gibbs", "tempered", "trajectory"))
        if method == "gibbs":
            return Gibbs(self.energy_, clamp, n_threads=self.n_threads)
        if method == "trajectory":
            return TrajectoryTempering(self.energy_, self._trajectory(), clamp, self.n_threads)
        # From independent uniform units, which favour no mode over another.
        return Tempering(self.energy_, clamp, self.n_threads)

    def _trajectory(self) -> Sequence[Params]:
        """Models that the training has gone through, where they were kept."""
        state = self._chain_state()
        if isinstance(state, TemperedState) and state.models:
            return state.models
        kept = getattr(self, "trajectory_", None)
        if not kept:
            raise ValueError(
                "method='trajectory' needs models that the training has gone through, and none "
                "were kept. Fit with callbacks=[fastboltz.callbacks.Trajectory()], or with "
                "method='trajectory', or sample with method='tempered'."
            )
        return [params for _, params in kept]

    def _sweep(
        self,
        sampler: Any,
        state: Any,
        n_steps: int,
        return_info: bool,
        n_jobs: int | None = None,
    ) -> tuple[Any, SamplingInfo | None]:
        """Make the sweeps of `sample`, diagnosed where somebody wants to know.

        The first half of tempered ones place the temperatures.
        """
        self.energy_.check_params(self.params_)
        if n_jobs is not None:
            if return_info or not isinstance(sampler, Gibbs):
                raise ValueError(
                    f"n_jobs={n_jobs!r} takes chains apart, which tempered ones and return_info "
                    f"look at together; give method='gibbs' and return_info=False, or no n_jobs."
                )
            return step_in_jobs(n_jobs, sampler, self.params_, state, n_steps), None
        if isinstance(sampler, Tempering):
            state = sampler.adapt(self.params_, state, n_steps // 2)
            n_steps -= n_steps // 2
        if return_info:
            return run_diagnosed(sampler, self.params_, state, n_steps)
        return sampler.step(self.params_, state, n_steps), None

    # -- for the answers of a model ------------------------------------------------------------

    def _bias_keys(self) -> set[str]:
        return self.energy_.own_keys()

    def _chunks(self, data: Data) -> Iterator[dict[str, np.ndarray]]:
        """Dense rows of some groups, in the model's precision and shapes, some at a time."""
        # Also where processes share a training: a callback's rows are its own.
        rows = {g: Rows(x, self.energy_.groups[g].shape, self._dtype) for g, x in data.items()}
        for start in range(0, len(next(iter(rows.values()))), CHUNK_ROWS):
            yield {g: x.take(slice(start, start + CHUNK_ROWS)) for g, x in rows.items()}

    def _start_of_chains(self, rows: Any, n_samples: int) -> np.ndarray:
        """Checked visible vectors that `sample` starts from, dense, (n_samples, *shape)."""
        if rows.shape[0] != n_samples:
            raise ValueError(f"init has {rows.shape[0]} rows; expected n_samples={n_samples}.")
        return Rows(rows, self.energy_.groups["v"].shape, self._dtype).take(slice(None))

    def _mean(self, group: str, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Conditional means of a factorial group given the others, (n_rows, size)."""
        _, mean, _ = layer(
            self.energy_,
            self.params_,
            state,
            group,
            rng.Address(0),
            mean=True,
            sample=False,
            n_threads=threads.resolve(self.n_threads),
        )
        assert mean is not None
        return mean.reshape(len(mean), -1)


class _Survey:
    """What is known of chunked data after they were read once.

    Attributes
    ----------
    n_rows : int
    weight, mean_weight : float
        Of all rows together, and of a row; a row without one counts as one.
    moments : dict
        Group -> mean and mean square of each entry.
    fingerprint : str
    """

    def __init__(self, model: EnergyEstimator, energy: Energy, dtype: np.dtype) -> None:
        self.model = model
        self.energy = energy
        self.dtype = dtype
        self.n_rows = 0
        self.weight = 0.0
        self.fingerprint = "0"
        self.moments: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._total: dict[str, np.ndarray] = {}
        self.mean_weight = 1.0
        self._is_marked = bool(model._checkpoints)

    def add(self, data: Data, weight: np.ndarray | None) -> None:
        """See the next block."""
        n = next(iter(data.values())).shape[0]
        self.n_rows += n
        self.weight += float(n) if weight is None else float(weight.sum(dtype=np.float64))
        mean = 1.0 if weight is None else float(weight.mean())
        self.mean_weight += n / self.n_rows * (mean - self.mean_weight)
        if self._is_marked:
            self.fingerprint = fingerprint([*data.values(), weight], self.fingerprint)
        for g, x in data.items():
            shape = self.energy.groups[g].shape
            rows = Rows(x, shape, self.dtype)
            here = np.broadcast_to(self.model._weight_of_moments(rows, weight), shape)
            total = self._total[g] = self._total.get(g, np.zeros(shape)) + here
            self.moments.setdefault(g, (np.zeros(shape), np.ones(shape)))
            if not here.any():
                continue
            share = np.divide(here, total, out=np.zeros(shape), where=total > 0)
            old = self.moments[g]
            new = self.model._moments(rows, weight)
            self.moments[g] = (
                old[0] + share * (new[0] - old[0]),
                old[1] + share * (new[1] - old[1]),
            )


def refuses_negative(kind: Any) -> bool:
    """Whether units, as a name, a type or a declaration, cannot have values below zero."""
    unit = BY_NAME.get(kind) if isinstance(kind, str) else kind
    return bool(getattr(unit, "limits", (-np.inf, np.inf))[0] >= 0)


def refuse_unnamed(model: BaseEstimator, argument: str) -> None:
    """Raise a sentence if columns are to be named that `get_feature_names_out` does not know."""
    chosen = getattr(model, "_sklearn_output_config", {}).get("transform")
    kind = chosen or get_config()["transform_output"]
    if kind != "default":
        raise ValueError(
            f"{argument} picks other columns than those that get_feature_names_out names, so the "
            f"answer is no {kind} table; call set_output(transform='default') before."
        )


def _precision(data: Data) -> np.dtype:
    """Of the parameters that learn from these data."""
    return np.result_type(*(_single(x.dtype) for x in data.values()))


def _single(dtype: np.dtype) -> np.dtype:
    """A type of real numbers as it is; single precision in place of whole numbers."""
    return dtype if dtype.kind == "f" else np.dtype(np.float32)


def _is_real(energy: Energy) -> bool:
    """Whether some units are real-valued, so that statistics have no bound."""
    return any(u.states() is None for u in energy.groups.values())


def _smoothed(
    unit: Unit, mean: np.ndarray, square: np.ndarray, n: float
) -> tuple[np.ndarray, np.ndarray]:
    """Moments with one more row that takes every state alike, so that no state is impossible."""
    table = unit.states()
    if table is None:
        return mean, square
    share = 1 / (n + 1)
    return (
        (1 - share) * mean + share * table.mean(axis=0),
        (1 - share) * square + share * (table**2).mean(axis=0),
    )


class _ProgressBar:
    """Epochs done, rate and time left, on one line."""

    def __init__(self, n_epochs: int, done: int = 0) -> None:
        from tqdm.auto import tqdm

        self.bar = tqdm(total=n_epochs, initial=done, unit="epoch")

    def __call__(self, progress: Any) -> None:
        self.bar.update(1)

    def close(self) -> None:
        self.bar.close()
