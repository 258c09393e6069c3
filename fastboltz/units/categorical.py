"""One-hot units over q states (Potts units; softmax labels)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastboltz_ext import layers

from .. import rng
from .base import Field, Own, Unit, sum_units


class Categorical(Unit):
    r"""One-hot units: the last axis holds the states of one unit.

    Base energy ``-sum_r bias_r x_r``; cumulant ``log sum_r exp(bias_r + field_r)``; mean the
    softmax.

    Parameters
    ----------
    *shape : int
        Sizes of the group's axes, the number of states last: ``Categorical(10)`` is one label of
        ten classes, ``Categorical(784, 2)`` is 784 switches.
    """

    name = "categorical"
    event_axes = 1

    def base(self, own: Own, x: np.ndarray) -> np.ndarray:
        return -sum_units(x * own["bias"])

    def unit_cumulants(self, own: Own, field: Field) -> np.ndarray:
        a = self._logits(own, field)
        top = a.max(axis=-1, keepdims=True)
        return np.log(np.exp(a - top).sum(axis=-1)) + top[..., 0]

    def mean(self, own: Own, field: Field) -> np.ndarray:
        if self.shape[-1] == 2:
            return self._means_of_two(own, field)
        a = self._logits(own, field)
        p = np.exp(a - a.max(axis=-1, keepdims=True))
        return p / p.sum(axis=-1, keepdims=True)

    def variance(self, own: Own, field: Field) -> np.ndarray:
        p = self.mean(own, field)
        return p * (1 - p)

    def mode(self, own: Own, field: Field) -> np.ndarray:
        a = self._logits(own, field)
        return self._one_hot(a.argmax(axis=-1), a.dtype)

    def sample(self, own: Own, field: Field, uniform: np.ndarray) -> np.ndarray:
        # The state is the number of partial sums of p that the uniform has passed; the last
        # partial sum is left out, since rounding may leave it below one.
        p = self.mean(own, field)
        passed = np.cumsum(p[..., :-1], axis=-1) <= uniform[..., None]
        return self._one_hot(passed.sum(axis=-1), p.dtype)

    def draw(
        self,
        own: Own,
        field: Field,
        address: rng.Address,
        *,
        scale: float = 1.0,
        mean: bool = False,
        sample: bool = True,
        n_threads: int = 1,
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        how: dict[str, Any] = {"scale": scale, "mean": mean, "sample": sample}
        if self.shape[-1] != 2:
            return super().draw(own, field, address, **how, n_threads=n_threads)
        means = self._means_of_two(own, field, scale, n_threads) if mean else None
        if not sample:
            return means, None
        # State 0 where the uniform is below its probability, as `sample` has it.
        excess, bias = self._excess(own, field, 0)
        zero = np.empty_like(excess)
        layers.draw(
            excess,
            bias,
            scale=scale,
            sample=zero,
            seed=address.seed,
            stream=address.stream,
            step=address.step,
            row0=address.row,
            n_threads=n_threads,
        )
        samples = np.empty((len(zero), *self.shape), zero.dtype)
        samples[..., 0] = zero.reshape(samples.shape[:-1])
        np.subtract(1, samples[..., 0], out=samples[..., 1])
        return means, samples

    def states(self) -> np.ndarray:
        return np.eye(self.shape[-1])

    def check_support(self, name: str, x: np.ndarray) -> None:
        unknown = np.isnan(x)
        if (unknown.any(axis=-1) & ~unknown.all(axis=-1)).any():
            raise ValueError(
                f"{name} knows some of the {self.shape[-1]} states of a one-hot unit and not the "
                f"others; give all of a unit's entries, or NaN for all of them."
            )
        known = x[~unknown.any(axis=-1)]
        if (known < 0).any() or not np.allclose(known.sum(axis=-1), 1, atol=1e-4):
            raise ValueError(
                f"{name} is not one-hot over its last axis of {self.shape[-1]} states; Categorical "
                f"units need entries >= 0 that sum to 1. Encode the columns with "
                f"sklearn.preprocessing.OneHotEncoder."
            )

    def from_moments(self, mean: np.ndarray, mean_square: np.ndarray) -> Own:
        log_p = np.log(np.clip(mean, 1e-6, 1))
        return {"bias": log_p - log_p.mean(axis=-1, keepdims=True)}

    # A unit of two states is a binary unit at the difference of its two fields: one compiled call.

    def _excess(self, own: Own, field: Field, state: int) -> tuple[np.ndarray, np.ndarray]:
        """What one of two states has more than the other: of the field, as rows, and of the bias.

        Both in the precision of the sum of the two.
        """
        bias = own["bias"]
        if np.ndim(field) == 0:
            field = np.full((1, *self.shape), field, bias.dtype)
        dtype = np.result_type(bias, field)
        excess = np.subtract(field[..., state], field[..., 1 - state], dtype=dtype)
        more = np.subtract(bias[..., state], bias[..., 1 - state], dtype=dtype)
        return excess.reshape(len(excess), -1), more.reshape(-1)

    def _means_of_two(
        self, own: Own, field: Field, scale: float = 1.0, n_threads: int = 1
    ) -> np.ndarray:
        p: np.ndarray | None = None
        for state in (0, 1):
            # Each from its own side, so that the smaller one keeps its digits.
            one, bias = self._excess(own, field, state)
            layers.draw(one, bias, scale=scale, mean=one, n_threads=n_threads)
            p = np.empty((len(one), *self.shape), one.dtype) if p is None else p
            p[..., state] = one.reshape(p.shape[:-1])
        assert p is not None
        return p

    @staticmethod
    def _logits(own: Own, field: Field) -> np.ndarray:
        a = own["bias"] + field
        return a[None] if np.ndim(field) == 0 else a

    def _one_hot(self, index: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return (index[..., None] == np.arange(self.shape[-1])).astype(dtype)
