"""log Z carried along a training, against enumeration and against plain NumPy."""

from __future__ import annotations

import itertools
import json
import pickle
import signal
import warnings

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import binom

import fastboltz as fb
from fastboltz.callbacks import TrajectoryLikelihood
from fastboltz.carried import CarriedLogPartition, _Chains, _PackedChains
from fastboltz.objectives import LogLikelihood, Objective
from fastboltz.optimizers import SGD, Constant
from fastboltz.pair_loop import PairLoop
from fastboltz.training import Rows, Trainer, TrainingState

ENDS = ("", "_low", "_high")
COLUMNS = [f"{name}_log_likelihood{end}" for name in ("averaged", "current") for end in ENDS]


def least_hits(n, coverage=0.93):
    """Hits of n independent intervals of that coverage below which one experiment in 1000 falls."""
    return int(binom.ppf(1e-3, n, coverage))


def rows(n, d, seed=0, noise=0.05):
    """Noisy copies of three prototypes."""
    random = np.random.default_rng(seed)
    prototypes = np.random.default_rng(9).random((3, d)) < 0.5
    X = prototypes[random.integers(0, 3, n)] ^ (random.random((n, d)) < noise)
    return X.astype(np.float32)


def exact_log_z(w, b, c):
    """By enumeration of the hidden units, in plain NumPy; weights (hidden, visible)."""
    h = (np.arange(2 ** len(c))[:, None] >> np.arange(len(c))) & 1
    return logsumexp(h @ c + np.logaddexp(0, h @ w + b).sum(axis=1))


def exact_log_likelihood(params, X):
    w, b, c = (params[k].astype(np.float64) for k in ("h_j v_i", "v", "h"))
    return np.mean(X @ b + np.logaddexp(0, X @ w.T + c).sum(axis=1)) - exact_log_z(w, b, c)


# ------------------------------------------------------------------------------ log Z of a walk


UNITS = {
    "binary": (fb.Bernoulli(14), fb.Bernoulli(8), "h_j v_i"),
    "spins": (fb.Spin(12), fb.Bernoulli(8), "h_j v_i"),
    "categorical": (fb.Categorical(4, 3), fb.Bernoulli(7), "h_j v_ik"),
    "gaussian": (fb.Gaussian(5), fb.Bernoulli(8), "h_j v_i"),
}


def walk(units, seed, dtype=np.float32, n_steps=None):
    """A model that wanders off from independent units: its energy, the last models, log Z."""
    v, h, term = units
    energy = fb.Energy({"v": v, "h": h}, terms=[term])
    random = np.random.default_rng(seed)
    params = energy.init(random_state=seed, dtype=dtype)
    models = []
    for _ in range(4):
        params = {
            key: (x + (0.3 if key == term else 0.1) * random.standard_normal(x.shape)).astype(dtype)
            for key, x in params.items()
        }
        models.append(params)
    carried = CarriedLogPartition(energy, models[0], random_state=seed, n_threads=1)
    for params in models:
        carried.move(params, n_steps)
    return energy, models, carried


@pytest.mark.parametrize("name", UNITS)
def test_log_z_is_within_its_interval(name):
    """Of a model at the end of a walk, and of one on a branch back to its beginning.

    Deliberate bugs that this catches: weights by the model before, chains drawn anew without
    putting their weight aside, a branch that begins without the weights.
    """
    n, hits = 60, np.zeros(2)
    for seed in range(n):
        energy, models, carried = walk(UNITS[name], seed)
        for k, found in enumerate((carried.log_partition(), carried.branch(models[1]))):
            exact = energy.log_partition(models[-1 if k == 0 else 1])
            hits[k] += found.low <= exact <= found.high
    assert hits.min() >= least_hits(n)


def test_z_is_estimated_without_bias():
    """The mean over 400 runs, within four of its standard errors; also with single steps, where
    weights are uneven and chains are drawn anew.

    Deliberate bug that this catches: drawing anew in proportion to the root of the weights.
    """
    for n_steps in (None, 1):
        ratios, drawn = [], 0
        for seed in range(400):
            random = np.random.default_rng(7)
            energy = fb.Energy({"v": fb.Bernoulli(6), "h": fb.Bernoulli(4)}, terms=["h_j v_i"])
            params = {
                key: random.normal(0, 1.5, x.shape).astype(np.float32)
                for key, x in energy.init(random_state=0, dtype=np.float32).items()
            }
            carried = CarriedLogPartition(
                energy, params, n_chains=64, n_groups=4, random_state=seed, n_threads=1
            )
            half = {key: x / 2 for key, x in params.items()}
            for model in (half, params, half, params):
                carried.move(model, n_steps)
            # Of a group that was drawn anew, log Z is put aside.
            drawn += (carried._log_z != carried._log_z[0]).any()
            exact = exact_log_z(params["h_j v_i"], params["v"], params["h"])
            ratios.append(np.exp(carried.log_partition().value - exact))
        assert n_steps is None or drawn > 300
        assert abs(np.mean(ratios) - 1) < 4 * np.std(ratios) / np.sqrt(len(ratios))


