"""The sentences that a user is told about bad input: the object, the expected, the found."""

from __future__ import annotations

import numpy as np
import pytest

import fastboltz as fb

B, C, G = fb.Bernoulli, fb.Categorical, fb.Gaussian


def _rbm():
    energy = fb.Energy({"v": B(4), "h": B(3)}, terms=["v_i h_j"])
    params = energy.init(random_state=0)
    return energy, params, {"v": np.zeros((2, 4)), "h": np.zeros((2, 3))}


def _lateral():
    energy = fb.Energy({"s": B(4), "h": B(2)}, terms=["s_a s_b", "s_a h_k"])
    return energy, energy.init(random_state=0)


def _says(sentence, call, *args, error=ValueError, **kwargs):
    """Check that the call raises exactly this sentence."""
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert str(caught.value) == sentence


# -------------------------------------------------------------------------------- declarations


def test_groups_that_are_no_dict_get_a_sentence():
    sentence = (
        "groups must be a dict of unit types by name, e.g. {'v': Bernoulli(784)}; got list. Of "
        "pairs of name and unit type, dict(pairs) makes one."
    )
    _says(sentence, fb.Energy, [("v", B(4))], [], error=TypeError)


@pytest.mark.parametrize(
    ("groups", "terms", "sentence"),
    [
        ({}, [], "an energy needs at least one group, e.g. {'v': Bernoulli(784)}."),
        (
            {"v 1": B(4)},
            [],
            "group name 'v 1' must be a letter followed by letters, digits or '_'.",
        ),
        (
            {"v": B(4), "h": B(3)},
            ["v_i hid_j"],
            "term 'v_i hid_j' names the unknown group 'hid'; the energy has 'v', 'h'.",
        ),
        (
            {"v": B(4), "hid": B(3)},
            ["v_i hidd_j"],
            "term 'v_i hidd_j' names the unknown group 'hidd'; the energy has 'v', 'hid'. "
            "Did you mean 'hid'?",
        ),
        (
            {"v": B(4), "h": B(3)},
            ["v_i h_i"],
            "term 'v_i h_i': index 'i' has two sizes, 4 in 'v_i' and 3 in 'h_i'; use another "
            "letter for one.",
        ),
        (
            {"v": B(4, 2), "h": B(3)},
            ["v_i h_j"],
            "term 'v_i h_j': group 'v' has 2 axes (4, 2) but 'v_i' names 1; write one letter an "
            "axis.",
        ),
        (
            {"v": B(4, 4), "h": B(3)},
            ["v_ii h_j"],
            "term 'v_ii h_j': 'v_ii' repeats a letter; each axis of a slot needs a letter of its "
            "own.",
        ),
        (
            {"v": B(4), "h": B(3)},
            ["v h_j"],
            "term 'v h_j': cannot read 'v'; expected a group, an underscore and one lower-case "
            "letter an axis, as in 'v_i' or 'z_ir'.",
        ),
        ({"v": B(4)}, [""], "term '' is empty; expected slots as in 'v_i h_j'."),
        (
            {"v": B(4), "h": B(3)},
            ["v_i h_j", "v_i h_j"],
            "term 'v_i h_j' is declared twice; its weights would be one array. Drop one "
            "(Hyperedges take a name of their own).",
        ),
        (
            {"v": B(4), "h": B(3)},
            ["v_i h_j | many"],
            "term 'v_i h_j | many': after '|' expected the number of factors, a whole number "
            ">= 1; found 'many'.",
        ),
        (
            {"v": B(4), "h": B(3)},
            ["v_i h_j | 0"],
            "term 'v_i h_j | 0': after '|' expected the number of factors, a whole number >= 1; "
            "found '0'.",
        ),
        (
            {"v": B(4)},
            ["v_i v_i"],
            "term 'v_i v_i' holds the same unit of group 'v' twice (v_i and v_i); the square of a "
            "unit belongs to its base energy. Use other letters for one of them, or drop it.",
        ),
        (
            {"v": B(4)},
            ["v_i v_j | 2"],
            "term 'v_i v_j | 2' is factored and names group 'v' twice, so it is not a product of "
            "one sum a slot. Drop '| 2' for the dense term, or list the units with Hyperedges.",
        ),
        (
            {"s": B(3)},
            [fb.Hyperedges("s", [(0, 3)])],
            "hyperedges(s): edge 0 is (0, 3), but group 's' has 3 units, numbered from 0 to 2.",
        ),
        (
            {"s": B(3)},
            [fb.Hyperedges("s", [(0, 1), (0, -1)])],
            "hyperedges(s): edge 1 is (0, -1), but group 's' has 3 units, numbered from 0 to 2.",
        ),
        (
            {"s": B(3)},
            [fb.Hyperedges("r", [(0, 1)])],
            "hyperedges(r) names the unknown group 'r'; the energy has 's'.",
        ),
        (
            {"s": C(3, 2)},
            [fb.Hyperedges("s", [(0, 1)])],
            "hyperedges(s): hyperedges join units that are single numbers; group 's' is "
            "Categorical(3, 2). Write a term such as 'z_ir z_js' instead.",
        ),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_where_it_is_made(groups, terms, sentence):
    _says(sentence, fb.Energy, groups, terms=terms)


def test_wrong_types_in_a_declaration_are_type_errors():
    sentence = "group 'v' must be a unit type with its size, e.g. Bernoulli(784); got 784."
    _says(sentence, fb.Energy, {"v": 784}, terms=[], error=TypeError)
    sentence = "a term must be a string in index notation or fastboltz.Hyperedges; got 3."
    _says(sentence, fb.Energy, {"v": B(4)}, terms=[3], error=TypeError)
    _says("Bernoulli needs the size of its group, e.g. (784).", B, error=TypeError)
    sentence = "axis 0 of Bernoulli must be a whole number >= 0; got 2.5."
    _says(sentence, B, 2.5, error=TypeError)
    _says("axis 0 of Bernoulli must be a whole number >= 0; got -1.", B, -1)


@pytest.mark.parametrize("edge", [(0, 0), (), (1, 2, 1)])
def test_an_edge_holds_each_unit_once(edge):
    sentence = (
        f"hyperedges(s): edge 0 is {edge}; an edge needs at least one unit, and each only once."
    )
    _says(sentence, fb.Hyperedges, "s", [edge])


def test_edges_are_sets_of_whole_numbers_and_none_stands_twice():
    """Deliberate bug that this catches: 1.5 taken for unit 1."""
    sentence = "hyperedges(s): edge 1 is (0, 1.5); an edge is a set of unit numbers, e.g. (0, 2)."
    _says(sentence, fb.Hyperedges, "s", [(0, 1), (0, 1.5)], error=TypeError)
    sentence = "mine: edge 0 is 3; an edge is a set of unit numbers, e.g. (0, 2)."
    _says(sentence, fb.Hyperedges, "s", [3], "mine", error=TypeError)
    sentence = "hyperedges(s) must list sets of unit numbers, e.g. [(0, 1), (0, 2, 4)]; got {0: 1}."
    _says(sentence, fb.Hyperedges, "s", {0: 1}, error=TypeError)
    sentence = (
        "hyperedges(s): edge 2 is (2, 0), the same units as hyperedges(s): edge 0; their weights "
        "would be one. Drop one of them."
    )
    _says(sentence, fb.Hyperedges, "s", [(0, 2), (0, 1), (2, 0)])


# ---------------------------------------------------------------------------------- parameters


def test_weights_of_a_wrong_size_name_the_term_and_the_group():
    energy = fb.Energy({"v": B(784), "h": B(400)}, terms=["v_i h_j"])
    params = energy.init(random_state=0)
    params["v_i h_j"] = np.zeros((784, 500))
    state = {"v": np.zeros((1, 784)), "h": np.zeros((1, 400))}
    sentence = "term 'v_i h_j': W has shape (784, 500) but h has 400 units; expected (784, 400)."
    _says(sentence, energy.value, params, state)
    _says(sentence, fb.Gibbs(energy).init, params, n_chains=2)


def test_other_faults_of_parameters_name_the_array():
    energy, params, state = _rbm()
    sentence = "parameter 'v' has shape (5,); expected (4,)."
    _says(sentence, energy.value, {**params, "v": np.zeros(5)}, state)
    sentence = (
        "the parameters have no array 'h' (they have 'v'); energy.init() makes a complete set."
    )
    _says(sentence, energy.value, {"v": np.zeros(4)}, state)
    sentence = "parameter 'v' contains NaN or infinity; if it was trained, lower the learning rate."
    _says(sentence, energy.value, {**params, "v": np.full(4, np.nan)}, state)


@pytest.mark.parametrize("w", [np.triu(np.ones((4, 4)), 1), np.eye(4)], ids=["upper", "diagonal"])
def test_lateral_weights_have_to_be_symmetric_and_zero_on_coincidences(w):
    """Catches an upper triangle that counts half, silently."""
    energy, params = _lateral()
    state = {"s": np.zeros((1, 4)), "h": np.zeros((1, 2))}
    sentence = (
        "term 's_a s_b': W must be symmetric under exchange of s_a and s_b and zero where they "
        "are the same unit. energy.symmetrized(params) makes it so."
    )
    _says(sentence, energy.value, {**params, "s_a s_b": w}, state)


# -------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"h": None},
            "the state has no values for group 'h' (it has 'v'); add state['h'] or sum that group "
            "out.",
        ),
        (
            {"hh": np.zeros((2, 3))},
            "the state names the unknown group 'hh'; the energy has 'v', 'h'. Did you mean 'h'?",
        ),
        ({"v": np.zeros((2, 5))}, "state 'v' has shape (2, 5); expected (n_rows, 4)."),
        ({"v": np.zeros(4)}, "state 'v' has shape (4,); expected (n_rows, 4)."),
        (
            {"h": np.zeros((3, 3))},
            "the groups of one state need the same number of rows; 'v' has 2, 'h' has 3.",
        ),
        (
            {"v": np.full((2, 4), np.nan)},
            "state 'v' contains NaN or infinity; expected finite values.",
        ),
        ({"v": np.full((2, 4), "a")}, "state 'v' must be numeric; got dtype <U1."),
    ],
)
def test_a_state_that_does_not_fit_is_named(change, sentence):
    energy, params, state = _rbm()
    state = {name: x for name, x in {**state, **change}.items() if x is not None}
    _says(sentence, energy.value, params, state)


