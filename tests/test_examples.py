"""Every example runs, for a moment, and leaves the picture that it promises."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

from matplotlib import pyplot as plt

FOLDER = Path(__file__).resolve().parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))

pytestmark = pytest.mark.skipif(not EXAMPLES, reason="the examples are not beside the tests")


def run(script, *arguments, monkeypatch):
    """Run a script as `python script --quick ...` would, in this process."""
    monkeypatch.setattr(sys, "argv", [str(script), "--quick", *arguments])
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        plt.close("all")


def check_picture(path):
    pixels = plt.imread(path)[..., :3]
    assert pixels.shape[1] >= 900
    assert pixels.std() > 0.05
    # Not a blank area with a title: something is drawn in each third, from left to right.
    for part in np.array_split(pixels, 3, axis=1):
        assert part.std() > 0.02


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_an_example_leaves_a_picture_of_its_name_in_the_current_folder(
    script, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run(script, monkeypatch=monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == [f"{script.stem}.png"]
    check_picture(tmp_path / f"{script.stem}.png")


def test_a_picture_goes_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    script = FOLDER / "higher_order.py"
    run(script, "--output", "elsewhere/picture.png", monkeypatch=monkeypatch)
    check_picture(tmp_path / "elsewhere" / "picture.png")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_an_example_says_what_it_does_and_is_listed(script):
    """A person meets them in the table of examples/README.md."""
    text = script.read_text(encoding="utf-8")
    assert text.startswith('"""')
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"[{script.name}]({script.name})" in listed, "give it a row of examples/README.md"
