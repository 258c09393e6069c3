"""Training of two binary groups in compiled minibatches (`fastboltz_ext.packed.PairLoop`).

`Trainer` asks `PairLoop.serve` whether a training is of the kind that the compiled loop makes: one
plain matrix between two groups of binary units, data between the two values of a visible unit, CD
or PCD, and SGD. Where the data are not binary, two of an update's five products are BLAS's. The
updates are those of the general path, with the same random numbers, up to the rounding of the
weights to 2**-20 inside sums, and of hidden means to multiples of 2**-10 (up or down by chance, so
that their expectation stays): their sums are then of 16 bits. Up to 32 rows, and parameters in
double precision, keep 20 bits of the means; the latter receive their updates in double precision,
and the products see them rounded to single.

Several processes (`fastboltz.distributed`) share each minibatch: a process makes the sums of its
rows and chains, they are added up as integers, and each process updates a part of the weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastboltz_ext import packed

from . import interrupts, rng
from .gibbs import ChainState, PackedValues, layer
from .objectives import Chains, Objective, PhaseState
from .optimizers import SGD
from .terms import DenseTerm, Params
from .units.binary import Binary

if TYPE_CHECKING:
    from .training import Rows, Trainer, TrainingState

#: Rows of a minibatch, or chains, up to which means of hidden units keep 12 bits in sums of 32.
MAX_ROWS = 1 << 18
#: Bits of hidden means in statistics of more rows than these: of fewer they would save no time.
MEAN_BITS = 10
_FEW_ROWS = 32
#: In other statistics, and in those of parameters in double precision.
_MOST_MEAN_BITS = 20
#: Seconds that one compiled call should take at the most, so that Ctrl-C is soon heard.
_CALL_SECONDS = 0.1
#: Multiply-adds of a thread in the first call, which knows nothing of the processor yet: a slow one
#: needs a twentieth of a second for them.
_FIRST_CALL = 2.5e8
#: Updates of that call at the most: small ones take some microseconds whatever their work.
_FIRST_UPDATES = 1024


class PairLoop:
    """The compiled loop, bound to the arrays of one training.

    Parameters
    ----------
    trainer : Trainer
    params : dict of arrays
        Updated in place.
    state : TrainingState
        Updated after each call.
    rows : ndarray
        The data: a bit a unit, uint32 of shape (n_rows, words), or float32 (n_rows, n_visible).
    batch_size : int
    first : callable
        Gives the values of the first minibatch, which persistent chains begin at.
    shared : SharedRows, optional
        The data of several processes, of which ``rows`` are this one's.
    interrupted : SharedEvent, optional
        With ``shared``, which of the processes hears of Ctrl-C.
    """

    def __init__(
        self,
        trainer: Trainer,
        params: Params,
        state: TrainingState,
        rows: np.ndarray,
        batch_size: int,
        first: Callable[[], np.ndarray],
        shared: Any = None,
        interrupted: Any = None,
    ) -> None:
        energy = trainer.energy
        (self.term,) = energy.terms
        assert isinstance(self.term, DenseTerm)
        (one,) = trainer.objective.likelihoods
        (self.visible,) = trainer.objective.observed
        (self.hidden,) = (s.group for s in self.term.slots if s.group != self.visible)
        self.n_gibbs = one.n_gibbs
        self.rows = rows
        if shared is None:  # buffers have room for a minibatch
            batch_size = min(batch_size, max(len(rows), 1))
        self.batch_size = batch_size
        self.state = state
        self.shared = shared
        self.interrupted = interrupted
        self.ranks = None if shared is None else shared.ranks
        self.shapes = {g: energy.groups[g].shape for g in (self.hidden, self.visible)}
        self.number = {g: i for i, g in enumerate(energy.groups)}
        self.seed = state.phases.seed
        spin = {g: bool(energy.groups[g].spin) for g in self.shapes}  # type: ignore[attr-defined]
        self.persistent = one.negative == "pcd"
        optimizer = trainer.optimizer
        assert isinstance(optimizer, SGD)
        keys = (self.term.name, self.visible, self.hidden)
        #: What processes tell each other: the weights, and sums.
        self.exchange: Any = None
        if self.ranks is not None:
            sizes = (int(np.prod(self.shapes[g])) for g in (self.visible, self.hidden))
            self.exchange = self.ranks.exchange(*sizes)
        #: Arrays of the training that the loop has a copy of: (view of the array, copy).
        self._copies: list[tuple[np.ndarray, np.ndarray]] = []
        #: Arrays of weights that each process updates its part of.
        self._parts: list[np.ndarray] = []
        masters = None
        if params[self.visible].dtype == np.float64:
            masters = tuple(self._own(params[key], key, np.float64) for key in keys)
            self._parts.append(masters[0])
        arrays = tuple(
            self._own(
                params[key],
                key,
                np.float32,
                give_back=masters is None,
                is_shared=self.exchange is not None and key == self.term.name,
            )
            for key in keys
        )
        velocities = None
        if optimizer.momentum:
            for key in keys:  # momentum set between passes
                state.optimizer.setdefault(f"velocity/{key}", np.zeros_like(params[key]))
            velocities = tuple(
                self._own(state.optimizer[f"velocity/{key}"], key, np.float32) for key in keys
            )
            self._parts.append(velocities[0])
        offsets = None
        self.offsets = state.offsets
        if trainer.centered:
            if not self.offsets:
                self.offsets = {g: np.zeros_like(params[g]) for g in energy.groups}
            offsets = tuple(
                self._own(self.offsets[g], g, np.float32) for g in (self.visible, self.hidden)
            )
        self.chains: ChainState | None = None
        if self.persistent:
            self.chains = self._begin_chains(trainer, params, first)
        l1, l2 = trainer.penalties.get(self.term.name, (0.0, 0.0))
        chain_stream = rng.Address.of(self.seed, "chains")
        #: This process's chains, and the most rows of a minibatch that it has.
        mine, max_rows = slice(0, batch_size), batch_size
        if self.chains is not None:
            mine = slice(0, self.chains.n_chains)
        if self.ranks is not None:
            mine, max_rows = self.ranks.share(mine.stop), -(-batch_size // self.ranks.size)
        self.loop = packed.PairLoop(
            *arrays,
            masters=masters,
            max_rows=max_rows,
            n_chains=mine.stop - mine.start if self.persistent else max_rows,
            persistent=self.persistent,
            n_gibbs=one.n_gibbs,
            momentum=optimizer.momentum,
            l1=l1,
            l2=l2,
            velocities=velocities,
            offsets=offsets,
            spin_visible=spin[self.visible],
            spin_hidden=spin[self.hidden],
            mean_bits=self._mean_bits(batch_size, masters is not None),
            real=rows.dtype == np.float32,
            seed=self.seed,
            streams=(
                rng.Address.of(self.seed, "positive", self.number[self.hidden]).stream,
                chain_stream.at(group=self.number[self.visible]).stream,
                chain_stream.at(group=self.number[self.hidden]).stream,
            ),
            shared=self.ranks is not None,
            common=None if self.exchange is None else self.exchange.common,
            first_chain=mine.start,
            n_threads=trainer.n_threads,
        )
        #: Number of the next sweep; persistent chains may have made some with another n_gibbs.
        self.sweep = state.update * one.n_gibbs
        if self.chains is not None:
            self.sweep = self.chains.address.step
            assert isinstance(self.chains.values, PackedValues)
            hidden = self.chains.values.bits[self.hidden]
            if self.ranks is not None:
                hidden = hidden.take(np.arange(mine.start, mine.stop))
            self.loop.set_chains(hidden)
        #: Updates of the next call.
        n_chains = batch_size if self.chains is None else self.chains.n_chains
        work = float(arrays[0].size) * (2 * batch_size + (2 * self.n_gibbs + 1) * n_chains)
        self.at_once = int(min(max(_FIRST_CALL * trainer.n_threads / work, 1), _FIRST_UPDATES))
        #: Whether the training's state has what only an update can make.
        self.has_begun = False
        #: Whether an update ended with an error, after which other processes may not be heard.
        self.has_failed = False

    def _mean_bits(self, batch_size: int, double: bool) -> int:
        """Bits of the hidden means, the same for every process of a training."""
        rows = batch_size if self.chains is None else max(batch_size, self.chains.n_chains)
        return _MOST_MEAN_BITS if double or rows <= _FEW_ROWS else MEAN_BITS

    def _begin_chains(
        self, trainer: Trainer, params: Params, first: Callable[[], np.ndarray]
    ) -> ChainState:
        """The training's chains on bits; new ones where it has none, as `Objective` starts them."""
        energy, chains = trainer.energy, self.state.phases.chains[0]
        dtype = params[self.visible].dtype
        if chains is not None:
            values = PackedValues.of(energy, chains.values, dtype)
            return ChainState(values, chains.address, chains.clamped)
        v = first()
        at = rng.Address.of(
            self.seed, "positive", self.number[self.hidden], self.state.phases.update
        )
        _, _, h = layer(
            energy, params, {self.visible: v}, self.hidden, at, n_threads=trainer.n_threads
        )
        assert h is not None
        both = {self.visible: v, self.hidden: h}
        packed_rows = PackedValues.of(energy, {g: both[g] for g in energy.groups}, dtype)
        (one,) = trainer.objective.likelihoods
        rows = np.resize(np.arange(len(v)), one.n_chains or len(v))
        return ChainState(packed_rows.take(rows), rng.Address.of(self.seed, "chains"))

    def _matrix(self, x: np.ndarray, key: str) -> np.ndarray:
        """A view as a vector or, for weights, as a matrix (hidden, visible)."""
        if key != self.term.name:
            return x.reshape(-1)
        first = self.term.groups[0]
        flat = x.reshape(int(np.prod(self.shapes[first])), -1)
        return flat if first == self.hidden else flat.T

    def _own(
        self,
        x: np.ndarray,
        key: str,
        dtype: type[np.floating],
        *,
        give_back: bool = True,
        is_shared: bool = False,
    ) -> np.ndarray:
        """What the loop works on: the array itself, or a copy in the layout that it wants, or with
        ``is_shared`` one that is that of other processes too.
        """
        view = self._matrix(x, key)
        if is_shared:
            mine = self.exchange.place(view)
        else:
            mine = np.ascontiguousarray(view, dtype=dtype)
        if give_back and not np.shares_memory(mine, view):
            self._copies.append((view, mine))
        return mine

    @classmethod
    def serve(
        cls,
        trainer: Trainer,
        params: Params,
        data: Mapping[str, Rows],
        sample_weight: np.ndarray | None,
        batch_size: int,
    ) -> np.ndarray | None:
        """The data as the compiled loop takes them if it can make this training, else None."""
        energy, objective = trainer.energy, trainer.objective
        if len(objective.likelihoods) != 1 or len(energy.terms) != 1 or len(energy.groups) != 2:
            return None
        (one,), (term,) = objective.likelihoods, energy.terms
        if type(objective) is not Objective:
            return None
        is_pair = isinstance(term, DenseTerm) and term.is_pair and not term.lateral
        is_binary = all(isinstance(u, Binary) for u in energy.groups.values())
        if not (is_pair and is_binary and len(one.of) == 1):
            return None
        if one.given or one.without:
            return None
        if (
            one.weight != 1
            or one.negative not in ("cd", "pcd")
            or type(trainer.optimizer) is not SGD
        ):
            return None
        n_rows = min(batch_size, len(data[one.of[0]]))
        if one.negative == "pcd":
            n_rows = max(n_rows, one.n_chains or 0)
        has_spins = any(u.spin for u in energy.groups.values())  # type: ignore[attr-defined]
        if n_rows * (1 + has_spins) > MAX_ROWS:
            return None
        if trainer.limit is not None or trainer.clip_norm is not None or sample_weight is not None:
            return None
        if trainer.activities or trainer.decrements:
            return None
        kinds = {x.dtype for x in params.values()}
        if len(kinds) > 1 or not kinds <= {np.dtype(np.float32), np.dtype(np.float64)}:
            return None
        if any(not x.flags.c_contiguous for x in params.values()):
            return None
        rows = data[one.of[0]]
        states = energy.groups[one.of[0]].states()
        bits = rows.bits(states)
        if bits is not None or states is None:
            return bits
        # Weights that fit promise fields in the range of fixed point only for values between the
        # states.
        return rows.plain(float(states.min()), float(states.max()))

    def close(self) -> None:
        """Give the chains, and what was worked on in copies, back to the training."""
        self.flush()
        if self.chains is not None and self.has_begun and not self.has_failed:
            visible, hidden = self.loop.chains()
            if self.ranks is not None:
                visible, hidden = self.ranks.gather(visible), self.ranks.gather(hidden)
            both = {self.visible: visible, self.hidden: hidden}
            old = self.chains.values
            assert isinstance(old, PackedValues)
            values = PackedValues({g: both[g] for g in old}, old.shapes, old.dtype)
            address = self.chains.address.at(step=self.sweep)
            self.state.phases.chains[0] = ChainState(values, address, self.chains.clamped)

    def flush(self) -> None:
        """Give what is worked on in copies back to the training, whose arrays are then current."""
        if self.exchange is not None and self.has_begun and not self.has_failed:
            for x in self._parts:
                self.exchange.put_together(x)
        for theirs, mine in self._copies:
            theirs[...] = mine

    def run(self, rows: np.ndarray, n_updates: int | None, trainer: Trainer) -> tuple[int, float]:
        """Make as many updates as fit one call: (updates made, rate of the last)."""
        state = self.state
        left = -(-len(rows) // self.batch_size)
        n = left if self.ranks is not None else min(left, self.at_once)
        rates = trainer.schedule.rates(state.update, n, n_updates)
        if self.ranks is None:
            made = self._run_alone(rows, rates)
        else:
            try:
                made = self._run_shared(rows, rates)
            except BaseException:
                self.has_failed = True
                raise
        if made:
            self.has_begun = True
            state.offsets = self.offsets
        state.update += made
        self.sweep += made * self.n_gibbs
        chains: list[Chains | None] = state.phases.chains if self.persistent else [None]
        state.phases = PhaseState(self.seed, state.phases.update + made, chains)
        return made, rates[made - 1] if made else 0.0

    def _run_shared(self, rows: np.ndarray, rates: list[float]) -> int:
        """One update a minibatch, of which this process has a share of the rows and chains."""
        ranks, state, size = self.ranks, self.state, self.batch_size
        assert ranks is not None
        mine = ranks.deal(self.rows, self.shared.ends, rows, size)
        begin = 0
        for k, rate in enumerate(rates):
            n_rows = min(size, len(rows) - k * size)
            share = ranks.share(n_rows)
            end = begin + share.stop - share.start
            n = {"n_rows": n_rows, "n_chains": n_rows}
            if self.chains is not None:
                n["n_chains"] = self.chains.n_chains
            sums = self.loop.share(
                mine,
                np.arange(begin, end),
                first_row=share.start,
                update=state.update + k,
                sweep=self.sweep + k * self.n_gibbs,
                **n,
            )
            if sums is None:  # on every rank, for the weights are the same
                return k
            sums[0] = self.interrupted.own.is_set()
            self.exchange.add_up(sums)
            stop = sums[0] > 0
            first = k == 0 and not state.offsets
            self.loop.take(rate, first=first, part=self.exchange.part, **n)
            self.exchange.spread()
            self.loop.end(rate)
            begin = end
            if stop:
                return k + 1
        return len(rates)

    def _run_alone(self, rows: np.ndarray, rates: list[float]) -> int:
        n, state = len(rates), self.state
        begin = time.perf_counter()
        made: int = self.loop.run(
            self.rows,
            rows[: n * self.batch_size],
            self.batch_size,
            np.array(rates, dtype=np.float32),
            update=state.update,
            sweep=self.sweep,
            first=not state.offsets,
            stop=interrupts.has_come,
        )
        seconds = time.perf_counter() - begin
        if seconds < _CALL_SECONDS / 4:
            self.at_once *= 2
        elif seconds > _CALL_SECONDS:
            self.at_once = max(1, self.at_once // 2)
        return made
