"""Couplings between groups of units: ``-E_t(x) = <W, product of the slots>``.

A term is written with index letters, one slot a group: ``"v_i h_j"`` couples every v_i with every
h_j, ``"v_i z_ir h_rk"`` shares i between v and z and r between z and h, ``"s_a s_b"`` couples the
units of one group with each other, ``"x_i y_j h_k | 200"`` is a sum of 200 rank-one factors. A
digit chooses one entry of an axis: ``"v_i z_i0 h_k"`` is gated by state 0 of each z. `Hyperedges`
lists sets of units of one group.

=================  =========================================  ==============================
class              parameters                                 energy
=================  =========================================  ==============================
`DenseTerm`        one array, an axis a distinct letter       ``-sum W_ijk x_i y_j h_k``
`EntryTerm`        the same, of chosen entries of a group     ``-sum W_ij x_i z_i0 h_j``
`FactoredTerm`     one array (*shape, rank) a slot           ``-sum_f (A_f.x)(B_f.y)(C_f.h)``
`Hyperedges`       one number an edge                         ``-sum_e w_e prod_{i in e} s_i``
=================  =========================================  ==============================

Every term answers: ``parameter_shapes``, ``value``, ``add_field``, ``add_statistics``, and which
groups it makes *lateral*, that is, not factorial given the rest.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, permutations
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from fastboltz_ext import layers, packed

from . import products
from .units import Bernoulli, Unit
from .units.binary import Binary
from .validation import unknown_group

Groups = Mapping[str, Unit]
Params = dict[str, np.ndarray]
State = Mapping[str, np.ndarray]

#: Row chunks of contractions that einsum cannot do without a large intermediate, in bytes.
_CHUNK_BYTES = 1 << 26
#: The same for intermediates that are read again at once.
_CACHE_BYTES = 1 << 21
#: Matrices of every row are kept up to so many bytes.
_ROW_MATRICES_BYTES = 1 << 28
#: Absolute weights of a unit may sum to this for exact sums (see `fastboltz_ext.packed`).
_FIXED_POINT_SUM = 1999.0
#: Up to so many states, a dense term is taken apart into one for each of them.
_FEW_STATES = 64


class Slot(NamedTuple):
    """One factor of a term: a group and the letters of its axes."""

    group: str
    letters: str

    def __str__(self) -> str:
        return f"{self.group}_{self.letters}"


class Term(ABC):
    """One coupling of an energy, bound to its groups."""

    #: The key of the term's parameters, as it was written.
    name: str
    #: Groups in the order of the slots, each once.
    groups: tuple[str, ...]
    #: Groups of which the term holds two different units.
    lateral: tuple[str, ...] = ()
    #: How often each group stands in the term.
    multiplicity: Mapping[str, int]

    @property
    @abstractmethod
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter array, by key."""

    @abstractmethod
    def value(self, params: Params, state: State, n_threads: int = 1) -> np.ndarray:
        """``<W, product of the slots>`` for each row, (n_rows,): minus the term's energy."""

    @abstractmethod
    def add_field(
        self, params: Params, state: State, group: str, out: np.ndarray, n_threads: int = 1
    ) -> None:
        """Add the term's part of the field of ``group`` to ``out``, (n_rows, *shape)."""

    @abstractmethod
    def add_statistics(
        self,
        params: Params,
        state: State,
        out: Params,
        scale: float = 1.0,
        weights: np.ndarray | None = None,
        n_threads: int = 1,
    ) -> None:
        """Add ``scale * sum_n weights_n d(-E_t(x_n)) / dW`` to the arrays of ``out``."""

    # Every row with every state of a few other groups: what depends on one of the two is not
    # computed for each pair.

    def grid_value(
        self, params: Params, rows: State, states: State, n_threads: int = 1
    ) -> np.ndarray:
        """`value` of every state with every row, (n_states, n_rows).

        ``rows`` and ``states`` hold values (n_rows, *shape) and (n_states, *shape) of some groups.
        """
        k, n = _grid_shape(rows, states)
        listed = [g for g in self.groups if g in states]
        if len(listed) == 1 and not self.lateral:
            # Linear in the one listed group: its field once a row, then products with its states.
            (g,) = listed
            field = np.zeros((n, *states[g].shape[1:]), states[g].dtype)
            self.add_field(params, rows, g, field, n_threads)
            return as_rows(states[g], np.float64) @ as_rows(field, np.float64).T
        return self.value(params, grid(self.groups, rows, states), n_threads).reshape(k, n)

    def add_grid_field(
        self,
        params: Params,
        rows: State,
        states: State,
        group: str,
        out: np.ndarray,
        n_threads: int = 1,
    ) -> None:
        """`add_field` for every state with every row: ``out`` is (n_states, n_rows, *shape)."""
        joint = grid(self.groups, rows, states)
        self.add_field(params, joint, group, out.reshape(-1, *out.shape[2:]), n_threads)

    def add_grid_statistics(
        self,
        params: Params,
        rows: State,
        states: State,
        group: str,
        x: np.ndarray,
        out: Params,
        n_threads: int = 1,
    ) -> None:
        """`add_statistics` summed over pairs, with values ``x`` (n_states, n_rows, *shape)."""
        joint = grid(self.groups, rows, states) | {group: x.reshape(-1, *x.shape[2:])}
        self.add_statistics(params, joint, out, n_threads=n_threads)

    def init(self, draw: Any) -> Params:
        """Parameters to begin with; ``draw(key, shape)`` gives small random numbers."""
        return {key: draw(key, shape) for key, shape in self.parameter_shapes.items()}

    def check(self, params: Params) -> None:  # noqa: B027 - most terms promise nothing more
        """Raise a sentence if the parameters break what the term promises beyond shapes."""

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


# -- index notation --------------------------------------------------------------------------------

_SLOT = re.compile(r"^(?P<group>[A-Za-z]\w*?)_(?P<letters>[a-z0-9]+)$")


