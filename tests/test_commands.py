"""The commands on files: what they print and write is what the models say."""

from __future__ import annotations

import json
import os
import re
import signal
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
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
    columns = {name: X[:, i] for i, name in enumerate("abcdef")}
    parquet.write_table(pa.table(columns), "x.parquet")
    parquet.write_table(pa.table(columns | {"is": LABELS}), "xy.parquet")
    parquet.write_table(pa.table({"is": LABELS}), "y.parquet")
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
    "data", ["x.npy", "xy.npz", "alone.npz", "x.csv", "bare.csv", "sparse.npz", "x.parquet"]
)
def test_train_learns_what_fit_learns(data, capsys):
    report = said(capsys, "train", data, "--output", "m.fbm", *SET)
    dtype = float if "csv" in data else np.float32
    here = sparse.csr_matrix(X) if "sparse" in data else X.astype(dtype)
    assert learnt(fb.load("m.fbm")) == learnt(fb.RBM(4, **OPTIONS).fit(here))
    assert report["n_rows"] == 60
    assert report["n_iter"] == 3
    assert report["arrays"]["h_j v_i"]["shape"] == [4, 6]


def test_what_set_gives_holds_where_an_option_was_not_given(capsys):
    """Catches options of the command that silently take the place of what --set gave."""
    own = ("--set", "random_state=5", "--set", "n_threads=1", "--set", "verbose=0")
    status, _, err = run(capsys, "train", "x.npy", "--output", "m.fbm", *SET[:-2], *own)
    assert (status, err) == (0, "")
    model = fb.load("m.fbm")
    assert learnt(model) == learnt(fb.RBM(4, **OPTIONS).fit(X))
    assert (model.random_state, model.n_threads, model.verbose) == (5, 1, 0)
    said(capsys, "train", "x.npy", "--output", "m.fbm", *own, "--seed", "5", "--threads", "1")
    for option, name in (("--seed", "random_state"), ("--threads", "n_threads")):
        error = refused(capsys, "train", "x.npy", "--output", "m.fbm", *own, option, "4")
        assert f"{option} 4 and --set {name}={model.get_params()[name]} are one param" in error


@pytest.mark.parametrize("model", ["RBM", "BernoulliRBM", "DeepBeliefNetwork"])
def test_the_bar_of_the_command_is_no_parameter_of_the_model(model, capsys):
    status, _, err = run(
        capsys, "train", "x.npy", "--output", "m.fbm", "--set", "n_iter=1", "--model", model
    )
    assert status == 0
    assert err  # the bar
    found = fb.load("m.fbm")
    assert not any(part.verbose for part in (found, *getattr(found, "rbms_", ())))
    assert found.random_state == 0
    run(capsys, "train", "x.npy", "--output", "m.fbm", "--set", "n_iter=1", "--set", "verbose=1")
    assert fb.load("m.fbm").verbose == 1


@pytest.mark.parametrize(
    "labels",
    [
        ("xy.npz",),
        ("x.npy", "--labels", "y.csv"),
        ("x.npy", "--labels", "y.parquet"),
        ("xy.parquet", "--label-column", "is"),
    ],
)
def test_a_classifier_is_trained_and_scored(labels, capsys):
    said(capsys, "train", *labels, "--model", "RBMClassifier", "--output", "m.fbm", *SET)
    model = fb.RBMClassifier(4, **OPTIONS).fit(X, LABELS)
    assert learnt(fb.load("m.fbm")) == learnt(model)
    assert said(capsys, "score", "m.fbm", *labels)["accuracy"] == model.score(X, LABELS)


def test_labels_that_the_model_does_not_learn_are_refused(capsys):
    """Catches labels, perhaps of other rows, that are silently left aside."""
    np.save("few.npy", np.arange(3))
    sentence = "--labels: RBM learns no labels; leave the option out, or take one of the models"
    error = refused(capsys, "train", "x.npy", "--labels", "few.npy", "--output", "m.fbm")
    assert sentence in error
    assert "PointwiseGatedRBMClassifier." in error
    said(capsys, "train", "x.npy", "--output", "m.fbm", *SET)
    assert sentence in refused(capsys, "score", "m.fbm", "x.npy", "--labels", "few.npy")
    # A column of labels in the table itself is no column of the data.
    said(capsys, "train", "x.parquet", "--output", "m.fbm", *SET)
    said(capsys, "score", "m.fbm", "xy.parquet", "--label-column", "is")


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
    assert report["format"] == fb.persistence.FORMAT
    assert report["versions"]["numpy"] == np.__version__
    assert report["parameters"]["n_components"] == "4"
    _, out, _ = run(capsys, "inspect", "m.fbm")
    assert "n_iter = 3" in out
    assert "h_j v_i: float32 (4, 6)" in out


