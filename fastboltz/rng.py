"""Random numbers as addresses: a uniform is a pure function of (seed, stream, step, row, unit).

The generator is Philox4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011). Nothing here keeps a state, so the same seed gives the same numbers for every
number of threads, batch size and order of evaluation: ``row`` is the global number of a chain,
``step`` counts sweeps or updates, and ``stream`` tells the uses apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

#: Streams are numbered ``use * STREAMS_PER_USE + group``.
STREAMS_PER_USE = 256
#: What is added to a group's number where chains of it begin: the sweeps have the numbers below.
_BEGINNING = 128
#: What random numbers are used for; each has streams of its own.
USES = (
    "weights",
    "shuffle",
    "positive",
    "chains",
    "init",
    "sample",
    "ais",
    "reconstruct",
    "user",
    "unknown",
    "gradients",
    "pilot",
    "reverse",
    "tempering",
    "exact",
    "probe",
    "carried",
    "restarts",
    "completing",
)


class Address(NamedTuple):
    """Where a table of uniforms begins.

    Parameters
    ----------
    seed : int
        64 bits; see `seed_from`.
    stream : int
        32 bits; see `Address.of`.
    step : int
        32 bits: the number of the sweep or update.
    row : int
        Global number of the first row (chain).
    """

    seed: int
    stream: int = 0
    step: int = 0
    row: int = 0

    @classmethod
    def of(cls, seed: int, use: str, group: int = 0, step: int = 0, row: int = 0) -> Address:
        """Address for one of the named `USES` and the group with that number."""
        return cls(seed, USES.index(use) * STREAMS_PER_USE + group, step, row)

    def at(self, *, group: int | None = None, step: int | None = None) -> Address:
        """The same use at another group or step."""
        stream = self.stream
        if group is not None:
            stream = stream - stream % STREAMS_PER_USE + group
        return Address(self.seed, stream, self.step if step is None else step, self.row)

    def beginning(self, group: int) -> Address:
        """Where the chains of a group that are swept from this address on begin."""
        return self.at(group=_BEGINNING + group)

    def as_words(self) -> np.ndarray:
        """The halves of the seed, the step and the stream, as compiled loops take them; uint64."""
        low, high = self.seed & 0xFFFFFFFF, self.seed >> 32
        return np.array([low, high, self.step, self.stream], dtype=np.uint64)


def seed_from(random_state: Any) -> int:
    """64-bit seed from what scikit-learn calls a ``random_state``.

    Parameters
    ----------
    random_state : None, int, numpy.random.RandomState or numpy.random.Generator
        None draws fresh entropy. Generators are advanced.
    """
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**63))
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(random_state, (int, np.integer)) and random_state >= 0:
        return int(np.random.SeedSequence(int(random_state)).generate_state(1, np.uint64)[0])
    from sklearn.utils import check_random_state

    return int(check_random_state(random_state).randint(0, 2**62, dtype=np.int64))


def uniform(
    address: Address, shape: tuple[int, ...], dtype: Any = np.float64, n_threads: int = 1
) -> np.ndarray:
    """Table of uniforms in the open interval (0, 1).

    Parameters
    ----------
    address : Address
        Address of the first row.
    shape : tuple of int
        (n_rows, ...): axes after the first are the units, numbered in C order.
    dtype : float32 or float64
        23 or 32 random bits a number.
    """
    from fastboltz_ext import philox

    out = np.empty((shape[0], int(np.prod(shape[1:]))), dtype=dtype)
    philox.uniform(
        address.seed, address.stream, address.step, address.row, out, n_threads=n_threads
    )
    return out.reshape(shape)


def normal(address: Address, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """Table of standard normal numbers, by the inverse of their distribution function."""
    from scipy.special import ndtri

    return ndtri(uniform(address, shape, np.float64)).astype(dtype, copy=False)


def permutation(address: Address, n: int) -> np.ndarray:
    """Random order of ``n`` rows, a pure function of the address."""
    words = np.random.Generator(
        np.random.PCG64([address.seed, address.stream, address.step, address.row])
    )
    return words.permutation(n)
