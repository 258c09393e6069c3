"""Deep models: the deep Boltzmann machine and the deep belief network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import entr
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .. import rng, threads
from ..callbacks import Watch
from ..chunks import Part, is_chunked, mapped, take_names
from ..energy import Energy
from ..gibbs import layer
from ..likelihood import LogPartition
from ..mean_field import mean_field
from ..objectives import LogLikelihood, Objective, PhaseState
from ..persistence import Checkpoint, SavedEstimator, is_same
from ..terms import Params
from ..training import Callback, TrainingState
from ..units import Bernoulli, Unit
from ..validation import check_count, one_of
from .base import Data, check_rows, refuse_unnamed, refuses_negative, unchanged_if_refused
from .boltzmann_machine import BoltzmannMachine
from .rbm import RBM

#: Likelihoods are exact where the hidden layers that are listed have at most so many states (log2).
_EXACT_LOG2_STATES = 12
#: In learning, mean-field steps end when no mean moves by more than this.
_TOLERANCE = 1e-3
#: Parameters that a stack hands to each of its RBMs.
_OF_EACH_RBM = (
    "method",
    "n_gibbs",
    "n_chains",
    "learning_rate",
    "batch_size",
    "n_iter",
    "optimizer",
    "momentum",
    "l1",
    "l2",
    "centered",
    "n_threads",
    "callbacks",
    "verbose",
)


def _check_layers(layers: Any) -> tuple[int, ...]:
    """Sizes of the hidden layers, or a sentence."""
    given, layers = layers, layers.tolist() if isinstance(layers, np.ndarray) else layers
    if isinstance(layers, (str, bytes)) or not isinstance(layers, Sequence) or not layers:
        raise ValueError(
            f"layers must be the sizes of the hidden layers from the data upwards, e.g. "
            f"(500, 1000); got {given!r}."
        )
    return tuple(check_count(f"layers[{k}]", n) for k, n in enumerate(layers))


def _check_depth(model: BaseEstimator, depth: Any, n_layers: int) -> int:
    """Number of a hidden layer, the top one by default."""
    if depth is None:
        return n_layers
    is_number = isinstance(depth, Integral) and not isinstance(depth, bool)
    if not is_number or depth not in range(1, n_layers + 1):
        raise ValueError(
            f"depth must be a whole number from 1, the layer next to the data, to {n_layers}, the "
            f"top; got {depth!r}."
        )
    if depth != n_layers:
        refuse_unnamed(model, f"depth={depth}")
    return int(depth)


class DeepBoltzmannMachine(BoltzmannMachine):
    r"""Deep Boltzmann machine: layers of hidden units, each coupled to the next, undirected.

    ``E(v, h1, h2, ...) = base(v) + sum_k base(h_k) - h1'W1 v - h2'W2 h1 - ...``. Even layers (the
    data among them) are independent given the odd ones and the other way round, so two blocks make
    a Gibbs sweep. Unlike in an RBM the posterior of the hidden layers is not factorial: learning
    and inference take the nearest factorial distribution (mean field), or Gibbs sweeps.

    A greedy stack of RBMs is learnt first. In the machine a layer hears both of its neighbours, in
    an RBM one; so the lowest RBM has its data twice and the highest its hidden units twice, with
    the same weights, and the weights of those between are halved. Then all layers learn together.

    Parameters
    ----------
    layers : sequence of int, default=(500, 1000)
        Sizes of the hidden layers, from the data upwards.
    visible : str or unit type, default="bernoulli"
        As in `RBM`. Hidden units are Bernoulli.
    n_pretraining : int, default=20
        Passes that each RBM of the stack makes; 0 begins with random weights.
    inference : {"mean-field", "gibbs"}, default="mean-field"
        Positive phase of joint learning: `n_positive` mean-field steps (the ascent of a lower bound
        on the likelihood), or as many Gibbs sweeps over the hidden units.
    method : {"auto", "pcd", "exact", "tempered", "trajectory"}, default="auto"
        Negative phase of joint learning. "exact" enumerates, in the positive phase too; "auto"
        does so up to 2**10 states, else keeps persistent chains; "tempered" and "trajectory" are
        those of `RBM`, for data with strong modes. The stack is learnt with persistent chains.
    n_positive : int, default=10
    n_gibbs, n_chains, learning_rate, batch_size, n_iter, optimizer, momentum, l1, l2, centered, \
