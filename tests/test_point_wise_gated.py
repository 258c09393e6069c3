"""Point-wise gated machines: against enumeration, and masks of digits over noise."""

from __future__ import annotations

import itertools
import pickle
import re
from dataclasses import replace

import numpy as np
import oracles
import pytest
from scipy import special, stats
from sklearn.base import clone
from sklearn.datasets import load_digits
from test_objectives import _assert_gradient

import fastboltz as fb
from fastboltz import PointwiseGatedRBM, PointwiseGatedRBMClassifier
from fastboltz.models import point_wise_gated
from fastboltz.models.point_wise_gated import Relevance, _Inference
from fastboltz.optimizers import Constant

Z_LIMIT = 4.5
SIZES = {"two groups": (2, 1), "a mask": (2, 0), "three": (1, 1, 1), "equal": 2}
every_size = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def _data(n=24, seed=0, kind="bernoulli"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) if kind == "gaussian" else rng.integers(0, 2, (n, 3)) * 1.0
    return X, rng.integers(0, 3, n)


def _fitted(sizes=(2, 1), labels=False, **options):
    kind = PointwiseGatedRBMClassifier if labels else PointwiseGatedRBM
    own = {"n_iter": 2, "n_pretraining": 1, "batch_size": 8, "random_state": 0}
    model = kind(sizes, **(own | options))
    return model.fit(*_data(kind=options.get("visible", "bernoulli")))


def _with_parameters(sizes=(2, 1), labels=False, seed=1, scale=0.7, **options):
    """The model with random parameters, and the oracle of its energy."""
    model = _fitted(sizes, labels, **{"n_iter": 0} | options)
    kinds = {g: (u.name, u.shape) for g, u in model.energy_.groups.items()}
    machine = oracles.Machine(kinds, [t.name for t in model.energy_.terms])
    params = machine.random_parameters(np.random.default_rng(seed), scale=scale)
    for key, x in params.items():
        model.params_[key][...] = x
    return model, machine, params


def _posterior(machine, params, given, row):
    """States of the free groups, and their probabilities given one row."""
    state, log_w = machine._joined(given, row)
    return state, special.softmax(log_w - machine.value(params, state))


def _says(sentence, error=ValueError):
    return pytest.raises(error, match="^" + re.escape(sentence))


# -------------------------------------------------------------------------------------- the energy


@every_size
def test_the_declared_energy_is_that_of_the_paper(sizes):
    """Written out with sums over single units. Deliberate bug that this catches: a component that
    hears the switches of another."""
    model, _, p = _with_parameters(sizes, labels=True)
    sizes = (sizes, sizes) if np.ndim(sizes) == 0 else sizes
    rng = np.random.default_rng(3)
    n, R = 20, len(sizes)
    v, y = rng.integers(0, 2, (n, 3)) * 1.0, np.eye(3)[rng.integers(0, 3, n)]
    z = np.eye(R)[rng.integers(0, R, (n, 3))]
    h = [rng.integers(0, 2, (n, k)) * 1.0 for k in sizes]
    expected = -(v @ p["v"]) - y @ p["y"] - (z * p["z"]).sum(axis=(1, 2))
    for r in range(R):
        for i in range(3):
            expected -= p[f"v_i z_i{r}"][i] * z[:, i, r] * v[:, i]
            for k in range(sizes[r]):
                expected -= z[:, i, r] * v[:, i] * p[f"h{r}_k v_i z_i{r}"][k, i] * h[r][:, k]
        if sizes[r]:
            expected -= h[r] @ p[f"h{r}"]
    expected -= np.einsum("nk,kc,nc->n", h[0], p["h0_k y_c"], y)
    state = {"v": v, "y": y, "z": z} | {f"h{r}": h[r] for r in range(R) if sizes[r]}
    np.testing.assert_allclose(model.energy_.value(p, state), expected, rtol=1e-9, atol=1e-12)


def test_the_report_says_what_is_easy():
    report = _fitted((2, 1)).energy_.conditionals()
    assert all(report.factorial.values())
    assert report.blocks == [("v",), ("z",), ("h0", "h1")]
    assert (("z", "v"), "shared index") in report.joint or (
        ("v", "z"),
        "shared index",
    ) in report.joint


# --------------------------------------------------------------------------------------- inference


def test_inference_begins_with_component_0_seeing_all():
    """As the RBM did that it was pretrained as. Deliberate bug that this catches: undecided
    switches, which halve the field of every hidden unit."""
    model, _, p = _with_parameters((2, 1), n_inference=1)
    X, _ = _data()
    own = special.expit(p["h0"] + X @ p["h0_k v_i z_i0"].T)
    np.testing.assert_allclose(model.transform(X, component=0), own, rtol=1e-9)
    other = np.broadcast_to(special.expit(p["h1"]), (24, 1))
    np.testing.assert_allclose(model.transform(X, component=1), other, rtol=1e-9)


