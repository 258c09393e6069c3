/* Loops of layers.pyx: the template, once for float and once for double. */
#ifndef FASTBOLTZ_LAYER_CORE_H
#define FASTBOLTZ_LAYER_CORE_H

#include "_gemm.h"
#include "_logistic.h"
#include "_philox.h"
#include "_portable.h"

/* Words of random numbers made at a time (4 KiB: they stay in the first cache). */
#define LAYER_WORDS 1024
/* Units whose probabilities are held at a time, a multiple of 16. */
#define LAYER_CHUNK 64
/* Elements of a draw below which threads cost more than they bring. */
#define LAYER_TINY_DRAW ((double)(1 << 13))

/* Tiles of the result of a product. They depend on its shape alone, never on the number of threads:
 * BLAS may sum in another order for another tile, so the tiles are part of the result. Each tile
 * packs its own copy of its rows and columns, hence large and square tiles; a power of two of them
 * in either direction, so that few threads share them evenly; two at least where there is work
 * enough for two threads. */
typedef struct {
    ptrdiff_t rows, columns; /* number of tiles down and across */
    ptrdiff_t n_rows, n_columns;
} layer_tiles;

#define LAYER_TILE 320.0
#define LAYER_SPLIT ((double)(1 << 21))

FB_INLINE ptrdiff_t layer_power_of_two(ptrdiff_t size)
{
    ptrdiff_t power = 1;
    /* sqrt(2): rounded in the logarithm */
    while ((double)size >= 1.41421356 * LAYER_TILE * (double)power)
        power *= 2;
    return power;
}

FB_INLINE layer_tiles layer_tiling(ptrdiff_t n_rows, ptrdiff_t n_columns, ptrdiff_t n_sum)
{
    layer_tiles t;
    t.n_rows = n_rows;
    t.n_columns = n_columns;
    t.rows = layer_power_of_two(n_rows);
    t.columns = layer_power_of_two(n_columns);
    if (t.rows * t.columns == 1 &&
        (double)n_rows * (double)n_columns * (double)n_sum >= LAYER_SPLIT) {
        if (n_rows >= n_columns)
            t.rows = 2;
        else
            t.columns = 2;
    }
    return t;
}

/* Whether statistics are summed in two halves of the rows, each into an array of its own: where the
 * result is one tile and the sum is long, halves of it would both pack all of the other side. */
FB_INLINE int layer_in_halves(ptrdiff_t n_rows, ptrdiff_t n_left, ptrdiff_t n_right)
{
    return layer_power_of_two(n_left) * layer_power_of_two(n_right) == 1 && n_rows > n_left &&
           n_rows > n_right &&
           (double)n_rows * (double)n_left * (double)n_right >= LAYER_SPLIT;
}

/* Begin of part i of `parts` parts of n, a multiple of 16 unless it is the end: whole vectors, and
 * whole counters of the random numbers. */
FB_INLINE ptrdiff_t layer_part(ptrdiff_t i, ptrdiff_t parts, ptrdiff_t n)
{
    ptrdiff_t sixteens = (n + 15) / 16;
    ptrdiff_t begin = 16 * (i * sixteens / parts);
    return begin < n ? begin : n;
}

#define REAL float
#define FN(name) name##_f32
#include "_layer_template.h"
#undef REAL
#undef FN

#define REAL double
#define FN(name) name##_f64
#include "_layer_template.h"
#undef REAL
#undef FN

#endif
