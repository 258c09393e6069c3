/* Loops of site_gibbs.pyx: the template, once for float and once for double. */
#ifndef FASTBOLTZ_SITE_CORE_H
#define FASTBOLTZ_SITE_CORE_H

#include "_logistic.h"
#include "_philox.h"
#include "_portable.h"

/* What both kinds of sweep are told. Rows begin..begin+n_rows of arrays of n_units columns. */
typedef struct {
    ptrdiff_t begin, n_rows, n_units;
    ptrdiff_t field_stride; /* from row to row: n_units, or 0 for one field for all */
    const int64_t *order; /* sites of a sweep in order; NULL for 0, 1, ... */
    ptrdiff_t n_order;
    const uint8_t *clamped; /* (rows, n_units), 1 = leave as it is; NULL for none */
    int spin;
    ptrdiff_t n_sweeps;
    philox_address address; /* of sweep 0; sweep s has step + s */
    uint32_t *words;        /* scratch: words_stride for each thread */
    ptrdiff_t words_stride;
    int n_threads;
} site_task;

/* Sites of a level below which threads cost more than they bring. */
#define SITE_FEW 1024

/* Levels of a sweep's sites: one more than the highest level of those before it that are in an edge with
 * it, or are it. So no two of a level meet, and level after level makes what site after site does; a
 * colouring that the order follows has as many levels as colours.
 *
 * `last` has room for n_units, `level` and `sites` for n_order, `starts` for n_order + 1; sites[starts[l]]
 * and on are those of level l, in their order. Returns the number of levels, or 0 where a level would
 * have fewer than SITE_FEW sites on average. */
FB_UNUSED static ptrdiff_t site_levels(const site_task *task, const int64_t *edge_offsets,
                                       const int64_t *edge_units, const int64_t *unit_offsets,
                                       const int64_t *unit_edges, int64_t *last, int64_t *level,
                                       int64_t *sites, int64_t *starts)
{
    int64_t n_levels = 0;
    for (ptrdiff_t i = 0; i < task->n_units; i++)
        last[i] = -1;
    for (ptrdiff_t k = 0; k < task->n_order; k++) {
        const ptrdiff_t i = task->order != NULL ? (ptrdiff_t)task->order[k] : k;
        int64_t most = last[i];
        for (int64_t q = unit_offsets[i]; q < unit_offsets[i + 1]; q++) {
            const int64_t e = unit_edges[q];
            for (int64_t m = edge_offsets[e]; m < edge_offsets[e + 1]; m++)
                if (last[edge_units[m]] > most)
                    most = last[edge_units[m]];
        }
        last[i] = level[k] = most + 1;
        if (most + 2 > n_levels)
            n_levels = most + 2;
        if (n_levels * SITE_FEW > task->n_order)
            return 0;
    }
    for (int64_t l = 0; l <= n_levels; l++)
        starts[l] = 0;
    for (ptrdiff_t k = 0; k < task->n_order; k++)
        starts[level[k] + 1]++;
    for (int64_t l = 0; l < n_levels; l++)
        starts[l + 1] += starts[l];
    for (ptrdiff_t k = 0; k < task->n_order; k++)
        sites[starts[level[k]]++] = task->order != NULL ? task->order[k] : k;
    for (int64_t l = n_levels; l > 0; l--)
        starts[l] = starts[l - 1];
    starts[0] = 0;
    return (ptrdiff_t)n_levels;
}

#include "_site_lanes.h"

#define REAL float
#define BITS uint32_t
#define LEVEL int32_t
#define FN(name) name##_f32
#include "_site_lanes_template.h"
#include "_site_avx512.h"
#if FB_X86
#define SITE_HAS_FAST 1
#define SITE_FAST(name) lanes_##name##_avx512
#else
#define SITE_HAS_FAST 0
#define SITE_FAST(name) FN(lanes_##name)
#endif
#include "_site_template.h"
#undef SITE_HAS_FAST
#undef SITE_FAST
#undef REAL
#undef BITS
#undef LEVEL
#undef FN

#define REAL double
#define BITS uint64_t
#define LEVEL int64_t
#define FN(name) name##_f64
#define SITE_HAS_FAST 0
#define SITE_FAST(name) FN(lanes_##name)
#include "_site_lanes_template.h"
#include "_site_template.h"
#undef SITE_HAS_FAST
#undef SITE_FAST
#undef REAL
#undef BITS
#undef LEVEL
#undef FN

#endif
