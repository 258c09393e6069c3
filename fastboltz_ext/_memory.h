/* Memory of large arrays that is taken again, as an allocator of NumPy's (NEP 49).
 *
 * A minibatch makes and drops the same arrays as the one before. malloc gives large ones back to the
 * system, which hands out and clears every page anew; here they wait in lists by size.
 *
 * A block begins with a header, since the size that NumPy names when it frees need not be the size
 * that it asked for. Sizes of blocks that wait are rounded up to four steps a doubling. NumPy
 * allocates while it holds the GIL, which protects the lists; without a GIL nothing waits.
 */
#ifndef FASTBOLTZ_MEMORY_H
#define FASTBOLTZ_MEMORY_H

#include <stdlib.h>

#include "_portable.h"

/* log2 of the smallest block that waits, doublings from there, and bytes that wait at most. */
#define MEMORY_SMALLEST 14
#define MEMORY_DOUBLINGS 12
#define MEMORY_CLASSES (4 * MEMORY_DOUBLINGS)
#define MEMORY_MOST ((size_t)64 << 20)
/* Arrays begin at a multiple of a line of the cache. */
#define MEMORY_ALIGN 64

typedef struct memory_block {
    void *raw;
    size_t capacity;
    int of_class; /* -1: does not wait */
    struct memory_block *next;
} memory_block;

/* What waits, and how many calls want it to. */
typedef struct {
    memory_block *waiting[MEMORY_CLASSES];
    size_t bytes;
    int users;
} memory_pool;

FB_UNUSED static memory_pool fb_memory;

/* The class whose blocks have room for `size` bytes, and that room; -1 where none waits. */
FB_INLINE int memory_class(size_t size, size_t *capacity)
{
    *capacity = size;
#ifdef Py_GIL_DISABLED
    return -1;
#else
    if (size <= ((size_t)1 << MEMORY_SMALLEST) / 2)
        return -1;
    size_t step = ((size_t)1 << MEMORY_SMALLEST) / 4;
    for (int k = 0; k < MEMORY_DOUBLINGS; k++, step *= 2)
        if (size <= 7 * step) { /* 8 are 4 of the next */
            const size_t steps = size <= 4 * step ? 4 : (size + step - 1) / step;
            *capacity = steps * step;
            return 4 * k + (int)(steps - 4);
        }
    return -1;
#endif
}

FB_INLINE memory_block *memory_header(void *data)
{
    return (memory_block *)((char *)data - MEMORY_ALIGN);
}

/* A block for `size` bytes, cleared if `zero`. */
FB_UNUSED static void *memory_take(size_t size, int zero)
{
    size_t capacity;
    const int of_class = memory_class(size, &capacity);
    if (of_class >= 0 && fb_memory.waiting[of_class] != NULL) {
        memory_block *found = fb_memory.waiting[of_class];
        fb_memory.waiting[of_class] = found->next;
        fb_memory.bytes -= found->capacity;
        void *data = (char *)found + MEMORY_ALIGN;
        if (zero)
            memset(data, 0, size);
        return data;
    }
    if (capacity > SIZE_MAX - 2 * MEMORY_ALIGN)
        return NULL;
    void *raw = zero ? calloc(1, capacity + 2 * MEMORY_ALIGN) : malloc(capacity + 2 * MEMORY_ALIGN);
    if (raw == NULL)
        return NULL;
    char *data = (char *)(((uintptr_t)raw + 2 * MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN);
    memory_block *block = memory_header(data);
    block->raw = raw;
    block->capacity = capacity;
    block->of_class = of_class;
    block->next = NULL;
    return data;
}

FB_UNUSED static void *fb_memory_malloc(void *context, size_t size)
{
    (void)context;
    return memory_take(size, 0);
}

FB_UNUSED static void *fb_memory_calloc(void *context, size_t number, size_t size)
{
    (void)context;
    if (size != 0 && number > SIZE_MAX / size)
        return NULL;
    return memory_take(number * size, 1);
}

FB_UNUSED static void fb_memory_free(void *context, void *data, size_t size)
{
    (void)context, (void)size;
    if (data == NULL)
        return;
    memory_block *block = memory_header(data);
    if (block->of_class < 0 || fb_memory.users == 0 ||
        fb_memory.bytes + block->capacity > MEMORY_MOST) {
        free(block->raw);
        return;
    }
    block->next = fb_memory.waiting[block->of_class];
    fb_memory.waiting[block->of_class] = block;
    fb_memory.bytes += block->capacity;
}

FB_UNUSED static void *fb_memory_realloc(void *context, void *data, size_t size)
{
    if (data == NULL)
        return fb_memory_malloc(context, size);
    const memory_block *block = memory_header(data);
    if (size <= block->capacity && size >= block->capacity / 2)
        return data;
    void *to = fb_memory_malloc(context, size);
    if (to == NULL)
        return NULL;
    memcpy(to, data, size < block->capacity ? size : block->capacity);
    fb_memory_free(context, data, block->capacity);
    return to;
}

FB_UNUSED static void fb_memory_begin(void)
{
    fb_memory.users++;
}

/* The last to leave gives back what waits. */
FB_UNUSED static void fb_memory_end(void)
{
    if (--fb_memory.users > 0)
        return;
    for (int k = 0; k < MEMORY_CLASSES; k++) {
        while (fb_memory.waiting[k] != NULL) {
            memory_block *block = fb_memory.waiting[k];
            fb_memory.waiting[k] = block->next;
            free(block->raw);
        }
    }
    fb_memory.bytes = 0;
}

FB_INLINE size_t fb_memory_waiting(void)
{
    return fb_memory.bytes;
}

#endif
