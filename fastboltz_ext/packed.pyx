"""Binary units as bits, their products by table look-up, and whole minibatches of contrastive
divergence.

Weights are rounded to multiples of 2**-20 inside sums, which are then exact: results do not depend
on the number of threads or on the instruction set. `fits` tells whether weights are in range (the
absolute weights of every unit sum to less than 2000).
"""

import math

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset
from scipy.linalg.cython_blas cimport sgemm

from fastboltz_ext import processor
from fastboltz_ext._arrays cimport (
    check_address_range, check_apart, check_shape1, check_shape2, check_threads, check_typed,
    real_type, word32, word64
)

cnp.import_array()


cdef extern from "_packed_loop.h" nogil:
    """
    /* One layer on its own, in a parallel region of its own. */
    static void packed_one_product(const packed_product *p, int by_rows, int level,
                                   int32_t *memory, ptrdiff_t scratch, int n_threads)
    {
        const ptrdiff_t panels = packed_panels(p->n_columns), words = packed_words(p->n_units);
        const int parallel = n_threads > 1;
        int t;
        if (!by_rows) {
            FB_PARALLEL_FOR
            for (t = 0; t < n_threads; t++)
                packed_turn(p->x, packed_groups(p->n_rows), words, p->turned,
                            words * t / n_threads, words * (t + 1) / n_threads);
        }
        FB_PARALLEL_FOR
        for (t = 0; t < n_threads; t++) {
            const ptrdiff_t begin = panels * t / n_threads, end = panels * (t + 1) / n_threads;
            int32_t *mine = memory + t * scratch;
    #if FB_X86
            if (!by_rows) {
                if (level == FB_LEVEL_AVX512)
                    packed_product_tables_avx512(p, begin, end, mine);
                else
                    packed_product_tables_avx2(p, begin, end, mine);
                continue;
            }
            if (level == FB_LEVEL_AVX512) {
                packed_product_avx512(p, begin, end, mine);
                continue;
            }
    #endif
            packed_product_any(p, begin, end, mine);
        }
    }

    static void packed_one_layer(const uint32_t *x, ptrdiff_t n_rows, const packed_weights *w,
                                 const packed_outputs *o, int by_rows, int level,
                                 int32_t *memory, ptrdiff_t scratch, int n_threads)
    {
        const ptrdiff_t words = packed_words(w->n_out), panels = packed_panels(w->n_out);
        const int parallel = n_threads > 1;
        int32_t *integers = memory, *all = memory + w->n_in * packed_padded(w->n_out);
        int t;
        FB_PARALLEL_FOR
        for (t = 0; t < n_threads; t++) {
            const ptrdiff_t begin = words * t / n_threads, end = words * (t + 1) / n_threads;
            const ptrdiff_t last = 32 * end < w->n_out ? 32 * end : w->n_out;
    #if FB_X86
            if (!by_rows) {
                const packed_rows rows = {x, n_rows, o};
                const ptrdiff_t from = PACKED_PANEL * (panels * t / n_threads);
                const ptrdiff_t to = PACKED_PANEL * (panels * (t + 1) / n_threads);
                if (level == FB_LEVEL_AVX512)
                    packed_layer_avx512(&rows, 1, w, from, to, memory + t * scratch);
                else
                    packed_layer_avx2(&rows, 1, w, from, to, memory + t * scratch);
                continue;
            }
    #endif
            packed_integers(w, 32 * begin, last, integers, all, level);
            packed_layer_rows(x, NULL, n_rows, w, o, begin, end, integers, all, level);
        }
    }
    """
    ctypedef struct philox_address:
        pass
    philox_address philox_at(uint64_t seed, uint32_t stream, uint32_t step, uint32_t row0)
    ctypedef struct packed_weights:
        const float* w
        ptrdiff_t k_step
        ptrdiff_t c_step
        ptrdiff_t n_in
        ptrdiff_t n_out
        int low
    ctypedef struct packed_outputs:
        const float* bias
        const float* row_bias
        ptrdiff_t row_step
        float scale
        int spin_in
        int spin_out
        philox_address address
        uint32_t* bits
        float* field
        float* mean_rows
        double* cumulant
        const float* other_bias
        float other_scale
        double* other_cumulant
    ctypedef void (*packed_sgemm)(char*, char*, int*, int*, int*, float*, float*, int*, float*,
                                  int*, float*, float*, int*) noexcept nogil
    ctypedef struct packed_pair:
        ptrdiff_t n_visible
        ptrdiff_t n_hidden
        int spin_visible
        int spin_hidden
        float* w
        float* bias_visible
        float* bias_hidden
        double* master_w
        double* master_visible
        double* master_hidden
        float* vel_w
        float* vel_visible
        float* vel_hidden
        float* mean_visible
        float* mean_hidden
        float l1
        float l2
        float momentum
        int persistent
        int n_gibbs
        uint64_t seed
        uint32_t positive_stream
        uint32_t visible_stream
        uint32_t hidden_stream
        int mean_bits
        int real
        packed_sgemm gemm
        int n_threads
        int level
        int by_rows
        ptrdiff_t max_rows
        ptrdiff_t n_chains
        int32_t* shared
        ptrdiff_t first_row
        ptrdiff_t first_chain
        uint32_t* v1
        uint32_t* h1
        float* row_part
        float* grad_hidden
        uint32_t* largest
        int (*asks)(void*) noexcept nogil
        void* asked
        int stop
        void* memory
    ctypedef struct packed_product:
        const uint32_t* x
        ptrdiff_t n_rows
        ptrdiff_t n_units
        const float* y
        ptrdiff_t n_columns
        int shift
        int spin
        float* out
        ptrdiff_t unit_step
        ptrdiff_t column_step
        float scale
        float beta
        uint32_t* turned
    ctypedef struct packed_gated:
        const uint32_t* x
        ptrdiff_t n_rows
        ptrdiff_t n_in
        ptrdiff_t n_out
        ptrdiff_t n_gates
        int spin
        const float* w
        ptrdiff_t gate_step
        ptrdiff_t k_step
        ptrdiff_t c_step
        const float* gate
        float* out
        uint32_t* largest
    void packed_one_gated(const packed_gated* p, int by_rows, int level, int32_t* memory,
                          ptrdiff_t scratch, int n_threads)
    int packed_product_shift(const float* y, ptrdiff_t n_rows, ptrdiff_t n_columns, int* shift)
    void packed_one_product(const packed_product* p, int by_rows, int level, int32_t* memory,
                            ptrdiff_t scratch, int n_threads)
    int PACKED_PANEL
    int FB_LEVEL_ANY
    int FB_LEVEL_AVX2
    int FB_LEVEL_AVX512
    ptrdiff_t packed_groups(ptrdiff_t n)
    ptrdiff_t packed_words(ptrdiff_t n)
    ptrdiff_t packed_panels(ptrdiff_t n)
    int packed_low_shift(const float* w, ptrdiff_t n, ptrdiff_t m)
    int packed_only_tables
    int64_t packed_ones(const uint32_t* bits, ptrdiff_t n)
    void packed_turn_rows(const float* x, ptrdiff_t n_units, const float* own, float scale,
                          float* to, ptrdiff_t n_rows, int n_threads)
    int packed_fits(const float* w, ptrdiff_t n, ptrdiff_t m)
    void packed_from_f32(const float* x, float threshold, ptrdiff_t n_rows, ptrdiff_t n_units,
                         uint32_t* bits, ptrdiff_t begin, ptrdiff_t end)
    void packed_from_f64(const double* x, double threshold, ptrdiff_t n_rows, ptrdiff_t n_units,
                         uint32_t* bits, ptrdiff_t begin, ptrdiff_t end)
    int packed_exact_f32(const float* x, float low, ptrdiff_t n_rows, ptrdiff_t n_units,
                         uint32_t* bits, ptrdiff_t row_group)
    int packed_exact_f64(const double* x, double low, ptrdiff_t n_rows, ptrdiff_t n_units,
                         uint32_t* bits, ptrdiff_t row_group)
    void packed_to_f32(const uint32_t* bits, ptrdiff_t n_units, float* x, float low,
                       ptrdiff_t begin, ptrdiff_t end)
    void packed_to_f64(const uint32_t* bits, ptrdiff_t n_units, double* x, double low,
                       ptrdiff_t begin, ptrdiff_t end)
    ptrdiff_t packed_layer_scratch(ptrdiff_t n_in, ptrdiff_t n_groups)
    ptrdiff_t packed_product_scratch(ptrdiff_t n_rows, ptrdiff_t n_units)
    ptrdiff_t packed_gated_scratch(ptrdiff_t n_in, ptrdiff_t n_rows, ptrdiff_t panels)
    void packed_one_layer(const uint32_t* x, ptrdiff_t n_rows, const packed_weights* w,
                          const packed_outputs* o, int by_rows, int level, int32_t* memory,
                          ptrdiff_t scratch, int n_threads)
    int packed_pair_allocate(packed_pair* q)
    ptrdiff_t packed_pair_run(packed_pair* q, const void* data, const int64_t* rows,
                              ptrdiff_t n_rows, ptrdiff_t batch_size, ptrdiff_t n_updates,
                              uint32_t update, uint32_t sweep, const float* rates,
                              float follow_first, float follow)
    ptrdiff_t packed_shared_phase(const packed_pair* q)
    ptrdiff_t packed_shared_biases(const packed_pair* q)
    ptrdiff_t packed_shared_size(const packed_pair* q, int same)
    int packed_pair_share(packed_pair* q, const void* data, const int64_t* rows, ptrdiff_t n_rows,
                          ptrdiff_t all_rows, ptrdiff_t all_chains, uint32_t update,
                          uint32_t sweep)
    void packed_pair_take(packed_pair* q, ptrdiff_t all_rows, ptrdiff_t all_chains, float rate,
                          float follow, int part, int parts)
    void packed_pair_end(packed_pair* q, float rate)


