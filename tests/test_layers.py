"""Compiled layers against plain NumPy."""

import signal
import threading

import numpy as np
import philox_oracle
import pytest
from scipy.special import expit

from fastboltz_ext import layers

DTYPES = [np.float32, np.float64]
#: n, I, J: one of each, nothing, around 4, 16, 32, 64, and sizes cut into tiles.
SHAPES = [
    (1, 1, 1),
    (0, 3, 5),
    (3, 0, 5),
    (3, 5, 0),
    (1, 17, 64),
    (5, 3, 4),
    (15, 16, 17),
    (31, 33, 63),
    (32, 64, 65),
    (64, 32, 31),
    (65, 127, 129),
    (10, 1100, 3),
    (700, 70, 90),
    (130, 200, 1100),
]
ADDRESS = {"seed": 2**40 + 5, "stream": 6, "step": 7, "row0": 8}


def uniforms(n, m, dtype):
    return philox_oracle.uniform(*ADDRESS.values(), n, m, dtype)


def read_only(a):
    a = np.array(a)
    a.setflags(write=False)
    return a


def numbers(shape, dtype, seed=0, scale=1.0):
    return read_only((scale * np.random.default_rng(seed).standard_normal(shape)).astype(dtype))


def product_error(x, w, dtype):
    """Bound of the rounding error of x @ w: (number of terms) eps |x| @ |w|."""
    bound = np.abs(x).astype(np.float64) @ np.abs(w).astype(np.float64)
    return (x.shape[1] + 4) * np.finfo(dtype).eps * bound


