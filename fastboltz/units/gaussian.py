"""Real units with a learnt precision."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from .base import Field, Own, Unit, sum_units

#: A column whose mean is more standard deviations from zero than the first number begins as if it
#: were the second, with which updates at a constant rate are stable too.
_FARTHEST_MEAN, _SAFE_MEAN = 30, 5
#: Root mean square of a column beyond which learning is in doubt: an update of the field moves the
#: mean by the variance times as much, so that the usual rates are too large.
_LARGEST_VALUE = 20


class Gaussian(Unit):
    r"""Real units with a learnt precision that cannot turn negative.

    Base energy ``gamma x^2 / 2 - bias * x`` with the precision ``gamma = exp(log_precision)``;
    cumulant ``(bias + field)^2 / (2 gamma) + log(2 pi / gamma) / 2``; conditionally on the field
    normal with mean ``(bias + field) / gamma`` and variance ``1 / gamma``.

    Parameters
    ----------
    *shape : int
        Sizes of the group's axes.

    Notes
    -----
    The bias and the field are natural parameters: for data of standard deviation s, the mean
    moves by ``s**2`` for a change of one in the field. So the columns of data should have about
    unit variance, and means that are not far from zero: standardise them. A column that hardly
    varies beside its mean begins with a standard deviation of a fifth of that mean.
    """

    name = "gaussian"
    parameters = ("bias", "log_precision")

    def base(self, own: Own, x: np.ndarray) -> np.ndarray:
        return sum_units((np.exp(own["log_precision"]) * x / 2 - own["bias"]) * x)

    def unit_cumulants(self, own: Own, field: Field) -> np.ndarray:
        a, gamma = self._natural(own, field)
        return a * a / (2 * gamma) + 0.5 * (np.log(2 * np.pi) - own["log_precision"])

    def mean(self, own: Own, field: Field) -> np.ndarray:
        a, gamma = self._natural(own, field)
        return a / gamma

    def variance(self, own: Own, field: Field) -> np.ndarray:
        a, gamma = self._natural(own, field)
        return np.broadcast_to(1 / gamma, a.shape)

    def mode(self, own: Own, field: Field) -> np.ndarray:
        return self.mean(own, field)

    def sample(self, own: Own, field: Field, uniform: np.ndarray) -> np.ndarray:
        a, gamma = self._natural(own, field)
        return a / gamma + ndtri(uniform) / np.sqrt(gamma)

    def statistics(self, own: Own, x: np.ndarray) -> dict[str, np.ndarray]:
        return {"bias": x, "log_precision": -0.5 * np.exp(own["log_precision"]) * x * x}

    def mean_statistics(self, own: Own, field: Field) -> dict[str, np.ndarray]:
        a, gamma = self._natural(own, field)
        return {"bias": a / gamma, "log_precision": -0.5 * (a * a / gamma + 1)}

    def from_moments(self, mean: np.ndarray, mean_square: np.ndarray) -> Own:
        variance = mean_square - mean**2
        # The mean is bias / precision, and learning changes both: where it is very many standard
        # deviations from zero, as that of a column which hardly varies, it would be lost at the
        # first update.
        hardly_varies = variance < (mean / _FARTHEST_MEAN) ** 2
        variance = np.where(hardly_varies, (mean / _SAFE_MEAN) ** 2, variance)
        variance = np.maximum(variance, 1e-6)
        return {"bias": mean / variance, "log_precision": -np.log(variance)}

    def doubt(self, name: str, mean_square: np.ndarray) -> str | None:
        if not mean_square.size or (largest := mean_square.max() ** 0.5) <= _LARGEST_VALUE:
            return None
        return (
            f"{name} has values that are too large for Gaussian units to learn well from: the root "
            f"mean square of column {mean_square.argmax()} is {largest:.3g}, where one of about 1 "
            f"is best. Standardise the columns (sklearn.preprocessing.StandardScaler)."
        )

    def reference_bias(self, own: Own, mean: np.ndarray) -> np.ndarray:
        return mean * np.exp(own["log_precision"])

    @staticmethod
    def _natural(own: Own, field: Field) -> tuple[np.ndarray, np.ndarray]:
        a = own["bias"] + field
        return (a[None] if np.ndim(field) == 0 else a), np.exp(own["log_precision"])
