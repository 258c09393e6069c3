"""Steps of recurrent networks, all of a chunk in one call, and back through them.

Arrays are of steps, sequences and units. What depends on the inputs alone, the drive, is made for
all steps beforehand, and gradients by weights are made of those by the drives of all steps
afterwards: here is what one step needs of the one before. Products go through SciPy's BLAS; hold it
at one thread, since those of a step are small.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport ptrdiff_t
from scipy.linalg.cython_blas cimport dgemm, sgemm

import numpy as np

from fastboltz_ext._arrays cimport check_apart, check_plain, check_typed, real_type, wrong_shape

cnp.import_array()


cdef extern from "_recurrent_core.h" nogil:
    ctypedef struct recurrent_sizes:
        ptrdiff_t n_sequences
        ptrdiff_t n_units
    ctypedef void (*gemm_f32)(char*, char*, int*, int*, int*, float*, float*, int*, float*, int*,
                              float*, float*, int*) noexcept nogil
    ctypedef void (*gemm_f64)(char*, char*, int*, int*, int*, double*, double*, int*, double*,
                              int*, double*, double*, int*) noexcept nogil
    void tanh_forward_f32(gemm_f32, recurrent_sizes, const float* state, const float* start,
                          const float* w, const float* drive, const unsigned char* reset,
                          float* before, float* after, ptrdiff_t begin, ptrdiff_t end)
    void tanh_forward_f64(gemm_f64, recurrent_sizes, const double* state, const double* start,
                          const double* w, const double* drive, const unsigned char* reset,
                          double* before, double* after, ptrdiff_t begin, ptrdiff_t end)
    void tanh_backward_f32(gemm_f32, recurrent_sizes, const float* turned, const float* after,
                           const unsigned char* reset, const float* grad, float* carry,
                           float* by_start, float* drives, ptrdiff_t begin, ptrdiff_t end)
    void tanh_backward_f64(gemm_f64, recurrent_sizes, const double* turned, const double* after,
                           const unsigned char* reset, const double* grad, double* carry,
                           double* by_start, double* drives, ptrdiff_t begin, ptrdiff_t end)
    void gru_forward_f32(gemm_f32, recurrent_sizes, const float* state, const float* start,
                         const float* w, const float* drive, const unsigned char* reset,
                         float* before, float* after, float* kept, float* own, ptrdiff_t begin,
                         ptrdiff_t end)
    void gru_forward_f64(gemm_f64, recurrent_sizes, const double* state, const double* start,
                         const double* w, const double* drive, const unsigned char* reset,
                         double* before, double* after, double* kept, double* own,
                         ptrdiff_t begin, ptrdiff_t end)
    void gru_backward_f32(gemm_f32, recurrent_sizes, const float* turned, const float* before,
                          const float* kept, const unsigned char* reset, const float* grad,
                          float* carry, float* by_start, float* drives, float* own,
                          ptrdiff_t begin, ptrdiff_t end)
    void gru_backward_f64(gemm_f64, recurrent_sizes, const double* turned, const double* before,
                          const double* kept, const unsigned char* reset, const double* grad,
                          double* carry, double* by_start, double* drives, double* own,
                          ptrdiff_t begin, ptrdiff_t end)


# Multiply-adds between two looks at signals, some tenths of a second.
cdef double PIECE = 4e9


cdef struct Steps:
    int kind
    Py_ssize_t n
    Py_ssize_t piece  # steps between two looks at signals
    recurrent_sizes sizes


cdef int check_steps(Steps* s, object first, str name, object reset, int gates) except -1:
    """Sizes, from an array of all steps' states and where sequences begin."""
    s.kind = real_type(first, name, 3, False)
    s.n = cnp.PyArray_DIM(first, 0)
    s.sizes.n_sequences = cnp.PyArray_DIM(first, 1)
    s.sizes.n_units = cnp.PyArray_DIM(first, 2)
    cdef double cost = <double>s.sizes.n_sequences * s.sizes.n_units * s.sizes.n_units * gates
    if s.sizes.n_sequences > 0x7fffffff or gates * s.sizes.n_units > 0x7fffffff:
        raise ValueError(f"{name} has shape {first.shape}: BLAS takes at most 2**31 - 1 of each.")
    s.piece = <Py_ssize_t>max(min(PIECE / max(cost, 1.0), 1e9), 1.0)
    check_plain(reset, "reset", 2, False)
    if cnp.PyArray_TYPE(reset) != cnp.NPY_BOOL:
        raise ValueError(f"reset has dtype {reset.dtype}; expected bool.")
    if cnp.PyArray_DIM(reset, 0) != s.n or cnp.PyArray_DIM(reset, 1) != s.sizes.n_sequences:
        return wrong_shape(reset, "reset", first.shape[:2])
    return 0


