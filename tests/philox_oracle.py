"""Philox4x32-10 and the address of a uniform, in plain Python integers."""

import numpy as np

MASK = 0xFFFFFFFF


def block(key, counter):
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(10):
        p0 = 0xD2511F53 * c0
        p1 = 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0 = (k0 + 0x9E3779B9) & MASK
        k1 = (k1 + 0xBB67AE85) & MASK
    return (c0, c1, c2, c3)


def blocks(seed, stream, step, row0, n_rows, n_words):
    """The words of the blocks of each row, one after the other."""
    out = np.empty((n_rows, n_words), dtype=np.uint32)
    key = (seed & MASK, seed >> 32)
    for r in range(n_rows):
        for w in range(n_words):
            if w % 4 == 0:
                four = block(key, (w >> 2, row0 + r, step, stream))
            out[r, w] = four[w & 3]
    return out


def words(seed, stream, step, row0, n_rows, n_units):
    """A half of one block above a half of the next."""
    own = blocks(seed, stream, step, row0, n_rows, (n_units + 7) // 8 * 8)
    out = np.empty((n_rows, n_units), dtype=np.uint32)
    for u in range(n_units):
        eight, half = divmod(u, 8)
        above, below = own[:, 8 * eight + half // 2], own[:, 8 * eight + 4 + half // 2]
        above, below = (x >> 16 * (half % 2) & 0xFFFF for x in (above, below))
        out[:, u] = above << 16 | below
    return out


def uniform(seed, stream, step, row0, n_rows, n_units, dtype):
    w = words(seed, stream, step, row0, n_rows, n_units)
    if np.dtype(dtype) == np.float32:
        return (((w >> 9).astype(np.float64) + 0.5) * 2.0**-23).astype(np.float32)
    return (w.astype(np.float64) + 0.5) * 2.0**-32
