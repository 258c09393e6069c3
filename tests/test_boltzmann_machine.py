"""Any energy as an estimator: likelihoods, inference and learning, also with unknown units."""

from __future__ import annotations

import itertools
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from catalogue import BY_NAME, CATALOGUE
from scipy import sparse, special
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastboltz as fb
from fastboltz import pair_loop
from fastboltz.mean_field import mean_field
from fastboltz.models.unknown import ObjectiveOfKnown
from fastboltz.objectives import LogLikelihood

N_ROWS = 5
Z_LIMIT = 4.5
CASES = [
    pytest.param(
        entry,
        of,
        given,
        id=f"{entry}: log p({','.join(of)}{'|' if given else ''}{','.join(given)})",
    )
    for entry in CATALOGUE
    if entry.enumerable
    for of, given in entry.criteria
]


def _data(entry, of, given, n=N_ROWS):
    """Random rows, with about a third of the visible units of finite types unknown."""
    state = entry.states(n, seed=3)
    rng = np.random.default_rng(4)
    data = {g: state[g] for g in (*of, *given)}
    for g in of:
        kind, shape = entry.groups[g]
        if g not in entry.continuous:
            per_unit = shape[:-1] if kind == "categorical" else shape
            unknown = rng.random((n, *per_unit)) < 0.35
            data[g][unknown] = np.nan
    return data


def _posterior(entry, params, data, row):
    """Joint states that agree with what is known of one row, and their log weights: one by one."""
    whole = {g: x for g, x in data.items() if not np.isnan(x[row]).any()}
    state, log_weights = entry.machine._joined(whole, row)
    log_p = log_weights - entry.machine.value(params, state)
    for g, x in data.items():
        known = ~np.isnan(x[row])
        agrees = (state[g][:, known] == x[row][known]).all(axis=1)
        log_p = np.where(agrees, log_p, -np.inf)
    return state, log_p


def _machine(entry, of, given, data, **options):
    """The estimator at the catalogue's parameters."""
    options = {"method": "exact", "n_iter": 0, "random_state": 0} | options
    groups = dict(entry.energy.groups)
    terms = [t if isinstance(t, str) else fb.Hyperedges(*t[1:]) for t in entry.terms]
    model = fb.BoltzmannMachine(groups, terms, visible=of, given=given, **options).fit(data)
    model.params_ = entry.parameters()
    return model


# --------------------------------------------------------------------------------- against oracles


@pytest.mark.parametrize(("entry", "of", "given"), CASES)
def test_scores_are_enumerated_log_likelihoods_of_what_is_known(entry, of, given):
    """Deliberate bug that this catches: unknown units filled with one value."""
    data = _data(entry, of, given)
    model = _machine(entry, of, given, data)
    params = model.params_
    expected, mass = [], []
    for row in range(N_ROWS):
        top = special.logsumexp(_posterior(entry, params, data, row)[1])
        mass.append(top)
        bottom = entry.machine.log_partition(params, {g: data[g][[row]] for g in given})
        expected.append(top - np.squeeze(bottom))
    np.testing.assert_allclose(model.score_samples(data), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.free_energy(data), -np.array(mass), rtol=1e-9, atol=1e-9)
    assert model.score(data) == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.mark.parametrize(("entry", "of", "given"), CASES)
def test_inference_gives_the_enumerated_means(entry, of, given):
    """Deliberate bug that this catches: completions that all count alike."""
    data = _data(entry, of, given)
    model = _machine(entry, of, given, data)
    hidden = [g for g in entry.groups if g not in data]
    if sum(g in entry.continuous for g in hidden) > 1:
        pytest.skip("the quadrature over two continuous groups is too coarse for the comparison")
    found = model.infer(data)
    for row in range(N_ROWS):
        state, log_p = _posterior(entry, model.params_, data, row)
        p = special.softmax(log_p)
        for g in entry.groups:
            np.testing.assert_allclose(
                found[g][row], np.tensordot(p, state[g], axes=1), rtol=1e-8, atol=1e-8, err_msg=g
            )
    if hidden:
        H = np.concatenate([found[g].reshape(N_ROWS, -1) for g in hidden], axis=1)
        np.testing.assert_array_equal(model.transform(data), H)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("entry", "of", "given"), CASES)