cdef void* checked(Steps* s, object a, str name, tuple shape, bint writable=False) except NULL:
    """Address of an array of the steps' type."""
    check_typed(a, name, len(shape), writable, s.kind)
    if a.shape != shape:
        wrong_shape(a, name, shape)
    return cnp.PyArray_DATA(a)


def tanh_forward(state, start, weights, drive, reset, before, after):
    """States of all steps, ``u(t) = tanh(drive(t) + u(t - 1) @ weights)``.

    Parameters
    ----------
    state : ndarray of float32 or float64, shape (n_sequences, n_units)
        u before the first step.
    start : ndarray, shape (n_units,)
        u(t - 1) where a sequence begins.
    weights : ndarray, shape (n_units, n_units)
    drive : ndarray, shape (n_steps, n_sequences, n_units)
    reset : ndarray of bool, shape (n_steps, n_sequences)
        Where a sequence begins.
    before, after : ndarray, shape (n_steps, n_sequences, n_units)
        Receive u(t - 1) and u(t).
    """
    cdef Steps s
    check_steps(&s, after, "after", reset, 1)
    cdef tuple all_steps = after.shape
    cdef Py_ssize_t k = s.sizes.n_units, n = s.sizes.n_sequences * k, begin, end
    cdef char* from_state = <char*>checked(&s, state, "state", all_steps[1:])
    cdef void* p_start = checked(&s, start, "start", (k,))
    cdef void* w = checked(&s, weights, "weights", (k, k))
    cdef void* p_drive = checked(&s, drive, "drive", all_steps)
    cdef void* p_before = checked(&s, before, "before", all_steps, True)
    cdef void* p_after = checked(&s, after, "after", all_steps, True)
    check_apart(after, "after", drive, "drive")
    check_apart(after, "after", before, "before")
    check_apart(before, "before", drive, "drive")
    cdef unsigned char* p_reset = <unsigned char*>cnp.PyArray_DATA(reset)
    cdef Py_ssize_t size = 4 if s.kind == cnp.NPY_FLOAT32 else 8
    for begin in range(0, s.n, s.piece):
        end = min(begin + s.piece, s.n)
        with nogil:
            if s.kind == cnp.NPY_FLOAT32:
                tanh_forward_f32(<gemm_f32>sgemm, s.sizes, <float*>from_state, <float*>p_start,
                                 <float*>w, <float*>p_drive, p_reset, <float*>p_before,
                                 <float*>p_after, begin, end)
            else:
                tanh_forward_f64(<gemm_f64>dgemm, s.sizes, <double*>from_state, <double*>p_start,
                                 <double*>w, <double*>p_drive, p_reset, <double*>p_before,
                                 <double*>p_after, begin, end)
        from_state = <char*>p_after + (end - 1) * n * size
        PyErr_CheckSignals()


