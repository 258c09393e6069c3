"""Field, draw and statistics of a layer of binary units.

Products go through SciPy's BLAS, called inside this module's own parallel region over blocks of
rows that depend on the shape alone. Hold BLAS at one thread while calling with ``n_threads > 1``:
two pools of spinning threads slow each other down.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint32_t, uint64_t
from scipy.linalg.cython_blas cimport dgemm, sgemm

from fastboltz_ext._arrays cimport (
    check_address_range, check_apart, check_shape1, check_shape2, check_threads, check_typed,
    overlap, real_type, word32, word64
)

cnp.import_array()


cdef extern from "_layer_core.h" nogil:
    ctypedef struct philox_address:
        pass
    ctypedef void (*gemm_f32)(char*, char*, int*, int*, int*, float*, float*, int*, float*, int*,
                              float*, float*, int*) noexcept nogil
    ctypedef void (*gemm_f64)(char*, char*, int*, int*, int*, double*, double*, int*, double*,
                              int*, double*, double*, int*) noexcept nogil
    int fb_max_threads()
    int fb_has_openmp()
    philox_address philox_at(uint64_t seed, uint32_t stream, uint32_t step, uint32_t row0)
    void product_f32(gemm_f32, const float* x, const float* w, float* out, int transpose,
                     float scale, float beta, ptrdiff_t n_rows, ptrdiff_t n_in, ptrdiff_t n_out,
                     int n_threads)
    void product_f64(gemm_f64, const double* x, const double* w, double* out, int transpose,
                     double scale, double beta, ptrdiff_t n_rows, ptrdiff_t n_in, ptrdiff_t n_out,
                     int n_threads)
    int layer_in_halves(ptrdiff_t n_rows, ptrdiff_t n_left, ptrdiff_t n_right)
    void outer_f32(gemm_f32, const float* x, const float* y, float* out, float* half, float scale,
                   float beta, ptrdiff_t n_rows, ptrdiff_t n_left, ptrdiff_t n_right,
                   int n_threads)
    void outer_f64(gemm_f64, const double* x, const double* y, double* out, double* half,
                   double scale, double beta, ptrdiff_t n_rows, ptrdiff_t n_left,
                   ptrdiff_t n_right, int n_threads)
    void add_column_sums_f32(const float* x, float scale, float* out, ptrdiff_t n_rows,
                             ptrdiff_t n_units)
    void add_column_sums_f64(const double* x, double scale, double* out, ptrdiff_t n_rows,
                             ptrdiff_t n_units)
    void draw_f32(const float* field, const float* bias, float scale, int spin, float* mean,
                  float* sample, philox_address, ptrdiff_t n_rows, ptrdiff_t n_units,
                  int n_threads)
    void draw_f64(const double* field, const double* bias, double scale, int spin, double* mean,
                  double* sample, philox_address, ptrdiff_t n_rows, ptrdiff_t n_units,
                  int n_threads)
    void layer_f32(gemm_f32, const float* x, const float* w, const float* bias, int transpose,
                   float scale, int spin, float* mean, float* sample, philox_address,
                   ptrdiff_t n_rows, ptrdiff_t n_in, ptrdiff_t n_out, int n_threads)
    void layer_f64(gemm_f64, const double* x, const double* w, const double* bias, int transpose,
                   double scale, int spin, double* mean, double* sample, philox_address,
                   ptrdiff_t n_rows, ptrdiff_t n_in, ptrdiff_t n_out, int n_threads)
    void cumulant_sum_f32(const float* field, const float* bias, float scale, int spin,
                          double* out, ptrdiff_t n_rows, ptrdiff_t n_units, int n_threads)
    void cumulant_sum_f64(const double* field, const double* bias, double scale, int spin,
                          double* out, ptrdiff_t n_rows, ptrdiff_t n_units, int n_threads)


# Multiply-adds between two looks at signals, some tenths of a second of one thread. What is between
# them is part of the result, as BLAS may sum in another order for another size: so it depends on
# the shape alone.
cdef double PIECE = 4e9


cdef Py_ssize_t rows_of_a_piece(double row_cost) noexcept:
    """Rows of a long call that are worked on between two looks at signals."""
    return 64 * <Py_ssize_t>max(min(PIECE / max(row_cost, 1.0), 2e9) / 64, 1.0)


cdef inline void* data(object a) noexcept:
    """Address of the first element; NULL for None."""
    return NULL if a is None else cnp.PyArray_DATA(a)


cdef int check_blas_sizes(Py_ssize_t a, Py_ssize_t b, Py_ssize_t c) except -1:
    """BLAS counts in 32 bits."""
    if a > 0x7fffffff or b > 0x7fffffff or c > 0x7fffffff:
        raise ValueError(f"sizes {a}, {b}, {c}: BLAS takes at most 2**31 - 1; split the arrays.")
    return 0


cdef int check_bias(object bias, int kind, Py_ssize_t n_units) except -1:
    if bias is not None:
        check_typed(bias, "bias", 1, False, kind)
        check_shape1(bias, "bias", n_units)
    return 0


cdef int check_draw_outputs(
    object mean, object sample, object bias, int kind, Py_ssize_t n, Py_ssize_t m
) except -1:
    if mean is None and sample is None:
        raise ValueError("mean and sample are both None; pass at least one of them as output.")
    if mean is not None:
        check_typed(mean, "mean", 2, True, kind)
        check_shape2(mean, "mean", n, m)
        if bias is not None:
            check_apart(mean, "mean", bias, "bias")
    if sample is not None:
        check_typed(sample, "sample", 2, True, kind)
        check_shape2(sample, "sample", n, m)
        if bias is not None:
            check_apart(sample, "sample", bias, "bias")
        if mean is not None:
            check_apart(mean, "mean", sample, "sample")
    return 0


cdef int check_in_place(object out, str name, object field) except -1:
    """An output may be field's own buffer, but not a shifted view of it."""
    if out is not None and cnp.PyArray_DATA(out) != cnp.PyArray_DATA(field) and overlap(out, field):
        raise ValueError(f"{name} overlaps field without being the same array.")
    return 0


