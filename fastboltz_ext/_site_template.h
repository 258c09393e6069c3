/* Included by _site_core.h with REAL (float or double) and FN (name with suffix) defined. */

/* sum_j c_j v_j in sixteen partial sums: a fixed order that fills the lanes. */
FB_INLINE REAL FN(site_dot)(const REAL *c, const REAL *v, ptrdiff_t n)
{
    REAL sums[16] = {0};
    ptrdiff_t j = 0;
    for (; j + 16 <= n; j += 16)
        for (int l = 0; l < 16; l++)
            sums[l] += c[j + l] * v[j + l];
    for (int l = 0; j < n; j++, l++)
        sums[l] += c[j] * v[j];
    for (int width = 8; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            sums[l] += sums[l + width];
    return sums[0];
}

/* New state of a unit with activation a. */
FB_INLINE REAL FN(site_state)(REAL a, int spin, uint32_t word)
{
    REAL p = FN(fb_logistic)(spin ? a + a : a);
    return FN(philox_uniform)(word) < p ? (REAL)1 : (spin ? (REAL)-1 : (REAL)0);
}

/* Activation without scale: field_i + sum_j c_ij v_j. couplings has a matrix for each row
 * (matrix_stride n^2) or one for all (0). */
FB_CLONES FB_UNUSED static void FN(dense_rows)(REAL *values, const REAL *field,
                                               const REAL *couplings, ptrdiff_t matrix_stride,
                                               REAL scale, const site_task *task,
                                               ptrdiff_t begin, ptrdiff_t end, uint32_t *words)
{
    const ptrdiff_t n = task->n_units;
    for (ptrdiff_t r = begin; r < end; r++) {
        REAL *v = values + r * n;
        const REAL *f = field + r * task->field_stride;
        const REAL *c = couplings + r * matrix_stride;
        const uint8_t *fixed = task->clamped != NULL ? task->clamped + r * n : NULL;
        for (ptrdiff_t s = 0; s < task->n_sweeps; s++) {
            philox_address address = task->address;
            address.step += (uint32_t)s;
            philox_fill(words, address, (uint32_t)r, 0, (n + 7) / 8, 1);
            for (ptrdiff_t k = 0; k < task->n_order; k++) {
                ptrdiff_t i = task->order != NULL ? (ptrdiff_t)task->order[k] : k;
                if (fixed != NULL && fixed[i])
                    continue;
                REAL a = scale * (f[i] + FN(site_dot)(c + i * n, v, n));
                v[i] = FN(site_state)(a, task->spin, words[i]);
            }
        }
    }
}

FB_UNUSED static void FN(sweep_dense)(REAL *values, const REAL *field, const REAL *couplings,
                                      ptrdiff_t matrix_stride, REAL scale, const site_task *task)
{
    const int n_threads = task->n_threads;
    const int parallel = n_threads > 1 && task->n_rows > 1;
    const ptrdiff_t blocks = parallel ? n_threads : 1;
    ptrdiff_t b;
    FB_PARALLEL_FOR
    for (b = 0; b < blocks; b++)
        FN(dense_rows)(values, field, couplings, matrix_stride, scale, task,
                       task->begin + task->n_rows * b / blocks,
                       task->begin + task->n_rows * (b + 1) / blocks,
                       task->words + b * task->words_stride);
}

/* A unit's new state from its activation without scale, field_i + sum over edges e of i of
 * w_e prod_{k in e, k != i} v_k. */
FB_INLINE void FN(hyperedge_site)(REAL *v, ptrdiff_t i, const REAL *f, const REAL *w,
                                  const int64_t *edge_offsets, const int64_t *edge_units,
                                  const int64_t *unit_offsets, const int64_t *unit_edges,
                                  REAL scale, int spin, uint32_t word)
{
    REAL sum = f[i];
    for (int64_t q = unit_offsets[i]; q < unit_offsets[i + 1]; q++) {
        int64_t e = unit_edges[q];
        REAL product = w[e];
        for (int64_t m = edge_offsets[e]; m < edge_offsets[e + 1]; m++)
            if (edge_units[m] != i)
                product *= v[edge_units[m]];
        sum += product;
    }
    v[i] = FN(site_state)(scale * sum, spin, word);
}

/* Chain by chain and site by site. */
FB_UNUSED static void FN(hyperedge_rows)(REAL *values, const REAL *field, const REAL *weights,
                                         ptrdiff_t weight_stride, const int64_t *edge_offsets,
                                         const int64_t *edge_units, const int64_t *unit_offsets,
                                         const int64_t *unit_edges, REAL scale,
                                         const site_task *task, ptrdiff_t begin, ptrdiff_t end,
                                         uint32_t *words)
{
    const ptrdiff_t n = task->n_units;
    for (ptrdiff_t r = begin; r < end; r++) {
        REAL *v = values + r * n;
        const REAL *f = field + r * task->field_stride;
        const REAL *w = weights + r * weight_stride;
        const uint8_t *fixed = task->clamped != NULL ? task->clamped + r * n : NULL;
        for (ptrdiff_t s = 0; s < task->n_sweeps; s++) {
            philox_address address = task->address;
            address.step += (uint32_t)s;
            philox_fill(words, address, (uint32_t)r, 0, (n + 7) / 8, 1);
            for (ptrdiff_t k = 0; k < task->n_order; k++) {
                ptrdiff_t i = task->order != NULL ? (ptrdiff_t)task->order[k] : k;
                if (fixed != NULL && fixed[i])
                    continue;
                FN(hyperedge_site)(v, i, f, w, edge_offsets, edge_units, unit_offsets, unit_edges,
                                   scale, task->spin, words[i]);
            }
        }
    }
}

/* Chain by chain, the sites of a level at once (site_levels): the same bits. */
FB_UNUSED static void FN(sweep_levels)(REAL *values, const REAL *field, const REAL *weights,
                                       ptrdiff_t weight_stride, const int64_t *edge_offsets,
                                       const int64_t *edge_units, const int64_t *unit_offsets,
                                       const int64_t *unit_edges, REAL scale,
                                       const site_task *task, const int64_t *sites,
                                       const int64_t *starts, ptrdiff_t n_levels)
{
    const ptrdiff_t n = task->n_units, steps = (n + PHILOX_PAD - 1) / PHILOX_PAD;
    const int n_threads = task->n_threads;
    for (ptrdiff_t r = task->begin; r < task->begin + task->n_rows; r++) {
        REAL *v = values + r * n;
        const REAL *f = field + r * task->field_stride;
        const REAL *w = weights + r * weight_stride;
        const uint8_t *fixed = task->clamped != NULL ? task->clamped + r * n : NULL;
        for (ptrdiff_t s = 0; s < task->n_sweeps; s++) {
            philox_address address = task->address;
            address.step += (uint32_t)s;
            for (ptrdiff_t level = -1; level < n_levels; level++) {
                /* before the first level, the random words, by whole steps of the generator */
                const ptrdiff_t begin = level < 0 ? 0 : (ptrdiff_t)starts[level];
                const ptrdiff_t count = level < 0 ? steps : (ptrdiff_t)starts[level + 1] - begin;
                const int parallel = n_threads > 1 && count >= (level < 0 ? 2 : SITE_FEW);
                ptrdiff_t b;
                FB_PARALLEL_FOR
                for (b = 0; b < n_threads; b++) {
                    const ptrdiff_t first = begin + count * b / n_threads;
                    const ptrdiff_t end = begin + count * (b + 1) / n_threads;
                    if (level < 0) {
                        philox_fill(task->words + first * PHILOX_PAD, address, (uint32_t)r,
                                    (uint32_t)(first * (PHILOX_PAD / 8)),
                                    (end - first) * (PHILOX_PAD / 8), 1);
                        continue;
                    }
                    for (ptrdiff_t k = first; k < end; k++) {
                        const ptrdiff_t i = (ptrdiff_t)sites[k];
                        if (fixed == NULL || !fixed[i])
                            FN(hyperedge_site)(v, i, f, w, edge_offsets, edge_units, unit_offsets,
                                               unit_edges, scale, task->spin, task->words[i]);
                    }
                }
            }
        }
    }
}

FB_UNUSED static void FN(sweep_hyperedges)(REAL *values, const REAL *field, const REAL *weights,
                                           ptrdiff_t weight_stride, const int64_t *edge_offsets,
                                           const int64_t *edge_units, const int64_t *unit_offsets,
                                           const int64_t *unit_edges, REAL scale,
                                           const site_task *task)
{
    const int n_threads = task->n_threads;
    const int parallel = n_threads > 1 && task->n_rows > 1;
    const ptrdiff_t blocks = parallel ? n_threads : 1;
    ptrdiff_t b;
    FB_PARALLEL_FOR
    for (b = 0; b < blocks; b++)
        FN(hyperedge_rows)(values, field, weights, weight_stride, edge_offsets, edge_units,
                           unit_offsets, unit_edges, scale, task,
                           task->begin + task->n_rows * b / blocks,
                           task->begin + task->n_rows * (b + 1) / blocks,
                           task->words + b * task->words_stride);
}

/* The same by a plan: blocks of up to 64 chains in the lanes. A block with values that are neither
 * of the two states goes chain by chain. */
FB_UNUSED static void FN(sweep_lanes)(const site_plan *plan, REAL *values, const REAL *field,
                                      const REAL *weights, const int64_t *edge_offsets,
                                      const int64_t *edge_units, const int64_t *unit_offsets,
                                      const int64_t *unit_edges, REAL scale, const site_task *task)
{
    const ptrdiff_t n = task->n_units;
    const int n_threads = task->n_threads;
    /* Enough blocks for all threads; every division gives the same bits. */
    ptrdiff_t rows = (task->n_rows + n_threads - 1) / n_threads;
    rows = (rows + SITE_GROUP - 1) / SITE_GROUP * SITE_GROUP;
    rows = rows < SITE_LANES ? rows : SITE_LANES;
    const ptrdiff_t blocks = rows > 0 ? (task->n_rows + rows - 1) / rows : 0;
    const int parallel = n_threads > 1 && blocks > 1;
    ptrdiff_t thread;
    FB_PARALLEL_FOR
    for (thread = 0; thread < n_threads; thread++) {
        char *scratch = plan->scratch + thread * plan->scratch_stride;
        uint64_t *states = (uint64_t *)scratch;
        uint64_t *fixed = task->clamped != NULL ? (uint64_t *)(scratch + plan->fixed_at) : NULL;
        REAL *turned = (REAL *)(scratch + plan->field_at);
        uint32_t *keys = (uint32_t *)(scratch + plan->keys_at);
        for (ptrdiff_t b = blocks * thread / n_threads; b < blocks * (thread + 1) / n_threads; b++) {
            const ptrdiff_t begin = task->begin + b * rows;
            const ptrdiff_t left = task->begin + task->n_rows - begin;
            const ptrdiff_t here = left < rows ? left : rows;
            const ptrdiff_t lanes = (here + SITE_GROUP - 1) / SITE_GROUP * SITE_GROUP;
            const uint32_t row = task->address.row0 + (uint32_t)begin;
            REAL *here_values = values + begin * n;
            const REAL *here_field = field + begin * task->field_stride;
            const int fast = SITE_HAS_FAST && plan->kernel == SITE_AVX512;
            if (!(fast ? SITE_FAST(pack)(here_values, here, n, task->spin, states)
                       : FN(lanes_pack)(here_values, here, n, task->spin, states))) {
                FN(hyperedge_rows)(values, field, weights, 0, edge_offsets, edge_units,
                                   unit_offsets, unit_edges, scale, task, begin, begin + here,
                                   task->words + thread * task->words_stride);
                continue;
            }
            if (fixed != NULL)
                site_pack_bytes(task->clamped + begin * n, here, n, fixed);
            if (plan->field == NULL && fast)
                SITE_FAST(turn)(here_field, here, n, turned);
            else if (plan->field == NULL)
                FN(lanes_turn)(here_field, here, n, turned);
            if (fast) {
                SITE_FAST(sweeps)(plan, task, states, fixed, turned, keys, row, lanes, scale);
                SITE_FAST(unpack)(states, here, n, task->spin, here_values);
            } else {
                FN(lanes_sweeps)(plan, task, states, fixed, turned, keys, row, lanes, scale);
                FN(lanes_unpack)(states, here, n, task->spin, here_values);
            }
        }
    }
}
