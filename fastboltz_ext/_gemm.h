/* Products of matrices by the BLAS that SciPy exports: the template, once for float and once for double. */
#ifndef FASTBOLTZ_GEMM_H
#define FASTBOLTZ_GEMM_H

#include "_portable.h"

#define REAL float
#define FN(name) name##_f32
#include "_gemm_template.h"
#undef REAL
#undef FN

#define REAL double
#define FN(name) name##_f64
#include "_gemm_template.h"
#undef REAL
#undef FN

#endif