def test_on_bits_the_weights_are_those_of_arrays():
    """One step by both kinds of chains, from the same states. Deliberate bug that this catches:
    the bias of the group that is not summed out left out."""
    energy = fb.Energy({"v": fb.Bernoulli(40), "h": fb.Bernoulli(30)}, terms=["h_j v_i"])
    params = energy.init(random_state=1, dtype=np.float32)
    random = np.random.default_rng(0)
    params = {key: x + random.normal(0, 0.3, x.shape).astype("f4") for key, x in params.items()}
    carried = CarriedLogPartition(energy, params, random_state=1, n_threads=1)
    assert _PackedChains.serves(carried, (params, params))
    found = [kind(carried).log_f(params) for kind in (_Chains, _PackedChains)]
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_weights_out_of_the_range_of_bits_are_followed_as_arrays():
    energy = fb.Energy({"v": fb.Bernoulli(8), "h": fb.Bernoulli(4)}, terms=["h_j v_i"])
    params = energy.init(random_state=1, dtype=np.float32)
    params["h_j v_i"][0] = 300
    carried = CarriedLogPartition(energy, params, random_state=1, n_threads=1)
    assert not _PackedChains.serves(carried, (params, params))
    with np.errstate(over="raise"):
        carried.move(params, 20)
    assert np.isfinite(carried.log_partition().value)


def test_a_walk_that_stands_still_changes_nothing():
    _, models, carried = walk(UNITS["binary"], 0)
    before = carried.log_partition()
    carried.move(models[-1])
    assert carried.log_partition().value == before.value


def test_a_branch_leaves_the_way_as_it_is():
    """Deliberate bug that this catches: weights of the branch added to those of the way."""
    found = []
    for branches in (0, 2):
        _, models, carried = walk(UNITS["binary"], 0)
        for _ in range(branches):
            carried.branch(models[0])
        carried.move(models[1])
        found.append(carried.log_partition())
    assert found[0] == found[1]


def test_groups_must_be_equal():
    energy = fb.Energy({"v": fb.Bernoulli(3), "h": fb.Bernoulli(2)}, terms=["h_j v_i"])
    with pytest.raises(ValueError, match="n_chains is 100; expected a multiple of n_groups=16"):
        CarriedLogPartition(energy, energy.init(random_state=0), n_chains=100)


# --------------------------------------------------------------------------- watching a training


TRAIN, TEST = rows(160, 20), rows(80, 20, seed=1)
OPTIONS = {"n_iter": 8, "batch_size": 20, "learning_rate": 0.05, "n_threads": 1}


def fitted(X=TRAIN, callbacks=None, n_hidden=9, **options):
    options = OPTIONS | {"random_state": 0} | options
    return fb.RBM(n_hidden, callbacks=callbacks, **options).fit(X)


def test_the_exact_log_likelihood_is_within_its_interval():
    """At epochs 2 and 8 of trainings of their own, of averaged and of current parameters.

    Deliberate bugs that this catches: an average that is followed one epoch late, free energies of
    the current model with log Z of the average.
    """
    n, hits, there = 50, np.zeros((2, 2)), np.zeros((2, 2))
    for seed in range(n):
        exact = {}
        watch = TrajectoryLikelihood(TEST, every=2)

        def measure(progress, watch=watch, exact=exact):
            for k, params in enumerate((watch.averaged_params_, progress.params)):
                exact[progress.state.epoch, k] = exact_log_likelihood(params, TEST)

        rbm = fitted(callbacks=[watch, measure], random_state=seed)
        for i, epoch in enumerate((2, 8)):
            for k, name in enumerate(("averaged", "current")):
                low, high = (
                    rbm.history_[f"{name}_log_likelihood_{end}"][epoch - 1]
                    for end in ("low", "high")
                )
                there[i, k] += np.isfinite(low)
                hits[i, k] += low <= exact[epoch, k] <= high
    assert there[:, 0].min() == n
    assert there[:, 1].min() > 0.9 * n
    for found, of in zip(hits.ravel(), there.ravel(), strict=True):
        assert found >= least_hits(int(of))


def test_the_average_is_that_of_the_cube_of_the_update():
    """By the integral of ``s^3`` over a training of one update a time, looked at after each.

    Deliberate bug that this catches: the power in place of the power plus one.
    """
    watch = TrajectoryLikelihood(TEST)
    state = TrainingState(None, {})
    for update in range(1, 41):
        state.update = update
        watch.observe({"x": np.full(1, float(update))}, state)
    weights = np.diff(np.arange(41.0) ** 4)
    expected = weights @ np.arange(1, 41) / weights.sum()
    assert watch.averaged_params_["x"][0] == pytest.approx(expected, rel=1e-12)


