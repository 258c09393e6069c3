"""Layers of bits against plain NumPy, over random shapes."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import oracles
import philox_oracle
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.special import expit

import fastboltz as fb
from fastboltz import gibbs, products
from fastboltz_ext import packed, philox

#: The portable one first, which others are compared to.
KERNELS = packed.kernels()[::-1]
both_kernels = pytest.mark.skipif(len(KERNELS) == 1, reason="this processor has no AVX2")
#: Nothing, one, and around 4, 8, 16, 32, 64, and what a block of 128 takes along.
SIZES = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129, 145]
sizes = st.one_of(st.sampled_from(SIZES), st.integers(0, 170))
lows = st.sampled_from([0.0, -1.0])
every_shape = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@contextmanager
def kernel(name):
    before = packed.kernel()
    packed.kernel(name)
    try:
        yield
    finally:
        packed.kernel(before)


@pytest.fixture(params=KERNELS)
def each_kernel(request):
    with kernel(request.param):
        yield request.param


def units(random, shape, low, dtype=np.float32, p=0.4):
    return np.where(random.random(shape) < p, 1.0, low).astype(dtype)


def numbers(random, shape, scale):
    return (scale * random.standard_normal(shape)).astype(np.float32)


def rounded(w):
    """The weights that sums are made of."""
    return np.rint(w.astype(np.float64) * 2**20) / 2**20


def cumulants(a, spin):
    return np.logaddexp(a, -a if spin else 0)


def addressed(seed, stream, step, row0):
    return {"seed": seed, "stream": stream, "step": step, "row0": row0}


def uniforms(address, shape):
    """From the table of the compiled module; test_philox holds it against plain Python."""
    u = np.empty(shape, dtype=np.float32)
    philox.uniform(*address.values(), u)
    return u


class Layer:
    """One layer of random numbers: the arguments, and what they should give."""

    def __init__(
        self, n, n_in, n_out, *, low_in, spin, transpose, scale, address, of_rows=False, seed=0
    ):
        random = np.random.default_rng([seed, n, n_in, n_out])
        self.x = units(random, (n, n_in), low_in)
        self.w = numbers(random, (n_in, n_out), 1 / np.sqrt(1 + n_in))
        self.bias = numbers(random, (n, n_out) if of_rows else n_out, 0.5)
        self.other_bias = numbers(random, n_out, 0.5)
        self.bits = packed.Bits.pack(self.x, low=low_in)
        self.spin, self.transpose, self.scale, self.address = spin, transpose, scale, address
        self.low = -1.0 if spin else 0.0
        self.shape = (n, n_out)
        # As the kernel's arguments have it, in single precision.
        self.sum = self.x.astype(np.float64) @ rounded(self.w)
        self.field = self.bias + np.float64(np.float32(scale)) * self.sum
        p = expit(2 * self.field if spin else self.field)
        self.p, self.mean = p, 2 * p - 1 if spin else p
        self.other_scale = 0.5 * scale
        self.other = self.other_bias + np.float64(np.float32(self.other_scale)) * self.sum

    def outputs(self):
        """Receivers full of what must not remain."""
        n, m = self.shape
        sample = packed.Bits(n, m, low=self.low)
        sample.words[...] = 0xFFFFFFFF
        return {
            "sample": sample,
            "mean": np.full((n, m), np.nan, dtype=np.float32),
            "field": np.full((n, m), np.nan, dtype=np.float32),
            "cumulant": np.full(n, np.nan),
            "other": (self.other_bias, self.other_scale, np.full(n, np.nan)),
        }

    def run(self, *, n_threads=1, names=None, bias=True):
        out = self.outputs()
        if names is not None:
            out = {name: out[name] for name in names}
        packed.layer(
            self.bits,
            self.w.T.copy() if self.transpose else self.w,
            (self.bias if self.bias.ndim == 1 else self.bias.T.copy()) if bias else None,
            transpose=self.transpose,
            scale=self.scale,
            spin=self.spin,
            n_threads=n_threads,
            **out,
            **self.address,
        )
        return out

    def check(self, out):
        near = np.abs(self.field) + np.abs(self.sum) + np.abs(self.bias)
        assert np.all(np.abs(out["field"] - self.field) <= 4e-7 * (near + 1e-30))
        # A mean's slope is at most 1/4 of the argument's, 1 for spins.
        assert np.all(np.abs(out["mean"] - self.mean) <= 4e-7 * near + 4e-7)
        u = uniforms(self.address, self.shape)
        sure = np.abs(u - self.p) > 4e-7 * near + 4e-7
        assert sure.mean() > 0.99 if sure.size else True
        got = out["sample"].unpack()
        assert np.array_equal(got[sure], np.where(u < self.p, 1, self.low)[sure])
        tolerance = {"rtol": 1e-6, "atol": 1e-6 * (1 + near.sum(axis=1).max(initial=0))}
        np.testing.assert_allclose(
            out["cumulant"], cumulants(self.field, self.spin).sum(axis=1), **tolerance
        )
        np.testing.assert_allclose(
            out["other"][2], cumulants(self.other, self.spin).sum(axis=1), **tolerance
        )
        assert_padding_is_zero(out["sample"])


def assert_padding_is_zero(bits):
    """Bits of rows and units that there are not are zero: others count and multiply them."""
    n, m = bits.shape
    groups, words, _ = bits.words.shape
    table = np.unpackbits(bits.words.view(np.uint8), bitorder="little")
    table = (
        table.reshape(groups, words, 16, 32).transpose(0, 2, 1, 3).reshape(groups * 16, words * 32)
    )
    assert groups % 2 == 0 and words * 32 < m + 32 and groups * 16 < n + 32
    assert not table[n:].any()
    assert not table[:, m:].any()


def as_bytes(out):
    parts = {**out, "other": out["other"][2], "sample": out["sample"].words}
    return {name: a.tobytes() for name, a in parts.items()}


layers_of_any_shape = {
    "n": sizes,
    "n_in": sizes,
    "n_out": sizes,
    "low_in": lows,
    "spin": st.booleans(),
    "transpose": st.booleans(),
    "of_rows": st.booleans(),
    "scale": st.sampled_from([1.0, 0.0, 0.37, -2.5]),
    "seed": st.integers(0, 2**64 - 1),
    "stream": st.integers(0, 2**32 - 1),
    "step": st.integers(0, 2**32 - 1),
    "row0": st.sampled_from([0, 1, 5, 16, 1000, 2**32 - 140]),
}


def layer_of(n, n_in, n_out, *, low_in, spin, transpose, scale, of_rows=False, **address):
    return Layer(
        n, n_in, n_out, low_in=low_in, spin=spin, transpose=transpose, scale=scale,
        of_rows=of_rows, address=addressed(**address),
    )  # fmt: skip


@every_shape
@given(**layers_of_any_shape)
def test_every_output_is_what_numpy_says_and_kernels_agree_to_the_byte(**how):
    """Catches a dropped bias, one of another row, swapped axes, a lost panel, a uniform of another
    unit or row."""
    layer = layer_of(**how)
    first = None
    for name in KERNELS:
        with kernel(name):
            out = layer.run()
        if first is None:
            layer.check(out)
            first = as_bytes(out)
        assert as_bytes(out) == first


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize(
    "shape", [(65, 513, 300), (300, 200, 517), (3, 1100, 2570), (2100, 65, 64)]
)
def test_threads_and_kernels_change_no_byte(shape, spin, transpose):
    """Products large enough to be shared out, beyond one tile of columns."""
    layer = Layer(
        *shape, low_in=-1.0 if transpose else 0.0, spin=spin, transpose=transpose, scale=0.8,
        of_rows=spin != transpose, address=addressed(2**60 + 1, 3, 4, 5),
    )  # fmt: skip
    results = []
    for name in KERNELS:
        with kernel(name):
            for n_threads in (1, 2, 3, 4):
                out = layer.run(n_threads=n_threads)
                results.append(as_bytes(out))
    assert all(r == results[0] for r in results)
    layer.check(out)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("names", [(k,) for k in ("sample", "mean", "field", "cumulant", "other")])
def test_each_output_alone_is_the_same_bytes(names, n_threads, each_kernel):
    layer = Layer(
        130, 300, 250, low_in=-1.0, spin=True, transpose=True, scale=0.8,
        address=addressed(1, 2, 3, 4),
    )  # fmt: skip
    together = as_bytes(layer.run())
    (name,) = names
    got = layer.run(names=names, n_threads=n_threads)[name]
    got = got.words if name == "sample" else got[2] if name == "other" else got
    assert got.tobytes() == together[name]


@both_kernels
@pytest.mark.parametrize("of_rows", [False, True])
@pytest.mark.parametrize("n_out", [203, 208])
def test_draws_alone_are_those_beside_means(n_out, of_rows):
    """Draws alone are decided by a coarse exponential wherever that is sure: two million of them,
    tens of which lie where it is not."""
    layer = Layer(
        10_011, 33, n_out, low_in=0.0, spin=False, transpose=False, scale=1.5, of_rows=of_rows,
        address=addressed(9, 8, 7, 6),
    )  # fmt: skip
    with kernel("portable"):
        expected = layer.run(names=("sample", "mean"))["sample"].words
    for name in KERNELS:
        with kernel(name):
            sample = layer.run(names=("sample",))["sample"]
        np.testing.assert_array_equal(sample.words, expected)
    u = uniforms(layer.address, layer.shape)
    unsure = np.abs(u - layer.p) < 5e-5 * (1 - layer.p) * layer.p
    assert unsure.sum() > 20


@both_kernels
@pytest.mark.parametrize("means", [False, True])
@pytest.mark.parametrize("n_out", [8, 24, 40, 77, 104])
def test_threads_that_share_a_word_of_samples(n_out, means):
    """Threads take whole panels of eight units. What stood in the words before is gone, beyond the
    last unit, too."""
    layer = Layer(
        3000, 300, n_out, low_in=0.0, spin=False, transpose=False, scale=1.0,
        address=addressed(1, 2, 3, 4),
    )  # fmt: skip
    with kernel("portable"):
        expected = layer.run(names=("sample",))["sample"].words
    for name in KERNELS:
        for n_threads in (1, 2, 3, 4, 5):
            sample = packed.Bits(3000, n_out)
            sample.words[...] = 0xFFFFFFFF
            mean = {"mean": np.empty((3000, n_out), np.float32)} if means else {}
            with kernel(name):
                packed.layer(
                    packed.Bits.pack(layer.x), layer.w, layer.bias, sample=sample,
                    n_threads=n_threads, **layer.address, **mean,
                )  # fmt: skip
            np.testing.assert_array_equal(sample.words, expected)


@both_kernels
@pytest.mark.parametrize("of_rows", [False, True])
@pytest.mark.parametrize("sign", [-1, 1])
def test_draws_alone_that_the_lower_half_of_a_word_decides(sign, of_rows):
    """Tens of three million words whose upper half is that of p, of units that are hardly ever, or
    nearly always, on: there 2**-16 is as much as p is."""
    n, m = 120_000, 24
    bias = sign * np.linspace(7, 12, m, dtype=np.float32)
    row_bias = np.repeat(bias[:, None], n, axis=1) if of_rows else bias
    x, w, address = packed.Bits(n, 3), np.ones((3, m), dtype=np.float32), addressed(5, 4, 3, 2)
    samples = []
    for name in KERNELS:
        with kernel(name):
            for means in ({}, {"mean": np.empty((n, m), np.float32)}):
                sample = packed.Bits(n, m)
                packed.layer(x, w, row_bias, sample=sample, **address, **means)
                samples.append(sample.unpack() == 1)
    p, u = expit(bias.astype(float)), uniforms(address, (n, m))
    decided = np.abs(u - p) > 1e-6
    np.testing.assert_array_equal(samples[0][decided], (u < p)[decided])
    for sample in samples:
        np.testing.assert_array_equal(sample, samples[0])
    assert (np.floor(u * 2**16) == np.floor(p * 2**16)).sum() > 20


@both_kernels
@pytest.mark.parametrize("of_rows", [False, True])
def test_draws_alone_of_units_that_are_certain(of_rows):
    big, tiny = np.finfo(np.float32).max, np.finfo(np.float32).tiny
    few = [np.inf, big, 1e9, 800, 90, 88, 87, 86.9, 20, 16.7, 16, 1, tiny, np.nan]
    bias = np.array([sign * x for x in few for sign in (1, -1)], dtype=np.float32)
    n, m = 4000, len(bias)
    x, w = packed.Bits(n, 3), np.ones((3, m), dtype=np.float32)
    if of_rows:
        bias = np.repeat(bias[:, None], n, axis=1)
    words = []
    for name in KERNELS:
        with kernel(name):
            for means in ({}, {"mean": np.empty((n, m), np.float32)}):
                sample = packed.Bits(n, m)
                packed.layer(x, w, bias, sample=sample, seed=5, **means)
                words.append(sample.words)
    for one in words:
        np.testing.assert_array_equal(one, words[0])
    drawn = sample.unpack()
    assert drawn[:, 0:12:2].all()
    assert not drawn[:, 1:12:2].any()


def test_no_bias_is_a_bias_of_zero(each_kernel):
    layer = Layer(
        20, 33, 17, low_in=0.0, spin=False, transpose=False, scale=1.0,
        address=addressed(1, 2, 3, 4),
    )  # fmt: skip
    without = as_bytes(layer.run(bias=False))
    layer.bias = np.zeros_like(layer.bias)
    assert as_bytes(layer.run()) == without


@pytest.mark.parametrize("spin", [False, True])
def test_uniforms_are_those_of_plain_python(spin, each_kernel):
    """Fields of zero: a one where u < 1/2. Rows and units beyond one word and one group."""
    n, m = 35, 37
    address = addressed(2**63 + 11, 6, 2**31 + 7, 12)
    sample = packed.Bits(n, m, low=-1.0 if spin else 0.0)
    x = packed.Bits(n, 3)
    packed.layer(x, np.ones((3, m), dtype=np.float32), None, spin=spin, sample=sample, **address)
    u = philox_oracle.uniform(*address.values(), n, m, np.float32)
    assert np.array_equal(sample.unpack() == 1, u < 0.5)


def test_shards_draw_what_one_call_would(each_kernel):
    layer = Layer(
        90, 40, 37, low_in=0.0, spin=False, transpose=False, scale=1.0,
        address=addressed(9, 2, 3, 100),
    )  # fmt: skip
    whole = layer.run()["sample"].unpack()
    for begin, end in ((0, 13), (13, 77), (77, 90)):
        part = packed.Bits(end - begin, 37)
        x = packed.Bits.pack(layer.x[begin:end])
        address = addressed(9, 2, 3, 100 + begin)
        packed.layer(x, layer.w, layer.bias, sample=part, **address)
        assert np.array_equal(part.unpack(), whole[begin:end])


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("of_rows", [False, True])
def test_a_call_of_many_rows_is_made_in_pieces_that_change_nothing(of_rows, n_threads):
    """Two billion multiply-adds of a thread are a piece. Catches rows with the random numbers,
    outputs or biases of another piece."""
    n, n_in, n_out = 4100, 1024, 1030
    random = np.random.default_rng(0)
    x = packed.Bits(n, n_in)
    x.words[...] = random.integers(0, 2**32, x.words.shape, dtype=np.uint32)
    w = numbers(random, (n_in, n_out), 0.05)
    bias = numbers(random, (n_out, n) if of_rows else n_out, 1.0)
    how = {"seed": 5, "stream": 2, "step": 3, "n_threads": n_threads, "scale": 0.7}

    def outputs(rows):
        made = {"sample": packed.Bits(rows, n_out)}
        made |= {name: np.empty((rows, n_out), np.float32) for name in ("mean", "field")}
        made["cumulant"], made["other"] = np.empty(rows), (None, 0.3, np.empty(rows))
        return made

    whole = outputs(n)
    packed.layer(x, w, bias, row0=7, **whole, **how)
    ends = [0, 1504, 2016, 4096, n]  # multiples of 32
    for begin, end in pairwise(ends):
        part, rows = outputs(end - begin), slice(begin, end)
        groups = slice(begin // 16, begin // 16 + -(-(end - begin) // 32) * 2)
        b = np.ascontiguousarray(bias[:, rows]) if of_rows else bias
        some = x.take(np.arange(begin, end))
        packed.layer(some, w, b, row0=7 + begin, **part, **how)
        assert np.array_equal(whole["sample"].words[groups], part["sample"].words)
        for name in ("mean", "field", "cumulant"):
            assert np.array_equal(whole[name][rows], part[name])
        assert np.array_equal(whole["other"][2][rows], part["other"][2])


class _StopHere(Exception):  # noqa: N818
    pass


@pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="needs a timer that sends a signal to this process"
)
@pytest.mark.parametrize("call", ["layer", "gated"])
def test_a_signal_ends_a_call_of_many_rows(call):
    """What comes after the piece in which it was heard is left as it was."""
    assert threading.current_thread() is threading.main_thread()

    def handler(signum, frame):
        raise _StopHere

    n, m = 400_000, 1024
    x, sample = packed.Bits(n, m), packed.Bits(n, m)
    w, out = np.ones((m, m), np.float32), np.zeros((n, 64), np.float32)
    gate = np.ones((n, 16), np.float32)
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(_StopHere):
            if call == "layer":
                packed.layer(x, w, np.full(m, 100, np.float32), sample=sample)
            else:
                x.words[...] = 1
                packed.gated(x, gate, np.ones((16, m, 64), np.float32), out)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    reached = sample.words[:, 0, 0] if call == "layer" else out[:, 0]
    assert reached[0] != 0
    assert reached[-32] == 0


def test_sums_are_exact_whatever_cancels(each_kernel):
    """Weights of opposite signs that sum to one grain of 2**-20: floats would lose it."""
    n_in = 64
    w = np.zeros((n_in, 9), dtype=np.float32)
    w[:32], w[32:] = 30.0, -30.0
    w[0] += np.float32(2.0**-18)
    x = np.ones((3, n_in), dtype=np.float32)
    field = np.empty((3, 9), dtype=np.float32)
    packed.layer(packed.Bits.pack(x), w, None, field=field)
    assert np.array_equal(field, np.full((3, 9), 2.0**-18))
    x[1, :32] = -1
    packed.layer(packed.Bits.pack(x, low=-1.0), w, None, field=field)
    assert np.array_equal(field[0], np.full(9, 2.0**-18))
    assert np.array_equal(field[1], np.full(9, np.float32(-1920 - 2.0**-18)))


@pytest.mark.parametrize("spin", [False, True])
def test_saturated_units_are_certain_and_nan_stays(spin, each_kernel):
    big = np.finfo(np.float32).max
    bias = np.array([np.inf, -np.inf, big, -big, 800, -800, 90, -90, np.nan, 0], dtype=np.float32)
    n, m, low = 40, len(bias), -1.0 if spin else 0.0
    x, w = packed.Bits(n, 3), np.ones((3, m), dtype=np.float32)
    sample = packed.Bits(n, m, low=low)
    mean = np.empty((n, m), dtype=np.float32)
    packed.layer(x, w, bias, spin=spin, sample=sample, mean=mean, seed=5)
    certain = np.array([1, low] * 4)
    assert np.array_equal(sample.unpack()[:, :8], np.tile(certain, (n, 1)))
    np.testing.assert_allclose(mean[:, :8], np.tile(certain, (n, 1)), atol=1e-30)
    assert np.isnan(mean[:, 8]).all()
    assert np.array_equal(mean[:, 9], np.full(n, 0.0 if spin else 0.5))


@both_kernels
@pytest.mark.parametrize("scale", [1e-7, 1e-5, 1e-3, 0.02, 0.5, 3, 40, 900])
@pytest.mark.parametrize("shape", [(3, 70, 9), (65, 33, 17), (130, 460, 10)], ids=str)
def test_weights_of_every_size_give_the_same_bytes(shape, scale):
    """Sums of 32 bits up to the last. Catches one that is made of fewer, and a sign lost."""
    n, n_in, n_out = shape
    random = np.random.default_rng(shape)
    x = packed.Bits.pack((random.random((n, n_in)) < 0.5).astype(np.float32))
    w = scale * random.standard_normal((n_in, n_out))
    w *= min(1, 1900 / np.abs(w).sum(0).max(), 1900 / np.abs(w).sum(1).max())
    w = w.astype(np.float32)
    assert packed.fits(w)
    made = []
    for name in KERNELS:
        field = np.empty((n, n_out), np.float32)
        with kernel(name):
            packed.layer(x, w, None, field=field)
        made.append(field)
    exact = x.unpack(dtype=np.float64) @ (np.rint(w.astype(float) * 2**20) / 2**20)
    np.testing.assert_allclose(made[0], exact, rtol=2**-23)
    assert all(f.tobytes() == made[0].tobytes() for f in made)


@both_kernels
@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (1, 1), (7, 3), (16, 16), (33, 150), (700, 450)])
def test_biases_of_rows_are_fields_and_own_biases_with_units_in_front(shape, n_threads):
    rng = np.random.default_rng(0)
    x, own = (rng.standard_normal(s).astype(np.float32) for s in (shape, shape[1:]))
    bias = packed.row_bias(x, own, scale=0.3, n_threads=n_threads)
    assert bias.flags.c_contiguous
    assert np.array_equal(bias, (x * np.float32(0.3) + own).T)
    assert np.array_equal(packed.row_bias(x, n_threads=n_threads), x.T)
    with pytest.raises(ValueError, match="own"):
        packed.row_bias(x, own[1:] if len(own) else np.zeros(1, np.float32))


@pytest.mark.parametrize("name", KERNELS)
def test_biases_of_some_of_the_rows_are_a_view(name):
    """Catches rows that are taken to follow one another without a gap."""
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((37, 50)).astype(np.float32), rng.random((90, 37)) < 0.5
    every = rng.standard_normal((50, 90)).astype(np.float32)
    for rows in (slice(0, 40), slice(32, 90), slice(7, 8)):
        bits = packed.Bits.pack(x[rows].astype(np.float32))
        made = []
        for bias in (every[:, rows], np.ascontiguousarray(every[:, rows])):
            draws = packed.Bits(len(bits), 50)
            mean, field = (np.empty((len(bits), 50), np.float32) for _ in range(2))
            with kernel(name):
                packed.layer(bits, w, bias, sample=draws, seed=3)
                packed.layer(bits, w, bias, mean=mean, field=field)
            made.append([draws.unpack().tobytes(), mean.tobytes(), field.tobytes()])
        assert made[0] == made[1]
    for wrong in (every[:, ::2], every[::-1, :45]):
        with pytest.raises(ValueError, match="bias"):
            packed.layer(packed.Bits.pack(x[:45].astype(np.float32)), w, wrong, field=field[:45])


@pytest.mark.parametrize("p", [0, 0.02, 0.13, 0.5, 1])
@pytest.mark.parametrize("n_in", [1, 63, 120, 121, 192, 193, 640, 641, 1290])
def test_few_ones_and_many_give_the_same_bytes(n_in, p):
    """With AVX2 ones are added up, 640 inputs at a time, where that costs less than tables, of 120
    inputs at a time. Catches a list that ends a place too soon, a chunk's sums lost, the zeros
    behind it forgotten, an entry of another five."""
    random = np.random.default_rng([n_in, int(100 * p)])
    w = random.standard_normal((n_in, 21)).astype(np.float32)
    for n in (1, 16, 33, 130):
        x = (random.random((n, n_in)) < p).astype(np.float32)
        exact = x @ rounded(w)
        for transpose in (False, True):
            made = []
            for name in KERNELS:
                field = np.empty((n, 21), np.float32)
                with kernel(name):
                    packed.layer(
                        packed.Bits.pack(x),
                        np.ascontiguousarray(w.T) if transpose else w,
                        None,
                        transpose=transpose,
                        field=field,
                    )
                made.append(field)
            np.testing.assert_allclose(made[0], exact, rtol=2**-23)
            assert all(f.tobytes() == made[0].tobytes() for f in made)


@pytest.mark.parametrize("sign", [-1, 1])
def test_fields_at_the_edge_of_the_range_do_not_wrap_around(sign, each_kernel):
    """Just below 2000 the integers come close to 2**31, and spins double them on the way."""
    w = np.full((64, 10), sign * 31.2, dtype=np.float32)
    assert packed.fits(w)
    x = np.ones((2, 64), dtype=np.float32)
    x[1] = -1
    field = np.empty((2, 10), dtype=np.float32)
    packed.layer(packed.Bits.pack(x, low=-1.0), w, None, field=field)
    np.testing.assert_allclose(field, x[:, :1] * sign * 31.2 * 64 * np.ones(10), rtol=1e-6)


# -------------------------------------------------------------------------------------------- bits


@every_shape
@given(
    n=sizes, m=sizes, low=lows, dtype=st.sampled_from([np.float32, np.float64]),
    back=st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
@example(n=17, m=33, low=-1.0, dtype=np.float32, back=np.float64)
def test_bits_come_back_as_they_went_in(n, m, low, dtype, back):
    x = units(np.random.default_rng([n, m]), (n, m), low, dtype)
    bits = packed.Bits.pack(x, low=low)
    assert bits.shape == (n, m) and len(bits) == n and bits.low == low
    assert bits.nbytes == bits.words.nbytes
    assert_padding_is_zero(bits)
    got = bits.unpack(dtype=back)
    assert got.dtype == back
    assert np.array_equal(got, x)
    into = np.full((n, m), 7, dtype=back)
    assert bits.unpack(into) is into
    assert np.array_equal(into, x)


def test_a_bit_is_where_the_layout_says():
    """Bit k of words[g, w, l] is unit 32 w + k of row 16 g + l."""
    x = np.zeros((40, 70), dtype=np.float32)
    x[35, 69] = 1
    words = packed.Bits.pack(x).words
    assert words.shape == (4, 3, 16)
    assert words[2, 2, 3] == 1 << 5
    assert np.count_nonzero(words) == 1
    back = packed.Bits(40, 70, words=words)
    assert np.array_equal(back.unpack(), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("low", "middle"), [(0.0, 0.5), (-1.0, 0.0)])
def test_a_one_is_what_lies_above_the_middle(low, middle, dtype):
    up, down = np.nextafter(dtype(middle), dtype(2)), np.nextafter(dtype(middle), dtype(-2))
    x = np.array([[middle, up, down, 1, low, np.inf, -np.inf, np.nan]], dtype=dtype)
    got = packed.Bits.pack(x, low=low).unpack()
    assert np.array_equal(got == 1, [[False, True, False, True, False, True, False, False]])


def test_words_begin_at_a_register():
    """Whole registers are loaded from them."""
    for n, m in ((1, 1), (33, 40), (5, 1000)):
        assert packed.Bits(n, m).words.ctypes.data % 64 == 0
        assert not packed.Bits(n, m).words.any()


# -------------------------------------------------------------------------------------------- range


def test_fits_up_to_but_not_including_2000():
    """Sums that single precision holds exactly, over rows and over columns."""
    grain = 2.0**-12  # 500 has 9 bits before the point and 14 behind it
    for axis in (0, 1):
        w = np.full((4, 4), 0.0, dtype=np.float32)
        w[(slice(None), 2) if axis else (2, slice(None))] = 500
        assert not packed.fits(w)
        assert not packed.fits(-w)
        w[2, 2] -= np.float32(grain)
        assert packed.fits(w)
        assert packed.fits(-w)
    assert packed.fits(np.full((1, 2), 999.9375, dtype=np.float32))
    assert not packed.fits(np.full((1, 2), 1000, dtype=np.float32))


def test_fits_counts_weights_as_they_are_rounded():
    """2048 weights whose plain sum is below 2000, but not when they are rounded up."""
    w = np.full((1, 2048), 2000 / 2048, dtype=np.float64)
    grains = np.full((1, 2048), 0.6 * 2.0**-20)
    below = (w - 2.0**-20 + grains).astype(np.float32)
    assert below.astype(np.float64).sum() < 2000
    assert packed.fits(below) == (rounded(below).sum() < 2000)
    w32 = np.full((1, 2048), 2000 / 2048 - 2.0**-20, dtype=np.float32)
    assert packed.fits(w32) == (rounded(w32).sum() < 2000)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf, 1001.0, 3e38])
@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (3, 21), (2, 64), (8, 65), (5, 300)])
def test_one_weight_out_of_range_anywhere_does_not_fit(shape, value):
    """Catches a maximum that a later weight clears of its NaN."""
    w = np.zeros(shape, dtype=np.float32)
    for at in {0, 1 % w.size, w.size // 2, max(w.size - 65, 0), w.size - 1}:
        w.flat[at] = value
        assert not packed.fits(w), at
        w.flat[at] = 0
    assert packed.fits(w)


def test_weights_without_entries_fit():
    for shape in ((0, 0), (0, 5), (5, 0)):
        assert packed.fits(np.empty(shape, dtype=np.float32))


# ---------------------------------------------------------------------------------------- sentences

F = np.float32
X = packed.Bits(3, 4)
W = np.zeros((4, 5), dtype=F)
OUT = np.zeros((3, 5), dtype=F)
FIXED = np.zeros((3, 5), dtype=F)
FIXED.setflags(write=False)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: packed.layer(X, W.T.copy(), None), r"expected w.shape\[0\] to be 4"),
        (lambda: packed.layer(X, W, None, transpose=True), r"expected w.shape\[1\] to be 4"),
        (lambda: packed.layer(X, W.astype(float), None), "w has dtype float64; expected float32"),
        (lambda: packed.layer(X, W[:, ::2], None), "w is not C-contiguous"),
        (lambda: packed.layer(X, W[0], None), "w has 1 dimensions"),
        (lambda: packed.layer(X, W, np.zeros(4, F)), r"bias has shape \(4,\); expected \(5,\)"),
        (lambda: packed.layer(X, W, np.zeros(5)), "bias has dtype float64"),
        (
            lambda: packed.layer(X, W, np.zeros((3, 5), F)),
            r"bias has shape \(3, 5\); expected \(5, 3\)",
        ),
        (lambda: packed.layer(X, W, None, n_threads=0), "n_threads is 0"),
        (
            lambda: packed.layer(X, W, None, sample=packed.Bits(3, 4)),
            r"sample has shape \(3, 4\); expected \(3, 5\)",
        ),
        (
            lambda: packed.layer(X, W, None, sample=packed.Bits(3, 5), spin=True),
            "sample.low is 0.0; expected -1",
        ),
        (
            lambda: packed.layer(X, W, None, sample=packed.Bits(3, 5, low=-1.0)),
            "sample.low is -1.0; expected 0",
        ),
        (
            lambda: packed.layer(X, np.zeros((4, 4), F), None, sample=X),
            "sample and x are the same Bits",
        ),
        (lambda: packed.layer(X, W, None, mean=OUT[:2]), r"mean has shape \(2, 5\); expected"),
        (lambda: packed.layer(X, W, None, mean=FIXED), "mean is read-only"),
        (lambda: packed.layer(X, W, None, field=OUT.astype(float)), "field has dtype float64"),
        (lambda: packed.layer(X, W, None, cumulant=np.zeros(3, F)), "cumulant has dtype float32"),
        (lambda: packed.layer(X, W, None, cumulant=np.zeros(4)), r"cumulant has shape \(4,\)"),
        (
            lambda: packed.layer(X, W, None, other=(np.zeros(4, F), 1, np.zeros(3))),
            r"other\[0\] has shape \(4,\)",
        ),
        (
            lambda: packed.layer(X, W, None, other=(None, 1, np.zeros(2))),
            r"other\[2\] has shape \(2,\)",
        ),
        (lambda: packed.layer(X, W, None, row0=2**32 - 2), r"row0 \+ 3 rows exceeds"),
        (lambda: packed.layer(X, W, None, step=2**32), "step is 4294967296"),
        (lambda: packed.layer(X, W, None, stream=-1), "stream is -1"),
        (lambda: packed.layer(X, W, None, seed=-1), "seed is -1"),
        (lambda: packed.Bits.pack(np.zeros((2, 2), int)), "x has dtype int64; expected float32"),
        (lambda: packed.Bits.pack(np.zeros(2)), "x has 1 dimensions"),
        (lambda: X.unpack(np.zeros((3, 5))), r"out has shape \(3, 5\); expected \(3, 4\)"),
        (lambda: X.unpack(dtype=int), "out has dtype int64"),
        (lambda: packed.Bits(3, 4, words=np.zeros((2, 1, 16))), "C-contiguous uint32"),
        (lambda: packed.Bits(3, 4, words=np.zeros((1, 1, 16), np.uint32)), r"\(2, 1, 16\)"),
        (lambda: packed.fits(W.astype(float)), "w has dtype float64"),
        (lambda: packed.kernel("sse"), "kernel 'sse' is not one that this processor can run"),
    ],
)
def test_sentences(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@both_kernels
def test_the_kernel_is_the_one_that_was_asked_for():
    with kernel("portable"):
        assert packed.kernel() == "portable"
        for name in KERNELS:
            assert packed.kernel(name) == name == packed.kernel()


# ------------------------------------------------------------------------------------------- sweeps

KINDS = {"bernoulli": fb.Bernoulli, "spin": fb.Spin}


def _sampler(visible, hidden, shape=(5, 4), n_threads=1):
    groups = {"v": (visible, shape[:1]), "h": (hidden, shape[1:])}
    machine = oracles.Machine(groups, ["v_i h_j"])
    energy = fb.Energy({g: KINDS[kind](*s) for g, (kind, s) in groups.items()}, terms=["v_i h_j"])
    return machine, energy, fb.Gibbs(energy, n_threads=n_threads)


def _single(params):
    return {key: np.ascontiguousarray(x, dtype=np.float32) for key, x in params.items()}


@pytest.fixture
def on_bits(monkeypatch):
    """Every sweep that can be is made on bits; the fixture says how many were."""
    monkeypatch.setattr(products, "PACKED_FROM", 0)
    made = []
    step = gibbs.Gibbs._packed_step
    monkeypatch.setattr(
        gibbs.Gibbs, "_packed_step", lambda self, *a: made.append(1) or step(self, *a)
    )
    return made


every_pair = pytest.mark.parametrize("visible", KINDS)
with_every_pair = pytest.mark.parametrize("hidden", KINDS)


@every_pair
@with_every_pair
def test_sweeps_on_bits_leave_the_distribution_alone(visible, hidden, on_bits, each_kernel):
    """From exact draws, after many sweeps: total variation within the multinomial floor.

    Catches uniforms used twice (visible and hidden units of one sweep, or two sweeps).
    """
    machine, _, sampler = _sampler(visible, hidden)
    random = np.random.default_rng(5)
    params = _single(machine.random_parameters(random, scale=0.8))
    exact = {key: x.astype(np.float64) for key, x in params.items()}
    start = machine.draw(exact, 60_000, random)
    state = sampler.init(params, random_state=3, values={g: x.astype(F) for g, x in start.items()})
    state = sampler.step(params, state, 7)
    assert on_bits
    assert state.step == 7
    assert oracles.Reference(machine, exact).complaints(state.values) == []
    # The sweeps did move the chains, and hold no memory of the start at fixed hidden units.
    assert 0.02 < np.mean(state.values["v"] != start["v"]) < 0.7


@every_pair
@with_every_pair
def test_one_sweep_on_bits_leaves_the_distribution_alone_from_the_hidden_side(
    visible, hidden, on_bits
):
    """The units drawn first see the start; wrong conditionals show after one sweep."""
    machine, _, sampler = _sampler(visible, hidden, (3, 5))
    random = np.random.default_rng(8)
    params = _single(machine.random_parameters(random, scale=1.5, bias=1.0))
    exact = {key: x.astype(np.float64) for key, x in params.items()}
    start = machine.draw(exact, 60_000, random)
    state = sampler.init(params, random_state=4, values={g: x.astype(F) for g, x in start.items()})
    state = sampler.step(params, state)
    assert on_bits
    assert oracles.Reference(machine, exact).complaints(state.values) == []


@every_pair
@with_every_pair
@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_bits_and_floats_draw_the_same_but_for_borderline_cases(
    visible, hidden, scale, on_bits, monkeypatch, each_kernel
):
    machine, _, sampler = _sampler(visible, hidden, (41, 35), n_threads=2)
    params = _single(machine.random_parameters(np.random.default_rng(2), scale=0.15))
    state = sampler.init(params, 70, random_state=9)
    ours = sampler.step(params, state, 4, scale=scale, means=True)
    assert on_bits
    on_bits.clear()
    monkeypatch.setattr(products, "PACKED_FROM", 10**12)
    theirs = sampler.step(params, state, 4, scale=scale, means=True)
    assert not on_bits
    assert ours.address == theirs.address
    assert set(ours.values) == set(theirs.values)
    assert set(ours.means) == set(theirs.means)
    # A draw that tips over at the rounding of the weights changes what follows in its row.
    rows = np.ones(70, dtype=bool)
    for g, x in theirs.values.items():
        assert ours.values[g].dtype == x.dtype
        rows &= (ours.values[g] == x).all(axis=1)
    assert rows.sum() >= 68
    for g, x in theirs.means.items():
        np.testing.assert_allclose(ours.means[g][rows], x[rows], rtol=0, atol=1e-5)


@every_pair
@with_every_pair
def test_grey_values_at_the_start_are_seen_as_they_are(visible, hidden, on_bits, monkeypatch):
    """Catches starts that are rounded to bits: large models would begin elsewhere than small."""
    machine, _, sampler = _sampler(visible, hidden, (41, 35), n_threads=2)
    random = np.random.default_rng(2)
    params = _single(machine.random_parameters(random, scale=0.5))
    grey = {g: random.random((70, n)).astype(F) for g, n in (("v", 41), ("h", 35))}
    state = sampler.init(params, values=grey, random_state=9)
    same = sampler.step(params, state, 0)
    assert all(np.array_equal(same.values[g], x) for g, x in grey.items())
    ours = [sampler.step(params, state, n, means=True) for n in (1, 3)]
    assert on_bits == [1]
    on_bits.clear()
    monkeypatch.setattr(products, "PACKED_FROM", 10**12)
    theirs = [sampler.step(params, state, n, means=True) for n in (1, 3)]
    assert not on_bits
    for a, b in zip(ours, theirs, strict=True):
        assert a.address == b.address
        assert set(a.means) == set(b.means)
        for g, x in b.values.items():
            assert (a.values[g] == x).all(axis=1).sum() >= 68


def test_one_call_of_many_sweeps_is_many_calls_of_one(on_bits, each_kernel):
    """Catches a sweep with another's number, and a chain that is not handed on."""
    machine, _, sampler = _sampler("bernoulli", "spin", (33, 17))
    params = _single(machine.random_parameters(np.random.default_rng(2), scale=0.3))
    state = sampler.init(params, 40, random_state=9)
    once = sampler.step(params, state, 5)
    for _ in range(5):
        state = sampler.step(params, state)
    assert state.address == once.address
    for g, x in once.values.items():
        assert np.array_equal(state.values[g], x)


