"""An energy of one's own, learnt from data of which much is missing.

The energy couples pixels, a label and hidden units. A third of all pixels and half of the labels
are unknown in training (NaN): such units are drawn given those that are known, at every update.
Afterwards the machine fills in what is missing from new images, and says what digit it may be.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

import fastboltz as fb
from fastboltz.datasets import load_digits
from fastboltz.plots import ImagesDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="missing_values.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()

rng = np.random.default_rng(0)
train, test = load_digits()
pixels = np.where(rng.random(train.X.shape) < 1 / 3, np.nan, train.X)
labels = np.eye(10, dtype=np.float32)[train.y].reshape(-1, 1, 10)
labels[rng.random(len(train)) < 0.5] = np.nan

machine = fb.BoltzmannMachine(
    {"v": fb.Bernoulli(64), "y": fb.Categorical(1, 10), "h": fb.Bernoulli(100)},
    terms=["h_j v_i", "h_j y_ab"],
    visible=("v", "y"),
    n_positive=5,
    n_gibbs=2,
    n_chains=100,
    n_iter=1 if args.quick else 200,
    random_state=0,
)
machine.fit({"v": pixels, "y": labels})
print(machine.energy_.conditionals())

# New images with a third, a half, and two thirds of the pixels missing, and no label at all.
nothing = np.full((len(test), 1, 10), np.nan, np.float32)
order = rng.random(test.X.shape).argsort(axis=1)
figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
for ax, (name, share) in zip(
    axes, {"a third": 1 / 3, "a half": 1 / 2, "two thirds": 2 / 3}.items(), strict=True
):
    known = np.where(order < 64 * share, np.nan, test.X).astype(np.float32)
    means = machine.infer(
        {"v": known, "y": nothing}, "gibbs", n_steps=10 if args.quick else 200, random_state=0
    )
    guess = means["y"].reshape(-1, 10).argmax(axis=1)
    missing = np.isnan(known)
    pixels_right = np.mean((means["v"] > 0.5)[missing] == test.X[missing])
    labels_right = np.mean(guess == test.y)
    print(
        f"{name} missing: {pixels_right:.1%} of these pixels right, {labels_right:.1%} of the "
        f"labels"
    )
    images = {"known": known[:5], "filled in": means["v"][:5], "truth": test.X[:5]}
    labels = [f"{g} ({t})" for g, t in zip(guess[:5], test.y, strict=False)]
    ImagesDisplay(images, (8, 8)).plot(ax, column_labels=labels)
    ax.set_title(
        f"{name} of the pixels missing: {pixels_right:.0%} of\n"
        f"these and {labels_right:.0%} of the labels are right",
        fontsize=10,
    )
figure.supxlabel("label inferred (and the true one)", fontsize=10)
figure.savefig(args.output, dpi=150)
