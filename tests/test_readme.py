"""The README runs: its Python blocks in order, in one namespace, and the output that it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

import fastboltz as fb

README = Path(__file__).resolve().parents[1] / "README.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="the README is not beside the tests")


def blocks(text):
    """(language, code, line) of every fenced block."""
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        yield found[1], found[2], text[: found.start()].count("\n") + 2


def test_python_blocks_run_and_print_what_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    printed, n_run, n_shown = "", 0, 0
    for language, code, line in blocks(README.read_text(encoding="utf-8")):
        if language == "python":
            output = io.StringIO()
            # Padded, so that a traceback names the line of the README.
            program = compile("\n" * (line - 1) + code, str(README), "exec")
            with contextlib.redirect_stdout(output):
                exec(program, namespace)
            printed = output.getvalue()
            n_run += 1
        elif language == "text":
            assert printed == code, "the README shows another output than its code prints"
            n_shown += 1
    assert n_run >= 5 and n_shown >= 1
    assert namespace["completed"].shape == (10, 64)
    assert (namespace["completed"][:, :32] == namespace["known"][:, :32]).all()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"digits.fbm", "training.fbm"}, "the README's code leaves other files behind"


def test_every_model_is_named():
    """Catches a model that a newcomer cannot find."""
    text = README.read_text(encoding="utf-8")
    models = {name for name, where in fb._WHERE.items() if where == "models"}
    assert {name for name in models if f"`{name}`" not in text} == set()
    assert {name for name in models if f"`{name}`" not in str(fb.__doc__)} == set()


def test_the_commands_for_ci_are_there_and_no_others():
    text = README.read_text(encoding="utf-8")
    marked = re.findall(r"^<!-- ci:(\w+) -->\n```bash\n", text, re.M)
    assert marked == ["main", "test"]
    assert [language for language, _, _ in blocks(text)].count("bash") == 2


def test_files_that_the_readme_names_exist():
    """Inside of the checkout only: an sdist has no pictures."""
    text = README.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert len(links) >= 4
    if not (README.parent / "docs").is_dir():
        links = [link for link in links if not link.startswith("docs/")]
    missing = [link for link in links if not (README.parent / link).is_file()]
    assert not missing