def test_groups_of_several_axes_keep_their_shape(on_bits):
    energy = fb.Energy({"v": fb.Bernoulli(3, 5), "h": fb.Spin(7)}, terms=["v_ab h_j"])
    params = _single(energy.init(random_state=0))
    sampler = fb.Gibbs(energy, n_threads=1)
    state = sampler.step(params, sampler.init(params, 20, random_state=1), 2, means=True)
    assert on_bits
    assert state.values["v"].shape == (20, 3, 5)
    for g, mean in state.means.items():
        assert mean.shape == state.values[g].shape


def test_clamped_and_unfit_chains_are_not_made_on_bits(on_bits):
    """Bits cannot hold a unit still, nor sums beyond the range."""
    machine, energy, sampler = _sampler("bernoulli", "bernoulli")
    params = _single(machine.random_parameters(np.random.default_rng(2)))
    held = fb.Gibbs(energy, clamp=["v"], n_threads=1)
    values = {"v": np.ones((6, 5), dtype=F)}
    state = held.step(params, held.init(params, random_state=0, values=values), 2)
    assert np.array_equal(state.values["v"], values["v"])
    (matrix,) = (key for key in params if params[key].ndim == 2)
    params[matrix] = params[matrix] * 1e5
    state = sampler.step(params, sampler.init(params, 6, random_state=0), 2)
    assert not on_bits
    params = {key: x.astype(np.float64) for key, x in params.items()}
    sampler.step(params, sampler.init(params, 6, random_state=0))
    assert not on_bits


