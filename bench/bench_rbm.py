"""The cases of `cases.CASES` under pytest-benchmark, one test a contender and number of threads.

``pytest bench --benchmark-only``; contenders of one case stand in one table. These are for work on
one piece of code. Figures that are compared come from ``run.py``, which takes the contenders in
turn.
"""

from __future__ import annotations

import pytest
from cases import CASES, Case
from contenders import blas_threads

THREADS = (1, 2)

CONTENDERS = [
    pytest.param(case, name, n, id=f"{case.name}-{n}-{name}")
    for case in CASES
    if not case.fresh
    for n in case.threads or THREADS
    for name in case.contenders
]


@pytest.mark.parametrize(("case", "contender", "n_threads"), CONTENDERS)
def bench(benchmark, case: Case, contender: str, n_threads: int) -> None:
    """One contender of one case; the time is that of a call, the same work for all contenders."""
    benchmark.group = f"{case.title}, threads: {n_threads}"
    with blas_threads(n_threads):
        local = case.contenders[contender](n_threads)
        benchmark.extra_info |= {"unit": case.unit, "scale": case.scale}
        benchmark(local.call)
