"""Costs as users write them, and what is said where one cannot be used.

A cost is a Python function of many samples at once, or a function jitted by Numba of one sample:

========================  =======================================  ===========================
                          vectorised, Python                       jitted
========================  =======================================  ===========================
without rows              ``cost(Y)``: (m, *shape) -> (m,)         ``cost(y)`` -> float
with rows                 ``cost(Y)``: (m, n_rows, *shape) ->      ``cost(y, row)`` -> float
                          (m, n_rows)
gradient by the sample    (m, ...) -> the same shape               ``gradient(y[, row], out)``
========================  =======================================  ===========================

As always with Numba, arrays and numbers that a jitted function takes from outside are those of the
moment in which it is compiled.

Jitted ones run in compiled loops on all threads; Python functions are called on the caller's thread
alone, a block of samples at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .distributions import Distribution, width


class CostError(ValueError):
    """A cost raised, or returned what is no cost; the sentence says for which sample."""


@dataclass(frozen=True)
class Cost:
    """A cost J(y) with the derivatives that some methods need.

    Parameters
    ----------
    value : callable
        J itself. See `fastboltz.gradients.costs` for the shapes.
    gradient : callable, optional
        dJ / dy, which `Pathwise`, `GumbelSoftmax` and `REBAR` need; the last two ask it, and the
        value, of relaxed samples.
    parameter_gradient : callable, optional
        The derivative of J by the distribution's parameters at a fixed sample, where J itself
        depends on them: a vectorised function of the samples that returns (m, *shape of the
        parameter), a dict of these where there are several parameters.
    """

    value: Callable[..., Any]
    gradient: Callable[..., Any] | None = None
    parameter_gradient: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        for name in ("value", "gradient", "parameter_gradient"):
            function = getattr(self, name)
            if not (callable(function) or (function is None and name != "value")):
                raise TypeError(f"{name} of a cost must be a function; got {function!r}.")


def as_cost(cost: Any) -> Cost:
    """A `Cost` as it is, a function as one without derivatives."""
    if isinstance(cost, Cost):
        return cost
    if not callable(cost):
        raise TypeError(
            f"cost must be a function of samples, jitted or vectorised, or a Cost; got {cost!r}."
        )
    return Cost(cost)


def is_jitted(function: Any) -> bool:
    """Whether Numba made a function, without importing Numba."""
    return hasattr(function, "py_func") and hasattr(function, "get_compile_result")


def compiled(function: Any, distribution: Distribution, gradient: bool = False) -> Any:
    """A jitted function as the compiled loops call it."""
    from .kernels import adapt

    with_row = distribution.n_rows is not None
    try:
        return adapt(function, distribution.shape, with_row, gradient)
    except Exception as error:
        what = "gradient(y, row, out)" if gradient else "cost(y, row)"
        what = what if with_row else what.replace(", row", "")
        reason = str(error).strip().split("\n")
        raise CostError(
            f"{_name(function)} cannot be compiled as {what} with y a float64 array of shape "
            f"{distribution.shape}{'' if gradient else ' and a number as result'}: "
            f"{reason[1] if len(reason) > 1 else reason[0]}"
        ) from error


def costs_of(cost: Cost, distribution: Distribution, y: np.ndarray, first: int) -> np.ndarray:
    """J of samples (n, rows, *shape), the first of them with a number, as (n, rows)."""
    function, n = cost.value, len(y)
    if is_jitted(function):
        from .kernels import evaluate

        out = np.empty((n, distribution.rows))
        flat = np.require(y.reshape(n, distribution.rows, -1), requirements=("C", "W"))
        ready = compiled(function, distribution)
        try:
            bad = evaluate(ready, flat, out)
        except Exception:
            bad = -1
            find_raising(ready, flat, first, distribution, function)
            raise
        if bad >= 0:
            raise not_finite(function, distribution, y, first, bad, out.flat[bad])
        return out
    given = _for_user(distribution, y)
    expected = given.shape[: 1 if distribution.n_rows is None else 2]
    try:
        returned = function(given)
    except Exception as error:
        raise _raised(function, given, first, error) from error
    out = _as_float(function, returned, given.shape, expected)
    bad_at = np.flatnonzero(~np.isfinite(out))
    if len(bad_at):
        raise not_finite(function, distribution, y, first, bad_at[0], out.flat[bad_at[0]])
    return out.reshape(n, distribution.rows)


def gradients_of(cost: Cost, distribution: Distribution, y: np.ndarray, first: int) -> np.ndarray:
    """``dJ / dy`` of samples (n, rows, *shape), as (n, rows, width)."""
    function, n = cost.gradient, len(y)
    assert function is not None
    flat = np.require(y.reshape(n, distribution.rows, -1), requirements=("C", "W"))
    if is_jitted(function):
        from .kernels import evaluate_gradient

        out = np.empty_like(flat)
        ready = compiled(function, distribution, gradient=True)
        try:
            evaluate_gradient(ready, flat, out)
        except Exception as error:
            find_raising(ready, flat, first, distribution, function, np.empty(flat.shape[-1]))
            raise CostError(
                f"{_name(function)} raised {error!r} for a sample among {first} to {first + n - 1}."
            ) from error
    else:
        given = _for_user(distribution, y)
        try:
            returned = function(given)
        except Exception as error:
            raise _raised(function, given, first, error) from error
        out = _as_float(function, returned, given.shape, given.shape).reshape(flat.shape)
    if not np.isfinite(out).all():
        bad = int(np.flatnonzero(~np.isfinite(out).reshape(-1, width(distribution)).all(axis=1))[0])
        entries = out.reshape(-1, width(distribution))[bad]
        value = entries[~np.isfinite(entries)][0]
        raise not_finite(function, distribution, y, first, bad, value)
    return out


def parameter_gradients_of(
    cost: Cost, distribution: Distribution, y: np.ndarray, first: int
) -> np.ndarray | float:
    """``dJ / d parameters`` at fixed samples, as (n, rows, n_parameters); 0 where J has none."""
    function = cost.parameter_gradient
    if function is None:
        return 0.0
    given = _for_user(distribution, y)
    try:
        returned = function(given)
    except Exception as error:
        raise _raised(function, given, first, error) from error
    out = distribution.flattened(returned, len(y), _name(function))
    if not np.isfinite(out).all():
        bad = int(np.flatnonzero(~np.isfinite(out).all(axis=-1))[0])
        value = out.reshape(-1, out.shape[-1])[bad]
        value = value[~np.isfinite(value)][0]
        raise not_finite(function, distribution, y, first, bad, value)
    return out


def _for_user(distribution: Distribution, y: np.ndarray) -> np.ndarray:
    """Samples as a Python function sees them; read-only, since the score is taken of them after."""
    given = (y[:, 0] if distribution.n_rows is None else y).view()
    given.flags.writeable = False
    return given


# -- sentences -------------------------------------------------------------------------------------


def _name(function: Any) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "cost" if name == "<lambda>" else name


def _show(y: np.ndarray) -> str:
    return np.array2string(np.asarray(y), threshold=12, edgeitems=4, precision=4).replace("\n", "")


def _as_float(function: Any, returned: Any, given: Any, expected: tuple[int, ...]) -> np.ndarray:
    try:
        out = np.asarray(returned)
        if out.dtype.kind not in "biuf":
            raise TypeError
        out = out.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise CostError(
            f"{_name(function)} returned {type(returned).__name__} for samples of shape {given}; "
            f"expected real numbers of shape {expected}."
        ) from None
    if out.shape != expected:
        raise CostError(
            f"{_name(function)} returned shape {out.shape} for samples of shape {given}; expected "
            f"{expected}. Costs see many samples at once: sum over the axes after the first"
            f"{'' if len(expected) == 1 else ' ones'}, or jit a function of one sample."
        )
    return out


def _where(distribution: Distribution, index: int, first: int) -> str:
    sample, row = divmod(int(index), distribution.rows)
    at = f"sample {first + sample}"
    return at if distribution.n_rows is None else f"{at}, row {row}"


def not_finite(
    function: Any, distribution: Distribution, y: np.ndarray, first: int, index: int, value: Any
) -> CostError:
    """A cost that is NaN or infinite."""
    sample, row = divmod(int(index), distribution.rows)
    return CostError(
        f"{_name(function)} returned {value} for {_where(distribution, index, first)}, "
        f"y = {_show(y[sample, row])}; expected a finite number for every sample."
    )


def _raised(function: Any, given: np.ndarray, first: int, error: Exception) -> CostError:
    """A Python function that raised: look for the one sample, if one alone does it too."""
    for i in range(len(given)):
        try:
            function(given[i : i + 1])
        except Exception:
            return CostError(
                f"{_name(function)} raised {error!r} for sample {first + i}, y = {_show(given[i])}."
            )
    return CostError(
        f"{_name(function)} raised {error!r} for samples {first} to {first + len(given) - 1}, an "
        f"array of shape {given.shape}, but for none of them alone."
    )


def find_raising(
    ready: Any, flat: np.ndarray, first: int, distribution: Distribution, function: Any, *out: Any
) -> None:
    """Raise a sentence on the first sample (n, rows, width) for which a compiled cost raises.

    A compiled gradient is given what it writes to as well.
    """
    for i in range(len(flat)):
        for r in range(flat.shape[1]):
            try:
                ready(flat[i, r], r, *out)
            except Exception as error:
                where = _where(distribution, i * flat.shape[1] + r, first)
                shown = _show(flat[i, r].reshape(distribution.shape))
                raise CostError(
                    f"{_name(function)} raised {error!r} for {where}, y = {shown}."
                ) from error
