/* Products of binary units one row after the other, with units in the lanes: the rows of the
 * weights that belong to ones are added up. It runs on any processor, and with AVX-512 it is the
 * faster way for few rows, which would not pay for the tables of _packed_tables.h. Its integers are the
 * same, and so is every float that is made of them: which way was taken never shows in a result.
 */
#ifndef FASTBOLTZ_PACKED_ROWS_H
#define FASTBOLTZ_PACKED_ROWS_H

#include "_packed_core.h"

/* Units of a tile: their sums and random words stay in the first cache. */
#define PACKED_TILE 256
/* Random words made at a time. */
#define PACKED_WORDS 1024

#if defined(__GNUC__)
/* Sixteen lanes as one value: compilers keep a handful of them in registers, which they do not do
 * with arrays. */
typedef int32_t packed_lanes __attribute__((vector_size(64), aligned(4), may_alias));
#define PACKED_ADD(sum, from) (sum) += *(const packed_lanes *)(from)
/* Absolute values of floats, compared by their bits: NaN is the largest. */
#define PACKED_LARGER(most, from)                                             \
    do {                                                                      \
        const packed_lanes a_ = *(const packed_lanes *)(from) & 0x7fffffff;   \
        const packed_lanes less_ = (most)-a_;                                 \
        (most) -= less_ & (less_ >> 31);                                      \
    } while (0)
#else
typedef struct {
    int32_t lane[16];
} packed_lanes;
#define PACKED_ADD(sum, from)                 \
    do {                                      \
        for (int l_ = 0; l_ < 16; l_++)       \
            (sum).lane[l_] += (from)[l_];     \
    } while (0)
#define PACKED_LARGER(most, from)                                              \
    do {                                                                       \
        int32_t a_[16];                                                        \
        memcpy(a_, from, sizeof a_);                                           \
        for (int l_ = 0; l_ < 16; l_++) {                                      \
            a_[l_] &= 0x7fffffff;                                              \
            (most).lane[l_] = a_[l_] > (most).lane[l_] ? a_[l_] : (most).lane[l_]; \
        }                                                                      \
    } while (0)
#endif

FB_INLINE ptrdiff_t packed_padded(ptrdiff_t n)
{
    return (n + 15) / 16 * 16;
}

/* -- weights as integers ----------------------------------------------------------------------- */

/* Sixteen inputs of sixteen outputs, whose inputs are contiguous; m and columns of them are real. */
FB_INLINE void packed_integer_block(const packed_weights *w, ptrdiff_t k, ptrdiff_t m,
                                    ptrdiff_t first, ptrdiff_t columns, int32_t *to,
                                    ptrdiff_t stride)
{
    int32_t block[16][16] = {{0}};
    for (ptrdiff_t c = 0; c < columns; c++) {
        const float *from = w->w + k * w->k_step + (first + c) * w->c_step;
        for (ptrdiff_t l = 0; l < m; l++)
            block[c][l] = packed_round_to(from[l], packed_shift_of(w));
    }
    for (ptrdiff_t l = 0; l < m; l++)
        for (int c = 0; c < 16; c++)
            to[l * stride + c] = block[c][l];
}

/* The same where outputs are contiguous. */
FB_INLINE void packed_integer_rows(const packed_weights *w, ptrdiff_t k, ptrdiff_t m, ptrdiff_t first,
                                   ptrdiff_t columns, int32_t *to, ptrdiff_t stride)
{
    const int shift = packed_shift_of(w);
    for (ptrdiff_t l = 0; l < m; l++) {
        const float *from = w->w + (k + l) * w->k_step + first;
        if (columns == 16)
            for (int c = 0; c < 16; c++)
                to[l * stride + c] = packed_round_to(from[c], shift);
        else
            for (ptrdiff_t c = 0; c < 16; c++)
                to[l * stride + c] = c < columns ? packed_round_to(from[c], shift) : 0;
    }
}

FB_INLINE void packed_integer_chunk(const packed_weights *w, ptrdiff_t k, ptrdiff_t m, ptrdiff_t first,
                                    ptrdiff_t columns, int32_t *to, ptrdiff_t stride)
{
    if (w->c_step == 1)
        packed_integer_rows(w, k, m, first, columns, to, stride);
    else
        packed_integer_block(w, k, m, first, columns, to, stride);
}

#if FB_X86
/* Sixteen weights, of which a mask says which are there, as integers. */
__attribute__((always_inline)) FB_AVX512 static inline __m512i packed_integers_of(const float *from,
                                                                                 __mmask16 mask,
                                                                                 __m512 one,
                                                                                 int up)
{
    const __m512i i = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, from), one));
    return up == 0 ? i : _mm512_sll_epi32(i, _mm_cvtsi32_si128(up));
}

__attribute__((always_inline)) FB_AVX512 static inline void packed_integer_rows_avx512(
    const packed_weights *w, ptrdiff_t k, ptrdiff_t m, ptrdiff_t first, ptrdiff_t columns,
    int32_t *to, ptrdiff_t stride, __m512 one, const int up)
{
    const __mmask16 some = (__mmask16)((1u << columns) - 1);
    const float *from = w->w + k * w->k_step + first;
    for (ptrdiff_t l = 0; l < m; l++, from += w->k_step, to += stride)
        _mm512_storeu_si512(to, packed_integers_of(from, some, one, up));
}