def test_a_question_about_a_group_that_does_not_exist_is_refused():
    energy, params, state = _rbm()
    sentence = "field names the unknown group 'hid'; the energy has 'v', 'h'."
    _says(sentence, energy.field, params, state, "hid")
    sentence = "sum_out names the unknown group 'hh'; the energy has 'v', 'h'. Did you mean 'h'?"
    _says(sentence, energy.free_energy, params, state, "hh")


def test_a_factorial_answer_is_not_given_for_a_lateral_group():
    energy, params = _lateral()
    sentence = (
        "group 's' occurs twice in 's_a s_b': its units are not conditionally independent. "
        "Use site sweeps, or split the group."
    )
    _says(sentence, energy.free_energy, params, {"h": np.zeros((1, 2))}, "s")


def test_groups_of_one_term_are_not_summed_out_together():
    energy, params, _ = _rbm()
    sentence = (
        "groups 'v' and 'h' cannot be summed out together: term 'v_i h_j' holds both. "
        "Sum out one of them and give values for the other."
    )
    _says(sentence, energy.free_energy, params, {}, ("v", "h"))


def test_an_exact_answer_that_does_not_exist_says_why():
    energy = fb.Energy({"v": G(2), "h": G(1)}, terms=["v_i h_j"])
    sentence = (
        "exact log Z cannot be enumerated: groups 'v', 'h' are continuous and share a term, so "
        "they cannot all be summed out. Use fastboltz.likelihood.ais."
    )
    _says(sentence, energy.log_partition, energy.init(random_state=0))
    energy = fb.Energy({"v": B(41), "h": B(60)}, terms=["v_i h_j"])
    sentence = "exact log Z needs 2**41 states (limit 2**25). Use fastboltz.likelihood.ais."
    _says(sentence, energy.log_partition, energy.init(random_state=0))
    energy = fb.Energy({"x": B(2), "v": B(41), "h": B(60)}, terms=["x_k v_i h_j"])
    sentence = (
        "exact log Z needs 2**41 states (limit 2**25). Use fastboltz.likelihood.conditional_ais."
    )
    given = {"x": np.zeros((1, 2))}
    _says(sentence, energy.log_partition, energy.init(random_state=0), given)


