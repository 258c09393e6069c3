/* What Monte Carlo averages over binary units are made of: draws as bytes, bytes as floats, and sums over
 * samples with their costs.
 *
 * Draws take four units from a random word. Unit u of a row is on where byte u of the row's words is below
 * the highest byte of its threshold. Where they are equal, a tie, 24 bits more decide: the highest of word
 * u of the same row in a stream of its own, so that it is on with probability threshold / 2^32.
 */
#ifndef FASTBOLTZ_AVERAGES_H
#define FASTBOLTZ_AVERAGES_H

#include "_philox_lanes.h"

/* Ties that are broken together. */
#define AVERAGES_TIES 64
/* Rows that are drawn before ties are looked at: so few that a byte counts the ones of all. */
#define AVERAGES_ROWS 64

typedef struct {
    philox_address at;
    uint32_t lower; /* the stream of ties */
    const uint64_t *thresholds;
    ptrdiff_t n_units, n_rows;
    uint8_t *out; /* [row][stride]; bytes from n_units to the next multiple of 16 have no meaning */
    ptrdiff_t stride;
    double *counts; /* of the ones of each unit, which are added; or NULL */
    int n_ties;
    uint32_t tied_unit[AVERAGES_TIES], tied_row[AVERAGES_TIES];
} averages_draw;

/* A threshold of 2^32 ties with the highest byte, and then all of its words are below. */
FB_INLINE uint8_t averages_upper(const averages_draw *draw, ptrdiff_t unit)
{
    if (unit >= draw->n_units)
        return 0;
    return (uint8_t)(draw->thresholds[unit] >> 24 > 0xff ? 0xff : draw->thresholds[unit] >> 24);
}

FB_CLONES FB_UNUSED static void averages_break_ties(averages_draw *draw)
{
    uint32_t words[4][AVERAGES_TIES];
    const uint32_t k0 = draw->at.k0, k1 = draw->at.k1, step = draw->at.step;
    const uint32_t row0 = draw->at.row0, stream = draw->lower;
    /* whole vectors: what is past the last tie is drawn too, and not looked at */
    for (int begin = 0; begin < draw->n_ties; begin += PHILOX_LANES)
        for (int l = begin; l < begin + PHILOX_LANES; l++) {
            uint64_t x0 = draw->tied_unit[l] / 4, x1 = (uint32_t)(row0 + draw->tied_row[l]), x2 = step;
            uint64_t x3 = stream;
            PHILOX_TEN_ROUNDS;
            words[0][l] = (uint32_t)x0;
            words[1][l] = (uint32_t)x1;
            words[2][l] = (uint32_t)x2;
            words[3][l] = (uint32_t)x3;
        }
    for (int l = 0; l < draw->n_ties; l++) {
        const uint32_t u = draw->tied_unit[l];
        const uint64_t whole = (uint64_t)averages_upper(draw, u) << 24 | words[u % 4][l] >> 8;
        const int on = whole < draw->thresholds[u];
        draw->out[draw->tied_row[l] * draw->stride + u] = (uint8_t)on;
        if (draw->counts != NULL)
            draw->counts[u] += on;
    }
    draw->n_ties = 0;
}

FB_INLINE void averages_tie(averages_draw *draw, ptrdiff_t row, ptrdiff_t unit)
{
    if (row >= draw->n_rows || unit >= draw->n_units)
        return;
    draw->tied_unit[draw->n_ties] = (uint32_t)unit;
    draw->tied_row[draw->n_ties++] = (uint32_t)row;
    if (draw->n_ties == AVERAGES_TIES)
        averages_break_ties(draw);
}

/* Bytes of words, the lowest first. */
FB_INLINE void averages_bytes(const uint32_t *words, ptrdiff_t n_bytes, uint8_t *to)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(to, words, (size_t)n_bytes);
#else
    for (ptrdiff_t k = 0; k < n_bytes; k++)
        to[k] = (uint8_t)(words[k / 4] >> k % 4 * 8);
#endif
}

/* Blocks of 16 units that are drawn together, and words of some rows of them. */
#define AVERAGES_BLOCKS 64
#define AVERAGES_ROOM (4 * AVERAGES_BLOCKS * 4)

