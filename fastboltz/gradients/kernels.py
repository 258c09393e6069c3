"""Compiled loops: Philox, draws of discrete units, a user's jitted cost, and sums of moments.

Everything here is serial and free of the GIL; threads stand outside (`loop`). A user's cost comes
in as a first-class function, so these loops are compiled once, kept on disk, and only the cost
itself is compiled anew. Sums run over the samples in order, unit by unit in the lanes, without
re-association: the same loops give the same bits whether the cost was jitted or not.

This module imports Numba at its head; it is itself imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
from numba import types

from .distributions import LOWER, NOISE

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _16, _32 = np.uint64(0xFFFFFFFF), np.uint64(16), np.uint64(32)
#: The lowest and the highest bits of four numbers of 16.
_LOWEST_BITS, _HIGHEST_BITS = np.uint64(0x0001000100010001), np.uint64(0x8000800080008000)
#: From the stream of `distributions.NOISE` to that of `distributions.LOWER`.
_LOWER = np.uint64(LOWER - NOISE)
#: Samples that are drawn before their moments are summed; they stay in a core's cache.
_SLAB = 8

#: One sample of one row as a vector, and the number of the row.
COST = types.FunctionType(types.float64(types.float64[::1], types.int64))
GRADIENT = types.FunctionType(types.void(types.float64[::1], types.int64, types.float64[::1]))

_u64s = types.uint64[::1]
_f64_1, _f64_2, _f64_3 = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_i64, _u64 = types.int64, types.uint64
_pieces = types.int64[:, ::1]


@nb.njit(nogil=True, cache=True)
def philox(
    key0: np.uint64,
    key1: np.uint64,
    first: np.uint64,
    step: np.uint64,
    stream: np.uint64,
    blocks: np.ndarray,
    rows: np.ndarray,
    words: np.ndarray,
) -> None:
    """Words of some rows of an address, four a block.

    ``blocks`` and ``rows`` list the counters of every block, rows counted from ``first``, so that
    the loop runs over whole registers whatever the number of units. Upper halves of the 64-bit
    lanes are left dirty between rounds: a product takes the lower ones alone.
    """
    for b in range(blocks.shape[0]):
        k0, k1 = key0, key1
        c0, c1, c2, c3 = blocks[b], rows[b] + first, step, stream
        for _ in range(10):
            p0 = _M0 * (c0 & _LOW)
            p1 = _M1 * (c2 & _LOW)
            c0, c1 = (p1 >> _32) ^ c1 ^ k0, p1
            c2, c3 = (p0 >> _32) ^ c3 ^ k1, p0
            k0 = (k0 + _W0) & _LOW
            k1 = (k1 + _W1) & _LOW
        words[4 * b] = c0 & _LOW
        words[4 * b + 1] = c1 & _LOW
        words[4 * b + 2] = c2 & _LOW
        words[4 * b + 3] = c3 & _LOW


@nb.njit(nogil=True, cache=True)
def counters(n_rows: int, n_units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks and rows as `philox` takes them, and room for the words."""
    n = (n_units + 3) // 4
    blocks, rows = np.empty(n_rows * n, np.uint64), np.empty(n_rows * n, np.uint64)
    for i in range(n_rows):
        for b in range(n):
            blocks[i * n + b], rows[i * n + b] = b, i
    return blocks, rows, np.empty(4 * n_rows * n, np.uint32)


@nb.njit(nogil=True, cache=True)
def _states(
    kind: int, words: np.ndarray, n_words: int, thresholds: np.ndarray, y: np.ndarray
) -> None:
    """Units of samples y from their words: 1 counts, 2 one-hot (y is flat)."""
    n = y.shape[1]
    # Counts have c thresholds a unit; one-hot units of c + 1 entries have c.
    c = thresholds.shape[0] // n
    if kind == 2:
        c = thresholds.shape[0] // (n - thresholds.shape[0])
        n //= c + 1
        y[:] = 0.0
    for i in range(y.shape[0]):
        for u in range(n):
            word = np.uint64(words[i * n_words + u])
            low, high = 0, c
            while low < high:
                middle = (low + high) // 2
                if word >= thresholds[u * c + middle]:
                    low = middle + 1
                else:
                    high = middle
            if kind == 1:
                y[i, u] = low
            else:
                y[i, u * (c + 1) + low] = 1.0


