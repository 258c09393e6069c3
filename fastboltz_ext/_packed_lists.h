/* Sums over the ones of binary rows with AVX2, eight columns in the lanes; for products of three with
 * AVX-512, too, sixteen. Part of _packed_core.h.
 *
 * For each row there is a list of what to add up, made once for all columns:
 * - by ones: of the numbers that belong to its ones;
 * - by fives: of one of the 32 partial sums of every five inputs, which are made for all rows.
 * The first is faster where ones are few, or rows. One addition from memory makes 8 multiply-adds of
 * ones, or 40 of any bits; with a list's entry it takes half a cycle of a processor that loads two
 * registers in one. Tables of a column in a register, as with AVX-512, have no room for entries of more
 * than a byte, and took twice the time (they are left where sums have 16 bits, in _packed_bytes.h).
 *
 * The numbers, or tables, of a chunk of inputs stay in the first cache while all rows go by.
 */
#ifndef FASTBOLTZ_PACKED_LISTS_H
#define FASTBOLTZ_PACKED_LISTS_H

/* Whether tables are to be used in any case: for tests, and for comparisons. */
static int packed_only_tables;

#if FB_X86

/* Bytes of the numbers of an input, and of the table of five. */
#define PACKED_ONES_STEP (PACKED_PANEL * 4)
#define PACKED_FIVES_STEP (32 * PACKED_ONES_STEP)

/* sum += eight numbers. Assembly, since compilers would rather add two of them to each other first and
 * then to the sums: half as many instructions again. */
#if defined(__SANITIZE_ADDRESS__)
#define PACKED_PLUS(sum, from) (sum) = _mm256_add_epi32(sum, *(const __m256i *)(from))
#else
#define PACKED_PLUS(sum, from) \
    __asm__("vpaddd %[x], %[s], %[s]" : [s] "+x"(sum) : [x] "m"(*(const __m256i *)(from)))
#endif

/* -- lists ------------------------------------------------------------------------------------- */

/* Whether ones are the faster way, by the processor's cycles a panel, as measured with an AMD Zen 3: a
 * one takes 0.72, and a row 5 in each chunk; by fives an input of a row takes 0.15, and an input 10 more
 * than with ones, for its share of a table. */
FB_INLINE int packed_ones_pay(double ones, double rows, ptrdiff_t n_in)
{
    const double chunks = (double)packed_chunks(packed_words(n_in), PACKED_ONES_WORDS);
    return 0.72 * ones + 5.0 * rows * chunks < (0.15 * rows + 10.0) * (double)n_in;
}

/* Ones of a part: bytes from the first number of a chunk to the one's, filled up to a number of four
 * with the place of zeros, right behind the chunk's numbers. Those of a row are
 *
 *     ones[start[chunk][row]], ones[start[chunk][row] + 1], ..., ones[start[chunk][row + 1] - 1]
 */
