"""The polyphonic music of Boulanger-Lewandowski et al. (2012): likelihood and accuracy.

``FASTBOLTZ_DATA=<folder with polyphonic_music.npz> python bench/music.py`` trains an RBM without
memory, an RNN-RBM that emits biases, and one that emits biases and weights, on each set, and writes
``music.json`` and a table, row by row; rows of other settings stay in the file. With ``--keep
FOLDER`` trained models go there, and one that is there is not trained again.

The test log-likelihood is per time step, over all steps of the test pieces; log Z of every step by
annealed importance sampling, with the interval of the mean. Accuracies are those of
`RNNRBM.accuracy`: "frames", which is what the published tables have, "totals", and "frames" of the
keys with p > 1/2. ``--baselines`` prints the published accuracy of two models whose predictions
anybody can write down, beside both kinds: which kind was published shows there.

Training pieces may be shifted up and down by some semitones (``--transpose``, in the table): a
piece in another key is another piece. The published figures do without. Early stopping looks at
the validation pieces as they are. Seconds are those of the processor, in the training and in its
looks at the validation pieces.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastboltz import RBM, RNNRBM, load
from fastboltz.callbacks import Average
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
#: Accuracies there of independent keys: each with its own rate, and all with the same.
PUBLISHED_KEYS = {
    "jsb_chorales": (15.25, 3.51),
    "nottingham": (19.87, 3.56),
    "piano_midi": (5.80, 2.51),
    "musedata": (7.72, 2.82),
}
#: Options of `RNNRBM` besides those of the command line.
MODELS: dict[str, dict[str, Any]] = {
    "RBM": {},
    "biases": {"emits": ["biases"]},
    "biases and weights": {"emits": ["biases", "weights"]},
    "RTRBM": {"recurrent": "rtrbm"},
}
#: Settings that `RNNRBM` has under the same name.
OPTIONS = (
    *("n_recurrent", "recurrent", "method", "n_gibbs", "batch_size", "chunk"),
    *("l2", "clip_norm", "patience", "validate_every"),
)


@dataclass
class Record:
    """What is known of a training.

    Attributes
    ----------
    seconds : float
        Of the processor.
    epochs, best : int
        Passes made, and the pass whose parameters were kept.
    curve : list of (epoch, processor seconds, validation log-likelihood)
    settings : dict
    """

    data: str
    model: str
    seed: int
    seconds: float
    epochs: int
    best: int
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Row:
    """One training, evaluated.

    Attributes
    ----------
    record : Record
    test, low, high : float
        Mean test log-likelihood of a step, and the interval of the annealing.
    error : float
        Standard error of the mean over the test steps.
    train : float
        Of some training pieces.
    frames, totals, at_half : float
        Accuracies, in per cent.
    effective_chains : float
        How many chains carry an estimate of log Z, on average over the steps.
    betas, chains : int
        Of the annealing of the test.
    accuracy_betas, accuracy_chains : int
        Of the annealing of frames to compare with.
    every : int
        Of the test pieces, every so many are evaluated.
    """

    record: Record
    test: float
    low: float
    high: float
    error: float
    train: float | None
    frames: float
    totals: float | None
    at_half: float | None
    effective_chains: float
    betas: int
    chains: int
    accuracy_betas: int = 0
    accuracy_chains: int = 0
    every: int = 1

    def __str__(self) -> str:
        r = self.record
        of = r.settings
        value, accuracy = PUBLISHED[r.data]
        units = f"{of['n_components']}"
        if r.model != "RBM":
            units += "" if r.model == "RTRBM" else f", {of['recurrent']} {of['n_recurrent']}"
        others = (self.train, self.totals, self.at_half)
        train, totals, at_half = ("-" if x is None else f"{x:.2f}" for x in others)
        return (
            f"| {r.data} | {r.model} | {units} | {of['transpose']} | {r.seed} | {self.test:.2f} "
            f"[{self.low:.2f}, {self.high:.2f}] +- {self.error:.2f} | {train} | "
            f"{self.frames:.1f} | {totals} | {at_half} | {r.seconds:.0f} | "
            f"{r.epochs} | {value:.2f} ({accuracy:.1f}) |"
        )


HEAD = """| set | model | units | semitones | seed | test log-likelihood a step | train | \
accuracy, frames % | totals % | at half % | processor seconds | epochs | published RNN-RBM |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


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