@pytest.mark.parametrize(
    ("model", "is_bound"),
    [
        (fb.SigmoidBeliefNetwork((4, 3), n_iter=1), True),
        (fb.DeepBeliefNetwork((4, 3), n_iter=1), True),
        (fb.DeepBeliefNetwork((4,), n_iter=1), False),
        (fb.DeepBoltzmannMachine((4, 3), n_pretraining=0, n_iter=1), False),
        (fb.DeepBoltzmannMachine((14, 13), n_pretraining=0, n_iter=1), True),
        (fb.PointwiseGatedRBM((2, 2), n_pretraining=0, n_iter=1), False),
        (fb.PointwiseGatedRBM((20, 20), n_pretraining=0, n_iter=1), True),
    ],
    ids=repr,
)
def test_score_says_where_it_is_a_lower_bound(model, is_bound, capsys):
    """Catches a bound that is reported as the log-likelihood."""
    wide = np.tile(X, 4)
    np.save("x.npy", wide)
    model.set_params(random_state=0).fit(wide).save("m.fbm")
    name = "log_likelihood_bound" if is_bound else "log_likelihood"
    report = said(capsys, "score", "m.fbm", "x.npy", "--output", "s.csv")
    assert report[name] == model.score(wide)
    assert len(report.keys() & {"log_likelihood", "log_likelihood_bound"}) == 1
    with open("s.csv", encoding="utf-8") as file:
        assert file.readline() == f"{name}\n"
    _, out, _ = run(capsys, "score", "m.fbm", "x.npy")
    assert out.startswith(("lower bound on the " if is_bound else "") + "log-likelihood ")


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "parquet"])
def test_sample_writes_what_the_model_draws(ending, capsys):
    said(capsys, "train", "x.npy", "--output", "m.fbm", *SET)
    name = f"s.{ending}"
    arguments = ("--n-samples", "7", "--n-steps", "9", "--seed", "3")
    assert said(capsys, "sample", "m.fbm", "--output", name, *arguments)["shape"] == [7, 6]
    if ending == "csv":
        drawn = np.loadtxt(name, delimiter=",")
    elif ending == "parquet":
        drawn = np.asarray(parquet.read_table(name))
    else:
        drawn = np.load(name) if ending == "npy" else np.load(name)["X"]
    np.testing.assert_array_equal(drawn, fb.load("m.fbm").sample(7, 9, random_state=3))


def test_samples_may_be_a_sparse_matrix(capsys):
    said(capsys, "train", "sparse.npz", "--output", "m.fbm", *SET)
    wrong = refused(capsys, "sample", "m.fbm", "--output", "s.npy", "--sparse")
    assert "--sparse writes an .npz; give --output a name that ends so, not 's.npy'." in wrong
    report = said(capsys, "sample", "m.fbm", "--output", "s.npz", "--sparse", "--seed", "3")
    drawn = sparse.load_npz("s.npz")
    assert drawn.format == "csr"
    assert report["shape"] == [10, 6]
    np.testing.assert_array_equal(drawn.toarray(), fb.load("m.fbm").sample(10, random_state=3))
    # And they are data like others.
    assert said(capsys, "score", "m.fbm", "s.npz")["n_rows"] == 10


