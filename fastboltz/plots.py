"""Pictures of models, as scikit-learn's displays: ``SomethingDisplay.from_estimator(model)``.

- `FiltersDisplay`: weights of the hidden units, as images.
- `SamplesDisplay`: samples, beside data where some is given.
- `HistoryDisplay`: what was recorded, epoch by epoch.
- `ImagesDisplay`: rows of images under names; three pictures of models are made of it:
  `AnalogyDisplay` (gated machines), `ClassSamplesDisplay` (classifiers), `CompletionDisplay`
  (unknown pixels).
- `ClassFiltersDisplay`, `FilterPairsDisplay`: weights that a label or a second image gates.
- `ComparisonDisplay`: estimators of gradients side by side.
- `demo_figure`: filters, data and samples in one picture.

A display keeps what it drew: ``ax_``, ``figure_`` and the artists. matplotlib is imported when
something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np

from .validation import check_count, one_of

#: Space between two images of a mosaic and between two mosaics, in pixels of the images.
_GAP = 1
_MOSAIC_GAP = 5

_INK = "#222222"
#: Pixels that are not known.
_UNKNOWN = "#a9c9e8"


class FiltersDisplay:
    """Weights of hidden units, as a mosaic of images.

    Blue weights are positive, red ones negative, and white is zero. Each filter has a colour scale
    of its own unless ``scale="common"``.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, n_pixels)
    image_shape : tuple of int
        Rows and columns of pixels.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import FiltersDisplay
    >>> train, _ = load_digits()
    >>> rbm = RBM(n_components=32, n_iter=5, random_state=0).fit(train.X)
    >>> display = FiltersDisplay.from_estimator(rbm, image_shape=train.image_shape)
    """

    ax_: Any
    figure_: Any
    image_: Any

    def __init__(self, filters: Any, image_shape: tuple[int, int]) -> None:
        self.filters = np.asarray(filters)
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        n_filters: int = 64,
        components: str = "components_",
        ax: Any = None,
        **kwargs: Any,
    ) -> FiltersDisplay:
        """Draw the filters of a fitted model.

        Parameters
        ----------
        estimator : object with ``components_`` of shape (..., n_features)
            Any of this package's models, or of scikit-learn's.
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
        n_filters : int
            At most so many are drawn: those of largest norm, largest first.
        components : str
            The attribute that holds the weights, e.g. ``"nuisance_components_"``.
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        FiltersDisplay
        """
        weights = _components(estimator, components)
        weights = weights.reshape(-1, weights.shape[-1])
        shape = _image_shape(image_shape, weights.shape[1])
        check_count("n_filters", n_filters)
        order = np.argsort(-np.linalg.norm(weights, axis=1), kind="stable")[:n_filters]
        return cls(weights[order], shape).plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        scale: str = "each",
        n_columns: int | None = None,
        cmap: Any = "RdBu",
    ) -> FiltersDisplay:
        """Draw the mosaic.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            The default is a new figure.
        scale : {"each", "common"}
            Whether each filter has a colour scale of its own.
        n_columns : int, optional
            The default makes the mosaic about square.
        cmap : str or Colormap

        Returns
        -------
        self
        """
        one_of("scale", scale, ("each", "common"))
        filters = _scaled(self.filters, together=scale == "common")
        tiles = _mosaic(filters, self.image_shape, n_columns)
        self.ax_ = _axes(ax, tiles.shape)
        self.figure_ = self.ax_.figure
        self.image_ = _show(self.ax_, tiles, cmap, -1, 1)
        return self


class SamplesDisplay:
    """Samples of a model as a mosaic of images, beside data where some is given.

    Parameters
    ----------
    samples : ndarray of shape (n_images, n_pixels)
    image_shape : tuple of int
        Rows and columns of pixels.
    data : ndarray of shape (n_images, n_pixels), optional

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    images_ : list of matplotlib AxesImage
        Of the data, where there is some, and of the samples.

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import SamplesDisplay
    >>> train, test = load_digits()
    >>> rbm = RBM(n_components=32, n_iter=5, random_state=0).fit(train.X)
    >>> display = SamplesDisplay.from_estimator(rbm, test.X, image_shape=test.image_shape)
    """

    ax_: Any
    figure_: Any
    images_: list[Any]

    def __init__(self, samples: Any, image_shape: tuple[int, int], data: Any = None) -> None:
        self.samples = np.asarray(samples)
        self.image_shape = image_shape
        self.data = None if data is None else np.asarray(data)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        image_shape: tuple[int, int] | None = None,
        n_samples: int = 64,
        n_steps: int = 1000,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> SamplesDisplay:
        """Draw samples of a fitted model.

        Parameters
        ----------
        estimator : object with ``sample(n_samples, n_steps, random_state=...)``
        X : array-like or CSR matrix of shape (n_rows, n_features), optional
            Data; its first ``n_samples`` rows are drawn at the left.
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
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
        SamplesDisplay
        """
        check_count("n_samples", n_samples)
        samples = estimator.sample(n_samples, n_steps, random_state=random_state)
        shape = _image_shape(image_shape, samples.shape[1])
        data = None if X is None else _dense(X[:n_samples])
        if data is not None and (data.ndim != 2 or data.shape[1] != samples.shape[1]):
            raise ValueError(
                f"X has shape {np.shape(X)}; expected (n_rows, {samples.shape[1]}), as the samples."
            )
        return cls(samples, shape, data).plot(ax, **kwargs)

    def plot(
        self, ax: Any = None, *, n_columns: int | None = None, cmap: Any = "gray_r"
    ) -> SamplesDisplay:
        """Draw the mosaics.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            The default is a new figure.
        n_columns : int, optional
            Images in a row of one mosaic; the default makes the mosaics about square.
        cmap : str or Colormap

        Returns
        -------
        self
        """
        images = {"samples": self.samples}
        if self.data is not None:
            images = {"data": self.data, **images}
        tiles = {name: _mosaic(x, self.image_shape, n_columns) for name, x in images.items()}
        height = max(t.shape[0] for t in tiles.values())
        width = sum(t.shape[1] + _MOSAIC_GAP for t in tiles.values()) - _MOSAIC_GAP
        self.ax_ = _axes(ax, (height, width))
        self.figure_ = self.ax_.figure
        low, high = _limits(list(images.values()))
        self.images_ = []
        left = 0
        for name, t in tiles.items():
            extent = (left, left + t.shape[1], t.shape[0], 0)
            self.images_.append(_show(self.ax_, t, cmap, low, high, extent))
            if len(tiles) > 1:
                middle = left + t.shape[1] / 2
                self.ax_.annotate(
                    name,
                    (middle, 0),
                    (0, 4),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    color=_INK,
                )
            left += t.shape[1] + _MOSAIC_GAP
        self.ax_.set_xlim(0, width)
        self.ax_.set_ylim(height, 0)
        return self


class HistoryDisplay:
    """What a model recorded, one point an epoch.

    Parameters
    ----------
    epochs : sequence of int
    curves : dict of sequences
        Name -> a value an epoch.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
    """

    ax_: Any
    figure_: Any
    lines_: list[Any]

    def __init__(self, epochs: Sequence[int], curves: dict[str, Sequence[float]]) -> None:
        self.epochs = epochs
        self.curves = curves

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        keys: str | Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> HistoryDisplay:
        """Draw ``history_`` of a fitted model.

        Parameters
        ----------
        estimator : object with ``history_``
        keys : str or sequence of str, optional
            What to draw. The default is all that callbacks have recorded for every epoch, and
            the learning rate where they have recorded nothing.
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        HistoryDisplay

        Examples
        --------
        A callback adds what it likes to the history:

        >>> from fastboltz import RBM
        >>> from fastboltz.datasets import load_digits
        >>> from fastboltz.plots import HistoryDisplay
        >>> train, test = load_digits()
        >>> def watch(progress):
        ...     value = progress.model.pseudo_likelihood(test.X).mean()
        ...     progress.state.record(pseudo_likelihood=value)
        >>> rbm = RBM(n_components=32, n_iter=5, callbacks=[watch], random_state=0).fit(train.X)
        >>> display = HistoryDisplay.from_estimator(rbm)
        """
        _check_fitted(estimator)
        history = estimator.history_
        epochs = history.get("epoch", [])
        if not epochs:
            raise ValueError(
                f"history_ of this {type(estimator).__name__} is empty: it has made no epoch. Fit "
                f"it with n_iter >= 1."
            )
        full = [
            key
            for key, values in history.items()
            if key != "epoch"
            and len(values) == len(epochs)
            and all(isinstance(v, Real) for v in values)
        ]
        if keys is None:
            own = [key for key in full if key not in ("seconds", "learning_rate")]
            keys = own or ["learning_rate"]
        keys = [keys] if isinstance(keys, str) else list(keys)
        for key in keys:
            if key not in history:
                one_of("keys", key, full)
            elif key not in full:
                raise ValueError(
                    f"history_[{key!r}] has {len(history[key])} entries; expected one number for "
                    f"each of the {len(epochs)} epochs."
                )
        return cls(epochs, {key: history[key] for key in keys}).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **line_kwargs: Any) -> HistoryDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            The default is a new figure.
        **line_kwargs
            Of matplotlib's ``plot``.

        Returns
        -------
        self
        """
        self.ax_ = (
            _pyplot().subplots(figsize=(5, 3.5), layout="constrained")[1] if ax is None else ax
        )
        self.figure_ = self.ax_.figure
        self.lines_ = []
        epochs = np.asarray(self.epochs)
        for name, values in self.curves.items():
            y = np.asarray(values, dtype=float)
            seen = ~np.isnan(y)  # epochs in which nothing was measured
            label = name.replace("_", " ")
            marker = "o" if seen.sum() == 1 or not seen.all() else None
            options = {"label": label, "marker": marker, "markersize": 3, **line_kwargs}
            self.lines_ += self.ax_.plot(epochs[seen], y[seen], **options)
        self.ax_.set_xlabel("epoch")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        if len(self.curves) == 1:
            self.ax_.set_ylabel(self.lines_[0].get_label())
        else:
            self.ax_.legend(frameon=False)
        self.ax_.spines[["top", "right"]].set_visible(False)
        return self


