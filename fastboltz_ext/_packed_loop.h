/* Contrastive divergence for a pair of binary groups, whole minibatches at a time.
 *
 * One update of weights W (hidden x visible) from a minibatch, all five products by table look-up:
 *
 *     positive   h0 ~ p(h | v0)                        v0 rows of the data
 *     negative   v ~ p(v | h), h ~ p(h | v), k times    from h0 (CD) or from kept chains (PCD)
 *     gradient   D_ji = mean h0_j v0_i - mean h_j v_i   hidden units by their means
 *     centred    D_ji - lam_j Dv_i - Dh_j mu_i          and biases Dv - W-gradient' lam, Dh - ... mu
 *     ascent     velocity = momentum velocity + rate (gradient - penalties); W += velocity
 *
 * Statistics are sums of integers, and every float is computed in a fixed order: the result does
 * not depend on the number of threads or on the instruction set. Nor on the number of processes that
 * share a minibatch: each makes the sums of its rows and chains (packed_pair_share), somebody adds
 * them up, each updates a part of the hidden units' weights from the totals (packed_pair_take) and,
 * when it has all parts, the biases (packed_pair_end).
 */
#ifndef FASTBOLTZ_PACKED_LOOP_H
#define FASTBOLTZ_PACKED_LOOP_H

#include "_packed_core.h"
#include "_packed_rows.h"
#include "_packed_gated.h"

/* Fortran's sgemm, as SciPy exports it. */
typedef void (*packed_sgemm)(char *, char *, int *, int *, int *, float *, float *, int *, float *,
                             int *, float *, float *, int *);

/* Hidden units of one dense product at the most, and rows or visible units: part of the result, since BLAS
 * may sum in another order for another size; never a function of the number of threads. Of larger ones
 * BLAS copies less, of smaller ones there are enough for more threads. */
#define PACKED_DENSE_TILE 256
#define PACKED_DENSE_LONG 512

/* Bytes of real-valued rows up to which they stay in the second cache, and their fields and their
 * statistics are summed here: panel by panel, the statistics right before the update that takes them. Of
 * more rows both products are BLAS's, as a whole, since it works on parts of the rows. */
#define PACKED_DENSE_NEAR ((ptrdiff_t)1 << 19)

/* Weights of a hidden unit between those that are updated and those fetched meanwhile. */
#define PACKED_AHEAD 32

typedef struct {
    ptrdiff_t n_visible, n_hidden;
    int spin_visible, spin_hidden;
    float *w, *bias_visible, *bias_hidden;             /* w: [hidden][visible] */
    /* the same in double precision, which updates are added to; NULL where there are none */
    double *master_w, *master_visible, *master_hidden;
    float *vel_w, *vel_visible, *vel_hidden;           /* NULL without momentum */
    float *mean_visible, *mean_hidden;                 /* offsets of centring; NULL if not centred */
    float l1, l2, momentum;
    int persistent, n_gibbs;
    int mean_bits;  /* of means in statistics: up to PACKED_SHIFT */
    int real;       /* data are real-valued: so are two products */
    packed_sgemm gemm;
    uint64_t seed;
    uint32_t positive_stream, visible_stream, hidden_stream;
    int n_threads;
    int level;      /* instruction set: FB_LEVEL_ANY, FB_LEVEL_AVX2 or FB_LEVEL_AVX512 */
    int by_rows;    /* products as in _packed_rows.h: always so with FB_LEVEL_ANY */
    /* sizes of the buffers */
    ptrdiff_t max_rows, n_chains;
    /* One process of several: the integers that are added up over all, and the numbers of its first
     * row in the minibatch and of its first chain. NULL and 0 for a process alone. */
    int32_t *shared;
    ptrdiff_t first_row, first_chain;
    int has_updated;                /* whether `largest` is that of the weights */
    /* Asked by the calling thread in the midst of long updates, whether to give this one up; NULL for
     * never. */
    int (*asks)(void *);
    void *asked;
    int stop;                       /* whether it was given up */
    /* buffers */
    uint32_t *v0, *v0_turned, *h0;  /* data rows */
    uint32_t *v1, *v1_turned, *h1;  /* chains; h1 is kept from update to update */
    uint32_t *old_v1, *old_h1;      /* as a long update found them */
    uint32_t *chance0, *chance1;    /* random words by which means are rounded */
    int32_t *p0, *p1; /* means of the hidden units: [unit][row], by rows or of real data [row][unit] */
    int32_t *count_v0, *count_v1;   /* ones of each visible unit */
    int64_t *sum_p0, *sum_p1;       /* sums of the hidden means */
    float *x0, *dense, *d0, *mean_v0; /* real data: rows; fields, then means; D */
    float *delta_visible, *delta_hidden, *row_part, *column_part, *grad_hidden;
    uint32_t *largest;              /* bits of the largest absolute weights, 16 a panel */
    int32_t *up, *all_up, *down, *all_down; /* by rows: integer weights and their sums */
    int32_t **scratch;              /* by tables: one a thread */
    int arrived, generation; /* of the barrier */
    void *memory;
} packed_pair;

/* -- memory ------------------------------------------------------------------------------------ */

/* Visible units that an update by tables takes at a time, in blocks. */
FB_INLINE ptrdiff_t packed_update_blocks(const packed_pair *q)
{
    const ptrdiff_t blocks = packed_blocks(packed_groups(q->n_visible));
    return blocks < PACKED_BLOCKS ? blocks : PACKED_BLOCKS;
}

FB_INLINE ptrdiff_t packed_update_scratch(const packed_pair *q)
{
    const ptrdiff_t blocks = packed_update_blocks(q);
    return PACKED_TABLES_ROOM + packed_part_size(q->max_rows, blocks) +
           packed_part_size(q->n_chains, blocks);
}

/* Multiply-adds between two questions of whether to go on: some hundredths of a second. */
#define PACKED_ASK 2e9

/* Sweeps between two of them. */
FB_INLINE ptrdiff_t packed_asks_every(const packed_pair *q)
{
    const double sweep = (double)q->n_visible * (double)q->n_hidden * (double)q->n_chains;
    return sweep >= PACKED_ASK ? 1 : (ptrdiff_t)(PACKED_ASK / (sweep > 1.0 ? sweep : 1.0));
}

/* Whether an update can be given up on the way, and then has to leave the chains as they were. */
FB_INLINE int packed_keeps_old(const packed_pair *q)
{
    return q->persistent && q->n_gibbs > packed_asks_every(q);
}

/* Lay the buffers out from `base`, or with NULL only measure. */
static size_t packed_pair_layout(packed_pair *q, char *base)
{
    const ptrdiff_t V = q->n_visible, H = q->n_hidden;
    const ptrdiff_t vw = packed_words(V), hw = packed_words(H);
    const ptrdiff_t g0 = packed_groups(q->max_rows), g1 = packed_groups(q->n_chains);
    size_t at = 0;
#define TAKE(name, type, count)                              \
    do {                                                     \
        if (base != NULL)                                    \
            q->name = (type *)(base + at);                   \
        at += ((size_t)(count) * sizeof(type) + 127) & ~(size_t)63; \
    } while (0)
    TAKE(v0, uint32_t, g0 * vw * 16);
    TAKE(v0_turned, uint32_t, 2 * vw * (g0 / 2) * 16);
    TAKE(h0, uint32_t, g0 * hw * 16);
    TAKE(v1, uint32_t, g1 * vw * 16);
    TAKE(v1_turned, uint32_t, 2 * vw * (g1 / 2) * 16);
    TAKE(h1, uint32_t, g1 * hw * 16);
    TAKE(old_v1, uint32_t, packed_keeps_old(q) ? g1 * vw * 16 : 0);
    TAKE(old_h1, uint32_t, packed_keeps_old(q) ? g1 * hw * 16 : 0);
    TAKE(chance0, uint32_t, g0 * 16);
    TAKE(chance1, uint32_t, g1 * 16);
    TAKE(p0, int32_t, hw * 32 * g0 * 16);
    TAKE(p1, int32_t, hw * 32 * g1 * 16);
    TAKE(count_v0, int32_t, vw * 32);
    TAKE(count_v1, int32_t, vw * 32);
    TAKE(sum_p0, int64_t, hw * 32);
    TAKE(sum_p1, int64_t, hw * 32);
    TAKE(delta_visible, float, vw * 32);
    TAKE(delta_hidden, float, hw * 32);
    TAKE(grad_hidden, float, hw * 32);
    TAKE(row_part, float, packed_panels(H) * vw * 32);
    TAKE(column_part, float, packed_panels(H) * PACKED_PANEL * 16);
    TAKE(largest, uint32_t, packed_panels(H) * 16);
    if (q->real) {
        TAKE(x0, float, g0 * 16 * V);
        TAKE(dense, float, hw * 32 * g0 * 16);
        TAKE(d0, float, hw * 32 * V);
        TAKE(mean_v0, float, V);
    }
    TAKE(scratch, int32_t *, q->n_threads);
    if (q->by_rows) {
        TAKE(up, int32_t, V * packed_padded(H));
        TAKE(all_up, int32_t, packed_padded(H));
        TAKE(down, int32_t, H * packed_padded(V));
        TAKE(all_down, int32_t, packed_padded(V));
    } else {
        const ptrdiff_t up = packed_layer_scratch(V, g0 + g1);
        const ptrdiff_t down = packed_layer_scratch(H, g1);
        const ptrdiff_t update = packed_update_scratch(q);
        const ptrdiff_t layer = up > down ? up : down;
        for (int t = 0; t < q->n_threads; t++)
            TAKE(scratch[t], int32_t, layer > update ? layer : update);
    }
#undef TAKE
    return at;
}

