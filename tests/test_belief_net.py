"""Sigmoid belief networks against enumeration of every hidden state, in plain NumPy."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from scipy import sparse
from scipy.special import logsumexp, softmax

from fastboltz import NotEnumerableError, SigmoidBeliefNetwork
from fastboltz.belief import METHODS, BeliefNet, BoundObjective
from fastboltz.models.belief_net import VALIDATION_DRAWS
from fastboltz.optimizers import Constant

#: Standard errors that a mean may be off.
Z = 4.5
SIZES = (4, 3, 2)

# -- oracle ----------------------------------------------------------------------------------------


def _log_bernoulli(x, a):
    return (x * a - np.logaddexp(0, a)).sum(axis=-1)


def _every(n):
    return np.array(list(product([0.0, 1.0], repeat=n)))


class Tiny:
    """A small network with random parameters, and its exact answers."""

    def __init__(self, sizes=SIZES, seed=0, scale=1.0):
        rng = np.random.default_rng(seed)
        self.offsets = [rng.random(n) for n in sizes]
        self.net = BeliefNet(sizes, self.offsets, 5)
        self.params = {
            k: scale * rng.normal(size=s) for k, s in self.net.parameter_shapes().items()
        }
        self.v = (rng.random((6, sizes[0])) < 0.5).astype(np.float64)
        self.weights = rng.dirichlet(np.ones(len(self.v)))
        states = product(*map(_every, sizes[1:]))
        self.hidden = [np.array(h) for h in zip(*states, strict=True)]

    def log_p(self, params, v):
        """log p(v, h), (rows, states)."""
        names, layers = self.net.names, [v[:, None], *(h[None] for h in self.hidden)]
        total = _log_bernoulli(layers[-1], params[f"p.{names[-1]}.bias"])
        for k, (x, above) in enumerate(pairwise(layers)):
            field = (above - self.offsets[k + 1]) @ params[f"p.{names[k]}.weights"]
            total = total + _log_bernoulli(x, field + params[f"p.{names[k]}.bias"])
        return total

    def log_q(self, params, v):
        """log q(h | v), (rows, states)."""
        names, layers = self.net.names, [v[:, None], *(h[None] for h in self.hidden)]
        total = 0.0
        for k, (x, below) in enumerate(zip(layers[1:], layers, strict=False), 1):
            field = (below - self.offsets[k - 1]) @ params[f"q.{names[k]}.weights"].T
            total = total + _log_bernoulli(x, field + params[f"q.{names[k]}.bias"])
        return total

    def log_w(self, params, v):
        return self.log_p(params, v) - self.log_q(params, v)

    def bounds(self, params, v, particles=1):
        """The exact bound of one or two paths, by row."""
        q, log_w = np.exp(self.log_q(params, v)), self.log_w(params, v)
        if particles == 1:
            return (q * log_w).sum(axis=1)
        pairs = np.logaddexp(log_w[:, :, None], log_w[:, None]) - np.log(2)
        return np.einsum("na,nb,nab->n", q, q, pairs)

    def gradient(self, value):
        """Central differences of a function of the parameters, those of baselines aside."""
        found = {}
        for key, x in self.params.items():
            if key[0] == "b":
                continue
            found[key] = np.zeros_like(x)
            for at in np.ndindex(x.shape):
                ends = []
                for step in (1e-5, -1e-5):
                    moved = x.copy()
                    moved[at] += step
                    ends.append(value({**self.params, key: moved}))
                found[key][at] = (ends[0] - ends[1]) / 2e-5
        return found

    def expected(self, method):
        """Mean of the gradient that a method estimates."""
        v, w = self.v, self.weights
        held = self.params
        if method == "exact":
            posterior = softmax(self.log_p(held, v), axis=1)
            up = self.gradient(lambda p: w @ logsumexp(self.log_p(p, v), axis=1))
            down = self.gradient(lambda p: w @ (posterior * self.log_q(p, v)).sum(axis=1))
        elif method == "wake-sleep":
            every = _every(len(self.offsets[0]))
            dreams = np.exp(self.log_p(held, every))
            up = self.gradient(lambda p: w @ self.bounds(p, v))
            down = self.gradient(lambda p: (dreams * self.log_q(p, every)).sum())
        elif method == "reweighted-wake-sleep":  # of two paths
            q = np.exp(self.log_q(held, v))
            log_w = self.log_w(held, v)
            share = softmax(np.stack(np.broadcast_arrays(log_w[:, :, None], log_w[:, None])), 0)
            one = np.einsum("na,nb,nab->na", q, q, share[0])
            one = one + np.einsum("na,nb,nab->nb", q, q, share[1])
            up = self.gradient(lambda p: w @ (one * self.log_p(p, v)).sum(axis=1))
            down = self.gradient(lambda p: w @ (one * self.log_q(p, v)).sum(axis=1))
        else:
            particles = 2 if method == "vimco" else 1
            up = down = self.gradient(lambda p: w @ self.bounds(p, v, particles))
        return {k: (up if k[0] == "p" else down)[k] for k in up}


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


@pytest.fixture(scope="module")
def three_layers():
    return Tiny((3, 2, 2, 2), seed=4)


def _estimates(tiny, objective, state, n_updates, copies=20):
    """Mean of the gradient over updates, its standard error, and its variance."""
    v, w = np.tile(tiny.v, (copies, 1)), np.tile(tiny.weights, copies)
    keys = [k for k in tiny.params if k[0] != "b"]
    found = {k: [] for k in keys}
    for update in range(n_updates):
        gradient, _, _ = objective.step(tiny.params, {"v": v}, replace(state, update=update), w)
        for k in keys:
            found[k].append(gradient[k])
    means = {k: np.mean(x, axis=0) for k, x in found.items()}
    variances = {k: np.var(x, axis=0, ddof=1) for k, x in found.items()}
    errors = {k: np.sqrt(x / n_updates) for k, x in variances.items()}
    return means, errors, variances


def _state(objective, seed=5):
    """A state after many updates, as far as NVIL's averages go."""
    n = objective.net.top
    centre, variance = np.linspace(-3, -2, n), np.linspace(0.5, 4.0, n)
    return replace(objective.init(seed), centre=centre, variance=variance)


