"""PyTorch, served to `run.py` from its own environment: REINFORCE averages as in `reinforce`.

``pip install torch numpy`` there, then ``python bench/run.py --peer torch=<that environment's
python> --cases reinforce``. The gradient of each logit comes with its standard error, so
contributions are made by hand; automatic differentiation would give their mean alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import torch
from reinforce import BASELINES, N_SAMPLES, N_UNITS, problem
from worker import serve


def reinforce(baseline: str, n_threads: int) -> Callable[[], object]:
    """One average with its standard error, in single precision."""
    torch.set_num_threads(n_threads)
    torch.manual_seed(0)
    logits, w, target = problem()
    p = torch.sigmoid(torch.tensor(logits, dtype=torch.float32))
    w = torch.tensor(w, dtype=torch.float32)
    level = torch.zeros(())
    above, below = torch.zeros(N_UNITS), torch.ones(N_UNITS)

    @torch.no_grad()
    def call() -> object:
        nonlocal level, above, below
        y = (torch.rand(N_SAMPLES, N_UNITS) < p).float()
        j = (y @ w - target) ** 2
        s = y - p
        if baseline == "optimal":
            s2 = s * s
            a = j[:, None] * s2
            g = (j[:, None] - (a.sum(0) - a) / (s2.sum(0) - s2)) * s
        elif baseline == "learnt_pair":
            s2 = s * s
            g = (j[:, None] - above / below) * s
            above = above + 0.01 * (j @ s2 / N_SAMPLES - above)
            below = below + 0.01 * (s2.mean(0) - below)
        else:
            b = torch.zeros(()) if baseline == "none" else level
            if baseline == "leave_one_out":
                b = (j.sum() - j) / (N_SAMPLES - 1)
            g = (j - b)[:, None] * s
            rate = {"constant": 1.0, "moving_average": 0.2, "learnt": 0.01}.get(baseline, 0.0)
            level = level + rate * (j.mean() - level)
        return g.mean(0), g.std(0) / N_SAMPLES**0.5

    return call


def main() -> None:
    """Serve."""
    served = {f"reinforce-{b}": partial(reinforce, b) for b in BASELINES}
    serve(served, {"torch": version("torch")})


if __name__ == "__main__":
    main()
