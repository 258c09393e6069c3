"""One model that classifies digits and draws them: an RBM with a label among its units.

Trained as a hybrid, it maximises log p(y | v) + alpha log p(v, y). Hold the label, and Gibbs
sampling draws images of that class; hold the image, and p(y | v) is exact.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

from fastboltz import RBMClassifier
from fastboltz.datasets import load_digits
from fastboltz.plots import ClassSamplesDisplay, ImagesDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="class_rbm_samples.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()

train, test = load_digits()
model = RBMClassifier(
    n_components=150,
    alpha=1.0,
    method="pcd",
    n_gibbs=5,
    n_chains=200,
    n_iter=2 if args.quick else 150,
    random_state=0,
).fit(train.X, train.y)
probability = model.predict_proba(test.X)
right = model.predict(test.X) == test.y
print(f"{right.mean():.1%} of {len(test)} test images recognised")

n_steps = 10 if args.quick else 500

# Five images on which the model is sure, and the five on which it is least sure.
order = np.argsort(-probability.max(axis=1))
chosen = np.r_[order[:5], order[-5:]]

figure, (samples, images, bars) = plt.subplots(
    1, 3, figsize=(9.5, 4.9), width_ratios=(10, 1.2, 7.5), layout="constrained"
)
ClassSamplesDisplay.from_estimator(model, n_samples=10, n_steps=n_steps, ax=samples)
samples.set_title("samples of p(image | label)", fontsize=11)
ImagesDisplay({f"{k}": test.X[[i]] for k, i in enumerate(chosen)}, (8, 8)).plot(
    images, row_labels=False
)
bars.imshow(probability[chosen], cmap="Blues", vmin=0, vmax=1, aspect="auto")
for row, i in enumerate(chosen):
    bars.text(test.y[i], row, "+", ha="center", va="center", color="#d95f02", size=14)
bars.set_xticks(range(10), model.classes_)
bars.set_yticks([])
bars.set_xlabel("label (+: the true one)")
bars.set_title(
    f"p(label | image): five sure, five unsure;\n{right.mean():.1%} of the test images are right",
    fontsize=11,
)
figure.savefig(args.output, dpi=150)
