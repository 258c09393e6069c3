/* Binary units as bits, and their products with real numbers by table look-up.
 *
 * Layout. Rows stand in 16 lanes, units in words of 32: bit k of bits[(group * words + w) * 16 + l]
 * is unit 32 w + k of row 16 group + l ("rows in lanes"). The same memory with rows and units
 * exchanged is "units in lanes".
 *
 * Product. Weights are rounded to multiples of 2^-PACKED_SHIFT and kept as 32-bit integers, so sums
 * are exact and the same in any order: no result depends on the instruction set or on the number
 * of threads. With AVX-512, five units of a row choose one of 32 partial sums of five weights, and
 * one permutation looks it up for 16 rows (_packed_tables.h). With AVX2, partial sums of five inputs
 * stand in memory, eight columns side by side, or the numbers that belong to ones are added up, whichever
 * is less work (_packed_lists.h). Elsewhere, and for few rows with AVX-512, the rows of the weights that
 * belong to ones are added up (_packed_rows.h).
 *
 * Between integers and the next bits stands IEEE arithmetic in a fixed order, the same on both
 * paths (_logistic.h, -ffp-contract=off).
 */
#ifndef FASTBOLTZ_PACKED_CORE_H
#define FASTBOLTZ_PACKED_CORE_H

#include <math.h>
#include <stdlib.h>

#include "_logistic.h"
#include "_philox_lanes.h"
#include "_x86.h"

/* Weights count in units of 2^-20; a field of up to 2^11 in absolute value fits. */
#define PACKED_SHIFT 20
#define PACKED_LIMIT ((int64_t)2000 << PACKED_SHIFT)
#define PACKED_LANES 16
#define PACKED_WORD 32
/* Bits of hidden means up to which their sums are looked up in 16 bits: 60 of them make one. They count in units
 * of 2^-10, those of spins in 2^-9. What is cut off of a mean of more bits is the probability that it is rounded
 * up, so its expectation is what it was (Gupta et al. 2015), and the variance of a probability p grows by less
 * than min(p, 1 - p) / 2^10, where a draw in its place would add p (1 - p). */
#define PACKED_MEAN_BITS 10
/* The word of a unit is its row's and so much more for every unit before it: of the 2^10 numbers that are cut
 * off this is the golden section, by which neighbours are rounded apart. */
#define PACKED_MEAN_STEP 633u
/* A block that no layer draws with: where the words of rows come from. */
#define PACKED_MEAN_BLOCK 0x3fffffffu
/* Columns that are finished together: what a byte of bits holds, and two counters' random words. */
#define PACKED_PANEL 8

/* Groups of 16 rows, an even number of them. */
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
    /* 0, or weights are rounded to multiples of 2^-low, few enough for sums of 16 bits */
    int low;
} packed_weights;

/* What a layer computes from its fields a = bias + scale * field. Every pointer may be NULL. */
typedef struct {
    const float *bias;
    const float *row_bias;  /* instead: [unit][row], one of each unit for every row */
    ptrdiff_t row_step;     /* rows of row_bias */
    float scale;
    int spin_in, spin_out;  /* {-1, +1} units below, above */
    philox_address address; /* of row 0, unit 0 */
    uint32_t *bits;         /* samples, rows in lanes */
    ptrdiff_t shared[2];    /* one more than the words of them that other threads write, too; 0: none */
    uint32_t *turned;       /* samples, units in lanes (n_words of rows) */
    int32_t *mean;          /* means in units of 2^-mean_shift, [unit][row], rows padded to 32 */
    int mean_shift;
    const uint32_t *chance; /* a random word of each row, by which means are rounded, padded as they are; NULL
                             * where they have PACKED_SHIFT bits, to which they are rounded to the nearest */
    float *field;           /* a itself, [row][unit] */
    float *mean_rows;       /* means, [row][unit] */
    double *cumulant;       /* [panel][row]: sum over the panel's units of the unit's cumulant */
    const float *other_bias; /* the same sums with another bias and scale: annealing's ratio */
    float other_scale;
    double *other_cumulant;
} packed_outputs;

FB_INLINE int packed_is_shared(const packed_outputs *o, ptrdiff_t word)
{
    return o->shared[0] == word + 1 || o->shared[1] == word + 1;
}

#if FB_X86
/* Samples of a panel, a number of 8 bits in each of 16 lanes, to a byte of their words, and zeros behind the
 * last panel: what other threads write meanwhile is left alone. */
