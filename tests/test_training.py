"""The minibatch loop against plain NumPy, and what an interrupt leaves behind."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
import types

import numpy as np
import pytest
from catalogue import BY_NAME
from scipy import sparse

import fastboltz as fb
from fastboltz import RBM, interrupts, pair_loop, rng, training
from fastboltz.interrupts import deferred_interrupt
from fastboltz.objectives import LogLikelihood, Objective
from fastboltz.optimizers import SGD, Adam, Constant, Linear, Schedule
from fastboltz.pair_loop import PairLoop
from fastboltz.training import CENTRING_RATE, Rows, Trainer

# -------------------------------------------------------------------------------------- the loop

V = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
H = np.array(list(itertools.product([0.0, 1.0], repeat=2)))


def _expectations(params, states_v, p_v):
    """E[v], E[h], E[v h'] with v distributed as given and h as the RBM says."""
    on = 1 / (1 + np.exp(-(params["h"] + states_v @ params["v_i h_j"])))
    return {"v": p_v @ states_v, "h": p_v @ on, "v_i h_j": (states_v * p_v[:, None]).T @ on}


def _model_expectations(params):
    joint = (V @ params["v"])[:, None] + H @ params["h"] + V @ params["v_i h_j"] @ H.T
    p = np.exp(joint - joint.max())
    return _expectations(params, V, p.sum(axis=1) / p.sum())


def _train_plainly(params, X, weights, *, n_epochs, batch, rate, seed, momentum, l1, l2, centered):
    """Stochastic gradient ascent on the exact likelihood, in plain NumPy."""
    params = {key: x.copy() for key, x in params.items()}
    velocity = {key: np.zeros_like(x) for key, x in params.items()}
    offsets, update = None, 0
    n_updates = -(-len(X) // batch) * n_epochs
    for epoch in range(n_epochs):
        order = rng.permutation(rng.Address.of(seed, "shuffle", step=epoch), len(X))
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            w = np.ones(len(rows)) if weights is None else weights[rows]
            if w.sum() == 0:
                continue
            emphasis = 1.0 if weights is None else w.mean() / weights.mean()
            data = _expectations(params, X[rows], w / w.sum())
            model = _model_expectations(params)
            g = {key: data[key] - model[key] for key in params}
            if centered:
                if offsets is None:
                    offsets = {key: data[key] for key in "vh"}
                else:
                    offsets = {
                        key: x + CENTRING_RATE * (data[key] - x) for key, x in offsets.items()
                    }
                mu, lam = offsets["v"], offsets["h"]
                dw = g["v_i h_j"] - np.outer(mu, g["h"]) - np.outer(g["v"], lam)
                g = {"v": g["v"] - dw @ lam, "h": g["h"] - mu @ dw, "v_i h_j": dw}
            weight = params["v_i h_j"]
            g["v_i h_j"] = g["v_i h_j"] - l2 * weight - l1 * np.sign(weight)
            for key in params:
                velocity[key] = (
                    momentum * velocity[key] + rate(update, n_updates) * emphasis * g[key]
                )
                params[key] = params[key] + velocity[key]
            update += 1
    return params


def _data(n=11):
    random = np.random.default_rng(0)
    return V[random.integers(0, 8, n)], random.integers(0, 3, n).astype(float)


def _trainer(
    optimizer=None, schedule=None, negative="exact", name="bernoulli-bernoulli", **options
):
    entry = BY_NAME[name]
    of = tuple(g for g in "vs" if g in entry.groups)
    objective = Objective(entry.energy, LogLikelihood(of=of, negative=negative))
    return Trainer(
        entry.energy, objective, optimizer or SGD(), schedule or Constant(0.1), **options
    ), {key: x.copy() for key, x in entry.parameters().items()}


def _run(trainer, params, X, *, seed=3, batch_size=4, n_epochs=5, **options):
    state = trainer.init(params, seed)
    data = {"v": Rows(X, X.shape[1:], np.float64)}
    passes = trainer.epochs(
        params, data, state, batch_size=batch_size, n_epochs=n_epochs, seed=seed, **options
    )
    for _ in passes:
        pass
    return state


def _assert_close(found, expected, rtol=1e-11, atol=1e-13):
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=rtol, atol=atol, err_msg=key)


@pytest.mark.parametrize("centered", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.8}, {"l1": 0.03, "l2": 0.2}],
    ids=["sgd", "momentum", "penalties"],
)
def test_training_is_the_loop_that_one_would_write(centered, weighted, options):
    """11 rows in minibatches of 4, so the last has 3; a rate that falls to zero.

    Deliberate bugs that this catches: penalties on biases, offsets that follow before they are
    used, a minibatch that counts the same whatever its rows weigh, the end of the schedule counted
    in epochs.
    """
    X, weights = _data()
    weights = weights if weighted else None
    settings = {"momentum": 0.0, "l1": 0.0, "l2": 0.0, "centered": centered} | options
    rate = Linear(0.3)
    momentum = settings["momentum"]
    penalties = {key: settings[key] for key in ("l1", "l2")}
    trainer, params = _trainer(SGD(momentum), rate, centered=centered, **penalties)
    expected = _train_plainly(
        params, X, weights, n_epochs=5, batch=4, rate=rate, seed=3, **settings
    )
    state = _run(trainer, params, X, sample_weight=weights)
    _assert_close(params, expected)
    assert state.epoch == 5
    assert state.update == 15