def test_the_pretrained_rbm_is_what_component_0_begins_with():
    """Hidden units given all visible ones, and their biases; the others begin as the data are.

    Deliberate bug that this catches: the RBM's visible bias in every component.
    """
    X, y = _data(200)
    options = {"n_iter": 0, "n_pretraining": 3, "sparsity": 0.0, "random_state": 0}
    model = PointwiseGatedRBM((3, 0), mask_bias=-0.5, n_inference=1, **options).fit(X, y)
    own, rest = model.intercept_visible_
    plain = PointwiseGatedRBM((3, 0), mask_bias=-0.5, **options | {"n_pretraining": 0}).fit(X)
    np.testing.assert_allclose(rest, plain.intercept_visible_[1])
    assert not np.allclose(own + 0.5, rest)
    np.testing.assert_allclose(model.params_["z"] - plain.params_["z"], 0)
    np.testing.assert_allclose(model.params_["z"], np.tile([-0.5, 0.0], (3, 1)))
    seed = int(np.random.default_rng(model._seed).integers(2**31))
    rbm = fb.RBM(3, method="cd", n_iter=3, momentum=0.5, random_state=seed).fit(X)
    np.testing.assert_allclose(own, rbm.intercept_visible_ - 0.5)
    found, expected = (np.sort(m.transform(X), axis=1) for m in (model, rbm))
    np.testing.assert_allclose(found, expected)


@every_size
@pytest.mark.parametrize("labels", [False, True], ids=["no label", "label"])
def test_mean_field_is_a_fixed_point(sizes, labels):
    """Each mean is that of its conditional with the others at their means, worked out by hand.

    Deliberate bug that this catches: hidden units that see the visible units unmasked.
    """
    model, _, p = _with_parameters(sizes, labels, n_inference=1000)
    X, _ = _data()
    Z = np.stack([model.masks(X, component=r) for r in range(len(model.components_))], axis=-1)
    H = [model.transform(X, component=r) for r in range(len(model.components_))]
    tops = []
    for r, W in enumerate(model.components_):
        tops.append(X * (H[r] @ W + p[f"v_i z_i{r}"]))
        if not len(W):
            continue
        field = (X * Z[..., r]) @ W.T + p[f"h{r}"]
        if labels and r == 0:
            logits = H[0] @ p["h0_k y_c"] + p["y"]
            field += special.softmax(logits, axis=1) @ p["h0_k y_c"].T
        np.testing.assert_allclose(special.expit(field), H[r], atol=1e-4)
    np.testing.assert_allclose(
        special.softmax(np.stack(tops, axis=-1) + p["z"], axis=-1), Z, atol=1e-4
    )


@every_size
@pytest.mark.parametrize("labels", [False, True], ids=["no label", "label"])
def test_the_bound_lies_below_the_likelihood_and_near_it(sizes, labels):
    """Deliberate bugs that this catches: the entropy left out (too low), counted twice (above)."""
    for seed in range(4):
        model, machine, p = _with_parameters(sizes, labels, seed, n_inference=200)
        X, y = _data()
        given = {"v": X} | ({"y": np.eye(3)[y]} if labels else {})
        exact = machine.log_partition(p, given) - machine.log_partition(p)
        args = (X, y) if labels else (X,)
        np.testing.assert_allclose(model.score_samples(*args), exact, rtol=1e-9)
        bound = model.score_samples(*args, method="bound")
        assert (bound <= exact + 1e-9).all()
        # The gap is KL(q || posterior); without the entropy of the switches it would be 2 nats.
        assert (exact - bound).mean() < 0.2
        one_step = clone(model).set_params(n_inference=1)
        one_step.__dict__ |= {
            k: v for k, v in vars(model).items() if k.endswith("_") or k[0] == "_"
        }
        assert (one_step.score_samples(*args, method="bound") <= exact + 1e-9).all()


