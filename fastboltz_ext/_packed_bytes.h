/* What AVX2 has of its own: sums of 16 bits over the ones of binary rows, by table look-up, and what is
 * made of sums. Part of _packed_core.h.
 *
 * Four inputs of a row choose one of 16 partial sums of four numbers. A register of 16 entries holds
 * bytes, so the sums are cut into planes of six bits, and a plane is looked up for 32 rows by one
 * shuffle. Four look-ups are added up as bytes (4 * 63 < 256), and then even and odd bytes to sums of
 * 16 bits: ten instructions a plane for 512 multiply-adds. Numbers of 16 bits make two planes or three;
 * where they have more, tables in memory are faster (_packed_lists.h).
 *
 *     x + 2^(6 planes - 1) = sum over planes p of 64^p digit_p,     0 <= digit_p < 64
 *
 * The constant that makes digits positive is the same for every look-up: what is looked up is
 * counted, and the constant taken off again.
 */
#ifndef FASTBOLTZ_PACKED_BYTES_H
#define FASTBOLTZ_PACKED_BYTES_H

#include "_packed_lists.h"

#if FB_X86

/* Indices of a part, a byte for four inputs of a row, [block][step of 16 inputs][four inputs][32 rows
 * twice]. Even bytes are rows of the first group of 16, odd bytes of the second; the rows of a group
 * stand in the order 0-3, 8-11, 4-7, 12-15, in which unpacking puts them right. */
FB_AVX2 FB_UNUSED static void packed_part_fill_avx2(packed_part *part,
                                                    const uint32_t *bits,
                                                    ptrdiff_t n_in, int bytes)
{
    const ptrdiff_t n_words = packed_words(n_in), steps = packed_steps(n_in);
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i by_byte =
        _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9,
                         13, 2, 6, 10, 14, 3, 7, 11, 15);
    if (packed_lists_fill(part, bits, n_in, bytes))
        return;
    for (ptrdiff_t b = 0; b < packed_blocks(part->n_groups); b++)
        for (ptrdiff_t w = 0; w < n_words; w++) {
            const ptrdiff_t step = 2 * w, here = steps - step < 2 ? 1 : 2;
            uint8_t *to = (uint8_t *)part->index + (b * steps + step) * 256;
            __m256i ones[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
            for (ptrdiff_t v = 0; v < 2 && PACKED_BLOCK * b + 2 * v < part->n_groups; v++) {
                const uint32_t *from =
                    bits + ((part->first_group + PACKED_BLOCK * b + 2 * v) * n_words + w) * 16;
                for (int odd = 0; odd < 2; odd++) { /* fours of even and of odd number */
                    __m256i x[4], y[4];
#pragma GCC unroll 4
                    for (int i = 0; i < 4; i++) {
                        x[i] = _mm256_loadu_si256(
                            (const __m256i *)(from + i / 2 * n_words * 16 + i % 2 * 8));
                        if (odd)
                            x[i] = _mm256_srli_epi32(x[i], 4);
                        x[i] = _mm256_shuffle_epi8(_mm256_and_si256(x[i], low), by_byte);
                    }
                    y[0] = _mm256_unpacklo_epi8(x[0], x[2]);
                    y[1] = _mm256_unpacklo_epi8(x[1], x[3]);
                    y[2] = _mm256_unpackhi_epi8(x[0], x[2]);
                    y[3] = _mm256_unpackhi_epi8(x[1], x[3]);
                    x[0] = _mm256_unpacklo_epi64(y[0], y[1]);
                    x[1] = _mm256_unpackhi_epi64(y[0], y[1]);
                    x[2] = _mm256_unpacklo_epi64(y[2], y[3]);
                    x[3] = _mm256_unpackhi_epi64(y[2], y[3]);
                    for (int k = 0; k < 2 * here; k++) {
                        /* byte k of a word: the fours 2 k and 2 k + 1 */
                        const int four = 2 * k + odd;
                        _mm256_storeu_si256((__m256i *)(to + four * 64 + 32 * v), x[k]);
                        ones[k / 2] = _mm256_or_si256(ones[k / 2], x[k]);
                    }
                }
            }
            for (int s = 0; s < here; s++)
                part->any[b * steps + step + s] = !_mm256_testz_si256(ones[s], ones[s]);
        }
}

/* Columns of a panel as integers, at values[k * *k_step + c * *c_step], and their sums over inputs.
 * Returns the bits of the largest absolute value, at least. */