class ImagesDisplay:
    """Rows of images, each under a name.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_images, n_pixels)
        From the top downwards. NaN is an unknown pixel, and is drawn in light blue.
    image_shape : tuple of int
        Rows and columns of pixels.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage

    Examples
    --------
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import ImagesDisplay
    >>> train, test = load_digits()
    >>> display = ImagesDisplay({"train": train.X[:8], "test": test.X[:8]}, (8, 8)).plot()
    """

    ax_: Any
    figure_: Any
    image_: Any

    def __init__(self, rows: Mapping[str, Any], image_shape: tuple[int, int]) -> None:
        self.rows = {name: _dense(x) for name, x in rows.items()}
        self.image_shape = image_shape

    def plot(
        self,
        ax: Any = None,
        *,
        cmap: Any = "gray_r",
        limits: tuple[float, float] | None = None,
        column_labels: Sequence[Any] | None = None,
    ) -> Self:
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            The default is a new figure.
        cmap : str or Colormap
        limits : pair of float, optional
            Values of the two ends of the colour scale; the default is 0 and 1 where all pixels lie
            between, else the least and the greatest.
        column_labels : sequence, optional
            One a column, written under the last row.

        Returns
        -------
        self
        """
        matplotlib = _matplotlib()
        images = list(self.rows.values())
        n_columns = max(len(x) for x in images)
        rows, columns = self.image_shape
        # Each row is filled up with images of NaN, so that all are as long as the longest.
        shown, unknown = (np.full((len(images), n_columns, rows * columns), np.nan) for _ in "ab")
        for k, x in enumerate(images):
            shown[k, : len(x)] = x
            unknown[k, : len(x)] = np.isnan(x)
        tiles, unknown = (
            _mosaic(x.reshape(-1, rows * columns), self.image_shape, n_columns)
            for x in (shown, unknown)
        )
        low, high = _limits(images) if limits is None else limits
        self.ax_ = _axes(ax, tiles.shape)
        self.figure_ = self.ax_.figure
        extent = (0.0, float(tiles.shape[1]), float(tiles.shape[0]), 0.0)
        self.image_ = _show(self.ax_, tiles, cmap, low, high, extent)
        if (unknown == 1).any():
            one = matplotlib.colors.ListedColormap([_UNKNOWN])
            self.ax_.imshow(
                np.ma.masked_where(unknown != 1, unknown),
                cmap=one,
                extent=extent,
                interpolation="nearest",
            )
        # The axes are bare, so names are texts beside the rows.
        style = {"textcoords": "offset points", "color": _INK, "annotation_clip": False}
        for k, name in enumerate(self.rows):
            middle = _GAP + k * (rows + _GAP) + rows / 2
            self.ax_.annotate(name, (0, middle), (-4, 0), ha="right", va="center", **style)
        for k, name in enumerate(column_labels or ()):
            middle = _GAP + k * (columns + _GAP) + columns / 2
            at = (middle, tiles.shape[0])
            self.ax_.annotate(str(name), at, (0, -3), ha="center", va="top", **style)
        return self


class AnalogyDisplay(ImagesDisplay):
    """What a gated machine takes from pairs of images, applied to new ones.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_images, n_pixels)
        As `from_estimator` names them: the pairs, the new images, what the machine makes of them,
        and what it should.
    image_shape : tuple of int
        Rows and columns of pixels.

    Attributes
    ----------
    ax_, figure_, image_
        As in `ImagesDisplay`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import GatedRBM
    >>> from fastboltz.plots import AnalogyDisplay
    >>> X = (np.random.default_rng(0).random((100, 16)) < 0.3).astype(np.float32)
    >>> Y = np.roll(X, 4, axis=1)
    >>> gated = GatedRBM(4, n_iter=5, random_state=0).fit(X, Y)
    >>> display = AnalogyDisplay.from_estimator(gated, X, Y, X[::-1], Y[::-1])
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        Y: Any,
        X_new: Any,
        Y_new: Any = None,
        *,
        image_shape: tuple[int, int] | None = None,
        n_images: int = 10,
        ax: Any = None,
        **kwargs: Any,
    ) -> AnalogyDisplay:
        """Draw analogies of a fitted model.

        Parameters
        ----------
        estimator : object with ``analogy(X, Y, X_new)``
        X, Y : array-like of shape (n_rows, n_features)
            Pairs of images.
        X_new : array-like of shape (n_rows, n_features)
            Images that are to become what Y is to X, row by row.
        Y_new : array-like of shape (n_rows, n_features), optional
            The right answers.
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
        n_images : int
            The first so many rows are drawn, each as a column.
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        AnalogyDisplay
        """
        check_count("n_images", n_images)
        _check_fitted(estimator)
        X, Y, X_new = (_dense(x)[:n_images] for x in (X, Y, X_new))
        rows = {"x": X, "y": Y, "new x": X_new, "prediction": estimator.analogy(X, Y, X_new)}
        if Y_new is not None:
            rows["new y"] = _dense(Y_new)[:n_images]
        return cls(rows, _image_shape(image_shape, X.shape[1])).plot(ax, **kwargs)


