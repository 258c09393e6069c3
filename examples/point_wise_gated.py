"""Digits over noise: a switch at each pixel says whether the digit put it there or the noise.

Each image is a binary digit, and every pixel of its background is on with probability 0.2. Of the
two components one has hidden units that also meet the label, the other a bias for each pixel and
nothing more; no image says which of its pixels are the digit's. The masks of test images are
inferred without their labels. Among the pixels that are on, the masks are compared with what is
known of the pixel alone: how often it is a digit's when it is on.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt
from sklearn.metrics import roc_auc_score

from fastboltz import PointwiseGatedRBMClassifier
from fastboltz.datasets import load_digits
from fastboltz.optimizers import Linear
from fastboltz.plots import FiltersDisplay, MasksDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="point_wise_gated.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()


def noisy(images, seed):
    """Turn pixels of the background on at random."""
    return np.maximum(images, np.random.default_rng(seed).random(images.shape) < 0.2)


train, test = load_digits()
n_draws = 1 if args.quick else 4
X = noisy(np.tile(train.X, (n_draws, 1)), seed=0).astype(np.float32)
X_test = noisy(test.X, seed=1).astype(np.float32)

model = PointwiseGatedRBMClassifier(
    (100, 0),
    alpha=0.3,
    activity=0.15,
    learning_rate=Linear(0.5),
    momentum=0.9,
    n_iter=1 if args.quick else 15,
    random_state=0,
).fit(X, np.tile(train.y, n_draws))
masks = model.masks(X_test)

on, digit = X_test > 0, test.X > 0
seen = np.maximum(X[: len(train)], train.X) > 0
alone = (train.X > 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
areas = {
    "the pixel alone": roc_auc_score(digit[on], np.broadcast_to(alone, on.shape)[on]),
    "mask": roc_auc_score(digit[on], masks[on]),
}
within = [
    roc_auc_score(digit[on[:, i], i], masks[on[:, i], i])
    for i in range(on.shape[1])
    if 20 < digit[on[:, i], i].sum() < on[:, i].sum() - 20
]
print("area under the curve, all test pixels that are on:", end=" ")
print(", ".join(f"{name} {area:.3f}" for name, area in areas.items()))
print(f"of one pixel over the images (0.5 without the others): {np.mean(within):.3f}")
print(f"digits told apart: {model.score(X_test, test.y):.1%}")

figure, (images, filters) = plt.subplots(
    1, 2, figsize=(10, 4.3), width_ratios=(10, 5.2), layout="constrained"
)
MasksDisplay.from_estimator(model, X_test, test.X, n_images=8, ax=images)
images.set_title(
    f"whose pixel is it? Area under the curve, of one pixel\nover all images: "
    f"{np.mean(within):.2f} (0.5 without the others)",
    fontsize=11,
)
FiltersDisplay.from_estimator(
    model, components=model.components_[0], n_filters=40, ax=filters, scale="common", n_columns=5
)
filters.set_title("weights of the hidden units", fontsize=11)
figure.savefig(args.output, dpi=150)
