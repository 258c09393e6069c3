"""The commands ``train``, ``sample``, ``score`` and ``inspect``, and ``bench scaling``.

The first four work on files. Data are ``.npy``, ``.npz`` (of NumPy, with an array ``X`` and perhaps
``y``, or of a scipy sparse matrix), ``.csv`` (numbers, perhaps below one line of names) or
``.parquet`` (columns of numbers, whose names the model learns too). What is written has the same
forms.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

#: Estimators that learn from rows, or rows and labels.
_MODELS = (
    *("RBM", "BernoulliRBM", "DeepBoltzmannMachine", "DeepBeliefNetwork"),
    *("SigmoidBeliefNetwork", "PointwiseGatedRBM", "RBMClassifier", "ClassGatedRBMClassifier"),
    *("TwoGroupRBMClassifier", "PointwiseGatedRBMClassifier"),
)
#: Those that learn labels.
_CLASSIFIERS = tuple(name for name in _MODELS if name.endswith("Classifier"))
#: Those that many processes can learn together.
_SHARED = ("RBM", "BernoulliRBM")


#: What the help of every command shows.
EXAMPLE = "Example: "
#: Endings of files of data.
_ENDINGS = (".npy", ".npz", ".csv", ".parquet")
#: Those of pictures.
_PICTURES = (".png", ".svg", ".pdf", ".jpg")


class UserError(Exception):
    """Something that the person at the keyboard can put right; its text says how."""


def positive(text: str) -> int:
    """A whole number from 1."""
    return _whole_number(text, 1)


def thread_count(text: str) -> int:
    """A number of threads."""
    from .threads import MOST

    number = positive(text)
    if number > MOST:
        raise argparse.ArgumentTypeError(f"expected a whole number <= {MOST}; got {text!r}")
    return number


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


def _not_negative(text: str) -> float:
    """A number from 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number >= 0; got {text!r}")
    return number


def _counts(text: str) -> list[int]:
    """Numbers of threads, between commas."""
    return sorted({thread_count(part) for part in text.split(",")})


def add_to(names: Any) -> None:
    """Add the commands to a parser's."""
    train = _command(
        names,
        "train",
        _train,
        "learn a model from a file of data",
        "fastboltz train digits.npy --output rbm.fbm --set n_components=128 --set n_iter=20",
    )
    _takes_data(train)
    train.add_argument("--output", required=True, metavar="FILE", help="the model's file")
    train.add_argument("--model", default="RBM", choices=_MODELS, help="estimator (%(default)s)")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="parameters",
        help="a parameter of the estimator, its value as in JSON; may be repeated",
    )
    train.add_argument("--seed", type=natural, metavar="N", help="seed (0)")
    train.add_argument("--threads", type=thread_count, metavar="N", help="threads (all cores)")
    train.add_argument(
        "--mpi",
        action="store_true",
        help="learn one model on all ranks that mpiexec starts (mpiexec -n 4 fastboltz train ...)",
    )
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
    sample.add_argument("--output", required=True, metavar="FILE", help=", ".join(_ENDINGS))
    sample.add_argument(
        "--sparse", action="store_true", help="write a scipy sparse matrix (CSR) into the .npz"
    )
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
        "log-likelihood of rows (of deep models a lower bound on it), or accuracy of a classifier",
        "fastboltz score rbm.fbm test.npy",
    )
    score.add_argument("model", help="the model's file")
    _takes_data(score)
    score.add_argument(
        "--output",
        metavar="FILE",
        help="also write each row's log-likelihood (or bound), or probabilities of classes, there",
    )

    inspect = _command(
        names, "inspect", _inspect, "say what a model's file holds", "fastboltz inspect rbm.fbm"
    )
    inspect.add_argument("model", help="the model's file")

    bench = names.add_parser(
        "bench",
        help="time training on this machine",
        description=f"{EXAMPLE}fastboltz bench scaling --threads 1,2",
    )
    scaling = _command(
        bench.add_subparsers(title="what to time", metavar="WHAT", required=True),
        "scaling",
        _scaling,
        "strong and weak scaling with threads or ranks, and a model of the cost",
        "mpiexec -n 2 fastboltz bench scaling --mpi --plot scaling.png",
    )
    for name, default, what in (
        ("--visible", 784, "visible units"),
        ("--hidden", 500, "hidden units"),
        ("--batch-size", 1024, "rows of a minibatch: in all, and for each thread or rank"),
    ):
        scaling.add_argument(
            name, type=positive, default=default, metavar="N", help=f"{what} (%(default)s)"
        )
    scaling.add_argument(
        "--threads",
        type=_counts,
        metavar="N,N",
        help="numbers of threads to time (1, 2, 4 ... all cores); with --mpi, those of a rank (1)",
    )
    scaling.add_argument(
        "--seconds",
        type=_not_negative,
        default=5.0,
        metavar="S",
        help="what the timing takes, about; three rounds are made at least (%(default)g)",
    )
    scaling.add_argument(
        "--mpi", action="store_true", help="time the ranks that mpiexec starts, not threads"
    )
    scaling.add_argument(
        "--bandwidth",
        type=_not_negative,
        metavar="GB/S",
        help="of a network to predict for; with --latency",
    )
    scaling.add_argument(
        "--latency", type=_not_negative, metavar="US", help="of that network, in microseconds"
    )
    scaling.add_argument("--plot", metavar="FILE", help=f"a picture: {', '.join(_PICTURES)}")