def test_adam_is_fed_the_same_gradients():
    X, _ = _data()
    trainer, params = _trainer(Adam(), centered=False)
    expected = {key: x.copy() for key, x in params.items()}
    m = {key: np.zeros_like(x) for key, x in params.items()}
    v = {key: np.zeros_like(x) for key, x in params.items()}
    for t in range(1, 6):
        data, model = _expectations(expected, X, np.full(11, 1 / 11)), _model_expectations(expected)
        for key in expected:
            g = data[key] - model[key]
            m[key], v[key] = 0.9 * m[key] + 0.1 * g, 0.999 * v[key] + 0.001 * g**2
            step = m[key] / (1 - 0.9**t) / (np.sqrt(v[key] / (1 - 0.999**t)) + 1e-8)
            expected[key] = expected[key] + 0.1 * step
    _run(trainer, params, X, batch_size=11)
    _assert_close(params, expected, rtol=1e-9)


def test_without_shuffling_rows_come_as_they_are():
    X, _ = _data(8)
    trainer, params = _trainer(centered=False)
    expected = {key: x.copy() for key, x in params.items()}
    for rows in (X[:5], X[5:]):
        data = _expectations(expected, rows, np.full(len(rows), 1 / len(rows)))
        model = _model_expectations(expected)
        expected = {key: x + 0.1 * (data[key] - model[key]) for key, x in expected.items()}
    _run(trainer, params, X, batch_size=5, n_epochs=1, shuffle=False)
    _assert_close(params, expected)


def test_penalties_reach_the_weights_of_every_term_and_no_bias_or_precision():
    entry = BY_NAME["gaussian-bernoulli"]
    trainer, _ = _trainer(name=entry.name, l1=0.1, l2=0.2)
    assert trainer.penalties == {entry.terms[0]: (0.1, 0.2)}
    factored, _ = _trainer(name="RBM of low rank", l2=0.2)
    assert set(factored.penalties) == {"v_i h_j | 2 @ v_i", "v_i h_j | 2 @ h_j"}
    free, _ = _trainer()
    assert free.penalties == {}


def test_the_limit_bounds_the_change_of_every_parameter_in_one_update():
    trainer, params = _trainer(schedule=Constant(50.0), limit=0.1, centered=False)
    before = {key: x.copy() for key, x in params.items()}
    X, _ = _data()
    _run(trainer, params, X, batch_size=11, n_epochs=1)
    change = max(np.abs(params[key] - before[key]).max() for key in params)
    assert change == pytest.approx(0.1, rel=1e-12)
    free, same = _trainer(schedule=Constant(1e-3), limit=0.1, centered=False)
    plain, params = _trainer(schedule=Constant(1e-3), centered=False)
    _run(free, same, X)
    _run(plain, params, X)
    _assert_close(same, params, rtol=0, atol=0)


def test_the_schedule_ends_with_these_passes_or_is_not_told_an_end():
    seen = []

    class Recorded(Schedule):
        def __call__(self, update, n_updates):
            seen.append((update, n_updates))
            return 0.1

    X, _ = _data()
    trainer, params = _trainer(schedule=Recorded())
    _run(trainer, params, X, n_epochs=2)
    assert seen == [(k, 6) for k in range(6)]
    seen.clear()
    _run(trainer, params, X, n_epochs=2, decay=False)
    assert seen == [(k, None) for k in range(6)]