def parse(text: str) -> tuple[list[Slot], int | None]:
    """Slots and rank (None for a dense term) of a term in index notation."""
    body, bar, rank_text = text.partition("|")
    rank = None
    if bar:
        if not rank_text.strip().isdigit() or int(rank_text) < 1:
            raise ValueError(
                f"term {text!r}: after '|' expected the number of factors, a whole number >= 1; "
                f"found {rank_text.strip()!r}."
            )
        rank = int(rank_text)
    slots = []
    for word in body.split():
        match = _SLOT.match(word)
        if match is None:
            raise ValueError(
                f"term {text!r}: cannot read {word!r}; expected a group, an underscore and one "
                f"lower-case letter an axis, as in 'v_i' or 'z_ir'."
            )
        slots.append(Slot(match["group"], match["letters"]))
    if not slots:
        raise ValueError(f"term {text!r} is empty; expected slots as in 'v_i h_j'.")
    return slots, rank


def bind(declared: str | Hyperedges, groups: Groups) -> Term:
    """The term that a declaration means for these groups."""
    if isinstance(declared, Hyperedges):
        return declared.bind(groups)
    if not isinstance(declared, str):
        raise TypeError(
            f"a term must be a string in index notation or fastboltz.Hyperedges; got {declared!r}."
        )
    slots, rank = parse(declared)
    sizes: dict[str, tuple[int, Slot]] = {}
    for slot in slots:
        if slot.group not in groups:
            raise unknown_group(f"term {declared!r}", slot.group, groups)
        shape = groups[slot.group].shape
        if len(shape) != len(slot.letters):
            raise ValueError(
                f"term {declared!r}: group {slot.group!r} has {len(shape)} axes {shape} but "
                f"{str(slot)!r} names {len(slot.letters)}; write one letter an axis."
            )
        named = [c for c in slot.letters if not c.isdigit()]
        if len(set(named)) < len(named):
            raise ValueError(
                f"term {declared!r}: {str(slot)!r} repeats a letter; each axis of a slot needs "
                f"a letter of its own."
            )
        for letter, size in zip(slot.letters, shape, strict=True):
            if letter.isdigit():
                if int(letter) >= size:
                    raise ValueError(
                        f"term {declared!r}: {str(slot)!r} chooses entry {letter} of an axis of "
                        f"{size}; entries are numbered from 0 to {size - 1}."
                    )
                continue
            known, where = sizes.setdefault(letter, (size, slot))
            if known != size:
                raise ValueError(
                    f"term {declared!r}: index {letter!r} has two sizes, {known} in "
                    f"{str(where)!r} and {size} in {str(slot)!r}; use another letter for one."
                )
    if any(c.isdigit() for s in slots for c in s.letters):
        _check_entries(declared, slots, rank)
        return EntryTerm(declared, slots, groups)
    _check_distinct_units(declared, slots, groups)
    if rank is None:
        return DenseTerm(declared, slots, groups)
    return FactoredTerm(declared, slots, groups, rank)


def _check_entries(name: str, slots: Sequence[Slot], rank: int | None) -> None:
    for s in slots:
        if s.letters.isdigit():
            raise ValueError(
                f"term {name!r}: {str(s)!r} is one entry of group {s.group!r}; keep a letter for "
                f"at least one axis."
            )
    twice = [g for g, n in Counter(s.group for s in slots).items() if n > 1]
    if twice or rank is not None:
        what = f"group {twice[0]!r} twice" if twice else f"{rank} factors"
        raise ValueError(
            f"term {name!r} chooses entries by a digit and has {what}; a term with digits is "
            f"dense and holds each group once. Write a letter in place of the digit."
        )


def _unit_letters(slot: Slot, groups: Groups) -> str:
    """The letters that tell the units of a slot apart (without those of one-hot states)."""
    return slot.letters[: len(groups[slot.group].unit_shape)]


def _check_distinct_units(name: str, slots: Sequence[Slot], groups: Groups) -> None:
    for a, b in combinations(slots, 2):
        if a.group == b.group and _unit_letters(a, groups) == _unit_letters(b, groups):
            raise ValueError(
                f"term {name!r} holds the same unit of group {a.group!r} twice ({a} and {b}); "
                f"the square of a unit belongs to its base energy. Use other letters for one of "
                f"them, or drop it."
            )


# -- what is left of a term while groups are held --------------------------------------------------


@dataclass(frozen=True, eq=False)
class RowMatrices:
    """A matrix between two groups for every row: ``-E(x_n) = x_n' W_n y_n``.

    A term of three groups is that while one of them is held, ``W_n = sum_r u_nr W_r``. Sums over
    the held units are made once then, and not in every sweep.

    Attributes
    ----------
    groups : (str, str)
    matrices : ndarray of shape (n_rows, size of the first, size of the second)
    """

    groups: tuple[str, str]
    matrices: np.ndarray

    def add_field(
        self, params: Params, state: State, group: str, out: np.ndarray, n_threads: int = 1
    ) -> None:
        """Add the part of the field of ``group`` to ``out``, as `Term.add_field`."""
        first, second = self.groups
        target, dtype = as_rows(out), self.matrices.dtype
        # One small product a row, each by BLAS at one thread: no threads of ours pay here.
        if group == second:
            target += (as_rows(state[first], dtype)[:, None, :] @ self.matrices)[:, 0]
        else:
            target += (self.matrices @ as_rows(state[second], dtype)[:, :, None])[:, :, 0]


# -- dense -----------------------------------------------------------------------------------------


