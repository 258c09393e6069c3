"""Data that do not fit into memory: chunks from a function, an iterator, Dask, files on disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from saved_models import SQUARE, learnt, make_rows
from scipy import sparse
from sklearn.base import clone

import fastboltz as fb
from fastboltz import chunks, training
from fastboltz.datasets import Redrawn

X = make_rows(230, 6)
WEIGHT = np.random.default_rng(1).integers(0, 3, len(X)).astype(np.float32)
OPTIONS = {"n_iter": 4, "batch_size": 20, "random_state": 0}


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of two minibatches, so that these data have six."""
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 2 * 20 * 6 * 4)


def cut(*at, X=X):
    """A function that returns the rows in chunks with these ends."""
    return lambda: iter(np.split(X, at))


def rbm(**options):
    return fb.RBM(4, **(OPTIONS | options))


# ---------------------------------------------------------------------------- what chunks stand for


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}, {"method": "cd"}], ids=str)
@pytest.mark.parametrize("ends", [(), (100,), (1, 2, 50, 229)], ids=str)
def test_one_block_of_chunks_is_an_array(ends, options):
    """To the byte: the moments that a training begins at, the rates, the order, the updates."""
    whole = rbm(**options).fit(X)
    assert learnt(rbm(**options).fit(cut(*ends))) == learnt(whole)
    assert whole.score(X) == rbm(**options).fit(cut(*ends)).score(X)


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}], ids=str)
def test_where_chunks_end_changes_nothing(options, small_blocks):
    """Catches short minibatches at the ends of chunks, and an order that depends on them."""
    one = learnt(rbm(**options).fit(cut()))
    assert one != learnt(rbm(**options).fit(X)), "blocks are shuffled each apart"
    for ends in [(40, 80), (1, 3, 100, 101), tuple(range(7, 230, 7)), (229,)]:
        assert learnt(rbm(**options).fit(cut(*ends))) == one