FB_AVX2 FB_UNUSED static int32_t packed_panel_values_avx2(
    const packed_weights *w, ptrdiff_t first, int32_t *values, ptrdiff_t *k_step,
    ptrdiff_t *c_step, int32_t *sums)
{
    const ptrdiff_t columns = w->n_out - first < PACKED_PANEL ? w->n_out - first : PACKED_PANEL;
    const ptrdiff_t n = w->n_in;
    const int shift = packed_shift_of(w);
    const __m256 one = _mm256_set1_ps((float)((int32_t)1 << shift));
    __m256i most = _mm256_setzero_si256();
    if (w->c_step != 1) { /* inputs are contiguous */
        const ptrdiff_t stride = (n + 5 + 15) / 16 * 16;
        *k_step = 1;
        *c_step = stride;
        for (ptrdiff_t c = 0; c < PACKED_PANEL; c++) {
            const float *from = w->w + (first + c) * w->c_step;
            int32_t *to = values + c * stride;
            const ptrdiff_t m = c < columns ? n : 0;
            __m256i total = _mm256_setzero_si256();
            ptrdiff_t k = 0;
            for (; k + 8 <= m; k += 8) {
                const __m256i i = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from + k), one));
                total = _mm256_add_epi32(total, i);
                most = _mm256_max_epi32(most, _mm256_abs_epi32(i));
                _mm256_storeu_si256((__m256i *)(to + k), i);
            }
            int32_t lanes[8], rest = 0;
            _mm256_storeu_si256((__m256i *)lanes, total);
            for (; k < m; k++) {
                to[k] = packed_nearest(from[k] * (float)((int32_t)1 << shift));
                rest += to[k];
                most = _mm256_max_epi32(most, _mm256_set1_epi32(abs(to[k])));
            }
            memset(to + k, 0, (size_t)(stride - k) * sizeof *to);
            for (int l = 0; l < 8; l++)
                rest += lanes[l];
            sums[c] = rest;
        }
    } else {
        *k_step = PACKED_PANEL;
        *c_step = 1;
        __m256i total = _mm256_setzero_si256();
        const __m256i some = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)columns),
                                                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        for (ptrdiff_t k = 0; k < n; k++) {
            const __m256 x = _mm256_maskload_ps(w->w + k * w->k_step + first, some);
            const __m256i i = _mm256_cvtps_epi32(_mm256_mul_ps(x, one));
            total = _mm256_add_epi32(total, i);
            most = _mm256_max_epi32(most, _mm256_abs_epi32(i));
            _mm256_storeu_si256((__m256i *)(values + k * PACKED_PANEL), i);
        }
        for (int k = 0; k < 5; k++)
            _mm256_storeu_si256((__m256i *)(values + (n + k) * PACKED_PANEL),
                                _mm256_setzero_si256());
        _mm256_storeu_si256((__m256i *)sums, total);
    }
    for (int c = 0; c < PACKED_PANEL; c++)
        sums[c] = (int32_t)((uint32_t)sums[c] << (PACKED_SHIFT - shift));
    int32_t lanes[8], largest = 0;
    _mm256_storeu_si256((__m256i *)lanes, most);
    for (int l = 0; l < 8; l++)
        largest = largest < lanes[l] ? lanes[l] : largest;
    return largest;
}

/* Planes that hold the sums of four numbers of at most `largest`. */
FB_INLINE int packed_planes(int32_t largest)
{
    int planes = 1;
    while (planes < PACKED_PLANES && 4 * (int64_t)largest >= (int64_t)1 << (6 * planes - 1))
        planes++;
    return planes;
}

/* Tables of `fours` fours of inputs and of two columns, [plane][four][column][entry]; entry e is a
 * digit of the sum of the numbers whose bits are set in e. */
__attribute__((always_inline)) FB_AVX2 static inline void packed_byte_tables(
    const int32_t *values, ptrdiff_t k_step, ptrdiff_t c_step, ptrdiff_t fours, uint8_t *tables,
    ptrdiff_t stride, const int planes)
{
    const __m256i bit0 = _mm256_setr_epi32(0, -1, 0, -1, 0, -1, 0, -1);
    const __m256i bit1 = _mm256_setr_epi32(0, 0, -1, -1, 0, 0, -1, -1);
    const __m256i bit3 = _mm256_setr_epi32(0, 0, 0, 0, -1, -1, -1, -1);
    const __m256i twelve = _mm256_set1_epi32(0xfff), six = _mm256_set1_epi16(63);
    const __m256i positive = _mm256_set1_epi32((int32_t)1 << (6 * planes - 1));
    for (ptrdiff_t g = 0; g < fours; g++, values += 4 * k_step, tables += 32) {
        __m256i digits[2][PACKED_PLANES];
#pragma GCC unroll 2
        for (int c = 0; c < 2; c++) {
            const int32_t *v = values + c * c_step;
            /* entries 0-3 and 8-11, then 4-7 and 12-15: packing brings them into order */
            __m256i t = _mm256_add_epi32(
                _mm256_add_epi32(_mm256_and_si256(_mm256_set1_epi32(v[0]), bit0),
                                 _mm256_and_si256(_mm256_set1_epi32(v[k_step]), bit1)),
                _mm256_add_epi32(_mm256_and_si256(_mm256_set1_epi32(v[3 * k_step]), bit3),
                                 positive));
            __m256i u = _mm256_add_epi32(t, _mm256_set1_epi32(v[2 * k_step]));
#pragma GCC unroll 2
            for (int p = 0; p < planes; p += 2) {
                __m256i low = t, high = u;
                if (p + 2 < planes) {
                    low = _mm256_and_si256(t, twelve);
                    high = _mm256_and_si256(u, twelve);
                    t = _mm256_srli_epi32(t, 12);
                    u = _mm256_srli_epi32(u, 12);
                }
                const __m256i both = _mm256_packus_epi32(low, high);
                digits[c][p] = p + 1 < planes ? _mm256_and_si256(both, six) : both;
                if (p + 1 < planes)
                    digits[c][p + 1] = _mm256_srli_epi16(both, 6);
            }
        }
#pragma GCC unroll 3
        for (int p = 0; p < planes; p++)
            _mm256_storeu_si256((__m256i *)(tables + p * stride),
                                _mm256_permute4x64_epi64(
                                    _mm256_packus_epi16(digits[0][p], digits[1][p]), 0xD8));
    }
    /* fours that fill the last step are looked up too */
    for (ptrdiff_t g = fours; g % 4 != 0; g++, tables += 32)
        for (int p = 0; p < planes; p++)
            _mm256_storeu_si256((__m256i *)(tables + p * stride),
                                _mm256_set1_epi8(p == planes - 1 ? 32 : 0));
}