class DenseTerm(Term):
    """A full array of weights: ``-E(x) = sum W_ijk x_i y_j h_k``, and so on.

    Where a group stands in several slots ("s_a s_b"), W is symmetric under their exchange and
    zero wherever two slots are the same unit, and each set of units counts once:
    ``-E(s) = sum_{a<b} W_ab s_a s_b``.
    """

    def __init__(self, name: str, slots: Sequence[Slot], groups: Groups) -> None:
        self.name = name
        self.slots = tuple(slots)
        self.units = dict(groups)
        self.groups = tuple(dict.fromkeys(s.group for s in slots))
        self.multiplicity = Counter(s.group for s in slots)
        self.lateral = tuple(g for g in self.groups if self.multiplicity[g] > 1)
        sizes = {
            letter: size
            for s in slots
            for letter, size in zip(s.letters, groups[s.group].shape, strict=True)
        }
        self.letters = "".join(sizes)
        self.shape = tuple(sizes.values())
        #: Two slots without a shared letter: a plain matrix product.
        self.is_pair = len(slots) == 2 and len(self.letters) == sum(len(s.letters) for s in slots)
        #: Axis permutations of W that exchange slots of one group, the identity among them.
        self.exchanges = self._exchanges()
        #: Each set of units occurs so often in the full array.
        self.copies = len(self.exchanges)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.name: self.shape}

    def _is_exchangeable(self, group: str) -> bool:
        """Whether the slots of a group play the same part: no other group names their letters."""
        slots = [s for s in self.slots if s.group == group]
        own = {x for s in slots for x in s.letters}
        common = set.intersection(*(set(s.letters) for s in slots))
        elsewhere = {x for s in self.slots if s.group != group for x in s.letters}
        return not (own - common) & elsewhere

    def _exchanges(self) -> list[tuple[int, ...]]:
        found = [tuple(range(len(self.letters)))]
        for g in self.lateral:
            slots = [s for s in self.slots if s.group == g]
            if not self._is_exchangeable(g):
                continue
            moves = []
            for order in permutations(slots):
                move: dict[str, str] = {}
                for source, target in zip(slots, order, strict=True):
                    pairs = zip(source.letters, target.letters, strict=True)
                    if any(move.setdefault(a, b) != b for a, b in pairs):
                        raise ValueError(
                            f"term {self.name!r}: the slots of group {g!r} share a letter on "
                            f"different axes, so they cannot be exchanged. Use other letters."
                        )
                moves.append(tuple(self.letters.index(move.get(x, x)) for x in self.letters))
            found = [tuple(a[i] for i in b) for a in found for b in moves]
        return found

    @cached_property
    def _distinct(self) -> np.ndarray:
        """Where no two slots of one group are the same unit, broadcastable to W."""
        mask = np.ones((1,) * len(self.shape), dtype=bool)
        for a, b in combinations(self.slots, 2):
            if a.group != b.group:
                continue
            same = np.ones((1,) * len(self.shape), dtype=bool)
            letters = zip(_unit_letters(a, self.units), _unit_letters(b, self.units), strict=True)
            for x, y in letters:
                if x == y:
                    continue
                size = self.shape[self.letters.index(x)]
                shape = [size if z in (x, y) else 1 for z in self.letters]
                same = same & np.eye(size, dtype=bool).reshape(shape)
            mask = mask & ~same
        return mask

    def distinct_matrix(self) -> np.ndarray:
        """Where the units of a lateral pair differ, as a matrix like `matrix`."""
        a, b = (self.units[s.group].size for s in self.slots)
        return np.broadcast_to(self._distinct, self.shape).reshape(a, b)

    def symmetrized(self, w: np.ndarray) -> np.ndarray:
        """The symmetric part of ``w``, zero where two slots are the same unit."""
        if not self.lateral:
            return w
        mean = sum(np.transpose(w, e) for e in self.exchanges) / self.copies
        return (mean * self._distinct).astype(w.dtype, copy=False)

    def init(self, draw: Any) -> Params:
        w = draw(self.name, self.shape)
        if self.lateral:
            # The average of n independent draws is sqrt(n) smaller; the scale is kept.
            w = self.symmetrized(w) * np.asarray(np.sqrt(self.copies), dtype=w.dtype)
        return {self.name: w}

    def check(self, params: Params) -> None:
        if not self.lateral:
            return
        w = params[self.name]
        exact = self.symmetrized(w)
        if not np.allclose(w, exact, rtol=1e-5, atol=1e-6 * (np.abs(w).max(initial=0) + 1e-30)):
            raise ValueError(
                f"term {self.name!r}: W must be symmetric under exchange of "
                f"{' and '.join(str(s) for s in self.slots if s.group in self.lateral)} and zero "
                f"where they are the same unit. energy.symmetrized(params) makes it so."
            )

    def matrix(self, params: Params, dtype: Any = None) -> np.ndarray:
        """Weights of a pair as a C-contiguous matrix: a view where they are that already."""
        w = params[self.name]
        a, b = (self.units[s.group].size for s in self.slots)
        return np.ascontiguousarray(w, dtype=dtype or w.dtype).reshape(a, b)

    def add_field(
        self, params: Params, state: State, group: str, out: np.ndarray, n_threads: int = 1
    ) -> None:
        places = [i for i, s in enumerate(self.slots) if s.group == group]
        factor = 1 / self.copies
        if self._is_exchangeable(group):
            # Every slot of the group receives the same, so one serves for all.
            factor *= len(places)
            places = places[:1]
        for at in places:
            others = [s for i, s in enumerate(self.slots) if i != at]
            if self.is_pair:
                products.product(
                    self.units[others[0].group],
                    as_rows(state[others[0].group], out.dtype),
                    self.matrix(params, out.dtype),
                    as_rows(out),
                    transpose=at == 0,
                    beta=1.0,
                    n_threads=n_threads,
                )
                continue
            w = params[self.name]
            if not others:
                out += w
                continue
            if self._add_pointwise_field(params, state, at, out, n_threads):
                continue
            if self._add_gated_field(params, state, at, out, n_threads):
                continue
            inputs = ",".join([*("N" + s.letters for s in others), self.letters])
            spec = f"{inputs}->N{self.slots[at].letters}"
            for rows in _chunks(len(out), w.nbytes):
                part = _contract(spec, *(state[s.group][rows] for s in others), w)
                out[rows] += part if factor == 1 else factor * part

    def value(self, params: Params, state: State, n_threads: int = 1) -> np.ndarray:
        # The field of the largest slot's group, times that group: as cheap as a field.
        at = max(range(len(self.slots)), key=lambda i: self.units[self.slots[i].group].size)
        group = self.slots[at].group
        x = state[group]
        field = np.zeros(x.shape, dtype=x.dtype)
        self.add_field(params, state, group, field, n_threads)
        # A group that stands m times gets each product of its units m times.
        return np.einsum("na,na->n", *_wide(x, field)) / self.multiplicity[group]

    def add_statistics(
        self,
        params: Params,
        state: State,
        out: Params,
        scale: float = 1.0,
        weights: np.ndarray | None = None,
        n_threads: int = 1,
    ) -> None:
        target = out[self.name]
        if self.is_pair and not self.lateral:
            units = (self.units[self.slots[0].group], self.units[self.slots[1].group])
            x, y = (as_rows(state[s.group], target.dtype) for s in self.slots)
            products.outer(
                units,
                x,
                y,
                target.reshape(units[0].size, units[1].size),
                scale=scale,
                weights=weights,
                n_threads=n_threads,
            )
            return
        if self._add_pointwise_statistics(state, target, scale, weights, n_threads):
            return
        if self._add_gated_statistics(state, target, scale, weights, n_threads):
            return
        first = state[self.slots[0].group]
        if weights is not None:
            first = first * weights.reshape(-1, *(1,) * (first.ndim - 1)).astype(first.dtype)
        inputs = ",".join("N" + s.letters for s in self.slots)
        others = [state[s.group] for s in self.slots[1:]]
        for rows in _chunks(len(first), target.nbytes):
            part = _contract(f"{inputs}->{self.letters}", first[rows], *(x[rows] for x in others))
            if self.lateral:
                part = part * self._distinct
            target += (scale * part).astype(target.dtype, copy=False)

    def row_matrices(
        self, params: Params, state: State, held: Sequence[str], n_threads: int = 1
    ) -> RowMatrices | None:
        """What is left of the term while some groups are held; None of one that is no such term.

        That is three slots or more without a shared letter, of which two are free, and rows whose
        matrices fit into memory.
        """
        free = [s for s in self.slots if s.group not in held]
        still = [s for s in self.slots if s.group in held]
        distinct = len(self.letters) == sum(len(s.letters) for s in self.slots)
        if self.lateral or not distinct or len(free) != 2 or not still:
            return None
        w = params[self.name]
        gate = np.ascontiguousarray(self._gate(state, still, w.dtype))
        first, second = (self.units[s.group].size for s in free)
        if len(gate) * first * second * w.itemsize > _ROW_MATRICES_BYTES:
            return None
        flat = np.ascontiguousarray(self._arranged(w, [*free, *still])).reshape(first * second, -1)
        matrices = np.empty((len(gate), first * second), w.dtype)
        layers.product(gate, flat, matrices, transpose=True, n_threads=n_threads)
        groups = (free[0].group, free[1].group)
        return RowMatrices(groups, matrices.reshape(-1, first, second))

    # -- shared indices: a plain matrix between products, unit by unit --------------------------

    @cached_property
    def sides(self) -> tuple[list[Slot], list[Slot]] | None:
        """Slots by their letters, where there are two kinds with no letter in common, or one.

        "h_k v_i z_i" is a matrix W_ki between h and the products v_i z_i. With one kind, as in
        "v_i z_i", the second list is empty and the term a sum over single products.
        """
        kinds: dict[str, list[Slot]] = {}
        for s in self.slots:
            kinds.setdefault(s.letters, []).append(s)
        if (
            self.lateral
            or len(kinds) > 2
            or (len(kinds) == 2 and set.intersection(*map(set, kinds)))
        ):
            return None
        first, *second = kinds.values()
        return first, [s for side in second for s in side]

    def _pointwise(self, state: State, slots: Sequence[Slot], dtype: Any) -> np.ndarray:
        """Product of some slots with the same letters, as rows."""
        x = as_rows(state[slots[0].group], dtype)
        for s in slots[1:]:
            x = x * as_rows(state[s.group], dtype)
        return x

    def _product_unit(self, slots: Sequence[Slot]) -> Unit | None:
        """A unit type whose states are the products of the slots' states, where it has bits."""
        units = [self.units[s.group] for s in slots]
        # Products of {0, 1} are {0, 1}, and those of {-1, 1} are {-1, 1}.
        is_one_type = len({type(u) for u in units}) == 1 and isinstance(units[0], Binary)
        return units[0] if is_one_type or len(units) == 1 else None

    def _add_pointwise_field(
        self, params: Params, state: State, at: int, out: np.ndarray, n_threads: int
    ) -> bool:
        """`add_field` where the term is a matrix between products of slots."""
        if self.sides is None:
            return False
        here, w = self.slots[at], params[self.name]
        if not self.sides[1]:
            x = self._pointwise(state, [s for s in self.slots if s is not here], out.dtype)
            out += x.reshape(out.shape) * _typed(w, out.dtype)
            return True
        transpose = here in self.sides[0]
        mine, others = self.sides if transpose else self.sides[::-1]
        gates = [s for s in mine if s is not here]
        x = self._pointwise(state, others, out.dtype)
        first, second = (self.units[side[0].group].size for side in self.sides)
        w = _typed(w, out.dtype).reshape(first, second)
        target, unit = as_rows(out), self._product_unit(others)
        if not gates:
            products.product(unit, x, w, target, transpose=transpose, beta=1.0, n_threads=n_threads)
            return True
        field = np.empty_like(target)
        products.product(unit, x, w, field, transpose=transpose, n_threads=n_threads)
        field *= self._pointwise(state, gates, out.dtype)
        target += field
        return True

    def _add_pointwise_statistics(
        self,
        state: State,
        target: np.ndarray,
        scale: float,
        weights: np.ndarray | None,
        n_threads: int,
    ) -> bool:
        """`add_statistics` where the term is a matrix between products of slots."""
        if self.sides is None:
            return False
        if not self.sides[1]:
            x, y = (self._pointwise(state, s, target.dtype) for s in _halves(self.slots))
            if weights is not None:
                y = y * weights[:, None].astype(y.dtype)
            target += scale * np.einsum("na,na->a", x, y).reshape(target.shape)
            return True
        x, y = (self._pointwise(state, side, target.dtype) for side in self.sides)
        products.outer(
            (self._product_unit(self.sides[0]), self._product_unit(self.sides[1])),
            x,
            y,
            target.reshape(x.shape[1], y.shape[1]),
            scale=scale,
            weights=weights,
            n_threads=n_threads,
        )
        return True

    # -- third and higher order on bits --------------------------------------------------------

    def _looked_up(
        self, state: State, slots: Sequence[Slot], dtype: Any
    ) -> tuple[Slot, packed.Bits] | None:
        """The largest slot whose values are bits, if products of three and more may go by bits."""
        distinct = len(self.letters) == sum(len(s.letters) for s in self.slots)
        if self.lateral or not distinct or len(self.slots) < 3 or dtype != np.float32:
            return None
        n_weights = math.prod(self.shape)
        for s in sorted(slots, key=lambda s: -self.units[s.group].size):
            bits = products.as_bits(self.units[s.group], as_rows(state[s.group], dtype), n_weights)
            if bits is not None:
                return s, bits
        return None

    def _arranged(self, x: np.ndarray, slots: Sequence[Slot]) -> np.ndarray:
        """A view of W with its axes in the order of these slots."""
        return x.transpose([self.letters.index(c) for s in slots for c in s.letters])

    def _gate(self, state: State, gates: Sequence[Slot], dtype: Any) -> np.ndarray:
        """Products of the gating units, (n_rows, product of their sizes)."""
        gate = as_rows(state[gates[0].group], dtype)
        for s in gates[1:]:
            x = as_rows(state[s.group], dtype)
            gate = (gate[:, :, None] * x[:, None, :]).reshape(len(x), -1)
        return gate

    def _add_gated_field(
        self, params: Params, state: State, at: int, out: np.ndarray, n_threads: int
    ) -> bool:
        """`add_field` by look-ups of one binary group, a matrix for each unit that gates it."""
        here, w = self.slots[at], params[self.name]
        others = [s for s in self.slots if s is not here]
        found = self._looked_up(state, others, out.dtype) if w.dtype == out.dtype else None
        if found is None:
            return False
        inner, bits = found
        gates = [s for s in others if s is not inner]
        shape = (-1, bits.shape[1], out[0].size)
        matrices = self._arranged(w, [*gates, inner, here]).reshape(shape)
        target = out.reshape(len(out), -1)
        field = np.empty_like(target)
        gate = self._gate(state, gates, out.dtype)
        largest = packed.gated(bits, gate, matrices, field, n_threads=n_threads)
        # Sums over the units that are looked up must stay in the range of fixed point.
        if not largest * shape[1] < _FIXED_POINT_SUM and not (
            np.abs(matrices).sum(axis=1).max(initial=0) < _FIXED_POINT_SUM
        ):
            return False
        target += field
        return True

    def _add_gated_statistics(
        self,
        state: State,
        target: np.ndarray,
        scale: float,
        weights: np.ndarray | None,
        n_threads: int,
    ) -> bool:
        """`add_statistics` by look-ups of one binary group, one product for each gate."""
        found = self._looked_up(state, self.slots, target.dtype)
        if found is None:
            return False
        inner, bits = found
        n = len(bits)
        *gates, other = sorted(
            (s for s in self.slots if s is not inner), key=lambda s: self.units[s.group].size
        )
        gate = self._gate(state, gates, target.dtype)
        y = as_rows(state[other.group], target.dtype)
        if weights is not None:
            y = y * weights[:, None].astype(y.dtype)
        places = self._arranged(target, [*gates, inner, other])
        total = np.zeros((gate.shape[1], bits.shape[1], y.shape[1]), dtype=np.float32)
        how = {"scale": scale, "n_threads": n_threads}
        if np.count_nonzero(gate) < gate.size / 4:
            for g, part in zip(gate.T, total, strict=True):
                on = np.flatnonzero(g)
                if len(on) and not packed.outer(bits.take(on), y[on] * g[on, None], part, **how):
                    return False
        else:
            for some in _chunks(gate.shape[1], y.nbytes, _CACHE_BYTES):
                both = (gate[:, some, None] * y[:, None, :]).reshape(n, -1)
                part = np.empty((bits.shape[1], both.shape[1]), dtype=np.float32)
                if not packed.outer(bits, both, part, **how):
                    return False
                total[some] = part.reshape(bits.shape[1], -1, y.shape[1]).swapaxes(0, 1)
        places += total.reshape(places.shape)
        return True

    # -- every row with every state ------------------------------------------------------------

    def _rest(self, states: State) -> DenseTerm | None:
        """What is left of the term for one state of some groups; None to look at every pair.

        For a state of the label, ``v_i h_j y_k`` is ``v_i h_j`` with weights of its own.
        """
        if self.lateral or len(next(iter(states.values()))) > _FEW_STATES:
            return None
        held = tuple(g for g in self.groups if g in states)
        if held not in self._rests:
            slots = [s for s in self.slots if s.group not in held]
            self._rests[held] = DenseTerm(self.name, slots, self.units)
        return self._rests[held]

    @cached_property
    def _rests(self) -> dict[tuple[str, ...], DenseTerm]:
        return {}

    def _slice(self, rest: DenseTerm, states: State, number: int) -> tuple[Any, ...] | None:
        """Where the weights that one state leaves stand in W; None if they are a sum of several."""
        index: dict[str, int] = {}
        for slot in self.slots:
            if slot.group not in states:
                continue
            x = states[slot.group][number]
            if set(slot.letters) & set(rest.letters) or np.count_nonzero(x) != 1 or x.max() != 1:
                return None
            index |= zip(slot.letters, np.unravel_index(x.argmax(), x.shape), strict=True)
        return tuple(index.get(letter, slice(None)) for letter in self.letters)

    def _gates(self, states: State, number: int) -> tuple[str, list[np.ndarray]]:
        slots = [s for s in self.slots if s.group in states]
        return ",".join(s.letters for s in slots), [states[s.group][number] for s in slots]

    def add_grid_field(
        self,
        params: Params,
        rows: State,
        states: State,
        group: str,
        out: np.ndarray,
        n_threads: int = 1,
    ) -> None:
        states = {g: x for g, x in states.items() if g in self.groups}
        rest = self._rest(states)
        if rest is None:
            super().add_grid_field(params, rows, states, group, out, n_threads)
            return
        w = params[self.name]
        for number, part in enumerate(out):
            where = self._slice(rest, states, number)
            if where is not None:
                left = w[where]
            else:
                letters, gates = self._gates(states, number)
                left = np.einsum(f"{self.letters},{letters}->{rest.letters}", w, *gates)
            rest.add_field({rest.name: left}, rows, group, part, n_threads)

    def add_grid_statistics(
        self,
        params: Params,
        rows: State,
        states: State,
        group: str,
        x: np.ndarray,
        out: Params,
        n_threads: int = 1,
    ) -> None:
        states = {g: s for g, s in states.items() if g in self.groups}
        rest = self._rest(states)
        if rest is None:
            super().add_grid_statistics(params, rows, states, group, x, out, n_threads)
            return
        target = out[self.name]
        for number, part in enumerate(x):
            state = {**rows, group: part}
            where = self._slice(rest, states, number)
            if where is not None and target[where].flags.c_contiguous:
                rest.add_statistics(params, state, {rest.name: target[where]}, n_threads=n_threads)
                continue
            left = np.zeros(rest.shape, target.dtype)
            rest.add_statistics(params, state, {rest.name: left}, n_threads=n_threads)
            if where is not None:
                target[where] += left
            else:
                letters, gates = self._gates(states, number)
                target += np.einsum(f"{rest.letters},{letters}->{self.letters}", left, *gates)

    def add_pair_statistics(
        self, state: State, out: Params, scale: float = 1.0, n_threads: int = 1
    ) -> None:
        """Statistics of a plain pair and of its two groups' biases, in one call."""
        a, b = (s.group for s in self.slots)
        target = out[self.name]
        products.outer(
            (self.units[a], self.units[b]),
            as_rows(state[a], target.dtype),
            as_rows(state[b], target.dtype),
            target.reshape(self.units[a].size, self.units[b].size),
            scale=scale,
            left=out[a].reshape(-1),
            right=out[b].reshape(-1),
            n_threads=n_threads,
        )


