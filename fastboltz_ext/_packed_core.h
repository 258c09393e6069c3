/* Binary units as bits, and their products with real numbers by table look-up.
 *
 * Layout. Rows stand in 16 lanes, units in words of 32: bit k of bits[(group * words + w) * 16 + l]
 * is unit 32 w + k of row 16 group + l ("rows in lanes"). The same memory with rows and units
 * exchanged is "units in lanes".
 *
 * Product. Weights are rounded to multiples of 2^-PACKED_SHIFT and kept as 32-bit integers, so sums
 * are exact and the same in any order: no result depends on the instruction set or on the number
 * of threads. With AVX-512, four units of a row choose one of 16 partial sums of four weights: one
 * permutation of a register looks it up for 16 rows. Elsewhere the rows of the weights that belong
 * to ones are added up.
 *
 * Between integers and the next bits stands IEEE arithmetic in a fixed order, the same on both
 * paths (_logistic.h, -ffp-contract=off).
 */
#ifndef FASTBOLTZ_PACKED_CORE_H
#define FASTBOLTZ_PACKED_CORE_H

#include <math.h>
#include <stdlib.h>

#include "_logistic.h"
#include "_philox.h"
#include "_portable.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define PACKED_X86 1
#define PACKED_TARGET \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#else
#define PACKED_X86 0
#endif

/* Weights count in units of 2^-20; a field of up to 2^11 in absolute value fits. */
#define PACKED_SHIFT 20
#define PACKED_LIMIT ((int64_t)2000 << PACKED_SHIFT)
#define PACKED_LANES 16
#define PACKED_WORD 32
/* Columns of a panel: with two groups of rows, 16 accumulators. */
#define PACKED_PANEL 8

typedef struct {
    ptrdiff_t n_rows, n_units;  /* as the caller counts them */
    ptrdiff_t n_groups, n_words; /* padded: n_groups is even */
    uint32_t *bits;
} packed_bits;

FB_INLINE ptrdiff_t packed_groups(ptrdiff_t n)
{
    return (n + 2 * PACKED_LANES - 1) / (2 * PACKED_LANES) * 2;
}

FB_INLINE ptrdiff_t packed_words(ptrdiff_t n)
{
    return (n + PACKED_WORD - 1) / PACKED_WORD;
}

/* A matrix of weights: entry (k, c) at w[k * k_step + c * c_step], one of the steps being 1. */
typedef struct {
    const float *w;
    ptrdiff_t k_step, c_step;
    ptrdiff_t n_in, n_out;
} packed_weights;

/* What a layer computes from its fields a = bias + scale * field. Every pointer may be NULL. */
typedef struct {
    const float *bias;
    float scale;
    int spin_in, spin_out;  /* {-1, +1} units below, above */
    philox_address address; /* of row 0, unit 0 */
    uint32_t *bits;         /* samples, rows in lanes */
    uint32_t *turned;       /* samples, units in lanes (n_words of rows) */
    int32_t *mean;          /* means in units of 2^-mean_shift, [unit][row], rows padded to 32 */
    int mean_shift;
    float *field;           /* a itself, [row][unit] */
    float *mean_rows;       /* means, [row][unit] */
    double *cumulant;       /* [panel][row]: sum over the panel's units of the unit's cumulant */
    const float *other_bias; /* the same sums with another bias and scale: annealing's ratio */
    float other_scale;
    double *other_cumulant;
} packed_outputs;

FB_INLINE ptrdiff_t packed_panels(ptrdiff_t n_units)
{
    return (n_units + PACKED_PANEL - 1) / PACKED_PANEL;
}

/* -- what both paths share --------------------------------------------------------------------- */

/* To the nearest integer, ties to even, as the vector instruction does it. */
FB_INLINE int32_t packed_nearest(float x)
{
#if defined(__GNUC__) && !defined(__clang__)
    return __builtin_irintf(x); /* unlike (int)lrintf, one instruction for a whole vector */
#else
    return (int32_t)lrintf(x);
#endif
}

FB_INLINE int32_t packed_round(float w)
{
    return packed_nearest(w * (float)(1 << PACKED_SHIFT));
}

