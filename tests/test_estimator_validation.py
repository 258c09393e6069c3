"""The sentences that a user of the estimators and of the likelihood is told about bad input."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from saved_models import MODELS
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import fastboltz as fb
from fastboltz import RBM, BernoulliRBM
from fastboltz.likelihood import ais, annealing_ladder, log_partition
from fastboltz.models import base
from fastboltz.optimizers import SGD, Adam, as_optimizer, as_schedule
from fastboltz.validation import check_count, check_number, one_of


def _bits(n=20, d=5):
    return (np.random.default_rng(0).random((n, d)) < 0.4).astype(np.float64)


def _fitted(**options):
    settings = {"n_iter": 1, "batch_size": 10, "random_state": 0} | options
    return RBM(3, **settings).fit(_bits())


def _says(sentence, error=ValueError):
    return pytest.raises(error, match="^" + re.escape(sentence) + "$")


# ---------------------------------------------------------------------- constructor's arguments


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"n_components": 0}, ValueError, "n_components must be a whole number >= 1; got 0."),
        ({"n_components": 2.0}, TypeError, "n_components must be a whole number >= 1; got 2.0."),
        ({"n_components": True}, TypeError, "n_components must be a whole number >= 1; got True."),
        ({"n_gibbs": 0}, ValueError, "n_gibbs must be a whole number >= 1; got 0."),
        ({"n_chains": 0}, ValueError, "n_chains must be a whole number >= 1; got 0."),
        ({"n_chains": "all"}, TypeError, "n_chains must be a whole number >= 1; got 'all'."),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1; got 0."),
        ({"batch_size": -5}, ValueError, "batch_size must be a whole number >= 1; got -5."),
        ({"n_iter": -1}, ValueError, "n_iter must be a whole number >= 0; got -1."),
        ({"n_iter": None}, TypeError, "n_iter must be a whole number >= 0; got None."),
        ({"n_threads": 0}, ValueError, "n_threads must be a whole number >= 1; got 0."),
        (
            {"n_threads": 70_000},
            ValueError,
            "n_threads must be a whole number <= 1024; got 70000. More threads than cores make "
            "nothing faster; None takes one a core.",
        ),
        ({"momentum": 1}, ValueError, "momentum must be >= 0 and < 1; got 1."),
        ({"momentum": -0.1}, ValueError, "momentum must be >= 0 and < 1; got -0.1."),
        ({"momentum": "0.5"}, TypeError, "momentum must be a number; got '0.5'."),
        ({"l1": -1.0}, ValueError, "l1 must be >= 0; got -1.0."),
        ({"l2": np.nan}, ValueError, "l2 must be >= 0; got nan."),
        ({"learning_rate": 0}, ValueError, "learning_rate must be > 0; got 0."),
        ({"learning_rate": np.inf}, ValueError, "learning_rate must be > 0; got inf."),
        (
            {"learning_rate": "Auto"},
            ValueError,
            "learning_rate must be 'auto', a number > 0 or a schedule; got 'Auto'. Did you mean "
            "'auto'?",
        ),
        (
            {"method": "pdc"},
            ValueError,
            "method must be one of 'pcd', 'cd', 'exact', 'tempered', 'trajectory'; got 'pdc'. "
            "Did you mean 'pcd'?",
        ),
        (
            {"optimizer": "adm"},
            ValueError,
            "optimizer must be one of 'sgd', 'adam'; got 'adm'. Did you mean 'adam'?",
        ),
        (
            {"visible": "gausian"},
            ValueError,
            "visible must be one of 'bernoulli', 'spin', 'categorical', 'gaussian', 'relu', "
            "'unit-interval'; got 'gausian'. Did you mean 'gaussian'?",
        ),
        (
            {"hidden": "softplus"},
            ValueError,
            "hidden must be one of 'bernoulli', 'spin', 'categorical', 'gaussian', 'relu', "
            "'unit-interval'; got 'softplus'.",
        ),
        (
            {"visible": 3},
            TypeError,
            "visible must be a name ('bernoulli', 'spin', 'categorical', 'gaussian', 'relu', "
            "'unit-interval') or a unit type; got 3.",
        ),
        (
            {"visible": "categorical"},
            ValueError,
            "visible='categorical' does not say how many states a unit has; give the unit with its "
            "shape, e.g. visible=fastboltz.Categorical(n_units, n_states).",
        ),
        (
            {"visible": fb.Categorical(2, 3)},
            ValueError,
            "visible=Categorical(2, 3) has 6 entries, but X has 5 columns; give one column an "
            "entry.",
        ),
        (
            {"hidden": fb.Spin(4)},
            ValueError,
            "hidden=Spin(4) has 4 units, but n_components is 3; make them equal.",
        ),
        ({"centered": "no"}, TypeError, "centered must be True or False; got 'no'."),
        ({"centered": None}, TypeError, "centered must be True or False; got None."),
        ({"verbose": -1}, ValueError, "verbose must be a whole number >= 0; got -1."),
        ({"verbose": "yes"}, TypeError, "verbose must be a whole number >= 0; got 'yes'."),
        (
            {"callbacks": [3]},
            TypeError,
            "callbacks must be a list of callables, also where it is one alone; got [3].",
        ),
        (
            {"callbacks": len},
            TypeError,
            "callbacks must be a list of callables, also where it is one alone; got <built-in "
            "function len>.",
        ),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else "",
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_absurd_argument_is_refused_when_the_model_is_fitted(options, error, sentence, method):
    """And not by the constructor, as scikit-learn wants it; nothing is learnt meanwhile."""
    rbm = RBM(**{"n_components": 3, "n_iter": 1} | options)
    with _says(sentence, error):
        getattr(rbm, method)(_bits())
    assert not hasattr(rbm, "components_")


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"n_components": 0}, ValueError, "n_components must be a whole number >= 1; got 0."),
        ({"learning_rate": -0.1}, ValueError, "learning_rate must be > 0; got -0.1."),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1; got 0."),
        ({"n_iter": 1.5}, TypeError, "n_iter must be a whole number >= 0; got 1.5."),
    ],
    ids=str,
)
def test_the_drop_in_refuses_the_same(options, error, sentence):
    with _says(sentence, error):
        BernoulliRBM(**options).fit(_bits())


def test_optimizers_and_schedules_refuse_what_cannot_be_followed():
    with _says("momentum must be >= 0 and < 1; got 1.0."):
        SGD(1.0)
    with _says("beta1 must be >= 0 and < 1; got 1."):
        Adam(beta1=1)
    with _says("beta2 must be >= 0 and < 1; got 1.5."):
        Adam(beta2=1.5)
    with _says("epsilon must be > 0; got 0."):
        Adam(epsilon=0)
    with _says("learning_rate must be 'auto', a number > 0 or a schedule; got [0.1].", TypeError):
        as_schedule([0.1])
    with _says("rate must be > 0; got -1."):
        as_schedule(-1, "rate")
    with _says("optimizer must be one of 'sgd', 'adam'; got 'rmsprop'."):
        as_optimizer("rmsprop")


@pytest.mark.parametrize("yes", [True, np.True_])
def test_truth_values_of_every_library_are_truth_values(yes, capsys):
    """scikit-learn's own example passes verbose=False, a grid may hold NumPy's."""
    rbm = RBM(3, n_iter=1, centered=yes, verbose=yes).fit(_bits())
    assert "epoch" in capsys.readouterr().err
    assert rbm.n_iter_ == 1


def test_numbers_of_every_library_are_numbers():
    assert check_count("n", np.int32(3)) == 3
    assert check_number("x", np.float32(0.5), 0, below=1) == 0.5
    assert check_number("x", 2) == 2.0
    assert one_of("name", "a", ("a", "b")) == "a"
    with _says("x must be finite; got inf."):
        check_number("x", np.inf)
    with _says("x must be a number; got True.", TypeError):
        check_number("x", True)


# ----------------------------------------------------------------------------------------- data


@pytest.mark.parametrize(
    ("visible", "values", "sentence"),
    [
        (
            "bernoulli",
            [0, 255],
            "X has values in [0, 255]; Bernoulli units need [0, 1]. Divide by 255, or use "
            "visible='gaussian'.",
        ),
        (
            "bernoulli",
            [0, 16],
            "X has values in [0, 16]; Bernoulli units need [0, 1]. Rescale "
            "(sklearn.preprocessing.minmax_scale), or use visible='gaussian'.",
        ),
        (
            "bernoulli",
            [-1, 1],
            "X has values in [-1, 1]; Bernoulli units need [0, 1]. Rescale "
            "(sklearn.preprocessing.minmax_scale), or use visible='gaussian'.",
        ),
        (
            "spin",
            [0, 2],
            "X has values in [0, 2]; Spin units need [-1, 1]. Map {0, 1} data by 2 * X - 1, or use "
            "visible='bernoulli'.",
        ),
        (
            "relu",
            [-0.5, 2],
            "X has values in [-0.5, 2]; ReLU units need values >= 0. Use visible='gaussian' for "
            "data of both signs.",
        ),
        (
            fb.Categorical(1, 2),
            [1, 1],
            "X is not one-hot over its last axis of 2 states; Categorical units need entries >= 0 "
            "that sum to 1. Encode the columns with sklearn.preprocessing.OneHotEncoder.",
        ),
    ],
    ids=lambda x: x if isinstance(x, str) and len(x) < 12 else "",
)
def test_data_outside_of_the_support_are_refused_with_the_remedy(visible, values, sentence):
    """Dense, sparse, and hidden in the last of many rows; in fitting and in answering."""
    fine = np.tile([1.0, 0.0], (5000, 1))
    X = fine.copy()
    X[-1] = values
    rbm = RBM(2, visible=visible, n_iter=0, random_state=0)
    with _says(sentence):
        rbm.fit(X)
    if X.min() >= 0:
        # Sparse rows are looked at some thousands at a time, so that others may be named.
        with pytest.raises(ValueError, match=r"units need|spins are -1 or 1\. Map \{0, 1\}"):
            rbm.fit(sparse.csr_array(X))
    rbm.fit(2 * fine - 1 if visible == "spin" else fine)
    for name in ("transform", "score_samples", "free_energy", "reconstruct", "partial_fit"):
        with _says(sentence):
            getattr(rbm, name)(X)


@pytest.mark.parametrize("kind", [np.float64, np.uint8, sparse.csr_array])
def test_bits_are_not_taken_for_spins_of_unknown_sign(kind):
    """They lie in [-1, 1], and would be learnt as half of the pixels grey."""
    X = kind(_bits())
    rbm = RBM(2, visible="spin", n_iter=0)
    sentence = (
        "X holds 0 and 1 alone, but spins are -1 or 1. Map {0, 1} data by 2 * X - 1, or use "
        "visible='bernoulli'."
    )
    with _says(sentence):
        rbm.fit(X)
    rbm.fit(2 * _bits() - 1)
    for ask in (rbm.transform, rbm.score_samples, rbm.partial_fit):
        with _says(sentence):
            ask(X)
    assert rbm.transform(np.ones((2, 5))).shape == (2, 2)
    assert rbm.transform(np.full((2, 5), 0.0)).shape == (2, 2)
    with _says(sentence.replace("X holds", "Y holds")):
        fb.GatedRBM(2, visible="spin").fit(2 * _bits() - 1, _bits())


@pytest.mark.filterwarnings(
    "ignore:group .* has values that are too large for Gaussian:UserWarning"
)
def test_a_gaussian_takes_every_finite_value():
    X = np.array([[-1e4, 3.0], [1e4, 2.0]])
    assert np.isfinite(
        RBM(2, visible="gaussian", n_iter=1, random_state=0).fit(X).transform(X)
    ).all()


@pytest.mark.parametrize("estimator", [RBM(2, n_iter=1), BernoulliRBM(2, n_iter=1)], ids=repr)
@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.array([[0.0, np.nan]]), "contains NaN"),
        (np.array([[0.0, np.inf]]), "contains infinity"),
        (np.zeros((0, 3)), "0 sample(s)"),
        (np.zeros((3, 0)), "0 feature(s)"),
        (np.zeros(3), "Reshape your data"),
        (np.zeros((2, 2, 2)), "dim 3"),
        ([["a", "b"]], "could not convert string to float"),
    ],
    ids=["NaN", "infinity", "no rows", "no columns", "one axis", "three axes", "words"],
)
def test_what_is_no_table_of_numbers_gets_scikit_learns_sentence(estimator, X, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        estimator.fit(X)
    with pytest.raises(ValueError, match=re.escape(words)):
        estimator.partial_fit(X)


def test_another_number_of_columns_is_refused_everywhere():
    rbm = _fitted()
    sentence = "X has 4 features, but RBM is expecting 5 features as input"
    for name in ("transform", "score_samples", "score", "free_energy", "reconstruct"):
        with pytest.raises(ValueError, match=sentence):
            getattr(rbm, name)(_bits(d=4))
    for name in ("pseudo_likelihood", "partial_fit", "gibbs"):
        with pytest.raises(ValueError, match=sentence):
            getattr(rbm, name)(_bits(d=4))
    with pytest.raises(ValueError, match=sentence):
        rbm.sample(20, init=_bits(d=4))


def test_only_rows_in_which_nothing_could_be_wrong_are_not_shown_to_scikit_learn(monkeypatch):
    model, seen = _fitted(), []
    checks = base.validate_data

    def counted(*args, **options):
        seen.append(args[1])
        return checks(*args, **options)

    monkeypatch.setattr(base, "validate_data", counted)
    x = _bits()
    for plain in (x, x.astype(np.float32), x[:1], np.asfortranarray(x)):
        model.transform(plain)
    assert seen == []
    for other in (x.tolist(), x.astype(int), x.astype(np.float16), sparse.csr_matrix(x)):
        model.transform(other)
    assert len(seen) == 4
    missing, endless = x.copy(), x.copy()
    missing[3, 2], endless[0, 0] = np.nan, -np.inf
    for bad in (missing, endless, x[:, :4], x[:0], x[0], x[None], x.astype(object)[:, :2]):
        with pytest.raises(ValueError):
            model.transform(bad)
    assert len(seen) == 11
    # Finite values may have a sum that is not; names of columns are compared.
    assert (
        base.check_rows(model, np.full((2, 5), 3e38, np.float32), reset=False).dtype == np.float32
    )
    assert len(seen) == 11
    model.fit(pytest.importorskip("pandas").DataFrame(x, columns=list("abcde")))
    with pytest.warns(UserWarning, match="valid feature names"):
        model.transform(x)


def test_hidden_values_of_another_number_are_refused():
    with _says("H has 4 columns, but the model has 3 hidden entries; give what transform returns."):
        _fitted().inverse_transform(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="contains NaN"):
        _fitted().inverse_transform(np.full((2, 3), np.nan))


def test_weights_of_rows_that_cannot_be_averaged_with_are_refused():
    rbm = RBM(2, n_iter=1)
    for weights, words in (
        (np.ones(4), "sample_weight.shape == (4,), expected (20,)"),
        (-np.ones(20), "Negative values"),
        (np.full(20, np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            rbm.fit(_bits(), sample_weight=weights)
    with pytest.raises(ValueError, match=r"weight.*zero"):
        rbm.fit(_bits(), sample_weight=np.zeros(20))
    assert not hasattr(rbm, "components_")


# ------------------------------------------------------------------------------------- too early

ASKING = {
    "transform": (_bits(),),
    "inverse_transform": (np.zeros((2, 3)),),
    "reconstruct": (_bits(),),
    "free_energy": (_bits(),),
    "score_samples": (_bits(),),
    "score": (_bits(),),
    "pseudo_likelihood": (_bits(),),
    "log_partition": (),
    "sample": (),
    "gibbs": (_bits(),),
}
LEARNT = [
    "components_",
    "intercept_hidden_",
    "intercept_visible_",
    "log_partition_",
    "chains_",
    "history_",
    "n_iter_",
]


def _failed():
    rbm = RBM(3)
    with pytest.raises(ValueError, match="Bernoulli units need"):
        rbm.fit(_bits() * 17)
    return rbm


@pytest.mark.parametrize("make", [lambda: RBM(3), _failed], ids=["never fitted", "failed to fit"])
@pytest.mark.parametrize("name", ASKING)
def test_a_model_that_is_not_fitted_says_so(make, name):
    """Deliberate bug that this catches: a fit that failed in its checks taken for a fit."""
    with pytest.raises(NotFittedError, match="This RBM instance is not fitted yet"):
        getattr(make(), name)(*ASKING[name])


@pytest.mark.parametrize("name", LEARNT)
def test_what_is_learnt_does_not_exist_before(name):
    with _says(f"'RBM' object has no attribute '{name}'; call fit first.", AttributeError):
        getattr(RBM(3), name)
    assert not hasattr(RBM(3), name)


def test_a_failed_fit_leaves_a_fitted_model_as_it_was():
    rbm = _fitted()
    before = {key: x.copy() for key, x in rbm.params_.items()}
    for bad in (_bits() * 17, np.full((20, 5), np.nan)):
        with pytest.raises(ValueError, match=r"Bernoulli|NaN"):
            rbm.fit(bad)
        with pytest.raises(ValueError, match=r"Bernoulli|NaN"):
            rbm.partial_fit(bad)
    for key, x in before.items():
        np.testing.assert_array_equal(rbm.params_[key], x)
    assert rbm.transform(_bits()).shape == (20, 3)


def _narrower(x):
    """Rows of one column less, wherever they stand in what `fit` is given."""
    if isinstance(x, dict):
        return {key: _narrower(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(_narrower(value) for value in x)
    return x[:, :-1] if np.ndim(x) == 2 else x


def _all_of(model):
    return {name: pickle.dumps(x) for name, x in vars(model).items() if name != "learning_rate"}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_refused_leaves_no_trace_in_any_model(name, method):
    """Catches columns, names and labels of refused data: the model refuses its own afterwards.

    The rate is looked at last of all, when the data have been checked.
    """
    model, data, _ = MODELS[name]
    if not hasattr(model, method):
        pytest.skip("has no partial_fit")
    new = clone(model).set_params(learning_rate="fast")
    classes = {"classes": np.unique(data[1])} if hasattr(model, "predict_proba") else {}
    before = _all_of(new)
    with pytest.raises(ValueError, match="learning_rate"):
        getattr(new, method)(*data, **(classes if method == "partial_fit" else {}))
    assert _all_of(new) == before
    fitted = clone(model).fit(*data).set_params(learning_rate="fast")
    before = _all_of(fitted)
    refused = _narrower(data) if method == "fit" else data
    with pytest.raises(ValueError, match=r"learning_rate|columns|entries|edge"):
        getattr(fitted, method)(*refused)
    assert _all_of(fitted) == before


def test_classes_of_refused_rows_are_not_taken():
    X, y = _bits(), np.arange(20) % 2
    model = fb.RBMClassifier(2, n_iter=1, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="X has 4 features"):
        model.fit(X, y + 5, validation=(X[:, :4], y))
    assert model.predict(X).max() < 2


def test_chains_that_do_not_exist_say_why():
    with _says("there are no persistent chains with 'cd'.", AttributeError):
        _ = _fitted(method="cd").chains_
    with _says("there are no persistent chains before the first update.", AttributeError):
        _ = _fitted(n_iter=0).chains_
    with _says("h_samples_ is there after the first update.", AttributeError):
        _ = BernoulliRBM(2, n_iter=0).fit(_bits()).h_samples_


# --------------------------------------------------------------------------------------- samples


def test_samples_that_cannot_be_drawn_say_why():
    rbm = _fitted()
    with _says("n_samples must be a whole number >= 1; got 0."):
        rbm.sample(0)
    with _says("n_steps must be a whole number >= 0; got -1."):
        rbm.sample(2, -1)
    with _says("init has 20 rows; expected n_samples=3."):
        rbm.sample(3, init=_bits())
    shape = "expected (5,) or (3, 5), with NaN for the units to be drawn."
    for given in (np.zeros(4), np.zeros((2, 5)), np.zeros((3, 4)), 1.0):
        with _says(f"given has shape {np.shape(given)}; {shape}"):
            rbm.sample(3, given=given)
    with _says(
        "given has values in [2, 2]; Bernoulli units need [0, 1]. Rescale "
        "(sklearn.preprocessing.minmax_scale), or use visible='gaussian'."
    ):
        rbm.sample(3, given=[np.nan, 2, np.nan, np.nan, np.nan])
    real = RBM(2, visible="gaussian", n_iter=0).fit(_bits())
    with _says(
        "given contains infinity; expected finite values, with NaN for the units to be drawn."
    ):
        real.sample(3, given=[np.nan, np.inf, 0, 0, 0])


def test_sweeps_from_no_visible_vector_are_refused():
    """Catches an IndexError for a number, and a sentence about another method's argument."""
    rbm = _fitted()
    one = "expected one visible vector, or at least one row of them: (5,) or (n_samples, 5)."
    for v in (1.0, np.zeros((0, 5)), np.zeros((2, 1, 5))):
        with _says(f"v has shape {np.shape(v)}; {one}"):
            rbm.gibbs(v)


