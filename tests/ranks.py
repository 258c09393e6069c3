"""What one rank does in the tests of `fastboltz.distributed`: ``mpiexec -n 4 python ranks.py``.

The cases stand here, so that `test_distributed.py` can learn the same without ranks. Rank 0 prints
JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import sys
import time
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from unittest import mock

import numpy as np
from scipy import sparse

import fastboltz as fb
from fastboltz import Checkpoint, cli, distributed
from fastboltz.callbacks import EarlyStopping, TrajectoryLikelihood
from fastboltz.distributed import Ranks

N_RANKS = 4
_random = np.random.default_rng(0)
X = (_random.random((103, 37)) < _random.random(37)).astype(np.float32)
#: In double precision, where means of hidden units keep 20 bits: in single precision another
#: rounding of BLAS can be one of 2**-10.
GREY = _random.random((103, 37))
#: Options and data, binary ones, and on how many ranks they are learnt.
CASES = {
    "pcd": ({}, X, (1, 2, 3, 4)),
    "cd": ({"method": "cd", "n_gibbs": 2, "l1": 0.001}, X, (1, 2, 3, 4)),
    "spins": ({"visible": "spin", "hidden": "spin", "momentum": 0.5}, 2 * X - 1, (3,)),
    "chains": ({"n_chains": 3, "centered": False, "n_threads": 2}, X, (2, 4)),
    "double": ({"l2": 0.01}, X.astype(float), (2,)),
    "sparse": ({"n_gibbs": 2}, sparse.csr_matrix(X), (3,)),
    "no seed": ({"random_state": None, "n_iter": 1}, X, (2,)),
}


#: Machines that four or three ranks are on, by their numbers, and cases that are learnt there.
MACHINES = {
    "two of two": lambda rank: rank % 2,
    "three and one": lambda rank: rank // 3,
    "each alone": lambda rank: rank,
}
APART = {
    "pcd": 4,
    "spins": 3,  # momentum: velocities of parts
    "chains": 4,  # sums of two phases
    "double": 4,
}


def on_machines(number):
    """Have ranks believe that they share memory with those of the same number only."""

    def ranks_of_machine(comm):
        return comm.Split(number(comm.rank))

    return mock.patch.object(distributed, "_ranks_of_machine", ranks_of_machine)


def interrupt_at(number):
    """Have this process, alone, hear of Ctrl-C while it adds up the sums of an update."""
    plain, calls = Ranks.add_up, []

    def add_up(self, x):
        if x.dtype == np.int32:
            calls.append(x)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGINT)
        plain(self, x)

    return mock.patch.object(Ranks, "add_up", add_up)


def model(options, **more):
    defaults = {"n_components": 19, "n_iter": 2, "batch_size": 16, "random_state": 1}
    return fb.RBM(**(defaults | options | more))


def digest(rbm):
    """A check sum of all that was learnt, seconds aside."""
    total = hashlib.sha256()
    training = rbm._training
    history = {k: v for k, v in training.history.items() if k != "seconds"}
    total.update(repr((history, rbm._seed, training.update, training.phases.update)).encode())
    tables = [rbm.params_, training.optimizer, training.offsets, rbm._base_rates]
    chains = training.phases.chains[0]
    if chains is not None:
        total.update(repr(chains.address).encode())
        tables.append(chains.values)
    for table in tables:
        for key in sorted(table):
            total.update(np.ascontiguousarray(table[key]).tobytes())
    return total.hexdigest()


def best_is_second(model, x):
    """A measure that is best after the second epoch."""
    return -abs(model.n_iter_ - 2)


def watched(**more):
    """A training that is looked at within its epochs, and ends after four with the second's."""
    stop = EarlyStopping(X[:20], best_is_second, patience=2)
    watch = TrajectoryLikelihood(X[:20], every=1, n_chains=32)
    return model({}, n_iter=6, callbacks=[watch, stop, *more.pop("callbacks", [])], **more)


def part(x, rank, size):
    """This rank's rows: few on the first."""
    ends = [0, *(x.shape[0] - 7 * (size - k) for k in range(1, size)), x.shape[0]]
    return x[ends[rank] : ends[rank + 1]]