def tanh_backward(turned, after, reset, grad, carry, by_start, drives):
    """Gradients by the drives of all steps, the last step first.

    Parameters
    ----------
    turned : ndarray of float32 or float64, shape (n_units, n_units)
        Transpose of the weights.
    after : ndarray, shape (n_steps, n_sequences, n_units)
        u(t), as `tanh_forward` left it.
    reset : ndarray of bool, shape (n_steps, n_sequences)
    grad : ndarray, shape (n_steps, n_sequences, n_units)
        Gradient by what each step is given, u(t - 1), other steps held.
    carry : ndarray, shape (n_sequences, n_units)
        Gradient by the last step's state; receives that by what the first step is given, zero
        where a sequence begins there.
    by_start : ndarray, shape (n_units,)
        The gradient by the start is added to it.
    drives : ndarray, shape (n_steps, n_sequences, n_units)
        Receives the gradient by the drives.
    """
    cdef Steps s
    check_steps(&s, after, "after", reset, 1)
    cdef tuple all_steps = after.shape
    cdef Py_ssize_t k = s.sizes.n_units, begin, end
    cdef void* w = checked(&s, turned, "turned", (k, k))
    cdef void* p_after = checked(&s, after, "after", all_steps)
    cdef void* p_grad = checked(&s, grad, "grad", all_steps)
    cdef void* p_carry = checked(&s, carry, "carry", all_steps[1:], True)
    cdef void* p_start = checked(&s, by_start, "by_start", (k,), True)
    cdef void* p_drives = checked(&s, drives, "drives", all_steps, True)
    check_apart(drives, "drives", after, "after")
    check_apart(drives, "drives", grad, "grad")
    check_apart(carry, "carry", drives, "drives")
    check_apart(carry, "carry", grad, "grad")
    cdef unsigned char* p_reset = <unsigned char*>cnp.PyArray_DATA(reset)
    for end in range(s.n, 0, -s.piece):
        begin = max(end - s.piece, 0)
        with nogil:
            if s.kind == cnp.NPY_FLOAT32:
                tanh_backward_f32(<gemm_f32>sgemm, s.sizes, <float*>w, <float*>p_after, p_reset,
                                  <float*>p_grad, <float*>p_carry, <float*>p_start,
                                  <float*>p_drives, begin, end)
            else:
                tanh_backward_f64(<gemm_f64>dgemm, s.sizes, <double*>w, <double*>p_after, p_reset,
                                  <double*>p_grad, <double*>p_carry, <double*>p_start,
                                  <double*>p_drives, begin, end)
        PyErr_CheckSignals()


def gru_forward(state, start, weights, drive, reset, before, after, kept):
    """States of all steps of gated recurrent units, update gate z, reset gate r, candidate n::

        own = u(t - 1) @ weights
        z, r = sigma(drive_z + own_z), sigma(drive_r + own_r);  n = tanh(drive_n + r * own_n)
        u(t) = z * u(t - 1) + (1 - z) * n

    Parameters
    ----------
    state : ndarray of float32 or float64, shape (n_sequences, n_units)
        u before the first step.
    start : ndarray, shape (n_units,)
        u(t - 1) where a sequence begins.
    weights : ndarray, shape (n_units, 3 * n_units)
        Those of z, r and n side by side.
    drive : ndarray, shape (n_steps, n_sequences, 3 * n_units)
    reset : ndarray of bool, shape (n_steps, n_sequences)
        Where a sequence begins.
    before, after : ndarray, shape (n_steps, n_sequences, n_units)
        Receive u(t - 1) and u(t).
    kept : ndarray, shape (n_steps, n_sequences, 4 * n_units)
        Receives z, r, n and own_n side by side, for the way back.

    References
    ----------
    K. Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation", EMNLP.
    """
    cdef Steps s
    check_steps(&s, after, "after", reset, 3)
    cdef tuple all_steps = after.shape
    cdef Py_ssize_t k = s.sizes.n_units, n = s.sizes.n_sequences * k, begin, end
    cdef char* from_state = <char*>checked(&s, state, "state", all_steps[1:])
    cdef void* p_start = checked(&s, start, "start", (k,))
    cdef void* w = checked(&s, weights, "weights", (k, 3 * k))
    cdef void* p_drive = checked(&s, drive, "drive", (*all_steps[:2], 3 * k))
    cdef void* p_before = checked(&s, before, "before", all_steps, True)
    cdef void* p_after = checked(&s, after, "after", all_steps, True)
    cdef void* p_kept = checked(&s, kept, "kept", (*all_steps[:2], 4 * k), True)
    check_apart(after, "after", drive, "drive")
    check_apart(after, "after", before, "before")
    check_apart(after, "after", kept, "kept")
    check_apart(before, "before", drive, "drive")
    check_apart(before, "before", kept, "kept")
    check_apart(kept, "kept", drive, "drive")
    own = np.empty((all_steps[1], 3 * k), after.dtype)
    cdef void* p_own = cnp.PyArray_DATA(own)
    cdef unsigned char* p_reset = <unsigned char*>cnp.PyArray_DATA(reset)
    cdef Py_ssize_t size = 4 if s.kind == cnp.NPY_FLOAT32 else 8
    for begin in range(0, s.n, s.piece):
        end = min(begin + s.piece, s.n)
        with nogil:
            if s.kind == cnp.NPY_FLOAT32:
                gru_forward_f32(<gemm_f32>sgemm, s.sizes, <float*>from_state, <float*>p_start,
                                <float*>w, <float*>p_drive, p_reset, <float*>p_before,
                                <float*>p_after, <float*>p_kept, <float*>p_own, begin, end)
            else:
                gru_forward_f64(<gemm_f64>dgemm, s.sizes, <double*>from_state, <double*>p_start,
                                <double*>w, <double*>p_drive, p_reset, <double*>p_before,
                                <double*>p_after, <double*>p_kept, <double*>p_own, begin, end)
        from_state = <char*>p_after + (end - 1) * n * size
        PyErr_CheckSignals()


