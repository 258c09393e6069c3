"""The RNN-RBM: against plain NumPy that enumerates every step, and as an estimator of sequences.

scikit-learn's estimator checks do not apply: they give X as unrelated rows, expect one answer a
row whatever the order and the choice of rows, and fit single rows of it. Here the rows are steps,
and each answer depends on the steps before it. What they check that does apply is tested below:
parameters, cloning, pickling, repetition, input that is not changed.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logsumexp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastboltz import RNNRBM, Checkpoint, likelihood
from fastboltz.models import rnn_rbm
from fastboltz.optimizers import Constant
from fastboltz.recurrent import GRU, Recurrent, Tanh

Z_LIMIT = 4.5
V, H, R = 3, 2, 4

FORMS = [
    {},
    {"recurrent": "gru"},
    {"recurrent": "rtrbm"},
    {"emits": ("weights",), "weight_rank": 2},
    {"emits": ("biases", "weights"), "weight_rank": 2},
    {"emits": ("biases", "weights"), "weight_rank": 2, "recurrent": "gru"},
    {"emits": ("biases", "weights")},
]


def _sequences(lengths=(5, 1, 3), seed=0, n_features=V, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [(rng.random((n, n_features)) < 0.5).astype(dtype) for n in lengths]


def _fitted(form=None, seed=0, dtype=np.float64, **options):
    """A model with parameters of order one, all different from zero."""
    options = {"n_iter": 0, "method": "exact", "random_state": 0} | options | (form or {})
    rnn = RNNRBM(H, R, **options).fit(_sequences(dtype=dtype))
    rng = np.random.default_rng(seed)
    for x in rnn.params_.values():
        x[...] = 0.7 * rng.standard_normal(x.shape)
    return rnn


# ---------------------------------------------------------------------------- the model, plainly


def _states(n):
    return np.array([[(k >> i) & 1 for i in range(n)] for k in range(2**n)], float)


def _joint(p, u):
    """Minus the energies of all states of v (rows) and h (columns), given u(t - 1)."""
    v, h = _states(V), _states(H)
    b, c, w = p["v"].copy(), p["h"].copy(), p["h_j v_a"].copy()
    if "v_a u_r" in p:
        b += p["v_a u_r"] @ u
        c += p["h_j u_r"] @ u
    if "h_j v_a u_r" in p:
        w += p["h_j v_a u_r"] @ u
    for rank in (2,):
        name = f"h_j v_a u_r | {rank}"
        if f"{name} @ h_j" in p:
            gate = p[f"{name} @ u_r"].T @ u
            w += p[f"{name} @ h_j"] @ np.diag(gate) @ p[f"{name} @ v_a"].T
    return (v @ b)[:, None] + h @ c + v @ w.T @ h.T


def _next(p, kind, u, v):
    if kind == "rtrbm":
        return expit(p["h"] + p["h_j v_a"] @ v + p["h_j u_r"] @ u)
    a, s = v @ p["recurrent.input"] + p["recurrent.bias"], u @ p["recurrent.state"]
    if kind == "tanh":
        return np.tanh(a + s)
    z, r = expit(a[:R] + s[:R]), expit(a[R : 2 * R] + s[R : 2 * R])
    n = np.tanh(a[2 * R :] + r * s[2 * R :])
    return z * u + (1 - z) * n


def _log_likelihoods(p, kind, sequence):
    """Log p of every step given those before, and the states u(t)."""
    u, scores, states = p["recurrent.start"], [], []
    for v in sequence:
        log_w = _joint(p, u)
        row = int(v @ 2 ** np.arange(V))
        scores.append(logsumexp(log_w[row]) - logsumexp(log_w))
        u = _next(p, kind, u, v)
        states.append(u)
    return np.array(scores), np.array(states)


def _kind(form):
    return form.get("recurrent", "tanh")


# ------------------------------------------------------------------------------- exact answers


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_likelihoods_states_and_predictions_are_those_of_enumeration(form):
    """Deliberate bugs that this catches: u(t) in the place of u(t - 1), a gate of the GRU turned
    about, emitted weights without W."""
    rnn, data = _fitted(form), _sequences()
    found = rnn.log_likelihood(data)
    assert found.log_partition.method == "exact"
    all_scores = []
    for x, scores, states, means in zip(
        data, found.values, rnn.transform(data), rnn.predict(data), strict=True
    ):
        expected, expected_states = _log_likelihoods(rnn.params_, _kind(form), x)
        np.testing.assert_allclose(scores, expected, rtol=1e-10)
        np.testing.assert_allclose(states, expected_states, rtol=1e-10)
        before = [rnn.params_["recurrent.start"], *expected_states[:-1]]
        for u, mean in zip(before, means, strict=True):
            log_p = logsumexp(_joint(rnn.params_, u), axis=1)
            np.testing.assert_allclose(mean, np.exp(log_p - logsumexp(log_p)) @ _states(V))
        all_scores.append(expected)
    assert found.mean == pytest.approx(np.concatenate(all_scores).mean(), rel=1e-10)
    assert found.low == found.mean == found.high
    assert rnn.score(data) == found.mean
    for a, b in zip(rnn.score_samples(data), found.values, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_gradient_is_that_of_differences_of_the_log_likelihood(form):
    """All parameters, those of the network and the learnt start among them. Deliberate bugs that
    this catches: a step's gradient by u handed to u(t), the reset gate left out on the way back,
    the padding of short sequences counted."""
    rnn, data = _fitted(form), _sequences()
    gradient, kind = rnn.gradient(data), _kind(form)
    n = sum(map(len, data))

    def value(params):
        return sum(_log_likelihoods(params, kind, x)[0].sum() for x in data) / n

    step = 1e-6
    for key, x in rnn.params_.items():
        if key.startswith("u"):  # what is given has no distribution of its own
            np.testing.assert_allclose(gradient[key], 0, atol=1e-12)
            continue
        for at in np.ndindex(x.shape):
            moved = {k: a.copy() for k, a in rnn.params_.items()}
            ends = []
            for sign in (1, -1):
                moved[key][at] = x[at] + sign * step
                ends.append(value(moved))
            slope = (ends[0] - ends[1]) / (2 * step)
            assert gradient[key][at] == pytest.approx(slope, rel=1e-5, abs=1e-8), (key, at)


@pytest.mark.parametrize("form", [{}, {"emits": ("biases", "weights"), "weight_rank": 2}], ids=str)
@pytest.mark.parametrize("method", ["cd", "pcd", "restarts"])
def test_long_chains_give_the_exact_gradient(form, method):
    """Means over independent calls, within their own standard errors. Deliberate bugs that this
    catches: a negative phase without the emitted biases, chains that begin elsewhere and make no
    sweeps, or sweep with the states of where they come from."""
    exact = _fitted(form)
    one = _sequences((3,))
    many = one * 50
    expected = exact.gradient(one)
    if method == "restarts":
        rnn = _fitted(form, method="cd", n_gibbs=1, restarts=1.0, restart_sweeps=29)
    else:
        rnn = _fitted(form, method=method, n_gibbs=30)
    if method != "pcd":
        drawn = [rnn.gradient(many, random_state=seed) for seed in range(30)]
    else:
        # Chains that are carried on while the parameters stay: calls far apart are independent.
        rnn.set_params(n_gibbs=3, optimizer="sgd", learning_rate=Constant(1e-300))
        rnn.set_params(batch_size=50, centered=False)
        drawn = []

        def keep(progress):
            drawn.append({k: x.copy() for k, x in trainer._gradient.items()})

        trainer = rnn._trainer(rnn.energy_)
        X, lengths = np.concatenate(many), np.full(50, 3)
        rows = rnn_rbm.Rows(X, (V,), np.float64)
        rnn._training = trainer.init(rnn.params_, 0)
        for state in trainer.sequence_epochs(
            rnn.params_, rows, lengths, rnn._training, n_streams=50, chunk=9, n_epochs=310, seed=0
        ):
            keep(state)
        drawn = drawn[10::10]
    for key, value in expected.items():
        if key.startswith("u"):
            continue
        all_drawn = np.array([d[key] for d in drawn])
        error = all_drawn.std(axis=0, ddof=1) / len(drawn) ** 0.5
        # Degrees of freedom: 29, so Student's t rather than the normal law, at the same level.
        assert (np.abs(all_drawn.mean(axis=0) - value) < 1.35 * Z_LIMIT * error + 1e-12).all(), key


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_annealing_agrees_with_enumeration(form):
    """Every step's log Z within its standard error, and the mean within its interval's width.
    Deliberate bugs that this catches: what u contributes at full strength in the reference, chains
    of one step averaged with those of another."""
    rnn, data = _fitted(form), _sequences((6, 5))
    exact = rnn.log_likelihood(data, method="exact")
    found = rnn.log_likelihood(data, method="ais", betas=60, n_chains=400, random_state=1)
    z = found.log_partition
    error = (z.values - exact.log_partition.values) / z.standard_errors
    assert (np.abs(error) < Z_LIMIT).all()
    assert (z.standard_errors < 0.1).all()
    assert found.low < found.mean < found.high
    half = (found.high - found.mean) / 1.96
    assert abs(found.mean - exact.mean) < Z_LIMIT * half + (found.mean - found.low)
    again = rnn.log_likelihood(data, method="ais", betas=60, n_chains=400, random_state=1)
    np.testing.assert_array_equal(again.log_partition.values, z.values)


def test_annealed_predictions_are_the_exact_ones_within_their_error(monkeypatch):
    """Deliberate bugs that this catches: chains without their weights, weights of other rows."""
    rnn, data = _fitted({"emits": ("biases", "weights"), "weight_rank": 2}), _sequences((4,))
    for x in rnn.params_.values():
        x *= 1.5
    exact = rnn.predict(data)[0]
    # A short ladder, so that the weights matter.
    options = {"betas": 4, "n_chains": 4000, "random_state": 0}
    found = rnn.log_likelihood(data, method="ais", **options).log_partition
    assert 1000 < found.effective_chains.min() < 3800
    monkeypatch.setattr(rnn_rbm, "AUTO_LOG2_STATES", -1)
    sampled = rnn.predict(data, **options)[0]
    # Means of conditional means, whose variance is below that of the bits themselves.
    error = np.sqrt(exact * (1 - exact) / found.effective_chains[:, None])
    assert (np.abs(sampled - exact) < Z_LIMIT * error).all()
    assert np.abs(sampled - exact).max() > 0


# ------------------------------------------------------------------ sequences, batches and chunks


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_sequences_together_are_what_they_are_one_by_one(form):
    """Deliberate bug that this catches: the state of one sequence handed to the next."""
    rnn, data = _fitted(form), _sequences((7, 2, 4, 1))
    for name in ("transform", "predict", "score_samples"):
        together = getattr(rnn, name)(data)
        for x, found in zip(data, together, strict=True):
            np.testing.assert_allclose(found, getattr(rnn, name)([x])[0], rtol=1e-10, atol=1e-12)
        lengths = [len(x) for x in data]
        joined = getattr(rnn, name)(np.concatenate(data), lengths)
        np.testing.assert_array_equal(joined, np.concatenate(together))
    together, n = rnn.gradient(data), sum(map(len, data))
    alone = [rnn.gradient([x]) for x in data]
    for key, value in together.items():
        mean = sum(len(x) * g[key] for x, g in zip(data, alone, strict=True)) / n
        np.testing.assert_allclose(value, mean, rtol=1e-8, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_chunks_carry_the_state_on(form):
    """Chunks of two steps and one long pass have the same states."""
    rnn, data = _fitted(form), _sequences((9, 4, 6))
    whole = rnn.transform(data)
    rnn.set_params(chunk=2)
    for a, b in zip(rnn.transform(data), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_training_meets_every_step_once_with_the_right_state():
    """Chunks of streams of several sequences each: the states of training are those of transform.
    Deliberate bugs that this catches: no reset where a sequence begins inside of a chunk, a reset
    at the start of every chunk."""
    lengths = (5, 3, 8, 1, 2, 6)
    data = _sequences(lengths)
    rnn = _fitted({}, batch_size=2, chunk=4, learning_rate=1e-300, optimizer="sgd")
    trainer, seen = rnn._trainer(rnn.energy_), {}
    update = trainer.update

    def spy(params, batch, *rest):
        rate = update(params, batch, *rest)
        mask, after = batch["mask"], trainer.objective.tape.after
        for row, v, u in zip(batch["rows"][mask], batch["v"][mask], after[mask], strict=True):
            assert row not in seen
            seen[row] = (v, u)
        return rate

    trainer.update = spy
    X = np.concatenate(data)
    epochs = trainer.sequence_epochs(
        rnn.params_,
        rnn_rbm.Rows(X, (V,), np.float64),
        np.array(lengths),
        trainer.init(rnn.params_, 0),
        n_streams=2,
        chunk=4,
        n_epochs=1,
        seed=0,
    )
    assert len(list(epochs)) == 1
    assert sorted(seen) == list(range(len(X)))
    expected = np.concatenate(rnn.transform(data))
    for row, (v, u) in seen.items():
        np.testing.assert_array_equal(v, X[row])
        np.testing.assert_allclose(u, expected[row], rtol=1e-12)


# -------------------------------------------------------------------------------------- learning

TICK = [np.tile(np.eye(3, dtype=np.float32), (4, 1))[k:] for k in range(3)]
LEARNING = {"n_iter": 250, "batch_size": 3, "random_state": 0, "learning_rate": 0.02}


@pytest.mark.parametrize(
    "form",
    [
        {"method": "exact"},
        {"method": "cd", "n_gibbs": 5},
        {"method": "pcd", "n_gibbs": 5},
        {"method": "exact", "recurrent": "gru", "clip_norm": 0.5},
        {"method": "exact", "recurrent": "rtrbm"},
        {"method": "exact", "emits": ("weights",), "weight_rank": 4},
        {"method": "exact", "emits": ("biases", "weights"), "optimizer": "sgd", "momentum": 0.9},
    ],
    ids=str,
)
def test_learning_finds_what_follows_what(form):
    """What comes next is certain after the first step; a model without memory is left with log 3
    of doubt at every step."""
    rnn = RNNRBM(4, 8, **(LEARNING | form)).fit(TICK)
    assert rnn.score(TICK) > -0.35
    assert rnn.accuracy(TICK) > 0.8
    assert rnn.n_iter_ == len(rnn.history_["seconds"]) == 250


def test_factors_of_groups_of_one_size_begin_apart():
    """Catches factors that begin as one another, so that what is emitted is symmetric."""
    rnn = RNNRBM(6, 6, emits=("weights",), weight_rank=40, n_iter=0, random_state=0)
    rnn.fit(_sequences(n_features=6))
    factors = [x.ravel() for key, x in rnn.params_.items() if "|" in key]
    assert [x.size for x in factors] == [240] * 3
    apart = np.corrcoef(factors)[np.triu_indices(3, 1)]
    assert np.abs(apart).max() < 5 * 240**-0.5


def test_early_stopping_keeps_the_best_parameters():
    train, held = _sequences((12, 9), seed=1), _sequences((12, 7), seed=2)
    rnn = RNNRBM(4, 8, method="exact", n_iter=400, patience=3, validate_every=2, random_state=0)
    rnn.fit(train, validation=held)
    validation = np.array(rnn.history_["validation"])
    assert np.isnan(validation[::2]).all()
    assert np.isfinite(validation[1::2]).all()
    assert rnn.n_iter_ < 400
    assert rnn.best_iter_ == np.nanargmax(validation) + 1
    assert rnn.best_iter_ == rnn.n_iter_ - 2 * 3
    assert rnn.score(held) == pytest.approx(rnn.best_score_) == np.nanmax(validation)


def test_partial_fit_goes_on():
    data = _sequences((6, 4))
    rnn = RNNRBM(2, 3, method="exact", learning_rate=0.01, n_iter=3, random_state=0, batch_size=2)
    whole = clone(rnn).fit(data)
    for _ in range(3):
        rnn.partial_fit(data)
    for key, x in whole.params_.items():
        np.testing.assert_array_equal(rnn.params_[key], x, err_msg=key)


def test_a_fit_forgets_the_early_stopping_before_and_the_history_has_no_holes():
    data = _sequences((6, 6))
    rnn = RNNRBM(2, 3, n_iter=2, method="exact", random_state=0).fit(data, validation=data)
    rnn.partial_fit(data)
    held_out = rnn.history_["validation"]
    assert np.isnan(held_out).tolist() == [False, False, True]
    assert {len(column) for column in rnn.history_.values()} == {3}
    rnn.fit(data)
    assert not hasattr(rnn, "best_iter_") and not hasattr(rnn, "best_score_")


def test_a_model_goes_on_with_the_network_that_it_has():
    """What is set afterwards counts from the next `fit` on."""
    data = _sequences((6, 6))
    rnn = RNNRBM(2, 3, n_iter=1, random_state=0).fit(data)
    expected = rnn.gradient(data)
    rnn.set_params(recurrent="gru")
    for key, x in rnn.gradient(data).items():
        np.testing.assert_array_equal(x, expected[key])
    with pytest.raises(ValueError, match="begun with recurrent='tanh', but now it is 'gru'"):
        rnn.partial_fit(data)
    assert isinstance(rnn.recurrent_, Tanh)
    assert isinstance(rnn.fit(data).recurrent_, GRU)


@pytest.mark.filterwarnings(
    "ignore:group .* has values that are too large for Gaussian:UserWarning"
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_leaves_the_numbers_says_so():
    data = [100 * np.random.default_rng(0).standard_normal((30, 3))]
    rnn = RNNRBM(5, 4, visible="gaussian", learning_rate=1e4, n_gibbs=1, random_state=0)
    with pytest.raises(FloatingPointError, match=r"not finite after epoch .* Lower the learning"):
        rnn.fit(data)


@pytest.mark.parametrize(("where", "kept"), [("forward", 4), ("backward", 5)])
def test_an_interrupt_leaves_a_whole_update(where, kept, monkeypatch, tmp_path):
    """Before the sweeps of an update it gives this up, after them it waits. The model is usable and
    goes on as if nothing had been, the handler is the caller's own again.

    Catches states of the network that are carried on from the chunk that was given up, and a chunk
    that counts as taken.
    """
    data = _sequences((30, 30))
    rnn = RNNRBM(2, 3, n_iter=5, chunk=10, n_gibbs=1, random_state=0)
    whole = clone(rnn).fit(data)
    rnn.set_params(callbacks=[Checkpoint(tmp_path / "kept", resume=True)])
    handler = signal.getsignal(signal.SIGINT)
    seen = []
    real = getattr(Recurrent, where)

    def interrupting(*args, **options):
        seen.append(True)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **options)

    monkeypatch.setattr(Recurrent, where, interrupting)
    with pytest.raises(KeyboardInterrupt, match=re.escape(f"after update {kept} (epoch 1)")):
        rnn.fit(data)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(seen) == 5
    assert np.isfinite(rnn.score(data))
    rnn.fit(data)
    for key, x in whole.params_.items():
        np.testing.assert_array_equal(rnn.params_[key], x)


def test_callbacks_see_the_model_and_end_the_training():
    scores = []

    def stop(progress):
        scores.append(progress.model.score(TICK))
        return progress.state.epoch == 4

    rnn = RNNRBM(2, 3, n_iter=10, callbacks=[stop], method="exact", random_state=0).fit(TICK)
    assert rnn.n_iter_ == len(scores) == 4


def test_a_network_of_ones_own_takes_part():
    """A leaky sum of the inputs, without weights on the way: the gradient still reaches them."""

    class Leaky(Recurrent):
        def shapes(self, n_inputs, n_units):
            return {"recurrent.input": (n_inputs, n_units), "recurrent.start": (n_units,)}

        def drive(self, params, unit, x, n_threads):
            return x @ params["recurrent.input"]

        def step(self, params, before, drive):
            return 0.5 * before + drive, None

        def back(self, params, before, after, kept, grad):
            return grad, 0.5 * grad

        def collect(self, params, unit, tape, drives, out, n_threads):
            out["recurrent.input"] += np.einsum("tni,tnj->ij", tape.x, drives)

    rnn, data = _fitted({"recurrent": Leaky()}), _sequences()
    gradient, step = rnn.gradient(data), 1e-6
    for key in ("recurrent.input", "recurrent.start"):
        x = rnn.params_[key]
        for at in np.ndindex(x.shape):
            ends = []
            for sign in (1, -1):
                x[at] += sign * step
                ends.append(rnn.score(data))
                x[at] -= sign * step
            slope = (ends[0] - ends[1]) / (2 * step)
            assert gradient[key][at] == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(
    "shapes", [{"recurrent.w": (V, R)}, {"recurrent.start": (R,), "w": (V, R)}], ids=str
)
def test_a_network_whose_parameters_have_no_place_gets_a_sentence(shapes):
    class Cell(Tanh):
        def shapes(self, n_inputs, n_units):
            return shapes

    with pytest.raises(ValueError, match=re.escape("shapes() of Cell must name every array")):
        RNNRBM(H, R, recurrent=Cell()).fit(_sequences())


@pytest.mark.parametrize(
    ("method", "answer", "sentence"),
    [
        (
            "step",
            lambda u: u,
            "step() of Cell must return a tuple of two, u(t), one row a sequence",
        ),
        ("step", lambda u: (u[0], None), "the first of shape (2, 4). Got shape (4,)."),
        ("back", lambda u: (u, u, u), "the second of shape (2, 4). Got a tuple of 3."),
        ("back", lambda u: (u, u[:, :2]), "the second of shape (2, 4). Got shape (2, 2)."),
    ],
)
def test_a_network_that_answers_otherwise_gets_a_sentence(method, answer, sentence):
    """Of two sequences, an array in place of a pair would be unpacked into their rows."""
    cell = type("Cell", (Tanh,), {method: lambda self, params, before, *rest: answer(before)})
    rnn = RNNRBM(H, R, recurrent=cell(), n_iter=1, n_gibbs=1)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        rnn.fit(_sequences((3, 3)))


# --------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("method", ["gibbs", "tempered", "trajectory"])
def test_the_next_step_after_a_prefix_has_its_exact_distribution(method):
    """Deliberate bugs that this catches: the prefix's last step not read, the learnt start for all
    sequences but the first, samples of a model that was kept."""
    rnn, prefix = _fitted(), _sequences((3,))[0]
    rnn.trajectory_ = [(k, _fitted(seed=k).params_) for k in (1, 2)]
    n = 5000
    drawn = rnn.sample(5, prefix, n_sequences=n, n_gibbs=30, method=method, random_state=0)
    assert drawn.shape == (n, 5, V)
    np.testing.assert_array_equal(drawn[:, :3], np.broadcast_to(prefix, (n, 3, V)))
    _, states = _log_likelihoods(rnn.params_, "tanh", prefix)
    log_p = logsumexp(_joint(rnn.params_, states[-1]), axis=1)
    p = np.exp(log_p - logsumexp(log_p))
    counts = np.bincount((drawn[:, 3] @ 2 ** np.arange(V)).astype(int), minlength=2**V)
    assert (np.abs(counts - n * p) < Z_LIMIT * np.sqrt(n * p * (1 - p))).all()
    # The step after it, given the one drawn: the sum over both is exact too.
    q = np.zeros(2**V)
    for v, weight in zip(_states(V), p, strict=True):
        log_q = logsumexp(_joint(rnn.params_, _next(rnn.params_, "tanh", states[-1], v)), axis=1)
        q += weight * np.exp(log_q - logsumexp(log_q))
    counts = np.bincount((drawn[:, 4] @ 2 ** np.arange(V)).astype(int), minlength=2**V)
    assert (np.abs(counts - n * q) < Z_LIMIT * np.sqrt(n * q * (1 - q))).all()


def test_samples_are_repeatable_and_calls_differ():
    rnn = _fitted()
    a, b = rnn.sample(20, random_state=3), rnn.sample(20, random_state=3)
    assert a.shape == (20, V)
    np.testing.assert_array_equal(a, b)
    assert (rnn.sample(20) != rnn.sample(20)).any()
    np.testing.assert_array_equal(rnn.sample(3, _sequences((3,))[0]), _sequences((3,))[0])


def test_totals_and_thresholds_count_by_hand():
    rnn = _fitted(seed=4)
    x = np.array([[1.0, 0, 1], [0, 0, 1], [0, 0, 0]])
    p = rnn.predict([x])[0]
    hits = p[0, 0] + p[0, 2] + p[1, 2]
    expected = hits / (3 + p.sum() - hits)
    assert rnn.accuracy([x], kind="totals") == pytest.approx(expected)
    at = 0.35
    q = (p > at).astype(float)
    both = q[0, 0] + q[0, 2] + q[1, 2]
    totals = both / (3 + q.sum() - both)
    assert rnn.accuracy([x], kind="totals", threshold=at) == pytest.approx(totals)
    frames = [
        (q[0, 0] + q[0, 2]) / max(2, q[0].sum()),
        q[1, 2] / max(1, q[1].sum()),
        float(not q[2].any()),
    ]
    assert 0 < np.mean(frames) < 1
    assert rnn.accuracy([x], threshold=at) == pytest.approx(np.mean(frames))


def test_frame_accuracy_is_that_of_frames_drawn_from_the_model(monkeypatch):
    """Deliberate bugs that this catches: errors counted twice, means in place of frames, chains
    without their weights, frames of other steps, steps without any unit that count as wrong."""
    monkeypatch.setattr(likelihood, "_CHAINS_AT_ONCE", 32_000)  # several steps together
    form = {"emits": ("biases", "weights"), "weight_rank": 2}
    rnn, data = _fitted(form), _sequences((6, 3))
    data[0][2:5] = 0
    for x in rnn.params_.values():
        x *= 1.5
    rnn.params_["v"][...] -= 1
    p, kind = {key: x.astype(float) for key, x in rnn.params_.items()}, _kind(form)
    means, variances, twice, by_means = [], [], [], []
    for sequence in data:
        _, after = _log_likelihoods(p, kind, sequence)
        for x, u in zip(sequence, [p["recurrent.start"], *after], strict=False):
            log_p = logsumexp(_joint(p, u), axis=1)
            weight = np.exp(log_p - logsumexp(log_p))
            hits, off = _states(V) @ x, _states(V) @ (1 - x)
            misses = x.sum() - hits
            once = [
                t / (t + max(a, b)) if t + a + b else 1
                for t, a, b in zip(hits, off, misses, strict=True)
            ]
            value = weight @ once
            means.append(value)
            variances.append(weight @ np.square(once) - value**2)
            twice.append(weight @ (hits / np.maximum(hits + off + misses, 1)))
            on = weight @ _states(V)
            by_means.append((x @ on) / max(x.sum(), on.sum()))
    # A short ladder, so that the weights matter.
    options = {"betas": 4, "n_chains": 8000, "random_state": 0}
    z = rnn.log_likelihood(data, method="ais", **options).log_partition
    assert z.effective_chains.min() < 7600
    error = np.sqrt(np.sum(np.array(variances) / z.effective_chains)) / len(means)
    found = rnn.accuracy(data, **options)
    assert abs(found - np.mean(means)) < Z_LIMIT * error
    for other in (twice, by_means):
        assert abs(np.mean(other) - np.mean(means)) > 3 * Z_LIMIT * error


def test_accuracy_is_for_units_that_are_on_or_off():
    x = [np.random.default_rng(0).standard_normal((4, 2))]
    rnn = RNNRBM(2, 2, visible="gaussian", n_iter=0).fit(x)
    with pytest.raises(ValueError, match="accuracy counts visible units that are on, 1, or off"):
        rnn.accuracy(x)
    with pytest.raises(ValueError, match="kind"):
        _fitted().accuracy(_sequences(), kind="frame")


# ------------------------------------------------------------------------------------- estimator


@pytest.mark.parametrize("form", [{}, {"emits": ("biases", "weights"), "weight_rank": 5}], ids=str)
@pytest.mark.parametrize("method", ["cd", "pcd"])
def test_the_number_of_threads_changes_nothing(form, method):
    """Large enough that products run on bits, and on several threads."""
    data = _sequences((150, 90, 120), n_features=40, dtype=np.float32)
    options = {"n_iter": 2, "n_gibbs": 2, "random_state": 0, "method": method} | form
    one = RNNRBM(60, 8, n_threads=1, **options).fit(data)
    two = RNNRBM(60, 8, n_threads=2, **options).fit(data)
    for key, x in one.params_.items():
        assert x.dtype == np.float32
        np.testing.assert_array_equal(two.params_[key], x, err_msg=key)
    short = {"betas": 30, "n_chains": 4}
    a, b = (m.log_likelihood(data, **short).log_partition for m in (one, two))
    np.testing.assert_array_equal(a.values, b.values)


def test_it_clones_pickles_and_leaves_its_arguments_alone():
    given = {"emits": ("biases", "weights"), "weight_rank": 3, "n_iter": 2, "random_state": 4}
    rnn = RNNRBM(3, 5, **given)
    assert clone(rnn).get_params() == rnn.get_params()
    before = rnn.get_params()
    data = _sequences((4, 6))
    copies = [x.copy() for x in data]
    rnn.fit(data)
    assert rnn.get_params() == before
    for x, y in zip(data, copies, strict=True):
        np.testing.assert_array_equal(x, y)
    again = clone(rnn).fit(data)
    restored = pickle.loads(pickle.dumps(rnn))
    for key, x in rnn.params_.items():
        np.testing.assert_array_equal(again.params_[key], x)
        np.testing.assert_array_equal(restored.params_[key], x)
    np.testing.assert_array_equal(restored.sample(5), rnn.sample(5))
    assert rnn.n_features_in_ == V
    assert not hasattr(rnn, "log_partition_")
    with pytest.raises(NotFittedError):
        RNNRBM().transform(data)


def test_one_array_is_one_sequence_and_lists_of_rows_are_arrays():
    data = _sequences((6,))[0]
    rnn = _fitted()
    np.testing.assert_array_equal(rnn.transform(data), rnn.transform([data])[0])
    np.testing.assert_array_equal(rnn.transform(data.tolist()), rnn.transform(data))
    integers = RNNRBM(2, 2, n_iter=1, random_state=0).fit(data.astype(np.int64))
    assert integers.params_["v"].dtype == np.float32


def test_sequences_of_equal_length_may_be_one_array():
    """As `sample` returns them; what is said of their steps has that form, and the same values."""
    rnn = _fitted()
    stack = rnn.sample(4, n_sequences=3, random_state=0)
    listed = list(stack)
    np.testing.assert_array_equal(rnn.transform(stack), np.stack(rnn.transform(listed)))
    np.testing.assert_array_equal(rnn.predict(stack), np.stack(rnn.predict(listed)))
    found = rnn.score_samples(stack, return_interval=True)
    for a, b in zip(found, rnn.score_samples(listed, return_interval=True), strict=True):
        assert a.shape == (3, 4)
        np.testing.assert_array_equal(a, np.stack(b))
    ragged = np.empty(2, dtype=object)
    ragged[:] = _sequences((2, 3))
    assert [len(x) for x in rnn.transform(ragged)] == [2, 3]
    one, other = (RNNRBM(2, 2, n_iter=2, random_state=0).fit(x) for x in (stack, listed))
    for key, x in one.params_.items():
        np.testing.assert_array_equal(other.params_[key], x)


def test_columns_are_known_by_their_names():
    names = ["a", "b", "c"]
    frames = [pd.DataFrame(x, columns=names) for x in _sequences()]
    turned = [x[x.columns[::-1]] for x in frames]
    rnn = RNNRBM(2, 2, n_iter=1, random_state=0).fit(frames, validation=frames)
    assert list(rnn.feature_names_in_) == names
    plain = RNNRBM(2, 2, n_iter=1, random_state=0).fit(_sequences())
    assert rnn.score(frames) == plain.score(_sequences())
    assert rnn.accuracy(frames, kind="totals") == plain.accuracy(_sequences(), kind="totals")
    words = "Feature names must be in the same order as they were in fit"
    for refused in (
        lambda: rnn.score(turned),
        lambda: rnn.transform([frames[0], turned[1]]),
        lambda: rnn.predict(turned[0]),
        lambda: rnn.sample(9, prefix=turned[0]),
        lambda: rnn.partial_fit(turned),
        lambda: clone(rnn).fit([frames[0], turned[1]]),
        lambda: clone(rnn).fit(frames, validation=turned),
    ):
        with pytest.raises(ValueError, match=words):
            refused()
    assert not hasattr(rnn.fit(_sequences()), "feature_names_in_")
    rnn = RNNRBM(2, 2, random_state=0).partial_fit(frames[0])
    assert list(rnn.feature_names_in_) == names
    with pytest.warns(UserWarning, match="X does not have valid feature names, but RNNRBM"):
        rnn.score(_sequences())


def test_real_valued_steps():
    """A decaying oscillation that Gaussian units follow better than their mean does."""
    t = np.arange(60)
    x = np.stack([np.cos(0.3 * t), np.sin(0.3 * t)], axis=1)
    rnn = RNNRBM(4, 10, visible="gaussian", n_iter=150, n_gibbs=2, chunk=30, random_state=0)
    start = clone(rnn).set_params(n_iter=0).fit(x)
    rnn.fit(x)
    assert rnn.score(x) > start.score(x) + 0.5
    assert rnn.sample(5).shape == (5, 2)


BAD = [
    ([np.zeros((3, 2)), np.zeros((2, 3))], None, "sequences[1] has 3 features, but sequences[0]"),
    ([np.zeros((3, 2)), np.zeros((0, 2))], None, "sequences[1] is empty; every sequence needs"),
    ([], None, "sequences is an empty list; give at least one sequence."),
    ([np.zeros((2, 2, 2))], None, "sequences[0] has shape (2, 2, 2); expected two axes"),
    (np.zeros((5, 2)), [2, 2], "lengths add up to 4, but sequences have 5 steps; they must be"),
    (np.zeros((5, 2)), [5, 0], "lengths[1] is 0; every sequence needs at least one step."),
    (np.zeros((5, 2)), [2.5, 2.5], "lengths must be a list of whole numbers"),
    ([np.zeros((3, 2))], [3], "sequences have one array for each sequence, so the lengths are"),
    (np.zeros((2, 3, 2)), [3, 3], "so the lengths are known; leave lengths=None."),
    (np.zeros((5, 2)), [[2], [1, 2]], "lengths must be a list of whole numbers"),
    (np.zeros(5), None, "sequences has shape (5,); expected two axes, (n_steps, n_features)."),
    (np.zeros((0, 2)), None, "sequences is empty; every sequence needs at least one step."),
    (np.zeros((2, 0, 2)), None, "sequences[0] is empty; every sequence needs at least one step."),
    ([[0, 1], [1]], None, "sequences has steps of different lengths; every step of every"),
    ([[[0, 1], [1]], [[0, 1]]], None, "sequences[0] has steps of different lengths; every step"),
    ([np.zeros((2, 2)), None], None, "sequences[1] has shape (); expected two axes"),
    ([np.full((3, 2), 7.0)], None, "sequences has values in [7, 7]; Bernoulli units need [0, 1]"),
]


@pytest.mark.parametrize(("sequences", "lengths", "sentence"), BAD)
def test_bad_sequences_get_a_sentence(sequences, lengths, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        RNNRBM(n_iter=1).fit(sequences, lengths)


def test_bad_arguments_get_a_sentence():
    rnn, data = _fitted(), _sequences()
    for call, sentence in [
        (
            lambda: rnn.sample(2, data[0]),
            "prefix has 5 steps, but n_steps is 2: n_steps counts those of the prefix. Ask for at "
            "least 5.",
        ),
        (
            lambda: rnn.transform([np.zeros((2, 5))]),
            "sequences have 5 features, but the model was fitted with 3; give as many.",
        ),
        (
            lambda: RNNRBM(n_iter=1).fit(data, validation=[np.zeros((2, 5))]),
            "validation has 5 features, but sequences have 3; give as many.",
        ),
        (
            lambda: RNNRBM(n_iter=1).fit(data, validation=data[0], validation_lengths=[2]),
            "validation_lengths add up to 2, but validation has 5 steps; they must be equal.",
        ),
        (
            lambda: RNNRBM(n_iter=1).fit(data, validation_lengths=[2]),
            "validation is None; give both, or neither.",
        ),
        (lambda: rnn.sample(9, data), "prefix must be one sequence, (n_steps, n_features), with"),
        (lambda: rnn.sample(9, np.zeros((2, 5))), "prefix has 5 features, but the model was"),
        (lambda: rnn.sample(9, data[0][0]), "prefix has shape (3,); expected two axes"),
        (lambda: RNNRBM(emits=5).fit(data), "emits must be ('biases',), ('weights',) or"),
        (lambda: RNNRBM(emits="biases").fit(data), "emits must be ('biases',), ('weights',) or"),
        (lambda: RNNRBM(emits=("bias",)).fit(data), "got 'bias'. Did you mean 'biases'?"),
        (
            lambda: RNNRBM(weight_rank=3).fit(data),
            "weight_rank is 3, but emits=('biases',) emits no weights; add 'weights', or leave",
        ),
        (
            lambda: RNNRBM(recurrent="rtrbm", emits=("weights",)).fit(data),
            "recurrent='rtrbm' emits biases alone; got emits=('weights',).",
        ),
        (lambda: RNNRBM(recurrent="lstm").fit(data), "recurrent must be one of 'tanh', 'gru'"),
        (lambda: RNNRBM(clip_norm=0).fit(data), "clip_norm must be > 0; got 0."),
        (lambda: RNNRBM(method="pdc").fit(data), "Did you mean 'pcd'?"),
        (lambda: RNNRBM(restarts=1.5).fit(data), "restarts is the share of chains that begin"),
        (lambda: RNNRBM(restarts=-0.1).fit(data), "restarts must be >= 0; got -0.1."),
        (
            lambda: RNNRBM(restarts=0.1, method="exact").fit(data),
            "restarts=0.1 is for chains that begin at the data, but method='exact' has none.",
        ),
    ]:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            call()
    with pytest.raises(AttributeError, match="every step of an RNN-RBM has a log Z of its own"):
        rnn.log_partition()
    with pytest.raises(TypeError, match=re.escape("is the class GRU; give one of its objects, ")):
        RNNRBM(recurrent=GRU).fit(data)


def test_a_short_annealing_is_said_to_flatter_the_model():
    rnn, data = _fitted(), _sequences()
    for x in rnn.params_.values():
        x *= 5
    with pytest.warns(RuntimeWarning, match="the annealing is short for this model: log Z of"):
        rnn.log_likelihood(data, method="ais", betas=2, n_chains=5)
    exact = rnn.log_likelihood(data, method="exact")
    assert not exact.log_partition.is_degenerate
    assert str(exact).endswith("nats a step (exact)")
    long = rnn.log_likelihood(data, method="ais", betas=1000, n_chains=50)
    assert not long.log_partition.is_degenerate
    assert "50 chains a step, of which" in str(long)


@pytest.mark.parametrize("samples", ["data", "chains"])
def test_every_step_has_an_interval_and_reverse_annealing_closes_it(samples):
    rnn, data = _fitted(), _sequences()
    exact = rnn.log_likelihood(data, method="exact")
    found = rnn.log_likelihood(data, method="ais", betas=100, n_chains=30, samples=samples)
    assert found.low <= exact.mean <= found.high
    assert found.log_partition.reverse.n_chains == 30
    for low, value, high, truth in zip(
        found.lows, found.values, found.highs, exact.values, strict=True
    ):
        assert (low < value).all() and (value < high).all()
        assert ((low <= truth) & (truth <= high)).mean() > 0.7
    values, low, high = rnn.score_samples(data, return_interval=True)
    for k in range(len(data)):
        np.testing.assert_array_equal(values[k], rnn.score_samples(data)[k])
        np.testing.assert_array_equal(low[k], values[k])  # exact
        np.testing.assert_array_equal(high[k], values[k])
    with pytest.raises(ValueError, match="samples must be one of 'data', 'chains'; got 'dta'"):
        rnn.log_likelihood(data, samples="dta")


def test_the_mean_of_estimates_makes_room_for_their_bias():
    """The logarithm of an unbiased estimate is low: log Z's interval must reach further up."""
    z = likelihood.ConditionalLogPartition(
        np.array([1.0, 3.0]), np.array([0.2, 0.4]), np.array([5.0, 5.0]), "ais", 4, 10
    ).mean()
    error = np.sqrt(0.04 + 0.16) / 2
    assert z.value == 2
    assert z.low == pytest.approx(2 - 1.96 * error)
    assert z.high == pytest.approx(2 + 1.96 * error + 0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_progress_is_shown(capsys):
    RNNRBM(2, 2, n_iter=2, verbose=1, random_state=0).fit(_sequences())
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_share_of_the_chains_begins_at_other_steps(n_threads):
    """The others begin where they would without, and all of it is a function of the seed.
    Deliberate bugs that this catches: another share, chains that begin at their own step, the same
    ones in every update."""
    data = _sequences((40, 30, 30))
    options = {"method": "cd", "n_gibbs": 1, "n_threads": n_threads}

    def starts(**more):
        """Where the chains of two updates begin, and those from elsewhere (u, h)."""
        begun, far = [], []
        rnn = _fitted({}, **options, **more)
        trainer = rnn._trainer(rnn.energy_)
        sampler = trainer.objective._phases[0].sampler
        begin = sampler.start

        def spy(params, n, address, values, **how):
            if n == 100:
                begun.append((values["u"].copy(), values["h"].copy()))
            else:
                far.append((values["u"].copy(), values["h"].copy()))
            return begin(params, n, address, values, **how)

        sampler.start = spy
        rows = {"v": np.concatenate(data)[:, None], "reset": np.zeros((100, 1), bool)}
        rows |= {"mask": np.ones((100, 1), bool), "rows": np.arange(100)[:, None]}
        state = trainer.init(rnn.params_, 0).phases
        for _ in range(2):
            _, _, state = trainer.objective.step(rnn.params_, rows, state)
        return begun, far

    plain, none = starts()
    some, far = starts(restarts=0.3, restart_sweeps=5)
    again, _ = starts(restarts=0.3, restart_sweeps=5)
    assert none == [] and [len(u) for u, _ in far] == [30, 30]
    steps = []
    for update in range(2):
        (u, h), (_, moved), (far_u, far_h) = plain[update], some[update], far[update]
        np.testing.assert_array_equal(moved, again[update][1])
        at = [int(np.flatnonzero((u == one).all(axis=1))[0]) for one in far_u]
        assert len(set(at)) == 30
        others = np.setdiff1d(np.arange(100), at)
        np.testing.assert_array_equal(moved[others], h[others])
        assert (moved[at] != h[at]).any()
        # Of another step, two hidden units are the same by chance, in less than half of the cases.
        assert (far_h != h[at]).any(axis=1).mean() > 0.4
        steps.append(at)
    assert steps[0] != steps[1]


def test_a_persistent_chain_goes_on_where_it_was_at_the_same_step():
    """Sequences are shuffled between passes; chains stay with their steps. Deliberate bugs that
    this catches: chains taken or put back by their place in the minibatch, chains begun anew."""
    lengths = np.array([5, 3, 8, 1, 2, 6])
    data = _sequences(lengths)
    rnn = _fitted({}, method="pcd", n_gibbs=1)
    trainer = rnn._trainer(rnn.energy_)
    (phases,) = trainer.objective._phases
    sampler, step = phases.sampler, trainer.objective.step
    sweep = sampler.step
    numbers, left, n_met = [], {}, 0

    def spy_step(params, batch, *rest):
        numbers[:] = batch["rows"][batch["mask"]]
        return step(params, batch, *rest)

    def spy_sweep(params, start, *rest, **options):
        nonlocal n_met
        end = sweep(params, start, *rest, **options)
        for k, row in enumerate(numbers):
            if row in left:
                np.testing.assert_array_equal(start.values["h"][k], left[row])
                n_met += 1
            left[row] = end.values["h"][k].copy()
        return end

    trainer.objective.step, sampler.step = spy_step, spy_sweep
    frames = rnn_rbm.Rows(np.concatenate(data), (V,), np.float64)
    state = trainer.init(rnn.params_, 0)
    options = {"n_streams": 2, "chunk": 4, "n_epochs": 4, "seed": 0}
    list(trainer.sequence_epochs(rnn.params_, frames, lengths, state, **options))
    assert n_met == 3 * lengths.sum()
    assert len({h.tobytes() for h in left.values()}) > 1


def test_the_last_sweep_of_predictions_is_of_their_random_state(monkeypatch):
    x = (np.random.default_rng(0).random((2, 7, 30)) < 0.3).astype(np.float32)
    rnn = RNNRBM(24, 3, n_iter=1, n_gibbs=1, random_state=0).fit(list(x))
    seeds = []
    real = rnn_rbm.Gibbs.start
    monkeypatch.setattr(
        rnn_rbm.Gibbs,
        "start",
        lambda self, params, n, address, *a, **how: (
            seeds.append(address.seed) or real(self, params, n, address, *a, **how)
        ),
    )
    found = [rnn.predict(list(x), betas=10, n_chains=2, random_state=state) for state in (1, 2)]
    assert (found[0][0] != found[1][0]).any()
    assert len(set(seeds)) > 1
    assert rnn._seed not in seeds