def test_each_pass_is_recorded():
    X, _ = _data()
    trainer, params = _trainer(schedule=Linear(0.3))
    state = _run(trainer, params, X, n_epochs=3)
    assert state.history["epoch"] == [1, 2, 3]
    np.testing.assert_allclose(
        state.history["learning_rate"], [0.3 * (1 - k / 9) for k in (2, 5, 8)]
    )
    assert state.seconds == state.history["seconds"][-1] > 0


# ------------------------------------------------------------------------- invariance of centring


def _likelihoods(params, X, *, flip, centered, optimizer):
    """Exact log-likelihood after each of 30 updates, with groups whose two values are exchanged."""
    params = {key: x.copy() for key, x in params.items()}
    w = params["v_i h_j"]
    if "v" in flip:  # v -> 1 - v
        params["h"], w, params["v"] = params["h"] + w.sum(axis=0), -w, -params["v"]
        X = 1 - X
    if "h" in flip:
        params["v"], w, params["h"] = params["v"] + w.sum(axis=1), -w, -params["h"]
    params["v_i h_j"] = np.ascontiguousarray(w)
    trainer, _ = _trainer(optimizer, Constant(0.3), centered=centered)
    found = [trainer.objective.value(params, {"v": X})]
    state = trainer.init(params, 0)
    data = {"v": Rows(X, (3,), np.float64)}
    for _ in trainer.epochs(params, data, state, batch_size=20, n_epochs=30, seed=0):
        found.append(trainer.objective.value(params, {"v": X}))
    return np.array(found)


@pytest.mark.parametrize("flip", ["v", "h", "vh"])
@pytest.mark.parametrize("optimizer", [SGD(), SGD(0.9)], ids=repr)
def test_centred_learning_does_not_care_which_value_is_called_one(flip, optimizer):
    """Melchior, Fischer & Wiskott 2016: the same likelihoods, update by update, to rounding.

    The plain gradient does care, and by far more than rounding.
    """
    X, _ = _data(20)
    params = BY_NAME["bernoulli-bernoulli"].parameters()
    straight, flipped = (
        _likelihoods(params, X, flip=f, centered=True, optimizer=optimizer) for f in ("", flip)
    )
    np.testing.assert_allclose(flipped, straight, rtol=1e-9)
    assert straight[-1] > straight[0] + 0.01
    straight, flipped = (
        _likelihoods(params, X, flip=f, centered=False, optimizer=optimizer) for f in ("", flip)
    )
    assert np.abs(flipped - straight).max() > 1e-3


# ------------------------------------------------------------------------------------------ rows


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csr_array], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_handed_out_shaped_and_in_the_precision_asked_for(form, dtype):
    x = np.random.default_rng(0).random((6, 6)) * (np.arange(6) % 2)
    rows = Rows(form(x), (3, 2), dtype)
    assert len(rows) == 6
    for chosen in (slice(1, 4), np.array([5, 0, 0])):
        part = rows.take(chosen)
        assert part.dtype == dtype
        assert part.flags.c_contiguous
        np.testing.assert_array_equal(part, x[chosen].reshape(3, 3, 2).astype(dtype))


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sparse.csr_array], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_rows_are_weighted_means(form, weighted):
    """More rows than are worked on at once."""
    random = np.random.default_rng(0)
    x, w = random.random((5000, 4)) * (random.random((5000, 4)) < 0.3), random.random(5000)
    mean, square = Rows(form(x), (2, 2), np.float64).moments(w if weighted else None)
    expected = np.average(x, axis=0, weights=w if weighted else None)
    np.testing.assert_allclose(mean, expected.reshape(2, 2), rtol=1e-12)
    expected = np.average(x**2, axis=0, weights=w if weighted else None)
    np.testing.assert_allclose(square, expected.reshape(2, 2), rtol=1e-12)


# ------------------------------------------------------------------------------------ interrupts


class StopHereError(Exception):
    """Ends a reference run after a whole number of updates."""


