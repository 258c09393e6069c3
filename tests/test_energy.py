"""Everything that is derived from a declaration, over the whole catalogue."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
from catalogue import BY_NAME, CATALOGUE, LAYOUTS

import fastboltz as fb

every_entry = pytest.mark.parametrize("entry", CATALOGUE, ids=str)
N_ROWS = 7


# --------------------------------------------------------------------------------------- parameters


@every_entry
def test_parameters_have_the_declared_keys_and_shapes(entry):
    assert dict(entry.energy.parameter_shapes()) == entry.machine.parameter_shapes()
    params = entry.energy.init(random_state=0, scale=0.1)
    assert {key: value.shape for key, value in params.items()} == entry.machine.parameter_shapes()


@every_entry
def test_init_gives_weights_with_the_symmetry_of_their_term_and_zero_biases(entry):
    """Catches a lateral weight array that is not symmetric, or not zero where two slots meet one
    unit."""
    params = entry.energy.init(random_state=3, scale=0.1, dtype=np.float64)
    for key, array in params.items():
        assert array.dtype == np.float64
        if key.partition(".")[0] in entry.groups:
            assert not array.any(), f"{key} does not start at zero"
            continue
        independent = entry.machine.directions(key)
        rebuilt = sum(array[position] * direction for position, direction in independent)
        np.testing.assert_allclose(array, rebuilt, rtol=1e-13, atol=0.0)
        assert all(array[position] != 0 for position, _ in independent)
    again = entry.energy.init(random_state=3, scale=0.1, dtype=np.float64)
    other = entry.energy.init(random_state=4, scale=0.1, dtype=np.float64)
    assert all(np.array_equal(params[key], again[key]) for key in params)
    assert not entry.terms or any(not np.array_equal(params[key], other[key]) for key in params)


@pytest.mark.parametrize("term", ["v_i h_j", "v_i v_j", "v_i v_j v_k"])
def test_init_draws_weights_of_the_asked_scale(term):
    """Catches a lateral array whose symmetrisation shrinks it: (A + A') / 2 has variance 1/2.

    With n independent weights the mean square has standard deviation scale^2 sqrt(2/n).
    """
    energy = fb.Energy({"v": fb.Bernoulli(24), "h": fb.Bernoulli(30)}, terms=[term, "v_i h_k"])
    w = energy.init(random_state=0, scale=0.3)[term]
    independent = w[np.triu_indices(24, 1)] if term == "v_i v_j" else w.ravel()
    if term == "v_i v_j v_k":
        independent = np.array([w[a, b, c] for a, b, c in itertools.combinations(range(24), 3)])
    n = independent.size
    assert abs(np.mean(independent**2) / 0.09 - 1) < 4.5 * np.sqrt(2 / n)
    assert abs(independent.mean()) < 4.5 * 0.3 / np.sqrt(n)


# -------------------------------------------------------------------------------------------- value


@every_entry
def test_value_is_the_energy_of_the_definition(entry):
    """Catches a lateral pair counted twice, index letters bound to the wrong axes, and a lost base
    energy."""
    params, state = entry.parameters(), entry.states(N_ROWS)
    np.testing.assert_allclose(
        entry.energy.value(params, state),
        entry.machine.value(params, state),
        rtol=1e-11,
        atol=1e-11,
    )


@every_entry
def test_value_of_every_single_state_where_states_are_finite(entry):
    """Random rows may miss a combination; all states cannot."""
    if entry.continuous:
        names = [name for name in entry.groups if name not in entry.continuous]
        state, _, _ = entry.machine.grid(names)
        n = len(next(iter(state.values()))) if state else 50
        state.update({name: entry.states(n)[name] for name in entry.continuous})
    else:
        state, _, _ = entry.machine.grid()
    params = entry.parameters(seed=1)
    np.testing.assert_allclose(
        entry.energy.value(params, state),
        entry.machine.value(params, state),
        rtol=1e-11,
        atol=1e-11,
    )


# -------------------------------------------------------------------------------------------- field


@every_entry
def test_field_is_the_difference_of_two_energies(entry):
    """Set one entry to 1 and to 0; what the energy falls by, the base energy aside, is its field.

    Catches a lateral field of twice or half its size, and a unit that acts on itself.
    """
    params, state = entry.parameters(), entry.states(N_ROWS)
    for name in entry.groups:
        found = entry.energy.field(params, state, name)
        assert found.shape == state[name].shape
        np.testing.assert_allclose(
            found, entry.machine.field(params, state, name), rtol=1e-10, atol=1e-11
        )


@every_entry
def test_field_agrees_with_the_library_s_own_value(entry):
    """The same from the inside: value and field of the library may not drift apart."""
    params, state = entry.parameters(), entry.states(N_ROWS)
    for name, (kind, shape) in entry.groups.items():
        found = entry.energy.field(params, state, name)
        for position in np.ndindex(*shape):
            unit = (
                (slice(None), *position[:-1]) if kind == "categorical" else (slice(None), *position)
            )
            entries = (slice(None), *position)
            off = {**state, name: state[name].copy()}
            off[name][unit] = 0.0
            on = {**state, name: off[name].copy()}
            on[name][entries] = 1.0
            difference = entry.energy.value(params, off) - entry.energy.value(params, on)
            base = entry.machine.base(params, off, [name]) - entry.machine.base(params, on, [name])
            np.testing.assert_allclose(found[entries], difference - base, rtol=1e-9, atol=1e-10)


@every_entry
def test_field_of_a_factorial_group_needs_no_state_of_that_group(entry):
    params, state = entry.parameters(), entry.states(N_ROWS)
    for name in set(entry.groups) - set(entry.lateral):
        without = {other: x for other, x in state.items() if other != name}
        if without and any(entry.neighbours(name, other) for other in without):
            np.testing.assert_array_equal(
                entry.energy.field(params, without, name), entry.energy.field(params, state, name)
            )


# --------------------------------------------------------------------------------------- statistics


def _slope(machine, params, key, direction, state, weights, step=1e-5):
    """Return minus the averaged directional derivative of the oracle's energy."""
    up, down = (
        {**params, key: params[key] + step * direction},
        {**params, key: params[key] - step * direction},
    )
    return np.average(machine.value(down, state) - machine.value(up, state), weights=weights) / (
        2 * step
    )


@every_entry
@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
def test_statistics_are_the_slope_of_the_energy_in_each_parameter(entry, weighted):
    """Each independent parameter is moved by itself, wherever it stands in its array.

    Catches a lateral statistic of half its size, weights that are not normalised, and a factor's
    chain rule that leaves one of the other factors out. The energy is linear or bilinear in most
    parameters, so the slopes are exact up to rounding: 1e-15 |E| / step.
    """
    params, state = entry.parameters(), entry.states(N_ROWS)
    weights = np.random.default_rng(2).uniform(0.5, 3.0, N_ROWS) if weighted else None
    found = entry.energy.statistics(params, state, weights=weights)
    assert {key: value.shape for key, value in found.items()} == entry.machine.parameter_shapes()
    for key, array in found.items():
        rebuilt = np.zeros(array.shape)
        for position, direction in entry.machine.directions(key):
            slope = _slope(entry.machine, params, key, direction, state, weights)
            assert array[position] == pytest.approx(slope, rel=1e-7, abs=1e-8), (key, position)
            rebuilt += array[position] * direction
        np.testing.assert_allclose(
            array, rebuilt, rtol=1e-12, atol=1e-14, err_msg=f"{key}: not symmetric"
        )


# -------------------------------------------------------------------------------------- free energy


@every_entry
def test_free_energy_is_the_enumerated_marginal(entry):
    """For each group that can be summed out: -log sum_h exp(-E) over all its states, or the
    integral.

    Catches softplus with the wrong field, log 2 cosh without the 2, and a Gaussian integral without
    its constant.
    """
    params, state = entry.parameters(), entry.states(N_ROWS)
    for name in entry.groups:
        if name in entry.lateral:
            continue
        given = {other: x for other, x in state.items() if other != name}
        if not given:
            continue
        expected = -entry.machine.log_partition(params, given)
        found = entry.energy.free_energy(params, given, name)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=f"without {name}")


