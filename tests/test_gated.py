"""Gated machines: against enumeration, and on shifts and rotations of random dots."""

from __future__ import annotations

import itertools
import pickle
import re

import numpy as np
import oracles
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from fastboltz import Categorical, GatedRBM, NotEnumerableError
from fastboltz.models.gated import _Coupling
from fastboltz.optimizers import Linear

Z_LIMIT = 4.5


def _pairs(n=30, seed=0, kind="bernoulli"):
    rng = np.random.default_rng(seed)
    X, Y = (rng.random((n, k)) < 0.5 for k in (3, 2))
    if kind == "gaussian":
        return rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
    return X.astype(float), Y.astype(float)


FORMS = [
    {},
    {"n_factors": 4},
    {"pairs": True},
    {"n_factors": 3, "pairs": True, "hidden": "spin"},
    {"mode": "joint"},
    {"mode": "joint", "n_factors": 4, "method": "pcd"},
    {"visible": "gaussian"},
    {"visible": "gaussian", "n_factors": 4},
    {"visible": "gaussian", "mode": "joint", "learning_rate": 0.003},
]


def _fitted(form, n=30):
    X, Y = _pairs(n, kind=form.get("visible", "bernoulli"))
    return GatedRBM(2, n_iter=3, random_state=0, **form).fit(X, Y), X, Y


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_answers_are_those_of_enumeration(form):
    """Deliberate bugs that this catches: a term without one of its images, log Z over x too where x
    is given."""
    gated, X, Y = _fitted(form)
    kind = form.get("visible", "bernoulli")
    groups = {"x": (kind, (3,)), "y": (kind, (2,)), "h": (form.get("hidden", "bernoulli"), (2,))}
    factors = f" | {form['n_factors']}" if "n_factors" in form else ""
    terms = [f"x_i y_j h_k{factors}", *(["x_i h_k", "y_j h_k"] if form.get("pairs") else [])]
    machine, params = oracles.Machine(groups, terms), gated.params_
    assert set(params) == set(machine.parameter_shapes())
    H, given = gated.transform(X, Y), ("x",) if form.get("mode") != "joint" else ()
    pair = {"x": X[:5], "y": Y[:5]}
    for row in range(5):
        state, log_w = machine._joined(pair, row)
        log_w = log_w - machine.value(params, state)
        p = np.exp(log_w - np.logaddexp.reduce(log_w))
        np.testing.assert_allclose(H[row], p @ state["h"], rtol=1e-9)
        known = {"x": X[:5], "h": H[:5]}
        state, log_w = machine._joined(known, row)
        log_w = log_w - machine.value(params, state)
        p = np.exp(log_w - np.logaddexp.reduce(log_w))
        np.testing.assert_allclose(gated.predict(X, H)[row], p @ state["y"], rtol=1e-7, atol=1e-9)
        one = {g: x[[row]] for g, x in pair.items()}
        of = [g for g in ("x", "y") if g not in given]
        if kind == "bernoulli":
            expected = machine.log_likelihood(params, one, of, given)
            assert gated.score_samples(X, Y)[row] == pytest.approx(expected, rel=1e-9)
    assert gated.score(X, Y) == pytest.approx(gated.score_samples(X, Y).mean())
    np.testing.assert_array_equal(gated.analogy(X, Y, X[::-1]), gated.predict(X[::-1], H))
    # One transformation for all images.
    same = gated.predict(X, np.repeat(H[3:4], len(X), axis=0))
    np.testing.assert_array_equal(gated.predict(X, H[3:4]), same)
    np.testing.assert_allclose(gated.analogy(X[3:4], Y[3:4], X), same, rtol=1e-9, atol=1e-12)


