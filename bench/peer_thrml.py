"""thrml (https://github.com/extropic-ai/thrml; JAX), served to `run.py` from its own environment.

``pip install thrml`` there, then ``python bench/run.py --peer thrml=<that environment's python>
--cases gibbs-few --threads 1``. Sweeps are compiled by XLA and vectorised over chains. It is made
for sparse graphs and accelerators, and works through an index of each unit's neighbours here too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version

# XLA takes its threads once: the cores of this process, unless it is held to one thread.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import cases
import jax
import jax.numpy as jnp
import numpy as np
from thrml import Block, SpinNode, sample_blocks
from thrml.models import IsingEBM, IsingSamplingProgram
from worker import serve


def gibbs(n_threads: int) -> Callable[[], object]:
    """Sweeps of some chains."""
    weights = np.random.default_rng(0).normal(0, 0.05, (cases.V, cases.H))
    v, h = ([SpinNode() for _ in range(n)] for n in (cases.V, cases.H))
    edges = [(one, other) for one in v for other in h]
    # A spin is twice a bit less one.
    biases = np.concatenate([weights.sum(axis=1), weights.sum(axis=0)]) / 4
    model = IsingEBM(
        v + h,
        edges,
        jnp.asarray(biases, jnp.float32),
        jnp.asarray(weights.ravel() / 4, jnp.float32),
        jnp.array(1.0),
    )
    program = IsingSamplingProgram(model, [Block(v), Block(h)], [])

    @jax.jit
    def sweeps(keys: jax.Array, chains: list[jax.Array]) -> list[jax.Array]:
        def chain(key: jax.Array, state: list[jax.Array]) -> list[jax.Array]:
            def sweep(now: list[jax.Array], one: jax.Array) -> tuple[list[jax.Array], None]:
                return sample_blocks(one, list(now), [], program, [None, None])[0], None

            return jax.lax.scan(sweep, state, jax.random.split(key, cases.SWEEPS))[0]

        return jax.vmap(chain)(keys, chains)

    key = jax.random.key(0)
    chains = [jnp.zeros((cases.FEW_CHAINS, n), dtype=bool) for n in (cases.V, cases.H)]

    def call() -> None:
        nonlocal key, chains
        key, mine = jax.random.split(key)
        chains = jax.block_until_ready(sweeps(jax.random.split(mine, cases.FEW_CHAINS), chains))

    return call


def main() -> None:
    """Serve."""
    serve({"gibbs-few": gibbs}, {"thrml": version("thrml"), "jax": version("jax")})


if __name__ == "__main__":
    main()