class ClassSamplesDisplay(ImagesDisplay):
    """Samples of a classifier with a label held, one row a class.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_images, n_pixels)
        Samples by class.
    image_shape : tuple of int
        Rows and columns of pixels.

    Attributes
    ----------
    ax_, figure_, image_
        As in `ImagesDisplay`.

    Examples
    --------
    >>> from fastboltz import RBMClassifier
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import ClassSamplesDisplay
    >>> train, _ = load_digits()
    >>> model = RBMClassifier(32, objective="generative", n_iter=5, random_state=0)
    >>> display = ClassSamplesDisplay.from_estimator(model.fit(train.X, train.y))
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        n_samples: int = 10,
        n_steps: int = 1000,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> ClassSamplesDisplay:
        """Draw samples of ``p(v | y)`` for every class of a fitted model.

        Parameters
        ----------
        estimator : object with ``classes_`` and ``sample(n_samples, label, n_steps=...)``
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
        n_samples : int
            Of each class.
        n_steps : int
            Gibbs sweeps before each sample.
        random_state : None, int, RandomState or Generator
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        ClassSamplesDisplay
        """
        check_count("n_samples", n_samples)
        _check_fitted(estimator)
        classes = estimator.classes_
        labels = np.repeat(classes, n_samples)
        drawn, _ = estimator.sample(len(labels), labels, n_steps=n_steps, random_state=random_state)
        images = drawn.reshape(len(classes), n_samples, -1)
        rows = {str(c): x for c, x in zip(classes, images, strict=True)}
        return cls(rows, _image_shape(image_shape, drawn.shape[1])).plot(ax, **kwargs)


class CompletionDisplay(ImagesDisplay):
    """Images with unknown pixels, and draws of what is not known.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_images, n_pixels)
        What is known, draws, and the truth where it was given.
    image_shape : tuple of int
        Rows and columns of pixels.

    Attributes
    ----------
    ax_, figure_, image_
        As in `ImagesDisplay`.

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import CompletionDisplay
    >>> train, test = load_digits()
    >>> rbm = RBM(n_components=32, n_iter=5, random_state=0).fit(train.X)
    >>> known = test.X.copy()
    >>> known[:, 32:] = float("nan")
    >>> display = CompletionDisplay.from_estimator(rbm, known, test.X)
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        truth: Any = None,
        *,
        image_shape: tuple[int, int] | None = None,
        n_images: int = 10,
        n_draws: int = 3,
        n_steps: int = 200,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> CompletionDisplay:
        """Draw completions by a fitted model.

        Parameters
        ----------
        estimator : object with ``sample(n_samples, n_steps, given=..., random_state=...)``
        X : array-like of shape (n_rows, n_features)
            NaN marks unknown pixels.
        truth : array-like of shape (n_rows, n_features), optional
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
        n_images : int
            The first so many rows are drawn, each as a column.
        n_draws : int
            Draws of the unknown pixels, one below the other.
        n_steps : int
            Gibbs sweeps before each draw.
        random_state : None, int, RandomState or Generator
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        CompletionDisplay
        """
        check_count("n_images", n_images)
        check_count("n_draws", n_draws)
        _check_fitted(estimator)
        X = np.asarray(X)[:n_images]
        drawn = estimator.sample(
            n_draws * len(X), n_steps, given=np.tile(X, (n_draws, 1)), random_state=random_state
        )
        rows = {"known": X}
        for k, x in enumerate(drawn.reshape(n_draws, *X.shape), start=1):
            rows[f"draw {k}" if n_draws > 1 else "draw"] = x
        if truth is not None:
            rows["truth"] = _dense(truth)[:n_images]
        return cls(rows, _image_shape(image_shape, X.shape[1])).plot(ax, **kwargs)


