/* The update of 16 visible units' weights, with vectors: included once for AVX-512 and once for AVX2, with
 * TABLES and TABLES_TARGET of _packed_by_tables.h, and
 *
 *     TABLES_LANES        floats of a vector
 *     TABLES_V(op)        its intrinsics, `op` with the type of their elements
 *     TABLES_F, TABLES_I  its types of floats and of integers
 *     TABLES_AS_I, TABLES_AND, TABLES_LOAD, TABLES_STORE
 *     TABLES_MASTER(at, x)  adds floats to doubles; what these are as floats
 *
 *     TABLES_SIGNED(x, by)  x with the sign of `by`, 0 where that is 0
 *
 * The same numbers as those of packed_update_block, for units that are all there; `extra` where it is not
 * `plain`. Compilers make scalar code of its arrays, up to eight times as slow. */
__attribute__((always_inline)) TABLES_TARGET static inline void TABLES(packed_update_full)(
    packed_pair *q, const packed_step *step, ptrdiff_t i, ptrdiff_t first, ptrdiff_t columns,
    const float *dense, int32_t d0[PACKED_PANEL][16], int32_t d1[PACKED_PANEL][16],
    float row_part[16], float column_part[PACKED_PANEL][16], uint32_t largest[16], const int real,
    const int centred, const int extra)
{
    const TABLES_F scale0 = TABLES_V(set1_ps)(step->scale0), scale1 = TABLES_V(set1_ps)(step->scale1);
    const TABLES_F whole = TABLES_V(set1_ps)(step->scale0 * (float)(1 << step->mean_shift));
    const TABLES_F rate = TABLES_V(set1_ps)(step->rate);
    const TABLES_I size = TABLES_V(set1_epi32)(0x7fffffff);
    for (int l = 0; l < 16; l += TABLES_LANES) {
        TABLES_F mu = TABLES_V(setzero_ps)(), dv = mu, rows = mu;
        TABLES_I most = TABLES_LOAD(largest + l);
        if (centred) {
            mu = TABLES_V(loadu_ps)(q->mean_visible + i + l);
            dv = TABLES_V(loadu_ps)(q->delta_visible + i + l);
        }
        for (ptrdiff_t c = 0; c < columns; c++) {
            const ptrdiff_t j = first + c;
            const int spin = extra && q->spin_visible; /* x is the bit (x + 1) / 2 */
            TABLES_I negative = TABLES_LOAD(d1[c] + l), positive = negative;
            float *w = q->w + j * q->n_visible + i + l;
            TABLES_F g;
            if (!real)
                positive = TABLES_LOAD(d0[c] + l);
            if (spin) {
                positive = TABLES_V(sub_epi32)(TABLES_V(add_epi32)(positive, positive),
                                               TABLES_V(set1_epi32)((int32_t)q->sum_p0[j]));
                negative = TABLES_V(sub_epi32)(TABLES_V(add_epi32)(negative, negative),
                                               TABLES_V(set1_epi32)((int32_t)q->sum_p1[j]));
            }
            if (real)
                g = TABLES_V(sub_ps)(
                    TABLES_V(mul_ps)(whole, TABLES_V(loadu_ps)(dense + c * q->n_visible + i + l)),
                    TABLES_V(mul_ps)(scale1, TABLES_V(cvtepi32_ps)(negative)));
            else if (step->same)
                g = TABLES_V(mul_ps)(
                    scale0, TABLES_V(cvtepi32_ps)(TABLES_V(sub_epi32)(positive, negative)));
            else
                g = TABLES_V(sub_ps)(TABLES_V(mul_ps)(scale0, TABLES_V(cvtepi32_ps)(positive)),
                                     TABLES_V(mul_ps)(scale1, TABLES_V(cvtepi32_ps)(negative)));
            if (centred) {
                const TABLES_F lam = TABLES_V(set1_ps)(q->mean_hidden[j]);
                const TABLES_F dh = TABLES_V(set1_ps)(q->delta_hidden[j]);
                float *part = column_part[c] + l;
                g = TABLES_V(sub_ps)(TABLES_V(sub_ps)(g, TABLES_V(mul_ps)(mu, dh)),
                                     TABLES_V(mul_ps)(dv, lam));
                rows = TABLES_V(add_ps)(rows, TABLES_V(mul_ps)(g, lam));
                TABLES_V(storeu_ps)(
                    part, TABLES_V(add_ps)(TABLES_V(loadu_ps)(part), TABLES_V(mul_ps)(g, mu)));
            }
            if (l == 0)
                fb_fetch_to_write(w + PACKED_AHEAD); /* other cores have read these weights */
            const TABLES_F old = TABLES_V(loadu_ps)(w);
            if (extra && (q->l1 != 0 || q->l2 != 0)) {
                g = TABLES_V(sub_ps)(g, TABLES_V(mul_ps)(TABLES_V(set1_ps)(q->l2), old));
                g = TABLES_V(sub_ps)(g, TABLES_SIGNED(TABLES_V(set1_ps)(q->l1), old));
            }
            g = TABLES_V(mul_ps)(rate, g);
            if (extra && q->vel_w != NULL) {
                float *v = q->vel_w + j * q->n_visible + i + l;
                g = TABLES_V(add_ps)(
                    TABLES_V(mul_ps)(TABLES_V(set1_ps)(q->momentum), TABLES_V(loadu_ps)(v)), g);
                TABLES_V(storeu_ps)(v, g);
            }
            if (extra && q->master_w != NULL)
                g = TABLES_MASTER(q->master_w + j * q->n_visible + i + l, g);
            else
                g = TABLES_V(add_ps)(old, g);
            most = TABLES_V(max_epi32)(most, TABLES_AND(TABLES_AS_I(g), size));
            TABLES_V(storeu_ps)(w, g);
        }
        TABLES_V(storeu_ps)(row_part + l, rows);
        TABLES_STORE(largest + l, most);
    }
}

