"""Weights of their own for every class: a third-order machine whose label gates its filters.

In an RBM the hidden units look at an image through one set of filters. Here the label chooses the
set: each class is an RBM, all of them share the biases, and p(y | v) weighs them against each
other exactly. Trained as a hybrid, the filters of a class are the strokes that make its images.
"""

import argparse

from matplotlib import pyplot as plt

from fastboltz import ClassGatedRBMClassifier
from fastboltz.datasets import load_digits
from fastboltz.plots import ClassFiltersDisplay, ClassSamplesDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="class_gated_filters.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()

train, test = load_digits()
model = ClassGatedRBMClassifier(
    n_components=20,
    alpha=1.0,
    n_gibbs=5,
    learning_rate=0.1,
    l2=0.001,
    n_iter=2 if args.quick else 60,
    random_state=0,
).fit(train.X, train.y)
n_steps = 10 if args.quick else 500
accuracy = model.score(test.X, test.y)
print(f"{accuracy:.1%} of {len(test)} test images recognised")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 5), layout="constrained")
ClassFiltersDisplay.from_estimator(model, n_filters=10, ax=left)
left.set_title("filters of each class (blue: for black)", fontsize=11)
ClassSamplesDisplay.from_estimator(model, n_samples=10, n_steps=n_steps, ax=right)
right.set_title(f"samples of each class; test accuracy {accuracy:.1%}", fontsize=11)
figure.savefig(args.output, dpi=150)
