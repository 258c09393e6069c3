/* Draws of {0, 1} units above {0, 1} units and nothing else, which is what a sweep is made of: included
 * once for AVX-512 and once for AVX2, with
 *
 *     DRAWS(name)         the name of a function of this instruction set
 *     DRAWS_TARGET        the attribute of its functions
 *     DRAWS_LANES         floats of a vector
 *     DRAWS_V(op)         its intrinsics, `op` with the type of their elements
 *     DRAWS_F, DRAWS_I    its types of floats and of integers
 *     DRAWS_AS_I, DRAWS_AS_F, DRAWS_AND, DRAWS_OR, DRAWS_LOAD, DRAWS_STORE
 *     DRAWS_NEGATIVE(x)   a bit for each lane: whether it is negative
 *     DRAWS_SPLIT         a statement: x as the nearest whole number and a fraction
 *     DRAWS_SCALE(e, w)   e times two to the power of that whole number
 *     DRAWS_APPEND        a statement: the bits of the lanes, moved up, and one more where x is negative
 *     DRAWS_SHARE         a statement: what random words of eight units share
 *     DRAWS_WORDS         a statement: those of 16 rows
 *
 * A unit is on where u (1 + exp(-a)) < 1. Here exp(-a) has a relative error of up to 7.5e-5 (a polynomial
 * of third degree, the best in this sense), and rounding 1.2e-5 more, and so has the left side at most. Where
 * that lies as close to 1 for any of the 256 units, once in a hundred times, nothing is written, and the caller
 * goes the way of all other cases. So the draws are those of that way, whose error is a thousand times smaller.
 *
 * exp(-a) is a power of two, whose exponent is rounded with the bias before the field is added: where a bias
 * is larger than PACKED_SURE_BIAS, or a field times its scale could be infinite, nothing is written either. */

/* How close to 1 is too close. */
#ifndef PACKED_UNSURE
#define PACKED_UNSURE 1e-4f
#define PACKED_SURE_BIAS 64.0f
#define PACKED_SURE_SCALE 1e6f
#endif

