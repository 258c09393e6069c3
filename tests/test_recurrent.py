"""What sequences rest on: gradients by given groups, held groups, conditional annealing, networks,
streams."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from scipy.special import logsumexp

import fastboltz as fb
from fastboltz import likelihood
from fastboltz import terms as terms_module
from fastboltz.likelihood import conditional_ais
from fastboltz.objectives import LogLikelihood, Objective
from fastboltz.optimizers import Constant, as_optimizer
from fastboltz.recurrent import (
    GRU,
    MeanField,
    Recurrent,
    RowChains,
    Streams,
    Tanh,
    emitted_gradient,
)
from fastboltz.rng import Address
from fastboltz.training import Trainer
from fastboltz_ext import recurrent as steps

Z_LIMIT = 4.5


def _random_params(energy, seed=0, scale=0.7):
    rng = np.random.default_rng(seed)
    params = {k: scale * rng.standard_normal(s) for k, s in energy.parameter_shapes().items()}
    return energy.symmetrized(params)


# ------------------------------------------------------------------ gradients by what is given

Likelihood = partial(LogLikelihood, negative="exact")
UNITS = {"v": fb.Bernoulli(3), "h": fb.Bernoulli(2), "x": fb.Gaussian(2)}
CASES = {
    "biases": (UNITS, ["h_j v_i", "v_i x_r", "h_j x_r"], [Likelihood("v", "x")]),
    "weights": (UNITS, ["h_j v_i", "h_j v_i x_r"], [Likelihood("v", "x")]),
    "factors": (UNITS, ["v_i x_r", "h_j v_i x_r | 3"], [Likelihood("v", "x")]),
    "given alone in a term": (UNITS, ["h_j v_i x_r", "x_r"], [Likelihood("v", "x")]),
    "spins, and units that see each other": (
        {"v": fb.Spin(3), "h": fb.Bernoulli(2), "x": fb.Gaussian(2)},
        ["h_j v_i", "h_j h_k", "v_i v_k", "h_j x_r", "v_i x_r"],
        [Likelihood("v", "x")],
    ),
    "two criteria": (
        UNITS | {"y": fb.Categorical(1, 3)},
        ["h_j v_i", "h_j y_ab", "h_j x_r", "y_ab x_r"],
        [
            Likelihood("y", ("v", "x"), weight=0.7),
            Likelihood("v", "x", weight=0.3, without="y"),
            Likelihood(("v", "y"), weight=2.0),
        ],
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_by_given_groups_is_that_of_differences(case, weighted):
    """Deliberate bugs that this catches: the negative phase left out, rows of a criterion that does
    not apply to all written to the first ones, weights of rows left out."""
    units, terms, ones = CASES[case]
    energy = fb.Energy(units, terms)
    objective, params = Objective(energy, ones), _random_params(energy)
    rng = np.random.default_rng(1)
    n = 5
    data = {"x": rng.standard_normal((n, 2))}
    v = units["v"].states()
    data["v"] = v[rng.integers(0, 2, (n, 3))]
    if "y" in units:
        data["y"] = np.eye(3)[rng.integers(0, 3, n)][:, None]
        data["y"][1:3] = np.nan
    weights = rng.random(n) if weighted else None
    gradient, inputs = objective.input_gradient(params, data, weights)
    plain = objective.gradient(params, data, weights)
    for key, value in plain.items():
        np.testing.assert_allclose(gradient[key], value, rtol=1e-9, atol=1e-12)
    # In the first criterion v is given too.
    assert set(inputs) == {g for o in ones for g in o.given}
    step = 1e-5
    for at in np.ndindex(data["x"].shape):
        ends = []
        for sign in (1, -1):
            x = data["x"].copy()
            x[at] += sign * step
            ends.append(objective.value(params, data | {"x": x}, weights))
        slope = (ends[0] - ends[1]) / (2 * step)
        assert inputs["x"][at] == pytest.approx(slope, rel=1e-5, abs=1e-8), at


def test_sampled_phases_give_the_gradient_by_given_groups():
    """Contrastive divergence from many rows alike, within the error of independent calls."""
    units, terms, (one,) = CASES["factors"]
    energy = fb.Energy(units, terms)
    params = _random_params(energy)
    data = {"v": np.array([[1.0, 0, 1]]), "x": np.array([[0.5, -1.0]])}
    exact = Objective(energy, one)
    expected = exact.input_gradient(params, data)[1]["x"][0]
    many = {g: np.repeat(x, 200, axis=0) for g, x in data.items()}
    cd = Objective(energy, LogLikelihood(one.of, one.given, negative="cd", n_gibbs=30))
    drawn = np.array(
        [cd.input_gradient(params, many, random_state=k)[1]["x"].sum(axis=0) for k in range(40)]
    )
    error = drawn.std(axis=0, ddof=1) / len(drawn) ** 0.5
    assert (np.abs(drawn.mean(axis=0) - expected) < 1.25 * Z_LIMIT * error).all()


@pytest.mark.parametrize("per_row", [False, True])
def test_emitted_gradients_are_those_of_each_rows_own_rbm(per_row):
    """Deliberate bug that this catches: the average over rows in the place of each row's own."""
    rng = np.random.default_rng(0)
    n, V, H = 4, 3, 2
    v = (rng.random((n, V)) < 0.5).astype(float)
    b, c = rng.standard_normal((n, V)), rng.standard_normal((n, H))
    w = rng.standard_normal((n, H, V) if per_row else (H, V))
    states = [np.array([[(k >> i) & 1 for i in range(m)] for k in range(2**m)]) for m in (V, H)]

    def log_p(k, b, c, w):
        log_w = (states[0] @ b)[:, None] + states[1] @ c + states[0] @ w.T @ states[1].T
        return logsumexp(log_w[int(v[k] @ 2 ** np.arange(V))]) - logsumexp(log_w)

    found = emitted_gradient(v, b, c, w, method="exact")
    shared = np.zeros((H, V))
    for k in range(n):
        parts = [b[k], c[k], w[k] if per_row else w]
        for number, got in ((0, found.bias_visible[k]), (1, found.bias_hidden[k]), (2, None)):
            slope = np.zeros(parts[number].shape)
            for at in np.ndindex(slope.shape):
                for sign in (1, -1):
                    moved = [x.copy() for x in parts]
                    moved[number][at] += sign * 1e-6
                    slope[at] += sign * log_p(k, *moved) / 2e-6
            if number == 2:
                shared += slope
                got = found.weights[k] if per_row else None
            if got is not None:
                np.testing.assert_allclose(got, slope, rtol=1e-5, atol=1e-8)
    if not per_row:
        np.testing.assert_allclose(found.weights, shared, rtol=1e-5, atol=1e-8)
    sampled = emitted_gradient(v, b, c, w, n_gibbs=3, random_state=0)
    again = emitted_gradient(v, b, c, w, n_gibbs=3, random_state=0)
    np.testing.assert_array_equal(sampled.weights, again.weights)