__attribute__((always_inline)) FB_AVX512 static inline void packed_integer_block_avx512(
    const packed_weights *w, ptrdiff_t k, ptrdiff_t m, ptrdiff_t first, ptrdiff_t columns,
    int32_t *to, ptrdiff_t stride, __m512 one, const int up)
{
    const uint32_t inputs = (1u << m) - 1;
    const float *from = w->w + k * w->k_step + first * w->c_step;
    __m512i x[16], y[16];
#pragma GCC unroll 16
    for (int c = 0; c < 16; c++, from += w->c_step) /* nothing is read where a mask is empty */
        x[c] = packed_integers_of(from, (__mmask16)(inputs & -(uint32_t)(c < columns)), one, up);
#pragma GCC unroll 8
    for (int c = 0; c < 16; c += 2) {
        y[c] = _mm512_unpacklo_epi32(x[c], x[c + 1]);
        y[c + 1] = _mm512_unpackhi_epi32(x[c], x[c + 1]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 16; c += 4) {
        x[c] = _mm512_unpacklo_epi64(y[c], y[c + 2]);
        x[c + 1] = _mm512_unpackhi_epi64(y[c], y[c + 2]);
        x[c + 2] = _mm512_unpacklo_epi64(y[c + 1], y[c + 3]);
        x[c + 3] = _mm512_unpackhi_epi64(y[c + 1], y[c + 3]);
    }
    /* lane g of x[4 q + s] is input 4 g + s of outputs 4 q to 4 q + 3 */
#pragma GCC unroll 4
    for (int s = 0; s < 4; s++) {
        const __m512i a = _mm512_shuffle_i32x4(x[s], x[4 + s], 0x88);
        const __m512i b = _mm512_shuffle_i32x4(x[s], x[4 + s], 0xDD);
        const __m512i c = _mm512_shuffle_i32x4(x[8 + s], x[12 + s], 0x88);
        const __m512i d = _mm512_shuffle_i32x4(x[8 + s], x[12 + s], 0xDD);
        y[s] = _mm512_shuffle_i32x4(a, c, 0x88);
        y[8 + s] = _mm512_shuffle_i32x4(a, c, 0xDD);
        y[4 + s] = _mm512_shuffle_i32x4(b, d, 0x88);
        y[12 + s] = _mm512_shuffle_i32x4(b, d, 0xDD);
    }
    if (m == 16)
#pragma GCC unroll 16
        for (int l = 0; l < 16; l++, to += stride)
            _mm512_storeu_si512(to, y[l]);
    else
        for (int l = 0; l < m; l++, to += stride)
            _mm512_storeu_si512(to, y[l]);
}

/* Cases with constants: whole blocks, and the others. */
FB_AVX512 FB_UNUSED static void packed_integer_chunk_avx512(const packed_weights *w, ptrdiff_t k,
                                                            ptrdiff_t m, ptrdiff_t first,
                                                            ptrdiff_t columns, int32_t *to,
                                                            ptrdiff_t stride)
{
    const __m512 one = _mm512_set1_ps((float)((int32_t)1 << packed_shift_of(w)));
    const int up = PACKED_SHIFT - packed_shift_of(w);
    if (w->c_step == 1)
        packed_integer_rows_avx512(w, k, m, first, columns, to, stride, one, up);
    else if (m == 16 && columns == 16)
        packed_integer_block_avx512(w, k, 16, first, 16, to, stride, one, up);
    else
        packed_integer_block_avx512(w, k, m, first, columns, to, stride, one, up);
}
#endif

/* Integer weights [input][output padded to 16] of outputs [begin, end), begin a multiple of 16;
 * and their sums over inputs, unless `all` is NULL: inputs that are spins want them. */
#define PACKED_INTEGERS(CHUNK)                                                                     \
    const ptrdiff_t stride = packed_padded(w->n_out);                                             \
    for (ptrdiff_t first = begin; first < end; first += 16) {                                     \
        const ptrdiff_t columns = end - first < 16 ? end - first : 16;                            \
        int32_t total[16] = {0};                                                                  \
        for (ptrdiff_t k = 0; k < w->n_in; k += 16) {                                             \
            const ptrdiff_t m = w->n_in - k < 16 ? w->n_in - k : 16;                              \
            int32_t *to = wi + k * stride + first;                                                \
            CHUNK(w, k, m, first, columns, to, stride);                                           \
            for (ptrdiff_t l = 0; l < m && all != NULL; l++)                                      \
                for (int c = 0; c < 16; c++)                                                      \
                    total[c] += to[l * stride + c];                                               \
        }                                                                                         \
        if (all != NULL)                                                                          \
            memcpy(all + first, total, sizeof total);                                             \
    }

FB_CLONES FB_UNUSED static void packed_integers_any(const packed_weights *w, ptrdiff_t begin,
                                                    ptrdiff_t end, int32_t *wi, int32_t *all)
{
    PACKED_INTEGERS(packed_integer_chunk)
}

#if FB_X86
FB_AVX512 FB_UNUSED static void packed_integers_some_avx512(const packed_weights *w,
                                                            ptrdiff_t begin, ptrdiff_t end,
                                                            int32_t *wi, int32_t *all)
{
    PACKED_INTEGERS(packed_integer_chunk_avx512)
}

/* Without sums and without coarser steps, which is what a training asks for. */
FB_AVX512 FB_UNUSED static void packed_integers_avx512(const packed_weights *w,
                                                       ptrdiff_t begin, ptrdiff_t end,
                                                       int32_t *wi, int32_t *all)
{
    const __m512 one = _mm512_set1_ps((float)(1 << PACKED_SHIFT));
    const ptrdiff_t stride = packed_padded(w->n_out), n = w->n_in;
    if (all != NULL || packed_shift_of(w) != PACKED_SHIFT) {
        packed_integers_some_avx512(w, begin, end, wi, all);
        return;
    }
    for (ptrdiff_t first = begin; first < end; first += 16) {
        const ptrdiff_t columns = end - first < 16 ? end - first : 16;
        ptrdiff_t k = 0;
        if (w->c_step == 1) {
            const __mmask16 some = (__mmask16)((1u << columns) - 1);
            for (const float *from = w->w + first; k < n; k++, from += w->k_step)
                _mm512_storeu_si512(
                    wi + k * stride + first,
                    _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(some, from), one)));
        }
        for (; columns == 16 && k + 16 <= n; k += 16)
            packed_integer_block_avx512(w, k, 16, first, 16, wi + k * stride + first, stride, one, 0);
        for (; k < n; k += 16)
            packed_integer_chunk_avx512(w, k, n - k < 16 ? n - k : 16, first, columns,
                                        wi + k * stride + first, stride);
    }
}
#endif

