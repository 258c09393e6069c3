/* Words of Philox for many rows of the same units at a time, with AVX-512 or AVX2; what the rows share
 * is worked out once. */
#ifndef FASTBOLTZ_PHILOX_LANES_H
#define FASTBOLTZ_PHILOX_LANES_H

#include "_philox.h"
#include "_x86.h"

#if FB_X86

/* The upper halves of 64-bit lanes in the lower ones. Half the time of a shift, with Zen 5. */
#define PHILOX_UPPER(x) _mm512_castps_si512(_mm512_movehdup_ps(_mm512_castsi512_ps(x)))

/* One round of eight counters in 64-bit lanes. The upper halves of x1 and x3 hold what is left of a
 * product: multiplication does not look at them, and neither does the end. */
#define PHILOX_LANES_ROUND(x0, x1, x2, x3)                                                       \
    do {                                                                                         \
        const __m512i p0_ = _mm512_mul_epu32(x0, m0), p1_ = _mm512_mul_epu32(x2, m1);            \
        x0 = _mm512_ternarylogic_epi32(PHILOX_UPPER(p1_), x1, key0, 0x96);                       \
        x2 = _mm512_ternarylogic_epi32(PHILOX_UPPER(p0_), x3, key1, 0x96);                       \
        x1 = p1_;                                                                                \
        x3 = p0_;                                                                                \
    } while (0)

/* Constants of the first rounds of one counter's four words, of which only the row differs between
 * lanes: what does not depend on the row is one number for all of them. */
typedef struct {
    uint32_t row, x3, hidden, known, last; /* see philox_begin */
} philox_start;

FB_INLINE philox_start philox_begin(philox_address at, uint32_t block)
{
    philox_start c;
    uint32_t k0 = at.k0, k1 = at.k1;
    uint64_t p0 = (uint64_t)PHILOX_M0 * block, p1 = (uint64_t)PHILOX_M1 * at.step;
    /* first round: x0 is row ^ c.row */
    c.row = (uint32_t)(p1 >> 32) ^ k0;
    const uint32_t x1 = (uint32_t)p1, x2 = (uint32_t)(p0 >> 32) ^ at.stream ^ k1;
    /* second: x2 is the product of x0 from above ^ c.x3 */
    k0 += PHILOX_W0;
    k1 += PHILOX_W1;
    c.x3 = (uint32_t)p0 ^ k1;
    p1 = (uint64_t)PHILOX_M1 * x2;
    const uint32_t x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
    /* third: x0 is the product of x2 from above ^ c.hidden, x2 is x3 ^ c.known, x3 is c.last */
    k0 += PHILOX_W0;
    k1 += PHILOX_W1;
    p0 = (uint64_t)PHILOX_M0 * x0;
    c.hidden = (uint32_t)p1 ^ k0;
    c.known = (uint32_t)(p0 >> 32) ^ k1;
    c.last = (uint32_t)p0;
    return c;
}

/* Two blocks of 16 rows, or (`tall`) one of 32 rows, or (`n` is 1) one of 16: [block or half of the rows][word],
 * rows in the lanes. Even and odd rows are chains of eight counters; several of them, since every round waits for
 * the one before. */