def _takes_data(parser: Any) -> None:
    parser.add_argument("data", help=f"rows: {', '.join(_ENDINGS)}")
    parser.add_argument(
        "--labels", metavar="FILE", help="labels, one a row: .npy, .csv or one column of .parquet"
    )
    parser.add_argument(
        "--label-column",
        metavar="NAME",
        help="column of the rows' own .parquet that has the labels",
    )


def _command(names: Any, name: str, run: Any, what: str, example: str) -> Any:
    parser = names.add_parser(name, help=what, description=f"{EXAMPLE}{example}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)
    return parser


# -- the commands ----------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace) -> int:
    from . import distributed

    if not arguments.mpi:
        if (n := distributed.started_ranks()) > 1:
            raise UserError(
                f"mpiexec started {n} ranks, and without --mpi each would learn the same model by "
                f"itself; give --mpi, or start without mpiexec."
            )
        model, data = _model_and_data(arguments)
        return _learn(arguments, model, data, {})
    try:
        comm = distributed.world()
    except (ModuleNotFoundError, RuntimeError) as error:
        raise UserError(f"--mpi: {error}") from error
    try:
        with distributed.together(comm) as ranks:
            if arguments.model not in _SHARED:
                raise UserError(f"--mpi: {arguments.model} is not one of {', '.join(_SHARED)}.")
            try:
                model, (X,) = ranks.agree(lambda: _model_and_data(arguments))
            except ValueError as error:  # on one rank
                raise UserError(str(error)) from error
            part = ranks.share(X.shape[0])
            if X.shape[0] < ranks.size:
                raise UserError(
                    f"--mpi: {X.shape[0]} rows are too few for {ranks.size} ranks; each has one at "
                    f"least."
                )
            rows = X.slice(part.start, part.stop - part.start) if hasattr(X, "slice") else X[part]
            return _learn(arguments, model, (rows,), {"comm": comm}, X.shape[0], ranks.rank == 0)
    except UserError:
        if comm.rank == 0:
            raise
        return 2  # rank 0 says why


def _model_and_data(arguments: argparse.Namespace) -> tuple[Any, tuple[Any, ...]]:
    """What is to learn, and what `fit` is given."""
    from . import models
    from .persistence import Checkpoint

    inputs = (arguments.data, arguments.labels)
    _check_output(arguments.output, inputs=inputs)
    if arguments.resume and not arguments.checkpoint:
        raise UserError("--resume needs --checkpoint, the file with the training to go on with.")
    if arguments.checkpoint:
        # Else it would be taken for a checkpoint, and the person told to delete it.
        _check_apart("--checkpoint", arguments.checkpoint, inputs)
    _check_labels(arguments, arguments.model)
    X, y = _data(arguments)
    kind = getattr(models, arguments.model)
    data = (X, _needed(y, arguments.model)) if arguments.model in _CLASSIFIERS else (X,)
    given = dict(_parameter(text) for text in arguments.parameters)
    seed = _one_value(given, "random_state", "--seed", arguments.seed)
    n_threads = _one_value(given, "n_threads", "--threads", arguments.threads)
    try:
        model = kind(**given)
        model.set_params(random_state=0 if seed is None else seed)
    except TypeError as error:
        known = ", ".join(sorted(kind().get_params()))
        raise UserError(f"--set: {error}. {arguments.model} has {known}.") from error
    # Not constructor arguments of BernoulliRBM, whose training hears of them all the same.
    model.n_threads = n_threads
    if arguments.checkpoint:
        model.callbacks = [Checkpoint(arguments.checkpoint, resume=arguments.resume)]
    return model, data


def _learn(
    arguments: argparse.Namespace,
    model: Any,
    data: tuple[Any, ...],
    options: dict[str, Any],
    n_rows: int | None = None,
    speaks: bool = True,
) -> int:
    """Learn, save and say so; of many ranks one ``speaks``."""
    from .interrupts import Interrupted

    n_rows = int(data[0].shape[0]) if n_rows is None else n_rows
    verbose = model.verbose
    if not arguments.json and "verbose" not in dict(map(_parameter, arguments.parameters)):
        model.verbose = 1
    try:
        model.fit(*data, **options)
    except Interrupted as stop:
        if not speaks:
            return 130
        rest = "" if arguments.checkpoint else " Nothing was written."
        go_on = " On the command line: --resume." if arguments.checkpoint else ""
        print(f"\nfastboltz: {stop}{rest}{go_on}", file=sys.stderr)
        return 130
    except FileExistsError as error:
        raise UserError(f"{error} On the command line: --resume.") from error
    except (ValueError, TypeError, OSError) as error:
        raise UserError(str(error)) from error
    model.callbacks = None
    for part in (model, *getattr(model, "rbms_", ())):
        part.verbose = verbose  # that bar was the command's, not the model's
    if not speaks:
        return 0
    try:
        model.save(arguments.output)
    except OSError as error:
        raise UserError(f"--output {arguments.output!r}: {error}") from error
    report = _described(model) | {"file": arguments.output, "n_rows": n_rows}
    _say(
        arguments,
        report,
        f"{arguments.model}: {report['n_iter']} epochs over {report['n_rows']:,} rows of "
        f"{data[0].shape[1]:,} columns; written to {arguments.output}",
    )
    return 0


def _sample(arguments: argparse.Namespace) -> None:
    path = _check_output(arguments.output, _ENDINGS, (arguments.model,))
    if arguments.sparse and path.suffix != ".npz":
        raise UserError(
            f"--sparse writes an .npz; give --output a name that ends so, not {arguments.output!r}."
        )
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
    if isinstance(X, dict) and (path.suffix != ".npz" or arguments.sparse):
        raise UserError(
            f"{name} draws several tables; give --output a name that ends in .npz, without "
            f"--sparse."
        )
    if y is not None and (path.suffix not in (".npz", ".parquet") or arguments.sparse):
        raise UserError(
            f"{name} draws rows and labels; give --output a name that ends in .npz or .parquet, "
            f"without --sparse."
        )
    if arguments.sparse:
        from scipy import sparse

        X = sparse.csr_matrix(X)
    _write(arguments.output, X, y, getattr(model, "feature_names_in_", None))
    shapes = {g: list(x.shape) for g, x in X.items()} if isinstance(X, dict) else list(X.shape)
    report = {"file": arguments.output, "shape": shapes}
    what = " and ".join(
        f"{x.shape[0]:,} rows of {x.shape[1]:,} columns"
        for x in (X.values() if isinstance(X, dict) else (X,))
    )
    _say(arguments, report, f"{what} in {arguments.output}")


def _score(arguments: argparse.Namespace) -> None:
    if arguments.output is not None:
        inputs = (arguments.model, arguments.data, arguments.labels)
        _check_output(arguments.output, _ENDINGS, inputs)
    model = _load(arguments.model)
    name = type(model).__name__
    if name not in _MODELS and name not in ("BoltzmannMachine", "HigherOrderBoltzmannMachine"):
        raise UserError(f"score takes a table of rows, which {name} does not. Use Python.")
    _check_labels(arguments, name)
    X, y = _data(arguments)
    is_classifier = name in _CLASSIFIERS
    rows: Any = None
    try:
        value = float(model.score(X, _needed(y, name)) if is_classifier else model.score(X))
        if arguments.output is not None:
            rows = model.predict_proba(X) if is_classifier else model.score_samples(X)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    what = "accuracy" if is_classifier else _what_is_scored(model)
    if arguments.output is not None:
        _write(
            arguments.output, np.asarray(rows), None, model.classes_ if is_classifier else [what]
        )
    report: dict[str, Any] = {what: value, "n_rows": int(X.shape[0])}
    if arguments.output is not None:
        report["file"] = arguments.output
    bound = "lower bound on the " if what == "log_likelihood_bound" else ""
    text = f"{bound}log-likelihood {value:.4f} nats a row"
    if is_classifier:
        text = f"accuracy {value:.4f}"
    z = None if is_classifier else getattr(model, "log_partition_", None)
    if z is not None:
        report["log_partition"] = {k: getattr(z, k) for k in ("value", "low", "high", "method")}
        text += f", with {z}"
    _say(arguments, report, f"{text} ({X.shape[0]:,} rows)")


def _what_is_scored(model: Any) -> str:
    """Name of what a model's `score_samples` answers, which of some models is a lower bound."""
    from .models.deep import _EXACT_LOG2_STATES

    name, is_bound = type(model).__name__, False
    if name == "SigmoidBeliefNetwork":
        is_bound = True
    elif name == "DeepBeliefNetwork":
        is_bound = len(model.rbms_) > 1
    elif name == "DeepBoltzmannMachine":
        is_bound = model._log2_listed() > _EXACT_LOG2_STATES
    elif name == "PointwiseGatedRBM":
        is_bound = not model._lists_few(("v",))
    return "log_likelihood_bound" if is_bound else "log_likelihood"


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


def _scaling(arguments: argparse.Namespace) -> int:
    from . import distributed, scaling

    sizes = {
        "n_visible": arguments.visible,
        "n_hidden": arguments.hidden,
        "batch_size": arguments.batch_size,
        "seconds": arguments.seconds,
    }
    if not arguments.mpi:
        if (n := distributed.started_ranks()) > 1:
            raise UserError(
                f"mpiexec started {n} ranks, and without --mpi each would time threads beside the "
                f"others; give --mpi, or start without mpiexec."
            )
        path = _checked_scaling(arguments)
        try:
            found = scaling.measure_threads(arguments.threads, **sizes)
        except ValueError as error:
            raise UserError(str(error)) from error
        return _report_scaling(arguments, found, path)
    try:
        comm = distributed.world()
    except (ModuleNotFoundError, RuntimeError) as error:
        raise UserError(f"--mpi: {error}") from error
    try:
        with distributed.together(comm) as ranks:
            try:
                path = ranks.agree(lambda: _checked_scaling(arguments))
                n_threads = (arguments.threads or [1])[0]
                found = scaling.measure_ranks(comm, n_threads=n_threads, **sizes)
            except ValueError as error:
                raise UserError(str(error)) from error
    except UserError:
        if comm.rank == 0:
            raise
        return 2  # rank 0 says why
    return _report_scaling(arguments, found, path) if comm.rank == 0 else 0


def _checked_scaling(arguments: argparse.Namespace) -> Path | None:
    """Path of the picture, if there is to be one; all arguments are known to fit together."""
    if (arguments.bandwidth is None) != (arguments.latency is None):
        raise UserError("--bandwidth and --latency are those of one network; give both.")
    if arguments.bandwidth == 0:
        raise UserError("--bandwidth: expected gigabytes a second, above 0; got 0.")
    if arguments.mpi and arguments.threads is not None and len(arguments.threads) > 1:
        raise UserError(
            f"--threads: with --mpi, expected one number, of each rank; got {arguments.threads}."
        )
    if arguments.plot is None:
        return None
    from .plots._display import matplotlib

    try:
        matplotlib()
    except ImportError as error:
        raise UserError(f"--plot: {error}") from error
    return checked_picture("--plot", arguments.plot, "another folder")


def _report_scaling(arguments: argparse.Namespace, found: Any, path: Path | None) -> int:
    """Print what was measured and what it predicts, and draw it."""
    from .scaling import breaks, counts, describe

    given = arguments.bandwidth is not None
    network = (1e9 * arguments.bandwidth, 1e-6 * arguments.latency) if given else ()
    model = found.model(*network)
    if path is not None:
        from .plots import ScalingDisplay
        from .plots._display import pyplot

        figure = ScalingDisplay.from_scaling(found, model).figure_
        write_figure(figure, path)
        pyplot().close(figure)
    report = found.to_dict()
    report["model"] = {k: None if v != v else v for k, v in vars(model).items()}
    if model.has_network:
        report["predicted"] = found.predict(model, counts(64))
        report["half_at"] = model.half(found.batch_size, found.n_bytes)
        report["fastest_at"] = model.fastest(found.batch_size, found.n_bytes)
        report["breaks"] = breaks(found, model)
    report["picture"] = None if path is None else str(path)
    text = describe(found, model, given_network=given)
    _say(arguments, report, text + (f"\nPicture: {path}." if path else ""))
    return 0


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


def _one_value(given: dict[str, Any], name: str, option: str, value: Any) -> Any:
    """A parameter that ``--set`` gives, or an option of its own, or both alike."""
    if name not in given or value is None:
        return given.get(name, value)
    if given[name] != value:
        raise UserError(
            f"{option} {value} and --set {name}={json.dumps(given[name])} are one parameter; give "
            f"one of them."
        )
    return value


def _load(name: str) -> Any:
    from .models.files import load
    from .persistence import ModelFileError

    try:
        return load(name)
    except ModelFileError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"cannot read {name!r} ({error.strerror}).") from error


