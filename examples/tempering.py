"""Chains that cross between modes: parallel tempering beside Gibbs sampling, against enumeration.

An RBM learns stripes at three angles, three kinds of images far apart. It is small enough to be
enumerated, so the share of each kind in the model is known. All chains begin at one image of the
third kind. Gibbs sampling stays there, and says that it has not mixed; tempered chains find all
three kinds with their shares.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

import fastboltz as fb

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="tempering.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()

SIDE, SHARES = 8, np.array([0.7, 0.2, 0.1])
rng = np.random.default_rng(0)
rows, columns = np.indices((SIDE, SIDE))
kinds = np.array(
    [rows % 4 < 2, columns % 4 < 2, (rows + columns) % 4 < 2], dtype=np.float32
).reshape(3, -1)


def kind_of(images):
    """Number of the nearest of the three images."""
    return (np.abs(images[:, None] - kinds)).sum(axis=2).argmin(axis=1)


X = kinds[rng.choice(3, 500, p=SHARES)]
X = np.where(rng.random(X.shape) < 0.03, 1 - X, X)
rbm = fb.RBM(
    6,
    method="exact",
    n_iter=100 if args.quick else 3000,
    batch_size=len(X),
    learning_rate=0.3,
    random_state=0,
)
rbm.fit(X)

n_chains, n_sweeps = 200, 200 if args.quick else 2000
exact = rbm.energy_.sample(rbm.params_, 20_000, random_state=0)["v"]
start = np.repeat(X[kind_of(X) == 2][:1], n_chains, axis=0)
drawn = {"exact": exact}
for method in ("gibbs", "tempered"):
    drawn[method], info = rbm.sample(
        n_chains, n_sweeps, init=start, method=method, random_state=0, return_info=True
    )
    print(f"{method}: {info.verdict}\n")
    if method == "tempered":
        rates = ", ".join(f"{rate:.2f}" for rate in info.extra["swap_rates"])
        print(f"swap rates {rates}; {info.extra['round_trips']} round trips\n")

shares = {name: np.bincount(kind_of(x), minlength=3) / len(x) for name, x in drawn.items()}
for name, share in shares.items():
    print(f"{name:9} {' '.join(f'{s:6.3f}' for s in share)}")

figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
for k in range(3):
    axes[k].imshow(1 - kinds[k].reshape(SIDE, SIDE), cmap="gray")
    axes[k].set(title=f"kind {k + 1}", xticks=[], yticks=[])
for j, (name, share) in enumerate(shares.items()):
    axes[3].bar(np.arange(3) + 0.27 * (j - 1), share, 0.25, label=name)
axes[3].set(xticks=range(3), xticklabels=["1", "2", "3"], xlabel="kind", ylabel="share")
axes[3].legend(frameon=False)
axes[3].spines[["top", "right"]].set_visible(False)
figure.savefig(args.output, dpi=120)
