"""Fused optimizer steps against the formulas in NumPy."""

import numpy as np
import pytest

from fastboltz_ext import updates

DTYPES = [np.float32, np.float64]
SHAPES = [(0,), (1,), (3,), (16,), (17,), (63,), (5, 13), (70_001,)]


def arrays(shape, dtype, count):
    random = np.random.default_rng(1)
    out = [random.standard_normal(shape).astype(dtype) for _ in range(count)]
    if out[0].size > 1:
        out[0].flat[::7] = 0  # where the sign is 0
    out[1].setflags(write=False)
    return out


def close(got, expected, dtype):
    return np.allclose(got, expected, rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_sgd(shape, dtype, n_threads):
    param, gradient, velocity = arrays(shape, dtype, 3)
    p, g, u = (a.astype(np.float64) for a in (param, gradient, velocity))
    how = {"learning_rate": 0.1, "l1": 0.02, "l2": 0.3}
    total = g - 0.3 * p - 0.02 * np.sign(p)

    plain = param.copy()
    updates.sgd(plain, gradient, None, n_threads=n_threads, **how)
    assert close(plain, p + 0.1 * total, dtype)

    updates.sgd(param, gradient, velocity, momentum=0.9, n_threads=n_threads, **how)
    u = 0.9 * u + 0.1 * total
    assert close(velocity, u, dtype)
    assert close(param, p + u, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_adam(shape, dtype, n_threads):
    param, gradient = arrays(shape, dtype, 2)
    m, v = np.zeros_like(param), np.zeros_like(param)
    p, g = param.astype(np.float64), gradient.astype(np.float64)
    mm, vv = np.zeros_like(p), np.zeros_like(p)
    for t in range(1, 6):
        updates.adam(
            param, gradient, m, v, learning_rate=0.01, beta1=0.9, beta2=0.99, epsilon=1e-3, t=t,
            l1=0.02, l2=0.3, n_threads=n_threads,
        )  # fmt: skip
        total = g - 0.3 * p - 0.02 * np.sign(p)
        mm = 0.9 * mm + 0.1 * total
        vv = 0.99 * vv + 0.01 * total**2
        p = p + 0.01 * (mm / (1 - 0.9**t)) / (np.sqrt(vv / (1 - 0.99**t)) + 1e-3)
        assert close(m, mm, dtype)
        assert close(v, vv, dtype)
        assert np.allclose(param, p, rtol=0, atol=100 * np.finfo(dtype).eps)


def test_first_adam_step_has_the_length_of_the_learning_rate():
    param = np.zeros(4)
    gradient = np.array([1.0, -2.0, 1e-3, 5.0])
    updates.adam(
        param, gradient, np.zeros(4), np.zeros(4), learning_rate=0.5, beta1=0.9, beta2=0.999,
        epsilon=0.0, t=1,
    )  # fmt: skip
    assert np.allclose(param, 0.5 * np.sign(gradient), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_nothing(dtype):
    results = []
    for n_threads in (1, 2, 3, 4):
        param, gradient, m, v = arrays((100_003,), dtype, 4)
        v = np.abs(v)
        updates.sgd(
            param, gradient, m, learning_rate=0.1, momentum=0.5, l1=0.1, n_threads=n_threads
        )
        updates.adam(
            param, gradient, m, v, learning_rate=0.1, beta1=0.9, beta2=0.9, epsilon=1e-8, t=3,
            n_threads=n_threads,
        )  # fmt: skip
        results.append(param.tobytes() + m.tobytes() + v.tobytes())
    assert len(set(results)) == 1


P = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: updates.sgd(P, np.zeros(6), None, learning_rate=1), "gradient has 1 dimensions"),
        (lambda: updates.sgd(P, np.zeros((3, 2)), None, learning_rate=1), "gradient has shape"),
        (lambda: updates.sgd(P, P, None, learning_rate=1), "share memory"),
        (lambda: updates.sgd(P.T, P.T, None, learning_rate=1), "param is not C-contiguous"),
        (
            lambda: updates.sgd(P, P.copy(), None, learning_rate=1, momentum=0.5),
            "velocity is None",
        ),
        (
            lambda: updates.adam(
                P, P.copy(), P.copy(), P.copy(), learning_rate=1, beta1=0, beta2=0, epsilon=0, t=0
            ),
            "t is 0",
        ),
        (
            lambda: updates.adam(
                P, P.copy(), P.copy(), P.copy(), learning_rate=1, beta1=1, beta2=0, epsilon=0, t=1
            ),
            "beta1 is 1",
        ),
    ],
)
def test_sentences(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
