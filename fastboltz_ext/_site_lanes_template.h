/* Included by _site_core.h with REAL (float or double), BITS (the unsigned integer of its size),
 * LEVEL (an integer that holds the levels of site_level) and FN (name with suffix) defined. */

/* -- a call's plan ----------------------------------------------------------------------------- */

/* Levels of the units with few edges, one table for all units with equal field and weights. */
FB_CLONES FB_UNUSED static int FN(lanes_tables)(site_plan *plan, REAL scale)
{
    const ptrdiff_t n = plan->n_units;
    const REAL *field = (const REAL *)plan->field, *weights = (const REAL *)plan->weights;
    LEVEL *levels = (LEVEL *)plan->levels;
    ptrdiff_t size = 16;
    while (size < 2 * n)
        size *= 2;
    /* an open hash table of units, by field and weights */
    int32_t *first = (int32_t *)malloc((size_t)size * sizeof(int32_t));
    if (first == NULL)
        return 0;
    for (ptrdiff_t h = 0; h < size; h++)
        first[h] = -1;
    int32_t n_tables = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        const int64_t degree = plan->unit_offsets[i + 1] - plan->unit_offsets[i];
        const REAL *w = weights + plan->unit_offsets[i];
        plan->table[i] = -1;
        if (degree > SITE_TABLE_TERMS)
            continue;
        uint64_t hash = (uint64_t)degree;
        for (int64_t t = -1; t < degree; t++) {
            const REAL part = t < 0 ? field[i] : w[t];
            uint64_t bits = 0;
            memcpy(&bits, &part, sizeof part);
            hash = (hash ^ bits) * 0x9E3779B97F4A7C15u;
            hash ^= hash >> 29;
        }
        ptrdiff_t at = (ptrdiff_t)(hash & (uint64_t)(size - 1));
        for (; first[at] >= 0; at = (at + 1) & (size - 1)) {
            const int32_t k = first[at];
            const int64_t q = plan->unit_offsets[k];
            if (plan->unit_offsets[k + 1] - q == degree &&
                memcmp(field + k, field + i, sizeof(REAL)) == 0 &&
                memcmp(weights + q, w, (size_t)degree * sizeof(REAL)) == 0)
                break;
        }
        if (first[at] >= 0) {
            plan->table[i] = plan->table[first[at]];
            continue;
        }
        first[at] = (int32_t)i;
        REAL p[SITE_TABLE];
        for (int c = 0; c < SITE_TABLE; c++)
            p[c] = field[i];
        for (int t = 0; t < (int)degree; t++) {
            const REAL lower = plan->spin ? -w[t] : (REAL)0;
            for (int c = 0; c < SITE_TABLE; c++)
                p[c] += c >> t & 1 ? w[t] : lower;
        }
        for (int c = 0; c < SITE_TABLE; c++) {
            const REAL a = scale * p[c];
            p[c] = FN(fb_logistic)(plan->spin ? a + a : a);
        }
        for (int c = 0; c < SITE_TABLE; c++)
            levels[(ptrdiff_t)n_tables * SITE_TABLE + c] = FN(site_level)(p[c]);
        plan->table[i] = n_tables++;
    }
    free(first);
    return 1;
}

/* 1 and the plan, 0 if the loop over single chains has to do it, -1 if memory is short.
 * task->n_rows and task->n_sweeps are those of the whole call. */
