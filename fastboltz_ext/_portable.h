/* What differs between compilers, in one place. */
#ifndef FASTBOLTZ_PORTABLE_H
#define FASTBOLTZ_PORTABLE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__GNUC__) || defined(__clang__)
#define FB_INLINE static inline __attribute__((always_inline, unused))
#define FB_UNUSED __attribute__((unused))
#define FB_RESTRICT __restrict__
#elif defined(_MSC_VER)
#define FB_INLINE static __forceinline
#define FB_UNUSED
#define FB_RESTRICT __restrict
#else
#define FB_INLINE static inline
#define FB_UNUSED
#define FB_RESTRICT
#endif

/* One copy of a loop per instruction set, chosen when the module is loaded. The choice never shows
 * in the results: only +, -, *, / and sqrt of IEEE arithmetic are used, nothing is contracted to
 * a fused multiply-add (-ffp-contract=off), and no sum is reordered by the compiler.
 * The choice needs ifunc (glibc), and the names of the levels need gcc 12. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#if __GNUC__ >= 12
#define FB_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#endif
#ifndef FB_CLONES
#define FB_CLONES
#endif

/* Before a loop over blocks, where `n_threads` and the condition `parallel` are in scope. */
#if !defined(_OPENMP)
#define FB_PARALLEL_FOR
#elif defined(_MSC_VER)
#define FB_PARALLEL_FOR \
    __pragma(omp parallel for num_threads(n_threads) schedule(static) if (parallel))
#else
#define FB_PARALLEL_FOR \
    _Pragma("omp parallel for num_threads(n_threads) schedule(static) if (parallel)")
#endif

FB_INLINE int fb_has_openmp(void)
{
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

/* Threads that a parallel region may use: 1 without OpenMP. */
FB_INLINE int fb_max_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

#endif
