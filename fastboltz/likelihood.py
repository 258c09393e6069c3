"""log Z, exact or by annealed importance sampling, and the pseudo-likelihood.

Annealed importance sampling (Neal 2001; Salakhutdinov & Murray 2008) moves chains from a
reference model without couplings, whose Z is known, to the model, over a ladder of inverse
temperatures; the mean of the importance weights estimates the ratio of the two Z without bias.

By Jensen's inequality its logarithm is too low on average, and so it is by much, with every sign
of confidence, where no chain has found a mode of the model. Annealing the other way, from samples
of the model to the reference, errs on the other side (Burda, Grosse & Salakhutdinov 2015): together
they bracket log Z, as far as the samples are the model's.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import logsumexp, stdtrit

from fastboltz_ext import packed

from . import rng, threads
from .energy import Energy
from .enumeration import Enumeration, split
from .gibbs import Gibbs
from .path import Path
from .terms import Params, as_rows
from .units import Own, Unit
from .units.base import sum_units
from .validation import NotEnumerableError, check_count, check_rows, one_of

#: An estimate is called degenerate when fewer chains than this carry its weight.
MIN_EFFECTIVE_CHAINS = 10.0
#: Or, where chains stand in groups that share an estimate, fewer groups than this.
MIN_EFFECTIVE_GROUPS = 3.0
#: Or when the tail of its weights has a Pareto shape above this, so that their mean is not settled.
MAX_TAIL = 0.7
#: Forward and reverse estimates disagree when their intervals are further apart than this, in nats.
MAX_GAP = 0.5
#: Chains of the pilot that places the temperatures, and one in so many of its temperatures.
_PILOT_CHAINS, _PILOT_SHARE = 64, 8
#: Rows that the pilot of a conditional annealing has chains for.
_PILOT_ROWS = 16
#: Stretches of the pilot that are measured, and the share of the steps that follow them.
_STRETCHES, _BY_LENGTH = 16, 0.75
#: Sweeps that complete samples of some groups, where the other groups see each other.
_COMPLETING_SWEEPS = 100
#: Estimates for many rows are called degenerate when their bias is larger, in nats.
MAX_BIAS = 0.05
#: Log-probabilities that should be zero at most are taken for rounded up to here.
_ROUNDED = 1e-3
#: Chains of a conditional annealing that go through the temperatures together.
_CHAINS_AT_ONCE = 2048
#: Chains that one task of `n_jobs` anneals.
_CHAINS_OF_A_TASK = 64
#: Up to so many states (log2), ``method="auto"`` enumerates.
AUTO_LOG2_STATES = 20


@dataclass(frozen=True)
class LogPartition:
    """log Z with what is known of its error.

    Attributes
    ----------
    value : float
        The estimate, in nats.
    low, high : float
        95 % interval; equal to the value where it is exact. With a reverse estimate it spans both
        intervals.
    standard_error : float
        Standard error of the estimate of Z, relative to Z (so, in nats for small errors).
    effective_chains : float
        ``(sum w)^2 / sum w^2`` of the importance weights: how many chains carry the estimate.
    method : {"exact", "ais", "reverse ais", "trajectory"}
    n_chains, n_betas : int
        Along a training (`fastboltz.carried`), sweeps in place of inverse temperatures.
    tail : float
        Shape of the generalised Pareto distribution that fits the largest importance weights
        (Zhang & Stephens 2009; Vehtari et al. 2024): from 0.7 upwards the mean of this many weights
        has not settled. NaN where there are too few weights to tell.
    n_groups : int
        Along a training, of how many groups of chains each has an estimate; else 0.
    forward, reverse : LogPartition or None
        Where samples were given, the estimate from the reference to the model, which is too low on
        average, and the one from the samples to the reference, which is too high.
    """

    value: float
    low: float
    high: float
    standard_error: float = 0.0
    effective_chains: float = np.inf
    method: str = "exact"
    n_chains: int = 0
    n_betas: int = 0
    tail: float = field(default=np.nan, compare=False)
    n_groups: int = 0
    forward: LogPartition | None = None
    reverse: LogPartition | None = None

    @property
    def is_degenerate(self) -> bool:
        """Whether too few chains carry the estimate for its interval to be believed.

        So it is when fewer than 10 do, or fewer than 3 groups of them along a training; when the
        largest weights have a tail so heavy that larger ones are likely to be missing; and when
        forward and reverse estimates disagree.
        """
        return bool(self.doubts())

    def doubts(self) -> list[str]:
        """What speaks against the estimate, as sentences."""
        found = []
        least, more = MIN_EFFECTIVE_CHAINS, f"inverse temperatures (now {self.n_betas})"
        what = "annealed importance sampling" if self.method == "ais" else "reverse annealing"
        if self.n_groups:
            least = MIN_EFFECTIVE_GROUPS * self.n_chains / self.n_groups
            what, more = "log Z carried along a training", f"sweeps (now {self.n_betas})"
        if self.effective_chains < least or self.tail > MAX_TAIL:
            tail = ""
            if self.tail > MAX_TAIL:
                tail = f" (their largest weights have a tail of Pareto shape {self.tail:.1f})"
            side = "high" if self.method == "reverse ais" else "low"
            found.append(
                f"{what} has degenerated: {self.effective_chains:.1f} of {self.n_chains} chains "
                f"carry the estimate{tail}, so log Z is likely too {side}. Use more {more} or more "
                f"chains."
            )
        if self.forward is not None and self.reverse is not None:
            found = self.forward.doubts() + self.reverse.doubts()
            says = (
                f"annealing from the given samples says log Z = {self.reverse.value:.2f}, "
                f"annealing to the model {self.forward.value:.2f}"
            )
            if self.reverse.low > self.forward.high + MAX_GAP:
                found.append(
                    f"{says}: its chains have not found all that the samples come from, or the "
                    f"samples are not the model's. The interval spans both; more inverse "
                    f"temperatures (now {self.n_betas}) bring them together."
                )
            elif self.reverse.high < self.forward.low - MAX_GAP:
                found.append(
                    f"{says}: the samples are not the model's, or theirs would be the larger. Draw "
                    f"them with more sweeps."
                )
        return found

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        if self.method == "exact":
            return f"log Z = {self.value:.3f} (exact)"
        name = "annealed importance sampling"
        if self.method == "reverse ais":
            name = "reverse " + name
        steps = "inverse temperatures"
        if self.method == "trajectory":
            name, steps = "carried along a training", "sweeps"
        back = "" if self.reverse is None else f"; reverse annealing {self.reverse.value:.3f}"
        return (
            f"log Z = {self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (95 %; {name}, "
            f"{self.n_chains} chains, {self.n_betas} {steps}, "
            f"{self.effective_chains:.0f} effective chains{back})"
        )


def log_mean_exp(log_w: np.ndarray) -> LogPartition:
    """``log mean(exp(log_w))`` in double precision, with a 95 % interval.

    The interval is that of the mean of the weights, taken to the log scale. Importance weights are
    skewed: most samples miss the largest ones, and then mean and standard error are too small
    together. Hall's transformation of the t statistic takes the skewness out of it, which moves the
    interval upwards; the quantile is Student's, with as many degrees of freedom as effective chains
    less one. Where the lower end reaches zero it becomes the smallest weight.

    References
    ----------
    Hall, "On the removal of skewness by transformation", Journal of the Royal Statistical Society
    B 54, 1992.
    """
    log_w = np.asarray(log_w, dtype=np.float64)
    value, low, high, error, effective = (float(x[0]) for x in _log_means(log_w[None]))
    return LogPartition(
        value=value,
        low=low,
        high=high,
        standard_error=error,
        effective_chains=effective,
        method="ais",
        n_chains=len(log_w),
        tail=pareto_shape(log_w),
    )


def _log_means(log_w: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each row (n_rows, n_chains) what `log_mean_exp` finds.

    Returns
    -------
    value, low, high, standard_error, effective_chains : ndarray of shape (n_rows,)
    """
    n = log_w.shape[1]
    value = logsumexp(log_w, axis=1) - np.log(n)
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    mean = w.mean(axis=1)
    effective = w.sum(axis=1) ** 2 / (w**2).sum(axis=1)
    floor = log_w.min(axis=1)
    error = below = above = np.full(len(log_w), np.inf)
    if n > 1:
        error = w.std(axis=1, ddof=1) / (mean * np.sqrt(n))
        third = ((w - mean[:, None]) ** 3).mean(axis=1)
        skewness = third / np.maximum(w.std(axis=1) ** 3, 1e-300)
        below, above = _hall(skewness, n, effective) * error
    low = np.where(below < 1, value + np.log1p(-np.minimum(below, 1 - 1e-16)), floor)
    return value, np.clip(low, floor, value), value + np.log1p(above), error, effective


