"""Products and statistics on bits against plain NumPy, for terms of every kind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastboltz as fb
from fastboltz import products
from fastboltz_ext import packed

UNITS = {"bernoulli": fb.Bernoulli, "spin": fb.Spin, "gaussian": fb.Gaussian}


@pytest.fixture(autouse=True)
def small_is_enough(monkeypatch):
    """Bits wherever rows are binary; the fixture says which products were made on them."""
    monkeypatch.setattr(products, "PACKED_FROM", 0)
    monkeypatch.setattr(products, "PACKED_ROWS", 1)
    made = []
    layer, outer = packed.layer, packed.outer
    monkeypatch.setattr(packed, "layer", lambda *a, **k: made.append("layer") or layer(*a, **k))
    gated = packed.gated
    monkeypatch.setattr(packed, "gated", lambda *a, **k: made.append("layer") or gated(*a, **k))
    monkeypatch.setattr(packed, "outer", lambda *a, **k: made.append("outer") or outer(*a, **k))
    return made


def _values(unit, n, random):
    if isinstance(unit, fb.Gaussian):
        return random.standard_normal((n, *unit.shape)).astype(np.float32)
    table = unit.states().astype(np.float32)
    return table[random.integers(0, len(table), (n, *unit.unit_shape))]


TERMS = {
    "pair": ({"v": fb.Bernoulli(70), "h": fb.Bernoulli(33)}, "v_i h_j"),
    "spins": ({"v": fb.Spin(35), "h": fb.Spin(40)}, "h_j v_i"),
    "one-hot": ({"v": fb.Bernoulli(40), "y": fb.Categorical(3, 5)}, "v_i y_kq"),
    "real": ({"x": fb.Gaussian(40), "h": fb.Bernoulli(17)}, "x_i h_j"),
    "third": ({"v": fb.Bernoulli(45), "h": fb.Bernoulli(9), "g": fb.Spin(6)}, "v_i h_j g_k"),
    "class-gated": (
        {"v": fb.Bernoulli(45), "h": fb.Bernoulli(9), "y": fb.Categorical(1, 7)},
        "v_i h_j y_ak",
    ),
    "gated": ({"x": fb.Gaussian(12), "y": fb.Spin(33), "h": fb.Bernoulli(8)}, "x_i y_j h_k"),
    "fourth": (
        {"a": fb.Bernoulli(33), "b": fb.Spin(3), "c": fb.Bernoulli(4), "d": fb.Spin(5)},
        "a_i b_j c_k d_l",
    ),
    "factored": (
        {"x": fb.Bernoulli(33), "y": fb.Spin(20), "h": fb.Gaussian(8)},
        "x_i y_j h_k | 6",
    ),
}


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", TERMS)
def test_fields_and_statistics_on_bits_are_those_of_numpy(
    name, weighted, n_threads, small_is_enough
):
    """Catches a gate that is left out, rows of another gate, a slot's axes in the wrong order."""
    groups, text = TERMS[name]
    energy = fb.Energy(groups, terms=[text])
    random = np.random.default_rng(5)
    n = 57
    state = {g: _values(u, n, random) for g, u in groups.items()}
    # Means stand in for the values of one group, as in training.
    mean = "x" if name == "real" else list(groups)[-1]
    state[mean] = random.uniform(-0.9, 0.9, state[mean].shape).astype(np.float32)
    params = energy.init(0, scale=0.3)
    wide = {key: x.astype(np.float64) for key, x in params.items()}
    double = {g: x.astype(np.float64) for g, x in state.items()}
    weights = random.random(n) if weighted else None
    for group in groups:
        got = energy.field(params, state, group, n_threads=n_threads)
        want = energy.field(wide, double, group)
        assert got.dtype == np.float32
        # Every weight is rounded to 2**-21 at the most, and products are of 57 numbers or fewer.
        reach = 1e-5 * (1 + np.abs(want).max())
        np.testing.assert_allclose(got, want, rtol=0, atol=reach, err_msg=group)
    assert "layer" in small_is_enough
    got = energy.statistics(params, state, weights, n_threads=n_threads)
    want = energy.statistics(wide, double, weights)
    for key, x in want.items():
        np.testing.assert_allclose(got[key], x, rtol=0, atol=4e-6 * (1 + np.abs(x).max()))
    assert "outer" in small_is_enough


