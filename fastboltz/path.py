"""Distributions between independent units and a model, for annealing and for tempering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .energy import Energy
from .terms import Params
from .units import Own
from .validation import unknown_group


class Path:
    """The distributions between a reference and a model.

    At inverse temperature beta, couplings are multiplied by beta and biases are
    ``(1 - beta) * reference + beta * model``, so that ``log f_beta(x)`` is linear in beta.

    Parameters
    ----------
    energy : Energy
    params : dict of arrays
        The model's.
    reference : dict of dicts
        Group -> own parameters of the independent units at beta = 0; zero biases where not named.
    given : tuple of str
        Groups that are held.
    """

    def __init__(
        self,
        energy: Energy,
        params: Params,
        reference: Mapping[str, Own],
        given: tuple[str, ...] = (),
    ) -> None:
        self.energy = energy
        self.params = params
        self.given = given
        self.reference = {}
        for g in reference:
            if g not in energy.groups:
                raise unknown_group("reference", g, energy.groups)
        for g in energy.groups:
            start = reference.get(g, {}).get("bias")
            zero = np.zeros_like(params[g])
            self.reference[g] = zero if start is None else np.asarray(start, dtype=params[g].dtype)
            if self.reference[g].shape != zero.shape:
                raise ValueError(
                    f"reference[{g!r}]['bias'] has shape {self.reference[g].shape}; expected "
                    f"{zero.shape}."
                )
        # Sum out as many units as can be: every unit summed out is variance saved.
        sets: list[tuple[str, ...]] = [()]
        for g in (g for g in energy.groups if g not in given):
            sets += [(*s, g) for s in sets if energy.is_independent((*s, g))]
        self.summed = max(sets, key=lambda s: sum(energy.groups[g].n_units for g in s))
        self.rest_blocks = energy.blocks(clamped=(*self.summed, *given))
        self.rest = [g for b in self.rest_blocks for g in b]
        #: Terms that neither are summed out nor hold given groups alone.
        self.apart = [
            t
            for t in energy.terms
            if not set(t.groups) & set(self.summed) and not set(t.groups) <= set(given)
        ]

    def at(self, beta: float) -> Params:
        """Parameters whose biases are interpolated; couplings are scaled by who uses them."""
        out = dict(self.params)
        for g, start in self.reference.items():
            if beta < 1:
                b = np.asarray(beta, dtype=start.dtype)
                out[g] = (1 - b) * start + b * self.params[g]
        return out

    def log_z_reference(self) -> float:
        """Log Z of the independent units at beta = 0."""
        at_start = self.at(0.0)
        return float(
            sum(
                u.cumulant(self.energy.own(at_start, g), np.zeros((1, *u.shape)))[0]
                for g, u in self.energy.groups.items()
                if g not in self.given
            )
        )


class Trajectory:
    """Straight lines from independent units over some models.

    Position 0 is that of independent units with the own parameters (biases, precisions) of the
    first model, position k that of the k-th model; between two of them parameters are interpolated.

    Parameters
    ----------
    energy : Energy
    models : sequence of dicts of arrays
        One at least.
    """

    def __init__(self, energy: Energy, models: Sequence[Params]) -> None:
        own = energy.own_keys()
        first = {key: x if key in own else np.zeros_like(x) for key, x in models[0].items()}
        self.models = (first, *models)

    def at(self, position: float) -> Params:
        """Parameters at a position from 0 to the number of models."""
        k = min(int(position), len(self.models) - 2)
        share = position - k
        before, after = self.models[k : k + 2]
        if share in (0.0, 1.0):
            return before if share == 0 else after
        out = {}
        for key, x in before.items():
            s = np.asarray(share, dtype=x.dtype)
            out[key] = (1 - s) * x + s * after[key]
        return out