def test_emitted_parameters_of_wrong_shape_get_a_sentence():
    zeros = np.zeros
    with pytest.raises(ValueError, match=re.escape("weights have shape (2, 3); expected (3, 2),")):
        emitted_gradient(zeros((4, 2)), zeros((4, 2)), zeros((4, 3)), zeros((2, 3)))
    with pytest.raises(ValueError, match=re.escape("bias_hidden has shape (3,); expected two")):
        emitted_gradient(zeros((4, 2)), zeros((4, 2)), zeros(3), zeros((3, 2)))
    with pytest.raises(
        ValueError, match=re.escape("bias_visible has shape (1, 2); expected (4, 2)")
    ):
        emitted_gradient(zeros((4, 2)), zeros((1, 2)), zeros((4, 3)), zeros((3, 2)))


def test_emitted_parameters_are_named_where_they_make_no_sense():
    """Sentences name arguments, and not what they are made of inside."""
    right = {
        "v": np.zeros((4, 2)),
        "bias_visible": np.zeros((4, 2)),
        "bias_hidden": np.zeros((4, 3)),
        "weights": np.zeros((3, 2)),
    }
    for name, x in right.items():
        with pytest.raises(ValueError, match=f"NaN or infinity in {name}; expected finite"):
            emitted_gradient(**(right | {name: np.full(x.shape, np.nan)}))
        with pytest.raises(ValueError, match=f"{name} has rows of different lengths"):
            emitted_gradient(**(right | {name: [[1], [1, 0]]}))
    for change, sentence in [
        ({"v": np.full((4, 2), -1.0)}, "v has values in [-1, -1]; expected 0 or 1."),
        ({"v": [["a", "b"]]}, "v must be numeric; got dtype"),
        ({"method": "pcd"}, "method must be one of 'cd', 'exact'; got 'pcd'."),
        ({k: x[:0] for k, x in right.items() if k != "weights"}, "v has no rows"),
    ]:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            emitted_gradient(**(right | change))