def test_numbers_that_are_no_bits_take_the_other_way(small_is_enough):
    energy = fb.Energy({"v": fb.Bernoulli(40), "h": fb.Bernoulli(33)}, terms=["v_i h_j"])
    params = energy.init(0)
    random = np.random.default_rng(0)
    state = {g: random.random((50, u.size)).astype(np.float32) for g, u in energy.groups.items()}
    energy.field(params, state, "h")
    energy.statistics(params, state)
    assert not small_is_enough
    params["v_i h_j"][0, 0] = 3000  # out of the range of fixed point
    state["v"] = np.rint(state["v"])
    got = energy.field(params, state, "h")
    np.testing.assert_allclose(got, state["v"] @ params["v_i h_j"], rtol=1e-5)
    assert not small_is_enough


@pytest.mark.parametrize("kernel", packed.kernels())
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (5, 33, 9), (40, 70, 17), (200, 64, 100), (33, 31, 8), (40, 2100, 9)],
    ids=str,
)
def test_outer_is_the_product_and_has_the_same_bytes_everywhere(shape, low, transpose, kernel):
    before = packed.kernel()
    n, i, j = shape
    random = np.random.default_rng(shape)
    x = np.where(random.random((n, i)) < 0.4, 1, low).astype(np.float32)
    y = random.standard_normal((n, j)).astype(np.float32)
    start = random.standard_normal((j, i) if transpose else (i, j)).astype(np.float32)
    bits = packed.Bits.pack(x, low=low)
    made = []
    for name, n_threads in ((kernel, 1), (kernel, 3), ("portable", 1)):
        packed.kernel(name)
        out = start.copy()
        assert packed.outer(bits, y, out, transpose=transpose, scale=0.3, beta=0.5,
                            n_threads=n_threads)  # fmt: skip
        made.append(out)
        packed.kernel(before)
    exact = x.T.astype(float) @ y
    exact = 0.5 * start + 0.3 * (exact.T if transpose else exact)
    # y counts in 2**-shift, chosen so that sums stay below 2**30.
    unit = 4 * n * np.abs(y).max() / 2**30
    np.testing.assert_allclose(made[0], exact, rtol=3e-7, atol=n * unit + 1e-6)
    assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_outer_leaves_what_it_cannot_sum_exactly(value):
    bits = packed.Bits.pack(np.ones((40, 3), np.float32))
    y = np.ones((40, 2), np.float32)
    y[7, 1] = value
    out = np.full((3, 2), 5, np.float32)
    assert not packed.outer(bits, y, out)
    assert (out == 5).all()


def test_sentences():
    bits = packed.Bits.pack(np.ones((4, 3), np.float32))
    y, out = np.ones((4, 2), np.float32), np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match="y has shape"):
        packed.outer(bits, y[:3].copy(), out)
    with pytest.raises(ValueError, match="out has shape"):
        packed.outer(bits, y, out.T.copy())


def test_a_gated_call_of_many_rows_is_made_in_pieces_that_change_nothing():
    """Two billion multiply-adds are a piece. Catches gates or rows of another one."""
    n, n_in, n_gates, n_out = 2100, 1024, 16, 130
    random = np.random.default_rng(0)
    x = packed.Bits(n, n_in, low=-1.0)
    x.words[...] = random.integers(0, 2**32, x.words.shape, dtype=np.uint32)
    gate = random.standard_normal((n, n_gates)).astype(np.float32)
    w = (0.1 * random.standard_normal((n_gates, n_in, n_out))).astype(np.float32)
    out = np.full((n, n_out), np.nan, dtype=np.float32)
    packed.gated(x, gate, w, out)
    for begin, end in ((0, 600), (600, 1400), (1400, n)):
        part = np.empty((end - begin, n_out), dtype=np.float32)
        packed.gated(x.take(np.arange(begin, end)), gate[begin:end], w, part)
        np.testing.assert_array_equal(out[begin:end], part)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_gated_products_of_many_rows_are_the_sums_with_the_same_bytes_everywhere(low):
    """More rows than tables serve in one pass, and a gate that is shut for blocks of them. Catches
    gates of other rows, sums of one pass added to the next."""
    n, n_in, n_gates, n_out = 1100, 33, 3, 9
    random = np.random.default_rng(0)
    x = np.where(random.random((n, n_in)) < 0.4, 1, low).astype(np.float32)
    gate = random.standard_normal((n, n_gates)).astype(np.float32)
    gate[200:900, 1] = 0
    w = random.standard_normal((n_gates, n_in, n_out)).astype(np.float32)
    bits = packed.Bits.pack(x, low=low)
    before, made = packed.kernel(), []
    try:
        for name, n_threads in itertools.product(packed.kernels(), (1, 3)):
            packed.kernel(name)
            out = np.full((n, n_out), np.nan, dtype=np.float32)
            packed.gated(bits, gate, w, out, n_threads=n_threads)
            made.append(out)
    finally:
        packed.kernel(before)
    rounded = np.rint(w.astype(float) * 2**20) / 2**20
    each = np.einsum("ni,qij->nqj", x.astype(float), rounded)
    exact = np.einsum("nq,nqj->nj", gate.astype(float), each)
    # A product and an addition for each gate, rounded to single precision.
    bound = 2 * n_gates * np.einsum("nq,nqj->nj", np.abs(gate), np.abs(each)) * 2.0**-24
    assert (np.abs(made[0] - exact) <= bound + 1e-30).all()
    assert all(m.tobytes() == made[0].tobytes() for m in made)


