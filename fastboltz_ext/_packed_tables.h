/* Sums over the ones of binary rows by table look-up, with AVX-512. Part of _packed_core.h.
 *
 * Five inputs of a row choose one of 32 partial sums of five numbers. The sums fill two registers,
 * and one permutation of both looks them up for 16 rows: with one addition, 80 multiply-adds. (Four
 * inputs and one register cost as many instructions.)
 *
 * What a step costs is the permutation and the addition, as long as nothing waits for memory:
 * - two columns' tables, four registers, serve a block of 128 rows; indices come from memory once for
 *   both. (Four columns and 64 rows take a tenth more instructions, which Zen 5 has no time for.)
 * - the tables of two columns and 400 inputs, 20 KB, stay in the first cache while all blocks of
 *   rows go by; sums go to and fro instead;
 * - bits are spread to bytes of five beforehand, once for all columns: indices then come from memory
 *   at any byte, without a shift (a permutation reads the lowest five bits of a lane).
 *
 * Sums of 16 bits are looked up in the same way: two registers hold 64 partial sums of six inputs, and a
 * permutation looks them up for 32 rows, 192 multiply-adds. An even lane is a row of the first of two
 * groups of 16, an odd one of the second.
 */
#ifndef FASTBOLTZ_PACKED_TABLES_H
#define FASTBOLTZ_PACKED_TABLES_H

/* Groups of 16 rows in a block; with AVX-512 a block of registers is two of them. */
#define PACKED_BLOCK 4
#define PACKED_TALL (2 * PACKED_BLOCK)
/* Times that a table is used up to which it is a half. */
#define PACKED_SELDOM 2
/* Columns whose tables are in the first cache at a time. */
#define PACKED_COLUMNS 2
/* Words of twenty inputs in a chunk, at the most. */
#define PACKED_CHUNK 20
/* The same of sums of 16 bits: words of twelve. */
#define PACKED_LOW_CHUNK 40
/* Integers of a table, and of the tables of a chunk. */
#define PACKED_TABLE 32
#define PACKED_TABLES (4 * PACKED_CHUNK * PACKED_COLUMNS * PACKED_TABLE)
/* With AVX2, words of 32 inputs whose numbers are in the first cache at a time, 20 KB, or twenties whose
 * fives' tables are, 24 KB (_packed_lists.h). */
#define PACKED_ONES_WORDS 20
#define PACKED_FIVES_TWENTIES 6
/* Those numbers, with zeros for one more input, of sixteen columns where they are one register, and
 * those tables. */
#define PACKED_ONES_NUMBERS ((32 * PACKED_ONES_WORDS + 1) * 16)
#define PACKED_FIVES_TABLES (4 * PACKED_FIVES_TWENTIES * 32 * PACKED_PANEL)
/* With AVX2 and sums of 16 bits (_packed_bytes.h), steps of 16 inputs in a chunk, at the most: no sum of
 * bytes overflows (252 a step), and its tables, of two columns and one plane, stay in the first cache
 * with the indices of 64 rows. Planes at the most: 18 bits hold four numbers of 16. */
#define PACKED_BYTE_STEPS 28
#define PACKED_PLANES 3
#define PACKED_BYTE_TABLES (PACKED_BYTE_STEPS * 4 * 2 * 16 * PACKED_PLANES / 4)
/* Room for tables of any kind, or numbers. */
#define PACKED_LARGER_ROOM(a, b) ((a) > (b) ? (a) : (b))
#define PACKED_TABLES_ROOM                                                 \
    PACKED_LARGER_ROOM(PACKED_LARGER_ROOM(PACKED_TABLES, PACKED_BYTE_TABLES), \
                       PACKED_LARGER_ROOM(PACKED_ONES_NUMBERS, PACKED_FIVES_TABLES))
/* Blocks that are worked on together: their indices and sums should stay in the second cache. */
#define PACKED_BLOCKS 32

/* Ways to the sums of a part's rows: by tables of one column with rows in the lanes; by lists of ones, or
 * by tables of five inputs, with columns in the lanes (AVX2). */
enum { PACKED_BY_LANES, PACKED_BY_ONES, PACKED_BY_FIVES };

/* Rows whose sums are asked for, some blocks of them. */
typedef struct {
    ptrdiff_t first_group, n_groups; /* groups of 16 rows, an even number */
    ptrdiff_t n_used; /* of which so many have rows: the sums of the last may be zero once and for all */
    /* AVX-512: [tall block][word of 20 inputs][group of the block][lane], a byte is five inputs, or with
     * sums of 16 bits [tall block][word of 12 inputs][two groups][lane], a byte is six; AVX2: see
     * _packed_bytes.h */
    uint32_t *index;
    uint8_t *any; /* [(tall) block][word of 20 or 12 or step of 16 inputs]: whether some row has a one there */
    int32_t *sums;   /* [group][column of a panel][lane] */
    int by; /* what stands in the place of indices, see _packed_lists.h */
    uint16_t *ones;
    uint32_t *start;
    ptrdiff_t all_rows, first_row; /* of which the part is rows from first_row on */
} packed_part;

FB_INLINE ptrdiff_t packed_twenties(ptrdiff_t n_in)
{
    return (n_in + 19) / 20;
}

FB_INLINE ptrdiff_t packed_twelves(ptrdiff_t n_in)
{
    return (n_in + 11) / 12;
}

