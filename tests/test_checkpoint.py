"""A training that was stopped goes on, and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from saved_models import LABELS, MODELS, SEQUENCES, X, bytes_of, learnt
from sklearn.base import clone

import fastboltz as fb
from fastboltz import recurrent, training
from fastboltz.callbacks import Average, EarlyStopping, Monitor
from fastboltz.pair_loop import PairLoop

SCRIPT = Path(__file__).parents[1] / "bench" / "kill_and_resume.py"


class DiedError(Exception):
    pass


class Dies:
    """A callback that ends everything after some epochs, when the checkpoint is written."""

    comes_last = True

    def __init__(self, epoch):
        self.epoch = epoch

    def __call__(self, progress):
        if progress.state.epoch == self.epoch:
            raise DiedError


def _with(model, *callbacks):
    model = clone(model)
    # BernoulliRBM has no such parameter, but hears of callbacks as others do.
    model.callbacks = list(callbacks)
    return model


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_training_that_died_ends_with_the_same_bytes(name, epoch, tmp_path):
    """Catches what an epoch depends on and the file has not: chains, offsets, the best so far.

    A rate that falls to zero over the passes that are left, rather than over all, is caught too.
    """
    model, data, _ = MODELS[name]
    keep = fb.Checkpoint(tmp_path / "kept", every=1, resume=True)
    with pytest.raises(DiedError):
        _with(model, keep, Dies(epoch)).fit(*data)
    resumed = _with(model, keep).fit(*data)
    assert learnt(resumed) == learnt(clone(model).fit(*data))
    layers = len(getattr(resumed, "rbms_", "1"))
    assert resumed.history_["epoch"] == [1, 2, 3] * layers if hasattr(resumed, "history_") else True


def test_a_training_that_had_ended_is_not_made_again(tmp_path):
    """Catches early stopping that is forgotten, so that an epoch too many is made."""
    keep = fb.Checkpoint(tmp_path / "kept", every=1, resume=True)

    def stops(progress):
        return progress.state.epoch == 2

    model = fb.RBM(3, n_iter=5, random_state=0, callbacks=[keep, stops]).fit(X)
    assert model.n_iter_ == 2
    again = fb.RBM(3, n_iter=5, random_state=0, callbacks=[keep, stops]).fit(X)
    assert learnt(again) == learnt(model)


def test_early_stopping_goes_on_with_its_best_epoch(tmp_path):
    options = {"n_iter": 40, "n_iter_no_change": 4, "random_state": 1, "early_stopping": True}
    whole = fb.RBMClassifier(4, **options).fit(X, LABELS)
    assert whole.n_iter_ < 40
    keep = fb.Checkpoint(tmp_path / "kept", every=1, resume=True)
    # In the midst of the epochs without a change.
    with pytest.raises(DiedError):
        fb.RBMClassifier(4, callbacks=[keep, Dies(whole.n_iter_ - 2)], **options).fit(X, LABELS)
    resumed = fb.RBMClassifier(4, callbacks=[keep], **options).fit(X, LABELS)
    assert resumed.best_iter_ == whole.best_iter_
    assert learnt(resumed) == learnt(whole)


STOPPED = {
    "class RBM": (fb.RBMClassifier(4, early_stopping=True, n_iter_no_change=4), (X, LABELS), {}),
    "class RBM, all epochs": (
        fb.RBMClassifier(4, early_stopping=True, n_iter_no_change=50, learning_rate=5.0),
        (X, LABELS),
        {},
    ),
    "belief network": (
        fb.SigmoidBeliefNetwork((3,), early_stopping=True, n_iter_no_change=3, learning_rate=1.0),
        (X,),
        {},
    ),
    "sequences": (
        fb.RNNRBM(3, 2, patience=2, learning_rate=1.0),
        ([X[:20], X[20:]],),
        {"validation": [X[:10]]},
    ),
}


@pytest.mark.parametrize("name", [*STOPPED, "callback"])
def test_the_checkpoint_of_an_ended_training_holds_its_best_epoch(name, tmp_path):
    """Catches a file with the last weights, and a training that has ended and forgets its best."""
    keep = fb.Checkpoint(tmp_path / "kept", every=1, resume=True)
    if name == "callback":
        stop = EarlyStopping(HELD_OUT, patience=3)
        model, data, options = fb.RBM(4, learning_rate=1.0, callbacks=[stop]), (LEARNT_FROM,), {}
    else:
        model, data, options = STOPPED[name]
    model = _with(model, *(model.callbacks or ())).set_params(n_iter=30, random_state=0)
    made = _with(model, *model.callbacks, keep).fit(*data, **options)
    best = stop.best_epoch if name == "callback" else made.best_iter_
    assert best < made.n_iter_
    loaded = fb.load(keep.path)
    assert learnt(loaded) == learnt(made)
    assert getattr(loaded, "best_iter_", best) == best
    again = _with(model, *model.callbacks, keep).fit(*data, **options)
    assert learnt(again) == learnt(made)
    assert getattr(again, "best_iter_", best) == best


class Counts:
    """A callback of one's own, which ends a training after some epochs and remembers them."""

    def __init__(self, last=10**9):
        self.last = last
        self.norms = []
        self.sums = np.zeros(4, np.float32)

    def __call__(self, progress):
        self.norms.append(float(np.abs(progress.params["h"]).sum()))
        self.sums = self.sums + progress.params["h"]
        return len(self.norms) == self.last

    def state_dict(self):
        return {"norms": list(self.norms), "sums": self.sums}

    def load_state_dict(self, state):
        self.norms, self.sums = list(state["norms"]), state["sums"]