def test_emitted_gradients_have_the_precision_of_the_parameters():
    single = {
        "bias_visible": np.zeros((4, 2), np.float32),
        "bias_hidden": np.zeros((4, 3), np.float32),
        "weights": np.zeros((3, 2), np.float32),
    }
    for dtype in (np.uint8, np.int64, np.float64):
        found = emitted_gradient(np.ones((4, 2), dtype), **single, random_state=0)
        assert found.weights.dtype == found.bias_visible.dtype == np.float32
    double = single | {"weights": np.zeros((3, 2))}
    assert emitted_gradient(np.ones((4, 2), np.float32), **double).bias_hidden.dtype == np.float64


# ------------------------------------------------------------------------- sweeps of held groups


@pytest.mark.parametrize("blocks", [[("v",), ("h",)], [("h",), ("v",)]], ids=str)
@pytest.mark.parametrize("kinds", [(fb.Bernoulli, fb.Bernoulli), (fb.Spin, fb.Bernoulli)], ids=str)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_sweeps_on_bits_with_a_field_for_every_row_are_the_general_ones(kinds, blocks, n_threads):
    """The same random numbers, the same states. Deliberate bugs that this catches: the own bias
    scaled with the couplings, the rows of the second block with the addresses of the first."""
    rng = np.random.default_rng(0)
    n = 1100  # more than two blocks
    v, h = kinds[0](40), kinds[1](30)
    energy = fb.Energy({"v": v, "h": h, "u": fb.Gaussian(5)}, ["h_j v_i", "v_i u_r", "h_j u_r"])
    params = {k: x.astype(np.float32) for k, x in _random_params(energy, scale=0.3).items()}
    start = {
        "v": v.states()[rng.integers(0, 2, (n, 40))].astype(np.float32),
        "h": h.states()[rng.integers(0, 2, (n, 30))].astype(np.float32),
        "u": rng.standard_normal((n, 5)).astype(np.float32),
    }
    sampler = fb.Gibbs(energy, "u", n_threads=n_threads)
    sampler.blocks = blocks
    state = sampler.init(params, values=start, random_state=3)
    fixed = sampler.fixed(params, state.values, ["u"])
    assert sampler._fixed_pair(params, state, blocks, fixed) is not None
    on_bits = sampler.step(params, state, 3, scale=0.8, means=True)
    sampler._fixed_pair = lambda *_: None
    sampler._fixed_layer = lambda *_: None
    general = sampler.step(params, state, 3, scale=0.8, means=True)
    for g in "vhu":
        np.testing.assert_array_equal(on_bits.values[g], general.values[g])
    last = blocks[1][0]
    assert list(on_bits.means) == list(general.means) == [last]
    np.testing.assert_allclose(on_bits.means[last], general.means[last], atol=2e-6)
    assert on_bits.address == general.address


@pytest.mark.parametrize("blocks", [[("v",), ("h",)], [("h",), ("v",)]], ids=str)
def test_grey_values_at_the_start_of_sweeps_with_fixed_fields_are_seen_as_they_are(blocks):
    """Catches starts that are rounded to bits where there are rows enough for sweeps on bits."""
    rng = np.random.default_rng(0)
    n = 600
    energy = fb.Energy(
        {"v": fb.Bernoulli(40), "h": fb.Bernoulli(30), "u": fb.Gaussian(5)},
        ["h_j v_i", "v_i u_r", "h_j u_r"],
    )
    params = {k: x.astype(np.float32) for k, x in _random_params(energy, scale=0.6).items()}
    start = {g: rng.random((n, m)).astype(np.float32) for g, m in (("v", 40), ("h", 30), ("u", 5))}
    sampler = fb.Gibbs(energy, "u", n_threads=1)
    sampler.blocks = blocks
    state = sampler.init(params, values=start, random_state=3)
    found = sampler.step(params, state, 2)
    sampler._fixed_pair = lambda *_: None
    sampler._fixed_layer = lambda *_: None
    general = sampler.step(params, state, 2)
    for g in "vh":
        np.testing.assert_array_equal(found.values[g], general.values[g])