@every_entry
def test_free_energy_of_several_groups_that_never_meet_is_the_enumerated_marginal(entry):
    params, state = entry.parameters(), entry.states(N_ROWS)
    plain = [name for name in entry.groups if name not in entry.lateral]
    for names in itertools.combinations(plain, 2):
        if entry.neighbours(*names) or len(names) == len(entry.groups):
            continue
        given = {other: x for other, x in state.items() if other not in names}
        expected = -entry.machine.log_partition(params, given)
        np.testing.assert_allclose(
            entry.energy.free_energy(params, given, names), expected, rtol=1e-9, atol=1e-9
        )


# ------------------------------------------------------------------------------------- conditionals


@every_entry
def test_conditionals_say_what_was_worked_out_by_hand(entry):
    """Catches a group with a lateral term drawn as a block, and two groups of one term drawn at the
    same time."""
    report = entry.energy.conditionals()
    assert dict(report.factorial) == {name: name not in entry.lateral for name in entry.groups}
    assert set(report.site_sweeps) == set(entry.lateral)
    assert set(report.summable) == set(entry.groups) - set(entry.lateral)
    assert sorted(itertools.chain.from_iterable(report.blocks)) == sorted(entry.groups)
    assert len(report.blocks) == entry.n_blocks
    for block in report.blocks:
        for a, b in itertools.combinations(block, 2):
            assert not entry.neighbours(a, b)
    text = str(report)
    assert all(name in text for name in entry.groups)