/* One step of one plane: two columns of 64 rows, sums t (even bytes + 256 odd bytes) and o (odd
 * bytes) of 16 bits. Assembly, since compilers load indices for every column and move sums about. */
#define PACKED_BYTE_LOAD(g)                                                                       \
    "vmovdqa 64*" g "(%[i]), %[a]\n\tvmovdqa 64*" g "+32(%[i]), %[b]\n\t"
#define PACKED_BYTE_FIRST(c, x, y)                                                                \
    "vbroadcasti128 16*" c "(%[p]), %[e]\n\t"                                                     \
    "vpshufb %[a], %[e], %[" x "]\n\tvpshufb %[b], %[e], %[" y "]\n\t"
#define PACKED_BYTE_NEXT(g, c, x, y)                                                              \
    "vbroadcasti128 32*" g "+16*" c "(%[p]), %[e]\n\t"                                            \
    "vpshufb %[a], %[e], %[f]\n\tvpaddb %[f], %[" x "], %[" x "]\n\t"                             \
    "vpshufb %[b], %[e], %[f]\n\tvpaddb %[f], %[" y "], %[" y "]\n\t"
#define PACKED_BYTE_ADD(x, t, o)                                                                  \
    "vpsrlw $8, %[" x "], %[f]\n\tvpaddw %[" x "], %[" t "], %[" t "]\n\t"                        \
    "vpaddw %[f], %[" o "], %[" o "]\n\t"
#define PACKED_BYTE_STEP                                                                          \
    __asm__(PACKED_BYTE_LOAD("0") PACKED_BYTE_FIRST("0", "x0", "x1")                              \
                PACKED_BYTE_FIRST("1", "x2", "x3")                                                \
            PACKED_BYTE_LOAD("1") PACKED_BYTE_NEXT("1", "0", "x0", "x1")                          \
                PACKED_BYTE_NEXT("1", "1", "x2", "x3")                                            \
            PACKED_BYTE_LOAD("2") PACKED_BYTE_NEXT("2", "0", "x0", "x1")                          \
                PACKED_BYTE_NEXT("2", "1", "x2", "x3")                                            \
            PACKED_BYTE_LOAD("3") PACKED_BYTE_NEXT("3", "0", "x0", "x1")                          \
                PACKED_BYTE_ADD("x0", "t0", "o0") PACKED_BYTE_ADD("x1", "t1", "o1")               \
                PACKED_BYTE_NEXT("3", "1", "x2", "x3")                                            \
                PACKED_BYTE_ADD("x2", "t2", "o2") PACKED_BYTE_ADD("x3", "t3", "o3")               \
            : [t0] "+x"(total[0]), [t1] "+x"(total[1]), [t2] "+x"(total[2]), [t3] "+x"(total[3]), \
              [o0] "+x"(odd[0]), [o1] "+x"(odd[1]), [o2] "+x"(odd[2]), [o3] "+x"(odd[3]),         \
              [x0] "=&x"(x[0]), [x1] "=&x"(x[1]), [x2] "=&x"(x[2]), [x3] "=&x"(x[3]),             \
              [a] "=&x"(one), [b] "=&x"(other), [e] "=&x"(entries), [f] "=&x"(found)              \
            : [i] "r"(index), [p] "r"(t), "m"(*(const char(*)[256])index),                        \
              "m"(*(const char(*)[128])t))

/* One plane of two columns for 64 rows: sums of 16 bits, [column][32 rows][even, odd]. */
FB_AVX2 FB_UNUSED static void packed_byte_look_up(const uint8_t *index,
                                                  const uint8_t *any, ptrdiff_t steps,
                                                  const uint8_t *t, __m256i *to)
{
    __m256i total[4], odd[4], x[4], one, other, entries, found;
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        total[k] = odd[k] = _mm256_setzero_si256();
    for (ptrdiff_t s = 0; s < steps; s++, index += 256, t += 128)
        if (any[s])
            PACKED_BYTE_STEP;
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        to[2 * k] = _mm256_sub_epi16(total[k], _mm256_slli_epi16(odd[k], 8));
        to[2 * k + 1] = odd[k];
    }
}