n_threads, callbacks, verbose, random_state
        As in `RBM`. `n_iter` counts passes of joint learning, and callbacks see those alone.

    Attributes
    ----------
    components_ : ndarray of shape (layers[0], n_features)
        Weights of the lowest layer.
    energy_ : Energy
        With groups ``"v"``, ``"h1"``, ``"h2"``, ...
    params_ : dict of arrays
        Biases under the names of the groups, weights under ``"h1_j v_i"``, ``"h2_j h1_i"``, ...
    log_partition_ : LogPartition
        Exact where the even or the odd layers are few; else annealed, with the larger of the two
        halves summed out.
    history_ : dict of lists
    n_iter_ : int
    n_features_in_ : int

    References
    ----------
    Salakhutdinov & Hinton, "Deep Boltzmann machines", AISTATS 2009.
    Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 20.4.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import DeepBoltzmannMachine
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 20, axis=0)
    >>> machine = DeepBoltzmannMachine((3, 2), n_iter=5, random_state=0).fit(X)
    >>> machine.transform(X).shape, machine.transform(X, depth=1).shape
    ((40, 2), (40, 3))
    >>> machine.energy_.blocks()
    [('v', 'h2'), ('h1',)]
    """

    given = ()
    _methods: tuple[str, ...] = ("auto", "pcd", "exact", "tempered", "trajectory")

    def __init__(
        self,
        layers: Sequence[int] = (500, 1000),
        *,
        visible: Any = "bernoulli",
        n_pretraining: int = 20,
        inference: str = "mean-field",
        method: str = "auto",
        n_gibbs: int = 1,
        n_positive: int = 10,
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
        self.layers = layers
        self.visible = visible
        self.n_pretraining = n_pretraining
        self.inference = inference
        self.method = method
        self.n_gibbs = n_gibbs
        self.n_positive = n_positive
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

    # -- the description -----------------------------------------------------------------------

    @property
    def _visible(self) -> tuple[str, ...]:
        return ("v",)

    def _declare(self, data: Data) -> Energy:
        v = self._unit("visible", data["v"].shape[1])
        groups: dict[str, Unit] = {"v": v}
        terms = []
        below = "v_" + ("i" if len(v.shape) == 1 else "abcdefgh"[: len(v.shape)])
        for k, n in enumerate(self.layers, start=1):
            groups[f"h{k}"] = Bernoulli(n)
            # The upper layer stands first: (its size, size below), as RBM.components_.
            terms.append(f"h{k}_j {below}")
            below = f"h{k}_i"
        return Energy(groups, terms)

    def _objective(self, energy: Energy, n_threads: int) -> Objective:
        negative = self._negative(energy) if self.method == "auto" else self.method
        if negative == "exact" or self.inference == "gibbs" or len(self.layers) == 1:
            return super()._objective(energy, n_threads)
        complete = self._likelihood(tuple(energy.groups), negative=negative)
        return _VariationalObjective(energy, complete, self.n_positive, n_threads)

    # -- checks --------------------------------------------------------------------------------

    def _check_groups(self) -> None:
        _check_layers(self.layers)
        check_count("n_pretraining", self.n_pretraining, minimum=0)
        one_of("inference", self.inference, ("mean-field", "gibbs"))

    # -- fitting -------------------------------------------------------------------------------

    def _pretrain(self, data: Data | Callable[[int], Iterator[Part]], weight: Any) -> None:
        """Begin with the parameters of the machine that a greedy stack of RBMs makes up."""
        if not self.n_pretraining:
            return
        means = self._base_rates["v"].reshape(-1)

        def known(data: Data) -> Any:
            X = data["v"]
            # An RBM knows no unknown units: here they stand at their mean.
            return X if sparse.issparse(X) else np.where(np.isnan(X), means.astype(X.dtype), X)

        X = mapped(known, data)
        options = {name: getattr(self, name) for name in _OF_EACH_RBM}
        options |= {"n_iter": self.n_pretraining, "callbacks": None, "method": "pcd"}
        unit, last = self.energy_.groups["v"], len(self.layers) - 1
        stack = []
        for k, n in enumerate(self.layers):
            hidden: Unit = Bernoulli(n)
            twin = ""
            if k == 0 != last:
                twin, unit = "v", _twin(unit)
                X = mapped(_doubled, X)
            elif k == last != 0:
                twin, hidden = "h", _twin(hidden)
            seed = int(np.random.default_rng([self._seed, k]).integers(2**31))
            rbm = _TwinRBM(
                hidden.n_units, visible=unit, hidden=hidden, random_state=seed, **options
            )
            rbm.twin = twin
            rbm.fit(X, sample_weight=weight)
            stack.append(rbm.single())
            if k < last:
                X, unit = _features(rbm, X), hidden
        self.params_.update(_composed(stack, self.energy_))

    # -- what was learnt -----------------------------------------------------------------------

    @property
    def components_(self) -> np.ndarray:
        """Weights of the lowest layer, (layers[0], n_features)."""
        params = self._learnt("components_")
        w = params[self.energy_.terms[0].name]
        return w.reshape(len(w), -1)

    @property
    def _n_features_out(self) -> int:
        return self.energy_.groups[self._hidden[-1]].size

    def transform(self, X: Any, depth: int | None = None) -> np.ndarray:
        """Posterior means of one hidden layer.

        They are those of `infer`: exact where that is cheap, else mean-field.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            NaN marks unknown units.
        depth : int, optional
            1 is the layer next to the data; the default is the top one, which alone has names
            (`get_feature_names_out`), and so tables by ``set_output``.

        Returns
        -------
        ndarray of shape (n_samples, layers[depth - 1])
        """
        check_is_fitted(self, "params_")
        depth = _check_depth(self, depth, len(self._hidden))
        return self.infer(X)[f"h{depth}"]

    def reconstruct(self, X: Any) -> np.ndarray:
        """Means of the data given the posterior means of the lowest hidden layer.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "params_")
        means = self.infer(X)
        with threads.computing():
            return self._mean("v", {"h1": means["h1"]})

    # -- likelihood ----------------------------------------------------------------------------

    def score_samples(self, X: Any, method: str = "auto") -> np.ndarray:
        r"""Log-likelihood of each row in nats, or a lower bound on it.

        "exact" lists the states of the even or of the odd hidden layers. "bound" is the variational
        bound with the mean-field posterior q of the even hidden layers e, and the odd ones o summed
        out: ``log p(v) >= log sum_o exp(-E(v, E_q[e], o)) + H(q) - log Z``, which is valid whether
        or not mean field has settled, because the sum over o is log-convex in e.

        With an annealed log Z both carry the error of `log_partition_`: its estimate is more often
        low than high, so such a bound is one up to its interval.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        method : {"auto", "exact", "bound"}
            "auto" is exact where at most 2**12 states have to be listed for a row.

        Returns
        -------
        ndarray of shape (n_samples,), float64

        Raises
        ------
        NotEnumerableError
            With ``method="exact"``, where there are too many states.
        ValueError
            For the bound of rows with unknown units (NaN).
        """
        check_is_fitted(self, "params_")
        one_of("method", method, ("auto", "exact", "bound"))
        if method == "auto":
            method = "exact" if self._log2_listed() <= _EXACT_LOG2_STATES else "bound"
        if method == "exact":
            return super().score_samples(X)
        data = self._check_data(X, reset=False)
        with threads.computing():
            parts = [self._bound(part) for part in self._chunks(data)]
        return self._credible(np.concatenate(parts) - self.log_partition_.value, ("v",))

    _fewer_states = (
        "For complete rows score_samples(X, method='bound') has a lower bound on the likelihood; "
        "else use a smaller model, or fewer unknown units."
    )

    def _log2_listed(self) -> float:
        """log2 of the states that an exact likelihood lists for each row: the smaller half."""
        sizes = [self.energy_.groups[g].size for g in self._hidden]
        return min(sum(sizes[::2]), sum(sizes[1::2]))

    def _bound(self, known: Mapping[str, np.ndarray]) -> np.ndarray:
        """Variational lower bound on ``log sum exp(-E)`` over the hidden layers, for each row."""
        if any(np.isnan(x).any() for x in known.values()):
            raise ValueError(
                "the variational bound needs every unit of a row, but X contains NaN. Fill the "
                "unknown units (infer gives their means), or use a model small enough for "
                "method='exact'."
            )
        n_threads = threads.resolve(self.n_threads)
        means = mean_field(self.energy_, self.params_, known, n_threads=n_threads)
        odd, even = self._hidden[::2], self._hidden[1::2]
        entropy = sum(
            (entr(means[g]) + entr(1 - means[g])).sum(axis=1, dtype=np.float64) for g in even
        )
        free = self.energy_.free_energy(self.params_, means, odd, n_threads=n_threads, check=False)
        return np.asarray(entropy - free)


