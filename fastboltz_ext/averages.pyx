"""What Monte Carlo averages over binary units are made of.

Draws take four units from a random word, from its lowest byte up. A unit is on where its byte is
below the first of its threshold's 32 bits. Where they are equal, 24 bits more decide, the highest
of the unit's word in another stream: the probability is threshold / 2**32.

Loops around a user's cost are compiled by Numba and call these functions by their addresses.
"""

cimport numpy as cnp
import numpy as np
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastboltz_ext import processor
from fastboltz_ext._arrays cimport (
    check_address_range, check_shape1, check_shape2, check_typed, word32
)

cnp.import_array()


cdef extern from "_averages.h" nogil:
    int FB_LEVEL_ANY
    int FB_LEVEL_AVX2
    int FB_LEVEL_AVX512
    void averages_ones(const uint64_t* address, int64_t first, int64_t lower,
                       const uint64_t* thresholds, int64_t n_units, int64_t n_rows, uint8_t* out,
                       int64_t stride, double* counts, int64_t level)
    void averages_widen(const uint8_t* bytes, int64_t n, double* to)
    void averages_add(const double* y, int64_t stride, const double* j, int64_t n, int64_t width,
                      int64_t counted, double* sums, int64_t step)


cdef int64_t best = processor.chosen()

addresses = np.array(
    [<size_t>&averages_ones, <size_t>&averages_widen, <size_t>&averages_add, best],
    dtype=np.uint64,
)


def ones(address, first, lower, thresholds, out, *, kernel=None):
    """Draws of units in {0, 1}.

    Parameters
    ----------
    address : ndarray of uint64, shape (4,)
        Lower and upper half of the seed, step, stream.
    first : int
        Global number of the first row, in [0, 2**32).
    lower : int
        The other stream, in [0, 2**32).
    thresholds : ndarray of uint64, shape (n_units,)
        In [0, 2**32].
    out : ndarray of uint8, shape (n_rows, n_bytes)
        Element (r, u) becomes 0 or 1. n_bytes is the next multiple of 16; what is past the last
        unit has no meaning.
    kernel : str or None
        Which code, one of `processor.kernels`; by default the fastest, or what FASTBOLTZ_KERNEL
        says. Results are the same bytes.
    """
    check_typed(address, "address", 1, False, cnp.NPY_UINT64)
    check_typed(thresholds, "thresholds", 1, False, cnp.NPY_UINT64)
    check_typed(out, "out", 2, True, cnp.NPY_UINT8)
    check_shape1(address, "address", 4)
    cdef Py_ssize_t n_rows = cnp.PyArray_DIM(out, 0), n_units = cnp.PyArray_DIM(thresholds, 0)
    cdef Py_ssize_t n_bytes = (n_units + 15) // 16 * 16
    check_shape2(out, "out", n_rows, n_bytes)
    cdef uint32_t row = word32(first, "first"), stream = word32(lower, "lower")
    check_address_range(row, n_rows, 0, 1, n_units)
    if kernel is not None and kernel not in processor.kernels():
        raise ValueError(
            f"kernel is {kernel!r}; this processor has {', '.join(processor.kernels())}."
        )
    cdef int64_t level = best if kernel is None else processor.LEVELS[kernel]
    cdef const uint64_t* words = <uint64_t*>cnp.PyArray_DATA(address)
    cdef const uint64_t* ends = <uint64_t*>cnp.PyArray_DATA(thresholds)
    cdef uint8_t* to = <uint8_t*>cnp.PyArray_DATA(out)
    with nogil:
        averages_ones(words, row, stream, ends, n_units, n_rows, to, n_bytes, NULL, level)


def functions():
    """Where functions stand in memory, for other compiled code, which calls them unchecked.

    Returns
    -------
    ndarray of uint64, shape (4,)
        Of what `ones` calls, ``void f(const uint64_t *address, int64_t first, int64_t lower,
        const uint64_t *thresholds, int64_t n_units, int64_t n_rows, uint8_t *out, int64_t n_bytes,
        double *counts, int64_t level)``, which also adds the ones of each unit to ``counts`` unless
        that is NULL; of bytes as floats, ``void f(const uint8_t *bytes, int64_t n, double *to)``;
        of the sums of y, j y and j^2 y over n rows of y in {0, 1}, in order, ``void f(const double
        *y, int64_t stride, const double *j, int64_t n, int64_t width, int64_t counted, double
        *sums, int64_t step)``, where sums stand ``step`` apart and those of y are left alone if
        ``counted``. Then the level that the first is to be given.
    """
    return addresses
