/* AVX-512 in plain C, as far as fastboltz_ext uses it: what Intel's manual says of each intrinsic, lane
 * by lane. For tests on processors that lack it; as slow as it looks.
 *
 * An intrinsic that is missing here is an error of the compiler ("target specific option mismatch"). */
#ifndef FASTBOLTZ_EMULATED_AVX512_H
#define FASTBOLTZ_EMULATED_AVX512_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wpsabi" /* registers of 512 bits are passed to nobody */

typedef union {
    __m512i i;
    __m512 f;
    __m512d d;
    __m256 half[2];
    __m128i quarter_i[4];
    __m128 quarter_f[4];
    uint8_t u8[64];
    uint16_t u16[32];
    uint32_t u32[16];
    int32_t i32[16];
    uint64_t u64[8];
    float f32[16];
    double f64[8];
} fb_lanes;

/* Never inline: hundreds of copies would keep the compiler busy for many minutes. */
#define FB_EMULATE static FB_AVX2 __attribute__((noinline, unused))
#define FB_EACH(n) for (int k = 0; k < (n); k++)

/* Both operands and the result are of one type; `x` holds the first and becomes the result. */
#define FB_TWO(name, type, part, n, ...)        \
    FB_EMULATE type name(type a, type b)        \
    {                                           \
        fb_lanes x = {.part = a}, y = {.part = b}; \
        FB_EACH(n) { __VA_ARGS__; }             \
        return x.part;                          \
    }
/* Floats from three. */
#define FB_THREE(name, value)                                          \
    FB_EMULATE __m512 name(__m512 a, __m512 b, __m512 c)               \
    {                                                                  \
        fb_lanes x = {.f = a}, y = {.f = b}, z = {.f = c};             \
        FB_EACH(16) x.f32[k] = value;                                  \
        return x.f;                                                    \
    }
/* The same by a shift or another number. */
#define FB_NUMBER(name, type, part, n, ...)    \
    FB_EMULATE type name(type a, int count)    \
    {                                          \
        fb_lanes x = {.part = a};              \
        FB_EACH(n) { __VA_ARGS__; }            \
        return x.part;                         \
    }
/* `a` where the mask has 0, else made from `b` and `c`. */
#define FB_MASKED(name, type, part, mask, n, ...)              \
    FB_EMULATE type name(type a, mask m, type b, type c)       \
    {                                                          \
        fb_lanes x = {.part = a}, y = {.part = b}, z = {.part = c}; \
        FB_EACH(n) if (m >> k & 1) { __VA_ARGS__; }            \
        return x.part;                                         \
    }
/* `a` where the mask has 0, `b` where it has 1. */
#define FB_BLEND(name, type, part, mask, n, lanes)   \
    FB_EMULATE type name(mask m, type a, type b)     \
    {                                                \
        fb_lanes x = {.part = a}, y = {.part = b};   \
        FB_EACH(n) if (m >> k & 1) x.lanes[k] = y.lanes[k]; \
        return x.part;                               \
    }
#define FB_MASK(name, type, part, condition)        \
    FB_EMULATE __mmask16 name(type a, type b)       \
    {                                               \
        const fb_lanes x = {.part = a}, y = {.part = b}; \
        unsigned m = 0;                             \
        FB_EACH(16) m |= (unsigned)(condition) << k; \
        return (__mmask16)m;                        \
    }
#define FB_FILL(name, type, part, value_type, n, lanes) \
    FB_EMULATE type name(value_type value)             \
    {                                                  \
        fb_lanes x;                                    \
        FB_EACH(n) x.lanes[k] = value;                 \
        return x.part;                                 \
    }
#define FB_LOAD(name, type, part)                \
    FB_EMULATE type name(const void *from)       \
    {                                            \
        fb_lanes x;                              \
        memcpy(&x, from, 64);                    \
        return x.part;                           \
    }
#define FB_STORE(name, type)                     \
    FB_EMULATE void name(void *to, type a)       \
    {                                            \
        memcpy(to, &a, 64);                      \
    }
#define FB_CAST(name, to, part, from, given)     \
    FB_EMULATE to name(from a)                   \
    {                                            \
        const fb_lanes x = {.given = a};         \
        return x.part;                           \
    }
