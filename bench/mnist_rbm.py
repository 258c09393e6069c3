"""Test log-likelihood of an RBM on binarised MNIST against training seconds.

``FASTBOLTZ_DATA=<folder with mnist.npz> python bench/mnist_rbm.py`` trains 500 hidden units and
writes ``mnist_rbm.json``. Pixels are drawn once, from a fixed seed, as Bernoulli of their grey
value: our own draw, so figures of others on their draws differ by some tenths of a nat. The
log-likelihood is that of the test set (10,000 images) with log Z by annealed importance sampling;
its interval is the annealing's, and the error of the average over images stands beside it. At the
end chains of the model are annealed the other way too: the likelihood by that is too low on
average, that of annealing forwards too high.

With ``--redraw`` the pixels of the training images are drawn anew for every epoch (those of the
test images never): a grey value is a probability, and one draw of it a small part of what is known.

Training time is that of the updates: setting up and evaluating are not in it.
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
#: Rows on which the log-likelihood of the training set is measured.
_TRAIN_ROWS = 10_000


@dataclass(frozen=True)
class Figure:
    """The model after some epochs.

    Attributes
    ----------
    epoch : int
    seconds, processor : float
        Training time so far, by the clock and on the processor.
    test, low, high : float
        Mean test log-likelihood in nats, with the 95 % interval of the annealing.
    error : float
        Standard error of the average over test images.
    train : float
        Mean log-likelihood of some rows of the training set.
    log_z, effective_chains : float
        log Z and how many chains carry it.
    n_chains, n_betas : int
        Of the annealing.
    reverse : float or None
        Mean test log-likelihood by annealing samples of the model back to the reference.
    valid : float
        Mean log-likelihood of the validation rows, which choose the settings.
    """

    epoch: int
    seconds: float
    processor: float
    test: float
    low: float
    high: float
    error: float
    train: float
    log_z: float
    effective_chains: float
    n_chains: int
    n_betas: int
    reverse: float | None
    valid: float


def load(seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Images: binarised, float32, and as they are, of 256 grey values."""
    folder = os.environ.get("FASTBOLTZ_DATA")
    if not folder:
        sys.exit("set FASTBOLTZ_DATA to the folder that holds mnist.npz (x_train, x_test: uint8).")
    path = Path(folder) / "mnist.npz"
    if not path.is_file():
        sys.exit(f"FASTBOLTZ_DATA has no {path.name}; it needs x_train and x_test, (n, 784) uint8.")
    rng = np.random.default_rng(seed)
    drawn, images = {}, {}
    with np.load(path) as file:
        for name in ("x_train", "x_valid", "x_test"):
            images[name] = file[name]
            grey = images[name].astype(np.float32) / 255
            drawn[name] = (rng.random(grey.shape, dtype=np.float32) < grey).astype(np.float32)
    return drawn, images


def evaluate(
    rbm: Any,
    data: dict[str, np.ndarray],
    epoch: int,
    seconds: float,
    processor: float,
    chains: int,
    betas: int,
    sweeps: int = 0,
) -> Figure:
    """Log-likelihoods with log Z by annealed importance sampling.

    With ``sweeps`` also by annealing back from samples, which so many sweeps draw: half of the
    chains begin at test images, half where the persistent chains are.
    """
    samples = None
    if sweeps:
        half = chains // 2
        kept = np.resize(rbm.chains_, (half, data["x_test"].shape[1]))
        begin = np.concatenate([data["x_test"][: chains - half], kept])
        samples = {"v": rbm.sample(chains, sweeps, init=begin, random_state=1)}
    with warnings.catch_warnings():
        # The number of effective chains is in the table.
        warnings.simplefilter("ignore", RuntimeWarning)
        z = rbm.log_partition("ais", n_chains=chains, betas=betas, samples=samples)
    test = -rbm.free_energy(data["x_test"])
    train = -rbm.free_energy(data["x_train"][:_TRAIN_ROWS])
    mean = float(test.mean())
    return Figure(
        epoch=epoch,
        seconds=seconds,
        processor=processor,
        test=mean - z.value,
        low=mean - z.high,
        high=mean - z.low,
        error=float(test.std(ddof=1) / np.sqrt(len(test))),
        train=float(train.mean()) - z.value,
        log_z=z.value,
        effective_chains=z.effective_chains,
        n_chains=z.n_chains,
        n_betas=z.n_betas,
        reverse=None if z.reverse is None else mean - z.reverse.value,
        valid=float(-rbm.free_energy(data["x_valid"]).mean()) - z.value,
    )