@pytest.mark.parametrize("labels", [False, True], ids=["no label", "label"])
def test_gibbs_inference_leaves_the_enumerated_posterior(labels):
    """Means of 20,000 chains of one row, each a draw of the posterior after its sweeps.

    Deliberate bugs that this catches: v drawn too; switches that are never drawn.
    """
    model, machine, p = _with_parameters((2, 1), labels, inference="gibbs", n_inference=30)
    X, y = np.array([[1.0, 0.0, 1.0]]), np.array([1])
    n = 20_000
    given = {"v": X} | ({"y": np.eye(3)[y]} if labels else {})
    state, w = _posterior(machine, p, given, 0)
    inference = model._inference(model.energy_)
    known = {g: np.repeat(x, n, axis=0) for g, x in given.items()}
    drawn = inference(model.params_, known, fb.rng.Address.of(5, "unknown"))
    for g in ("z", "h0", "h1"):
        mean = np.tensordot(w, state[g], axes=1)
        sd = np.sqrt(mean * (1 - mean) / n)
        assert (np.abs(drawn[g].mean(axis=0) - mean) < Z_LIMIT * sd + 1e-12).all()
    # Joint with the first switch: the pairs have the posterior's correlation too.
    pair = np.tensordot(w, state["z"][:, 0, :1] * state["h0"], axes=1)
    found = (drawn["z"][:, 0, :1] * drawn["h0"]).mean(axis=0)
    assert (np.abs(found - pair) < Z_LIMIT * np.sqrt(pair * (1 - pair) / n)).all()
    # Answers are averages over as many sweeps again of one chain a row.
    rows = np.repeat(X, 2000, axis=0)
    means = model.masks(rows, **({"y": np.repeat(y, 2000)} if labels else {}))
    mean = np.tensordot(w, state["z"], axes=1)[:, 0]
    error = means.std(axis=0) / np.sqrt(2000)
    assert (np.abs(means.mean(axis=0) - mean) < Z_LIMIT * error).all()


def test_labels_take_part_in_inferring_the_switches():
    """Enumerated posteriors differ with the label, and mean field follows their difference."""
    model, machine, p = _with_parameters((2, 1), True, scale=1.0, n_inference=500)
    X = np.ones((3, 3))
    masks = model.masks(X, [0, 1, 2])
    exact = []
    for row in range(3):
        state, w = _posterior(machine, p, {"v": X, "y": np.eye(3)}, row)
        exact.append(np.tensordot(w, state["z"][..., 0], axes=1))
    exact = np.array(exact)
    change, wanted = masks - masks.mean(axis=0), exact - exact.mean(axis=0)
    assert np.abs(wanted).max() > 0.02
    assert np.corrcoef(change.ravel(), wanted.ravel())[0, 1] > 0.9


