"""Pictures of models, as scikit-learn's displays: ``SomethingDisplay.from_estimator(model)``.

- `FiltersDisplay`: weights of the hidden units, as images.
- `SamplesDisplay`: samples, beside data where some is given.
- `HistoryDisplay`: what was recorded, epoch by epoch.
- `demo_figure`: filters, data and samples in one picture.

A display keeps what it drew: ``ax_``, ``figure_`` and the artists. matplotlib is imported when
something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from .validation import check_count, one_of

#: Space between two images of a mosaic and between two mosaics, in pixels of the images.
_GAP = 1
_MOSAIC_GAP = 5

_INK = "#222222"


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
        ax: Any = None,
        **kwargs: Any,
    ) -> FiltersDisplay:
        """Draw the filters of a fitted model.

        Parameters
        ----------
        estimator : object with ``components_`` of shape (n_components, n_features)
            Any of this package's models, or of scikit-learn's.
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
        n_filters : int
            At most so many are drawn: those of largest norm, largest first.
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        FiltersDisplay
        """
        weights = _components(estimator)
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
        filters = self.filters.astype(np.float64)
        top = np.abs(filters).max(axis=1, keepdims=True)
        if scale == "common":
            top = np.full_like(top, top.max())
        filters = np.divide(filters, top, out=np.zeros_like(filters), where=top > 0)
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
        low = min(float(np.nanmin(x)) for x in images.values())
        high = max(float(np.nanmax(x)) for x in images.values())
        if low >= 0 and high <= 1:
            low, high = 0.0, 1.0
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
        marker = "o" if len(self.epochs) == 1 else None
        self.lines_ = [
            self.ax_.plot(
                self.epochs,
                values,
                **{"label": name.replace("_", " "), "marker": marker, **line_kwargs},
            )[0]
            for name, values in self.curves.items()
        ]
        self.ax_.set_xlabel("epoch")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        if len(self.curves) == 1:
            self.ax_.set_ylabel(self.lines_[0].get_label())
        else:
            self.ax_.legend(frameon=False)
        self.ax_.spines[["top", "right"]].set_visible(False)
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


def _components(estimator: Any) -> np.ndarray:
    _check_fitted(estimator)
    weights = getattr(estimator, "components_", None)
    if weights is None:
        raise TypeError(
            f"{type(estimator).__name__} has no components_; expected a model with weights of "
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
