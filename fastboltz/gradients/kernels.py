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
from weakref import WeakKeyDictionary

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .distributions import LOWER, NOISE

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
#: From the stream of `distributions.NOISE` to that of `distributions.LOWER`.
_LOWER = np.uint64(LOWER - NOISE)
#: Samples that are drawn before their moments are summed; they stay in a core's cache.
_SLAB = 8
#: Samples whose binary units are bytes at a time, at the most (so few that a byte counts the ones),
#: and bytes of them.
_TABLE, _TABLE_BYTES = 64, 1 << 14
#: One sample of one row as a vector, and the number of the row.
COST = types.FunctionType(types.float64(types.float64[::1], types.int64))
GRADIENT = types.FunctionType(types.void(types.float64[::1], types.int64, types.float64[::1]))

_u64s = types.uint64[::1]
_f64_1, _f64_2, _f64_3 = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_f64_4 = types.float64[:, :, :, ::1]
_i64, _u64 = types.int64, types.uint64
_pieces = types.int64[:, ::1]


def _borrow(context: Any, array: Any) -> Any:
    """The same array, but its references are not counted, which takes time in inner loops.

    The caller must hold the array itself until the last use of this one.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(array)(context, builder, arguments[0])
        made.meminfo = cgutils.get_null_value(made.meminfo.type)
        return made._getvalue()

    return array(array), code


_borrowed: Any = intrinsic(_borrow)


def _as_function(context: Any, address: Any) -> Any:
    """The cost that was compiled to an address.

    Handing a compiled function from Python to a loop takes Numba longer than a small loop runs.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = cgutils.create_struct_proxy(COST)(context, builder)
        made.jit_addr = builder.inttoptr(arguments[0], made.jit_addr.type)
        return made._getvalue()

    return COST(types.intp), code


_cost_at: Any = intrinsic(_as_function)


def _outside(context: Any, signature: Any) -> Any:
    """A call of a C function at an address, of whole numbers and addresses alone."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * (len(arguments) - 1))
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return signature, code


# Calls of `averages.functions`.
_ones_at: Any = intrinsic(
    lambda context, f, address, first, lower, thresholds, units, rows, out, n_bytes, counts, by: (
        _outside(context, types.void(*[types.int64] * 11))
    )
)
_widen_at: Any = intrinsic(
    lambda context, f, bits, n, out: _outside(context, types.void(*[types.int64] * 4))
)
_add_at: Any = intrinsic(
    lambda context, f, y, stride, j, n, width, counted, sums, step: _outside(
        context, types.void(*[types.int64] * 9)
    )
)


@nb.njit(nogil=True, cache=True)
def _aligned(n_bytes: int) -> np.ndarray:
    """Bytes from the beginning of a line of the cache on: of vectors across two, half the speed."""
    room = np.empty(n_bytes + 64, np.uint8)
    skip = -np.int64(room.ctypes.data) % 64
    return room[skip : skip + n_bytes]


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
    """Words of units of some rows of an address, eight from two blocks.

    ``blocks`` and ``rows`` list the counters of every block, rows counted from ``first``, so that
    the loop runs over whole registers whatever the number of units. Upper halves of the 64-bit
    lanes are left dirty between rounds: a product takes the lower ones alone. Then the words of a
    unit are put together: a half of the first block above one of the second.
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
    for at in range(0, 4 * blocks.shape[0], 8):
        a0, a1, a2, a3 = words[at], words[at + 1], words[at + 2], words[at + 3]
        b0, b1, b2, b3 = words[at + 4], words[at + 5], words[at + 6], words[at + 7]
        words[at], words[at + 1] = a0 << 16 | b0 & 0xFFFF, a0 & 0xFFFF0000 | b0 >> 16
        words[at + 2], words[at + 3] = a1 << 16 | b1 & 0xFFFF, a1 & 0xFFFF0000 | b1 >> 16
        words[at + 4], words[at + 5] = a2 << 16 | b2 & 0xFFFF, a2 & 0xFFFF0000 | b2 >> 16
        words[at + 6], words[at + 7] = a3 << 16 | b3 & 0xFFFF, a3 & 0xFFFF0000 | b3 >> 16


