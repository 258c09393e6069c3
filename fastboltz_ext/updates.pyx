"""Fused optimizer steps, gradient ascent: one pass over the parameters and their state.

Penalties enter the gradient: ``g = gradient - l2 * param - l1 * sign(param)``.
"""

cimport numpy as cnp
from libc.stddef cimport ptrdiff_t

from fastboltz_ext._arrays cimport check_apart, check_threads, check_typed, real_type, wrong_shape

cnp.import_array()


cdef extern from "_update_core.h" nogil:
    void sgd_f32(float* param, const float* gradient, float* velocity, float rate, float momentum,
                 float l1, float l2, ptrdiff_t n, int n_threads)
    void sgd_f64(double* param, const double* gradient, double* velocity, double rate,
                 double momentum, double l1, double l2, ptrdiff_t n, int n_threads)
    void adam_f32(float* param, const float* gradient, float* m, float* v, double rate,
                  double beta1, double beta2, double epsilon, double t, double l1, double l2,
                  ptrdiff_t n, int n_threads)
    void adam_f64(double* param, const double* gradient, double* m, double* v, double rate,
                  double beta1, double beta2, double epsilon, double t, double l1, double l2,
                  ptrdiff_t n, int n_threads)


cdef int dimensions(object a) noexcept:
    return cnp.PyArray_NDIM(a) if isinstance(a, cnp.ndarray) else 1


cdef int check_like(object a, str name, bint writable, object param, int kind) except -1:
    """Type, contiguity and shape of an array that goes with param, and that it lies apart."""
    check_typed(a, name, dimensions(param), writable, kind)
    cdef int axis
    for axis in range(cnp.PyArray_NDIM(param)):
        if cnp.PyArray_DIM(a, axis) != cnp.PyArray_DIM(param, axis):
            return wrong_shape(a, name, param.shape)
    check_apart(param, "param", a, name)
    return 0


def sgd(
    param, gradient, velocity, *, double learning_rate, double momentum=0.0, double l1=0.0,
    double l2=0.0, int n_threads=1,
):
    """Step of gradient ascent, with momentum where there is a velocity::

        g = gradient - l2 * param - l1 * sign(param)
        velocity = momentum * velocity + learning_rate * g;  param += velocity
        param += learning_rate * g                           without velocity

    Parameters
    ----------
    param : ndarray of float32 or float64, any shape
        Updated in place.
    gradient : ndarray, shape of `param`
    velocity : ndarray, shape of `param`, or None
        Updated in place.
    learning_rate, momentum, l1, l2 : float
    n_threads : int
        Threads to use; no effect on the result.
    """
    cdef int kind = real_type(param, "param", dimensions(param), True)
    check_threads(n_threads)
    check_like(gradient, "gradient", False, param, kind)
    cdef void* pv = NULL
    if velocity is not None:
        check_like(velocity, "velocity", True, param, kind)
        check_apart(gradient, "gradient", velocity, "velocity")
        pv = cnp.PyArray_DATA(velocity)
    elif momentum != 0.0:
        raise ValueError(f"momentum is {momentum} but velocity is None; pass an array of zeros.")
    cdef void* pp = cnp.PyArray_DATA(param)
    cdef void* pg = cnp.PyArray_DATA(gradient)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(param)
    with nogil:
        if kind == cnp.NPY_FLOAT32:
            sgd_f32(<float*>pp, <float*>pg, <float*>pv, <float>learning_rate, <float>momentum,
                    <float>l1, <float>l2, n, n_threads)
        else:
            sgd_f64(<double*>pp, <double*>pg, <double*>pv, learning_rate, momentum, l1, l2, n,
                    n_threads)


def adam(
    param, gradient, m, v, *, double learning_rate, double beta1, double beta2, double epsilon,
    Py_ssize_t t, double l1=0.0, double l2=0.0, int n_threads=1,
):
    """Step of Adam, upwards::

        g = gradient - l2 * param - l1 * sign(param)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        param += learning_rate * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + epsilon)

    Parameters
    ----------
    param : ndarray of float32 or float64, any shape
        Updated in place.
    gradient : ndarray, shape of `param`
    m, v : ndarray, shape of `param`
        Running means of the gradient and of its square; updated in place.
    learning_rate, beta1, beta2, epsilon, l1, l2 : float
        Both betas in [0, 1).
    t : int
        Number of this step, from 1.
    n_threads : int
        Threads to use; no effect on the result.

    References
    ----------
    D. P. Kingma & J. Ba (2015), "Adam: a method for stochastic optimization", ICLR.
    """
    cdef int kind = real_type(param, "param", dimensions(param), True)
    check_threads(n_threads)
    if t < 1:
        raise ValueError(f"t is {t}; steps are counted from 1.")
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ValueError(f"beta1 is {beta1} and beta2 is {beta2}; expected both in [0, 1).")
    check_like(gradient, "gradient", False, param, kind)
    check_like(m, "m", True, param, kind)
    check_like(v, "v", True, param, kind)
    check_apart(m, "m", v, "v")
    check_apart(gradient, "gradient", m, "m")
    check_apart(gradient, "gradient", v, "v")
    cdef void* pp = cnp.PyArray_DATA(param)
    cdef void* pg = cnp.PyArray_DATA(gradient)
    cdef void* pm = cnp.PyArray_DATA(m)
    cdef void* pv = cnp.PyArray_DATA(v)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(param)
    with nogil:
        if kind == cnp.NPY_FLOAT32:
            adam_f32(<float*>pp, <float*>pg, <float*>pm, <float*>pv, learning_rate, beta1, beta2,
                     epsilon, <double>t, l1, l2, n, n_threads)
        else:
            adam_f64(<double*>pp, <double*>pg, <double*>pm, <double*>pv, learning_rate, beta1,
                     beta2, epsilon, <double>t, l1, l2, n, n_threads)
