"""Exact answers by enumeration: log Z, moments and gradients of models that are small enough.

One set of groups S is summed out in closed form (each term holds at most one of its units), and
the states of the remaining groups are listed: ``log Z = log sum_states exp(-F(state))`` with the
free energy F of the listed groups. Among all such splits the one with the fewest states is taken.
Everything is written against the energy's own ``free_energy`` and ``statistics``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp

from .units import Unit
from .validation import too_many_states

if TYPE_CHECKING:
    from .energy import Energy

#: log2 of the number of states that are enumerated at the most.
LOG2_LIMIT = 25
#: Rows (states, or pairs of a given row and a state) of one evaluation, in entries of all groups.
_CHUNK_ENTRIES = 1 << 22


@dataclass(frozen=True)
class Split:
    """How the free groups of a model are enumerated."""

    listed: tuple[str, ...]
    summed: tuple[str, ...]
    log2_states: float


def split(energy: Energy, free: Sequence[str], what: str = "log Z", remedy: str = "") -> Split:
    """The cheapest split of the free groups into listed and summed-out ones."""
    subsets = chain.from_iterable(combinations(free, k) for k in range(len(free) + 1))
    best: Split | None = None
    for summed in subsets:
        listed = tuple(g for g in free if g not in summed)
        if not energy.is_independent(summed):
            continue
        if any(energy.groups[g].states() is None for g in listed):
            continue
        cost = sum(_log2_states(energy.groups[g]) for g in listed)
        if best is None or cost < best.log2_states:
            best = Split(listed, summed, cost)
    remedy = remedy or "Use method='ais'."
    if best is None:
        real = [g for g in free if energy.groups[g].states() is None]
        raise ValueError(
            f"exact {what} cannot be enumerated: groups {', '.join(map(repr, real))} are "
            f"continuous and share a term, so they cannot all be summed out. {remedy}"
        )
    if best.log2_states > LOG2_LIMIT:
        raise too_many_states(what, best.log2_states, LOG2_LIMIT, remedy)
    return best


def _log2_states(unit: Unit) -> float:
    states = unit.states()
    assert states is not None
    return unit.n_units * float(np.log2(len(states)))


def group_states(unit: Unit, numbers: np.ndarray, dtype: Any) -> np.ndarray:
    """States of a group by number: the mixed-radix digits of the number, unit 0 the lowest."""
    table = unit.states()
    assert table is not None
    q, n = len(table), unit.n_units
    if q == 2:
        digits = (numbers[:, None] >> np.arange(n)) & 1
    else:
        digits = numbers[:, None] // q ** np.arange(n) % q
    return table.astype(dtype)[digits].reshape(len(numbers), *unit.shape)


def listed_states(
    energy: Energy, listed: Sequence[str], dtype: Any, chunk: int
) -> Iterator[dict[str, np.ndarray]]:
    """All joint states of the listed groups, a chunk of rows at a time."""
    counts = [round(2 ** _log2_states(energy.groups[g])) for g in listed]
    total = int(np.prod(counts, dtype=np.int64))
    for start in range(0, total, chunk):
        numbers = np.arange(start, min(start + chunk, total), dtype=np.int64)
        state = {}
        for g, count in zip(listed, counts, strict=True):
            state[g] = group_states(energy.groups[g], numbers % count, dtype)
            numbers = numbers // count
        yield state


class Enumeration:
    """All states of an energy's free groups, given rows of the others.

    Parameters
    ----------
    energy : Energy
    params : dict of arrays
    given : dict of arrays, optional
        Values (n_rows, *shape) of the groups that are conditioned on.
    what, remedy : str
        Words of the error when there are too many states.
    """

    def __init__(
        self,
        energy: Energy,
        params: Mapping[str, np.ndarray],
        given: Mapping[str, np.ndarray] | None = None,
        *,
        what: str = "log Z",
        remedy: str = "",
    ) -> None:
        self.energy = energy
        self.params = dict(params)
        self.given = dict(given or {})
        free = [g for g in energy.groups if g not in self.given]
        self.split = split(energy, free, what, remedy)
        self.n_rows = len(next(iter(self.given.values()))) if self.given else 1
        self.dtype = np.result_type(*params.values()) if params else np.dtype(np.float64)
        size = max(1, sum(u.size for u in energy.groups.values()))
        self._chunk = max(1, _CHUNK_ENTRIES // size)

    def _blocks(self) -> Iterator[tuple[slice, dict[str, np.ndarray], int]]:
        """Pairs of given rows and states: (rows, joint state, states in the block)."""
        for state in listed_states(self.energy, self.split.listed, self.dtype, self._chunk):
            k = len(next(iter(state.values()))) if state else 1
            step = max(1, self._chunk // k)
            for start in range(0, self.n_rows, step):
                rows = slice(start, min(start + step, self.n_rows))
                n = rows.stop - rows.start
                joint = {g: np.repeat(x[rows], k, axis=0) for g, x in self.given.items()}
                joint |= {g: np.tile(s, (n, *(1,) * (s.ndim - 1))) for g, s in state.items()}
                yield rows, joint, k

    def _log_weights(self, joint: dict[str, np.ndarray], k: int) -> np.ndarray:
        f = self.energy.free_energy(self.params, joint, self.split.summed, check=False)
        return -np.reshape(f, (-1, k))

    def log_partition(self) -> np.ndarray:
        """Log Z of the free groups for each given row, (n_rows,)."""
        total = np.full(self.n_rows, -np.inf)
        for rows, joint, k in self._blocks():
            part = logsumexp(self._log_weights(joint, k), axis=1)
            total[rows] = np.logaddexp(total[rows], part)
        return total

    def moments(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Expected statistics under the model given the rows, averaged with the rows' weights."""
        log_z = self.log_partition()
        w = np.full(self.n_rows, 1 / self.n_rows) if weights is None else weights / weights.sum()
        out = self.energy.zeros(self.params)
        for rows, joint, k in self._blocks():
            p = np.exp(self._log_weights(joint, k) - log_z[rows, None]) * w[rows, None]
            self.energy.add_statistics(
                self.params, joint, out, weights=p.ravel(), sum_out=self.split.summed
            )
        return out