@pytest.mark.parametrize("scale", [1.0, 0.8])
@pytest.mark.parametrize("group", ["v", "h"])
@pytest.mark.parametrize("kinds", [(fb.Bernoulli, fb.Bernoulli), (fb.Spin, fb.Bernoulli)], ids=str)
def test_one_draw_on_bits_with_a_field_for_every_row_is_the_general_one(kinds, group, scale):
    """Deliberate bugs that this catches: the own bias scaled, the matrix the wrong way round, the
    kind of the units left out."""
    rng = np.random.default_rng(1)
    n = 300
    v, h = kinds[0](40), kinds[1](30)
    energy = fb.Energy({"v": v, "h": h, "u": fb.Gaussian(5)}, ["h_j v_i", "v_i u_r", "h_j u_r"])
    params = {k: x.astype(np.float32) for k, x in _random_params(energy, scale=0.3).items()}
    values = {
        "v": v.states()[rng.integers(0, 2, (n, 40))].astype(np.float32),
        "h": h.states()[rng.integers(0, 2, (n, 30))].astype(np.float32),
        "u": rng.standard_normal((n, 5)).astype(np.float32),
    }
    sampler = fb.Gibbs(energy, "u")
    fixed = sampler.fixed(params, values, ["u"])
    at = Address.of(3, "positive", 1, 7)
    one = (params, values, group, fixed[group], at, scale, True)
    assert sampler._fixed_layer(*one) is not None
    mean, sample, _ = sampler.draw(params, values, group, at, scale, True, None, fixed)
    sampler._fixed_layer = lambda *_: None
    general = sampler.draw(params, values, group, at, scale, True, None, fixed)
    np.testing.assert_array_equal(sample, general[1])
    np.testing.assert_allclose(mean, general[0], atol=2e-6)


def test_chains_that_share_memory_leave_the_values_as_they_are():
    energy = fb.Energy(UNITS, ["h_j v_i", "v_i x_r", "v_i"])
    params, sampler = _random_params(energy), fb.Gibbs(energy, "x")
    values = dict(sampler.init(params, 50, values={"x": np.ones((50, 2))}, random_state=0).values)
    before = {g: x.copy() for g, x in values.items()}
    at = Address.of(0, "chains")
    shared = sampler.start(params, 50, at, values, copy=False)
    assert np.shares_memory(shared.values["v"], values["v"])
    shared = sampler.step(params, shared, 3)
    for g, x in before.items():
        np.testing.assert_array_equal(values[g], x)
    own = sampler.step(params, sampler.start(params, 50, at, before), 3)
    for g, x in own.values.items():
        np.testing.assert_array_equal(shared.values[g], x)


def test_fields_that_stay_are_the_fields():
    """What is computed once for held groups, and what moves, add up to the declared field."""
    energy = fb.Energy(UNITS, ["h_j v_i", "v_i x_r", "h_j v_i x_r | 2", "v_i"])
    params = _random_params(energy)
    rng = np.random.default_rng(2)
    state = {g: rng.standard_normal((4, *u.shape)) for g, u in UNITS.items()}
    sampler = fb.Gibbs(energy, "x")
    fixed = sampler.fixed(params, state, ["x"])
    assert set(fixed) == {"v"}
    assert [t.name for t in fixed["v"].moving] == ["h_j v_i", "h_j v_i x_r | 2"]
    found = fixed["v"].add(params, state, "v", 1)
    np.testing.assert_allclose(found, energy.field(params, state, "v"), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("terms", "held"),
    [
        (["h_j v_i", "h_j v_i x_r", "v_i x_r"], "x"),
        (["x_r v_i h_j"], "x"),
        (["v_i z_ks h_j x_r", "h_j v_i z_ks"], "zx"),
        (["z_ks x_r v_i"], "v"),
    ],
    ids=str,
)
def test_a_term_of_three_groups_is_a_matrix_for_every_row_while_one_is_held(terms, held, dtype):
    """Its fields are the declared ones, and sweeps, with the same random numbers, the same states.

    Deliberate bugs that this catches: the matrix the wrong way round, gates of several held groups
    in another order than the weights.
    """
    units = UNITS | {"z": fb.Categorical(2, 3)}
    named = {letter for t in terms for letter in t if letter in units}
    units = {g: u for g, u in units.items() if g in named}
    energy = fb.Energy(units, terms)
    params = {k: x.astype(dtype) for k, x in _random_params(energy).items()}
    held = list(held)
    sampler = fb.Gibbs(energy, held)
    given = dict(fb.Gibbs(energy).init(params, 200, random_state=1).values)
    given = {g: given[g] for g in held}
    state = sampler.init(params, values=given, random_state=1)
    fixed = sampler.fixed(params, state.values, held)
    kinds = {g: [type(t).__name__ for t in one.moving] for g, one in fixed.items()}
    assert all("RowMatrices" in names for names in kinds.values()) and len(kinds) == 2
    for g, one in fixed.items():
        np.testing.assert_allclose(
            one.add(params, state.values, g, 1),
            energy.field(params, state.values, g),
            rtol=1e-12 if dtype == np.float64 else 1e-4,
            atol=1e-13 if dtype == np.float64 else 1e-5,
        )
    if dtype == np.float64:
        found = sampler.step(params, state, 3)
        plain = sampler.step(params, state, 3, fixed={})
        for g, x in plain.values.items():
            np.testing.assert_allclose(found.values[g], x, rtol=1e-10)