def _scales(objective, state, key):
    """What NVIL's normalisation multiplies the gradient of a parameter with."""
    if objective.method != "nvil" or key[0] != "q":
        return 1.0
    layer = objective.net.names.index(key.split(".")[1])
    return 1 / max(1.0, np.sqrt(state.variance[layer - 1]))


# -- gradients -------------------------------------------------------------------------------------

CASES = [
    ("nvil", 1),
    ("nvil", 3),
    ("reinforce", 1),
    ("leave-one-out", 3),
    ("disarm", 2),
    ("disarm", 4),
    ("arm", 2),
    ("vimco", 2),
    ("wake-sleep", 1),
    ("reweighted-wake-sleep", 2),
]


@pytest.mark.parametrize(("method", "n_paths"), CASES)
@pytest.mark.parametrize("local", [True, False], ids=["local", "global"])
def test_the_mean_of_a_gradient_is_that_of_enumeration(tiny, method, n_paths, local):
    """Catches: a baseline made of the sample itself, pairs whose halves are drawn independently,
    a layer's signal without the log q of the layers above, a weight of rows that is left out.
    """
    objective = BoundObjective(tiny.net, method, n_paths, local)
    state = _state(objective)
    means, errors, _ = _estimates(tiny, objective, state, 400)
    for key, exact in tiny.expected(method).items():
        z = (means[key] - _scales(objective, state, key) * exact) / errors[key]
        assert np.abs(z).max() < Z, (key, z)


@pytest.mark.parametrize(("method", "n_paths"), [("nvil", 1), ("disarm", 2), ("arm", 4)])
def test_so_it_is_with_three_layers(three_layers, method, n_paths):
    """Catches: a twin that goes on from the path's layer in the place of its own."""
    objective = BoundObjective(three_layers.net, method, n_paths)
    state = _state(objective, seed=6)
    means, errors, _ = _estimates(three_layers, objective, state, 400)
    for key, exact in three_layers.expected(method).items():
        z = (means[key] - _scales(objective, state, key) * exact) / errors[key]
        assert np.abs(z).max() < Z, (key, z)