class Curve:
    """Evaluates at epochs 1, 2, 4, ... and at the last one, printing as it goes."""

    def __init__(self, given: argparse.Namespace, data: dict[str, np.ndarray]) -> None:
        self.given = given
        self.data = data
        last = given.epochs
        self.epochs = {2**k for k in range(last.bit_length())} | {last}
        self.figures: list[Figure] = []
        #: Processor time when the training began, evaluations since then added.
        self.begin = time.process_time()
        print(
            f"{'epoch':>5} {'seconds':>8} {'processor':>9} {'test':>9} {'95 % interval':>19} "
            f"{'+-':>5} {'reverse':>9} {'valid':>9} {'train':>9} {'chains':>11} "
            f"{'temperatures':>12}"
        )

    def __call__(self, rbm: Any, epoch: int, seconds: float) -> None:
        """Evaluate if it is time to."""
        if epoch not in self.epochs:
            return
        given, begin = self.given, time.process_time()
        betas, sweeps = given.curve_betas, 0
        if epoch == given.epochs:
            betas, sweeps = given.betas, given.reverse_sweeps
        processor = begin - self.begin
        figure = evaluate(
            rbm, self.data, epoch, seconds, processor, given.ais_chains, betas, sweeps
        )
        self.figures.append(figure)
        interval = f"{figure.low:9.2f}{figure.high:9.2f}"
        few = " (few)" if figure.effective_chains < 10 else ""
        reverse = "" if figure.reverse is None else f"{figure.reverse:.2f}"
        chains = f"{figure.effective_chains:.0f}/{figure.n_chains}{few}"
        print(
            f"{epoch:5d} {seconds:8.1f} {processor:9.1f} {figure.test:9.2f} {interval:>19} "
            f"{figure.error:5.2f} {reverse:>9} {figure.valid:9.2f} {figure.train:9.2f} "
            f"{chains:>11} {figure.n_betas:12d}",
            flush=True,
        )
        self.begin += time.process_time() - begin


def model(given: argparse.Namespace, **options: Any) -> Any:
    """This package's RBM with the settings of the command."""
    from fastboltz import RBM
    from fastboltz.optimizers import Linear

    return RBM(
        given.n_components,
        method=given.method,
        n_gibbs=given.n_gibbs,
        n_chains=given.n_chains,
        learning_rate=Linear(given.learning_rate, given.final_rate),
        batch_size=given.batch_size,
        momentum=given.momentum,
        l2=given.l2,
        centered=given.centered,
        n_threads=given.threads,
        random_state=given.seed,
        **options,
    )


def train(
    given: argparse.Namespace, rows: np.ndarray | Callable[[], Iterator[np.ndarray]], curve: Curve
) -> None:
    """Train this package's RBM."""

    def look(progress: Any) -> None:
        curve(progress.model, progress.state.epoch, progress.state.seconds)

    rbm = model(given, n_iter=given.epochs, callbacks=[look]).fit(rows)
    if given.save is not None:
        rbm.set_params(callbacks=None).save(given.save)