def test_probabilities_of_labels_are_those_given_the_inferred_switches():
    """p(y | v, z) enumerated over h0 alone: the other component cancels.

    Deliberate bug that this catches: switches inferred with the wrong label, or left at a half.
    """
    for inference in ("mean-field", "gibbs"):
        model, machine, p = _with_parameters((2, 1), True, inference=inference, n_inference=50)
        X, _ = _data()
        if inference == "mean-field":
            Z = np.stack([model.masks(X, component=r) for r in (0, 1)], axis=-1)
            log_p = np.stack(
                [
                    machine.log_partition(p, {"v": X, "z": Z, "y": np.repeat(y[None], 24, axis=0)})
                    for y in np.eye(3)
                ],
                axis=1,
            )
            log_p -= special.logsumexp(log_p, axis=1, keepdims=True)
            np.testing.assert_allclose(model.predict_log_proba(X), log_p, rtol=1e-8)
            np.testing.assert_array_equal(model.predict(X), log_p.argmax(axis=1))
            np.testing.assert_allclose(model.predict_proba(X), np.exp(log_p))
        else:  # the average over draws of z tends to p(y | v) itself
            rows = np.repeat(X[:1], 3000, axis=0)
            found = model.predict_proba(rows)
            state, w = _posterior(machine, p, {"v": X}, 0)
            error = found.std(axis=0) / np.sqrt(3000)
            assert (np.abs(found.mean(axis=0) - w @ state["y"]) < Z_LIMIT * error).all()


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("sizes", [(40, 30), (40, 0)], ids=["two groups", "a mask"])
@pytest.mark.parametrize("labels", [False, True], ids=["no label", "label"])
def test_two_switches_by_their_difference_are_inferred_as_by_the_general_way(
    visible, sizes, labels, monkeypatch
):
    """The same means but for rounding, and the same draws but where a uniform falls between.

    Deliberate bugs that this catches: the second component's share added; the label's field left
    out; random numbers of another sweep; rows of the second part that draw those of the first.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 60)) if visible == "gaussian" else rng.random((600, 60)) < 0.4
    X, y = X.astype(np.float32), rng.integers(0, 3, 600)
    kind = PointwiseGatedRBMClassifier if labels else PointwiseGatedRBM
    model = kind(sizes, visible=visible, n_iter=0, n_pretraining=0, random_state=0).fit(X, y)
    for x in model.params_.values():
        x += rng.normal(0, 0.2, x.shape).astype(np.float32)
    knowns = [{"v": X}, {"v": X, "y": np.eye(3, dtype=np.float32)[y]}][: 1 + labels]
    for method, known in itertools.product(("mean-field", "gibbs"), knowns):
        for n_steps, n_threads in ((1, 1), (4, 2), (300, 1))[: 3 if method == "mean-field" else 2]:
            inference = _Inference(model.energy_, method, n_steps, n_threads)
            at = fb.rng.Address.of(3, "unknown", step=5, row=7)
            found = inference.means(model.params_, known, at)
            with monkeypatch.context() as patch:
                patch.setattr(point_wise_gated, "serves", lambda *_: False)
                expected = inference.means(model.params_, known, at)
            assert list(found) == list(expected)
            single = replace(inference, n_threads=1).means(model.params_, known, at)
            for g, x in expected.items():
                assert found[g].shape == x.shape and found[g].dtype == x.dtype
                np.testing.assert_array_equal(found[g], single[g])
                off = np.abs(found[g] - x) > 2e-4
                assert off.mean() < (1e-3 if method == "gibbs" else 1e-12)


# ---------------------------------------------------------------------------------------- learning


@every_size
@pytest.mark.parametrize("labels", [False, True], ids=["no label", "label"])
def test_exact_gradients_are_differences_of_the_enumerated_objective(sizes, labels):
    model, machine, params = _with_parameters(sizes, labels, scale=0.4, method="exact")
    X, y = _data(n=4)
    data = {"v": X} | ({"y": np.eye(3)[y]} if labels else {})

    def enumerated(p):
        if not labels:
            return machine.log_likelihood(p, data, ("v",))
        total = machine.log_likelihood(p, data, ("y",), ("v",))
        return total + model.alpha * machine.log_likelihood(p, data, ("v", "y"))

    gradient = model._objective(model.energy_, 1).gradient(params, data)
    entry = type("Entry", (), {"machine": machine})
    _assert_gradient(entry, params, gradient, enumerated)


@pytest.mark.parametrize("objective", ["hybrid", "generative", "discriminative"])
def test_learning_steps_are_gradients_with_the_inferred_units_held(objective, monkeypatch):
    """Positive and exact negative phases: differences of the enumerated log-likelihood of rows
    completed at their mean-field means, in which those means stay as they are.

    Deliberate bug that this catches: switches of p(y | v, z) inferred from the label.
    """
    alpha = 0.3
    model, machine, params = _with_parameters(
        (2, 1), True, scale=0.4, objective=objective, alpha=alpha, n_inference=300
    )
    X, y = _data(n=4)
    Y = np.eye(3)[y]
    objective_ = model._objective(model.energy_, 1)
    for k, (phases, part) in enumerate(zip(objective_._phases, objective_.parts, strict=True)):
        # The expectation of the model, in the place of its chains.
        exact = fb.objectives.LogLikelihood(
            part.likelihood.of, part.likelihood.given, part.likelihood.weight, negative="exact"
        )
        phases.__init__(model.energy_, exact, 1)
        objective_.parts[k] = replace(part, likelihood=exact)
    # And switches at their means, in the place of draws.
    monkeypatch.setattr(type(objective_.inference), "drawn", lambda self, params, z, at: z)
    found, _, _ = objective_.step(params, {"v": X, "y": Y}, objective_.init(0))

    def completed(y):
        means = [model.masks(X, y, component=r) for r in (0, 1)]
        hidden = [model.transform(X, y, component=r) for r in (0, 1)]
        return {"v": X, "z": np.stack(means, axis=-1), "h0": hidden[0], "h1": hidden[1]}

    alone, with_label = completed(None), completed(y) | {"y": Y}

    def enumerated(p):
        total = 0.0
        if objective != "generative":
            given = {"v": X, "z": alone["z"]}
            total += machine.log_likelihood(p, given | {"y": Y}, ("y",), ("v", "z"))
        if objective != "discriminative":
            weight = 1.0 if objective == "generative" else alpha
            value = -machine.value(p, with_label).mean() - machine.log_partition(p)
            total += weight * value
        return total

    entry = type("Entry", (), {"machine": machine})
    _assert_gradient(entry, params, found, enumerated)


@pytest.mark.parametrize("labels", [False, True], ids=["no label", "label"])
def test_contrastive_divergence_completes_both_phases_by_the_same_inference(labels):
    """After many sweeps the chains' visible units and labels have the model's distribution, which
    is enumerated; the expected gradient is that of rows completed at their mean-field means, less
    that of all rows of the model's, completed alike and weighted by their probabilities.

    Deliberate bugs that this catches: the chain's own switches in the negative phase, a label that
    the negative phase forgets, and chains that keep the rows' switches.
    """
    options = {"objective": "generative"} if labels else {}
    model, machine, params = _with_parameters((2, 1), labels, scale=0.6, n_gibbs=40, **options)
    n = 20_000
    X, y = (np.repeat(x, n // 24 + 1, axis=0) for x in _data())
    n = len(X)
    data = {"v": X} | ({"y": np.eye(3)[y]} if labels else {})
    observed = tuple(data)
    objective = model._objective(model.energy_, 1)
    found, _, _ = objective.step(params, data, objective.init(0))

    def completed(rows):
        known = {g: rows[g] for g in observed}
        z = np.stack([model._masks(known, r) for r in (0, 1)], axis=-1)
        hidden = model._means_of_hidden(known, None)
        return known | {"z": z, "h0": hidden[:, :2], "h1": hidden[:, 2:]}

    states = oracles.Machine({g: machine.groups[g] for g in observed}, []).grid()[0]
    log_p = machine.log_partition(params, states)
    p = np.exp(log_p - special.logsumexp(log_p))
    positive = machine.statistics(params, completed(data))
    negative = machine.statistics(params, completed(states), p)
    variance = machine.statistic_variances(params, completed(states), p)
    for key, x in positive.items():
        se = np.sqrt(variance[key] / n) + 1e-9
        assert np.abs((found[key] - (x - negative[key])) / se).max() < 4.5, key


def test_switches_are_drawn_with_the_means_that_are_inferred():
    """Deliberate bug that this catches: the bias of the switches counted twice."""
    model, _, params = _with_parameters((2, 1), True)
    X, _ = _data()
    X = np.repeat(X[:1], 20_000, axis=0)
    inference = model._inference(model.energy_)
    at = fb.rng.Address.of(3, "unknown")
    p = inference(params, {"v": X}, at)["z"]
    z = inference.drawn(params, p, at)
    assert np.array_equal(z.sum(axis=-1), np.ones(z.shape[:-1]))
    se = np.sqrt(p[0] * (1 - p[0]) / len(X))
    assert np.abs((z.mean(axis=0) - p[0]) / se).max() < 4.5


def test_rows_without_a_label_count_for_the_visible_units_alone():
    """They move component 1, whose gradient is that of all rows, and are no class."""
    X, y = _data()
    y = np.where(np.arange(24) < 12, y, -1)
    options = {"objective": "semi-supervised", "n_pretraining": 0, "n_iter": 1, "batch_size": 24}
    models = {
        beta: PointwiseGatedRBMClassifier((2, 1), beta=beta, random_state=0, **options).fit(X, y)
        for beta in (0, 0.5)
    }
    assert list(models[0].classes_) == [0, 1, 2]
    np.testing.assert_array_equal(models[0].class_components_, models[0].class_components_)
    assert not np.allclose(models[0].components_[1], models[0.5].components_[1])


def test_a_minibatch_that_teaches_nothing_changes_nothing():
    """Catches hidden units that are taken for resting where nothing is known of them."""
    X, y = _data()
    options = {"objective": "semi-supervised", "beta": 0.0, "alpha": 0.5, "sparsity": 1.0}
    options |= {"n_pretraining": 0, "n_iter": 2, "momentum": 0.0, "random_state": 0}
    model = PointwiseGatedRBMClassifier((2, 1), **options).fit(X, y)
    params = {key: x.copy() for key, x in model.params_.items()}
    offsets = {g: x.copy() for g, x in model._training.offsets.items()}
    model.partial_fit(X, np.full(24, -1))
    for key, x in params.items():
        np.testing.assert_array_equal(model.params_[key], x, err_msg=key)
    for g, x in offsets.items():
        np.testing.assert_array_equal(model._training.offsets[g], x, err_msg=g)


@pytest.mark.parametrize("labels", [False, True])
def test_penalties_are_on_the_weights_alone(labels):
    """Catches biases that are penalised because they are written as terms."""
    X, y = _data()
    kind = PointwiseGatedRBMClassifier if labels else PointwiseGatedRBM
    options = {"n_iter": 1, "n_pretraining": 0, "batch_size": 24, "random_state": 0}
    options |= {"mask_bias": 3.0}
    free, held = (kind((2, 1), l1=x, l2=x, **options).fit(X, y) for x in (0.0, 0.5))
    biases = set(free.energy_.groups) | {"v_i z_i0", "v_i z_i1"}
    assert biases < set(free.params_)
    for key, x in free.params_.items():
        assert np.array_equal(held.params_[key], x) == (key in biases), key


def test_mean_activities_are_pulled_towards_their_target():
    """One update of all rows, by hand. Deliberate bug that this catches: the sign."""
    options = {"n_iter": 1, "n_pretraining": 0, "batch_size": 24, "momentum": 0.0}
    options |= {"learning_rate": Constant(0.5), "centered": False}
    plain = _fitted(sparsity=0.0, activity=0.1, **options)
    start = _fitted(sparsity=2.0, activity=0.1, **options | {"n_iter": 0})
    pulled = _fitted(sparsity=2.0, activity=0.1, **options)
    # The pull begins at the target's own bias; from there both take the same step but for it.
    np.testing.assert_allclose(start.intercept_hidden_, np.log(0.1 / 0.9), rtol=1e-6)
    again = _fitted(sparsity=2.0, activity=0.1, **options | {"n_iter": 0})
    again._trainer(again.energy_)
    X, _ = _data()
    objective = again._objective(again.energy_, 1)
    gradient, means, _ = objective.step(
        again.params_, {"v": X[_order(again)]}, again._training.phases
    )
    for g in ("h0", "h1"):
        expected = again.params_[g] + 0.5 * (gradient[g] + 2.0 * (0.1 - means[g]))
        np.testing.assert_allclose(pulled.params_[g], expected, rtol=1e-9)
    assert not np.allclose(plain.intercept_hidden_, pulled.intercept_hidden_)


def _order(model):
    return fb.rng.permutation(fb.rng.Address.of(model._seed, "shuffle"), 24)


def test_the_pretrained_units_are_shared_out_by_their_relevance_to_the_labels():
    """Columns 0 to 3 tell the label, 4 to 7 are noise of large variance.

    Deliberate bug that this catches: the least relevant units first.
    """
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = np.hstack([np.repeat(y[:, None], 4, axis=1), np.repeat(rng.integers(0, 2, (400, 1)), 4, 1)])
    X = np.where(rng.random(X.shape) < 0.05, 1 - X, X).astype(float)
    model = PointwiseGatedRBM((4, 4), n_iter=0, n_pretraining=30, activity=0.3, random_state=0)
    own, other = (np.abs(W[:, :4]).sum() / np.abs(W).sum() for W in model.fit(X, y).components_)
    assert own > other
    # Text beside the mark of rows without a label; where no row has one, none can order the units.
    words = np.where(y, "one", "zero").astype(object)
    words[200:] = -1
    some, text, none, never = (
        clone(model).fit(X, given).components_[0]
        for given in (np.where(words == -1, -1, y), words, np.full(400, -1), None)
    )
    np.testing.assert_array_equal(text, some)
    np.testing.assert_array_equal(none, never)
    assert not np.array_equal(text, never)

    def shares(labels, *cuts, weights=None):
        found = Relevance()
        each = np.ones(len(labels)) if weights is None else weights
        for rows, own, w in zip(*(np.split(x, cuts) for x in (H, labels, each)), strict=True):
            found.add(rows, own, None if weights is None else w)
        return found.shares()

    H = np.hstack([X, np.full((400, 1), 0.3)])
    ratio = shares(y)
    for cuts in ((1, 2, 150), (int((y == y[0]).argmin()),)):
        np.testing.assert_allclose(shares(y, *cuts), ratio, rtol=1e-12)
    for column in range(8):
        groups = [H[y == c, column] for c in (0, 1)]
        within = sum(((g - g.mean()) ** 2).sum() for g in groups)
        total = ((H[:, column] - H[:, column].mean()) ** 2).sum()
        assert ratio[column] == pytest.approx(1 - within / total)
    assert ratio[8] == 0
    np.testing.assert_array_equal(shares(np.where(y == 1, -1, y)), 0)
    # A row of weight two counts as two, one of weight zero as none.
    weights = rng.integers(0, 3, 400)
    found = Relevance()
    found.add(np.repeat(H, weights, axis=0), np.repeat(y, weights))
    for cuts in ((), (1, 2, 150)):
        np.testing.assert_allclose(shares(y, *cuts, weights=weights), found.shares(), rtol=1e-12)
    np.testing.assert_array_equal(shares(y, weights=np.zeros(400)), 0)
    # Labels of rows without a weight order nothing.
    weights = np.where(np.arange(400) < 200, 1.0, 0.0)
    known = clone(model).fit(X, y, weights)
    changed = clone(model).fit(X, np.where(weights > 0, y, 1 - y), weights)
    np.testing.assert_array_equal(known.components_[0], changed.components_[0])


def _noisy_digits(n=900, seed=0):
    """Binary digits, of which the background is noise: (X, y, where the digit is)."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))[:n]
    digit = X[order] > 7
    return np.where(digit, 1.0, rng.random(digit.shape) < 0.3).astype(np.float32), y[order], digit


