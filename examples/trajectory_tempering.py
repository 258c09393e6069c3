"""Chains that come along the models of a training, beside Gibbs sampling, against enumeration.

An RBM learns handwritten zeros and ones, two kinds of images far apart, and keeps models that it
goes through. It is small enough to be enumerated, so the share of the ones in it is known. All
chains begin at one zero. After 300 sweeps of Gibbs sampling too few are ones; chains that
exchange places with those of earlier models, which do not yet tell the two kinds apart, are ones as
often as they should be.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

import fastboltz as fb
from fastboltz.callbacks import Trajectory
from fastboltz.datasets import load_digits
from fastboltz.plots import SwapsDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="trajectory_tempering.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()

digits, _ = load_digits()
ones = np.flatnonzero(digits.y == 1)
# Three zeros to a one: shares that are not those of chance.
rows = np.concatenate([np.flatnonzero(digits.y == 0), ones[: len(ones) // 3]])
X, y = digits.X[rows], digits.y[rows]
means = np.array([X[y == k].mean(axis=0) for k in (0, 1)])


def is_one(images):
    """Whether images are nearer to the mean one than to the mean zero."""
    zero, one = ((images[:, None] - means) ** 2).sum(axis=2).T
    return one < zero


rbm = fb.RBM(
    10,
    method="exact",
    n_iter=60 if args.quick else 2000,
    batch_size=len(X),
    learning_rate=0.3,
    callbacks=[Trajectory()],
    random_state=0,
)
rbm.fit(X)

n_chains, n_sweeps = 200, 100 if args.quick else 300
drawn = {"exact": rbm.energy_.sample(rbm.params_, 20_000, random_state=0)["v"]}
start = np.repeat(X[:1], n_chains, axis=0)
for method in ("gibbs", "trajectory"):
    drawn[method], info = rbm.sample(
        n_chains, n_sweeps, init=start, method=method, random_state=0, return_info=True
    )
    print(f"{method}: {info.verdict}\n")
shares = {name: is_one(x).mean() for name, x in drawn.items()}
error = np.sqrt(shares["exact"] * (1 - shares["exact"]) / n_chains)
print(f"share of ones: rows {is_one(X).mean():.3f}")
for name, share in shares.items():
    print(f"{name:>14} {share:.3f}" + (f" +- {error:.3f}" if name != "exact" else ""))

figure = plt.figure(figsize=(11, 7), layout="constrained")
above, below = figure.subfigures(2, 1)
left, right = above.subplots(1, 2, width_ratios=(2.1, 1))
# Rows and samples, in the two directions in which the rows differ most.
_, _, directions = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
for name, images, style in (
    ("rows", X, {"color": "#bbbbbb", "s": 40}),
    ("trajectory", drawn["trajectory"], {"color": "C0", "s": 12}),
    ("Gibbs", drawn["gibbs"], {"color": "C3", "s": 12, "marker": "x"}),
):
    places = (images - X.mean(axis=0)) @ directions[:2].T
    left.scatter(*places.T, label=name, linewidths=0.8, **style)
left.set(xlabel="first principal direction", ylabel="second")
left.legend(frameon=False)
names = list(shares)
right.bar(names, [shares[name] for name in names], 0.6, color=["#888888", "C3", "C0"])
at = names.index("trajectory")
right.errorbar([at], [shares["trajectory"]], [2 * error], color="black", capsize=4)
right.set(ylabel="share of ones")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
SwapsDisplay.from_estimator(
    rbm, method="trajectory", n_adapt=n_sweeps, ax=below.subplots(1, 2, width_ratios=(1, 1.7))
)
figure.savefig(args.output, dpi=120)