/* The same for 32 rows. */
FB_AVX2 FB_UNUSED static void packed_byte_look_up_half(const uint8_t *index,
                                                       const uint8_t *any,
                                                       ptrdiff_t steps,
                                                       const uint8_t *t, __m256i *to)
{
    __m256i total[2], odd[2], x[2];
#pragma GCC unroll 2
    for (int c = 0; c < 2; c++)
        total[c] = odd[c] = _mm256_setzero_si256();
    for (ptrdiff_t s = 0; s < steps; s++, index += 256, t += 128) {
        if (!any[s])
            continue;
        x[0] = x[1] = _mm256_setzero_si256();
#pragma GCC unroll 4
        for (int g = 0; g < 4; g++) {
            const __m256i i = _mm256_load_si256((const __m256i *)(index + 64 * g));
#pragma GCC unroll 2
            for (int c = 0; c < 2; c++)
                x[c] = _mm256_add_epi8(
                    x[c], _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(
                                                  (const __m128i *)(t + 32 * g + 16 * c))),
                                              i));
        }
#pragma GCC unroll 2
        for (int c = 0; c < 2; c++) {
            total[c] = _mm256_add_epi16(total[c], x[c]);
            odd[c] = _mm256_add_epi16(odd[c], _mm256_srli_epi16(x[c], 8));
        }
    }
#pragma GCC unroll 2
    for (int c = 0; c < 2; c++) {
        to[2 * c] = _mm256_sub_epi16(total[c], _mm256_slli_epi16(odd[c], 8));
        to[2 * c + 1] = odd[c];
    }
}

/* From planes to integers, which are set, or added to what is there. `up` shifts them. */
__attribute__((always_inline)) FB_AVX2 static inline void packed_byte_combine(
    const __m256i *from, int planes, ptrdiff_t columns, int vectors, int32_t constant, int up,
    int32_t *sums, int begins)
{
    const __m256i two = _mm256_set1_epi32(1 | 64 << 16), taken = _mm256_set1_epi32(constant);
    const __m128i shift = _mm_cvtsi32_si128(up);
    for (ptrdiff_t c = 0; c < columns; c++)
        for (int v = 0; v < vectors; v++)
            for (int o = 0; o < 2; o++) {
                const __m256i *p = from + (c * vectors + v) * 2 + o;
                int32_t *to = sums + ((2 * v + o) * PACKED_PANEL + c) * 16;
                __m256i low = _mm256_setzero_si256(), high = low;
                for (int k = 0; k < planes; k += 2) {
                    const __m256i a = p[8 * k];
                    const __m256i b = k + 1 < planes ? p[8 * k + 8] : _mm256_setzero_si256();
                    const __m128i place = _mm_cvtsi32_si128(6 * k);
                    low = _mm256_add_epi32(
                        low, _mm256_sll_epi32(_mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), two),
                                              place));
                    high = _mm256_add_epi32(
                        high, _mm256_sll_epi32(_mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), two),
                                               place));
                }
                low = _mm256_sll_epi32(_mm256_sub_epi32(low, taken), shift);
                high = _mm256_sll_epi32(_mm256_sub_epi32(high, taken), shift);
                if (!begins) {
                    low = _mm256_add_epi32(low, _mm256_load_si256((const __m256i *)to));
                    high = _mm256_add_epi32(high, _mm256_load_si256((const __m256i *)(to + 8)));
                }
                _mm256_store_si256((__m256i *)to, low);
                _mm256_store_si256((__m256i *)(to + 8), high);
            }
}

/* The sums of a panel for all rows of some parts: sum over k of bit_k values[k * k_step + c * c_step]
 * for the columns c of the panel, of which `columns` are asked for; no value is larger than `largest`
 * in absolute value. Values are read up to three inputs past n_in, where bits are zero. */
FB_AVX2 FB_UNUSED static void packed_panel_sums_avx2(
    const packed_part *parts, int n_parts, ptrdiff_t n_in, const int32_t *values, ptrdiff_t k_step,
    ptrdiff_t c_step, ptrdiff_t columns, int32_t largest, int up, int32_t *tables)
{
    const ptrdiff_t steps = packed_steps(n_in), fours = (n_in + 3) / 4;
    const ptrdiff_t chunks = (steps + PACKED_BYTE_STEPS - 1) / PACKED_BYTE_STEPS;
    const ptrdiff_t chunk = chunks == 0 ? 1 : (steps + chunks - 1) / chunks;
    const ptrdiff_t stride = 128 * chunk;
    const int planes = packed_planes(largest);
    uint8_t *t = (uint8_t *)tables;
    __m256i found[PACKED_PLANES * 8];
    if (!packed_lists_panel(parts, n_parts, n_in, values, k_step, c_step, columns, up, tables))
        return;
    for (ptrdiff_t c = 0; c < columns; c += 2) {
        const ptrdiff_t two = columns - c < 2 ? 1 : 2;
        ptrdiff_t s = 0;
        do {
            const ptrdiff_t left = fours - 4 * s, more = steps - s < chunk ? steps - s : chunk;
            const ptrdiff_t count = left < 4 * chunk ? left : 4 * chunk;
            const int32_t *from = values + 16 * s * k_step + c * c_step;
            switch (planes) {
#define PACKED_CASE(p)                                                      \
    case p:                                                                 \
        packed_byte_tables(from, k_step, c_step, count, t, stride, p);      \
        break;
                PACKED_CASE(1)
                PACKED_CASE(2)
                PACKED_CASE(3)
#undef PACKED_CASE
            }
            for (int i = 0; i < n_parts; i++) {
                const packed_part *part = parts + i;
                if (part->by != PACKED_BY_LANES)
                    continue;
                for (ptrdiff_t g = 0, b = 0; g < part->n_groups; g += PACKED_BLOCK, b++) {
                    const uint8_t *index = (const uint8_t *)part->index + (b * steps + s) * 256;
                    const uint8_t *any = part->any + b * steps + s;
                    const int vectors = part->n_groups - g >= PACKED_BLOCK ? 2 : 1;
                    int32_t looked = 0;
                    for (ptrdiff_t k = 0; k < more; k++)
                        looked += any[k];
                    if (vectors == 2)
                        for (int p = 0; p < planes; p++)
                            packed_byte_look_up(index, any, more, t + p * stride, found + 8 * p);
                    else
                        for (int p = 0; p < planes; p++)
                            packed_byte_look_up_half(index, any, more, t + p * stride, found + 8 * p);
                    const int32_t constant = 4 * looked << (6 * planes - 1);
                    packed_byte_combine(found, planes, two, vectors, constant, up,
                                        part->sums + (g * PACKED_PANEL + c) * 16, s == 0);
                }
            }
            s += chunk;
        } while (s < steps);
    }
}