/* Four lanes of 128 bits, the lower two from a, the others from b. */
#define FB_SHUFFLE(name, type, part)                                \
    FB_EMULATE type name(type a, type b, int how)                   \
    {                                                               \
        const fb_lanes x = {.part = a}, y = {.part = b};            \
        fb_lanes z;                                                 \
        FB_EACH(4) z.quarter_i[k] = (k < 2 ? x : y).quarter_i[how >> 2 * k & 3]; \
        return z.part;                                              \
    }
/* Lanes of 128 bits: entries of a and b in turns, from the lower or the upper half. */
#define FB_UNPACK(name, type, part, lanes, each, upper)             \
    FB_EMULATE type name(type a, type b)                            \
    {                                                               \
        const fb_lanes x = {.part = a}, y = {.part = b};            \
        fb_lanes z;                                                 \
        for (int q = 0; q < 4; q++)                                 \
            FB_EACH((each) / 2)                                     \
            {                                                       \
                const int from = q * (each) + k + (upper) * (each) / 2; \
                z.lanes[q * (each) + 2 * k] = x.lanes[from];        \
                z.lanes[q * (each) + 2 * k + 1] = y.lanes[from];    \
            }                                                       \
        return z.part;                                              \
    }

/* Shifts by a number in a register, of which the lower 64 bits count. */
#define FB_SHIFT(name, sign)                                                            \
    FB_EMULATE __m512i name(__m512i a, __m128i by)                                      \
    {                                                                                   \
        fb_lanes x = {.i = a};                                                          \
        const uint64_t count = (uint64_t)_mm_cvtsi128_si64(by);                         \
        FB_EACH(16) x.u32[k] = count < 32 ? x.u32[k] sign count : 0;                    \
        return x.i;                                                                     \
    }

FB_TWO(fb_add_epi32, __m512i, i, 16, x.u32[k] += y.u32[k])
FB_TWO(fb_add_epi16, __m512i, i, 32, x.u16[k] += y.u16[k])
FB_TWO(fb_add_epi64, __m512i, i, 8, x.u64[k] += y.u64[k])
FB_TWO(fb_sub_epi32, __m512i, i, 16, x.u32[k] -= y.u32[k])
FB_TWO(fb_max_epi32, __m512i, i, 16, x.i32[k] = x.i32[k] > y.i32[k] ? x.i32[k] : y.i32[k])
FB_TWO(fb_mul_epu32, __m512i, i, 8, x.u64[k] = (x.u64[k] & 0xFFFFFFFFu) * (y.u64[k] & 0xFFFFFFFFu))
FB_TWO(fb_and_si512, __m512i, i, 8, x.u64[k] &= y.u64[k])
FB_TWO(fb_or_si512, __m512i, i, 8, x.u64[k] |= y.u64[k])
FB_TWO(fb_xor_si512, __m512i, i, 8, x.u64[k] ^= y.u64[k])
FB_TWO(fb_xor_ps, __m512, f, 16, x.u32[k] ^= y.u32[k])
FB_TWO(fb_add_ps, __m512, f, 16, x.f32[k] += y.f32[k])
FB_TWO(fb_sub_ps, __m512, f, 16, x.f32[k] -= y.f32[k])
FB_TWO(fb_mul_ps, __m512, f, 16, x.f32[k] *= y.f32[k])
FB_TWO(fb_div_ps, __m512, f, 16, x.f32[k] /= y.f32[k])
/* the second where either is no number */
FB_TWO(fb_min_ps, __m512, f, 16, x.f32[k] = x.f32[k] < y.f32[k] ? x.f32[k] : y.f32[k])
FB_TWO(fb_max_ps, __m512, f, 16, x.f32[k] = x.f32[k] > y.f32[k] ? x.f32[k] : y.f32[k])
FB_THREE(fb_fmadd_ps, fmaf(x.f32[k], y.f32[k], z.f32[k]))
FB_TWO(fb_add_pd, __m512d, d, 8, x.f64[k] += y.f64[k])
FB_NUMBER(fb_slli_epi32, __m512i, i, 16, x.u32[k] = (uint32_t)(count < 32 ? x.u32[k] << count : 0))
FB_NUMBER(fb_srli_epi32, __m512i, i, 16, x.u32[k] = (uint32_t)(count < 32 ? x.u32[k] >> count : 0))
FB_NUMBER(fb_slli_epi64, __m512i, i, 8, x.u64[k] = (uint64_t)(count < 64 ? x.u64[k] << count : 0))
FB_NUMBER(fb_srli_epi64, __m512i, i, 8, x.u64[k] = (uint64_t)(count < 64 ? x.u64[k] >> count : 0))
FB_NUMBER(fb_srai_epi32, __m512i, i, 16, x.i32[k] >>= count < 32 ? count : 31)
FB_SHIFT(fb_sll_epi32, <<)
FB_EMULATE __m512i fb_sra_epi32(__m512i a, __m128i count)
{
    return fb_srai_epi32(a, _mm_cvtsi128_si32(count));
}
FB_SHIFT(fb_srl_epi32, >>)
FB_MASKED(fb_mask_add_epi32, __m512i, i, __mmask16, 16, x.u32[k] = (uint32_t)(y.u32[k] + z.u32[k]))
FB_MASKED(fb_mask_add_epi16, __m512i, i, __mmask32, 32, x.u16[k] = (uint16_t)(y.u16[k] + z.u16[k]))
FB_MASKED(fb_mask_add_epi8, __m512i, i, __mmask64, 64, x.u8[k] = (uint8_t)(y.u8[k] + z.u8[k]))
FB_MASKED(fb_mask_or_epi32, __m512i, i, __mmask16, 16, x.u32[k] = y.u32[k] | z.u32[k])
FB_MASKED(fb_mask_xor_ps, __m512, f, __mmask16, 16, x.u32[k] = y.u32[k] ^ z.u32[k])
FB_BLEND(fb_mask_blend_epi32, __m512i, i, __mmask16, 16, u32)
FB_BLEND(fb_mask_blend_ps, __m512, f, __mmask16, 16, u32)
FB_MASK(fb_cmpeq_epi32_mask, __m512i, i, x.u32[k] == y.u32[k])
#define FB_MASK_OF_BYTES(name, condition)                \
    FB_EMULATE __mmask64 name(__m512i a, __m512i b)      \
    {                                                    \
        const fb_lanes x = {.i = a}, y = {.i = b};       \
        __mmask64 m = 0;                                 \
        FB_EACH(64) m |= (__mmask64)(condition) << k;    \
        return m;                                        \
    }
