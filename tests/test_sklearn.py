"""The estimators under scikit-learn: its own checks, its tools, and every container of data."""

from __future__ import annotations

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from saved_models import MODELS, learnt
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, minmax_scale
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import fastboltz as fb
from fastboltz import (
    RBM,
    BernoulliRBM,
    ClassGatedRBMClassifier,
    DeepBeliefNetwork,
    DeepBoltzmannMachine,
    HigherOrderBoltzmannMachine,
    PointwiseGatedRBM,
    PointwiseGatedRBMClassifier,
    RBMClassifier,
    SigmoidBeliefNetwork,
    TwoGroupRBMClassifier,
)

# ------------------------------------------------------------------------ scikit-learn's own checks

MINIBATCHES = (
    "a row that stands twice meets other rows and other random numbers than one of weight two; "
    "with exact gradients of all rows the check passes"
)
OUTSIDE = "the check's data lie outside [0, 1], which the default visible units refuse"
UNEQUAL_DRAWS = {
    "check_sample_weight_equivalence_on_dense_data": MINIBATCHES,
    "check_sample_weight_equivalence_on_sparse_data": MINIBATCHES,
}
REFUSED = UNEQUAL_DRAWS | dict.fromkeys(
    [
        "check_all_zero_sample_weights_error",
        "check_dict_unchanged",
        "check_dont_overwrite_parameters",
        "check_estimators_dtypes",
        "check_estimators_fit_returns_self",
        "check_estimators_overwrite_params",
        "check_estimators_pickle",
        "check_f_contiguous_array_estimator",
        "check_fit2d_1feature",
        "check_fit2d_1sample",
        "check_fit2d_predict1d",
        "check_fit_check_is_fitted",
        "check_fit_idempotent",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_n_features_in",
        "check_n_features_in_after_fitting",
        "check_pipeline_consistency",
        "check_positive_only_tag_during_fit",
        "check_readonly_memmap_input",
        "check_sample_weights_not_an_array",
        "check_sample_weights_not_overwritten",
        "check_sample_weights_pandas_series",
        "check_sample_weights_shape",
        "check_transformer_data_not_an_array",
        "check_transformer_general",
        "check_transformer_preserve_dtypes",
    ],
    OUTSIDE,
)
IN_PIPELINE = UNEQUAL_DRAWS | dict.fromkeys(
    ["check_dont_overwrite_parameters", "check_estimators_overwrite_params"],
    "a Pipeline fits the very steps that it was given",
)
SEMI_SUPERVISED = UNEQUAL_DRAWS | {
    "check_classifiers_classes": "its labels are -1 and 1, and -1 marks rows without a label",
}
CLASSIFIER_IN_PIPELINE = IN_PIPELINE | {
    "check_supervised_y_no_nan": "scikit-learn's own wording is asked of its own Pipeline",
}
SMALL = {"n_components": 4, "n_iter": 2}
#: What a classifier of easy data needs.
LEARNING = {"n_components": 4, "n_iter": 40, "random_state": 0}
DEEP = {"n_pretraining": 2, "n_iter": 2}
CHECKED = [
    (RBM(visible="gaussian", **SMALL), UNEQUAL_DRAWS),
    (RBM(visible="gaussian", hidden="relu", method="cd", **SMALL), UNEQUAL_DRAWS),
    (RBM(visible="gaussian", hidden="spin", optimizer="adam", l1=0.01, **SMALL), UNEQUAL_DRAWS),
    # Exact gradients of the whole data: here weights and repetitions must be the same.
    (RBM(visible="gaussian", method="exact", batch_size=1000, momentum=0.5, **SMALL), {}),
    (BernoulliRBM(), UNEQUAL_DRAWS),
    (BernoulliRBM(n_components=4, batch_size=1000, n_iter=2), UNEQUAL_DRAWS),
    (RBM(), REFUSED),
    (RBMClassifier(visible="gaussian", **LEARNING), UNEQUAL_DRAWS),
    (
        RBMClassifier(
            visible="gaussian", objective="discriminative", early_stopping=True, **LEARNING
        ),
        UNEQUAL_DRAWS,
    ),
    (RBMClassifier(visible="gaussian", objective="semi-supervised", **LEARNING), SEMI_SUPERVISED),
    (ClassGatedRBMClassifier(visible="gaussian", **LEARNING), UNEQUAL_DRAWS),
    (ClassGatedRBMClassifier(visible="gaussian", n_factors=3, **LEARNING), UNEQUAL_DRAWS),
    (TwoGroupRBMClassifier(visible="gaussian", n_nuisance=3, **LEARNING), UNEQUAL_DRAWS),
    (
        TwoGroupRBMClassifier(visible="gaussian", n_nuisance=3, order=2, **LEARNING),
        UNEQUAL_DRAWS,
    ),
    (
        RBMClassifier(
            visible="gaussian",
            objective="discriminative",
            batch_size=1000,
            learning_rate=0.5,
            momentum=0.9,
            **LEARNING,
        ),
        {},
    ),
    (DeepBoltzmannMachine((4, 3), visible="gaussian", **DEEP), UNEQUAL_DRAWS),
    # Nothing here can be enumerated, so means are mean-field ones.
    (DeepBoltzmannMachine((14, 14), visible="gaussian", **DEEP), UNEQUAL_DRAWS),
    (DeepBoltzmannMachine((4, 3, 2), visible="gaussian", inference="gibbs", **DEEP), UNEQUAL_DRAWS),
    # Exact gradients of the whole data, as above.
    (
        DeepBoltzmannMachine(
            (3, 2),
            visible="gaussian",
            method="exact",
            batch_size=1000,
            n_pretraining=0,
            n_iter=2,
        ),
        {},
    ),
    (DeepBoltzmannMachine((4, 3), **DEEP), REFUSED),
    (DeepBeliefNetwork((4, 3), visible="gaussian", n_iter=2), UNEQUAL_DRAWS),
    (DeepBeliefNetwork((4, 3), n_iter=2), REFUSED),
    (SigmoidBeliefNetwork((4, 3), n_iter=2), REFUSED),
    (PointwiseGatedRBM((4, 2), visible="gaussian", n_iter=2, n_pretraining=1), UNEQUAL_DRAWS),
    (
        PointwiseGatedRBMClassifier(
            (8, 2),
            visible="gaussian",
            n_iter=40,
            n_pretraining=5,
            activity=0.4,
            mask_bias=1.0,
            alpha=0.01,
            momentum=0.9,
            random_state=0,
        ),
        UNEQUAL_DRAWS,
    ),
    # The default units on data that are brought into range first.
    (make_pipeline(MinMaxScaler(clip=True), RBMClassifier(**LEARNING)), CLASSIFIER_IN_PIPELINE),
    (make_pipeline(MinMaxScaler(clip=True), RBM(random_state=0, **SMALL)), IN_PIPELINE),
    (
        make_pipeline(
            MinMaxScaler(clip=True), SigmoidBeliefNetwork((4, 3), n_iter=2, random_state=0)
        ),
        IN_PIPELINE,
    ),
]