def test_the_exact_gradient_is_that_of_what_is_known(entry, of, given, weighted):
    """Clamped minus free statistics; unknown units are free in both phases.

    Deliberate bug that this catches: completions without the weights of their rows.
    """
    data, params = _data(entry, of, given), entry.parameters()
    w = np.random.default_rng(5).random(N_ROWS) if weighted else np.ones(N_ROWS)
    expected = {key: np.zeros(shape) for key, shape in entry.machine.parameter_shapes().items()}
    for row in range(N_ROWS):
        held = {g: data[g][[row]] for g in given}
        for sign, known in ((1, data), (-1, held)):
            at = row if known is data else 0
            state, log_p = _posterior(entry, params, known, at)
            statistics = entry.machine.statistics(params, state, special.softmax(log_p))
            for key, x in statistics.items():
                expected[key] += sign * w[row] / w.sum() * x
    one = fb.objectives.LogLikelihood(of, given, negative="exact")
    objective = ObjectiveOfKnown(entry.energy, one, n_threads=1)
    found, _, _ = objective.step(params, data, objective.init(0), w if weighted else None)
    for key, x in expected.items():
        np.testing.assert_allclose(found[key], x, rtol=1e-7, atol=1e-8, err_msg=key)


SAMPLED = ["bernoulli-bernoulli", "semi-restricted", "deep", "class RBM", "gated", "Potts"]


@pytest.mark.parametrize("name", SAMPLED)
def test_unknown_units_are_drawn_given_what_is_known(name):
    """Means of the draws that stand in the positive phase, within their Monte Carlo error.

    Deliberate bug that this catches: draws from the biases alone, or sweeps that move known units.
    """
    entry, n = BY_NAME[name], 4000
    of, given = entry.criteria[0]
    data, params = _data(entry, of, given), entry.parameters()
    one = fb.objectives.LogLikelihood(of, given, negative="cd", n_positive=40)
    objective = ObjectiveOfKnown(entry.energy, one, n_threads=1)
    many = {g: np.repeat(x, n, axis=0) for g, x in data.items()}
    drawn, _ = objective._completed(objective._phases[0], params, many, None, 0, 0)
    assert any(np.isnan(x).any() for x in data.values())
    for row in range(N_ROWS):
        state, log_p = _posterior(entry, params, data, row)
        p = special.softmax(log_p)
        for g, x in data.items():
            mean = np.tensordot(p, state[g], axes=1)
            square = np.tensordot(p, state[g] ** 2, axes=1)
            error = np.sqrt(np.maximum(square - mean**2, 0) / n)
            found = drawn[g][row * n : (row + 1) * n].mean(axis=0)
            assert (np.abs(found - mean) <= Z_LIMIT * error + 1e-9).all(), (row, g)
            known = ~np.isnan(x[row])
            np.testing.assert_array_equal(found[known], x[row][known])


@pytest.mark.parametrize("name", SAMPLED)
def test_gibbs_inference_agrees_with_exact_inference(name):
    """Averages of independent chains, within the standard error among them."""
    entry, n = BY_NAME[name], 300
    of, given = entry.criteria[0]
    data = _data(entry, of, given)
    model = _machine(entry, of, given, data)
    exact = model.infer(data, "exact")
    for row in range(N_ROWS):
        many = {g: np.repeat(x[[row]], n, axis=0) for g, x in data.items()}
        found = model.infer(many, "gibbs", n_steps=40, random_state=row)
        for g, x in found.items():
            error = x.std(axis=0, ddof=1) / np.sqrt(n)
            assert (np.abs(x.mean(axis=0) - exact[g][row]) <= Z_LIMIT * error + 1e-9).all(), g


@pytest.mark.parametrize(("entry", "of", "given"), CASES)
def test_mean_field_is_a_fixed_point_and_exact_where_units_are_independent(entry, of, given):
    """Deliberate bug that this catches: rows that stop at the first row's convergence."""
    data = _data(entry, of, given)
    model = _machine(entry, of, given, data)
    params, energy = model.params_, model.energy_
    means = mean_field(energy, params, data)
    for g, unit in energy.groups.items():
        own, field = energy.own(params, g), entry.machine.field(params, means, g)
        unknown = np.isnan(data[g]) if g in data else np.ones(means[g].shape, bool)
        np.testing.assert_allclose(
            means[g][unknown], unit.mean(own, field)[unknown], rtol=1e-5, atol=1e-6, err_msg=g
        )
    alone = mean_field(energy, params, {g: x[2:3] for g, x in data.items()})
    for g, x in means.items():
        np.testing.assert_allclose(x[2:3], alone[g], rtol=0, atol=1e-12)
    hidden = [g for g in entry.groups if g not in data]
    whole = {g: x for g, x in entry.states(N_ROWS, seed=3).items() if g in data}
    if hidden and energy.is_independent(hidden):
        exact, found = model.infer(whole, "exact"), model.infer(whole, "mean-field")
        for g in hidden:
            np.testing.assert_allclose(found[g], exact[g], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["semi-restricted", "deep", "gated", "class RBM"])