/* Whether the fields of every unit fit: the sums of |w| over each unit's inputs. */
FB_CLONES FB_UNUSED static float packed_largest(const float *w, ptrdiff_t n)
{
    float lanes[64] = {0};
    ptrdiff_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int l = 0; l < 64; l++) {
            float a = w[i + l] < 0 ? -w[i + l] : w[i + l];
            /* written so that NaN survives */
            lanes[l] = a <= lanes[l] ? lanes[l] : a;
        }
    for (; i < n; i++) {
        float a = w[i] < 0 ? -w[i] : w[i];
        lanes[0] = a <= lanes[0] ? lanes[0] : a;
    }
    float largest = 0;
    for (int l = 0; l < 64; l++)
        largest = lanes[l] <= largest ? largest : lanes[l];
    return largest;
}

/* 1 if w (n x m, C order) can be summed in fixed point over rows and over columns. */
FB_UNUSED static int packed_fits(const float *w, ptrdiff_t n, ptrdiff_t m)
{
    const float largest = packed_largest(w, n * m);
    const double more = (double)(n > m ? n : m);
    if (!(largest <= 1000.0f))
        return 0;
    if (((double)largest + 1e-6) * more * (1 << PACKED_SHIFT) < (double)PACKED_LIMIT)
        return 1;
    int64_t *columns = (int64_t *)calloc((size_t)m, sizeof(int64_t));
    if (columns == NULL)
        return 0;
    int fits = 1;
    for (ptrdiff_t i = 0; i < n && fits; i++) {
        int64_t row = 0;
        for (ptrdiff_t j = 0; j < m; j++) {
            int64_t a = packed_round(w[i * m + j]);
            a = a < 0 ? -a : a;
            row += a;
            columns[j] += a;
        }
        fits = row < PACKED_LIMIT;
    }
    for (ptrdiff_t j = 0; j < m && fits; j++)
        fits = columns[j] < PACKED_LIMIT;
    free(columns);
    return fits;
}

/* Bit matrix of 32 x 32, transposed in place: x[r] bit c <-> x[c] bit r. */
FB_INLINE void packed_transpose32(uint32_t *x)
{
    uint32_t mask = 0x0000ffffu;
    for (int j = 16; j != 0; j >>= 1, mask ^= mask << j)
        for (int k = 0; k < 32; k = (k + j + 1) & ~j) {
            uint32_t t = ((x[k] >> j) ^ x[k + j]) & mask;
            x[k] ^= t << j;
            x[k + j] ^= t;
        }
}

/* Exchange rows and units: `to` has the units of `from` in its lanes. Blocks of 32 units
 * [begin, end). */
FB_CLONES FB_UNUSED static void packed_turn(const uint32_t *from, ptrdiff_t n_groups,
                                            ptrdiff_t n_words, uint32_t *to, ptrdiff_t begin,
                                            ptrdiff_t end)
{
    const ptrdiff_t row_words = n_groups / 2;
    for (ptrdiff_t w = begin; w < end; w++)
        for (ptrdiff_t b = 0; b < row_words; b++) {
            uint32_t x[32];
            memcpy(x, from + ((2 * b) * n_words + w) * 16, 64);
            memcpy(x + 16, from + ((2 * b + 1) * n_words + w) * 16, 64);
            packed_transpose32(x);
            memcpy(to + ((2 * w) * row_words + b) * 16, x, 64);
            memcpy(to + ((2 * w + 1) * row_words + b) * 16, x + 16, 64);
        }
}

/* Bits of rows [begin, end) of 32-row blocks from values: one where x > threshold. */
#define PACKED_FROM(name, type)                                                                 \
    FB_CLONES FB_UNUSED static void name(const type *x, type threshold, ptrdiff_t n_rows,       \
                                         ptrdiff_t n_units, uint32_t *bits, ptrdiff_t begin,    \
                                         ptrdiff_t end)                                         \
    {                                                                                           \
        const ptrdiff_t words = packed_words(n_units);                                          \
        for (ptrdiff_t r = begin; r < end; r++) {                                               \
            uint32_t *row = bits + (r / 16) * words * 16 + r % 16;                              \
            for (ptrdiff_t w = 0; w < words; w++) {                                             \
                uint32_t word = 0;                                                              \
                if (r < n_rows) {                                                               \
                    const type *v = x + r * n_units + 32 * w;                                   \
                    const ptrdiff_t m = n_units - 32 * w < 32 ? n_units - 32 * w : 32;          \
                    if (m == 32)                                                                \
                        for (int k = 0; k < 32; k++)                                            \
                            word |= (uint32_t)(v[k] > threshold) << k;                          \
                    else                                                                        \
                        for (ptrdiff_t k = 0; k < m; k++)                                       \
                            word |= (uint32_t)(v[k] > threshold) << k;                          \
                }                                                                               \
                row[16 * w] = word;                                                             \
            }                                                                                   \
        }                                                                                       \
    }