def _hall(skewness: np.ndarray, n: int, effective: np.ndarray) -> np.ndarray:
    """Standard errors from means down and up to the ends of their 95 % intervals: (2, n_rows).

    The inverse of Hall's ``g(t) = t + a t^2 + a^2 t^3 / 3 + a / (2 n)`` with ``a = skewness / 3``,
    where t is the statistic divided by ``sqrt(n)``.
    """
    quantile = stdtrit(np.maximum(effective - 1, 1.0), 0.975)
    t = np.stack([quantile, -quantile]) / np.sqrt(n)
    a = skewness / 3
    skewed = np.abs(a) > 1e-6
    a = np.where(skewed, a, 1.0)
    t = np.where(skewed, (np.cbrt(1 + 3 * a * (t - a / (2 * n))) - 1) / a, t)
    return np.sqrt(n) * np.abs(t)


def pareto_shape(log_w: np.ndarray) -> float:
    """Shape of the generalised Pareto distribution of the largest of some weights.

    The variance of the weights is infinite from 0.5 upwards; from 0.7 upwards no practical number
    of them settles their mean. The fit is the posterior mean of Zhang & Stephens, drawn to 0.5 by
    ten observations.

    Parameters
    ----------
    log_w : ndarray of shape (n,)

    Returns
    -------
    float
        NaN for less than 50 weights, or where the largest are equal.

    References
    ----------
    Zhang & Stephens, "A new and efficient estimation method for the generalized Pareto
    distribution", Technometrics 51, 2009.
    Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto smoothed importance sampling", Journal of Machine
    Learning Research 25, 2024.
    """
    n = len(log_w)
    if n < 50:
        return np.nan
    n_tail = int(np.ceil(min(0.2 * n, 3 * np.sqrt(n))))
    w = np.exp(np.sort(log_w)[-n_tail - 1 :] - np.max(log_w))
    x = w[1:] - w[0]
    if not x[0] > 1e-12:
        return np.nan
    # A grid of values for the inverse scale, weighted by their profile likelihoods.
    m = 30 + int(np.sqrt(n_tail))
    quartile = x[int(n_tail / 4 + 0.5) - 1]
    theta = 1 / x[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * quartile)
    shape = np.log1p(-theta[:, None] * x).mean(axis=1)
    log_likelihood = n_tail * (np.log(-theta / shape) - shape - 1)
    theta_mean = float(np.average(theta, weights=np.exp(log_likelihood - log_likelihood.max())))
    found = float(np.log1p(-theta_mean * x).mean())
    return (n_tail * found + 10 * 0.5) / (n_tail + 10)


def annealing_ladder(n_betas: int) -> np.ndarray:
    """Inverse temperatures from 0 to 1, denser towards 1 where couplings order the units.

    Half of the steps are spread evenly, half as in Salakhutdinov & Murray (2008), who put 500,
    4,000 and 10,000 on [0, 0.5], [0.5, 0.9] and [0.9, 1]: with few temperatures their ladder alone
    would leave the lower half nearly bare.
    """
    n_betas = check_count("n_betas", n_betas, minimum=2)
    knots = np.array([0.0, 0.5, 0.9, 1.0])
    share = 0.5 * knots + 0.5 * np.array([0.0, 500.0, 4500.0, 14500.0]) / 14500.0
    return np.interp(np.linspace(0, 1, n_betas), share, knots)


