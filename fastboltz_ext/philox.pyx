"""Philox4x32-10: random numbers as addresses.

A random word is a pure function of (seed, stream, step, row, unit)::

    key     = (seed & 0xffffffff, seed >> 32)
    block b = philox4x32-10(key, (b, row, step, stream)): four words, or eight halves of 16 bits
    word    = half unit & 7 of block 2 (unit >> 3), above that of the block after it

(half 2 i of a block is the lower one of its word i, half 2 i + 1 the upper one), and the uniforms,
strictly inside (0, 1), are

    float32: ((word >> 9) + 1/2) * 2**-23
    float64: (word + 1/2) * 2**-32

References
----------
J. K. Salmon, M. A. Moraes, R. O. Dror & D. E. Shaw (2011), "Parallel random numbers: as easy as
1, 2, 3", Proc. SC11.
"""

cimport numpy as cnp
from libc.stdint cimport uint32_t, uint64_t

from fastboltz_ext._arrays cimport (
    check_address_range, check_threads, check_typed, real_type, word32, word64
)

cnp.import_array()


cdef extern from "_philox_core.h" nogil:
    ctypedef struct philox_address:
        pass
    philox_address philox_at(uint64_t seed, uint32_t stream, uint32_t step, uint32_t row0)
    void philox_one(uint32_t k0, uint32_t k1, uint32_t x0, uint32_t x1, uint32_t x2, uint32_t x3,
                    uint32_t* out)
    void philox_words(philox_address a, uint32_t* out, Py_ssize_t n_rows, Py_ssize_t n_units,
                      int n_threads)
    void philox_table_f32(philox_address a, float* out, Py_ssize_t n_rows, Py_ssize_t n_units,
                          int n_threads)
    void philox_table_f64(philox_address a, double* out, Py_ssize_t n_rows, Py_ssize_t n_units,
                          int n_threads)


def block(key, counter):
    """Four 32-bit words of one counter.

    Parameters
    ----------
    key : sequence of 2 int
        32 bits each.
    counter : sequence of 4 int
        32 bits each.

    Returns
    -------
    tuple of 4 int
    """
    cdef uint32_t out[4]
    k0, k1 = key
    c0, c1, c2, c3 = counter
    philox_one(
        word32(k0, "key[0]"), word32(k1, "key[1]"), word32(c0, "counter[0]"),
        word32(c1, "counter[1]"), word32(c2, "counter[2]"), word32(c3, "counter[3]"), out,
    )
    return (out[0], out[1], out[2], out[3])


def words(seed, stream, step, row0, out, int n_threads=1):
    """Fill a table with random 32-bit words.

    Parameters
    ----------
    seed : int
        In [0, 2**64).
    stream, step : int
        In [0, 2**32).
    row0 : int
        Global number of the first row, in [0, 2**32).
    out : ndarray of uint32, shape (n_rows, n_units)
        Element (r, u) becomes the word at (seed, stream, step, row0 + r, u).
    n_threads : int
        Threads to use; no effect on the result.
    """
    check_typed(out, "out", 2, True, cnp.NPY_UINT32)
    check_threads(n_threads)
    cdef Py_ssize_t n_rows = cnp.PyArray_DIM(out, 0), n_units = cnp.PyArray_DIM(out, 1)
    cdef uint32_t first = word32(row0, "row0"), at_step = word32(step, "step")
    check_address_range(first, n_rows, at_step, 1, n_units)
    cdef philox_address a = philox_at(
        word64(seed, "seed"), word32(stream, "stream"), at_step, first
    )
    cdef uint32_t* data = <uint32_t*>cnp.PyArray_DATA(out)
    with nogil:
        philox_words(a, data, n_rows, n_units, n_threads)


def uniform(seed, stream, step, row0, out, int n_threads=1):
    """Fill a table with uniforms strictly inside (0, 1).

    Parameters
    ----------
    seed : int
        In [0, 2**64).
    stream, step : int
        In [0, 2**32).
    row0 : int
        Global number of the first row, in [0, 2**32).
    out : ndarray of float32 or float64, shape (n_rows, n_units)
        Element (r, u) becomes the uniform at (seed, stream, step, row0 + r, u): 23 random bits in
        float32, 32 in float64.
    n_threads : int
        Threads to use; no effect on the result.
    """
    cdef int kind = real_type(out, "out", 2, True)
    check_threads(n_threads)
    cdef Py_ssize_t n_rows = cnp.PyArray_DIM(out, 0), n_units = cnp.PyArray_DIM(out, 1)
    cdef uint32_t first = word32(row0, "row0"), at_step = word32(step, "step")
    check_address_range(first, n_rows, at_step, 1, n_units)
    cdef philox_address a = philox_at(
        word64(seed, "seed"), word32(stream, "stream"), at_step, first
    )
    cdef void* data = cnp.PyArray_DATA(out)
    with nogil:
        if kind == cnp.NPY_FLOAT32:
            philox_table_f32(a, <float*>data, n_rows, n_units, n_threads)
        else:
            philox_table_f64(a, <double*>data, n_rows, n_units, n_threads)