def test_samples_have_the_conditional_distribution():
    """Means of y given one x, within the Monte Carlo error of independent chains."""
    gated, X, _ = _fitted({})
    gated.params_["x_i y_j h_k"] *= 3
    n = 6000
    drawn = gated.sample(np.repeat(X[:1], n, axis=0), 30, random_state=0)
    machine = oracles.Machine(
        {"x": ("bernoulli", (3,)), "y": ("bernoulli", (2,)), "h": ("bernoulli", (2,))},
        ["x_i y_j h_k"],
    )
    state, log_w = machine._joined({"x": X[:1]}, 0)
    log_w = log_w - machine.value(gated.params_, state)
    mean = np.exp(log_w - np.logaddexp.reduce(log_w)) @ state["y"]
    assert (np.abs(drawn.mean(axis=0) - mean) < Z_LIMIT * np.sqrt(mean * (1 - mean) / n)).all()


@pytest.mark.parametrize("method", ["pcd", "exact"])
def test_a_joint_model_draws_pairs(method):
    """Means of products of x and y, within the Monte Carlo error of independent chains.

    Deliberate bugs that this catches: x held at where it starts, x and y of different sweeps' ends.
    """
    gated, _, _ = _fitted({"mode": "joint", "method": method, "n_factors": 4})
    for key, x in gated.params_.items():
        x *= 2 if "|" in key else 1
    n = 6000
    X, Y = gated.sample(n_samples=n, n_steps=50, random_state=0)
    machine = oracles.Machine(
        {"x": ("bernoulli", (3,)), "y": ("bernoulli", (2,)), "h": ("bernoulli", (2,))},
        ["x_i y_j h_k | 4"],
    )
    state, log_w = machine._joined({}, 0)
    log_w = log_w - machine.value(gated.params_, state)
    p = np.exp(log_w - np.logaddexp.reduce(log_w))
    x, y = state["x"], state["y"]
    exact = np.einsum("n,ni,nj->ij", p, x, y)
    assert np.abs(exact - np.outer(p @ x, p @ y)).max() > 0.02, "x and y depend on each other"
    error = np.sqrt(exact * (1 - exact) / n)
    assert (np.abs(X.T @ Y / n - exact) < Z_LIMIT * error).all()
    assert [part.shape for part in gated.sample(random_state=0)] == [(1, 3), (1, 2)]
    assert len(gated.sample(n_samples=20, return_info=True)) == 3
    assert gated.sample(X[:5]).shape == (5, 2)


def test_exact_learning_raises_the_likelihood_of_a_transformation():
    """Four patterns and their mirror images: log p(y | x) comes near to certainty."""
    X = np.array([[0, 1], [1, 0], [0, 0], [1, 1]], dtype=float)
    gated = GatedRBM(3, method="exact", pairs=True, learning_rate=0.3, n_iter=1500, random_state=0)
    gated.fit(X, X[:, ::-1])
    assert gated.score(X, X[:, ::-1]) > np.log(0.8)


# ------------------------------------------------------------------------------ real-valued images


def _states_of_hidden(model):
    unit = model.energy_.groups["h"]
    table = unit.states().reshape(len(unit.states()), -1)
    return (np.concatenate(s) for s in itertools.product(table, repeat=unit.n_units))


def _weights(model):
    """W as one array (I, J, K), whether it is factored or not."""
    params = model.params_
    if model.n_factors is None:
        return params["x_i y_j h_k"]
    a, b, c = (params[f"x_i y_j h_k | {model.n_factors} @ {s}"] for s in ("x_i", "y_j", "h_k"))
    return np.einsum("if,jf,kf->ijk", a, b, c)


REAL = [
    {},
    {"n_factors": 3},
    {"hidden": "spin"},
    {"hidden": Categorical(5)},
    {"mode": "conditional", "n_factors": 7},
]