def _expected_failures(estimator):
    return next(failures for known, failures in CHECKED if repr(known) == repr(estimator))


@pytest.mark.filterwarnings("ignore:X has values in .* taken as they are:UserWarning")
@pytest.mark.filterwarnings(
    "ignore:group .* has values that are too large for Gaussian:UserWarning"
)
@parametrize_with_checks(
    [estimator for estimator, _ in CHECKED], expected_failed_checks=_expected_failures
)
def test_scikit_learns_checks(estimator, check):
    """Expected failures are strict: one that passes by now is red."""
    check(estimator)


# -------------------------------------------------------------------------------------------- tools


def _bits(n=60, n_features=6, seed=0, dtype=np.float64):
    """Noisy copies of two prototypes, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    prototypes = rng.integers(0, 2, (2, n_features))
    rows = prototypes[rng.integers(0, 2, n)]
    return np.where(rng.random(rows.shape) < 0.1, 1 - rows, rows).astype(dtype)


def _small(**options):
    options = {"n_components": 3, "n_iter": 3, "batch_size": 20, "random_state": 0} | options
    return RBM(**options)


def _same_model(a, b):
    assert set(a.params_) == set(b.params_)
    for key, value in a.params_.items():
        assert value.dtype == b.params_[key].dtype
        np.testing.assert_array_equal(value, b.params_[key], err_msg=key)


def test_scikit_learns_digits_example_runs_by_changing_the_import_alone():
    """The example "Restricted Boltzmann Machine features for digit classification".

    As there: the digits and their four shifts by one pixel, 100 components, rate 0.06, 10 passes.
    The tolerance of the logistic regression is one at which it leaves its start in every release.
    """
    images, labels = load_digits(return_X_y=True)
    shifted = [images.reshape(-1, 8, 8)]
    for axis, by in ((2, -1), (2, 1), (1, -1), (1, 1)):
        moved = np.roll(shifted[0], by, axis=axis)
        edge = [slice(None)] * 3
        edge[axis] = -1 if by < 0 else 0
        moved[tuple(edge)] = 0
        shifted.append(moved)
    X = minmax_scale(np.concatenate(shifted).reshape(-1, 64), feature_range=(0, 1))
    y = np.tile(labels, 5)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
    logistic = LogisticRegression(solver="newton-cg", tol=1e-3, C=6000)
    rbm = BernoulliRBM(random_state=1, learning_rate=0.06, n_iter=10, n_components=100)
    with threadpool_limits(1):  # on busy cores its many small products wait for each other
        features = Pipeline([("rbm", rbm), ("logistic", logistic)]).fit(X_train, y_train)
        pixels = LogisticRegression(solver="newton-cg", tol=1e-3, C=100).fit(X_train, y_train)
    # scikit-learn's own RBM has 0.93 against 0.78.
    assert features.score(X_test, y_test) > 0.9 > pixels.score(X_test, y_test)


def test_grid_search_in_other_processes_chooses_by_likelihood():
    X = _bits()
    search = GridSearchCV(_small(), {"learning_rate": [1e-6, 0.5]}, n_jobs=2, cv=2).fit(X)
    assert search.best_params_ == {"learning_rate": 0.5}
    _same_model(search.best_estimator_, _small(learning_rate=0.5).fit(X))
    here = GridSearchCV(_small(), {"learning_rate": [1e-6, 0.5]}, n_jobs=1, cv=2).fit(X)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"]
    )


def test_cross_validation_scores_are_mean_log_likelihoods_of_the_held_out_rows():
    """Not the pseudo-likelihood, and not times the number of features."""
    X = _bits(n=40)
    scores = cross_val_score(_small(), X, cv=[(np.arange(20), np.arange(20, 40))])
    rbm = _small().fit(X[:20])
    every = np.array(np.meshgrid(*[[0.0, 1.0]] * X.shape[1])).reshape(X.shape[1], -1).T

    def unnormalised(v):
        a = v @ rbm.components_.T + rbm.intercept_hidden_
        return v @ rbm.intercept_visible_ + np.logaddexp(0, a).sum(axis=1)

    log_z = np.logaddexp.reduce(unnormalised(every))
    assert scores[0] == pytest.approx(unnormalised(X[20:]).mean() - log_z, rel=1e-10)


def test_grid_search_reaches_an_rbm_inside_a_pipeline():
    X = _bits()
    y = X[:, 0].astype(int)
    model = make_pipeline(_small(), LogisticRegression())
    search = GridSearchCV(model, {"rbm__n_components": [1, 3]}, cv=2).fit(X, y)
    assert search.best_estimator_[0].components_.shape[1] == X.shape[1]
    assert search.best_score_ > 0.5


@pytest.mark.parametrize("estimator", [_small(), BernoulliRBM(3, random_state=0)], ids=repr)
def test_clone_of_a_fitted_model_is_unfitted_and_learns_the_same(estimator):
    X = _bits()
    fitted = clone(estimator).fit(X)
    again = clone(fitted)
    assert not hasattr(again, "components_")
    assert again.get_params() == estimator.get_params()
    _same_model(again.fit(X), fitted)


def _by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def _by_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize("travel", [_by_pickle, _by_joblib])
@pytest.mark.parametrize("options", [{}, {"visible": "gaussian", "optimizer": "adam"}], ids=repr)
def test_a_saved_model_goes_on_as_the_original_would(travel, options):
    """Catches chains, the optimizer's state or the sequence of draws left out of what is saved."""
    X = _bits()
    model = _small(**options).fit(X)
    model.sample(2)
    copy = travel(model)
    np.testing.assert_array_equal(copy.transform(X), model.transform(X))
    np.testing.assert_array_equal(copy.sample(5), model.sample(5))
    assert copy.log_partition_ == model.log_partition_
    assert copy.history_ == model.history_
    _same_model(copy.partial_fit(X), model.partial_fit(X))
    np.testing.assert_array_equal(copy.chains_, model.chains_)


