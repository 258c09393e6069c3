"""Data, samples and what models make of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, Self

import numpy as np

from ..validation import check_count
from ._display import (
    INK,
    check_can,
    dense,
    image_shape_of,
    matplotlib,
    rows_of,
    samples_of,
)
from ._mosaic import GAP, MOSAIC_GAP, MosaicDisplay, limits_of, mosaic, show

#: Pixels that are not known.
_UNKNOWN = "#a9c9e8"
#: Sweeps after which a film strip has a frame.
_FRAMES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class SamplesDisplay(MosaicDisplay):
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
    axes_ : ndarray of matplotlib Axes
        The one of ``ax_``.
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
    ) -> Self:
        """Draw samples of a fitted model.

        Parameters
        ----------
        estimator : object with ``sample(n_samples, n_steps=..., random_state=...)``
            Or without ``n_steps``, where its samples are independent. Labels that it draws with
            them are left out.
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
        samples = samples_of(estimator, n_samples, n_steps, random_state)
        if isinstance(samples, Mapping):
            raise TypeError(
                f"{type(estimator).__name__} draws the groups {', '.join(map(repr, samples))}; "
                f"expected one table of images. Draw one of them: SamplesDisplay(model.sample(...)"
                f"[{next(iter(samples))!r}], image_shape).plot()."
            )
        shape = image_shape_of(image_shape, samples.shape[1])
        data = None if X is None else rows_of("X", X, samples.shape[1])[:n_samples]
        return cls(samples, shape, data).plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, n_columns: int | None = None, cmap: Any = "gray_r") -> Self:
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
        tiles = {name: mosaic(x, self.image_shape, n_columns) for name, x in images.items()}
        height = max(t.shape[0] for t in tiles.values())
        width = sum(t.shape[1] + MOSAIC_GAP for t in tiles.values()) - MOSAIC_GAP
        ax = self._canvas(ax, (height, width))
        low, high = limits_of(list(images.values()))
        self.images_ = []
        left = 0
        for name, t in tiles.items():
            extent = (left, left + t.shape[1], t.shape[0], 0)
            self.images_.append(show(ax, t, cmap, low, high, extent))
            if len(tiles) > 1:
                middle = left + t.shape[1] / 2
                ax.annotate(
                    name,
                    (middle, 0),
                    (0, 4),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    color=INK,
                )
            left += t.shape[1] + MOSAIC_GAP
        ax.set_xlim(0, width)
        ax.set_ylim(height, 0)
        return self


class ImagesDisplay(MosaicDisplay):
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
    axes_ : ndarray of matplotlib Axes
        The one of ``ax_``.
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage

    Examples
    --------
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import ImagesDisplay
    >>> train, test = load_digits()
    >>> display = ImagesDisplay({"train": train.X[:8], "test": test.X[:8]}, (8, 8)).plot()
    """

    def __init__(self, rows: Mapping[str, Any], image_shape: tuple[int, int]) -> None:
        self.rows = {name: dense(x) for name, x in rows.items()}
        self.image_shape = image_shape
        n_pixels = image_shape[0] * image_shape[1]
        for name, x in self.rows.items():
            if x.ndim != 2 or x.shape[1] != n_pixels:
                raise ValueError(
                    f"the images {name!r} have shape {x.shape}; expected (n_images, {n_pixels}), "
                    f"for {image_shape[0]} x {image_shape[1]} pixels."
                )

    def plot(
        self,
        ax: Any = None,
        *,
        cmap: Any = "gray_r",
        limits: tuple[float, float] | None = None,
        row_labels: bool = True,
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
        row_labels : bool
            Whether the names are written beside the rows.
        column_labels : sequence, optional
            One a column, written under the last row.

        Returns
        -------
        self
        """
        images = list(self.rows.values())
        n_columns = max(len(x) for x in images)
        rows, columns = self.image_shape
        # Each row is filled up with images of NaN, so that all are as long as the longest.
        shown, unknown = (np.full((len(images), n_columns, rows * columns), np.nan) for _ in "ab")
        for k, x in enumerate(images):
            shown[k, : len(x)] = x
            unknown[k, : len(x)] = np.isnan(x)
        tiles, unknown = (
            mosaic(x.reshape(-1, rows * columns), self.image_shape, n_columns)
            for x in (shown, unknown)
        )
        low, high = limits_of(images) if limits is None else limits
        ax = self._canvas(ax, tiles.shape)
        extent = (0.0, float(tiles.shape[1]), float(tiles.shape[0]), 0.0)
        self.image_ = show(ax, tiles, cmap, low, high, extent)
        if (unknown == 1).any():
            ax.imshow(
                np.ma.masked_where(unknown != 1, unknown),
                cmap=matplotlib().colors.ListedColormap([_UNKNOWN]),
                extent=extent,
                interpolation="nearest",
            )
        # The axes are bare, so names are texts beside the rows.
        style = {"textcoords": "offset points", "color": INK, "annotation_clip": False}
        for k, name in enumerate(self.rows if row_labels else ()):
            middle = GAP + k * (rows + GAP) + rows / 2
            ax.annotate(name, (0, middle), (-4, 0), ha="right", va="center", **style)
        for k, name in enumerate(column_labels if column_labels is not None else ()):
            middle = GAP + k * (columns + GAP) + columns / 2
            at = (middle, tiles.shape[0])
            ax.annotate(str(name), at, (0, -3), ha="center", va="top", **style)
        return self


