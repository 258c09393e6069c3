"""Non-negative real units: truncated Gaussians, the stochastic form of rectified linear units."""

from __future__ import annotations

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr, ndtri, ndtri_exp

from .base import Field, Own, Unit, check_range, sum_units


class ReLU(Unit):
    r"""Non-negative real units: a Gaussian truncated to x >= 0, with a learnt precision.

    Base energy ``gamma x^2 / 2 - bias * x`` for x >= 0, with ``gamma = exp(log_precision)``.
    With ``t = (bias + field) / sqrt(gamma)`` the cumulant is
    ``t^2 / 2 + log Phi(t) + log(2 pi / gamma) / 2``, Phi the normal distribution function.

    Parameters
    ----------
    *shape : int
        Sizes of the group's axes.

    Notes
    -----
    All formulae go through ``erfcx`` and ``log_ndtr``, which hold to full precision for t far
    below zero, where Phi(t) itself underflows.
    """

    name = "relu"
    limits = (0, np.inf)
    parameters = ("bias", "log_precision")

    def base(self, own: Own, x: np.ndarray) -> np.ndarray:
        return sum_units((np.exp(own["log_precision"]) * x / 2 - own["bias"]) * x)

    def unit_cumulants(self, own: Own, field: Field) -> np.ndarray:
        t, _ = self._standard(own, field)
        # log of the integral of exp(-gamma x^2/2 + a x): for t < 0 it is erfcx, free of overflow;
        # for t > 0 the exponential factor is taken out.
        below = np.log(erfcx(-np.minimum(t, 0) / np.sqrt(2)) / 2)
        above = t * t / 2 + log_ndtr(np.maximum(t, 0))
        body = np.where(t < 0, below, above)
        return body + 0.5 * (np.log(2 * np.pi) - own["log_precision"])

    def mean(self, own: Own, field: Field) -> np.ndarray:
        t, sigma = self._standard(own, field)
        return _standard_mean(t) * sigma

    def variance(self, own: Own, field: Field) -> np.ndarray:
        t, sigma = self._standard(own, field)
        return _standard_variance(t) * sigma**2

    def mode(self, own: Own, field: Field) -> np.ndarray:
        t, sigma = self._standard(own, field)
        return np.maximum(t, 0) * sigma

    def sample(self, own: Own, field: Field, uniform: np.ndarray) -> np.ndarray:
        t, sigma = self._standard(own, field)
        return _truncated_normal(t, uniform) * sigma

    def statistics(self, own: Own, x: np.ndarray) -> dict[str, np.ndarray]:
        return {"bias": x, "log_precision": -0.5 * np.exp(own["log_precision"]) * x * x}

    def mean_statistics(self, own: Own, field: Field) -> dict[str, np.ndarray]:
        t, sigma = self._standard(own, field)
        m = _standard_mean(t)
        return {"bias": m * sigma, "log_precision": -0.5 * (1 + t * m)}

    def check_support(self, name: str, x: np.ndarray) -> None:
        hint = "Use visible='gaussian' for data of both signs."
        check_range(name, x, *self.limits, "ReLU", "values >= 0", hint)

    def from_moments(self, mean: np.ndarray, mean_square: np.ndarray) -> Own:
        # A half-normal of the same second moment: exact for it, and always normalisable.
        return {
            "bias": np.zeros(self.shape),
            "log_precision": -np.log(np.maximum(mean_square, 1e-6)),
        }

    @staticmethod
    def _standard(own: Own, field: Field) -> tuple[np.ndarray, np.ndarray]:
        a = own["bias"] + field
        sigma = np.exp(-own["log_precision"] / 2)
        return (a[None] if np.ndim(field) == 0 else a) * sigma, sigma


def _inverse_mills(t: np.ndarray) -> np.ndarray:
    """phi(t) / Phi(t), the derivative of log Phi."""
    return np.sqrt(2 / np.pi) / erfcx(-np.clip(t, -1e15, 37) / np.sqrt(2)) * (t < 37)


def _standard_mean(t: np.ndarray) -> np.ndarray:
    """Mean of a unit-variance normal around t, given that it is positive.

    For t far below zero, ``t + phi/Phi`` cancels; there the asymptotic series of the inverse
    Mills ratio is summed without its leading term.
    """
    far = t < -30
    s = np.where(far, t, -30.0)
    z = 1 / (s * s)
    tail = -(1 / s) * (1 - z * (2 - z * (10 - z * 74)))
    near = np.where(far, 0.0, t)
    return np.where(far, tail, near + _inverse_mills(near)).astype(t.dtype)


def _standard_variance(t: np.ndarray) -> np.ndarray:
    """Variance of a unit-variance normal around t, given that it is positive."""
    far = t < -30
    s = np.where(far, t, -30.0)
    z = 1 / (s * s)
    tail = z * (1 - z * (6 - z * 50))
    near = np.where(far, 0.0, t).astype(np.float64)
    r = _inverse_mills(near)
    return np.where(far, tail, 1 - r * (r + near)).astype(t.dtype)


def _truncated_normal(t: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Inverse distribution function, at u, of a unit-variance normal around t given x > 0.

    P(X > x) = Phi(t - x) / Phi(t), so with the complement v = 1 - u the draw is
    x = t - Phi^-1(v Phi(t)), taken in the log where Phi(t) is small.
    """
    v = 1 - np.asarray(u, dtype=np.float64)
    t64 = np.asarray(t, dtype=np.float64)
    far = t64 < -5
    near = t64 - ndtri(v * ndtr(np.where(far, 0.0, t64)))
    s = np.where(far, t64, -5.0)
    # Beyond about -1e5 the draw is exponential with rate -t to every digit kept, and the
    # difference below would cancel.
    deep = s < -1e4
    body = s - ndtri_exp(np.log(v) + log_ndtr(np.where(deep, -5.0, s)))
    x = np.where(far, np.where(deep, np.log(v) / s, body), near)
    return np.maximum(x, 0).astype(t.dtype)
