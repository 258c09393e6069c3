"""Averages over samples that are never stored: fixed ranges of samples, summed in fixed order.

The samples of a call are cut into ranges, by numbers that depend on shapes alone. A range is summed
from its first sample to its last; ranges go to threads, and their sums are put together in order.
So the number of threads changes no bit, and memory does not grow with the number of samples.

Ranges also serve as folds: a baseline for one range is estimated from all the others, which keeps
the estimate unbiased.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from .. import rng, threads
from .costs import (
    Cost,
    compiled,
    costs_of,
    find_raising,
    is_jitted,
    not_finite,
    parameter_gradients_of,
)
from .distributions import NOISE, Bernoulli, Binomial, Discrete, Distribution, width

#: Ranges of a call, at the most and (with as many samples) at the least.
MAX_RANGES, MIN_RANGES = 32, 8
#: Numbers that the moments of all ranges may take together.
_MOMENT_ENTRIES = 1 << 22
#: Entries of the samples that a vectorised cost sees at once, and samples.
_BLOCK_ENTRIES, _BLOCK_SAMPLES = 1 << 18, 1024
#: Samples of a cost's first compiled call, and seconds of the next ones: between two, a signal is
#: heard.
_FIRST_SAMPLES, _CALL_SECONDS = 256, 0.05
#: Entries of samples a second, by compiled costs that have run.
_paces: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


@dataclass
class Sums:
    """Sums over the samples of each range.

    For each sample and parameter there is a contribution g, and a control h of known mean zero that
    may be taken off it, ``g - b h``; of the score function, h is the score and b the baseline.
    Costs have ``shift``, the first cost of their range, taken off before they are squared.

    Attributes
    ----------
    edges : ndarray of shape (ranges + 1,)
    shift : ndarray of shape (ranges, rows)
    costs : ndarray of shape (ranges, 2, rows)
        Sums of shifted costs and of their squares.
    moments : ndarray of shape (ranges, 5, rows, n_parameters)
        Sums of g, h, g^2, g h and h^2.
    """

    edges: np.ndarray
    shift: np.ndarray
    costs: np.ndarray
    moments: np.ndarray
    #: Further sums of a method, one a range.
    extra: list[Any] = field(default_factory=list)

    @classmethod
    def zeros(cls, n_samples: int, rows: int, n_parameters: int) -> Sums:
        """Sums of no samples yet, with the ranges that belong to this number of samples."""
        fit = _MOMENT_ENTRIES // (5 * rows * n_parameters)
        n = min(n_samples, max(MIN_RANGES, min(MAX_RANGES, fit)))
        return cls(
            edges=edges(n_samples, n),
            shift=np.zeros((n, rows)),
            costs=np.zeros((n, 2, rows)),
            moments=np.zeros((n, 5, rows, n_parameters)),
            extra=[None] * n,
        )

    @property
    def flat(self) -> np.ndarray:
        """The moments as (ranges, 5, rows * n_parameters)."""
        return self.moments.reshape(len(self.moments), 5, -1)

    @cached_property
    def counts(self) -> np.ndarray:
        """Samples of each range, shaped to stand beside (ranges, rows)."""
        return np.diff(self.edges)[:, None].astype(np.float64)

    @property
    def n_samples(self) -> int:
        """Samples of all ranges."""
        return int(self.edges[-1])

    @cached_property
    def cost(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the costs of each row, and their variance over samples (NaN of one sample)."""
        from .kernels import cost_moments

        out = np.empty((2, self.shift.shape[1]))
        cost_moments(self.edges, self.shift, self.costs, out)
        return out[0], out[1]

    def cost_means(self) -> np.ndarray:
        """Mean cost of each range and row."""
        return self.shift + self.costs[:, 0] / self.counts


