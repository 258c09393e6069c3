"""Steps along a gradient: SGD with momentum, Adam, learning-rate schedules, penalties, centring.

All steps are *ascent* steps, since the objectives are log-likelihoods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastboltz_ext import layers, updates

from .energy import Energy
from .terms import DenseTerm, EntryTerm, Params, Slot
from .validation import check_number, one_of

# -- learning-rate schedules -----------------------------------------------------------------------


class Schedule(ABC):
    """A learning rate as a function of the progress of training."""

    @abstractmethod
    def __call__(self, update: int, n_updates: int | None) -> float:
        """Rate of update number ``update`` (from 0) of ``n_updates`` (None: no end is known)."""

    def rates(self, update: int, count: int, n_updates: int | None) -> list[float]:
        """Rates of so many updates from this one on."""
        return [self(update + k, n_updates) for k in range(count)]


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout."""

    rate: float

    def __call__(self, update: int, n_updates: int | None) -> float:
        return self.rate

    def rates(self, update: int, count: int, n_updates: int | None) -> list[float]:
        return [self.rate] * count


@dataclass(frozen=True)
class Linear(Schedule):
    """A rate that falls (or rises) linearly from ``start`` to ``end`` over the training.

    Without a known end (``partial_fit``) it stays at ``start``.
    """

    start: float
    end: float = 0.0

    def __call__(self, update: int, n_updates: int | None) -> float:
        if not n_updates:
            return self.start
        return self.start + (self.end - self.start) * min(1.0, update / n_updates)


@dataclass(frozen=True)
class InverseTime(Schedule):
    """``start / (1 + update / half_life)``: the schedule of Robbins and Monro."""

    start: float
    half_life: float

    def __call__(self, update: int, n_updates: int | None) -> float:
        return self.start / (1 + update / self.half_life)


@dataclass(frozen=True)
class Exponential(Schedule):
    """A rate that falls geometrically from ``start`` to ``end`` over the training."""

    start: float
    end: float

    def __call__(self, update: int, n_updates: int | None) -> float:
        if not n_updates:
            return self.start
        return self.start * (self.end / self.start) ** min(1.0, update / n_updates)


#: What a learning rate may be beside a word.
RATES = ", a number > 0 or a schedule"


def as_schedule(rate: Any, name: str = "learning_rate") -> Schedule:
    """A schedule as it is, a number as a constant one."""
    if isinstance(rate, Schedule):
        return rate
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)):
        raise TypeError(f"{name} must be 'auto'{RATES}; got {rate!r}.")
    return Constant(check_number(name, rate, 0, strict=True))


# -- optimizers ------------------------------------------------------------------------------------

#: What an optimizer carries between updates: arrays by "name/key", and counters.
OptimizerState = dict[str, Any]


class Optimizer(ABC):
    """One rule of ascent, as ``init`` and ``step``."""

    #: How the rate relates to one of plain SGD at which training is about as fast.
    rate_factor: float = 1.0

    @abstractmethod
    def init(self, params: Params) -> OptimizerState:
        """State before the first update."""

    @abstractmethod
    def step(
        self,
        params: Params,
        gradient: Params,
        state: OptimizerState,
        rate: float,
        penalties: Mapping[str, tuple[float, float]],
        n_threads: int = 1,
    ) -> None:
        """Move ``params`` in place; ``penalties`` maps keys to (l1, l2)."""


class SGD(Optimizer):
    """Stochastic gradient ascent, with momentum.

    ``velocity = momentum * velocity + rate * g``; ``w += velocity``, where
    ``g = gradient - l2 w - l1 sign(w)``.

    Parameters
    ----------
    momentum : float in [0, 1)
    """

    def __init__(self, momentum: float = 0.0) -> None:
        self.momentum = check_number("momentum", momentum, 0, below=1)
        self.rate_factor = 1.0

    def __repr__(self) -> str:
        return f"SGD(momentum={self.momentum})"

    def init(self, params: Params) -> OptimizerState:
        if self.momentum == 0:
            return {}
        return {f"velocity/{key}": np.zeros_like(w) for key, w in params.items()}

    def step(
        self,
        params: Params,
        gradient: Params,
        state: OptimizerState,
        rate: float,
        penalties: Mapping[str, tuple[float, float]],
        n_threads: int = 1,
    ) -> None:
        for key, w in params.items():
            l1, l2 = penalties.get(key, (0.0, 0.0))
            velocity = state.get(f"velocity/{key}") if self.momentum else None
            if self.momentum and velocity is None:  # momentum set between passes
                velocity = state[f"velocity/{key}"] = np.zeros_like(w)
            updates.sgd(
                w.reshape(-1),
                gradient[key].reshape(-1),
                None if velocity is None else velocity.reshape(-1),
                learning_rate=rate,
                momentum=self.momentum,
                l1=l1,
                l2=l2,
                n_threads=n_threads,
            )


