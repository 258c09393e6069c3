"""Sequences: a recurrent network whose states are what an energy is given, step by step.

The network reads step t and makes the state u(t); step t + 1 has the distribution
``p(v | u(t))`` of an energy in which u is a group that is given. Terms of the energy say what the
network emits: with ``v_i u_r`` the visible biases, with ``h_j u_r`` the hidden ones, with
``h_j v_i u_r | R`` weights ``W(t) = W + A diag(C'u(t)) B'`` of rank R away from W, with
``h_j v_i u_r`` any weights. So the gradient by all parameters of the energy, and by every u(t), is
that of `Objective`; what is written here is the recurrent part, back-propagation through it, and
minibatches of sequences.

==========================  ========================================================
`Tanh`, `GRU`, `MeanField`  recurrent parts
`SequenceObjective`         mean over steps of ``log p(v(t) | u(t - 1))``
`Streams`                   sequences side by side, cut in chunks
`SequenceTrainer`           updates a chunk at a time, states carried on
`emitted_gradient`          gradients for a network of one's own
==========================  ========================================================
"""

from __future__ import annotations

import heapq
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastboltz_ext import layers, packed
from fastboltz_ext import recurrent as steps

from . import interrupts, products, rng, threads
from .energy import Energy
from .gibbs import ChainState
from .interrupts import GivenUp, Interrupted, deferred_interrupt
from .objectives import LogLikelihood, Objective, PhaseState
from .terms import Params, as_rows
from .training import Rows, Trainer, TrainingState
from .units import Bernoulli, Gaussian, Unit
from .validation import one_of

#: What every recurrent part's parameters are called.
PREFIX = "recurrent."
#: The state before the first step, learnt.
START = f"{PREFIX}start"


# -- recurrent parts -------------------------------------------------------------------------------


@dataclass
class Tape:
    """What a pass through the network leaves for the way back.

    Attributes
    ----------
    x : ndarray of shape (n_steps, n_sequences, n_inputs)
    before, after : ndarray of shape (n_steps, n_sequences, n_units)
        u(t - 1) and u(t): what step t is given, and what it leaves.
    reset : ndarray of bool, shape (n_steps, n_sequences)
        Where a sequence begins, so that u(t - 1) is the learnt start.
    kept : list or ndarray
        Whatever the recurrent part wants to see again, one entry a step.
    """

    x: np.ndarray
    before: np.ndarray
    after: np.ndarray
    reset: np.ndarray
    kept: Any = field(default_factory=list)