LEARNT_FROM, HELD_OUT = X[:30], X[30:]
FAST = {"batch_size": 10, "n_iter": 20, "random_state": 0}
RATES = [{"learning_rate": 1.0}, {"optimizer": "adam", "learning_rate": 0.15}]
#: Name -> function that makes the callbacks.
WATCHED = {
    "early stopping": lambda: [EarlyStopping(HELD_OUT, patience=3)],
    "early stopping, not back": lambda: [
        EarlyStopping(HELD_OUT, "reconstruction_error", patience=2, restore_best=False)
    ],
    "average": lambda: [EarlyStopping(HELD_OUT, patience=3), Average(2)],
    "all": lambda: [
        Monitor(HELD_OUT, LEARNT_FROM, every=3),
        Monitor(HELD_OUT, what="weight_norm", every=2),
        Counts(9),
        EarlyStopping(HELD_OUT, patience=3, every=2),
    ],
}


@pytest.mark.parametrize("options", RATES, ids=["sgd", "adam"])
@pytest.mark.parametrize("name", WATCHED)
def test_callbacks_go_on_too(name, options, tmp_path):
    """It dies at every third epoch: what ends the training, and at which weights, is the same.

    Catches patience that begins anew, best weights that are lost, columns of the history that are
    only begun again when something is measured.
    """
    make = WATCHED[name]
    model = fb.RBM(4, **options, **FAST)
    whole = _with(model, *make()).fit(LEARNT_FROM)
    remembered = {c: one.state_dict() for c, one in enumerate(whole.callbacks)}
    assert 4 < whole.n_iter_ < 20
    for every in (1, 2):
        keep = fb.Checkpoint(tmp_path / f"kept{every}", every=every, resume=True)
        for epoch in range(every, whole.n_iter_ + 1, 3):
            with pytest.raises(DiedError):
                _with(model, *make(), keep, Dies(epoch)).fit(LEARNT_FROM)
        resumed = _with(model, *make(), keep).fit(LEARNT_FROM)
        assert learnt(resumed) == learnt(whole)
        for c, state in remembered.items():
            found = resumed.callbacks[c].state_dict()
            for key in set(state) - {"seconds", "share", "cost", "spent"}:
                assert bytes_of(found[key]) == bytes_of(state[key]), key


