"""Sigmoid belief network: layers of binary units, directed, with a network for inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from scipy.special import logsumexp
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastboltz_ext import layers as kernels

from .. import rng, threads
from ..belief import METHODS, PAIRED, BeliefNet, BoundObjective
from ..optimizers import RATES, Linear, Schedule, as_optimizer, as_schedule
from ..training import BestScore, Callback, Rows, Trainer
from ..units import Bernoulli, Unit
from ..validation import check_count, check_flag, check_number, one_of, too_many_states
from .base import CHUNK_ROWS, TrainedEstimator, _smoothed, check_rows, unchanged_if_refused
from .deep import _check_depth, _check_layers, _spread

#: States of all hidden units (log2) that an exact log-likelihood is computed from.
MAX_LOG2_STATES = 20
#: Draws of the bound that early stopping looks at.
VALIDATION_DRAWS = 5


class SigmoidBeliefNetwork(ClassNamePrefixFeaturesOutMixin, TransformerMixin, TrainedEstimator):
    r"""Sigmoid belief network with an inference network.

    ``p(v, h1, ..., hL) = p(v | h1) p(h1 | h2) ... p(hL)`` with ``p(x_i = 1 | parents) = sigma(b_i +
    sum_j W_ji h_j)`` in every layer, and ``q(h | v) = q(h1 | v) q(h2 | h1) ...`` of the same kind
    upwards. Both climb the bound ``E_q[log p(v, h) - log q(h | v)] <= log p(v)`` (or the bound of
    several paths); for q that is the gradient of an expectation over discrete units, see
    `fastboltz.gradients`.

    Parameters
    ----------
    layers : sequence of int, default=(200, 200)
        Sizes of the hidden layers, from the data upwards.
    method : str, default="disarm"
        How the gradient of the inference network is estimated:

        - "disarm", "arm": mirrored pairs of paths, layer by layer.
        - "nvil": score function with a baseline that is learnt from the layer below, a moving
          average, and variance normalisation.
        - "leave-one-out": score function; the mean of a row's other paths is the baseline.
        - "reinforce": score function without a baseline.
        - "vimco": the bound of several paths, ``E[log 1/K sum_k p(v, h_k) / q(h_k | v)]``; every
          path's baseline is made of the others.
        - "reweighted-wake-sleep": paths with their importance weights teach both networks.
        - "wake-sleep": q learns from dreams, draws of p. As the one before, no gradient of a bound
          for q.
        - "exact": log p(v) itself, and q from its exact posterior, by enumeration of all hidden
          states; for tiny networks.
    n_paths : int, default=None
        Paths of each row in an update; None takes 2 for "disarm" and "arm", which need pairs, 4 for
        "leave-one-out", 5 for "vimco" and "reweighted-wake-sleep", else 1.
    local_signals : bool, default=True
        Whether a layer's score is weighed with what that layer decides of the bound, rather than
        with all of it. The mean is the same, the variance lower. (It has no meaning for bounds of
        several paths.)
    baseline_units : int, default=100
        Units of tanh in the baselines of "nvil"; 0 makes them linear.
    learning_rate : "auto", float or schedule, default="auto"
        Rate of ascent. "auto" is 0.25, falling linearly to zero over a `fit` and constant in
        `partial_fit`; Adam takes a fiftieth of it.
    batch_size : int, default=100
    n_iter : int, default=100
        Passes over the data that `fit` makes.
    optimizer : {"adam", "sgd"} or Optimizer, default="adam"
    momentum : float, default=0.0
        Of "sgd".
    l1, l2 : float, default=0.0
        Penalties on the weights.
    centered : bool, default=True
        Take the mean of the data (of hidden units: a half) off what weights see, see
        ``network_.offsets``. The distributions that a network can have are the same.
    early_stopping : bool, default=False
        Hold `validation_fraction` of the rows out, stop when their bound has not risen for
        `n_iter_no_change` evaluations, and keep the best parameters.
    validation_fraction : float, default=0.1
    validate_every : int, default=1
        Passes between two evaluations of the validation rows.
    n_iter_no_change : int, default=10
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
    network_ : BeliefNet
    params_ : dict of arrays
        ``"p.v.weights"`` (layers[0], n_features), ``"p.v.bias"``, ``"p.h1.weights"``, ... of the
        generative network, ``"q.h1.weights"`` (layers[0], n_features), ... of the inference
        network, and of the baselines.
    components_ : ndarray of shape (layers[0], n_features)
        Generative weights of the data.
    history_ : dict of lists
        One entry an epoch; ``"validation"`` among them where there are validation rows (NaN where
        they were not evaluated).
    best_iter_, best_score_ : int, float
        With validation rows: the epoch whose parameters were kept, and their bound then.
    n_iter_ : int
        Epochs made.
    n_features_in_ : int

    References
    ----------
    Neal, "Learning stochastic feedforward networks", 1990; "Connectionist learning of belief
    networks", Artificial Intelligence 56, 1992.
    Hinton, Dayan, Frey & Neal, "The wake-sleep algorithm for unsupervised neural networks",
    Science 268, 1995.
    Mnih & Gregor, "Neural variational inference and learning in belief networks", ICML 2014.
    Bornschein & Bengio, "Reweighted wake-sleep", ICLR 2015.
    Mnih & Rezende, "Variational inference for Monte Carlo objectives", ICML 2016.
    Dong, Mnih & Tucker, "DisARM: an antithetic gradient estimator for binary latent variables",
    NeurIPS 2020.
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, sections 20.9.1 and 20.10.1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import SigmoidBeliefNetwork
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 20, axis=0)
    >>> network = SigmoidBeliefNetwork((3, 2), n_iter=5, random_state=0).fit(X)
    >>> network.transform(X).shape, network.sample(5).shape
    ((40, 2), (5, 4))
    """

    _methods = tuple(METHODS)

    network_: BeliefNet

    def __init__(
        self,
        layers: Sequence[int] = (200, 200),
        *,
        method: str = "disarm",
        n_paths: int | None = None,
        local_signals: bool = True,
        baseline_units: int = 100,
        learning_rate: Any = "auto",
        batch_size: int = 100,
        n_iter: int = 100,
        optimizer: Any = "adam",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centered: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        validate_every: int = 1,
        n_iter_no_change: int = 10,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.layers = layers
        self.method = method
        self.n_paths = n_paths
        self.local_signals = local_signals
        self.baseline_units = baseline_units
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.optimizer = optimizer
        self.momentum = momentum
        self.l1 = l1
        self.l2 = l2
        self.centered = centered
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validate_every = validate_every
        self.n_iter_no_change = n_iter_no_change
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    # -- checks --------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        _check_layers(self.layers)
        super()._check_parameters()
        if self.n_paths is not None:
            check_count("n_paths", self.n_paths)
            if self.method in PAIRED and self.n_paths % 2:
                raise ValueError(
                    f"method={self.method!r} draws paths in pairs, so it needs an even n_paths "
                    f">= 2; got {self.n_paths}."
                )
            if self.n_paths < METHODS[self.method][1]:
                raise ValueError(
                    f"method={self.method!r} compares the paths of a row, so it needs n_paths "
                    f">= 2; got {self.n_paths}."
                )
        check_flag("local_signals", self.local_signals)
        check_count("baseline_units", self.baseline_units, minimum=0)
        check_flag("early_stopping", self.early_stopping)
        check_number("validation_fraction", self.validation_fraction, 0, below=1, strict=True)
        check_count("validate_every", self.validate_every)
        check_count("n_iter_no_change", self.n_iter_no_change)

    def _check_rows(self, X: Any, *, reset: bool = False, name: str = "X") -> Any:
        X = check_rows(self, X, reset=reset)
        return self._check_support(Bernoulli(X.shape[1]), X, name)

    def _check_support(self, unit: Unit, X: Any, name: str = "X") -> Any:
        try:
            return super()._check_support(unit, X, name)
        except ValueError as error:
            # The units are binary in every layer: there is no ``visible`` to choose.
            raise ValueError(str(error).replace(", or use visible='gaussian'", "")) from None

    # -- training ------------------------------------------------------------------------------

    @unchanged_if_refused
    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, validation: Any = None
    ) -> SigmoidBeliefNetwork:
        """Learn from rows of X.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Values in [0, 1]. float32 and float64 are kept, and are the precision of the
            parameters; all else becomes float32.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Rows that early stopping holds out have a weight above zero, and count by it.
        validation : array-like or CSR matrix, optional
            Rows for early stopping, in the place of `validation_fraction` of those given.

        Returns
        -------
        self
        """
        self._check_parameters()
        X = self._check_rows(X, reset=True)
        weight = self._check_weights(sample_weight, X)
        held: tuple[Any, np.ndarray | None] | None = None
        if validation is not None:
            held = self._check_rows(validation, name="validation"), None
        elif self.early_stopping:
            rows, others = self._hold_out(X.shape[0], weight)
            held = X[others], None if weight is None else weight[others]
            X, weight = X[rows], None if weight is None else weight[rows]
        self._begin(X, weight)
        monitor = None if held is None else self._stop_by(*held)
        self._train(X, weight, self.n_iter, decay=True, monitor=monitor)
        return self

    @unchanged_if_refused
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
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
        self._check_structure()
        self._check_parameters()
        is_first = not hasattr(self, "params_")
        X = self._check_rows(X, reset=is_first)
        weight = self._check_weights(sample_weight, X)
        if is_first:
            self._begin(X, weight)
        elif self.method == "nvil" and self.network_.baseline_units is None:
            raise ValueError(
                "the network was begun by another method and has no baselines for method='nvil'; "
                "call fit, or go on with a method that needs none, such as 'disarm'."
            )
        self._train(X, weight, 1, decay=False)
        return self

    def _hold_out(
        self, n_rows: int, weight: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on, and rows to stop by."""
        # A row of weight zero counts as none, and stays with those to train on.
        rows = np.arange(n_rows) if weight is None else np.flatnonzero(weight)
        n = len(rows)
        n_held = max(1, round(self.validation_fraction * n))
        if n_held >= n:
            what = "rows" if weight is None else "rows with a weight above zero"
            raise ValueError(
                f"early stopping would hold out all {n} {what}; lower validation_fraction (it is "
                f"{self.validation_fraction:g}), or give more rows."
            )
        order = np.random.default_rng(rng.seed_from(self.random_state)).permutation(rows)
        held = np.sort(order[:n_held])
        return np.setdiff1d(np.arange(n_rows), held), held

    def _stop_by(self, X: Any, weight: np.ndarray | None) -> BestScore:
        """Early stopping by the mean bound of rows that are held out."""

        def score_of(model: SigmoidBeliefNetwork) -> float:
            return float(np.average(model._bounds(X, 1, VALIDATION_DRAWS), weights=weight))

        return BestScore(self, score_of, every=self.validate_every, patience=self.n_iter_no_change)

    def _begin(self, X: Any, weight: np.ndarray | None) -> None:
        """Everything learnt, before the first update."""
        self._forget()
        layers = _check_layers(self.layers)
        self._seed = rng.seed_from(self.random_state)
        self._dtype = dtype = X.dtype
        unit = Bernoulli(X.shape[1])
        mean, square = Rows(X, unit.shape, dtype).moments(weight)
        n_rows = X.shape[0] if weight is None else float(weight.sum(dtype=np.float64))
        mean, square = _smoothed(unit, mean, square, n_rows)
        sizes = (X.shape[1], *layers)
        offsets = [np.full(n, 0.5 * self.centered, dtype) for n in sizes]
        if self.centered:
            offsets[0] = mean.astype(dtype)
        units = self.baseline_units if self.method == "nvil" else None
        net = BeliefNet(sizes, offsets, units, threads.resolve(self.n_threads))
        self.network_ = net
        self.params_ = net.init(self._seed, dtype)
        self.params_["p.v.bias"][...] = unit.from_moments(mean, square)["bias"]
        self._training = self._trainer().init(self.params_, self._seed)
        self._begun_with = self._structure()
        # Apart from the seeds that the training draws from this one.
        self._draws = np.random.default_rng([self._seed, 1])

    def _objective(self) -> BoundObjective:
        n_paths = METHODS[self.method][0] if self.n_paths is None else self.n_paths
        return BoundObjective(self.network_, self.method, n_paths, self.local_signals)

    def _schedule(self) -> Schedule:
        if not isinstance(self.learning_rate, str):
            return as_schedule(self.learning_rate)
        one_of("learning_rate", self.learning_rate, ("auto",), RATES)
        return Linear(0.25 * as_optimizer(self.optimizer).rate_factor)

    def _trainer(self) -> Trainer:
        # A trainer asks an energy for the names of its parameters, and an objective for a step.
        return Trainer(
            cast(Any, self.network_),
            cast(Any, self._objective()),
            as_optimizer(self.optimizer, self.momentum),
            self._schedule(),
            centered=False,
            l1=self.l1,
            l2=self.l2,
            n_threads=self.n_threads,
        )

    def _train(
        self,
        X: Any,
        weight: np.ndarray | None,
        n_epochs: int,
        decay: bool,
        monitor: BestScore | None = None,
    ) -> None:
        resume = decay and self._resume(X, weight)
        trainer = self._trainer()
        trainer.monitor = monitor
        epochs = trainer.epochs(
            self.params_,
            {"v": Rows(X, (X.shape[1],), self._dtype)},
            self._training,
            batch_size=self.batch_size,
            n_epochs=n_epochs,
            seed=self._seed,
            sample_weight=weight,
            decay=decay,
            resume=resume,
        )
        self._run(epochs, n_epochs, resume, monitor, is_whole=decay)

    # -- what was learnt -----------------------------------------------------------------------

    @property
    def components_(self) -> np.ndarray:
        """Generative weights of the data, (layers[0], n_features)."""
        return self._learnt("components_")["p.v.weights"]

    def _bias_keys(self) -> set[str]:
        return self.network_.own_keys()

    @property
    def _n_features_out(self) -> int:
        return self.network_.sizes[-1]

    # -- inference -----------------------------------------------------------------------------

    def transform(self, X: Any, depth: int | None = None) -> np.ndarray:
        """Means of one hidden layer in the inference network, passed up layer by layer.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        depth : int, optional
            1 is the layer next to the data; the default is the top one, which alone has names
            (`get_feature_names_out`), and so tables by ``set_output``.

        Returns
        -------
        ndarray of shape (n_samples, layers[depth - 1])
        """
        check_is_fitted(self, "params_")
        net = self.network_
        depth = _check_depth(self, depth, net.top)
        X = self._check_rows(X)
        parts = []
        with threads.computing():
            for x in self._chunks(X):
                for layer in range(1, depth + 1):
                    a = net.up(self.params_, layer, x)
                    x = net.mean(a, out=a)
                parts.append(x)
        return np.concatenate(parts)

    def score_samples(
        self, X: Any, *, n_particles: int = 1, n_draws: int | None = None
    ) -> np.ndarray:
        r"""Lower bound on the log-likelihood of each row, in nats.

        ``E[log 1/K sum_k w_k]`` with ``w_k = p(v, h_k) / q(h_k | v)`` and K = `n_particles` paths
        drawn from q: the variational bound for K = 1, and a bound that rises with K towards
        log p(v). The average over `n_draws` draws has an error of its own, up to which it is one.

        A row's draws depend on the row and the model alone: the answer is repeatable, and the same
        whatever other rows stand beside it.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        n_particles : int
            K.
        n_draws : int, optional
            Draws of K paths that are averaged; None makes 100 paths in all (or one draw).

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        check_is_fitted(self, "params_")
        check_count("n_particles", n_particles)
        n_draws = max(1, 100 // n_particles) if n_draws is None else check_count("n_draws", n_draws)
        X = self._check_rows(X)
        return self._bounds(X, n_particles, n_draws)

    def _bounds(self, X: Any, n_particles: int, n_draws: int) -> np.ndarray:
        """`score_samples`, unchecked."""
        net = self.network_
        # Particles of one draw are independent; over draws, the uniforms of a unit are spread
        # evenly. Every row adds a shift of its own to them, round the unit circle.
        tables = [
            _spread(self._seed, layer, (n_draws, n_particles * n))
            .reshape(n_draws, n_particles, n)
            .astype(self._dtype)
            for layer, n in enumerate(net.sizes[1:])
        ]
        parts = []
        with threads.computing():
            for x in self._chunks(X):
                shifts = self._shifts(x)
                first = net.up(self.params_, 1, x)
                total = np.zeros(len(x))
                for draw in range(n_draws):
                    log_w = [
                        self._log_weight(x, first, shifts, [t[draw, k] for t in tables])
                        for k in range(n_particles)
                    ]
                    total += logsumexp(log_w, axis=0) - np.log(n_particles)
                parts.append(total / n_draws)
        return np.concatenate(parts)

    def _shifts(self, x: np.ndarray) -> list[np.ndarray]:
        """Uniforms of each hidden unit that depend on what a row holds, by layer."""
        words = np.ascontiguousarray(x + 0.0, np.float32).view(np.uint32)  # -0 is 0
        odd = np.random.default_rng(0).integers(2**32, size=x.shape[1], dtype=np.uint32) | 1
        numbers = words @ odd  # modulo 2**32
        address = rng.Address.of(self._seed, "reconstruct")
        out = []
        for layer, n in enumerate(self.network_.sizes[1:], 1):
            u = np.empty((len(x), n), self._dtype)
            for at, number in enumerate(numbers):
                u[at] = rng.uniform(
                    address.at(group=layer)._replace(row=int(number)), (1, n), self._dtype
                )
            out.append(u)
        return out

    def _log_weight(
        self,
        x: np.ndarray,
        first: np.ndarray,
        shifts: Sequence[np.ndarray],
        uniforms: Sequence[np.ndarray],
    ) -> np.ndarray:
        """``log p(v, h) - log q(h | v)`` of one path for every row."""
        net, params, n = self.network_, self.params_, len(x)
        total = np.zeros((1, n))
        below, a = x, first
        for layer, (shift, table) in enumerate(zip(shifts, uniforms, strict=True), 1):
            if layer > 1:
                a = net.up(params, layer, below)
            u = shift + table
            u -= u >= 1
            h = (u < net.mean(a)).astype(a.dtype)
            total += net.log_prob(below, net.down(params, layer - 1, h), n) - net.log_prob(h, a, n)
            below = h
        return (total + net.log_prob(below, net.down(params, net.top), n))[0]

    def _chunks(self, X: Any) -> Iterator[np.ndarray]:
        """Dense rows in the model's precision, some at a time."""
        rows = Rows(X, (X.shape[1],), self._dtype)
        for start in range(0, len(rows), CHUNK_ROWS):
            yield rows.take(slice(start, start + CHUNK_ROWS))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`: the variational bound on the mean log-likelihood, in nats.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean())

    def log_likelihood(self, X: Any) -> np.ndarray:
        """Exact log p(v) of each row, by enumeration of all hidden states, up to 2**20 of them.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        check_is_fitted(self, "params_")
        X = self._check_rows(X)
        net = self.network_
        n_units = sum(net.sizes[1:])
        if n_units > MAX_LOG2_STATES:
            raise too_many_states(
                "log-likelihood", n_units, MAX_LOG2_STATES, "Use score_samples, a lower bound."
            )
        total = np.full(X.shape[0], -np.inf)
        x = np.concatenate(list(self._chunks(X)))
        with threads.computing():
            for first in range(0, 2**n_units, CHUNK_ROWS):
                hidden = net.states(first, min(first + CHUNK_ROWS, 2**n_units), x.dtype)
                prior = np.zeros((1, len(hidden[0])))
                below = None
                for layer, h in enumerate(hidden, 1):
                    if below is not None:
                        prior += net.log_prob(below, net.down(self.params_, layer - 1, h), len(h))
                    below = h
                prior += net.log_prob(hidden[-1], net.down(self.params_, net.top), len(h))
                a = net.down(self.params_, 0, hidden[0])
                soft = np.empty(len(a))
                kernels.cumulant_sum(a, None, soft)
                joint = x @ a.T + (prior[0] - soft)
                total = np.logaddexp(total, logsumexp(joint, axis=1))
        return total

    # -- sampling ------------------------------------------------------------------------------

    def sample(
        self, n_samples: int = 1, *, means: bool = False, random_state: Any = None
    ) -> np.ndarray:
        """Draw visible vectors: independent ones, in one pass down.

        Parameters
        ----------
        n_samples : int
        means : bool
            Return the probabilities of the visible units, given the draws above, in their place.
        random_state : None, int, RandomState or Generator
            None goes on in the model's own sequence, so that calls differ, repeatably.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "params_")
        check_count("n_samples", n_samples)
        seed = rng.seed_from(self._draws if random_state is None else random_state)
        net = self.network_
        with threads.computing():
            states = net.dream(self.params_, n_samples, rng.Address.of(seed, "sample"))
            if means:
                return net.mean(net.down(self.params_, 0, states[1]))
        return states[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
