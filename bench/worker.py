"""The side of a peer that lives in an environment of its own: one JSON line in, one line out.

Only the standard library is imported here, so that any interpreter can run it. A peer's script,
``peer_<name>.py``, names its cases as in `cases.CASES` and calls `serve`; `run.py --peer` starts
it and takes its repeats in turn with ours.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping

#: Sets a case up for a number of threads and returns the work, as much as ours does in a call.
Prepare = Callable[[int], Callable[[], object]]


def serve(cases: Mapping[str, Prepare], versions: Mapping[str, str]) -> None:
    """Answer questions until the input ends.

    Parameters
    ----------
    cases : dict
        Name of a case -> what prepares it.
    versions : dict
        Package -> version.
    """
    out, sys.stdout = sys.stdout, sys.stderr
    ready: tuple[str, int] | None = None
    call: Callable[[], object] = _nothing

    def say(answer: dict) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    say({"cases": list(cases), "versions": dict(versions)})
    for line in sys.stdin:
        asked = json.loads(line)
        if ready != (asked["case"], asked["threads"]):
            call = cases[asked["case"]](asked["threads"])
            ready = asked["case"], asked["threads"]
            # Compilers that watch the first calls are done after these.
            for _ in range(3):
                call()
        call()
        begin = time.perf_counter()
        for _ in range(asked["calls"]):
            call()
        say({"seconds": (time.perf_counter() - begin) / asked["calls"]})


def _nothing() -> None:
    """Placeholder until a case is prepared."""