FB_INLINE void packed_store_bytes(uint32_t *words, const uint32_t *lanes, ptrdiff_t first, int is_last)
{
    const ptrdiff_t byte = first % 32 / 8;
    for (int l = 0; l < PACKED_LANES; l++) {
        uint8_t *word = (uint8_t *)(words + l);
        word[byte] = (uint8_t)lanes[l];
        for (ptrdiff_t b = byte + 1; b < 4 && is_last; b++)
            word[b] = 0;
    }
}
#endif

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

/* A mean in units of 2^-shift, rounded up or down by the word of its row. */
FB_INLINE int32_t packed_mean_of(float p, int shift, uint32_t word, uint32_t unit)
{
    const int cut = PACKED_SHIFT - shift;
    const uint32_t part = (word + unit * PACKED_MEAN_STEP) & ((1u << cut) - 1);
    return (packed_nearest(p * (float)(1 << PACKED_SHIFT)) + (int32_t)part) >> cut;
}

/* The bits of word w that belong to one of n units. */
FB_INLINE uint32_t packed_mask(ptrdiff_t w, ptrdiff_t n)
{
    return 32 * w + 32 <= n ? ~0u : (1u << (n % 32)) - 1;
}

FB_INLINE int32_t packed_round(float w)
{
    return packed_nearest(w * (float)(1 << PACKED_SHIFT));
}

/* A weight as a multiple of 2^-PACKED_SHIFT, rounded to one of 2^-shift. */
FB_INLINE int32_t packed_round_to(float w, int shift)
{
    return (int32_t)((uint32_t)packed_nearest(w * (float)((int32_t)1 << shift))
                     << (PACKED_SHIFT - shift));
}

FB_INLINE int packed_shift_of(const packed_weights *w)
{
    return w->low ? w->low : PACKED_SHIFT;
}

/* The largest s up to 14 for which sums of 16 bits hold the weights of every unit, over rows and
 * over columns of w (n x m, C order), in multiples of 2^-s; -1 if there is none from 4 up. */
FB_UNUSED static int packed_low_shift(const float *w, ptrdiff_t n, ptrdiff_t m)
{
    double *columns = (double *)calloc((size_t)(m > 0 ? m : 1), sizeof(double)), most = 0;
    if (columns == NULL)
        return -1;
    for (ptrdiff_t i = 0; i < n; i++) {
        double row = 0;
        for (ptrdiff_t j = 0; j < m; j++) {
            const double a = fabs((double)w[i * m + j]);
            row += a;
            columns[j] += a;
        }
        most = most < row ? row : most;
    }
    int finite = 1; /* comparisons lose a NaN */
    for (ptrdiff_t j = 0; j < m; j++) {
        most = most < columns[j] ? columns[j] : most;
        finite &= columns[j] < 4096.0;
    }
    free(columns);
    if (!finite || !(most < 4096.0))
        return -1;
    /* each weight may be rounded up by half a unit */
    const double rounding = 0.5 * (double)(n > m ? n : m);
    int shift = 14;
    while (shift >= 4 && most * (double)(1 << shift) + rounding > 32767.0)
        shift--;
    return shift >= 4 ? shift : -1;
}

/* The largest absolute value. The bits of a float without its sign are ordered as the numbers are,
 * with infinity and then NaN at the top: neither is lost on the way. */
FB_CLONES FB_UNUSED static float packed_largest(const float *w, ptrdiff_t n)
{
    uint32_t lanes[64] = {0}, largest = 0;
    ptrdiff_t i = 0;
    for (; i + 64 <= n; i += 64) {
        uint32_t bits[64];
        memcpy(bits, w + i, sizeof bits);
        for (int l = 0; l < 64; l++) {
            const uint32_t a = bits[l] & 0x7fffffffu;
            lanes[l] = a > lanes[l] ? a : lanes[l];
        }
    }
    for (; i < n; i++) {
        uint32_t a;
        memcpy(&a, w + i, sizeof a);
        a &= 0x7fffffffu;
        largest = a > largest ? a : largest;
    }
    for (int l = 0; l < 64; l++)
        largest = lanes[l] > largest ? lanes[l] : largest;
    float result;
    memcpy(&result, &largest, sizeof result);
    return result;
}

/* 1 if n x m weights of at most `largest` can be summed in fixed point, whatever they are. */
FB_INLINE int packed_surely_fits(float largest, ptrdiff_t n, ptrdiff_t m)
{
    const double more = (double)(n > m ? n : m);
    return largest <= 1000.0f &&
           ((double)largest + 1e-6) * more * (1 << PACKED_SHIFT) < (double)PACKED_LIMIT;
}