def test_samples_have_the_model_s_distribution(name):
    entry, n = BY_NAME[name], 4000
    of, given = entry.criteria[0]
    data = {g: x for g, x in entry.states(3, seed=3).items() if g in (*of, *given)}
    model = _machine(entry, of, given, data)
    known = {g: data[g][[0]] for g in given}
    drawn = model.sample(n, 30, given=known or None, random_state=0)
    drawn = drawn if len(of) > 1 else {of[0]: drawn}
    state, log_p = _posterior(entry, model.params_, known, 0)
    p = special.softmax(log_p)
    for g in of:
        x = state[g].reshape(len(p), -1)
        mean, square = p @ x, p @ x**2
        error = np.sqrt((square - mean**2) / n)
        assert (np.abs(drawn[g].mean(axis=0) - mean) < Z_LIMIT * error).all()


# --------------------------------------------------------------------------------------- learning


def _with_gaps(n=2000, share=0.3, seed=0):
    """Draws of a small machine, and the same with units left out."""
    entry = BY_NAME["Boltzmann machine"]
    rng = np.random.default_rng(seed)
    params = entry.machine.random_parameters(rng, scale=2.0)
    X = entry.machine.draw(params, n, rng)["v"]
    gaps = X.copy()
    gaps[rng.random(X.shape) < share] = np.nan
    return X, gaps


@pytest.mark.parametrize("method", ["exact", "pcd", "cd"])
def test_learning_with_gaps_beats_learning_from_filled_rows(method):
    """Log-likelihood of the complete rows; each gap filled with its column's likely value loses by
    more than chance."""
    X, gaps = _with_gaps()
    filled = np.where(np.isnan(gaps), np.nanmean(gaps, axis=0) > 0.5, gaps)

    def scores(rows):
        machine = fb.BoltzmannMachine(
            {"v": fb.Bernoulli(5)}, ["v_i v_j"], visible="v", method=method, n_iter=5
        )
        return machine.set_params(random_state=0).fit(rows).score_samples(X)

    better = scores(gaps) - scores(filled)
    assert better.mean() > Z_LIMIT * better.std() / np.sqrt(len(X))


def test_a_unit_that_no_row_tells_is_a_hidden_unit():
    """One group with an unknown column has the likelihood of two groups, one hidden."""
    X = (np.random.default_rng(0).random((20, 3)) < 0.4).astype(float)
    one = fb.BoltzmannMachine({"v": fb.Bernoulli(4)}, ["v_i v_j"], visible="v", n_iter=0)
    one.fit(np.c_[X, np.full(20, np.nan)])
    two = fb.BoltzmannMachine(
        {"v": fb.Bernoulli(3), "h": fb.Bernoulli(1)}, ["v_i v_j", "v_i h_k"], visible="v", n_iter=0
    ).fit(X)
    w = one.params_["v_i v_j"]
    two.params_ = {
        "v": one.params_["v"][:3],
        "h": one.params_["v"][3:],
        "v_i v_j": w[:3, :3],
        "v_i h_k": w[:3, 3:],
    }
    rows = np.c_[X, np.full(20, np.nan)]
    np.testing.assert_allclose(one.score_samples(rows), two.score_samples(X), rtol=1e-10)
    np.testing.assert_allclose(one.infer(rows)["v"][:, 3:], two.transform(X), rtol=1e-10)


def test_an_rbm_learns_what_rbm_learns(monkeypatch):
    monkeypatch.setattr(pair_loop, "MEAN_BITS", 20)  # the other's means are not rounded
    X = (np.random.default_rng(0).random((60, 6)) < 0.3).astype(np.float32)
    options = {"n_iter": 3, "random_state": 0, "method": "pcd"}
    rbm = fb.RBM(4, **options).fit(X)
    groups = {"v": fb.Bernoulli(6), "h": fb.Bernoulli(4)}
    machine = fb.BoltzmannMachine(groups, ["h_j v_i"], visible="v", **options).fit(X)
    for key, x in rbm.params_.items():
        np.testing.assert_allclose(machine.params_[key], x, rtol=1e-5, atol=1e-6, err_msg=key)
    np.testing.assert_allclose(machine.transform(X), rbm.transform(X), rtol=1e-5, atol=1e-6)
    assert machine.score(X) == pytest.approx(rbm.score(X), abs=1e-4)


