"""Low-rank pretraining of binary RBMs, against sums over all states."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import optimize, sparse

import fastboltz as fb
from fastboltz import low_rank
from fastboltz.low_rank import TiltedMixture

Z_LIMIT = 4.5
N = 10
STATES = np.array(list(itertools.product([0.0, 1.0], repeat=N)))


def _clusters(n=300, seed=0):
    """Three clusters of unequal weight, far apart."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0] * 10, [1] * 10, [0] * 5 + [1] * 5])
    kind = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    return np.where(rng.random((n, N)) < 0.06, 1 - centres[kind], centres[kind]).astype(float)


def _log_f(b, c, w, v):
    return v @ b + np.logaddexp(0, v @ w.T + c).sum(axis=1)


def _log_z(b, c, w):
    x = _log_f(b, c, w, STATES)
    return x.max() + np.log(np.exp(x - x.max()).sum())


def _mixture(seed=0, rank=2, n_components=7):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(N, rank)))
    bias, centre = rng.normal(size=N), rng.normal(size=rank)
    return TiltedMixture(bias, q.T, centre, 2 * rng.normal(size=(n_components, rank)))


def _log_q(mixture, v):
    """Written out: an average of products over the units."""
    fields = mixture.bias + mixture.tilts @ mixture.directions
    p = 1 / (1 + np.exp(-fields))
    each = [np.where(v == 1, one, 1 - one).prod(axis=1) for one in p]
    return np.log(np.mean(each, axis=0))


def test_directions_are_those_of_the_singular_value_decomposition():
    X = _clusters()
    _, _, vt = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    for table in (X, sparse.csr_matrix(X)):
        found = low_rank.principal_directions(table, 3, 0)
        np.testing.assert_allclose(np.abs((found * vt[:3]).sum(axis=1)), 1, atol=1e-6)
        np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-8)


def test_the_density_of_a_mixture_is_its_definition():
    """Deliberate bugs that this catches: the centre forgotten, or taken off with the other sign."""
    mixture = _mixture()
    m = STATES @ mixture.directions.T - mixture.centre
    found = STATES @ mixture.bias + mixture.log_tilt(m)
    np.testing.assert_allclose(found, _log_q(mixture, STATES), atol=1e-10)
    assert np.exp(found).sum() == pytest.approx(1)


def test_draws_of_a_mixture_have_its_density():
    """Means and products of pairs over 40,000 draws."""
    mixture, n = _mixture(), 40_000
    v = mixture.draw(n, np.random.default_rng(0))
    p = np.exp(_log_q(mixture, STATES))
    for f in (lambda x: x, lambda x: x[:, :-1] * x[:, 1:]):
        exact = p @ f(STATES)
        error = np.sqrt(exact * (1 - exact) / n)
        assert (np.abs(f(v).mean(axis=0) - exact) < Z_LIMIT * error).all()


def test_components_are_tilted_to_where_they_are_asked_for():
    mixture = _mixture(n_components=5)
    p = 1 / (1 + np.exp(-(mixture.bias + mixture.tilts @ mixture.directions)))
    m = p @ mixture.directions.T - mixture.centre
    again = TiltedMixture.at(mixture.bias, mixture.directions, mixture.centre, m)
    p = 1 / (1 + np.exp(-(mixture.bias + again.tilts @ mixture.directions)))
    # A ridge pulls them to zero a little.
    np.testing.assert_allclose(p @ mixture.directions.T - mixture.centre, m, atol=0.1)


