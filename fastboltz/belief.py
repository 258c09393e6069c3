"""Sigmoid belief networks: a generative network, one for inference, and gradients of their bounds.

The generative network runs downwards, the inference network upwards. `BeliefNet` is both, as a
description; `BoundObjective` estimates the gradient of a bound on the log-likelihood, by one of
several methods. A path is one draw (h1, ..., hL) of the inference network for a row of data. Arrays
over paths have shape (n_paths, n_rows), and states of units (n_paths * n_rows, n_units), the first
path of all rows before the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastboltz_ext import layers as kernels

from . import products, rng
from .gradients.baselines import averaged, init_net, run_net
from .gradients.methods import vimco_signals
from .objectives import PhaseState
from .terms import Params
from .units import Bernoulli
from .validation import check_weights, too_many_states

#: Method -> paths of a row when nobody says how many, and the fewest that it needs.
METHODS = {
    "disarm": (2, 2),
    "arm": (2, 2),
    "nvil": (1, 1),
    "leave-one-out": (4, 2),
    "reinforce": (1, 1),
    "vimco": (5, 2),
    "reweighted-wake-sleep": (5, 2),
    "wake-sleep": (1, 1),
    "exact": (1, 1),
}
#: Those whose paths come as mirrored pairs.
PAIRED = ("disarm", "arm")
#: Decay of the moving averages of NVIL.
DECAY = 0.8
#: States of all hidden units (log2) that an update by enumeration may have.
MAX_LOG2_STATES = 12
#: Numbers of the streams, beside those of the layers, for paths that begin NVIL's averages.
_PROBE, _DREAM = 100, 200


# -- the two networks ------------------------------------------------------------------------------


class BeliefNet:
    r"""Layers v = h0, h1, ..., hL, and the two networks over them.

    Downwards ``p(h(l)_i = 1 | h(l+1)) = sigma(b_i + sum_j W_ji (h(l+1)_j - m_j))``, with
    independent units at the top; upwards ``q(h(l)_j = 1 | h(l-1)) = sigma(c_j + sum_i R_ji
    (h(l-1)_i - m_i))``. The offsets m are fixed: they move a part of the field from the weights to
    the biases, which changes no distribution, but the directions that learning takes.

    Parameters
    ----------
    sizes : sequence of int
        Of the layers, the data's first.
    offsets : sequence of arrays
        m of each layer.
    baseline_units : int or None
        Units of tanh in the baseline of each hidden layer; None for no baselines.
    n_threads : int
    """

    #: A trainer asks for the terms of an energy; there are none.
    terms: tuple[Any, ...] = ()

    def __init__(
        self,
        sizes: Sequence[int],
        offsets: Sequence[np.ndarray],
        baseline_units: int | None = None,
        n_threads: int = 1,
    ) -> None:
        self.sizes = tuple(sizes)
        self.names = ("v", *(f"h{layer}" for layer in range(1, len(sizes))))
        self.units = [Bernoulli(n) for n in sizes]
        self.offsets = list(offsets)
        self.is_centered = any(m.any() for m in self.offsets)
        self.baseline_units = baseline_units
        self.n_threads = n_threads

    @property
    def top(self) -> int:
        """Number of the top layer, and of hidden layers."""
        return len(self.sizes) - 1

    def own_keys(self) -> set[str]:
        """Keys of the parameters that penalties leave alone: all but weights."""
        return {key for key in self.parameter_shapes() if not key.endswith("weights")}

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter array, by key.

        ``"p.v.weights"`` are those between v and its parents, and ``"q.h1.weights"`` those between
        h1 and what it is inferred from, both of shape (upper layer, lower layer).
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (name, n) in enumerate(zip(self.names, self.sizes, strict=True)):
            shapes[f"p.{name}.bias"] = (n,)
            if layer < self.top:
                shapes[f"p.{name}.weights"] = (self.sizes[layer + 1], n)
            if layer:
                shapes[f"q.{name}.bias"] = (n,)
                shapes[f"q.{name}.weights"] = (n, self.sizes[layer - 1])
                if (hidden := self.baseline_units) is not None:
                    if hidden:
                        shapes[f"b.{name}.in"] = (self.sizes[layer - 1], hidden)
                        shapes[f"b.{name}.in_bias"] = (hidden,)
                    shapes[f"b.{name}.out"] = (hidden or self.sizes[layer - 1], 1)
                    shapes[f"b.{name}.out_bias"] = (1,)
        return shapes

    def init(self, seed: int, dtype: Any) -> Params:
        """Parameters to begin with: small random weights, biases zero."""
        params: Params = {}
        for key, shape in self.parameter_shapes().items():
            params[key] = np.zeros(shape, dtype)
            network, name, what = key.split(".")
            layer = self.names.index(name)
            if what == "weights":
                at = rng.Address.of(seed, "weights", group=2 * layer + (network == "q"))
                params[key][...] = sum(shape) ** -0.5 * rng.normal(at, shape)
            elif what == "in":
                net = init_net(shape[0], shape[1], 1, (seed + layer) % 2**64)
                params[key][...] = net["net/in"]
        return params

    # -- fields ----------------------------------------------------------------------------------

    def up(self, params: Params, layer: int, x: np.ndarray) -> np.ndarray:
        """Field of layer l in the inference network, given states of the layer below."""
        w = params[f"q.{self.names[layer]}.weights"]
        out = np.empty((len(x), self.sizes[layer]), w.dtype)
        products.product(self.units[layer - 1], x, w, out, transpose=True, n_threads=self.n_threads)
        out += params[f"q.{self.names[layer]}.bias"] - w @ self.offsets[layer - 1]
        return out

    def down(self, params: Params, layer: int, h: np.ndarray | None = None) -> np.ndarray:
        """Field of layer l in the generative network, given states of the layer above.

        The top layer has one for all rows, (1, n_units).
        """
        bias = params[f"p.{self.names[layer]}.bias"]
        if layer == self.top:
            return bias[None]
        assert h is not None
        w = params[f"p.{self.names[layer]}.weights"]
        out = np.empty((len(h), self.sizes[layer]), w.dtype)
        products.product(self.units[layer + 1], h, w, out, n_threads=self.n_threads)
        out += bias - self.offsets[layer + 1] @ w
        return out

    def mean(self, field: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Logistic function of a field."""
        out = np.empty_like(field) if out is None else out
        kernels.draw(field, None, mean=out, n_threads=self.n_threads)
        return out

    def draw(
        self,
        field: np.ndarray,
        address: rng.Address,
        n_times: int = 1,
        *,
        shared: int = 1,
        mean: np.ndarray | None = None,
    ) -> np.ndarray:
        """States at a field, drawn n times for each of its rows.

        The rows are ``shared`` blocks that get the same uniforms.
        """
        n = len(field) // shared
        out = np.empty((n_times * len(field), field.shape[1]), field.dtype)
        for k in range(n_times * shared):
            part = slice(k % shared * n, (k % shared + 1) * n)
            kernels.draw(
                field[part],
                None,
                mean=None if mean is None or k >= shared else mean[part],
                sample=out[k * n : (k + 1) * n],
                seed=address.seed,
                stream=address.stream,
                step=address.step,
                row0=address.row + k // shared * n,
                n_threads=self.n_threads,
            )
        return out

    def log_prob(self, x: np.ndarray, field: np.ndarray, n_rows: int) -> np.ndarray:
        """Log-probability of states at a field, (n_paths, n_rows).

        Either may have a single path for all of the other, and the field a single row.
        """
        soft = np.empty(len(field))
        kernels.cumulant_sum(field, None, soft, n_threads=self.n_threads)
        x = x.reshape(-1, n_rows, x.shape[1])
        a = field.reshape(-1, min(n_rows, len(field)), field.shape[1])
        dots = np.einsum("kij,kij->ki", *np.broadcast_arrays(x, a))
        return dots - soft.reshape(a.shape[:2])

    # -- paths -----------------------------------------------------------------------------------

    def infer(
        self,
        params: Params,
        x: np.ndarray,
        address: rng.Address,
        n_paths: int = 1,
        *,
        mirrored: bool = False,
    ) -> Paths:
        """Draw paths upwards. Of mirrored ones, the second half has ``1 - u`` for u in layer 1."""
        below = self.up(params, 1, x)
        mean = np.empty_like(below)
        at = _of_layer(address, 1)
        if mirrored:
            h = self.draw(below, at, n_paths // 2, mean=mean)
            h = np.concatenate([h, self.mirror(below, at, n_paths // 2)])
        else:
            h = self.draw(below, at, n_paths, mean=mean)
        paths = Paths([x, h], [below, below], [mean, mean])
        self.go_up(params, paths, address, shared=2 if mirrored else 1)
        self.weigh(params, paths)
        return paths

    def mirror(
        self, field: np.ndarray, address: rng.Address, n_times: int = 1, shared: int = 1
    ) -> np.ndarray:
        """What `draw` gives with ``1 - u`` in the place of each uniform u."""
        h = self.draw(-field, address, n_times, shared=shared)
        return np.subtract(1, h, out=h)

    def go_up(self, params: Params, paths: Paths, address: rng.Address, shared: int = 1) -> None:
        """Draw the layers above those that paths have."""
        for layer in range(len(paths.states), self.top + 1):
            a = self.up(params, layer, paths.states[-1])
            mean = np.empty_like(a)
            h = self.draw(a, _of_layer(address, layer), shared=shared, mean=mean)
            paths.states.append(h)
            paths.fields.append(a)
            paths.means.append(mean)

    def weigh(self, params: Params, paths: Paths, first: int = 1) -> None:
        """Log-probabilities of the layers from ``first`` on, and of the one below given it."""
        n = len(paths.states[0])
        for layer in range(first, self.top + 1):
            a = self.down(params, layer - 1, paths.states[layer])
            paths.down[layer - 1] = a
            paths.log_p[layer - 1] = self.log_prob(paths.states[layer - 1], a, n)
            paths.log_q[layer] = self.log_prob(paths.states[layer], paths.fields[layer], n)
        paths.down[self.top] = self.down(params, self.top)
        paths.log_p[self.top] = self.log_prob(paths.states[-1], paths.down[self.top], n)

    def dream(self, params: Params, n: int, address: rng.Address) -> list[np.ndarray]:
        """Draw all layers downwards, the top one first; states by layer."""
        field = np.repeat(self.down(params, self.top), n, axis=0)
        states = [self.draw(field, _of_layer(address, self.top))]
        for layer in reversed(range(self.top)):
            field = self.down(params, layer, states[0])
            states.insert(0, self.draw(field, _of_layer(address, layer)))
        return states

    def states(self, first: int, last: int, dtype: Any) -> list[np.ndarray]:
        """States of all hidden units together, by number: a list by layer, (n, n_units) each."""
        bits = (np.arange(first, last)[:, None] >> np.arange(sum(self.sizes[1:]))) & 1
        layers = np.split(bits.astype(dtype), np.cumsum(self.sizes[1:-1]), axis=1)
        return [np.ascontiguousarray(h) for h in layers]

    def every_path(self, params: Params, x: np.ndarray) -> Paths:
        """A path for every state of the hidden units, for each row."""
        n = len(x)
        hidden = [
            np.repeat(h, n, axis=0) for h in self.states(0, 2 ** sum(self.sizes[1:]), x.dtype)
        ]
        paths = Paths([x, *hidden])
        for layer in range(1, self.top + 1):
            a = self.up(params, layer, paths.states[layer - 1])
            paths.fields.append(a)
            paths.means.append(self.mean(a))
        # Index 0 of both stands for the data.
        paths.fields.insert(0, paths.fields[0])
        paths.means.insert(0, paths.means[0])
        self.weigh(params, paths)
        return paths


def _of_layer(address: rng.Address, layer: int) -> rng.Address:
    """Address of a layer's uniforms, where a use's streams begin at that of the address."""
    return address.at(group=address.stream % rng.STREAMS_PER_USE + layer)


@dataclass
class Paths:
    """Draws of the inference network with what follows from them; lists go by layer, from v.

    Attributes
    ----------
    states : list of arrays
        Of v (n_rows, n), and of hidden layers (n_paths * n_rows, n).
    fields, means : list of arrays
        Of hidden layers, in the inference network (entry 0 has no meaning); those of h1 have
        n_rows rows.
    down : dict of arrays
        Fields in the generative network.
    log_p, log_q : dict of arrays
        ``log p(h(l) | h(l+1))`` and ``log q(h(l) | h(l-1))``, (n_paths, n_rows).
    """

    states: list[np.ndarray]
    fields: list[np.ndarray] = field(default_factory=list)
    means: list[np.ndarray] = field(default_factory=list)
    down: dict[int, np.ndarray] = field(default_factory=dict)
    log_p: dict[int, np.ndarray] = field(default_factory=dict)
    log_q: dict[int, np.ndarray] = field(default_factory=dict)

    def signal(self, layer: int) -> np.ndarray:
        """What the choice of layer l decides of the bound: log p less log q, from l - 1 upwards."""
        top = len(self.states) - 1
        total = self.log_p[top].copy()
        for k in range(layer, top + 1):
            total += self.log_p[k - 1]
            total -= self.log_q[k]
        return total


# -- gradients of the bound ------------------------------------------------------------------------


@dataclass
class BoundState(PhaseState):
    """What the estimators of the gradient carry from update to update.

    Attributes
    ----------
    centre, variance : ndarray of shape (n_hidden_layers,)
        Moving averages of each layer's signal, less its learnt baseline, and of its variance
        (NVIL; NaN before the first update).
    """

    centre: np.ndarray = field(default_factory=lambda: np.zeros(0))
    variance: np.ndarray = field(default_factory=lambda: np.zeros(0))


class BoundObjective:
    """Gradient of a bound on the log-likelihood, by one of the `METHODS`, for `Trainer`.

    Parameters
    ----------
    net : BeliefNet
    method : str
    n_paths : int
        Paths of each row.
    local_signals : bool
        Whether a layer learns from what it decides of the bound alone, rather than from all of it.
    """

    #: A trainer's compiled loop asks for likelihoods of an energy; there are none.
    likelihoods: tuple[Any, ...] = ()

    def __init__(
        self, net: BeliefNet, method: str, n_paths: int, local_signals: bool = True
    ) -> None:
        self.net = net
        self.method = method
        self.n_paths = n_paths
        self.local_signals = local_signals

    def init(self, random_state: Any = None) -> BoundState:
        """State before the first update."""
        none = np.full(self.net.top, np.nan)
        return BoundState(rng.seed_from(random_state), centre=none, variance=none.copy())

    def step(
        self,
        params: Params,
        batch: Any,
        state: BoundState,
        weights: np.ndarray | None = None,
        out: Params | None = None,
    ) -> tuple[Params, dict[str, np.ndarray], BoundState]:
        """Gradient of one minibatch, unchecked; see `fastboltz.objectives.Objective.step`."""
        net, x = self.net, batch["v"]
        if out is None:
            out = {key: np.zeros_like(w) for key, w in params.items()}
        else:
            for g in out.values():
                g.fill(0)
        n = len(x)
        rows = np.full(n, 1 / n) if weights is None else check_weights(weights, n)
        address = rng.Address.of(state.seed, "gradients", step=state.update)
        if self.method == "exact":
            self._check_enumerable()
            paths = net.every_path(params, x)
            joint = sum(paths.log_p.values())
            share = _softmax(np.asarray(joint))
            self._add_inference(paths, [share * rows] * net.top, out)
            self._add_generative(paths, share * rows, out)
            return out, {}, _after(state)
        if self.method == "nvil" and np.isnan(state.centre).any():
            # The averages begin with those of other paths, so that the first update is one of many.
            probe = net.infer(params, x, _of_layer(address, _PROBE), self.n_paths)
            state = self._averages(params, probe, state, rows)
        mirrored = self.method in PAIRED
        paths = net.infer(params, x, address, self.n_paths, mirrored=mirrored)
        share = np.broadcast_to(rows / self.n_paths, (self.n_paths, n))
        after = _after(state)
        if mirrored:
            self._add_paired(params, paths, rows, address, out)
        elif self.method == "wake-sleep":
            self._add_sleep(params, n, _of_layer(address, _DREAM), out)
        elif self.method in ("vimco", "reweighted-wake-sleep"):
            log_w = paths.signal(1)
            share = _softmax(log_w)
            factor = share
            if self.method == "vimco":
                factor = vimco_signals(log_w[None])[0][0] - share
            share = share * rows
            self._add_inference(paths, [factor * rows] * net.top, out)
        else:
            factors = [paths.signal(layer if self.local_signals else 1) for layer in self._hidden]
            if self.method == "leave-one-out":
                k = self.n_paths / (self.n_paths - 1)
                factors = [k * (f - f.mean(axis=0)) for f in factors]
            elif self.method == "nvil":
                factors, after = self._centred(params, paths, factors, state, rows, out)
            self._add_inference(paths, [f * share for f in factors], out)
        self._add_generative(paths, share, out)
        return out, {}, after

    @property
    def _hidden(self) -> range:
        return range(1, self.net.top + 1)

    def _check_enumerable(self) -> None:
        n = sum(self.net.sizes[1:])
        if n > MAX_LOG2_STATES:
            raise too_many_states("learning", n, MAX_LOG2_STATES, "Use method='nvil' or 'vimco'.")

    # -- what is added to the gradient -----------------------------------------------------------

    def _add_generative(self, paths: Paths, share: np.ndarray, out: Params) -> None:
        """Add ``sum share * d log p(v, h)``, with a share of each path, (n_paths, n_rows)."""
        net = self.net
        for layer in range(net.top + 1):
            x, a = paths.states[layer], paths.down[layer]
            mean = net.mean(a, out=a if layer < net.top else None)
            if layer == 0 and len(share) > 1:
                x = np.broadcast_to(x, (len(share), *x.shape)).reshape(mean.shape)
            residual = np.subtract(x, mean, out=mean if layer < net.top else None)
            self._add_layer("p", layer, residual, share, paths.states[min(layer + 1, net.top)], out)

    def _add_inference(self, paths: Paths, factors: Sequence[np.ndarray], out: Params) -> None:
        """Add ``sum factor * d log q(h | v)``, with a factor of each layer and path."""
        for layer, factor in zip(self._hidden, factors, strict=True):
            h, mean = paths.states[layer], paths.means[layer]
            residual = (h.reshape(-1, *mean.shape) - mean).reshape(h.shape)
            self._add_layer("q", layer, residual, factor, paths.states[layer - 1], out)

    def _add_layer(
        self,
        network: str,
        layer: int,
        residual: np.ndarray,
        factor: np.ndarray | None,
        given: np.ndarray,
        out: Params,
    ) -> None:
        """Add the gradient of a layer's parameters: of what it is given, times factor * residual.

        Where what is given has rows of data, rather than of paths, paths are summed. The residual
        is scaled in place.
        """
        net, name, dtype = self.net, self.net.names[layer], residual.dtype
        if factor is not None:
            residual *= factor.reshape(-1, 1).astype(dtype)
        if len(given) < len(residual):
            residual = residual.reshape(-1, len(given), residual.shape[1]).sum(axis=0)
        bias = np.add.reduce(residual, axis=0)
        out[f"{network}.{name}.bias"] += bias
        other = layer + 1 if network == "p" else layer - 1
        if other > net.top:
            return
        # Of weights (upper, lower), the rows are those of the parents or of the inferred units.
        pair = [(net.units[other], given, net.offsets[other]), (None, residual, bias)]
        if network == "q":
            pair.reverse()
        (unit, x, a), (unit_y, y, b) = pair
        w = out[f"{network}.{name}.weights"]
        products.outer((unit, unit_y), x, y, w, n_threads=net.n_threads)
        if net.is_centered:
            kernels.outer(a[None], b[None], w, scale=-1.0, beta=1.0, n_threads=net.n_threads)

    # -- mirrored pairs --------------------------------------------------------------------------

    def _add_paired(
        self, params: Params, paths: Paths, rows: np.ndarray, address: rng.Address, out: Params
    ) -> None:
        """Add the gradient of the inference network by ARM or DisARM, layer by layer.

        In layer 1 the second half of the paths mirrors the first. In a layer above, each path has a
        twin that shares all below, mirrors this layer, and goes on from there with the same
        uniforms.
        """
        net = self.net
        for layer in self._hidden:
            h, mean, at = paths.states[layer], paths.means[layer], _of_layer(address, layer)
            signal = paths.signal(layer if self.local_signals else 1)
            if layer == 1:
                half = self.n_paths // 2
                h, twin = np.split(h, 2)
                change = signal[half:] - signal[:half]
            else:
                twin = net.mirror(paths.fields[layer], at, shared=2)
                other = Paths(
                    [*paths.states[:layer], twin],
                    paths.fields[: layer + 1],
                    paths.means[: layer + 1],
                    log_p=dict(paths.log_p),
                    log_q=dict(paths.log_q),
                )
                net.go_up(params, other, address, shared=2)
                net.weigh(params, other, first=layer)
                change = other.signal(layer if self.local_signals else 1) - signal
            if self.method == "disarm":
                # sigma(|a|), for a mean sigma(a).
                residual = (twin - h).reshape(-1, *mean.shape) * np.maximum(mean, 1 - mean)
            else:
                n_blocks = 1 if layer == 1 else 2
                shape = (len(h) // n_blocks, h.shape[1])
                u = rng.uniform(at, shape, h.dtype, net.n_threads)
                residual = np.concatenate([2 * u - 1] * n_blocks)
            residual = residual.reshape(h.shape)
            factor = change * (rows / (2 * len(change)))
            self._add_layer("q", layer, residual, factor, paths.states[layer - 1], out)

    # -- wake and sleep --------------------------------------------------------------------------

    def _add_sleep(self, params: Params, n: int, address: rng.Address, out: Params) -> None:
        """Add the mean of ``d log q(h | v)`` over dreams, draws of the generative network."""
        states = self.net.dream(params, n, address)
        for layer in self._hidden:
            mean = self.net.mean(self.net.up(params, layer, states[layer - 1]))
            residual = (states[layer] - mean) / np.asarray(n, mean.dtype)
            self._add_layer("q", layer, residual, None, states[layer - 1], out)

    # -- NVIL ------------------------------------------------------------------------------------

    def _baseline(self, params: Params, layer: int, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """The learnt baseline of a layer given states of the one below, and its derivative."""
        prefix = f"b.{self.net.names[layer]}."
        own = {
            f"net/{k.removeprefix(prefix)}": w for k, w in params.items() if k.startswith(prefix)
        }
        return run_net(own, x - self.net.offsets[layer - 1])

    def _averages(
        self, params: Params, paths: Paths, state: BoundState, rows: np.ndarray
    ) -> BoundState:
        """The state with averages that begin at these paths, of rows with these weights."""
        n = paths.log_p[0].shape[1]
        moments = []
        for layer in self._hidden:
            learnt, _ = self._baseline(params, layer, paths.states[layer - 1])
            signal = paths.signal(layer if self.local_signals else 1)
            moments.append(_moments(signal - learnt.reshape(-1, min(n, len(learnt))), rows))
        centre, variance = np.transpose(moments)
        return replace(state, centre=centre.copy(), variance=variance.copy())

    def _centred(
        self,
        params: Params,
        paths: Paths,
        signals: Sequence[np.ndarray],
        state: BoundState,
        rows: np.ndarray,
        out: Params,
    ) -> tuple[list[np.ndarray], BoundState]:
        """Signals less their baselines, over their deviation; baselines learn by squared error.

        ``(J - C(x) - c) / max(1, sqrt(v))`` with c and v of former updates, so that neither has a
        part of what it is taken off (Mnih & Gregor 2014, algorithm 1).
        """
        centred, centre, variance = [], state.centre.copy(), state.variance.copy()
        for layer, signal in zip(self._hidden, signals, strict=True):
            learnt, backward = self._baseline(params, layer, paths.states[layer - 1])
            less = signal - learnt.reshape(-1, signal.shape[1])
            scale = 1 / max(1.0, float(np.sqrt(state.variance[layer - 1])))
            one = (less - state.centre[layer - 1]) * scale
            centred.append(one)
            # Up the gradient of -error^2 / 2.
            error = one * (rows / len(one))
            error = error.sum(axis=0) if len(learnt) < error.size else error
            own = backward(error.reshape(-1, 1).astype(learnt.dtype))
            for key, g in own.items():
                out[f"b.{self.net.names[layer]}.{key.removeprefix('net/')}"] += g
            mean, square = _moments(less, rows)
            centre[layer - 1] = averaged(centre[layer - 1], mean, DECAY)
            variance[layer - 1] = averaged(variance[layer - 1], square, DECAY)
        return centred, _after(state, centre=centre, variance=variance)


def _after(state: BoundState, **changed: Any) -> BoundState:
    """The state after one more update."""
    return replace(state, update=state.update + 1, **changed)


def _moments(signal: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """Mean and variance of signals of paths, (n_paths, n_rows), of rows with these weights."""
    mean = float(np.average(signal.mean(axis=0), weights=rows))
    return mean, float(np.average(((signal - mean) ** 2).mean(axis=0), weights=rows))


def _softmax(log_w: np.ndarray) -> np.ndarray:
    """Normalised weights over paths."""
    w = np.exp(log_w - log_w.max(axis=0))
    return w / w.sum(axis=0)
