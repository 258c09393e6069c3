"""REINFORCE averages with every baseline: by this package, and by NumPy.

200 Bernoulli units, 10,000 samples, a cheap cost (the square of a sum). A call draws the samples,
asks the costs, and gives the gradient of every logit with its standard error.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
from contenders import Fresh, Local

N_UNITS, N_SAMPLES = 200, 10_000
BASELINES = (
    *("none", "constant", "moving_average", "leave_one_out", "optimal"),
    *("learnt", "learnt_pair"),
)
#: Samples that the variant of NumPy in blocks works on at once: they stay in the cache.
BLOCK = 256


def problem() -> tuple[np.ndarray, np.ndarray, float]:
    """Logits, weights of the sum, and where it should be."""
    rng = np.random.default_rng(0)
    return rng.normal(size=N_UNITS), rng.normal(size=N_UNITS), 3.0


@cache
def jitted_cost() -> Any:
    """The cost of one sample, compiled; NaN are left what they are."""
    import numba

    _, w, target = problem()

    @numba.njit(fastmath={"nsz", "arcp", "contract", "afn", "reassoc"})
    def cost(y):
        total = 0.0
        for i in range(y.size):
            total += w[i] * y[i]
        return (total - target) ** 2

    return cost


def ours(baseline: str, n_threads: int) -> Local:
    """Steps with a jitted cost."""
    from fastboltz import gradients

    logits, _, _ = problem()
    cost = jitted_cost()
    pair = gradients.Learnt("pair")
    method = gradients.ScoreFunction(pair if baseline == "learnt_pair" else baseline)
    distribution = gradients.Bernoulli(logits)
    state = method.init(distribution, random_state=0)

    def call() -> None:
        nonlocal state
        _, state = method.step(cost, distribution, state, N_SAMPLES, n_threads=n_threads)

    return Local(call)


def with_numpy(baseline: str, n_threads: int) -> Local:
    """The same in NumPy, all samples in one table. (Its threads are those of BLAS.)"""
    logits, w, target = problem()
    p = 1 / (1 + np.exp(-logits))
    rng = np.random.default_rng(0)
    level = 0.0
    above, below = np.zeros(N_UNITS), np.ones(N_UNITS)

    def call() -> tuple[np.ndarray, np.ndarray]:
        nonlocal level, above, below
        y = (rng.random((N_SAMPLES, N_UNITS)) < p).astype(np.float64)
        j = (y @ w - target) ** 2
        s = y - p
        if baseline == "optimal":
            s2 = s * s
            a = j[:, None] * s2
            g = (j[:, None] - (a.sum(axis=0) - a) / (s2.sum(axis=0) - s2)) * s
        elif baseline == "learnt_pair":
            s2 = s * s
            g = (j[:, None] - above / below) * s
            above = above + 0.01 * (j @ s2 / N_SAMPLES - above)
            below = below + 0.01 * (s2.mean(axis=0) - below)
        else:
            b = 0.0 if baseline == "none" else level
            if baseline == "leave_one_out":
                b = (j.sum() - j) / (N_SAMPLES - 1)
            g = (j - b)[:, None] * s
            rate = {"constant": 1.0, "moving_average": 0.2, "learnt": 0.01}.get(baseline, 0.0)
            level += rate * (j.mean() - level)
        return g.mean(axis=0), g.std(axis=0, ddof=1) / np.sqrt(N_SAMPLES)

    return Local(call)


def in_blocks(baseline: str, n_threads: int) -> Local:
    """NumPy again, as well as one can: in blocks that stay in the cache, moments summed."""
    logits, w, target = problem()
    p = 1 / (1 + np.exp(-logits))
    rng = np.random.default_rng(0)
    level = 0.0
    above, below = np.zeros(N_UNITS), np.ones(N_UNITS)

    def call() -> tuple[np.ndarray, np.ndarray]:
        nonlocal level, above, below
        g, s_sum, gg, gs, ss = np.zeros((5, N_UNITS))
        total = 0.0
        for first in range(0, N_SAMPLES, BLOCK):
            n = min(BLOCK, N_SAMPLES - first)
            y = (rng.random((n, N_UNITS)) < p).astype(np.float64)
            j = (y @ w - target) ** 2
            s = y - p
            s2 = s * s
            g += j @ s
            s_sum += s.sum(axis=0)
            gg += (j * j) @ s2
            gs += j @ s2
            ss += s2.sum(axis=0)
            total += j.sum()
        b: Any = {
            "none": 0.0,
            "leave_one_out": total / N_SAMPLES,
            "optimal": gs / ss,
            "learnt_pair": above / below,
        }.get(baseline, level)
        rate = {"constant": 1.0, "moving_average": 0.2, "learnt": 0.01}.get(baseline, 0.0)
        level += rate * (total / N_SAMPLES - level)
        if baseline == "learnt_pair":
            above = above + 0.01 * (gs / N_SAMPLES - above)
            below = below + 0.01 * (ss / N_SAMPLES - below)
        mean = (g - b * s_sum) / N_SAMPLES
        square = (gg - 2 * b * gs + b * b * ss) / N_SAMPLES
        return mean, np.sqrt((square - mean**2) / N_SAMPLES)

    return Local(call)


_MEMORY = """
import resource
from reinforce import jitted_cost, problem
from fastboltz import gradients

method, distribution = gradients.ScoreFunction("optimal"), gradients.Bernoulli(problem()[0])

def peak(n):
    method.estimate(jitted_cost(), distribution, n, random_state=0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

few = peak({few})
print(1024 * (peak({many}) - few))
"""


def memory(few: int, many: int, threads: int) -> Fresh:
    """Bytes by which the most that a process has held grows from few samples to many."""
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    code = f"import sys; sys.path.insert(0, {here!r})\n" + _MEMORY.format(few=few, many=many)
    return Fresh(code, threads, prints=True)


CONTENDERS = {
    b: {
        "fastboltz": partial(ours, b),
        "NumPy": partial(with_numpy, b),
        "NumPy in blocks": partial(in_blocks, b),
    }
    for b in BASELINES
}
