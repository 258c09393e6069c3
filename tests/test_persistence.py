"""Models in files: what is loaded is what was saved, and nothing else is loaded."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from saved_models import (
    MODELS,
    SMALL,
    SPINS,
    SQUARE,
    X,
    bytes_of,
    check_mutation,
    draw,
    learnt,
    mutated,
    rewritten,
    swapped,
)
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

import fastboltz as fb
from fastboltz import persistence
from fastboltz.callbacks import EarlyStopping, Monitor
from fastboltz.persistence import ModelFileError

FILES = Path(__file__).parent / "files"
#: Mutated files of the fuzz tests: of each, half as many. FASTBOLTZ_MUTATIONS=10000 tries more.
N_MUTATIONS = int(os.environ.get("FASTBOLTZ_MUTATIONS", "300"))


@pytest.fixture(scope="module")
def fitted():
    """Every model of the catalogue, fitted once."""
    return {name: clone(model).fit(*data) for name, (model, data, _) in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_answers_and_learns_on_with_the_same_bytes(name, fitted, tmp_path):
    """Catches what is left out: chains, velocities, offsets, the place in the random numbers."""
    model, (_, data, answers) = fitted[name], MODELS[name]
    path = tmp_path / "model.fbm"
    model.save(path)
    loaded = fb.load(path)
    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model)
    assert learnt(loaded) == learnt(model)
    for method in answers:
        ask = data[:1]
        assert bytes_of(getattr(loaded, method)(*ask)) == bytes_of(getattr(model, method)(*ask))
    assert bytes_of(draw(loaded, data)) == bytes_of(draw(model, data))
    if hasattr(model, "partial_fit"):
        for _ in range(2):
            model.partial_fit(*data)
            loaded.partial_fit(*data)
        assert learnt(loaded) == learnt(model)
        assert bytes_of(draw(loaded, data)) == bytes_of(draw(model, data))


def test_every_estimator_is_in_the_list():
    assert {name.split(",")[0] for name in MODELS} == set(fb.models.__all__)


def test_a_saved_model_is_the_same_file_again(fitted, tmp_path):
    """Save, load, save: nothing is added or lost."""
    fitted["RBM"].save(tmp_path / "one")
    fb.load(tmp_path / "one").save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_model_that_is_not_fitted_is_its_parameters(tmp_path):
    model = fb.RBM(visible=fb.Spin, learning_rate=fb.optimizers.Linear(0.5), n_iter=7)
    model.save(tmp_path / "new")
    loaded = fb.load(tmp_path / "new")
    assert repr(loaded) == repr(model)
    assert loaded.visible is fb.Spin
    with pytest.raises(ValueError, match="not fitted"):
        check_is_fitted(loaded, "params_")


def test_parameters_of_every_kind_come_back(tmp_path):
    state = np.random.RandomState(3)
    state.rand(5)
    model = fb.DeepBoltzmannMachine(
        range(2, 4), visible=fb.UnitInterval(6), l1=np.float32(0.1), random_state=state
    )
    model.set_params(learning_rate=fb.optimizers.InverseTime(0.1, np.float64(10)))
    model.save(tmp_path / "m")
    loaded = fb.load(tmp_path / "m")
    assert loaded.layers == range(2, 4)
    assert loaded.visible == fb.UnitInterval(6)
    assert type(loaded.l1) is np.float32
    assert loaded.l1 == np.float32(0.1)
    assert loaded.learning_rate == fb.optimizers.InverseTime(0.1, 10)
    assert type(loaded.learning_rate.half_life) is np.float64
    assert loaded.random_state.rand() == state.rand()


def test_callbacks_stand_in_a_file_by_their_states_and_go_on(tmp_path):
    """Passes before and after a file are as passes without one; held-out data are not written."""
    held_out = np.full((1, 6), 0.123456, np.float32)

    def make():
        return [EarlyStopping(X[::4], patience=100), Monitor(held_out, every=2, what="weight_norm")]

    whole = fb.RBM(4, callbacks=make(), **SMALL)
    rbm = fb.RBM(4, callbacks=make(), **SMALL)
    for _ in range(5):
        whole.partial_fit(X)
    for _ in range(3):
        rbm.partial_fit(X)
    path = tmp_path / "model"
    rbm.save(path)
    assert np.float32(0.123456).tobytes() not in path.read_bytes()
    assert fb.load(path).callbacks is None
    loaded = fb.load(path, callbacks=make())
    assert loaded.callbacks[0].best == rbm.callbacks[0].best
    loaded.partial_fit(X).partial_fit(X)
    assert learnt(loaded) == learnt(whole)
    mine, theirs = loaded.callbacks[0].state_dict(), whole.callbacks[0].state_dict()
    assert bytes_of(mine) == bytes_of(theirs)
    # A training anew is another one.
    again = fb.load(path, callbacks=make()).fit(X)
    assert learnt(again) == learnt(fb.RBM(4, callbacks=make(), **SMALL).fit(X))
    with pytest.raises(ValueError, match="the training had a callback Monitor, whose state is in"):
        fb.load(path, callbacks=make()[:1])
    with pytest.raises(TypeError, match="callbacks must be a list of callables"):
        fb.load(path, callbacks=make()[0])


@pytest.mark.parametrize("name", ["RBM", "RBMClassifier", "RNNRBM"])
def test_pickle_and_clone_still_do(name, fitted):
    model = fitted[name]
    again = pickle.loads(pickle.dumps(model))
    assert learnt(again) == learnt(model)
    assert repr(clone(model)) == repr(model)


def test_the_arrays_are_numpys_and_the_sums_are_sha256sums(fitted, tmp_path):
    path = tmp_path / "model"
    fitted["RBM"].save(path)
    with np.load(path, allow_pickle=False) as members:
        kept = [members[k] for k in members.files if k.endswith(".npy") or k.isdigit()]
    w = fitted["RBM"].components_
    assert any(x.shape == w.shape and (x == w).all() for x in kept)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=False
    )
    assert done.returncode == 0


# --------------------------------------------------------------------------- files of each version


@pytest.mark.parametrize("version", range(1, persistence.FORMAT + 1))
def test_files_of_every_version_are_read(version):
    """Written by that version; what the models answered then stands beside them."""
    expected = json.loads((FILES / f"expected-{version}.json").read_text())
    rbm = fb.load(FILES / f"rbm-{version}.fbm")
    assert rbm.get_params()["learning_rate"] == fb.optimizers.Linear(0.2, 0.05)
    assert rbm.n_iter_ == 4
    assert rbm.chains_.astype(int).tolist() == expected["rbm"]["chains"]
    np.testing.assert_allclose(rbm.transform(X[:5]), expected["rbm"]["transform"], rtol=1e-5)
    np.testing.assert_allclose(rbm.score(X), expected["rbm"]["score"], rtol=1e-6)
    # Its samples are those of this version's random numbers.
    np.testing.assert_array_equal(
        rbm.sample(3, 5), fb.load(FILES / f"rbm-{version}.fbm").sample(3, 5)
    )
    assert rbm.partial_fit(X).n_iter_ == 5
    if version >= 2:
        stop = EarlyStopping(X, patience=7)
        fb.load(FILES / f"rbm-{version}.fbm", callbacks=[stop])
        np.testing.assert_allclose(stop.best, expected["rbm"]["best"], rtol=1e-6)
        assert stop.best_epoch == expected["rbm"]["best_epoch"]
    machine = fb.load(FILES / f"machine-{version}.fbm")
    assert machine.energy_.terms[1].edges == SQUARE
    np.testing.assert_allclose(machine.score(SPINS), expected["machine"]["score"], rtol=1e-6)
    assert machine.partial_fit(SPINS).n_iter_ == 4


# ----------------------------------------------------------------------------- what cannot be saved


class MyUnits(fb.Bernoulli):
    pass


class MyRBM(fb.RBM):
    pass


def _stop_early(progress):
    return progress.state.epoch == 2


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            fb.RBM(callbacks=[_stop_early]),
            "callbacks[0] is '_stop_early', which is your own code: a file that runs no code when "
            "it is loaded cannot hold it. Take it out before (model.set_params(...=None)) and put "
            "it back after loading, or use pickle or joblib.",
        ),
        (fb.RBM(visible=MyUnits), "visible is 'MyUnits', which is your own code"),
        (
            fb.RBM(visible=MyUnits(6)),
            f"visible is a {__name__}.MyUnits, which a model file cannot hold. Take it out before, "
            "or use pickle or joblib.",
        ),
        (fb.RBM(learning_rate=lambda update, n: 0.1), "learning_rate is '<lambda>', which is your"),
        (
            MyRBM(),
            f"MyRBM is not an estimator of fastboltz (it is defined in {__name__}), so "
            "fastboltz.load could not make it again. Use pickle or joblib, which import it.",
        ),
        (
            fb.DeepBeliefNetwork((np.array([1, 2], "m8[s]"),)),
            "layers[0] has values of type timedelta64[s]; a model file holds numbers and text",
        ),
    ],
    ids=["callback", "type", "object", "schedule", "estimator", "values"],
)
def test_what_no_file_can_hold_is_named_and_nothing_is_written(model, sentence, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"as it was")
    with pytest.raises(TypeError, match=re.escape(sentence)):
        model.save(path)
    assert path.read_bytes() == b"as it was"
    assert os.listdir(tmp_path) == ["model"]


def test_a_path_that_cannot_be_written_gets_a_sentence(fitted, tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file in it"):
        fitted["RBM"].save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*; make it first"):
        fitted["RBM"].save(tmp_path / "no" / "model")


def test_a_disk_that_fills_up_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    """Catches a file that is written in its place."""
    path = tmp_path / "model"
    fitted["RBM"].save(path)
    before = path.read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fitted["RBMClassifier"].save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_a_link_is_followed(fitted, tmp_path):
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    fitted["RBM"].save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").stat().st_size > 0


# ------------------------------------------------------------------------- what cannot be loaded


@pytest.fixture
def saved(fitted, tmp_path):
    path = tmp_path / "model.fbm"
    fitted["RBM"].save(path)
    return path


def _npz(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


FOREIGN = {
    "text": (b"import os\n", "is not the file of a fastboltz model, or its beginning is lost."),
    "empty": (b"", "is not the file of a fastboltz model"),
    "npz": (_npz(x=np.zeros(3)), "is a zip archive, but not that of a fastboltz model: it has no"),
    "pickle": (pickle.dumps(Bomb()), "is a pickle, not the file of a fastboltz model. Loading a"),
    "only a beginning": (b"PK\x03\x04", "is cut short or damaged"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_gets_a_sentence_and_runs_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, sentence = FOREIGN[kind]
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ModelFileError, match=re.escape(sentence)):
        fb.load(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        fb.load("nowhere.fbm")


def test_a_truncated_file_gets_a_sentence(saved):
    data = saved.read_bytes()
    for length in (len(data) - 1, len(data) // 2, 30):
        saved.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match="is cut short or damaged"):
            fb.load(saved)


def test_members_that_changed_places_get_a_sentence(saved):
    """CRC-32 of each member is right; catches sums that are not looked at."""
    with zipfile.ZipFile(saved) as archive:
        parts = {k: archive.read(k) for k in archive.namelist()}
    parts["0.npy"], parts["1.npy"] = parts["1.npy"], parts["0.npy"]
    with zipfile.ZipFile(saved, "w") as archive:
        for k, x in parts.items():
            archive.writestr(k, x)
    with pytest.raises(ModelFileError, match=r"altered after it was written: .*'0\.npy' is not"):
        fb.load(saved)


def test_a_file_of_a_later_version_says_so(saved):
    def change(tree):
        tree["format"] = 3
        tree["versions"]["fastboltz"] = "9.9"

    saved.write_bytes(rewritten(saved, change))
    with pytest.raises(
        ModelFileError, match=r"format version 3, written by fastboltz 9\.9; .*Update"
    ):
        fb.load(saved)


def _set(path, value):
    def change(tree):
        *way, last = path
        for key in way:
            tree = tree[key]
        tree[last] = value

    return change


LEARNT = ("model", "learnt")
FORGED = {
    "a class by its import path": _set(("model", "class"), "os.system"),
    "a class of ours that is no estimator": _set(("model", "class"), "files"),
    "a private class": _set(("model", "class"), "_estimator"),
    "an object of another module": _set(
        (*LEARNT, "x"), {"is": "object", "class": "Popen", "of": {"args": ["mkdir", "exploded"]}}
    ),
    "a kind that is none": _set((*LEARNT, "x"), {"is": "__class__"}),
    "a method in the way": _set((*LEARNT, "transform"), 1),
    "a name with underscores": _set((*LEARNT, "__class__"), 1),
    "an argument that is none": _set(("model", "given", "colour"), "red"),
    "no parameters": _set((*LEARNT, "params_"), {"is": "dict", "of": [[], []]}),
    "a member that is not there": _set((*LEARNT, "x"), {"is": "array", "of": "99.npy"}),
    "objects in numbers": _set(
        (*LEARNT, "x"), {"is": "number", "dtype": "|O", "bytes": "AAAAAAAA"}
    ),
    "very many bits": _set(
        (*LEARNT, "x"),
        {"is": "bits", "shape": [2**50, 3], "low": 0, "of": {"is": "array", "of": "0.npy"}},
    ),
    "not a model": _set(("model",), 3),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_file_whose_sums_are_right_is_refused(kind, saved, tmp_path, monkeypatch):
    """What a file can make is what the table has; catches names that are imported."""
    monkeypatch.chdir(tmp_path)
    saved.write_bytes(rewritten(saved, FORGED[kind]))
    with pytest.raises(ModelFileError, match="what it says does not make a model"):
        fb.load(saved)
    assert os.listdir(tmp_path) == [saved.name]


def test_forged_arrays_are_refused(saved):
    objects = io.BytesIO()
    np.lib.format.write_array(objects, np.array([Bomb()], dtype=object), allow_pickle=True)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f8", "fortran_order": False, "shape": (2**60,)}
    )
    for data in (objects.getvalue(), huge.getvalue(), b"", b"\x93NUMPY"):
        saved.write_bytes(rewritten(saved, members={"0.npy": data}))
        with pytest.raises(ModelFileError, match="has an array that cannot be read"):
            fb.load(saved)


def test_deep_nesting_is_refused(saved):
    deep = b'{"kind":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    saved.write_bytes(rewritten(saved, members={"model.json": deep}))
    with pytest.raises(ModelFileError, match=re.escape("model.json is not ours")):
        fb.load(saved)


def test_a_member_that_grows_when_it_is_read_is_refused(saved):
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", b" " * 10_000_000)
    with pytest.raises(ModelFileError, match="a member is compressed"):
        fb.load(saved)


# -------------------------------------------------------------------------------- mutated files


@pytest.mark.parametrize("name", ["RBM", "DeepBeliefNetwork"])
def test_mutated_files_load_equal_or_are_refused(name, fitted, tmp_path):
    """Catches errors of zipfile, json and NumPy that are not turned into a sentence."""
    path = tmp_path / "model"
    fitted[name].save(path)
    original, expected = path.read_bytes(), learnt(fitted[name])
    rng = np.random.default_rng(0)
    refused = sum(
        check_mutation(path, mutated(original, rng), original, expected)
        for _ in range(N_MUTATIONS // 2)
    )
    assert refused > 0.8 * (N_MUTATIONS // 2)


def test_swapped_fields_with_right_sums_load_or_are_refused(fitted, tmp_path):
    """Nobody can tell two numbers that changed places; but no other error than ours is raised."""
    path = tmp_path / "model"
    fitted["RBM"].save(path)
    original = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(N_MUTATIONS // 2):
        path.write_bytes(swapped(path, rng))
        try:
            fb.load(path)
        except ModelFileError:
            refused += 1
        path.write_bytes(original)
    assert refused > 0.3 * (N_MUTATIONS // 2)
