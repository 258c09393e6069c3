"""RBMs of all unit types: what they learn, and what they answer, against enumeration."""

from __future__ import annotations

import itertools
import re

import numpy as np
import oracles
import pytest
from catalogue import BY_NAME, TYPES
from catalogue import PAIRS as KINDS
from scipy import sparse, special, stats
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.preprocessing import StandardScaler

import fastboltz as fb
from fastboltz import RBM
from fastboltz.optimizers import Constant

PAIRS = [BY_NAME[f"{a}-{b}"] for a, b in KINDS]
ENUMERABLE = [entry for entry in PAIRS if entry.enumerable]
every_pair = pytest.mark.parametrize("entry", PAIRS, ids=str)
enumerable_pair = pytest.mark.parametrize("entry", ENUMERABLE, ids=str)


def _estimator(entry, **options):
    """An unfitted RBM with the unit types of a pair."""
    (v, v_shape), (h, h_shape) = entry.groups["v"], entry.groups["h"]
    options = {"random_state": 0} | options
    return RBM(h_shape[0], visible=TYPES[v](*v_shape), hidden=TYPES[h](*h_shape), **options)


def _flat(x):
    return np.asarray(x).reshape(len(x), -1)


def _axes(entry, rbm):
    """Order of the axes of the oracle's weights (visible, then hidden) in the library's."""
    n_v = len(entry.groups["v"][1])
    own = {"v": list(range(n_v)), "h": list(range(n_v, n_v + len(entry.groups["h"][1])))}
    return [axis for slot in rbm.energy_.terms[0].slots for axis in own[slot.group]]


def _with_parameters(entry, params, dtype=np.float64, **options):
    """A fitted RBM that holds given parameters."""
    rbm = _estimator(entry, n_iter=0, **options).fit(_flat(entry.states(5)["v"]).astype(dtype))
    for key, value in params.items():
        if key == entry.terms[0]:
            key, value = rbm.energy_.terms[0].name, np.transpose(value, _axes(entry, rbm))
        rbm.params_[key][...] = value
    return rbm


def _parameters(entry, rbm):
    """A fitted RBM's parameters under the oracle's keys."""
    params = {key: x for key, x in rbm.params_.items() if key != rbm.energy_.terms[0].name}
    w = rbm.params_[rbm.energy_.terms[0].name]
    return params | {entry.terms[0]: np.transpose(w, np.argsort(_axes(entry, rbm)))}


def _visible_states(entry):
    """All visible states and the oracle that numbers them."""
    alone = oracles.Machine({"v": entry.groups["v"]}, [])
    return alone.grid()[0]["v"], alone


def _log_likelihoods(entry, params, v):
    return entry.machine.log_partition(params, {"v": v}) - entry.machine.log_partition(params)


# ---------------------------------------------------------------------------------- what it learns


@enumerable_pair
def test_exact_training_finds_the_optimum_that_enumeration_knows(entry):
    """Data are another machine's exact distribution (weighted states), or draws of it.

    A machine of the same make can then reach the entropy of the data; for draws, the maximum lies
    above the likelihood of the machine that they were drawn from. Deliberate bug that this catches:
    a precision that is not learnt, a bias updated with the sign of the other phase.
    """
    teacher = entry.parameters()
    if entry.groups["v"][0] in oracles.CONTINUOUS:
        v, weights = entry.machine.draw(teacher, 40, np.random.default_rng(0))["v"], None
        mass = np.full(len(v), 1 / len(v))
    else:
        v, _ = _visible_states(entry)
        mass = weights = np.exp(_log_likelihoods(entry, teacher, v))
    rate = 0.1 if entry.continuous else 0.3
    options = {"method": "exact", "batch_size": 100, "n_iter": 600, "momentum": 0.9}
    rbm = _estimator(entry, learning_rate=rate, **options | {"random_state": 2})
    rbm.fit(_flat(v), sample_weight=weights)
    params = _parameters(entry, rbm)
    found = mass @ _log_likelihoods(entry, params, v)
    data = entry.machine.moments(params, {"v": v}, weights=mass)
    model = entry.machine.moments(params)
    slope = max(np.abs(data[key] - model[key]).max() for key in data)
    if weights is None:
        assert found > mass @ _log_likelihoods(entry, teacher, v)
        assert slope < 0.03
    else:
        assert -1e-12 < mass @ np.log(mass) - found < 5e-4
        assert slope < 3e-3


@enumerable_pair
def test_every_small_step_of_exact_training_raises_the_exact_likelihood(entry):
    v = entry.machine.draw(entry.parameters(), 30, np.random.default_rng(0))["v"]
    found = []

    def look(progress):
        found.append(np.mean(_log_likelihoods(entry, _parameters(entry, progress.model), v)))

    rbm = _estimator(entry, method="exact", learning_rate=0.02, batch_size=30, callbacks=[look])
    before = np.mean(
        _log_likelihoods(entry, _parameters(entry, rbm.set_params(n_iter=0).fit(_flat(v))), v)
    )
    rbm.set_params(n_iter=6).fit(_flat(v))
    assert np.all(np.diff([before, *found]) > 0)