def test_ctrl_c_keeps_what_callbacks_remember(tmp_path, monkeypatch):
    make = WATCHED["early stopping"]
    model = fb.RBM(4, optimizer="adam", learning_rate=0.15, **FAST)
    whole = _with(model, *make()).fit(LEARNT_FROM)
    keep = fb.Checkpoint(tmp_path / "kept", every=100, resume=True)
    with monkeypatch.context() as patch:
        _interrupting(patch, training.Trainer, "update", 3 * whole.n_iter_ - 1)
        with pytest.raises(KeyboardInterrupt, match="Saved in"):
            _with(model, *make(), keep).fit(LEARNT_FROM)
    assert learnt(_with(model, *make(), keep).fit(LEARNT_FROM)) == learnt(whole)


def test_a_callback_that_is_missing_is_told_of(tmp_path):
    keep = fb.Checkpoint(tmp_path / "kept", every=1, resume=True)
    model = fb.RBM(4, n_iter=5, random_state=0)
    with pytest.raises(DiedError):
        _with(model, keep, Counts(), Counts(), Dies(2)).fit(X)
    before = (tmp_path / "kept").read_bytes()
    sentence = (
        "the training had a callback Counts#2, whose state is in the file, but none of those given "
        "now has that name and a state (with one: Counts). Give it again, as it was made."
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        _with(model, keep, Counts()).fit(X)
    assert (tmp_path / "kept").read_bytes() == before
    # One that is new begins anew.
    new = EarlyStopping(HELD_OUT)
    assert _with(model, keep, Counts(), Counts(), new).fit(X).n_iter_ == 5
    assert new.best_epoch in (3, 4, 5)


def test_a_state_that_no_file_holds_gets_a_sentence(tmp_path):
    class Odd(Counts):
        def state_dict(self):
            return {"seen": {1, 2}}

    keep = fb.Checkpoint(tmp_path / "kept", every=1)
    with pytest.raises(TypeError, match=r"callbacks\['Odd'\]\['seen'\] is a builtins.set, which"):
        fb.RBM(4, n_iter=2, callbacks=[keep, Odd()]).fit(X)
    Odd.state_dict = lambda self: 3
    with pytest.raises(TypeError, match=r"state_dict\(\) of Odd must return a dict; got 3"):
        fb.RBM(4, n_iter=2, callbacks=[Odd()]).fit(X)

    class Half:
        def __call__(self, progress):
            pass

        def state_dict(self):
            return {}

    with pytest.raises(TypeError, match="the callback Half has a method state_dict, but none that"):
        fb.RBM(4, n_iter=2, callbacks=[Half()]).fit(X)


def test_a_stopped_model_in_the_file_is_usable(tmp_path):
    keep = fb.Checkpoint(tmp_path / "kept", every=2)
    fb.RBM(3, n_iter=5, random_state=0, callbacks=[keep]).fit(X)
    loaded = fb.load(tmp_path / "kept")
    assert loaded.n_iter_ == 5
    assert loaded.callbacks is None
    assert np.isfinite(loaded.score(X))
    assert loaded.partial_fit(X).n_iter_ == 6


def test_every_counts_epochs(tmp_path):
    """Saves are seen by the time that the file was put there."""
    path = tmp_path / "kept"
    seen = []

    class Watch:
        comes_last = True

        def __call__(self, progress):
            seen.append(fb.load(path).n_iter_ if path.exists() else 0)

    fb.RBM(3, n_iter=7, random_state=0, callbacks=[fb.Checkpoint(path, every=3), Watch()]).fit(X)
    assert seen == [0, 0, 3, 3, 3, 6, 7]


def test_saving_takes_a_small_share_of_the_time_by_default(tmp_path, monkeypatch):
    """By a clock of our own: an epoch takes a second, a save five."""
    clock = [0.0]
    saves = []

    class Time:
        @staticmethod
        def perf_counter():
            return clock[0]

    def write(model, path, with_callbacks=True):
        clock[0] += 5
        saves.append(model.n_iter_)
        really_write(model, path, with_callbacks=with_callbacks)

    really_write = fb.persistence.write
    monkeypatch.setattr(fb.persistence, "time", Time)
    monkeypatch.setattr(fb.persistence, "write", write)

    def tick(progress):
        clock[0] += 1

    keep = fb.Checkpoint(tmp_path / "kept")
    fb.RBM(2, n_iter=700, random_state=0, callbacks=[tick, keep]).fit(X[:4])
    assert saves == [1, 246, 491, 700]


# -------------------------------------------------------------------------------------- refusals


OPTIONS = {"n_iter": 4, "batch_size": 20, "random_state": 0}


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "kept"
    keep = fb.Checkpoint(path, every=1)
    with pytest.raises(DiedError):
        fb.RBM(3, callbacks=[keep, Dies(2)], **OPTIONS).fit(X)
    return path


def _again(path, data=X, weight=None, kind=fb.RBM, resume=True, **options):
    keep = fb.Checkpoint(path, resume=resume)
    return kind(3, **(OPTIONS | options), callbacks=[keep]).fit(data, sample_weight=weight)


def test_a_checkpoint_is_not_written_over_unasked(kept):
    before = kept.read_bytes()
    sentence = f"there is a checkpoint in {str(kept)!r} already. Go on with its training by"
    with pytest.raises(FileExistsError, match=re.escape(sentence)):
        _again(kept, resume=False)
    assert kept.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"momentum": 0.5}, "has momentum=0.0, but now it is 0.5; a training goes on with the"),
        ({"n_iter": 9}, "has n_iter=4, but now it is 9"),
        ({"random_state": 1}, "has random_state=0, but now it is 1"),
        ({"learning_rate": fb.optimizers.Constant(0.1)}, "has learning_rate='auto', but now it is"),
        ({"data": X[:-1]}, "learns from other data than these (their shape, type, values or"),
        ({"data": X.astype(float)}, "learns from other data than these"),
        ({"data": np.where(np.arange(6) == 2, 1 - X, X)}, "learns from other data than these"),
        ({"weight": np.ones(60)}, "learns from other data than these"),
        ({"kind": fb.DeepBoltzmannMachine}, None),
    ],
    ids=[
        *(["parameter", "n_iter", "seed", "schedule", "rows", "type", "values", "weights", "class"])
    ],
)
def test_another_training_is_refused_and_nothing_changes(kept, change, sentence):
    before = kept.read_bytes()
    if sentence is None:
        model = fb.RBMClassifier(3, callbacks=[fb.Checkpoint(kept, resume=True)], **OPTIONS)
        with pytest.raises(ValueError, match="it holds a RBM, but a RBMClassifier is to go on"):
            model.fit(X, LABELS)
    else:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            _again(kept, **change)
    assert kept.read_bytes() == before