def test_masks_find_the_digit_in_the_noise():
    """Of one pixel, where it is on: is it on for a digit or for noise? By itself it cannot say (an
    area under the curve of a half); its mask, which hears the other pixels, can."""
    X, y, digit = _noisy_digits(1797)
    model = PointwiseGatedRBM((60, 0), n_iter=40, activity=0.2, random_state=0).fit(X, y)
    masks = model.masks(X)
    assert masks.shape == X.shape
    assert ((masks >= 0) & (masks <= 1)).all()
    on, areas = X > 0, []
    for i in range(64):
        a, b = masks[on[:, i] & digit[:, i], i], masks[on[:, i] & ~digit[:, i], i]
        if min(len(a), len(b)) > 100:
            areas.append(stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)))
    assert len(areas) > 30
    assert np.mean(areas) > 0.7
    np.testing.assert_allclose(masks + model.masks(X, component=1), np.ones_like(masks), atol=1e-5)


def test_noisy_digits_are_told_apart():
    X, y, _ = _noisy_digits(1797)
    model = PointwiseGatedRBMClassifier(
        (60, 20), n_iter=30, activity=0.2, momentum=0.9, random_state=0
    )
    model.fit(X[:1200], y[:1200])
    # `RBMClassifier` of 60 units has 0.75 here.
    assert model.score(X[1200:], y[1200:]) > 0.7


