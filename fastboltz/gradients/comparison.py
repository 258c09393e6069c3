"""Methods side by side: bias, variance, seconds, and what they come to together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..validation import NotEnumerableError, check_count
from .distributions import Conditional, Discrete, inner
from .estimates import Estimate, flat
from .methods import VIMCO, Enumerate, Method


@dataclass(frozen=True)
class Row:
    """One method in a `Comparison`.

    Attributes
    ----------
    method : str
    biased : bool
        What the method says of itself.
    bias : float
        Root mean square, over parameters, of the mean of all calls less the exact gradient; NaN
        where that cannot be enumerated.
    bias_error : float
        What ``bias`` would be on average by chance alone.
    variance : float
        Of one call's gradient, mean over parameters.
    seconds : float
        Of a call, median.
    variance_seconds : float
        Their product: the variance that a second of work leaves. Compare methods by this.
    n_evaluations : int
        Costs asked in a call.
    """

    method: str
    biased: bool
    bias: float
    bias_error: float
    variance: float
    seconds: float
    variance_seconds: float
    n_evaluations: int


@dataclass(frozen=True)
class Comparison:
    """What `compare` has measured; ``str`` of it is a table.

    Attributes
    ----------
    rows : tuple of Row
    n_samples, n_repeats : int
    exact : bool
        Whether the exact gradient is known.
    """

    rows: tuple[Row, ...]
    n_samples: int
    n_repeats: int
    exact: bool

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns by name, as a data frame takes them."""
        records = [asdict(row) for row in self.rows]
        return {k: [record[k] for record in records] for k in records[0]}

    def __str__(self) -> str:
        head = ("method", "bias", "by chance", "variance", "seconds", "variance x seconds")
        table: list[tuple[str, ...]] = [head]
        for r in self.rows:
            name = r.method + (" (biased)" if r.biased else "")
            numbers = (r.bias, r.bias_error, r.variance, r.seconds, r.variance_seconds)
            table.append((name, *("-" if np.isnan(x) else f"{x:.3g}" for x in numbers)))
        wide = [max(len(line[k]) for line in table) for k in range(len(head))]
        return "\n".join(
            "  ".join(
                cell.ljust(w) if k == 0 else cell.rjust(w)
                for k, (cell, w) in enumerate(zip(line, wide, strict=True))
            ).rstrip()
            for line in table
        )


def compare(
    methods: Mapping[str, Method] | Sequence[Method],
    cost: Any,
    distribution: Any,
    *,
    n_samples: int = 1000,
    n_repeats: int = 30,
    warm_up: int = 0,
    inputs: Any = None,
    random_state: Any = None,
    n_threads: int | None = None,
) -> Comparison:
    """Measure methods on one cost and one distribution.

    Each method makes ``n_repeats`` steps, carrying its state from one to the next, so that what it
    learns counts. Methods take turns, so that a disturbance of the machine meets all of them.

    Parameters
    ----------
    methods : dict or sequence of Method
        Names are the keys, or made of class and baseline.
    cost : callable or Cost
    distribution : Distribution or Conditional
    n_samples : int
        Samples of a call.
    n_repeats : int
        Calls that are measured, at least 2.
    warm_up : int
        Calls before them that are not, beyond the one in which things are compiled.
    inputs : array-like of shape (n_rows, n_inputs), optional
    random_state : None, int, RandomState or Generator
    n_threads : int, optional

    Returns
    -------
    Comparison
        `fastboltz.plots.ComparisonDisplay` draws it.
    """
    check_count("n_samples", n_samples)
    check_count("n_repeats", n_repeats, minimum=2)
    check_count("warm_up", warm_up, minimum=0)
    named = _named(methods)
    states: dict[str, Any] = {}
    values: dict[str, list[np.ndarray]] = {}
    seconds: dict[str, list[float]] = {}
    last: dict[str, Estimate] = {}
    for name, method in named.items():
        states[name] = method.init(distribution, inputs=inputs, random_state=random_state)
        values[name], seconds[name] = [], []
    for repeat in range(-1 - warm_up, n_repeats):
        for name, method in named.items():
            begin = time.perf_counter()
            found, states[name] = method.step(
                cost, distribution, states[name], n_samples, inputs=inputs, n_threads=n_threads
            )
            spent = time.perf_counter() - begin
            if repeat >= 0:
                values[name].append(flat(found.value) / found.scale)
                seconds[name].append(spent)
                last[name] = found
    rows, known = [], True
    exact: dict[int, np.ndarray | None] = {}
    for name, method in named.items():
        k = method.n_particles if isinstance(method, VIMCO) else 1
        if k not in exact:
            exact[k] = _exact(cost, distribution, k)
        truth = exact[k]
        known &= truth is not None
        x = np.array(values[name])
        spread = x.var(axis=0, ddof=1)
        bias = np.nan if truth is None else float(np.sqrt(np.mean((x.mean(axis=0) - truth) ** 2)))
        variance, spent = float(spread.mean()), float(np.median(seconds[name]))
        rows.append(
            Row(
                method=name,
                biased=last[name].biased,
                bias=bias,
                bias_error=float(np.sqrt(variance / n_repeats)),
                variance=variance,
                seconds=spent,
                variance_seconds=variance * spent,
                n_evaluations=last[name].n_evaluations,
            )
        )
    return Comparison(tuple(rows), n_samples, n_repeats, known)


def _exact(cost: Any, distribution: Any, n_particles: int) -> np.ndarray | None:
    own = inner(distribution)
    if isinstance(distribution, Conditional):
        own = distribution.distribution
    if not isinstance(own, Discrete):
        return None
    try:
        return flat(Enumerate(n_particles).estimate(cost, distribution).value)
    except NotEnumerableError:
        return None


def _named(methods: Any) -> dict[str, Method]:
    if isinstance(methods, Method):
        methods = [methods]
    given = methods.values() if isinstance(methods, Mapping) else methods
    given = list(given) if isinstance(given, Iterable) else [given]
    if not given or not all(isinstance(m, Method) for m in given):
        wrong = next((repr(m) for m in given if not isinstance(m, Method)), "none")
        raise TypeError(
            f"methods must be methods of fastboltz.gradients, such as DisARM(), a list or a dict "
            f"of them; got {wrong}."
        )
    if not isinstance(methods, Mapping):
        found: dict[str, Method] = {}
        for method in given:
            baseline = getattr(method, "baseline", None)
            name = method.name if baseline is None else f"{method.name}, {baseline.name}"
            base, k = name, 2
            while name in found:
                name, k = f"{base} {k}", k + 1
            found[name] = method
        methods = found
    return dict(methods)
