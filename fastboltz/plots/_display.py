"""What all displays have in common: what they keep of a drawing, where they draw, and checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np

INK = "#222222"
BLUE, RED, ORANGE, GREY = "#31688e", "#b03a2e", "#e08a1e", "#999999"
#: Colours of curves, in order.
COLOURS = (BLUE, RED, ORANGE, "#3a9e5c", "#7a4fa3", GREY)


class Display:
    """A picture of a model, in scikit-learn's convention.

    A class method (``from_estimator`` in most) computes what is shown and draws it; the instance
    holds the computed values, and `plot` draws them again elsewhere or otherwise.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        All panels, in order.
    ax_ : matplotlib Axes
        The panel, of a display that has drawn on one.
    figure_ : matplotlib Figure
    """

    axes_: np.ndarray
    figure_: Any

    @property
    def ax_(self) -> Any:
        """The Axes of a display that has drawn on one."""
        if "axes_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} has drawn nothing yet; call plot().")
        if len(self.axes_) > 1:
            raise AttributeError(
                f"this {type(self).__name__} has {len(self.axes_)} panels; they are in axes_."
            )
        return self.axes_[0]

    def _panels(
        self,
        ax: Any,
        n: int,
        size: tuple[float, float],
        columns: int | None = None,
        **options: Any,
    ) -> np.ndarray:
        """The panels to draw on: those given, or those of a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of them or None
        n : int
            Panels that are needed.
        size : pair of float
            Of a new figure, in inches.
        columns : int, optional
            Panels in a row of a new figure; the default is one row.
        **options
            Of ``pyplot.subplots``.
        """
        if ax is None:
            columns = n if columns is None else min(columns, n)
            options = {"layout": "constrained", "figsize": size, **options}
            grid = pyplot().subplots(-(-n // columns), columns, squeeze=False, **options)[1]
            axes = grid.ravel()
            for spare in axes[n:]:
                spare.set_axis_off()
            axes = axes[:n]
        else:
            axes = np.asarray(ax, dtype=object).ravel()
            if len(axes) != n:
                raise ValueError(
                    f"{type(self).__name__} draws {n} panel{'s' * (n > 1)}, but ax holds "
                    f"{len(axes)} Axes; give as many, or none for a new figure."
                )
        self.axes_ = axes
        self.figure_ = axes[0].figure
        return axes


def bare(ax: Any) -> None:
    """An Axes of curves without the frame's upper and right side."""
    ax.spines[["top", "right"]].set_visible(False)


# -- matplotlib ------------------------------------------------------------------------------------


def matplotlib() -> Any:
    """matplotlib, or a sentence with the remedy."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib, which is not installed; pip install "fastboltz[plot]".'
        ) from error
    return matplotlib


def pyplot() -> Any:
    """matplotlib.pyplot, or a sentence with the remedy."""
    matplotlib()
    from matplotlib import pyplot

    return pyplot


# -- what is drawn ---------------------------------------------------------------------------------


def check_fitted(estimator: Any) -> None:
    """Raise scikit-learn's error if a model has not been fitted."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)


def check_can(estimator: Any, method: str, remedy: str = "") -> Any:
    """A method of a fitted model, or a sentence that says what is missing."""
    check_fitted(estimator)
    found = getattr(estimator, method, None)
    if found is None:
        raise TypeError(f"{type(estimator).__name__} has no method {method}. {remedy}".rstrip())
    return found


def samples_of(estimator: Any, n_samples: int, n_steps: int, random_state: Any) -> Any:
    """Rows that a fitted model draws by itself, each after so many sweeps where it makes some.

    Classifiers draw labels too, which are left out. Models of several tables have a dict of them.
    """
    sample = check_can(estimator, "sample")
    names = list(signature(sample).parameters)
    if names[:1] != ["n_samples"]:
        raise TypeError(
            f"{type(estimator).__name__}.sample does not draw rows by itself; samples of a model "
            f"need sample(n_samples, n_steps=..., random_state=...)."
        )
    # Draws of a directed network are independent: it makes no sweeps.
    steps = {"n_steps": n_steps} if "n_steps" in names else {}
    drawn = sample(n_samples, **steps, random_state=random_state)
    return drawn[0] if isinstance(drawn, tuple) else drawn


def dense(x: Any) -> np.ndarray:
    """Rows as an array."""
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x)


def rows_of(name: str, x: Any, width: int) -> np.ndarray:
    """Dense rows of a known width."""
    x = dense(x)
    if x.ndim != 2 or x.shape[1] != width:
        raise ValueError(f"{name} has shape {x.shape}; expected (n_rows, {width}), as the samples.")
    return x


def weights_of(estimator: Any, components: Any = "components_") -> np.ndarray:
    """Weights of a fitted model: an attribute's, or an array."""
    check_fitted(estimator)
    if not isinstance(components, str):
        return np.asarray(components)
    weights = getattr(estimator, components, None)
    kind = type(estimator).__name__
    if weights is None:
        raise TypeError(
            f"{kind} has no {components}; expected a model with weights of shape (n_components, "
            f"n_features)."
        )
    if isinstance(weights, (list, tuple)):
        raise TypeError(
            f"{components} of {kind} is a list of {len(weights)} arrays of weights; give one of "
            f"them, such as components=model.{components}[0]."
        )
    return np.asarray(weights)


def image_shape_of(image_shape: Sequence[int] | None, n_pixels: int) -> tuple[int, int]:
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
