"""Units that a row of data does not tell: every way to fill them, and learning without them.

A unit that is unknown is a hidden unit of that row. So its place is not guessed once: either all
of its states count, each by its probability given what is known, or it is drawn anew, given what
is known, in every update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .. import rng
from ..energy import Energy
from ..enumeration import LOG2_LIMIT, Enumeration
from ..gibbs import Gibbs
from ..objectives import LogLikelihood, Objective, _Phases
from ..terms import Params
from ..validation import too_many_states

#: In learning, completions are listed up to so many a row (log2).
_LISTED_LOG2 = 12
#: Completed rows that are worked on at once.
_CHUNK_ROWS = 1 << 14


def log2_completions(energy: Energy, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """log2 of the number of ways to fill each row's unknown units (NaN), (n_rows,)."""
    total = np.zeros(len(next(iter(values.values()))))
    for g, x in values.items():
        unit = energy.groups[g]
        unknown = np.isnan(x).reshape(len(x), unit.n_units, -1).any(axis=2).sum(axis=1)
        table = unit.states()
        each = np.inf if table is None else np.log2(len(table))
        total[unknown > 0] += each * unknown[unknown > 0]
    return total


def completions(
    energy: Energy, values: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Every way to fill the unknown units: (number of the row that each fills, values)."""
    values = dict(values)
    rows = np.arange(len(next(iter(values.values()))))
    for g, x in values.items():
        unit = energy.groups[g]
        table = unit.states()
        for site in np.ndindex(unit.unit_shape):
            at = (slice(None), *site)
            unknown = np.isnan(values[g][at]).reshape(len(rows), -1).any(axis=1)
            if not unknown.any():
                continue
            assert table is not None
            times = np.where(unknown, len(table), 1)
            again = np.repeat(np.arange(len(rows)), times)
            # Numbers 0, 1, ... within each row's copies are the states of the unit.
            state = np.arange(len(again)) - np.repeat(np.cumsum(times) - times, times)
            rows = rows[again]
            values = {other: y[again] for other, y in values.items()}
            filled = values[g][at]
            filled[unknown[again]] = table[state[unknown[again]]].astype(x.dtype)
            values[g][at] = filled
    return rows, values


def completed(
    energy: Energy, values: Mapping[str, np.ndarray], what: str, remedy: str
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """`completions`, some rows at a time, or a sentence if there are too many."""
    log2 = log2_completions(energy, values)
    if np.isinf(log2).any():
        real = [g for g, x in values.items() if energy.groups[g].states() is None]
        raise ValueError(
            f"exact {what} cannot sum over unknown units of continuous groups "
            f"({', '.join(map(repr, real))}). {remedy}"
        )
    if log2.max(initial=0) > LOG2_LIMIT:
        raise too_many_states(what, log2.max(), LOG2_LIMIT, remedy)
    end = np.cumsum(2.0**log2)
    piece = (end / _CHUNK_ROWS).astype(int)
    for k in np.unique(piece):
        chosen = np.flatnonzero(piece == k)
        rows, full = completions(energy, {g: x[chosen] for g, x in values.items()})
        yield chosen[rows], full


class ObjectiveOfKnown(Objective):
    """An objective whose data may have unknown units (NaN): ``log p(what is known | given)``.

    Each likelihood completes rows from the groups that it names. With an exact negative phase every
    completion of a row counts by its probability given what is known, ``p(unknown | known)``, where
    the completions can be listed; otherwise the unknown units are drawn anew in each update, by
    Gibbs sweeps with the known ones held, and these draws stand in the positive phase.

    Parameters
    ----------
    energy : Energy
    likelihoods : LogLikelihood or sequence of them
    n_threads : int or None
    whole : bool, default=False
        Whether a group of which a row tells nothing stays unknown, so that the row counts for the
        likelihoods alone that do without it; else that group's units are filled like others.
    """

    def __init__(
        self,
        energy: Energy,
        likelihoods: LogLikelihood | Sequence[LogLikelihood],
        n_threads: int | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__(energy, likelihoods, n_threads)
        self._whole = whole
        self._samplers: dict[int, Gibbs] = {}

    def _unknown(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows of the groups of which they tell nothing, if these are to stay unknown."""
        if not self._whole:
            return {}
        rows = {g: np.isnan(x.reshape(len(x), -1)).all(axis=1) for g, x in batch.items()}
        return {g: x for g, x in rows.items() if x.any()}

    def _completed(
        self,
        phases: _Phases,
        params: Params,
        batch: Mapping[str, np.ndarray],
        weights: np.ndarray | None,
        seed: int,
        update: int,
    ) -> tuple[Mapping[str, np.ndarray], np.ndarray | None]:
        """Rows completed from what the likelihood itself sees of them.

        Other groups are hidden to it: with them, ``log p(v)`` beside ``log p(v, y)`` would fill v
        as y tells.
        """
        energy = phases.energy
        own = {g: batch[g] for g in (*phases.one.of, *phases.given)}
        if not any(np.isnan(x).any() for x in own.values()):
            return batch, weights
        params = {key: params[key] for key in energy.parameter_shapes()}
        few = log2_completions(energy, own).max() <= _LISTED_LOG2
        if phases.one.negative == "exact" and few:
            return self._all_completions(energy, params, own, weights)
        number = self._phases.index(phases)
        if number not in self._samplers:
            self._samplers[number] = Gibbs(energy, clamp=tuple(own), n_threads=self.n_threads)
        sampler = self._samplers[number]
        n, sweeps = len(next(iter(own.values()))), phases.one.n_positive
        address = rng.Address.of(seed, "unknown", step=update * sweeps)
        chains = sampler.start(params, n, address, own)
        values = sampler.step(params, chains, sweeps).values
        return {g: values[g] for g in own}, weights

    @staticmethod
    def _all_completions(
        energy: Energy,
        params: Params,
        batch: Mapping[str, np.ndarray],
        weights: np.ndarray | None,
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        n = len(next(iter(batch.values())))
        rows, full = completions(energy, batch)
        log_p = Enumeration(energy, params, full).log_partition()
        p = np.exp(log_p - log_sum_by_row(log_p, rows, n)[rows])
        return full, p if weights is None else p * weights[rows]


def log_sum_by_row(log_p: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """``log sum exp`` of the entries that belong to each row, (n,)."""
    total = np.full(n, -np.inf)
    np.logaddexp.at(total, rows, log_p)
    return total