/* 1 if w (n x m, C order) can be summed in fixed point over rows and over columns. */
FB_UNUSED static int packed_fits(const float *w, ptrdiff_t n, ptrdiff_t m)
{
    const float largest = packed_largest(w, n * m);
    if (!(largest <= 1000.0f))
        return 0;
    if (packed_surely_fits(largest, n, m))
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

/* Real rows with units in front, to[unit][row] = x[row][unit] * scale + own[unit] (own: may be NULL), for
 * rows [begin, end). A tile at a time, so that what is read and what is written are lines of the cache. */
FB_CLONES FB_UNUSED static void packed_turn_real(const float *x, ptrdiff_t n_units,
                                                 const float *own, float scale, float *to,
                                                 ptrdiff_t n_rows, ptrdiff_t begin, ptrdiff_t end)
{
    enum { TILE = 16 };
    float tile[TILE][TILE];
    for (ptrdiff_t r = begin; r < end; r += TILE) {
        const ptrdiff_t rows = end - r < TILE ? end - r : TILE;
        for (ptrdiff_t u = 0; u < n_units; u += TILE) {
            const ptrdiff_t units = n_units - u < TILE ? n_units - u : TILE;
            for (ptrdiff_t i = 0; i < rows; i++) {
                const float *row = x + (r + i) * n_units + u;
                for (ptrdiff_t j = 0; j < units; j++)
                    tile[i][j] = row[j] * scale + (own != NULL ? own[u + j] : 0.0f);
            }
            if (rows == TILE)
                for (ptrdiff_t j = 0; j < units; j++)
                    for (ptrdiff_t i = 0; i < TILE; i++)
                        to[(u + j) * n_rows + r + i] = tile[i][j];
            else
                for (ptrdiff_t j = 0; j < units; j++)
                    for (ptrdiff_t i = 0; i < rows; i++)
                        to[(u + j) * n_rows + r + i] = tile[i][j];
        }
    }
}

FB_UNUSED static void packed_turn_rows(const float *x, ptrdiff_t n_units, const float *own,
                                       float scale, float *to, ptrdiff_t n_rows, int n_threads)
{
    const int parallel = n_threads > 1;
    ptrdiff_t t;
    (void)parallel;
    FB_PARALLEL_FOR
    for (t = 0; t < n_threads; t++) {
        const ptrdiff_t blocks = (n_rows + 15) / 16;
        const ptrdiff_t end = 16 * (blocks * (t + 1) / n_threads);
        packed_turn_real(x, n_units, own, scale, to, n_rows, 16 * (blocks * t / n_threads),
                         end < n_rows ? end : n_rows);
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

/* The same for values that are `low` or 1; 0 if there are others. Word w of row r goes to
 * bits[(r / row_group * words + w) * row_group + r % row_group]: 16 for rows in lanes, 1 for rows one
 * after the other. */
#define PACKED_EXACT(name, type)                                                                \
    FB_CLONES FB_UNUSED static int name(const type *x, type low, ptrdiff_t n_rows,              \
                                        ptrdiff_t n_units, uint32_t *bits, ptrdiff_t row_group) \
    {                                                                                           \
        const ptrdiff_t words = packed_words(n_units);                                          \
        for (ptrdiff_t r = 0; r < n_rows; r++) {                                                \
            uint32_t *row = bits + r / row_group * words * row_group + r % row_group;           \
            uint32_t others = 0;                                                                \
            for (ptrdiff_t w = 0; w < words; w++) {                                             \
                uint32_t word = 0;                                                              \
                const type *v = x + r * n_units + 32 * w;                                       \
                const ptrdiff_t m = n_units - 32 * w < 32 ? n_units - 32 * w : 32;              \
                if (m == 32)                                                                    \
                    for (int k = 0; k < 32; k++) {                                              \
                        word |= (uint32_t)(v[k] == 1) << k;                                     \
                        others |= (uint32_t)((v[k] != 1) & (v[k] != low));                      \
                    }                                                                           \
                else                                                                            \
                    for (ptrdiff_t k = 0; k < m; k++) {                                         \
                        word |= (uint32_t)(v[k] == 1) << k;                                     \
                        others |= (uint32_t)((v[k] != 1) & (v[k] != low));                      \
                    }                                                                           \
                row[row_group * w] = word;                                                      \
            }                                                                                   \
            if (others)                                                                         \
                return 0;                                                                       \
        }                                                                                       \
        return 1;                                                                               \
    }

PACKED_EXACT(packed_exact_f32, float)
PACKED_EXACT(packed_exact_f64, double)

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

FB_CLONES FB_UNUSED static int64_t packed_ones(const uint32_t *bits, ptrdiff_t n)
{
    int64_t total = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        total += __builtin_popcount(bits[i]);
    return total;
}

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

/* Rows below a layer, and what is to come of them. */
typedef struct {
    const uint32_t *x;
    ptrdiff_t n_rows;
    const packed_outputs *o;
} packed_rows;

#include "_packed_tables.h"

/* -- AVX-512 ----------------------------------------------------------------------------------- */

#if FB_X86

/* The functions of _logistic.h for 16 lanes: the same operations in the same order (a NaN stays one
 * without being asked for). Several vectors at a time, step by step: one waits for its last step most
 * of the time, and a processor does not look far enough ahead to find the next by itself. */
#define PACKED_EACH _Pragma("GCC unroll 8") for (int i = 0; i < n; i++)
/* One step for each, in this order: compilers would put the steps of a vector together again. */
#ifdef FB_EMULATED
#define PACKED_KEPT(x)
#else
#define PACKED_KEPT(x) __asm__("" : "+v"(x))
#endif
#define PACKED_STEP(x, value)  \
    PACKED_EACH                \
    {                          \
        (x)[i] = (value);      \
        PACKED_KEPT((x)[i]);   \
    }
__attribute__((always_inline)) FB_AVX512 static inline void packed_exps_minus(__m512 *z,
                                                                              const int n)
{
    const __m512 magic = _mm512_set1_ps(12582912.0f), cut = _mm512_set1_ps(87.0f);
    __mmask16 near[PACKED_PANEL];
    __m512 shifted[PACKED_PANEL], whole[PACKED_PANEL], r[PACKED_PANEL], q[PACKED_PANEL];
    PACKED_EACH near[i] = _mm512_cmp_ps_mask(z[i], cut, _CMP_NGT_UQ);
    PACKED_EACH z[i] = _mm512_xor_ps(_mm512_mask_mov_ps(cut, near[i], z[i]), _mm512_set1_ps(-0.0f));
    PACKED_STEP(shifted, _mm512_mul_ps(z[i], _mm512_set1_ps(1.44269504f)))
    PACKED_STEP(shifted, _mm512_add_ps(shifted[i], magic))
    PACKED_STEP(whole, _mm512_sub_ps(shifted[i], magic))
    PACKED_STEP(r, _mm512_sub_ps(z[i], _mm512_mul_ps(whole[i],
                                                     _mm512_set1_ps(0.693145751953125f))))
    PACKED_STEP(r, _mm512_sub_ps(r[i], _mm512_mul_ps(whole[i],
                                                     _mm512_set1_ps(1.42860682030941723e-6f))))
    PACKED_STEP(q, _mm512_mul_ps(_mm512_set1_ps(1.3926250e-3f), r[i]))
    PACKED_STEP(q, _mm512_add_ps(q[i], _mm512_set1_ps(8.3632329e-3f)))
    PACKED_STEP(q, _mm512_mul_ps(q[i], r[i]))
    PACKED_STEP(q, _mm512_add_ps(q[i], _mm512_set1_ps(4.1666554e-2f)))
    PACKED_STEP(q, _mm512_mul_ps(q[i], r[i]))
    PACKED_STEP(q, _mm512_add_ps(q[i], _mm512_set1_ps(1.6666577e-1f)))
    PACKED_STEP(q, _mm512_mul_ps(q[i], r[i]))
    PACKED_STEP(q, _mm512_add_ps(q[i], _mm512_set1_ps(0.5f)))
    PACKED_STEP(q, _mm512_mul_ps(_mm512_mul_ps(r[i], r[i]), q[i]))
    PACKED_STEP(q, _mm512_add_ps(r[i], q[i]))
    PACKED_STEP(q, _mm512_add_ps(_mm512_set1_ps(1.0f), q[i]))
    PACKED_EACH z[i] = _mm512_castsi512_ps(_mm512_maskz_add_epi32(
        near[i], _mm512_castps_si512(q[i]), _mm512_slli_epi32(_mm512_castps_si512(shifted[i]), 23)));
}

/* fb_log1p_f32 */
__attribute__((always_inline)) FB_AVX512 static inline void packed_logs1p(__m512 *e, const int n)
{
    __m512 t[PACKED_PANEL], q[PACKED_PANEL];
    PACKED_STEP(e, _mm512_div_ps(e[i], _mm512_add_ps(_mm512_set1_ps(2.0f), e[i])))
    PACKED_STEP(t, _mm512_mul_ps(e[i], e[i]))
    PACKED_STEP(q, _mm512_mul_ps(_mm512_set1_ps(1.16121646e-1f), t[i]))
    PACKED_STEP(q, _mm512_add_ps(q[i], _mm512_set1_ps(1.08532879e-1f)))
    PACKED_STEP(q, _mm512_mul_ps(q[i], t[i]))
    PACKED_STEP(q, _mm512_add_ps(q[i], _mm512_set1_ps(1.42961790e-1f)))
    PACKED_STEP(q, _mm512_mul_ps(q[i], t[i]))
    PACKED_STEP(q, _mm512_add_ps(q[i], _mm512_set1_ps(1.99998532e-1f)))
    PACKED_STEP(q, _mm512_mul_ps(q[i], t[i]))
    PACKED_STEP(q, _mm512_add_ps(q[i], _mm512_set1_ps(3.33333337e-1f)))
    PACKED_EACH e[i] = _mm512_add_ps(e[i], e[i]);
    PACKED_STEP(q, _mm512_mul_ps(e[i], _mm512_mul_ps(t[i], q[i])))
    PACKED_EACH e[i] = _mm512_add_ps(e[i], q[i]);
}

/* The logistic function as a fraction: with e = exp(-|x|), 1 or e over 1 + e. */
__attribute__((always_inline)) FB_AVX512 static inline void packed_odds(const __m512 *x,
                                                                        __m512 *above,
                                                                        __m512 *below,
                                                                        const int n)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 e[PACKED_PANEL];
    PACKED_EACH e[i] = _mm512_abs_ps(x[i]);
    packed_exps_minus(e, n);
    PACKED_EACH above[i] = _mm512_mask_mov_ps(
        one, _mm512_cmp_ps_mask(x[i], _mm512_setzero_ps(), _CMP_LT_OQ), e[i]);
    PACKED_EACH below[i] = _mm512_add_ps(one, e[i]);
}

/* Uniform numbers of 16 words, as philox_uniform_f32. */
__attribute__((always_inline)) FB_AVX512 static inline __m512 packed_uniform(__m512i word)
{
    return _mm512_mul_ps(
        _mm512_add_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(word, 9)), _mm512_set1_ps(0.5f)),
        _mm512_set1_ps(0x1p-23f));
}

