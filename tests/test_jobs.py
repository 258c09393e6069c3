"""Work in several processes: the same numbers wherever a task lands."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from saved_models import X
from sklearn.model_selection import GridSearchCV

import fastboltz as fb
from fastboltz import likelihood

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


@pytest.mark.filterwarnings("ignore")
def test_annealing_and_grids_run_on_dask():
    distributed = pytest.importorskip("distributed")
    rbm = fb.RBM(4, n_iter=2, random_state=0).fit(X)
    alone = rbm.log_partition("ais", **OPTIONS)
    grid = GridSearchCV(fb.RBM(n_iter=2, random_state=0), {"n_components": [2, 4]}, cv=2, n_jobs=2)
    scores = grid.fit(X).cv_results_["mean_test_score"]
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2}
    with (
        distributed.Client(**options, dashboard_address=None),
        joblib.parallel_config("dask"),
    ):
        assert rbm.log_partition("ais", **OPTIONS, n_jobs=2) == alone
        there = grid.fit(X).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(there, scores)
