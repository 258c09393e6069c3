"""The documentation: its code runs, it names everything public, its pictures are there."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import fastboltz as fb

DOCS = Path(__file__).resolve().parents[1] / "docs"
CHAPTERS = sorted(DOCS.glob("*.rst"))
EXAMPLES = DOCS.parent / "examples"

pytestmark = pytest.mark.skipif(
    not (DOCS / "conf.py").is_file(), reason="the documentation is not beside the tests"
)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_the_code_of_a_chapter_does_what_the_chapter_says(chapter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import matplotlib

    matplotlib.use("Agg")
    found = doctest.testfile(
        str(chapter), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.failed == 0
    text = chapter.read_text(encoding="utf-8")
    assert found.attempted == len(re.findall(r"^ *>>> ", text, re.M))


@pytest.fixture(scope="module")
def pages():
    """The pages of the reference, as the build makes them."""
    pytest.importorskip("sphinx")
    path = DOCS / "_extensions" / "reference_pages.py"
    spec = importlib.util.spec_from_file_location("reference_pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_names_everything_public(pages):
    """Catches a public name, or a public module, that has no page."""
    listed = {
        id(getattr(module, name)) for _, _, module, names in pages.existing() for name in names
    }
    modules = {module.__name__ for _, _, module, _ in pages.existing()}
    for name, where in fb._WHERE.items():
        if where is None:
            assert f"fastboltz.{name}" in modules, f"fastboltz.{name} has no page"
        else:
            assert id(getattr(fb, name)) in listed, f"fastboltz.{name} is on no page"
    # Of a page that lists names of its own, the rest of the module is for those who extend it.
    for module in {path for _, _, path, names in pages.PAGES if names is None} & modules:
        for name in pages.public_names(import_module(module)):
            assert id(getattr(import_module(module), name)) in listed, f"{module}.{name}"


def test_links_and_pictures_of_the_chapters_are_there():
    """What Sphinx would complain of, without it."""
    scripts = {f"gallery/{path.stem}" for path in EXAMPLES.glob("*.py")} | {"gallery/index"}
    known = {path.stem for path in CHAPTERS} | scripts | {"reference/index"}
    for chapter in CHAPTERS:
        text = chapter.read_text(encoding="utf-8")
        links = re.findall(r":doc:`(?:[^`<]*<)?([\w/]+)>?`", text)
        assert not set(links) - known, f"{chapter.name} links to {set(links) - known}"
        for picture in re.findall(r"\.\. image:: (\S+)", text):
            assert (DOCS / picture).is_file(), f"{chapter.name}: no {picture}; run pictures.py"
        for name in re.findall(r":pyobject: (\w+)", text):
            code = (DOCS / "pictures.py").read_text(encoding="utf-8")
            assert f"def {name}(" in code


def test_every_example_has_a_picture_and_none_is_large():
    for script in EXAMPLES.glob("*.py"):
        assert (DOCS / "pictures" / f"{script.stem}.png").is_file(), "run docs/pictures.py"
    for picture in (DOCS / "pictures").glob("*.png"):
        assert picture.stat().st_size < 120_000, f"{picture.name} is large for a repository"


@pytest.mark.parametrize(
    "call",
    [
        fb.likelihood.ais,
        fb.likelihood.conditional_ais,
        fb.likelihood.pseudo_log_likelihood,
        fb.Energy.value,
        fb.Energy.field,
        fb.Energy.free_energy,
        fb.Energy.log_probabilities,
        fb.Energy.statistics,
    ],
    ids=lambda call: call.__qualname__,
)
def test_options_are_documented(call):
    """Catches an option that help() shows in the signature and says nothing of."""
    parameters = re.split(r"\n(?:Returns|Warns)\n-+\n", inspect.getdoc(call))[0]
    named = {
        name for line in re.findall(r"^([\w, ]+)", parameters, re.M) for name in line.split(", ")
    }
    named = {name.strip() for name in named}
    for name in list(inspect.signature(call).parameters)[1:]:
        assert name in named | {"energy", "params"}, f"{call.__qualname__} does not explain {name}"


def test_every_display_is_shown_or_named():
    text = (DOCS / "pictures.rst").read_text() + (DOCS / "pictures.py").read_text()
    missing = [n for n in fb.plots.__all__ if n.endswith("Display") and n not in text]
    assert not missing, f"pictures.rst says nothing of {missing}"


def test_what_the_build_needs_is_an_extra():
    import tomllib

    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    extra = " ".join(project["project"]["optional-dependencies"]["docs"])
    conf = (DOCS / "conf.py").read_text(encoding="utf-8")
    for package, mark in {
        "sphinx": "sphinx.ext",
        "numpydoc": "numpydoc",
        "sphinx-gallery": "sphinx_gallery",
        "furo": "furo",
    }.items():
        assert mark in conf and package in extra
