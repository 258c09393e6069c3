"""Exact log Z and exact moments against enumeration by the oracle, over the whole catalogue."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from catalogue import CATALOGUE
from scipy import special

import fastboltz as fb

ENUMERABLE = [entry for entry in CATALOGUE if entry.enumerable]
every_entry = pytest.mark.parametrize("entry", ENUMERABLE, ids=str)
N_ROWS = 3


def _subsets(entry):
    """Every way of giving some of the groups and leaving others."""
    names = list(entry.groups)
    for size in range(1, len(names)):
        yield from itertools.combinations(names, size)


def _assert_same(found, expected, **tolerance):
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key].shape == value.shape
        np.testing.assert_allclose(found[key], value, err_msg=key, **tolerance)


@every_entry
def test_log_partition_is_the_sum_over_all_states(entry):
    """Catches a cheaper side that is enumerated without the base energy of the other, and one-hot
    units as bits."""
    for seed in range(2):
        params = entry.parameters(seed)
        found = entry.energy.log_partition(params)
        assert isinstance(found, float)
        assert found == pytest.approx(entry.machine.log_partition(params), rel=1e-9, abs=1e-9)


@every_entry
def test_log_partition_with_groups_given_is_the_sum_over_the_rest(entry):
    """Catches a given group whose own base energy is left out, or counted for the first row
    only."""
    params, state = entry.parameters(), entry.states(N_ROWS)
    for names in _subsets(entry):
        given = {name: state[name] for name in names}
        found = entry.energy.log_partition(params, given=given)
        assert found.shape == (N_ROWS,)
        np.testing.assert_allclose(
            found,
            entry.machine.log_partition(params, given),
            rtol=1e-9,
            atol=1e-9,
            err_msg=f"given {names}",
        )


@every_entry
def test_log_partition_with_everything_given_is_minus_the_energy(entry):
    params, state = entry.parameters(), entry.states(N_ROWS)
    found = entry.energy.log_partition(params, given=state)
    np.testing.assert_allclose(found, -entry.machine.value(params, state), rtol=1e-11, atol=1e-11)


@every_entry
def test_moments_are_the_averages_over_all_states(entry):
    """Catches moments of the summed side taken at its mode, and E[x]^2 in the place of E[x^2] for
    precisions."""
    params = entry.parameters()
    _assert_same(entry.energy.moments(params), entry.machine.moments(params), rtol=1e-8, atol=1e-9)


@every_entry
@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
def test_moments_with_groups_given_are_averages_over_rows_of_conditional_averages(entry, weighted):
    """Catches one softmax over all rows together, which would weigh rows by their likelihood."""
    params, state = entry.parameters(), entry.states(N_ROWS)
    weights = np.array([0.5, 2.0, 1.0]) if weighted else None
    for names in _subsets(entry):
        given = {name: state[name] for name in names}
        _assert_same(
            entry.energy.moments(params, given=given, weights=weights),
            entry.machine.moments(params, given, weights=weights),
            rtol=1e-8,
            atol=1e-9,
        )


@every_entry
def test_moments_with_everything_given_are_the_statistics(entry):
    params, state = entry.parameters(), entry.states(N_ROWS)
    _assert_same(
        entry.energy.moments(params, given=state),
        entry.machine.statistics(params, state),
        rtol=1e-10,
        atol=1e-11,
    )


@pytest.mark.parametrize(
    "sizes", [(200, 6), (6, 200)], ids=["few hidden units", "few visible units"]
)
def test_the_cheaper_side_of_an_rbm_is_enumerated(sizes):
    """2^6 terms in place of 2^206: log Z = log sum_h exp(c.h) prod_i (1 + exp(b_i + W_i.h)),
    written out."""
    rng = np.random.default_rng(0)
    n_v, n_h = sizes
    energy = fb.Energy({"v": fb.Bernoulli(n_v), "h": fb.Bernoulli(n_h)}, terms=["v_i h_j"])
    params = {
        "v": rng.normal(size=n_v),
        "h": rng.normal(size=n_h),
        "v_i h_j": 0.3 * rng.normal(size=(n_v, n_h)),
    }
    few, many, w = ("h", "v", params["v_i h_j"].T) if n_h < n_v else ("v", "h", params["v_i h_j"])
    states = np.array(list(itertools.product([0.0, 1.0], repeat=6)))
    terms = states @ params[few] + np.logaddexp(0.0, params[many] + states @ w).sum(axis=1)
    assert energy.log_partition(params) == pytest.approx(special.logsumexp(terms), rel=1e-12)
    p = special.softmax(terms)
    moments = energy.moments(params)
    on = special.expit(params[many] + states @ w)
    np.testing.assert_allclose(moments[few], p @ states, rtol=1e-9)
    np.testing.assert_allclose(moments[many], p @ on, rtol=1e-9)
    expected = np.einsum("s,sa,sb->ab", p, states, on)
    np.testing.assert_allclose(
        moments["v_i h_j"], expected if few == "v" else expected.T, rtol=1e-9
    )


def test_log_partition_of_a_ring_of_spins_is_that_of_its_transfer_matrix():
    """Ising 1925: Z = (2 cosh J)^n + (2 sinh J)^n for a ring of n spins with coupling J."""
    n, coupling = 14, 0.6
    ring = fb.Hyperedges("s", [(i, (i + 1) % n) for i in range(n)])
    energy = fb.Energy({"s": fb.Spin(n)}, terms=[ring])
    params = {"s": np.zeros(n), ring.name: np.full(n, coupling)}
    expected = np.log((2 * np.cosh(coupling)) ** n + (2 * np.sinh(coupling)) ** n)
    assert energy.log_partition(params) == pytest.approx(expected, rel=1e-12)
    t = np.tanh(coupling)
    expected_pair = (t + t ** (n - 1)) / (1 + t**n)
    np.testing.assert_allclose(energy.moments(params)[ring.name], expected_pair, rtol=1e-10)


def test_log_partition_does_not_overflow_where_energies_are_large():
    """All energies near -2000: exp(2000) is infinite in double precision."""
    energy = fb.Energy({"v": fb.Bernoulli(4), "h": fb.Bernoulli(3)}, terms=["v_i h_j"])
    params = {"v": np.full(4, 500.0), "h": np.zeros(3), "v_i h_j": np.zeros((4, 3))}
    assert energy.log_partition(params) == pytest.approx(2000.0 + 3 * np.log(2.0), rel=1e-14)
    params["v"] = np.full(4, -500.0)
    assert energy.log_partition(params) == pytest.approx(3 * np.log(2.0), rel=1e-12)


@pytest.mark.parametrize(
    ("method", "remedy"), [("log_partition", "likelihood.ais."), ("moments", "negative='cd'")]
)
def test_too_many_states_are_refused_with_the_count_and_the_remedy(method, remedy):
    """Catches a person's machine swapped to death by 2^41 rows."""
    energy = fb.Energy({"v": fb.Bernoulli(41), "h": fb.Bernoulli(60)}, terms=["v_i h_j"])
    params = energy.init(random_state=0)
    with pytest.raises(ValueError, match=r"needs 2\*\*41 states \(limit 2\*\*25\)") as caught:
        getattr(energy, method)(params)
    assert remedy in str(caught.value)


