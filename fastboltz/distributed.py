"""Training on many processes, which exchange messages by MPI: ``RBM.fit(X_shard, comm=comm)``.

Each process (a *rank*) holds a shard of the rows. Rows and chains are numbered over all ranks, and
random numbers are addressed by these numbers. Before each pass the rows are dealt out, so that of
every minibatch each rank has an equal part; of the chains it has an equal part too. An update then
is: each rank sums up the statistics of its rows and chains, as integers; of a part of the hidden
units it has the sums added up over all ranks, and updates their weights; the weights go to all
ranks (`Exchange`). Sums of integers have no rounding, so on binary data the result has the same
bytes for every number of ranks, and is that of `fit` without ranks.

Ranks of one machine share memory: there they read each other's sums, and all have one copy of the
weights. Between machines go messages, of as many bytes as ``MPI_Allreduce`` of the statistics would
send: ``4 * n_visible * n_hidden`` bytes of statistics (each unit rounded up: visible ones to 32,
hidden ones to 8), twice as many where a minibatch has another number of rows than there are chains;
as many of weights, and an eighth of it for the biases of visible units. Of each a machine sends the
part ``1 - 1 / machines``. Everybody adds up ``8 * (n_visible + n_hidden)`` bytes for the biases. A
pass moves the rows once: a bit a binary unit, four bytes a real-valued one. Between passes every
rank has all chains, a bit a unit.

mpi4py is imported when a communicator is given.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fastboltz_ext import packed

from . import threads
from .training import Rows
from .validation import check_count

if TYPE_CHECKING:
    from types import ModuleType

T = TypeVar("T")

#: Seconds after which a rank that failed no longer waits to hear that all others did too.
_PATIENCE = 3.0
#: Environment variables in which those who start ranks (MPICH, Open MPI) say how many there are.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


def world() -> Any:
    """The communicator of all ranks that ``mpiexec`` started.

    Raises
    ------
    ModuleNotFoundError
        If mpi4py is not installed.
    RuntimeError
        If ``mpiexec`` belongs to another MPI than mpi4py, so that the ranks do not see each other.
    """
    comm = _mpi().COMM_WORLD
    started = started_ranks()
    if comm.size == 1 and started > 1:
        raise RuntimeError(
            f"mpiexec started {started} ranks, but mpi4py sees one: mpiexec belongs to another MPI "
            f"than mpi4py, which has {library()}. Start with the mpiexec of that one."
        )
    return comm


def library() -> str:
    """Name and version of the MPI that mpi4py has."""
    version: str = _mpi().Get_library_version()
    return " ".join(version.split("\n")[0].strip("\0 ").split())


def _mpi() -> ModuleType:
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ModuleNotFoundError(
            f"training on many ranks needs mpi4py and an MPI ({error}). "
            f"pip install 'fastboltz[mpi]' has both."
        ) from error
    return MPI


def started_ranks() -> int:
    """Ranks that ``mpiexec`` says it has started: 1 without it."""
    return max(int(os.environ.get(name, 1)) for name in _SIZES)


@contextmanager
def together(comm: Any) -> Iterator[Ranks]:
    """The ranks of a communicator, for one training. An error on one rank ends them all.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        It is duplicated: messages of others on it are not disturbed.

    Notes
    -----
    What is raised on every rank is raised. What is raised on one alone, where the others would wait
    for it for ever, is printed, and ends the whole job by ``MPI_Abort``.
    """
    ranks = Ranks(comm)
    try:
        yield ranks
    except BaseException as error:
        ranks.fail(error)
        raise
    finally:
        ranks.free()


class Ranks:
    """The processes of one training, as its parts see them.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and how many there are.
    """

    def __init__(self, comm: Any) -> None:
        self._comm, self._alarm = _checked(comm)
        self.rank: int = self._comm.rank
        self.size: int = self._comm.size
        self._mpi = _mpi()
        self._teams: Teams | None = None
        self._memory: Memory | None = None

    def __repr__(self) -> str:
        return f"<rank {self.rank} of {self.size}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of a model, made by a callback, has no part in the training.
        return _nobody, ()

    def free(self) -> None:
        """Give the duplicated communicators and the shared memory back."""
        if self._memory is not None:
            self._memory.free()
        if self._teams is not None:
            self._teams.free()
        self._comm.Free()
        self._alarm.Free()

    # -- when something goes wrong -------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """End the job, unless all ranks have failed (then each may raise its error)."""
        try:
            others = self._alarm.Ibarrier()
            end = time.monotonic() + _PATIENCE
            while time.monotonic() < end:
                if others.Test():
                    return
                time.sleep(0.001)
        except self._mpi.Exception:
            pass  # a rank is gone
        traceback.print_exception(error)
        print(
            f"fastboltz: rank {self.rank} of {self.size} stopped with {type(error).__name__}, and "
            f"the training cannot go on without it: all ranks end here. With a Checkpoint, it goes "
            f"on from the last save; the number of ranks may be another.",
            file=sys.stderr,
            flush=True,
        )
        self._comm.Abort(1)

    def agree(self, check: Callable[[], T]) -> T:
        """Do something that may fail on some ranks: then it fails on all, with the same sentence.

        Parameters
        ----------
        check : callable
            Sends no messages.

        Returns
        -------
        object
            What ``check`` returned on this rank.
        """
        mine: tuple[str, str] | None = None
        found: Any = None
        raised: Exception | None = None
        try:
            found = check()
        except Exception as error:
            raised = error
            mine = (_kind(error), str(error))
        told = self._comm.allgather(mine)
        failed = [(rank, one) for rank, one in enumerate(told) if one is not None]
        if not failed:
            return found
        rank, (kind, text) = failed[0]
        if raised is not None and len(failed) == self.size and len(set(told)) == 1:
            raise raised
        kinds = {"TypeError": TypeError, "FileExistsError": FileExistsError}
        raise kinds.get(kind, ValueError)(f"rank {rank} of {self.size}: {text}") from raised

    # -- small messages ------------------------------------------------------------------------

    def any(self, flag: bool) -> bool:
        """Whether it is true on some rank."""
        return bool(self._comm.allreduce(bool(flag), op=self._mpi.LOR))

    def all(self, flag: bool) -> bool:
        """Whether it is true on every rank."""
        return not self.any(not flag)

    def each(self, x: T) -> list[T]:
        """What every rank says, in their order."""
        return self._comm.allgather(x)

    def of_first(self, x: T) -> T:
        """What rank 0 says."""
        return self._comm.bcast(x)

    def copy_first(self, arrays: Sequence[np.ndarray]) -> None:
        """Overwrite arrays with those of rank 0."""
        for x in arrays:
            mine = np.ascontiguousarray(x)
            self._comm.Bcast(mine)
            x[...] = mine

    def largest(self, x: float) -> float:
        """The largest over all ranks."""
        return self._comm.allreduce(x, op=self._mpi.MAX)

    def add_up(self, x: np.ndarray) -> None:
        """Add an array up over all ranks, in place."""
        self._comm.Allreduce(self._mpi.IN_PLACE, x, op=self._mpi.SUM)

    def event(self, own: threading.Event) -> SharedEvent:
        """An event that is set where it is on some rank."""
        return SharedEvent(self, own)

    # -- machines ------------------------------------------------------------------------------

    @property
    def teams(self) -> Teams:
        """Ranks of this machine, and those of others that have its part of the hidden units."""
        if self._teams is None:
            self._teams = Teams.of(self._comm)
        return self._teams

    def memory(self, common: int, own: int) -> Memory:
        """Memory that ranks of one machine share; the same again, if the sizes are the same.

        Parameters
        ----------
        common, own : int
            Bytes for all of them together, and for each.
        """
        if self._memory is not None and self._memory.sizes != (common, own):
            self._memory.free()
            self._memory = None
        if self._memory is None:
            self._memory = Memory(self.teams.here, common, own)
        return self._memory

    def exchange(self, n_visible: int, n_hidden: int) -> Exchange:
        """For the updates of a training."""
        return Exchange(self, n_visible, n_hidden)

    def put_together(self, x: np.ndarray, ends: Sequence[int]) -> None:
        """Make an array whole on all ranks, of which each has some rows.

        Parameters
        ----------
        x : ndarray, C-contiguous
            In place.
        ends : sequence of int
            Of the rows that each rank has, one begin and end after the other.
        """
        width = int(np.prod(x.shape[1:]))
        counts = [width * (end - begin) for begin, end in zip(ends[::2], ends[1::2], strict=True)]
        kind = self._mpi._typedict[x.dtype.char]
        places = [width * begin for begin in ends[::2]]
        self._comm.Allgatherv(self._mpi.IN_PLACE, [x, counts, places, kind])

    # -- shares --------------------------------------------------------------------------------

    def share(self, n: int, rank: int | None = None) -> slice:
        """The part of ``n`` rows or chains that is a rank's (this one's): n / size, rounded."""
        rank = self.rank if rank is None else rank
        return slice(n * rank // self.size, n * (rank + 1) // self.size)

    def n_threads(self, wanted: int | None) -> int:
        """Threads of this rank: as wanted, or for None its part of the cores of its machine."""
        if wanted is not None:
            return check_count("n_threads", wanted)
        cores: list[set[int]] = self.teams.here.allgather(usable_cores())
        part = len(set().union(*cores)) // len(cores)
        return max(1, min(threads.resolve(None), part))

    def deal(self, own: np.ndarray, ends: np.ndarray, order: np.ndarray, batch: int) -> np.ndarray:
        """Hand each rank its part of every minibatch, from wherever the rows are.

        Parameters
        ----------
        own : ndarray of shape (n_own, width)
            Rows that this rank holds.
        ends : ndarray of int64, shape (size,)
            Number of the row behind the last that each rank holds.
        order : ndarray of int64
            Numbers of rows in the order of use, the same on every rank.
        batch : int
            Rows of a minibatch; the last may be shorter.

        Returns
        -------
        ndarray of shape (n, width)
            Of each minibatch the rows ``share(rows of the minibatch)``, one after the other.
        """
        place = np.arange(len(order))
        first = place // batch * batch
        rows = np.minimum(batch, len(order) - first)
        # the rank whose share holds this place
        to = ((place - first + 1) * self.size - 1) // rows
        at = np.searchsorted(ends, order, side="right")
        begin = ends[self.rank] - len(own)
        sent = np.flatnonzero(at == self.rank)
        sent = sent[np.argsort(to[sent], kind="stable")]
        got = np.flatnonzero(to == self.rank)
        by_rank = np.argsort(at[got], kind="stable")
        width = own.shape[1]
        kind = self._mpi._typedict[own.dtype.char].Create_contiguous(max(width, 1)).Commit()
        found = np.empty((len(got), width), dtype=own.dtype)
        self._comm.Alltoallv(
            [own[order[sent] - begin], np.bincount(to[sent], minlength=self.size), kind],
            [found, np.bincount(at[got], minlength=self.size), kind],
        )
        kind.Free()
        out = np.empty_like(found)
        out[by_rank] = found
        return out

    def gather(self, own: packed.Bits) -> packed.Bits:
        """Rows of bits of all ranks, one rank's after the other's."""
        n_words = own.words.shape[1]
        rows = own.words.transpose(0, 2, 1).reshape(-1, n_words)[: own.n_rows]
        parts = self._comm.allgather(np.ascontiguousarray(rows))
        rows = np.concatenate(parts)
        out = packed.Bits(len(rows), own.n_units, low=own.low)
        to = np.arange(len(rows))
        out.words[to // 16, :, to % 16] = rows
        return out

    # -- data ----------------------------------------------------------------------------------

    def check_shards(self, X: Any) -> None:
        """Raise a sentence, on every rank, where shards of data do not belong together."""
        shapes = self.each((int(X.shape[1]), str(X.dtype)))
        for rank, (columns, dtype) in enumerate(shapes):
            if (columns, dtype) != shapes[0]:
                raise ValueError(
                    f"X has {shapes[0][0]} columns of type {shapes[0][1]} on rank 0, but {columns} "
                    f"of type {dtype} on rank {rank}; expected shards of one table. Give every "
                    f"rank all columns of its rows, in the same type."
                )

    def check_same(self, name: str, given: Mapping[str, Any]) -> None:
        """Raise a sentence, on every rank, where one has other arguments than rank 0."""
        # What has no words of its own is shown with its place in memory.
        words = {k: re.sub(r" at 0x[0-9a-f]+", "", repr(x)) for k, x in given.items()}
        for rank, others in enumerate(found := self.each(words)):
            for k, word in found[0].items():
                if others.get(k) != word:
                    raise ValueError(
                        f"{name} has {k}={word} on rank 0, but {k}={others.get(k)} on rank {rank}; "
                        f"make the model with the same arguments on every rank."
                    )

    def whole(self, x: Any) -> tuple[tuple[int, ...], list[Any]]:
        """Shape of the table that shards make, and this rank's part of each array it consists of.

        Parameters
        ----------
        x : ndarray or CSR matrix
            This rank's rows.
        """
        shape = (sum(self.each(int(x.shape[0]))), *(int(k) for k in x.shape[1:]))
        if not hasattr(x, "indptr"):
            return shape, [x]
        before = sum(self.each(int(x.indptr[-1]))[: self.rank])
        pointers = (x.indptr + before)[min(self.rank, 1) :]  # the first is another rank's last
        return shape, [x.data, x.indices, pointers.astype(x.indptr.dtype)]

    def chain(self, add: Callable[[int], int], total: int) -> int:
        """A check sum that every rank in turn adds its part to; all hear the result."""
        if self.rank > 0:
            total = self._comm.recv(source=self.rank - 1)
        total = add(total)
        if self.rank < self.size - 1:
            self._comm.send(total, dest=self.rank + 1)
        return self._comm.bcast(total, root=self.size - 1)


class Teams:
    """Ranks that share a machine, and ranks that share a part of the hidden units.

    As many ranks of every machine as the one with the fewest has are *owners* of a part. The k-th
    owners of all machines have neighbouring parts.

    Attributes
    ----------
    here : mpi4py.MPI.Intracomm
        Ranks of this machine.
    across : mpi4py.MPI.Intracomm or None
        Of every machine the owner that this rank is on its own; None if it is none.
    n_machines, n_owners : int
        Owners are those of one machine.
    owners : list of int
        Part of each rank of the whole communicator, or -1.
    """

    def __init__(self, here: Any, across: Any, n_owners: int, n_machines: int) -> None:
        self.here, self.across = here, across
        self.n_owners, self.n_machines = n_owners, n_machines
        self.owners: list[int] = []

    @classmethod
    def of(cls, comm: Any) -> Teams:
        """Those of a communicator, whose ranks all call this."""
        mpi = _mpi()
        here = _ranks_of_machine(comm)
        n_owners = comm.allreduce(here.size, op=mpi.MIN)
        is_owner = here.rank < n_owners
        across = comm.Split(here.rank if is_owner else mpi.UNDEFINED, here.bcast(comm.rank))
        machines = here.bcast(across.size if is_owner else None)
        teams = cls(here, across if is_owner else None, n_owners, machines)
        mine = here.rank * machines + across.rank if is_owner else -1
        teams.owners = comm.allgather(mine)
        return teams

    def free(self) -> None:
        """Give the communicators back."""
        self.here.Free()
        if self.across is not None:
            self.across.Free()


def _ranks_of_machine(comm: Any) -> Any:
    return comm.Split_type(_mpi().COMM_TYPE_SHARED)


class Memory:
    """Memory that ranks of one machine share.

    Parameters
    ----------
    here : mpi4py.MPI.Intracomm
    common, own : int
        Bytes for all together, and for each.

    Attributes
    ----------
    common : ndarray of uint8
    own : list of ndarray of uint8
        Of each rank of ``here``.
    """

    def __init__(self, here: Any, common: int, own: int) -> None:
        self.sizes = common, own
        self._here = here
        line = 4096
        begin = -(-common // line) * line  # in the first rank's part, before its own
        size = -(-own // line) * line + (begin if here.rank == 0 else 0)
        self._window = _mpi().Win.Allocate_shared(size, 1, comm=here)
        self._window.Lock_all()
        parts = [
            np.frombuffer(self._window.Shared_query(rank)[0], dtype=np.uint8)
            for rank in range(here.size)
        ]
        self.common = parts[0][:common]
        self.own = [part[begin if rank == 0 else 0 :][:own] for rank, part in enumerate(parts)]

    def see(self) -> None:
        """What others wrote before they last met this rank is read from here on."""
        self._window.Sync()

    def meet(self) -> None:
        """Wait for all ranks of the machine, and see what they wrote."""
        self._window.Sync()
        self._here.Barrier()
        self._window.Sync()

    def free(self) -> None:
        """Give it back; the arrays must not be used any more."""
        self._window.Unlock_all()
        self._window.Free()


class Exchange:
    """What the ranks of a training of two groups of binary units tell each other in an update.

    All ranks make one at the same time, and call its methods at the same time.

    Parameters
    ----------
    ranks : Ranks
    n_visible, n_hidden : int

    Attributes
    ----------
    w : ndarray of float32, shape (n_hidden, n_visible)
        Weights, which ranks of one machine share.
    common : tuple
        As ``packed.PairLoop`` takes it.
    part : (int, int) or None
        The part of the hidden units, and of how many, whose weights this rank updates.
    """

    def __init__(self, ranks: Ranks, n_visible: int, n_hidden: int) -> None:
        self._ranks = ranks
        self._teams = teams = ranks.teams
        self._head, sums, activity = packed.shared_shapes(n_visible, n_hidden)
        self._panels = sums[0]
        shapes = {
            "w": ((n_hidden, n_visible), np.float32),
            "activity": (activity, np.float32),
            "gradient": ((self._panels, packed.PANEL), np.float32),
            "largest": ((self._panels, 16), np.uint32),
        }
        # Every array begins at a cache line.
        sizes = [4 * int(np.prod(shape)) for shape, _ in shapes.values()]
        starts = np.cumsum([0, *(-(-size // 64) * 64 for size in sizes)]).tolist()
        own = 4 * (self._head + 2 * sums[0] * sums[1])
        self._memory = ranks.memory(starts[-1], own)
        self.w, *rest = (
            self._memory.common[start : start + size].view(dtype).reshape(shape)
            for start, size, (shape, dtype) in zip(starts, sizes, shapes.values(), strict=False)
        )
        integers = [part.view(np.int32) for part in self._memory.own]
        self.common = (integers[teams.here.rank], *rest)
        #: Sums of each rank of this machine: (phase, panel, integers).
        self._sums = [x[self._head :].reshape(2, *sums) for x in integers]
        self.parts = teams.n_owners * teams.n_machines
        mine = teams.owners[ranks.rank]
        self.part = None if mine < 0 else (mine, self.parts)

    def _begin(self, part: int) -> int:
        """First panel of a part."""
        return self._panels * part // self.parts

    def _rows(self, part: int) -> tuple[int, int]:
        """First of the hidden units of a part, and that behind its last."""
        begin, end = (packed.PANEL * self._begin(k) for k in (part, part + 1))
        return min(begin, len(self.w)), min(end, len(self.w))

    def place(self, w: np.ndarray) -> np.ndarray:
        """Begin with some weights, the same on all ranks; returns the shared array."""
        self._memory.meet()  # nobody reads the last ones any more
        if self._teams.here.rank == 0:
            self.w[...] = w
        self._memory.meet()
        return self.w

    def add_up(self, sums: np.ndarray) -> None:
        """Add up over all ranks what stands before the sums of the weights, and those of a part.

        Parameters
        ----------
        sums : ndarray of int32
            What ``share`` of ``packed.PairLoop`` returned; in place.
        """
        # It returns when all ranks have made their sums.
        self._ranks.add_up(sums[: self._head])
        self._memory.see()
        teams = self._teams
        if self.part is None:
            return
        me, n = teams.here.rank, teams.n_machines
        phases = (len(sums) - self._head) // self._sums[0][0].size
        first = me * n  # of the parts that this machine adds up here
        of_all = np.s_[:phases, self._begin(first) : self._begin(first + n)]
        mine = self._sums[me][of_all]
        for rank, theirs in enumerate(self._sums):
            if rank != me:
                mine += theirs[of_all]
        if n == 1:
            return
        ends = [self._begin(first + k) for k in range(n + 1)]
        counts = [mine.shape[2] * size for size in np.diff(ends).tolist()]
        total = np.empty((counts[teams.across.rank] // mine.shape[2], mine.shape[2]), np.int32)
        begin = ends[teams.across.rank]
        for phase in range(phases):
            teams.across.Reduce_scatter(mine[phase], total, counts)
            self._sums[me][phase, begin : begin + len(total)] = total

    def spread(self) -> None:
        """Let all ranks have the weights that each has updated."""
        self._memory.see()
        teams = self._teams
        if self.part is not None and teams.n_machines > 1:
            mpi, first = _mpi(), teams.here.rank * teams.n_machines
            panels = [self._begin(first + k) for k in range(teams.n_machines + 1)]
            units = [self._rows(first + k) for k in range(teams.n_machines)]
            units_at = [begin for begin, _ in units] + [units[-1][1]]
            waiting = []
            for x in (self.w, *self.common[1:]):
                at = [x.shape[1] * row for row in (units_at if x is self.w else panels)]
                kind = mpi._typedict[x.dtype.char]
                to = [x, np.diff(at).tolist(), at[:-1], kind]
                waiting.append(teams.across.Iallgatherv(mpi.IN_PLACE, to))
            mpi.Request.Waitall(waiting)
        self._memory.meet()

    def put_together(self, x: np.ndarray) -> None:
        """Make an array whole on all ranks, of which each has the rows of its hidden units.

        Parameters
        ----------
        x : ndarray of shape (n_hidden, n)
        """
        ends: list[int] = []
        for part in self._teams.owners:
            ends.extend((0, 0) if part < 0 else self._rows(part))
        self._ranks.put_together(x, ends)


def statistics_bytes(n_visible: int, n_hidden: int, *, is_difference: bool = True) -> int:
    """Bytes of what an update adds up over all ranks.

    Parameters
    ----------
    n_visible, n_hidden : int
        Units.
    is_difference : bool
        Whether there are as many chains as rows in the minibatch: then the phases' difference alone
        is added up.
    """
    visible, hidden = -(-n_visible // 32) * 32, -(-n_hidden // 8) * 8
    biases = 2 * (visible + -(-n_hidden // 32) * 32)
    return 4 * (16 + biases + (1 if is_difference else 2) * visible * hidden)


class SharedRows(Rows):
    """Rows of one group, of which every rank holds a shard.

    Numbers of rows are those of all ranks, one rank's after the other's. All methods are called by
    every rank at the same time.

    Parameters
    ----------
    x : ndarray or CSR matrix of shape (n_rows of this rank, size)
    shape, dtype
        As of `Rows`.
    ranks : Ranks
    """

    ranks: Ranks

    def __init__(self, x: Any, shape: tuple[int, ...], dtype: Any, ranks: Ranks) -> None:
        super().__init__(x, shape, dtype)
        self.own = Rows(x, shape, dtype)
        self.ranks = ranks
        self.ends = np.cumsum(ranks.each(len(self.own)))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, rows: np.ndarray | slice) -> np.ndarray:
        """Values (n, *shape) of some rows, on every rank."""
        numbers = np.arange(len(self))[rows]
        at = np.searchsorted(self.ends, numbers, side="right")
        begin = self.ends[self.ranks.rank] - len(self.own)
        parts = self.ranks.each(self.own.take(numbers[at == self.ranks.rank] - begin))
        out = np.empty((len(numbers), *self.shape), dtype=self.dtype)
        for rank, part in enumerate(parts):
            out[at == rank] = part
        return out

    def bits(self, states: np.ndarray | None) -> np.ndarray | None:
        """Rows of this rank as bits, if those of all ranks can be."""
        words = self.own.bits(states)
        return words if self.ranks.all(words is not None) else None

    def plain(self, low: float, high: float) -> np.ndarray | None:
        """Rows of this rank as numbers, if those of all ranks can be."""
        x = self.own.plain(low, high)
        return x if self.ranks.all(x is not None) else None

    def _largest(self) -> float:
        return self.ranks.largest(self.own._largest())

    def _sums(self, units: tuple[float, float]) -> np.ndarray:
        total = self.own._sums(units)
        self.ranks.add_up(total)
        return total


class SharedEvent:
    """An event that is set where it is on some rank: all hear of it at the same place."""

    def __init__(self, ranks: Ranks, own: threading.Event) -> None:
        self.ranks = ranks
        self.own = own

    def is_set(self) -> bool:
        """Whether it is set on some rank; to be asked by every rank."""
        return self.ranks.any(self.own.is_set())


def _checked(comm: Any) -> tuple[Any, Any]:
    """Duplicates of a communicator, for messages and for alarms."""
    module = type(comm).__module__
    if not module.startswith("mpi4py"):
        raise TypeError(
            f"comm must be a communicator of mpi4py, such as mpi4py.MPI.COMM_WORLD; got {comm!r}."
        )
    mpi = _mpi()
    if not isinstance(comm, mpi.Intracomm) or comm == mpi.COMM_NULL:
        raise TypeError(
            f"comm must be a communicator within one group of ranks (mpi4py.MPI.Intracomm), and "
            f"this rank must be in it; got {comm!r}."
        )
    return comm.Dup(), comm.Dup()


def usable_cores() -> set[int]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))  # pragma: no cover - macOS and Windows


def _kind(error: Exception) -> str:
    return next(
        (k.__name__ for k in type(error).__mro__ if k in (TypeError, FileExistsError)), "ValueError"
    )


def _nobody() -> None:
    return None


__all__ = [
    "Exchange",
    "Memory",
    "Ranks",
    "SharedRows",
    "Teams",
    "library",
    "started_ranks",
    "statistics_bytes",
    "together",
    "usable_cores",
    "world",
]
