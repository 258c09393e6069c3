/* Loops of recurrent.pyx: the template, once for float and once for double.
 *
 * Arrays are of steps, sequences and units, in this order. `reset` says where a sequence begins: there
 * u(t - 1) is the learnt start. The way back ends in each step with the gradient by u(t - 1), which is
 * what comes from the step and what step t itself is given.
 */
#ifndef FASTBOLTZ_RECURRENT_CORE_H
#define FASTBOLTZ_RECURRENT_CORE_H

#include "_gemm.h"
#include "_logistic.h"

/* Sizes of a network and its minibatch. */
typedef struct {
    ptrdiff_t n_sequences, n_units;
} recurrent_sizes;

#define REAL float
#define FN(name) name##_f32
#include "_recurrent_template.h"
#undef REAL
#undef FN

#define REAL double
#define FN(name) name##_f64
#include "_recurrent_template.h"
#undef REAL
#undef FN

#endif
