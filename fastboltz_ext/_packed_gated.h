/* Products of three: out[row][c] = sum over gates q of gate[q][row] * sum_k x[row][k] w[q][k][c], x bits.
 *
 * Gates are the outer loop: a gate's weights lie together, and all weights are far more than the caches
 * hold. Of each gate only those rows are summed that it is open for, half of them with a binary gate
 * or fewer. Sums over k are integers, those over q floats in the order of q; zeros that are left out
 * change none of them.
 */
#ifndef FASTBOLTZ_PACKED_GATED_H
#define FASTBOLTZ_PACKED_GATED_H

#include "_packed_rows.h"

typedef struct {
    const uint32_t *x;
    ptrdiff_t n_rows, n_in, n_out, n_gates;
    int spin;
    const float *w;
    ptrdiff_t gate_step, k_step, c_step; /* one of the last two being 1 */
    const float *gate;                   /* rows padded to 32 with zeros */
    float *out;
    uint32_t *largest; /* of each thread: the bits of its largest weight without the sign */
} packed_gated;

FB_INLINE packed_weights packed_gated_weights(const packed_gated *p, ptrdiff_t q)
{
    packed_weights w = {p->w + q * p->gate_step, p->k_step, p->c_step, p->n_in, p->n_out,
                        0};
    return w;
}

/* The larger of `most` and the bits, without the sign, of a gate's weights in some columns (as in
 * packed_largest). It reads them in their order, from far away, before others do so in strips. */
FB_CLONES FB_UNUSED static uint32_t packed_gated_most(const packed_weights *w, ptrdiff_t first,
                                                      ptrdiff_t last, uint32_t most)
{
    const int by_columns = w->c_step != 1;
    const ptrdiff_t lines = by_columns ? last - first : w->n_in;
    const ptrdiff_t n = by_columns ? w->n_in : last - first;
    for (ptrdiff_t i = 0; i < lines; i++) {
        const float *from = by_columns ? w->w + (first + i) * w->c_step : w->w + i * w->k_step + first;
        for (ptrdiff_t j = 0; j < n; j++) {
            uint32_t a;
            memcpy(&a, from + j, sizeof a);
            a &= 0x7fffffffu;
            most = a > most ? a : most;
        }
    }
    return most;
}

/* What is left of a gate's weights in some columns that is to be fetched towards the second cache: they
 * come from afar, and there is time while sums of the gate before are looked up. */
typedef struct {
    const char *at;
    ptrdiff_t lines, bytes, left, step; /* lines of so many bytes, each so many after the last */
} packed_ahead;

FB_INLINE packed_ahead packed_gated_ahead(const packed_gated *p, ptrdiff_t q, ptrdiff_t first,
                                          ptrdiff_t last)
{
    const packed_weights w = packed_gated_weights(p, q);
    const int by_columns = w.c_step != 1;
    const ptrdiff_t bytes = 4 * (by_columns ? w.n_in : last - first);
    packed_ahead a = {NULL, 0, bytes, bytes, 0};
    if (q < p->n_gates && bytes > 0) {
        a.at = (const char *)(w.w + first * w.c_step);
        a.lines = by_columns ? last - first : w.n_in;
        a.step = 4 * (by_columns ? w.c_step : w.k_step);
        if (a.step == bytes) {
            a.left = a.bytes = bytes * a.lines;
            a.lines = 1;
        }
    }
    return a;
}

/* Some more 64 bytes of them. */
FB_INLINE void packed_gated_fetch(packed_ahead *a, int some)
{
    for (; some > 0 && a->lines > 0; some--) {
        __builtin_prefetch(a->at, 0, 2);
        a->at += 64;
        a->left -= 64;
        if (a->left <= 0) {
            a->at += a->left - a->bytes + a->step;
            a->left = a->bytes;
            a->lines--;
        }
    }
}

/* -- by rows ----------------------------------------------------------------------------------- */

