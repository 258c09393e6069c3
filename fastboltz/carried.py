"""log Z carried from model to model along a training: trajectory annealing.

Weighted chains follow a model as it changes. From the parameters ``a`` to the next ``b`` a chain at
x multiplies its weight by ``f_b(x) / f_a(x)``, with ``f = sum exp(-E)`` over the groups that are
summed out, and makes a sweep that leaves ``p_b`` as it is: the mean of the weights estimates
``Z_b / Z_a`` without bias, however badly the chains mix. The models of a training lie closer
together, and mix better, than those that annealing at rising inverse temperatures goes through
(Béreux, Decelle, Furtlehner, Rosset & Seoane 2025), and the work of one model serves the next.

The chains must not be those of the training's negative phase. Its gradients depend on them, and the
weights would no longer be independent of the path that they are weights for.

Where weights become uneven, chains are drawn anew in proportion to them, as in sequential Monte
Carlo (Del Moral, Doucet & Jasra 2006), and are then no longer independent. They are drawn within
groups of chains that never see each other: each group has an estimate of Z of its own without bias,
and the scatter of these is the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
from scipy.special import logsumexp, stdtrit

from fastboltz_ext import packed

from . import rng, threads
from .energy import Energy
from .gibbs import ChainState, Gibbs, PackedValues
from .likelihood import LogPartition, as_column, log_mean_exp
from .path import Path, Trajectory
from .terms import Params
from .units import Own
from .validation import check_count

#: Groups of chains that never see each other.
GROUPS = 16
#: Chains of a group are drawn anew when fewer than this share of them carries its weight.
_RESAMPLE_BELOW = 0.5
#: Stream of what chains are drawn anew with, behind those of the groups.
_DRAWN_ANEW = 255
#: A step is at least the planned one divided by this, whatever the scatter of the weights.
_SHORTEST = 2


class CarriedLogPartition:
    """log Z that follows a model as its parameters change.

    It starts at independent units, whose log Z is known: those of the reference, with the
    precisions of the first model. `move` follows the model along a straight line of parameters,
    in steps that are even in the scatter of the log weights.

    Parameters
    ----------
    energy : Energy
    params : dict of arrays
        A model, of which the start takes the precisions of real units.
    reference : dict of dicts, optional
        Group -> own parameters of the start, as for `fastboltz.likelihood.ais`.
    n_chains : int
    n_groups : int
        Groups of chains that never see each other; a divisor of n_chains.
    random_state : None, int, RandomState or Generator
    n_threads : int or None
        Does not change the result.

    Attributes
    ----------
    params : dict of arrays
        Where it is now.
    n_sweeps : int
        Sweeps that every chain has made.

    References
    ----------
    Jarzynski, "Nonequilibrium equality for free energy differences", Physical Review Letters 78,
    1997.
    Neal, "Annealed importance sampling", Statistics and Computing 11, 2001.
    Del Moral, Doucet & Jasra, "Sequential Monte Carlo samplers", Journal of the Royal Statistical
    Society B 68, 2006.
    Béreux, Decelle, Furtlehner, Rosset & Seoane, "Fast training and sampling of restricted
    Boltzmann machines", ICLR 2025.

    Examples
    --------
    >>> import numpy as np
    >>> import fastboltz as fb
    >>> from fastboltz.carried import CarriedLogPartition
    >>> energy = fb.Energy({"v": fb.Bernoulli(4), "h": fb.Bernoulli(3)}, terms=["v_i h_j"])
    >>> params = energy.init(random_state=0)
    >>> carried = CarriedLogPartition(energy, params, random_state=0)
    >>> float(round(carried.log_partition().value / np.log(2), 6))  # seven units without couplings
    7.0
    >>> params["v_i h_j"][...] = 1
    >>> carried.move(params, n_steps=20)
    >>> found = carried.log_partition()
    >>> exact = energy.log_partition(params)
    >>> bool(found.low < exact < found.high)
    True
    """

    def __init__(
        self,
        energy: Energy,
        params: Params,
        *,
        reference: Mapping[str, Own] | None = None,
        n_chains: int = 256,
        n_groups: int = GROUPS,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> None:
        energy.check_params(params)
        n_groups = check_count("n_groups", n_groups, minimum=2)
        n_chains = check_count("n_chains", n_chains, minimum=n_groups)
        if n_chains % n_groups:
            raise ValueError(
                f"n_chains is {n_chains}; expected a multiple of n_groups={n_groups}, so that all "
                f"groups have as many chains."
            )
        self.energy = energy
        self.n_groups = n_groups
        self.n_threads = threads.resolve(n_threads)
        path = Path(energy, params, reference or {})
        self._summed = path.summed
        self._blocks = [path.summed, *path.rest_blocks] if path.summed else path.rest_blocks
        own = energy.own_keys()
        self.params: Params = {
            key: x.copy() if key in own else np.zeros_like(x) for key, x in path.at(0.0).items()
        }
        self.address = rng.Address.of(rng.seed_from(random_state), "carried")
        start = Gibbs(energy).start(self.params, n_chains, self.address, {})
        self._values: dict[str, np.ndarray] = dict(start.values)
        #: What each group of chains knew of log Z when it was last drawn anew.
        self._log_z = np.full(n_groups, path.log_z_reference())
        self._log_w = np.zeros(n_chains)
        self._log_f: np.ndarray | None = None
        self.n_sweeps = 0

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return len(self._log_w)

    # -- moving --------------------------------------------------------------------------------

    def scatter(self, params: Params) -> float:
        """Standard deviation over the chains of the log weights that a single step would give.

        Parameters
        ----------
        params : dict of arrays
            Where the step would end.
        """
        with threads.computing():
            chains = self._chains((self.params, params))
            return float(self._jump(chains, params).std())

    def move(self, params: Params, n_steps: int | None = None) -> None:
        """Follow the model to other parameters.

        Parameters
        ----------
        params : dict of arrays
            Copied.
        n_steps : int, optional
            Steps, with a sweep each, if the scatter of the log weights does not change along the
            way; where it grows or falls there are more or fewer. The default has a scatter of 0.25
            a step.
        """
        if n_steps is not None:
            check_count("n_steps", n_steps)
        target = {key: np.array(params[key]) for key in self.params}
        with threads.computing():
            chains = self._chains((self.params, target))
            scatter = float(self._jump(chains, target).std())
            if n_steps is None:
                n_steps = max(1, int(np.ceil(4 * scatter)))
            planned, width, position = scatter / n_steps, 1 / n_steps, 0.0
            line = Trajectory(self.energy, (self.params, target))
            while position < 1:
                position += width
                if position > 1 - width / 4:
                    position = 1.0
                there = target if position == 1 else line.at(1 + position)
                change = self._step(chains, there)
                by = planned / max(float(change.std()), 1e-12)
                width = max(width * min(max(by, 0.5), 2.0), 1 / (_SHORTEST * n_steps))
            self._values = chains.values()
        self.params = target

    def branch(self, params: Params, n_steps: int | None = None) -> LogPartition:
        """Log Z at other parameters, to which the chains are not to stay: `move`, and back.

        Parameters
        ----------
        params, n_steps
            As of `move`.
        """
        twin = copy(self)
        twin._log_z, twin._log_w = self._log_z.copy(), self._log_w.copy()
        # The random numbers of other rows: those of the way on are not used up.
        twin.address = self.address._replace(row=self.n_chains)
        twin.move(params, n_steps)
        return twin.log_partition()

    def _chains(self, models: tuple[Params, Params]) -> _Chains:
        """The chains, on bits where both ends of the way allow it: then all in between do."""
        kind = _PackedChains if _PackedChains.serves(self, models) else _Chains
        return kind(self)

    def _jump(self, chains: _Chains, params: Params) -> np.ndarray:
        if self._log_f is None:
            self._log_f = chains.log_f(self.params)
        change: np.ndarray = chains.log_f(params) - self._log_f
        return change

    def _step(self, chains: _Chains, params: Params) -> np.ndarray:
        """Weights, chains drawn anew, a sweep: the logs of the factors of the weights."""
        at = self.address
        after = chains.log_f(params, at)
        change: np.ndarray = after - self._log_f
        self._log_w = self._log_w + change
        self._draw_anew(chains)
        chains.sweep(params, at)
        self._log_f = chains.log_f(params)
        self.address = at.at(step=at.step + 1)
        self.n_sweeps += 1
        return change

    def _draw_anew(self, chains: _Chains) -> None:
        """Draw chains in proportion to their weights, in the groups where these are uneven.

        Systematically: a chain of weight w among n of mean weight 1 is there floor(w) times or once
        more.
        """
        log_w = self._log_w.reshape(self.n_groups, -1)
        n = log_w.shape[1]
        w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
        uneven = w.sum(axis=1) ** 2 < _RESAMPLE_BELOW * n * (w**2).sum(axis=1)
        if not uneven.any():
            return
        at = self.address.at(group=_DRAWN_ANEW)
        u = rng.uniform(at, (self.n_groups, 1))
        # A chain covers the interval of its share of the weight; n points lie evenly in [0, 1).
        ends = np.cumsum(w, axis=1)
        ends /= ends[:, -1:]
        points = (u + np.arange(n)) / n
        rows = np.arange(self.n_chains).reshape(self.n_groups, n)
        for k in np.flatnonzero(uneven):
            chosen = np.minimum(np.searchsorted(ends[k], points[k], side="right"), n - 1)
            rows[k] = rows[k, 0] + chosen
        self._log_z = np.where(uneven, self._estimates(), self._log_z)
        self._log_w = np.where(uneven[:, None], 0.0, log_w).reshape(-1)
        chains.take(rows.reshape(-1))

    # -- what is known -------------------------------------------------------------------------

    def _estimates(self) -> np.ndarray:
        """Log Z by each group of chains: (n_groups,)."""
        log_w = self._log_w.reshape(self.n_groups, -1)
        found: np.ndarray = self._log_z + logsumexp(log_w, axis=1) - np.log(log_w.shape[1])
        return found

    def log_partition(self) -> LogPartition:
        """Log Z of the present parameters, with its 95 % interval.

        The groups' estimates of Z are independent and without bias; the value is the log of their
        mean. Logs of estimates that many steps have gone into are close to normal with mean
        ``log Z - s^2 / 2`` (Bérard, Del Moral & Doucet 2014), for which Cox's interval of the mean
        of a log-normal variable is made, with Student's quantile (Olsson 2005). `log_mean_exp`
        takes no distribution for granted, but misses more than 5 % where s is above 1. The interval
        spans both.

        Returns
        -------
        LogPartition
            ``n_betas`` are the sweeps of a chain, ``effective_chains`` those of the groups that
            carry the estimate.

        References
        ----------
        Bérard, Del Moral & Doucet, "A lognormal central limit theorem for particle approximations
        of normalizing constants", Electronic Journal of Probability 19, 2014.
        Olsson, "Confidence intervals for the mean of a log-normal distribution", Journal of
        Statistics Education 13, 2005.
        """
        logs, n = self._estimates(), self.n_groups
        hall = log_mean_exp(logs)
        variance = float(logs.var(ddof=1))
        error = np.sqrt(variance / n + variance**2 / (2 * (n - 1)))
        centre = float(logs.mean()) + variance / 2
        half = float(stdtrit(n - 1, 0.975) * error)
        return LogPartition(
            value=hall.value,
            low=min(hall.low, centre - half),
            high=max(hall.high, centre + half),
            standard_error=hall.standard_error,
            effective_chains=hall.effective_chains * (self.n_chains // n),
            method="trajectory",
            n_chains=self.n_chains,
            n_betas=self.n_sweeps,
            n_groups=n,
        )

    # -- between sessions ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, as numbers and arrays."""
        return {
            "params": dict(self.params),
            "values": dict(self._values),
            "log_z": self._log_z,
            "log_w": self._log_w,
            "seed": self.address.seed,
            "step": self.address.step,
            "n_sweeps": self.n_sweeps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, at the same energy."""
        self.params = dict(state["params"])
        self._values = dict(state["values"])
        self._log_z, self._log_w = state["log_z"], state["log_w"]
        self._log_f = None
        self.address = rng.Address.of(state["seed"], "carried", step=state["step"])
        self.n_sweeps = state["n_sweeps"]


class _Chains:
    """Chains of any energy while they move."""

    def __init__(self, of: CarriedLogPartition) -> None:
        self.energy = of.energy
        self.summed = of._summed
        self.n_threads = of.n_threads
        self.sampler = Gibbs(of.energy, n_threads=of.n_threads)
        self.sampler.blocks = list(of._blocks)
        self.state: Mapping[str, np.ndarray] = {
            g: x.astype(of.params[g].dtype, copy=False) for g, x in of._values.items()
        }

    def log_f(self, params: Params, draw_at: rng.Address | None = None) -> np.ndarray:
        """Log of the unnormalised probability of each chain, (n_chains,).

        With an address it is known that `sweep` follows there.
        """
        return -self.energy.free_energy(
            params, self.state, self.summed, n_threads=self.n_threads, check=False
        )

    def sweep(self, params: Params, at: rng.Address) -> None:
        """New values of all groups."""
        self.state = self.sampler.step(params, ChainState(self.state, at)).values

    def take(self, rows: np.ndarray) -> None:
        """Keep some chains, each once or more often."""
        self.state = {g: x[rows] for g, x in self.state.items()}

    def values(self) -> dict[str, np.ndarray]:
        """Values of all groups."""
        return dict(self.state)


class _PackedChains(_Chains):
    """Chains of two binary groups on bits: the weights' field is that of the first draw."""

    def __init__(self, of: CarriedLogPartition) -> None:
        super().__init__(of)
        (self.out,) = of._summed
        (self.rest,) = (g for g in self.energy.groups if g != self.out)
        term = self.energy.fused_term(self.out)
        assert term is not None
        self.term = term
        self.out_first = term.slots[0].group == self.out
        self.number = {g: i for i, g in enumerate(self.energy.groups)}
        held = PackedValues.of(self.energy, self.state, np.float32)
        self.shapes = held.shapes
        self.bits = {g: x.copy() for g, x in held.bits.items()}

    @staticmethod
    def serves(of: CarriedLogPartition, models: tuple[Params, Params]) -> bool:
        """Whether the energy is one plain matrix between two binary groups, in range."""
        energy, summed = of.energy, of._summed
        if len(energy.groups) != 2 or len(energy.terms) != 1 or len(summed) != 1:
            return False
        (rest,) = (g for g in energy.groups if g not in summed)
        term = energy.fused_term(summed[0])
        if term is None or energy.fused_term(rest) is not term:
            return False
        return all(
            packed.fits(term.matrix(params, np.float32)) and packed.fits(as_column(params[rest]))
            for params in models
        )

    def log_f(self, params: Params, draw_at: rng.Address | None = None) -> np.ndarray:
        """As of `_Chains`; with an address it draws the group that is summed out."""
        n = self.bits[self.rest].n_rows
        total, linear = np.empty(n), np.empty((n, 1), dtype=np.float32)
        how: dict[str, Any] = {}
        if draw_at is not None:
            how = self._where(draw_at, self.out) | {"sample": self.bits[self.out]}
        packed.layer(
            self.bits[self.rest],
            self.term.matrix(params, np.float32),
            as_column(params[self.out])[:, 0],
            transpose=self.out_first,
            spin=self.bits[self.out].low < 0,
            cumulant=total,
            **({"n_threads": self.n_threads} | how),
        )
        packed.layer(
            self.bits[self.rest],
            as_column(params[self.rest]),
            None,
            field=linear,
            n_threads=self.n_threads,
        )
        return total + linear[:, 0]

    def sweep(self, params: Params, at: rng.Address) -> None:
        """Draw the other group: the one that is summed out was drawn with its field."""
        packed.layer(
            self.bits[self.out],
            self.term.matrix(params, np.float32),
            as_column(params[self.rest])[:, 0],
            transpose=not self.out_first,
            spin=self.bits[self.rest].low < 0,
            sample=self.bits[self.rest],
            **self._where(at, self.rest),
        )

    def take(self, rows: np.ndarray) -> None:
        """As of `_Chains`."""
        self.bits = {g: x.take(rows) for g, x in self.bits.items()}

    def values(self) -> dict[str, np.ndarray]:
        """As of `_Chains`."""
        return dict(PackedValues(self.bits, self.shapes, np.float32))

    def _where(self, at: rng.Address, group: str) -> dict[str, int]:
        return {
            "seed": at.seed,
            "stream": at.at(group=self.number[group]).stream,
            "step": at.step,
            "row0": at.row,
            "n_threads": self.n_threads,
        }


__all__ = ["GROUPS", "CarriedLogPartition"]