/* Of packed_dense_panel, `wide` vectors of visible units from i. */
__attribute__((always_inline)) TABLES_TARGET static inline void TABLES(packed_dense_strip)(
    const packed_pair *q, ptrdiff_t n_rows, ptrdiff_t first, ptrdiff_t i, float *out, const int wide)
{
    const ptrdiff_t V = q->n_visible, stride = packed_padded(q->n_hidden);
    const float *p = q->dense + first, *at = q->x0 + i;
    TABLES_F sums[PACKED_PANEL][3];
#pragma GCC unroll 8
    for (int c = 0; c < PACKED_PANEL; c++)
#pragma GCC unroll 3
        for (int k = 0; k < wide; k++)
            sums[c][k] = TABLES_V(setzero_ps)();
    for (ptrdiff_t r = 0; r < n_rows; r++, p += stride, at += V) {
        TABLES_F x[3];
#pragma GCC unroll 3
        for (int k = 0; k < wide; k++)
            x[k] = TABLES_V(loadu_ps)(at + k * TABLES_LANES);
#pragma GCC unroll 8
        for (int c = 0; c < PACKED_PANEL; c++) {
            const TABLES_F mean = TABLES_V(set1_ps)(p[c]);
#pragma GCC unroll 3
            for (int k = 0; k < wide; k++)
                sums[c][k] = TABLES_V(fmadd_ps)(mean, x[k], sums[c][k]);
        }
    }
#pragma GCC unroll 8
    for (int c = 0; c < PACKED_PANEL; c++)
#pragma GCC unroll 3
        for (int k = 0; k < wide; k++)
            TABLES_V(storeu_ps)(out + c * V + i + k * TABLES_LANES, sums[c][k]);
}

/* packed_dense_panel with vectors. */
TABLES_TARGET FB_UNUSED static void TABLES(packed_dense_panel)(const packed_pair *q, ptrdiff_t n_rows,
                                                               ptrdiff_t first, ptrdiff_t from,
                                                               ptrdiff_t to, float *out)
{
    const int wide = TABLES_LANES == 16 ? 3 : 1; /* as many sums as registers hold */
    ptrdiff_t i = from;
    for (; i + wide * TABLES_LANES <= to; i += wide * TABLES_LANES)
        TABLES(packed_dense_strip)(q, n_rows, first, i, out, TABLES_LANES == 16 ? 3 : 1);
    for (; i + TABLES_LANES <= to; i += TABLES_LANES)
        TABLES(packed_dense_strip)(q, n_rows, first, i, out, 1);
    if (i < to)
        packed_dense_panel(q, n_rows, first, i, to, out);
}