class _VariationalObjective(Objective):
    """Likelihood of complete rows, of which the hidden layers are filled in at their means.

    With q held, the gradient of the bound ``E_q[log p(v, h)] + H(q)`` is that of
    ``log p(v, E_q[h])``: statistics are products of units of different layers, and q is factorial.
    Visible units that are unknown are in q, too. Those with a precision have squares among their
    statistics, which a mean does not tell: they are drawn from q.
    """

    def __init__(
        self, energy: Energy, complete: LogLikelihood, n_steps: int, n_threads: int | None
    ) -> None:
        super().__init__(energy, complete, n_threads)
        self.n_steps = n_steps

    def step(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        state: PhaseState,
        weights: np.ndarray | None = None,
        out: Params | None = None,
    ) -> Any:
        """Gradient of one minibatch; see `Objective.step`."""
        means = mean_field(
            self.energy,
            params,
            batch,
            tolerance=_TOLERANCE,
            max_steps=self.n_steps,
            n_threads=self.n_threads,
        )
        at = rng.Address.of(state.seed, "unknown", step=state.update)
        for number, (g, unit) in enumerate(self.energy.groups.items()):
            unknown = np.isnan(batch[g]) if g in batch else np.zeros(0, bool)
            if len(unit.parameters) > 1 and unknown.any():
                field = self.energy.field(params, means, g, n_threads=self.n_threads, check=False)
                own = self.energy.own(params, g)
                _, drawn = unit.draw(own, field, at.at(group=number), n_threads=self.n_threads)
                assert drawn is not None
                means[g] = np.where(unknown, drawn, means[g])
        return super().step(params, means, state, weights, out)


