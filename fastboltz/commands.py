"""The commands ``train``, ``sample``, ``score`` and ``inspect``: files of data and models.

Data are ``.npy``, ``.npz`` (of NumPy, with an array ``X`` and perhaps ``y``, or of a scipy sparse
matrix) or ``.csv`` (numbers, perhaps below one line of names).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

#: Estimators that learn from rows, or rows and labels.
_MODELS = (
    *("RBM", "BernoulliRBM", "DeepBoltzmannMachine", "DeepBeliefNetwork"),
    *("SigmoidBeliefNetwork", "PointwiseGatedRBM", "RBMClassifier", "ClassGatedRBMClassifier"),
    *("TwoGroupRBMClassifier", "PointwiseGatedRBMClassifier"),
)


class UserError(Exception):
    """Something that the person at the keyboard can put right; its text says how."""


def positive(text: str) -> int:
    """A whole number from 1."""
    return _whole_number(text, 1)


def natural(text: str) -> int:
    """A whole number from 0."""
    return _whole_number(text, 0)


def _whole_number(text: str, minimum: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = minimum - 1
    if not minimum <= number < 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number >= {minimum}; got {text!r}")
    return number


def add_to(names: Any) -> None:
    """Add the commands to a parser's."""
    train = _command(
        names,
        "train",
        _train,
        "learn a model from a file of data",
        "fastboltz train digits.npy --output rbm.fbm --set n_components=128 --set n_iter=20",
    )
    train.add_argument("data", help="rows: .npy, .npz or .csv")
    train.add_argument("--output", required=True, metavar="FILE", help="the model's file")
    train.add_argument("--model", default="RBM", choices=_MODELS, help="estimator (%(default)s)")
    train.add_argument("--labels", metavar="FILE", help="labels, one a row: .npy or .csv")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="parameters",
        help="a parameter of the estimator, its value as in JSON; may be repeated",
    )
    train.add_argument("--seed", type=natural, default=0, metavar="N", help="seed (%(default)s)")
    train.add_argument("--threads", type=positive, metavar="N", help="threads (all cores)")
    train.add_argument("--checkpoint", metavar="FILE", help="keep the training in this file")
    train.add_argument(
        "--resume", action="store_true", help="go on with the training in the checkpoint"
    )

    sample = _command(
        names,
        "sample",
        _sample,
        "draw rows from a model",
        "fastboltz sample rbm.fbm --output samples.npy --n-samples 100",
    )
    sample.add_argument("model", help="the model's file")
    sample.add_argument("--output", required=True, metavar="FILE", help=".npy, .npz or .csv")
    sample.add_argument(
        "--n-samples", type=positive, default=10, metavar="N", help="rows (%(default)s)"
    )
    sample.add_argument(
        "--n-steps", type=natural, metavar="N", help="Gibbs sweeps of each (the model's default)"
    )
    sample.add_argument("--seed", type=natural, default=0, metavar="N", help="seed (%(default)s)")

    score = _command(
        names,
        "score",
        _score,
        "log-likelihood of rows, or accuracy of a classifier",
        "fastboltz score rbm.fbm test.npy",
    )
    score.add_argument("model", help="the model's file")
    score.add_argument("data", help="rows: .npy, .npz or .csv")
    score.add_argument("--labels", metavar="FILE", help="labels, one a row: .npy or .csv")

    inspect = _command(
        names, "inspect", _inspect, "say what a model's file holds", "fastboltz inspect rbm.fbm"
    )
    inspect.add_argument("model", help="the model's file")


