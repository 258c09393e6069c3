"""Images in a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..validation import check_count
from ._display import Display, matplotlib

#: Space between two images of a mosaic, and between two mosaics, in pixels of the images.
GAP = 1
MOSAIC_GAP = 5


def mosaic(
    images: np.ndarray, image_shape: tuple[int, int], n_columns: int | None = None
) -> np.ndarray:
    """Images in a grid with a gap of NaN around each, row by row."""
    n = len(images)
    rows, columns = image_shape
    if n_columns is None:
        n_columns = max(1, round(math.sqrt(n * (rows + GAP) / (columns + GAP))))
    across = min(check_count("n_columns", n_columns), max(n, 1))
    down = -(-n // across)
    tiles = np.full((down * across, rows + GAP, columns + GAP), np.nan)
    tiles[:n, :rows, :columns] = np.reshape(images, (n, rows, columns))
    grid = tiles.reshape(down, across, rows + GAP, columns + GAP).transpose(0, 2, 1, 3)
    inner = grid.reshape(down * (rows + GAP), across * (columns + GAP))[:-GAP, :-GAP]
    return np.pad(inner, GAP, constant_values=np.nan)


def scaled(filters: np.ndarray, together: bool = False) -> np.ndarray:
    """Filters divided by the greatest absolute weight, of each or of all."""
    filters = filters.astype(np.float64)
    top = np.abs(filters).max(axis=1, keepdims=True)
    if together:
        top = np.full_like(top, top.max())
    return np.divide(filters, top, out=np.zeros_like(filters), where=top > 0)


def largest(filters: np.ndarray, n: int) -> np.ndarray:
    """Numbers of the filters of largest norm, largest first."""
    return np.argsort(-np.linalg.norm(filters, axis=1), kind="stable")[:n]


def limits_of(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Ends of the colour scale: 0 and 1 where all pixels lie between, else least and greatest."""
    known = np.concatenate([np.ravel(x[~np.isnan(x)]) for x in images])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def show(
    ax: Any,
    tiles: np.ndarray,
    cmap: Any,
    low: float,
    high: float,
    extent: tuple[float, float, float, float] | None = None,
) -> Any:
    """One mosaic; gaps are a light grey, so that white pixels are seen to belong to an image."""
    if isinstance(cmap, str):
        cmap = matplotlib().colormaps[cmap]
    cmap = cmap.with_extremes(bad="#e2e2e2")
    return ax.imshow(tiles, cmap=cmap, vmin=low, vmax=high, extent=extent, interpolation="nearest")


class MosaicDisplay(Display):
    """A display of one mosaic on one Axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    axes_ : ndarray of matplotlib Axes
        The one of ``ax_``.
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage
    """

    image_: Any

    def _canvas(self, ax: Any, shape: tuple[int, int]) -> Any:
        """An Axes for a mosaic of this shape, bare of ticks and frame."""
        height, width = shape
        long = 6.0 / max(height, width)
        size = max(1.5, width * long), max(1.5, height * long)
        (ax,) = self._panels(ax, 1, size)
        ax.set_axis_off()
        ax.set_aspect("equal")
        return ax