@pytest.mark.parametrize("semi", [False, True], ids=["hybrid", "semi-supervised"])
def test_a_weighted_sum_of_likelihoods_learns_what_a_class_rbm_learns(semi, tmp_path):
    """To the byte; rows without a label are NaN in the label's group.

    Deliberate bug that this catches: labels that no row tells drawn, as single units are.
    """
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (60, 5)).astype(np.float64)
    y = (X[:, 0] + X[:, 1]).astype(int)
    Y = np.eye(3)[y]
    objective = [
        LogLikelihood("y", "v", negative="exact"),
        LogLikelihood(("v", "y"), weight=0.05, negative="cd"),
    ]
    if semi:
        y[::3], Y[::3] = -1, np.nan
        objective.append(LogLikelihood("v", weight=0.2, negative="cd", without="y"))
    options = {"n_iter": 4, "batch_size": 10, "learning_rate": 0.1, "random_state": 0}
    kind = "semi-supervised" if semi else "hybrid"
    special_case = fb.RBMClassifier(4, objective=kind, alpha=0.05, beta=0.2, **options).fit(X, y)
    terms = [t.name for t in special_case.energy_.terms]
    groups = {"v": "bernoulli", "h": fb.Bernoulli(4), "y": fb.Categorical(3)}
    machine = fb.BoltzmannMachine(groups, terms, visible=("v", "y"), objective=objective, **options)
    clone(machine).fit({"v": X, "y": Y}).save(tmp_path / "machine")
    for found in (machine.fit({"v": X, "y": Y}), fb.load(tmp_path / "machine")):
        assert set(found.params_) == set(special_case.params_)
        for key, x in special_case.params_.items():
            np.testing.assert_array_equal(found.params_[key], x)
    # p(y | v) is what is inferred of an unknown label.
    p = machine.infer({"v": X, "y": np.full_like(Y, np.nan)})["y"]
    np.testing.assert_allclose(p, special_case.predict_proba(X), rtol=1e-9)


def test_a_group_that_a_row_tells_nothing_of_keeps_it_out_and_single_units_are_drawn():
    """On average over the draws, the gradient of what is known of the rows with a label.

    Deliberate bug that this catches: a label that is unknown as a whole drawn like a single unit.
    """
    entry = BY_NAME["class RBM"]
    params = entry.parameters()
    of = tuple(g for g in entry.groups if g in ("v", "y"))
    data = _data(entry, of, (), n=12)
    data["y"] = entry.states(12, seed=3)["y"]
    data["y"][::4] = np.nan
    labelled = ~np.isnan(data["y"].reshape(12, -1)[:, 0])
    assert np.isnan(data["v"][labelled]).any()
    one = LogLikelihood(of, negative="exact")
    exact = ObjectiveOfKnown(entry.energy, one, n_threads=1)
    expected, _, _ = exact.step(params, {g: x[labelled] for g, x in data.items()}, exact.init(0))
    drawing = ObjectiveOfKnown(entry.energy, one, n_threads=1, whole=True)
    n = 1500
    found = [drawing.step(params, data, drawing.init(seed))[0] for seed in range(n)]
    for key, x in expected.items():
        draws = np.array([f[key] for f in found])
        error = draws.std(axis=0, ddof=1) / np.sqrt(n) + 1e-12
        assert (np.abs(draws.mean(axis=0) - labelled.mean() * x) < Z_LIMIT * error + 1e-9).all()


def test_chains_of_gibbs_inference_have_random_numbers_of_their_own_beyond_the_first_rows(
    monkeypatch,
):
    """Rows are worked on some at a time; a row's draws do not depend on how many are in its part.

    Deliberate bug that this catches: the last part's rows at the addresses of others before.
    """
    monkeypatch.setattr("fastboltz.models.boltzmann_machine.CHUNK_ROWS", 100)
    monkeypatch.setattr("fastboltz.models.base.CHUNK_ROWS", 100)
    machine = fb.BoltzmannMachine(
        {"v": "bernoulli", "h": fb.Bernoulli(16)}, ["v_i h_j"], visible="v", n_iter=0
    ).fit(np.ones((130, 2)))
    means = machine.infer(np.ones((130, 2)), "gibbs", n_steps=4, random_state=0)["h"]
    assert len(np.unique(means, axis=0)) == 130
    longer = machine.infer(np.ones((199, 2)), "gibbs", n_steps=4, random_state=0)["h"]
    np.testing.assert_array_equal(longer[:130], means)


@pytest.mark.parametrize(("share", "single"), [(0.0, True), (0.2, True), (0.2, False)])
def test_the_number_of_threads_changes_nothing(share, single):
    X = (np.random.default_rng(0).random((80, 12)) < 0.3).astype(np.float32 if single else float)
    X[np.random.default_rng(1).random(X.shape) < share] = np.nan
    groups = {"v": fb.Bernoulli(12), "h": fb.Bernoulli(9)}
    fits = [
        fb.BoltzmannMachine(
            groups, ["h_j v_i"], visible="v", n_iter=3, n_threads=t, random_state=0
        ).fit(X)
        for t in (1, 2)
    ]
    for key, x in fits[0].params_.items():
        assert np.isfinite(x).all()
        np.testing.assert_array_equal(x, fits[1].params_[key])
    np.testing.assert_array_equal(fits[0].transform(X), fits[1].transform(X))
    np.testing.assert_array_equal(fits[0].sample(7), fits[1].sample(7))