@nb.njit(nogil=True, cache=True)
def _word(
    key0: np.uint64, key1: np.uint64, unit: int, row: np.uint64, step: np.uint64, stream: np.uint64
) -> np.uint64:
    """The word of one unit of one row of an address."""
    blocks, rows = np.empty(1, np.uint64), np.zeros(1, np.uint64)
    words = np.empty(4, np.uint32)
    blocks[0] = unit // 4
    philox(key0, key1, row, step, stream, blocks, rows, words)
    return np.uint64(words[unit % 4])


@nb.njit(nogil=True, cache=True)
def _upper(thresholds: np.ndarray, n_words: int) -> np.ndarray:
    """Upper halves of binary units' thresholds, a place for each half of ``n_words`` words."""
    upper = np.zeros(2 * n_words, np.uint16)
    for u in range(min(thresholds.shape[0], upper.shape[0])):
        # A threshold of 2^32 ties with the highest half, and then all of its words are below.
        upper[u] = min(thresholds[u] >> np.uint64(16), np.uint64(0xFFFF))
    return upper


@nb.njit(nogil=True, cache=True)
def _ones(
    address: np.ndarray,
    first: int,
    halves: np.ndarray,
    fours: np.ndarray,
    thresholds: np.ndarray,
    upper: np.ndarray,
    upper_fours: np.ndarray,
    y: np.ndarray,
) -> None:
    """Binary units of samples ``first`` and on, two from a word; see `Bernoulli.draw`.

    ``halves`` of the words and ``upper`` are read four at a time too.
    """
    n = y.shape[1]
    for i in range(y.shape[0]):
        own, out = halves[i], y[i]
        for u in range(n):
            out[u] = 1.0 if own[u] < upper[u] else 0.0
    for i in range(y.shape[0]):
        # The highest bit of a half that is zero becomes one by borrowing.
        found, each = np.uint64(0), fours[i]
        for b in range(upper_fours.shape[0]):
            x = each[b] ^ upper_fours[b]
            found |= (x - _LOWEST_BITS) & ~x
        if found & _HIGHEST_BITS == 0:
            continue
        own, out = halves[i], y[i]
        for u in range(n):
            if own[u] == upper[u]:
                row, stream = np.uint64(first + i), address[3] + _LOWER
                word = _word(address[0], address[1], u, row, address[2], stream)
                whole = (np.uint64(own[u]) << _16) | (word >> _16)
                out[u] = 1.0 if whole < thresholds[u] else 0.0


@nb.njit(nogil=True, cache=True)
def _whole(words: np.ndarray, thresholds: np.ndarray, y: np.ndarray) -> None:
    """Binary units from words of their own."""
    for u in range(y.shape[0]):
        y[u] = 1.0 if np.uint64(words[u]) < thresholds[u] else 0.0


@nb.njit(nogil=True, cache=True)
def _mirrored(words: np.ndarray, thresholds: np.ndarray, y: np.ndarray) -> None:
    """Binary units from the complements of their words: ``1 - u`` in place of u."""
    for u in range(y.shape[0]):
        y[u] = 1.0 if (_LOW ^ np.uint64(words[u])) < thresholds[u] else 0.0


@nb.njit(nogil=True, cache=True)
def _add(y: np.ndarray, mean: np.ndarray, j: float, out: np.ndarray) -> None:
    """Moments of one sample: sums of g, h, g^2, g h and h^2 with h = y - mean, g = j h.

    For counts; sums for entries in {0, 1} are fewer, see `_add_states`.
    """
    for u in range(mean.shape[0]):
        h = y[u] - mean[u]
        g = j * h
        out[0, u] += g
        out[1, u] += h
        out[2, u] += g * g
        out[3, u] += g * h
        out[4, u] += h * h