/* Adds the cumulants of a panel's units at a, one after the other, to 16 sums in double precision. */
__attribute__((always_inline)) FB_AVX512 static inline void packed_cumulants(
    const __m512 *a, ptrdiff_t columns, int spin, double *sums)
{
    const int n = PACKED_PANEL;
    __m512 e[PACKED_PANEL];
    __m512d low = _mm512_loadu_pd(sums), high = _mm512_loadu_pd(sums + 8);
    PACKED_EACH e[i] = _mm512_abs_ps(a[i]);
    if (spin)
        PACKED_EACH e[i] = _mm512_add_ps(e[i], e[i]);
    packed_exps_minus(e, n);
    packed_logs1p(e, n);
    PACKED_EACH if (i < columns)
    {
        const __mmask16 positive = _mm512_cmp_ps_mask(a[i], _mm512_setzero_ps(), _CMP_GT_OQ);
        const __m512 above = spin ? _mm512_abs_ps(a[i]) : _mm512_maskz_mov_ps(positive, a[i]);
        const __m512 x = _mm512_add_ps(above, e[i]);
        low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
        high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
    }
    _mm512_storeu_pd(sums, low);
    _mm512_storeu_pd(sums + 8, high);
}

__attribute__((always_inline)) FB_AVX512 static inline __m512 packed_argument(
    const int32_t *sum, int32_t all, int spin_in, __m512 bias, float scale)
{
    __m512i i = _mm512_loadu_si512(sum);
    if (spin_in)
        i = _mm512_sub_epi32(_mm512_add_epi32(i, i), _mm512_set1_epi32(all));
    return _mm512_add_ps(bias, _mm512_mul_ps(_mm512_set1_ps(scale * (1.0f / (1 << PACKED_SHIFT))),
                                             _mm512_cvtepi32_ps(i)));
}

