"""Exact answers by enumeration: log Z, moments and gradients of models that are small enough.

One set of groups S is summed out in closed form (each term holds at most one of its units), and
the states of the remaining groups are listed: ``log Z = log sum_states exp(-F(state))`` with the
free energy F of the listed groups. Among all such splits the one with the fewest states is taken.
With some groups given, what depends on a given row alone, or on a listed state alone, is computed
once for it, not once for each pair of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import rng
from .terms import Term, grid
from .units import Own, Unit
from .validation import too_many_states

if TYPE_CHECKING:
    from .energy import Energy

#: log2 of the number of states that are enumerated at the most.
LOG2_LIMIT = 25
#: Rows (states, or pairs of a given row and a state) of one evaluation, in entries of all groups.
_CHUNK_ENTRIES = 1 << 22
#: Entries of a group's field that are worked on at once: some 200 KB stay in a core's cache.
_SLAB_ENTRIES = 1 << 16
#: Means alone are asked of the units: no random number is drawn.
_NOWHERE = rng.Address(0)


@dataclass(frozen=True)
class Split:
    """How the free groups of a model are enumerated."""

    listed: tuple[str, ...]
    summed: tuple[str, ...]
    log2_states: float


def split(
    energy: Energy,
    free: Sequence[str],
    what: str = "log Z",
    remedy: str = "",
    listed: Sequence[str] | None = None,
) -> Split:
    """The cheapest split of the free groups into listed and summed-out ones.

    With ``listed``, the one that lists these groups.
    """
    subsets = chain.from_iterable(combinations(free, k) for k in range(len(free) + 1))
    best: Split | None = None
    for summed in subsets:
        rest = tuple(g for g in free if g not in summed)
        if listed is not None and set(listed) != set(rest):
            continue
        if not energy.is_independent(summed):
            continue
        if any(energy.groups[g].states() is None for g in rest):
            continue
        cost = sum(_log2_states(energy.groups[g]) for g in rest)
        if best is None or cost < best.log2_states:
            best = Split(rest, summed, cost)
    remedy = remedy or "Use fastboltz.likelihood.ais."
    if best is None:
        if listed is not None:
            raise ValueError(
                f"exact {what} cannot be enumerated over {', '.join(map(repr, listed))} alone: "
                f"each must have a finite list of states, and the other groups must not share a "
                f"term with each other, so that they can be summed out. {remedy}"
            )
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


def state_numbers(
    energy: Energy, listed: Sequence[str], values: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """Number of each row's joint state, as `listed_states` counts; None if some row is no state."""
    numbers: Any = 0
    radix = 1
    for g in listed:
        unit = energy.groups[g]
        table = unit.states()
        if table is None:
            return None
        q, x = len(table), values[g]
        # (n_rows, n_units, n_states), over the entries of one unit
        x = x.reshape(len(x), unit.n_units, 1, -1)
        is_state = (x == table.reshape(q, -1)).all(axis=-1)
        if not is_state.any(axis=-1).all():
            return None
        numbers = numbers + radix * (is_state.argmax(axis=-1) @ q ** np.arange(unit.n_units))
        radix *= q**unit.n_units
    return np.asarray(numbers)


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

    The free groups are split into listed ones and ones that are summed out. Every listed state
    meets every given row, but hardly anything is computed for each such pair. With G the given
    groups and L the listed ones, a summed group's field is the sum of what its terms with G alone
    give (once a row), with L alone (once a state), and with both (for each pair). Fields keep the
    axes that they depend on: (n_states or 1, n_rows or 1, *shape). In the class RBM,
    ``v_i h_j`` costs O(V H) a row and ``y_k h_j`` O(C H) in all, and what remains for each pair is
    the cumulant of h, O(C H) a row (Larochelle & Bengio, ICML 2008).

    Parameters
    ----------
    energy : Energy
    params : dict of arrays
    given : dict of arrays, optional
        Values (n_rows, *shape) of the groups that are conditioned on.
    listed : sequence of str, optional
        Free groups to list; the default is the split with the fewest states.
    what, remedy : str
        Words of the error when there are too many states.
    n_threads : int
    """

    def __init__(
        self,
        energy: Energy,
        params: Mapping[str, np.ndarray],
        given: Mapping[str, np.ndarray] | None = None,
        *,
        listed: Sequence[str] | None = None,
        what: str = "log Z",
        remedy: str = "",
        n_threads: int = 1,
    ) -> None:
        self.energy = energy
        self.params = dict(params)
        self.given = dict(given or {})
        free = [g for g in energy.groups if g not in self.given]
        self.split = split(energy, free, what, remedy, listed)
        self.n_rows = len(next(iter(self.given.values()))) if self.given else 1
        self.n_states = round(2**self.split.log2_states)
        self.dtype = np.result_type(*params.values()) if params else np.dtype(np.float64)
        self.n_threads = n_threads
        size = max(1, sum(u.size for u in energy.groups.values()))
        self._chunk = max(1, _CHUNK_ENTRIES // size)
        self._sides = {t.name: self._side(t) for t in energy.terms}

    # -- which term depends on what ------------------------------------------------------------

    def _side(self, term: Term) -> _Side:
        return _Side(
            rows=any(g in self.given for g in term.groups),
            states=any(g in self.split.listed for g in term.groups),
            summed=next((g for g in term.groups if g in self.split.summed), None),
        )

    def _terms(self, side: _Side) -> list[Term]:
        return [t for t in self.energy.terms if self._sides[t.name] == side]

    @property
    def is_one_block(self) -> bool:
        """Whether a row's states are few enough to be looked at together."""
        return self.n_states <= self._chunk

    # -- blocks of rows and states -------------------------------------------------------------

    def _row_chunks(self) -> Iterator[slice]:
        step = max(1, self._chunk // self.n_states)
        for start in range(0, self.n_rows, step):
            yield slice(start, min(start + step, self.n_rows))

    def _blocks(self, rows: slice) -> Iterable[_Block]:
        """Some rows with every state; a list where all states are in one block."""
        blocks = (
            self._block(rows, states)
            for states in listed_states(self.energy, self.split.listed, self.dtype, self._chunk)
        )
        return list(blocks) if self.is_one_block else _Again(self, rows)

    def _block(self, rows: slice, states: dict[str, np.ndarray]) -> _Block:
        given = {g: x[rows] for g, x in self.given.items()}
        n = rows.stop - rows.start
        k = len(next(iter(states.values()))) if states else 1
        log_weights = np.zeros((k, n))
        log_weights += self._alone(given, _Side(rows=True, states=False))
        log_weights += self._alone(states, _Side(rows=False, states=True))[:, None]
        for t in self._terms(_Side(rows=True, states=True)):
            log_weights += t.grid_value(self.params, given, states, self.n_threads)
        fields = {}
        for g in self.split.summed:
            unit, own = self.energy.groups[g], self.energy.own(self.params, g)
            f = fields[g] = self._field(g, given, states, k, n)
            for slab in f.slabs():
                a = f.part(slab)
                flat = a.reshape(-1, *unit.shape)
                c = unit.cumulant(own, flat, n_threads=self.n_threads)
                log_weights[slab] += c.reshape(a.shape[:2])
        return _Block(rows, given, states, fields, log_weights)

    def _alone(self, state: Mapping[str, np.ndarray], side: _Side) -> np.ndarray:
        """Minus the energy of one side by itself, for each of its rows."""
        total: Any = np.zeros(1)
        for g, x in state.items():
            total = total - self.energy.groups[g].base(self.energy.own(self.params, g), x)
        for t in self._terms(side):
            total = total + t.value(self.params, state, self.n_threads)
        return total

    def _field(
        self,
        group: str,
        given: Mapping[str, np.ndarray],
        states: Mapping[str, np.ndarray],
        k: int,
        n: int,
    ) -> _Field:
        """Field of a summed group."""
        shape = self.energy.groups[group].shape
        parts: list[np.ndarray | None] = []
        for side, known, length in (
            (_Side(True, False, group), given, n),
            (_Side(False, True, group), states, k),
            # Units that a term holds alone: a second bias. Nothing but the number of rows is read.
            (_Side(False, False, group), {group: np.zeros((1, *shape), self.dtype)}, 1),
        ):
            part = None
            if terms := self._terms(side):
                part = np.zeros((length, *shape), self.dtype)
            for t in terms:
                t.add_field(self.params, known, group, part, self.n_threads)  # type: ignore[arg-type]
            parts.append(part)
        of_row, of_state, always = parts
        if always is None:
            always = np.zeros((1, *shape), self.dtype)
        of_pair = None
        if terms := self._terms(_Side(True, True, group)):
            of_pair = np.zeros((k, n, *shape), self.dtype)
            for t in terms:
                t.add_grid_field(self.params, given, states, group, of_pair, self.n_threads)
        return _Field(of_row, of_state, of_pair, always)

    # -- answers -------------------------------------------------------------------------------

    def log_partition(self) -> np.ndarray:
        """Log Z of the free groups for each given row, (n_rows,)."""
        parts = [_log_partition(self._blocks(rows)) for rows in self._row_chunks()]
        return np.concatenate(parts) if parts else np.zeros(0)

    def log_probabilities(self) -> np.ndarray:
        """``log p(state | row)`` of the listed groups, (n_rows, n_states).

        States are in the order of `listed_states`: the first group's change fastest.
        """
        out = np.empty((self.n_rows, self.n_states))
        for rows in self._row_chunks():
            blocks = self._blocks(rows)
            log_z = _log_partition(blocks)
            done = 0
            for block in blocks:
                k = len(block.log_weights)
                out[rows, done : done + k] = (block.log_weights - log_z).T
                done += k
        return out

    def sample(self, uniforms: np.ndarray) -> dict[str, np.ndarray]:
        """States of the listed groups, drawn exactly by the inverse distribution function.

        Parameters
        ----------
        uniforms : ndarray of shape (n,)
            One for each given row; any number of them where nothing is given.

        Returns
        -------
        dict of arrays (n, *shape)
        """
        numbers = np.empty(len(uniforms), np.int64)
        for rows in self._row_chunks():
            blocks = self._blocks(rows)
            log_z = _log_partition(blocks)
            p = np.concatenate([np.exp(block.log_weights - log_z) for block in blocks])
            cumulative = np.cumsum(p, axis=0)
            cumulative[-1] = 1  # whatever rounding has left
            if not self.given:
                return self._listed_values(np.searchsorted(cumulative[:, 0], uniforms))
            numbers[rows] = (cumulative < uniforms[rows]).sum(axis=0)
        return self._listed_values(numbers)

    def _listed_values(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Values of the listed groups in states with these numbers, see `listed_states`."""
        values = {}
        for g in self.split.listed:
            unit = self.energy.groups[g]
            count = round(2 ** _log2_states(unit))
            values[g] = group_states(unit, numbers % count, self.dtype)
            numbers = numbers // count
        return values

    def mean(self, group: str) -> np.ndarray:
        """Expected value of a summed group for each given row, (n_rows, *shape)."""
        unit, own = self.energy.groups[group], self.energy.own(self.params, group)
        out = np.zeros((self.n_rows, *unit.shape), self.dtype)
        for rows in self._row_chunks():
            blocks = self._blocks(rows)
            log_z = _log_partition(blocks)
            for block in blocks:
                f = block.fields[group]
                p = np.exp(block.log_weights - log_z).astype(self.dtype)
                for slab in f.slabs():
                    m = self._means(unit, own, f.part(slab))
                    out[rows] += _scaled(m, p[slab]).sum(axis=0)
        return out

    def expected_field(self, group: str) -> np.ndarray:
        """Expected field of a given group for each given row, (n_rows, *shape).

        The gradient of log Z by the values of that group, its own base energy aside. Every
        pair of a row and a state is formed: for small models.
        """
        energy = self.energy
        out = np.zeros((self.n_rows, *energy.groups[group].shape), self.dtype)
        for rows in self._row_chunks():
            n = rows.stop - rows.start
            blocks = self._blocks(rows)
            log_z = _log_partition(blocks)
            for block in blocks:
                k = len(block.log_weights)
                joint = dict(block.given)
                if block.states:
                    joint = grid(energy.groups, block.given, block.states)
                for g, f in block.fields.items():
                    unit = energy.groups[g]
                    m = self._means(unit, energy.own(self.params, g), f.part(slice(None)))
                    joint[g] = np.broadcast_to(m, (k, n, *unit.shape)).reshape(-1, *unit.shape)
                field = energy.field(self.params, joint, group, check=False)
                p = np.exp(block.log_weights - log_z)
                out[rows] += _scaled(field.reshape(k, n, *field.shape[1:]), p).sum(axis=0)
        return out

    def _means(self, unit: Unit, own: Own, field: np.ndarray) -> np.ndarray:
        """Conditional means at fields (n_states, n_rows, *shape)."""
        means, _ = unit.draw(
            own,
            field.reshape(-1, *unit.shape),
            _NOWHERE,
            mean=True,
            sample=False,
            n_threads=self.n_threads,
        )
        assert means is not None
        return means.reshape(field.shape)

    def moments(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Expected statistics under the model given the rows, averaged with the rows' weights."""
        w = np.full(self.n_rows, 1 / self.n_rows) if weights is None else weights / weights.sum()
        out = self.energy.zeros(self.params)
        for rows in self._row_chunks():
            blocks = self._blocks(rows)
            log_z = _log_partition(blocks)
            for block in blocks:
                p = np.exp(block.log_weights - log_z) * w[rows]
                self._add_statistics(block, p, out)
        return out

    def add_score(
        self, numbers: np.ndarray, weights: np.ndarray, out: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Add ``sum_n weights_n d log p(state numbers_n | row n)`` to ``out``.

        Both phases in one: each state's statistics enter once, with the weight
        ``[state is observed] - p(state | row)``. Only where `is_one_block`.

        Parameters
        ----------
        numbers : ndarray of shape (n_rows,)
            Number of the observed state of each row, see `state_numbers`.
        weights : ndarray of shape (n_rows,)
        out : dict of arrays like the parameters

        Returns
        -------
        dict of arrays
            Weighted sums of the given groups' values and of the summed groups' means at the
            observed state.
        """
        means: dict[str, Any] = dict.fromkeys((*self.given, *self.split.summed), 0.0)
        for rows in self._row_chunks():
            (block,) = self._blocks(rows)
            n = rows.stop - rows.start
            signed = -np.exp(block.log_weights - _log_partition([block]))
            observed = numbers[rows], np.arange(n)
            signed[observed] += 1
            signed *= weights[rows]
            # The sum over states is zero: what depends on the row alone cancels.
            self._add_statistics(block, signed, out, rows_cancel=True)
            w = weights[rows].astype(self.dtype)
            for g, x in block.given.items():
                means[g] = means[g] + np.tensordot(w, x, axes=1)
            for g, f in block.fields.items():
                unit, own = self.energy.groups[g], self.energy.own(self.params, g)
                m = self._means(unit, own, f.at(numbers[rows])[None])[0]
                means[g] = means[g] + (
                    np.tensordot(w, m, axes=1) if len(m) == n else w.sum() * m[0]
                )
        return means

    def _add_statistics(
        self,
        block: _Block,
        weights: np.ndarray,
        out: dict[str, np.ndarray],
        rows_cancel: bool = False,
    ) -> None:
        """Add the statistics of every state with every row, by their weights (n_states, n_rows).

        A term is linear in each of its groups, so what it does not depend on is summed over
        before the product: only terms of given, listed and summed groups together see pairs.
        """
        energy, params, threads = self.energy, self.params, self.n_threads
        of_row, of_state = weights.sum(axis=0), weights.sum(axis=1)
        sides = [(block.states, of_state)]
        if not rows_cancel:
            sides.append((block.given, of_row))
        for state, w in sides:
            for g, x in state.items():
                self._add_own(g, energy.groups[g].statistics(energy.own(params, g), x), w, out)
        by_row, by_state = {}, {}
        for g in block.fields:
            by_row[g], by_state[g] = self._add_summed(g, block, weights, out)
        for t in energy.terms:
            side = self._sides[t.name]
            if rows_cancel and side == _Side(rows=True, states=False):
                continue
            if side.rows and side.states:
                if side.summed is None:
                    self._add_grid(t, block, weights, out)
                continue
            state = dict(block.given if side.rows else block.states)
            if side.summed is None:
                w = of_row if side.rows else of_state
                t.add_statistics(params, state, out, weights=w, n_threads=threads)
                continue
            x = (by_row if side.rows else by_state)[side.summed]
            if not (side.rows or side.states):
                x = x.sum(axis=0, keepdims=True)
            t.add_statistics(params, state | {side.summed: x}, out, n_threads=threads)

    def _add_summed(
        self, group: str, block: _Block, weights: np.ndarray, out: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add a summed group's own statistics, and those of its terms that see pairs.

        Returns the weighted sums of its conditional means over states (n_rows, *shape), and over
        rows (n_states, *shape).
        """
        unit, own = self.energy.groups[group], self.energy.own(self.params, group)
        terms = self._terms(_Side(True, True, group))
        f = block.fields[group]
        # Summed over the axes that the group does not depend on.
        for axis, length in enumerate(f.lengths):
            if length < weights.shape[axis]:
                weights = weights.sum(axis=axis, keepdims=True)
        n = weights.shape[1]
        pairs = np.empty((*weights.shape, *unit.shape), self.dtype) if terms else None
        by_row, by_state = np.zeros((n, *unit.shape), self.dtype), []
        for slab in f.slabs():
            a = f.part(slab)
            x = _scaled(self._means(unit, own, a), weights[slab])
            by_row += x.sum(axis=0)
            by_state.append(x.sum(axis=1))
            if len(unit.parameters) > 1:
                flat = a.reshape(-1, *unit.shape)
                w = weights[slab].ravel()
                self._add_own(group, unit.mean_statistics(own, flat), w, out)
            if pairs is not None:
                pairs[slab] = x
        for t in terms:
            assert pairs is not None
            t.add_grid_statistics(
                self.params, block.given, block.states, group, pairs, out, self.n_threads
            )
        if len(unit.parameters) == 1:
            out[group] += by_row.sum(axis=0)
        return by_row, np.concatenate(by_state)

    def _add_grid(
        self, term: Term, block: _Block, weights: np.ndarray, out: dict[str, np.ndarray]
    ) -> None:
        """Statistics of a term of given and listed groups alone."""
        given, states, params = block.given, block.states, self.params
        listed = [g for g in term.groups if g in states]
        if len(listed) == 1 and not term.lateral:
            (g,) = listed
            x = np.tensordot(weights.T.astype(self.dtype), states[g], axes=1)
            term.add_statistics(params, {**given, g: x}, out, n_threads=self.n_threads)
            return
        joint = grid(term.groups, given, states)
        term.add_statistics(params, joint, out, weights=weights.ravel(), n_threads=self.n_threads)

    def _add_own(
        self,
        group: str,
        statistics: Mapping[str, np.ndarray],
        weights: np.ndarray,
        out: dict[str, np.ndarray],
    ) -> None:
        for p in self.energy.groups[group].parameters:
            x = statistics[p]
            out[self.energy.own_key(group, p)] += np.tensordot(weights.astype(x.dtype), x, axes=1)


class _Side(NamedTuple):
    """What a term depends on besides the parameters."""

    rows: bool
    states: bool
    summed: str | None = None


@dataclass(frozen=True)
class _Field:
    """Field of a summed group: a sum of what depends on the row, on the state, and on both.

    Parts that no term gives are None; ``always`` is (1, *shape).
    """

    of_row: np.ndarray | None
    of_state: np.ndarray | None
    of_pair: np.ndarray | None
    always: np.ndarray

    @property
    def lengths(self) -> tuple[int, int]:
        """(n_states, n_rows), with 1 for an axis that the field does not depend on."""
        if self.of_pair is not None:
            return self.of_pair.shape[:2]
        return (
            1 if self.of_state is None else len(self.of_state),
            1 if self.of_row is None else len(self.of_row),
        )

    def slabs(self) -> Iterator[slice]:
        """States some at a time, so that their fields stay in a core's cache."""
        k, n = self.lengths
        step = max(1, _SLAB_ENTRIES // max(1, n * self.always.size))
        for start in range(0, k, step):
            yield slice(start, start + step) if k > step else slice(None)

    def part(self, slab: slice) -> np.ndarray:
        """Field at some states, (n_states or 1, n_rows or 1, *shape)."""
        parts = [
            None if self.of_row is None else self.of_row[None],
            None if self.of_state is None else self.of_state[slab, None],
            None if self.of_pair is None else self.of_pair[slab],
            self.always[None] if self.always.any() else None,
        ]
        present = [x for x in parts if x is not None]
        if not present:
            return self.always[None]
        return functools.reduce(np.add, present)

    def at(self, numbers: np.ndarray) -> np.ndarray:
        """Field of each row at one state of its own, (n_rows or 1, *shape)."""
        total = self.always
        if self.of_row is not None:
            total = total + self.of_row
        if self.of_state is not None:
            total = total + self.of_state[numbers]
        if self.of_pair is not None:
            total = total + self.of_pair[numbers, np.arange(len(numbers))]
        return total


def _scaled(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``x`` (k, n, *shape) times ``weights`` (k, n), in the precision of x."""
    return x * weights.astype(x.dtype).reshape(*weights.shape, *(1,) * (x.ndim - 2))


@dataclass(frozen=True)
class _Block:
    """Some given rows with some listed states.

    Attributes
    ----------
    given, states : dict of arrays
    fields : dict
        Of the summed groups.
    log_weights : ndarray of shape (n_states, n_rows)
        Minus the free energy.
    """

    rows: slice
    given: dict[str, np.ndarray]
    states: dict[str, np.ndarray]
    fields: dict[str, _Field]
    log_weights: np.ndarray


class _Again:
    """Blocks that are too many to keep: made anew for every pass over them."""

    def __init__(self, enumeration: Enumeration, rows: slice) -> None:
        self.enumeration = enumeration
        self.rows = rows

    def __iter__(self) -> Iterator[_Block]:
        e = self.enumeration
        for states in listed_states(e.energy, e.split.listed, e.dtype, e._chunk):
            yield e._block(self.rows, states)


def _log_partition(blocks: Iterable[_Block]) -> np.ndarray:
    """Log of the sum over states, for each row."""
    parts = []
    for block in blocks:
        top = block.log_weights.max(axis=0)
        parts.append(top + np.log(np.exp(block.log_weights - top).sum(axis=0)))
    return np.logaddexp.reduce(parts, axis=0)