# Multiply-adds of a product below which threads cost more than they bring.
cdef double TINY = 1 << 23
# Multiply-adds of a thread between two looks at signals: some hundredths of a second, with portable
# code some tenths.
cdef double PIECE = 2e9
# With AVX-512, rows up to which adding rows of weights up is faster than tables, which take 32 rows
# at a time: measured from 64 x 100 to 784 x 500 weights, with 15 and 50 % of ones. And, for so many
# rows, the share of ones below which it is faster, too: 0.4 to 0.97 of the time with 0.2 to 1 %.
cdef Py_ssize_t FEW_ROWS = 20
cdef Py_ssize_t MANY_ROWS = 256
cdef double SPARSE = 0.01


cdef Py_ssize_t rows_of_a_piece(double row_cost, int n_threads) noexcept:
    """Rows of a long call that are worked on between two looks at signals: whole groups."""
    return 32 * <Py_ssize_t>max(min(PIECE * n_threads / max(row_cost, 1.0), 2e9) / 32, 1.0)


# The instruction set in use.
cdef int level = processor.chosen()


cdef bint is_sparse(Bits x):
    """With AVX-512 and many rows, whether so few bits are ones that the rows of the weights that
    they choose are added up. The code for AVX2 decides by itself (_packed_lists.h)."""
    if level != FB_LEVEL_AVX512 or packed_only_tables or x.n_rows < MANY_ROWS:
        return False
    cdef double size = <double>x.n_rows * <double>x.n_units
    return packed_ones(<const uint32_t*>cnp.PyArray_DATA(x.words), x.words.size) < SPARSE * size


cdef bint goes_by_rows(Py_ssize_t n):
    """Whether rows of weights are added up rather than looked up in tables: on portable code, and
    with AVX-512 where few rows would not pay for the tables. Results are the same."""
    if level == FB_LEVEL_AVX512:
        return n <= FEW_ROWS and not packed_only_tables
    return level == FB_LEVEL_ANY


def kernels():
    """Names that `kernel` accepts on this processor, the fastest first."""
    names = []
    for name in processor.kernels():
        names += [name] if name == "portable" else [name, f"{name} tables"]
    return names


def kernel(name=None):
    """Which code sums binary units: ``"avx512"``, ``"avx2"`` or ``"portable"``; the first two with
    ``" tables"`` behind use tables where adding up rows of weights is faster, too: for few rows, or
    few ones.
    Results are the same bits.

    Parameters
    ----------
    name : str, optional
        Use this one from now on.

    Returns
    -------
    str
    """
    global level, packed_only_tables
    if name is not None:
        if name not in kernels():
            raise ValueError(
                f"kernel {name!r} is not one that this processor can run; expected one of "
                f"{kernels()}."
            )
        level = processor.LEVELS[name.removesuffix(" tables")]
        packed_only_tables = name.endswith(" tables")
    (current,) = (name for name, at in processor.LEVELS.items() if at == level)
    return f"{current} tables" if packed_only_tables else current


if processor.asked():
    try:
        kernel(processor.asked())
    except ValueError as error:
        raise ValueError(f"FASTBOLTZ_KERNEL: {error} Or leave it unset.") from None


def fits(w):
    """Whether weights (n, m) can be summed in fixed point, over rows and over columns."""
    check_typed(w, "w", 2, False, cnp.NPY_FLOAT32)
    return bool(packed_fits(<float*>cnp.PyArray_DATA(w), cnp.PyArray_DIM(w, 0),
                            cnp.PyArray_DIM(w, 1)))


