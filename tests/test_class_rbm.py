"""Classifiers by an energy with a label: `RBMClassifier`, `ClassGatedRBMClassifier`,
`TwoGroupRBMClassifier`."""

from __future__ import annotations

import pickle
import re

import numpy as np
import oracles
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from test_objectives import _assert_gradient

import fastboltz as fb
from fastboltz import ClassGatedRBMClassifier, RBMClassifier, TwoGroupRBMClassifier
from fastboltz.optimizers import InverseTime

MODELS = {
    "class": (RBMClassifier, {}),
    "class, Gaussian": (RBMClassifier, {"visible": "gaussian"}),
    "class, spins": (RBMClassifier, {"hidden": "spin"}),
    "gated": (ClassGatedRBMClassifier, {}),
    "gated, factored": (ClassGatedRBMClassifier, {"n_factors": 2}),
    "two groups": (TwoGroupRBMClassifier, {"n_nuisance": 2}),
    "two groups, second order": (TwoGroupRBMClassifier, {"n_nuisance": 2, "order": 2}),
}
every_model = pytest.mark.parametrize("name", MODELS)


def _data(name="class", n=24, seed=0):
    rng = np.random.default_rng(seed)
    # Two Gaussian units: the oracle takes integrals over all of them together.
    X = rng.normal(size=(n, 2)) if "Gaussian" in name else rng.integers(0, 2, (n, 3)) * 1.0
    return X, rng.integers(0, 3, n)


def _fitted(name, **options):
    """A fitted model of a few visible and two hidden units, three labels."""
    kind, own = MODELS[name]
    options = {"n_components": 2, "n_iter": 2, "batch_size": 8, "random_state": 0} | own | options
    return kind(**options).fit(*_data(name))


def _with_parameters(name, seed=1, scale=0.7, **options):
    """The model with random parameters, and the oracle of its energy."""
    model = _fitted(name, **{"n_iter": 0} | options)
    kinds = {g: (u.name, u.shape) for g, u in model.energy_.groups.items()}
    machine = oracles.Machine(kinds, [t.name for t in model.energy_.terms])
    params = machine.random_parameters(np.random.default_rng(seed), scale=scale)
    for key, x in params.items():
        model.params_[key][...] = x
    return model, machine, params


def _says(sentence, error=ValueError):
    return pytest.raises(error, match="^" + re.escape(sentence))


# ------------------------------------------------------------------------------- what it answers


@every_model
def test_probabilities_are_those_of_enumeration(name):
    """Deliberate bug that this catches: columns in another order than classes_."""
    model, machine, params = _with_parameters(name)
    X, _ = _data(name)
    joint = [
        machine.log_partition(params, {"v": X, "y": np.eye(3)[np.full(len(X), k)]})
        for k in range(3)
    ]
    expected = np.stack(joint, axis=1) - machine.log_partition(params, {"v": X})[:, None]
    log_p = model.predict_log_proba(X)
    np.testing.assert_allclose(log_p, expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(X), np.exp(expected), rtol=1e-8)
    np.testing.assert_array_equal(model.decision_function(X), log_p)
    np.testing.assert_array_equal(model.predict(X), model.classes_[expected.argmax(axis=1)])


@every_model
def test_features_are_expected_hidden_units(name):
    model, machine, params = _with_parameters(name)
    X, y = _data(name, n=6)
    for data, found in (
        ({"v": X}, model.transform(X)),
        ({"v": X, "y": np.eye(3)[y]}, model.transform(X, y)),
    ):
        for row in range(len(X)):
            one = {g: x[row : row + 1] for g, x in data.items()}
            np.testing.assert_allclose(found[row], machine.moments(params, one)["h"], rtol=1e-7)
    if "two groups" in name:
        found = model.transform_nuisance(X)
        for row in range(len(X)):
            moments = machine.moments(params, {"v": X[row : row + 1]})
            np.testing.assert_allclose(found[row], moments["g"], rtol=1e-7)


