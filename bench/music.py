"""The polyphonic music of Boulanger-Lewandowski et al. (2012): likelihood and accuracy.

``FASTBOLTZ_DATA=<folder with polyphonic_music.npz> python bench/music.py`` trains an RBM without
memory, an RNN-RBM that emits biases, and one that emits biases and weights, on each set, and writes
``music.json`` and a table, row by row. The test log-likelihood is per time step, over all steps of
the test pieces; log Z of every step by annealed importance sampling, with the interval of the mean.
Accuracy is ``sum TP / sum (TP + FP + FN)`` over all steps and keys: "expected" counts a key that is
on with probability p as predicted p times, "at half" predicts the keys with p > 1/2.

Training pieces may be shifted up and down by some semitones (``--transpose``, in the table): a
piece in another key is another piece. The published figures do without. Early stopping looks at
the validation pieces as they are. Seconds are those of training; evaluating, also for early
stopping, is not in them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastboltz import RBM, RNNRBM
from fastboltz.datasets import MUSIC, Sequences, load_polyphonic_music
from fastboltz.optimizers import Linear
from fastboltz.training import Progress

HERE = Path(__file__).parent
#: Boulanger-Lewandowski, Bengio & Vincent (2012): test log-likelihood and accuracy of the RNN-RBM.
PUBLISHED = {
    "jsb_chorales": (-6.27, 33.12),
    "nottingham": (-2.39, 75.40),
    "piano_midi": (-7.09, 28.92),
    "musedata": (-6.01, 34.02),
}
#: Options of `RNNRBM` besides those of the command line.
MODELS: dict[str, dict[str, Any]] = {
    "RBM": {},
    "biases": {"emits": ("biases",)},
    "biases and weights": {"emits": ("biases", "weights")},
    "RTRBM": {"recurrent": "rtrbm"},
}


@dataclass
class Row:
    """One training, evaluated.

    Attributes
    ----------
    test, low, high : float
        Mean test log-likelihood of a step, and the interval of the annealing.
    error : float
        Standard error of the mean over the test steps.
    train : float
        Of some training pieces.
    expected, at_half : float
        Accuracies, in per cent.
    seconds : float
        Of training.
    epochs, best : int
        Passes made, and the pass whose parameters were kept.
    effective_chains : float
        How many chains carry an estimate of log Z, on average over the steps.
    curve : list of (epoch, seconds, validation log-likelihood)
    """

    data: str
    model: str
    seed: int
    test: float
    low: float
    high: float
    error: float
    train: float
    expected: float
    at_half: float
    seconds: float
    epochs: int
    best: int
    effective_chains: float
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        value, accuracy = PUBLISHED[self.data]
        return (
            f"| {self.data} | {self.model} | {self.seed} | {self.test:.2f} "
            f"[{self.low:.2f}, {self.high:.2f}] +- {self.error:.2f} | {self.train:.2f} | "
            f"{self.expected:.1f} | {self.at_half:.1f} | {self.seconds:.0f} | {self.epochs} | "
            f"{value:.2f} ({accuracy:.1f}) |"
        )


HEAD = """| set | model | seed | test log-likelihood a step | train | accuracy, expected % | \
at half % | seconds | epochs | published RNN-RBM |
|---|---|---|---|---|---|---|---|---|---|"""


def transposed(pieces: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """Every piece in all keys up to some semitones away; what leaves the piano is silent."""
    found = []
    for piece in pieces:
        for shift in range(-most, most + 1):
            moved = np.roll(piece, shift, axis=1)
            moved[:, : max(shift, 0)] = 0
            moved[:, len(moved[0]) + min(shift, 0) :] = 0
            found.append(moved)
    return found


class Curve:
    """A callback: the curve of the validation score, and the end of a training's time."""

    def __init__(self, minutes: float) -> None:
        self.points: list[tuple[int, float, float]] = []
        self.seconds = 0.0
        self.end = time.monotonic() + 60 * minutes

    def __call__(self, progress: Progress) -> bool:
        state = progress.state
        self.seconds = state.seconds
        score = state.history.get("validation", [np.nan])[-1]
        if np.isfinite(score):
            self.points.append((state.epoch, round(state.seconds, 2), round(float(score), 4)))
            print(f"  epoch {state.epoch}, {state.seconds:.0f} s: {score:.3f}", file=sys.stderr)
        return time.monotonic() > self.end


def plain(given: argparse.Namespace, data: Sequences, seed: int) -> Row:
    """An RBM that sees every step alone."""
    train, test = (np.concatenate(part) for part in (data.train, data.test))
    curve = Curve(given.minutes)
    rbm = RBM(
        given.n_components,
        n_gibbs=given.n_gibbs,
        n_iter=given.plain_epochs,
        callbacks=[curve],
        n_threads=given.threads,
        random_state=seed,
    ).fit(train)
    z = rbm.log_partition("ais", betas=5000, n_chains=256)
    scores = -rbm.free_energy(test)
    # Every step has the same prediction: the mean of the model.
    p = rbm.sample(2000, 1000, random_state=seed).mean(axis=0)
    return Row(
        data.name,
        "RBM",
        seed,
        float(scores.mean() - z.value),
        float(scores.mean() - z.high),
        float(scores.mean() - z.low),
        float(scores.std(ddof=1) / len(scores) ** 0.5),
        float(-rbm.free_energy(train).mean() - z.value),
        100 * _accuracy(test, p),
        100 * _accuracy(test, p > 0.5),
        curve.seconds,
        rbm.n_iter_,
        rbm.n_iter_,
        z.effective_chains,
    )