FB_MASK_OF_BYTES(fb_cmpeq_epu8_mask, x.u8[k] == y.u8[k])
FB_MASK_OF_BYTES(fb_cmplt_epu8_mask, x.u8[k] < y.u8[k])
FB_BLEND(fb_mask_blend_epi8, __m512i, i, __mmask64, 64, u8)
FB_TWO(fb_add_epi8, __m512i, i, 64, x.u8[k] = (uint8_t)(x.u8[k] + y.u8[k]))
FB_EMULATE __m512i fb_broadcast_i32x4(__m128i a)
{
    const fb_lanes x = {.quarter_i = {a, a, a, a}};
    return x.i;
}
FB_MASK(fb_cmplt_epi32_mask, __m512i, i, x.i32[k] < y.i32[k])
FB_MASK(fb_test_epi32_mask, __m512i, i, (x.u32[k] & y.u32[k]) != 0)
FB_EMULATE __mmask16 fb_movepi32_mask(__m512i a)
{
    const fb_lanes x = {.i = a};
    unsigned m = 0;
    FB_EACH(16) m |= x.u32[k] >> 31 << k;
    return (__mmask16)m;
}
FB_FILL(fb_set1_epi64, __m512i, i, int64_t, 8, u64)
FB_FILL(fb_set1_epi32, __m512i, i, int, 16, i32)
FB_FILL(fb_set1_epi16, __m512i, i, int, 32, u16)
FB_FILL(fb_set1_epi8, __m512i, i, int, 64, u8)
FB_FILL(fb_set1_ps, __m512, f, float, 16, f32)
FB_LOAD(fb_load_si512, __m512i, i)
FB_LOAD(fb_loadu_si512, __m512i, i)
FB_LOAD(fb_loadu_ps, __m512, f)
FB_LOAD(fb_loadu_pd, __m512d, d)
FB_STORE(fb_store_si512, __m512i)
FB_STORE(fb_storeu_si512, __m512i)
FB_STORE(fb_storeu_ps, __m512)
FB_STORE(fb_storeu_pd, __m512d)
FB_CAST(fb_castps_si512, __m512i, i, __m512, f)
FB_CAST(fb_castsi512_ps, __m512, f, __m512i, i)
FB_CAST(fb_castps_pd, __m512d, d, __m512, f)
FB_CAST(fb_castpd_ps, __m512, f, __m512d, d)
FB_CAST(fb_castps512_ps256, __m256, half[0], __m512, f)
FB_SHUFFLE(fb_shuffle_i32x4, __m512i, i)
FB_SHUFFLE(fb_shuffle_f32x4, __m512, f)
FB_UNPACK(fb_unpacklo_epi32, __m512i, i, u32, 4, 0)
FB_UNPACK(fb_unpacklo_epi64, __m512i, i, u64, 2, 0)
FB_UNPACK(fb_unpacklo_ps, __m512, f, u32, 4, 0)
FB_UNPACK(fb_unpacklo_pd, __m512d, d, u64, 2, 0)
FB_UNPACK(fb_unpackhi_epi32, __m512i, i, u32, 4, 1)
FB_UNPACK(fb_unpackhi_epi64, __m512i, i, u64, 2, 1)
FB_UNPACK(fb_unpackhi_ps, __m512, f, u32, 4, 1)
FB_UNPACK(fb_unpackhi_pd, __m512d, d, u64, 2, 1)