FB_UNUSED static int FN(lanes_plan)(site_plan *plan, const REAL *field, const REAL *weights,
                                    ptrdiff_t n_edges, const int64_t *edge_offsets,
                                    const int64_t *edge_units, const int64_t *unit_offsets,
                                    const int64_t *unit_edges, REAL scale, const site_task *task,
                                    int kernel)
{
    const ptrdiff_t n = task->n_units, terms = (ptrdiff_t)unit_offsets[n];
    memset(plan, 0, sizeof *plan);
    if (n > INT32_MAX || n_edges > INT32_MAX - 1)
        return 0;
    for (ptrdiff_t e = 0; e < n_edges; e++)
        if (!(weights[e] - weights[e] == 0)) /* infinite or not a number: 0 w is not 0 */
            return 0;
    plan->n_units = n;
    plan->edge_offsets = edge_offsets;
    plan->edge_units = edge_units;
    plan->unit_offsets = unit_offsets;
    plan->spin = task->spin;
    plan->kernel = kernel;
    plan->kept = site_scattered(task->order, task->n_order, n);

    /* Rows that are equal to the first one, to the bit, count as one field for all. */
    int same = 1;
    for (ptrdiff_t r = 1; same && task->field_stride != 0 && r < task->n_rows; r++)
        same = memcmp(field, field + r * task->field_stride, (size_t)n * sizeof(REAL)) == 0;
    plan->field = same ? field : NULL;
    const int tables = same && (double)task->n_rows * (double)task->n_sweeps >= SITE_TABLE_PAYS;

    const size_t words = (size_t)((n + 63) / 64 * 64) * sizeof(uint64_t);
    const size_t fields = same ? 0 : (size_t)n * SITE_LANES * sizeof(REAL);
    const size_t units = plan->kept ? (size_t)((n + 7) / 8 * 8) : 8;
    const size_t keys = units * SITE_LANES * sizeof(uint32_t);
    plan->fixed_at = (ptrdiff_t)words;
    plan->field_at = (ptrdiff_t)(words * (task->clamped != NULL ? 2 : 1));
    plan->keys_at = plan->field_at + (ptrdiff_t)fields;
    plan->scratch_stride = plan->keys_at + (ptrdiff_t)keys;

    const size_t scratch = (size_t)plan->scratch_stride * (size_t)task->n_threads;
    const size_t levels = tables ? (size_t)n * SITE_TABLE * sizeof(LEVEL) : 0;
    plan->memory = malloc(scratch + levels + (size_t)terms * sizeof(REAL) +
                          (size_t)(terms + n) * sizeof(int32_t) + 64);
    if (plan->memory == NULL)
        return -1;
    plan->scratch = (char *)(((uintptr_t)plan->memory + 63) / 64 * 64);
    plan->levels = plan->scratch + scratch;
    plan->weights = (char *)plan->levels + levels;
    plan->others = (int32_t *)((char *)plan->weights + (size_t)terms * sizeof(REAL));
    plan->table = plan->others + terms;

    for (ptrdiff_t i = 0; i < n; i++) {
        plan->table[i] = -1;
        for (int64_t q = unit_offsets[i]; q < unit_offsets[i + 1]; q++) {
            const int64_t e = unit_edges[q];
            int64_t count = 0, other = 0;
            for (int64_t m = edge_offsets[e]; m < edge_offsets[e + 1] && count < 2; m++)
                if (edge_units[m] != i) {
                    other = edge_units[m];
                    count++;
                }
            plan->others[q] = (int32_t)(count == 1 ? other : -1 - e);
            ((REAL *)plan->weights)[q] = weights[e];
        }
    }
    if (tables && !FN(lanes_tables)(plan, scale)) {
        site_plan_free(plan);
        return -1;
    }
    return 1;
}

/* -- states and fields of a block, in and out -------------------------------------------------- */

/* 64 values as bits; *wrong gets what is neither of the two states, to the bit. */
FB_INLINE uint64_t FN(lanes_bits)(const REAL *v, BITS one, BITS lower, BITS *wrong)
{
    BITS seen = 0;
    uint64_t bits = 0;
    uint8_t upper[64];
    for (int b = 0; b < 64; b++) {
        BITS x;
        memcpy(&x, v + b, sizeof x);
        seen |= (x ^ one) != 0 ? x ^ lower : 0;
        upper[b] = x == one;
    }
    for (int b = 0; b < 64; b++)
        bits |= (uint64_t)upper[b] << b;
    *wrong |= seen;
    return bits;
}

