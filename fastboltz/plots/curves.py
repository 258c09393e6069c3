"""Learning curves, histograms of energies, and gradient estimators side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np

from ..validation import check_count, one_of
from ._display import (
    BLUE,
    COLOURS,
    INK,
    RED,
    Display,
    bare,
    check_can,
    check_fitted,
    samples_of,
)

#: What the history of every training has, whether or not somebody watched it.
_ALWAYS = ("seconds", "learning_rate")


class HistoryDisplay(Display):
    """What was recorded while models learnt, one point an epoch, with intervals where known.

    Parameters
    ----------
    epochs : sequence of int
    curves : dict of sequences
        Name -> a value an epoch; NaN where nothing was measured.
    intervals : dict of pairs of sequences, optional
        Name of a curve -> the lower and the upper end an epoch.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One a curve, or the one that was given.
    ax_ : matplotlib Axes
        The panel, where there is one.
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
    bands_ : dict of matplotlib PolyCollection
        Of the curves that have an interval.
    """

    lines_: list[Any]
    bands_: dict[str, Any]

    def __init__(
        self,
        epochs: Sequence[int],
        curves: Mapping[str, Sequence[float]],
        intervals: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    ) -> None:
        self.epochs = epochs
        self.curves = dict(curves)
        self.intervals = dict(intervals or {})

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        keys: str | Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw ``history_`` of a fitted model.

        Where the history has ``name_low`` and ``name_high``, as `fastboltz.callbacks.Monitor`
        records of an annealed log-likelihood, they are the interval of ``name``.

        Parameters
        ----------
        estimator : object with ``history_``
        keys : str or sequence of str, optional
            What to draw. The default is all that callbacks have recorded for every epoch, and
            the learning rate where they have recorded nothing.
        ax : matplotlib Axes or sequence of them, optional
            One for each curve, or one for all; the default is a new figure with a panel for each.
        **kwargs
            Of `plot`.

        Returns
        -------
        HistoryDisplay

        Examples
        --------
        A callback adds what it likes to the history:

        >>> from fastboltz import RBM
        >>> from fastboltz.callbacks import Monitor
        >>> from fastboltz.datasets import load_digits
        >>> from fastboltz.plots import HistoryDisplay
        >>> train, test = load_digits()
        >>> monitor = Monitor(test.X, what="log_likelihood", every=1)
        >>> rbm = RBM(n_components=12, n_iter=5, callbacks=[monitor], random_state=0).fit(train.X)
        >>> display = HistoryDisplay.from_estimator(rbm)
        """
        epochs, columns = _recorded(estimator)
        keys = _keys(estimator, columns, keys)
        intervals = {
            key: (columns[f"{key}_low"], columns[f"{key}_high"])
            for key in keys
            if {f"{key}_low", f"{key}_high"} <= set(columns)
        }
        return cls(epochs, {key: columns[key] for key in keys}, intervals).plot(ax, **kwargs)

    @classmethod
    def from_estimators(
        cls,
        estimators: Sequence[Any],
        *,
        keys: str | Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the mean over several trainings, with its 95 % interval.

        The interval is that of Student's t, and so takes trainings of different seeds for
        independent draws from a normal distribution.

        Parameters
        ----------
        estimators : sequence of fitted models
            Of as many epochs each; at least two.
        keys : str or sequence of str, optional
            As of `from_estimator`.
        ax : matplotlib Axes or sequence of them, optional
            As of `from_estimator`.
        **kwargs
            Of `plot`.

        Returns
        -------
        HistoryDisplay

        Examples
        --------
        >>> from fastboltz import RBM
        >>> from fastboltz.callbacks import Monitor
        >>> from fastboltz.datasets import load_digits
        >>> from fastboltz.plots import HistoryDisplay
        >>> train, test = load_digits()
        >>> monitor = Monitor(test.X, what="log_likelihood", every=1)
        >>> models = [
        ...     RBM(8, n_iter=3, callbacks=[monitor], random_state=seed).fit(train.X[:200])
        ...     for seed in range(3)
        ... ]
        >>> display = HistoryDisplay.from_estimators(models)
        """
        from scipy.special import stdtrit

        n = len(estimators)
        if n < 2:
            raise ValueError(f"got {n} models; an interval needs two at least.")
        recorded = [_recorded(estimator) for estimator in estimators]
        epochs = recorded[0][0]
        lengths = [len(own) for own, _ in recorded]
        if len(set(lengths)) > 1:
            raise ValueError(f"the models have made {lengths} epochs; expected as many each.")
        names = [
            _keys(m, columns, keys) for m, (_, columns) in zip(estimators, recorded, strict=True)
        ]
        for model_number, own in enumerate(names):
            if own != names[0]:
                raise ValueError(
                    f"model {model_number} has recorded {own}, but the first {names[0]}; name what "
                    f"they have in common as keys."
                )
        curves, intervals = {}, {}
        for key in names[0]:
            values = np.array([columns[key] for _, columns in recorded], dtype=float)
            mean = values.mean(axis=0)
            half = stdtrit(n - 1, 0.975) * values.std(axis=0, ddof=1) / np.sqrt(n)
            curves[key] = mean
            intervals[key] = (mean - half, mean + half)
        return cls(epochs, curves, intervals).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **line_kwargs: Any) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, optional
            One for each curve, or one for all; the default is a new figure with a panel for each.
        **line_kwargs
            Of matplotlib's ``plot``.

        Returns
        -------
        self
        """
        n = len(self.curves)
        together = n > 1 and ax is not None and np.size(np.asarray(ax, dtype=object)) == 1
        across = min(n, 3)
        size = (5.0, 3.5) if n == 1 else (3.4 * across, 2.8 * -(-n // across))
        axes = self._panels(ax, 1 if together else n, size, across)
        self.lines_, self.bands_ = [], {}
        epochs = np.asarray(self.epochs)
        for k, (name, values) in enumerate(self.curves.items()):
            panel = axes[0 if together else k]
            y = np.asarray(values, dtype=float)
            seen = ~np.isnan(y)  # epochs in which nothing was measured
            label = name.replace("_", " ")
            marker = "o" if seen.sum() == 1 or not seen.all() else None
            options = {"label": label, "marker": marker, "markersize": 3}
            if not together:
                options["color"] = BLUE
            self.lines_ += panel.plot(epochs[seen], y[seen], **options | line_kwargs)
            if name in self.intervals:
                low, high = (np.asarray(end, dtype=float)[seen] for end in self.intervals[name])
                self.bands_[name] = panel.fill_between(
                    epochs[seen],
                    low,
                    high,
                    color=self.lines_[-1].get_color(),
                    alpha=0.25,
                    linewidth=0,
                )
            if not together:
                panel.set_ylabel(self.lines_[-1].get_label())
        for panel in axes:
            panel.set_xlabel("epoch")
            panel.xaxis.get_major_locator().set_params(integer=True)
            bare(panel)
        if together:
            axes[0].legend(frameon=False)
        return self


def _recorded(estimator: Any) -> tuple[list[int], dict[str, list[float]]]:
    """Epochs, and all columns of the history that have a number for each."""
    check_fitted(estimator)
    kind = type(estimator).__name__
    history = getattr(estimator, "history_", None)
    if history is None:
        raise TypeError(
            f"{kind} has no history_; expected a model that records its training, such as RBM."
        )
    if "layer" in history:
        raise TypeError(
            f"history_ of this {kind} is that of its layers one after another; give one of them, "
            f"such as model.rbms_[0]."
        )
    epochs = history.get("epoch", [])
    if not epochs:
        raise ValueError(
            f"history_ of this {kind} is empty: it has made no epoch. Fit it with n_iter >= 1."
        )
    full = {
        key: values
        for key, values in history.items()
        if key != "epoch"
        and len(values) == len(epochs)
        and all(isinstance(v, Real) for v in values)
    }
    return epochs, full


def _keys(
    estimator: Any, columns: Mapping[str, Any], keys: str | Sequence[str] | None
) -> list[str]:
    """Names of the curves that are asked for, or of those that somebody recorded."""
    if keys is None:
        ends = {f"{key}_{end}" for key in columns for end in ("low", "high")}
        own = [key for key in columns if key not in _ALWAYS and key not in ends]
        return own or ["learning_rate"]
    keys = [keys] if isinstance(keys, str) else list(keys)
    history = estimator.history_
    for key in keys:
        if key not in history:
            one_of("keys", key, columns)
        elif key not in columns:
            raise ValueError(
                f"history_[{key!r}] has {len(history[key])} entries; expected one number for each "
                f"of the {len(history['epoch'])} epochs."
            )
    return keys


class EnergyDisplay(Display):
    """Histograms of the free energies of data and of samples.

    Both have the same log Z, so that of a model that fits the data the histograms lie upon each
    other; data to the right of the samples are less likely than what the model makes itself, and
    held-out rows to the right of the training rows show overfitting.

    Parameters
    ----------
    energies : dict of str to ndarray of shape (n_rows,)

    Attributes
    ----------
    ax_ : matplotlib Axes
    axes_ : ndarray of matplotlib Axes
        The one of ``ax_``.
    figure_ : matplotlib Figure
    histograms_ : dict of matplotlib StepPatch

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import EnergyDisplay
    >>> train, test = load_digits()
    >>> rbm = RBM(n_components=32, n_iter=5, random_state=0).fit(train.X)
    >>> rows = {"training": train.X, "test": test.X}
    >>> display = EnergyDisplay.from_estimator(rbm, rows, n_samples=200, n_steps=100)
    """

    histograms_: dict[str, Any]

    def __init__(self, energies: Mapping[str, Any]) -> None:
        self.energies = {name: np.asarray(x, dtype=float) for name, x in energies.items()}

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        samples: Any = None,
        n_samples: int = 1000,
        n_steps: int = 1000,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the free energies of data and of samples of a fitted model.

        Parameters
        ----------
        estimator : object with ``free_energy(X)`` and ``sample(n_samples, n_steps=...)``
        X : array-like or CSR matrix of shape (n_rows, n_features), or dict of them by name
        samples : array-like of shape (n_samples, n_features), optional
            The default is drawn from the model.
        n_samples : int
        n_steps : int
            Gibbs sweeps before each sample.
        random_state : None, int, RandomState or Generator
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        EnergyDisplay
        """
        check_count("n_samples", n_samples)
        free_energy = check_can(
            estimator, "free_energy", "Models with log p(v) up to a constant have one, as RBM."
        )
        rows = dict(X) if isinstance(X, Mapping) else {"data": X}
        if samples is None:
            samples = samples_of(estimator, n_samples, n_steps, random_state)
        rows["samples"] = samples
        return cls({name: free_energy(x) for name, x in rows.items()}).plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, bins: int | Sequence[float] = 40) -> Self:
        """Draw the histograms, as densities over common bins, with their means as lines.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            The default is a new figure.
        bins : int or sequence of float
            As of ``numpy.histogram``.

        Returns
        -------
        self
        """
        (ax,) = self._panels(ax, 1, (5.0, 3.5))
        edges = np.histogram_bin_edges(np.concatenate(list(self.energies.values())), bins)
        self.histograms_ = {}
        for k, (name, x) in enumerate(self.energies.items()):
            colour = RED if name == "samples" else COLOURS[(0, 2, 3, 4, 5)[k % 5]]
            density, _ = np.histogram(x, edges, density=True)
            label = f"{name}, mean {x.mean():.1f}"
            ax.stairs(density, edges, color=colour, alpha=0.2, fill=True)
            self.histograms_[name] = ax.stairs(
                density, edges, color=colour, linewidth=1.4, label=label
            )
            ax.axvline(x.mean(), color=colour, linewidth=1.0, linestyle="--")
        ax.set_xlabel("free energy, nats")
        ax.set_ylabel("density")
        ax.legend(frameon=False)
        bare(ax)
        return self


class ComparisonDisplay(Display):
    """Estimators of gradients side by side: bias, variance, seconds, and variance times seconds.

    Left is good in every panel. The tick beside a bias is what chance alone would give; biased
    methods are drawn in red.

    Parameters
    ----------
    comparison : fastboltz.gradients.Comparison

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
    figure_ : matplotlib Figure
    points_ : list of matplotlib PathCollection
        Of each panel.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import gradients
    >>> from fastboltz.plots import ComparisonDisplay
    >>> def cost(Y):
    ...     return (Y.sum(axis=1) - 2) ** 2
    >>> methods = [gradients.ScoreFunction(b) for b in ("none", "optimal")]
    >>> display = ComparisonDisplay.from_estimators(
    ...     methods, cost, gradients.Bernoulli(np.zeros(5)), random_state=0
    ... )
    """

    points_: list[Any]

    def __init__(self, comparison: Any) -> None:
        self.comparison = comparison

    @classmethod
    def from_estimators(
        cls,
        estimators: Any,
        cost: Any,
        distribution: Any,
        *,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Measure gradient estimators on one cost, and draw what was found.

        Parameters
        ----------
        estimators : dict or sequence of methods of `fastboltz.gradients`
        cost : callable or Cost
        distribution : Distribution or Conditional
        ax : sequence of matplotlib Axes, optional
            The default is a new figure.
        **options
            Of `fastboltz.gradients.compare`.

        Returns
        -------
        ComparisonDisplay
        """
        from ..gradients import compare

        return cls(compare(estimators, cost, distribution, **options)).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : sequence of four matplotlib Axes, optional
            The default is a new figure. Without an exact gradient the bias is left out: three.

        Returns
        -------
        self
        """
        columns = self.comparison.to_dict()
        panels = {
            "bias": "bias",
            "variance": "variance",
            "seconds": "seconds a call",
            "variance_seconds": "variance x seconds",
        }
        if not self.comparison.exact:
            del panels["bias"]
        n = len(columns["method"])
        size = (2.6 * len(panels) + 1.6, 0.34 * n + 0.9)
        axes = self._panels(ax, len(panels), size, sharey=True)
        self.points_ = []
        colours = [RED if biased else BLUE for biased in columns["biased"]]
        for panel, (key, title) in zip(axes, panels.items(), strict=True):
            x = np.array(columns[key])
            # Exact methods have no variance: no point on a scale of powers of ten.
            x[x < 1e-12 * x.max()] = np.nan
            panel.set_xscale("log")
            self.points_.append(panel.scatter(x, np.arange(n), s=42, color=colours, zorder=3))
            if key == "bias":
                panel.plot(columns["bias_error"], np.arange(n), "|", color=INK, markersize=12)
            at = _round_numbers(*panel.get_xlim())
            panel.set_xticks(at, _labels(at))
            panel.set_xticks([], minor=True)
            panel.tick_params(axis="x", labelsize=8, labelrotation=30)
            panel.grid(axis="y", color="#e2e2e2", linewidth=0.8)
            panel.set_title(title, fontsize=10, color=INK)
            bare(panel)
        axes[0].set_yticks(np.arange(n), columns["method"])
        axes[0].set_ylim(n - 0.5, -0.5)
        return self


def _round_numbers(low: float, high: float) -> list[float]:
    """Three to six round numbers within a range of a logarithmic axis, as many as there are."""
    found: list[float] = []
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), np.arange(1, 10, 0.1)):
        numbers = [float(s) * 10.0**k for k in range(first, last + 1) for s in steps]
        found = [x for x in numbers if low <= x <= high]
        if len(found) >= 3:
            break
    return found[:: -(-len(found) // 6)] if found else [low, high]


def _labels(values: list[float]) -> list[str]:
    """Numbers in one form: powers of ten where some are very small or large, else plain ones."""
    if min(values) >= 1e-3 and max(values) < 1e4:
        return [f"{value:.2g}" if value < 100 else f"{value:.0f}" for value in values]
    words = [f"{value:.1e}".split("e") for value in values]
    short = all(mantissa.endswith(".0") for mantissa, _ in words)
    return [f"{m[:-2] if short else m}e{int(power)}" for m, power in words]


__all__ = ["ComparisonDisplay", "EnergyDisplay", "HistoryDisplay"]
