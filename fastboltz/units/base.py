"""The contract that every unit type answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .. import rng
from ..validation import check_count, put_back, support_error

#: A group's own parameters: name without the group's prefix -> array of the group's shape.
Own = dict[str, np.ndarray]
#: What a group receives from its terms: an array (n_rows, *shape), or 0 for no terms.
Field = Any


def sum_units(x: np.ndarray) -> np.ndarray:
    """Sum over every axis but the first, in double precision."""
    return x.reshape(len(x), math.prod(x.shape[1:])).sum(axis=1, dtype=np.float64)


class Unit(ABC):
    """A group of units of one type.

    A unit type is the exponential family ``p(x | field) = exp(-base(x) + field * x - cumulant)``.
    A subclass states ``base``, ``unit_cumulants``, ``mean``, ``variance``, ``mode``, ``sample``,
    and for finite types ``states``; everything else is derived.

    Parameters
    ----------
    *shape : int
        Sizes of the group's axes. `Categorical` counts its states on the last axis.
    """

    #: The name that estimators accept.
    name: ClassVar[str]
    #: The group's own parameters; the first is always the bias, which multiplies x itself.
    parameters: ClassVar[tuple[str, ...]] = ("bias",)
    #: How many of the last axes belong to one unit (1 for one-hot units).
    event_axes: ClassVar[int] = 0
    #: The least and the largest value of a unit.
    limits: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    shape: tuple[int, ...]

    def __init__(self, *shape: Any) -> None:
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        if not shape:
            raise TypeError(f"{type(self).__name__} needs the size of its group, e.g. (784).")
        self.shape = tuple(
            check_count(f"axis {a} of {type(self).__name__}", n, minimum=0)
            for a, n in enumerate(shape)
        )
        #: Shape of the group counted in units: the shape without the axes of one unit.
        self.unit_shape = self.shape[: len(self.shape) - self.event_axes]
        #: Number of units.
        self.n_units = math.prod(self.unit_shape)
        #: Number of entries of one row of values.
        self.size = math.prod(self.shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.shape))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unit) and type(self) is type(other) and self.shape == other.shape

    def __hash__(self) -> int:
        return hash((type(self), self.shape))

    # -- what a type states --------------------------------------------------------------------

    @abstractmethod
    def base(self, own: Own, x: np.ndarray) -> np.ndarray:
        """Base energy of each row, shape (n_rows,)."""

    @abstractmethod
    def unit_cumulants(self, own: Own, field: Field) -> np.ndarray:
        """Log-partition of each unit, ``log sum_x exp(-base(x) + field x)``: (n, *unit_shape)."""

    @abstractmethod
    def mean(self, own: Own, field: Field) -> np.ndarray:
        """Expected value of each entry: the derivative of the cumulant by the field."""

    @abstractmethod
    def variance(self, own: Own, field: Field) -> np.ndarray:
        """Variance of each entry: the second derivative of the cumulant by the field."""

    @abstractmethod
    def mode(self, own: Own, field: Field) -> np.ndarray:
        """Most probable value of each unit."""

    @abstractmethod
    def sample(self, own: Own, field: Field, uniform: np.ndarray) -> np.ndarray:
        """Draw by the inverse distribution function, from ``uniform`` of shape (n, *unit_shape)."""

    def states(self) -> np.ndarray | None:
        """All values that one unit can take, shape (n_states, *event axes); None if infinite."""
        return None

    def check_support(self, name: str, x: np.ndarray) -> None:  # noqa: B027 - reals take all
        """Raise a sentence if ``x`` holds values that units of this type cannot be given."""

    def put_back(self, x: Any) -> Any:
        """Rows, with values that rounding alone has put beyond `limits` put back to these."""
        return put_back(x, *self.limits)

    def from_moments(self, mean: np.ndarray, mean_square: np.ndarray) -> Own:
        """Own parameters of independent units that have these moments (as far as they can)."""
        return {p: np.zeros(self.shape) for p in self.parameters}

    def doubt(self, name: str, mean_square: np.ndarray) -> str | None:
        """A sentence on data of these moments that units will not learn well from, or None."""
        return None

    def reference_bias(self, own: Own, mean: np.ndarray) -> np.ndarray:
        """Bias at which independent units, with their other parameters as they are, have a mean."""
        return self.from_moments(mean, mean * mean)["bias"]

    # -- what is derived -----------------------------------------------------------------------

    def init(self) -> Own:
        """Own parameters to begin with: zeros."""
        return {p: np.zeros(self.shape) for p in self.parameters}

    def cumulant(
        self, own: Own, field: Field, scale: float = 1.0, n_threads: int = 1
    ) -> np.ndarray:
        """Log-partition of the whole group, (n_rows,); ``scale`` multiplies the field alone."""
        return sum_units(self.unit_cumulants(own, scaled(field, scale)))

    def statistics(self, own: Own, x: np.ndarray) -> dict[str, np.ndarray]:
        """Minus the derivative of the base energy by each own parameter, (n, *shape)."""
        return {"bias": x}

    def mean_statistics(self, own: Own, field: Field) -> dict[str, np.ndarray]:
        """Conditional expectation of `statistics`: the cumulant's derivative by each parameter."""
        return {"bias": self.mean(own, field)}

    def draw(
        self,
        own: Own,
        field: Field,
        address: rng.Address,
        *,
        scale: float = 1.0,
        mean: bool = False,
        sample: bool = True,
        n_threads: int = 1,
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Means and samples at ``scale * field``, with the uniforms of an address."""
        field = scaled(field, scale)
        means = self.mean(own, field) if mean else None
        if not sample:
            return means, None
        u = rng.uniform(address, (len(field), *self.unit_shape), field.dtype, n_threads)
        return means, self.sample(own, field, u).astype(field.dtype, copy=False)


def scaled(field: Field, scale: float) -> Field:
    """``scale * field`` without changing the precision."""
    return field if scale == 1.0 else field * np.asarray(scale, dtype=getattr(field, "dtype", None))


def check_range(
    name: str,
    x: np.ndarray,
    low: float,
    high: float,
    unit: str,
    needs: str,
    hint: str | Callable[[float], str],
) -> None:
    """Check that all known values lie in an interval.

    A hint may depend on the largest value.
    """
    if x.size == 0:
        return
    # The plain extrema, in which one NaN shows, are much faster than those that step over NaN.
    smallest, largest = x.min(), x.max()
    if np.isnan(smallest):
        if np.isnan(x).all():
            return
        smallest, largest = np.nanmin(x), np.nanmax(x)
    if smallest < low or largest > high:
        what = hint if isinstance(hint, str) else hint(float(largest))
        raise support_error(name, smallest, largest, unit, needs, what)


def into_unit_interval(largest: float) -> str:
    """What to do with values outside [0, 1] of which this is the largest."""
    if 128 <= largest <= 255:  # what bytes are
        return "Divide by 255, or use visible='gaussian'."
    return "Rescale (sklearn.preprocessing.minmax_scale), or use visible='gaussian'."
