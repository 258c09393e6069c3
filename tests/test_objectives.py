"""Gradients of weighted conditional log-likelihoods, over the whole catalogue."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from catalogue import BY_NAME, CATALOGUE, LAYOUTS

import fastboltz as fb

N_ROWS = 4
CASES = [
    pytest.param(
        entry,
        of,
        given,
        id=f"{entry}: log p({','.join(of)}{'|' if given else ''}{','.join(given)})",
    )
    for entry in CATALOGUE
    if entry.enumerable
    for of, given in entry.criteria
]


def _objective(entry, *parts):
    return fb.objectives.Objective(entry.energy, list(parts), n_threads=1)


def _likelihood(of, given=(), weight=1.0, negative="exact", **options):
    return fb.objectives.LogLikelihood(
        of=of, given=given, weight=weight, negative=negative, **options
    )


def _data(entry, names, n=N_ROWS):
    state = entry.states(n, seed=3)
    return {name: state[name] for name in names}


def _random_direction(entry, key, rng):
    """Return a random direction with the symmetry of the parameter, and its inner product with a
    gradient."""
    independent = entry.machine.directions(key)
    size = rng.standard_normal(len(independent))
    total = sum(s * direction for s, (_, direction) in zip(size, independent, strict=True))
    return total, lambda gradient: sum(
        s * gradient[at] for s, (at, _) in zip(size, independent, strict=True)
    )


def _assert_gradient(entry, params, gradient, enumerated, step=1e-4):
    """Compare the slope along one random direction for each parameter array; fourth order
    differences.

    A direction of independent normal deviates meets a wrong gradient with probability one. The
    truncation error is of order step^4 = 1e-16, the rounding error 1e-15 |objective| / step =
    1e-10.
    """
    rng = np.random.default_rng(8)
    assert set(gradient) == set(entry.machine.parameter_shapes())
    for key in gradient:
        direction, along = _random_direction(entry, key, rng)

        def at(t, key=key, direction=direction):
            return enumerated({**params, key: params[key] + t * direction})

        slope = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
        assert along(gradient[key]) == pytest.approx(slope, rel=1e-6, abs=1e-7), key


@pytest.mark.parametrize(("entry", "of", "given"), CASES)
def test_value_is_the_enumerated_average_log_likelihood(entry, of, given):
    params, data = entry.parameters(), _data(entry, (*of, *given))
    found = _objective(entry, _likelihood(of, given)).value(params, data)
    assert found == pytest.approx(
        entry.machine.log_likelihood(params, data, of, given), rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize(("entry", "of", "given"), CASES)
def test_exact_gradient_is_the_slope_of_the_enumerated_objective(entry, of, given):
    """Catches a negative phase that clamps 'of' as well, a hidden group held at its data value, and
    phases swapped."""
    params, data = entry.parameters(), _data(entry, (*of, *given))
    gradient = _objective(entry, _likelihood(of, given)).gradient(params, data)
    _assert_gradient(
        entry, params, gradient, lambda p: entry.machine.log_likelihood(p, data, of, given)
    )
    for key, array in gradient.items():
        if any(key == term.name for term in entry.machine.terms):
            rebuilt = sum(array[at] * direction for at, direction in entry.machine.directions(key))
            np.testing.assert_allclose(
                array, rebuilt, rtol=1e-9, atol=1e-12, err_msg=f"{key} is not symmetric"
            )


@pytest.mark.parametrize(
    "name", ["bernoulli-bernoulli", "gaussian-bernoulli", "class RBM", "semi-restricted"]
)
def test_rows_count_by_their_weights(name):
    """Catches weights that enter one phase only: p(of | given) has a negative phase for every row
    of its own."""
    entry = BY_NAME[name]
    weights = np.array([0.2, 3.0, 1.0, 0.7])
    for of, given in entry.criteria:
        params, data = entry.parameters(), _data(entry, (*of, *given))
        objective = _objective(entry, _likelihood(of, given))
        gradient = objective.gradient(params, data, weights=weights)
        _assert_gradient(
            entry,
            params,
            gradient,
            lambda p, of=of, given=given, data=data: entry.machine.log_likelihood(
                p, data, of, given, weights=weights
            ),
        )


def test_a_hybrid_is_the_weighted_sum_of_its_parts():
    """log p(y | v) + 0.3 log p(v, y). Catches a weight that reaches the positive phase alone."""
    entry = BY_NAME["class RBM"]
    params, data = entry.parameters(), _data(entry, ("v", "y"))
    objective = _objective(entry, _likelihood(("y",), ("v",)), _likelihood(("v", "y"), weight=0.3))

    def enumerated(p):
        machine = entry.machine
        joint = machine.log_likelihood(p, data, ("v", "y"))
        return machine.log_likelihood(p, data, ("y",), ("v",)) + 0.3 * joint

    assert objective.value(params, data) == pytest.approx(enumerated(params), rel=1e-10)
    _assert_gradient(entry, params, objective.gradient(params, data), enumerated)


def test_gradient_vanishes_where_the_data_are_the_model_itself():
    """All states, each weighted by its probability: the likelihood of a fully visible model is at
    its summit."""
    entry = BY_NAME["higher order"]
    params = entry.parameters()
    grid, _, _ = entry.machine.grid()
    gradient = _objective(entry, _likelihood(("s",))).gradient(
        params, grid, weights=entry.machine.probabilities(params).ravel()
    )
    for key, value in gradient.items():
        np.testing.assert_allclose(value, 0.0, atol=1e-10, err_msg=key)


# ------------------------------------------------------------------------------ sampled phases

N_CHAINS = 10_007  # a prime, so that no kernel's lanes come out even
Z_LIMIT = 4.5  # two-sided 7e-6 a deviate, of fixed seeds


def _assert_within_error(found, expected, variance, n):
    """Compare gradients by the standard error sqrt(variance / n) of each entry.

    The variance is that of one drawn statistic; expectations in the place of draws (summed out
    hidden groups) only make it smaller.
    """
    for key, value in expected.items():
        error = np.sqrt(variance[key] / n) + 1e-10
        z = np.abs(found[key] - value) / error
        assert z.max() < Z_LIMIT, f"{key}: off by {z.max():.1f} standard errors"


def _sampled_cases(negative):
    """Entries and criteria whose hidden groups can be summed out once all the others are known."""
    for entry in CATALOGUE:
        if entry.factored or not entry.enumerable:
            continue
        for of, given in entry.criteria:
            hidden = [name for name in entry.groups if name not in (*of, *given)]
            meet = any(entry.neighbours(a, b) for a in hidden for b in hidden if a != b)
            if meet or set(hidden) & set(entry.lateral) or (negative == "pcd" and given):
                continue
            name = f"{entry}: log p({','.join(of)}{'|' if given else ''}{','.join(given)})"
            yield pytest.param(entry, of, given, id=name)


@pytest.mark.parametrize(("entry", "of", "given"), list(_sampled_cases("cd")))
def test_contrastive_divergence_from_exact_draws_has_the_exact_gradient(entry, of, given):
    """Chains that start from exact draws stay exact, so cd is unbiased there.

    Where something is given, rows are picked by it: they are exact draws of p(of | given), but not
    of p(given). What remains is the Monte Carlo error of the negative phase. Deliberate bug that
    this catches: a negative phase that redraws the given groups, or that takes visible values of
    one sweep with hidden means of another.
    """
    params = entry.parameters()
    draws = entry.machine.draw(params, 4 * N_CHAINS, np.random.default_rng(5))
    chosen = np.ones(4 * N_CHAINS, dtype=bool)
    for name in given:
        first = draws[name].reshape(4 * N_CHAINS, -1)[:, 0]
        high = first > first.mean()
        chosen &= high if high.mean() > 0.4 else ~high
    draws = {name: x[chosen][:N_CHAINS] for name, x in draws.items()}
    n = len(next(iter(draws.values())))
    assert n > N_CHAINS // 4
    data = {name: draws[name] for name in (*of, *given)}
    exact = _objective(entry, _likelihood(of, given)).gradient(params, data)
    part = _likelihood(of, given, negative="cd", n_gibbs=2)
    found = _objective(entry, part).gradient(params, data, random_state=3)
    if given:  # the draws' own variances; a statistic that is rare among them counts as one more
        variance = entry.machine.statistic_variances(params, draws)
        variance = {key: x + 1 / n for key, x in variance.items()}
    else:
        variance = entry.machine.moment_variances(params)
    _assert_within_error(found, exact, variance, n)


@pytest.mark.parametrize(("entry", "of", "given"), list(_sampled_cases("pcd")))
def test_persistent_chains_forget_the_data_and_reach_the_exact_gradient(entry, of, given):
    """All rows are one and the same: only chains kept over many updates find the model.

    Deliberate bug that this catches: chains that start from the data at each update (cd under
    another name), or fresh chains that are not stored.
    """
    params = entry.parameters()
    n, n_gibbs = 4_001, 10
    row = entry.states(1, seed=6)
    data = {name: np.repeat(row[name], n, axis=0) for name in of}
    exact = _objective(entry, _likelihood(of)).gradient(params, {name: row[name] for name in of})
    objective = _objective(entry, _likelihood(of, negative="pcd", n_gibbs=n_gibbs))
    state = objective.init(random_state=1)
    for _ in range(entry.sweeps // n_gibbs):
        found, _, state = objective.step(params, data, state)
    variance = entry.machine.moment_variances(params)
    _assert_within_error(found, exact, variance, n)
    assert state.update == entry.sweeps // n_gibbs
    assert state.chains[0].step >= entry.sweeps


@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
@pytest.mark.parametrize(
    "name",
    ["bernoulli-bernoulli", "spin-categorical", "two axes", "hidden units declared first"],
)
def test_one_sweep_of_contrastive_divergence_is_what_hinton_wrote(name, weighted):
    """Data -> h -> v' -> E[h | v'], its expectation enumerated for two data rows.

    The chain's visible distribution after one sweep is sum_h p(h | v) p(v' | h). Deliberate bug
    that this catches: hidden units first drawn from the bias in the place of the data, one sweep
    too many, and row weights that the negative phase forgets.
    """
    entry = BY_NAME[name]
    machine, params = entry.machine, entry.parameters()
    grid, _, _ = machine.grid()
    v, h = (oracles.Machine({g: entry.groups[g]}, []).code({g: grid[g]}) for g in "vh")
    n_v, n_h = v.max() + 1, h.max() + 1
    p = np.zeros((n_v, n_h))
    p[v, h] = machine.probabilities(params).ravel()
    forward = p / p.sum(axis=1, keepdims=True)  # p(h | v)
    backward = p / p.sum(axis=0, keepdims=True)  # p(v | h)
    one_sweep = forward @ backward.T  # p(v' | v)
    two = [1, n_v - 2]
    row_weights = np.array([3.0, 1.0]) if weighted else np.ones(2)
    share = row_weights / row_weights.sum()
    joint = (share @ one_sweep[two])[:, None] * forward
    negative = machine.statistics(params, grid, joint[v, h])
    visible = np.stack([grid["v"][np.argmax(v == code)] for code in range(n_v)])
    positive = machine.moments(params, {"v": visible[two]}, weights=row_weights)
    n = 20_000
    data = {"v": np.tile(visible[two], (n // 2, *(1,) * (visible.ndim - 1)))}
    weights = np.tile(row_weights, n // 2) if weighted else None
    objective = _objective(entry, _likelihood(("v",), negative="cd", n_gibbs=1))
    found = objective.gradient(params, data, weights=weights, random_state=2)
    # Every statistic lies in [-1, 1], so its variance is at most 1 - mean^2.
    effective = n * np.mean(row_weights) ** 2 / np.mean(row_weights**2)
    for key, value in negative.items():
        error = np.sqrt((1.0 - value**2) / effective) + 1e-10
        z = np.abs(found[key] - (positive[key] - value)) / error
        assert z.max() < Z_LIMIT, f"{key}: off by {z.max():.1f} standard errors"


def test_a_hidden_group_that_cannot_be_summed_out_is_sampled_in_the_positive_phase():
    """A deep machine, v at exact draws: h and g are sampled; both phases carry Monte Carlo error.

    The two errors may add, hence twice the standard error of one. 60 sweeps forget the start.
    Deliberate bug that this catches: a positive phase that draws v as well, which at equilibrium
    shows in the gradient of data that are *not* the model's, so the data are tilted here.
    """
    entry = BY_NAME["deep"]
    params = entry.parameters()
    draws = entry.machine.draw(params, 8 * N_CHAINS, np.random.default_rng(5))
    tilted = draws["v"][draws["v"][:, 0] == 1.0][:N_CHAINS]
    assert len(tilted) == N_CHAINS
    exact = _objective(entry, _likelihood(("v",))).gradient(params, {"v": tilted})
    part = _likelihood(("v",), negative="cd", n_gibbs=60, n_positive=60)
    found = _objective(entry, part).gradient(params, {"v": tilted}, random_state=4)
    variance = {key: 4 * x + 1e-6 for key, x in entry.machine.moment_variances(params).items()}
    _assert_within_error(found, exact, variance, N_CHAINS)


def test_the_same_seed_gives_the_same_gradient_for_every_number_of_threads():
    entry = BY_NAME["class RBM"]
    params, data = entry.parameters(), _data(entry, ("v", "y"), n=517)
    part = _likelihood(("v", "y"), negative="cd", n_gibbs=2)
    found = [
        fb.objectives.Objective(entry.energy, [part], n_threads=k).gradient(
            params, data, random_state=seed
        )
        for k, seed in ((1, 0), (3, 0), (1, 1))
    ]
    assert all(np.array_equal(found[0][key], found[1][key]) for key in found[0])
    assert any(not np.array_equal(found[0][key], found[2][key]) for key in found[0])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("negative", ["exact", "cd"])
@pytest.mark.parametrize(
    "name",
    [
        "bernoulli-bernoulli",
        "bernoulli-categorical",
        "gaussian-spin",
        "semi-restricted",
        "Potts",
        "hyperedges, spins, hidden units",
        "class-gated",
        "gated, factored",
        "point-wise gated",
    ],
)
def test_the_memory_layout_of_arrays_changes_no_gradient(name, negative, layout):
    """Catches a gradient accumulated into a reshaped copy, and thereby lost."""
    entry = BY_NAME[name]
    of, given = entry.criteria[0]
    params, data = entry.parameters(), _data(entry, (*of, *given))
    objective = _objective(entry, _likelihood(of, given, negative=negative))
    expected = objective.gradient(params, data, random_state=0)
    relaid = {key: LAYOUTS[layout](x) for key, x in params.items()}
    moved = {name: LAYOUTS[layout](x) for name, x in data.items()}
    for found in (
        objective.gradient(relaid, data, random_state=0),
        objective.gradient(params, moved, random_state=0),
    ):
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-11, err_msg=key)


def test_chains_that_begin_anew_do_so_with_new_numbers_in_every_update():
    """Hidden spins in two modes that sweeps do not leave, neither favoured: what a wrong start does
    is not forgotten within an update, and averages out over updates if each draws its own."""
    energy = fb.Energy({"v": fb.Bernoulli(1), "h": fb.Spin(6)}, ["v_i h_j", "h_i h_j"])
    params = energy.init(0, scale=0.0, dtype=np.float64)
    params["h_i h_j"] = 1.5 * (1 - np.eye(6))
    likelihood = fb.objectives.LogLikelihood("v", negative="cd", n_positive=10)
    phases = fb.objectives.Objective(energy, likelihood, 1)._phases[0]
    means = []
    for update in range(300):
        out = energy.zeros(params)
        phases.positive(params, {"v": np.ones((20, 1))}, out, 1.0, None, 0, update, True)
        means.append(out["h"].mean())
    assert abs(np.mean(means)) < 4.5 / np.sqrt(20 * 300)