#: Kind of gate -> how many of the rows it is open for: 0.5 of a binary unit, a few of a label.
GATES = {"binary": 0.5, "label": 0.07, "real": 1.0}


@pytest.mark.parametrize("n_out", [1, 8, 9, 24, 37])
@pytest.mark.parametrize("n_in", [1, 19, 61, 130])
@pytest.mark.parametrize("kind", GATES)
def test_gated_products_leave_out_rows_that_a_gate_is_shut_for(kind, n_in, n_out):
    """Every way to the sums, bits of any density, weights in either order, with the bytes that
    rows one by one have. Catches rows in the place of those before them that are shut, sums of the
    columns next door, inputs behind the last."""
    random = np.random.default_rng(n_in + 100 * n_out)
    n, n_gates, before = 70, 5, packed.kernel()
    gate = random.standard_normal((n, n_gates)) if kind == "real" else np.ones((n, n_gates))
    gate = np.where(random.random(gate.shape) < GATES[kind], gate, 0).astype(np.float32)
    gate[:, 3] = 0
    w = random.standard_normal((n_gates, n_in, n_out)).astype(np.float32)
    for density, low, turned in itertools.product((0.03, 0.5), (0.0, -1.0), (False, True)):
        x = np.where(random.random((n, n_in)) < density, 1, low).astype(np.float32)
        bits = packed.Bits.pack(x, low=low)
        weights = np.ascontiguousarray(w.swapaxes(1, 2)).swapaxes(1, 2) if turned else w
        whole = np.einsum("ni,qij->nqj", x.astype(float), np.rint(w.astype(float) * 2**20)).astype(
            np.float32
        )
        exact = np.zeros((n, n_out), np.float32)
        for q in range(n_gates):
            exact += gate[:, q, None] * whole[:, q]
        exact *= np.float32(2.0**-20)
        try:
            for name, n_threads in itertools.product(packed.kernels(), (1, 2)):
                packed.kernel(name)
                out = np.full((n, n_out), np.nan, dtype=np.float32)
                largest = packed.gated(bits, gate, weights, out, n_threads=n_threads)
                np.testing.assert_array_equal(out, exact, err_msg=f"{name}, {density}, {turned}")
                assert largest == np.abs(w).max()
        finally:
            packed.kernel(before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e30])
def test_gated_products_tell_of_weights_that_no_fixed_point_holds(value):
    """In every column and thread; the field then goes another way."""
    x = np.ones((40, 33), np.float32)
    bits, gate = packed.Bits.pack(x), np.ones((40, 3), np.float32)
    before = packed.kernel()
    try:
        for name, n_threads, column in itertools.product(packed.kernels(), (1, 3), (0, 20, 36)):
            packed.kernel(name)
            w = np.zeros((3, 33, 37), np.float32)
            w[1, 32, column] = value
            largest = packed.gated(
                bits, gate, w, np.empty((40, 37), np.float32), n_threads=n_threads
            )
            np.testing.assert_equal(np.float32(largest), np.abs(np.float32(value)))
    finally:
        packed.kernel(before)
    energy = fb.Energy({"a": fb.Bernoulli(33), "b": fb.Bernoulli(3), "c": fb.Bernoulli(9)},
                       terms=["a_i b_j c_k"])  # fmt: skip
    params = energy.init(0)
    params["a_i b_j c_k"][2, 1, 4] = value
    state = {"a": x, "b": gate, "c": np.ones((40, 9), np.float32)}
    field = energy.field(params, state, "c", check=False)
    expected = np.einsum("ijk->k", params["a_i b_j c_k"])
    np.testing.assert_allclose(field, np.broadcast_to(expected, field.shape), rtol=1e-5, atol=1e-6)