class Watched(SGD):
    """Keeps a copy of the parameters after every update, and may do something in the midst of one.

    ``midway`` is called with the number of the update, from 1, when the first array has been
    stepped and the others have not.
    """

    def __init__(self, midway=None, stop_after=None):
        super().__init__(0.5)
        self.midway = midway or (lambda update: None)
        self.stop_after = stop_after
        self.done = 0
        self.history = []

    def step(self, params, gradient, state, rate, penalties, n_threads=1):
        for number, key in enumerate(params):
            super().step({key: params[key]}, gradient, state, rate, penalties, n_threads)
            if number == 0:
                self.midway(self.done + 1)
        self.done += 1
        self.history.append({key: x.tobytes() for key, x in params.items()})
        if self.done == self.stop_after:
            raise StopHereError


def _interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def _fitting(optimizer, **options):
    options = {"n_iter": 6, "batch_size": 10, "random_state": 0, "learning_rate": 0.1} | options
    return RBM(4, optimizer=optimizer, **options)


def _bits(n=45, seed=0):
    return (np.random.default_rng(seed).random((n, 6)) < 0.4).astype(np.float64)


def _bytes(rbm):
    return {key: x.tobytes() for key, x in rbm.params_.items()}


@pytest.fixture
def handler():
    """A SIGINT handler of the caller's own, which must be back afterwards."""

    def mine(number, frame):
        raise KeyboardInterrupt("mine")

    before = signal.signal(signal.SIGINT, mine)
    yield mine
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("at", [1, 7, 10], ids=["first", "within an epoch", "last of an epoch"])
def test_ctrl_c_in_the_midst_of_an_update_leaves_a_whole_one(at, handler):
    """Compared byte by byte with a run that is stopped after that update.

    Deliberate bug that this catches: no deferral at all, which leaves one array stepped and the
    others not.
    """
    X = _bits()
    midway = {at: _interrupt}
    optimizer = Watched(lambda update: midway.get(update, lambda: None)())
    rbm = _fitting(optimizer)
    with pytest.raises(KeyboardInterrupt, match=rf"interrupted after update {at} \(epoch "):
        rbm.fit(X)
    assert signal.getsignal(signal.SIGINT) is handler
    other = _fitting(Watched(stop_after=at))
    with pytest.raises(StopHereError):
        other.fit(X)
    assert _bytes(rbm) == other.optimizer.history[-1]
    assert rbm._training.update == at
    # The model is usable, and goes on.
    assert rbm.transform(X).shape == (45, 4)
    assert np.isfinite(rbm.score(X))
    chains = rbm.chains_.copy()
    rbm.partial_fit(X)
    assert (rbm.chains_ != chains).any()
    assert rbm._training.update == at + 5


def test_chains_and_velocities_are_those_of_the_same_update_as_the_parameters(handler):
    """Going on after an interrupt at the end of an epoch is what an uninterrupted run does."""
    X = _bits(40)
    midway = {4: _interrupt}
    rbm = _fitting(Watched(lambda update: midway.pop(update, lambda: None)()), n_iter=2)
    with pytest.raises(KeyboardInterrupt):
        rbm.fit(X)
    whole = _fitting(Watched(), n_iter=1).fit(X)
    assert _bytes(rbm) == _bytes(whole)
    chains = rbm._chain_state()
    np.testing.assert_array_equal(chains.values["h"], whole._chain_state().values["h"])
    assert chains.address == whole._chain_state().address
    for key, x in whole._training.optimizer.items():
        np.testing.assert_array_equal(rbm._training.optimizer[key], x)
    for key, x in whole._training.offsets.items():
        np.testing.assert_array_equal(rbm._training.offsets[key], x)


def test_ctrl_c_while_the_rate_is_looked_up_is_taken_after_that_update(handler):
    class Interrupting(Schedule):
        def __call__(self, update, n_updates):
            if update == 3:
                _interrupt()
            return 0.1

    rbm = _fitting(Watched(), learning_rate=Interrupting())
    with pytest.raises(KeyboardInterrupt, match="interrupted after update 4"):
        rbm.fit(_bits())
    assert rbm._training.update == 4


def test_ctrl_c_from_outside_at_any_time_leaves_a_whole_update(handler):
    """A timer, as a person would, somewhere among 40,000 updates."""
    X = _bits()
    optimizer = Watched()
    rbm = _fitting(optimizer, n_iter=8000)
    timer = threading.Timer(0.15, _interrupt)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            rbm.fit(X)
    finally:
        timer.join()
    assert signal.getsignal(signal.SIGINT) is handler
    assert 0 < rbm._training.update == len(optimizer.history) < 40_000
    assert _bytes(rbm) == optimizer.history[-1]
    rbm.set_params(n_iter=1).partial_fit(X)


