"""Memory of large arrays that is taken again by the next array of its size."""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from libc.string cimport strcpy

cnp.import_array()


cdef extern from "_memory.h":
    void* fb_memory_malloc(void* context, size_t size)
    void* fb_memory_calloc(void* context, size_t number, size_t size)
    void* fb_memory_realloc(void* context, void* data, size_t size)
    void fb_memory_free(void* context, void* data, size_t size)
    void fb_memory_begin()
    void fb_memory_end()
    size_t fb_memory_waiting()


cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void* ctx
        void* (*malloc)(void* context, size_t size)
        void* (*calloc)(void* context, size_t number, size_t size)
        void* (*realloc)(void* context, void* data, size_t size)
        void (*free)(void* context, void* data, size_t size)

    ctypedef struct PyDataMem_Handler:
        char name[127]
        unsigned char version
        PyDataMemAllocator allocator

    object PyDataMem_SetHandler(object handler)


cdef PyDataMem_Handler handler
strcpy(handler.name, "fastboltz")
handler.version = 1
handler.allocator.ctx = NULL
handler.allocator.malloc = fb_memory_malloc
handler.allocator.calloc = fb_memory_calloc
handler.allocator.realloc = fb_memory_realloc
handler.allocator.free = fb_memory_free
#: Arrays refer to it for as long as they live.
cdef object capsule = PyCapsule_New(&handler, "mem_handler", NULL)


cdef class Recycled:
    """A context in which this thread's new NumPy arrays take the memory of those that were dropped.

    Arrays of 8 KiB to 64 MiB; at most 64 MiB wait, and none after the last context has been left.
    An array may outlive the context like any other.
    """

    cdef object before

    def __enter__(self):
        self.before = PyDataMem_SetHandler(capsule)
        fb_memory_begin()
        return self

    def __exit__(self, *error):
        PyDataMem_SetHandler(self.before)
        fb_memory_end()


def waiting():
    """Bytes that wait to be taken again."""
    return fb_memory_waiting()
