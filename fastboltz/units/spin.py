"""Binary units in {-1, +1}."""

from __future__ import annotations

import numpy as np

from .base import Field, Own, Unit, check_range
from .binary import Binary


class Spin(Binary):
    r"""Binary units in {-1, +1}.

    Base energy ``-bias * x``; cumulant ``log(2 cosh(bias + field))``; mean
    ``tanh(bias + field)``.

    Parameters
    ----------
    *shape : int
        Sizes of the group's axes.
    """

    name = "spin"
    limits = (-1, 1)
    spin = True

    def unit_cumulants(self, own: Own, field: Field) -> np.ndarray:
        a = own["bias"] + field
        return np.logaddexp(a, -a)

    def variance(self, own: Own, field: Field) -> np.ndarray:
        return 1 - self.mean(own, field) ** 2

    def mode(self, own: Own, field: Field) -> np.ndarray:
        a = own["bias"] + field
        return np.where(a > 0, 1, -1).astype(a.dtype)

    def sample(self, own: Own, field: Field, uniform: np.ndarray) -> np.ndarray:
        plus = 2 * uniform - 1 < self.mean(own, field)
        return np.where(plus, 1, -1).astype(np.result_type(own["bias"], field))

    def states(self) -> np.ndarray:
        return np.array([-1.0, 1.0])

    def check_support(self, name: str, x: np.ndarray) -> None:
        hint = "Map {0, 1} data by 2 * X - 1, or use visible='bernoulli'."
        check_range(name, x, *self.limits, "Spin", "[-1, 1]", hint)

    def from_moments(self, mean: np.ndarray, mean_square: np.ndarray) -> Own:
        return {"bias": np.arctanh(np.clip(mean, -1 + 2e-6, 1 - 2e-6))}


def refuse_bits(unit: Unit, X: np.ndarray, name: str, parameter: str = "visible") -> None:
    """Raise a sentence on data of spins that were meant for units in {0, 1}.

    A spin of 0 is one whose sign is not known, which rows of zeros and ones are not meant to be.
    """
    if not isinstance(unit, Spin) or not ((X == 0).any() and (X == 1).any()):
        return
    if ((X == 0) | (X == 1) | np.isnan(X)).all():
        raise ValueError(
            f"{name} holds 0 and 1 alone, but spins are -1 or 1. Map {{0, 1}} data by 2 * X - 1, "
            f"or use {parameter}='bernoulli'."
        )