# -- chosen entries --------------------------------------------------------------------------------


class EntryTerm(Term):
    """A dense term of chosen entries of its groups: ``"h_k v_i z_i0"`` meets state 0 of each z.

    So the states of a one-hot unit can gate couplings of different sizes.
    """

    def __init__(self, name: str, slots: Sequence[Slot], groups: Groups) -> None:
        self.name = name
        self.slots = tuple(slots)
        self.groups = tuple(s.group for s in slots)
        self.multiplicity = Counter(self.groups)
        #: Group -> where the chosen entries stand in its values.
        self.index: dict[str, tuple[Any, ...]] = {}
        units, plain = dict(groups), []
        for s in slots:
            letters = "".join(c for c in s.letters if not c.isdigit())
            plain.append(Slot(s.group, letters))
            if letters != s.letters:
                at = [int(c) if c.isdigit() else slice(None) for c in s.letters]
                self.index[s.group] = (slice(None), *at)
                units[s.group] = _entries(groups[s.group], s.letters)
        self.dense = DenseTerm(name, plain, units)

    @cached_property
    def sides(self) -> tuple[list[Slot], list[Slot]] | None:
        """As those of `DenseTerm`, with the digits."""
        if (sides := self.dense.sides) is None:
            return None
        slot = {s.group: s for s in self.slots}
        first, second = ([slot[s.group] for s in side] for side in sides)
        return first, second

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return self.dense.parameter_shapes

    def _chosen(self, state: State) -> dict[str, np.ndarray]:
        return {
            g: state[g][self.index[g]] if g in self.index else state[g]
            for g in self.groups
            if g in state
        }

    def value(self, params: Params, state: State, n_threads: int = 1) -> np.ndarray:
        return self.dense.value(params, self._chosen(state), n_threads)

    def add_field(
        self, params: Params, state: State, group: str, out: np.ndarray, n_threads: int = 1
    ) -> None:
        if group not in self.index:
            self.dense.add_field(params, self._chosen(state), group, out, n_threads)
            return
        at = self.index[group]
        part = np.zeros(out[at].shape, out.dtype)
        self.dense.add_field(params, self._chosen(state), group, part, n_threads)
        out[at] += part

    def add_statistics(
        self,
        params: Params,
        state: State,
        out: Params,
        scale: float = 1.0,
        weights: np.ndarray | None = None,
        n_threads: int = 1,
    ) -> None:
        self.dense.add_statistics(params, self._chosen(state), out, scale, weights, n_threads)