/* Columns [32 begin, 32 end); wi holds the integers of one gate's weights. */
FB_CLONES FB_UNUSED static void packed_gated_rows(const packed_gated *p, ptrdiff_t begin,
                                                  ptrdiff_t end, int32_t *wi, int32_t *all,
                                                  int level, uint32_t *largest)
{
    const ptrdiff_t stride = packed_padded(p->n_out), n_words = packed_words(p->n_in);
    const ptrdiff_t padded_rows = 16 * packed_groups(p->n_rows), first = 32 * begin;
    const ptrdiff_t last = 32 * end < p->n_out ? 32 * end : p->n_out;
    int32_t sums[PACKED_TILE];
    for (ptrdiff_t r = 0; r < p->n_rows; r++)
        for (ptrdiff_t c = first; c < last; c++)
            p->out[r * p->n_out + c] = 0;
    for (ptrdiff_t q = 0; q < p->n_gates; q++) {
        const packed_weights w = packed_gated_weights(p, q);
        *largest = packed_gated_most(&w, first, last, *largest);
        packed_integers(&w, first, last, wi, all, level);
        for (ptrdiff_t r = 0; r < p->n_rows; r++) {
            const float gate = p->gate[q * padded_rows + r];
            if (gate == 0)
                continue;
            for (ptrdiff_t tile = first; tile < last; tile += PACKED_TILE) {
                const ptrdiff_t n = last - tile < PACKED_TILE ? last - tile : PACKED_TILE;
                float *to = p->out + r * p->n_out + tile;
                packed_row_sums(p->x + r / 16 * n_words * 16 + r % 16, p->n_in, wi + tile,
                                stride, packed_padded(n), sums);
                if (p->spin)
                    for (ptrdiff_t c = 0; c < n; c++)
                        sums[c] = (int32_t)(2u * (uint32_t)sums[c] - (uint32_t)all[tile + c]);
                for (ptrdiff_t c = 0; c < n; c++)
                    to[c] += gate * (float)sums[c];
            }
        }
    }
    for (ptrdiff_t r = 0; r < p->n_rows; r++)
        for (ptrdiff_t c = first; c < last; c++)
            p->out[r * p->n_out + c] *= 1.0f / (1 << PACKED_SHIFT);
}

/* -- by tables --------------------------------------------------------------------------------- */

/* Blocks of rows that are worked on at a time, and rows. */
#define PACKED_GATED_BLOCKS 16
#define PACKED_GATED_ROWS (16 * PACKED_BLOCK * PACKED_GATED_BLOCKS)
/* Twenties of inputs whose fives' tables of sixteen columns, 24 KB, are in the first cache at a time. */
#define PACKED_GATED_TWENTIES (PACKED_FIVES_TWENTIES / 2)

/* Integers of a gate's weights in sixteen columns, with zeros behind up to a whole twenty. */
FB_INLINE ptrdiff_t packed_gated_values_size(ptrdiff_t n_in)
{
    return (packed_twenties(n_in) * 20 + 7) / 8 * 8 * 16;
}

/* Integers of scratch that are needed for a share of so many panels. */
FB_UNUSED static ptrdiff_t packed_gated_scratch(ptrdiff_t n_in, ptrdiff_t n_rows, ptrdiff_t panels)
{
    ptrdiff_t blocks = packed_blocks(packed_groups(n_rows));
    blocks = blocks < PACKED_GATED_BLOCKS ? blocks : PACKED_GATED_BLOCKS;
    return packed_values_size(n_in) + (panels + 1) / 2 * (packed_gated_values_size(n_in) + 16) +
           PACKED_TABLES_ROOM + 2 * packed_part_size(n_in, blocks) +
           (panels + 2) * PACKED_PANEL * 16 * PACKED_BLOCK * blocks;
}

/* Rows of a part that a gate is open for, and how far. */
typedef struct {
    ptrdiff_t n;
    uint16_t row[PACKED_GATED_ROWS];
    float gate[PACKED_GATED_ROWS];
} packed_open;

FB_INLINE void packed_open_rows(packed_open *open, const float *gate, ptrdiff_t rows)
{
    ptrdiff_t n = 0;
    for (ptrdiff_t r = 0; r < rows; r++) {
        open->row[n] = (uint16_t)r;
        open->gate[n] = gate[r];
        n += gate[r] != 0;
    }
    open->n = n;
}

/* From sums[panel / 2][row][panel % 2][column] to rows of the output. */
FB_INLINE void packed_gated_finish(const packed_gated *p, const float *sums, ptrdiff_t row,
                                   ptrdiff_t rows, ptrdiff_t begin, ptrdiff_t end)
{
    for (ptrdiff_t r = 0; r < rows && row + r < p->n_rows; r++)
        for (ptrdiff_t panel = begin; panel < end; panel++) {
            const ptrdiff_t first = panel * PACKED_PANEL, columns = p->n_out - first;
            const ptrdiff_t i = panel - begin;
            const float *from = sums + (2 * (i / 2 * rows + r) + i % 2) * PACKED_PANEL;
            float *to = p->out + (row + r) * p->n_out + first;
            for (ptrdiff_t c = 0; c < PACKED_PANEL && c < columns; c++)
                to[c] = from[c] * (1.0f / (1 << PACKED_SHIFT));
        }
}

