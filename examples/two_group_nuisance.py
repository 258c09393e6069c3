"""Digits over bars: hidden units for the class, and others for what has nothing to do with it.

Each image is a digit, and a bar somewhere over it. Of the two groups of hidden units only one meets
the label. To make the images the machine has to know the bar as well as the digit; as the bar says
nothing of the label, the other group takes it up. What each group knows is read by a linear
classifier of the label, and one of the place of the bar.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt
from sklearn.linear_model import LogisticRegression

from fastboltz import TwoGroupRBMClassifier
from fastboltz.datasets import load_digits
from fastboltz.plots import FiltersDisplay, SamplesDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="two_group_nuisance.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()


def barred(images, seed):
    """Put a bar of full width or height at random over each image; return also its number."""
    number = np.random.default_rng(seed).integers(0, 16, len(images))
    bars = np.zeros((16, 8, 8), images.dtype)
    bars[np.arange(8), np.arange(8)] = 1  # rows
    bars[np.arange(8, 16), :, np.arange(8)] = 1  # columns
    return np.maximum(images, bars.reshape(16, 64)[number]), number


train, test = load_digits()
n_copies = 1 if args.quick else 5
X, bar = barred(np.tile(train.X, (n_copies, 1)), seed=0)
y = np.tile(train.y, n_copies)
X_test, bar_test = barred(test.X, seed=1)

model = TwoGroupRBMClassifier(
    n_components=20,
    n_nuisance=25,
    alpha=1.0,
    learning_rate=0.1,
    l2=0.002,
    n_iter=1 if args.quick else 25,
    random_state=0,
).fit(X, y)
accuracy = model.score(X_test, test.y)
print(f"{accuracy:.1%} of {len(test)} test images recognised")

features = {
    "meets the label": (model.transform(X), model.transform(X_test)),
    "does not": (model.transform_nuisance(X), model.transform_nuisance(X_test)),
}
tasks = {"digit": (y, test.y), "bar": (bar, bar_test)}
known = {
    (group, task): LogisticRegression(max_iter=300).fit(h[:1400], t[:1400]).score(h_test, t_test)
    for group, (h, h_test) in features.items()
    for task, (t, t_test) in tasks.items()
}
for (group, task), score in known.items():
    print(f"the group that {group}: {task} read off in {score:.1%}")

figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.5), layout="constrained")
SamplesDisplay(X[:25], (8, 8)).plot(axes[0])
axes[0].set_title("data: a digit and a bar", fontsize=11)
FiltersDisplay.from_estimator(model, n_filters=25, ax=axes[1])
axes[1].set_title("filters that meet the label", fontsize=11)
FiltersDisplay.from_estimator(model, n_filters=25, components="nuisance_components_", ax=axes[2])
axes[2].set_title("filters that do not", fontsize=11)
for k, (group, colour) in enumerate(zip(features, ("#1f77b4", "#d95f02"), strict=True)):
    heights = [known[group, task] for task in tasks]
    shown = axes[3].bar(np.arange(2) + 0.4 * k - 0.2, heights, 0.36, color=colour, label=group)
    axes[3].bar_label(shown, fmt="{:.0%}")
axes[3].set_xticks(range(2), tasks)
axes[3].set_ylim(0, 1.4)
axes[3].set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
axes[3].spines[["top", "right"]].set_visible(False)
axes[3].legend(frameon=False, loc="upper center", ncols=2, fontsize=9, title="from the group that")
axes[3].set_title("read off by a linear classifier", fontsize=11)
figure.savefig(args.output, dpi=150)