def test_a_one_hot_unit_is_known_wholly_or_not_at_all():
    """Catches a unit that ends in no state: not 1 where it is known, and 1 elsewhere refused."""
    rbm = RBM(2, visible=fb.Categorical(2, 3), n_iter=0).fit([[1, 0, 0, 0, 1, 0]])
    with _says(
        "given knows some of the 3 states of a one-hot unit and not the others; give all of a "
        "unit's entries, or NaN for all of them."
    ):
        rbm.sample(3, given=[np.nan, 0, np.nan, 0, 1, 0])
    drawn = rbm.sample(3, given=[np.nan, np.nan, np.nan, 0, 1, 0])
    np.testing.assert_array_equal(drawn.reshape(3, 2, 3).sum(axis=2), 1)
    np.testing.assert_array_equal(drawn[:, 3:], np.tile([0, 1, 0], (3, 1)))


def test_a_pseudo_likelihood_needs_units_with_finitely_many_states():
    with _says(
        "the pseudo-likelihood sums over the states of each unit, and gaussian units have "
        "infinitely many. Use score_samples."
    ):
        _fitted(visible="gaussian").pseudo_likelihood(_bits())


# ------------------------------------------------------------------------------------------ log Z


def test_a_log_partition_that_cannot_be_had_says_why():
    rbm = _fitted()
    with _says("method must be one of 'auto', 'exact', 'ais'; got 'exat'. Did you mean 'exact'?"):
        rbm.log_partition("exat")
    large = RBM(41, n_iter=0, random_state=0).fit(_bits(d=50))
    with _says("exact log Z needs 2**41 states (limit 2**25). Use method='ais'."):
        large.log_partition("exact")
    wide = fb.PointwiseGatedRBM((40, 40), n_pretraining=0, n_iter=0, random_state=0).fit(
        _bits(d=50)
    )
    with _says("exact log Z needs 2**50 states (limit 2**25). Use method='bound'."):
        wide.score_samples(_bits(d=50), "exact")
    with _says(
        "given must be a dict of rows by group, such as {'v': rows}; got ndarray. Groups of this "
        "RBM that may be given: 'v', 'h'.",
        error=TypeError,
    ):
        rbm.conditional_log_partition(_bits())
    groups = {"v": fb.Bernoulli(5), "x": fb.Bernoulli(5)}
    machine = fb.BoltzmannMachine(groups, ["v_i x_j"], visible="v", given="x", n_iter=0)
    with _says(
        "given must be a dict of rows by group, such as {'x': rows}; got ndarray. Groups of this "
        "BoltzmannMachine that may be given: 'x'.",
        error=TypeError,
    ):
        machine.fit({"v": _bits(), "x": _bits()}).conditional_log_partition(_bits())
    real = RBM(3, visible="gaussian", hidden="gaussian", n_iter=0, random_state=0).fit(_bits())
    with _says(
        "exact log Z cannot be enumerated: groups 'v', 'h' are continuous and share a term, so "
        "they cannot all be summed out. Use method='ais'."
    ):
        real.log_partition("exact")
    rbm.params_["v"][0] = np.nan
    with _says(
        "parameter 'v' contains NaN or infinity; if it was trained, lower the learning rate."
    ):
        rbm.log_partition()


