"""Gradients of expectations against enumeration, quadrature and finite differences.

The oracles below enumerate in plain NumPy and take central differences of the expected cost itself,
so they share neither scores nor draws with the package.
"""

from __future__ import annotations

import itertools
import math
import pickle
import signal
import time
import tracemalloc

import numba as nb
import numpy as np
import philox_oracle
import pytest
from scipy import integrate, stats
from sklearn.linear_model import SGDRegressor

import fastboltz.gradients as G  # noqa: N812
from fastboltz import NotEnumerableError, rng
from fastboltz.gradients import baselines, costs, kernels, loop, methods

#: Allowed distance from the truth in standard errors.
Z_LIMIT = 4.0
#: Of central differences.
STEP = 1e-5


# ------------------------------------------------------------------------------------------ oracles


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def states_of(kind, parameters):
    """All samples of one row and their probabilities, from the definitions."""
    if kind == "bernoulli":
        p = 1 / (1 + np.exp(-parameters))
        units = [[(0.0, 1 - q), (1.0, q)] for q in p]
    elif kind == "binomial":
        p = 1 / (1 + np.exp(-parameters))
        units = [
            [(float(k), math.comb(3, k) * q**k * (1 - q) ** (3 - k)) for k in range(4)] for q in p
        ]
    else:
        p = softmax(parameters)
        units = [[(np.eye(len(q))[k], q[k]) for k in range(len(q))] for q in p]
    states = list(itertools.product(*units))
    y = np.array([[value for value, _ in s] for s in states])
    return y, np.array([math.prod(q for _, q in s) for s in states])


def expected(kind, parameters, cost):
    y, p = states_of(kind, parameters)
    return float(p @ cost(y))


def expected_bound(kind, parameters, cost, k):
    """E[log 1/K sum exp J] over all K-tuples of states."""
    y, p = states_of(kind, parameters)
    j = cost(y)
    total = 0.0
    for at in itertools.product(range(len(p)), repeat=k):
        total += math.prod(p[list(at)]) * (np.log(np.mean(np.exp(j[list(at)]))))
    return total


def difference(function, x):
    """Central differences of a scalar function of an array."""
    x = np.array(x, dtype=float)
    out = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += STEP
        down[at] -= STEP
        out[at] = (function(up) - function(down)) / (2 * STEP)
    return out


class Problem:
    """A random cost on a random discrete distribution, with the exact gradient."""

    def __init__(self, kind, seed):
        random = np.random.default_rng(seed)
        self.kind = kind
        shape = (4,) if kind != "categorical" else (3, 3)
        self.logits = random.normal(size=shape)
        n = math.prod(shape)
        self.a, self.B = random.normal(size=n), random.normal(size=(n, n)) / 2
        self.c = random.normal() + 2
        made = {"bernoulli": G.Bernoulli, "categorical": G.Categorical}
        if kind == "binomial":
            self.distribution = G.Binomial(self.logits, 3)
        else:
            self.distribution = made[kind](self.logits)
        self.exact = difference(lambda x: expected(kind, x, self.cost), self.logits)

    def cost(self, Y):
        flat = Y.reshape(len(Y), -1)
        return self.c + flat @ self.a + np.einsum("mi,ij,mj->m", flat, self.B, flat)

    def gradient(self, Y):
        flat = Y.reshape(len(Y), -1)
        return (self.a + flat @ (self.B + self.B.T)).reshape(Y.shape)

    @property
    def full(self):
        return G.Cost(self.cost, self.gradient)

    def jitted(self):
        """The same cost of one sample."""
        a, B, c, n = self.a, self.B, self.c, self.a.size

        @nb.njit
        def cost(y):
            flat = y.reshape(n)
            total = c
            for i in range(n):
                total += a[i] * flat[i]
                for j in range(n):
                    total += B[i, j] * flat[i] * flat[j]
            return total

        return cost


BASELINES = ("none", "constant", "moving_average", "leave_one_out", "optimal", "learnt")


def unbiased(kind):
    """Every method that claims to be unbiased, for a kind of units."""
    found = {f"score, {b}": G.ScoreFunction(b) for b in BASELINES}
    found["score, number"] = G.ScoreFunction(1.5)
    if kind == "bernoulli":
        found |= {"arm": G.ARM(), "disarm": G.DisARM()}
    if kind != "binomial":
        found |= {
            "rebar": G.REBAR(),
            "rebar, fixed": G.REBAR(0.3, coupling=0.7),
            "relax": G.RELAX(),
        }
    return found


KINDS = ("bernoulli", "binomial", "categorical")
CASES = [(kind, name) for kind in KINDS for name in unbiased(kind)]


def z_scores(estimate, exact):
    error = np.maximum(estimate.standard_error, 1e-300)
    return np.ravel((estimate.value / estimate.scale - exact) / (error / estimate.scale))


# ------------------------------------------------------------------------------------- enumeration


@pytest.mark.parametrize("kind", ["bernoulli", "binomial", "categorical"])
def test_enumerate_is_the_derivative_of_the_expected_cost(kind):
    """Deliberate bug that this catches: a score without its mean (y in place of y - p)."""
    for seed in range(5):
        problem = Problem(kind, seed)
        found = G.Enumerate().estimate(problem.cost, problem.distribution)
        np.testing.assert_allclose(found.value, problem.exact, atol=1e-8, rtol=1e-7)
        assert found.cost == pytest.approx(expected(kind, problem.logits, problem.cost))
        assert not np.any(found.standard_error)
        assert found.n_samples == len(states_of(kind, problem.logits)[1])


def _weighted(problem):
    """J(y, w) = sum_i w_i^2 y_i + J(y): it depends on the parameters too."""

    def at(w):
        return lambda Y: problem.cost(Y) + (Y * w**2).reshape(len(Y), -1).sum(axis=1)

    return at, G.Cost(at(problem.logits), parameter_gradient=lambda Y: 2 * problem.logits * Y)


class Copies:
    """A problem in many rows, so that one call is many independent calls.

    The cost is that of `Problem`, plus ``sum_i w_i^2 y_i`` where it depends on them.
    """

    def __init__(self, problem, n, dependent=False):
        self.problem, self.dependent = problem, dependent
        logits = np.repeat(problem.logits[None], n, axis=0)
        made = {"bernoulli": G.Bernoulli, "categorical": G.Categorical}[problem.kind]
        self.distribution = made(logits)
        self.exact = difference(
            lambda w: expected(problem.kind, w, lambda Y: self.value(Y, w)), problem.logits
        )

    def value(self, Y, w):
        added = (Y * w**2).reshape(len(Y), -1).sum(axis=1) if self.dependent else 0.0
        return self.problem.cost(Y) + added

    @property
    def cost(self):
        own = self.problem.logits

        def value(Y):
            return self.value(Y.reshape(-1, *own.shape), own).reshape(Y.shape[:2])

        def gradient(Y):
            added = own**2 if self.dependent else 0.0
            return self.problem.gradient(Y.reshape(-1, *own.shape)).reshape(Y.shape) + added

        return G.Cost(value, gradient, (lambda Y: 2 * own * Y) if self.dependent else None)

    def z_scores(self, method, n_samples):
        """Of the mean over rows, whose estimates are independent of each other."""
        found = method.estimate(self.cost, self.distribution, n_samples, random_state=n_samples)
        error = found.value.std(axis=0, ddof=1) / np.sqrt(len(found.value))
        return (found.value.mean(axis=0) - self.exact) / error


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_a_cost_that_depends_on_the_parameters_adds_its_own_derivative(kind):
    """Deliberate bugs that this catches: dJ/dw forgotten, or multiplied by the m / (m - 1) that
    belongs to a baseline.
    """
    few = Copies(Problem(kind, 3), 2, dependent=True)
    exact = G.Enumerate().estimate(few.cost, few.distribution).value
    np.testing.assert_allclose(exact[0], few.exact, atol=1e-8, rtol=1e-7)
    copies = Copies(Problem(kind, 3), 2000, dependent=True)
    chosen = [G.ScoreFunction(b) for b in BASELINES]
    chosen += [G.REBAR(), G.RELAX(), *([G.ARM(), G.DisARM()] if kind == "bernoulli" else [])]
    for method in chosen:
        for n in (2, 3):
            assert (np.abs(copies.z_scores(method, n)) < Z_LIMIT).all(), (method, n)


def test_the_bound_of_many_samples_is_enumerated():
    problem = Problem("bernoulli", 1)
    logits = problem.logits[:3]
    at = lambda Y: Y @ problem.a[:3] + Y[:, 0] * Y[:, 2]  # noqa: E731
    for k in (2, 3):
        exact = difference(lambda w: expected_bound("bernoulli", w, at, k), logits)  # noqa: B023
        found = G.Enumerate(n_particles=k).estimate(at, G.Bernoulli(logits))
        np.testing.assert_allclose(found.value, exact, atol=1e-8, rtol=1e-7)
        assert found.cost == pytest.approx(expected_bound("bernoulli", logits, at, k))