def test_set_output_gives_named_columns_and_keeps_the_index():
    X = pd.DataFrame(_bits(), columns=list("abcdef"), index=np.arange(60) + 7)
    rbm = _small().set_output(transform="pandas").fit(X)
    H = rbm.transform(X)
    assert list(H.columns) == ["rbm0", "rbm1", "rbm2"] == list(rbm.get_feature_names_out())
    assert list(H.index) == list(X.index)
    assert list(rbm.feature_names_in_) == list("abcdef")
    plain = _small().fit(X.to_numpy())
    np.testing.assert_array_equal(H.to_numpy(), plain.transform(X.to_numpy()))
    np.testing.assert_array_equal(rbm.reconstruct(X), plain.reconstruct(X.to_numpy()))
    np.testing.assert_array_equal(rbm.inverse_transform(H), plain.inverse_transform(H.to_numpy()))
    assert list(BernoulliRBM(2).fit(X).get_feature_names_out()) == [
        "bernoullirbm0",
        "bernoullirbm1",
    ]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (DeepBoltzmannMachine((4, 3), n_iter=1, n_pretraining=1), {"depth": 1}),
        (DeepBeliefNetwork((4, 3), n_iter=1), {"depth": 1}),
        (SigmoidBeliefNetwork((4, 3), n_iter=1), {"depth": 1}),
        (PointwiseGatedRBM((4, 3), n_iter=1, n_pretraining=1), {"component": 1}),
    ],
    ids=lambda x: type(x).__name__,
)
def test_columns_without_names_are_no_named_table(model, options):
    """pandas would say that lengths do not match."""
    X = _bits()
    ((name, value),) = options.items()
    sentence = f"{name}={value} picks other columns than those that get_feature_names_out names"
    model.fit(X)
    plain = model.transform(X, **options)
    with config_context(transform_output="pandas"), pytest.raises(ValueError, match=sentence):
        model.transform(X, **options)
    model.set_output(transform="pandas")
    with pytest.raises(ValueError, match=sentence):
        model.transform(X, **options)
    assert list(model.transform(X).columns) == list(model.get_feature_names_out())
    if name == "depth":
        assert model.transform(X, depth=2).shape == (60, 3)
    model.set_output(transform="default")
    np.testing.assert_array_equal(model.transform(X, **options), plain)


