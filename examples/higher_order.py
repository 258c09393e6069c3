"""Parity and mirror symmetry: what pairs of units cannot say, and triples can.

The parity of two spins is the product of the two: no pair of the three spins says anything, and one
weight of third order says it all. A row of ten spins is its own mirror image if every spin agrees
with its mirror spin; agreement is a product of two spins, so that its coupling to the answer is of
third order (Sejnowski, Kienker & Hinton 1986). Of all 45 such triples the machine finds the five
that matter. No hidden units are needed.
"""

import argparse
import itertools

import numpy as np
from matplotlib import pyplot as plt

from fastboltz import HigherOrderBoltzmannMachine
from fastboltz.plots import HistoryDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="higher_order.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()


def spins(n):
    """All rows of n spins."""
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


def learn(inputs, answers, edges, weights, n_iter):
    """A machine with these couplings, and the share of answers that it has right.

    Rarer answers weigh more, so that guessing always the same one is right in half of the cases.
    """
    unanswered = np.c_[inputs, np.full(len(inputs), np.nan)]

    def mean_answer(machine):
        return machine.infer(unanswered)["s"][:, -1]

    def watch(progress):
        probability = (1 + answers * mean_answer(progress.model)) / 2
        progress.state.record(probability=np.average(probability, weights=weights))

    machine = HigherOrderBoltzmannMachine(
        edges=edges,
        units="spin",
        method="exact",
        learning_rate=0.5,
        momentum=0.5,
        batch_size=len(inputs),
        n_iter=2 if args.quick else n_iter,
        callbacks=[watch],
        random_state=0,
    ).fit(np.c_[inputs, answers], sample_weight=weights)
    # 1 for a right answer, 0 for a wrong one, one half where the machine does not mind which.
    right = np.heaviside(np.round(answers * mean_answer(machine), 3), 0.5)
    return machine, np.average(right, weights=weights)


two = spins(2)
parity = two.prod(axis=1)
ten = spins(10)
is_symmetric = (ten == ten[:, ::-1]).all(axis=1)
symmetry = np.where(is_symmetric, 1.0, -1.0)
half = np.where(is_symmetric, 0.5 / is_symmetric.sum(), 0.5 / (~is_symmetric).sum())

ten_pairs = list(itertools.combinations(range(10), 2))
ten_edges = [*ten_pairs, *((i, j, 10) for i, j in ten_pairs)]
tasks = {
    "parity": (two, parity, np.full(4, 0.25), [(0, 1, 2)], 60),
    "mirror symmetry": (ten, symmetry, half, ten_edges, 400),
}
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, (task, (inputs, answers, weights, triples, n_iter)) in zip(
    axes, tasks.items(), strict=False
):
    pairs = list(itertools.combinations(range(inputs.shape[1] + 1), 2))
    for order, edges, colour in ((2, pairs, "#d95f02"), (3, triples, "#1f77b4")):
        machine, right = learn(inputs, answers, edges, weights, n_iter)
        label = f"order {order}: {right:.0%} of the answers right"
        print(f"{task}, {label}")
        HistoryDisplay.from_estimator(machine, keys="probability", ax=ax, label=label, color=colour)
    ax.set_title(f"{task}: probability of the right answer", fontsize=11)
    ax.set_ylim(0, 1.05)
    ax.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    ax.set_ylabel("")
    ax.legend(frameon=False, loc="lower right")

# The weights of mirror symmetry: one for each two spins of the row, with the answer.
matrix = np.full((10, 10), np.nan)
for (i, j), w in zip(ten_pairs, machine.params_["hyperedges(s)"][len(ten_pairs) :], strict=True):
    matrix[i, j] = matrix[j, i] = w
top = np.nanmax(np.abs(matrix))
image = axes[2].imshow(matrix, cmap="RdBu", vmin=-top, vmax=top)
axes[2].set_xticks(range(10))
axes[2].set_yticks(range(10))
axes[2].set_xlabel("a spin of the row")
axes[2].set_ylabel("another")
axes[2].set_title("mirror symmetry: weights of two\nspins with the answer", fontsize=11)
figure.colorbar(image, ax=axes[2])
figure.savefig(args.output, dpi=150)
