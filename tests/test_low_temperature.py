"""Magnets at low temperature and separated clusters: every mode has its weight, by enumeration.

The oracles list all states in plain NumPy. Chains begin in the lightest mode, which Gibbs sampling
does not leave in the time in which tempered chains have found all of them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import fastboltz as fb
from fastboltz.optimizers import Linear
from fastboltz.tempering import Tempering, TrajectoryTempering

Z_LIMIT = 4.5
SIDE = 4
#: Bonds of a torus of 4 x 4 sites, each once: a site with the next in its row and in its column.
_SITE = np.arange(SIDE**2).reshape(SIDE, SIDE)
BONDS = np.array([(a, np.roll(_SITE, -1, axis).flat[a]) for a in range(16) for axis in (0, 1)])
#: The infinite lattice orders at 0.44; here two neighbours that differ cost 1.4.
COUPLING, FIELD = 0.7, 0.03
STATES = 2.0 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1) - 1


def _ising(coupling=COUPLING, field=FIELD):
    """Ising's magnet as a machine without hidden units."""
    energy = fb.Energy({"v": fb.Spin(16)}, ["v_i v_j"])
    w = np.zeros((16, 16))
    w[BONDS[:, 0], BONDS[:, 1]] = w[BONDS[:, 1], BONDS[:, 0]] = coupling
    params = {"v": np.full(16, field), "v_i v_j": w}
    return energy, params


def _aligned(v):
    """Sum over bonds of the products of neighbours."""
    return (v[:, BONDS[:, 0]] * v[:, BONDS[:, 1]]).sum(axis=1)


def _probabilities(coupling=COUPLING, field=FIELD):
    """p of each of the 2^16 states."""
    log_p = coupling * _aligned(STATES) + field * STATES.sum(axis=1)
    p = np.exp(log_p - log_p.max())
    return p / p.sum()


def _up(v):
    """1 for a magnet that points up, 0 down, a half without direction."""
    return (np.sign(v.sum(axis=1)) + 1) / 2


def _assert_mean(x, exact_mean, exact_variance):
    """A mean over independent chains, within its error."""
    assert abs(x.mean() - exact_mean) < Z_LIMIT * np.sqrt(exact_variance / len(x))


def test_the_oracle_and_the_machine_are_the_same_magnet():
    energy, params = _ising()
    log_p = -energy.value(params, {"v": STATES[::97]})
    ours = COUPLING * _aligned(STATES[::97]) + FIELD * STATES[::97].sum(axis=1)
    np.testing.assert_allclose(log_p, ours, rtol=1e-10, atol=1e-10)
    assert len({tuple(sorted(bond)) for bond in BONDS}) == 32


@pytest.mark.parametrize("method", ["tempered", "trajectory"])
def test_a_cold_magnet_points_both_ways_with_the_right_weights(method):
    """400 chains that all point down; the field makes up the likelier direction.

    Deliberate bugs that this catches: exchanges without the field, exchanges that never happen or
    always do, the sign of an exchange of free energies.
    """
    energy, params = _ising()
    n, p = 400, _probabilities()
    share = p @ _up(STATES)
    assert 0.6 < share < 0.8
    down = {"v": np.full((n, 16), -1.0)}
    gibbs = fb.Gibbs(energy, n_threads=1)
    stuck = gibbs.step(params, gibbs.init(params, random_state=0, values=down), 300)
    assert _up(stuck.values["v"]).mean() < share - 0.4
    if method == "tempered":
        sampler = Tempering(energy, n_threads=1)
    else:
        warm = [_ising(c, FIELD)[1] for c in (0.2, 0.4, 0.55)]
        sampler = TrajectoryTempering(energy, warm, n_threads=1)
    state = sampler.adapt(params, sampler.init(params, random_state=0, values=down), 150)
    state = sampler.step(params, state, 150)
    v = state.values["v"]
    up = _up(STATES)
    _assert_mean(_up(v), share, p @ up**2 - share**2)
    bonds = _aligned(STATES)
    _assert_mean(_aligned(v), p @ bonds, p @ bonds**2 - (p @ bonds) ** 2)
    assert state.round_trips > n // 2
    assert ((state.swap_rates > 0.15) & (state.swap_rates < 0.95)).all()


