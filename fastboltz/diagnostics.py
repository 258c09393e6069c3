"""How far chains can be trusted: R-hat, effective sample sizes, autocorrelation times, a verdict.

Of a statistic of the chains, recorded as an array (n_chains, n_draws), the functions compute what
Vehtari, Gelman, Simpson, Carpenter & Bürkner ("Rank-normalization, folding, and localization: an
improved R-hat", Bayesian Analysis 16, 2021) propose. In an array (n_rows, n_chains, n_draws) each
row has chains of a distribution of its own: ranks are those in the row, and variances within and
between chains are averaged over the rows. `run` makes sweeps, records some statistics,
and returns what they say as a `SamplingInfo`, whose `verdict` is in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from . import rng
from .energy import Energy
from .gibbs import ChainState, Gibbs
from .path import Path
from .terms import DenseTerm, Params
from .units.base import sum_units

#: Chains that are recorded at the most, and draws of each.
MAX_CHAINS, MAX_DRAWS = 256, 1000
#: Up to this R-hat chains are said to have mixed; up to the other to have forgotten their start.
MIXED, LIKELY = 1.05, 1.2
#: Chains from elsewhere that are compared with those that are asked for; of each row, where known
#: values differ from row to row, and such rows at the most.
_PROBES = 32
_PROBES_OF_ROW, _ROWS = 3, 64
#: Temperatures that they go through at the most.
_ANNEALING = 100
#: Leading directions of each matrix of couplings whose projections are recorded.
_DIRECTIONS = 2

#: From values of the groups, (n_chains, *shape) each, to a number for each chain.
Statistic = Callable[[Mapping[str, np.ndarray]], np.ndarray]


# -- of one statistic ------------------------------------------------------------------------------


def rhat(x: Any) -> float:
    """Rank-normalised split R-hat: one where chains cannot be told apart.

    The larger of that of the ranks, which sees different locations, and that of the ranks of the
    distances from the median, which sees different scales.

    Parameters
    ----------
    x : array-like of shape (n_chains, n_draws) or (n_rows, n_chains, n_draws)

    Returns
    -------
    float
        NaN where nothing moves.
    """
    x = _checked(x)
    folded = np.abs(x - np.median(x, axis=(1, 2), keepdims=True))
    found = [_rhat(_normal_ranks(_split(y))) for y in (x, folded)]
    return float(np.nanmax(found)) if np.isfinite(found).any() else np.nan


def ess_bulk(x: Any) -> float:
    """Effective number of draws for the centre of the distribution: that of the ranks.

    Parameters
    ----------
    x : array-like of shape (n_chains, n_draws) or (n_rows, n_chains, n_draws)
    """
    return _ess(_normal_ranks(_split(_checked(x))))


def ess_tail(x: Any) -> float:
    """Effective number of draws for the quantiles 5 % and 95 %, the smaller of the two.

    Parameters
    ----------
    x : array-like of shape (n_chains, n_draws) or (n_rows, n_chains, n_draws)
    """
    x = _checked(x)
    ends = [np.quantile(x, q, axis=(1, 2), keepdims=True) for q in (0.05, 0.95)]
    sizes = [_ess(_split(x <= end).astype(float)) for end in ends]
    return float(np.nanmin(sizes)) if np.isfinite(sizes).any() else np.nan


def ess_mean(x: Any) -> float:
    """Effective number of draws for the mean.

    Parameters
    ----------
    x : array-like of shape (n_chains, n_draws) or (n_rows, n_chains, n_draws)
    """
    return _ess(_split(_checked(x)))


def autocorrelation(x: Any) -> np.ndarray:
    """Autocorrelation at each lag, by the variance over all chains: (n_draws,).

    A chain that stays in a part of the distribution has, by this variance, draws that resemble each
    other at every lag, however fast it moves there.

    Parameters
    ----------
    x : array-like of shape (n_chains, n_draws) or (n_rows, n_chains, n_draws)
    """
    return _autocorrelation(_checked(x))


def autocorrelation_time(x: Any) -> float:
    """Draws of a chain that are worth one independent draw: ``1 + 2 sum_lag autocorrelation(lag)``.

    The sum ends where pairs of lags cease to be positive, and pairs are made to fall (Geyer,
    "Practical Markov chain Monte Carlo", Statistical Science 7, 1992).

    Parameters
    ----------
    x : array-like of shape (n_chains, n_draws) or (n_rows, n_chains, n_draws)
    """
    return _time(_split(_checked(x)))


def _checked(x: Any) -> np.ndarray:
    """A statistic as (n_rows, n_chains, n_draws)."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim not in (2, 3) or 0 in x.shape or x.shape[-1] < 4:
        raise ValueError(
            f"a statistic of chains has shape {x.shape}; expected (n_chains, n_draws) with 4 draws "
            f"at least."
        )
    if not np.isfinite(x).all():
        raise ValueError("a statistic of chains holds NaN or infinity; drop those draws.")
    return x[None] if x.ndim == 2 else x


