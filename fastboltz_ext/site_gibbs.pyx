"""Gibbs sweeps site by site, for groups whose units have terms among themselves.

A unit's state is drawn from its conditional given all others, ``p = 1 / (1 + exp(-a))`` for
Bernoulli units of {0, 1} and ``p = 1 / (1 + exp(-2 a))`` for spins of {-1, +1}: 1 if ``u < p``,
else the lower state. ``u`` is the uniform at (seed, stream, step + s, row0 + n, i) for unit i of
row n in sweep s.

Hyperedges are swept with up to 64 chains side by side in the lanes (`kernel`): the states of a unit
are bits, its random words are drawn for all of them at once, and where all chains have the same
field, units with up to four edges look their conditional up in a table. Sums run over a unit's
edges in the order of ``unit_edges`` whatever the kernel, so that results are the same bits.

Long calls look for signals between pieces of some ten milliseconds, so that an interrupt stops
them; ``values`` then holds the states reached so far.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

import numpy as np

from fastboltz_ext import processor
from fastboltz_ext._arrays cimport (
    check_address_range, check_apart, check_plain, check_shape1, check_shape2, check_threads,
    check_typed, real_type, word32, word64, wrong_shape
)

cnp.import_array()


cdef extern from "_site_core.h" nogil:
    ctypedef struct philox_address:
        uint32_t step
    ctypedef struct site_task:
        ptrdiff_t begin
        ptrdiff_t n_rows
        ptrdiff_t n_units
        ptrdiff_t field_stride
        const int64_t* order
        ptrdiff_t n_order
        const uint8_t* clamped
        int spin
        ptrdiff_t n_sweeps
        philox_address address
        uint32_t* words
        ptrdiff_t words_stride
        int n_threads
    int PHILOX_PAD
    philox_address philox_at(uint64_t seed, uint32_t stream, uint32_t step, uint32_t row0)
    void sweep_dense_f32(float* values, const float* field, const float* couplings,
                         ptrdiff_t matrix_stride, float scale, const site_task* task)
    void sweep_dense_f64(double* values, const double* field, const double* couplings,
                         ptrdiff_t matrix_stride, double scale, const site_task* task)
    void sweep_hyperedges_f32(float* values, const float* field, const float* weights,
                              ptrdiff_t weight_stride, const int64_t* edge_offsets,
                              const int64_t* edge_units, const int64_t* unit_offsets,
                              const int64_t* unit_edges, float scale, const site_task* task)
    void sweep_hyperedges_f64(double* values, const double* field, const double* weights,
                              ptrdiff_t weight_stride, const int64_t* edge_offsets,
                              const int64_t* edge_units, const int64_t* unit_offsets,
                              const int64_t* unit_edges, double scale, const site_task* task)
    void sweep_levels_f32(float* values, const float* field, const float* weights,
                          ptrdiff_t weight_stride, const int64_t* edge_offsets,
                          const int64_t* edge_units, const int64_t* unit_offsets,
                          const int64_t* unit_edges, float scale, const site_task* task,
                          const int64_t* sites, const int64_t* starts, ptrdiff_t n_levels)
    void sweep_levels_f64(double* values, const double* field, const double* weights,
                          ptrdiff_t weight_stride, const int64_t* edge_offsets,
                          const int64_t* edge_units, const int64_t* unit_offsets,
                          const int64_t* unit_edges, double scale, const site_task* task,
                          const int64_t* sites, const int64_t* starts, ptrdiff_t n_levels)
    ptrdiff_t site_levels(const site_task* task, const int64_t* edge_offsets,
                          const int64_t* edge_units, const int64_t* unit_offsets,
                          const int64_t* unit_edges, int64_t* last, int64_t* level,
                          int64_t* sites, int64_t* starts)
    int SITE_FEW
    ctypedef struct site_plan:
        void* memory
    int SITE_SCALAR
    int SITE_PORTABLE
    int SITE_AVX512
    int SITE_LANES
    int FB_LEVEL_AVX512
    void site_plan_free(site_plan* plan)
    int lanes_plan_f32(site_plan* plan, const float* field, const float* weights,
                       ptrdiff_t n_edges, const int64_t* edge_offsets, const int64_t* edge_units,
                       const int64_t* unit_offsets, const int64_t* unit_edges, float scale,
                       const site_task* task, int kernel)
    int lanes_plan_f64(site_plan* plan, const double* field, const double* weights,
                       ptrdiff_t n_edges, const int64_t* edge_offsets, const int64_t* edge_units,
                       const int64_t* unit_offsets, const int64_t* unit_edges, double scale,
                       const site_task* task, int kernel)
    void sweep_lanes_f32(const site_plan* plan, float* values, const float* field,
                         const float* weights, const int64_t* edge_offsets,
                         const int64_t* edge_units, const int64_t* unit_offsets,
                         const int64_t* unit_edges, float scale, const site_task* task)
    void sweep_lanes_f64(const site_plan* plan, double* values, const double* field,
                         const double* weights, const int64_t* edge_offsets,
                         const int64_t* edge_units, const int64_t* unit_offsets,
                         const int64_t* unit_edges, double scale, const site_task* task)


# Elementary steps of one piece of work, some ten milliseconds of one thread: an interrupt waits no
# longer than that.
cdef double PIECE = 3e7
# Chains from which the lanes pay, however few of them are filled.
cdef Py_ssize_t FEW = 4

_KERNELS = {"scalar": SITE_SCALAR, "portable": SITE_PORTABLE, "avx512": SITE_AVX512}

cdef int chosen = SITE_AVX512 if processor.chosen() == FB_LEVEL_AVX512 else SITE_PORTABLE


def kernel(name=None):
    """Which code sweeps over hyperedges; results are the same bits.

    ``"avx512"`` and ``"portable"`` have up to 64 chains side by side, ``"scalar"`` goes chain by
    chain. float64 has no AVX-512 code of its own: there ``"avx512"`` means ``"portable"``.

    Parameters
    ----------
    name : str, optional
        Use this one from now on.

    Returns
    -------
    str
    """
    global chosen
    if name is not None:
        if name not in _KERNELS:
            raise ValueError(
                f"kernel {name!r} does not exist; expected 'avx512', 'portable' or 'scalar'."
            )
        if name == "avx512" and name not in processor.kernels():
            raise ValueError("this processor has no AVX-512; use 'portable'.")
        chosen = _KERNELS[name]
    return next(key for key, number in _KERNELS.items() if number == chosen)


cdef class _Sweeps:
    """Arguments of a call, checked once, and its division into pieces."""

    cdef site_task task
    cdef Py_ssize_t n_rows, n_sweeps
    cdef Py_ssize_t piece_rows, piece_sweeps
    cdef uint32_t step
    cdef object order, clamped, words
    cdef int kind

    def __init__(self, values, field, order, clamped, bint spin, Py_ssize_t n_sweeps, seed,
                 stream, step, row0, int n_threads):
        self.kind = real_type(values, "values", 2, True)
        cdef Py_ssize_t n = cnp.PyArray_DIM(values, 0), m = cnp.PyArray_DIM(values, 1)
        if isinstance(field, cnp.ndarray) and cnp.PyArray_NDIM(field) == 1:
            check_typed(field, "field", 1, False, self.kind)
            check_shape1(field, "field", m)
            self.task.field_stride = 0
        else:
            check_typed(field, "field", 2, False, self.kind)
            check_shape2(field, "field", n, m)
            self.task.field_stride = m
        check_apart(values, "values", field, "field")
        check_threads(n_threads)
        if n_sweeps < 0:
            raise ValueError(f"n_sweeps is {n_sweeps}; expected at least 0.")
        self.n_rows = n
        self.n_sweeps = n_sweeps
        self.step = word32(step, "step")
        cdef uint32_t first = word32(row0, "row0")
        check_address_range(first, n, self.step, n_sweeps, m)
        self.task.address = philox_at(
            word64(seed, "seed"), word32(stream, "stream"), self.step, first
        )
        self.task.n_units = m
        self.task.spin = spin
        self.task.n_threads = n_threads

        self.task.order = NULL
        self.task.n_order = m
        if order is not None:
            self.order = _indices(order, "order", m)
            self.task.order = <int64_t*>cnp.PyArray_DATA(self.order)
            self.task.n_order = cnp.PyArray_DIM(self.order, 0)

        self.task.clamped = NULL
        if clamped is not None:
            check_plain(clamped, "clamped", 2, False)
            if cnp.PyArray_TYPE(clamped) not in (cnp.NPY_UINT8, cnp.NPY_BOOL):
                raise ValueError(f"clamped has dtype {clamped.dtype}; expected uint8 or bool.")
            check_shape2(clamped, "clamped", n, m)
            check_apart(values, "values", clamped, "clamped")
            self.clamped = clamped
            self.task.clamped = <uint8_t*>cnp.PyArray_DATA(clamped)

        self.task.words_stride = (m + 7) // 8 * 8 + PHILOX_PAD
        self.words = np.empty(self.task.words_stride * n_threads, dtype=np.uint32)
        self.task.words = <uint32_t*>cnp.PyArray_DATA(self.words)

    cdef void divide(self, double row_cost) noexcept:
        """Choose the pieces, given the elementary steps of one sweep of one row."""
        cdef double piece = PIECE * self.task.n_threads
        row_cost = max(row_cost, 1.0)
        self.piece_rows = <Py_ssize_t>min(max(piece / row_cost, 1.0), <double>max(self.n_rows, 1))
        self.piece_sweeps = <Py_ssize_t>min(
            max(piece / (row_cost * self.piece_rows), 1.0), <double>max(self.n_sweeps, 1)
        )

    cdef void divide_lanes(self, double row_cost) noexcept:
        """The same for whole blocks of chains, and rather many sweeps of few than the reverse:
        states are brought into the lanes and back in each piece."""
        cdef double block = SITE_LANES * max(row_cost, 1.0)
        self.piece_sweeps = <Py_ssize_t>min(
            max(PIECE / block, 1.0), <double>max(self.n_sweeps, 1)
        )
        cdef double blocks = max(PIECE / (block * self.piece_sweeps), 1.0)
        blocks = min(blocks, <double>(self.n_rows // SITE_LANES + 1))
        self.piece_rows = SITE_LANES * self.task.n_threads * <Py_ssize_t>blocks


cdef object _indices(object given, str name, Py_ssize_t end):
    """A contiguous int64 copy or view of 1-D indices, each in [0, end)."""
    array = np.asarray(given)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} has {array.ndim} dimensions and dtype {array.dtype}; expected 1-D integers."
        )
    array = np.ascontiguousarray(array, dtype=np.int64)
    if array.size and (array.min() < 0 or array.max() >= end):
        raise ValueError(
            f"{name} has entries in [{array.min()}, {array.max()}]; expected them in [0, {end})."
        )
    return array


cdef object _offsets(object given, str name, Py_ssize_t n, Py_ssize_t end):
    """CSR offsets: n + 1 rising int64 from 0 to end."""
    array = _indices(given, name, end + 1)
    if array.shape[0] != n + 1:
        raise ValueError(f"{name} has {array.shape[0]} entries; expected {n + 1}.")
    if array[0] != 0 or array[n] != end or (np.diff(array) < 0).any():
        raise ValueError(f"{name} must rise from 0 to {end}, the number of entries it divides.")
    return array


def sweep_dense(
    values, field, couplings, *, order=None, clamped=None, double scale=1.0, bint spin=False,
    Py_ssize_t n_sweeps=1, seed=0, stream=0, step=0, row0=0, int n_threads=1,
):
    """Sweeps over units coupled in pairs by a dense matrix.

    The energy is ``E(x) = -sum_i field_i x_i - 1/2 sum_ij couplings_ij x_i x_j``, hence the
    activation of site i ::

        a = scale * (field_ni + sum_j couplings_ij values_nj)

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n, N)
        States, one row a chain; updated in place.
    field : ndarray, shape (n, N), or (N,) for all rows
        All that does not come from this group, its bias included.
    couplings : ndarray, shape (N, N) or (n, N, N)
        Symmetric with zero diagonal, for all rows or one for each. The diagonal is checked;
        symmetry is the caller's promise, as checking it would cost as much as a sweep of a row.
    order : sequence of int or None
        Sites of a sweep in order (some may be left out or repeated; a repeated site meets the
        same uniform within the sweep); None for 0, 1, ..., N - 1.
    clamped : ndarray of uint8 or bool, shape (n, N), or None
        1 leaves a unit as it is.
    scale : float
        Factor of the activation, such as an inverse temperature.
    spin : bool
        Units of {-1, +1} instead of {0, 1}.
    n_sweeps : int
    seed, stream, step, row0 : int
        Address of the first row's uniforms in the first sweep; sweep s uses ``step + s``.
    n_threads : int
        Threads to use, over rows; no effect on the result.
    """
    cdef _Sweeps sweeps = _Sweeps(
        values, field, order, clamped, spin, n_sweeps, seed, stream, step, row0, n_threads
    )
    cdef Py_ssize_t n = sweeps.n_rows, m = sweeps.task.n_units
    cdef Py_ssize_t stride = 0
    if isinstance(couplings, cnp.ndarray) and cnp.PyArray_NDIM(couplings) == 3:
        check_typed(couplings, "couplings", 3, False, sweeps.kind)
        if couplings.shape != (n, m, m):
            wrong_shape(couplings, "couplings", (n, m, m))
        stride = m * m
    else:
        check_typed(couplings, "couplings", 2, False, sweeps.kind)
        check_shape2(couplings, "couplings", m, m)
    if np.diagonal(couplings, axis1=-2, axis2=-1).any():
        raise ValueError("couplings has a diagonal that is not zero; put it into field.")
    check_apart(values, "values", couplings, "couplings")

    sweeps.divide(<double>sweeps.task.n_order * <double>m)
    cdef void* pv = cnp.PyArray_DATA(values)
    cdef void* pf = cnp.PyArray_DATA(field)
    cdef void* pc = cnp.PyArray_DATA(couplings)
    cdef Py_ssize_t row, sweep
    for row in range(0, n, sweeps.piece_rows):
        sweeps.task.begin = row
        sweeps.task.n_rows = min(sweeps.piece_rows, n - row)
        for sweep in range(0, n_sweeps, sweeps.piece_sweeps):
            sweeps.task.n_sweeps = min(sweeps.piece_sweeps, n_sweeps - sweep)
            sweeps.task.address.step = sweeps.step + <uint32_t>sweep
            with nogil:
                if sweeps.kind == cnp.NPY_FLOAT32:
                    sweep_dense_f32(<float*>pv, <float*>pf, <float*>pc, stride, <float>scale,
                                    &sweeps.task)
                else:
                    sweep_dense_f64(<double*>pv, <double*>pf, <double*>pc, stride, scale,
                                    &sweeps.task)
            PyErr_CheckSignals()


def sweep_hyperedges(
    values, field, weights, edge_offsets, edge_units, unit_offsets, unit_edges, *, order=None,
    clamped=None, double scale=1.0, bint spin=False, Py_ssize_t n_sweeps=1, seed=0, stream=0,
    step=0, row0=0, int n_threads=1,
):
    """Sweeps over units coupled by a list of hyperedges of any order.

    The energy is ``E(x) = -sum_i field_i x_i - sum_e weights_e prod_{i in e} x_i``, hence the
    activation of site i ::

        a = scale * (field_ni + sum_{e with i in e} weights_e prod_{k in e, k != i} values_nk)

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n, N)
        States, one row a chain; updated in place.
    field : ndarray, shape (n, N), or (N,) for all rows
        All that does not come from these edges, the bias included.
    weights : ndarray, shape (E,) or (n, E)
        One weight an edge, for all rows or one set for each.
    edge_offsets, edge_units : sequence of int (int64 is taken as it is), shapes (E + 1,) and (M,)
        Units of edge e: ``edge_units[edge_offsets[e]:edge_offsets[e + 1]]``.
    unit_offsets, unit_edges : sequence of int (int64 is taken as it is), shapes (N + 1,) and (M,)
        Edges of unit i: ``unit_edges[unit_offsets[i]:unit_offsets[i + 1]]``. `index_edges` builds
        the four.
    order, clamped, scale, spin, n_sweeps, seed, stream, step, row0, n_threads
        As in `sweep_dense`. Fewer chains than threads share them: sites that no edge joins are
        drawn at once where that gives the same states as one after the other, which an order that
        follows a colouring of the graph allows most.
    """
    cdef _Sweeps sweeps = _Sweeps(
        values, field, order, clamped, spin, n_sweeps, seed, stream, step, row0, n_threads
    )
    cdef Py_ssize_t n = sweeps.n_rows, m = sweeps.task.n_units
    cdef Py_ssize_t stride = 0, n_edges
    if isinstance(weights, cnp.ndarray) and cnp.PyArray_NDIM(weights) == 2:
        check_typed(weights, "weights", 2, False, sweeps.kind)
        n_edges = cnp.PyArray_DIM(weights, 1)
        check_shape2(weights, "weights", n, n_edges)
        stride = n_edges
    else:
        check_typed(weights, "weights", 1, False, sweeps.kind)
        n_edges = cnp.PyArray_DIM(weights, 0)
    check_apart(values, "values", weights, "weights")
    edge_units = _indices(edge_units, "edge_units", m)
    unit_edges = _indices(unit_edges, "unit_edges", n_edges)
    edge_offsets = _offsets(edge_offsets, "edge_offsets", n_edges, len(edge_units))
    unit_offsets = _offsets(unit_offsets, "unit_offsets", m, len(unit_edges))
    for name, index in (
        ("edge_offsets", edge_offsets), ("edge_units", edge_units),
        ("unit_offsets", unit_offsets), ("unit_edges", unit_edges),
    ):
        check_apart(values, "values", index, name)

    cdef double mean_size = <double>len(edge_units) / max(n_edges, 1)
    cdef double mean_degree = <double>len(unit_edges) / max(m, 1)
    cdef void* pv = cnp.PyArray_DATA(values)
    cdef void* pf = cnp.PyArray_DATA(field)
    cdef void* pw = cnp.PyArray_DATA(weights)
    cdef int64_t* eo = <int64_t*>cnp.PyArray_DATA(edge_offsets)
    cdef int64_t* eu = <int64_t*>cnp.PyArray_DATA(edge_units)
    cdef int64_t* uo = <int64_t*>cnp.PyArray_DATA(unit_offsets)
    cdef int64_t* ue = <int64_t*>cnp.PyArray_DATA(unit_edges)
    cdef site_plan plan
    cdef int lanes = 0
    cdef Py_ssize_t row, sweep
    cdef Py_ssize_t n_order = sweeps.task.n_order, n_levels = 0
    cdef cnp.ndarray room
    cdef int64_t* sites = NULL
    cdef int64_t* starts = NULL
    plan.memory = NULL
    # Chains that do not occupy the threads: several sites at once, where that is worth their order.
    if n < FEW and n < sweeps.task.n_threads and n * n_sweeps >= 4 and n_order >= 8 * SITE_FEW:
        room = np.empty(m + 3 * n_order + 1, dtype=np.int64)
        sites = <int64_t*>cnp.PyArray_DATA(room) + m + n_order
        starts = sites + n_order
        with nogil:
            n_levels = site_levels(&sweeps.task, eo, eu, uo, ue, sites - m - n_order,
                                   sites - n_order, sites, starts)
    if chosen != SITE_SCALAR and stride == 0 and n >= FEW:
        sweeps.task.n_rows = n
        sweeps.task.n_sweeps = n_sweeps
        with nogil:
            if sweeps.kind == cnp.NPY_FLOAT32:
                lanes = lanes_plan_f32(&plan, <float*>pf, <float*>pw, n_edges, eo, eu, uo, ue,
                                       <float>scale, &sweeps.task, chosen)
            else:
                lanes = lanes_plan_f64(&plan, <double*>pf, <double*>pw, n_edges, eo, eu, uo, ue,
                                       scale, &sweeps.task, chosen)
        if lanes < 0:
            raise MemoryError
    try:
        if lanes:
            sweeps.divide_lanes(<double>n_order * (2.0 + 0.2 * mean_size * mean_degree))
        else:
            sweeps.divide(<double>n_order * (10.0 + 5.0 * mean_size * mean_degree))
        for row in range(0, n, sweeps.piece_rows):
            sweeps.task.begin = row
            sweeps.task.n_rows = min(sweeps.piece_rows, n - row)
            for sweep in range(0, n_sweeps, sweeps.piece_sweeps):
                sweeps.task.n_sweeps = min(sweeps.piece_sweeps, n_sweeps - sweep)
                sweeps.task.address.step = sweeps.step + <uint32_t>sweep
                with nogil:
                    if lanes and sweeps.kind == cnp.NPY_FLOAT32:
                        sweep_lanes_f32(&plan, <float*>pv, <float*>pf, <float*>pw, eo, eu, uo, ue,
                                        <float>scale, &sweeps.task)
                    elif lanes:
                        sweep_lanes_f64(&plan, <double*>pv, <double*>pf, <double*>pw, eo, eu, uo,
                                        ue, scale, &sweeps.task)
                    elif n_levels and sweeps.kind == cnp.NPY_FLOAT32:
                        sweep_levels_f32(<float*>pv, <float*>pf, <float*>pw, stride, eo, eu, uo,
                                         ue, <float>scale, &sweeps.task, sites, starts, n_levels)
                    elif n_levels:
                        sweep_levels_f64(<double*>pv, <double*>pf, <double*>pw, stride, eo, eu,
                                         uo, ue, scale, &sweeps.task, sites, starts, n_levels)
                    elif sweeps.kind == cnp.NPY_FLOAT32:
                        sweep_hyperedges_f32(<float*>pv, <float*>pf, <float*>pw, stride, eo, eu,
                                             uo, ue, <float>scale, &sweeps.task)
                    else:
                        sweep_hyperedges_f64(<double*>pv, <double*>pf, <double*>pw, stride, eo,
                                             eu, uo, ue, scale, &sweeps.task)
                PyErr_CheckSignals()
    finally:
        site_plan_free(&plan)


def color_units(edge_offsets, edge_units, unit_offsets, unit_edges):
    """Colour units so that no two in an edge have the same colour.

    Units choose one after the other, each the lowest colour that none of its neighbours has: at
    most one more colour than a unit has neighbours.

    Parameters
    ----------
    edge_offsets, edge_units, unit_offsets, unit_edges : sequence of int
        As in `sweep_hyperedges`.

    Returns
    -------
    ndarray of int64, shape (N,)
    """
    unit_offsets = np.ascontiguousarray(unit_offsets, dtype=np.int64)
    cdef Py_ssize_t m = len(unit_offsets) - 1
    edge_units = _indices(edge_units, "edge_units", m)
    unit_edges = _indices(unit_edges, "unit_edges", len(edge_offsets) - 1)
    edge_offsets = _offsets(edge_offsets, "edge_offsets", len(edge_offsets) - 1, len(edge_units))
    unit_offsets = _offsets(unit_offsets, "unit_offsets", m, len(unit_edges))
    cdef int64_t[::1] eo = edge_offsets, eu = edge_units, uo = unit_offsets, ue = unit_edges
    colors = np.full(m, -1, dtype=np.int64)
    # The unit that last saw a neighbour of each colour.
    seen = np.full(m + 1, -1, dtype=np.int64)
    cdef int64_t[::1] color = colors, by = seen
    cdef Py_ssize_t i
    cdef int64_t q, k, c
    with nogil:
        for i in range(m):
            for q in range(uo[i], uo[i + 1]):
                for k in range(eo[ue[q]], eo[ue[q] + 1]):
                    if color[eu[k]] >= 0:
                        by[color[eu[k]]] = i
            c = 0
            while by[c] == i:
                c += 1
            color[i] = c
    return colors


def index_edges(edges, n_units):
    """Index a list of hyperedges both ways.

    Parameters
    ----------
    edges : sequence of sequences of int, or ndarray of int, shape (E, order)
        Units of each edge, in any order, none twice; edges may differ in size.
    n_units : int
        Number of units N.

    Returns
    -------
    edge_offsets, edge_units : ndarray of int64, shapes (E + 1,) and (M,)
        Units of edge e, as given: ``edge_units[edge_offsets[e]:edge_offsets[e + 1]]``.
    unit_offsets, unit_edges : ndarray of int64, shapes (N + 1,) and (M,)
        Edges of unit i, rising: ``unit_edges[unit_offsets[i]:unit_offsets[i + 1]]``.
    """
    parts = [np.asarray(edge) for edge in edges]
    sizes = np.array([len(part) for part in parts], dtype=np.int64)
    # an empty edge has no units, hence no type that counts
    units_given = [part for part in parts if len(part)]
    flat = np.concatenate(units_given) if units_given else np.empty(0, dtype=np.int64)
    edge_units = _indices(flat, "edges", n_units)
    edge_offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    owner = np.repeat(np.arange(len(parts), dtype=np.int64), sizes)
    # sorted by unit, and by edge within a unit
    by_unit = np.lexsort((owner, edge_units))
    unit_edges = np.ascontiguousarray(owner[by_unit])
    units = edge_units[by_unit]
    twice = np.flatnonzero((np.diff(units) == 0) & (np.diff(unit_edges) == 0))
    if len(twice):
        e = int(unit_edges[twice[0]])
        raise ValueError(
            f"edge {e}, {tuple(int(i) for i in parts[e])}, names unit {int(units[twice[0]])} twice."
        )
    counts = np.bincount(edge_units, minlength=n_units)
    unit_offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return edge_offsets, edge_units, unit_offsets, unit_edges