/* As packed_mean_sums_avx512. */
FB_AVX2 FB_UNUSED static void packed_mean_sums_avx2(const packed_part *part, ptrdiff_t n_in,
                                                    const int32_t *means, ptrdiff_t c_step,
                                                    ptrdiff_t columns, int low, int spin,
                                                    int32_t bound, int32_t *tables)
{
    (void)low;
    (void)spin;
    packed_panel_sums_avx2(part, 1, n_in, means, 1, c_step, columns, bound, 0, tables);
}

/* -- from sums to what is asked for ------------------------------------------------------------ */

/* What _packed_core.h does for 16 lanes of 512 bits, in the same order, for two times eight. */
#define PACKED_INLINE_AVX2 __attribute__((always_inline)) FB_AVX2 static inline

PACKED_INLINE_AVX2 void packed_exps_minus_avx2(__m256 *z, const int n)
{
    const __m256 magic = _mm256_set1_ps(12582912.0f), cut = _mm256_set1_ps(87.0f);
    __m256 near[4], shifted[4], whole[4], r[4], q[4];
    PACKED_EACH near[i] = _mm256_cmp_ps(z[i], cut, _CMP_NGT_UQ);
    PACKED_EACH z[i] = _mm256_xor_ps(_mm256_blendv_ps(cut, z[i], near[i]), _mm256_set1_ps(-0.0f));
    PACKED_EACH shifted[i] = _mm256_add_ps(_mm256_mul_ps(z[i], _mm256_set1_ps(1.44269504f)), magic);
    PACKED_EACH whole[i] = _mm256_sub_ps(shifted[i], magic);
    PACKED_EACH r[i] =
        _mm256_sub_ps(z[i], _mm256_mul_ps(whole[i], _mm256_set1_ps(0.693145751953125f)));
    PACKED_EACH r[i] =
        _mm256_sub_ps(r[i], _mm256_mul_ps(whole[i], _mm256_set1_ps(1.42860682030941723e-6f)));
    PACKED_EACH q[i] = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(1.3926250e-3f), r[i]),
                                     _mm256_set1_ps(8.3632329e-3f));
    PACKED_EACH q[i] = _mm256_add_ps(_mm256_mul_ps(q[i], r[i]), _mm256_set1_ps(4.1666554e-2f));
    PACKED_EACH q[i] = _mm256_add_ps(_mm256_mul_ps(q[i], r[i]), _mm256_set1_ps(1.6666577e-1f));
    PACKED_EACH q[i] = _mm256_add_ps(_mm256_mul_ps(q[i], r[i]), _mm256_set1_ps(0.5f));
    PACKED_EACH q[i] = _mm256_mul_ps(_mm256_mul_ps(r[i], r[i]), q[i]);
    PACKED_EACH q[i] = _mm256_add_ps(_mm256_set1_ps(1.0f), _mm256_add_ps(r[i], q[i]));
    PACKED_EACH z[i] = _mm256_and_ps(
        near[i], _mm256_castsi256_ps(
                     _mm256_add_epi32(_mm256_castps_si256(q[i]),
                                      _mm256_slli_epi32(_mm256_castps_si256(shifted[i]), 23))));
}

