"""Deep Boltzmann machines and deep belief networks, against enumeration in plain NumPy."""

from __future__ import annotations

import pickle
import re

import numpy as np
import oracles
import pytest
from scipy import sparse, special, stats
from sklearn.base import clone

import fastboltz as fb
from fastboltz import DeepBeliefNetwork, DeepBoltzmannMachine
from fastboltz.callbacks import EarlyStopping, Monitor, TrajectoryLikelihood
from fastboltz.datasets import load_digits
from fastboltz.likelihood import ais
from fastboltz.models.deep import _composed, _TwinRBM, _VariationalObjective
from fastboltz.objectives import LogLikelihood
from fastboltz.optimizers import Linear
from fastboltz.path import Path

Z_LIMIT = 4.5
DEPTHS = [(3,), (3, 2), (2, 3, 2), (2, 3, 2, 2)]
every_depth = pytest.mark.parametrize("layers", DEPTHS, ids=str)


def sigma(x):
    return special.expit(x)


def _rows(n=24, n_features=4, seed=0):
    """Noisy copies of two prototypes."""
    rng = np.random.default_rng(seed)
    rows = np.array([[0, 0, 1, 1], [1, 0, 1, 0]])[:, :n_features][rng.integers(0, 2, n)]
    return np.where(rng.random(rows.shape) < 0.2, 1 - rows, rows).astype(float)


def _oracle(n_features, layers, visible="bernoulli"):
    groups = {"v": (visible, (n_features,))}
    groups |= {f"h{k}": ("bernoulli", (n,)) for k, n in enumerate(layers, start=1)}
    terms = ["h1_j v_i", *(f"h{k}_j h{k - 1}_i" for k in range(2, len(layers) + 1))]
    return oracles.Machine(groups, terms)


def _machine(layers, seed=0, scale=1.0, visible="bernoulli", n_features=4, **options):
    """A machine with random parameters, and its oracle."""
    X = _rows(n_features=n_features) if visible != "spin" else 2 * _rows() - 1
    options = {"n_iter": 0, "n_pretraining": 0, "random_state": 0} | options
    model = DeepBoltzmannMachine(layers, visible=visible, **options).fit(X)
    machine = _oracle(n_features, layers, visible)
    rng = np.random.default_rng(seed)
    model.params_ = machine.random_parameters(rng, scale=scale)
    model._log_partition = None
    return model, machine, X


def _mean_field(params, v, layers, n_steps=3000):
    """Fixed point of one row, layer by layer."""
    q = [np.full(n, 0.5) for n in layers]
    names = ["h1_j v_i", *(f"h{k}_j h{k - 1}_i" for k in range(2, len(layers) + 1))]
    for _ in range(n_steps):
        for k in range(len(layers)):
            field = params[f"h{k + 1}"] + params[names[k]] @ (q[k - 1] if k else v)
            if k + 1 < len(layers):
                field = field + q[k + 1] @ params[names[k + 1]]
            q[k] = sigma(field)
    return q


def _elbo(machine, params, v, q):
    """E_q[-E] + H(q), state by state."""
    hidden = {f"h{k}": x for k, x in enumerate(q, start=1)}
    state, _, _ = machine.grid(hidden)
    log_q = sum(
        special.xlogy(x, q_).sum(1) + special.xlogy(1 - x, 1 - q_).sum(1)
        for x, q_ in ((state[g], hidden[g]) for g in hidden)
    )
    state["v"] = np.repeat(v[None], len(log_q), axis=0)
    return np.exp(log_q) @ (-machine.value(params, state) - log_q)


# ------------------------------------------------------------------------------------- description


@pytest.mark.parametrize("depth", range(1, 7))
def test_two_blocks_make_a_sweep_at_every_depth(depth):
    """Even layers are independent given the odd ones."""
    model = DeepBoltzmannMachine([2] * depth, n_iter=0, n_pretraining=0).fit(_rows())
    groups = ["v", *(f"h{k}" for k in range(1, depth + 1))]
    assert model.energy_.blocks() == [tuple(groups[::2]), tuple(groups[1::2])]
    report = model.energy_.conditionals()
    assert all(report.factorial.values())
    assert report.site_sweeps == ()


