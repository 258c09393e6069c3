"""What {0, 1} and {-1, +1} units share."""

from __future__ import annotations

import numpy as np

from fastboltz_ext import layers

from .. import rng
from .base import Field, Own, Unit, sum_units


class Binary(Unit):
    """A group of two-valued units: one compiled kernel, told apart by a flag."""

    #: Whether the values are {-1, +1} rather than {0, 1}.
    spin: bool

    def _rows(self, own: Own, field: Field) -> tuple[np.ndarray, np.ndarray]:
        """Field as rows of a matrix, and the bias as a vector of the same precision."""
        bias = own["bias"]
        if np.ndim(field) == 0:
            field = np.zeros((1, *self.shape), dtype=bias.dtype)
        field = np.ascontiguousarray(field).reshape(len(field), self.size)
        return field, np.ascontiguousarray(bias, dtype=field.dtype).reshape(-1)

    def base(self, own: Own, x: np.ndarray) -> np.ndarray:
        return -sum_units(x * own["bias"])

    def cumulant(
        self, own: Own, field: Field, scale: float = 1.0, n_threads: int = 1
    ) -> np.ndarray:
        rows, bias = self._rows(own, field)
        out = np.empty(len(rows))
        layers.cumulant_sum(rows, bias, out, scale=scale, spin=self.spin, n_threads=n_threads)
        return out

    def mean(self, own: Own, field: Field) -> np.ndarray:
        rows, bias = self._rows(own, field)
        out = np.empty_like(rows)
        layers.draw(rows, bias, spin=self.spin, mean=out)
        return out.reshape(len(rows), *self.shape)

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
        rows, bias = self._rows(own, field)
        means = np.empty_like(rows) if mean else None
        samples = np.empty_like(rows) if sample else None
        layers.draw(
            rows,
            bias,
            scale=scale,
            spin=self.spin,
            mean=means,
            sample=samples,
            seed=address.seed,
            stream=address.stream,
            step=address.step,
            row0=address.row,
            n_threads=n_threads,
        )
        return (
            None if means is None else means.reshape(len(rows), *self.shape),
            None if samples is None else samples.reshape(len(rows), *self.shape),
        )