/* States of up to 64 chains as words; 0 if a value is neither of the two states. */
FB_CLONES FB_UNUSED static int FN(lanes_pack)(const REAL *values, ptrdiff_t n_rows, ptrdiff_t n,
                                              int spin, uint64_t *words)
{
    const REAL states[2] = {spin ? (REAL)-1 : (REAL)0, (REAL)1};
    BITS one, lower, wrong = 0;
    memcpy(&one, states + 1, sizeof one);
    memcpy(&lower, states, sizeof lower);
    memset(words, 0, (size_t)((n + 63) / 64 * 64) * sizeof *words);
    for (ptrdiff_t r = 0; r < n_rows; r++)
        for (ptrdiff_t begin = 0; begin < n; begin += 64) {
            const REAL *v = values + r * n + begin;
            if (n - begin >= 64) {
                words[begin + r] = FN(lanes_bits)(v, one, lower, &wrong);
                continue;
            }
            REAL last[64];
            for (int b = 0; b < 64; b++)
                last[b] = b < n - begin ? v[b] : states[0];
            words[begin + r] = FN(lanes_bits)(last, one, lower, &wrong);
        }
    site_transpose_all(words, n);
    return wrong == 0;
}

/* The way back; the words are used up. */
FB_CLONES FB_UNUSED static void FN(lanes_unpack)(uint64_t *words, ptrdiff_t n_rows, ptrdiff_t n,
                                                 int spin, REAL *values)
{
    const REAL lower = spin ? (REAL)-1 : (REAL)0;
    site_transpose_all(words, n);
    for (ptrdiff_t r = 0; r < n_rows; r++)
        for (ptrdiff_t begin = 0; begin < n; begin += 16) {
            REAL *v = values + r * n + begin;
            const uint32_t bits = (uint32_t)(words[begin / 64 * 64 + r] >> begin % 64);
            if (n - begin >= 16)
                for (int b = 0; b < 16; b++)
                    v[b] = bits >> b & 1 ? (REAL)1 : lower;
            else
                for (int b = 0; b < n - begin; b++)
                    v[b] = bits >> b & 1 ? (REAL)1 : lower;
        }
}

/* Fields [row][unit] as [unit][lane]; lanes without a chain get 0. */
FB_CLONES FB_UNUSED static void FN(lanes_turn)(const REAL *field, ptrdiff_t n_rows, ptrdiff_t n,
                                               REAL *turned)
{
    for (ptrdiff_t begin = 0; begin < n; begin += 16) {
        const int width = n - begin < 16 ? (int)(n - begin) : 16;
        for (ptrdiff_t r = 0; r < SITE_LANES; r++)
            for (int b = 0; b < width; b++)
                turned[(begin + b) * SITE_LANES + r] = r < n_rows ? field[r * n + begin + b] : 0;
    }
}

/* -- the sweeps, in C for any processor -------------------------------------------------------- */

/* Keys of eight units for a block of chains: [unit][lane]. */
FB_INLINE void FN(lanes_keys)(uint32_t *keys, const philox_address *a, uint32_t row, uint32_t eight,
                              ptrdiff_t lanes)
{
    const uint32_t k0 = a->k0, k1 = a->k1, step = a->step, stream = a->stream;
    for (ptrdiff_t begin = 0; begin < lanes; begin += SITE_GROUP) {
        const uint32_t first = row + (uint32_t)begin;
        uint32_t *out = keys + begin, half[2][4][SITE_GROUP];
        for (uint32_t b = 0; b < 2; b++)
            for (int l = 0; l < SITE_GROUP; l++) {
                uint64_t x0 = 2 * eight + b, x1 = first + (uint32_t)l, x2 = step, x3 = stream;
                PHILOX_TEN_ROUNDS;
                half[b][0][l] = (uint32_t)x0;
                half[b][1][l] = (uint32_t)x1;
                half[b][2][l] = (uint32_t)x2;
                half[b][3][l] = (uint32_t)x3;
            }
        for (int i = 0; i < 4; i++)
            for (int l = 0; l < SITE_GROUP; l++) {
                const uint32_t above = half[0][i][l], below = half[1][i][l];
                out[2 * i * SITE_LANES + l] =
                    FN(site_key)(philox_even(above, below));
                out[(2 * i + 1) * SITE_LANES + l] = FN(site_key)(philox_odd(above, below));
            }
    }
}