__attribute__((always_inline)) DRAWS_TARGET static inline int DRAWS(packed_draws_body)(
    const int32_t *sums, const packed_outputs *o, ptrdiff_t first, ptrdiff_t n_units, ptrdiff_t row,
    ptrdiff_t n_rows, ptrdiff_t n_groups, const int by_rows)
{
    enum { HALVES = 16 / DRAWS_LANES };
    const ptrdiff_t columns = n_units - first < PACKED_PANEL ? n_units - first : PACKED_PANEL;
    const float log2e = -1.44269504f;
    const DRAWS_F scale =
        DRAWS_V(set1_ps)((by_rows ? 1.0f : log2e) * (o->scale * (1.0f / (1 << PACKED_SHIFT))));
    const DRAWS_F one = DRAWS_V(set1_ps)(1.0f);
    DRAWS_F nearest = one;
    DRAWS_I on[2][HALVES];
    uint16_t masks[2][PACKED_PANEL];
    if ((by_rows && n_rows - row < 32) || !(fabsf(o->scale) <= PACKED_SURE_SCALE))
        return 0;
    for (ptrdiff_t c = 0; c < columns && !by_rows && o->bias != NULL; c++)
        if (!(fabsf(o->bias[first + c]) <= PACKED_SURE_BIAS))
            return 0;
    DRAWS_SHARE(o->address, (uint32_t)first / 4);
    for (int s = 0; s < 2; s++) {
        const ptrdiff_t r = row + 16 * s, valid = n_rows - r;
        const uint32_t rows = valid >= 16 ? 0xffffu : valid <= 0 ? 0u : (1u << valid) - 1;
        uint32_t words[2 * 64] __attribute__((aligned(64)));
        for (int h = 0; h < HALVES; h++)
            on[s][h] = DRAWS_V(set1_epi32)(0);
        for (ptrdiff_t c = 0; c < PACKED_PANEL; c++)
            masks[s][c] = 0;
        if (rows == 0)
            continue;
        DRAWS_WORDS(o->address, (uint32_t)r, (uint32_t)first / 4, words, columns);
        for (ptrdiff_t c = columns - 1; c >= 0; c--) { /* the last column's bit is moved farthest */
            const float *own = by_rows ? o->row_bias + (first + c) * o->row_step + r : NULL;
            const float same = by_rows || o->bias == NULL ? 0.0f : log2e * o->bias[first + c];
            uint32_t hits = 0;
            for (int h = 0; h < HALVES; h++) {
                const int at = DRAWS_LANES * h;
                DRAWS_F whole, f;
                DRAWS_F x = DRAWS_V(cvtepi32_ps)(
                    DRAWS_LOAD(sums + (s * PACKED_PANEL + c) * 16 + at));
                if (by_rows) { /* with what is no number as with -87: off */
                    x = DRAWS_V(add_ps)(DRAWS_V(loadu_ps)(own + at), DRAWS_V(mul_ps)(scale, x));
                    x = DRAWS_V(mul_ps)(x, DRAWS_V(set1_ps)(log2e));
                    x = DRAWS_V(max_ps)(DRAWS_V(min_ps)(x, DRAWS_V(set1_ps)(126.0f)),
                                        DRAWS_V(set1_ps)(-126.0f));
                } else
                    x = DRAWS_V(fmadd_ps)(scale, x, DRAWS_V(set1_ps)(same));
                DRAWS_SPLIT(x, whole, f);
                DRAWS_F e = DRAWS_V(fmadd_ps)(DRAWS_V(set1_ps)(0.05517167f), f,
                                              DRAWS_V(set1_ps)(0.24261113f));
                e = DRAWS_V(fmadd_ps)(e, f, DRAWS_V(set1_ps)(0.69326097f));
                e = DRAWS_V(fmadd_ps)(e, f, DRAWS_V(set1_ps)(0.99992806f));
                e = DRAWS_SCALE(e, whole);
                const DRAWS_F u = DRAWS_V(fmadd_ps)(
                    DRAWS_V(cvtepi32_ps)(DRAWS_V(srli_epi32)(DRAWS_LOAD(words + 16 * c + at), 9)),
                    DRAWS_V(set1_ps)(0x1p-23f), DRAWS_V(set1_ps)(0x1p-24f));
                const DRAWS_F d = DRAWS_V(sub_ps)(DRAWS_V(fmadd_ps)(u, e, u), one);
                nearest = DRAWS_V(min_ps)(
                    nearest, DRAWS_AS_F(DRAWS_AND(DRAWS_AS_I(d),
                                                  DRAWS_V(set1_epi32)(0x7fffffff))));
                hits |= (uint32_t)DRAWS_NEGATIVE(d) << at;
                DRAWS_APPEND(on[s][h], d);
            }
            masks[s][c] = (uint16_t)(hits & rows);
        }
        if (rows != 0xffffu) {
            int32_t lanes[16];
            for (int l = 0; l < 16; l++)
                lanes[l] = -(int32_t)(rows >> l & 1);
            for (int h = 0; h < HALVES; h++)
                on[s][h] = DRAWS_AND(on[s][h], DRAWS_LOAD(lanes + DRAWS_LANES * h));
        }
    }
    if (DRAWS_NEGATIVE(DRAWS_V(sub_ps)(nearest, DRAWS_V(set1_ps)(PACKED_UNSURE))))
        return 0;
    const int shift = (int)(first % 32);
    for (int s = 0; s < 2 && o->bits != NULL; s++)
        for (int h = 0; h < HALVES; h++) {
            uint32_t *to = o->bits + ((row / 16 + s) * packed_words(n_units) + first / 32) * 16 +
                           DRAWS_LANES * h;
            DRAWS_I x = DRAWS_V(sll_epi32)(on[s][h], _mm_cvtsi32_si128(shift));
            if (shift != 0)
                x = DRAWS_OR(x, DRAWS_LOAD(to));
            DRAWS_STORE(to, x);
        }
    if (o->turned != NULL)
        for (ptrdiff_t c = 0; c < columns; c++) {
            const ptrdiff_t unit = first + c;
            o->turned[(unit / 16 * (n_groups / 2) + row / 32) * 16 + unit % 16] =
                masks[0][c] | (uint32_t)masks[1][c] << 16;
        }
    return 1;
}

/* Whether the draws of 32 rows of a panel are sure, and if so, written. */
DRAWS_TARGET FB_UNUSED static int DRAWS(packed_draws)(const int32_t *sums, const packed_outputs *o,
                                                      ptrdiff_t first, ptrdiff_t n_units,
                                                      ptrdiff_t row, ptrdiff_t n_rows,
                                                      ptrdiff_t n_groups)
{
    if (o->row_bias != NULL)
        return DRAWS(packed_draws_body)(sums, o, first, n_units, row, n_rows, n_groups, 1);
    return DRAWS(packed_draws_body)(sums, o, first, n_units, row, n_rows, n_groups, 0);
}