static int packed_pair_allocate(packed_pair *q)
{
    size_t size = packed_pair_layout(q, NULL);
    q->memory = calloc(size + 64, 1);
    if (q->memory == NULL)
        return -1;
    char *base = (char *)(((uintptr_t)q->memory + 63) & ~(uintptr_t)63);
    packed_pair_layout(q, base);
    return 0;
}

/* -- phases: each does the share of thread t of T ---------------------------------------------- */

FB_INLINE ptrdiff_t packed_share(ptrdiff_t n, int t, int T)
{
    return n * t / T;
}

/* The first of the units of a layer of n that thread t makes: whole panels, or whole words row by row. */
FB_INLINE ptrdiff_t packed_first_unit(const packed_pair *q, ptrdiff_t n, int t, int T)
{
    const ptrdiff_t of = q->by_rows ? PACKED_WORD : PACKED_PANEL;
    const ptrdiff_t first = of * packed_share((n + of - 1) / of, t, T);
    return first < n ? first : n;
}

/* Chains to where a given up update finds them, or `back` from there. */
FB_UNUSED static void packed_keep_old(packed_pair *q, int back)
{
    const size_t groups = (size_t)packed_groups(q->n_chains) * 16 * sizeof(uint32_t);
    const size_t v = groups * (size_t)packed_words(q->n_visible);
    const size_t h = groups * (size_t)packed_words(q->n_hidden);
    if (!packed_keeps_old(q))
        return;
    memcpy(back ? q->v1 : q->old_v1, back ? q->old_v1 : q->v1, v);
    memcpy(back ? q->h1 : q->old_h1, back ? q->old_h1 : q->h1, h);
}

/* Rows of the data into lanes, and turned. */
FB_UNUSED static void packed_gather(packed_pair *q, const uint32_t *data, const int64_t *rows,
                                    ptrdiff_t n_rows, int t, int T)
{
    const ptrdiff_t vw = packed_words(q->n_visible), groups = packed_groups(n_rows);
    const ptrdiff_t begin = packed_share(vw, t, T), end = packed_share(vw, t + 1, T);
    for (ptrdiff_t r = 0; r < 16 * groups; r++) {
        uint32_t *to = q->v0 + (r / 16 * vw) * 16 + r % 16;
        if (r < n_rows) {
            const uint32_t *from = data + rows[r] * vw;
            for (ptrdiff_t w = begin; w < end; w++)
                to[16 * w] = from[w] & packed_mask(w, q->n_visible);
        } else
            for (ptrdiff_t w = begin; w < end; w++)
                to[16 * w] = 0;
    }
    if (q->by_rows) {
        packed_count_rows(q->v0, vw, n_rows, begin, end, q->count_v0);
        return;
    }
    packed_turn(q->v0, groups, vw, q->v0_turned, begin, end);
    const ptrdiff_t last = 32 * end < q->n_visible ? 32 * end : q->n_visible;
    packed_count(q->v0_turned, groups / 2, 32 * begin, last, q->count_v0);
}

/* Real-valued rows as they are, and zeros below them. */
FB_UNUSED static void packed_gather_real(packed_pair *q, const float *data, const int64_t *rows,
                                         ptrdiff_t n_rows, int t, int T)
{
    const ptrdiff_t V = q->n_visible, padded = 16 * packed_groups(n_rows);
    for (ptrdiff_t r = packed_share(padded, t, T); r < packed_share(padded, t + 1, T); r++)
        if (r < n_rows)
            memcpy(q->x0 + r * V, data + rows[r] * V, (size_t)V * sizeof(float));
        else
            memset(q->x0 + r * V, 0, (size_t)V * sizeof(float));
}

/* Sixteen numbers: where they stand, if there are as many, or copied before zeros. */
FB_INLINE const float *packed_lanes_of(const float *from, ptrdiff_t m, float spare[16])
{
    if (m >= 16)
        return from;
    for (int l = 0; l < 16; l++)
        spare[l] = l < m ? from[l] : 0;
    return spare;
}

/* Where a thread sums the statistics of real-valued rows by one panel after the other, in the place of
 * those of its first; NULL where these sums are BLAS's, or there are none. */
FB_INLINE float *packed_dense_room(const packed_pair *q, ptrdiff_t n_rows, int t, int T)
{
    const ptrdiff_t V = q->n_visible, panels = packed_panels(q->n_hidden);
    if (!q->real || n_rows * V * (ptrdiff_t)sizeof(float) > PACKED_DENSE_NEAR)
        return NULL;
    return q->d0 + PACKED_PANEL * packed_share(panels, t, T) * V;
}

/* out[c][i] = sum over rows, in their order and each rounded once (fused multiply-adds in every kernel,
 * so that all give the same), of mean_(first + c) x_i, for the hidden units of a panel (zeros past the
 * last) and the visible units [from, to). */
FB_CLONES FB_UNUSED static void packed_dense_panel(const packed_pair *q, ptrdiff_t n_rows,
                                                   ptrdiff_t first, ptrdiff_t from, ptrdiff_t to,
                                                   float *out)
{
    const ptrdiff_t V = q->n_visible, stride = packed_padded(q->n_hidden);
    for (ptrdiff_t i = from; i < to; i += 16) {
        const ptrdiff_t m = to - i < 16 ? to - i : 16;
        float sums[PACKED_PANEL][16] = {{0}};
        for (ptrdiff_t r = 0; r < n_rows; r++) {
            float spare[16];
            const float *x = packed_lanes_of(q->x0 + r * V + i, m, spare);
            for (int c = 0; c < PACKED_PANEL; c++)
                for (int l = 0; l < 16; l++)
                    sums[c][l] = fmaf(q->dense[r * stride + first + c], x[l], sums[c][l]);
        }
        for (int c = 0; c < PACKED_PANEL; c++)
            memcpy(out + c * V + i, sums[c], (size_t)m * sizeof(float));
    }
}

/* Inputs of fields at a time: their weights as integers, 16 KB, stay in the first cache. */
#define PACKED_DENSE_INPUTS 128

/* to[r][c] = a sum over inputs, in their order and each rounded once, as above, of x_ri w_ic, for the 32
 * hidden units that w has integers of, or 16 if there are no more; added to what is there unless `begins`,
 * and made a field at the end. */
FB_CLONES FB_UNUSED static void packed_dense_fields(const float *x, ptrdiff_t n_visible,
                                                    ptrdiff_t n_rows, const int32_t *w,
                                                    ptrdiff_t w_step, ptrdiff_t n_in,
                                                    ptrdiff_t columns, float *to, ptrdiff_t stride,
                                                    int begins, int ends)
{
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        float sums[32] = {0};
        if (!begins)
            memcpy(sums, to + r * stride, (size_t)columns * sizeof(float));
        for (ptrdiff_t i = 0; i < n_in; i++)
            for (ptrdiff_t c = 0; c < columns; c++)
                sums[c] = fmaf(x[r * n_visible + i], (float)w[i * w_step + c], sums[c]);
        for (ptrdiff_t c = 0; c < columns; c++)
            to[r * stride + c] = ends ? sums[c] * (1.0f / (1 << PACKED_SHIFT)) : sums[c];
    }
}