@pytest.mark.filterwarnings(
    "ignore:group .* has values that are too large for Gaussian:UserWarning"
)
def test_every_row_is_learnt_from_once_in_every_pass(small_blocks, monkeypatch):
    seen = []
    real = training.Trainer.update

    def update(self, params, batch, *args):
        seen.append(batch["v"][:, 0].astype(int))
        return real(self, params, batch, *args)

    monkeypatch.setattr(training.Trainer, "update", update)
    numbered = np.arange(230, dtype=np.float32)[:, None] * np.ones(6, np.float32)
    model = fb.RBM(2, visible="gaussian", learning_rate=1e-9, **OPTIONS)
    model.fit(cut(50, 51, 120, X=numbered))
    assert [len(x) for x in seen] == ([20] * 11 + [10]) * 4
    passes = np.concatenate(seen).reshape(4, 230)
    assert (np.sort(passes, axis=1) == np.arange(230)).all()
    # Blocks in their order, the rows of each in one that differs from pass to pass.
    assert (passes[:, :220].reshape(4, -1, 20) // 40 == np.arange(11)[:, None] // 2).all()
    assert len({tuple(p) for p in passes.tolist()}) == 4


def test_moments_over_blocks_are_those_of_all_rows(small_blocks):
    """The visible biases before the first update; catches means of means of unequal blocks."""
    rows = np.vstack([X, 1 - X[:30]])
    for weight in (None, np.r_[WEIGHT, np.full(30, 5, np.float32)]):
        model = rbm(n_iter=0)
        parts = [slice(0, 130), slice(130, 260)]
        model.fit(lambda w=weight, p=parts: ((rows[s], None if w is None else w[s]) for s in p))
        expected = rbm(n_iter=0).fit(rows, sample_weight=weight)
        for key, x in expected.params_.items():
            np.testing.assert_allclose(model.params_[key], x, rtol=1e-5, atol=1e-6)
        # Up to the rounding of the weights' shares in single precision.
        found, wanted = model._base_rates["v"], expected._base_rates["v"]
        np.testing.assert_allclose(found, wanted, rtol=1e-12 if weight is None else 2e-7)


def test_every_pass_may_have_a_draw_of_its_own():
    """Each pass learns from what its own call returned; the first call gives the moments alone.

    Deliberate bug that this catches: rows kept from one pass to the next.
    """

    def draws():
        rng = np.random.default_rng(0)
        while True:
            yield (rng.random((200, 6)) < 0.2 + 0.1 * np.arange(6)).astype(np.float32)

    passes, options = draws(), {"learning_rate": 0.1, "n_iter": 3}
    together = rbm(**options).fit(lambda: iter([next(passes)]))
    passes = draws()
    one_by_one = rbm(**options | {"n_iter": 0}).fit(next(passes))
    for _ in range(3):
        one_by_one.partial_fit(next(passes))
    assert learnt(together) == learnt(one_by_one)


@pytest.mark.parametrize(
    ("model", "with_labels", "heard"),
    [
        (fb.RBM(4, **OPTIONS), False, [0, 1, 2, 3, 4]),
        (fb.RBMClassifier(4, **OPTIONS), True, [0, 0, 1, 2, 3, 4]),
        (fb.DeepBeliefNetwork([4, 3], **OPTIONS), False, [0, 1, 2, 3, 4] * 2),
    ],
    ids=["RBM", "labels", "stack"],
)
def test_a_function_of_the_epoch_is_told_its_number(model, with_labels, heard):
    """Catches numbers that are counted from elsewhere, and the first look told of as a pass."""
    told = []

    def rows(epoch):
        told.append(epoch)
        yield (X, X[:, 0] > 0) if with_labels else X

    model = clone(model).fit(rows)
    assert told == heard
    if hasattr(model, "partial_fit"):
        model.partial_fit(rows)
        assert told[len(heard) :] == [5] * len(getattr(model, "rbms_", "1"))


@pytest.mark.parametrize("at", [4, 11], ids=["first epoch", "second epoch"])
def test_a_training_on_rows_drawn_anew_goes_on_with_the_same_draws(at, tmp_path, monkeypatch):
    """Catches passes that are counted by the rows, which begin anew with a new process."""
    grey = np.random.default_rng(0).random((100, 6))
    model = rbm(optimizer="adam")
    whole = clone(model).fit(Redrawn(grey))
    assert learnt(whole) != learnt(clone(model).fit(Redrawn(grey, random_state=1)))
    path = tmp_path / "kept"
    real, left = training.Trainer.update, [at]

    def update(self, *args, **options):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Trainer, "update", update)
        clone(model).set_params(callbacks=[fb.Checkpoint(path)]).fit(Redrawn(grey))
    model.set_params(callbacks=[fb.Checkpoint(path, resume=True)])
    assert learnt(model.fit(Redrawn(grey))) == learnt(whole)


def test_weights_come_with_the_chunks():
    whole = rbm().fit(X, sample_weight=WEIGHT)
    pairs = lambda: zip(np.split(X, [70]), np.split(WEIGHT, [70]), strict=True)  # noqa: E731
    assert learnt(rbm().fit(pairs)) == learnt(whole)
    some = lambda: iter([(X[:70], np.ones(70)), X[70:]])  # noqa: E731
    assert learnt(rbm().fit(some)) == learnt(rbm().fit(X, sample_weight=np.ones(230)))
    assert rbm().fit(lambda: iter([(X[:70], np.zeros(70)), X[70:]])).n_iter_ == 4


def test_chunks_may_be_sparse_or_frames(small_blocks):
    expected = rbm().fit(cut(100))
    for form in (sparse.csr_matrix, sparse.csc_array):
        found = rbm().fit(lambda form=form: (form(x) for x in np.split(X, [100])))
        # The moments of sparse rows are sums in another order.
        for key, x in expected.params_.items():
            np.testing.assert_allclose(found.params_[key], x, rtol=1e-5, atol=1e-6)
    names = list("abcdef")
    model = rbm().fit(lambda: (pd.DataFrame(x, columns=names) for x in np.split(X, [100])))
    assert learnt(model) == learnt(expected)
    assert model.feature_names_in_.tolist() == names
    assert rbm().fit(lambda: iter([X.astype(np.uint8)])).components_.dtype == np.float32
    assert rbm().fit(lambda: iter([X.astype(float), X])).components_.dtype == np.float64