@every_model
def test_log_likelihoods_are_those_of_enumeration(name):
    model, machine, params = _with_parameters(name, scale=0.4)
    X, y = _data(name, n=6)
    log_z = machine.log_partition(params)
    for data, found in (
        ({"v": X}, model.score_samples(X)),
        ({"v": X, "y": np.eye(3)[y]}, model.score_samples(X, y)),
    ):
        expected = machine.log_partition(params, data) - log_z
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("objective", ["hybrid", "discriminative", "generative", "semi-supervised"])
@every_model
def test_each_objective_is_what_its_name_says(name, objective):
    """Its gradient against finite differences of the enumerated sum over rows."""
    if "two groups" in name and objective == "discriminative":
        pytest.skip("it would learn nothing of g, and is refused")
    alpha, beta = 0.3, 0.6
    options = {"objective": objective, "alpha": alpha, "beta": beta, "method": "exact"}
    model, machine, params = _with_parameters(name, scale=0.4, **options)
    X, y = _data(name, n=4)
    labels = np.eye(3)[y]
    if objective == "semi-supervised":
        labels[0] = np.nan

    known = ~np.isnan(labels).any(axis=1)
    labelled, others = {"v": X[known], "y": labels[known]}, {"v": X[~known]}

    def enumerated(p):
        """A sum over the rows that each part applies to, divided by all rows."""
        total = 0.0
        if objective != "generative":
            total += known.sum() * machine.log_likelihood(p, labelled, ("y",), ("v",))
        if objective != "discriminative":
            weight = 1.0 if objective == "generative" else alpha
            total += weight * known.sum() * machine.log_likelihood(p, labelled, ("v", "y"))
        if len(others["v"]):
            total += beta * len(others["v"]) * machine.log_likelihood(p, others, ("v",))
        return total / 4

    gradient = model._objective(model.energy_, 1).gradient(params, {"v": X, "y": labels})
    entry = type("Entry", (), {"machine": machine})
    _assert_gradient(entry, params, gradient, enumerated)


N_DRAWS = 10_000


@pytest.mark.parametrize("label", [None, 1], ids=["label drawn", "label held"])
@pytest.mark.parametrize("name", [n for n in MODELS if "Gaussian" not in n])
def test_samples_have_the_exact_distribution(name, label):
    """40 sweeps forget the start at these weights. Deliberate bug that this catches: a held label
    that is drawn all the same."""
    model, machine, params = _with_parameters(name)
    X, y = model.sample(N_DRAWS, label, n_steps=40, random_state=2)
    observed = oracles.Machine({g: machine.groups[g] for g in "vy"}, [])
    states = observed.grid()[0]
    log_p = machine.log_partition(params, states)
    if label is not None:
        log_p = np.where(states["y"][:, label] == 1, log_p, -np.inf)
        assert (y == label).all()
    p = np.exp(log_p - np.logaddexp.reduce(log_p))
    order = np.empty(len(p))
    order[observed.code(states)] = p
    cells = observed.code({"v": X, "y": np.eye(3)[y]})
    assert oracles.total_variation(order, cells) <= oracles.total_variation_bound(order, N_DRAWS)


# --------------------------------------------------------------------------------- what it learns


def _digits():
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = (X[order] / 16).astype(np.float32), y[order]
    return X[:1200], y[:1200], X[1200:], y[1200:]


