"""Every sentence that a user can be told about bad input, and the checks that say them.

Each sentence names the object, what was expected, what was found and, where there is one, the
remedy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse


class NotEnumerableError(ValueError):
    """An exact answer was asked of a model with too many states."""


def one_of(name: str, value: Any, allowed: Iterable[str], others: str = "") -> str:
    """Check that an option is one of the names that exist, and propose the closest if not.

    ``others`` goes on with what may stand in place of a name, such as " or a number".
    """
    allowed = tuple(allowed)
    if value in allowed:
        return value
    close = get_close_matches(str(value), allowed, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listed = ", ".join(map(repr, allowed))
    expected = f"{listed}{others}" if others else f"one of {listed}"
    raise ValueError(f"{name} must be {expected}; got {value!r}.{hint}")


def check_count(name: str, value: Any, minimum: int = 1) -> int:
    """Check a whole number with a lower limit."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number >= {minimum}; got {value!r}.")
    if value < minimum:
        raise ValueError(f"{name} must be a whole number >= {minimum}; got {value}.")
    return int(value)


def check_number(
    name: str,
    value: Any,
    minimum: float = -np.inf,
    below: float = np.inf,
    strict: bool = False,
) -> float:
    """Check a finite real number >= minimum (``strict``: > minimum) and < below."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; got {value!r}.")
    number = float(value)
    low_ok = number > minimum if strict else number >= minimum
    if not (np.isfinite(number) and low_ok and number < below):
        low = f"{'>' if strict else '>='} {minimum:g}" if np.isfinite(minimum) else "finite"
        high = f" and < {below:g}" if np.isfinite(below) else ""
        raise ValueError(f"{name} must be {low}{high}; got {value}.")
    return number


def check_flag(name: str, value: Any) -> bool:
    """Check a truth value."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}.")
    return bool(value)


def check_callbacks(callbacks: Any) -> None:
    """Check that callbacks are None or a sequence of callables."""
    if callbacks is None:
        return
    if isinstance(callbacks, Iterable) and all(callable(one) for one in callbacks):
        for one in callbacks:
            if hasattr(one, "state_dict") and not hasattr(one, "load_state_dict"):
                raise TypeError(
                    f"the callback {type(one).__name__} has a method state_dict, but none that "
                    f"takes what it answers; add load_state_dict(state)."
                )
        return
    raise TypeError(
        f"callbacks must be a list of callables, also where it is one alone; got {callbacks!r}."
    )


def unknown_group(where: str, group: str, known: Iterable[str]) -> ValueError:
    """A term, a state or an argument names a group that the energy does not have."""
    known = tuple(known)
    close = get_close_matches(group, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ValueError(
        f"{where} names the unknown group {group!r}; the energy has "
        f"{', '.join(map(repr, known))}.{hint}"
    )


def not_by_group(model: Any, given: Any, groups: Iterable[str]) -> TypeError:
    """Rows were given as they are, where a dict says of which group they are."""
    groups = tuple(groups)
    return TypeError(
        f"given must be a dict of rows by group, such as {{{groups[0]!r}: rows}}; got "
        f"{type(given).__name__}. Groups of this {type(model).__name__} that may be given: "
        f"{', '.join(map(repr, groups))}."
    )


def missing_state(group: str, present: Iterable[str]) -> ValueError:
    """A state lacks a group that the call needs."""
    listed = ", ".join(map(repr, present)) or "none"
    return ValueError(
        f"the state has no values for group {group!r} (it has {listed}); "
        f"add state[{group!r}] or sum that group out."
    )


def missing_parameter(key: str, present: Iterable[str]) -> ValueError:
    """Parameters lack an array."""
    listed = ", ".join(map(repr, present)) or "none"
    return ValueError(
        f"the parameters have no array {key!r} (they have {listed}); "
        f"energy.init() makes a complete set."
    )


def lateral_group(group: str, terms: Sequence[str]) -> ValueError:
    """A factorial answer was asked of a group whose units see each other."""
    named = " and ".join(repr(t) for t in terms)
    return ValueError(
        f"group {group!r} occurs twice in {named}: its units are not conditionally independent. "
        f"Use site sweeps, or split the group."
    )


def not_independent(groups: Sequence[str], term: str) -> ValueError:
    """Several groups were to be summed out at once, but a term holds two of them."""
    named = " and ".join(repr(g) for g in groups)
    return ValueError(
        f"groups {named} cannot be summed out together: term {term!r} holds both. "
        f"Sum out one of them and give values for the other."
    )


def too_many_states(what: str, log2_states: float, log2_limit: float, remedy: str) -> Exception:
    """Exact enumeration past its limit."""
    return NotEnumerableError(
        f"exact {what} needs 2**{log2_states:.0f} states (limit 2**{log2_limit:.0f}). {remedy}"
    )


def check_state(group: str, unit: Any, x: Any, *, allow_nan: bool = False) -> np.ndarray:
    """Check a group's values: a float array (n_rows, *shape) without NaN or infinity."""
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        if x.dtype.kind not in "biuf":
            raise ValueError(f"state {group!r} must be numeric; got dtype {x.dtype}.")
        x = x.astype(np.float64 if x.dtype.itemsize > 4 else np.float32)
    if x.ndim != 1 + len(unit.shape) or x.shape[1:] != unit.shape:
        expected = ", ".join(map(str, ("n_rows", *unit.shape)))
        raise ValueError(f"state {group!r} has shape {x.shape}; expected ({expected}).")
    finite = np.isfinite(x).all() if not allow_nan else not np.isinf(x).any()
    if not finite:
        raise ValueError(
            f"state {group!r} contains NaN or infinity; expected finite values"
            f"{' (NaN marks unknown units)' if allow_nan else ''}."
        )
    if allow_nan and unit.event_axes:
        unknown = np.isnan(x)
        if (unknown.any(axis=-1) != unknown.all(axis=-1)).any():
            raise ValueError(
                f"state {group!r} has one-hot units of which only some entries are NaN; mark all "
                f"entries of a unit as unknown, or none."
            )
    return x


def check_rows(states: dict[str, np.ndarray], at_least: int = 0) -> int:
    """Check that all groups have the same number of rows, and return it."""
    rows = {g: len(x) for g, x in states.items()}
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"{g!r} has {n}" for g, n in rows.items())
        raise ValueError(f"the groups of one state need the same number of rows; {listed}.")
    group, n = next(iter(rows.items()))
    if n < at_least:
        raise ValueError(f"state {group!r} has no rows; an average needs at least one row.")
    return n


