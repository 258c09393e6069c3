"""Headings and pictures of the examples, where these are shown without being run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def _heading(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make the first sentence of an example its heading, and show its picture below."""
    folder, _, stem = docname.rpartition("/")
    if folder != "gallery" or stem == "index":
        return
    marker = f".. _sphx_glr_gallery_{stem}.py:\n\n"
    before, found, after = source[0].partition(marker)
    if not found:
        raise ValueError(f"{docname}: expected {marker.strip()!r} in what sphinx-gallery writes")
    title, _, rest = after.lstrip("\n").partition("\n\n")
    title = " ".join(title.split()).removesuffix(".")
    picture = ""
    if not app.config.sphinx_gallery_conf["plot_gallery"] and _picture(app, stem).is_file():
        picture = f".. image:: /pictures/{stem}.png\n   :alt: {title}\n\n"
    # The picture stands below what the docstring says, before the code.
    text, code, tail = rest.partition(".. GENERATED FROM PYTHON SOURCE LINES")
    source[0] = f"{before}{marker}{title}\n{'=' * len(title)}\n\n{text}"
    if picture:
        source[0] = re.sub(r"\n*$", "\n\n", source[0]) + picture
    source[0] += code + tail


def _thumbnails(app: Sphinx) -> None:
    """Small versions of the pictures, in the place of those that say that there is none."""
    if app.config.sphinx_gallery_conf["plot_gallery"]:
        return
    from PIL import Image

    folder = Path(app.srcdir) / "gallery" / "images" / "thumb"
    for place in folder.glob("sphx_glr_*_thumb.png"):
        stem = place.name.removeprefix("sphx_glr_").removesuffix("_thumb.png")
        if not _picture(app, stem).is_file():
            continue
        canvas = Image.new("RGB", (400, 280), "white")
        picture = Image.open(_picture(app, stem)).convert("RGB")
        picture.thumbnail(canvas.size, Image.Resampling.LANCZOS)
        canvas.paste(
            picture, [(a - b) // 2 for a, b in zip(canvas.size, picture.size, strict=True)]
        )
        canvas.save(place)


def example_arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """The arguments of an example that is run: its picture goes where it is not left behind."""
    stem = Path(script_vars["src_file"]).stem
    return ["--output", str(Path(gallery_conf["src_dir"]) / "gallery" / f"{stem}.png")]


def _picture(app: Sphinx, stem: str) -> Path:
    return Path(app.srcdir) / "pictures" / f"{stem}.png"


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at the pages that sphinx-gallery has written."""
    app.connect("source-read", _heading)
    app.connect("builder-inited", _thumbnails, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