PACKED_INLINE_AVX2 __m256 packed_abs_avx2(__m256 x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

PACKED_INLINE_AVX2 __m256 packed_log1p_avx2(__m256 e)
{
    __m256 s = _mm256_div_ps(e, _mm256_add_ps(_mm256_set1_ps(2.0f), e));
    __m256 t = _mm256_mul_ps(s, s);
    __m256 q = _mm256_set1_ps(1.16121646e-1f);
    q = _mm256_add_ps(_mm256_mul_ps(q, t), _mm256_set1_ps(1.08532879e-1f));
    q = _mm256_add_ps(_mm256_mul_ps(q, t), _mm256_set1_ps(1.42961790e-1f));
    q = _mm256_add_ps(_mm256_mul_ps(q, t), _mm256_set1_ps(1.99998532e-1f));
    q = _mm256_add_ps(_mm256_mul_ps(q, t), _mm256_set1_ps(3.33333337e-1f));
    __m256 twice = _mm256_add_ps(s, s);
    return _mm256_add_ps(twice, _mm256_mul_ps(twice, _mm256_mul_ps(t, q)));
}

/* Adds the units' cumulants at a to eight sums in double precision. */
PACKED_INLINE_AVX2 void packed_cumulants_avx2(__m256 a, int spin, double *sums)
{
    __m256 z = packed_abs_avx2(a), e = spin ? _mm256_add_ps(z, z) : z, x;
    packed_exps_minus_avx2(&e, 1);
    if (!spin)
        z = _mm256_and_ps(_mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ), a);
    x = _mm256_add_ps(z, packed_log1p_avx2(e));
    _mm256_storeu_pd(sums, _mm256_add_pd(_mm256_loadu_pd(sums),
                                         _mm256_cvtps_pd(_mm256_castps256_ps128(x))));
    _mm256_storeu_pd(sums + 4, _mm256_add_pd(_mm256_loadu_pd(sums + 4),
                                             _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))));
}

/* Eight columns of 16 rows to where they belong in a matrix of rows; m rows and `columns` columns
 * of them are real. */
PACKED_INLINE_AVX2 void packed_store_rows_avx2(float (*x)[16], float *to, ptrdiff_t stride,
                                               ptrdiff_t m, ptrdiff_t columns)
{
    if (m < 16 || columns < PACKED_PANEL) {
        for (ptrdiff_t l = 0; l < m; l++)
            for (ptrdiff_t c = 0; c < columns; c++)
                to[l * stride + c] = x[c][l];
        return;
    }
    for (int c = 0; c < PACKED_PANEL; c += 4)
        for (int l = 0; l < 16; l += 4) {
            __m128 a = _mm_loadu_ps(x[c] + l), b = _mm_loadu_ps(x[c + 1] + l);
            __m128 d = _mm_loadu_ps(x[c + 2] + l), e = _mm_loadu_ps(x[c + 3] + l);
            _MM_TRANSPOSE4_PS(a, b, d, e);
            float *row = to + l * stride + c;
            _mm_storeu_ps(row, a);
            _mm_storeu_ps(row + stride, b);
            _mm_storeu_ps(row + 2 * stride, d);
            _mm_storeu_ps(row + 3 * stride, e);
        }
}

/* Arguments of eight rows. */
PACKED_INLINE_AVX2 __m256 packed_argument_avx2(const int32_t *sum, int32_t all, int spin_in,
                                               __m256 bias, float scale)
{
    __m256i i = _mm256_loadu_si256((const __m256i *)sum);
    if (spin_in)
        i = _mm256_sub_epi32(_mm256_add_epi32(i, i), _mm256_set1_epi32(all));
    return _mm256_add_ps(bias, _mm256_mul_ps(_mm256_set1_ps(scale * (1.0f / (1 << PACKED_SHIFT))),
                                             _mm256_cvtepi32_ps(i)));
}

/* From the sums of one panel and two groups of rows to everything that is asked for; see
 * packed_epilogue_body. Four vectors at a time: two columns of 16 rows. */
