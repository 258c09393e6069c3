"""What training maximises: a weighted sum of ``log p(of | given)``, each with its negative phase.

The gradient of ``log p(of | given)`` is the expected statistics of the energy with ``of`` and
``given`` held at the data (positive phase), minus the expected statistics with only ``given`` held
(negative phase). Groups that stand in neither are hidden: summed out in closed form where they can
be, else sampled.

==========  ===================================================================================
negative    expectation under the model
==========  ===================================================================================
exact       by enumeration: the oracle, and the method of choice for small models
cd          k sweeps from the data (Hinton 2002): fast, biased
pcd         k sweeps of chains kept from update to update (Tieleman 2008; Younes 1989)
tempered    the same, exchanging places with chains at lower inverse temperatures, so that they
            cross between modes (Desjardins et al. 2010; Cho et al. 2010): as many times the sweeps
            as there are levels
trajectory  the same, with chains of earlier models of the training (Béreux et al. 2025)
==========  ===================================================================================

A criterion takes the rows whose ``of`` and ``given`` groups are known (NaN marks a group that is
not), so a weighted sum of several trains on labelled and unlabelled rows at once:

==================  ======================================================================
hybrid              ``log p(y | v) + alpha log p(v, y)``
semi-supervised     the same, ``+ beta log p(v)`` over rows ``without`` y
==================  ======================================================================

The sum over rows is divided by the number (or weight) of *all* rows of the minibatch, for every
criterion: the average over minibatches is then the sum over the data of what applies to each row,
divided by their number, wherever the shuffling puts the rows that have no label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from . import products, rng, threads
from .energy import Energy
from .enumeration import Enumeration, split, state_numbers
from .gibbs import ChainState, Fixed, Gibbs, layer
from .tempering import TemperedState, Tempering, TrajectoryTempering
from .terms import Params
from .validation import (
    check_count,
    check_number,
    check_rows,
    check_state,
    check_weights,
    missing_state,
    one_of,
    unknown_group,
)

#: Chains that are kept from update to update.
Chains = ChainState | TemperedState
#: Negative phases that keep chains from update to update.
_PERSISTENT = ("pcd", "tempered", "trajectory")
#: Sweeps after which the levels of tempered chains are placed anew.
_PLACE_EVERY = 100
#: Sweeps to one model that a trajectory keeps by those to the model before.
_GROWTH = 1.25

_EXACT_REMEDY = "Use negative='cd' or 'pcd' (an estimator's method)."


@dataclass(frozen=True)
class LogLikelihood:
    """``weight * log p(of | given)``, summed over the rows it applies to, divided by all rows.

    Parameters
    ----------
    of, given : sequence of str
        Groups held at the data; the others are hidden.
    weight : float
    negative : {"exact", "cd", "pcd", "tempered", "trajectory"}
    n_gibbs : int
        Sweeps of an update for all but "exact".
    n_chains : int, optional
        Persistent chains for all but "exact" and "cd"; the default is the number of rows of the
        first minibatch.
    n_levels : int
        Inverse temperatures for "tempered", places on the path of models for "trajectory". They are
        placed anew after every 100 sweeps; the numbers of sweeps to the models that are kept grow
        by a quarter from one to the next.
    n_positive : int
        Sweeps over the hidden groups in the positive phase, where they cannot be summed out.
    without : sequence of str
        Only rows in which these groups are unknown count; all rows by default.
    """

    of: tuple[str, ...] | str
    given: tuple[str, ...] | str = ()
    weight: float = 1.0
    negative: str = "pcd"
    n_gibbs: int = 1
    n_chains: int | None = None
    n_positive: int = 10
    without: tuple[str, ...] | str = ()
    n_levels: int = 10

    def __post_init__(self) -> None:
        for name in ("of", "given", "without"):
            groups = getattr(self, name)
            object.__setattr__(self, name, (groups,) if isinstance(groups, str) else tuple(groups))
        one_of("negative", self.negative, ("exact", "cd", *_PERSISTENT))
        check_number("weight", self.weight)
        check_count("n_gibbs", self.n_gibbs)
        check_count("n_positive", self.n_positive)
        check_count("n_levels", self.n_levels, minimum=2)
        if self.n_chains is not None:
            check_count("n_chains", self.n_chains)
        if self.negative in _PERSISTENT and self.given:
            raise ValueError(
                f"negative={self.negative!r} keeps chains that belong to no row, so nothing can be "
                f"given; got given={self.given}. Use negative='cd' or 'exact'."
            )


@dataclass
class PhaseState:
    """What the phases carry from update to update.

    Attributes
    ----------
    seed : int
    update : int
        Number of gradients computed.
    chains : list of ChainState, TemperedState or None
        Persistent chains, one entry a `LogLikelihood`.
    """

    seed: int
    update: int = 0
    chains: list[Chains | None] = field(default_factory=list)


class Objective:
    """A weighted sum of `LogLikelihood` terms over one energy.

    Parameters
    ----------
    energy : Energy
    likelihoods : LogLikelihood or sequence of them
    n_threads : int or None
    """

    def __init__(
        self,
        energy: Energy,
        likelihoods: LogLikelihood | Sequence[LogLikelihood],
        n_threads: int | None = None,
    ) -> None:
        if isinstance(likelihoods, LogLikelihood):
            likelihoods = [likelihoods]
        self.energy = energy
        self.n_threads = threads.resolve(n_threads)
        self.likelihoods = list(likelihoods)
        for one in self.likelihoods:
            _check_groups(energy, one)
        #: Every group that data must give.
        self.observed = tuple(
            dict.fromkeys(g for one in self.likelihoods for g in (*one.of, *one.given))
        )

    @cached_property
    def _phases(self) -> list[_Phases]:
        # Not before they are used: a training in compiled code has no use for them.
        return [_Phases(self.energy, one, self.n_threads) for one in self.likelihoods]

    def init(self, random_state: Any = None) -> PhaseState:
        """State of the phases before the first update."""
        return PhaseState(rng.seed_from(random_state), 0, [None] * len(self.likelihoods))

    def step(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        state: PhaseState,
        weights: np.ndarray | None = None,
        out: Params | None = None,
    ) -> tuple[Params, dict[str, np.ndarray], PhaseState]:
        """Gradient of one minibatch, unchecked.

        Parameters
        ----------
        batch : dict of arrays
            Values of the observed groups.
        weights : ndarray of shape (n_rows,), optional
            Weights of the rows; the gradient is their weighted average.
        out : dict of arrays, optional
            Arrays to write the gradient to.

        Returns
        -------
        gradient : dict of arrays
        means : dict of arrays
            Mean activity of each group in the positive phase, for centring; without groups that
            no likelihood depends on, or none of these rows.
        state : PhaseState
        """
        return self._step(params, batch, state, weights, out)

    def _step(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        state: PhaseState,
        weights: np.ndarray | None = None,
        out: Params | None = None,
        inputs: Params | None = None,
    ) -> tuple[Params, dict[str, np.ndarray], PhaseState]:
        """`step` that also adds the gradient by given groups' values to arrays like them."""
        if out is None:
            out = self.energy.zeros(params)
        else:
            for x in out.values():
                x.fill(0)
        n = len(next(iter(batch.values())))
        unknown = self._unknown(batch)
        means: dict[str, np.ndarray] = {}
        chains: list[Chains | None] = []
        for number, (one, phases) in enumerate(zip(self.likelihoods, self._phases, strict=True)):
            # Every likelihood has random numbers of its own.
            seed = (state.seed + number * 0x9E3779B97F4A7C15) % 2**64
            # A training may go on with other likelihoods than it began with.
            before = state.chains[number] if number < len(state.chains) else None
            part, w, share = batch, weights, 1.0
            rows = self._rows(one, unknown, n)
            if rows is not None:
                part = {g: x[rows] for g, x in batch.items()}
                w = None if weights is None else weights[rows]
                share = (
                    len(rows) / n if weights is None else float(weights[rows].sum() / weights.sum())
                )
            if share == 0:
                chains.append(before)
                continue
            theirs = inputs
            if inputs is not None and rows is not None:
                theirs = {g: np.zeros_like(x[rows]) for g, x in inputs.items()}
            part, w = self._completed(phases, params, part, w, seed, state.update)
            found, after = phases.add_gradient(
                params, part, out, one.weight * share, w, seed, state.update, before, theirs
            )
            if inputs is not None and theirs is not None and rows is not None:
                for g, x in inputs.items():
                    x[rows] += theirs[g]
            for g, mean in found.items():
                means.setdefault(g, mean)
            chains.append(after)
        return out, means, PhaseState(state.seed, state.update + 1, chains)

    def _completed(
        self,
        phases: _Phases,
        params: Params,
        batch: Mapping[str, np.ndarray],
        weights: np.ndarray | None,
        seed: int,
        update: int,
    ) -> tuple[Mapping[str, np.ndarray], np.ndarray | None]:
        """Rows of a likelihood with every unit known, and their weights: here they are."""
        return batch, weights

    def _unknown(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows of the groups that are not known in every row."""
        # A group is known or unknown as a whole, so its first entry tells.
        unknown = {g: np.isnan(x.reshape(len(x), -1)[:, :1]).any(axis=1) for g, x in batch.items()}
        return {g: rows for g, rows in unknown.items() if rows.any()}

    @staticmethod
    def _rows(
        one: LogLikelihood, unknown: Mapping[str, np.ndarray], n_rows: int
    ) -> np.ndarray | None:
        """Numbers of the rows that a likelihood applies to; None for all of them."""
        if not unknown and not one.without:
            return None
        known = np.ones(n_rows, bool)
        for g in (*one.of, *one.given):
            if g in unknown:
                known &= ~unknown[g]
        for g in one.without:
            known &= unknown.get(g, False)
        return None if known.all() else np.flatnonzero(known)

    def gradient(
        self,
        params: Params,
        data: Mapping[str, Any],
        weights: np.ndarray | None = None,
        random_state: Any = None,
    ) -> Params:
        """Gradient of the objective: the direction of ascent, averaged over rows.

        Parameters
        ----------
        data : dict of arrays
            Values of the observed groups, (n_rows, *shape).
        weights : ndarray of shape (n_rows,), optional
        random_state : None, int, RandomState or Generator
            For the sampled negative phases; "pcd" starts chains at the data.
        """
        batch = self._checked(params, data)
        if weights is not None:
            weights = check_weights(weights, check_rows(batch))
        with threads.computing():
            out, _, _ = self.step(params, batch, self.init(random_state), weights)
        return out

    def input_gradient(
        self,
        params: Params,
        data: Mapping[str, Any],
        weights: np.ndarray | None = None,
        random_state: Any = None,
    ) -> tuple[Params, Params]:
        """Gradient by the parameters, and by the values of the groups that are given.

        ``d log p(of | given) / d given_n`` is the expected field of the given group with ``of``
        at the data, minus that with ``of`` free: a network that computes what is given can be
        trained through it (for biases: a group with a term ``v_i a_i`` of weights one).

        Parameters
        ----------
        data : dict of arrays
            Values of the observed groups, (n_rows, *shape).
        weights : ndarray of shape (n_rows,), optional
        random_state : None, int, RandomState or Generator
            For the sampled negative phases.

        Returns
        -------
        gradient : dict of arrays like the parameters
        inputs : dict of arrays
            Given group -> array like its values: the gradient of the whole objective, an average
            over rows, by each row's value.
        """
        batch = self._checked(params, data)
        if weights is not None:
            weights = check_weights(weights, check_rows(batch))
        given = {g for one in self.likelihoods for g in one.given}
        inputs = {g: np.zeros(x.shape, params[g].dtype) for g, x in batch.items() if g in given}
        with threads.computing():
            out, _, _ = self._step(params, batch, self.init(random_state), weights, inputs=inputs)
        return out, inputs

    def value(
        self, params: Params, data: Mapping[str, Any], weights: np.ndarray | None = None
    ) -> float:
        """The objective itself, exactly: ``log Z(hidden; of, given) - log Z(hidden, of; given)``.

        Raises
        ------
        NotEnumerableError
            For models that are too large.
        """
        batch = self._checked(params, data)
        if weights is not None:
            weights = check_weights(weights, check_rows(batch))
        n = len(next(iter(batch.values())))
        w = np.full(n, 1 / n) if weights is None else weights
        unknown = self._unknown(batch)
        total = 0.0
        for one, phases in zip(self.likelihoods, self._phases, strict=True):
            rows = self._rows(one, unknown, n)
            if rows is None:
                rows = np.arange(n)
            if len(rows) == 0:
                continue
            energy = phases.energy
            own = {key: params[key] for key in energy.parameter_shapes()}
            held = {g: batch[g][rows] for g in (*one.of, *phases.given)}
            joint = energy.log_partition(own, held)
            rest = energy.log_partition(own, {g: held[g] for g in phases.given})
            total += one.weight * float(w[rows] @ (joint - rest))
        return total

    def _checked(self, params: Params, data: Mapping[str, Any]) -> dict[str, np.ndarray]:
        # A group may be unknown in some rows if there is a likelihood that can do without it.
        optional = {
            g
            for g in self.observed
            if not all(g in (*one.of, *one.given) for one in self.likelihoods)
        }
        batch = self.energy._checked(params, data, [g for g in self.observed if g not in optional])
        for g in self.observed:
            if g not in optional:
                continue
            if g not in data:
                raise missing_state(g, data)
            unit = self.energy.groups[g]
            batch[g] = check_state(g, unit, data[g], allow_nan=True)
            nan = np.isnan(batch[g].reshape(len(batch[g]), -1))
            if (nan.any(axis=1) != nan.all(axis=1)).any():
                raise ValueError(
                    f"state {g!r} is known in part in row {np.argmax(nan.any(1) != nan.all(1))}; "
                    f"a likelihood takes a group whole: give all of its units, or NaN for all."
                )
        n = check_rows(batch, at_least=1)
        unknown = self._unknown(batch)
        rows = [self._rows(one, unknown, n) for one in self.likelihoods]
        if rows and all(r is not None and len(r) == 0 for r in rows):
            raise ValueError(
                f"no row has what a likelihood needs: all {n} lack a group that it names. Give "
                f"rows whose groups are known, or a likelihood of the others."
            )
        for g, x in batch.items():
            self.energy.groups[g].check_support(f"state {g!r}", x)
        return batch


def _check_groups(energy: Energy, one: LogLikelihood) -> None:
    for g in (*one.of, *one.given, *one.without):
        if g not in energy.groups:
            raise unknown_group("the objective", g, energy.groups)
    twice = set(one.of) & set(one.given)
    if twice or not one.of:
        raise ValueError(
            f"an objective needs groups in 'of' that are not in 'given'; got of={one.of}, "
            f"given={one.given}."
        )
    both = [g for g in one.without if g in (*one.of, *one.given)]
    if both:
        raise ValueError(
            f"an objective cannot need group {both[0]!r} and take rows without it; got "
            f"of={one.of}, given={one.given}, without={one.without}."
        )


class _Phases:
    """Positive and negative phase of one likelihood, over the part of the energy that it needs."""

    def __init__(self, energy: Energy, one: LogLikelihood, n_threads: int) -> None:
        energy = energy.part(one.of, one.given)
        self.energy = energy
        self.one = one
        self.given = tuple(g for g in one.given if g in energy.groups)
        self.n_threads = n_threads
        held = (*one.of, *self.given)
        self.hidden = tuple(g for g in energy.groups if g not in held)
        self.closed = energy.is_independent(self.hidden) and not any(
            energy.lateral_terms(g) for g in self.hidden
        )
        self.in_one = one.negative == "exact" and self._lists_of()
        #: Terms of one free unit, where the hidden groups have means: linear in it.
        self.linear = tuple(
            t
            for t in energy.terms
            if self.closed and sum(t.multiplicity[g] for g in t.groups if g not in self.given) == 1
        )
        if not self.given:
            self.linear = ()
        # Hidden groups are drawn last in a sweep, so that their means can stand for them.
        self.sampler = Gibbs(energy, clamp=self.given, n_threads=n_threads)
        self.sampler.blocks = sorted(
            energy.blocks(self.given), key=lambda b: any(g in self.hidden for g in b)
        )
        self.tempering: Tempering | None = None
        if one.negative == "tempered":
            self.tempering = Tempering(energy, n_threads=n_threads, n_levels=one.n_levels)
        elif one.negative == "trajectory":
            self.tempering = TrajectoryTempering(
                energy, (), n_threads=n_threads, n_levels=one.n_levels
            )
        if self.tempering is not None:
            self.tempering.blocks = self.sampler.blocks
        self.inference = None if self.closed else Gibbs(energy, clamp=held, n_threads=n_threads)

    def _lists_of(self) -> bool:
        """Whether enumeration lists just the groups of 'of', so that both phases are one pass."""
        if not (self.closed and self.given):
            return False
        free = (*self.one.of, *self.hidden)
        try:
            return set(split(self.energy, free).listed) == set(self.one.of)
        except ValueError:  # too many states: the negative phase says so
            return False

    def add_gradient(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        out: Params,
        scale: float,
        weights: np.ndarray | None,
        seed: int,
        update: int,
        chains: Chains | None,
        inputs: Params | None = None,
    ) -> tuple[dict[str, np.ndarray], Chains | None]:
        """Add ``scale`` times the gradient of the rows' weighted average to ``out``.

        The gradient by the given groups' values is added to the arrays of ``inputs``. Returns the
        mean activities in the positive phase, and the persistent chains.
        """
        one = self.one
        params = {key: params[key] for key in self.energy.parameter_shapes()}
        if self.in_one and inputs is None:
            means = self._add_score(params, batch, out, scale, weights)
            if means is not None:
                return means, None
        inputs = {g: x for g, x in (inputs or {}).items() if g in self.given}
        if self.linear and one.negative == "cd":
            means, _ = self.contrast(params, batch, out, scale, weights, seed, update, inputs)
            return means, None
        before = {g: out[g].copy() for g in self.energy.groups}
        keeps = one.negative in _PERSISTENT
        draw = one.negative == "cd" or (keeps and chains is None)
        values = self.positive(params, batch, out, scale, weights, seed, update, draw, inputs)
        means = {g: (out[g] - x) / scale for g, x in before.items()} if scale else {}
        chains = self.negative(params, values, out, scale, weights, seed, update, chains, inputs)
        return means, chains if keeps else None

    def _add_score(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        out: Params,
        scale: float,
        weights: np.ndarray | None,
    ) -> dict[str, np.ndarray] | None:
        """Both phases in one; None where the data are no states (probabilities of labels)."""
        enumeration = Enumeration(
            self.energy,
            params,
            {g: batch[g] for g in self.given},
            listed=self.one.of,
            n_threads=self.n_threads,
        )
        listed = enumeration.split.listed
        numbers = state_numbers(self.energy, listed, batch)
        if numbers is None or not enumeration.is_one_block:
            return None
        n = len(numbers)
        w = np.full(n, 1 / n) if weights is None else weights / weights.sum()
        means = enumeration.add_score(numbers, scale * w, out)
        means = {g: x / scale for g, x in means.items()} if scale else {}
        for g in listed:
            means[g] = np.tensordot(w.astype(batch[g].dtype), batch[g], axes=1)
        return means

    def _infer(
        self,
        params: Params,
        values: dict[str, np.ndarray],
        seed: int,
        update: int,
        draw: bool,
        fixed: Mapping[str, Fixed] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
        """With the hidden groups' samples (if ``draw``), with their means, and their fields."""
        start, fields = dict(values), {}
        for g in self.hidden:
            at = rng.Address.of(seed, "positive", self.sampler.number[g], update)
            sample: np.ndarray | None
            if draw and fixed is not None and g in fixed:
                mean, sample, f = self.sampler.draw(
                    params, values, g, at, want_mean=True, fixed=fixed
                )
            else:
                f, mean, sample = layer(
                    self.energy,
                    params,
                    values,
                    g,
                    at,
                    mean=True,
                    sample=draw,
                    n_threads=self.n_threads,
                )
            values[g] = mean  # type: ignore[assignment]
            if sample is not None:
                start[g] = sample
            if f is not None:
                fields[g] = f
        return start, values, fields

    def contrast(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        out: Params,
        scale: float,
        weights: np.ndarray | None,
        seed: int,
        update: int,
        inputs: Mapping[str, np.ndarray] | None = None,
        begin: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None,
    ) -> tuple[dict[str, np.ndarray], ChainState]:
        """Both phases of contrastive divergence where groups are given and the hidden ones closed.

        Chains and data have the same rows, so a term of one free group alone sees the difference
        of its two values, once. ``begin`` may exchange the values that chains start from.

        Returns the mean activities in the positive phase, and the chains' ends.
        """
        energy, one = self.energy, self.one
        values = {g: batch[g] for g in (*one.of, *self.given)}
        # What the given groups contribute is the same in both phases and all sweeps.
        fixed = self.sampler.fixed(params, values, self.given)
        start, values, fields = self._infer(params, values, seed, update, True, fixed)
        if begin is not None:
            start = begin(start)
        n = len(next(iter(start.values())))
        at = rng.Address.of(seed, "chains", step=update * one.n_gibbs)
        chains = self.sampler.start(params, n, at, start, copy=False)
        chains = self.sampler.step(params, chains, one.n_gibbs, means=True, fixed=fixed)
        after = {**chains.values, **chains.means}
        w = None if weights is None else weights / weights.sum()
        each = scale if w is not None else scale / n
        change = {g: x if g in self.given else x - after[g] for g, x in values.items()}
        # Fields that given groups receive, by the sign that they are added with.
        fields_in: dict[tuple[str, float], np.ndarray] = {}
        for t in energy.terms:
            if set(t.groups) <= set(self.given):
                continue
            sides = [(change, each)]
            if t not in self.linear:
                sides = [(values, each), (after, -each)]
            for state, sign in sides:
                t.add_statistics(params, state, out, sign, w, self.n_threads)
                for g, into in (inputs or {}).items():
                    if g not in t.groups:
                        continue
                    if (g, sign) not in fields_in:
                        fields_in[g, sign] = np.zeros(into.shape, into.dtype)
                    t.add_field(params, state, g, fields_in[g, sign], self.n_threads)
        for (g, sign), received in fields_in.items():
            factor = sign if w is None else _by_rows(sign * w, received)
            received *= np.asarray(factor, received.dtype)
            inputs[g] += received  # type: ignore[index]
        means = {}
        for g, unit in energy.groups.items():
            means[g] = _average(values[g], w)
            if g in self.given:
                continue
            own = energy.own(params, g)
            out[g] += np.asarray(scale, out[g].dtype) * _average(change[g], w)
            for p in unit.parameters[1:]:
                key, both = energy.own_key(g, p), []
                for state, of in ((values, fields), (after, chains.fields)):
                    if g in of:
                        both.append(unit.mean_statistics(own, of[g])[p])
                    else:
                        both.append(unit.statistics(own, state[g])[p])
                out[key] += np.asarray(scale, out[key].dtype) * _average(both[0] - both[1], w)
        return means, chains

    def positive(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        out: Params,
        scale: float,
        weights: np.ndarray | None,
        seed: int,
        update: int,
        draw: bool,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Add the positive statistics to ``out``; return values for chains to start from.

        With ``draw`` these include samples of the hidden groups.
        """
        one = self.one
        values = {g: batch[g] for g in (*one.of, *self.given)}
        n = len(next(iter(values.values())))
        w = None if weights is None else weights / weights.sum()
        each = scale if w is not None else scale / n
        if self.closed:
            start, values, fields = self._infer(params, values, seed, update, draw)
            self.energy.add_statistics(
                params,
                values,
                out,
                scale=each,
                weights=w,
                fields=fields,
                n_threads=self.n_threads,
            )
            self._add_inputs(params, values, inputs, each, w)
            return start
        if one.negative == "exact":
            self._add_moments(params, values, out, scale, weights, inputs)
            return values
        assert self.inference is not None
        at = rng.Address.of(seed, "positive", step=update * one.n_positive)
        state = self.inference.start(params, n, at, values)
        state = self.inference.step(params, state, one.n_positive, means=True)
        self._add_chains(params, state, out, each, w, inputs)
        return dict(state.values)

    def negative(
        self,
        params: Params,
        start: Mapping[str, np.ndarray],
        out: Params,
        scale: float,
        weights: np.ndarray | None,
        seed: int,
        update: int,
        chains: Chains | None,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> Chains | None:
        """Subtract the negative statistics from ``out``; return the chains."""
        one = self.one
        if one.negative == "exact":
            given = {g: start[g] for g in self.given}
            self._add_moments(params, given, out, -scale, weights if given else None, inputs)
            return None
        n = len(next(iter(start.values())))
        if one.negative == "cd":
            at = rng.Address.of(seed, "chains", step=update * one.n_gibbs)
            state = self.sampler.start(params, n, at, start)
            state = self.sampler.step(params, state, one.n_gibbs, means=True)
            w = None if weights is None else weights / weights.sum()
            self._add_chains(params, state, out, -scale / (n if w is None else 1), w, inputs)
            return state
        sampler = self.tempering or self.sampler
        # A training may go on with another negative phase.
        if self.tempering is None and isinstance(chains, TemperedState):
            chains = chains.levels[-1]
        elif self.tempering is not None and not self.tempering.goes_on(chains):
            chains = None
        if chains is None:
            # Persistent chains begin at data: the first weights are small, so they soon forget.
            # Rows without a weight are no data.
            rows = np.arange(n) if weights is None else np.flatnonzero(weights)
            rows = np.resize(rows, one.n_chains or n)
            first = {g: x[rows] for g, x in start.items()}
            chains = sampler.start(params, len(rows), rng.Address.of(seed, "chains"), first)
            if isinstance(chains, TemperedState) and one.negative == "tempered":
                # Independent units with these biases are what the training starts from.
                reference = {g: {"bias": params[g].copy()} for g in self.energy.groups}
                chains = replace(chains, reference=reference)
        kept = sampler.step(params, chains, one.n_gibbs, means=True)  # type: ignore[arg-type]
        self._add_chains(params, kept, out, -scale / kept.n_chains, None)
        if self.tempering is not None and isinstance(kept, TemperedState):
            n = one.n_gibbs
            if kept.step // _PLACE_EVERY > (kept.step - n) // _PLACE_EVERY:
                kept = self.tempering.place(kept)
                is_due = kept.step >= _PLACE_EVERY * _GROWTH ** len(kept.models)
                if is_due and isinstance(self.tempering, TrajectoryTempering):
                    kept = self.tempering.keep(params, kept)
        return kept

    def _add_moments(
        self,
        params: Params,
        given: Mapping[str, np.ndarray],
        out: Params,
        scale: float,
        weights: np.ndarray | None,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Add exact expected statistics given some groups."""
        enumeration = Enumeration(
            self.energy,
            params,
            given,
            what="moments",
            remedy=_EXACT_REMEDY,
            n_threads=self.n_threads,
        )
        for key, x in enumeration.moments(weights).items():
            out[key] += np.asarray(scale, x.dtype) * x
        for g, into in (inputs or {}).items():
            w = np.full(len(into), 1 / len(into)) if weights is None else weights / weights.sum()
            field = enumeration.expected_field(g)
            into += _by_rows(scale * w, field) * field

    def _add_chains(
        self,
        params: Params,
        state: Chains,
        out: Params,
        scale: float,
        weights: np.ndarray | None,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        values = {**state.values, **state.means}
        self.energy.add_statistics(
            params,
            values,
            out,
            scale=scale,
            weights=weights,
            fields=state.fields,
            n_threads=self.n_threads,
        )
        self._add_inputs(params, values, inputs, scale, weights)

    def _add_inputs(
        self,
        params: Params,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray] | None,
        scale: float,
        weights: np.ndarray | None,
    ) -> None:
        """Add ``scale * weights_n`` times the field that each row's given values receive."""
        for g, into in (inputs or {}).items():
            field = self.energy.field(params, values, g, n_threads=self.n_threads, check=False)
            each = scale if weights is None else _by_rows(scale * weights, field)
            into += np.asarray(each, field.dtype) * field


def _average(x: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Average over rows, with weights that sum to one."""
    if weights is not None:
        return np.tensordot(weights.astype(x.dtype), x, axes=1)
    return products.sum_rows(x) / x.dtype.type(len(x))


def _by_rows(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Weights of rows, in a shape that multiplies x (n_rows, *shape), and in its precision."""
    return weights.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