#if FB_X86
static void packed_dense_fields_avx512(const float *x, ptrdiff_t n_visible, ptrdiff_t n_rows,
                                       const int32_t *w, ptrdiff_t w_step, ptrdiff_t n_in,
                                       ptrdiff_t columns, float *to, ptrdiff_t stride, int begins,
                                       int ends);
static void packed_dense_fields_avx2(const float *x, ptrdiff_t n_visible, ptrdiff_t n_rows,
                                     const int32_t *w, ptrdiff_t w_step, ptrdiff_t n_in,
                                     ptrdiff_t columns, float *to, ptrdiff_t stride, int begins,
                                     int ends);
#endif

/* Fields of few real-valued rows, of hidden units [32 begin, 32 end): with weights as the integers that
 * binary rows add up, so that they are the same in every kernel. */
FB_UNUSED static void packed_fields_of_rows(packed_pair *q, ptrdiff_t n_rows, ptrdiff_t begin,
                                            ptrdiff_t end)
{
    const ptrdiff_t V = q->n_visible, H = q->n_hidden, stride = packed_padded(H);
    int32_t integers[PACKED_DENSE_INPUTS * 32];
    for (ptrdiff_t first = 32 * begin; first < 32 * end && first < H; first += 32) {
        const ptrdiff_t units = H - first < 32 ? H - first : 32, columns = packed_padded(units);
        for (ptrdiff_t k = 0; k < V; k += PACKED_DENSE_INPUTS) {
            const ptrdiff_t n_in = V - k < PACKED_DENSE_INPUTS ? V - k : PACKED_DENSE_INPUTS;
            const int32_t *w = q->up + k * stride + first;
            ptrdiff_t w_step = stride;
            if (!q->by_rows) {
                const packed_weights some = {q->w + first * V + k, 1, V, n_in, units, 0};
                packed_integers(&some, 0, units, integers, NULL, q->level);
                w = integers;
                w_step = columns;
            }
#if FB_X86
            (q->level == FB_LEVEL_AVX512 ? packed_dense_fields_avx512
             : q->level == FB_LEVEL_AVX2 ? packed_dense_fields_avx2
                                       : packed_dense_fields)(
#else
            packed_dense_fields(
#endif
                q->x0 + k, V, n_rows, w, w_step, n_in, columns, q->dense + first, stride, k == 0,
                k + n_in == V);
        }
    }
}

/* Means of real-valued rows, of hidden units [32 begin, 32 end), from their fields, which are rounded to
 * the integers that a layer takes. */
FB_UNUSED static void packed_means_of_rows(packed_pair *q, const packed_weights *up, ptrdiff_t n_rows,
                                           const packed_outputs *o, ptrdiff_t begin, ptrdiff_t end)
{
    const ptrdiff_t H = q->n_hidden, stride = packed_padded(H);
    const float unit = 1.0f / (float)(1 << o->mean_shift);
    packed_outputs fields = *o;
    fields.spin_in = 0; /* the data are numbers here, whatever the visible units are */
    packed_layer_rows(NULL, q->dense, n_rows, up, &fields, begin, end, NULL, NULL, q->level);
    for (ptrdiff_t r = 0; r < n_rows; r++)
        for (ptrdiff_t j = 32 * begin; j < 32 * end && j < H; j++)
            q->dense[r * stride + j] = unit * (float)q->p0[r * stride + j];
}

/* One dense product in parts of nearly the same size, as BLAS is given them: of hidden units, and of
 * rows in fields, or of visible units in D = sum over rows of mean_j x_i. */
FB_UNUSED static void packed_dense_product(const packed_pair *q, ptrdiff_t n_rows, int statistics, int t,
                                           int T)
{
    const ptrdiff_t V = q->n_visible, H = q->n_hidden, length = statistics ? V : n_rows;
    const ptrdiff_t of = (H + PACKED_DENSE_TILE - 1) / PACKED_DENSE_TILE;
    const ptrdiff_t by = (length + PACKED_DENSE_LONG - 1) / PACKED_DENSE_LONG;
    char no = 'N', yes = 'T';
    float one = 1.0f, zero = 0.0f;
    int v = (int)V, rows = (int)n_rows, apart = (int)packed_padded(H);
    for (ptrdiff_t part = packed_share(of * by, t, T); part < packed_share(of * by, t + 1, T); part++) {
        const int i = (int)(part / by), k = (int)(part % by);
        /* whole words: BLAS works on so many at a time */
        const ptrdiff_t unit = 32 * packed_share(packed_words(H), i, (int)of);
        const ptrdiff_t from = 32 * packed_share(packed_words(length), k, (int)by);
        const ptrdiff_t last = 32 * packed_share(packed_words(H), i + 1, (int)of);
        const ptrdiff_t end = 32 * packed_share(packed_words(length), k + 1, (int)by);
        int units = (int)((last < H ? last : H) - unit), here = (int)((end < length ? end : length) - from);
        float *const means = q->dense + unit;
        if (statistics) /* D, which Fortran sees as x0' means */
            q->gemm(&no, &yes, &here, &units, &rows, &one, q->x0 + from, &v, means, &apart, &zero,
                    q->d0 + unit * V + from, &v);
        else /* [row][unit] = x0 W', which Fortran sees as W x0' */
            q->gemm(&yes, &no, &units, &here, &v, &one, q->w + unit * V, &v, q->x0 + from * V, &v,
                    &zero, means + from * apart, &apart);
    }
}

/* By rows: the integers that this thread's share of a layer is made of, as long as the weights are
 * the same. */
FB_UNUSED static void packed_prepare(packed_pair *q, const packed_weights *w, int t, int T)
{
    const ptrdiff_t words = packed_words(w->n_out), last = 32 * packed_share(words, t + 1, T);
    const int is_up = w->n_in == q->n_visible && w->k_step == 1;
    const int spin_in = is_up ? q->spin_visible : q->spin_hidden;
    int32_t *all = is_up ? q->all_up : q->all_down;
    if (q->by_rows)
        packed_integers(w, 32 * packed_share(words, t, T), last < w->n_out ? last : w->n_out,
                        is_up ? q->up : q->down, spin_in ? all : NULL, q->level);
}

/* Sums of the means of hidden units [begin, end) over rows. */
FB_CLONES FB_UNUSED static void packed_sum_means(const int32_t *p, ptrdiff_t padded_rows,
                                                 ptrdiff_t begin, ptrdiff_t end, int64_t *sum)
{
    for (ptrdiff_t j = begin; j < end; j++) {
        int64_t total = 0;
        for (ptrdiff_t b = 0; b < padded_rows; b++)
            total += p[j * padded_rows + b];
        sum[j] = total;
    }
}

typedef struct {
    float rate, scale0, scale1; /* learning rate; 1 / rows of the phases in units of the means */
    int mean_shift;
    int low;                    /* means are of few bits, and tables of them of 16 */
    int same;                   /* as many rows in both phases: only the sums' difference counts */
    int keep, taken;            /* sums are kept in q->shared; sums are those that stand there */
} packed_step;

/* -- integers that several processes add up ---------------------------------------------------- */

/* Sums of one phase: [panel][16 visible units][column][lane]. */
FB_INLINE ptrdiff_t packed_shared_phase(const packed_pair *q)
{
    return packed_panels(q->n_hidden) * 2 * packed_words(q->n_visible) * PACKED_PANEL * 16;
}

/* Counts of visible units and sums of hidden means, which stand first. */
FB_INLINE ptrdiff_t packed_shared_biases(const packed_pair *q)
{
    return 2 * 32 * (packed_words(q->n_visible) + packed_words(q->n_hidden));
}

/* Integers in all: both phases', or with `same` their difference. */
FB_INLINE ptrdiff_t packed_shared_size(const packed_pair *q, int same)
{
    return packed_shared_biases(q) + (same ? 1 : 2) * packed_shared_phase(q);
}

/* Sums of 16 visible units from i, of the positive phase. */
FB_INLINE int32_t (*packed_shared_sums(const packed_pair *q, ptrdiff_t panel, ptrdiff_t i))[16]
{
    return (int32_t(*)[16])(q->shared + packed_shared_biases(q) +
                            (panel * 2 * packed_words(q->n_visible) + i / 16) * PACKED_PANEL * 16);
}

/* Keeps the sums of 16 visible units. Those of real data become integers, as if the visible units
 * had been bits: what is left out of sight is below the rounding of the sums themselves. */
FB_INLINE void packed_keep_block(packed_pair *q, const packed_step *step, ptrdiff_t panel,
                                 ptrdiff_t i, ptrdiff_t columns, const float *dense,
                                 int32_t d0[PACKED_PANEL][16], int32_t d1[PACKED_PANEL][16])
{
    const ptrdiff_t V = q->n_visible, m = V - i < 16 ? V - i : 16;
    const float unit = (float)(1 << step->mean_shift);
    int32_t(*to)[16] = packed_shared_sums(q, panel, i);
    int32_t(*second)[16] = to + packed_shared_phase(q) / 16;
    for (ptrdiff_t c = 0; c < columns; c++) {
        const ptrdiff_t j = panel * PACKED_PANEL + c;
        int32_t sums[16];
        fb_fetch_to_write(to + PACKED_PANEL + c); /* the next ones, which others have read */
        if (q->real)
            for (ptrdiff_t l = 0; l < 16; l++) {
                float x = l < m ? unit * dense[c * V + i + l] : 0.0f;
                if (q->spin_visible) /* a spin x is the bit (x + 1) / 2 */
                    x = 0.5f * (x + (float)q->sum_p0[j]);
                sums[l] = packed_nearest(x);
            }
        else
            memcpy(sums, d0[c], sizeof sums);
        if (step->same)
            for (int l = 0; l < 16; l++)
                to[c][l] = sums[l] - d1[c][l];
        else {
            memcpy(to[c], sums, sizeof sums);
            memcpy(second[c], d1[c], sizeof sums);
        }
    }
}

/* Gradient and update of 16 visible units by the columns of a panel; `dense` has the statistics of
 * real-valued rows, [column][visible unit]. `plain` ({0, 1} units, no
 * momentum, penalties or double precision), `real` and `centred` are constants where this is inlined.
 * `largest` keeps the bits of the largest absolute weights. */
FB_INLINE void packed_update_block(packed_pair *q, const packed_step *step, ptrdiff_t i,
                                   ptrdiff_t first, ptrdiff_t columns, const float *dense,
                                   int32_t d0[PACKED_PANEL][16], int32_t d1[PACKED_PANEL][16],
                                   float row_part[16], float column_part[PACKED_PANEL][16],
                                   uint32_t largest[16], const int plain, const int real, const int centred)
{
    packed_lanes most;
    memcpy(&most, largest, sizeof most);
    const ptrdiff_t V = q->n_visible, m = V - i < 16 ? V - i : 16;
    float mu[16], dv[16], rows[16];
    for (int l = 0; l < 16; l++)
        mu[l] = dv[l] = rows[l] = 0;
    if (centred)
        for (ptrdiff_t l = 0; l < m; l++) {
            mu[l] = q->mean_visible[i + l];
            dv[l] = q->delta_visible[i + l];
        }
    for (ptrdiff_t c = 0; c < columns; c++) {
        const ptrdiff_t j = first + c;
        float g[16], change[16], next[16];
        if (real) {
            /* scale0 counts in units of the means; the dense sums are means themselves */
            const float whole = step->scale0 * (float)(1 << step->mean_shift);
            const int spin = !plain && q->spin_visible;
            const int32_t s1 = spin ? (int32_t)q->sum_p1[j] : 0, twice = spin ? 2 : 1;
            float spare[16];
            const float *d = packed_lanes_of(dense + c * V + i, m, spare);
            for (int l = 0; l < 16; l++)
                g[l] = whole * d[l] - step->scale1 * (float)(twice * d1[c][l] - s1);
        } else if (!plain && q->spin_visible) {
            const int32_t s0 = (int32_t)q->sum_p0[j], s1 = (int32_t)q->sum_p1[j];
            if (step->same)
                for (int l = 0; l < 16; l++)
                    g[l] = step->scale0 * (float)(2 * (d0[c][l] - d1[c][l]) - (s0 - s1));
            else
                for (int l = 0; l < 16; l++)
                    g[l] = step->scale0 * (float)(2 * d0[c][l] - s0) -
                           step->scale1 * (float)(2 * d1[c][l] - s1);
        } else if (step->same)
            for (int l = 0; l < 16; l++)
                g[l] = step->scale0 * (float)(d0[c][l] - d1[c][l]);
        else
            for (int l = 0; l < 16; l++)
                g[l] = step->scale0 * (float)d0[c][l] - step->scale1 * (float)d1[c][l];
        if (centred) {
            const float lam = q->mean_hidden[j], dh = q->delta_hidden[j];
            float *FB_RESTRICT part = column_part[c];
            for (int l = 0; l < 16; l++) {
                g[l] = (g[l] - mu[l] * dh) - dv[l] * lam;
                rows[l] += g[l] * lam;
                part[l] += g[l] * mu[l];
            }
        }
        float *w = q->w + j * V + i, spare[16];
        fb_fetch_to_write(w + PACKED_AHEAD); /* other cores have read these weights */
        const float *old = packed_lanes_of(w, m, spare);
        if (!plain && (q->l1 != 0 || q->l2 != 0))
            for (int l = 0; l < 16; l++) {
                float sign = old[l] > 0 ? 1.0f : old[l] < 0 ? -1.0f : 0.0f;
                g[l] = (g[l] - q->l2 * old[l]) - q->l1 * sign;
            }
        if (!plain && q->vel_w != NULL) {
            float *v = q->vel_w + j * V + i, vel[16];
            for (int l = 0; l < 16; l++)
                vel[l] = l < m ? v[l] : 0;
            for (int l = 0; l < 16; l++)
                vel[l] = change[l] = q->momentum * vel[l] + step->rate * g[l];
            for (ptrdiff_t l = 0; l < m; l++)
                v[l] = vel[l];
        } else
            for (int l = 0; l < 16; l++)
                change[l] = step->rate * g[l];
        if (!plain && q->master_w != NULL) {
            double *master = q->master_w + j * V + i;
            for (ptrdiff_t l = 0; l < m; l++) {
                master[l] += (double)change[l];
                next[l] = (float)master[l];
            }
        } else
            for (int l = 0; l < 16; l++)
                next[l] = old[l] + change[l];
        if (m < 16)
            memset(next + m, 0, (size_t)(16 - m) * sizeof(float));
        PACKED_LARGER(most, next);
        if (m == 16)
            memcpy(w, next, sizeof next);
        else
            for (ptrdiff_t l = 0; l < m; l++)
                w[l] = next[l];
    }
    memcpy(row_part, rows, sizeof rows);
    memcpy(largest, &most, sizeof most);
}

#define PACKED_UPDATE_ANY(d0, plain, real, centred)                                             \
    packed_update_block(q, step, i + 16 * s, first, columns, dense, d0, d1[s], row_part,          \
                        column_part, largest, plain, real, centred)
#define PACKED_UPDATE_BLOCK PACKED_UPDATE_ANY

/* All hidden units of this thread's panels by the visible units [from, to), both multiples of 32 or
 * to the last. PREPARE comes before a panel's units, and may write to `room`, if that is not NULL, the
 * statistics of real-valued rows, which else stand in q->d0. SUMS lets d0 and d1 point at the sums of both phases for 32 visible units. With
 * step->keep nothing is updated. */
#define PACKED_UPDATE_BODY(PREPARE, SUMS)                                                         \
    const ptrdiff_t V = q->n_visible, H = q->n_hidden, panels = packed_panels(H);                 \
    const ptrdiff_t begin = packed_share(panels, t, T), end = packed_share(panels, t + 1, T);     \
    const ptrdiff_t padded_visible = 32 * packed_words(V);                                        \
    const int centred = q->mean_visible != NULL;                                                  \
    const int plain = !q->spin_visible && q->l1 == 0 && q->l2 == 0 && q->vel_w == NULL &&         \
                      q->master_w == NULL, real = q->real && !step->taken;                        \
    for (ptrdiff_t panel = begin; panel < end; panel++) {                                         \
        const ptrdiff_t first = panel * PACKED_PANEL;                                             \
        const ptrdiff_t columns = H - first < PACKED_PANEL ? H - first : PACKED_PANEL;            \
        float(*column_part)[16] =                                                                 \
            (float(*)[16])(q->column_part + panel * PACKED_PANEL * 16);                           \
        uint32_t *largest = q->largest + panel * 16;                                              \
        if (from == 0) {                                                                          \
            memset(column_part, 0, PACKED_PANEL * sizeof *column_part);                           \
            memset(largest, 0, 16 * sizeof *largest);                                             \
        }                                                                                         \
        const float *dense = !real ? NULL : room != NULL ? room : q->d0 + first * V;              \
        (void)dense;                                                                              \
        PREPARE;                                                                                  \
        for (ptrdiff_t i = from; i < to; i += 32) {                                               \
            int32_t(*d0)[PACKED_PANEL][16] = NULL, (*d1)[PACKED_PANEL][16] = NULL;                \
            SUMS;                                                                                 \
            for (int s = 0; s < 2 && i + 16 * s < V; s++) {                                       \
                float *row_part = q->row_part + panel * padded_visible + i + 16 * s;              \
                if (step->keep)                                                                   \
                    packed_keep_block(q, step, panel, i + 16 * s, columns, dense,                 \
                                      d0 != NULL ? d0[s] : NULL, d1[s]);                          \
                else if (plain && !real && centred)                                                    \
                    PACKED_UPDATE_BLOCK(d0[s], 1, 0, 1);                                          \
                else if (plain && !real)                                                          \
                    PACKED_UPDATE_BLOCK(d0[s], 1, 0, 0);                                          \
                else if (plain && centred)                                                        \
                    PACKED_UPDATE_BLOCK(NULL, 1, 1, 1);                                           \
                else if (plain)                                                                   \
                    PACKED_UPDATE_BLOCK(NULL, 1, 1, 0);                                           \
                else                                                                              \
                    PACKED_UPDATE_BLOCK((d0 != NULL ? d0[s] : NULL), 0, real, centred);             \
            }                                                                                     \
        }                                                                                         \
        for (ptrdiff_t c = 0; c < columns && to >= V && !step->keep; c++) {                       \
            float total = 0;                                                                      \
            for (int l = 0; l < 16 && centred; l++)                                               \
                total += column_part[c][l];                                                       \
            q->grad_hidden[first + c] = q->delta_hidden[first + c] - total;                       \
        }                                                                                         \
    }

#define PACKED_UPDATE_BY_ROWS(MASKED_SUMS, DENSE_PANEL)                                           \
    const ptrdiff_t stride = packed_padded(q->n_hidden), words = packed_words(q->n_visible);      \
    const ptrdiff_t from = 0, to = q->n_visible;                                                  \
    float *room = packed_dense_room(q, n0, t, T);                                                 \
    int32_t sums0[2][PACKED_PANEL][16] __attribute__((aligned(64)));                              \
    int32_t sums1[2][PACKED_PANEL][16] __attribute__((aligned(64)));                              \
    PACKED_UPDATE_BODY(                                                                           \
        if (room != NULL) DENSE_PANEL(q, n0, first, from, to, room), {                            \
        if (!q->real) {                                                                           \
            d0 = sums0;                                                                           \
            MASKED_SUMS(q->v0, words, i, n0, q->p0 + first, stride, d0);                          \
        }                                                                                         \
        d1 = sums1;                                                                               \
        MASKED_SUMS(q->v1, words, i, n1, q->p1 + first, stride, d1);                              \
    })

FB_CLONES FB_UNUSED static void packed_update_rows(packed_pair *q, const packed_step *step,
                                                   ptrdiff_t n0, ptrdiff_t n1, int t, int T)
{
    PACKED_UPDATE_BY_ROWS(packed_masked_sums, packed_dense_panel)
}

#if FB_X86
/* Adds floats to doubles; what these are as floats. */
__attribute__((always_inline)) FB_AVX512 static inline __m512 packed_master_avx512(double *at,
                                                                                   __m512 x)
{
    const __m512d low = _mm512_add_pd(_mm512_loadu_pd(at), _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    const __m512d high = _mm512_add_pd(_mm512_loadu_pd(at + 8),
                                       _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
    _mm512_storeu_pd(at, low);
    _mm512_storeu_pd(at + 8, high);
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

__attribute__((always_inline)) FB_AVX2 static inline __m256 packed_master_avx2(double *at, __m256 x)
{
    const __m256d low = _mm256_add_pd(_mm256_loadu_pd(at), _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
    const __m256d high = _mm256_add_pd(_mm256_loadu_pd(at + 4),
                                       _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
    _mm256_storeu_pd(at, low);
    _mm256_storeu_pd(at + 4, high);
    return _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low));
}

/* x, positive, with the sign of `by`, 0 where that is 0 or no number. */
__attribute__((always_inline)) FB_AVX512 static inline __m512 packed_signed_avx512(__m512 x, __m512 by)
{
    const __m512i sign =
        _mm512_and_si512(_mm512_castps_si512(by), _mm512_set1_epi32((int)0x80000000u));
    return _mm512_maskz_mov_ps(
        _mm512_cmp_ps_mask(by, _mm512_setzero_ps(), _CMP_NEQ_OQ),
        _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), sign)));
}

__attribute__((always_inline)) FB_AVX2 static inline __m256 packed_signed_avx2(__m256 x, __m256 by)
{
    return _mm256_and_ps(_mm256_xor_ps(x, _mm256_and_ps(by, _mm256_set1_ps(-0.0f))),
                         _mm256_cmp_ps(by, _mm256_setzero_ps(), _CMP_NEQ_OQ));
}

#undef PACKED_UPDATE_BLOCK
#define PACKED_UPDATE_BLOCK(d0, plain, real, centred)                                             \
    do {                                                                                          \
        if (i + 16 * s + 16 <= V)                                                                 \
            TABLES(packed_update_full)(q, step, i + 16 * s, first, columns, dense, d0, d1[s],     \
                                       row_part, column_part, largest, real, centred, !plain);    \
        else                                                                                      \
            PACKED_UPDATE_ANY(d0, plain, real, centred);                                          \
    } while (0)
#define TABLES(name) name##_avx512
#define TABLES_TARGET FB_AVX512
#define TABLES_LANES 16
#define TABLES_V(op) _mm512_##op
#define TABLES_F __m512
#define TABLES_I __m512i
#define TABLES_AS_I _mm512_castps_si512
#define TABLES_AND _mm512_and_si512
#define TABLES_LOAD(at) _mm512_loadu_si512(at)
#define TABLES_STORE(at, x) _mm512_storeu_si512(at, x)
#define TABLES_MASTER packed_master_avx512
#define TABLES_SIGNED packed_signed_avx512
#include "_packed_update.h"
#include "_packed_by_tables.h"
FB_AVX512 FB_UNUSED static void packed_update_rows_avx512(packed_pair *q,
                                                          const packed_step *step,
                                                          ptrdiff_t n0, ptrdiff_t n1, int t,
                                                          int T)
{
    PACKED_UPDATE_BY_ROWS(packed_masked_sums_avx512, packed_dense_panel_avx512)
}
#undef TABLES
#undef TABLES_TARGET
#undef TABLES_LANES
#undef TABLES_V
#undef TABLES_F
#undef TABLES_I
#undef TABLES_AS_I
#undef TABLES_AND
#undef TABLES_LOAD
#undef TABLES_STORE
#undef TABLES_MASTER
#undef TABLES_SIGNED
#define TABLES(name) name##_avx2
#define TABLES_TARGET FB_AVX2
#define TABLES_LANES 8
#define TABLES_V(op) _mm256_##op
#define TABLES_F __m256
#define TABLES_I __m256i
#define TABLES_AS_I _mm256_castps_si256
#define TABLES_AND _mm256_and_si256
#define TABLES_LOAD(at) _mm256_loadu_si256((const __m256i *)(at))
#define TABLES_STORE(at, x) _mm256_storeu_si256((__m256i *)(at), x)
#define TABLES_MASTER packed_master_avx2
#define TABLES_SIGNED packed_signed_avx2
#include "_packed_update.h"
#include "_packed_by_tables.h"
#undef TABLES
#undef TABLES_TARGET
#undef TABLES_LANES
#undef TABLES_V
#undef TABLES_F
#undef TABLES_I
#undef TABLES_AS_I
#undef TABLES_AND
#undef TABLES_LOAD
#undef TABLES_STORE
#undef TABLES_MASTER
#undef TABLES_SIGNED
#undef PACKED_UPDATE_BLOCK
#define PACKED_UPDATE_BLOCK PACKED_UPDATE_ANY
#endif

FB_UNUSED static void packed_pair_layer(packed_pair *q, const packed_weights *w,
                                        const packed_rows *sets, int n_sets, int t, int T)
{
    const ptrdiff_t begin = packed_first_unit(q, w->n_out, t, T);
    const ptrdiff_t end = packed_first_unit(q, w->n_out, t + 1, T);
    const int is_up = w->n_in == q->n_visible && w->k_step == 1;
#if FB_X86
    if (!q->by_rows) {
        if (q->level == FB_LEVEL_AVX512)
            packed_layer_avx512(sets, n_sets, w, begin, end, q->scratch[t]);
        else
            packed_layer_avx2(sets, n_sets, w, begin, end, q->scratch[t]);
        return;
    }
#endif
    for (int i = 0; i < n_sets; i++)
        packed_layer_rows(sets[i].x, NULL, sets[i].n_rows, w, sets[i].o, begin / 32,
                          packed_words(end), is_up ? q->up : q->down,
                          is_up ? q->all_up : q->all_down, q->level);
}

/* The update from the sums in q->shared, which are those of all processes. */
FB_CLONES FB_UNUSED static void packed_update_taken(packed_pair *q, const packed_step *step, int t,
                                                    int T)
{
    static const int32_t none[2][PACKED_PANEL][16]; /* the difference stands in the first phase */
    const ptrdiff_t from = 0, to = q->n_visible, phase = packed_shared_phase(q) / 16;
    const float *room = NULL;
    PACKED_UPDATE_BODY(, {
        int32_t(*sums)[16] = packed_shared_sums(q, panel, i);
        d0 = (int32_t(*)[PACKED_PANEL][16])sums;
        d1 = (int32_t(*)[PACKED_PANEL][16])(step->same ? (int32_t(*)[16])none : sums + phase);
    })
}

/* The sums over rows of both phases, into the update or, with step->keep, into q->shared. */
FB_UNUSED static void packed_pair_sums(packed_pair *q, const packed_step *step, ptrdiff_t n0,
                                       ptrdiff_t n1, int t, int T)
{
#if FB_X86
    if (!q->by_rows) {
        if (q->level == FB_LEVEL_AVX512)
            packed_update_tables_avx512(q, step, n0, n1, t, T);
        else
            packed_update_tables_avx2(q, step, n0, n1, t, T);
        return;
    }
    if (q->level == FB_LEVEL_AVX512) {
        packed_update_rows_avx512(q, step, n0, n1, t, T);
        return;
    }
#endif
    packed_update_rows(q, step, n0, n1, t, T);
}

/* Differences of the biases' statistics, and the offsets moved towards the data. Thread 0. */
FB_CLONES FB_UNUSED static void packed_differences(packed_pair *q, const packed_step *step,
                                                   ptrdiff_t n0, ptrdiff_t n1, float follow)
{
    const float r0 = 1.0f / (float)n0, r1 = 1.0f / (float)n1;
    for (ptrdiff_t i = 0; i < q->n_visible; i++) {
        float m0 = r0 * (float)q->count_v0[i], m1 = r1 * (float)q->count_v1[i];
        if (q->spin_visible) {
            m0 = m0 + m0 - 1.0f;
            m1 = m1 + m1 - 1.0f;
        }
        if (q->real)
            m0 = r0 * q->mean_v0[i];
        q->delta_visible[i] = m0 - m1;
        if (q->mean_visible != NULL)
            q->mean_visible[i] += follow * (m0 - q->mean_visible[i]);
    }
    for (ptrdiff_t j = 0; j < q->n_hidden; j++) {
        float m0 = step->scale0 * (float)q->sum_p0[j], m1 = step->scale1 * (float)q->sum_p1[j];
        q->delta_hidden[j] = m0 - m1;
        if (q->mean_hidden != NULL)
            q->mean_hidden[j] += follow * (m0 - q->mean_hidden[j]);
    }
}

FB_INLINE void packed_add_change(float *x, double *master, float change)
{
    if (master != NULL) {
        *master += (double)change;
        *x = (float)*master;
    } else
        *x += change;
}

FB_CLONES FB_UNUSED static void packed_update_biases(packed_pair *q, const packed_step *step)
{
    const ptrdiff_t V = q->n_visible, padded = 32 * packed_words(V), panels =
        packed_panels(q->n_hidden);
    if (q->mean_visible != NULL)
        for (ptrdiff_t panel = 0; panel < panels; panel++)
            for (ptrdiff_t i = 0; i < V; i++)
                q->delta_visible[i] -= q->row_part[panel * padded + i];
    for (ptrdiff_t i = 0; i < V; i++) {
        float change = step->rate * q->delta_visible[i];
        if (q->vel_visible != NULL)
            change = q->vel_visible[i] = q->momentum * q->vel_visible[i] + change;
        packed_add_change(q->bias_visible + i,
                          q->master_visible != NULL ? q->master_visible + i : NULL, change);
    }
    for (ptrdiff_t j = 0; j < q->n_hidden; j++) {
        float change = step->rate * q->grad_hidden[j];
        if (q->vel_hidden != NULL)
            change = q->vel_hidden[j] = q->momentum * q->vel_hidden[j] + change;
        packed_add_change(q->bias_hidden + j,
                          q->master_hidden != NULL ? q->master_hidden + j : NULL, change);
    }
}

/* Means count in units of 2^-(bits of a mean), spins' of 2^-(one less) where these are not all, or of less
 * where sums over so many rows would leave the integers. */
FB_INLINE int packed_mean_shift(const packed_pair *q, ptrdiff_t rows)
{
    const int spin = q->spin_visible || q->spin_hidden;
    const int most = q->mean_bits < PACKED_SHIFT ? q->mean_bits - q->spin_hidden : PACKED_SHIFT;
    int shift = 30 - spin;
    while (((ptrdiff_t)1 << (30 - spin - shift)) < rows)
        shift--;
    return shift < most ? shift : most;
}

/* The words of rows, or chains, that `at` begins with. */
FB_CLONES FB_UNUSED static void packed_chances(philox_address at, ptrdiff_t padded_rows, uint32_t *to)
{
    enum { AT_ONCE = 64 };
    uint32_t words[4 * AT_ONCE + PHILOX_PAD];
    for (ptrdiff_t r = 0; r < padded_rows; r += AT_ONCE) {
        const ptrdiff_t rows = padded_rows - r < AT_ONCE ? padded_rows - r : AT_ONCE;
        philox_blocks(words, at, (uint32_t)r, PACKED_MEAN_BLOCK, 1, rows);
        for (ptrdiff_t i = 0; i < rows; i++)
            to[r + i] = words[4 * i];
    }
}

/* Threads of one update wait for each other eight times or so. A short spin, then the core is
 * given away: on a busy machine the one waited for may need it. */
#if defined(_OPENMP) && defined(__GNUC__)
#include <sched.h>
FB_UNUSED static void packed_wait(packed_pair *q, int T)
{
    if (T == 1)
        return;
    const int generation = __atomic_load_n(&q->generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&q->arrived, 1, __ATOMIC_ACQ_REL) == T) {
        __atomic_store_n(&q->arrived, 0, __ATOMIC_RELAXED);
        __atomic_add_fetch(&q->generation, 1, __ATOMIC_ACQ_REL);
        return;
    }
    for (int spins = 0; __atomic_load_n(&q->generation, __ATOMIC_ACQUIRE) == generation;) {
        if (spins < 20000) {
            spins++;
#if FB_X86
            _mm_pause();
#endif
        } else
            sched_yield();
    }
}
#define PACKED_BARRIER packed_wait(q, T);
#elif defined(_OPENMP)
#define PACKED_BARRIER _Pragma("omp barrier")
#else
#define PACKED_BARRIER
#endif