def draw_oracle(a, u, spin):
    p = expit((2 * a if spin else a).astype(np.float64))
    return (2 * p - 1 if spin else p), np.where(u < p, 1.0, -1.0 if spin else 0.0), np.abs(u - p)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_product(shape, transpose, dtype):
    n, n_in, n_out = shape
    x, w = numbers((n, n_in), dtype), numbers((n_in, n_out), dtype, 1)
    given = read_only(w.T.copy()) if transpose else w
    exact = x.astype(np.float64) @ w.astype(np.float64)
    error = product_error(x, w, dtype)

    out = np.full((n, n_out), np.nan, dtype=dtype)
    layers.product(x, given, out, transpose=transpose)
    assert np.all(np.abs(out - exact) <= error)

    before = np.full((n, n_out), 3, dtype=dtype)
    out = before.copy()
    layers.product(x, given, out, transpose=transpose, scale=0.5, beta=2.0)
    assert np.all(np.abs(out - (6 + 0.5 * exact)) <= error + 20 * np.finfo(dtype).eps * 6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_outer(shape, dtype):
    n_left, n, n_right = shape
    x, y = numbers((n, n_left), dtype), numbers((n, n_right), dtype, 1)
    exact = x.astype(np.float64).T @ y.astype(np.float64)
    error = product_error(x.T, y, dtype)

    out = np.full((n_left, n_right), np.nan, dtype=dtype)
    layers.outer(x, y, out)
    assert np.all(np.abs(out - exact) <= error)

    out = np.full((n_left, n_right), 3, dtype=dtype)
    layers.outer(x, y, out, scale=-0.25, beta=0.5)
    assert np.all(np.abs(out - (1.5 - 0.25 * exact)) <= error + 10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 4), (5, 15), (4, 17), (2, 63), (2, 64), (3, 65), (9, 100), (2, 1029)]
)
def test_draw(shape, with_bias, spin, dtype):
    field = numbers(shape, dtype, scale=3)
    bias = numbers(shape[1], dtype, 1) if with_bias else None
    a = dtype(0.7) * field
    if with_bias:
        a = bias + a
    u = uniforms(*shape, dtype)
    expected_mean, expected_sample, gap = draw_oracle(a, u, spin)

    mean, sample = np.full(shape, np.nan, dtype=dtype), np.full(shape, np.nan, dtype=dtype)
    layers.draw(field, bias, scale=0.7, spin=spin, mean=mean, sample=sample, **ADDRESS)
    eps = np.finfo(dtype).eps
    assert np.all(np.abs(mean - expected_mean) <= 4 * eps)
    sure = gap > 4 * eps
    assert sure.mean() > 0.9
    assert np.array_equal(sample[sure], expected_sample[sure])
    if not spin:
        assert np.array_equal(sample, u < mean)  # exactly, by the probability that was returned

    # Each output alone, and in place of the field.
    alone = np.full(shape, np.nan, dtype=dtype)
    layers.draw(field, bias, scale=0.7, spin=spin, mean=alone)
    assert alone.tobytes() == mean.tobytes()
    layers.draw(field, bias, scale=0.7, spin=spin, sample=alone, **ADDRESS)
    assert alone.tobytes() == sample.tobytes()
    for name in ("mean", "sample"):
        buffer, other = np.array(field), np.empty(shape, dtype=dtype)
        outputs = {"mean": other, "sample": other} | {name: buffer}
        layers.draw(buffer, bias, scale=0.7, spin=spin, **outputs, **ADDRESS)
        assert outputs["mean"].tobytes() == mean.tobytes()
        assert outputs["sample"].tobytes() == sample.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_logistic_errors(dtype):
    """Relative error of the logistic over the whole range, as _logistic.h states it."""
    low = -86.9 if dtype is np.float32 else -707.0
    x = np.linspace(low, 60, 300_001).astype(dtype)[None]
    mean = np.empty_like(x)
    layers.draw(x, None, mean=mean)
    exact = expit(x.astype(np.longdouble if dtype is np.float64 else np.float64))
    stated = 2.2e-7 if dtype is np.float32 else 4.5e-16
    assert float(np.max(np.abs(mean - exact) / exact)) < stated


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spin", [False, True])
def test_saturation(spin, dtype):
    big = np.finfo(dtype).max
    field = np.array([[np.inf, -np.inf, big, -big, 800, -800, np.nan, 0, -0.0]], dtype=dtype)
    mean, sample = np.empty_like(field), np.empty_like(field)
    with np.errstate(over="ignore"):
        layers.draw(field, None, spin=spin, mean=mean, sample=sample, **ADDRESS)
    low = -1 if spin else 0
    assert np.array_equal(mean[0, :6], [1, low, 1, low, 1, low])
    assert np.array_equal(sample[0, :6], [1, low, 1, low, 1, low])
    assert np.isnan(mean[0, 6])
    assert np.array_equal(mean[0, 7:], [0, 0] if spin else [0.5, 0.5])

    total = np.empty(9)
    layers.cumulant_sum(np.ascontiguousarray(field.T), None, total, spin=spin)
    log2 = np.log(2)
    expected = [np.inf, np.inf if spin else 0, big, big if spin else 0, 800, 800 if spin else 0]
    assert np.array_equal(total[:6], expected)
    assert np.isnan(total[6])
    assert np.allclose(total[7:], log2, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spin", [False, True])
def test_cumulant_errors(spin, dtype):
    x = np.linspace(-80, 80, 200_001).astype(dtype)[:, None]
    out = np.empty(len(x))
    layers.cumulant_sum(x, None, out, spin=spin)
    z = x[:, 0].astype(np.longdouble)
    exact = np.logaddexp(z, -z) if spin else np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    stated = 2.5e-7 if dtype is np.float32 else 5e-16
    assert float(np.max(np.abs(out - exact) / exact)) < stated


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (0, 3), (3, 0), (5, 15), (4, 16), (3, 33), (200, 130)])
def test_cumulant_sum(shape, spin, dtype):
    field, bias = numbers(shape, dtype, scale=4), numbers(shape[1], dtype, 1)
    a = (bias + dtype(1.3) * field).astype(np.float64)
    expected = (np.logaddexp(a, -a) if spin else np.logaddexp(a, 0)).sum(axis=1)
    for n_threads in (1, 2, 4):
        out = np.full(shape[0], np.nan)
        layers.cumulant_sum(field, bias, out, scale=1.3, spin=spin, n_threads=n_threads)
        assert np.allclose(out, expected, rtol=4 * np.finfo(dtype).eps, atol=0)
        if n_threads == 1:
            first = out
        assert out.tobytes() == first.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_layer_is_product_and_draw(shape, spin, transpose, dtype):
    n, n_in, n_out = shape
    x = numbers((n, n_in), dtype)
    w = numbers((n_out, n_in) if transpose else (n_in, n_out), dtype, 1, 0.3)
    bias = numbers(n_out, dtype, 2)
    field = np.empty((n, n_out), dtype=dtype)
    layers.product(x, w, field, transpose=transpose)
    mean, sample = np.empty_like(field), np.empty_like(field)
    how = {"scale": 0.9, "spin": spin} | ADDRESS
    layers.draw(field, bias, mean=mean, sample=sample, **how)
    for n_threads in (1, 2, 3):
        m, s = np.full_like(field, np.nan), np.full_like(field, np.nan)
        layers.layer(x, w, bias, transpose=transpose, mean=m, sample=s, n_threads=n_threads, **how)
        assert m.tobytes() == mean.tobytes()
        assert s.tobytes() == sample.tobytes()
    s = np.full_like(field, np.nan)
    layers.layer(x, w, bias, transpose=transpose, sample=s, **how)
    assert s.tobytes() == sample.tobytes()
    m = np.full_like(field, np.nan)
    layers.layer(x, w, bias, transpose=transpose, mean=m, **how)
    assert m.tobytes() == mean.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_threads", [2, 3, 4])
