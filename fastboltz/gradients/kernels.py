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

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
#: Samples that are drawn before their moments are summed; they stay in a core's cache.
_SLAB = 16

#: One sample of one row as a vector, and the number of the row.
COST = types.FunctionType(types.float64(types.float64[::1], types.int64))
GRADIENT = types.FunctionType(types.void(types.float64[::1], types.int64, types.float64[::1]))

_u32s, _u64s = types.uint32[::1], types.uint64[:, ::1]
_f64_1, _f64_2, _f64_3 = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_i64, _u64 = types.int64, types.uint64
_pieces = types.int64[:, ::1]


@nb.njit(nogil=True, cache=True)
def philox_row(
    key0: np.uint64,
    key1: np.uint64,
    row: np.uint64,
    step: np.uint64,
    stream: np.uint64,
    words: np.ndarray,
) -> None:
    """Words of one row of an address; ``words`` has a multiple of four entries."""
    for b in range(words.shape[0] // 4):
        k0, k1 = key0, key1
        c0, c1, c2, c3 = np.uint64(b), row, step, stream
        for _ in range(10):
            p0 = _M0 * c0
            p1 = _M1 * c2
            c0, c1 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW
            c2, c3 = (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
            k0 = (k0 + _W0) & _LOW
            k1 = (k1 + _W1) & _LOW
        words[4 * b] = c0
        words[4 * b + 1] = c1
        words[4 * b + 2] = c2
        words[4 * b + 3] = c3


@nb.njit(nogil=True, cache=True)
def _states(kind: int, words: np.ndarray, thresholds: np.ndarray, y: np.ndarray) -> None:
    """Units from their words: 0 binary, 1 counts, 2 one-hot (y is flat)."""
    n, c = thresholds.shape
    if kind == 0:
        for u in range(n):
            y[u] = 1.0 if np.uint64(words[u]) < thresholds[u, 0] else 0.0
        return
    if kind == 2:
        y[:] = 0.0
    for u in range(n):
        w = np.uint64(words[u])
        low, high = 0, c
        while low < high:
            middle = (low + high) // 2
            if w >= thresholds[u, middle]:
                low = middle + 1
            else:
                high = middle
        if kind == 1:
            y[u] = low
        else:
            y[u * (c + 1) + low] = 1.0


@nb.njit(nogil=True, cache=True)
def _mirrored(words: np.ndarray, thresholds: np.ndarray, y: np.ndarray) -> None:
    """Binary units from the complements of their words: ``1 - u`` in place of u."""
    for u in range(thresholds.shape[0]):
        y[u] = 1.0 if (_LOW ^ np.uint64(words[u])) < thresholds[u, 0] else 0.0


@nb.njit(nogil=True, cache=True)
def _add(y: np.ndarray, mean: np.ndarray, j: float, out: np.ndarray) -> None:
    """Moments of one sample: sums of g, h, g^2, g h and h^2 with h = y - mean, g = j h."""
    for u in range(mean.shape[0]):
        h = y[u] - mean[u]
        g = j * h
        out[0, u] += g
        out[1, u] += h
        out[2, u] += g * g
        out[3, u] += g * h
        out[4, u] += h * h


@nb.njit(nogil=True, cache=True)
def _add_four(
    ya: np.ndarray,
    yb: np.ndarray,
    yc: np.ndarray,
    yd: np.ndarray,
    mean: np.ndarray,
    j: np.ndarray,
    s0: np.ndarray,
    s1: np.ndarray,
    s2: np.ndarray,
    s3: np.ndarray,
    s4: np.ndarray,
) -> None:
    """`_add` for four samples one after the other, the sums in registers meanwhile."""
    ja, jb, jc, jd = j[0], j[1], j[2], j[3]
    for u in range(mean.shape[0]):
        m = mean[u]
        a, b, c, d, e = s0[u], s1[u], s2[u], s3[u], s4[u]
        h = ya[u] - m
        g = ja * h
        a += g
        b += h
        c += g * g
        d += g * h
        e += h * h
        h = yb[u] - m
        g = jb * h
        a += g
        b += h
        c += g * g
        d += g * h
        e += h * h
        h = yc[u] - m
        g = jc * h
        a += g
        b += h
        c += g * g
        d += g * h
        e += h * h
        h = yd[u] - m
        g = jd * h
        a += g
        b += h
        c += g * g
        d += g * h
        e += h * h
        s0[u], s1[u], s2[u], s3[u], s4[u] = a, b, c, d, e


@nb.njit(
    _i64(COST, _i64, _u64[::1], _u64s, _f64_2, _pieces, _f64_2, _f64_3, _f64_3),
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
    thresholds : array of shape (rows * units, states - 1)
    mean : array of shape (rows, width)
    pieces : array of (first sample, one past the last, range, whether it opens the range)
    shift : array of shape (ranges, rows)
        The first cost of each range, which is taken off the others before they are squared.
    sums : array of shape (ranges, 2, rows)
        Of the shifted costs and their squares.
    moments : array of shape (ranges, 5, rows * width)

    Returns
    -------
    int
        -1, or ``sample * rows + row`` of the first cost that is no finite number.
    """
    rows, width = mean.shape
    n_units = thresholds.shape[0]
    words = np.empty((n_units + 3) // 4 * 4, np.uint32)
    y = np.empty((_SLAB, rows * width))
    j = np.empty((rows, _SLAB))
    for p in range(pieces.shape[0]):
        first, last, at = pieces[p, 0], pieces[p, 1], pieces[p, 2]
        opens = pieces[p, 3] != 0
        out = moments[at]
        for start in range(first, last, _SLAB):
            n = min(_SLAB, last - start)
            for i in range(n):
                row = np.uint64(start + i)
                philox_row(address[0], address[1], row, address[2], address[3], words)
                _states(kind, words, thresholds, y[i])
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
                i = 0
                while i + 4 <= n:
                    _add_four(
                        y[i, a:b],
                        y[i + 1, a:b],
                        y[i + 2, a:b],
                        y[i + 3, a:b],
                        mean[r],
                        j[r, i : i + 4],
                        out[0, a:b],
                        out[1, a:b],
                        out[2, a:b],
                        out[3, a:b],
                        out[4, a:b],
                    )
                    i += 4
                while i < n:
                    _add(y[i, a:b], mean[r], j[r, i], out[:, a:b])
                    i += 1
    return -1


@nb.njit(
    _i64(
        COST, types.boolean, _u64[::1], _u64s, _f64_2, types.int64[:, ::1], _f64_2, _f64_3, _f64_3
    ),
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
    n_units = thresholds.shape[0]
    words = np.empty((n_units + 3) // 4 * 4, np.uint32)
    y, other = np.empty(n_units), np.empty(n_units)
    for p in range(pieces.shape[0]):
        first, last, at = pieces[p, 0], pieces[p, 1], pieces[p, 2]
        opens = pieces[p, 3] != 0
        for sample in range(first, last):
            row = np.uint64(sample)
            philox_row(address[0], address[1], row, address[2], address[3], words)
            _states(0, words, thresholds, y)
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
    # The function is kept too, so that its id is not given to another.
    _adapted[key] = function, adapted
    return adapted
