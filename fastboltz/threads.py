"""How many threads a call uses, and what holds while it computes: BLAS at one thread, memory kept.

Two pools of threads that spin on the same cores (OpenBLAS's and ours) slow each other down by a
factor of ten. So our kernels open their own parallel regions over fixed blocks of the output and
call BLAS inside them, one thread each. Fixed blocks also make every result independent of
``n_threads``.

Large arrays of one minibatch take the memory of those that the minibatch before has dropped
(`fastboltz_ext.memory`): pages that are new to the process are cleared one by one, which took a
tenth of the time of a training whose steps are NumPy's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .validation import check_count

#: Threads of a call at the most. OpenMP ends the process where the system gives it no more of them.
MOST = 1024

_lock = threading.Lock()
_depth = 0
#: The process's BLAS libraries, once they were looked for, and the threads that each had before it
#: was held at one.
_blas: list[Any] | None = None
_threads_before: list[int] = []
#: Whether this process may have used several threads, and whether it was forked from one that had:
#: threads do not come along, and OpenMP would wait for them without end.
_has_worked = False
_is_orphan = False


def _begin_after_fork() -> None:
    """What a forked process starts with: one thread, and no other one's locks."""
    global _lock, _depth, _is_orphan
    _lock, _depth = threading.Lock(), 0
    _is_orphan |= _has_worked


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


def available() -> int:
    """Cores that this process may use: its affinity mask, and OMP_NUM_THREADS where it is set."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # pragma: no cover - macOS and Windows
        cores = os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if limit.isdigit() and int(limit) > 0:
        cores = min(cores, int(limit))
    return max(1, cores)


def resolve(n_threads: int | None) -> int:
    """Number of threads to use: as given, or all that the process may use for None.

    More than `MOST` are refused. Always one in a process that was forked from one that had used
    several.
    """
    global _has_worked
    if n_threads is None:
        from fastboltz_ext import layers

        n = max(1, min(available(), layers.max_threads(), MOST))
    else:
        n = check_count("n_threads", n_threads, minimum=1)
        if n > MOST:
            raise ValueError(
                f"n_threads must be a whole number <= {MOST}; got {n}. More threads than cores "
                f"make nothing faster; None takes one a core."
            )
    if _is_orphan:
        return 1
    _has_worked |= n > 1
    return n


@contextmanager
def computing() -> Iterator[None]:
    """Around heavy work: NumPy's and SciPy's BLAS at one thread, and dropped arrays' memory kept.

    Nested and concurrent use share one limit of BLAS, which is a setting of the whole process: the
    first to enter sets it and the last to leave restores it. Memory waits until the last leaves.
    """
    from fastboltz_ext import memory

    global _depth, _blas, _threads_before
    with _lock:
        if _depth == 0:
            if _blas is None:
                import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be found)
                from threadpoolctl import ThreadpoolController

                _blas = ThreadpoolController().select(user_api="blas").lib_controllers
            _threads_before = [library.num_threads for library in _blas]
            for library in _blas:
                library.set_num_threads(1)
        _depth += 1
    try:
        with memory.Recycled():
            yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                assert _blas is not None
                for library, n in zip(_blas, _threads_before, strict=True):
                    library.set_num_threads(n)
