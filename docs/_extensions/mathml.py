"""Formulas as MathML, which browsers draw by themselves: no script is fetched to show a page."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def _mathml(node: Any, text: str, inline: bool) -> str:
    try:
        found = tex2mathml(text, as_block=not inline)
    except Exception as error:
        raise ValueError(f"{node.source}:{node.line}: cannot set {text!r}: {error}") from error
    # Browsers set "log p" without a space.
    applied = r"(<mo>&ApplyFunction;</mo>)(?!\s*<mo stretchy=\"false\">\()"
    return re.sub(applied, r'\1<mspace width="0.17em"/>', found)


def _visit_inline(self: Any, node: nodes.math) -> None:
    self.body.append(_mathml(node, node.astext(), inline=True))
    raise nodes.SkipNode


def _visit_block(self: Any, node: nodes.math_block) -> None:
    text = node.astext()
    if r"\\" in text and r"\begin" not in text:
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(_mathml(node, text, inline=False))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer as ``html_math_renderer = "mathml"``."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
