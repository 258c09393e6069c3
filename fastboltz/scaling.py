r"""How the update of an RBM scales with threads or ranks: measuring, and a model of the cost.

`measure_threads` and `measure_ranks` time the training that `fastboltz.RBM` makes (PCD-1 on binary
rows), with a minibatch of fixed size (*strong* scaling) and with fixed rows for each worker (*weak*
scaling). A worker is a thread of one process, or a rank of MPI (`fastboltz.distributed`).

`CostModel` is fitted to the measured times:

.. math::

    t = a \frac{B}{R} + f + \frac{2 (R - 1)}{R} \frac{n}{w} + l \log_2 R

seconds of an update with minibatches of :math:`B` rows on :math:`R` workers, where :math:`a` is the
computing of a row, :math:`f` what every worker does whatever its rows (such as adding the update to
the weights), :math:`n` the bytes of statistics that are added up over the ranks, :math:`w` the
bandwidth and :math:`l` the latency. A rank sends :math:`(R - 1) / R` times the :math:`n` bytes of
statistics, and of about as many bytes of weights, and waits for :math:`\log_2 R` others, one after
the other (Thakur, Rabenseifner & Gropp, "Optimization of collective communication operations in
MPICH", 2005). Threads share their memory: of them :math:`n` and :math:`l` are 0.

Among what is measured, but not part of the model, are the rows that are dealt out once a pass.
"""

from __future__ import annotations

import platform
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from . import distributed, threads
from .config import config
from .validation import check_count, check_number

#: Rounds in which every size is timed once, whatever the seconds.
_MIN_ROUNDS, _MAX_ROUNDS = 3, 25
#: Updates of a timed pass over the rows, and the most rows of one.
_MIN_UPDATES, _MAX_UPDATES, _MAX_ROWS = 2, 64, 100_000
#: Exchanges of ranks that are timed together, and units of a model of which they are latency alone.
_SUMS, _FEW_UNITS = 10, (1, 1)
#: Share of pixels of the generated rows that are on.
_ON = 0.2
#: In place of a number of ranks: a process that has no communicator.
_ALONE = 0
#: Largest error, by the time measured, of a model that is worth predicting with.
_TOLERABLE = 0.25

#: (Workers, rows) -> times updates, as many as it is told.
Works = dict[tuple[int, int], Callable[[int], float]]
#: (Ranks, bytes) -> times exchanges between ranks.
Sums = dict[tuple[int, int], Callable[[], float]]


