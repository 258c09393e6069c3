"""The drop-in for scikit-learn's BernoulliRBM, beside scikit-learn's own."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM as Theirs

from fastboltz import RBM
from fastboltz import BernoulliRBM as Ours

DIGITS = load_digits().data / 16.0
BITS = (DIGITS > 0.5).astype(np.float64)
OUTSIDE = (
    r"X has values in \[.*\]; Bernoulli units need \[0, 1\]\..* use RBM with visible='gaussian'\. "
    r"They are taken as they are\."
)


def _with_their_parameters(theirs, X):
    """Our model with the parameters that scikit-learn has learnt."""
    ours = Ours(theirs.components_.shape[0], n_iter=0, random_state=0).fit(X)
    ours.components_[...] = theirs.components_
    ours.intercept_hidden_[...] = theirs.intercept_hidden_
    ours.intercept_visible_[...] = theirs.intercept_visible_
    return ours


def test_the_constructor_is_theirs():
    """Names, order, kinds and defaults, so that every call and every grid goes on working."""
    theirs, ours = (
        [(p.name, p.kind, p.default) for p in inspect.signature(make).parameters.values()]
        for make in (Theirs, Ours)
    )
    assert ours == theirs
    assert Ours().get_params() == Theirs().get_params()


def test_every_public_method_and_learnt_attribute_of_theirs_is_there():
    theirs, ours = (make(3, n_iter=1, random_state=0).fit(BITS) for make in (Theirs, Ours))
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert not public - set(dir(ours)) - {"random_state_"}
    for name in ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape, name
    assert ours.n_features_in_ == theirs.n_features_in_
    np.testing.assert_array_equal(
        ours.get_feature_names_out(), ["bernoullirbm0", "bernoullirbm1", "bernoullirbm2"]
    )
    assert np.isin(ours.h_samples_, (0, 1)).all()


def test_transform_is_theirs():
    theirs = Theirs(7, n_iter=3, random_state=0).fit(DIGITS)
    ours = _with_their_parameters(theirs, DIGITS)
    np.testing.assert_allclose(ours.transform(DIGITS), theirs.transform(DIGITS), rtol=1e-12)
    np.testing.assert_allclose(ours.free_energy(DIGITS), theirs._free_energy(DIGITS), rtol=1e-12)


def test_gibbs_has_the_distribution_of_theirs():
    """One sweep from the same rows; means of 64 pixels; z below 5 with the joint standard error."""
    theirs = Theirs(7, n_iter=3, random_state=0).fit(BITS)
    ours = _with_their_parameters(theirs, BITS)
    rows = np.repeat(BITS[:2], 8000, axis=0)
    a, b = ours.gibbs(rows, random_state=0), theirs.gibbs(rows).astype(float)
    for part in (slice(0, 8000), slice(8000, None)):
        error = np.sqrt((a[part].var(axis=0) + b[part].var(axis=0)) / 8000)
        z = np.abs(a[part].mean(axis=0) - b[part].mean(axis=0)) / np.maximum(error, 1e-4)
        assert z.max() < 5


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array, np.asarray])
def test_gibbs_takes_what_theirs_takes_and_goes_on_from_call_to_call(form):
    ours = Ours(7, n_iter=3, random_state=0).fit(form(BITS))
    first, second = ours.gibbs(form(BITS)), ours.gibbs(form(BITS))
    assert first.shape == second.shape == BITS.shape
    assert (first != second).any(axis=1).all()


def test_pseudo_likelihood_is_what_their_score_samples_estimates():
    """Theirs picks one random unit a call and multiplies by their number: right on average.

    400 calls on 20 rows; z below 5 with their own scatter.
    """
    theirs = Theirs(7, n_iter=3, random_state=0).fit(BITS)
    theirs.random_state = np.random.RandomState(1)
    calls = np.array([theirs.score_samples(BITS[:20]) for _ in range(400)])
    ours = _with_their_parameters(theirs, BITS).pseudo_likelihood(BITS[:20])
    error = calls.std(axis=0, ddof=1) / np.sqrt(400)
    assert (np.abs(calls.mean(axis=0) - ours) < 5 * error).all()


def test_score_samples_is_a_likelihood_and_always_the_same():
    """Catches their random estimate under that name."""
    X = BITS[:, 18:24]
    ours = Ours(3, random_state=0).fit(X)
    first = ours.score_samples(X)
    np.testing.assert_array_equal(ours.score_samples(X), first)
    np.testing.assert_array_equal(ours.score_samples(X[::-1]), first[::-1])
    every = np.array(np.meshgrid(*[[0.0, 1.0]] * 6)).reshape(6, -1).T
    assert np.exp(ours.score_samples(every)).sum() == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("batch_size", [10, 100], ids=["even", "short last minibatch"])
def test_it_learns_at_least_as_well_as_theirs_at_the_same_settings(batch_size):
    """Exact log-likelihoods of the training rows, the mean of three seeds.

    1,797 rows leave a last minibatch of 7, or of 97; their wrong weights there cost them little, so
    this only guards against a learning rule that is worse. A tenth of a nat is left for the seeds.
    """
    found = []
    for make in (Ours, Theirs):
        scores = []
        for seed in range(3):
            options = {"batch_size": batch_size, "learning_rate": 0.05, "random_state": seed}
            model = make(10, n_iter=15, **options).fit(BITS)
            scores.append(
                (_with_their_parameters(model, BITS) if make is Theirs else model).score(BITS)
            )
        found.append(np.mean(scores))
    assert found[0] > found[1] - 0.1


def test_values_outside_of_the_unit_interval_are_taken_with_a_warning():
    X = DIGITS[:50] * 16
    with pytest.warns(UserWarning, match=OUTSIDE):
        ours = Ours(3, random_state=0).fit(X)
    for name in ("transform", "score_samples", "pseudo_likelihood", "partial_fit"):
        with pytest.warns(UserWarning, match=OUTSIDE):
            getattr(ours, name)(X)
    assert np.isfinite(ours.components_).all()


def test_partial_fit_cuts_minibatches_shuffles_and_returns_self():
    """Theirs takes all rows as one minibatch, in their order."""
    whole = Ours(3, batch_size=10, n_iter=1, learning_rate=0.05, random_state=0).fit(BITS)
    parts = Ours(3, batch_size=10, n_iter=1, learning_rate=0.05, random_state=0)
    assert parts.partial_fit(BITS) is parts
    np.testing.assert_array_equal(parts.components_, whole.components_)
    assert parts.h_samples_.shape == (10, 3)


def test_what_is_more_than_theirs_is_there_too():
    ours = Ours(3, random_state=0).fit(BITS[:, 18:24])
    assert ours.sample(5, random_state=0).shape == (5, 6)
    assert ours.sample(5, given=np.array([1, 0, 0, np.nan, np.nan, np.nan])).shape == (5, 6)
    assert ours.log_partition_.method == "exact"
    assert ours.chains_.shape == (10, 6)
    assert ours.reconstruct(BITS[:, 18:24]).shape == (len(BITS), 6)
    assert len(ours.history_["epoch"]) == ours.n_iter_ == 10


def test_it_starts_at_zero_biases_as_theirs_does():
    ours = Ours(3, n_iter=0, random_state=0).fit(BITS)
    assert not ours.intercept_visible_.any()
    assert not ours.intercept_hidden_.any()
    assert not hasattr(ours, "h_samples_")


# ------------------------------------------------------------------------------------ in and out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_theirs_has_learnt_comes_in_and_goes_out(dtype):
    """Catches transposed weights, biases of the wrong side, and chains that are left behind."""
    X = DIGITS.astype(dtype)
    theirs = Theirs(7, n_iter=3, batch_size=20, learning_rate=0.03, random_state=0).fit(X)
    ours = Ours.from_sklearn(theirs)
    assert ours.get_params() == theirs.get_params()
    assert ours.params_["h"].dtype == dtype
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=rtol)
    np.testing.assert_array_equal(ours.h_samples_, theirs.h_samples_)
    back = ours.to_sklearn()
    assert back.get_params() == theirs.get_params()
    assert set(vars(back)) == set(vars(theirs))
    for name in vars(theirs):
        np.testing.assert_array_equal(getattr(back, name), getattr(theirs, name))
    # Copies: the one that learns on leaves the other as it was.
    before = theirs.components_.copy()
    ours.partial_fit(X)
    back.partial_fit(X[:20])
    np.testing.assert_array_equal(theirs.components_, before)


def test_a_training_of_theirs_goes_on_here():
    theirs = Theirs(16, n_iter=5, batch_size=20, random_state=1).fit(DIGITS)
    ours = Ours.from_sklearn(theirs)
    before = ours.score(DIGITS)
    for _ in range(5):
        ours.partial_fit(DIGITS)
    assert ours.n_iter_ == 5
    assert ours.score(DIGITS) > before + 1
    assert np.isfinite(ours.sample(3)).all()


def test_log_z_of_an_imported_model_is_near_by_annealing():
    """The base rates it begins at are those of the chains: the exact one is in its interval."""
    theirs = Theirs(16, n_iter=5, batch_size=20, random_state=0).fit(DIGITS)
    ours = Ours.from_sklearn(theirs)
    z = ours.log_partition("ais")
    margin = 4.5 / 1.96
    exact = ours.log_partition("exact").value
    assert abs(exact - z.value) < margin * max(z.high - z.value, z.value - z.low)


def test_ours_learns_on_there():
    ours = Ours(7, n_iter=2, random_state=0).fit(DIGITS)
    theirs = ours.to_sklearn()
    np.testing.assert_allclose(theirs.transform(DIGITS), ours.transform(DIGITS), rtol=1e-12)
    np.testing.assert_array_equal(theirs.h_samples_, ours.h_samples_)
    theirs.partial_fit(DIGITS[:10])
    assert not np.array_equal(theirs.components_, ours.components_)


def test_an_unfitted_one_stays_one():
    assert Ours.from_sklearn(Theirs(3, n_iter=7)).get_params() == Theirs(3, n_iter=7).get_params()
    with pytest.raises(NotFittedError):
        Ours.from_sklearn(Theirs(3)).transform(DIGITS)
    with pytest.raises(NotFittedError):
        Ours(3).to_sklearn()


def test_an_rbm_of_binary_units_goes_out_too():
    rbm = RBM(5, n_iter=2, random_state=0).fit(DIGITS)
    theirs = rbm.to_sklearn()
    assert theirs.learning_rate == 0.1
    np.testing.assert_allclose(theirs.transform(DIGITS), rbm.transform(DIGITS), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [RBM, Ours])
def test_arrays_come_in_and_go_out(kind, dtype):
    """Catches transposed weights, biases of the wrong side, views in place of copies."""
    random = np.random.default_rng(0)
    w, c, b = (random.normal(0, 0.7, n).astype(dtype) for n in ((3, 5), 3, 5))
    rbm = kind.from_arrays(w, c, b.tolist(), random_state=0)
    assert type(rbm) is kind
    every = np.array(np.meshgrid(*[[0.0, 1.0]] * 5)).reshape(5, -1).T.astype(dtype)
    weights, hidden, visible = (x.astype(float) for x in (w, c, b))
    a = every @ weights.T + hidden
    f = -every @ visible - np.logaddexp(0, a).sum(axis=1)
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(rbm.transform(every), 1 / (1 + np.exp(-a)), rtol=rtol)
    log_p = -f - np.logaddexp.reduce(-f)
    np.testing.assert_allclose(rbm.score_samples(every), log_p, rtol=10 * rtol)
    for name, x in (("components_", w), ("intercept_hidden_", c), ("intercept_visible_", b)):
        assert getattr(rbm, name).dtype == dtype
        np.testing.assert_array_equal(getattr(rbm, name), x)
    before = w.copy()
    rbm.partial_fit(every)
    np.testing.assert_array_equal(w, before)
    assert not np.array_equal(rbm.components_, w)


def test_arrays_of_other_units_come_in_too(tmp_path):
    rows = 2 * BITS[:50, :8] - 1
    spins = RBM(3, visible="spin", hidden="spin", n_iter=2, random_state=0).fit(rows)
    arrays = spins.components_, spins.intercept_hidden_, spins.intercept_visible_
    again = RBM.from_arrays(*arrays, visible="spin", hidden="spin")
    np.testing.assert_array_equal(again.score_samples(rows), spins.score_samples(rows))
    again.save(tmp_path / "model")
    assert again.sample(2, 3, random_state=0).shape == (2, 8)


@pytest.mark.parametrize(
    ("arrays", "options", "sentence"),
    [
        (((3, 5), 5, 3), {}, r"intercept_hidden has shape \(5,\); components of shape \(3, 5\)"),
        (((3, 5), 3, 4), {}, r"intercept_visible has shape \(4,\); .* need \(5,\)"),
        ((5, 3, 5), {}, "Expected 2D array"),
        (((3, 5), 3, 5), {"n_components": 4}, r"components has shape \(3, 5\), but .* \(4, 5\)"),
        (
            ((3, 5), 3, 5),
            {"visible": "gaussian"},
            r"Gaussian\(5\) and .* takes units that have a b",
        ),
        (((3, 5), 3, 5), {"batch_size": 0}, "batch_size must be"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        RBM.from_arrays(*(np.zeros(n) for n in arrays), **options)
    with pytest.raises(ValueError, match="Input intercept_hidden contains NaN"):
        RBM.from_arrays(np.zeros((3, 5)), np.full(3, np.nan), np.zeros(5))


def test_others_are_refused():
    with pytest.raises(TypeError, match=r"takes a sklearn.*BernoulliRBM; got builtins"):
        Ours.from_sklearn(3)
    rbm = RBM(5, visible="gaussian", n_iter=1, random_state=0).fit(DIGITS)
    with pytest.raises(ValueError, match=r"group 'v' is Gaussian\(64\); scikit-learn's Bernoulli"):
        rbm.to_sklearn()