_LONG = {
    # 2 and 5 looks an update
    "compiled": ({"n_components": 256, "n_gibbs": 300}, "has_come", 5),
    "sweeps on bits": ({"n_components": 256, "n_gibbs": 5, "optimizer": "adam"}, "look", 12),
    "sweeps": ({"visible": "gaussian", "method": "cd", "n_gibbs": 5}, "look", 12),
}


@pytest.mark.parametrize("kind", _LONG)
def test_ctrl_c_in_a_long_update_gives_it_up_and_loses_nothing(
    kind, handler, monkeypatch, tmp_path
):
    """It comes among the sweeps of update 3; what goes on from there is as if it had never come.

    Deliberate bugs that this catches: chains left where the update was given up, a minibatch that
    counts as taken, a loop that is taken for one whose weights left its range.
    """
    options, name, at = _LONG[kind]
    X = _bits(128, seed=1) if kind == "sweeps" else np.resize(_bits(128), (128, 256))
    X = np.random.default_rng(2).permuted(X, axis=0).astype(np.float32)
    options = {"n_components": 8, "n_iter": 2, "batch_size": 32, "n_chains": 256} | options
    options |= {"random_state": 0, "learning_rate": 0.01, "n_threads": 2}
    whole = RBM(**options).fit(X)
    calls, real = itertools.count(1), getattr(interrupts, name)

    def looking():
        if next(calls) == at:
            _interrupt()
        return real()

    monkeypatch.setattr(interrupts, name, looking)
    model = RBM(callbacks=[fb.Checkpoint(tmp_path / "kept.fbm", resume=True)], **options)
    with pytest.raises(KeyboardInterrupt, match="interrupted after update 2 "):
        model.fit(X)
    assert next(calls) == at + 1
    assert model.transform(X).shape == (128, options["n_components"])
    model.fit(X)
    assert model._training.update == whole._training.update == 8
    assert _bytes(model) == _bytes(whole)
    if options.get("method") != "cd":
        assert model.chains_.tobytes() == whole.chains_.tobytes()


def test_ctrl_c_in_the_first_update_says_that_nothing_was_learnt(handler, monkeypatch):
    real = interrupts.look

    def looking():
        _interrupt()
        return real()

    monkeypatch.setattr(interrupts, "look", looking)
    with pytest.raises(KeyboardInterrupt, match="before the first update; nothing was learnt"):
        model = _fitting("adam")
        model.fit(_bits())
    assert not hasattr(model, "params_")


def test_only_the_thread_that_the_signal_reaches_gives_up_updates(handler):
    with interrupts.may_be_given_up(), deferred_interrupt(within_updates=False) as event:
        event.set()
        interrupts.look()
    with deferred_interrupt() as event:
        event.set()
        interrupts.look()  # nothing says that this may be given up
        found = []

        def elsewhere():
            with interrupts.may_be_given_up():
                found.append(interrupts.has_come())
                interrupts.look()

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert found == [False]
        with interrupts.may_be_given_up(), pytest.raises(KeyboardInterrupt, match="within"):
            interrupts.look()
    assert not interrupts.has_come()


def test_ctrl_c_after_the_last_update_of_an_epoch_is_not_lost(monkeypatch, handler):
    """It arrives when no update is left to look for it, just before the old handler is back."""
    sent = []

    def restoring(number, new):
        if new is handler and not sent:
            sent.append(1)
            _interrupt()
        return signal.signal(number, new)

    names = ("getsignal", "SIGINT", "SIG_IGN", "SIG_DFL", "default_int_handler")
    copy = types.SimpleNamespace(**{name: getattr(signal, name) for name in names})
    copy.signal = restoring
    monkeypatch.setattr(interrupts, "signal", copy)
    rbm = _fitting("sgd")
    with pytest.raises(KeyboardInterrupt):
        rbm.fit(_bits())
    assert sent
    assert rbm.n_iter_ == 1


def test_a_second_ctrl_c_does_not_wait(handler):
    """Somebody who presses it twice wants out, whatever becomes of the update."""

    def midway(update):
        if update == 3:
            _interrupt()
            _interrupt()

    optimizer = Watched(midway)
    with pytest.raises(KeyboardInterrupt, match="mine"):
        _fitting(optimizer).fit(_bits())
    assert optimizer.done == 2
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_handler_is_back_after_an_error_too(handler):
    with pytest.raises(StopHereError):
        _fitting(Watched(stop_after=3)).fit(_bits())
    assert signal.getsignal(signal.SIGINT) is handler


