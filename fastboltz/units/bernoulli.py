"""Binary units in {0, 1}."""

from __future__ import annotations

import numpy as np

from .base import Field, Own, check_range, into_unit_interval
from .binary import Binary


class Bernoulli(Binary):
    r"""Binary units in {0, 1}.

    Base energy ``-bias * x``; cumulant ``log(1 + exp(bias + field))``; mean
    ``sigma(bias + field)`` with the logistic function sigma.

    Parameters
    ----------
    *shape : int
        Sizes of the group's axes.

    Examples
    --------
    >>> import fastboltz as fb
    >>> fb.Bernoulli(28, 28).n_units
    784
    """

    name = "bernoulli"
    limits = (0, 1)
    spin = False

    def unit_cumulants(self, own: Own, field: Field) -> np.ndarray:
        return np.logaddexp(0, own["bias"] + field)

    def variance(self, own: Own, field: Field) -> np.ndarray:
        p = self.mean(own, field)
        return p * (1 - p)

    def mode(self, own: Own, field: Field) -> np.ndarray:
        a = own["bias"] + field
        return (a > 0).astype(a.dtype)

    def sample(self, own: Own, field: Field, uniform: np.ndarray) -> np.ndarray:
        return (uniform < self.mean(own, field)).astype(np.result_type(own["bias"], field))

    def states(self) -> np.ndarray:
        return np.array([0.0, 1.0])

    def check_support(self, name: str, x: np.ndarray) -> None:
        check_range(name, x, *self.limits, "Bernoulli", "[0, 1]", into_unit_interval)

    def from_moments(self, mean: np.ndarray, mean_square: np.ndarray) -> Own:
        p = np.clip(mean, 1e-6, 1 - 1e-6)
        return {"bias": np.log(p) - np.log1p(-p)}