@every_depth
@pytest.mark.parametrize("visible", ["bernoulli", "spin", "gaussian"])
def test_exact_answers_are_those_of_enumeration(layers, visible):
    """Deliberate bugs that this catches: a layer coupled to the wrong one, a transposed matrix."""
    # Each real-valued unit multiplies the oracle's grid by the points of its quadrature.
    n_features = 2 if visible == "gaussian" else 4
    model, machine, X = _machine(layers, visible=visible, scale=0.6, n_features=n_features)
    assert set(model.params_) == set(machine.parameter_shapes())
    params = model.params_
    joint = machine.log_partition(params, {"v": X})
    if visible == "gaussian":  # the visible units summed out in closed form, by quadrature here
        assert model.log_partition_.value == pytest.approx(machine.log_partition(params), rel=1e-6)
    else:
        expected = joint - machine.log_partition(params)
        np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-9)
        np.testing.assert_array_equal(model.score_samples(X, "exact"), model.score_samples(X))
    np.testing.assert_allclose(model.free_energy(X), -joint, rtol=1e-9)
    for row in range(3):
        state, log_w = machine._joined({"v": X}, row)
        p = special.softmax(log_w - machine.value(params, state))
        for depth in range(1, len(layers) + 1):
            found = model.transform(X, depth=depth)[row]
            np.testing.assert_allclose(found, p @ state[f"h{depth}"], rtol=1e-8)
        f = p @ state["h1"] @ params["h1_j v_i"] + params["v"]
        mean = {
            "bernoulli": sigma,
            "spin": np.tanh,
            "gaussian": lambda f: f / np.exp(params["v.log_precision"]),
        }[visible](f)
        np.testing.assert_allclose(model.reconstruct(X)[row], mean, rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(model.transform(X), model.transform(X, depth=len(layers)))
    np.testing.assert_array_equal(model.components_, params["h1_j v_i"])


@every_depth
def test_means_of_larger_machines_are_the_mean_field_ones(layers):
    """Deliberate bug that this catches: one pass upwards in place of the fixed point."""
    model, _, X = _machine(layers, scale=0.5)
    found = model.infer(X, "mean-field")
    for row in range(4):
        q = _mean_field(model.params_, X[row], layers)
        for k, x in enumerate(q, start=1):
            np.testing.assert_allclose(found[f"h{k}"][row], x, atol=1e-7)


# --------------------------------------------------------------------------------------- the bound


@every_depth
@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_the_enumerated_one_and_not_above_the_likelihood(layers, seed):
    """Deliberate bugs that this catches: the entropy left out, or of the wrong layers."""
    model, machine, X = _machine(layers, seed)
    bound, exact = model.score_samples(X, "bound"), model.score_samples(X, "exact")
    assert (bound <= exact + 1e-9).all()
    log_z = machine.log_partition(model.params_)
    settled = model.infer(X, "mean-field")
    for row in range(3):
        q = [settled[f"h{k}"][row] for k in range(1, len(layers) + 1)]
        expected = _elbo(machine, model.params_, X[row], q) - log_z
        assert bound[row] == pytest.approx(expected, abs=1e-7)
    if len(layers) > 1:
        assert (bound < exact - 1e-6).any(), "with layers that depend on each other it is strict"


@pytest.mark.parametrize("layers", [(3,), (3, 2), (2, 3, 2)], ids=str)
def test_the_bound_is_tight_where_the_posterior_is_factorial(layers):
    model, _, X = _machine(layers)
    for name, w in model.params_.items():
        if name.startswith(("h2_j", "h3_j")):
            w[...] = 0
    exact = model.score_samples(X, "exact")
    np.testing.assert_allclose(model.score_samples(X, "bound"), exact, rtol=1e-9)


def test_the_bound_holds_however_few_steps_mean_field_makes(monkeypatch):
    """Also for means that are anything at all."""
    model, _, X = _machine((3, 2), scale=2.0)
    exact = model.score_samples(X, "exact")
    rng = np.random.default_rng(0)

    def anything(energy, params, known, **options):
        return known | {"h1": rng.random((len(X), 3)), "h2": rng.random((len(X), 2))}

    monkeypatch.setattr("fastboltz.models.deep.mean_field", anything)
    assert (model.score_samples(X, "bound") < exact).all()


def test_large_machines_answer_with_the_bound():
    """Annealed log Z and mean field, where nothing can be enumerated."""
    rng = np.random.default_rng(0)
    X = (rng.random((50, 40)) < rng.random(40)).astype(np.float32)
    model = DeepBoltzmannMachine((30, 30), n_iter=1, n_pretraining=1, random_state=0).fit(X)
    assert model.log_partition_.method == "ais"
    np.testing.assert_array_equal(model.score_samples(X), model.score_samples(X, "bound"))
    with pytest.raises(fb.NotEnumerableError, match=r"needs 2\*\*30 states.*method='bound'"):
        model.score_samples(X, "exact")
    assert model.score(X) == pytest.approx(model.score_samples(X).mean())


# ------------------------------------------------------------------ annealed importance sampling


def test_the_annealed_interval_holds_the_enumerated_log_z_of_random_machines():
    """200 machines of two to four hidden layers, couplings weak to strong.

    The number of misses is binomial with p = 0.05 where intervals are right. Deliberate bug that
    this catches: a layer summed out together with its neighbour.
    """
    misses, scores = 0, []
    for seed in range(200):
        layers = DEPTHS[1 + seed % 3]
        machine = _oracle(4, layers, ("bernoulli", "spin")[seed % 2])
        kinds = {"bernoulli": fb.Bernoulli, "spin": fb.Spin}
        energy = fb.Energy(
            {g: kinds[kind](*shape) for g, (kind, shape) in machine.groups.items()},
            [term.name for term in machine.terms],
        )
        scale = (0.4, 0.8, 1.2)[seed // 3 % 3]
        params = machine.random_parameters(np.random.default_rng(seed), scale=scale)
        exact = machine.log_partition(params)
        found = ais(energy, params, betas=10, n_chains=300, random_state=seed)
        misses += not found.low <= exact <= found.high
        scores.append((np.exp(exact - found.value) - 1) / found.standard_error)
    assert 0 < misses <= stats.binom.isf(1e-5, 200, 0.05)
    assert 140 < np.sum(np.square(scores)) < 290


@pytest.mark.parametrize(
    ("sizes", "summed"),
    [
        ((784, 500, 1000), {"v", "h2"}),
        ((20, 100, 30), {"h1"}),
        ((10, 20, 30, 40), {"h1", "h3"}),
        ((40, 30, 20, 10), {"v", "h2"}),
        ((9, 1, 9, 1, 9), {"v", "h2", "h4"}),
    ],
)
def test_annealing_sums_out_the_larger_of_the_even_and_the_odd_layers(sizes, summed):
    model = DeepBoltzmannMachine(sizes[1:], n_iter=0, n_pretraining=0)
    energy = model.fit(np.zeros((2, sizes[0]), np.float32)).energy_
    path = Path(energy, energy.init(0), {})
    assert set(path.summed) == summed
    assert len(path.rest_blocks) == 1


# ------------------------------------------------------------------------------------ pretraining


@pytest.mark.parametrize("twin", ["v", "h"])
def test_the_twin_rbm_follows_the_gradient_of_tied_copies(twin):
    """Exact gradients: that of the enumerated likelihood, a half of it in each copy.

    Deliberate bug that this catches: copies that go their own ways.
    """
    X = _rows(10, 3)
    options = {"method": "exact", "batch_size": 10, "centered": False, "learning_rate": 0.1}
    shape = {g: (2, n) if g == twin else (n,) for g, n in (("v", 3), ("h", 2))}
    data = np.hstack([X, X]) if twin == "v" else X

    def fitted(n_iter, **more):
        rbm = _TwinRBM(
            int(np.prod(shape["h"])),
            visible=fb.Bernoulli(*shape["v"]),
            hidden=fb.Bernoulli(*shape["h"]),
            n_iter=n_iter,
            random_state=0,
            **(options | more),
        )
        rbm.twin = twin
        return rbm.fit(data)

    before, after = fitted(0).single(), fitted(1).single()
    kinds = {"v": ("bernoulli", shape["v"]), "h": ("bernoulli", shape["h"])}
    term = "h_z v_ab" if twin == "v" else "h_yz v_a"
    machine = oracles.Machine(kinds, [term])
    axis = 0 if twin == "h" else 1

    def likelihood(one):
        params = {g: np.stack([one[g]] * 2) if g == twin else one[g] for g in ("v", "h")}
        params[term] = np.stack([one["w"]] * 2, axis=axis)
        return machine.log_likelihood(params, {"v": data.reshape(-1, *shape["v"])}, ["v"])

    for key in ("v", "h", "w"):
        for at in np.ndindex(before[key].shape):
            up, down = ({k: x.copy() for k, x in before.items()} for _ in range(2))
            up[key][at] += 1e-5
            down[key][at] -= 1e-5
            slope = (likelihood(up) - likelihood(down)) / 2e-5
            share = 2 if key in ("w", twin) else 1
            step = (after[key] - before[key])[at] / 0.1
            assert step == pytest.approx(slope / share, abs=1e-7), (key, at)
    many = fitted(20, method="pcd", optimizer="adam", centered=True)
    for key, axis in many._copies(many.params_):
        first, second = np.moveaxis(many.params_[key], axis, 0)
        np.testing.assert_array_equal(first, second)
    assert len(many._copies(many.params_)) == 2


@pytest.mark.parametrize("layers", [(3, 2), (3, 2, 4), (3, 2, 4, 2)], ids=str)
def test_a_composed_layer_has_half_the_field_that_each_rbm_gives_it(layers):
    """With their twins, or, between, with the layer itself (breaks when a weight is not halved)."""
    rng = np.random.default_rng(0)
    sizes = (4, *layers)
    last = len(layers) - 1
    stack = [
        {"v": rng.normal(size=a), "h": rng.normal(size=b), "w": rng.normal(size=(b, a))}
        for a, b in zip(sizes, layers, strict=False)
    ]
    model, _, _ = _machine(layers)
    energy = model.energy_
    params = _composed(stack, energy)
    assert set(params) == set(energy.parameter_shapes())
    x = [rng.integers(0, 2, n).astype(float) for n in sizes]
    state = {g: y[None] for g, y in zip(energy.groups, x, strict=True)}
    for k, name in enumerate(energy.groups):
        found = energy.field(params, state, name)[0] + params[name]
        if k == 0:
            expected = x[1] @ stack[0]["w"] + stack[0]["v"]
        elif k == len(layers):
            expected = stack[-1]["w"] @ x[k - 1] + stack[-1]["h"]
        else:
            below = (2 if k == 1 else 1) * stack[k - 1]["w"] @ x[k - 1] + stack[k - 1]["h"]
            above = (2 if k == last else 1) * x[k + 1] @ stack[k]["w"] + stack[k]["v"]
            expected = (below + above) / 2
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_pretraining_gives_a_better_beginning_than_a_stack_without_twins():
    """Bounds on held-out digits, in nats, over seeds 0 to 3: independent pixels -25.3, random
    weights -25.7 to -25.9, a stack of plain RBMs -22.6 to -24.6, with twins -21.2 to -21.3, and
    that learnt further -20.1 to -20.2. The margin is over five times the error of log Z.

    Deliberate bug that this catches: RBMs of the stack that hear their data once.
    """
    train, test = load_digits()
    machine = DeepBoltzmannMachine((40, 20), n_pretraining=15, n_iter=0, random_state=0)
    twins = clone(machine).fit(train.X)
    learnt = clone(machine).set_params(n_iter=15).fit(train.X)
    plain = clone(machine).set_params(n_pretraining=0).fit(train.X)
    fresh = clone(plain).set_params(n_iter=15).fit(train.X)
    rbms = DeepBeliefNetwork((40, 20), n_iter=15, random_state=0).fit(train.X).rbms_
    stack = [{**r.params_, "w": r.components_} for r in rbms]
    plain.params_ = _composed(stack, plain.energy_)
    plain._log_partition = None
    for m in (twins, learnt, plain, fresh):
        assert m.log_partition_.standard_error < 0.1
    p = (train.X.sum(axis=0) + 0.5) / (len(train.X) + 1)
    independent = (special.xlogy(test.X, p) + special.xlog1py(1 - test.X, -p)).sum(axis=1).mean()
    assert learnt.score(test.X) > twins.score(test.X) + 0.5
    assert learnt.score(test.X) > fresh.score(test.X) + 0.5
    assert twins.score(test.X) > plain.score(test.X) + 0.5
    assert twins.score(test.X) > independent + 0.5


# ------------------------------------------------------------------------------------ learning


@pytest.mark.parametrize("layers", [(3, 2), (2, 3, 2)], ids=str)
def test_the_mean_field_gradient_is_that_of_the_enumerated_bound(layers):
    """Finite differences of the bound at its settled q; negative phase exact.

    Deliberate bug that this catches: the positive phase of one pass upwards.
    """
    model, machine, X = _machine(layers)
    params, X = model.params_, X[:4]
    one = LogLikelihood(tuple(model.energy_.groups), negative="exact")
    objective = _VariationalObjective(model.energy_, one, 500, 1)
    # Steps end at the tolerance, so the means are good to about it.
    found, means, _ = objective.step(params, {"v": X}, objective.init(0))
    np.testing.assert_allclose(means["v"], X.mean(axis=0))

    def bound(at):
        each = [_elbo(machine, at, v, _mean_field(at, v, layers, 60)) for v in X]
        return np.mean(each) - machine.log_partition(at)

    for key in params:
        for position, direction in machine.directions(key):
            ends = [bound(params | {key: params[key] + e * direction}) for e in (1e-4, -1e-4)]
            slope = (ends[0] - ends[1]) / 2e-4
            assert found[key][position] == pytest.approx(slope, abs=3e-3), (key, position)


#: Five updates a pass, at a high rate that falls to zero.
LONG = {"batch_size": 20, "learning_rate": Linear(0.5), "n_chains": 100, "n_gibbs": 5}


def _four_patterns():
    """Rows of which the second half is the complement of the first in reverse, and their
    entropy."""
    X = np.array([[0, 0, 1, 1], [1, 1, 0, 0]] * 40 + [[0, 1, 0, 1], [1, 0, 1, 0]] * 10, float)
    return X, stats.entropy([0.4, 0.4, 0.1, 0.1])


@pytest.mark.parametrize(
    "options",
    [
        {"method": "exact"},
        {"method": "pcd"},
        {"method": "pcd", "inference": "gibbs"},
        {"method": "pcd", "n_pretraining": 0},
        {"method": "pcd", "layers": (4,)},
        {"method": "pcd", "layers": (4, 3, 2)},
    ],
    ids=str,
)
def test_learning_comes_near_to_the_entropy_of_the_data(options):
    """Exact log-likelihood of the rows learnt from. It cannot exceed minus their entropy, -1.19;
    with the four patterns alike, or the pairs of complementary pixels independent of one another,
    it is -log 4 = -1.39; independent pixels have -2.77. Over eight seeds each setting ends above
    -1.28.

    Many chains and several sweeps: a pattern differs from the next by two pixels at least, and few
    chains that seldom pass from one to another make the rates of the patterns waver.
    """
    X, entropy = _four_patterns()
    machine = DeepBoltzmannMachine(
        **{"layers": (4, 3), "n_iter": 200, "n_pretraining": 20, "random_state": 0} | LONG | options
    ).fit(X)
    assert -entropy > machine.score(X) > -np.log(4)


def test_samples_have_the_distribution_of_the_machine():
    """Independent chains: total variation of the 16 visible states within that of exact draws."""
    model, machine, _ = _machine((3, 2), scale=1.5)
    n = 20_000
    drawn = model.sample(n, 60, random_state=0)
    state, _, _ = machine.grid(["v"])
    p = np.exp(machine.log_partition(model.params_, {"v": state["v"]}))
    p /= p.sum()
    numbers = 1 << np.arange(4)
    cells = np.empty(16)
    cells[(state["v"] @ numbers).astype(int)] = p
    found = oracles.total_variation(cells, (drawn @ numbers).astype(int))
    assert found < oracles.total_variation_bound(cells, n)


def test_a_known_half_is_held_and_unknown_units_are_learnt_around():
    X = _rows()
    X[::3, 1] = np.nan
    for options in ({}, {"inference": "gibbs"}, {"method": "exact"}):
        machine = DeepBoltzmannMachine(
            (3, 2),
            **{"method": "pcd", "n_iter": 5, "n_pretraining": 2, "random_state": 0} | options,
        ).fit(X)
        assert all(np.isfinite(x).all() for x in machine.params_.values())
        assert np.isfinite(machine.score(X))
    drawn = machine.sample(given=[1, np.nan, 0, np.nan], n_samples=50, random_state=0)
    np.testing.assert_array_equal(drawn[:, [0, 2]], np.tile([1, 0], (50, 1)))


OPTIONS = [
    {},
    {"inference": "gibbs"},
    {"method": "pcd"},
    {"method": "tempered"},
    {"method": "trajectory"},
    {"visible": "gaussian"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_same_seed_gives_the_same_machine_on_any_number_of_threads(options):
    rng = np.random.default_rng(0)
    X = (rng.random((60, 12)) < 0.4).astype(np.float32)
    machine = DeepBoltzmannMachine((9, 7), n_iter=2, n_pretraining=2, random_state=0, **options)
    one = clone(machine).set_params(n_threads=1).fit(X).partial_fit(X)
    two = clone(machine).set_params(n_threads=2).fit(X)
    two = pickle.loads(pickle.dumps(two)).partial_fit(X)
    sparse_rows = clone(machine).fit(sparse.csr_matrix(X)).partial_fit(X)
    for key, x in one.params_.items():
        assert x.dtype == np.float32
        np.testing.assert_array_equal(two.params_[key], x, err_msg=key)
        np.testing.assert_allclose(sparse_rows.params_[key], x, rtol=2e-3, atol=2e-4)
    np.testing.assert_array_equal(one.sample(3), two.sample(3))
    assert one.n_iter_ == 3
    other = clone(machine).set_params(random_state=1).fit(X)
    assert not np.array_equal(other.components_, one.components_)


def test_visible_units_of_several_axes_stand_twice_as_well():
    rng = np.random.default_rng(0)
    X = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (30, 2))].reshape(30, 6)
    machine = DeepBoltzmannMachine(
        (4, 3), visible=fb.Categorical(2, 3), n_iter=2, n_pretraining=2, random_state=0
    ).fit(X)
    assert machine.components_.shape == (4, 6)
    np.testing.assert_allclose(machine.reconstruct(X).reshape(30, 2, 3).sum(axis=2), 1, rtol=1e-5)


# ---------------------------------------------------------------------------- deep belief network


def _network(layers, seed=0, scale=1.0, visible="bernoulli"):
    X = _rows() if visible != "spin" else 2 * _rows() - 1
    network = DeepBeliefNetwork(layers, visible=visible, n_iter=0, random_state=0).fit(X)
    rng = np.random.default_rng(seed)
    for rbm in network.rbms_:
        rbm.params_ = {key: scale * rng.normal(size=x.shape) for key, x in rbm.params_.items()}
        rbm._log_partition = None
    return network, X


def _states(n):
    return np.array(np.meshgrid(*[[0.0, 1.0]] * n, indexing="ij")).reshape(n, -1).T


def _log_bernoulli(x, field):
    """log p(x | field), summed over the last axis."""
    return (x * field - np.logaddexp(0, field)).sum(axis=-1)


def _joint(network, layers, v):
    """log p(v, h1, ..., h(L-1)) of one row for every state of the layers below the top, and
    log q(h | v) of the pass upwards."""
    *lower, top = [
        (r.components_, r.intercept_visible_, r.intercept_hidden_) for r in network.rbms_
    ]

    def top_log_p(x):
        w, b, c = top

        def unnormalised(y):
            return y @ b + np.logaddexp(0, y @ w.T + c).sum(axis=-1)

        return unnormalised(x) - special.logsumexp(unnormalised(_states(len(b))))

    log_p, log_q, below = np.zeros(1), np.zeros(1), v[None]
    for k, (w, b, c) in enumerate(lower):
        h = _states(layers[k])
        a, n = len(below), len(h)
        below, h = np.repeat(below, n, axis=0), np.tile(h, (a, 1))
        log_p = np.repeat(log_p, n) + _log_bernoulli(below, h @ w + b)
        log_q = np.repeat(log_q, n) + _log_bernoulli(h, below @ w.T + c)
        below = h
    return log_p + top_log_p(below), log_q


@pytest.mark.parametrize("layers", DEPTHS[1:], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_the_networks_score_is_the_enumerated_bound(layers, seed):
    """Within the error of independent draws, which spread uniforms do not exceed; and below the
    enumerated likelihood. Deliberate bugs that this catches: free energies of the wrong side, log Z
    of the wrong RBM."""
    network, X = _network(layers, seed)
    n = 4000
    found = network.score_samples(X[:4], n_draws=n)
    for row in range(4):
        log_p, log_q = _joint(network, layers, X[row])
        q, w = np.exp(log_q), log_p - log_q
        bound = q @ w
        error = np.sqrt(q @ (w - bound) ** 2 / n)
        assert abs(found[row] - bound) < Z_LIMIT * error + 1e-9
        exact = special.logsumexp(log_p)
        assert found[row] <= exact + Z_LIMIT * error
        assert bound < exact
    few = network.score_samples(X)
    np.testing.assert_array_equal(few[::-1], network.score_samples(X[::-1]))
    np.testing.assert_array_equal(few[3:4], network.score_samples(X[3:4]))
    assert network.score(X) == pytest.approx(few.mean())


def test_one_layer_is_an_rbm():
    network, X = _network((3,))
    (rbm,) = network.rbms_
    np.testing.assert_allclose(network.score_samples(X), rbm.score_samples(X), rtol=1e-12)
    np.testing.assert_array_equal(network.transform(X), rbm.transform(X))
    np.testing.assert_array_equal(network.sample(9, random_state=3), rbm.sample(9, random_state=3))
    assert network.log_partition_ == rbm.log_partition_


@pytest.mark.parametrize("layers", [(3, 2), (2, 3, 2)], ids=str)
def test_the_networks_samples_have_its_distribution(layers):
    """Deliberate bug that this catches: means passed down in place of draws."""
    network, _ = _network(layers, scale=1.5)
    n = 20_000
    drawn = network.sample(n, 60, random_state=0)
    every = _states(4)
    p = np.exp([special.logsumexp(_joint(network, layers, v)[0]) for v in every])
    assert p.sum() == pytest.approx(1, rel=1e-9)
    cells = (drawn @ (1 << np.arange(4)[::-1])).astype(int)
    assert oracles.total_variation(p, cells) < oracles.total_variation_bound(p, n)
    first, second = network.sample(5), network.sample(5)
    assert not np.array_equal(first, second)


def test_the_pass_upwards_is_layer_by_layer():
    network, X = _network((3, 2, 2))
    x = X
    for depth, rbm in enumerate(network.rbms_, start=1):
        x = sigma(x @ rbm.components_.T + rbm.intercept_hidden_)
        np.testing.assert_allclose(network.transform(X, depth=depth), x, rtol=1e-12)
    np.testing.assert_allclose(network.transform(X), x, rtol=1e-12)
    np.testing.assert_array_equal(network.components_, network.rbms_[0].components_)


def test_each_rbm_learns_from_the_means_of_the_one_below():
    """And together they are better than the four patterns alike, even by the bound."""
    X, entropy = _four_patterns()
    network = DeepBeliefNetwork((4, 3), n_iter=300, random_state=0, **LONG).fit(X)
    first, second = network.rbms_
    again = clone(second).fit(first.transform(X))
    np.testing.assert_array_equal(again.components_, second.components_)
    assert -entropy > network.score(X) > -np.log(4)
    other = clone(network).set_params(n_threads=2).fit(sparse.csr_matrix(X))
    np.testing.assert_allclose(other.components_, network.components_, rtol=1e-6)
    copy = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(copy.sample(4), network.sample(4))
    # Rows of weight zero count for nothing: these have odd numbers of ones.
    others = np.repeat(np.eye(4), 25, axis=0)
    weighted = clone(network).fit(np.r_[X, others], sample_weight=np.repeat([1.0, 0.0], 100))
    assert weighted.score(X) > -np.log(4)
    assert weighted.score(others) < -4


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5])
def test_an_interrupted_network_has_the_layers_that_have_learnt(at):
    """Catches hours of training lost, and a stack that mixes RBMs of two trainings."""
    epochs = iter(range(6))

    def stop(progress):
        if next(epochs) == at:
            raise KeyboardInterrupt

    X = _rows()
    options = {"n_iter": 2, "batch_size": 8, "random_state": 0}
    network = DeepBeliefNetwork((3, 2, 2), callbacks=[stop], **options)
    with pytest.raises(KeyboardInterrupt):
        network.fit(X)
    layers = (3, 2, 2)[: at // 2 + 1]
    whole = DeepBeliefNetwork((3, 2, 2), **options).fit(X)
    assert [len(rbm.components_) for rbm in network.rbms_] == list(layers)
    for k in range(at // 2):
        np.testing.assert_array_equal(network.rbms_[k].components_, whole.rbms_[k].components_)
    assert network.rbms_[-1].n_iter_ == at % 2 + 1
    assert network.transform(X).shape == (len(X), layers[-1])
    assert len(network.get_feature_names_out()) == layers[-1]
    assert network.sample(2).shape == (2, 4)


def test_a_network_learns_on_pass_after_pass():
    """By hand, with the RBMs' own partial_fit, each above what is below it after its pass."""
    X, options = _rows(60), {"batch_size": 20, "random_state": 0}
    weight = np.arange(60) % 3
    network = DeepBeliefNetwork((3, 2), **options)
    begun = DeepBeliefNetwork((3, 2), n_iter=0, **options).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(
        clone(begun.rbms_[0]).partial_fit(X, sample_weight=weight).components_,
        clone(network).partial_fit(X, sample_weight=weight).rbms_[0].components_,
    )
    lower, upper = (clone(rbm) for rbm in begun.rbms_)
    for _ in range(3):
        assert network.partial_fit(X, sample_weight=weight) is network
        lower.partial_fit(X, sample_weight=weight)
        upper.partial_fit(lower.transform(X), sample_weight=weight)
    for rbm, by_hand in zip(network.rbms_, (lower, upper), strict=True):
        np.testing.assert_array_equal(rbm.components_, by_hand.components_)
    assert network.n_iter_ == 6
    assert network.transform(X).shape == (60, 2)
    network.set_params(learning_rate=1e-30).partial_fit(X)
    np.testing.assert_array_equal(network.rbms_[0].components_, lower.components_)


def test_a_network_that_was_given_other_units_does_not_learn_on():
    X = _rows()
    network = DeepBeliefNetwork((3, 2), n_iter=1, random_state=0).fit(X)
    for name, value in (("layers", (3, 4)), ("layers", (3,)), ("visible", "gaussian")):
        then = network.get_params()[name]
        network.set_params(**{name: value})
        sentence = f"the network has {name}={then!r}, but now it is {value!r}; partial_fit goes"
        with pytest.raises(ValueError, match="^" + re.escape(sentence)):
            network.partial_fit(X)
        network.set_params(**{name: then}).partial_fit(X)
    with pytest.raises(TypeError, match="an iterator of chunks"):
        network.transform(iter([X]))


def test_the_history_of_a_network_is_that_of_its_rbms_one_after_the_other():
    X = _rows()

    def watch(progress):
        if progress.model.n_components == 2:
            progress.state.record(seen=progress.state.epoch)

    options = {"n_iter": 3, "batch_size": 8, "random_state": 0}
    network = DeepBeliefNetwork((3, 2), callbacks=[watch], **options)
    for name in ("history_", "n_iter_"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'; call fit first"):
            getattr(network, name)
    network.fit(X)
    assert network.n_iter_ == 6
    assert network.history_["layer"] == [1, 1, 1, 2, 2, 2]
    assert network.history_["epoch"] == [1, 2, 3, 1, 2, 3]
    np.testing.assert_array_equal(network.history_["seen"], [np.nan] * 3 + [1, 2, 3])


def test_callbacks_of_the_networks_rbms_see_the_means_of_the_one_below():
    """Deliberate bug that this catches: rows of the data given to all of them."""
    X, held = _rows(60), _rows(20, seed=1)
    watched = [Monitor(held, what="log_likelihood", every=1), TrajectoryLikelihood(held, every=1)]
    stop = EarlyStopping(held, patience=1, min_delta=100.0)
    options = {"n_iter": 3, "batch_size": 20, "random_state": 0}
    network = DeepBeliefNetwork((3, 2), callbacks=watched, **options).fit(X)
    for below, rbm in zip(([], network.rbms_[:1]), network.rbms_, strict=True):
        rows = below[0].transform(held) if below else held
        np.testing.assert_allclose(rbm.history_["log_likelihood"][-1], rbm.score(rows), rtol=1e-6)
        assert len(rbm.history_["averaged_log_likelihood"]) == 3
    stopped = DeepBeliefNetwork((3, 2), callbacks=[stop], **options).fit(X)
    assert [rbm.n_iter_ for rbm in stopped.rbms_] == [2, 2]
    assert stop.best == stopped.rbms_[0].score(held)


# ------------------------------------------------------------------------------------- sentences

X0 = _rows()
BOTH = [DeepBoltzmannMachine, DeepBeliefNetwork]


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize(
    ("options", "X", "sentence"),
    [
        (
            {"layers": ()},
            X0,
            "layers must be the sizes of the hidden layers from the data upwards, e.g. "
            "(500, 1000); got ().",
        ),
        ({"layers": 500}, X0, "layers must be the sizes of the hidden layers"),
        ({"layers": "500"}, X0, "layers must be the sizes of the hidden layers"),
        ({"layers": np.array([])}, X0, "e.g. (500, 1000); got array([], dtype=float64)."),
        ({"layers": np.array([[3, 2]])}, X0, "layers[0] must be a whole number >= 1; got [3, 2]."),
        ({"layers": (3, 0)}, X0, "layers[1] must be a whole number >= 1; got 0."),
        ({"visible": "bits"}, X0, "visible must be one of"),
        ({"method": "tempering"}, X0, "method must be one of"),
        ({"n_iter": -1}, X0, "n_iter must be a whole number >= 0; got -1."),
        ({}, 3 * X0 + 1, "X has values in [1, 4]; Bernoulli units need [0, 1]."),
    ],
)
def test_bad_input_gets_a_sentence(model, options, X, sentence):
    with pytest.raises((ValueError, TypeError), match=re.escape(sentence)):
        model(**{"layers": (3, 2), **options}).fit(X)


@pytest.mark.parametrize("model", BOTH)
def test_sizes_of_layers_may_come_in_an_array(model):
    one, other = (
        clone(model(layers, n_iter=1, random_state=0)).fit(X0)
        for layers in ((3, 2), np.array([3, 2]))
    )
    np.testing.assert_array_equal(one.transform(X0), other.transform(X0))


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize("depth", [0, 3, -1, 1.5, 1.0, True, "top", np.array([1, 2])])
def test_a_layer_that_does_not_exist_is_named(model, depth):
    fitted = model((3, 2), n_iter=0).fit(X0)
    sentence = (
        f"depth must be a whole number from 1, the layer next to the data, to 2, the top; got "
        f"{depth!r}."
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        fitted.transform(X0, depth=depth)


@pytest.mark.parametrize("model", BOTH)
def test_what_is_learnt_is_not_there_before_fit(model):
    for name in ("components_", "log_partition_"):
        with pytest.raises(AttributeError, match=f"{name}'; call fit first"):
            getattr(model(), name)


def test_sentences_of_the_deep_boltzmann_machine():
    for options, sentence in (
        ({"inference": "exact"}, "inference must be one of 'mean-field', 'gibbs'; got 'exact'."),
        (
            {"method": "cd"},
            "method must be one of 'auto', 'pcd', 'exact', 'tempered', 'trajectory'; got 'cd'.",
        ),
        ({"n_pretraining": -1}, "n_pretraining must be a whole number >= 0; got -1."),
    ):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            DeepBoltzmannMachine((3, 2), **options).fit(X0)
    machine = DeepBoltzmannMachine((3, 2), n_iter=0, n_pretraining=0).fit(X0)
    with pytest.raises(ValueError, match="method must be one of 'auto', 'exact', 'bound'"):
        machine.score_samples(X0, "ais")
    unknown = X0.copy()
    unknown[0, 0] = np.nan
    with pytest.raises(ValueError, match="the variational bound needs every unit of a row, but X"):
        machine.score_samples(unknown, "bound")
    with pytest.raises(ValueError, match="n_draws must be a whole number >= 1; got 0"):
        DeepBeliefNetwork((3,), n_iter=0).fit(X0).score_samples(X0, n_draws=0)


@pytest.mark.parametrize("unit", [fb.Gaussian(4), fb.ReLU(4)], ids=repr)
def test_unknown_units_with_a_precision_have_their_squares(unit):
    """Rows that tell nothing, without weights: data and model have the same statistics, that of the
    precision too. Filled in at their means, units would have no variance."""
    energy = fb.Energy({"v": unit, "h": fb.Bernoulli(3)}, ["v_i h_j"])
    params = energy.init(0, scale=0.0, dtype=np.float64)
    params["v"] += 0.3
    params["v.log_precision"] -= 0.5
    likelihood = LogLikelihood(("v", "h"), negative="exact")
    objective = _VariationalObjective(energy, likelihood, 10, 1)
    n = 20_000
    gradient, _, _ = objective.step(params, {"v": np.full((n, 4), np.nan)}, objective.init(0))
    assert (np.abs(gradient["v.log_precision"]) < 4.5 * 2 / np.sqrt(n)).all()