# ------------------------------------------------------------------------------------- chains


def test_chains_that_cannot_start_say_what_is_missing():
    energy, params, _ = _rbm()
    sentence = "clamp names the unknown group 'x'; the energy has 'v', 'h'."
    _says(sentence, fb.Gibbs, energy, clamp=("x",))
    _says("n_threads must be a whole number >= 1; got 0.", fb.Gibbs, energy, n_threads=0)
    clamped, free = fb.Gibbs(energy, clamp=("v",)), fb.Gibbs(energy)
    sentence = "group 'v' is clamped; give its values in values['v']."
    _says(sentence, clamped.init, params, n_chains=3)
    values = {"v": np.zeros((2, 4))}
    sentence = "n_chains is 3, but values have 2 rows."
    _says(sentence, clamped.init, params, n_chains=3, values=values)
    sentence = "give n_chains, or start values of at least one group."
    _says(sentence, free.init, params)
    _says("n_chains must be a whole number >= 1; got 0.", free.init, params, n_chains=0)
    sentence = "values names the unknown group 'x'; the energy has 'v', 'h'."
    _says(sentence, free.init, params, values={"x": np.zeros((2, 4))})
    sentence = "state 'v' contains NaN or infinity; expected finite values."
    _says(sentence, free.init, params, values={"v": np.full((2, 4), np.nan)})