#if FB_X86

/* Adds a row's sums, eight columns in the lanes, as far as the gate is open. */
__attribute__((always_inline)) FB_AVX2 static inline void packed_gated_add(__m256i sums, __m256i all,
                                                                           int spin, float gate,
                                                                           float *to)
{
    if (spin)
        sums = _mm256_sub_epi32(_mm256_add_epi32(sums, sums), all);
    _mm256_store_ps(to, _mm256_add_ps(_mm256_load_ps(to),
                                      _mm256_mul_ps(_mm256_set1_ps(gate), _mm256_cvtepi32_ps(sums))));
}

/* The integers of a gate's weights in some columns, [column / 16][input][column % 16], in the order in
 * which they lie in memory, and the sums over inputs of those of spins. Returns `most`, or the largest
 * of them if that is more, as packed_gated_most. */
__attribute__((noinline)) FB_AVX2 FB_UNUSED static uint32_t packed_gated_values_avx2(const packed_weights *w, ptrdiff_t first,
                                                           ptrdiff_t last, int spin, int32_t *values,
                                                           int32_t *all, uint32_t most)
{
    const ptrdiff_t n = w->n_in, size = packed_gated_values_size(n);
    const __m256 one = _mm256_set1_ps((float)(1 << PACKED_SHIFT));
    const __m256i no_sign = _mm256_set1_epi32(0x7fffffff);
    const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i largest = _mm256_set1_epi32((int)most), some[2]; /* of the last sixteen columns */
    for (int h = 0; h < 2; h++)
        some[h] = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)((last - first) % 16) - 8 * h), order);
    if (w->c_step == 1)
        for (ptrdiff_t k = 0; k < n; k++) {
            const float *from = w->w + k * w->k_step + first;
            int32_t *to = values + 16 * k;
            for (ptrdiff_t left = last - first; left > 0; left -= 16, from += 16, to += size)
#pragma GCC unroll 2
                for (int h = 0; h < 16; h += 8) {
                    const __m256 x = left >= 16 ? _mm256_loadu_ps(from + h)
                                                : _mm256_maskload_ps(from + h, some[h / 8]);
                    largest = _mm256_max_epi32(largest,
                                               _mm256_and_si256(_mm256_castps_si256(x), no_sign));
                    _mm256_store_si256((__m256i *)(to + h), _mm256_cvtps_epi32(_mm256_mul_ps(x, one)));
                }
        }
    else
        for (ptrdiff_t c = 0; c < last - first; c += 8)
            for (ptrdiff_t k = 0; k < n; k += 8) {
                const __m256i some = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n - k)), order);
                __m256i x[8];
#pragma GCC unroll 8
                for (int l = 0; l < 8; l++) {
                    __m256 y = _mm256_setzero_ps();
                    if (c + l < last - first)
                        y = _mm256_maskload_ps(w->w + (first + c + l) * w->c_step + k, some);
                    largest = _mm256_max_epi32(largest,
                                               _mm256_and_si256(_mm256_castps_si256(y), no_sign));
                    x[l] = _mm256_cvtps_epi32(_mm256_mul_ps(y, one));
                }
                packed_transpose_avx2(x);
#pragma GCC unroll 8
                for (int l = 0; l < 8; l++)
                    _mm256_store_si256((__m256i *)(values + c / 16 * size + 16 * (k + l) + c % 16), x[l]);
            }
    for (ptrdiff_t c = 0; c < last - first; c += 16)
        memset(values + c / 16 * size + 16 * n, 0, (size_t)(size - 16 * n) * sizeof *values);
    for (ptrdiff_t c = 0; c < last - first && spin; c += 8) {
        __m256i total = _mm256_setzero_si256();
        for (ptrdiff_t k = 0; k < n; k++)
            total = _mm256_add_epi32(
                total, _mm256_load_si256((const __m256i *)(values + c / 16 * size + 16 * k + c % 16)));
        _mm256_store_si256((__m256i *)(all + c), total);
    }
    uint32_t lanes[8];
    _mm256_storeu_si256((__m256i *)lanes, largest);
    for (int l = 0; l < 8; l++)
        most = lanes[l] > most ? lanes[l] : most;
    return most;
}