FB_INLINE ptrdiff_t packed_steps(ptrdiff_t n_in)
{
    return (n_in + 15) / 16;
}

FB_INLINE ptrdiff_t packed_blocks(ptrdiff_t n_groups)
{
    return (n_groups + PACKED_BLOCK - 1) / PACKED_BLOCK;
}

/* Chunks of at most `most` of n words, or twenties, and how many are in each chunk but the last. */
FB_INLINE ptrdiff_t packed_chunks(ptrdiff_t n, ptrdiff_t most)
{
    return (n + most - 1) / most;
}

FB_INLINE ptrdiff_t packed_chunk_size(ptrdiff_t n, ptrdiff_t most)
{
    const ptrdiff_t chunks = packed_chunks(n, most);
    return chunks == 0 ? 1 : (n + chunks - 1) / chunks;
}

/* Integers that the indices of some blocks take: more with AVX2, whose indices hold four inputs where
 * the others hold five. Or a list of ones in their place: room for half of all bits, filled up to
 * fours, and where each row's begin. */
FB_INLINE ptrdiff_t packed_index_size(ptrdiff_t n_in, ptrdiff_t blocks)
{
    const ptrdiff_t rows = 16 * PACKED_BLOCK * blocks, chunks = packed_chunks(packed_words(n_in), PACKED_ONES_WORDS);
    const ptrdiff_t index = rows * 2 * packed_words(n_in) + 16;
    const ptrdiff_t ones = rows * ((n_in + 3) / 4 + 2 * chunks) + chunks * rows + 32;
    return index > ones ? index : ones;
}

/* Integers that indices, flags and sums of some blocks take. */
FB_INLINE ptrdiff_t packed_part_size(ptrdiff_t n_in, ptrdiff_t blocks)
{
    return (packed_index_size(n_in, blocks) + 15) / 16 * 16 +
           blocks * 16 * PACKED_BLOCK * PACKED_PANEL +
           (blocks * packed_twelves(n_in) + 63) / 64 * 16;
}

/* Lays a part of so many rows out from `memory`; returns what is behind it. */
FB_INLINE int32_t *packed_part_place(packed_part *part, ptrdiff_t first_group, ptrdiff_t n_rows,
                                     ptrdiff_t n_in, int32_t *memory)
{
    const ptrdiff_t n_groups = packed_groups(n_rows), blocks = packed_blocks(n_groups);
    part->first_group = first_group;
    part->n_groups = n_groups;
    part->n_used = (n_rows + PACKED_LANES - 1) / PACKED_LANES;
    part->sums = memory;
    memset(memory + part->n_used * PACKED_PANEL * PACKED_LANES, 0,
           (size_t)((n_groups - part->n_used) * PACKED_PANEL * PACKED_LANES) * sizeof *memory);
    part->index = (uint32_t *)(memory + blocks * 16 * PACKED_BLOCK * PACKED_PANEL);
    /* indices are read up to three bytes past their end */
    part->any = (uint8_t *)(part->index + (packed_index_size(n_in, blocks) + 15) / 16 * 16);
    part->by = PACKED_BY_LANES;
    part->ones = NULL;
    part->start = NULL;
    part->all_rows = 16 * n_groups;
    part->first_row = 0;
    return memory + packed_part_size(n_in, blocks);
}

/* Integers that packed_panel_values writes: values of a panel's columns, and a few zeros behind. */
FB_INLINE ptrdiff_t packed_values_size(ptrdiff_t n_in)
{
    return ((n_in + 6 + 15) / 16 * 16) * PACKED_PANEL;
}

/* Integers of scratch that a layer needs for sets of rows with so many groups in all. */
FB_UNUSED static ptrdiff_t packed_layer_scratch(ptrdiff_t n_in, ptrdiff_t n_groups)
{
    ptrdiff_t blocks = packed_blocks(n_groups) + 1; /* two sets may both end in half a block */
    blocks = blocks < PACKED_BLOCKS ? blocks : PACKED_BLOCKS;
    return packed_values_size(n_in) + PACKED_TABLES_ROOM + packed_part_size(n_in, blocks) +
           packed_part_size(n_in, 1);
}

#if FB_X86

/* The weights of a panel, or all of their rows' entries for 8 columns, towards the second cache: they
 * come from afar, and there is time while other sums are looked up. */
FB_INLINE void packed_fetch(const float *w, ptrdiff_t k_step, ptrdiff_t c_step, ptrdiff_t n_in,
                            ptrdiff_t columns)
{
    if (c_step == 1) {
        const float *end = w + PACKED_PANEL - 1;
        /* every second panel is in the lines of the one before */
        if (k_step % 16 == 0 && ((uintptr_t)end & 63) >= 4 * PACKED_PANEL)
            return;
        for (ptrdiff_t k = 0; k < n_in; k++)
            __builtin_prefetch(end + k * k_step, 0, 2);
    }
    else
        for (ptrdiff_t c = 0; c < columns && c < PACKED_PANEL; c++)
            for (ptrdiff_t k = 0; k < n_in; k += 16)
                __builtin_prefetch(w + c * c_step + k, 0, 2);
}

/* Registers of the tall block that begins with register g of n: of groups, or of two groups each. One or
 * two that are left over belong to the block before: by themselves they would wait for each other. */
FB_INLINE ptrdiff_t packed_tall(ptrdiff_t n, ptrdiff_t g)
{
    return n - g <= PACKED_TALL + 2 ? n - g : PACKED_TALL;
}

