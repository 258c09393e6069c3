"""Parallel tempering: replicas at several inverse temperatures that exchange their places.

Gibbs sweeps seldom cross from one mode of a distribution to another. At low inverse temperature the
couplings are weak and chains go everywhere; replicas at neighbouring temperatures exchange states
by the rule of Metropolis, so that every level keeps its distribution and states that have crossed
come down to the model (Swendsen & Wang 1986; Geyer 1991; for RBMs Desjardins et al. 2010; Cho,
Raiko & Ilin 2010).

Pairs of neighbours propose in alternation, even ones after odd ones: replicas then travel rather
than diffuse (Okabe et al. 2001; Syed, Bouchard-Côté, Deligiannidis & Doucet, "Non-reversible
parallel tempering", Journal of the Royal Statistical Society B 84, 2022). Levels are placed so that
all pairs are refused equally often, by the refusals that were counted, and there are as many as it
takes for about half of the exchanges to be accepted (section 5 there).

`Tempering` weakens the couplings. Where a model passes from order to disorder at once, as soon as
they are weak enough, no ladder of temperatures is dense enough at that point; a training went
around it, from one continuous transition to the next. `TrajectoryTempering` has as its levels the
models that a training has gone through (Béreux, Decelle, Furtlehner, Rosset & Seoane, "Fast
training and sampling of restricted Boltzmann machines", ICLR 2025).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import rng, threads
from .energy import Energy
from .gibbs import ChainState, Gibbs
from .path import Path, Trajectory
from .terms import Params
from .units import Own
from .units.base import sum_units
from .validation import check_count

#: Levels to begin with, and the most that are taken.
_START, MAX_LEVELS = 12, 64
#: Sweeps of the first round of adapting; each next round has twice as many.
_FIRST_ROUND = 16
#: Rows of the random numbers of one level; chains of all levels have rows of their own.
_LEVEL_ROWS = 1 << 24
#: Stream of the exchanges: no group has this number.
_SWAPS = 255


@dataclass(frozen=True)
class TemperedState:
    """Replicas between two steps.

    The chains of the model itself are the last level: `values`, `means` and `fields` are theirs, as
    of a `fastboltz.ChainState`.

    Attributes
    ----------
    levels : tuple of ChainState
        From the reference (inverse temperature 0) to the model (1).
    betas : ndarray of shape (n_levels,)
        Inverse temperatures, or positions along a trajectory.
    reference : dict of dicts
        Own parameters of the independent units at inverse temperature 0, by group.
    replica : ndarray of shape (n_levels, n_chains)
        Number of the replica that stands at each level.
    came_from : ndarray of shape (n_levels, n_chains)
        Of each replica: 1 since it was at the reference, 2 since it was at the model after that,
        0 before.
    round_trips : int
        Journeys of replicas from the reference to the model and back, over all chains.
    proposed, accepted : ndarray of shape (n_levels - 1,)
        Exchanges between neighbours, since the levels were last placed.
    models : tuple of dicts of arrays
        Of `TrajectoryTempering`: the models before the last one.
    """

    levels: tuple[ChainState, ...]
    betas: np.ndarray
    reference: dict[str, Own]
    replica: np.ndarray
    came_from: np.ndarray
    round_trips: int
    proposed: np.ndarray
    accepted: np.ndarray
    models: tuple[Params, ...] = ()

    @property
    def values(self) -> Mapping[str, np.ndarray]:
        """Values of the chains of the model."""
        return self.levels[-1].values

    @property
    def means(self) -> dict[str, np.ndarray]:
        """Conditional means of the block that the model's chains drew last."""
        return self.levels[-1].means

    @property
    def fields(self) -> dict[str, np.ndarray]:
        """Fields of the block that the model's chains drew last."""
        return self.levels[-1].fields

    @property
    def clamped(self) -> dict[str, np.ndarray | None]:
        """What is held."""
        return self.levels[-1].clamped

    @property
    def address(self) -> rng.Address:
        """Where the random numbers of the next step begin."""
        return self.levels[-1].address

    @property
    def step(self) -> int:
        """Number of sweeps made."""
        return self.levels[-1].step

    @property
    def n_chains(self) -> int:
        """Number of chains of the model, each with replicas of its own."""
        return self.levels[-1].n_chains

    @property
    def swap_rates(self) -> np.ndarray:
        """Share of exchanges accepted between neighbours, (n_levels - 1,)."""
        with np.errstate(invalid="ignore"):
            return self.accepted / self.proposed