def test_callbacks_run_with_the_handler_of_the_caller(handler):
    seen = []
    rbm = _fitting("sgd", n_iter=2)
    rbm.set_params(callbacks=[lambda progress: seen.append(signal.getsignal(signal.SIGINT))])
    rbm.fit(_bits())
    assert seen == [handler, handler]
    rbm.set_params(callbacks=[lambda progress: _interrupt()])
    with pytest.raises(KeyboardInterrupt, match="mine"):
        rbm.fit(_bits())
    assert rbm.n_iter_ == 1


def test_an_ignored_interrupt_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupt() as interrupted:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            _interrupt()
        assert not interrupted.is_set()
    finally:
        signal.signal(signal.SIGINT, before)


def test_fitting_in_another_thread_works_and_gives_the_same():
    """Signals can be set in the main thread alone."""
    X = _bits()
    here = _fitting("sgd").fit(X)
    found = []
    thread = threading.Thread(target=lambda: found.append(_fitting("sgd").fit(X)))
    thread.start()
    thread.join()
    assert _bytes(found[0]) == _bytes(here)


def test_models_may_be_fitted_in_several_threads_at_once():
    """Catches scratch arrays that trainings share, and the limit on BLAS threads left behind."""
    from threadpoolctl import threadpool_info

    before = [pool["num_threads"] for pool in threadpool_info()]
    X = _bits(200)
    expected = [_bytes(_fitting("sgd", random_state=seed).fit(X)) for seed in range(4)]
    found = [None] * 4

    def work(seed):
        found[seed] = _bytes(_fitting("sgd", random_state=seed).fit(X))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_blas_has_one_thread_while_something_computes_and_its_own_number_afterwards():
    from threadpoolctl import threadpool_info, threadpool_limits

    from fastboltz.threads import computing

    def of_blas():
        return {
            p["filepath"]: p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"
        }

    with threadpool_limits(2, user_api="blas"):
        before = of_blas()
        assert len(before) > 0
        with computing():
            assert set(of_blas().values()) == {1}
            with computing():
                assert set(of_blas().values()) == {1}
            assert set(of_blas().values()) == {1}
        assert of_blas() == before
        with pytest.raises(ZeroDivisionError), computing():
            1 / 0  # noqa: B018
        assert of_blas() == before


# ---------------------------------------------------------------------------- compiled minibatches

COMPILED = [
    {},
    {"method": "cd"},
    {"method": "cd", "n_gibbs": 2, "momentum": 0.5},
    {"momentum": 0.9},
    {"centered": False},
    {"l1": 0.05, "l2": 0.1},
    {"n_gibbs": 3},
    {"n_chains": 33},
    {"batch_size": 200},
    {"visible": "spin"},
    {"hidden": "spin", "n_threads": 2},
    {"visible": "spin", "hidden": "spin", "method": "cd"},
    {"grey": True},
    {"grey": True, "method": "cd", "momentum": 0.5, "batch_size": 45},
    {"grey": True, "visible": "spin", "n_gibbs": 2},
]


def _rows(options, n=45):
    X = _bits(n).astype(np.float32)
    if options.get("grey"):
        X *= np.random.default_rng(1).random(X.shape, dtype=np.float32)
    return 2 * X - 1 if options.get("visible") == "spin" else X


def _compiled(options, **more):
    settings = {"n_iter": 3, "batch_size": 10, "random_state": 0} | options | more
    settings.pop("grey", None)
    return RBM(4, **settings)


@pytest.fixture
def general(monkeypatch):
    """A function that turns the compiled loop off; before, its means are not rounded either."""
    monkeypatch.setattr(pair_loop, "MEAN_BITS", 20)

    def off():
        monkeypatch.setattr(PairLoop, "serve", classmethod(lambda *_: None))

    return off