cdef Py_ssize_t check_product(object x, object w, bint transpose, int kind) except -1:
    """Check the factors of x @ w or x @ w.T and return the number of columns of the product."""
    check_typed(w, "w", 2, False, kind)
    cdef Py_ssize_t n_in = cnp.PyArray_DIM(x, 1)
    cdef Py_ssize_t inner = cnp.PyArray_DIM(w, 1 if transpose else 0)
    if inner != n_in:
        raise ValueError(
            f"x has shape {x.shape} and w has shape {w.shape} (transpose={bool(transpose)}): "
            f"expected w.shape[{1 if transpose else 0}] to be {n_in}."
        )
    cdef Py_ssize_t n_out = cnp.PyArray_DIM(w, 0 if transpose else 1)
    check_blas_sizes(cnp.PyArray_DIM(x, 0), n_in, n_out)
    return n_out


def max_threads():
    """Threads that a parallel region may use; 1 when built without OpenMP.

    Returns
    -------
    int
    """
    return fb_max_threads()


def has_openmp():
    """Whether the extensions were built with OpenMP.

    Returns
    -------
    bool
    """
    return bool(fb_has_openmp())


def product(
    x, w, out, *, bint transpose=False, double scale=1.0, double beta=0.0, int n_threads=1
):
    """Field of a layer: ``out = beta * out + scale * x @ w`` (``w.T`` with `transpose`).

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, I)
        States, one row a chain.
    w : ndarray, shape (I, J), or (J, I) with `transpose`
        Weights.
    out : ndarray, shape (n, J)
        Result; with ``beta=0`` what it held before is not read.
    transpose : bool
        Multiply by the transpose of `w`.
    scale, beta : float
        Factors of the product and of what `out` held.
    n_threads : int
        Threads to use; no effect on the result.
    """
    cdef int kind = real_type(x, "x", 2, False)
    check_threads(n_threads)
    cdef Py_ssize_t n = cnp.PyArray_DIM(x, 0), n_in = cnp.PyArray_DIM(x, 1)
    cdef Py_ssize_t n_out = check_product(x, w, transpose, kind)
    check_typed(out, "out", 2, True, kind)
    check_shape2(out, "out", n, n_out)
    check_apart(out, "out", x, "x")
    check_apart(out, "out", w, "w")
    cdef Py_ssize_t at, piece = rows_of_a_piece(<double>n_in * <double>n_out)
    if n > piece:
        for at in range(0, n, piece):
            rows = slice(at, at + piece)
            product(x[rows], w, out[rows], transpose=transpose, scale=scale, beta=beta,
                    n_threads=n_threads)
            PyErr_CheckSignals()
        return
    cdef void* px = data(x)
    cdef void* pw = data(w)
    cdef void* po = data(out)
    with nogil:
        if kind == cnp.NPY_FLOAT32:
            product_f32(<gemm_f32>sgemm, <float*>px, <float*>pw, <float*>po, transpose,
                        <float>scale, <float>beta, n, n_in, n_out, n_threads)
        else:
            product_f64(<gemm_f64>dgemm, <double*>px, <double*>pw, <double*>po, transpose,
                        scale, beta, n, n_in, n_out, n_threads)