FB_UNUSED static void packed_integers(const packed_weights *w, ptrdiff_t begin, ptrdiff_t end,
                                      int32_t *wi, int32_t *all, int level)
{
#if FB_X86
    if (level == FB_LEVEL_AVX512) {
        packed_integers_avx512(w, begin, end, wi, all);
        return;
    }
#endif
    packed_integers_any(w, begin, end, wi, all);
}

/* -- sums -------------------------------------------------------------------------------------- */

/* sum[c] = sum over the ones of a row of n bits of values[one][c], for 16 * vectors columns. */
FB_INLINE void packed_add_ones(const uint32_t *row, ptrdiff_t n, const int32_t *values,
                               ptrdiff_t stride, int32_t *sum, const int vectors)
{
    const ptrdiff_t n_words = packed_words(n);
    packed_lanes total[8];
#if defined(__GNUC__)
#pragma GCC unroll 8
#endif
    for (int k = 0; k < vectors; k++)
        memset(&total[k], 0, sizeof total[k]);
    for (ptrdiff_t w = 0; w < n_words; w++) {
        const int32_t *at = values + 32 * w * stride;
        for (uint32_t word = row[16 * w] & packed_mask(w, n); word != 0; word &= word - 1) {
            const int32_t *v = at + __builtin_ctz(word) * stride;
#if defined(__GNUC__)
#pragma GCC unroll 8
#endif
            for (int k = 0; k < vectors; k++)
                PACKED_ADD(total[k], v + 16 * k);
        }
    }
    memcpy(sum, total, (size_t)vectors * 64);
}

FB_INLINE void packed_row_sums(const uint32_t *row, ptrdiff_t n, const int32_t *values,
                               ptrdiff_t stride, ptrdiff_t columns, int32_t *sum)
{
    for (ptrdiff_t c = 0; c < columns; c += 128) {
        const ptrdiff_t left = (columns - c) / 16;
        switch (left) {
#define PACKED_CASE(k)                                                           \
    case k:                                                                      \
        packed_add_ones(row, n, values + c, stride, sum + c, k);                 \
        break;
            PACKED_CASE(1)
            PACKED_CASE(2)
            PACKED_CASE(3)
            PACKED_CASE(4)
            PACKED_CASE(5)
            PACKED_CASE(6)
            PACKED_CASE(7)
#undef PACKED_CASE
        default:
            packed_add_ones(row, n, values + c, stride, sum + c, 8);
        }
    }
}

/* -- from sums to what is asked for ------------------------------------------------------------ */

/* a = bias + scale * field of 16 units from their summed integer weights. Where the inputs are
 * spins, sum w s = 2 sum w b - sum w; `all` holds the sums of the units' weights. */
FB_INLINE void packed_arguments(const int32_t *sum, const int32_t *all, int spin_in,
                                const float *bias, float scale, float *a)
{
    const float factor = scale * (1.0f / (1 << PACKED_SHIFT));
    if (spin_in)
        for (int l = 0; l < 16; l++)
            a[l] = bias[l] + factor * (float)(int32_t)(2u * (uint32_t)sum[l] - (uint32_t)all[l]);
    else
        for (int l = 0; l < 16; l++)
            a[l] = bias[l] + factor * (float)sum[l];
}

FB_INLINE void packed_sixteen(const float *from, ptrdiff_t m, float *to)
{
    if (from == NULL)
        for (int l = 0; l < 16; l++)
            to[l] = 0;
    else if (m == 16)
        memcpy(to, from, 16 * sizeof(float));
    else
        for (int l = 0; l < 16; l++)
            to[l] = l < m ? from[l] : 0;
}

FB_INLINE void packed_add_cumulants(const float *a, int spin, ptrdiff_t m, double *panels,
                                    ptrdiff_t stride)
{
    float x[16];
    if (spin)
        for (int l = 0; l < 16; l++)
            x[l] = fb_log2cosh_f32(a[l]);
    else
        for (int l = 0; l < 16; l++)
            x[l] = fb_softplus_f32(a[l]);
    for (ptrdiff_t begin = 0; begin < m; begin += PACKED_PANEL) {
        double total = 0;
        for (ptrdiff_t l = begin; l < m && l < begin + PACKED_PANEL; l++)
            total += (double)x[l];
        panels[begin / PACKED_PANEL * stride] = total;
    }
}

/* The biases of m units of one row. */
FB_INLINE void packed_row_bias(const packed_outputs *o, ptrdiff_t unit, ptrdiff_t m, ptrdiff_t row,
                               float *to)
{
    for (ptrdiff_t l = 0; l < m; l++)
        to[l] = o->row_bias[(unit + l) * o->row_step + row];
}