# ---------------------------------------------------------------------------------- exact samples


@every_entry
def test_exact_samples_have_the_statistics_of_the_enumerated_distribution(entry):
    """Every statistic within 4.5 standard errors of its exact mean, over 4,000 samples.

    Deliberate bugs that this catches: summed groups drawn from their biases alone, digits of the
    state's number handed to the wrong group, one uniform for two groups.
    """
    params, n = entry.parameters(), 4000
    found = entry.energy.sample(params, n, random_state=0)
    expected = entry.machine.moments(params)
    each = [
        entry.energy.statistics(params, {g: x[i : i + 1] for g, x in found.items()})
        for i in range(0, n, 10)
    ]
    mean = entry.energy.statistics(params, found)
    for key, value in expected.items():
        scatter = np.std([one[key] for one in each], axis=0, ddof=1)
        # A product that is hardly ever one: its scatter is that of its exact mean.
        bound = 4.5 * np.maximum(scatter, np.sqrt(np.abs(value))) / np.sqrt(n) + 4.5 / n
        assert (np.abs(mean[key] - value) <= bound).all(), key


@every_entry
def test_exact_samples_given_groups_are_one_for_each_row(entry):
    params, g = entry.parameters(), next(iter(entry.groups))
    state = entry.states(2)[g]
    n = 3000
    given = {g: np.repeat(state, n, axis=0)}
    found = entry.energy.sample(params, given=given, random_state=3)
    np.testing.assert_array_equal(found[g], given[g])
    for row in range(2):
        rows = slice(row * n, (row + 1) * n)
        exact = entry.machine.moments(params, {g: state[row : row + 1]})
        for other in set(entry.groups) - {g}:
            x = found[other][rows]
            error = x.std(axis=0) / np.sqrt(n) + 1 / n
            assert (np.abs(x.mean(axis=0) - exact[other]) <= 4.5 * error).all(), other


def test_exact_samples_repeat_and_say_what_they_need():
    energy = fb.Energy({"v": fb.Bernoulli(5), "h": fb.Bernoulli(3)}, ["v_i h_j"])
    params = energy.init(0, 1.0)
    one, two = (energy.sample(params, 50, random_state=4) for _ in range(2))
    for g in energy.groups:
        np.testing.assert_array_equal(one[g], two[g])
        assert one[g].dtype == np.float32
    with pytest.raises(ValueError, match="give n_samples, or rows of at least one group"):
        energy.sample(params)
    with pytest.raises(ValueError, match="n_samples is 3, but given has 2 rows"):
        energy.sample(params, 3, given={"h": np.zeros((2, 3))})
    large = fb.Energy({"v": fb.Bernoulli(41), "h": fb.Bernoulli(60)}, ["v_i h_j"])
    with pytest.raises(fb.NotEnumerableError, match=r"Use chains of fastboltz\.Gibbs"):
        large.sample(large.init(0), 3)