@nb.njit(nogil=True, cache=True)
def _add_states(y: np.ndarray, j: np.ndarray, a: int, b: int, out: np.ndarray) -> None:
    """Sums of y, j y and j^2 y for y in {0, 1}, over samples in order, columns a to b of both.

    All moments of `_add` follow from these (`from_states`). Eight samples go through a register at
    a time; each loop writes one array, so that the compiler sees that none overlaps another.
    """
    n = y.shape[0]
    start = 0
    while start + 8 <= n:
        y0, y1, y2, y3 = y[start, a:b], y[start + 1, a:b], y[start + 2, a:b], y[start + 3, a:b]
        y4, y5, y6, y7 = y[start + 4, a:b], y[start + 5, a:b], y[start + 6, a:b], y[start + 7, a:b]
        s = out[0, a:b]
        for u in range(b - a):
            t = (((s[u] + y0[u]) + y1[u]) + y2[u]) + y3[u]
            s[u] = (((t + y4[u]) + y5[u]) + y6[u]) + y7[u]
        j0, j1, j2, j3 = j[start], j[start + 1], j[start + 2], j[start + 3]
        j4, j5, j6, j7 = j[start + 4], j[start + 5], j[start + 6], j[start + 7]
        for k in range(1, 3):
            s = out[k, a:b]
            for u in range(b - a):
                t = (((s[u] + j0 * y0[u]) + j1 * y1[u]) + j2 * y2[u]) + j3 * y3[u]
                s[u] = (((t + j4 * y4[u]) + j5 * y5[u]) + j6 * y6[u]) + j7 * y7[u]
            j0, j1, j2, j3 = j0 * j0, j1 * j1, j2 * j2, j3 * j3
            j4, j5, j6, j7 = j4 * j4, j5 * j5, j6 * j6, j7 * j7
        start += 8
    for i in range(start, n):
        square = j[i] * j[i]
        for u in range(a, b):
            out[0, u] += y[i, u]
            out[1, u] += j[i] * y[i, u]
            out[2, u] += square * y[i, u]


@nb.njit(types.void(_f64_3, _f64_1, _f64_3, _f64_2, _f64_3), nogil=True, cache=True)
def from_states(
    states: np.ndarray,
    counts: np.ndarray,
    sums: np.ndarray,
    mean: np.ndarray,
    moments: np.ndarray,
) -> None:
    """Moments of ``h = y - mean`` and ``g = j h`` from the sums of `_add_states`.

    Where y is one, h is 1 - mean, else -mean; and what is not in the sum over the ones is in that
    over the zeros.
    """
    rows, width = mean.shape
    for at in range(states.shape[0]):
        for r in range(rows):
            for i in range(width):
                u = r * width + i
                on, off = 1 - mean[r, i], -mean[r, i]
                n, j, jj = states[at, 0, u], states[at, 1, u], states[at, 2, u]
                rest, j_rest, jj_rest = counts[at] - n, sums[at, 0, r] - j, sums[at, 1, r] - jj
                moments[at, 0, u] = j * on + j_rest * off
                moments[at, 1, u] = n * on + rest * off
                moments[at, 2, u] = jj * on * on + jj_rest * off * off
                moments[at, 3, u] = j * on * on + j_rest * off * off
                moments[at, 4, u] = n * on * on + rest * off * off


@nb.njit(types.void(_f64_2, _f64_2, _pieces, _f64_3), nogil=True, cache=True)
def accumulate_states(y: np.ndarray, j: np.ndarray, pieces: np.ndarray, states: np.ndarray) -> None:
    """`_add_states` for the samples (n, rows * width) and costs (n, rows) of some pieces."""
    width = y.shape[1] // j.shape[1]
    for p in range(pieces.shape[0]):
        a, b = pieces[p, 0] - pieces[0, 0], pieces[p, 1] - pieces[0, 0]
        for r in range(j.shape[1]):
            costs = j[a:b, r].copy()
            _add_states(y[a:b], costs, r * width, (r + 1) * width, states[pieces[p, 2]])


