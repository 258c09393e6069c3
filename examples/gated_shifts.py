"""Learn how images move, and move others in the same way: a gated Boltzmann machine.

The machine sees pairs of random dots. In each pair the second image is the first, shifted by up to
two pixels in each direction, around the edges: 25 shifts, of which it is told nothing. Each hidden
unit gates the weights between the two images, so that what it stands for is a way to move.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt
from sklearn.linear_model import LogisticRegression

from fastboltz import GatedRBM
from fastboltz.optimizers import Linear
from fastboltz.plots import AnalogyDisplay, FilterPairsDisplay, TransformationsDisplay

SIDE, FARTHEST = 8, 2


def dots(n, seed):
    """Images of random dots, -1 or 1, and for each a shift (down, right)."""
    rng = np.random.default_rng(seed)
    images = np.where(rng.random((n, SIDE**2)) < 0.5, 1, -1).astype(np.float32)
    return images, rng.integers(-FARTHEST, FARTHEST + 1, (n, 2))


def shifted(images, shifts):
    """Move each image by its own shift."""
    pairs = zip(images.reshape(-1, SIDE, SIDE), shifts, strict=True)
    return np.stack([np.roll(x, s, axis=(0, 1)) for x, s in pairs]).reshape(images.shape)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="gated_shifts.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()

X, shifts = dots(500 if args.quick else 6000, seed=0)
X_test, shifts_test = dots(1000, seed=1)
Y, Y_test = shifted(X, shifts), shifted(X_test, shifts_test)

gated = GatedRBM(
    n_components=50,
    n_factors=200,
    visible="spin",
    optimizer="adam",
    learning_rate=Linear(0.005),
    n_iter=1 if args.quick else 40,
    random_state=0,
).fit(X, Y)

# Do the hidden units say which shift it was? A linear classifier reads them.
labels, labels_test = ([f"{a} {b}" for a, b in s] for s in (shifts, shifts_test))
reader = LogisticRegression(max_iter=1000).fit(gated.transform(X, Y), labels)
accuracy = reader.score(gated.transform(X_test, Y_test), labels_test)

# The shift of one pair, applied to another image.
X_new = X_test[::-1]
Y_new = shifted(X_new, shifts_test)
right = np.mean((gated.analogy(X_test, Y_test, X_new) > 0) == (Y_new > 0))
print(f"shift recognised in {accuracy:.1%} of new pairs (chance: {1 / 25:.0%})")
print(f"analogies: {right:.1%} of the pixels right (chance: 50%)")

figure, (top, pairs, maps, bottom) = plt.subplots(
    4, 1, figsize=(7, 9.6), height_ratios=(1.9, 0.8, 0.55, 1.1), layout="constrained"
)
names = [f"{a:+d}, {b:+d}" for a, b in shifts_test]
AnalogyDisplay.from_estimator(gated, X_test, Y_test, X_new, Y_new, ax=top, column_labels=names[:10])
top.set_title(
    f"As x became y, so shall new x become: {right:.0%} of the pixels are right\n"
    f"(the numbers are the shift down and right, which the machine was never told)",
    fontsize=11,
)
TransformationsDisplay.from_estimator(
    gated, X_test[10:], Y_test[10:], ax=[pairs, maps], column_labels=names[10:20]
)
pairs.set_title("Where the hidden units of a pair send a pixel", fontsize=11)
FilterPairsDisplay.from_estimator(gated, n_filters=28, n_columns=14, ax=bottom)
bottom.set_title(
    f"Filters of x (above) and of y (below): waves, moved against each other.\n"
    f"The hidden units tell the 25 shifts apart in {accuracy:.1%} of new pairs",
    fontsize=11,
)
figure.savefig(args.output, dpi=150)