def test_what_has_no_part_in_learning_may_differ(kept):
    whole = fb.RBM(3, **OPTIONS).fit(X)
    assert learnt(_again(kept, n_threads=2)) == learnt(whole)


def test_a_damaged_checkpoint_gets_a_sentence(kept):
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(fb.persistence.ModelFileError, match="is cut short or damaged"):
        _again(kept)


def test_a_parameter_that_cannot_be_saved_is_told_before_the_first_epoch(tmp_path):
    made = []
    model = fb.RBM(learning_rate=Falls(), callbacks=[fb.Checkpoint(tmp_path / "kept"), made.append])
    with pytest.raises(TypeError, match=r"learning_rate is .*Falls"):
        model.fit(X)
    assert made == []


class Falls(fb.optimizers.Schedule):
    def __call__(self, update, n_updates):
        return 0.1


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"path": 3}, TypeError, "path must be the name of a file; got 3."),
        ({"path": "x", "every": 0}, ValueError, "every must be"),
        ({"path": "x", "resume": 1}, TypeError, "resume must be True or False; got 1."),
    ],
)
def test_arguments(arguments, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        fb.Checkpoint(**arguments)


def test_a_stack_without_a_seed_cannot_be_kept(tmp_path):
    model = fb.DeepBeliefNetwork((3, 2), callbacks=[fb.Checkpoint(tmp_path / "kept")])
    with pytest.raises(ValueError, match="needs random_state: its RBMs must have the same random"):
        model.fit(X)


# ------------------------------------------------------------------------------------- interrupts


def _interrupting(monkeypatch, owner, name, at):
    """Ctrl-C in the midst of call number ``at`` of a method."""
    calls = []
    real = getattr(owner, name)

    def called(self, *args, **options):
        calls.append(1)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args, **options)

    monkeypatch.setattr(owner, name, called)