def test_a_pass_over_an_iterator(small_blocks):
    """A new model begins at its first block; passes after each other are those over arrays."""
    model = rbm().partial_fit(iter(np.split(X, [60, 61])))
    by_blocks = rbm()
    by_blocks._check_fit(X, None, reset=True)
    by_blocks._begin({"v": X[:40]}, None)
    reader = training.Blocks(
        lambda epoch: (
            ({"v": training.Rows(X[k : k + 40], (6,), "f4")}, None) for k in range(0, 230, 40)
        ),
        None,
    )
    by_blocks._train(reader, None, 1, decay=False)
    assert learnt(model) == learnt(by_blocks)
    assert (model.n_iter_, model.n_features_in_) == (1, 6)
    again = model.partial_fit(cut(100)).partial_fit(x for x in np.split(X, [33]))
    assert again.n_iter_ == 3
    assert len(again.history_["epoch"]) == 3


@pytest.mark.parametrize("n_parts", [1, 3])
def test_machines_of_several_groups_take_chunks_of_dicts(n_parts):
    machine = fb.BoltzmannMachine(
        {"a": fb.Bernoulli(3), "b": fb.Bernoulli(3), "h": fb.Bernoulli(2)},
        ["a_i h_j", "b_i h_j"],
        visible=("a", "b"),
        **OPTIONS,
    )
    unknown = X.copy()
    unknown[::7, 0] = np.nan
    unknown[:, 5] = np.nan
    data = {"a": unknown[:, :3], "b": unknown[:, 3:]}
    parts = [{g: np.array_split(x, n_parts)[k] for g, x in data.items()} for k in range(n_parts)]
    found = learnt(machine.fit(lambda: iter(parts)))
    assert found == learnt(machine.fit(data))