/* Positive phase of real-valued rows. Of many rows fields and statistics are BLAS's. */
FB_UNUSED static void packed_dense_phase(packed_pair *q, const packed_weights *up,
                                         ptrdiff_t n_rows, const packed_outputs *o, int t, int T)
{
    const ptrdiff_t words = packed_words(q->n_hidden);
    const ptrdiff_t begin = packed_share(words, t, T), end = packed_share(words, t + 1, T);
    const int near = packed_dense_room(q, n_rows, t, T) != NULL;
    if (near)
        packed_fields_of_rows(q, n_rows, begin, end);
    else {
        packed_dense_product(q, n_rows, 0, t, T);
        PACKED_BARRIER
    }
    packed_means_of_rows(q, up, n_rows, o, begin, end);
    if (!near) {
        PACKED_BARRIER
        packed_dense_product(q, n_rows, 1, t, T);
    }
}

/* What an update of so many rows in the two phases, of all processes together, counts in. */
FB_INLINE packed_step packed_step_of(const packed_pair *q, ptrdiff_t n0, ptrdiff_t n1, float rate)
{
    packed_step step = {0};
    step.rate = rate;
    step.mean_shift = packed_mean_shift(q, n0 > n1 ? n0 : n1);
    step.low = step.mean_shift <= PACKED_MEAN_BITS - q->spin_hidden;
    step.scale0 = 1.0f / ((float)n0 * (float)(1 << step.mean_shift));
    step.scale1 = 1.0f / ((float)n1 * (float)(1 << step.mean_shift));
    step.same = n0 == n1;
    return step;
}

