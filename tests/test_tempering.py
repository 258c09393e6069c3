"""Parallel tempering against enumeration, where plain Gibbs sampling stays in one mode."""

from __future__ import annotations

import numpy as np
import pytest
from catalogue import CATALOGUE
from scipy import stats

import fastboltz as fb
from fastboltz import rng, tempering
from fastboltz.objectives import LogLikelihood, Objective
from fastboltz.tempering import Tempering

Z_LIMIT = 4.5


def _magnet(coupling=0.12, n=24, field=0.06):
    """Two modes, of unequal weight, that Gibbs sampling does not cross between.

    The energy depends on the two magnetisations alone, so the sum over states is one over a grid.
    """
    energy = fb.Energy({"v": fb.Spin(n), "h": fb.Spin(n)}, ["v_i h_j"])
    params = {
        "v": np.full(n, field / 2),
        "h": np.full(n, field / 2),
        "v_i h_j": np.full((n, n), 2.0 * coupling),
    }
    return energy, params


def _share_up(params, n=24):
    """Exact p(sum of v > 0), half of p(sum of v = 0) added: a sum over the numbers that are up."""
    m = 2.0 * np.arange(n + 1) - n
    log_count = stats.binom.logpmf(np.arange(n + 1), n, 0.5)
    w = params["v_i h_j"][0, 0]
    log_p = (
        log_count[:, None]
        + log_count
        + params["v"][0] * m[:, None]
        + params["h"][0] * m
        + w * np.outer(m, m)
    )
    p = np.exp(log_p - log_p.max())
    p = p.sum(axis=1) / p.sum()
    return p[m > 0].sum() + p[m == 0].sum() / 2


def _up(values):
    total = values["v"].sum(axis=1)
    return (total > 0) + (total == 0) / 2


def test_all_modes_have_their_weights_where_gibbs_sampling_stays_in_one():
    """400 chains that all begin in the smaller mode; independent after many journeys.

    Deliberate bugs that this catches: the sign of the exponent of an exchange, biases that are not
    interpolated in it, exchanges of one group of two.
    """
    energy, params = _magnet()
    exact = _share_up(params)
    assert 0.6 < exact < 0.99
    n = 400
    down = {"v": np.full((n, 24), -1.0), "h": np.full((n, 24), -1.0)}
    gibbs = fb.Gibbs(energy, n_threads=1)
    stuck = gibbs.step(params, gibbs.init(params, random_state=0, values=down), 600)
    assert _up(stuck.values).mean() < exact - 0.3, "one mode, after as many sweeps"
    sampler = Tempering(energy, n_threads=1)
    state = sampler.adapt(params, sampler.init(params, random_state=0, values=down), 120)
    state = sampler.step(params, state, 160)
    error = np.sqrt(exact * (1 - exact) / n)
    assert abs(_up(state.values).mean() - exact) < Z_LIMIT * error
    assert state.round_trips > n // 4
    assert ((state.swap_rates > 0.15) & (state.swap_rates < 0.95)).all()