/* Sixteen units (m of them real) of one row; returns the draws as bits. */
FB_INLINE uint32_t packed_finish(const int32_t *sum, const int32_t *all, const packed_outputs *o,
                                 ptrdiff_t unit, ptrdiff_t m, ptrdiff_t n_units, ptrdiff_t row,
                                 ptrdiff_t padded_rows, const uint32_t *words)
{
    float bias[16], a[16], above[16], below[16], p[16];
    uint32_t bits = 0;
    packed_sixteen(o->bias != NULL ? o->bias + unit : NULL, m, bias);
    if (o->row_bias != NULL)
        packed_row_bias(o, unit, m, row, bias);
    all = o->spin_in ? all + unit : NULL;
    packed_arguments(sum, all, o->spin_in, bias, o->scale, a);
    if (o->field != NULL)
        for (ptrdiff_t l = 0; l < m; l++)
            o->field[row * n_units + unit + l] = a[l];
    if (o->cumulant != NULL)
        packed_add_cumulants(a, o->spin_out, m,
                             o->cumulant + unit / PACKED_PANEL * padded_rows + row, padded_rows);
    if (o->other_cumulant != NULL) {
        float b[16];
        packed_sixteen(o->other_bias != NULL ? o->other_bias + unit : NULL, m, bias);
        packed_arguments(sum, all, o->spin_in, bias, o->other_scale, b);
        packed_add_cumulants(b, o->spin_out, m,
                             o->other_cumulant + unit / PACKED_PANEL * padded_rows + row,
                             padded_rows);
    }
    if (words == NULL && o->mean == NULL && o->mean_rows == NULL)
        return 0;
    /* The probability of a one as a fraction: with e = exp(-|x|), 1 or e over 1 + e. A draw is
     * u below < above, which needs no division. */
    for (int l = 0; l < 16; l++) {
        const float x = o->spin_out ? a[l] + a[l] : a[l];
        const float e = fb_exp_minus_f32(x < 0.0f ? -x : x);
        above[l] = x < 0.0f ? e : 1.0f;
        below[l] = 1.0f + e;
    }
    if (words != NULL) {
        for (int l = 0; l < 16; l++)
            bits |= (uint32_t)(philox_uniform_f32(words[l]) * below[l] < above[l]) << l;
        bits &= (1u << m) - 1;
    }
    if (o->mean == NULL && o->mean_rows == NULL)
        return bits;
    for (int l = 0; l < 16; l++)
        p[l] = above[l] / below[l];
    if (o->spin_out)
        for (int l = 0; l < 16; l++)
            p[l] = p[l] + p[l] - 1.0f;
    if (o->mean != NULL) {
        int32_t *mean = o->mean + row * packed_padded(n_units) + unit;
        for (int l = 0; l < 16; l++)
            mean[l] = l >= m               ? 0
                      : o->chance == NULL ? packed_round(p[l])
                                          : packed_mean_of(p[l], o->mean_shift, o->chance[row],
                                                           (uint32_t)(unit + l));
    }
    if (o->mean_rows != NULL) {
        if (m == 16)
            memcpy(o->mean_rows + row * n_units + unit, p, sizeof p);
        else
            memcpy(o->mean_rows + row * n_units + unit, p, (size_t)m * sizeof(float));
    }
    return bits;
}

/* The same for up to 64 units. */
FB_INLINE uint64_t packed_finish_64(const int32_t *sum, const int32_t *all, const packed_outputs *o,
                                    ptrdiff_t unit, ptrdiff_t m, ptrdiff_t n_units, ptrdiff_t row,
                                    ptrdiff_t padded_rows, const uint32_t *words)
{
    uint64_t bits = 0;
    for (ptrdiff_t k = 0; k < m; k += 16)
        bits |= (uint64_t)packed_finish(sum + k, all, o, unit + k, m - k < 16 ? m - k : 16, n_units,
                                        row, padded_rows, words != NULL ? words + k : NULL)
                << k;
    return bits;
}

#if FB_X86
__attribute__((always_inline)) FB_AVX512 static inline __m512 packed_arguments_avx512(
    const int32_t *from, const int32_t *all, ptrdiff_t unit, int spin_in, const float *bias,
    __mmask16 lanes, float scale)
{
    __m512i sum = _mm512_loadu_si512(from);
    const __m512 b = bias != NULL ? _mm512_maskz_loadu_ps(lanes, bias) : _mm512_setzero_ps();
    if (spin_in)
        sum = _mm512_sub_epi32(_mm512_add_epi32(sum, sum),
                               _mm512_maskz_loadu_epi32(lanes, all + unit));
    return _mm512_add_ps(
        b, _mm512_mul_ps(_mm512_set1_ps(scale * (1.0f / (1 << PACKED_SHIFT))),
                         _mm512_cvtepi32_ps(sum)));
}