PACKED_FROM(packed_from_f32, float)
PACKED_FROM(packed_from_f64, double)
PACKED_FROM(packed_from_u8, uint8_t)

#define PACKED_TO(name, type)                                                                   \
    FB_CLONES FB_UNUSED static void name(const uint32_t *bits, ptrdiff_t n_units, type *x,      \
                                         type low, ptrdiff_t begin, ptrdiff_t end)              \
    {                                                                                           \
        const ptrdiff_t words = packed_words(n_units);                                          \
        for (ptrdiff_t r = begin; r < end; r++) {                                               \
            const uint32_t *row = bits + (r / 16) * words * 16 + r % 16;                        \
            for (ptrdiff_t w = 0; w < words; w++) {                                             \
                const uint32_t word = row[16 * w];                                              \
                type *v = x + r * n_units + 32 * w;                                             \
                const ptrdiff_t m = n_units - 32 * w < 32 ? n_units - 32 * w : 32;              \
                for (ptrdiff_t k = 0; k < m; k++)                                               \
                    v[k] = (word >> k) & 1 ? (type)1 : low;                                     \
            }                                                                                   \
        }                                                                                       \
    }

PACKED_TO(packed_to_f32, float)
PACKED_TO(packed_to_f64, double)

/* Number of ones of each unit, from units in lanes. Units [begin, end). */
FB_CLONES FB_UNUSED static void packed_count(const uint32_t *turned, ptrdiff_t row_words,
                                             ptrdiff_t begin, ptrdiff_t end, int32_t *count)
{
    for (ptrdiff_t u = begin; u < end; u++) {
        int32_t total = 0;
        for (ptrdiff_t w = 0; w < row_words; w++)
            total += __builtin_popcount(turned[((u / 16) * row_words + w) * 16 + u % 16]);
        count[u] = total;
    }
}

/* a = bias + scale * field of one unit and 16 rows, from its summed integer weights. Where the
 * inputs are spins, sum w s = 2 sum w b - sum w; `all` is the sum of the unit's weights. */
FB_INLINE void packed_arguments(const int32_t *sum, int32_t all, int spin_in, float bias,
                                float scale, float *a)
{
    const float factor = scale * (1.0f / (1 << PACKED_SHIFT));
    if (spin_in)
        for (int l = 0; l < 16; l++)
            a[l] = bias + factor * (float)(int32_t)(2u * (uint32_t)sum[l] - (uint32_t)all);
    else
        for (int l = 0; l < 16; l++)
            a[l] = bias + factor * (float)sum[l];
}

/* The probability of a one. */
FB_INLINE void packed_probabilities(const int32_t *sum, int32_t all, const packed_outputs *o,
                                    ptrdiff_t unit, float *a, float *p)
{
    packed_arguments(sum, all, o->spin_in, o->bias != NULL ? o->bias[unit] : 0.0f, o->scale, a);
    if (o->spin_out)
        for (int l = 0; l < 16; l++)
            p[l] = fb_logistic_f32(a[l] + a[l]);
    else
        for (int l = 0; l < 16; l++)
            p[l] = fb_logistic_f32(a[l]);
}

FB_INLINE void packed_add_cumulants(const float *a, int spin, double *cumulant)
{
    if (spin)
        for (int l = 0; l < 16; l++)
            cumulant[l] += (double)fb_log2cosh_f32(a[l]);
    else
        for (int l = 0; l < 16; l++)
            cumulant[l] += (double)fb_softplus_f32(a[l]);
}