def adaptive_ladder(
    energy: Energy,
    params: Params,
    n_betas: int,
    *,
    reference: Mapping[str, Own] | None = None,
    random_state: Any = None,
    n_threads: int | None = None,
) -> np.ndarray:
    """Inverse temperatures from 0 to 1 at equal steps of the measured thermodynamic length.

    A pilot of 64 chains goes through an eighth of the temperatures. In each of 16 stretches of n
    sweeps it measures the variance over the chains of the log weight gathered there, which is
    ``variance(b) * tau(b) * width^2 / n`` with the variance of ``d log f_b(x) / d b`` and its
    autocorrelation time tau in sweeps. The log weights of an annealing vary least where
    temperatures have equal steps of

        ``length(beta) = integral sqrt(variance(b) * tau(b)) db``.

    A quarter of the steps are those of `annealing_ladder`, so that no stretch is bare that the
    pilot saw badly.

    Parameters
    ----------
    n_betas : int
    reference, random_state, n_threads
        As for `ais`.

    Returns
    -------
    ndarray of shape (n_betas,)

    References
    ----------
    Sivak & Crooks, "Thermodynamic metrics and optimal paths", Physical Review Letters 108, 2012.
    """
    energy.check_params(params)
    n_betas = check_count("n_betas", n_betas, minimum=2)
    path = Path(energy, params, reference or {})
    with threads.computing():
        return _adapted(path, n_betas, rng.seed_from(random_state), threads.resolve(n_threads))