def _accuracy(x: np.ndarray, p: np.ndarray) -> float:
    hits = float((x * p).sum())
    return hits / (float(x.sum()) + len(x) * float(p.sum()) - hits)


def recurrent(given: argparse.Namespace, data: Sequences, model: str, seed: int) -> Row:
    """An RNN-RBM."""
    curve = Curve(given.minutes)
    options = {
        "n_components": given.n_components,
        "n_recurrent": given.n_recurrent,
        "recurrent": given.recurrent,
        "method": given.method,
        "n_gibbs": given.n_gibbs,
        "batch_size": given.batch_size,
        "chunk": given.chunk,
        "n_iter": given.epochs,
        "l2": given.l2,
        "clip_norm": given.clip_norm,
        "patience": given.patience,
        "validate_every": given.validate_every,
    } | MODELS[model]
    if "weights" in options.get("emits", ()):
        options["weight_rank"] = given.weight_rank
    rnn = RNNRBM(
        learning_rate=Linear(given.learning_rate),
        callbacks=[curve],
        n_threads=given.threads,
        random_state=seed,
        **options,
    )
    test, train = list(data.test), list(data.train)
    rnn.fit(transposed(train, given.transpose), validation=list(data.valid))
    print("  evaluating", file=sys.stderr)
    ais = {"betas": given.betas, "n_chains": given.ais_chains}
    with warnings.catch_warnings():
        # How many chains carry the estimates is in the file.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = rnn.log_likelihood(test, **ais)
        few = rnn.log_likelihood(train[:20], betas=given.betas, n_chains=4).mean
    scores = np.concatenate(found.values)
    # Means are sampled once, for both accuracies.
    p, x = np.concatenate(rnn.predict(test)), np.concatenate(test)
    hits, half = float((x * p).sum()), p > 0.5
    both = float((x * half).sum())
    return Row(
        data.name,
        model,
        seed,
        found.mean,
        found.low,
        found.high,
        float(scores.std(ddof=1) / len(scores) ** 0.5),
        few,
        100 * hits / (float(x.sum()) + float(p.sum()) - hits),
        100 * both / (float(x.sum()) + float(half.sum()) - both),
        curve.seconds,
        rnn.n_iter_,
        rnn.best_iter_,
        float(found.log_partition.effective_chains.mean()),
        curve.points,
        {**options, "learning_rate": given.learning_rate, "transpose": given.transpose, **ais},
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--sets", nargs="+", choices=MUSIC, default=list(MUSIC[:3]))
    add("--models", nargs="+", choices=list(MODELS), default=list(MODELS)[:3])
    add("--seeds", nargs="+", type=int, default=[0])
    add("--minutes", type=float, default=60.0, help="of one training, at the most")
    add("--epochs", type=int, default=16)
    add("--plain-epochs", type=int, default=300, help="of the RBM without memory")
    add("--transpose", type=int, default=5, help="semitones up and down")
    add("--n-components", type=int, default=150)
    add("--n-recurrent", type=int, default=100)
    add("--recurrent", choices=("tanh", "gru"), default="gru")
    add("--weight-rank", type=int, default=30)
    add("--method", choices=("cd", "pcd"), default="pcd")
    add("--n-gibbs", type=int, default=5)
    add("--batch-size", type=int, default=8, help="sequences side by side")
    add("--chunk", type=int, default=32, help="steps of a minibatch")
    add("--learning-rate", type=float, default=0.008, help="of Adam at the start; it falls to 0")
    add("--l2", type=float, default=2e-4)
    add("--clip-norm", type=float)
    add("--patience", type=int, default=10, help="evaluations without a better one")
    add("--validate-every", type=int, default=4, help="epochs")
    add("--betas", type=int, default=1000, help="inverse temperatures for the test")
    add("--ais-chains", type=int, default=8, help="of every step")
    add("--threads", type=int, help="all cores if not set")
    add("--json", type=Path, default=HERE / "music.json")
    given = parser.parse_args(argv)

    from run import machine

    rows: list[Row] = []
    print(HEAD, flush=True)
    for name in given.sets:
        data = load_polyphonic_music(name)
        for model in given.models:
            for seed in given.seeds:
                row = plain(given, data, seed) if model == "RBM" else None
                rows.append(row or recurrent(given, data, model, seed))
                print(rows[-1], flush=True)
                settings = {k: v for k, v in vars(given).items() if k != "json"}
                out = {
                    "machine": machine([]),
                    "settings": settings,
                    "rows": [asdict(row) for row in rows],
                }
                given.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
