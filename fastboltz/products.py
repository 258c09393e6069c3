"""Products of units with weights, and statistics: on bits where units are binary, else by BLAS.

A term calls `product` and `outer` with the unit type of its rows and need not know. On bits,
weights count in multiples of 2**-20 inside sums, so that sums are exact; a result then depends on
neither the number of threads nor the instruction set.
"""

from __future__ import annotations

import math

import numpy as np

from fastboltz_ext import layers, packed

from .units import Unit
from .units.binary import Binary
from .units.categorical import Categorical

#: Entries of the weights times rows from which binary rows are worked on as bits, and rows.
PACKED_FROM, PACKED_ROWS = 1 << 18, 32


def low(unit: Unit) -> float:
    """What a zero bit of a unit stands for."""
    return -1.0 if getattr(unit, "spin", False) else 0.0


def as_bits(unit: Unit | None, x: np.ndarray, n_weights: int) -> packed.Bits | None:
    """Rows (n, size) as bits, if all are binary and so many that look-ups are the faster way."""
    if x.dtype != np.float32 or len(x) < PACKED_ROWS or n_weights * len(x) < PACKED_FROM:
        return None
    if not isinstance(unit, (Binary, Categorical)):
        return None
    return packed.Bits.pack_exact(x, low=low(unit))


def product(
    unit: Unit | None,
    x: np.ndarray,
    w: np.ndarray,
    out: np.ndarray,
    *,
    transpose: bool = False,
    beta: float = 0.0,
    n_threads: int = 1,
) -> None:
    """``out = beta * out + x @ w`` for rows x of a unit type (``w.T`` with ``transpose``)."""
    bits = None if w.dtype != np.float32 else as_bits(unit, x, w.size)
    if bits is None or not packed.fits(w):
        layers.product(x, w, out, transpose=transpose, beta=beta, n_threads=n_threads)
        return
    field = out if beta == 0 else np.empty_like(out)
    packed.layer(bits, w, None, transpose=transpose, field=field, n_threads=n_threads)
    if beta != 0:
        if beta != 1:
            out *= np.float32(beta)
        out += field


def outer(
    units: tuple[Unit | None, Unit | None],
    x: np.ndarray,
    y: np.ndarray,
    out: np.ndarray,
    *,
    scale: float = 1.0,
    weights: np.ndarray | None = None,
    left: np.ndarray | None = None,
    right: np.ndarray | None = None,
    n_threads: int = 1,
) -> None:
    """``out += scale * x.T @ diag(weights) @ y``, for rows of two unit types (None: real numbers).

    ``left`` and ``right``, where given, receive ``scale`` times the sums of x and of y, added.
    """
    if out.dtype == np.float32:
        n_weights = x.shape[1] * y.shape[1]
        for unit, rows, other, turned in ((units[0], x, y, False), (units[1], y, x, True)):
            bits = as_bits(unit, rows, n_weights)
            if bits is None:
                continue
            # A bit times a weight is no bit: the other factor takes it.
            other = _weighted(other, weights)
            if not packed.outer(
                bits, other, out, transpose=turned, scale=scale, beta=1.0, n_threads=n_threads
            ):
                break
            for total, values in ((left, x), (right, y)):
                if total is not None:
                    total += np.float32(scale) * np.add.reduce(values, axis=0)
            return
    sums = {} if left is None else {"left": left, "right": right}
    layers.outer(_weighted(x, weights), y, out, scale=scale, beta=1.0, n_threads=n_threads, **sums)


def sum_rows(x: np.ndarray) -> np.ndarray:
    """The sum over the first axis, by BLAS: a quarter of the time of ``x.sum(axis=0)``."""
    rows = x.reshape(len(x), math.prod(x.shape[1:]))
    return np.dot(np.ones(len(x), x.dtype), rows).reshape(x.shape[1:])


def _weighted(x: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return x if weights is None else x * weights[:, None].astype(x.dtype)
