"""The command line: what it prints is what the models say, and what goes wrong is said cleanly."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.neural_network import BernoulliRBM as SklearnRBM

import fastboltz as fb
from fastboltz import cli
from fastboltz.datasets import load_digits

#: -P: what is installed, not the folder that the tests were started in.
PYTHON = (sys.executable, "-P")
#: 2**8 hidden states are enumerated, 2**24 are not.
SMALL, LARGE = 8, 24


def settings(n_components, seed=3):
    numbers = {"--n-iter": 2, "--n-components": n_components, "--seed": seed, "--threads": 1}
    return ["demo", *(str(part) for pair in numbers.items() for part in pair)]


def run(capsys, *arguments):
    status = cli.main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def command(*arguments, **kwargs):
    return subprocess.run(
        [*PYTHON, "-m", "fastboltz.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        **kwargs,
    )


def refused(capsys, *arguments):
    """The complaint of a call that argparse or the command itself turns down."""
    try:
        status = cli.main(list(arguments))
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    assert status == 2 and not captured.out
    return captured.err


def check_png(path):
    """Catches an empty, cut off or blank picture."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.rstrip().endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", content[16:24])
    assert 600 <= width <= 4000 and 200 <= height <= 2000
    from matplotlib import image

    pixels = image.imread(path)[..., :3]
    assert pixels.shape == (height, width, 3)
    assert pixels.std() > 0.1 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


# -------------------------------------------------------------------------------------- the figures


@pytest.mark.parametrize("n_components", [SMALL, LARGE])
def test_json_holds_the_figures_of_the_model(n_components, capsys):
    """Everything of the first model, computed again from a model with the same arguments."""
    status, out, err = run(capsys, *settings(n_components), "--json", "--no-picture")
    assert status == 0 and not err
    report = json.loads(out)
    train, test = load_digits()
    rbm = fb.RBM(n_components, n_iter=2, batch_size=report["batch_size"], random_state=3)
    rbm.fit(train.X)
    likelihood = report["log_likelihood"]
    assert likelihood["value"] == pytest.approx(rbm.score(test.X), rel=1e-9)
    assert report["pseudo_likelihood"] == pytest.approx(
        rbm.pseudo_likelihood(test.X).mean(), rel=1e-9
    )
    log_z = rbm.log_partition_
    energy = rbm.free_energy(test.X).mean()
    assert likelihood["low"] == pytest.approx(-energy - log_z.high, rel=1e-9)
    assert likelihood["high"] == pytest.approx(-energy - log_z.low, rel=1e-9)
    assert report["log_partition"]["method"] == ("exact" if n_components == SMALL else "ais")
    width = likelihood["high"] - likelihood["low"]
    assert (width == 0) == (n_components == SMALL)
    error = rbm.score_samples(test.X).std(ddof=1) / np.sqrt(len(test))
    assert likelihood["standard_error_of_images"] == pytest.approx(error, rel=1e-6)
    assert (report["n_train"], report["n_test"]) == (len(train), len(test))
    assert report["picture"] is None


def test_json_tells_the_likelihood_of_scikit_learns_model(capsys):
    """Against plain enumeration: catches weights handed over the wrong way round."""
    _, out, _ = run(capsys, *settings(SMALL), "--json", "--no-picture")
    report = json.loads(out)
    row = report["same_work"][2]
    train, test = load_digits()
    peer = SklearnRBM(
        SMALL, n_iter=2, batch_size=report["batch_size"], learning_rate=0.05, random_state=3
    ).fit(train.X)
    b, c, w = peer.intercept_visible_, peer.intercept_hidden_, peer.components_
    h = (np.arange(2**SMALL)[:, None] >> np.arange(SMALL)) & 1
    log_z = logsumexp(h @ c + np.logaddexp(0, b + h @ w).sum(axis=1))
    log_p = test.X @ b + np.logaddexp(0, c + test.X @ w.T).sum(axis=1) - log_z
    assert row["name"].startswith("sklearn")
    assert row["log_likelihood"]["value"] == pytest.approx(log_p.mean(), rel=1e-5)