def outer(
    x, y, out, *, double scale=1.0, double beta=0.0, left=None, right=None, int n_threads=1
):
    """Statistics of a pair of layers: ``out = beta * out + scale * x.T @ y``.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, I)
        States of the left layer.
    y : ndarray, shape (n, J)
        States of the right layer.
    out : ndarray, shape (I, J)
        Result; with ``beta=0`` what it held before is not read.
    scale, beta : float
        Factors of the sum over rows and of what `out` held.
    left : ndarray, shape (I,), optional
        Receives ``left + scale * sum_n x_n``, the statistics of the left biases.
    right : ndarray, shape (J,), optional
        Receives ``right + scale * sum_n y_n``.
    n_threads : int
        Threads to use; no effect on the result.
    """
    cdef int kind = real_type(x, "x", 2, False)
    check_threads(n_threads)
    check_typed(y, "y", 2, False, kind)
    cdef Py_ssize_t n = cnp.PyArray_DIM(x, 0)
    cdef Py_ssize_t n_left = cnp.PyArray_DIM(x, 1), n_right = cnp.PyArray_DIM(y, 1)
    check_shape2(y, "y", n, n_right)
    check_blas_sizes(n, n_left, n_right)
    check_typed(out, "out", 2, True, kind)
    check_shape2(out, "out", n_left, n_right)
    check_apart(out, "out", x, "x")
    check_apart(out, "out", y, "y")
    if left is not None:
        check_typed(left, "left", 1, True, kind)
        check_shape1(left, "left", n_left)
    if right is not None:
        check_typed(right, "right", 1, True, kind)
        check_shape1(right, "right", n_right)
    cdef void* px = data(x)
    cdef void* py = data(y)
    cdef void* po = data(out)
    cdef void* pl = data(left)
    cdef void* pr = data(right)
    half = None
    if layer_in_halves(n, n_left, n_right):
        half = cnp.PyArray_EMPTY(2, cnp.PyArray_DIMS(out), kind, 0)
    cdef void* ph = data(half)
    with nogil:
        if kind == cnp.NPY_FLOAT32:
            if pl != NULL:
                add_column_sums_f32(<float*>px, <float>scale, <float*>pl, n, n_left)
            if pr != NULL:
                add_column_sums_f32(<float*>py, <float>scale, <float*>pr, n, n_right)
        else:
            if pl != NULL:
                add_column_sums_f64(<double*>px, scale, <double*>pl, n, n_left)
            if pr != NULL:
                add_column_sums_f64(<double*>py, scale, <double*>pr, n, n_right)
        if kind == cnp.NPY_FLOAT32:
            outer_f32(<gemm_f32>sgemm, <float*>px, <float*>py, <float*>po, <float*>ph,
                      <float>scale, <float>beta, n, n_left, n_right, n_threads)
        else:
            outer_f64(<gemm_f64>dgemm, <double*>px, <double*>py, <double*>po, <double*>ph,
                      scale, beta, n, n_left, n_right, n_threads)


