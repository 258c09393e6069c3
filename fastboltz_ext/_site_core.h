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
