"""Boltzmann machines of higher order: tasks whose answer is known, and Onsager's lattice."""

from __future__ import annotations

import inspect
import itertools
import re

import numpy as np
import pytest
from scipy import integrate, special
from scipy.sparse import csr_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastboltz as fb
from fastboltz import HigherOrderBoltzmannMachine

Z_LIMIT = 4.5


def _spins(n):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


def _log_weights(machine, S):
    """Minus the energy of each state, from every set of units one by one."""
    total = S @ machine.params_["s"]
    for key, w in machine.params_.items():
        if key == "hyperedges(s)":
            sets = zip(machine.edges, w, strict=True)
        elif key == "s":
            continue
        else:
            sets = ((c, w[c]) for c in itertools.combinations(range(S.shape[1]), w.ndim))
        for units, weight in sets:
            total = total + weight * S[:, list(units)].prod(axis=1)
    return total


# ------------------------------------------------------------------------ tasks with a known answer


def _answers(machine, inputs):
    """Most probable last unit given the others."""
    X = np.c_[inputs, np.full(len(inputs), np.nan)]
    return np.sign(machine.infer(X)["s"][:, inputs.shape[1]])


def test_parity_is_learnt_by_one_third_order_weight_and_no_hidden_unit():
    """All samples but a few, and every answer, have the parity of their inputs.

    Deliberate bug that this catches: statistics of pairs alone, which parity does not have.
    """
    inputs = _spins(2)
    X = np.c_[inputs, inputs.prod(axis=1)]
    machine = HigherOrderBoltzmannMachine(
        edges=[(0, 1, 2)], units="spin", learning_rate=1.0, n_iter=200, random_state=0
    ).fit(X)
    assert machine.params_["hyperedges(s)"].shape == (1,)
    np.testing.assert_array_equal(_answers(machine, inputs), inputs.prod(axis=1))
    drawn = machine.sample(2000, random_state=0)
    assert (drawn.prod(axis=1) == 1).mean() >= 0.99
    pairs = HigherOrderBoltzmannMachine(units="spin", learning_rate=1.0, n_iter=200).fit(X)
    assert pairs.score(X) == pytest.approx(-3 * np.log(2), abs=1e-3)
    assert machine.score(X) > -2 * np.log(2) - 0.01


def test_mirror_symmetry_is_learnt_by_third_order_weights():
    """Sejnowski, Kienker & Hinton (1986), who needed hidden units: here a row of ten spins and the
    unit that says whether it is its own mirror image, with every pair and triple coupled that a
    place, its mirror place and the answer make."""
    inputs = _spins(10)
    symmetric = (inputs == inputs[:, ::-1]).all(axis=1)
    answer = np.where(symmetric, 1.0, -1.0)
    X = np.c_[inputs, answer]
    half = np.where(symmetric, 0.5 / symmetric.sum(), 0.5 / (~symmetric).sum())
    pairs = [(i, 9 - i) for i in range(5)]
    machine = HigherOrderBoltzmannMachine(
        edges=[*pairs, *((i, j, 10) for i, j in pairs)],
        units="spin",
        method="exact",
        learning_rate=0.5,
        momentum=0.5,
        batch_size=2000,
        n_iter=150,
        random_state=0,
    ).fit(X, sample_weight=half)
    right = _answers(machine, inputs) == answer
    assert right[symmetric].mean() >= 0.99
    assert right[~symmetric].mean() >= 0.99


def test_a_hidden_unit_learns_parity_from_pairs():
    """One hidden unit of second order stands for the weight of third order."""
    inputs = _spins(2)
    X = np.c_[inputs, inputs.prod(axis=1)]
    machine = HigherOrderBoltzmannMachine(
        2, units="spin", learning_rate=0.3, n_iter=600, random_state=1
    ).fit(X)
    assert machine.score(X) > -2 * np.log(2) - 0.1
    assert machine.transform(X).shape == (4, 2)


@pytest.mark.parametrize("options", [{"order": 3}, {"order": 4}, {"edges": [(0, 1), (1, 2, 3)]}])
@pytest.mark.parametrize("n_hidden", [0, 1])
def test_scores_are_enumerated_over_hidden_units(options, n_hidden):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((6, 4)) < 0.5, 1.0, -1.0)
    machine = HigherOrderBoltzmannMachine(
        n_hidden, units="spin", n_iter=5, random_state=0, **options
    )
    machine.fit(X)
    S = _spins(4 + n_hidden)
    log_w = _log_weights(machine, S)
    for row, found in zip(X, machine.score_samples(X), strict=True):
        agrees = (S[:, :4] == row).all(axis=1)
        expected = special.logsumexp(log_w[agrees]) - special.logsumexp(log_w)
        assert found == pytest.approx(expected, rel=1e-9)
    assert machine.history_["epoch"] == [1, 2, 3, 4, 5]


