"""Side-by-side runner: all contenders of a case take turns, in one run; medians of paired ratios.

``python bench/run.py`` measures every case and writes ``RESULTS.md`` and ``results.json`` here.
Choices (``--cases``, ``--quick``) are for work on the code: they print, and write only where
``--output`` says.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from cases import BLAS, CASES, FLOOR, ONE_THREAD, OURS, SKLEARN, Case, Goal
from contenders import Contender, Remote, Worker, blas_kernels, blas_threads

HERE = Path(__file__).resolve().parent
#: Variables that choose what BLAS and OpenMP do; they belong to a result.
_SETTINGS = ("OPENBLAS_", "OMP_", "MKL_", "GOMP_", "KMP_", "BLIS_")
_FORCED = " (**BLAS kernels are forced: the floor need not be what this processor can do**)"
#: Load of the machine beyond which a run is not to be believed.
_QUIET = 0.5


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Parameters
    ----------
    repeats : int
        Rounds in which every contender has one turn.
    seconds : float
        Length of a turn.
    """

    repeats: int
    seconds: float


FULL = Plan(repeats=21, seconds=0.25)
QUICK = Plan(repeats=3, seconds=0.02)


# -- measuring -------------------------------------------------------------------------------------


def measure(
    case: Case, threads: int, plan: Plan, workers: Sequence[Worker] = ()
) -> dict[str, list[float]]:
    """Samples of every contender, in the unit of the case; sample i of all of them is one round."""
    with blas_threads(threads):
        contenders: dict[str, Contender] = {
            name: prepare(threads) for name, prepare in case.contenders.items()
        }
        for worker in workers:
            if case.name in worker.cases:
                contenders[worker.name] = Remote(worker, case.name, threads)
        calls = {name: case.calls or _calls(c, plan.seconds) for name, c in contenders.items()}
        samples: dict[str, list[float]] = {name: [] for name in contenders}
        names = list(contenders)
        order = np.random.default_rng(0)
        for _ in range(min(plan.repeats, case.repeats or plan.repeats)):
            for name in order.permutation(names):
                samples[name].append(case.scale * contenders[name].measure(calls[name]))
    return samples


def _calls(contender: Contender, seconds: float) -> int:
    """Calls that last about so long, judged by a short turn."""
    one = contender.measure(1)
    few = min(20, max(1, int(0.2 * seconds / one)))
    if few > 1:
        one = contender.measure(few)
    return max(1, round(seconds / one))


def summary(case: Case, threads: int, samples: Mapping[str, list[float]]) -> dict[str, Any]:
    """Medians, paired ratios and goals of one case, with every sample."""
    medians = {name: float(np.median(x)) for name, x in samples.items()}
    there = [name for name in BLAS if name in samples]
    floor = min(there, key=medians.__getitem__) if there else None
    ours = np.array(samples[OURS])
    ratios = {}
    if floor is not None:
        ratios[FLOOR] = _quartiles(ours / samples[floor])
    for name, x in samples.items():
        if name != OURS and name not in BLAS:
            ratios[name] = _quartiles(np.array(x) / ours)
    return {
        "case": case.name,
        "title": case.title,
        "unit": case.unit,
        "threads": threads,
        "median": medians,
        "floor": floor,
        "ratios": ratios,
        "goals": [_reached(goal, medians[OURS], ratios) for goal in case.goals],
        "remark": case.remark() if case.remark is not None else "",
        "samples": {name: [float(f"{s:.6g}") for s in x] for name, x in samples.items()},
    }