def test_what_is_unknown_has_no_part_in_the_moments(small_blocks):
    rows = X.copy()
    rows[:40, 0] = np.nan
    rows[50:, 1] = np.nan
    machine = fb.BoltzmannMachine(
        {"v": fb.Bernoulli(6), "h": fb.Bernoulli(2)}, ["v_i h_j"], visible="v", **OPTIONS
    ).set_params(n_iter=0)
    expected = machine.fit(rows)._base_rates["v"]
    found = machine.fit(cut(90, X=rows))._base_rates["v"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_higher_orders_take_chunks():
    machine = fb.HigherOrderBoltzmannMachine(n_hidden=2, edges=SQUARE, **OPTIONS)
    found = learnt(machine.fit(cut(10)))
    assert found == learnt(machine.fit(X))


def test_a_stack_learns_from_chunks():
    whole = fb.DeepBeliefNetwork([4, 3], **OPTIONS).fit(X)
    assert learnt(fb.DeepBeliefNetwork([4, 3], **OPTIONS).fit(cut())) == learnt(whole)
    parts = fb.DeepBeliefNetwork([4, 3], **OPTIONS).fit(cut(60, 61))
    for one, other in zip(parts.rbms_, whole.rbms_, strict=True):
        np.testing.assert_allclose(one.components_, other.components_, atol=1e-4)


# ---------------------------------------------------------------------------------- rows and labels

Y = np.where(X.sum(axis=1) > 3, "many", "few")
MARKED = np.where(np.arange(len(X)) % 3 == 0, np.where(X.sum(axis=1) > 3, 1, 0), -1)
MARKED[:60] = -1  # a block without a label
CLASSIFIERS = {
    "class RBM": (fb.RBMClassifier(4), Y),
    "unlabelled rows": (fb.RBMClassifier(4, objective="semi-supervised"), MARKED),
    "gated by the class": (fb.ClassGatedRBMClassifier(3), Y),
    "two groups": (fb.TwoGroupRBMClassifier(3), Y),
    "switches": (fb.PointwiseGatedRBMClassifier((2, 2), n_pretraining=0), Y),
}


def pairs(*at, X=X, y=Y, weight=None):
    """A function that returns rows with their labels, and weights, in chunks with these ends."""
    columns = [x for x in (X, y, weight) if x is not None]
    return lambda: zip(*(np.split(x, at) for x in columns), strict=True)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_learn_from_chunks_of_rows_and_labels(name):
    """To the byte. Catches labels that one chunk lacks and another has, and moments of labels in
    which rows without one count."""
    model, y = CLASSIFIERS[name]
    model = model.set_params(**OPTIONS)
    whole = model.fit(X, y)
    expected, classes = learnt(whole), whole.classes_
    order = np.argsort(y, kind="stable")  # chunks of one class
    for given, at in (((X, y), ()), ((X, y), (1, 100, 229))):
        found = model.fit(pairs(*at, X=given[0], y=given[1]))
        assert learnt(found) == expected
        assert (found.classes_ == classes).all()
    sorted_rows = learnt(model.fit(X[order], y[order]))
    assert learnt(model.fit(pairs(30, 90, X=X[order], y=y[order]))) == sorted_rows
    assert learnt(model.fit(X, y, WEIGHT)) == learnt(model.fit(pairs(50, y=y, weight=WEIGHT)))


def test_moments_of_labels_are_those_of_labelled_rows(small_blocks):
    model = fb.RBMClassifier(4, objective="semi-supervised", **OPTIONS).set_params(n_iter=0)
    for weight in (None, WEIGHT):
        expected = model.fit(X, MARKED, weight)._base_rates["y"]
        found = model.fit(pairs(90, y=MARKED, weight=weight))._base_rates["y"]
        # Weights are in single precision.
        np.testing.assert_allclose(found, expected, rtol=1e-9 if weight is None else 1e-7)


def test_a_pass_over_an_iterator_of_labelled_chunks(small_blocks):
    model = fb.RBMClassifier(4, **OPTIONS)
    one = learnt(model.partial_fit(pairs(100)(), classes=["few", "many"]))
    two = fb.RBMClassifier(4, **OPTIONS)
    assert learnt(two.partial_fit(pairs(3, 4, 200), classes=["few", "many"])) == one
    two.partial_fit(pairs(20)())
    assert two._training.update == 24
    assert two.score(X, Y) > 0.5
    with pytest.raises(ValueError, match="the first call of partial_fit needs classes="):
        fb.RBMClassifier(4).partial_fit(pairs(100)())


def test_early_stopping_of_chunks_needs_rows_of_its_own():
    model = fb.RBMClassifier(4, early_stopping=True, n_iter_no_change=2, **OPTIONS)
    with pytest.raises(ValueError, match=re.escape("give validation=(X, y), or early_stopping=")):
        model.fit(pairs(100))
    model.set_params(n_iter=30)
    wrong = X[:40], Y[:40][::-1]  # which are learnt worse and worse
    stopped = model.fit(pairs(100), validation=wrong)
    best = learnt(stopped), stopped.best_iter_
    whole = model.fit(X, Y, validation=wrong)
    assert best == (learnt(whole), whole.best_iter_)
    assert whole.n_iter_ < 30


def test_pairs_of_images_come_in_chunks():
    moved = np.roll(X, 1, axis=1)
    for mode in ("conditional", "joint"):
        model = fb.GatedRBM(3, mode=mode, **OPTIONS)
        expected = learnt(model.fit(X, moved))
        assert learnt(model.fit(pairs(7, 100, y=moved))) == expected
        assert (model.n_features_in_, model.n_features_y_) == (6, 6)
        one = fb.GatedRBM(3, mode=mode, **OPTIONS).partial_fit(pairs(50, y=moved)())
        two = fb.GatedRBM(3, mode=mode, **OPTIONS).partial_fit(X, moved)
        assert learnt(one) == learnt(two)


@pytest.mark.parametrize("n_pretraining", [0, 2])
@pytest.mark.parametrize(
    "model",
    [
        fb.DeepBoltzmannMachine((4, 3), **OPTIONS),
        fb.DeepBoltzmannMachine((4, 3, 2), **OPTIONS),
        fb.PointwiseGatedRBM((3, 2), **OPTIONS),
        fb.PointwiseGatedRBMClassifier((3, 2), **OPTIONS),
    ],
    ids=["two-layers", "three-layers", "switches", "switches-labels"],
)
def test_deep_machines_and_switches_take_chunks_and_pretrain_on_them(model, n_pretraining):
    model = clone(model).set_params(n_pretraining=n_pretraining)
    is_classifier = hasattr(model, "predict")
    expected = learnt(model.fit(X, Y if is_classifier else None))
    for lengths in ((50, 51), (7,)):
        chunks = (pairs if is_classifier else cut)(*lengths)
        assert learnt(model.fit(chunks)) == expected
    rest = [(X[:100], Y[:100]), (X[100:], Y[100:])] if is_classifier else [X[:100], X[100:]]
    model.partial_fit(iter(rest))
    assert model._training.update == 60


def test_a_pretraining_reads_chunks_with_epochs_of_its_own():
    heard = []

    def rows(epoch):
        heard.append(epoch)
        yield X

    fb.PointwiseGatedRBM((3, 2), n_pretraining=2, **OPTIONS).fit(rows)
    n = OPTIONS["n_iter"]
    assert heard == [0, 0, 1, 2, *range(1, n + 1)]


def test_labels_that_cannot_be_read_get_a_sentence():
    model = fb.RBMClassifier(4, **OPTIONS).fit(X, Y)
    before = learnt(model), model.classes_.tolist()
    one_class = np.full(len(X), "few")
    for data, options, error, sentence in [
        (cut(100), {}, ValueError, "a chunk is a tuple (X, y) or (X, y, sample_weight); got ndarr"),
        (pairs(100), {"y": Y}, ValueError, "the labels of chunks come with them"),
        (pairs(100)(), {}, TypeError, "fit reads the data n_iter + 1 times"),
        (pairs(100, y=one_class), {}, ValueError, "y has one class only, 'few'"),
        (pairs(100, y=Y[:, None][:, [0, 0]]), {}, ValueError, "y should be a 1d array"),
        (pairs(X=X[:0], y=Y[:0]), {}, ValueError, "y has no labelled row"),
        (pairs(100, X=3 * X, y=MARKED + 1), {}, ValueError, "X has values in [0, 3]"),
        (
            pairs(100, weight=np.ones(230)),
            {"sample_weight": np.ones(230)},
            ValueError,
            "let each be a tuple (X, y, sample_weight)",
        ),
    ]:
        with pytest.raises(error, match=re.escape(sentence)):
            model.fit(data, **options)
        assert (learnt(model), model.classes_.tolist()) == before
    with pytest.raises(ValueError, match="both images of a pair come in one chunk"):
        fb.GatedRBM(3).fit(pairs(100, y=X), X)
    with pytest.raises(TypeError, match="call partial_fit with some at a time"):
        fb.RNNRBM(3, 2).fit(lambda: iter([[X]]))


# ----------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("at", [2, 7, 12, 13, 30])
def test_ctrl_c_in_a_block_goes_on_there(at, small_blocks, tmp_path, monkeypatch):
    """Catches blocks of an interrupted pass that are made twice or left out."""
    make = lambda *c: rbm(optimizer="adam", callbacks=list(c))  # noqa: E731
    whole = make().fit(cut(100))
    calls = []
    real = training.Trainer.update

    def update(self, *args, **options):
        calls.append(1)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGINT)  # before its sweeps, so that it is given up
        return real(self, *args, **options)

    keep = fb.Checkpoint(tmp_path / "kept", every=100, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "update", update)
        with pytest.raises(KeyboardInterrupt, match=f"interrupted after update {at - 1} "):
            make(keep).fit(cut(100))
    # The fingerprint is that of the rows, however they are cut.
    assert learnt(make(keep).fit(cut(3, 150))) == learnt(whole)
    other = X.copy()
    other[-1, -1] = 1 - other[-1, -1]
    with pytest.raises(ValueError, match="learns from other data than these"):
        make(keep).fit(cut(100, X=other))