def _entries(unit: Unit, letters: str) -> Unit:
    """What the chosen entries of a group are by themselves."""
    axes = range(len(unit.shape))
    shape = [unit.shape[a] for a in axes if not letters[a].isdigit()]
    n_axes = len(unit.unit_shape)
    if letters[n_axes:].isdigit():  # the states of a one-hot unit, each 0 or 1
        return Bernoulli(*shape)
    return type(unit)(*shape)


# -- factored --------------------------------------------------------------------------------------


class FactoredTerm(Term):
    """A weight array of rank F, never formed.

    ``-E(x) = sum_f (A_f . x)(B_f . y)(C_f . h)``. The field of h is ``C (A'x * B'y)``:
    O((I + J + K) F) in place of O(I J K) (Memisevic & Hinton, Neural Computation 22, 2010).
    """

    def __init__(self, name: str, slots: Sequence[Slot], groups: Groups, rank: int) -> None:
        self.name = name
        self.slots = tuple(slots)
        self.units = dict(groups)
        self.rank = rank
        self.groups = tuple(s.group for s in slots)
        letters = [x for s in slots for x in s.letters]
        if len(set(self.groups)) < len(slots) or len(set(letters)) < len(letters):
            twice = next((g for g, n in Counter(self.groups).items() if n > 1), None)
            what = f"group {twice!r} twice" if twice else "a letter in two slots"
            raise ValueError(
                f"term {name!r} is factored and names {what}, so it is not a product of one sum "
                f"a slot. Drop '| {rank}' for the dense term, or list the units with Hyperedges."
            )
        self.multiplicity = Counter(self.groups)

    def key(self, slot: Slot) -> str:
        """Key of the factors of one slot."""
        return f"{self.name} @ {slot}"

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.key(s): (*self.units[s.group].shape, self.rank) for s in self.slots}

    def init(self, draw: Any) -> Params:
        # The product of m factors summed over the rank has the scale of the draw when each factor
        # has its m-th root, up to the square root of the rank.
        m = len(self.slots)
        scale = draw.scale * self.rank**-0.5
        return {
            key: draw(key, shape) * np.asarray(scale ** (1 / m) / draw.scale, draw.dtype)
            for key, shape in self.parameter_shapes.items()
        }

    def _factors(self, params: Params, slot: Slot) -> np.ndarray:
        return params[self.key(slot)].reshape(-1, self.rank)

    def _projection(
        self, params: Params, state: State, slots: Iterable[Slot], n_threads: int
    ) -> np.ndarray:
        """Product over slots of (factors . units): (n_rows, rank)."""
        total: np.ndarray | None = None
        for slot in slots:
            x = as_rows(state[slot.group])
            part = np.empty((len(x), self.rank), dtype=x.dtype)
            w = _typed(self._factors(params, slot), x.dtype)
            products.product(self.units[slot.group], x, w, part, n_threads=n_threads)
            total = part if total is None else np.multiply(total, part)
        assert total is not None
        return total

    def value(self, params: Params, state: State, n_threads: int = 1) -> np.ndarray:
        return self._projection(params, state, self.slots, n_threads).sum(axis=1, dtype=np.float64)

    def _others(self, slot: Slot) -> list[Slot]:
        return [s for s in self.slots if s != slot]

    def add_field(
        self, params: Params, state: State, group: str, out: np.ndarray, n_threads: int = 1
    ) -> None:
        slot = next(s for s in self.slots if s.group == group)
        if len(self.slots) == 1:
            out += self._factors(params, slot).sum(axis=1).reshape(out.shape[1:])
            return
        rest = self._projection(params, state, self._others(slot), n_threads)
        layers.product(
            _typed(rest, out.dtype),
            _typed(self._factors(params, slot), out.dtype),
            as_rows(out),
            transpose=True,
            beta=1.0,
            n_threads=n_threads,
        )

    def add_statistics(
        self,
        params: Params,
        state: State,
        out: Params,
        scale: float = 1.0,
        weights: np.ndarray | None = None,
        n_threads: int = 1,
    ) -> None:
        for slot in self.slots:
            x = as_rows(state[slot.group])
            others = self._others(slot)
            rest = (
                self._projection(params, state, others, n_threads)
                if others
                else np.ones((len(x), self.rank), dtype=x.dtype)
            )
            if weights is not None:
                rest = rest * weights[:, None].astype(rest.dtype)
            target = out[self.key(slot)]
            products.outer(
                (self.units[slot.group], None),
                _typed(x, target.dtype),
                _typed(rest, target.dtype),
                target.reshape(-1, self.rank),
                scale=scale,
                n_threads=n_threads,
            )

    # -- every row with every state ------------------------------------------------------------

    def _shares(
        self, params: Params, state: State, but: Slot | None, n_threads: int
    ) -> np.ndarray | float:
        """Product over the slots of some groups, one aside, of (factors . units)."""
        slots = [s for s in self.slots if s.group in state and s != but]
        return self._projection(params, state, slots, n_threads) if slots else 1.0

    def add_grid_field(
        self,
        params: Params,
        rows: State,
        states: State,
        group: str,
        out: np.ndarray,
        n_threads: int = 1,
    ) -> None:
        slot = next(s for s in self.slots if s.group == group)
        of_state = np.asarray(self._shares(params, states, None, n_threads))
        rest = of_state[:, None] * self._shares(params, rows, None, n_threads)
        layers.product(
            _typed(rest.reshape(-1, self.rank), out.dtype),
            _typed(self._factors(params, slot), out.dtype),
            out.reshape(-1, self.units[group].size),
            transpose=True,
            beta=1.0,
            n_threads=n_threads,
        )

    def add_grid_statistics(
        self,
        params: Params,
        rows: State,
        states: State,
        group: str,
        x: np.ndarray,
        out: Params,
        n_threads: int = 1,
    ) -> None:
        flat = x.reshape(-1, *x.shape[2:])
        slot = next(s for s in self.slots if s.group == group)
        of_pair = self._projection(params, {group: flat}, [slot], n_threads)
        of_pair = of_pair.reshape(*x.shape[:2], self.rank)
        of_row = self._shares(params, rows, None, n_threads)
        of_state = np.asarray(self._shares(params, states, None, n_threads))[:, None]
        for s in self.slots:
            if s.group == group:
                value, rest = flat, (of_state * of_row).reshape(-1, self.rank)
            elif s.group in rows:
                value = rows[s.group]
                rest = (of_state * of_pair).sum(axis=0) * self._shares(params, rows, s, n_threads)
            else:
                value = states[s.group]
                rest = (of_row * of_pair).sum(axis=1) * self._shares(params, states, s, n_threads)
            target = out[self.key(s)]
            layers.outer(
                as_rows(value, target.dtype),
                _typed(rest, target.dtype),
                target.reshape(-1, self.rank),
                beta=1.0,
                n_threads=n_threads,
            )