/* As packed_finish_64. */
__attribute__((always_inline)) FB_AVX512 static inline uint64_t packed_finish_avx512(
    const int32_t *sum, const int32_t *all, const packed_outputs *o, ptrdiff_t unit, ptrdiff_t m,
    ptrdiff_t n_units, ptrdiff_t row, ptrdiff_t padded_rows, const uint32_t *words)
{
    const int n = 4, spin_in = o->spin_in, spin_out = o->spin_out;
    const float *bias = o->bias != NULL ? o->bias + unit : NULL;
    float own[64];
    if (o->row_bias != NULL) {
        packed_row_bias(o, unit, m, row, own);
        bias = own;
    }
    const uint64_t some = m < 64 ? ((uint64_t)1 << m) - 1 : ~(uint64_t)0;
    __m512 a[4], above[4], below[4];
    __mmask16 lanes[4];
    uint64_t bits = 0;
    PACKED_EACH lanes[i] = (__mmask16)(some >> 16 * i);
    PACKED_EACH a[i] = packed_arguments_avx512(sum + 16 * i, all, unit + 16 * i, spin_in,
                                               bias != NULL ? bias + 16 * i : NULL, lanes[i],
                                               o->scale);
    if (o->field != NULL)
        PACKED_EACH _mm512_mask_storeu_ps(o->field + row * n_units + unit + 16 * i, lanes[i], a[i]);
    if (o->cumulant != NULL || o->other_cumulant != NULL)
        for (int i = 0; 16 * i < m; i++) {
            const ptrdiff_t left = m - 16 * i < 16 ? m - 16 * i : 16;
            const ptrdiff_t at = (unit + 16 * i) / PACKED_PANEL * padded_rows + row;
            float x[16];
            if (o->cumulant != NULL) {
                _mm512_storeu_ps(x, a[i]);
                packed_add_cumulants(x, spin_out, left, o->cumulant + at, padded_rows);
            }
            if (o->other_cumulant != NULL) {
                const float *other = o->other_bias != NULL ? o->other_bias + unit + 16 * i : NULL;
                _mm512_storeu_ps(x, packed_arguments_avx512(sum + 16 * i, all, unit + 16 * i, spin_in,
                                                            other, lanes[i], o->other_scale));
                packed_add_cumulants(x, spin_out, left, o->other_cumulant + at, padded_rows);
            }
        }
    if (words == NULL && o->mean == NULL && o->mean_rows == NULL)
        return 0;
    if (spin_out)
        PACKED_EACH a[i] = _mm512_add_ps(a[i], a[i]);
    packed_odds(a, above, below, n);
    if (words != NULL) {
        __m512 u[4];
        PACKED_EACH u[i] = packed_uniform(_mm512_loadu_si512(words + 16 * i));
        PACKED_EACH bits |= (uint64_t)_mm512_mask_cmp_ps_mask(lanes[i],
                                                              _mm512_mul_ps(u[i], below[i]),
                                                              above[i], _CMP_LT_OQ)
                            << 16 * i;
    }
    if (o->mean == NULL && o->mean_rows == NULL)
        return bits;
    PACKED_EACH a[i] = _mm512_div_ps(above[i], below[i]);
    if (spin_out)
        PACKED_EACH a[i] = _mm512_sub_ps(_mm512_add_ps(a[i], a[i]), _mm512_set1_ps(1.0f));
    if (o->mean != NULL) {
        int32_t *mean = o->mean + row * packed_padded(n_units) + unit;
        if (o->chance == NULL) {
            const __m512 one = _mm512_set1_ps((float)(1 << PACKED_SHIFT));
            PACKED_EACH if (16 * i < m) _mm512_storeu_si512(
                mean + 16 * i, _mm512_maskz_cvtps_epi32(lanes[i], _mm512_mul_ps(a[i], one)));
        } else {
            uint32_t own_words[64];
            for (int l = 0; l < 64; l++)
                own_words[l] = o->chance[row] + (uint32_t)(unit + l) * PACKED_MEAN_STEP;
            PACKED_EACH if (16 * i < m) _mm512_storeu_si512(
                mean + 16 * i, packed_means_avx512(a[i], o->mean_shift,
                                                   _mm512_loadu_si512(own_words + 16 * i), lanes[i]));
        }
    }
    if (o->mean_rows != NULL)
        PACKED_EACH _mm512_mask_storeu_ps(o->mean_rows + row * n_units + unit + 16 * i, lanes[i],
                                          a[i]);
    return bits;
}
#endif

/* The words of rows [row, row + rows), of 8 * eights units a row, as philox_fill makes them. */
FB_INLINE void packed_words_of_rows(uint32_t *words, philox_address at, ptrdiff_t row,
                                    ptrdiff_t rows, ptrdiff_t eight, ptrdiff_t eights)
{
    philox_fill(words, at, (uint32_t)row, (uint32_t)eight, eights, rows);
}

#if FB_X86
/* Sixteen blocks of one row at a time, even ones and odd ones: upper halves of words and lower ones. */
__attribute__((always_inline)) FB_AVX512 static inline void packed_words_of_rows_avx512(
    uint32_t *words, philox_address at, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t eight,
    ptrdiff_t eights)
{
    /* of each 64 bits: the lower half of l, that of u, their upper halves */
    static const int16_t place[32] = {0,  32, 1,  33, 4,  36, 5,  37, 8,  40, 9,  41, 12, 44, 13, 45,
                                      16, 48, 17, 49, 20, 52, 21, 53, 24, 56, 25, 57, 28, 60, 29, 61};
    const __m512i halves = _mm512_loadu_si512(place);
    const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    const __m512i m0 = _mm512_set1_epi32((int)PHILOX_M0), m1 = _mm512_set1_epi32((int)PHILOX_M1);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t e = 0; e < eights; e += 8) {
            __m512i u[4], l[4], w[4];
            u[0] = _mm512_add_epi32(_mm512_set1_epi32((int)(2 * (eight + e))), even);
            l[0] = _mm512_add_epi32(u[0], _mm512_set1_epi32(1));
            u[1] = l[1] = _mm512_set1_epi32((int)(at.row0 + (uint32_t)(row + r)));
            u[2] = l[2] = _mm512_set1_epi32((int)at.step);
            u[3] = l[3] = _mm512_set1_epi32((int)at.stream);
            uint32_t k0 = at.k0, k1 = at.k1, *to = words + 8 * (r * eights + e);
#pragma GCC unroll 10
            for (int n = 0; n < 10; n++) {
                const __m512i key0 = _mm512_set1_epi32((int)k0), key1 = _mm512_set1_epi32((int)k1);
                PHILOX_LANES_ROUND(u[0], u[1], u[2], u[3]);
                PHILOX_LANES_ROUND(l[0], l[1], l[2], l[3]);
                k0 += PHILOX_W0;
                k1 += PHILOX_W1;
            }
            /* the words of units 2 i and 2 i + 1 of an eight, in its lane */
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                w[i] = _mm512_permutex2var_epi16(l[i], halves, u[i]);
            const __m512i a = _mm512_unpacklo_epi64(w[0], w[1]), b = _mm512_unpackhi_epi64(w[0], w[1]);
            const __m512i c = _mm512_unpacklo_epi64(w[2], w[3]), d = _mm512_unpackhi_epi64(w[2], w[3]);
            const __m512i ac = _mm512_shuffle_i32x4(a, c, 0x44), ca = _mm512_shuffle_i32x4(a, c, 0xEE);
            const __m512i bd = _mm512_shuffle_i32x4(b, d, 0x44), db = _mm512_shuffle_i32x4(b, d, 0xEE);
            /* the next row, or the room behind the last, takes what is too much */
            _mm512_storeu_si512(to, _mm512_shuffle_i32x4(ac, bd, 0x88));
            _mm512_storeu_si512(to + 16, _mm512_shuffle_i32x4(ac, bd, 0xDD));
            _mm512_storeu_si512(to + 32, _mm512_shuffle_i32x4(ca, db, 0x88));
            _mm512_storeu_si512(to + 48, _mm512_shuffle_i32x4(ca, db, 0xDD));
        }
}
#endif