# -- stacks of RBMs --------------------------------------------------------------------------------


def _features(rbm: RBM, X: Any) -> Any:
    """What the next RBM of a stack learns from."""
    return mapped(partial(RBM._plain, rbm.transform), X)


def _twin(unit: Unit) -> Unit:
    """The units twice."""
    return type(unit)(2, *unit.shape)


def _doubled(X: Any) -> Any:
    """Rows of twins."""
    return sparse.hstack([X, X], format="csr") if sparse.issparse(X) else np.hstack([X, X])


class _TwinRBM(RBM):
    """RBM of which one side stands twice, on a first axis of its group, with the same parameters.

    The copies begin alike and receive the average of their gradients, so they stay alike.

    Attributes
    ----------
    twin : {"", "v", "h"}
        The side.
    """

    twin: str = ""

    def _copies(self, params: Params) -> list[tuple[str, int]]:
        """Arrays that hold both copies, with the axis that counts them."""
        if not self.twin:
            return []
        own = [key for key in params if key.split(".")[0] == self.twin]
        # Weights have the axes of the hidden units, then those of the visible ones.
        return [*((key, 0) for key in own), (self._term, 1 if self.twin == "v" else 0)]

    def _tie(self, params: Params) -> None:
        for key, axis in self._copies(params):
            params[key][...] = params[key].mean(axis=axis, keepdims=True)

    def _begin_at(self, *args: Any) -> None:
        super()._begin_at(*args)
        self._tie(self.params_)

    def _objective(self, energy: Energy, n_threads: int) -> Objective:
        if not self.twin:
            return super()._objective(energy, n_threads)
        return _TwinObjective(self, energy, self._likelihoods(), n_threads)

    def single(self) -> Params:
        """Parameters with one copy, the weights under ``"w"``."""
        params = dict(self.params_)
        for key, axis in self._copies(params):
            params[key] = params[key].take(0, axis)
        params["w"] = params.pop(self._term)
        return params