FB_EMULATE __m512i fb_setzero_si512(void) { return fb_set1_epi32(0); }
FB_EMULATE __m512 fb_setzero_ps(void) { return fb_set1_ps(0); }

FB_EMULATE __m512i fb_setr_epi64(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f,
                                 int64_t g, int64_t h)
{
    const int64_t x[8] = {a, b, c, d, e, f, g, h};
    return fb_loadu_si512(x);
}

FB_EMULATE __m512i fb_set_epi64(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f,
                                int64_t g, int64_t h)
{
    return fb_setr_epi64(h, g, f, e, d, c, b, a);
}

FB_EMULATE __m512i fb_permutexvar_epi32(__m512i index, __m512i a)
{
    const fb_lanes x = {.i = a}, at = {.i = index};
    fb_lanes z;
    FB_EACH(16) z.u32[k] = x.u32[at.u32[k] & 15];
    return z.i;
}

FB_EMULATE __m512i fb_permutex2var_epi32(__m512i a, __m512i index, __m512i b)
{
    const fb_lanes x = {.i = a}, y = {.i = b}, at = {.i = index};
    fb_lanes z;
    FB_EACH(16) z.u32[k] = (at.u32[k] & 16 ? y : x).u32[at.u32[k] & 15];
    return z.i;
}

FB_EMULATE __m512i fb_permutex2var_epi16(__m512i a, __m512i index, __m512i b)
{
    const fb_lanes x = {.i = a}, y = {.i = b}, at = {.i = index};
    fb_lanes z;
    FB_EACH(32) z.u16[k] = (at.u16[k] & 32 ? y : x).u16[at.u16[k] & 31];
    return z.i;
}

/* Any function of three bits: bit 4 a + 2 b + c of `table`. */
FB_EMULATE __m512i fb_ternarylogic(__m512i a, __m512i b, __m512i c, int table)
{
    const fb_lanes x = {.i = a}, y = {.i = b}, w = {.i = c};
    fb_lanes z = {.i = fb_setzero_si512()};
    for (int n = 0; n < 8; n++)
        if (table >> n & 1)
            FB_EACH(8)
            z.u64[k] |= (n & 4 ? x.u64[k] : ~x.u64[k]) & (n & 2 ? y.u64[k] : ~y.u64[k]) &
                        (n & 1 ? w.u64[k] : ~w.u64[k]);
    return z.i;
}

FB_EMULATE __m512i fb_cvtps_epi32(__m512 a)
{
    fb_lanes x = {.f = a};
    FB_EACH(16) x.i32[k] = fabsf(x.f32[k]) < 2147483648.0f ? (int32_t)rintf(x.f32[k]) : INT32_MIN;
    return x.i;
}

FB_EMULATE __m512 fb_cvtepi32_ps(__m512i a)
{
    fb_lanes x = {.i = a};
    FB_EACH(16) x.f32[k] = (float)x.i32[k];
    return x.f;
}