/* Units [32 begin, 32 end) of a layer; wi and all as of packed_integers. With `fields` (rows of
 * packed_padded(n_out) numbers) the sums are these, rounded, instead. */
#define PACKED_LAYER_ROWS(FINISH, WORDS)                                                          \
    const ptrdiff_t n_words = packed_words(w->n_in), stride = packed_padded(w->n_out);            \
    const ptrdiff_t out_words = packed_words(w->n_out);                                           \
    const ptrdiff_t last = 32 * end < w->n_out ? 32 * end : w->n_out;                             \
    const ptrdiff_t padded_rows = 16 * packed_groups(n_rows);                                     \
    uint32_t buffer[PACKED_WORDS + PHILOX_PAD];                                                   \
    int32_t sums[PACKED_TILE] = {0}; /* read in blocks of 64 */                                    \
    if (o->bits != NULL)                                                                          \
        for (ptrdiff_t r = n_rows; r < padded_rows; r++)                                          \
            for (ptrdiff_t u = begin; u < end; u++)                                               \
                o->bits[(r / 16 * out_words + u) * 16 + r % 16] = 0;                              \
    for (ptrdiff_t tile = 32 * begin; tile < last; tile += PACKED_TILE) {                         \
        const ptrdiff_t n = last - tile < PACKED_TILE ? last - tile : PACKED_TILE;                \
        const ptrdiff_t eights = (n + 7) / 8, at_once = PACKED_WORDS / (8 * eights);              \
        for (ptrdiff_t row = 0; row < n_rows; row += at_once) {                                   \
            const ptrdiff_t rows = n_rows - row < at_once ? n_rows - row : at_once;               \
            if (o->bits != NULL)                                                                  \
                WORDS(buffer, o->address, row, rows, tile / 8, eights);                           \
            for (ptrdiff_t r = row; r < row + rows; r++) {                                        \
                const uint32_t *words =                                                           \
                    o->bits != NULL ? buffer + 8 * eights * (r - row) : NULL;                      \
                uint32_t *to = o->bits;                                                           \
                if (to != NULL)                                                                   \
                    to += (r / 16 * out_words + tile / 32) * 16 + r % 16;                         \
                if (fields != NULL)                                                               \
                    for (ptrdiff_t k = 0; k < packed_padded(n); k++)                              \
                        sums[k] = packed_round(fields[r * stride + tile + k]);                    \
                else                                                                              \
                    packed_row_sums(x + r / 16 * n_words * 16 + r % 16, w->n_in, wi + tile,       \
                                    stride, packed_padded(n), sums);                              \
                for (ptrdiff_t k = 0; k < n; k += 64) {                                           \
                    const uint64_t bits =                                                         \
                        FINISH(sums + k, all, o, tile + k, n - k < 64 ? n - k : 64, w->n_out, r,  \
                               padded_rows, words != NULL ? words + k : NULL);                    \
                    if (to != NULL)                                                               \
                        to[k / 32 * 16] = (uint32_t)bits;                                         \
                    if (to != NULL && n - k > 32)                                                 \
                        to[(k / 32 + 1) * 16] = (uint32_t)(bits >> 32);                           \
                }                                                                                 \
            }                                                                                     \
        }                                                                                         \
    }

FB_CLONES FB_UNUSED static void packed_layer_rows_any(const uint32_t *x, const float *fields,
                                                      ptrdiff_t n_rows, const packed_weights *w,
                                                      const packed_outputs *o, ptrdiff_t begin,
                                                      ptrdiff_t end, const int32_t *wi,
                                                      const int32_t *all)
{
    PACKED_LAYER_ROWS(packed_finish_64, packed_words_of_rows)
}

#if FB_X86
FB_AVX512 FB_UNUSED static void packed_layer_rows_avx512(
    const uint32_t *x, const float *fields, ptrdiff_t n_rows, const packed_weights *w,
    const packed_outputs *o, ptrdiff_t begin, ptrdiff_t end, const int32_t *wi, const int32_t *all)
{
    PACKED_LAYER_ROWS(packed_finish_avx512, packed_words_of_rows_avx512)
}
#endif

FB_UNUSED static void packed_layer_rows(const uint32_t *x, const float *fields, ptrdiff_t n_rows,
                                        const packed_weights *w, const packed_outputs *o,
                                        ptrdiff_t begin, ptrdiff_t end, const int32_t *wi,
                                        const int32_t *all, int level)
{
#if FB_X86
    if (level == FB_LEVEL_AVX512) {
        packed_layer_rows_avx512(x, fields, n_rows, w, o, begin, end, wi, all);
        return;
    }
#endif
    packed_layer_rows_any(x, fields, n_rows, w, o, begin, end, wi, all);
}