def test_exact_training_of_a_large_model_names_the_other_methods():
    with _says(
        "exact moments needs 2**41 states (limit 2**25). Use negative='cd' or 'pcd' (an "
        "estimator's method)."
    ):
        RBM(41, method="exact", n_iter=1, random_state=0).fit(_bits(d=50))


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"betas": [0, 0.5, 0.5, 1]},
            ValueError,
            "betas must rise strictly from 0 to 1, both ends included; got [0, 0.5, 0.5, 1].",
        ),
        (
            {"betas": [0.0, 0.9]},
            ValueError,
            "betas must rise strictly from 0 to 1, both ends included; got [0.0, 0.9].",
        ),
        (
            {"betas": [0, float("nan"), 1]},
            ValueError,
            "betas must rise strictly from 0 to 1, both ends included; got [0, nan, 1].",
        ),
        (
            {"betas": []},
            ValueError,
            "betas must rise strictly from 0 to 1, both ends included; got [].",
        ),
        ({"betas": 1}, ValueError, "betas must be a whole number >= 2; got 1."),
        ({"betas": 10.5}, TypeError, "betas must be a whole number >= 2; got 10.5."),
        ({"n_chains": 1}, ValueError, "n_chains must be a whole number >= 2; got 1."),
        ({"n_threads": 0}, ValueError, "n_threads must be a whole number >= 1; got 0."),
        (
            {"reference": {"w": {}}},
            ValueError,
            "reference names the unknown group 'w'; the energy has 'v', 'h'.",
        ),
        (
            {"reference": {"v": {"bias": np.zeros(3)}}},
            ValueError,
            "reference['v']['bias'] has shape (3,); expected (5,).",
        ),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else "",
)
def test_annealing_that_cannot_be_done_says_why(options, error, sentence):
    rbm = _fitted()
    with _says(sentence, error):
        ais(rbm.energy_, rbm.params_, **options)
    with _says(sentence, error):
        log_partition(rbm.energy_, rbm.params_, "ais", **options)