class ClassFiltersDisplay(ImagesDisplay):
    """Weights that the label gates, one row a class.

    Blue weights are positive, red ones negative; each filter has a colour scale of its own.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_filters, n_pixels)
        Filters by class, the greatest weight of each 1 or -1.
    image_shape : tuple of int
        Rows and columns of pixels.

    Attributes
    ----------
    ax_, figure_, image_
        As in `ImagesDisplay`.

    Examples
    --------
    >>> from fastboltz import ClassGatedRBMClassifier
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import ClassFiltersDisplay
    >>> train, _ = load_digits()
    >>> model = ClassGatedRBMClassifier(16, n_iter=5, random_state=0).fit(train.X, train.y)
    >>> display = ClassFiltersDisplay.from_estimator(model)
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        n_filters: int = 10,
        ax: Any = None,
        **kwargs: Any,
    ) -> ClassFiltersDisplay:
        """Draw the filters of a fitted model.

        Parameters
        ----------
        estimator : object with ``classes_``, ``components_`` of shape \
(n_classes, n_components, n_features)
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
        n_filters : int
            Of each class: those of largest norm, largest first.
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        ClassFiltersDisplay
        """
        weights = _components(estimator)
        if weights.ndim != 3:
            raise TypeError(
                f"the label does not gate the weights of this {type(estimator).__name__}: "
                f"components_ has shape {weights.shape}, expected (n_classes, n_components, "
                f"n_features). Use FiltersDisplay."
            )
        check_count("n_filters", n_filters)
        rows = {}
        for c, filters in zip(estimator.classes_, weights, strict=True):
            order = np.argsort(-np.linalg.norm(filters, axis=1), kind="stable")[:n_filters]
            rows[str(c)] = _scaled(filters[order])
        shape = _image_shape(image_shape, weights.shape[-1])
        return cls(rows, shape).plot(ax, **{"cmap": "RdBu", "limits": (-1, 1)} | kwargs)


class FilterPairsDisplay:
    """Factors of a gated machine: the filter of x above that of y.

    Their products make the evidence for a transformation. Blue weights are positive, red ones
    negative; each filter has a colour scale of its own.

    Parameters
    ----------
    filters_x, filters_y : ndarray of shape (n_filters, n_pixels)
    image_shape : tuple of int
        Rows and columns of pixels.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import GatedRBM
    >>> from fastboltz.plots import FilterPairsDisplay
    >>> X = (np.random.default_rng(0).random((100, 16)) < 0.3).astype(np.float32)
    >>> gated = GatedRBM(4, n_factors=8, n_iter=5, random_state=0)
    >>> display = FilterPairsDisplay.from_estimator(gated.fit(X, np.roll(X, 4, axis=1)))
    """

    ax_: Any
    figure_: Any
    image_: Any

    def __init__(self, filters_x: Any, filters_y: Any, image_shape: tuple[int, int]) -> None:
        self.filters_x = np.asarray(filters_x)
        self.filters_y = np.asarray(filters_y)
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        n_filters: int = 24,
        ax: Any = None,
        **kwargs: Any,
    ) -> FilterPairsDisplay:
        """Draw the factors of a fitted `GatedRBM` with ``n_factors``.

        Parameters
        ----------
        estimator : GatedRBM
        image_shape : tuple of int, optional
            Rows and columns of pixels, of both images; the default is a square.
        n_filters : int
            At most so many pairs are drawn: those of which the product of all three norms is
            largest, largest first.
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        FilterPairsDisplay
        """
        _check_fitted(estimator)
        check_count("n_filters", n_filters)
        from .terms import FactoredTerm

        term = estimator.energy_.terms[0]
        if not isinstance(term, FactoredTerm):
            raise TypeError(
                f"this {type(estimator).__name__} has no factors: its weights are one array, "
                f"{term.name!r}. Fit it with n_factors."
            )
        # Each (rank, size of the group).
        factors = [estimator.params_[key].reshape(-1, term.rank).T for key in term.parameter_shapes]
        norms = np.prod([np.linalg.norm(f, axis=1) for f in factors], axis=0)
        order = np.argsort(-norms, kind="stable")[:n_filters]
        x, y = factors[0][order], factors[1][order]
        return cls(x, y, _image_shape(image_shape, x.shape[1])).plot(ax, **kwargs)

    def plot(
        self, ax: Any = None, *, n_columns: int | None = None, cmap: Any = "RdBu"
    ) -> FilterPairsDisplay:
        """Draw the pairs.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            The default is a new figure.
        n_columns : int, optional
            The default makes the mosaic about square.
        cmap : str or Colormap

        Returns
        -------
        self
        """
        rows, columns = self.image_shape
        x, y = (_scaled(f) for f in (self.filters_x, self.filters_y))
        # A line between the two of a pair, and two more below it.
        line = np.full((len(x), columns), np.nan)
        pairs = np.concatenate([x, line, y, line, line], axis=1)
        tiles = _mosaic(pairs, (2 * rows + 3, columns), n_columns)[:-2]
        self.ax_ = _axes(ax, tiles.shape)
        self.figure_ = self.ax_.figure
        self.image_ = _show(self.ax_, tiles, cmap, -1, 1)
        return self


class ComparisonDisplay:
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
    >>> found = gradients.compare(methods, cost, gradients.Bernoulli(np.zeros(5)), random_state=0)
    >>> display = ComparisonDisplay(found).plot()
    """

    axes_: Any
    figure_: Any
    points_: list[Any]

    def __init__(self, comparison: Any) -> None:
        self.comparison = comparison

    def plot(self, axes: Any = None) -> ComparisonDisplay:
        """Draw the panels.

        Parameters
        ----------
        axes : sequence of four matplotlib Axes, optional
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
        if axes is None:
            size = (2.6 * len(panels) + 1.6, 0.34 * n + 0.9)
            axes = _pyplot().subplots(
                1, len(panels), figsize=size, sharey=True, layout="constrained"
            )[1]
        self.axes_ = np.asarray(axes)
        if self.axes_.shape != (len(panels),):
            raise ValueError(f"axes has shape {self.axes_.shape}; expected {(len(panels),)}.")
        self.figure_ = self.axes_[0].figure
        self.points_ = []
        colours = ["#b03a2e" if biased else "#31688e" for biased in columns["biased"]]
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        for ax, (key, title) in zip(self.axes_, panels.items(), strict=True):
            x = np.array(columns[key])
            # Exact methods have no variance: no point on a scale of powers of ten.
            x[x < 1e-12 * x.max()] = np.nan
            ax.set_xscale("log")
            self.points_.append(ax.scatter(x, np.arange(n), s=42, color=colours, zorder=3))
            if key == "bias":
                ax.plot(columns["bias_error"], np.arange(n), "|", color=_INK, markersize=12)
            ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.tick_params(axis="x", labelsize=8, labelrotation=30)
            ax.grid(axis="y", color="#e2e2e2", linewidth=0.8)
            ax.set_title(title, fontsize=10, color=_INK)
            ax.spines[["top", "right"]].set_visible(False)
        self.axes_[0].set_yticks(np.arange(n), columns["method"])
        self.axes_[0].set_ylim(n - 0.5, -0.5)
        return self


def demo_figure(
    estimator: Any,
    X: Any,
    samples: Any = None,
    *,
    image_shape: tuple[int, int] | None = None,
    n_images: int = 64,
    n_steps: int = 1000,
    random_state: Any = 0,
) -> Any:
    """One picture: the filters of a model, data, and samples.

    Parameters
    ----------
    estimator : fitted model
    X : array-like of shape (n_rows, n_features)
        Data; the first ``n_images`` rows are drawn.
    samples : array-like of shape (n_rows, n_features), optional
        The default is drawn from the model.
    image_shape : tuple of int, optional
        Rows and columns of pixels; the default is a square.
    n_images : int
        Images in each panel.
    n_steps : int
        Gibbs sweeps before each sample.
    random_state : None, int, RandomState or Generator

    Returns
    -------
    matplotlib Figure
        Not one of pyplot's, so no window needs to be closed; ``figure.savefig(path)`` writes it.
    """
    _matplotlib()
    from matplotlib.figure import Figure

    weights = _components(estimator)
    shape = _image_shape(image_shape, weights.shape[1])
    if samples is None:
        samples = estimator.sample(n_images, n_steps, random_state=random_state)
    # In inches; a pixel of an image is a whole number of pixels of the picture.
    side, between, top, bottom, dpi = 0.1, 0.2, 0.34, 0.1, 150
    down, across = _mosaic(np.zeros((n_images, weights.shape[1])), shape).shape
    pixel = max(1, round(3.0 * dpi / across)) / dpi
    width, height = pixel * across, pixel * down
    size = 2 * side + 2 * between + 3 * width, top + height + bottom
    figure = Figure(figsize=size, dpi=dpi, facecolor="white")
    axes = [
        figure.add_axes(
            (
                (side + k * (width + between)) / size[0],
                bottom / size[1],
                width / size[0],
                height / size[1],
            )
        )
        for k in range(3)
    ]
    FiltersDisplay.from_estimator(estimator, image_shape=shape, n_filters=n_images, ax=axes[0])
    SamplesDisplay(_dense(X[:n_images]), shape).plot(axes[1])
    SamplesDisplay(_dense(samples[:n_images]), shape).plot(axes[2])
    for ax, title in zip(axes, ("filters", "data", "samples"), strict=True):
        ax.set_title(title, fontsize=11, color=_INK, pad=6)
    return figure


# -- parts -----------------------------------------------------------------------------------------


def _matplotlib() -> Any:
    """matplotlib, or a sentence with the remedy."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib, which is not installed; pip install "fastboltz[plot]".'
        ) from error
    return matplotlib