def test_exact_learning_follows_log_p_and_the_posterior(tiny):
    """Catches: weights of the prior in the place of those of the posterior."""
    objective = BoundObjective(tiny.net, "exact", 1)
    gradient, _, _ = objective.step(tiny.params, {"v": tiny.v}, objective.init(0), tiny.weights)
    for key, exact in tiny.expected("exact").items():
        np.testing.assert_allclose(gradient[key], exact, atol=1e-8, err_msg=key)


def test_local_signals_leave_variance_out(tiny):
    """The terms below a layer only add noise to it: its variance falls, by far more than 4.5
    standard errors of either. Catches: a flag that does nothing."""
    total = {}
    for local in (True, False):
        objective = BoundObjective(tiny.net, "reinforce", 1, local)
        _, _, variances = _estimates(tiny, objective, _state(objective), 400)
        total[local] = sum(variances[k].sum() for k in variances if k.startswith("q.h2"))
    # The relative standard error of a variance of 400 draws that are near normal is sqrt(2 / 399).
    assert total[True] * (1 + Z * np.sqrt(2 / 399)) < total[False]


def test_baselines_of_nvil_learn_what_is_to_be_expected_of_a_row(tiny):
    """Catches: a baseline that goes down its gradient, or sees the layer that it is for."""
    objective = BoundObjective(tiny.net, "nvil", 1)
    params = {k: x.copy() for k, x in tiny.params.items()}
    v, state = np.tile(tiny.v, (20, 1)), objective.init(0)
    for _ in range(600):
        gradient, _, state = objective.step(params, {"v": v}, state)
        for key in params:
            if key[0] == "b":
                params[key] += 0.1 * gradient[key]
    learnt, _ = objective._baseline(params, 1, tiny.v)
    expected = tiny.bounds(params, tiny.v)
    assert np.corrcoef(learnt[:, 0], expected)[0, 1] > 0.98
    assert abs(learnt.mean() + state.centre[0] - expected.mean()) < 0.3 * expected.std()


def test_the_first_update_of_nvil_is_one_of_many(tiny):
    """Its averages begin with those of other paths: no jump of the size of the whole signal."""
    objective = BoundObjective(tiny.net, "nvil", 1)
    _, _, state = objective.step(tiny.params, {"v": tiny.v}, objective.init(0))
    assert np.isfinite(state.centre).all()
    assert state.update == 1
    again, _, other = objective.step(tiny.params, {"v": tiny.v}, objective.init(0))
    np.testing.assert_array_equal(state.centre, other.centre)
    later, _, _ = objective.step(tiny.params, {"v": tiny.v}, replace(state, update=0))
    # The same paths, with another centre.
    np.testing.assert_array_equal(again["p.v.bias"], later["p.v.bias"])
    assert (again["q.h1.bias"] != later["q.h1.bias"]).any()


def test_the_first_averages_of_nvil_are_of_rows_with_a_weight(tiny):
    """Catches averages that begin with all rows alike."""
    objective = BoundObjective(tiny.net, "nvil", 1)
    n = len(tiny.v) - 2
    weights = np.r_[np.arange(1.0, n + 1), 0, 0]
    (_, _, some), (_, _, others) = (
        objective.step(tiny.params, {"v": tiny.v[:k]}, objective.init(0), weights[:k])
        for k in (n, n + 2)
    )
    for a, b in ((some.centre, others.centre), (some.variance, others.variance)):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_threads_and_precision_change_nothing_of_a_gradient(method):
    tiny = Tiny((40, 7, 4), seed=2, scale=0.3) if method != "exact" else Tiny((9, 3, 2), seed=2)
    rng = np.random.default_rng(0)
    v = (rng.random((50, tiny.net.sizes[0])) < 0.4).astype(np.float64)
    found = {}
    for n_threads, dtype in ((1, np.float64), (3, np.float64), (1, np.float32)):
        offsets = [x.astype(dtype) for x in tiny.offsets]
        net = BeliefNet(tiny.net.sizes, offsets, 5, n_threads)
        params = {k: x.astype(dtype) for k, x in tiny.params.items()}
        objective = BoundObjective(net, method, METHODS[method][0])
        found[n_threads, dtype], _, _ = objective.step(
            params, {"v": v.astype(dtype)}, objective.init(1)
        )
    for key, x in found[1, np.float64].items():
        np.testing.assert_array_equal(x, found[3, np.float64][key], err_msg=key)
        single = found[1, np.float32][key]
        assert single.dtype == np.float32
        if method in ("exact", "wake-sleep"):  # others may draw another state at a rounding
            np.testing.assert_allclose(single, x, atol=2e-5, err_msg=key)