@pytest.mark.parametrize("entry", [e for e in CATALOGUE if e.enumerable], ids=str)
def test_every_level_keeps_its_distribution(entry):
    """From exact samples of each level, a few steps of exchanges and sweeps leave the statistics.

    1,500 chains, four levels, three steps. Deliberate bugs that this catches: an exchange that
    leaves a group behind, the energy at the wrong temperature, levels with each other's numbers.
    """
    energy, params, n = entry.energy, entry.parameters(), 1500
    rng = np.random.default_rng(0)
    reference = {g: {"bias": rng.normal(0, 0.3, shape)} for g, (_, shape) in entry.groups.items()}
    sampler = Tempering(energy, n_threads=1, n_levels=4, reference=reference)
    state = sampler.init(params, n, random_state=1)
    at = [tempering.Path(energy, params, reference).at(beta) for beta in state.betas]
    # Couplings at an inverse temperature are a machine of its own.
    own = energy.own_keys()
    scaled = []
    for beta, p in zip(state.betas, at, strict=True):
        factors = {t.name: len(t.slots) if "|" in t.name else 1 for t in energy.terms}
        q = {}
        for key, x in p.items():
            power = next((1 / f for name, f in factors.items() if key.startswith(name)), 1.0)
            q[key] = x if key in own else x * beta**power
        scaled.append(q)
    levels = [
        tempering.replace(chains, values=energy.sample(q, n, random_state=10 + k))
        for k, (q, chains) in enumerate(zip(scaled, state.levels, strict=True))
    ]
    state = sampler.step(params, tempering.replace(state, levels=tuple(levels)), 3)
    assert (state.proposed > 0).all()
    for q, chains in zip(scaled, state.levels, strict=True):
        exact = entry.machine.moments(q)
        for g in entry.groups:
            x = chains.values[g].reshape(n, -1)
            error = x.std(axis=0) / np.sqrt(n) + 1 / n
            assert (np.abs(x.mean(axis=0) - exact[g].ravel()) < Z_LIMIT * error).all(), g
        e = energy.value(q, chains.values)
        fresh = energy.value(q, energy.sample(q, 4000, random_state=99))
        error = np.sqrt(e.var() / n + fresh.var() / 4000) + 1e-9
        assert abs(e.mean() - fresh.mean()) < Z_LIMIT * error


def test_levels_are_placed_where_pairs_are_refused_equally():
    """An uneven ladder becomes even: refusals of the pairs within 4.5 errors of 10 % of each other.

    Deliberate bug that this catches: levels placed by accepted exchanges in place of refused ones.
    """
    energy, params = _magnet()
    sampler = Tempering(energy, n_threads=1, n_levels=8)
    state = sampler.init(params, 200, random_state=0)
    state = tempering.replace(state, betas=np.array([0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 1.0]))
    before = sampler.step(params, state, 50)
    assert before.swap_rates[-1] < 0.1 < 0.9 < before.swap_rates[0]
    state = sampler.adapt(params, before, 200)
    state = sampler.step(params, state, 200)
    refused = 1 - state.swap_rates
    assert refused.std() < 0.1
    assert len(state.betas) == 8


def test_there_are_as_many_levels_as_the_barrier_asks_for():
    few, many = (
        Tempering(energy, n_threads=1).adapt(
            params, Tempering(energy, n_threads=1).init(params, 100, random_state=0), 150
        )
        for energy, params in (_magnet(0.01, field=0.0), _magnet(0.3))
    )
    assert len(few.betas) < len(many.betas)
    assert len(few.betas) >= 3


def test_the_same_seed_gives_the_same_replicas_for_every_number_of_threads():
    energy = fb.Energy({"v": fb.Bernoulli(40), "h": fb.Bernoulli(30)}, ["v_i h_j"])
    params = energy.init(0, 0.3)
    ends = []
    for n_threads in (1, 2):
        sampler = Tempering(energy, n_threads=n_threads, n_levels=5)
        state = sampler.init(params, 300, random_state=3)
        one = sampler.step(params, state, 6)
        two = sampler.step(params, sampler.step(params, state, 2), 4)
        for a, b in zip(one.levels, two.levels, strict=True):
            np.testing.assert_array_equal(a.values["v"], b.values["v"])
        ends.append(one)
    for a, b in zip(ends[0].levels, ends[1].levels, strict=True):
        np.testing.assert_array_equal(a.values["h"], b.values["h"])
    np.testing.assert_array_equal(ends[0].accepted, ends[1].accepted)


def test_replicas_are_followed_on_their_journeys():
    """The numbers of the replicas are a permutation in every chain, and trips are counted whole.

    Written out by hand: a replica's trip ends when it is back at the reference after the model.
    """
    energy, params = _magnet(0.004)
    sampler = Tempering(energy, n_threads=1, n_levels=3)
    state = sampler.init(params, 5, random_state=0)
    seen = np.zeros((3, 5), int)
    trips = 0
    for _ in range(100):
        state = sampler.step(params, state)
        assert (np.sort(state.replica, axis=0) == np.arange(3)[:, None]).all()
        for c in range(5):
            bottom, top = state.replica[0, c], state.replica[-1, c]
            trips += seen[bottom, c] == 2
            seen[bottom, c] = 1
            if seen[top, c] == 1:
                seen[top, c] = 2
    assert state.round_trips == trips > 10


