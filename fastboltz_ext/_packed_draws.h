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
 *     DRAWS_SPLIT         a statement: of each x, f the fraction and x the nearest whole number, as DRAWS_SCALE takes it
 *     DRAWS_SCALE(e, w)   e times two to the power of that whole number
 *     DRAWS_APPEND        a statement: the bit `place` of the lanes where x is negative
 *     DRAWS_SHARE         a statement: what random words of eight units share
 *     DRAWS_WORDS         a statement: the upper halves of those of 32 rows, a block for each row
 *
 * A unit is on where u (1 + exp(-a)) < 1. Of u the upper 16 bits are looked at, and it is taken for the middle of
 * what they leave open: an error of up to 2^-17. exp(-a) has a relative error of up to 7.5e-5 (a polynomial
 * of third degree, the best in this sense), and rounding 1.2e-5 more, and so has the left side at most, besides
 * 2^-17 (1 + exp(-a)). Where that lies as close to 1 for any of the 256 draws, three times in a hundred, nothing is
 * written, and the caller goes the way of all other cases. So the draws are those of that way, whose error is a
 * thousand times smaller, of words of 32 bits: half of them, most of the time, nobody has to make.
 *
 * exp(-a) is a power of two, whose exponent is rounded with the bias before the field is added: where a bias
 * is larger than PACKED_SURE_BIAS, or a field times its scale could be infinite, nothing is written either. */

/* How close to 1 is too close. */
#ifndef PACKED_UNSURE
#define PACKED_UNSURE 1e-4f
#define PACKED_SURE_BIAS 64.0f
#define PACKED_SURE_SCALE 1e6f
#endif

/* Four vectors at a time, step by step (PACKED_STEP). Vector i: its column, which set of 16 rows, and from which
 * of these rows on. A column that is not there is the last one once more. */
#define DRAWS_COLUMN(i)                                                                           \
    (whole_panel || c0 + (i) * AT_ONCE / 4 < columns ? c0 + (i) * AT_ONCE / 4 : columns - 1)
#define DRAWS_SET(i) ((i) / HALVES % 2)
#define DRAWS_ROW(i) (DRAWS_LANES * ((i) % HALVES))
#define DRAWS_SUMS(i) \
    DRAWS_LOAD(sums + (DRAWS_SET(i) * PACKED_PANEL + DRAWS_COLUMN(i)) * 16 + DRAWS_ROW(i))
#define DRAWS_BLOCK(i) DRAWS_LOAD(words[DRAWS_SET(i)] + DRAWS_COLUMN(i) / 2 * 16 + DRAWS_ROW(i))

__attribute__((always_inline)) DRAWS_TARGET static inline int DRAWS(packed_draws_body)(
    const int32_t *sums, const packed_outputs *o, ptrdiff_t first, ptrdiff_t n_units, ptrdiff_t row,
    ptrdiff_t n_rows, ptrdiff_t n_groups, const int by_rows, const int whole_panel)
{
    enum { HALVES = 16 / DRAWS_LANES, AT_ONCE = 2 / HALVES }; /* vectors a column and set, columns at a time */
    static const int32_t bits[PACKED_PANEL] = {1, 2, 4, 8, 16, 32, 64, 128};
    const int32_t *place = bits;
    const int n = 4;
    const ptrdiff_t columns = whole_panel ? PACKED_PANEL : n_units - first, valid = n_rows - row;
    const float log2e = -1.44269504f;
    const DRAWS_F scale =
        DRAWS_V(set1_ps)((by_rows ? 1.0f : log2e) * (o->scale * (1.0f / (1 << PACKED_SHIFT))));
    const DRAWS_F one = DRAWS_V(set1_ps)(1.0f);
    DRAWS_F nearest = one;
    DRAWS_I on[2][HALVES];
    volatile uint32_t hits[PACKED_PANEL]; /* one by one: put together as vectors they take longer */
    uint32_t words[2][64] __attribute__((aligned(64)));
    float same[PACKED_PANEL];
    const uint32_t rows = valid >= 32 ? ~0u : valid <= 0 ? 0u : (1u << valid) - 1;
    if ((by_rows && valid < 32) || !(fabsf(o->scale) <= PACKED_SURE_SCALE))
        return 0;
    if (!by_rows) {
        const __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)columns),
                                                 _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        const __m256 bias =
            o->bias != NULL ? _mm256_maskload_ps(o->bias + first, there) : _mm256_setzero_ps();
        const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), bias);
        if (_mm256_movemask_ps(_mm256_cmp_ps(size, _mm256_set1_ps(PACKED_SURE_BIAS), _CMP_NLE_UQ)))
            return 0;
        _mm256_storeu_ps(same, _mm256_mul_ps(bias, _mm256_set1_ps(log2e)));
    }
    DRAWS_SHARE(o->address, (uint32_t)first / 4); /* two blocks for eight units */
    DRAWS_WORDS(o->address, (uint32_t)row, (uint32_t)first / 4, words[0]);
    for (int s = 0; s < 2; s++)
        for (int h = 0; h < HALVES; h++)
            on[s][h] = DRAWS_V(set1_epi32)(0);