FB_AVX2 FB_UNUSED static void packed_ones_fill(packed_part *part, const uint32_t *bits,
                                               ptrdiff_t n_in)
{
    const ptrdiff_t n_words = packed_words(n_in), rows = part->all_rows;
    const ptrdiff_t chunks = packed_chunks(n_words, PACKED_ONES_WORDS);
    const ptrdiff_t words = packed_chunk_size(n_words, PACKED_ONES_WORDS);
    const uint64_t each = 0x0001000100010001u; /* four numbers of 16 bits */
    uint64_t places[16];
    part->by = PACKED_BY_ONES;
    part->start = part->index;
    part->ones = (uint16_t *)(part->start + chunks * rows + 16);
    for (int e = 0; e < 16; e++) { /* where the ones of four inputs are */
        int n = 0;
        places[e] = 0;
        for (int k = 0; k < 4; k++)
            if (e >> k & 1)
                places[e] |= (uint64_t)(k * PACKED_ONES_STEP) << 16 * n++;
    }
    uint16_t *to = part->ones;
    for (ptrdiff_t q = 0; q < chunks; q++) {
        const ptrdiff_t begin = q * words, end = begin + words < n_words ? begin + words : n_words;
        const ptrdiff_t inputs = 32 * end < n_in ? 32 * (end - begin) : n_in - 32 * begin;
        const uint64_t zeros = each * (uint64_t)(inputs * PACKED_ONES_STEP);
        for (ptrdiff_t r = 0; r < rows; r++) {
            const uint32_t *word = bits + (r / 16 * n_words + begin) * 16 + r % 16;
            part->start[q * rows + r] = (uint32_t)(to - part->ones);
            for (ptrdiff_t w = begin; w < end; w++, word += 16) {
                const uint32_t x = *word & packed_mask(w, n_in);
                uint64_t place = each * (uint64_t)((w - begin) * 32 * PACKED_ONES_STEP);
                if (x == 0)
                    continue;
#pragma GCC unroll 8
                for (int k = 0; k < 32; k += 4) {
                    const uint64_t four = place + places[x >> k & 15];
                    memcpy(to, &four, sizeof four);
                    to += __builtin_popcount(x >> k & 15);
                    place += each * (4 * PACKED_ONES_STEP);
                }
            }
            memcpy(to, &zeros, sizeof zeros);
            to = part->ones + ((to - part->ones) + 3) / 4 * 4;
        }
    }
    part->start[chunks * rows] = (uint32_t)(to - part->ones);
}

/* Fives of a part, [chunk][row][twenty of the chunk][four fives], at most so many twenties in a chunk:
 * eight times the number of an entry, so that four times that is its place in the table. */
FB_AVX2 FB_UNUSED static void packed_fives_fill(packed_part *part, const uint32_t *bits,
                                                ptrdiff_t n_in, ptrdiff_t at_most)
{
    const ptrdiff_t n_words = packed_words(n_in), rows = part->all_rows;
    const ptrdiff_t twenties = packed_twenties(n_in);
    const ptrdiff_t most = packed_chunk_size(twenties, at_most);
    part->by = PACKED_BY_FIVES;
    for (ptrdiff_t begin = 0; begin < twenties; begin += most) {
        const ptrdiff_t here = twenties - begin < most ? twenties - begin : most;
        uint32_t *chunk = part->index + begin * rows;
        for (ptrdiff_t r = 0; r < rows; r += 8)
            for (ptrdiff_t t = 0; t < here; t++) {
                const ptrdiff_t w = (begin + t) * 20 / 32;
                const int shift = (int)((begin + t) * 20 % 32);
                const uint32_t *word = bits + (r / 16 * n_words + w) * 16 + r % 16;
                __m256i x = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)word),
                                             _mm256_set1_epi32((int)packed_mask(w, n_in)));
                x = _mm256_srl_epi32(x, _mm_cvtsi32_si128(shift));
                if (shift > 12 && w + 1 < n_words) {
                    const __m256i more =
                        _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(word + 16)),
                                         _mm256_set1_epi32((int)packed_mask(w + 1, n_in)));
                    x = _mm256_or_si256(x, _mm256_sll_epi32(more, _mm_cvtsi32_si128(32 - shift)));
                }
                __m256i fives = _mm256_setzero_si256(); /* a byte each, from bit 3 on */
#pragma GCC unroll 4
                for (int k = 0; k < 4; k++)
                    fives = _mm256_or_si256(
                        fives, _mm256_slli_epi32(_mm256_and_si256(x, _mm256_set1_epi32(31 << 5 * k)),
                                                 3 + 3 * k));
                uint32_t of[8];
                _mm256_storeu_si256((__m256i *)of, fives);
                for (ptrdiff_t l = 0; l < 8; l++)
                    chunk[(r + l) * here + t] = of[l];
            }
    }
}

/* Whether a part is to have a list of its ones, if a share of its rows is summed with each table. */
FB_AVX2 FB_UNUSED static int packed_is_by_ones(const packed_part *part, const uint32_t *bits,
                                               ptrdiff_t n_in, double share)
{
    const ptrdiff_t n_words = packed_words(n_in);
    int64_t ones = 0;
    if (packed_only_tables)
        return 0;
    for (ptrdiff_t i = 0; i < part->all_rows * n_words; i++)
        ones += __builtin_popcount(bits[i]);
    /* and there has to be room */
    return 2 * ones <= 16 * PACKED_BLOCK * packed_blocks(part->n_groups) * n_in &&
           packed_ones_pay(share * (double)ones, share * (double)part->all_rows, n_in);
}