class Recurrent(ABC):
    """A recurrent part: ``u(t) = f(u(t - 1), v(t))``.

    A subclass states the shapes of its parameters, one step forward and one back, for all sequences
    of a minibatch at once. ``drive`` stands for what depends on the input alone, and is computed
    for all steps at once.
    """

    #: How many times the number of units the drive has.
    gates: int = 1

    def shapes(self, n_inputs: int, n_units: int) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter array, by key."""
        wide = self.gates * n_units
        return {
            f"{PREFIX}input": (n_inputs, wide),
            f"{PREFIX}state": (n_units, wide),
            f"{PREFIX}bias": (wide,),
            START: (n_units,),
        }

    def init(self, seed: int, n_inputs: int, n_units: int, dtype: Any) -> Params:
        """Parameters to begin with: orthogonal state weights, inputs normal, all else zero."""
        out = {key: np.zeros(s, dtype) for key, s in self.shapes(n_inputs, n_units).items()}
        at = rng.Address.of(seed, "weights", group=1)
        if f"{PREFIX}input" in out:
            w = rng.normal(at, out[f"{PREFIX}input"].shape)
            out[f"{PREFIX}input"] += (w * n_inputs**-0.5).astype(dtype)
        if f"{PREFIX}state" in out:
            for k in range(self.gates):
                square = rng.normal(at.at(step=1 + k), (n_units, n_units))
                part = slice(k * n_units, (k + 1) * n_units)
                out[f"{PREFIX}state"][:, part] = np.linalg.qr(square)[0]
        return out

    def drive(self, params: Params, unit: Unit, x: np.ndarray, n_threads: int) -> np.ndarray:
        """What the inputs contribute to every step, (n_steps, n_sequences, width)."""
        return _affine(
            unit, x, params[f"{PREFIX}input"], params[f"{PREFIX}bias"], n_threads=n_threads
        )

    @abstractmethod
    def step(self, params: Params, before: np.ndarray, drive: np.ndarray) -> tuple[np.ndarray, Any]:
        """u(t) from u(t - 1) and the step's drive, and what `back` wants to see again."""

    @abstractmethod
    def back(
        self, params: Params, before: np.ndarray, after: np.ndarray, kept: Any, grad: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradients by the step's drive and by u(t - 1), from that by u(t)."""

    def collect(
        self,
        params: Params,
        unit: Unit,
        tape: Tape,
        drives: np.ndarray,
        out: Params,
        n_threads: int,
    ) -> None:
        """Add the gradient by the parameters to ``out``, from that by the drives of all steps."""
        d = drives.reshape(-1, drives.shape[-1])
        x, before = (a.reshape(len(d), -1) for a in (tape.x, tape.before))
        products.outer((unit, None), x, d, out[f"{PREFIX}input"], n_threads=n_threads)
        layers.outer(before, d, out[f"{PREFIX}state"], beta=1.0, n_threads=n_threads)
        out[f"{PREFIX}bias"] += products.sum_rows(d)

    # -- what all share ------------------------------------------------------------------------

    def forward(
        self,
        params: Params,
        unit: Unit,
        x: np.ndarray,
        reset: np.ndarray,
        carried: np.ndarray | None = None,
        n_threads: int = 1,
    ) -> Tape:
        """States of all steps.

        Parameters
        ----------
        unit : Unit
            Type of the inputs: products with binary ones are made on bits.
        x : ndarray of shape (n_steps, n_sequences, n_inputs)
        reset : ndarray of bool, shape (n_steps, n_sequences)
        carried : ndarray of shape (n_sequences, n_units), optional
            States before the first step, where it does not reset.
        """
        drive = self.drive(params, unit, x, n_threads)
        start = params[START]
        state = np.tile(start, (x.shape[1], 1)) if carried is None else carried
        before = np.empty((*x.shape[:2], len(start)), start.dtype)
        tape = Tape(x, before, np.empty_like(before), reset)
        self._forward(params, tape, drive, state)
        return tape

    def _forward(self, params: Params, tape: Tape, drive: np.ndarray, state: np.ndarray) -> None:
        """States of all steps from that before the first, onto the tape."""
        before, reset = tape.before, tape.reset
        resets = reset.sum(axis=1).tolist()
        for t in range(len(before)):
            before[t] = np.where(reset[t][:, None], params[START], state) if resets[t] else state
            made = self.step(params, before[t], drive[t])
            if t == 0:
                what = "u(t), one row a sequence, and what back() wants to see again (or None)"
                self._check_made("step", what, made, 0, state.shape)
            state, kept = made
            tape.after[t] = state
            tape.kept.append(kept)

    def _check_made(
        self, method: str, what: str, made: Any, at: int, shape: tuple[int, ...]
    ) -> None:
        """Raise a sentence if a subclass returns no pair with an array of this shape in it."""
        is_pair = isinstance(made, tuple) and len(made) == 2
        if is_pair and np.shape(made[at]) == shape:
            return
        if is_pair:
            got = f"shape {np.shape(made[at])}"
        else:
            size = f" of {len(made)}" if isinstance(made, tuple) else ""
            got = f"a {type(made).__name__}{size}"
        raise ValueError(
            f"{method}() of {type(self).__name__} must return a tuple of two, {what}; the "
            f"{('first', 'second')[at]} of shape {shape}. Got {got}."
        )

    def backward(
        self,
        params: Params,
        unit: Unit,
        tape: Tape,
        grad: np.ndarray,
        out: Params,
        n_threads: int = 1,
    ) -> None:
        """Back-propagation through time: add the gradient by the parameters to ``out``.

        It ends where the states were carried over from an earlier chunk.

        Parameters
        ----------
        grad : ndarray of shape (n_steps, n_sequences, n_units)
            Gradient by what each step is given, u(t - 1), other steps held.
        """
        drives = self._backward(params, tape, grad, out[START])
        if drives is not None:
            self.collect(params, unit, tape, drives, out, n_threads)

    def _backward(
        self, params: Params, tape: Tape, grad: np.ndarray, start: np.ndarray
    ) -> np.ndarray | None:
        """Gradient by the drives of all steps, if there are any; that by the start is added."""
        carry = np.zeros_like(grad[0])
        drives: np.ndarray | None = None
        resets = tape.reset.sum(axis=1).tolist()
        for t in reversed(range(len(grad))):
            made = self.back(params, tape.before[t], tape.after[t], tape.kept[t], carry)
            if drives is None:
                what = "the gradients by the step's drive and by u(t - 1)"
                self._check_made("back", what, made, 1, carry.shape)
            drive, carry = made
            carry = carry + grad[t]
            if drives is None:
                drives = np.empty((len(grad), *drive.shape), drive.dtype)
            drives[t] = drive
            if resets[t]:
                begins = tape.reset[t]
                start += carry[begins].sum(axis=0)
                carry[begins] = 0
        return drives


class Compiled(Recurrent):
    """A part whose steps are compiled, all of a chunk in one call.

    A subclass that has a step of its own, or a way back, takes one step at a time like any other.
    """

    @abstractmethod
    def _ahead(self, params: Params, tape: Tape, drive: np.ndarray, state: np.ndarray) -> None:
        """States of all steps from that before the first, onto the tape."""

    @abstractmethod
    def _home(
        self, params: Params, tape: Tape, grad: np.ndarray, carry: np.ndarray, start: np.ndarray
    ) -> np.ndarray:
        """Gradient by the drives of all steps.

        ``carry`` is the gradient by the last state, and then that by what the first step is given.
        """

    def step(self, params: Params, before: np.ndarray, drive: np.ndarray) -> tuple[np.ndarray, Any]:
        tape = self._one_step(before)
        self._ahead(params, tape, drive[None], before)
        return tape.after[0], tape.kept[0]

    def back(
        self, params: Params, before: np.ndarray, after: np.ndarray, kept: Any, grad: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        tape = self._one_step(before)
        tape.before[0], tape.after[0], tape.kept = before, after, [kept]
        carry = grad.copy()
        nothing, start = np.zeros_like(tape.after), np.zeros_like(params[START])
        return self._home(params, tape, nothing, carry, start)[0], carry

    @staticmethod
    def _one_step(before: np.ndarray) -> Tape:
        """A tape for a step in which no sequence begins."""
        shape = (1, *before.shape)
        nothing, reset = np.empty((*shape[:2], 0)), np.zeros(shape[:2], bool)
        return Tape(nothing, np.empty(shape, before.dtype), np.empty(shape, before.dtype), reset)

    def _is_compiled(self) -> bool:
        """Whether the steps and the way back are those above."""
        own = type(self)
        return own.step is Compiled.step and own.back is Compiled.back

    def _forward(self, params: Params, tape: Tape, drive: np.ndarray, state: np.ndarray) -> None:
        if self._is_compiled():
            self._ahead(params, tape, drive, state)
        else:
            super()._forward(params, tape, drive, state)

    def _backward(
        self, params: Params, tape: Tape, grad: np.ndarray, start: np.ndarray
    ) -> np.ndarray | None:
        if not len(grad) or not self._is_compiled():
            return super()._backward(params, tape, grad, start)
        return self._home(params, tape, grad, np.zeros_like(tape.after[0]), start)


class Tanh(Compiled):
    """``u(t) = tanh(b + W_vu v(t) + W_uu u(t - 1))``."""

    def _ahead(self, params: Params, tape: Tape, drive: np.ndarray, state: np.ndarray) -> None:
        given = (np.ascontiguousarray(a) for a in (state, params[START], params[f"{PREFIX}state"]))
        drive, reset = np.ascontiguousarray(drive), np.ascontiguousarray(tape.reset)
        steps.tanh_forward(*given, drive, reset, tape.before, tape.after)
        tape.kept = [None] * len(drive)

    def _home(
        self, params: Params, tape: Tape, grad: np.ndarray, carry: np.ndarray, start: np.ndarray
    ) -> np.ndarray:
        drives = np.empty_like(tape.after)
        given = (np.ascontiguousarray(a) for a in (tape.after, tape.reset, grad))
        steps.tanh_backward(_turned(params), *given, carry, start, drives)
        return drives


class GRU(Compiled):
    """Gated recurrent units (Cho et al., EMNLP 2014).

    With an update gate z, a reset gate r and a candidate n::

        z, r = sigma(b + W v(t) + U u(t - 1)) of each,  n = tanh(b + W v(t) + r * (U u(t - 1))),
        u(t) = z * u(t - 1) + (1 - z) * n
    """

    gates = 3

    def _ahead(self, params: Params, tape: Tape, drive: np.ndarray, state: np.ndarray) -> None:
        given = (np.ascontiguousarray(a) for a in (state, params[START], params[f"{PREFIX}state"]))
        drive, reset = np.ascontiguousarray(drive), np.ascontiguousarray(tape.reset)
        kept = np.empty((*drive.shape[:2], 4 * state.shape[1]), drive.dtype)
        steps.gru_forward(*given, drive, reset, tape.before, tape.after, kept)
        tape.kept = kept

    def _home(
        self, params: Params, tape: Tape, grad: np.ndarray, carry: np.ndarray, start: np.ndarray
    ) -> np.ndarray:
        kept = np.ascontiguousarray(tape.kept)
        drives = np.empty((*kept.shape[:2], 3 * carry.shape[1]), kept.dtype)
        given = (np.ascontiguousarray(a) for a in (tape.before, kept, tape.reset, grad))
        steps.gru_backward(_turned(params), *given, carry, start, drives)
        return drives

    def collect(
        self,
        params: Params,
        unit: Unit,
        tape: Tape,
        drives: np.ndarray,
        out: Params,
        n_threads: int,
    ) -> None:
        d = drives.reshape(-1, drives.shape[-1])
        x, before = (a.reshape(len(d), -1) for a in (tape.x, tape.before))
        products.outer((unit, None), x, d, out[f"{PREFIX}input"], n_threads=n_threads)
        out[f"{PREFIX}bias"] += products.sum_rows(d)
        # The candidate sees the state through the reset gate.
        k = before.shape[1]
        d[:, 2 * k :] *= np.reshape(tape.kept, (len(d), -1))[:, k : 2 * k]
        layers.outer(before, d, out[f"{PREFIX}state"], beta=1.0, n_threads=n_threads)


class MeanField(Recurrent):
    """The recurrent temporal RBM (Sutskever, Hinton & Taylor, NIPS 2008): no parameters of its own.

    The state is the mean of the hidden units, ``u(t) = sigma(c + W v(t) + W_hu u(t - 1))``, with
    the energy's own biases c and weights.

    Parameters
    ----------
    term, state, group : str
        Keys of W (hidden, visible) and W_hu, and of c.
    """

    def __init__(self, term: str, state: str, group: str) -> None:
        self.term = term
        self.state = state
        self.group = group

    def shapes(self, n_inputs: int, n_units: int) -> dict[str, tuple[int, ...]]:
        return {START: (n_units,)}

    def _weights(self, params: Params) -> np.ndarray:
        return params[self.term].reshape(len(params[self.group]), -1)

    def drive(self, params: Params, unit: Unit, x: np.ndarray, n_threads: int) -> np.ndarray:
        w, c = self._weights(params), params[self.group]
        return _affine(unit, x, w, c, transpose=True, n_threads=n_threads)

    def step(self, params: Params, before: np.ndarray, drive: np.ndarray) -> tuple[np.ndarray, Any]:
        return _logistic(drive + before @ params[self.state].T), None

    def back(
        self, params: Params, before: np.ndarray, after: np.ndarray, kept: Any, grad: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        d = grad * after * (1 - after)
        return d, d @ params[self.state]

    def collect(
        self,
        params: Params,
        unit: Unit,
        tape: Tape,
        drives: np.ndarray,
        out: Params,
        n_threads: int,
    ) -> None:
        d = drives.reshape(-1, drives.shape[-1])
        x, before = (a.reshape(len(d), -1) for a in (tape.x, tape.before))
        products.outer((None, unit), d, x, self._weights(out), n_threads=n_threads)
        layers.outer(d, before, out[self.state], beta=1.0, n_threads=n_threads)
        out[self.group] += products.sum_rows(d)


def _affine(
    unit: Unit,
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    *,
    transpose: bool = False,
    n_threads: int = 1,
) -> np.ndarray:
    """``x @ w + bias`` over all steps."""
    out = np.empty((*x.shape[:2], len(bias)), bias.dtype)
    flat = out.reshape(-1, len(bias))
    rows = x.reshape(len(flat), -1)
    products.product(unit, rows, w, flat, transpose=transpose, n_threads=n_threads)
    out += bias
    return out


def _turned(params: Params) -> np.ndarray:
    """The state's weights for the way back: products with a transposed view take twice as long."""
    return np.ascontiguousarray(params[f"{PREFIX}state"].T)


def _logistic(x: np.ndarray) -> np.ndarray:
    half = x.dtype.type(0.5)
    return half * np.tanh(half * x) + half


# -- the objective ---------------------------------------------------------------------------------


@dataclass
class RowChains:
    """A persistent chain for every step of the training sequences, one bit a hidden unit.

    A chain that belongs to a step is met again an epoch later, when that step's parameters have
    moved little; chains that belong to no step would have to follow parameters that jump.

    Attributes
    ----------
    bits : Bits of shape (n_steps, n_hidden)
    seen : ndarray of bool, shape (n_steps,)
        Which have begun.
    """

    bits: packed.Bits
    seen: np.ndarray

    @classmethod
    def of(cls, n_steps: int, n_hidden: int) -> RowChains:
        """Chains that have not begun."""
        return cls(packed.Bits(n_steps, n_hidden), np.zeros(n_steps, bool))

    def put(self, rows: np.ndarray, hidden: np.ndarray) -> None:
        """Hidden units of some steps' chains."""
        new = packed.Bits.pack(as_rows(hidden)).words
        to = np.arange(len(rows))
        self.bits.words[rows // 16, :, rows % 16] = new[to // 16, :, to % 16]
        self.seen[rows] = True


@dataclass
class SequencePhaseState(PhaseState):
    """What the phases carry from update to update.

    Attributes
    ----------
    steps : RowChains or None
        Persistent chains of the training's steps.
    """

    steps: RowChains | None = None


class SequenceObjective(Objective):
    """Mean over steps of ``log p(v(t) | u(t - 1))``, where a recurrent part makes the u.

    Parameters
    ----------
    energy : Energy
        With groups ``"v"``, ``"h"`` and ``"u"``.
    recurrent : Recurrent
    negative : {"cd", "pcd", "exact"}
        "pcd" keeps a chain for every step of the training sequences.
    n_gibbs : int
    n_threads : int or None
    restarts : float
        Share of the chains of "cd" that begin at the hidden units of another step of the minibatch
        and make ``restart_sweeps`` sweeps before the ``n_gibbs`` of all. Chains that begin at their
        own step never see the modes that are far from it.
    restart_sweeps : int

    Attributes
    ----------
    tape : Tape
        Of the last minibatch.
    """

    def __init__(
        self,
        energy: Energy,
        recurrent: Recurrent,
        negative: str = "cd",
        n_gibbs: int = 1,
        n_threads: int | None = None,
        restarts: float = 0.0,
        restart_sweeps: int = 100,
    ) -> None:
        sampled = "exact" if negative == "exact" else "cd"
        one = LogLikelihood("v", "u", negative=sampled, n_gibbs=n_gibbs)
        super().__init__(energy, one, n_threads)
        self.recurrent = recurrent
        self.persistent = negative == "pcd"
        self.restarts = restarts if negative == "cd" else 0.0
        self.restart_sweeps = restart_sweeps

    def init(self, random_state: Any = None) -> SequencePhaseState:
        """State of the phases before the first update."""
        return SequencePhaseState(rng.seed_from(random_state), 0, [None])

    def step(
        self,
        params: Params,
        batch: Mapping[str, np.ndarray],
        state: PhaseState,
        weights: np.ndarray | None = None,
        out: Params | None = None,
    ) -> tuple[Params, dict[str, np.ndarray], PhaseState]:
        """Gradient of one minibatch, unchecked.

        Parameters
        ----------
        batch : dict of arrays
            ``"v"`` (n_steps, n_sequences, *shape), ``"mask"`` and ``"reset"``
            (n_steps, n_sequences), which steps there are and which begin a sequence, ``"rows"``,
            the number of each step among all of the training, and maybe ``"u"``, the states
            carried on from the chunk before.

        Returns
        -------
        As `Objective.step`.
        """
        v, mask = batch["v"], batch["mask"]
        unit = self.energy.groups["v"]
        flat = np.flatnonzero(mask)
        tape = self.recurrent.forward(
            params,
            unit,
            v.reshape(*mask.shape, unit.size),
            batch["reset"],
            batch.get("u"),
            self.n_threads,
        )
        before = tape.before.reshape(mask.size, -1)
        rows = {"v": v.reshape(mask.size, *unit.shape), "u": before}
        if len(flat) < mask.size:
            rows = {g: x[flat] for g, x in rows.items()}
        inputs = {"u": np.zeros_like(rows["u"])}
        chains = state.steps if isinstance(state, SequencePhaseState) else None
        if self.persistent and chains is not None:
            numbers = batch["rows"].reshape(-1)[flat]
            out, means = self._persistent(params, rows, state, chains, numbers, out, inputs)
            after: PhaseState = replace(state, update=state.update + 1)
        elif self.restarts:
            out, means = self._restarted(params, rows, state, out, inputs)
            after = replace(state, update=state.update + 1)
        else:
            out, means, _ = super()._step(params, rows, state, None, out, inputs)
            after = replace(state, update=state.update + 1)
        grad = inputs["u"]
        if len(flat) < mask.size:
            grad = np.zeros_like(before)
            grad[flat] = inputs["u"]
        grad = grad.reshape(tape.before.shape)
        self.recurrent.backward(params, unit, tape, grad, out, self.n_threads)
        self.tape = tape
        return out, means, after

    def _persistent(
        self,
        params: Params,
        rows: Mapping[str, np.ndarray],
        state: PhaseState,
        chains: RowChains,
        numbers: np.ndarray,
        out: Params | None,
        inputs: Params,
    ) -> tuple[Params, dict[str, np.ndarray]]:
        """Both phases, the negative one with each step's own chain."""
        seen = chains.seen[numbers]

        def begin(start: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            # A sweep draws v first, so the visible side of a chain need not be kept.
            h = chains.bits.take(numbers).unpack(dtype=params["h"].dtype)
            h[~seen] = start["h"][~seen]
            return {**start, "h": h}

        out, means, end = self._contrast(params, rows, state, out, inputs, begin)
        chains.put(numbers, end.values["h"])
        return out, means

    def _restarted(
        self,
        params: Params,
        rows: Mapping[str, np.ndarray],
        state: PhaseState,
        out: Params | None,
        inputs: Params,
    ) -> tuple[Params, dict[str, np.ndarray]]:
        """Both phases, the negative one with some chains that come from elsewhere."""
        (phases,) = self._phases
        n = len(rows["v"])
        at = rng.Address.of(state.seed, "restarts", step=state.update)
        some = np.sort(rng.permutation(at, n)[: round(self.restarts * n)])
        others = rng.permutation(at.at(group=1), n)[: len(some)]

        def begin(start: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            values = {g: x[some] for g, x in start.items()} | {"h": start["h"][others]}
            fixed = phases.sampler.fixed(params, values, phases.given)
            first = at.at(group=2, step=state.update * self.restart_sweeps)
            far = phases.sampler.start(params, len(some), first, values, copy=False)
            far = phases.sampler.step(params, far, self.restart_sweeps, fixed=fixed)
            h = start["h"].copy()
            h[some] = far.values["h"]
            return {**start, "h": h}

        out, means, _ = self._contrast(params, rows, state, out, inputs, begin)
        return out, means

    def _contrast(
        self,
        params: Params,
        rows: Mapping[str, np.ndarray],
        state: PhaseState,
        out: Params | None,
        inputs: Params,
        begin: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    ) -> tuple[Params, dict[str, np.ndarray], ChainState]:
        """Both phases with chains that begin where ``begin`` says."""
        (phases,) = self._phases
        if out is None:
            out = self.energy.zeros(params)
        else:
            for x in out.values():
                x.fill(0)
        means, end = phases.contrast(
            params, rows, out, 1.0, None, state.seed, state.update, inputs, begin
        )
        return out, means, end


# -- minibatches of sequences ----------------------------------------------------------------------


@dataclass(frozen=True)
class Streams:
    """Sequences side by side: each stream has whole sequences, one after the other.

    Attributes
    ----------
    rows : ndarray of int, shape (n_steps, n_streams)
        Number of each step among all sequences, and -1 after a stream's end.
    reset : ndarray of bool, shape (n_steps, n_streams)
        Where a sequence begins.
    """

    rows: np.ndarray
    reset: np.ndarray

    @classmethod
    def of(cls, lengths: np.ndarray, order: np.ndarray, n_streams: int) -> Streams:
        """The sequences in this order, each on the stream that is shortest by then."""
        first = np.cumsum(lengths) - lengths
        n_streams = min(n_streams, len(order))
        streams: list[list[int]] = [[] for _ in range(n_streams)]
        shortest = [(0, s) for s in range(n_streams)]
        for one in order:
            length, s = heapq.heappop(shortest)
            streams[s].append(int(one))
            heapq.heappush(shortest, (length + int(lengths[one]), s))
        n_steps = max(length for length, _ in shortest)
        rows = np.full((n_steps, n_streams), -1)
        reset = np.zeros((n_steps, n_streams), bool)
        for s, members in enumerate(streams):
            at = 0
            for one in members:
                rows[at : at + lengths[one], s] = first[one] + np.arange(lengths[one])
                reset[at, s] = True
                at += lengths[one]
        return cls(rows, reset)

    def batch(self, frames: Rows, steps: slice, u: np.ndarray | None) -> dict[str, np.ndarray]:
        """Some steps of all streams that have any left, as `SequenceObjective.step` takes them."""
        rows = self.rows[steps]
        mask = rows >= 0
        v = frames.take(np.where(mask, rows, 0).reshape(-1))
        batch = {
            "v": v.reshape(*rows.shape, *frames.shape),
            "mask": mask,
            "reset": self.reset[steps],
            "rows": rows,
        }
        return batch if u is None else batch | {"u": u}


class SequenceTrainer(Trainer):
    """Minibatch ascent over sequences: a minibatch is a chunk of every stream.

    The states of a chunk's last step are carried on to the next; gradients are not carried back.
    """

    objective: SequenceObjective

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        l1, l2 = options.get("l1", 0.0), options.get("l2", 0.0)
        if l1 or l2:
            self.penalties |= {f"{PREFIX}{name}": (l1, l2) for name in ("input", "state")}

    def streams(self, lengths: np.ndarray, n_streams: int, seed: int, epoch: int) -> Streams:
        """The sequences of one epoch, shuffled."""
        order = rng.permutation(rng.Address.of(seed, "shuffle", step=epoch), len(lengths))
        return Streams.of(lengths, order, n_streams)

    def sequence_epochs(
        self,
        params: Params,
        frames: Rows,
        lengths: np.ndarray,
        state: TrainingState,
        *,
        n_streams: int,
        chunk: int,
        n_epochs: int,
        seed: int,
        decay: bool = True,
        resume: bool = False,
    ) -> Iterator[TrainingState]:
        """Make passes over the sequences, yielding after each.

        Parameters
        ----------
        frames : Rows
            The steps of all sequences, one sequence after the other.
        lengths : ndarray of int, shape (n_sequences,)
        n_streams : int
            Sequences that are worked on side by side.
        chunk : int
            Steps of a minibatch.
        n_epochs : int
        decay : bool
            Whether the learning rate's schedule ends with the last of these passes.
        resume : bool
            Go on with a training of so many passes in all, from where it was left.
        """
        n = int(lengths.sum())
        n_updates = None
        if decay:
            # How many chunks a pass has depends on its order, which is known beforehand.
            first, updates = (0, 0) if resume else (state.epoch, state.update)
            n_updates = updates + sum(
                -(-len(self.streams(lengths, n_streams, seed, first + k).rows) // chunk)
                for k in range(n_epochs)
            )
        phases = state.phases
        if self.objective.persistent:
            assert isinstance(phases, SequencePhaseState)
            if phases.steps is None or len(phases.steps.seen) != n:
                phases.steps = RowChains.of(n, self.energy.groups["h"].size)
        if resume:
            self._recall(state)
        for _ in state.passes(n_epochs, resume):
            begin = time.perf_counter()
            streams = self.streams(lengths, n_streams, seed, state.epoch)
            starts = range(0, len(streams.rows), chunk)
            done, rate, u = (state.position.get(k) for k in ("start", "rate", "u"))
            done, rate, state.position = done or 0, rate or 0.0, {}
            with threads.computing(), deferred_interrupt() as interrupted:
                for start in starts[done // chunk :]:
                    batch = streams.batch(frames, slice(start, start + chunk), u)
                    # A minibatch counts by its steps, so that over an epoch every step does.
                    emphasis = float(batch["mask"].sum()) * len(starts) / n
                    end = start + chunk
                    try:
                        rate = self.update(params, batch, state, None, n_updates, emphasis)
                        u = self.objective.tape.after[-1]
                    except GivenUp:
                        end = start
                    if interrupted.is_set():
                        state.seconds += time.perf_counter() - begin
                        state.position = {"start": end, "rate": rate, "u": u}
                        raise interrupts.after(state.update, state.epoch)
            state.epoch += 1
            state.seconds += time.perf_counter() - begin
            state.record(epoch=state.epoch, seconds=state.seconds, learning_rate=rate)
            self._check_finite(params, state)
            self._watch(params, state)
            yield state
            if interrupted.is_set():  # since the last update
                raise Interrupted(f"interrupted after epoch {state.epoch}.")
            if state.finished:
                return


# -- parameters from elsewhere ---------------------------------------------------------------------


@dataclass(frozen=True)
class EmittedGradient:
    """Gradient of ``log p(v_n)`` by the parameters that were emitted for row n.

    Attributes
    ----------
    bias_visible : ndarray of shape (n_rows, n_visible)
    bias_hidden : ndarray of shape (n_rows, n_hidden)
    weights : ndarray of shape (n_rows, n_hidden, n_visible), or (n_hidden, n_visible)
        With one array of weights for all rows, the sum over rows.
    """

    bias_visible: np.ndarray
    bias_hidden: np.ndarray
    weights: np.ndarray


def emitted_gradient(
    v: Any,
    bias_visible: Any,
    bias_hidden: Any,
    weights: Any,
    *,
    method: str = "cd",
    n_gibbs: int = 1,
    random_state: Any = None,
    n_threads: int | None = None,
) -> EmittedGradient:
    """Gradient of the log-likelihood of binary RBMs whose parameters differ from row to row.

    A network of any kind can be trained through it: it computes an RBM's parameters for every row,
    and hands what this returns to its own back-propagation.

    Parameters
    ----------
    v : array-like of shape (n_rows, n_visible)
        Data, 0 or 1.
    bias_visible : array-like of shape (n_rows, n_visible)
    bias_hidden : array-like of shape (n_rows, n_hidden)
    weights : array-like of shape (n_hidden, n_visible) or (n_rows, n_hidden, n_visible)
    method : {"cd", "exact"}
        Negative phase: Gibbs chains that start from the data, or enumeration, of small models.
    n_gibbs : int
        Sweeps, with "cd".
    random_state : None, int, RandomState or Generator
        None draws anew at each call.
    n_threads : int or None

    Returns
    -------
    EmittedGradient
        In the precision of the parameters.

    Raises
    ------
    ValueError
        If shapes do not fit together, values are not finite, or v is outside of 0 to 1.

    Examples
    --------
    A linear layer emits the visible biases, and learns which pattern belongs to which input:

    >>> import numpy as np
    >>> from fastboltz.recurrent import emitted_gradient
    >>> x = np.eye(2)[np.arange(100) % 2]
    >>> v = x @ [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    >>> layer, weights, no_bias = np.zeros((2, 3)), np.zeros((4, 3)), np.zeros((100, 4))
    >>> for update in range(100):
    ...     g = emitted_gradient(v, x @ layer, no_bias, weights, random_state=update)
    ...     layer += 0.1 * x.T @ g.bias_visible
    ...     weights += 0.1 * g.weights / len(v)
    >>> (layer > 0).tolist()
    [[True, True, False], [False, True, True]]
    """
    given = {
        "v": v,
        "bias_visible": bias_visible,
        "bias_hidden": bias_hidden,
        "weights": weights,
    }
    one_of("method", method, ("cd", "exact"))
    data = {name: _numbers(name, x) for name, x in given.items()}
    w = data["weights"]
    for name in ("v", "bias_visible", "bias_hidden"):
        if len(shape := data[name].shape) != 2:
            raise ValueError(f"{name} has shape {shape}; expected two axes, (n_rows, n_units).")
    (n, n_visible), n_hidden = data["v"].shape, data["bias_hidden"].shape[1]
    for name, n_units in (("bias_visible", n_visible), ("bias_hidden", n_hidden)):
        if data[name].shape != (n, n_units):
            raise ValueError(
                f"{name} has shape {data[name].shape}; expected ({n}, {n_units}), a row for each "
                f"of v, which has shape {data['v'].shape}."
            )
    if w.shape not in ((n_hidden, n_visible), (n, n_hidden, n_visible)):
        raise ValueError(
            f"weights have shape {w.shape}; expected ({n_hidden}, {n_visible}), the same for all "
            f"rows, or ({n}, {n_hidden}, {n_visible})."
        )
    if n == 0:
        raise ValueError("v has no rows; give one at least.")
    if ((data["v"] < 0) | (data["v"] > 1)).any():
        low, high = data["v"].min(), data["v"].max()
        raise ValueError(f"v has values in [{low:g}, {high:g}]; expected 0 or 1.")
    dtype = np.result_type(*(x.dtype for name, x in data.items() if name != "v"))
    units = {
        "v": Bernoulli(n_visible),
        "h": Bernoulli(n_hidden),
        "a": Gaussian(n_visible),
        "c": Gaussian(n_hidden),
    }
    rows = {"v": data["v"], "a": data["bias_visible"], "c": data["bias_hidden"]}
    terms = ["v_i a_i", "h_j c_j"]
    if w.ndim == 3:
        units["w"], rows["w"] = Gaussian(n_hidden, n_visible), w
        terms.append("h_j v_i w_ji")
    else:
        terms.append("h_j v_i")
    energy = Energy(units, terms)
    params = {key: np.zeros(s, dtype) for key, s in energy.parameter_shapes().items()}
    for t in energy.terms:
        params[t.name] = np.ones(params[t.name].shape, dtype)
    if w.ndim == 2:
        params["h_j v_i"] = np.ascontiguousarray(w, dtype)
    rows = {g: x.astype(dtype) for g, x in rows.items()}
    emitted = tuple(g for g in rows if g != "v")
    one = LogLikelihood("v", emitted, negative=method, n_gibbs=n_gibbs)
    objective = Objective(energy, one, n_threads)
    gradient, inputs = objective.input_gradient(params, rows, random_state=random_state)
    # The objective is a mean over rows.
    by_weights = n * (inputs["w"] if w.ndim == 3 else gradient["h_j v_i"])
    return EmittedGradient(n * inputs["a"], n * inputs["c"], by_weights)


def _numbers(name: str, x: Any) -> np.ndarray:
    """An array of finite reals, in the precision that it has."""
    try:
        x = np.asarray(x)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths; expected an array.") from None
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numeric; got dtype {x.dtype}.")
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float64 if x.dtype.itemsize > 4 else np.float32)
    if not np.isfinite(x).all():
        raise ValueError(f"NaN or infinity in {name}; expected finite values.")
    return x


def joined(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Steps of all sequences one after the other, and the sequences' lengths."""
    return np.concatenate(list(sequences)), np.array([len(x) for x in sequences])