# -- hyperedges ------------------------------------------------------------------------------------


def as_edges(edges: Any, what: str, place: str) -> list[tuple[int, ...]]:
    """Edges as tuples of whole numbers, or a sentence on one that is none or stands twice.

    Parameters
    ----------
    edges : iterable of iterables of int
    what : str
        What the list is called in a sentence.
    place : str
        What one of its edges is called, ``{}`` its number.
    """
    if isinstance(edges, (str, bytes, Mapping)) or not isinstance(edges, Iterable):
        raise TypeError(
            f"{what} must list sets of unit numbers, e.g. [(0, 1), (0, 2, 4)]; got {edges!r}."
        )
    if isinstance(edges, np.ndarray) and edges.ndim == 2 and edges.dtype.kind in "iu":
        # Large lattices come as arrays; what is wrong with one, the loop below says.
        units = np.sort(edges, axis=1)
        once = units.shape[1] > 0 and (np.diff(units, axis=1) > 0).all()
        if once and len(set(map(tuple, units.tolist()))) == len(units):
            return list(map(tuple, edges.tolist()))
    found: dict[frozenset[int], int] = {}
    out = []
    for number, given in enumerate(edges):
        here = place.format(number)
        is_set = isinstance(given, Iterable) and not isinstance(given, (str, bytes))
        members = list(given) if is_set else []
        if not is_set or any(isinstance(i, bool) or not isinstance(i, Integral) for i in members):
            raise TypeError(f"{here} is {given!r}; an edge is a set of unit numbers, e.g. (0, 2).")
        edge = tuple(int(i) for i in members)
        key = frozenset(edge)
        if len(edge) == 0 or len(key) < len(edge):
            raise ValueError(
                f"{here} is {edge}; an edge needs at least one unit, and each only once."
            )
        before = found.setdefault(key, number)
        if before != number:
            raise ValueError(
                f"{here} is {edge}, the same units as {place.format(before)}; their weights would "
                f"be one. Drop one of them."
            )
        out.append(edge)
    return out


