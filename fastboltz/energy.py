"""An energy: named groups of units, and terms that couple them.

``E(x) = sum_g base_g(x_g) - sum_t <W_t, product of the groups in t>``, and
``p(x) = exp(-E(x)) / Z``. Fields, free energies, statistics, what is factorial, what can be drawn
at the same time and what can be summed out all follow from this declaration, here, for every
model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from . import rng
from .enumeration import Enumeration
from .terms import DenseTerm, EntryTerm, Hyperedges, Params, State, Term, bind
from .units import Own, Unit
from .units.binary import Binary
from .validation import (
    check_count,
    check_number,
    check_rows,
    check_state,
    check_weights,
    lateral_group,
    missing_parameter,
    missing_state,
    not_independent,
    unknown_group,
)

#: A finite group with at most so many joint states can be drawn first, others summed out.
_SMALL_STATES = 4096


@dataclass(frozen=True)
class Conditionals:
    """What a declared energy makes easy and what it does not.

    Attributes
    ----------
    factorial : dict
        Group -> whether its units are independent given all other groups.
    blocks : list of tuples
        The Gibbs schedule: groups of one tuple are drawn at the same time.
    summable : tuple
        Groups that can be summed (or integrated) out in closed form.
    site_sweeps : tuple
        Groups that have to be drawn one unit after the other.
    joint : list of (tuple of groups, kind)
        Groups that can be drawn jointly, exactly: ``"shared index"``, site by site where they meet
        only at one index; ``"small first"``, the first group enumerated with the second summed
        out, then the second.
    kernels : dict
        Group -> the code that draws it.
    """

    declaration: str
    factorial: dict[str, bool]
    blocks: list[tuple[str, ...]]
    summable: tuple[str, ...]
    site_sweeps: tuple[str, ...]
    joint: list[tuple[tuple[str, ...], str]]
    kernels: dict[str, str]
    reasons: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        def names(groups: Iterable[str]) -> str:
            return ", ".join(groups) or "none"

        lines = [self.declaration, "", "given all other groups"]
        width = max((len(g) for g in self.factorial), default=0)
        for g, easy in self.factorial.items():
            what = "factorial" if easy else f"not factorial: {self.reasons[g]}"
            lines.append(f"  {g:<{width}}  {what}; drawn by {self.kernels[g]}")
        order = " -> ".join("{" + ", ".join(b) + "}" for b in self.blocks)
        lines += [
            f"one Gibbs sweep     {order}",
            f"can be summed out   {names(self.summable)}",
            f"needs site sweeps   {names(self.site_sweeps)}",
        ]
        for groups, kind in self.joint:
            how = "site by site" if kind == "shared index" else f"{groups[0]} first"
            lines.append(f"can be drawn jointly  {', '.join(groups)} ({how})")
        return "\n".join(lines)

    __repr__ = __str__


class Energy:
    """Groups of units and the terms that couple them.

    Parameters
    ----------
    groups : dict of str to unit type
        For example ``{"v": Bernoulli(784), "h": Bernoulli(500)}``. Every unit has a bias of its
        own besides the terms.
    terms : sequence of str or Hyperedges
        In index notation: a group, an underscore and a letter for each of its axes. A letter that
        stands in two slots is a shared index; ``| R`` makes the weights a sum of R rank-one
        factors. See `fastboltz.terms`.

    Notes
    -----
    Parameters are a flat dict of arrays. Group ``v`` has its bias under ``"v"`` and, for unit
    types with a precision, ``"v.log_precision"``; a term has its weights under its own text
    (a factored one an array a slot, ``"x_i y_j h_k | 200 @ x_i"``). A state is a dict of arrays
    (n_rows, *shape).

    Examples
    --------
    >>> import fastboltz as fb
    >>> energy = fb.Energy({"v": fb.Bernoulli(4), "h": fb.Bernoulli(3)}, terms=["v_i h_j"])
    >>> energy.parameter_shapes()
    {'v': (4,), 'h': (3,), 'v_i h_j': (4, 3)}
    >>> params = energy.init(random_state=0)
    >>> bool(energy.log_partition(params) > 0)
    True
    """

    def __init__(self, groups: Mapping[str, Unit], terms: Sequence[str | Hyperedges] = ()) -> None:
        if not isinstance(groups, Mapping):
            raise TypeError(
                f"groups must be a dict of unit types by name, e.g. {{'v': Bernoulli(784)}}; got "
                f"{type(groups).__name__}. Of pairs of name and unit type, dict(pairs) makes one."
            )
        if not groups:
            raise ValueError("an energy needs at least one group, e.g. {'v': Bernoulli(784)}.")
        for name, unit in groups.items():
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
                raise ValueError(
                    f"group name {name!r} must be a letter followed by letters, digits or '_'."
                )
            if not isinstance(unit, Unit):
                raise TypeError(
                    f"group {name!r} must be a unit type with its size, e.g. Bernoulli(784); "
                    f"got {unit!r}."
                )
        if isinstance(terms, (str, Hyperedges)):
            terms = [terms]
        self.groups: dict[str, Unit] = dict(groups)
        self.terms: tuple[Term, ...] = tuple(bind(t, self.groups) for t in terms)
        names = [t.name for t in self.terms]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"term {name!r} is declared twice; its weights would be one array. Drop one"
                    f" (Hyperedges take a name of their own)."
                )
        self._of_group: dict[str, tuple[Term, ...]] = {
            g: tuple(t for t in self.terms if g in t.groups) for g in self.groups
        }
        self._own_keys = {
            g: tuple((p, g if p == "bias" else f"{g}.{p}") for p in u.parameters)
            for g, u in self.groups.items()
        }
        self._fused = {g: self._find_fused(g) for g in self.groups}
        #: Two groups that have biases alone, and one matrix: all statistics are one call.
        self._is_plain_pair = (
            len(self.terms) == 1
            and set(self.terms[0].groups) == set(self.groups)
            and isinstance(self.terms[0], DenseTerm)
            and self.terms[0].is_pair
            and not self.terms[0].lateral
            and all(u.parameters == ("bias",) for u in self.groups.values())
        )

    def __repr__(self) -> str:
        groups = ", ".join(f"{g!r}: {u}" for g, u in self.groups.items())
        return f"Energy({{{groups}}}, terms={[t.name for t in self.terms]})"

    # -- parameters ----------------------------------------------------------------------------

    def own_key(self, group: str, parameter: str) -> str:
        """Key of a group's own parameter: the group for the bias, ``group.name`` for others."""
        return dict(self._own_keys[group])[parameter]

    def own(self, params: Mapping[str, np.ndarray], group: str) -> Own:
        """A group's own parameters, by their plain names."""
        return {p: params[key] for p, key in self._own_keys[group]}

    def own_keys(self) -> set[str]:
        """Keys of the parameters that belong to groups, not to terms."""
        return {key for keys in self._own_keys.values() for _, key in keys}

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter array, by key: groups first, then terms."""
        shapes = {self.own_key(g, p): u.shape for g, u in self.groups.items() for p in u.parameters}
        for t in self.terms:
            shapes |= t.parameter_shapes
        return shapes

    def init(
        self, random_state: Any = None, scale: float = 0.01, dtype: Any = np.float32
    ) -> Params:
        """Parameters to begin with: weights normal with standard deviation ``scale``, biases zero.

        Parameters
        ----------
        random_state : None, int, RandomState or Generator
        scale : float
            Standard deviation of the weights.
        dtype : float32 or float64
        """
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"dtype must be float32 or float64; got {np.dtype(dtype)}.")
        draw = _Draw(rng.seed_from(random_state), check_number("scale", scale, 0), np.dtype(dtype))
        params = {
            self.own_key(g, p): x.astype(dtype)
            for g, u in self.groups.items()
            for p, x in u.init().items()
        }
        for t in self.terms:
            params |= t.init(draw)
        return params

    def zeros(self, params: Mapping[str, np.ndarray]) -> Params:
        """Arrays like the parameters, all zero."""
        return {key: np.zeros(x.shape, x.dtype) for key, x in params.items()}

    def symmetrized(self, params: Mapping[str, np.ndarray]) -> Params:
        """Parameters whose lateral dense terms are symmetric and free of coincidences."""
        out = dict(params)
        for t in self.terms:
            if isinstance(t, DenseTerm):
                out[t.name] = t.symmetrized(out[t.name])
        return out

    def check_params(self, params: Mapping[str, np.ndarray]) -> None:
        """Raise a sentence if an array is missing, has a wrong shape or is not finite."""
        for key, expected in self.parameter_shapes().items():
            if key not in params:
                raise missing_parameter(key, params)
            x = params[key]
            if np.shape(x) != expected:
                raise ValueError(self._shape_sentence(key, np.shape(x), expected))
            if not np.isfinite(x).all():
                raise ValueError(
                    f"parameter {key!r} contains NaN or infinity; if it was trained, lower the "
                    f"learning rate."
                )
        for t in self.terms:
            t.check(dict(params))

    def _shape_sentence(self, key: str, got: tuple[int, ...], expected: tuple[int, ...]) -> str:
        if key in self.own_keys():
            return f"parameter {key!r} has shape {got}; expected {expected}."
        term = next(t for t in self.terms if key in t.parameter_shapes)
        if isinstance(term, DenseTerm) and len(got) == len(expected):
            axis = next(a for a in range(len(got)) if got[a] != expected[a])
            letter = term.letters[axis]
            slot = next(s for s in term.slots if letter in s.letters)
            unit = self.groups[slot.group]
            size = f"{expected[axis]} units"
            if len(unit.shape) > 1:
                size = f"size {expected[axis]} on index {letter!r}"
            return (
                f"term {term.name!r}: W has shape {got} but {slot.group} has {size}; "
                f"expected {expected}."
            )
        return f"term {term.name!r}: array {key!r} has shape {got}; expected {expected}."

    # -- structure -----------------------------------------------------------------------------

    def lateral_terms(self, group: str) -> list[Term]:
        """Terms that hold two different units of a group."""
        return [t for t in self._of_group[group] if group in t.lateral]

    def is_independent(self, groups: Sequence[str]) -> bool:
        """Whether all units of these groups are independent given the other groups."""
        return all(sum(t.multiplicity.get(g, 0) for g in groups) <= 1 for t in self.terms)

    def blocks(self, clamped: Iterable[str] = ()) -> list[tuple[str, ...]]:
        """Gibbs schedule: a greedy colouring of the graph of groups that share a term.

        A group with lateral terms stands alone in its block.
        """
        clamped = set(clamped)
        blocks: list[list[str]] = []
        for g in self.groups:
            if g in clamped:
                continue
            for block in blocks:
                if self.is_independent([*block, g]):
                    block.append(g)
                    break
            else:
                blocks.append([g])
        return [tuple(b) for b in blocks]

    def part(self, of: Iterable[str], given: Iterable[str] = ()) -> Energy:
        """The part of the energy that ``p(of | given)`` depends on.

        Free groups that meet no group of ``of`` through terms, given the given groups, are
        independent of it and cancel; so do terms of given groups alone. In a class RBM with a
        second group of hidden units g that never meets the label, ``p(y | v)`` is that of the
        model without g (Luo et al., AISTATS 2011). Parameters keep their keys.
        """
        given = set(given)
        reached, found = set(of), list(of)
        while found:
            g = found.pop()
            for t in self._of_group[g]:
                for other in t.groups:
                    if other not in given and other not in reached:
                        reached.add(other)
                        found.append(other)
        terms = [t for t in self.terms if reached & set(t.groups)]
        groups = reached.union(*(t.groups for t in terms))
        if len(groups) == len(self.groups) and len(terms) == len(self.terms):
            return self
        declared = [t if isinstance(t, Hyperedges) else t.name for t in terms]
        return Energy({g: u for g, u in self.groups.items() if g in groups}, declared)

    def fused_term(self, group: str) -> DenseTerm | None:
        """The matrix that makes a group one fused layer: binary units, one plain pair term."""
        return self._fused[group]

    def _find_fused(self, group: str) -> DenseTerm | None:
        terms = self._of_group[group]
        if len(terms) != 1 or not isinstance(self.groups[group], Binary):
            return None
        (term,) = terms
        if isinstance(term, DenseTerm) and term.is_pair and not term.lateral:
            return term
        return None

    def conditionals(self) -> Conditionals:
        """Report of what is factorial, drawn together, summed out and swept site by site."""
        lateral = {g: self.lateral_terms(g) for g in self.groups}
        kernels = {}
        for g, unit in self.groups.items():
            if lateral[g]:
                kernels[g] = "site sweeps"
            elif self.fused_term(g) is not None:
                kernels[g] = "a fused layer"
            elif isinstance(unit, Binary):
                kernels[g] = "its field, then a fused draw"
            else:
                kernels[g] = "its field, then the inverse distribution function"
        return Conditionals(
            declaration=repr(self),
            factorial={g: not lateral[g] for g in self.groups},
            blocks=self.blocks(),
            summable=tuple(g for g in self.groups if not lateral[g]),
            site_sweeps=tuple(g for g in self.groups if lateral[g]),
            joint=list(self._joint_draws),
            kernels=kernels,
            reasons={
                g: "it occurs twice in " + " and ".join(repr(t.name) for t in terms)
                for g, terms in lateral.items()
                if terms
            },
        )

    @cached_property
    def _joint_draws(self) -> list[tuple[tuple[str, ...], str]]:
        found: list[tuple[tuple[str, ...], str]] = []
        for a in self.groups:
            for b in self.groups:
                both = [t for t in self._of_group[a] if b in t.groups]
                if a == b or not both or self.lateral_terms(a) or self.lateral_terms(b):
                    continue
                if all(self._meet_at_units(t, a, b) for t in both):
                    # Site by site, the states of one of the two are listed.
                    kind, limit = "shared index", float(np.finfo(float).max)
                else:
                    kind, limit = "small first", float(np.log2(_SMALL_STATES))
                # The one with fewer states is listed, the other summed out.
                possible = self._log2_states(a) <= min(limit, self._log2_states(b))
                if possible and ((b, a), kind) not in found:
                    found.append(((a, b), kind))
        return found

    def _log2_states(self, group: str) -> float:
        states = self.groups[group].states()
        return np.inf if states is None else self.groups[group].n_units * np.log2(len(states))

    def _meet_at_units(self, term: Term, a: str, b: str) -> bool:
        if not isinstance(term, (DenseTerm, EntryTerm)):
            return False
        letters = []
        for g in (a, b):
            slot = next(s for s in term.slots if s.group == g)
            letters.append(slot.letters[: len(self.groups[g].unit_shape)])
        return letters[0] == letters[1] != ""

    # -- evaluation ----------------------------------------------------------------------------

    def _checked(
        self,
        params: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        needed: Iterable[str],
    ) -> dict[str, np.ndarray]:
        self.check_params(params)
        for g in state:
            if g not in self.groups:
                raise unknown_group("the state", g, self.groups)
        checked = {}
        for g in needed:
            if g not in state:
                raise missing_state(g, state)
            checked[g] = check_state(g, self.groups[g], state[g])
        if checked:
            check_rows(checked)
        return checked

    def _check_group(self, where: str, group: str) -> None:
        if group not in self.groups:
            raise unknown_group(where, group, self.groups)

    def value(
        self,
        params: Params,
        state: State,
        *,
        n_threads: int = 1,
        check: bool = True,
    ) -> np.ndarray:
        """Energy of each row.

        Parameters
        ----------
        params : dict of arrays
        state : dict of arrays
            All groups, each (n_rows, *shape).
        n_threads : int
            Results do not depend on it.
        check : bool, default=True
            False takes parameters and state for checked, as in a loop that has checked them.

        Returns
        -------
        ndarray of shape (n_rows,), float64
        """
        if check:
            state = self._checked(params, state, self.groups)
        total = sum(u.base(self.own(params, g), state[g]) for g, u in self.groups.items())
        for t in self.terms:
            total = total - t.value(params, state, n_threads)
        return np.asarray(total)

    def field(
        self,
        params: Params,
        state: State,
        group: str,
        *,
        n_threads: int = 1,
        check: bool = True,
    ) -> np.ndarray:
        """What a group receives from its terms: minus the change of the energy with each unit.

        The group's own base energy (its bias among it) is left aside.

        Parameters
        ----------
        state : dict of arrays
            The groups that share a term with ``group``; ``group`` itself where it is lateral.
        group : str
        n_threads, check
            As of `value`.

        Returns
        -------
        ndarray of shape (n_rows, *shape)
        """
        if check:
            self._check_group("field", group)
            needed = [h for h in self.groups if h != group and self._share(group, h)]
            if self.lateral_terms(group):
                needed.append(group)
            # A group that receives nothing has a field of zeros, one row a row of the others.
            state = self._checked(params, state, needed or [g for g in state if g != group])
        n = len(next(iter(state.values()))) if state else 1
        out = np.zeros((n, *self.groups[group].shape), dtype=params[group].dtype)
        for t in self._of_group[group]:
            t.add_field(params, state, group, out, n_threads)
        return out

    def _share(self, a: str, b: str) -> bool:
        return any(b in t.groups for t in self._of_group[a])

    def _summed(self, sum_out: str | Sequence[str]) -> tuple[str, ...]:
        """Check that groups can be summed out together."""
        groups = (sum_out,) if isinstance(sum_out, str) else tuple(sum_out)
        for g in groups:
            self._check_group("sum_out", g)
            if self.lateral_terms(g):
                raise lateral_group(g, [t.name for t in self.lateral_terms(g)])
        for t in self.terms:
            held = [g for g in groups if g in t.groups]
            if len(held) > 1:
                raise not_independent(held, t.name)
        return groups

    def free_energy(
        self,
        params: Params,
        state: State,
        sum_out: str | Sequence[str],
        *,
        n_threads: int = 1,
        check: bool = True,
    ) -> np.ndarray:
        """``-log sum exp(-E)`` over the states of the groups summed out.

        Parameters
        ----------
        state : dict of arrays
            All other groups.
        sum_out : str or sequence of str
            Factorial groups of which no term holds two.
        n_threads, check
            As of `value`.

        Returns
        -------
        ndarray of shape (n_rows,), float64
        """
        if check:
            summed = self._summed(sum_out)
            state = self._checked(params, state, [g for g in self.groups if g not in summed])
        else:
            summed = (sum_out,) if isinstance(sum_out, str) else tuple(sum_out)
        total: Any = 0.0
        for g, u in self.groups.items():
            if g in summed:
                f = self.field(params, state, g, n_threads=n_threads, check=False)
                total = total - u.cumulant(self.own(params, g), f)
            else:
                total = total + u.base(self.own(params, g), state[g])
        for t in self.terms:
            if not any(g in summed for g in t.groups):
                total = total - t.value(params, state, n_threads)
        return np.asarray(total)

    def mean(
        self,
        params: Params,
        state: State,
        group: str,
        *,
        n_threads: int = 1,
        check: bool = True,
    ) -> np.ndarray:
        """Conditional mean of a factorial group given the others, (n_rows, *shape)."""
        if check:
            self._summed(group)
        f = self.field(params, state, group, n_threads=n_threads, check=check)
        address = rng.Address(0)
        means, _ = self.groups[group].draw(
            self.own(params, group), f, address, mean=True, sample=False, n_threads=n_threads
        )
        assert means is not None
        return means

    def statistics(
        self,
        params: Params,
        state: State,
        weights: np.ndarray | None = None,
        *,
        sum_out: str | Sequence[str] = (),
        n_threads: int = 1,
    ) -> Params:
        """Average of minus the energy's derivative by each parameter.

        Parameters
        ----------
        state : dict of arrays
            All groups but those summed out.
        weights : ndarray of shape (n_rows,), optional
            Weights of the rows, normalised to sum to one.
        sum_out : str or sequence of str
            Groups that enter by their conditional expectation given the others.
        n_threads : int
            As of `value`.

        Returns
        -------
        dict of arrays like the parameters
        """
        summed = self._summed(sum_out)
        state = self._checked(params, state, [g for g in self.groups if g not in summed])
        n = check_rows(state, at_least=1) if state else 1
        w = np.full(n, 1 / n) if weights is None else check_weights(weights, n)
        out = self.zeros(params)
        self.add_statistics(params, state, out, weights=w, sum_out=summed, n_threads=n_threads)
        return out

    def add_statistics(
        self,
        params: Params,
        state: State,
        out: Params,
        *,
        scale: float = 1.0,
        weights: np.ndarray | None = None,
        sum_out: Sequence[str] = (),
        fields: Mapping[str, np.ndarray] | None = None,
        n_threads: int = 1,
    ) -> None:
        """Add ``scale * sum_n weights_n statistics(x_n)`` to ``out`` (unchecked).

        ``fields`` names groups whose entries in ``state`` are conditional means at these fields;
        their own statistics are taken in expectation too.
        """
        fields = dict(fields or {})
        if sum_out:
            state = dict(state)
            for g in sum_out:
                f = self.field(params, state, g, n_threads=n_threads, check=False)
                fields[g] = f
            for g in sum_out:
                state[g] = self.groups[g].mean(self.own(params, g), fields[g])
        if self._is_plain_pair and weights is None:
            (term,) = self.terms
            assert isinstance(term, DenseTerm)
            term.add_pair_statistics(state, out, scale, n_threads)
            return
        for g, u in self.groups.items():
            own = self.own(params, g)
            if g in fields and len(u.parameters) > 1:
                own_statistics = u.mean_statistics(own, fields[g])
            else:
                own_statistics = u.statistics(own, state[g])
            for p, key in self._own_keys[g]:
                x = own_statistics[p]
                if weights is None:
                    total = np.add.reduce(x, axis=0)
                else:
                    total = np.tensordot(weights.astype(x.dtype), x, axes=1)
                out[key] += total.dtype.type(scale) * total
        for t in self.terms:
            t.add_statistics(params, state, out, scale, weights, n_threads)

    # -- exact answers -------------------------------------------------------------------------

    def log_partition(
        self, params: Params, given: Mapping[str, Any] | None = None
    ) -> float | np.ndarray:
        """Exact log Z by enumeration of the cheaper side.

        Parameters
        ----------
        given : dict of arrays, optional
            Groups that are conditioned on.

        Returns
        -------
        float, or ndarray of shape (n_rows,) with ``given``
            log Z of the groups that are not given.

        Raises
        ------
        NotEnumerableError
            If even the cheaper side has too many states.
        """
        given = self._checked(params, given or {}, given or {})
        remedy = _GIVEN_REMEDY if given else ""
        log_z = Enumeration(self, params, given, remedy=remedy).log_partition()
        return log_z if given else float(log_z[0])

    def log_probabilities(
        self,
        params: Params,
        of: str | Sequence[str],
        given: Mapping[str, Any],
        *,
        n_threads: int = 1,
        check: bool = True,
    ) -> np.ndarray:
        """Exact ``log p(of | given)`` for every joint state of a few units, others summed out.

        Parameters
        ----------
        of : str or sequence of str
            Groups whose states are listed, such as a label.
        given : dict of arrays
            Values (n_rows, *shape) of the groups that are conditioned on.
        n_threads, check
            As of `value`.

        Returns
        -------
        ndarray of shape (n_rows, n_states), float64
            For one one-hot unit the columns are its states; for several units or groups the
            first unit's state changes fastest.

        Raises
        ------
        NotEnumerableError
            If there are too many states.
        ValueError
            If the groups that are neither in ``of`` nor given cannot be summed out.
        """
        of = (of,) if isinstance(of, str) else tuple(of)
        for g in of:
            self._check_group("log_probabilities", g)
        if check:
            given = self._checked(params, given, given)
        listing = self._listing(params, of, given, n_threads)
        log_p = listing.log_probabilities()
        # Where nothing that is given matters there is one row, which serves for all.
        n = check_rows(dict(given)) if given else 1
        return log_p if listing.given else np.repeat(log_p, n, axis=0)

    def _listing(
        self,
        params: Params,
        of: tuple[str, ...],
        given: Mapping[str, np.ndarray],
        n_threads: int = 1,
    ) -> Enumeration:
        """Enumeration that lists these groups and sums the other free ones out."""
        part = self.part(of, given)
        return Enumeration(
            part,
            {key: params[key] for key in part.parameter_shapes()},
            {g: x for g, x in given.items() if g in part.groups},
            listed=of,
            what=f"log p({', '.join(of)})",
            remedy=_PART_REMEDY,
            n_threads=n_threads,
        )

    def moments(
        self,
        params: Params,
        given: Mapping[str, Any] | None = None,
        weights: np.ndarray | None = None,
    ) -> Params:
        """Exact expected statistics under the model, given rows of some groups averaged over them.

        Parameters
        ----------
        given : dict of arrays, optional
            Groups that are conditioned on.
        weights : ndarray of shape (n_rows,), optional
            Weights of the given rows, normalised to sum to one.
        """
        given = self._checked(params, given or {}, given or {})
        n = check_rows(given, at_least=1) if given else 1
        w = None if weights is None else check_weights(weights, n)
        return Enumeration(self, params, given, what="moments", remedy=_MOMENTS_REMEDY).moments(w)

    def sample(
        self,
        params: Params,
        n_samples: int | None = None,
        given: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> dict[str, np.ndarray]:
        """Independent exact samples, by enumeration of the cheaper side.

        Parameters
        ----------
        n_samples : int
            Not needed with ``given``, which has one sample drawn for each row.
        given : dict of arrays, optional
            Groups that are conditioned on.
        random_state : None, int, RandomState or Generator

        Returns
        -------
        dict of arrays (n_samples, *shape)
            Values of every group.

        Raises
        ------
        NotEnumerableError
            If even the cheaper side has too many states.
        """
        given = self._checked(params, given or {}, given or {})
        if given:
            n = check_rows(given, at_least=1)
            if n_samples not in (None, n):
                raise ValueError(f"n_samples is {n_samples}, but given has {n} rows.")
        elif n_samples is None:
            raise ValueError("give n_samples, or rows of at least one group.")
        else:
            n = check_count("n_samples", n_samples)
        states = Enumeration(self, params, given, what="samples", remedy=_SAMPLE_REMEDY)
        seed = rng.seed_from(random_state)
        number = {g: i for i, g in enumerate(self.groups)}
        values = dict(given)
        if states.split.listed:
            at = rng.Address.of(seed, "exact", len(self.groups))
            values |= states.sample(rng.uniform(at, (n, 1))[:, 0])
        summed = {}
        for g in states.split.summed:
            # Where nothing else has values, terms hold this group's units alone, and read none.
            rows = values or {g: np.zeros((n, *self.groups[g].shape), params[g].dtype)}
            field = self.field(params, rows, g, check=False)
            at = rng.Address.of(seed, "exact", number[g])
            _, x = self.groups[g].draw(self.own(params, g), field, at)
            assert x is not None
            summed[g] = x
        return values | summed


_GIVEN_REMEDY = "Use fastboltz.likelihood.conditional_ais."
_SAMPLE_REMEDY = "Use chains of fastboltz.Gibbs."
_PART_REMEDY = "Estimate the probabilities from chains of fastboltz.Gibbs."
_MOMENTS_REMEDY = "Use negative='cd' or 'pcd' (an estimator's method), or a smaller model."


class _Draw:
    """Small normal numbers for the weights, each key with a row of its own."""

    def __init__(self, seed: int, scale: float, dtype: np.dtype) -> None:
        self.address = rng.Address.of(seed, "weights")
        self.scale = scale or 1.0
        self.factor = scale
        self.dtype = dtype
        self.drawn = 0

    def __call__(self, key: str, shape: tuple[int, ...]) -> np.ndarray:
        address = self.address.at(step=self.drawn)
        self.drawn += 1
        size = int(np.prod(shape, dtype=np.int64))
        return (self.factor * rng.normal(address, (1, size))).reshape(shape).astype(self.dtype)
