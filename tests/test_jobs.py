"""Work in several processes: the same numbers wherever a task lands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import threadpoolctl
from saved_models import LABELS, SQUARE, X
from sklearn.model_selection import GridSearchCV

import fastboltz as fb
from fastboltz import likelihood, threads

OPTIONS = {"betas": 40, "n_chains": 150, "random_state": 3}


def _binary():
    energy = fb.Energy({"v": fb.Bernoulli(9), "h": fb.Bernoulli(7)}, ["v_i h_j"])
    return energy, energy.init(random_state=0, scale=0.5)


def _general():
    units = {"v": fb.Bernoulli(5), "y": fb.Categorical(1, 3), "h": fb.Bernoulli(4)}
    energy = fb.Energy(units, ["v_i h_j", "y_ab h_j"])
    return energy, energy.init(random_state=0, scale=0.5, dtype=np.float64)


@pytest.mark.parametrize("make", [_binary, _general])
@pytest.mark.parametrize("samples", [False, True])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_annealing_is_the_same_for_every_number_of_workers(make, samples):
    """Catches chains that are numbered anew in every task, and samples that are cut otherwise."""
    energy, params = make()
    given = {"samples": energy.sample(params, 150, random_state=1)} if samples else {}
    plain = likelihood.ais(energy, params, **OPTIONS, **given)
    one = likelihood.ais(energy, params, **OPTIONS, **given, n_jobs=1)
    two = likelihood.ais(energy, params, **OPTIONS, **given, n_jobs=2)
    with joblib.parallel_config("threading"):
        three = likelihood.ais(energy, params, **OPTIONS, **given, n_jobs=3)
    assert one == two == three
    if make is _binary:
        assert one == plain
    np.testing.assert_allclose(one.value, plain.value, rtol=1e-9)


#: Of every row other units are known.
KNOWN = np.where(np.random.default_rng(5).random((150, 6)) < 0.5, np.resize(X, (150, 6)), np.nan)
SAMPLED = {
    "RBM": (fb.RBM(4), (X,), {}),
    "held": (fb.RBM(4), (X,), {"given": KNOWN}),
    "labels": (fb.RBMClassifier(4), (X, LABELS), {"label": "many"}),
    "three groups": (fb.DeepBoltzmannMachine((4, 3)), (X,), {}),
    "lateral": (fb.HigherOrderBoltzmannMachine(n_hidden=2, edges=SQUARE), (X,), {}),
    "switches": (fb.PointwiseGatedRBM((3, 2)), (X,), {}),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_are_the_same_for_every_number_of_workers(name):
    """Catches chains that are numbered anew in every task, and rows that change their order."""
    model, data, options = SAMPLED[name]
    model = model.set_params(n_iter=2, random_state=0).fit(*data)
    options = options | {"n_samples": 150, "n_steps": 5, "random_state": 7}
    plain = _arrays(model.sample(**options))
    one = _arrays(model.sample(**options, n_jobs=1))
    with joblib.parallel_config("threading"):
        three = _arrays(model.sample(**options, n_jobs=3))
    assert len({x.tobytes() for x in plain[0]}) > 2
    for x, y, z in zip(plain, one, three, strict=True):
        assert x.shape == y.shape
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(y, z)
        # No draw of these seeds comes so near to its probability that rounding decides.
        np.testing.assert_array_equal(x, y)


def test_all_chains_decide_whether_tasks_sweep_on_bits():
    """Of 20,000 chains sums are made on bits, of the 64 of a task alone they would not be; some
    draws then turn out otherwise, as floats that cancel lose digits that bits keep."""
    w = np.random.default_rng(0).normal(size=(30, 40), scale=0.6).astype(np.float32)
    w[:, 0] = 60
    visible = np.where(np.arange(40) == 0, 50, 0).astype(np.float32)
    rbm = fb.RBM.from_arrays(w, np.full(30, -60, np.float32), visible)
    plain, tasks = (rbm.sample(20_000, 3, random_state=1, n_jobs=n) for n in (None, 1))
    np.testing.assert_array_equal(plain, tasks)
    assert 0.2 < plain[:, 1:].mean() < 0.8


def test_real_samples_differ_by_rounding_at_most_and_y_is_drawn_for_every_x():
    grey = np.random.default_rng(0).normal(size=(150, 6)).astype(np.float32)
    rbm = fb.RBM(4, visible="gaussian", n_iter=2, random_state=0).fit(grey)
    options = {"n_steps": 3, "random_state": 7}
    plain, two = (rbm.sample(150, **options, n_jobs=n) for n in (None, 2))
    np.testing.assert_allclose(two, plain, rtol=0, atol=1e-4)
    gated = fb.GatedRBM(4, n_iter=2, random_state=0).fit(X, X[:, ::-1].copy())
    many = np.resize(X, (130, X.shape[1])).astype(np.float32)
    plain, two = (gated.sample(many, **options, n_jobs=n) for n in (None, 2))
    np.testing.assert_array_equal(two, plain)


def test_what_looks_at_all_chains_is_not_taken_apart():
    rbm = fb.RBM(4, n_iter=1, random_state=0).fit(X)
    for options in ({"method": "tempered"}, {"return_info": True}):
        with pytest.raises(ValueError, match="n_jobs=2 takes chains apart"):
            rbm.sample(3, **options, n_jobs=2)


def test_workers_of_a_grid_share_the_cores(monkeypatch):
    """Catches workers each of which uses every core."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)

    # Not of this module, which workers cannot import: so it travels by its value.
    class ThreadsSeen(fb.RBM):
        def score(self, X, y=None):
            pools = (pool["num_threads"] for pool in threadpoolctl.threadpool_info())
            return float(max(threads.resolve(self.n_threads), *pools))

    rbm = ThreadsSeen(2, n_iter=1, random_state=0)
    grid = GridSearchCV(rbm, {"l2": [0, 1e-4]}, cv=2, n_jobs=2, refit=False).fit(X)
    share = max(1, joblib.cpu_count() // 2)
    assert grid.cv_results_["mean_test_score"].tolist() == [share, share]


FORKED = """
import multiprocessing, sys
import joblib, numpy as np
import fastboltz as fb
from fastboltz import threads
X = (np.random.default_rng(0).random((500, 300)) < 0.3).astype(np.float32)
def train(n_threads):
    rbm = fb.RBM(200, n_iter=1, batch_size=500, n_threads=n_threads, random_state=0).fit(X)
    return rbm.components_.tobytes(), rbm.sample(200, 2, random_state=1).tobytes()
def seen(n_threads):
    return threads.resolve(n_threads)
expected = train(2)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(train, [None, 2]).get(60) == [expected] * 2
    assert pool.map_async(seen, [None, 2]).get(60) == [1, 1]
with joblib.parallel_config("multiprocessing", n_jobs=2):
    tasks = [joblib.delayed(train)(n) for n in (None, 2)]
    assert joblib.Parallel(timeout=60)(tasks) == [expected] * 2
assert train(2) == expected and seen(2) == 2
print("done")
"""

COUNTED = """
import os
from threadpoolctl import threadpool_limits
from fastboltz import threads
from fastboltz.config import config
assert threads.resolve(None) == config()["n_threads"] == len(os.sched_getaffinity(0))
for limits in (1, {"openmp": 1}):
    with threadpool_limits(limits):
        assert threads.resolve(None) == 1
        assert threads.resolve(3) == 3
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
assert threads.resolve(None) == 1
print("done")
"""


def _run(script, **options):
    """What a process of its own says, which has the cores of all."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(fb.__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_workers_do_not_wait_for_threads_that_stayed_behind(tmp_path):
    """Catches workers that ask for OpenMP's threads, which only the parent has: they would hang."""
    assert _run(FORKED, cwd=tmp_path) == "done"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs the affinity of Linux")
def test_the_number_of_threads_follows_the_cores_and_the_limits_of_threadpoolctl(tmp_path):
    """Catches a number that is read once, or that knows of one of the two alone."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count()))
    try:
        assert _run(COUNTED, cwd=tmp_path) == "done"
    finally:
        os.sched_setaffinity(0, cores)


def _arrays(sampled):
    return [np.asarray(x) for x in (sampled if isinstance(sampled, tuple) else (sampled,))]


@pytest.mark.filterwarnings("ignore")
def test_annealing_sampling_and_grids_run_on_dask():
    distributed = pytest.importorskip("distributed")
    rbm = fb.RBM(4, n_iter=2, random_state=0).fit(X)
    alone = rbm.log_partition("ais", **OPTIONS)
    drawn = rbm.sample(150, 5, random_state=1)
    grid = GridSearchCV(fb.RBM(n_iter=2, random_state=0), {"n_components": [2, 4]}, cv=2, n_jobs=2)
    scores = grid.fit(X).cv_results_["mean_test_score"]
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2}
    with (
        distributed.Client(**options, dashboard_address=None),
        joblib.parallel_config("dask"),
    ):
        assert rbm.log_partition("ais", **OPTIONS, n_jobs=2) == alone
        np.testing.assert_array_equal(rbm.sample(150, 5, random_state=1, n_jobs=2), drawn)
        there = grid.fit(X).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(there, scores)