def draw(
    field, bias, *, double scale=1.0, bint spin=False, mean=None, sample=None, seed=0, stream=0,
    step=0, row0=0, int n_threads=1,
):
    """Means and samples of a layer of binary units, given its field.

    With ``a_nj = bias_j + scale * field_nj`` and ``u_nj`` the uniform at
    (seed, stream, step, row0 + n, j)::

        Bernoulli  p = 1 / (1 + exp(-a)),   mean = p,      sample = 1 if u < p else 0
        spin       p = 1 / (1 + exp(-2 a)), mean = 2 p - 1, sample = 1 if u < p else -1

    Parameters
    ----------
    field : ndarray of float32 or float64, shape (n, J)
    bias : ndarray, shape (J,), or None for zeros
    scale : float
        Factor of the field, such as an inverse temperature.
    spin : bool
        Units of {-1, +1} instead of {0, 1}.
    mean, sample : ndarray, shape (n, J), or None
        Outputs, at least one. Either may be `field` itself. A NaN in `field` gives a NaN in `mean`
        and the lower state in `sample`.
    seed, stream, step, row0 : int
        Address of the first row's uniforms, see `fastboltz_ext.philox`.
    n_threads : int
        Threads to use; no effect on the result.
    """
    cdef int kind = real_type(field, "field", 2, False)
    check_threads(n_threads)
    cdef Py_ssize_t n = cnp.PyArray_DIM(field, 0), m = cnp.PyArray_DIM(field, 1)
    check_bias(bias, kind, m)
    check_draw_outputs(mean, sample, bias, kind, n, m)
    check_in_place(mean, "mean", field)
    check_in_place(sample, "sample", field)
    cdef uint32_t first = word32(row0, "row0"), at_step = word32(step, "step")
    check_address_range(first, n, at_step, 1, m)
    cdef philox_address address = philox_at(
        word64(seed, "seed"), word32(stream, "stream"), at_step, first
    )
    cdef void* pf = data(field)
    cdef void* pb = data(bias)
    cdef void* pm = data(mean)
    cdef void* ps = data(sample)
    with nogil:
        if kind == cnp.NPY_FLOAT32:
            draw_f32(<float*>pf, <float*>pb, <float>scale, spin, <float*>pm, <float*>ps, address,
                     n, m, n_threads)
        else:
            draw_f64(<double*>pf, <double*>pb, scale, spin, <double*>pm, <double*>ps, address,
                     n, m, n_threads)