FB_EMULATE __m512d fb_cvtps_pd(__m256 a)
{
    const fb_lanes x = {.half = {a}};
    fb_lanes z;
    FB_EACH(8) z.f64[k] = x.f32[k];
    return z.d;
}

FB_EMULATE __m512i fb_cvtepu8_epi32(__m128i a)
{
    const fb_lanes x = {.quarter_i = {a}};
    fb_lanes z;
    FB_EACH(16) z.u32[k] = x.u8[k];
    return z.i;
}

/* To the nearest whole number, whatever `how` says. */
FB_EMULATE __m512 fb_roundscale_ps(__m512 a, int how)
{
    (void)how;
    fb_lanes x = {.f = a};
    FB_EACH(16) x.f32[k] = rintf(x.f32[k]);
    return x.f;
}

FB_EMULATE __m512 fb_scalef_ps(__m512 a, __m512 b)
{
    fb_lanes x = {.f = a}, y = {.f = b};
    FB_EACH(16) x.f32[k] *= exp2f(floorf(y.f32[k]));
    return x.f;
}

FB_EMULATE __m256 fb_cvtpd_ps(__m512d a)
{
    fb_lanes x = {.d = a}, y = {.half = {{0}}};
    FB_EACH(8) y.f32[k] = (float)x.f64[k];
    return y.half[0];
}

FB_EMULATE __m512 fb_castps256_ps512(__m256 a)
{
    fb_lanes x = {.half = {a}};
    return x.f;
}

FB_EMULATE __m256i fb_extracti64x4_epi64(__m512i a, int which)
{
    const fb_lanes x = {.i = a};
    return _mm256_castps_si256(x.half[which]);
}
FB_EMULATE __m512 fb_insertf32x8(__m512 a, __m256 b, int which)
{
    fb_lanes x = {.f = a};
    x.half[which & 1] = b;
    return x.f;
}

FB_EMULATE __m512 fb_movehdup_ps(__m512 a)
{
    fb_lanes x = {.f = a};
    FB_EACH(16) x.u32[k & ~1] = x.u32[k | 1];
    return x.f;
}

FB_EMULATE __m512 fb_abs_ps(__m512 a)
{
    fb_lanes x = {.f = a};
    FB_EACH(16) x.u32[k] &= 0x7FFFFFFFu;
    return x.f;
}

FB_EMULATE int fb_reduce_add_epi32(__m512i a)
{
    const fb_lanes x = {.i = a};
    uint32_t sum = 0;
    FB_EACH(16) sum += x.u32[k];
    return (int)sum;
}

FB_EMULATE __mmask16 fb_mask_cmp_ps_mask(__mmask16 m, __m512 a, __m512 b, int how)
{
    const fb_lanes x = {.f = a}, y = {.f = b};
    unsigned found = 0;
    FB_EACH(16)
    {
        const float p = x.f32[k], q = y.f32[k];
        const int less = p < q, more = p > q, equal = p == q;
        int is = 0;
        switch (how) {
        case _CMP_EQ_OQ: is = equal; break;
        case _CMP_LT_OQ: case _CMP_LT_OS: is = less; break;
        case _CMP_LE_OQ: case _CMP_LE_OS: is = less || equal; break;
        case _CMP_GT_OQ: case _CMP_GT_OS: is = more; break;
        case _CMP_GE_OQ: case _CMP_GE_OS: is = more || equal; break;
        case _CMP_NEQ_UQ: is = !equal; break;
        case _CMP_NEQ_OQ: is = less || more; break;
        case _CMP_NGT_UQ: case _CMP_NGT_US: is = !more; break;
        case _CMP_NLT_UQ: case _CMP_NLT_US: is = !less; break;
        case _CMP_NGE_UQ: case _CMP_NGE_US: is = !(more || equal); break;
        case _CMP_NLE_UQ: case _CMP_NLE_US: is = !(less || equal); break;
        case _CMP_UNORD_Q: is = !(less || more || equal); break;
        default: __builtin_trap();
        }
        found |= (unsigned)is << k;
    }
    return (__mmask16)(found & m);
}

/* Entries that a mask leaves out are not read or written. */
FB_EMULATE __m512i fb_maskz_loadu_epi32(__mmask16 m, const void *from)
{
    fb_lanes x = {.i = fb_setzero_si512()};
    FB_EACH(16) if (m >> k & 1) memcpy(x.u32 + k, (const char *)from + 4 * k, 4);
    return x.i;
}

