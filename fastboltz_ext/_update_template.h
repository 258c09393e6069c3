/* Included by _update_core.h with REAL, ROOT (its square root) and FN (name with suffix) defined. */

/* gradient - l2 param - l1 sign(param) */
FB_INLINE REAL FN(penalised)(REAL gradient, REAL param, REAL l1, REAL l2)
{
    REAL sign = (REAL)((param > 0) - (param < 0));
    return (gradient - l2 * param) - l1 * sign;
}

FB_CLONES FB_UNUSED static void FN(sgd_part)(REAL *FB_RESTRICT param,
                                             const REAL *FB_RESTRICT gradient, REAL rate, REAL l1,
                                             REAL l2, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        param[i] += rate * FN(penalised)(gradient[i], param[i], l1, l2);
}

FB_CLONES FB_UNUSED static void FN(momentum_part)(REAL *FB_RESTRICT param,
                                                  const REAL *FB_RESTRICT gradient,
                                                  REAL *FB_RESTRICT velocity, REAL rate,
                                                  REAL momentum, REAL l1, REAL l2, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL g = FN(penalised)(gradient[i], param[i], l1, l2);
        velocity[i] = momentum * velocity[i] + rate * g;
        param[i] += velocity[i];
    }
}

/* correct1, correct2: 1 / (1 - beta^t) */
FB_CLONES FB_UNUSED static void FN(adam_part)(REAL *FB_RESTRICT param,
                                              const REAL *FB_RESTRICT gradient,
                                              REAL *FB_RESTRICT m, REAL *FB_RESTRICT v, REAL rate,
                                              REAL beta1, REAL beta2, REAL rest1, REAL rest2,
                                              REAL epsilon, REAL correct1, REAL correct2, REAL l1,
                                              REAL l2, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL g = FN(penalised)(gradient[i], param[i], l1, l2);
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * (g * g);
        param[i] += rate * (m[i] * correct1) / (ROOT(v[i] * correct2) + epsilon);
    }
}

FB_UNUSED static void FN(sgd)(REAL *param, const REAL *gradient, REAL *velocity, REAL rate,
                              REAL momentum, REAL l1, REAL l2, ptrdiff_t n, int n_threads)
{
    const int parallel = n_threads > 1 && n >= UPDATE_TINY;
    const ptrdiff_t blocks = parallel ? n_threads : 1;
    ptrdiff_t b;
    FB_PARALLEL_FOR
    for (b = 0; b < blocks; b++) {
        ptrdiff_t i = n * b / blocks, end = n * (b + 1) / blocks;
        if (velocity != NULL)
            FN(momentum_part)(param + i, gradient + i, velocity + i, rate, momentum, l1, l2,
                              end - i);
        else
            FN(sgd_part)(param + i, gradient + i, rate, l1, l2, end - i);
    }
}

/* The factors are made in double, then rounded once. */
FB_UNUSED static void FN(adam)(REAL *param, const REAL *gradient, REAL *m, REAL *v, double rate,
                               double beta1, double beta2, double epsilon, double t, double l1,
                               double l2, ptrdiff_t n, int n_threads)
{
    const REAL correct1 = (REAL)(1 / (1 - pow(beta1, t)));
    const REAL correct2 = (REAL)(1 / (1 - pow(beta2, t)));
    const int parallel = n_threads > 1 && n >= UPDATE_TINY;
    const ptrdiff_t blocks = parallel ? n_threads : 1;
    ptrdiff_t b;
    FB_PARALLEL_FOR
    for (b = 0; b < blocks; b++) {
        ptrdiff_t i = n * b / blocks, end = n * (b + 1) / blocks;
        FN(adam_part)(param + i, gradient + i, m + i, v + i, (REAL)rate, (REAL)beta1, (REAL)beta2,
                      (REAL)(1 - beta1), (REAL)(1 - beta2), (REAL)epsilon, correct1, correct2,
                      (REAL)l1, (REAL)l2, end - i);
    }
}
