"""Restricted Boltzmann machines of all unit types, under scikit-learn's interface."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from .. import low_rank, rng, threads
from ..chunks import is_chunked, precisions
from ..energy import Energy
from ..gibbs import ChainState, layer
from ..likelihood import pseudo_log_likelihood
from ..objectives import LogLikelihood
from ..terms import Params
from ..training import Callback, Rows, Trainer
from ..units import Bernoulli, Own, Unit
from ..validation import check_count, check_number, one_of
from .base import Data, EnergyEstimator, check_rows, unchanged_if_refused

#: A low-rank fit of which fewer of the samples are effective is said to be in doubt.
_EFFECTIVE = 0.05


class RBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, EnergyEstimator):
    r"""Restricted Boltzmann machine.

    ``E(v, h) = base(v) + base(h) - v'Wh``, where the base energies hold the biases (and, for real
    units, precisions). For binary units ``p(h_j = 1 | v) = sigma(c_j + W_j'v)`` and
    ``log p(v) = b'v + sum_j log(1 + exp(c_j + W_j'v)) - log Z``.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.
    visible, hidden : str or unit type, default="bernoulli"
        ``"bernoulli"``, ``"spin"``, ``"gaussian"``, ``"relu"``, ``"unit-interval"``, a subclass of
        `fastboltz.Unit`, or a unit with its shape such as ``fastboltz.Categorical(64, 17)``, whose
        one-hot entries are then the columns of X.
    method : {"pcd", "cd", "exact", "tempered", "trajectory"}, default="pcd"
        Negative phase: persistent chains, chains from the data, enumeration, or, for data with
        strong modes, persistent chains that exchange places with others at nine lower inverse
        temperatures, or of nine earlier models: ten times the sweeps.
    n_gibbs : int, default=1
        Gibbs sweeps of an update.
    n_chains : int, default=None
        Persistent chains; None means `batch_size`.
    learning_rate : "auto", float or schedule, default="auto"
        Rate of ascent. A number is constant; see `fastboltz.optimizers` for schedules. "auto" is
        0.1 (0.03 where units are real-valued, 0.01 where all are), falling linearly to zero over a
        `fit` and constant in `partial_fit`; Adam takes a fiftieth of it.
    batch_size : int, default=50
        Rows of a minibatch.
    n_iter : int, default=50
        Passes over the data that `fit` makes.
    optimizer : {"sgd", "adam"} or Optimizer, default="sgd"
    momentum : float, default=0.0
        Of "sgd".
    l1, l2 : float, default=0.0
        Penalties on the weights.
    sparsity : float, default=0.0
        Strength of the pull of each hidden unit's mean activity towards `activity`, by its bias
        (Lee, Ekanadham & Ng 2007); binary hidden units alone. On noisy data it keeps all hidden
        units in use, which would else be left without weights.
    activity : float, default=0.1
        Mean activity that `sparsity` pulls to.
    centered : bool, default=True
        Follow the gradient of the centred parametrisation (`fastboltz.optimizers.centre`).
    init : {"random", "low-rank"}, default="random"
        Where the weights begin: small and random, or, for binary units and data with strong modes,
        at an RBM of 32 hidden units (those there are, if fewer) with weights in the four principal
        directions of the data, which is fitted first, without chains (`fastboltz.low_rank`); other
        hidden units begin at random. Where modes are so far apart that persistent chains stay in
        theirs, take ``method="tempered"`` with it, lest the shares of the modes are lost again.
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
    low_rank_ : dict
        With ``init="low-rank"``: ``directions`` (4, n_features), and of the samples that the fit
        ended with the ``effective`` share.
    n_iter_ : int
        Epochs made.
    n_features_in_ : int

    Notes
    -----
    On binary data (and data in [0, 1]) with binary hidden units, learning by "cd" or "pcd" and
    "sgd" in single precision sums the hidden units' conditional means p, which ``<v h>`` is made
    of, as multiples of 2**-10. Each is rounded up or down by chance so that its expectation is p:
    the gradient has no bias, and the variance of each term grows by less than
    ``min(p, 1 - p) / 1024``, where a draw of h in the place of p would add ``p (1 - p)``. It takes
    a tenth off the time of an update. Rows in double precision, and minibatches and chains of up
    to 32, keep 20 bits.

    References
    ----------
    Smolensky, "Information processing in dynamical systems: foundations of harmony theory", 1986.
    Hinton, "Training products of experts by minimizing contrastive divergence", 2002.
    Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood
    gradient", ICML 2008.
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 20.2.
    Lee, Ekanadham & Ng, "Sparse deep belief net model for visual area V2", NIPS 2007 (`sparsity`).
    Gupta, Agrawal, Gopalakrishnan & Narayanan, "Deep learning with limited numerical precision",
    ICML 2015 (rounding by chance).

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

    Probabilities of which every pass learns from a draw of its own:

    >>> rng, grey = np.random.default_rng(0), np.array([[0.1, 0.2, 0.9], [0.8, 0.7, 0.2]] * 10)
    >>> def drawn():
    ...     yield rng.random(grey.shape) < grey
    >>> rbm = RBM(n_components=2, random_state=0).fit(drawn)
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
        sparsity: float = 0.0,
        activity: float = 0.1,
        centered: bool = True,
        init: str = "random",
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
        self.sparsity = sparsity
        self.activity = activity
        self.centered = centered
        self.init = init
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    # -- fitting -------------------------------------------------------------------------------

    @unchanged_if_refused
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, comm: Any = None) -> RBM:
        """Learn the parameters from rows of X.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or function
            float32 and float64 are kept, and are the precision of the parameters; all else
            becomes float32: whole numbers of one or two bytes, such as pixels, a minibatch at a
            time. A memory-mapped array of these types is read in place.

            For data that do not fit into memory: a function without arguments that returns an
            iterator of chunks, each of them rows or a pair (rows, sample_weight). It is called
            ``n_iter + 1`` times, and must return as many rows each time: the first pass checks
            and counts them. A Dask array is read so. Blocks of 64 MiB are shuffled, each of them
            apart, so let the rows come in no order that says something of them; where chunks end
            changes nothing. Passes may differ in what is drawn anew for each: pixels from their
            grey values, say, of which a single draw is soon learnt by heart
            (`datasets.Redrawn`). A function with a parameter ``epoch`` is told the number of the
            pass in it, 0 for the first look and then 1, 2, ..., also where a training goes on.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
        comm : mpi4py.MPI.Intracomm, optional
            Processes that learn one model together, each calling `fit` with a part of the rows
            (`fastboltz.distributed`). All end with the same model. Where X has no other values
            than the two of a visible unit, it has the same bytes for every number of processes,
            and is that of `fit` on all rows, in the order of the ranks. Real values in between are
            summed up by BLAS in each process: the model then has the same bytes when it is learnt
            again by as many, and differs by rounding when by others. Trainings that are not those
            of pairs of binary groups by SGD are told of in a sentence.

        Returns
        -------
        self

        Notes
        -----
        With ``comm``, callbacks are called on every process that has them, with the same
        parameters, and the training ends when one asks for it. The history, and weights that are
        put back, are those of rank 0, so it is enough to watch there:
        ``callbacks=[watch] if comm.rank == 0 else None``. A `fastboltz.Checkpoint` and the progress
        bar are those of rank 0. ``n_threads=None`` divides the cores of a machine among its
        processes.
        """
        if self.init == "low-rank" and (comm is not None or is_chunked(X)):
            raise ValueError(
                "init='low-rank' fits all rows at once before the training, but they come in "
                "parts; give one array or CSR matrix, or use init='random'."
            )
        if comm is not None:
            if is_chunked(X):
                raise TypeError(
                    "with comm, X is this process's part of the rows, an array; chunks are learnt "
                    "from by one process."
                )
            self._fit_shared(lambda: self._check_shard(X, sample_weight), comm)
            return self
        if is_chunked(X):
            self._fit_chunks(X, sample_weight)
            return self
        X, weight = self._check_fit(X, sample_weight, reset=True)
        self._fit({"v": X}, weight)
        return self

    @unchanged_if_refused
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> RBM:
        """Make one pass over X in minibatches, going on from where the model stands.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or iterator
            An iterator of chunks, or what `fit` takes in place of rows, is read once. A model that
            has learnt nothing yet begins at the moments of the first block.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        self._check_structure()
        if is_chunked(X):
            self._partial_fit_chunks(X, sample_weight)
            return self
        X, weight = self._check_fit(X, sample_weight, reset=not hasattr(self, "params_"))
        self._partial_fit({"v": X}, weight)
        return self

    def _check_chunk(
        self, X: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Data, np.ndarray | None]:
        X, _ = self._check_fit(X, None, reset)
        return {"v": X}, self._check_weights(sample_weight, X, is_part=True)

    def _check_shard(self, X: Any, sample_weight: Any) -> Data:
        if sample_weight is not None:
            raise ValueError(
                "sample_weight has no place in a training that processes share; repeat rows, or "
                "fit without comm."
            )
        shape = getattr(X, "shape", None) or np.shape(X)
        if shape[:1] == (0,):
            raise ValueError(
                "X has no rows; give every process at least one, or start fewer processes."
            )
        return {"v": self._check_fit(X, None, reset=True)[0]}

    def _check_fit(self, X: Any, sample_weight: Any, reset: bool) -> tuple[Any, np.ndarray | None]:
        self._check_parameters()
        X = self._check_rows_of(X, reset=reset)
        if not reset and X.dtype.kind == "f":
            X = X.astype(self._dtype, copy=False)
        return X, self._check_weights(sample_weight, X)

    def _check_parameters(self) -> None:
        check_count("n_components", self.n_components)
        super()._check_parameters()
        check_number("sparsity", self.sparsity, 0)
        check_number("activity", self.activity, 0, below=1, strict=True)
        if self.sparsity and not isinstance(self._unit("hidden", self.n_components), Bernoulli):
            raise ValueError(
                f"sparsity={self.sparsity!r} pulls the mean of units in {{0, 1}}, but hidden is "
                f"{self.hidden!r}; use hidden='bernoulli' or sparsity=0."
            )

        one_of("init", self.init, ("random", "low-rank"))
        if self.init == "low-rank":
            for name in ("visible", "hidden"):
                kind = getattr(self, name)
                if kind not in ("bernoulli", Bernoulli):
                    raise ValueError(
                        f"init='low-rank' is for binary units on both sides, but {name} is "
                        f"{kind!r}; use {name}='bernoulli' or init='random'."
                    )

    def _check_rows_of(self, X: Any, *, reset: bool, allow_nan: bool = False) -> Any:
        finite = "allow-nan" if allow_nan else True
        X = check_rows(self, X, reset=reset, dtype=precisions(X), ensure_all_finite=finite)
        unit = self._unit("visible", X.shape[1]) if reset else self.energy_.groups["v"]
        return self._check_support(unit, X)

    def _declare(self, data: Data) -> Energy:
        v = self._unit("visible", data["v"].shape[1])
        h = self._unit("hidden", self.n_components)
        letters = "abcdefghijklmnopqrstuvwxyz"
        left, right = letters[: len(v.shape)], letters[-len(h.shape) :]
        # The hidden units stand first, so that the weights are components_ as they are.
        term = "h_j v_i" if len(left) == len(right) == 1 else f"h_{right} v_{left}"
        return Energy({"v": v, "h": h}, terms=[term])

    def _likelihoods(self) -> LogLikelihood:
        return self._likelihood(of="v")

    def _starting_params(self, energy: Energy, dtype: np.dtype) -> Params:
        params = super()._starting_params(energy, dtype)
        if self.sparsity:
            params["h"] += np.asarray(np.log(self.activity / (1 - self.activity)), dtype)
        return params

    def _begin_at(self, *args: Any) -> None:
        super()._begin_at(*args)
        if hasattr(self, "low_rank_"):
            del self.low_rank_

    def _begin(self, data: Data, weight: np.ndarray | None) -> None:
        super()._begin(data, weight)
        if self.init == "low-rank" and not self._will_resume():
            self._start_low_rank(data["v"], weight)

    def _start_low_rank(self, X: Any, weight: np.ndarray | None) -> None:
        """Some hidden units become an RBM of the principal directions, fitted without chains."""
        n_rows = X.shape[0] if weight is None else np.count_nonzero(weight)
        rank = min(low_rank.RANK, n_rows - 1, X.shape[1] - 1)
        n_hidden = min(self.n_components, rank * low_rank.UNITS_OF_DIRECTION)
        mean, square = Rows(X, (X.shape[1],), np.float64).moments(weight)
        if rank < 1 or not (square - mean**2 > 1e-12).any():
            return  # rows that are all alike have no directions
        others = self.components_[n_hidden:], self.intercept_hidden_[n_hidden:]
        found = low_rank.fit(X, n_hidden, rank, self._seed, weight, others)
        self.params_["v"][...] = found.bias_visible
        self.params_["h"][:n_hidden] = found.bias_hidden
        self.params_[self._term][:n_hidden] = found.weights
        self.low_rank_ = {"directions": found.directions, "effective": found.effective}
        if found.effective < _EFFECTIVE:
            warnings.warn(
                f"init='low-rank' has ended with {found.effective:.1%} of its samples carrying its "
                f"gradients: the modes that the training begins with may have wrong shares.",
                RuntimeWarning,
                stacklevel=6,
            )

    def _trainer(self, energy: Energy) -> Trainer:
        trainer = super()._trainer(energy)
        if self.sparsity:
            trainer.activities["h"] = (self.activity, self.sparsity)
        return trainer

    # -- what was learnt -----------------------------------------------------------------------

    @property
    def _term(self) -> str:
        return self.energy_.terms[0].name

    @property
    def _n_features_out(self) -> int:
        return self.energy_.groups["h"].size

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
    def chains_(self) -> np.ndarray:
        """Persistent chains of the visible units, (n_chains, n_features)."""
        self._learnt("chains_")
        state = self._chain_state()
        if state is None:
            why = "before the first update" if self.method == "pcd" else f"with {self.method!r}"
            raise AttributeError(f"there are no persistent chains {why}.")
        return state.values["v"].reshape(state.n_chains, -1)

    # -- conditionals --------------------------------------------------------------------------

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
        with threads.computing():
            return np.concatenate([self._mean("h", part) for part in self._chunks({"v": X})])

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
        with threads.computing():
            return self._mean("v", {"h": H.reshape(len(H), *unit.shape)})

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
        with threads.computing():
            parts = [
                self.energy_.free_energy(self.params_, part, "h", n_threads=n_threads, check=False)
                for part in self._chunks({"v": X})
            ]
        return np.concatenate(parts)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-likelihood ``log p(v)`` of each row, in nats, with ``log_partition_``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        return self._credible(-self.free_energy(X) - self.log_partition_.value, ("v",))

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
            pseudo_log_likelihood(self.energy_, self.params_, "v", part["v"], ("h",), n_threads)
            for part in self._chunks({"v": X})
        ]
        return np.concatenate(parts)

    # -- sampling ------------------------------------------------------------------------------

    def sample(
        self,
        n_samples: int = 1,
        n_steps: int = 100,
        *,
        init: Any = None,
        given: Any = None,
        random_state: Any = None,
        method: str = "gibbs",
        return_info: bool = False,
        n_jobs: int | None = None,
    ) -> Any:
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
        method : {"gibbs", "tempered", "trajectory"}, default="gibbs"
            "tempered" exchanges places with chains at lower inverse temperatures
            (`fastboltz.tempering.Tempering`), "trajectory" with chains of models that the training
            has gone through (`TrajectoryTempering` there; `fastboltz.callbacks.Trajectory` keeps
            them), so that chains cross between modes. Each sweep is one of every level, and the
            first half of the sweeps place the levels.
        return_info : bool, default=False
            Also return a `fastboltz.diagnostics.SamplingInfo`: R-hat, effective sample sizes and
            autocorrelation times of the second half of the sweeps, with a ``verdict`` in words.

        n_jobs : int, optional
            Have joblib make the sweeps in so many workers, 64 chains a task: processes, or
            whatever ``joblib.parallel_config`` names, such as the workers of a Dask cluster. A
            chain's random numbers are those of its number, so the rows are the same for every
            number and kind of workers; of sweeps on bits, those of two binary groups in single
            precision that are not tiny, the same bytes as without. With ``method="gibbs"``,
            without `return_info`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            With ``return_info``, a tuple of it and the information.
        """
        check_is_fitted(self, "params_")
        check_count("n_samples", n_samples)
        check_count("n_steps", n_steps, minimum=0)
        unit = self.energy_.groups["v"]
        address = rng.Address.of(self._sampling_seed(random_state), "sample")
        values = {}
        if init is not None:
            start = self._start_of_chains(self._check_rows_of(init, reset=False), n_samples)
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
            clamp, values["v"] = ("v",), self._check_support(unit, known, "given")
        sampler = self._sampler(method, clamp)
        shaped = {g: x.reshape(n_samples, *unit.shape) for g, x in values.items()}
        state = sampler.start(self.params_, n_samples, address, shaped)
        if init is not None and given is not None:
            free = np.isnan(shaped["v"])
            np.copyto(state.values["v"], start, where=free)  # of all levels
        # The hidden units follow from the visible ones: they are drawn first, and the visible
        # ones last, so that a sweep ends at a visible vector.
        sampler.blocks = [("h",), ("v",)]
        state, info = self._sweep(sampler, state, n_steps, return_info, n_jobs)
        X = state.values["v"].reshape(n_samples, -1)
        return X if info is None else (X, info)

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
        if start.ndim not in (1, 2) or start.size == 0:
            raise ValueError(
                f"v has shape {start.shape}; expected one visible vector, or at least one row of "
                f"them: ({self.n_features_in_},) or (n_samples, {self.n_features_in_})."
            )
        rows = start.reshape(-1, start.shape[-1])
        new = self.sample(len(rows), n_steps, init=rows, random_state=random_state)
        return new.reshape(start.shape)

    # -- arrays, and scikit-learn's ------------------------------------------------------------

    @classmethod
    def from_arrays(
        cls, components: Any, intercept_hidden: Any, intercept_visible: Any, **options: Any
    ) -> Self:
        """Make a model of weights and biases, which are those of another program, say.

        The way back are the attributes ``components_``, ``intercept_hidden_`` and
        ``intercept_visible_``. A training goes on with ``partial_fit``.

        Parameters
        ----------
        components : array-like of shape (n_components, n_features)
            Weights W of ``-E(v, h) = h' W v + c' h + b' v``. Single precision stays; all else
            becomes double precision.
        intercept_hidden : array-like of shape (n_components,)
            Biases c.
        intercept_visible : array-like of shape (n_features,)
            Biases b.
        **options
            Other arguments of the constructor. Units are binary unless ``visible=`` and
            ``hidden=`` name others that have no parameter but the bias.

        Returns
        -------
        RBM
            One of the class that this is called on, with copies of the arrays.

        Raises
        ------
        ValueError
            If shapes do not fit, a value is not finite, or units have more parameters.

        Examples
        --------
        >>> import numpy as np
        >>> import fastboltz as fb
        >>> rbm = fb.RBM.from_arrays(np.eye(2, 3), np.zeros(2), np.zeros(3))
        >>> rbm.transform([[0, 0, 1]])
        array([[0.5, 0.5]])
        """
        w = check_array(components, dtype=[np.float64, np.float32], input_name="components")
        biases = []
        for name, x, n in (
            ("intercept_hidden", intercept_hidden, w.shape[0]),
            ("intercept_visible", intercept_visible, w.shape[1]),
        ):
            x = check_array(x, dtype=w.dtype, ensure_2d=False, input_name=name)
            if x.shape != (n,):
                raise ValueError(
                    f"{name} has shape {x.shape}; components of shape {w.shape}, (n_components, "
                    f"n_features), need ({n},)."
                )
            biases.append(x)
        model = cls(**({"n_components": len(w)} | options))
        model._check_parameters()
        model._take(w, biases[0], biases[1], np.zeros((0, len(w)), w.dtype))
        model.n_features_in_ = w.shape[1]
        return model

    def _take(self, w: np.ndarray, c: np.ndarray, b: np.ndarray, h: np.ndarray) -> None:
        """Hold copies of weights, hidden and visible biases, and hidden units of chains, if any."""
        self._begin({"v": np.zeros((1, w.shape[1]), w.dtype)}, None)
        params, groups = self.params_, self.energy_.groups
        if more := sorted(set(params) - {self._term, "h", "v"}):
            raise ValueError(
                f"{groups['v']} and {groups['h']} also have the parameters {', '.join(more)}; "
                f"from_arrays takes units that have a bias alone."
            )
        if self.components_.shape != w.shape:
            raise ValueError(
                f"components has shape {w.shape}, but n_components, visible and hidden make "
                f"{self.components_.shape}."
            )
        self.components_[...] = w
        self.intercept_hidden_[...] = c
        self.intercept_visible_[...] = b
        # Base rates of the data are not known: those of the chains are the nearest.
        near = (h if len(h) else np.zeros((1, len(w)), w.dtype)).reshape(-1, *groups["h"].shape)
        at = rng.Address.of(self._seed, "init")
        _, mean, v = layer(self.energy_, params, {"h": near}, "v", at, mean=True)
        assert mean is not None and v is not None
        self._base_rates = {"v": mean.mean(axis=0, dtype=np.float64)}
        if len(h):
            chains = ChainState({"v": v, "h": h.copy()}, rng.Address.of(self._seed, "chains"))
            self._training.phases.chains[0] = chains

    def to_sklearn(self) -> Any:
        """Make a ``sklearn.neural_network.BernoulliRBM`` with a copy of these parameters.

        A learning rate that is no number becomes 0.1, its default. Persistent chains go along as
        ``h_samples_``; momentum and whatever else that model does not know does not.

        Returns
        -------
        sklearn.neural_network.BernoulliRBM
            Fitted.
        """
        from sklearn.neural_network import BernoulliRBM as Theirs

        check_is_fitted(self, "params_")
        for g, unit in self.energy_.groups.items():
            if type(unit) is not Bernoulli or len(unit.shape) > 1:
                raise ValueError(
                    f"group {g!r} is {unit}; scikit-learn's BernoulliRBM has binary units in one "
                    f"row, Bernoulli(n), on both sides."
                )
        is_number = isinstance(self.learning_rate, (int, float, np.number))
        peer = Theirs(
            self.energy_.groups["h"].size,
            learning_rate=self.learning_rate if is_number else 0.1,
            batch_size=self.batch_size,
            n_iter=self.n_iter,
            verbose=self.verbose,
            random_state=self.random_state,
        )
        peer.components_ = self.components_.copy()
        peer.intercept_hidden_ = self.intercept_hidden_.copy()
        peer.intercept_visible_ = self.intercept_visible_.copy()
        peer._n_features_out = len(peer.components_)
        for name in ("n_features_in_", "feature_names_in_"):
            if name in vars(self):
                setattr(peer, name, getattr(self, name))
        state = self._chain_state()
        if state is None:
            peer.h_samples_ = np.zeros((self.batch_size, len(peer.components_)), self._dtype)
        else:
            peer.h_samples_ = state.values["h"].copy()
        return peer

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
    chains_, energy_, history_, log_partition_, n_iter_, params_
        As in `RBM`.

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
    sparsity = 0.0
    activity = 0.1
    centered = False
    init = "random"
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

    def _start_of_group(self, unit: Unit, mean: np.ndarray, square: np.ndarray) -> Own:
        return unit.init()

    def _weight_scale(self, energy: Energy) -> float:
        return 0.01

    def _check_support(self, unit: Unit, X: Any, name: str = "X") -> Any:
        try:
            return super()._check_support(unit, X, name)
        except ValueError as error:
            # scikit-learn's constructor has no `visible`.
            sentence = str(error).replace("use visible=", "use RBM with visible=")
            warnings.warn(f"{sentence} They are taken as they are.", UserWarning, stacklevel=4)
            return X

    def _credible(self, log_probabilities: np.ndarray, groups: Iterable[str]) -> np.ndarray:
        # Rows that are no states, and were warned of, have no probabilities.
        return log_probabilities

    def _observed_kinds(self) -> list[Any]:
        return [None]  # values of all kinds are accepted, with a warning

    @classmethod
    def from_sklearn(cls, peer: Any) -> BernoulliRBM:
        """Make a model of what scikit-learn's has learnt; `to_sklearn` is the way back.

        Constructor arguments, parameters and persistent chains are copies of its. The training
        goes on with ``partial_fit``; epochs are counted from here.

        Parameters
        ----------
        peer : sklearn.neural_network.BernoulliRBM
            One that is not fitted becomes one that is not.

        Returns
        -------
        BernoulliRBM
        """
        from sklearn.neural_network import BernoulliRBM as Theirs

        if not isinstance(peer, Theirs):
            raise TypeError(
                f"from_sklearn takes a sklearn.neural_network.BernoulliRBM; got "
                f"{type(peer).__module__}.{type(peer).__qualname__}."
            )
        model = cls(**peer.get_params(deep=False))
        if "components_" not in vars(peer):
            return model
        w = np.asarray(peer.components_)
        h = np.asarray(getattr(peer, "h_samples_", np.zeros((0, len(w)))), w.dtype)
        model._take(w, peer.intercept_hidden_, peer.intercept_visible_, h)
        for name in ("n_features_in_", "feature_names_in_"):
            if name in vars(peer):
                setattr(model, name, getattr(peer, name))
        return model

    @property
    def h_samples_(self) -> np.ndarray:
        """Hidden units of the persistent chains, (batch_size, n_components)."""
        self._learnt("h_samples_")
        state = self._chain_state()
        if state is None:
            raise AttributeError("h_samples_ is there after the first update.")
        return state.values["h"]