def _command(names: Any, name: str, run: Any, what: str, example: str) -> Any:
    parser = names.add_parser(name, help=what, description=f"Example: {example}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)
    return parser


# -- the commands ----------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace) -> int:
    from . import models
    from .persistence import Checkpoint
    from .training import Interrupted

    _check_output(arguments.output)
    if arguments.resume and not arguments.checkpoint:
        raise UserError("--resume needs --checkpoint, the file with the training to go on with.")
    X, y = _data(arguments.data, arguments.labels)
    kind = getattr(models, arguments.model)
    data = (X, _needed(y, arguments.model)) if arguments.model.endswith("Classifier") else (X,)
    try:
        model = kind(**dict(_parameter(text) for text in arguments.parameters))
        model.set_params(random_state=arguments.seed, verbose=0 if arguments.json else 1)
    except TypeError as error:
        known = ", ".join(sorted(kind().get_params()))
        raise UserError(f"--set: {error}. {arguments.model} has {known}.") from error
    # Not constructor arguments of BernoulliRBM, whose training hears of them all the same.
    model.n_threads = arguments.threads
    if arguments.checkpoint:
        model.callbacks = [Checkpoint(arguments.checkpoint, resume=arguments.resume)]
    try:
        model.fit(*data)
    except Interrupted as stop:
        rest = "" if arguments.checkpoint else " Nothing was written."
        go_on = " On the command line: --resume." if arguments.checkpoint else ""
        print(f"\nfastboltz: {stop}{rest}{go_on}", file=sys.stderr)
        return 130
    except FileExistsError as error:
        raise UserError(f"{error} On the command line: --resume.") from error
    except (ValueError, TypeError, OSError) as error:
        raise UserError(str(error)) from error
    model.callbacks = None
    try:
        model.save(arguments.output)
    except OSError as error:
        raise UserError(f"--output {arguments.output!r}: {error}") from error
    report = _described(model) | {"file": arguments.output, "n_rows": int(X.shape[0])}
    _say(
        arguments,
        report,
        f"{arguments.model}: {report['n_iter']} epochs over {report['n_rows']:,} rows of "
        f"{X.shape[1]:,} columns; written to {arguments.output}",
    )
    return 0


def _sample(arguments: argparse.Namespace) -> None:
    from .persistence import replacing

    path = _check_output(arguments.output, (".npy", ".npz", ".csv"))
    model = _load(arguments.model)
    name = type(model).__name__
    if name not in _MODELS and name not in ("BoltzmannMachine", "HigherOrderBoltzmannMachine"):
        raise UserError(f"sample draws rows; {name} draws from what it is given. Use Python.")
    steps = {} if arguments.n_steps is None else {"n_steps": arguments.n_steps}
    try:
        drawn = model.sample(arguments.n_samples, **steps, random_state=arguments.seed)
    except TypeError as error:
        raise UserError(f"{name}: {error}") from error
    X, y = drawn if isinstance(drawn, tuple) else (drawn, None)
    if isinstance(X, dict) or (y is not None and path.suffix != ".npz"):
        raise UserError(f"{name} draws several arrays; give --output a name that ends in .npz.")
    try:
        with replacing(path) as file:
            if path.suffix == ".npy":
                np.save(file, X)
            elif path.suffix == ".npz":
                np.savez(file, **({"X": X} if y is None else {"X": X, "y": y}))
            else:
                np.savetxt(file, X, delimiter=",", fmt="%.9g")
    except OSError as error:
        raise UserError(f"--output {arguments.output!r}: {error}") from error
    report = {"file": arguments.output, "shape": list(X.shape)}
    _say(arguments, report, f"{X.shape[0]:,} rows of {X.shape[1]:,} columns in {arguments.output}")


def _score(arguments: argparse.Namespace) -> None:
    model = _load(arguments.model)
    name = type(model).__name__
    if name not in _MODELS and name not in ("BoltzmannMachine", "HigherOrderBoltzmannMachine"):
        raise UserError(f"score takes a table of rows, which {name} does not. Use Python.")
    X, y = _data(arguments.data, arguments.labels)
    is_classifier = name.endswith("Classifier")
    try:
        value = float(model.score(X, _needed(y, name)) if is_classifier else model.score(X))
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    what = "accuracy" if is_classifier else "log_likelihood"
    report: dict[str, Any] = {what: value, "n_rows": int(X.shape[0])}
    text = f"accuracy {value:.4f}" if is_classifier else f"log-likelihood {value:.4f} nats a row"
    z = None if is_classifier else getattr(model, "log_partition_", None)
    if z is not None:
        report["log_partition"] = {k: getattr(z, k) for k in ("value", "low", "high", "method")}
        text += f", with {z}"
    _say(arguments, report, f"{text} ({X.shape[0]:,} rows)")


def _inspect(arguments: argparse.Namespace) -> None:
    from .persistence import describe

    model = _load(arguments.model)
    report = _described(model) | describe(arguments.model)
    lines = [
        f"{report['class']}, {report['n_iter']} epochs; format {report['format']}, written by "
        + ", ".join(f"{k} {v}" for k, v in report["versions"].items())
    ]
    lines += [f"  {k} = {v}" for k, v in report["parameters"].items()]
    lines += [f"  {k}: {v['type']} {tuple(v['shape'])}" for k, v in report["arrays"].items()]
    _say(arguments, report, "\n".join(lines))


# -- files and words -------------------------------------------------------------------------------


def _described(model: Any) -> dict[str, Any]:
    stack = getattr(model, "rbms_", None)
    parts = {"": model} if stack is None else {f"rbm {k}: ": m for k, m in enumerate(stack, 1)}
    arrays = {
        f"{where}{key}": {"type": str(x.dtype), "shape": list(x.shape)}
        for where, part in parts.items()
        for key, x in getattr(part, "params_", {}).items()
    }
    return {
        "class": type(model).__name__,
        "parameters": {k: repr(v) for k, v in model.get_params(deep=False).items()},
        "arrays": arrays,
        "n_iter": max(getattr(part, "n_iter_", 0) for part in parts.values()),
    }


def _say(arguments: argparse.Namespace, report: dict[str, Any], text: str) -> None:
    print(json.dumps(report, indent=2) if arguments.json else text)


def _parameter(text: str) -> tuple[str, Any]:
    """Name and value of ``name=value``; what is no JSON is a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text!r}: expected NAME=VALUE, e.g. n_components=128.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _load(name: str) -> Any:
    from .models.files import load
    from .persistence import ModelFileError

    try:
        return load(name)
    except ModelFileError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"cannot read {name!r} ({error.strerror}).") from error


def _data(name: str, labels: str | None) -> tuple[Any, Any]:
    """Rows, and labels where there are some."""
    X, y = _table(name)
    if labels is not None:
        y = _words(labels) if labels.lower().endswith(".csv") else np.ravel(_table(labels)[0])
    if not hasattr(X, "toarray"):
        if X.ndim != 2:
            raise UserError(f"{name!r} has shape {X.shape}; expected a table, (n_rows, n_columns).")
        if X.dtype.kind not in "biuf":
            raise UserError(f"{name!r} has values of type {X.dtype}; expected numbers.")
    return X, y


def _needed(y: Any, model: str) -> Any:
    if y is None:
        raise UserError(f"{model} needs labels: give --labels, or an .npz with an array 'y'.")
    return y


def _table(name: str) -> tuple[Any, Any]:
    suffix = Path(name).suffix.lower()
    if suffix not in (".npy", ".npz", ".csv"):
        raise UserError(f"{name!r}: expected a name that ends in .npy, .npz or .csv.")
    try:
        if suffix == ".csv":
            return _csv(name), None
        found = np.load(name, allow_pickle=False)
        if suffix == ".npy":
            return found, None
        with found:
            if "format" in found.files:
                from scipy import sparse

                return sparse.load_npz(name).tocsr(), None
            key = "X" if "X" in found.files else found.files[0] if len(found.files) == 1 else None
            if key is None:
                raise UserError(f"{name!r} has {found.files}; expected an array 'X'.")
            return found[key], found["y"] if "y" in found.files else None
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {name!r} ({error.strerror or error}).") from error
    except Exception as error:  # of zipfile, NumPy and scipy
        raise UserError(f"cannot read {name!r} as {suffix} ({error}).") from error


def _csv(name: str) -> np.ndarray:
    with open(name, encoding="utf-8") as file:
        first = file.readline().strip().split(",")
    try:
        [float(x) for x in first]
        skip = 0
    except ValueError:
        skip = 1
    return np.loadtxt(name, delimiter=",", skiprows=skip, ndmin=2)


def _words(name: str) -> np.ndarray:
    """Labels, one a line: whole numbers, or words."""
    try:
        words = np.loadtxt(name, dtype=str, delimiter=",", ndmin=1)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {name!r} ({error}).") from error
    try:
        return words.astype(int)
    except ValueError:
        return words


def _check_output(name: str, endings: tuple[str, ...] = ()) -> Path:
    """A path that can be written to, known before any work is done."""
    path = Path(name)
    if path.is_dir():
        raise UserError(f"--output {name!r}: this is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise UserError(
            f"--output {name!r}: there is no folder {str(path.parent)!r}; make it first."
        )
    if endings and path.suffix not in endings:
        raise UserError(
            f"--output {name!r}: expected a name that ends in one of {', '.join(endings)}."
        )
    return path
