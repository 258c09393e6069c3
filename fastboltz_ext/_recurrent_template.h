/* Included by _recurrent_core.h with REAL (float or double) and FN (name with suffix) defined. */

/* u(t - 1) of each sequence: the state that the step before left, or the start. */
FB_INLINE void FN(recurrent_given)(recurrent_sizes s, const REAL *state, const REAL *start,
                                   const unsigned char *reset, REAL *before)
{
    for (ptrdiff_t i = 0; i < s.n_sequences; i++)
        memcpy(before + i * s.n_units, reset[i] ? start : state + i * s.n_units,
               (size_t)s.n_units * sizeof(REAL));
}

/* Where a sequence begins, the gradient is one by the start, and goes no further. */
FB_INLINE void FN(recurrent_ends)(recurrent_sizes s, const unsigned char *reset, REAL *carry,
                                  REAL *by_start)
{
    for (ptrdiff_t i = 0; i < s.n_sequences; i++)
        if (reset[i])
            for (ptrdiff_t k = 0; k < s.n_units; k++) {
                by_start[k] += carry[i * s.n_units + k];
                carry[i * s.n_units + k] = 0;
            }
}

/* -- u(t) = tanh(a), a = drive(t) + u(t - 1) W ---------------------------------------------------- */

FB_CLONES FB_UNUSED static void FN(tanh_of)(REAL *FB_RESTRICT a, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        a[i] = FN(fb_tanh)(a[i]);
}

FB_CLONES FB_UNUSED static void FN(tanh_slope)(const REAL *FB_RESTRICT u,
                                               const REAL *FB_RESTRICT by_u,
                                               REAL *FB_RESTRICT by_a, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        by_a[i] = by_u[i] * ((REAL)1 - u[i] * u[i]);
}

/* Steps [begin, end); `state` is that before step `begin`. */
FB_UNUSED static void FN(tanh_forward)(FN(gemm) gemm, recurrent_sizes s, const REAL *state,
                                       const REAL *start, const REAL *w, const REAL *drive,
                                       const unsigned char *reset, REAL *before, REAL *after,
                                       ptrdiff_t begin, ptrdiff_t end)
{
    const ptrdiff_t n = s.n_sequences * s.n_units, k = s.n_units;
    for (ptrdiff_t t = begin; t < end; t++) {
        REAL *u = after + t * n;
        FN(recurrent_given)(s, state, start, reset + t * s.n_sequences, before + t * n);
        memcpy(u, drive + t * n, (size_t)n * sizeof(REAL));
        FN(row_gemm)(gemm, 0, 0, s.n_sequences, k, k, 1, before + t * n, k, w, k, 1, u, k);
        FN(tanh_of)(u, n);
        state = u;
    }
}

/* Steps [begin, end), the last one first; `carry` is the gradient by what step end - 1 leaves, and
 * then by what step `begin` is given. `turned` is the transpose of the weights. */
FB_UNUSED static void FN(tanh_backward)(FN(gemm) gemm, recurrent_sizes s, const REAL *turned,
                                        const REAL *after, const unsigned char *reset,
                                        const REAL *grad, REAL *carry, REAL *by_start, REAL *drives,
                                        ptrdiff_t begin, ptrdiff_t end)
{
    const ptrdiff_t n = s.n_sequences * s.n_units, k = s.n_units;
    for (ptrdiff_t t = end; t-- > begin;) {
        REAL *d = drives + t * n;
        FN(tanh_slope)(after + t * n, carry, d, n);
        memcpy(carry, grad + t * n, (size_t)n * sizeof(REAL));
        FN(row_gemm)(gemm, 0, 0, s.n_sequences, k, k, 1, d, k, turned, k, 1, carry, k);
        FN(recurrent_ends)(s, reset + t * s.n_sequences, carry, by_start);
    }
}

/* -- gated recurrent units --------------------------------------------------------------------- */

/* Up to 16 numbers to and from a whole vector: no unit is left to a scalar loop. */
FB_INLINE void FN(recurrent_load)(REAL *lanes, const REAL *from, ptrdiff_t m)
{
    if (m == 16)
        memcpy(lanes, from, 16 * sizeof(REAL));
    else
        for (int l = 0; l < 16; l++)
            lanes[l] = l < m ? from[l] : 0;
}

FB_INLINE void FN(recurrent_store)(REAL *to, const REAL *lanes, ptrdiff_t m)
{
    if (m == 16)
        memcpy(to, lanes, 16 * sizeof(REAL));
    else
        for (ptrdiff_t l = 0; l < m; l++)
            to[l] = lanes[l];
}

/* One sequence's step, from its drive and own = u(t - 1) U, both of three parts. What the way back
 * wants is kept in four parts: z, r, n, and the candidate's own. Both gates of all units come first:
 * one after the other in a unit, the functions would wait for each other. */
