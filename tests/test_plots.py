"""Displays: what is drawn is what the model holds."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest
import timings
from scipy.sparse import csr_matrix
from scipy.stats import t as student_t
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM as SklearnRBM

import fastboltz as fb
import fastboltz.rng
from fastboltz import plots
from fastboltz.callbacks import Monitor
from fastboltz.plots import (
    AnalogyDisplay,
    ChainDisplay,
    ClassFiltersDisplay,
    ClassSamplesDisplay,
    ComparisonDisplay,
    CompletionDisplay,
    EnergyDisplay,
    FilterPairsDisplay,
    FiltersDisplay,
    HistoryDisplay,
    ImagesDisplay,
    MasksDisplay,
    PianoRollDisplay,
    SamplesDisplay,
    ScalingDisplay,
    SwapsDisplay,
    TransformationsDisplay,
    demo_figure,
)
from fastboltz.plots._display import Display

matplotlib.use("Agg")

from matplotlib import pyplot as plt

SHAPE = (4, 3)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module", name="X")
def rows():
    return np.random.default_rng(0).integers(0, 2, (40, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def rbm(X):
    return fb.RBM(n_components=7, n_iter=3, batch_size=10, random_state=0).fit(X)


def tile(image, row, column, shape=SHAPE):
    """One image of a mosaic, without the gap of one pixel around it."""
    h, w = shape
    top, left = 1 + row * (h + 1), 1 + column * (w + 1)
    return np.ma.filled(image.get_array(), np.nan)[top : top + h, left : left + w]


def all_of_them(X):
    rng = np.random.default_rng(1)
    real = rng.normal(size=(40, 12)).astype(np.float32)
    onehot = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (40, 4))].reshape(40, 12)
    small = {"n_components": 5, "n_iter": 2, "batch_size": 10, "random_state": 0}
    return {
        "RBM": (fb.RBM(**small), X),
        "spins": (fb.RBM(**small, visible="spin", hidden="spin"), 2 * X - 1),
        "gaussian": (fb.RBM(**small, visible="gaussian"), real),
        "categorical": (fb.RBM(**small, visible=fb.Categorical(4, 3)), onehot),
        "cd": (fb.RBM(**small, method="cd"), X),
        "float64": (fb.RBM(**small), X.astype(np.float64)),
        "BernoulliRBM": (fb.BernoulliRBM(5, n_iter=2, random_state=0), X),
    }


# ------------------------------------------------------------------------------------------ filters


def test_filters_are_those_of_largest_norm_each_on_its_own_scale(rbm):
    display = FiltersDisplay.from_estimator(rbm, image_shape=SHAPE, n_filters=6)
    weights = rbm.components_
    order = np.argsort(-np.linalg.norm(weights, axis=1))
    across = round((display.image_.get_array().shape[1] - 1) / (SHAPE[1] + 1))
    for place, unit in enumerate(order[:6]):
        drawn = tile(display.image_, *divmod(place, across))
        wanted = weights[unit].reshape(SHAPE) / np.abs(weights[unit]).max()
        np.testing.assert_allclose(drawn, wanted, rtol=1e-5)
    assert display.image_.get_clim() == (-1, 1)


def test_filters_on_a_common_scale_keep_their_ratios(rbm):
    display = FiltersDisplay.from_estimator(
        rbm, image_shape=SHAPE, n_filters=2, scale="common", n_columns=2
    )
    norms = [np.linalg.norm(tile(display.image_, 0, k)) for k in range(2)]
    wanted = np.sort(np.linalg.norm(rbm.components_, axis=1))[::-1][:2]
    np.testing.assert_allclose(norms[1] / norms[0], wanted[1] / wanted[0], rtol=1e-5)


def test_filters_have_a_gap_around_them_and_empty_places_are_empty(rbm):
    image = FiltersDisplay.from_estimator(
        rbm, image_shape=SHAPE, n_filters=3, n_columns=2
    ).image_.get_array()
    empty = np.ma.getmaskarray(np.ma.masked_invalid(image))
    assert image.shape == (11, 9)
    assert empty[[0, 5, 10]].all() and empty[:, [0, 4, 8]].all()
    assert empty[6:10, 5:8].all() and not empty[1:5, 1:4].any()


def test_a_filter_of_zeros_is_white():
    display = FiltersDisplay(np.zeros((1, 12)), SHAPE).plot()
    assert not tile(display.image_, 0, 0).any()


def test_filters_of_scikit_learns_rbm_can_be_drawn(X):
    display = FiltersDisplay.from_estimator(SklearnRBM(5, n_iter=1).fit(X), image_shape=SHAPE)
    assert len(display.filters) == 5


# ------------------------------------------------------------------------------------------ samples


def test_data_stands_left_of_the_samples(rbm, X):
    display = SamplesDisplay.from_estimator(
        rbm, X, image_shape=SHAPE, n_samples=4, n_steps=3, random_state=7
    )
    drawn = rbm.sample(4, 3, random_state=7)
    data, samples = display.images_
    assert data.get_extent()[1] < samples.get_extent()[0]
    for place in range(4):
        where = divmod(place, 2)
        np.testing.assert_array_equal(tile(data, *where), X[place].reshape(SHAPE))
        np.testing.assert_array_equal(tile(samples, *where), drawn[place].reshape(SHAPE))
    assert [text.get_text() for text in display.ax_.texts] == ["data", "samples"]
    assert data.get_clim() == samples.get_clim() == (0, 1)


def test_samples_alone_and_sparse_data(rbm, X):
    alone = SamplesDisplay.from_estimator(rbm, image_shape=SHAPE, n_samples=4, n_steps=1)
    assert len(alone.images_) == 1 and not alone.ax_.texts
    dense = SamplesDisplay.from_estimator(rbm, X, image_shape=SHAPE, n_samples=4, n_steps=1)
    sparse = SamplesDisplay.from_estimator(
        rbm, csr_matrix(X), image_shape=SHAPE, n_samples=4, n_steps=1
    )
    np.testing.assert_array_equal(dense.data, sparse.data)


def test_samples_of_classifiers_and_of_directed_networks(X):
    """Catches n_steps taken for a label, and asked of a network that makes no sweeps."""
    options = {"image_shape": SHAPE, "n_samples": 4, "n_steps": 3, "random_state": 7}
    model = fb.RBMClassifier(5, n_iter=1, random_state=0).fit(X, np.arange(40) % 3)
    display = SamplesDisplay.from_estimator(model, X, **options)
    drawn, _ = model.sample(4, n_steps=3, random_state=7)
    np.testing.assert_array_equal(display.samples, drawn)
    network = fb.SigmoidBeliefNetwork((4,), n_iter=1, random_state=0).fit(X)
    display = SamplesDisplay.from_estimator(network, X, **options)
    np.testing.assert_array_equal(display.samples, network.sample(4, random_state=7))


# ----------------------------------------------------------------------------------- rows of images


def names(display):
    return [text.get_text() for text in display.ax_.texts]


def check_rows(display, rows):
    """Each image of each row is where it should be, and the rows have their names."""
    assert list(display.rows) == list(rows)
    for r, (name, images) in enumerate(rows.items()):
        assert names(display)[r] == name
        for c, image in enumerate(images):
            np.testing.assert_array_equal(tile(display.image_, r, c), np.reshape(image, SHAPE))


def test_rows_of_images_have_names_and_may_be_of_different_length(X):
    display = ImagesDisplay({"some": X[:5], "fewer": csr_matrix(X[5:7])}, SHAPE)
    display.plot(column_labels=range(5))
    check_rows(display, {"some": X[:5], "fewer": X[5:7]})
    assert np.isnan(tile(display.image_, 1, 2)).all()
    assert names(display)[2:] == ["0", "1", "2", "3", "4"]
    assert display.image_.get_clim() == (0, 1)
    assert len(display.ax_.images) == 1
    display = ImagesDisplay({"": 2 * X[:2]}, SHAPE).plot(limits=(-3, 3))
    assert display.image_.get_clim() == (-3, 3)


def test_images_of_another_size_are_named(X):
    sentence = (
        r"the images 'truth' have shape \(5, 4\); expected \(n_images, 12\), for 4 x 3 pixels"
    )
    with pytest.raises(ValueError, match=sentence):
        ImagesDisplay({"image": X[:5], "truth": X[:5, :4]}, SHAPE)
    with pytest.raises(ValueError, match=r"the images 'one' have shape \(12,\)"):
        ImagesDisplay({"one": X[0]}, SHAPE)


def test_unknown_pixels_have_a_colour_of_their_own(X):
    """Deliberate bug that this catches: empty places taken for unknown pixels."""
    known = X[:3].copy()
    known[1, 4] = np.nan
    display = ImagesDisplay({"known": known, "one": X[:1]}, SHAPE).plot()
    _, unknown = display.ax_.images
    marked = ~np.ma.getmaskarray(unknown.get_array())
    wanted = np.zeros_like(marked)
    wanted[2, 1 + (SHAPE[1] + 1) + 1] = True  # the second image; pixel 4 is in row 1, column 1
    np.testing.assert_array_equal(marked, wanted)
    assert unknown.get_extent() == display.image_.get_extent()
    everything = ImagesDisplay({"": np.full((1, 12), np.nan)}, SHAPE).plot()
    assert everything.image_.get_clim() == (0, 1)


@pytest.fixture(scope="module")
def gated(X):
    return fb.GatedRBM(3, n_factors=5, n_iter=2, random_state=0).fit(X, X[:, ::-1])


def test_analogies_stand_below_the_pairs_that_they_come_from(gated, X):
    Y = X[:, ::-1]
    display = AnalogyDisplay.from_estimator(
        gated, X, Y, X[5:], Y[5:], image_shape=SHAPE, n_images=4
    )
    made = gated.analogy(X[:4], Y[:4], X[5:9])
    rows = {"x": X[:4], "y": Y[:4], "new x": X[5:9], "prediction": made, "new y": Y[5:9]}
    check_rows(display, rows)
    short = AnalogyDisplay.from_estimator(gated, X, Y, X[5:], image_shape=SHAPE, n_images=4)
    assert list(short.rows) == list(rows)[:4]


def test_samples_of_a_class_stand_in_its_row(X):
    """Deliberate bug that this catches: labels that go round in the place of rows of one label."""
    y = np.array(["a", "b"])[X[:, 0].astype(int)]
    # Long enough that the label matters: it is the first pixel.
    model = fb.RBMClassifier(4, objective="generative", n_iter=200, random_state=0).fit(X, y)
    display = ClassSamplesDisplay.from_estimator(
        model, image_shape=SHAPE, n_samples=3, n_steps=5, random_state=7
    )
    drawn, labels = model.sample(6, ["a"] * 3 + ["b"] * 3, n_steps=5, random_state=7)
    assert list(labels) == ["a"] * 3 + ["b"] * 3
    check_rows(display, {"a": drawn[:3], "b": drawn[3:]})
    assert not np.array_equal(drawn[:3], drawn[3:])


@pytest.mark.parametrize("kind", ["RBM", "BoltzmannMachine"])
def test_completions_keep_what_is_known(kind, rbm, X):
    model = rbm
    if kind == "BoltzmannMachine":
        groups = {"v": fb.Bernoulli(12), "h": fb.Bernoulli(3)}
        model = fb.BoltzmannMachine(groups, ["v_i h_j"], visible="v", n_iter=1).fit(X)
    known = X.copy()
    known[:, 6:] = np.nan
    display = CompletionDisplay.from_estimator(
        model, known, X, image_shape=SHAPE, n_images=4, n_draws=2, n_steps=3
    )
    drawn = display.rows["draw 1"], display.rows["draw 2"]
    check_rows(
        display, {"known": known[:4], "draw 1": drawn[0], "draw 2": drawn[1], "truth": X[:4]}
    )
    for x in drawn:
        np.testing.assert_array_equal(x[:, :6], X[:4, :6])
        assert np.isin(x, (0, 1)).all()
    assert not np.array_equal(*drawn)
    one = CompletionDisplay.from_estimator(
        model, known, image_shape=SHAPE, n_images=4, n_draws=1, n_steps=3
    )
    assert list(one.rows) == ["known", "draw"]


def test_filters_of_a_class_stand_in_its_row(X):
    """Deliberate bug that this catches: the axes of class and component exchanged."""
    model = fb.ClassGatedRBMClassifier(4, n_iter=2, random_state=0).fit(X, X[:, 0].astype(int))
    display = ClassFiltersDisplay.from_estimator(model, image_shape=SHAPE, n_filters=3)
    for row, (c, weights) in enumerate(zip("01", model.components_, strict=True)):
        assert names(display)[row] == c
        order = np.argsort(-np.linalg.norm(weights, axis=1))[:3]
        for place, w in enumerate(weights[order]):
            drawn = tile(display.image_, row, place)
            np.testing.assert_allclose(drawn, (w / np.abs(w).max()).reshape(SHAPE), rtol=1e-5)
    assert display.image_.get_clim() == (-1, 1)
    every = FiltersDisplay.from_estimator(model, image_shape=SHAPE)
    assert len(every.filters) == 8


def test_filters_of_another_attribute_can_be_drawn(X):
    model = fb.TwoGroupRBMClassifier(4, n_nuisance=3, n_iter=2, random_state=0)
    model.fit(X, X[:, 0].astype(int))
    display = FiltersDisplay.from_estimator(
        model, image_shape=SHAPE, components="nuisance_components_"
    )
    w = model.nuisance_components_
    np.testing.assert_array_equal(display.filters, w[np.argsort(-np.linalg.norm(w, axis=1))])


def test_the_filters_of_a_pair_stand_one_above_the_other(gated):
    display = FilterPairsDisplay.from_estimator(gated, image_shape=SHAPE, n_filters=4, n_columns=2)
    x, y, h = (gated.params_[f"x_i y_j h_k | 5 @ {slot}"] for slot in ("x_i", "y_j", "h_k"))
    norms = np.prod([np.linalg.norm(f, axis=0) for f in (x, y, h)], axis=0)
    image = np.ma.filled(display.image_.get_array(), np.nan)
    for place, f in enumerate(np.argsort(-norms)[:4]):
        row, column = divmod(place, 2)
        top, left = 1 + row * (2 * SHAPE[0] + 4), 1 + column * (SHAPE[1] + 1)
        for k, w in enumerate((x[:, f], y[:, f])):
            start = top + k * (SHAPE[0] + 1)
            drawn = image[start : start + SHAPE[0], left : left + SHAPE[1]]
            np.testing.assert_allclose(drawn, (w / np.abs(w).max()).reshape(SHAPE), rtol=1e-5)


# ------------------------------------------------------------------------------------------ history


def test_history_draws_what_callbacks_have_recorded(X):
    seen = []

    def watch(progress):
        seen.append(float(progress.model.free_energy(X).mean()))
        progress.state.record(free_energy=seen[-1])

    rbm = fb.RBM(n_components=4, n_iter=5, callbacks=[watch], random_state=0).fit(X)
    display = HistoryDisplay.from_estimator(rbm)
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(line.get_ydata(), seen)
    assert display.ax_.get_ylabel() == "free energy" and display.ax_.get_xlabel() == "epoch"
    keys = ["free_energy", "learning_rate"]
    both = HistoryDisplay.from_estimator(rbm, keys=keys)
    assert [ax.get_ylabel() for ax in both.axes_] == ["free energy", "learning rate"]
    together = HistoryDisplay.from_estimator(rbm, keys=keys, ax=plt.subplots()[1])
    labels = [text.get_text() for text in together.ax_.get_legend().get_texts()]
    assert labels == ["free energy", "learning rate"]


def test_history_falls_back_on_the_learning_rate(rbm):
    (line,) = HistoryDisplay.from_estimator(rbm).lines_
    np.testing.assert_array_equal(line.get_ydata(), rbm.history_["learning_rate"])


def test_history_says_what_it_cannot_draw(rbm, X):
    with pytest.raises(ValueError, match="Did you mean 'seconds'"):
        HistoryDisplay.from_estimator(rbm, keys="second")
    empty = fb.RBM(n_components=2, n_iter=0).fit(X)
    with pytest.raises(ValueError, match="history_ of this RBM is empty"):
        HistoryDisplay.from_estimator(empty)

    def watch(progress):
        progress.state.record(now=1.0)
        progress.state.record(now=2.0)
        if progress.state.epoch == 2:
            progress.state.record(once=1.0)

    model = fb.RBM(n_components=2, n_iter=3, callbacks=[watch]).fit(X)
    with pytest.raises(ValueError, match=r"history_\['now'\] has 6 entries; .* 3 epochs"):
        HistoryDisplay.from_estimator(model, keys="now")
    (line,) = HistoryDisplay.from_estimator(model, keys="once").lines_
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([2], [1.0])


# --------------------------------------------------------------------------------------- intervals


def test_a_recorded_interval_is_a_band_around_its_curve(rbm, X):
    def watch(progress):
        e = progress.state.epoch
        progress.state.record(score=10.0 + e, score_low=10.0 + e / 2, score_high=12.0 + e)

    model = fb.RBM(n_components=2, n_iter=3, callbacks=[watch]).fit(X)
    display = HistoryDisplay.from_estimator(model)
    assert list(display.curves) == ["score"], "the ends of an interval are no curves"
    (path,) = display.bands_["score"].get_paths()
    corners = {tuple(xy) for xy in path.vertices}
    assert {(1, 10.5), (2, 11), (3, 11.5), (1, 13), (2, 14), (3, 15)} <= corners
    assert not HistoryDisplay.from_estimator(model, keys="learning_rate").bands_


def test_a_monitor_that_anneals_records_an_interval(X):
    monitor = Monitor(
        X, what="log_likelihood", every=2, annealing={"betas": 100, "n_chains": 50, "method": "ais"}
    )
    model = fb.RBM(n_components=4, n_iter=4, callbacks=[monitor], random_state=0).fit(X)
    display = HistoryDisplay.from_estimator(model)
    low, high = display.intervals["log_likelihood"]
    seen = ~np.isnan(display.curves["log_likelihood"])
    assert list(seen) == [False, True, False, True]
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), [2, 4])
    assert (np.array(low)[seen] < np.array(high)[seen]).all()


def test_several_trainings_have_a_mean_and_an_interval_of_students_t(X):
    """Deliberate bug that this catches: the deviation of one training for that of the mean."""
    values = np.random.default_rng(3).normal(size=(4, 5))

    def fitted(row):
        def watch(progress):
            progress.state.record(score=row[progress.state.epoch - 1])

        return fb.RBM(n_components=2, n_iter=5, callbacks=[watch]).fit(X)

    models = [fitted(row) for row in values]
    display = HistoryDisplay.from_estimators(models)
    low, high = display.intervals["score"]
    for epoch in range(5):
        x = values[:, epoch]
        wanted = student_t.interval(0.95, 3, x.mean(), x.std(ddof=1) / 2)
        np.testing.assert_allclose((low[epoch], high[epoch]), wanted)
    np.testing.assert_allclose(display.lines_[0].get_ydata(), values.mean(axis=0))
    with pytest.raises(ValueError, match="got 1 models; an interval needs two"):
        HistoryDisplay.from_estimators(models[:1])
    short = fb.RBM(n_components=2, n_iter=2).fit(X)
    with pytest.raises(ValueError, match=r"have made \[5, 2\] epochs; expected as many each"):
        HistoryDisplay.from_estimators([models[0], short])
    bare = fb.RBM(n_components=2, n_iter=5).fit(X)
    with pytest.raises(ValueError, match=r"model 1 has recorded \['learning_rate'\]"):
        HistoryDisplay.from_estimators([models[0], bare])


# ---------------------------------------------------------------------------------------- energies


def test_energies_are_free_energies_over_common_bins(rbm, X):
    samples = rbm.sample(30, 5, random_state=2)
    display = EnergyDisplay.from_estimator(rbm, {"a": X[:20], "b": X[20:]}, samples=samples)
    # The free energy of a binary RBM, written out.
    for name, rows in {"a": X[:20], "b": X[20:], "samples": samples}.items():
        field = rbm.intercept_hidden_ + rows @ rbm.components_.T
        wanted = -rows @ rbm.intercept_visible_ - np.log1p(np.exp(field)).sum(axis=1)
        np.testing.assert_allclose(display.energies[name], wanted, rtol=1e-5)
        values, edges, _ = display.histograms_[name].get_data()
        np.testing.assert_allclose((values * np.diff(edges)).sum(), 1)
        lowest = np.flatnonzero(values)[0]
        assert edges[lowest] <= wanted.min() + 1e-4 < edges[lowest + 1] + 2e-4
    assert len({tuple(h.get_data().edges) for h in display.histograms_.values()}) == 1
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels[0] == f"a, mean {display.energies['a'].mean():.1f}"
    drawn = EnergyDisplay.from_estimator(rbm, X, n_samples=7, n_steps=2, random_state=5)
    np.testing.assert_array_equal(
        drawn.energies["samples"], rbm.free_energy(rbm.sample(7, 2, random_state=5))
    )


# ----------------------------------------------------------------------------------------- chains


def test_a_film_strip_holds_a_chain_that_goes_on(rbm, X):
    """Deliberate bugs that this catches: every frame from the start; the same numbers each time."""
    display = ChainDisplay.from_estimator(
        rbm, X, image_shape=SHAPE, n_chains=3, frames=(0, 2, 3, 7), random_state=1
    )
    draws = np.random.default_rng(fb.rng.seed_from(1))
    x = X[:3]
    film = [x]
    for n in (2, 1, 4):
        x = rbm.sample(3, n, init=x, random_state=draws)
        film.append(x)
    for k in range(3):
        np.testing.assert_array_equal(display.rows[f"chain {k + 1}"], [x[k] for x in film])
    assert names(display)[3:] == ["0", "2", "3", "7"]
    own = ChainDisplay.from_estimator(rbm, image_shape=SHAPE, n_chains=2, frames=[1, 3])
    assert [len(x) for x in own.rows.values()] == [2, 2]
    again = ChainDisplay.from_estimator(rbm, image_shape=SHAPE, n_chains=2, frames=[1, 3])
    np.testing.assert_array_equal(own.rows["chain 2"], again.rows["chain 2"])


def test_a_chain_of_a_machine_with_labels_can_be_drawn(X):
    model = fb.RBMClassifier(4, n_iter=1, random_state=0).fit(X, X[:, 0].astype(int))
    display = ChainDisplay.from_estimator(model, X, image_shape=SHAPE, frames=(0, 1, 5))
    assert np.isin(display.rows["chain 1"], (0, 1)).all()


def test_swap_diagrams_show_the_replicas_and_what_was_accepted(rbm, X):
    """Deliberate bug that this catches: replicas by level in the place of levels by replica."""
    from fastboltz.tempering import Tempering

    display = SwapsDisplay.from_estimator(
        rbm, n_chains=20, n_steps=60, n_adapt=30, n_levels=4, random_state=3
    )
    level = display.level
    assert level.shape == (61, 4)
    np.testing.assert_array_equal(np.sort(level, axis=1), np.tile(np.arange(4), (61, 1)))
    np.testing.assert_array_equal(level[0], np.arange(4))
    # A replica moves by one level in a sweep at the most.
    assert np.abs(np.diff(level, axis=0)).max() == 1
    sampler = Tempering(rbm.energy_, n_levels=4)
    state = sampler.init(rbm.params_, 20, 3)
    state = sampler.adapt(rbm.params_, state, 30)
    for t in range(60):
        state = sampler.step(rbm.params_, state)
        for replica in range(4):
            assert state.replica[level[t + 1, replica], 0] == replica
    np.testing.assert_array_equal(display.swap_rates, state.accepted / state.proposed)
    assert display.round_trips == state.round_trips > 0
    assert f"{state.round_trips} round trips of 20 chains" in display.axes_[1].get_title()
    np.testing.assert_array_equal(display.rates_.get_ydata(), display.swap_rates)
    for path, wanted in zip(display.paths_, level.T, strict=True):
        np.testing.assert_array_equal(path.get_ydata(), wanted)


def test_swap_diagrams_along_a_training_name_the_positions_of_its_models(X):
    """Deliberate bug that this catches: levels of temperature whatever `method` says."""
    from fastboltz.callbacks import Trajectory

    rbm = fb.RBM(4, n_iter=6, callbacks=[Trajectory()], random_state=0).fit(X)
    options = {"n_chains": 20, "n_steps": 30, "n_adapt": 30}
    display = SwapsDisplay.from_estimator(rbm, method="trajectory", **options)
    assert display.betas[0] == 0
    assert display.betas[-1] == len(rbm.trajectory_) + 1
    assert display.axes_[1].get_ylabel() == "position along the training"
    assert display.axes_[0].get_xlabel().endswith("position along the training")
    assert SwapsDisplay.from_estimator(rbm, **options).betas[-1] == 1
    with pytest.raises(ValueError, match="method must be one of 'tempered', 'trajectory'"):
        SwapsDisplay.from_estimator(rbm, method="gibbs", **options)


@pytest.mark.parametrize("n_levels", [2, 3, 5, 9, 10, 14, 30])
def test_levels_are_named_from_zero_to_one_and_apart(n_levels):
    betas = np.linspace(0, 1, n_levels)
    still = np.tile(np.arange(n_levels), (5, 1))
    display = SwapsDisplay(betas, np.full(n_levels - 1, 0.5), still).plot()
    for axis, most in ((display.axes_[0].xaxis, 5), (display.axes_[1].yaxis, 9)):
        at = axis.get_ticklocs()
        assert at[0] == 0 and at[-1] == n_levels - 1 and len(at) <= most + 1
        shown = [text.get_text() for text in axis.get_ticklabels()]
        assert shown == [f"{betas[int(k)]:.2g}" for k in at]
        # No two closer to each other than half of the others' distance.
        assert np.diff(at).min() >= np.diff(at).max() / 2


# ------------------------------------------------------------------------------------ gated, masks


@pytest.mark.parametrize("n_factors", [None, 5])
def test_a_map_of_displacements_averages_the_gated_weights(X, n_factors):
    """Deliberate bugs that this catches: x and y exchanged; pixels that leave the image counted."""
    Y = X[:, ::-1]
    model = fb.GatedRBM(3, n_factors=n_factors, n_iter=2, random_state=0).fit(X, Y)
    display = TransformationsDisplay.from_estimator(model, X, Y, image_shape=SHAPE, n_images=2)
    if n_factors is None:
        w = model.params_["x_i y_j h_k"]
    else:
        keys = [f"x_i y_j h_k | 5 @ {slot}" for slot in ("x_i", "y_j", "h_k")]
        w = np.einsum("if,jf,kf->ijk", *(model.params_[key] for key in keys))
    h = model.transform(X[:2], Y[:2])
    rows, columns = SHAPE
    reach = 1
    assert display.maps.shape == (2, 3, 3)
    for n in range(2):
        t = sum(h[n, k] * w[:, :, k] for k in range(3))
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                found = [
                    t[r * columns + c, (r + down) * columns + c + right]
                    for r in range(rows)
                    for c in range(columns)
                    if 0 <= r + down < rows and 0 <= c + right < columns
                ]
                drawn = display.maps[n, down + reach, right + reach]
                np.testing.assert_allclose(drawn, np.mean(found), rtol=1e-4, atol=1e-7)
    check_rows(display.pairs_, {"x": X[:2], "y": Y[:2]})
    assert display.image_.get_clim() == (-1, 1)
    with pytest.raises(ValueError, match="reach is 3, but the images have 4 x 3 pixels"):
        TransformationsDisplay.from_estimator(model, X, Y, image_shape=SHAPE, reach=3)
    with pytest.raises(ValueError, match="displacements are between images of one shape"):
        TransformationsDisplay.from_estimator(model, X, Y[:, :6], image_shape=SHAPE)


@pytest.fixture(scope="module")
def switched(X):
    return fb.PointwiseGatedRBM((4, 3), n_iter=2, random_state=0).fit(X)


def test_masks_stand_below_their_images(switched, X):
    display = MasksDisplay.from_estimator(
        switched, csr_matrix(X), X[::-1], image_shape=SHAPE, n_images=5
    )
    mask = switched.masks(X[:5])
    check_rows(
        display, {"image": X[:5], "mask": mask, "masked": X[:5] * mask, "truth": X[::-1][:5]}
    )
    both = MasksDisplay.from_estimator(switched, X, component=(0, 1), image_shape=SHAPE)
    assert list(both.rows) == ["image", "mask 0", "mask 1"]
    np.testing.assert_allclose(both.rows["mask 0"] + both.rows["mask 1"], 1, atol=1e-5)


def test_the_weights_of_one_component_can_be_drawn(switched):
    with pytest.raises(TypeError, match=r"components_ of PointwiseGatedRBM is a list of 2 arrays"):
        FiltersDisplay.from_estimator(switched, image_shape=SHAPE)
    own = switched.components_[1]
    display = FiltersDisplay.from_estimator(switched, components=own, image_shape=SHAPE)
    order = np.argsort(-np.linalg.norm(own, axis=1), kind="stable")
    np.testing.assert_array_equal(display.filters, own[order])


# --------------------------------------------------------------------------------------- sequences


@pytest.fixture(scope="module")
def melodies():
    steps = np.arange(24)
    return [np.eye(12, dtype=np.float32)[(steps + k) % 12] for k in range(6)]


@pytest.fixture(scope="module")
def rnn(melodies):
    return fb.RNNRBM(4, n_recurrent=5, n_iter=2, random_state=0).fit(melodies)


def test_a_piano_roll_has_time_to_the_right_and_keys_upwards(rnn, melodies):
    """Deliberate bug that this catches: keys downwards, as rows of a matrix are drawn."""
    song = melodies[0]
    display = PianoRollDisplay.from_estimator(
        rnn, song, n_prefix=6, predictions=True, lowest_pitch=60, random_state=4
    )
    data, means, sample = display.images_
    np.testing.assert_array_equal(data.get_array(), song.T)
    np.testing.assert_array_equal(means.get_array(), rnn.predict(song).T)
    np.testing.assert_array_equal(sample.get_array(), rnn.sample(24, song[:6], random_state=4).T)
    np.testing.assert_array_equal(sample.get_array()[:, :6], song[:6].T)
    for image, ax in zip(display.images_, display.axes_, strict=True):
        assert image.origin == "lower"
        assert image.get_extent() == [0, 24, 59.5, 71.5]
        low, high = ax.get_ylim()
        assert low < 60 < 71 < high
    last = display.axes_[-1]
    shown = dict(
        zip(last.get_yticks(), [t.get_text() for t in last.get_yticklabels()], strict=True)
    )
    assert shown == {60: "C4", 72: "C5"}
    longer = PianoRollDisplay.from_estimator(rnn, song, n_prefix=24, n_steps=30)
    assert [len(x) for x in longer.rolls.values()] == [24, 30]
    with pytest.raises(ValueError, match="n_prefix is 25, but the sequence has 24 steps"):
        PianoRollDisplay.from_estimator(rnn, song, n_prefix=25)
    with pytest.raises(ValueError, match=r"sequence has shape \(6, 24, 12\); expected one"):
        PianoRollDisplay.from_estimator(rnn, melodies)


# -------------------------------------------------------------------------------------- all of them


@pytest.fixture(scope="module")
def displays(rbm, gated, switched, rnn, melodies, X):
    """Every display -> how it is made, with its own options, on given axes."""
    y = X[:, 0].astype(int)
    shape = {"image_shape": SHAPE}
    by_label = fb.ClassGatedRBMClassifier(4, n_iter=1, random_state=0).fit(X, y)
    known = np.where(np.arange(12) < 6, X, np.nan).astype(np.float32)
    methods = [fb.gradients.ScoreFunction(b) for b in ("none", "optimal")]
    units = fb.gradients.Bernoulli(np.zeros(3))
    few = {"n_steps": 2}
    return {
        FiltersDisplay: lambda ax: FiltersDisplay.from_estimator(rbm, **shape, ax=ax),
        SamplesDisplay: lambda ax: SamplesDisplay.from_estimator(rbm, X, **shape, **few, ax=ax),
        ChainDisplay: lambda ax: ChainDisplay.from_estimator(
            rbm, X, **shape, frames=(0, 1, 2), ax=ax
        ),
        CompletionDisplay: lambda ax: CompletionDisplay.from_estimator(
            rbm, known, **shape, **few, ax=ax
        ),
        ImagesDisplay: lambda ax: ImagesDisplay({"x": X[:3]}, SHAPE).plot(ax),
        HistoryDisplay: lambda ax: HistoryDisplay.from_estimator(rbm, ax=ax),
        EnergyDisplay: lambda ax: EnergyDisplay.from_estimator(rbm, X, **few, ax=ax),
        ScalingDisplay: lambda ax: ScalingDisplay.from_scaling(timings.of_ranks(), ax=ax),
        SwapsDisplay: lambda ax: SwapsDisplay.from_estimator(
            rbm, n_chains=3, n_steps=5, n_adapt=5, ax=ax
        ),
        ClassSamplesDisplay: lambda ax: ClassSamplesDisplay.from_estimator(
            by_label, **shape, **few, ax=ax
        ),
        ClassFiltersDisplay: lambda ax: ClassFiltersDisplay.from_estimator(
            by_label, **shape, ax=ax
        ),
        MasksDisplay: lambda ax: MasksDisplay.from_estimator(switched, X, **shape, ax=ax),
        AnalogyDisplay: lambda ax: AnalogyDisplay.from_estimator(gated, X, X, X, **shape, ax=ax),
        TransformationsDisplay: lambda ax: TransformationsDisplay.from_estimator(
            gated, X, X, **shape, ax=ax
        ),
        FilterPairsDisplay: lambda ax: FilterPairsDisplay.from_estimator(gated, **shape, ax=ax),
        PianoRollDisplay: lambda ax: PianoRollDisplay.from_estimator(rnn, melodies[0], ax=ax),
        ComparisonDisplay: lambda ax: ComparisonDisplay.from_estimators(
            methods, lambda Y: (Y.sum(axis=1) - 1) ** 2, units, n_samples=20, n_repeats=2, ax=ax
        ),
    }


DISPLAYS = [name for name in plots.__all__ if name.endswith("Display")]


@pytest.mark.parametrize("name", DISPLAYS)
def test_every_display_keeps_the_convention(name, displays, tmp_path):
    """``from_...`` draws, ``plot(ax=...)`` again and there; figure, axes and one Axes are kept."""
    cls = getattr(plots, name)
    assert issubclass(cls, Display)
    display = displays[cls](None)
    assert isinstance(display, cls)
    n = len(display.axes_)
    assert all(ax.figure is display.figure_ for ax in display.axes_)
    if n == 1:
        assert display.ax_ is display.axes_[0]
    else:
        with pytest.raises(AttributeError, match=f"{name} has {n} panels; they are in axes_"):
            _ = display.ax_
    display.figure_.savefig(tmp_path / "picture.png")
    pixels = plt.imread(tmp_path / "picture.png")[..., :3]
    assert pixels.std() > 0.02, "nothing is drawn"

    figure, axes = plt.subplots(1, n, squeeze=False)
    n_figures = len(plt.get_fignums())
    given = axes[0, 0] if n == 1 else list(axes[0])
    assert display.plot(ax=given) is display
    assert list(display.axes_) == list(axes[0]) and display.figure_ is figure
    assert displays[cls](given).figure_ is figure
    assert len(plt.get_fignums()) == n_figures, "another figure was made beside the one given"
    with pytest.raises(ValueError, match=f"{name} draws .* but ax holds {n + 1} Axes"):
        display.plot(ax=list(plt.subplots(1, n + 1)[1]))


def test_what_has_not_been_drawn_has_no_axes(X):
    with pytest.raises(AttributeError, match="ImagesDisplay has drawn nothing yet; call plot"):
        _ = ImagesDisplay({"x": X[:3]}, SHAPE).ax_


@pytest.mark.parametrize("name", all_of_them(np.zeros((40, 12), np.float32)))
def test_every_model_can_be_drawn(name, X, tmp_path):
    model, data = all_of_them(X)[name]
    model.fit(data)
    for display in (
        FiltersDisplay.from_estimator(model, image_shape=SHAPE),
        SamplesDisplay.from_estimator(model, data, image_shape=SHAPE, n_samples=9, n_steps=2),
        HistoryDisplay.from_estimator(model),
    ):
        assert display.figure_ is display.ax_.figure
        display.figure_.canvas.draw()
    figure = demo_figure(model, data, image_shape=SHAPE, n_images=9, n_steps=2)
    figure.savefig(tmp_path / "demo.png")
    pixels = plt.imread(tmp_path / "demo.png")
    assert pixels.shape[1] > 600 and pixels[..., :3].std() > 0.05


def test_displays_draw_where_they_are_told(rbm, X):
    _, axes = plt.subplots(1, 3)
    n_figures = len(plt.get_fignums())
    displays = [
        FiltersDisplay.from_estimator(rbm, image_shape=SHAPE, ax=axes[0]),
        SamplesDisplay.from_estimator(rbm, X, image_shape=SHAPE, n_steps=1, ax=axes[1]),
        HistoryDisplay.from_estimator(rbm, ax=axes[2]),
    ]
    assert [display.ax_ for display in displays] == list(axes)
    assert len(plt.get_fignums()) == n_figures


def test_demo_figure_holds_filters_data_and_samples(rbm, X):
    figure = demo_figure(rbm, X, X[::-1], image_shape=SHAPE, n_images=4)
    assert [ax.get_title() for ax in figure.axes] == ["filters", "data", "samples"]
    data, samples = (ax.images[0] for ax in figure.axes[1:])
    np.testing.assert_array_equal(tile(data, 0, 0), X[0].reshape(SHAPE))
    np.testing.assert_array_equal(tile(samples, 0, 0), X[-1].reshape(SHAPE))
    assert not plt.get_fignums(), "the figure belongs to pyplot, which keeps it for ever"


# --------------------------------------------------------------------------------------- complaints


def test_a_shape_that_does_not_fit_is_told_what_would(rbm):
    with pytest.raises(ValueError, match=r"12 features make no square image; give image_shape"):
        FiltersDisplay.from_estimator(rbm)
    with pytest.raises(ValueError, match=r"image_shape is \(5, 3\), but there are 12 features"):
        SamplesDisplay.from_estimator(rbm, image_shape=(5, 3), n_steps=1)
    with pytest.raises(ValueError, match=r"n_filters must be a whole number >= 1; got 0"):
        FiltersDisplay.from_estimator(rbm, image_shape=SHAPE, n_filters=0)
    with pytest.raises(ValueError, match="scale must be one of 'each', 'common'"):
        FiltersDisplay.from_estimator(rbm, image_shape=SHAPE, scale="own")


def test_weights_that_are_not_there_are_named(rbm, gated, X):
    with pytest.raises(TypeError, match=r"RBM has no nuisance_components_; expected a model with"):
        FiltersDisplay.from_estimator(rbm, components="nuisance_components_")
    with pytest.raises(TypeError, match=r"the label does not gate .* \(7, 12\).* FiltersDisplay"):
        ClassFiltersDisplay.from_estimator(rbm, image_shape=SHAPE)
    full = fb.GatedRBM(2, n_iter=0).fit(X, X)
    with pytest.raises(TypeError, match=r"GatedRBM has no factors: .* Fit it with n_factors"):
        FilterPairsDisplay.from_estimator(full, image_shape=SHAPE)
    with pytest.raises(ValueError, match="n_draws must be a whole number >= 1; got 0"):
        CompletionDisplay.from_estimator(rbm, X, image_shape=SHAPE, n_draws=0)
    with pytest.raises(ValueError, match=r"12 features make no square image"):
        AnalogyDisplay.from_estimator(gated, X, X, X)


def test_models_that_cannot_are_named(rbm, gated, rnn, X):
    network = fb.SigmoidBeliefNetwork((4,), n_iter=1, random_state=0).fit(X)
    with pytest.raises(TypeError, match=r"SigmoidBeliefNetwork has no method free_energy"):
        EnergyDisplay.from_estimator(network, X)
    with pytest.raises(TypeError, match=r"SigmoidBeliefNetwork has no energy_; parallel tempering"):
        SwapsDisplay.from_estimator(network)
    with pytest.raises(TypeError, match=r"RBM has no method masks. Masks are those of"):
        MasksDisplay.from_estimator(rbm, X)
    with pytest.raises(TypeError, match=r"RBM has no method analogy"):
        TransformationsDisplay.from_estimator(rbm, X, X)
    with pytest.raises(TypeError, match=r"GatedRBM.sample does not draw rows by itself; samples"):
        SamplesDisplay.from_estimator(gated, X, image_shape=SHAPE)
    with pytest.raises(TypeError, match=r"BernoulliRBM has no method sample"):
        CompletionDisplay.from_estimator(SklearnRBM(2, n_iter=1).fit(X), X, image_shape=SHAPE)
    pair = fb.BoltzmannMachine(
        {"a": fb.Bernoulli(12), "b": fb.Bernoulli(12)}, ["a_i b_j"], visible=("a", "b"), n_iter=0
    )
    with pytest.raises(TypeError, match=r"BoltzmannMachine draws the groups 'a', 'b'; expected"):
        SamplesDisplay.from_estimator(pair.fit({"a": X, "b": X}), image_shape=SHAPE, n_steps=1)
    with pytest.raises(
        TypeError, match=r"SigmoidBeliefNetwork.sample does not hold known pixels; completions"
    ):
        CompletionDisplay.from_estimator(network, X, image_shape=SHAPE)
    with pytest.raises(TypeError, match=r"RBM draws no samples of a class; expected a classifier"):
        ClassSamplesDisplay.from_estimator(rbm, image_shape=SHAPE)
    deep = fb.DeepBeliefNetwork((3, 2), n_iter=1).fit(X)
    with pytest.raises(TypeError, match=r"layers one after another; .*model.rbms_\[0\]"):
        HistoryDisplay.from_estimator(deep)
    with pytest.raises(TypeError, match=r"BernoulliRBM has no history_; .*, such as RBM.$"):
        HistoryDisplay.from_estimator(SklearnRBM(2, n_iter=1).fit(X))
    with pytest.raises(TypeError, match=r"GatedRBM.sample does not go on from given rows"):
        ChainDisplay.from_estimator(gated, X, image_shape=SHAPE)
    for frames in ((), (0, 0), (3, 1), (-1, 2), (0.5, 1)):
        with pytest.raises(ValueError, match="expected numbers of sweeps that rise"):
            ChainDisplay.from_estimator(rbm, X, image_shape=SHAPE, frames=frames)


def test_data_of_other_width_is_refused(rbm, X):
    with pytest.raises(ValueError, match=r"X has shape \(40, 5\); expected \(n_rows, 12\)"):
        SamplesDisplay.from_estimator(rbm, X[:, :5], image_shape=SHAPE, n_steps=1)


def test_a_model_that_is_not_fitted_is_refused():
    with pytest.raises(NotFittedError):
        FiltersDisplay.from_estimator(fb.RBM(), image_shape=SHAPE)
    with pytest.raises(NotFittedError):
        SamplesDisplay.from_estimator(fb.RBM(), image_shape=SHAPE)
    with pytest.raises(NotFittedError):
        HistoryDisplay.from_estimator(fb.RBM())


def test_without_matplotlib_a_sentence_names_the_remedy(rbm, X, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (
        lambda: FiltersDisplay.from_estimator(rbm, image_shape=SHAPE),
        lambda: SamplesDisplay.from_estimator(rbm, X, image_shape=SHAPE, n_steps=1),
        lambda: HistoryDisplay.from_estimator(rbm),
        lambda: demo_figure(rbm, X, image_shape=SHAPE, n_steps=1),
    ):
        with pytest.raises(ImportError, match=r'pip install "fastboltz\[plot\]"'):
            draw()
