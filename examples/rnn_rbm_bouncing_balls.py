"""Films of bouncing balls, learnt and continued by an RNN-RBM.

Each frame has 15 x 15 pixels and two balls that bounce off the walls and off each other. A frame
alone does not tell where the balls are going: the recurrent network has to remember, and it emits
the parameters of an RBM for the next frame. At the end it sees ten frames of a new film and goes
on alone, frame after frame, each one drawn.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

from fastboltz import RNNRBM
from fastboltz.datasets import make_bouncing_balls
from fastboltz.optimizers import Linear
from fastboltz.plots import ImagesDisplay

SHOWN, STRIDE = 14, 2

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="rnn_rbm_bouncing_balls.png", help="the picture to write")
parser.add_argument("--quick", action="store_true", help="learn for a moment only")
args = parser.parse_args()

films = make_bouncing_balls(20 if args.quick else 300, 100, random_state=0)
new = make_bouncing_balls(20, 10 + SHOWN * STRIDE, random_state=1)

rnn = RNNRBM(
    n_components=60,
    n_recurrent=200,
    recurrent="gru",
    learning_rate=Linear(0.02),
    n_gibbs=2,
    batch_size=20,
    chunk=25,
    n_iter=1 if args.quick else 20,
    random_state=0,
).fit(films)

# How well is the next frame foreseen, beside the frame before it and the frame that goes on moving?
truth = np.concatenate([film[10:] for film in new])
means = np.concatenate([p[10:] for p in rnn.predict(new)])
before = np.concatenate([film[9:-1] for film in new])
wrong = np.abs((means > 0.5) - truth).sum(axis=1).mean()
lag = np.abs(before - truth).sum(axis=1).mean()
print(f"pixels wrong in the next frame: {wrong:.1f} (taking the last frame instead: {lag:.1f})")

rows, steps = {}, 10 + STRIDE * np.arange(SHOWN)
for k in range(3):
    rows[f"film {k + 1}"] = new[k][steps]
    rows[f"model {k + 1}"] = rnn.sample(len(new[k]), new[k][:10], random_state=k)[steps]
figure, axes = plt.subplots(figsize=(9, 4.6), layout="constrained")
ImagesDisplay(rows, (15, 15)).plot(axes, column_labels=[f"{t - 9:+d}" for t in steps])
axes.set_title(
    "After ten frames of each film the model goes on alone (frames since then below).\n"
    f"One frame ahead it has {wrong:.1f} pixels of 225 wrong; "
    f"the frame before has {lag:.1f} wrong",
    fontsize=11,
)
figure.savefig(args.output, dpi=150)
