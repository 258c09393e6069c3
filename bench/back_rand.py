"""Test error on MNIST over a random background: what the switches of a gated machine are worth.

``FASTBOLTZ_DATA=<folder with mnist.npz> python bench/back_rand.py`` draws the images afresh from
mnist.npz with a fixed seed: 62,000 of the 70,000 images, every pixel that is zero replaced by a
uniform grey value 0..255, then 10,000 to train on, 2,000 to choose the epoch by and 50,000 to test.
They are other draws than the published ones. Each model is trained for each seed, and the table and
``back_rand.json`` have the errors and the seconds of training; ``--models`` and ``--seeds`` choose,
and ``--keep`` keeps the other runs that the file has. With ``--checkpoints`` the training of a
classifier that was stopped goes on where it was.

===============  ================================================================================
rbm              logistic regression on the hidden units of an RBM as it comes
sparse-rbm       the same, of grey values, with `sparsity`
discriminative   `RBMClassifier`, ``log p(y | v)``
hybrid           `RBMClassifier`, hybrid, of grey values, with `sparsity`
one-group        the same with 50 hidden units
two-group        `TwoGroupRBMClassifier`, as one-group, and 250 hidden units without the label
gated-features   logistic regression on the hidden units of a `PointwiseGatedRBM` of grey values
gated            `PointwiseGatedRBMClassifier` of grey values, hybrid
===============  ================================================================================

"Of grey values" is ``visible="unit-interval"``: uniform noise is what such units do by themselves.
The file has the options of each run; its trainings shared one core with other work, as the load in
it says.

Published, on the original draws (Sohn, Zhou, Lee & Lee, ICML 2013): RBM features 11.39 %,
discriminative RBM 10.29, point-wise gated features 7.27, supervised point-wise gated 6.87.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
#: Seed of the draw of the images.
DATA_SEED = 0
N_TRAIN, N_VALID, N_TEST = 10_000, 2_000, 50_000
#: Hidden units; those that meet the label in the machines of one group and of two, and the others.
H, N_CLASS, N_NUISANCE = 500, 50, 250
GREY = "unit-interval"
_NOT_SETTINGS = ("models", "seeds", "json", "keep", "checkpoints")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes
    ----------
    model : str
    seed : int
    test_error, validation_error, train_error : float
        In per cent, with the parameters that were kept.
    seconds, processor_seconds : float
        Of training, pretraining and logistic regression included, validation too: on the clock,
        and of all threads of the process, which other work on the machine changes less.
    epochs, best_epoch : int
    settings : dict
        Options of the command.
    """

    model: str
    seed: int
    test_error: float
    validation_error: float
    train_error: float
    seconds: float
    processor_seconds: float | None
    epochs: int
    best_epoch: int
    settings: dict[str, Any]


def load() -> dict[str, np.ndarray]:
    """Images in [0, 1], float32, and labels."""
    folder = os.environ.get("FASTBOLTZ_DATA")
    if not folder:
        sys.exit("set FASTBOLTZ_DATA to the folder that holds mnist.npz (x_*: uint8, y_*).")
    path = Path(folder) / "mnist.npz"
    if not path.is_file():
        sys.exit(f"FASTBOLTZ_DATA has no {path.name}; it needs x_ and y_ of train, valid and test.")
    parts = ("train", "valid", "test")
    with np.load(path) as file:
        x = np.concatenate([file[f"x_{part}"] for part in parts])
        y = np.concatenate([file[f"y_{part}"] for part in parts])
    rng = np.random.default_rng(DATA_SEED)
    chosen = rng.permutation(len(x))[: N_TRAIN + N_VALID + N_TEST]
    x, y = x[chosen], y[chosen]
    x = np.where(x == 0, rng.integers(0, 256, x.shape, dtype=np.uint8), x)
    data = {}
    ends = np.cumsum([N_TRAIN, N_VALID, N_TEST])
    for part, end, n in zip(parts, ends, (N_TRAIN, N_VALID, N_TEST), strict=True):
        rows = slice(end - n, end)
        data[f"x_{part}"] = x[rows].astype(np.float32) / 255
        data[f"y_{part}"] = y[rows]
    return data


