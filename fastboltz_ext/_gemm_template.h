/* Included by _gemm.h with REAL (float or double) and FN (name with suffix) defined. */

/* Fortran's ?gemm, as SciPy exports it. */
typedef void (*FN(gemm))(char *, char *, int *, int *, int *, REAL *, REAL *, int *, REAL *, int *,
                         REAL *, REAL *, int *);

/* c(m, n) = beta c + alpha op(a) op(b), all C-contiguous with rows lda, ldb, ldc apart. Fortran
 * sees the transposes, hence computes c' = op(b)' op(a)'. */
FB_INLINE void FN(row_gemm)(FN(gemm) gemm, int trans_a, int trans_b, ptrdiff_t m, ptrdiff_t n,
                            ptrdiff_t k, REAL alpha, const REAL *a, ptrdiff_t lda, const REAL *b,
                            ptrdiff_t ldb, REAL beta, REAL *c, ptrdiff_t ldc)
{
    char ta = trans_a ? 'T' : 'N', tb = trans_b ? 'T' : 'N';
    int m_ = (int)m, n_ = (int)n, k_ = (int)k;
    int lda_ = (int)(lda > 0 ? lda : 1), ldb_ = (int)(ldb > 0 ? ldb : 1), ldc_ = (int)ldc;
    if (m == 0 || n == 0)
        return;
    if (k == 0) { /* an empty sum; not every BLAS scales c then */
        for (ptrdiff_t i = 0; i < m; i++)
            for (ptrdiff_t j = 0; j < n; j++)
                c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
        return;
    }
    gemm(&tb, &ta, &n_, &m_, &k_, &alpha, (REAL *)b, &ldb_, (REAL *)a, &lda_, &beta, c, &ldc_);
}