# ------------------------------------------------------------------------------------ unbiasedness


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_unbiased_methods_agree_with_the_exact_gradient(kind, name):
    """Random problems at many seeds: no entry beyond the limit, and the squared z are of mean one.

    Deliberate bugs that this catches: a baseline estimated from the sample itself, a sign of one
    half of an antithetic pair, standard errors that are a factor off.
    """
    method = unbiased(kind)[name]
    z = []
    for seed in range(25):
        problem = Problem(kind, 100 + seed)
        found = method.estimate(problem.full, problem.distribution, 2000, random_state=seed)
        z.append(z_scores(found, problem.exact))
    z = np.concatenate(z)
    assert np.abs(z).max() < Z_LIMIT
    # Entries of one call depend on each other: by at most their number, as if all were one.
    n = len(z) / z.size * 25
    assert abs(np.mean(z**2) - 1) < Z_LIMIT * np.sqrt(2 / n)
    assert not found.biased


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_few_samples_are_unbiased_too(kind):
    """With 2 or 3 samples a baseline of the wrong samples shows in the mean.

    Deliberate bug that this catches: the optimal baseline estimated from all samples of the call.
    """
    copies = Copies(Problem(kind, 7), 2000)
    for name, method in unbiased(kind).items():
        for n in (2, 3, 40):
            assert (np.abs(copies.z_scores(method, n)) < Z_LIMIT).all(), (name, n)


def test_vimco_agrees_with_the_gradient_of_its_bound():
    """Deliberate bug that this catches: the arithmetic mean of the other weights left in."""
    problem = Problem("bernoulli", 2)
    logits = problem.logits[:3]

    def log_weight(w):
        """log p(y) - log q(y; w) of independent units: it depends on w."""
        return lambda Y: Y @ problem.a[:3] - (Y * w - np.logaddexp(0, w)).sum(axis=1)

    def own(Y):
        return -(Y - 1 / (1 + np.exp(-logits)))

    for k in (2, 3):
        exact = difference(
            lambda w: expected_bound("bernoulli", w, log_weight(w), k),  # noqa: B023
            logits,
        )
        cost = G.Cost(log_weight(logits), parameter_gradient=own)
        np.testing.assert_allclose(
            G.Enumerate(n_particles=k).estimate(cost, G.Bernoulli(logits)).value,
            exact,
            atol=1e-8,
            rtol=1e-7,
        )
        for seed in range(10):
            found = G.VIMCO(k).estimate(cost, G.Bernoulli(logits), 2000, random_state=seed)
            assert (np.abs(z_scores(found, exact)) < Z_LIMIT).all()
            assert found.n_evaluations == 2000 * k


@pytest.mark.parametrize("kind", KINDS)
def test_vimco_agrees_with_enumeration_on_random_problems(kind):
    """Deliberate bug that this catches: a score of one particle weighed with another's signal."""

    def of_pairs(logits):
        y, p = states_of(kind, logits)
        j = problem.cost(y)
        return float(p @ (np.logaddexp(j[:, None], j) - np.log(2)) @ p)

    z = []
    for seed in range(12):
        problem = Problem(kind, 200 + seed)
        exact = difference(of_pairs, problem.logits)
        whole = G.Enumerate(n_particles=2).estimate(problem.cost, problem.distribution)
        np.testing.assert_allclose(whole.value, exact, atol=1e-7, rtol=1e-6)
        found = G.VIMCO(2).estimate(problem.cost, problem.distribution, 2000, random_state=seed)
        z.append(z_scores(found, exact))
        assert abs(found.cost - of_pairs(problem.logits)) < Z_LIMIT * found.cost_standard_error
    assert np.abs(z).max() < Z_LIMIT
    # As if the entries of a call were one number.
    assert abs(np.mean(np.square(z)) - 1) < Z_LIMIT * np.sqrt(2 / len(z))


def test_vimco_signals_are_what_a_sample_adds_to_the_bound():
    random = np.random.default_rng(0)
    log_w = random.normal(size=(2, 4, 3)) * 5
    signals, bound = methods.vimco_signals(log_w)
    for i, k, r in np.ndindex(log_w.shape):
        w = np.exp(log_w[i, :, r])
        rest = np.delete(w, k)
        without = np.log((rest.sum() + np.exp(np.log(rest).mean())) / 4)
        assert signals[i, k, r] == pytest.approx(np.log(w.mean()) - without)
    np.testing.assert_allclose(bound, np.log(np.exp(log_w).mean(axis=1)))


# ----------------------------------------------------------------------------------------- variance


def test_the_optimal_baseline_has_the_least_variance():
    """On random problems never above the constant one beyond Monte Carlo error, on one whose units
    differ clearly below.

    Deliberate bug that this catches: the optimal baseline weighted with s in place of s^2.
    """

    def variances(cost, distribution, seed, n=3000):
        run = lambda b: G.ScoreFunction(b).estimate(  # noqa: E731
            cost, distribution, n, random_state=seed
        )
        return run("optimal").variance, run("constant").variance, run("none").variance

    for seed in range(8):
        problem = Problem("bernoulli", seed)
        found = np.array([variances(problem.cost, problem.distribution, s) for s in range(20)])
        worse = found[:, 0] - found[:, 1]
        error = worse.std(axis=0, ddof=1) / np.sqrt(len(worse))
        assert (worse.mean(axis=0) < Z_LIMIT * error).all()

    # Where J s^2 and J are far apart: a cost that is large when a rare unit is on.
    logits = np.array([-3.0, -3.0, 0.0])
    cost = lambda Y: 30 * Y[:, 0] + 10 * Y[:, 1]  # noqa: E731
    found = np.array([variances(cost, G.Bernoulli(logits), s, 50_000) for s in range(20)])
    better = (found[:, 1] - found[:, 0])[:, :2]
    assert (better.mean(axis=0) > Z_LIMIT * better.std(axis=0, ddof=1) / np.sqrt(20)).all()
    # And against the least variance that there is, by enumeration.
    y, p = states_of("bernoulli", logits)
    s, j = y - 1 / (1 + np.exp(-logits)), cost(y)[:, None]
    b = (p @ (j * s**2)) / (p @ s**2)
    least = p @ (((j - b) * s) ** 2) - (p @ (j * s)) ** 2
    error = found[:, 0].std(axis=0, ddof=1) / np.sqrt(20)
    assert (error < 0.03 * least).all()
    assert (np.abs(found[:, 0].mean(axis=0) - least) < Z_LIMIT * error).all()


def test_the_variance_of_disarm_is_not_above_that_of_arm():
    for seed in range(5):
        problem = Problem("bernoulli", seed)
        arm, disarm = (
            m.estimate(problem.cost, problem.distribution, 20_000, random_state=0)
            for m in (G.ARM(), G.DisARM())
        )
        # Relative error of a variance by 20,000 samples, heavy tails allowed for.
        assert (disarm.variance < arm.variance * 1.1).all()


def test_standard_errors_are_calibrated():
    """Coverage of the 95 % interval over 2,000 repetitions (rows of one call), of each entry.

    Deliberate bug that this catches: a variance divided by m twice, or about zero.
    """
    copies = Copies(Problem("bernoulli", 5), 2000)
    mean = expected("bernoulli", copies.problem.logits, copies.problem.cost)
    chosen = [G.ScoreFunction(b) for b in ("none", "constant", "leave_one_out", "optimal")]
    chosen += [G.DisARM(), G.ARM(), G.REBAR(), G.RELAX()]
    for method in chosen:
        e = method.estimate(copies.cost, copies.distribution, 300, random_state=0)
        each = (np.abs(e.value - copies.exact) < 1.96 * e.standard_error).mean(axis=0)
        assert ((each > 0.93) & (each < 0.97)).all(), (method, each)
        of_cost = (np.abs(e.cost - mean) < 1.96 * e.cost_standard_error).mean()
        assert 0.93 < of_cost < 0.97, method
    bound = G.Enumerate(n_particles=2).estimate(copies.problem.cost, copies.problem.distribution)
    e = G.VIMCO(2).estimate(copies.cost, copies.distribution, 300, random_state=0)
    each = (np.abs(e.value - bound.value) < 1.96 * e.standard_error).mean(axis=0)
    assert ((each > 0.93) & (each < 0.97)).all(), each
    of_cost = (np.abs(e.cost - bound.cost) < 1.96 * e.cost_standard_error).mean()
    assert 0.93 < of_cost < 0.97
    # E[sin y] of a Gaussian is sin(mean) exp(-variance / 2).
    center, scale = np.array([0.5, -1.0]), np.array([0.2, -0.3])
    normal = G.Gaussian(*(np.repeat(x[None], 2000, axis=0) for x in (center, scale)))
    waves = G.Cost(lambda Y: np.sin(Y).sum(axis=-1), np.cos)
    variance = np.exp(2 * scale)
    by_mean = np.cos(center) * np.exp(-variance / 2)
    by_scale = -variance * np.sin(center) * np.exp(-variance / 2)
    for method in (G.Pathwise(), G.ScoreFunction("leave_one_out")):
        # The score of a scale is skewed: the mean of 300 is not yet near enough to normal.
        e = method.estimate(waves, normal, 1200, random_state=0)
        for name, truth in (("mean", by_mean), ("log_scale", by_scale)):
            each = (np.abs(e.value[name] - truth) < 1.96 * e.standard_error[name]).mean(axis=0)
            assert ((each > 0.93) & (each < 0.97)).all(), (method, name, each)


