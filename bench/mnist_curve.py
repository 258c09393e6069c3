"""Test log-likelihood on binarised MNIST against processor seconds, beside two other packages.

``FASTBOLTZ_DATA=<folder with mnist.npz> python bench/mnist_curve.py --rbms <python with rbms>``
trains 500 hidden units with each setting in `CONTENDERS`, on the same binarised rows and one
thread, and writes ``mnist_curve.json`` and ``mnist_curve.png``. Every package takes a step in turn.
Every point is scored by this package's annealed importance sampling, from exported weights.

Seconds are those of the training on the processor; setting up, drawing the data and scoring are not
in them. Where the learning rate falls, each point is a training of its own whose rate ends at zero;
else the points of a line are one training.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contenders import Worker, blas_threads
from mnist_rbm import HERE, load

N_HIDDEN = 500


@dataclass(frozen=True)
class Contender:
    """A package with its settings.

    Attributes
    ----------
    package : str
    name : str
    passes : tuple of int
        Over the training rows, at which the model is scored.
    falls : bool
        Whether the rate falls linearly to zero.
    settings : dict
    """

    package: str
    name: str
    passes: tuple[int, ...]
    falls: bool
    settings: dict[str, Any]


#: For each of the others its defaults, as far as they end in this time, reasonable settings, and
#: the longest training that a goal names (the last of each). Ours: chosen on the validation rows.
CONTENDERS = (
    Contender(
        "fastboltz",
        "PCD-1, rate 0.4 falling",
        (1, 2, 3, 4, 5, 6, 8),
        True,
        {"batch_size": 128, "learning_rate": 0.4, "n_gibbs": 1},
    ),
    Contender(
        "fastboltz",
        "PCD-3, rate 0.3 falling",
        (4, 8, 16, 32),
        True,
        {"batch_size": 128, "learning_rate": 0.3, "n_gibbs": 3},
    ),
    Contender(
        "scikit-learn",
        "its defaults",
        (2, 5, 10),
        False,
        {"batch_size": 10, "learning_rate": 0.1},
    ),
    Contender(
        "scikit-learn",
        "minibatches of 100",
        (2, 5, 10),
        False,
        {"batch_size": 100, "learning_rate": 0.1},
    ),
    Contender(
        "scikit-learn",
        "minibatches of 100, rate 0.1 falling",
        (2, 5, 10),
        True,
        {"batch_size": 100, "learning_rate": 0.1},
    ),
    Contender(
        "scikit-learn",
        "minibatches of 100, rate 0.2 falling",
        (2, 5, 10),
        True,
        {"batch_size": 100, "learning_rate": 0.2},
    ),
    Contender(
        "scikit-learn",
        "minibatches of 128, rate 0.05 falling",
        (20, 100),
        True,
        {"batch_size": 128, "learning_rate": 0.05},
    ),
    Contender(
        "rbms",
        "default rate, 1 sweep, minibatches of 200",
        (5, 10),
        False,
        {"batch_size": 200, "learning_rate": 0.01, "gibbs_steps": 1},
    ),
    Contender(
        "rbms",
        "rate 0.2, 1 sweep, minibatches of 200",
        (2, 5, 10),
        False,
        {"batch_size": 200, "learning_rate": 0.2, "gibbs_steps": 1},
    ),
    Contender(
        "rbms",
        "rate 0.2 falling, 1 sweep, minibatches of 200",
        (2, 5, 10),
        True,
        {"batch_size": 200, "learning_rate": 0.2, "gibbs_steps": 1},
    ),
    Contender(
        "rbms",
        "rate 0.2 falling, 10 sweeps, minibatches of 200",
        (3,),
        True,
        {"batch_size": 200, "learning_rate": 0.2, "gibbs_steps": 10},
    ),
    Contender(
        "rbms",
        "rate 0.3 falling, 1 sweep of 512 chains, minibatches of 128",
        (60,),
        True,
        {"batch_size": 128, "learning_rate": 0.3, "gibbs_steps": 1, "n_chains": 512},
    ),
)

#: A trained model: processor seconds, and weights (n_hidden, n_visible) with both biases.
Point = tuple[float, np.ndarray, np.ndarray, np.ndarray]


def ours(x: np.ndarray, one: Contender, seed: int) -> Iterator[Point]:
    """This package's RBM."""
    from fastboltz import RBM
    from fastboltz.optimizers import Linear

    options = one.settings | {"learning_rate": Linear(one.settings["learning_rate"])}
    for length in one.passes:
        rbm = RBM(N_HIDDEN, n_iter=length, n_threads=1, random_state=seed, **options)
        begin = time.process_time()
        rbm.fit(x)
        yield time.process_time() - begin, *_arrays(rbm)


