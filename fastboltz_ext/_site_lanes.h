/* Sweeps over hyperedges with 64 chains side by side.
 *
 * The states of a unit in a block of up to 64 chains are one 64-bit word, bit l = chain l, 1 = the
 * upper state. The product of the other units of an edge is then a few operations on words: AND for
 * {0, 1}, XNOR for {-1, +1}. Its value is 0, 1 or -1, so that a weight times it is exact and every
 * sum is the one that the loop over single chains makes, in the same order.
 *
 * Where all chains have the same field and a unit has at most SITE_TABLE_TERMS edges, its
 * conditional has at most 16 values. u < p is then a comparison of integers: u is a rising function
 * of the upper bits of the random word (its key), and the level is the number of keys below p.
 *
 * Random words are drawn for eight units of all chains of a block at once, chains in the lanes.
 */
#ifndef FASTBOLTZ_SITE_LANES_H
#define FASTBOLTZ_SITE_LANES_H

#include <math.h>
#include <stdlib.h>

#include "_x86.h"

#define SITE_LANES 64
#define SITE_GROUP 16
#define SITE_TABLE_TERMS 4
#define SITE_TABLE 16
/* Updates (chains times sweeps) of a unit from which its table pays. */
#define SITE_TABLE_PAYS 64
/* Keys of a whole sweep are kept, if the order of sites asks for it, up to this many units. */
#define SITE_KEPT_UNITS 16384

enum { SITE_SCALAR = 0, SITE_PORTABLE = 1, SITE_AVX512 = 2 };

typedef struct {
    ptrdiff_t n_units;
    const int64_t *edge_offsets, *edge_units, *unit_offsets;
    int spin, kernel;
    int kept;          /* the keys of a whole sweep are drawn at its start */
    const void *field; /* [unit], the same for all chains; NULL: one for each */
    int32_t *others;   /* [term] the only other unit of the term's edge, or -1 - edge */
    void *weights;     /* [term] */
    int32_t *table;    /* [unit] number of its table, or -1 */
    void *levels;      /* [table][16]; term t of a unit is bit t of the index */
    char *scratch;     /* for each thread: states, clamped, fields, keys */
    ptrdiff_t scratch_stride, fixed_at, field_at, keys_at;
    void *memory;
} site_plan;

/* The part of a random word that its uniform depends on, and the uniform. */
FB_INLINE uint32_t site_key_f32(uint32_t word) { return word >> 9; }
FB_INLINE uint32_t site_key_f64(uint32_t word) { return word; }
FB_INLINE float site_uniform_f32(uint32_t key) { return philox_uniform_f32(key << 9); }
FB_INLINE double site_uniform_f64(uint32_t key) { return philox_uniform_f64(key); }

/* How many keys have a uniform below p; none if p is not a number. Every step is exact. */
FB_INLINE int32_t site_level_f32(float p)
{
    double x = (double)p * 0x1p23 - 0.5;
    return x > 0.0 ? (int32_t)ceil(x) : 0;
}

FB_INLINE int64_t site_level_f64(double p)
{
    double x = p * 0x1p32 - 0.5;
    return x > 0.0 ? (int64_t)ceil(x) : 0;
}

/* Product of term q of unit i without unit i: bit l = chain l, 1 = the upper state. */
FB_INLINE uint64_t site_product(const site_plan *plan, const uint64_t *states, int64_t q,
                                ptrdiff_t i)
{
    int32_t other = plan->others[q];
    if (other >= 0)
        return states[other];
    const int64_t e = -1 - (int64_t)other;
    uint64_t product = ~(uint64_t)0;
    for (int64_t m = plan->edge_offsets[e]; m < plan->edge_offsets[e + 1]; m++) {
        const int64_t k = plan->edge_units[m];
        if (k != i)
            product = plan->spin ? ~(product ^ states[k]) : product & states[k];
    }
    return product;
}

/* Bit c of word r to bit r of word c. */
FB_INLINE void site_transpose(uint64_t *words)
{
    uint64_t mask = 0x00000000ffffffffu;
    for (int width = 32; width > 0; width /= 2, mask ^= mask << width)
        for (int base = 0; base < 64; base += 2 * width)
            for (int r = base; r < base + width; r++) {
                uint64_t swapped = ((words[r] >> width) ^ words[r + width]) & mask;
                words[r] ^= swapped << width;
                words[r + width] ^= swapped;
            }
}

/* The same for all units of a block, 64 by 64. */
FB_INLINE void site_transpose_all(uint64_t *words, ptrdiff_t n_units)
{
    for (ptrdiff_t begin = 0; begin < n_units; begin += 64)
        site_transpose(words + begin);
}

/* States of units in words: from rows of bytes, 1 where the byte is not 0. */
FB_CLONES FB_UNUSED static void site_pack_bytes(const uint8_t *rows, ptrdiff_t n_rows,
                                                ptrdiff_t n_units, uint64_t *words)
{
    memset(words, 0, (size_t)((n_units + 63) / 64 * 64) * sizeof *words);
    for (ptrdiff_t r = 0; r < n_rows; r++)
        for (ptrdiff_t begin = 0; begin < n_units; begin += 64) {
            const uint8_t *row = rows + r * n_units + begin;
            const int width = n_units - begin < 64 ? (int)(n_units - begin) : 64;
            uint64_t bits = 0;
            if (width == 64)
                for (int b = 0; b < 64; b++)
                    bits |= (uint64_t)(row[b] != 0) << b;
            else
                for (int b = 0; b < width; b++)
                    bits |= (uint64_t)(row[b] != 0) << b;
            words[begin + r] = bits;
        }
    site_transpose_all(words, n_units);
}

/* Whether visiting sites in this order would draw most words more than once. */
FB_UNUSED static int site_scattered(const int64_t *order, ptrdiff_t n_order, ptrdiff_t n_units)
{
    ptrdiff_t drawn = 0;
    int64_t last = -1;
    if (order == NULL || n_units > SITE_KEPT_UNITS)
        return 0;
    for (ptrdiff_t k = 0; k < n_order; k++)
        if (order[k] >> 3 != last) {
            last = order[k] >> 3;
            drawn++;
        }
    return 8 * drawn > n_units + n_units / 4 + 8;
}

FB_UNUSED static void site_plan_free(site_plan *plan)
{
    free(plan->memory);
    plan->memory = NULL;
}

#endif
