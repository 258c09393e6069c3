"""log Z, exact or by annealed importance sampling, and the pseudo-likelihood.

Annealed importance sampling (Neal 2001; Salakhutdinov & Murray 2008) moves chains from a
reference model without couplings, whose Z is known, to the model, over a ladder of inverse
temperatures; the mean of the importance weights estimates the ratio of the two Z without bias.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from fastboltz_ext import packed

from . import rng, threads
from .energy import Energy
from .enumeration import Enumeration, split
from .gibbs import Gibbs
from .terms import Params, as_rows
from .units import Own
from .units.base import sum_units
from .validation import NotEnumerableError, check_count, check_rows, one_of, unknown_group

#: An estimate is called degenerate when fewer chains than this carry its weight.
MIN_EFFECTIVE_CHAINS = 10.0
#: Estimates for many rows are called degenerate when their bias is larger, in nats.
MAX_BIAS = 0.05
#: Chains of a conditional annealing that go through the temperatures together.
_CHAINS_AT_ONCE = 2048
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
        95 % interval; equal to the value where it is exact.
    standard_error : float
        Standard error of the estimate of Z, relative to Z (so, in nats for small errors).
    effective_chains : float
        ``(sum w)^2 / sum w^2`` of the importance weights: how many chains carry the estimate.
    method : {"exact", "ais"}
    n_chains, n_betas : int
    """

    value: float
    low: float
    high: float
    standard_error: float = 0.0
    effective_chains: float = np.inf
    method: str = "exact"
    n_chains: int = 0
    n_betas: int = 0

    @property
    def is_degenerate(self) -> bool:
        """Whether too few chains carry the estimate for its interval to be believed."""
        return self.effective_chains < MIN_EFFECTIVE_CHAINS

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        if self.method == "exact":
            return f"log Z = {self.value:.3f} (exact)"
        return (
            f"log Z = {self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (95 %; annealed "
            f"importance sampling, {self.n_chains} chains, {self.n_betas} inverse temperatures, "
            f"{self.effective_chains:.0f} effective chains)"
        )


def log_mean_exp(log_w: np.ndarray) -> LogPartition:
    """``log mean(exp(log_w))`` in double precision, with a 95 % interval.

    The interval is that of the mean of the weights by the central limit theorem, taken to the log
    scale; where it reaches zero the lower end is the smallest weight.
    """
    log_w = np.asarray(log_w, dtype=np.float64)
    n = len(log_w)
    value = float(logsumexp(log_w) - np.log(n))
    w = np.exp(log_w - log_w.max())
    relative = float(w.std(ddof=1) / (w.mean() * np.sqrt(n))) if n > 1 else np.inf
    effective = float(w.sum() ** 2 / (w**2).sum())
    floor = float(log_w.min())
    low = value + np.log1p(-1.96 * relative) if 1.96 * relative < 1 else floor
    return LogPartition(
        value=value,
        low=float(max(low, floor)),
        high=float(value + np.log1p(1.96 * relative)),
        standard_error=relative,
        effective_chains=effective,
        method="ais",
        n_chains=n,
    )


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