/* The list of a part. Returns 0 where sums of 16 bits, `low`, are to be made by bytes. */
FB_AVX2 FB_UNUSED static int packed_lists_fill(packed_part *part, const uint32_t *bits,
                                               ptrdiff_t n_in, int low)
{
    bits += part->first_group * packed_words(n_in) * 16;
    if (packed_is_by_ones(part, bits, n_in, 1.0))
        packed_ones_fill(part, bits, n_in);
    else if (low)
        return 0;
    else
        packed_fives_fill(part, bits, n_in, PACKED_FIVES_TWENTIES);
    return 1;
}

/* -- numbers ----------------------------------------------------------------------------------- */

__attribute__((always_inline)) FB_AVX2 static inline void packed_transpose_avx2(__m256i x[8])
{
    __m256i y[8];
#pragma GCC unroll 4
    for (int k = 0; k < 8; k += 2) {
        y[k] = _mm256_unpacklo_epi32(x[k], x[k + 1]);
        y[k + 1] = _mm256_unpackhi_epi32(x[k], x[k + 1]);
    }
#pragma GCC unroll 2
    for (int k = 0; k < 8; k += 4) {
        x[k] = _mm256_unpacklo_epi64(y[k], y[k + 2]);
        x[k + 1] = _mm256_unpackhi_epi64(y[k], y[k + 2]);
        x[k + 2] = _mm256_unpacklo_epi64(y[k + 1], y[k + 3]);
        x[k + 3] = _mm256_unpackhi_epi64(y[k + 1], y[k + 3]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        y[k] = _mm256_permute2x128_si256(x[k], x[k + 4], 0x20);
        y[k + 4] = _mm256_permute2x128_si256(x[k], x[k + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++)
        x[k] = y[k];
}

/* The numbers of eight inputs, of which `inputs` are real, columns in the lanes. */
__attribute__((always_inline)) FB_AVX2 static inline void packed_eight_inputs(
    const int32_t *values, ptrdiff_t k_step, ptrdiff_t c_step, ptrdiff_t inputs, ptrdiff_t columns,
    __m256i x[8])
{
    const __m256i zero = _mm256_setzero_si256();
    if (k_step != 1) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            x[k] = k < inputs ? _mm256_loadu_si256((const __m256i *)(values + k * k_step)) : zero;
        return;
    }
    if (inputs >= 8) {
#pragma GCC unroll 8
        for (int c = 0; c < 8; c++)
            x[c] = c < columns ? _mm256_loadu_si256((const __m256i *)(values + c * c_step)) : zero;
    } else {
        int32_t some[8][8] = {{0}};
        for (ptrdiff_t c = 0; c < columns; c++)
            for (ptrdiff_t k = 0; k < inputs; k++)
                some[c][k] = values[c * c_step + k];
#pragma GCC unroll 8
        for (int c = 0; c < 8; c++)
            x[c] = _mm256_loadu_si256((const __m256i *)some[c]);
    }
    packed_transpose_avx2(x);
}

/* The numbers of some inputs, [input][column], and zeros behind them. */
FB_AVX2 FB_UNUSED static void packed_ones_numbers(const int32_t *values, ptrdiff_t k_step,
                                                  ptrdiff_t c_step, ptrdiff_t inputs,
                                                  ptrdiff_t columns, int32_t *to)
{
    for (ptrdiff_t k = 0; k < inputs; k += 8, to += 8 * PACKED_PANEL) {
        const ptrdiff_t real = inputs - k < 8 ? inputs - k : 8;
        __m256i x[8];
        packed_eight_inputs(values + k * k_step, k_step, c_step, real, columns, x);
#pragma GCC unroll 8
        for (int l = 0; l < 8; l++)
            if (l < real)
                _mm256_store_si256((__m256i *)(to + l * PACKED_PANEL), x[l]);
    }
    to -= (8 - inputs % 8) % 8 * PACKED_PANEL;
    _mm256_store_si256((__m256i *)to, _mm256_setzero_si256());
}

/* The table of five inputs, entry after entry `width` numbers apart; entry e is the sum of the numbers
 * whose bits are set in e. */
__attribute__((always_inline)) FB_AVX2 static inline void packed_fives_table(const __m256i *own,
                                                                             ptrdiff_t own_step,
                                                                             int32_t *to,
                                                                             const int width)
{
    __m256i t[16];
    t[0] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int l = 0; l < 4; l++)
#pragma GCC unroll 8
        for (int e = 0; e < 1 << l; e++)
            t[(1 << l) + e] = e == 0 ? own[l * own_step] : _mm256_add_epi32(t[e], own[l * own_step]);
#pragma GCC unroll 16
    for (int e = 0; e < 16; e++) {
        _mm256_store_si256((__m256i *)(to + e * width), t[e]);
        _mm256_store_si256((__m256i *)(to + (16 + e) * width),
                           _mm256_add_epi32(t[e], own[4 * own_step]));
    }
}

/* The tables of the fives of some twenties, [five][entry][column]. */
FB_AVX2 FB_UNUSED static void packed_fives_tables(const int32_t *values, ptrdiff_t k_step,
                                                  ptrdiff_t c_step, ptrdiff_t inputs,
                                                  ptrdiff_t twenties, ptrdiff_t columns, int32_t *to)
{
    for (ptrdiff_t k = 0; k < 20 * twenties; k += 40) {
        const ptrdiff_t fives = 20 * twenties - k < 40 ? 4 : 8;
        __m256i x[40];
        for (ptrdiff_t i = 0; i < 5 * fives; i += 8)
            packed_eight_inputs(values + (k + i) * k_step, k_step, c_step, inputs - k - i, columns,
                                x + i);
        for (ptrdiff_t five = 0; five < fives; five++, to += 32 * PACKED_PANEL)
            packed_fives_table(x + 5 * five, 1, to, PACKED_PANEL);
    }
}

/* -- sums -------------------------------------------------------------------------------------- */

/* a, the sums of one row so far, and those of a chunk. */
__attribute__((always_inline)) FB_AVX2 static inline __m256i packed_ones_row(
    const packed_part *part, const uint32_t *start, const char *numbers, __m256i a)
{
    const uint16_t *one = part->ones + start[0], *end = part->ones + start[1];
    __m256i b = _mm256_setzero_si256();
    for (; one < end; one += 4) { /* places by twos: loads are what there is least of */
        uint32_t two[2];
        memcpy(two, one, sizeof two);
        PACKED_PLUS(a, numbers + (two[0] & 0xffff));
        PACKED_PLUS(b, numbers + (two[0] >> 16));
        PACKED_PLUS(a, numbers + (two[1] & 0xffff));
        PACKED_PLUS(b, numbers + (two[1] >> 16));
    }
    return _mm256_add_epi32(a, b);
}

/* a and b += entries of four or eight fives. Two bytes of a list with one shift: compilers take two. */
#if defined(__SANITIZE_ADDRESS__)
#define PACKED_PLUS_SOME(n, a, b, list, tables)                                     \
    for (int k_ = 0; k_ < (n); k_ += 2) {                                           \
        const uint8_t *e_ = (const uint8_t *)(list) + k_;                           \
        PACKED_PLUS(a, (tables) + k_ * PACKED_FIVES_STEP + 4 * e_[0]);              \
        PACKED_PLUS(b, (tables) + (k_ + 1) * PACKED_FIVES_STEP + 4 * e_[1]);        \
    }
#define PACKED_PLUS_FOUR(a, b, list, tables) PACKED_PLUS_SOME(4, a, b, list, tables)
#define PACKED_PLUS_EIGHT(a, b, list, tables) PACKED_PLUS_SOME(8, a, b, list, tables)
#else
#define PACKED_PLUS_TWO(k)                                                          \
    "movzbl %%al, %%ecx\n\tmovzbl %%ah, %%edx\n\t"                                  \
    "vpaddd 2048*" k "(%[t],%%rcx,4), %[s], %[s]\n\t"                               \
    "vpaddd 2048*" k "+1024(%[t],%%rdx,4), %[r], %[r]\n\t"
#define PACKED_PLUS_OPERANDS(n, a, b, list, tables)                                 \
    : [s] "+x"(a), [r] "+x"(b)                                                      \
    : [i] "m"(*(const char(*)[n])(list)), [t] "r"(tables),                          \
      "m"(*(const char(*)[(n) * PACKED_FIVES_STEP])(tables))                        \
    : "rax", "rcx", "rdx", "cc"
#define PACKED_PLUS_FOUR(a, b, list, tables)                                        \
    __asm__("movl %[i], %%eax\n\t" PACKED_PLUS_TWO("0") "shrl $16, %%eax\n\t"       \
                PACKED_PLUS_TWO("1") PACKED_PLUS_OPERANDS(4, a, b, list, tables))
#define PACKED_PLUS_EIGHT(a, b, list, tables)                                       \
    __asm__("movq %[i], %%rax\n\t" PACKED_PLUS_TWO("0") "shrq $16, %%rax\n\t"       \
                PACKED_PLUS_TWO("1") "shrq $16, %%rax\n\t"                          \
                PACKED_PLUS_TWO("2") "shrl $16, %%eax\n\t"                          \
                PACKED_PLUS_TWO("3") PACKED_PLUS_OPERANDS(8, a, b, list, tables))
#endif

__attribute__((always_inline)) FB_AVX2 static inline __m256i packed_fives_row(
    const uint32_t *fives, ptrdiff_t twenties, const char *tables, __m256i a)
{
    __m256i b = _mm256_setzero_si256();
    for (; twenties > 1; twenties -= 2, fives += 2, tables += 8 * PACKED_FIVES_STEP)
        PACKED_PLUS_EIGHT(a, b, fives, tables);
    if (twenties > 0)
        PACKED_PLUS_FOUR(a, b, fives, tables);
    return _mm256_add_epi32(a, b);
}

/* The same of sixteen columns, [column / 8]: an entry has 64 bytes. */
#if defined(__SANITIZE_ADDRESS__)
#define PACKED_PLUS_WIDE(n, a, b, list, tables)                                     \
    for (int k_ = 0; k_ < (n); k_++) {                                              \
        const char *e_ = (tables) + 2 * k_ * PACKED_FIVES_STEP + 8 * ((const uint8_t *)(list))[k_]; \
        __m256i *const to_ = k_ % 2 ? (b) : (a);                                    \
        PACKED_PLUS(to_[0], e_);                                                    \
        PACKED_PLUS(to_[1], e_ + 32);                                               \
    }
#define PACKED_PLUS_FOUR_WIDE(a, b, list, tables) PACKED_PLUS_WIDE(4, a, b, list, tables)
#define PACKED_PLUS_EIGHT_WIDE(a, b, list, tables) PACKED_PLUS_WIDE(8, a, b, list, tables)
#else
#define PACKED_PLUS_TWO_WIDE(k)                                                     \
    "movzbl %%al, %%ecx\n\tmovzbl %%ah, %%edx\n\t"                                  \
    "vpaddd 4096*" k "(%[t],%%rcx,8), %[s], %[s]\n\t"                               \
    "vpaddd 4096*" k "+32(%[t],%%rcx,8), %[u], %[u]\n\t"                            \
    "vpaddd 4096*" k "+2048(%[t],%%rdx,8), %[r], %[r]\n\t"                          \
    "vpaddd 4096*" k "+2080(%[t],%%rdx,8), %[v], %[v]\n\t"
#define PACKED_PLUS_OPERANDS_WIDE(n, a, b, list, tables)                            \
    : [s] "+x"((a)[0]), [u] "+x"((a)[1]), [r] "+x"((b)[0]), [v] "+x"((b)[1])        \
    : [i] "m"(*(const char(*)[n])(list)), [t] "r"(tables),                          \
      "m"(*(const char(*)[2 * (n) * PACKED_FIVES_STEP])(tables))                    \
    : "rax", "rcx", "rdx", "cc"
#define PACKED_PLUS_FOUR_WIDE(a, b, list, tables)                                   \
    __asm__("movl %[i], %%eax\n\t" PACKED_PLUS_TWO_WIDE("0") "shrl $16, %%eax\n\t"  \
                PACKED_PLUS_TWO_WIDE("1") PACKED_PLUS_OPERANDS_WIDE(4, a, b, list, tables))
#define PACKED_PLUS_EIGHT_WIDE(a, b, list, tables)                                  \
    __asm__("movq %[i], %%rax\n\t" PACKED_PLUS_TWO_WIDE("0") "shrq $16, %%rax\n\t"  \
                PACKED_PLUS_TWO_WIDE("1") "shrq $16, %%rax\n\t"                     \
                PACKED_PLUS_TWO_WIDE("2") "shrl $16, %%eax\n\t"                     \
                PACKED_PLUS_TWO_WIDE("3") PACKED_PLUS_OPERANDS_WIDE(8, a, b, list, tables))
#endif

__attribute__((always_inline)) FB_AVX2 static inline void packed_fives_row_wide(
    const uint32_t *fives, ptrdiff_t twenties, const char *tables, __m256i a[2])
{
    __m256i b[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (; twenties > 1; twenties -= 2, fives += 2, tables += 16 * PACKED_FIVES_STEP)
        PACKED_PLUS_EIGHT_WIDE(a, b, fives, tables);
    if (twenties > 0)
        PACKED_PLUS_FOUR_WIDE(a, b, fives, tables);
    a[0] = _mm256_add_epi32(a[0], b[0]);
    a[1] = _mm256_add_epi32(a[1], b[1]);
}

/* With AVX-512 sixteen columns are one register. What is added up is the same. */
#if defined(FB_EMULATED) || defined(__SANITIZE_ADDRESS__)
#define PACKED_PLUS_512(sum, from) \
    (sum) = _mm512_add_epi32(sum, _mm512_load_si512((const __m512i *)(from)))
#define PACKED_PLUS_SOME_512(n, a, b, list, tables)                                 \
    for (int k_ = 0; k_ < (n); k_ += 2) {                                           \
        const uint8_t *l_ = (const uint8_t *)(list) + k_;                           \
        const char *t_ = (tables) + 2 * k_ * PACKED_FIVES_STEP;                     \
        PACKED_PLUS_512(a, t_ + 8 * l_[0]);                                         \
        PACKED_PLUS_512(b, t_ + 2 * PACKED_FIVES_STEP + 8 * l_[1]);                 \
    }
#define PACKED_PLUS_FOUR_512(a, b, list, tables) PACKED_PLUS_SOME_512(4, a, b, list, tables)
#define PACKED_PLUS_EIGHT_512(a, b, list, tables) PACKED_PLUS_SOME_512(8, a, b, list, tables)
#else
#define PACKED_PLUS_512(sum, from) \
    __asm__("vpaddd %[x], %[s], %[s]" : [s] "+v"(sum) : [x] "m"(*(const __m512i *)(from)))
#define PACKED_PLUS_TWO_512(k)                                                      \
    "movzbl %%al, %%ecx\n\tmovzbl %%ah, %%edx\n\t"                                  \
    "vpaddd 4096*" k "(%[t],%%rcx,8), %[s], %[s]\n\t"                               \
    "vpaddd 4096*" k "+2048(%[t],%%rdx,8), %[r], %[r]\n\t"
#define PACKED_PLUS_OPERANDS_512(n, a, b, list, tables)                             \
    : [s] "+v"(a), [r] "+v"(b)                                                      \
    : [i] "m"(*(const char(*)[n])(list)), [t] "r"(tables),                          \
      "m"(*(const char(*)[2 * (n) * PACKED_FIVES_STEP])(tables))                    \
    : "rax", "rcx", "rdx", "cc"
#define PACKED_PLUS_FOUR_512(a, b, list, tables)                                    \
    __asm__("movl %[i], %%eax\n\t" PACKED_PLUS_TWO_512("0") "shrl $16, %%eax\n\t"   \
                PACKED_PLUS_TWO_512("1") PACKED_PLUS_OPERANDS_512(4, a, b, list, tables))
#define PACKED_PLUS_EIGHT_512(a, b, list, tables)                                   \
    __asm__("movq %[i], %%rax\n\t" PACKED_PLUS_TWO_512("0") "shrq $16, %%rax\n\t"   \
                PACKED_PLUS_TWO_512("1") "shrq $16, %%rax\n\t"                      \
                PACKED_PLUS_TWO_512("2") "shrl $16, %%eax\n\t"                      \
                PACKED_PLUS_TWO_512("3") PACKED_PLUS_OPERANDS_512(8, a, b, list, tables))
#endif

__attribute__((always_inline)) FB_AVX512 static inline __m512i packed_ones_row_512(
    const packed_part *part, const uint32_t *start, const char *numbers, __m512i a)
{
    const uint16_t *one = part->ones + start[0], *end = part->ones + start[1];
    __m512i b = _mm512_setzero_si512();
    for (; one < end; one += 4) {
        uint32_t two[2];
        memcpy(two, one, sizeof two);
        PACKED_PLUS_512(a, numbers + 2 * (two[0] & 0xffff));
        PACKED_PLUS_512(b, numbers + 2 * (two[0] >> 16));
        PACKED_PLUS_512(a, numbers + 2 * (two[1] & 0xffff));
        PACKED_PLUS_512(b, numbers + 2 * (two[1] >> 16));
    }
    return _mm512_add_epi32(a, b);
}

__attribute__((always_inline)) FB_AVX512 static inline __m512i packed_fives_row_512(
    const uint32_t *fives, ptrdiff_t twenties, const char *tables, __m512i a)
{
    __m512i b = _mm512_setzero_si512();
    for (; twenties > 1; twenties -= 2, fives += 2, tables += 16 * PACKED_FIVES_STEP)
        PACKED_PLUS_EIGHT_512(a, b, fives, tables);
    if (twenties > 0)
        PACKED_PLUS_FOUR_512(a, b, fives, tables);
    return _mm512_add_epi32(a, b);
}

/* As packed_fives_table, of sixteen columns. */
__attribute__((always_inline)) FB_AVX512 static inline void packed_fives_table_512(const int32_t *own,
                                                                                   int32_t *to)
{
    __m512i t[16];
    t[0] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int l = 0; l < 4; l++) {
        const __m512i x = _mm512_load_si512(own + 16 * l);
#pragma GCC unroll 8
        for (int e = 0; e < 1 << l; e++)
            t[(1 << l) + e] = e == 0 ? x : _mm512_add_epi32(t[e], x);
    }
    const __m512i last = _mm512_load_si512(own + 64);
#pragma GCC unroll 16
    for (int e = 0; e < 16; e++) {
        _mm512_store_si512(to + e * 16, t[e]);
        _mm512_store_si512(to + (16 + e) * 16, _mm512_add_epi32(t[e], last));
    }
}

/* Where the sums of eight rows from r on are: [column][row], and until all chunks are through
 * [row][column] in the same places. */
FB_INLINE int32_t *packed_sums_of_eight(const packed_part *part, ptrdiff_t r)
{
    return part->sums + r / 16 * PACKED_PANEL * 16 + r % 16;
}

FB_AVX2 FB_INLINE __m256i packed_sums_so_far(const int32_t *at, int row, int begins)
{
    return begins ? _mm256_setzero_si256() : _mm256_load_si256((const __m256i *)(at + 16 * row));
}

__attribute__((always_inline)) FB_AVX2 static inline void packed_store_eight(__m256i x[8], int up,
                                                                             int ends, int32_t *at)
{
    if (ends)
        packed_transpose_avx2(x);
#pragma GCC unroll 8
    for (int c = 0; c < PACKED_PANEL; c++)
        _mm256_store_si256((__m256i *)(at + 16 * c),
                           ends ? _mm256_sll_epi32(x[c], _mm_cvtsi32_si128(up)) : x[c]);
}

FB_AVX2 FB_UNUSED static void packed_ones_add(const packed_part *part, ptrdiff_t chunk,
                                              const int32_t *numbers, int up, int ends)
{
    const uint32_t *start = part->start + chunk * part->all_rows + part->first_row;
    for (ptrdiff_t r = 0; r < 16 * part->n_groups; r += 8) {
        int32_t *const at = packed_sums_of_eight(part, r);
        __m256i x[8];
#pragma GCC unroll 8
        for (int l = 0; l < 8; l++)
            x[l] = packed_ones_row(part, start + r + l, (const char *)numbers,
                                   packed_sums_so_far(at, l, chunk == 0));
        packed_store_eight(x, up, ends, at);
    }
}

FB_AVX2 FB_UNUSED static void packed_fives_add(const packed_part *part, ptrdiff_t begin,
                                               ptrdiff_t twenties, const int32_t *tables, int up,
                                               int ends)
{
    const uint32_t *fives = part->index + begin * part->all_rows + twenties * part->first_row;
    for (ptrdiff_t r = 0; r < 16 * part->n_groups; r += 8) {
        int32_t *const at = packed_sums_of_eight(part, r);
        __m256i x[8];
#pragma GCC unroll 8
        for (int l = 0; l < 8; l++)
            x[l] = packed_fives_row(fives + twenties * (r + l), twenties, (const char *)tables,
                                    packed_sums_so_far(at, l, begin == 0));
        packed_store_eight(x, up, ends, at);
    }
}

/* The sums of a panel for all rows of those parts that have lists; as packed_panel_sums_avx2. Returns
 * whether there are other parts. */
FB_AVX2 FB_UNUSED static int packed_lists_panel(const packed_part *parts, int n_parts,
                                                ptrdiff_t n_in, const int32_t *values,
                                                ptrdiff_t k_step, ptrdiff_t c_step,
                                                ptrdiff_t columns, int up, int32_t *room)
{
    const ptrdiff_t n_words = packed_words(n_in), n_twenties = packed_twenties(n_in);
    const ptrdiff_t words = packed_chunk_size(n_words, PACKED_ONES_WORDS);
    const ptrdiff_t twenties = packed_chunk_size(n_twenties, PACKED_FIVES_TWENTIES);
    int by[3] = {0, 0, 0};
    for (int i = 0; i < n_parts; i++) {
        by[parts[i].by]++;
        if (n_in == 0) /* a share without rows, say */
            memset(parts[i].sums, 0, (size_t)(parts[i].n_groups * PACKED_PANEL * 16) * 4);
    }
    for (ptrdiff_t q = 0; q * words < n_words && by[PACKED_BY_ONES]; q++) {
        const ptrdiff_t k = 32 * q * words, inputs = n_in - k < 32 * words ? n_in - k : 32 * words;
        packed_ones_numbers(values + k * k_step, k_step, c_step, inputs, columns, room);
        for (int i = 0; i < n_parts; i++)
            if (parts[i].by == PACKED_BY_ONES)
                packed_ones_add(parts + i, q, room, up, (q + 1) * words >= n_words);
    }
    for (ptrdiff_t t = 0; t < n_twenties && by[PACKED_BY_FIVES]; t += twenties) {
        const ptrdiff_t k = 20 * t, here = n_twenties - t < twenties ? n_twenties - t : twenties;
        packed_fives_tables(values + k * k_step, k_step, c_step, n_in - k, here, columns, room);
        for (int i = 0; i < n_parts; i++)
            if (parts[i].by == PACKED_BY_FIVES)
                packed_fives_add(parts + i, t, here, room, up, t + here == n_twenties);
    }
    return by[PACKED_BY_LANES] > 0;
}

#endif /* FB_X86 */

#endif