def gather(
    bounds: np.ndarray, at: int, start: int, end: int, size: int
) -> tuple[np.ndarray, int, int]:
    """Pieces of ranges, ``size`` samples in all, from sample ``start`` of range ``at`` and on.

    Returns
    -------
    pieces : ndarray of (first sample, one past the last, range, whether it opens the range)
    at, start : int
        Where the next pieces begin; ``at == end`` where no range is left.
    """
    stop = min(start + size, int(bounds[end]))
    after = int(bounds.searchsorted(stop, side="right")) - 1
    last = after if bounds[after] < stop else after - 1
    pieces = np.empty((last + 1 - at, 4), dtype=np.int64)
    pieces[:, 0] = bounds[at : last + 1]
    pieces[:, 1] = bounds[at + 1 : last + 2]
    pieces[:, 2] = np.arange(at, last + 1)
    pieces[:, 3] = 1
    pieces[0, 0], pieces[0, 3] = start, start == bounds[at]
    pieces[-1, 1] = stop
    return pieces, after, stop


def edges(n_samples: int, n_ranges: int) -> np.ndarray:
    """First samples of the ranges, and one past the last."""
    return np.arange(n_ranges + 1) * n_samples // n_ranges


# -- threads ---------------------------------------------------------------------------------------

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _pool(n_threads: int) -> ThreadPoolExecutor:
    """A pool of this process (the threads of a parent are not there after a fork)."""
    key = os.getpid(), n_threads
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(n_threads, thread_name_prefix="fastboltz-gradients")
    return _pools[key]


def over_ranges(
    bounds: np.ndarray,
    work: Callable[[np.ndarray], None],
    n_threads: int,
    samples: int,
    pace: Callable[[int, float], int] | None = None,
) -> None:
    """Give the ranges between bounds to threads, so many samples a call.

    ``pace`` is told the samples and the seconds of a call, and says how many the next has. Between
    two calls a worker sees whether another has failed or the caller was interrupted. How pieces
    are gathered into calls changes no result.
    """
    n_ranges = len(bounds) - 1
    n_threads = min(n_threads, n_ranges)
    stop: list[bool] = []

    def run(at: int, end: int) -> None:
        start, size = int(bounds[at]), samples
        while at < end and not stop:
            some, at, start = gather(bounds, at, start, end, size)
            begin = time.perf_counter()
            work(some)
            if pace is not None:
                size = pace(int(some[-1, 1] - some[0, 0]), time.perf_counter() - begin)

    if n_threads == 1:
        run(0, n_ranges)
        return
    shares = np.arange(n_threads + 1) * n_ranges // n_threads
    pool = _pool(n_threads)
    futures: list[Future[None]] = [pool.submit(run, int(a), int(b)) for a, b in pairwise(shares)]
    failed: BaseException | None = None
    for future in futures:
        try:
            future.result()
        except BaseException as error:
            stop.append(True)
            # The error of the first samples is told, whichever thread was the quickest.
            failed = failed or error
    if failed is not None:
        raise failed


# -- sums ------------------------------------------------------------------------------------------

#: What a method states: costs (n, rows), contributions and controls (n, rows, n_parameters) of
#: samples ``first`` to ``first + n``; then what else it sums, as a function of the slice of
#: these samples. Controls None: there are none.
Contribute = Callable[[int, int], tuple[np.ndarray, np.ndarray, "np.ndarray | None", Any]]


def contributed(
    distribution: Distribution,
    n_samples: int,
    contribute: Contribute,
    *,
    parallel: bool,
    n_threads: int,
    particles: int = 1,
) -> Sums:
    """Sums of what a method makes of each sample."""
    from .kernels import take_off

    sums = Sums.zeros(n_samples, distribution.rows, distribution.n_parameters)
    size = _block(distribution, particles)

    def work(some: np.ndarray) -> None:
        first, last = int(some[0, 0]), int(some[-1, 1])
        j, g, h, more = contribute(first, last - first)
        take_off(np.array(j), some, sums.shift, sums.costs)
        _add(sums, some, g, h)
        if more is not None:
            for start, stop, at, opens in some:
                own = more(slice(start - first, stop - first))
                sums.extra[at] = own if opens else _plus(sums.extra[at], own)

    over_ranges(sums.edges, work, n_threads if parallel else 1, size)
    return sums


