"""Draw the pictures of the documentation anew: ``python docs/pictures.py [NAME ...]``.

Without names, all of them, which takes some minutes: one of each display, named like the functions
here, and those of the examples, named like the scripts. They are kept small, since they are part of
the repository.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from PIL import Image

import fastboltz as fb
from fastboltz import gradients, plots
from fastboltz.callbacks import Monitor
from fastboltz.datasets import load_digits
from fastboltz.optimizers import Linear

HERE = Path(__file__).resolve().parent
EXAMPLES = sorted((HERE.parent / "examples").glob("*.py"))
#: Pixels across, and colours.
WIDTH, COLOURS = 900, 256

train, test = load_digits()


@cache
def rbm():
    """An RBM of digits, watched."""
    monitor = Monitor(test.X, train.X[: len(test)], every=2)
    model = fb.RBM(64, n_iter=60, batch_size=20, callbacks=[monitor], random_state=0)
    return model.fit(train.X)


def filters():
    return plots.FiltersDisplay.from_estimator(rbm(), n_columns=16)


def samples():
    return plots.SamplesDisplay.from_estimator(rbm(), test.X)


def chain():
    return plots.ChainDisplay.from_estimator(rbm(), test.X)


def completion():
    known = np.where(np.arange(64) < 32, test.X, np.nan)
    return plots.CompletionDisplay.from_estimator(rbm(), known, test.X)


def history():
    return plots.HistoryDisplay.from_estimator(rbm())


def seeds():
    models = []
    for seed in range(5):
        monitor = Monitor(test.X, what="log_likelihood", every=1)
        model = fb.RBM(12, n_iter=30, callbacks=[monitor], random_state=seed)
        models.append(model.fit(train.X))
    return plots.HistoryDisplay.from_estimators(models)


def energy():
    rows = {"training": train.X, "test": test.X}
    return plots.EnergyDisplay.from_estimator(rbm(), rows)


def swaps():
    return plots.SwapsDisplay.from_estimator(rbm())


def piano_roll():
    """Broken chords over a bass, in all keys."""
    chords = np.array([[0, 4, 7], [5, 9, 12], [7, 11, 14], [0, 4, 7]])
    rng = np.random.default_rng(0)
    songs = []
    for key in np.tile(np.arange(12), 8):
        song = np.zeros((64, 50), np.float32)
        for t in range(64):
            chord = chords[t // 8 % 4] + key
            song[t, chord[0]] = 1
            song[t, 12 + chord[[0, 1, 2, 1][t % 4]]] = 1
            song[t, 24 + chord[rng.integers(3)]] = t % 2 == 0
        songs.append(song)
    rnn = fb.RNNRBM(
        60,
        n_recurrent=100,
        recurrent="gru",
        learning_rate=Linear(0.03),
        n_gibbs=2,
        batch_size=12,
        n_iter=120,
        random_state=0,
    ).fit(songs[:-1])
    return plots.PianoRollDisplay.from_estimator(
        rnn, songs[-1], n_prefix=16, predictions=True, lowest_pitch=36
    )


def comparison():
    sites = np.random.default_rng(0).normal(size=10)

    def cost(Y):
        return (Y @ sites - 1) ** 2

    baselines = ("none", "moving_average", "leave_one_out", "optimal")
    methods = {f"score function, {b}": gradients.ScoreFunction(b) for b in baselines}
    methods |= {"ARM": gradients.ARM(), "DisARM": gradients.DisARM()}
    return plots.ComparisonDisplay.from_estimators(
        methods, cost, gradients.Bernoulli(np.zeros(10)), n_repeats=200, random_state=0
    )


OF_RBM = (filters, samples, chain, completion, history, energy, swaps)
DISPLAYS = (*OF_RBM, seeds, piano_roll, comparison)


def keep(source: Path, name: str) -> None:
    """Make a picture small, in size and in bytes."""
    picture = Image.open(source).convert("RGB")
    if picture.width > WIDTH:
        size = (WIDTH, round(picture.height * WIDTH / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    target = HERE / "pictures" / f"{name}.png"
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        target, optimize=True
    )
    print(f"{target.name}: {target.stat().st_size / 1024:.0f} kB", flush=True)


def main(names: list[str]) -> None:
    """Draw what is named, or everything."""
    known = {draw.__name__ for draw in DISPLAYS} | {script.stem for script in EXAMPLES}
    if unknown := set(names) - known:
        sys.exit(f"there is no picture {', '.join(sorted(unknown))}; known: {sorted(known)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        for draw in DISPLAYS:
            if not names or draw.__name__ in names:
                draw().figure_.savefig(path, dpi=110)
                keep(path, draw.__name__)
        for script in EXAMPLES:
            if not names or script.stem in names:
                subprocess.run([sys.executable, script, "--output", path], check=True)
                keep(path, script.stem)


if __name__ == "__main__":
    main(sys.argv[1:])