def layer(
    x, w, bias, *, bint transpose=False, double scale=1.0, bint spin=False, mean=None,
    sample=None, seed=0, stream=0, step=0, row0=0, int n_threads=1,
):
    """`product` and `draw` in one pass: the field never leaves the cache.

    With ``a = bias + scale * x @ w`` (``w.T`` with `transpose`), means and samples as in `draw`,
    and equal to the bit to the two calls one after the other.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, I)
        States of the layer below.
    w : ndarray, shape (I, J), or (J, I) with `transpose`
        Weights.
    bias : ndarray, shape (J,), or None for zeros
    transpose : bool
        Multiply by the transpose of `w`.
    scale : float
        Factor of the product, such as an inverse temperature.
    spin : bool
        Units of {-1, +1} instead of {0, 1}.
    mean, sample : ndarray, shape (n, J), or None
        Outputs, at least one.
    seed, stream, step, row0 : int
        Address of the first row's uniforms, see `fastboltz_ext.philox`.
    n_threads : int
        Threads to use; no effect on the result.
    """
    cdef int kind = real_type(x, "x", 2, False)
    check_threads(n_threads)
    cdef Py_ssize_t n = cnp.PyArray_DIM(x, 0), n_in = cnp.PyArray_DIM(x, 1)
    cdef Py_ssize_t n_out = check_product(x, w, transpose, kind)
    check_bias(bias, kind, n_out)
    check_draw_outputs(mean, sample, bias, kind, n, n_out)
    if mean is not None:
        check_apart(mean, "mean", x, "x")
        check_apart(mean, "mean", w, "w")
    if sample is not None:
        check_apart(sample, "sample", x, "x")
        check_apart(sample, "sample", w, "w")
    cdef uint32_t first = word32(row0, "row0"), at_step = word32(step, "step")
    check_address_range(first, n, at_step, 1, n_out)
    cdef Py_ssize_t at, piece = rows_of_a_piece(<double>n_in * <double>n_out)
    if n > piece:
        for at in range(0, n, piece):
            rows = slice(at, at + piece)
            layer(
                x[rows], w, bias, transpose=transpose, scale=scale, spin=spin,
                mean=None if mean is None else mean[rows],
                sample=None if sample is None else sample[rows],
                seed=seed, stream=stream, step=step, row0=first + at, n_threads=n_threads,
            )
            PyErr_CheckSignals()
        return
    cdef philox_address address = philox_at(
        word64(seed, "seed"), word32(stream, "stream"), at_step, first
    )
    cdef void* px = data(x)
    cdef void* pw = data(w)
    cdef void* pb = data(bias)
    cdef void* pm = data(mean)
    cdef void* ps = data(sample)
    with nogil:
        if kind == cnp.NPY_FLOAT32:
            layer_f32(<gemm_f32>sgemm, <float*>px, <float*>pw, <float*>pb, transpose,
                      <float>scale, spin, <float*>pm, <float*>ps, address, n, n_in, n_out,
                      n_threads)
        else:
            layer_f64(<gemm_f64>dgemm, <double*>px, <double*>pw, <double*>pb, transpose, scale,
                      spin, <double*>pm, <double*>ps, address, n, n_in, n_out, n_threads)


def cumulant_sum(
    field, bias, out, *, double scale=1.0, bint spin=False, int n_threads=1
):
    """What summing out a layer of binary units adds to minus the free energy.

    With ``a_nj = bias_j + scale * field_nj``::

        Bernoulli  out[n] = sum_j log(1 + exp(a_nj))
        spin       out[n] = sum_j log(2 cosh(a_nj))

    Each term is computed in the type of `field`, the sum in double.

    Parameters
    ----------
    field : ndarray of float32 or float64, shape (n, J)
    bias : ndarray, shape (J,), or None for zeros
    out : ndarray of float64, shape (n,)
    scale : float
        Factor of the field.
    spin : bool
        Units of {-1, +1} instead of {0, 1}.
    n_threads : int
        Threads to use; no effect on the result.
    """
    cdef int kind = real_type(field, "field", 2, False)
    check_threads(n_threads)
    cdef Py_ssize_t n = cnp.PyArray_DIM(field, 0), m = cnp.PyArray_DIM(field, 1)
    check_bias(bias, kind, m)
    check_typed(out, "out", 1, True, cnp.NPY_FLOAT64)
    check_shape1(out, "out", n)
    check_apart(out, "out", field, "field")
    if bias is not None:
        check_apart(out, "out", bias, "bias")
    cdef void* pf = data(field)
    cdef void* pb = data(bias)
    cdef double* po = <double*>data(out)
    with nogil:
        if kind == cnp.NPY_FLOAT32:
            cumulant_sum_f32(<float*>pf, <float*>pb, <float>scale, spin, po, n, m, n_threads)
        else:
            cumulant_sum_f64(<double*>pf, <double*>pb, scale, spin, po, n, m, n_threads)