/* Sums of real-valued visible units [begin, end) over rows. */
FB_CLONES FB_UNUSED static void packed_sum_real(packed_pair *q, ptrdiff_t n0, ptrdiff_t begin,
                                                ptrdiff_t end)
{
    for (ptrdiff_t i = begin; i < end; i++)
        q->mean_v0[i] = 0;
    for (ptrdiff_t r = 0; r < n0; r++)
        for (ptrdiff_t i = begin; i < end; i++)
            q->mean_v0[i] += q->x0[r * q->n_visible + i];
}

/* Both phases of one update, and the sums over rows of each layer. */
FB_UNUSED static void packed_pair_phases(packed_pair *q, const packed_step *step, const void *data,
                                         const int64_t *rows, ptrdiff_t n0, ptrdiff_t n1,
                                         uint32_t update, uint32_t sweep, int t, int T)
{
    const ptrdiff_t V = q->n_visible, H = q->n_hidden;
    const ptrdiff_t hidden_begin = packed_first_unit(q, H, t, T);
    const ptrdiff_t hidden_end = packed_first_unit(q, H, t + 1, T);
    const ptrdiff_t visible_begin = packed_first_unit(q, V, t, T);
    const ptrdiff_t visible_end = packed_first_unit(q, V, t + 1, T);
    const packed_weights up = {q->w, 1, V, V, H, 0}, down = {q->w, V, 1, H, V, 0};
    const uint32_t row = (uint32_t)q->first_row, chain = (uint32_t)q->first_chain;

    /* The positive phase of binary rows waits for the last sweep's hidden layer where it can: with
     * chains of their own (PCD) both need the same tables. */
    const int together = q->persistent && !q->real;
    if (q->real)
        packed_gather_real(q, (const float *)data, rows, n0, t, T);
    else
        packed_gather(q, (const uint32_t *)data, rows, n0, t, T);
    packed_prepare(q, &up, t, T);
    packed_prepare(q, &down, t, T);
    if (t == 0 && q->asks != NULL)
        packed_keep_old(q, 0);
    const philox_address positive_at = philox_at(q->seed, q->positive_stream, update, row);
    const int by_chance = step->mean_shift < PACKED_SHIFT;
    if (t == 0 && by_chance)
        packed_chances(positive_at, 16 * packed_groups(n0), q->chance0);
    if (t == T - 1 && by_chance)
        packed_chances(philox_at(q->seed, q->hidden_stream, sweep + (uint32_t)q->n_gibbs - 1, chain),
                       16 * packed_groups(n1), q->chance1);
    PACKED_BARRIER
    packed_outputs positive = {0};
    positive.scale = 1.0f;
    positive.bias = q->bias_hidden;
    positive.spin_in = q->spin_visible;
    positive.spin_out = q->spin_hidden;
    positive.mean = q->p0;
    positive.mean_shift = step->mean_shift;
    positive.chance = by_chance ? q->chance0 : NULL;
    positive.bits = q->persistent ? NULL : q->h0;
    positive.address = positive_at;
    const packed_rows data_rows = {q->v0, n0, &positive};
    if (q->real)
        packed_dense_phase(q, &up, n0, &positive, t, T);
    else if (!together)
        packed_pair_layer(q, &up, &data_rows, 1, t, T);
    const uint32_t *h = q->persistent ? q->h1 : q->h0;
    for (int k = 0; k < q->n_gibbs; k++) {
        const int last = k == q->n_gibbs - 1;
        const int asks = q->asks != NULL && k > 0 && k % packed_asks_every(q) == 0;
        if (t == 0 && asks)
            q->stop = q->asks(q->asked);
        PACKED_BARRIER
        if (asks && q->stop)
            return;
        packed_outputs v = {0};
        v.scale = 1.0f;
        v.bias = q->bias_visible;
        v.spin_in = q->spin_hidden;
        v.spin_out = q->spin_visible;
        v.bits = q->v1;
        v.turned = last && !q->by_rows ? q->v1_turned : NULL;
        v.address = philox_at(q->seed, q->visible_stream, sweep + (uint32_t)k, chain);
        const packed_rows hidden_rows = {h, n1, &v};
        packed_pair_layer(q, &down, &hidden_rows, 1, t, T);
        if (last && q->by_rows)
            packed_count_rows(q->v1, packed_words(V), n1, visible_begin / 32,
                              packed_words(visible_end), q->count_v1);
        else if (last)
            packed_count(q->v1_turned, packed_groups(n1) / 2, visible_begin, visible_end,
                         q->count_v1);
        PACKED_BARRIER
        packed_outputs negative = {0};
        negative.scale = 1.0f;
        negative.bias = q->bias_hidden;
        negative.spin_in = q->spin_visible;
        negative.spin_out = q->spin_hidden;
        negative.bits = q->persistent || !last ? q->h1 : NULL;
        negative.mean = last ? q->p1 : NULL;
        negative.mean_shift = step->mean_shift;
        negative.chance = by_chance ? q->chance1 : NULL;
        negative.address = philox_at(q->seed, q->hidden_stream, sweep + (uint32_t)k, chain);
        const packed_rows both[2] = {{q->v1, n1, &negative}, data_rows};
        packed_pair_layer(q, &up, both, last && together ? 2 : 1, t, T);
        h = q->h1;
    }
    PACKED_BARRIER /* the dense phase has other shares than these */
    if (q->real)
        packed_sum_real(q, n0, visible_begin, visible_end);
    if (q->by_rows || q->real)
        packed_sum_rows(q->p0, n0, packed_padded(H), hidden_begin, hidden_end, q->sum_p0);
    else
        packed_sum_means(q->p0, 16 * packed_groups(n0), hidden_begin, hidden_end, q->sum_p0);
    if (q->by_rows)
        packed_sum_rows(q->p1, n1, packed_padded(H), hidden_begin, hidden_end, q->sum_p1);
    else
        packed_sum_means(q->p1, 16 * packed_groups(n1), hidden_begin, hidden_end, q->sum_p1);
    PACKED_BARRIER
}

