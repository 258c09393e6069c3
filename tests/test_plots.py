"""Displays: what is drawn is what the model holds."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM as SklearnRBM

import fastboltz as fb
from fastboltz.plots import (
    AnalogyDisplay,
    ClassFiltersDisplay,
    ClassSamplesDisplay,
    CompletionDisplay,
    FilterPairsDisplay,
    FiltersDisplay,
    HistoryDisplay,
    ImagesDisplay,
    SamplesDisplay,
    demo_figure,
)

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
    both = HistoryDisplay.from_estimator(rbm, keys=["free_energy", "learning_rate"])
    labels = [text.get_text() for text in both.ax_.get_legend().get_texts()]
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

    def once(progress):
        if progress.state.epoch == 2:
            progress.state.record(now=1.0)

    gaps = fb.RBM(n_components=2, n_iter=3, callbacks=[once]).fit(X)
    with pytest.raises(ValueError, match=r"history_\['now'\] has 1 entries; .* 3 epochs"):
        HistoryDisplay.from_estimator(gaps, keys="now")


# -------------------------------------------------------------------------------------- all of them


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