class Adam(Optimizer):
    """Adam (Kingma & Ba, ICLR 2015), with bias correction.

    Parameters
    ----------
    beta1, beta2 : float in [0, 1)
        Decay of the averages of the gradient and of its square.
    epsilon : float
    """

    rate_factor = 0.02

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta1 = check_number("beta1", beta1, 0, below=1)
        self.beta2 = check_number("beta2", beta2, 0, below=1)
        self.epsilon = check_number("epsilon", epsilon, 0, strict=True)

    def __repr__(self) -> str:
        return f"Adam(beta1={self.beta1}, beta2={self.beta2}, epsilon={self.epsilon})"

    def init(self, params: Params) -> OptimizerState:
        state: OptimizerState = {"t": 0}
        for key, w in params.items():
            state[f"m/{key}"] = np.zeros_like(w)
            state[f"v/{key}"] = np.zeros_like(w)
        return state

    def step(
        self,
        params: Params,
        gradient: Params,
        state: OptimizerState,
        rate: float,
        penalties: Mapping[str, tuple[float, float]],
        n_threads: int = 1,
    ) -> None:
        if "t" not in state:  # another optimizer made the passes so far
            state.update(self.init(params))
        state["t"] += 1
        for key, w in params.items():
            l1, l2 = penalties.get(key, (0.0, 0.0))
            updates.adam(
                w.reshape(-1),
                gradient[key].reshape(-1),
                state[f"m/{key}"].reshape(-1),
                state[f"v/{key}"].reshape(-1),
                learning_rate=rate,
                beta1=self.beta1,
                beta2=self.beta2,
                epsilon=self.epsilon,
                t=state["t"],
                l1=l1,
                l2=l2,
                n_threads=n_threads,
            )


def as_optimizer(optimizer: Any, momentum: float = 0.0) -> Optimizer:
    """An optimizer as it is, or one by name."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise TypeError(
            f"optimizer must be 'sgd', 'adam' or a fastboltz.optimizers.Optimizer; "
            f"got {optimizer!r}."
        )
    if one_of("optimizer", optimizer, ("sgd", "adam")) == "adam":
        return Adam()
    return SGD(momentum)


# -- centring --------------------------------------------------------------------------------------


def centre(
    energy: Energy,
    gradient: Params,
    offsets: Mapping[str, np.ndarray],
    n_threads: int = 1,
) -> None:
    """Turn a gradient, in place, into that of the centred parametrisation, taken back to this one.

    With offsets mu of v and lam of h, and the plain differences D of statistics (data minus model),

        dW = D_vh - mu D_h' - D_v lam',    db = D_v - dW lam,    dc = D_h - dW' mu.

    The likelihood is the same function; the direction no longer depends on which of its two values
    a unit calls one. Every second-order term is centred. So are matrices between a group and
    products of units, as in ``h_k v_i z_i0``, where the energy has a term of these products alone
    (``v_i z_i0``) that takes the place of their bias; their offset is the product of those of the
    units. Other terms of higher order are left as they are, since centring them would need terms
    that the energy may not have.

    Parameters
    ----------
    gradient : dict of arrays
        Differences of statistics; changed in place.
    offsets : dict of arrays
        Group -> mean activity, shape of the group.

    References
    ----------
    Montavon & Mueller, "Deep Boltzmann machines and the centering trick", 2012;
    Melchior, Fischer & Wiskott, "How to center deep Boltzmann machines", JMLR 17, 2016.
    """
    alone = {frozenset(t.slots): t.name for t in energy.terms if isinstance(t, _INDEXED)}
    plain = {key: x.reshape(-1).copy() for key, x in gradient.items() if x.size}
    for term in energy.terms:
        if not isinstance(term, _INDEXED) or (sides := _biases(term, alone)) is None:
            continue
        (a, first), (b, second) = sides
        mu, lam = (_offset(term, side, offsets, plain[a].dtype) for side in (first, second))
        dw = gradient[term.name].reshape(len(mu), len(lam))
        layers.outer(
            np.stack([mu, plain[a]]),
            np.stack([plain[b], lam]),
            dw,
            scale=-1.0,
            beta=1.0,
            n_threads=n_threads,
        )
        if term.lateral:
            assert isinstance(term, DenseTerm)
            dw *= term.distinct_matrix()
        else:
            gradient[b] -= (mu @ dw).reshape(gradient[b].shape)
        gradient[a] -= (dw @ lam).reshape(gradient[a].shape)


_INDEXED = (DenseTerm, EntryTerm)


def _biases(
    term: DenseTerm | EntryTerm, alone: Mapping[frozenset[Slot], str]
) -> list[tuple[str, Sequence[Slot]]] | None:
    """The two sides of a matrix, and the key of what acts as the bias of each; None without."""
    if isinstance(term, DenseTerm) and term.is_pair:
        return [(s.group, [s]) for s in term.slots]
    if (sides := term.sides) is None or not sides[1]:
        return None
    found: list[tuple[str, Sequence[Slot]]] = []
    for side in sides:
        is_group = len(side) == 1 and not any(c.isdigit() for c in side[0].letters)
        key = side[0].group if is_group else alone.get(frozenset(side))
        if key is None:
            return None
        found.append((key, side))
    return found


def _offset(
    term: DenseTerm | EntryTerm, side: Sequence[Slot], offsets: Mapping[str, np.ndarray], dtype: Any
) -> np.ndarray:
    """Offset of the products of one side."""
    total: Any = 1.0
    for s in side:
        x = offsets[s.group]
        if isinstance(term, EntryTerm) and s.group in term.index:
            x = x[term.index[s.group][1:]]
        total = total * x
    return np.ascontiguousarray(total, dtype).reshape(-1)
