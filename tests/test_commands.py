"""The commands on files: what they print and write is what the models say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from saved_models import LABELS, X, learnt
from scipy import sparse

import fastboltz as fb
from fastboltz import cli
from fastboltz.training import Trainer

SET = ("--set", "n_iter=3", "--set", "n_components=4", "--set", "batch_size=20", "--seed", "5")
OPTIONS = {"n_iter": 3, "batch_size": 20, "random_state": 5}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with data in every form."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.savez("xy.npz", X=X, y=LABELS)
    np.savez("alone.npz", table=X)
    np.savetxt("x.csv", X, delimiter=",", header="a,b,c,d,e,f", comments="")
    np.savetxt("bare.csv", X, delimiter=",")
    sparse.save_npz("sparse.npz", sparse.csr_matrix(X))
    (tmp_path / "y.csv").write_text("\n".join(LABELS))
    return tmp_path


def run(capsys, *arguments):
    status = cli.main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def said(capsys, *arguments):
    """The JSON of a command that goes well."""
    status, out, err = run(capsys, *arguments, "--json")
    assert status == 0, err
    assert err == ""
    return json.loads(out)


def refused(capsys, *arguments):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    return err


@pytest.mark.parametrize(
    "data", ["x.npy", "xy.npz", "alone.npz", "x.csv", "bare.csv", "sparse.npz"]
)
def test_train_learns_what_fit_learns(data, capsys):
    report = said(capsys, "train", data, "--output", "m.fbm", *SET)
    dtype = float if "csv" in data else np.float32
    here = sparse.csr_matrix(X) if "sparse" in data else X.astype(dtype)
    assert learnt(fb.load("m.fbm")) == learnt(fb.RBM(4, **OPTIONS).fit(here))
    assert report["n_rows"] == 60
    assert report["n_iter"] == 3
    assert report["arrays"]["h_j v_i"]["shape"] == [4, 6]


@pytest.mark.parametrize("labels", [("xy.npz",), ("x.npy", "--labels", "y.csv")])
def test_a_classifier_is_trained_and_scored(labels, capsys):
    said(capsys, "train", *labels, "--model", "RBMClassifier", "--output", "m.fbm", *SET)
    model = fb.RBMClassifier(4, **OPTIONS).fit(X, LABELS)
    assert learnt(fb.load("m.fbm")) == learnt(model)
    assert said(capsys, "score", "m.fbm", *labels)["accuracy"] == model.score(X, LABELS)


def test_score_and_inspect_tell_what_the_model_says(capsys):
    said(capsys, "train", "x.npy", "--output", "m.fbm", *SET)
    model = fb.load("m.fbm")
    report = said(capsys, "score", "m.fbm", "x.csv")
    assert report["log_likelihood"] == model.score(X)
    assert report["log_partition"]["value"] == model.log_partition_.value
    status, out, _ = run(capsys, "score", "m.fbm", "x.npy")
    assert status == 0
    assert f"log-likelihood {model.score(X):.4f} nats a row" in out
    report = said(capsys, "inspect", "m.fbm")
    assert report["class"] == "RBM"
    assert report["format"] == 1
    assert report["versions"]["numpy"] == np.__version__
    assert report["parameters"]["n_components"] == "4"
    _, out, _ = run(capsys, "inspect", "m.fbm")
    assert "n_iter = 3" in out
    assert "h_j v_i: float32 (4, 6)" in out


@pytest.mark.parametrize("ending", ["npy", "npz", "csv"])
def test_sample_writes_what_the_model_draws(ending, capsys):
    said(capsys, "train", "x.npy", "--output", "m.fbm", *SET)
    name = f"s.{ending}"
    arguments = ("--n-samples", "7", "--n-steps", "9", "--seed", "3")
    assert said(capsys, "sample", "m.fbm", "--output", name, *arguments)["shape"] == [7, 6]
    if ending == "csv":
        drawn = np.loadtxt(name, delimiter=",")
    else:
        drawn = np.load(name) if ending == "npy" else np.load(name)["X"]
    np.testing.assert_array_equal(drawn, fb.load("m.fbm").sample(7, 9, random_state=3))


def test_samples_with_labels_need_an_npz(capsys):
    said(capsys, "train", "xy.npz", "--model", "RBMClassifier", "--output", "m.fbm", *SET)
    error = refused(capsys, "sample", "m.fbm", "--output", "s.npy")
    assert "RBMClassifier draws several arrays; give --output a name that ends in .npz." in error
    said(capsys, "sample", "m.fbm", "--output", "s.npz", "--seed", "2")
    with np.load("s.npz") as found:
        rows, labels = fb.load("m.fbm").sample(10, random_state=2)
        np.testing.assert_array_equal(found["X"], rows)
        np.testing.assert_array_equal(found["y"], labels)


def test_a_training_that_is_stopped_says_how_to_go_on_and_does(capsys, monkeypatch):
    arguments = ("train", "x.npy", "--output", "m.fbm", "--set", "optimizer=adam", *SET)
    keep = ("--checkpoint", "kept.fbm")
    calls = []
    real = Trainer.update

    def stopped(self, *args, **options):
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", stopped)
        status, out, err = run(capsys, *arguments, *keep, "--json")
    assert (status, out) == (130, "")
    assert "interrupted after update 5" in err
    assert "Saved in 'kept.fbm'" in err
    assert err.endswith("On the command line: --resume.\n")
    assert not os.path.exists("m.fbm")
    assert "there is a checkpoint in 'kept.fbm' already" in refused(capsys, *arguments, *keep)
    said(capsys, *arguments, *keep, "--resume")
    whole = fb.RBM(4, optimizer="adam", **OPTIONS).fit(X)
    assert learnt(fb.load("m.fbm")) == learnt(whole)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("train no.npy --output m", "cannot read 'no.npy' (No such file or directory)."),
        ("train x.txt --output m", "'x.txt': expected a name that ends in .npy, .npz or .csv."),
        ("train y.csv --output m", "cannot read 'y.csv' as .csv (could not convert string"),
        ("train x.npy --output no/m", "there is no folder 'no'; make it first."),
        ("train x.npy --output .", "this is a folder; give the name of a file."),
        ("train x.npy --output m --set n_iter", "expected NAME=VALUE, e.g. n_components=128."),
        ("train x.npy --output m --set colour=1", "--set: RBM.__init__() got an unexpected"),
        ("train x.npy --output m --set n_iter=-1", "n_iter must be"),
        ("train x.npy --output m --resume", "--resume needs --checkpoint, the file with"),
        ("train x.npy --output m --model RBMClassifier", "RBMClassifier needs labels: give --la"),
        ("score x.npy x.npy", "'x.npy' is not the file of a fastboltz model"),
        ("score no.fbm x.npy", "cannot read 'no.fbm' (No such file or directory)."),
        ("inspect xy.npz", "is a zip archive, but not that of a fastboltz model"),
        ("sample no.fbm --output s.txt", "expected a name that ends in one of .npy, .npz, .csv."),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_writes_nothing(arguments, sentence, capsys, folder):
    before = sorted(os.listdir(folder))
    error = refused(capsys, *arguments.split())
    assert error.startswith("fastboltz: ")
    assert sentence in error
    assert sorted(os.listdir(folder)) == before


def test_pickled_data_are_not_loaded(capsys, folder):
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot read 'objects.npy' as .npy" in refused(
        capsys, "train", "objects.npy", "--output", "m"
    )


def test_help_shows_an_example():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fastboltz.cli", "train", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Example: fastboltz train digits.npy --output rbm.fbm" in " ".join(done.stdout.split())
