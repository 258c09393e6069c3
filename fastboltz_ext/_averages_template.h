/* Draws of binary units as bytes: included once for AVX-512 and once for AVX2 (_averages.h), with
 *
 *     AVERAGES(name)        the name of a function of this instruction set
 *     AVERAGES_TARGET       the attribute of its functions
 *     AVERAGES_LANES        sixteen bytes of a vector
 *     AVERAGES_V(op)        its intrinsics, `op` with the type of their elements
 *     AVERAGES_I, AVERAGES_LOAD, AVERAGES_STORE, AVERAGES_AND
 *     AVERAGES_SPREAD(x)    sixteen bytes in all lanes; AVERAGES_QUARTER(x, g) those of lane g
 *     AVERAGES_BELOW(x, y)  1 in bytes where x < y; AVERAGES_EQUAL(x, y) a bit for each where x = y
 *     AVERAGES_SHARE        a statement: what random words of 32 units share
 *     AVERAGES_WORDS(row, quads)  a statement: those of 16 rows, [word][row], four words for 16 units
 */

/* Units [first, first + 16 quads) of rows [begin, end), up to AVERAGES_ROWS: a multiple of sixteen, or
 * fewer than sixteen if not `full`. Which vector holds a tie cannot be foreseen: no branch depends on it
 * before all are there. */
