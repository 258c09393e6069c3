/* Loops of updates.pyx: the template, once for float and once for double. */
#ifndef FASTBOLTZ_UPDATE_CORE_H
#define FASTBOLTZ_UPDATE_CORE_H

#include <math.h>

#include "_portable.h"

/* Elements below which threads cost more than they bring. */
#define UPDATE_TINY 65536

#define REAL float
#define ROOT sqrtf
#define FN(name) name##_f32
#include "_update_template.h"
#undef REAL
#undef ROOT
#undef FN

#define REAL double
#define ROOT sqrt
#define FN(name) name##_f64
#include "_update_template.h"
#undef REAL
#undef ROOT
#undef FN

#endif