def test_intervals_and_seconds_are_sane(capsys):
    _, out, _ = run(capsys, *settings(LARGE), "--json", "--no-picture")
    report = json.loads(out)
    rows = report["same_work"]
    assert [row["name"].split()[0] for row in rows] == [
        "fastboltz.RBM",
        "fastboltz.BernoulliRBM",
        "sklearn",
    ]
    for row in rows:
        value = row["log_likelihood"]
        assert value["low"] <= value["value"] <= value["high"]
        # Independent fair pixels would have -64 log 2; every model learns more than that.
        assert -64 * np.log(2) < value["value"] < 0
        assert -64 * np.log(2) < row["pseudo_likelihood"] < 0
        assert row["seconds"] > 0
    assert report["speed_up"] == pytest.approx(rows[2]["seconds"] / rows[1]["seconds"])
    assert report["total_seconds"] > sum(row["seconds"] for row in rows)


def test_printed_figures_are_those_of_json(capsys):
    _, out, _ = run(capsys, *settings(LARGE), "--json", "--no-picture")
    report = json.loads(out)
    status, text, err = run(capsys, *settings(LARGE), "--no-picture")
    assert status == 0 and "2/2" in err, "there is no progress bar"
    number = r"(-?\d+\.\d\d)"
    found = re.search(rf"log-likelihood +{number} +95 % \[{number}, {number}\]", text)
    value, low, high = map(float, found.groups())
    wanted = report["log_likelihood"]
    assert (value, low, high) == tuple(round(wanted[k], 2) for k in ("value", "low", "high"))
    (pseudo,) = re.findall(rf"^ +pseudo-likelihood +{number}$", text, re.M)
    assert float(pseudo) == round(report["pseudo_likelihood"], 2)
    for row in report["same_work"]:
        line = next(x for x in text.splitlines() if x.strip().startswith(row["name"] + " "))
        seconds, likelihood, pseudo = map(float, re.findall(number, line))
        assert seconds >= 0
        assert likelihood == round(row["log_likelihood"]["value"], 2)
        assert pseudo == round(row["pseudo_likelihood"], 2)
    assert set(report["sampling"]) == {"gibbs", "tempered"}
    for sampling in report["sampling"].values():
        assert sampling["verdict"] in " ".join(text.split()), "the samples' verdict is printed"
        assert sampling["mixed"] == (max(sampling["rhat"].values()) <= 1.05)
    is_mixed = report["sampling"]["gibbs"]["mixed"]
    assert report["shown"] == ("gibbs" if is_mixed else "tempered")
    tempered = report["sampling"]["tempered"]
    assert len(tempered["swap_rates"]) == tempered["n_levels"] - 1
    assert "No picture" in text and "{" not in text
    assert max(map(len, text.splitlines())) <= 90


def test_the_seed_counts_and_the_threads_do_not(capsys):
    def figures(*more):
        arguments = [
            "demo",
            "--n-iter",
            "2",
            "--n-components",
            "8",
            "--json",
            "--no-picture",
            *more,
        ]
        report = json.loads(run(capsys, *arguments)[1])
        return [row["log_likelihood"]["value"] for row in report["same_work"][:2]]

    one = figures("--seed", "1", "--threads", "1")
    assert figures("--seed", "1", "--threads", "2") == one
    assert figures("--seed", "2", "--threads", "1") != one


# -------------------------------------------------------------------------------------- the picture