def low_shift(w):
    """The precision that sums of 16 bits leave to weights (n, m): ``2**-low_shift(w)``.

    Returns
    -------
    int
        4 to 14, or -1 where weights are too large.
    """
    check_typed(w, "w", 2, False, cnp.NPY_FLOAT32)
    return packed_low_shift(<float*>cnp.PyArray_DATA(w), cnp.PyArray_DIM(w, 0),
                            cnp.PyArray_DIM(w, 1))


cdef class Bits:
    """Rows of binary units, one bit a unit.

    Attributes
    ----------
    shape : tuple
        (n_rows, n_units).
    words : ndarray of uint32, shape (groups, words, 16)
        Bit k of ``words[g, w, l]`` is unit ``32 w + k`` of row ``16 g + l``.
    low : float
        What a zero stands for: 0, or -1 for spins. A one stands for 1.
    """

    cdef readonly object words
    cdef readonly Py_ssize_t n_rows, n_units
    cdef readonly double low

    def __init__(self, Py_ssize_t n_rows, Py_ssize_t n_units, *, double low=0.0, words=None):
        shape = (packed_groups(n_rows), packed_words(n_units), 16)
        if words is None:
            words = aligned_words(shape)
        elif words.shape != shape or words.dtype != np.uint32 or not words.flags.c_contiguous:
            raise ValueError(f"words must be a C-contiguous uint32 array of shape {shape}.")
        elif words.ctypes.data % 64:
            raise ValueError(
                "words do not begin at a multiple of 64 bytes, as whole registers are loaded from "
                "them; copy them into the words of a new Bits."
            )
        self.words = words
        self.n_rows = n_rows
        self.n_units = n_units
        self.low = low

    @property
    def shape(self):
        return (self.n_rows, self.n_units)

    def copy(self):
        """The same, in memory of its own."""
        out = Bits(self.n_rows, self.n_units, low=self.low)
        out.words[...] = self.words
        return out

    cdef Bits part(self, Py_ssize_t begin, Py_ssize_t end):
        """Rows [begin, end), in the same memory; `begin` is a multiple of 32."""
        words = self.words[packed_groups(begin):packed_groups(end)]
        return Bits(end - begin, self.n_units, low=self.low, words=words)

    def take(self, rows):
        """These rows, in this order."""
        rows = np.asarray(rows, dtype=np.intp)
        out = Bits(len(rows), self.n_units, low=self.low)
        to = np.arange(len(rows))
        out.words[to // 16, :, to % 16] = self.words[rows // 16, :, rows % 16]
        return out

    @property
    def nbytes(self):
        """Bytes of the words."""
        return self.words.nbytes

    def __len__(self):
        return self.n_rows

    def __repr__(self):
        return f"Bits(shape={self.shape}, low={self.low})"

    @classmethod
    def pack(cls, x, *, double low=0.0):
        """From an array (n_rows, n_units): a one where the value is above the middle."""
        cdef int kind = real_type(x, "x", 2, False)
        cdef Py_ssize_t n = cnp.PyArray_DIM(x, 0), m = cnp.PyArray_DIM(x, 1)
        out = cls(n, m, low=low)
        cdef uint32_t* bits = <uint32_t*>cnp.PyArray_DATA(out.words)
        cdef double middle = (1.0 + low) / 2
        cdef void* px = cnp.PyArray_DATA(x)
        with nogil:
            if kind == cnp.NPY_FLOAT32:
                packed_from_f32(<float*>px, <float>middle, n, m, bits, 0, 16 * packed_groups(n))
            else:
                packed_from_f64(<double*>px, middle, n, m, bits, 0, 16 * packed_groups(n))
        return out

    @classmethod
    def pack_exact(cls, x, *, double low=0.0):
        """From an array (n_rows, n_units) of `low` and 1; None if it has other values."""
        real_type(x, "x", 2, False)
        out = cls(cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), low=low)
        is_binary = exact_bits(x, low, out.words, 16)
        return out if is_binary else None

    def unpack(self, out=None, dtype=np.float32):
        """As an array (n_rows, n_units) of `low` and 1."""
        if out is None:
            out = np.empty(self.shape, dtype=dtype)
        cdef int kind = real_type(out, "out", 2, True)
        check_shape2(out, "out", self.n_rows, self.n_units)
        cdef const uint32_t* bits = <const uint32_t*>cnp.PyArray_DATA(self.words)
        cdef void* px = cnp.PyArray_DATA(out)
        cdef Py_ssize_t n = self.n_rows, m = self.n_units
        cdef double low = self.low
        with nogil:
            if kind == cnp.NPY_FLOAT32:
                packed_to_f32(bits, m, <float*>px, <float>low, 0, n)
            else:
                packed_to_f64(bits, m, <double*>px, low, 0, n)
        return out


cdef bint exact_bits(cnp.ndarray x, double low, cnp.ndarray words, Py_ssize_t row_group):
    """Fill words with the bits of x; False if x has values beside `low` and 1."""
    cdef Py_ssize_t n = cnp.PyArray_DIM(x, 0), m = cnp.PyArray_DIM(x, 1)
    cdef uint32_t* bits = <uint32_t*>cnp.PyArray_DATA(words)
    cdef void* px = cnp.PyArray_DATA(x)
    cdef bint single = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32
    with nogil:
        if single:
            return packed_exact_f32(<float*>px, <float>low, n, m, bits, row_group)
        return packed_exact_f64(<double*>px, low, n, m, bits, row_group)


def row_words(x, *, double low=0.0):
    """Bits with rows one after the other, as `PairLoop` takes its data.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n_rows, n_units)
        Values `low` and 1.

    Returns
    -------
    ndarray of uint32, shape (n_rows, words), or None if there are other values
        Bit k of word w of a row is unit ``32 w + k``.
    """
    real_type(x, "x", 2, False)
    words = np.empty((cnp.PyArray_DIM(x, 0), packed_words(cnp.PyArray_DIM(x, 1))), dtype=np.uint32)
    return words if exact_bits(x, low, words, 1) else None


cdef object aligned_words(tuple shape):
    """Zeros that begin at a multiple of 64 bytes, as whole registers are loaded from them."""
    words = working_memory(math.prod(shape))
    words.fill(0)
    return words.reshape(shape)