class _TwinObjective(Objective):
    """The average of both copies' gradients in each of them."""

    def __init__(
        self, rbm: _TwinRBM, energy: Energy, likelihood: Any, n_threads: int | None
    ) -> None:
        super().__init__(energy, likelihood, n_threads)
        self.rbm = rbm

    def step(self, *args: Any, **options: Any) -> Any:
        """Gradient of one minibatch; see `Objective.step`."""
        gradient, means, state = super().step(*args, **options)
        self.rbm._tie(gradient)
        return gradient, means, state


def _composed(stack: Sequence[Params], energy: Energy) -> Params:
    """The deep Boltzmann machine that RBMs make up (Salakhutdinov & Hinton 2009, section 3.1).

    A layer between two RBMs is to have half of the field that each of them, with what it has twice,
    would give it.
    """
    bottom, top = stack[0], stack[-1]
    params = {key: x for key, x in bottom.items() if key not in ("w", "h")}
    for k, (term, rbm) in enumerate(zip(energy.terms, stack, strict=True)):
        is_between = rbm is not bottom and rbm is not top
        params[term.name] = rbm["w"] / 2 if is_between else rbm["w"]
        params[f"h{k + 1}"] = rbm["h"] if rbm is top else (rbm["h"] + stack[k + 1]["v"]) / 2
    return params


# -- deep belief network ---------------------------------------------------------------------------