@pytest.mark.parametrize(
    ("model", "least"),
    [
        # A linear softmax has 0.96 to 0.97 here; no more than a tenth of the errors of chance is
        # asked of models that maximise a likelihood.
        (RBMClassifier(50, objective="discriminative", n_iter=40, learning_rate=1.0), 0.95),
        (RBMClassifier(50, n_iter=40, learning_rate=1.0), 0.95),
        (RBMClassifier(50, objective="generative", n_iter=40), 0.91),
        (ClassGatedRBMClassifier(30, n_iter=20), 0.95),
        (ClassGatedRBMClassifier(30, n_factors=50, n_iter=20), 0.91),
        (TwoGroupRBMClassifier(30, n_nuisance=30, n_iter=20), 0.95),
        (TwoGroupRBMClassifier(30, n_nuisance=30, order=2, n_iter=40), 0.91),
    ],
    ids=lambda x: None if isinstance(x, float) else repr(x),
)
def test_digits_are_told_apart(model, least):
    X, y, X_test, y_test = _digits()
    model = clone(model).set_params(random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > least


def test_unlabelled_rows_help_and_the_mark_is_no_class():
    """100 labels, 1100 rows without."""
    X, y, X_test, y_test = _digits()
    some = np.where(np.arange(len(y)) < 100, y, -1)
    options = {"n_iter": 20, "random_state": 0, "learning_rate": 0.5}
    both = ClassGatedRBMClassifier(30, objective="semi-supervised", **options).fit(X, some)
    assert list(both.classes_) == list(range(10))
    assert both.score(X_test, y_test) > 0.8


def test_without_labels_minus_one_is_a_label_elsewhere():
    X, y = _data()
    signs = np.where(y == 0, -1, 1)
    model = RBMClassifier(2, n_iter=1, random_state=0).fit(X, signs)
    assert list(model.classes_) == [-1, 1]


def test_the_decrement_is_taken_off_the_hidden_biases_after_each_update():
    """One update of all rows: the same but for delta. Deliberate bug that this catches: delta times
    the learning rate."""
    plain = _fitted("class", n_iter=1, batch_size=24)
    sparse = _fitted("class", n_iter=1, batch_size=24, bias_decrement=0.125)
    np.testing.assert_allclose(
        sparse.intercept_hidden_, plain.intercept_hidden_ - 0.125, rtol=1e-12
    )
    for key in plain.params_:
        if key != "h":
            np.testing.assert_array_equal(sparse.params_[key], plain.params_[key])


def test_the_decrement_falls_as_the_learning_rate_does():
    """Two updates with rates of 0.5 and 0.125: the second one takes a quarter of the first one's.

    Deliberate bug that this catches: the same decrement while gradients count for less and less.
    """
    options = {"objective": "discriminative", "batch_size": 6, "n_iter": 2, "centered": False}
    options |= {"learning_rate": InverseTime(0.5, 1 / 3), "random_state": 0}
    # Rows of zeros leave the biases alone nearly, whatever the decrement is.
    X, y = np.zeros((6, 3)), [0, 1, 2, 0, 1, 2]
    plain = RBMClassifier(2, **options).fit(X, y)
    sparse = RBMClassifier(2, bias_decrement=0.25, **options).fit(X, y)
    taken = plain.intercept_hidden_ - sparse.intercept_hidden_
    np.testing.assert_allclose(taken, 0.25 * (1 + 1 / 4), atol=1e-2)


@pytest.mark.parametrize(("objective", "strength"), [("generative", 2.0), ("hybrid", 0.5)])
def test_sparsity_pulls_the_mean_activity_of_hidden_units_by_their_biases(objective, strength):
    """One update of all rows: ``rate * strength * (target - mean activity)`` more, the strength as
    much as log p(v, y) weighs, from the bias of the target.

    Deliberate bugs that this catches: the sign, a strength that alpha does not weigh, and nuisance
    units left out.
    """
    options = {"objective": objective, "alpha": 0.25, "centered": False, "batch_size": 24}
    options |= {"learning_rate": 0.5, "sparsity": 2.0, "activity": 0.2}
    start, found = (_fitted("two groups", n_iter=n, **options) for n in (0, 1))
    X, y = _data()
    order = fb.rng.permutation(fb.rng.Address.of(start._seed, "shuffle"), 24)
    batch = {"v": X[order], "y": start._one_hot(start._numbers(y[order], "y"), X.dtype)}
    step = start._objective(start.energy_, 1).step
    gradient, means, _ = step(start.params_, batch, start._training.phases)
    for g in "hg":
        np.testing.assert_allclose(start.params_[g], np.log(0.2 / 0.8), rtol=1e-6)
        expected = start.params_[g] + 0.5 * (gradient[g] + strength * (0.2 - means[g]))
        np.testing.assert_allclose(found.params_[g], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["class", "two groups"])
def test_a_minibatch_that_teaches_nothing_changes_nothing(name):
    """Catches hidden units that are taken for resting where nothing is known of them, by the pull
    of their activities and by the offsets of centring, at the first minibatch or later."""
    X, y = _data(name, 40)
    options = {"objective": "semi-supervised", "beta": 0.0, "alpha": 0.5, "sparsity": 1.0}
    model = _fitted(name, **options)
    params = {key: x.copy() for key, x in model.params_.items()}
    offsets = {g: x.copy() for g, x in model._training.offsets.items()}
    model.partial_fit(X, np.full(40, -1))
    for key, x in params.items():
        np.testing.assert_array_equal(model.params_[key], x, err_msg=key)
    for g, x in offsets.items():
        np.testing.assert_array_equal(model._training.offsets[g], x, err_msg=g)
    # Offsets begin at the first minibatch that knows the groups.
    trainer = model._trainer(model.energy_)
    state = trainer.init(model.params_, 0)
    for labels in (np.full(40, -1), y):
        one_hot = model._one_hot(model._numbers(labels, "y"), X.dtype)
        trainer.update(model.params_, {"v": X, "y": one_hot}, state)
    np.testing.assert_allclose(state.offsets["y"], one_hot.mean(axis=0), rtol=1e-6)


def test_early_stopping_keeps_the_best_epoch():
    """At a rate that is far too high the error goes up and down; what is kept is the lowest."""
    X, y, X_test, y_test = _digits()
    kept = {}

    def keep(progress):
        kept[progress.state.epoch] = {k: x.copy() for k, x in progress.params.items()}

    model = RBMClassifier(
        20, objective="discriminative", learning_rate=8.0, n_iter=30, n_iter_no_change=4,
        callbacks=[keep], random_state=0,
    )  # fmt: skip
    model.fit(X[:300], y[:300], validation=(X_test, y_test))
    errors = model.history_["validation_error"]
    assert model.n_iter_ == len(errors) == min(model.best_iter_ + 4, 30) > model.best_iter_
    assert errors[model.best_iter_ - 1] == min(errors)
    assert 1 - model.score(X_test, y_test) == pytest.approx(min(errors))
    for key, x in kept[model.best_iter_].items():
        np.testing.assert_array_equal(model.params_[key], x)
    assert any((kept[model.n_iter_][key] != x).any() for key, x in model.params_.items())


def test_rows_held_out_are_not_trained_on():
    """The rows of the fraction are labelled ones, and a model that never sees them starts from
    other moments."""
    X, y = _data(n=40)
    model = RBMClassifier(
        2, early_stopping=True, validation_fraction=0.25, n_iter=2, random_state=0
    )
    labels = np.where(np.arange(40) < 20, y, -1)
    model.set_params(objective="semi-supervised").fit(X, labels)
    rows, held = model._hold_out(np.where(labels >= 0, labels, -1))
    assert len(held) == 5
    assert (labels[held] >= 0).all()
    assert sorted([*rows, *held]) == list(range(40))
    assert set(model.history_) > {"validation_error", "validation_log_likelihood"}


@pytest.mark.parametrize(
    ("sizes", "fraction", "expected"),
    [
        ((50, 50), 0.1, {(5, 5)}),
        ((900, 60, 40), 0.1, {(90, 6, 4)}),
        ((97, 2, 1), 0.1, {(10, 0, 0)}),
        ((97, 2, 1), 0.3, {(29, 1, 0)}),
        ((6, 3, 1), 0.5, {(3, 2, 0)}),
        ((2, 1), 0.1, {(1, 0)}),
        # One row of two classes of one size: either of them.
        ((5, 5), 0.1, {(1, 0), (0, 1)}),
    ],
    ids=str,
)
def test_as_much_of_each_class_is_held_out(sizes, fraction, expected):
    """Catches rare classes that only early stopping sees, and common ones that it does not see."""
    found, chosen = set(), set()
    for seed in range(20):
        numbers = np.repeat([*range(len(sizes)), -1], [*sizes, 7])
        numbers = np.random.default_rng(seed).permutation(numbers)
        model = RBMClassifier(2, validation_fraction=fraction, random_state=seed)
        rows, held = model._hold_out(numbers)
        assert sorted([*rows, *held]) == list(range(len(numbers)))
        found.add(tuple(np.bincount(numbers[held], minlength=len(sizes)).tolist()))
        chosen.add(held.tobytes())
        assert set(numbers[rows]) == set(numbers)
    assert found == expected
    assert len(chosen) > 5


@pytest.mark.parametrize("objective", ["discriminative", "semi-supervised"])
def test_held_out_rows_count_by_their_weights(objective):
    """Catches rows without a weight that say when to stop, and held-out rows that are all alike."""
    X, y = _data(n=60)
    random = np.random.default_rng(1)
    labels = np.where(np.arange(60) < 45, y, -1) if objective == "semi-supervised" else y
    weight = np.where(random.random(60) < 0.4, 0, random.exponential(size=60))
    measured = []

    def measure(progress):
        log_p = progress.model.predict_log_proba(X[held])
        wrong = log_p.argmax(axis=1) != labels[held]
        fit = log_p[np.arange(len(held)), labels[held]]
        measured.append([np.average(x, weights=weight[held]) for x in (wrong, fit)])

    model = RBMClassifier(
        2, objective=objective, early_stopping=True, validation_fraction=0.3, n_iter=3,
        learning_rate=2.0, batch_size=10, callbacks=[measure], random_state=0,
    )  # fmt: skip
    _, held = model._hold_out(labels, weight)
    assert (weight[held] > 0).all()
    assert len(held) == round(0.3 * ((weight > 0) & (labels >= 0)).sum())
    model.fit(X, labels, sample_weight=weight)
    for k, name in enumerate(("validation_error", "validation_log_likelihood")):
        np.testing.assert_allclose(model.history_[name], [x[k] for x in measured], rtol=1e-6)
    # The one row of the second class that has a weight is learnt from.
    weight = np.where(labels == 1, 0, 1.0)
    weight[np.flatnonzero(labels == 1)[0]] = 1
    rows, _ = model._hold_out(labels, weight)
    assert weight[rows][labels[rows] == 1].any()


@every_model
def test_partial_fit_and_pickles_go_on_as_one_training(name):
    X, y = _data(name)
    kind, own = MODELS[name]
    model = kind(2, batch_size=8, random_state=0, **own)
    with _says("the first call of partial_fit needs classes=, all labels"):
        model.partial_fit(X, y)
    model.partial_fit(X[:10], y[:10], classes=[0, 1, 2])
    copy = pickle.loads(pickle.dumps(model))
    copy.partial_fit(X, y)
    model.partial_fit(X, y)
    for key, x in model.params_.items():
        np.testing.assert_array_equal(copy.params_[key], x)
    np.testing.assert_array_equal(copy.sample(3)[0], model.sample(3)[0])


def test_labels_may_be_words():
    X, y = _data()
    words = np.array(["left", "middle", "right"])[y]
    a, b = (RBMClassifier(2, n_iter=2, random_state=0).fit(X, labels) for labels in (y, words))
    np.testing.assert_array_equal(b.predict(X), np.array(["left", "middle", "right"])[a.predict(X)])
    assert (b.sample(4, "middle")[1] == "middle").all()


@pytest.mark.parametrize("kind", ["array of objects", "series", "list", "text", "numbers"])
@pytest.mark.parametrize("model", ["class", "point-wise"])
def test_rows_without_a_label_may_stand_beside_labels_of_any_kind(kind, model):
    """-1 marks them beside text too, as in scikit-learn, whatever NumPy makes of the mixture."""
    X, y = _data()
    words = np.array(["left", "middle", "right"])
    mixed = words[y].astype(object)
    mixed[::3] = -1
    marked = np.where(np.arange(len(y)) % 3 == 0, -1, y)
    classes, given = {
        "array of objects": (words, mixed),
        "series": (words, pd.Series(mixed)),
        "list": (words, mixed.tolist()),
        "text": (words, np.array(mixed.tolist())),
        "numbers": ([0, 1, 2], marked.astype(object)),
    }[kind]
    options = {"objective": "semi-supervised", "n_iter": 2, "random_state": 0}
    make = RBMClassifier if model == "class" else fb.PointwiseGatedRBMClassifier
    found = make(3, **options).fit(X, given)
    np.testing.assert_array_equal(found.classes_, classes)
    same = make(3, **options).fit(X, marked)
    for key, x in same.params_.items():
        np.testing.assert_array_equal(found.params_[key], x)
    np.testing.assert_array_equal(found.predict(X), np.asarray(classes)[same.predict(X)])
    # The labels of the first partial_fit may be those of y as they stand, the mark among them.
    again = make(3, **options).partial_fit(X, given, classes=given)
    np.testing.assert_array_equal(again.classes_, classes)


def test_the_score_of_a_semi_supervised_model_is_that_of_the_labelled_rows():
    """So that a grid search over partly labelled rows compares what can be compared."""
    X, y = _data()
    marked = np.where(np.arange(len(y)) % 3 == 0, -1, y)
    weight = np.arange(1.0, len(y) + 1)
    model = RBMClassifier(3, objective="semi-supervised", n_iter=5, random_state=0).fit(X, marked)
    right, known = model.predict(X) == y, marked >= 0
    assert model.score(X, marked) == pytest.approx(right[known].mean())
    expected = np.average(right[known], weights=weight[known])
    assert model.score(X, marked, sample_weight=weight) == pytest.approx(expected)
    with _says("y labels no row; a score needs rows with a label."):
        model.score(X, np.full(len(y), -1))
    search = GridSearchCV(model, {"n_components": [2, 3]}, cv=2).fit(X, marked)
    assert search.cv_results_["mean_test_score"].min() > 0


@every_model
def test_the_number_of_threads_changes_nothing(name):
    one, three = (_fitted(name, n_threads=k) for k in (1, 3))
    for key, x in one.params_.items():
        np.testing.assert_array_equal(x, three.params_[key])


def test_weights_are_where_they_are_said_to_be():
    model, _, params = _with_parameters("class")
    assert model.components_.shape == (2, 3)
    assert model.class_components_.shape == (2, 3)
    assert np.shares_memory(model.components_, model.params_[model.energy_.terms[0].name])
    np.testing.assert_array_equal(model.intercept_class_, params["y"])
    assert _fitted("gated").components_.shape == (3, 2, 3)
    assert _fitted("two groups").components_.shape == (3, 2, 3)
    assert _fitted("two groups, second order").components_.shape == (2, 3)
    assert _fitted("two groups").nuisance_components_.shape == (2, 3)
    with pytest.raises(AttributeError, match="with n_factors=2 the weights are never formed"):
        _ = _fitted("gated, factored").components_
    with pytest.raises(AttributeError, match="call fit first"):
        _ = RBMClassifier().components_


# ---------------------------------------------------------------------------- what it is told


@pytest.mark.parametrize("method", ["cd", "pcd"])
def test_a_training_goes_on_with_another_objective(method):
    """A generative start, then the classifier that is wanted."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    X = ((rng.random((200, 8)) < 0.1) ^ (y[:, None] > 0)).astype(np.float32)
    model = RBMClassifier(6, objective="generative", method=method, random_state=0)
    for objective in ("generative", "hybrid", "discriminative", "generative", "semi-supervised"):
        model.set_params(objective=objective)
        for _ in range(5):
            model.partial_fit(X, y, classes=[0, 1])
    assert model.score(X, y) > 0.95


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"objective": "hybird"},
            ValueError,
            "objective must be one of 'hybrid', 'discriminative', 'generative', 'semi-supervised'; "
            "got 'hybird'. Did you mean 'hybrid'?",
        ),
        ({"alpha": -1}, ValueError, "alpha must be >= 0; got -1."),
        ({"beta": "1"}, TypeError, "beta must be a number; got '1'."),
        ({"bias_decrement": -0.1}, ValueError, "bias_decrement must be >= 0; got -0.1."),
        ({"sparsity": -0.1}, ValueError, "sparsity must be >= 0; got -0.1."),
        ({"activity": 0.0}, ValueError, "activity must be > 0 and < 1; got 0.0."),
        (
            {"sparsity": 1, "hidden": "gaussian"},
            ValueError,
            "sparsity=1 pulls the mean of units in {0, 1}, but hidden is 'gaussian'; use "
            "hidden='bernoulli' or sparsity=0.",
        ),
        (
            {"validation_fraction": 1.0},
            ValueError,
            "validation_fraction must be > 0 and < 1; got 1.0.",
        ),
        (
            {"n_iter_no_change": 0},
            ValueError,
            "n_iter_no_change must be a whole number >= 1; got 0.",
        ),
        ({"n_components": 0}, ValueError, "n_components must be a whole number >= 1; got 0."),
        ({"early_stopping": "yes"}, TypeError, "early_stopping must be True or False; got 'yes'."),
    ],
    ids=repr,
)
def test_parameters_that_make_no_sense_are_refused(options, error, sentence):
    with _says(sentence, error):
        RBMClassifier(**options).fit(*_data())


def test_parameters_of_one_model_that_make_no_sense_are_refused():
    X, y = _data()
    with _says("n_factors must be a whole number >= 1; got 0."):
        ClassGatedRBMClassifier(2, n_factors=0).fit(X, y)
    with _says("order must be 3 (the label gates the weights of h) or 2 (it adds to the field"):
        TwoGroupRBMClassifier(2, order=4).fit(X, y)
    with _says("objective='discriminative' learns nothing of the n_nuisance units, which cancel"):
        TwoGroupRBMClassifier(2, objective="discriminative").fit(X, y)
    with _says("objective='hybrid' with alpha=0 learns nothing of the n_nuisance units, which"):
        TwoGroupRBMClassifier(2, alpha=0).fit(X, y)
    semi = TwoGroupRBMClassifier(2, alpha=0, objective="semi-supervised", n_iter=1)
    assert semi.fit(X, np.where(y == 0, -1, y)).n_iter_ == 1
    with _says("hidden=Categorical(2, 3) has a shape of its own; both groups of hidden units"):
        TwoGroupRBMClassifier(2, hidden=fb.Categorical(2, 3)).fit(X, y)


def test_labels_that_cannot_be_learnt_are_refused():
    X, y = _data()
    model = RBMClassifier(2, n_iter=1, random_state=0)
    with _says("y has 23 labels, but X has 24 rows; give one label a row."):
        model.fit(X, y[:-1])
    with _says("y has one class only, 1; a classifier needs rows of at least two classes."):
        model.fit(X, np.ones(24, int))
    nan = np.where(y == 0, np.nan, y)
    with _says("y contains NaN or infinity; labels must be known for every row."):
        model.fit(X, nan)
    semi = clone(model).set_params(objective="semi-supervised")
    with pytest.raises(ValueError, match=re.escape("Mark rows without a label by -1.")):
        semi.fit(X, nan)
    with _says("y has no labelled row; a classifier needs rows of at least two classes."):
        semi.fit(X, np.full(24, -1))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        model.fit(X, y + 0.5)
    words = np.array(["left", "middle", "right"])[y].astype(object)
    for missing in (None, np.nan, pd.NA):
        some = words.copy()
        some[3] = missing
        with _says("y contains None or NaN; labels must be known for every row."):
            model.fit(X, some)
        with pytest.raises(ValueError, match=re.escape("Mark rows without a label by -1.")):
            semi.fit(X, pd.Series(some))
    some = words.copy()
    some[3], some[4] = 7, 2.5
    with _says("y has both text and 2.5, 7 as labels; give labels of one kind, e.g. all as text."):
        model.fit(X, some)


def test_rows_that_the_units_cannot_take_are_refused():
    X, y = _data()
    with _says("X has values in [0, 2]; Bernoulli units need [0, 1]."):
        RBMClassifier(2).fit(2 * X, y)
    model = _fitted("class")
    with _says("X of validation has values in [0, 2]; Bernoulli units need [0, 1]."):
        model.fit(X, y, validation=(2 * X, y))


def test_labels_unseen_in_training_are_refused():
    X, y = _data()
    model = _fitted("class")
    unseen = "which are not among the model's classes 0, 1, 2. Give all labels at the beginning"
    for where, call in (
        ("y", lambda: model.partial_fit(X, y + 1)),
        ("y", lambda: model.transform(X, y + 1)),
        ("label", lambda: model.sample(2, 3)),
        ("y of validation", lambda: model.fit(X, y, validation=(X, y + 1))),
    ):
        with _says(f"{where} has the labels 3, {unseen}"):
            call()
    with _says("classes are 0, 1, but the model was begun with 0, 1, 2; give the same ones"):
        model.partial_fit(X, y, classes=[0, 1])
    with _says("classes has one class only, 4; a classifier needs rows of at least two classes."):
        RBMClassifier(2).partial_fit(X, y, classes=[4])


def test_validation_and_samples_that_make_no_sense_are_refused():
    X, y = _data()
    model = _fitted("class")
    with _says("validation must be a pair (X, y) of rows and their labels; got float.", TypeError):
        model.fit(X, y, validation=0.1)
    with _says("y of validation has 23 labels, but X has 24 rows; give one label a row."):
        model.fit(X, y, validation=(X, y[:-1]))
    with _says(
        "early stopping would hold out 2 of 3 labelled rows and leave no row of some of the 2 "
        "classes to learn from; lower validation_fraction (it is 0.6), give more rows, or"
    ):
        RBMClassifier(2, validation_fraction=0.6)._hold_out(np.array([0, -1, 1, 1]))
    with _says(
        "early stopping would hold out 1 of 2 labelled rows with a weight above zero and leave no "
        "row of some of the 2 classes to learn from;"
    ):
        one_each = np.isin(np.arange(24), [np.argmax(y == 0), np.argmax(y == 1)])
        model.set_params(early_stopping=True).fit(X, y, sample_weight=one_each)
    with _says(
        "early stopping holds out some of the labelled rows with a weight above zero, but there "
        "are none; give labelled rows a weight, or give validation=(X, y)."
    ):
        _fitted("class", objective="semi-supervised", early_stopping=True).fit(
            X, np.where(np.arange(24) < 12, y, -1), sample_weight=np.arange(24) >= 12
        )
    model.set_params(early_stopping=False)
    with _says("label has shape (3,); expected one label, or (2,)."):
        model.sample(2, [0, 1, 2])
    with _says("init has 24 rows; expected n_samples=2."):
        model.sample(2, init=X)
    semi = _fitted("class", objective="semi-supervised")
    with _says("label holds -1, the mark of rows without a label; leave label out to draw it."):
        semi.sample(2, -1)
    for answer in (semi.transform, semi.score_samples):
        with _says("y marks rows as unlabelled; give every label, or no y at all."):
            answer(X, np.where(y == 0, -1, y))
    with _says("label contains None or NaN; labels must be known for every row."):
        semi.sample(2, [0, None])
    with _says("validation needs at least one row, and a label for every row."):
        semi.fit(X, y, validation=(X, np.where(y == 0, -1, y)))


def test_a_first_pass_without_any_label_begins_with_all_classes_alike():
    X = (np.random.default_rng(0).random((40, 6)) < 0.4).astype(np.float32)
    model = RBMClassifier(4, objective="semi-supervised", random_state=0)
    model.partial_fit(X, np.full(40, -1), classes=[0, 1])
    assert np.isfinite(model.predict_proba(X)).all()
    model.partial_fit(X, np.arange(40) % 2)
    assert all(np.isfinite(p).all() for p in model.params_.values())