@dataclass(frozen=True)
class Run:
    """One size, and its seconds in every round.

    Attributes
    ----------
    workers : int
        Threads or ranks.
    rows : int
        Of a minibatch, over all workers; 0 where ranks added up statistics and gave out weights,
        and nothing else was done.
    n_bytes : int
        Of what is added up over the ranks; 0 where nothing is.
    seconds : tuple of float
        Of an update (of a sum), one a round. The k-th of all runs were timed one after the other.
    """

    workers: int
    rows: int
    n_bytes: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class CostModel:
    """Seconds of an update, from four coefficients.

    Attributes
    ----------
    compute : float
        Seconds for each row that a worker has.
    fixed : float
        Seconds of what every worker does whatever its rows.
    per_byte : float
        Seconds a byte that a rank sends: 1 / bandwidth. NaN where no communication was measured.
    latency : float
        Seconds for each doubling of the ranks. NaN where no communication was measured.
    error : float
        Largest error of the model by the time measured, over the runs that it was fitted to.
    """

    compute: float
    fixed: float
    per_byte: float = np.nan
    latency: float = np.nan
    error: float = np.nan

    @classmethod
    def fit(cls, runs: Sequence[Run]) -> CostModel:
        """Non-negative least squares of the errors relative to each run's median.

        Parameters
        ----------
        runs : sequence of Run

        Returns
        -------
        CostModel

        Raises
        ------
        ValueError
            If the runs do not tell the coefficients apart.
        """
        from scipy.optimize import nnls

        measured = np.array([run.median for run in runs])
        if not (len(runs) and np.all(measured > 0)):
            raise ValueError("the model of the cost is fitted to runs whose seconds are above 0.")
        columns = np.array(
            [
                (run.rows / run.workers, float(run.rows > 0), *_traffic(run.workers, run.n_bytes))
                for run in runs
            ]
        )
        used = columns.any(axis=0)
        design = columns[:, used] / measured[:, None]
        scale = np.linalg.norm(design, axis=0)
        if np.linalg.matrix_rank(design / scale) < used.sum():
            raise ValueError(
                "these runs do not tell computing, fixed work, bandwidth and latency apart; "
                "measure two sizes of minibatches with one worker, and exchanges of few and "
                "of many bytes."
            )
        found = np.full(4, np.nan)
        found[used] = nnls(design / scale, np.ones(len(runs)))[0] / scale
        error = float(np.abs(design @ found[used] - 1).max())
        compute, fixed, per_byte, latency = found.tolist()
        return cls(compute, fixed, per_byte, latency, error)

    @property
    def has_network(self) -> bool:
        """Whether it knows what communication costs."""
        return not (np.isnan(self.per_byte) or np.isnan(self.latency))

    def with_network(self, bandwidth: float, latency: float) -> CostModel:
        """The same machines on another network.

        Parameters
        ----------
        bandwidth : float
            Bytes a second that a rank sends.
        latency : float
            Seconds for each doubling of the ranks.
        """
        bandwidth = check_number("bandwidth", bandwidth, 0, strict=True)
        return replace(self, per_byte=1 / bandwidth, latency=check_number("latency", latency, 0))

    def communication(self, workers: Any, n_bytes: int) -> np.ndarray:
        """Seconds of the exchange between ranks.

        Parameters
        ----------
        workers : int or array of int
        n_bytes : int
            Of what is added up.
        """
        sent, doublings = _traffic(workers, n_bytes)
        with np.errstate(invalid="ignore"):
            return np.where(sent > 0, sent * self.per_byte + doublings * self.latency, 0.0)

    def seconds(self, rows: Any, workers: Any, n_bytes: int = 0) -> np.ndarray:
        """Seconds of an update.

        Parameters
        ----------
        rows : int or array of int
            Of the minibatch, over all workers.
        workers : int or array of int
        n_bytes : int
            Of what is added up over the ranks; 0 for threads.

        Returns
        -------
        ndarray
        """
        own = self.compute * np.asarray(rows) / np.asarray(workers) + self.fixed
        return own + self.communication(workers, n_bytes)

    def half(self, rows: int, n_bytes: int) -> int | None:
        """Fewest ranks of which half the time of an update is communication.

        Parameters
        ----------
        rows : int
            Of the minibatch, over all ranks.
        n_bytes : int

        Returns
        -------
        int or None
            None if it is less at every number of ranks up to one for each row.
        """
        ranks = np.arange(1, rows + 1)
        share = self.communication(ranks, n_bytes) / self.seconds(rows, ranks, n_bytes)
        at = np.flatnonzero(share >= 0.5)
        return int(ranks[at[0]]) if len(at) else None

    def fastest(self, rows: int, n_bytes: int) -> int:
        """Ranks, up to one for each row, at which an update takes the least time.

        Parameters
        ----------
        rows : int
            Of the minibatch, over all ranks.
        n_bytes : int
        """
        return 1 + int(np.argmin(self.seconds(rows, np.arange(1, rows + 1), n_bytes)))