__attribute__((always_inline)) AVERAGES_TARGET static inline void AVERAGES(averages_block)(
    averages_draw *draw, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t first, const int quads,
    const int full)
{
    enum { HALVES = 4 / AVERAGES_LANES, MOST = AVERAGES_ROWS / 16 * 4 * HALVES * 2 };
    const AVERAGES_I one = AVERAGES_V(set1_epi8)(1);
    const ptrdiff_t stride = full ? draw->stride : 32;
    uint8_t upper[32], some[16 * 32], *const out = draw->out + begin * draw->stride + first;
    uint64_t ties[MOST];
    int held[MOST], n = 0, n_held = 0;
    AVERAGES_I count[2] = {AVERAGES_V(set1_epi8)(0), AVERAGES_V(set1_epi8)(0)};
    if (first + 16 * quads <= draw->n_units)
        for (int i = 0; i < 16 * quads; i++) {
            const uint64_t x = draw->thresholds[first + i] >> 24;
            upper[i] = (uint8_t)(x > 0xff ? 0xff : x);
        }
    else
        for (int i = 0; i < 16 * quads; i++)
            upper[i] = averages_upper(draw, first + i);
    AVERAGES_SHARE;
    for (ptrdiff_t row = 0; row < end - begin; row += 16) {
        uint32_t words[2 * 64] __attribute__((aligned(64)));
        AVERAGES_WORDS(begin + row, quads);
#pragma GCC unroll 2
        for (int q = 0; q < quads; q++) {
            const AVERAGES_I ends =
                AVERAGES_SPREAD(_mm_loadu_si128((const __m128i *)(upper + 16 * q)));
#pragma GCC unroll 2
            for (int h = 0; h < HALVES; h++) {
                const uint32_t *from = words + 64 * q + 4 * AVERAGES_LANES * h;
                const AVERAGES_I x0 = AVERAGES_LOAD(from), x1 = AVERAGES_LOAD(from + 16);
                const AVERAGES_I x2 = AVERAGES_LOAD(from + 32), x3 = AVERAGES_LOAD(from + 48);
                const AVERAGES_I a = AVERAGES_V(unpacklo_epi32)(x0, x1);
                const AVERAGES_I b = AVERAGES_V(unpackhi_epi32)(x0, x1);
                const AVERAGES_I c = AVERAGES_V(unpacklo_epi32)(x2, x3);
                const AVERAGES_I d = AVERAGES_V(unpackhi_epi32)(x2, x3);
                /* lane g of y[s] is row 4 g + s of these */
                const AVERAGES_I y[4] = {
                    AVERAGES_V(unpacklo_epi64)(a, c), AVERAGES_V(unpackhi_epi64)(a, c),
                    AVERAGES_V(unpacklo_epi64)(b, d), AVERAGES_V(unpackhi_epi64)(b, d)};
#pragma GCC unroll 4
                for (int s = 0; s < 4; s++, n++) {
                    const AVERAGES_I on = AVERAGES_BELOW(y[s], ends);
                    uint8_t *to = (full ? out : some) + (row + 4 * AVERAGES_LANES * h + s) * stride + 16 * q;
                    ties[n] = AVERAGES_EQUAL(y[s], ends);
                    held[n_held] = n;
                    n_held += ties[n] != 0;
                    count[q] = AVERAGES_V(add_epi8)(count[q], on);
                    _mm_storeu_si128((__m128i *)to, AVERAGES_QUARTER(on, 0));
                    _mm_storeu_si128((__m128i *)(to + 4 * stride), AVERAGES_QUARTER(on, 1));
#if AVERAGES_LANES == 4
                    _mm_storeu_si128((__m128i *)(to + 8 * stride), AVERAGES_QUARTER(on, 2));
                    _mm_storeu_si128((__m128i *)(to + 12 * stride), AVERAGES_QUARTER(on, 3));
#endif
                }
            }
        }
    }
    uint8_t total[32] = {0};
    for (int q = 0; q < quads && full; q++) {
        __m128i sum = AVERAGES_QUARTER(count[q], 0);
        sum = _mm_add_epi8(sum, AVERAGES_QUARTER(count[q], 1));
#if AVERAGES_LANES == 4
        sum = _mm_add_epi8(sum, AVERAGES_QUARTER(count[q], 2));
        sum = _mm_add_epi8(sum, AVERAGES_QUARTER(count[q], 3));
#endif
        _mm_storeu_si128((__m128i *)(total + 16 * q), sum);
    }
    for (ptrdiff_t row = 0; row < end - begin && !full; row++) {
        memcpy(out + row * draw->stride, some + row * stride, (size_t)(16 * quads));
        for (int i = 0; i < 16 * quads; i++)
            total[i] = (uint8_t)(total[i] + some[row * stride + i]);
    }
    if (draw->counts != NULL && first + 16 * quads <= draw->n_units)
        for (int i = 0; i < 16 * quads; i++)
            draw->counts[first + i] += total[i];
    else if (draw->counts != NULL)
        for (ptrdiff_t u = first; u < draw->n_units; u++)
            draw->counts[u] += total[u - first];
    for (int t = 0; t < n_held; t++) { /* vectors are [row / 16][quad][half][s] */
        const int k = held[t], block = k / (4 * HALVES);
        for (uint64_t left = ties[k]; left != 0; left &= left - 1) {
            const int at = __builtin_ctzll(left);
            averages_tie(draw,
                         begin + 16 * (block / quads) + 4 * AVERAGES_LANES * (k / 4 % HALVES) +
                             4 * (at / 16) + k % 4,
                         first + 16 * (block % quads) + at % 16);
        }
    }
}

AVERAGES_TARGET FB_UNUSED static void AVERAGES(averages_ones)(averages_draw *draw)
{
    ptrdiff_t begin = 0, end;
    for (; begin < draw->n_rows; begin = end) {
        const ptrdiff_t left = draw->n_rows - begin;
        ptrdiff_t first = 0;
        end = begin + (left >= AVERAGES_ROWS ? AVERAGES_ROWS : left >= 16 ? left / 16 * 16 : left);
        for (; first + 16 < draw->n_units; first += 32)
            if (left >= 16)
                AVERAGES(averages_block)(draw, begin, end, first, 2, 1);
            else
                AVERAGES(averages_block)(draw, begin, end, first, 2, 0);
        if (first < draw->n_units && left >= 16)
            AVERAGES(averages_block)(draw, begin, end, first, 1, 1);
        else if (first < draw->n_units)
            AVERAGES(averages_block)(draw, begin, end, first, 1, 0);
    }
}