# ----------------------------------------------------------------------------------------- refusals


def _exhausted():
    once = iter([X])
    return lambda: once


def _changes():
    calls = []

    def begin():
        calls.append(1)
        return iter(np.split(X[: 230 - 5 * (len(calls) > 2)], [100]))

    return begin


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        (lambda: X, TypeError, "in place of rows must return an iterator of chunks of rows; got n"),
        (
            lambda: None,
            TypeError,
            "in place of rows must return an iterator of chunks of rows; got",
        ),
        (
            iter([X]),
            TypeError,
            "fit reads the data n_iter + 1 times, but a list_iterator can be re",
        ),
        (
            lambda: iter([]),
            ValueError,
            "the function that was given in place of rows returned no r",
        ),
        (lambda: iter([X, X[:, :4]]), ValueError, "X has 4 features, but RBM is expecting 6 feat"),
        (lambda: iter([X, 255 * X]), ValueError, "X has values in [0, 255]; Bernoulli units need"),
        (lambda: iter([(X, None, None)]), ValueError, "a chunk is rows, or a pair (rows, sample_w"),
        (lambda: iter([(X, np.zeros(230))]), ValueError, "sample_weight is zero for every row"),
        (
            _changes(),
            ValueError,
            "the chunks had 230 rows together when they were first read, but ",
        ),
        (
            _exhausted(),
            ValueError,
            "had 230 rows together when they were first read, but 0",
        ),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(data, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        rbm().fit(data)


def test_a_model_stays_as_it_was_where_chunks_are_bad():
    model = rbm().fit(X)
    before = learnt(model), model.n_features_in_
    for bad in (cut(100, X=2 * X), lambda: iter([X[:, :3], X])):
        with pytest.raises(ValueError, match="X has"):
            model.fit(bad)
        assert (learnt(model), model.n_features_in_) == before
        assert np.isfinite(model.score(X))
    with pytest.raises(ValueError, match="let each be a tuple"):
        model.fit(cut(100), sample_weight=np.ones(230))
    with pytest.raises(ValueError, match="there was no chunk of rows"):
        model.partial_fit(iter([]))


# --------------------------------------------------------------------------------------------- Dask


def test_dask_arrays_are_read_block_by_block(small_blocks):
    array = pytest.importorskip("dask.array")
    given = array.from_array(X, chunks=(64, 4))
    assert learnt(rbm().fit(given)) == learnt(rbm().fit(cut(64, 128, 192)))
    assert learnt(rbm().partial_fit(given)) == learnt(rbm().partial_fit(cut(7)()))
    model = rbm().fit(given)
    np.testing.assert_array_equal(model.transform(given), model.transform(X))
    with pytest.raises(ValueError, match=re.escape("X has shape (230,); expected a table")):
        rbm().fit(given[:, 0])


def test_dask_frames_keep_their_names():
    frame = pytest.importorskip("dask.dataframe")
    given = frame.from_pandas(pd.DataFrame(X, columns=list("abcdef")), npartitions=3)
    model = rbm().fit(given)
    assert learnt(model) == learnt(rbm().fit(X))
    assert model.feature_names_in_.tolist() == list("abcdef")


# ---------------------------------------------------------------------------------- constant memory


LITTLE = """
import resource, sys
sys.path[:0] = {path!r}
import numpy as np, fastboltz as fb
from fastboltz import chunks

def fit(data, visible="bernoulli", method="fit"):
    model = fb.RBM(4, visible=visible, n_iter=1, batch_size=512, n_threads=1, random_state=0)
    return getattr(model, method)(data)

# All that is loaded and begun on first use: buffers of BLAS, stacks of threads.
for visible in ("bernoulli", "gaussian"):
    fit(np.random.default_rng(0).random((1024, 256), np.float32), visible)
with open("/proc/self/status") as file:
    own = next(int(x.split()[1]) for x in file if x.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, 2 * ((own << 10) + (24 << 20),))
chunks.BLOCK_BYTES = 1 << 21
"""


def _in_little_memory(code):
    """Run code in a process that may have 24 MB more than after its imports.

    Pages of mapped files are not its own.
    """
    head = LITTLE.format(path=[str(Path(fb.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", head + code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FILES = """
for name in ("binary.npy", "grey.npy"):
    X = np.load(name, mmap_mode="r")
    kind = {"binary.npy": "bernoulli", "grey.npy": "gaussian"}[name]
    model = fit(X, kind)
    print(name, X.nbytes >> 20, model.n_iter_, model.transform(X[:5]).shape)
try:
    X.astype(np.float32)
except MemoryError:
    print("too much")
"""


linux = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads Linux's /proc")


@linux
def test_memory_does_not_grow_with_a_stream():
    """A stream of 100 MB in each pass, as single precision, in chunks of 1 MB.

    Catches blocks that are kept from one to the next, and chunks that are gathered: the last line
    shows that the limit is one.
    """
    said = _in_little_memory("""
bits = np.random.default_rng(0).integers(0, 2, 2**18, np.uint8)

def read():
    for k in range(100):
        yield np.roll(bits, k).reshape(-1, 256)

def labelled():
    return ((rows, rows[:, 0]) for rows in read())

model = fb.RBMClassifier(4, n_iter=1, batch_size=512, n_threads=1, random_state=0).fit(labelled)
print(model.classes_, model._training.update)
cases = (("fit", read, "bernoulli"), ("partial_fit", read(), "gaussian"))
for method, data, visible in cases:
    model = fit(data, visible, method)
    print(method, visible, model.n_iter_, model._training.update)
try:
    np.concatenate(list(read())[:50]).astype(np.float32)
except MemoryError:
    print("too much")
""")
    assert said.splitlines() == [
        "[0 1] 200",
        "fit bernoulli 1 200",
        "partial_fit gaussian 1 200",
        "too much",
    ]


@linux
def test_memory_mapped_files_are_read_in_place(tmp_path, monkeypatch):
    """Bytes of 0 and 1, and pixels: 16 MB each, which single precision would make 64."""
    monkeypatch.chdir(tmp_path)
    bytes_ = np.random.default_rng(0).integers(0, 256, (16 << 12, 256), np.uint8)
    np.save("grey.npy", bytes_)
    np.save("binary.npy", bytes_ & 1)
    assert _in_little_memory(FILES).splitlines() == [
        "binary.npy 16 1 (5, 4)",
        "grey.npy 16 1 (5, 4)",
        "too much",
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, bool])
def test_small_whole_numbers_are_what_their_values_are(dtype):
    given = X.astype(dtype)
    for options in ({}, {"optimizer": "adam"}, {"visible": "gaussian", "learning_rate": 0.01}):
        model, expected = rbm(**options).fit(given), rbm(**options).fit(X)
        assert learnt(model) == learnt(expected)
        assert learnt(model.partial_fit(given)) == learnt(expected.partial_fit(X))
        found = rbm(**options).fit(given, sample_weight=WEIGHT)
        assert learnt(found) == learnt(rbm(**options).fit(X, sample_weight=WEIGHT))
        np.testing.assert_array_equal(model.transform(given), expected.transform(X))
        start = {"init": given[:5], "random_state": 0}
        np.testing.assert_array_equal(
            model.sample(5, 3, **start), expected.sample(5, 3, **start | {"init": X[:5]})
        )
    if dtype is not bool:
        with pytest.raises(ValueError, match=re.escape("X has values in [0, 5]; Bernoulli units")):
            rbm().fit(5 * given)


@pytest.mark.parametrize(
    "make",
    [lambda X: lambda: iter([X]), lambda X: iter([X]), Redrawn],
    ids=["function", "iterator", "Redrawn"],
)
def test_what_takes_rows_alone_refuses_chunks_in_a_sentence(make):
    """Deliberate bug that this catches: a number made of a function, in NumPy's words."""
    X = np.eye(4)
    rows = "X must be an array, a matrix or a table of rows; got "
    model = fb.RBM(2, n_iter=1, random_state=0).fit(X)
    for method in (model.transform, model.score, model.free_energy):
        with pytest.raises(TypeError, match=rows + r".*call the method for each chunk"):
            method(make(X))
    network = fb.SigmoidBeliefNetwork((2,), n_iter=1, random_state=0)
    for method in (network.fit, network.partial_fit):
        with pytest.raises(
            TypeError, match=rows + r".*SigmoidBeliefNetwork.*call partial_fit with"
        ):
            method(make(X))
    gated = fb.GatedRBM(2, n_iter=1, random_state=0).fit(X, X)
    with pytest.raises(TypeError, match=r"Y must be an array.*call the method for each chunk"):
        gated.transform(X, make(X))