class Hyperedges(Term):
    """``-E(s) = sum_e w_e prod_{i in e} s_i`` over a list of sets of units of one group.

    Parameters
    ----------
    group : str
        The group; its units are numbered in C order.
    edges : sequence of sequences of int
        Each a set of different units, and none twice; a set may have any number of units, and edges
        of one term need not have the same number.
    name : str, optional
        Key of the weights; the default is ``hyperedges(group)``. Two lists over one group need
        names of their own.

    References
    ----------
    Sejnowski, "Higher-order Boltzmann machines", AIP Conference Proceedings 151, 1987.
    """

    def __init__(self, group: str, edges: Iterable[Sequence[int]], name: str | None = None) -> None:
        self.group = group
        self.groups = (group,)
        self.name = name or f"hyperedges({group})"
        self.edges = as_edges(edges, self.name, f"{self.name}: edge {{}}")
        longest = max(map(len, self.edges), default=0)
        self.multiplicity = {group: longest}
        self.lateral = (group,) if longest > 1 else ()

    def bind(self, groups: Groups) -> Hyperedges:
        """Check the edges against the group."""
        if self.group not in groups:
            raise unknown_group(self.name, self.group, groups)
        unit = groups[self.group]
        if unit.event_axes:
            raise ValueError(
                f"{self.name}: hyperedges join units that are single numbers; group "
                f"{self.group!r} is {unit}. Write a term such as 'z_ir z_js' instead."
            )
        for number, edge in enumerate(self.edges):
            if min(edge) < 0 or max(edge) >= unit.size:
                raise ValueError(
                    f"{self.name}: edge {number} is {edge}, but group {self.group!r} has "
                    f"{unit.size} units, numbered from 0 to {unit.size - 1}."
                )
        return self

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.name: (len(self.edges),)}

    @cached_property
    def by_order(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Edges of each order: (their numbers, their units as an array (n_edges, order))."""
        orders = sorted({len(e) for e in self.edges})
        return [
            (
                np.array([k for k, e in enumerate(self.edges) if len(e) == m]),
                np.array([e for e in self.edges if len(e) == m]),
            )
            for m in orders
        ]

    def value(self, params: Params, state: State, n_threads: int = 1) -> np.ndarray:
        s = as_rows(state[self.group])
        w = params[self.name]
        out = np.zeros(len(s))
        for numbers, units in self.by_order:
            out += s[:, units].prod(axis=2) @ w[numbers].astype(s.dtype)
        return out

    def add_field(
        self, params: Params, state: State, group: str, out: np.ndarray, n_threads: int = 1
    ) -> None:
        s = as_rows(state[self.group]).T
        w = params[self.name].astype(out.dtype)
        field = np.zeros(s.shape, dtype=out.dtype)
        for numbers, units in self.by_order:
            for place in range(units.shape[1]):
                others = np.delete(units, place, axis=1)
                product = s[others].prod(axis=1)
                np.add.at(field, units[:, place], w[numbers, None] * product)
        out += field.T.reshape(out.shape)

    def add_statistics(
        self,
        params: Params,
        state: State,
        out: Params,
        scale: float = 1.0,
        weights: np.ndarray | None = None,
        n_threads: int = 1,
    ) -> None:
        s = as_rows(state[self.group])
        row_weights = np.full(len(s), scale) if weights is None else scale * weights
        for numbers, units in self.by_order:
            out[self.name][numbers] += (row_weights @ s[:, units].prod(axis=2)).astype(
                out[self.name].dtype
            )


# -- helpers ---------------------------------------------------------------------------------------


def _typed(x: np.ndarray, dtype: Any) -> np.ndarray:
    if x.dtype == dtype and x.flags.c_contiguous:
        return x
    return np.ascontiguousarray(x, dtype=dtype)


def as_rows(x: np.ndarray, dtype: Any = None) -> np.ndarray:
    """Values of a group as rows of a matrix."""
    if dtype is None:
        dtype = x.dtype if x.dtype in (np.float32, np.float64) else np.float64
    if x.dtype != dtype or not x.flags.c_contiguous:
        x = np.ascontiguousarray(x, dtype=dtype)
    return x if x.ndim == 2 else x.reshape(len(x), math.prod(x.shape[1:]))


def _halves(slots: Sequence[Slot]) -> tuple[Sequence[Slot], Sequence[Slot]]:
    return slots[:1], slots[1:]


def _grid_shape(rows: State, states: State) -> tuple[int, int]:
    return len(next(iter(states.values()))), len(next(iter(rows.values())))


def grid(groups: Iterable[str], rows: State, states: State) -> dict[str, np.ndarray]:
    """Every state with every row, as n_states * n_rows joint rows, those of one state together."""
    k, n = _grid_shape(rows, states)
    joint = {g: np.tile(rows[g], (k, *(1,) * (rows[g].ndim - 1))) for g in groups if g in rows}
    return joint | {g: np.repeat(states[g], n, axis=0) for g in groups if g in states}


def _wide(*arrays: np.ndarray) -> list[np.ndarray]:
    return [as_rows(x, np.float64) for x in arrays]


def _chunks(n_rows: int, bytes_per_row: int, limit: int = _CHUNK_BYTES) -> list[slice]:
    """Fixed row chunks that bound the memory of an intermediate with these bytes a row."""
    step = max(1, limit // max(1, bytes_per_row))
    return [slice(i, min(i + step, n_rows)) for i in range(0, n_rows, step)]


@lru_cache(maxsize=512)
def _path(spec: str, shapes: tuple[tuple[int, ...], ...]) -> Any:
    operands = [np.broadcast_to(np.float64(0), s) for s in shapes]
    return np.einsum_path(spec, *operands, optimize="optimal")[0]


def _contract(spec: str, *operands: np.ndarray) -> np.ndarray:
    """Einsum along a path that is found once a shape."""
    return np.einsum(spec, *operands, optimize=_path(spec, tuple(x.shape for x in operands)))
