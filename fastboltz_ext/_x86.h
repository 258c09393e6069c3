/* Instruction sets of x86-64 beyond the first: the attribute of functions that use them, and whether
 * the processor has them.
 *
 * With FB_EMULATED, AVX-512 is written out in plain C (tests/kernels), so that its code can be
 * tested on processors without it. Assembly then gives way to the intrinsics that it stands for. */
#ifndef FASTBOLTZ_X86_H
#define FASTBOLTZ_X86_H

#include "_portable.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define FB_X86 1
#include <immintrin.h>
#define FB_AVX2 __attribute__((target("avx2,fma,popcnt,bmi,bmi2,lzcnt")))
#ifdef FB_EMULATED
#include "emulated_avx512.h"
#define FB_AVX512 FB_AVX2
#else
#define FB_AVX512                                                                         \
    __attribute__((target("avx2,fma,popcnt,bmi,bmi2,lzcnt,avx512f,avx512bw,avx512dq,avx512vl," \
                          "prefer-vector-width=512")))
#endif
#else
#define FB_X86 0
#endif

/* Instruction sets that code is written for, the best last. */
enum { FB_LEVEL_ANY, FB_LEVEL_AVX2, FB_LEVEL_AVX512 };

/* The line of the cache that an address lies in, to be written to: it comes from the core that has it,
 * and no other core keeps it. Stores take their turns, so without this each would wait for the one
 * before it. */
FB_INLINE void fb_fetch_to_write(const void *at)
{
#if FB_X86
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
#elif defined(__GNUC__)
    __builtin_prefetch(at, 1);
#else
    (void)at;
#endif
}

FB_INLINE int fb_has_avx2(void)
{
#if FB_X86
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("popcnt");
#else
    return 0;
#endif
}

FB_INLINE int fb_has_avx512(void)
{
#if FB_X86 && defined(FB_EMULATED)
    return fb_has_avx2();
#elif FB_X86
    return fb_has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#else
    return 0;
#endif
}

/* The best that the processor has. */
FB_INLINE int fb_level(void)
{
    return fb_has_avx512() ? FB_LEVEL_AVX512 : fb_has_avx2() ? FB_LEVEL_AVX2 : FB_LEVEL_ANY;
}

#endif
