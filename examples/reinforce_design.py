"""Design by REINFORCE: where to build fire stations, from a cost that is only a piece of code.

There are 60 sites and 300 towns. A design opens some of the sites; it costs a price for each, and
the mean distance from a town to its nearest open one. Each site is open with a probability, and the
logits of these descend the expected cost, whose gradient is estimated from random designs. Nothing
is asked of the cost but its value: it is a loop, compiled by Numba, and runs on all cores.

The picture shows how fast the expected cost falls with each baseline, everything else being the
same, beside the best design that was found. The dashed line is greedy search: open the site that
helps most until none helps, then close or swap sites as long as that helps.
"""

import argparse

import numba
import numpy as np
from matplotlib import pyplot as plt
from sklearn.linear_model import SGDRegressor

from fastboltz import gradients
from fastboltz.optimizers import Adam

N_SITES, N_TOWNS, PRICE = 60, 300, 0.012

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="reinforce_design.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="take a few steps only")
args = parser.parse_args()

rng = np.random.default_rng(5)
centres = rng.random((6, 2))
sites = rng.random((N_SITES, 2))
towns = np.clip(centres[rng.integers(6, size=N_TOWNS)] + 0.09 * rng.normal(size=(N_TOWNS, 2)), 0, 1)
distance = np.linalg.norm(towns[:, None] - sites, axis=2)


@numba.njit
def cost(y):
    """Of one design, y[i] being 1 where site i is open."""
    total = 0.0
    for town in range(N_TOWNS):
        nearest = 1.5  # without any station, help comes from afar
        for site in range(N_SITES):
            if y[site] == 1 and distance[town, site] < nearest:
                nearest = distance[town, site]
        total += nearest
    return total / N_TOWNS + PRICE * y.sum()


def descend(baseline, seed, n_steps, n_samples=8):
    """Logits after descent of the expected cost, and that cost at every step."""
    method = gradients.ScoreFunction(baseline)
    params = {"logits": np.zeros(N_SITES)}
    adam = Adam()
    moments = adam.init(params)
    state = method.init(gradients.Bernoulli(params["logits"]), random_state=seed)
    costs = []
    for _ in range(n_steps):
        distribution = gradients.Bernoulli(params["logits"])
        estimate, state = method.step(cost, distribution, state, n_samples)
        costs.append(estimate.cost)
        # Optimizers climb.
        adam.step(params, {"logits": -estimate.value}, moments, 0.05, {})
    return params["logits"], costs


def greedy():
    """Open, close and swap single sites as long as the cost falls."""
    y = np.zeros(N_SITES)
    while True:
        moves = [[i] for i in range(N_SITES)]
        moves += [[i, k] for i in np.flatnonzero(y) for k in np.flatnonzero(y == 0)]
        trials = np.repeat(y[None], len(moves), axis=0)
        for trial, move in zip(trials, moves, strict=True):
            trial[move] = 1 - trial[move]
        values = [cost(trial) for trial in trials]
        if min(values) >= cost(y):
            return y
        y = trials[np.argmin(values)]


COLOURS = (
    *("#999999", "#7a4fa3", "#3a9e5c", "#8c6d31"),
    *("#d18bb5", "#e08a1e", "#31688e", "#b03a2e"),
)
# Learnt ones see no inputs here: they follow the mean cost, or the best number for each parameter.
# They start later: nothing is learnt at the first step, whose large gradient Adam remembers long.
baselines = {
    "none": "none",
    "constant: mean of the others": "constant",
    "learnt, one for all": gradients.Learnt("shared"),
    "learnt for each parameter": gradients.Learnt("pair"),
    "scikit-learn's regressor": SGDRegressor(learning_rate="constant", eta0=0.1),
    "moving average": "moving_average",
    "leave one out": "leave_one_out",
    "optimal for each parameter": "optimal",
}
n_steps, seeds = (20, range(1)) if args.quick else (600, range(4))
curves, designs = {}, []
for name, baseline in baselines.items():
    runs = [descend(baseline, seed, n_steps) for seed in seeds]
    curves[name] = np.mean([costs for _, costs in runs], axis=0)
    found = [(logits > 0).astype(float) for logits, _ in runs]
    designs += found
    print(
        f"baseline {name}: expected cost {curves[name][-1]:.4f}, "
        f"designs {', '.join(f'{cost(y):.4f}' for y in found)}"
    )
best, by_greedy = min(designs, key=cost), greedy()
print(f"best design {cost(best):.4f}, greedy search {cost(by_greedy):.4f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
for name, colour in zip(baselines, COLOURS, strict=True):
    # Means of ten steps each.
    smooth = curves[name][: n_steps // 10 * 10].reshape(-1, 10).mean(axis=1)
    steps = np.arange(len(smooth)) * 10 + 5
    left.plot(steps, smooth, color=colour, linewidth=1.2, label=name)
left.axhline(cost(by_greedy), color="#222222", linewidth=0.8, linestyle="--")
left.annotate("greedy search", (0.99, cost(by_greedy)), (0, -3), xycoords=("axes fraction", "data"),
              textcoords="offset points", ha="right", va="top", fontsize=8)  # fmt: skip
left.set(
    title="by baseline",
    xlabel="step, of 8 designs each",
    ylabel="expected cost",
    ylim=(0.9 * cost(best), None),
)
left.legend(frameon=False, ncols=2, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
left.spines[["top", "right"]].set_visible(False)

is_open = best == 1
nearest = sites[is_open][distance[:, is_open].argmin(axis=1)] if is_open.any() else towns
right.plot(*np.stack([towns, nearest]).transpose(2, 0, 1), color="#cccccc", linewidth=0.6)
right.plot(*towns.T, ".", color="#31688e", markersize=3, label="towns")
right.plot(*sites.T, "o", color="#222222", markersize=4, fillstyle="none", label="sites")
right.plot(*sites[is_open].T, "s", color="#b03a2e", markersize=7, label="open")
right.set(title=f"best design: {int(is_open.sum())} stations, cost {cost(best):.4f}")
right.set_aspect("equal")
right.set_axis_off()
right.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
figure.savefig(args.output, dpi=130)
