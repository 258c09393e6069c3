"""Point-wise gated machines: a switch at each visible unit chooses who explains it.

The units of a component see the visible units switched to it and no others, so that one component
can learn what matters for a task while another takes what does not (Sohn, Zhou, Lee & Lee, ICML
2013). Given the visible units, switches and hidden units depend on each other, so the posterior is
no closed form: it is inferred by mean field or by Gibbs sweeps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import entr, logsumexp
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .. import rng, threads
from ..chunks import Part, is_chunked, mapped
from ..energy import Energy
from ..enumeration import Enumeration, split
from ..gibbs import Gibbs
from ..mean_field import mean_field
from ..objectives import LogLikelihood, Objective, PhaseState
from ..terms import Params
from ..training import Callback, Trainer
from ..units import Bernoulli, Categorical, Unit
from ..validation import check_count, check_number, one_of
from .base import (
    CHUNK_ROWS,
    Data,
    EnergyEstimator,
    check_rows,
    refuse_unnamed,
    unchanged_if_refused,
)
from .class_rbm import _LabelMachine
from .labels import UNLABELLED, is_unlabelled, plain_labels
from .rbm import RBM
from .switches import TwoSwitches, serves

INFERENCES = ("mean-field", "gibbs")
#: A switch's states are told apart by one digit.
_MOST_COMPONENTS = 10
#: Mean field has settled when no mean moves by more.
_TOLERANCE = 1e-5
#: The posterior of a row is enumerated up to so many states, if nothing else is asked for.
_EXACT_LOG2_STATES = 12


# -- what is maximised -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A log-likelihood whose unobserved groups are first inferred from some of the observed ones.

    Attributes
    ----------
    likelihood : LogLikelihood
        Of complete rows.
    known : tuple of str
        Groups that the others are inferred from.
    labelled : bool or None
        Which rows it applies to: those with a label, those without, or all.
    """

    likelihood: LogLikelihood
    known: tuple[str, ...]
    labelled: bool | None = None

    @property
    def is_contrast(self) -> bool:
        """Whether inference completes both phases."""
        one = self.likelihood
        return one.negative == "cd" and set(one.of) > set(self.known)


class _InferredObjective(Objective):
    """A weighted sum of log-likelihoods of rows that inference completes.

    With a factorial posterior q held, the gradient of the variational bound
    ``E_q[log p(v, z, h)] + H(q)`` is that of ``log p(v, E_q[z], E_q[h])``. Where a short chain
    stands for the model (contrastive divergence), it starts at the inferred units, and the visible
    units and labels that it ends with are completed by the same inference: what inference gets
    wrong it then gets wrong in both phases. And since ``log p(y | v) >= E[log p(y | v, z)]`` with z
    from ``p(z | v)``, a classifier that is given switches drawn from what is inferred without the
    label maximises a bound too, as long as these are held.
    """

    def __init__(
        self, energy: Energy, parts: Sequence[_Part], inference: _Inference, n_threads: int
    ) -> None:
        super().__init__(energy, [part.likelihood for part in parts], n_threads)
        self.parts = list(parts)
        self.inference = inference
        self.observed = tuple(g for g in ("v", "y") if g in energy.groups)
        for phases in self._phases:
            # Hidden units last in a sweep: their means stand for them in the statistics.
            blocks = phases.sampler.blocks
            phases.sampler.blocks = sorted(blocks, key=lambda b: b[0] in _hidden(energy))
        self.sampler = Gibbs(energy, n_threads=n_threads)
        self.sampler.blocks = [_hidden(energy), *(b for b in energy.blocks() if b[0][0] != "h")]

    def step(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        state: PhaseState,
        weights: np.ndarray | None = None,
        out: Params | None = None,
    ) -> tuple[Params, dict[str, np.ndarray], PhaseState]:
        """Gradient of one minibatch; see `Objective.step`."""
        out = self.energy.zeros(params) if out is None else out
        for x in out.values():
            x.fill(0)
        n, chains = len(batch["v"]), list(state.chains)
        means: dict[str, np.ndarray] = {}
        for number, part in enumerate(self.parts):
            seed = (state.seed + number * 0x9E3779B97F4A7C15) % 2**64
            rows, w, share = np.arange(n), weights, 1.0
            if part.labelled is not None:
                rows = np.flatnonzero(np.isnan(batch["y"][:, 0]) != part.labelled)
                share = len(rows) / n
                if weights is not None:
                    w = weights[rows]
                    share = float(w.sum() / weights.sum())
            if share == 0:
                continue
            data = {g: x[rows] for g, x in batch.items()}
            address = rng.Address.of(seed, "unknown", step=state.update * self.inference.n_steps)
            inferred = self.inference(params, {g: data[g] for g in part.known}, address)
            scale = part.likelihood.weight * share
            if part.is_contrast:
                found = self._contrast(params, part, inferred, out, scale, w, seed, state.update)
            else:
                if part.likelihood.given:
                    inferred["z"] = self.inference.drawn(params, inferred["z"], address)
                found, chains[number] = self._phases[number].add_gradient(
                    params,
                    inferred | data if part.labelled is not False else inferred,
                    out,
                    scale,
                    w,
                    seed,
                    state.update,
                    chains[number],
                )
            means |= found  # those of the last part, which knows all groups, stay
        return out, means, PhaseState(state.seed, state.update + 1, chains)

    def _contrast(
        self,
        params: Params,
        part: _Part,
        inferred: dict[str, np.ndarray],
        out: Params,
        scale: float,
        weights: np.ndarray | None,
        seed: int,
        update: int,
    ) -> dict[str, np.ndarray]:
        """Both phases of contrastive divergence, completed by the same inference.

        Returns the mean activities in the positive phase.
        """
        n, n_gibbs = len(inferred["v"]), part.likelihood.n_gibbs
        at = rng.Address.of(seed, "chains", step=update * n_gibbs)
        # Hidden units are drawn first, given the inferred switches.
        chains = self.sampler.start(params, n, at, inferred)
        chains = self.sampler.step(params, chains, n_gibbs)
        at = rng.Address.of(seed, "positive", step=update * self.inference.n_steps)
        after = self.inference(params, {g: chains.values[g] for g in part.known}, at)
        w = np.full(n, 1 / n) if weights is None else weights / weights.sum()
        for values, sign in ((inferred, scale), (after, -scale)):
            self.energy.add_statistics(
                params, values, out, scale=sign, weights=w, n_threads=self.n_threads
            )
        return {g: np.tensordot(w.astype(x.dtype), x, axes=1) for g, x in inferred.items()}