def first_pieces(pieces: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
    """As many whole pieces as have so many steps together, and one at the least."""
    ends = np.cumsum([len(piece) for piece in pieces])
    return list(pieces[: max(1, int(np.searchsorted(ends, steps, side="right")))])


class Clock:
    """A callback: validation scores with processor seconds, and the end of a training's time."""

    def __init__(self, minutes: float) -> None:
        self.points: list[tuple[int, float, float]] = []
        self.begin = time.process_time()
        self.most = 60 * minutes

    @property
    def seconds(self) -> float:
        """Of the processor, since the beginning."""
        return time.process_time() - self.begin

    def __call__(self, progress: Progress) -> bool:
        state = progress.state
        score = state.history.get("validation", [np.nan])[-1]
        if np.isfinite(score):
            self.points.append((state.epoch, round(self.seconds, 2), round(float(score), 4)))
            print(f"  epoch {state.epoch}, {self.seconds:.0f} s: {score:.3f}", file=sys.stderr)
        return self.seconds > self.most


# -- training --------------------------------------------------------------------------------------


def settings_of(given: argparse.Namespace, model: str) -> dict[str, Any]:
    """Everything that a training depends on besides the data and the seed."""
    if model == "RBM":
        return {
            "n_components": given.n_components,
            "n_gibbs": given.n_gibbs,
            "n_iter": given.plain_epochs,
            "transpose": 0,
        }
    names = ("n_components", "transpose", "learning_rate", "validation_steps", *OPTIONS)
    settings = {name: getattr(given, name) for name in names}
    settings |= {"n_iter": given.epochs} | MODELS[model]
    if "weights" in settings.get("emits", ()):
        settings["weight_rank"] = given.weight_rank
    if given.average_from:
        settings["average_from"] = given.average_from
    if given.restarts:
        settings |= {"restarts": given.restarts, "restart_sweeps": given.restart_sweeps}
    return settings


def train(given: argparse.Namespace, data: Sequences, model: str, seed: int) -> tuple[Any, Record]:
    """A model, from the folder of those that are trained or by training."""
    settings = settings_of(given, model)
    number = zlib.crc32(json.dumps(settings, sort_keys=True).encode())
    name = f"{data.name}-{model.replace(' ', '-')}-{seed}-{number:08x}"
    file = None if given.keep is None else given.keep / f"{name}.fbz"
    if file is not None and file.exists():
        return load(file), Record(**json.loads(file.with_suffix(".json").read_text()))
    clock = Clock(given.minutes)
    own = dict(settings)
    transpose = own.pop("transpose")
    callbacks: list[Any] = [clock]
    if average_from := own.pop("average_from", 0):
        callbacks.append(Average(average_from))
    shared = {"callbacks": callbacks, "n_threads": given.threads, "random_state": seed}
    if model == "RBM":
        fitted: Any = RBM(**own, **shared).fit(np.concatenate(data.train))
    else:
        validation = first_pieces(data.valid, own.pop("validation_steps"))
        rate = Linear(own.pop("learning_rate"))
        fitted = RNNRBM(learning_rate=rate, **own, **shared)
        fitted.fit(transposed(data.train, transpose), validation=validation)
    epochs = fitted.n_iter_
    best = getattr(fitted, "best_iter_", epochs)
    record = Record(data.name, model, seed, clock.seconds, epochs, best, clock.points, settings)
    if file is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
        fitted.set_params(callbacks=None)
        file.with_suffix(".json").write_text(json.dumps(asdict(record)))
        fitted.save(file)
    return fitted, record


# -- evaluation ------------------------------------------------------------------------------------


def frames_accuracy(x: np.ndarray, frames: np.ndarray) -> float:
    """Mean over steps of ``TP / max(keys that are on, keys of the step's frame)``, in %."""
    most = np.maximum(x.sum(axis=1), frames.sum(axis=1))
    hits = (x * frames).sum(axis=1)
    return 100 * float(np.where(most > 0, hits / np.maximum(most, 1), 1.0).mean())


def totals_accuracy(x: np.ndarray, p: np.ndarray) -> float:
    """``sum TP / sum (TP + FP + FN)``, expected, of probabilities p, in %."""
    hits = float((x * p).sum())
    return 100 * hits / (float(x.sum()) + float(np.broadcast_to(p, x.shape).sum()) - hits)


def plain(rbm: RBM, record: Record, data: Sequences) -> Row:
    """An RBM that sees every step alone: every step has the same prediction."""
    training, test = (np.concatenate(part) for part in (data.train, data.test))
    betas, chains = 5000, 256
    z = rbm.log_partition("ais", betas=betas, n_chains=chains)
    scores = -rbm.free_energy(test)
    drawn = rbm.sample(1000, 300, method="tempered", random_state=record.seed)
    p = drawn.mean(axis=0)
    mixed = np.random.default_rng(record.seed)
    frames = [drawn[mixed.integers(len(drawn), size=len(test))] for _ in range(10)]
    return Row(
        record,
        float(scores.mean() - z.value),
        float(scores.mean() - z.high),
        float(scores.mean() - z.low),
        float(scores.std(ddof=1) / len(scores) ** 0.5),
        float(-rbm.free_energy(training).mean() - z.value),
        float(np.mean([frames_accuracy(test, one) for one in frames])),
        totals_accuracy(test, p),
        frames_accuracy(test, np.broadcast_to(p > 0.5, test.shape)),
        float(z.effective_chains),
        betas,
        chains,
    )


def recurrent(given: argparse.Namespace, rnn: RNNRBM, record: Record, data: Sequences) -> Row:
    """An RNN-RBM."""
    test, training = list(data.test[:: given.every]), list(data.train)
    with warnings.catch_warnings():
        # How many chains carry the estimates is in the file.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = rnn.log_likelihood(test, betas=given.betas, n_chains=given.ais_chains)
        few = first_pieces(training, given.validation_steps)
        of_training = rnn.log_likelihood(few, betas=given.betas, n_chains=4).mean
    scores = np.concatenate(found.values)
    how = {"betas": given.accuracy_betas, "n_chains": given.accuracy_chains}
    p = np.concatenate(rnn.predict(test, **how))
    x = np.concatenate(test)
    return Row(
        record,
        found.mean,
        found.low,
        found.high,
        float(scores.std(ddof=1) / len(scores) ** 0.5),
        of_training,
        100 * rnn.accuracy(test, **how),
        totals_accuracy(x, p),
        frames_accuracy(x, p > 0.5),
        float(found.log_partition.effective_chains.mean()),
        given.betas,
        given.ais_chains,
        given.accuracy_betas,
        given.accuracy_chains,
        given.every,
    )


def baselines(n_draws: int = 10) -> None:
    """Accuracies of independent keys, beside the published ones."""
    rng = np.random.default_rng(0)
    print("| set | keys | published % | frames % | totals % |\n|---|---|---|---|---|")
    for name in MUSIC:
        data = load_polyphonic_music(name)
        test, p = np.concatenate(data.test), np.concatenate(data.train).mean(axis=0)
        rates = (p, np.full_like(p, p.mean()))
        for which, own, published in zip(
            ("own rates", "one rate"), rates, PUBLISHED_KEYS[name], strict=True
        ):
            frames = np.mean(
                [frames_accuracy(test, rng.random(test.shape) < own) for _ in range(n_draws)]
            )
            totals = totals_accuracy(test, own)
            print(f"| {name} | {which} | {published:.2f} | {frames:.2f} | {totals:.2f} |")


def merged(file: Path, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of a file, with these in place of those with the same training."""
    own = [asdict(row) for row in rows]
    old = json.loads(file.read_text())["rows"] if file.exists() else []

    def training(row: dict[str, Any]) -> str:
        of = {k: row["record"][k] for k in ("data", "model", "seed", "settings")}
        return json.dumps(of, sort_keys=True)

    new = {training(row) for row in own}
    return [row for row in old if training(row) not in new] + own


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--sets", nargs="+", choices=MUSIC, default=list(MUSIC[:3]))
    add("--models", nargs="+", choices=list(MODELS), default=list(MODELS)[:3])
    add("--seeds", nargs="+", type=int, default=[0])
    add("--minutes", type=float, default=60.0, help="of the processor, for one training")
    add("--epochs", type=int, default=36)
    add("--plain-epochs", type=int, default=300, help="of the RBM without memory")
    add("--transpose", type=int, default=5, help="semitones up and down")
    add("--n-components", type=int, default=150)
    add("--n-recurrent", type=int, default=100)
    add("--recurrent", choices=("tanh", "gru"), default="gru")
    add("--weight-rank", type=int, default=30)
    add("--method", choices=("cd", "pcd"), default="cd")
    add("--n-gibbs", type=int, default=10)
    restarts = "share of chains that begin at other steps and make --restart-sweeps sweeps first"
    add("--restarts", type=float, default=0.0, help=restarts)
    add("--restart-sweeps", type=int, default=90)
    add("--batch-size", type=int, default=8, help="sequences side by side")
    add("--chunk", type=int, default=32, help="steps of a minibatch")
    add("--learning-rate", type=float, default=0.003, help="of Adam at the start; it falls to 0")
    add("--l2", type=float, default=2e-5)
    average = "first epoch of the mean of parameters that a recurrent model is given; 0: none"
    add("--average-from", type=int, default=0, help=average)
    add("--clip-norm", type=float)
    add("--patience", type=int, default=10, help="evaluations without a better one")
    add("--validate-every", type=int, default=4, help="epochs")
    add("--validation-steps", type=int, default=5000, help="of the validation pieces, the first")
    add("--betas", type=int, default=1000, help="inverse temperatures for the test")
    add("--ais-chains", type=int, default=8, help="of every step")
    add("--accuracy-betas", type=int, default=1000, help="inverse temperatures for the accuracy")
    add("--accuracy-chains", type=int, default=2, help="of every step")
    add("--every", type=int, default=1, help="of the test pieces, every so many, to be quick")
    add("--threads", type=int, help="all cores if not set")
    add("--keep", type=Path, help="folder of trained models")
    add("--only-train", action="store_true", help="leave the evaluation to another run")
    add("--baselines", action="store_true", help="accuracies of independent keys, nothing else")
    add("--json", type=Path, default=HERE / "music.json")
    given = parser.parse_args(argv)
    if given.baselines:
        return baselines()

    from run import machine

    rows: list[Row] = []
    print(HEAD, flush=True)
    for name in given.sets:
        data = load_polyphonic_music(name)
        for model in given.models:
            for seed in given.seeds:
                fitted, record = train(given, data, model, seed)
                if given.only_train:
                    continue
                print("  evaluating", file=sys.stderr)
                if model == "RBM":
                    rows.append(plain(fitted, record, data))
                else:
                    rows.append(recurrent(given, fitted, record, data))
                print(rows[-1], flush=True)
                out = {"machine": machine([]), "rows": merged(given.json, rows)}
                given.json.write_text(json.dumps(out, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