/* Twelve bits of 16 rows, from bit `at` of their words on, as two bytes of six. */
__attribute__((always_inline)) FB_AVX512 static inline __m512i packed_two_sixes(const uint32_t *rows,
                                                                               ptrdiff_t n_words,
                                                                               ptrdiff_t at)
{
    const ptrdiff_t w = at / 32;
    const int shift = (int)(at % 32);
    const uint32_t *word = rows + 16 * w;
    __m512i x = _mm512_srl_epi32(_mm512_loadu_si512(word), _mm_cvtsi32_si128(shift));
    if (shift > 20 && w + 1 < n_words)
        x = _mm512_or_si512(
            x, _mm512_sll_epi32(_mm512_loadu_si512(word + 16), _mm_cvtsi32_si128(32 - shift)));
    return _mm512_or_si512(_mm512_and_si512(x, _mm512_set1_epi32(0x3f)),
                           _mm512_and_si512(_mm512_slli_epi32(x, 2), _mm512_set1_epi32(0x3f00)));
}

/* Indices of a part for sums of 16 bits. */
FB_AVX512 FB_UNUSED static void packed_part_fill_low(packed_part *part, const uint32_t *bits,
                                                     ptrdiff_t n_in)
{
    const ptrdiff_t n_words = packed_words(n_in), twelves = packed_twelves(n_in);
    uint32_t *to = part->index;
    uint8_t *any = part->any;
    for (ptrdiff_t b = 0, registers; b < part->n_groups / 2; b += registers) {
        registers = packed_tall(part->n_groups / 2, b);
        const uint32_t *from = bits + (part->first_group + 2 * b) * n_words * 16;
        for (ptrdiff_t k = 0; k < twelves; k++) {
            __m512i ones = _mm512_setzero_si512();
            for (ptrdiff_t g = 0; g < registers; g++, to += 16) {
                const uint32_t *rows = from + 2 * g * n_words * 16;
                const __m512i y = _mm512_or_si512(
                    packed_two_sixes(rows, n_words, 12 * k),
                    _mm512_slli_epi32(packed_two_sixes(rows + n_words * 16, n_words, 12 * k), 16));
                _mm512_store_si512(to, y);
                ones = _mm512_or_si512(ones, y);
            }
            *any++ = _mm512_test_epi32_mask(ones, ones) != 0;
        }
    }
}

/* Indices of a part, from bits with rows in lanes. Bits beyond the inputs are zero. */
FB_AVX512 FB_UNUSED static void packed_part_fill_avx512(packed_part *part,
                                                        const uint32_t *bits,
                                                        ptrdiff_t n_in, int low)
{
    if (low) {
        packed_part_fill_low(part, bits, n_in);
        return;
    }
    const ptrdiff_t n_words = packed_words(n_in), twenties = packed_twenties(n_in);
    const __m512i m0 = _mm512_set1_epi32(0x1f), m1 = _mm512_set1_epi32(0x1f00);
    const __m512i m2 = _mm512_set1_epi32(0x1f0000), m3 = _mm512_set1_epi32(0x1f000000);
    uint32_t *to = part->index;
    uint8_t *any = part->any;
    for (ptrdiff_t b = 0, groups; b < part->n_used; b += groups) {
        groups = packed_tall(part->n_used, b);
        const uint32_t *from = bits + (part->first_group + b) * n_words * 16;
        for (ptrdiff_t k = 0; k < twenties; k++, to += 16 * groups) {
            const ptrdiff_t w = 20 * k / 32;
            const int shift = (int)(20 * k % 32);
            const __m128i down = _mm_cvtsi32_si128(shift), up = _mm_cvtsi32_si128(32 - shift);
            const int two = shift > 12 && w + 1 < n_words;
            __m512i ones = _mm512_setzero_si512();
            for (ptrdiff_t g = 0; g < groups; g++) {
                const uint32_t *word = from + (g * n_words + w) * 16;
                __m512i x = _mm512_srl_epi32(_mm512_loadu_si512(word), down);
                if (two)
                    x = _mm512_or_si512(x, _mm512_sll_epi32(_mm512_loadu_si512(word + 16), up));
                __m512i y = _mm512_and_si512(x, m0);
                y = _mm512_or_si512(y, _mm512_and_si512(_mm512_slli_epi32(x, 3), m1));
                y = _mm512_or_si512(y, _mm512_and_si512(_mm512_slli_epi32(x, 6), m2));
                y = _mm512_or_si512(y, _mm512_and_si512(_mm512_slli_epi32(x, 9), m3));
                _mm512_store_si512(to + 16 * g, y);
                ones = _mm512_or_si512(ones, y);
            }
            *any++ = _mm512_test_epi32_mask(ones, ones) != 0;
        }
    }
}

/* Tables of `count` fives of two columns, [five][column][entry], from the numbers
 * values[k * k_step + c * c_step]; entry e is the sum of those whose bits are set in e. With `half`, the
 * entries of the first four numbers alone: to store the other half takes longer than to add the fifth number
 * when it is needed, if that is seldom. */