def _data(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Rows, and labels where there are some."""
    name, labels, column = arguments.data, arguments.labels, arguments.label_column
    X, y = _table(name, column)
    if labels is not None:
        if column is not None:
            raise UserError("--labels and --label-column both name the labels; give one of them.")
        y = _labels(labels)
    if Path(name).suffix.lower() == ".parquet":
        _check_columns(name, X)
    elif not hasattr(X, "toarray"):
        if X.ndim != 2:
            raise UserError(f"{name!r} has shape {X.shape}; expected a table, (n_rows, n_columns).")
        if X.dtype.kind not in "biuf":
            raise UserError(f"{name!r} has values of type {X.dtype}; expected numbers.")
    return X, y


def _check_labels(arguments: argparse.Namespace, model: str) -> None:
    """Refuse labels that nothing would look at."""
    if arguments.labels is not None and model not in _CLASSIFIERS:
        raise UserError(
            f"--labels: {model} learns no labels; leave the option out, or take one of the models "
            f"that do: {', '.join(_CLASSIFIERS)}."
        )


def _labels(name: str) -> np.ndarray:
    """Labels in a file of their own."""
    suffix = Path(name).suffix.lower()
    if suffix == ".csv":
        return _words(name)
    y, _ = _table(name)
    if suffix == ".parquet":
        if y.num_columns != 1:
            raise UserError(
                f"--labels {name!r} has the columns {', '.join(map(repr, y.column_names))}; "
                f"expected one, the labels."
            )
        return y.column(0).to_numpy()
    return np.ravel(y)


def _needed(y: Any, model: str) -> Any:
    if y is None:
        raise UserError(
            f"{model} needs labels: give --labels, --label-column, or an .npz with an array 'y'."
        )
    return y


def _table(name: str, column: str | None = None) -> tuple[Any, Any]:
    """A table, and the labels that are in the same file; ``column`` names them in a .parquet."""
    suffix = Path(name).suffix.lower()
    if suffix not in _ENDINGS:
        raise UserError(f"{name!r}: expected a name that ends in one of {', '.join(_ENDINGS)}.")
    if column is not None and suffix != ".parquet":
        raise UserError(f"--label-column names a column of a .parquet; {name!r} is none.")
    try:
        if suffix == ".parquet":
            return _parquet(name, column)
        if suffix == ".csv":
            return _csv(name), None
        # A table is read from its place on disk, a minibatch at a time.
        found = np.load(name, mmap_mode="r" if suffix == ".npy" else None, allow_pickle=False)
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
    except Exception as error:  # of zipfile, NumPy, scipy and pyarrow
        raise UserError(f"cannot read {name!r} as {suffix} ({error}).") from error


def _pyarrow() -> Any:
    """The library that reads and writes Parquet."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            'files of Parquet need pyarrow, which pip install "fastboltz[parquet]" brings.'
        ) from error
    return pyarrow