def test_polars_frames_go_in_and_come_out():
    polars = pytest.importorskip("polars")
    X = polars.DataFrame(_bits(), schema=list("abcdef"))
    rbm = _small().set_output(transform="polars").fit(X)
    H = rbm.transform(X)
    assert isinstance(H, polars.DataFrame)
    assert H.columns == ["rbm0", "rbm1", "rbm2"]
    assert list(rbm.feature_names_in_) == list("abcdef")
    plain = _small().fit(_bits())
    _same_model(rbm, plain)
    _assert_answers_as_for(rbm.set_output(transform="default"), X, plain, _bits())
    rbm.set_output(transform="polars")
    np.testing.assert_array_equal(H.to_numpy(), plain.transform(_bits()))
    np.testing.assert_array_equal(rbm.reconstruct(X), plain.reconstruct(_bits()))
    np.testing.assert_array_equal(rbm.inverse_transform(H), plain.inverse_transform(H.to_numpy()))
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        rbm.transform(X.select(list("bacdef")))
    chunks = _small().fit(lambda: iter([X[:25], X[25:]]))
    _same_model(chunks, plain)
    pipeline = make_pipeline(_small(), LogisticRegression()).set_output(transform="polars")
    y = _bits()[:, 0].astype(int)
    assert len(pipeline.fit(X, y).predict(X)) == len(X)