__attribute__((always_inline)) FB_AVX512 static inline void packed_tables_body(
    const int32_t *values, const ptrdiff_t k_step, const ptrdiff_t c_step, ptrdiff_t count,
    const int half, int32_t *tables)
{
    const int32_t *v[PACKED_COLUMNS] = {values, values + c_step};
    const ptrdiff_t size = half ? PACKED_TABLE / 2 : PACKED_TABLE;
    for (ptrdiff_t g = 0; g < count; g++, tables += PACKED_COLUMNS * size) {
#pragma GCC unroll 2
        for (int c = 0; c < PACKED_COLUMNS; c++, v[c - 1] += 5 * k_step) {
            __m512i t = _mm512_maskz_set1_epi32(0xAAAA, v[c][0]);
            t = _mm512_mask_add_epi32(t, 0xCCCC, t, _mm512_set1_epi32(v[c][k_step]));
            t = _mm512_mask_add_epi32(t, 0xF0F0, t, _mm512_set1_epi32(v[c][2 * k_step]));
            t = _mm512_mask_add_epi32(t, 0xFF00, t, _mm512_set1_epi32(v[c][3 * k_step]));
            _mm512_store_si512(tables + c * size, t);
            if (!half)
                _mm512_store_si512(tables + c * size + 16,
                                   _mm512_add_epi32(t, _mm512_set1_epi32(v[c][4 * k_step])));
        }
    }
}

FB_AVX512 FB_UNUSED static void packed_tables_avx512(const int32_t *values, ptrdiff_t k_step,
                                                     ptrdiff_t c_step, ptrdiff_t count, int half,
                                                     int32_t *tables)
{
    if (k_step == 1 && half)
        packed_tables_body(values, 1, c_step, count, 1, tables);
    else if (k_step == 1)
        packed_tables_body(values, 1, c_step, count, 0, tables);
    else if (half)
        packed_tables_body(values, PACKED_PANEL, 1, count, 1, tables);
    else
        packed_tables_body(values, PACKED_PANEL, 1, count, 0, tables);
}

/* Tables of `count` sixes of two columns with entries of 16 bits, as packed_tables_avx512; `more` is added
 * to each. */
FB_AVX512 FB_UNUSED static void packed_tables_low(const int32_t *values, ptrdiff_t k_step,
                                                  ptrdiff_t c_step, ptrdiff_t count, int32_t more,
                                                  int16_t *tables)
{
    static const uint32_t place[5] = {0xAAAAAAAAu, 0xCCCCCCCCu, 0xF0F0F0F0u, 0xFF00FF00u,
                                      0xFFFF0000u};
    for (ptrdiff_t g = 0; g < count; g++)
        for (ptrdiff_t c = 0; c < PACKED_COLUMNS; c++, tables += 2 * PACKED_TABLE) {
            const int32_t *v = values + 6 * g * k_step + c * c_step;
            __m512i t = _mm512_set1_epi16((int16_t)more);
#pragma GCC unroll 5
            for (int b = 0; b < 5; b++)
                t = _mm512_mask_add_epi16(t, place[b], t, _mm512_set1_epi16((int16_t)v[b * k_step]));
            _mm512_store_si512(tables, t);
            _mm512_store_si512(tables + 32,
                               _mm512_add_epi16(t, _mm512_set1_epi16((int16_t)v[5 * k_step])));
        }
}

/* Two registers of rows and two columns. Assembly, since compilers load each table many times and move
 * the sums about; the additions are of integers, so their order is no matter. What is looked up is added two
 * pairs of registers later (PACKED_STEP_OF_TABLES): additions that wait for permutations are sent to the
 * permutations' units when they can go on. */
#ifdef FB_EMULATED
#define PACKED_PICK(g, BITS, LETTER)                                                              \
    for (int i = (g); i < (g) + 2; i++) {                                                        \
        const __m512i x = _mm512_loadu_si512(at + 64 * i);                                        \
        found[0][i] = _mm512_permutex2var_epi##BITS(low0, x, high0);                              \
        found[1][i] = _mm512_permutex2var_epi##BITS(low1, x, high1);                              \
    }
#define PACKED_ADD_PICKED(g, BITS, LETTER)                                                        \
    for (int i = (g); i < (g) + 2; i++)                                                          \
        for (int c = 0; c < PACKED_COLUMNS; c++)                                                  \
            sum[c][i] = _mm512_add_epi##BITS(sum[c][i], found[c][i]);
#else
#define PACKED_PICK(g, BITS, LETTER)                                                              \
    __asm__ volatile("vmovdqu64 %[x], %[p]\n\tvmovdqu64 %[y], %[r]\n\t"                           \
                     "vmovdqa64 %[p], %[q]\n\tvpermi2" LETTER " %[h0], %[l0], %[p]\n\t"           \
                     "vmovdqa64 %[r], %[s]\n\tvpermi2" LETTER " %[h1], %[l1], %[q]\n\t"           \
                     "vpermi2" LETTER " %[h0], %[l0], %[r]\n\t"                                   \
                     "vpermi2" LETTER " %[h1], %[l1], %[s]"                                       \
                     : [p] "=&v"(found[0][g]), [q] "=&v"(found[1][g]),                            \
                       [r] "=&v"(found[0][(g) + 1]), [s] "=&v"(found[1][(g) + 1])                 \
                     : [x] "m"(*(const packed_any_512 *)(at + 64 * (g))),                         \
                       [y] "m"(*(const packed_any_512 *)(at + 64 * (g) + 64)), [l0] "v"(low0),    \
                       [h0] "v"(high0), [l1] "v"(low1), [h1] "v"(high1));
