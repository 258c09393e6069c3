"""Chains in joblib's workers, the same numbers for every number and kind of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np

from . import threads
from .gibbs import ChainState, Gibbs
from .terms import Params
from .validation import check_count

#: Chains of one task. The same for every number of workers, so that what is rounded in a task is.
CHAINS_OF_A_TASK = 64


def step_in_jobs(
    n_jobs: int, sampler: Gibbs, params: Params, state: ChainState, n_steps: int
) -> ChainState:
    """Sweeps of `Gibbs.step` in joblib's workers.

    Parameters
    ----------
    n_jobs : int
        As of ``joblib.Parallel``: processes, or whatever ``joblib.parallel_config`` names.
    sampler : Gibbs
    params : dict of arrays
    state : ChainState
    n_steps : int

    Returns
    -------
    ChainState
        That of `Gibbs.step`: to the byte where its sweeps are made on bits; elsewhere up to what
        the products of 64 chains and of all of them round differently.
    """
    from joblib import Parallel, delayed

    check_count("n_steps", n_steps, minimum=0)
    # Sums on bits are rounded otherwise than those of floats: which it is, all chains decide.
    bits = sampler.bits(params, state)
    tasks = []
    for first in range(0, state.n_chains, CHAINS_OF_A_TASK):
        rows = slice(first, min(first + CHAINS_OF_A_TASK, state.n_chains))
        values: Mapping[str, np.ndarray]
        if bits is None:
            values = {g: x[rows] for g, x in state.values.items()}
        else:
            values = bits.take(np.arange(rows.start, rows.stop))
        part = ChainState(
            values,
            state.address._replace(row=state.address.row + first),
            {g: None if known is None else known[rows] for g, known in state.clamped.items()},
        )
        tasks.append(delayed(_step)(sampler, params, part, n_steps))
    done = Parallel(n_jobs=n_jobs)(tasks)
    return ChainState(
        {g: np.concatenate([values[g] for values in done]) for g in state.values},
        state.address.at(step=state.address.step + n_steps),
        state.clamped,
    )


def _step(sampler: Gibbs, params: Params, state: ChainState, n_steps: int) -> dict[str, np.ndarray]:
    """One task: some of the chains, on the threads that its worker has."""
    sampler = copy.copy(sampler)
    sampler.n_threads = threads.resolve(None)
    return dict(sampler.step(params, state, n_steps).values)


__all__ = ["CHAINS_OF_A_TASK", "step_in_jobs"]
