"""Block Gibbs sampling with clamping, as ``init`` and ``step``.

The schedule comes from the energy: groups that share no term are drawn at the same time, binary
groups behind one matrix by a fused kernel, groups with lateral terms site by site. Two groups that
meet only unit by unit, such as visible units and their switches, are drawn jointly: one with the
other summed out, then the other. A chain's
random numbers are addressed by its row and its step, so shards and threads draw what one process
would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from fastboltz_ext import layers, packed, site_gibbs

from . import interrupts, products, rng, threads
from .energy import Energy
from .terms import DenseTerm, Hyperedges, Params, RowMatrices, Term, as_rows
from .units import Categorical
from .units.binary import Binary
from .units.spin import refuse_bits
from .validation import check_count, check_rows, check_state, of_declared, one_of, unknown_group

#: Rows that make all sweeps of a call one after the other, a thread.
_ROWS_AT_ONCE = 1024
#: Units that site sweeps draw in a call.
_SITES_AT_ONCE = 1 << 24


class PackedValues(Mapping[str, np.ndarray]):
    """Values of binary groups kept as bits: arrays are made when they are asked for.

    Parameters
    ----------
    bits : dict of str to fastboltz_ext.packed.Bits
    shapes : dict of str to tuple
        Shape of each group.
    dtype : float32 or float64
        Of the arrays.
    """

    def __init__(
        self,
        bits: Mapping[str, packed.Bits],
        shapes: Mapping[str, tuple[int, ...]],
        dtype: Any = np.float32,
    ) -> None:
        self.bits = dict(bits)
        self.shapes = shapes
        self.dtype = np.dtype(dtype)

    @classmethod
    def of(cls, energy: Energy, values: Mapping[str, np.ndarray], dtype: Any) -> PackedValues:
        """Values of binary groups, packed; bits as they are."""
        if isinstance(values, cls):
            return values
        bits = {}
        for g, x in values.items():
            rows = as_rows(x)
            bits[g] = packed.Bits.pack(rows, low=products.low(energy.groups[g]))
        return cls(bits, {g: energy.groups[g].shape for g in bits}, dtype)

    def take(self, rows: np.ndarray) -> PackedValues:
        """These rows, in this order."""
        bits = {g: x.take(rows) for g, x in self.bits.items()}
        return PackedValues(bits, self.shapes, self.dtype)

    def __getitem__(self, group: str) -> np.ndarray:
        x = self.bits[group].unpack(dtype=self.dtype)
        return x.reshape(len(x), *self.shapes[group])

    def __iter__(self) -> Iterator[str]:
        return iter(self.bits)

    def __len__(self) -> int:
        return len(self.bits)


@dataclass(frozen=True)
class ChainState:
    """Chains between two steps.

    Attributes
    ----------
    values : mapping of str to arrays
        Current value of every group, (n_chains, *shape). Chains of two binary groups are kept as
        bits between sweeps (``PackedValues``): each access makes an array.
    address : rng.Address
        Seed, stream, number of the next sweep, global number of the first chain.
    clamped : dict
        Group -> boolean array of units that are held, or None if the whole group is.
    means, fields : dict of arrays
        Conditional means of the block drawn last (and, for units with a precision, the fields),
        where asked for: they replace its samples in averages, at no bias and less variance.
    """

    values: Mapping[str, np.ndarray]
    address: rng.Address
    clamped: dict[str, np.ndarray | None] = field(default_factory=dict)
    means: dict[str, np.ndarray] = field(default_factory=dict)
    fields: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Number of sweeps made."""
        return self.address.step

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        if isinstance(self.values, PackedValues):
            return len(next(iter(self.values.bits.values())))
        return len(next(iter(self.values.values())))


@dataclass(frozen=True)
class Fixed:
    """What a group receives while others are held.

    Attributes
    ----------
    field : ndarray of shape (n_rows, *shape)
        From terms whose other groups are all held.
    moving : tuple of Term or RowMatrices
        The group's other terms, or what is left of them.
    """

    field: np.ndarray
    moving: tuple[Term | RowMatrices, ...]
    _biases: dict[float, np.ndarray] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def row_bias(
        self, own: np.ndarray, scale: float, n_threads: int, rows: slice | None = None
    ) -> np.ndarray:
        """Its scaled fields with the own bias, (n_units, n_rows), as kernels on bits take them.

        Those of all rows are kept, so that ``rows`` of them need not be made again.
        """
        known = self._biases.get(scale)
        if known is None:
            f = self.field if rows is None else self.field[rows]
            made = packed.row_bias(
                as_rows(f, np.float32), own.reshape(-1), scale=scale, n_threads=n_threads
            )
            if rows is None:
                self._biases.clear()  # temperatures change, and one is used at a time
                self._biases[scale] = made
            return made
        return known if rows is None else known[:, rows]

    def add(
        self, params: Params, values: Mapping[str, np.ndarray], group: str, n_threads: int
    ) -> np.ndarray:
        """The whole field, in new memory."""
        out = self.field.copy()
        for t in self.moving:
            t.add_field(params, values, group, out, n_threads)
        return out


