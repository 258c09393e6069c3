"""The Ising model on a square lattice, against Onsager's exact solution.

Spins with neighbours of equal weight are a Boltzmann machine with a list of pairs. Gibbs sampling
gives energy and magnetisation at several temperatures; for the infinite lattice both are known
(Onsager 1944, Yang 1952). Below the critical temperature T = 2 / log(1 + sqrt(2)) = 2.269 the spins
hold together. Very near to it a lattice of this size is no longer as good as an infinite one, and
Gibbs sampling is slow.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt
from scipy.special import ellipk

import fastboltz as fb
from fastboltz.plots import ImagesDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="ising_onsager.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="sample for a moment only")
args = parser.parse_args()

CRITICAL = 2 / np.log1p(np.sqrt(2))


def onsager(temperature):
    """Energy and magnetisation of a spin of the infinite lattice."""
    two_k = 2 / np.asarray(temperature)
    kappa = 2 * np.sinh(two_k) / np.cosh(two_k) ** 2
    factor = 1 + 2 / np.pi * (2 * np.tanh(two_k) ** 2 - 1) * ellipk(kappa**2)
    magnetisation = np.maximum(1 - np.sinh(two_k) ** -4.0, 0) ** 0.125
    return -factor / np.tanh(two_k), magnetisation


side = 16 if args.quick else 64
n_chains, n_measures = 16, 5 if args.quick else 100
site = np.arange(side**2).reshape(side, side)
pairs = [np.stack([site, np.roll(site, -1, axis)], axis=-1).reshape(-1, 2) for axis in (0, 1)]
energy = fb.Energy({"s": fb.Spin(side**2)}, [fb.Hyperedges("s", np.concatenate(pairs).tolist())])
sampler = fb.Gibbs(energy, n_threads=1)
weights = energy.terms[0].name

temperatures = np.array([1.5, 1.8, 2.0, 2.15, 2.4, 2.6, 2.9, 3.2])
found, lattices = [], {}
for temperature in temperatures:
    params = energy.init(dtype=np.float64)
    params["s"][:] = 0
    params[weights][:] = 1 / temperature
    # From the ordered state, so that below the critical temperature all chains have one sign.
    ordered = {"s": np.ones((n_chains, side**2))}
    chains = sampler.init(params, random_state=0, values=ordered)
    chains = sampler.step(params, chains, 4 * n_measures)
    measures = []
    for _ in range(n_measures):
        chains = sampler.step(params, chains, 5)
        s = chains.values["s"].reshape(n_chains, side, side)
        e = -(s * np.roll(s, -1, 1) + s * np.roll(s, -1, 2)).mean(axis=(1, 2))
        measures.append((e, s.mean(axis=(1, 2))))
    # Chains are independent: their means give the error.
    of_chains = np.mean(measures, axis=0)
    found.append((of_chains.mean(axis=1), of_chains.std(axis=1, ddof=1) / np.sqrt(n_chains)))
    lattices[temperature] = s[0].reshape(1, -1)
    (e, m), (e_error, m_error) = found[-1]
    exact_e, exact_m = onsager(temperature)
    print(
        f"T = {temperature:.2f}: energy {e:.4f} +- {e_error:.4f} (exact {exact_e:.4f}), "
        f"magnetisation {m:.4f} +- {m_error:.4f} (exact {exact_m:.4f})"
    )

# Three lattices, then the two curves with what was found.
figure, axes = plt.subplots(
    1, 5, figsize=(13.5, 3.4), width_ratios=(1, 1, 1, 1.3, 1.3), layout="constrained"
)
for ax, temperature in zip(axes, (2.0, 2.4, 3.2), strict=False):
    ImagesDisplay({"": lattices[temperature]}, (side, side)).plot(ax, limits=(-1, 1))
    ax.set_title(f"T = {temperature}", fontsize=11)
fine = np.linspace(1.4, 3.3, 400)
names = ("energy of a spin", "magnetisation")
for ax, name, exact, values in zip(
    axes[3:], names, onsager(fine), np.transpose(found, (2, 1, 0)), strict=True
):
    mean, error = values
    ax.plot(fine, exact, color="#888888", label="exact, infinite lattice")
    ax.errorbar(
        temperatures, mean, 2 * error, fmt="o", ms=4, capsize=3, label=f"sampled, {side} x {side}"
    )
    ax.axvline(CRITICAL, color="#bbbbbb", lw=0.8, ls="--")
    ax.set_xlabel("temperature")
    ax.set_title(name, fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
axes[4].text(CRITICAL + 0.05, 0.9, "critical", fontsize=9)
axes[3].legend(frameon=False, loc="upper left", fontsize=9)
figure.savefig(args.output, dpi=150)