@dataclass(frozen=True)
class _Inference:
    """Values of the unknown groups of rows: mean-field means, or the state of a chain."""

    energy: Energy
    method: str
    n_steps: int
    n_threads: int

    def blocks(self, known: Mapping[str, np.ndarray]) -> list[tuple[str, ...]]:
        """Hidden units first, since they hear the data even where the switches say nothing yet."""
        order = (_hidden(self.energy), ("z", "y"))
        return [
            tuple(g for g in block if g in self.energy.groups and g not in known) for block in order
        ]

    def __call__(
        self, params: Params, known: Mapping[str, np.ndarray], address: rng.Address
    ) -> dict[str, np.ndarray]:
        """All groups: known ones as they are, the others inferred."""
        if self.method == "mean-field":
            if serves(self.energy, params, known):
                two = TwoSwitches(self.energy, params, self.n_threads)
                return two.mean_field(known, self.n_steps, _TOLERANCE)
            return mean_field(
                self.energy,
                params,
                known,
                tolerance=_TOLERANCE,
                max_steps=self.n_steps,
                blocks=self.blocks(known),
                start=self._start(params, known),
                n_threads=self.n_threads,
            )
        return self._sweeps(params, known, address)[-1]

    def _start(self, params: Params, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Switches to begin with: component 0 sees all, as the RBM did that it comes from."""
        unit = self.energy.groups["z"]
        z = np.zeros((len(known["v"]), *unit.shape), params["z"].dtype)
        z[..., 0] = 1
        return {"z": z}

    def drawn(self, params: Params, means: np.ndarray, address: rng.Address) -> np.ndarray:
        """Switches drawn with these means; as they are by Gibbs, where they are draws already."""
        if self.method == "gibbs":
            return means
        logits = np.log(np.maximum(means, np.finfo(means.dtype).tiny))
        none = {"bias": np.zeros_like(params["z"])}
        at = address.at(group=len(self.energy.groups))
        _, z = self.energy.groups["z"].draw(none, logits, at, n_threads=self.n_threads)
        assert z is not None
        return z

    def _sweeps(
        self, params: Params, known: Mapping[str, np.ndarray], address: rng.Address, more: int = 0
    ) -> list[dict[str, np.ndarray]]:
        """States of chains with the known groups held, after `n_steps` sweeps and `more` times."""
        if serves(self.energy, params, known):
            two = TwoSwitches(self.energy, params, self.n_threads)
            return two.gibbs(known, address, self.n_steps, more)
        sampler = Gibbs(self.energy, clamp=tuple(known), n_threads=self.n_threads)
        sampler.blocks = self.blocks(known)
        values = dict(known) | self._start(params, known)
        state = sampler.start(params, len(known["v"]), address, values)
        state = sampler.step(params, state, self.n_steps)
        found = [dict(state.values)]
        for _ in range(more):
            state = sampler.step(params, state)
            found.append(dict(state.values))
        return found

    def means(
        self, params: Params, known: Mapping[str, np.ndarray], address: rng.Address
    ) -> dict[str, np.ndarray]:
        """Posterior means of all groups; by Gibbs, averages over `n_steps` sweeps after as many."""
        if self.method == "mean-field":
            return self(params, known, address)
        states = self._sweeps(params, known, address, self.n_steps - 1)
        return {g: np.mean([x[g] for x in states], axis=0) for g in self.energy.groups}

    def switches(
        self, params: Params, known: Mapping[str, np.ndarray], address: rng.Address
    ) -> list[np.ndarray]:
        """Means of the switches, or draws of them."""
        if self.method == "mean-field":
            return [self(params, known, address)["z"]]
        return [x["z"] for x in self._sweeps(params, known, address, self.n_steps - 1)]


# -- what both models share ------------------------------------------------------------------------


class _PointwiseGated(EnergyEstimator):
    """The energy, its inference and its answers; a label y is an observed group like any other."""

    n_components: Any
    visible: Any
    inference: str
    n_inference: int
    n_pretraining: int
    mask_bias: float
    sparsity: float
    activity: float
    #: What `fit` was given beside the rows to order the units of the pretraining by.
    _order_by: np.ndarray | None = None

    @property
    def _generative_weight(self) -> float:
        """Weight of the model of the visible units in what is maximised."""
        return 1.0

    # -- the description -----------------------------------------------------------------------

    def _sizes(self) -> tuple[int, ...]:
        """Hidden units of each component."""
        given = self.n_components
        if np.ndim(given) == 0:
            n = check_count("n_components", given)
            return (n, n)
        sizes = tuple(
            check_count(f"n_components[{r}]", n, minimum=int(r == 0)) for r, n in enumerate(given)
        )
        if not 2 <= len(sizes) <= _MOST_COMPONENTS:
            raise ValueError(
                f"n_components={given!r} lists {len(sizes)} components; give from 2 to "
                f"{_MOST_COMPONENTS} numbers of hidden units, or one number for two equal ones."
            )
        return sizes

    def _declare(self, data: Data) -> Energy:
        visible = self._unit("visible", data["v"].shape[1])
        if len(visible.shape) != 1 or visible.event_axes:
            raise ValueError(
                f"visible={visible!r} has several axes; a switch needs visible units that are "
                f"single numbers, such as 'bernoulli' or 'gaussian'."
            )
        sizes = self._sizes()
        groups: dict[str, Unit] = {"v": visible}
        if "y" in data:
            groups["y"] = Categorical(data["y"].shape[1])
        groups["z"] = Categorical(visible.size, len(sizes))
        terms = self._bias_terms()
        for r, n in enumerate(sizes):
            if n:
                groups[f"h{r}"] = Bernoulli(n)
                terms.append(_weight_term(r))
        if "y" in data:
            terms.append("h0_k y_c")
        return Energy(groups, terms)

    def _bias_terms(self) -> list[str]:
        """Terms that are biases of the visible units, one where a unit is switched to each."""
        return [_bias_term(r) for r in range(len(self._sizes()))]

    def _bias_keys(self) -> set[str]:
        terms = {_bias_term(r) for r in range(self._n_learnt)}
        return EnergyEstimator._bias_keys(self) | terms

    def _inference(self, energy: Energy, method: str | None = None) -> _Inference:
        n_threads = threads.resolve(self.n_threads)
        return _Inference(energy, method or self.inference, self.n_inference, n_threads)

    def _trainer(self, energy: Energy) -> Trainer:
        trainer = EnergyEstimator._trainer(self, energy)
        for name in self._bias_terms():
            trainer.penalties.pop(name, None)
        # A penalty of the model of v: it weighs as much as that.
        if strength := self.sparsity * self._generative_weight:
            trainer.activities = dict.fromkeys(_hidden(energy), (self.activity, strength))
        return trainer

    def _starting_params(self, energy: Energy, dtype: np.dtype) -> Params:
        params = EnergyEstimator._starting_params(self, energy, dtype)
        for name in self._bias_terms():
            params[name][...] = 0
        if self.sparsity:
            for g in _hidden(energy):
                params[g] += np.asarray(np.log(self.activity / (1 - self.activity)), dtype)
        return params

    # -- checks --------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_size()
        one_of("inference", self.inference, INFERENCES)
        check_count("n_inference", self.n_inference)
        check_count("n_pretraining", self.n_pretraining, minimum=0)
        check_number("mask_bias", self.mask_bias)
        check_number("sparsity", self.sparsity, 0)
        check_number("activity", self.activity, 0, below=1, strict=True)

    def _check_size(self) -> None:
        self._sizes()

    def _check_component(self, component: Any) -> int:
        n = self._n_learnt
        is_number = isinstance(component, Integral) and not isinstance(component, bool)
        if not is_number or component not in range(n):
            raise ValueError(
                f"component must be a whole number from 0, the task-relevant one, to {n - 1}; "
                f"got {component!r}."
            )
        return int(component)

    # -- fitting -------------------------------------------------------------------------------

    def _begin_at(self, *args: Any) -> None:
        super()._begin_at(*args)
        # Visible units are left to the others until hidden units of component 0 claim them.
        bias = np.asarray(self.mask_bias, self._dtype)
        self.params_[_bias_term(0)] += bias
        self.params_["z"][:, 0] += bias

    def _pretrain(self, data: Data | Callable[[int], Iterator[Part]], weight: Any) -> None:
        """Components made of the hidden units of one RBM, the most relevant to the class first."""
        if not self.n_pretraining:
            return
        sizes = self._sizes()
        rbm = RBM(
            sum(sizes),
            visible=self.energy_.groups["v"],
            method="pcd" if self.method == "pcd" else "cd",
            n_iter=self.n_pretraining,
            random_state=int(np.random.default_rng(self._seed).integers(2**31)),
            **{name: getattr(self, name) for name in _OF_THE_RBM},
        )
        rbm.fit(mapped(lambda known: known["v"], data), sample_weight=weight)
        order = np.arange(sum(sizes))
        if "y" in self.energy_.groups or self._order_by is not None:
            relevance = Relevance()
            for known, own in data(0) if callable(data) else [(data, weight)]:
                hidden = RBM._plain(rbm.transform, known["v"])
                relevance.add(hidden, self._labels_of(known), own)
            order = np.argsort(-relevance.shares(), kind="stable")
        params = {key: x for key, x in rbm.params_.items() if key.startswith("v.")}
        # The RBM's visible units are those of component 0; elsewhere they are as their data are.
        bias = self.params_[_bias_term(0)]
        params[_bias_term(0)] = bias + rbm.intercept_visible_ - self.params_["v"]
        parts = np.split(order, np.cumsum(sizes)[:-1])
        for r, units in enumerate(parts):
            if len(units):
                params[f"h{r}"] = rbm.intercept_hidden_[units]
                params[_weight_term(r)] = rbm.components_[units]
        self.params_.update({key: np.array(x, order="C") for key, x in params.items()})

    def _labels_of(self, data: Data) -> np.ndarray:
        """Labels by which the units of the pretraining are ordered."""
        if "y" not in data:
            return np.asarray(self._order_by)
        y = data["y"]
        return np.where(np.isnan(y[:, 0]), UNLABELLED, y.argmax(axis=1))

    # -- what was learnt -----------------------------------------------------------------------

    @property
    def components_(self) -> list[np.ndarray]:
        """Weights of each component, (n_components[r], n_features)."""
        params = self._learnt("components_")
        empty = np.empty((0, self.energy_.groups["v"].size), self._dtype)
        return [params.get(_weight_term(r), empty) for r in range(self._n_learnt)]

    @property
    def intercept_hidden_(self) -> np.ndarray:
        """Biases of the hidden units, component after component."""
        params = self._learnt("intercept_hidden_")
        return np.concatenate([params[g] for g in _hidden(self.energy_)])

    @property
    def intercept_visible_(self) -> np.ndarray:
        """Biases of the visible units in each component, (number of components, n_features)."""
        params = self._learnt("intercept_visible_")
        return np.stack([params["v"] + params[_bias_term(r)] for r in range(self._n_learnt)])

    @property
    def _n_learnt(self) -> int:
        """Components of the fitted model."""
        return self.energy_.groups["z"].shape[-1]

    @property
    def _n_features_out(self) -> int:
        return sum(self.energy_.groups[g].size for g in _hidden(self.energy_))

    # -- inference -----------------------------------------------------------------------------

    def _posterior(self, data: Data, groups: Sequence[str]) -> list[np.ndarray]:
        """Posterior means of some groups, (n_rows, *shape) each."""
        inference = self._inference(self.energy_)
        parts = []
        with threads.computing():
            for number, known in enumerate(self._chunks(data)):
                means = inference.means(self.params_, known, self._at(number))
                parts.append([means[g] for g in groups])
        return [np.concatenate(x) for x in zip(*parts, strict=True)]

    def _at(self, chunk: int) -> rng.Address:
        """Where the random numbers of inference begin for a chunk of rows."""
        return rng.Address.of(self._seed, "unknown", row=chunk * CHUNK_ROWS)

    def _means_of_hidden(self, data: Data, component: int | None) -> np.ndarray:
        wanted = range(self._n_learnt)
        if component is not None:
            refuse_unnamed(self, f"component={component!r}")
            wanted = range(self._check_component(component), component + 1)
        groups = [g for g in _hidden(self.energy_) if int(g[1:]) in wanted]
        if not groups:
            return np.empty((data["v"].shape[0], 0), self._dtype)
        return np.hstack(self._posterior(data, groups))

    def _masks(self, data: Data, component: int) -> np.ndarray:
        component = self._check_component(component)
        (z,) = self._posterior(data, ["z"])
        return np.ascontiguousarray(z[..., component])

    def _log_likelihood(self, data: Data, method: str) -> np.ndarray:
        """``log p(data)`` of each row, or a lower bound on it."""
        one_of("method", method, ("auto", "exact", "bound"))
        if method == "auto":
            method = "exact" if self._lists_few(data) else "bound"
        with threads.computing():
            if method == "exact":
                remedy = "Use method='bound'."
                parts = [
                    Enumeration(self.energy_, self.params_, x, remedy=remedy).log_partition()
                    for x in self._chunks(data)
                ]
            else:
                parts = [self._bound(x) for x in self._chunks(data)]
        return self._credible(np.concatenate(parts) - self.log_partition_.value, data)

    def _lists_few(self, known: Collection[str]) -> bool:
        """Whether so few states have to be listed for a row that "auto" is exact."""
        free = [g for g in self.energy_.groups if g not in known]
        try:
            return split(self.energy_, free).log2_states <= _EXACT_LOG2_STATES
        except ValueError:
            return False

    def _bound(self, known: Mapping[str, np.ndarray]) -> np.ndarray:
        """Lower bound on ``log sum exp(-E)`` over the groups that are not known, for each row.

        ``H(q) + log sum_h exp(-E(v, E_q[z], h))``: the sum over h is log-convex in z (and y), so it
        is a bound whether or not mean field has settled.
        """
        inference = self._inference(self.energy_, "mean-field")
        means = inference(self.params_, known, self._at(0))
        entropy: Any = 0.0
        for g in ("z", "y"):
            if g in means and g not in known:
                entropy += entr(means[g]).reshape(len(means[g]), -1).sum(axis=1, dtype=np.float64)
        free = self.energy_.free_energy(
            self.params_, means, _hidden(self.energy_), n_threads=inference.n_threads, check=False
        )
        return np.asarray(entropy - free)


#: What the RBM of the pretraining has from its machine.
_OF_THE_RBM = (
    *("sparsity", "activity", "batch_size", "momentum", "l1", "l2", "centered", "n_threads"),
)


def _bias_term(component: int) -> str:
    return f"v_i z_i{component}"


def _weight_term(component: int) -> str:
    # The hidden units stand first, so that the weights are components_ as they are.
    return f"h{component}_k v_i z_i{component}"


def _hidden(energy: Energy) -> tuple[str, ...]:
    """Groups of hidden units, one a component that has some."""
    return tuple(g for g in energy.groups if g not in ("v", "y", "z"))


class Relevance:
    """Share of each hidden unit's variance that lies between the classes (correlation ratio)."""

    def __init__(self) -> None:
        #: Label -> weight of its rows, and of each unit the mean and the squares about it.
        self._classes: dict[int, tuple[float, np.ndarray, np.ndarray]] = {}
        self._n_units = 0

    def add(self, H: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> None:
        """See the next rows.

        Parameters
        ----------
        H : ndarray of shape (n_samples, n_units)
        labels : ndarray of shape (n_samples,)
            Rows labelled -1 are left out.
        weights : ndarray of shape (n_samples,), optional
            Of the rows: one of weight two counts as two, one of weight zero as none.
        """
        self._n_units = H.shape[1]
        w = np.ones(len(H)) if weights is None else weights.astype(np.float64)
        may_count = (labels != UNLABELLED) & (w > 0)
        for label in np.unique(labels[may_count]).tolist():
            mine = may_count & (labels == label)
            rows, own = H[mine].astype(np.float64), w[mine]
            n = here = float(own.sum())
            mean = own @ rows / n
            squares = own @ (rows - mean) ** 2
            if label in self._classes:
                before, old, old_squares = self._classes[label]
                n += before
                squares += old_squares + before * here / n * (mean - old) ** 2
                mean = old + here / n * (mean - old)
            self._classes[label] = n, mean, squares

    def shares(self) -> np.ndarray:
        """Of each unit, in [0, 1]; 0 of those that do not vary, and of all where no row counts."""
        if not self._classes:
            return np.zeros(self._n_units)
        n, means, squares = (np.array(x) for x in zip(*self._classes.values(), strict=True))
        between = n @ (means - n @ means / n.sum()) ** 2
        total = squares.sum(axis=0) + between
        # Means of equal numbers differ by rounding.
        varies = total > 1e-24 * n.sum()
        return np.divide(between, total, out=np.zeros_like(total), where=varies)


# -- the models ------------------------------------------------------------------------------------


class PointwiseGatedRBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _PointwiseGated):
    r"""Point-wise gated restricted Boltzmann machine.

    Each visible unit v_i has a switch z_i, one-hot over R components, and the hidden units of a
    component see the visible units that are switched to it:

    ``E(v, z, h) = base(v) + base(z) - sum_r sum_ik z_ir v_i W_rki h_rk - sum_rk b_rk h_rk
    - sum_ir c_ir z_ir v_i``.

    Given switches and visible units, hidden units are independent; given the hidden ones, so are
    the pairs (z_i, v_i). Given the visible units alone nothing is factorial: answers are mean-field
    or Gibbs estimates. A component without hidden units is a plain background, and with two
    components the switches are then a binary mask in front of the hidden units.

    Parameters
    ----------
    n_components : int or sequence of int, default=(256, 64)
        Hidden units of each component. A number n is short for (n, n). All but the first,
        the task-relevant one, may be 0.
    visible : str or unit type, default="bernoulli"
        As in `RBM`, one number a unit; "unit-interval" is for grey values. Hidden units are
        Bernoulli.
    inference : {"mean-field", "gibbs"}, default="mean-field"
        How switches and hidden units are inferred, in learning and in answers.
    n_inference : int, default=5
        Steps of mean field, or sweeps of Gibbs (answers average over as many more).
    n_pretraining : int, default=10
        Passes of the RBM of all hidden units together that learning begins with; its units are
        given to the components, those first that tell the classes apart best where `fit` knows
        labels. 0 begins with random weights.
    mask_bias : float, default=-1.0
        Added to c_i0 and to the bias of z_i0 at the start: below zero a visible unit is left to the
        other components until the hidden units of component 0 claim it.
    sparsity : float, default=1.0
        Strength of the pull of each hidden unit's mean activity towards `activity`, by its bias
        (Lee, Ekanadham & Ng 2007), in the pretraining too. Without it an RBM of noisy data uses a
        few of its units and leaves the others without weights.
    activity : float, default=0.1
    method : {"cd", "pcd", "exact", "tempered", "trajectory"}, default="cd"
        Negative phase, as in `RBM`; "exact" enumerates, in the positive phase too.
    n_gibbs, n_chains : int
        As in `RBM`.
    learning_rate : "auto", float or schedule, default="auto"
        As in `RBM`.
    optimizer, momentum : default="sgd", 0.5
    batch_size, n_iter, l1, l2, centered, n_threads, callbacks, verbose, random_state
        As in `RBM`. The pretraining has the rates of an RBM of its own.

    Attributes
    ----------
    components_ : list of ndarray of shape (n_components[r], n_features)
        W_r.
    intercept_hidden_ : ndarray of shape (number of hidden units,)
        b_r, component after component.
    intercept_visible_ : ndarray of shape (number of components, n_features)
        Bias of v_i while it is switched to each component.
    energy_ : Energy
        With groups "v", "z", "h0", "h1", ...
    params_ : dict of arrays
    log_partition_ : LogPartition
    history_ : dict of lists
    n_iter_, n_features_in_ : int

    References
    ----------
    Sohn, Zhou, Lee & Lee, "Learning and selecting features jointly with point-wise gated Boltzmann
    machines", ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import PointwiseGatedRBM
    >>> X = (np.random.default_rng(0).random((50, 6)) < 0.5).astype(np.float32)
    >>> gated = PointwiseGatedRBM((3, 2), n_iter=2, random_state=0).fit(X)
    >>> gated.transform(X).shape, gated.transform(X, component=1).shape, gated.masks(X).shape
    ((50, 5), (50, 2), (50, 6))
    """

    def __init__(
        self,
        n_components: Any = (256, 64),
        *,
        visible: Any = "bernoulli",
        inference: str = "mean-field",
        n_inference: int = 5,
        n_pretraining: int = 10,
        mask_bias: float = -1.0,
        sparsity: float = 1.0,
        activity: float = 0.1,
        method: str = "cd",
        n_gibbs: int = 1,
        n_chains: int | None = None,
        learning_rate: Any = "auto",
        batch_size: int = 50,
        n_iter: int = 50,
        optimizer: Any = "sgd",
        momentum: float = 0.5,
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
        self.inference = inference
        self.n_inference = n_inference
        self.n_pretraining = n_pretraining
        self.mask_bias = mask_bias
        self.sparsity = sparsity
        self.activity = activity
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

    def _likelihoods(self) -> LogLikelihood:
        return self._likelihood("v", n_positive=self.n_inference)

    def _objective(self, energy: Energy, n_threads: int) -> Objective:
        if self.method == "exact" or self.inference == "gibbs":
            return super()._objective(energy, n_threads)
        complete = _Part(self._likelihood(tuple(energy.groups)), ("v",))
        return _InferredObjective(energy, [complete], self._inference(energy), n_threads)

    # -- fitting -------------------------------------------------------------------------------

    @unchanged_if_refused
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> PointwiseGatedRBM:
        """Learn the parameters from rows of X.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            float32 and float64 are kept, and are the precision of the parameters; all else
            becomes float32. Also a function that returns an iterator of chunks, as in `RBM.fit`;
            the pretraining reads it ``n_pretraining + 1`` times more, with epochs of its own.
        y : array-like of shape (n_samples,), optional
            Labels, -1 where there is none. They serve only to give the units of the pretraining
            that tell them apart best to component 0.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        if is_chunked(X):
            self._fit_chunks(X, sample_weight)
            return self
        X, weight = self._check_fit(X, sample_weight, reset=True)
        labels = None
        if y is not None:
            labels = column_or_1d(y)
            if len(labels) != X.shape[0]:
                raise ValueError(
                    f"y has {len(labels)} labels, but X has {X.shape[0]} rows; give one label a "
                    f"row, or none at all."
                )
            labels = plain_labels(labels, "y", " Mark rows without a label by -1.")
            known = ~is_unlabelled(labels)
            check_classification_targets(labels[known])
            numbers = np.full(len(labels), UNLABELLED)
            numbers[known] = np.unique(labels[known], return_inverse=True)[1]
            # Where no row has a label, none can order the units.
            labels = numbers if known.any() else None
        self._order_by = labels
        try:
            self._fit({"v": X}, weight)
        finally:
            # It belongs to rows of this call alone.
            del self._order_by
        return self

    @unchanged_if_refused
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> PointwiseGatedRBM:
        """Make one pass over X in minibatches, going on from where the model stands.

        Without a `fit` before, learning begins with random weights: there is no pretraining.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or iterator
            An iterator of chunks is read once.
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

    def _check_fit(self, X: Any, sample_weight: Any, reset: bool) -> tuple[Any, np.ndarray | None]:
        self._check_parameters()
        X = self._check_rows_of(X, reset=reset)
        if not reset:
            X = X.astype(self._dtype, copy=False)
        return X, self._check_weights(sample_weight, X)

    def _check_rows_of(self, X: Any, *, reset: bool = False) -> Any:
        X = check_rows(self, X, reset=reset)
        unit = self._unit("visible", X.shape[1]) if reset else self.energy_.groups["v"]
        return self._check_support(unit, X)

    # -- answers -------------------------------------------------------------------------------

    def transform(self, X: Any, *, component: int | None = None) -> np.ndarray:
        """Posterior means of the hidden units.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        component : int, optional
            The hidden units of one component; all by default, component after component, which
            alone have names (`get_feature_names_out`), and so tables by ``set_output``.

        Returns
        -------
        ndarray of shape (n_samples, number of hidden units)
        """
        check_is_fitted(self, "params_")
        return self._means_of_hidden({"v": self._check_rows_of(X)}, component)

    def masks(self, X: Any, *, component: int = 0) -> np.ndarray:
        """Posterior probability that each visible unit is switched to a component.

        Where a visible unit is zero its switch matters to nothing, and the probability is that of
        the switch alone.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        component : int
            0 is the task-relevant one.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "params_")
        return self._masks({"v": self._check_rows_of(X)}, component)

    def score_samples(self, X: Any, method: str = "auto") -> np.ndarray:
        r"""Log-likelihood of each row in nats, or a lower bound on it.

        "bound" is the variational one with the mean-field posterior q of the switches,
        ``log p(v) >= log sum_h exp(-E(v, E_q[z], h)) + H(q) - log Z``. With an annealed log Z both
        carry the error of `log_partition_`.

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
        """
        check_is_fitted(self, "params_")
        return self._log_likelihood({"v": self._check_rows_of(X)}, method)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean())

    def sample(
        self,
        n_samples: int = 1,
        n_steps: int = 100,
        *,
        init: Any = None,
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
            Visible vectors to start from; the default is independent units with the visible
            biases.
        random_state : None, int, RandomState or Generator
            None goes on in the model's own sequence, so that calls differ, repeatably.
        method : {"gibbs", "tempered", "trajectory"}, default="gibbs"
        return_info : bool, default=False
            As in `RBM.sample`.

        n_jobs : int, optional
            As in `RBM.sample`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            With ``return_info``, a tuple of it and the information.
        """
        check_is_fitted(self, "params_")
        check_count("n_samples", n_samples)
        check_count("n_steps", n_steps, minimum=0)
        values: dict[str, np.ndarray] = {}
        if init is not None:
            values["v"] = self._start_of_chains(self._check_rows_of(init), n_samples)
        address = rng.Address.of(self._sampling_seed(random_state), "sample")
        sampler = self._sampler(method)
        # Hidden units first and visible ones last, so that a sweep ends at a visible vector.
        sampler.blocks = [_hidden(self.energy_), ("z",), ("v",)]
        state = sampler.start(self.params_, n_samples, address, values)
        state, info = self._sweep(sampler, state, n_steps, return_info, n_jobs)
        X = state.values["v"].reshape(n_samples, -1)
        return X if info is None else (X, info)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class PointwiseGatedRBMClassifier(_PointwiseGated, _LabelMachine):
    r"""Point-wise gated class RBM: `PointwiseGatedRBM` whose component 0 meets a label.

    ``E(v, y, z, h) = E(v, z, h) - d'y - sum_kc h_0k U_kc y_c``. The label couples to the hidden
    units of component 0 alone and so takes part in inferring the switches. Given the switches all
    but component 0 cancels: ``p(y | v, z)`` is that of a class RBM that sees the units switched to
    component 0. Predictions take the switches' mean-field means (or average over Gibbs draws of
    them), inferred without the label.

    Parameters
    ----------
    n_components : int or sequence of int, default=(256, 64)
        Hidden units of each component. A number n is short for (n, n). All but the first,
        the task-relevant one, may be 0.
    objective : {"hybrid", "discriminative", "generative", "semi-supervised"}, default="hybrid"
        What is maximised: ``log p(y | v, z) + alpha log p(v, y)`` with z inferred from v, whose
        first part is a lower bound on ``log p(y | v)`` where z is drawn; that part alone, which
        leaves all but component 0 as the pretraining left it; ``log p(v, y)``; or the hybrid on
        labelled rows ``+ beta log p(v)`` on those labelled -1. With ``method="exact"``,
        ``log p(y | v)`` itself is maximised.
    alpha : float, default=0.1
        Weight of ``log p(v, y)`` (and of the sparsity).
    beta : float, default=0.1
        Weight of ``log p(v)`` on unlabelled rows.
    visible, inference, n_inference, n_pretraining, mask_bias, sparsity, activity, method, \
n_gibbs, n_chains, optimizer, momentum
        As in `PointwiseGatedRBM`.
    learning_rate : "auto", float or schedule, default="auto"
        As in `RBMClassifier`.
    batch_size, n_iter, l1, l2, centered, n_threads, callbacks, verbose, random_state
        As in `RBM`.
    early_stopping, validation_fraction, n_iter_no_change
        As in `RBMClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    components_ : list of ndarray of shape (n_components[r], n_features)
        W_r.
    class_components_ : ndarray of shape (n_components[0], n_classes)
        U.
    intercept_hidden_ : ndarray of shape (number of hidden units,)
    intercept_visible_ : ndarray of shape (number of components, n_features)
    intercept_class_ : ndarray of shape (n_classes,)
    energy_ : Energy
        With groups "v", "y", "z", "h0", "h1", ...
    params_ : dict of arrays
    history_ : dict of lists
        One entry an epoch; with early stopping also ``validation_error`` and
        ``validation_log_likelihood``.
    best_iter_ : int
        With early stopping, the epoch whose parameters were kept.
    log_partition_ : LogPartition
    n_iter_, n_features_in_ : int

    References
    ----------
    Sohn, Zhou, Lee & Lee, "Learning and selecting features jointly with point-wise gated Boltzmann
    machines", ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import PointwiseGatedRBMClassifier
    >>> X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=np.float32)
    >>> model = PointwiseGatedRBMClassifier((4, 2), n_iter=200, batch_size=4, random_state=0)
    >>> model.fit(X, ["left", "left", "right", "right"]).predict(X).tolist()
    ['left', 'left', 'right', 'right']
    """

    def __init__(
        self,
        n_components: Any = (256, 64),
        *,
        objective: str = "hybrid",
        alpha: float = 0.1,
        beta: float = 0.1,
        visible: Any = "bernoulli",
        inference: str = "mean-field",
        n_inference: int = 5,
        n_pretraining: int = 10,
        mask_bias: float = -1.0,
        sparsity: float = 1.0,
        activity: float = 0.1,
        method: str = "cd",
        n_gibbs: int = 1,
        n_chains: int | None = None,
        learning_rate: Any = "auto",
        batch_size: int = 50,
        n_iter: int = 50,
        optimizer: Any = "sgd",
        momentum: float = 0.5,
        l1: float = 0.0,
        l2: float = 0.0,
        centered: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        _LabelMachine.__init__(
            self,
            n_components,
            objective=objective,
            alpha=alpha,
            beta=beta,
            visible=visible,
            method=method,
            n_gibbs=n_gibbs,
            n_chains=n_chains,
            learning_rate=learning_rate,
            batch_size=batch_size,
            n_iter=n_iter,
            optimizer=optimizer,
            momentum=momentum,
            l1=l1,
            l2=l2,
            centered=centered,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_threads=n_threads,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
        self.inference = inference
        self.n_inference = n_inference
        self.n_pretraining = n_pretraining
        self.mask_bias = mask_bias
        self.sparsity = sparsity
        self.activity = activity

    # -- the description -----------------------------------------------------------------------

    def _terms(self, slots: dict[str, str]) -> list[str]:
        raise AssertionError("the energy is declared as a whole")

    def _trainer(self, energy: Energy) -> Trainer:
        trainer = super()._trainer(energy)
        trainer.monitor = self._monitor
        return trainer

    def _objective(self, energy: Energy, n_threads: int) -> Objective:
        if self.method == "exact":
            return Objective(energy, self._likelihoods(), n_threads)
        # What Gibbs does not draw here, the likelihood's own positive phase does.
        of = tuple(energy.groups) if self.inference == "mean-field" else ("v", "y")
        n = self.n_inference
        parts = []
        if self.objective != "generative":
            parts.append(_Part(LogLikelihood("y", ("v", "z"), negative="exact"), ("v",), True))
        if self.objective == "semi-supervised" and self.beta:
            alone = tuple(energy.groups) if self.inference == "mean-field" else ("v",)
            likelihood = self._likelihood(alone, weight=self.beta, n_positive=n)
            parts.append(_Part(likelihood, ("v",), False))
        if weight := self._generative_weight:
            parts.append(_Part(self._likelihood(of, weight=weight, n_positive=n), ("v", "y"), True))
        return _InferredObjective(energy, parts, self._inference(energy), n_threads)

    @property
    def _generative_weight(self) -> float:
        fixed = {"generative": 1.0, "discriminative": 0.0}
        return fixed.get(self.objective, self.alpha)

    # -- what was learnt -----------------------------------------------------------------------

    @property
    def class_components_(self) -> np.ndarray:
        """Weights of the label, (n_components[0], n_classes)."""
        return self._learnt("class_components_")["h0_k y_c"]

    def _log_proba(self, params: Params, X: Any) -> np.ndarray:
        inference = self._inference(self.energy_)
        parts = []
        with threads.computing():
            for number, known in enumerate(self._chunks({"v": X})):
                draws = inference.switches(params, known, self._at(number))
                p = [
                    self.energy_.log_probabilities(
                        params, "y", known | {"z": z}, n_threads=inference.n_threads, check=False
                    )
                    for z in draws
                ]
                parts.append(logsumexp(p, axis=0) - np.log(len(p)))
        return np.concatenate(parts)

    # -- answers -------------------------------------------------------------------------------

    def _check_data(self, X: Any, y: Any) -> dict[str, Any]:
        check_is_fitted(self, "params_")
        X = self._check_rows_of(X, reset=False)
        data = {"v": X}
        if y is not None:
            data["y"] = self._one_hot(self._known_labels(y, X.shape[0]), self._dtype)
        return data

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Log of the probability of each label, ``log p(y | v, z)`` with z inferred from v.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``.
        """
        return super().predict_log_proba(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each label in the order of ``classes_``: (n_samples, n_classes)."""
        return super().predict_proba(X)

    def transform(self, X: Any, y: Any = None, *, component: int | None = None) -> np.ndarray:
        """Posterior means of the hidden units, given the labels too where there are some.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
            Labels to be taken as known.
        component : int, optional
            The hidden units of one component; all by default, component after component, which
            alone have names (`get_feature_names_out`), and so tables by ``set_output``.

        Returns
        -------
        ndarray of shape (n_samples, number of hidden units)
        """
        return self._means_of_hidden(self._check_data(X, y), component)

    def masks(self, X: Any, y: Any = None, *, component: int = 0) -> np.ndarray:
        """Posterior probability that each visible unit is switched to a component.

        Where a visible unit is zero its switch matters to nothing, and the probability is that of
        the switch alone.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
            Labels to be taken as known.
        component : int
            0 is the task-relevant one.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        return self._masks(self._check_data(X, y), component)

    def score_samples(self, X: Any, y: Any = None, method: str = "auto") -> np.ndarray:
        """``log p(v)`` of each row in nats, ``log p(v, y)`` with labels, or a lower bound on it.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
        method : {"auto", "exact", "bound"}
            As in `PointwiseGatedRBM`.

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        return self._log_likelihood(self._check_data(X, y), method)