def test_demo_as_a_command_writes_a_picture(tmp_path):
    done = command(*settings(SMALL), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "2/2" in done.stderr
    assert "Picture: digits.png" in done.stdout and "log-likelihood" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["digits.png"]
    check_png(tmp_path / "digits.png")


def test_output_names_the_picture_and_replaces_an_old_one(tmp_path, capsys):
    path = tmp_path / "new.png"
    path.write_text("old")
    status, out, _ = run(capsys, *settings(SMALL), "--json", "--output", str(path))
    assert status == 0 and json.loads(out)["picture"] == str(path)
    assert [path.name for path in tmp_path.iterdir()] == ["new.png"]
    check_png(path)


def test_an_svg_is_written_as_svg(tmp_path, capsys):
    path = tmp_path / "new.svg"
    assert run(capsys, *settings(SMALL), "--json", "--output", str(path))[0] == 0
    assert "<svg" in path.read_text()


def test_a_picture_that_fails_leaves_the_old_one_whole(tmp_path, capsys, monkeypatch):
    path = tmp_path / "digits.png"
    path.write_text("old")

    def full(figure, where, **kwargs):
        Path(where).write_text("half of a pic")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    err = refused(capsys, *settings(SMALL), "--json", "--output", str(path))
    assert "No space left on device" in err and str(path) in err
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_without_matplotlib_the_figures_come_all_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = tmp_path / "digits.png"
    status, out, _ = run(capsys, *settings(SMALL), "--output", str(path))
    assert status == 0 and not path.exists()
    assert 'pip install "fastboltz[plot]"' in out and "log-likelihood" in out


# --------------------------------------------------------------------------------------- complaints


@pytest.fixture
def no_training(monkeypatch):
    def fit(self, X, y=None):
        raise AssertionError("trained before the arguments were checked")

    monkeypatch.setattr(fb.RBM, "fit", fit)


@pytest.mark.usefixtures("no_training")
def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for name, sentence in {
        "nowhere/digits.png": "there is no folder",
        "file/digits.png": "there is no folder",
        "": "is a folder",
        ".": "is a folder",
        "digits.bmp": "one of .png, .svg, .pdf, .jpg",
        "digits": "one of .png, .svg, .pdf, .jpg",
        "d" * 300 + ".png": "cannot write there",
    }.items():
        where = str(tmp_path / name) if name else ""
        err = refused(capsys, *settings(SMALL), "--output", where)
        assert err.startswith("fastboltz: --output") and sentence in err
        assert err.count("\n") == 1


@pytest.mark.usefixtures("no_training")
def test_a_folder_without_permission_is_refused_before_training(tmp_path, capsys, monkeypatch):
    def touch(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", touch)
    err = refused(capsys, *settings(SMALL), "--output", str(tmp_path / "digits.png"))
    assert "Permission denied" in err and "--no-picture" in err


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--n-iter", "0"),
        ("--n-components", "x"),
        ("--seed", "-1"),
        ("--threads", "1.5"),
        ("--threads", "1025"),
    ],
)
def test_a_bad_number_is_told_what_was_expected(option, value, capsys):
    err = refused(capsys, "demo", f"{option}={value}")
    assert f"argument {option}: expected a whole number " in err and repr(value) in err


def test_a_command_that_does_not_exist_is_refused(capsys):
    assert "invalid choice: 'dmeo'" in refused(capsys, "dmeo")
    assert "COMMAND" in refused(capsys)


def test_version_and_help():
    assert command("--version").stdout == f"fastboltz {fb.__version__}\n"
    assert "demo" in command("--help").stdout
    assert "--n-components" in command("demo", "--help").stdout


# --------------------------------------------------------------------------------------- interrupts


def test_an_interrupt_ends_with_130_and_one_sentence(capsys, monkeypatch, tmp_path):
    def fit(self, X, y=None):
        raise KeyboardInterrupt("interrupted after update 7")

    monkeypatch.setattr(fb.RBM, "fit", fit)
    path = tmp_path / "digits.png"
    status, _, err = run(capsys, *settings(SMALL), "--output", str(path))
    assert status == 130
    assert err.strip() == "fastboltz: interrupted; nothing was written."
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_during_training_leaves_nothing_behind(tmp_path):
    # The handler is set by hand: a shell that runs tests in the background ignores the signal.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from fastboltz.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["demo", "--n-iter", "1000000", "--threads", "1"]
    with subprocess.Popen(
        [*PYTHON, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        try:
            first = process.stderr.read(1)  # of the progress bar: training is under way
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
    text = (first + err).decode()
    assert process.returncode == 130
    assert "Traceback" not in text and text.endswith("interrupted; nothing was written.\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are POSIX's")
def test_a_reader_that_leaves_early_is_no_traceback():
    arguments = [*PYTHON, "-m", "fastboltz.cli", *settings(SMALL), "--no-picture"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read().decode()
    assert process.returncode == 1
    assert "Traceback" not in err and "BrokenPipe" not in err


# ------------------------------------------------------------------------------------------ imports


@pytest.mark.parametrize(
    "module", ["fastboltz", "fastboltz.cli", "fastboltz.plots", "fastboltz.datasets"]
)
def test_imports_are_light(module):
    heavy = ["matplotlib", "numba", "sklearn", "tqdm", "scipy.stats"]
    program = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [*PYTHON, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