def _quartiles(x: np.ndarray) -> dict[str, float]:
    low, median, high = np.percentile(x, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def _reached(goal: Goal, ours: float, ratios: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    if not goal.against:
        figure: float | None = ours
    else:
        figure = ratios[goal.against]["median"] if goal.against in ratios else None
    reached = None
    if figure is not None:
        at_most = goal.against in ("", FLOOR)
        reached = figure <= goal.limit if at_most else figure >= goal.limit
    return {"against": goal.against, "limit": goal.limit, "figure": figure, "reached": reached}


# -- the machine -----------------------------------------------------------------------------------


def machine(workers: Sequence[Worker]) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.platform()
    affinity = getattr(os, "sched_getaffinity", None)
    packages = ("fastboltz", "numpy", "scipy", "scikit-learn", "threadpoolctl")
    versions = {name: _version(name) for name in packages}
    for worker in workers:
        versions |= worker.versions
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "usable cores": len(affinity(0)) if affinity else os.cpu_count(),
        "system": f"{system}, {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "blas": blas_kernels(),
        "settings": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_SETTINGS)},
        "load before": round(os.getloadavg()[0], 2),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def processor() -> str:
    """Model of the processor, with its widest vectors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found: dict[str, str] = {}
    for name, colon, value in (line.partition(":") for line in lines):
        if colon:
            found.setdefault(name.strip(), value.strip())
    flags = found.get("flags", "").split()
    widest = next((f for f in ("avx512f", "avx2", "avx") if f in flags), "no AVX")
    family = f"family {found.get('cpu family')}, model {found.get('model')}"
    return f"{found.get('model name')} ({family}, {widest})"


def commit() -> str:
    """Hash of the commit that is measured, marked where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(HERE), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "../fastboltz", "../fastboltz_ext")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (" (changed)" if changed else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except Exception:
        module = __import__(package)
        return getattr(module, "__version__", "unknown")


# -- the table -------------------------------------------------------------------------------------


def report(about: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    """RESULTS.md."""
    reached = [g["reached"] for r in results for g in r["goals"]]
    lines = [
        "# Results",
        "",
        "Written by `python bench/run.py`; see `README.md` here for what each figure means. "
        "Contenders of a row took turns in one process, BLAS at the row's number of threads; "
        "times are medians, ratios are medians of paired ratios with their quartiles.",
        "",
        f"- {about['date']}, commit {about['commit']}",
        f"- {about['processor']}, {about['usable cores']} of {about['cores']} cores, "
        f"{about['system']}",
        f"- Python {about['python']}, "
        + ", ".join(f"{name} {number}" for name, number in about["versions"].items()),
        f"- BLAS: {'; '.join(about['blas'])}",
        f"- settings in the environment: {_settings(about['settings'])}"
        + (_FORCED if "OPENBLAS_CORETYPE" in about["settings"] else ""),
        f"- load before the run: {about['load before']}"
        + ("" if about["load before"] <= _QUIET else " (**not a quiet machine: do not quote**)"),
        "",
        f"Goals: {reached.count(True)} reached, {reached.count(False)} **missed**, "
        f"{reached.count(None)} not measured.",
        "",
        "| case | threads | fastboltz | floor | of the floor | scikit-learn | times faster "
        "| others | goals |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        lines.append("| " + " | ".join(_row(r)) + " |")
    remarks = dict.fromkeys(f"- {r['title']}: {r['remark']}." for r in results if r["remark"])
    return "\n".join([*lines, *(["", *remarks] if remarks else [])]) + "\n"


def _row(r: Mapping[str, Any]) -> list[str]:
    median, ratios = r["median"], r["ratios"]
    others = [
        f"{name}: {_number(median[name])} ({ratios[name]['median']:.2f} x)"
        for name in ratios
        if name not in (FLOOR, SKLEARN)
    ]
    return [
        r["title"],
        str(r["threads"]),
        f"{_number(median[OURS])} {r['unit']}",
        "" if r["floor"] is None else f"{_number(median[r['floor']])} ({r['floor']})",
        _spread(ratios.get(FLOOR)),
        _number(median[SKLEARN]) if SKLEARN in median else "",
        _spread(ratios.get(SKLEARN)),
        "; ".join(others),
        "; ".join(_goal(g) for g in r["goals"]),
    ]


def _goal(g: Mapping[str, Any]) -> str:
    if not g["against"]:
        what = f"at most {g['limit']:g}"
    elif g["against"] == FLOOR:
        what = f"{g['limit']:g} of the floor"
    elif g["against"] == ONE_THREAD:
        what = f"{g['limit']:g} x one thread"
    else:
        what = f"{g['limit']:g} x {g['against']}"
    if g["reached"] is None:
        return f"{what}: not measured"
    return f"{what}: reached" if g["reached"] else f"**{what}: missed ({_number(g['figure'])})**"


def _spread(q: Mapping[str, float] | None) -> str:
    return "" if q is None else f"{q['median']:.2f} ({q['low']:.2f} to {q['high']:.2f})"


def _number(x: float) -> str:
    return f"{x:.3g}" if x < 1000 else f"{x:,.0f}"


def _settings(settings: Mapping[str, str]) -> str:
    return ", ".join(f"`{k}={v}`" for k, v in settings.items()) or "none"


# -- the command -----------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few short repeats: does it run?")
    parser.add_argument("--repeats", type=int, help=f"rounds (default {FULL.repeats})")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="or beginnings of names")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help="a peer in an environment of its own: peer_NAME.py is run by that interpreter",
    )
    parser.add_argument("--output", type=Path, help="folder for RESULTS.md and results.json")
    parser.add_argument("--list", action="store_true", help="names of the cases, and no more")
    given = parser.parse_args(argv)
    cases = [c for c in CASES if not given.cases or c.name.startswith(tuple(given.cases))]
    if given.list or not cases:
        print("\n".join(f"{c.name:<30} {c.title}" for c in CASES))
        sys.exit(0 if given.list else "no case begins like that; these there are.")
    plan = QUICK if given.quick else FULL
    plan = Plan(given.repeats or plan.repeats, plan.seconds)
    whole = not (given.cases or given.quick or given.repeats)
    folder = given.output or (HERE if whole else None)

    workers = [Worker(*peer.split("=", 1)) for peer in given.peer]
    about = machine(workers)
    results = []
    try:
        for case in cases:
            for threads in given.threads if case.threads is None else case.threads:
                samples = measure(case, threads, plan, workers)
                results.append(summary(case, threads, samples))
                print("  ".join(x for x in _row(results[-1]) if x), flush=True)
                if folder is not None:  # after each row, so that an end before the last loses none
                    write(folder, about, plan, results)
    finally:
        for worker in workers:
            worker.close()
    print("\n" + report(about, results) if folder is None else f"written: {folder}")


def write(
    folder: Path, about: Mapping[str, Any], plan: Plan, results: Sequence[Mapping[str, Any]]
) -> None:
    """RESULTS.md and results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text(report(about, results))
    everything = {"machine": about, "plan": asdict(plan), "results": results}
    (folder / "results.json").write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
