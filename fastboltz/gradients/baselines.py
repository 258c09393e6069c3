r"""Baselines of the score function: what may be taken off the cost without changing the mean.

``E[b d log p(y)/dw] = 0`` for every b that does not depend on the sample, so ``(J - b) s`` has the
same mean for every b, and the least variance at ``b* = E[J s^2] / E[s^2]``, one for each parameter.

A baseline is given the sums of a call by ranges of samples (`loop.Sums`) and answers with b for
each range. It keeps the estimate unbiased by making b of other ranges, or of former calls.

===========================  ==================================================================
name, class                  b
===========================  ==================================================================
"none", `NoBaseline`         0
"constant", `Constant`       a number, or the mean cost of the other ranges
"moving_average",            moving average of the mean costs of former calls
`MovingAverage`
"leave_one_out",             for each sample, the mean cost of all other samples of the call
`LeaveOneOut`
"optimal", `Optimal`         ``E[J s^2] / E[s^2]`` of each parameter, by the other ranges
"learnt", `Learnt`           a network of the inputs, in two forms, learnt in `step`
`Regressor`                  a regressor of the caller's, with ``partial_fit`` and ``predict``
===========================  ==================================================================

References
----------
Williams, "Simple statistical gradient-following algorithms", Machine Learning 8, 1992.
Dayan, "Reinforcement comparison", Connectionist Models, 1990.
Weaver & Tao, "The optimal reward baseline for gradient-based reinforcement learning", UAI 2001.
Mnih & Gregor, "Neural variational inference and learning in belief networks", ICML 2014.
Goodfellow, Bengio & Courville, "Deep Learning", section 20.9.1, equations 20.63-20.69, 2016.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from .. import rng
from ..validation import check_count, check_number, one_of
from .distributions import Distribution
from .loop import Sums

#: What a baseline carries from call to call: arrays by name.
BaselineState = dict[str, Any]


class Baseline(ABC):
    """One way to a baseline.

    ``values`` answers for the call whose sums it is given, ``update`` then learns from that call.
    """

    name: ClassVar[str]
    #: Whether b of a sample is made of the other samples of the call, so that there must be some.
    needs_others: ClassVar[bool] = False

    def __repr__(self) -> str:
        listed = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({listed})"

    def init(self, distribution: Distribution, inputs: Any, seed: int) -> BaselineState:
        """State before the first call."""
        return {}

    @abstractmethod
    def values(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> np.ndarray:
        """B as an array that broadcasts to (ranges, rows, n_parameters)."""

    def update(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> BaselineState:
        """State after a call."""
        return state

    def check(self, n_samples: int, state: BaselineState) -> None:
        """Raise a sentence if a call of so many samples cannot be served."""
        if self.needs_others and n_samples < 2:
            raise ValueError(
                f"the {self.name.replace('_', '-')} baseline is made of the other samples of a "
                f"call, so it needs n_samples >= 2; got {n_samples}. Draw more, or use "
                f"baseline='moving_average'."
            )


class NoBaseline(Baseline):
    """Nothing is taken off the cost."""

    name = "none"

    def values(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> np.ndarray:
        return np.zeros((1, 1, 1))


class Constant(Baseline):
    """One number for all parameters.

    Parameters
    ----------
    value : float or array-like, optional
        A number, or one for each row. The default is the mean cost, by the other ranges of samples.
    """

    name = "constant"

    def __init__(self, value: Any = None) -> None:
        self.value = value

    @property
    def needs_others(self) -> bool:  # type: ignore[override]
        """Whether the mean cost is to be estimated."""
        return self.value is None

    def values(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> np.ndarray:
        if self.value is None:
            return mean_of_others(sums)[..., None]
        value = np.asarray(self.value, dtype=np.float64)
        rows = sums.shift.shape[1]
        if value.ndim > 1 or (value.ndim == 1 and len(value) != rows):
            raise ValueError(
                f"the constant baseline has shape {value.shape}; expected a number, or one for "
                f"each of {rows} rows."
            )
        return value.reshape(1, -1, 1)


class MovingAverage(Baseline):
    """``c <- decay c + (1 - decay) mean cost``, over calls; b is c as it was before the call.

    The first call, with nothing behind it, takes the mean cost of the other ranges (of one sample:
    0).

    Parameters
    ----------
    decay : float in [0, 1)
    """

    name = "moving_average"

    def __init__(self, decay: float = 0.8) -> None:
        self.decay = check_number("decay", decay, 0, below=1)

    def init(self, distribution: Distribution, inputs: Any, seed: int) -> BaselineState:
        return {"mean": np.array(np.nan)}

    def values(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> np.ndarray:
        if np.isfinite(state["mean"]):
            return state["mean"].reshape(1, 1, 1)
        if len(sums.shift) == 1:
            return np.zeros((1, 1, 1))
        return mean_of_others(sums)[..., None]

    def update(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> BaselineState:
        return {"mean": averaged(state["mean"], sums.cost[0].mean(), self.decay)}


class LeaveOneOut(Baseline):
    """For each sample, the mean cost of all the others.

    ``J_i - mean of the others = m / (m - 1) (J_i - mean)``, so the mean and a factor do it.
    """

    name = "leave_one_out"
    needs_others = True

    def values(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> np.ndarray:
        return sums.cost[0][None, :, None]


class Optimal(Baseline):
    """For each parameter, ``E[g s] / E[s^2]``: the least variance that a baseline can give.

    With a cost that does not depend on the parameters, ``g = J s`` and this is
    ``E[J s^2] / E[s^2]`` (equation 20.68). It is estimated from the other ranges of samples; a call
    of a single sample takes moving averages over former calls, one for all rows.

    Parameters
    ----------
    decay : float in [0, 1)
        Of the moving averages.
    """

    name = "optimal"

    def __init__(self, decay: float = 0.9) -> None:
        self.decay = check_number("decay", decay, 0, below=1)

    def init(self, distribution: Distribution, inputs: Any, seed: int) -> BaselineState:
        nothing = np.full(distribution.n_parameters, np.nan)
        return {"weighted": nothing, "squares": nothing.copy()}

    def check(self, n_samples: int, state: BaselineState) -> None:
        if n_samples < 2 and not np.isfinite(state["squares"]).all():
            raise ValueError(
                f"the optimal baseline is made of the other samples of a call, or in step() of "
                f"former calls, so the first call needs n_samples >= 2; got {n_samples}. Draw "
                f"more, or use baseline='moving_average'."
            )

    def values(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> np.ndarray:
        if sums.n_samples == 1:
            fallback = np.zeros_like(state["squares"])
            return ratio(state["weighted"], state["squares"], fallback)[None, None]
        return coefficients(sums, mean_of_others(sums))

    def update(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> BaselineState:
        means = (x.mean(axis=0) / sums.n_samples for x in absolute(sums))
        return {
            k: averaged(state[k], new, self.decay)
            for k, new in zip(("weighted", "squares"), means, strict=True)
        }


class Learnt(Baseline):
    """A baseline that depends on the inputs of each row, learnt by squared error in `step`.

    Form "shared": one output C(x), trained towards J, serves all parameters (Mnih & Gregor). Form
    "pair": two outputs for each parameter, trained towards ``J s^2`` and ``s^2``, whose ratio is
    the optimal baseline given x (the chapter's). In both, J has the moving average c of former
    costs taken off first, and ``b = c + C(x)``.

    Without inputs the network sees a one. A first call, and so every `estimate`, has learnt
    nothing yet and takes 0.

    Parameters
    ----------
    form : {"shared", "pair"}
    hidden : int
        Units of one layer of tanh between; 0 for a linear function of the inputs.
    learning_rate : float
        Of Adam.
    decay : float in [0, 1)
        Of the moving averages.
    """

    name = "learnt"

    def __init__(
        self,
        form: str = "shared",
        *,
        hidden: int = 0,
        learning_rate: float = 1e-2,
        decay: float = 0.8,
    ) -> None:
        self.form = one_of("form", form, ("shared", "pair"))
        self.hidden = check_count("hidden", hidden, minimum=0)
        self.learning_rate = check_number("learning_rate", learning_rate, 0, strict=True)
        self.decay = check_number("decay", decay, 0, below=1)

    def init(self, distribution: Distribution, inputs: Any, seed: int) -> BaselineState:
        n_outputs = 1 if self.form == "shared" else 2 * distribution.n_parameters
        net = init_net(inputs.shape[1], self.hidden, n_outputs, seed)
        squares = np.full(distribution.n_parameters, np.nan)
        return {"mean": np.array(np.nan), "squares": squares, **net, **adam_init(net)}

    def values(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> np.ndarray:
        if not np.isfinite(state["mean"]):
            return np.zeros((1, 1, 1))
        out, _ = run_net(state, inputs)
        if self.form == "shared":
            return (state["mean"] + out)[None]
        weighted, squares = np.split(out, 2, axis=1)
        # The learnt square is held away from zero by the average one.
        squares = np.maximum(squares, 0.1 * state["squares"] + 1e-12)
        return (state["mean"] + weighted / squares)[None]

    def update(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> BaselineState:
        n = sums.n_samples
        costs = sums.cost[0]
        mean = averaged(state["mean"], costs.mean(), self.decay)
        average = state["squares"]
        if self.form == "shared":
            target = (costs - mean)[:, None]
        else:
            weighted, squares = (x / n for x in absolute(sums))
            target = np.concatenate([weighted - mean * squares, squares], axis=1)
            average = averaged(average, squares.mean(axis=0), self.decay)
        out, backward = run_net(state, inputs)
        new = adam_step(state, backward((out - target) / len(inputs)), self.learning_rate)
        return {**new, "mean": mean, "squares": average}


class Regressor(Baseline):
    """A regressor of the caller's: ``predict(inputs)`` is b of each row.

    After each call its copy in the state learns the mean cost of each row, by
    ``partial_fit(inputs, costs)``. Before it has learnt, b is 0.

    Parameters
    ----------
    model : object with ``partial_fit`` and ``predict``
        As of scikit-learn; it is copied, never changed.
    """

    name = "regressor"

    def __init__(self, model: Any) -> None:
        for method in ("partial_fit", "predict"):
            if not callable(getattr(model, method, None)):
                raise TypeError(
                    f"a regressor for a baseline needs partial_fit(X, y) and predict(X); "
                    f"{type(model).__name__} has no {method}."
                )
        self.model = model

    def init(self, distribution: Distribution, inputs: Any, seed: int) -> BaselineState:
        return {"model": copy.deepcopy(self.model), "calls": np.array(0)}

    def values(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> np.ndarray:
        if not state["calls"]:
            return np.zeros((1, 1, 1))
        b = np.asarray(state["model"].predict(inputs), dtype=np.float64)
        if b.shape != (len(inputs),) or not np.isfinite(b).all():
            raise ValueError(
                f"predict of {type(self.model).__name__} must give a finite number for each of "
                f"{len(inputs)} rows; got shape {b.shape}"
                f"{'' if np.isfinite(b).all() else ' with NaN or infinity'}."
            )
        return b[None, :, None]

    def update(self, sums: Sums, state: BaselineState, inputs: np.ndarray) -> BaselineState:
        model = copy.deepcopy(state["model"])
        model.partial_fit(inputs, sums.cost[0])
        return {"model": model, "calls": state["calls"] + 1}


BY_NAME: dict[str, type[Baseline]] = {
    t.name: t for t in (NoBaseline, Constant, MovingAverage, LeaveOneOut, Optimal, Learnt)
}


def as_baseline(baseline: Any) -> Baseline:
    """A baseline as it is, a name as the one with its defaults, None as none."""
    if isinstance(baseline, Baseline):
        return baseline
    if baseline is None:
        return NoBaseline()
    if isinstance(baseline, str):
        return BY_NAME[one_of("baseline", baseline, BY_NAME)]()
    if isinstance(baseline, (int, float, np.number)) and not isinstance(baseline, bool):
        return Constant(float(baseline))
    if hasattr(baseline, "partial_fit"):
        return Regressor(baseline)
    raise TypeError(
        f"baseline must be one of {', '.join(map(repr, BY_NAME))}, a number, a Baseline, or a "
        f"regressor with partial_fit and predict; got {baseline!r}."
    )


# -- parts -----------------------------------------------------------------------------------------


def others(x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """For each entry of the first axis the sum over all others; with weights, their mean."""
    if weights is not None:
        return others(x * weights) / others(weights)
    return x.sum(axis=0) - x


def mean_of_others(sums: Sums) -> np.ndarray:
    """For each range the mean cost of the other ranges, (ranges, rows)."""
    return others(sums.cost_means(), sums.counts)


def absolute(sums: Sums) -> tuple[np.ndarray, np.ndarray]:
    """Sums of g s (with the unshifted cost) and of s^2, each (rows, n_parameters)."""
    squares = sums.moments[:, 4]
    shifted = np.einsum("ar,ari->ri", sums.shift, squares)
    return sums.moments[:, 3].sum(axis=0) + shifted, squares.sum(axis=0)


def coefficients(sums: Sums, otherwise: np.ndarray) -> np.ndarray:
    """For each range ``sum g h / sum h^2`` over the other ranges, (ranges, rows, n_parameters).

    ``otherwise``, (ranges, rows), where h was 0.
    """
    from .kernels import ratios

    out = np.empty(sums.moments[:, 0].shape)
    ratios(sums.moments, sums.shift, otherwise, out)
    return out


def ratio(a: np.ndarray, b: np.ndarray, otherwise: Any) -> np.ndarray:
    """``a / b``, and something else where b is zero."""
    out = np.array(np.broadcast_to(otherwise, a.shape), dtype=np.float64)
    return np.divide(a, b, out=out, where=b > 0)


def averaged(old: np.ndarray, new: Any, decay: float) -> np.ndarray:
    """A moving average; it begins with its first value."""
    new = np.asarray(new, dtype=np.float64)
    return np.where(np.isfinite(old), decay * old + (1 - decay) * new, new)


# -- a small network -------------------------------------------------------------------------------


def init_net(n_inputs: int, hidden: int, n_outputs: int, seed: int) -> dict[str, np.ndarray]:
    """One layer of tanh, or none, and a linear output that begins at zero."""
    shape = (hidden or n_inputs, n_outputs)
    net = {"net/out": np.zeros(shape), "net/out_bias": np.zeros(n_outputs)}
    if hidden:
        at = rng.Address.of(seed, "weights")
        net["net/in"] = rng.normal(at, (n_inputs, hidden)) / np.sqrt(n_inputs)
        net["net/in_bias"] = np.zeros(hidden)
    return net


def run_net(state: Mapping[str, Any], x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Outputs (n, n_outputs), and the function from their gradient to that of the weights."""
    h = np.tanh(x @ state["net/in"] + state["net/in_bias"]) if "net/in" in state else x
    out = h @ state["net/out"] + state["net/out_bias"]

    def backward(g: np.ndarray) -> dict[str, np.ndarray]:
        grads = {"net/out": h.T @ g, "net/out_bias": g.sum(axis=0)}
        if "net/in" in state:
            back = (g @ state["net/out"].T) * (1 - h * h)
            grads |= {"net/in": x.T @ back, "net/in_bias": back.sum(axis=0)}
        return grads

    return out, backward


@cache
def _adam() -> Any:
    from ..optimizers import Adam

    return Adam()


def adam_init(net: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What `adam_step` carries."""
    return {f"adam/{k}": v for k, v in _adam().init(dict(net)).items()}


def adam_step(
    state: Mapping[str, Any], gradient: Mapping[str, np.ndarray], rate: float
) -> dict[str, Any]:
    """The state after one step downhill; the one given is left as it is."""
    net = {k: state[k].copy() for k in gradient}
    carried = {
        k.removeprefix("adam/"): v.copy() if isinstance(v, np.ndarray) else v
        for k, v in state.items()
        if k.startswith("adam/")
    }
    # Optimizers climb.
    _adam().step(net, {k: -g for k, g in gradient.items()}, carried, rate, {})
    return {**state, **net, **{f"adam/{k}": v for k, v in carried.items()}}