def test_parity_of_three_bits_is_learnt():
    """No pair of bits is correlated, so only hidden units can hold it; a tenth of the mass is off.

    The divergence from the data, sum p log(p / q), is 0.0001 nats or less; without hidden units it
    is 0.37.
    """
    v = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    p = np.where(v.sum(axis=1) % 2 == 0, 0.9 / 4, 0.1 / 4)
    options = {"method": "exact", "batch_size": 8, "n_iter": 800, "momentum": 0.9}
    rbm = RBM(4, learning_rate=0.5, random_state=0, **options).fit(v, sample_weight=p)
    assert p @ (np.log(p) - rbm.score_samples(v)) < 1e-4


REAL = {"breast cancer": load_breast_cancer, "diabetes": load_diabetes, "digits": load_digits}


@pytest.mark.parametrize("hidden", ["bernoulli", "spin"])
@pytest.mark.parametrize("name", REAL)
def test_real_valued_data_train_at_default_settings_and_beat_independent_gaussians(name, hidden):
    """Standardised columns, among them (digits) constant ones; held-out rows; exact likelihoods.

    The baseline is a Gaussian a column with the training rows' moments, its variance floored as
    the library's is. What peers do here is to explode.
    """
    X = np.random.default_rng(0).permutation(REAL[name](return_X_y=True)[0])
    n = len(X) * 3 // 4
    scaler = StandardScaler().fit(X[:n])
    train, test = (scaler.transform(part).astype(np.float32) for part in (X[:n], X[n:]))
    rbm = RBM(10, visible="gaussian", hidden=hidden, random_state=0).fit(train)
    assert all(np.isfinite(x).all() for x in rbm.params_.values())
    assert rbm.log_partition_.method == "exact"
    mean = train.mean(axis=0, dtype=float)
    sd = np.sqrt(np.maximum(train.var(axis=0, dtype=float), 1e-6))
    baseline = stats.norm.logpdf(test, mean, sd).sum(axis=1).mean()
    assert rbm.score(test) > baseline + 1.0
    # A sample looks like the data: no unit has run away.
    drawn = rbm.sample(200, random_state=0)
    assert np.abs(drawn).max() < 2 * max(np.abs(train).max(), 4)


def _is_copositive(matrix):
    """Whether x'Mx >= 0 for all x >= 0: no principal submatrix has an eigenvector of one sign with
    a negative eigenvalue (Kaplan, "A test for copositive matrices", 2000)."""
    for size in range(1, len(matrix) + 1):
        for rows in itertools.combinations(range(len(matrix)), size):
            values, vectors = np.linalg.eigh(matrix[np.ix_(rows, rows)])
            one_sign = (vectors > 0).all(axis=0) | (vectors < 0).all(axis=0)
            if (one_sign & (values < -1e-6)).any():
                return False
    return True


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_training_that_leaves_the_numbers_says_so():
    """Catches a fit that returns with NaN in its parameters."""
    X = StandardScaler().fit_transform(load_breast_cancer(return_X_y=True)[0])
    rbm = RBM(32, visible="gaussian", hidden="relu", learning_rate=1.0, random_state=0)
    with pytest.raises(FloatingPointError, match=r"is not finite after epoch \d+: .*Lower the"):
        rbm.fit(X.astype(np.float32))


UNBOUNDED = pytest.mark.xfail(
    strict=True,
    reason="nothing keeps the couplings of two real groups small against the precisions",
)


@pytest.mark.parametrize("hidden", [pytest.param("relu", marks=UNBOUNDED), "gaussian"])
@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_a_trained_machine_of_real_units_alone_has_a_distribution(hidden):
    """Its energy must rise in every direction: with v at its best, h'(G - W'W / gamma)h for h >= 0,
    or for all h. Otherwise there is no log Z, and chains run away sooner or later.
    """
    for load in (load_diabetes, load_breast_cancer):
        X = StandardScaler().fit_transform(load(return_X_y=True)[0])
        for seed in range(3):
            rbm = RBM(8, visible="gaussian", hidden=hidden, random_state=seed).fit(X)
            assert all(np.isfinite(x).all() for x in rbm.params_.values())
            gamma_v, gamma_h = (
                np.exp(rbm.params_[f"{g}.log_precision"].astype(float)) for g in "vh"
            )
            w = rbm.components_.astype(float)
            rest = np.diag(gamma_h) - (w / gamma_v) @ w.T
            assert _is_copositive(rest) if hidden == "relu" else np.linalg.eigvalsh(rest)[0] > 0
            assert np.abs(rbm.sample(50, random_state=0)).max() < 40
            assert np.mean((rbm.reconstruct(X) - X) ** 2) < 0.8 * np.mean(X**2)


# -------------------------------------------------------------------------------- what it answers