def test_parameters_are_looked_at_where_they_are_due():
    """In the compiled loop and in the general one; a training that is cut into calls is the same.

    Deliberate bug that this catches: a look at weights that the loop has a copy of, transposed,
    without having them back.
    """

    class Look:
        def __init__(self, every):
            self.every, self.seen = every, {}

        def due(self, update):
            return (update // self.every + 1) * self.every

        def observe(self, params, state):
            self.seen[state.update] = {key: x.copy() for key, x in params.items()}

        def __call__(self, progress):
            pass

    for options in ({}, {"optimizer": "adam"}, {"momentum": 0.5, "method": "cd"}):
        for dtype in (np.float32, np.float64):
            X = TRAIN.astype(dtype)
            one, three = Look(1), Look(3)
            watched = fitted(X, [one, three], n_iter=2, **options)
            plain = fitted(X, n_iter=2, **options)
            np.testing.assert_array_equal(watched.components_, plain.components_)
            assert list(one.seen) == list(range(1, 17))
            assert list(three.seen) == [3, 6, 9, 12, 15]
            for update, params in three.seen.items():
                for key, x in params.items():
                    np.testing.assert_array_equal(x, one.seen[update][key])
            np.testing.assert_array_equal(one.seen[16]["h_j v_i"], plain.components_)
            assert (one.seen[15]["h_j v_i"] != one.seen[16]["h_j v_i"]).any()
    one = Look(1)
    energy = fb.Energy({"v": fb.Bernoulli(20), "h": fb.Bernoulli(5)}, ["v_i h_j"])
    likelihood = LogLikelihood(of=("v",), negative="pcd")
    trainer = Trainer(energy, Objective(energy, likelihood), SGD(), Constant(0.1))
    trainer.observers = [one]
    params = energy.init(0, 0.1, np.float32)
    data = {"v": Rows(TRAIN, (20,), np.float32)}
    assert PairLoop.serve(trainer, params, data, None, 20) is not None
    state = trainer.init(params, 0)
    list(trainer.epochs(params, data, state, batch_size=20, n_epochs=1, seed=0))
    looks = [seen["v_i h_j"] for seen in one.seen.values()]
    assert all((x != y).any() for x, y in itertools.pairwise(looks))
    np.testing.assert_array_equal(looks[-1], params["v_i h_j"])


def test_watching_changes_nothing_for_any_number_of_threads():
    """The same bytes of the curve too, on bits. Deliberate bug that this catches: an average of
    looks that depend on how many updates a call makes."""
    X, test = rows(300, 150, noise=0.3), rows(50, 150, seed=1, noise=0.3)
    plain = fitted(X, n_hidden=80)
    curves = []
    for n_threads in (1, 2, 4):
        watch = TrajectoryLikelihood(test, every=3, max_share=1)
        rbm = fitted(X, [watch], n_hidden=80, n_threads=n_threads)
        np.testing.assert_array_equal(rbm.components_, plain.components_)
        curves.append(np.array([rbm.history_[key] for key in COLUMNS]))
    np.testing.assert_array_equal(curves[0], curves[1])
    np.testing.assert_array_equal(curves[0], curves[2])
    assert np.isnan(curves[0][0]).tolist() == [True, True, False] * 2 + [True, True]
    assert (curves[0][1] < curves[0][0])[[2, 5]].all() and (curves[0][0] < curves[0][2])[
        [2, 5]
    ].all()


def test_a_training_that_goes_on_has_the_same_curve(tmp_path):
    """Ended after an epoch by an error, and within one by Ctrl-C.

    Deliberate bugs that this catches: steps numbered anew, a state of the epoch before in the file
    of an interrupted epoch.
    """

    class Stop:
        """Ctrl-C within the fifth epoch, or an error after it."""

        def __init__(self, within):
            self.within = within

        def due(self, update):
            return update + 1

        def observe(self, params, state):
            if self.within and state.update == 33:
                signal.raise_signal(signal.SIGINT)

        def __call__(self, progress):
            if not self.within and progress.state.epoch == 5:
                raise RuntimeError("killed")

    def watched(*others):
        # Seven updates an epoch: the parameters of the 32nd are taken into their average within
        # the fifth, before Ctrl-C.
        return fitted(callbacks=[TrajectoryLikelihood(TEST, every=1), *others], batch_size=24)

    whole = watched()
    for within in (False, True):
        path = tmp_path / f"{within}.fbm"
        keep = fb.Checkpoint(path, every=1, resume=True)
        with pytest.raises((RuntimeError, KeyboardInterrupt)):
            watched(Stop(within), keep)
        again = watched(keep)
        for key in COLUMNS:
            assert json.dumps(again.history_[key]) == json.dumps(whole.history_[key])
        np.testing.assert_array_equal(again.components_, whole.components_)


def test_passes_of_partial_fit_are_followed():
    watch = TrajectoryLikelihood(TEST, every=1)
    rbm = fb.RBM(9, callbacks=[watch], **OPTIONS | {"random_state": 0})
    for _ in range(3):
        rbm.partial_fit(TRAIN)
    assert np.isfinite(rbm.history_["averaged_log_likelihood"]).all()
    exact = exact_log_likelihood(watch.averaged_params_, TEST)
    assert rbm.history_["averaged_log_likelihood"][-1] == pytest.approx(exact, abs=0.5)


def test_measuring_stays_below_its_share_of_the_work():
    """Deliberate bug that this catches: rows of X that are not counted."""
    X = rows(3000, 20)
    watch = TrajectoryLikelihood(TEST, max_share=0.1)
    rbm = fitted(X, [watch], n_iter=12)
    measured = np.isfinite(rbm.history_["averaged_log_likelihood"])
    assert measured.sum() >= 3
    assert measured[-1]
    assert 0.03 < watch.share < 0.11
    # An update is five products a row; a free energy of 3000 rows is a fifth of an epoch.
    many = fitted(X, [TrajectoryLikelihood(X, max_share=0.1, n_chains=32)], n_iter=12)
    measured = np.isfinite(many.history_["averaged_log_likelihood"])
    assert 2 <= measured.sum() <= 0.1 * 12 * 5 + 1
    free = fitted(X, [TrajectoryLikelihood(TEST, max_share=0)], n_iter=4)
    assert np.isfinite(free.history_["averaged_log_likelihood"]).tolist() == [False] * 3 + [True]


def test_parameters_far_from_their_average_have_no_estimate():
    """A rate at which single updates scatter: their model is not that of the curve."""
    watch = TrajectoryLikelihood(TEST, every=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rbm = fitted(callbacks=[watch], learning_rate=10.0, n_iter=4)
    assert np.isnan(rbm.history_["current_log_likelihood"]).any()
    assert np.isfinite(rbm.history_["averaged_log_likelihood"]).all()


@pytest.mark.parametrize("visible", ["spin", "gaussian"])
def test_other_units_are_followed(visible):
    X = TRAIN * 2 - 1
    if visible == "gaussian":
        X = X + np.random.default_rng(0).normal(0, 0.5, X.shape)
    watch = TrajectoryLikelihood(X[:50], every=4)
    rbm = fitted(X, [watch], visible=visible)
    low, high = (rbm.history_[f"current_log_likelihood_{end}"][-1] for end in ("low", "high"))
    assert low < rbm.score(X[:50]) < high


def test_models_without_one_log_z_are_told():
    with pytest.raises(TypeError, match="RBMClassifier has no free energy"):
        fb.RBMClassifier(4, n_iter=1, callbacks=[TrajectoryLikelihood(TEST)]).fit(
            TRAIN, TRAIN[:, 0].astype(int)
        )
    machine = fb.BoltzmannMachine(
        {"v": fb.Bernoulli(20), "x": fb.Bernoulli(2), "h": fb.Bernoulli(3)},
        ["v_i h_j", "x_k h_j"],
        visible="v",
        given="x",
        n_iter=1,
        callbacks=[TrajectoryLikelihood(TEST)],
    )
    with pytest.raises(TypeError, match="a log Z for each row of its given groups"):
        machine.fit({"v": TRAIN, "x": TRAIN[:, :2]})


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match="n_chains is 100; expected a multiple of 16"):
        TrajectoryLikelihood(TEST, n_chains=100)
    with pytest.raises(ValueError, match="every"):
        TrajectoryLikelihood(TEST, every=0)


def test_a_degenerate_estimate_is_told():
    """Chains of which one carries all the weight."""
    watch = TrajectoryLikelihood(TEST, every=8)

    def spoil(progress):
        watch._carried._log_w[0] += 40
        watch.log_partition_ = watch._carried.log_partition()

    with pytest.warns(RuntimeWarning, match="log Z of the averaged parameters.*has degenerated"):
        fitted(callbacks=[watch, lambda p: spoil(p) if p.state.epoch == 8 else None])


def test_it_is_pickled_and_drawn():
    import matplotlib

    matplotlib.use("Agg")
    from fastboltz.plots import HistoryDisplay

    watch = pickle.loads(pickle.dumps(TrajectoryLikelihood(TEST, every=2)))
    rbm = fitted(callbacks=[watch])
    display = HistoryDisplay.from_estimator(rbm, keys=["averaged_log_likelihood"])
    assert set(display.intervals) == {"averaged_log_likelihood"}