def _each(x, change):
    """Tables of reals changed, wherever they stand in what `fit` is given."""
    if isinstance(x, dict):
        return {key: _each(value, change) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_each(value, change) for value in x]
    is_table = isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f"
    return change(x.astype(np.float64)) if is_table else x


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_from_polars_frames_in_their_precision(name):
    """scikit-learn's checks would make them single, as they do not look at the types in a frame."""
    polars = pytest.importorskip("polars")
    model, data, _ = MODELS[name]
    columns = [f"c{k}" for k in range(100)]

    def frame(x):
        return polars.DataFrame(x, schema=columns[: x.shape[1]])

    found = clone(model).fit(*_each(data, frame))
    expected = clone(model).fit(*_each(data, lambda x: x))
    assert learnt(found) == learnt(expected)
    one = found.rbms_[0] if hasattr(found, "rbms_") else found
    assert {x.dtype for x in one.params_.values()} == {np.dtype(np.float64)}


#: Other sizes for the next fit.
OTHERS = {
    "n_components": 7,
    "n_nuisance": 7,
    "n_hidden": 7,
    "n_recurrent": 7,
    "n_factors": 7,
    "weight_rank": 7,
    "layers": (7,),
    "order": 2,
    "edges": None,
}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_for_the_next_fit_do_not_change_what_a_fitted_model_answers(name):
    """Catches hidden units counted by the parameter: other shapes, and columns without a name."""
    model, data, answers = MODELS[name]
    model = clone(model).fit(*data)

    def told():
        found = [getattr(model, answer)(data[0]) for answer in answers]
        found.append(getattr(model, "components_", None))
        if hasattr(model, "get_feature_names_out"):
            found.append(model.get_feature_names_out())
        return pickle.dumps(found)

    before = told()
    known = model.get_params(deep=False)
    for parameter in OTHERS.keys() & known.keys():
        model.set_params(**{parameter: OTHERS[parameter]})
        assert told() == before, parameter


def test_tags_say_whether_a_second_table_or_labels_are_needed():
    for name, (model, data, _) in MODELS.items():
        assert model.__sklearn_tags__().target_tags.required == (len(data) == 2), name


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (RBM(), True),
        (RBM(visible=fb.UnitInterval), True),
        (RBM(visible=fb.ReLU(4)), True),
        (RBM(visible="spin"), False),
        (RBM(visible="gaussian"), False),
        (BernoulliRBM(), False),  # it takes them, with a warning
        (RBMClassifier(), True),
        (RBMClassifier(visible="gaussian"), False),
        (DeepBeliefNetwork(), True),
        (DeepBeliefNetwork(visible="gaussian"), False),
        (DeepBoltzmannMachine(), True),
        (DeepBoltzmannMachine(visible="spin"), False),
        (SigmoidBeliefNetwork(), True),
        (PointwiseGatedRBM(), True),
        (HigherOrderBoltzmannMachine(), True),
        (HigherOrderBoltzmannMachine(units="spin"), False),
        (fb.BoltzmannMachine({"v": "bernoulli", "h": "spin"}, ["v_i h_j"], visible="v"), True),
        (fb.BoltzmannMachine({"v": "spin", "h": "bernoulli"}, ["v_i h_j"], visible="v"), False),
    ],
    ids=repr,
)
def test_tags_say_whether_negative_values_are_refused(model, expected):
    assert model.__sklearn_tags__().input_tags.positive_only is expected


