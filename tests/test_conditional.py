"""p(y | v) with hidden units summed out: what it is, what it costs, and sums of such criteria over
rows of which some have no label."""

from __future__ import annotations

import re

import numpy as np
import oracles
import pytest
from catalogue import BY_NAME, CATALOGUE
from test_objectives import _assert_gradient, _likelihood, _objective

import fastboltz as fb
from fastboltz import enumeration, products, terms

LABELLED = [e for e in CATALOGUE if any("y" in of and given for of, given in e.criteria)]
FINITE = [
    pytest.param(e, of, given, id=f"{e}: p({','.join(of)} | {','.join(given)})")
    for e in CATALOGUE
    if e.enumerable
    for of, given in e.criteria
    if given and not set(of) & set(e.continuous)
]
N_ROWS = 5


def _log_p(entry, params, data, of, given):
    """log p(of | given) of every state of `of`, (n_rows, n_states), and those states."""
    states = oracles.Machine({g: entry.groups[g] for g in of}, []).grid()[0]
    n = len(states[of[0]])
    columns = [
        entry.machine.log_partition(
            params,
            {g: data[g] for g in given}
            | {g: np.repeat(states[g][k : k + 1], N_ROWS, 0) for g in of},
        )
        for k in range(n)
    ]
    rest = entry.machine.log_partition(params, {g: data[g] for g in given})
    return np.stack(columns, axis=1) - rest[:, None], states


def _numbers(energy, of, states):
    return enumeration.state_numbers(energy, [g for g in energy.groups if g in of], states)


# ----------------------------------------------------------------------------- what it answers


def _can_list(entry, of, given):
    hidden = [g for g in entry.groups if g not in (*of, *given)]
    return entry.energy.part(of, given).is_independent(
        [g for g in hidden if g in entry.energy.part(of, given).groups]
    )


@pytest.mark.parametrize(("entry", "of", "given"), FINITE)
def test_log_probabilities_are_those_of_enumeration(entry, of, given):
    """Deliberate bugs that this catches: a label's own bias left out, states and rows exchanged
    where their numbers are equal, a field of all labels given to each."""
    params, data = entry.parameters(), entry.states(N_ROWS, seed=3)
    known = {g: data[g] for g in given}
    if not _can_list(entry, of, given):
        with pytest.raises(ValueError, match="cannot be enumerated over"):
            entry.energy.log_probabilities(params, of, known)
        return
    expected, states = _log_p(entry, params, data, of, given)
    found = entry.energy.log_probabilities(params, of, known)
    order = _numbers(entry.energy, of, states)
    assert sorted(order) == list(range(found.shape[1]))
    np.testing.assert_allclose(found[:, order], expected, rtol=1e-9, atol=1e-9)


def test_columns_of_a_single_label_are_its_states_in_order():
    entry = BY_NAME["class RBM"]
    params, data = entry.parameters(), entry.states(N_ROWS)
    found = entry.energy.log_probabilities(params, "y", {"v": data["v"]})
    for k in range(3):
        state = {"v": data["v"], "y": np.eye(3)[[k] * N_ROWS]}
        alone = entry.energy.log_partition(params, state) - entry.energy.log_partition(
            params, {"v": data["v"]}
        )
        np.testing.assert_allclose(found[:, k], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 60, 300])
