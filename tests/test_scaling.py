"""Scaling: the model finds what made-up timings were made of, and the command measures."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import timings
from test_distributed import COMMAND, MPIEXEC, finish, start

import fastboltz as fb
from fastboltz import cli, scaling
from fastboltz.scaling import CostModel, Run

SMALL = ("--visible", "40", "--hidden", "20", "--batch-size", "16", "--seconds", "0")

# ---------------------------------------------------------------------------------------- the model


def coefficients(model):
    return model.compute, model.fixed, model.per_byte, model.latency


@pytest.mark.parametrize(
    "cost",
    [timings.COST, (1e-5, 0.0, 1e-9, 0.0), (2e-7, 1e-2, 0.0, 3e-5), (5e-6, 1e-6, 4e-11, 1e-6)],
)
@pytest.mark.parametrize("workers", [(1, 2), (1, 2, 3), (1, 2, 4, 8)])
def test_the_model_finds_the_coefficients_of_made_up_timings(cost, workers):
    """Catches a term left out or of another form, and columns of unlike size not scaled."""
    model = timings.of_ranks(workers, cost).model()
    np.testing.assert_allclose(coefficients(model), cost, rtol=1e-9, atol=1e-18)
    assert model.error < 1e-9
    for n in (1, 2, 5, 64):
        expected = timings.seconds(1000, n, timings.N_BYTES, cost)
        assert model.seconds(1000, n, timings.N_BYTES) == pytest.approx(expected, rel=1e-9)


def test_no_coefficient_is_negative_and_the_error_is_told():
    """Rows that cost less the more there are."""
    runs = [Run(1, 64, 0, (1.0,)), Run(1, 16, 0, (2.0,))]
    model = CostModel.fit(runs)
    assert model.compute == 0
    # The f that minimises (f / 1 - 1)**2 + (f / 2 - 1)**2.
    assert model.fixed == pytest.approx(1.2)
    assert model.error == pytest.approx(0.4)


def test_threads_send_nothing_and_a_network_can_be_given():
    made_up = timings.of_threads((1, 2, 4))
    row, fixed, byte, doubling = timings.COST
    model = made_up.model()
    assert (model.compute, model.fixed) == pytest.approx((row / 4, fixed), rel=1e-9)
    assert np.isnan([model.per_byte, model.latency]).all()
    assert not model.has_network
    assert np.isnan(model.seconds(64, 2, timings.N_BYTES))
    model = made_up.model(1 / byte, doubling)
    assert coefficients(model) == pytest.approx((row / 4, fixed, byte, doubling), rel=1e-9)
    (one, many) = made_up.predict(model, [1, 8])
    cost = (row / 4, fixed, byte, doubling)
    assert one["strong"]["seconds"] == pytest.approx(timings.seconds(64, 1, 0, cost))
    expected = timings.seconds(8 * 64, 8, timings.N_BYTES, cost)
    assert many["weak"]["seconds"] == pytest.approx(expected)
    assert many["weak"]["speed_up"] == pytest.approx(8 * one["weak"]["seconds"] / expected)
    sent = expected - timings.seconds(64, 1, 0, cost)
    assert many["weak"]["communication"] == pytest.approx(sent / expected)


@pytest.mark.parametrize("rows", [8, 300, 5000])
@pytest.mark.parametrize("cost", [timings.COST, (1e-5, 1e-5, 1e-9, 3e-6), (1e-3, 0.0, 1e-12, 1e-8)])
def test_scaling_ends_where_counting_says(cost, rows):
    model = CostModel(*cost)
    n_bytes = 10_000
    total = {n: timings.seconds(rows, n, n_bytes, cost) for n in range(1, rows + 1)}
    sent = {n: timings.seconds(0, n, n_bytes, cost) for n in total}
    half = next((n for n in total if sent[n] >= total[n] / 2), None)
    assert model.half(rows, n_bytes) == half
    assert model.fastest(rows, n_bytes) == min(total, key=total.get)


def test_places_where_scaling_ends_are_said():
    made_up = timings.of_ranks()
    ends, never = CostModel(1e-5, 1e-5, 1e-8, 1e-5), CostModel(1e-5, 1e-3, 0.0, 1e-9)
    half, best = ends.half(64, made_up.n_bytes), ends.fastest(64, made_up.n_bytes)
    assert scaling.breaks(made_up, ends) == (
        f"With 64 rows in a minibatch, half the time is communication at {half} ranks, and more "
        f"than {best} make an update slower."
    )
    assert scaling.breaks(made_up, never) == (
        "With 64 rows in a minibatch, communication takes less than half the time at every number "
        "of ranks, up to one a row."
    )
    text = scaling.describe(made_up, made_up.model())
    assert "measure on an idle machine" not in text
    assert "a network takes the place of shared memory" in text
    wrong = CostModel(*timings.COST, error=0.3)
    assert "30% of a run's time:\n  too much to predict with" in scaling.describe(made_up, wrong)
    assert "they take turns" not in text
    crowded = replace(made_up, machine=made_up.machine | {"cores": 1})
    assert "There are 2 threads for 1 core: they take turns" in scaling.describe(crowded, wrong)


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ([timings.run(1, 64), timings.run(2, 128)], "do not tell computing, fixed work"),
        (
            [timings.run(1, 64), timings.run(1, 16), timings.run(2, 64, 800)],
            "exchanges of few and of many bytes",
        ),
        ([], "whose seconds are above 0"),
        ([Run(1, 64, 0, (0.0,))], "whose seconds are above 0"),
    ],
)
def test_runs_that_do_not_determine_the_model_are_refused(runs, sentence):
    with pytest.raises(ValueError, match=sentence):
        CostModel.fit(runs)


# ------------------------------------------------------------------------------------ the measuring


def test_speed_ups_are_medians_of_quotients_within_rounds():
    """The machine slows down from round to round: medians of each alone would say otherwise."""
    times = {(1, 64): (1.0, 2.0, 9.0), (2, 64): (0.5, 2.0, 3.0), (2, 128): (1.0, 4.0, 10.0)}
    runs = tuple(Run(n, rows, 0, t) for (n, rows), t in times.items())
    made_up = scaling.Scaling("thread", 40, 20, 64, 1, 5, runs, None, {"cores": 1})
    assert made_up.is_crowded
    strong, weak = made_up.table("strong"), made_up.table("weak")
    assert [row["speed_up"] for row in strong] == [1, 2]  # of 2, 1 and 3
    assert [row["efficiency"] for row in strong] == [1, 1]
    assert [row["speed_up"] for row in weak] == [1, 2 * 0.9]  # of 1, 0.5 and 0.9
    assert [row["efficiency"] for row in weak] == [1, 0.9]
    assert [row["rows"] for row in weak] == [64, 128]
    assert [row["rows_per_second"] for row in strong] == [32, 32]


def test_every_size_is_timed_once_a_round_in_turn(monkeypatch):
    """Catches sizes timed one after the other, the first pass counted, and seconds of passes taken
    for those of updates."""
    fits = []

    class Clock:
        """An RBM whose second pass takes 1 s an update for each row of a thread."""

        def __init__(self, n_hidden, *, batch_size, n_iter, n_threads, random_state):
            assert (n_hidden, n_iter) == (20, 2)
            self.size = n_threads, batch_size

        def fit(self, X, comm):
            n_threads, rows = self.size
            assert comm is None
            assert X.shape[1] == 40
            assert set(np.unique(X)) == {0, 1}
            updates, rest = divmod(len(X), rows)
            assert rest == 0
            fits.append((self.size, updates))
            self.history_ = {"seconds": [1000.0, 1000.0 + updates * rows / n_threads]}

    monkeypatch.setattr("fastboltz.models.RBM", Clock)
    found = scaling.measure_threads([2, 1], n_visible=40, n_hidden=20, batch_size=64, seconds=0)
    one_round = [(1, 64), (2, 64), (2, 128), (1, 16)]
    assert [size for size, _ in fits] == one_round * 4  # once for nothing, and three times
    assert {updates for _, updates in fits[4:]} == {found.updates}
    assert {(r.workers, r.rows): r.seconds for r in found.runs} == {
        (n, rows): (rows / n,) * 3 for n, rows in one_round
    }
    assert found.table("strong")[1]["speed_up"] == 2
    assert found.table("weak")[1]["efficiency"] == 1
    assert found.model().compute == pytest.approx(1 / 2)  # with both threads


def test_a_rank_makes_its_share_of_the_rows(monkeypatch):
    given = []

    class Clock:
        def __init__(self, *arguments, **options):
            pass

        def fit(self, X, comm):
            given.append((X, comm))
            self.history_ = {"seconds": [1.0, 4.0]}

    monkeypatch.setattr("fastboltz.models.RBM", Clock)
    ranks = [SimpleNamespace(rank=rank, size=3) for rank in range(3)]
    for comm in ranks:
        assert scaling._seconds_of_update(40, 20, 5, 2, 1, comm) == 3 / 2
    assert [comm for _, comm in given] == ranks
    assert [len(X) for X, _ in given] == [3, 3, 4]
    assert not np.array_equal(given[0][0], given[1][0])


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="batch_size is 4, but there are 5 threads; give each"):
        scaling.measure_threads([5], batch_size=4)
    with pytest.raises(ValueError, match="workers is empty; give the numbers of threads"):
        scaling.measure_threads([])
    with pytest.raises(ValueError, match="batch_size must be a whole number >= 4; got 3"):
        scaling.measure_threads([1], batch_size=3)
    with pytest.raises(ValueError, match="bandwidth must be > 0; got 0"):
        CostModel(1.0, 1.0).with_network(0, 1)


# -------------------------------------------------------------------------------------- the command


def test_the_command_measures_threads(capsys, tmp_path):
    picture = tmp_path / "scaling.png"
    command = ["bench", "scaling", *SMALL, "--threads", "1,2", "--plot", str(picture)]
    assert cli.main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert report["machine"]["kernel"] == fb.config.config()["kernel"]
    sizes = [(run["workers"], run["rows"]) for run in report["runs"]]
    assert sizes == [(1, 16), (2, 16), (2, 32), (1, 4)]
    assert all(0 < s < 10 for run in report["runs"] for s in run["seconds"])
    assert all(len(run["seconds"]) == 3 for run in report["runs"])
    assert [row["workers"] for row in report["strong"]] == [1, 2]
    assert report["model"]["latency"] is None
    assert "predicted" not in report

    assert cli.main([*command, "--bandwidth", "10", "--latency", "2"]) == 0
    out = capsys.readouterr().out
    assert "Strong scaling: 16 rows in a minibatch" in out
    assert "Weak scaling: 16 rows for each thread" in out
    assert "10 GB/s (given" in out
    assert "2 us a doubling" in out
    assert [line.split()[0] for line in out.split("strong ms")[1].splitlines()[1:8]] == [
        "1", "2", "4", "8", "16", "32", "64",
    ]  # fmt: skip
    assert f"Picture: {picture}." in out


def test_the_command_measures_ranks(tmp_path):
    """Two ranks, whose sums are timed too; one of them speaks."""
    pytest.importorskip("mpi4py")
    assert MPIEXEC, "mpi4py is installed, but there is no mpiexec; install mpich"
    program = COMMAND.format(path=[p for p in sys.path if p])
    words = ["bench", "scaling", "--mpi", "--json", "--plot", "ranks.png", *SMALL]
    process = start(2, sys.executable, "-c", program, *words, cwd=tmp_path)
    status, out, err = finish(process)
    assert status == 0, err
    report = json.loads(out)
    assert (tmp_path / "ranks.png").is_file()
    n_bytes = fb.distributed.statistics_bytes(40, 20)
    sizes = {(run["workers"], run["rows"], run["n_bytes"]) for run in report["runs"]}
    assert sizes == {
        *((1, 16, 0), (2, 16, n_bytes), (2, 32, n_bytes), (1, 4, 0)),
        *((2, 0, fb.distributed.statistics_bytes(1, 1)), (2, 0, n_bytes)),
    }
    assert all(0 < s < 10 for run in report["runs"] for s in run["seconds"])
    assert 0 < report["alone"]["seconds"][0] < 10
    assert report["machine"]["machines"] == 1
    assert report["machine"]["mpi"]
    assert [row["workers"] for row in report["predicted"]] == [1, 2, 4, 8, 16, 32, 64]
    assert report["breaks"].startswith("With 16 rows in a minibatch, ")
    assert all(x >= 0 and math.isfinite(x) for x in report["model"].values())


def test_each_number_of_ranks_has_a_communicator_of_its_own(tmp_path):
    """And the slowest of its ranks counts; others wait."""
    pytest.importorskip("mpi4py")
    clock = (
        "from fastboltz import scaling\n"
        "def clock(n_visible, n_hidden, rows, updates, n_threads, comm):\n"
        "    size, rank = (comm.size, comm.rank) if comm is not None else (0, 0)\n"
        "    return 1000.0 * size + 10 * rows + rank + n_threads / 10\n"
        "scaling._seconds_of_update = clock\n"
    )
    program = clock + COMMAND.format(path=[p for p in sys.path if p])
    words = ["bench", "scaling", "--mpi", "--json", "--threads", "2", *SMALL]
    process = start(3, sys.executable, "-c", program, *words, cwd=tmp_path)
    status, out, err = finish(process)
    assert status == 0, err
    report = json.loads(out)
    found = {(r["workers"], r["rows"]): r["seconds"] for r in report["runs"] if r["rows"]}
    sizes = [(1, 16), (2, 16), (3, 16), (2, 32), (3, 48), (1, 4)]
    expected = {(n, rows): [1000 * n + 10 * rows + n - 1 + 0.2] * 3 for n, rows in sizes}
    assert found == expected
    assert report["alone"]["seconds"] == [160.2] * 3
    assert report["n_threads"] == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--bandwidth 3", "--bandwidth and --latency are those of one network; give both."),
        ("--bandwidth 0 --latency 1", "expected gigabytes a second, above 0; got 0."),
        ("--plot x.txt", "--plot 'x.txt': expected a name that ends in one of .png"),
        ("--plot no/x.png", "--plot 'no/x.png': there is no folder 'no'; make it first."),
        ("--batch-size 4 --threads 5", "batch_size is 4, but there are 5 threads"),
    ],
)
def test_bad_arguments_get_a_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "scaling", *SMALL, *words.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fastboltz: ")
    assert sentence in captured.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--threads 1,0", "expected a whole number >= 1; got '0'"),
        ("--threads 1,1025", "expected a whole number <= 1024; got '1025'"),
        ("--threads x", "expected a whole number >= 1; got 'x'"),
        ("--seconds -1", "expected a number >= 0; got '-1'"),
        ("--latency inf", "expected a number >= 0; got 'inf'"),
    ],
)
def test_words_that_are_no_numbers_get_a_sentence(words, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "scaling", *words.split()])
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


def test_ranks_and_threads_are_not_mixed_up(capsys, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "3")
    assert cli.main(["bench", "scaling"]) == 2
    assert "mpiexec started 3 ranks, and without --mpi each would time threads" in (
        capsys.readouterr().err
    )


def test_several_numbers_of_threads_of_a_rank_are_refused(capsys):
    pytest.importorskip("mpi4py")
    assert cli.main(["bench", "scaling", "--mpi", "--threads", "1,2", *SMALL]) == 2
    assert "with --mpi, expected one number, of each rank; got [1, 2]" in capsys.readouterr().err


# -------------------------------------------------------------------------------------- the picture


def test_the_picture_shows_the_table_and_the_model():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    made_up = timings.of_ranks((1, 2, 4))
    display = fb.plots.ScalingDisplay.from_scaling(made_up)
    for line, curve, kind, what in zip(
        display.measured_, display.predicted_, ("strong", "weak"), ("speed_up", "efficiency"),
        strict=True,
    ):  # fmt: skip
        table = made_up.table(kind)
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 4])
        np.testing.assert_allclose(line.get_ydata(), [row[what] for row in table])
        # These timings are the model's own.
        assert len(curve.get_xdata()) == 64
        at_measured = np.asarray(curve.get_ydata())[[0, 1, 3]]
        np.testing.assert_allclose(at_measured, line.get_ydata(), rtol=1e-9)
    assert fb.plots.ScalingDisplay.from_scaling(timings.of_threads()).predicted_ == []
    plt.close("all")
