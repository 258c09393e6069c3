"""A directed model of digits, and how fast it learns by each estimate of its gradient.

In a sigmoid belief network the units of each layer are drawn given those of the one above. Which
states of the hidden units explain an image is the work of a second network that runs upwards, and
the gradient of that is one of an expectation over discrete units: the score function with no
baseline learns slowly, with a learnt one much faster, and pairs of mirrored draws do better yet.
Wake-sleep follows the gradient of something else, and VIMCO that of the bound of several paths. All
else is the same for all.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

from fastboltz import SigmoidBeliefNetwork
from fastboltz.datasets import load_digits
from fastboltz.optimizers import Constant
from fastboltz.plots import FiltersDisplay, SamplesDisplay

METHODS = {
    "reinforce": ("score function, no baseline", "#999999"),
    "wake-sleep": ("wake-sleep", "#7a4fa3"),
    "nvil": ("NVIL", "#31688e"),
    "vimco": ("VIMCO, 5 paths", "#e08a1e"),
    "disarm": ("DisARM", "#b03a2e"),
}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="sigmoid_belief_net.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()

train, test = load_digits()
n_iter = 2 if args.quick else 60
networks, curves = {}, {}
for method in METHODS:
    curve = curves[method] = []

    def look(progress, curve=curve):
        curve.append(progress.model.score_samples(test.X, n_draws=5).mean())

    networks[method] = SigmoidBeliefNetwork(
        (64, 32),
        method=method,
        learning_rate=Constant(3e-3),
        batch_size=20,
        n_iter=n_iter,
        callbacks=[look],
        random_state=0,
    ).fit(train.X)
    network = networks[method]
    several = network.score_samples(test.X, n_particles=50).mean()
    print(
        f"{METHODS[method][0]}: bound of a test image's log-likelihood "
        f"{network.score(test.X):.2f} nats, of 50 paths {several:.2f}"
    )

best = max(networks, key=lambda method: curves[method][-1])
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(11, 4.2), layout="constrained", width_ratios=(1.35, 1, 1)
)
for method, (name, colour) in METHODS.items():
    left.plot(np.arange(1, n_iter + 1), curves[method], color=colour, linewidth=1.3, label=name)
left.set(
    title="bound on the test log-likelihood",
    xlabel="epoch",
    ylabel="nats",
    ylim=(max(curves[best]) - 7, None),
)
left.legend(frameon=False, fontsize=8, loc="lower right")
left.spines[["top", "right"]].set_visible(False)
SamplesDisplay(networks[best].sample(64, means=True, random_state=0), train.image_shape).plot(
    middle
)
middle.set_title(f"means of samples, learnt by {METHODS[best][0]}", fontsize=10)
FiltersDisplay.from_estimator(networks[best], ax=right)
right.set_title("its generative weights", fontsize=10)
figure.savefig(args.output, dpi=130)