def _assert_same_training(a, b):
    """Parameters, chains and carried state alike, but for the rounding of sums to 2**-20."""
    for key, value in b.params_.items():
        np.testing.assert_allclose(a.params_[key], value, rtol=0, atol=5e-6, err_msg=key)
    for kind in ("optimizer", "offsets"):
        mine, theirs = getattr(a._training, kind), getattr(b._training, kind)
        assert set(mine) == set(theirs)
        for key, value in theirs.items():
            np.testing.assert_allclose(mine[key], value, rtol=0, atol=5e-6, err_msg=key)
    assert a._training.update == b._training.update
    assert a._training.phases.update == b._training.phases.update
    mine, theirs = a._chain_state(), b._chain_state()
    assert (mine is None) == (theirs is None) == (a.method == "cd")
    if mine is not None:
        assert mine.address == theirs.address
        for g, value in theirs.values.items():
            np.testing.assert_array_equal(mine.values[g], value, err_msg=g)
    assert a.history_["learning_rate"] == b.history_["learning_rate"]


@pytest.mark.parametrize("options", COMPILED, ids=str)
def test_compiled_minibatches_make_the_updates_of_the_general_loop(options, general, monkeypatch):
    """The same random numbers, so the same trainings; the last minibatch of 45 rows has 5.

    Deliberate bugs that this catches: chains that are not handed back, a short minibatch divided
    by the batch size, a sweep's random numbers used twice.
    """
    calls = []
    run = PairLoop.run
    monkeypatch.setattr(PairLoop, "run", lambda *a: calls.append(1) or run(*a))
    X = _rows(options)
    compiled = _compiled(options).fit(X).partial_fit(X)
    assert calls, "this training was to be made by the compiled loop"
    general()
    calls.clear()
    _assert_same_training(compiled, _compiled(options).fit(X).partial_fit(X))
    assert not calls


@pytest.mark.parametrize(
    "change",
    [{"momentum": 0.5}, {"n_gibbs": 3}, {"method": "cd"}, {"centered": False}, {"batch_size": 7}],
    ids=str,
)
@pytest.mark.parametrize("way", ["to", "from"])
def test_settings_may_change_between_compiled_passes(change, way, general):
    X = _rows({})
    before, after = ({}, change) if way == "to" else (change, {})
    rest = {"momentum": 0.0, "n_gibbs": 1, "method": "pcd", "centered": True, "batch_size": 10}

    def train():
        rbm = _compiled(before).fit(X)
        return rbm.set_params(**rest | after).partial_fit(X).partial_fit(X)

    compiled = train()
    general()
    _assert_same_training(compiled, train())


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["one update a call", "an epoch a call"])
def test_how_many_updates_one_compiled_call_makes_does_not_show(seconds, monkeypatch):
    """It depends on the clock."""
    X = _rows({}, 300)
    usual = _compiled({"momentum": 0.5}, n_iter=10).fit(X)
    monkeypatch.setattr(pair_loop, "_CALL_SECONDS", seconds)
    other = _compiled({"momentum": 0.5}, n_iter=10).fit(X)
    assert _bytes(other) == _bytes(usual)
    np.testing.assert_array_equal(other.chains_, usual.chains_)


@pytest.mark.parametrize(
    "form", [np.asarray, sparse.csr_array, np.asfortranarray, lambda x: x.astype(np.uint8)]
)
def test_the_compiled_loop_takes_binary_rows_of_every_form(form):
    X = _rows({}, 60)
    assert _bytes(_compiled({}).fit(form(X))) == _bytes(_compiled({}).fit(X))


def test_one_grey_value_counts():
    """Catches grey values that are cut to bits."""
    X = _rows({}, 60)
    X[0, 0] = 0.5
    grey = _compiled({}).fit(X)
    for value in (0.0, 1.0):
        X[0, 0] = value
        assert _bytes(grey) != _bytes(_compiled({}).fit(X))


@pytest.mark.parametrize("grey", [False, True], ids=["bits", "grey"])
def test_weights_beyond_the_range_of_fixed_point_go_on_in_the_general_loop(grey, general):
    """Sums are kept in fixed point; a rate of 30,000 leaves their range within a few updates."""
    X = _rows({"grey": grey})
    options = {"learning_rate": 30_000.0, "n_iter": 5}
    compiled = _compiled(options).fit(X)
    general()
    plain = _compiled(options).fit(X)
    assert compiled._training.update == plain._training.update == 25
    assert np.abs(plain.components_).max() > 1000
    for key, value in plain.params_.items():
        np.testing.assert_allclose(compiled.params_[key], value, rtol=1e-4, atol=1.0, err_msg=key)