class Program:
    """All ranks of a run, four or fewer, and communicators of the first one, two, ... of them."""

    def __init__(self):
        from mpi4py import MPI

        self.all = MPI.COMM_WORLD
        outside = MPI.UNDEFINED
        self.first = [
            self.all.Split(0 if self.all.rank < k else outside) for k in range(1, N_RANKS + 1)
        ]

    def on(self, size, work):
        """Do something on the first ranks; what each returned, or the sentence that it raised."""
        self.all.Barrier()
        if self.all.rank >= size:
            return None
        comm = self.first[size - 1]
        try:
            said = work(comm)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        return comm.allgather(said)

    def learn(self, options, x):
        def work(comm):
            return digest(model(options).fit(part(x, comm.rank, comm.size), comm=comm))

        return work

    def bytes(self):
        return {
            name: [self.on(size, self.learn(options, x)) for size in sizes]
            for name, (options, x, sizes) in CASES.items()
        }

    def machines(self):
        said = {}
        for name, number in MACHINES.items():
            for case, size in APART.items():
                with on_machines(number):
                    said[f"{name}, {case}"] = self.on(size, self.learn(*CASES[case][:2]))
        return said

    def grey(self):
        def work(comm):
            one = model({}).fit(part(GREY, comm.rank, comm.size), comm=comm)
            two = model({}).fit(part(GREY, comm.rank, comm.size), comm=comm)
            same = digest(one) == digest(two)
            return [same, digest(one), {k: x.tolist() for k, x in one.params_.items()}]

        return {size: self.on(size, work) for size in (1, 3)}

    def watched(self, folder):
        """Callbacks on all of two ranks, on the first of three, and there with a resumed file."""
        path = os.path.join(folder, "watched")

        def fit(rbm, comm):
            rbm.fit(part(X, comm.rank, comm.size), comm=comm)
            return digest(rbm)

        def first(comm):
            return fit(watched() if comm.rank == 0 else model({}, n_iter=6), comm)

        def resumed(comm):
            keep = [Checkpoint(path, resume=True)]

            def begun():
                alone = model({}, n_iter=6, callbacks=keep)
                return watched(callbacks=keep) if comm.rank == 0 else alone

            try:
                # The look at the 16th update is over, that after the epoch is not.
                with interrupt_at(17) if comm.rank == 1 else nullcontext():
                    fit(begun(), comm)
            except KeyboardInterrupt:
                return fit(begun(), comm)

        def missing(comm):
            return fit(model({}, n_iter=6, callbacks=[Checkpoint(path, resume=True)]), comm)

        said = {"all": self.on(2, lambda comm: fit(watched(), comm)), "first": self.on(3, first)}
        with on_machines(MACHINES["each alone"]):
            said["machines"] = self.on(3, first)
        return said | {"resumed": self.on(2, resumed), "missing": self.on(2, missing)}

    def resumed(self, folder):
        """Ctrl-C on one rank of three within a pass; two go on, and the last of them ends it."""
        path = os.path.join(folder, "checkpoint")
        x = CASES["pcd"][1]

        def stop(comm):
            rbm = model({}, n_iter=4, callbacks=[Checkpoint(path)])
            try:
                with interrupt_at(9) if comm.rank == 1 else nullcontext():
                    rbm.fit(part(x, comm.rank, comm.size), comm=comm)
            except KeyboardInterrupt as error:
                return [str(error), rbm._training.update]

        def go_on(comm):
            def end(progress):
                return progress.state.epoch == 3 and comm.rank == 1

            rbm = model({}, n_iter=4, callbacks=[Checkpoint(path, resume=True), end])
            rbm.fit(part(x, comm.rank, comm.size), comm=comm)
            return [digest(rbm), rbm.n_iter_]

        return [self.on(3, stop), self.on(2, go_on)]

    def refused(self, folder):
        """Sentences of what cannot be, on each of two ranks."""
        path = os.path.join(folder, "other")

        def fit(x, weight=None, **options):
            def work(comm):
                rows, mine = x(comm.rank), {k: v(comm.rank) for k, v in options.items()}
                model({}, **mine).fit(rows, sample_weight=weight, comm=comm)

            return lambda: self.on(2, work)

        def always(value):
            return lambda rank: value

        cases = {
            "columns": fit(lambda rank: X[:, rank:]),
            "type": fit(lambda rank: X.astype((np.float32, np.float64)[rank])),
            "empty": fit(lambda rank: X[: 30 * rank]),
            "values": fit(lambda rank: X + 3 * rank),
            "nan": fit(lambda rank: X * np.array([np.nan, 1])[rank]),
            "arguments": fit(always(X), n_gibbs=lambda rank: 1 + rank),
            "adam": fit(always(X), optimizer=always("adam")),
            "gaussian": fit(always(X), visible=always("gaussian")),
            "weights": fit(always(X), np.ones(len(X))),
            "checkpoint": fit(always(X), callbacks=lambda rank: [Checkpoint(path)]),
        }
        if self.all.rank == 0:
            model({}, callbacks=[Checkpoint(path)], n_iter=1).fit(X)
        return {name: work() for name, work in cases.items()}

    def command(self, folder):
        """What the command says to all ranks of too few rows."""
        path = os.path.join(folder, "x.npy")
        if self.all.rank == 0:
            np.save(path, X[:3])

        def work(comm):
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                status = cli.main(["train", path, "--output", os.devnull, "--mpi", "--json"])
            return status, out.getvalue(), err.getvalue()

        return self.on(N_RANKS, work)


def fail(progress):
    """An error."""
    if progress.state.epoch == 2:
        raise OSError("no such luck")


def die(progress):
    """The end of this process, as the system's killer of large processes makes it."""
    if progress.state.epoch == 4:
        os.kill(os.getpid(), signal.SIGKILL)


def end_by(callback, comm, path):
    """A training that one rank's callback ends for all."""
    callbacks = [Checkpoint(path, every=1)]
    if comm.rank == 1:
        callbacks.append(callback)
    rbm = model({}, n_iter=6, callbacks=callbacks)
    rbm.fit(part(X, comm.rank, comm.size), comm=comm)


def main():
    what, folder = sys.argv[1:]
    program = Program()
    if what == "die":
        end_by(die, program.all, os.path.join(folder, "c.fbm"))
    # All else, in one run; then an error of one rank, which ends it.
    said = {
        "bytes": program.bytes(),
        "machines": program.machines(),
        "grey": program.grey(),
        "watched": program.watched(folder),
        "resumed": program.resumed(folder),
        "refused": program.refused(folder),
        "command": program.command(folder),
        "ended": time.time(),
    }
    if program.all.rank == 0:
        print(json.dumps(said), flush=True)
    end_by(fail, program.all, os.path.join(folder, "failed.fbm"))


if __name__ == "__main__":
    main()
