"""Training of two binary groups in compiled minibatches (`fastboltz_ext.packed.PairLoop`).

`Trainer` asks `PairLoop.serve` whether a training is of the kind that the compiled loop makes: one
plain matrix between two groups of binary units in single precision, data between the two values
of a visible unit, CD or PCD, and SGD. Where the data are not binary, two of an update's five
products are BLAS's. The updates are those of the general path, with the same random numbers, up to
the rounding of the weights to 2**-20 inside sums.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fastboltz_ext import packed

from . import rng
from .gibbs import ChainState
from .objectives import PhaseState
from .optimizers import SGD
from .terms import DenseTerm, Params
from .units.binary import Binary

if TYPE_CHECKING:
    from .training import Rows, Trainer, TrainingState

#: Seconds that one compiled call should take at the most, so that Ctrl-C is soon heard.
_CALL_SECONDS = 0.1


class PairLoop:
    """The compiled loop, bound to the arrays of one training.

    Parameters
    ----------
    trainer : Trainer
    params : dict of arrays
        Updated in place.
    state : TrainingState
        Updated after each call; it must have made its first update.
    rows : ndarray
        The data: a bit a unit, uint32 of shape (n_rows, words), or float32 (n_rows, n_visible).
    batch_size : int
    """

    def __init__(
        self,
        trainer: Trainer,
        params: Params,
        state: TrainingState,
        rows: np.ndarray,
        batch_size: int,
    ) -> None:
        energy = trainer.energy
        (self.term,) = energy.terms
        assert isinstance(self.term, DenseTerm)
        self.hidden, self.visible = (s.group for s in self.term.slots)
        (one,) = trainer.objective.likelihoods
        self.n_gibbs = one.n_gibbs
        self.rows = rows
        self.batch_size = batch_size
        self.state = state
        self.shapes = {g: energy.groups[g].shape for g in (self.hidden, self.visible)}
        self.number = {g: i for i, g in enumerate(energy.groups)}
        self.seed = state.phases.seed
        self.low = {g: -1.0 if energy.groups[g].spin else 0.0 for g in self.shapes}  # type: ignore[attr-defined]
        self.persistent = one.negative == "pcd"
        optimizer = trainer.optimizer
        assert isinstance(optimizer, SGD)
        keys = (self.term.name, self.visible, self.hidden)
        velocities = None
        if optimizer.momentum:
            for key in keys:  # momentum set between passes
                state.optimizer.setdefault(f"velocity/{key}", np.zeros_like(params[key]))
            velocities = tuple(self._flat(state.optimizer[f"velocity/{key}"], key) for key in keys)
        offsets = None
        if trainer.centered:
            offsets = tuple(self._flat(state.offsets[g], g) for g in (self.visible, self.hidden))
        chains = state.phases.chains[0]
        l1, l2 = trainer.penalties.get(self.term.name, (0.0, 0.0))
        chain_stream = rng.Address.of(self.seed, "chains")
        self.loop = packed.PairLoop(
            *(self._flat(params[key], key) for key in keys),
            max_rows=batch_size,
            n_chains=batch_size if chains is None else chains.n_chains,
            persistent=self.persistent,
            n_gibbs=one.n_gibbs,
            momentum=optimizer.momentum,
            l1=l1,
            l2=l2,
            velocities=velocities,
            offsets=offsets,
            spin_visible=self.low[self.visible] < 0,
            spin_hidden=self.low[self.hidden] < 0,
            real=rows.dtype == np.float32,
            seed=self.seed,
            streams=(
                rng.Address.of(self.seed, "positive", self.number[self.hidden]).stream,
                chain_stream.at(group=self.number[self.visible]).stream,
                chain_stream.at(group=self.number[self.hidden]).stream,
            ),
            n_threads=trainer.n_threads,
        )
        #: Number of the next sweep; persistent chains may have made some with another n_gibbs.
        self.sweep = state.update * one.n_gibbs
        if self.persistent and chains is not None:
            self.sweep = chains.address.step
        self.at_once = 8

    def _flat(self, x: np.ndarray, key: str) -> np.ndarray:
        """The array itself, as a vector or, for weights, as (hidden, visible)."""
        flat = x.reshape(-1)
        if key != self.term.name:
            return flat
        return flat.reshape(int(np.prod(self.shapes[self.hidden])), -1)

    @classmethod
    def serve(
        cls,
        trainer: Trainer,
        params: Params,
        data: Mapping[str, Rows],
        sample_weight: np.ndarray | None,
    ) -> np.ndarray | None:
        """The data as the compiled loop takes them if it can make this training, else None."""
        energy, objective = trainer.energy, trainer.objective
        if len(objective.likelihoods) != 1 or len(energy.terms) != 1 or len(energy.groups) != 2:
            return None
        (one,), (term,) = objective.likelihoods, energy.terms
        is_pair = isinstance(term, DenseTerm) and term.is_pair and not term.lateral
        is_binary = all(isinstance(u, Binary) for u in energy.groups.values())
        if not (is_pair and is_binary and one.of == term.groups[1:] and not one.given):
            return None
        if (
            one.weight != 1
            or one.negative not in ("cd", "pcd")
            or type(trainer.optimizer) is not SGD
        ):
            return None
        if trainer.limit is not None or sample_weight is not None:
            return None
        if any(x.dtype != np.float32 or not x.flags.c_contiguous for x in params.values()):
            return None
        rows = data[one.of[0]]
        bits = rows.bits(energy.groups[one.of[0]].states())
        return rows.plain() if bits is None else bits

    @staticmethod
    def can_start(trainer: Trainer, state: TrainingState) -> bool:
        """Whether the first update, which starts chains and offsets, has been made."""
        (one,) = trainer.objective.likelihoods
        has_chains = one.negative == "cd" or state.phases.chains[0] is not None
        return has_chains and (bool(state.offsets) or not trainer.centered)

    def open(self) -> None:
        """Take the chains over from the training's state."""
        chains = self.state.phases.chains[0]
        if self.persistent and chains is not None:
            h = chains.values[self.hidden]
            h = np.ascontiguousarray(h.reshape(len(h), -1), dtype=np.float32)
            self.loop.set_chains(packed.Bits.pack(h, low=self.low[self.hidden]))

    def close(self) -> None:
        """Give the chains back to the training's state."""
        chains = self.state.phases.chains[0]
        if self.persistent and chains is not None:
            visible, hidden = self.loop.chains()
            values = {}
            for g, bits in ((self.visible, visible), (self.hidden, hidden)):
                values[g] = bits.unpack().reshape(-1, *self.shapes[g])
            values = {g: values[g] for g in chains.values}
            address = chains.address.at(step=self.sweep)
            self.state.phases.chains[0] = ChainState(values, address, chains.clamped)

    def run(self, rows: np.ndarray, n_updates: int | None, trainer: Trainer) -> tuple[int, float]:
        """Make as many updates as fit one call: (updates made, rate of the last)."""
        state = self.state
        left = -(-len(rows) // self.batch_size)
        n = min(left, self.at_once)
        rates = [trainer.schedule(state.update + k, n_updates) for k in range(n)]
        begin = time.perf_counter()
        made = self.loop.run(
            self.rows,
            rows[: n * self.batch_size],
            self.batch_size,
            np.array(rates, dtype=np.float32),
            update=state.update,
            sweep=self.sweep,
        )
        seconds = time.perf_counter() - begin
        if seconds < _CALL_SECONDS / 4:
            self.at_once *= 2
        elif seconds > _CALL_SECONDS:
            self.at_once = max(1, self.at_once // 2)
        state.update += made
        self.sweep += made * self.n_gibbs
        chains: list[ChainState | None] = state.phases.chains if self.persistent else [None]
        state.phases = PhaseState(self.seed, state.phases.update + made, chains)
        return made, rates[made - 1] if made else 0.0