# ---------------------------------------------------------------------------------- memory


@every_entry
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_memory_layout_of_arrays_changes_no_answer(entry, layout):
    """Catches an accumulation into a reshaped copy, which a Fortran-ordered array brings out."""
    params, state = entry.parameters(), entry.states(N_ROWS)

    def answers(params, state):
        out = [entry.energy.value(params, state), *entry.energy.statistics(params, state).values()]
        out += [entry.energy.field(params, state, name) for name in entry.groups]
        for name in set(entry.groups) - set(entry.lateral):
            given = {other: x for other, x in state.items() if other != name}
            if given:
                out.append(entry.energy.free_energy(params, given, name))
        return out

    relaid = {key: LAYOUTS[layout](x) for key, x in params.items()}
    for found, expected in zip(answers(relaid, state), answers(params, state), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    moved = {name: LAYOUTS[layout](x) for name, x in state.items()}
    for found, expected in zip(answers(params, moved), answers(params, state), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------- by hand


B, C, G = fb.Bernoulli, fb.Categorical, fb.Gaussian


@pytest.mark.parametrize(
    ("groups", "terms", "shared", "small_first"),
    [
        # v and h see whole groups of each other: no joint draw.
        ({"v": B(784), "h": B(500)}, ["v_i h_j"], set(), set()),
        ({"v": B(90), "h": B(80), "g": B(70)}, ["v_i h_j", "h_j g_k"], set(), set()),
        ({"x": B(90), "y": B(80), "h": B(70)}, ["x_i y_j h_k"], set(), set()),
        ({"x": B(90), "y": B(80), "h": B(70)}, ["x_i y_j h_k | 30"], set(), set()),
        # Labels: draw y with the other group summed out, then that group. y never meets v here.
        ({"v": B(90), "h": B(80), "y": C(10)}, ["v_i h_j", "y_k h_j"], set(), {("y", "h")}),
        # Here y meets both: (y, h) given v, and (y, v) given h.
        ({"v": B(90), "h": B(80), "y": C(10)}, ["v_i h_j y_k"], set(), {("y", "h"), ("y", "v")}),
        (
            {"v": B(90), "h": B(80), "g": B(70), "y": C(10)},
            ["v_i h_j y_k", "v_i g_m"],
            set(),
            {("y", "h"), ("y", "v")},
        ),
        # Given h, unit v_i meets the switch z_i alone; given v, every z meets every h.
        ({"v": B(90), "z": C(90, 2), "h": B(2, 70)}, ["v_i z_ir h_rk"], {("v", "z")}, set()),
        ({"v": G(90), "z": C(90, 2), "h": B(2, 70)}, ["v_i z_ir h_rk"], {("v", "z")}, set()),
        ({"v": B(90), "h": B(90)}, ["v_i h_i"], {("h", "v")}, set()),
        # A second term that holds other units of the pair ends it.
        ({"v": B(90), "h": B(90)}, ["v_i h_i", "v_i h_j"], set(), set()),
        # As does a lateral term: the units of v are no longer independent of each other.
        ({"v": B(90), "h": B(90)}, ["v_i h_i", "v_i v_j"], set(), set()),
        ({"y": C(10), "h": B(80)}, ["y_k h_j", "h_i h_j"], set(), set()),
    ],
)
def test_conditionals_say_which_groups_can_be_drawn_jointly(groups, terms, shared, small_first):
    """Worked by hand at sizes where nothing but a label is small.

    Catches a joint draw claimed for groups that meet at several units, which would be wrong, and
    one that is missed.
    """
    joint = fb.Energy(groups, terms=terms).conditionals().joint
    assert {kind for _, kind in joint} <= {"shared index", "small first"}
    found = {tuple(sorted(pair)) for pair, kind in joint if kind == "shared index"}
    assert found == shared
    assert {pair for pair, kind in joint if kind == "small first"} == small_first


def test_letters_bind_to_axes_by_their_place_in_the_string():
    """Worked by hand: 'v_ij h_ki' multiplies v[i, j] with h[k, i] and its weights have axes i, j,
    k."""
    energy = BY_NAME["two axes, crossed letters"].energy
    params = {
        "v": np.zeros((2, 3)),
        "h": np.zeros((2, 2)),
        "v_ij h_ki": np.arange(12.0).reshape(2, 3, 2),
    }
    v, h = np.zeros((1, 2, 3)), -np.ones((1, 2, 2))
    v[0, 1, 2] = 1.0  # i = 1, j = 2
    h[0, 0, 1] = 1.0  # k = 0, i = 1; the other spin of i = 1 is h[1, 1] = -1
    assert energy.value(params, {"v": v, "h": h})[0] == -(
        params["v_ij h_ki"][1, 2, 0] - params["v_ij h_ki"][1, 2, 1]
    )


def test_a_lateral_pair_counts_once():
    """Worked by hand: two spins, W = [[0, 2], [2, 0]], s = (1, -1): E = -2 * 1 * -1 = 2, and each
    feels -2 and 2."""
    energy = fb.Energy({"s": fb.Spin(2)}, terms=["s_a s_b"])
    params = {"s": np.zeros(2), "s_a s_b": np.array([[0.0, 2.0], [2.0, 0.0]])}
    state = {"s": np.array([[1.0, -1.0]])}
    assert energy.value(params, state)[0] == 2.0
    np.testing.assert_array_equal(energy.field(params, state, "s"), [[-2.0, 2.0]])
    np.testing.assert_array_equal(
        energy.statistics(params, state)["s_a s_b"], [[0.0, -1.0], [-1.0, 0.0]]
    )


def test_a_lateral_triple_counts_once():
    """Worked by hand: three units that are on, W = 5 in all six orders: E = -5."""
    energy = fb.Energy({"s": fb.Bernoulli(3)}, terms=["s_a s_b s_c"])
    w = np.zeros((3, 3, 3))
    for order in itertools.permutations(range(3)):
        w[order] = 5.0
    state = {"s": np.ones((1, 3))}
    assert energy.value({"s": np.zeros(3), "s_a s_b s_c": w}, state)[0] == -5.0
    np.testing.assert_array_equal(
        energy.field({"s": np.zeros(3), "s_a s_b s_c": w}, state, "s"), [[5.0, 5.0, 5.0]]
    )


def test_float32_parameters_and_states_keep_the_energy_within_single_precision():
    """A sum of m terms of size one in single precision errs by less than m * 2^-24."""
    entry = BY_NAME["class-gated"]
    params, state = entry.parameters(), entry.states(N_ROWS)
    low = {key: value.astype(np.float32) for key, value in params.items()}
    found = entry.energy.value(low, {name: x.astype(np.float32) for name, x in state.items()})
    exact = entry.machine.value({key: value.astype(float) for key, value in low.items()}, state)
    size = sum(np.abs(value).sum() for value in low.values())
    assert np.abs(found - exact).max() < size * 2.0**-23


def test_the_oracle_s_own_statistics_agree_with_its_energy():
    """The oracle has to earn its trust: its statistics against slopes of its energy, for every
    entry."""
    for entry in CATALOGUE:
        params, state = entry.parameters(), entry.states(3)
        found = entry.machine.statistics(params, state)
        for key in entry.machine.parameter_shapes():
            for position, direction in entry.machine.directions(key):
                slope = _slope(entry.machine, params, key, direction, state, None)
                assert found[key][position] == pytest.approx(slope, rel=1e-7, abs=1e-8), (
                    entry.name,
                    key,
                )


def test_the_oracle_s_quadrature_agrees_with_a_closed_form():
    """A Gaussian-Gaussian machine is a normal distribution: log Z from its precision matrix."""
    entry = BY_NAME["gaussian-gaussian"]
    params = entry.parameters()
    w = params["v_i h_j"]
    precision = np.diag(
        np.exp(np.concatenate([params["v.log_precision"], params["h.log_precision"]]))
    )
    precision[:2, 2:] = -w
    precision[2:, :2] = -w.T
    linear = np.concatenate([params["v"], params["h"]])
    expected = 0.5 * linear @ np.linalg.solve(precision, linear) + 1.5 * np.log(2 * np.pi)
    expected -= 0.5 * np.linalg.slogdet(precision)[1]
    assert entry.machine.log_partition(params) == pytest.approx(expected, rel=1e-12)
    assert oracles.total_variation(np.array([0.5, 0.5]), np.array([0, 0, 0, 1])) == 0.25
