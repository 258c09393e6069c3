"""rbms (https://github.com/DsysDML/rbms; PyTorch), served to `run.py` from its own environment.

``pip install rbms`` there, then ``python bench/run.py --peer rbms=<that environment's python>``.
An update is what its training loop does with a minibatch: chains, gradient, optimizer; picking the
rows, and what the loop writes to disk after each update, are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import cases
import numpy as np
import torch
from rbms.bernoulli_bernoulli.classes import BBRBM
from rbms.partition_function.ais import compute_partition_function_ais
from rbms.training.pcd import fit_batch_pcd
from worker import serve


def model(scale: float) -> BBRBM:
    """Random weights, biases zero."""
    torch.manual_seed(0)
    weights = scale * torch.randn(cases.V, cases.H)
    return BBRBM(weights, torch.zeros(cases.V), torch.zeros(cases.H))


def training(
    rows: Callable[[int], np.ndarray], batch_size: int, method: str, centered: bool, n_threads: int
) -> Callable[[], object]:
    """The updates of an epoch."""
    torch.set_num_threads(n_threads)
    params = model(0.01)
    params.init_grad()
    optimizer = torch.optim.SGD(params.parameters(), lr=cases.RATE, maximize=True)
    x = rows(cases.n_batches(batch_size) * batch_size)
    batches = [
        (torch.from_numpy(v), torch.ones(batch_size)) for v in cases.minibatches(x, batch_size)
    ]
    chains = params.init_chains(batch_size)

    @torch.no_grad()
    def call() -> None:
        nonlocal chains
        for batch in batches:
            if method == "cd":
                chains = params.init_chains(batch_size, weights=batch[1], start_v=batch[0])
            optimizer.zero_grad(set_to_none=False)
            chains, _ = fit_batch_pcd(
                batch, chains, params, gibbs_steps=1, beta=1, centered=centered
            )
            optimizer.step()

    return call


def gibbs(n_threads: int) -> Callable[[], object]:
    """Sweeps of many chains."""
    torch.set_num_threads(n_threads)
    params = model(0.05)
    chains = params.init_chains(cases.N_CHAINS)

    @torch.no_grad()
    def call() -> None:
        nonlocal chains
        chains = params.sample_state(chains=chains, n_steps=cases.SWEEPS)

    return call


def annealing(n_threads: int) -> Callable[[], object]:
    """Annealed importance sampling."""
    torch.set_num_threads(n_threads)
    params = model(0.05)
    return torch.no_grad()(
        partial(compute_partition_function_ais, cases.N_CHAINS, cases.N_BETAS, params)
    )


def main() -> None:
    """Serve."""
    served = {"gibbs": gibbs, "gibbs-low": gibbs, "ais": annealing}
    for size in (128, 1024):
        for name, rows, method, centered in (
            ("pcd1", cases.binary_rows, "pcd", False),
            ("cd1", cases.binary_rows, "cd", False),
            ("centred", cases.binary_rows, "pcd", True),
            ("real", cases.real_rows, "pcd", False),
        ):
            served[f"{name}-{size}"] = partial(training, rows, size, method, centered)
    serve(served, {"rbms": version("rbms"), "torch": version("torch")})


if __name__ == "__main__":
    main()