def test_matrices_of_every_row_that_do_not_fit_are_not_made(monkeypatch):
    energy = fb.Energy(UNITS, ["h_j v_i x_r"])
    params, sampler = _random_params(energy), fb.Gibbs(energy, "x")
    given = np.random.default_rng(0).standard_normal((50, 2))
    state = sampler.init(params, values={"x": given}, random_state=0)
    assert set(sampler.fixed(params, state.values, ["x"])) == {"v", "h"}
    found = sampler.step(params, state, 2)
    monkeypatch.setattr(terms_module, "_ROW_MATRICES_BYTES", 100)
    assert not sampler.fixed(params, state.values, ["x"])
    for g, x in sampler.step(params, state, 2).values.items():
        np.testing.assert_array_equal(found.values[g], x)


# ------------------------------------------------------------------------- conditional annealing


@pytest.mark.parametrize(
    "terms",
    [
        ["h_j v_i", "v_i x_r", "h_j x_r"],
        ["h_j v_i", "h_j v_i x_r | 2", "x_r"],
        ["h_j v_i x_r", "v_i v_k", "v_i x_r"],
    ],
    ids=str,
)
def test_conditional_annealing_agrees_with_enumeration(terms, monkeypatch):
    """The base energy of what is given belongs to log Z as `log_partition` defines it. Deliberate
    bugs that this catches: terms of given groups alone left out, or annealed."""
    energy = fb.Energy(UNITS, terms)
    params = _random_params(energy)
    given = {"x": np.random.default_rng(3).standard_normal((5, 2))}
    exact = energy.log_partition(params, given)
    reference = {"v": {"bias": np.array([0.3, -0.2, 0.1])}}
    options = {"reference": reference, "betas": 60, "n_chains": 300, "random_state": 0}
    found = conditional_ais(energy, params, given, **options)
    assert (np.abs(found.values - exact) < Z_LIMIT * found.standard_errors).all()
    assert (found.standard_errors < 0.1).all()
    assert found.method == "ais"
    seen = []
    monkeypatch.setattr(likelihood, "_CHAINS_AT_ONCE", 700)
    again = conditional_ais(
        energy, params, given, **options, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]
    np.testing.assert_allclose(again.values, found.values, rtol=1e-12)


@pytest.mark.parametrize("terms", [["h_j v_i", "v_i x_r", "h_j x_r"], ["h_j v_i x_r", "v_i v_k"]])
def test_reverse_annealing_of_every_row_closes_the_bracket(terms):
    """From exact samples of each row; intervals of rows and of the mean hold the exact log Z.

    Deliberate bugs that this catches: samples of one row taken for another's, the sign of the
    reverse weights, ends of the reverse interval exchanged.
    """
    energy = fb.Energy(UNITS, terms)
    params = _random_params(energy)
    given = {"x": 3 * np.random.default_rng(3).standard_normal((40, 2))}
    exact = energy.log_partition(params, given)
    each = {g: np.repeat(x, 30, axis=0) for g, x in given.items()}
    samples = energy.sample(params, given=each, random_state=1)
    options = {"betas": 40, "n_chains": 30, "random_state": 0}
    found = conditional_ais(energy, params, given, samples={"v": samples["v"]}, **options)
    back, forward = found.reverse, found.forward
    alone = conditional_ais(energy, params, given, **options)
    np.testing.assert_array_equal(forward.values, alone.values)
    assert (np.abs(back.values - exact) < Z_LIMIT * back.standard_errors + 1e-9).all()
    assert back.standard_errors.max() < 0.2
    # 95 % intervals of 40 rows: at least 30 hold the truth but for one case in a million.
    for z in (forward, back):
        assert ((z.low <= exact) & (exact <= z.high)).sum() >= 30
        assert (z.low < z.values).all() and (z.values < z.high).all()
    assert (found.low == np.minimum(forward.low, back.low)).all()
    assert (found.high == np.maximum(forward.high, back.high)).all()
    mean = found.mean()
    assert mean.low < exact.mean() < mean.high
    assert mean.reverse.method == "reverse ais"
    assert mean.low == min(mean.forward.low, mean.reverse.low)
    assert not found.doubts()


def test_a_sample_that_is_not_the_models_shows_in_the_bracket():
    """Samples of a far lower energy than the model's; and one sample a row serves all chains."""
    energy = fb.Energy(
        {"x": fb.Bernoulli(1), "v": fb.Bernoulli(12), "h": fb.Bernoulli(20)}, ["h_j v_i", "v_i x_r"]
    )
    params = energy.init(0, 0.3, np.float64)
    params["v"][...] = -2
    given = {"x": np.zeros((20, 1))}
    options = {"betas": 60, "n_chains": 10, "random_state": 0}
    good = energy.sample(params, given=given, random_state=0)
    found = conditional_ais(energy, params, given, samples={"v": good["v"]}, **options)
    assert found.reverse.n_chains == 10
    assert not found.doubts()
    options["betas"] = 5
    with_all = conditional_ais(energy, params, given, samples={"v": np.ones((20, 12))}, **options)
    assert any("the samples are not the model's" in doubt for doubt in with_all.doubts())
    assert with_all.is_degenerate


