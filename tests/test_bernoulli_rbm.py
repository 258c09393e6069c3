"""The drop-in for scikit-learn's BernoulliRBM, beside scikit-learn's own."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM as Theirs

from fastboltz import BernoulliRBM as Ours

DIGITS = load_digits().data / 16.0
BITS = (DIGITS > 0.5).astype(np.float64)
OUTSIDE = r"X has values in \[.*\]; Bernoulli units need \[0, 1\]\..* They are taken as they are\."


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
