"""The picture of ``fastboltz demo``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._display import INK, dense, image_shape_of, matplotlib, weights_of
from ._mosaic import mosaic
from .filters import FiltersDisplay
from .images import SamplesDisplay


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
    matplotlib()
    from matplotlib.figure import Figure

    weights = weights_of(estimator)
    shape = image_shape_of(image_shape, weights.shape[1])
    if samples is None:
        samples = estimator.sample(n_images, n_steps, random_state=random_state)
    # In inches; a pixel of an image is a whole number of pixels of the picture.
    side, between, top, bottom, dpi = 0.1, 0.2, 0.34, 0.1, 150
    down, across = mosaic(np.zeros((n_images, weights.shape[1])), shape).shape
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
    SamplesDisplay(dense(X[:n_images]), shape).plot(axes[1])
    SamplesDisplay(dense(samples[:n_images]), shape).plot(axes[2])
    for ax, title in zip(axes, ("filters", "data", "samples"), strict=True):
        ax.set_title(title, fontsize=11, color=INK, pad=6)
    return figure


__all__ = ["demo_figure"]