# -------------------------------------------------------------------------------------------- face


def _pair(**options):
    groups = {"x": fb.Bernoulli(3), "y": fb.Bernoulli(2), "h": fb.Bernoulli(2)}
    options = {"visible": "y", "given": "x", "n_iter": 1, "random_state": 0} | options
    return fb.BoltzmannMachine(groups, ["x_i y_j h_k"], **options)


def _pair_data(n=6):
    rng = np.random.default_rng(0)
    return {g: (rng.random((n, k)) < 0.5).astype(float) for g, k in (("x", 3), ("y", 2))}


def test_the_repr_reports_the_conditionals():
    text = repr(_pair())
    assert text.startswith("BoltzmannMachine(")
    assert "one Gibbs sweep     {x} -> {y} -> {h}" in text
    open_ = fb.BoltzmannMachine({"v": "gaussian", "h": fb.Bernoulli(2)}, ["v_i h_j"], visible="v")
    assert "one Gibbs sweep" not in repr(open_)  # the data give the size
    assert "Gaussian(3)" in repr(open_.fit(np.random.default_rng(0).normal(size=(5, 3))))


def test_groups_of_several_axes_are_taken_in_their_shape_or_as_rows():
    X = (np.random.default_rng(0).random((20, 2, 3)) < 0.5).astype(float)
    groups = {"v": fb.Bernoulli(2, 3), "h": fb.Bernoulli(2)}
    options = {"visible": "v", "n_iter": 2, "random_state": 0}
    shaped = fb.BoltzmannMachine(groups, ["v_ij h_k"], **options).fit({"v": X})
    flat = fb.BoltzmannMachine(groups, ["v_ij h_k"], **options).fit(X.reshape(20, 6))
    for key, x in shaped.params_.items():
        np.testing.assert_array_equal(x, flat.params_[key])
    assert shaped.sample(3).shape == (3, 6)


def test_sparse_rows_are_what_their_dense_ones_are():
    X = (np.random.default_rng(0).random((30, 5)) < 0.3).astype(float)
    groups = {"v": "bernoulli", "h": fb.Bernoulli(2)}
    make = fb.BoltzmannMachine(groups, ["v_i h_j"], visible="v", n_iter=2, random_state=0)
    dense, thin = clone(make).fit(X), clone(make).fit(sparse.csr_matrix(X))
    for key, x in dense.params_.items():
        np.testing.assert_allclose(thin.params_[key], x, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(dense.transform(X), dense.transform(sparse.csr_matrix(X)))


def test_a_pickled_model_goes_on_as_the_model_would():
    data = _pair_data()
    model = _pair().fit(data)
    copy = pickle.loads(pickle.dumps(model))
    model.partial_fit(data)
    copy.partial_fit(data)
    for key, x in model.params_.items():
        np.testing.assert_array_equal(copy.params_[key], x)
    np.testing.assert_array_equal(
        *(m.sample(given={"x": data["x"]}, random_state=1) for m in (copy, model))
    )
    assert copy.n_iter_ == model.n_iter_ == 2


def test_one_given_row_serves_for_all_samples_and_known_units_stay():
    data = _pair_data()
    model = _pair().fit(data)
    assert model.sample(5, given={"x": data["x"][0]}).shape == (5, 2)
    assert model.sample(given={"x": data["x"]}).shape == (6, 2)
    held = model.sample(4, given={"x": data["x"][0], "y": [1.0, np.nan]})
    assert (held[:, 0] == 1).all()
    both = _pair(visible=("x", "y"), given=()).fit(data)
    assert {g: x.shape for g, x in both.sample(3).items()} == {"x": (3, 3), "y": (3, 2)}


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, pd.DataFrame], ids=repr)
@pytest.mark.parametrize("unsized", [None, "x", "y"])
def test_groups_side_by_side_in_one_table_are_those_of_a_dict(kind, unsized):
    """Catches groups taken in another order than that of visible, then given."""
    data = _pair_data()
    table = np.hstack([data["y"], data["x"]])
    table = pd.DataFrame(table, columns=list("abcde")) if kind is pd.DataFrame else kind(table)
    model = _pair()
    if unsized is not None:
        model.groups = model.groups | {unsized: "bernoulli"}
    expected = _pair().fit(data)
    model.fit(table)
    assert model.n_features_in_ == expected.n_features_in_ == 5
    for key, x in expected.params_.items():
        np.testing.assert_allclose(model.params_[key], x, rtol=1e-6, atol=1e-9, err_msg=key)
    for ask in ("transform", "score_samples", "free_energy"):
        found = getattr(model, ask)(table)
        np.testing.assert_allclose(found, getattr(model, ask)(data), rtol=1e-6)
    if kind is not pd.DataFrame:
        with pytest.raises(ValueError, match="X has 4 features, but BoltzmannMachine is expectin"):
            model.partial_fit(table[:, :4])
    else:
        with pytest.raises(ValueError, match="Feature names must be in the same order"):
            model.transform(table[list("bacde")])