class Tempering:
    """Parallel tempering of block Gibbs sampling.

    At inverse temperature beta couplings are multiplied by beta, and biases are
    ``(1 - beta) * reference + beta * model``: ``log f_beta(x)`` is linear in beta, and neighbours
    exchange with probability ``min(1, exp((beta - beta') (B(x') - B(x))))``, ``B = log f_1 - log
    f_0``. The reference is drawn anew in every step, so each journey from there brings an
    independent state.

    Parameters
    ----------
    energy : Energy
    clamp : sequence of str
        As of `Gibbs`.
    n_threads : int or None
        Results do not depend on it.
    n_levels : int, optional
        Inverse temperatures; the default lets `adapt` choose.
    reference : dict of dicts, optional
        Group -> own parameters at inverse temperature 0, such as ``{"v": {"bias": ...}}`` with the
        base rates of the data; zero biases where not named.

    Examples
    --------
    Two modes that Gibbs sampling does not cross between:

    >>> import numpy as np, fastboltz as fb
    >>> from fastboltz.tempering import Tempering
    >>> energy = fb.Energy({"v": fb.Spin(20), "h": fb.Spin(20)}, terms=["v_i h_j"])
    >>> params = {"v": np.zeros(20), "h": np.zeros(20), "v_i h_j": np.full((20, 20), 0.2)}
    >>> sampler = Tempering(energy)
    >>> state = sampler.init(params, n_chains=50, random_state=0, values={"v": np.ones((50, 20))})
    >>> state = sampler.adapt(params, state, 200)
    >>> state = sampler.step(params, state, 200)
    >>> up = (state.values["v"].mean(axis=1) > 0).mean()
    >>> bool(0.2 < up < 0.8)
    True
    """

    def __init__(
        self,
        energy: Energy,
        clamp: Iterable[str] = (),
        n_threads: int | None = None,
        *,
        n_levels: int | None = None,
        reference: Mapping[str, Own] | None = None,
    ) -> None:
        self.energy = energy
        #: The sampler of every level; its blocks are the schedule.
        self.gibbs = Gibbs(energy, clamp, n_threads)
        self.n_threads = self.gibbs.n_threads
        self.n_levels = n_levels
        if n_levels is not None:
            check_count("n_levels", n_levels, minimum=2)
            if n_levels > MAX_LEVELS:
                raise ValueError(f"n_levels is {n_levels}; expected {MAX_LEVELS} at the most.")
        self.reference = {g: dict(own) for g, own in (reference or {}).items()}

    @property
    def blocks(self) -> Sequence[tuple[str, ...]]:
        """Groups in the order of a sweep."""
        return self.gibbs.blocks

    @blocks.setter
    def blocks(self, blocks: list[tuple[str, ...]]) -> None:
        self.gibbs.blocks = blocks

    # -- init ----------------------------------------------------------------------------------

    def init(
        self,
        params: Params,
        n_chains: int | None = None,
        random_state: Any = None,
        values: Mapping[str, Any] | None = None,
    ) -> TemperedState:
        """Replicas at given values, other groups drawn independently; see `Gibbs.init`."""
        first = self.gibbs.init(params, n_chains, random_state, values)
        return self._spread(params, first)

    def start(
        self, params: Params, n: int, address: rng.Address, values: Mapping[str, np.ndarray]
    ) -> TemperedState:
        """Replicas at checked values and an address of their own (unchecked `init`)."""
        return self._spread(params, self.gibbs.start(params, n, address, values))

    def _spread(self, params: Params, first: ChainState) -> TemperedState:
        """All levels at the values of one."""
        Path(self.energy, params, self.reference)  # looks at the reference
        betas = np.linspace(0, 1, self.n_levels or _START)
        return self._placed(first, dict(first.values), betas, self.reference)

    def _placed(
        self,
        like: ChainState,
        values: Mapping[str, np.ndarray] | Sequence[Mapping[str, np.ndarray]],
        betas: np.ndarray,
        reference: dict[str, Own],
        models: tuple[Params, ...] = (),
    ) -> TemperedState:
        """Levels at given places, nothing counted yet."""
        n, k = like.n_chains, len(betas)
        at = rng.Address.of(like.address.seed, "tempering", 0, like.step)
        levels = []
        for level in range(k):
            x = values if isinstance(values, Mapping) else values[level]
            row = like.address.row % _LEVEL_ROWS + level * _LEVEL_ROWS
            levels.append(ChainState(x, at._replace(row=row), like.clamped))
        return TemperedState(
            tuple(levels),
            betas,
            reference,
            np.repeat(np.arange(k)[:, None], n, axis=1),
            np.zeros((k, n), np.int8),
            0,
            np.zeros(k - 1),
            np.zeros(k - 1),
            models,
        )

    def goes_on(self, chains: ChainState | TemperedState | None) -> bool:
        """Whether chains of a training are replicas of this kind."""
        return isinstance(chains, TemperedState) and bool(chains.reference)

    # -- step ----------------------------------------------------------------------------------

    def step(
        self,
        params: Params,
        state: TemperedState,
        n_steps: int = 1,
        *,
        means: bool = False,
    ) -> TemperedState:
        """Make steps: exchanges between neighbours, then a sweep of every level.

        Parameters
        ----------
        n_steps : int
        means : bool
            Keep the conditional means of the block that the model's chains draw last.

        Returns
        -------
        TemperedState
            A new state; the one given is not changed.
        """
        check_count("n_steps", n_steps, minimum=0)
        at = self._models(params, state)
        last = len(state.levels) - 1
        for s in range(n_steps):
            state = self._exchange(at, state)
            levels = [self._reference(at[0][0], state.levels[0])]
            for level in range(1, last + 1):
                want = means and s == n_steps - 1 and level == last
                model, scale = at[level]
                chains = state.levels[level]
                levels.append(self.gibbs.step(model, chains, 1, scale=scale, means=want))
            state = replace(state, levels=tuple(levels))
        return state

    def _models(self, params: Params, state: TemperedState) -> list[tuple[Params, float]]:
        """Of each level the parameters, and what multiplies their couplings."""
        path = Path(self.energy, params, state.reference)
        return [(path.at(beta), float(beta)) for beta in state.betas]

    def _reference(self, params: Params, chains: ChainState) -> ChainState:
        """Independent draws of all that is not held."""
        values = {}
        for g, unit in self.energy.groups.items():
            held = chains.clamped.get(g)
            if g in chains.clamped and held is None:
                values[g] = chains.values[g]
                continue
            zero = np.zeros((chains.n_chains, *unit.shape), params[g].dtype)
            where = chains.address.at(group=self.gibbs.number[g])
            _, x = unit.draw(self.energy.own(params, g), zero, where, n_threads=self.n_threads)
            assert x is not None
            values[g] = x if held is None else np.where(held, chains.values[g], x)
        address = chains.address.at(step=chains.address.step + 1)
        return ChainState(values, address, chains.clamped)

    def _exchange(self, at: list[tuple[Params, float]], state: TemperedState) -> TemperedState:
        """Propose to exchange every other pair of neighbours."""
        n_levels, n = state.replica.shape
        lower = np.arange(state.step % 2, n_levels - 1, 2)
        if not len(lower):
            return state
        values = [dict(chains.values) for chains in state.levels]
        with threads.computing():
            log_ratios = self._log_ratios(at, values, lower)
        top = state.levels[-1].address
        where = rng.Address.of(top.seed, "tempering", _SWAPS, top.step, top.row % _LEVEL_ROWS)
        u = rng.uniform(where, (n, n_levels))
        levels = list(state.levels)
        replica, accepted, proposed = (
            x.copy() for x in (state.replica, state.accepted, state.proposed)
        )
        for k in lower:
            swap = np.log(u[:, k]) < log_ratios[k]
            proposed[k] += n
            accepted[k] += swap.sum()
            if not swap.any():
                continue
            replica[k : k + 2, swap] = replica[k : k + 2, swap][::-1]
            for g, x in values[k].items():
                other = values[k + 1][g]
                mask = swap.reshape(-1, *(1,) * (x.ndim - 1))
                values[k][g] = np.where(mask, other, x)
                values[k + 1][g] = np.where(mask, x, other)
            for level in (k, k + 1):
                levels[level] = replace(levels[level], values=values[level], means={}, fields={})
        came_from, chain = state.came_from.copy(), np.arange(n)
        back = came_from[replica[0], chain] == 2
        came_from[replica[0], chain] = 1
        arrived = came_from[replica[-1], chain] == 1
        came_from[replica[-1, arrived], chain[arrived]] = 2
        return replace(
            state,
            levels=tuple(levels),
            replica=replica,
            came_from=came_from,
            round_trips=state.round_trips + int(back.sum()),
            proposed=proposed,
            accepted=accepted,
        )

    def _log_ratios(
        self,
        at: list[tuple[Params, float]],
        values: Sequence[Mapping[str, np.ndarray]],
        lower: np.ndarray,
    ) -> dict[int, np.ndarray]:
        """Of each pair of a level and the next, the log of ``f f'`` after an exchange by before."""
        (first, _), (params, _) = at[0], at[-1]
        slope = {g: params[g] - first[g] for g in self.energy.groups}
        gain = {k: self._gain(params, values[k], slope) for k in {*lower, *(lower + 1)}}
        return {k: (at[k + 1][1] - at[k][1]) * (gain[k] - gain[k + 1]) for k in lower}

    def _gain(self, params: Params, values: Mapping[str, np.ndarray], slope: Params) -> np.ndarray:
        """``log f_1 - log f_0`` of each row: (n_chains,)."""
        total: Any = 0.0
        for g, change in slope.items():
            total = total + sum_units(values[g] * change)
        for t in self.energy.terms:
            total = total + t.value(params, values, self.n_threads)
        return np.asarray(total)

    # -- the ladder ----------------------------------------------------------------------------

    def place(self, state: TemperedState, n_levels: int | None = None) -> TemperedState:
        """Move the levels to where all pairs are refused equally often, by the refusals counted.

        Each level takes over the chains that stand nearest to it; counts begin anew.

        Parameters
        ----------
        n_levels : int, optional
            The default is that of the sampler, else ``2 * barrier + 1`` with the sum of the
            refusals, so that about half of the exchanges are accepted, and 3 at least.
        """
        refused = np.where(state.proposed > 0, 1 - state.swap_rates, 1.0)
        # A pair that is never refused still has a distance, lest levels fall together.
        barrier = np.append(0, np.cumsum(np.maximum(refused, 0.01)))
        n_levels = n_levels or self.n_levels
        if n_levels is None:
            n_levels = int(np.clip(np.ceil(2 * barrier[-1]) + 1, 3, MAX_LEVELS))
        betas = np.interp(np.linspace(0, barrier[-1], n_levels), barrier, state.betas)
        betas[0], betas[-1] = state.betas[0], state.betas[-1]
        nearest = np.abs(betas[:, None] - state.betas).argmin(axis=1)
        nearest[-1] = len(state.levels) - 1
        values = [dict(state.levels[k].values) for k in nearest]
        return self._placed(state.levels[-1], values, betas, state.reference, state.models)

    def adapt(self, params: Params, state: TemperedState, n_steps: int) -> TemperedState:
        """Make steps in rounds, each twice as long, and place the levels after each.

        What follows are sweeps of a fixed ladder. Take as many for adapting as for sampling.

        Parameters
        ----------
        n_steps : int
            Steps in all.
        """
        done, length = 0, _FIRST_ROUND
        while done < n_steps:
            # A last round that would be cut short is joined to this one.
            if n_steps - done < 3 * length:
                length = n_steps - done
            state = self.step(params, state, length)
            done += length
            length *= 2
            state = self.place(state)
        return state

    def report(self, state: TemperedState) -> dict[str, Any]:
        """Inverse temperatures, swap rates and round trips, for a `SamplingInfo`."""
        return {
            "betas": state.betas,
            "swap_rates": state.swap_rates,
            "round_trips": state.round_trips,
        }


