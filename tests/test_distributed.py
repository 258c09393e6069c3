"""Trainings that processes share: the bytes of one process, and the ends of ranks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ranks

import fastboltz as fb
from fastboltz import cli, distributed
from fastboltz.training import Rows
from fastboltz_ext import packed

PROGRAM = Path(ranks.__file__)
HERE = Path(sys.executable).parent
MPIEXEC = shutil.which("mpiexec", path=f"{HERE}{os.pathsep}{os.environ.get('PATH', '')}")
#: Each rank imports what this process imports, wherever that is.
COMMAND = "import sys; sys.path[:0] = {path!r}; from fastboltz.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True, scope="module")
def mpi():
    pytest.importorskip("mpi4py")
    assert MPIEXEC, "mpi4py is installed, but there is no mpiexec; install mpich"


def start(n, *arguments, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    # There may be fewer cores than ranks: MPICH is told to give the core away where it waits.
    environment |= {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "MPIR_CVAR_POLLS_BEFORE_YIELD": "50"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [MPIEXEC, "-n", str(n), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


def finish(process, seconds=120):
    """Status and what was said; nothing is left running."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"still running after {seconds} s\n{out}\n{err}")
    return process.returncode, out, err


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """All that four ranks find out, in one run, and how an error of one of them ended it."""
    folder = tmp_path_factory.mktemp("ranks")
    status, out, err = finish(start(4, sys.executable, PROGRAM, "all", folder))
    end = time.time()
    lines = [line for line in out.splitlines() if line.startswith("{")]
    assert lines, err
    found = json.loads(lines[0])
    return found | {"error": (status, err), "seconds": end - found["ended"]}


# ----------------------------------------------------------------------------------- the same bytes


@pytest.mark.parametrize("name", ranks.CASES)
def test_one_to_four_ranks_learn_the_bytes_of_none(name, said):
    """Catches a rank's own numbers of rows or chains in random addresses, means over a rank's rows,
    sums that were rounded before they were added up, rows dealt out in another order, chains of
    ranks put together wrongly, seeds and moments of a rank alone."""
    options, x, sizes = ranks.CASES[name]
    runs = said["bytes"][name]
    assert [len(run) for run in runs] == list(sizes)
    expected = runs[0][0]
    if name != "no seed":
        expected = ranks.digest(ranks.model(options).fit(x))
    assert {one for run in runs for one in run} == {expected}


@pytest.mark.parametrize("machines", ranks.MACHINES)
@pytest.mark.parametrize("name", ranks.APART)
def test_machines_that_share_no_memory_learn_the_same_bytes(name, machines, said):
    """Catches a part of the weights that no rank updates or two do, parts put elsewhere by another
    machine, a rank without a part that makes no updates of biases and offsets."""
    found = said["machines"][f"{machines}, {name}"]
    assert len(found) == ranks.APART[name]
    options, x, _ = ranks.CASES[name]
    assert set(found) == {ranks.digest(ranks.model(options).fit(x))}


def test_real_data_differ_by_rounding_and_not_from_run_to_run(said):
    expected = ranks.model({}).fit(ranks.GREY)
    for n, run in said["grey"].items():
        assert len(run) == int(n)
        for same, digest, params in run:
            assert same
            assert digest == run[0][1]
            for key, x in expected.params_.items():
                # No draw of this seed comes so near to its probability that it flips.
                np.testing.assert_allclose(params[key], x, rtol=0, atol=2e-6)


def test_another_number_of_ranks_goes_on_with_the_same_bytes(said):
    """Ctrl-C that one of three ranks hears stops all within the pass; two go on, and a callback of
    one of them ends the training of both."""
    stopped, finished = said["resumed"]
    # What comes in the ninth update is told with the tenth.
    assert [update for _, update in stopped] == [10] * 3
    assert "Saved in" in stopped[0][0]
    assert all("interrupted after update 10 (epoch 1)" in text for text, _ in stopped)
    assert [n_iter for _, n_iter in finished] == [3, 3]
    end = [lambda progress: progress.state.epoch == 3]
    expected = ranks.digest(ranks.model({}, n_iter=4, callbacks=end).fit(ranks.X))
    assert {digest for digest, _ in finished} == {expected}


@pytest.mark.parametrize("name", ["all", "first", "machines", "resumed"])
def test_callbacks_of_all_ranks_or_the_first_see_what_they_see_without(name, said):
    """The same curve along the training, and the best weights put back. Catches ranks of which
    those that watch stop within an epoch and others do not, weights of other parts that are not
    looked at, states of a file for callbacks that a rank has not."""
    rbm = ranks.watched().fit(ranks.X)
    assert rbm.n_iter_ == 4
    assert np.isfinite(rbm.history_["averaged_log_likelihood"]).all()
    assert set(said["watched"][name]) == {ranks.digest(rbm)}


def test_callbacks_that_are_missing_are_told_to_all_ranks(said):
    for sentence in said["watched"]["missing"]:
        assert "ValueError: rank 0 of 2: the training had a callback" in sentence


# -------------------------------------------------------------------------------------- the command


def train(n, folder, *arguments):
    command = COMMAND.format(path=[p for p in sys.path if p])
    return start(
        n, sys.executable, "-c", command, "train", "x.npy", "--output", "m.fbm", "--mpi", "--json",
        *arguments, cwd=folder,
    )  # fmt: skip