#define PACKED_ADD_PICKED(g, BITS, LETTER)                                                        \
    __asm__ volatile("vpadd" LETTER " %[p], %[a], %[a]\n\tvpadd" LETTER " %[q], %[b], %[b]\n\t"    \
                     "vpadd" LETTER " %[r], %[c], %[c]\n\tvpadd" LETTER " %[s], %[d], %[d]"        \
                     : [a] "+&v"(sum[0][g]), [b] "+&v"(sum[1][g]), [c] "+&v"(sum[0][(g) + 1]),     \
                       [d] "+&v"(sum[1][(g) + 1])                                                 \
                     : [p] "v"(found[0][g]), [q] "v"(found[1][g]), [r] "v"(found[0][(g) + 1]),     \
                       [s] "v"(found[1][(g) + 1]));
#endif
/* One table of two columns for all registers. */
#define PACKED_STEP_OF_TABLES(REGISTERS, BITS, LETTER)                                            \
    do {                                                                                         \
        enum { PAIRS = (REGISTERS) / 2, LAG = (REGISTERS) > 8 ? 1 : 2 };                          \
        __m512i found[PACKED_COLUMNS][(REGISTERS) + 1];                                           \
        _Pragma("GCC unroll 8") for (int pair = 0; pair < PAIRS + LAG; pair++)                    \
        {                                                                                        \
            if (pair < PAIRS)                                                                    \
                PACKED_PICK(2 * pair, BITS, LETTER)                                               \
            if (pair >= LAG)                                                                     \
                PACKED_ADD_PICKED(2 * (pair - LAG), BITS, LETTER)                                 \
        }                                                                                        \
        if ((REGISTERS) % 2)                                                                     \
            PACKED_PICK_ADD_ONE((REGISTERS) - 1, BITS, LETTER);                                   \
    } while (0)
#define PACKED_PICK_ADD_ONE(g, BITS, LETTER)                                                      \
    do {                                                                                         \
        const __m512i x = _mm512_loadu_si512(at + 64 * (g));                                      \
        sum[0][g] = _mm512_add_epi##BITS(sum[0][g],                                               \
                                         _mm512_permutex2var_epi##BITS(low0, x, high0));          \
        sum[1][g] = _mm512_add_epi##BITS(sum[1][g],                                               \
                                         _mm512_permutex2var_epi##BITS(low1, x, high1));          \
    } while (0)

/* A register at any byte. */
typedef __m512i packed_any_512 __attribute__((aligned(1), may_alias));

/* The sums of a tall block of so many registers over a chunk of inputs, BYTES choices in a word of
 * indices, added to what is there unless `begins`; STEP integers from one register's sums to the next. Of
 * tables of SIZE integers, a half of them, the fifth numbers stand in `fifth`, for the next table `next`
 * integers on and for the other column `apart`. */
#define PACKED_LOOK_UP(name, REGISTERS, BITS, LETTER, BYTES, STEP, SIZE)                          \
    FB_AVX512 FB_UNUSED static void name(const uint32_t *index, const uint8_t *any,               \
                                         ptrdiff_t count, const int32_t *t, int32_t *to,          \
                                         int begins, const int32_t *fifth, ptrdiff_t next,        \
                                         ptrdiff_t apart)                                         \
    {                                                                                            \
        const int half = SIZE < PACKED_TABLE;                                                     \
        __m512i sum[PACKED_COLUMNS][REGISTERS];                                                   \
        _Pragma("GCC unroll 2") for (int c = 0; c < PACKED_COLUMNS; c++)                          \
            _Pragma("GCC unroll 10") for (int g = 0; g < REGISTERS; g++) sum[c][g] =               \
                begins ? _mm512_setzero_si512() : _mm512_load_si512(to + g * (STEP) + c * 16);    \
        const char *word = (const char *)index;                                                  \
        for (; count > 0; count -= BYTES, word += 64 * REGISTERS, any++) {                        \
            if (!*any) {                                                                         \
                t += BYTES * PACKED_COLUMNS * SIZE;                                               \
                fifth += BYTES * next;                                                           \
                continue;                                                                        \
            }                                                                                    \
            const char *const end = word + (count < BYTES ? count : BYTES);                      \
            for (const char *at = word; at < end;                                                \
                 at++, t += PACKED_COLUMNS * SIZE, fifth += next) {                               \
                const __m512i low0 = _mm512_load_si512(t), low1 = _mm512_load_si512(t + SIZE);    \
                const __m512i high0 = half ? _mm512_add_epi32(low0, _mm512_set1_epi32(*fifth))    \
                                           : _mm512_load_si512(t + 16);                           \
                const __m512i high1 = half ? _mm512_add_epi32(low1, _mm512_set1_epi32(fifth[apart])) \
                                           : _mm512_load_si512(t + SIZE + 16);                    \
                PACKED_STEP_OF_TABLES(REGISTERS, BITS, LETTER);                                   \
            }                                                                                    \
        }                                                                                        \
        _Pragma("GCC unroll 2") for (int c = 0; c < PACKED_COLUMNS; c++)                          \
            _Pragma("GCC unroll 10") for (int g = 0; g < REGISTERS; g++)                           \
                _mm512_store_si512(to + g * (STEP) + c * 16, sum[c][g]);                          \
    }

