"""Mean-field inference: the factorial distribution nearest to the posterior of the unknown units.

Among distributions ``q(x) = prod_i q_i(x_i)`` the one with the least Kullback-Leibler divergence
``KL(q || p(. | known))`` satisfies ``q_i = p(x_i | the others at their means)``, because an energy
is linear in each unit. Blocks are updated in turn until the means stand still. Groups whose units
see each other move half of the way, since updating them all at once may swing.

References
----------
Peterson & Anderson, "A mean field theory learning algorithm for neural networks", Complex Systems
1, 1987. Salakhutdinov & Hinton, "Deep Boltzmann machines", AISTATS 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .energy import Energy
from .terms import Params


def mean_field(
    energy: Energy,
    params: Params,
    known: Mapping[str, np.ndarray],
    *,
    tolerance: float = 1e-8,
    max_steps: int = 1000,
    blocks: Sequence[Sequence[str]] | None = None,
    start: Mapping[str, np.ndarray] | None = None,
    n_threads: int = 1,
) -> dict[str, np.ndarray]:
    """Mean-field means of all units that are not known.

    Parameters
    ----------
    energy : Energy
    params : dict of arrays
    known : dict of arrays
        Known groups, (n_rows, *shape), at least one; NaN marks units that are unknown all the same.
    tolerance : float
        A row is done when no mean moves by more than this in one step.
    max_steps : int
    blocks : sequence of sequences of str, optional
        Order of the updates, in which the first to move should be those that hear most of what is
        known; the default is that of a Gibbs sweep.
    start : dict of arrays, optional
        Means (n_rows, *shape) that some groups begin with; the default is those of units alone.

    Returns
    -------
    dict of arrays
        Every group: known values as they are, means elsewhere.
    """
    n = len(next(iter(known.values())))
    means, free = {}, {}
    for g, unit in energy.groups.items():
        alone = (start or {}).get(g)
        if alone is None:
            alone = unit.mean(energy.own(params, g), np.zeros((1, *unit.shape), params[g].dtype))
        x = known.get(g, np.full((n, *unit.shape), np.nan, params[g].dtype))
        free[g] = np.isnan(x)
        means[g] = np.where(free[g], alone, x)
    order = energy.blocks() if blocks is None else blocks
    blocks = [[g for g in block if free[g].any()] for block in order]
    moving = np.arange(n) if any(blocks) else np.arange(0)
    for _ in range(max_steps):
        if not len(moving):
            break
        # Rows that are done leave, so that the answer for a row does not depend on the others.
        now = {g: x[moving] for g, x in means.items()}
        change = np.zeros(len(moving))
        for block in blocks:
            for g in block:
                field = energy.field(params, now, g, n_threads=n_threads, check=False)
                new = energy.groups[g].mean(energy.own(params, g), field)
                if energy.lateral_terms(g):
                    new = (new + now[g]) / 2
                new = np.where(free[g][moving], new, now[g])
                moved = np.abs(new - now[g]).reshape(len(moving), -1).max(axis=1, initial=0)
                change = np.maximum(change, moved)
                now[g] = new
        for g, x in now.items():
            means[g][moving] = x
        # In single precision the last bit of a mean may flip for ever.
        moving = moving[change > max(tolerance, 4 * np.finfo(means[g].dtype).eps)]
    return means