# --------------------------------------------------------------------------------- objectives


def test_objectives_that_make_no_sense_are_refused():
    one = fb.objectives.LogLikelihood
    sentence = (
        "negative must be one of 'exact', 'cd', 'pcd', 'tempered', 'trajectory'; got 'exat'. "
        "Did you mean 'exact'?"
    )
    _says(sentence, one, of=("v",), negative="exat")
    sentence = (
        "negative='pcd' keeps chains that belong to no row, so nothing can be given; got "
        "given=('h',). Use negative='cd' or 'exact'."
    )
    _says(sentence, one, of=("v",), given=("h",), negative="pcd")
    _says("n_gibbs must be a whole number >= 1; got 0.", one, of=("v",), n_gibbs=0)
    _says("weight must be finite; got nan.", one, of=("v",), weight=float("nan"))
    energy, _, _ = _rbm()
    sentence = "the objective names the unknown group 'vv'; the energy has 'v', 'h'. "
    sentence += "Did you mean 'v'?"
    _says(sentence, fb.objectives.Objective, energy, one(of=("vv",)))
    sentence = (
        "an objective needs groups in 'of' that are not in 'given'; got of=('v',), given=('v',)."
    )
    part = one(of=("v",), given=("v",), negative="exact")
    _says(sentence, fb.objectives.Objective, energy, part)