def test_a_grid_search_splits_the_rows_of_several_groups():
    data = _pair_data()
    table = np.tile(np.hstack([data["y"], data["x"]]), (4, 1))
    grid = {"learning_rate": [1e-6, 0.5]}
    search = GridSearchCV(_pair(), grid, cv=2, error_score="raise").fit(table)
    halves = [np.arange(12), np.arange(12, 24)]
    for k, rate in enumerate(grid["learning_rate"]):
        for fold, (held, rows) in enumerate([halves, halves[::-1]]):
            model = _pair(learning_rate=rate)
            model.fit({"y": table[rows, :2], "x": table[rows, 2:]})
            expected = model.score({"y": table[held, :2], "x": table[held, 2:]})
            found = search.cv_results_[f"split{fold}_test_score"][k]
            assert found == pytest.approx(expected, rel=1e-12)


def test_columns_of_a_table_are_not_remembered_of_a_dict():
    """Catches a model that refuses the very arrays that it has learnt from last."""
    groups = {"v": "bernoulli", "h": fb.Bernoulli(2)}
    machine = fb.BoltzmannMachine(groups, ["v_i h_j"], visible="v", n_iter=1, random_state=0)
    machine.fit(pd.DataFrame(np.eye(5), columns=list("abcde")))
    machine.fit({"v": np.eye(3)})
    assert machine.n_features_in_ == 3
    assert not hasattr(machine, "feature_names_in_")
    assert machine.transform(np.eye(3)).shape == (3, 2)


def _nan(x):
    x = x.copy()
    x[0, 0] = np.nan
    return x


