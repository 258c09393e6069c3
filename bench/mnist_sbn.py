"""Test bounds of sigmoid belief networks on binarised MNIST, and what their gradients cost.

``FASTBOLTZ_DATA=<folder with mnist.npz> python bench/mnist_sbn.py`` trains a network of 200 hidden
units and one of two layers of 200, and adds what it finds to ``mnist_sbn.json``. Pixels are drawn
once, from a fixed seed, as Bernoulli of their grey value: our own draw, so figures of others on
their draws differ by some tenths of a nat. The split is the usual one of 50,000 / 10,000 / 10,000
images. The validation bound chooses the epoch whose parameters are tested; the test images choose
nothing. With ``--redraw`` the pixels of the training images are drawn anew for every update, which
is as if there were more images; those of validation and test stay drawn once.

The published figures (Mnih & Gregor, ICML 2014: 113.1 nats for 200, 99.8 for 200-200) are negative
variational bounds, of one path: so is ``test``. The bound of several paths stands beside it under
its own name. Seconds are those of the updates on the clock, and, since other processes may share
the core, of the processor in them, validation left out of both.

The table of gradients is made at the parameters of the start (after one epoch), the middle and the
end of a training: the variance of a minibatch's gradient for the inference network (summed over its
parameters, over draws of the paths, the rows held), the processor's seconds for it, and the product
of the two. The baselines of "nvil" first learn for some updates with everything else held, and its
gradients are compared before the normalisation by a deviation. The gradient of "vimco" is that of
another bound, of several paths. Biased methods have no place in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
#: Rows of the minibatches whose gradients are measured, minibatches, and draws for each.
ROWS, BATCHES, DRAWS = 100, 4, 60
#: Updates of NVIL's baselines before its gradients are measured.
BASELINE_UPDATES = 500
#: Method and paths of each row.
MEASURED = (
    ("reinforce", 1),
    ("nvil", 1),
    ("leave-one-out", 2),
    ("leave-one-out", 4),
    ("arm", 2),
    ("disarm", 2),
    ("disarm", 4),
    ("vimco", 5),
)


@dataclass(frozen=True)
class Point:
    """The model after an epoch at which it was evaluated."""

    epoch: int
    seconds: float
    processor_seconds: float
    validation: float


@dataclass(frozen=True)
class Cost:
    """What one method's gradient costs at one moment of a training."""

    method: str
    n_paths: int
    moment: str
    variance: float
    seconds: float
    variance_times_seconds: float


