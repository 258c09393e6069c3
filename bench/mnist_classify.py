"""Test error of class RBMs on MNIST, over seeds.

``FASTBOLTZ_DATA=<folder with mnist.npz> python bench/mnist_classify.py`` trains a discriminative
RBM (500 hidden units) and a hybrid one (1500, alpha 0.01) for each seed, on the usual split of
50,000 / 10,000 / 10,000 images with grey values in [0, 1], and writes ``mnist_classify.json``.
Training stops when the validation error has not fallen for some epochs, and the parameters with
the lowest validation error are tested: the test images choose nothing. Published: 1.81 % and
1.28 % (Larochelle & Bengio, ICML 2008). Seconds are those of the updates; the validation after
each epoch is not in them. With ``--checkpoints`` a run that was stopped goes on where it was. With
``--redraw`` the pixels of the training images are drawn anew for each epoch, as Bernoulli of their
grey value, and with ``--swap`` a share of them is that of other images; validation and test images
stay grey and whole. A hybrid machine then learns log p(y | v) from swapped images and log p(v),
weighed by alpha, from clean ones: a minibatch has half of each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
#: What each model is trained with unless the command says otherwise.
SETTINGS: dict[str, dict[str, Any]] = {
    "discriminative": {"n_components": 500},
    "hybrid": {"n_components": 1500, "alpha": 0.01},
}


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes
    ----------
    objective : str
    seed : int
    test_error, validation_error : float
        In per cent, with the parameters that were kept.
    best_epoch, epochs : int
    seconds : float
        Time of the updates.
    """

    objective: str
    seed: int
    test_error: float
    validation_error: float
    best_epoch: int
    epochs: int
    seconds: float


def load() -> dict[str, np.ndarray]:
    """Images in [0, 1], float32, and labels."""
    folder = os.environ.get("FASTBOLTZ_DATA")
    if not folder:
        sys.exit("set FASTBOLTZ_DATA to the folder that holds mnist.npz (x_*: uint8, y_*).")
    path = Path(folder) / "mnist.npz"
    if not path.is_file():
        sys.exit(f"FASTBOLTZ_DATA has no {path.name}; it needs x_ and y_ of train, valid and test.")
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}
    return {
        name: x.astype(np.float32) / 255 if name.startswith("x_") else x for name, x in data.items()
    }


def kept(given: argparse.Namespace, name: str) -> list[Any]:
    """What keeps a training in a file, where one is asked for."""
    from fastboltz import Checkpoint

    if given.checkpoints is None:
        return []
    given.checkpoints.mkdir(parents=True, exist_ok=True)
    return [Checkpoint(given.checkpoints / f"{name}.fbm", resume=True)]


def train(given: argparse.Namespace, data: dict[str, np.ndarray], objective: str, seed: int) -> Run:
    """Train one model and test it."""
    from fastboltz import RBMClassifier
    from fastboltz.datasets import Redrawn, SwapNoise
    from fastboltz.optimizers import Linear

    settings = dict(SETTINGS[objective])
    if given.n_components:
        settings["n_components"] = given.n_components
    if given.alpha is not None:
        settings["alpha"] = given.alpha
    both = bool(given.swap) and objective == "hybrid"
    if both:
        settings |= {"alpha": 0.0, "beta": settings["alpha"]}

    def look(progress: Any) -> None:
        history, epoch = progress.state.history, progress.state.epoch
        if epoch % given.every == 0:
            print(
                f"  epoch {epoch:4d} {progress.state.seconds:8.1f} s  validation "
                f"{100 * history['validation_error'][-1]:5.2f} %",
                flush=True,
            )

    model = RBMClassifier(
        objective="semi-supervised" if both else objective,
        optimizer=given.optimizer,
        learning_rate=Linear(given.learning_rate, given.final_rate),
        batch_size=given.batch_size,
        n_iter=given.epochs,
        n_iter_no_change=given.patience,
        momentum=given.momentum,
        l2=given.l2,
        bias_decrement=given.bias_decrement,
        centered=given.centered,
        n_threads=given.threads,
        callbacks=[look, *kept(given, f"{objective}-{seed}")],
        random_state=seed,
        **settings,
    )
    part = slice(given.rows)
    rows: tuple[Any, ...] = data["x_train"][part], data["y_train"][part]
    if given.redraw:
        rows = (Redrawn(*rows, random_state=seed),)
    if given.swap:
        rows = (SwapNoise(*rows, share=given.swap, with_clean=both, random_state=seed),)
    model.fit(*rows, validation=(data["x_valid"], data["y_valid"]))
    return Run(
        objective=objective,
        seed=seed,
        test_error=100 * (1 - model.score(data["x_test"], data["y_test"])),
        validation_error=100 * min(model.history_["validation_error"]),
        best_epoch=model.best_iter_,
        epochs=model.n_iter_,
        seconds=model.history_["seconds"][-1],
    )