@pytest.mark.parametrize("options", REAL, ids=str)
def test_the_strongest_coupling_of_real_images_is_that_of_all_states(options):
    """By the singular values for every state of h; and it grows with the weights."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 4)), rng.normal(size=(40, 3)) * [1, 10, 100]
    options = {"n_iter": 0, "mode": "joint", "random_state": 0} | options
    n = 1 if "Categorical" in str(options) else 5
    gated = GatedRBM(n, visible="gaussian", **options).fit(X, Y)
    for key, w in gated.params_.items():
        w[...] += 0.3 * rng.normal(size=w.shape) * (w.std() if " " in key else 1)
    px, py = (np.exp(gated.params_[f"{g}.log_precision"]) for g in "xy")
    scaled = _weights(gated) / np.sqrt(px)[:, None, None] / np.sqrt(py)[None, :, None]
    true = max(np.linalg.svd(scaled @ h)[1][0] for h in _states_of_hidden(gated))
    assert _Coupling(gated.energy_).strongest(gated.params_) == pytest.approx(true, rel=1e-3)
    _Coupling(gated.energy_).bound(gated.params_, true / 2)
    assert _Coupling(gated.energy_).strongest(gated.params_) == pytest.approx(true / 2, rel=1e-3)


@pytest.mark.parametrize("mode", ["conditional", "joint"])
@pytest.mark.parametrize("n_factors", [None, 6])
def test_the_start_is_the_same_in_other_units_of_the_images(mode, n_factors):
    """Deliberate bug that this catches: weights that know nothing of the size of pixels."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(200, 5)), rng.normal(size=(200, 4))
    options = {"visible": "gaussian", "pairs": True, "n_iter": 0, "random_state": 0}
    one, other = (
        GatedRBM(6, mode=mode, n_factors=n_factors, **options).fit(a * X, b * Y)
        for a, b in ((1, 1), (1000, 0.01))
    )
    np.testing.assert_allclose(other.transform(1000 * X, 0.01 * Y), one.transform(X, Y), rtol=1e-6)
    if mode == "joint":
        shift = 5 * np.log(1000) + 4 * np.log(0.01)
        score = one.score(X, Y)
        assert other.score(1000 * X, 0.01 * Y) + shift == pytest.approx(score, abs=0.01)


def test_the_likelihood_of_real_pairs_is_that_of_normal_distributions():
    """Z in closed form: a normal integral for each state of h."""
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    gated = GatedRBM(3, visible="gaussian", mode="joint", n_iter=2, random_state=0).fit(X, Y)
    params = {key: x.astype(float) for key, x in gated.params_.items()}
    precision = np.exp(np.r_[params["x.log_precision"], params["y.log_precision"]])
    bias = np.r_[params["x"], params["y"]]
    log_z = []
    for h in _states_of_hidden(gated):
        full = np.diag(precision)
        full[:3, 3:] -= _weights(gated) @ h
        full[3:, :3] = full[:3, 3:].T
        log_det = np.linalg.slogdet(full / (2 * np.pi))[1]
        log_z.append(params["h"] @ h - log_det / 2 + bias @ np.linalg.solve(full, bias) / 2)
    found = gated.log_partition_
    exact = np.logaddexp.reduce(log_z)
    assert abs(found.value - exact) < 5 * max(found.standard_error, 1e-4)


def test_images_that_are_coupled_too_strongly_have_no_joint_distribution():
    """And so no likelihood: annealing would give any number, or none."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    options = {"visible": "gaussian", "mode": "joint", "random_state": 0}
    gated = GatedRBM(4, learning_rate=0.3, n_iter=30, **options)
    sentence = "there is no joint distribution of x and y: in some state of h their coupling is"
    with pytest.warns(RuntimeWarning, match=sentence):
        gated.fit(X, X)
    for call in (
        lambda: gated.score(X, X),
        lambda: gated.log_partition_,
        lambda: gated.sample(n_samples=3),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
    assert np.isfinite(gated.analogy(X, X, X)).all()
    assert gated.sample(X[:3]).shape == (3, 5)
    with pytest.raises(ValueError, match="a product of three real units has no bound"):
        GatedRBM(4, hidden="relu", **options).fit(X, X)


# --------------------------------------------------------------------------- shifts of random dots


def _shifts(n, seed, size=10):
    """Rings of random dots, -1 or 1, and how far the second of each pair is turned."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, size)) < 0.5, 1, -1).astype(np.float32)
    by = rng.integers(0, size, n)
    return X, np.stack([np.roll(x, k) for x, k in zip(X, by, strict=True)]), by