def test_standard_errors_of_a_links_parameters_are_calibrated():
    """By the scatter of 32 ranges: a Student's t of 31 degrees of freedom.

    Deliberate bug that this catches: the scatter divided by the number of ranges twice.
    """
    X = np.random.default_rng(0).normal(size=(3, 2))
    W, b = np.array([[0.4, -1.0], [0.2, 0.7]]), np.array([0.1, -0.3])
    given = G.Bernoulli.given(X, G.Linear(W, b))
    cost = lambda Y: (Y.sum(axis=-1) - 1.2) ** 2 + X[:, 0]  # noqa: E731
    exact = G.Enumerate().estimate(cost, given).value
    method, inside = G.ScoreFunction("leave_one_out"), {k: [] for k in exact}
    for seed in range(2000):
        e = method.estimate(cost, given, 256, random_state=seed)
        for k, x in inside.items():
            x.append(np.abs(e.value[k] - exact[k]) < 1.96 * e.standard_error[k])
    for k, x in inside.items():
        each = np.mean(x, axis=0)
        assert ((each > 0.93) & (each < 0.97)).all(), (k, each)


# --------------------------------------------------------------------------------------- continuous


def _quadratic(seed, n=3):
    random = np.random.default_rng(seed)
    A = random.normal(size=(n, n))
    A = A + A.T
    a = random.normal(size=n)
    cost = G.Cost(
        lambda Y: np.einsum("mi,ij,mj->m", Y - a, A, Y - a),
        lambda Y: 2 * (Y - a) @ A,
    )
    return A, a, cost


CONTINUOUS = [G.Pathwise(), G.ScoreFunction("optimal")]
#: Mean and variance of each base.
MOMENTS = {
    "gaussian": (0, 1),
    "logistic": (0, np.pi**2 / 3),
    "laplace": (0, 2),
    "gumbel": (np.euler_gamma, np.pi**2 / 6),
}


@pytest.mark.parametrize("base", MOMENTS)
@pytest.mark.parametrize("method", CONTINUOUS, ids=["path", "score"])
def test_location_scale_families(base, method):
    """A quadratic cost, whose expectation is known: E = (m - a)' A (m - a) + sum A_ii var_i.

    Deliberate bug that this catches: the -1 of the score of a scale left out.
    """
    A, a, cost = _quadratic(0)
    center, scale = np.array([0.3, -1, 2]), np.array([-0.5, 0.2, 0])
    mean, variance = MOMENTS[base]

    def value(x):
        m = x[0] + np.exp(x[1]) * mean
        return (m - a) @ A @ (m - a) + np.diag(A) @ (np.exp(2 * x[1]) * variance)

    exact = difference(value, np.array([center, scale]))
    squares = []
    for seed in range(10):
        family = G.LocationScale(center, scale, base)
        found = method.estimate(cost, family, 4000, random_state=seed)
        for k, name in enumerate(("location", "log_scale")):
            z = (found.value[name] - exact[k]) / np.maximum(found.standard_error[name], 1e-9)
            assert (np.abs(z) < Z_LIMIT).all(), name
            squares.append(z**2)
        assert abs(found.cost - value([center, scale])) < Z_LIMIT * found.cost_standard_error
    assert 0.4 < np.mean(squares) < 1.8
    # A base of the caller's own does the same.
    own = {"gaussian": stats.norm, "logistic": stats.logistic}.get(base)
    if own is not None:
        slope = {"gaussian": lambda z: -z, "logistic": lambda z: -np.tanh(z / 2)}[base]
        again = method.estimate(
            cost, G.LocationScale(center, scale, (own.ppf, slope)), 4000, random_state=9
        )
        np.testing.assert_allclose(again.value["location"], found.value["location"], rtol=1e-6)


@pytest.mark.parametrize("method", CONTINUOUS, ids=["path", "score"])
def test_gaussians_with_diagonal_and_full_covariance(method):
    """Deliberate bug that this catches: the Cholesky factor's score transposed."""
    A, a, cost = _quadratic(1)
    random = np.random.default_rng(2)
    mean = random.normal(size=3)
    factor = np.tril(random.normal(size=(3, 3)) * 0.4)
    np.fill_diagonal(factor, [0.7, 1.2, 0.5])

    def value(L, m):
        return (m - a) @ A @ (m - a) + np.trace(A @ L @ L.T)

    exact = {
        "mean": difference(lambda m: value(factor, m), mean),
        "cholesky": np.tril(difference(lambda L: value(L, mean), factor)),
    }
    for seed in range(10):
        found = method.estimate(cost, G.MultivariateGaussian(mean, factor), 5000, random_state=seed)
        for name, truth in exact.items():
            error = np.maximum(found.standard_error[name], 1e-9)
            assert (np.abs(found.value[name] - truth) < Z_LIMIT * error).all(), name
        assert not np.triu(found.value["cholesky"], 1).any()
    log_scale = np.array([0.1, -0.4, 0.3])
    found = method.estimate(cost, G.Gaussian(mean, log_scale), 5000, random_state=0)
    truth = difference(lambda s: value(np.diag(np.exp(s)), mean), log_scale)
    z = (found.value["log_scale"] - truth) / found.standard_error["log_scale"]
    assert (np.abs(z) < Z_LIMIT).all()
    assert set(found.value) == {"mean", "log_scale"}


@pytest.mark.parametrize("method", CONTINUOUS, ids=["path", "score"])
def test_a_cost_of_real_samples_may_depend_on_the_parameters_too(method):
    """J(y, m) = (y - 3 m)^2, whose mean is 4 m^2 + exp(2 log_scale).

    Deliberate bug that this catches: dJ/dw forgotten.
    """
    mean, log_scale = np.array([0.7]), np.array([-0.2])
    cost = G.Cost(
        lambda Y: (Y[:, 0] - 3 * mean[0]) ** 2,
        lambda Y: 2 * (Y - 3 * mean),
        lambda Y: {"mean": -6 * (Y - 3 * mean), "log_scale": np.zeros_like(Y)},
    )
    for seed in range(10):
        found = method.estimate(cost, G.Gaussian(mean, log_scale), 4000, random_state=seed)
        for name, truth in (("mean", 8 * mean), ("log_scale", 2 * np.exp(2 * log_scale))):
            # The path's derivative by the mean is the same for every sample but for its noise.
            z = (found.value[name] - truth) / found.standard_error[name]
            assert (np.abs(z) < Z_LIMIT).all(), name


# ------------------------------------------------------------------------------------------ relaxed


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_relaxed_gradients_are_those_of_the_relaxed_expectation(temperature):
    """By quadrature over the noise of one unit; and they say that they are biased."""
    logit = 0.4
    cost = G.Cost(lambda Y: (Y[:, 0] - 0.3) ** 3, lambda Y: 3 * (Y - 0.3) ** 2)

    def value(x):
        def inside(u):
            y = 1 / (1 + np.exp(-(x + np.log(u / (1 - u))) / temperature))
            return (y - 0.3) ** 3

        return integrate.quad(inside, 0, 1, epsabs=1e-11)[0]

    exact = difference(lambda x: value(x[0]), np.array([logit]))
    relaxed = G.RelaxedBernoulli([logit], temperature)
    for found in (
        G.Pathwise().estimate(cost, relaxed, 20_000, random_state=0),
        G.GumbelSoftmax(temperature).estimate(cost, G.Bernoulli([logit]), 20_000, random_state=0),
    ):
        assert abs(found.value - exact)[0] < Z_LIMIT * found.standard_error[0]
        assert found.biased
    two = G.RelaxedCategorical([[logit, 0.0]], temperature)
    pair = G.Cost(
        lambda Y: (Y[:, 0, 0] - 0.3) ** 3,
        lambda Y: np.stack([3 * (Y[:, :, 0] - 0.3) ** 2, 0 * Y[:, :, 0]], axis=-1),
    )
    found = G.Pathwise().estimate(pair, two, 20_000, random_state=0)
    # Two states are one unit, and the logits matter by their difference alone.
    assert abs(found.value[0, 0] - exact[0]) < Z_LIMIT * found.standard_error[0, 0]
    np.testing.assert_allclose(found.value[0, 1], -found.value[0, 0])


def test_straight_through_asks_hard_samples():
    seen = []

    def cost(Y):
        seen.append(np.unique(Y))
        return Y.sum(axis=1)

    straight = G.GumbelSoftmax(straight_through=True)
    found = straight.estimate(
        G.Cost(cost, np.ones_like), G.Bernoulli([0.3, -1]), 500, random_state=0
    )
    assert set(np.concatenate(seen)) == {0.0, 1.0}
    assert found.biased
    hard = straight.estimate(
        G.Cost(lambda Y: Y[:, 0, 0], np.ones_like), G.Categorical([[0.3, -1]]), 500, random_state=0
    )
    assert 0 < hard.cost < 1


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_a_relaxed_sample_drawn_again_has_the_same_distribution(kind):
    """z and z~ have one marginal, and z~ hardens to the y that it was drawn given.

    Deliberate bug that this catches: the second uniform cut at p in place of 1 - p.
    """
    problem = Problem(kind, 0)
    address = rng.Address.of(3, "gradients")
    r = problem.distribution.relaxation(address, 0, 4000)
    hard = (r.again > 0) if kind == "bernoulli" else np.eye(3)[r.again.argmax(axis=-1)]
    np.testing.assert_array_equal(hard, r.y)
    for at in np.ndindex(r.z.shape[1:]):
        index = (slice(None), *at)
        assert stats.ks_2samp(r.z[index], r.again[index]).pvalue > 1e-4
        # Its probability is that of the discrete distribution.
        p = problem.distribution.mean[at]
        assert abs(r.y[index].mean() - p) < Z_LIMIT * np.sqrt(p * (1 - p) / 4000)
    # The maps to the parameters and their transposes belong together.
    random = np.random.default_rng(0)
    g = random.normal(size=(4000, 1, problem.logits.size))
    dz = random.normal(size=r.z.shape)
    for pull, push in ((r.pull, r.push), (r.pull_again, r.push_again)):
        one = (g * pull(dz).reshape(g.shape)).sum(axis=-1)
        two = (push(g).reshape(g.shape) * dz.reshape(g.shape)).sum(axis=-1)
        np.testing.assert_allclose(one, two, atol=1e-9)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_relax_learns_by_the_gradient_of_the_variance(kind):
    """Against differences of the sum of squares by every weight, on the same samples."""
    problem = Problem(kind, 4)
    method = G.RELAX(hidden=3, coupling=1.0)
    state = method.init(problem.distribution, random_state=0)
    random = np.random.default_rng(0)
    for key in ("net/v", "net/c", "net/d"):
        state[key] = random.normal(size=state[key].shape)
    address = rng.Address.of(1, "gradients")
    own = problem.distribution
    r = own.relaxation(address, 0, 7)
    s = own.score(r.y, r.z)
    j = problem.cost(r.y[:, 0])[:, None]
    _, gradients = method._control(G.Cost(problem.cost), own, state, r, s, j, 0)
    grads, part = gradients(slice(0, 7)), [gradients(slice(0, 3)), gradients(slice(3, 7))]

    def squares(key, x):
        h, _ = method._control(G.Cost(problem.cost), own, {**state, key: x}, r, s, j, 0)
        return float(((j[..., None] * s + h) ** 2).sum()) / 2

    for key, found in grads.items():
        exact = difference(lambda x: squares(key, x), state[key])  # noqa: B023
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(part[0][key] + part[1][key], found)