@pytest.mark.parametrize("partly", [False, True])
def test_known_units_stay_at_every_level(partly):
    energy, params = _magnet(0.05)
    rng = np.random.default_rng(0)
    v = np.sign(rng.normal(size=(6, 24)))
    if partly:
        v[:, 5:] = np.nan
    sampler = Tempering(energy, "v", n_threads=1, n_levels=4)
    state = sampler.init(params, random_state=0, values={"v": v})
    state = sampler.adapt(params, state, 60)
    known = ~np.isnan(v)
    for chains in state.levels:
        np.testing.assert_array_equal(chains.values["v"][known], v[known])


# -------------------------------------------------------------------------------- in the models


def test_the_negative_phase_is_that_of_the_model():
    """The gradient after many steps, averaged, is the exact one, also between separated modes.

    Deliberate bugs that this catches: statistics of the lowest level, means of chains that
    have been exchanged since.
    """
    energy, params = _magnet(0.1, n=10, field=0.1)
    rng = np.random.default_rng(0)
    data = {"v": np.sign(rng.normal(size=(50, 10)) + 0.4)}
    exact = Objective(energy, LogLikelihood("v", negative="exact"), 1).gradient(params, data)
    one = LogLikelihood("v", negative="tempered", n_chains=100, n_levels=6)
    objective = Objective(energy, one, 1)
    state = objective.init(0)
    found = []
    for k in range(500):
        gradient, _, state = objective.step(params, data, state)
        if k >= 100:
            found.append({key: x.copy() for key, x in gradient.items()})
    for key, x in exact.items():
        blocks = np.array([g[key] for g in found]).reshape(10, 40, *x.shape).mean(axis=1)
        error = blocks.std(axis=0, ddof=1) / np.sqrt(10)
        # Ten blocks: Student's t with nine degrees of freedom at the same risk as 4.5 deviations.
        limit = stats.t.isf(stats.norm.sf(Z_LIMIT), 9)
        assert (np.abs(blocks.mean(axis=0) - x) < limit * error).all(), key


def _clusters(n=400, seed=0):
    """Two clusters of unequal weight, far apart."""
    rng = np.random.default_rng(seed)
    up = rng.random(n) < 0.75
    X = np.where(up[:, None], 1, 0) ^ (rng.random((n, 16)) < 0.05)
    return X.astype(np.float32)


def test_tempered_training_learns_both_clusters():
    """Persistent chains stay where they are; tempered ones have the weights of the model.

    Held to the exact likelihood: within a tenth of a nat of the training by exact gradients, where
    persistent chains lose more than that.
    """
    X = _clusters()
    options = {"n_iter": 60, "batch_size": 40, "random_state": 0}
    rbm = fb.RBM(4, method="tempered", n_threads=1, **options).fit(X)
    oracle = fb.RBM(4, method="exact", n_threads=1, **options).fit(X)
    assert rbm.score(X) > oracle.score(X) - 0.1
    assert fb.RBM(4, method="pcd", **options).fit(X).score(X) < oracle.score(X) - 0.2
    report = rbm.tempering_
    assert report["betas"][0] == 0 and report["betas"][-1] == 1
    assert rbm.chains_.shape == (40, 16)
    # The share of the larger cluster, with the chains' own binomial error.
    drawn = rbm.sample(400, 200, method="tempered", random_state=1)
    exact = rbm.energy_.sample(rbm.params_, 4000, random_state=0)["v"].mean(axis=1) > 0.5
    p = exact.mean()
    error = np.sqrt(p * (1 - p) * (1 / 400 + 1 / 4000))
    assert abs((drawn.mean(axis=1) > 0.5).mean() - p) < Z_LIMIT * error