PACKED_INLINE_AVX2 void packed_epilogue_body_avx2(const int32_t *sums, const int32_t *all,
                                                  const packed_outputs *o, ptrdiff_t first,
                                                  ptrdiff_t n_units, ptrdiff_t row,
                                                  ptrdiff_t n_rows, ptrdiff_t n_groups,
                                                  const int plain, const int draw, const int mean)
{
    const int n = 4;
    const ptrdiff_t columns = n_units - first < PACKED_PANEL ? n_units - first : PACKED_PANEL;
    const ptrdiff_t out_words = packed_words(n_units), padded_rows = n_groups * 16;
    const int mean_rows = !plain && o->mean_rows != NULL, field = !plain && o->field != NULL;
    const int spin_in = !plain && o->spin_in, spin_out = !plain && o->spin_out;
    const __m256 one = _mm256_set1_ps(1.0f);
    const int cut = PACKED_SHIFT - o->mean_shift;
    const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i zero = _mm256_setzero_si256(); /* stored as it is: memset calls for few bytes */
    uint16_t masks[2][PACKED_PANEL];
    _mm256_storeu_si256((__m256i *)masks, zero);
    float fields[PACKED_PANEL][16], means[PACKED_PANEL][16];
    philox_shared shared;
    if (draw)
        philox_share_avx2(&shared, o->address, (uint32_t)first / 4); /* two blocks an eight */
    for (int s = 0; s < 2; s++) {
        const ptrdiff_t r = row + 16 * s, valid = n_rows - r;
        const ptrdiff_t m = valid >= 16 ? 16 : valid <= 0 ? 0 : valid;
        const __m256i lanes[2] = {_mm256_cmpgt_epi32(_mm256_set1_epi32((int)m), order),
                                  _mm256_cmpgt_epi32(_mm256_set1_epi32((int)m - 8), order)};
        double *cumulant = NULL, *other = NULL;
        if (!plain && o->cumulant != NULL) {
            cumulant = o->cumulant + first / PACKED_PANEL * padded_rows + r;
            memset(cumulant, 0, 16 * sizeof(double));
        }
        if (!plain && o->other_cumulant != NULL) {
            other = o->other_cumulant + first / PACKED_PANEL * padded_rows + r;
            memset(other, 0, 16 * sizeof(double));
        }
        uint32_t words[2 * 64] __attribute__((aligned(32)));
        if (draw && m > 0)
            philox_eight_avx2(&shared, o->address.row0 + (uint32_t)r, words);
        __m256i byte[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (ptrdiff_t c0 = 0; c0 < columns && m > 0; c0 += 2) {
            const ptrdiff_t here = columns - c0 < 2 ? 1 : 2;
            const int32_t *sum = sums + (s * PACKED_PANEL + c0) * 16;
            __m256 a[4], above[4], below[4];
            /* vector i: column i / 2, rows 8 (i % 2) and on */
            if (!plain && o->row_bias != NULL)
                PACKED_EACH a[i] =
                    i / 2 < here ? _mm256_maskload_ps(o->row_bias + (first + c0 + i / 2) * o->row_step +
                                                          r + i % 2 * 8,
                                                      lanes[i % 2])
                                 : _mm256_setzero_ps();
            else
                PACKED_EACH a[i] = _mm256_set1_ps(
                    o->bias != NULL && i / 2 < here ? o->bias[first + c0 + i / 2] : 0.0f);
            PACKED_EACH a[i] =
                packed_argument_avx2(sum + 8 * i, all[c0 + i / 2], spin_in, a[i], o->scale);
            for (int i = 0; i < 2 * here && (cumulant != NULL || other != NULL || field); i++) {
                if (cumulant != NULL)
                    packed_cumulants_avx2(a[i], spin_out, cumulant + i % 2 * 8);
                if (other != NULL) {
                    const float b =
                        o->other_bias != NULL ? o->other_bias[first + c0 + i / 2] : 0.0f;
                    packed_cumulants_avx2(packed_argument_avx2(sum + 8 * i, all[c0 + i / 2], spin_in,
                                                               _mm256_set1_ps(b), o->other_scale),
                                          spin_out, other + i % 2 * 8);
                }
                if (field)
                    _mm256_storeu_ps(fields[c0 + i / 2] + i % 2 * 8, a[i]);
            }
            if (!draw && !mean && !mean_rows)
                continue;
            if (spin_out)
                PACKED_EACH a[i] = _mm256_add_ps(a[i], a[i]);
            PACKED_EACH below[i] = packed_abs_avx2(a[i]);
            packed_exps_minus_avx2(below, n);
            PACKED_EACH above[i] = _mm256_blendv_ps(
                one, below[i], _mm256_cmp_ps(a[i], _mm256_setzero_ps(), _CMP_LT_OQ));
            PACKED_EACH below[i] = _mm256_add_ps(one, below[i]);
            if (draw) {
                __m256 u[4];
                PACKED_EACH u[i] = _mm256_mul_ps(
                    _mm256_add_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(
                                      _mm256_load_si256((const __m256i *)(words + 16 * c0) + i), 9)),
                                  _mm256_set1_ps(0.5f)),
                    _mm256_set1_ps(0x1p-23f));
                PACKED_EACH u[i] =
                    _mm256_cmp_ps(_mm256_mul_ps(u[i], below[i]), above[i], _CMP_LT_OQ);
                PACKED_EACH if (i / 2 < here)
                {
                    const __m256i hit = _mm256_and_si256(_mm256_castps_si256(u[i]), lanes[i % 2]);
                    masks[s][c0 + i / 2] |= (uint16_t)(_mm256_movemask_ps(_mm256_castsi256_ps(hit))
                                                       << i % 2 * 8);
                    byte[i % 2] = _mm256_or_si256(
                        byte[i % 2],
                        _mm256_and_si256(hit, _mm256_set1_epi32(1 << (int)(c0 + i / 2))));
                }
            }
            if (!mean && !mean_rows)
                continue;
            PACKED_EACH a[i] = _mm256_div_ps(above[i], below[i]);
            if (spin_out)
                PACKED_EACH a[i] = _mm256_sub_ps(_mm256_add_ps(a[i], a[i]), one);
            if (mean)
                PACKED_EACH if (i / 2 < here) /* packed_mean_of */
                {
                    const uint32_t unit = (uint32_t)(first + c0 + i / 2);
                    const __m256i part =
                        o->chance == NULL
                            ? zero
                            : _mm256_and_si256(
                                  _mm256_add_epi32(
                                      _mm256_loadu_si256((const __m256i *)(o->chance + r + i % 2 * 8)),
                                      _mm256_set1_epi32((int32_t)(unit * PACKED_MEAN_STEP))),
                                  _mm256_set1_epi32((1 << cut) - 1));
                    const __m256i whole = _mm256_cvtps_epi32(
                        _mm256_mul_ps(a[i], _mm256_set1_ps((float)(1 << PACKED_SHIFT))));
                    _mm256_storeu_si256(
                        (__m256i *)(o->mean + unit * padded_rows + r + i % 2 * 8),
                        _mm256_and_si256(lanes[i % 2],
                                         _mm256_sra_epi32(_mm256_add_epi32(whole, part),
                                                          _mm_cvtsi32_si128(cut))));
                }
            if (mean_rows)
                PACKED_EACH _mm256_storeu_ps(means[c0 + i / 2] + i % 2 * 8, a[i]);
        }
        if (field)
            packed_store_rows_avx2(fields, o->field + r * n_units + first, n_units, m, columns);
        if (mean_rows)
            packed_store_rows_avx2(means, o->mean_rows + r * n_units + first, n_units, m, columns);
        if (m == 0 && mean)
            for (ptrdiff_t c = 0; c < columns; c++)
                for (int h = 0; h < 2; h++)
                    _mm256_storeu_si256(
                        (__m256i *)(o->mean + (first + c) * padded_rows + r) + h, zero);
        if (draw && o->bits != NULL) {
            __m256i *to = (__m256i *)(o->bits + (r / 16 * out_words + first / 32) * 16);
            const int shift = (int)(first % 32);
            if (packed_is_shared(o, first / 32)) {
                uint32_t own[16];
                _mm256_storeu_si256((__m256i *)own, byte[0]);
                _mm256_storeu_si256((__m256i *)(own + 8), byte[1]);
                packed_store_bytes((uint32_t *)to, own, first, n_units - first <= PACKED_PANEL);
                continue;
            }
            for (int h = 0; h < 2; h++) {
                byte[h] = _mm256_sll_epi32(byte[h], _mm_cvtsi32_si128(shift));
                if (shift != 0)
                    byte[h] = _mm256_or_si256(byte[h], _mm256_loadu_si256(to + h));
                _mm256_storeu_si256(to + h, byte[h]);
            }
        }
    }
    if (draw && o->turned != NULL) {
        const ptrdiff_t row_words = n_groups / 2;
        for (ptrdiff_t c = 0; c < columns; c++) {
            const ptrdiff_t u = first + c;
            o->turned[(u / 16 * row_words + row / 32) * 16 + u % 16] =
                masks[0][c] | (uint32_t)masks[1][c] << 16;
        }
    }
}

