"""Optimizers, schedules, penalties and centring, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from catalogue import BY_NAME, CATALOGUE

import fastboltz as fb
from fastboltz.optimizers import (
    SGD,
    Adam,
    Constant,
    Exponential,
    InverseTime,
    Linear,
    as_optimizer,
    as_schedule,
    centre,
)

SHAPES = {"v": (5,), "h": (2, 3), "v_i h_jk": (5, 2, 3), "empty": (0,)}
PENALTIES = {"v_i h_jk": (0.05, 0.3)}


def _arrays(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {key: rng.standard_normal(shape).astype(dtype) for key, shape in SHAPES.items()}


def _penalised(params, gradient, penalties):
    out = {}
    for key, w in params.items():
        l1, l2 = penalties.get(key, (0.0, 0.0))
        out[key] = gradient[key] - l2 * w - l1 * np.sign(w)
    return out


def _assert_close(found, expected, rtol=1e-12, atol=1e-14):
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=rtol, atol=atol, err_msg=key)


# ------------------------------------------------------------------------------- single optimizers


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["no penalty", "l1 and l2"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd_makes_the_steps_of_the_formula(momentum, penalties, dtype):
    """Catches a momentum that multiplies the rate away, and a penalty with the wrong sign."""
    params = _arrays(0, dtype)
    expected = {key: w.astype(float) for key, w in params.items()}
    velocity = {key: np.zeros(shape) for key, shape in SHAPES.items()}
    optimizer = SGD(momentum)
    state = optimizer.init(params)
    for k in range(5):
        gradient, rate = _arrays(k + 1, dtype), 0.1 / (k + 1)
        optimizer.step(params, gradient, state, rate, penalties, n_threads=1 + k % 2)
        step = _penalised(expected, gradient, penalties)
        for key in expected:
            velocity[key] = momentum * velocity[key] + rate * step[key]
            expected[key] = expected[key] + velocity[key]
    eps = np.finfo(dtype).eps
    _assert_close(params, expected, rtol=20 * eps, atol=20 * eps)
    assert all(w.dtype == dtype for w in params.values())


@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["no penalty", "l1 and l2"])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adam_makes_the_steps_of_the_paper(penalties, betas, dtype):
    """Algorithm 1 of Kingma & Ba, upwards. Catches a missing correction of the first steps' bias,
    and epsilon inside the root."""
    beta1, beta2 = betas
    params = _arrays(0, dtype)
    expected = {key: w.astype(float) for key, w in params.items()}
    m = {key: np.zeros(shape) for key, shape in SHAPES.items()}
    v = {key: np.zeros(shape) for key, shape in SHAPES.items()}
    optimizer = Adam(beta1, beta2, epsilon=1e-3)
    state = optimizer.init(params)
    for t in range(1, 6):
        gradient = _arrays(t, dtype)
        optimizer.step(params, gradient, state, 0.1, penalties)
        step = _penalised(expected, gradient, penalties)
        for key, g in step.items():
            m[key] = beta1 * m[key] + (1 - beta1) * g
            v[key] = beta2 * v[key] + (1 - beta2) * g**2
            root = np.sqrt(v[key] / (1 - beta2**t))
            expected[key] = expected[key] + 0.1 * m[key] / (1 - beta1**t) / (root + 1e-3)
    eps = np.finfo(dtype).eps
    _assert_close(params, expected, rtol=100 * eps, atol=100 * eps)
    assert state["t"] == 5


def test_steps_are_taken_in_place_and_go_uphill():
    for optimizer in (SGD(), SGD(0.5), Adam()):
        params = {"w": np.zeros(3)}
        w = params["w"]
        optimizer.step(params, {"w": np.array([1.0, -2.0, 0.0])}, optimizer.init(params), 0.1, {})
        assert params["w"] is w
        assert w[0] > 0 > w[1]
        assert w[2] == 0


@pytest.mark.parametrize(("before", "after"), [(SGD(), SGD(0.5)), (SGD(0.5), Adam())], ids=repr)
def test_a_state_made_by_another_optimizer_is_completed(before, after):
    """A person raises the momentum, or turns to Adam, between two passes."""
    params, fresh = _arrays(0), _arrays(0)
    state = before.init(params)
    after.step(params, _arrays(1), state, 0.1, {})
    after.step(fresh, _arrays(1), after.init(fresh), 0.1, {})
    _assert_close(params, fresh)


def test_names_stand_for_optimizers():
    assert repr(as_optimizer("sgd", 0.3)) == "SGD(momentum=0.3)"
    assert repr(as_optimizer("adam")) == "Adam(beta1=0.9, beta2=0.999, epsilon=1e-08)"
    own = SGD(0.1)
    assert as_optimizer(own, 0.9) is own


# ----------------------------------------------------------------------------------- learning rates


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(0.2), [0.2, 0.2, 0.2, 0.2, 0.2]),
        (Linear(0.4), [0.4, 0.2, 0.0, 0.0, 0.4]),
        (Linear(0.4, 0.1), [0.4, 0.25, 0.1, 0.1, 0.4]),
        (Exponential(0.4, 0.1), [0.4, 0.2, 0.1, 0.1, 0.4]),
        (InverseTime(0.4, 50), [0.4, 0.2, 0.4 / 3, 0.4 / 5, 0.2]),
    ],
    ids=repr,
)
def test_schedules_pass_through_their_points(schedule, expected):
    """At the start, half-way, the end, beyond it, and half-way without a known end."""
    found = [schedule(update, 100) for update in (0, 50, 100, 200)] + [schedule(50, None)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    for n_updates in (100, None):
        each = [schedule(update, n_updates) for update in range(48, 53)]
        assert schedule.rates(48, 5, n_updates) == each


def test_numbers_stand_for_constant_rates():
    assert as_schedule(0.3) == Constant(0.3)
    assert as_schedule(np.float32(0.5)) == Constant(0.5)
    assert as_schedule(1) == Constant(1.0)
    own = Linear(0.1)
    assert as_schedule(own) is own


# --------------------------------------------------------------------------------------- centring


def _random_gradient(entry, seed=0):
    rng = np.random.default_rng(seed)
    gradient = {
        key: rng.standard_normal(shape) for key, shape in entry.machine.parameter_shapes().items()
    }
    return entry.energy.symmetrized(gradient)


def _random_offsets(entry, seed=1):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, shape) for name, (_, shape) in entry.groups.items()}


def _shifted(entry, params, offsets, sign):
    """Biases plus (or minus) the fields that second-order terms exert at the offsets.

    A centred machine, E = -sum W (x - mu)(y - lam) - b'x - ..., is the plain one with the biases
    b = b' - W lam, and so on.
    """
    out = {key: x.copy() for key, x in params.items()}
    alone = {frozenset(t.slots): t for t in entry.machine.terms}
    for term in entry.machine.terms:
        hidden, *gated = term.slots
        products = alone.get(frozenset(gated))
        shared = {"".join(c for c in index if c.isalpha()) for _, index in gated}
        if len(gated) == 2 and len(shared) == 1 and "" not in shared and products is not None:
            # "h_k v_i z_i0" with "v_i z_i0": the products v_i z_i0 have biases of their own.
            for entries, positions in term.products:
                w, k = params[term.name][positions[0]], positions[0][0]
                mu = np.prod([offsets[g].reshape(-1)[i] for g, i in entries if g != hidden[0]])
                out[hidden[0]][k] += sign * w * mu
                out[products.name][positions[0][1]] += sign * w * offsets[hidden[0]][k]
            continue
        if term.factors is not None or any(len(entries) != 2 for entries, _ in term.products):
            continue
        if len(term.name) == 0 or term.name.startswith("hyperedges"):
            continue
        letters = [x for _, index in term.slots for x in index]
        if len(set(letters)) < len(letters):
            continue  # a shared letter: not centred
        for entries, positions in term.products:
            (a, i), (b, j) = entries
            w = params[term.name][positions[0]]
            out[a].reshape(-1)[i] += sign * w * offsets[b].reshape(-1)[j]
            out[b].reshape(-1)[j] += sign * w * offsets[a].reshape(-1)[i]
    return out


@pytest.mark.parametrize("entry", CATALOGUE, ids=str)
def test_centring_is_the_gradient_of_the_centred_parametrisation_taken_back(entry):
    """theta = T phi with phi the centred parameters: the direction is T T' g, by unit vectors.

    Deliberate bugs that this catches: the correction of a bias with the uncorrected dW, offsets of
    the two groups exchanged, a lateral pair that is corrected twice.
    """
    offsets = _random_offsets(entry)
    gradient = _random_gradient(entry)
    zero = {key: np.zeros(shape) for key, shape in entry.machine.parameter_shapes().items()}
    # T' g, one independent parameter at a time: the slope of g.theta along each centred parameter.
    back = {key: np.zeros(shape) for key, shape in entry.machine.parameter_shapes().items()}
    for key in zero:
        for at, direction in entry.machine.directions(key):
            theta = _shifted(entry, {**zero, key: direction}, offsets, -1.0)
            # Independent parameters count once, also where they stand twice in the array.
            slope = sum(
                gradient[k][position] * theta[k][position]
                for k in zero
                for position, _ in entry.machine.directions(k)
            )
            back[key] = back[key] + slope * direction
            assert direction[at] == 1
    expected = _shifted(entry, back, offsets, -1.0)
    found = {key: x.copy() for key, x in gradient.items()}
    centre(entry.energy, found, offsets)
    _assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_centring_an_rbm_is_the_formula_of_the_papers():
    """dW = D_vh - mu D_h' - D_v lam',  db = D_v - dW lam,  dc = D_h - dW' mu."""
    energy = fb.Energy({"v": fb.Bernoulli(4), "h": fb.Spin(3)}, terms=["v_i h_j"])
    rng = np.random.default_rng(0)
    g = {"v": rng.normal(size=4), "h": rng.normal(size=3), "v_i h_j": rng.normal(size=(4, 3))}
    mu, lam = rng.random(4), rng.random(3)
    dw = g["v_i h_j"] - np.outer(mu, g["h"]) - np.outer(g["v"], lam)
    expected = {"v": g["v"] - dw @ lam, "h": g["h"] - dw.T @ mu, "v_i h_j": dw}
    centre(energy, g, {"v": mu, "h": lam}, n_threads=2)
    _assert_close(g, expected)