def _parquet(name: str, column: str | None) -> tuple[Any, Any]:
    """Columns of a file, and that of the labels apart."""
    table = _pyarrow().parquet.read_table(name)
    if column is None:
        return table, None
    if column not in table.column_names:
        close = get_close_matches(column, table.column_names, n=1)
        raise UserError(
            f"--label-column: {name!r} has no column {column!r}."
            + (f" Did you mean {close[0]!r}?" if close else "")
        )
    return table.drop_columns([column]), table.column(column).to_numpy()


def _check_columns(name: str, table: Any) -> None:
    """A sentence for what is no complete table of numbers."""
    from pyarrow import types

    if not table.num_columns:
        raise UserError(f"{name!r} has no columns left; expected columns of numbers.")
    for field in table.schema:
        is_number = types.is_integer(field.type) or types.is_floating(field.type)
        if not (is_number or types.is_boolean(field.type)):
            raise UserError(
                f"{name!r}: column {field.name!r} has values of type {field.type}; expected "
                f"numbers. A column of labels is named by --label-column."
            )
        if count := table.column(field.name).null_count:
            raise UserError(
                f"{name!r}: column {field.name!r} has {count} missing values; fill them, or take "
                f"these rows out."
            )


def _write(name: str, X: Any, y: Any, columns: Any) -> None:
    """Write a table (or several, for .npz), perhaps with labels and names of columns."""
    from .persistence import replacing

    suffix = Path(name).suffix
    arrow = _pyarrow() if suffix == ".parquet" else None
    if columns is None:
        columns = [f"x{i}" for i in range(X.shape[1])] if arrow else None
    if arrow is not None:
        named = {str(c): x for c, x in zip(columns, X.reshape(len(X), -1).T, strict=True)}
        if y is not None:
            if "y" in named:
                raise UserError(
                    f"--output {name!r}: the model has a column 'y' already, where the labels "
                    f"would stand; give a name that ends in .npz."
                )
            named["y"] = y
    try:
        with replacing(name) as file:
            if arrow is not None:
                arrow.parquet.write_table(arrow.table(named), file)
            elif suffix == ".npy":
                np.save(file, X)
            elif hasattr(X, "toarray"):
                from scipy import sparse

                sparse.save_npz(file, X)
            elif suffix == ".npz":
                tables = X if isinstance(X, dict) else {"X": X}
                np.savez(file, **(tables if y is None else tables | {"y": y}))
            else:
                head = "" if columns is None else ",".join(map(str, columns))
                np.savetxt(file, X, delimiter=",", fmt="%.9g", header=head, comments="")
    except OSError as error:
        raise UserError(f"--output {name!r}: {error}") from error


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


