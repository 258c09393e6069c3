"""Inference of switches of two states: what they gate, without a field of every state.

Of the fields of a switch's two states only the difference matters,
``v_i (sum_k W_0ki h_0k - sum_k W_1ki h_1k + c_i0 - c_i1)``, and the rows that the two components
see are ``v z_0`` and ``v - v z_0``. So a step is one matrix product a component up, one down, and a
few passes over rows that stay in the cache meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastboltz_ext import layers, packed

from .. import products, rng, threads
from ..energy import Energy
from ..terms import Params
from ..units import Bernoulli, Unit

#: Rows that make all steps of a call before the next ones begin.
_ROWS_AT_ONCE = 512


def serves(energy: Energy, params: Params, known: Mapping[str, np.ndarray]) -> bool:
    """Whether `TwoSwitches` can infer the other groups.

    Visible units have to be known, and labels in every row or in none.
    """
    if energy.groups["z"].shape[-1] != 2 or not set(known) <= {"v", "y"} or "v" not in known:
        return False
    if len({params[g].dtype for g in energy.groups} | {x.dtype for x in known.values()}) > 1:
        return False
    # A sum is NaN where one of its numbers is.
    return not any(np.isnan(x.sum()) for x in known.values())


class TwoSwitches:
    """Switches z of two states, hidden units h0 and h1 and a label y, given visible units v.

    Mean field and Gibbs sweeps are those of `fastboltz.mean_field.mean_field` and of
    `fastboltz.gibbs.Gibbs` over the blocks (h0, h1) and (z, y), with the same random numbers.

    Parameters
    ----------
    energy : Energy
        A point-wise gated machine's, for which `serves` holds.
    params : dict of arrays
    n_threads : int
        No effect on the result.
    """

    def __init__(self, energy: Energy, params: Params, n_threads: int = 1) -> None:
        self.energy = energy
        self.params = params
        self.n_threads = n_threads
        self.dtype = params["v"].dtype
        #: Component with hidden units -> weights (hidden units, visible units), and biases.
        self.weights: dict[int, np.ndarray] = {}
        self.biases: dict[int, np.ndarray] = {}
        for r in (0, 1):
            if f"h{r}" in energy.groups:
                self.weights[r] = np.ascontiguousarray(params[f"h{r}_k v_i z_i{r}"])
                self.biases[r] = np.ascontiguousarray(params[f"h{r}"])
        self.gain = params["v_i z_i0"] - params["v_i z_i1"]
        self.bias = params["z"][:, 0] - params["z"][:, 1]
        self.labels = np.ascontiguousarray(params["h0_k y_c"]) if "y" in energy.groups else None
        #: What the rows that a component sees are: bits, where visible units are {0, 1}.
        self.seen = energy.groups["v"] if isinstance(energy.groups["v"], Bernoulli) else None
        self.number = {g: i for i, g in enumerate(energy.groups)}

    # -- the steps -----------------------------------------------------------------------------

    def _hidden_field(
        self, r: int, seen: np.ndarray, y: np.ndarray | None, unit: Unit | None, n_threads: int
    ) -> np.ndarray:
        """Field of a component's hidden units, its rows being what that component sees."""
        w = self.weights[r]
        out = np.empty((len(seen), len(w)), self.dtype)
        with_label = r == 0 and y is not None
        if with_label:
            layers.product(y, self.labels, out, transpose=True, n_threads=n_threads)
        products.product(
            unit, seen, w, out, transpose=True, beta=float(with_label), n_threads=n_threads
        )
        return out

    def _excess(
        self,
        x: np.ndarray,
        values: Mapping[str, np.ndarray | packed.Bits],
        out: np.ndarray,
        part: np.ndarray,
        n_threads: int,
    ) -> None:
        """Write what the field of a switch's state 0 has more than that of state 1.

        ``part`` is memory to work in.
        """
        for r, w in self.weights.items():
            h, add = values[f"h{r}"], np.subtract if r else np.add
            if r == 0 and isinstance(h, packed.Bits):
                packed.layer(h, w, self.gain, field=out, n_threads=n_threads)
                continue
            if r == 0:
                out[...] = self.gain
            if isinstance(h, packed.Bits):
                packed.layer(h, w, None, field=part, n_threads=n_threads)
                add(out, part, out=out)
            elif len(h) < len(x):  # one row for all
                add(out, h @ w, out=out)
            else:
                sign = -1.0 if r else 1.0
                layers.product(h, w, out, scale=sign, beta=1.0, n_threads=n_threads)
        out *= x

    def _draw_hidden(
        self,
        r: int,
        seen: np.ndarray,
        y: np.ndarray | None,
        address: rng.Address,
        n_threads: int,
    ) -> np.ndarray | packed.Bits:
        """Draws of a component's hidden units, as bits where the rows that it sees are bits."""
        w, bias = self.weights[r], self.biases[r]
        how: dict[str, Any] = {"n_threads": n_threads, **_place(address)}
        bits = products.as_bits(self.seen, seen, w.size)
        if bits is None or not packed.fits(w):
            field = self._hidden_field(r, seen, y, None, n_threads)
            layers.draw(field, bias, sample=field, **how)
            return field
        if r == 0 and y is not None:
            field = np.empty((len(seen), len(w)), self.dtype)
            layers.product(y, self.labels, field, transpose=True, n_threads=n_threads)
            bias = packed.row_bias(field, bias, n_threads=n_threads)
        sample = packed.Bits(len(seen), len(w), low=0.0)
        packed.layer(bits, w, bias, transpose=True, sample=sample, **how)
        return sample

    def _in_parts(self, n_rows: int, work: Callable[[slice, int], None]) -> None:
        """Call ``work(rows, n_threads)`` for all rows, a part after or beside the other."""
        parts = [slice(i, min(i + _ROWS_AT_ONCE, n_rows)) for i in range(0, n_rows, _ROWS_AT_ONCE)]
        with threads.computing():
            if len(parts) == 1 or self.n_threads == 1:
                for rows in parts:
                    work(rows, self.n_threads)
                return
            with ThreadPoolExecutor(min(self.n_threads, len(parts))) as pool:
                list(pool.map(lambda rows: work(rows, 1), parts))

    def _arrays(self, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All groups: known ones as they are, and memory for the others."""
        n = len(known["v"])
        return {
            g: known[g] if g in known else np.empty((n, *unit.shape), self.dtype)
            for g, unit in self.energy.groups.items()
        }

    # -- mean field ----------------------------------------------------------------------------

    def mean_field(
        self, known: Mapping[str, np.ndarray], n_steps: int, tolerance: float
    ) -> dict[str, np.ndarray]:
        """Means of all groups after some steps, switches beginning at component 0.

        Parameters
        ----------
        known : dict of arrays
        n_steps : int
        tolerance : float
            A row is done when no mean moves by more in one step.

        Returns
        -------
        dict of arrays
        """
        out = self._arrays(known)
        tolerance = max(tolerance, 4 * float(np.finfo(self.dtype).eps))
        self._in_parts(
            len(known["v"]),
            lambda rows, n_threads: self._settle(known, out, rows, n_steps, tolerance, n_threads),
        )
        return out

    def _settle(
        self,
        known: Mapping[str, np.ndarray],
        out: dict[str, np.ndarray],
        rows: slice,
        n_steps: int,
        tolerance: float,
        n_threads: int,
    ) -> None:
        """Mean field of some rows, written to ``out``."""
        x = np.ascontiguousarray(known["v"][rows])
        label, is_free = self._label(known, rows), "y" in out and "y" not in known
        now: dict[str, np.ndarray] = {}
        own: np.ndarray = x
        rest: np.ndarray | None = None
        excess, buffers = np.empty_like(x), [np.empty_like(x) for _ in self.weights]
        moving = np.ones(len(x), bool)
        for step in range(n_steps):
            before, now = now, {}
            for r, bias in self.biases.items():
                seen = rest if r else own
                if seen is None:  # component 1 at the beginning
                    field = np.zeros((1, len(bias)), self.dtype)
                else:
                    unit = self.seen if step == 0 else None
                    field = self._hidden_field(r, seen, label, unit, n_threads)
                layers.draw(field, bias, mean=field, n_threads=n_threads)
                now[f"h{r}"] = field
            first = np.empty_like(x)
            self._excess(x, now, excess, first, n_threads)
            if "h1" in now and len(now["h1"]) < len(x):
                now["h1"] = np.repeat(now["h1"], len(x), axis=0)
            layers.draw(excess, self.bias, mean=first, n_threads=n_threads)
            now["z"] = first
            if is_free:
                field = np.empty_like(label)
                layers.product(now["h0"], self.labels, field, n_threads=n_threads)
                label = now["y"] = self.energy.groups["y"].mean(self._own("y"), field)
            done = moving
            if step < n_steps - 1:
                # The first step has nothing to be compared with; it moves the switches anyway.
                change = [_largest_change(now[g], before[g]) for g in before]
                settled = np.max(change, axis=0) <= tolerance if change else ~moving
                done = moving & settled
            if done.any():
                # Each state from its own side, so that the smaller one keeps its digits.
                second = np.negative(excess)
                layers.draw(second, -self.bias, mean=second, n_threads=n_threads)
                which = slice(None) if done.all() else done
                for g, mean in now.items():
                    if g != "z":
                        out[g][rows][which] = mean[which]
                out["z"][rows][which, :, 0] = first[which]
                out["z"][rows][which, :, 1] = second[which]
                moving = moving & ~done
                if not moving.any():
                    return
            own = np.multiply(x, first, out=buffers[0])
            if 1 in self.weights:
                rest = np.subtract(x, own, out=buffers[1])

    def _own(self, group: str) -> dict[str, np.ndarray]:
        return dict(self.energy.own(self.params, group))

    def _label(self, known: Mapping[str, np.ndarray], rows: slice) -> np.ndarray | None:
        """Labels of some rows; where they are unknown, the mean of a label by itself."""
        if self.labels is None or "y" in known:
            return None if self.labels is None else np.ascontiguousarray(known["y"][rows])
        unit = self.energy.groups["y"]
        alone = unit.mean(self._own("y"), np.zeros((1, *unit.shape), self.dtype))
        return np.repeat(alone, len(known["v"][rows]), axis=0)

    # -- Gibbs ---------------------------------------------------------------------------------

    def gibbs(
        self,
        known: Mapping[str, np.ndarray],
        address: rng.Address,
        n_steps: int,
        more: int = 0,
    ) -> list[dict[str, np.ndarray]]:
        """States of chains after some sweeps, and after each of ``more`` further ones.

        Switches begin at component 0, labels that are unknown at draws of a label by itself.

        Parameters
        ----------
        known : dict of arrays
        address : rng.Address
            Of the first row in the first sweep.
        n_steps, more : int

        Returns
        -------
        list of dicts of arrays
        """
        found = [self._arrays(known) for _ in range(more + 1)]

        def work(rows: slice, n_threads: int) -> None:
            at = address._replace(row=address.row + rows.start)
            self._sweep(known, found, rows, at, n_steps, n_threads)

        self._in_parts(len(known["v"]), work)
        return found

    def _sweep(
        self,
        known: Mapping[str, np.ndarray],
        found: list[dict[str, np.ndarray]],
        rows: slice,
        address: rng.Address,
        n_steps: int,
        n_threads: int,
    ) -> None:
        """Sweeps of some rows, the last states of which are written to ``found``."""
        x = np.ascontiguousarray(known["v"][rows])
        is_free = self.labels is not None and "y" not in known
        label = self._label(known, rows)
        if is_free:
            # Where `Gibbs.start` draws it.
            first = address.beginning(self.number["y"])
            zero = np.zeros((len(x), *self.params["y"].shape), self.dtype)
            _, label = self.energy.groups["y"].draw(self._own("y"), zero, first)
        own, rest = x, np.zeros_like(x)
        excess, z, part, seen = (np.empty_like(x) for _ in range(4))
        for step in range(n_steps + len(found) - 1):
            now = address.at(step=address.step + step)
            hidden = {}
            for r in self.weights:
                at = now.at(group=self.number[f"h{r}"])
                hidden[f"h{r}"] = self._draw_hidden(r, rest if r else own, label, at, n_threads)
            self._excess(x, hidden, excess, part, n_threads)
            at = now.at(group=self.number["z"])
            layers.draw(excess, self.bias, sample=z, **_place(at), n_threads=n_threads)
            if is_free:
                field = np.empty_like(label)
                layers.product(_plain(hidden["h0"], self.dtype), self.labels, field)
                at = now.at(group=self.number["y"])
                _, label = self.energy.groups["y"].draw(self._own("y"), field, at)
            if step >= n_steps - 1:
                out = found[step - n_steps + 1]
                for g, h in hidden.items():
                    out[g][rows] = _plain(h, self.dtype)
                if is_free:
                    out["y"][rows] = label
                out["z"][rows][..., 0] = z
                np.subtract(1, z, out=out["z"][rows][..., 1])
            own = np.multiply(x, z, out=seen)
            if 1 in self.weights:
                rest = np.subtract(x, own, out=rest)


def _place(address: rng.Address) -> dict[str, int]:
    """An address as the compiled kernels take it."""
    return {
        "seed": address.seed,
        "stream": address.stream,
        "step": address.step,
        "row0": address.row,
    }


def _plain(x: np.ndarray | packed.Bits, dtype: Any) -> np.ndarray:
    return x.unpack(dtype=dtype) if isinstance(x, packed.Bits) else x


def _largest_change(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Of the means of each row; ``before`` is overwritten."""
    np.subtract(now, before, out=before)
    return np.maximum(before.max(axis=1), -before.min(axis=1))
