"""What training maximises: a weighted sum of ``log p(of | given)``, each with its negative phase.

The gradient of ``log p(of | given)`` is the expected statistics of the energy with ``of`` and
``given`` held at the data (positive phase), minus the expected statistics with only ``given`` held
(negative phase). Groups that stand in neither are hidden: summed out in closed form where they can
be, else sampled.

========  ===========================================================================
negative  expectation under the model
========  ===========================================================================
exact     by enumeration: the oracle, and the method of choice for small models
cd        k sweeps from the data (Hinton 2002): fast, biased
pcd       k sweeps of chains kept from update to update (Tieleman 2008; Younes 1989)
========  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import rng, threads
from .energy import Energy
from .enumeration import Enumeration
from .gibbs import ChainState, Gibbs, layer
from .terms import Params
from .validation import (
    check_count,
    check_number,
    check_rows,
    check_weights,
    one_of,
    unknown_group,
)

_EXACT_REMEDY = "Use negative='cd' or 'pcd' (an estimator's method)."


@dataclass(frozen=True)
class LogLikelihood:
    """``weight * log p(of | given)``, averaged over rows.

    Parameters
    ----------
    of, given : sequence of str
        Groups held at the data; the others are hidden.
    weight : float
    negative : {"exact", "cd", "pcd"}
    n_gibbs : int
        Sweeps of an update for "cd" and "pcd".
    n_chains : int, optional
        Persistent chains for "pcd"; the default is the number of rows of the first minibatch.
    n_positive : int
        Sweeps over the hidden groups in the positive phase, where they cannot be summed out.
    """

    of: tuple[str, ...] | str
    given: tuple[str, ...] | str = ()
    weight: float = 1.0
    negative: str = "pcd"
    n_gibbs: int = 1
    n_chains: int | None = None
    n_positive: int = 10

    def __post_init__(self) -> None:
        for name in ("of", "given"):
            groups = getattr(self, name)
            object.__setattr__(self, name, (groups,) if isinstance(groups, str) else tuple(groups))
        one_of("negative", self.negative, ("exact", "cd", "pcd"))
        check_number("weight", self.weight)
        check_count("n_gibbs", self.n_gibbs)
        check_count("n_positive", self.n_positive)
        if self.n_chains is not None:
            check_count("n_chains", self.n_chains)
        if self.negative == "pcd" and self.given:
            raise ValueError(
                f"negative='pcd' keeps chains that belong to no row, so nothing can be given; "
                f"got given={self.given}. Use negative='cd' or 'exact'."
            )


@dataclass
class PhaseState:
    """What the phases carry from update to update.

    Attributes
    ----------
    seed : int
    update : int
        Number of gradients computed.
    chains : list of ChainState or None
        Persistent chains, one entry a `LogLikelihood`.
    """

    seed: int
    update: int = 0
    chains: list[ChainState | None] = field(default_factory=list)


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
        self._phases = [_Phases(energy, one, self.n_threads) for one in self.likelihoods]
        #: Every group that data must give.
        self.observed = tuple(
            dict.fromkeys(g for one in self.likelihoods for g in (*one.of, *one.given))
        )

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
            Mean activity of each group in the positive phase, for centring.
        state : PhaseState
        """
        if out is None:
            out = self.energy.zeros(params)
        else:
            for x in out.values():
                x.fill(0)
        means: dict[str, np.ndarray] = {}
        chains: list[ChainState | None] = []
        for number, (one, phases) in enumerate(zip(self.likelihoods, self._phases, strict=True)):
            # Every likelihood has random numbers of its own.
            seed = (state.seed + number * 0x9E3779B97F4A7C15) % 2**64
            base = {g: out[g].copy() for g in self.energy.groups} if number else {}
            one_chains = state.chains[number]
            draw = one.negative == "cd" or (one.negative == "pcd" and one_chains is None)
            values = phases.positive(params, batch, out, weights, seed, state.update, draw)
            for g in self.energy.groups:
                if g not in means and one.weight != 0:
                    means[g] = (out[g] - base[g] if base else out[g].copy()) / one.weight
            chains.append(
                phases.negative(params, values, out, weights, seed, state.update, one_chains)
            )
        return out, means, PhaseState(state.seed, state.update + 1, chains)

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
        with threads.single_threaded_blas():
            out, _, _ = self.step(params, batch, self.init(random_state), weights)
        return out

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
        total = 0.0
        for one in self.likelihoods:
            held = {g: batch[g] for g in (*one.of, *one.given)}
            given = {g: batch[g] for g in one.given}
            joint = self.energy.log_partition(params, held)
            rest = self.energy.log_partition(params, given)
            total += one.weight * float(np.average(joint - rest, weights=weights))
        return total

    def _checked(self, params: Params, data: Mapping[str, Any]) -> dict[str, np.ndarray]:
        batch = self.energy._checked(params, data, self.observed)
        check_rows(batch, at_least=1)
        for g, x in batch.items():
            self.energy.groups[g].check_support(f"state {g!r}", x)
        return batch


