"""Gibbs sampling against enumerated distributions, over the whole catalogue.

Stationarity: chains start from exact draws of the oracle and make 1, 4 and 16 sweeps. Whatever the
mixing time, they must then still be exact draws, so their histogram may differ from the exact one
by Monte Carlo error alone. A wrong kernel drifts from the first sweep. A kernel that does nothing
also passes, so a second test starts every chain from one and the same state.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import oracles
import pytest
from catalogue import BY_NAME, CATALOGUE, LAYOUTS, TYPES
from scipy import special

import fastboltz as fb
from fastboltz import gibbs

every_entry = pytest.mark.parametrize("entry", CATALOGUE, ids=str)
N_CHAINS = 20_011  # a prime, so that no kernel's lanes come out even
Z_LIMIT = 4.5  # two-sided 7e-6 a deviate; this file looks at some 10^4 of them, of fixed seeds


def _values(state):
    return {name: np.asarray(x, dtype=float) for name, x in state.values.items()}


@cache
def _reference(name):
    entry = BY_NAME[name]
    return oracles.Reference(entry.machine, entry.parameters())


def _assert_exact_draws(entry, state, when):
    complaints = _reference(entry.name).complaints(state, Z_LIMIT)
    assert not complaints, f"{when}: {complaints}"


def _sweeps_over_edges(energy):
    return energy.groups and any(s.kind == "hyperedges" for s in fb.Gibbs(energy)._sites.values())


@every_entry
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
def test_sweeps_leave_exact_draws_exact(entry, dtype):
    """Deliberate bug that this catches: the field of the first block kept for the second.

    Also a lateral group drawn as a block, a lateral field of twice its size, a spin drawn at half
    its field, one uniform shared by two groups, and lanes that run past the last chain.
    """
    params = entry.parameters()
    exact = entry.machine.draw(params, N_CHAINS, np.random.default_rng(1))
    params = {key: value.astype(dtype) for key, value in params.items()}
    start = {name: x.astype(dtype) for name, x in exact.items()}
    sampler = fb.Gibbs(entry.energy, n_threads=1)
    state = sampler.init(params, n_chains=N_CHAINS, random_state=5, values=start)
    for name, x in start.items():
        np.testing.assert_array_equal(state.values[name], x)
    done = 0
    for n_sweeps in (1, 4, 16):
        state = sampler.step(params, state, n_steps=n_sweeps - done)
        done = n_sweeps
        _assert_exact_draws(entry, _values(state), f"{n_sweeps} sweeps")


@every_entry
def test_sweeps_find_the_distribution_from_one_and_the_same_state(entry):
    """Deliberate bug that this catches: a group never drawn, which stationarity cannot see."""
    params = entry.parameters()
    n = N_CHAINS // 3
    start = {name: np.repeat(x, n, axis=0) for name, x in entry.states(1, seed=9).items()}
    sampler = fb.Gibbs(entry.energy, n_threads=1)
    state = sampler.init(params, n_chains=n, random_state=6, values=start)
    state = sampler.step(params, state, n_steps=entry.sweeps)
    _assert_exact_draws(entry, _values(state), f"{entry.sweeps} sweeps from one state")


@pytest.mark.parametrize("entry", [e for e in CATALOGUE if len(e.groups) > 1], ids=str)
def test_a_clamped_group_stays_and_the_others_keep_their_conditional(entry):
    """Exact joint draws with one group held: the joint distribution stays exact.

    Deliberate bug that this catches: a clamped group that is redrawn, or left out of the others'
    fields.
    """
    params = entry.parameters()
    exact = entry.machine.draw(params, N_CHAINS, np.random.default_rng(2))
    for name in entry.groups:
        sampler = fb.Gibbs(entry.energy, clamp=(name,), n_threads=1)
        state = sampler.init(params, n_chains=N_CHAINS, random_state=7, values=exact)
        state = sampler.step(params, state, n_steps=3)
        values = _values(state)
        np.testing.assert_array_equal(
            values[name], exact[name].astype(np.asarray(state.values[name]).dtype)
        )
        _assert_exact_draws(entry, values, f"{name} clamped")


@pytest.mark.parametrize(
    ("name", "clamp"),
    [
        ("bernoulli-bernoulli", "v"),
        ("deep", "v"),
        ("class-gated", "y"),
        ("semi-restricted", "h"),
        ("gated", "x"),
    ],
)
def test_clamping_alone_reaches_the_conditional_distribution(name, clamp):
    """Values for the clamped group only: the others must reach p(others | clamped).

    Deliberate bug that this catches: a start value that is taken for the first chain and repeated.
    """
    entry = BY_NAME[name]
    params = entry.parameters()
    held = entry.states(2, seed=4)[clamp]
    held[1] = (
        1.0 - held[0] if entry.groups[clamp][0] == "bernoulli" else np.roll(held[0], 1, axis=-1)
    )
    n = 10_000
    x = np.tile(held, (n, 1))
    sampler = fb.Gibbs(entry.energy, clamp=(clamp,), n_threads=1)
    state = sampler.init(params, n_chains=2 * n, random_state=8, values={clamp: x})
    state = _values(sampler.step(params, state, n_steps=entry.sweeps))
    grid, _, _ = entry.machine.grid()
    log_p = -entry.machine.value(params, grid)
    for row in range(2):
        allowed = (grid[clamp] == held[row]).reshape(len(log_p), -1).all(axis=1)
        p = special.softmax(np.where(allowed, log_p, -np.inf))
        cells = entry.machine.code({group: y[row::2] for group, y in state.items()})
        assert oracles.total_variation(p, cells) < oracles.total_variation_bound(p, n)


@pytest.mark.parametrize(
    ("name", "group", "held"),
    [
        ("bernoulli-bernoulli", "v", [1.0, np.nan, 0.0]),
        ("spin-spin", "v", [np.nan, -1.0, 1.0]),
        ("categorical-bernoulli", "v", [[0.0, 1.0, 0.0], [np.nan, np.nan, np.nan]]),
        ("Boltzmann machine", "v", [1.0, np.nan, np.nan, 0.0, np.nan]),
        ("Potts", "z", [[np.nan] * 3, [0.0, 0.0, 1.0], [np.nan] * 3]),
        ("higher order, spins", "s", [np.nan, 1.0, np.nan, -1.0]),
        ("hyperedges", "s", [np.nan, np.nan, 1.0, np.nan]),
        ("point-wise gated", "v", [1.0, np.nan, 1.0]),
        ("deep", "v", [np.nan, 0.0, 1.0]),
    ],
)
def test_single_units_are_clamped_and_those_given_as_nan_are_free(name, group, held):
    """The units with a value stay; the others follow the distribution given those, exactly.

    Deliberate bug that this catches: free units drawn as if the clamped ones were free too, and
    written back after.
    """
    entry = BY_NAME[name]
    params = entry.parameters()
    held = np.array(held)
    n = N_CHAINS
    sampler = fb.Gibbs(entry.energy, clamp=(group,), n_threads=1)
    state = sampler.init(
        params, n_chains=n, random_state=9, values={group: np.broadcast_to(held, (n, *held.shape))}
    )
    assert not np.isnan(np.asarray(state.values[group])).any()
    state = _values(sampler.step(params, state, n_steps=entry.sweeps))
    fixed = ~np.isnan(held)
    np.testing.assert_array_equal(
        state[group][:, fixed], np.broadcast_to(held[fixed], (n, fixed.sum()))
    )
    grid, _, _ = entry.machine.grid()
    allowed = (grid[group][:, fixed] == held[fixed]).all(axis=1)
    p = special.softmax(np.where(allowed, -entry.machine.value(params, grid), -np.inf))
    distance = oracles.total_variation(p, entry.machine.code(state))
    assert distance < oracles.total_variation_bound(p, n)


def test_single_clamped_units_may_differ_from_chain_to_chain():
    """Chain 0, 2, ... hold unit 0; chain 1, 3, ... hold unit 2."""
    entry = BY_NAME["spin glass"]
    params = entry.parameters()
    n = 20_000
    held = np.full((2, 5), np.nan)
    held[0, 0], held[1, 2] = 1.0, -1.0
    sampler = fb.Gibbs(entry.energy, clamp=("s",), n_threads=1)
    state = sampler.init(
        params, n_chains=n, random_state=10, values={"s": np.tile(held, (n // 2, 1))}
    )
    state = _values(sampler.step(params, state, n_steps=entry.sweeps))
    grid, _, _ = entry.machine.grid()
    for row, (unit, value) in enumerate([(0, 1.0), (2, -1.0)]):
        p = special.softmax(
            np.where(grid["s"][:, unit] == value, -entry.machine.value(params, grid), -np.inf)
        )
        cells = entry.machine.code({"s": state["s"][row::2]})
        assert oracles.total_variation(p, cells) < oracles.total_variation_bound(p, n // 2)


@pytest.mark.parametrize(
    ("groups", "terms", "clamp"),
    [
        (
            {"v": ("bernoulli", (2,)), "z": ("categorical", (2, 3)), "h": ("bernoulli", (3, 2))},
            ["v_i z_ir h_rk", "z_ir v_i", "v_i h_rk"],
            ("h",),
        ),
        (
            {"v": ("bernoulli", (2,)), "z": ("categorical", (2, 2)), "h": ("bernoulli", (2,))},
            ["h_k v_i z_i0", "h_k z_ir"],
            ("h",),
        ),
        ({"v": ("spin", (2,)), "z": ("spin", (2,)), "h": ("spin", (2,))}, ["v_i z_i h_k"], ("h",)),
        ({"v": ("spin", (3,)), "h": ("bernoulli", (3,))}, ["v_i h_i"], ()),
    ],
    ids=["three components", "mask", "spins", "nothing else"],
)
def test_groups_that_meet_unit_by_unit_are_drawn_jointly(groups, terms, clamp):
    """One sweep from one and the same state is an exact draw of both groups given the others.

    At these couplings drawing one given the other stays near the start for many sweeps.
    Deliberate bugs that this catches: the second group's cumulant left out, or its bias; switches
    drawn given the old visible units; the first group's own terms forgotten.
    """
    machine = oracles.Machine(groups, terms)
    params = machine.random_parameters(np.random.default_rng(0), scale=5.0)
    energy = fb.Energy({g: TYPES[kind](*shape) for g, (kind, shape) in groups.items()}, terms)
    grid, _, _ = machine.grid()
    start = {g: np.repeat(x[-1:], N_CHAINS, axis=0) for g, x in grid.items()}
    sampler = fb.Gibbs(energy, clamp=clamp, n_threads=1)
    state = sampler.init(params, random_state=4, values=start)
    found = _values(sampler.step(params, state))
    allowed = np.ones(len(grid["v"]), bool)
    for g in clamp:
        allowed &= (grid[g] == grid[g][-1]).reshape(len(allowed), -1).all(axis=1)
    p = special.softmax(np.where(allowed, -machine.value(params, grid), -np.inf))
    distance = oracles.total_variation(p, machine.code(found))
    assert distance < oracles.total_variation_bound(p, N_CHAINS)


@pytest.mark.parametrize(
    "name", ["bernoulli-bernoulli", "semi-restricted", "gaussian-bernoulli", "class-gated"]
)
def test_chains_are_independent_of_each_other(name):
    """Covariance of neighbouring chains at equilibrium is zero within its standard error sd^2 /
    sqrt(n).

    Deliberate bug that this catches: uniforms addressed by unit alone, so that every chain takes
    the same draws.
    """
    entry = BY_NAME[name]
    params = entry.parameters()
    start = {group: np.repeat(x, N_CHAINS, axis=0) for group, x in entry.states(1).items()}
    sampler = fb.Gibbs(entry.energy, n_threads=1)
    state = sampler.init(params, n_chains=N_CHAINS, random_state=11, values=start)
    state = _values(sampler.step(params, state, n_steps=20))
    for x in state.values():
        flat = x.reshape(N_CHAINS, -1)
        flat = flat - flat.mean(axis=0)
        n = N_CHAINS // 2
        pairs = (flat[: 2 * n : 2] * flat[1 : 2 * n : 2]).mean(axis=0) / flat.var(axis=0)
        assert np.abs(pairs).max() < Z_LIMIT / np.sqrt(n)


def test_successive_sweeps_use_fresh_numbers():
    """With no coupling, two sweeps are independent: the correlation is 0 within 1 / sqrt(n).

    Deliberate bug that this catches: a step counter that does not enter the address of the
    uniforms.
    """
    entry = BY_NAME["no term at all"]
    params = entry.parameters()
    sampler = fb.Gibbs(entry.energy, n_threads=1)
    first = sampler.step(params, sampler.init(params, n_chains=N_CHAINS, random_state=0), n_steps=1)
    second = sampler.step(params, first, n_steps=1)
    assert second.step == first.step + 1
    for name in entry.groups:
        a, b = (np.asarray(s.values[name], float).reshape(N_CHAINS, -1) for s in (first, second))
        a, b = (y - y.mean(axis=0) for y in (a, b))
        correlation = (a.T @ b) / N_CHAINS / np.outer(a.std(axis=0), b.std(axis=0))
        assert np.abs(correlation).max() < Z_LIMIT / np.sqrt(N_CHAINS)


@pytest.mark.parametrize(
    "name", ["bernoulli-bernoulli", "semi-restricted", "Potts", "gaussian-relu"]
)
def test_the_same_seed_gives_the_same_chains_however_the_sweeps_are_cut(name):
    """step(3) is step(1) and step(2); another seed gives other chains; the state handed in is left
    as it was."""
    entry = BY_NAME[name]
    params = entry.parameters()
    sampler = fb.Gibbs(entry.energy, n_threads=1)
    start = sampler.init(params, n_chains=50, random_state=3)
    kept = {group: np.array(x) for group, x in start.values.items()}
    at_once = sampler.step(params, start, n_steps=3)
    in_two = sampler.step(params, sampler.step(params, start, n_steps=1), n_steps=2)
    other = sampler.step(params, sampler.init(params, n_chains=50, random_state=4), n_steps=3)
    assert at_once.step == in_two.step == start.step + 3
    for group, x in at_once.values.items():
        np.testing.assert_array_equal(x, in_two.values[group])
        np.testing.assert_array_equal(start.values[group], kept[group])
    assert any(not np.array_equal(x, other.values[group]) for group, x in at_once.values.items())


SITES = [
    ({"s": fb.Spin(9)}, ["s_a s_b"], ()),
    ({"s": fb.Bernoulli(9)}, [fb.Hyperedges("s", [(0, 1), (1, 2, 5), (3, 4, 6, 8)])], ()),
    ({"s": fb.Spin(9), "h": fb.Bernoulli(4)}, ["s_a s_b", "s_a h_j"], "h"),
    ({"s": fb.Bernoulli(9), "h": fb.Bernoulli(4)}, ["s_a s_b h_j", "s_a h_j"], "h"),
]


@pytest.mark.parametrize(("groups", "terms", "clamp"), SITES, ids=str)
@pytest.mark.parametrize("some_held", [False, True])
def test_sweeps_over_the_sites_of_a_group_that_moves_alone_are_one_call(
    groups, terms, clamp, some_held, monkeypatch
):
    """To the bytes of a call a sweep. Catches sweeps with the number of the first, units that are
    let go after it, and a state that does not say how many were made."""
    energy = fb.Energy(groups, terms)
    params = energy.init(random_state=0, scale=0.5)
    random = np.random.default_rng(1)
    values = {g: random.choice(unit.states(), (70, unit.size)) for g, unit in groups.items()}
    if some_held:
        values["s"][:, ::3] = np.where(random.random((70, 3)) < 0.5, np.nan, values["s"][:, ::3])
        clamp = (*clamp, "s")
    sampler = fb.Gibbs(energy, clamp=clamp, n_threads=1)
    state = sampler.init(params, values=values, random_state=3)
    many = state
    for _ in range(5):
        many = sampler.step(params, many, scale=0.7)
    made = []
    for name in ("sweep_dense", "sweep_hyperedges"):
        sweep = getattr(gibbs.site_gibbs, name)
        monkeypatch.setattr(
            gibbs.site_gibbs,
            name,
            lambda *a, _sweep=sweep, **how: made.append(how["n_sweeps"]) or _sweep(*a, **how),
        )
    once = sampler.step(params, state, 5, scale=0.7)
    assert made == [5]
    # Large ones are cut, for Ctrl-C: each is of two sweeps here.
    monkeypatch.setattr(gibbs, "_SITES_AT_ONCE", 2 * 70 * 9)
    cut = sampler.step(params, state, 5, scale=0.7)
    assert made == [5, 2, 2, 1]
    assert cut.address == many.address
    assert cut.values["s"].tobytes() == once.values["s"].tobytes()
    assert once.address == many.address
    assert set(once.clamped) == set(many.clamped)
    assert (once.values["s"] != state.values["s"]).any()
    for g, x in many.values.items():
        np.testing.assert_array_equal(once.values[g], x)


@pytest.mark.parametrize("kind", ["bernoulli", "spin"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
def test_groups_larger_than_a_vector_register_keep_their_moments(kind, dtype):
    """45 visible and 4 hidden units: exact draws by the 16 hidden states, all 45 summed out.

    Deliberate bug that this catches: a last, partly filled register whose units take the uniforms
    of the first.
    """
    rng = np.random.default_rng(3)
    n_v, n_h, n = 45, 4, 10_007
    b, c, w = rng.normal(size=n_v), rng.normal(size=n_h), 0.4 * rng.normal(size=(n_v, n_h))
    states = oracles.group_axes(kind, (n_h,))[0][0]
    low = 0.0 if kind == "bernoulli" else -1.0
    fields = b + states @ w.T
    p = special.softmax(states @ c + np.logaddexp(low * fields, fields).sum(axis=1))
    on = special.expit(fields * (1.0 - low))
    rows = rng.choice(len(p), size=n, p=p)
    v = np.where(rng.random((n, n_v)) < on[rows], 1.0, low)
    energy = fb.Energy({"v": TYPES[kind](n_v), "h": TYPES[kind](n_h)}, terms=["v_i h_j"])
    params = {key: x.astype(dtype) for key, x in {"v": b, "h": c, "v_i h_j": w}.items()}
    sampler = fb.Gibbs(energy, n_threads=1)
    start = {"v": v.astype(dtype), "h": states[rows].astype(dtype)}
    state = sampler.init(params, n_chains=n, random_state=1, values=start)
    mean_v = low + (1.0 - low) * on
    square_v = mean_v if kind == "bernoulli" else np.ones_like(mean_v)
    pair = np.einsum("s,si,sj->ij", p, mean_v, states)
    pair_square = np.einsum("s,si,sj->ij", p, square_v, states**2)
    for n_steps in (1, 7):
        state = sampler.step(params, state, n_steps=n_steps)
        x, h = (np.asarray(state.values[g], float) for g in "vh")
        z_v = (x.mean(axis=0) - p @ mean_v) / np.sqrt((p @ square_v - (p @ mean_v) ** 2) / n)
        z_pair = (x.T @ h / n - pair) / np.sqrt((pair_square - pair**2) / n)
        assert np.abs(z_v).max() < Z_LIMIT
        assert np.abs(z_pair).max() < Z_LIMIT


@pytest.mark.parametrize("name", ["bernoulli-bernoulli", "semi-restricted", "Potts", "relu-spin"])
def test_the_number_of_threads_does_not_change_one_bit(name):
    entry = BY_NAME[name]
    params = entry.parameters()
    found = []
    for n_threads in (1, 2, 5):
        sampler = fb.Gibbs(entry.energy, n_threads=n_threads)
        state = sampler.init(params, n_chains=1003, random_state=3)
        found.append(sampler.step(params, state, n_steps=3).values)
    for group in entry.groups:
        np.testing.assert_array_equal(found[0][group], found[1][group])
        np.testing.assert_array_equal(found[0][group], found[2][group])


@every_entry
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_memory_layout_of_arrays_changes_no_chain(entry, layout):
    """Start values are Fortran-ordered whenever they are cut out of a table by columns.

    Deliberate bug that this catches: site sweeps that write into a reshaped copy of the chains.
    """
    params, start = entry.parameters(), entry.states(33)
    sampler = fb.Gibbs(entry.energy, n_threads=1)

    def chains(params, values):
        state = sampler.init(params, n_chains=33, random_state=0, values=values)
        return sampler.step(params, state, n_steps=2).values

    expected = chains(params, start)
    moved = {name: LAYOUTS[layout](x) for name, x in start.items()}
    relaid = {key: LAYOUTS[layout](x) for key, x in params.items()}
    for found in (chains(params, moved), chains(relaid, start)):
        for name, x in expected.items():
            np.testing.assert_allclose(found[name], x, rtol=1e-12, atol=1e-12, err_msg=name)
    for name, x in entry.states(33).items():
        np.testing.assert_array_equal(start[name], x, err_msg=f"{name}: start values overwritten")


def test_a_one_hot_unit_of_which_some_entries_are_nan_is_refused_or_stays_one_hot():
    """Half a one-hot unit cannot be clamped: either a sentence, or the whole unit is free.

    Deliberate bug that this catches: entries written back one by one, which leaves two ones.
    """
    energy = fb.Energy({"z": fb.Categorical(2, 3)}, terms=["z_ir z_js"])
    params = energy.init(random_state=0)
    sampler = fb.Gibbs(energy, clamp=("z",))
    values = np.array([[[0.0, np.nan, 0.0], [np.nan] * 3]] * 50)
    try:
        state = sampler.init(params, random_state=0, values={"z": values})
    except ValueError as error:
        assert "'z'" in str(error)
        return
    z = sampler.step(params, state, n_steps=2).values["z"]
    np.testing.assert_array_equal(z.sum(axis=-1), 1.0)


@pytest.mark.parametrize("entry", [e for e in CATALOGUE if _sweeps_over_edges(e.energy)], ids=str)
def test_an_order_by_colours_leaves_exact_draws_exact_and_finds_the_distribution(entry):
    """Deliberate bug that this catches: the place of a unit taken for its number, a unit left out.

    The order is one of colours: no edge has two units between which the colour does not change.
    """
    params = entry.parameters()
    sampler = fb.Gibbs(entry.energy, n_threads=1, site_order="colors")
    for sites in sampler._sites.values():
        assert sorted(sites.order) == list(range(sites.unit.size))
    exact = entry.machine.draw(params, N_CHAINS, np.random.default_rng(1))
    state = sampler.init(params, n_chains=N_CHAINS, random_state=5, values=exact)
    _assert_exact_draws(entry, _values(sampler.step(params, state, 3)), "exact draws, 3 sweeps")
    same = {name: np.repeat(x[:1], N_CHAINS, axis=0) for name, x in exact.items()}
    state = sampler.init(params, n_chains=N_CHAINS, random_state=6, values=same)
    _assert_exact_draws(entry, _values(sampler.step(params, state, 300)), "one state, 300 sweeps")


def test_an_order_by_colours_is_that_of_a_lattice_and_the_same_for_any_threads():
    """A lattice of 64 x 64 has two colours. Catches colours that the sweeps do not follow."""
    site = np.arange(4096).reshape(64, 64)
    pairs = [np.stack([site, np.roll(site, -1, axis=a)], axis=-1).reshape(-1, 2) for a in (0, 1)]
    energy = fb.Energy({"s": fb.Spin(4096)}, [fb.Hyperedges("s", np.concatenate(pairs))])
    params = energy.init(random_state=0)
    (name,) = (t.name for t in energy.terms)
    params[name] = np.full_like(params[name], 0.4)
    sampler = fb.Gibbs(energy, site_order="colors")
    order = sampler._sites["s"].order
    assert (np.add(*np.divmod(order, 64)) % 2 == np.repeat([0, 1], 2048)).all()
    found = []
    for n_threads, site_order in ((1, "colors"), (4, "colors"), (1, "index")):
        sampler = fb.Gibbs(energy, n_threads=n_threads, site_order=site_order)
        state = sampler.init(params, n_chains=1, random_state=0)
        found.append(sampler.step(params, state, n_steps=8).values["s"].tobytes())
    assert found[0] == found[1] != found[2]


def test_an_unknown_order_of_sites_is_refused():
    with pytest.raises(ValueError, match="site_order"):
        fb.Gibbs(BY_NAME[CATALOGUE[0].name].energy, site_order="colour")


@pytest.mark.parametrize("n", [40, 1024, 2500])
def test_biases_of_rows_that_are_known_change_no_draw(n):
    """Sweeps with a group held, some rows at a time. Catches biases of other rows, and those of
    another temperature."""
    random = np.random.default_rng(0)
    groups = {"v": fb.Bernoulli(70), "h": fb.Bernoulli(60), "u": fb.Gaussian(9)}
    energy = fb.Energy(groups, ["h_j v_i", "h_j u_r", "v_i u_r"])
    params = energy.init(0, 0.3)
    held = {"u": random.standard_normal((n, 9)).astype(np.float32)}
    sampler = fb.Gibbs(energy, clamp=("u",), n_threads=1)
    start = sampler.init(params, n_chains=n, random_state=1, values=held)
    known = sampler.fixed(params, start.values, ("u",))
    for scale in (1.0, 0.4):
        for group in ("v", "h"):
            known[group].row_bias(params[group], scale, 1)
        fresh = sampler.fixed(params, start.values, ("u",))
        ends = [
            sampler.step(params, start, 3, scale=scale, fixed=fixed) for fixed in (known, fresh)
        ]
        for group in ("v", "h"):
            assert np.array_equal(ends[0].values[group], ends[1].values[group])


@pytest.mark.parametrize(
    ("unit", "x", "sentence"),
    [
        (fb.Bernoulli(2), 2.0, "or declare the group as fastboltz.Gaussian."),
        (fb.Bernoulli(2), 255.0, "Divide by 255, or declare the group as fastboltz.Gaussian."),
        (fb.ReLU(2), -1.0, "Declare the group as fastboltz.Gaussian for data of both signs."),
        (fb.Spin(2), 2.0, "or declare the group as fastboltz.Bernoulli."),
        (fb.Spin(2), np.eye(2), "or declare the group as fastboltz.Bernoulli."),
    ],
)
def test_values_out_of_range_are_told_of_with_what_a_declaration_can_do(unit, x, sentence):
    """Deliberate bug that this catches: an argument named that there is not."""
    energy = fb.Energy({"v": unit, "h": fb.Bernoulli(2)}, terms=["v_i h_j"])
    values = {"v": np.broadcast_to(x, (2, 2))}
    with pytest.raises(
        ValueError, match="^state 'v' (has values in|holds).*" + re.escape(sentence)
    ):
        fb.Gibbs(energy).init(energy.init(random_state=0), values=values)


def test_values_an_ulp_beyond_the_end_start_at_the_end():
    energy = fb.Energy({"v": fb.Bernoulli(2), "h": fb.Bernoulli(2)}, terms=["v_i h_j"])
    values = {"v": np.full((1, 2), np.nextafter(1, 2))}
    params = energy.init(random_state=0, dtype=np.float64)
    state = fb.Gibbs(energy).init(params, values=values)
    assert (state.values["v"] == 1).all()


def test_a_step_from_what_is_no_state_gets_a_sentence():
    energy = fb.Energy({"v": fb.Bernoulli(2), "h": fb.Bernoulli(2)}, terms=["v_i h_j"])
    params = energy.init(random_state=0)
    with pytest.raises(TypeError, match=r"^state is of type dict, but step goes on with a Chain"):
        fb.Gibbs(energy).step(params, {"v": np.zeros((3, 2))})