CASES = {
    "compiled": (MODELS["RBM"][0], (X,), PairLoop, "run"),
    "general": (
        clone(MODELS["RBM"][0]).set_params(optimizer="adam"),
        (X,),
        training.Trainer,
        "update",
    ),
    "sequences": (
        fb.RNNRBM(4, 3, n_gibbs=2, chunk=4, method="pcd", n_iter=3, batch_size=2, random_state=0),
        (SEQUENCES,),
        recurrent.SequenceTrainer,
        "update",
    ),
    "early stopping": (
        MODELS["RBMClassifier"][0],
        (X, LABELS),
        training.Trainer,
        "update",
    ),
}


@pytest.mark.parametrize("at", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("name", CASES)
def test_ctrl_c_saves_and_says_how_to_go_on(name, at, tmp_path, monkeypatch):
    """Also in the midst of an epoch, whose other minibatches are then made, no one twice.

    Catches a pass that begins anew after an interruption.
    """
    model, data, owner, method = CASES[name]
    whole = clone(model).fit(*data)
    if owner is PairLoop:
        # Two minibatches a call, so that calls end within an epoch.
        real = PairLoop.run

        def short(self, rows, n_updates, trainer):
            self.at_once = 2
            return real(self, rows, n_updates, trainer)

        monkeypatch.setattr(PairLoop, "run", short)
    path = tmp_path / "kept"
    sentence = f"Saved in {str(path)!r}: fit with Checkpoint({str(path)!r}, resume=True) goes on."
    with monkeypatch.context() as patch:
        _interrupting(patch, owner, method, at)
        with pytest.raises(
            KeyboardInterrupt, match=r"interrupted (after|before) .*" + re.escape(sentence)
        ):
            _with(model, fb.Checkpoint(path, every=100)).fit(*data)
    resumed = _with(model, fb.Checkpoint(path, resume=True)).fit(*data)
    assert learnt(resumed) == learnt(whole)


def test_ctrl_c_without_a_checkpoint_is_as_it_was(monkeypatch):
    _interrupting(monkeypatch, training.Trainer, "update", 2)
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted after update 1 \(epoch 0\); the"):
        fb.RBM(3, optimizer="adam", **OPTIONS).fit(X)


def test_a_second_ctrl_c_saves_nothing_half_made(tmp_path, monkeypatch):
    """It ends an update in its midst."""

    def broken(self, *args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Trainer, "update", broken)
    path = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        fb.RBM(3, optimizer="adam", callbacks=[fb.Checkpoint(path)], **OPTIONS).fit(X)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------ kills


@pytest.mark.skipif(not SCRIPT.exists(), reason="the script is in the repository alone")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_trainings_end_with_the_same_bytes():
    """SIGKILL at random moments, a few times; the script makes as many as one likes."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--kills", "6", "--models", "RBM", "RNNRBM"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    assert report["differences"] == []
    assert report["kills"] >= 6