/* What is stored of one unit and 16 rows; `cumulant` and `other` are those of the panel. */
FB_INLINE void packed_store_means(const int32_t *sum, int32_t all, const float *a, const float *p,
                                  const packed_outputs *o, ptrdiff_t unit, ptrdiff_t n_units,
                                  ptrdiff_t row, ptrdiff_t n_rows, ptrdiff_t padded_rows,
                                  double *cumulant, double *other)
{
    const ptrdiff_t m = n_rows - row < 16 ? n_rows - row : 16;
    if (o->mean != NULL) {
        int32_t *mean = o->mean + unit * padded_rows + row;
        const float one = (float)(1 << o->mean_shift);
        int32_t x[16];
        if (o->spin_out)
            for (int l = 0; l < 16; l++)
                x[l] = packed_nearest((p[l] + p[l] - 1.0f) * one);
        else
            for (int l = 0; l < 16; l++)
                x[l] = packed_nearest(p[l] * one);
        for (int l = 0; l < 16; l++)
            mean[l] = l < m ? x[l] : 0;
    }
    if (o->mean_rows != NULL)
        for (ptrdiff_t l = 0; l < m; l++)
            o->mean_rows[(row + l) * n_units + unit] = o->spin_out ? p[l] + p[l] - 1.0f : p[l];
    if (o->field != NULL)
        for (ptrdiff_t l = 0; l < m; l++)
            o->field[(row + l) * n_units + unit] = a[l];
    if (cumulant != NULL)
        packed_add_cumulants(a, o->spin_out, cumulant);
    if (other != NULL) {
        float b[16];
        packed_arguments(sum, all, o->spin_in, o->other_bias != NULL ? o->other_bias[unit] : 0.0f,
                         o->other_scale, b);
        packed_add_cumulants(b, o->spin_out, other);
    }
}

/* -- AVX-512 ----------------------------------------------------------------------------------- */

#if PACKED_X86

/* Integer weights of one panel in the order of the matrix: rows or columns contiguous. Returns
 * the steps of the copy. `sums` receives the columns' sums. */
PACKED_TARGET FB_UNUSED static void packed_panel_avx512(const packed_weights *w, ptrdiff_t first,
                                                        ptrdiff_t padded_in, int32_t *wi,
                                                        int32_t *sums)
{
    const ptrdiff_t columns = w->n_out - first < PACKED_PANEL ? w->n_out - first : PACKED_PANEL;
    const __m512 one = _mm512_set1_ps((float)(1 << PACKED_SHIFT));
    if (w->c_step == 1) {
        const __mmask8 mask = (__mmask8)((1u << columns) - 1);
        __m256i total = _mm256_setzero_si256();
        for (ptrdiff_t k = 0; k < w->n_in; k++) {
            __m256 x = _mm256_maskz_loadu_ps(mask, w->w + k * w->k_step + first);
            __m256i i = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm512_castps512_ps256(one)));
            _mm256_store_si256((__m256i *)(wi + 8 * k), i);
            total = _mm256_add_epi32(total, i);
        }
        memset(wi + 8 * w->n_in, 0, (size_t)(padded_in - w->n_in) * 8 * sizeof *wi);
        _mm256_storeu_si256((__m256i *)sums, total);
        return;
    }
    for (ptrdiff_t c = 0; c < PACKED_PANEL; c++) {
        int32_t *to = wi + c * padded_in;
        if (c >= columns) {
            memset(to, 0, (size_t)padded_in * sizeof *to);
            sums[c] = 0;
            continue;
        }
        const float *from = w->w + (first + c) * w->c_step;
        __m512i total = _mm512_setzero_si512();
        for (ptrdiff_t k = 0; k < padded_in; k += 16) {
            const ptrdiff_t m = w->n_in - k < 16 ? (w->n_in > k ? w->n_in - k : 0) : 16;
            __m512 x = _mm512_maskz_loadu_ps((__mmask16)((1u << m) - 1), from + k);
            __m512i i = _mm512_cvtps_epi32(_mm512_mul_ps(x, one));
            _mm512_store_si512(to + k, i);
            total = _mm512_add_epi32(total, i);
        }
        sums[c] = _mm512_reduce_add_epi32(total);
    }
}

/* 16 partial sums of four numbers, entry e the sum over the bits of e. */
__attribute__((always_inline)) PACKED_TARGET static inline __m512i packed_table(const int32_t *a,
                                                                                ptrdiff_t step)
{
    __m512i t = _mm512_maskz_mov_epi32(0xAAAA, _mm512_set1_epi32(a[0]));
    t = _mm512_mask_add_epi32(t, 0xCCCC, t, _mm512_set1_epi32(a[step]));
    t = _mm512_mask_add_epi32(t, 0xF0F0, t, _mm512_set1_epi32(a[2 * step]));
    return _mm512_mask_add_epi32(t, 0xFF00, t, _mm512_set1_epi32(a[3 * step]));
}