#define PACKED_LOOK_UP_FIVES(n)                                                                   \
    PACKED_LOOK_UP(packed_fives_##n, n, 32, "d", 4, 16 * PACKED_PANEL, PACKED_TABLE)              \
    PACKED_LOOK_UP(packed_halves_##n, n, 32, "d", 4, 16 * PACKED_PANEL, (PACKED_TABLE / 2))
#define PACKED_LOOK_UP_SIXES(n)                                                                   \
    PACKED_LOOK_UP(packed_sixes_##n, n, 16, "w", 2, 32 * PACKED_PANEL, PACKED_TABLE)
PACKED_LOOK_UP_FIVES(1)
PACKED_LOOK_UP_FIVES(2)
PACKED_LOOK_UP_FIVES(3)
PACKED_LOOK_UP_FIVES(4)
PACKED_LOOK_UP_FIVES(5)
PACKED_LOOK_UP_FIVES(6)
PACKED_LOOK_UP_FIVES(7)
PACKED_LOOK_UP_FIVES(8)
PACKED_LOOK_UP_FIVES(9)
PACKED_LOOK_UP_FIVES(10)
PACKED_LOOK_UP_SIXES(1)
PACKED_LOOK_UP_SIXES(2)
PACKED_LOOK_UP_SIXES(3)
PACKED_LOOK_UP_SIXES(4)
PACKED_LOOK_UP_SIXES(5)
PACKED_LOOK_UP_SIXES(6)
PACKED_LOOK_UP_SIXES(7)
PACKED_LOOK_UP_SIXES(8)
PACKED_LOOK_UP_SIXES(9)
PACKED_LOOK_UP_SIXES(10)

typedef void (*packed_look_up)(const uint32_t *index, const uint8_t *any, ptrdiff_t count,
                               const int32_t *t, int32_t *to, int begins, const int32_t *fifth,
                               ptrdiff_t next, ptrdiff_t apart);
/* By the number of registers. */
FB_UNUSED static const packed_look_up packed_fives_of[] = {
    NULL, packed_fives_1, packed_fives_2, packed_fives_3, packed_fives_4, packed_fives_5,
    packed_fives_6, packed_fives_7, packed_fives_8, packed_fives_9, packed_fives_10};
FB_UNUSED static const packed_look_up packed_halves_of[] = {
    NULL, packed_halves_1, packed_halves_2, packed_halves_3, packed_halves_4, packed_halves_5,
    packed_halves_6, packed_halves_7, packed_halves_8, packed_halves_9, packed_halves_10};
FB_UNUSED static const packed_look_up packed_sixes_of[] = {
    NULL, packed_sixes_1, packed_sixes_2, packed_sixes_3, packed_sixes_4, packed_sixes_5,
    packed_sixes_6, packed_sixes_7, packed_sixes_8, packed_sixes_9, packed_sixes_10};

/* Sums of hidden means are of 16 bits, too, for so many tables at a time: those of ten hold 60 numbers of
 * PACKED_MEAN_BITS bits. An even number, as many as words have. */
#define PACKED_RUN 10

/* The sums of a tall block over a chunk of inputs as PACKED_LOOK_UP makes them, for tables whose entries
 * are none of them negative: in 16 bits over a run of tables, in 32 over all. `constant` is the first summand. */
#define PACKED_LOOK_UP_RUNS(REGISTERS)                                                            \
    FB_AVX512 FB_UNUSED static void packed_runs_##REGISTERS(                                      \
        const uint32_t *index, ptrdiff_t count, const int32_t *t, int32_t *to, int begins,        \
        int32_t constant)                                                                        \
    {                                                                                            \
        const __m512i even = _mm512_set1_epi32(0xffff);                                           \
        const char *word = (const char *)index;                                                  \
        do { /* once where there are no tables at all */                                          \
            __m512i sum[PACKED_COLUMNS][REGISTERS];                                               \
            _Pragma("GCC unroll 2") for (int c = 0; c < PACKED_COLUMNS; c++)                      \
                _Pragma("GCC unroll 10") for (int g = 0; g < REGISTERS; g++) sum[c][g] =           \
                    _mm512_setzero_si512();                                                      \
            for (ptrdiff_t left = count < PACKED_RUN ? count : PACKED_RUN; left > 0;              \
                 left -= 2, word += 64 * REGISTERS) {                                             \
                const char *const end = word + (left < 2 ? left : 2);                             \
                for (const char *at = word; at < end; at++, t += PACKED_COLUMNS * PACKED_TABLE) { \
                    const __m512i low0 = _mm512_load_si512(t), high0 = _mm512_load_si512(t + 16); \
                    const __m512i low1 = _mm512_load_si512(t + 32);                               \
                    const __m512i high1 = _mm512_load_si512(t + 48);                              \
                    PACKED_STEP_OF_TABLES(REGISTERS, 16, "w");                                    \
                }                                                                                \
            }                                                                                    \
            _Pragma("GCC unroll 2") for (int c = 0; c < PACKED_COLUMNS; c++)                      \
                _Pragma("GCC unroll 10") for (int g = 0; g < REGISTERS; g++)                       \
            {                                                                                    \
                int32_t *first = to + (2 * g * PACKED_PANEL + c) * 16;                            \
                int32_t *second = first + PACKED_PANEL * 16;                                      \
                const __m512i from = _mm512_set1_epi32(constant);                                 \
                const __m512i a = begins ? from : _mm512_load_si512(first);                       \
                const __m512i b = begins ? from : _mm512_load_si512(second);                      \
                _mm512_store_si512(first,                                                        \
                                   _mm512_add_epi32(a, _mm512_and_si512(sum[c][g], even)));       \
                _mm512_store_si512(second,                                                       \
                                   _mm512_add_epi32(b, _mm512_srli_epi32(sum[c][g], 16)));        \
            }                                                                                    \
            begins = 0;                                                                          \
        } while ((count -= PACKED_RUN) > 0);                                                     \
    }

PACKED_LOOK_UP_RUNS(1)
PACKED_LOOK_UP_RUNS(2)
PACKED_LOOK_UP_RUNS(3)
PACKED_LOOK_UP_RUNS(4)
PACKED_LOOK_UP_RUNS(5)
PACKED_LOOK_UP_RUNS(6)
PACKED_LOOK_UP_RUNS(7)
PACKED_LOOK_UP_RUNS(8)
PACKED_LOOK_UP_RUNS(9)
PACKED_LOOK_UP_RUNS(10)

typedef void (*packed_look_up_runs)(const uint32_t *index, ptrdiff_t count, const int32_t *t,
                                    int32_t *to, int begins, int32_t constant);
FB_UNUSED static const packed_look_up_runs packed_runs_of[] = {
    NULL, packed_runs_1, packed_runs_2, packed_runs_3, packed_runs_4, packed_runs_5,
    packed_runs_6, packed_runs_7, packed_runs_8, packed_runs_9, packed_runs_10};

/* Sums of 16 bits of a part's rows to those of 32, in multiples of 2^-PACKED_SHIFT, in place. */
FB_AVX512 FB_UNUSED static void packed_widen(const packed_part *part, ptrdiff_t columns, int up)
{
    const __m128i by = _mm_cvtsi32_si128(up);
    for (ptrdiff_t g = 0; g < part->n_groups; g += 2)
        for (ptrdiff_t c = 0; c < columns; c++) {
            int32_t *to = part->sums + (g * PACKED_PANEL + c) * 16;
            const __m512i sum = _mm512_load_si512(to);
            const __m512i even = _mm512_srai_epi32(_mm512_slli_epi32(sum, 16), 16);
            _mm512_store_si512(to, _mm512_sll_epi32(even, by));
            _mm512_store_si512(to + PACKED_PANEL * 16,
                               _mm512_sll_epi32(_mm512_srai_epi32(sum, 16), by));
        }
}

/* The sums of a panel for all rows of some parts: sum over k of bit_k values[k * k_step + c * c_step]
 * for the columns c of the panel, of which `columns` are asked for. Values are read up to five inputs
 * past n_in, where bits are zero. */
FB_AVX512 FB_UNUSED static void packed_panel_sums_avx512(
    const packed_part *parts, int n_parts, ptrdiff_t n_in, const int32_t *values, ptrdiff_t k_step,
    ptrdiff_t c_step, ptrdiff_t columns, int32_t largest, int up, int32_t *tables)
{
    (void)largest; /* these tables hold integers of any size */
    const int low = up > 0; /* sums of 16 bits */
    const ptrdiff_t of = low ? 6 : 5, bytes = low ? 2 : 4, per_word = of * bytes;
    const ptrdiff_t words = (n_in + per_word - 1) / per_word, choices = (n_in + of - 1) / of;
    /* chunks of nearly the same length */
    const ptrdiff_t chunk = packed_chunk_size(words, low ? PACKED_LOW_CHUNK : PACKED_CHUNK);
    ptrdiff_t times = 0; /* that a table is used */
    for (int i = 0; i < n_parts; i++)
        times += (parts[i].n_used + PACKED_TALL - 1) / PACKED_TALL;
    const int half = !low && times <= PACKED_SELDOM;
    const packed_look_up *look_up = low ? packed_sixes_of : half ? packed_halves_of : packed_fives_of;
    for (ptrdiff_t c = 0; c < columns; c += PACKED_COLUMNS) {
        ptrdiff_t k = 0;
        do {
            const ptrdiff_t left = choices - bytes * k;
            const ptrdiff_t count = left < bytes * chunk ? left : bytes * chunk;
            const int32_t *from = values + per_word * k * k_step + c * c_step;
            if (low)
                packed_tables_low(from, k_step, c_step, count, 0, (int16_t *)tables);
            else
                packed_tables_avx512(from, k_step, c_step, count, half, tables);
            for (int i = 0; i < n_parts; i++) {
                const packed_part *part = parts + i;
                const ptrdiff_t registers = low ? part->n_groups / 2 : part->n_used;
                const ptrdiff_t step = (low ? 2 : 1) * PACKED_PANEL * 16;
                for (ptrdiff_t g = 0, b = 0, here; g < registers; g += here, b++) {
                    here = packed_tall(registers, g);
                    look_up[here](part->index + (g * words + k * here) * 16,
                                  part->any + b * words + k, count, tables,
                                  part->sums + g * step + c * 16, k == 0, from + 4 * k_step,
                                  5 * k_step, c_step);
                }
            }
            k += chunk;
        } while (k < words);
    }
    for (int i = 0; i < n_parts && low; i++)
        packed_widen(parts + i, columns, up);
}

/* The sums of a panel for the visible units of a part: over rows k, of bit_k means[k + c * c_step], none of
 * them larger than `bound`. Where they are `low` they have PACKED_MEAN_BITS bits, spins one less and a sign.
 * Means are read up to five rows past n_in, where bits are zero. */
FB_AVX512 FB_UNUSED static void packed_mean_sums_avx512(const packed_part *part, ptrdiff_t n_in,
                                                        const int32_t *means, ptrdiff_t c_step,
                                                        ptrdiff_t columns, int low, int spin,
                                                        int32_t bound, int32_t *tables)
{
    if (!low) {
        packed_panel_sums_avx512(part, 1, n_in, means, 1, c_step, columns, bound, 0, tables);
        return;
    }
    const ptrdiff_t words = packed_twelves(n_in), tables_of_all = (n_in + 5) / 6;
    /* chunks of nearly the same length, each of whole runs */
    const ptrdiff_t run = PACKED_RUN / 2;
    const ptrdiff_t chunk = (packed_chunk_size(words, PACKED_LOW_CHUNK) + run - 1) / run * run;
    const ptrdiff_t registers = part->n_groups / 2;
    /* the least that six means can be is taken off, and added once for all */
    const int32_t least = spin ? -6 << (PACKED_MEAN_BITS - 1) : 0;
    for (ptrdiff_t c = 0; c < columns; c += PACKED_COLUMNS) {
        ptrdiff_t k = 0;
        do {
            const ptrdiff_t left = tables_of_all - 2 * k, count = left < 2 * chunk ? left : 2 * chunk;
            packed_tables_low(means + 12 * k + c * c_step, 1, c_step, count, -least,
                              (int16_t *)tables);
            for (ptrdiff_t g = 0, here; g < registers; g += here) {
                here = packed_tall(registers, g);
                packed_runs_of[here](part->index + (g * words + k * here) * 16, count, tables,
                                     part->sums + (2 * g * PACKED_PANEL + c) * 16, k == 0,
                                     (int32_t)tables_of_all * least);
            }
            k += chunk;
        } while (k < words);
    }
}

/* Columns of a panel as integers, at values[k * *k_step + c * *c_step] with six zeros behind the
 * last input, and their sums over inputs. */
FB_AVX512 FB_UNUSED static int32_t packed_panel_values_avx512(
    const packed_weights *w, ptrdiff_t first, int32_t *values, ptrdiff_t *k_step,
    ptrdiff_t *c_step, int32_t *sums)
{
    const ptrdiff_t columns = w->n_out - first < PACKED_PANEL ? w->n_out - first : PACKED_PANEL;
    const ptrdiff_t n = w->n_in;
    const __m512 one = _mm512_set1_ps((float)(1 << packed_shift_of(w)));
    const int up = PACKED_SHIFT - packed_shift_of(w);
    if (w->c_step != 1) { /* inputs are contiguous */
        const ptrdiff_t stride = (n + 6 + 15) / 16 * 16;
        *k_step = 1;
        *c_step = stride;
        for (ptrdiff_t c = 0; c < PACKED_PANEL; c++) {
            const float *from = w->w + (first + c) * w->c_step;
            int32_t *to = values + c * stride;
            const ptrdiff_t whole = c < columns ? n / 16 * 16 : 0;
            __m512i total = _mm512_setzero_si512();
            for (ptrdiff_t k = 0; k < whole; k += 16) {
                const __m512i i =
                    _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + k), one));
                total = _mm512_add_epi32(total, i);
                _mm512_store_si512(to + k, i);
            }
            for (ptrdiff_t k = whole; k < stride; k += 16) {
                const ptrdiff_t m = c < columns && n > k ? n - k : 0;
                const __mmask16 there = (__mmask16)(m < 16 ? (1u << m) - 1 : 0xFFFF);
                const __m512i i = _mm512_cvtps_epi32(
                    _mm512_mul_ps(_mm512_maskz_loadu_ps(there, from + k), one));
                total = _mm512_add_epi32(total, i);
                _mm512_store_si512(to + k, i);
            }
            sums[c] = (int32_t)((uint32_t)_mm512_reduce_add_epi32(total) << up);
        }
        return 0;
    }
    /* Columns are contiguous: two inputs in a register. */
    *k_step = PACKED_PANEL;
    *c_step = 1;
    const __mmask16 one_input = (__mmask16)((1u << columns) - 1);
    const ptrdiff_t step = w->k_step;
    const float *from = w->w + first;
    __m512i both = _mm512_setzero_si512();
    ptrdiff_t k = 0;
    for (; k + 1 < n; k += 2, from += 2 * step) {
        const __m512i i = _mm512_cvtps_epi32(_mm512_mul_ps(
            _mm512_insertf32x8(_mm512_maskz_loadu_ps(one_input, from),
                               _mm256_maskz_loadu_ps((__mmask8)one_input, from + step), 1),
            one));
        both = _mm512_add_epi32(both, i);
        _mm512_store_si512(values + k * PACKED_PANEL, i);
    }
    for (; k < n + 6; k += 2) { /* one input may be left over; behind it are zeros */
        const __m512i i = _mm512_cvtps_epi32(
            _mm512_mul_ps(_mm512_maskz_loadu_ps(k < n ? one_input : 0, from), one));
        both = _mm512_add_epi32(both, i);
        _mm512_store_si512(values + k * PACKED_PANEL, i);
    }
    const __m256i total = _mm256_add_epi32(_mm512_castsi512_si256(both),
                                           _mm512_extracti64x4_epi64(both, 1));
    _mm256_storeu_si256((__m256i *)sums, _mm256_sll_epi32(total, _mm_cvtsi32_si128(up)));
    return 0;
}

#endif /* FB_X86 */

#endif