# ----------------------------------------------------------------------------------------- samples


def test_samples_have_the_exact_distribution():
    """Deliberate bug that this catches: visible units drawn without the switches."""
    model, machine, p = _with_parameters((2, 1))
    X = model.sample(10_000, 40, random_state=2)
    observed = oracles.Machine({"v": machine.groups["v"]}, [])
    states = observed.grid()[0]
    log_p = machine.log_partition(p, states)
    exact = np.empty(8)
    exact[observed.code(states)] = np.exp(log_p - np.logaddexp.reduce(log_p))
    distance = oracles.total_variation(exact, observed.code({"v": X}))
    assert distance < oracles.total_variation_bound(exact, 10_000)
    with _says("init has 24 rows; expected n_samples=2."):
        model.sample(2, init=_data()[0])
    np.testing.assert_array_equal(model.sample(24, 0, init=_data()[0]), _data()[0])


def test_labelled_samples_have_the_exact_distribution():
    model, machine, p = _with_parameters((2, 1), True)
    X, y = model.sample(10_000, 1, n_steps=40, random_state=2)
    assert (y == 1).all()
    observed = oracles.Machine({"v": machine.groups["v"]}, [])
    states = observed.grid()[0]
    given = states | {"y": np.repeat(np.eye(3)[1:2], 8, axis=0)}
    log_p = machine.log_partition(p, given)
    exact = np.empty(8)
    exact[observed.code(states)] = np.exp(log_p - np.logaddexp.reduce(log_p))
    distance = oracles.total_variation(exact, observed.code({"v": X}))
    assert distance < oracles.total_variation_bound(exact, 10_000)