def noisy(X: np.ndarray, y: np.ndarray | None, share: float, seed: int) -> Callable[[int], Any]:
    """What `fit` takes in place of rows: a share of the pixels is noise, new in each epoch."""

    def begin(epoch: int) -> Iterator[Any]:
        rng = np.random.default_rng([seed, epoch])
        hit = rng.random(X.shape, dtype=np.float32) < share
        rows = np.where(hit, rng.random(X.shape, dtype=np.float32), X)
        yield rows if y is None else (rows, y)

    return begin


def classifiers(given: argparse.Namespace) -> dict[str, Any]:
    """Models that take labels."""
    from fastboltz import PointwiseGatedRBMClassifier, RBMClassifier, TwoGroupRBMClassifier
    from fastboltz.optimizers import Linear

    common = {"n_threads": given.threads, "n_iter_no_change": given.patience}
    plain = {"n_iter": given.epochs, "learning_rate": Linear(0.5)} | common
    grey = {"visible": GREY, "n_iter": given.epochs, "momentum": 0.9, "batch_size": 100}
    hybrid = {"objective": "hybrid", "alpha": 0.3, "learning_rate": Linear(0.1), "l2": given.l2}
    hybrid |= {"sparsity": 1.0, "activity": given.activity}
    hybrid |= grey | common
    return {
        "discriminative": RBMClassifier(H, objective="discriminative", **plain),
        "hybrid": RBMClassifier(H, **hybrid),
        "one-group": RBMClassifier(N_CLASS, **hybrid),
        "two-group": TwoGroupRBMClassifier(N_CLASS, n_nuisance=N_NUISANCE, order=2, **hybrid),
        "gated": PointwiseGatedRBMClassifier(
            (given.hidden, 0),
            visible=GREY,
            objective="discriminative" if given.alpha == 0 else "hybrid",
            alpha=given.alpha,
            mask_bias=given.mask_bias,
            n_inference=given.inference,
            n_pretraining=given.pretraining,
            activity=given.activity,
            learning_rate=Linear(given.learning_rate, given.final_rate),
            momentum=0.9,
            l2=given.l2,
            batch_size=100,
            n_iter=given.gated_epochs,
            **common,
        ),
    }


def features(given: argparse.Namespace) -> dict[str, Any]:
    """Models whose hidden units go to a logistic regression."""
    from fastboltz import RBM, PointwiseGatedRBM
    from fastboltz.optimizers import Linear

    common = {"batch_size": 100, "method": "cd", "n_threads": given.threads}
    grey = {"visible": GREY, "momentum": 0.9, "l2": given.l2, "sparsity": 1.0} | common
    return {
        "rbm": RBM(H, n_iter=given.epochs, **common),
        "sparse-rbm": RBM(H, n_iter=given.pretraining, activity=given.activity, **grey),
        "gated-features": PointwiseGatedRBM(
            (H, 0),
            mask_bias=given.mask_bias,
            n_inference=given.inference,
            n_pretraining=given.pretraining,
            activity=given.activity,
            learning_rate=Linear(0.04),
            n_iter=given.gated_epochs,
            **grey,
        ),
    }


def train(given: argparse.Namespace, data: dict[str, np.ndarray], name: str, seed: int) -> Run:
    """Train one model and test it."""
    from mnist_classify import kept
    from sklearn.linear_model import LogisticRegression

    from fastboltz.callbacks import Average

    X, y = data["x_train"], data["y_train"]
    rows: tuple[Any, ...] = (X, y)
    if given.noise:
        # Features learn without labels: the y of a `PointwiseGatedRBM` orders its units alone.
        labels = None if name in features(given) else y
        rows = (noisy(X, labels, given.noise, seed),)
    others = ("test", "valid", "train")
    begin, used = time.perf_counter(), time.process_time()
    if name in (models := features(given)):
        model = models[name].set_params(random_state=seed).fit(*rows)
        best = epochs = model.n_iter_
        table = {part: np.asarray(model.transform(data[f"x_{part}"])) for part in others}
        # The strength of the penalty is chosen by the validation rows.
        errors, chosen = [], []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it need not have converged
            for C in (0.01, 0.1, 1.0):
                linear = LogisticRegression(C=C, max_iter=100).fit(table["train"], y)
                errors.append(1 - linear.score(table["valid"], data["y_valid"]))
                chosen.append(linear)
        final = chosen[int(np.argmin(errors))]
        seconds, used = time.perf_counter() - begin, time.process_time() - used
    else:
        callbacks = [_look, *kept(given, f"{name}-{seed}")]
        if name == "gated" and given.average_from:
            callbacks.append(Average(given.average_from))
        model = classifiers(given)[name].set_params(random_state=seed, callbacks=callbacks)
        model.fit(*rows, validation=(data["x_valid"], data["y_valid"]))
        seconds, used = time.perf_counter() - begin, time.process_time() - used
        best, epochs = model.best_iter_, model.n_iter_
        table, final = {part: data[f"x_{part}"] for part in others}, model
    test, valid, own = (100 * (1 - final.score(table[part], data[f"y_{part}"])) for part in others)
    settings = {k: v for k, v in vars(given).items() if k not in _NOT_SETTINGS}
    return Run(name, seed, test, valid, own, seconds, used, epochs, best, settings)