/* What a row is to be given at the end, or to be kept until the next chunk. */
__attribute__((always_inline)) FB_AVX2 static inline void packed_gated_put(
    __m256i sums, const packed_open *open, ptrdiff_t i, const int32_t *all, int spin, int ends,
    __m256i *so_far, float *to)
{
    if (ends)
        packed_gated_add(sums, _mm256_load_si256((const __m256i *)all), spin, open->gate[i],
                         to + open->row[i] * 2 * PACKED_PANEL);
    else
        _mm256_store_si256(so_far, sums);
}

/* Eight columns of a gate for the open rows by ones, to[row][16]; `so_far` has their sums between
 * chunks. */
FB_AVX2 FB_UNUSED static void packed_gated_ones(const packed_part *part, const packed_open *open,
                                                ptrdiff_t n_in, const int32_t *values,
                                                const int32_t *all, int spin, int32_t *room,
                                                __m256i *so_far, packed_ahead *ahead, float *to)
{
    const ptrdiff_t n_words = packed_words(n_in);
    const ptrdiff_t words = packed_chunk_size(n_words, PACKED_ONES_WORDS);
    for (ptrdiff_t q = 0; q * words < n_words; q++) {
        const ptrdiff_t k = 32 * q * words, inputs = n_in - k < 32 * words ? n_in - k : 32 * words;
        const uint32_t *start = part->start + q * part->all_rows;
        packed_ones_numbers(values + 16 * k, 16, 1, inputs, PACKED_PANEL, room);
        for (ptrdiff_t i = 0; i < open->n; i++) {
            __m256i a = q == 0 ? _mm256_setzero_si256() : _mm256_load_si256(so_far + i);
            packed_gated_fetch(ahead, 1);
            a = packed_ones_row(part, start + open->row[i], (const char *)room, a);
            packed_gated_put(a, open, i, all, spin, (q + 1) * words >= n_words, so_far + i, to);
        }
    }
}

/* Sixteen columns by fives, or if there are no more than eight, those. */
__attribute__((always_inline)) FB_AVX2 static inline void packed_gated_fives_of(
    const packed_part *part, const packed_open *open, ptrdiff_t n_in, const int32_t *values,
    const int32_t *all, int spin, int32_t *room, __m256i *so_far, packed_ahead *ahead, float *to,
    const int wide)
{
    const ptrdiff_t count = packed_twenties(n_in), size = packed_chunk_size(count, PACKED_GATED_TWENTIES);
    for (ptrdiff_t t = 0; t < count; t += size) {
        const ptrdiff_t here = count - t < size ? count - t : size;
        const uint32_t *fives = part->index + t * part->all_rows;
        const int ends = t + here == count;
        for (ptrdiff_t five = 0; five < 4 * here; five++) {
            const __m256i *from = (const __m256i *)(values + 16 * (20 * t + 5 * five));
            int32_t *table = room + five * 32 * PACKED_PANEL * (1 + wide);
            packed_gated_fetch(ahead, 8);
            for (int h = 0; h < 1 + wide; h++)
                packed_fives_table(from + h, 2, table + PACKED_PANEL * h, PACKED_PANEL * (1 + wide));
        }
        for (ptrdiff_t i = 0; i < open->n; i++) {
            const uint32_t *own = fives + here * open->row[i];
            __m256i a[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
            if (t > 0)
                for (int h = 0; h < 1 + wide; h++)
                    a[h] = _mm256_load_si256(so_far + (1 + wide) * i + h);
            if (wide)
                packed_fives_row_wide(own, here, (const char *)room, a);
            else
                a[0] = packed_fives_row(own, here, (const char *)room, a[0]);
            for (int h = 0; h < 1 + wide; h++)
                packed_gated_put(a[h], open, i, all + 8 * h, spin, ends, so_far + (1 + wide) * i + h,
                                 to + h * PACKED_PANEL);
        }
    }
}

#define PACKED_GATED_FIVES(name, wide)                                                             \
    __attribute__((noinline)) FB_AVX2 FB_UNUSED static void name(                                 \
        const packed_part *part, const packed_open *open, ptrdiff_t n_in, const int32_t *values,  \
        const int32_t *all, int spin, int32_t *room, __m256i *so_far, packed_ahead *ahead,        \
        float *to)                                                                                \
    {                                                                                             \
        packed_gated_fives_of(part, open, n_in, values, all, spin, room, so_far, ahead, to, wide); \
    }
PACKED_GATED_FIVES(packed_gated_fives_wide, 1)
PACKED_GATED_FIVES(packed_gated_fives, 0)

/* The same of sixteen columns in one register, by ones or by fives. */
FB_AVX512 FB_UNUSED static inline void packed_gated_put_512(__m512i sums, const packed_open *open,
                                                            ptrdiff_t i, const int32_t *all, int spin,
                                                            int ends, __m256i *so_far, float *to)
{
    if (!ends) {
        _mm512_storeu_si512(so_far + 2 * i, sums);
        return;
    }
    if (spin)
        sums = _mm512_sub_epi32(_mm512_add_epi32(sums, sums), _mm512_loadu_si512(all));
    to += open->row[i] * 2 * PACKED_PANEL;
    _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to),
                                       _mm512_mul_ps(_mm512_set1_ps(open->gate[i]),
                                                     _mm512_cvtepi32_ps(sums))));
}

