"""The picture of a comparison of estimators."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

import fastboltz.gradients as G  # noqa: N812
from fastboltz.plots import ComparisonDisplay
from fastboltz.plots.curves import _labels, _round_numbers

matplotlib.use("Agg")

from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def cost(Y):
    return (Y.sum(axis=1) - 2) ** 2


def test_a_comparison_is_drawn_as_it_was_measured():
    full = G.Cost(cost, lambda Y: np.repeat(2 * (Y.sum(axis=1, keepdims=True) - 2), 5, axis=1))
    methods = [G.ScoreFunction("none"), G.DisARM(), G.GumbelSoftmax(), G.Enumerate()]
    found = G.compare(
        methods, full, G.Bernoulli(np.zeros(5)), n_samples=50, n_repeats=5, random_state=0
    )
    display = ComparisonDisplay(found).plot()
    titles = [ax.get_title() for ax in display.axes_]
    assert titles == ["bias", "variance", "seconds a call", "variance x seconds"]
    assert [t.get_text() for t in display.axes_[0].get_yticklabels()] == [
        r.method for r in found.rows
    ]
    keys = ("bias", "variance", "seconds", "variance_seconds")
    for points, key in zip(display.points_, keys, strict=True):
        for at, (offset, row) in enumerate(zip(points.get_offsets(), found.rows, strict=True)):
            # Enumeration has no variance, and a point at zero has no place on a logarithmic axis.
            if np.ma.is_masked(offset):
                assert row.method == "enumerate" and key != "seconds"
            else:
                assert tuple(offset) == (getattr(row, key), at)
    reds = [colour[0] > 0.5 for colour in display.points_[0].get_facecolors()]
    assert reds == [r.biased for r in found.rows]
    display.figure_.canvas.draw()


@pytest.mark.parametrize("low", [3e-7, 0.0021, 0.98, 40.0])
@pytest.mark.parametrize("times", [1.3, 2.0, 8.0, 90.0, 1e7])
def test_ticks_are_few_and_differ_as_they_are_written(low, times):
    """Catches ``2e-03 2e-03 3e-03 3e-03`` where all methods are close."""
    at = _round_numbers(low, low * times)
    assert 3 <= len(at) <= 7
    assert all(low <= x <= low * times for x in at)
    words = _labels(at)
    assert len(set(words)) == len(at)
    # Each names its tick, and all are of one form: no 9.6e-05 beside 0.00012.
    np.testing.assert_allclose([float(word) for word in words], at, rtol=0.02)
    assert len({"e" in word for word in words}) == 1
    if "e" in words[0]:
        assert len({"." in word for word in words}) == 1


def test_seconds_on_both_sides_of_a_power_of_ten_are_written_alike():
    assert _labels([9.6e-5, 1.2e-4]) == ["9.6e-5", "1.2e-4"]
    assert _labels([1e-6, 1e-4, 1e-2]) == ["1e-6", "1e-4", "1e-2"]
    assert _labels([0.003, 0.01, 0.3]) == ["0.003", "0.01", "0.3"]


def test_without_an_exact_gradient_there_is_no_bias():
    found = G.compare(
        [G.ScoreFunction("none")], cost, G.Gaussian(np.zeros(3)), n_samples=50, n_repeats=2
    )
    display = ComparisonDisplay(found).plot()
    assert len(display.axes_) == 3
    with pytest.raises(ValueError, match="ComparisonDisplay draws 3 panels, but ax holds 1 Axes"):
        ComparisonDisplay(found).plot([plt.subplots()[1]])