__attribute__((always_inline)) FB_AVX512 static inline void philox_chains(
    philox_address at, uint32_t row, uint32_t block, const int n, const int tall, __m512i to[2][4])
{
    const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    const __m512i m0 = _mm512_set1_epi32((int)PHILOX_M0), m1 = _mm512_set1_epi32((int)PHILOX_M1);
    __m512i x0[4], x1[4], x2[4], x3[4];
#pragma GCC unroll 4
    for (int i = 0; i < 2 * n; i++) {
        const philox_start c = philox_begin(at, block + (uint32_t)(tall ? 0 : i / 2));
        const uint32_t first = at.row0 + row + (uint32_t)(i % 2 + (tall ? i / 2 * 16 : 0));
        const __m512i r = _mm512_add_epi32(_mm512_set1_epi32((int)first), even);
        const __m512i p0 = _mm512_mul_epu32(_mm512_xor_si512(r, _mm512_set1_epi32((int)c.row)), m0);
        const __m512i y = _mm512_xor_si512(PHILOX_UPPER(p0), _mm512_set1_epi32((int)c.x3));
        const __m512i p1 = _mm512_mul_epu32(y, m1);
        x0[i] = _mm512_xor_si512(PHILOX_UPPER(p1), _mm512_set1_epi32((int)c.hidden));
        x1[i] = p1;
        x2[i] = _mm512_xor_si512(p0, _mm512_set1_epi32((int)c.known));
        x3[i] = _mm512_set1_epi32((int)c.last);
    }
    uint32_t k0 = at.k0 + 3 * PHILOX_W0, k1 = at.k1 + 3 * PHILOX_W1;
#pragma GCC unroll 7
    for (int round = 3; round < 10; round++) {
        const __m512i key0 = _mm512_set1_epi32((int)k0), key1 = _mm512_set1_epi32((int)k1);
#pragma GCC unroll 4
        for (int i = 0; i < 2 * n; i++)
            PHILOX_LANES_ROUND(x0[i], x1[i], x2[i], x3[i]);
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
#pragma GCC unroll 2
    for (int q = 0; q < n; q++) {
        const int e = 2 * q, o = e + 1;
        to[q][0] = _mm512_mask_blend_epi32(0xAAAA, x0[e], _mm512_slli_epi64(x0[o], 32));
        to[q][1] = _mm512_mask_blend_epi32(0xAAAA, x1[e], _mm512_slli_epi64(x1[o], 32));
        to[q][2] = _mm512_mask_blend_epi32(0xAAAA, x2[e], _mm512_slli_epi64(x2[o], 32));
        to[q][3] = _mm512_mask_blend_epi32(0xAAAA, x3[e], _mm512_slli_epi64(x3[o], 32));
    }
}

/* The blocks as they are, [block or half of the rows][word][row]. */
__attribute__((always_inline)) FB_AVX512 static inline void philox_chains_as_they_are(
    philox_address at, uint32_t row, uint32_t block, const int n, const int tall, uint32_t *words)
{
    __m512i x[2][4];
    philox_chains(at, row, block, n, tall, x);
#pragma GCC unroll 2
    for (int q = 0; q < n; q++)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            _mm512_store_si512(words + 64 * q + 16 * i, x[q][i]);
}

/* The words of eight units and 16 rows, [unit][row]. */
__attribute__((always_inline)) FB_AVX512 static inline void philox_eight(philox_address at, uint32_t row,
                                                                        uint32_t eight,
                                                                        uint32_t *words)
{
    const __m512i below = _mm512_set1_epi32(0xffff), above = _mm512_set1_epi32((int)0xffff0000u);
    __m512i x[2][4];
    philox_chains(at, row, 2 * eight, 2, 0, x);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        _mm512_store_si512(words + 32 * i, _mm512_ternarylogic_epi32(_mm512_slli_epi32(x[0][i], 16),
                                                                     x[1][i], below, 0xF8));
        _mm512_store_si512(words + 32 * i + 16,
                           _mm512_ternarylogic_epi32(_mm512_srli_epi32(x[1][i], 16), x[0][i], above,
                                                     0xF8));
    }
}

/* -- AVX2 -------------------------------------------------------------------------------------- */

#define PHILOX_INLINE_AVX2 __attribute__((always_inline)) FB_AVX2 static inline
/* Two chains side by side. */
#define PHILOX_EACH _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++)

/* What all rows share of two blocks, in every lane: as operands in memory
 * these cost nothing, as numbers to be spread they took a third of the time. */
typedef struct {
    __m256i keys[7][2];
    __m256i row[2], x3[2], hidden[2], known[2], last[2];
} philox_shared;

PHILOX_INLINE_AVX2 void philox_share_avx2(philox_shared *p, philox_address at,
                                          uint32_t block)
{
    for (uint32_t n = 0; n < 7; n++) {
        p->keys[n][0] = _mm256_set1_epi32((int)(at.k0 + (n + 3) * PHILOX_W0));
        p->keys[n][1] = _mm256_set1_epi32((int)(at.k1 + (n + 3) * PHILOX_W1));
    }
    for (uint32_t q = 0; q < 2; q++) {
        const philox_start c = philox_begin(at, block + q);
        p->row[q] = _mm256_set1_epi32((int)c.row);
        p->x3[q] = _mm256_set1_epi32((int)c.x3);
        p->hidden[q] = _mm256_set1_epi32((int)c.hidden);
        p->known[q] = _mm256_set1_epi32((int)c.known);
        p->last[q] = _mm256_set1_epi32((int)c.last);
    }
}