D = _pair_data()
SENTENCES = [
    (
        {},
        [[0.0, 1.0]],
        ValueError,
        "X has 2 columns, but the observed groups take, side by side, 'y' 2, 'x' 3; give as many",
    ),
    (
        {"groups": {"x": fb.Bernoulli(5), "y": "bernoulli", "h": fb.Bernoulli(2)}},
        np.zeros((2, 5)),
        ValueError,
        "X has 5 columns, but the observed groups take, side by side, 'y' at least 1, 'x' 5;",
    ),
    (
        {"groups": {"x": "bernoulli", "y": fb.Bernoulli, "h": fb.Bernoulli(2)}},
        np.zeros((2, 5)),
        TypeError,
        "X must be a dict of arrays, one for each observed group ('y', 'x'); got ndarray. It may "
        "be one table where at most one group has no size: give those of 'y', 'x', e.g. groups=",
    ),
    (
        {},
        {"y": D["y"]},
        ValueError,
        "X has no rows for the observed group 'x' (it has 'y'); add X['x'].",
    ),
    ({}, {**D, "h": D["y"]}, ValueError, "X names the unknown group 'h'; the energy has 'y', 'x'."),
    (
        {},
        {"x": D["x"], "y": D["y"][:4]},
        ValueError,
        "needs the same number of rows; X['y'] has 4, X['x'] has 6.",
    ),
    (
        {},
        {"x": D["y"], "y": D["y"]},
        ValueError,
        "X['x'] has 2 columns, but group 'x' is Bernoulli(3); expected 3",
    ),
    (
        {},
        {"x": _nan(D["x"]), "y": D["y"]},
        ValueError,
        "X['x'] contains NaN, but group 'x' is given, so all of it must be known",
    ),
    (
        {},
        {"x": D["x"] + 5, "y": D["y"]},
        ValueError,
        "X['x'] has values in [5, 6]; Bernoulli units need [0, 1].",
    ),
    ({}, {"x": D["x"] + np.inf, "y": D["y"]}, ValueError, "infinity"),
    ({"visible": "z"}, D, ValueError, "visible names the unknown group 'z'"),
    ({"visible": ()}, D, ValueError, "visible names no group"),
    (
        {"visible": None},
        D,
        TypeError,
        "visible must be the name of a group or a list of names (the energy has 'x', 'y', 'h'); "
        "got None.",
    ),
    ({"given": 3}, D, TypeError, "given must be the name of a group or a list of names"),
    (
        {"terms": None},
        D,
        TypeError,
        "terms must be a list of couplings in index notation, e.g. ['v_i h_j']; got None.",
    ),
    (
        {"objective": "hybrid"},
        D,
        TypeError,
        "objective must be one or more of fastboltz.objectives.LogLikelihood, e.g. "
        "LogLikelihood('y', 'v', negative='exact'), or None; got 'hybrid'.",
    ),
    ({"objective": []}, D, TypeError, "or None; got []."),
    (
        {"objective": LogLikelihood("h", "x", negative="exact")},
        D,
        ValueError,
        "objective: log p(h | x) needs group 'h', which is not visible; visible is 'y'.",
    ),
    (
        {"objective": LogLikelihood("y", ("x", "h"), negative="exact")},
        D,
        ValueError,
        "objective: log p(y | x, h) is given 'h', which the data do not give; name it in visible",
    ),
    (
        {"objective": LogLikelihood("y", negative="exact")},
        D,
        ValueError,
        "objective: log p(y | nothing) leaves 'x' open, but the model has given='x'; name it in",
    ),
    (
        {
            "visible": ("x", "y"),
            "given": (),
            "objective": LogLikelihood("y", negative="exact"),
        },
        D,
        ValueError,
        "visible names 'x', but no likelihood of objective does; name it in one, or leave it out.",
    ),
    (
        {
            "visible": ("x", "y"),
            "given": (),
            "objective": [LogLikelihood("y", "x", negative="exact")],
        },
        {"x": _nan(D["x"]), "y": D["y"]},
        ValueError,
        "X['x'] is known in part in row 0, but objective has a likelihood given 'x', which it",
    ),
    (
        {"groups": {"x": fb.Bernoulli(3), "y": fb.Categorical(4), "h": fb.Bernoulli(2)}},
        {"x": D["x"], "y": D["y"][:, :1]},
        ValueError,
        "X['y'] has 1 columns, but group 'y' is Categorical(4); expected 4, one an entry. "
        "Encode the columns with sklearn.preprocessing.OneHotEncoder.",
    ),
    (
        {"visible": ("x", "y"), "given": (), "objective": [LogLikelihood(("x", "y"))]},
        {"x": D["x"], "y": np.full((6, 2), np.nan)},
        ValueError,
        "no row has what a likelihood of objective needs: all 6 lack a group that it names.",
    ),
    ({"given": ("x", "y")}, D, ValueError, "group 'y' is named twice"),
    (
        {"method": "pdc"},
        D,
        ValueError,
        "method must be one of 'auto', 'pcd', 'cd', 'exact', 'tempered', 'trajectory'; got 'pdc'. "
        "Did you mean 'pcd'?",
    ),
    ({"method": "pcd"}, D, ValueError, "so nothing can be given"),
    ({"n_positive": 0}, D, ValueError, "n_positive must be a whole number >= 1; got 0."),
    ({"groups": [3]}, D, TypeError, "groups must be a dict of unit types"),
    (
        {"groups": {"x": fb.Bernoulli(3), "y": fb.Bernoulli(2), "h": "bernoulli"}},
        D,
        ValueError,
        "group 'h' is hidden, so the data do not give its size; give the unit with its size",
    ),
    (
        {"groups": {"x": "bernouli", "y": fb.Bernoulli(2), "h": fb.Bernoulli(2)}},
        D,
        ValueError,
        "Did you mean 'bernoulli'?",
    ),
]


@pytest.mark.parametrize(("options", "X", "error", "sentence"), SENTENCES)
def test_bad_input_gets_a_sentence(options, X, error, sentence):
    model = _pair().set_params(**options)
    with pytest.raises(error, match=re.escape(sentence)):
        model.fit(X)


def test_what_cannot_be_answered_says_why():
    data = _pair_data()
    model = _pair().fit(data)
    with pytest.raises(ValueError, match=re.escape("give its values in given['x']")):
        model.sample(3)
    with pytest.raises(ValueError, match=r"n_samples=2 rows, or one for all; given\['x'\] has 6"):
        model.sample(2, given=data | {"y": np.full((6, 2), np.nan)})
    with pytest.raises(ValueError, match=r"given\['x'\] has shape \(2,\); expected \(3,\)"):
        model.sample(2, given={"x": data["y"][0]})
    with pytest.raises(ValueError, match=r"given\['x'\] has shape \(\); expected \(3,\)"):
        model.sample(2, given={"x": 1})
    alone = fb.BoltzmannMachine({"v": "bernoulli"}, ["v_i v_j"], visible="v", n_iter=0)
    with pytest.raises(ValueError, match="no hidden group, so there is nothing to transform to"):
        alone.fit(data["x"]).transform(data["x"])
    real = fb.BoltzmannMachine({"v": "gaussian", "h": fb.Spin(2)}, ["v_i h_j"], visible="v")
    gaps = np.random.default_rng(0).normal(size=(8, 3))
    gaps[0, 0] = np.nan
    real.fit(gaps)  # drawn, never listed
    with pytest.raises(ValueError, match=re.escape("unknown units of continuous groups ('v')")):
        real.score_samples(gaps)
    groups = {"v": fb.Bernoulli(3), "h": fb.Bernoulli(30), "g": fb.Bernoulli(30)}
    deep = fb.BoltzmannMachine(groups, ["v_i h_j", "h_j g_k", "v_i g_k"], visible="v", n_iter=1)
    with pytest.raises(fb.NotEnumerableError, match=r"exact free energy needs 2\*\*30 states"):
        deep.fit(data["x"]).free_energy(data["x"])
    assert deep.transform(data["x"]).shape == (6, 60)