def test_ctrl_c_leaves_a_whole_update_of_the_compiled_loop_too(handler, monkeypatch):
    """Compared byte by byte with a run, one update a call, whose schedule ends it there."""
    X = _rows({}, 300)

    class Interrupting(Schedule):
        def __init__(self, at, what):
            self.at, self.what = at, what

        def __call__(self, update, n_updates):
            if update == self.at:
                self.what()
            return 0.1

    rbm = _compiled({"momentum": 0.5, "learning_rate": Interrupting(40, _interrupt)})
    with pytest.raises(KeyboardInterrupt, match="interrupted after update"):
        rbm.fit(X)
    assert signal.getsignal(signal.SIGINT) is handler
    update = rbm._training.update
    assert update > 40

    def stop():
        raise StopHereError

    monkeypatch.setattr(pair_loop, "_CALL_SECONDS", 0.0)
    other = _compiled({"momentum": 0.5, "learning_rate": Interrupting(update, stop)})
    if update % 30:
        with pytest.raises(StopHereError):
            other.fit(X)
    else:  # at the end of an epoch
        other.set_params(n_iter=update // 30).fit(X)
    assert _bytes(rbm) == _bytes(other)
    rbm.set_params(learning_rate=0.1).partial_fit(X)
    assert rbm._training.update == update + 30


def test_ctrl_c_from_outside_reaches_a_long_compiled_training(handler):
    """20,000 rows and 4,000 epochs would take minutes; the interrupt is heard within a second."""
    X = (np.random.default_rng(0).random((20_000, 64)) < 0.4).astype(np.float32)
    rbm = RBM(64, n_iter=4000, random_state=0)
    timer = threading.Timer(0.4, _interrupt)
    begin = time.perf_counter()
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            rbm.fit(X)
    finally:
        timer.join()
    assert time.perf_counter() - begin < 5
    assert rbm._training.update > 0
    assert rbm.sample(3).shape == (3, 64)


# ------------------------------------------------------------------ any energy, without a model


@pytest.mark.parametrize("negative", ["exact", "pcd"])
def test_a_machine_without_an_estimator_trains_by_the_same_loop(negative):
    """A Boltzmann machine with lateral couplings, five of the sixteen states of its visible spins.

    The best likelihood is -log 5 = -1.61; on the way lies a plateau at -2.2 without hidden units.
    """
    energy = fb.Energy({"v": fb.Spin(4), "h": fb.Spin(2)}, terms=["v_i v_j", "v_i h_j"])
    X = 2 * np.array(list(itertools.product([0.0, 1.0], repeat=4)))[[0, 3, 5, 9, 15]] - 1
    likelihood = LogLikelihood(of=("v",), negative=negative, n_chains=100)
    objective = Objective(energy, likelihood)
    trainer = Trainer(energy, objective, SGD(0.5), Linear(0.3))
    params = energy.init(0, 0.5, np.float64)
    data = {"v": Rows(X, (4,), np.float64)}
    passes = trainer.epochs(
        params, data, trainer.init(params, 0), batch_size=5, n_epochs=150, seed=0
    )
    progress = []
    training.run(passes, params, model=None, n_iter=150, callbacks=[progress.append])
    assert objective.value(params, {"v": X}) > -1.85
    w = params["v_i v_j"]
    np.testing.assert_allclose(w, w.T, rtol=1e-12)
    assert not np.diag(w).any()
    assert len(progress) == 150
    assert progress[0].model is None


def test_long_gradients_are_clipped_where_updates_are_compiled_too():
    """Binary units on both sides and plain ascent: what the compiled loop takes, if nothing else is
    asked for."""
    energy = fb.Energy({"v": fb.Bernoulli(6), "h": fb.Bernoulli(4)}, ["v_i h_j"])
    params = energy.init(0)
    before = {key: x.copy() for key, x in params.items()}
    x = (np.random.default_rng(0).random((40, 6)) < 0.5).astype(np.float32)
    objective = Objective(energy, LogLikelihood("v", negative="pcd"), 1)
    trainer = Trainer(energy, objective, SGD(), Constant(1.0), centered=False, clip_norm=1e-6)
    state = trainer.init(params, 0)
    data = {"v": Rows(x, (6,), np.float32)}
    for _ in trainer.epochs(params, data, state, batch_size=20, n_epochs=1, seed=0):
        pass
    moved = sum(float(((params[key] - before[key]) ** 2).sum()) for key in params) ** 0.5
    assert 0 < moved < 3e-6
