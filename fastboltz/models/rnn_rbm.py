"""The RNN-RBM: a recurrent network that emits the parameters of an RBM at every step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_feature_names, check_array, check_is_fitted

from .. import rng, threads
from ..chunks import is_chunked, real_types
from ..diagnostics import SamplingInfo
from ..energy import Energy
from ..enumeration import Enumeration, split
from ..gibbs import Gibbs
from ..likelihood import ConditionalLogPartition, LogPartition, conditional_ais
from ..objectives import LogLikelihood
from ..optimizers import as_optimizer
from ..recurrent import (
    GRU,
    PREFIX,
    START,
    MeanField,
    Recurrent,
    SequenceObjective,
    SequenceTrainer,
    Streams,
    Tanh,
)
from ..terms import FactoredTerm, Params, as_rows
from ..training import BestScore, Callback, Rows
from ..units import Bernoulli, Categorical, Gaussian
from ..validation import check_count, check_number, one_of
from .base import _LARGEST_CHANGE, CHUNK_ROWS, Data, EnergyEstimator, _is_real, unchanged_if_refused

#: Up to so many states (log2) of the smaller side, each step's log Z is enumerated.
AUTO_LOG2_STATES = 10
#: Sequences whose states are computed together.
_SEQUENCES_AT_ONCE = 256
#: The annealing of the validation sequences: few chains, but a ladder that does not flatter models
#: with strong weights.
_VALIDATION_BETAS, _VALIDATION_CHAINS = 200, 2
#: Sweeps from the data to samples that reverse annealing starts from.
_SWEEPS = 100
#: Networks by name.
_NETWORKS: dict[str, Callable[[], Recurrent]] = {"tanh": Tanh, "gru": GRU}


@dataclass(frozen=True)
class SequenceLikelihood:
    """Log-likelihoods of sequences, step by step.

    Attributes
    ----------
    values : list of ndarrays of shape (n_steps,)
        ``log p(v(t) | v(1), ..., v(t - 1))``, in nats; one array a sequence.
    mean : float
        Over all steps of all sequences.
    low, high : float
        95 % interval of the mean, as far as log Z is estimated.
    lows, highs : list of ndarrays of shape (n_steps,)
        95 % interval of each step.
    log_partition : ConditionalLogPartition
        Of all steps.
    """

    values: list[np.ndarray]
    mean: float
    low: float
    high: float
    log_partition: ConditionalLogPartition

    @property
    def lows(self) -> list[np.ndarray]:
        """Lower ends of the steps' 95 % intervals, one array a sequence."""
        return self._ends(self.log_partition.high)

    @property
    def highs(self) -> list[np.ndarray]:
        """Upper ends of the steps' 95 % intervals, one array a sequence."""
        return self._ends(self.log_partition.low)

    def _ends(self, log_z: Any) -> list[np.ndarray]:
        change = np.split(log_z - self.log_partition.values, self._starts)
        return [x - y for x, y in zip(self.values, change, strict=True)]

    @property
    def _starts(self) -> np.ndarray:
        return np.cumsum([len(x) for x in self.values])[:-1]

    def __str__(self) -> str:
        how = self.log_partition
        if how.method == "exact":
            return f"{self.mean:.3f} nats a step (exact)"
        return (
            f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] nats a step (95 %; annealed "
            f"importance sampling, {how.n_chains} chains a step, of which "
            f"{how.effective_chains.mean():.1f} carry its log Z, {how.n_betas} inverse "
            f"temperatures)"
        )