def test_the_temperatures_of_all_rows_are_placed_by_the_scatter_within_rows():
    """What tells the rows' weights apart, and is no noise, has no part in the ladder.

    x sets the biases of units g that are summed out. Deliberate bug that this catches: the variance
    over the chains of all rows.
    """
    groups = {"x": fb.Gaussian(1), "v": fb.Spin(6), "h": fb.Spin(6), "g": fb.Bernoulli(300)}
    energy = fb.Energy(groups, ["h_j v_i", "g_k x_r"])
    params = energy.init(0, 0.3, np.float64) | {"g_k x_r": np.ones((300, 1))}
    path = likelihood.Path(energy, params, {}, ("x",))
    assert "g" in path.summed
    rows = np.linspace(-2, 2, 20)[:, None]
    apart, alike = (
        likelihood._adapted(path, 200, 0, 1, {"x": x}) for x in (rows, np.zeros_like(rows))
    )
    np.testing.assert_allclose(apart, alike, atol=1e-6)
    assert np.diff(alike).max() / np.diff(alike).min() > 1.5


def test_conditional_annealing_checks_its_arguments():
    energy = fb.Energy(UNITS, ["h_j v_i", "v_i x_r"])
    params = _random_params(energy)
    with pytest.raises(ValueError, match="betas must rise strictly from 0 to 1"):
        conditional_ais(energy, params, {"x": np.zeros((1, 2))}, betas=[0.0, 0.5])
    with pytest.raises(ValueError, match=re.escape("state 'x' has shape (1, 3); expected")):
        conditional_ais(energy, params, {"x": np.zeros((1, 3))})
    with pytest.raises(ValueError, match="names the unknown group 'w'"):
        conditional_ais(energy, params, {"w": np.zeros((1, 3))})
    two = {"x": np.zeros((2, 2))}
    with pytest.raises(ValueError, match="samples has 3 rows, but 2 rows are given"):
        conditional_ais(energy, params, two, samples={"v": np.zeros((3, 3))})
    with pytest.raises(ValueError, match="samples holds the group 'x', which is given"):
        conditional_ais(energy, params, two, samples=two)
    with pytest.raises(ValueError, match="samples is empty"):
        conditional_ais(energy, params, two, samples={})


# ------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("network", [Tanh(), GRU(), MeanField("w", "m", "c")], ids=repr)
@pytest.mark.parametrize("carried", [False, True])
def test_the_way_back_through_a_network_is_that_of_differences(network, carried):
    """Of any function of what the steps are given, with sequences that begin on the way. Deliberate
    bugs that this catches: a gradient carried back over the start of a sequence, or to the learnt
    start of one whose state was carried over."""
    rng = np.random.default_rng(0)
    T, B, V, R = 6, 3, 4, 3
    shapes = network.shapes(V, R)
    if isinstance(network, MeanField):
        shapes = shapes | {"w": (R, V), "m": (R, R), "c": (R,)}
    params = {key: 0.7 * rng.standard_normal(s) for key, s in shapes.items()}
    x = (rng.random((T, B, V)) < 0.5).astype(float)
    reset = np.zeros((T, B), bool)
    reset[0] = not carried
    reset[3, 1] = reset[0, 2] = reset[5, 0] = True
    u = rng.standard_normal((B, R)) if carried else None
    weights = rng.standard_normal((T, B, R))
    unit = fb.Bernoulli(V)

    def value(params):
        return (weights * network.forward(params, unit, x, reset, u).before).sum()

    out = {key: np.zeros_like(p) for key, p in params.items()}
    tape = network.forward(params, unit, x, reset, u)
    network.backward(params, unit, tape, weights, out)
    for key, p in params.items():
        for at in np.ndindex(p.shape):
            ends = []
            for sign in (1, -1):
                p[at] += sign * 1e-6
                ends.append(value(params))
                p[at] -= sign * 1e-6
            slope = (ends[0] - ends[1]) / 2e-6
            assert out[key][at] == pytest.approx(slope, rel=1e-5, abs=1e-7), (key, at)


def sigma(x):
    return 1 / (1 + np.exp(-x))


