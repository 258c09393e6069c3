"""dwave-samplers (https://github.com/dwavesystems/dwave-samplers), served to `run.py` from its own
environment.

``pip install dwave-samplers`` there, then ``python bench/run.py --peer dwave=<that environment's
python> --cases gibbs-few``. Its simulated annealing at one inverse temperature, with the criterion
"Gibbs" and units in a fixed order, visible ones first, is Gibbs sampling of an RBM: units of a side
do not see each other. It has one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import cases
import dimod
import numpy as np
from dwave.samplers import SimulatedAnnealingSampler
from worker import serve


def gibbs(n_threads: int) -> Callable[[], object]:
    """Sweeps of some chains."""
    weights = np.random.default_rng(0).normal(0, 0.05, (cases.V, cases.H))
    # Of the energy with the sign that it minimises.
    model = dimod.BinaryQuadraticModel.from_numpy_vectors(
        np.zeros(cases.V + cases.H),
        (
            np.repeat(np.arange(cases.V), cases.H),
            np.tile(cases.V + np.arange(cases.H), cases.V),
            -weights.ravel(),
        ),
        0.0,
        "BINARY",
    )
    sampler = SimulatedAnnealingSampler()
    chains = None  # random ones

    def call() -> None:
        nonlocal chains
        chains = sampler.sample(
            model,
            num_reads=cases.FEW_CHAINS,
            initial_states=chains,
            num_sweeps=cases.SWEEPS,
            num_sweeps_per_beta=cases.SWEEPS,
            beta_schedule_type="custom",
            beta_schedule=[1.0],
            proposal_acceptance_criteria="Gibbs",
        )

    return call


def main() -> None:
    """Serve."""
    served = {"gibbs-few": gibbs}
    serve(served, {"dwave-samplers": version("dwave-samplers"), "dimod": version("dimod")})


if __name__ == "__main__":
    main()