/* Of packed_dense_fields, n rows and `wide` vectors of columns. */
__attribute__((always_inline)) TABLES_TARGET static inline void TABLES(packed_dense_block)(
    const float *x, ptrdiff_t n_visible, const int32_t *w, ptrdiff_t w_step, ptrdiff_t n_in, float *to,
    ptrdiff_t stride, int begins, int ends, const int n, const int wide)
{
    const TABLES_F scale = TABLES_V(set1_ps)(ends ? 1.0f / (1 << PACKED_SHIFT) : 1.0f);
    TABLES_F sums[12][2];
#pragma GCC unroll 12
    for (int r = 0; r < n; r++)
#pragma GCC unroll 2
        for (int k = 0; k < wide; k++)
            sums[r][k] = begins ? TABLES_V(setzero_ps)()
                                : TABLES_V(loadu_ps)(to + r * stride + k * TABLES_LANES);
    for (ptrdiff_t i = 0; i < n_in; i++, w += w_step) {
        TABLES_F a[2];
#pragma GCC unroll 2
        for (int k = 0; k < wide; k++)
            a[k] = TABLES_V(cvtepi32_ps)(TABLES_LOAD(w + k * TABLES_LANES));
#pragma GCC unroll 12
        for (int r = 0; r < n; r++) {
            const TABLES_F own = TABLES_V(set1_ps)(x[r * n_visible + i]);
#pragma GCC unroll 2
            for (int k = 0; k < wide; k++)
                sums[r][k] = TABLES_V(fmadd_ps)(own, a[k], sums[r][k]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < n; r++)
#pragma GCC unroll 2
        for (int k = 0; k < wide; k++)
            TABLES_V(storeu_ps)(to + r * stride + k * TABLES_LANES,
                                TABLES_V(mul_ps)(sums[r][k], scale));
}

/* packed_dense_fields with vectors: blocks of rows of nearly the same size, an even one (rows are padded
 * with zeros), whose sums fill the registers. */
TABLES_TARGET FB_UNUSED static void TABLES(packed_dense_fields)(
    const float *x, ptrdiff_t n_visible, ptrdiff_t n_rows, const int32_t *w, ptrdiff_t w_step,
    ptrdiff_t n_in, ptrdiff_t columns, float *to, ptrdiff_t stride, int begins, int ends)
{
    const ptrdiff_t most = TABLES_LANES == 16 ? 10 : 6, pairs = (n_rows + 1) / 2;
    const ptrdiff_t blocks = (2 * pairs + most - 1) / most;
#define TABLES_BLOCK(n, wide)                                                                     \
    case n:                                                                                       \
        TABLES(packed_dense_block)(x + r * n_visible, n_visible, w + c, w_step, n_in,             \
                                   to + r * stride + c, stride, begins, ends, n, wide);           \
        break;
    for (ptrdiff_t b = 0; b < blocks; b++) {
        const ptrdiff_t r = 2 * (pairs * b / blocks), n = 2 * (pairs * (b + 1) / blocks) - r;
        ptrdiff_t c = 0;
        for (; c + 2 * TABLES_LANES <= columns; c += 2 * TABLES_LANES)
            switch (n) {
                TABLES_BLOCK(2, 2)
                TABLES_BLOCK(4, 2)
                TABLES_BLOCK(6, 2)
#if TABLES_LANES == 16
                TABLES_BLOCK(8, 2)
                TABLES_BLOCK(10, 2)
#endif
            }
#if TABLES_LANES == 16
        if (c < columns)
            switch (n) {
                TABLES_BLOCK(2, 1)
                TABLES_BLOCK(4, 1)
                TABLES_BLOCK(6, 1)
                TABLES_BLOCK(8, 1)
                TABLES_BLOCK(10, 1)
            }
#endif
    }
#undef TABLES_BLOCK
}