@nb.njit(
    _i64(COST, _i64, _u64s, _u64s, _f64_2, _pieces, _f64_2, _f64_3, _f64_3),
    nogil=True,
    cache=True,
)
def score_loop(
    cost: Any,
    kind: int,
    address: np.ndarray,
    thresholds: np.ndarray,
    mean: np.ndarray,
    pieces: np.ndarray,
    shift: np.ndarray,
    sums: np.ndarray,
    moments: np.ndarray,
) -> int:
    """Draw samples, ask for their costs, and add up moments of the score.

    Parameters
    ----------
    kind : int
        Of units, as in `_states`.
    address : array of (key 0, key 1, step, stream)
    thresholds : array of shape (rows * units * (states - 1),)
    mean : array of shape (rows, width)
    pieces : array of (first sample, one past the last, range, whether it opens the range)
    shift : array of shape (ranges, rows)
        The first cost of each range, which is taken off the others before they are squared.
    sums : array of shape (ranges, 2, rows)
        Of the shifted costs and their squares.
    moments : array of shape (ranges, 3 or 5, rows * width)
        Counts: five, as `_add` has them; else three, as `_add_states` has them.

    Returns
    -------
    int
        -1, or ``sample * rows + row`` of the first cost that is no finite number.
    """
    rows, width = mean.shape
    n_units = rows * width
    if kind == 2:
        n_units -= thresholds.shape[0]
    if kind == 0:
        n_units = (n_units + 1) // 2
    blocks, lines, words = counters(_SLAB, n_units)
    n_blocks, n_words = blocks.shape[0] // _SLAB, words.shape[0] // _SLAB
    upper = _upper(thresholds, n_words if kind == 0 else 0)
    halves = words.view(np.uint16).reshape(_SLAB, 2 * n_words)
    fours = words.view(np.uint64).reshape(_SLAB, n_words // 2)
    upper_fours = upper.view(np.uint64)
    y = np.empty((_SLAB, rows * width))
    j = np.empty((rows, _SLAB))
    for p in range(pieces.shape[0]):
        first, last, at = pieces[p, 0], pieces[p, 1], pieces[p, 2]
        opens = pieces[p, 3] != 0
        out = moments[at]
        for start in range(first, last, _SLAB):
            n = min(_SLAB, last - start)
            philox(
                address[0],
                address[1],
                np.uint64(start),
                address[2],
                address[3],
                blocks[: n * n_blocks],
                lines[: n * n_blocks],
                words,
            )
            if kind == 0:
                _ones(address, start, halves, fours, thresholds, upper, upper_fours, y[:n])
            else:
                _states(kind, words, n_words, thresholds, y[:n])
            for i in range(n):
                for r in range(rows):
                    value = cost(y[i, r * width : (r + 1) * width], r)
                    if not np.isfinite(value):
                        return (start + i) * rows + r
                    if opens:
                        shift[at, r] = value
                    value -= shift[at, r]
                    j[r, i] = value
                    sums[at, 0, r] += value
                    sums[at, 1, r] += value * value
                opens = False
            for r in range(rows):
                a, b = r * width, (r + 1) * width
                if kind == 1:
                    for i in range(n):
                        _add(y[i, a:b], mean[r], j[r, i], out[:, a:b])
                else:
                    _add_states(y[:n], j[r], a, b, out)
    return -1


@nb.njit(
    _i64(COST, types.boolean, _u64s, _u64s, _f64_2, types.int64[:, ::1], _f64_2, _f64_3, _f64_3),
    nogil=True,
    cache=True,
)
def antithetic_loop(
    cost: Any,
    marginal: bool,
    address: np.ndarray,
    thresholds: np.ndarray,
    weight: np.ndarray,
    pieces: np.ndarray,
    shift: np.ndarray,
    sums: np.ndarray,
    moments: np.ndarray,
) -> int:
    """ARM, or DisARM with ``marginal``: as `score_loop`, with two costs a sample.

    ``weight`` is ``sigma(|logit|)`` for DisARM, (rows, width). Moments 0 and 2 are written.
    """
    rows, width = weight.shape
    n_units = rows * width
    blocks, lines, words = counters(1, n_units)
    pair = np.empty((2, n_units))
    y, other = pair[0], pair[1]
    for p in range(pieces.shape[0]):
        first, last, at = pieces[p, 0], pieces[p, 1], pieces[p, 2]
        opens = pieces[p, 3] != 0
        for sample in range(first, last):
            row = np.uint64(sample)
            philox(address[0], address[1], row, address[2], address[3], blocks, lines, words)
            _whole(words, thresholds, y)
            _mirrored(words, thresholds, other)
            for r in range(rows):
                a, b = r * width, (r + 1) * width
                here, there = cost(y[a:b], r), cost(other[a:b], r)
                if not (np.isfinite(here) and np.isfinite(there)):
                    return sample * rows + r
                value = (here + there) / 2
                if opens:
                    shift[at, r] = value
                value -= shift[at, r]
                sums[at, 0, r] += value
                sums[at, 1, r] += value * value
                half = (there - here) / 2
                for u in range(a, b):
                    if marginal:
                        # (J(b) - J(b~)) / 2 times (-1)^b~ where they differ; b~ is y.
                        g = half * (other[u] - y[u]) * weight[r, u - a]
                    else:
                        g = 2 * half * ((np.float64(words[u]) + 0.5) * 2.0**-32 - 0.5)
                    moments[at, 0, u] += g
                    moments[at, 2, u] += g * g
            opens = False
    return -1


@nb.njit(_i64(COST, _f64_3, _f64_2), nogil=True, cache=True)
def evaluate(cost: Any, y: np.ndarray, out: np.ndarray) -> int:
    """Costs of samples (n, rows, width), and where one is no finite number, or -1."""
    for i in range(y.shape[0]):
        for r in range(y.shape[1]):
            out[i, r] = cost(y[i, r], r)
            if not np.isfinite(out[i, r]):
                return i * y.shape[1] + r
    return -1


@nb.njit(types.void(GRADIENT, _f64_3, _f64_3), nogil=True, cache=True)
def evaluate_gradient(gradient: Any, y: np.ndarray, out: np.ndarray) -> None:
    """Gradients of the cost by samples (n, rows, width)."""
    for i in range(y.shape[0]):
        for r in range(y.shape[1]):
            gradient(y[i, r], r, out[i, r])


@nb.njit(types.void(_f64_2, _pieces, _f64_2, _f64_3), nogil=True, cache=True)
def take_off(j: np.ndarray, pieces: np.ndarray, shift: np.ndarray, sums: np.ndarray) -> None:
    """Take the first cost of each range off its costs (n, rows), in place, and sum these.

    The first row of ``j`` is the first sample of the first piece.
    """
    for p in range(pieces.shape[0]):
        at = pieces[p, 2]
        for i in range(pieces[p, 0] - pieces[0, 0], pieces[p, 1] - pieces[0, 0]):
            for r in range(j.shape[1]):
                if pieces[p, 3] != 0 and i == pieces[p, 0] - pieces[0, 0]:
                    shift[at, r] = j[i, r]
                j[i, r] -= shift[at, r]
                sums[at, 0, r] += j[i, r]
                sums[at, 1, r] += j[i, r] * j[i, r]


@nb.njit(types.void(_f64_2, _f64_2, _pieces, _f64_3), nogil=True, cache=True)
def accumulate(g: np.ndarray, h: np.ndarray, pieces: np.ndarray, moments: np.ndarray) -> None:
    """Sums over rows, in order, of g, h, g^2, g h and h^2; where h has no rows, of g and g^2."""
    for p in range(pieces.shape[0]):
        out = moments[pieces[p, 2]]
        for i in range(pieces[p, 0] - pieces[0, 0], pieces[p, 1] - pieces[0, 0]):
            for u in range(g.shape[1]):
                out[0, u] += g[i, u]
                out[2, u] += g[i, u] * g[i, u]
            if h.shape[0] == 0:
                continue
            for u in range(g.shape[1]):
                out[1, u] += h[i, u]
                out[3, u] += g[i, u] * h[i, u]
                out[4, u] += h[i, u] * h[i, u]


# -- the user's functions --------------------------------------------------------------------------

#: Functions that are kept ready.
_KEPT = 64
_adapted: dict[tuple[int, tuple[int, ...], bool, bool], tuple[Any, Any]] = {}


def adapt(function: Any, shape: tuple[int, ...], with_row: bool, gradient: bool = False) -> Any:
    """A jitted cost (or gradient) as the loops call it: on a flat sample, with its row.

    Parameters
    ----------
    function : Numba dispatcher
        ``cost(y)`` or, where the distribution has rows, ``cost(y, row)``; a gradient has one more
        argument at the end, which it fills.
    """
    key = (id(function), shape if len(shape) > 1 else (), with_row, gradient)
    if key in _adapted:
        return _adapted[key][1]
    flat = len(shape) == 1
    made: Callable[..., Any]
    if gradient:
        if flat and with_row:
            made = lambda y, row, out: function(y, row, out)  # noqa: E731
        elif flat:
            made = lambda y, row, out: function(y, out)  # noqa: E731
        elif with_row:
            made = lambda y, row, out: function(y.reshape(shape), row, out.reshape(shape))  # noqa: E731
        else:
            made = lambda y, row, out: function(y.reshape(shape), out.reshape(shape))  # noqa: E731
        signature = GRADIENT.signature
    else:
        if flat and with_row:
            made = lambda y, row: np.float64(function(y, row))  # noqa: E731
        elif flat:
            made = lambda y, row: np.float64(function(y))  # noqa: E731
        elif with_row:
            made = lambda y, row: np.float64(function(y.reshape(shape), row))  # noqa: E731
        else:
            made = lambda y, row: np.float64(function(y.reshape(shape)))  # noqa: E731
        signature = COST.signature
    adapted = nb.njit(signature, nogil=True)(made)
    if len(_adapted) >= _KEPT:
        del _adapted[next(iter(_adapted))]
    # The function is kept too, so that its id is not given to another.
    _adapted[key] = function, adapted
    return adapted
