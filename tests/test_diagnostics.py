"""Diagnostics of chains, against definitions written out in loops, and against known processes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import special, stats

import fastboltz as fb
from fastboltz import diagnostics
from fastboltz.diagnostics import (
    SamplingInfo,
    autocorrelation,
    autocorrelation_time,
    ess_bulk,
    ess_mean,
    ess_tail,
    rhat,
)


def _ar(phi, n_chains, n_draws, seed=0, apart=0.0):
    """A stationary first-order process of variance 1, whose chains stand apart."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_chains, n_draws)) * np.sqrt(1 - phi**2)
    x = np.empty((n_chains, n_draws))
    x[:, 0] = rng.normal(size=n_chains)
    for t in range(1, n_draws):
        x[:, t] = phi * x[:, t - 1] + noise[:, t]
    return x + apart * np.arange(n_chains)[:, None]


CHAINS = [
    _ar(0.0, 4, 100),
    _ar(0.9, 4, 501),
    _ar(0.5, 3, 200, apart=1.0),
    _ar(0.95, 50, 60),
    _ar(-0.6, 4, 300),
    np.round(_ar(0.7, 5, 150)),
]
each_chain = pytest.mark.parametrize("x", CHAINS, ids=range(len(CHAINS)))


def _halves(x):
    n = x.shape[1]
    return [half for chain in x for half in (chain[: n // 2], chain[(n + 1) // 2 :])]


def _split_rhat(halves):
    n = len(halves[0])
    within = np.mean([np.var(h, ddof=1) for h in halves])
    between = n * np.var([np.mean(h) for h in halves], ddof=1)
    return np.sqrt(((n - 1) / n * within + between / n) / within)


def _ranked(halves):
    pooled = np.concatenate(halves)
    z = special.ndtri((stats.rankdata(pooled) - 3 / 8) / (len(pooled) + 1 / 4))
    return np.split(z, len(halves))


def _effective(halves):
    """Equations 10 to 13 of Vehtari et al. (2021), lag by lag."""
    m, n = len(halves), len(halves[0])
    within = np.mean([np.var(h, ddof=1) for h in halves])
    plus = (n - 1) / n * within + np.var([np.mean(h) for h in halves], ddof=1)
    rho = []
    for t in range(n):
        each = [np.sum((h - h.mean())[: n - t] * (h - h.mean())[t:]) / n for h in halves]
        rho.append(1 - (within - np.mean(each)) / plus)
    rho[0] = 1.0
    tau, before, k = -1.0, np.inf, 0
    while k < (n - 3) // 2:  # as Stan and ArviZ leave out the last lags
        pair = rho[2 * k] + rho[2 * k + 1]
        if pair <= 0:
            break
        before = min(before, pair)
        tau += 2 * before
        k += 1
    if 2 * k < n:
        tau += max(rho[2 * k], 0)
    return m * n / max(tau, 1 / np.log10(m * n))


@each_chain
def test_rhat_is_its_definition(x):
    """Deliberate bugs that this catches: chains that are not split, R-hat of the ranks alone."""
    folded = np.abs(x - np.median(x))
    expected = max(_split_rhat(_ranked(_halves(y))) for y in (x, folded))
    assert rhat(x) == pytest.approx(expected, rel=1e-10)


@each_chain
def test_effective_sizes_are_their_definitions(x):
    """Deliberate bug that this catches: covariances about the mean of all chains."""
    halves = _halves(x)
    assert ess_mean(x) == pytest.approx(_effective(halves), rel=1e-8)
    assert ess_bulk(x) == pytest.approx(_effective(_ranked(halves)), rel=1e-8)
    ends = [np.quantile(x, q) for q in (0.05, 0.95)]
    tails = [_effective([(h <= end).astype(float) for h in halves]) for end in ends]
    assert ess_tail(x) == pytest.approx(min(tails), rel=1e-8)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_autocorrelation_time_of_a_known_process_is_found(phi):
    """``(1 + phi) / (1 - phi)``, on average over 40 experiments of 8 chains of 2,000 draws."""
    found = [autocorrelation_time(_ar(phi, 8, 2000, seed)) for seed in range(40)]
    error = np.std(found, ddof=1) / np.sqrt(40)
    # Geyer's sum goes on over noise until a pair is negative, so it is a little too long.
    bias = 0.03 * (1 + phi) / (1 - phi)
    assert abs(np.mean(found) - (1 + phi) / (1 - phi)) < 4.5 * error + bias
    rho = autocorrelation(_ar(phi, 200, 2000))
    np.testing.assert_allclose(rho[:5], phi ** np.arange(5), atol=0.05)


def test_chains_that_stay_apart_or_differ_in_scale_are_seen():
    mixed = _ar(0.3, 4, 1000)
    assert rhat(mixed) < 1.01
    assert rhat(mixed + np.arange(4)[:, None]) > 1.3
    assert rhat(mixed * (1 + np.arange(4))[:, None]) > 1.1
    drift = mixed + np.linspace(0, 3, 1000)
    assert rhat(drift) > 1.2, "the halves of a chain are compared"


def test_what_does_not_move_or_is_no_number_is_said():
    assert np.isnan(rhat(np.ones((4, 50))))
    assert np.isnan(autocorrelation_time(np.ones((4, 50))))
    assert np.isinf(rhat(np.repeat(np.arange(4.0)[:, None], 50, axis=1)))
    with pytest.raises(ValueError, match=r"has shape \(50,\); expected \(n_chains, n_draws\)"):
        rhat(np.ones(50))
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        ess_bulk(np.full((2, 9), np.nan))


# -------------------------------------------------------------------------------------- of models


def _modes(coupling, n=10):
    """A magnet of two modes, and its sampler."""
    energy = fb.Energy({"v": fb.Spin(n), "h": fb.Spin(n)}, ["v_i h_j"])
    params = {"v": np.zeros(n), "h": np.zeros(n), "v_i h_j": np.full((n, n), coupling)}
    return energy, params, fb.Gibbs(energy, n_threads=1)


def test_a_run_ends_where_plain_sweeps_end_and_its_verdict_fits():
    """Weak couplings mix; strong ones keep each chain in the mode that it began near.

    Deliberate bugs that this catches: a sweep too many between records, statistics of the first
    half, a verdict turned round.
    """
    for coupling, mixed in ((0.03, True), (0.5, False)):
        energy, params, sampler = _modes(coupling)
        start = sampler.init(params, 64, random_state=0)
        end, info = diagnostics.run(sampler, params, start, 301)
        plain = sampler.step(params, start, 301)
        for g in energy.groups:
            np.testing.assert_array_equal(end.values[g], plain.values[g])
        assert info.is_mixed == mixed
        assert info.traces["energy"].shape == (64 + 32, 151)
        mean = plain.values["v"].mean(axis=1)
        np.testing.assert_allclose(info.traces["mean of v"][:64, -1], mean)
        exact = energy.value(params, plain.values)
        np.testing.assert_allclose(info.traces["energy"][:64, -1], exact)
    assert info.verdict == (
        f"The chains have not mixed: R-hat is {info.rhat[info.slowest]:.2f} at most "
        f"('{info.slowest}'), so they stay in different places, and each place has the share of "
        f"chains that began near it. Make more sweeps than 301, or use method='tempered'."
    )
    assert "mean of v" in str(info)


def test_chains_that_all_begin_in_one_mode_are_not_said_to_have_mixed():
    """They agree with each other perfectly; the probes from elsewhere do not agree with them.

    Deliberate bug that this catches: probes that begin where the chains do.
    """
    energy, params, sampler = _modes(0.5)
    up = {"v": np.ones((64, 10)), "h": np.ones((64, 10))}
    _, info = diagnostics.run(sampler, params, sampler.init(params, values=up, random_state=0), 300)
    assert rhat(info.traces["energy"][:64]) < 1.05
    assert not info.is_mixed
    tied = fb.Gibbs(energy, "v", n_threads=1)
    v = np.ones((64, 10))
    v[:, 5:] = np.nan
    start = tied.init(params, values={"v": v}, random_state=0)
    _, info = diagnostics.run(tied, params, start, 300)
    assert info.is_mixed, "with half of one group held there is one mode, also for the probes"


def test_long_runs_are_thinned_and_many_chains_recorded_in_part():
    _, params, sampler = _modes(0.03, n=3)
    start = sampler.init(params, 300, random_state=0)
    end, info = diagnostics.run(
        sampler, params, start, 4500, {"first": lambda values: values["v"][:, 0]}
    )
    assert info.thin == 3
    assert info.traces["first"].shape == (256 + 32, 750)
    assert end.step == 4500
    # Spins that hardly see each other: no memory, in sweeps that is one record's distance.
    assert 1 < info.autocorrelation_time["first"] < 6


def test_verdicts_for_every_case():
    for phi, n, words in (
        (0.0, 400, "The chains have mixed: R-hat is 1.0"),
        (0.9, 200, "likely to have forgotten their start"),
        (0.999, 60, "The chains have not mixed"),
    ):
        info = SamplingInfo.of({"x": _ar(phi, 100, n)}, 100, 2 * n)
        assert words in info.verdict
    assert "are too few to tell" in SamplingInfo.of({"x": np.ones((9, 2))}, 9, 4).verdict
    assert (
        "Nothing that was recorded moves" in SamplingInfo.of({"x": np.ones((9, 8))}, 9, 16).verdict
    )


def test_models_return_the_same_samples_with_what_is_known_of_them():
    rng = np.random.default_rng(0)
    X = (rng.random((100, 12)) < 0.5).astype(np.float32)
    y = X[:, 0].astype(int)
    rbm = fb.RBM(5, n_iter=3, random_state=0).fit(X)
    plain = rbm.sample(20, 40, random_state=1)
    drawn, info = rbm.sample(20, 40, random_state=1, return_info=True)
    np.testing.assert_array_equal(drawn, plain)
    assert isinstance(info, SamplingInfo)
    assert {"energy", "mean of v", "direction 1 of h"} <= set(info.rhat)
    classes = fb.RBMClassifier(5, n_iter=3, random_state=0).fit(X, y)
    *drawn, info = classes.sample(20, n_steps=40, random_state=1, return_info=True)
    for a, b in zip(drawn, classes.sample(20, n_steps=40, random_state=1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert info.n_steps == 40
    machine = fb.BoltzmannMachine(
        {"v": fb.Bernoulli(12), "h": fb.Bernoulli(4)}, ["v_i h_j"], visible="v", n_iter=2
    )
    _, info = machine.fit(X).sample(20, 40, return_info=True)
    assert info.verdict


def _models():
    """Every model with chains, fitted for a moment, and the arguments of its `sample`."""
    rng = np.random.default_rng(0)
    X = (rng.random((60, 8)) < 0.5).astype(np.float32)
    y = X[:, 0].astype(int)
    options = {"n_iter": 1, "random_state": 0}
    yield fb.GatedRBM(3, **options).fit(X, X[::-1]), (X[:10],)
    yield fb.GatedRBM(3, n_factors=2, mode="joint", **options).fit(X, X[::-1]), (X[:10],)
    yield fb.PointwiseGatedRBM((3, 2), n_pretraining=1, **options).fit(X), (10,)
    yield fb.PointwiseGatedRBMClassifier((3, 2), n_pretraining=1, **options).fit(X, y), (10,)
    yield fb.TwoGroupRBMClassifier(3, **options).fit(X, y), (10,)
    yield fb.DeepBoltzmannMachine((4, 3), n_pretraining=1, **options).fit(X), (10,)
    yield fb.DeepBeliefNetwork((4, 3), **options).fit(X), (10,)
    yield fb.HigherOrderBoltzmannMachine(**options).fit(X), (10,)


@pytest.mark.parametrize("k", range(8))
def test_every_model_with_chains_has_verdicts_and_tempered_samples(k):
    model, arguments = list(_models())[k]
    # The number of sweeps has other places and names.
    plain = model.sample(*arguments, n_steps=24, random_state=1)
    for method in ("gibbs", "tempered"):
        options = {"n_steps": 24, "random_state": 1, "method": method}
        alone = model.sample(*arguments, **options)
        *drawn, info = model.sample(*arguments, **options, return_info=True)
        first = drawn[0][0] if isinstance(drawn[0], tuple) else drawn[0]
        before = alone[0] if isinstance(alone, tuple) else alone
        np.testing.assert_array_equal(first, before)
        assert ("swap_rates" in info.extra) == (method == "tempered")
        assert info.verdict
        if method == "gibbs":
            before = plain[0] if isinstance(plain, tuple) else plain
            np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("n_chains", [1, 4])
def test_what_tells_rows_apart_does_not_tell_their_chains_apart(n_chains):
    """R-hat of chains of 60 rows far from each other is that of chains of one row, on average.

    Deliberate bugs that this catches: ranks among all rows, the variance between chains taken about
    the mean of all rows.
    """
    rng = np.random.default_rng(0)
    apart = 1000.0 * rng.normal(size=(60, 1, 1))
    found, times = [], []
    for seed in range(30):
        x = _ar(0.5, 60 * n_chains, 40, seed)
        rows = x.reshape(60, n_chains, 40) + apart
        found.append(rhat(rows) - rhat(x))
        times.append(autocorrelation_time(rows) - autocorrelation_time(x))
    for change in (found, times):
        assert abs(np.mean(change)) < 4.5 * np.std(change, ddof=1) / np.sqrt(30) + 0.01
    # Chains of one row that differ are seen, also where each row has one, by its halves.
    rows[:30, 0, 20:] += 2
    assert rhat(rows) > 1.1


@each_chain
def test_one_row_is_no_row(x):
    for function in (rhat, ess_bulk, ess_tail, ess_mean, autocorrelation_time):
        assert function(x[None]) == function(x)
    twice = np.stack([x, 4 * x])
    assert rhat(twice) == pytest.approx(rhat(x), rel=1e-12)
    # The least time that is believed depends on the number of draws a little.
    assert ess_bulk(twice) == pytest.approx(2 * ess_bulk(x), rel=0.15)
    assert ess_tail(twice) == pytest.approx(2 * ess_tail(x), rel=0.15)


def test_rows_with_different_known_values_are_diagnosed_each_for_itself():
    """Two modes that Gibbs sampling does not cross between, and one known unit."""
    n = 14
    rbm = fb.RBM(n, visible="spin", hidden="spin", n_iter=0, n_threads=1, random_state=0)
    rbm.fit(np.ones((2, n), np.float32))
    rbm.components_[...] = 0.25
    rbm.intercept_visible_[...] = rbm.intercept_hidden_[...] = 0
    known = np.full((40, n), np.nan)
    known[:, 0] = np.resize([-1, 1], 40)
    drawn, info = rbm.sample(40, 200, given=known, random_state=0, return_info=True)
    np.testing.assert_array_equal(drawn[:, 0], known[:, 0])
    assert info.traces["energy"].shape == (40, 4, 100)
    assert "have not mixed" in info.verdict
    _, info = rbm.sample(40, 1200, given=known, random_state=0, method="tempered", return_info=True)
    assert info.traces["energy"].shape == (40, 1, 300)
    assert info.is_mixed
    # Where what is known decides between the modes, Gibbs sampling will do.
    known[:, :8] = known[:, :1]
    _, info = rbm.sample(40, 200, given=known, random_state=0, return_info=True)
    assert info.is_mixed


def test_every_step_of_a_sequence_is_diagnosed():
    rng = np.random.default_rng(0)
    X = (rng.random((40, 6)) < 0.5).astype(np.float32)
    model = fb.RNNRBM(4, n_recurrent=3, n_iter=1, random_state=0).fit(X)
    plain = model.sample(6, X[:2], n_sequences=5, n_gibbs=40, random_state=0)
    options = {"n_sequences": 5, "n_gibbs": 40, "random_state": 0}
    drawn, info = model.sample(6, X[:2], **options, return_info=True)
    np.testing.assert_array_equal(drawn, plain)
    rhats = info.extra["rhat"]
    assert np.isnan(rhats[:2]).all() and np.isfinite(rhats[2:]).all()
    assert info.extra["step"] == np.nanargmax(rhats)
    assert info.rhat[info.slowest] == rhats[info.extra["step"]]
    alone, info = model.sample(3, random_state=0, method="tempered", return_info=True)
    assert alone.shape == (3, 6)
    assert "swap_rates" in info.extra
    with pytest.raises(ValueError, match="the prefix has all 2"):
        model.sample(2, X[:2], return_info=True)
    with pytest.raises(ValueError, match="and none were kept"):
        model.sample(2, method="trajectory")
    with pytest.raises(ValueError, match="method must be one of 'gibbs', 'tempered'"):
        model.sample(2, method="hot")


@each_chain
def test_diagnostics_are_those_of_arviz(x):
    """A second oracle: R-hat and effective sizes as its authors publish them."""
    arviz = pytest.importorskip("arviz")
    assert rhat(x) == pytest.approx(float(arviz.rhat(x)), rel=1e-6)
    for ours, method in ((ess_bulk, "bulk"), (ess_tail, "tail"), (ess_mean, "mean")):
        assert ours(x) == pytest.approx(float(arviz.ess(x, method=method)), rel=1e-6), method


def test_traces_go_to_arviz_where_it_is_installed():
    info = SamplingInfo.of({"x": _ar(0.5, 4, 100)}, 4, 200)
    arviz = pytest.importorskip("arviz")
    data = info.to_arviz()
    assert data.posterior["x"].shape == (4, 100)
    assert float(arviz.rhat(data)["x"]) == pytest.approx(info.rhat["x"], rel=1e-6)
    assert float(arviz.ess(data)["x"]) == pytest.approx(info.ess_bulk["x"], rel=1e-6)
    rows = SamplingInfo.of({"x": _ar(0.5, 8, 100).reshape(2, 4, 100)}, 2, 200)
    data = rows.to_arviz()
    np.testing.assert_array_equal(data.posterior["x"][:, :, 1], rows.traces["x"][1])


def test_without_arviz_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match="to_arviz needs ArviZ: pip install arviz"):
        SamplingInfo.of({"x": _ar(0.5, 4, 100)}, 4, 200).to_arviz()
