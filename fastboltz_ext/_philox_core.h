/* Loops of philox.pyx: tables of words and of uniforms. */
#ifndef FASTBOLTZ_PHILOX_CORE_H
#define FASTBOLTZ_PHILOX_CORE_H

#include "_philox.h"

#define PHILOX_BUFFER 1024
/* Numbers below which threads cost more than they bring. */
#define PHILOX_TINY ((double)(1 << 14))

/* Fill rows row..row+n_rows of a table of `type` (out points at its first row) with
 * convert(word); one function for each type, through the same buffer. */
#define PHILOX_TABLE(name, type, convert)                                                        \
    FB_CLONES static void name##_rows(philox_address a, type *out, ptrdiff_t row,                \
                                      ptrdiff_t n_rows, ptrdiff_t n_units)                       \
    {                                                                                            \
        uint32_t buffer[PHILOX_BUFFER + PHILOX_PAD];                                             \
        const ptrdiff_t row_words = (n_units + 7) / 8 * 8;                                       \
        ptrdiff_t at_once = 1;                                                                   \
        if (row_words > 0 && row_words < PHILOX_BUFFER)                                          \
            at_once = PHILOX_BUFFER / row_words;                                                 \
        for (ptrdiff_t r = 0; r < n_rows; r += at_once) {                                        \
            ptrdiff_t rows = n_rows - r < at_once ? n_rows - r : at_once;                        \
            for (ptrdiff_t unit = 0; unit < n_units; unit += PHILOX_BUFFER) {                    \
                ptrdiff_t units = n_units - unit;                                                \
                if (units > PHILOX_BUFFER)                                                       \
                    units = PHILOX_BUFFER;                                                       \
                ptrdiff_t eights = (units + 7) / 8;                                              \
                philox_fill(buffer, a, (uint32_t)(row + r), (uint32_t)(unit / 8), eights, rows); \
                for (ptrdiff_t i = 0; i < rows; i++) {                                           \
                    type *o = out + (r + i) * n_units + unit;                                    \
                    const uint32_t *w = buffer + 8 * eights * i;                                 \
                    for (ptrdiff_t k = 0; k < units; k++)                                        \
                        o[k] = convert(w[k]);                                                    \
                }                                                                                \
            }                                                                                    \
        }                                                                                        \
    }                                                                                            \
    static void name(philox_address a, type *out, ptrdiff_t n_rows, ptrdiff_t n_units,           \
                     int n_threads)                                                              \
    {                                                                                            \
        const int parallel =                                                                     \
            n_threads > 1 && n_rows > 1 && (double)n_rows * (double)n_units >= PHILOX_TINY;      \
        const ptrdiff_t blocks = parallel ? (n_rows < n_threads ? n_rows : n_threads) : 1;       \
        ptrdiff_t b;                                                                             \
        FB_PARALLEL_FOR                                                                          \
        for (b = 0; b < blocks; b++) {                                                           \
            ptrdiff_t begin = n_rows * b / blocks, end = n_rows * (b + 1) / blocks;              \
            name##_rows(a, out + begin * n_units, begin, end - begin, n_units);                  \
        }                                                                                        \
    }

#define PHILOX_SAME(word) (word)

PHILOX_TABLE(philox_words, uint32_t, PHILOX_SAME)
PHILOX_TABLE(philox_table_f32, float, philox_uniform_f32)
PHILOX_TABLE(philox_table_f64, double, philox_uniform_f64)

#endif
