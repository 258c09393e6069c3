"""Weights as images: blue ones are positive, red ones negative, and white is zero."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..validation import check_count, one_of
from ._display import check_fitted, image_shape_of, weights_of
from ._mosaic import MosaicDisplay, largest, mosaic, scaled, show
from .images import ImagesDisplay


class FiltersDisplay(MosaicDisplay):
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
    axes_ : ndarray of matplotlib Axes
        The one of ``ax_``.
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
        components: Any = "components_",
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the filters of a fitted model.

        Parameters
        ----------
        estimator : object with ``components_`` of shape (..., n_features)
            Any of this package's models, or of scikit-learn's.
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
        n_filters : int
            At most so many are drawn: those of largest norm, largest first.
        components : str or array-like of shape (..., n_features)
            The attribute that holds the weights, e.g. ``"nuisance_components_"``, or the weights.
        ax : matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        FiltersDisplay
        """
        weights = weights_of(estimator, components)
        weights = weights.reshape(-1, weights.shape[-1])
        shape = image_shape_of(image_shape, weights.shape[1])
        check_count("n_filters", n_filters)
        return cls(weights[largest(weights, n_filters)], shape).plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        scale: str = "each",
        n_columns: int | None = None,
        cmap: Any = "RdBu",
    ) -> Self:
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
        filters = scaled(self.filters, together=scale == "common")
        tiles = mosaic(filters, self.image_shape, n_columns)
        self.image_ = show(self._canvas(ax, tiles.shape), tiles, cmap, -1, 1)
        return self


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
    ax_, axes_, figure_, image_
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
    ) -> Self:
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
        weights = weights_of(estimator)
        if weights.ndim != 3:
            raise TypeError(
                f"the label does not gate the weights of this {type(estimator).__name__}: "
                f"components_ has shape {weights.shape}, expected (n_classes, n_components, "
                f"n_features). Use FiltersDisplay."
            )
        check_count("n_filters", n_filters)
        rows = {
            str(c): scaled(filters[largest(filters, n_filters)])
            for c, filters in zip(estimator.classes_, weights, strict=True)
        }
        shape = image_shape_of(image_shape, weights.shape[-1])
        return cls(rows, shape).plot(ax, **{"cmap": "RdBu", "limits": (-1, 1)} | kwargs)


class FilterPairsDisplay(MosaicDisplay):
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
    axes_ : ndarray of matplotlib Axes
        The one of ``ax_``.
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
    ) -> Self:
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
        check_fitted(estimator)
        check_count("n_filters", n_filters)
        from ..terms import FactoredTerm

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
        return cls(x, y, image_shape_of(image_shape, x.shape[1])).plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, n_columns: int | None = None, cmap: Any = "RdBu") -> Self:
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
        x, y = (scaled(f) for f in (self.filters_x, self.filters_y))
        # A line between the two of a pair, and two more below it.
        line = np.full((len(x), columns), np.nan)
        pairs = np.concatenate([x, line, y, line, line], axis=1)
        tiles = mosaic(pairs, (2 * rows + 3, columns), n_columns)[:-2]
        self.image_ = show(self._canvas(ax, tiles.shape), tiles, cmap, -1, 1)
        return self


__all__ = ["ClassFiltersDisplay", "FilterPairsDisplay", "FiltersDisplay"]
