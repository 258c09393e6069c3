"""Kill trainings at random moments and resume them: do they end with the bytes of one left alone?

    python bench/kill_and_resume.py --kills 50

A process that has imported the library forks one after the other, each of which trains with
``Checkpoint(path, resume=True)`` until SIGKILL takes it away at a random moment. Models take turns:
the compiled loop of a binary RBM, the general loop with Adam, early stopping of a model's own and
by a callback, sequences.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

import fastboltz as fb
from fastboltz.callbacks import EarlyStopping, Monitor


def cases():
    """Name -> (function of the callbacks that makes the estimator, what fit is given)."""
    rng = np.random.default_rng(0)
    X = (rng.random((400, 32)) < np.repeat([[0.2, 0.7]], 16, axis=1).ravel()).astype(np.float32)
    y = (X[:, :16].sum(axis=1) > 3).astype(int)
    sequences = [X[k : k + 20] for k in range(0, 200, 20)]
    small = {"n_iter": 40, "batch_size": 20, "random_state": 0}
    return {
        "RBM": (lambda c: fb.RBM(24, momentum=0.5, callbacks=c, **small), (X,)),
        "RBM, Adam": (
            lambda c: fb.RBM(16, visible="gaussian", optimizer="adam", callbacks=c, **small),
            (X + rng.normal(0, 0.1, X.shape).astype(np.float32),),
        ),
        "RBMClassifier, early stopping": (
            lambda c: fb.RBMClassifier(16, early_stopping=True, callbacks=c, **small),
            (X, y),
        ),
        "RBM, EarlyStopping and Monitor": (
            lambda c: fb.RBM(
                24,
                **small,
                callbacks=[
                    EarlyStopping(X[200:], "free_energy_gap", X_train=X[:200], patience=30),
                    Monitor(X[200:], every=2, what=["weight_norm", "reconstruction_error"]),
                    *(c or ()),
                ],
            ),
            (X[:200],),
        ),
        "RNNRBM": (
            lambda c: fb.RNNRBM(
                8, 6, method="pcd", n_gibbs=2, n_iter=30, chunk=10, random_state=0, callbacks=c
            ),
            (sequences,),
        ),
    }


def learnt(model):
    """Parameters, chains and history as bytes; the history's seconds aside."""
    state = model._training
    history = {k: v for k, v in model.history_.items() if k != "seconds"}
    chains = [None if c is None else {g: x.tobytes() for g, x in c.values.items()} for c in
              state.phases.chains]  # fmt: skip
    steps = getattr(state.phases, "steps", None)
    optimizer = {k: np.asarray(x).tobytes() for k, x in state.optimizer.items()}
    return {
        "params": {k: x.tobytes() for k, x in model.params_.items()},
        "chains": chains,
        "steps": None if steps is None else steps.bits.unpack().tobytes(),
        "optimizer": optimizer,
        # NaN is not equal to itself, its representation is.
        "history": repr(history),
        "updates": state.update,
    }


def train(make, callbacks, data, end):
    make(callbacks).fit(*data).set_params(callbacks=None).save(end)


def forked(work):
    """Number of a process that does some work and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        os._exit(code)
    return pid


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="*", default=list(cases()), choices=list(cases()))
    arguments = parser.parse_args()
    chosen = {name: cases()[name] for name in arguments.models}
    rng = np.random.default_rng(arguments.seed)
    folder = Path(tempfile.mkdtemp())
    kills, rounds, differences = 0, 0, []
    # This process imports all that a training needs, but never trains: threads of OpenMP do not
    # outlive a fork.
    import numba  # noqa: F401

    for make, _ in chosen.values():
        make(None)
    every = {name: 0 for name in chosen}
    while kills < arguments.kills or 0 in every.values():
        for name, (make, data) in chosen.items():
            path = folder / f"{rounds}.fbm"
            whole, end = folder / "whole.fbm", folder / "end.fbm"
            alone = forked(partial(train, make, None, data, whole))
            assert os.waitpid(alone, 0)[1] == 0
            begin = time.perf_counter()
            spare = fb.Checkpoint(folder / f"{rounds}.spare", every=3)
            timed = forked(partial(train, make, [spare], data, end))
            assert os.waitpid(timed, 0)[1] == 0
            seconds = time.perf_counter() - begin
            keep = fb.Checkpoint(path, every=3, resume=True)
            end.unlink(missing_ok=True)
            for _ in range(200):
                pid = forked(partial(train, make, [keep], data, end))
                deadline = time.perf_counter() + rng.uniform(0, 0.7) * seconds
                status = None
                while status is None and time.perf_counter() < deadline:
                    done, code = os.waitpid(pid, os.WNOHANG)
                    status = code if done else None
                    time.sleep(0.001)
                if status is None:
                    os.kill(pid, signal.SIGKILL)
                    _, status = os.waitpid(pid, 0)
                if status == 0:
                    break
                assert os.WIFSIGNALED(status), f"{name}: the training failed"
                kills += 1
                every[name] += 1
            same = learnt(fb.load(end)) == learnt(fb.load(whole))
            if not same:
                differences.append(f"{name}, round {rounds}")
            rounds += 1
            if kills >= arguments.kills and 0 not in every.values():
                break
    print(json.dumps({"kills": kills, "by_model": every, "rounds": rounds,
                      "differences": differences}))  # fmt: skip
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