@nb.njit(nogil=True, cache=True)
def counters(n_rows: int, n_units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks and rows as `philox` takes them, and room for the words."""
    n = (n_units + 7) // 8 * 2
    size = n_rows * n
    blocks, rows = _aligned(8 * size).view(np.uint64), _aligned(8 * size).view(np.uint64)
    for i in range(n_rows):
        for b in range(n):
            blocks[i * n + b], rows[i * n + b] = b, i
    return blocks, rows, _aligned(16 * size).view(np.uint32)


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
def table_size(n_units: int) -> int:
    """Samples whose binary units are drawn together, a multiple of 8; it changes no result."""
    return max(8, min(_TABLE, _TABLE_BYTES // n_units // 8 * 8))


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

    For counts; sums for entries in {0, 1} are fewer, see `from_states`.
    """
    for u in range(mean.shape[0]):
        h = y[u] - mean[u]
        g = j * h
        out[0, u] += g
        out[1, u] += h
        out[2, u] += g * g
        out[3, u] += g * h
        out[4, u] += h * h


@nb.njit(types.void(_f64_3, types.int64[::1], _f64_3, _f64_2, _f64_3), nogil=True, cache=True)
def from_states(
    states: np.ndarray,
    edges: np.ndarray,
    sums: np.ndarray,
    mean: np.ndarray,
    moments: np.ndarray,
) -> None:
    """Moments of ``h = y - mean`` and ``g = j h`` from the sums of y, j y and j^2 y.

    Where y is one, h is 1 - mean, else -mean; and what is not in the sum over the ones is in that
    over the zeros.
    """
    rows, width = mean.shape
    for at in range(states.shape[0]):
        count = np.float64(edges[at + 1] - edges[at])
        for r in range(rows):
            for i in range(width):
                u = r * width + i
                on, off = 1 - mean[r, i], -mean[r, i]
                n, j, jj = states[at, 0, u], states[at, 1, u], states[at, 2, u]
                rest, j_rest, jj_rest = count - n, sums[at, 0, r] - j, sums[at, 1, r] - jj
                moments[at, 0, u] = j * on + j_rest * off
                moments[at, 1, u] = n * on + rest * off
                moments[at, 2, u] = jj * on * on + jj_rest * off * off
                moments[at, 3, u] = j * on * on + j_rest * off * off
                moments[at, 4, u] = n * on * on + rest * off * off


@nb.njit(types.void(_u64s, _f64_2, _f64_2, _pieces, _f64_3), nogil=True, cache=True)
def accumulate_states(
    functions: np.ndarray, y: np.ndarray, j: np.ndarray, pieces: np.ndarray, states: np.ndarray
) -> None:
    """The sums that `from_states` takes, for samples (n, rows * width) and costs (n, rows)."""
    wide, width = y.shape[1], y.shape[1] // j.shape[1]
    for p in range(pieces.shape[0]):
        a, b = pieces[p, 0] - pieces[0, 0], pieces[p, 1] - pieces[0, 0]
        for r in range(j.shape[1]):
            costs = j[a:b, r].copy()
            _add_at(
                functions[2],
                y.ctypes.data + 8 * (a * wide + r * width),
                wide,
                costs.ctypes.data,
                b - a,
                width,
                0,
                states.ctypes.data + 8 * (pieces[p, 2] * 3 * wide + r * width),
                wide,
            )
            costs[0] = 0.0  # held until here


@nb.njit(
    _i64(types.intp, _u64s, _i64, _u64s, _u64s, _f64_2, _pieces, _f64_2, _f64_3, _f64_3),
    nogil=True,
    cache=True,
)
def score_loop(
    cost_address: int,
    functions: np.ndarray,
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
    cost_address : int
        Of `compiled_address`.
    functions : array of uint64
        `averages.functions`.
    kind : int
        Of units: 0 binary, else as in `_states`.
    address : array of (key 0, key 1, step, stream)
    thresholds : array of shape (rows * units * (states - 1),)
    mean : array of shape (rows, width)
    pieces : array of (first sample, one past the last, range, whether it opens the range)
    shift : array of shape (ranges, rows)
        The first cost of each range, which is taken off the others before they are squared.
    sums : array of shape (ranges, 2, rows)
        Of the shifted costs and their squares.
    moments : array of shape (ranges, 3 or 5, rows * width)
        Counts: five, as `_add` has them; else three, as `from_states` takes them.

    Returns
    -------
    int
        -1, or ``sample * rows + row`` of the first cost that is no finite number.
    """
    cost = _cost_at(cost_address)
    rows, width = mean.shape
    n_units = rows * width
    if kind == 2:
        n_units -= thresholds.shape[0]
    size = table_size(n_units) if kind == 0 else _SLAB
    blocks, lines, words = counters(size, 0 if kind == 0 else n_units)
    n_blocks, n_words = blocks.shape[0] // size, words.shape[0] // size
    n_bytes = (n_units + 15) // 16 * 16 if kind == 0 else 0
    bits = _aligned(size * n_bytes).reshape(size, n_bytes)
    most, all_units = min(size, _SLAB), rows * width
    wide = n_bytes if kind == 0 else all_units
    held = _aligned(8 * most * wide).view(np.float64).reshape(most, wide)
    y = _borrowed(held)
    out = _aligned(8 * moments[0].size).view(np.float64).reshape(moments[0].shape)
    j = np.empty((rows, _SLAB))
    # Asking for these in the loop would count references.
    at_address, at_thresholds = address.ctypes.data, thresholds.ctypes.data
    at_bits, at_held, at_out = bits.ctypes.data, held.ctypes.data, out.ctypes.data
    at_j = j.ctypes.data
    for p in range(pieces.shape[0]):
        first, last, at = pieces[p, 0], pieces[p, 1], pieces[p, 2]
        opens = pieces[p, 3] != 0
        out[:] = moments[at]
        for start in range(first, last, size):
            m = min(size, last - start)
            if kind == 0:
                _ones_at(
                    functions[0],
                    at_address,
                    start,
                    address[3] + _LOWER,
                    at_thresholds,
                    n_units,
                    m,
                    at_bits,
                    n_bytes,
                    at_out,
                    functions[3],
                )
            else:
                philox(
                    address[0],
                    address[1],
                    np.uint64(start),
                    address[2],
                    address[3],
                    blocks[: m * n_blocks],
                    lines[: m * n_blocks],
                    words,
                )
            for slab in range(0, m, _SLAB):
                n = min(_SLAB, m - slab)
                if kind == 0:
                    _widen_at(functions[1], at_bits + slab * n_bytes, n * n_bytes, at_held)
                else:
                    _states(kind, words, n_words, thresholds, y[:n])
                for i in range(n):
                    for r in range(rows):
                        value = cost(y[i, r * width : (r + 1) * width], r)
                        if not np.isfinite(value):
                            return (start + slab + i) * rows + r
                        j[r, i] = value
                for r in range(rows):
                    if opens:
                        shift[at, r] = j[r, 0]
                    off, one, two = shift[at, r], sums[at, 0, r], sums[at, 1, r]
                    for i in range(n):
                        value = j[r, i] - off
                        j[r, i] = value
                        one += value
                        two += value * value
                    sums[at, 0, r], sums[at, 1, r] = one, two
                opens = False
                for r in range(rows):
                    a, b = r * width, (r + 1) * width
                    if kind == 1:
                        for i in range(n):
                            _add(y[i, a:b], mean[r], j[r, i], out[:, a:b])
                    else:
                        _add_at(
                            functions[2],
                            at_held + 8 * a,
                            wide,
                            at_j + 8 * r * _SLAB,
                            n,
                            width,
                            kind == 0,
                            at_out + 8 * a,
                            all_units,
                        )
        moments[at] = out
    # Until here what has an address is held.
    held[0, 0], out[0, 0], j[0, 0] = 0.0, 0.0, 0.0
    if bits.size > 0:
        bits[0, 0] = 0
    return -1


@nb.njit(
    _i64(
        types.intp, types.boolean, _u64s, _u64s, _f64_2, types.int64[:, ::1], _f64_2, _f64_3, _f64_3
    ),
    nogil=True,
    cache=True,
)
def antithetic_loop(
    cost_address: int,
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
    cost = _cost_at(cost_address)
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


# -- what is made of the sums ----------------------------------------------------------------------


@nb.njit(types.void(_f64_4, _f64_3, _f64_3, _f64_3), nogil=True, cache=True)
def take_control(
    moments: np.ndarray, b: np.ndarray, totals: np.ndarray, squares: np.ndarray
) -> None:
    """Sums of ``g - b h`` and of its square, by ranges; b broadcasts to (ranges, rows, n)."""
    n = totals.shape[2]
    for at in range(totals.shape[0]):
        for r in range(totals.shape[1]):
            own = b[at if b.shape[0] > 1 else 0, r if b.shape[1] > 1 else 0]
            step = 1 if own.shape[0] > 1 else 0
            own_moments = moments[at]
            g, h, gg = own_moments[0, r], own_moments[1, r], own_moments[2, r]
            gh, hh = own_moments[3, r], own_moments[4, r]
            total, square = totals[at, r], squares[at, r]
            for i in range(n):
                c = own[step * i]
                total[i] = g[i] - c * h[i]
                square[i] = gg[i] - c * (2 * gh[i] - c * hh[i])


@nb.njit(types.void(_f64_4, _f64_2, _f64_2, _f64_3), nogil=True, cache=True)
def ratios(moments: np.ndarray, shift: np.ndarray, otherwise: np.ndarray, out: np.ndarray) -> None:
    """For each range ``sum g h / sum h^2`` of the others, with the shift put back to g.

    ``otherwise``, (ranges, rows), where h was zero throughout.
    """
    ranges, rows, n = out.shape
    weighted, squares = np.empty(n), np.empty(n)
    for r in range(rows):
        weighted[:], squares[:] = 0.0, 0.0
        base = shift[0, r]
        for at in range(ranges):
            delta = shift[at, r] - base
            gh, hh = moments[at, 3, r], moments[at, 4, r]
            for i in range(n):
                weighted[i] += gh[i] + delta * hh[i]
                squares[i] += hh[i]
        for at in range(ranges):
            delta = shift[at, r] - base
            gh, hh = moments[at, 3, r], moments[at, 4, r]
            for i in range(n):
                square = squares[i] - hh[i]
                total = weighted[i] - (gh[i] + delta * hh[i])
                out[at, r, i] = total / square + base if square > 0 else otherwise[at, r]


@nb.njit(types.void(types.int64[::1], _f64_2, _f64_3, _f64_2), nogil=True, cache=True)
def cost_moments(edges: np.ndarray, shift: np.ndarray, sums: np.ndarray, out: np.ndarray) -> None:
    """Mean of each row's costs and their variance over samples (NaN of one), from ranges' sums."""
    n = edges[-1]
    for r in range(shift.shape[1]):
        base, one, two = shift[0, r], 0.0, 0.0
        for at in range(shift.shape[0]):
            count, delta = np.float64(edges[at + 1] - edges[at]), shift[at, r] - base
            own = sums[at, 0, r]
            one += own + count * delta
            two += sums[at, 1, r] + 2 * delta * own + count * delta**2
        mean = one / n
        out[0, r] = base + mean
        spread = two - n * mean**2
        out[1, r] = (0.0 if spread < 0 else spread) / (n - 1) if n > 1 else np.nan


@nb.njit(types.void(_f64_3, _f64_3, _i64, types.float64, _f64_3), nogil=True, cache=True)
def averages_of(
    totals: np.ndarray, squares: np.ndarray, n: int, factor: float, out: np.ndarray
) -> None:
    """Mean, its standard error and the variance of a sample's contribution times ``factor``.

    From the sums of contributions and of their squares, (ranges, rows, parameters), over n samples;
    errors and variances are NaN for one sample.
    """
    out[:] = 0.0
    mean, error, variance = out[0], out[1], out[2]
    for at in range(totals.shape[0]):
        for r in range(totals.shape[1]):
            own, two = totals[at, r], squares[at, r]
            sum_one, sum_two = mean[r], variance[r]
            for i in range(own.shape[0]):
                sum_one[i] += own[i]
            for i in range(own.shape[0]):
                sum_two[i] += two[i]
    for r in range(totals.shape[1]):
        for i in range(totals.shape[2]):
            m = factor / n * mean[r, i]
            spread = factor**2 * variance[r, i] - n * m**2
            v = (0.0 if spread < 0 else spread) / (n - 1) if n > 1 else np.nan
            mean[r, i], error[r, i], variance[r, i] = m, np.sqrt(v / n), v


# -- the user's functions --------------------------------------------------------------------------

#: Functions that are kept ready.
_KEPT = 64
_adapted: dict[tuple[int, tuple[int, ...], bool, bool], tuple[Any, Any]] = {}
_addresses: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def compiled_address(adapted: Any) -> int:
    """Where the machine code of a cost is, which must be held while it is in use."""
    if (address := _addresses.get(adapted)) is None:
        found = adapted.get_compile_result(COST.signature)
        address = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
        _addresses[adapted] = address
    return int(address)


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