cdef object working_memory(Py_ssize_t count):
    """Words of any values that begin at a multiple of 64 bytes."""
    cdef cnp.ndarray raw = np.empty(count + 16, dtype=np.uint32)
    cdef Py_ssize_t start = (16 - (<size_t>cnp.PyArray_DATA(raw) // 4) % 16) % 16
    return raw[start:start + count]


def row_bias(x, own=None, *, double scale=1.0, int n_threads=1):
    """A bias of each row, as `layer` takes it: ``bias[u, n] = x[n, u] * scale + own[u]``.

    Parameters
    ----------
    x : ndarray of float32, shape (n, J)
    own : ndarray of float32, shape (J,), optional
    scale : float
    n_threads : int
        Threads to use; no effect on the result.

    Returns
    -------
    ndarray of float32, shape (J, n)
    """
    check_threads(n_threads)
    check_typed(x, "x", 2, False, cnp.NPY_FLOAT32)
    cdef Py_ssize_t n = cnp.PyArray_DIM(x, 0), n_units = cnp.PyArray_DIM(x, 1)
    cdef const float* px = <const float*>cnp.PyArray_DATA(x)
    cdef const float* bias = NULL
    if own is not None:
        check_typed(own, "own", 1, False, cnp.NPY_FLOAT32)
        check_shape1(own, "own", n_units)
        bias = <const float*>cnp.PyArray_DATA(own)
    out = np.empty((n_units, n), dtype=np.float32)
    cdef float* to = <float*>cnp.PyArray_DATA(out)
    if 32.0 * <double>n * <double>n_units < TINY:
        n_threads = 1
    with nogil:
        packed_turn_rows(px, n_units, bias, <float>scale, to, n, n_threads)
    return out


def layer(
    Bits x, w, bias, *, bint transpose=False, double scale=1.0, bint spin=False, Bits sample=None,
    mean=None, field=None, cumulant=None, other=None, seed=0, stream=0, step=0, row0=0,
    int low=0, int n_threads=1,
):
    """Everything that a layer above bits can give, in one pass: ``a = bias + scale * x @ w``.

    Parameters
    ----------
    x : Bits, shape (n, I)
    w : ndarray of float32, shape (I, J), or (J, I) with `transpose`
        Weights; `fits` must hold.
    bias : ndarray of float32, shape (J,), or (J, n) for one of each row, or None
        Of the latter, the rows alone have to be contiguous.
    transpose : bool
        Multiply by the transpose of `w`.
    scale : float
        Factor of the product, such as an inverse temperature.
    spin : bool
        The units above are {-1, +1}.
    sample : Bits, shape (n, J), optional
        Receives draws, with the uniforms of the address (seed, stream, step, row0).
    mean : ndarray of float32, shape (n, J), optional
        Receives means.
    field : ndarray of float32, shape (n, J), optional
        Receives `a`.
    cumulant : ndarray of float64, shape (n,), optional
        Receives the sums of the units' cumulants: log(1 + exp a), or log(2 cosh a) for spins.
    other : tuple of (bias, scale, cumulant), optional
        The sums of the cumulants at another bias and scale: annealing needs them at two inverse
        temperatures of one field.
    low : int
        Round weights to multiples of ``2**-low`` and sum 16 bits at a time. At most `low_shift`
        of the weights: that is not looked at here, and larger sums would wrap. 0 keeps the
        multiples of 2**-20.
    n_threads : int
        Threads to use; no effect on the result.
    """
    check_threads(n_threads)
    check_typed(w, "w", 2, False, cnp.NPY_FLOAT32)
    if low != 0 and not 4 <= low <= 14:
        raise ValueError(f"low is {low}; expected 0, or what low_shift(w) gives, 4 to 14.")
    cdef Py_ssize_t n = x.n_rows, n_in = x.n_units
    cdef Py_ssize_t inner = cnp.PyArray_DIM(w, 1 if transpose else 0)
    cdef Py_ssize_t n_out = cnp.PyArray_DIM(w, 0 if transpose else 1)
    if inner != n_in:
        raise ValueError(
            f"x has shape {x.shape} and w has shape {w.shape} (transpose={bool(transpose)}): "
            f"expected w.shape[{1 if transpose else 0}] to be {n_in}."
        )
    cdef packed_outputs o
    memset(&o, 0, sizeof(o))
    o.scale = <float>scale
    o.spin_in = x.low != 0
    o.spin_out = spin
    if bias is not None and np.ndim(bias) == 2:
        check_typed(bias[:1], "bias", 2, False, cnp.NPY_FLOAT32)  # rows may be apart
        check_shape2(bias, "bias", n_out, n)
        if bias.strides[0] < 0 or bias.strides[0] % 4 != 0:
            raise ValueError(f"bias has strides {bias.strides}; expected rows one after the other.")
        o.row_bias = <float*>cnp.PyArray_DATA(bias)
        o.row_step = bias.strides[0] // 4
    elif bias is not None:
        check_typed(bias, "bias", 1, False, cnp.NPY_FLOAT32)
        check_shape1(bias, "bias", n_out)
        o.bias = <float*>cnp.PyArray_DATA(bias)
    if sample is not None:
        if sample.n_rows != n or sample.n_units != n_out:
            raise ValueError(f"sample has shape {sample.shape}; expected ({n}, {n_out}).")
        if np.shares_memory(sample.words, x.words):
            raise ValueError("sample and x are the same Bits; pass separate ones.")
        if (sample.low != 0) != spin:
            raise ValueError(f"sample.low is {sample.low}; expected {-1 if spin else 0}.")
        o.bits = <uint32_t*>cnp.PyArray_DATA(sample.words)
    if mean is not None:
        check_typed(mean, "mean", 2, True, cnp.NPY_FLOAT32)
        check_shape2(mean, "mean", n, n_out)
        o.mean_rows = <float*>cnp.PyArray_DATA(mean)
    if field is not None:
        check_typed(field, "field", 2, True, cnp.NPY_FLOAT32)
        check_shape2(field, "field", n, n_out)
        o.field = <float*>cnp.PyArray_DATA(field)
    if mean is not None and field is not None:
        check_apart(mean, "mean", field, "field")
    cdef uint32_t first = word32(row0, "row0"), at_step = word32(step, "step")
    check_address_range(first, n, at_step, 1, n_out)
    o.address = philox_at(word64(seed, "seed"), word32(stream, "stream"), at_step, first)
    parts = None
    if cumulant is not None:
        check_typed(cumulant, "cumulant", 1, True, cnp.NPY_FLOAT64)
        check_shape1(cumulant, "cumulant", n)
        parts = np.zeros((packed_panels(n_out), 16 * packed_groups(n)))
        o.cumulant = <double*>cnp.PyArray_DATA(parts)
    other_parts = None
    if other is not None:
        other_bias, other_scale, other_cumulant = other
        if other_bias is not None:
            check_typed(other_bias, "other[0]", 1, False, cnp.NPY_FLOAT32)
            check_shape1(other_bias, "other[0]", n_out)
            o.other_bias = <float*>cnp.PyArray_DATA(other_bias)
        o.other_scale = <float><double>other_scale
        check_typed(other_cumulant, "other[2]", 1, True, cnp.NPY_FLOAT64)
        check_shape1(other_cumulant, "other[2]", n)
        other_parts = np.zeros((packed_panels(n_out), 16 * packed_groups(n)))
        o.other_cumulant = <double*>cnp.PyArray_DATA(other_parts)
    cdef Py_ssize_t at, end, piece = rows_of_a_piece(<double>n_in * <double>n_out, n_threads)
    if n > piece:
        for at in range(0, n, piece):
            end = min(at + piece, n)
            rows = slice(at, end)
            if bias is not None and np.ndim(bias) == 2:
                of_rows = np.ascontiguousarray(bias[:, rows])
            else:
                of_rows = bias
            layer(
                x.part(at, end), w, of_rows, transpose=transpose, scale=scale, spin=spin,
                sample=None if sample is None else sample.part(at, end),
                mean=None if mean is None else mean[rows],
                field=None if field is None else field[rows],
                cumulant=None if cumulant is None else cumulant[rows],
                other=None if other is None else (other[0], other[1], other[2][rows]),
                seed=seed, stream=stream, step=step, row0=first + at, low=low,
                n_threads=n_threads,
            )
            PyErr_CheckSignals()
        return
    cdef packed_weights weights
    weights.w = <const float*>cnp.PyArray_DATA(w)
    weights.k_step = 1 if transpose else n_out
    weights.c_step = n_in if transpose else 1
    weights.n_in = n_in
    weights.n_out = n_out
    weights.low = low
    if <double>n * <double>n_in * <double>n_out < TINY:
        n_threads = 1
    cdef Py_ssize_t padded = (n_out + 15) // 16 * 16
    cdef Py_ssize_t scratch = packed_layer_scratch(n_in, packed_groups(n))
    # Biases of rows are read with rows in lanes.
    cdef bint by_rows = goes_by_rows(n) or (o.row_bias == NULL and is_sparse(x))
    cdef Py_ssize_t size = (n_in + 1) * padded + 64 if by_rows else n_threads * scratch
    cdef cnp.ndarray memory = working_memory(max(size, 1))
    cdef int32_t* pm = <int32_t*>cnp.PyArray_DATA(memory)
    cdef const uint32_t* px = <const uint32_t*>cnp.PyArray_DATA(x.words)
    with nogil:
        packed_one_layer(px, n, &weights, &o, by_rows, level, pm, scratch, n_threads)
    if parts is not None:
        # Panels are added in their order, whatever thread made them.
        np.add.reduce(parts[:, :n], axis=0, out=cumulant)
    if other_parts is not None:
        np.add.reduce(other_parts[:, :n], axis=0, out=other_cumulant)


def gated(Bits x, gate, w, out, *, int n_threads=1):
    """Products of three: ``out[n] = sum_q gate[n, q] * (x[n] @ w[q])``.

    Parameters
    ----------
    x : Bits, shape (n, I)
    gate : ndarray of float32, shape (n, Q)
        Real numbers; rows whose gate is zero cost little.
    w : ndarray of float32, shape (Q, I, J)
        Any strides, as long as I or J has step 1.
    out : ndarray of float32, shape (n, J)
    n_threads : int
        No effect on the result.

    Returns
    -------
    float
        Largest absolute value in w; NaN or infinity where there is one. Where sums over I are not
        in the range of `fits`, `out` is of no use.
    """
    check_threads(n_threads)
    check_typed(gate, "gate", 2, False, cnp.NPY_FLOAT32)
    check_typed(out, "out", 2, True, cnp.NPY_FLOAT32)
    cdef Py_ssize_t n = x.n_rows, n_gates = cnp.PyArray_DIM(gate, 1)
    cdef Py_ssize_t n_out = cnp.PyArray_DIM(out, 1)
    check_shape2(gate, "gate", n, n_gates)
    check_shape2(out, "out", n, n_out)
    if w.shape != (n_gates, x.n_units, n_out) or w.dtype != np.float32:
        raise ValueError(
            f"w has shape {w.shape} and dtype {w.dtype}; expected ({n_gates}, {x.n_units}, "
            f"{n_out}) and float32."
        )
    if 4 not in w.strides[1:]:
        w = np.ascontiguousarray(w)
    cdef Py_ssize_t at, end
    cdef Py_ssize_t piece = rows_of_a_piece(<double>x.n_units * <double>n_out * n_gates, n_threads)
    if n > piece:
        for at in range(0, n, piece):
            end = min(at + piece, n)
            most = gated(x.part(at, end), gate[at:end], w, out[at:end], n_threads=n_threads)
            PyErr_CheckSignals()
        return most
    cdef packed_gated p
    p.x = <const uint32_t*>cnp.PyArray_DATA(x.words)
    p.n_rows = n
    p.n_in = x.n_units
    p.n_out = n_out
    p.n_gates = n_gates
    p.spin = x.low != 0
    p.w = <const float*>cnp.PyArray_DATA(w)
    p.gate_step, p.k_step, p.c_step = (s // 4 for s in w.strides)
    if n_out == 1 or (p.c_step != 1 and p.k_step != 1):
        p.c_step = 1  # a single column has no step of its own
    elif x.n_units == 1:
        p.k_step = 1
    cdef cnp.ndarray turned = np.zeros((n_gates, 16 * packed_groups(n)), dtype=np.float32)
    turned[:, :n] = gate.T
    p.gate = <const float*>cnp.PyArray_DATA(turned)
    p.out = <float*>cnp.PyArray_DATA(out)
    if <double>n * <double>p.n_in * <double>n_out * <double>n_gates < TINY:
        n_threads = 1
    cdef bint by_rows = level == FB_LEVEL_ANY  # lists of ones are as good with few rows
    cdef Py_ssize_t padded = (n_out + 15) // 16 * 16
    cdef Py_ssize_t share = (packed_panels(n_out) + n_threads - 1) // n_threads
    cdef Py_ssize_t scratch = (packed_gated_scratch(p.n_in, n, share) + 15) // 16 * 16
    cdef Py_ssize_t size = (p.n_in + 1) * padded + 64 if by_rows else n_threads * scratch
    cdef cnp.ndarray memory = working_memory(max(size, 1))
    cdef int32_t* pm = <int32_t*>cnp.PyArray_DATA(memory)
    cdef cnp.ndarray largest = np.zeros(n_threads, dtype=np.uint32)
    p.largest = <uint32_t*>cnp.PyArray_DATA(largest)
    with nogil:
        packed_one_gated(&p, by_rows, level, pm, scratch, n_threads)
    return float(largest.view(np.float32).max())


def outer(
    Bits x, y, out, *, bint transpose=False, double scale=1.0, double beta=0.0, int n_threads=1
):
    """Statistics of bits and real numbers: ``out = beta * out + scale * x.T @ y``.

    `y` is rounded to a power of two that keeps sums exact, so the order of summation, and with it
    the number of threads and the instruction set, does not show in the result.

    Parameters
    ----------
    x : Bits, shape (n, I)
    y : ndarray of float32, shape (n, J)
    out : ndarray of float32, shape (I, J), or (J, I) with `transpose`
    transpose : bool
        Write the transpose.
    scale, beta : float
    n_threads : int

    Returns
    -------
    bool
        False, with `out` untouched, where `y` is not finite or too large for exact sums.
    """
    check_threads(n_threads)
    check_typed(y, "y", 2, False, cnp.NPY_FLOAT32)
    check_typed(out, "out", 2, True, cnp.NPY_FLOAT32)
    cdef Py_ssize_t n = x.n_rows, n_units = x.n_units, n_columns = cnp.PyArray_DIM(y, 1)
    check_shape2(y, "y", n, n_columns)
    check_shape2(out, "out", n_columns if transpose else n_units,
                 n_units if transpose else n_columns)
    check_apart(out, "out", y, "y")
    cdef packed_product p
    memset(&p, 0, sizeof(p))
    p.x = <const uint32_t*>cnp.PyArray_DATA(x.words)
    p.n_rows = n
    p.n_units = n_units
    p.y = <const float*>cnp.PyArray_DATA(y)
    p.n_columns = n_columns
    if not packed_product_shift(p.y, n, n_columns, &p.shift):
        return False
    p.spin = x.low != 0
    p.out = <float*>cnp.PyArray_DATA(out)
    p.unit_step = 1 if transpose else n_columns
    p.column_step = n_units if transpose else 1
    p.scale = <float>scale
    p.beta = <float>beta
    if <double>n * <double>n_units * <double>n_columns < TINY:
        n_threads = 1
    cdef bint by_rows = goes_by_rows(n)
    cdef Py_ssize_t scratch = (packed_product_scratch(n, n_units) + 15) // 16 * 16
    cdef cnp.ndarray turned = None
    if not by_rows:
        turned = aligned_words((2 * packed_words(n_units) * (packed_groups(n) // 2) * 16 + 16,))
        p.turned = <uint32_t*>cnp.PyArray_DATA(turned)
    cdef cnp.ndarray memory = working_memory(n_threads * scratch)
    cdef int32_t* pm = <int32_t*>cnp.PyArray_DATA(memory)
    with nogil:
        packed_one_product(&p, by_rows, level, pm, scratch, n_threads)
    return True


#: Hidden units of a panel, the least that a part of a shared update consists of.
PANEL = PACKED_PANEL


def shared_shapes(Py_ssize_t n_visible, Py_ssize_t n_hidden):
    """Shapes of what processes that share an update have to tell each other.

    Parameters
    ----------
    n_visible, n_hidden : int
        Units.

    Returns
    -------
    head : int
        Integers that stand before the sums of the weights: a word that is free, and those of the
        biases.
    sums : tuple of int
        Shape (panels, integers) of the sums of the weights of one phase.
    activity : tuple of int
        Shape (panels, floats) of what the update of the weights leaves for that of the biases of
        visible units; of hidden units it is one float each.
    """
    cdef packed_pair q
    q.n_visible, q.n_hidden = n_visible, n_hidden
    cdef Py_ssize_t panels = packed_panels(n_hidden)
    return (
        16 + packed_shared_biases(&q),
        (panels, packed_shared_phase(&q) // panels),
        (panels, 32 * packed_words(n_visible)),
    )


cdef int whether_to_stop(void* loop) noexcept with gil:
    """Whether a `PairLoop` is to give up its update."""
    cdef PairLoop self = <PairLoop>loop
    try:
        PyErr_CheckSignals()
        return self.stop is not None and bool(self.stop())
    except BaseException as error:  # goes on where the loop ends
        self.error = error
        return True


cdef class PairLoop:
    """Contrastive divergence for two groups of binary units, whole minibatches in compiled code.

    Parameters
    ----------
    w : ndarray of float32, shape (n_hidden, n_visible)
    bias_visible, bias_hidden : ndarray of float32
        All three are updated in place.
    max_rows : int
        Largest minibatch.
    n_chains : int
        Persistent chains; for CD, `max_rows`.
    persistent : bool
        PCD rather than CD.
    n_gibbs : int
        Sweeps of an update.
    momentum, l1, l2 : float
    velocities : tuple of three arrays, optional
        Of w, visible and hidden biases: updated in place.
    masters : tuple of three arrays of float64, optional
        The same parameters in double precision, which the updates are added to; the float32 ones
        are rounded from them.
    offsets : tuple of two arrays, optional
        Mean activities of visible and hidden units, for centring: updated in place.
    spin_visible, spin_hidden : bool
    mean_bits : int
        From 1 to 20: means of hidden units enter the statistics as multiples of 2**-mean_bits (of a
        spin, of twice that), each rounded up or down by chance so that its expectation stays. With
        up to 10 their sums take half the time with AVX-512.
    real : bool
        The data are real-valued, between the two values of a visible unit; hold BLAS at one
        thread while running.
    seed : int
    streams : tuple of three int
        Of the positive phase, and of the visible and the hidden units of the chains.
    shared : bool
        This process is one of several that share every minibatch: use `share`, `take` and `end`
        instead of `run`. `max_rows` and `n_chains` are then its own, and the latter may be 0.
    common : tuple of four arrays, optional
        With `shared`, memory that other processes see too, in shapes of `shared_shapes`: int32
        (head and sums of two phases,), float32 (activity), float32 (panels, `PANEL`) and uint32
        (panels, 16). All but the first may be the same memory for several processes, as may `w`,
        which take different parts.
    first_chain : int
        With `shared`, number of its first persistent chain among those of all.
    n_threads : int
        No effect on the result.
    """

    cdef packed_pair q
    cdef object kept
    cdef object stop, error
    cdef cnp.ndarray integers

    def __init__(
        self, w, bias_visible, bias_hidden, *, Py_ssize_t max_rows, Py_ssize_t n_chains,
        bint persistent, int n_gibbs=1, double momentum=0.0, double l1=0.0, double l2=0.0,
        velocities=None, offsets=None, masters=None, bint spin_visible=False,
        bint spin_hidden=False, int mean_bits=20, bint real=False, seed=0, streams=(0, 1, 2),
        bint shared=False, first_chain=0, common=None, int n_threads=1,
    ):
        check_threads(n_threads)
        check_typed(w, "w", 2, True, cnp.NPY_FLOAT32)
        cdef Py_ssize_t n_hidden = cnp.PyArray_DIM(w, 0), n_visible = cnp.PyArray_DIM(w, 1)
        cdef packed_pair* q = &self.q
        memset(q, 0, sizeof(packed_pair))
        if max_rows < 1 or n_chains < (not shared) or n_gibbs < 1:
            raise ValueError(
                f"max_rows, n_chains and n_gibbs are {max_rows}, {n_chains}, {n_gibbs}; "
                f"expected at least 1 each."
            )
        if not persistent and n_chains != max_rows:
            raise ValueError(
                f"n_chains is {n_chains}; without persistent chains every row of a minibatch is "
                f"one, so expected max_rows, {max_rows}."
            )
        q.n_visible = n_visible
        q.n_hidden = n_hidden
        q.w = <float*>cnp.PyArray_DATA(w)
        q.bias_visible = vector(bias_visible, "bias_visible", n_visible)
        q.bias_hidden = vector(bias_hidden, "bias_hidden", n_hidden)
        if velocities is not None:
            check_typed(velocities[0], "velocities[0]", 2, True, cnp.NPY_FLOAT32)
            check_shape2(velocities[0], "velocities[0]", n_hidden, n_visible)
            q.vel_w = <float*>cnp.PyArray_DATA(velocities[0])
            q.vel_visible = vector(velocities[1], "velocities[1]", n_visible)
            q.vel_hidden = vector(velocities[2], "velocities[2]", n_hidden)
        if masters is not None:
            check_typed(masters[0], "masters[0]", 2, True, cnp.NPY_FLOAT64)
            check_shape2(masters[0], "masters[0]", n_hidden, n_visible)
            q.master_w = <double*>cnp.PyArray_DATA(masters[0])
            for k, size in ((1, n_visible), (2, n_hidden)):
                check_typed(masters[k], f"masters[{k}]", 1, True, cnp.NPY_FLOAT64)
                check_shape1(masters[k], f"masters[{k}]", size)
            q.master_visible = <double*>cnp.PyArray_DATA(masters[1])
            q.master_hidden = <double*>cnp.PyArray_DATA(masters[2])
        if offsets is not None:
            q.mean_visible = vector(offsets[0], "offsets[0]", n_visible)
            q.mean_hidden = vector(offsets[1], "offsets[1]", n_hidden)
        q.momentum = <float>momentum
        q.l1 = <float>l1
        q.l2 = <float>l2
        q.spin_visible = spin_visible
        q.spin_hidden = spin_hidden
        if not 1 <= mean_bits <= 20:
            raise ValueError(f"mean_bits is {mean_bits}; expected 1 to 20.")
        q.mean_bits = mean_bits
        q.real = real
        q.gemm = <packed_sgemm>sgemm
        q.persistent = persistent
        q.n_gibbs = n_gibbs
        q.seed = word64(seed, "seed")
        q.positive_stream = word32(streams[0], "streams[0]")
        q.visible_stream = word32(streams[1], "streams[1]")
        q.hidden_stream = word32(streams[2], "streams[2]")
        if <double>max_rows * <double>n_visible * <double>n_hidden < TINY:
            n_threads = 1
        q.n_threads = n_threads
        q.level = level
        q.by_rows = goes_by_rows(max(max_rows, n_chains))
        q.max_rows = max_rows
        q.n_chains = n_chains
        self.kept = (w, bias_visible, bias_hidden, velocities, offsets, masters)
        if packed_pair_allocate(q) != 0:
            raise MemoryError("no memory for the buffers of the minibatch loop")
        self.integers = None
        if shared:
            q.first_chain = word32(first_chain, "first_chain")
            if common is None:
                self.integers = aligned_words((16 + packed_shared_size(q, False),)).view(np.int32)
            else:
                self._set_common(common)
            q.shared = <int32_t*>cnp.PyArray_DATA(self.integers) + 16

    def __dealloc__(self):
        free(self.q.memory)

    cdef _set_common(self, common):
        cdef packed_pair* q = &self.q
        integers, activity, gradient, largest = common
        cdef Py_ssize_t panels = packed_panels(q.n_hidden)
        check_typed(integers, "common[0]", 1, True, cnp.NPY_INT32)
        check_shape1(integers, "common[0]", 16 + packed_shared_size(q, False))
        check_typed(activity, "common[1]", 2, True, cnp.NPY_FLOAT32)
        check_shape2(activity, "common[1]", panels, 32 * packed_words(q.n_visible))
        check_typed(gradient, "common[2]", 2, True, cnp.NPY_FLOAT32)
        check_shape2(gradient, "common[2]", panels, PACKED_PANEL)
        check_typed(largest, "common[3]", 2, True, cnp.NPY_UINT32)
        check_shape2(largest, "common[3]", panels, 16)
        self.integers = integers
        q.row_part = <float*>cnp.PyArray_DATA(activity)
        q.grad_hidden = <float*>cnp.PyArray_DATA(gradient)
        q.largest = <uint32_t*>cnp.PyArray_DATA(largest)
        self.kept = (*self.kept, activity, gradient, largest)

    def set_chains(self, Bits hidden):
        """Hidden units of the persistent chains."""
        if hidden.n_rows != self.q.n_chains or hidden.n_units != self.q.n_hidden:
            raise ValueError(
                f"hidden has shape {hidden.shape}; expected ({self.q.n_chains}, "
                f"{self.q.n_hidden})."
            )
        self._copy(hidden, self.q.h1, True)

    def chains(self):
        """Visible and hidden units of the chains after the last update, as Bits."""
        visible = Bits(self.q.n_chains, self.q.n_visible, low=-1.0 if self.q.spin_visible else 0.0)
        hidden = Bits(self.q.n_chains, self.q.n_hidden, low=-1.0 if self.q.spin_hidden else 0.0)
        self._copy(visible, self.q.v1, False)
        self._copy(hidden, self.q.h1, False)
        return visible, hidden

    cdef _copy(self, Bits bits, uint32_t* inside, bint inward):
        cdef uint32_t* outside = <uint32_t*>cnp.PyArray_DATA(bits.words)
        cdef Py_ssize_t i, count = bits.words.size
        for i in range(count):
            if inward:
                inside[i] = outside[i]
            else:
                outside[i] = inside[i]

    def run(
        self, data, rows, Py_ssize_t batch_size, rates, *, update=0, sweep=0, double follow=0.01,
        bint first=False, stop=None,
    ):
        """Make one update a minibatch of consecutive entries of `rows`.

        Between the sweeps of a long update it looks for signals. An exception that their handlers
        raise, or `stop` where it says so, gives up the update, of which nothing is left then.

        Parameters
        ----------
        data : ndarray of uint32, shape (n, words); with `real` of float32, shape (n, n_visible)
            Rows of bits: bit k of word w is unit ``32 w + k``.
        rows : ndarray of int64
            Numbers of rows, in the order of use.
        batch_size : int
        rates : ndarray of float32
            Learning rate of each update; its length is the number of updates.
        update, sweep : int
            Numbers of the first update and of the chains' first sweep: random number addresses.
        follow : float
            How fast the offsets follow the activities.
        first : bool
            The offsets are to be those of the first minibatch.
        stop : function, optional
            Without arguments: whether to give up an update on its way.

        Returns
        -------
        int
            Updates made: all, or fewer where the weights left the range of fixed point or one was
            given up.
        """
        check_typed(data, "data", 2, False, cnp.NPY_FLOAT32 if self.q.real else cnp.NPY_UINT32)
        check_typed(rows, "rows", 1, False, cnp.NPY_INT64)
        check_typed(rates, "rates", 1, False, cnp.NPY_FLOAT32)
        cdef Py_ssize_t n = cnp.PyArray_DIM(rows, 0), n_updates = cnp.PyArray_DIM(rates, 0)
        cdef Py_ssize_t width = self.q.n_visible
        check_shape2(data, "data", cnp.PyArray_DIM(data, 0),
                     width if self.q.real else packed_words(width))
        if batch_size < 1 or batch_size > self.q.max_rows:
            raise ValueError(f"batch_size is {batch_size}; expected 1 to {self.q.max_rows}.")
        if (n_updates - 1) * batch_size >= n and n_updates > 0:
            raise ValueError(
                f"{n_updates} minibatches of {batch_size} need more than the {n} rows given."
            )
        if n and (rows.min() < 0 or rows.max() >= cnp.PyArray_DIM(data, 0)):
            raise ValueError(f"rows must be in [0, {data.shape[0]}).")
        cdef uint32_t u = word32(update, "update"), s = word32(sweep, "sweep")
        if self.integers is not None:
            raise ValueError("run is for a process alone; this loop was made with shared=True.")
        cdef const void* pd = <const void*>cnp.PyArray_DATA(data)
        cdef const int64_t* pr = <const int64_t*>cnp.PyArray_DATA(rows)
        cdef const float* ps = <const float*>cnp.PyArray_DATA(rates)
        cdef float f = <float>follow, f_first = 1.0 if first else f
        cdef ptrdiff_t made
        self.stop = stop
        self.q.asks = whether_to_stop
        self.q.asked = <void*>self
        with nogil:
            made = packed_pair_run(&self.q, pd, pr, n, batch_size, n_updates, u, s, ps, f_first, f)
        self.q.asks = NULL
        self.stop, error, self.error = None, self.error, None
        if error is not None:
            raise error
        return made

    def share(self, data, rows, *, first_row, n_rows, n_chains, update=0, sweep=0):
        """Make this process's part of one minibatch: the sums over its rows and its chains.

        Parameters
        ----------
        data : ndarray
            As of `run`.
        rows : ndarray of int64
            Numbers in `data` of its rows of the minibatch; there may be none.
        first_row : int
            Place of the first of them in the minibatch.
        n_rows, n_chains : int
            Rows of the minibatch and chains, of all processes together; without persistent chains
            both are the same.
        update, sweep : int
            As of `run`.

        Returns
        -------
        ndarray of int32, or None where weights left the range of fixed point
            Sums that are to be added up over all processes, in place, before `take`. What they add
            up to has no rounding, and stays in the range of int32. The first is 0, and free for a
            word of the processes to each other.
        """
        self._check_shared("share")
        check_typed(data, "data", 2, False, cnp.NPY_FLOAT32 if self.q.real else cnp.NPY_UINT32)
        check_typed(rows, "rows", 1, False, cnp.NPY_INT64)
        cdef Py_ssize_t n = cnp.PyArray_DIM(rows, 0), width = self.q.n_visible
        check_shape2(data, "data", cnp.PyArray_DIM(data, 0),
                     width if self.q.real else packed_words(width))
        if n > self.q.max_rows or n_rows < max(n, 1) or n_chains < 1:
            raise ValueError(
                f"{n} of {n_rows} rows, with {n_chains} chains; expected at most "
                f"{self.q.max_rows} rows here, and at least one row and one chain in all."
            )
        if n and (rows.min() < 0 or rows.max() >= cnp.PyArray_DIM(data, 0)):
            raise ValueError(f"rows must be in [0, {data.shape[0]}).")
        self.q.first_row = word32(first_row, "first_row")
        if not self.q.persistent:
            self.q.first_chain = self.q.first_row
        cdef uint32_t u = word32(update, "update"), s = word32(sweep, "sweep")
        cdef const void* pd = <const void*>cnp.PyArray_DATA(data)
        cdef const int64_t* pr = <const int64_t*>cnp.PyArray_DATA(rows)
        cdef ptrdiff_t all_rows = n_rows, all_chains = n_chains
        cdef bint fits
        with nogil:
            fits = packed_pair_share(&self.q, pd, pr, n, all_rows, all_chains, u, s)
        if not fits:
            return None
        self.integers[0] = 0
        return self.integers[:16 + packed_shared_size(&self.q, all_rows == all_chains)]

    def take(self, rate, *, n_rows, n_chains, double follow=0.01, bint first=False, part=(0, 1)):
        """Update weights from the sums that `share` returned, added up over all processes.

        Parameters
        ----------
        rate : float
            Learning rate.
        n_rows, n_chains : int
            As of `share`.
        follow, first
            As of `run`.
        part : tuple of two int, or None
            The k-th of so many parts of the panels, ``panels * k // parts`` on: only sums of its
            panels and those before all panels are looked at. None updates no weights.
        """
        self._check_shared("take")
        cdef ptrdiff_t all_rows = n_rows, all_chains = n_chains
        cdef float speed = <float><double>rate, f = 1.0 if first else <float>follow
        cdef int k = 0, parts = 0
        if part is not None:
            k, parts = part
            if not 0 <= k < parts:
                raise ValueError(f"part is {part}; expected k and parts with 0 <= k < parts.")
        with nogil:
            packed_pair_take(&self.q, all_rows, all_chains, speed, f, k, parts)

    def end(self, rate):
        """Update the biases, when all parts of the weights are updated.

        Parameters
        ----------
        rate : float
            As of `take`.
        """
        self._check_shared("end")
        cdef float speed = <float><double>rate
        with nogil:
            packed_pair_end(&self.q, speed)

    def _check_shared(self, name):
        if self.integers is None:
            raise ValueError(f"{name} is for a loop that was made with shared=True.")


cdef float* vector(object a, str name, Py_ssize_t n) except NULL:
    check_typed(a, name, 1, True, cnp.NPY_FLOAT32)
    check_shape1(a, name, n)
    return <float*>cnp.PyArray_DATA(a)