def test_a_killed_rank_ends_the_job_and_fewer_go_on_with_the_same_bytes(tmp_path):
    np.save(tmp_path / "x.npy", ranks.X)
    begin = time.monotonic()
    status, *told = finish(start(3, sys.executable, PROGRAM, "die", tmp_path), 60)
    assert status != 0
    assert time.monotonic() - begin < 40  # importing and all
    assert any("signal 9" in text for text in told)  # mpiexec's own words
    # Nobody saves what a rank has not agreed to.
    assert fb.load(tmp_path / "c.fbm").n_iter_ == 3

    given = {"n_components": 19, "n_iter": 6, "batch_size": 16}
    options = [word for k, v in given.items() for word in ("--set", f"{k}={v}")]
    again = train(2, tmp_path, *options, "--seed", 1, "--checkpoint", "c.fbm", "--resume")
    status, out, err = finish(again)
    assert status == 0, err
    assert json.loads(out)["n_iter"] == 6
    assert json.loads(out)["n_rows"] == 103
    expected = ranks.digest(ranks.model({}, n_iter=6).fit(ranks.X))
    assert ranks.digest(fb.load(tmp_path / "m.fbm")) == expected


def test_an_error_of_one_rank_ends_the_job(said):
    status, err = said["error"]
    assert status != 0
    assert "OSError: no such luck" in err
    assert "rank 1 of 4 stopped with OSError" in err
    assert said["seconds"] < 20


def test_the_command_says_once_what_is_wrong(said):
    assert [(status, out) for status, out, _ in said["command"]] == [(2, "")] * 4
    first, *others = (err for *_, err in said["command"])
    assert "3 rows are too few for 4 ranks" in first
    assert others == [""] * 3


def test_the_command_does_not_learn_one_model_several_times(monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "3")
    assert cli.main(["train", "x.npy", "--output", "m.fbm"]) == 2
    assert "mpiexec started 3 ranks" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="belongs to another MPI"):
        distributed.world()
    assert cli.main(["train", "x.npy", "--output", "m.fbm", "--mpi"]) == 2
    assert "belongs to another MPI" in capsys.readouterr().err


def test_the_command_names_the_models_that_ranks_learn(capsys):
    assert cli.main(["train", "x.npy", "--output", "m", "--mpi", "--model", "RBMClassifier"]) == 2
    assert "RBMClassifier is not one of RBM, BernoulliRBM" in capsys.readouterr().err


# ------------------------------------------------------------------------------------ bad arguments


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("columns", "X has 37 columns of type float32 on rank 0, but 36 of type float32 on rank 1"),
        ("type", "X has 37 columns of type float32 on rank 0, but 37 of type float64 on rank 1"),
        ("empty", "rank 0 of 2: X has no rows; give every process at least one"),
        ("values", "rank 1 of 2: X has values in [3, 4]"),
        ("nan", "rank 0 of 2: Input X contains NaN"),
        ("arguments", "RBM has n_gibbs=1 on rank 0, but n_gibbs=2 on rank 1"),
        ("adam", "comm shares the updates of the compiled loop alone"),
        ("gaussian", "comm shares the updates of the compiled loop alone"),
        ("weights", "sample_weight has no place in a training that processes share"),
        ("checkpoint", "there is a checkpoint in"),
    ],
)
def test_every_rank_raises_the_sentence(name, sentence, said):
    found = said["refused"][name]
    assert len(found) == 2
    for text in found:
        assert sentence in text
        kind = "FileExistsError" if name == "checkpoint" else "ValueError"
        assert text.startswith(f"{kind}: ")


@pytest.mark.parametrize("comm", ["world", 4, object()])
def test_what_is_no_communicator_is_refused(comm):
    with pytest.raises(TypeError, match=r"comm must be a communicator of mpi4py"):
        ranks.model({}).fit(ranks.X, comm=comm)


def test_communicators_of_no_ranks_or_two_groups_are_refused():
    from mpi4py import MPI

    for comm in (
        MPI.COMM_NULL,
        MPI.INTERCOMM_NULL if hasattr(MPI, "INTERCOMM_NULL") else MPI.Intercomm(),
    ):
        with pytest.raises(TypeError, match="within one group of ranks"):
            ranks.model({}).fit(ranks.X, comm=comm)


# ---------------------------------------------------------------------------------------- the parts


def test_bytes_of_an_update_are_those_that_are_stated():
    for visible, hidden in ((784, 500), (37, 19), (1, 1), (64, 8)):
        w = np.zeros((hidden, visible), dtype=np.float32)
        loop = packed.PairLoop(
            w, w[0].copy(), w[:, 0].copy(), max_rows=4, n_chains=4, persistent=True, shared=True
        )
        data = np.zeros((4, -(-visible // 32)), dtype=np.uint32)
        for n_rows in (4, 3):
            sums = loop.share(data, np.arange(n_rows), first_row=0, n_rows=n_rows, n_chains=4)
            stated = distributed.statistics_bytes(visible, hidden, is_difference=n_rows == 4)
            assert sums.nbytes == stated


def test_moments_do_not_depend_on_the_order_of_rows():
    """Catches sums that are rounded on the way."""
    random = np.random.default_rng(2)
    for x in (ranks.GREY, 1e5 * random.standard_normal((3000, 5)), ranks.X - 1):
        one = Rows(x, x.shape[1:], x.dtype).moments()
        for _ in range(3):
            two = Rows(random.permutation(x), x.shape[1:], x.dtype).moments()
            assert [a.tobytes() for a in one] == [a.tobytes() for a in two]
        np.testing.assert_allclose(
            one[0], x.mean(axis=0, dtype=float), rtol=0, atol=1e-9 * abs(x).max()
        )
        np.testing.assert_allclose(one[1], (x.astype(float) ** 2).mean(axis=0), rtol=1e-9)