# ------------------------------------------------------------------------ scikit-learn's own checks

REAL = {"v": "gaussian", "h": fb.Bernoulli(3)}
CHECKED = [
    fb.BoltzmannMachine(REAL, ["v_i h_j"], visible="v", n_iter=2, batch_size=1000),
    fb.BoltzmannMachine(REAL, ["v_i h_j", "h_j h_k"], visible="v", n_iter=2, batch_size=1000),
]


@pytest.mark.filterwarnings(
    "ignore:group .* has values that are too large for Gaussian:UserWarning"
)
@parametrize_with_checks(CHECKED)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_likelihoods_given_rows_are_annealed_where_states_are_many(monkeypatch):
    """Held to the enumerated ones. Deliberate bug that this catches: log Z of v and x together."""
    from fastboltz.models import base

    rng = np.random.default_rng(0)
    x = (rng.random((40, 3)) < 0.5).astype(np.float64)
    v = np.repeat(x, 2, axis=1)
    groups = {"v": fb.Bernoulli(6), "x": fb.Bernoulli(3), "h": fb.Bernoulli(4)}
    machine = fb.BoltzmannMachine(
        groups, ["v_i h_j", "x_k h_j"], visible="v", given="x", n_iter=20, random_state=0
    ).fit({"v": v, "x": x})
    exact = machine.score_samples({"v": v, "x": x})
    monkeypatch.setattr(base, "AUTO_LOG2_STATES", 0)
    found = machine.score_samples({"v": v, "x": x})
    z = machine.conditional_log_partition({"x": x})
    assert z.method == "ais"
    assert (np.abs(found - exact) < 5 * z.standard_errors + 1e-6).all()
    assert (found != exact).all()


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.0, 1.0), (0.5, 0.0)])
def test_each_likelihood_completes_rows_from_what_it_sees_itself(weights):
    """``log p(v)`` beside ``log p(v, y)``, of which y would tell what is unknown of v: the gradient
    is that of differences of both, listed by hand."""
    energy = fb.Energy(
        {"v": fb.Bernoulli(3), "h": fb.Bernoulli(2), "y": fb.Categorical(2)},
        ["h_j v_i", "h_j y_k"],
    )
    params = energy.init(1, scale=1.0, dtype=np.float64)
    v = np.array([[1, np.nan, 0], [np.nan, 1, 1], [0, 0, np.nan]])
    y = np.eye(2)[[0, 1, 1]]

    def log_sum(p, known_v, known_y):
        states = itertools.product(itertools.product([0.0, 1.0], repeat=3), np.eye(2))
        total = -np.inf
        for x, label in states:
            x = np.array(x)
            if (np.abs(known_v - x) > 0).any():  # what is NaN may be anything
                continue
            if known_y is not None and (known_y != label).any():
                continue
            field = p["h"] + p["h_j v_i"] @ x + p["h_j y_k"] @ label
            free = np.logaddexp(0, field).sum()
            total = np.logaddexp(total, p["v"] @ x + p["y"] @ label + free)
        return total

    def value(p):
        z = log_sum(p, np.full(3, np.nan), None)
        alone, both = (
            np.mean([log_sum(p, a, b) - z for a, b in zip(v, labels, strict=True)])
            for labels in ([None] * 3, y)
        )
        return weights[0] * alone + weights[1] * both

    objective = ObjectiveOfKnown(
        energy,
        [
            LogLikelihood("v", weight=weights[0], negative="exact"),
            LogLikelihood(("v", "y"), weight=weights[1], negative="exact"),
        ],
        1,
        whole=True,
    )
    gradient, _, _ = objective.step(params, {"v": v, "y": y}, objective.init(0))
    for key, p in params.items():
        for at in np.ndindex(p.shape):
            ends = []
            for sign in (1, -1):
                p[at] += sign * 1e-5
                ends.append(value(params))
                p[at] -= sign * 1e-5
            slope = (ends[0] - ends[1]) / 2e-5
            assert gradient[key][at] == pytest.approx(slope, abs=1e-8), (key, at)