FB_EMULATE void fb_mask_storeu_ps(void *to, __mmask16 m, __m512 a)
{
    const fb_lanes x = {.f = a};
    FB_EACH(16) if (m >> k & 1) memcpy((char *)to + 4 * k, x.f32 + k, 4);
}

FB_EMULATE __m256 fb_half(__m512 a, int n)
{
    const fb_lanes x = {.f = a};
    return x.half[n];
}

FB_EMULATE __m128 fb_quarter(__m512 a, int n)
{
    const fb_lanes x = {.f = a};
    return x.quarter_f[n];
}

/* The names by which the code calls them. */
#undef _mm512_add_epi32
#undef _mm512_add_epi16
#undef _mm512_add_epi64
#undef _mm512_sub_epi32
#undef _mm512_mul_epu32
#undef _mm512_and_si512
#undef _mm512_or_si512
#undef _mm512_xor_si512
#undef _mm512_xor_ps
#undef _mm512_add_ps
#undef _mm512_sub_ps
#undef _mm512_mul_ps
#undef _mm512_div_ps
#undef _mm512_movepi32_mask
#undef _mm512_fmadd_ps
#undef _mm512_max_ps
#undef _mm512_min_ps
#undef _mm512_add_pd
#undef _mm512_slli_epi32
#undef _mm512_srli_epi32
#undef _mm512_slli_epi64
#undef _mm512_srli_epi64
#undef _mm512_srai_epi32
#undef _mm512_sll_epi32
#undef _mm512_maskz_sra_epi32
#undef _mm512_srl_epi32
#undef _mm512_mask_add_epi32
#undef _mm512_mask_add_epi16
#undef _mm512_mask_add_epi8
#undef _mm512_mask_or_epi32
#undef _mm512_mask_xor_ps
#undef _mm512_mask_blend_epi32
#undef _mm512_mask_blend_ps
#undef _mm512_cmpeq_epi32_mask
#undef _mm512_cmpeq_epu8_mask
#undef _mm512_cmplt_epu8_mask
#undef _mm512_maskz_mov_epi8
#undef _mm512_add_epi8
#undef _mm512_broadcast_i32x4
#undef _mm512_cmplt_epi32_mask
#undef _mm512_test_epi32_mask
#undef _mm512_set1_epi64
#undef _mm512_set1_epi32
#undef _mm512_set1_epi16
#undef _mm512_set1_epi8
#undef _mm512_set1_ps
#undef _mm512_load_si512
#undef _mm512_loadu_si512
#undef _mm512_loadu_ps
#undef _mm512_loadu_pd
#undef _mm512_store_si512
#undef _mm512_storeu_si512
#undef _mm512_storeu_ps
#undef _mm512_storeu_pd
#undef _mm512_castps_si512
#undef _mm512_castsi512_ps
#undef _mm512_castps_pd
#undef _mm512_castpd_ps
#undef _mm512_castps512_ps256
#undef _mm512_shuffle_i32x4
#undef _mm512_shuffle_f32x4
#undef _mm512_unpacklo_epi32
#undef _mm512_unpacklo_epi64
#undef _mm512_unpacklo_ps
#undef _mm512_unpacklo_pd
#undef _mm512_unpackhi_epi32
#undef _mm512_unpackhi_epi64
#undef _mm512_unpackhi_ps
#undef _mm512_unpackhi_pd
#undef _mm512_setzero_si512
#undef _mm512_setzero_ps
#undef _mm512_setr_epi64
#undef _mm512_set_epi64
#undef _mm512_permutexvar_epi32
#undef _mm512_permutex2var_epi32
#undef _mm512_permutex2var_epi16
#undef _mm512_ternarylogic_epi32
#undef _mm512_ternarylogic_epi64
#undef _mm512_cvtps_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtps_pd
#undef _mm512_cvtepu8_epi32
#undef _mm512_abs_ps
#undef _mm512_cvtpd_ps
#undef _mm512_castps256_ps512
#undef _mm512_insertf32x8
#undef _mm512_extracti64x4_epi64
#undef _mm512_castsi512_si256
#undef _mm512_roundscale_ps
#undef _mm512_scalef_ps
#undef _mm512_max_epi32
#undef _mm512_movehdup_ps
#undef _mm512_reduce_add_epi32
#undef _mm512_mask_cmp_ps_mask
#undef _mm512_maskz_loadu_epi32
#undef _mm512_mask_storeu_ps
#undef _mm512_extractf32x8_ps
#undef _mm512_extractf32x4_ps
#undef _mm512_cmp_ps_mask
#undef _mm512_mask_mov_ps
#undef _mm512_maskz_mov_ps
#undef _mm512_maskz_add_epi32
#undef _mm512_maskz_set1_epi32
#undef _mm512_maskz_loadu_ps
#undef _mm512_maskz_cvtps_epi32
#undef _mm512_extracti32x4_epi32
#define _mm512_add_epi32 fb_add_epi32
#define _mm512_add_epi16 fb_add_epi16
#define _mm512_add_epi64 fb_add_epi64
#define _mm512_sub_epi32 fb_sub_epi32
#define _mm512_mul_epu32 fb_mul_epu32
#define _mm512_and_si512 fb_and_si512
#define _mm512_or_si512 fb_or_si512
#define _mm512_xor_si512 fb_xor_si512
#define _mm512_xor_ps fb_xor_ps
#define _mm512_add_ps fb_add_ps
#define _mm512_sub_ps fb_sub_ps
#define _mm512_mul_ps fb_mul_ps
#define _mm512_div_ps fb_div_ps
#define _mm512_movepi32_mask fb_movepi32_mask
#define _mm512_fmadd_ps fb_fmadd_ps
#define _mm512_max_ps fb_max_ps
#define _mm512_min_ps fb_min_ps
#define _mm512_add_pd fb_add_pd
#define _mm512_slli_epi32 fb_slli_epi32
#define _mm512_srli_epi32 fb_srli_epi32
#define _mm512_slli_epi64 fb_slli_epi64
#define _mm512_srli_epi64 fb_srli_epi64
#define _mm512_srai_epi32 fb_srai_epi32
#define _mm512_sll_epi32 fb_sll_epi32
#define _mm512_maskz_sra_epi32(m, a, count) \
    fb_mask_blend_epi32(m, fb_setzero_si512(), fb_sra_epi32(a, count))
