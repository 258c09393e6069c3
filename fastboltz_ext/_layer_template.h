/* Included by _layer_core.h with REAL (float or double) and FN (name with suffix) defined. */

/* p[0:units] = logistic(factor * (bias + scale * field)), factor 2 for spins. The arithmetic runs
 * in a small local array: it cannot alias the caller's arrays (mean or sample may be field's own
 * buffer), and it is padded to whole vectors, so that no element is left to a scalar loop. */
FB_INLINE void FN(probabilities)(REAL *p, const REAL *field, const REAL *bias, REAL scale,
                                 int spin, ptrdiff_t units)
{
    const ptrdiff_t padded = (units + 15) & ~(ptrdiff_t)15;
    if (bias != NULL)
        for (ptrdiff_t k = 0; k < units; k++)
            p[k] = bias[k] + scale * field[k];
    else
        for (ptrdiff_t k = 0; k < units; k++)
            p[k] = scale * field[k];
    for (ptrdiff_t k = units; k < padded; k++)
        p[k] = 0;
    if (spin)
        for (ptrdiff_t k = 0; k < padded; k++)
            p[k] += p[k];
    for (ptrdiff_t begin = 0; begin < padded; begin += 16)
        for (int l = 0; l < 16; l++)
            p[begin + l] = FN(fb_logistic)(p[begin + l]);
}

/* One row's units: means, samples or both. */
FB_INLINE void FN(draw_units)(const REAL *field, const REAL *bias, REAL scale, int spin,
                              REAL *mean, REAL *sample, const uint32_t *words, ptrdiff_t units)
{
    REAL p[LAYER_CHUNK];
    for (ptrdiff_t begin = 0; begin < units; begin += LAYER_CHUNK) {
        ptrdiff_t m = units - begin < LAYER_CHUNK ? units - begin : LAYER_CHUNK;
        FN(probabilities)(p, field + begin, bias != NULL ? bias + begin : NULL, scale, spin, m);
        if (sample != NULL) {
            const REAL low = spin ? (REAL)-1 : (REAL)0;
            const uint32_t *w = words + begin;
            REAL *s = sample + begin;
            for (ptrdiff_t k = 0; k < m; k++)
                s[k] = FN(philox_uniform)(w[k]) < p[k] ? (REAL)1 : low;
        }
        if (mean != NULL) {
            REAL *out = mean + begin;
            if (spin)
                for (ptrdiff_t k = 0; k < m; k++)
                    out[k] = (p[k] + p[k]) - (REAL)1;
            else
                for (ptrdiff_t k = 0; k < m; k++)
                    out[k] = p[k];
        }
    }
}

/* A tile of a draw: n_rows x n_units from (row, first), `first` a multiple of 8. All pointers are
 * those of the whole arrays, with rows `stride` apart. */
FB_CLONES FB_UNUSED static void FN(draw_tile)(const REAL *field, const REAL *bias, REAL scale,
                                              int spin, REAL *mean, REAL *sample,
                                              philox_address address, ptrdiff_t row,
                                              ptrdiff_t n_rows, ptrdiff_t first,
                                              ptrdiff_t n_units, ptrdiff_t stride)
{
    uint32_t words[LAYER_WORDS + PHILOX_PAD];
    const ptrdiff_t row_words = (n_units + 7) / 8 * 8;
    ptrdiff_t rows_at_once = 1;
    if (row_words > 0 && row_words < LAYER_WORDS)
        rows_at_once = LAYER_WORDS / row_words;
    for (ptrdiff_t r = 0; r < n_rows; r += rows_at_once) {
        ptrdiff_t rows = n_rows - r < rows_at_once ? n_rows - r : rows_at_once;
        for (ptrdiff_t unit = 0; unit < n_units; unit += LAYER_WORDS) {
            ptrdiff_t units = n_units - unit < LAYER_WORDS ? n_units - unit : LAYER_WORDS;
            ptrdiff_t eights = (units + 7) / 8;
            if (sample != NULL)
                philox_fill(words, address, (uint32_t)(row + r), (uint32_t)((first + unit) / 8),
                            eights, rows);
            for (ptrdiff_t i = 0; i < rows; i++) {
                ptrdiff_t at = (row + r + i) * stride + first + unit;
                FN(draw_units)(field + at, bias != NULL ? bias + first + unit : NULL, scale, spin,
                               mean != NULL ? mean + at : NULL,
                               sample != NULL ? sample + at : NULL, words + 8 * eights * i,
                               units);
            }
        }
    }
}