def _split(x: np.ndarray) -> np.ndarray:
    """Each chain as two, without the middle draw of an odd number."""
    half = x.shape[2] // 2
    return np.concatenate([x[:, :, :half], x[:, :, -half:]], axis=1)


def _normal_ranks(x: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks among all draws of a row (Blom's)."""
    n = x.shape[1] * x.shape[2]
    return ndtri((rankdata(x.reshape(-1, n), axis=1).reshape(x.shape) - 0.375) / (n + 0.25))


def _variances(x: np.ndarray) -> tuple[float, float]:
    """Mean variance within chains, and the estimate of the whole variance."""
    n = x.shape[2]
    within = float(x.var(axis=2, ddof=1).mean())
    between = float(x.mean(axis=2).var(axis=1, ddof=1).mean()) if x.shape[1] > 1 else 0.0
    return within, within * (n - 1) / n + between


def _rhat(x: np.ndarray) -> float:
    within, whole = _variances(x)
    if whole <= 0:
        return np.nan
    return float(np.sqrt(whole / within)) if within > 0 else np.inf


def _autocorrelation(x: np.ndarray) -> np.ndarray:
    n = x.shape[2]
    within, whole = _variances(x)
    if whole <= 0:
        return np.full(n, np.nan)
    f = np.fft.rfft(x - x.mean(axis=2, keepdims=True), n=2 * n, axis=2)
    covariance = np.fft.irfft(np.abs(f) ** 2, axis=2)[:, :, :n].mean(axis=(0, 1)) / n
    rho = 1 - (within - covariance) / whole
    rho[0] = 1
    return rho


def _time(x: np.ndarray) -> float:
    rho = _autocorrelation(x)
    if np.isnan(rho[0]):
        return np.nan
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(axis=1)
    below = np.flatnonzero(pairs <= 0)
    # The last lags, of which one or two products are all there is, are left out as Stan does.
    n = min(below[0] if len(below) else len(pairs), max((len(rho) - 3) // 2, 1))
    falling = np.minimum.accumulate(pairs[:n])
    last = max(rho[2 * n], 0.0) if 2 * n < len(rho) else 0.0
    return float(max(2 * falling.sum() - 1 + last, 1 / np.log10(max(x.size, 11))))


def _ess(x: np.ndarray) -> float:
    time = _time(x)
    return x.size / time


# -- of a run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SamplingInfo:
    """What is known of chains that have made their sweeps.

    Attributes
    ----------
    traces : dict of arrays (n_recorded_chains, n_draws)
        Statistics of the second half of the sweeps; of probes from elsewhere last, see `run`.
        Where known values differ from row to row, (n_rows, n_chains_of_a_row, n_draws).
    n_chains, n_steps : int
        Of the run.
    thin : int
        Sweeps from one recorded draw to the next.
    rhat, ess_bulk, ess_tail : dict of float
        For each statistic.
    autocorrelation_time : dict of float
        For each statistic, in sweeps.
    extra : dict
        What a sampler reports of itself, such as the swap rates of `Tempering`.
    """

    traces: dict[str, np.ndarray]
    n_chains: int
    n_steps: int
    thin: int = 1
    rhat: dict[str, float] = field(default_factory=dict)
    ess_bulk: dict[str, float] = field(default_factory=dict)
    ess_tail: dict[str, float] = field(default_factory=dict)
    autocorrelation_time: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        traces: Mapping[str, np.ndarray],
        n_chains: int,
        n_steps: int,
        thin: int = 1,
        extra: Mapping[str, Any] | None = None,
    ) -> SamplingInfo:
        """Diagnose recorded statistics."""
        traces = dict(traces)
        long = {name: x for name, x in traces.items() if x.shape[-1] >= 4}
        return cls(
            traces,
            n_chains,
            n_steps,
            thin,
            {name: rhat(x) for name, x in long.items()},
            {name: ess_bulk(x) for name, x in long.items()},
            {name: ess_tail(x) for name, x in long.items()},
            {name: thin * autocorrelation_time(x) for name, x in long.items()},
            dict(extra or {}),
        )

    @property
    def slowest(self) -> str | None:
        """The statistic with the largest R-hat, of those that move."""
        moving = {name: r for name, r in self.rhat.items() if not np.isnan(r)}
        return max(moving, key=lambda name: moving[name]) if moving else None

    @property
    def is_mixed(self) -> bool:
        """Whether no statistic tells the chains apart: R-hat of 1.05 at most."""
        return self.slowest is not None and self.rhat[self.slowest] <= MIXED

    @property
    def verdict(self) -> str:
        """In words, what the statistics say.

        For averages along chains an R-hat of 1.01 is asked for; here the ends of many chains are
        the samples, and it is enough that each has forgotten where it began: 1.05 corresponds to
        some 40 autocorrelation times a chain.
        """
        name = self.slowest
        if name is None:
            if self.rhat:
                return "Nothing that was recorded moves, so there is nothing to say about mixing."
            return (
                f"{self.n_steps} sweeps are too few to tell whether the chains have mixed; make 8 "
                f"or more."
            )
        r, time = self.rhat[name], self.autocorrelation_time[name]
        seen = f"R-hat is {r:.2f} at most ('{name}')"
        if r <= MIXED:
            return (
                f"The chains have mixed: {seen}; {self.n_steps} sweeps are "
                f"{self.n_steps / time:.0f} autocorrelation times of {time:.1f}."
            )
        if r <= LIKELY:
            return (
                f"The chains are likely to have forgotten their start: {seen}, and {self.n_steps} "
                f"sweeps are {self.n_steps / time:.0f} autocorrelation times of {time:.0f}. More "
                f"sweeps would make sure."
            )
        return (
            f"The chains have not mixed: {seen}, so they stay in different places, and each place "
            f"has the share of chains that began near it. Make more sweeps than {self.n_steps}, or "
            f"use method='tempered'."
        )

    def __str__(self) -> str:
        lines = [self.verdict, ""]
        width = max([9, *map(len, self.rhat)])
        lines.append(f"{'statistic':{width}}  R-hat  bulk ESS  tail ESS  autocorrelation time")
        for name in self.rhat:
            lines.append(
                f"{name:{width}}  {self.rhat[name]:5.2f}  {self.ess_bulk[name]:8.0f}  "
                f"{self.ess_tail[name]:8.0f}  {self.autocorrelation_time[name]:.1f} sweeps"
            )
        return "\n".join(lines)

    def to_arviz(self) -> Any:
        """The recorded statistics as ``arviz.InferenceData``.

        Raises
        ------
        ImportError
            Where ArviZ is not installed.
        """
        try:
            import arviz
        except ImportError as error:
            raise ImportError("to_arviz needs ArviZ: pip install arviz.") from error
        # Rows come last: they are no chains of one distribution.
        posterior = {
            name: np.moveaxis(x, 0, -1) if x.ndim > 2 else x for name, x in self.traces.items()
        }
        return arviz.from_dict(posterior=posterior)


def default_statistics(energy: Energy, params: Params) -> dict[str, Statistic]:
    """What is recorded of chains unless somebody says otherwise.

    The energy; of each group the mean over its units; and of each matrix of couplings between two
    groups the projections of one of them on the leading singular directions of the weights, with
    their mean over the other group's units taken out: the slow modes of such a model lie along
    these (Decelle, Fissore & Furtlehner, "Thermodynamics of restricted Boltzmann machines", Journal
    of Statistical Physics 172, 2018).

    Returns
    -------
    dict of callables
        Name -> from values of the groups to an array (n_chains,).
    """

    def mean_of(group: str) -> Statistic:
        size = energy.groups[group].size
        return lambda values: sum_units(values[group]) / size

    def along(group: str, direction: np.ndarray) -> Statistic:
        return lambda values: values[group].reshape(len(values[group]), -1) @ direction

    found: dict[str, Statistic] = {
        "energy": lambda values: np.asarray(energy.value(params, values, check=False))
    }
    for g, unit in energy.groups.items():
        if unit.size:
            found[f"mean of {g}"] = mean_of(g)
    for term in energy.terms:
        if not (isinstance(term, DenseTerm) and term.is_pair) or term.lateral:
            continue
        w = np.asarray(term.matrix(params), dtype=np.float64)
        group = term.slots[0].group
        if w.shape[0] > w.shape[1]:
            w, group = w.T, term.slots[1].group
        if min(w.shape) < 2:
            continue
        # Of the smaller group, whose directions are the eigenvectors of a small matrix.
        w = w - w.mean(axis=1, keepdims=True)
        _, vectors = np.linalg.eigh(w @ w.T)
        for k in range(min(_DIRECTIONS, len(w))):
            direction = vectors[:, -1 - k].astype(term.matrix(params).dtype)
            found[f"direction {k + 1} of {group}"] = along(group, direction)
    return found


def run(
    sampler: Any,
    params: Params,
    state: Any,
    n_steps: int,
    statistics: Mapping[str, Statistic] | None = None,
) -> tuple[Any, SamplingInfo]:
    """Make sweeps and diagnose the chains by the second half of them.

    The chains end where ``sampler.step(params, state, n_steps)`` leads them. At most 256 of them
    are recorded, at most 1,000 times. Chains that all begin in one mode agree with each other
    whatever the model, so 32 probes are compared with them, which begin at independent uniform
    units and are annealed to the model in the first half of the sweeps (not with tempered chains:
    those receive new states from such units all the time). Modes that neither have found stay
    unseen.

    Where units are held at values that differ from row to row, each row has a distribution of its
    own. Then the first 64 rows have three probes each, and only the chains of one row are compared.

    Parameters
    ----------
    sampler : Gibbs or Tempering
    params : dict of arrays
    state : ChainState or TemperedState
    n_steps : int
    statistics : dict of callables, optional
        Name -> from values of the groups, (n, *shape) each, to an array (n,); see
        `default_statistics`.

    Returns
    -------
    state, SamplingInfo
    """
    if statistics is None:
        statistics = default_statistics(sampler.energy, params)
    probes = None
    n_chains = min(state.n_chains, MAX_CHAINS)
    n_rows = min(n_chains, _ROWS) if _differ(state) else 1
    if n_rows > 1:
        n_chains = n_rows
    if isinstance(sampler, Gibbs):
        probes = _probes(sampler, params, state, n_steps // 2, n_rows)
    first = n_steps // 2
    thin = max(1, -(-(n_steps - first) // MAX_DRAWS))
    state = sampler.step(params, state, first)
    traces: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    done = first
    while done < n_steps:
        made = min(thin, n_steps - done)
        state = sampler.step(params, state, made)
        done += made
        if made < thin:
            break
        values = {g: x[:n_chains] for g, x in state.values.items()}
        if probes is not None:
            probes = sampler.step(params, probes, made)
            values = {g: np.concatenate([x, probes.values[g]]) for g, x in values.items()}
        for name, statistic in statistics.items():
            traces[name].append(np.asarray(statistic(values), dtype=np.float64))
    n = n_chains + (0 if probes is None else probes.n_chains)
    stacked = {name: np.stack(x, axis=1) if x else np.empty((n, 0)) for name, x in traces.items()}
    if n_rows > 1:
        stacked = {
            name: x.reshape(-1, n_rows, x.shape[1]).swapaxes(0, 1) for name, x in stacked.items()
        }
    report = getattr(sampler, "report", None)
    extra = report(state) if report is not None else {}
    return state, SamplingInfo.of(stacked, state.n_chains, n_steps, thin, extra)


def _differ(state: Any) -> bool:
    """Whether the rows have units that are held at different values."""
    for g, mask in state.clamped.items():
        x = state.values[g]
        known = np.ones(x.shape, bool) if mask is None else mask
        x = np.where(known, x, 0)
        if (known != known[0]).any() or (x != x[0]).any():
            return True
    return False


def _probes(
    sampler: Gibbs, params: Params, state: ChainState, n_steps: int, n_rows: int
) -> ChainState:
    """Chains annealed from independent uniform units, with the units of some rows held."""
    n = _PROBES if n_rows == 1 else _PROBES_OF_ROW * n_rows
    rows = np.arange(n) % n_rows
    held = {}
    for g, mask in state.clamped.items():
        x = state.values[g][rows]
        held[g] = x if mask is None else np.where(mask[rows], x, np.nan)
    flat = dict(params) | {g: np.zeros_like(params[g]) for g in sampler.energy.groups}
    at = rng.Address.of(state.address.seed, "probe", step=state.address.step)
    probes = sampler.start(flat, n, at, held)
    path = Path(sampler.energy, params, {}, tuple(sampler.clamp))
    done, n = 0, min(n_steps, _ANNEALING)
    for k in range(1, n + 1):
        more = k * n_steps // n - done
        probes = sampler.step(path.at(k / n), probes, more, scale=k / n)
        done += more
    return probes


__all__ = [
    "SamplingInfo",
    "autocorrelation",
    "autocorrelation_time",
    "default_statistics",
    "ess_bulk",
    "ess_mean",
    "ess_tail",
    "rhat",
    "run",
]