def test_samples_with_labels_need_a_file_that_holds_both(capsys):
    said(capsys, "train", "xy.npz", "--model", "RBMClassifier", "--output", "m.fbm", *SET)
    for name in ("s.npy", "s.csv"):
        error = refused(capsys, "sample", "m.fbm", "--output", name)
        assert "RBMClassifier draws rows and labels; give --output a name that ends in" in error
    rows, labels = fb.load("m.fbm").sample(10, random_state=2)
    said(capsys, "sample", "m.fbm", "--output", "s.npz", "--seed", "2")
    with np.load("s.npz") as found:
        np.testing.assert_array_equal(found["X"], rows)
        np.testing.assert_array_equal(found["y"], labels)
    said(capsys, "sample", "m.fbm", "--output", "s.parquet", "--seed", "2")
    table = parquet.read_table("s.parquet")
    assert table.column("y").to_pylist() == labels.tolist()
    np.testing.assert_array_equal(np.asarray(table.drop_columns(["y"])), rows)
    assert table.column_names == [*(f"x{i}" for i in range(6)), "y"]


def test_several_tables_are_written_into_one_npz(capsys):
    machine = fb.BoltzmannMachine(
        {"a": fb.Bernoulli(3), "b": fb.Bernoulli(3)}, ["a_i b_j"], visible=("a", "b"), n_iter=1
    )
    machine.fit({"a": X[:, :3], "b": X[:, 3:]}).save("m.fbm")
    assert "draws several tables" in refused(capsys, "sample", "m.fbm", "--output", "s.csv")
    report = said(capsys, "sample", "m.fbm", "--output", "s.npz", "--seed", "1")
    assert report["shape"] == {"a": [10, 3], "b": [10, 3]}
    drawn = fb.load("m.fbm").sample(10, random_state=1)
    with np.load("s.npz") as found:
        for g in "ab":
            np.testing.assert_array_equal(found[g], drawn[g])


def test_names_of_columns_are_kept_and_compared(capsys):
    """Catches columns that are taken by their order alone, and so scored under other names."""
    said(capsys, "train", "x.parquet", "--output", "m.fbm", *SET)
    said(capsys, "sample", "m.fbm", "--output", "s.parquet")
    assert parquet.read_table("s.parquet").column_names == list("abcdef")
    said(capsys, "sample", "m.fbm", "--output", "s.csv")
    with open("s.csv") as file:
        assert file.readline() == "a,b,c,d,e,f\n"
    parquet.write_table(parquet.read_table("x.parquet").select(list("bacdef")), "turned.parquet")
    error = refused(capsys, "score", "m.fbm", "turned.parquet")
    assert "Feature names must be in the same order as they were in fit." in error


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "parquet"])
def test_scores_of_single_rows_are_written(ending, capsys):
    said(capsys, "train", "x.npy", "--output", "m.fbm", *SET)
    name = f"rows.{ending}"
    assert said(capsys, "score", "m.fbm", "x.npy", "--output", name)["file"] == name
    if ending == "csv":
        rows = np.loadtxt(name, skiprows=1)
    elif ending == "parquet":
        rows = parquet.read_table(name).column("log_likelihood").to_numpy()
    else:
        rows = np.load(name) if ending == "npy" else np.load(name)["X"]
    wanted = fb.load("m.fbm").score_samples(X)
    np.testing.assert_allclose(rows, wanted, rtol=1e-8 if ending == "csv" else 0)


def test_probabilities_of_classes_are_written_under_their_names(capsys):
    said(capsys, "train", "xy.npz", "--model", "RBMClassifier", "--output", "m.fbm", *SET)
    said(capsys, "score", "m.fbm", "xy.npz", "--output", "p.parquet")
    table = parquet.read_table("p.parquet")
    assert table.column_names == ["few", "many"]
    np.testing.assert_array_equal(np.asarray(table), fb.load("m.fbm").predict_proba(X))


