"""Samples of two deep models of digits, beside the data.

A deep Boltzmann machine is undirected throughout; each layer hears the one below and the one above.
In a deep belief network only the top two layers are undirected, and the others are drawn downwards
once. Both begin as a stack of RBMs, each learning from the hidden units of the one before.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

from fastboltz import DeepBeliefNetwork, DeepBoltzmannMachine
from fastboltz.datasets import load_digits
from fastboltz.plots import FiltersDisplay, SamplesDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="deep_digits.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()

train, test = load_digits()
layers = (100, 50)
machine = DeepBoltzmannMachine(
    layers,
    n_pretraining=1 if args.quick else 60,
    n_iter=1 if args.quick else 120,
    n_chains=100,
    batch_size=20,
    random_state=0,
).fit(train.X)
network = DeepBeliefNetwork(
    layers, n_iter=1 if args.quick else 120, batch_size=20, random_state=0
).fit(train.X)

# What independent pixels would have.
p = (train.X.sum(axis=0) + 0.5) / (len(train) + 1)
independent = np.mean(test.X @ np.log(p) + (1 - test.X) @ np.log1p(-p))
bounds = {"machine": machine.score(test.X), "network": network.score(test.X)}
for name, bound in bounds.items():
    print(f"deep {name}: at least {bound:.1f} nats a test image")
print(f"independent pixels: {independent:.1f} nats")

figure, axes = plt.subplots(2, 2, figsize=(8, 8.6), layout="constrained")
SamplesDisplay(train.X[:64], train.image_shape).plot(axes[0, 0])
axes[0, 0].set_title(
    f"data\n(test log-likelihood of independent pixels: {independent:.1f} nats)", fontsize=11
)
FiltersDisplay.from_estimator(machine, ax=axes[0, 1])
axes[0, 1].set_title("filters of the deep Boltzmann machine's\nlowest layer", fontsize=11)
SamplesDisplay.from_estimator(machine, ax=axes[1, 0])
axes[1, 0].set_title(
    "samples of the deep Boltzmann machine\n"
    f"(test log-likelihood above {bounds['machine']:.1f} nats)",
    fontsize=11,
)
SamplesDisplay.from_estimator(network, ax=axes[1, 1])
axes[1, 1].set_title(
    f"samples of the deep belief network\n(test log-likelihood above {bounds['network']:.1f} nats)",
    fontsize=11,
)
figure.savefig(args.output, dpi=150)