FB_CLONES FB_UNUSED static void averages_ones_any(averages_draw *draw)
{
    const ptrdiff_t all_blocks = (draw->n_units + 15) / 16;
    for (ptrdiff_t first = 0; first < all_blocks; first += AVERAGES_BLOCKS) {
        const ptrdiff_t left = all_blocks - first, blocks = left < AVERAGES_BLOCKS ? left : AVERAGES_BLOCKS;
        const ptrdiff_t n_bytes = 16 * blocks, at_once = AVERAGES_ROOM / (4 * blocks);
        const ptrdiff_t units = draw->n_units - 16 * first, known = units < n_bytes ? units : n_bytes;
        uint8_t upper[16 * AVERAGES_BLOCKS], equal[16 * AVERAGES_BLOCKS];
        uint32_t words[AVERAGES_ROOM + PHILOX_PAD];
        for (ptrdiff_t k = 0; k < n_bytes; k++)
            upper[k] = averages_upper(draw, 16 * first + k);
        for (ptrdiff_t row = 0; row < draw->n_rows; row += at_once) {
            const ptrdiff_t rows = draw->n_rows - row < at_once ? draw->n_rows - row : at_once;
            uint16_t total[16 * AVERAGES_BLOCKS] = {0};
            philox_blocks(words, draw->at, (uint32_t)row, (uint32_t)first, blocks, rows);
            for (ptrdiff_t r = 0; r < rows; r++) {
                uint8_t own[16 * AVERAGES_BLOCKS], *to = draw->out + (row + r) * draw->stride + 16 * first;
                averages_bytes(words + 4 * blocks * r, n_bytes, own);
                for (ptrdiff_t k = 0; k < n_bytes; k++)
                    to[k] = own[k] < upper[k];
                for (ptrdiff_t k = 0; k < n_bytes; k++)
                    equal[k] = own[k] == upper[k];
                for (ptrdiff_t k = 0; k < n_bytes; k++)
                    total[k] = (uint16_t)(total[k] + to[k]);
                for (ptrdiff_t k = 0; k < n_bytes; k += 8) {
                    uint64_t some;
                    memcpy(&some, equal + k, sizeof some);
                    for (ptrdiff_t i = k; i < k + 8 && some != 0; i++)
                        if (equal[i])
                            averages_tie(draw, row + r, 16 * first + i);
                }
            }
            for (ptrdiff_t k = 0; k < known && draw->counts != NULL; k++)
                draw->counts[16 * first + k] += total[k];
        }
    }
}

#if FB_X86

#define AVERAGES(name) name##_avx512
#define AVERAGES_TARGET FB_AVX512
#define AVERAGES_LANES 4
#define AVERAGES_V(op) _mm512_##op
#define AVERAGES_I __m512i
#define AVERAGES_LOAD(at) _mm512_loadu_si512(at)
#define AVERAGES_STORE(at, x) _mm512_storeu_si512(at, x)
#define AVERAGES_SPREAD _mm512_broadcast_i32x4
#define AVERAGES_BELOW(x, y) _mm512_maskz_mov_epi8(_mm512_cmplt_epu8_mask(x, y), one)
#define AVERAGES_EQUAL(x, y) _mm512_cmpeq_epu8_mask(x, y)
#define AVERAGES_AND _mm512_and_si512
#define AVERAGES_QUARTER _mm512_extracti32x4_epi32
#define AVERAGES_WORDS(row, quads)                                                       \
    if ((quads) == 2)                                                                    \
        philox_chains_as_they_are(draw->at, (uint32_t)(row), (uint32_t)(first / 16), 2, 0, words); \
    else                                                                                 \
        philox_chains_as_they_are(draw->at, (uint32_t)(row), (uint32_t)(first / 16), 1, 0, words)
#define AVERAGES_SHARE
#include "_averages_template.h"
#undef AVERAGES
#undef AVERAGES_TARGET
#undef AVERAGES_LANES
#undef AVERAGES_V
#undef AVERAGES_I
#undef AVERAGES_LOAD
#undef AVERAGES_STORE
#undef AVERAGES_SPREAD
#undef AVERAGES_BELOW
#undef AVERAGES_EQUAL
#undef AVERAGES_AND
#undef AVERAGES_QUARTER
#undef AVERAGES_WORDS
#undef AVERAGES_SHARE

#define AVERAGES(name) name##_avx2
#define AVERAGES_TARGET FB_AVX2
#define AVERAGES_LANES 2
#define AVERAGES_V(op) _mm256_##op
#define AVERAGES_I __m256i
#define AVERAGES_LOAD(at) _mm256_loadu_si256((const __m256i *)(at))
#define AVERAGES_STORE(at, x) _mm256_storeu_si256((__m256i *)(at), x)
#define AVERAGES_SPREAD _mm256_broadcastsi128_si256
/* 1 where x is not the larger */
#define AVERAGES_BELOW(x, y) _mm256_andnot_si256(_mm256_cmpeq_epi8(_mm256_max_epu8(x, y), x), one)
#define AVERAGES_EQUAL(x, y) (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, y))
#define AVERAGES_AND _mm256_and_si256
#define AVERAGES_QUARTER _mm256_extracti128_si256
#define AVERAGES_WORDS(row, quads)                                                       \
    for (int q = 0; q < (quads); q++)                                                    \
        for (uint32_t half = 0; half < 16; half += 8)                                    \
            philox_chains_avx2(&shared, q, draw->at.row0 + (uint32_t)(row) + half,       \
                               words + 64 * q + half)