FB_AVX512 FB_UNUSED static inline __m512i packed_gated_so_far_512(const __m256i *so_far, ptrdiff_t i,
                                                                  int begins)
{
    return begins ? _mm512_setzero_si512() : _mm512_loadu_si512(so_far + 2 * i);
}

__attribute__((noinline)) FB_AVX512 FB_UNUSED static void packed_gated_ones_512(
    const packed_part *part, const packed_open *open, ptrdiff_t n_in, const int32_t *values,
    const int32_t *all, int spin, int32_t *room, __m256i *so_far, packed_ahead *ahead, float *to)
{
    const ptrdiff_t n_words = packed_words(n_in);
    const ptrdiff_t words = packed_chunk_size(n_words, PACKED_ONES_WORDS);
    for (ptrdiff_t q = 0; q * words < n_words; q++) {
        const ptrdiff_t k = 32 * q * words, inputs = n_in - k < 32 * words ? n_in - k : 32 * words;
        const uint32_t *start = part->start + q * part->all_rows;
        memcpy(room, values + 16 * k, (size_t)(16 * inputs) * sizeof *room);
        memset(room + 16 * inputs, 0, 16 * sizeof *room);
        for (ptrdiff_t i = 0; i < open->n; i++) {
            packed_gated_fetch(ahead, 2);
            packed_gated_put_512(packed_ones_row_512(part, start + open->row[i], (const char *)room,
                                                     packed_gated_so_far_512(so_far, i, q == 0)),
                                 open, i, all, spin, (q + 1) * words >= n_words, so_far, to);
        }
    }
}

__attribute__((noinline)) FB_AVX512 FB_UNUSED static void packed_gated_fives_512(
    const packed_part *part, const packed_open *open, ptrdiff_t n_in, const int32_t *values,
    const int32_t *all, int spin, int32_t *room, __m256i *so_far, packed_ahead *ahead, float *to)
{
    const ptrdiff_t count = packed_twenties(n_in), size = packed_chunk_size(count, PACKED_GATED_TWENTIES);
    for (ptrdiff_t t = 0; t < count; t += size) {
        const ptrdiff_t here = count - t < size ? count - t : size;
        const uint32_t *fives = part->index + t * part->all_rows;
        for (ptrdiff_t five = 0; five < 4 * here; five++) {
            packed_gated_fetch(ahead, 8);
            packed_fives_table_512(values + 16 * (20 * t + 5 * five), room + five * 32 * 16);
        }
        for (ptrdiff_t i = 0; i < open->n; i++)
            packed_gated_put_512(packed_fives_row_512(fives + here * open->row[i], here,
                                                      (const char *)room,
                                                      packed_gated_so_far_512(so_far, i, t == 0)),
                                 open, i, all, spin, t + here == count, so_far, to);
    }
}

/* Panels of eight columns [begin, end); `scratch` is of packed_gated_scratch integers. With AVX2, or
 * from AVX-512 what is added up. */