def _check_output(
    name: str, endings: tuple[str, ...] = (), inputs: tuple[str | None, ...] = ()
) -> Path:
    """A path that can be written to and is none of the inputs, known before any work is done."""
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
    _check_apart("--output", name, inputs)
    return path


def _check_apart(option: str, name: str, inputs: tuple[str | None, ...]) -> None:
    """Refuse a file to write that is one of those to read."""
    path = Path(name)
    for read in inputs:
        # Links count as well: what they lead to would be lost all the same.
        if read is not None and path.exists() and Path(read).exists() and path.samefile(read):
            raise UserError(
                f"{option} {name!r}: this is the file {read!r}, which is read here and would be "
                f"overwritten; give another name."
            )


# -- pictures --------------------------------------------------------------------------------------


def checked_picture(option: str, name: str, remedy: str) -> Path:
    """Path of a picture, known to be writable before any work is done.

    Parameters
    ----------
    option : str
        Where the name was given.
    name : str
    remedy : str
        What else to give where nothing can be written.
    """
    path = Path(name)
    try:
        if path.is_dir():
            raise UserError(f"{option} {name!r}: this is a folder; give the name of a file.")
        if path.suffix.lower() not in _PICTURES:
            raise UserError(
                f"{option} {name!r}: expected a name that ends in one of {', '.join(_PICTURES)}."
            )
        if not path.parent.is_dir():
            raise UserError(
                f"{option} {name!r}: there is no folder {str(path.parent)!r}; make it first."
            )
        part = _part(path)
        part.touch()
        part.unlink()
    except OSError as error:
        raise UserError(
            f"{option} {name!r}: cannot write there ({error.strerror}); give {remedy}."
        ) from error
    return path


def _part(path: Path) -> Path:
    """Where a file grows until it is whole."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


def write_figure(figure: Any, path: Path) -> None:
    """Write a figure under its name only when it is whole."""
    part = _part(path)
    try:
        figure.savefig(part)
        part.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r} ({error.strerror}).") from error
    finally:
        part.unlink(missing_ok=True)
