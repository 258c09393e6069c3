"""Two ranks beside one on the MNIST training at batch 1024: seconds of an update and of a pass.

    mpiexec -bind-to core -n 2 python bench/mnist_ranks.py

Under mpiexec with two ranks or more, each bound to a core of its own. One rank and all of them
learn the same RBM in turns (784 x 500, PCD-1, binarised MNIST from the folder FASTBOLTZ_DATA), one
thread each. The first pass is not measured. An update is the median of all, since on a busy machine
some are interrupted; a pass is its updates at their median, and the median of what comes between
passes: dealing out the rows, shuffling, giving back the chains.

The same turns hold every rank learning by itself, all at once and without a word between them: what
that costs beside one rank alone is the machine's own doing (caches, memory, clock, neighbours on
the host), and no exchange of statistics can be faster than it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from unittest import mock

import numpy as np

import fastboltz as fb
from fastboltz import distributed
from fastboltz.config import config
from fastboltz.datasets import load_mnist


def meet(comm):
    """Wait for all ranks asleep: one that spins would take the time of those that work."""
    all_here = comm.Ibarrier()
    while not all_here.Test():
        time.sleep(0.0005)


def times(X, comm, options):
    """When this rank had the weights of each update."""
    marks = []
    plain = distributed.Exchange.spread

    def spread(self):
        plain(self)
        marks.append(time.perf_counter())

    with mock.patch.object(distributed.Exchange, "spread", spread):
        fb.RBM(**options).fit(X, comm=comm)
    return np.array(marks)


def main():
    from mpi4py import MPI

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--components", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=1024)
    arguments = parser.parse_args()
    world = MPI.COMM_WORLD
    if world.size < 2:
        parser.error("start it by mpiexec, with two ranks or more")
    X = load_mnist()[0].X.astype(np.uint8)
    a_pass = -(-len(X) // arguments.batch_size)
    options = {
        "n_components": arguments.components,
        "batch_size": arguments.batch_size,
        "n_iter": arguments.passes,
        "n_threads": 1,
        "random_state": 0,
    }
    together, by_themselves = f"{world.size} ranks", f"{world.size} x 1 rank at once"
    turns = {"1 rank": MPI.COMM_SELF, by_themselves: MPI.COMM_SELF, together: world}
    updates: dict[str, list[float]] = {turn: [] for turn in turns}
    between: dict[str, list[float]] = {turn: [] for turn in turns}
    for _ in range(arguments.rounds):
        for turn, comm in turns.items():
            meet(world)
            if turn != "1 rank" or world.rank == 0:
                n = len(X)
                rows = slice(n * comm.rank // comm.size, n * (comm.rank + 1) // comm.size)
                marks = times(X[rows], comm, options).reshape(-1, a_pass)
                # The last minibatch of a pass is smaller.
                updates[turn].extend(np.diff(marks[1:, :-1]).ravel().tolist())
                between[turn].extend((marks[1:, 0] - marks[:-1, -1]).tolist())
            meet(world)
    if world.rank > 0:
        return
    report = {"machine": config(), "rows": len(X), "batch_size": arguments.batch_size}
    for turn, all_of in updates.items():
        update, first = statistics.median(all_of), statistics.median(between[turn])
        report[turn] = {
            "ms_of_an_update": 1e3 * update,
            "quartiles": [1e3 * x for x in statistics.quantiles(all_of, n=4)],
            "ms_of_a_pass": 1e3 * ((a_pass - 1) * update + first),
            "n_updates": len(all_of),
        }
    for key in ("an_update", "a_pass"):
        one, apart, many = (report[turn][f"ms_of_{key}"] for turn in turns)
        report[f"speed_up_of_{key}"] = {"measured": one / many, "limit": world.size * one / apart}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