class _Phases:
    """Positive and negative phase of one likelihood."""

    def __init__(self, energy: Energy, one: LogLikelihood, n_threads: int) -> None:
        for g in (*one.of, *one.given):
            if g not in energy.groups:
                raise unknown_group("the objective", g, energy.groups)
        twice = set(one.of) & set(one.given)
        if twice or not one.of:
            raise ValueError(
                f"an objective needs groups in 'of' that are not in 'given'; got of={one.of}, "
                f"given={one.given}."
            )
        self.energy = energy
        self.one = one
        self.n_threads = n_threads
        held = (*one.of, *one.given)
        self.hidden = tuple(g for g in energy.groups if g not in held)
        self.closed = energy.is_independent(self.hidden) and not any(
            energy.lateral_terms(g) for g in self.hidden
        )
        # Hidden groups are drawn last in a sweep, so that their means can stand for them.
        self.sampler = Gibbs(energy, clamp=one.given, n_threads=n_threads)
        self.sampler.blocks = sorted(
            energy.blocks(one.given), key=lambda b: any(g in self.hidden for g in b)
        )
        self.inference = None if self.closed else Gibbs(energy, clamp=held, n_threads=n_threads)

    def positive(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        out: Params,
        weights: np.ndarray | None,
        seed: int,
        update: int,
        draw: bool,
    ) -> dict[str, np.ndarray]:
        """Add the positive statistics to ``out``; return values for chains to start from.

        With ``draw`` these include samples of the hidden groups.
        """
        one = self.one
        values = {g: batch[g] for g in (*one.of, *one.given)}
        n = len(next(iter(values.values())))
        w = None if weights is None else weights / weights.sum()
        scale = one.weight if w is not None else one.weight / n
        start = dict(values)
        if self.closed:
            fields = {}
            for g in self.hidden:
                at = rng.Address.of(seed, "positive", self.sampler.number[g], update)
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
            self.energy.add_statistics(
                params,
                values,
                out,
                scale=scale,
                weights=w,
                fields=fields,
                n_threads=self.n_threads,
            )
            return start
        if one.negative == "exact":
            moments = Enumeration(
                self.energy, params, values, what="moments", remedy=_EXACT_REMEDY
            ).moments(weights)
            for key, x in moments.items():
                out[key] += np.asarray(one.weight, x.dtype) * x
            return start
        assert self.inference is not None
        at = rng.Address.of(seed, "positive", step=update * one.n_positive)
        state = self.inference.start(params, n, at, values)
        state = self.inference.step(params, state, one.n_positive, means=True)
        self._add_chains(params, state, out, scale, w)
        return state.values

    def negative(
        self,
        params: Params,
        start: Mapping[str, np.ndarray],
        out: Params,
        weights: np.ndarray | None,
        seed: int,
        update: int,
        chains: ChainState | None,
    ) -> ChainState | None:
        """Subtract the negative statistics from ``out``; return the persistent chains."""
        one = self.one
        if one.negative == "exact":
            given = {g: start[g] for g in one.given}
            moments = Enumeration(
                self.energy, params, given, what="moments", remedy=_EXACT_REMEDY
            ).moments(weights if given else None)
            for key, x in moments.items():
                out[key] -= np.asarray(one.weight, x.dtype) * x
            return None
        n = len(next(iter(start.values())))
        if one.negative == "cd":
            at = rng.Address.of(seed, "chains", step=update * one.n_gibbs)
            state = self.sampler.start(params, n, at, start)
            state = self.sampler.step(params, state, one.n_gibbs, means=True)
            w = None if weights is None else weights / weights.sum()
            self._add_chains(params, state, out, -one.weight / (n if w is None else 1), w)
            return None
        if chains is None:
            # Persistent chains begin at data: the first weights are small, so they soon forget.
            # Rows without a weight are no data.
            rows = np.arange(n) if weights is None else np.flatnonzero(weights)
            rows = np.resize(rows, one.n_chains or n)
            first = {g: x[rows] for g, x in start.items()}
            chains = self.sampler.start(params, len(rows), rng.Address.of(seed, "chains"), first)
        chains = self.sampler.step(params, chains, one.n_gibbs, means=True)
        self._add_chains(params, chains, out, -one.weight / chains.n_chains, None)
        return chains

    def _add_chains(
        self,
        params: Params,
        state: ChainState,
        out: Params,
        scale: float,
        weights: np.ndarray | None,
    ) -> None:
        self.energy.add_statistics(
            params,
            {**state.values, **state.means},
            out,
            scale=scale,
            weights=weights,
            fields=state.fields,
            n_threads=self.n_threads,
        )
