"""Site-by-site sweeps of the Ising model on a square lattice, beside dwave-samplers.

    python bench/site_sweeps.py              # a minute or two
    python bench/site_sweeps.py --quick      # does it run?

A 64 x 64 periodic lattice at the critical temperature, 1024 chains, float32. Contenders take turns
in one run; what is printed is the minimum over the repeats, in nanoseconds an update of a spin, and
the median over the repeats of the ratio to dwave-samplers. That one is measured if it can be
imported, on one thread, by the difference between two calls that differ only in the number of
sweeps (its Gibbs rule, sites in order), so that what a call costs besides sweeps does not count.

Then the energy per spin is held against exact ones: Onsager's for the infinite lattice at a
temperature where 64 x 64 is as good as that, and Kaufman's for a 16 x 16 torus at the critical one.
Chains are independent, which gives the Monte Carlo error.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import numpy as np
from scipy.special import ellipk

from fastboltz_ext import site_gibbs

CRITICAL = np.log1p(np.sqrt(2)) / 2


def lattice(size: int) -> np.ndarray:
    """Pairs of neighbours on a size x size torus."""
    site = np.arange(size * size).reshape(size, size)
    right = np.stack([site, np.roll(site, -1, axis=1)], axis=-1)
    down = np.stack([site, np.roll(site, -1, axis=0)], axis=-1)
    return np.concatenate([right.reshape(-1, 2), down.reshape(-1, 2)])


class Chains:
    """Chains of a lattice at inverse temperature ``beta``, started at random."""

    def __init__(self, size: int, n_chains: int, beta: float, dtype: type = np.float32) -> None:
        self.edges = lattice(size)
        n = size * size
        self.index = site_gibbs.index_edges(self.edges, n)
        self.weights = np.full(len(self.edges), beta, dtype=dtype)
        self.field = np.zeros(n, dtype=dtype)
        random = np.random.default_rng(0)
        self.values = (2 * random.integers(0, 2, (n_chains, n)) - 1).astype(dtype)
        self.step = 0

    def sweep(self, n_sweeps: int, n_threads: int, **how: object) -> None:
        site_gibbs.sweep_hyperedges(
            self.values, self.field, self.weights, *self.index, spin=True, n_sweeps=n_sweeps,
            step=self.step, seed=1, n_threads=n_threads, **how,
        )  # fmt: skip
        self.step += n_sweeps

    def energy(self) -> np.ndarray:
        """Energy per spin of each chain, coupling 1."""
        total = np.zeros(len(self.values))
        for begin in range(0, len(self.edges), 4096):
            a, b = self.edges[begin : begin + 4096].T
            total -= np.einsum("ne,ne->n", self.values[:, a], self.values[:, b])
        return total / self.values.shape[1]


# -- contenders: functions that return nanoseconds an update ------------------------------------


def ours(kernel: str, n_sweeps: int, n_threads: int, *args: object, **how: object) -> Callable:
    chains = Chains(*args)  # type: ignore[arg-type]
    field = how.pop("field", None)
    if field == "each":  # a field for each chain: no table
        random = np.random.default_rng(1)
        chains.field = random.normal(0, 1e-3, chains.values.shape).astype(chains.values.dtype)

    def run() -> float:
        before = site_gibbs.kernel()
        site_gibbs.kernel(kernel)
        began = time.perf_counter()
        chains.sweep(n_sweeps, n_threads, **how)
        seconds = time.perf_counter() - began
        site_gibbs.kernel(before)
        return 1e9 * seconds / (n_sweeps * chains.values.size)

    return run


def dwave(size: int, n_chains: int, beta: float, n_sweeps: int) -> Callable | None:
    try:
        import dimod
        from dwave.samplers import SimulatedAnnealingSampler
    except ImportError:
        return None
    sampler = SimulatedAnnealingSampler()
    n = size * size
    model = dimod.BinaryQuadraticModel.from_ising(
        dict.fromkeys(range(n), 0.0), {(int(a), int(b)): -1.0 for a, b in lattice(size)}
    )
    random = np.random.default_rng(0)
    # near equilibrium, as the others are after their first call
    warm = Chains(size, n_chains, beta)
    warm.sweep(200, 1)
    states = warm.values.astype(np.int8)

    def seconds(sweeps: int) -> float:
        began = time.perf_counter()
        sampler.sample(
            model,
            num_reads=n_chains,
            beta_schedule_type="custom",
            beta_schedule=[beta],
            num_sweeps_per_beta=sweeps,
            initial_states=(states, list(range(n))),
            proposal_acceptance_criteria="Gibbs",
            seed=int(random.integers(2**31)),
        )
        return time.perf_counter() - began

    def run() -> float:
        few = seconds(1)
        return 1e9 * (seconds(1 + n_sweeps) - few) / (n_sweeps * n_chains * n)

    return run


# -- exact energies -----------------------------------------------------------------------------


def onsager(beta: float) -> float:
    """Energy per spin of the infinite lattice."""
    k = 2 * np.sinh(2 * beta) / np.cosh(2 * beta) ** 2
    factor = 2 * np.tanh(2 * beta) ** 2 - 1
    return float(-(1 + 2 / np.pi * factor * ellipk(k * k)) / np.tanh(2 * beta))


def kaufman(beta: float, size: int) -> float:
    """Energy per spin of the size x size torus, by the derivative of the exact log Z."""

    def log_z(b: float) -> float:
        angle = np.pi * np.arange(2 * size) / size
        gamma = np.arccosh(np.cosh(2 * b) / np.tanh(2 * b) - np.cos(angle))
        gamma[0] = 2 * b + np.log(np.tanh(b))
        signs, logs = [], []
        for part in (gamma[1::2], gamma[0::2]):
            for function in (np.cosh, np.sinh):
                factors = 2 * function(size * part / 2)
                signs.append(np.prod(np.sign(factors)))
                logs.append(np.sum(np.log(np.abs(factors))))
        largest = max(logs)
        total = np.sum(np.array(signs) * np.exp(np.array(logs) - largest))
        return -np.log(2) + size * size / 2 * np.log(2 * np.sinh(2 * b)) + largest + np.log(total)

    h = 1e-4
    return float(-(log_z(beta + h) - log_z(beta - h)) / (2 * h) / size**2)


def check(name: str, chains: Chains, burn_in: int, gap: int, n_means: int, exact: float) -> bool:
    """Print the mean energy per spin against the exact one; whether it is within 4 errors."""
    threads = os.cpu_count() or 1
    chains.sweep(burn_in, threads)
    each = np.zeros(len(chains.values))
    for _ in range(n_means):
        chains.sweep(gap, threads)
        each += chains.energy() / n_means
    error = each.std(ddof=1) / np.sqrt(len(each))
    away = (each.mean() - exact) / error
    print(f"{name}: {each.mean():.6f} +- {error:.6f}, exact {exact:.6f} ({away:+.1f} errors)")
    return abs(away) < 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--chains", type=int, default=1024)
    arguments = parser.parse_args()
    repeats = 2 if arguments.quick else arguments.repeats
    sweeps = 10 if arguments.quick else 50
    size, beta = arguments.size, float(CRITICAL)
    here = (size, arguments.chains, beta)
    board = np.indices((size, size)).sum(axis=0).ravel() % 2
    colours = np.argsort(board, kind="stable")

    peer = dwave(size, arguments.chains, beta, max(sweeps // 10, 2))
    fast = site_gibbs.kernel()
    contenders: dict[str, Callable] = {
        "fastboltz, 1 thread": ours(fast, sweeps, 1, *here),
        "fastboltz, 2 threads": ours(fast, sweeps, 2, *here),
        "one sweep a call, 1 thread": ours(fast, 1, 1, *here),
        "checkerboard order, 1 thread": ours(fast, sweeps, 1, *here, order=colours),
        "a field for each chain, 1 thread": ours(fast, sweeps, 1, *here, field="each"),
        "portable kernel, 1 thread": ours("portable", sweeps // 5, 1, *here),
        "float64, 1 thread": ours(fast, sweeps // 5, 1, *here, np.float64),
        "chain by chain (before), 1 thread": ours("scalar", max(sweeps // 25, 1), 1, *here),
    }
    if peer is None:
        print("dwave-samplers cannot be imported here: measured without it.")
    else:
        contenders["dwave-samplers, 1 thread"] = peer
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            times[name].append(run())
    print(f"{size} x {size} torus, critical, {arguments.chains} chains, kernel {fast}")
    if hasattr(os, "getloadavg"):
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    reference = next((t for name, t in times.items() if name.startswith("dwave")), None)
    for name, t in times.items():
        line = f"{name:36s} {min(t):8.3f} ns an update"
        if reference is not None:
            line += f"   {np.median(np.divide(reference, t)):6.1f} x"
        print(line)

    n = 64 if arguments.quick else 1024
    good = check("64 x 64, beta 0.3, Onsager", Chains(64, n, 0.3), 300, 20, 10, onsager(0.3))
    good &= check(
        "16 x 16, critical, Kaufman", Chains(16, 4 * n, beta), 4000, 200, 10, kaufman(beta, 16)
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