/* -- statistics -------------------------------------------------------------------------------- */

/* out[c][l] = sum over rows of bit_l * mean_c, for 16 units l from `unit` and the columns c of a
 * panel; means are [row][column], `stride` apart. */
FB_INLINE void packed_masked_sixteen(const uint32_t *x, ptrdiff_t n_words, ptrdiff_t unit,
                                     ptrdiff_t n_rows, const int32_t *mean, ptrdiff_t stride,
                                     int32_t out[PACKED_PANEL][16])
{
    packed_lanes sum[PACKED_PANEL];
    memset(sum, 0, sizeof sum);
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const uint32_t word = x[(r / 16 * n_words + unit / 32) * 16 + r % 16] >> unit % 32;
        if ((word & 0xffffu) == 0)
            continue;
#if defined(__GNUC__)
        static const packed_lanes place = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        const packed_lanes bit = -(((int32_t)(word & 0xffffu) >> place) & 1);
#pragma GCC unroll 8
        for (int c = 0; c < PACKED_PANEL; c++)
            sum[c] += bit & mean[r * stride + c];
#else
        int32_t bit[16];
        for (int l = 0; l < 16; l++)
            bit[l] = -(int32_t)(word >> l & 1u);
        for (int c = 0; c < PACKED_PANEL; c++)
            for (int l = 0; l < 16; l++)
                sum[c].lane[l] += mean[r * stride + c] & bit[l];
#endif
    }
    memcpy(out, sum, sizeof sum);
}

FB_INLINE void packed_masked_sums(const uint32_t *x, ptrdiff_t n_words, ptrdiff_t unit,
                                  ptrdiff_t n_rows, const int32_t *mean, ptrdiff_t stride,
                                  int32_t out[2][PACKED_PANEL][16])
{
    packed_masked_sixteen(x, n_words, unit, n_rows, mean, stride, out[0]);
    packed_masked_sixteen(x, n_words, unit + 16, n_rows, mean, stride, out[1]);
}

#if FB_X86
/* The same for 32 units, a word of each row. */
__attribute__((always_inline)) FB_AVX512 static inline void packed_masked_sums_avx512(
    const uint32_t *x, ptrdiff_t n_words, ptrdiff_t unit, ptrdiff_t n_rows, const int32_t *mean,
    ptrdiff_t stride, int32_t out[2][PACKED_PANEL][16])
{
    __m512i low[PACKED_PANEL], high[PACKED_PANEL];
#pragma GCC unroll 8
    for (int c = 0; c < PACKED_PANEL; c++)
        low[c] = high[c] = _mm512_setzero_si512();
    x += unit / 32 * 16;
    for (ptrdiff_t group = 0; group < n_rows; group += 16, x += 16 * n_words) {
        const ptrdiff_t rows = n_rows - group < 16 ? n_rows - group : 16;
        for (ptrdiff_t r = 0; r < rows; r++, mean += stride) {
            const uint32_t word = x[r];
            if (word == 0)
                continue;
            const __mmask16 first = (__mmask16)word, second = (__mmask16)(word >> 16);
#pragma GCC unroll 8
            for (int c = 0; c < PACKED_PANEL; c++) {
                const __m512i m = _mm512_set1_epi32(mean[c]);
                low[c] = _mm512_mask_add_epi32(low[c], first, low[c], m);
                high[c] = _mm512_mask_add_epi32(high[c], second, high[c], m);
            }
        }
    }
#pragma GCC unroll 8
    for (int c = 0; c < PACKED_PANEL; c++) {
        _mm512_storeu_si512(out[0][c], low[c]);
        _mm512_storeu_si512(out[1][c], high[c]);
    }
}
#endif

/* Sums over rows of the means of units [begin, end), rows one after the other. */
FB_CLONES FB_UNUSED static void packed_sum_rows(const int32_t *mean, ptrdiff_t n_rows,
                                                ptrdiff_t stride, ptrdiff_t begin, ptrdiff_t end,
                                                int64_t *sum)
{
    for (ptrdiff_t j = begin; j < end; j++)
        sum[j] = 0;
    for (ptrdiff_t r = 0; r < n_rows; r++)
        for (ptrdiff_t j = begin; j < end; j++)
            sum[j] += mean[r * stride + j];
}

/* Number of ones of units [32 begin, 32 end). */
FB_CLONES FB_UNUSED static void packed_count_rows(const uint32_t *x, ptrdiff_t n_words,
                                                  ptrdiff_t n_rows, ptrdiff_t begin, ptrdiff_t end,
                                                  int32_t *count)
{
    memset(count + 32 * begin, 0, (size_t)(32 * (end - begin)) * sizeof(int32_t));
    for (ptrdiff_t r = 0; r < n_rows; r++)
        for (ptrdiff_t w = begin; w < end; w++) {
            const uint32_t word = x[(r / 16 * n_words + w) * 16 + r % 16];
            for (int k = 0; k < 32; k++)
                count[32 * w + k] += (int32_t)(word >> k & 1u);
        }
}

/* -- statistics on their own --------------------------------------------------------------------- */

/* out = beta out + scale * sum over rows of x_i y_j, x bits (spins with `spin`), y real. */
typedef struct {
    const uint32_t *x;
    ptrdiff_t n_rows, n_units; /* of x */
    const float *y;            /* [row][column] */
    ptrdiff_t n_columns;
    int shift;                 /* y counts in units of 2^-shift */
    int spin;
    float *out;                /* entry (unit, column) at unit * unit_step + column * column_step */
    ptrdiff_t unit_step, column_step;
    float scale, beta;
    uint32_t *turned;          /* by tables: x with units in lanes */
} packed_product;