class DeepBeliefNetwork(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, SavedEstimator, BaseEstimator
):
    r"""Deep belief network: a greedy stack of RBMs, of which the top one stays undirected.

    ``p(v, h1, ..., hL) = p(v | h1) p(h1 | h2) ... p(h(L-1), hL)``: the last factor is an RBM, those
    before it are directed layers, ``p(h(k)_i = 1 | h(k+1)) = sigma(b_i + sum_j W_ji h(k+1)_j)``.
    Each RBM learns from the means of the hidden units of the one below. Inference is one pass
    upwards, ``q(h | v) = q(h1 | v) q(h2 | h1) ...``, with the hidden conditionals of the RBMs.

    Parameters
    ----------
    layers : sequence of int, default=(500, 500, 2000)
        Sizes of the hidden layers, from the data upwards.
    visible : str or unit type, default="bernoulli"
        As in `RBM`. Hidden units are Bernoulli.
    method, n_gibbs, n_chains, learning_rate, batch_size, n_iter, optimizer, momentum, l1, l2, \
centered, n_threads, callbacks, verbose, random_state
        As in `RBM`, for each RBM of the stack. Callbacks are handed the RBM that is learning; those
        that look at rows see the means of the RBMs below, a copy of the callback for each RBM
        but the lowest.

    Attributes
    ----------
    rbms_ : list of RBM
        From the data upwards, each with a ``history_`` and ``n_iter_`` of its own.
    components_ : ndarray of shape (layers[0], n_features)
        Weights of the lowest layer.
    log_partition_ : LogPartition
        log Z of the top RBM: exact where one of its sides is small, else annealed.
    history_ : dict of lists
        One entry an epoch, of all RBMs one after the other, from below; ``"layer"`` numbers the
        RBMs from 1. NaN stands for what was not recorded of an RBM.
    n_iter_ : int
        Epochs made, by all RBMs together.
    n_features_in_ : int

    References
    ----------
    Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18,
    2006.
    Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 20.3.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import DeepBeliefNetwork
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 20, axis=0)
    >>> network = DeepBeliefNetwork((3, 2), n_iter=5, random_state=0).fit(X)
    >>> network.transform(X).shape, network.sample(5).shape
    ((40, 2), (5, 4))
    """

    rbms_: list[RBM]

    def __init__(
        self,
        layers: Sequence[int] = (500, 500, 2000),
        *,
        visible: Any = "bernoulli",
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
        self.layers = layers
        self.visible = visible
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

    def _check_rows(self, X: Any, *, reset: bool) -> Any:
        return check_rows(self, X, reset=reset)

    @unchanged_if_refused
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> DeepBeliefNetwork:
        """Learn layer after layer from rows of X.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or function
            A function that returns an iterator of chunks, as in `RBM`, is read
            ``layers * (n_iter + 1)`` times.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self

        Notes
        -----
        Ctrl-C leaves a network of the RBMs that have learnt by then, so of fewer layers.
        """
        layers = _check_layers(self.layers)
        x = X if is_chunked(X) else self._check_rows(X, reset=True)
        seed = rng.seed_from(self.random_state)
        rbms: list[RBM] = []
        for k, n in enumerate(layers):
            rbm = self._rbm_above(rbms, n, seed)
            try:
                rbm.fit(x, sample_weight=sample_weight)
            finally:
                # Also where it was interrupted: then these are a network of fewer layers.
                if hasattr(rbm, "params_"):
                    rbms.append(rbm)
                if rbms:
                    if is_chunked(X):
                        take_names(self, rbms[0])
                    self.rbms_ = rbms
                    self._seed = seed
                    self._draws = np.random.default_rng(seed)
            if k < len(layers) - 1:
                x = _features(rbm, x)
        return self

    @unchanged_if_refused
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> DeepBeliefNetwork:
        """Make one pass over X with each RBM, from below, going on from where the network stands.

        Each RBM but the lowest learns from the means of those below as they are after their pass.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or function
            A function that returns an iterator of chunks, as in `RBM`, is read once for each RBM,
            and once more for each in the first call.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        layers = _check_layers(self.layers)
        is_first = not hasattr(self, "rbms_")
        # Copies, so that arguments that are refused change nothing of the network's own.
        rbms = [] if is_first else [copy.copy(rbm) for rbm in self.rbms_]
        if not is_first:
            self._check_structure(layers)
        x = X if is_chunked(X) else self._check_rows(X, reset=is_first)
        seed = rng.seed_from(self.random_state) if is_first else self._seed
        for k, n in enumerate(layers):
            if is_first:
                rbms.append(self._rbm_above(rbms, n, seed))
            else:
                rbms[k].set_params(**self._options_above(rbms[:k]))
            rbms[k].partial_fit(x, sample_weight=sample_weight)
            if k < len(layers) - 1:
                x = _features(rbms[k], x)
        self.rbms_ = rbms
        if is_first:
            if is_chunked(X):
                take_names(self, rbms[0])
            self._seed = seed
            self._draws = np.random.default_rng(seed)
        return self

    def _check_structure(self, layers: tuple[int, ...]) -> None:
        """Raise a sentence if a network that is to learn on was given other units meanwhile."""
        begun = tuple(rbm.n_components for rbm in self.rbms_)
        for name, then, now in (
            ("layers", begun, layers),
            ("visible", self.rbms_[0].visible, self.visible),
        ):
            if not is_same(name, then, now):
                raise ValueError(
                    f"the network has {name}={then!r}, but now it is {now!r}; partial_fit goes on "
                    f"with the RBMs that there are. Set it back, or begin anew with fit."
                )

    def _options_above(self, below: list[RBM]) -> dict[str, Any]:
        """Arguments of the RBM above others, but for its size, units and seed."""
        options = {name: getattr(self, name) for name in _OF_EACH_RBM}
        return options | {"callbacks": self._callbacks_of(below)}

    def _rbm_above(self, below: list[RBM], n: int, seed: int) -> RBM:
        """The RBM of ``n`` hidden units above others, not fitted."""
        visible = "bernoulli" if below else self.visible
        own_seed = int(np.random.default_rng([seed, len(below)]).integers(2**31))
        return RBM(n, visible=visible, random_state=own_seed, **self._options_above(below))

    @property
    def _training(self) -> TrainingState | None:
        """That of the RBM that learnt last."""
        return self.rbms_[-1]._training if hasattr(self, "rbms_") else None

    def _callbacks_of(self, below: list[RBM]) -> list[Callback] | None:
        """Callbacks of the RBM above others: checkpoints have a file for each."""
        if self.callbacks is None:
            return None

        def features(X: Any) -> Any:
            for rbm in below:
                X = _features(rbm, X)
            return X

        own: list[Callback] = []
        for c in self.callbacks:
            if isinstance(c, Checkpoint):
                own.append(c.of_layer(len(below) + 1))
            else:
                own.append(c.of_features(features) if below and isinstance(c, Watch) else c)
        if self.random_state is None and any(isinstance(c, Checkpoint) for c in own):
            raise ValueError(
                "a stack of RBMs with a Checkpoint needs random_state: its RBMs must have the same "
                "random numbers when the training goes on. Give a whole number."
            )
        return own

    # -- what was learnt -----------------------------------------------------------------------

    def _learnt(self, name: str) -> list[RBM]:
        if "rbms_" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}; call fit first."
            )
        return self.rbms_

    @property
    def components_(self) -> np.ndarray:
        """Weights of the lowest layer, (layers[0], n_features)."""
        return self._learnt("components_")[0].components_

    @property
    def log_partition_(self) -> LogPartition:
        """Log Z of the top RBM with its 95 % interval, computed when it is first asked for."""
        return self._learnt("log_partition_")[-1].log_partition_

    @property
    def history_(self) -> dict[str, list[Any]]:
        """What was recorded, one entry an epoch, of one RBM after the other."""
        rbms = self._learnt("history_")
        names = dict.fromkeys(name for rbm in rbms for name in rbm.history_)
        history: dict[str, list[Any]] = {name: [] for name in names}
        layers: list[Any] = []
        for k, rbm in enumerate(rbms, start=1):
            n = rbm.n_iter_
            layers += [k] * n
            for name, values in history.items():
                # Shorter than the others where the training was interrupted.
                values += [*rbm.history_.get(name, ()), *[np.nan] * n][:n]
        return {"layer": layers, **history}

    @property
    def n_iter_(self) -> int:
        """Epochs made, by all RBMs together."""
        return sum(rbm.n_iter_ for rbm in self._learnt("n_iter_"))

    @property
    def _n_features_out(self) -> int:
        return self.rbms_[-1]._n_features_out

    # -- inference -----------------------------------------------------------------------------

    def transform(self, X: Any, depth: int | None = None) -> np.ndarray:
        """Means of one hidden layer, passed up from the data layer by layer.

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
        check_is_fitted(self, "rbms_")
        depth = _check_depth(self, depth, len(self.rbms_))
        x = self._check_rows(X, reset=False)
        for rbm in self.rbms_[:depth]:
            x = RBM._plain(rbm.transform, x)
        return x

    def score_samples(self, X: Any, n_draws: int = 100) -> np.ndarray:
        r"""Lower bound on the log-likelihood ``log p(v)`` of each row, in nats.

        ``log p(v) >= E_q[log p(v, h) - log q(h | v)]``, with the layers below the top RBM drawn
        `n_draws` times from the pass upwards, with the same uniforms for every row (so the answer
        is repeatable, and does not depend on the other rows). For the k-th RBM, with ``F_k`` its
        free energy with the hidden units summed out, and ``F'_k`` with the visible ones,
        ``p(x | h) / q(h | x) = exp(F'_k(h) - F_k(x))``, so that
        ``log p(v) >= -F_1(v) + sum_k E_q[F'_k(h_k) - F_(k+1)(h_k)] - log Z`` over the RBMs below
        the top, of which Z is.

        The average over draws, and an annealed log Z, have an error of their own, up to which this
        is a bound. With one hidden layer it is the log-likelihood itself.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        n_draws : int

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        check_is_fitted(self, "rbms_")
        check_count("n_draws", n_draws)
        X = self._check_rows(X, reset=False)
        bottom, *upper = self.rbms_
        X = bottom._check_support(bottom.energy_.groups["v"], X)
        # In each unit the uniforms of all draws are spread evenly: one in each n-th of (0, 1).
        uniforms = [
            _spread(self._seed, k, (n_draws, rbm._n_features_out))
            for k, rbm in enumerate(self.rbms_[:-1])
        ]
        bounds = []
        with threads.computing():
            for part in bottom._chunks({"v": X}):
                total = -_free_energy(bottom, "h", part["v"])
                first = bottom._mean("h", part)
                for draw in range(n_draws if upper else 0):
                    mean = first
                    for k, (rbm, above) in enumerate(zip(self.rbms_[:-1], upper, strict=True)):
                        h = (uniforms[k][draw] < mean).astype(mean.dtype)
                        change = _free_energy(rbm, "v", h) - _free_energy(above, "h", h)
                        total += change / n_draws
                        if above is not upper[-1]:
                            mean = above._mean("h", {"v": h})
                bounds.append(total)
        bound = np.concatenate(bounds) - self.log_partition_.value
        return bottom._credible(bound, ("v",))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`: a lower bound on the mean log-likelihood, in nats.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean())

    # -- sampling ------------------------------------------------------------------------------

    def sample(
        self,
        n_samples: int = 1,
        n_steps: int = 100,
        *,
        random_state: Any = None,
        method: str = "gibbs",
        return_info: bool = False,
    ) -> Any:
        """Draw visible vectors: Gibbs sweeps in the top RBM, then one pass down.

        Parameters
        ----------
        n_samples : int
            Number of rows, each a chain of its own.
        n_steps : int
            Sweeps that each chain makes, from the persistent chains of the training where there are
            some.
        random_state : None, int, RandomState or Generator
            None goes on in the model's own sequence, so that calls differ, repeatably.
        method : {"gibbs", "tempered", "trajectory"}, default="gibbs"
            Of the top RBM's chains, as in `RBM.sample`.
        return_info : bool, default=False
            Also return the diagnostics of the top RBM's chains, as in `RBM.sample`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            With ``return_info``, a tuple of it and the information.
        """
        check_is_fitted(self, "rbms_")
        source = self._draws if random_state is None else random_state
        *lower, top = self.rbms_
        options: dict[str, Any] = {"random_state": source, "method": method}
        options["return_info"] = return_info
        drawn = top.sample(n_samples, n_steps, **options)
        x, info = drawn if return_info else (drawn, None)
        seed = rng.seed_from(source)
        for k, rbm in enumerate(reversed(lower), start=1):
            _, _, drawn = layer(
                rbm.energy_,
                rbm.params_,
                {"h": x},
                "v",
                # Steps after those of the top RBM.
                rng.Address.of(seed, "sample", step=n_steps + k),
                n_threads=threads.resolve(self.n_threads),
            )
            assert drawn is not None
            x = drawn.reshape(n_samples, -1)
        return x if info is None else (x, info)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = refuses_negative(self.visible)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _free_energy(rbm: RBM, summed: str, x: np.ndarray) -> np.ndarray:
    """Free energy of an RBM with one side summed out, given the other."""
    state = {"h" if summed == "v" else "v": x}
    n_threads = threads.resolve(rbm.n_threads)
    return rbm.energy_.free_energy(rbm.params_, state, summed, n_threads=n_threads, check=False)


def _spread(seed: int, layer_number: int, shape: tuple[int, int]) -> np.ndarray:
    """Uniforms of which each column has one in every n-th of (0, 1), in random order."""
    address = rng.Address.of(seed, "positive", group=layer_number)
    order = rng.uniform(address, shape, np.float64).argsort(axis=0)
    return (order + rng.uniform(address.at(step=1), shape, np.float64)) / shape[0]