def test_the_gradient_is_that_of_the_enumerated_likelihood():
    """With all states for samples; by central differences."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(N, 2)))
    X, centre = _clusters(50), rng.normal(size=2)
    params = {"b": rng.normal(size=N), "c": rng.normal(size=3), "a": rng.normal(size=(3, 2))}
    share = rng.dirichlet(np.ones(50))

    def log_p(params, v):
        w = params["a"] @ q.T
        c = params["c"] - params["a"] @ centre
        return _log_f(params["b"], c, w, v) - _log_z(params["b"], c, w)

    data = X @ q - centre, share
    model = STATES, STATES @ q - centre, np.exp(log_p(params, STATES))
    found = low_rank._gradient(params, share @ X, data, model)
    for key, x in params.items():
        for at in np.ndindex(x.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = {k: y.copy() for k, y in params.items()}
                moved[key][at] += step
                ends.append(share @ log_p(moved, X))
            assert found[key][at] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-7), key


def test_log_z_is_that_of_enumeration_and_the_likelihood_the_best_there_is():
    """Beside a maximisation by exact gradients over the same directions, from several starts.

    Deliberate bugs that this catches: weights that forget the density of the mixture, biases of
    hidden units that forget the centre.
    """
    X, n_hidden, rank = _clusters(), 4, 2
    found = low_rank.fit(X, n_hidden, rank, 0)
    exact = _log_z(found.bias_visible, found.bias_hidden, found.weights)
    # The relative variance of n weights of which a share e is effective is (1 / e - 1).
    error = np.sqrt((1 / found.effective - 1) / low_rank._SAMPLES)
    assert abs(found.log_partition - exact) < Z_LIMIT * error
    assert found.effective > 0.5
    mine = _log_f(found.bias_visible, found.bias_hidden, found.weights, X).mean() - exact

    def minus(x):
        b, c, a = np.split(x, [N, N + n_hidden])
        w = a.reshape(n_hidden, rank) @ found.directions
        log_z = _log_z(b, c, w)
        p = np.exp(_log_f(b, c, w, STATES) - log_z)
        value = _log_f(b, c, w, X).mean() - log_z
        h, g = (1 / (1 + np.exp(-(v @ w.T + c))) for v in (X, STATES))
        change = h.T @ X / len(X) - (g * p[:, None]).T @ STATES
        gradient = [
            X.mean(axis=0) - p @ STATES,
            h.mean(axis=0) - p @ g,
            (change @ found.directions.T).ravel(),
        ]
        return -value, -np.concatenate(gradient)

    best = -np.inf
    for seed in range(4):
        start = np.random.default_rng(seed).normal(size=N + n_hidden * (1 + rank))
        best = max(best, -optimize.minimize(minus, start, jac=True, options={"maxiter": 300}).fun)
    assert mine > best - 0.05
    independent = X.mean(axis=0)
    alone = (X * np.log(independent) + (1 - X) * np.log(1 - independent)).sum(axis=1).mean()
    assert best - 0.1 > alone + 1, "the modes are worth more than a nat"


def _nearest(v):
    kinds = np.array([[0] * 10, [1] * 10, [0] * 5 + [1] * 5])
    return np.abs(v[:, None] - kinds).sum(axis=2).argmin(axis=1)


def _model_shares(b, c, w):
    log_p = _log_f(b, c, w, STATES)
    p = np.exp(log_p - log_p.max())
    return np.bincount(_nearest(STATES), p / p.sum(), minlength=3)


def test_rows_count_by_their_weights_and_sparse_rows_like_dense_ones():
    """Deliberate bug that this catches: components or means of rows without their weights."""
    X = _clusters()
    weights = np.array([1.0, 20.0, 5.0])[_nearest(X)]
    shares = np.bincount(_nearest(X), weights) / weights.sum()
    a, b = (low_rank.fit(table, 4, 2, 0, weights) for table in (X, sparse.csr_matrix(X)))
    assert np.abs(_model_shares(a.bias_visible, a.bias_hidden, a.weights) - shares).max() < 0.05
    np.testing.assert_allclose(a.weights, b.weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["zeros", "numbers"])
def test_a_row_of_weight_two_counts_as_two_and_one_of_weight_zero_as_none(kind, monkeypatch):
    """Catches directions, scales or the counted row of smoothing that know nothing of weights."""
    monkeypatch.setattr(low_rank, "_UPDATES", 30)
    X = _clusters(60)
    weights = np.random.default_rng(1).integers(0, 2 if kind == "zeros" else 4, 60)
    weights[:40] *= _nearest(X[:40]) > 0  # one cluster has less than its rows
    rows = np.repeat(X, weights, axis=0)
    for table in (X, sparse.csr_matrix(X)):
        found = low_rank.principal_directions(table, 3, 0, weights)
        np.testing.assert_allclose(found, low_rank.principal_directions(rows, 3, 0), atol=1e-8)
        a = low_rank.fit(table, 4, 2, 0, weights.astype(np.float32))
        b = low_rank.fit(rows, 4, 2, 0)
        for name in ("bias_visible", "bias_hidden", "weights", "log_partition", "effective"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-6, atol=1e-8)
    few = np.isin(np.arange(60), [0, int(np.argmax(_nearest(X) != _nearest(X)[0]))])
    rbm = fb.RBM(5, init="low-rank", n_iter=0, random_state=0).fit(X, sample_weight=few)
    assert len(rbm.low_rank_["directions"]) == 1


def test_other_hidden_units_are_taken_into_account():
    """Deliberate bug that this catches: samples weighted as if the other units were not there."""
    X, rng = _clusters(), np.random.default_rng(0)
    others = 0.5 * rng.normal(size=(6, N)), rng.normal(size=6)
    found = low_rank.fit(X, 4, 2, 0, others=others)
    w = np.concatenate([found.weights, others[0]])
    c = np.concatenate([found.bias_hidden, others[1]])
    error = np.sqrt((1 / found.effective - 1) / low_rank._SAMPLES)
    assert abs(found.log_partition - _log_z(found.bias_visible, c, w)) < Z_LIMIT * error
    shares = np.bincount(_nearest(X)) / len(X)
    assert np.abs(_model_shares(found.bias_visible, c, w) - shares).max() < 0.05


# ------------------------------------------------------------------------------------ in the model


def test_a_training_begins_with_the_modes_and_their_shares():
    X = _clusters().astype(np.float32)
    options = {"n_iter": 0, "random_state": 0}
    rbm = fb.RBM(40, init="low-rank", **options).fit(X)
    assert rbm.low_rank_["directions"].shape == (4, N)
    assert rbm.low_rank_["effective"] > 0.3
    plain = fb.RBM(40, **options).fit(X)
    # 32 units lie in the directions, the others are as they were.
    q = rbm.low_rank_["directions"]
    w = rbm.components_
    np.testing.assert_allclose(w[:32] @ q.T @ q, w[:32], atol=1e-4)
    np.testing.assert_array_equal(w[32:], plain.components_[32:])
    model = _model_shares(*(rbm.params_[g].astype(float) for g in "vh"), w.astype(float))
    assert np.abs(model - np.bincount(_nearest(X)) / len(X)).max() < 0.05
    assert rbm.score(X) > plain.score(X) + 1


def test_the_same_seed_gives_the_same_start_also_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(low_rank, "_UPDATES", 30)
    X = _clusters(100)
    one, two = (fb.RBM(5, init="low-rank", n_iter=2, random_state=1).fit(X) for _ in range(2))
    np.testing.assert_array_equal(one.components_, two.components_)
    one.save(tmp_path / "rbm.fbm")
    again = fb.load(tmp_path / "rbm.fbm")
    assert again.init == "low-rank"
    np.testing.assert_array_equal(again.low_rank_["directions"], one.low_rank_["directions"])
    assert not hasattr(again.set_params(init="random").fit(X), "low_rank_")


def test_what_cannot_be_is_said_and_rows_without_directions_are_taken(monkeypatch):
    monkeypatch.setattr(low_rank, "_UPDATES", 30)
    X = _clusters(30)
    with pytest.raises(ValueError, match="init must be one of 'random', 'low-rank'; got 'lowrank'"):
        fb.RBM(3, init="lowrank").fit(X)
    with pytest.raises(ValueError, match="binary units on both sides, but hidden is 'gaussian'"):
        fb.RBM(3, init="low-rank", hidden="gaussian").fit(X)
    with pytest.raises(ValueError, match="fits all rows at once before the training"):
        fb.RBM(3, init="low-rank").fit(lambda: iter([X[:20], X[20:]]))
    for rows in (np.ones((5, 4)), np.eye(2)[:1]):
        rbm = fb.RBM(3, init="low-rank", n_iter=1).fit(rows)
        assert np.isfinite(rbm.components_).all() and not hasattr(rbm, "low_rank_")
    assert fb.RBM(3, init="low-rank", n_iter=1).fit(np.eye(2)).low_rank_["directions"].shape[0] == 1