/* The share of thread t in one update. `follow` is 1 for the first minibatch of a training. */
FB_UNUSED static void packed_pair_update(packed_pair *q, const void *data, const int64_t *rows,
                                         ptrdiff_t n_rows, uint32_t update, uint32_t sweep,
                                         float rate, float follow, int t, int T)
{
    const ptrdiff_t n0 = n_rows, n1 = q->persistent ? q->n_chains : n_rows;
    const packed_step step = packed_step_of(q, n0, n1, rate);
    packed_pair_phases(q, &step, data, rows, n0, n1, update, sweep, t, T);
    if (q->stop)
        return;
    if (t == 0)
        packed_differences(q, &step, n0, n1, follow);
    PACKED_BARRIER
    packed_pair_sums(q, &step, n0, n1, t, T);
    PACKED_BARRIER
    if (t == 0)
        packed_update_biases(q, &step);
    PACKED_BARRIER
}


/* The largest absolute weights of the panels of thread t, by lanes, as an update leaves them. */
FB_CLONES FB_UNUSED static void packed_find_largest(packed_pair *q, int t, int T)
{
    const ptrdiff_t V = q->n_visible, panels = packed_panels(q->n_hidden);
    const ptrdiff_t begin = packed_share(panels, t, T), end = packed_share(panels, t + 1, T);
    for (ptrdiff_t panel = begin; panel < end; panel++) {
        const ptrdiff_t first = panel * PACKED_PANEL;
        uint32_t most[16] = {0};
        for (ptrdiff_t j = first; j < first + PACKED_PANEL && j < q->n_hidden; j++)
            for (ptrdiff_t i = 0; i < V; i += 16) {
                uint32_t bits[16] = {0};
                if (V - i >= 16)
                    memcpy(bits, q->w + j * V + i, sizeof bits);
                else
                    memcpy(bits, q->w + j * V + i, (size_t)(V - i) * sizeof *bits);
                for (int l = 0; l < 16; l++) {
                    const uint32_t size = bits[l] & 0x7fffffffu;
                    most[l] = size > most[l] ? size : most[l];
                }
            }
        memcpy(q->largest + 16 * panel, most, sizeof most);
    }
}