#ifndef FB_EMULATED
    __asm__("" : "+r"(place)); /* from memory: as constants they would come from registers of integers */
#endif
#pragma GCC unroll 4
    for (ptrdiff_t c0 = 0; c0 < columns; c0 += AT_ONCE) {
        DRAWS_F x[4], f[4], e[4], u[4];
        DRAWS_I half[4];
        uint32_t hit[AT_ONCE] = {0};
        PACKED_STEP(x, DRAWS_V(cvtepi32_ps)(DRAWS_SUMS(i)))
        if (by_rows) { /* with what is no number as with -87: off */
            PACKED_EACH
            {
                const float *own = o->row_bias + (first + DRAWS_COLUMN(i)) * o->row_step + row +
                                   16 * DRAWS_SET(i) + DRAWS_ROW(i);
                x[i] = DRAWS_V(add_ps)(DRAWS_V(loadu_ps)(own), DRAWS_V(mul_ps)(scale, x[i]));
                x[i] = DRAWS_V(mul_ps)(x[i], DRAWS_V(set1_ps)(log2e));
                x[i] = DRAWS_V(max_ps)(DRAWS_V(min_ps)(x[i], DRAWS_V(set1_ps)(126.0f)),
                                       DRAWS_V(set1_ps)(-126.0f));
            }
        } else
            PACKED_STEP(x, DRAWS_V(fmadd_ps)(scale, x[i], DRAWS_V(set1_ps)(same[DRAWS_COLUMN(i)])))
        DRAWS_SPLIT(x, f)
        PACKED_STEP(half, DRAWS_COLUMN(i) % 2
                              ? DRAWS_V(srli_epi32)(DRAWS_BLOCK(i), 16)
                              : DRAWS_AND(DRAWS_BLOCK(i), DRAWS_V(set1_epi32)(0xffff)))
        PACKED_STEP(e, DRAWS_V(fmadd_ps)(DRAWS_V(set1_ps)(0.05517167f), f[i],
                                         DRAWS_V(set1_ps)(0.24261113f)))
        PACKED_STEP(u, DRAWS_V(cvtepi32_ps)(half[i]))
        PACKED_STEP(e, DRAWS_V(fmadd_ps)(e[i], f[i], DRAWS_V(set1_ps)(0.69326097f)))
        PACKED_STEP(u, DRAWS_V(fmadd_ps)(u[i], DRAWS_V(set1_ps)(0x1p-16f), DRAWS_V(set1_ps)(0x1p-17f)))
        PACKED_STEP(e, DRAWS_V(fmadd_ps)(e[i], f[i], DRAWS_V(set1_ps)(0.99992806f)))
        PACKED_STEP(e, DRAWS_SCALE(e[i], x[i]))
        PACKED_STEP(u, DRAWS_V(fmadd_ps)(u[i], e[i], u[i]))
        PACKED_STEP(x, DRAWS_V(sub_ps)(u[i], one))
        PACKED_EACH hit[i * AT_ONCE / 4] |= (uint32_t)DRAWS_NEGATIVE(x[i])
                                            << (16 * DRAWS_SET(i) + DRAWS_ROW(i));
        PACKED_EACH DRAWS_APPEND(on[DRAWS_SET(i)][i % HALVES], place[DRAWS_COLUMN(i)], x[i]);
        for (int k = 0; k < AT_ONCE; k++)
            hits[DRAWS_COLUMN(4 / AT_ONCE * k)] = hit[k];
        PACKED_STEP(x, DRAWS_AS_F(DRAWS_AND(DRAWS_AS_I(x[i]), DRAWS_V(set1_epi32)(0x7fffffff))))
        /* an infinite e leaves nothing open, and its difference, no number, is left out */
        PACKED_STEP(x, DRAWS_V(fmadd_ps)(e[i], DRAWS_V(set1_ps)(-0x1p-17f), x[i]))
        PACKED_EACH nearest = DRAWS_V(min_ps)(x[i], nearest);
    }
    if (rows != ~0u) {
        int32_t lanes[32];
        for (int l = 0; l < 32; l++)
            lanes[l] = -(int32_t)(rows >> l & 1);
        for (int s = 0; s < 2; s++)
            for (int h = 0; h < HALVES; h++)
                on[s][h] = DRAWS_AND(on[s][h], DRAWS_LOAD(lanes + 16 * s + DRAWS_LANES * h));
    }
    if (DRAWS_NEGATIVE(DRAWS_V(sub_ps)(nearest, DRAWS_V(set1_ps)(PACKED_UNSURE + 0x1p-17f))))
        return 0;
    const int shift = (int)(first % 32), by_bytes = packed_is_shared(o, first / 32);
    for (int s = 0; s < 2 && o->bits != NULL; s++) {
        uint32_t *to = o->bits + ((row / 16 + s) * packed_words(n_units) + first / 32) * 16, own[16];
        for (int h = 0; h < HALVES; h++) {
            DRAWS_I x = DRAWS_V(sll_epi32)(on[s][h], _mm_cvtsi32_si128(by_bytes ? 0 : shift));
            if (shift != 0 && !by_bytes)
                x = DRAWS_OR(x, DRAWS_LOAD(to + DRAWS_LANES * h));
            DRAWS_STORE((by_bytes ? own : to) + DRAWS_LANES * h, x);
        }
        if (by_bytes)
            packed_store_bytes(to, own, first, n_units - first <= PACKED_PANEL);
    }
    if (o->turned != NULL)
        for (ptrdiff_t c = 0; c < columns; c++) {
            const ptrdiff_t unit = first + c;
            o->turned[(unit / 16 * (n_groups / 2) + row / 32) * 16 + unit % 16] =
                hits[c] & rows;
        }
    return 1;
}

#undef DRAWS_COLUMN
#undef DRAWS_SET
#undef DRAWS_ROW
#undef DRAWS_SUMS
#undef DRAWS_BLOCK

/* Whether the draws of 32 rows of a panel are sure, and if so, written. */
DRAWS_TARGET FB_UNUSED static int DRAWS(packed_draws)(const int32_t *sums, const packed_outputs *o,
                                                      ptrdiff_t first, ptrdiff_t n_units,
                                                      ptrdiff_t row, ptrdiff_t n_rows,
                                                      ptrdiff_t n_groups)
{
    const int by_rows = o->row_bias != NULL;
    if (n_units - first < PACKED_PANEL)
        return DRAWS(packed_draws_body)(sums, o, first, n_units, row, n_rows, n_groups, by_rows, 0);
    if (by_rows)
        return DRAWS(packed_draws_body)(sums, o, first, n_units, row, n_rows, n_groups, 1, 1);
    return DRAWS(packed_draws_body)(sums, o, first, n_units, row, n_rows, n_groups, 0, 1);
}
