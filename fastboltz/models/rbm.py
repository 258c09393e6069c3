"""Restricted Boltzmann machines of all unit types, under scikit-learn's interface."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    validate_data,
)

from .. import rng, threads
from ..energy import Energy
from ..gibbs import ChainState, Gibbs, layer
from ..likelihood import LogPartition, log_partition, pseudo_log_likelihood
from ..objectives import LogLikelihood, Objective
from ..optimizers import Linear, Schedule, as_optimizer, as_schedule
from ..training import Callback, Rows, Trainer, run
from ..units import BY_NAME, Own, Unit
from ..validation import check_callbacks, check_count, check_number, one_of

#: Rows that are worked on at once where memory would otherwise grow with the data.
_CHUNK_ROWS = 4096
#: With real-valued units one outlier can be worth hundreds of ordinary rows, so the change of a
#: parameter in one update is bounded; at usual rates the bound is not met.
_LARGEST_CHANGE = 1.0


class RBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Restricted Boltzmann machine.

    ``E(v, h) = base(v) + base(h) - v'Wh``, where the base energies hold the biases (and, for real
    units, precisions). For binary units ``p(h_j = 1 | v) = sigma(c_j + W_j'v)`` and
    ``log p(v) = b'v + sum_j log(1 + exp(c_j + W_j'v)) - log Z``.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.
    visible, hidden : str or unit type, default="bernoulli"
        ``"bernoulli"``, ``"spin"``, ``"gaussian"``, ``"relu"``, a subclass of `fastboltz.Unit`, or
        a unit with its shape such as ``fastboltz.Categorical(64, 17)``, whose one-hot entries are
        then the columns of X.
    method : {"pcd", "cd", "exact"}, default="pcd"
        Negative phase: persistent chains, chains from the data, or enumeration.
    n_gibbs : int, default=1
        Gibbs sweeps of an update.
    n_chains : int, default=None
        Persistent chains; None means `batch_size`.
    learning_rate : "auto", float or schedule, default="auto"
        Rate of ascent. A number is constant; see `fastboltz.optimizers` for schedules. "auto" is
        0.1 (0.03 where units are real-valued), falling linearly to zero over a `fit` and constant
        in `partial_fit`; Adam takes a fiftieth of it.
    batch_size : int, default=50
        Rows of a minibatch.
    n_iter : int, default=50
        Passes over the data that `fit` makes.
    optimizer : {"sgd", "adam"} or Optimizer, default="sgd"
    momentum : float, default=0.0
        Of "sgd".
    l1, l2 : float, default=0.0
        Penalties on the weights.
    centered : bool, default=True
        Follow the gradient of the centred parametrisation (`fastboltz.optimizers.centre`).
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
    components_ : ndarray of shape (n_components, n_features)
        Weights, a view of ``params_``.
    intercept_hidden_, intercept_visible_ : ndarray
        Biases.
    energy_ : Energy
        The declared energy, with groups ``"v"`` and ``"h"``.
    params_ : dict of arrays
        Its parameters.
    log_partition_ : LogPartition
        log Z with its interval: exact where one side is small, else by annealed importance
        sampling, computed when it is first asked for.
    chains_ : ndarray of shape (n_chains, n_features)
        Persistent chains (fantasy particles), for ``method="pcd"``.
    history_ : dict of lists
        One entry an epoch.
    n_iter_ : int
        Epochs made.
    n_features_in_ : int

    References
    ----------
    Smolensky, "Information processing in dynamical systems: foundations of harmony theory", 1986.
    Hinton, "Training products of experts by minimizing contrastive divergence", 2002.
    Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood
    gradient", ICML 2008.
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 20.2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import RBM
    >>> X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=np.float32)
    >>> rbm = RBM(n_components=2, n_iter=200, batch_size=4, random_state=0).fit(X)
    >>> rbm.transform(X).shape
    (4, 2)
    >>> rbm.log_partition_.method
    'exact'
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        visible: Any = "bernoulli",
        hidden: Any = "bernoulli",
        method: str = "pcd",
        n_gibbs: int = 1,
        n_chains: int | None = None,
        learning_rate: Any = "auto",
        batch_size: int = 50,
        n_iter: int = 50,
        optimizer: Any = "sgd",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centered: bool = True,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.visible = visible
        self.hidden = hidden
        self.method = method
        self.n_gibbs = n_gibbs
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.optimizer = optimizer
        self.momentum = momentum
        self.l1 = l1
        self.l2 = l2
        self.centered = centered
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    # -- fitting -------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> RBM:
        """Learn the parameters from rows of X.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            float32 and float64 are kept, and are the precision of the parameters; all else
            becomes float32.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        X, weight = self._check_fit(X, sample_weight, reset=True)
        self._begin(X, weight)
        self._train(X, weight, self.n_iter, decay=True)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> RBM:
        """Make one pass over X in minibatches, going on from where the model stands.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        first = not hasattr(self, "params_")
        X, weight = self._check_fit(X, sample_weight, reset=first)
        if first:
            self._begin(X, weight)
        self._train(X, weight, 1, decay=False)
        return self

    def _check_fit(self, X: Any, sample_weight: Any, reset: bool) -> tuple[Any, np.ndarray | None]:
        self._check_parameters()
        X = self._check_rows_of(X, reset=reset)
        if not reset:
            X = X.astype(self._dtype, copy=False)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
            if weight.sum() == 0:
                raise ValueError("sample_weight is zero for every row; give some row a weight.")
        return X, weight

    def _check_parameters(self) -> None:
        check_count("n_components", self.n_components)
        check_count("n_gibbs", self.n_gibbs)
        check_count("batch_size", self.batch_size)
        check_count("n_iter", self.n_iter, minimum=0)
        check_number("momentum", self.momentum, 0, below=1)
        check_number("l1", self.l1, 0)
        check_number("l2", self.l2, 0)
        one_of("method", self.method, ("pcd", "cd", "exact"))
        check_callbacks(self.callbacks)
        if self.n_chains is not None:
            check_count("n_chains", self.n_chains)

    def _check_rows_of(self, X: Any, *, reset: bool, allow_nan: bool = False) -> Any:
        X = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=(np.float32, np.float64),
            ensure_all_finite="allow-nan" if allow_nan else True,
        )
        unit = self._unit("visible", X.shape[1]) if reset else self.energy_.groups["v"]
        self._check_support(unit, X)
        return X

    def _check_support(self, unit: Unit, X: Any) -> None:
        if not hasattr(X, "toarray"):
            unit.check_support("X", X.reshape(len(X), *unit.shape))
            return
        for start in range(0, X.shape[0], _CHUNK_ROWS):
            rows = X[start : start + _CHUNK_ROWS].toarray()
            unit.check_support("X", rows.reshape(len(rows), *unit.shape))

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

    def _declare(self, n_features: int) -> Energy:
        v = self._unit("visible", n_features)
        h = self._unit("hidden", self.n_components)
        letters = "abcdefghijklmnopqrstuvwxyz"
        left, right = letters[: len(v.shape)], letters[-len(h.shape) :]
        # The hidden units stand first, so that the weights are components_ as they are.
        term = "h_j v_i" if len(left) == len(right) == 1 else f"h_{right} v_{left}"
        return Energy({"v": v, "h": h}, terms=[term])

    def _begin(self, X: Any, weight: np.ndarray | None) -> None:
        """Everything learnt, before the first update."""
        energy = self._declare(X.shape[1])
        self._seed = rng.seed_from(self.random_state)
        trainer = self._trainer(energy)
        params = energy.init(self._seed, self._weight_scale(energy), X.dtype)
        visible = energy.groups["v"]
        mean, square = Rows(X, visible.shape, X.dtype).moments(weight)
        # A row of weight two counts as two rows, one of weight zero as none.
        n_rows = X.shape[0] if weight is None else float(weight.sum(dtype=np.float64))
        mean, square = _smoothed(visible, mean, square, n_rows)
        for p, start in self._visible_start(visible, mean, square).items():
            params[energy.own_key("v", p)] = start.astype(X.dtype)
        self._n_features_out = energy.groups["h"].size
        self._dtype = X.dtype
        self._base_rate = mean
        self._draws = np.random.default_rng(self._seed)
        self.energy_ = energy
        self.params_ = params
        self._training = trainer.init(params, self._seed)
        self._log_partition: tuple[int, LogPartition] | None = None

    def _visible_start(self, unit: Unit, mean: np.ndarray, square: np.ndarray) -> Own:
        return unit.from_moments(mean, square)

    def _weight_scale(self, energy: Energy) -> float:
        # Large enough that the hidden units differ from the start: from tiny weights learning
        # spends its first epochs leaving the saddle where all of them do nothing.
        return float((energy.groups["v"].size + energy.groups["h"].size) ** -0.5)

    def _schedule(self, energy: Energy) -> Schedule:
        if not (isinstance(self.learning_rate, str) and self.learning_rate == "auto"):
            if isinstance(self.learning_rate, str):
                one_of("learning_rate", self.learning_rate, ("auto",))
            return as_schedule(self.learning_rate)
        rate = 0.03 if _is_real(energy) else 0.1
        return Linear(rate * as_optimizer(self.optimizer).rate_factor)

    def _trainer(self, energy: Energy) -> Trainer:
        n_chains = self.batch_size if self.n_chains is None else self.n_chains
        likelihood = LogLikelihood(
            of=("v",), negative=self.method, n_gibbs=self.n_gibbs, n_chains=n_chains
        )
        n_threads = threads.resolve(self.n_threads)
        return Trainer(
            energy,
            Objective(energy, likelihood, n_threads),
            as_optimizer(self.optimizer, self.momentum),
            self._schedule(energy),
            centered=self.centered,
            l1=self.l1,
            l2=self.l2,
            limit=_LARGEST_CHANGE if _is_real(energy) else None,
            n_threads=n_threads,
        )

    def _train(self, X: Any, weight: np.ndarray | None, n_epochs: int, decay: bool) -> None:
        self._log_partition = None
        state = self._training
        epochs = self._trainer(self.energy_).epochs(
            self.params_,
            {"v": Rows(X, self.energy_.groups["v"].shape, self._dtype)},
            state,
            batch_size=self.batch_size,
            n_epochs=n_epochs,
            seed=self._seed,
            sample_weight=weight,
            decay=decay,
        )
        callbacks = list(self.callbacks or ())
        bar = _ProgressBar(n_epochs) if self.verbose else None
        if bar is not None:
            callbacks.append(bar)
        try:
            run(epochs, self.params_, model=self, n_iter=n_epochs, callbacks=callbacks)
        finally:
            if bar is not None:
                bar.close()

    # -- what was learnt -----------------------------------------------------------------------

    @property
    def _term(self) -> str:
        return self.energy_.terms[0].name

    def _learnt(self, name: str) -> Any:
        """A part of the fitted model; before `fit`, the attribute does not exist."""
        if "params_" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}; call fit first."
            )
        return self.params_

    @property
    def components_(self) -> np.ndarray:
        """Weights, (n_components, n_features)."""
        w = self._learnt("components_")[self._term]
        return w.reshape(self.energy_.groups["h"].size, -1)

    @property
    def intercept_hidden_(self) -> np.ndarray:
        """Biases of the hidden units, (n_components,)."""
        return self._learnt("intercept_hidden_")["h"].reshape(-1)

    @property
    def intercept_visible_(self) -> np.ndarray:
        """Biases of the visible units, (n_features,)."""
        return self._learnt("intercept_visible_")["v"].reshape(-1)

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

    def _chain_state(self) -> ChainState | None:
        return self._training.phases.chains[0]

    @property
    def chains_(self) -> np.ndarray:
        """Persistent chains of the visible units, (n_chains, n_features)."""
        self._learnt("chains_")
        state = self._chain_state()
        if state is None:
            why = "before the first update" if self.method == "pcd" else f"with {self.method!r}"
            raise AttributeError(f"there are no persistent chains {why}.")
        return state.values["v"].reshape(state.n_chains, -1)

    @property
    def log_partition_(self) -> LogPartition:
        """Log Z with its 95 % interval, computed when it is first asked for."""
        self._learnt("log_partition_")
        # It is that of one update: a callback may ask for it while the training goes on.
        if self._log_partition is None or self._log_partition[0] != self._training.update:
            self._log_partition = (self._training.update, self.log_partition())
        return self._log_partition[1]

    # -- conditionals --------------------------------------------------------------------------

    def _chunks(self, X: Any) -> Iterator[np.ndarray]:
        """Dense rows of the visible group, in the model's precision, some at a time."""
        rows = Rows(X, self.energy_.groups["v"].shape, self._dtype)
        for start in range(0, len(rows), _CHUNK_ROWS):
            yield rows.take(slice(start, start + _CHUNK_ROWS))

    def _mean(self, group: str, given: str, x: np.ndarray) -> np.ndarray:
        _, mean, _ = layer(
            self.energy_,
            self.params_,
            {given: x},
            group,
            rng.Address(0),
            mean=True,
            sample=False,
            n_threads=threads.resolve(self.n_threads),
        )
        assert mean is not None
        return mean.reshape(len(x), -1)

    def transform(self, X: Any) -> np.ndarray:
        """Means of the hidden units, ``E[h | v]``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        check_is_fitted(self, "params_")
        X = self._check_rows_of(X, reset=False)
        with threads.single_threaded_blas():
            return np.concatenate([self._mean("h", "v", x) for x in self._chunks(X)])

    def inverse_transform(self, H: Any) -> np.ndarray:
        """Means of the visible units given values (or means) of the hidden ones, ``E[v | h]``.

        Parameters
        ----------
        H : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "params_")
        H = check_array(H, dtype=self._dtype)
        unit = self.energy_.groups["h"]
        if H.shape[1] != unit.size:
            raise ValueError(
                f"H has {H.shape[1]} columns, but the model has {unit.size} hidden entries; give "
                f"what transform returns."
            )
        with threads.single_threaded_blas():
            return self._mean("v", "h", H.reshape(len(H), *unit.shape))

    def reconstruct(self, X: Any) -> np.ndarray:
        """``E[v | E[h | X]]``: the data as the hidden means describe it.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        return self.inverse_transform(self._plain(self.transform, X))

    @staticmethod
    def _plain(method: Any, X: Any) -> np.ndarray:
        """Call a method that set_output may have wrapped, for an array."""
        return np.asarray(method(X))

    # -- likelihood ----------------------------------------------------------------------------

    def free_energy(self, X: Any) -> np.ndarray:
        """``F(v) = -log sum_h exp(-E(v, h))``, so that ``log p(v) = -F(v) - log Z``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        check_is_fitted(self, "params_")
        X = self._check_rows_of(X, reset=False)
        n_threads = threads.resolve(self.n_threads)
        with threads.single_threaded_blas():
            parts = [
                self.energy_.free_energy(
                    self.params_, {"v": x}, "h", n_threads=n_threads, check=False
                )
                for x in self._chunks(X)
            ]
        return np.concatenate(parts)

    def log_partition(self, method: str = "auto", **options: Any) -> LogPartition:
        """Log Z, with its 95 % interval.

        Parameters
        ----------
        method : {"auto", "exact", "ais"}
            "auto" enumerates the smaller side up to 2**20 states, and anneals beyond.
        **options
            Of `fastboltz.likelihood.ais`: ``betas`` (1000), ``n_chains`` (256), ``random_state``
            (the model's own seed, so that the answer is repeatable), ``progress``.

        Returns
        -------
        LogPartition
        """
        check_is_fitted(self, "params_")
        visible = self.energy_.groups["v"]
        start = visible.reference_bias(self.energy_.own(self.params_, "v"), self._base_rate)
        options.setdefault("reference", {"v": {"bias": start}})
        options.setdefault("random_state", self._seed)
        options.setdefault("n_threads", self.n_threads)
        return log_partition(self.energy_, self.params_, method, **options)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-likelihood ``log p(v)`` of each row, in nats, with ``log_partition_``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        return -self.free_energy(X) - self.log_partition_.value

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of the rows of X, in nats.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean())

    def pseudo_likelihood(self, X: Any) -> np.ndarray:
        """``sum_i log p(v_i | all other visible units)`` of each row, over all units.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        check_is_fitted(self, "params_")
        X = self._check_rows_of(X, reset=False)
        n_threads = threads.resolve(self.n_threads)
        parts = [
            pseudo_log_likelihood(self.energy_, self.params_, "v", x, ("h",), n_threads)
            for x in self._chunks(X)
        ]
        return np.concatenate(parts)

    # -- sampling ------------------------------------------------------------------------------

    def _sampling_seed(self, random_state: Any) -> int:
        """Seed of one call: as given, or the next of the fitted model's own sequence."""
        return rng.seed_from(self._draws if random_state is None else random_state)

    def sample(
        self,
        n_samples: int = 1,
        n_steps: int = 100,
        *,
        init: Any = None,
        given: Any = None,
        random_state: Any = None,
    ) -> np.ndarray:
        """Draw visible vectors by Gibbs sampling.

        Parameters
        ----------
        n_samples : int
            Number of rows, each a chain of its own.
        n_steps : int
            Sweeps that each chain makes.
        init : array-like of shape (n_samples, n_features), optional
            Visible vectors to start from. The default is the persistent chains of the training
            where there are some, else independent units with the visible biases.
        given : array-like of shape (n_features,) or (n_samples, n_features), optional
            Known visible units, held; NaN marks those to be drawn.
        random_state : None, int, RandomState or Generator
            None goes on in the model's own sequence, so that calls differ, repeatably.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "params_")
        check_count("n_samples", n_samples)
        check_count("n_steps", n_steps, minimum=0)
        unit = self.energy_.groups["v"]
        address = rng.Address.of(self._sampling_seed(random_state), "sample")
        values = {}
        if init is not None:
            start = self._check_rows_of(init, reset=False)
            if len(start) != n_samples:
                raise ValueError(f"init has {len(start)} rows; expected n_samples={n_samples}.")
            values["v"] = start
        elif (chains := self._chain_state()) is not None:
            values["v"] = chains.values["v"][np.arange(n_samples) % chains.n_chains]
        clamp: tuple[str, ...] = ()
        if given is not None:
            known = np.asarray(given, dtype=self._dtype)
            if known.shape not in ((unit.size,), (n_samples, unit.size)):
                raise ValueError(
                    f"given has shape {known.shape}; expected ({unit.size},) or "
                    f"({n_samples}, {unit.size}), with NaN for the units to be drawn."
                )
            known = np.broadcast_to(known, (n_samples, unit.size)).reshape(-1, *unit.shape)
            if np.isinf(known).any():
                raise ValueError(
                    "given contains infinity; expected finite values, with NaN for the units to "
                    "be drawn."
                )
            unit.check_support("given", known)
            clamp, values["v"] = ("v",), known
        sampler = Gibbs(self.energy_, clamp, n_threads=self.n_threads)
        shaped = {g: x.reshape(n_samples, *unit.shape) for g, x in values.items()}
        state = sampler.start(self.params_, n_samples, address, shaped)
        if init is not None and given is not None:
            free = np.isnan(shaped["v"])
            np.copyto(state.values["v"], start.reshape(free.shape), where=free)
        # The hidden units follow from the visible ones: they are drawn first, and the visible
        # ones last, so that a sweep ends at a visible vector.
        sampler.blocks = [("h",), ("v",)]
        state = sampler.step(self.params_, state, n_steps)
        return state.values["v"].reshape(n_samples, -1)

    def gibbs(self, v: Any, n_steps: int = 1, random_state: Any = None) -> np.ndarray:
        """Sweeps ``v -> h -> v`` from given visible vectors.

        Parameters
        ----------
        v : array-like of shape (n_samples, n_features) or (n_features,)
        n_steps : int
        random_state : None, int, RandomState or Generator

        Returns
        -------
        ndarray of the shape of v
        """
        check_is_fitted(self, "params_")
        start = np.asarray(v.toarray() if hasattr(v, "toarray") else v, dtype=self._dtype)
        rows = start.reshape(-1, start.shape[-1])
        new = self.sample(len(rows), n_steps, init=rows, random_state=random_state)
        return new.reshape(start.shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class BernoulliRBM(RBM):
    r"""Binary RBM, a drop-in for ``sklearn.neural_network.BernoulliRBM``.

    The constructor, attributes and methods are scikit-learn's, and so is the learning rule
    (persistent contrastive divergence at a constant rate, from zero biases). It differs where that
    is better:

    - `score_samples` is the log-likelihood, and deterministic; scikit-learn returns the
      pseudo-likelihood of one random unit times the number of units. `pseudo_likelihood` is its
      own method, over all units.
    - A short last minibatch weighs its rows and the chains rightly; scikit-learn subtracts the sum
      over all chains from the sum over fewer rows.
    - Rows are shuffled before each pass.
    - `partial_fit` cuts its rows into minibatches and returns self.
    - Everything of `RBM` is there: `sample`, `score`, `free_energy`, `log_partition`, ...

    Values outside of [0, 1] are accepted with a warning, as scikit-learn accepts them without.

    Parameters
    ----------
    n_components : int, default=256
    learning_rate : float, default=0.1
    batch_size : int, default=10
    n_iter : int, default=10
    verbose : int, default=0
    random_state : None, int or RandomState, default=None

    Attributes
    ----------
    components_, intercept_hidden_, intercept_visible_, n_features_in_
        As in scikit-learn.
    h_samples_ : ndarray of shape (batch_size, n_components)
        Hidden units of the persistent chains.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import BernoulliRBM
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> BernoulliRBM(n_components=2, random_state=0).fit(X).transform(X).shape
    (4, 2)
    """

    visible = "bernoulli"
    hidden = "bernoulli"
    method = "pcd"
    n_gibbs = 1
    n_chains = None
    optimizer = "sgd"
    momentum = 0.0
    l1 = 0.0
    l2 = 0.0
    centered = False
    n_threads = None
    callbacks = None

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state

    def _visible_start(self, unit: Unit, mean: np.ndarray, square: np.ndarray) -> Own:
        return unit.init()

    def _weight_scale(self, energy: Energy) -> float:
        return 0.01

    def _check_support(self, unit: Unit, X: Any) -> None:
        try:
            super()._check_support(unit, X)
        except ValueError as error:
            warnings.warn(f"{error} They are taken as they are.", UserWarning, stacklevel=4)

    @property
    def h_samples_(self) -> np.ndarray:
        """Hidden units of the persistent chains, (batch_size, n_components)."""
        self._learnt("h_samples_")
        state = self._chain_state()
        if state is None:
            raise AttributeError("h_samples_ is there after the first update.")
        return state.values["h"]


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

    def __init__(self, n_epochs: int) -> None:
        from tqdm.auto import tqdm

        self.bar = tqdm(total=n_epochs, unit="epoch")

    def __call__(self, progress: Any) -> None:
        self.bar.update(1)

    def close(self) -> None:
        self.bar.close()