def train_sklearn(given: argparse.Namespace, x: np.ndarray, curve: Curve) -> None:
    """Train scikit-learn's, in float32, with the rate falling and rows shuffled (PCD-1).

    It has no schedule and its ``partial_fit`` is in double precision, so its minibatch is called
    as its ``fit`` calls it.
    """
    from contenders import blas_threads
    from sklearn.neural_network import BernoulliRBM

    rows = given.batch_size
    rbm = BernoulliRBM(given.n_components, batch_size=rows, n_iter=0, random_state=given.seed)
    rbm.fit(x)
    # Evaluated by the same code as ours.
    ours = model(given, n_iter=0).fit(x)
    rng = np.random.RandomState(given.seed)
    n_updates, update, seconds = given.epochs * (len(x) // rows), 0, 0.0
    with blas_threads(given.threads or os.cpu_count() or 1):
        for epoch in range(1, given.epochs + 1):
            begin = time.perf_counter()
            order = rng.permutation(len(x))
            # Only whole minibatches: it sums over all chains whatever the number of rows.
            for start in range(0, len(x) - rows + 1, rows):
                share = update / n_updates
                rbm.learning_rate = (1 - share) * given.learning_rate + share * given.final_rate
                rbm._fit(x[order[start : start + rows]], rng)
                update += 1
            seconds += time.perf_counter() - begin
            ours.components_[:] = rbm.components_
            ours.intercept_hidden_[:] = rbm.intercept_hidden_
            ours.intercept_visible_[:] = rbm.intercept_visible_
            curve(ours, epoch, seconds)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, print the curve and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--package", choices=("fastboltz", "scikit-learn"), default="fastboltz")
    add("--epochs", type=int, default=20)
    add("--n-components", type=int, default=500)
    add("--batch-size", type=int, default=200)
    add("--learning-rate", type=float, default=0.6, help="at the start; it falls linearly")
    add("--final-rate", type=float, default=0.0, help="at the end")
    add("--momentum", type=float, default=0.0)
    add("--l2", type=float, default=0.0)
    add("--centered", action=argparse.BooleanOptionalAction, default=True)
    add("--method", choices=("pcd", "cd"), default="pcd")
    add("--n-chains", type=int, help="persistent chains; as many as rows of a minibatch if not set")
    add("--n-gibbs", type=int, default=5)
    add("--threads", type=int, help="all cores if not set")
    add("--seed", type=int, default=0)
    add("--data-seed", type=int, default=0, help="of the binarisation")
    redraw = "draw the training images' pixels anew for every epoch"
    add("--redraw", action=argparse.BooleanOptionalAction, default=False, help=redraw)
    add("--all-rows", action="store_true", help="learn from the validation rows too")
    add("--save", type=Path, help="file to save the model to")
    add("--betas", type=int, default=20_000, help="temperatures of the last estimate")
    add("--curve-betas", type=int, default=2_000, help="temperatures of the others")
    add("--ais-chains", type=int, default=256)
    sweeps = "from which the samples come that are annealed back at the end; 0 does without"
    add("--reverse-sweeps", type=int, default=5_000, help=sweeps)
    add("--json", type=Path, default=HERE / "mnist_rbm.json")
    given = parser.parse_args(argv)
    if given.redraw and given.package != "fastboltz":
        parser.error("--redraw is for --package fastboltz: scikit-learn's fit takes rows alone.")
    data, grey = load(given.data_seed)
    names = ("x_train", "x_valid") if given.all_rows else ("x_train",)
    rows: Any = np.concatenate([(grey if given.redraw else data)[name] for name in names])
    if given.redraw:
        from fastboltz.datasets import Redrawn

        rows = Redrawn(rows, random_state=given.seed)
    curve = Curve(given, data)
    (train if given.package == "fastboltz" else train_sklearn)(given, rows, curve)

    from run import machine

    settings = {k: v for k, v in vars(given).items() if k not in ("json", "save")}
    out = {
        "machine": machine([]),
        "settings": settings,
        "curve": [asdict(figure) for figure in curve.figures],
    }
    given.json.write_text(json.dumps(out, indent=1) + "\n")
    print(f"written: {given.json}")


if __name__ == "__main__":
    main()