#define AVERAGES_SHARE                                                                   \
    philox_shared shared;                                                                \
    philox_share_avx2(&shared, draw->at, (uint32_t)(first / 16))
#include "_averages_template.h"
#undef AVERAGES
#undef AVERAGES_TARGET
#undef AVERAGES_LANES
#undef AVERAGES_V
#undef AVERAGES_I
#undef AVERAGES_LOAD
#undef AVERAGES_STORE
#undef AVERAGES_SPREAD
#undef AVERAGES_BELOW
#undef AVERAGES_EQUAL
#undef AVERAGES_AND
#undef AVERAGES_QUARTER
#undef AVERAGES_WORDS
#undef AVERAGES_SHARE

#endif /* FB_X86 */

/* Rows `first` and on of an address (key 0, key 1, step, stream), ties from stream `lower`. */
FB_UNUSED static void averages_ones(const uint64_t *address, int64_t first, int64_t lower,
                                    const uint64_t *thresholds, int64_t n_units, int64_t n_rows,
                                    uint8_t *out, int64_t stride, double *counts, int64_t level)
{
    averages_draw draw;
    draw.at.k0 = (uint32_t)address[0];
    draw.at.k1 = (uint32_t)address[1];
    draw.at.step = (uint32_t)address[2];
    draw.at.stream = (uint32_t)address[3];
    draw.at.row0 = (uint32_t)first;
    draw.lower = (uint32_t)lower;
    draw.thresholds = thresholds;
    draw.n_units = n_units;
    draw.n_rows = n_rows;
    draw.out = out;
    draw.stride = stride;
    draw.counts = counts;
    draw.n_ties = 0;
    memset(draw.tied_unit, 0, sizeof draw.tied_unit);
    memset(draw.tied_row, 0, sizeof draw.tied_row);
#if FB_X86
    if (level == FB_LEVEL_AVX512)
        averages_ones_avx512(&draw);
    else if (level == FB_LEVEL_AVX2)
        averages_ones_avx2(&draw);
    else
#endif
        averages_ones_any(&draw);
    (void)level;
    averages_break_ties(&draw);
}

/* Bytes as floats. */
FB_CLONES FB_UNUSED static void averages_widen(const uint8_t *FB_RESTRICT bytes, int64_t n,
                                               double *FB_RESTRICT to)
{
    for (int64_t k = 0; k < n; k++)
        to[k] = (double)bytes[k];
}

/* Adds the sums of y, j y and j^2 y over n rows of y, whose entries are 0 or 1, row after row; those of y
 * unless they are `counted` already. Sums stand `step` apart. Eight rows at a time go through a register. */
FB_CLONES FB_UNUSED static void averages_add(const double *FB_RESTRICT y, int64_t stride,
                                             const double *FB_RESTRICT j, int64_t n, int64_t width,
                                             int64_t counted, double *FB_RESTRICT sums, int64_t step)
{
    double *FB_RESTRICT one = sums + step, *FB_RESTRICT two = sums + 2 * step;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8, y += 8 * stride, j += 8) {
        const double *FB_RESTRICT a = y + 4 * stride;
        const double j0 = j[0], j1 = j[1], j2 = j[2], j3 = j[3], j4 = j[4], j5 = j[5], j6 = j[6], j7 = j[7];
        if (!counted)
            for (int64_t u = 0; u < width; u++) {
                const double s = sums[u] + y[u] + y[stride + u] + y[2 * stride + u] + y[3 * stride + u];
                sums[u] = s + a[u] + a[stride + u] + a[2 * stride + u] + a[3 * stride + u];
            }
        for (int64_t u = 0; u < width; u++) {
            const double x0 = j0 * y[u], x1 = j1 * y[stride + u];
            const double x2 = j2 * y[2 * stride + u], x3 = j3 * y[3 * stride + u];
            const double x4 = j4 * a[u], x5 = j5 * a[stride + u];
            const double x6 = j6 * a[2 * stride + u], x7 = j7 * a[3 * stride + u];
            one[u] = one[u] + x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7;
            two[u] = two[u] + j0 * x0 + j1 * x1 + j2 * x2 + j3 * x3 + j4 * x4 + j5 * x5 + j6 * x6 + j7 * x7;
        }
    }
    for (; i < n; i++, y += stride, j++) {
        const double first = *j, second = *j * *j;
        for (int64_t u = 0; u < width; u++) {
            sums[u] += counted ? 0.0 : y[u];
            one[u] += first * y[u];
            two[u] += second * y[u];
        }
    }
}

#endif