/* Whether the weights that the last update left surely sum in fixed point, by the largest of each panel
 * and lane, whose mean is half of the largest of all or so; packed_fits looks at the weights themselves. */
FB_CLONES FB_UNUSED static int packed_surely_fit(const packed_pair *q)
{
    const ptrdiff_t panels = packed_panels(q->n_hidden);
    const float per_lane = (float)((q->n_visible + 15) / 16);
    const float limit = 0.99f * (float)PACKED_LIMIT / (float)(1 << PACKED_SHIFT); /* for the rounding of sums */
    float columns[16] = {0};
    for (ptrdiff_t panel = 0; panel < panels; panel++) {
        float lanes[16], row = 0;
        memcpy(lanes, q->largest + 16 * panel, sizeof lanes);
        for (int l = 0; l < 16; l++) {
            row += per_lane * (lanes[l] + 1e-6f); /* a weight is rounded up by half of 2^-20 */
            columns[l] += (float)PACKED_PANEL * (lanes[l] + 1e-6f);
        }
        if (!(row < limit)) /* nor is a NaN */
            return 0;
    }
    for (int l = 0; l < 16; l++)
        if (!(columns[l] < limit)) /* nor is one weight above 1000, eight times */
            return 0;
    return 1;
}

/* `n_updates` minibatches of consecutive entries of `rows`. Returns the number made: fewer when
 * the weights leave the range of fixed point, which is looked at before each, or when one was given up,
 * of which nothing is left. */