class Gibbs:
    """Block Gibbs sampler of an energy.

    A sweep draws every group in turn from its conditional given all others::

        p(x_g | rest) = exp(-base_g(x_g) + scale * f_g . x_g) / Z_g

    with f_g the field that the terms contribute (`Energy.field`). It leaves the distribution of the
    energy, at that scale of its terms, as it is.

    Parameters
    ----------
    energy : Energy
    clamp : sequence of str
        Groups that keep the values they start with. NaN among a clamped group's values marks
        units that are free all the same.
    n_threads : int or None
        None uses every core that the process may use. Results do not depend on it.
    precision : {"full", "low"}
        "low" rounds the weights of two binary groups behind one matrix to what sums of 16 bits
        hold, about 2**-9 for weights of a trained model: faster samples of a model close by. It has
        no effect on tiny models, with groups clamped, and on weights too large for 16 bits.
    site_order : {"index", "colors"}
        Order in which the units of a group with lateral terms are drawn. "colors" draws those of
        one colour after those of another, where no two in a term have the same: then all threads
        share the sites of a few large sparse chains, such as one of an Ising model of 512 x 512
        spins. With many chains, which the threads divide, the order of indices is faster, by up to
        a third on such lattices. It is another Markov chain of the same distribution, and so gives
        other samples. No effect where couplings are a dense matrix.

    Raises
    ------
    ValueError
        If ``clamp`` names a group that the energy does not have, or ``precision`` or
        ``site_order`` is another word.

    References
    ----------
    Geman & Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of
    images", IEEE Transactions on Pattern Analysis and Machine Intelligence 6, 1984.

    Examples
    --------
    >>> import fastboltz as fb
    >>> energy = fb.Energy({"v": fb.Bernoulli(4), "h": fb.Bernoulli(3)}, terms=["v_i h_j"])
    >>> params = energy.init(random_state=0)
    >>> sampler = fb.Gibbs(energy)
    >>> state = sampler.init(params, n_chains=10, random_state=0)
    >>> state = sampler.step(params, state, n_steps=5)
    >>> state.step, state.values["v"].shape
    (5, (10, 4))
    """

    def __init__(
        self,
        energy: Energy,
        clamp: Iterable[str] = (),
        n_threads: int | None = None,
        precision: str = "full",
        site_order: str = "index",
    ) -> None:
        self.energy = energy
        self.clamp = (clamp,) if isinstance(clamp, str) else tuple(clamp)
        for g in self.clamp:
            if g not in energy.groups:
                raise unknown_group("clamp", g, energy.groups)
        self.n_threads = threads.resolve(n_threads)
        self.precision = one_of("precision", precision, ("full", "low"))
        self.blocks = energy.blocks()
        self.number = {g: i for i, g in enumerate(energy.groups)}
        first = next(iter(energy.groups))
        fused = {energy.fused_term(g) for g in energy.groups}
        #: The only matrix, where two binary groups have nothing else.
        self._plain_pair = energy.fused_term(first) if len(fused) == 1 else None
        self.site_order = one_of("site_order", site_order, ("index", "colors"))
        by_color = self.site_order == "colors"
        self._sites = {
            g: _SiteSweep(energy, g, by_color) for g in energy.groups if energy.lateral_terms(g)
        }
        #: Group -> the group that is drawn right before it, with this one summed out.
        self._first = _joint_pairs(energy)

    @property
    def joint(self) -> set[str]:
        """Groups that are drawn jointly with another."""
        return {g for pair in self._first.items() for g in pair}

    # -- init ----------------------------------------------------------------------------------

    def init(
        self,
        params: Params,
        n_chains: int | None = None,
        random_state: Any = None,
        values: Mapping[str, Any] | None = None,
    ) -> ChainState:
        """Chains at given values, other groups drawn independently from their biases.

        Parameters
        ----------
        n_chains : int
            Number of chains; not needed where values are given.
        random_state : None, int, RandomState or Generator
        values : dict of arrays, optional
            Start values of some groups, (n_chains, *shape); those of clamped groups may hold NaN
            for free units. Probabilities may stand for states: the first sweep sees them.

        Returns
        -------
        ChainState

        Raises
        ------
        ValueError
            If a parameter or a value is missing, of another shape or out of its range, if spins are
            given as zeros and ones, or if the number of chains is not that of the values.
        """
        self.energy.check_params(params)
        values = dict(values or {})
        checked = {}
        for g, x in values.items():
            if g not in self.energy.groups:
                raise unknown_group("values", g, self.energy.groups)
            unit = self.energy.groups[g]
            x = unit.put_back(check_state(g, unit, x, allow_nan=g in self.clamp))
            try:
                unit.check_support(f"state {g!r}", x)
                refuse_bits(unit, x, f"state {g!r}")
            except ValueError as error:
                raise of_declared(error) from None
            checked[g] = x
        for g in self.clamp:
            if g not in checked:
                raise ValueError(f"group {g!r} is clamped; give its values in values[{g!r}].")
        if checked:
            n = check_rows(checked)
            if n_chains is not None and n_chains != n:
                raise ValueError(f"n_chains is {n_chains}, but values have {n} rows.")
        else:
            if n_chains is None:
                raise ValueError("give n_chains, or start values of at least one group.")
            n = check_count("n_chains", n_chains)
        address = rng.Address.of(rng.seed_from(random_state), "chains")
        return self.start(params, n, address, checked)

    def start(
        self,
        params: Params,
        n: int,
        address: rng.Address,
        values: Mapping[str, np.ndarray],
        *,
        copy: bool = True,
    ) -> ChainState:
        """Chains at checked values and an address of their own (unchecked `init`).

        Without ``copy``, chains share memory with values that stay as they are until the next step.
        """
        clamped: dict[str, np.ndarray | None] = {}
        full = {}
        for g, unit in self.energy.groups.items():
            x = values.get(g)
            dtype = params[g].dtype
            unknown = None
            if x is not None:
                x = np.array(x, dtype, order="C") if copy else np.ascontiguousarray(x, dtype)
                if g in self.clamp:
                    unknown = np.isnan(x)
                    clamped[g] = ~unknown if unknown.any() else None
            if x is None or (unknown is not None and unknown.any()):
                own = self.energy.own(params, g)
                zero = np.zeros((n, *unit.shape), dtype=dtype)
                _, drawn = unit.draw(own, zero, address.beginning(self.number[g]))
                assert drawn is not None
                x = drawn if x is None or unknown is None else np.where(unknown, drawn, x)
            full[g] = x
        return ChainState(full, address, clamped)

    # -- step ----------------------------------------------------------------------------------

    def step(
        self,
        params: Params,
        state: ChainState,
        n_steps: int = 1,
        *,
        scale: float = 1.0,
        means: bool = False,
        fixed: Mapping[str, Fixed] | None = None,
    ) -> ChainState:
        """Make sweeps over all blocks.

        Parameters
        ----------
        n_steps : int
            Number of sweeps.
        scale : float
            Multiplies what the terms contribute (not the biases): annealing uses it.
        means : bool
            Keep the conditional means of the block drawn last.
        fixed : dict, optional
            What `fixed` returns for the groups that are held, where that is known already.

        Returns
        -------
        ChainState
            A new state; the one given is not changed.

        Raises
        ------
        TypeError
            If the state is none that `init` or `step` returned.
        """
        check_count("n_steps", n_steps, minimum=0)
        if not isinstance(state, ChainState):
            raise TypeError(
                f"state is of type {type(state).__name__}, but step goes on with a ChainState; "
                f"make one by init(params, values=...) and keep what step returns."
            )
        params = {key: np.ascontiguousarray(x) for key, x in params.items()}
        kept_means: dict[str, np.ndarray] = {}
        kept_fields: dict[str, np.ndarray] = {}
        moving = [[g for g in block if not self._is_held(g, state)] for block in self.blocks]
        free = {g for block in moving for g in block}.difference(state.clamped)
        first = {b: a for b, a in self._first.items() if {a, b} <= free}
        moving = [[g for g in block if g not in first.values()] for block in moving]
        moving = [block for block in moving if block]
        address = state.address
        if n_steps and self._packs(params, state):
            if self._reads_bits(state, moving):
                return self._packed_step(params, state, n_steps, scale, means)
            if n_steps > 1:  # what is drawn is bits, so the first sweep alone sees other values
                state = self.step(params, state, scale=scale)
                return self._packed_step(params, state, n_steps - 1, scale, means)
        values = dict(state.values)
        with threads.computing():
            if fixed is None:
                held = [g for g in values if self._is_held(g, state)]
                fixed = self.fixed(params, values, held)
            if n_steps and len(moving) == 1 and len(moving[0]) == 1:
                (g,) = moving[0]
                if g in self._sites and self._sites[g].is_compiled:
                    # Nothing else moves: many sweeps are one call.
                    at_once = self._sites[g].at_once(state.n_chains)
                    for s in range(0, n_steps, at_once):
                        interrupts.look()
                        values[g] = self._sites[g](
                            params,
                            values,
                            address.at(group=self.number[g]),
                            scale,
                            state.clamped.get(g),
                            self.n_threads,
                            min(at_once, n_steps - s),
                        )
                        address = address.at(step=address.step + min(at_once, n_steps - s))
                    return ChainState(values, address, state.clamped)
            pair = self._fixed_pair(params, state, moving, fixed)
            if pair is not None and n_steps:
                return self._fixed_step(params, state, pair, fixed, n_steps, scale, means)
            for s in range(n_steps):
                interrupts.look()
                for b, block in enumerate(moving):
                    for g in block:
                        if g in first:
                            at = address.at(group=self.number[first[g]])
                            values[first[g]] = self._draw_first(
                                params, values, first[g], g, at, scale
                            )
                    want = means and s == n_steps - 1 and b == len(moving) - 1
                    drawn = {}
                    for g in block:
                        at = address.at(group=self.number[g])
                        mean, sample, f = self.draw(
                            params, values, g, at, scale, want, state.clamped, fixed
                        )
                        drawn[g] = sample
                        if mean is not None and state.clamped.get(g) is None:
                            kept_means[g] = mean
                            if f is not None:
                                kept_fields[g] = f
                    values |= drawn
                address = address.at(step=address.step + 1)
        return ChainState(values, address, state.clamped, kept_means, kept_fields)

    def bits(self, params: Params, state: ChainState) -> PackedValues | None:
        """The chains' values as bits where `step` would make all its sweeps on these, else None."""
        moving = [block for block in self.blocks if block]
        if not self._packs(params, state) or not self._reads_bits(state, moving):
            return None
        assert self._plain_pair is not None
        dtype = params[self._plain_pair.name].dtype
        return PackedValues.of(self.energy, state.values, dtype)

    def _packs(self, params: Params, state: ChainState) -> bool:
        """Whether sweeps can be made on bits: two binary groups behind one matrix.

        Not tiny ones, unless their chains are bits already.
        """
        term = self._plain_pair
        if term is None or state.clamped:
            return False
        is_tiny = params[term.name].size * state.n_chains < products.PACKED_FROM
        if is_tiny and not isinstance(state.values, PackedValues):
            return False
        return all(
            params[key].dtype == np.float32 and params[key].flags.c_contiguous
            for key in (term.name, *term.groups)
        ) and packed.fits(term.matrix(params))

    def _reads_bits(self, state: ChainState, moving: Sequence[Sequence[str]]) -> bool:
        """Whether the values that the first draw of a pair depends on are states of its units.

        Probabilities, or grey values, may stand for states at the start of a chain.
        """
        if isinstance(state.values, PackedValues):
            return True
        group = moving[-1][-1]
        rows = as_rows(state.values[group])
        return packed.Bits.pack_exact(rows, low=products.low(self.energy.groups[group])) is not None

    def _packed_step(
        self, params: Params, state: ChainState, n_steps: int, scale: float, means: bool
    ) -> ChainState:
        """`step` on bits."""
        term = self._plain_pair
        assert term is not None
        w = term.matrix(params)
        units = {g: self.energy.groups[g] for g in term.groups}
        before = PackedValues.of(self.energy, state.values, w.dtype)
        bits = {g: x.copy() for g, x in before.bits.items()}
        order = [g for block in self.blocks for g in block]
        # Weights too large for 16 bits keep their full precision.
        low = max(packed.low_shift(w), 0) if self.precision == "low" else 0
        address = state.address
        kept: dict[str, np.ndarray] = {}
        for s in range(n_steps):
            interrupts.look()
            for g in order:
                other = next(h for h in term.groups if h != g)
                mean = None
                if means and s == n_steps - 1 and g == order[-1]:
                    mean = np.empty((state.n_chains, units[g].size), dtype=np.float32)
                    kept[g] = mean.reshape(-1, *units[g].shape)
                packed.layer(
                    bits[other],
                    w,
                    params[g].reshape(-1),
                    transpose=term.slots[0].group == g,
                    scale=scale,
                    spin=bits[g].low < 0,
                    sample=bits[g],
                    mean=mean,
                    seed=address.seed,
                    stream=address.at(group=self.number[g]).stream,
                    step=address.step,
                    row0=address.row,
                    low=low,
                    n_threads=self.n_threads,
                )
            address = address.at(step=address.step + 1)
        values = PackedValues(bits, before.shapes, before.dtype)
        return ChainState(values, address, state.clamped, kept)

    def _fixed_pair(
        self,
        params: Params,
        state: ChainState,
        moving: Sequence[Sequence[str]],
        fixed: Mapping[str, Fixed],
    ) -> DenseTerm | None:
        """The matrix between the two groups that move, where sweeps can be made on bits."""
        free = [g for block in moving for g in block]
        if (
            len(moving) != 2
            or len(free) != 2
            or any(state.clamped.get(g) is not None for g in free)
        ):
            return None
        terms = {fixed[g].moving if g in fixed else () for g in free}
        if len(terms) != 1 or len(only := terms.pop()) != 1:
            return None
        (term,) = only
        units = [self.energy.groups[g] for g in free]
        if not (isinstance(term, DenseTerm) and term.is_pair) or term.lateral:
            return None
        if not all(isinstance(u, Binary) for u in units):
            return None
        w = params[term.name]
        enough = state.n_chains >= products.PACKED_ROWS
        if not enough or w.size * state.n_chains < products.PACKED_FROM:
            return None
        if any(params[key].dtype != np.float32 for key in (term.name, *free)):
            return None
        if not self._reads_bits(state, moving):
            return None
        return term if packed.fits(term.matrix(params)) else None

    def _fixed_step(
        self,
        params: Params,
        state: ChainState,
        term: DenseTerm,
        fixed: Mapping[str, Fixed],
        n_steps: int,
        scale: float,
        means: bool,
    ) -> ChainState:
        """`step` on bits, with a field for every row that stays.

        Rows do not meet, so some of them make all sweeps while their fields stay in the cache.
        """
        w = term.matrix(params)
        order = [g for block in self.blocks for g in block if g in term.groups]
        units = {g: self.energy.groups[g] for g in order}
        shapes = {g: state.values[g].shape for g in order}
        values = dict(state.values)
        for g in order:
            values[g] = np.empty(shapes[g], np.float32)
        kept = {order[-1]: np.empty(shapes[order[-1]], np.float32)} if means else {}
        step = _ROWS_AT_ONCE * self.n_threads
        for start in range(0, state.n_chains, step):
            rows = slice(start, start + step)
            bits, bias = {}, {}
            for g in order:
                first = as_rows(state.values[g][rows], np.float32)
                bits[g] = packed.Bits.pack(first, low=products.low(units[g]))
                bias[g] = fixed[g].row_bias(params[g], scale, self.n_threads, rows)
            mean = as_rows(kept[order[-1]])[rows] if means else None
            for s in range(n_steps):
                interrupts.look()
                for g, other in (order, order[::-1]):
                    packed.layer(
                        bits[other],
                        w,
                        bias[g],
                        transpose=term.slots[0].group == g,
                        scale=scale,
                        spin=units[g].spin,  # type: ignore[attr-defined]
                        sample=bits[g],
                        mean=mean if s == n_steps - 1 and g == order[-1] else None,
                        seed=state.address.seed,
                        stream=state.address.at(group=self.number[g]).stream,
                        step=state.address.step + s,
                        row0=state.address.row + start,
                        n_threads=self.n_threads,
                    )
            for g in order:
                bits[g].unpack(out=as_rows(values[g])[rows])
        address = state.address.at(step=state.address.step + n_steps)
        return ChainState(values, address, state.clamped, kept)

    def _fixed_layer(
        self,
        params: Params,
        values: Mapping[str, np.ndarray],
        group: str,
        fixed: Fixed,
        address: rng.Address,
        scale: float,
        want_mean: bool,
    ) -> tuple[np.ndarray | None, np.ndarray] | None:
        """Mean and sample of a group by one call on bits, or None where there is no such call."""
        unit = self.energy.groups[group]
        if len(fixed.moving) != 1 or not isinstance(unit, Binary):
            return None
        (term,) = fixed.moving
        if not (isinstance(term, DenseTerm) and term.is_pair) or term.lateral:
            return None
        if any(params[key].dtype != np.float32 for key in (term.name, group)):
            return None
        other = next(s.group for s in term.slots if s.group != group)
        x, w = as_rows(values[other]), term.matrix(params)
        bits = products.as_bits(self.energy.groups[other], x, w.size)
        if bits is None or not packed.fits(w):
            return None
        shape = (len(x), *unit.shape)
        drawn = packed.Bits(len(x), unit.size, low=products.low(unit))
        mean = np.empty((len(x), unit.size), np.float32) if want_mean else None
        packed.layer(
            bits,
            w,
            fixed.row_bias(params[group], scale, self.n_threads),
            transpose=term.slots[0].group == group,
            scale=scale,
            spin=unit.spin,
            sample=drawn,
            mean=mean,
            seed=address.seed,
            stream=address.stream,
            step=address.step,
            row0=address.row,
            n_threads=self.n_threads,
        )
        return None if mean is None else mean.reshape(shape), drawn.unpack().reshape(shape)

    def _is_held(self, group: str, state: ChainState) -> bool:
        return group in state.clamped and state.clamped[group] is None

    def fixed(
        self, params: Params, values: Mapping[str, np.ndarray], held: Sequence[str]
    ) -> dict[str, Fixed]:
        """What groups receive from groups that are held, computed once for many sweeps.

        Only groups are in it that terms with held groups reach, alone or with one other group, and
        that are drawn as a block.
        """
        found = {}
        left: dict[Term, RowMatrices] = {}
        for t in self.energy.terms if held else ():
            if isinstance(t, DenseTerm):
                matrices = t.row_matrices(params, values, held, self.n_threads)
                if matrices is not None:
                    left[t] = matrices
        for g, unit in self.energy.groups.items():
            if g in held or g in self._sites:
                continue
            terms = self.energy._of_group[g]
            still = [t for t in terms if all(other in held for other in t.groups if other != g)]
            if not any(len(t.groups) > 1 for t in still) and not any(t in left for t in terms):
                continue
            n = len(next(values[h] for t in terms for h in t.groups if h in held))
            field = np.zeros((n, *unit.shape), dtype=params[g].dtype)
            for t in still:
                t.add_field(params, values, g, field, self.n_threads)
            found[g] = Fixed(field, tuple(left.get(t, t) for t in terms if t not in still))
        return found

    def draw(
        self,
        params: Params,
        values: Mapping[str, np.ndarray],
        group: str,
        address: rng.Address,
        scale: float = 1.0,
        want_mean: bool = False,
        clamped: Mapping[str, np.ndarray | None] | None = None,
        fixed: Mapping[str, Fixed] | None = None,
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
        """Draw one group given the others: (conditional mean, sample, field where it was formed).

        For a lateral group this is one sweep over its sites, and there is no mean. ``fixed`` is
        what `fixed` returns.
        """
        held = (clamped or {}).get(group)
        if group in self._sites:
            sweep = self._sites[group]
            new = sweep(params, values, address, scale, held, self.n_threads)
            return None, new, None
        f: np.ndarray | None
        if fixed is not None and group in fixed:
            found = None
            if held is None:
                found = self._fixed_layer(
                    params, values, group, fixed[group], address, scale, want_mean
                )
            if found is not None:
                return *found, None
            unit = self.energy.groups[group]
            f = fixed[group].add(params, values, group, self.n_threads)
            mean, sample = unit.draw(
                self.energy.own(params, group),
                f,
                address,
                scale=scale,
                mean=want_mean,
                n_threads=self.n_threads,
            )
        else:
            f, mean, sample = layer(
                self.energy,
                params,
                values,
                group,
                address,
                scale=scale,
                mean=want_mean,
                n_threads=self.n_threads,
            )
        assert sample is not None
        if held is not None:
            sample = np.where(held, values[group], sample)
        return mean, sample, f

    def _draw_first(
        self,
        params: Params,
        values: Mapping[str, np.ndarray],
        a: str,
        b: str,
        address: rng.Address,
        scale: float,
    ) -> np.ndarray:
        """Draw group a given all but group b, which it meets unit by unit and which is summed out.

        With ``f + C_i . a_i`` the field of b_i, ``p(a_i | rest)`` is proportional to
        ``exp(-base(a_i) + g_i . a_i + A(f_i + C_i . a_i))``: g is the field of a without b, A the
        cumulant of b. As a function of the few states of a_i this is a field once more.
        """
        unit, other = self.energy.groups[a], self.energy.groups[b]
        own, n = self.energy.own(params, b), len(values[a])
        dtype = params[a].dtype
        ones = dict(values) | {b: np.ones((n, *other.shape), dtype)}
        field, gain = (np.zeros((n, *unit.shape), dtype) for _ in range(2))
        rest = np.zeros((n, *other.shape), dtype)
        for t in self.energy.terms:
            if a in t.groups:
                t.add_field(params, ones, a, gain if b in t.groups else field, self.n_threads)
            elif b in t.groups:
                t.add_field(params, values, b, rest, self.n_threads)
        for x in (field, gain, rest):
            x *= dtype.type(scale)

        def cumulants(f: np.ndarray) -> np.ndarray:
            return other.unit_cumulants(own, rest + f)

        if isinstance(unit, Categorical):
            for r in range(unit.shape[-1]):
                field[..., r] += cumulants(gain[..., r])
        elif unit.spin:  # type: ignore[attr-defined]
            field += (cumulants(gain) - cumulants(-gain)) / 2
        else:
            field += cumulants(gain) - cumulants(dtype.type(0))
        _, drawn = unit.draw(self.energy.own(params, a), field, address, n_threads=self.n_threads)
        assert drawn is not None
        return drawn


def _joint_pairs(energy: Energy) -> dict[str, str]:
    """Group b -> group a, where a's few states are listed and b, met unit by unit, is summed out.

    No group is in two pairs.
    """
    pairs: dict[str, str] = {}
    for groups, kind in energy._joint_draws:
        for a, b in (groups, groups[::-1]):
            few = isinstance(energy.groups[a], (Binary, Categorical))
            single = energy.groups[b].event_axes == 0
            is_free = not {a, b} & {*pairs, *pairs.values()}
            if kind == "shared index" and few and single and is_free:
                pairs[b] = a
    return pairs


def layer(
    energy: Energy,
    params: Params,
    values: Mapping[str, np.ndarray],
    group: str,
    address: rng.Address,
    *,
    scale: float = 1.0,
    mean: bool = False,
    sample: bool = True,
    n_threads: int = 1,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Field, mean and sample of one factorial group: a single compiled call where there is one.

    Returns
    -------
    (field, mean, sample)
        The field is None where the fused kernel never forms it.
    """
    unit = energy.groups[group]
    own = energy.own(params, group)
    term = energy.fused_term(group)
    if term is None:
        f = energy.field(params, values, group, n_threads=n_threads, check=False)
        means, samples = unit.draw(
            own, f, address, scale=scale, mean=mean, sample=sample, n_threads=n_threads
        )
        return f, means, samples
    other = next(s.group for s in term.slots if s.group != group)
    bias = np.ascontiguousarray(own["bias"]).reshape(-1)
    x = values[other].reshape(len(values[other]), -1)
    if x.dtype != bias.dtype or not x.flags.c_contiguous:
        x = np.ascontiguousarray(x, dtype=bias.dtype)
    w = term.matrix(params, bias.dtype)
    means = np.empty((len(x), unit.size), dtype=bias.dtype) if mean else None
    samples = np.empty((len(x), unit.size), dtype=bias.dtype) if sample else None
    how: dict[str, Any] = {
        "transpose": term.slots[0].group == group,
        "scale": scale,
        "spin": unit.spin,  # type: ignore[attr-defined]
        "mean": means,
        "seed": address.seed,
        "stream": address.stream,
        "step": address.step,
        "row0": address.row,
        "n_threads": n_threads,
    }
    bits = products.as_bits(energy.groups[other], x, w.size)
    if bits is None or not packed.fits(w):
        layers.layer(x, w, bias, sample=samples, **how)
    else:
        drawn = None
        if sample:
            drawn = packed.Bits(len(x), unit.size, low=products.low(unit))
        packed.layer(bits, w, bias, sample=drawn, **how)
        if drawn is not None:
            drawn.unpack(samples)
    shape = (len(x), *unit.shape)
    return (
        None,
        None if means is None else means.reshape(shape),
        None if samples is None else samples.reshape(shape),
    )


# -- groups whose units see each other -------------------------------------------------------------


class _SiteSweep:
    """Sweeps over the units of a lateral group, one after the other.

    Binary groups go to a compiled sweep: over a matrix of couplings where every lateral term is of
    second order in the group, else over a list of hyperedges. Everything else (Potts couplings,
    third order gated by another group, real units) recomputes the field for each site: slow, and
    right for whatever can be declared.
    """

    def __init__(self, energy: Energy, group: str, by_color: bool = False) -> None:
        self.energy = energy
        self.group = group
        self.unit = energy.groups[group]
        #: Units in the order in which they are drawn, where it is not that of their indices.
        self.order: np.ndarray | None = None
        self.lateral = energy.lateral_terms(group)
        self.plain = [t for t in energy.terms if group in t.groups and t not in self.lateral]
        self.kind = self._kind()
        if self.kind == "hyperedges":
            self._index_edges()
            if by_color:
                self.order = np.argsort(site_gibbs.color_units(*self._csr), kind="stable")

    @property
    def is_compiled(self) -> bool:
        """Whether sweeps are compiled, and several of them one call."""
        return self.kind != "any"

    def at_once(self, n_chains: int) -> int:
        """Sweeps of one call, which takes a second at most, so that Ctrl-C is soon heard."""
        each = n_chains * self.unit.size
        if self.kind == "matrix":
            each *= 1 + self.unit.size // 16
        return max(1, _SITES_AT_ONCE // max(each, 1))

    def _kind(self) -> str:
        if not isinstance(self.unit, Binary):
            return "any"
        if all(self._is_matrix(t) for t in self.lateral):
            return "matrix"
        if all(t.groups == (self.group,) for t in self.lateral):
            return "hyperedges"
        return "any"

    def _is_matrix(self, term: Term) -> bool:
        if not isinstance(term, DenseTerm) or term.multiplicity[self.group] != 2:
            return False
        a, b = (s for s in term.slots if s.group == self.group)
        return not set(a.letters) & set(b.letters)

    def __call__(
        self,
        params: Params,
        values: Mapping[str, np.ndarray],
        address: rng.Address,
        scale: float,
        held: np.ndarray | None,
        n_threads: int,
        n_sweeps: int = 1,
    ) -> np.ndarray:
        x = np.array(values[self.group])
        if not self.is_compiled:
            assert n_sweeps == 1
            return self._any(params, values, x, address, scale, held)
        rows = x.reshape(len(x), -1)
        # The kernel scales all it sees, the bias included, so the bias is divided beforehand.
        if scale == 0:
            raise ValueError("site sweeps at scale 0 are independent draws; start the chains anew.")
        bias = params[self.group] / np.asarray(scale, dtype=x.dtype)
        if self.plain:
            outer = np.zeros_like(x)
            for t in self.plain:
                t.add_field(params, values, self.group, outer, n_threads)
            outer += bias
            outer = outer.reshape(rows.shape)
        else:  # one field for all chains, which lets the kernel look conditionals up in tables
            outer = np.ascontiguousarray(bias.reshape(-1), dtype=x.dtype)
        where = {
            "clamped": None if held is None else as_rows(held, np.uint8),
            "scale": scale,
            "spin": self.unit.spin,  # type: ignore[attr-defined]
            "n_sweeps": n_sweeps,
            "seed": address.seed,
            "stream": address.stream,
            "step": address.step,
            "row0": address.row,
            "n_threads": n_threads,
        }
        if self.kind == "matrix":
            site_gibbs.sweep_dense(rows, outer, self._couplings(params, values), **where)
        else:
            weights = np.concatenate([pick(params) for pick in self._picks]).astype(x.dtype)
            site_gibbs.sweep_hyperedges(rows, outer, weights, *self._csr, order=self.order, **where)
        return x

    def _couplings(self, params: Params, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Couplings of the units: (N, N), or (n_rows, N, N) where another group gates them."""
        n = self.unit.size
        total: Any = 0.0
        for t in self.lateral:
            assert isinstance(t, DenseTerm)
            w = params[t.name]
            inner = "".join(s.letters for s in t.slots if s.group == self.group)
            others = [s for s in t.slots if s.group != self.group]
            if others:
                inputs = ",".join("N" + s.letters for s in others)
                w = np.einsum(
                    f"{inputs},{t.letters}->N{inner}",
                    *(values[s.group] for s in others),
                    w,
                    optimize=True,
                )
            else:
                w = np.einsum(f"{t.letters}->{inner}", w)
            w = w.reshape(*w.shape[: w.ndim - len(inner)], n, n)
            total = total + (w + np.swapaxes(w, -1, -2)) / t.copies
        return np.ascontiguousarray(total, dtype=params[self.group].dtype)

    def _index_edges(self) -> None:
        """All lateral terms as one list of hyperedges, and how to gather their weights."""
        edges: list[tuple[int, ...]] = []
        self._picks: list[Any] = []
        for t in self.lateral:
            if isinstance(t, Hyperedges):
                edges += t.edges
                self._picks.append(lambda params, t=t: params[t.name])
                continue
            assert isinstance(t, DenseTerm)
            grid = dict(zip(t.letters, np.indices(t.shape, sparse=True), strict=True))
            numbers = [
                np.broadcast_to(
                    np.ravel_multi_index(
                        np.broadcast_arrays(*(grid[x] for x in s.letters)), self.unit.shape
                    ),
                    t.shape,
                )
                for s in t.slots
            ]
            first = np.ones(t.shape, dtype=bool)
            for a, b in pairwise(numbers):
                first &= a < b
            chosen = np.nonzero(first)
            edges += list(zip(*(n[chosen].tolist() for n in numbers), strict=True))
            self._picks.append(lambda params, t=t, chosen=chosen: params[t.name][chosen])
        self._csr = site_gibbs.index_edges(edges, self.unit.size)

    def _any(
        self,
        params: Params,
        values: Mapping[str, np.ndarray],
        x: np.ndarray,
        address: rng.Address,
        scale: float,
        held: np.ndarray | None,
    ) -> np.ndarray:
        own = self.energy.own(params, self.group)
        current = dict(values) | {self.group: x}
        u = rng.uniform(address, (len(x), *self.unit.unit_shape), x.dtype)
        for site in np.ndindex(self.unit.unit_shape):
            f = self.energy.field(params, current, self.group, check=False)
            new = self.unit.sample(own, f * np.asarray(scale, f.dtype), u)
            at = (slice(None), *site)
            x[at] = new[at] if held is None else np.where(held[at], x[at], new[at])
        return x