/* Block q of the two as it is, for eight rows, `to` 16 rows a word: even and odd rows are chains of four
 * counters. */
PHILOX_INLINE_AVX2 void philox_chains_avx2(const philox_shared *c, int q, uint32_t row,
                                           uint32_t *to)
{
    const __m256i m0 = _mm256_set1_epi32((int)PHILOX_M0), m1 = _mm256_set1_epi32((int)PHILOX_M1);
    const __m256i even = _mm256_setr_epi64x(0, 2, 4, 6);
    __m256i x0[2], x1[2], x2[2], x3[2], p0[2], p1[2];
    PHILOX_EACH
    {
        const __m256i r = _mm256_add_epi32(_mm256_set1_epi32((int)(row + (uint32_t)i)), even);
        p0[i] = _mm256_mul_epu32(_mm256_xor_si256(r, c->row[q]), m0);
        const __m256i y = _mm256_xor_si256(_mm256_srli_epi64(p0[i], 32), c->x3[q]);
        p1[i] = _mm256_mul_epu32(y, m1);
        x0[i] = _mm256_xor_si256(_mm256_srli_epi64(p1[i], 32), c->hidden[q]);
        x1[i] = p1[i];
        x2[i] = _mm256_xor_si256(p0[i], c->known[q]);
        x3[i] = c->last[q];
    }
#pragma GCC unroll 7
    for (int round = 0; round < 7; round++) {
        const __m256i key0 = c->keys[round][0], key1 = c->keys[round][1];
        PHILOX_EACH
        {
            p0[i] = _mm256_mul_epu32(x0[i], m0);
            p1[i] = _mm256_mul_epu32(x2[i], m1);
            x0[i] = _mm256_xor_si256(_mm256_srli_epi64(p1[i], 32), _mm256_xor_si256(x1[i], key0));
            x2[i] = _mm256_xor_si256(_mm256_srli_epi64(p0[i], 32), _mm256_xor_si256(x3[i], key1));
            x1[i] = p1[i];
            x3[i] = p0[i];
        }
    }
    _mm256_store_si256((__m256i *)to,
                       _mm256_blend_epi32(x0[0], _mm256_slli_epi64(x0[1], 32), 0xAA));
    _mm256_store_si256((__m256i *)(to + 16),
                       _mm256_blend_epi32(x1[0], _mm256_slli_epi64(x1[1], 32), 0xAA));
    _mm256_store_si256((__m256i *)(to + 32),
                       _mm256_blend_epi32(x2[0], _mm256_slli_epi64(x2[1], 32), 0xAA));
    _mm256_store_si256((__m256i *)(to + 48),
                       _mm256_blend_epi32(x3[0], _mm256_slli_epi64(x3[1], 32), 0xAA));
}

/* The words of eight units and 16 rows, [unit][row]; `c` is of their blocks. */
PHILOX_INLINE_AVX2 void philox_eight_avx2(const philox_shared *c, uint32_t row, uint32_t *words)
{
    uint32_t x[2][64] __attribute__((aligned(32)));
    for (int q = 0; q < 2; q++)
        for (uint32_t half = 0; half < 16; half += 8)
            philox_chains_avx2(c, q, row + half, x[q] + half);
    for (int i = 0; i < 4; i++)
        for (int half = 0; half < 16; half += 8) {
            const __m256i above = _mm256_load_si256((const __m256i *)(x[0] + 16 * i + half));
            const __m256i below = _mm256_load_si256((const __m256i *)(x[1] + 16 * i + half));
            _mm256_store_si256((__m256i *)(words + 32 * i + half),
                               _mm256_blend_epi16(below, _mm256_slli_epi32(above, 16), 0xAA));
            _mm256_store_si256((__m256i *)(words + 32 * i + 16 + half),
                               _mm256_blend_epi16(_mm256_srli_epi32(below, 16), above, 0xAA));
        }
}

#endif /* FB_X86 */

#endif