FB_CLONES FB_UNUSED static void FN(lanes_sweeps)(const site_plan *plan, const site_task *task,
                                                 uint64_t *states, const uint64_t *fixed,
                                                   const REAL *turned, uint32_t *keys,
                                                   uint32_t row, ptrdiff_t lanes, REAL scale)
{
    const ptrdiff_t eights = (plan->n_units + 7) / 8;
    const REAL *weights = (const REAL *)plan->weights;
    for (ptrdiff_t s = 0; s < task->n_sweeps; s++) {
        philox_address address = task->address;
        address.step += (uint32_t)s;
        if (plan->kept)
            for (ptrdiff_t eight = 0; eight < eights; eight++)
                FN(lanes_keys)(keys + eight * 8 * SITE_LANES, &address, row, (uint32_t)eight, lanes);
        ptrdiff_t last = -1;
        for (ptrdiff_t k = 0; k < task->n_order; k++) {
            const ptrdiff_t i = task->order != NULL ? (ptrdiff_t)task->order[k] : k;
            const uint64_t kept = fixed != NULL ? fixed[i] : 0;
            if (!plan->kept && i >> 3 != last) {
                last = i >> 3;
                FN(lanes_keys)(keys, &address, row, (uint32_t)last, lanes);
            }
            const uint32_t *key = keys + (plan->kept ? i : i & 7) * SITE_LANES;
            const int64_t begin = plan->unit_offsets[i], end = plan->unit_offsets[i + 1];
            uint8_t upper[SITE_LANES];
            if (plan->table[i] >= 0) {
                const LEVEL *levels =
                    (const LEVEL *)plan->levels + (ptrdiff_t)plan->table[i] * SITE_TABLE;
                uint64_t product[SITE_TABLE_TERMS] = {0};
                for (int64_t q = begin; q < end; q++)
                    product[q - begin] = site_product(plan, states, q, i);
                for (ptrdiff_t g = 0; g < lanes; g += SITE_GROUP) {
                    const uint32_t p0 = (uint32_t)(product[0] >> g), p1 = (uint32_t)(product[1] >> g);
                    const uint32_t p2 = (uint32_t)(product[2] >> g), p3 = (uint32_t)(product[3] >> g);
                    for (int l = 0; l < SITE_GROUP; l++) {
                        const int32_t index = (int32_t)((p0 >> l & 1) | (p1 >> l & 1) << 1 |
                                                        (p2 >> l & 1) << 2 | (p3 >> l & 1) << 3);
                        upper[g + l] = (LEVEL)key[g + l] < levels[index];
                    }
                }
            } else {
                REAL sum[SITE_LANES];
                for (ptrdiff_t l = 0; l < lanes; l++)
                    sum[l] = plan->field != NULL ? ((const REAL *)plan->field)[i]
                                                 : turned[i * SITE_LANES + l];
                for (int64_t q = begin; q < end; q++) {
                    const uint64_t product = site_product(plan, states, q, i);
                    const REAL w = weights[q], lower = plan->spin ? -w : (REAL)0;
                    for (ptrdiff_t g = 0; g < lanes; g += SITE_GROUP) {
                        const uint32_t bits = (uint32_t)(product >> g);
                        for (int l = 0; l < SITE_GROUP; l++)
                            sum[g + l] += bits >> l & 1 ? w : lower;
                    }
                }
                for (ptrdiff_t l = 0; l < lanes; l++) {
                    const REAL a = scale * sum[l];
                    const REAL p = FN(fb_logistic)(plan->spin ? a + a : a);
                    upper[l] = FN(site_uniform)(key[l]) < p;
                }
            }
            uint64_t now = 0;
            for (ptrdiff_t g = 0; g < lanes; g += SITE_GROUP) {
                uint32_t bits = 0;
                for (int l = 0; l < SITE_GROUP; l++)
                    bits |= (uint32_t)upper[g + l] << l;
                now |= (uint64_t)bits << g;
            }
            states[i] = (now & ~kept) | (states[i] & kept);
        }
    }
}
