"""Tempering along the models of a training, against enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from catalogue import CATALOGUE
from scipy import stats

import fastboltz as fb
from fastboltz.callbacks import Trajectory
from fastboltz.objectives import LogLikelihood, Objective
from fastboltz.path import Trajectory as Path
from fastboltz.tempering import Tempering, TrajectoryTempering, replace

Z_LIMIT = 4.5


def _clusters(n=400, n_visible=16, seed=0):
    """Two clusters of unequal weight, far apart."""
    rng = np.random.default_rng(seed)
    up = rng.random(n) < 0.75
    X = np.where(up[:, None], 1, 0) ^ (rng.random((n, n_visible)) < 0.05)
    return X.astype(np.float32)


@pytest.fixture(scope="module")
def learnt():
    """An RBM that has learnt both clusters by enumeration, and has kept its models."""
    keep = Trajectory()
    rbm = fb.RBM(4, method="exact", n_iter=200, batch_size=40, random_state=1, n_threads=1)
    return rbm.set_params(callbacks=[keep]).fit(_clusters())


# ---------------------------------------------------------------------------------- the sampler


def test_the_path_leads_in_straight_lines():
    energy = fb.Energy({"v": fb.Gaussian(2), "h": fb.Bernoulli(3)}, ["v_i h_j"])
    one, two = energy.init(0, 1.0), energy.init(1, 1.0)
    path = Path(energy, [one, two])
    for key in energy.own_keys():
        np.testing.assert_array_equal(path.at(0.0)[key], one[key])
    assert not path.at(0.0)["v_i h_j"].any()
    np.testing.assert_allclose(path.at(0.25)["v_i h_j"], 0.25 * one["v_i h_j"])
    for key, x in path.at(1.75).items():
        np.testing.assert_allclose(x, 0.25 * one[key] + 0.75 * two[key], rtol=1e-6)
    for k, model in ((1, one), (2, two)):
        for key, x in path.at(k).items():
            np.testing.assert_array_equal(x, model[key])


ENTRIES = [
    (e, 0) for e in CATALOGUE if e.enumerable and ("-" not in e.name or e.name[:10] == "bernoulli-")
]
#: Sweeps that begin with groups that are drawn jointly.
ENTRIES += [(e, turn) for e, _ in ENTRIES if "point-wise" in e.name for turn in (1, 2)]


@pytest.mark.parametrize(("entry", "turn"), ENTRIES, ids=[f"{e}, {turn}" for e, turn in ENTRIES])
def test_every_level_keeps_its_distribution(entry, turn):
    """From exact samples of each level, a few steps of exchanges and sweeps leave the statistics.

    1,500 chains, three models and the independent units, three steps. Deliberate bugs that this
    catches: the sign of an exchange, free energies of groups that a sweep does not draw first or
    draws jointly with others, free energies of one level's model alone.
    """
    energy, n = entry.energy, 1500
    models = [entry.parameters(seed) for seed in range(3)]
    sampler = TrajectoryTempering(energy, models[:2], n_threads=1, n_levels=4)
    sampler.blocks = [*sampler.blocks[turn:], *sampler.blocks[:turn]]
    state = sampler.init(models[2], n, random_state=1)
    own = energy.own_keys()
    free = {key: x if key in own else np.zeros_like(x) for key, x in models[0].items()}
    at = [free, *models]
    levels = [
        replace(chains, values=energy.sample(q, n, random_state=10 + k))
        for k, (q, chains) in enumerate(zip(at, state.levels, strict=True))
    ]
    state = sampler.step(models[2], replace(state, levels=tuple(levels)), 3)
    assert (state.proposed > 0).all()
    for q, chains in zip(at, state.levels, strict=True):
        exact = entry.machine.moments(q)
        for g in entry.groups:
            x = chains.values[g].reshape(n, -1)
            error = x.std(axis=0) / np.sqrt(n) + 1 / n
            assert (np.abs(x.mean(axis=0) - exact[g].ravel()) < Z_LIMIT * error).all(), g
        e = energy.value(q, chains.values)
        fresh = energy.value(q, energy.sample(q, 4000, random_state=99))
        error = np.sqrt(e.var() / n + fresh.var() / 4000) + 1e-9
        assert abs(e.mean() - fresh.mean()) < Z_LIMIT * error


def _is_up(v):
    return v.mean(axis=1) > 0.5


def _share_up(rbm):
    """Exact p(more than half of v is on), summed over all 2^16 visible states."""
    v = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    free = -v @ rbm.intercept_visible_.astype(float)
    fields = v @ rbm.components_.T.astype(float) + rbm.intercept_hidden_
    log_p = -free + np.logaddexp(0, fields).sum(axis=1)
    p = np.exp(log_p - log_p.max())
    return p[_is_up(v)].sum() / p.sum()


def test_all_modes_have_their_weights_where_gibbs_sampling_stays_in_one(learnt):
    """200 chains that all begin in the smaller cluster.

    Deliberate bugs that this catches: an exchange that never happens, one that always does.
    """
    exact, n = _share_up(learnt), 200
    assert 0.6 < exact < 0.9
    start = np.zeros((n, 16))
    stuck = learnt.sample(n, 600, init=start, random_state=0)
    assert _is_up(stuck).mean() < exact - 0.3
    drawn, info = learnt.sample(
        n, 3000, init=start, method="trajectory", random_state=0, return_info=True
    )
    error = np.sqrt(exact * (1 - exact) / n)
    assert abs(_is_up(drawn).mean() - exact) < Z_LIMIT * error
    assert info.is_mixed
    assert info.extra["round_trips"] > n
    assert info.extra["positions"][[0, -1]].tolist() == [0, len(learnt.trajectory_) + 1]
    assert ((info.extra["swap_rates"] > 0.15) & (info.extra["swap_rates"] < 0.95)).all()


def test_known_units_stay_at_every_level(learnt):
    known = np.full((1, 16), np.nan)
    known[0, :3] = 0, 1, 1
    drawn = learnt.sample(50, 60, given=known[0], method="trajectory", random_state=0)
    np.testing.assert_array_equal(drawn[:, :3], np.repeat(known[:, :3], 50, axis=0))
    assert drawn[:, 3:].std() > 0


def test_the_same_seed_gives_the_same_replicas_for_every_number_of_threads():
    energy = fb.Energy({"v": fb.Bernoulli(40), "h": fb.Bernoulli(30)}, ["v_i h_j"])
    one, two = energy.init(0, 0.2), energy.init(0, 0.4)
    ends = []
    for n_threads in (1, 2):
        sampler = TrajectoryTempering(energy, [one], n_threads=n_threads, n_levels=4)
        state = sampler.step(two, sampler.init(two, 200, random_state=3), 6)
        ends.append(state)
    np.testing.assert_array_equal(ends[0].values["h"], ends[1].values["h"])
    np.testing.assert_array_equal(ends[0].accepted, ends[1].accepted)


# --------------------------------------------------------------------------------- in a training


def test_models_are_kept_at_growing_distances_and_belong_to_one_training(learnt, tmp_path):
    epochs = [epoch for epoch, _ in learnt.trajectory_]
    assert epochs == [1, 2, 3, 4, 5, 7, 9, 12, 15, 19, 24, 30, 38, 48, 60, 75, 94, 118, 148, 185]
    first, last = learnt.trajectory_[0][1], learnt.trajectory_[-1][1]
    assert np.abs(first["h_j v_i"] - last["h_j v_i"]).max() > 0.1, "copies"
    learnt.set_params(callbacks=None).save(tmp_path / "rbm.fbm")
    again = fb.load(tmp_path / "rbm.fbm")
    np.testing.assert_array_equal(again.trajectory_[3][1]["v"], learnt.trajectory_[3][1]["v"])
    again.set_params(n_iter=1).fit(_clusters())
    assert not hasattr(again, "trajectory_"), "of the training before"
    every = fb.RBM(2, n_iter=3, callbacks=[Trajectory(1)], random_state=0).fit(_clusters(40))
    assert [epoch for epoch, _ in every.partial_fit(_clusters(40)).trajectory_] == [1, 2, 3, 4]


def test_the_negative_phase_is_that_of_the_model():
    """The gradient after many steps, averaged, is the exact one, also between separated modes.

    Deliberate bugs that this catches: statistics of another level, a path that ends at the last
    model that was kept rather than at the present one.
    """
    n = 10
    energy = fb.Energy({"v": fb.Spin(n), "h": fb.Spin(n)}, ["v_i h_j"])
    params = {"v": np.full(n, 0.05), "h": np.full(n, 0.05), "v_i h_j": np.full((n, n), 0.2)}
    rng = np.random.default_rng(0)
    data = {"v": np.sign(rng.normal(size=(50, 10)) + 0.4)}
    exact = Objective(energy, LogLikelihood("v", negative="exact"), 1).gradient(params, data)
    one = LogLikelihood("v", negative="trajectory", n_chains=100, n_levels=6)
    objective = Objective(energy, one, 1)
    state = objective.init(0)
    weak = params | {"v_i h_j": params["v_i h_j"] / 3}
    found = []
    for k in range(600):
        gradient, _, state = objective.step(params if k >= 120 else weak, data, state)
        if k >= 200:
            found.append({key: x.copy() for key, x in gradient.items()})
    assert len(state.chains[0].models) > 3
    np.testing.assert_array_equal(state.chains[0].models[0]["v_i h_j"], weak["v_i h_j"])
    for key, x in exact.items():
        blocks = np.array([g[key] for g in found]).reshape(10, 40, *x.shape).mean(axis=1)
        error = blocks.std(axis=0, ddof=1) / np.sqrt(10)
        # Ten blocks: Student's t with nine degrees of freedom at the same risk as 4.5 deviations.
        limit = stats.t.isf(stats.norm.sf(Z_LIMIT), 9)
        assert (np.abs(blocks.mean(axis=0) - x) < limit * error).all(), key


def test_a_training_along_its_own_trajectory_learns_both_clusters():
    """Held to the exact likelihood, as in `test_tempering`; persistent chains lose more."""
    X = _clusters()
    options = {"n_iter": 60, "batch_size": 40, "random_state": 0, "n_threads": 1}
    rbm = fb.RBM(4, method="trajectory", **options).fit(X)
    oracle = fb.RBM(4, method="exact", **options).fit(X)
    assert rbm.score(X) > oracle.score(X) - 0.1
    assert fb.RBM(4, method="pcd", **options).fit(X).score(X) < oracle.score(X) - 0.2
    report = rbm.tempering_
    assert set(report) == {"positions", "swap_rates", "round_trips"}
    models = rbm._chain_state().models
    assert report["positions"][-1] == len(models) + 1 > 4
    # No callback was asked for: the chains know the models.
    drawn = rbm.sample(400, 200, method="trajectory", random_state=1)
    exact = _share_up(rbm)
    error = np.sqrt(exact * (1 - exact) / 400)
    assert abs(_is_up(drawn).mean() - exact) < Z_LIMIT * error


def test_a_training_goes_on_with_another_negative_phase_and_from_a_file(tmp_path):
    X = _clusters(80)
    rbm = fb.RBM(3, method="trajectory", n_iter=60, batch_size=40, random_state=0).fit(X)
    rbm.save(tmp_path / "rbm.fbm")
    again = fb.load(tmp_path / "rbm.fbm")
    for model in (rbm, again):
        model.partial_fit(X)
    np.testing.assert_array_equal(rbm.components_, again.components_)
    for method in ("tempered", "trajectory", "pcd", "trajectory", "cd"):
        rbm.set_params(method=method).partial_fit(X)
        assert np.isfinite(rbm.score(X))
        if method in ("tempered", "trajectory"):
            assert ("betas" in rbm.tempering_) == (method == "tempered")


def test_any_energy_and_label_machines_are_sampled_along_their_trajectory():
    X = _clusters(80)
    keep = [Trajectory()]
    classes = fb.RBMClassifier(3, objective="generative", n_iter=2, callbacks=keep)
    classes.fit(X, X[:, 0].astype(int))
    drawn, labels = classes.sample(5, method="trajectory", n_steps=20)
    assert drawn.shape == (5, 16) and labels.shape == (5,)
    machine = fb.BoltzmannMachine(
        {"v": fb.Bernoulli(16), "h": fb.Bernoulli(3)},
        ["v_i h_j", "v_i v_j"],
        visible="v",
        method="trajectory",
        n_iter=1,
    ).fit(X)
    with pytest.raises(ValueError, match="needs models that the training has gone through"):
        machine.sample(5, 20, method="trajectory")
    machine.set_params(callbacks=keep).partial_fit(X)
    assert machine.sample(5, 20, method="trajectory").shape == (5, 16)


def test_what_cannot_be_is_said():
    energy = fb.Energy({"v": fb.Spin(4), "h": fb.Spin(3)}, ["v_i h_j"])
    other = fb.Energy({"v": fb.Spin(4), "h": fb.Spin(2)}, ["v_i h_j"]).init(0)
    with pytest.raises(ValueError, match=r"models\[1\] is no model of this energy"):
        TrajectoryTempering(energy, [energy.init(0), other])
    with pytest.raises(ValueError, match="negative='trajectory' keeps chains that belong to no ro"):
        LogLikelihood("y", "x", negative="trajectory")
    with pytest.raises(ValueError, match="growth must be >= 1"):
        Trajectory(0.5)
    with pytest.raises(TypeError, match="this training has no estimator"):
        from fastboltz.training import Progress

        Trajectory()(Progress(None, {}, None, 1))
    assert not Tempering(energy).goes_on(None)
