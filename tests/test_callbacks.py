"""Watching a training and ending it at its best."""

from __future__ import annotations

import pickle

import matplotlib
import numpy as np
import pytest
from sklearn.base import clone

matplotlib.use("Agg")

import fastboltz as fb
from fastboltz.callbacks import METRICS, Average, EarlyStopping, Monitor
from fastboltz.models.belief_net import VALIDATION_DRAWS
from fastboltz.plots import HistoryDisplay
from fastboltz.training import Progress


def _rows(n=200, d=12, seed=0):
    """Two noisy prototypes."""
    rng = np.random.default_rng(seed)
    prototypes = np.random.default_rng(9).random((2, d)) < 0.5
    X = prototypes[rng.integers(0, 2, n)] ^ (rng.random((n, d)) < 0.1)
    return X.astype(np.float32)


TRAIN, TEST = _rows(), _rows(seed=1)
OPTIONS = {"n_iter": 6, "batch_size": 20, "random_state": 0, "n_threads": 1}


def _models():
    """Parameters after each epoch of one training, as models."""
    kept = []
    fb.RBM(6, callbacks=[lambda p: kept.append(pickle.dumps(p.model.params_))], **OPTIONS).fit(
        TRAIN
    )
    models = []
    for params in kept:
        rbm = fb.RBM(6, **OPTIONS).fit(TRAIN)
        for key, x in pickle.loads(params).items():
            rbm.params_[key][...] = x
        rbm._log_partition = None
        models.append(rbm)
    return models


def test_every_measure_is_what_the_model_says_after_that_epoch():
    """Deliberate bugs that this catches: the gap turned round, held-out rows taken for training
    rows, a log-likelihood of the epoch before."""
    monitor = Monitor(TEST, TRAIN, every=1)
    rbm = fb.RBM(6, callbacks=[monitor], **OPTIONS).fit(TRAIN)
    assert set(METRICS) <= set(rbm.history_)
    for epoch, model in enumerate(_models()):
        expected = {
            "log_likelihood": model.score(TEST),
            "free_energy_gap": model.free_energy(TEST).mean() - model.free_energy(TRAIN).mean(),
            "pseudo_likelihood": model.pseudo_likelihood(TEST).mean(),
            "reconstruction_error": ((model.reconstruct(TEST) - TEST) ** 2).mean(),
            "weight_norm": np.linalg.norm(model.components_),
        }
        for name, value in expected.items():
            assert rbm.history_[name][epoch] == pytest.approx(value, rel=1e-5), name


