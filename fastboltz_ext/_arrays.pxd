# cython: language_level=3
"""Checks of arguments that every module shares: fast when they pass, a sentence when they fail."""

cimport numpy as cnp
from libc.stdint cimport uint32_t, uint64_t


cdef inline int bad_array(object a, str name, int ndim, bint writable) except -1:
    """Raise the sentence for an array that is not a plain C-contiguous one."""
    if not isinstance(a, cnp.ndarray):
        raise TypeError(f"{name} is a {type(a).__name__}; expected a NumPy array.")
    if cnp.PyArray_NDIM(a) != ndim:
        raise ValueError(f"{name} has {a.ndim} dimensions; expected {ndim}.")
    if not a.flags.c_contiguous:
        raise ValueError(
            f"{name} is not C-contiguous (strides {a.strides}); "
            f"pass numpy.ascontiguousarray({name})."
        )
    if writable and not a.flags.writeable:
        raise ValueError(f"{name} is read-only; it is written to, so pass a writable array.")
    raise ValueError(f"{name} is not aligned or not in native byte order; pass a copy of it.")


cdef inline int check_plain(object a, str name, int ndim, bint writable) except -1:
    """C-contiguous, aligned, native byte order, ndim dimensions, writable where needed."""
    if isinstance(a, cnp.ndarray) and cnp.PyArray_NDIM(a) == ndim:
        if cnp.PyArray_ISCARRAY(a) if writable else cnp.PyArray_ISCARRAY_RO(a):
            return 0
    return bad_array(a, name, ndim, writable)


cdef inline int real_type(object a, str name, int ndim, bint writable) except -1:
    """Check a float array and return its NumPy type number: NPY_FLOAT32 or NPY_FLOAT64."""
    check_plain(a, name, ndim, writable)
    cdef int kind = cnp.PyArray_TYPE(a)
    if kind != cnp.NPY_FLOAT32 and kind != cnp.NPY_FLOAT64:
        raise ValueError(f"{name} has dtype {a.dtype}; expected float32 or float64.")
    return kind


cdef inline int check_typed(object a, str name, int ndim, bint writable, int kind) except -1:
    """Check an array whose type number must be ``kind``."""
    check_plain(a, name, ndim, writable)
    if cnp.PyArray_TYPE(a) != kind:
        raise ValueError(
            f"{name} has dtype {a.dtype}; expected {cnp.PyArray_DescrFromType(kind)}."
        )
    return 0


cdef inline int wrong_shape(object a, str name, tuple expected) except -1:
    raise ValueError(f"{name} has shape {a.shape}; expected {expected}.")


cdef inline int check_shape1(object a, str name, Py_ssize_t n) except -1:
    if cnp.PyArray_DIM(a, 0) != n:
        return wrong_shape(a, name, (n,))
    return 0


cdef inline int check_shape2(object a, str name, Py_ssize_t n, Py_ssize_t m) except -1:
    if cnp.PyArray_DIM(a, 0) != n or cnp.PyArray_DIM(a, 1) != m:
        return wrong_shape(a, name, (n, m))
    return 0


cdef inline bint overlap(object a, object b) noexcept:
    """Whether two contiguous arrays share memory."""
    cdef char* p = <char*>cnp.PyArray_DATA(a)
    cdef char* q = <char*>cnp.PyArray_DATA(b)
    return p < q + cnp.PyArray_NBYTES(b) and q < p + cnp.PyArray_NBYTES(a)


cdef inline int check_apart(object a, str name_a, object b, str name_b) except -1:
    if overlap(a, b):
        raise ValueError(f"{name_a} and {name_b} share memory; pass separate arrays.")
    return 0


cdef inline int check_threads(int n_threads) except -1:
    if n_threads < 1:
        raise ValueError(f"n_threads is {n_threads}; expected at least 1.")
    return n_threads


cdef inline uint32_t word32(object value, str name) except? 0xfffffffe:
    """An integer that fills one 32-bit word of a counter."""
    cdef long long v
    try:
        v = value
    except OverflowError:
        v = -1
    if v < 0 or v > 0xffffffff:
        raise ValueError(f"{name} is {value}; expected an integer in [0, 2**32).")
    return <uint32_t>v


cdef inline uint64_t word64(object value, str name) except? 0xfffffffe:
    """An integer that fills the key: the seed."""
    try:
        return value
    except OverflowError:
        raise ValueError(f"{name} is {value}; expected an integer in [0, 2**64).") from None


cdef inline int check_address_range(
    uint32_t row0, Py_ssize_t n_rows, uint32_t step, Py_ssize_t n_steps, Py_ssize_t n_units
) except -1:
    """Rows, steps and units must not wrap around: numbers would be used twice."""
    if <uint64_t>row0 + <uint64_t>n_rows > 0x100000000ULL:
        raise ValueError(f"row0 + {n_rows} rows exceeds 2**32 (row0 is {row0}).")
    if <uint64_t>step + <uint64_t>n_steps > 0x100000000ULL:
        raise ValueError(f"step + {n_steps} sweeps exceeds 2**32 (step is {step}).")
    if <uint64_t>n_units > 0x400000000ULL:
        raise ValueError(f"{n_units} units are too many; expected at most 2**34.")
    return 0