# ------------------------------------------------------------------------------- containers of data

ANSWERS = ("transform", "score_samples", "free_energy", "reconstruct", "pseudo_likelihood")


def _assert_answers_as_for(rbm, X, plain, expected):
    for name in ANSWERS:
        found, wanted = getattr(rbm, name)(X), getattr(plain, name)(expected)
        assert found.dtype == wanted.dtype, name
        np.testing.assert_array_equal(found, wanted, err_msg=name)


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_sparse_rows_train_and_answer_as_dense_ones(form, kind):
    """Nearly to the bit: only the sums of the starting biases run in another order."""
    X = _bits() * _bits(seed=1)
    S = getattr(sparse, f"{form}_{kind}")(X)
    dense, model = _small().fit(X), _small().fit(S)
    for key, value in dense.params_.items():
        np.testing.assert_allclose(model.params_[key], value, rtol=1e-9, atol=1e-12, err_msg=key)
    _assert_answers_as_for(dense, S, dense, X)
    model.partial_fit(S[:7] if form != "coo" else S)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_of_the_data_is_that_of_the_model(dtype):
    X = _bits(dtype=dtype)
    rbm = _small().fit(X)
    assert all(x.dtype == dtype for x in rbm.params_.values())
    for name in ("transform", "reconstruct"):
        assert getattr(rbm, name)(X).dtype == dtype
    assert rbm.inverse_transform(rbm.transform(X)).dtype == dtype
    assert rbm.sample(3).dtype == rbm.chains_.dtype == rbm.gibbs(X).dtype == dtype
    # Likelihoods are sums over all units and are kept in double precision.
    assert rbm.score_samples(X).dtype == rbm.free_energy(X).dtype == np.float64


def test_rows_of_another_precision_are_taken_in_that_of_the_model():
    rbm = _small().fit(_bits(dtype=np.float32))
    X = _bits()
    assert rbm.transform(X).dtype == np.float32
    rbm.partial_fit(X)
    assert all(x.dtype == np.float32 for x in rbm.params_.values())


@pytest.mark.parametrize(
    "form", [np.uint8, np.int64, bool, "list", "frame", "nullable frame"], ids=str
)
def test_whole_numbers_bools_lists_and_frames_are_what_their_values_are(form):
    X = _bits(dtype=np.float32)
    if isinstance(form, str):
        given = {
            "list": X.astype(int).tolist(),
            "frame": pd.DataFrame(X),
            "nullable frame": pd.DataFrame(X.astype(int)).astype("Int64"),
        }[form]
    else:
        given = X.astype(form)
    plain = _small().fit(X)
    rbm = _small().fit(given)
    _same_model(rbm, plain)
    _assert_answers_as_for(rbm, given, plain, X)


