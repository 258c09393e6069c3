/* Philox4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011), addressed by what a number is for:
 *
 *     key      = (seed & 0xffffffff, seed >> 32)
 *     block b  = the four words of the counter (b, row, step, stream), or eight halves of 16 bits
 *     word of a unit: above, half unit & 7 of block 2 (unit >> 3); below, that of the block after it
 *
 * so a random word is a pure function of (seed, stream, step, row, unit). Its upper half decides nearly
 * every draw, and those of eight units are one block (_packed_draws.h).
 */
#ifndef FASTBOLTZ_PHILOX_H
#define FASTBOLTZ_PHILOX_H

#include "_portable.h"

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

/* Counters that one vectorised step handles, hence 4 times as many words. */
#define PHILOX_LANES 16
/* philox_blocks and philox_fill write whole steps: room that a buffer needs beyond the words asked for. */
#define PHILOX_PAD (4 * PHILOX_LANES)

typedef struct {
    uint32_t k0, k1;       /* key: the seed */
    uint32_t step, stream; /* words 2 and 3 of the counter */
    uint32_t row0;         /* global number of the first row */
} philox_address;

FB_INLINE philox_address philox_at(uint64_t seed, uint32_t stream, uint32_t step, uint32_t row0)
{
    philox_address a;
    a.k0 = (uint32_t)seed;
    a.k1 = (uint32_t)(seed >> 32);
    a.step = step;
    a.stream = stream;
    a.row0 = row0;
    return a;
}

/* The words sit in 64-bit lanes: compilers vectorise the product of two 32-bit numbers badly when
 * its halves have to be put into 32-bit lanes again. */
#define PHILOX_ROUND(x0, x1, x2, x3, k0, k1)       \
    do {                                           \
        uint64_t p0_ = (uint64_t)PHILOX_M0 * (x0); \
        uint64_t p1_ = (uint64_t)PHILOX_M1 * (x2); \
        (x0) = (p1_ >> 32) ^ (x1) ^ (k0);          \
        (x2) = (p0_ >> 32) ^ (x3) ^ (k1);          \
        (x1) = p1_ & 0xffffffffu;                  \
        (x3) = p0_ & 0xffffffffu;                  \
    } while (0)

/* Round r with its key; the keys grow by a Weyl sequence. */
#define PHILOX_STEP(r) \
    PHILOX_ROUND(x0, x1, x2, x3, (uint32_t)(k0 + (r##u) * PHILOX_W0), (uint32_t)(k1 + (r##u) * PHILOX_W1))

#define PHILOX_TEN_ROUNDS \
    do {                  \
        PHILOX_STEP(0);   \
        PHILOX_STEP(1);   \
        PHILOX_STEP(2);   \
        PHILOX_STEP(3);   \
        PHILOX_STEP(4);   \
        PHILOX_STEP(5);   \
        PHILOX_STEP(6);   \
        PHILOX_STEP(7);   \
        PHILOX_STEP(8);   \
        PHILOX_STEP(9);   \
    } while (0)

/* The four words of one counter. */
FB_INLINE void philox_one(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1, uint32_t c2,
                          uint32_t c3, uint32_t *out)
{
    uint64_t x0 = c0, x1 = c1, x2 = c2, x3 = c3;
    PHILOX_TEN_ROUNDS;
    out[0] = (uint32_t)x0;
    out[1] = (uint32_t)x1;
    out[2] = (uint32_t)x2;
    out[3] = (uint32_t)x3;
}

/* A table of blocks as they are, from block0 of row a.row0 + row on, in C order. The lanes run over
 * the flattened (row, block) pairs, so that narrow layers fill them as well as wide ones. `words` needs room for
 * PHILOX_PAD words more. */
FB_INLINE void philox_blocks(uint32_t *FB_RESTRICT words, philox_address a, uint32_t row,
                             uint32_t block0, ptrdiff_t blocks, ptrdiff_t rows)
{
    const uint32_t k0 = a.k0, k1 = a.k1, step = a.step, stream = a.stream;
    const ptrdiff_t total = blocks * rows;
    uint32_t r = a.row0 + row;
    ptrdiff_t b = 0;
    for (ptrdiff_t begin = 0; begin < total; begin += PHILOX_LANES) {
        uint32_t lane_block[PHILOX_LANES], lane_row[PHILOX_LANES];
        if (b + PHILOX_LANES <= blocks) {
            for (int l = 0; l < PHILOX_LANES; l++) {
                lane_block[l] = block0 + (uint32_t)b + (uint32_t)l;
                lane_row[l] = r;
            }
            b += PHILOX_LANES;
        } else {
            for (int l = 0; l < PHILOX_LANES; l++) {
                if (b == blocks) {
                    b = 0;
                    r++;
                }
                lane_block[l] = block0 + (uint32_t)b;
                lane_row[l] = r;
                b++;
            }
        }
        uint32_t *w = words + 4 * begin;
        for (int l = 0; l < PHILOX_LANES; l++) {
            uint64_t x0 = lane_block[l], x1 = lane_row[l], x2 = step, x3 = stream;
            PHILOX_TEN_ROUNDS;
            w[4 * l] = (uint32_t)x0;
            w[4 * l + 1] = (uint32_t)x1;
            w[4 * l + 2] = (uint32_t)x2;
            w[4 * l + 3] = (uint32_t)x3;
        }
    }
}

/* The words of two units, from one word of each block of their eight. */
FB_INLINE uint32_t philox_even(uint32_t above, uint32_t below)
{
    return above << 16 | (below & 0xffffu);
}

FB_INLINE uint32_t philox_odd(uint32_t above, uint32_t below)
{
    return (above & 0xffff0000u) | below >> 16;
}

/* The words of 8 * eights units, from the blocks of each eight in their place. */
FB_INLINE void philox_halves(uint32_t *words, ptrdiff_t eights)
{
    for (ptrdiff_t e = 0; e < eights; e++) {
        uint32_t *w = words + 8 * e, above[4], below[4];
        memcpy(above, w, sizeof above);
        memcpy(below, w + 4, sizeof below);
        for (int i = 0; i < 4; i++) {
            w[2 * i] = philox_even(above[i], below[i]);
            w[2 * i + 1] = philox_odd(above[i], below[i]);
        }
    }
}

/* Words of a table of rows x (8 * eights) units whose first unit is 8 * eight0 of row a.row0 + row, in
 * C order. */
FB_INLINE void philox_fill(uint32_t *FB_RESTRICT words, philox_address a, uint32_t row,
                           uint32_t eight0, ptrdiff_t eights, ptrdiff_t rows)
{
    philox_blocks(words, a, row, 2 * eight0, 2 * eights, rows);
    philox_halves(words, eights * rows);
}

/* Uniforms strictly inside (0, 1); both are exact in their type. The conversion of a signed number
 * is one instruction everywhere, that of an unsigned one is not. */
FB_INLINE float philox_uniform_f32(uint32_t word)
{
    return ((float)(int32_t)(word >> 9) + 0.5f) * 0x1p-23f;
}

FB_INLINE double philox_uniform_f64(uint32_t word)
{
    return ((double)(int32_t)(word ^ 0x80000000u) + 2147483648.5) * 0x1p-32;
}

#endif