/* packed_mean_of for 16 units or rows with these words, of which a mask says which there are. */
__attribute__((always_inline)) FB_AVX512 static inline __m512i packed_means_avx512(__m512 p, int shift,
                                                                                  __m512i words,
                                                                                  __mmask16 lanes)
{
    const int cut = PACKED_SHIFT - shift;
    const __m512i part = _mm512_and_si512(words, _mm512_set1_epi32((1 << cut) - 1));
    const __m512i whole = _mm512_cvtps_epi32(
        _mm512_mul_ps(p, _mm512_set1_ps((float)(1 << PACKED_SHIFT))));
    return _mm512_maskz_sra_epi32(lanes, _mm512_add_epi32(whole, part), _mm_cvtsi32_si128(cut));
}

/* Eight columns of 16 rows to where they belong in a matrix of rows; m rows and `columns` columns
 * of them are real. */
__attribute__((always_inline)) FB_AVX512 static inline void packed_store_rows_avx512(
    float (*x)[16], float *to, ptrdiff_t stride, ptrdiff_t m, ptrdiff_t columns)
{
    if (m < 16 || columns < PACKED_PANEL) {
        for (ptrdiff_t l = 0; l < m; l++)
            for (ptrdiff_t c = 0; c < columns; c++)
                to[l * stride + c] = x[c][l];
        return;
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        const __m512 x0 = _mm512_loadu_ps(x[4 * half]), x1 = _mm512_loadu_ps(x[4 * half + 1]);
        const __m512 x2 = _mm512_loadu_ps(x[4 * half + 2]), x3 = _mm512_loadu_ps(x[4 * half + 3]);
        const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(x0, x1));
        const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(x0, x1));
        const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(x2, x3));
        const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(x2, x3));
        /* lane g of y[s] is row 4 g + s */
        __m512 y[4];
        y[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        y[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        y[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        y[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
#pragma GCC unroll 4
        for (int s = 0; s < 4; s++) {
            float *row = to + s * stride + 4 * half;
            _mm_storeu_ps(row, _mm512_extractf32x4_ps(y[s], 0));
            _mm_storeu_ps(row + 4 * stride, _mm512_extractf32x4_ps(y[s], 1));
            _mm_storeu_ps(row + 8 * stride, _mm512_extractf32x4_ps(y[s], 2));
            _mm_storeu_ps(row + 12 * stride, _mm512_extractf32x4_ps(y[s], 3));
        }
    }
}

/* From the sums of one panel and two groups of rows to everything that is asked for. With `plain`
 * that is draws, means as integers or both, of {0, 1} units above {0, 1} units, as `draw` and
 * `mean` say: constants where this is inlined, so that nothing is asked unit by unit. */
__attribute__((always_inline)) FB_AVX512 static inline void packed_epilogue_body(
    const int32_t *sums, const int32_t *all, const packed_outputs *o, ptrdiff_t first,
    ptrdiff_t n_units, ptrdiff_t row, ptrdiff_t n_rows, ptrdiff_t n_groups, const int plain,
    const int draw, const int mean)
{
    const ptrdiff_t columns = n_units - first < PACKED_PANEL ? n_units - first : PACKED_PANEL;
    const ptrdiff_t out_words = packed_words(n_units), padded_rows = n_groups * 16;
    const int mean_rows = !plain && o->mean_rows != NULL, field = !plain && o->field != NULL;
    const int spin_in = !plain && o->spin_in, spin_out = !plain && o->spin_out;
    uint16_t masks[2][PACKED_PANEL] = {{0}};
    float fields[PACKED_PANEL][16], means[PACKED_PANEL][16];
    for (int s = 0; s < 2; s++) {
        const ptrdiff_t r = row + 16 * s;
        const ptrdiff_t valid = n_rows - r;
        const uint32_t lanes = valid >= 16 ? 0xffffu : valid <= 0 ? 0u : (1u << valid) - 1;
        const ptrdiff_t m = valid >= 16 ? 16 : valid <= 0 ? 0 : valid;
        double *cumulant = NULL, *other = NULL;
        if (!plain && o->cumulant != NULL) {
            cumulant = o->cumulant + first / PACKED_PANEL * padded_rows + r;
            memset(cumulant, 0, 16 * sizeof(double));
        }
        if (!plain && o->other_cumulant != NULL) {
            other = o->other_cumulant + first / PACKED_PANEL * padded_rows + r;
            memset(other, 0, 16 * sizeof(double));
        }
        uint32_t words[2 * 64] __attribute__((aligned(64)));
        __m512i byte = _mm512_setzero_si512();
        if (m > 0) {
            const int n = PACKED_PANEL;
            if (draw)
                philox_eight(o->address, (uint32_t)r, (uint32_t)(first / 8), words);
            const float *bias = o->bias != NULL ? o->bias + first : NULL;
            const int32_t *sum = sums + s * PACKED_PANEL * 16;
            __m512 a[PACKED_PANEL], above[PACKED_PANEL], below[PACKED_PANEL];
            if (!plain && o->row_bias != NULL) {
                const float *from = o->row_bias + first * o->row_step + r;
                PACKED_EACH a[i] = _mm512_maskz_loadu_ps(
                    (__mmask16)(i < columns ? lanes : 0), i < columns ? from + i * o->row_step : from);
            } else
                PACKED_EACH a[i] = _mm512_set1_ps(bias != NULL && i < columns ? bias[i] : 0.0f);
            PACKED_EACH a[i] = packed_argument(sum + 16 * i, all[i], spin_in, a[i], o->scale);
            if (cumulant != NULL)
                packed_cumulants(a, columns, spin_out, cumulant);
            if (other != NULL) {
                __m512 b[PACKED_PANEL];
                PACKED_EACH b[i] = _mm512_set1_ps(
                    o->other_bias != NULL && i < columns ? o->other_bias[first + i] : 0.0f);
                PACKED_EACH b[i] =
                    packed_argument(sum + 16 * i, all[i], spin_in, b[i], o->other_scale);
                packed_cumulants(b, columns, spin_out, other);
            }
            if (field)
                PACKED_EACH _mm512_storeu_ps(fields[i], a[i]);
            if (spin_out)
                PACKED_EACH a[i] = _mm512_add_ps(a[i], a[i]);
            if (draw || mean || mean_rows)
                packed_odds(a, above, below, n);
            if (draw) {
                PACKED_EACH
                {
                    const __m512 u = packed_uniform(_mm512_load_si512(words + 16 * i));
                    masks[s][i] = _mm512_mask_cmp_ps_mask((__mmask16)(i < columns ? lanes : 0),
                                                          _mm512_mul_ps(u, below[i]), above[i],
                                                          _CMP_LT_OQ);
                    byte = _mm512_mask_or_epi32(byte, masks[s][i], byte, _mm512_set1_epi32(1 << i));
                }
            }
            if (mean || mean_rows)
                PACKED_EACH a[i] = _mm512_div_ps(above[i], below[i]);
            if ((mean || mean_rows) && spin_out)
                PACKED_EACH a[i] =
                    _mm512_sub_ps(_mm512_add_ps(a[i], a[i]), _mm512_set1_ps(1.0f));
            for (ptrdiff_t i = 0; i < columns && mean; i++) {
                const uint32_t more = (uint32_t)(first + i) * PACKED_MEAN_STEP;
                const __m512i words_of =
                    o->chance == NULL ? _mm512_setzero_si512()
                                      : _mm512_add_epi32(_mm512_loadu_si512(o->chance + r),
                                                         _mm512_set1_epi32((int32_t)more));
                _mm512_storeu_si512(
                    o->mean + (first + i) * padded_rows + r,
                    packed_means_avx512(a[i], o->mean_shift, words_of, (__mmask16)lanes));
            }
            if (mean_rows)
                PACKED_EACH _mm512_storeu_ps(means[i], a[i]);
        }
        if (field)
            packed_store_rows_avx512(fields, o->field + r * n_units + first, n_units, m, columns);
        if (mean_rows)
            packed_store_rows_avx512(means, o->mean_rows + r * n_units + first, n_units, m, columns);
        if (m == 0 && mean)
            for (ptrdiff_t c = 0; c < columns; c++)
                _mm512_storeu_si512(o->mean + (first + c) * padded_rows + r,
                                    _mm512_setzero_si512());
        if (draw && o->bits != NULL) {
            uint32_t *to = o->bits + (r / 16 * out_words + first / 32) * 16;
            const unsigned shift = (unsigned)(first % 32);
            if (packed_is_shared(o, first / 32)) {
                uint32_t own[16];
                _mm512_storeu_si512(own, byte);
                packed_store_bytes(to, own, first, n_units - first <= PACKED_PANEL);
                continue;
            }
            byte = _mm512_sll_epi32(byte, _mm_cvtsi32_si128((int)shift));
            if (shift != 0)
                byte = _mm512_or_si512(byte, _mm512_loadu_si512(to));
            _mm512_storeu_si512(to, byte);
        }
    }
    if (draw && o->turned != NULL) {
        const ptrdiff_t row_words = n_groups / 2;
        for (ptrdiff_t c = 0; c < columns; c++) {
            const ptrdiff_t u = first + c;
            o->turned[(u / 16 * row_words + row / 32) * 16 + u % 16] =
                masks[0][c] | (uint32_t)masks[1][c] << 16;
        }
    }
}

/* The cases of an epilogue that are worth code of their own; DRAWS is packed_draws. */
#define PACKED_EPILOGUE_CASES(BODY, DRAWS)                                                        \
    const int draw = o->bits != NULL || o->turned != NULL, mean = o->mean != NULL;                \
    const int zeros = o->mean_rows == NULL && o->field == NULL && o->cumulant == NULL &&          \
                      o->other_cumulant == NULL && !o->spin_in && !o->spin_out;                   \
    const int plain = zeros && o->row_bias == NULL;                                               \
    if (zeros && draw && !mean && DRAWS(sums, o, first, n_units, row, n_rows, n_groups))          \
        return;                                                                                   \
    if (!plain)                                                                                   \
        BODY(sums, all, o, first, n_units, row, n_rows, n_groups, 0, draw, mean);                 \
    else if (!mean)                                                                               \
        BODY(sums, all, o, first, n_units, row, n_rows, n_groups, 1, 1, 0);                       \
    else if (!draw)                                                                               \
        BODY(sums, all, o, first, n_units, row, n_rows, n_groups, 1, 0, 1);                       \
    else                                                                                          \
        BODY(sums, all, o, first, n_units, row, n_rows, n_groups, 1, 1, 1);

#define DRAWS(name) name##_avx512
#define DRAWS_TARGET FB_AVX512
#define DRAWS_LANES 16
#define DRAWS_V(op) _mm512_##op
#define DRAWS_F __m512
#define DRAWS_I __m512i
#define DRAWS_AS_I _mm512_castps_si512
#define DRAWS_AS_F _mm512_castsi512_ps
#define DRAWS_AND _mm512_and_si512
#define DRAWS_OR _mm512_or_si512
#define DRAWS_LOAD(at) _mm512_loadu_si512(at)
#define DRAWS_STORE(at, x) _mm512_storeu_si512(at, x)
#define DRAWS_NEGATIVE(x) _mm512_movepi32_mask(_mm512_castps_si512(x))
#define DRAWS_SPLIT(x, f)                                                                         \
    PACKED_EACH f[i] = x[i];                                                                      \
    PACKED_STEP(x, _mm512_roundscale_ps(x[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))     \
    PACKED_STEP(f, _mm512_sub_ps(f[i], x[i]))
#define DRAWS_SCALE(e, whole) _mm512_scalef_ps(e, whole)
#define DRAWS_APPEND(on, place, x)                                                                \
    on = _mm512_mask_or_epi32(on, DRAWS_NEGATIVE(x), on, _mm512_set1_epi32(place))
#define DRAWS_SHARE(at, block)
#define DRAWS_WORDS(at, row, block, words) philox_chains_as_they_are(at, row, block, 2, 1, words)
#include "_packed_draws.h"
#undef DRAWS
#undef DRAWS_TARGET
#undef DRAWS_LANES
#undef DRAWS_V
#undef DRAWS_F
#undef DRAWS_I
#undef DRAWS_AS_I
#undef DRAWS_AS_F
#undef DRAWS_AND
#undef DRAWS_OR
#undef DRAWS_LOAD
#undef DRAWS_STORE
#undef DRAWS_NEGATIVE
#undef DRAWS_SPLIT
#undef DRAWS_SCALE
#undef DRAWS_APPEND
#undef DRAWS_SHARE
#undef DRAWS_WORDS

FB_AVX512 FB_UNUSED static void packed_epilogue_avx512(const int32_t *sums, const int32_t *all,
                                                       const packed_outputs *o,
                                                       ptrdiff_t first, ptrdiff_t n_units,
                                                       ptrdiff_t row, ptrdiff_t n_rows,
                                                       ptrdiff_t n_groups)
{
    PACKED_EPILOGUE_CASES(packed_epilogue_body, packed_draws_avx512)
}

#endif /* FB_X86 */

#include "_packed_bytes.h"

#endif