@pytest.mark.parametrize(("entry", "of", "given"), FINITE)
def test_answers_do_not_depend_on_how_rows_and_states_are_cut(entry, of, given, chunk, monkeypatch):
    """Deliberate bug that this catches: a block's states added with the weights of another."""
    if not _can_list(entry, of, given):
        pytest.skip("its hidden groups cannot be summed out together")
    params, data = entry.parameters(), entry.states(7, seed=4)
    given_data = {g: data[g] for g in given}
    part = entry.energy.part(of, given)
    own = {key: params[key] for key in part.parameter_shapes()}
    known = {g: x for g, x in given_data.items() if g in part.groups}

    def answers():
        e = enumeration.Enumeration(part, own, known, listed=of)
        hidden = e.split.summed
        return [e.log_probabilities(), e.log_partition(), *e.moments().values()] + [
            e.mean(g) for g in hidden
        ]

    expected = answers()
    gradient = _objective(entry, _likelihood(of, given)).gradient(params, data)
    monkeypatch.setattr(enumeration, "_CHUNK_ENTRIES", chunk)
    monkeypatch.setattr(enumeration, "_SLAB_ENTRIES", max(1, chunk // 20))
    for a, b in zip(answers(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    again = _objective(entry, _likelihood(of, given)).gradient(params, data)
    for key, x in gradient.items():
        np.testing.assert_allclose(again[key], x, rtol=1e-8, atol=1e-11, err_msg=key)


@pytest.mark.parametrize("entry", LABELLED, ids=str)
def test_dense_terms_taken_apart_by_state_equal_every_pair_looked_at(entry, monkeypatch):
    """Both ways of a term that holds given, listed and summed groups."""
    params, data = entry.parameters(), entry.states(7, seed=4)
    of, given = next(c for c in entry.criteria if "y" in c[0] and c[1])
    objective = _objective(entry, _likelihood(of, given))
    expected = objective.gradient(params, data)
    monkeypatch.setattr(terms, "_FEW_STATES", 0)
    for key, x in objective.gradient(params, data).items():
        np.testing.assert_allclose(x, expected[key], rtol=1e-9, atol=1e-12, err_msg=key)


def test_expected_hidden_units_with_the_label_summed_out():
    entry = BY_NAME["class-gated"]
    params, data = entry.parameters(), entry.states(N_ROWS)
    listing = enumeration.Enumeration(entry.energy, params, {"v": data["v"]}, listed=("y",))
    found = listing.mean("h")
    for row in range(N_ROWS):
        moments = entry.machine.moments(params, {"v": data["v"][row : row + 1]})
        np.testing.assert_allclose(found[row], moments["h"], rtol=1e-9)


def test_labels_that_are_probabilities_take_two_phases():
    """They are no state; the gradient is that of both phases with them as they are."""
    entry = BY_NAME["class RBM"]
    params, data = entry.parameters(), entry.states(N_ROWS)
    soft = {"v": data["v"], "y": np.full((N_ROWS, 3), 1 / 3)}
    found = _objective(entry, _likelihood(("y",), ("v",))).gradient(params, soft)
    held = entry.machine.moments(params, soft)
    free = entry.machine.moments(params, {"v": data["v"]})
    for key, x in found.items():
        np.testing.assert_allclose(x, held[key] - free[key], rtol=1e-8, atol=1e-10, err_msg=key)


# ---------------------------------------------------------------------------------- what it costs


def _multiplications(monkeypatch, call):
    """Multiplications inside matrix products while a call runs."""
    count = []

    class Counting:
        def __getattr__(self, name):
            return getattr(kernels, name)

        @staticmethod
        def product(x, w, out, **options):
            count.append(x.shape[0] * w.size)
            return kernels.product(x, w, out, **options)

        @staticmethod
        def outer(x, y, out, **options):
            count.append(x.shape[0] * out.size)
            return kernels.outer(x, y, out, **options)

    kernels = terms.layers
    with monkeypatch.context() as patch:
        for module in (terms, products):
            patch.setattr(module, "layers", Counting())
        call()
    return sum(count)


@pytest.mark.parametrize(
    ("declared", "cost"),
    [
        # rows: one product V H; states: C (labels) times C H, whatever the number of rows
        (["h_j v_i", "h_j y_k"], lambda n, v, h, c: n * v * h + c * c * h),
        (["y_k h_j v_i"], lambda n, v, h, c: n * v * h * c),
        (
            ["y_k h_j v_i | 6"],
            lambda n, v, h, c: n * v * 6 + c * c * 6 + n * c * h * 6,
        ),
        (["h_j v_i", "h_j y_k", "g_m v_i"], lambda n, v, h, c: n * v * h + c * c * h),
    ],
    ids=["class RBM", "class-gated", "class-gated, factored", "two hidden groups"],
)
def test_labels_share_what_does_not_depend_on_them(declared, cost, monkeypatch):
    """The class RBM is O(V H + C H) a row, the class-gated machine O(V H C), and hidden units that
    never meet the label cost nothing. Deliberate bug that this catches: the field of h computed
    once for each label."""
    n, v, h, c = 30, 40, 20, 10
    groups = {"v": fb.Bernoulli(v), "h": fb.Bernoulli(h), "y": fb.Categorical(c)}
    if any("g_m" in t for t in declared):
        groups["g"] = fb.Bernoulli(1000)
    energy = fb.Energy(groups, declared)
    params = energy.init(random_state=0)
    rng = np.random.default_rng(0)
    data = {
        "v": rng.random((n, v), dtype=np.float32),
        "y": np.eye(c, dtype=np.float32)[rng.integers(0, c, n)],
    }
    predict = _multiplications(
        monkeypatch, lambda: energy.log_probabilities(params, "y", {"v": data["v"]})
    )
    assert predict == cost(n, v, h, c)
    likelihood = fb.objectives.LogLikelihood("y", "v", negative="exact")
    objective = fb.objectives.Objective(energy, likelihood, n_threads=1)
    update = _multiplications(monkeypatch, lambda: objective.gradient(params, data))
    factors = 3 if "|" in declared[0] else 2  # a factored term projects for each slot
    assert update <= factors * cost(n, v, h, c) + 1000


def test_groups_that_cancel_are_left_out():
    entry = BY_NAME["two hidden groups"]
    part = entry.energy.part(("y",), ("v",))
    assert set(part.groups) == {"v", "h", "y"}
    assert [t.name for t in part.terms] == ["v_i h_j y_k"]
    assert entry.energy.part(("v", "y")) is entry.energy
    params, data = entry.parameters(), entry.states(N_ROWS)
    gradient = _objective(entry, _likelihood(("y",), ("v",))).gradient(params, data)
    for key in ("g", "v_i g_m", "v"):
        assert not gradient[key].any(), key


def test_what_is_given_may_not_matter_at_all():
    """y meets nothing: p(y | v) = p(y) for every row."""
    energy = fb.Energy({"v": fb.Bernoulli(3), "y": fb.Categorical(2)}, [])
    params = {"v": np.zeros(3), "y": np.array([0.0, np.log(3.0)])}
    data = {"v": np.zeros((4, 3)), "y": np.eye(2)[[0, 1, 1, 1]]}
    found = energy.log_probabilities(params, "y", {"v": data["v"]})
    np.testing.assert_allclose(np.exp(found), [[0.25, 0.75]] * 4, rtol=1e-12)
    likelihood = fb.objectives.LogLikelihood("y", "v", negative="exact")
    gradient = fb.objectives.Objective(energy, likelihood).gradient(params, data)
    np.testing.assert_allclose(gradient["y"], 0, atol=1e-12)


# --------------------------------------------------------------- rows of which some lack a label

ALPHA, BETA = 0.3, 0.7


def _semi_supervised(entry, weights=None):
    """Objective, data of which rows 1 and 4 have no label, and the enumerated objective."""
    data = {g: x for g, x in entry.states(6, seed=5).items() if g in ("v", "y")}
    data["y"][[1, 4]] = np.nan
    w = np.full(6, 1 / 6) if weights is None else weights / weights.sum()
    known = ~np.isnan(data["y"]).any(axis=1)

    def enumerated(params):
        """A plain sum over rows of what applies to each of them."""
        total = 0.0
        for row in range(6):
            one = {g: x[row : row + 1] for g, x in data.items()}
            log_p = entry.machine.log_likelihood
            if known[row]:
                total += w[row] * log_p(params, one, ("y",), ("v",))
                total += w[row] * ALPHA * log_p(params, one, ("v", "y"))
            else:
                total += w[row] * BETA * log_p(params, one, ("v",))
        return total

    objective = _objective(
        entry,
        _likelihood(("y",), ("v",)),
        _likelihood(("v", "y"), weight=ALPHA),
        _likelihood(("v",), weight=BETA, without="y"),
    )
    return objective, data, enumerated


@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
@pytest.mark.parametrize(
    "name",
    ["class RBM", "class-gated", "class-gated, factored", "two hidden groups", "deep, mixed types"],
)
def test_each_criterion_takes_the_rows_it_applies_to(name, weighted):
    """Deliberate bugs that this catches: a criterion averaged over its own rows, which would count
    the few labelled rows of a minibatch for all of it; log p(v) of labelled rows too."""
    entry = BY_NAME[name]
    weights = np.array([0.2, 3.0, 1.0, 0.7, 1.1, 2.0]) if weighted else None
    objective, data, enumerated = _semi_supervised(entry, weights)
    params = entry.parameters()
    assert objective.value(params, data, weights) == pytest.approx(enumerated(params), rel=1e-9)
    _assert_gradient(entry, params, objective.gradient(params, data, weights), enumerated)


def test_minibatches_sum_to_the_whole_however_labels_fall_into_them():
    entry = BY_NAME["class RBM"]
    objective, data, _ = _semi_supervised(entry)
    params = entry.parameters()
    whole = objective.gradient(params, data)
    parts = [
        objective.gradient(params, {g: x[rows] for g, x in data.items()})
        for rows in ([0, 1, 4], [2, 3, 5])  # one labelled row, then three
    ]
    for key, x in whole.items():
        np.testing.assert_allclose(
            (parts[0][key] + parts[1][key]) / 2, x, rtol=1e-10, atol=1e-12, err_msg=key
        )


def test_a_minibatch_without_labels_leaves_what_needs_them_as_it_was():
    """Its persistent chains are not moved: no update was made with them."""
    entry = BY_NAME["class RBM"]
    objective = _objective(
        entry,
        _likelihood(("v", "y"), negative="pcd"),
        _likelihood(("v",), negative="pcd", without="y"),
    )
    params, data = entry.parameters(), entry.states(6)
    labelled = {g: data[g] for g in ("v", "y")}
    _, _, state = objective.step(params, labelled, objective.init(0))
    assert state.chains[1] is None
    unlabelled = labelled | {"y": np.full((6, 3), np.nan)}
    gradient, means, after = objective.step(params, unlabelled, state)
    assert after.chains[0] is state.chains[0]
    assert after.chains[1].n_chains == 6
    assert all(np.isfinite(x).all() for x in (*gradient.values(), *means.values()))


def test_rows_that_no_criterion_can_take_are_refused():
    entry = BY_NAME["class RBM"]
    params, data = entry.parameters(), entry.states(3)
    nothing = _objective(
        entry, _likelihood(("y",), ("v",)), _likelihood(("h",), ("v",), weight=0.1, without="y")
    )
    partly = {g: data[g].copy() for g in "vyh"}
    partly["h"][2, 1] = np.nan
    sentence = (
        "state 'h' is known in part in row 2; a likelihood takes a group whole: give all of its "
        "units, or NaN for all."
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        nothing.gradient(params, partly)
    unknown = {g: np.full_like(x, np.nan) for g, x in data.items() if g in "yh"} | {"v": data["v"]}
    sentence = "no row has what a likelihood needs: all 3 lack a group that it names."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        nothing.gradient(params, unknown)
    sentence = "an objective cannot need group 'v' and take rows without it; got of=('v',)"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        _objective(entry, _likelihood(("v",), without="v"))