def states_by_the_book(network, params, x, reset, state):
    """Cho et al.'s equations, and the plain network's, a step and a sequence at a time."""
    w, u, b = (params[f"recurrent.{name}"].astype(float) for name in ("input", "state", "bias"))
    k = u.shape[0]
    after = np.empty((*reset.shape, k))
    for t, i in np.ndindex(reset.shape):
        before = state[i] if t == 0 else after[t - 1, i]
        if reset[t, i]:
            before = params["recurrent.start"]
        a, own = b + x[t, i] @ w, before @ u
        if isinstance(network, GRU):
            z, r = sigma(a[:k] + own[:k]), sigma(a[k : 2 * k] + own[k : 2 * k])
            after[t, i] = z * before + (1 - z) * np.tanh(a[2 * k :] + r * own[2 * k :])
        else:
            after[t, i] = np.tanh(a + own)
    return after


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 4, 6), (1, 1, 1), (3, 20, 33), (2, 1, 16)])
@pytest.mark.parametrize("network", [Tanh(), GRU()], ids=repr)
def test_states_are_those_of_the_equations(network, shape, dtype):
    """Catches gates or parts that are exchanged, a unit beyond a whole vector, the start of another
    sequence."""
    n_steps, n_sequences, k = shape
    rng = np.random.default_rng(shape)
    x = (rng.random((n_steps, n_sequences, 5)) < 0.5).astype(dtype)
    reset = rng.random((n_steps, n_sequences)) < 0.3
    shapes = network.shapes(5, k).items()
    params = {key: rng.standard_normal(s).astype(dtype) for key, s in shapes}
    state = rng.standard_normal((n_sequences, k)).astype(dtype)
    tape = network.forward(params, fb.Bernoulli(5), x, reset, state)
    expected = states_by_the_book(network, params, x, reset, state)
    tolerance = 2e-6 * k if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(tape.after, expected, rtol=0, atol=tolerance)
    given = np.concatenate([state[None], tape.after])[:-1]
    given[reset] = params["recurrent.start"]
    np.testing.assert_array_equal(tape.before, given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("network", [Tanh, GRU])
def test_all_steps_in_one_call_are_the_steps_one_by_one(network, carried, dtype):
    """Catches a state that goes on where a sequence begins, or a step that is not kept."""

    class Stepwise(network):
        def step(self, params, before, drive):
            return super().step(params, before, drive)

    rng = np.random.default_rng(0)
    x = (rng.random((9, 4, 5)) < 0.5).astype(dtype)
    reset = rng.random((9, 4)) < 0.2
    reset[0], reset[4], reset[5] = not carried, True, False
    params = network().init(3, 5, 6, dtype)
    params = {k: w + dtype(0.1) for k, w in params.items()}
    state = rng.standard_normal((4, 6)).astype(dtype) if carried else None
    grad = rng.standard_normal((9, 4, 6)).astype(dtype)
    found = []
    for one in (network(), Stepwise()):
        tape = one.forward(params, fb.Bernoulli(5), x, reset, state)
        out = {k: np.zeros_like(w) for k, w in params.items()}
        one.backward(params, fb.Bernoulli(5), tape, grad, out)
        found.append((tape, out))
    (fast, gradient), (slow, expected) = found
    np.testing.assert_array_equal(fast.before, slow.before)
    np.testing.assert_array_equal(fast.after, slow.after)
    for k in params:
        assert np.abs(expected[k]).max() > 0
        np.testing.assert_allclose(gradient[k], expected[k], rtol=1e-4, atol=1e-5, err_msg=k)


def tanh_of(x):
    """As a step without weights has it."""
    n, out = x.size, np.empty((2, 1, x.size, 1), x.dtype)
    nothing = np.zeros((n, 1), x.dtype)
    steps.tanh_forward(
        nothing, nothing[0], np.zeros((1, 1), x.dtype), x.reshape(1, n, 1), np.zeros((1, n), bool),
        *out,
    )  # fmt: skip
    return out[1].ravel()


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2.5e-7), (np.float64, 4.5e-16)])
def test_tanh_errors(dtype, tolerance):
    """Relative error over the whole range, on both sides of where the polynomial ends."""
    x = np.concatenate([np.linspace(-20, 20, 400_001), np.geomspace(1e-30, 1, 10_001)]).astype(
        dtype
    )
    wide = np.longdouble if dtype == np.float64 else np.float64
    exact = np.tanh(x.astype(wide))
    off = np.abs(tanh_of(x) - exact)
    assert (off[exact != 0] <= tolerance * np.abs(exact[exact != 0])).all()
    edges = np.array([0.0, np.inf, -np.inf, 100, -1000, np.nan], dtype)
    np.testing.assert_array_equal(tanh_of(edges), np.tanh(edges))