def _pyplot() -> Any:
    _matplotlib()
    from matplotlib import pyplot

    return pyplot


def _check_fitted(estimator: Any) -> None:
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)


def _components(estimator: Any, name: str = "components_") -> np.ndarray:
    _check_fitted(estimator)
    weights = getattr(estimator, name, None)
    if weights is None:
        raise TypeError(
            f"{type(estimator).__name__} has no {name}; expected a model with weights of "
            f"shape (n_components, n_features)."
        )
    return np.asarray(weights)


def _dense(x: Any) -> np.ndarray:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x)


def _image_shape(image_shape: tuple[int, int] | None, n_pixels: int) -> tuple[int, int]:
    """The shape that was asked for, or that of a square."""
    if image_shape is None:
        side = math.isqrt(n_pixels)
        if side * side != n_pixels:
            raise ValueError(
                f"{n_pixels} features make no square image; give image_shape=(rows, columns)."
            )
        return side, side
    if len(image_shape) != 2 or math.prod(image_shape) != n_pixels:
        raise ValueError(
            f"image_shape is {tuple(image_shape)}, but there are {n_pixels} features; expected "
            f"(rows, columns) whose product is {n_pixels}."
        )
    rows, columns = image_shape
    return int(rows), int(columns)


def _mosaic(
    images: np.ndarray, image_shape: tuple[int, int], n_columns: int | None = None
) -> np.ndarray:
    """Images in a grid with a gap of NaN around each, row by row."""
    n = len(images)
    rows, columns = image_shape
    if n_columns is None:
        n_columns = max(1, round(math.sqrt(n * (rows + _GAP) / (columns + _GAP))))
    across = min(check_count("n_columns", n_columns), max(n, 1))
    down = -(-n // across)
    tiles = np.full((down * across, rows + _GAP, columns + _GAP), np.nan)
    tiles[:n, :rows, :columns] = np.reshape(images, (n, rows, columns))
    grid = tiles.reshape(down, across, rows + _GAP, columns + _GAP).transpose(0, 2, 1, 3)
    inner = grid.reshape(down * (rows + _GAP), across * (columns + _GAP))[:-_GAP, :-_GAP]
    return np.pad(inner, _GAP, constant_values=np.nan)


def _scaled(filters: np.ndarray, together: bool = False) -> np.ndarray:
    """Filters divided by the greatest absolute weight, of each or of all."""
    filters = filters.astype(np.float64)
    top = np.abs(filters).max(axis=1, keepdims=True)
    if together:
        top = np.full_like(top, top.max())
    return np.divide(filters, top, out=np.zeros_like(filters), where=top > 0)


def _limits(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Ends of the colour scale."""
    known = np.concatenate([np.ravel(x[~np.isnan(x)]) for x in images])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _axes(ax: Any, shape: tuple[int, int]) -> Any:
    """An Axes for a mosaic: the one given, or a new figure's, bare of ticks and frame."""
    if ax is None:
        height, width = shape
        long = 6.0 / max(height, width)
        size = max(1.5, width * long), max(1.5, height * long)
        ax = _pyplot().subplots(figsize=size, layout="constrained")[1]
    ax.set_axis_off()
    ax.set_aspect("equal")
    return ax


def _show(
    ax: Any,
    tiles: np.ndarray,
    cmap: Any,
    low: float,
    high: float,
    extent: tuple[float, float, float, float] | None = None,
) -> Any:
    """One mosaic; gaps are a light grey, so that white pixels are seen to belong to an image."""
    matplotlib = _matplotlib()
    if isinstance(cmap, str):
        cmap = matplotlib.colormaps[cmap]
    cmap = cmap.with_extremes(bad="#e2e2e2")
    return ax.imshow(tiles, cmap=cmap, vmin=low, vmax=high, extent=extent, interpolation="nearest")