def test_threads_change_nothing(n_threads, dtype):
    x, w = numbers((700, 300), dtype), numbers((300, 470), dtype, 1, 0.2)
    y, bias = numbers((700, 470), dtype, 2), numbers(470, dtype, 3)

    def results(n_threads):
        field, statistics = np.empty((700, 470), dtype=dtype), np.empty((300, 470), dtype=dtype)
        mean, sample = np.empty_like(field), np.empty_like(field)
        layers.product(x, w, field, n_threads=n_threads)
        layers.outer(x, y, statistics, n_threads=n_threads)
        layers.draw(field, bias, mean=mean, sample=sample, n_threads=n_threads, **ADDRESS)
        return [a.tobytes() for a in (field, statistics, mean, sample)]

    assert results(n_threads) == results(1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shards_draw_what_one_call_would(dtype):
    field = numbers((50, 37), dtype)
    whole, part = np.empty_like(field), np.empty((20, 37), dtype=dtype)
    layers.draw(field, None, sample=whole, seed=1, row0=100)
    layers.draw(np.ascontiguousarray(field[13:33]), None, sample=part, seed=1, row0=113)
    assert np.array_equal(part, whole[13:33])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_call_of_many_rows_is_made_in_pieces_that_change_nothing(dtype):
    """Four billion multiply-adds are a piece. Catches rows with the random numbers of another."""
    n, m = 4100, 1024
    x, w, bias = numbers((n, m), dtype), numbers((m, m), dtype, 1, 0.05), numbers(m, dtype, 2)
    field, mean, sample = (np.full((n, m), np.nan, dtype) for _ in range(3))
    layers.product(x, w, field, n_threads=2)
    bound = product_error(x[-7:], w, dtype).max()
    np.testing.assert_allclose(field[-7:], x[-7:] @ w, rtol=0, atol=bound)
    layers.draw(field, bias, mean=mean, sample=sample, **ADDRESS)
    for n_threads in (1, 2):
        own_mean, own_sample = (np.full((n, m), np.nan, dtype) for _ in range(2))
        layers.layer(x, w, bias, mean=own_mean, sample=own_sample, n_threads=n_threads, **ADDRESS)
        assert own_mean.tobytes() == mean.tobytes()
        assert own_sample.tobytes() == sample.tobytes()


@pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="needs a timer that sends a signal to this process"
)
@pytest.mark.parametrize("call", ["layer", "product"])
def test_a_signal_ends_a_call_of_many_rows(call):
    """What comes after the piece in which it was heard is left as it was."""
    assert threading.current_thread() is threading.main_thread()

    class StopHere(Exception):  # noqa: N818
        pass

    def handler(signum, frame):
        raise StopHere

    x, w, out = np.ones((50_000, 1024)), np.ones((1024, 1024)), np.zeros((50_000, 1024))
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(StopHere):
            if call == "layer":
                layers.layer(x, w, None, mean=out)
            else:
                layers.product(x, w, out)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert out[0, 0] != 0
    assert out[-1, 0] == 0


X, W, OUT = np.zeros((3, 4)), np.zeros((4, 5)), np.zeros((3, 5))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: layers.product(X.astype(int), W, OUT), "x has dtype int64"),
        (lambda: layers.product(X, W.astype("f"), OUT), "w has dtype float32; expected float64"),
        (lambda: layers.product(X, W, OUT, transpose=True), r"expected w.shape\[1\] to be 4"),
        (lambda: layers.product(X, W, np.zeros((3, 6))), r"out has shape \(3, 6\); expected"),
        (lambda: layers.product(X, W, read_only(OUT)), "out is read-only"),
        (lambda: layers.product(X[:, ::2], W, OUT), "x is not C-contiguous"),
        (lambda: layers.product(OUT, np.zeros((5, 5)), OUT), "share memory"),
        (lambda: layers.product(X, W, OUT, n_threads=0), "n_threads is 0"),
        (lambda: layers.product(X.astype(">f8"), W, OUT), "native byte order"),
        (lambda: layers.outer(X, np.zeros((2, 5)), W.copy()), "y has shape"),
        (lambda: layers.draw(OUT, None), "both None"),
        (lambda: layers.draw(OUT, np.zeros(4), mean=OUT), "bias has shape"),
        (lambda: layers.draw(OUT, None, mean=OUT, sample=OUT), "share memory"),
        (lambda: layers.draw(OUT, None, sample=OUT, row0=2**32 - 1), "exceeds"),
        (lambda: layers.layer(X, W, None, mean=OUT, sample=OUT), "share memory"),
        (lambda: layers.cumulant_sum(OUT, None, np.zeros(3, "f")), "out has dtype float32"),
    ],
)
def test_sentences(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_shifted_alias_is_refused():
    buffer = np.zeros(40)
    field, out = buffer[:30].reshape(6, 5), buffer[5:35].reshape(6, 5)
    with pytest.raises(ValueError, match="overlaps field"):
        layers.draw(field, None, mean=out)


def test_max_threads():
    assert layers.max_threads() >= 1
