"""The instruction sets that kernels are written for, and which of them they choose when loaded."""
import os


cdef extern from "_x86.h" nogil:
    int FB_LEVEL_ANY
    int FB_LEVEL_AVX2
    int FB_LEVEL_AVX512
    int fb_level()


LEVELS = {"portable": FB_LEVEL_ANY, "avx2": FB_LEVEL_AVX2, "avx512": FB_LEVEL_AVX512}


def kernels():
    """Names of those that this processor has, the fastest first."""
    return [name for name, level in reversed(LEVELS.items()) if level <= fb_level()]


def asked():
    """What the environment variable FASTBOLTZ_KERNEL says: a name that `packed.kernel` accepts, or
    nothing. (Where it is none, `packed` says so when it is loaded.)"""
    return os.environ.get("FASTBOLTZ_KERNEL", "")


def chosen():
    """The level of the instruction set to use: what `asked` names, else the best there is."""
    return min(fb_level(), LEVELS.get(asked().removesuffix(" tables"), FB_LEVEL_AVX512))