def test_samples_by_tempering_come_with_a_verdict_where_gibbs_sampling_has_none():
    """Chains that all begin in one cluster. Fit by enumeration, so that both modes are learnt."""
    X = _clusters()
    rbm = fb.RBM(4, method="exact", n_iter=100, batch_size=40, learning_rate=0.3, random_state=0)
    rbm.fit(X)
    start = np.repeat([[0.0] * 16, [1.0] * 16], 50, axis=0)
    _, info = rbm.sample(100, 400, init=start, random_state=0, return_info=True)
    assert not info.is_mixed
    assert "use method='tempered'" in info.verdict
    drawn, info = rbm.sample(
        100, 1200, init=start, method="tempered", random_state=0, return_info=True
    )
    assert info.is_mixed
    assert info.extra["round_trips"] > 100
    assert len(info.extra["swap_rates"]) == len(info.extra["betas"]) - 1
    assert drawn.shape == (100, 16)


def test_a_training_goes_on_with_another_negative_phase():
    X = _clusters(80)
    rbm = fb.RBM(3, method="pcd", n_iter=1, random_state=0).fit(X)
    for method in ("tempered", "pcd", "tempered", "exact", "cd"):
        rbm.set_params(method=method).partial_fit(X)
        assert np.isfinite(rbm.score(X))


def test_a_label_machine_and_any_energy_are_trained_and_sampled_by_tempering():
    X = _clusters(80)
    y = X[:, 0].astype(int)
    classes = fb.RBMClassifier(3, objective="generative", method="tempered", n_iter=2).fit(X, y)
    drawn, labels = classes.sample(5, method="tempered", n_steps=20)
    assert drawn.shape == (5, 16) and labels.shape == (5,)
    machine = fb.BoltzmannMachine(
        {"v": fb.Bernoulli(16), "h": fb.Bernoulli(3)},
        ["v_i h_j", "v_i v_j"],
        visible="v",
        method="tempered",
        n_iter=1,
    ).fit(X)
    assert machine.sample(5, 20, method="tempered").shape == (5, 16)


def test_what_cannot_be_is_said():
    energy, _ = _magnet()
    with pytest.raises(ValueError, match="n_levels must be a whole number >= 2; got 1"):
        Tempering(energy, n_levels=1)
    with pytest.raises(ValueError, match="n_levels is 65; expected 64 at the most"):
        Tempering(energy, n_levels=65)
    with pytest.raises(ValueError, match="negative='tempered' keeps chains that belong to no row"):
        LogLikelihood("y", "x", negative="tempered")
    rbm = fb.RBM(3, n_iter=1).fit(_clusters(40))
    with pytest.raises(ValueError, match=r"must be one of 'gibbs', 'tempered', .*; got 'hot'"):
        rbm.sample(3, method="hot")
    with pytest.raises(AttributeError, match="there are no tempered chains with method='pcd'"):
        rbm.tempering_  # noqa: B018
    exact = fb.RBMClassifier(3, objective="discriminative", method="tempered", n_iter=1)
    with pytest.raises(AttributeError, match="all that was maximised has negative phases without"):
        exact.fit(_clusters(40), np.arange(40) % 2).tempering_  # noqa: B018


@pytest.mark.parametrize("objective", ["hybrid", "semi-supervised"])
def test_chains_of_a_sum_of_likelihoods_are_found_behind_those_that_keep_none(objective):
    """``log p(y | v)`` comes first, and has an exact negative phase."""
    X, y = _clusters(40), np.arange(40) % 3 - 1
    model = fb.RBMClassifier(3, objective=objective, method="tempered", n_iter=1, random_state=0)
    model.fit(X, y)
    assert model.tempering_["betas"][0] == 1 or model.tempering_["betas"][-1] == 1
    found = model.log_partition("ais", samples="chains", betas=50, n_chains=50)
    assert found.reverse is not None


def test_samples_of_a_tempered_training_have_numbers_of_their_own():
    """The training's first seed is not the first one that `sample` draws."""
    x = (np.random.default_rng(0).random((30, 6)) < 0.5).astype(np.float32)
    rbm = fb.RBM(4, method="tempered", n_iter=1, random_state=0).fit(x)
    drawn = rng.seed_from(rbm._draws)
    assert drawn != rbm._training.phases.chains[0].levels[0].address.seed