@every_pair
def test_conditional_means_are_the_plain_formulas(entry):
    """Deliberate bug that this catches: the weights transposed where both sides have equal sizes,
    and a precision left out of the mean."""
    params = entry.parameters()
    rbm = _with_parameters(entry, params)
    w = params[entry.terms[0]].reshape(_flat(entry.states(1)["v"]).shape[1], -1)
    v, h = (_flat(entry.states(7)[g]) for g in "vh")

    def mean(group, field):
        kind, shape = entry.groups[group]
        a = (params[group].reshape(-1) + field).reshape(-1, *shape)
        if kind == "bernoulli":
            m = 1 / (1 + np.exp(-a))
        elif kind == "spin":
            m = np.tanh(a)
        elif kind == "categorical":
            m = np.exp(a) / np.exp(a).sum(axis=-1, keepdims=True)
        elif kind == "unit-interval":
            m = 1 / (1 - np.exp(-a)) - 1 / a
        else:
            gamma = np.exp(params[f"{group}.log_precision"])
            m = a / gamma
            if kind == "relu":
                sd = gamma**-0.5
                m = m + sd * stats.norm.pdf(m / sd) / stats.norm.cdf(m / sd)
        return _flat(m)

    hidden = mean("h", v @ w)
    np.testing.assert_allclose(rbm.transform(v), hidden, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(rbm.inverse_transform(h), mean("v", h @ w.T), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(rbm.reconstruct(v), mean("v", hidden @ w.T), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(rbm.components_, w.T)
    np.testing.assert_array_equal(rbm.intercept_visible_, params["v"].reshape(-1))
    np.testing.assert_array_equal(rbm.intercept_hidden_, params["h"].reshape(-1))


@every_pair
def test_free_energy_is_minus_the_log_sum_over_hidden_states(entry):
    params, v = entry.parameters(), entry.states(7)["v"]
    found = _with_parameters(entry, params).free_energy(_flat(v))
    expected = -entry.machine.log_partition(params, {"v": v})
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@enumerable_pair
def test_score_samples_are_exact_log_likelihoods(entry):
    params, v = entry.parameters(), entry.states(7)["v"]
    rbm = _with_parameters(entry, params)
    found = rbm.score_samples(_flat(v))
    np.testing.assert_allclose(found, _log_likelihoods(entry, params, v), rtol=1e-9, atol=1e-9)
    assert rbm.score(_flat(v)) == pytest.approx(found.mean(), rel=1e-12)
    assert rbm.log_partition_.method == "exact"
    np.testing.assert_array_equal(rbm.score_samples(_flat(v)), found)


@every_pair
def test_pseudo_likelihood_is_the_sum_of_enumerated_conditionals(entry):
    """Every unit, every state of it, all others as they are: no draw, so no noise."""
    kind, shape = entry.groups["v"]
    rbm = _with_parameters(entry, entry.parameters())
    v = entry.states(6)["v"]
    if kind in oracles.CONTINUOUS:
        with pytest.raises(ValueError, match=f"{kind} units have infinitely many"):
            rbm.pseudo_likelihood(_flat(v))
        return
    params = entry.parameters()
    top = entry.machine.log_partition(params, {"v": v})
    expected = np.zeros(len(v))
    for unit in np.ndindex(*(shape[:-1] if kind == "categorical" else shape)):
        each = []
        for value in oracles.unit_states(kind, shape):
            other = v.copy()
            other[(slice(None), *unit)] = value
            each.append(entry.machine.log_partition(params, {"v": other}))
        expected += top - special.logsumexp(each, axis=0)
    np.testing.assert_allclose(rbm.pseudo_likelihood(_flat(v)), expected, rtol=1e-9, atol=1e-9)


def test_answers_do_not_depend_on_how_rows_are_cut_into_chunks():
    """More rows than are worked on at once."""
    rng = np.random.default_rng(0)
    X = (rng.random((9000, 5)) < 0.4).astype(np.float32)
    rbm = RBM(3, n_iter=1, random_state=0).fit(X[:100])
    for name in ("transform", "free_energy", "score_samples", "pseudo_likelihood", "reconstruct"):
        answer = getattr(rbm, name)
        parts = np.concatenate([answer(X[:17]), answer(X[17:4096]), answer(X[4096:])])
        np.testing.assert_array_equal(answer(X), parts, err_msg=name)


# ---------------------------------------------------------------------------------------- samples

N_DRAWS = 10_000
FINITE = [
    BY_NAME[f"{a}-{b}"]
    for a, b in [
        ("bernoulli", "bernoulli"),
        ("bernoulli", "relu"),
        ("spin", "categorical"),
        ("categorical", "bernoulli"),
        ("categorical", "gaussian"),
    ]
]


def _marginal(entry, params, v):
    """Exact probabilities of visible states; of those given, they are normalised to one."""
    log_p = entry.machine.log_partition(params, {"v": v})
    return np.exp(log_p - special.logsumexp(log_p))


def _assert_draws(p, numbers):
    # Equal, at zero, where everything is known.
    assert oracles.total_variation(p, numbers) <= oracles.total_variation_bound(p, len(numbers))


@pytest.mark.parametrize("entry", FINITE, ids=str)
def test_samples_have_the_exact_distribution_of_the_model(entry):
    """From the default start: 40 sweeps forget it by far at the weights of the catalogue."""
    params = entry.parameters()
    states, numbering = _visible_states(entry)
    rbm = _with_parameters(entry, params)
    drawn = rbm.sample(N_DRAWS, 40, random_state=3).reshape(-1, *entry.groups["v"][1])
    _assert_draws(_marginal(entry, params, states), numbering.code({"v": drawn}))


@pytest.mark.parametrize("entry", FINITE, ids=str)
def test_samples_given_known_units_have_the_exact_conditional_distribution(entry):
    """Deliberate bugs that this catches: known units held but left out of the hidden units' field,
    and a sweep that ends at the hidden units."""
    params = entry.parameters()
    states, numbering = _visible_states(entry)
    held = np.zeros(states.shape[1:], bool)
    held[:1] = True  # the first unit: for one-hot units with all its states
    known = np.where(held, entry.states(1, seed=4)["v"][0], np.nan)
    possible = (states[:, held] == known[held]).all(axis=1)
    rbm = _with_parameters(entry, params)
    drawn = rbm.sample(N_DRAWS, 40, given=known.reshape(-1), random_state=5)
    drawn = drawn.reshape(-1, *held.shape)
    assert (drawn[:, held] == known[held]).all()
    p = np.zeros(len(states))
    p[possible] = _marginal(entry, params, states[possible])
    _assert_draws(p, numbering.code({"v": drawn}))


def test_every_row_may_have_known_units_of_its_own():
    entry = BY_NAME["bernoulli-bernoulli"]
    params = entry.parameters()
    states, numbering = _visible_states(entry)
    rbm = _with_parameters(entry, params)
    patterns = np.array([[1, np.nan, np.nan], [np.nan, 0, 1], [np.nan] * 3, [0, 1, 0]])
    given = np.repeat(patterns, N_DRAWS // 2, axis=0)
    drawn = rbm.sample(len(given), 40, given=given, random_state=6)
    assert np.isin(drawn, (0, 1)).all()
    for number, pattern in enumerate(patterns):
        rows = drawn[number * N_DRAWS // 2 : (number + 1) * N_DRAWS // 2]
        known = ~np.isnan(pattern)
        assert (rows[:, known] == pattern[known]).all()
        possible = (states[:, known] == pattern[known]).all(axis=1)
        p = np.zeros(len(states))
        p[possible] = _marginal(entry, params, states[possible])
        _assert_draws(p, numbering.code({"v": rows}))


def test_gaussian_units_given_others_have_the_exact_conditional_distribution():
    """p(v1 | v0) is a mixture over the hidden states; its distribution function makes the draws
    uniform. Two-sided Kolmogorov-Smirnov at 1e-5, fixed seed."""
    entry = BY_NAME["gaussian-bernoulli"]
    params = entry.parameters()
    w, b, c = params[entry.terms[0]], params["v"], params["h"]
    gamma = np.exp(params["v.log_precision"])
    h = np.array(list(itertools.product([0.0, 1.0], repeat=2)))
    a = b[1] + h @ w[1]
    p = special.softmax(h @ c + 0.7 * (h @ w[0]) + a**2 / (2 * gamma[1]))
    drawn = _with_parameters(entry, params).sample(
        N_DRAWS, 40, given=np.array([0.7, np.nan]), random_state=8
    )
    assert (drawn[:, 0] == 0.7).all()
    u = stats.norm.cdf(drawn[:, 1:], a / gamma[1], gamma[1] ** -0.5) @ p
    assert stats.kstest(u, "uniform").pvalue > 1e-5


def test_samples_of_a_trained_model_have_its_distribution():
    """Chains start at exact draws, so that slow mixing between modes cannot hide a wrong kernel."""
    v = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    rng = np.random.default_rng(0)
    X = v[rng.choice(16, 200, p=rng.dirichlet(np.full(16, 0.4)))]
    rbm = RBM(3, method="exact", n_iter=200, batch_size=200, momentum=0.9, random_state=0).fit(X)
    p = np.exp(rbm.score_samples(v))
    assert p.sum() == pytest.approx(1)
    start = v[rng.choice(16, N_DRAWS, p=p / p.sum())]
    drawn = rbm.sample(N_DRAWS, 3, init=start, random_state=1)
    _assert_draws(p / p.sum(), (drawn @ [8, 4, 2, 1]).astype(int))
    assert (drawn != start).any(axis=1).mean() > 0.2
    drawn = rbm.gibbs(start, 2, random_state=2)
    _assert_draws(p / p.sum(), (drawn @ [8, 4, 2, 1]).astype(int))


def _trained(**options):
    rng = np.random.default_rng(0)
    X = (rng.random((50, 6)) < 0.4).astype(np.float64)
    options = {"n_iter": 3, "batch_size": 10, "random_state": 0} | options
    return RBM(4, **options).fit(X), X


def test_sampling_without_steps_returns_the_start():
    rbm, X = _trained()
    np.testing.assert_array_equal(rbm.sample(50, 0, init=X), X)
    np.testing.assert_array_equal(rbm.sample(4, 0), rbm.chains_[:4])
    np.testing.assert_array_equal(rbm.sample(25, 0), np.resize(rbm.chains_, (25, 6)))


def test_init_is_where_the_units_that_are_not_given_start():
    rbm, X = _trained()
    given = np.array([1, 0] + [np.nan] * 4)
    drawn = rbm.sample(50, 0, init=X, given=given)
    np.testing.assert_array_equal(drawn[:, :2], np.broadcast_to([1, 0], (50, 2)))
    np.testing.assert_array_equal(drawn[:, 2:], X[:, 2:])


def test_given_without_a_known_unit_is_plain_sampling():
    rbm, _ = _trained()
    drawn = rbm.sample(30, 2, given=np.full(6, np.nan), random_state=0)
    assert np.isin(drawn, (0, 1)).all()


def test_one_step_of_gibbs_takes_a_vector_or_rows():
    rbm, X = _trained()
    assert rbm.gibbs(X[0], random_state=1).shape == (6,)
    one = rbm.gibbs(X, random_state=1)
    assert one.shape == X.shape
    np.testing.assert_array_equal(one[0], rbm.gibbs(X[0], random_state=1))
    np.testing.assert_array_equal(rbm.gibbs(X.tolist(), random_state=1), one)


# --------------------------------------------------------------- partial_fit, callbacks, progress


def _assert_same(a, b, rtol=0.0, atol=0.0):
    assert set(a) == set(b)
    for key, value in a.items():
        np.testing.assert_allclose(value, b[key], rtol=rtol, atol=atol, err_msg=key)


@pytest.mark.parametrize("method", ["pcd", "cd", "exact"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_passes_of_partial_fit_are_the_passes_of_fit(method, optimizer):
    """At a constant rate, to the bit: chains, velocities, centring and shuffling all go on."""
    options = {"method": method, "learning_rate": 0.02, "optimizer": optimizer}
    if optimizer == "sgd":
        options["momentum"] = 0.5
    whole, X = _trained(**options)
    parts = RBM(4, n_iter=9, batch_size=10, random_state=0, **options)
    for _ in range(3):
        assert parts.partial_fit(X) is parts
    _assert_same(parts.params_, whole.params_)
    assert parts.n_iter_ == whole.n_iter_ == 3
    assert parts.history_["epoch"] == [1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [{"momentum": 0.5}, {"optimizer": "adam"}, {"method": "cd"}, {"learning_rate": 0.3}, {"l2": 1}],
    ids=str,
)
def test_settings_may_change_between_passes(change):
    """Hinton's practical guide raises the momentum on the way."""
    rbm, X = _trained()
    rbm.set_params(**change).partial_fit(X).partial_fit(X)
    assert rbm.n_iter_ == 5
    assert all(np.isfinite(x).all() for x in rbm.params_.values())


def test_the_rate_falls_to_zero_over_a_fit_and_stays_where_it_is_over_partial_fits():
    """Catches a schedule that ends with every pass of partial_fit."""
    whole, X = _trained(n_iter=4)
    rates = whole.history_["learning_rate"]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * rates[0]
    parts = RBM(4, batch_size=10, random_state=0)
    for _ in range(3):
        parts.partial_fit(X)
    assert len(set(parts.history_["learning_rate"])) == 1
    assert parts.history_["learning_rate"][0] > rates[0]


def test_partial_fit_cuts_its_rows_into_minibatches():
    rbm, X = _trained(n_iter=1)
    before = rbm._training.update
    rbm.partial_fit(X[:37])
    assert rbm._training.update - before == 4  # of 10, 10, 10 and 7 rows


def test_fit_begins_anew_and_partial_fit_goes_on():
    rbm, X = _trained()
    first = {key: x.copy() for key, x in rbm.params_.items()}
    rbm.fit(X)
    _assert_same(rbm.params_, first)
    rbm.partial_fit(X)
    assert any((rbm.params_[key] != x).any() for key, x in first.items())


def test_callbacks_see_every_epoch_and_can_end_the_training():
    seen, also = [], []

    def stop(progress):
        seen.append(progress)
        return len(seen) == 2

    rbm, _ = _trained(n_iter=7, callbacks=[stop, lambda progress: also.append(1)])
    assert len(seen) == rbm.n_iter_ == len(rbm.history_["seconds"]) == 2
    assert len(also) == 2, "a callback after the one that stops is called too"
    assert seen[0].model is rbm
    assert seen[0].params is rbm.params_
    assert seen[0].n_iter == 7
    assert rbm.sample(2).shape == (2, 6)


def test_what_callbacks_record_stands_in_the_history_beside_the_epochs():
    rng = np.random.default_rng(1)
    held_out = (rng.random((20, 6)) < 0.4).astype(np.float64)
    rbm, _ = _trained(
        n_iter=3, callbacks=[lambda p: p.state.record(held_out=p.model.score(held_out))]
    )
    assert rbm.history_["epoch"] == [1, 2, 3]
    assert rbm.history_["seconds"] == sorted(rbm.history_["seconds"])
    assert len(rbm.history_["held_out"]) == len(rbm.history_["learning_rate"]) == 3
    assert rbm.history_["held_out"][-1] == rbm.score(held_out)


def test_log_partition_follows_the_parameters_when_asked_for_during_training():
    """Deliberate bug that this catches: the value of the first epoch kept to the end."""
    kept, fresh = [], []

    def look(progress):
        kept.append(progress.model.log_partition_.value)
        fresh.append(progress.model.log_partition().value)

    rbm, X = _trained(callbacks=[look])
    assert kept == fresh
    assert len(set(fresh)) == 3
    assert rbm.log_partition_.value == fresh[-1]
    rbm.set_params(callbacks=None).partial_fit(X)
    assert rbm.log_partition_.value == rbm.log_partition().value != fresh[-1]


def test_verbose_shows_a_progress_bar_and_silence_is_the_default(capsys):
    _trained()
    quiet = capsys.readouterr()
    assert quiet.out == quiet.err == ""
    _trained(verbose=1)
    assert "3/3" in capsys.readouterr().err
    _trained(verbose=1, callbacks=[lambda progress: True])
    assert "1/3" in capsys.readouterr().err


def test_a_model_without_an_epoch_is_complete():
    rbm, X = _trained(n_iter=0)
    assert rbm.n_iter_ == 0
    assert rbm.history_ == {}
    assert rbm.transform(X).shape == (50, 4)
    assert rbm.sample(3, random_state=0).shape == (3, 6)
    assert np.isfinite(rbm.score(X))


# --------------------------------------------------------------------------------- weights of rows

WEIGHTED = [
    {},
    {"visible": "spin"},
    {"visible": "gaussian"},
    {"centered": False, "momentum": 0.5},
    {"optimizer": "adam", "l1": 0.01},
]


def _weighted_rows(visible):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((12, 4)) if visible == "gaussian" else rng.integers(0, 2, (12, 4)) * 1.0
    return 2 * X - 1 if visible == "spin" else X, rng.integers(0, 4, 12)


@pytest.mark.parametrize("options", WEIGHTED, ids=str)
def test_whole_weights_are_repetitions_and_weight_zero_is_absence(options):
    """Exact gradients of all rows at once: then nothing but the rounding may differ."""
    X, weights = _weighted_rows(options.get("visible"))
    rbm = RBM(3, method="exact", batch_size=100, n_iter=20, random_state=0, **options)
    weighted = rbm.fit(X, sample_weight=weights).params_
    repeated = rbm.fit(np.repeat(X, weights, axis=0)).params_
    _assert_same(weighted, repeated, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("method", ["exact", "cd", "pcd"])
def test_rows_of_weight_zero_are_never_learnt_from(method):
    """One weightless row is far off; minibatches, some of them without any weight."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((30, 3))
    weights = rng.integers(0, 2, 30) * (np.arange(30) > 9)
    other = np.where(weights[:, None] == 0, 1e3, X)
    rbm = RBM(2, visible="gaussian", method=method, batch_size=2, n_iter=3, random_state=0)
    expected = {k: x.copy() for k, x in rbm.fit(X, sample_weight=weights).params_.items()}
    _assert_same(rbm.fit(other, sample_weight=weights).params_, expected)


@pytest.mark.parametrize("method", ["exact", "cd", "pcd"])
def test_weights_have_no_scale(method):
    X, weights = _weighted_rows("gaussian")
    rbm = RBM(2, visible="gaussian", method=method, batch_size=5, n_iter=3, random_state=0)
    expected = {k: x.copy() for k, x in rbm.fit(X, sample_weight=weights).params_.items()}
    _assert_same(rbm.fit(X, sample_weight=weights * 4.0).params_, expected, rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------------------- known faults of peers


class Recorder(fb.optimizers.Optimizer):
    """Keeps the gradients and leaves the parameters as they are."""

    def __init__(self):
        self.gradients = []

    def init(self, params):
        return {}

    def step(self, params, gradient, state, rate, penalties, n_threads=1):
        self.gradients.append({key: x.copy() for key, x in gradient.items()})


@pytest.mark.parametrize("method", ["exact", "pcd"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "centered": False}], ids=str)
def test_a_short_last_minibatch_weighs_its_rows_and_the_chains_rightly(method, options):
    """All rows alike: minibatches of 10 and 2 rows must learn what two of 10 rows do.

    scikit-learn subtracts the sum over 10 chains from the sum over 2 rows.
    """
    row = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    rbm = RBM(3, method=method, batch_size=10, n_iter=0, random_state=0, **options)
    expected = rbm.fit(np.tile(row, (20, 1))).partial_fit(np.tile(row, (20, 1))).params_
    # From the same start (it depends on the number of rows).
    found = rbm.fit(np.tile(row, (20, 1))).partial_fit(np.tile(row, (12, 1))).params_
    # Gradients of binary pairs are of single precision: two updates of about 0.1.
    _assert_same(found, expected, atol=2e-8)


def test_contrastive_divergence_of_two_rows_averages_as_that_of_many():
    """Both phases are means over the rows: the average gradient does not know how many there are.

    z below 4.5 over 27 entries, with the standard error of the 400 repetitions; fixed seeds.
    """
    entry = BY_NAME["gaussian-spin"]
    params = entry.parameters()
    likelihood = fb.objectives.LogLikelihood(of=("v",), negative="cd")
    objective = fb.objectives.Objective(entry.energy, likelihood)
    v = entry.states(1, seed=2)["v"]
    two, many = (
        [
            np.concatenate(
                [x.ravel() for x in objective.gradient(params, {"v": rows}, None, seed).values()]
            )
            for seed in range(n_seeds)
        ]
        for rows, n_seeds in ((np.repeat(v, 2, axis=0), 400), (np.repeat(v, 4000, axis=0), 4))
    )
    error = np.std(two, axis=0) * np.sqrt(1 / 400 + 1 / 8000)
    assert (np.abs(np.mean(two, axis=0) - np.mean(many, axis=0)) < 4.5 * error + 1e-12).all()


def test_rows_are_shuffled_anew_every_epoch_and_each_is_met_once():
    """Rows are unit vectors, so the positive phase of a minibatch tells which rows it holds."""
    n, batch = 20, 6
    recorder = Recorder()
    rbm = RBM(1, method="exact", batch_size=batch, n_iter=3, optimizer=recorder, centered=False)
    rbm.set_params(random_state=0).fit(np.eye(n))
    model = rbm.energy_.moments(rbm.params_)["v"]
    orders = []
    for epoch in range(3):
        met = []
        for gradient, size in zip(recorder.gradients[4 * epoch :], (6, 6, 6, 2), strict=False):
            share = (gradient["v"] + model) * size
            assert np.allclose(share, np.round(share), atol=1e-9)
            met.append(set(np.flatnonzero(np.round(share))))
            assert len(met[-1]) == size
        assert set.union(*met) == set(range(n))
        orders.append(met)
    in_order = [set(range(i, min(i + batch, n))) for i in range(0, n, batch)]
    assert in_order not in orders
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_persistent_chains_are_stored_when_they_have_moved():
    """Two updates that leave the parameters alone move the chains by two sweeps."""
    rng = np.random.default_rng(0)
    X = (rng.random((20, 6)) < 0.4).astype(np.float64)
    rbm = RBM(4, batch_size=10, n_iter=1, n_gibbs=3, optimizer=Recorder(), random_state=0).fit(X)
    before = rbm._chain_state()
    sampler = fb.Gibbs(rbm.energy_)
    sampler.blocks = [("v",), ("h",)]
    expected = sampler.step(rbm.params_, before, 6)
    rbm.partial_fit(X)
    np.testing.assert_array_equal(rbm.chains_, expected.values["v"])
    assert rbm._chain_state().step == 12
    assert (rbm.chains_ != before.values["v"]).any()


def test_there_are_as_many_chains_as_asked_for_also_with_fewer_rows():
    X = np.eye(4)
    for options, expected in (({}, 50), ({"batch_size": 3}, 3), ({"n_chains": 7}, 7)):
        rbm = RBM(2, n_iter=1, random_state=0, **options).fit(X)
        assert rbm.chains_.shape == (expected, 4)
    assert not hasattr(RBM(2, n_iter=1, method="cd", random_state=0).fit(X), "chains_")


# ----------------------------------------------------------------------------------------- sparsity


def test_sparsity_pulls_the_mean_activity_of_hidden_units_by_their_biases():
    """One update of all rows, by hand, from the bias of the target itself.

    Deliberate bugs that this catches: the sign, and the mean of the negative phase.
    """
    X = (np.random.default_rng(0).random((30, 4)) < 0.6).astype(float)
    options = {"sparsity": 2.0, "activity": 0.2, "method": "cd", "centered": False}
    options |= {"batch_size": 30, "learning_rate": Constant(0.5), "random_state": 0}
    start = RBM(3, n_iter=0, **options).fit(X)
    np.testing.assert_allclose(start.intercept_hidden_, np.log(0.2 / 0.8), rtol=1e-6)
    found = RBM(3, n_iter=1, **options).fit(X)
    order = fb.rng.permutation(fb.rng.Address.of(start._seed, "shuffle"), 30)
    objective = start._objective(start.energy_, 1)
    gradient, _, _ = objective.step(start.params_, {"v": X[order]}, start._training.phases)
    mean = special.expit(X @ start.components_.T + start.intercept_hidden_).mean(axis=0)
    expected = start.intercept_hidden_ + 0.5 * (gradient["h"] + 2.0 * (0.2 - mean))
    np.testing.assert_allclose(found.intercept_hidden_, expected, rtol=1e-9)
    expected = start.components_ + 0.5 * gradient["h_j v_i"]
    np.testing.assert_allclose(found.components_, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sparsity": -1}, "sparsity must be >= 0; got -1."),
        ({"activity": 1.0}, "activity must be > 0 and < 1; got 1.0."),
        (
            {"sparsity": 0.5, "hidden": "gaussian"},
            "sparsity=0.5 pulls the mean of units in {0, 1}, but hidden is 'gaussian'; use "
            "hidden='bernoulli' or sparsity=0.",
        ),
    ],
)
def test_a_sparsity_that_cannot_be_gets_a_sentence(options, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        RBM(3, **options).fit(np.eye(4))


# ------------------------------------------------------------------- data far from standard units


@pytest.mark.parametrize("kind", ["constant", "inverted images"])
def test_columns_that_hardly_vary_do_not_spoil_a_gaussian_model(kind):
    """Deliberate bug that this catches: a bias of the mean over a variance that is next to none."""
    if kind == "constant":
        others = np.random.default_rng(1).normal(size=(400, 5))
        X, column, least = np.c_[others, np.ones(400)], 5, -8.0
    else:
        # Grey values of white paper: most of a border's are one, others all but one.
        X, column, least = 1 - load_digits().data / 16, 0, 0.0
    rbm = RBM(8, visible="gaussian", n_iter=20, random_state=0).fit(X)
    assert rbm.score(X) > least
    drawn = rbm.sample(200, random_state=0)[:, column]
    assert abs(drawn.mean() - 1) < 0.05 and drawn.std() < 0.3


@pytest.mark.parametrize("other", [fb.RBMClassifier, fb.DeepBeliefNetwork, fb.BoltzmannMachine])
def test_a_constant_column_spoils_no_other_gaussian_model(other):
    X = np.c_[np.random.default_rng(1).normal(size=(400, 3)), np.ones(400)]
    options = {"n_iter": 5, "random_state": 0}
    if other is fb.BoltzmannMachine:
        groups = {"v": fb.Gaussian(4), "h": fb.Bernoulli(3)}
        model = other(groups, ["v_i h_j"], visible="v", **options).fit(X)
    elif other is fb.RBMClassifier:
        model = other(3, visible="gaussian", objective="generative", **options)
        model.fit(X, np.arange(400) % 2)
    else:
        model = other((3,), visible="gaussian", **options).fit(X)
    drawn = model.sample(200, random_state=0)
    drawn = drawn[0] if isinstance(drawn, tuple) else drawn
    assert abs(drawn[:, 3].mean() - 1) < 0.1


def test_data_that_are_far_from_standardised_are_told_of():
    X = load_wine().data
    words = r"group 'v' has values that are too large .* column 12 is 810, .*StandardScaler"
    with pytest.warns(UserWarning, match=words):
        RBM(4, visible="gaussian", n_iter=0, random_state=0).fit(X)
    # Warnings are errors here.
    for fit in (StandardScaler().fit_transform(X), load_digits().data, np.zeros((5, 3)), X > 13):
        RBM(4, visible="gaussian", n_iter=0, random_state=0).fit(fit)


# ----------------------------------------------------------------------- what sampling starts from


@pytest.mark.parametrize("kind", ["RBM", "BoltzmannMachine", "HigherOrderBoltzmannMachine"])
def test_zeros_and_ones_are_no_given_spins(kind):
    """Deliberate bug that this catches: rows that come back with a spin of 0."""
    X = np.random.default_rng(0).choice([-1.0, 1.0], (20, 4))
    options = {"n_iter": 1, "random_state": 0}
    if kind == "RBM":
        model = RBM(2, visible="spin", **options)
    elif kind == "BoltzmannMachine":
        groups = {"v": fb.Spin(4), "h": fb.Bernoulli(2)}
        model = fb.BoltzmannMachine(groups, ["v_i h_j"], visible="v", **options)
    else:
        model = fb.HigherOrderBoltzmannMachine(units="spin", **options)
    model.fit(X)
    given = np.array([0, 1, np.nan, 1])
    with pytest.raises(ValueError, match=r"^given.* holds 0 and 1 alone, but spins are -1 or 1"):
        model.sample(3, given=given)
    assert set(model.sample(3, given=2 * given - 1).ravel()) <= {-1, 1}


@pytest.mark.parametrize("kind", [fb.RBM, fb.RBMClassifier, fb.PointwiseGatedRBM])
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csr_array])
def test_sampling_starts_from_sparse_rows_as_from_dense_ones(kind, form):
    X = (np.random.default_rng(0).random((20, 4)) < 0.5).astype(np.float32)
    model = kind(3, n_iter=1, random_state=0).fit(X, np.arange(20) % 2)
    of_sparse = model.sample(20, 1, init=form(X), random_state=0)
    of_dense = model.sample(20, 1, init=X, random_state=0)
    for a, b in zip(of_sparse, of_dense, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"^init has 20 rows; expected n_samples=3"):
        model.sample(3, init=form(X))