def test_samples_hold_what_is_given():
    X = np.where(np.random.default_rng(0).random((50, 4)) < 0.5, 1.0, -1.0)
    machine = HigherOrderBoltzmannMachine(1, 3, units="spin", n_iter=3, random_state=0).fit(X)
    drawn = machine.sample(20, given=[np.nan, 1.0, np.nan, -1.0])
    assert drawn.shape == (20, 4)
    assert (drawn[:, 1] == 1).all()
    assert (drawn[:, 3] == -1).all()
    assert set(np.unique(drawn[:, [0, 2]])) == {-1.0, 1.0}


# ------------------------------------------------------------------------ the Ising model's plane


def _onsager(temperature):
    """Energy a site and magnetisation of the infinite square lattice, J = 1 (Onsager 1944; Yang
    1952)."""
    k = 1 / temperature
    kappa = 2 * np.sinh(2 * k) / np.cosh(2 * k) ** 2
    first_kind = integrate.quad(lambda t: 1 / np.sqrt(1 - (kappa * np.sin(t)) ** 2), 0, np.pi / 2)
    factor = 1 + 2 / np.pi * (2 * np.tanh(2 * k) ** 2 - 1) * first_kind[0]
    ordered = np.sinh(2 * k) > 1
    return -factor / np.tanh(2 * k), (1 - np.sinh(2 * k) ** -4) ** 0.125 if ordered else 0.0


@pytest.mark.parametrize("temperature", [1.8, 2.0, 3.0])
def test_a_square_lattice_has_onsager_s_energy_and_magnetisation(temperature):
    """Within the Monte Carlo error, by batch means of 16 chains in 10 stretches of time.

    Away from the critical temperature a ring of 32 sites differs from the infinite lattice by about
    exp(-32 / correlation length), less than 1e-4 here.
    Deliberate bug that this catches: one bond of every site missing.
    """
    side, n_chains, n_batches = 32, 16, 10
    site = np.arange(side**2).reshape(side, side)
    bonds = [np.stack([site, np.roll(site, -1, axis)], axis=-1) for axis in (0, 1)]
    edges = np.concatenate([b.reshape(-1, 2) for b in bonds]).tolist()
    ordered = temperature < 2 / np.log1p(np.sqrt(2))
    X = np.where(np.random.default_rng(0).random((n_chains, side**2)) < 0.5, 1.0, -1.0)
    machine = HigherOrderBoltzmannMachine(
        edges=edges, units="spin", n_iter=0, method="cd", random_state=0
    ).fit(np.ones_like(X) if ordered else X)
    machine.params_["hyperedges(s)"][:] = 1 / temperature
    machine.params_["s"][:] = 0
    sampler = fb.Gibbs(machine.energy_, n_threads=1)
    # From the ordered state below the critical temperature, so that no chain turns over.
    state = sampler.init(
        machine.params_, random_state=1, values={"s": np.ones_like(X) if ordered else X}
    )
    state = sampler.step(machine.params_, state, 200)
    energies, magnetisations = [], []
    for _ in range(n_batches):
        e, m = np.zeros(n_chains), np.zeros(n_chains)
        for _ in range(20):
            state = sampler.step(machine.params_, state, 2)
            s = state.values["s"]
            e -= s[:, edges].prod(axis=2).sum(axis=1) / side**2 / 20
            m += s.mean(axis=1) / 20
        energies.append(e)
        magnetisations.append(m)
    for found, exact in zip((energies, magnetisations), _onsager(temperature), strict=True):
        # Chains are independent, so their means give the error whatever the time correlation.
        means = np.mean(found, axis=0)
        error = means.std(ddof=1) / np.sqrt(n_chains)
        assert abs(means.mean() - exact) < Z_LIMIT * error + 1e-4


# -------------------------------------------------------------------------------------------- face