# -------------------------------------------------------------------------------------------- face


@pytest.mark.parametrize("labels", [False, True], ids=["no label", "label"])
@pytest.mark.parametrize("inference", ["mean-field", "gibbs"])
def test_copies_go_on_as_the_original_and_threads_change_nothing(labels, inference):
    X, y = _data()
    model = _fitted((2, 1), labels, inference=inference)
    again = clone(model).fit(X, y)
    threads = clone(model).set_params(n_threads=2).fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    for one in (model, again, threads, copy):
        one.partial_fit(X, y)
        for key, x in model.params_.items():
            np.testing.assert_array_equal(one.params_[key], x)
        np.testing.assert_array_equal(one.transform(X), model.transform(X))
    assert model.n_iter_ == 3
    assert model.transform(X).shape == (24, 3)
    assert [W.shape for W in model.components_] == [(2, 3), (1, 3)]
    assert model.intercept_hidden_.shape == (3,)
    assert model.intercept_visible_.shape == (2, 3)
    assert len(model.get_feature_names_out()) == 3


def test_a_component_without_hidden_units_has_no_features():
    model = _fitted((2, 0))
    X, _ = _data()
    assert model.transform(X, component=1).shape == (24, 0)
    assert [W.shape for W in model.components_] == [(2, 3), (0, 3)]
    assert set(model.energy_.groups) == {"v", "z", "h0"}