def _adapted(
    path: Path,
    n_betas: int,
    seed: int,
    n_threads: int,
    given: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """`adaptive_ladder`, unchecked; for some of the rows that are given together.

    The log weights' variances are those of the chains of one row, averaged over the rows.
    """
    coarse = annealing_ladder(max(_STRETCHES + 1, n_betas // _PILOT_SHARE))
    at, n_rows, held = rng.Address.of(seed, "pilot"), 1, None
    if given:
        n_given = check_rows(dict(given))
        n_rows = min(n_given, _PILOT_ROWS)
        chosen = rng.permutation(at, n_given)[:n_rows]
        chosen = np.repeat(chosen, _PILOT_CHAINS // n_rows)
        held = {g: x[chosen] for g, x in given.items()}
    n_chains = _PILOT_CHAINS // n_rows * n_rows
    chains = _walk(path, n_chains, at, n_threads, given=held)
    last = len(coarse) - 1
    ends = np.linspace(0, last, _STRETCHES + 1).round().astype(int)
    # Where there is no distribution chains leave all numbers, which annealing then says.
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.array(
            [chains.advance(coarse[k - 1], coarse[k], k, move=k < last) for k in range(1, last + 1)]
        )
        gathered = np.array([steps[a:b].sum(axis=0) for a, b in pairwise(ends)])
        variance = gathered.reshape(_STRETCHES, n_rows, -1).var(axis=2).mean(axis=1)
        length = np.append(0, np.cumsum(np.sqrt(variance * np.diff(ends))))
    if not 0 < length[-1] < np.inf:
        return annealing_ladder(n_betas)
    share = _BY_LENGTH * length / length[-1] + (1 - _BY_LENGTH) * ends / last
    ladder = np.interp(np.linspace(0, 1, n_betas), share, coarse[ends])
    ladder[0], ladder[-1] = 0, 1
    return ladder


def ais(
    energy: Energy,
    params: Params,
    *,
    reference: Mapping[str, Own] | None = None,
    betas: int | Sequence[float] | np.ndarray = 1000,
    n_chains: int = 256,
    samples: Mapping[str, Any] | None = None,
    random_state: Any = None,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    n_jobs: int | None = None,
) -> LogPartition:
    """Annealed importance sampling of log Z.

    The distribution at inverse temperature beta has its couplings multiplied by beta and its
    biases interpolated between the reference's and the model's; one set of groups is summed out
    in every weight.

    Parameters
    ----------
    reference : dict of dicts, optional
        Group -> own parameters of the independent reference, for example
        ``{"v": {"bias": ...}}`` with the base rates of the data. Groups that are not named start
        from zero bias. Precisions are always the model's.
    betas : int or array
        Number of inverse temperatures, placed by `adaptive_ladder`, or the ladder itself, from 0
        to 1, such as `annealing_ladder` makes.
    n_chains : int
    samples : dict of arrays, optional
        Samples of the model, (n, *shape) of some groups (the others are drawn given them), such as
        `Energy.sample` draws or long chains end at. As many as there are chains are annealed to the
        reference, and the interval then spans both estimates. Data may stand for samples of a
        model that has learnt them; the upper end is then as good as the model's samples are like
        them.
    random_state : None, int, RandomState or Generator
    n_threads : int, optional
        None uses every core that the process may use. Results do not depend on it.
    progress : callable, optional
        Called as ``progress(done, total)`` now and then; with `n_jobs` after each annealing.
    n_jobs : int, optional
        Have joblib anneal the chains in so many workers, 64 chains a task: processes, or whatever
        ``joblib.parallel_config`` names, such as the workers of a Dask cluster. A chain's random
        numbers are those of its number, so the answer is the same for every number and kind of
        workers, and for two binary groups in single precision the same bytes as without.

    Returns
    -------
    LogPartition

    Warns
    -----
    RuntimeWarning
        With each of `LogPartition.doubts`.

    References
    ----------
    Neal, "Annealed importance sampling", Statistics and Computing 11, 2001.
    Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    Burda, Grosse & Salakhutdinov, "Accurate and conservative estimates of MRF log-likelihood using
    reverse annealing", AISTATS 2015.
    """
    energy.check_params(params)
    check_count("n_chains", n_chains, minimum=2)
    ladder = None if np.ndim(betas) == 0 else _ladder(betas)
    n_betas = check_count("betas", betas, minimum=2) if ladder is None else len(ladder)
    path = Path(energy, params, reference or {})
    seed, n_threads = rng.seed_from(random_state), threads.resolve(n_threads)
    start = None
    if samples is not None:
        start = _completed(path, samples, n_chains, seed, n_threads)
    with threads.computing():
        if ladder is None:
            ladder = _adapted(path, n_betas, seed, n_threads)
        at, part = rng.Address.of(seed, "ais"), _part_of(progress, 0, 1 if start is None else 2)
        if n_jobs is None:
            log_w = _anneal(_walk(path, n_chains, at, n_threads), ladder, part)
        else:
            log_w = _anneal_in_jobs(n_jobs, path, n_chains, at, ladder, part)
        shift = path.log_z_reference()
        result = _shifted(log_mean_exp(log_w), shift, n_betas)
        if start is not None:
            n = min(check_rows(dict(samples or {})), n_chains)
            at, part = rng.Address.of(seed, "reverse"), _part_of(progress, 1, 2)
            if n_jobs is None:
                log_w = _anneal(_walk(path, n, at, n_threads, start), ladder[::-1], part)
            else:
                log_w = _anneal_in_jobs(n_jobs, path, n, at, ladder[::-1], part, start)
            # The mean of these weights is the ratio of the reference's Z to the model's.
            back = log_mean_exp(log_w)
            back = replace(back, value=-back.value, low=-back.high, high=-back.low)
            back = replace(_shifted(back, shift, n_betas), method="reverse ais")
            low, high = min(result.low, back.low), max(result.high, back.high)
            result = replace(result, low=low, high=high, forward=result, reverse=back)
    for doubt in result.doubts():
        warnings.warn(doubt, RuntimeWarning, stacklevel=2)
    return result


def impossible(log_probabilities: np.ndarray, units: Iterable[Unit]) -> str | None:
    """A sentence where log-probabilities of discrete units are above zero on average, or None.

    Parameters
    ----------
    log_probabilities : ndarray
        Of rows, from an estimate of log Z.
    units : iterable of Unit
        What the rows are values of.
    """
    excess = float(log_probabilities.mean()) if log_probabilities.size else 0.0
    if excess <= _ROUNDED or any(unit.states() is None for unit in units):
        return None
    return (
        f"the mean log-likelihood is {excess:.2f} nats, but probabilities of discrete units are 1 "
        f"at most: log Z is too low by {excess:.2f} nats or more. Use more inverse temperatures "
        f"(betas=) to estimate it."
    )


def _shifted(found: LogPartition, shift: float, n_betas: int) -> LogPartition:
    value, low, high = (x + shift for x in (found.value, found.low, found.high))
    return replace(found, value=value, low=low, high=high, n_betas=n_betas)


def _part_of(
    progress: Callable[[int, int], None] | None, part: int, n_parts: int
) -> Callable[[int, int], None] | None:
    """Progress of one of several annealings of equal length."""
    if progress is None:
        return None
    return lambda done, total: progress(part * total + done, n_parts * total)


def _completed(
    path: Path, samples: Mapping[str, Any], n_chains: int, seed: int, n_threads: int
) -> dict[str, np.ndarray]:
    """Samples of the groups that annealing moves, given samples of some groups; at most n_chains.

    The other groups are drawn given these: at once where they do not see each other.
    """
    energy, params = path.energy, path.params
    if not samples:
        raise ValueError("samples is empty; give rows of at least one group, or leave it out.")
    values = energy._checked(params, samples, samples)
    _check_are_states(energy, values)
    n = check_rows(values)
    if n < 2:
        raise ValueError(f"samples has {n} rows; reverse annealing needs 2 at least.")
    if n > n_chains:
        chosen = rng.permutation(rng.Address.of(seed, "reverse"), n)[:n_chains]
        values = {g: x[chosen] for g, x in values.items()}
    return _filled(path, values, rng.Address.of(seed, "completing"), n_threads)


def _check_are_states(energy: Energy, values: Mapping[str, np.ndarray]) -> None:
    """Raise a sentence where samples of a group are not states of its units."""
    for g, x in values.items():
        states = energy.groups[g].states()
        if states is None:
            continue
        wrong = ~np.isin(x, states)
        if wrong.any():
            low, high = states.min(), states.max()
            raise ValueError(
                f"samples[{g!r}] has the entry {x[wrong][0]:.4g}, but samples are states, those "
                f"of {energy.groups[g]} being {low:g} and {high:g}. Draw them from probabilities: "
                f"numpy.random.default_rng(0).random(p.shape) < p."
            )


def _filled(
    path: Path, values: Mapping[str, np.ndarray], address: rng.Address, n_threads: int
) -> dict[str, np.ndarray]:
    """Values of the groups that annealing moves, drawn given those of other groups."""
    energy, params = path.energy, path.params
    if set(path.rest) <= set(values):
        return {g: values[g] for g in path.rest}
    sampler = Gibbs(energy, clamp=tuple(values), n_threads=n_threads)
    free = [g for g in energy.groups if g not in values]
    at_once = energy.is_independent(free) and not any(energy.lateral_terms(g) for g in free)
    chains = sampler.start(params, check_rows(dict(values)), address, values)
    chains = sampler.step(params, chains, 1 if at_once else _COMPLETING_SWEEPS)
    return {g: chains.values[g] for g in path.rest}


@dataclass(frozen=True)
class ConditionalLogPartition:
    """log Z of each given row, with what is known of its error.

    Attributes
    ----------
    values : ndarray of shape (n_rows,)
        Estimates, in nats.
    standard_errors : ndarray of shape (n_rows,)
        Of each estimate of Z, relative to Z; zero where it is exact.
    effective_chains : ndarray of shape (n_rows,)
        How many chains carry each estimate.
    method : {"exact", "ais", "reverse ais"}
    n_chains, n_betas : int
    low, high : ndarray of shape (n_rows,)
        95 % interval of each estimate, as `log_mean_exp` finds it; equal to the values where they
        are exact. With a reverse estimate it spans both intervals.
    forward, reverse : ConditionalLogPartition or None
        Where samples were given, the estimate from the reference to the model, which is too low on
        average, and the one from the samples to the reference, which is too high.
    """

    values: np.ndarray
    standard_errors: np.ndarray
    effective_chains: np.ndarray
    method: str = "exact"
    n_chains: int = 0
    n_betas: int = 0
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    forward: ConditionalLogPartition | None = None
    reverse: ConditionalLogPartition | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.values)

    @property
    def is_degenerate(self) -> bool:
        """Whether the estimates are too low on average by more than some hundredths of a nat.

        So it is also when forward and reverse annealing disagree by more than half a nat.
        """
        return bool(self.doubts())

    def doubts(self) -> list[str]:
        """What speaks against the estimates, as sentences."""
        found = []
        if self.bias > MAX_BIAS:
            found.append(
                f"the annealing is short for this model: log Z of a row is too low by "
                f"{self.bias:.2f} nats or more on average. {self.effective_chains.mean():.1f} of "
                f"{self.n_chains} chains carry it; use more inverse temperatures (now "
                f"{self.n_betas}) or chains."
            )
        if self.forward is not None and self.reverse is not None:
            here, there = self.forward.mean(), self._reverse_mean()
            if abs(there.value - here.value) > MAX_GAP and not (
                here.low - MAX_GAP <= there.high and there.low <= here.high + MAX_GAP
            ):
                found.append(
                    f"annealing from the given samples says log Z = {there.value:.2f} on average, "
                    f"annealing to the model {here.value:.2f}: its chains have not found all that "
                    f"the samples come from, or the samples are not the model's. Use more inverse "
                    f"temperatures (now {self.n_betas}), or samples after more sweeps."
                )
        return found

    @property
    def bias(self) -> float:
        """By how much the rows' estimates are too low on average, to second order.

        The logarithm of an unbiased estimate is low by half of its relative variance. Where few
        chains carry an estimate the variance is underestimated, and this with it.
        """
        return float((self.standard_errors**2).mean() / 2)

    def mean(self) -> LogPartition:
        """Mean over the rows, with its 95 % interval.

        The rows' errors are independent, so the error of the mean is small; what does not average
        out is their bias. The upper end makes room for it.
        """
        value = float(self.values.mean())
        error = float(np.sqrt((self.standard_errors**2).sum()) / len(self.values))
        found = LogPartition(
            value=value,
            low=value - 1.96 * error,
            high=value + self.bias + 1.96 * error,
            standard_error=error,
            effective_chains=float(self.effective_chains.mean()),
            method=self.method,
            n_chains=self.n_chains,
            n_betas=self.n_betas,
        )
        if self.forward is None or self.reverse is None:
            return found
        back = self._reverse_mean()
        low, high = min(found.low, back.low), max(found.high, back.high)
        return replace(found, low=low, high=high, forward=found, reverse=back)

    def _reverse_mean(self) -> LogPartition:
        """Mean over the rows of the reverse estimates.

        Chains from one sample are not independent, so their scatter about each other understates
        the error. Forward and reverse estimates of a row differ by their errors alone, and those of
        different rows are independent.
        """
        assert self.reverse is not None
        back = replace(self.reverse, forward=None, reverse=None)
        mean = replace(back.mean(), low=0.0, high=0.0)
        n = len(self.values)
        apart = float((back.values - self.values).std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
        error = max(mean.standard_error, apart)
        return replace(
            mean,
            low=mean.value - back.bias - 1.96 * error,
            high=mean.value + 1.96 * error,
            standard_error=error,
        )


def conditional_ais(
    energy: Energy,
    params: Params,
    given: Mapping[str, Any],
    *,
    reference: Mapping[str, Own] | None = None,
    betas: int | Sequence[float] | np.ndarray = 100,
    n_chains: int = 16,
    samples: Mapping[str, Any] | None = None,
    random_state: Any = None,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    collect: Callable[[slice, dict[str, np.ndarray], np.ndarray], None] | None = None,
) -> ConditionalLogPartition:
    """Annealed importance sampling of log Z for every given row, all rows together.

    Every row has chains of its own. What the given groups contribute is scaled by the inverse
    temperature as all couplings are, so all rows start from the same independent reference.

    Parameters
    ----------
    given : dict of arrays
        Values (n_rows, *shape) of the groups that are conditioned on.
    reference, betas, random_state, n_threads
        As for `ais`. A number of temperatures is placed by a pilot with chains for up to 16 rows.
    n_chains : int
        Chains of each row.
    samples : dict of arrays, optional
        Samples of the model, (n_rows * m, *shape) of some groups that are not given: m for each
        row, those of the first one first. Reverse annealing starts as many chains from them, in
        turn, and the intervals then span both estimates. As for `ais`, data may stand for samples.
    progress : callable, optional
        Called as ``progress(done, total)`` with numbers of rows.
    collect : callable, optional
        Called as ``collect(rows, values, weights)`` with a slice of rows, the ends of their chains
        (n * n_chains, *shape), and weights (n, n_chains) that sum to one for each row: weighted so,
        all groups have the model's distribution.

    Returns
    -------
    ConditionalLogPartition
        log Z of the groups that are not given, as `Energy.log_partition` defines it.
    """
    given = energy._checked(params, given, given)
    n_rows = check_rows(given) if given else 1
    check_count("n_chains", n_chains, minimum=2)
    ladder = None if np.ndim(betas) == 0 else _ladder(betas)
    n_betas = check_count("betas", betas, minimum=2) if ladder is None else len(ladder)
    path = Path(energy, params, reference or {}, tuple(given))
    seed, n_threads = rng.seed_from(random_state), threads.resolve(n_threads)
    found, back = np.zeros((5, n_rows)), np.zeros((5, n_rows))
    begin = None if samples is None else _of_rows(energy, params, samples, given, n_rows, n_chains)
    with threads.computing():
        if ladder is None:
            ladder = _adapted(path, n_betas, seed, n_threads, given)
        # Blocks of rows whose chains stay in a core's cache through all temperatures.
        for start in range(0, n_rows, step := max(1, _CHAINS_AT_ONCE // n_chains)):
            rows = slice(start, min(start + step, n_rows))
            held = {g: np.repeat(x[rows], n_chains, axis=0) for g, x in given.items()}
            address = rng.Address.of(seed, "ais", row=start * n_chains)
            n = (rows.stop - start) * n_chains
            chains = _Walk(path, n, address, n_threads, held)
            log_w = _anneal(chains, ladder).reshape(-1, n_chains)
            found[:, rows] = _log_means(log_w)
            shift = chains.shift()[::n_chains] + path.log_z_reference()
            found[:3, rows] += shift
            if collect is not None:
                w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
                # The summed-out groups were drawn at the temperature before the last.
                sampler = Gibbs(energy, clamp=path.given, n_threads=n_threads)
                sampler.blocks = [path.summed]
                at = address.at(step=len(ladder))
                ends = sampler.step(params, sampler.start(params, n, at, chains.values))
                collect(rows, dict(ends.values), w / w.sum(axis=1, keepdims=True))
            if begin is not None:
                at = rng.Address.of(seed, "reverse", row=start * n_chains)
                own = {g: x[rows].reshape(n, *x.shape[2:]) for g, x in begin.items()}
                first = rng.Address.of(seed, "completing", row=at.row)
                own = _filled(path, {**held, **own}, first, n_threads)
                chains = _Walk(path, n, at, n_threads, held, own)
                # The mean of these weights is the ratio of the reference's Z to the row's.
                log_w = _anneal(chains, ladder[::-1]).reshape(-1, n_chains)
                back[:, rows] = _log_means(log_w)
                back[:3, rows] = shift - back[[0, 2, 1], rows]
            if progress is not None:
                progress(rows.stop, n_rows)

    def as_result(x: np.ndarray, method: str) -> ConditionalLogPartition:
        values, low, high, errors, effective = x
        return ConditionalLogPartition(
            values, errors, effective, method, n_chains, n_betas, low, high
        )

    result = as_result(found, "ais")
    if begin is None:
        return result
    low, high = np.minimum(found[1], back[1]), np.maximum(found[2], back[2])
    reverse = as_result(back, "reverse ais")
    return replace(result, low=low, high=high, forward=result, reverse=reverse)


def _of_rows(
    energy: Energy,
    params: Params,
    samples: Mapping[str, Any],
    given: Mapping[str, np.ndarray],
    n_rows: int,
    n_chains: int,
) -> dict[str, np.ndarray]:
    """Samples that the chains of each row start from, (n_rows, n_chains, *shape)."""
    values = energy._checked(params, samples, samples)
    if not values:
        raise ValueError("samples is empty; give rows of at least one group, or leave it out.")
    for g in values:
        if g in given:
            raise ValueError(f"samples holds the group {g!r}, which is given; leave it out.")
    _check_are_states(energy, values)
    n = check_rows(values)
    if n % n_rows or not n:
        raise ValueError(
            f"samples has {n} rows, but {n_rows} rows are given; expected as many samples for each "
            f"of them."
        )
    turn = np.arange(n_chains) % (n // n_rows)
    return {g: x.reshape(n_rows, -1, *x.shape[1:])[:, turn] for g, x in values.items()}


def _anneal(
    chains: _Walk | _PackedWalk,
    ladder: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Logs of the chains' weights over the whole ladder."""
    log_w: Any = 0.0
    last = len(ladder) - 1
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(1, last + 1):
            log_w = log_w + chains.advance(ladder[k - 1], ladder[k], k, move=k < last)
            if progress is not None and (k % 64 == 0 or k == last):
                progress(k, last)
    if not np.isfinite(log_w).all():
        raise FloatingPointError(
            "annealed chains have left all numbers: the energy falls without end where real-valued "
            "units grow, so that there is no distribution and no log Z. Learn with a stronger l2 "
            "or a lower learning rate, or let no two groups of real-valued units share a term."
        )
    return np.asarray(log_w)


def _ladder(betas: Any) -> np.ndarray:
    """Inverse temperatures, checked."""
    ladder = np.asarray(betas, np.float64)
    rises = ladder.ndim == 1 and len(ladder) > 1 and bool((np.diff(ladder) > 0).all())
    if not (rises and ladder[0] == 0 and ladder[-1] == 1):
        raise ValueError(
            f"betas must rise strictly from 0 to 1, both ends included; got {betas!r}."
        )
    return ladder


def _anneal_in_jobs(
    n_jobs: int,
    path: Path,
    n_chains: int,
    address: rng.Address,
    ladder: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
    begin: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Logs of the chains' weights, annealed by joblib's workers a fixed number of chains a task.

    The tasks are cut alike for every number of workers, so that what is rounded in a task is too.
    """
    from joblib import Parallel, delayed

    tasks = []
    for first in range(0, n_chains, _CHAINS_OF_A_TASK):
        last = min(first + _CHAINS_OF_A_TASK, n_chains)
        part = None if begin is None else {g: x[first:last] for g, x in begin.items()}
        at = address._replace(row=address.row + first)
        tasks.append(delayed(_anneal_some)(path, last - first, at, ladder, part))
    log_w = np.concatenate(Parallel(n_jobs=n_jobs)(tasks))
    if progress is not None:
        progress(len(ladder) - 1, len(ladder) - 1)
    return log_w


def _anneal_some(
    path: Path,
    n_chains: int,
    address: rng.Address,
    ladder: np.ndarray,
    begin: Mapping[str, np.ndarray] | None,
) -> np.ndarray:
    """One task: some of the chains, on the threads that its worker has."""
    with threads.computing():
        return _anneal(_walk(path, n_chains, address, threads.resolve(None), begin), ladder)


def _walk(
    path: Path,
    n_chains: int,
    address: rng.Address,
    n_threads: int,
    begin: Mapping[str, np.ndarray] | None = None,
    given: Mapping[str, np.ndarray] | None = None,
) -> _Walk | _PackedWalk:
    """Chains at the reference, or at given values of the groups that move; compiled if possible."""
    if given is None and _PackedWalk.serves(path):
        return _PackedWalk(path, n_chains, address, n_threads, begin=begin)
    return _Walk(path, n_chains, address, n_threads, given, begin)


class _Walk:
    """Annealed chains of any energy."""

    def __init__(
        self,
        path: Path,
        n_chains: int,
        address: rng.Address,
        n_threads: int,
        given: Mapping[str, np.ndarray] | None = None,
        begin: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.path = path
        self.address = address
        self.n_threads = n_threads
        self.sampler = Gibbs(path.energy, clamp=path.given, n_threads=n_threads)
        start = self.sampler.start(path.at(0.0), n_chains, address, given or {})
        self.values = {**start.values, **(begin or {})}
        #: Fields at full strength that do not depend on what is drawn.
        self.fixed = self.sampler.fixed(path.params, self.values, path.given)
        #: Terms between groups of which none is summed out, but for those in the fixed fields.
        self.apart = [
            t
            for t in path.apart
            if not any({g} == set(t.groups) - set(path.given) for g in self.fixed)
        ]

    def shift(self) -> np.ndarray:
        """Minus the energy of what is given alone, which no temperature changes: (n_chains,)."""
        path, energy = self.path, self.path.energy
        total: Any = np.zeros(len(next(iter(self.values.values()))))
        for g in path.given:
            total = total - energy.groups[g].base(energy.own(path.params, g), self.values[g])
        for t in energy.terms:
            if set(t.groups) <= set(path.given):
                total = total + t.value(path.params, self.values, self.n_threads)
        return total

    def _field(self, group: str) -> np.ndarray:
        params, values = self.path.params, self.values
        if group in self.fixed:
            return self.fixed[group].add(params, values, group, self.n_threads)
        return self.path.energy.field(params, values, group, n_threads=self.n_threads, check=False)

    def advance(self, before: float, beta: float, step: int, move: bool) -> np.ndarray:
        """Logs of the weights from one temperature to the next, then a sweep at the next."""
        path, energy, sampler = self.path, self.path.energy, self.sampler
        params = path.at(beta)
        # The fields at full strength do not depend on the temperature.
        fields = {g: self._field(g) for g in path.summed}
        apart: Any = 0.0
        for t in self.apart:
            apart = apart + t.value(params, self.values, self.n_threads)
        for g in (g for g in path.rest if g in self.fixed):
            apart = apart + sum_units(self.values[g] * self.fixed[g].field)
        change = self._log_f(params, fields, apart, beta)
        change -= self._log_f(path.at(before), fields, apart, before)
        if not move:
            return change
        at = self.address.at(step=step)
        drawn: dict[str, np.ndarray] = {}
        for g in path.summed:
            _, x = energy.groups[g].draw(
                energy.own(params, g),
                fields[g],
                at.at(group=sampler.number[g]),
                scale=beta,
                n_threads=self.n_threads,
            )
            assert x is not None
            drawn[g] = x
        self.values |= drawn
        for block in path.rest_blocks:
            drawn = {}
            for g in block:
                where = at.at(group=sampler.number[g])
                _, drawn[g], _ = sampler.draw(params, self.values, g, where, beta, fixed=self.fixed)
            self.values |= drawn
        return change

    def _log_f(
        self,
        params: Params,
        fields: Mapping[str, np.ndarray],
        apart: np.ndarray | float,
        beta: float,
    ) -> np.ndarray:
        """Log of the unnormalised probability at beta, with the summed-out groups gone."""
        energy = self.path.energy
        total: Any = beta * apart
        for g in self.path.rest:
            total = total - energy.groups[g].base(energy.own(params, g), self.values[g])
        for g in self.path.summed:
            unit = energy.groups[g]
            total = total + unit.cumulant(energy.own(params, g), fields[g], scale=beta)
        return np.asarray(total)


class _PackedWalk:
    """Annealed chains of two binary groups: one bit a unit, two compiled calls a temperature.

    The first call sums the field of the summed-out group once, and gives both temperatures'
    cumulants and the draw; the second draws the other group. The random numbers are those of
    `_Walk`.
    """

    def __init__(
        self,
        path: Path,
        n_chains: int,
        address: rng.Address,
        n_threads: int,
        begin: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.path = path
        self.address = address
        self.n_threads = n_threads
        energy = path.energy
        (self.out,), (self.rest,) = path.summed, path.rest
        term = energy.fused_term(self.out)
        assert term is not None
        self.w = term.matrix(path.params)
        #: Whether the weights' rows are the summed-out group.
        self.out_first = term.slots[0].group == self.out
        self.number = {g: i for i, g in enumerate(energy.groups)}
        self.low = {g: -1.0 if energy.groups[g].spin else 0.0 for g in (self.out, self.rest)}  # type: ignore[attr-defined]
        start = Gibbs(energy, n_threads=n_threads).start(path.at(0.0), n_chains, address, {})
        self.bits = {}
        for g in (self.out, self.rest):
            rows = as_rows((begin or {}).get(g, start.values[g]), np.float32)
            self.bits[g] = packed.Bits.pack(rows, low=self.low[g])
        #: The biases' change between temperatures is a multiple of this vector.
        self.slope = {g: as_column(path.params[g] - path.reference[g]) for g in self.bits}

    @staticmethod
    def serves(path: Path) -> bool:
        """Whether the energy is one plain matrix between two binary groups, in range."""
        if len(path.summed) != 1 or len(path.rest) != 1 or len(path.energy.groups) != 2:
            return False
        term = path.energy.fused_term(path.summed[0])
        if term is None or path.energy.fused_term(path.rest[0]) is not term:
            return False
        w = term.matrix(path.params)
        if w.dtype != np.float32:
            return False
        columns = [as_column(path.params[g] - path.reference[g]) for g in path.rest]
        return packed.fits(w) and all(packed.fits(c) for c in columns)

    def advance(self, before: float, beta: float, step: int, move: bool) -> np.ndarray:
        """As `_Walk.advance`."""
        path = self.path
        now, earlier = path.at(beta), path.at(before)
        n = self.bits[self.rest].n_rows
        after, prior, linear = np.empty(n), np.empty(n), np.empty((n, 1), dtype=np.float32)
        at = self.address.at(step=step)
        packed.layer(
            self.bits[self.rest],
            self.w,
            now[self.out].reshape(-1),
            transpose=self.out_first,
            scale=beta,
            spin=self.low[self.out] < 0,
            sample=self.bits[self.out] if move else None,
            cumulant=after,
            other=(earlier[self.out].reshape(-1), before, prior),
            **self._where(at, self.out),
        )
        # Minus the base energy of the other group changes by (beta - before) * slope . x.
        packed.layer(
            self.bits[self.rest],
            self.slope[self.rest],
            None,
            field=linear,
            n_threads=self.n_threads,
        )
        if move:
            packed.layer(
                self.bits[self.out],
                self.w,
                now[self.rest].reshape(-1),
                transpose=not self.out_first,
                scale=beta,
                spin=self.low[self.rest] < 0,
                sample=self.bits[self.rest],
                **self._where(at, self.rest),
            )
        return after - prior + (beta - before) * linear[:, 0]

    def _where(self, at: rng.Address, group: str) -> dict[str, int]:
        stream = at.at(group=self.number[group]).stream
        return {
            "seed": at.seed,
            "stream": stream,
            "step": at.step,
            "row0": at.row,
            "n_threads": self.n_threads,
        }


def as_column(x: np.ndarray) -> np.ndarray:
    """A group's array as a matrix of one column, in single precision."""
    return np.ascontiguousarray(x, dtype=np.float32).reshape(-1, 1)


def log_partition(
    energy: Energy,
    params: Params,
    method: str = "auto",
    **options: Any,
) -> LogPartition:
    """Log Z of an energy, with its interval.

    Parameters
    ----------
    method : {"auto", "exact", "ais"}
        "auto" enumerates up to 2**20 states, and anneals beyond.
    **options
        Of `ais`: ``reference``, ``betas``, ``n_chains``, ``samples``, ``random_state``,
        ``n_threads``.
    """
    one_of("method", method, ("auto", "exact", "ais"))
    check_options("log_partition", ais, options)
    if method == "auto":
        try:
            small = split(energy, list(energy.groups)).log2_states <= AUTO_LOG2_STATES
        except ValueError:
            small = False
        method = "exact" if small else "ais"
    if method == "ais":
        return ais(energy, params, **options)
    energy.check_params(params)
    value = float(Enumeration(energy, params, remedy="Use method='ais'.").log_partition()[0])
    return LogPartition(value, value, value)


def check_options(name: str, annealing: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise a sentence if annealing has no such option, also where log Z is then enumerated."""
    parameters = inspect.signature(annealing).parameters.values()
    known = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise TypeError(f"{name} has no option {option!r}; annealing takes {', '.join(known)}.")


def pseudo_log_likelihood(
    energy: Energy,
    params: Params,
    group: str,
    values: np.ndarray,
    sum_out: Sequence[str],
    n_threads: int = 1,
) -> np.ndarray:
    """``sum_i log p(x_i | all other units of the group)`` with other groups summed out.

    Every unit is visited and every one of its states, so the result is deterministic, unlike
    scikit-learn's estimate from one random unit.

    Parameters
    ----------
    group : str
        A group of a finite unit type.
    values : ndarray of shape (n_rows, *shape)
    sum_out : sequence of str
        All other groups.
    n_threads : int

    Returns
    -------
    ndarray of shape (n_rows,)

    References
    ----------
    Besag, "Statistical analysis of non-lattice data", The Statistician 24, 1975.
    """
    unit = energy.groups[group]
    energy._summed(sum_out)
    table = unit.states()
    if table is None:
        raise ValueError(
            f"the pseudo-likelihood sums over the states of each unit, and {unit.name} units have "
            f"infinitely many. Use score_samples."
        )
    table = table.astype(values.dtype)

    def free_energy(x: np.ndarray) -> np.ndarray:
        state = {group: x}
        return energy.free_energy(params, state, sum_out, n_threads=n_threads, check=False)

    with threads.computing():
        base = free_energy(values)
        total = np.zeros(len(values))
        x = values.copy()
        for site in np.ndindex(unit.unit_shape):
            at = (slice(None), *site)
            log_z = np.full(len(values), -np.inf)
            for s in table:
                x[at] = s
                same = values[at] == s
                if same.ndim > 1:
                    same = same.all(axis=1)
                f = base if same.all() else free_energy(x)
                log_z = np.logaddexp(log_z, np.where(same, -base, -f))
            total += -base - log_z
            x[at] = values[at]
    return total


__all__ = [
    "ConditionalLogPartition",
    "LogPartition",
    "NotEnumerableError",
    "adaptive_ladder",
    "ais",
    "annealing_ladder",
    "conditional_ais",
    "log_mean_exp",
    "log_partition",
    "pareto_shape",
    "pseudo_log_likelihood",
]