def summary(runs: Sequence[Run]) -> dict[str, dict[str, float | None]]:
    """Mean and spread of the test error of each model."""
    out: dict[str, dict[str, float | None]] = {}
    for objective in dict.fromkeys(run.objective for run in runs):
        errors = np.array([run.test_error for run in runs if run.objective == objective])
        seconds = np.array([run.seconds for run in runs if run.objective == objective])
        out[objective] = {
            "seeds": len(errors),
            "mean": float(errors.mean()),
            "spread": float(errors.std(ddof=1)) if len(errors) > 1 else None,
            "lowest": float(errors.min()),
            "highest": float(errors.max()),
            "seconds": float(seconds.mean()),
        }
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """Train every model with every seed, print and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--objective", choices=tuple(SETTINGS), nargs="*", default=list(SETTINGS))
    add("--seeds", type=int, nargs="*", default=[0, 1, 2])
    add("--n-components", type=int, help="500 (discriminative) and 1500 (hybrid) if not set")
    add("--alpha", type=float, help="0.01 (hybrid) if not set")
    add("--epochs", type=int, default=100)
    add("--patience", type=int, default=15, help="epochs without a lower validation error")
    add("--batch-size", type=int, default=10)
    add("--learning-rate", type=float, default=0.5, help="at the start")
    add("--final-rate", type=float, default=0.5, help="at the end, on a line")
    add("--optimizer", choices=("sgd", "adam"), default="sgd")
    add("--momentum", type=float, default=0.0)
    add("--l2", type=float, default=0.0)
    add("--bias-decrement", type=float, default=0.0, help="of hidden biases, an update")
    add("--centered", action=argparse.BooleanOptionalAction, default=False)
    add("--threads", type=int, help="all cores if not set")
    redraw = "draw the training images' pixels anew for every epoch"
    add("--redraw", action=argparse.BooleanOptionalAction, default=False, help=redraw)
    swap = "share of the training images' pixels that are those of others, anew for every epoch"
    add("--swap", type=float, default=0.0, help=swap)
    add("--rows", type=int, help="training images, from the first; all if not set")
    add("--every", type=int, default=1, help="epochs between two lines")
    add("--checkpoints", type=Path, help="folder of trainings, which go on there when run again")
    add("--json", type=Path, default=HERE / "mnist_classify.json")
    given = parser.parse_args(argv)
    data = load()
    runs = []
    for objective in given.objective:
        for seed in given.seeds:
            print(f"{objective}, seed {seed}")
            run = train(given, data, objective, seed)
            runs.append(run)
            print(
                f"  test error {run.test_error:.2f} % (validation {run.validation_error:.2f} %, "
                f"epoch {run.best_epoch} of {run.epochs}, {run.seconds:.0f} s)"
            )
    figures = summary(runs)
    for objective, figure in figures.items():
        spread = "" if figure["spread"] is None else f" +- {figure['spread']:.2f}"
        print(
            f"{objective}: test error {figure['mean']:.2f}{spread} % over {figure['seeds']} "
            f"seeds, {figure['seconds']:.0f} s each"
        )

    from run import machine

    out = {
        "machine": machine([]),
        "settings": {k: v for k, v in vars(given).items() if k not in ("json", "checkpoints")},
        "runs": [asdict(run) for run in runs],
        "summary": figures,
    }
    given.json.write_text(json.dumps(out, indent=1) + "\n")
    print(f"written: {given.json}")


if __name__ == "__main__":
    main()