def test_real_visible_units_train_and_answer():
    model = _fitted((2, 1), visible="gaussian")
    X, _ = _data(kind="gaussian")
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.sample(5)).all()


SENTENCES = [
    ({"n_components": (2,)}, "n_components=(2,) lists 1 components; give from 2 to 10 numbers"),
    ({"n_components": [1] * 11}, "n_components=[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] lists 11 compon"),
    ({"n_components": (0, 2)}, "n_components[0] must be a whole number >= 1; got 0."),
    ({"n_components": (2, -1)}, "n_components[1] must be a whole number >= 0; got -1."),
    ({"n_components": 0}, "n_components must be a whole number >= 1; got 0."),
    ({"inference": "exact"}, "inference must be one of 'mean-field', 'gibbs'; got 'exact'."),
    ({"n_inference": 0}, "n_inference must be a whole number >= 1; got 0."),
    ({"n_pretraining": -1}, "n_pretraining must be a whole number >= 0; got -1."),
    ({"activity": 1.0}, "activity must be > 0 and < 1; got 1.0."),
    ({"sparsity": -1}, "sparsity must be >= 0; got -1."),
    ({"visible": fb.Categorical(1, 3)}, "visible=Categorical(1, 3) has several axes; a switch"),
]


@pytest.mark.parametrize(("options", "sentence"), SENTENCES)
@pytest.mark.parametrize("kind", [PointwiseGatedRBM, PointwiseGatedRBMClassifier])
def test_bad_parameters_get_a_sentence(kind, options, sentence):
    X, y = np.eye(3)[_data()[1]], _data()[1]
    with _says(sentence):
        kind(**{"n_components": 2, **options}).fit(X, y)


def test_bad_rows_labels_and_masks_get_a_sentence():
    X, y = _data()
    model, classifier = _fitted(), _fitted(labels=True)
    with _says("X has values in [0, 2]; Bernoulli units need [0, 1]."):
        clone(model).fit(2 * X)
    with _says("y has 23 labels, but X has 24 rows; give one label a row, or none at all."):
        clone(model).fit(X, y[:-1])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        clone(model).fit(X, y + 0.5)
    for one in (model, classifier):
        for ask in (one.masks, one.transform):
            with _says("component must be a whole number from 0, the task-relevant one, to 1;"):
                ask(X, component=2)
            with _says("component must be a whole number from 0, the task-relevant one, to 1;"):
                ask(X, component=np.array([0, 1]))
            # A mask of another shape has nowhere to go: rows of another width are refused.
            with pytest.raises(ValueError, match=r"X has 2 features, but .* is expecting 3"):
                ask(X[:, :2])
        with _says("method must be one of 'auto', 'exact', 'bound'; got 'ais'."):
            one.score_samples(X, method="ais")
    unseen = "y has the labels 7, which are not among the model's classes 0, 1, 2. Give all labels"
    for ask in (classifier.masks, classifier.transform, classifier.score_samples):
        with _says(unseen):
            ask(X, np.full(24, 7))
    with _says(unseen):
        classifier.partial_fit(X, np.full(24, 7))
    with _says("y has 23 labels, but X has 24 rows; give one label a row."):
        classifier.masks(X, y[:-1])


def test_likelihoods_that_are_too_large_to_enumerate_say_so():
    X = np.zeros((2, 40))
    wide = PointwiseGatedRBM((40, 3), n_iter=0, n_pretraining=0).fit(X)
    with pytest.raises(fb.NotEnumerableError, match=r"needs 2\*\*40 states"):
        wide.score_samples(X, method="exact")
    with pytest.raises(AttributeError, match="call fit first"):
        _ = PointwiseGatedRBM().components_


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        (
            "v_i z_i2 h_k",
            "term 'v_i z_i2 h_k': 'z_i2' chooses entry 2 of an axis of 2",
        ),
        ("v_0 h_k", "term 'v_0 h_k': 'v_0' is one entry of group 'v'; keep a letter for at least"),
        (
            "z_i0 z_j1",
            "term 'z_i0 z_j1' chooses entries by a digit and has group 'z' twice",
        ),
        (
            "v_i z_j0 | 3",
            "term 'v_i z_j0 | 3' chooses entries by a digit and has 3 factors",
        ),
    ],
)
def test_digits_that_choose_no_entry_get_a_sentence(term, sentence):
    groups = {"v": fb.Bernoulli(3), "z": fb.Categorical(3, 2), "h": fb.Bernoulli(2)}
    with _says(sentence):
        fb.Energy(groups, terms=[term])