class TrajectoryTempering(Tempering):
    """Parallel tempering along the models that a training has gone through.

    The levels stand on the path that leads in straight lines from independent units, with the own
    parameters of the first model, over the models to the last one, whose samples are asked for.
    Between two of them parameters are interpolated, so levels are placed by the refusals as those
    of `Tempering` are, and a training need not keep its models at the right moments.

    The groups that a sweep draws first are summed out when an exchange is decided, where they can
    be: with ``F_k`` the free energy of level k, levels exchange with probability
    ``min(1, exp(F_k(x) + F_k'(x') - F_k(x') - F_k'(x)))``.

    Parameters
    ----------
    energy : Energy
    models : sequence of dicts of arrays
        Parameters in the order in which the training went through them, without the last model's,
        which `step` is given. `fastboltz.callbacks.Trajectory` keeps them.
    clamp, n_threads
        As of `Tempering`.
    n_levels : int, optional
        Places on the path; the default lets `adapt` choose.

    References
    ----------
    Béreux, Decelle, Furtlehner, Rosset & Seoane, "Fast training and sampling of restricted
    Boltzmann machines", ICLR 2025.

    Examples
    --------
    >>> import numpy as np, fastboltz as fb
    >>> from fastboltz.tempering import TrajectoryTempering
    >>> energy = fb.Energy({"v": fb.Spin(20), "h": fb.Spin(20)}, terms=["v_i h_j"])
    >>> def model(w):
    ...     return {"v": np.zeros(20), "h": np.zeros(20), "v_i h_j": np.full((20, 20), w)}
    >>> sampler = TrajectoryTempering(energy, [model(0.02), model(0.08)])
    >>> state = sampler.init(model(0.2), random_state=0, values={"v": np.ones((50, 20))})
    >>> state = sampler.adapt(model(0.2), state, 200)
    >>> state = sampler.step(model(0.2), state, 200)
    >>> up = (state.values["v"].mean(axis=1) > 0).mean()
    >>> bool(0.2 < up < 0.8)
    True
    """

    def __init__(
        self,
        energy: Energy,
        models: Sequence[Params],
        clamp: Iterable[str] = (),
        n_threads: int | None = None,
        *,
        n_levels: int | None = None,
    ) -> None:
        super().__init__(energy, clamp, n_threads, n_levels=n_levels)
        self.models = tuple(models)
        for k, model in enumerate(self.models):
            try:
                energy.check_params(model)
            except ValueError as error:
                raise ValueError(f"models[{k}] is no model of this energy: {error}") from error

    def goes_on(self, chains: ChainState | TemperedState | None) -> bool:
        """Whether chains of a training are replicas of this kind."""
        return isinstance(chains, TemperedState) and not chains.reference

    def _spread(self, params: Params, first: ChainState) -> TemperedState:
        n = self.n_levels or int(np.clip(len(self.models) + 2, _START, MAX_LEVELS))
        betas = np.linspace(0, len(self.models) + 1, n)
        return self._placed(first, dict(first.values), betas, {}, self.models)

    def _models(self, params: Params, state: TemperedState) -> list[tuple[Params, float]]:
        path = Trajectory(self.energy, (*state.models, params))
        return [(path.at(position), 1.0) for position in state.betas]

    def _log_ratios(
        self,
        at: list[tuple[Params, float]],
        values: Sequence[Mapping[str, np.ndarray]],
        lower: np.ndarray,
    ) -> dict[int, np.ndarray]:
        summed = self._summed()

        def log_f(model: int, of: int) -> np.ndarray:
            return -self.energy.free_energy(
                at[model][0], values[of], summed, n_threads=self.n_threads, check=False
            )

        return {
            k: log_f(k, k + 1) + log_f(k + 1, k) - log_f(k, k) - log_f(k + 1, k + 1) for k in lower
        }

    def _summed(self) -> tuple[str, ...]:
        """Groups of which a sweep begins with new values, whatever the old ones were."""
        first = tuple(self.blocks[0])
        lateral = any(self.energy.lateral_terms(g) for g in first)
        # Groups that are drawn jointly see old values of others in their block.
        others = {*self.gibbs.clamp, *self.gibbs.joint}
        if lateral or set(first) & others or not self.energy.is_independent(first):
            return ()
        return first

    def keep(self, params: Params, state: TemperedState) -> TemperedState:
        """Add a model to the path, which ends at it now: of a training that goes on.

        Parameters
        ----------
        params : dict of arrays
            Copied.
        """
        betas = state.betas.copy()
        betas[-1] += 1
        model = {key: x.copy() for key, x in params.items()}
        return replace(state, betas=betas, models=(*state.models, model))

    def report(self, state: TemperedState) -> dict[str, Any]:
        """Positions along the path, swap rates and round trips, for a `SamplingInfo`.

        Position 0 is that of independent units, the k-th model has k.
        """
        report = super().report(state)
        return {"positions": report.pop("betas"), **report}


__all__ = ["TemperedState", "Tempering", "TrajectoryTempering"]
