"""Made-up timings of updates, by the sum that the model of the cost is."""

from __future__ import annotations

import math

from fastboltz.distributed import statistics_bytes
from fastboltz.scaling import Run, Scaling

#: Seconds: of a row, of fixed work, of a byte, of a doubling.
COST = (3e-6, 4e-4, 2e-10, 7e-6)
N_BYTES = statistics_bytes(40, 20)


def seconds(rows, workers, n_bytes, cost=COST):
    row, fixed, byte, doubling = cost
    total = row * rows / workers + (fixed if rows else 0.0)
    if workers > 1 and n_bytes:
        total += byte * n_bytes * (2 - 2 / workers) + doubling * math.log2(workers)
    return total


def run(workers, rows, n_bytes=0, cost=COST):
    return Run(workers, rows, n_bytes, (seconds(rows, workers, n_bytes, cost),) * 3)


def of_ranks(workers=(1, 2), cost=COST):
    sizes = {(n, rows) for n in workers for rows in (64, 64 * n)} | {(1, 16)}
    runs = [run(n, rows, N_BYTES if n > 1 else 0, cost) for n, rows in sorted(sizes)]
    runs += [run(n, 0, size, cost) for n in workers if n > 1 for size in (64, N_BYTES)]
    machine = {"machine": "x86_64", "kernel": "portable", "cores": 2, "machines": 1}
    return Scaling("rank", 40, 20, 64, 1, 5, tuple(runs), run(1, 64), machine)


def of_threads(workers=(1, 2), cost=COST):
    sizes = {(n, rows) for n in workers for rows in (64, 64 * n)} | {(1, 16)}
    runs = tuple(run(n, rows, 0, cost) for n, rows in sorted(sizes))
    machine = {"machine": "x86_64", "kernel": "portable", "cores": 2, "machines": 1}
    return Scaling("thread", 40, 20, 64, 1, 5, runs, None, machine)