/* Tables of a panel: [group of four inputs][column][entry]. */
PACKED_TARGET FB_UNUSED static void packed_tables(const int32_t *wi, ptrdiff_t k_step,
                                                  ptrdiff_t c_step, ptrdiff_t padded_in,
                                                  int32_t *tables)
{
    for (ptrdiff_t g = 0; g < padded_in / 4; g++)
        for (int c = 0; c < PACKED_PANEL; c++)
            _mm512_store_si512(tables + (g * PACKED_PANEL + c) * 16,
                               packed_table(wi + 4 * g * k_step + c * c_step, k_step));
}

/* sum[s][c] = sum over inputs of bit * weight, for two groups of 16 lanes and the 8 columns. */
__attribute__((always_inline)) PACKED_TARGET static inline void packed_lookup(
    const uint32_t *x, ptrdiff_t n_words, const int32_t *tables, __m512i sum[2][PACKED_PANEL])
{
    const uint32_t *y = x + n_words * 16;
    const int32_t *t = tables;
    for (ptrdiff_t w = 0; w < n_words; w++) {
        __m512i a = _mm512_load_si512(x + 16 * w), b = _mm512_load_si512(y + 16 * w);
        for (int n = 0; n < 8; n++) {
#pragma GCC unroll 8
            for (int c = 0; c < PACKED_PANEL; c++) {
                __m512i table = _mm512_load_si512(t + 16 * c);
                sum[0][c] = _mm512_add_epi32(sum[0][c], _mm512_permutexvar_epi32(a, table));
                sum[1][c] = _mm512_add_epi32(sum[1][c], _mm512_permutexvar_epi32(b, table));
            }
            t += 16 * PACKED_PANEL;
            a = _mm512_srli_epi32(a, 4);
            b = _mm512_srli_epi32(b, 4);
        }
    }
}

PACKED_TARGET FB_UNUSED static void packed_sums_avx512(const uint32_t *x, ptrdiff_t n_words,
                                                       const int32_t *tables, int32_t *out)
{
    __m512i sum[2][PACKED_PANEL];
    for (int s = 0; s < 2; s++)
        for (int c = 0; c < PACKED_PANEL; c++)
            sum[s][c] = _mm512_setzero_si512();
    packed_lookup(x, n_words, tables, sum);
    for (int s = 0; s < 2; s++)
        for (int c = 0; c < PACKED_PANEL; c++)
            _mm512_store_si512(out + (s * PACKED_PANEL + c) * 16, sum[s][c]);
}

__attribute__((always_inline)) PACKED_TARGET static inline void packed_mulhilo(__m512i a,
                                                                               __m512i m,
                                                                               __m512i *hi,
                                                                               __m512i *lo)
{
    __m512i even = _mm512_mul_epu32(a, m);
    __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), m);
    *lo = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
    *hi = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
}