def _share_of(rbm):
    """Exact p(up) of an RBM of 16 spins, its hidden units summed out."""
    v = STATES
    field = v @ rbm.components_.T.astype(float) + rbm.intercept_hidden_
    log_p = v @ rbm.intercept_visible_.astype(float) + np.logaddexp(field, -field).sum(axis=1)
    p = np.exp(log_p - log_p.max())
    return (p / p.sum()) @ _up(v)


@cache
def _rows():
    """Exact samples of the magnet."""
    rng = np.random.default_rng(0)
    return STATES[rng.choice(2**16, 1000, p=_probabilities())].astype(np.float32)


@cache
def _learnt(method):
    return fb.RBM(
        8,
        visible="spin",
        hidden="spin",
        method=method,
        n_iter=100,
        batch_size=200,
        learning_rate=Linear(0.05),
        random_state=4,
        n_threads=1,
    ).fit(_rows())


@pytest.mark.parametrize("method", ["tempered", "trajectory"])
def test_a_machine_that_learns_a_cold_magnet_keeps_the_weights_of_both_directions(method):
    """Held to the training by exact gradients, and samples to the enumerated share.

    Persistent chains all stay in one direction, which the machine ends with alone. Deliberate bugs
    that this catches: statistics of a warmer level, exchanges that never happen.
    """
    rows = _rows()
    share = _up(rows).mean()
    rbm, oracle, plain = (_learnt(how) for how in (method, "exact", "pcd"))
    assert abs(_share_of(oracle) - share) < 0.05
    assert abs(_share_of(rbm) - share) < 0.2
    assert rbm.score(rows) > oracle.score(rows) - 0.1
    assert abs(_share_of(plain) - share) > 0.2
    assert plain.score(rows) < oracle.score(rows) - 1
    exact, n = _share_of(rbm), 400
    start = np.full((n, 16), -1.0)
    drawn, info = rbm.sample(n, 2000, init=start, method=method, random_state=1, return_info=True)
    _assert_mean(_up(drawn), exact, exact * (1 - exact))
    assert info.extra["round_trips"] > n // 2
    stuck = rbm.sample(n, 400, init=start, random_state=1)
    assert _up(stuck).mean() < exact - 0.3


CENTRES = np.array([[3.0, 3, 0, 0], [-3, 3, 0, 0], [0, 0, 3, 3], [0, 0, 3, -3]])
SHARES = np.array([0.4, 0.3, 0.2, 0.1])
DEVIATION = 0.4


def _mixture(centres):
    """Gaussians of given shares: Gaussian units, and one unit of four states."""
    energy = fb.Energy({"v": fb.Gaussian(4), "k": fb.Categorical(1, 4)}, ["v_i k_js"])
    precision = DEVIATION**-2
    # What the sum over v adds to the weight of a state is taken off again.
    bias = np.log(SHARES) - precision * (centres**2).sum(axis=1) / 2
    params = {
        "v": np.zeros(4),
        "v.log_precision": np.full(4, np.log(precision)),
        "k": bias.reshape(1, 4),
        "v_i k_js": precision * centres.T.reshape(4, 1, 4),
    }
    return energy, params


def _kind(x):
    """Number of the nearest centre."""
    return ((x[:, None] - CENTRES) ** 2).sum(axis=2).argmin(axis=1)