#define DRAWS(name) name##_avx2
#define DRAWS_TARGET FB_AVX2
#define DRAWS_LANES 8
#define DRAWS_V(op) _mm256_##op
#define DRAWS_F __m256
#define DRAWS_I __m256i
#define DRAWS_AS_I _mm256_castps_si256
#define DRAWS_AS_F _mm256_castsi256_ps
#define DRAWS_AND _mm256_and_si256
#define DRAWS_OR _mm256_or_si256
#define DRAWS_LOAD(at) _mm256_loadu_si256((const __m256i *)(at))
#define DRAWS_STORE(at, x) _mm256_storeu_si256((__m256i *)(at), x)
#define DRAWS_NEGATIVE(x) _mm256_movemask_ps(x)
/* the nearest whole number stands in the last bits of a sum with 1.5 2^23 */
#define DRAWS_SPLIT(x, f)                                                                         \
    PACKED_EACH f[i] = _mm256_min_ps(_mm256_max_ps(x[i], _mm256_set1_ps(-126.0f)),                \
                                     _mm256_set1_ps(126.0f));                                     \
    PACKED_EACH x[i] = _mm256_add_ps(f[i], _mm256_set1_ps(12582912.0f));                          \
    PACKED_EACH f[i] = _mm256_sub_ps(f[i], _mm256_sub_ps(x[i], _mm256_set1_ps(12582912.0f)));
#define DRAWS_SCALE(e, whole)                                                                     \
    DRAWS_AS_F(_mm256_add_epi32(DRAWS_AS_I(e), _mm256_slli_epi32(DRAWS_AS_I(whole), 23)))
#define DRAWS_APPEND(on, place, x)                                                                \
    on = _mm256_or_si256(on, _mm256_and_si256(_mm256_srai_epi32(DRAWS_AS_I(x), 31),               \
                                              _mm256_set1_epi32(place)))
#define DRAWS_SHARE(address, block)                                                               \
    philox_shared shared;                                                                         \
    philox_share_avx2(&shared, address, block)
#define DRAWS_WORDS(address, row, block, words)                                                   \
    for (uint32_t r = 0; r < 32; r += 8)                                                          \
        philox_chains_avx2(&shared, 0, (address).row0 + (row) + r, (words) + 64 * (r / 16) + r % 16)
#include "_packed_draws.h"
#undef DRAWS
#undef DRAWS_TARGET
#undef DRAWS_LANES
#undef DRAWS_V
#undef DRAWS_F
#undef DRAWS_I
#undef DRAWS_AS_I
#undef DRAWS_AS_F
#undef DRAWS_AND
#undef DRAWS_OR
#undef DRAWS_LOAD
#undef DRAWS_STORE
#undef DRAWS_NEGATIVE
#undef DRAWS_SPLIT
#undef DRAWS_SCALE
#undef DRAWS_APPEND
#undef DRAWS_SHARE
#undef DRAWS_WORDS

FB_AVX2 FB_UNUSED static void packed_epilogue_avx2(const int32_t *sums,
                                                   const int32_t *all,
                                                   const packed_outputs *o,
                                                   ptrdiff_t first, ptrdiff_t n_units,
                                                   ptrdiff_t row, ptrdiff_t n_rows,
                                                   ptrdiff_t n_groups)
{
    PACKED_EPILOGUE_CASES(packed_epilogue_body_avx2, packed_draws_avx2)
}

#endif /* FB_X86 */

#endif