def check_weights(weights: Any, n_rows: int) -> np.ndarray:
    """Check weights of rows, and scale them to sum to one."""
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n_rows,):
        raise ValueError(f"weights have shape {w.shape}; expected ({n_rows},), one for each row.")
    if not np.isfinite(w).all() or (w < 0).any():
        raise ValueError("weights must be finite and >= 0; found NaN, infinity or a negative one.")
    total = w.sum()
    if total == 0:
        raise ValueError("weights are zero for every row; give some row a weight.")
    return w / total


def put_back(x: Any, low: float, high: float) -> Any:
    """Rows, with values that rounding alone has put beyond an end of an interval put to that end.

    As they are where no value is beyond, or one is farther than rounding takes it. Rounding is half
    of a type's digits: a column that is rescaled to [0, 1], as `minmax_scale` does, loses as many
    as its distance from zero has beyond its range, and a value as near is meant to be the end.

    Parameters
    ----------
    x : ndarray or CSR matrix
        NaN stands for values that are not known.
    low, high : float
        Of which zero is not outside, for a CSR matrix.
    """
    values = x.data if sparse.issparse(x) else x
    if values.dtype.kind != "f" or not values.size:
        return x
    near = np.clip(values, low, high)
    beyond = values != near
    beyond &= ~np.isnan(values)
    if not beyond.any():
        return x
    if (abs(values[beyond] - near[beyond]) > np.finfo(values.dtype).eps ** 0.5).any():
        return x
    if not sparse.issparse(x):
        return near
    return type(x)((near, x.indices, x.indptr), shape=x.shape)


def in_full(x: Any) -> str:
    """A number in six digits, or in all where those are a whole number that it is not."""
    short = f"{x:g}"
    return str(x) if float(short).is_integer() and float(short) != x else short


def of_declared(error: ValueError) -> ValueError:
    """What a unit type says of values, where no ``visible`` names it but a declaration."""

    def declare(found: re.Match[str]) -> str:
        return f"{'D' if found[1] == 'U' else 'd'}eclare the group as fastboltz.{found[2].title()}"

    return ValueError(re.sub(r"([Uu])se visible='(\w+)'", declare, str(error)))


def support_error(
    name: str, low: float, high: float, unit: str, needs: str, hint: str
) -> Exception:
    """Data outside of what a unit type can take."""
    return ValueError(
        f"{name} has values in [{in_full(low)}, {in_full(high)}]; {unit} units need {needs}. {hint}"
    )