WEIGHTS = {
    "point-wise gated": (
        lambda **o: fb.PointwiseGatedRBM((3, 2), n_pretraining=0, **o),
        {"h0_k v_i z_i0", "h1_k v_i z_i1"},
    ),
    "belief net": (
        lambda **o: fb.SigmoidBeliefNetwork((3, 2), **o),
        {"p.v.weights", "p.h1.weights", "q.h1.weights", "q.h2.weights"},
    ),
    "recurrent": (
        lambda **o: fb.RNNRBM(3, 4, n_gibbs=1, chunk=7, **o),
        {"h_j v_a", "v_a u_r", "h_j u_r", "recurrent.input", "recurrent.state"},
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_norm_of_weights_knows_no_biases(name):
    make, keys = WEIGHTS[name]
    monitor = Monitor(TEST, what="weight_norm", every=1)
    model = make(n_iter=2, random_state=0, callbacks=[monitor])
    model.fit([TRAIN] if name == "recurrent" else TRAIN)
    assert keys < set(model.params_)
    norm = np.sqrt(sum((model.params_[key].astype(float) ** 2).sum() for key in keys))
    assert model.history_["weight_norm"][-1] == pytest.approx(norm, rel=1e-6)


def test_watching_does_not_change_the_training():
    plain = fb.RBM(6, **OPTIONS).fit(TRAIN)
    watched = fb.RBM(6, callbacks=[Monitor(TEST, TRAIN, every=1)], **OPTIONS).fit(TRAIN)
    np.testing.assert_array_equal(plain.components_, watched.components_)


def test_an_annealed_log_likelihood_has_its_interval():
    monitor = Monitor(TEST, every=3, what=["log_likelihood"], annealing={"method": "ais"})
    rbm = fb.RBM(6, callbacks=[monitor], **OPTIONS).fit(TRAIN)
    history = rbm.history_
    assert np.isnan(history["log_likelihood"]).tolist() == [True, True, False] * 2
    low, value, high = (history[f"log_likelihood{end}"][-1] for end in ("_low", "", "_high"))
    assert low < value < high
    assert low - 0.05 < rbm.score(TEST) < high + 0.05
    assert len(history["log_likelihood_low"]) == 6


def test_measuring_stays_below_its_share(monkeypatch):
    """A clock of our own: an epoch takes 1 s, every measure a quarter, of a sixteenth in all.

    The first time aside, what is spent stays below the share. Deliberate bug that this catches: a
    share of one epoch's seconds.
    """
    from fastboltz import callbacks

    now = [0.0]
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: now[0])
    assert Monitor(TEST).max_share == 0.05
    monitor = Monitor(TEST, what=["weight_norm"], max_share=1 / 16)
    measure = monitor.metrics.measure

    def slow(name, progress):
        now[0] += 0.25
        return measure(name, progress)

    monkeypatch.setattr(monitor.metrics, "measure", slow)
    shares = []

    class Clock:
        comes_last = True

        def __call__(self, progress):
            shares.append(monitor.share)

    def tick(progress):
        progress.state.seconds = float(progress.state.epoch)

    fb.RBM(3, callbacks=[tick, monitor, Clock()], **OPTIONS | {"n_iter": 60}).fit(TRAIN)
    measured = np.flatnonzero(~np.isnan(monitor._state.history["weight_norm"])) + 1
    assert measured.tolist() == [1, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60]
    assert monitor.seconds == pytest.approx(0.25 * len(measured))
    assert max(shares[7:]) <= 1 / 16


def _learners(callbacks):
    """Models of every kind with a log-likelihood, and what they and their callbacks are given."""
    labels = [(X[:, 0] + 2 * X[:, 1]).astype(int) for X in (TRAIN, TEST)]
    options = {"n_iter": 2, "random_state": 0, "n_threads": 1}

    def made(model, held_out, *rows):
        return model.set_params(callbacks=callbacks(held_out)), rows

    deep = {"n_pretraining": 1} | options
    yield made(fb.RBM(40, **options), TEST, TRAIN)
    yield made(fb.RBMClassifier(40, **options), (TEST, labels[1]), TRAIN, labels[0])
    yield made(fb.GatedRBM(5, mode="joint", **options), (TEST, TEST), TRAIN, TRAIN)
    yield made(fb.DeepBoltzmannMachine((20, 20), **deep), TEST, TRAIN)
    yield made(fb.PointwiseGatedRBM((5, 5), **deep), TEST, TRAIN)
    yield made(fb.RNNRBM(12, n_recurrent=3, **options), [TEST[:40]], [TRAIN])


@pytest.mark.parametrize("k", range(6))
def test_every_model_is_measured_with_few_temperatures_within_its_share(k):
    """Those that one asks for are made, and those that cost too much are not, the first neither.

    Deliberate bugs that this catches: log Z with the temperatures of `score`, a slow measure that
    is made to learn what it costs.
    """
    few = {"method": "ais", "betas": 30, "n_chains": 20}

    def every(held_out):
        return [Monitor(held_out, what="log_likelihood", every=1, annealing=few)]

    model, rows = list(_learners(every))[k]
    model.fit(*rows)
    held_out = model.callbacks[0].metrics.X
    last = model.history_["log_likelihood"][-1]
    if isinstance(model, fb.RNNRBM):
        assert last == pytest.approx(model.log_likelihood(held_out, **few).mean, rel=1e-9)
    else:
        z = model.log_partition(**few)
        parts = held_out if isinstance(held_out, tuple) else (held_out,)
        exact = float(model.score_samples(*parts).mean()) + model.log_partition_.value
        low, high = (model.history_[f"log_likelihood_{end}"][-1] for end in ("low", "high"))
        expected = [exact - x for x in (z.high, z.value, z.low)]
        assert [low, last, high] == pytest.approx(expected, rel=1e-9)

    def seldom(held_out):
        return [Monitor(held_out, what="log_likelihood", max_share=1e-9)]

    model, rows = list(_learners(seldom))[k]
    assert np.isnan(model.fit(*rows).history_["log_likelihood"]).all()


@pytest.mark.parametrize("form", ["list", "lengths"])
def test_sequences_of_different_lengths_are_measured(form):
    """With the interval, and the options of a step's annealing; the measure decides when to end."""
    listed = [TEST[:5], TEST[5:13], TEST[13:16]]
    held_out = listed if form == "list" else (TEST[:16], [5, 8, 3])
    few = {"method": "ais", "betas": 30, "n_chains": 5}
    guessed = Monitor(held_out, what="log_likelihood", max_share=1e9, annealing=few)
    stop = EarlyStopping(held_out, patience=1, annealing=few)
    options = {"n_recurrent": 3, "n_gibbs": 1, "random_state": 0, "n_iter": 2}
    rnn = fb.RNNRBM(12, callbacks=[guessed, stop], **options).fit([TRAIN[:50]])
    names = [f"log_likelihood{end}" for end in ("_low", "", "_high")]
    low, value, high = (rnn.history_[name][stop.best_epoch - 1] for name in names)
    found = rnn.log_likelihood(listed, **few)
    assert [low, value, high] == pytest.approx([found.low, found.mean, found.high], rel=1e-9)
    assert stop.best == value and low < value < high


def test_what_cannot_be_enumerated_is_left_out_or_said():
    """A deep machine is measured by its bound, one of coupled hidden units not at all."""
    groups = {"v": fb.Bernoulli(12), "h": fb.Bernoulli(30)}
    machine = fb.BoltzmannMachine(groups, ["v_i h_j", "h_i h_j"], visible="v", n_iter=2)
    machine.set_params(callbacks=[Monitor(TEST, every=1)]).fit(TRAIN)
    assert "log_likelihood" not in machine.history_
    assert np.isfinite(machine.history_["weight_norm"]).all()
    machine.set_params(callbacks=[Monitor(TEST, what="log_likelihood", every=1)])
    with pytest.raises(fb.NotEnumerableError, match="exact free energy needs"):
        machine.fit(TRAIN)
    monitor = Monitor(TEST, TRAIN, every=1, annealing={"betas": 20})
    stop = EarlyStopping(TEST, annealing={"betas": 20})
    deep = fb.DeepBoltzmannMachine((30, 30), n_pretraining=1, n_iter=2, random_state=0)
    deep.set_params(callbacks=[monitor, stop]).fit(TRAIN)
    assert "free_energy_gap" not in deep.history_
    assert max(deep.history_["log_likelihood"]) == stop.best


def test_a_history_with_gaps_is_drawn():
    monitor = Monitor(TEST, every=2)
    rbm = fb.RBM(6, callbacks=[monitor], **OPTIONS).fit(TRAIN)
    display = HistoryDisplay.from_estimator(rbm, keys=["pseudo_likelihood"])
    x, y = display.lines_[0].get_data()
    assert list(x) == [2, 4, 6]
    assert np.isfinite(y).all()


@pytest.mark.parametrize("kind", [Monitor, EarlyStopping])
def test_rows_of_one_table_are_refused_before_a_model_learns_pairs(kind):
    """Catches a training that dies in its first epoch, of a measure that needs two tables."""
    gated = fb.GatedRBM(4, n_iter=2, callbacks=[kind(TEST)])
    sentence = rf"{kind.__name__} measures .* of pairs; give .* {kind.__name__}\(\(X, Y\)\)\.$"
    with pytest.raises(TypeError, match=sentence):
        gated.fit(TRAIN, TRAIN)
    assert not hasattr(gated, "params_")
    # What needs no rows is measured all the same.
    gated.set_params(callbacks=[Monitor(TEST, what="weight_norm", every=1)]).fit(TRAIN, TRAIN)
    assert len(gated.history_["weight_norm"]) == 2
    gated.set_params(callbacks=[kind((TEST, TEST), every=1)]).fit(TRAIN, TRAIN)


def test_what_a_model_has_not_is_left_out_or_said():
    labels = TRAIN[:, 0].astype(int)
    gated = fb.GatedRBM(4, n_iter=2, callbacks=[Monitor((TEST, TEST), every=1)])
    gated.fit(TRAIN, TRAIN)
    last = gated.history_["log_likelihood"][-1]
    assert last == pytest.approx(gated.score_samples(TEST, TEST).mean(), rel=1e-5)
    assert "free_energy_gap" not in gated.history_, "no rows of the training data were given"
    with pytest.raises(ValueError, match="free_energy_gap cannot be measured: give X_train"):
        fb.RBM(3, n_iter=1, callbacks=[Monitor(TEST, what="free_energy_gap")]).fit(TRAIN)
    stop = EarlyStopping(TEST, "reconstruction_error")
    with pytest.raises(ValueError, match="RBMClassifier has no reconstruct"):
        fb.RBMClassifier(3, n_iter=1, callbacks=[stop]).fit(TRAIN, labels)
    with pytest.raises(ValueError, match="what must be one of 'weight_norm'"):
        Monitor(TEST, what=["norm"])
    with pytest.raises(ValueError, match="metric must be one of 'weight_norm'"):
        EarlyStopping(TEST, "likelihood")
    with pytest.raises(ValueError, match="patience must be a whole number >= 1; got 0"):
        EarlyStopping(TEST, patience=0)


# ---------------------------------------------------------------------------------- early stopping


class _Script:
    """A metric that follows a script, and remembers the parameters that it saw."""

    def __init__(self, values):
        self.values = values
        self.params = []

    def __call__(self, model, X):
        self.params.append({key: x.copy() for key, x in model.params_.items()})
        return self.values[len(self.params) - 1]


def _same(params, expected):
    for key, x in expected.items():
        np.testing.assert_array_equal(params[key], x)


def test_the_training_ends_without_improvement_at_the_best_weights():
    """Deliberate bugs that this catches: the last parameters kept, views of them in place of
    copies, patience counted from the beginning."""
    script = _Script([1.0, 3.0, 2.0, 2.5, 2.9, 0.0])
    stop = EarlyStopping(TEST, script, patience=3)
    rbm = fb.RBM(6, callbacks=[stop], **OPTIONS).fit(TRAIN)
    assert rbm.n_iter_ == stop.stopped_epoch == 5
    assert (stop.best, stop.best_epoch) == (3.0, 2)
    _same(rbm.params_, script.params[1])


def test_the_best_weights_are_put_back_where_the_training_makes_all_its_epochs():
    script = _Script([1.0, 2.0, 5.0, 4.0, 3.0, 2.0])
    stop = EarlyStopping(TEST, script, patience=20)
    rbm = fb.RBM(6, callbacks=[stop], **OPTIONS).fit(TRAIN)
    assert rbm.n_iter_ == 6 and stop.stopped_epoch is None
    _same(rbm.params_, script.params[2])
    again = _Script([1.0, 2.0, 5.0, 4.0, 3.0, 2.0])
    rbm.set_params(callbacks=[EarlyStopping(TEST, again, restore_best=False)]).fit(TRAIN)
    _same(rbm.params_, again.params[-1])


def test_the_best_weights_are_put_back_after_an_interrupt():
    script = _Script([1.0, 5.0, 4.0, 3.0])

    def interrupt(progress):
        if progress.state.epoch == 4:
            raise KeyboardInterrupt

    rbm = fb.RBM(6, callbacks=[EarlyStopping(TEST, script), interrupt], **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        rbm.fit(TRAIN)
    _same(rbm.params_, script.params[1])


def test_less_is_better_of_errors_and_the_likelihood_follows_the_parameters():
    """The log Z that a callback has asked for is not that of the parameters that are put back."""
    stop = EarlyStopping(TEST, "reconstruction_error", patience=2)
    ask = lambda p: p.model.score(TEST) and False  # noqa: E731
    rbm = fb.RBM(6, callbacks=[ask, stop], **OPTIONS | {"n_iter": 40, "learning_rate": 0.5})
    rbm.fit(TRAIN)
    error = ((rbm.reconstruct(TEST) - TEST) ** 2).mean()
    assert error == pytest.approx(stop.best, rel=1e-5)
    exact = -rbm.free_energy(TEST).mean() - rbm.log_partition("exact").value
    assert rbm.score(TEST) == pytest.approx(exact, abs=1e-9)


def test_overfitting_is_seen_and_ended():
    """Forty rows and many weights: the best held-out likelihood lies before the last epoch."""
    options = OPTIONS | {"n_iter": 300, "learning_rate": 0.3, "method": "exact"}
    stop = EarlyStopping(TEST, patience=5)
    monitor = Monitor(TEST, TRAIN[:40], every=1, what=["free_energy_gap"])
    rbm = fb.RBM(8, callbacks=[stop, monitor], **options).fit(TRAIN[:40])
    full = fb.RBM(8, **options).fit(TRAIN[:40])
    assert rbm.n_iter_ < 300
    assert rbm.score(TEST) == pytest.approx(stop.best, abs=1e-6)
    assert rbm.score(TEST) > full.score(TEST) + 0.1
    gap = rbm.history_["free_energy_gap"]
    assert gap[-1] > gap[0]


def test_a_second_training_begins_anew_and_partial_fits_are_not_undone():
    script = _Script([3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.4, 0.9, 0.1, 0.1, 0.1])
    stop = EarlyStopping(TEST, script, patience=30)
    rbm = fb.RBM(6, callbacks=[stop], **OPTIONS).fit(TRAIN)
    rbm.fit(TRAIN)
    assert (stop.best, stop.best_epoch) == (0.9, 3)
    script = _Script([3.0, 2.0, 1.0])
    rbm = fb.RBM(6, callbacks=[EarlyStopping(TEST, script)], **OPTIONS)
    for _ in range(3):
        rbm.partial_fit(TRAIN)
    _same(rbm.params_, script.params[-1])


class _Keeps:
    """Remembers the parameters after each epoch."""

    def __init__(self):
        self.params = []

    def __call__(self, progress):
        self.params.append({key: x.copy() for key, x in progress.params.items()})

    def mean(self, key, begin):
        return np.mean([p[key] for p in self.params[begin - 1 :]], axis=0, dtype=np.float64)


def test_the_model_ends_with_the_mean_of_the_last_epochs():
    """Catches an epoch that counts twice or not at all, and a training that goes on from a mean."""
    keeps, average = _Keeps(), Average(3)
    rbm = fb.RBM(6, callbacks=[average, keeps], **OPTIONS)
    rbm.fit(TRAIN)
    for key, x in rbm.params_.items():
        np.testing.assert_allclose(x, keeps.mean(key, 3), rtol=1e-6, atol=1e-7)
    assert average.n_epochs == 4 and average.params == {}
    alone = _Keeps()
    fb.RBM(6, callbacks=[alone], **OPTIONS).fit(TRAIN)
    for mine, theirs in zip(keeps.params, alone.params, strict=True):
        _same(mine, theirs)
    exact = -rbm.free_energy(TEST).mean() - rbm.log_partition("exact").value
    assert rbm.score(TEST) == pytest.approx(exact, abs=1e-9)
    # a second training begins anew
    keeps.params.clear()
    rbm.fit(TRAIN)
    assert average.n_epochs == 4
    for key, x in rbm.params_.items():
        np.testing.assert_allclose(x, keeps.mean(key, 3), rtol=1e-6, atol=1e-7)


def test_a_mean_that_has_not_begun_changes_nothing_and_partial_fits_go_on():
    plain = fb.RBM(6, **OPTIONS).fit(TRAIN)
    _same(fb.RBM(6, callbacks=[Average(7)], **OPTIONS).fit(TRAIN).params_, plain.params_)
    plain, keeps, average = fb.RBM(6, **OPTIONS), _Keeps(), Average(1)
    averaged = fb.RBM(6, callbacks=[average, keeps], **OPTIONS)
    for epoch in (1, 2, 3):
        _same(averaged.partial_fit(TRAIN).params_, plain.partial_fit(TRAIN).params_)
        assert average.n_epochs == epoch
        for key, x in average.params.items():
            np.testing.assert_allclose(x, keeps.mean(key, 1), rtol=1e-6, atol=1e-7)
        assert set(average.params) == set(averaged.params_)


def test_a_pass_of_partial_fit_is_no_training_that_ends(tmp_path):
    """Also the first, whose epoch is the last of its own: nothing is put back, or saved, again."""
    told = []
    stop = EarlyStopping(TEST, "pseudo_likelihood")
    callbacks = [lambda progress: told.append(progress.is_whole), stop]
    rbm = fb.RBM(6, callbacks=callbacks, **OPTIONS | {"n_iter": 1})
    for _ in range(2):
        rbm.partial_fit(TRAIN)
        assert stop.state_dict()["params"], "what is the best so far is kept for later"
    fb.SigmoidBeliefNetwork((3,), callbacks=callbacks[:1]).partial_fit(TRAIN)
    fb.RNNRBM(3, 2, n_gibbs=1, callbacks=callbacks[:1]).partial_fit(TRAIN)
    assert told == [False] * 4
    rbm.fit(TRAIN)
    fb.SigmoidBeliefNetwork((3,), n_iter=1, callbacks=callbacks[:1]).fit(TRAIN)
    fb.RNNRBM(3, 2, n_gibbs=1, n_iter=1, callbacks=callbacks[:1]).fit(TRAIN)
    assert told[4:] == [True] * 3
    keep = fb.Checkpoint(tmp_path / "rbm.fbm")
    for is_whole in (False, True):
        keep.over(Progress(rbm, rbm.params_, rbm._training, 1, is_whole))
        assert (tmp_path / "rbm.fbm").exists() == is_whole


def test_an_interrupted_training_has_the_mean_so_far():
    def interrupt(progress):
        if progress.state.epoch == 4:
            raise KeyboardInterrupt

    keeps = _Keeps()
    rbm = fb.RBM(6, callbacks=[Average(2), keeps, interrupt], **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        rbm.fit(TRAIN)
    for key, x in rbm.params_.items():
        np.testing.assert_allclose(x, keeps.mean(key, 2), rtol=1e-6, atol=1e-7)


LABELS = (TRAIN[:, 0] + TRAIN[:, 1]).astype(int)
WITH_VALIDATION = {
    "class": lambda **o: fb.RBMClassifier(5, n_iter_no_change=9, **o),
    "point-wise gated": lambda **o: fb.PointwiseGatedRBMClassifier(
        (5, 0), n_pretraining=0, n_iter_no_change=9, **o
    ),
    "belief net": lambda **o: fb.SigmoidBeliefNetwork((5,), **o),
    "recurrent": lambda **o: fb.RNNRBM(5, 4, n_gibbs=1, chunk=7, learning_rate=0.5, **o),
}


@pytest.mark.parametrize("name", WITH_VALIDATION)
def test_early_stopping_of_a_model_s_own_judges_means(name):
    """The best is put back of the means, which it is told of, and not of the epochs' parameters."""
    keeps, average = _Keeps(), Average(2)
    options = {"n_iter": 5, "random_state": 0, "batch_size": 20, "callbacks": [average, keeps]}
    model = WITH_VALIDATION[name](**options)
    if name == "recurrent":
        model.fit([TRAIN[:50], TRAIN[50:90]], validation=[TRAIN[90:120]])
    elif name == "belief net":
        model.fit(TRAIN[:100], validation=TRAIN[100:])
    else:
        model.fit(TRAIN[:100], LABELS[:100], validation=(TRAIN[100:], LABELS[100:]))
    best = model.best_iter_
    assert average.n_epochs == 4
    for key, x in model.params_.items():
        upto = [p[key] for p in keeps.params[:best]]
        expected = np.mean(upto[1:], axis=0, dtype=np.float64) if best > 1 else upto[0]
        np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-7, err_msg=key)
    if name == "class":
        errors = model.history_["validation_error"]
        assert 1 - model.score(TRAIN[100:], LABELS[100:]) == pytest.approx(min(errors))
    # Catches a score of the epoch's parameters beside the mean that is kept.
    if name == "belief net":
        kept = model.score_samples(TRAIN[100:], n_draws=VALIDATION_DRAWS).mean()
        assert kept == pytest.approx(model.best_score_, rel=1e-6)
    if name == "recurrent":
        assert model.score([TRAIN[90:120]]) == pytest.approx(model.best_score_, rel=1e-6)


@pytest.mark.parametrize("name", WITH_VALIDATION)
def test_early_stopping_of_a_model_s_own_puts_the_best_back_after_an_interrupt(name):
    """As the callback does; at a rate that is far too high the best is not the last."""

    def interrupt(progress):
        if progress.state.kept["epoch"] < progress.state.epoch:
            raise KeyboardInterrupt

    keeps = _Keeps()
    options = {"n_iter": 20, "random_state": 0, "batch_size": 20, "callbacks": [keeps, interrupt]}
    model = WITH_VALIDATION[name](**options).set_params(learning_rate=20.0)
    with pytest.raises(KeyboardInterrupt):
        if name == "recurrent":
            model.fit([TRAIN[:50], TRAIN[50:90]], validation=[TRAIN[90:120]])
        elif name == "belief net":
            model.fit(TRAIN[:100], validation=TRAIN[100:])
        else:
            model.fit(TRAIN[:100], LABELS[:100], validation=(TRAIN[100:], LABELS[100:]))
    assert len(keeps.params) == model.n_iter_ == model.best_iter_ + 1
    _same(model.params_, keeps.params[model.best_iter_ - 1])


def test_the_first_epoch_of_a_mean_is_a_whole_number():
    with pytest.raises((TypeError, ValueError), match=r"begin must be .*0\.5"):
        Average(0.5)


def test_models_with_callbacks_are_cloned_and_pickled():
    rbm = fb.RBM(
        6, callbacks=[Monitor(TEST), EarlyStopping(TEST, patience=2), Average(2)], **OPTIONS
    )
    rbm.fit(TRAIN)
    twin = clone(rbm).fit(TRAIN)
    np.testing.assert_array_equal(twin.components_, rbm.components_)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rbm)).components_, rbm.components_)
