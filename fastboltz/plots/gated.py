"""What gated machines take from pairs of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ..validation import check_count
from ._display import INK, Display, check_can, dense, image_shape_of
from ._mosaic import GAP, limits_of, mosaic, show
from .images import ImagesDisplay


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
    ax_, axes_, figure_, image_
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
    ) -> Self:
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
        analogy = check_can(estimator, "analogy", "Analogies are those of GatedRBM.")
        X, Y, X_new = (dense(x)[:n_images] for x in (X, Y, X_new))
        rows = {"x": X, "y": Y, "new x": X_new, "prediction": analogy(X, Y, X_new)}
        if Y_new is not None:
            rows["new y"] = dense(Y_new)[:n_images]
        return cls(rows, image_shape_of(image_shape, X.shape[1])).plot(ax, **kwargs)


class TransformationsDisplay(Display):
    """Where the hidden units of a gated machine send a pixel: pairs of images, and a map of each.

    Given a pair, the means of the hidden units turn the weights ``W_ijk`` into one matrix between
    the two images, ``T_ij = sum_k W_ijk E[h_k | x, y]``. The map below a pair is its average along
    displacements: the middle stands for pixels that stay in place, the place one to the right of it
    for pixels that move by one to the right. Blue displacements are favoured, red ones suppressed.

    Parameters
    ----------
    X, Y : ndarray of shape (n_images, n_pixels)
    maps : ndarray of shape (n_images, 2 * reach + 1, 2 * reach + 1)
        Mean weights by displacement, downwards and to the right.
    image_shape : tuple of int
        Rows and columns of pixels.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Of the pairs, and of the maps.
    figure_ : matplotlib Figure
    pairs_ : ImagesDisplay
    image_ : matplotlib AxesImage
        Of the maps.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import GatedRBM
    >>> from fastboltz.plots import TransformationsDisplay
    >>> X = (np.random.default_rng(0).random((100, 16)) < 0.3).astype(np.float32)
    >>> Y = np.roll(X, 4, axis=1)
    >>> gated = GatedRBM(4, n_iter=5, random_state=0).fit(X, Y)
    >>> display = TransformationsDisplay.from_estimator(gated, X, Y)
    """

    pairs_: ImagesDisplay
    image_: Any

    def __init__(self, X: Any, Y: Any, maps: Any, image_shape: tuple[int, int]) -> None:
        self.X = np.asarray(X)
        self.Y = np.asarray(Y)
        self.maps = np.asarray(maps)
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        Y: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        n_images: int = 10,
        reach: int | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw what a fitted model sees in pairs of images.

        Parameters
        ----------
        estimator : GatedRBM
        X, Y : array-like of shape (n_rows, n_features)
            Pairs of images, of one shape.
        image_shape : tuple of int, optional
            Rows and columns of pixels; the default is a square.
        n_images : int
            The first so many pairs are drawn, each as a column.
        reach : int, optional
            The largest displacement that is drawn; the default is half of the shorter side.
        ax : sequence of two matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        TransformationsDisplay
        """
        check_count("n_images", n_images)
        check_can(estimator, "analogy", "Transformations are those of GatedRBM.")
        X, Y = (dense(x)[:n_images] for x in (X, Y))
        if X.shape != Y.shape:
            raise ValueError(
                f"X has shape {X.shape} and Y {Y.shape}; displacements are between images of one "
                f"shape."
            )
        shape = image_shape_of(image_shape, X.shape[1])
        reach = min(shape) // 2 if reach is None else check_count("reach", reach)
        if reach >= min(shape):
            raise ValueError(
                f"reach is {reach}, but the images have {shape[0]} x {shape[1]} pixels; expected "
                f"less than {min(shape)}."
            )
        maps = _by_displacement(_gated_weights(estimator, X, Y), shape, reach)
        return cls(X, Y, maps, shape).plot(ax, **kwargs)

    def plot(
        self, ax: Any = None, *, cmap: Any = "RdBu", column_labels: Sequence[Any] | None = None
    ) -> Self:
        """Draw the pairs above the maps.

        Parameters
        ----------
        ax : sequence of two matplotlib Axes, optional
            The default is a new figure.
        cmap : str or Colormap
            Of the maps; each has a colour scale of its own.
        column_labels : sequence, optional
            One a pair, written under the maps.

        Returns
        -------
        self
        """
        n, (rows, columns) = len(self.X), self.image_shape
        side = self.maps.shape[1]
        ratios = [(2 * rows + 3 * GAP) / (columns + GAP), (side + 2 * GAP) / (side + GAP)]
        size = (max(3.0, 0.75 * n + 0.4), max(2.0, 0.75 * sum(ratios) + 0.5))
        pairs, maps = self._panels(ax, 2, size, 1, height_ratios=ratios)
        self.pairs_ = ImagesDisplay({"x": self.X, "y": self.Y}, self.image_shape)
        self.pairs_.plot(pairs, limits=limits_of([self.X, self.Y]))
        top = np.abs(self.maps).max(axis=(1, 2), keepdims=True)
        scaled = np.divide(self.maps, top, out=np.zeros_like(self.maps), where=top > 0)
        tiles = mosaic(scaled, (side, side), n)
        maps.set_axis_off()
        maps.set_aspect("equal")
        extent = (0.0, float(tiles.shape[1]), float(tiles.shape[0]), 0.0)
        self.image_ = show(maps, tiles, cmap, -1, 1, extent)
        style = {"textcoords": "offset points", "color": INK, "annotation_clip": False}
        middle = GAP + side / 2
        maps.annotate("moves by", (0, middle), (-4, 0), ha="right", va="center", **style)
        for k in range(n):  # pixels that stay in place
            maps.plot(middle + k * (side + GAP), middle, "+", color=INK, markersize=5)
        for k, name in enumerate(column_labels if column_labels is not None else ()):
            at = (middle + k * (side + GAP), tiles.shape[0])
            maps.annotate(str(name), at, (0, -3), ha="center", va="top", **style)
        return self


def _gated_weights(estimator: Any, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """``sum_k W_ijk E[h_k | x, y]`` of each pair, (n_pairs, n_features, n_features_y)."""
    from ..terms import FactoredTerm

    H = estimator.transform(X, Y)
    term = estimator.energy_.terms[0]
    sizes = [estimator.energy_.groups[g].size for g in ("x", "y", "h")]
    if isinstance(term, FactoredTerm):
        a, b, c = (estimator.params_[key].reshape(-1, term.rank) for key in term.parameter_shapes)
        return np.einsum("if,jf,nf->nij", a, b, H @ c, optimize=True)
    (key,) = term.parameter_shapes
    return np.tensordot(H, estimator.params_[key].reshape(sizes), axes=(1, 2))


def _by_displacement(weights: np.ndarray, shape: tuple[int, int], reach: int) -> np.ndarray:
    """Mean weight from a pixel of x to the pixel of y that lies (down, right) of it."""
    rows, columns = shape
    w = weights.reshape(-1, rows, columns, rows, columns)
    maps = np.empty((len(w), 2 * reach + 1, 2 * reach + 1))
    for down in range(-reach, reach + 1):
        r = np.arange(max(0, -down), min(rows, rows - down))[:, None]
        for right in range(-reach, reach + 1):
            c = np.arange(max(0, -right), min(columns, columns - right))
            found = w[:, r, c, r + down, c + right]
            maps[:, down + reach, right + reach] = found.mean(axis=(1, 2))
    return maps


__all__ = ["AnalogyDisplay", "TransformationsDisplay"]