/* The words of four units and 16 rows. */
PACKED_TARGET FB_UNUSED static void packed_philox_avx512(philox_address at, uint32_t row,
                                                         uint32_t quad, uint32_t *words)
{
    const __m512i lane =
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i m0 = _mm512_set1_epi32((int)PHILOX_M0), m1 = _mm512_set1_epi32((int)PHILOX_M1);
    __m512i x0 = _mm512_set1_epi32((int)quad);
    __m512i x1 = _mm512_add_epi32(_mm512_set1_epi32((int)(at.row0 + row)), lane);
    __m512i x2 = _mm512_set1_epi32((int)at.step), x3 = _mm512_set1_epi32((int)at.stream);
    uint32_t k0 = at.k0, k1 = at.k1;
    for (int r = 0; r < 10; r++) {
        __m512i hi0, lo0, hi1, lo1;
        packed_mulhilo(x0, m0, &hi0, &lo0);
        packed_mulhilo(x2, m1, &hi1, &lo1);
        x0 = _mm512_ternarylogic_epi32(hi1, x1, _mm512_set1_epi32((int)k0), 0x96);
        x2 = _mm512_ternarylogic_epi32(hi0, x3, _mm512_set1_epi32((int)k1), 0x96);
        x1 = lo1;
        x3 = lo0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    _mm512_storeu_si512(words, x0);
    _mm512_storeu_si512(words + 16, x1);
    _mm512_storeu_si512(words + 32, x2);
    _mm512_storeu_si512(words + 48, x3);
}

/* From the sums of one panel and two groups of rows to everything that is asked for. */
PACKED_TARGET FB_UNUSED static void packed_epilogue_avx512(const int32_t *sums, const int32_t *all,
                                                           const packed_outputs *o,
                                                           ptrdiff_t first, ptrdiff_t n_units,
                                                           ptrdiff_t row, ptrdiff_t n_rows,
                                                           ptrdiff_t n_groups)
{
    const ptrdiff_t columns = n_units - first < PACKED_PANEL ? n_units - first : PACKED_PANEL;
    const ptrdiff_t out_words = packed_words(n_units), padded_rows = n_groups * 16;
    const int draw = o->bits != NULL || o->turned != NULL;
    uint16_t masks[2][PACKED_PANEL] = {{0}};
    for (int s = 0; s < 2; s++) {
        const ptrdiff_t r = row + 16 * s;
        const ptrdiff_t valid = n_rows - r;
        const uint32_t lanes = valid >= 16 ? 0xffffu : valid <= 0 ? 0u : (1u << valid) - 1;
        double *cumulant =
            o->cumulant != NULL ? o->cumulant + first / PACKED_PANEL * padded_rows + r : NULL;
        double *other = o->other_cumulant != NULL
                            ? o->other_cumulant + first / PACKED_PANEL * padded_rows + r
                            : NULL;
        uint32_t words[2 * 64];
        if (draw) {
            packed_philox_avx512(o->address, (uint32_t)r, (uint32_t)(first / 4), words);
            if (columns > 4)
                packed_philox_avx512(o->address, (uint32_t)r, (uint32_t)(first / 4 + 1),
                                     words + 64);
        }
        for (int l = 0; l < 16; l++) {
            if (cumulant != NULL)
                cumulant[l] = 0;
            if (other != NULL)
                other[l] = 0;
        }
        __m512i byte = _mm512_setzero_si512();
        for (ptrdiff_t c = 0; c < columns; c++) {
            float a[16], p[16];
            const int32_t *sum = sums + (s * PACKED_PANEL + c) * 16;
            packed_probabilities(sum, all[c], o, first + c, a, p);
            packed_store_means(sum, all[c], a, p, o, first + c, n_units, r, n_rows, padded_rows,
                               cumulant, other);
            if (draw) {
                uint32_t hit = 0;
                float u[16];
                for (int l = 0; l < 16; l++)
                    u[l] = philox_uniform_f32(words[16 * c + l]);
                hit = _mm512_cmp_ps_mask(_mm512_loadu_ps(u), _mm512_loadu_ps(p), _CMP_LT_OQ);
                hit &= lanes;
                masks[s][c] = (uint16_t)hit;
                byte = _mm512_mask_or_epi32(byte, (__mmask16)hit, byte,
                                            _mm512_set1_epi32(1 << c));
            }
        }
        if (o->bits != NULL) {
            uint32_t *to = o->bits + (r / 16 * out_words + first / 32) * 16;
            const unsigned shift = (unsigned)(first % 32);
            byte = _mm512_sll_epi32(byte, _mm_cvtsi32_si128((int)shift));
            if (shift != 0)
                byte = _mm512_or_si512(byte, _mm512_loadu_si512(to));
            _mm512_storeu_si512(to, byte);
        }
    }
    if (o->turned != NULL) {
        const ptrdiff_t row_words = n_groups / 2;
        for (ptrdiff_t c = 0; c < columns; c++) {
            const ptrdiff_t u = first + c;
            o->turned[(u / 16 * row_words + row / 32) * 16 + u % 16] =
                masks[0][c] | (uint32_t)masks[1][c] << 16;
        }
    }
}

/* Units [32 begin, 32 end) of a layer. */
PACKED_TARGET FB_UNUSED static void packed_layer_avx512(const uint32_t *x, ptrdiff_t n_rows,
                                                        ptrdiff_t n_groups,
                                                        const packed_weights *w,
                                                        const packed_outputs *o, ptrdiff_t begin,
                                                        ptrdiff_t end, int32_t *scratch)
{
    const ptrdiff_t n_words = packed_words(w->n_in), padded_in = 32 * n_words;
    int32_t *wi = scratch, *tables = scratch + padded_in * PACKED_PANEL;
    int32_t sums[2 * PACKED_PANEL * 16] __attribute__((aligned(64)));
    for (ptrdiff_t first = 32 * begin; first < 32 * end && first < w->n_out;
         first += PACKED_PANEL) {
        int32_t all[PACKED_PANEL];
        packed_panel_avx512(w, first, padded_in, wi, all);
        if (w->c_step == 1)
            packed_tables(wi, PACKED_PANEL, 1, padded_in, tables);
        else
            packed_tables(wi, 1, padded_in, padded_in, tables);
        for (ptrdiff_t g = 0; g < n_groups; g += 2) {
            packed_sums_avx512(x + g * n_words * 16, n_words, tables, sums);
            packed_epilogue_avx512(sums, all, o, first, w->n_out, 16 * g, n_rows, n_groups);
        }
    }
}

/* Sums over rows of bit_i * mean_j for one panel of j: tables once, then all i in lanes. */
PACKED_TARGET FB_UNUSED static void packed_mean_tables_avx512(const int32_t *mean,
                                                              ptrdiff_t padded_rows,
                                                              ptrdiff_t first, ptrdiff_t n_units,
                                                              int32_t *tables)
{
    const ptrdiff_t columns = n_units - first < PACKED_PANEL ? n_units - first : PACKED_PANEL;
    for (ptrdiff_t c = 0; c < PACKED_PANEL; c++)
        for (ptrdiff_t g = 0; g < padded_rows / 4; g++) {
            __m512i t = _mm512_setzero_si512();
            if (c < columns)
                t = packed_table(mean + (first + c) * padded_rows + 4 * g, 1);
            _mm512_store_si512(tables + (g * PACKED_PANEL + c) * 16, t);
        }
}

#endif /* PACKED_X86 */

/* -- any processor ----------------------------------------------------------------------------- */

/* Columns that are summed at a time: they stay in the first cache. */
#define PACKED_TILE 256

/* Integer weights [input][output padded to 16], in the order that rows are added in. */
FB_CLONES FB_UNUSED static void packed_integers(const packed_weights *w, int32_t *wi,
                                                ptrdiff_t padded_out, int32_t *all)
{
    for (ptrdiff_t c = 0; c < padded_out; c++)
        all[c] = 0;
    for (ptrdiff_t k = 0; k < w->n_in; k++) {
        const float *from = w->w + k * w->k_step;
        int32_t *to = wi + k * padded_out;
        for (ptrdiff_t c = 0; c < w->n_out; c++)
            to[c] = packed_round(from[c * w->c_step]);
        for (ptrdiff_t c = w->n_out; c < padded_out; c++)
            to[c] = 0;
        for (ptrdiff_t c = 0; c < padded_out; c++)
            all[c] += to[c];
    }
}

/* sum[c] = sum over the ones of a row of values[one][c]. */
FB_INLINE void packed_add_rows(const uint32_t *row, ptrdiff_t n_words, const int32_t *values,
                               ptrdiff_t stride, ptrdiff_t columns, int32_t *sum)
{
    for (ptrdiff_t c = 0; c < columns; c++)
        sum[c] = 0;
    for (ptrdiff_t w = 0; w < n_words; w++)
        for (uint32_t word = row[16 * w]; word != 0; word &= word - 1) {
            const int32_t *v = values + (32 * w + __builtin_ctz(word)) * stride;
            for (ptrdiff_t c = 0; c < columns; c++)
                sum[c] += v[c];
        }
}

/* As packed_epilogue_avx512. */
FB_CLONES FB_UNUSED static void packed_epilogue_any(const int32_t *sums, const int32_t *all,
                                                    const packed_outputs *o, ptrdiff_t first,
                                                    ptrdiff_t n_units, ptrdiff_t row,
                                                    ptrdiff_t n_rows, ptrdiff_t n_groups)
{
    const ptrdiff_t columns = n_units - first < PACKED_PANEL ? n_units - first : PACKED_PANEL;
    const ptrdiff_t out_words = packed_words(n_units), padded_rows = n_groups * 16;
    const int draw = o->bits != NULL || o->turned != NULL;
    uint32_t hits[2][PACKED_PANEL] = {{0}};
    for (int s = 0; s < 2; s++) {
        const ptrdiff_t r = row + 16 * s;
        const ptrdiff_t valid = n_rows - r;
        const uint32_t lanes = valid >= 16 ? 0xffffu : valid <= 0 ? 0u : (1u << valid) - 1;
        double *cumulant = NULL, *other = NULL;
        if (o->cumulant != NULL)
            cumulant = o->cumulant + first / PACKED_PANEL * padded_rows + r;
        if (o->other_cumulant != NULL)
            other = o->other_cumulant + first / PACKED_PANEL * padded_rows + r;
        uint32_t words[16][8];
        if (draw)
            for (int l = 0; l < 16; l++)
                for (uint32_t q = 0; q < 2; q++)
                    philox_one(o->address.k0, o->address.k1, (uint32_t)(first / 4) + q,
                               o->address.row0 + (uint32_t)(r + l), o->address.step,
                               o->address.stream, words[l] + 4 * q);
        for (int l = 0; l < 16; l++) {
            if (cumulant != NULL)
                cumulant[l] = 0;
            if (other != NULL)
                other[l] = 0;
        }
        uint32_t byte[16] = {0};
        for (ptrdiff_t c = 0; c < columns; c++) {
            float a[16], p[16];
            const int32_t *sum = sums + (s * PACKED_PANEL + c) * 16;
            packed_probabilities(sum, all[c], o, first + c, a, p);
            packed_store_means(sum, all[c], a, p, o, first + c, n_units, r, n_rows, padded_rows,
                               cumulant, other);
            if (!draw)
                continue;
            for (int l = 0; l < 16; l++) {
                uint32_t hit = (uint32_t)(philox_uniform_f32(words[l][c]) < p[l]);
                hit &= (lanes >> l) & 1u;
                hits[s][c] |= hit << l;
                byte[l] |= hit << c;
            }
        }
        if (o->bits != NULL) {
            uint32_t *to = o->bits + (r / 16 * out_words + first / 32) * 16;
            const unsigned shift = (unsigned)(first % 32);
            for (int l = 0; l < 16; l++)
                to[l] = (shift != 0 ? to[l] : 0u) | byte[l] << shift;
        }
    }
    if (o->turned != NULL)
        for (ptrdiff_t c = 0; c < columns; c++) {
            const ptrdiff_t u = first + c;
            o->turned[(u / 16 * (n_groups / 2) + row / 32) * 16 + u % 16] =
                hits[0][c] | hits[1][c] << 16;
        }
}

/* Units [32 begin, 32 end) of a layer; wi holds the integers of all weights. */
FB_CLONES FB_UNUSED static void packed_layer_any(const uint32_t *x, ptrdiff_t n_rows,
                                                 ptrdiff_t n_groups, const packed_weights *w,
                                                 const packed_outputs *o, ptrdiff_t begin,
                                                 ptrdiff_t end, const int32_t *wi,
                                                 const int32_t *all)
{
    const ptrdiff_t n_words = packed_words(w->n_in), padded_out = (w->n_out + 15) / 16 * 16;
    const ptrdiff_t last = 32 * end < w->n_out ? 32 * end : w->n_out;
    for (ptrdiff_t tile = 32 * begin; tile < last; tile += PACKED_TILE) {
        const ptrdiff_t n = last - tile < PACKED_TILE ? last - tile : PACKED_TILE;
        const ptrdiff_t columns = (n + 15) / 16 * 16;
        for (ptrdiff_t g = 0; g < n_groups; g += 2) {
            int32_t rows[32][PACKED_TILE];
            for (int l = 0; l < 32; l++)
                packed_add_rows(x + (g + l / 16) * n_words * 16 + l % 16, n_words, wi + tile,
                                padded_out, columns, rows[l]);
            for (ptrdiff_t first = tile; first < tile + n; first += PACKED_PANEL) {
                int32_t sums[2 * PACKED_PANEL * 16];
                const ptrdiff_t m =
                    tile + n - first < PACKED_PANEL ? tile + n - first : PACKED_PANEL;
                for (ptrdiff_t c = 0; c < m; c++)
                    for (int l = 0; l < 32; l++)
                        sums[(l / 16 * PACKED_PANEL + c) * 16 + l % 16] = rows[l][first - tile + c];
                packed_epilogue_any(sums, all + first, o, first, w->n_out, 16 * g, n_rows,
                                    n_groups);
            }
        }
    }
}

#endif