FB_INLINE void FN(gru_units)(const REAL *drive, const REAL *own, const REAL *before, REAL *after,
                             REAL *kept, ptrdiff_t k)
{
    REAL d[16], z[16], r[16], n[16], u[16];
    for (ptrdiff_t i = 0; i < 2 * k; i += 16) {
        const ptrdiff_t m = 2 * k - i < 16 ? 2 * k - i : 16;
        FN(recurrent_load)(d, drive + i, m);
        FN(recurrent_load)(z, own + i, m);
        for (int l = 0; l < 16; l++)
            z[l] = FN(fb_logistic)(d[l] + z[l]);
        FN(recurrent_store)(kept + i, z, m);
    }
    for (ptrdiff_t i = 0; i < k; i += 16) {
        const ptrdiff_t m = k - i < 16 ? k - i : 16;
        FN(recurrent_load)(d, drive + 2 * k + i, m);
        FN(recurrent_load)(n, own + 2 * k + i, m);
        FN(recurrent_load)(z, kept + i, m);
        FN(recurrent_load)(r, kept + k + i, m);
        FN(recurrent_load)(u, before + i, m);
        FN(recurrent_store)(kept + 3 * k + i, n, m);
        for (int l = 0; l < 16; l++) {
            n[l] = FN(fb_tanh)(d[l] + r[l] * n[l]);
            u[l] = z[l] * u[l] + ((REAL)1 - z[l]) * n[l];
        }
        FN(recurrent_store)(kept + 2 * k + i, n, m);
        FN(recurrent_store)(after + i, u, m);
    }
}

FB_CLONES FB_UNUSED static void FN(gru_step)(recurrent_sizes s, const REAL *drive, const REAL *own,
                                             const REAL *before, REAL *after, REAL *kept)
{
    const ptrdiff_t k = s.n_units;
    for (ptrdiff_t i = 0; i < s.n_sequences; i++)
        FN(gru_units)(drive + 3 * k * i, own + 3 * k * i, before + k * i, after + k * i,
                      kept + 4 * k * i, k);
}

/* Gradients by the drive and by own, and what of that by u(t - 1) does not go through own, which takes
 * the place of that by u(t). */
FB_INLINE void FN(gru_slopes)(const REAL *FB_RESTRICT kept, const REAL *FB_RESTRICT before,
                              REAL *FB_RESTRICT carry, REAL *FB_RESTRICT by_drive,
                              REAL *FB_RESTRICT by_own, ptrdiff_t k)
{
    for (ptrdiff_t i = 0; i < k; i++) {
        const REAL z = kept[i], r = kept[k + i], n = kept[2 * k + i], own = kept[3 * k + i];
        const REAL g = carry[i];
        const REAL d_n = g * (((REAL)1 - z) * ((REAL)1 - n * n));
        const REAL d_z = g * ((before[i] - n) * z * ((REAL)1 - z));
        const REAL d_r = d_n * own * r * ((REAL)1 - r);
        by_drive[i] = d_z;
        by_drive[k + i] = d_r;
        by_drive[2 * k + i] = d_n;
        by_own[i] = d_z;
        by_own[k + i] = d_r;
        by_own[2 * k + i] = d_n * r; /* the candidate sees its own through the reset gate */
        carry[i] = g * z;
    }
}

FB_CLONES FB_UNUSED static void FN(gru_back)(recurrent_sizes s, const REAL *kept, const REAL *before,
                                             const REAL *FB_RESTRICT grad, REAL *FB_RESTRICT carry,
                                             REAL *by_drive, REAL *by_own)
{
    const ptrdiff_t k = s.n_units;
    for (ptrdiff_t i = 0; i < s.n_sequences; i++)
        FN(gru_slopes)(kept + 4 * k * i, before + k * i, carry + k * i, by_drive + 3 * k * i,
                       by_own + 3 * k * i, k);
    for (ptrdiff_t i = 0; i < s.n_sequences * k; i++)
        carry[i] += grad[i];
}

/* Steps [begin, end); `own` has room for one. */
FB_UNUSED static void FN(gru_forward)(FN(gemm) gemm, recurrent_sizes s, const REAL *state,
                                      const REAL *start, const REAL *w, const REAL *drive,
                                      const unsigned char *reset, REAL *before, REAL *after,
                                      REAL *kept, REAL *own, ptrdiff_t begin, ptrdiff_t end)
{
    const ptrdiff_t n = s.n_sequences * s.n_units, k = s.n_units;
    for (ptrdiff_t t = begin; t < end; t++) {
        FN(recurrent_given)(s, state, start, reset + t * s.n_sequences, before + t * n);
        FN(row_gemm)(gemm, 0, 0, s.n_sequences, 3 * k, k, 1, before + t * n, k, w, 3 * k, 0, own,
                     3 * k);
        FN(gru_step)(s, drive + 3 * n * t, own, before + t * n, after + t * n, kept + 4 * n * t);
        state = after + t * n;
    }
}

/* Steps [begin, end), the last one first, as tanh_backward; `own` has room for one. */
FB_UNUSED static void FN(gru_backward)(FN(gemm) gemm, recurrent_sizes s, const REAL *turned,
                                       const REAL *before, const REAL *kept,
                                       const unsigned char *reset, const REAL *grad, REAL *carry,
                                       REAL *by_start, REAL *drives, REAL *own, ptrdiff_t begin,
                                       ptrdiff_t end)
{
    const ptrdiff_t n = s.n_sequences * s.n_units, k = s.n_units;
    for (ptrdiff_t t = end; t-- > begin;) {
        FN(gru_back)(s, kept + 4 * n * t, before + t * n, grad + t * n, carry, drives + 3 * n * t, own);
        FN(row_gemm)(gemm, 0, 0, s.n_sequences, k, 3 * k, 1, own, 3 * k, turned, k, 1, carry, k);
        FN(recurrent_ends)(s, reset + t * s.n_sequences, carry, by_start);
    }
}