ONES = np.ones((3, 4))
SENTENCES = [
    (
        {"edges": [(0, 4)]},
        "edges[0] is (0, 4), but there are 4 visible and 0 hidden units, numbered",
    ),
    ({"edges": [(0, -1)]}, "numbered from 0 to 3; found -1."),
    (
        {"edges": [(0, 5)], "n_hidden": 1},
        "4 visible and 1 hidden units, numbered from 0 to 4; found 5.",
    ),
    ({"edges": [(0, 1), (1, 2), (1, 0)]}, "edges[2] is (1, 0), the same units as edges[0]"),
    ({"edges": [(0, 1, 0)]}, "edges[0] is (0, 1, 0); an edge needs at least one unit, and each"),
    ({"edges": [(0, 1), ()]}, "edges[1] is (); an edge needs at least one unit, and each only"),
    ({"edges": [(0, 1.5)]}, "edges[0] is (0, 1.5); an edge is a set of unit numbers, e.g. (0, 2)."),
    ({"edges": [(0, 1), (True, 2)]}, "edges[1] is (True, 2); an edge is a set of unit numbers"),
    ({"edges": [("a", "b")]}, "edges[0] is ('a', 'b'); an edge is a set of unit numbers"),
    ({"edges": [0, 1]}, "edges[0] is 0; an edge is a set of unit numbers, e.g. (0, 2)."),
    ({"edges": 5}, "edges must list sets of unit numbers, e.g. [(0, 1), (0, 2, 4)]; got 5."),
    ({"edges": "ab"}, "edges must list sets of unit numbers, e.g. [(0, 1), (0, 2, 4)]; got 'ab'."),
    (
        {"edges": (e for e in [(0, 1)])},
        "edges is a generator, which can be read only once; give list(edges).",
    ),
    ({"order": 0}, "order must be a whole number >= 1; got 0."),
    ({"n_hidden": -1}, "n_hidden must be a whole number >= 0; got -1."),
    ({"units": "gaussian"}, "units must be one of 'bernoulli', 'spin'; got 'gaussian'."),
    ({"units": "spim"}, "Did you mean 'spin'?"),
    ({"method": "gibbs"}, "method must be one of 'auto', 'pcd', 'cd', 'exact', 'tempered'"),
    ({"order": 4, "n_hidden": 400}, "List the sets that matter in edges, or lower the order."),
]


@pytest.mark.parametrize(("options", "sentence"), SENTENCES)
def test_bad_arguments_get_a_sentence(options, sentence):
    with pytest.raises((ValueError, TypeError), match=re.escape(sentence)):
        HigherOrderBoltzmannMachine(**options).fit(ONES)


@pytest.mark.parametrize(
    "edges", [np.array([[0, 1], [1, 2]]), [{0, 1}, frozenset((1, 2))], [np.arange(2), (1, 2)]]
)
def test_edges_may_be_any_sets_of_whole_numbers(edges):
    machine = HigherOrderBoltzmannMachine(edges=edges, n_iter=1, random_state=0).fit(ONES)
    assert machine.energy_.terms[0].edges == [(0, 1), (1, 2)]


def test_bad_data_get_a_sentence():
    """The remedy is one that this model has: it knows no other units than these two."""
    to_bits = "Map {-1, 1} data by (X + 1) / 2, or use units='spin'."
    to_spins = "Map {0, 1} data by 2 * X - 1, or use units='bernoulli'."
    mixed = np.where(np.arange(12).reshape(3, 4) % 3 > 0, 1.0, 0.0)
    for units, X, sentence in (
        (
            "bernoulli",
            2 * mixed - 1,
            f"X has values in [-1, 1]; Bernoulli units need [0, 1]. {to_bits}",
        ),
        ("spin", 2 * mixed, f"X has values in [0, 2]; Spin units need [-1, 1]. {to_spins}"),
        ("spin", mixed, f"X holds 0 and 1 alone, but spins are -1 or 1. {to_spins}"),
        ("spin", mixed.astype(int), f"X holds 0 and 1 alone, but spins are -1 or 1. {to_spins}"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
            HigherOrderBoltzmannMachine(units=units).fit(X)
    machine = HigherOrderBoltzmannMachine(n_iter=1).fit(ONES)
    with pytest.raises(ValueError, match=re.escape("given has values in [-1, 1]; Bernoulli")):
        machine.sample(given=2 * mixed - 1)
    with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 4 features"):
        machine.score(ONES[:, :3])
    with pytest.raises(ValueError, match=re.escape("given has shape (1, 3); expected (4,)")):
        machine.sample(given=[1.0, 0.0, np.nan])


SMALL = {"n_iter": 2, "batch_size": 1000, "random_state": 0}
IN_PIPELINE = dict.fromkeys(
    ["check_dont_overwrite_parameters", "check_estimators_overwrite_params"],
    "a Pipeline fits the very steps that it was given",
) | {"check_estimators_nan_inf": "NaN marks units that are unknown, and the scaler lets it through"}


@parametrize_with_checks(
    [
        make_pipeline(MinMaxScaler(clip=True), HigherOrderBoltzmannMachine(1, **SMALL)),
        make_pipeline(MinMaxScaler(clip=True), HigherOrderBoltzmannMachine(1, 3, **SMALL)),
    ],
    expected_failed_checks=lambda _: IN_PIPELINE,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_what_is_said_of_the_data_is_true_of_this_machine():
    """Catches docstrings of BoltzmannMachine, whose groups may be sparse or a dict."""
    for name in ("fit", "partial_fit", "infer", "free_energy", "score_samples", "score", "sample"):
        said = inspect.getdoc(getattr(HigherOrderBoltzmannMachine, name))
        assert "CSR" not in said and "dict of them" not in said, name
    machine = HigherOrderBoltzmannMachine(n_iter=0)
    for wrong in (csr_matrix(np.eye(3)), {"s": np.eye(3)}):
        with pytest.raises(TypeError):
            machine.fit(wrong)
