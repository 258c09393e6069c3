"""The command ``fastboltz``, and all that it prints.

``fastboltz demo`` trains an RBM on scikit-learn's bundled digits, measures it, runs the same work
with scikit-learn's ``BernoulliRBM`` in the same process, and writes a picture. ``train``,
``sample``, ``score`` and ``inspect`` (`fastboltz.commands`) work on files of data and models, and
``bench scaling`` times training on this machine.

What is printed on the standard output is the result; the progress bar and complaints go to the
standard error.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import textwrap
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__, commands
from .commands import UserError as _UserError
from .commands import natural as _natural
from .commands import positive as _positive
from .commands import thread_count as _thread_count

if TYPE_CHECKING:
    from .diagnostics import SamplingInfo
    from .likelihood import LogPartition

#: Learning rate of the two drop-ins: the mean of the showcase's, which falls linearly from 0.1.
_PEER_RATE = 0.05
_BATCH_SIZE = 20
#: Chains of the demo's samples, as many as the picture shows, and sweeps of each sampler.
_N_CHAINS = 64
_N_SWEEPS = {"gibbs": 1000, "tempered": 600}
_WIDTH = 88


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program; by default those of the process.

    Returns
    -------
    int
        0; 1 where the reader of the output has left; 2 for a bad argument; 130 when interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
    except _UserError as error:
        print(f"fastboltz: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nfastboltz: interrupted; nothing was written.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has left (`fastboltz demo | head -1`); Python would flush once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastboltz",
        description=(
            "Boltzmann machines, fast on CPUs, under scikit-learn's face. "
            f"{commands.EXAMPLE}fastboltz train digits.npy --output rbm.fbm"
        ),
    )
    parser.add_argument("--version", action="version", version=f"fastboltz {__version__}")
    names = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo = names.add_parser(
        "demo",
        help="train an RBM on digits, measure it, compare, draw a picture",
        description=(
            "Trains an RBM on scikit-learn's bundled digits, prints its test log-likelihood and "
            "pseudo-likelihood and its seconds next to scikit-learn's BernoulliRBM on the same "
            "work, and writes a picture of filters, data and samples. "
            f"{commands.EXAMPLE}fastboltz demo --output digits.png"
        ),
    )
    demo.add_argument(
        "--output", default="digits.png", metavar="FILE", help="the picture (%(default)s)"
    )
    demo.add_argument("--no-picture", action="store_true", help="write no picture")
    demo.add_argument(
        "--n-iter", type=_positive, default=200, metavar="N", help="epochs (%(default)s)"
    )
    demo.add_argument(
        "--n-components",
        type=_positive,
        default=256,
        metavar="N",
        help="hidden units (%(default)s)",
    )
    demo.add_argument(
        "--seed", type=_natural, default=0, metavar="N", help="random seed (%(default)s)"
    )
    demo.add_argument(
        "--threads",
        type=_thread_count,
        metavar="N",
        help="threads, ours and those of scikit-learn's BLAS (all cores)",
    )
    demo.add_argument(
        "--json", action="store_true", help="print one JSON object, and no progress bar"
    )
    demo.set_defaults(run=_demo)
    commands.add_to(names)
    return parser


# -- demo ------------------------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> None:
    begin = time.perf_counter()
    path = (
        None
        if arguments.no_picture
        else commands.checked_picture(
            "--output", arguments.output, "another folder, or --no-picture"
        )
    )
    no_picture = "" if path else "not asked for"
    if path is not None:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            path = None
            no_picture = 'it needs matplotlib, which pip install "fastboltz[plot]" brings'

    from sklearn import __version__ as sklearn_version
    from sklearn.neural_network import BernoulliRBM as SklearnRBM

    from . import threads
    from .datasets import load_digits
    from .models import RBM, BernoulliRBM

    say = _Silent() if arguments.json else print
    n_threads = threads.resolve(arguments.threads)
    train, test = load_digits()
    same = {
        "n_components": arguments.n_components,
        "batch_size": _BATCH_SIZE,
        "n_iter": arguments.n_iter,
        "random_state": arguments.seed,
    }
    say(
        f"fastboltz {__version__}: an RBM learns scikit-learn's digits\n\n"
        f"  data   {len(train):,} images to learn from, {len(test)} to test on; "
        f"8 x 8 black-and-white pixels\n"
        f"  model  {arguments.n_components} hidden units; persistent contrastive divergence, "
        f"{arguments.n_iter} epochs\n"
        f"         in minibatches of {_BATCH_SIZE}; {_count(n_threads, 'thread')}\n",
        flush=True,
    )

    # Before anything is timed, every model makes one epoch: libraries load on first use.
    rbm = RBM(**same, n_threads=n_threads)
    drop_in: Any = BernoulliRBM(**same, learning_rate=_PEER_RATE)
    drop_in.n_threads = n_threads
    peer = SklearnRBM(**same, learning_rate=_PEER_RATE)
    with _blas_threads(n_threads):
        for model in (rbm, drop_in, peer):
            model.set_params(n_iter=1).fit(train.X)
            model.set_params(n_iter=arguments.n_iter)
        rbm.set_params(verbose=0 if arguments.json else 1)
        seconds = [_seconds_of_fit(model, train.X) for model in (rbm, drop_in, peer)]

    models = {
        "fastboltz.RBM": rbm,
        "fastboltz.BernoulliRBM": drop_in,
        "sklearn BernoulliRBM": _with_parameters_of(peer, drop_in),
    }
    log_z = [_log_partition(model) for model in models.values()]
    rows = [
        {"name": name, "seconds": s, **_measure(model, z, test.X)}
        for (name, model), s, z in zip(models.items(), seconds, log_z, strict=True)
    ]
    drawn = {
        method: rbm.sample(
            _N_CHAINS, n, method=method, random_state=arguments.seed, return_info=True
        )
        for method, n in _N_SWEEPS.items()
    }
    # Where Gibbs sampling has mixed too, there is nothing to choose.
    shown = "gibbs" if drawn["gibbs"][1].is_mixed else "tempered"
    if path is not None:
        from .plots import demo_figure

        figure = demo_figure(rbm, test.X, drawn[shown][0], image_shape=test.image_shape)
        commands.write_figure(figure, path)

    report = {
        "fastboltz": __version__,
        "scikit_learn": sklearn_version,
        "n_train": len(train),
        "n_test": len(test),
        **{k: v for k, v in same.items() if k != "random_state"},
        "seed": arguments.seed,
        "n_threads": n_threads,
        "log_partition": {
            name: getattr(log_z[0], name) for name in ("value", "low", "high", "method")
        },
        "log_likelihood": rows[0]["log_likelihood"],
        "pseudo_likelihood": rows[0]["pseudo_likelihood"],
        "sampling": {method: _sampling(method, info) for method, (_, info) in drawn.items()},
        "shown": shown,
        "seconds": rows[0]["seconds"],
        "same_work": rows,
        "speed_up": seconds[2] / seconds[1],
        "picture": None if path is None else str(path),
        "total_seconds": time.perf_counter() - begin,
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    _print_report(report, log_z[0], sklearn_version, no_picture)


def _print_report(
    report: dict[str, Any], log_z: LogPartition, sklearn_version: str, no_picture: str
) -> None:
    best = report["log_likelihood"]
    rows = report["same_work"]
    print(
        f"\nOn the {report['n_test']} test images, in nats an image\n\n"
        f"  log-likelihood     {best['value']:8.2f}   95 % [{best['low']:.2f}, {best['high']:.2f}]"
        f"{_doubt(best)}\n"
        f"  pseudo-likelihood  {report['pseudo_likelihood']:8.2f}\n"
    )
    interval = "" if log_z.method == "exact" else "The interval is that of log Z. "
    _paragraph(
        f"{log_z}. {interval}Other images would move the mean by a standard error of "
        f"{best['standard_error_of_images']:.2f}."
    )
    print(f"\nSamples: {_N_CHAINS} chains of the RBM")
    for method, sampling in report["sampling"].items():
        how = f"{sampling['n_steps']:,} Gibbs sweeps"
        if method == "tempered":
            how = (
                f"{sampling['n_steps']:,} sweeps of parallel tempering, "
                f"{sampling['n_levels']} temperatures, {sampling['round_trips']} round trips"
            )
        picture = " (in the picture)" if report["picture"] and method == report["shown"] else ""
        print(f"\n  {how}{picture}:")
        _paragraph(sampling["verdict"])
    print("\nThe same work, one after the other in this process\n")
    print(f"  {'':24}{'seconds':>9}{'log-likelihood':>17}{'pseudo-likelihood':>20}")
    for row in rows:
        value = row["log_likelihood"]
        print(
            f"  {row['name']:24}{row['seconds']:9.2f}{value['value']:17.2f}"
            f"{row['pseudo_likelihood']:20.2f}{_doubt(value)}"
        )
    print()
    _paragraph(
        f"The two BernoulliRBM have the same arguments (float32, constant rate {_PEER_RATE:g}) on "
        f"{_count(report['n_threads'], 'thread')} at most: the {_ratio(report['speed_up'])} than "
        f"scikit-learn {sklearn_version}. A constant rate never settles, so the likelihoods of "
        f"these two scatter by some nats from seed to seed; RBM centres its gradients and lets "
        f"the rate fall to zero. All three are measured in the same way."
    )
    picture = report["picture"]
    end = f"Picture: {picture} (filters, data, samples)" if picture else f"No picture: {no_picture}"
    print(f"\n{end}. {report['total_seconds']:.0f} s in all.")


def _sampling(method: str, info: SamplingInfo) -> dict[str, Any]:
    """What is known of the chains of one sampler."""
    found = {
        "n_chains": info.n_chains,
        "n_steps": _N_SWEEPS[method],
        "mixed": info.is_mixed,
        "verdict": info.verdict,
        "rhat": info.rhat,
        "autocorrelation_time": info.autocorrelation_time,
    }
    if method == "tempered":
        found["n_levels"] = len(info.extra["betas"])
        found["swap_rates"] = info.extra["swap_rates"].tolist()
        found["round_trips"] = info.extra["round_trips"]
    return found


def _ratio(speed_up: float) -> str:
    if speed_up >= 1:
        return f"drop-in was {speed_up:.1f} times faster"
    return f"drop-in was {1 / speed_up:.1f} times slower"


def _doubt(log_likelihood: dict[str, Any]) -> str:
    return "" if log_likelihood["reliable"] else "   (log Z is in doubt: too few chains carry it)"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _paragraph(text: str) -> None:
    print(textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  "))


class _Silent:
    """Says nothing, for ``--json``."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        pass