def _block(distribution: Distribution, particles: int = 1) -> int:
    """Samples that are worked on at once."""
    entries = particles * distribution.rows * max(distribution.n_parameters, width(distribution))
    return max(1, min(_BLOCK_SAMPLES, _BLOCK_ENTRIES // entries))


def _add(sums: Sums, some: np.ndarray, g: np.ndarray, h: np.ndarray | None) -> None:
    """Add contributions and controls, (n, rows, n_parameters), of some pieces."""
    from .kernels import accumulate

    n = len(g)
    controls = np.empty((0, 0)) if h is None else np.ascontiguousarray(h.reshape(n, -1))
    accumulate(np.ascontiguousarray(g.reshape(n, -1)), controls, some, sums.flat)


def _plus(a: Any, b: Any) -> Any:
    return {k: a[k] + b[k] for k in a}


def score_sums(
    cost: Cost,
    distribution: Distribution,
    n_samples: int,
    address: rng.Address,
    n_threads: int,
    part: float = 1.0,
) -> Sums:
    """Sums of the score function: ``g = (J - shift) s + part dJ/dw`` and h = s, the score.

    Discrete units with a jitted cost stay in one compiled loop. Else blocks of samples are drawn,
    the cost is asked, and the same sums are made: the same bits, where the costs are the same.
    """
    jitted = is_jitted(cost.value)
    sums = Sums.zeros(n_samples, distribution.rows, distribution.n_parameters)
    by_state = None
    if isinstance(distribution, Discrete) and cost.parameter_gradient is None:
        if not isinstance(distribution, Binomial):
            # Entries are 0 or 1: three sums do, and the moments are made of them at the end.
            by_state = np.zeros((len(sums.shift), 3, distribution.mean.size))
        if jitted:
            from fastboltz_ext import averages

            from .kernels import score_loop

            def call(address_of_cost: int, some: np.ndarray) -> int:
                return score_loop(
                    address_of_cost,
                    averages.functions(),
                    distribution.kind,
                    address.at(group=NOISE).as_words(),
                    _thresholds(distribution),
                    distribution.mean.reshape(distribution.rows, -1),
                    some,
                    sums.shift,
                    sums.costs,
                    sums.flat if by_state is None else by_state,
                )

            _run_compiled(cost, distribution, sums, call, address, n_threads)
            return _finished(sums, distribution, by_state)

    from fastboltz_ext import averages

    from .kernels import accumulate_states, take_off

    functions = averages.functions()

    def work(some: np.ndarray) -> None:
        first, last = int(some[0, 0]), int(some[-1, 1])
        y, noise = distribution.draw(address, first, last - first)
        j = np.array(costs_of(cost, distribution, y, first))
        take_off(j, some, sums.shift, sums.costs)
        if by_state is not None:
            flat = np.ascontiguousarray(y.reshape(len(y), -1))
            accumulate_states(functions, flat, j, some, by_state)
            return
        h = distribution.score(y, noise)
        g = j[..., None] * h
        if cost.parameter_gradient is not None:
            g += part * parameter_gradients_of(cost, distribution, y, first)
        _add(sums, some, g, h)

    parallel = jitted and cost.parameter_gradient is None
    if jitted:
        compiled(cost.value, distribution)
    size = _block(distribution)
    over_ranges(sums.edges, work, n_threads if parallel else 1, size)
    return _finished(sums, distribution, by_state)


def _finished(sums: Sums, distribution: Distribution, by_state: np.ndarray | None) -> Sums:
    """Moments of the score from sums of entries in {0, 1}, where these were made."""
    if by_state is not None:
        from .kernels import from_states

        assert isinstance(distribution, Discrete)
        mean = distribution.mean.reshape(distribution.rows, -1)
        from_states(by_state, sums.edges, sums.costs, mean, sums.flat)
    return sums


def antithetic_sums(
    cost: Cost,
    distribution: Bernoulli,
    n_samples: int,
    address: rng.Address,
    n_threads: int,
    marginal: bool,
) -> Sums:
    """Sums of ARM, or of DisARM with ``marginal``; see `methods`."""
    from scipy.special import expit

    weight = expit(np.abs(distribution.own("logits")))
    if is_jitted(cost.value) and cost.parameter_gradient is None:
        from .kernels import antithetic_loop

        sums = Sums.zeros(n_samples, distribution.rows, distribution.n_parameters)

        def call(address_of_cost: int, some: np.ndarray) -> int:
            return antithetic_loop(
                address_of_cost,
                marginal,
                address.at(group=NOISE).as_words(),
                _thresholds(distribution),
                weight,
                some,
                sums.shift,
                sums.costs,
                sums.flat,
            )

        _run_compiled(cost, distribution, sums, call, address, n_threads, antithetic=True)
        return sums

    def contribute(first: int, n: int) -> tuple[np.ndarray, np.ndarray, None, None]:
        u = distribution.uniform(address, NOISE, first, n)
        y, _ = distribution.transform(u)
        other, _ = distribution.transform(1 - u)
        here = costs_of(cost, distribution, y, first)
        there = costs_of(cost, distribution, other, first)
        half = ((there - here) / 2)[..., None]
        g = half * (other - y) * weight if marginal else 2 * half * (u - 0.5)
        if cost.parameter_gradient is not None:
            both = (parameter_gradients_of(cost, distribution, x, first) for x in (y, other))
            g = g + sum(both) / 2
        return (here + there) / 2, g, None, None

    return contributed(
        distribution, n_samples, contribute, parallel=is_jitted(cost.value), n_threads=n_threads
    )


def _thresholds(distribution: Discrete) -> np.ndarray:
    return distribution.thresholds.reshape(-1)


def _run_compiled(
    cost: Cost,
    distribution: Discrete,
    sums: Sums,
    call: Callable[[int, np.ndarray], int],
    address: rng.Address,
    n_threads: int,
    antithetic: bool = False,
) -> None:
    """Run a compiled loop over the ranges, and say what is wrong with the cost where it fails."""
    from .kernels import compiled_address

    ready = compiled(cost.value, distribution)
    at = compiled_address(ready)

    def drawn(sample: int) -> Sequence[np.ndarray]:
        if not antithetic:
            return (distribution.draw(address, sample, 1)[0],)
        u = distribution.uniform(address, NOISE, sample, 1)
        return tuple(distribution.transform(x)[0] for x in (u, 1 - u))

    def work(some: np.ndarray) -> None:
        first, last = int(some[0, 0]), int(some[-1, 1])
        try:
            bad = call(at, some)
        except Exception:
            for start in range(first, last):
                for x in drawn(start):
                    flat = np.ascontiguousarray(x.reshape(1, distribution.rows, -1))
                    find_raising(ready, flat, start, distribution, cost.value)
            raise
        if bad >= 0:
            sample, row = divmod(bad, distribution.rows)
            for x in drawn(sample):
                flat = np.ascontiguousarray(x.reshape(distribution.rows, -1))
                value = ready(flat[row], row)
                if not np.isfinite(value):
                    raise not_finite(cost.value, distribution, x, sample, row, value)

    entries = distribution.rows * width(distribution)

    def pace(n: int, seconds: float) -> int:
        _paces[ready] = n * entries / max(seconds, 1e-9)
        return samples()

    def samples() -> int:
        known = _paces.get(ready)
        return _FIRST_SAMPLES if known is None else max(1, int(known * _CALL_SECONDS / entries))

    over_ranges(sums.edges, work, n_threads, samples(), pace)


def resolve_threads(n_threads: int | None) -> int:
    """Threads of a call."""
    return threads.resolve(n_threads)
