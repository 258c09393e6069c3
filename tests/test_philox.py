"""Random numbers as addresses, against published known answers and plain Python."""

import numpy as np
import philox_oracle as oracle
import pytest

from fastboltz_ext import philox

ONES = 0xFFFFFFFF
#: Random123's known answers for philox4x32-10: key, counter, words.
KNOWN = [
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES), (ONES,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
SHAPES = [(1, 1), (1, 4), (3, 5), (2, 16), (5, 17), (4, 63), (3, 64), (3, 65), (7, 100), (2, 1030)]
DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize(("key", "counter", "expected"), KNOWN)
def test_known_answers(key, counter, expected):
    assert philox.block(key, counter) == expected
    assert oracle.block(key, counter) == expected


@pytest.mark.parametrize(("key", "counter", "expected"), KNOWN)
def test_known_answers_in_a_table(key, counter, expected):
    """The vectorised loop, at the address that has this counter: upper halves of eight units."""
    seed = key[0] | key[1] << 32
    c0, c1, c2, c3 = counter
    if c0 < 2**20:
        out = np.empty((1, 4 * c0 + 8), dtype=np.uint32)
        philox.words(seed, c3, c2, c1, out)
        halves = out[0, -8:] >> 16
        assert tuple(halves[::2] | halves[1::2] << 16) == expected


def test_block_over_random_addresses():
    random = np.random.default_rng(0)
    for _ in range(300):
        numbers = [int(v) for v in random.integers(0, 2**32, size=6)]
        assert philox.block(numbers[:2], numbers[2:]) == oracle.block(numbers[:2], numbers[2:])


@pytest.mark.parametrize("shape", SHAPES)
def test_words_one_by_one(shape):
    random = np.random.default_rng(shape)
    seed = int(random.integers(0, 2**63)) * 2 + 1
    stream, step, row0 = (int(v) for v in random.integers(0, 2**32 - 100, size=3))
    out = np.zeros(shape, dtype=np.uint32)
    philox.words(seed, stream, step, row0, out)
    assert np.array_equal(out, oracle.words(seed, stream, step, row0, *shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_uniform_one_by_one(shape, dtype):
    out = np.zeros(shape, dtype=dtype)
    philox.uniform(2**63 + 12345, 7, 8, 9, out)
    assert np.array_equal(out, oracle.uniform(2**63 + 12345, 7, 8, 9, *shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_address_is_pure(dtype):
    """A shift of row0 is a slice, and a narrower table the first columns."""
    table = np.empty((90, 150), dtype=dtype)
    philox.uniform(3, 4, 5, 1000, table)
    part = np.empty((17, 150), dtype=dtype)
    philox.uniform(3, 4, 5, 1031, part)
    assert np.array_equal(part, table[31:48])
    for width in (1, 3, 4, 63, 149):
        narrow = np.empty((90, width), dtype=dtype)
        philox.uniform(3, 4, 5, 1000, narrow)
        assert np.array_equal(narrow, table[:, :width])


def test_every_part_of_the_address_counts():
    base = {"seed": 1, "stream": 2, "step": 3, "row0": 4}
    tables = []
    for change in ({}, {"seed": 1 + 2**32}, {"seed": 2}, {"stream": 3}, {"step": 4}, {"row0": 5}):
        out = np.empty((1, 8), dtype=np.uint32)
        philox.words(**(base | change), out=out)
        tables.append(out.tobytes())
    assert len(set(tables)) == len(tables)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inside_the_open_interval_and_even(dtype):
    out = np.empty((500, 2001), dtype=dtype)
    philox.uniform(1, 0, 0, 0, out)
    assert out.min() > 0
    assert out.max() < 1
    # Each decile's count within 5 standard errors of its expectation.
    counts = np.histogram(out, bins=np.linspace(0, 1, 11))[0]
    assert np.all(np.abs(counts - out.size / 10) < 5 * np.sqrt(out.size * 0.09))


def test_extreme_words_stay_inside():
    """Forty million draws of 2**23 values meet the lowest and the highest."""
    out = np.empty((1000, 5000), dtype=np.float32)
    low, high = 1.0, 0.0
    for step in range(8):
        philox.uniform(5, 0, step, 0, out)
        low, high = min(low, out.min()), max(high, out.max())
    assert low == 2.0**-24
    assert high == 1 - 2.0**-24


@pytest.mark.parametrize("n_threads", [2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint32, *DTYPES])
def test_threads_change_nothing(dtype, n_threads):
    fill = philox.words if dtype is np.uint32 else philox.uniform
    one, many = np.zeros((301, 130), dtype=dtype), np.ones((301, 130), dtype=dtype)
    fill(1, 2, 3, 4, one)
    fill(1, 2, 3, 4, many, n_threads=n_threads)
    assert one.tobytes() == many.tobytes()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_empty(shape):
    philox.uniform(1, 2, 3, 4, np.empty(shape), n_threads=2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is"),
        ({"step": 2**32}, "step is"),
        ({"stream": -3}, "stream is -3"),
        ({"row0": 2**32 - 1}, "rows exceeds"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"out": np.empty(3)}, "out has 1 dimensions"),
        ({"out": np.empty((3, 4), dtype=np.int32)}, "out has dtype int32"),
        ({"out": np.empty((3, 4)).T}, "not C-contiguous"),
        ({"out": np.broadcast_to(np.zeros((3, 4)), (3, 4))}, "read-only"),
    ],
)
def test_sentences(change, sentence):
    call = {"seed": 1, "stream": 2, "step": 3, "row0": 4, "out": np.empty((2, 2))}
    with pytest.raises(ValueError, match=sentence):
        philox.uniform(**(call | change))