def gru_backward(turned, before, kept, reset, grad, carry, by_start, drives):
    """Gradients by the drives of all steps, the last step first.

    Parameters
    ----------
    turned : ndarray of float32 or float64, shape (3 * n_units, n_units)
        Transpose of the weights.
    before : ndarray, shape (n_steps, n_sequences, n_units)
    kept : ndarray, shape (n_steps, n_sequences, 4 * n_units)
        Both as `gru_forward` left them.
    reset, grad, carry, by_start
        As in `tanh_backward`.
    drives : ndarray, shape (n_steps, n_sequences, 3 * n_units)
        Receives the gradient by the drives.
    """
    cdef Steps s
    check_steps(&s, before, "before", reset, 3)
    cdef tuple all_steps = before.shape
    cdef Py_ssize_t k = s.sizes.n_units, begin, end
    cdef void* w = checked(&s, turned, "turned", (3 * k, k))
    cdef void* p_before = checked(&s, before, "before", all_steps)
    cdef void* p_kept = checked(&s, kept, "kept", (*all_steps[:2], 4 * k))
    cdef void* p_grad = checked(&s, grad, "grad", all_steps)
    cdef void* p_carry = checked(&s, carry, "carry", all_steps[1:], True)
    cdef void* p_start = checked(&s, by_start, "by_start", (k,), True)
    cdef void* p_drives = checked(&s, drives, "drives", (*all_steps[:2], 3 * k), True)
    check_apart(drives, "drives", kept, "kept")
    check_apart(drives, "drives", grad, "grad")
    check_apart(carry, "carry", drives, "drives")
    check_apart(carry, "carry", grad, "grad")
    check_apart(carry, "carry", before, "before")
    own = np.empty((all_steps[1], 3 * k), before.dtype)
    cdef void* p_own = cnp.PyArray_DATA(own)
    cdef unsigned char* p_reset = <unsigned char*>cnp.PyArray_DATA(reset)
    for end in range(s.n, 0, -s.piece):
        begin = max(end - s.piece, 0)
        with nogil:
            if s.kind == cnp.NPY_FLOAT32:
                gru_backward_f32(<gemm_f32>sgemm, s.sizes, <float*>w, <float*>p_before,
                                 <float*>p_kept, p_reset, <float*>p_grad, <float*>p_carry,
                                 <float*>p_start, <float*>p_drives, <float*>p_own, begin, end)
            else:
                gru_backward_f64(<gemm_f64>dgemm, s.sizes, <double*>w, <double*>p_before,
                                 <double*>p_kept, p_reset, <double*>p_grad, <double*>p_carry,
                                 <double*>p_start, <double*>p_drives, <double*>p_own, begin, end)
        PyErr_CheckSignals()