# -- the estimator ---------------------------------------------------------------------------------


def _digits(n=300, seed=0):
    """Noisy copies of four prototypes of twelve bits, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    prototypes = np.random.default_rng(9).integers(0, 2, (4, 12))
    rows = prototypes[rng.integers(0, 4, n)]
    return np.where(rng.random(rows.shape) < 0.05, 1 - rows, rows).astype(np.float32)


def _fitted(layers=(5, 3), n_iter=30, **options):
    options = {"batch_size": 20, "random_state": 0} | options
    return SigmoidBeliefNetwork(layers, n_iter=n_iter, **options).fit(_digits())


def _as_tiny(model):
    """The oracle of a fitted model."""
    net = model.network_
    tiny = Tiny(net.sizes)
    tiny.offsets = [x.astype(np.float64) for x in net.offsets]
    tiny.params = {k: x.astype(np.float64) for k, x in model.params_.items()}
    return tiny


@pytest.mark.parametrize("layers", [(4,), (4, 3), (3, 2, 2)])
def test_log_likelihoods_are_those_of_enumeration(layers):
    """Catches: an offset that one direction forgets, a prior counted twice."""
    X = _digits()[:40].astype(np.float64)
    model = SigmoidBeliefNetwork(layers, n_iter=5, batch_size=20, random_state=0).fit(X)
    tiny = _as_tiny(model)
    exact = logsumexp(tiny.log_p(tiny.params, X), axis=1)
    np.testing.assert_allclose(model.log_likelihood(X), exact, rtol=1e-10)
    every = _every(12)
    total = logsumexp(model.log_likelihood(every))
    assert abs(total) < 1e-9


def test_bounds_are_those_of_enumeration_rise_with_the_paths_and_stay_below_log_p():
    """Catches: particles of one draw that share uniforms, so that several are no better than one;
    the mean of the weights taken without the division by their number."""
    model = _fitted(n_iter=3)
    X = np.unique(_digits(), axis=0)[:30]
    tiny, rows = _as_tiny(model), X.astype(np.float64)
    exact = logsumexp(tiny.log_p(tiny.params, rows), axis=1)
    means, errors = [], []
    for particles in (1, 2, 8, 40):
        # Calls under different seeds are independent.
        found = []
        for seed in range(30):
            model._seed = seed
            found.append(model.score_samples(X, n_particles=particles, n_draws=16))
        found = np.array(found)
        means.append(found.mean())
        errors.append(found.mean(axis=1).std(ddof=1) / np.sqrt(len(found)))
        if particles <= 2:
            right = tiny.bounds(tiny.params, rows, particles)
            assert abs(means[-1] - right.mean()) < Z * errors[-1]
            by_row = found.std(axis=0, ddof=1) / np.sqrt(len(found))
            # Of 30 calls: quantiles of Student's distribution.
            assert np.abs((found.mean(axis=0) - right) / by_row).max() < 6
    gaps = np.diff([*means, exact.mean()])
    assert (gaps > Z * np.hypot(errors, [*errors[1:], 0])).all(), (means, exact.mean())


def test_a_score_depends_on_the_row_alone():
    """Catches: uniforms by the number of a row, with which a subset has other scores."""
    model = _fitted(n_iter=3)
    X = np.unique(_digits(), axis=0)
    scores = model.score_samples(X)
    np.testing.assert_allclose(model.score_samples(X[::-1])[::-1], scores, atol=1e-4)
    np.testing.assert_allclose(model.score_samples(X[5:6]), scores[5:6], atol=1e-4)
    assert model.score(X) == pytest.approx(scores.mean())
    # Different rows have draws of their own: their errors are not one error.
    tiny = _as_tiny(model)
    once = model.score_samples(X, n_draws=1) - tiny.bounds(tiny.params, X.astype(np.float64))
    assert np.std(once) > 0.3 * np.abs(once).mean()
    assert (once > 0).any()
    assert (once < 0).any()


def test_samples_have_the_distribution_of_the_network():
    """Catches: a bias or an offset left out on the way down, layers that share uniforms."""
    X = _digits()[:, :6]
    model = SigmoidBeliefNetwork((3, 2), n_iter=20, batch_size=20, random_state=0).fit(X)
    n = 40_000
    drawn = model.sample(n, random_state=1)
    tiny, every = _as_tiny(model), _every(6)
    p = np.exp(logsumexp(tiny.log_p(tiny.params, every), axis=1))
    counts = np.bincount((drawn @ (2 ** np.arange(6)[::-1])).astype(int), minlength=64)
    z = (counts - n * p) / np.sqrt(n * p * (1 - p))
    assert np.abs(z[n * p > 20]).max() < Z
    means = model.sample(n, means=True, random_state=1)
    np.testing.assert_array_equal(model.sample(n, random_state=1), drawn)
    assert ((means > 0) & (means < 1)).all()
    error = means.std(axis=0) / np.sqrt(n)
    assert (np.abs(means.mean(axis=0) - p @ every) < Z * error).all()
    assert (model.sample(50) != model.sample(50)).any()


def test_transform_passes_means_up():
    model = _fitted(n_iter=2)
    X, params, offsets = _digits()[:50], model.params_, model.network_.offsets
    x = X.astype(np.float64)
    for layer, name in enumerate(("h1", "h2")):
        a = (x - offsets[layer]) @ params[f"q.{name}.weights"].T + params[f"q.{name}.bias"]
        x = 1 / (1 + np.exp(-a))
        np.testing.assert_allclose(model.transform(X, depth=layer + 1), x, atol=1e-5)
    np.testing.assert_array_equal(model.transform(X), model.transform(X, depth=2))
    assert len(model.get_feature_names_out()) == 3


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(method):
    """The exact likelihood passes that of independent pixels by far; and q comes to be of use."""
    X = _digits()
    p = X.mean(axis=0)
    independent = np.mean(X @ np.log(p) + (1 - X) @ np.log1p(-p))
    n_iter = 20 if method == "exact" else 40
    model = _fitted((5, 2), method=method, n_iter=n_iter, learning_rate=0.04)
    exact = model.log_likelihood(X).mean()
    # Four prototypes of twelve bits, each flipped with probability 0.05, have -3.8 nats.
    assert exact > independent + 1.0, (exact, independent)
    assert exact > model.score(X) > independent


def test_early_stopping_restores_the_best_parameters():
    X, held = _digits(60), _digits(200, seed=1)
    seen = []

    def keep(progress):
        seen.append({k: x.copy() for k, x in progress.params.items()})

    model = SigmoidBeliefNetwork(
        (20, 10),
        n_iter=300,
        n_iter_no_change=3,
        validate_every=5,
        learning_rate=Constant(0.02),
        batch_size=10,
        callbacks=[keep],
        random_state=0,
    ).fit(X, validation=held)
    scores = np.array(model.history_["validation"])
    assert np.isnan(scores).sum() == len(scores) - len(scores) // 5
    assert model.best_score_ == np.nanmax(scores)
    assert model.best_iter_ == np.nanargmax(scores) + 1
    assert model.n_iter_ == model.best_iter_ + 15 < 300
    for key, x in model.params_.items():
        np.testing.assert_array_equal(x, seen[model.best_iter_ - 1][key])


def test_rows_are_held_out_when_asked():
    X = _digits(50)
    options = {"n_iter": 3, "batch_size": 10, "random_state": 0}
    model = SigmoidBeliefNetwork((3,), early_stopping=True, **options).fit(X)
    assert len(model.history_["validation"]) == 3
    assert 1 <= model.best_iter_ <= 3
    assert not hasattr(SigmoidBeliefNetwork((3,), **options).fit(X), "best_iter_")


def test_held_out_rows_count_by_their_weights():
    """Catches rows without a weight that say when to stop, and held-out rows that are all alike."""
    X = _digits(60)
    random = np.random.default_rng(1)
    weight = np.where(random.random(60) < 0.4, 0, random.exponential(size=60))
    measured = []

    def measure(progress):
        bounds = progress.model.score_samples(X[held], n_draws=VALIDATION_DRAWS)
        measured.append(np.average(bounds, weights=weight[held]))

    model = SigmoidBeliefNetwork(
        (3,), early_stopping=True, validation_fraction=0.3, n_iter=3, batch_size=10,
        callbacks=[measure], random_state=0,
    )  # fmt: skip
    rows, held = model._hold_out(60, weight)
    assert sorted([*rows, *held]) == list(range(60))
    assert (weight[held] > 0).all()
    assert len(held) == round(0.3 * (weight > 0).sum())
    model.fit(X, sample_weight=weight)
    np.testing.assert_allclose(model.history_["validation"], measured, rtol=1e-6)
    sentence = (
        "early stopping would hold out all 1 rows with a weight above zero; lower "
        "validation_fraction (it is 0.3), or give more rows."
    )
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        model.fit(X, sample_weight=np.eye(60)[7])


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_leaves_a_whole_update(monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    seen = []
    step = BoundObjective.step

    def interrupted(self, *args, **options):
        seen.append(1)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **options)

    monkeypatch.setattr(BoundObjective, "step", interrupted)
    model = SigmoidBeliefNetwork((3, 2), batch_size=20, random_state=0)
    with pytest.raises(KeyboardInterrupt, match=re.escape("interrupted after update 5 (epoch 0)")):
        model.fit(_digits())
    assert signal.getsignal(signal.SIGINT) is handler
    monkeypatch.undo()
    whole = SigmoidBeliefNetwork((3, 2), batch_size=20, n_iter=100, random_state=0)
    count = []

    def enough(self, *args, **options):
        if len(count) == 5:
            raise ZeroDivisionError
        count.append(1)
        return step(self, *args, **options)

    monkeypatch.setattr(BoundObjective, "step", enough)
    with pytest.raises(ZeroDivisionError):
        whole.fit(_digits())
    for key, x in model.params_.items():
        np.testing.assert_array_equal(x, whole.params_[key])
    assert np.isfinite(model.score(_digits()))


def test_passes_one_by_one_are_those_of_fit():
    X = _digits()
    options = {"batch_size": 20, "learning_rate": Constant(0.01), "random_state": 0}
    whole = SigmoidBeliefNetwork((4, 2), n_iter=3, **options).fit(X)
    parts = SigmoidBeliefNetwork((4, 2), n_iter=3, **options)
    for _ in range(3):
        parts.partial_fit(X)
    for key, x in whole.params_.items():
        np.testing.assert_array_equal(x, parts.params_[key])
    assert whole.n_iter_ == parts.n_iter_ == 3


@pytest.mark.parametrize("method", ["nvil", "disarm", "vimco"])
def test_sparse_rows_threads_and_repetition_give_the_same_network(method):
    X = _digits()
    model = _fitted(method=method, n_iter=2, n_threads=1)
    others = [
        _fitted(method=method, n_iter=2, n_threads=2),
        SigmoidBeliefNetwork((5, 3), method=method, n_iter=2, batch_size=20, random_state=0).fit(
            sparse.csr_matrix(X)
        ),
    ]
    for other in others:
        for key, x in model.params_.items():
            np.testing.assert_array_equal(x, other.params_[key])
    np.testing.assert_allclose(
        model.score_samples(sparse.csr_matrix(X)), model.score_samples(X), atol=1e-6
    )


def test_rows_of_weight_zero_teach_nothing():
    """Catches: weights that reach one of the two networks alone."""
    X = _digits(100)
    weight = np.ones(100)
    weight[50:] = 0
    other = X.copy()
    other[50:] = 1 - other[50:]
    options = {"n_iter": 2, "batch_size": 100, "method": "disarm", "random_state": 0}
    one, two = (
        SigmoidBeliefNetwork((4, 2), **options).fit(x, sample_weight=weight) for x in (X, other)
    )
    for key, x in one.params_.items():
        np.testing.assert_allclose(x, two.params_[key], atol=1e-6, err_msg=key)


def test_penalties_are_on_the_weights_alone():
    options = {"layers": (4, 2), "n_iter": 30, "optimizer": "sgd", "learning_rate": 0.1}
    free, held = _fitted(**options), _fitted(l2=0.3, **options)
    for key in free.params_:
        if key.endswith("weights"):
            assert np.abs(held.params_[key]).sum() < np.abs(free.params_[key]).sum()
    keys = _fitted(method="nvil", n_iter=0).network_.own_keys()
    assert "p.v.bias" in keys
    assert "b.h1.in" in keys
    assert "p.v.weights" not in keys


# -- sentences -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"layers": ()},
            ValueError,
            "layers must be the sizes of the hidden layers from the data upwards, e.g. (500, "
            "1000); got ().",
        ),
        ({"layers": (3, 0)}, ValueError, "layers[1] must be a whole number >= 1; got 0."),
        (
            {"method": "nvl"},
            ValueError,
            "method must be one of 'disarm', 'arm', 'nvil', 'leave-one-out', 'reinforce', "
            "'vimco', 'reweighted-wake-sleep', 'wake-sleep', 'exact'; got 'nvl'. Did you mean "
            "'nvil'?",
        ),
        (
            {"method": "vimco", "n_paths": 1},
            ValueError,
            "method='vimco' compares the paths of a row, so it needs n_paths >= 2; got 1.",
        ),
        (
            {"method": "disarm", "n_paths": 3},
            ValueError,
            "method='disarm' draws paths in pairs, so it needs an even n_paths >= 2; got 3.",
        ),
        ({"n_paths": 0}, ValueError, "n_paths must be a whole number >= 1; got 0."),
        ({"baseline_units": -1}, ValueError, "baseline_units must be a whole number >= 0; got -1."),
        ({"local_signals": 1}, TypeError, "local_signals must be True or False; got 1."),
        (
            {"learning_rate": "slow"},
            ValueError,
            "learning_rate must be 'auto', a number > 0 or a schedule; got 'slow'.",
        ),
        (
            {"early_stopping": True, "validation_fraction": 0.999},
            ValueError,
            "early stopping would hold out all 300 rows; lower validation_fraction (it is 0.999), "
            "or give more rows.",
        ),
        (
            {"method": "exact", "layers": (10, 5)},
            NotEnumerableError,
            "exact learning needs 2**15 states (limit 2**12). Use method='nvil' or 'vimco'.",
        ),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else "",
)
def test_what_makes_no_sense_is_refused_in_a_sentence(options, error, sentence):
    with pytest.raises(error, match="^" + re.escape(sentence) + "$"):
        SigmoidBeliefNetwork(**{"layers": (3,), "n_iter": 1} | options).fit(_digits())


def test_data_and_questions_that_make_no_sense_are_refused_too():
    def says(sentence):
        return pytest.raises(ValueError, match="^" + re.escape(sentence) + "$")

    # The remedy of other models, another kind of units, is not named: these have but one.
    with says("X has values in [0, 255]; Bernoulli units need [0, 1]. Divide by 255."):
        SigmoidBeliefNetwork((3,)).fit(255 * _digits())
    model = _fitted((15, 6), n_iter=1)
    with says("depth must be a whole number from 1, the layer next to the data, to 2, the top; "
              "got 3."):  # fmt: skip
        model.transform(_digits(), depth=3)
    with says("n_particles must be a whole number >= 1; got 0."):
        model.score_samples(_digits(), n_particles=0)
    with says(
        "exact log-likelihood needs 2**21 states (limit 2**20). Use score_samples, a lower bound."
    ):
        model.log_likelihood(_digits())
    with says(
        "the network was begun by another method and has no baselines for method='nvil'; call fit, "
        "or go on with a method that needs none, such as 'disarm'."
    ):
        _fitted(n_iter=1).set_params(method="nvil").partial_fit(_digits())
    with says("validation has values in [0, 2]; Bernoulli units need [0, 1]. Rescale "
              "(sklearn.preprocessing.minmax_scale)."):  # fmt: skip
        SigmoidBeliefNetwork((3,)).fit(_digits(), validation=2 * _digits())