class RNNRBM(EnergyEstimator):
    r"""Recurrent network whose state u(t - 1) emits the parameters of an RBM for v(t).

    ``-E(v(t), h(t)) = b(t)'v + c(t)'h + h'W(t)v`` with ``b(t) = b + W_uv u(t-1)`` and
    ``c(t) = c + W_uh u(t-1)``, and ``u(t) = f(u(t-1), v(t))``. It maximises the mean over steps of
    ``log p(v(t) | v(1), ..., v(t-1)) = log p(v(t) | u(t-1))``: contrastive divergence gives the
    gradient by each step's parameters, back-propagation through time that by the network's.

    Parameters
    ----------
    n_components : int, default=150
        Hidden units of the RBM.
    n_recurrent : int, default=100
        Units of the recurrent network.
    emits : tuple of {"biases", "weights"}, default=("biases",)
        What u emits. With "weights", ``W(t) = W + A diag(C'u(t-1)) B'``.
    weight_rank : int, default=None
        Columns of A, B and C. None leaves emitted weights free, ``W(t) = W + sum_r u_r(t-1) M_r``,
        which takes n_recurrent as many numbers as one W: for small models.
    recurrent : {"tanh", "gru", "rtrbm"} or Recurrent, default="tanh"
        "tanh" is ``u(t) = tanh(b_u + W_uu u(t-1) + W_vu v(t))``; "rtrbm" is the recurrent temporal
        RBM, in which u(t) is the mean-field state of the hidden units and n_recurrent has no
        meaning.
    visible : str or unit type, default="bernoulli"
        As for `RBM`; hidden units are binary.
    method : {"cd", "pcd", "exact"}, default="cd"
        Negative phase. "pcd" keeps a chain for every step of the training sequences; "exact"
        enumerates, for small models.
    n_gibbs : int, default=15
        Gibbs sweeps of an update.
    restarts : float, default=0.0
        Share of the chains of "cd", in [0, 1], that begin at the hidden units of another step of
        the minibatch and make `restart_sweeps` sweeps first. Chains that begin at the data never
        see modes that are far from them, to which the model may give much of its probability: it
        shows as frames that are drawn by annealing and look like none of the data, and as
        log-likelihoods that fall with the number of inverse temperatures. A tenth costs less than
        half as much again.
    restart_sweeps : int, default=100
    learning_rate : "auto", float or schedule, default="auto"
        Rate of ascent. "auto" is 0.1 (0.03 where units are real-valued, 0.01 where all are),
        falling linearly to zero over a `fit` and constant in `partial_fit`; Adam takes a fiftieth
        of it.
    batch_size : int, default=20
        Sequences that are worked on side by side.
    chunk : int, default=100
        Steps of a minibatch. States are carried on from chunk to chunk, gradients are not carried
        back.
    n_iter : int, default=100
        Passes over the sequences that `fit` makes.
    optimizer : {"adam", "sgd"} or Optimizer, default="adam"
    momentum : float, default=0.0
        Of "sgd".
    clip_norm : float, default=None
        Largest Euclidean norm of the whole gradient; None for no limit.
    l1, l2 : float, default=0.0
        Penalties on the weights.
    centered : bool, default=True
        Follow the gradient of the centred parametrisation (`fastboltz.optimizers.centre`).
    patience : int, default=10
        With validation sequences, `fit` stops when their log-likelihood has not risen for so many
        evaluations, and keeps the best parameters.
    validate_every : int, default=1
        Passes between two evaluations of the validation sequences.
    n_threads : int, default=None
        None uses every core that the process may use. Results do not depend on it.
    callbacks : sequence of callables, default=None
        Each is called after every epoch with a `fastboltz.training.Progress`; a true return value
        ends the training.
    verbose : int, default=0
        1 shows a progress bar.
    random_state : None, int or RandomState, default=None

    Attributes
    ----------
    energy_ : Energy
        Groups ``"v"``, ``"h"`` and ``"u"``, which is given. Terms are what u emits.
    recurrent_ : Recurrent
    params_ : dict of arrays
        Parameters of the energy, and of the network under ``"recurrent."``.
    history_ : dict of lists
        One entry an epoch; ``"validation"`` among them where there are validation sequences (NaN
        where they were not evaluated).
    best_iter_, best_score_ : int, float
        With validation sequences: the epoch whose parameters were kept, and their score then.
    n_iter_ : int
        Epochs made.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where the sequences that were learnt from are data frames with names.
        Other sequences must have the same, in the same order.

    Notes
    -----
    Sequences are a list of arrays (n_steps, n_features), or one array with ``lengths``, the steps
    of each sequence in it, or one array (n_sequences, n_steps, n_features) where all are as long.
    What comes back step by step has the same form.

    References
    ----------
    Boulanger-Lewandowski, Bengio & Vincent, "Modeling temporal dependencies in high-dimensional
    sequences: application to polyphonic music generation and transcription", ICML 2012.
    Sutskever, Hinton & Taylor, "The recurrent temporal restricted Boltzmann machine", NIPS 2008.
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 20.7.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import RNNRBM
    >>> tick = np.tile(np.eye(3, dtype=np.float32), (4, 1))
    >>> rnn = RNNRBM(2, 8, n_iter=200, method="exact", learning_rate=0.05, random_state=0)
    >>> rnn = rnn.fit([tick, tick[1:]])
    >>> np.round(rnn.predict(tick)[6:9]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    _of_sequences = True
    _methods = ("cd", "pcd", "exact")
    n_chains = None

    def __init__(
        self,
        n_components: int = 150,
        n_recurrent: int = 100,
        *,
        emits: Sequence[str] = ("biases",),
        weight_rank: int | None = None,
        recurrent: Any = "tanh",
        visible: Any = "bernoulli",
        method: str = "cd",
        n_gibbs: int = 15,
        restarts: float = 0.0,
        restart_sweeps: int = 100,
        learning_rate: Any = "auto",
        batch_size: int = 20,
        chunk: int = 100,
        n_iter: int = 100,
        optimizer: Any = "adam",
        momentum: float = 0.0,
        clip_norm: float | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        centered: bool = True,
        patience: int = 10,
        validate_every: int = 1,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.n_recurrent = n_recurrent
        self.emits = emits
        self.weight_rank = weight_rank
        self.recurrent = recurrent
        self.visible = visible
        self.method = method
        self.n_gibbs = n_gibbs
        self.restarts = restarts
        self.restart_sweeps = restart_sweeps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.chunk = chunk
        self.n_iter = n_iter
        self.optimizer = optimizer
        self.momentum = momentum
        self.clip_norm = clip_norm
        self.l1 = l1
        self.l2 = l2
        self.centered = centered
        self.patience = patience
        self.validate_every = validate_every
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    # -- the description -----------------------------------------------------------------------

    @property
    def _n_states(self) -> int:
        return self.n_components if self.recurrent == "rtrbm" else self.n_recurrent

    def _declare(self, data: Data) -> Energy:
        v = self._unit("visible", data["v"].shape[1])
        units = {"v": v, "h": Bernoulli(self.n_components), "u": Gaussian(self._n_states)}
        at_v = f"v_{'abcdefg'[: len(v.shape)]}"
        pair = f"h_j {at_v}"
        terms = [pair]
        if "biases" in self.emits:
            terms += [f"{at_v} u_r", "h_j u_r"]
        if "weights" in self.emits:
            rank = "" if self.weight_rank is None else f" | {self.weight_rank}"
            terms.append(f"{pair} u_r{rank}")
        return Energy(units, terms)

    def _likelihoods(self) -> LogLikelihood:
        return LogLikelihood("v", "u", negative="cd", n_gibbs=self.n_gibbs)

    def _network(self, energy: Energy) -> Recurrent:
        if isinstance(self.recurrent, Recurrent):
            return self.recurrent
        if self.recurrent == "rtrbm":
            return MeanField(energy.terms[0].name, "h_j u_r", "h")
        return _NETWORKS[self.recurrent]()

    def _objective(self, energy: Energy, n_threads: int) -> SequenceObjective:
        # A model that has begun goes on with the network that its parameters are for.
        network = vars(self).get("recurrent_") or self._network(energy)
        return SequenceObjective(
            energy,
            network,
            self.method,
            self.n_gibbs,
            n_threads,
            restarts=self.restarts,
            restart_sweeps=self.restart_sweeps,
        )

    def _trainer(self, energy: Energy) -> SequenceTrainer:
        n_threads = threads.resolve(self.n_threads)
        return SequenceTrainer(
            energy,
            self._objective(energy, n_threads),
            as_optimizer(self.optimizer, self.momentum),
            self._schedule(energy),
            centered=self.centered,
            l1=self.l1,
            l2=self.l2,
            limit=_LARGEST_CHANGE if _is_real_visible(energy) else None,
            clip_norm=self.clip_norm,
            n_threads=n_threads,
        )

    def _starting_params(self, energy: Energy, dtype: np.dtype) -> Params:
        params = energy.init(self._seed, self._weight_scale(energy), dtype)
        for term in energy.terms:
            if isinstance(term, FactoredTerm):
                # Of order one at any rank: what is emitted begins small by its last factor.
                sizes = [energy.groups[g].size for g in term.groups]
                for number, key in enumerate(term.parameter_shapes):
                    shape = params[key].shape
                    scale = sizes[number] ** -0.5 * (0.1 if key.endswith("u_r") else 1.0)
                    at = rng.Address.of(self._seed, "weights", group=2, step=number)
                    params[key] = (scale * rng.normal(at, shape)).astype(dtype)
            elif len(term.groups) == 3:
                params[term.name] *= np.asarray(self._n_states**-0.5, dtype)
        network, n_inputs, n_units = self._network(energy), energy.groups["v"].size, self._n_states
        shapes = network.shapes(n_inputs, n_units)
        if shapes.get(START) != (n_units,) or not all(key.startswith(PREFIX) for key in shapes):
            raise ValueError(
                f"shapes() of {type(network).__name__} must name every array {PREFIX!r} and more, "
                f"and have {START!r} of shape ({n_units},), the state before the first step; "
                f"got {shapes}."
            )
        return params | network.init(self._seed, n_inputs, n_units, dtype)

    # -- checks --------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        check_count("n_components", self.n_components)
        check_count("n_recurrent", self.n_recurrent)
        check_count("chunk", self.chunk)
        check_count("patience", self.patience)
        check_count("validate_every", self.validate_every)
        check_count("restart_sweeps", self.restart_sweeps)
        if check_number("restarts", self.restarts, 0) > 1:
            raise ValueError(
                f"restarts is the share of chains that begin elsewhere, in [0, 1]; got "
                f"{self.restarts!r}."
            )
        if self.restarts and self.method != "cd":
            raise ValueError(
                f"restarts={self.restarts!r} is for chains that begin at the data, but "
                f"method={self.method!r} has none. Use method='cd', or restarts=0."
            )
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0, strict=True)
        if isinstance(self.emits, str) or not isinstance(self.emits, Collection) or not self.emits:
            raise ValueError(
                f"emits must be ('biases',), ('weights',) or ('biases', 'weights'); "
                f"got {self.emits!r}."
            )
        for what in self.emits:
            one_of("emits", what, ("biases", "weights"))
        if self.weight_rank is not None:
            check_count("weight_rank", self.weight_rank)
            if "weights" not in self.emits:
                raise ValueError(
                    f"weight_rank is {self.weight_rank}, but emits={self.emits!r} emits no "
                    f"weights; add 'weights', or leave weight_rank=None."
                )
        if isinstance(self.recurrent, type) and issubclass(self.recurrent, Recurrent):
            raise TypeError(
                f"recurrent is the class {self.recurrent.__name__}; give one of its objects, "
                f"recurrent={self.recurrent.__name__}()."
            )
        if not isinstance(self.recurrent, Recurrent):
            one_of("recurrent", self.recurrent, (*_NETWORKS, "rtrbm"))
            if self.recurrent == "rtrbm" and tuple(self.emits) != ("biases",):
                raise ValueError(
                    f"recurrent='rtrbm' emits biases alone; got emits={self.emits!r}. Use "
                    f"emits=('biases',), or recurrent='tanh' or 'gru'."
                )
        super()._check_parameters()

    def _check_sequences(
        self, sequences: Any, lengths: Any = None, name: str = "sequences", reset: bool = False
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Steps of all sequences, the lengths, and the form that they were given in."""
        if is_chunked(sequences):
            raise TypeError(
                f"{name} must be a list of arrays or one array, not what returns chunks of them; "
                f"for more than fit into memory, call partial_fit with some at a time."
            )
        form, have = _form(sequences), "have" if name == "sequences" else "has"
        of_lengths = "lengths" if name == "sequences" else f"{name}_lengths"
        if form != "steps":
            if lengths is not None:
                raise ValueError(
                    f"{name} {have} one array for each sequence, so the lengths are known; leave "
                    f"{of_lengths}=None."
                )
            X, counts = _joined(sequences, name)
            tables = sequences if form == "list" else sequences[:1]
        else:
            X = _table(sequences, name)
            counts = np.array([len(X)])
            tables = [sequences]
            if lengths is not None:
                counts = _check_lengths(lengths, len(X), of_lengths, f"{name} {have}")
        if not reset:
            unit = self.energy_.groups["v"]
            if X.shape[1] != unit.size:
                raise ValueError(
                    f"{name} {have} {X.shape[1]} features, but the model was fitted with "
                    f"{unit.size}; give as many."
                )
        else:
            unit = self._unit("visible", X.shape[1])
        for k, table in enumerate(tables):
            # The names of columns, where there are some: those of the first sequence that is learnt
            # from are the model's.
            is_first = reset and k == 0 and name != "validation"
            _check_feature_names(self, table, reset=is_first)
        return self._check_support(unit, X, name), counts, form

    # -- fitting -------------------------------------------------------------------------------

    @unchanged_if_refused
    def fit(
        self,
        sequences: Any,
        lengths: Any = None,
        *,
        validation: Any = None,
        validation_lengths: Any = None,
    ) -> RNNRBM:
        """Learn from sequences.

        Parameters
        ----------
        sequences : list of arrays (n_steps, n_features), or array of shape (n_steps, n_features)
        lengths : array-like of int, optional
            Where one array is given: steps of each sequence in it. None for one sequence.
        validation : as sequences, optional
            Held out for early stopping: training ends when their log-likelihood has not risen for
            `patience` evaluations, and the best parameters are kept. It is estimated by a short
            annealing, with the same random numbers each time.
        validation_lengths : array-like of int, optional

        Returns
        -------
        self
        """
        self._check_parameters()
        X, counts, _ = self._check_sequences(sequences, lengths, reset=True)
        held = None
        if validation is None and validation_lengths is not None:
            raise ValueError(
                "validation_lengths are the steps of each validation sequence, but validation is "
                "None; give both, or neither."
            )
        if validation is not None:
            held = self._check_sequences(validation, validation_lengths, "validation", reset=True)
            if held[0].shape[1] != X.shape[1]:
                raise ValueError(
                    f"validation has {held[0].shape[1]} features, but sequences have "
                    f"{X.shape[1]}; give as many."
                )
        self._begin({"v": X}, None)
        self.n_features_in_ = X.shape[1]
        monitor = None
        if held is not None:
            monitor = self._stop_by(held[0].astype(self._dtype, copy=False), held[1])
        self._train_sequences(X, counts, self.n_iter, True, monitor)
        return self

    @unchanged_if_refused
    def partial_fit(self, sequences: Any, lengths: Any = None) -> RNNRBM:
        """Make one pass over the sequences, going on from where the model stands.

        Parameters
        ----------
        sequences : list of arrays (n_steps, n_features), or array of shape (n_steps, n_features)
            More than fit into memory are learnt from some at a time, each call with others.
        lengths : array-like of int, optional

        Returns
        -------
        self
        """
        self._check_structure()
        self._check_parameters()
        first = not hasattr(self, "params_")
        X, counts, _ = self._check_sequences(sequences, lengths, reset=first)
        if first:
            self._begin({"v": X}, None)
            self.n_features_in_ = X.shape[1]
        self._train_sequences(X, counts, 1, False, None)
        return self

    def _stop_by(self, X: np.ndarray, lengths: np.ndarray) -> BestScore:
        """Early stopping by the log-likelihood of validation sequences."""
        method = self._auto_method()

        def score_of(model: RNNRBM) -> float:
            return model._log_likelihood(
                X, lengths, method, _VALIDATION_BETAS, _VALIDATION_CHAINS
            ).mean

        return BestScore(self, score_of, every=self.validate_every, patience=self.patience)

    def _begin(self, data: Data, weight: np.ndarray | None) -> None:
        super()._begin(data, weight)
        self.recurrent_ = self._network(self.energy_)

    def _forget(self) -> None:
        super()._forget()
        self.__dict__.pop("recurrent_", None)

    def _train_sequences(
        self,
        X: np.ndarray,
        lengths: np.ndarray,
        n_epochs: int,
        decay: bool,
        monitor: BestScore | None,
    ) -> None:
        resume = decay and self._resume(X, lengths)
        trainer = self._trainer(self.energy_)
        trainer.monitor = monitor
        epochs = trainer.sequence_epochs(
            self.params_,
            Rows(X, self.energy_.groups["v"].shape, self._dtype),
            lengths,
            self._training,
            n_streams=self.batch_size,
            chunk=self.chunk,
            n_epochs=n_epochs,
            seed=self._seed,
            decay=decay,
            resume=resume,
        )
        self._run(epochs, n_epochs, resume, monitor, is_whole=decay)

    def gradient(self, sequences: Any, lengths: Any = None, *, random_state: Any = None) -> Params:
        """Gradient of the mean log-likelihood of a step, back through all steps.

        Its negative phase is that of `method`; chains start from the data.

        Parameters
        ----------
        sequences : list of arrays (n_steps, n_features), or array of shape (n_steps, n_features)
        lengths : array-like of int, optional
        random_state : None, int, RandomState or Generator
            None is the model's own seed, so that the answer is repeatable.

        Returns
        -------
        dict of arrays like ``params_``
        """
        check_is_fitted(self, "params_")
        X, counts, _ = self._check_sequences(sequences, lengths)
        objective = self._objective(self.energy_, threads.resolve(self.n_threads))
        frames = Rows(X, self.energy_.groups["v"].shape, self._dtype)
        streams = Streams.of(counts, np.arange(len(counts)), len(counts))
        state = objective.init(self._seed if random_state is None else random_state)
        batch = streams.batch(frames, slice(None), None)
        with threads.computing():
            out, _, _ = objective.step(self.params_, batch, state)
        return out

    def _bias_keys(self) -> set[str]:
        # Of the network: its bias, and the state that it begins with.
        own = {k for k, x in self.params_.items() if k.startswith(PREFIX) and x.ndim == 1}
        return super()._bias_keys() | own

    # -- states --------------------------------------------------------------------------------

    def _states(self, X: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u(t - 1) and u(t) of every step, (n_steps, n_recurrent) each."""
        n_threads = threads.resolve(self.n_threads)
        unit = self.energy_.groups["v"]
        n = len(X)
        before = np.empty((n, len(self.params_["u"])), self._dtype)
        after = np.empty_like(before)
        # The longest first: streams of one sequence each, alike in length.
        order = np.argsort(-lengths, kind="stable")
        first = np.cumsum(lengths) - lengths
        for start in range(0, len(order), _SEQUENCES_AT_ONCE):
            members = order[start : start + _SEQUENCES_AT_ONCE]
            rows = np.full((lengths[members[0]], len(members)), -1)
            for s, one in enumerate(members):
                rows[: lengths[one], s] = first[one] + np.arange(lengths[one])
            reset = np.zeros(rows.shape, bool)
            reset[0] = True
            streams = Streams(rows, reset)
            frames = Rows(X, (unit.size,), self._dtype)
            state = None
            for at in range(0, len(rows), self.chunk):
                part = streams.batch(frames, slice(at, at + self.chunk), state)
                tape = self.recurrent_.forward(
                    self.params_, unit, part["v"], part["reset"], state, n_threads
                )
                mask = part["mask"]
                before[part["rows"][mask]] = tape.before[mask]
                after[part["rows"][mask]] = tape.after[mask]
                state = tape.after[-1]
        return before, after

    def transform(self, sequences: Any, lengths: Any = None) -> Any:
        """Recurrent states: row t is u(t), after the network has read step t.

        Parameters
        ----------
        sequences : list of arrays (n_steps, n_features), or array of shape (n_steps, n_features)
        lengths : array-like of int, optional

        Returns
        -------
        list of arrays of shape (n_steps, n_recurrent), or one array
        """
        check_is_fitted(self, "params_")
        X, counts, form = self._check_sequences(sequences, lengths)
        with threads.computing():
            _, after = self._states(X, counts)
        return _as_given(after, counts, form)

    # -- likelihood ----------------------------------------------------------------------------

    def log_likelihood(
        self,
        sequences: Any,
        lengths: Any = None,
        *,
        method: str = "auto",
        betas: int | Sequence[float] | np.ndarray = 200,
        n_chains: int = 16,
        samples: str | None = None,
        random_state: Any = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> SequenceLikelihood:
        """Log-likelihood of every step given those before it, with the interval of their mean.

        Parameters
        ----------
        sequences : list of arrays (n_steps, n_features), or array of shape (n_steps, n_features)
        lengths : array-like of int, optional
        method : {"auto", "exact", "ais"}
            log Z of each step's RBM: "auto" enumerates the smaller side up to 2**10 states, and
            anneals beyond, all steps together.
        betas, n_chains, progress
            Of `fastboltz.likelihood.conditional_ais`; chains are those of one step.
        samples : {None, "data", "chains"}
            What reverse annealing starts from, which closes the intervals from below: the steps as
            they are, which may stand for samples of a model that has learnt them, or chains that
            have made 100 Gibbs sweeps from there. None leaves it out.
        random_state : None, int, RandomState or Generator
            None is the model's own seed, so that the answer is repeatable.

        Returns
        -------
        SequenceLikelihood
        """
        check_is_fitted(self, "params_")
        one_of("method", method, ("auto", "exact", "ais"))
        if samples is not None:
            one_of("samples", samples, ("data", "chains"))
        X, counts, _ = self._check_sequences(sequences, lengths)
        X = X.astype(self._dtype, copy=False)
        if method == "auto":
            method = self._auto_method()
        found = self._log_likelihood(
            X, counts, method, betas, n_chains, random_state, progress, samples
        )
        for doubt in found.log_partition.doubts():
            warnings.warn(doubt, RuntimeWarning, stacklevel=2)
        self._credible(np.concatenate(found.values), ("v",))
        return found

    def _auto_method(self) -> str:
        """How log Z is computed where nobody says how."""
        try:
            small = split(self.energy_, ("v", "h")).log2_states <= AUTO_LOG2_STATES
        except ValueError:
            small = False
        return "exact" if small else "ais"

    def _log_likelihood(
        self,
        X: np.ndarray,
        lengths: np.ndarray,
        method: str,
        betas: Any,
        n_chains: int,
        random_state: Any = None,
        progress: Callable[[int, int], None] | None = None,
        samples: str | None = None,
    ) -> SequenceLikelihood:
        n_threads = threads.resolve(self.n_threads)
        with threads.computing():
            before, _ = self._states(X, lengths)
            state = {"v": X.reshape(-1, *self.energy_.groups["v"].shape), "u": before}
            free = self.energy_.free_energy(
                self.params_, state, "h", n_threads=n_threads, check=False
            )
        if method == "exact":
            log_z = Enumeration(
                self.energy_, self.params_, {"u": before}, remedy="Use method='ais'."
            ).log_partition()
            none = np.zeros(len(log_z))
            partition = ConditionalLogPartition(log_z, none, np.full(len(log_z), np.inf))
        else:
            ends = None
            if samples is not None:
                ends = self._samples(X, before, n_chains, random_state, samples == "chains")
            partition = self._anneal(
                before, betas, n_chains, random_state, samples=ends, progress=progress
            )
        values = -free - partition.values
        z, mean = partition.mean(), float(values.mean())
        return SequenceLikelihood(
            np.split(values, np.cumsum(lengths)[:-1]),
            mean,
            mean - (z.high - z.value),
            mean + (z.value - z.low),
            partition,
        )

    def _samples(
        self, X: np.ndarray, u: np.ndarray, n_chains: int, random_state: Any, is_swept: bool
    ) -> dict[str, np.ndarray]:
        """Values of v for each step: the data, or the ends of Gibbs sweeps from there."""
        v = X.reshape(-1, *self.energy_.groups["v"].shape)
        if not is_swept:
            return {"v": v}
        rows = np.repeat(np.arange(len(v)), n_chains)
        sampler = Gibbs(self.energy_, "u", n_threads=self.n_threads)
        sampler.blocks = [("h",), ("v",)]
        seed = rng.seed_from(self._seed if random_state is None else random_state)
        ends = np.empty((len(rows), *v.shape[1:]), v.dtype)
        for start in range(0, len(rows), CHUNK_ROWS):
            part = rows[start : start + CHUNK_ROWS]
            address = rng.Address.of(seed, "sample", row=start)
            state = sampler.start(self.params_, len(part), address, {"v": v[part], "u": u[part]})
            ends[start : start + CHUNK_ROWS] = sampler.step(self.params_, state, _SWEEPS).values[
                "v"
            ]
        return {"v": ends}

    def score_samples(
        self, sequences: Any, lengths: Any = None, *, return_interval: bool = False
    ) -> Any:
        """``log p(v(t) | v(1), ..., v(t - 1))`` of every step, in nats; see `log_likelihood`.

        Parameters
        ----------
        sequences : list of arrays (n_steps, n_features), or array of shape (n_steps, n_features)
        lengths : array-like of int, optional
        return_interval : bool, default=False
            Also return the ends of the 95 % interval of each step, as far as its log Z is
            estimated.

        Returns
        -------
        list of arrays of shape (n_steps,), or one array
            With ``return_interval``, a tuple (values, low, high).
        """
        found = self.log_likelihood(sequences, lengths)
        columns = (found.values, found.lows, found.highs) if return_interval else (found.values,)
        counts, form = np.array([len(x) for x in found.values]), _form(sequences)
        out = [_as_given(np.concatenate(x), counts, form) for x in columns]
        return tuple(out) if return_interval else out[0]

    def score(self, sequences: Any, lengths: Any = None) -> float:
        """Mean log-likelihood of a step, in nats.

        Parameters
        ----------
        sequences : list of arrays (n_steps, n_features), or array of shape (n_steps, n_features)
        lengths : array-like of int, optional

        Returns
        -------
        float
        """
        return self.log_likelihood(sequences, lengths).mean

    def log_partition(self, method: str = "auto", **options: Any) -> LogPartition:
        """There is none of the whole model: every step has its own, see `log_likelihood`."""
        raise AttributeError(
            "every step of an RNN-RBM has a log Z of its own; log_likelihood(sequences) returns "
            "them."
        )

    # -- predictions ---------------------------------------------------------------------------

    def predict(
        self,
        sequences: Any,
        lengths: Any = None,
        *,
        betas: int | Sequence[float] | np.ndarray = 100,
        n_chains: int = 10,
        random_state: Any = None,
    ) -> Any:
        """Mean of every step given those before it: row t is ``E[v(t) | v(1), ..., v(t - 1)]``.

        Where the hidden side of the RBM is small it is exact; else a mean over annealed chains with
        their importance weights, which finds the modes of an RBM where chains at its own
        temperature would have to cross between them. What the last row of a sequence holds has no
        part in its own prediction: one more row at the end, of any values that the units can take,
        asks for the step that follows.

        Parameters
        ----------
        sequences : list of arrays (n_steps, n_features), or array of shape (n_steps, n_features)
        lengths : array-like of int, optional
        betas, n_chains
            Of `fastboltz.likelihood.conditional_ais`; chains are those of one step.
        random_state : None, int, RandomState or Generator
            None is the model's own seed, so that the answer is repeatable.

        Returns
        -------
        list of arrays of shape (n_steps, n_features), or one array
        """
        check_is_fitted(self, "params_")
        X, counts, form = self._check_sequences(sequences, lengths)
        with threads.computing():
            before, _ = self._states(X, counts)
            means = self._means(before, betas, n_chains, random_state)
        return _as_given(means, counts, form)

    def _means(self, u: np.ndarray, betas: Any, n_chains: int, random_state: Any) -> np.ndarray:
        """``E[v | u]``, (n_rows, n_features)."""
        energy, params = self.energy_, self.params_
        if energy.groups["h"].n_units <= AUTO_LOG2_STATES:
            exact = Enumeration(energy, params, {"u": u}, listed=("h",)).mean("v")
            return exact.reshape(len(u), -1)
        means = np.empty((len(u), energy.groups["v"].size), self._dtype)

        def use(rows: slice, v: np.ndarray, weights: np.ndarray) -> None:
            means[rows] = np.einsum("nc,nci->ni", weights, v)

        # Means vary less than draws.
        self._ends(u, betas, n_chains, random_state, use, means=True)
        return means

    def _ends(
        self,
        u: np.ndarray,
        betas: Any,
        n_chains: int,
        random_state: Any,
        use: Callable[[slice, np.ndarray, np.ndarray], None],
        *,
        means: bool = False,
    ) -> None:
        """Hand annealed v, draws or conditional means, to ``use(rows, v, weights)``.

        v is (n, n_chains, n_features); weighted so, its n rows have the distribution given u.
        """
        energy, params = self.energy_, self.params_
        sampler = Gibbs(energy, "u", n_threads=self.n_threads)
        sampler.blocks = [("h",), ("v",)]
        seed = self._seed if random_state is None else rng.seed_from(random_state)
        address = rng.Address.of(seed, "reconstruct")

        def collect(rows: slice, values: dict[str, np.ndarray], weights: np.ndarray) -> None:
            # A sweep leaves the distribution as it is.
            at = address.at(step=rows.start)
            state = sampler.start(params, weights.size, at, values)
            state = sampler.step(params, state, means=means)
            v = (state.means if means else state.values)["v"]
            v = as_rows(v, self._dtype).reshape(*weights.shape, -1)
            use(rows, v, weights.astype(v.dtype))

        self._anneal(u, betas, n_chains, seed, collect=collect)

    def _anneal(
        self, u: np.ndarray, betas: Any, n_chains: int, random_state: Any, **options: Any
    ) -> ConditionalLogPartition:
        """Annealed importance sampling of every step's RBM."""
        own = self.energy_.own(self.params_, "v")
        bias = self.energy_.groups["v"].reference_bias(own, self._base_rates["v"])
        return conditional_ais(
            self.energy_,
            self.params_,
            {"u": u},
            reference={"v": {"bias": bias}},
            betas=betas,
            n_chains=n_chains,
            random_state=self._seed if random_state is None else random_state,
            n_threads=self.n_threads,
            **options,
        )

    def accuracy(
        self,
        sequences: Any,
        lengths: Any = None,
        *,
        kind: str = "frames",
        threshold: float | None = None,
        betas: int | Sequence[float] | np.ndarray = 1000,
        n_chains: int = 2,
        random_state: Any = None,
    ) -> float:
        r"""Expected frame-level accuracy of the predictions of every step given those before it.

        Of the units that are on in a step, and those that are on in a frame drawn from the model
        for that step, TP are on in both, FP in the drawn frame alone, and FN in the step alone.

        Parameters
        ----------
        sequences : list of arrays (n_steps, n_features), or array of shape (n_steps, n_features)
        lengths : array-like of int, optional
        kind : {"frames", "totals"}
            "frames" is the mean over steps, and the expectation over drawn frames, of
            ``TP / (TP + max(FP, FN))``: a wrong unit in place of a right one is one error, a
            substitution, so that the denominator is the larger of the two numbers of units that
            are on. Where both are zero, the step counts as right. "totals" is
            ``sum TP / sum (TP + FP + FN)`` of expected counts over all steps, which counts a
            substitution as two errors.
        threshold : float, optional
            None draws frames from the model. A number predicts the units whose mean is larger.
        betas, n_chains
            Of `fastboltz.likelihood.conditional_ais`; chains are those of one step. A long ladder
            counts for more than many chains: after a short one, frames have not come to the
            model's distribution, and the accuracy is too low.
        random_state : None, int, RandomState or Generator
            None is the model's own seed, so that the answer is repeatable.

        Returns
        -------
        float
            Between 0 and 1.

        Raises
        ------
        ValueError
            If visible units are neither on nor off.

        Notes
        -----
        Boulanger-Lewandowski et al. (2012) name Bay et al. (2009) for their accuracy,
        ``sum TP / sum (TP + FP + FN)``. Their table has models whose predictions anybody can write
        down: for independent units at the rates of the training data, "frames" is within 0.2
        percentage points of their figures on all four sets, and "totals" a quarter to a third
        below them (``bench/music.py --baselines``). So "frames" is what compares with their table.

        References
        ----------
        Bay, Ehmann & Downie, "Evaluation of multiple-F0 estimation and tracking systems", ISMIR
        2009.
        """
        check_is_fitted(self, "params_")
        one_of("kind", kind, ("frames", "totals"))
        unit = self.energy_.groups["v"]
        if not isinstance(unit, (Bernoulli, Categorical)):
            raise ValueError(
                f"accuracy counts visible units that are on, 1, or off, 0; these are {unit!r}. "
                f"Compare predict(sequences) with the steps instead."
            )
        X, counts, _ = self._check_sequences(sequences, lengths)
        options = {"betas": betas, "n_chains": n_chains, "random_state": random_state}
        if threshold is None and kind == "frames":
            found = np.empty(len(X))

            def use(rows: slice, v: np.ndarray, weights: np.ndarray) -> None:
                found[rows] = np.sum(weights * _frame_accuracy(X[rows, None], v), axis=1)

            with threads.computing():
                before, _ = self._states(X, counts)
                self._ends(before, use=use, **options)
            return float(found.mean())
        with threads.computing():
            before, _ = self._states(X, counts)
            p = self._means(before, betas, n_chains, random_state)
        if threshold is not None:
            p = (p > check_number("threshold", threshold)).astype(X.dtype)
        if kind == "frames":
            return float(_frame_accuracy(X, p).mean())
        hits = float(np.sum(X * p, dtype=np.float64))
        # TP + FN are the units that are on, TP + FP those that are predicted.
        union = float(X.sum(dtype=np.float64) + p.sum(dtype=np.float64)) - hits
        return hits / union if union else 1.0

    # -- samples -------------------------------------------------------------------------------

    def sample(
        self,
        n_steps: int,
        prefix: Any = None,
        *,
        n_sequences: int | None = None,
        n_gibbs: int = 25,
        random_state: Any = None,
        method: str = "gibbs",
        return_info: bool = False,
    ) -> Any:
        """Draw sequences, step by step.

        Parameters
        ----------
        n_steps : int
            Steps of a sequence, those of the prefix among them.
        prefix : array-like of shape (n_prefix, n_features), optional
            How every sequence begins.
        n_sequences : int, optional
            Sequences side by side; None for one.
        n_gibbs : int
            Sweeps from independent units to each new step.
        random_state : None, int, RandomState or Generator
            None goes on in the model's own sequence, so that calls differ, repeatably.
        method : {"gibbs", "tempered", "trajectory"}, default="gibbs"
            As in `RBM.sample`, for the chains of each step. With "trajectory", the models that were
            kept emit their parameters from the state of the network as it is now.
        return_info : bool, default=False
            Also return a `fastboltz.diagnostics.SamplingInfo` as in `RBM.sample`: that of the step
            with the largest R-hat, whose number is ``extra["step"]``; ``extra["rhat"]`` has the
            largest of each step, NaN in the prefix. Chains are compared with others of the same
            sequence and step.

        Returns
        -------
        ndarray of shape (n_steps, n_features), or (n_sequences, n_steps, n_features)
            With ``return_info``, a tuple of it and the information.
        """
        check_is_fitted(self, "params_")
        check_count("n_steps", n_steps)
        check_count("n_gibbs", n_gibbs)
        one_of("method", method, ("gibbs", "tempered", "trajectory"))
        n = 1 if n_sequences is None else check_count("n_sequences", n_sequences)
        params, unit = self.params_, self.energy_.groups["v"]
        out = np.empty((n, n_steps, unit.size), self._dtype)
        u, done = np.tile(params["recurrent.start"], (n, 1)), 0
        n_threads = threads.resolve(self.n_threads)
        with threads.computing():
            if prefix is not None:
                X = self._check_prefix(prefix)
                if len(X) > n_steps:
                    raise ValueError(
                        f"prefix has {len(X)} steps, but n_steps is {n_steps}: n_steps counts "
                        f"those of the prefix. Ask for at least {len(X)}."
                    )
                _, after = self._states(X, np.array([len(X)]))
                out[:, : len(X)], u, done = X, np.tile(after[-1], (n, 1)), len(X)
            address = rng.Address.of(self._sampling_seed(random_state), "sample")
            none = np.zeros((1, n), bool)
            worst: SamplingInfo | None = None
            rhats, largest = np.full(n_steps, np.nan), -np.inf
            for t in range(done, n_steps):
                at = address.at(step=t * (n_gibbs + 1))
                out[:, t], info = self._draw(u, at, n_gibbs, method, return_info)
                if info is not None:
                    rhats[t] = info.rhat.get(info.slowest or "", np.nan)
                    if worst is None or rhats[t] > largest:
                        worst = replace(info, extra={**info.extra, "step": t})
                        largest = max(largest, np.nan_to_num(rhats[t], nan=-np.inf))
                x = np.ascontiguousarray(out[None, :, t])
                u = self.recurrent_.forward(params, unit, x, none, u, n_threads).after[-1]
        drawn = out[0] if n_sequences is None else out
        if not return_info:
            return drawn
        if worst is None:
            raise ValueError(
                f"return_info tells of the steps that are drawn, but the prefix has all {n_steps}; "
                f"ask for more steps."
            )
        worst.extra["rhat"] = rhats
        return drawn, worst

    def _check_prefix(self, prefix: Any) -> np.ndarray:
        """Steps of the one sequence that all samples begin with."""
        if _form(prefix) != "steps" and len(prefix):
            raise ValueError(
                "prefix must be one sequence, (n_steps, n_features), with which all samples begin; "
                "got several. Call sample for each."
            )
        return self._check_sequences(prefix, name="prefix")[0]

    def _draw(
        self, u: np.ndarray, address: rng.Address, n_gibbs: int, method: str, return_info: bool
    ) -> tuple[np.ndarray, SamplingInfo | None]:
        """One v for every u, by Gibbs sampling from independent units, (n_rows, n_features)."""
        energy, params = self.energy_, self.params_
        v = energy.groups["v"]
        sampler = self._sampler(method, ("u",))
        # v is drawn last, so that a sweep ends at it.
        sampler.blocks = [("h",), ("v",)]
        own = energy.own(params, "v")
        own = own | {"bias": v.reference_bias(own, self._base_rates["v"]).astype(self._dtype)}
        at = address.at(group=tuple(energy.groups).index("u"))
        _, start = v.draw(own, np.zeros((len(u), *v.shape), self._dtype), at)
        assert start is not None
        state = sampler.start(params, len(u), address, {"u": u, "v": start})
        state, info = self._sweep(sampler, state, n_gibbs, return_info)
        return as_rows(state.values["v"], self._dtype), info


def _frame_accuracy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``TP / max(units on in x, units on in y)`` over the last axis, and 1 where none is on."""
    most = np.maximum(x.sum(axis=-1), y.sum(axis=-1))
    return np.where(most > 0, (x * y).sum(axis=-1) / np.where(most > 0, most, 1), 1.0)


def _is_real_visible(energy: Energy) -> bool:
    return _is_real(Energy({"v": energy.groups["v"]}))


def _form(sequences: Any) -> str:
    """What sequences are: a "list" of arrays, a "stack" of as many steps each, or "steps"."""
    if isinstance(sequences, (list, tuple)):
        return "steps" if len(sequences) and _n_axes(sequences[0]) == 1 else "list"
    if isinstance(sequences, np.ndarray) and sequences.dtype == object and sequences.ndim == 1:
        return "list"
    return "stack" if getattr(sequences, "ndim", 0) == 3 else "steps"


def _n_axes(x: Any) -> int:
    """Of an array or nested lists; -1 of lists that differ in length."""
    try:
        return np.ndim(x)
    except ValueError:
        return -1


def _as_given(x: np.ndarray, lengths: np.ndarray, form: str) -> Any:
    """Rows of all steps, in the form that the sequences were given in."""
    if form == "stack":
        return x.reshape(len(lengths), -1, *x.shape[1:])
    return np.split(x, np.cumsum(lengths)[:-1]) if form == "list" else x


def _table(x: Any, name: str) -> np.ndarray:
    """The checked steps of a sequence, or of several, (n_steps, n_features)."""
    try:
        shape = x.shape if hasattr(x, "shape") else np.shape(x)
    except ValueError:
        raise ValueError(
            f"{name} has steps of different lengths; every step of every sequence needs the same "
            f"features."
        ) from None
    if len(shape) != 2:
        raise ValueError(f"{name} has shape {shape}; expected two axes, (n_steps, n_features).")
    if shape[0] == 0:
        raise ValueError(f"{name} is empty; every sequence needs at least one step. Leave it out.")
    return check_array(x, dtype=real_types(x), input_name=name)


def _joined(sequences: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Checked sequences of a list, one after the other."""
    if not len(sequences):
        raise ValueError(f"{name} is an empty list; give at least one sequence.")
    arrays: list[np.ndarray] = []
    for k, one in enumerate(sequences):
        x = _table(one, f"{name}[{k}]")
        if arrays and x.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{name}[{k}] has {x.shape[1]} features, but {name}[0] has {arrays[0].shape[1]}; "
                f"every step of every sequence needs the same features."
            )
        arrays.append(x)
    return np.concatenate(arrays), np.array([len(x) for x in arrays])


def _check_lengths(lengths: Any, n: int, name: str, whose: str) -> np.ndarray:
    try:
        counts = np.asarray(lengths)
    except ValueError:  # nested, and ragged
        counts = np.zeros((0, 0))
    if counts.ndim != 1 or counts.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a list of whole numbers, the steps of each sequence; got {lengths!r}."
        )
    if (counts < 1).any():
        raise ValueError(
            f"{name}[{np.argmin(counts)}] is {counts.min()}; every sequence needs at least one "
            f"step. Leave empty sequences out."
        )
    if counts.sum() != n:
        raise ValueError(
            f"{name} add up to {counts.sum()}, but {whose} {n} steps; they must be equal."
        )
    return counts.astype(np.intp)