FB_AVX2 FB_UNUSED static void packed_gated_tables(const packed_gated *p, ptrdiff_t begin, ptrdiff_t end,
                                                  int level, int32_t *scratch, uint32_t *largest)
{
    const ptrdiff_t n_groups = packed_groups(p->n_rows), panels = end - begin;
    const ptrdiff_t first = PACKED_PANEL * begin;
    const ptrdiff_t last = PACKED_PANEL * end < p->n_out ? PACKED_PANEL * end : p->n_out;
    int32_t *const values = scratch;
    int32_t *const all = values + (panels + 1) / 2 * packed_gated_values_size(p->n_in);
    int32_t *const room = all + (panels + 1) / 2 * 16;
    packed_open open;
    /* a gate's tables serve the rows that it is open for */
    const ptrdiff_t gates = p->n_gates * 16 * n_groups;
    ptrdiff_t on = 0;
    for (ptrdiff_t i = 0; i < gates; i++)
        on += p->gate[i] != 0;
    const double share = gates == 0 ? 1.0 : (double)on / (double)gates;
    for (ptrdiff_t g = 0; g < n_groups; g += PACKED_GATED_ROWS / 16) {
        const ptrdiff_t left = n_groups - g;
        const ptrdiff_t groups = left < PACKED_GATED_ROWS / 16 ? left : PACKED_GATED_ROWS / 16;
        const ptrdiff_t two = 2 * 16 * groups * PACKED_PANEL; /* numbers of two panels */
        const uint32_t *bits = p->x + g * packed_words(p->n_in) * 16;
        packed_part part;
        __m256i *const so_far = (__m256i *)packed_part_place(&part, g, 16 * groups, p->n_in,
                                                             room + PACKED_TABLES_ROOM);
        float *const sum = (float *)(so_far + 2 * 16 * groups);
        const int ones = packed_is_by_ones(&part, bits, p->n_in, share);
        if (ones)
            packed_ones_fill(&part, bits, p->n_in);
        else
            packed_fives_fill(&part, bits, p->n_in, PACKED_GATED_TWENTIES);
        memset(sum, 0, (size_t)((panels + 1) / 2 * two) * sizeof(float));
        for (ptrdiff_t q = 0; q < p->n_gates; q++) {
            const packed_weights w = packed_gated_weights(p, q);
            packed_ahead ahead = packed_gated_ahead(p, q + 1, first, last);
            packed_open_rows(&open, p->gate + q * 16 * n_groups + 16 * g, 16 * groups);
            *largest = packed_gated_values_avx2(&w, first, last, p->spin, values, all, *largest);
            for (ptrdiff_t c = 0; c < panels; c += 2) {
                const int32_t *own = values + c / 2 * packed_gated_values_size(p->n_in);
                const int32_t *total = all + c * PACKED_PANEL;
                const int wide = c + 1 < panels;
                float *to = sum + c / 2 * two;
                if (wide && level == FB_LEVEL_AVX512) {
                    (ones ? packed_gated_ones_512 : packed_gated_fives_512)(
                        &part, &open, p->n_in, own, total, p->spin, room, so_far, &ahead, to);
                    continue;
                }
                for (int h = 0; h < 1 + wide && ones; h++)
                    packed_gated_ones(&part, &open, p->n_in, own + 8 * h, total + 8 * h, p->spin, room,
                                      so_far, &ahead, to + h * PACKED_PANEL);
                if (!ones && wide)
                    packed_gated_fives_wide(&part, &open, p->n_in, own, total, p->spin, room, so_far,
                                            &ahead, to);
                else if (!ones)
                    packed_gated_fives(&part, &open, p->n_in, own, total, p->spin, room, so_far, &ahead,
                                       to);
            }
        }
        packed_gated_finish(p, sum, 16 * g, 16 * groups, begin, end);
    }
}

#endif /* FB_X86 */

/* -- on all threads ---------------------------------------------------------------------------- */

FB_UNUSED static void packed_one_gated(const packed_gated *p, int by_rows, int level,
                                       int32_t *memory, ptrdiff_t scratch, int n_threads)
{
    const ptrdiff_t panels = packed_panels(p->n_out), words = packed_words(p->n_out);
    const int parallel = n_threads > 1;
    int t;
    FB_PARALLEL_FOR
    for (t = 0; t < n_threads; t++) {
#if FB_X86
        const ptrdiff_t begin = panels * t / n_threads, end = panels * (t + 1) / n_threads;
        if (!by_rows) {
            packed_gated_tables(p, begin, end, level, memory + t * scratch, p->largest + t);
            continue;
        }
#endif
        packed_gated_rows(p, words * t / n_threads, words * (t + 1) / n_threads, memory,
                          memory + p->n_in * packed_padded(p->n_out), level, p->largest + t);
    }
}

#endif