@pytest.mark.parametrize(
    "form",
    [
        {"visible": "spin"},
        {"visible": "bernoulli", "learning_rate": 0.3},
        {"visible": "spin", "n_factors": 60, "optimizer": "adam", "learning_rate": 0.01},
        {
            "visible": "spin",
            "n_factors": 60,
            "optimizer": "adam",
            "learning_rate": 0.005,
            "mode": "joint",
        },
        {"visible": "gaussian", "n_factors": 60, "optimizer": "adam", "learning_rate": 0.005},
    ],
    ids=["dense", "dense, binary", "factored", "factored, joint", "factored, Gaussian"],
)
def test_shifts_are_recovered_from_the_hidden_units(form):
    """At least 95 % of new pairs, by a linear classifier on the hidden units; on the pixels of the
    pair it is not better than twice chance.

    Deliberate bug that this catches: negative phases that start from the wrong image.
    """
    X, Y, by = _shifts(4000, 0)
    X_test, Y_test, by_test = _shifts(2000, 1)
    if form["visible"] == "bernoulli":
        X, Y, X_test, Y_test = ((a + 1) / 2 for a in (X, Y, X_test, Y_test))
    gated = GatedRBM(30, n_iter=30, random_state=0, **form).fit(X, Y)
    linear = LogisticRegression(max_iter=2000).fit(gated.transform(X, Y), by)
    assert linear.score(gated.transform(X_test, Y_test), by_test) >= 0.95
    pixels = LogisticRegression(max_iter=2000).fit(np.c_[X, Y], by)
    assert pixels.score(np.c_[X_test, Y_test], by_test) < 0.2
    # An analogy: new images, turned as far as the pair.
    X_new = X_test[::-1]
    turned = np.stack([np.roll(x, k) for x, k in zip(X_new, by_test, strict=True)])
    middle = 0.5 if form["visible"] == "bernoulli" else 0
    H = gated.transform(X_test, Y_test)
    np.testing.assert_array_equal(gated.predict(X_new, H), gated.analogy(X_test, Y_test, X_new))

    def right(H):
        return ((gated.predict(X_new, H) > middle) == (turned > middle)).mean(axis=1)

    # Against the hidden units of other pairs, which turn as far in one case of ten.
    better = right(H) - right(np.roll(H, 1, axis=0))
    assert better.mean() > 0.1
    assert better.mean() > Z_LIMIT * better.std() / np.sqrt(len(better))


def _rotations(n, seed, side=9, n_angles=8):
    """Discs of random dots, and the eighths of a turn by which the second of each pair is rotated:
    each of its pixels is that of the first nearest to where it came from."""
    rng = np.random.default_rng(seed)
    middle = (side - 1) / 2
    at = np.indices((side, side)).reshape(2, -1).T - middle
    at = at[(at**2).sum(axis=1) <= (side / 2) ** 2]
    sources = []
    for angle in 2 * np.pi * np.arange(n_angles) / n_angles:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        sources.append((((at @ turn)[:, None] - at) ** 2).sum(axis=2).argmin(axis=1))
    X = np.where(rng.random((n, len(at))) < 0.5, 1, -1).astype(np.float32)
    by = rng.integers(0, n_angles, n)
    return X, np.take_along_axis(X, np.array(sources)[by], axis=1), by


@pytest.mark.parametrize(
    "form",
    [
        {"n_iter": 8},
        {"n_factors": 80, "optimizer": "adam", "learning_rate": Linear(0.008), "n_iter": 30},
    ],
    ids=["dense", "factored"],
)
def test_rotations_are_recovered_from_the_hidden_units(form):
    """As shifts are, in two dimensions and with pixels that get lost on the way."""
    (X, Y, by), (X_test, Y_test, by_test) = _rotations(3000, 0), _rotations(2000, 1)
    assert (np.sort(X, axis=1) != np.sort(Y, axis=1)).any()
    gated = GatedRBM(30, visible="spin", random_state=0, **form).fit(X, Y)
    linear = LogisticRegression(max_iter=1000).fit(gated.transform(X, Y), by)
    assert linear.score(gated.transform(X_test, Y_test), by_test) >= 0.95
    pixels = LogisticRegression(max_iter=1000).fit(np.c_[X, Y], by)
    assert pixels.score(np.c_[X_test, Y_test], by_test) < 0.25


# -------------------------------------------------------------------------------------------- face