def ais(
    energy: Energy,
    params: Params,
    *,
    reference: Mapping[str, Own] | None = None,
    betas: int | Sequence[float] | np.ndarray = 1000,
    n_chains: int = 256,
    random_state: Any = None,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
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
        Number of inverse temperatures, or the ladder itself, from 0 to 1.
    n_chains : int
    progress : callable, optional
        Called as ``progress(done, total)`` now and then.

    Returns
    -------
    LogPartition

    References
    ----------
    Neal, "Annealed importance sampling", Statistics and Computing 11, 2001.
    Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    """
    energy.check_params(params)
    check_count("n_chains", n_chains, minimum=2)
    ladder = _ladder(betas)
    path = _Path(energy, params, reference or {})
    address = rng.Address.of(rng.seed_from(random_state), "ais")
    walk = _PackedWalk if _PackedWalk.serves(path) else _Walk
    chains = walk(path, n_chains, address, threads.resolve(n_threads))
    with threads.single_threaded_blas():
        log_w = _anneal(chains, ladder, progress)
    result = log_mean_exp(log_w)
    shift = path.log_z_reference()
    result = LogPartition(
        value=result.value + shift,
        low=result.low + shift,
        high=result.high + shift,
        standard_error=result.standard_error,
        effective_chains=result.effective_chains,
        method="ais",
        n_chains=n_chains,
        n_betas=len(ladder),
    )
    if result.is_degenerate:
        warnings.warn(
            f"annealed importance sampling has degenerated: {result.effective_chains:.1f} of "
            f"{n_chains} chains carry the estimate, so log Z is likely too low. Use more inverse "
            f"temperatures (now {len(ladder)}) or more chains.",
            RuntimeWarning,
            stacklevel=2,
        )
    return result


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
    method : {"exact", "ais"}
    n_chains, n_betas : int
    """

    values: np.ndarray
    standard_errors: np.ndarray
    effective_chains: np.ndarray
    method: str = "exact"
    n_chains: int = 0
    n_betas: int = 0

    @property
    def is_degenerate(self) -> bool:
        """Whether the estimates are too low on average by more than some hundredths of a nat."""
        return self.bias > MAX_BIAS

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
        return LogPartition(
            value=value,
            low=value - 1.96 * error,
            high=value + self.bias + 1.96 * error,
            standard_error=error,
            effective_chains=float(self.effective_chains.mean()),
            method=self.method,
            n_chains=self.n_chains,
            n_betas=self.n_betas,
        )


def conditional_ais(
    energy: Energy,
    params: Params,
    given: Mapping[str, Any],
    *,
    reference: Mapping[str, Own] | None = None,
    betas: int | Sequence[float] | np.ndarray = 100,
    n_chains: int = 16,
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
    reference, betas, n_threads
        As for `ais`.
    n_chains : int
        Chains of each row.
    progress : callable, optional
        Called as ``progress(done, total)`` with numbers of rows.
    collect : callable, optional
        Called as ``collect(rows, values, weights)`` with a slice of rows, the ends of their chains
        (n * n_chains, *shape), and weights (n, n_chains) that sum to one for each row: weighted so,
        the groups that are not summed out have the model's distribution.

    Returns
    -------
    ConditionalLogPartition
        log Z of the groups that are not given, as `Energy.log_partition` defines it.
    """
    given = energy._checked(params, given, given)
    n_rows = check_rows(given) if given else 1
    check_count("n_chains", n_chains, minimum=2)
    ladder = _ladder(betas)
    path = _Path(energy, params, reference or {}, tuple(given))
    seed = rng.seed_from(random_state)
    log_z, errors, effective = np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows)
    with threads.single_threaded_blas():
        # Blocks of rows whose chains stay in a core's cache through all temperatures.
        for start in range(0, n_rows, step := max(1, _CHAINS_AT_ONCE // n_chains)):
            rows = slice(start, min(start + step, n_rows))
            held = {g: np.repeat(x[rows], n_chains, axis=0) for g, x in given.items()}
            address = rng.Address.of(seed, "ais", row=start * n_chains)
            n = (rows.stop - start) * n_chains
            chains = _Walk(path, n, address, threads.resolve(n_threads), held)
            log_w = _anneal(chains, ladder).reshape(-1, n_chains)
            top = log_w.max(axis=1, keepdims=True)
            w = np.exp(log_w - top)
            mean = w.mean(axis=1)
            log_z[rows] = top[:, 0] + np.log(mean) + chains.shift()[::n_chains]
            errors[rows] = w.std(axis=1, ddof=1) / (mean * np.sqrt(n_chains))
            effective[rows] = w.sum(axis=1) ** 2 / (w**2).sum(axis=1)
            if collect is not None:
                collect(rows, chains.values, w / w.sum(axis=1, keepdims=True))
            if progress is not None:
                progress(rows.stop, n_rows)
    log_z += path.log_z_reference()
    return ConditionalLogPartition(log_z, errors, effective, "ais", n_chains, len(ladder))


def _anneal(
    chains: _Walk | _PackedWalk,
    ladder: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Logs of the chains' weights over the whole ladder."""
    log_w: Any = 0.0
    last = len(ladder) - 1
    for k in range(1, last + 1):
        log_w = log_w + chains.advance(ladder[k - 1], ladder[k], k, move=k < last)
        if progress is not None and (k % 64 == 0 or k == last):
            progress(k, last)
    return np.asarray(log_w)


def _ladder(betas: Any) -> np.ndarray:
    """Inverse temperatures, checked."""
    if np.ndim(betas) == 0:
        return annealing_ladder(check_count("betas", betas, minimum=2))
    ladder = np.asarray(betas, np.float64)
    rises = ladder.ndim == 1 and len(ladder) > 1 and bool((np.diff(ladder) > 0).all())
    if not (rises and ladder[0] == 0 and ladder[-1] == 1):
        raise ValueError(
            f"betas must rise strictly from 0 to 1, both ends included; got {betas!r}."
        )
    return ladder


class _Path:
    """The distributions between the reference and the model."""

    def __init__(
        self,
        energy: Energy,
        params: Params,
        reference: Mapping[str, Own],
        given: tuple[str, ...] = (),
    ) -> None:
        self.energy = energy
        self.params = params
        self.given = given
        self.reference = {}
        for g in reference:
            if g not in energy.groups:
                raise unknown_group("reference", g, energy.groups)
        for g in energy.groups:
            start = reference.get(g, {}).get("bias")
            zero = np.zeros_like(params[g])
            self.reference[g] = zero if start is None else np.asarray(start, dtype=params[g].dtype)
            if self.reference[g].shape != zero.shape:
                raise ValueError(
                    f"reference[{g!r}]['bias'] has shape {self.reference[g].shape}; expected "
                    f"{zero.shape}."
                )
        # Sum out as many units as can be: every unit summed out is variance saved.
        sets: list[tuple[str, ...]] = [()]
        for g in (g for g in energy.groups if g not in given):
            sets += [(*s, g) for s in sets if energy.is_independent((*s, g))]
        self.summed = max(sets, key=lambda s: sum(energy.groups[g].n_units for g in s))
        self.rest_blocks = energy.blocks(clamped=(*self.summed, *given))
        self.rest = [g for b in self.rest_blocks for g in b]
        #: Terms that neither are summed out nor hold given groups alone.
        self.apart = [
            t
            for t in energy.terms
            if not set(t.groups) & set(self.summed) and not set(t.groups) <= set(given)
        ]

    def at(self, beta: float) -> Params:
        """Parameters whose biases are interpolated; couplings are scaled by who uses them."""
        out = dict(self.params)
        for g, start in self.reference.items():
            if beta < 1:
                b = np.asarray(beta, dtype=start.dtype)
                out[g] = (1 - b) * start + b * self.params[g]
        return out

    def log_z_reference(self) -> float:
        """Log Z of the independent units at beta = 0."""
        at_start = self.at(0.0)
        return float(
            sum(
                u.cumulant(self.energy.own(at_start, g), np.zeros((1, *u.shape)))[0]
                for g, u in self.energy.groups.items()
                if g not in self.given
            )
        )


class _Walk:
    """Annealed chains of any energy."""

    def __init__(
        self,
        path: _Path,
        n_chains: int,
        address: rng.Address,
        n_threads: int,
        given: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.path = path
        self.address = address
        self.n_threads = n_threads
        self.sampler = Gibbs(path.energy, clamp=path.given, n_threads=n_threads)
        start = self.sampler.start(path.at(0.0), n_chains, address, given or {})
        self.values = dict(start.values)
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

    def __init__(self, path: _Path, n_chains: int, address: rng.Address, n_threads: int) -> None:
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
            rows = as_rows(start.values[g], np.float32)
            self.bits[g] = packed.Bits.pack(rows, low=self.low[g])
        #: The biases' change between temperatures is a multiple of this vector.
        self.slope = {g: as_column(path.params[g] - path.reference[g]) for g in self.bits}

    @staticmethod
    def serves(path: _Path) -> bool:
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
        Of `ais`: ``reference``, ``betas``, ``n_chains``, ``random_state``, ``n_threads``.
    """
    one_of("method", method, ("auto", "exact", "ais"))
    known = list(inspect.signature(ais).parameters)[2:]
    for name in options:
        if name not in known:
            raise TypeError(
                f"log_partition has no option {name!r}; annealing takes {', '.join(known)}."
            )
    if method == "auto":
        try:
            small = split(energy, list(energy.groups)).log2_states <= AUTO_LOG2_STATES
        except ValueError:
            small = False
        method = "exact" if small else "ais"
    if method == "ais":
        return ais(energy, params, **options)
    energy.check_params(params)
    value = float(Enumeration(energy, params).log_partition()[0])
    return LogPartition(value, value, value)


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

    with threads.single_threaded_blas():
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
    "ais",
    "annealing_ladder",
    "conditional_ais",
    "log_mean_exp",
    "log_partition",
    "pseudo_log_likelihood",
]