#define _mm512_srl_epi32 fb_srl_epi32
#define _mm512_mask_add_epi32 fb_mask_add_epi32
#define _mm512_mask_add_epi16 fb_mask_add_epi16
#define _mm512_mask_add_epi8 fb_mask_add_epi8
#define _mm512_mask_or_epi32 fb_mask_or_epi32
#define _mm512_mask_xor_ps fb_mask_xor_ps
#define _mm512_mask_blend_epi32 fb_mask_blend_epi32
#define _mm512_mask_blend_ps fb_mask_blend_ps
#define _mm512_cmpeq_epi32_mask fb_cmpeq_epi32_mask
#define _mm512_cmpeq_epu8_mask fb_cmpeq_epu8_mask
#define _mm512_cmplt_epu8_mask fb_cmplt_epu8_mask
#define _mm512_maskz_mov_epi8(m, a) fb_mask_blend_epi8(m, fb_setzero_si512(), a)
#define _mm512_add_epi8 fb_add_epi8
#define _mm512_broadcast_i32x4 fb_broadcast_i32x4
#define _mm512_cmplt_epi32_mask fb_cmplt_epi32_mask
#define _mm512_test_epi32_mask fb_test_epi32_mask
#define _mm512_set1_epi64 fb_set1_epi64
#define _mm512_set1_epi32 fb_set1_epi32
#define _mm512_set1_epi16 fb_set1_epi16
#define _mm512_set1_epi8 fb_set1_epi8
#define _mm512_set1_ps fb_set1_ps
#define _mm512_load_si512 fb_load_si512
#define _mm512_loadu_si512 fb_loadu_si512
#define _mm512_loadu_ps fb_loadu_ps
#define _mm512_loadu_pd fb_loadu_pd
#define _mm512_store_si512 fb_store_si512
#define _mm512_storeu_si512 fb_storeu_si512
#define _mm512_storeu_ps fb_storeu_ps
#define _mm512_storeu_pd fb_storeu_pd
#define _mm512_castps_si512 fb_castps_si512
#define _mm512_castsi512_ps fb_castsi512_ps
#define _mm512_castps_pd fb_castps_pd
#define _mm512_castpd_ps fb_castpd_ps
#define _mm512_castps512_ps256 fb_castps512_ps256
#define _mm512_shuffle_i32x4 fb_shuffle_i32x4
#define _mm512_shuffle_f32x4 fb_shuffle_f32x4
#define _mm512_unpacklo_epi32 fb_unpacklo_epi32
#define _mm512_unpacklo_epi64 fb_unpacklo_epi64
#define _mm512_unpacklo_ps fb_unpacklo_ps
#define _mm512_unpacklo_pd fb_unpacklo_pd
#define _mm512_unpackhi_epi32 fb_unpackhi_epi32
#define _mm512_unpackhi_epi64 fb_unpackhi_epi64
#define _mm512_unpackhi_ps fb_unpackhi_ps
#define _mm512_unpackhi_pd fb_unpackhi_pd
#define _mm512_setzero_si512 fb_setzero_si512
#define _mm512_setzero_ps fb_setzero_ps
#define _mm512_setr_epi64 fb_setr_epi64
#define _mm512_set_epi64 fb_set_epi64
#define _mm512_permutexvar_epi32 fb_permutexvar_epi32
#define _mm512_permutex2var_epi32 fb_permutex2var_epi32
#define _mm512_permutex2var_epi16 fb_permutex2var_epi16
#define _mm512_ternarylogic_epi32 fb_ternarylogic
#define _mm512_ternarylogic_epi64 fb_ternarylogic
#define _mm512_cvtps_epi32 fb_cvtps_epi32
#define _mm512_cvtepi32_ps fb_cvtepi32_ps
#define _mm512_cvtps_pd fb_cvtps_pd
#define _mm512_cvtepu8_epi32 fb_cvtepu8_epi32
#define _mm512_abs_ps fb_abs_ps
#define _mm512_cvtpd_ps fb_cvtpd_ps
#define _mm512_castps256_ps512 fb_castps256_ps512
#define _mm512_insertf32x8 fb_insertf32x8
#define _mm512_extracti64x4_epi64 fb_extracti64x4_epi64
#define _mm512_castsi512_si256(a) fb_extracti64x4_epi64(a, 0)
#define _mm512_roundscale_ps fb_roundscale_ps
#define _mm512_scalef_ps fb_scalef_ps
#define _mm512_max_epi32 fb_max_epi32
#define _mm512_movehdup_ps fb_movehdup_ps
#define _mm512_reduce_add_epi32 fb_reduce_add_epi32
#define _mm512_mask_cmp_ps_mask fb_mask_cmp_ps_mask
#define _mm512_maskz_loadu_epi32 fb_maskz_loadu_epi32
#define _mm512_mask_storeu_ps fb_mask_storeu_ps
#define _mm512_extractf32x8_ps fb_half
#define _mm512_extractf32x4_ps fb_quarter
#define _mm512_cmp_ps_mask(a, b, how) fb_mask_cmp_ps_mask(0xFFFF, a, b, how)
#define _mm512_mask_mov_ps(a, m, b) fb_mask_blend_ps(m, a, b)
#define _mm512_maskz_mov_ps(m, a) fb_mask_blend_ps(m, fb_setzero_ps(), a)
#define _mm512_maskz_add_epi32(m, a, b) fb_mask_add_epi32(fb_setzero_si512(), m, a, b)
#define _mm512_maskz_set1_epi32(m, value) fb_mask_blend_epi32(m, fb_setzero_si512(), fb_set1_epi32(value))
#define _mm512_maskz_loadu_ps(m, from) fb_castsi512_ps(fb_maskz_loadu_epi32(m, from))
#define _mm512_maskz_cvtps_epi32(m, a) fb_mask_blend_epi32(m, fb_setzero_si512(), fb_cvtps_epi32(a))
#define _mm512_extracti32x4_epi32(a, n) _mm_castps_si128(fb_quarter(fb_castsi512_ps(a), n))
#undef _mm256_maskz_loadu_ps
#define _mm256_maskz_loadu_ps(m, from) fb_half(fb_castsi512_ps(fb_maskz_loadu_epi32(m, from)), 0)
#define _cvtu64_mask64(x) (x)

#endif