def test_estimator_tools_work_though_scikit_learn_s_checks_do_not_apply():
    """Those checks call fit(X, y) with a column of labels, where here y is a table of images."""
    gated, X, Y = _fitted({"n_factors": 3})
    again = clone(gated)
    assert not hasattr(again, "params_")
    again.fit(X, Y)
    copy = pickle.loads(pickle.dumps(gated)).partial_fit(X, Y)
    gated.partial_fit(X, Y)
    again.partial_fit(X, Y)
    for key, x in gated.params_.items():
        np.testing.assert_array_equal(again.params_[key], x)
        np.testing.assert_array_equal(copy.params_[key], x)
    assert gated.n_iter_ == 4
    assert (gated.n_features_in_, gated.n_features_y_) == (3, 2)
    threads = clone(gated).set_params(n_threads=2).fit(X, Y).partial_fit(X, Y)
    for key, x in gated.params_.items():
        np.testing.assert_array_equal(threads.params_[key], x)


def test_one_hot_images_have_an_axis_of_states():
    rng = np.random.default_rng(0)
    X, Y = (np.eye(3)[rng.integers(0, 3, (20, 2))].reshape(20, 6) for _ in range(2))
    gated = GatedRBM(4, visible=Categorical(2, 3), n_iter=2, random_state=0).fit(X, Y)
    predicted = gated.analogy(X, Y, X).reshape(20, 2, 3)
    np.testing.assert_allclose(predicted.sum(axis=2), 1)


X0, Y0 = _pairs()
SENTENCES = [
    ({}, X0, Y0[:7], "pairs need as many rows of one as of the other; X has 30 and Y has 7 rows."),
    ({}, X0 + 3, Y0, "X has values in [3, 4]; Bernoulli units need [0, 1]."),
    ({}, X0, Y0 - 3, "Y has values in [-3, -2]; Bernoulli units need [0, 1]."),
    ({}, np.where(X0 > 0, np.nan, X0), Y0, "Input X contains NaN."),
    ({}, X0, np.where(Y0 > 0, np.nan, Y0), "Input Y contains NaN."),
    ({}, X0, Y0[:, 0], "Expected 2D array, got 1D array instead"),
    ({"mode": "both"}, X0, Y0, "mode must be one of 'conditional', 'joint'; got 'both'."),
    ({"method": "pcd"}, X0, Y0, "method='pcd' keeps chains that belong to no x"),
    ({"method": "tempered"}, X0, Y0, "method='tempered' keeps chains that belong to no x"),
    ({}, X0, None, "Y is missing; GatedRBM learns from pairs, the rows of X and those of Y, as in"),
    ({"n_factors": 0}, X0, Y0, "n_factors must be a whole number >= 1; got 0."),
    ({"n_components": 0}, X0, Y0, "n_components must be a whole number >= 1; got 0."),
    ({"visible": "bits"}, X0, Y0, "visible must be one of"),
]