@pytest.mark.parametrize("method", ["tempered", "trajectory"])
def test_separated_clusters_have_their_shares(method):
    """Centres are ten standard deviations apart and more; all chains begin in the lightest.

    Deliberate bugs that this catches: exchanges without the biases, ones that never happen.
    """
    energy, params = _mixture(CENTRES)
    n = 400
    start = {"v": np.repeat(CENTRES[3:], n, axis=0), "k": np.tile(np.eye(4)[3:], (n, 1, 1))}
    gibbs = fb.Gibbs(energy, n_threads=1)
    stuck = gibbs.step(params, gibbs.init(params, random_state=0, values=start), 300)
    assert (_kind(stuck.values["v"]) == 3).all()
    if method == "tempered":
        sampler = Tempering(energy, n_threads=1)
    else:
        nearer = [_mixture(c * CENTRES)[1] for c in (0.25, 0.5, 0.75)]
        sampler = TrajectoryTempering(energy, nearer, n_threads=1)
    state = sampler.adapt(params, sampler.init(params, random_state=0, values=start), 200)
    v = sampler.step(params, state, 200).values["v"]
    found = np.bincount(_kind(v), minlength=4) / n
    assert (np.abs(found - SHARES) < Z_LIMIT * np.sqrt(SHARES * (1 - SHARES) / n)).all()
    # Of each cluster the spread too: a level must not hand on what is spread wider.
    within = (v - CENTRES[_kind(v)]) / DEVIATION
    assert abs((within**2).mean() - 1) < Z_LIMIT * np.sqrt(2 / within.size)


def _share_up(machine):
    """p(more than half of v is on) of a machine of two hidden layers, by 20,000 exact draws."""
    params = {key: np.asarray(x, float) for key, x in machine.params_.items()}
    lower, upper = (params[term.name] for term in machine.energy_.terms)
    n1, n2 = len(lower), len(upper)
    h = (np.arange(2 ** (n1 + n2))[:, None] >> np.arange(n1 + n2)) & 1
    h1, h2 = h[:, :n1], h[:, n1:]
    field = params["v"] + h1 @ lower
    log_p = h1 @ params["h1"] + h2 @ params["h2"] + ((h2 @ upper) * h1).sum(axis=1)
    log_p = log_p + np.logaddexp(0, field).sum(axis=1)
    p = np.exp(log_p - log_p.max())
    rng = np.random.default_rng(0)
    which = rng.choice(len(p), 20_000, p=p / p.sum())
    v = rng.random((20_000, len(params["v"]))) < 1 / (1 + np.exp(-field[which]))
    return (v.mean(axis=1) > 0.5).mean()


@pytest.mark.parametrize("inference", ["mean-field", "gibbs"])
def test_a_deep_machine_learns_the_shares_of_two_clusters(inference):
    """Three quarters of the rows are mostly on, the others mostly off.

    Held to the likelihood of the training by enumeration; persistent chains give the larger
    cluster too much. Deliberate bug that this catches: persistent chains whatever `method` says.
    """
    rng = np.random.default_rng(0)
    up = rng.random(400) < 0.75
    X = (up[:, None] ^ (rng.random((400, 16)) < 0.05)).astype(np.float32)
    options = {
        "inference": inference,
        "n_iter": 60,
        "n_pretraining": 5,
        "batch_size": 40,
        "random_state": 4,
        "n_threads": 1,
    }

    def learnt(method):
        return fb.DeepBoltzmannMachine((4, 3), method=method, **options).fit(X)

    oracle = learnt("exact")
    share = _share_up(oracle)
    for method in ("tempered", "trajectory"):
        machine = learnt(method)
        assert machine.score(X) > oracle.score(X) - 0.05, method
        assert abs(_share_up(machine) - share) < 0.08, method
    assert machine.tempering_["positions"][-1] > 4
    drawn = machine.sample(400, 200, method="trajectory", random_state=0)
    p = _share_up(machine)
    error = np.sqrt(p * (1 - p) * (1 / 400 + 1 / 20_000))
    assert abs((drawn.mean(axis=1) > 0.5).mean() - p) < Z_LIMIT * error
    plain = learnt("pcd")
    assert _share_up(plain) > share + 0.1
    assert plain.score(X) < oracle.score(X) - 0.05