def _seconds_of_fit(model: Any, X: np.ndarray) -> float:
    begin = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - begin


def _blas_threads(n_threads: int) -> Any:
    """Holds scikit-learn's BLAS at the threads that we use, for a fair comparison."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(n_threads, user_api="blas")


def _with_parameters_of(peer: Any, rbm: Any) -> Any:
    """A copy of one of our models that holds what scikit-learn's has learnt."""
    twin = copy.deepcopy(rbm)
    # These are views of the parameters.
    twin.components_[...] = peer.components_
    twin.intercept_hidden_[...] = peer.intercept_hidden_
    twin.intercept_visible_[...] = peer.intercept_visible_
    return twin


def _log_partition(model: Any) -> LogPartition:
    with warnings.catch_warnings():
        # Where too few chains carry the estimate, the report says so beside the figure.
        warnings.simplefilter("ignore", RuntimeWarning)
        return model.log_partition()


def _measure(model: Any, log_z: LogPartition, X: np.ndarray) -> dict[str, Any]:
    """Mean log-likelihood of rows, with the interval that log Z gives, and pseudo-likelihood."""
    free_energy, pseudo = model.free_energy(X), model.pseudo_likelihood(X)
    mean = float(-free_energy.mean())
    return {
        "log_likelihood": {
            "value": mean - log_z.value,
            "low": mean - log_z.high,
            "high": mean - log_z.low,
            "reliable": not log_z.is_degenerate,
            "standard_error_of_images": float(free_energy.std(ddof=1) / np.sqrt(len(X))),
        },
        "pseudo_likelihood": float(pseudo.mean()),
    }


if __name__ == "__main__":
    sys.exit(main())