/* out[j] += scale * sum_n x_nj, the rows added in their order. */
FB_CLONES FB_UNUSED static void FN(add_column_sums)(const REAL *x, REAL scale, REAL *out,
                                                    ptrdiff_t n_rows, ptrdiff_t n_units)
{
    for (ptrdiff_t begin = 0; begin < n_units; begin += LAYER_CHUNK) {
        ptrdiff_t m = n_units - begin < LAYER_CHUNK ? n_units - begin : LAYER_CHUNK;
        REAL sums[LAYER_CHUNK] = {0};
        if (m == LAYER_CHUNK)
            for (ptrdiff_t r = 0; r < n_rows; r++)
                for (ptrdiff_t k = 0; k < LAYER_CHUNK; k++)
                    sums[k] += x[r * n_units + begin + k];
        else
            for (ptrdiff_t r = 0; r < n_rows; r++)
                for (ptrdiff_t k = 0; k < m; k++)
                    sums[k] += x[r * n_units + begin + k];
        for (ptrdiff_t k = 0; k < m; k++)
            out[begin + k] += scale * sums[k];
    }
}

/* out[n] = sum_j cumulant(bias_j + scale * field_nj). Sixteen partial sums in double in a fixed
 * order: the compiler may not reorder a sum by itself. */
FB_CLONES FB_UNUSED static void FN(cumulant_rows)(const REAL *field, const REAL *bias, REAL scale,
                                                  int spin, double *out, ptrdiff_t n_rows,
                                                  ptrdiff_t n_units)
{
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const REAL *f = field + r * n_units;
        double sums[16] = {0};
        ptrdiff_t j = 0;
        for (; j + 16 <= n_units; j += 16) {
            REAL a[16];
            for (int l = 0; l < 16; l++)
                a[l] = scale * f[j + l];
            if (bias != NULL)
                for (int l = 0; l < 16; l++)
                    a[l] = bias[j + l] + a[l];
            if (spin)
                for (int l = 0; l < 16; l++)
                    sums[l] += (double)FN(fb_log2cosh)(a[l]);
            else
                for (int l = 0; l < 16; l++)
                    sums[l] += (double)FN(fb_softplus)(a[l]);
        }
        for (int l = 0; j < n_units; j++, l++) {
            REAL a = scale * f[j];
            if (bias != NULL)
                a = bias[j] + a;
            sums[l] += (double)(spin ? FN(fb_log2cosh)(a) : FN(fb_softplus)(a));
        }
        for (int width = 8; width > 0; width /= 2)
            for (int l = 0; l < width; l++)
                sums[l] += sums[l + width];
        out[r] = sums[0];
    }
}

FB_UNUSED static void FN(product)(FN(gemm) gemm, const REAL *x, const REAL *w, REAL *out,
                                  int transpose, REAL scale, REAL beta, ptrdiff_t n_rows,
                                  ptrdiff_t n_in, ptrdiff_t n_out, int n_threads)
{
    const layer_tiles tiles = layer_tiling(n_rows, n_out, n_in);
    const int parallel = n_threads > 1 && tiles.rows * tiles.columns > 1;
    ptrdiff_t t;
    (void)parallel, (void)n_threads;
    FB_PARALLEL_FOR
    for (t = 0; t < tiles.rows * tiles.columns; t++) {
        ptrdiff_t i = layer_part(t / tiles.columns, tiles.rows, n_rows);
        ptrdiff_t i_end = layer_part(t / tiles.columns + 1, tiles.rows, n_rows);
        ptrdiff_t j = layer_part(t % tiles.columns, tiles.columns, n_out);
        ptrdiff_t j_end = layer_part(t % tiles.columns + 1, tiles.columns, n_out);
        FN(row_gemm)(gemm, 0, transpose, i_end - i, j_end - j, n_in, scale, x + i * n_in, n_in,
                     transpose ? w + j * n_in : w + j, transpose ? n_in : n_out, beta,
                     out + i * n_out + j, n_out);
    }
}