def test_data_that_miss_a_group_or_hold_nan_are_refused():
    energy, params, _ = _rbm()
    part = fb.objectives.LogLikelihood(of=("v",), negative="exact")
    objective = fb.objectives.Objective(energy, part)
    sentence = (
        "the state has no values for group 'v' (it has 'h'); add state['v'] or sum that group out."
    )
    _says(sentence, objective.gradient, params, {"h": np.zeros((2, 3))})
    sentence = "state 'v' contains NaN or infinity; expected finite values."
    _says(sentence, objective.gradient, params, {"v": np.full((2, 4), np.nan)})


# ------------------------------------------------- what was silent, or an error of NumPy's, once


@pytest.mark.parametrize(
    "weights",
    [np.ones(3), np.zeros(2), np.array([-1.0, 2.0]), np.array([np.nan, 1.0])],
    ids=["too many", "all zero", "negative", "NaN"],
)
def test_row_weights_that_cannot_be_averaged_with_are_refused(weights):
    """Zeros would give NaN parameters; a negative weight would climb away from that row."""
    energy, params, state = _rbm()
    part = fb.objectives.LogLikelihood(of=("v",), negative="exact")
    objective = fb.objectives.Objective(energy, part)
    with pytest.raises(ValueError, match="weights"):
        energy.statistics(params, state, weights=weights)
    with pytest.raises(ValueError, match="weights"):
        energy.moments(params, given={"v": state["v"]}, weights=weights)
    with pytest.raises(ValueError, match="weights"):
        objective.gradient(params, {"v": state["v"]}, weights=weights)


def test_no_rows_give_no_energies_and_no_averages():
    """An average over no rows is a sentence about rows, not a ZeroDivisionError."""
    energy, params, _ = _rbm()
    none = {"v": np.zeros((0, 4)), "h": np.zeros((0, 3))}
    assert energy.value(params, none).shape == (0,)
    with pytest.raises(ValueError, match="row"):
        energy.statistics(params, none)
    part = fb.objectives.LogLikelihood(of=("v",), negative="exact")
    with pytest.raises(ValueError, match="row"):
        fb.objectives.Objective(energy, part).gradient(params, {"v": none["v"]})


def test_data_outside_the_support_are_refused_before_they_train_anything():
    """Pixels from 0 to 255 for Bernoulli units: the commonest mistake of all."""
    energy, params, _ = _rbm()
    pixels = np.full((2, 4), 255.0)
    part = fb.objectives.LogLikelihood(of=("v",), negative="exact")
    with pytest.raises(ValueError, match="255"):
        fb.objectives.Objective(energy, part).gradient(params, {"v": pixels})
    with pytest.raises(ValueError, match="255"):
        fb.Gibbs(energy).init(params, values={"v": pixels})


def test_a_negative_number_of_sweeps_is_refused():
    energy, params, _ = _rbm()
    sampler = fb.Gibbs(energy)
    state = sampler.init(params, n_chains=2, random_state=0)
    _says("n_steps must be a whole number >= 0; got -1.", sampler.step, params, state, n_steps=-1)


def test_parameters_of_whole_numbers_are_refused():
    """Catches weights of scale 0.01 that are all rounded to 0."""
    energy, _, _ = _rbm()
    with pytest.raises((TypeError, ValueError), match="dtype"):
        energy.init(random_state=0, dtype=int)


def test_a_group_without_units_takes_part_in_nothing():
    """Hidden layers of size 0 come up in searches over sizes; the empty product is left out."""
    energy = fb.Energy({"v": B(3), "h": B(0)}, terms=["v_i h_j"])
    params = energy.init(random_state=0)
    assert energy.log_partition(params) == pytest.approx(3 * np.log(2.0))
    state = fb.Gibbs(energy).init(params, n_chains=4, random_state=0)
    state = fb.Gibbs(energy).step(params, state, n_steps=2)
    assert state.values["h"].shape == (4, 0)
    assert energy.value(params, state.values).shape == (4,)
