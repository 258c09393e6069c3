"""Ways to take a measurement: in this process, in a fresh one, or in a peer's environment.

A contender has one method, ``measure(calls)``: the mean of so many calls, in seconds (or what the
case counts in). All contenders of a case do the same work in a call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

#: Seconds after which the idle workers of another pool of threads have stopped spinning (OpenBLAS's
#: spin for some 30 ms, libgomp's for a few).
SETTLE = 0.06


class Contender(Protocol):
    """What takes measurements."""

    def measure(self, calls: int) -> float:
        """Mean of ``calls`` calls."""


@dataclass
class Local:
    """A function of this process, timed in a loop after one call that is not.

    Parameters
    ----------
    call : callable
        The work.
    """

    call: Callable[[], Any]

    def measure(self, calls: int) -> float:
        """Seconds of a call."""
        time.sleep(SETTLE)
        self.call()
        begin = time.perf_counter()
        for _ in range(calls):
            self.call()
        return (time.perf_counter() - begin) / calls


@dataclass
class Fresh:
    """Code that is run by a fresh interpreter.

    Parameters
    ----------
    code : str
    threads : int
        Threads that the process may use.
    prints : bool
        The code prints its figure, instead of being timed from the start of the interpreter to
        its end.
    """

    code: str
    threads: int
    prints: bool = False

    def measure(self, calls: int) -> float:
        """Wall seconds of the process, or what it prints."""
        return sum(self._run() for _ in range(calls)) / calls

    def _run(self) -> float:
        n = str(self.threads)
        env = {**os.environ, "OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n}
        # As after an installation: modules are compiled to bytecode once, not in each process.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-P", "-c", self.code], env=env, check=True, capture_output=True
        )
        wall = time.perf_counter() - begin
        return float(done.stdout.split()[-1]) if self.prints else wall


class Remote:
    """A case of a peer that lives in an environment of its own (see `worker.serve`).

    Parameters
    ----------
    peer : Worker
    case : str
    threads : int
    """

    def __init__(self, peer: Worker, case: str, threads: int) -> None:
        self.peer = peer
        self.case = case
        self.threads = threads

    def measure(self, calls: int) -> float:
        """Seconds of a call, taken by the worker while this process waits."""
        time.sleep(SETTLE)
        asked = {"case": self.case, "threads": self.threads, "calls": calls}
        return float(self.peer.ask(asked)["seconds"])


class Worker:
    """A peer's worker process.

    Parameters
    ----------
    name : str
        ``peer_<name>.py`` of this folder is what runs.
    python : str
        Interpreter of the environment where the peer is installed.
    """

    def __init__(self, name: str, python: str) -> None:
        self.name = name
        script = Path(__file__).with_name(f"peer_{name}.py")
        self._process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        hello = self._answer()
        self.cases: list[str] = hello["cases"]
        self.versions: dict[str, str] = hello["versions"]

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Send one line, wait for one."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {self.name} has ended; see its messages above.")
        return json.loads(line)


@cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401  (its BLAS, like NumPy's, must be loaded to be found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """Hold NumPy's and SciPy's BLAS at ``n`` threads."""
    with _controller().limit(limits=n, user_api="blas"):
        yield


def blas_kernels() -> list[str]:
    """Libraries that multiply here, and for which processor they have chosen their kernels."""
    found = (i for i in _controller().info() if i["user_api"] == "blas")
    return sorted(f"{i['internal_api']} {i['version']} ({i.get('architecture')})" for i in found)