@pytest.mark.parametrize("form", ["read-only", "memory map", "Fortran", "strided", "reversed"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_any_layout_is_read_in_place_and_not_changed(form, dtype, tmp_path):
    X = _bits(dtype=dtype)
    if form == "read-only":
        given = X.copy()
        given.flags.writeable = False
    elif form == "memory map":
        np.save(tmp_path / "x.npy", X)
        given = np.load(tmp_path / "x.npy", mmap_mode="r")
    elif form == "Fortran":
        given = np.asfortranarray(X)
    elif form == "strided":
        wide = np.full((2 * len(X), 3 * X.shape[1]), np.nan, dtype=dtype)
        wide[::2, ::3] = X
        given = wide[::2, ::3]
    else:
        given = np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    before = np.array(given)
    plain, rbm = _small().fit(X), _small().fit(given)
    _same_model(rbm, plain)
    _assert_answers_as_for(rbm, given, plain, X)
    np.testing.assert_array_equal(rbm.gibbs(given, random_state=1), plain.gibbs(X, random_state=1))
    np.testing.assert_array_equal(given, before)


def test_fit_leaves_the_constructors_arguments_and_the_random_state_of_the_process_alone():
    X = _bits()
    rbm = _small(random_state=np.random.RandomState(3), n_chains=5)
    given = rbm.get_params()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    rbm.fit(X).partial_fit(X)
    rbm.sample(3)
    assert all(rbm.get_params()[name] is value for name, value in given.items())
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


# ------------------------------------------------------------------------------ rounded values


def _rounded_beyond_one(dtype=np.float64):
    """Rows that MinMaxScaler takes an ulp beyond 1."""
    X = np.random.default_rng(0).normal(10, 3, size=(60, 12)).astype(dtype)
    assert MinMaxScaler().fit_transform(X).max() > 1
    return X


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "model",
    [
        RBM(3, n_iter=1, random_state=0),
        RBM(3, visible="unit-interval", n_iter=1, random_state=0),
        BernoulliRBM(3, n_iter=1, random_state=0),
        RBMClassifier(3, n_iter=1, random_state=0),
        DeepBeliefNetwork((3, 2), n_iter=1, random_state=0),
        DeepBoltzmannMachine((3, 2), n_iter=1, random_state=0),
        SigmoidBeliefNetwork((3, 2), n_iter=1, random_state=0),
        PointwiseGatedRBM(3, n_iter=1, random_state=0),
        HigherOrderBoltzmannMachine(n_hidden=1, n_iter=1, random_state=0),
    ],
    ids=lambda model: f"{type(model).__name__}-{getattr(model, 'visible', '')}",
)
@pytest.mark.filterwarnings("error:X has values")
def test_values_that_min_max_scaler_has_rounded_beyond_one_are_taken_as_one(model, dtype):
    X = _rounded_beyond_one(dtype)
    y = np.arange(len(X)) % 2
    scaled = MinMaxScaler().fit_transform(X)
    ends = np.clip(scaled, 0, 1)
    piped = make_pipeline(MinMaxScaler(), clone(model)).fit(X, y)
    direct = clone(model).fit(ends, y)
    for mine, theirs in zip(*(getattr(m, "rbms_", [m]) for m in (piped[-1], direct)), strict=True):
        _same_model(mine, theirs)
    answer = "predict_proba" if hasattr(direct, "predict_proba") else "transform"
    np.testing.assert_array_equal(getattr(piped, answer)(X), getattr(direct, answer)(ends))
    assert scaled.max() > 1  # what was given stays


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csr_array])
def test_rounded_values_of_sparse_rows_are_taken(form):
    X = form(np.array([[0, 1 + 2e-16], [1, 0], [0.5, 0]]))
    rbm = RBM(2, n_iter=1, random_state=0).fit(X)
    _same_model(rbm, RBM(2, n_iter=1, random_state=0).fit(form(X.toarray().clip(0, 1))))
    assert X.max() > 1


def test_a_value_beyond_rounding_is_printed_with_the_digits_that_put_it_there():
    X = np.array([[0, 1.0000002], [1, 0]])
    with pytest.raises(ValueError, match=r"X has values in \[0, 1\.0000002\]; Bernoulli units"):
        RBM(2).fit(X)
    X = np.array([[0, np.nextafter(1, 2), 1.5], [1, 0, 0]])
    with pytest.raises(ValueError, match=r"X has values in \[0, 1\.5\]; Bernoulli units"):
        RBM(2).fit(X)