def test_a_ladder_has_two_ends():
    with _says("n_betas must be a whole number >= 2; got 0."):
        annealing_ladder(0)
    with _says("n_betas must be a whole number >= 2; got 'many'.", TypeError):
        annealing_ladder("many")


# ------------------------------------------------------------------------ what was changed since


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 7),
        ("n_hidden", 7),
        ("layers", (5, 2)),
        ("visible", "gaussian"),
        ("hidden", "spin"),
        ("n_recurrent", 9),
        ("recurrent", "gru"),
        ("mode", "joint"),
        ("terms", ["v_i h_j", "v_i v_j"]),
    ],
)
@pytest.mark.parametrize("kind", MODELS)
def test_a_structure_that_was_changed_since_is_no_longer_that_of_the_model(kind, name, value):
    """Deliberate bug that this catches: another size that partial_fit neither takes nor refuses."""
    made, data, _ = MODELS[kind]
    given = made.get_params(deep=False)
    if isinstance(made, fb.DeepBeliefNetwork):  # see test_deep
        return
    names_groups = isinstance(made, fb.BoltzmannMachine) and name == "visible"
    if names_groups or not hasattr(made, "partial_fit") or given.get(name, value) == value:
        return
    model = clone(made).fit(*data)
    model.set_params(**{name: value})
    sentence = f"the model was begun with {name}={given[name]!r}, but now it is {value!r}; partial"
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        model.partial_fit(*data)
    model.set_params(**{name: given[name]}).partial_fit(*data)


def test_equal_values_are_no_other_structure():
    """Also of a loaded model, and of units of one's own."""

    class Mine(fb.Bernoulli):
        name = "mine"

    X = _bits()
    model = RBM(3, visible=Mine(5), n_iter=1, random_state=0).fit(X)
    model.set_params(visible=Mine(5), n_iter=3).partial_fit(X)
    model.set_params(visible=fb.Bernoulli(5))
    with pytest.raises(ValueError, match=r"begun with visible=Mine\(5\), but now it is Bern"):
        model.partial_fit(X)