FB_UNUSED static ptrdiff_t packed_pair_run(packed_pair *q, const void *data,
                                           const int64_t *rows, ptrdiff_t n_rows,
                                           ptrdiff_t batch_size, ptrdiff_t n_updates,
                                           uint32_t update, uint32_t sweep, const float *rates,
                                           float follow_first, float follow)
{
    ptrdiff_t made = 0;
    int fits = 1;
    q->stop = 0;
#ifdef _OPENMP
#pragma omp parallel num_threads(q->n_threads) if (q->n_threads > 1)
#endif
    {
#ifdef _OPENMP
        const int t = omp_get_thread_num(), T = omp_get_num_threads();
#else
        const int t = 0, T = 1;
#endif
        for (ptrdiff_t b = 0; b < n_updates; b++) {
            const ptrdiff_t begin = b * batch_size;
            const ptrdiff_t n = n_rows - begin < batch_size ? n_rows - begin : batch_size;
            /* what the last update has seen tells most of the time, without a look at all weights */
            if (b == 0) {
                packed_find_largest(q, t, T);
                PACKED_BARRIER
            }
            if (t == 0)
                fits = packed_surely_fit(q) || packed_fits(q->w, q->n_hidden, q->n_visible);
            PACKED_BARRIER
            if (!fits)
                break;
            packed_pair_update(q, data, rows + begin, n, update + (uint32_t)b,
                               sweep + (uint32_t)(b * q->n_gibbs), rates[b],
                               b == 0 ? follow_first : follow, t, T);
            if (q->stop)
                break;
            if (t == 0)
                made++;
        }
    }
    if (q->stop)
        packed_keep_old(q, 1);
    return made;
}

/* -- an update that several processes share ---------------------------------------------------- */

/* What stands first in q->shared: ones of visible units and sums of hidden means, of both phases.
 * `inward` takes them from there. */
FB_UNUSED static void packed_shared_move(packed_pair *q, const packed_step *step, int inward)
{
    const ptrdiff_t V = 32 * packed_words(q->n_visible), H = 32 * packed_words(q->n_hidden);
    const float unit = (float)(1 << step->mean_shift);
    int32_t *v0 = q->shared, *v1 = v0 + V, *p0 = v1 + V, *p1 = p0 + H;
    for (ptrdiff_t i = 0; i < q->n_visible; i++)
        if (inward) {
            q->count_v0[i] = v0[i];
            q->count_v1[i] = v1[i];
            if (q->real)
                q->mean_v0[i] = (float)v0[i] / unit;
        } else {
            v0[i] = q->real ? packed_nearest(unit * q->mean_v0[i]) : q->count_v0[i];
            v1[i] = q->count_v1[i];
        }
    for (ptrdiff_t j = 0; j < q->n_hidden; j++)
        if (inward) {
            q->sum_p0[j] = p0[j];
            q->sum_p1[j] = p1[j];
        } else { /* at most 2^30 in all, by the choice of mean_shift */
            p0[j] = (int32_t)q->sum_p0[j];
            p1[j] = (int32_t)q->sum_p1[j];
        }
}

/* The sums of this process's rows, and of its chains, into q->shared; `all_rows` and `all_chains`
 * are those of all processes. Returns 0, with nothing done, for weights out of range. */
FB_UNUSED static int packed_pair_share(packed_pair *q, const void *data, const int64_t *rows,
                                       ptrdiff_t n_rows, ptrdiff_t all_rows, ptrdiff_t all_chains,
                                       uint32_t update, uint32_t sweep)
{
    const ptrdiff_t n1 = q->persistent ? q->n_chains : n_rows;
    packed_step step = packed_step_of(q, all_rows, all_chains, 0.0f);
    step.keep = 1;
    if (!(q->has_updated && packed_surely_fit(q)) && !packed_fits(q->w, q->n_hidden, q->n_visible))
        return 0;
#ifdef _OPENMP
#pragma omp parallel num_threads(q->n_threads) if (q->n_threads > 1)
#endif
    {
#ifdef _OPENMP
        const int t = omp_get_thread_num(), T = omp_get_num_threads();
#else
        const int t = 0, T = 1;
#endif
        packed_pair_phases(q, &step, data, rows, n_rows, n1, update, sweep, t, T);
        packed_pair_sums(q, &step, n_rows, n1, t, T);
    }
    packed_shared_move(q, &step, 0);
    return 1;
}

/* The update of the weights by the totals in q->shared, of hidden units of part `part` of `parts`
 * only (with no parts, of none), and what the update of the biases needs of them; offsets of all. */
FB_UNUSED static void packed_pair_take(packed_pair *q, ptrdiff_t all_rows, ptrdiff_t all_chains,
                                       float rate, float follow, int part, int parts)
{
    packed_step step = packed_step_of(q, all_rows, all_chains, rate);
    step.taken = 1;
    packed_shared_move(q, &step, 1);
    packed_differences(q, &step, all_rows, all_chains, follow);
    if (parts == 0)
        return;
#ifdef _OPENMP
#pragma omp parallel num_threads(q->n_threads) if (q->n_threads > 1)
#endif
    {
#ifdef _OPENMP
        const int t = omp_get_thread_num(), T = omp_get_num_threads();
#else
        const int t = 0, T = 1;
#endif
        packed_update_taken(q, &step, part * T + t, parts * T);
    }
}

/* The rest of the update, when all parts are taken. */
FB_UNUSED static void packed_pair_end(packed_pair *q, float rate)
{
    const packed_step step = {.rate = rate};
    packed_update_biases(q, &step);
    q->has_updated = 1;
}

#endif