# ---------------------------------------------------------------------------------- sums of 16 bits


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("low_in", [0.0, -1.0])
@pytest.mark.parametrize("scale", [0.3, 1e-4])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (33, 31, 9), (64, 32, 8), (100, 70, 50), (97, 200, 40), (280, 30, 9), (300, 30, 9)],
    ids=str,
)
def test_low_precision_is_the_rounded_product_with_the_same_bytes_everywhere(
    shape, low_in, transpose, scale
):
    """Catches a table of another half of the word, a sum that overflows, a shift forgotten; with
    AVX2, where sums are cut into planes of six bits, as many as the weights ask for, a plane too
    few, signs lost in the highest, the constant of a look-up taken off once too often."""
    n, i, j = shape
    random = np.random.default_rng(shape)
    w = (scale * random.standard_normal((j, i) if transpose else (i, j))).astype(np.float32)
    shift = packed.low_shift(w)
    assert 4 <= shift <= 14
    wide = w.T if transpose else w
    assert np.abs(np.rint(wide.astype(float) * 2**shift)).sum(axis=0).max() <= 32767
    x = np.where(random.random((n, i)) < 0.4, 1, low_in).astype(np.float32)
    made = []
    for name in KERNELS:
        for n_threads in (1, 2):
            with kernel(name):
                field = np.empty((n, j), np.float32)
                packed.layer(
                    packed.Bits.pack(x, low=low_in), w, None, transpose=transpose, field=field,
                    low=shift, n_threads=n_threads,
                )  # fmt: skip
            made.append(field)
    exact = x @ (np.rint(wide.astype(float) * 2**shift) / 2**shift)
    np.testing.assert_allclose(made[0], exact, rtol=1e-6, atol=1e-6)
    assert all(m.tobytes() == made[0].tobytes() for m in made)