def test_relax_lowers_the_variance_and_stays_unbiased():
    problem = Problem("bernoulli", 6)
    method = G.RELAX(learning_rate=0.03)
    state = method.init(problem.distribution, random_state=0)
    variances, z = [], []
    for _ in range(300):
        found, state = method.step(problem.cost, problem.distribution, state, 200)
        variances.append(found.variance.mean())
        z.append(z_scores(found, problem.exact))
    assert np.mean(variances[-20:]) < 0.5 * np.mean(variances[:20])
    assert np.abs(z).max() < Z_LIMIT + 0.5  # 200 samples: the tails are a little wider
    pooled = np.mean(z[100:])
    assert abs(pooled) < Z_LIMIT / np.sqrt(200)


# ------------------------------------------------------------------------------------ rows, inputs


def test_rows_are_problems_of_their_own():
    """Deliberate bug that this catches: a row's cost put down to another row's units."""
    random = np.random.default_rng(0)
    logits, target = random.normal(size=(3, 4)), random.normal(size=(3, 4))

    def cost(Y):
        return ((Y - target) ** 2).sum(axis=-1) * (1 + Y[..., 0] * Y[..., 1])

    @nb.njit
    def jitted(y, row):
        total = 0.0
        for i in range(4):
            total += (y[i] - target[row, i]) ** 2
        return total * (1 + y[0] * y[1])

    family = G.Bernoulli(logits)
    exact = np.stack(
        [
            difference(
                lambda x: expected("bernoulli", x, lambda Y: cost(np.stack([Y] * 3, axis=1))[:, r]),  # noqa: B023
                logits[r],
            )
            for r in range(3)
        ]
    )
    np.testing.assert_allclose(
        G.Enumerate().estimate(cost, family).value, exact, atol=1e-8, rtol=1e-7
    )
    for method in (*map(G.ScoreFunction, BASELINES), G.ARM(), G.DisARM(), G.RELAX()):
        found = method.estimate(cost, family, 4000, random_state=1)
        assert found.value.shape == (3, 4) and found.cost.shape == (3,)
        assert (np.abs(z_scores(found, exact)) < Z_LIMIT).all()
        again = method.estimate(jitted, family, 4000, random_state=1)
        np.testing.assert_allclose(again.value, found.value, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(again.standard_error, found.standard_error, rtol=1e-6)


class Squared:
    """A link with one matrix, logits = inputs**2 @ W: not one of the package's."""

    def __init__(self, W):
        self.W = W

    def forward(self, inputs):
        return inputs**2 @ self.W

    def backward(self, inputs, gradient):
        return {"W": (inputs**2).T @ gradient}


@pytest.mark.parametrize("link", ["linear", "own"])
def test_the_chain_rule_leads_back_to_the_callers_parameters(link):
    """Mean over rows of the expected cost, by differences of the link's weights.

    Deliberate bug that this catches: the sum over rows in place of the mean.
    """
    random = np.random.default_rng(0)
    X = random.normal(size=(5, 2))
    W, b = random.normal(size=(2, 3)), random.normal(size=3)
    a = random.normal(size=3)

    def of_row(Y, x):
        return (Y @ a - x[0]) ** 2

    def cost(Y):
        return np.stack([of_row(Y[:, r], X[r]) for r in range(len(X))], axis=1)

    def value(W, b):
        made = X @ W + b if link == "linear" else X**2 @ W
        return np.mean(
            [expected("bernoulli", m, lambda Y: of_row(Y, x)) for m, x in zip(made, X, strict=True)]  # noqa: B023
        )

    if link == "linear":
        given = G.Bernoulli.given(X, G.Linear(W, b))
        exact = {
            "weight": difference(lambda w: value(w, b), W),
            "bias": difference(lambda c: value(W, c), b),
        }
    else:
        given = G.Bernoulli.given(X, Squared(W))
        exact = {"W": difference(lambda w: value(w, b), W)}
    found = G.Enumerate().estimate(cost, given)
    for name, truth in exact.items():
        np.testing.assert_allclose(found.value[name], truth, atol=1e-8, rtol=1e-7)
    squares = []
    for method in (G.ScoreFunction("optimal"), G.ScoreFunction("leave_one_out"), G.DisARM()):
        for seed in range(20):
            found = method.estimate(cost, given, 640, random_state=seed)
            for name, truth in exact.items():
                z = (found.value[name] - truth) / found.standard_error[name]
                # The error is that of 32 ranges: Student's t with 31 degrees of freedom.
                assert (np.abs(z) < stats.t.isf(stats.norm.sf(Z_LIMIT), 31)).all()
                squares.append(z**2)
    assert 0.7 < np.mean(np.concatenate([np.ravel(s) for s in squares])) < 1.5
    one = G.ScoreFunction(0.0).estimate(cost, given, 1, random_state=0)
    assert all(np.isnan(v).all() for v in one.standard_error.values())


class Outer:
    """A link to all parameters of a family, each ``inputs @ matrix`` shaped as asked."""

    def __init__(self, shapes, seed):
        random = np.random.default_rng(seed)
        self.shapes = shapes
        self.weights = {k: 0.5 * random.normal(size=(2, *s)) for k, s in shapes.items()}

    def forward(self, inputs):
        made = {k: np.tensordot(inputs, w, 1) for k, w in self.weights.items()}
        return made if len(made) > 1 else next(iter(made.values()))

    def backward(self, inputs, gradient):
        named = gradient if isinstance(gradient, dict) else {next(iter(self.shapes)): gradient}
        return {k: np.tensordot(inputs, g, (0, 0)) for k, g in named.items()}


@pytest.mark.parametrize("kind", ["gaussian", "categorical", "binomial"])
def test_links_to_other_families_and_to_several_parameters(kind):
    """Deliberate bug that this catches: a parameter's gradient handed to the link as another's."""
    X = np.random.default_rng(1).normal(size=(4, 2))
    if kind == "gaussian":
        link = Outer({"mean": (3,), "log_scale": (3,)}, 0)
        given = G.Gaussian.given(X, link)
        cost = G.Cost(lambda Y: (Y**2).sum(axis=-1), lambda Y: 2 * Y)

        def value(weights):
            at = {k: np.tensordot(X, w, 1) for k, w in weights.items()}
            return np.mean((at["mean"] ** 2 + np.exp(2 * at["log_scale"])).sum(axis=1))

        chosen = [G.Pathwise(), G.ScoreFunction("optimal")]
    else:
        link = Outer({"logits": (2, 3) if kind == "categorical" else (3,)}, 0)
        family, fixed = (
            (G.Categorical, {}) if kind == "categorical" else (G.Binomial, {"n_trials": 3})
        )
        given = family.given(X, link, **fixed)
        weigh = np.arange(1.0, 7.0).reshape(2, 3) if kind == "categorical" else np.arange(1.0, 4.0)

        def of_row(Y):
            return ((Y * weigh).reshape(*Y.shape[: Y.ndim - weigh.ndim], -1).sum(axis=-1) - 3) ** 2

        def value(weights):
            logits = np.tensordot(X, weights["logits"], 1)
            return np.mean([expected(kind, x, of_row) for x in logits])

        cost = of_row
        chosen = [G.ScoreFunction("optimal"), G.ScoreFunction(G.Learnt("pair"))]
        found = G.Enumerate().estimate(cost, given).value["logits"]
        exact = difference(lambda w: value({"logits": w}), link.weights["logits"])
        np.testing.assert_allclose(found, exact, atol=1e-8, rtol=1e-6)
    limit = stats.t.isf(stats.norm.sf(Z_LIMIT), 31)
    for name, w in link.weights.items():
        exact = difference(lambda x: value({**link.weights, name: x}), w)  # noqa: B023
        for method in chosen:
            found = method.estimate(cost, given, 6400, random_state=0)
            assert found.value[name].shape == w.shape
            z = (found.value[name] - exact) / np.maximum(found.standard_error[name], 1e-12)
            assert (np.abs(z) < limit).all(), (method, name)


# -------------------------------------------------------------------------------- baselines, states


@pytest.mark.parametrize("m", [100, 900])
def test_the_closed_forms_of_the_baselines(m):
    """Per-sample sums by the definitions, on the package's own samples.

    Deliberate bugs that this catches: a range's own samples in its baseline; the shift of costs
    taken off once too often.
    """
    problem = Problem("bernoulli", 9)
    shifted = lambda Y: problem.cost(Y) + 1e6  # noqa: E731
    for name in ("leave_one_out", "optimal", "constant", "none"):
        seen = []

        def cost(Y, seen=seen):
            seen.append(Y.copy())
            return shifted(Y)

        found = G.ScoreFunction(name).estimate(cost, problem.distribution, m, random_state=0)
        y = np.concatenate(seen)
        assert y.shape == (m, 4)
        j, s = shifted(y)[:, None], y - 1 / (1 + np.exp(-problem.logits))
        edges = np.arange(33) * m // 32
        fold = np.repeat(np.arange(32), np.diff(edges))
        g = np.empty_like(s)
        for i in range(m):
            apart = fold != fold[i]
            if name == "leave_one_out":
                b = np.delete(j, i).mean()
            elif name == "optimal":
                # About a common level, as 1e6 would drown the rest.
                level = shifted(y).mean()
                b = level + ((j - level)[apart] * s[apart] ** 2).sum(axis=0) / (s[apart] ** 2).sum(
                    axis=0
                )
            else:
                b = j[apart].mean() if name == "constant" else 0.0
            g[i] = (j[i] - b) * s[i]
        tolerance = 1e-4 if name == "none" else 1e-6
        np.testing.assert_allclose(found.value, g.mean(axis=0), rtol=tolerance, atol=1e-6)
        np.testing.assert_allclose(found.variance, g.var(axis=0, ddof=1), rtol=tolerance)
        np.testing.assert_allclose(found.standard_error**2 * m, found.variance)
        assert found.cost == pytest.approx(j.mean())


def test_others_sums_what_is_left():
    x = np.random.default_rng(0).normal(size=(6, 2))
    np.testing.assert_allclose(baselines.others(x), x.sum(axis=0) - x)
    np.testing.assert_allclose(baselines.others(x[:1]), 0)


def test_moving_averages_move_over_calls():
    problem = Problem("bernoulli", 0)
    method = G.ScoreFunction(G.MovingAverage(decay=0.75))
    state = method.init(problem.distribution, random_state=0)
    means = []
    for _ in range(3):
        found, state = method.step(problem.cost, problem.distribution, state, 5)
        means.append(found.cost)
    expected_mean = 0.75 * (0.75 * means[0] + 0.25 * means[1]) + 0.25 * means[2]
    assert state["baseline/mean"] == pytest.approx(expected_mean)
    # What was learnt is used: with b known, the sums are those of a constant.
    seed, step = state["seed"], state["step"]
    next_one, _ = method.step(problem.cost, problem.distribution, state, 5)
    constant = G.ScoreFunction(float(state["baseline/mean"]))
    same, _ = constant.step(problem.cost, problem.distribution, {"seed": seed, "step": step}, 5)
    np.testing.assert_allclose(next_one.value, same.value)


def test_single_samples_in_a_loop_are_unbiased_with_every_baseline():
    """One sample a step, what is learnt comes from former steps alone."""
    problem = Problem("bernoulli", 11)
    made = [
        G.ScoreFunction("moving_average"),
        G.ScoreFunction(G.Learnt("shared", hidden=3)),
        G.ScoreFunction(G.Learnt("pair")),
        G.ScoreFunction("moving_average", normalizer=True),
        G.ScoreFunction("optimal"),
    ]
    for method in made:
        state = method.init(problem.distribution, random_state=1)
        if method.baseline.name == "optimal":
            _, state = method.step(problem.cost, problem.distribution, state, 2)
        values = []
        for _ in range(600):
            found, state = method.step(problem.cost, problem.distribution, state, 1)
            values.append(found.value / found.scale)
            assert np.isnan(found.standard_error).all()
        values = np.array(values)
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        assert (np.abs(values.mean(axis=0) - problem.exact) < Z_LIMIT * error).all(), method


def _by_input(n_rows, seed):
    """Costs that depend on the inputs far more than on the samples."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n_rows, 3))
    logits = 0.3 * random.normal(size=(n_rows, 4))
    level = 10 * X[:, 0] - 4

    def cost(Y):
        return level + Y.sum(axis=-1) ** 2

    return X, logits, cost


@pytest.mark.parametrize(
    "baseline",
    [
        G.Learnt("shared", learning_rate=0.1),
        G.Learnt("shared", hidden=8, learning_rate=0.03),
        G.Learnt("pair", learning_rate=0.1),
        G.Regressor(SGDRegressor(learning_rate="constant", eta0=0.05, random_state=0)),
        SGDRegressor(learning_rate="constant", eta0=0.05, random_state=0),
    ],
    ids=["shared", "shared, hidden", "pair", "regressor", "regressor, bare"],
)
def test_learnt_baselines_follow_the_inputs(baseline):
    """The variance falls to a fifth of that with one number, and the mean stays.

    Deliberate bug that this catches: a network that climbs its error in place of descending it.
    """
    method = G.ScoreFunction(baseline)
    state, z = None, []
    for step in range(300):
        X, logits, cost = _by_input(40, step)
        family = G.Bernoulli(logits)
        state = state or method.init(family, inputs=X, random_state=0)
        found, state = method.step(cost, family, state, 1, inputs=X)
    variances = {"learnt": [], "average": [], "loo": []}
    for step in range(300, 320):
        X, logits, cost = _by_input(40, step)
        family = G.Bernoulli(logits)
        found, state = method.step(cost, family, state, 60, inputs=X)
        exact = G.Enumerate().estimate(cost, family).value
        z.append(z_scores(found, exact))
        variances["learnt"].append(found.variance.mean())
        average = float(cost(np.zeros((1, 40, 4))).mean())
        plain = G.ScoreFunction(average).estimate(cost, family, 60, random_state=0)
        variances["average"].append(plain.variance.mean())
        loo = G.ScoreFunction("leave_one_out").estimate(cost, family, 60, random_state=0)
        variances["loo"].append(loo.variance.mean())
    assert np.mean(variances["learnt"]) < 0.2 * np.mean(variances["average"])
    # No further off than a baseline that knows the mean of each row.
    assert np.mean(variances["learnt"]) < 2 * np.mean(variances["loo"])
    pooled = np.concatenate(z)
    assert abs(pooled.mean()) < Z_LIMIT / np.sqrt(pooled.size / 4)


def test_a_state_with_a_regressor_is_pickled():
    X, logits, cost = _by_input(10, 0)
    family = G.Bernoulli(logits)
    method = G.ScoreFunction(SGDRegressor(random_state=0))
    _, state = method.step(cost, family, method.init(family, inputs=X, random_state=0), 2, inputs=X)
    on, _ = method.step(cost, family, state, 2, inputs=X)
    again, _ = method.step(cost, family, pickle.loads(pickle.dumps(state)), 2, inputs=X)
    np.testing.assert_array_equal(on.value, again.value)


def test_the_callers_regressor_is_copied():
    model = SGDRegressor()
    method = G.ScoreFunction(model)
    X, logits, cost = _by_input(10, 0)
    family = G.Bernoulli(logits)
    before = method.init(family, inputs=X, random_state=0)
    _, after = method.step(cost, family, before, 2, inputs=X)
    assert not hasattr(model, "coef_")
    assert not hasattr(before["baseline/model"], "coef_")
    assert hasattr(after["baseline/model"], "coef_")


def test_variance_normalisation_divides_by_the_moving_deviation_above_one():
    """Deliberate bug that this catches: division also where the deviation is below one."""
    for size, divides in ((100.0, True), (1e-3, False)):
        method = G.ScoreFunction(0.0, normalizer=G.Normalizer(decay=0.5))
        cost = lambda Y: size * (Y.sum(axis=1) - 2)  # noqa: B023, E731
        family = G.Bernoulli(np.zeros(4))
        state = method.init(family, random_state=0)
        first, state = method.step(cost, family, state, 2000)
        assert first.scale == 1
        second, state = method.step(cost, family, state, 2000)
        if divides:
            # Costs are size times a sum of four fair coins: deviation size.
            assert second.scale == pytest.approx(1 / size, rel=0.1)
        else:
            assert second.scale == 1
        plain, _ = G.ScoreFunction(0.0).step(
            cost, family, {"seed": state["seed"], "step": np.array(1)}, 2000
        )
        np.testing.assert_allclose(second.value, plain.value * second.scale)
        np.testing.assert_allclose(second.standard_error, plain.standard_error * second.scale)


@pytest.mark.parametrize(
    "method",
    [
        G.ScoreFunction("moving_average", normalizer=True),
        G.ScoreFunction("optimal"),
        G.ScoreFunction(G.Learnt("shared", hidden=4)),
        G.ScoreFunction(G.Learnt("pair")),
        G.RELAX(),
        G.DisARM(),
    ],
    ids=["average", "optimal", "shared", "pair", "relax", "disarm"],
)
def test_a_saved_state_goes_on_as_if_nothing_had_happened(method, tmp_path):
    problem = Problem("bernoulli", 0)
    state = method.init(problem.distribution, random_state=0)
    for _ in range(3):
        _, state = method.step(problem.cost, problem.distribution, state, 10)
    np.savez(tmp_path / "state.npz", **state)
    kept = {k: np.copy(v) for k, v in state.items()}
    on, _ = method.step(problem.cost, problem.distribution, state, 10)
    for k, v in kept.items():
        np.testing.assert_array_equal(state[k], v, err_msg=f"step changed the state given: {k}")
    with np.load(tmp_path / "state.npz") as file:
        again, _ = method.step(problem.cost, problem.distribution, dict(file), 10)
    np.testing.assert_array_equal(on.value, again.value)
    # And two steps differ.
    first = method.estimate(problem.cost, problem.distribution, 10, random_state=0)
    assert not np.array_equal(on.value, first.value)


# -------------------------------------------------------------------------- jitted costs, the loops


@nb.njit
def _whole(y):
    """Whole numbers, so that no rounding stands between two ways of writing it."""
    total = 0.0
    for i in range(y.size):
        total += (i + 1) * y.flat[i]
    return (total - 9) ** 2


def _whole_of_many(Y):
    flat = Y.reshape(len(Y), -1)
    return (flat @ np.arange(1.0, flat.shape[1] + 1) - 9) ** 2


FAMILIES = {
    "bernoulli": G.Bernoulli(np.linspace(-2, 2, 7)),
    "binomial": G.Binomial(np.linspace(-2, 2, 3), 5),
    "categorical": G.Categorical(np.random.default_rng(0).normal(size=(3, 4))),
    "saturated": G.Bernoulli(np.array([-60.0, 60, 0, 30, -30])),
    "gaussian": G.Gaussian(np.linspace(-1, 1, 3)),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [1, 7, 1000, 70_001])
def test_jitted_and_vectorised_costs_give_the_same_bits(family, n):
    """And so does every number of threads.

    Deliberate bugs that this catches: a generator that counts units from another address; sums in
    another order; thresholds compared with < on one side and <= on the other.
    """
    distribution = FAMILIES[family]
    chosen = [G.ScoreFunction(b) for b in (("none",) if n == 1 else ("leave_one_out", "optimal"))]
    if isinstance(distribution, G.Bernoulli):
        chosen += [G.ARM(), G.DisARM()]
    for method in chosen:
        slow = method.estimate(_whole_of_many, distribution, n, random_state=3)
        for threads in (1, 2, 5):
            fast = method.estimate(_whole, distribution, n, random_state=3, n_threads=threads)
            if family != "gaussian":  # real samples: costs round in their own ways
                assert fast.cost == slow.cost
                np.testing.assert_array_equal(fast.value, slow.value)
                np.testing.assert_array_equal(fast.standard_error, slow.standard_error)
            else:
                for k in fast.value:
                    np.testing.assert_allclose(fast.value[k], slow.value[k], rtol=1e-8)
            if threads == 1:
                one = fast
            np.testing.assert_equal(fast.value, one.value)
            np.testing.assert_equal(fast.standard_error, one.standard_error)


@pytest.mark.parametrize("kind", ["bernoulli", "binomial", "categorical"])
def test_every_method_takes_jitted_costs(kind):
    """Real costs, which round in their own ways; with rows the row is told."""
    problem = Problem(kind, 2)
    jitted = problem.jitted()
    two = np.stack([problem.logits, problem.logits[::-1]])
    made = {
        "bernoulli": G.Bernoulli,
        "categorical": G.Categorical,
        "binomial": lambda x: G.Binomial(x, 3),
    }[kind]

    @nb.njit
    def by_row(y, row):
        return (1 + row) * jitted(y)

    def of_rows(Y):
        flat = problem.cost(Y.reshape(-1, *problem.logits.shape)).reshape(Y.shape[:2])
        return np.array([1.0, 2.0]) * flat

    chosen = [*unbiased(kind).values(), G.Enumerate(), G.VIMCO(2)]
    for method in chosen:
        if isinstance(method, G.REBAR) and not isinstance(method, G.RELAX):
            continue  # it needs a gradient: see test_jitted_gradients
        for slow, fast, family in (
            (problem.cost, jitted, problem.distribution),
            (of_rows, by_row, made(two)),
        ):
            one = method.estimate(slow, family, 50, random_state=0)
            other = method.estimate(fast, family, 50, random_state=0)
            np.testing.assert_allclose(one.value, other.value, rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(one.cost, other.cost, rtol=1e-9)


def test_the_compiled_generator_is_the_packages():
    """Words against a plain Philox, and so the uniforms of `rng`, bit for bit."""
    seed, step, stream = 0x123456789ABCDEF1, 7, 300
    for row in (0, 5, 2**31 + 3):
        blocks, rows, words = kernels.counters(3, 11)
        u64 = np.uint64
        key = u64(seed & 0xFFFFFFFF), u64(seed >> 32)
        kernels.philox(*key, u64(row), u64(step), u64(stream), blocks, rows, words)
        plain = philox_oracle.words(seed, stream, step, row, 3, 16)
        np.testing.assert_array_equal(words.reshape(3, 16), plain)


def test_samples_have_the_probabilities():
    """Frequencies of the states of each unit within the Monte Carlo error."""
    for distribution in (FAMILIES["bernoulli"], FAMILIES["binomial"], FAMILIES["categorical"]):
        y, _ = distribution.draw(rng.Address.of(0, "gradients"), 0, 20_000)
        kind = distribution.name
        for unit in range(distribution.shape[0]):
            own = y[:, 0, unit]
            if kind == "binomial":
                q = 1 / (1 + np.exp(-distribution.parameters["logits"][unit]))
                p = stats.binom(5, q).pmf(np.arange(6))
                found = np.array([(own == k).mean() for k in range(6)])
            elif kind == "categorical":
                p, found = softmax(distribution.parameters["logits"][unit]), own.mean(axis=0)
            else:
                p = 1 / (1 + np.exp(-distribution.parameters["logits"][unit]))
                found = own.mean()
            assert (np.abs(found - p) < Z_LIMIT * np.sqrt(p * (1 - p) / 20_000) + 1e-9).all()


def test_memory_does_not_grow_with_the_number_of_samples():
    """Deliberate bug that this catches: a table of all samples, or of all their costs."""
    distribution = G.Bernoulli(np.zeros(50))

    def peak(method, cost, n):
        tracemalloc.start()
        method.estimate(cost, distribution, n, random_state=0)
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return top

    for cost in (_whole, _whole_of_many):
        for method in (G.ScoreFunction("optimal"), G.DisARM()):
            peak(method, cost, 100)
            few, many = peak(method, cost, 40_000), peak(method, cost, 400_000)
            # 400,000 costs alone would be 3.2 MB, the samples 160 MB.
            assert many < few + 300_000, (method, cost)


def test_ranges_depend_on_shapes_alone():
    for n in (1, 5, 31, 32, 33, 10_000):
        sums = loop.Sums.zeros(n, 1, 10)
        assert sums.edges[0] == 0 and sums.edges[-1] == n and (np.diff(sums.edges) > 0).all()
        at, start, cut = 0, 0, []
        while at < len(sums.edges) - 1:
            some, at, start = loop.gather(sums.edges, at, start, len(sums.edges) - 1, 7)
            assert 0 < (some[:, 1] - some[:, 0]).sum() <= 7
            cut.extend(some)
        cut = np.array(cut)
        assert cut[0, 0] == 0 and (cut[1:, 0] == cut[:-1, 1]).all() and cut[-1, 1] == n
        assert (cut[:, 0] >= sums.edges[cut[:, 2]]).all()
        assert (cut[:, 1] <= sums.edges[cut[:, 2] + 1]).all()
        np.testing.assert_array_equal(cut[cut[:, 3] == 1, 0], sums.edges[:-1])
    # Many parameters take fewer ranges, never fewer than eight.
    assert len(loop.Sums.zeros(1000, 100, 1000).edges) == 9


def test_an_interrupt_stops_compiled_loops():
    """Ctrl-C during a call that would last for minutes.

    Deliberate bug that this catches: all samples in one compiled call.
    """
    distribution = G.Bernoulli(np.zeros(50))
    method = G.ScoreFunction("none")
    for threads in (1, 2):
        method.estimate(_whole, distribution, 10, n_threads=threads)

        def ring(*_):
            raise KeyboardInterrupt

        old = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            begin = time.perf_counter()
            with pytest.raises(KeyboardInterrupt):
                method.estimate(_whole, distribution, 10**9, n_threads=threads)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert time.perf_counter() - begin < 20
        # The pool is there as before.
        assert np.isfinite(method.estimate(_whole, distribution, 100, n_threads=threads).cost)


def test_jitted_gradients():
    @nb.njit
    def value(y):
        return (y[0] - 1) ** 2 * y[1]

    @nb.njit
    def slope(y, out):
        out[0] = 2 * (y[0] - 1) * y[1]
        out[1] = (y[0] - 1) ** 2

    slow = G.Cost(
        lambda Y: (Y[:, 0] - 1) ** 2 * Y[:, 1],
        lambda Y: np.stack([2 * (Y[:, 0] - 1) * Y[:, 1], (Y[:, 0] - 1) ** 2], axis=1),
    )
    for method, family in (
        (G.Pathwise(), G.Gaussian(np.array([0.5, -0.3]))),
        (G.REBAR(), G.Bernoulli(np.array([0.5, -0.3]))),
        (G.GumbelSoftmax(), G.Bernoulli(np.array([0.5, -0.3]))),
    ):
        one = method.estimate(slow, family, 3000, random_state=0)
        for threads in (1, 3):
            two = method.estimate(
                G.Cost(value, slope), family, 3000, random_state=0, n_threads=threads
            )
            for k in one.value if isinstance(one.value, dict) else [...]:
                np.testing.assert_allclose(one.value[k], two.value[k], rtol=1e-9, atol=1e-12)


# -------------------------------------------------------------------------------------- comparisons


def test_compare_measures_every_method():
    problem = Problem("bernoulli", 0)
    chosen = [
        G.ScoreFunction("none"),
        G.ScoreFunction("optimal"),
        G.DisARM(),
        G.GumbelSoftmax(2.0),
        G.Enumerate(),
    ]
    found = G.compare(
        chosen, problem.full, problem.distribution, n_samples=200, n_repeats=40, random_state=0
    )
    rows = {r.method: r for r in found.rows}
    assert list(rows) == [
        "score_function, none",
        "score_function, optimal",
        "disarm",
        "gumbel_softmax",
        "enumerate",
    ]
    assert found.exact
    for r in found.rows:
        assert r.variance_seconds == r.variance * r.seconds and r.seconds > 0
        if not r.biased:
            assert r.bias < 3 * r.bias_error + 1e-9
    assert rows["gumbel_softmax"].biased
    assert rows["gumbel_softmax"].bias > 5 * rows["gumbel_softmax"].bias_error
    assert rows["enumerate"].variance < 1e-20
    assert rows["score_function, optimal"].variance < rows["score_function, none"].variance
    table = str(found)
    assert "gumbel_softmax (biased)" in table and len(table.splitlines()) == 6
    assert found.to_dict()["method"] == list(rows)


def test_compare_without_an_exact_gradient():
    found = G.compare(
        {"path": G.Pathwise(), "score": G.ScoreFunction()},
        G.Cost(lambda Y: (Y**2).sum(axis=1), lambda Y: 2 * Y),
        G.Gaussian(np.zeros(2)),
        n_samples=50,
        n_repeats=5,
        random_state=0,
    )
    assert not found.exact and np.isnan(found.rows[0].bias)
    assert "-" in str(found).splitlines()[1]
    for wrong, shown in (([], "none"), (["disarm"], "'disarm'"), ({"a": 3}, "3"), (3, "3")):
        with pytest.raises(
            TypeError,
            match=f"methods must be methods of fastboltz.gradients, such .* of them; got {shown}",
        ):
            G.compare(wrong, lambda Y: Y, G.Gaussian([0.0]))


# ---------------------------------------------------------------------------------------- bad input


def test_costs_that_cannot_be_used():
    family = G.Bernoulli(np.zeros(3))
    score = G.ScoreFunction("none")

    def third(Y):
        out = Y.sum(axis=1)
        out[2] = np.nan
        return out

    seen = []

    def remember(Y):
        seen.append(Y.copy())
        return Y.sum(axis=1)

    score.estimate(remember, family, 10, random_state=0)
    y = seen[0]
    shown = lambda row: np.array2string(row, precision=4)  # noqa: E731
    with pytest.raises(G.CostError) as caught:
        score.estimate(
            lambda Y: np.where(np.arange(len(Y)) == 0, np.nan, 1.0), family, 1, random_state=0
        )
    assert str(caught.value) == (
        f"cost returned nan for sample 0, y = {shown(y[0])}; expected a finite number for every "
        f"sample."
    )
    with pytest.raises(G.CostError, match=r"third returned nan for sample 2, y = \["):
        costs.costs_of(G.Cost(third), family, y[:4, None], 0)
    with pytest.raises(G.CostError) as caught:
        score.estimate(lambda Y: Y, family, 1)
    assert str(caught.value) == (
        "cost returned shape (1, 3) for samples of shape (1, 3); expected (1,). Costs see many "
        "samples at once: sum over the axes after the first, or jit a function of one sample."
    )
    with pytest.raises(G.CostError, match="cost returned NoneType for samples of shape"):
        score.estimate(lambda Y: None, family, 1)
    with pytest.raises(G.CostError, match=r"cost returned ndarray for samples of .* real numbers"):
        score.estimate(lambda Y: Y.sum(axis=1) * 1j, family, 1)

    def raises(Y):
        if (Y.sum(axis=1) == 3).any():
            raise ZeroDivisionError("all on")
        return Y.sum(axis=1)

    with pytest.raises(
        G.CostError,
        match=r"raises raised ZeroDivisionError\('all on'\) for sample \d+, y = \[1. 1. 1.\]",
    ):
        score.estimate(raises, family, 1000, random_state=0)

    def together(Y):
        if len(Y) > 1:
            raise RuntimeError("too many")
        return Y.sum(axis=1)

    with pytest.raises(
        G.CostError, match=r"for samples 0 to 999, an array .* for none of them alone"
    ):
        score.estimate(together, family, 1000, random_state=0)
    with pytest.raises(TypeError, match="cost must be a function of samples"):
        score.estimate(3, family)
    with pytest.raises(TypeError, match="gradient of a cost must be a function; got 3"):
        G.Cost(raises, 3)


@pytest.mark.parametrize("width", [1, 3, 7, 200, 2500])
def test_four_binary_units_share_a_word_and_ties_are_broken_by_another(width):
    """Thresholds whose first bytes are those of one sample's words: its units are decided by the
    24 bits of other words. Catches ties taken for ones or for zeros, bytes exchanged, the words of
    another sample or unit, p of exactly 0 and 1, ends of the tables that units are drawn in."""
    address = rng.Address.of(12345, "gradients", step=3)
    n, first, tied = 70, 11, 33
    where = (address.seed, address.stream, address.step, first)
    words = philox_oracle.blocks(*where, n, (width + 3) // 4).astype(np.int64)
    upper = np.stack([words >> 8 * k & 0xFF for k in range(4)], axis=-1)
    upper = upper.reshape(n, -1)[:, :width]
    where = (address.seed, address.stream + 2, address.step, first)
    lower = philox_oracle.blocks(*where, n, width).astype(np.int64) >> 8
    thresholds = (upper[tied] << 24) + 0x800000
    if width > 2:
        thresholds[0], thresholds[-1] = 2**32, 0
    expected = (upper << 24) + lower < thresholds
    family = G.Bernoulli(np.zeros(width))
    family.thresholds = thresholds.astype(np.uint64).reshape(1, width, 1)
    y, _ = family.draw(address, first, n)
    np.testing.assert_array_equal(y[:, 0], expected)
    assert width < 7 or 0 < expected[tied].sum() < width
    if width > 2:
        assert expected[:, 0].all() and not expected[:, -1].any()

    @nb.njit
    def cost(y):
        total = 0.0
        for i in range(y.size):
            total += y[i] * (i % 50 + 1)
        return total

    # The compiled loop draws the same samples.
    address = rng.Address.of(rng.seed_from(7), "gradients")
    y, _ = family.draw(address, 0, n)
    found = G.ScoreFunction("none").estimate(cost, family, n, random_state=7)
    np.testing.assert_allclose(found.cost, (y[:, 0] @ (np.arange(width) % 50 + 1)).mean())


def test_jitted_costs_that_cannot_be_used():
    family = G.Bernoulli(np.zeros(3))

    @nb.njit
    def bad(y):
        return np.nan if y[0] + y[1] + y[2] == 3 else 1.0

    @nb.njit
    def raises(y):
        if y[0] + y[1] + y[2] == 3:
            raise ValueError("all on")
        return 1.0

    @nb.njit
    def vector(y):
        return y

    address = rng.Address.of(rng.seed_from(0), "gradients")
    y, _ = family.draw(address, 0, 1000)
    first = int(np.flatnonzero(y[:, 0].sum(axis=1) == 3)[0])
    y, _ = family.transform(family.uniform(address, 0, 0, 1000))
    mirrored = int(np.flatnonzero(np.isin(y[:, 0].sum(axis=1), (0, 3)))[0])
    for method, at in ((G.ScoreFunction("none"), first), (G.DisARM(), mirrored)):
        for threads in (1, 2):
            with pytest.raises(G.CostError) as caught:
                method.estimate(bad, family, 1000, random_state=0, n_threads=threads)
            assert str(caught.value) == (
                f"bad returned nan for sample {at}, y = [1. 1. 1.]; expected a finite number for "
                f"every sample."
            )
            with pytest.raises(G.CostError) as caught:
                method.estimate(raises, family, 1000, random_state=0, n_threads=threads)
            assert str(caught.value) == (
                f"raises raised ValueError('all on') for sample {at}, y = [1. 1. 1.]."
            )
    with pytest.raises(
        G.CostError, match=r"vector cannot be compiled as cost\(y\) with y a float64"
    ):
        G.ScoreFunction("none").estimate(vector, family, 10)
    with pytest.raises(G.CostError, match=r"cannot be compiled as cost\(y, row\)"):
        G.ScoreFunction("none").estimate(bad, G.Bernoulli(np.zeros((2, 3))), 10)
    with pytest.raises(G.CostError, match=r"raises raised ValueError.'all on'. for sample"):
        G.RELAX().estimate(raises, family, 1000)


def test_a_jitted_gradient_that_raises_says_for_which_sample():
    @nb.njit
    def value(y):
        return y[0]

    @nb.njit
    def slope(y, out):
        if y[0] > 0.5:
            raise ValueError("too far")
        out[:] = 1.0

    family = G.Gaussian(np.zeros(2))
    y, _ = family.draw(rng.Address.of(rng.seed_from(0), "gradients"), 0, 1000)
    first = int(np.flatnonzero(y[:, 0, 0] > 0.5)[0])
    shown = np.array2string(y[first, 0], precision=4)
    with pytest.raises(G.CostError) as caught:
        G.Pathwise().estimate(G.Cost(value, slope), family, 1000, random_state=0, n_threads=1)
    assert str(caught.value) == (
        f"slope raised ValueError('too far') for sample {first}, y = {shown}."
    )


def test_a_state_that_belongs_elsewhere_is_refused():
    cost = lambda Y: Y.sum(axis=1)  # noqa: E731
    three, four = G.Bernoulli(np.zeros(3)), G.Bernoulli(np.zeros(4))
    method = G.ScoreFunction("optimal")
    for wrong in ({}, None):
        with pytest.raises(TypeError, match="state must be what init, or the step before, has"):
            method.step(cost, three, wrong, 5)
    with pytest.raises(ValueError) as caught:
        G.ScoreFunction("moving_average").step(cost, three, method.init(three), 5)
    assert str(caught.value) == (
        "the state does not belong to ScoreFunction(baseline=MovingAverage(decay=0.8), "
        "normalizer=None) on Bernoulli(logits: (3,)): of 'baseline/mean', with shape (), it has "
        "none. Take that of init for this method, distribution and inputs."
    )
    _, state = method.step(cost, three, method.init(three), 5)
    with pytest.raises(
        ValueError, match=r"of 'baseline/weighted', with shape \(4,\), it has shape"
    ):
        method.step(cost, four, state, 1)
    # What else a cost or a baseline says is left as it is.
    with pytest.raises(ValueError, match="leave-one-out baseline is made of the other samples"):
        one = G.ScoreFunction("leave_one_out")
        one.step(cost, three, one.init(three), 1)


def test_methods_that_do_not_fit_say_which_do():
    discrete, real = G.Bernoulli(np.zeros(3)), G.Gaussian(np.zeros(3))
    cost = G.Cost(lambda Y: Y.sum(axis=1), np.ones_like)
    with pytest.raises(TypeError) as caught:
        G.Pathwise().estimate(cost, discrete)
    assert str(caught.value) == (
        "Pathwise needs samples that are differentiable functions of noise, and Bernoulli is "
        "discrete. Methods that fit: ScoreFunction, VIMCO and Enumerate; and for Bernoulli units "
        "ARM and DisARM, for Bernoulli and Categorical ones REBAR, RELAX and GumbelSoftmax "
        "(biased)."
    )
    with pytest.raises(
        TypeError, match=r"ARM needs a Bernoulli distribution; got Gaussian.*Pathwise"
    ):
        G.ARM().estimate(cost, real)
    with pytest.raises(TypeError, match="REBAR needs a Bernoulli or Categorical distribution"):
        G.REBAR().estimate(cost, G.Binomial(np.zeros(2), 3))
    with pytest.raises(TypeError, match=r"REBAR needs the gradient of the cost .*or take RELAX"):
        G.REBAR().estimate(lambda Y: Y, discrete)
    with pytest.raises(
        TypeError, match="Pathwise needs the gradient of the cost by the sample; give"
    ):
        G.Pathwise().estimate(lambda Y: Y, real)
    with pytest.raises(TypeError, match=r"needs a distribution with a score.*Use Bernoulli itself"):
        G.ScoreFunction().estimate(cost, G.RelaxedBernoulli(np.zeros(2), 0.5))
    with pytest.raises(TypeError, match=r"Gaussian has infinitely many states. Use Pathwise"):
        G.Enumerate().estimate(cost, real)
    # Which ScoreFunction would refuse.
    with pytest.raises(TypeError, match=r"Bernoulli has infinitely many states. Use Pathwise.$"):
        G.Enumerate().estimate(cost, G.RelaxedBernoulli(np.zeros(2), 0.5))
    with pytest.raises(
        NotEnumerableError,
        match=r"exact gradient needs 2\*\*30 states \(limit 2\*\*20\). Use Score",
    ):
        G.Enumerate().estimate(cost, G.Bernoulli(np.zeros(30)))
    with pytest.raises(TypeError, match=r"distribution must be one of fastboltz.gradients"):
        G.ScoreFunction().estimate(cost, np.zeros(3))


def test_too_few_samples_for_a_baseline():
    family = G.Bernoulli(np.zeros(3))
    cost = lambda Y: Y.sum(axis=1)  # noqa: E731
    with pytest.raises(ValueError) as caught:
        G.ScoreFunction("leave_one_out").estimate(cost, family, 1)
    assert str(caught.value) == (
        "the leave-one-out baseline is made of the other samples of a call, so it needs n_samples "
        ">= 2; got 1. Draw more, or use baseline='moving_average'."
    )
    for baseline in ("optimal", "constant"):
        with pytest.raises(
            ValueError, match=f"the {baseline} baseline is made of the other samples"
        ):
            G.ScoreFunction(baseline).estimate(cost, family, 1)
    with pytest.raises(ValueError, match="n_samples must be a whole number >= 1; got 0"):
        G.ScoreFunction("none").estimate(cost, family, 0)
    with pytest.raises(ValueError, match="after which samples would repeat; got 4294967296"):
        G.ScoreFunction("none").estimate(cost, family, 2**32)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: G.Bernoulli(np.zeros((2, 3, 4))),
            r"logits has shape \(2, 3, 4\); expected \(n_units",
        ),
        (lambda: G.Bernoulli([np.nan]), "logits contains NaN or infinity"),
        (lambda: G.Categorical(np.zeros((3, 1))), "at least 2 states on the last axis"),
        (lambda: G.Binomial([0.0], 0), "n_trials must be a whole number >= 1"),
        (lambda: G.Gaussian([0.0, 1.0], [0.0]), r"log_scale has shape \(1,\); expected \(2,\)"),
        (lambda: G.LocationScale([0.0], 0, "normal"), "base must be one of 'gaussian', 'logistic'"),
        (lambda: G.LocationScale([0.0], 0, 3), "base must be one of .* or a pair of functions"),
        (lambda: G.MultivariateGaussian([0.0], [[-1.0]]), "numpy.linalg.cholesky gives it"),
        (
            lambda: G.MultivariateGaussian([0.0], [1.0]),
            r"cholesky has shape \(1,\); expected \(1, 1\)",
        ),
        (lambda: G.RelaxedBernoulli([0.0], 0), "temperature must be > 0"),
        (lambda: G.Linear(np.zeros((2, 3)), np.zeros(2)), r"expected \(n_inputs, n\) and \(n,\)"),
        (lambda: G.Bernoulli.given(np.zeros((2, 3)), 3), "link must have forward"),
        (
            lambda: G.Bernoulli.given(np.zeros((2, 3)), Squared(np.zeros(3))),
            "expected a row for each input",
        ),
        (lambda: G.ScoreFunction("optimum"), "Did you mean 'optimal'"),
        (lambda: G.ScoreFunction([1]), "a regressor with partial_fit and predict"),
        (lambda: G.ScoreFunction(normalizer=3), "normalizer must be None, True or a Normalizer"),
        (lambda: G.Regressor(3), "int has no partial_fit"),
        (lambda: G.Learnt("both"), "form must be one of 'shared', 'pair'"),
        (lambda: G.REBAR(coupling="best"), "coupling must be 'optimal' or a number; got 'best'"),
        (lambda: G.VIMCO(1), "n_particles must be a whole number >= 2"),
    ],
)
def test_bad_arguments_get_a_sentence(make, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        make()


def test_bad_shapes_of_inputs_and_derivatives():
    family = G.Bernoulli(np.zeros((2, 3)))
    cost = lambda Y: Y.sum(axis=2)  # noqa: E731
    with pytest.raises(ValueError, match=r"inputs have shape \(3, 1\); expected \(2, n_inputs\)"):
        G.ScoreFunction("learnt").estimate(cost, family, 2, inputs=np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"expected a number, or one for each of 2 rows"):
        G.ScoreFunction(G.Constant([1, 2, 3])).estimate(cost, family, 2)
    wrong = G.Cost(cost, parameter_gradient=lambda Y: Y[:, 0])
    with pytest.raises(ValueError, match=r"cost returned shape .* for 'logits'; expected"):
        G.ScoreFunction("none").estimate(wrong, family, 4)
    with pytest.raises(
        ValueError, match="must return a dict with the parameters 'mean', 'log_scale'"
    ):
        G.Pathwise().estimate(
            G.Cost(lambda Y: Y.sum(axis=1), np.ones_like, lambda Y: Y), G.Gaussian([0.0]), 4
        )
    with pytest.raises(G.CostError, match="ones returned shape"):

        def ones(Y):
            return np.ones(len(Y))

        G.Pathwise().estimate(G.Cost(lambda Y: Y.sum(axis=1), ones), G.Gaussian([0.0, 1.0]), 4)


def test_samples_shown_to_a_cost_cannot_be_changed():
    """A cost that works in place would falsify the score that is taken of the samples after."""

    def in_place(Y):
        Y -= 1
        return Y.sum(axis=1)

    with pytest.raises(G.CostError, match="read-only"):
        G.ScoreFunction("none").estimate(in_place, G.Bernoulli(np.zeros(2)), 3)