def test_steps_refuse_what_does_not_fit():
    def call(**changed):
        a = {
            "state": np.zeros((2, 3), np.float32), "start": np.zeros(3, np.float32),
            "weights": np.zeros((3, 9), np.float32), "drive": np.zeros((4, 2, 9), np.float32),
            "reset": np.zeros((4, 2), bool), "before": np.zeros((4, 2, 3), np.float32),
            "after": np.zeros((4, 2, 3), np.float32), "kept": np.zeros((4, 2, 12), np.float32),
        }  # fmt: skip
        steps.gru_forward(**(a | changed))

    call()
    for message, changed in (
        ("weights has shape (3, 3); expected (3, 9).", {"weights": np.zeros((3, 3), np.float32)}),
        ("state has dtype float64; expected float32.", {"state": np.zeros((2, 3))}),
        ("reset has dtype int8; expected bool.", {"reset": np.zeros((4, 2), np.int8)}),
        ("reset has shape (4, 3); expected (4, 2).", {"reset": np.zeros((4, 3), bool)}),
        ("kept has shape (4, 2, 9); expected (4, 2, 12).", {"kept": np.zeros((4, 2, 9), "f")}),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call(**changed)
    same = np.zeros((4, 2, 3), np.float32)
    with pytest.raises(ValueError, match="after and before share memory"):
        call(before=same, after=same)


def test_networks_begin_with_orthogonal_states_and_repeatably():
    for network in (Tanh(), GRU()):
        params = network.init(5, 7, 4, np.float32)
        assert {k: x.shape for k, x in params.items()} == network.shapes(7, 4)
        for k in range(network.gates):
            square = params["recurrent.state"][:, 4 * k : 4 * k + 4]
            np.testing.assert_allclose(square @ square.T, np.eye(4), atol=1e-6)
        again = network.init(5, 7, 4, np.float32)
        other = network.init(6, 7, 4, np.float32)
        np.testing.assert_array_equal(params["recurrent.input"], again["recurrent.input"])
        assert (params["recurrent.input"] != other["recurrent.input"]).any()
    assert issubclass(GRU, Recurrent)


# --------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("n_streams", [1, 3, 50])
def test_streams_hold_every_sequence_whole_and_once(n_streams):
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 30, 20)
    order = rng.permutation(20)
    streams = Streams.of(lengths, order, n_streams)
    rows, reset = streams.rows, streams.reset
    assert rows.shape == reset.shape
    assert rows.shape[1] == min(n_streams, 20)
    held = rows[rows >= 0]
    assert sorted(held) == list(range(lengths.sum()))
    first = np.cumsum(lengths) - lengths
    assert set(rows[reset]) == set(first)
    for column, begins in zip(rows.T, reset.T, strict=True):
        known = column[column >= 0]
        assert (column[len(known) :] == -1).all()  # padding stands at the end alone
        inside = ~begins[1 : len(known)]
        assert (np.diff(known)[inside] == 1).all()
    # No stream outlasts another by more than one sequence.
    ends = (rows >= 0).sum(axis=0)
    assert ends.max() - ends.min() <= lengths.max()


def test_chains_of_steps_are_kept_as_bits():
    rng = np.random.default_rng(0)
    chains = RowChains.of(50, 37)
    h = (rng.random((50, 37)) < 0.5).astype(np.float32)
    rows = rng.permutation(50)
    chains.put(rows[:20], h[rows[:20]])
    assert chains.seen.sum() == 20
    chains.put(rows[20:], h[rows[20:]])
    np.testing.assert_array_equal(chains.bits.unpack(), h)


def test_long_gradients_are_scaled_down():
    """Deliberate bug that this catches: each array's norm in the place of that of the whole."""
    energy = fb.Energy({"v": fb.Bernoulli(3), "h": fb.Bernoulli(2)}, ["h_j v_i"])
    params = _random_params(energy)
    batch = {"v": np.ones((4, 3))}
    objective = Objective(energy, LogLikelihood("v", negative="exact"))
    gradient = objective.gradient(params, batch)
    norm = np.sqrt(sum((x**2).sum() for x in gradient.values()))
    for limit, factor in ((norm / 2, 0.5), (2 * norm, 1.0)):
        trainer = Trainer(
            energy, objective, as_optimizer("sgd"), Constant(1.0), centered=False, clip_norm=limit
        )
        moved = {k: x.copy() for k, x in params.items()}
        trainer.update(moved, batch, trainer.init(moved, 0))
        for key, x in gradient.items():
            np.testing.assert_allclose(moved[key] - params[key], factor * x, rtol=1e-9)
