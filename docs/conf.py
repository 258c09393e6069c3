"""How the documentation is built: ``sphinx-build -W --keep-going -b html docs build/docs``.

Nothing is fetched. The examples are shown with the pictures of ``docs/pictures``; with
``FASTBOLTZ_DOCS_RUN=1`` they are run instead, which takes some minutes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_extensions"))

import fastboltz  # noqa: E402

project = "fastboltz"
author = "the fastboltz developers"
copyright = f"2026, {author}"
version = release = fastboltz.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "reference_pages",
    "example_pictures",
]
templates_path = ["_templates"]
exclude_patterns = ["_extensions", "pictures", "gallery/*.ipynb", "sg_execution_times.rst"]
root_doc = "index"
nitpicky = True
# Single backticks name something of the package, or a parameter (see reference_pages.py).
default_role = "py:obj"
# Of other packages: their documentation is not fetched.
nitpick_ignore = [("py:obj", "torch.autograd.Function")]

# -- pages of the reference ------------------------------------------------------------------------

autosummary_generate = True
autodoc_default_options = {"member-order": "bysource"}
# The types stand in the docstrings; signatures are short without them.
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# -- examples --------------------------------------------------------------------------------------

RUN = bool(int(os.environ.get("FASTBOLTZ_DOCS_RUN", "0")))

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "plot_gallery": RUN,
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py",
    "reset_argv": "example_pictures.example_arguments",
    "download_all_examples": False,
    # The scripts read their arguments from the command line: they are no notebooks.
    "notebook_extensions": set(),
    "write_computation_times": False,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 1e9,
}

# -- the pages -------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"fastboltz {release}"
html_static_path = ["_static"]
html_css_files = ["fastboltz.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
