"""Real units in [0, 1]: grey values, whose noise is uniform."""

from __future__ import annotations

import numpy as np

from .base import Field, Own, Unit, check_range, into_unit_interval, sum_units

#: Below this |field| the series about zero is used, above it the closed form.
_NEAR_ZERO = 0.5


class UnitInterval(Unit):
    r"""Real units in [0, 1] with density proportional to ``exp((bias + field) x)``.

    Also known as truncated exponential units, or the continuous Bernoulli distribution. Base energy
    ``-bias * x`` for 0 <= x <= 1. With ``a = bias + field`` the cumulant is
    ``log((exp(a) - 1) / a)``, the mean ``1 / (1 - exp(-a)) - 1 / a``, the variance
    ``1 / a^2 - 1 / (2 sinh(a / 2))^2``. At a = 0 they are those of the uniform distribution.

    `Bernoulli` units take values in [0, 1] too, as probabilities of a one, and draw zeros and ones
    of three times the variance of uniform noise. For data that are grey these units are the model.

    Parameters
    ----------
    *shape : int
        Sizes of the group's axes.

    References
    ----------
    Bengio, Lamblin, Popovici & Larochelle, "Greedy layer-wise training of deep networks", NIPS
    2006.
    Loaiza-Ganem & Cunningham, "The continuous Bernoulli", NeurIPS 2019.
    """

    name = "unit-interval"
    limits = (0, 1)

    def base(self, own: Own, x: np.ndarray) -> np.ndarray:
        return -sum_units(own["bias"] * x)

    def unit_cumulants(self, own: Own, field: Field) -> np.ndarray:
        a = _total(own, field)
        m = _size(a)
        return np.maximum(a, 0) + np.log(-np.expm1(-m) / m)

    def mean(self, own: Own, field: Field) -> np.ndarray:
        a = _total(own, field)
        m = np.maximum(abs(a), a.dtype.type(_NEAR_ZERO))
        far = 1 / m + np.exp(-m) / np.expm1(-m)  # of the field -m
        far = np.where(a > 0, 1 - far, far)
        return np.where(abs(a) < _NEAR_ZERO, _series(a, _MEAN) * a + 0.5, far).astype(a.dtype)

    def variance(self, own: Own, field: Field) -> np.ndarray:
        a = _total(own, field)
        m = np.maximum(abs(a), a.dtype.type(_NEAR_ZERO))
        far = 1 / m**2 - np.exp(-m) / np.expm1(-m) ** 2
        return np.where(abs(a) < _NEAR_ZERO, _series(a, _VARIANCE), far).astype(a.dtype)

    def mode(self, own: Own, field: Field) -> np.ndarray:
        a = _total(own, field)
        return (a > 0).astype(a.dtype)

    def sample(self, own: Own, field: Field, uniform: np.ndarray) -> np.ndarray:
        a = _total(own, field)
        m = _size(a)
        # The density falls from the end that is more probable: F^-1 there, by symmetry.
        u = np.where(a > 0, 1 - uniform, uniform).astype(a.dtype)
        # At u = 1 and a large field the logarithm is that of zero.
        with np.errstate(divide="ignore"):
            x = np.minimum(-np.log1p(u * np.expm1(-m)) / m, 1)
        return np.where(a > 0, 1 - x, x)

    def check_support(self, name: str, x: np.ndarray) -> None:
        check_range(name, x, *self.limits, "UnitInterval", "[0, 1]", into_unit_interval)

    def from_moments(self, mean: np.ndarray, mean_square: np.ndarray) -> Own:
        # The mean rises with the bias: halve an interval that holds it. Far out, it is
        # 1 - 1 / bias.
        mean = np.clip(mean, 1e-6, 1 - 1e-6)
        high = 1 / np.minimum(mean, 1 - mean)
        low = -high
        for _ in range(60):
            middle = (low + high) / 2
            is_low = self.mean({"bias": middle}, np.zeros((1, *self.shape)))[0] < mean
            low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
        return {"bias": (low + high) / 2}


#: Taylor series in a^2: of (mean - 1/2) / a, and of the variance.
_MEAN = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000)
_VARIANCE = tuple((2 * k + 1) * c for k, c in enumerate(_MEAN))


def _series(a: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    square = np.minimum(a * a, a.dtype.type(_NEAR_ZERO**2))
    out = np.zeros_like(a)
    for c in reversed(coefficients):
        out = out * square + a.dtype.type(c)
    return out


def _total(own: Own, field: Field) -> np.ndarray:
    a = own["bias"] + field
    return a[None] if np.ndim(field) == 0 else a


def _size(a: np.ndarray) -> np.ndarray:
    """|a|, kept from zero, where the formulae are 0 / 0 though they have limits."""
    return np.maximum(abs(a), np.finfo(a.dtype).tiny)