@pytest.mark.parametrize(
    "command",
    [
        ("train", "x.parquet", "--output", "n.fbm"),
        ("score", "m.fbm", "x.parquet"),
        ("sample", "m.fbm", "--output", "s.parquet"),
    ],
)
def test_parquet_without_pyarrow_says_what_brings_it(command, capsys, monkeypatch, folder):
    said(capsys, "train", "x.npy", "--output", "m.fbm", *SET)
    before = sorted(os.listdir(folder))
    for name in [k for k in sys.modules if k.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = refused(capsys, *command)
    assert error == (
        'fastboltz: files of Parquet need pyarrow, which pip install "fastboltz[parquet]" brings.\n'
    )
    assert sorted(os.listdir(folder)) == before


def _odd(name, column):
    parquet.write_table(pa.table({"a": [1.0, 2.0], "b": column}), name)


def test_parquet_that_is_no_table_of_numbers_gets_a_sentence(capsys):
    _odd("words.parquet", ["x", "y"])
    _odd("gaps.parquet", pa.array([True, None]))
    train = ("train", "{}", "--output", "m")
    labels = ("--model", "RBMClassifier", "--labels")
    for arguments, sentence in [
        (("words.parquet",), "column 'b' has values of type string; expected numbers."),
        (("gaps.parquet",), "column 'b' has 1 missing values; fill them, or take"),
        (("xy.parquet", "--label-column", "isn"), "no column 'isn'. Did you mean 'is'?"),
        (("y.parquet", "--label-column", "is"), "'y.parquet' has no columns left"),
        (("x.npy", "--label-column", "is"), "--label-column names a column of a .parquet; 'x.np"),
        (("xy.parquet", "--label-column", "is", *labels, "y.csv"), "both name the labels"),
        (("x.npy", *labels, "x.parquet"), "has the columns 'a', 'b', 'c', 'd', 'e', 'f'; exp"),
    ]:
        assert sentence in refused(capsys, train[0], *arguments, *train[2:])
    with open("bad.parquet", "wb") as file:
        file.write(b"PAR1 and no more")
    assert "cannot read 'bad.parquet' as .parquet (" in refused(
        capsys, "train", "bad.parquet", "--output", "m"
    )


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
    assert "interrupted after update 4" in err  # the fifth was given up
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
        ("train x.txt --output m", "'x.txt': expected a name that ends in one of .npy, .np"),
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
        (
            "sample no.fbm --output s.txt",
            "expected a name that ends in one of .npy, .npz, .csv, .p",
        ),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_writes_nothing(arguments, sentence, capsys, folder):
    before = sorted(os.listdir(folder))
    error = refused(capsys, *arguments.split())
    assert error.startswith("fastboltz: ")
    assert sentence in error
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize(
    ("arguments", "lost"),
    [
        ("train x.npy --output x.npy", "x.npy"),
        ("train x.npy --output ./link.fbm", "x.npy"),
        ("train x.npy --output n.fbm --checkpoint x.npy", "x.npy"),
        ("train x.npy --labels y.csv --model RBMClassifier --output y.csv", "y.csv"),
        ("sample m.npz --output m.npz", "m.npz"),
        ("score m.fbm x.npy --output x.npy", "x.npy"),
        ("score m.npz x.npy --output m.npz", "m.npz"),
        ("score m.fbm x.npy --labels y.npy --output y.npy", "y.npy"),
    ],
)
def test_an_output_that_is_an_input_is_refused(arguments, lost, capsys, folder):
    """Catches data that a command reads and then overwrites."""
    said(capsys, "train", "x.npy", "--output", "m.fbm", *SET)
    (folder / "m.npz").write_bytes((folder / "m.fbm").read_bytes())
    (folder / "link.fbm").symlink_to("x.npy")
    np.save("y.npy", np.arange(len(X)))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    error = refused(capsys, *arguments.split())
    assert f"this is the file {lost!r}, which is read here and would be overwritten" in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_pickled_data_are_not_loaded(capsys, folder):
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot read 'objects.npy' as .npy" in refused(
        capsys, "train", "objects.npy", "--output", "m"
    )


HELP = ("", "demo", "train", "sample", "score", "inspect", "bench", "bench scaling")


@pytest.mark.parametrize("command", HELP)
def test_help_shows_an_example_that_can_be_read(command, capsys):
    """Catches an option in an example that is none."""
    with pytest.raises(SystemExit) as end:
        cli.main([*command.split(), "--help"])
    assert end.value.code == 0
    parts = [" ".join(part.split()) for part in capsys.readouterr().out.split("\n\n")]
    (example,) = [part.partition("Example: ")[2] for part in parts if "Example: " in part]
    words = example.removeprefix("mpiexec -n 2 ").split()
    assert words.pop(0) == "fastboltz"
    assert words[: len(command.split())] == command.split()
    assert cli._parser().parse_args(words).run


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert all(re.search(rf"^ +{name.split()[0]} ", out, re.M) for name in HELP if name)
