"""What progress, history and checkpoints cost a training together, at their default settings.

    python bench/overhead.py --seconds 20 --rounds 7

The same training is made bare (no progress bar, no checkpoint, nothing recorded) and with all
three, in turns, so that a machine that slows down slows both; the figure is the median over the
rounds of the seconds of one by those of the other. The aim is below 3 %. Seconds of the processor
do not count the time of others on a busy machine, nor the wait for a disk; those of the clock count
both. Mind the spread: a median within it says nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

import fastboltz as fb
from fastboltz.training import TrainingState


def data(n_rows, n_features=784, seed=0):
    """Rows of as many binary pixels as an image of MNIST has, a fifth of them on."""
    rng = np.random.default_rng(seed)
    return (rng.random((n_rows, n_features), dtype=np.float32) < 0.2).astype(np.float32)


def seconds(X, options, watched):
    """Seconds of one training, by the clock and of the processor, bare or with all three."""
    with contextlib.ExitStack() as stack:
        if watched:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            keep = fb.Checkpoint(Path(folder) / "training.fbm")
            model = fb.RBM(**options, verbose=1, callbacks=[keep])
            null = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stderr(null))
        else:
            model = fb.RBM(**options)
            stack.enter_context(mock.patch.object(TrainingState, "record", lambda *a, **k: None))
        begin = time.perf_counter(), time.process_time()
        model.fit(X)
        return {
            "clock": time.perf_counter() - begin[0],
            "processor": time.process_time() - begin[1],
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="of one training, about")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--components", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    X = data(arguments.rows)
    options = {
        "n_components": arguments.components,
        "batch_size": arguments.batch_size,
        "n_threads": arguments.threads,
        "random_state": 0,
    }
    seconds(X[:200], options | {"n_iter": 1}, True)  # what is loaded on first use
    epoch = seconds(X, options | {"n_iter": 1}, False)["processor"]
    options["n_iter"] = max(2, round(arguments.seconds / epoch))
    rounds = []
    for k in range(arguments.rounds):
        # Each is first in every other round.
        order = (False, True) if k % 2 else (True, False)
        took = {watched: seconds(X, options, watched) for watched in order}
        rounds.append({"bare": took[False], "watched": took[True]})
    overhead = {}
    for what in ("processor", "clock"):
        shares = sorted(r["watched"][what] / r["bare"][what] - 1 for r in rounds)
        overhead[what] = {
            "median": statistics.median(shares),
            "smallest": shares[0],
            "largest": shares[-1],
        }
    report = {
        "overhead": overhead,
        "epochs": options["n_iter"],
        "rows": arguments.rows,
        "rounds": rounds,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