def test_low_precision_leaves_weights_that_are_too_large():
    assert packed.low_shift(np.full((3, 2), 2000, np.float32)) == -1
    assert packed.low_shift(np.full((3, 2), np.nan, np.float32)) == -1
    assert packed.low_shift(np.array([[3000, np.nan, 1]], np.float32)) == -1
    assert packed.low_shift(np.array([[1, np.inf, 1]], np.float32)) == -1
    bits = packed.Bits.pack(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="low is 15; expected 0, or what low_shift"):
        packed.layer(bits, np.ones((3, 2), np.float32), None, low=15)


def test_low_precision_sampling_is_that_of_the_rounded_weights(monkeypatch):
    """The same uniforms and the same rounded weights give the same chains."""
    monkeypatch.setattr(products, "PACKED_FROM", 0)
    energy = fb.Energy({"v": fb.Bernoulli(40), "h": fb.Bernoulli(33)}, terms=["v_i h_j"])
    params = energy.init(0, scale=0.4)
    w = params["v_i h_j"]
    shift = packed.low_shift(w)
    rounded = params | {"v_i h_j": (np.rint(w * 2.0**shift) / 2.0**shift).astype(np.float32)}
    assert not np.array_equal(rounded["v_i h_j"], w)
    ends = []
    for how, p in (("low", params), ("full", rounded), ("full", params)):
        sampler = fb.Gibbs(energy, precision=how)
        state = sampler.init(p, 200, random_state=1)
        ends.append(sampler.step(p, state, 5).values["v"])
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])
    with pytest.raises(ValueError, match="precision"):
        fb.Gibbs(energy, precision="half")