ASCENDING = [
    "bernoulli-bernoulli",
    "spin-categorical",
    "gaussian-bernoulli",
    "Boltzmann machine",
    "semi-restricted",
    "deep",
    "class RBM",
    "higher order",
    "gated, factored",
]


@pytest.mark.parametrize("name", ASCENDING)
def test_the_centred_gradient_is_an_ascent_direction_of_the_same_likelihood(name):
    """Along it the enumerated objective rises, at the rate that the plain gradient foretells."""
    entry = BY_NAME[name]
    of, given = entry.criteria[0]
    params, state = entry.parameters(), entry.states(5, seed=4)
    data = {g: state[g] for g in (*of, *given)}
    one = fb.objectives.LogLikelihood(of=of, given=given, negative="exact")
    objective = fb.objectives.Objective(entry.energy, one)
    gradient = objective.gradient(params, data)
    direction = {key: x.copy() for key, x in gradient.items()}
    centre(entry.energy, direction, _random_offsets(entry))
    slope = 0.0
    for key in gradient:
        slope += sum(
            gradient[key][at] * direction[key][at] for at, _ in entry.machine.directions(key)
        )
    assert slope > 0

    def at(t):
        moved = {key: x + t * direction[key] for key, x in params.items()}
        return objective.value(moved, data)

    assert (at(1e-4) - at(-1e-4)) / 2e-4 == pytest.approx(slope, rel=1e-5)


def test_the_centred_gradient_vanishes_where_the_plain_one_does():
    """Data are the model itself: every state, with its probability."""
    entry = BY_NAME["Boltzmann machine"]
    params = entry.parameters()
    grid, _, _ = entry.machine.grid()
    one = fb.objectives.LogLikelihood(of=("v",), negative="exact")
    weights = entry.machine.probabilities(params).ravel()
    gradient = fb.objectives.Objective(entry.energy, one).gradient(params, grid, weights)
    centre(entry.energy, gradient, _random_offsets(entry))
    for key, x in gradient.items():
        np.testing.assert_allclose(x, 0, atol=1e-10, err_msg=key)


def test_centring_is_linear_so_that_unbiased_gradients_stay_unbiased():
    entry = BY_NAME["deep"]
    offsets = _random_offsets(entry)
    a, b = _random_gradient(entry, 1), _random_gradient(entry, 2)
    mean = {key: (a[key] + b[key]) / 2 for key in a}
    for gradient in (a, b, mean):
        centre(entry.energy, gradient, offsets)
    _assert_close(mean, {key: (a[key] + b[key]) / 2 for key in a})
