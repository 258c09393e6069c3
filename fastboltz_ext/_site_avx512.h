/* The sweeps of _site_lanes_template.h for float, with AVX-512: the same bits. Included by
 * _site_core.h. */
#ifndef FASTBOLTZ_SITE_AVX512_H
#define FASTBOLTZ_SITE_AVX512_H

#if FB_X86

/* Philox rounds of 8 chains, one in each 64-bit lane; the upper halves of x hold rubbish, which the
 * multiplication does not see. */
#define SITE_ROUND(x0, x1, x2, x3, r)                                                          \
    do {                                                                                       \
        __m512i p0_ = _mm512_mul_epu32(x0, m0), p1_ = _mm512_mul_epu32(x2, m1);                \
        (x0) = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1_, 32), x1,                       \
                                         _mm512_set1_epi64(a->k0 + (r##u) * PHILOX_W0), 0x96); \
        (x2) = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0_, 32), x3,                       \
                                         _mm512_set1_epi64(a->k1 + (r##u) * PHILOX_W1), 0x96); \
        (x1) = p1_;                                                                            \
        (x3) = p0_;                                                                            \
    } while (0)

/* What does not depend on the unit: M0 x0 of the second round. Vector 2 g + h holds the chains
 * row + 16 g + 2 j + h. */
FB_AVX512 FB_INLINE void site_first_avx512(__m512i *first, const philox_address *a, uint32_t row,
                                           const int groups)
{
    const uint32_t high = (uint32_t)((uint64_t)PHILOX_M1 * a->step >> 32);
    const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    for (int v = 0; v < 2 * groups; v++) {
        const int64_t begin = (int64_t)row + 16 * (v / 2) + v % 2;
        __m512i x0 = _mm512_add_epi64(even, _mm512_set1_epi64(begin));
        x0 = _mm512_xor_si512(x0, _mm512_set1_epi64(high ^ a->k0));
        first[v] = _mm512_mul_epu32(x0, _mm512_set1_epi64(PHILOX_M0));
    }
}

/* One block of 8 chains, word by word. In the first three rounds, what all chains share is computed once. */
typedef struct {
    __m512i into0, into2, next2, next3;
} site_shared;

FB_AVX512 FB_INLINE site_shared site_share_avx512(const philox_address *a, uint32_t block)
{
    uint64_t p0 = (uint64_t)PHILOX_M0 * block, p1 = (uint64_t)PHILOX_M1 * a->step;
    const uint32_t x1 = (uint32_t)p1, x3 = (uint32_t)p0;
    const uint32_t x2 = (uint32_t)(p0 >> 32) ^ a->stream ^ a->k1;
    p1 = (uint64_t)PHILOX_M1 * x2;
    const uint32_t y0 = (uint32_t)(p1 >> 32) ^ x1 ^ (a->k0 + PHILOX_W0);
    p0 = (uint64_t)PHILOX_M0 * y0;
    const site_shared shared = {
        _mm512_set1_epi64((uint32_t)p1 ^ (a->k0 + 2u * PHILOX_W0)),
        _mm512_set1_epi64(x3 ^ (a->k1 + PHILOX_W1)),
        _mm512_set1_epi64((uint32_t)(p0 >> 32) ^ (a->k1 + 2u * PHILOX_W1)),
        _mm512_set1_epi64((uint32_t)p0),
    };
    return shared;
}

FB_AVX512 FB_INLINE void site_block_avx512(__m512i *words, __m512i first, const site_shared *shared,
                                           const philox_address *a)
{
    const __m512i m0 = _mm512_set1_epi64(PHILOX_M0), m1 = _mm512_set1_epi64(PHILOX_M1);
    __m512i c1 = _mm512_mul_epu32(
        _mm512_xor_si512(_mm512_srli_epi64(first, 32), shared->into2), m1);
    __m512i c0 = _mm512_xor_si512(_mm512_srli_epi64(c1, 32), shared->into0);
    __m512i c2 = _mm512_xor_si512(first, shared->next2), c3 = shared->next3;
    SITE_ROUND(c0, c1, c2, c3, 3);
    SITE_ROUND(c0, c1, c2, c3, 4);
    SITE_ROUND(c0, c1, c2, c3, 5);
    SITE_ROUND(c0, c1, c2, c3, 6);
    SITE_ROUND(c0, c1, c2, c3, 7);
    SITE_ROUND(c0, c1, c2, c3, 8);
    SITE_ROUND(c0, c1, c2, c3, 9);
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

/* Keys of eight units: [unit][lane]. */
FB_AVX512 FB_INLINE void site_keys_avx512(uint32_t *keys, const __m512i *first,
                                          const philox_address *a, uint32_t eight,
                                          const int groups)
{
    const site_shared shared[2] = {site_share_avx512(a, 2 * eight),
                                   site_share_avx512(a, 2 * eight + 1)};
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u), lower = _mm512_set1_epi32(0xffff);
    for (int g = 0; g < groups; g++) {
        __m512i half[2][2][4]; /* of words, of the chains; [word of the block] */
        for (int b = 0; b < 2; b++)
            for (int h = 0; h < 2; h++)
                site_block_avx512(half[b][h], first[2 * g + h], shared + b, a);
        for (int i = 0; i < 4; i++) {
            const __m512i above = _mm512_mask_blend_epi32(0xAAAA, half[0][0][i],
                                                          _mm512_slli_epi64(half[0][1][i], 32));
            const __m512i below = _mm512_mask_blend_epi32(0xAAAA, half[1][0][i],
                                                          _mm512_slli_epi64(half[1][1][i], 32));
            const __m512i even = _mm512_ternarylogic_epi32(_mm512_slli_epi32(above, 16), below,
                                                           lower, 0xF8);
            const __m512i odd = _mm512_ternarylogic_epi32(_mm512_srli_epi32(below, 16), above, upper,
                                                          0xF8);
            uint32_t *to = keys + 2 * i * SITE_LANES + 16 * g;
            _mm512_storeu_si512(to, _mm512_srli_epi32(even, 9));
            _mm512_storeu_si512(to + SITE_LANES, _mm512_srli_epi32(odd, 9));
        }
    }
}

/* fb_logistic_f32, step by step. */
FB_AVX512 FB_INLINE __m512 site_logistic_avx512(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f), magic = _mm512_set1_ps(12582912.0f);
    const __m512 sign = _mm512_set1_ps(-0.0f);
    const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
    const __m512 z = _mm512_mask_xor_ps(x, negative, x, sign);
    const __mmask16 far = _mm512_cmp_ps_mask(z, _mm512_set1_ps(87.0f), _CMP_GT_OQ);
    __m512 y = _mm512_mask_mov_ps(_mm512_xor_ps(z, sign), far, _mm512_set1_ps(-87.0f));
    __m512 shifted = _mm512_add_ps(_mm512_mul_ps(y, _mm512_set1_ps(1.44269504f)), magic);
    __m512 n = _mm512_sub_ps(shifted, magic);
    __m512 r = _mm512_sub_ps(y, _mm512_mul_ps(n, _mm512_set1_ps(0.693145751953125f)));
    r = _mm512_sub_ps(r, _mm512_mul_ps(n, _mm512_set1_ps(1.42860682030941723e-6f)));
    __m512 q = _mm512_set1_ps(1.3926250e-3f);
    q = _mm512_add_ps(_mm512_mul_ps(q, r), _mm512_set1_ps(8.3632329e-3f));
    q = _mm512_add_ps(_mm512_mul_ps(q, r), _mm512_set1_ps(4.1666554e-2f));
    q = _mm512_add_ps(_mm512_mul_ps(q, r), _mm512_set1_ps(1.6666577e-1f));
    q = _mm512_add_ps(_mm512_mul_ps(q, r), _mm512_set1_ps(0.5f));
    __m512 p = _mm512_add_ps(
        one, _mm512_add_ps(r, _mm512_mul_ps(_mm512_mul_ps(r, r), q)));
    __m512 e = _mm512_castsi512_ps(_mm512_add_epi32(
        _mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
    e = _mm512_mask_mov_ps(e, far, _mm512_setzero_ps());
    e = _mm512_mask_mov_ps(e, _mm512_cmp_ps_mask(z, z, _CMP_UNORD_Q), z);
    return _mm512_div_ps(_mm512_mask_mov_ps(one, negative, e), _mm512_add_ps(one, e));
}

#define SITE_LOOK_UP(g)                                                                          \
    if ((g) < groups) {                                                                          \
        __m512i which = _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(index, (g) % 4));         \
        now |= (uint64_t)_mm512_cmplt_epi32_mask(_mm512_loadu_si512(key + 16 * (g)),             \
                                                 _mm512_permutexvar_epi32(which, level))         \
               << 16 * (g);                                                                      \
    }

FB_AVX512 FB_INLINE void site_sweeps_avx512(const site_plan *plan, const site_task *task,
                                            uint64_t *states, const uint64_t *fixed,
                                            const float *turned, uint32_t *keys, uint32_t row,
                                            float scale, const int groups)
{
    const ptrdiff_t eights = (plan->n_units + 7) / 8;
    const float *weights = (const float *)plan->weights;
    const int spin = plan->spin;
    const __m512 factor = _mm512_set1_ps(scale);
    for (ptrdiff_t s = 0; s < task->n_sweeps; s++) {
        philox_address address = task->address;
        address.step += (uint32_t)s;
        __m512i first[2 * SITE_LANES / SITE_GROUP];
        site_first_avx512(first, &address, row, groups);
        if (plan->kept)
            for (ptrdiff_t eight = 0; eight < eights; eight++)
                site_keys_avx512(keys + eight * 8 * SITE_LANES, first, &address, (uint32_t)eight,
                                 groups);
        ptrdiff_t last = -1;
        for (ptrdiff_t k = 0; k < task->n_order; k++) {
            const ptrdiff_t i = task->order != NULL ? (ptrdiff_t)task->order[k] : k;
            if (!plan->kept && i >> 3 != last) {
                last = i >> 3;
                site_keys_avx512(keys, first, &address, (uint32_t)last, groups);
            }
            const uint32_t *key = keys + (plan->kept ? i : i & 7) * SITE_LANES;
            const int64_t begin = plan->unit_offsets[i], end = plan->unit_offsets[i + 1];
            uint64_t now = 0;
            if (plan->table[i] >= 0) {
                const __m512i level = _mm512_loadu_si512((const int32_t *)plan->levels +
                                                         (ptrdiff_t)plan->table[i] * SITE_TABLE);
                __m512i index = _mm512_setzero_si512();
                int bit = 1;
                for (int64_t q = begin; q < end; q++, bit *= 2)
                    index = _mm512_mask_add_epi8(
                        index, _cvtu64_mask64(site_product(plan, states, q, i)), index,
                        _mm512_set1_epi8((char)bit));
                SITE_LOOK_UP(0)
                SITE_LOOK_UP(1)
                SITE_LOOK_UP(2)
                SITE_LOOK_UP(3)
            } else {
                __m512 sum[SITE_LANES / SITE_GROUP];
                for (int g = 0; g < groups; g++)
                    sum[g] = plan->field != NULL
                                 ? _mm512_set1_ps(((const float *)plan->field)[i])
                                 : _mm512_loadu_ps(turned + i * SITE_LANES + 16 * g);
                for (int64_t q = begin; q < end; q++) {
                    const uint64_t product = site_product(plan, states, q, i);
                    const __m512 w = _mm512_set1_ps(weights[q]);
                    const __m512 lower = _mm512_set1_ps(spin ? -weights[q] : 0.0f);
                    for (int g = 0; g < groups; g++)
                        sum[g] = _mm512_add_ps(
                            sum[g],
                            _mm512_mask_blend_ps((__mmask16)(product >> 16 * g), lower, w));
                }
                for (int g = 0; g < groups; g++) {
                    __m512 a = _mm512_mul_ps(factor, sum[g]);
                    __m512 p = site_logistic_avx512(spin ? _mm512_add_ps(a, a) : a);
                    __m512 u = _mm512_cvtepi32_ps(_mm512_loadu_si512(key + 16 * g));
                    u = _mm512_mul_ps(_mm512_add_ps(u, _mm512_set1_ps(0.5f)),
                                      _mm512_set1_ps(0x1p-23f));
                    now |= (uint64_t)_mm512_cmp_ps_mask(u, p, _CMP_LT_OQ) << 16 * g;
                }
            }
            if (fixed != NULL)
                now = (now & ~fixed[i]) | (states[i] & fixed[i]);
            states[i] = now;
        }
    }
}

/* lanes_pack_f32 */
FB_AVX512 FB_UNUSED static int lanes_pack_avx512(const float *values, ptrdiff_t n_rows,
                                                 ptrdiff_t n, int spin, uint64_t *words)
{
    const __m512i one = _mm512_castps_si512(_mm512_set1_ps(1.0f));
    const __m512i lower = _mm512_castps_si512(_mm512_set1_ps(spin ? -1.0f : 0.0f));
    uint64_t wrong = 0;
    memset(words, 0, (size_t)((n + 63) / 64 * 64) * sizeof *words);
    for (ptrdiff_t r = 0; r < n_rows; r++)
        for (ptrdiff_t begin = 0; begin < n; begin += 64) {
            const float *v = values + r * n + begin;
            const uint64_t room = n - begin < 64 ? ((uint64_t)1 << (n - begin)) - 1 : ~(uint64_t)0;
            uint64_t upper = 0, down = 0;
            for (int g = 0; g < 64; g += 16) {
                __m512i x = _mm512_maskz_loadu_epi32((__mmask16)(room >> g), v + g);
                upper |= (uint64_t)_mm512_cmpeq_epi32_mask(x, one) << g;
                down |= (uint64_t)_mm512_cmpeq_epi32_mask(x, lower) << g;
            }
            wrong |= ~(upper | down) & room;
            words[begin + r] = upper & room;
        }
    site_transpose_all(words, n);
    return wrong == 0;
}

/* lanes_turn_f32, 16 units of 16 chains at a time. */
FB_AVX512 FB_UNUSED static void lanes_turn_avx512(const float *field, ptrdiff_t n_rows,
                                                  ptrdiff_t n, float *turned)
{
    const __m512 zero = _mm512_setzero_ps();
    for (ptrdiff_t row = 0; row < n_rows; row += 16)
        for (ptrdiff_t begin = 0; begin < n; begin += 16) {
            const int width = n - begin < 16 ? (int)(n - begin) : 16;
            const __mmask16 room = (__mmask16)((1u << width) - 1);
            __m512 x[16], y[16];
            for (int r = 0; r < 16; r++)
                x[r] = row + r < n_rows
                           ? _mm512_maskz_loadu_ps(room, field + (row + r) * n + begin)
                           : zero;
            for (int r = 0; r < 16; r += 2) {
                y[r] = _mm512_unpacklo_ps(x[r], x[r + 1]);
                y[r + 1] = _mm512_unpackhi_ps(x[r], x[r + 1]);
            }
            for (int r = 0; r < 16; r += 4)
                for (int c = 0; c < 2; c++) {
                    const __m512d a = _mm512_castps_pd(y[r + c]);
                    const __m512d b = _mm512_castps_pd(y[r + c + 2]);
                    x[r + 2 * c] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    x[r + 2 * c + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            /* quarter q of x[4 b + c] is unit 4 q + c of rows 4 b to 4 b + 3 */
            for (int c = 0; c < 4; c++) {
                const __m512 a = _mm512_shuffle_f32x4(x[c], x[4 + c], 0x88);
                const __m512 b = _mm512_shuffle_f32x4(x[c], x[4 + c], 0xdd);
                const __m512 d = _mm512_shuffle_f32x4(x[8 + c], x[12 + c], 0x88);
                const __m512 e = _mm512_shuffle_f32x4(x[8 + c], x[12 + c], 0xdd);
                y[c] = _mm512_shuffle_f32x4(a, d, 0x88);
                y[4 + c] = _mm512_shuffle_f32x4(b, e, 0x88);
                y[8 + c] = _mm512_shuffle_f32x4(a, d, 0xdd);
                y[12 + c] = _mm512_shuffle_f32x4(b, e, 0xdd);
            }
            for (int u = 0; u < width; u++)
                _mm512_storeu_ps(turned + (begin + u) * SITE_LANES + row, y[u]);
        }
}

/* lanes_unpack_f32 */
FB_AVX512 FB_UNUSED static void lanes_unpack_avx512(uint64_t *words, ptrdiff_t n_rows,
                                                    ptrdiff_t n, int spin, float *values)
{
    const __m512 one = _mm512_set1_ps(1.0f), lower = _mm512_set1_ps(spin ? -1.0f : 0.0f);
    site_transpose_all(words, n);
    for (ptrdiff_t r = 0; r < n_rows; r++)
        for (ptrdiff_t begin = 0; begin < n; begin += 16) {
            const __mmask16 upper = (__mmask16)(words[begin / 64 * 64 + r] >> begin % 64);
            const __mmask16 room = (__mmask16)((1u << (n - begin < 16 ? n - begin : 16)) - 1);
            _mm512_mask_storeu_ps(values + r * n + begin, room,
                                  _mm512_mask_blend_ps(upper, lower, one));
        }
}

FB_AVX512 FB_UNUSED static void lanes_sweeps_avx512(const site_plan *plan, const site_task *task,
                                               uint64_t *states, const uint64_t *fixed,
                                               const float *turned, uint32_t *keys, uint32_t row,
                                               ptrdiff_t lanes, float scale)
{
    switch (lanes / SITE_GROUP) {
    case 1:
        site_sweeps_avx512(plan, task, states, fixed, turned, keys, row, scale, 1);
        break;
    case 2:
        site_sweeps_avx512(plan, task, states, fixed, turned, keys, row, scale, 2);
        break;
    case 3:
        site_sweeps_avx512(plan, task, states, fixed, turned, keys, row, scale, 3);
        break;
    default:
        site_sweeps_avx512(plan, task, states, fixed, turned, keys, row, scale, 4);
    }
}

#endif /* FB_X86 */

#endif