/* `half` is an array like `out` to work in, where layer_in_halves() says so. */
FB_UNUSED static void FN(outer)(FN(gemm) gemm, const REAL *x, const REAL *y, REAL *out, REAL *half,
                                REAL scale, REAL beta, ptrdiff_t n_rows, ptrdiff_t n_left,
                                ptrdiff_t n_right, int n_threads)
{
    if (half != NULL) {
        const int parallel = n_threads > 1;
        ptrdiff_t h;
        (void)parallel;
        FB_PARALLEL_FOR
        for (h = 0; h < 2; h++) {
            ptrdiff_t begin = layer_part(h, 2, n_rows), end = layer_part(h + 1, 2, n_rows);
            FN(row_gemm)(gemm, 1, 0, n_left, n_right, end - begin, scale, x + begin * n_left,
                         n_left, y + begin * n_right, n_right, h == 0 ? beta : (REAL)0,
                         h == 0 ? out : half, n_right);
        }
        for (ptrdiff_t k = 0; k < n_left * n_right; k++)
            out[k] += half[k];
        return;
    }
    const layer_tiles tiles = layer_tiling(n_left, n_right, n_rows);
    const int parallel = n_threads > 1 && tiles.rows * tiles.columns > 1;
    ptrdiff_t t;
    (void)parallel, (void)n_threads;
    FB_PARALLEL_FOR
    for (t = 0; t < tiles.rows * tiles.columns; t++) {
        ptrdiff_t i = layer_part(t / tiles.columns, tiles.rows, n_left);
        ptrdiff_t i_end = layer_part(t / tiles.columns + 1, tiles.rows, n_left);
        ptrdiff_t j = layer_part(t % tiles.columns, tiles.columns, n_right);
        ptrdiff_t j_end = layer_part(t % tiles.columns + 1, tiles.columns, n_right);
        FN(row_gemm)(gemm, 1, 0, i_end - i, j_end - j, n_rows, scale, x + i, n_left, y + j,
                     n_right, beta, out + i * n_right + j, n_right);
    }
}

FB_UNUSED static void FN(draw)(const REAL *field, const REAL *bias, REAL scale, int spin,
                               REAL *mean, REAL *sample, philox_address address, ptrdiff_t n_rows,
                               ptrdiff_t n_units, int n_threads)
{
    /* The blocks may depend on the threads here: every element is computed by itself. */
    const int parallel =
        n_threads > 1 && n_rows > 1 && (double)n_rows * (double)n_units >= LAYER_TINY_DRAW;
    const ptrdiff_t blocks = parallel ? n_threads : 1;
    ptrdiff_t b;
    FB_PARALLEL_FOR
    for (b = 0; b < blocks; b++) {
        ptrdiff_t begin = n_rows * b / blocks, end = n_rows * (b + 1) / blocks;
        FN(draw_tile)(field, bias, scale, spin, mean, sample, address, begin, end - begin, 0,
                      n_units, n_units);
    }
}

/* product into mean's or sample's buffer, then the draw in place while the tile is in the cache. */
FB_UNUSED static void FN(layer)(FN(gemm) gemm, const REAL *x, const REAL *w, const REAL *bias,
                                int transpose, REAL scale, int spin, REAL *mean, REAL *sample,
                                philox_address address, ptrdiff_t n_rows, ptrdiff_t n_in,
                                ptrdiff_t n_out, int n_threads)
{
    REAL *field = mean != NULL ? mean : sample;
    const layer_tiles tiles = layer_tiling(n_rows, n_out, n_in);
    const int parallel = n_threads > 1 && tiles.rows * tiles.columns > 1;
    ptrdiff_t t;
    (void)parallel, (void)n_threads;
    FB_PARALLEL_FOR
    for (t = 0; t < tiles.rows * tiles.columns; t++) {
        ptrdiff_t i = layer_part(t / tiles.columns, tiles.rows, n_rows);
        ptrdiff_t i_end = layer_part(t / tiles.columns + 1, tiles.rows, n_rows);
        ptrdiff_t j = layer_part(t % tiles.columns, tiles.columns, n_out);
        ptrdiff_t j_end = layer_part(t % tiles.columns + 1, tiles.columns, n_out);
        FN(row_gemm)(gemm, 0, transpose, i_end - i, j_end - j, n_in, (REAL)1, x + i * n_in, n_in,
                     transpose ? w + j * n_in : w + j, transpose ? n_in : n_out, (REAL)0,
                     field + i * n_out + j, n_out);
        FN(draw_tile)(field, bias, scale, spin, mean, sample, address, i, i_end - i, j, j_end - j,
                      n_out);
    }
}

FB_UNUSED static void FN(cumulant_sum)(const REAL *field, const REAL *bias, REAL scale, int spin,
                                       double *out, ptrdiff_t n_rows, ptrdiff_t n_units,
                                       int n_threads)
{
    const int parallel =
        n_threads > 1 && n_rows > 1 && (double)n_rows * (double)n_units >= LAYER_TINY_DRAW;
    const ptrdiff_t blocks = parallel ? n_threads : 1;
    ptrdiff_t b;
    FB_PARALLEL_FOR
    for (b = 0; b < blocks; b++) {
        ptrdiff_t begin = n_rows * b / blocks, end = n_rows * (b + 1) / blocks;
        FN(cumulant_rows)(field + begin * n_units, bias, scale, spin, out + begin, end - begin,
                          n_units);
    }
}