/* Largest absolute value of y and, from it, the units that it can count in: the sum over all rows
 * must stay below 2^30. Returns 0 where y is not finite or so large that little would be left. */
FB_UNUSED static int packed_product_shift(const float *y, ptrdiff_t n_rows, ptrdiff_t n_columns,
                                          int *shift)
{
    const float largest = packed_largest(y, n_rows * n_columns);
    if (!(largest <= 64.0f))
        return 0;
    double most = (double)largest * (double)n_rows * 2; /* twice: spins */
    *shift = 26;
    while (*shift > 12 && most * (double)((int64_t)1 << *shift) >= (double)(1 << 30))
        --*shift;
    return most * (double)((int64_t)1 << *shift) < (double)(1 << 30);
}

FB_INLINE void packed_product_store(const packed_product *p, ptrdiff_t unit, ptrdiff_t first,
                                    ptrdiff_t columns, int32_t d[PACKED_PANEL][16],
                                    const int32_t *all)
{
    const ptrdiff_t m = p->n_units - unit < 16 ? p->n_units - unit : 16;
    const float factor = p->scale / (float)((int64_t)1 << p->shift);
    for (ptrdiff_t c = 0; c < columns; c++) {
        float *to = p->out + unit * p->unit_step + (first + c) * p->column_step, x[16];
        if (p->spin)
            for (int l = 0; l < 16; l++)
                x[l] = factor * (float)(int32_t)(2u * (uint32_t)d[c][l] - (uint32_t)all[c]);
        else
            for (int l = 0; l < 16; l++)
                x[l] = factor * (float)d[c][l];
        if (p->beta == 0)
            for (ptrdiff_t l = 0; l < m; l++)
                to[l * p->unit_step] = x[l];
        else
            for (ptrdiff_t l = 0; l < m; l++)
                to[l * p->unit_step] = p->beta * to[l * p->unit_step] + x[l];
    }
}

/* Columns of panel `panel` as integers, [row][8], and their sums. Returns the largest absolute value. */
FB_INLINE int32_t packed_product_panel(const packed_product *p, ptrdiff_t first, ptrdiff_t columns,
                                    int32_t *panel, int32_t *all)
{
    const float one = (float)((int64_t)1 << p->shift);
    int32_t most[PACKED_PANEL] = {0};
    for (int c = 0; c < PACKED_PANEL; c++)
        all[c] = 0;
    for (ptrdiff_t r = 0; r < p->n_rows; r++)
        for (int c = 0; c < PACKED_PANEL; c++) {
            const int32_t y =
                c < columns ? packed_nearest(p->y[r * p->n_columns + first + c] * one) : 0;
            panel[r * PACKED_PANEL + c] = y;
            all[c] += y;
            most[c] = most[c] < abs(y) ? abs(y) : most[c];
        }
    for (int c = 1; c < PACKED_PANEL; c++)
        most[0] = most[0] < most[c] ? most[c] : most[0];
    return most[0];
}

/* Panels [begin, end); `panel` holds 8 numbers a row and five rows more. SUMS lets d point at the
 * sums of 32 units. */
#define PACKED_PRODUCT(PREPARE, SUMS)                                                             \
    for (ptrdiff_t index = begin; index < end; index++) {                                         \
        const ptrdiff_t first = index * PACKED_PANEL;                                             \
        const ptrdiff_t columns =                                                                 \
            p->n_columns - first < PACKED_PANEL ? p->n_columns - first : PACKED_PANEL;            \
        int32_t all[PACKED_PANEL];                                                                \
        const int32_t largest = packed_product_panel(p, first, columns, panel, all);              \
        (void)largest;                                                                            \
        PREPARE;                                                                                  \
        for (ptrdiff_t i = from; i < to; i += 32) {                                               \
            int32_t(*d)[PACKED_PANEL][16];                                                        \
            SUMS;                                                                                 \
            packed_product_store(p, i, first, columns, d[0], all);                                \
            if (i + 16 < p->n_units)                                                              \
                packed_product_store(p, i + 16, first, columns, d[1], all);                       \
        }                                                                                         \
    }

#define PACKED_PRODUCT_BY_ROWS(MASKED_SUMS)                                                       \
    const ptrdiff_t words = packed_words(p->n_units), from = 0, to = p->n_units;                  \
    int32_t sums[2][PACKED_PANEL][16] __attribute__((aligned(64)));                               \
    PACKED_PRODUCT(, {                                                                            \
        d = sums;                                                                                 \
        MASKED_SUMS(p->x, words, i, p->n_rows, panel, PACKED_PANEL, d);                           \
    })

FB_CLONES FB_UNUSED static void packed_product_any(const packed_product *p, ptrdiff_t begin,
                                                   ptrdiff_t end, int32_t *panel)
{
    PACKED_PRODUCT_BY_ROWS(packed_masked_sums)
}

#if FB_X86
FB_AVX512 FB_UNUSED static void packed_product_avx512(const packed_product *p, ptrdiff_t begin,
                                                      ptrdiff_t end, int32_t *panel)
{
    PACKED_PRODUCT_BY_ROWS(packed_masked_sums_avx512)
}
#endif

/* Integers of scratch that a product needs, by tables or by rows. */
FB_UNUSED static ptrdiff_t packed_product_scratch(ptrdiff_t n_rows, ptrdiff_t n_units)
{
    const ptrdiff_t blocks = packed_blocks(packed_groups(n_units));
    return packed_values_size(n_rows) + PACKED_TABLES_ROOM +
           packed_part_size(n_rows, blocks < PACKED_BLOCKS ? blocks : PACKED_BLOCKS);
}

#endif