def _look(progress: Any) -> None:
    error = progress.state.history["validation_error"][-1]
    print(
        f"  epoch {progress.state.epoch:3d} {progress.state.seconds:7.1f} s  validation "
        f"{100 * error:5.2f} %",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train every model with every seed, print and write the figures."""
    names = ("rbm", "sparse-rbm", "discriminative", "hybrid", "one-group")
    names += ("two-group", "gated-features", "gated")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", choices=names, nargs="*", default=list(names))
    add("--seeds", type=int, nargs="*", default=[0, 1, 2])
    add("--epochs", type=int, default=20, help="of all but the gated model")
    add("--patience", type=int, default=10, help="epochs without a lower validation error")
    add("--hidden", type=int, default=2000, help="units of the gated model")
    add("--gated-epochs", type=int, default=8)
    add("--pretraining", type=int, default=25, help="epochs of sparse RBMs")
    add("--learning-rate", type=float, default=0.1, help="of the gated model, at the start")
    add("--final-rate", type=float, default=0.0, help="of the gated model, at the end, on a line")
    average = "first epoch of the mean of parameters that the gated model is given; 0: none"
    add("--average-from", type=int, default=0, help=average)
    add("--alpha", type=float, default=0.3, help="weight of log p(v, y) in the gated model")
    add("--mask-bias", type=float, default=-1.0)
    add("--inference", type=int, default=4, help="mean-field steps")
    add("--activity", type=float, default=0.15, help="mean activity of sparse hidden units")
    add("--l2", type=float, default=4e-4)
    noise = "share of the training images' pixels that are uniform noise, new in every epoch"
    add("--noise", type=float, default=0.0, help=noise)
    add("--threads", type=int, help="all cores if not set")
    add("--checkpoints", type=Path, help="folder of trainings, which go on there when run again")
    add("--keep", action="store_true", help="other runs of the file")
    add("--json", type=Path, default=HERE / "back_rand.json")
    given = parser.parse_args(argv)
    data = load()
    runs = []
    for name in given.models:
        for seed in given.seeds:
            print(f"{name}, seed {seed}", flush=True)
            runs.append(run := train(given, data, name, seed))
            print(
                f"  test {run.test_error:.2f} %, validation {run.validation_error:.2f}, train "
                f"{run.train_error:.2f}; epoch {run.best_epoch} of {run.epochs}, "
                f"{run.seconds:.0f} s ({run.processor_seconds:.0f} of the processor)",
                flush=True,
            )
    if given.keep and given.json.is_file():
        chosen = {(run.model, run.seed) for run in runs}
        before = [Run(**run) for run in json.loads(given.json.read_text())["runs"]]
        runs = [run for run in before if (run.model, run.seed) not in chosen] + runs
        runs.sort(key=lambda run: names.index(run.model))
    print(f"\n{'model':<15} {'test error, %':<15} {'validation':<11} {'seconds':<8} seeds")
    for name in dict.fromkeys(run.model for run in runs):
        own = [run for run in runs if run.model == name]
        errors = np.array([run.test_error for run in own])
        spread = f" +- {errors.std(ddof=1):.2f}" if len(own) > 1 else ""
        print(
            f"{name:<15} {f'{errors.mean():.2f}{spread}':<15} "
            f"{np.mean([run.validation_error for run in own]):<11.2f} "
            f"{np.mean([run.seconds for run in own]):<8.0f} {[run.seed for run in own]}"
        )

    from run import machine

    out = {
        "machine": machine([]),
        "images": {"seed": DATA_SEED, "train": N_TRAIN, "valid": N_VALID, "test": N_TEST},
        "runs": [asdict(run) for run in runs],
    }
    given.json.write_text(json.dumps(out, indent=1) + "\n")
    print(f"written: {given.json}")


if __name__ == "__main__":
    main()