@pytest.mark.parametrize(("options", "X", "Y", "sentence"), SENTENCES)
def test_bad_input_gets_a_sentence(options, X, Y, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        GatedRBM(**{"n_components": 2, **options}).fit(X, Y)


def test_tables_of_other_widths_are_refused_by_name():
    gated, X, Y = _fitted({})
    for call, name, width in (
        (lambda: gated.transform(Y, Y), "X", 2),
        (lambda: gated.transform(X, X), "Y", 3),
        (lambda: gated.predict(X, X), "H", 3),
    ):
        sentence = f"{name} has {width} columns, but the model was fitted with"
        with pytest.raises(ValueError, match=sentence):
            call()


def test_columns_in_another_order_are_refused_by_their_names():
    _, X, Y = _fitted({})
    named = pd.DataFrame(X, columns=["a", "b", "c"])
    turned = named[["c", "b", "a"]]
    gated = GatedRBM(2, n_iter=1, random_state=0).fit(named, Y)
    assert list(gated.feature_names_in_) == ["a", "b", "c"]
    H = gated.transform(named, pd.DataFrame(Y))
    np.testing.assert_array_equal(gated.analogy(named, Y, named), gated.predict(named, H))
    for call in (
        lambda: gated.transform(turned, Y),
        lambda: gated.predict(turned, H),
        lambda: gated.analogy(named, Y, turned),
        lambda: gated.sample(turned),
        lambda: gated.partial_fit(turned, Y),
    ):
        with pytest.raises(ValueError, match="Feature names must be in the same order"):
            call()
    chunks = GatedRBM(2, n_iter=1, random_state=0).fit(lambda: iter([(named, Y), (named, Y)]))
    assert list(chunks.feature_names_in_) == ["a", "b", "c"]
    assert not hasattr(chunks.fit(X, Y), "feature_names_in_")


def test_arguments_that_do_not_belong_together_are_refused():
    gated, X, Y = _fitted({})
    H = gated.transform(X, Y)
    for call, sentence in (
        (lambda: gated.predict(X, H[:5]), "of the other; X has 30 and H has 5 rows."),
        (
            lambda: gated.analogy(X, Y, X[:5]),
            "X_new has 5 rows, but there are 30 pairs of X and Y; give as many, or one pair for",
        ),
        (
            lambda: gated.analogy(X, Y, Y),
            "X_new has 2 columns, but the model was fitted with 3 in group 'x'",
        ),
        (lambda: gated.sample(), "mode='conditional' learns y given x, and nothing of how x is"),
        (lambda: gated.sample(X, n_samples=3), "n_samples=3 is for pairs, but X is given, and"),
    ):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            call()
    with pytest.raises(TypeError, match="pairs must be True or False; got 'yes'"):
        GatedRBM(2, pairs="yes").fit(X, Y)


def test_log_z_of_each_row_is_annealed_where_it_cannot_be_enumerated():
    """Against enumeration where that is possible; forwards, and with samples also backwards.

    Deliberate bugs that this catches: log Z of rows in another order, one log Z for all rows.
    """
    rng = np.random.default_rng(0)
    X = (rng.random((30, 8)) < 0.5).astype(np.float64)
    Y = np.roll(X, 1, axis=1)
    gated = GatedRBM(5, n_iter=30, batch_size=5, random_state=0, n_threads=1).fit(X, Y)
    exact = gated.conditional_log_partition({"x": X}, "exact")
    assert exact.values.std() > 0.1, "log Z depends on the row"
    np.testing.assert_allclose(gated.conditional_log_partition({"x": X}).values, exact.values)
    assert gated.conditional_log_partition({"x": X}).method == "exact"
    for samples in (None, {"y": Y}):
        found = gated.conditional_log_partition({"x": X}, "ais", n_chains=64, samples=samples)
        errors = (found.values - exact.values) / found.standard_errors
        assert np.abs(errors).max() < 5
        assert ((found.low <= exact.values) & (exact.values <= found.high)).mean() > 0.8
    assert found.reverse is not None
    wide = np.zeros((2, 40))
    gated = GatedRBM(40, n_iter=0, random_state=0).fit(wide, wide)
    with pytest.raises(NotEnumerableError, match=r"needs 2\*\*40 states.*Use method='ais'"):
        gated.conditional_log_partition({"x": wide}, "exact")
    with pytest.raises(TypeError, match="has no option 'bats'; annealing takes reference, betas"):
        gated.conditional_log_partition({"x": wide}, "exact", bats=3)
    z = gated.conditional_log_partition({"x": wide})
    assert z.method == "ais"
    free = gated.energy_.free_energy(gated.params_, {"x": wide, "y": wide}, "h")
    np.testing.assert_allclose(gated.score_samples(wide, wide), -free - z.values)


def test_a_short_annealing_of_rows_is_said():
    rng = np.random.default_rng(0)
    X = (rng.random((20, 6)) < 0.5).astype(np.float64)
    gated = GatedRBM(4, n_iter=1, random_state=0).fit(X, X)
    for x in gated.params_.values():
        x *= 60 / max(np.abs(x).max(), 1e-9)
    with pytest.warns(RuntimeWarning, match="the annealing is short for this model"):
        gated.conditional_log_partition({"x": X}, "ais", betas=5, n_chains=4)