def scikit_learn(x: np.ndarray, one: Contender, seed: int) -> Iterator[Point]:
    """scikit-learn's RBM, in float32, its minibatches called as its ``fit`` calls them.

    It has no falling rate, and its ``partial_fit`` is in double precision. Rows are shuffled.
    """
    from sklearn.neural_network import BernoulliRBM

    rows = one.settings["batch_size"]
    for length in one.passes if one.falls else one.passes[-1:]:
        rbm = BernoulliRBM(N_HIDDEN, n_iter=0, random_state=seed, **one.settings)
        rbm.fit(x)
        rng = np.random.RandomState(seed)
        n_updates, update, seconds = length * (len(x) // rows), 0, 0.0
        for number in range(1, length + 1):
            with blas_threads(1):
                begin = time.process_time()
                order = rng.permutation(len(x))
                for start in range(0, len(x) - rows + 1, rows):
                    if one.falls:
                        rbm.learning_rate = one.settings["learning_rate"] * (1 - update / n_updates)
                    rbm._fit(x[order[start : start + rows]], rng)
                    update += 1
                seconds += time.process_time() - begin
            if number in one.passes and (number == length or not one.falls):
                yield seconds, *_arrays(rbm)


def _arrays(rbm: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights and biases under scikit-learn's names, which are ours too."""
    return rbm.components_, rbm.intercept_hidden_, rbm.intercept_visible_


class Rbms:
    """rbms, in its own environment: ``peer_rbms_mnist.py`` is told what to train.

    Parameters
    ----------
    python : str
        Its interpreter.
    folder : Path
        For the arrays that go back and forth.
    """

    def __init__(self, python: str, folder: Path, x: np.ndarray) -> None:
        self.worker = Worker("rbms_mnist", python)
        self.folder = folder
        np.save(folder / "x.npy", x.astype(np.uint8))

    def __call__(self, x: np.ndarray, one: Contender, seed: int) -> Iterator[Point]:
        """Train, in turn with others: the worker keeps every training that is not at its end."""
        file = self.folder / "model.npz"
        about = {"x": str(self.folder / "x.npy"), "seed": seed, "n_hidden": N_HIDDEN}
        for number in one.passes:
            if one.falls or number == one.passes[0]:
                falls = number if one.falls else None
                self.worker.ask({"begin": one.name, "falls": falls, **about, **one.settings})
            asked = {"advance": one.name, "passes": number, "file": str(file)}
            seconds = self.worker.ask(asked)["seconds"]
            with np.load(file) as arrays:
                yield seconds, arrays["w"], arrays["hidden"], arrays["visible"]


def score(x_test: np.ndarray, point: Point, chains: int, betas: int) -> dict[str, float]:
    """Mean test log-likelihood of exported weights, by annealed importance sampling."""
    from fastboltz import RBM

    _, w, hidden, visible = point
    rbm = RBM(len(w), n_iter=0, n_threads=1, random_state=0).fit(x_test)
    for into, array in zip(_arrays(rbm), (w, hidden, visible), strict=True):
        into[:] = array
    with warnings.catch_warnings():
        # How many chains carry the estimate is written down.
        warnings.simplefilter("ignore", RuntimeWarning)
        z = rbm.log_partition("ais", n_chains=chains, betas=betas)
    mean = float(-rbm.free_energy(x_test).mean())
    return {
        "test": mean - z.value,
        "low": mean - z.high,
        "high": mean - z.low,
        "effective_chains": z.effective_chains,
    }


def reached(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each of the other packages the points that none of its own beats, in less time or as much.

    Beside each stands when a point of ours was as good.
    """
    points = [(line["package"], p) for line in lines for p in line["points"]]
    found = []
    for package in dict.fromkeys(name for name, _ in points if name != "fastboltz"):
        best = -np.inf
        for point in sorted((p for name, p in points if name == package), key=_seconds):
            if point["test"] <= best:
                continue
            best = point["test"]
            as_good = [p for name, p in points if name == "fastboltz" and p["test"] >= best]
            ours_at = min(map(_seconds, as_good), default=None)
            found.append(
                {
                    "package": package,
                    "test": best,
                    "seconds": point["seconds"],
                    "ours": ours_at,
                    "share": None if ours_at is None else ours_at / point["seconds"],
                }
            )
    return found


def _seconds(point: dict[str, Any]) -> float:
    return point["seconds"]


def draw(lines: Sequence[dict[str, Any]], file: Path) -> None:
    """The picture."""
    from matplotlib import pyplot as plt

    colours = {"fastboltz": "C0", "scikit-learn": "C1", "rbms": "C2"}
    styles: dict[str, int] = {}
    figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    for line in lines:
        if not line["points"]:
            continue
        package = line["package"]
        number = styles[package] = styles.get(package, -1) + 1
        seconds, test, low, high = (
            [p[key] for p in line["points"]] for key in ("seconds", "test", "low", "high")
        )
        style = ("o-", "s--", "^:", "D-.", "v-")[number % 5]
        name = f"{package}: {line['name']}"
        axes.plot(seconds, test, style, color=colours[package], markersize=4, label=name)
        axes.fill_between(seconds, low, high, color=colours[package], alpha=0.1, linewidth=0)
    top = max(p["test"] for line in lines for p in line["points"])
    axes.set(
        xscale="log",
        xlabel="processor seconds of training, one thread",
        ylabel="test log-likelihood [nats]",
        ylim=(top - 100, top + 5),
    )
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, score, and write the files."""
    import tempfile

    from run import machine

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--rbms", help="interpreter of an environment with rbms; its lines are left out without")
    add("--seed", type=int, default=0)
    add("--data-seed", type=int, default=0, help="of the binarisation")
    add("--betas", type=int, default=2_000, help="temperatures of a score")
    add("--chains", type=int, default=100, help="of a score")
    add("--rows", type=int, default=50_000, help="to learn from, for a trial")
    add("--json", type=Path, default=HERE / "mnist_curve.json")
    given = parser.parse_args(argv)
    data, _ = load(given.data_seed)
    x, x_test = data["x_train"][: given.rows], data["x_test"]
    chosen = [one for one in CONTENDERS if given.rbms or one.package != "rbms"]
    lines: list[dict[str, Any]] = [
        {
            "package": one.package,
            "name": one.name,
            "falls": one.falls,
            "settings": one.settings,
            "points": [],
        }
        for one in chosen
    ]
    with tempfile.TemporaryDirectory() as folder:
        trains: dict[str, Any] = {"fastboltz": ours, "scikit-learn": scikit_learn}
        if given.rbms:
            trains["rbms"] = Rbms(given.rbms, Path(folder), x)
        about = machine([trains["rbms"].worker] if given.rbms else [])
        running = [
            (trains[one.package](x, one, given.seed), line, iter(one.passes))
            for one, line in zip(chosen, lines, strict=True)
        ]
        settings = {k: v for k, v in vars(given).items() if k not in ("json", "rbms")}
        while running:
            for entry in list(running):
                points, line, passes = entry
                point = next(points, None)
                if point is None:
                    running.remove(entry)
                    continue
                figure = score(x_test, point, given.chains, given.betas)
                figure = {"passes": next(passes), "seconds": point[0], **figure}
                line["points"].append(figure)
                print(
                    f"{line['package']:12} {line['name']:47} {figure['passes']:3d} passes "
                    f"{point[0]:7.1f} s {figure['test']:8.2f} "
                    f"({figure['low']:.2f} to {figure['high']:.2f})",
                    flush=True,
                )
                out = {"machine": about, "settings": settings, "lines": lines}
                out["reached"] = reached(lines)
                # After every point: a long run that is ended leaves what it has found.
                given.json.write_text(json.dumps(out, indent=1) + "\n")
        if given.rbms:
            trains["rbms"].worker.close()
    draw(lines, given.json.with_suffix(".png"))
    for one in reached(lines):
        print(
            f"{one['package']}: {one['test']:.2f} after {one['seconds']:.1f} s; "
            + (
                "not reached by us."
                if one["ours"] is None
                else f"as good here after {one['ours']:.1f} s, {one['share']:.3f} of that."
            )
        )
    print(f"written: {given.json}")


if __name__ == "__main__":
    main()