class Clock:
    """Keeps points of the curve, the processor's time in updates, and parameters of some epochs."""

    def __init__(self, epochs: int) -> None:
        self.moments = {1: "start", max(1, epochs // 2): "middle"}
        self.kept: dict[str, dict[str, np.ndarray]] = {}
        self.points: list[Point] = []
        self.clock = self.processor = 0.0

    def __call__(self, progress: Any) -> None:
        state = progress.state
        score = float(state.history["validation"][-1])
        if moment := self.moments.get(state.epoch):
            self.kept[moment] = {key: x.copy() for key, x in progress.params.items()}
        if np.isfinite(score):
            self.points.append(Point(state.epoch, state.seconds, self.processor, score))
            print(
                f"{state.epoch:5d} {state.seconds:8.1f} {self.processor:8.1f} {score:9.2f}",
                flush=True,
            )


def timed_model(clock: Clock, redraw: bool, **options: Any) -> Any:
    """The estimator, with the processor's time of its updates counted.

    With ``redraw``, what it is given are probabilities, and each update draws its rows from them.
    """
    from fastboltz import SigmoidBeliefNetwork, rng
    from fastboltz.training import TrainingState

    class Timed(SigmoidBeliefNetwork):
        def _trainer(self) -> Any:
            trainer = super()._trainer()
            update = trainer.update

            def counted(
                params: Any, batch: Any, state: TrainingState, *args: Any, **kwargs: Any
            ) -> float:
                begin = time.process_time()
                if redraw:
                    grey = batch["v"]
                    address = rng.Address.of(self._seed, "user", step=state.update)
                    bits = rng.uniform(address, grey.shape, grey.dtype) < grey
                    batch = {"v": bits.astype(grey.dtype)}
                rate = update(params, batch, state, *args, **kwargs)
                clock.processor += time.process_time() - begin
                return rate

            trainer.update = counted  # type: ignore[method-assign]
            return trainer

    return Timed(**options)


def train(
    given: argparse.Namespace, layers: tuple[int, ...], data: Any
) -> Iterator[dict[str, Any]]:
    """Train one network; yields its curve and bounds, then what gradients cost beside them."""
    from fastboltz.optimizers import Linear

    training, validation, test, grey = data
    clock = Clock(given.epochs)
    print(f"layers {layers}\n{'epoch':>5} {'seconds':>8} {'on cpu':>8} {'validation bound':>9}")
    model = timed_model(
        clock,
        given.redraw,
        layers=layers,
        method=given.method,
        n_paths=given.n_paths,
        learning_rate=Linear(given.learning_rate, given.final_rate),
        batch_size=given.batch_size,
        n_iter=given.epochs,
        centered=given.centered,
        l2=given.l2,
        validate_every=given.validate_every,
        n_iter_no_change=given.patience,
        n_threads=given.threads,
        callbacks=[clock],
        random_state=given.seed,
    )
    model.fit(grey.X if given.redraw else training.X, validation=validation.X)
    by_row = model.score_samples(test.X, n_draws=given.draws)
    several = model.score_samples(test.X, n_particles=given.particles, n_draws=1)
    on_training = model.score_samples(training.X[: len(test.X)], n_draws=10)
    found = {
        "layers": layers,
        "settings": settings(given),
        "best_epoch": model.best_iter_,
        "epochs": model.n_iter_,
        "seconds": model.history_["seconds"][-1],
        "processor_seconds": clock.processor,
        "test": float(by_row.mean()),
        "test_error": float(by_row.std(ddof=1) / np.sqrt(len(by_row))),
        "test_draws": given.draws,
        "test_several_paths": float(several.mean()),
        "test_particles": given.particles,
        "train": float(on_training.mean()),
        "validation": model.best_score_,
        "curve": [asdict(point) for point in clock.points],
    }
    print(
        f"test bound {found['test']:.2f} +- {found['test_error']:.2f}, of {given.particles} paths "
        f"{found['test_several_paths']:.2f}, train {found['train']:.2f}, epoch {model.best_iter_}"
    )
    yield found
    moments = {**clock.kept, "end": model.params_}
    found["gradients"] = [
        asdict(one)
        for moment, params in moments.items()
        for one in costs(model.network_, params, training.X, moment)
    ]
    yield found


def settings(given: argparse.Namespace) -> dict[str, Any]:
    """What was asked for."""
    left = ("json", "layers")
    return {k: v for k, v in vars(given).items() if k not in left}


# -- what gradients cost ---------------------------------------------------------------------------


def costs(net: Any, params: dict[str, np.ndarray], X: np.ndarray, moment: str) -> list[Cost]:
    """Variance and seconds of each method's gradient at some parameters."""
    from fastboltz.belief import BeliefNet

    bare = BeliefNet(net.sizes, net.offsets, None, net.n_threads)
    with_baselines = BeliefNet(net.sizes, net.offsets, 100, net.n_threads)
    found = []
    for method, n_paths in MEASURED:
        own = with_baselines if method == "nvil" else bare
        variance, seconds = cost(own, params, X, method, n_paths)
        one = Cost(method, n_paths, moment, variance, seconds, variance * seconds)
        found.append(one)
        print(
            f"{moment:7s} {method:14s} {n_paths:2d} variance {variance:10.4g} "
            f"ms {1e3 * seconds:7.2f} variance x seconds {one.variance_times_seconds:10.4g}",
            flush=True,
        )
    return found


def cost(
    net: Any, params: dict[str, np.ndarray], X: np.ndarray, method: str, n_paths: int
) -> tuple[float, float]:
    """Variance and processor's seconds of one method."""
    from fastboltz.belief import BoundObjective

    objective = BoundObjective(net, method, n_paths)
    state = objective.init(0)
    own = {key: x.copy() for key, x in params.items() if key[0] != "b"}
    if method == "nvil":
        fresh = net.init(0, X.dtype)
        own |= {key: x for key, x in fresh.items() if key[0] == "b"}
        state = learn_baselines(objective, own, X, state)
    weights = [key for key in own if key[0] == "q"]
    scales = np.ones(net.top)
    if method == "nvil":
        scales = np.maximum(1.0, np.sqrt(state.variance))
    variance, seconds, out = 0.0, 0.0, None
    for batch in range(BATCHES):
        rows = {"v": X[batch * ROWS : (batch + 1) * ROWS]}
        sums = {key: np.zeros(own[key].shape) for key in weights}
        squares = {key: np.zeros(own[key].shape) for key in weights}
        for draw in range(DRAWS):
            at = replace(state, update=10**6 + batch * DRAWS + draw)
            begin = time.process_time()
            out, _, _ = objective.step(own, rows, at, None, out)
            seconds += time.process_time() - begin
            for key in weights:
                g = out[key] * scales[net.names.index(key.split(".")[1]) - 1]
                sums[key] += g
                squares[key] += g * g
        for key in weights:
            spread = (squares[key] - sums[key] ** 2 / DRAWS) / (DRAWS - 1)
            variance += float(spread.sum()) / BATCHES
    return variance, seconds / (BATCHES * DRAWS)


def learn_baselines(
    objective: Any, params: dict[str, np.ndarray], X: np.ndarray, state: Any
) -> Any:
    """Let NVIL's baselines and averages follow the networks as they are; returns the state."""
    from fastboltz.optimizers import Adam

    adam = Adam()
    learning = {key: x for key, x in params.items() if key[0] == "b"}
    moments = adam.init(learning)
    for update in range(BASELINE_UPDATES):
        start = update * ROWS % len(X)
        gradient, _, state = objective.step(params, {"v": X[start : start + ROWS]}, state)
        adam.step(learning, gradient, moments, 2e-3, {})
    return state


def main(argv: Sequence[str] | None = None) -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--layers", action="append", help='such as "200" or "200,200"; both if not given')
    add("--method", default="disarm")
    add("--n-paths", type=int)
    add("--epochs", type=int, default=250)
    add("--batch-size", type=int, default=100)
    add("--learning-rate", type=float, default=5e-3, help="at the start; it falls linearly")
    add("--final-rate", type=float, default=0.0, help="at the end")
    add("--centered", action=argparse.BooleanOptionalAction, default=False)
    add("--l2", type=float, default=0.0)
    add(
        "--redraw",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="draw the pixels of training images anew for every update",
    )
    add("--validate-every", type=int, default=5)
    add("--patience", type=int, default=1000, help="evaluations without a rise")
    add("--threads", type=int, help="all cores if not set")
    add("--seed", type=int, default=0)
    add("--data-seed", type=int, default=0, help="of the binarisation")
    add("--draws", type=int, default=100, help="paths of the test bound")
    add("--particles", type=int, default=100, help="paths of the test bound of several paths")
    add("--json", type=Path, default=HERE / "mnist_sbn.json")
    given = parser.parse_args(argv)
    from fastboltz.datasets import load_mnist

    try:
        data = load_mnist("sample", random_state=given.data_seed)
        grey, _, _ = load_mnist(None)
    except FileNotFoundError as missing:
        sys.exit(str(missing))
    from run import machine

    for text in given.layers or ("200", "200,200"):
        layers = tuple(int(n) for n in text.split(","))
        # Runs are added, a new one in the place of an old one of the same name.
        name = f"{text} {given.method}{' redrawn' * given.redraw} seed {given.seed}"
        for one in train(given, layers, (*data, grey)):
            out = json.loads(given.json.read_text()) if given.json.is_file() else {}
            out.setdefault("runs", {})[name] = one | {"machine": machine([])}
            given.json.write_text(json.dumps(out, indent=1) + "\n")
        print(f"written: {given.json}")


if __name__ == "__main__":
    main()
