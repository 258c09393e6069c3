"""What a call returns: the gradient, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .distributions import Conditional, Distribution
from .loop import Sums


@dataclass(frozen=True)
class Estimate:
    """Estimate of the gradient of an expected cost.

    Arrays have the shape of the distribution's parameter; where there are several parameters, or
    those of a link, they are dicts by name.

    Attributes
    ----------
    value : ndarray or dict
        The gradient.
    standard_error : ndarray or dict
        Of each entry of ``value``; NaN where a call of one sample cannot tell. By a link's
        parameters it is made of the scatter of k ranges of the samples, k being 32 (down to 8 where
        rows and parameters are very many, and never above `n_samples`), so that the error has the
        k - 1 degrees of freedom of a Student's t. Baselines that are made of the other samples of a
        call (leave-one-out, optimal, constant) let contributions depend on each other, which it
        does not see: of two samples it is down to 0.7 of what it should be, of ten to 0.95.
    variance : ndarray or dict
        Of a single sample's contribution: ``standard_error**2 * n_samples``.
    cost : float or ndarray of shape (n_rows,)
        Estimate of the expected cost itself.
    cost_standard_error : float or ndarray of shape (n_rows,)
    n_samples : int
        Samples (of each row).
    n_evaluations : int
        How often the cost was asked (of each row).
    method : str
    biased : bool
        Whether the expectation of ``value`` differs from the gradient.
    scale : float
        What variance normalisation has multiplied the gradient by; else 1.
    """

    value: Any
    standard_error: Any
    variance: Any
    cost: Any
    cost_standard_error: Any
    n_samples: int
    n_evaluations: int
    method: str
    biased: bool = False
    scale: float = 1.0


def finish(
    distribution: Distribution | Conditional,
    sums: Sums,
    totals: np.ndarray,
    squares: np.ndarray,
    factor: float = 1.0,
    **about: Any,
) -> Estimate:
    """An estimate from the sums of contributions and of their squares, by ranges.

    Parameters
    ----------
    totals, squares : ndarray of shape (ranges, rows, n_parameters)
    factor : float
        By which contributions are multiplied.
    """
    n = sums.n_samples
    cost, cost_variance = sums.cost
    cost_error = np.sqrt(cost_variance / n)
    if isinstance(distribution, Conditional):
        value, error, variance = _led_back(distribution, sums, factor * totals)
        rows = distribution.distribution.n_rows
    else:
        from .kernels import averages_of

        parts = np.empty((3, *totals.shape[1:]))
        averages_of(np.ascontiguousarray(totals), np.ascontiguousarray(squares), n, factor, parts)
        value, error, variance = (distribution.structured(x) for x in parts)
        rows = distribution.n_rows
    return Estimate(
        value=value,
        standard_error=error,
        variance=variance,
        cost=float(cost[0]) if rows is None else cost,
        cost_standard_error=float(cost_error[0]) if rows is None else cost_error,
        n_samples=n,
        **about,
    )


def _led_back(
    distribution: Conditional, sums: Sums, totals: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Value, standard error and variance by a link's parameters.

    The chain rule is linear, so it is applied to the mean; the error comes from the scatter of the
    ranges' means, each led back by itself.
    """
    n, n_ranges = sums.n_samples, len(totals)
    value = distribution.backward(totals.sum(axis=0) / n)
    variance = {k: np.full_like(v, np.nan) for k, v in value.items()}
    if n_ranges > 1:
        variance = {k: np.zeros_like(v) for k, v in value.items()}
        for count, total in zip(np.diff(sums.edges), totals, strict=True):
            for k, v in distribution.backward(total / count).items():
                variance[k] += count / (n_ranges - 1) * (v - value[k]) ** 2
    error = {k: np.sqrt(v / n) for k, v in variance.items()}
    return value, error, variance


def flat(x: Any) -> np.ndarray:
    """All entries of an estimate's array or dict, one after the other."""
    if isinstance(x, Mapping):
        return np.concatenate([np.ravel(v) for v in x.values()])
    return np.ravel(np.asarray(x))