class ChainDisplay(ImagesDisplay):
    """Gibbs chains as film strips: one row a chain, one column a moment.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_frames, n_pixels)
        Frames of each chain.
    image_shape : tuple of int
        Rows and columns of pixels.
    frames : sequence of int
        Sweeps made before each frame.

    Attributes
    ----------
    ax_, axes_, figure_, image_
        As in `ImagesDisplay`.

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import ChainDisplay
    >>> train, test = load_digits()
    >>> rbm = RBM(n_components=32, n_iter=5, random_state=0).fit(train.X)
    >>> display = ChainDisplay.from_estimator(rbm, test.X, n_chains=3, frames=(0, 1, 10, 100))
    """

    def __init__(
        self, rows: Mapping[str, Any], image_shape: tuple[int, int], frames: Sequence[int]
    ) -> None:
        super().__init__(rows, image_shape)
        self.frames = tuple(frames)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        image_shape: tuple[int, int] | None = None,
        n_chains: int = 5,
        frames: Sequence[int] = _FRAMES,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw chains of a fitted model.

        Parameters
        ----------
        estimator : object with ``sample(n_samples, n_steps=..., init=..., random_state=...)``
        X : array-like or CSR matrix of shape (n_rows, n_features), optional
            Chains begin at its first rows; the default is where the model's own samples begin.
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
        n_chains : int
        frames : sequence of int
            Sweeps made before each frame, rising.
        random_state : None, int, RandomState or Generator
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        ChainDisplay
        """
        from ..rng import seed_from

        check_count("n_chains", n_chains)
        moments = np.asarray(frames)
        is_whole = moments.ndim == 1 and len(moments) and np.issubdtype(moments.dtype, np.integer)
        if not is_whole or moments[0] < 0 or (np.diff(moments) <= 0).any():
            raise ValueError(
                f"frames is {frames!r}; expected numbers of sweeps that rise, such as (0, 1, 10)."
            )
        sample = check_can(estimator, "sample")
        if not {"n_samples", "n_steps", "init"} <= set(signature(sample).parameters):
            raise TypeError(
                f"{type(estimator).__name__}.sample does not go on from given rows; a film strip "
                f"needs sample(n_samples, n_steps=..., init=..., random_state=...)."
            )
        # Each call goes on where the one before ended, with numbers of its own.
        draws = np.random.default_rng(seed_from(random_state))

        def sweeps(n: int, **start: Any) -> np.ndarray:
            drawn = sample(n_chains, n_steps=n, random_state=draws, **start)
            return drawn[0] if isinstance(drawn, tuple) else drawn

        if X is None:
            x = sweeps(0)
        else:
            x = rows_of("X", X, estimator.n_features_in_)[:n_chains]
            n_chains = len(x)
        shape = image_shape_of(image_shape, x.shape[1])
        film = []
        for more in np.diff(moments, prepend=0):
            x = sweeps(int(more), init=x) if more else x
            film.append(x)
        rows = {f"chain {k + 1}": strip for k, strip in enumerate(np.stack(film, axis=1))}
        return cls(rows, shape, [int(t) for t in moments]).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the strips, with the number of sweeps under each column.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `ImagesDisplay.plot`.

        Returns
        -------
        self
        """
        return super().plot(ax, **{"column_labels": self.frames} | kwargs)


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
    ax_, axes_, figure_, image_
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
    ) -> Self:
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
        sample = check_can(estimator, "sample")
        classes = getattr(estimator, "classes_", None)
        if classes is None or "label" not in signature(sample).parameters:
            raise TypeError(
                f"{type(estimator).__name__} draws no samples of a class; expected a classifier "
                f"with sample(n_samples, label, n_steps=...), such as RBMClassifier."
            )
        labels = np.repeat(classes, n_samples)
        drawn, _ = sample(len(labels), labels, n_steps=n_steps, random_state=random_state)
        images = drawn.reshape(len(classes), n_samples, -1)
        rows = {str(c): x for c, x in zip(classes, images, strict=True)}
        return cls(rows, image_shape_of(image_shape, drawn.shape[1])).plot(ax, **kwargs)


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
    ax_, axes_, figure_, image_
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
    ) -> Self:
        """Draw completions by a fitted model.

        Parameters
        ----------
        estimator : object with ``sample(n_samples, n_steps=..., given=..., random_state=...)``
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
        sample = check_can(estimator, "sample")
        if not {"n_samples", "n_steps", "given"} <= set(signature(sample).parameters):
            raise TypeError(
                f"{type(estimator).__name__}.sample does not hold known pixels; completions need "
                f"sample(n_samples, n_steps=..., given=..., random_state=...), as RBM has."
            )
        X = np.asarray(X)[:n_images]
        given = np.tile(X, (n_draws, 1))
        drawn = sample(n_draws * len(X), n_steps=n_steps, given=given, random_state=random_state)
        rows = {"known": X}
        for k, x in enumerate(drawn.reshape(n_draws, *X.shape), start=1):
            rows[f"draw {k}" if n_draws > 1 else "draw"] = x
        if truth is not None:
            rows["truth"] = dense(truth)[:n_images]
        return cls(rows, image_shape_of(image_shape, X.shape[1])).plot(ax, **kwargs)


class MasksDisplay(ImagesDisplay):
    """What a point-wise gated machine takes for whose pixel: images, masks, and the two together.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_images, n_pixels)
        As `from_estimator` names them.
    image_shape : tuple of int
        Rows and columns of pixels.

    Attributes
    ----------
    ax_, axes_, figure_, image_
        As in `ImagesDisplay`.

    Examples
    --------
    >>> from fastboltz import PointwiseGatedRBM
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import MasksDisplay
    >>> train, test = load_digits()
    >>> model = PointwiseGatedRBM((16, 0), n_iter=2, random_state=0).fit(train.X)
    >>> display = MasksDisplay.from_estimator(model, test.X)
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        truth: Any = None,
        *,
        component: int | Sequence[int] = 0,
        image_shape: tuple[int, int] | None = None,
        n_images: int = 10,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the masks of a fitted model.

        Parameters
        ----------
        estimator : object with ``masks(X, component=...)``
        X : array-like or CSR matrix of shape (n_rows, n_features)
        truth : array-like of shape (n_rows, n_features), optional
            What the masked images should be.
        component : int or sequence of int
            Whose masks are drawn; 0 is the task-relevant one. With several, each has a row of masks
            and none of masked images.
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
        MasksDisplay
        """
        check_count("n_images", n_images)
        masks = check_can(estimator, "masks", "Masks are those of the point-wise gated machines.")
        X = dense(X[:n_images])
        rows = {"image": X}
        if isinstance(component, Sequence):
            rows |= {f"mask {k}": masks(X, component=k) for k in component}
        else:
            rows["mask"] = masks(X, component=component)
            rows["masked"] = X * rows["mask"]
        if truth is not None:
            rows["truth"] = dense(truth[:n_images])
        return cls(rows, image_shape_of(image_shape, X.shape[1])).plot(ax, **kwargs)


__all__ = [
    "ChainDisplay",
    "ClassSamplesDisplay",
    "CompletionDisplay",
    "ImagesDisplay",
    "MasksDisplay",
    "SamplesDisplay",
]