def _traffic(workers: Any, n_bytes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Bytes that a rank sends for a sum of ``n_bytes``, and messages it waits for in turn."""
    workers = np.asarray(workers, dtype=float)
    talks = (workers > 1) & (np.asarray(n_bytes) > 0)
    return (
        np.where(talks, 2 * (workers - 1) / workers * n_bytes, 0.0),
        np.where(talks, np.log2(workers), 0.0),
    )


@dataclass(frozen=True)
class Scaling:
    """What was measured.

    Attributes
    ----------
    unit : {"thread", "rank"}
        What a worker is.
    n_visible, n_hidden, batch_size : int
        Units, and rows of a minibatch: in all for strong scaling, of each worker for weak scaling.
    n_threads : int
        Of each rank; 1 where the workers are threads.
    updates : int
        Of each timed pass over rows.
    runs : tuple of Run
    alone : Run or None
        Where ranks were measured, one process without a communicator.
    machine : dict
        What `fastboltz.show_config` prints of the first process, and what is known of the others.
    """

    unit: str
    n_visible: int
    n_hidden: int
    batch_size: int
    n_threads: int
    updates: int
    runs: tuple[Run, ...]
    alone: Run | None
    machine: dict[str, Any]

    @property
    def n_bytes(self) -> int:
        """Bytes of statistics that an update adds up over ranks."""
        return distributed.statistics_bytes(self.n_visible, self.n_hidden)

    @property
    def is_crowded(self) -> bool:
        """Whether there were more threads than cores, which then took turns."""
        return self.workers()[-1] * self.n_threads > int(self.machine["cores"])

    def workers(self) -> list[int]:
        """Numbers of threads or ranks that were measured."""
        return sorted({run.workers for run in self.runs})

    def run(self, workers: int, rows: int) -> Run:
        """The run of a size."""
        return next(r for r in self.runs if (r.workers, r.rows) == (workers, rows))

    def table(self, kind: str) -> list[dict[str, Any]]:
        """Strong or weak scaling, a row for each number of workers.

        Parameters
        ----------
        kind : {"strong", "weak"}

        Returns
        -------
        list of dict
            ``workers``, ``rows`` (of the minibatch), ``seconds`` (of an update, median),
            ``rows_per_second``, ``speed_up`` (of rows a second over the fewest workers measured;
            median over the rounds of the quotients within each) and ``efficiency`` (speed-up by
            the quotient of workers).
        """
        counts = self.workers()
        first = self.run(counts[0], self._rows(kind, counts[0]))
        found = []
        for n in counts:
            run = self.run(n, self._rows(kind, n))
            work = run.rows / first.rows
            speed_up = work * statistics.median(
                one / many for one, many in zip(first.seconds, run.seconds, strict=True)
            )
            found.append(
                {
                    "workers": n,
                    "rows": run.rows,
                    "seconds": run.median,
                    "rows_per_second": run.rows / run.median,
                    "speed_up": speed_up,
                    "efficiency": speed_up * counts[0] / n,
                }
            )
        return found

    def _rows(self, kind: str, workers: int) -> int:
        return self.batch_size * (workers if kind == "weak" else 1)

    def model(self, bandwidth: float | None = None, latency: float | None = None) -> CostModel:
        """The model of the cost, of machines that are each what was measured on one.

        Where ranks were measured, a worker of the model is a rank. Where threads were, it is a
        machine with the most threads that were measured.

        Parameters
        ----------
        bandwidth, latency : float, optional
            Those of a network, in place of what was measured: bytes a second, and seconds.
        """
        model = CostModel.fit(self.runs)
        if self.unit == "thread":
            model = replace(model, compute=model.compute / self.workers()[-1])
        if bandwidth is not None and latency is not None:
            model = model.with_network(bandwidth, latency)
        return model

    def predict(self, model: CostModel, workers: Sequence[int]) -> list[dict[str, Any]]:
        """Strong and weak scaling as a model has them, one entry for each number of machines.

        Parameters
        ----------
        model : CostModel
            That of `model`.
        workers : sequence of int

        Returns
        -------
        list of dict
            ``workers``, and under ``strong`` and ``weak`` ``seconds``, ``speed_up`` over one,
            ``efficiency`` and the share of the time that is ``communication``.
        """
        out: list[dict[str, Any]] = []
        for n in workers:
            entry: dict[str, Any] = {"workers": int(n)}
            for kind in ("strong", "weak"):
                rows = self._rows(kind, n)
                seconds = float(model.seconds(rows, n, self.n_bytes))
                one = float(model.seconds(self.batch_size, 1))
                speed_up = rows / self.batch_size * one / seconds
                entry[kind] = {
                    "seconds": seconds,
                    "speed_up": speed_up,
                    "efficiency": speed_up / n,
                    "communication": float(model.communication(n, self.n_bytes)) / seconds,
                }
            out.append(entry)
        return out

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self) | {
            "n_bytes": self.n_bytes,
            "is_crowded": self.is_crowded,
            "strong": self.table("strong"),
            "weak": self.table("weak"),
        }


def counts(most: int) -> list[int]:
    """1, 2, 4 and so on, and the most."""
    return sorted({2**k for k in range(int(most).bit_length())} | {int(most)})


def measure_threads(
    workers: Sequence[int] | None = None,
    *,
    n_visible: int = 784,
    n_hidden: int = 500,
    batch_size: int = 1024,
    seconds: float = 5.0,
) -> Scaling:
    """Time the update with several numbers of threads.

    Parameters
    ----------
    workers : sequence of int, optional
        Numbers of threads; the default is `counts` of the cores that the process may use.
    n_visible, n_hidden : int
        Binary units.
    batch_size : int
        Rows of a minibatch, as many as there are persistent chains: in all (strong scaling), and
        of each thread (weak scaling).
    seconds : float
        About what the timed rounds take; at least three are made.

    Returns
    -------
    Scaling
    """
    if workers is None:
        workers = counts(threads.resolve(None))
    workers = sorted({check_count("workers", n) for n in workers})
    if not workers:
        raise ValueError("workers is empty; give the numbers of threads to measure, e.g. [1, 2].")
    _check_sizes(n_visible, n_hidden, batch_size, workers[-1], "thread")
    check_number("seconds", seconds, 0)

    def update(n: int, rows: int, updates: int) -> float:
        return _seconds_of_update(n_visible, n_hidden, rows, updates, n, None)

    works: Works = {size: partial(update, *size) for size in _sizes(workers, batch_size)}
    updates, found = _in_turns(works, {}, seconds, lambda value: value, batch_size * workers[-1])
    runs = tuple(Run(n, rows, 0, times) for (n, rows), times in found.items())
    machine = config() | {"cores": threads.available(), "machines": 1}
    return Scaling("thread", n_visible, n_hidden, batch_size, 1, updates, runs, None, machine)


def measure_ranks(
    comm: Any,
    *,
    n_visible: int = 784,
    n_hidden: int = 500,
    batch_size: int = 1024,
    n_threads: int = 1,
    seconds: float = 5.0,
) -> Scaling:
    """Time the update on the first ranks of a communicator, 1, 2, 4 and so on, and on all.

    Also timed is the exchange between ranks alone, of an update's statistics and weights and of
    those of two units.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        All its ranks call this, with the same arguments.
    n_visible, n_hidden, batch_size, seconds
        As of `measure_threads`, with ranks for threads.
    n_threads : int
        Threads of each rank.

    Returns
    -------
    Scaling
        The same on every rank.
    """
    _check_sizes(n_visible, n_hidden, batch_size, comm.size, "rank")
    check_count("n_threads", n_threads)
    check_number("seconds", seconds, 0)
    n_bytes = distributed.statistics_bytes(n_visible, n_hidden)
    with ExitStack() as stack:
        stack.enter_context(distributed.together(comm))
        groups: dict[int, Any] = {}
        for n in counts(comm.size):
            groups[n] = comm.Split(0 if comm.rank < n else 1, comm.rank)
            stack.callback(groups[n].Free)

        def update(n: int, rows: int, updates: int) -> float:
            _meet(comm)
            mine = 0.0
            if comm.rank < max(n, 1):
                part = groups.get(n)
                mine = _seconds_of_update(n_visible, n_hidden, rows, updates, n_threads, part)
            _meet(comm)
            return max(comm.allgather(mine))

        units = {
            distributed.statistics_bytes(*pair): pair
            for pair in (_FEW_UNITS, (n_visible, n_hidden))
        }

        def add_up(n: int, size: int) -> float:
            _meet(comm)
            mine = _seconds_of_exchange(groups[n], *units[size]) if comm.rank < n else 0.0
            _meet(comm)
            return max(comm.allgather(mine))

        works: Works = {size: partial(update, *size) for size in _sizes(list(groups), batch_size)}
        works[_ALONE, batch_size] = partial(update, _ALONE, batch_size)
        sums: Sums = {
            (n, size): partial(add_up, n, size) for n in groups if n > 1 for size in units
        }
        updates, found = _in_turns(works, sums, seconds, comm.bcast, batch_size * comm.size)
        alone = Run(1, batch_size, 0, found[_ALONE, batch_size])
        runs = [
            Run(n, rows, n_bytes if n > 1 else 0, found[n, rows])
            for n, rows in works
            if n != _ALONE
        ]
        runs += [Run(n, 0, size, found[n, -size]) for n, size in sums]
        places = comm.allgather((platform.node(), tuple(sorted(distributed.usable_cores()))))
        machines = {node for node, _ in places}
        machine = config() | {
            "cores": sum(
                len(set().union(*(cores for node, cores in places if node == one)))
                for one in machines
            ),
            "machines": len(machines),
            "mpi": distributed.library(),
        }
        machine = comm.bcast(machine)
    return Scaling(
        "rank", n_visible, n_hidden, batch_size, n_threads, updates, tuple(runs), alone, machine
    )


def _check_sizes(n_visible: int, n_hidden: int, batch_size: int, most: int, unit: str) -> None:
    check_count("n_visible", n_visible)
    check_count("n_hidden", n_hidden)
    check_count("batch_size", batch_size, minimum=4)
    if batch_size < most:
        raise ValueError(
            f"batch_size is {batch_size}, but there are {most} {unit}s; give each {unit} a row of "
            f"the minibatch at least."
        )


def _sizes(workers: Sequence[int], batch_size: int) -> list[tuple[int, int]]:
    """(Workers, rows of a minibatch) to be timed, each once."""
    sizes = [(n, batch_size) for n in workers] + [(n, n * batch_size) for n in workers]
    # With a quarter of the rows, to tell the computing of rows from the fixed work.
    return list(dict.fromkeys([*sizes, (workers[0], batch_size // 4)]))


def _in_turns(
    works: Works,
    sums: Sums,
    seconds: float,
    agreed: Callable[[Any], Any],
    most_rows: int,
) -> tuple[int, dict[tuple[int, int], tuple[float, ...]]]:
    """Updates of a pass, and the seconds of every size, timed in turns.

    Parameters
    ----------
    works : Works
    sums : Sums
    seconds : float
    agreed : callable
        Gives every rank what the first one has.
    most_rows : int
        Of a minibatch.
    """
    # Unmeasured: code and memory are touched for the first time.
    once = sum(work(_MIN_UPDATES) for work in works.values())
    for add_up in sums.values():
        add_up()
    # A timed pass comes after another one, so that a round is two passes of every size.
    wanted = int(seconds / max(2 * _MIN_ROUNDS * once, 1e-9))
    updates = max(_MIN_UPDATES, min(wanted, _MAX_UPDATES, _MAX_ROWS // most_rows))
    updates = agreed(updates)
    found: dict[tuple[int, int], list[float]] = {}
    end = time.perf_counter() + seconds
    for number in range(_MAX_ROUNDS):
        if agreed(number >= _MIN_ROUNDS and time.perf_counter() > end):
            break
        for size, work in works.items():
            found.setdefault(size, []).append(work(updates))
        for (n, n_bytes), add_up in sums.items():
            found.setdefault((n, -n_bytes), []).append(add_up())
    return updates, {key: tuple(x) for key, x in found.items()}


def _seconds_of_update(
    n_visible: int, n_hidden: int, rows: int, updates: int, n_threads: int, comm: Any
) -> float:
    """Seconds of an update within the second pass over generated rows."""
    from .models import RBM

    n = rows * updates
    share = slice(0, n)
    if comm is not None:
        share = slice(n * comm.rank // comm.size, n * (comm.rank + 1) // comm.size)
    random = np.random.default_rng(share.start)
    shape = (share.stop - share.start, n_visible)
    X = (random.random(shape, dtype=np.float32) < _ON).astype(np.uint8)
    rbm = RBM(n_hidden, batch_size=rows, n_iter=2, n_threads=n_threads, random_state=0)
    rbm.fit(X, comm=comm)
    first, both = rbm.history_["seconds"]
    return float(both - first) / updates


def _seconds_of_exchange(comm: Any, n_visible: int, n_hidden: int) -> float:
    """Seconds that ranks take to add up the statistics of an update and to give out its weights."""
    with distributed.together(comm) as ranks:
        exchange = ranks.exchange(n_visible, n_hidden)
        sums = exchange.common[0][: distributed.statistics_bytes(n_visible, n_hidden) // 4]
        begin = 0.0
        for k in range(_SUMS + 1):  # the first is not measured
            begin = begin if k > 1 else time.perf_counter()
            exchange.add_up(sums)
            exchange.spread()
        return (time.perf_counter() - begin) / _SUMS


def _meet(comm: Any) -> None:
    """Wait for all ranks asleep: one that spins would take the time of those that work."""
    all_here = comm.Ibarrier()
    while not all_here.Test():
        time.sleep(0.0005)


# -- what is said ----------------------------------------------------------------------------------


def describe(scaling: Scaling, model: CostModel, *, given_network: bool = False) -> str:
    """Tables and sentences of ``fastboltz bench scaling``.

    Parameters
    ----------
    scaling : Scaling
    model : CostModel
        Of ``scaling.model()``.
    given_network : bool
        Whether the network's figures are given, not measured.
    """
    return "\n".join(_lines(scaling, model, given_network))


def _lines(scaling: Scaling, model: CostModel, given_network: bool) -> Iterator[str]:
    unit, machine = scaling.unit, scaling.machine
    rounds = len(scaling.runs[0].seconds)
    yield (
        f"PCD-1 of an RBM of {scaling.n_visible} x {scaling.n_hidden} units on binary rows; "
        f"medians of {rounds} rounds"
    )
    most = _count(scaling.workers()[-1], unit)
    if unit == "rank":
        most += f" of {_count(scaling.n_threads, 'thread')}"
    yield (
        f"{machine['machine']}, {machine['kernel']} kernel; up to {most} on "
        f"{_count(machine['cores'], 'core')} of {_count(machine['machines'], 'machine')}"
    )
    if scaling.is_crowded:
        yield (
            f"There are {scaling.workers()[-1] * scaling.n_threads} threads for "
            f"{_count(machine['cores'], 'core')}: they take turns, so neither the "
            f"tables\nnor the model say anything about scaling."
        )
    titles = {
        "strong": f"Strong scaling: {scaling.batch_size:,} rows in a minibatch",
        "weak": f"Weak scaling: {scaling.batch_size:,} rows for each {unit}",
    }
    for kind, title in titles.items():
        yield f"\n{title}\n"
        yield (
            f"{unit + 's':>10}{'rows':>10}{'ms':>11}{'rows/s':>12}{'speed-up':>10}"
            f"{'efficiency':>12}"
        )
        for row in scaling.table(kind):
            yield (
                f"{row['workers']:10,}{row['rows']:10,}{1e3 * row['seconds']:11.3f}"
                f"{row['rows_per_second']:12,.0f}{row['speed_up']:10.2f}{row['efficiency']:12.0%}"
            )
    if scaling.alone is not None:
        yield (
            f"\nOne process without ranks takes {1e3 * scaling.alone.median:.3f} ms for "
            f"{scaling.alone.rows:,} rows."
        )
    yield "\nCost of an update, fitted to these runs\n"
    yield f"  computing     {1e6 * model.compute:10.4g} us a row{_of_machine(scaling)}"
    yield f"  fixed work    {1e3 * model.fixed:10.4g} ms"
    if model.has_network:
        source = "given" if given_network else "measured"
        speed = f"{1e-9 / model.per_byte:10.4g} GB/s" if model.per_byte else "  not limiting"
        yield f"  bandwidth     {speed} ({source}; {scaling.n_bytes / 1e6:.3g} MB are added up)"
        yield f"  latency       {1e6 * model.latency:10.4g} us a doubling of the ranks ({source})"
    doubt = ":\n  too much to predict with; measure on an idle machine, for longer"
    yield (
        f"  The largest error of the model is {model.error:.0%} of a run's time"
        f"{doubt if model.error > _TOLERABLE else ''}."
    )
    yield ""
    yield from _predicted(scaling, model, given_network)


def _of_machine(scaling: Scaling) -> str:
    n = scaling.workers()[-1]
    return f" on {_count(n, 'thread')}" if scaling.unit == "thread" else " of a rank"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _predicted(scaling: Scaling, model: CostModel, given_network: bool) -> Iterator[str]:
    if not model.has_network:
        yield (
            "Threads share memory, so nothing is known here about a network. For many machines, "
            "measure\nranks (mpiexec -n 2 fastboltz bench scaling --mpi), or give the network's "
            "--bandwidth and --latency."
        )
        return
    what = "one rank each, " if scaling.unit == "rank" else ""
    threads_of = scaling.n_threads if scaling.unit == "rank" else scaling.workers()[-1]
    yield f"Predicted for machines with {what}{_count(threads_of, 'thread')}\n"
    yield (
        f"{'machines':>10}{'strong ms':>12}{'speed-up':>10}{'sending':>9}"
        f"{'weak ms':>12}{'speed-up':>10}{'sending':>9}"
    )
    for row in scaling.predict(model, counts(64)):
        strong, weak = row["strong"], row["weak"]
        yield f"{row['workers']:10}" + "".join(
            f"{1e3 * x['seconds']:12.3f}{x['speed_up']:10.2f}{x['communication']:9.0%}"
            for x in (strong, weak)
        )
    yield ""
    yield textwrap.fill(breaks(scaling, model), 96)
    if given_network:
        return
    if scaling.machine["machines"] == 1:
        yield (
            "Fitted to ranks of one machine: between machines a network takes the place of shared "
            "memory,\nwith less bandwidth and more latency, and ranks no longer share caches and "
            "memory. --bandwidth\nand --latency put a network's figures in."
        )
    else:
        yield (
            f"Fitted to ranks of {scaling.machine['machines']} machines: more of them may share "
            f"links that these do not,\nwhich the model does not know."
        )


def breaks(scaling: Scaling, model: CostModel) -> str:
    """Sentences that say at which number of ranks scaling ends.

    Parameters
    ----------
    scaling : Scaling
    model : CostModel
        One that has a network.
    """
    rows, n_bytes = scaling.batch_size, scaling.n_bytes
    half, best = model.half(rows, n_bytes), model.fastest(rows, n_bytes)
    what = "machines" if scaling.unit == "thread" else "ranks"
    text = f"With {rows:,} rows in a minibatch, "
    if half is None:
        text += f"communication takes less than half the time at every number of {what}, up "
        text += "to one a row"
    else:
        text += f"half the time is communication at {half:,} {what}"
    if best < rows:
        text += f", and more than {best:,} make an update slower"
    return f"{text}."


__all__ = [
    "CostModel",
    "Run",
    "Scaling",
    "breaks",
    "counts",
    "describe",
    "measure_ranks",
    "measure_threads",
]
