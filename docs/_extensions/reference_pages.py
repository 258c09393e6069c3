"""Pages of the reference, written from what the modules themselves name as public."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

#: (page, its title, the module, names; all public ones of the module by default).
PAGES: list[tuple[str, str, str, list[str] | None]] = [
    (
        "models",
        "Models",
        "fastboltz",
        [
            "RBM",
            "BernoulliRBM",
            "BoltzmannMachine",
            "RBMClassifier",
            "ClassGatedRBMClassifier",
            "TwoGroupRBMClassifier",
            "GatedRBM",
            "PointwiseGatedRBM",
            "PointwiseGatedRBMClassifier",
            "HigherOrderBoltzmannMachine",
            "DeepBoltzmannMachine",
            "DeepBeliefNetwork",
            "SigmoidBeliefNetwork",
            "RNNRBM",
        ],
    ),
    (
        "energies",
        "Energies",
        "fastboltz",
        ["Energy", "Conditionals", "NotEnumerableError"],
    ),
    ("terms", "Terms", "fastboltz.terms", ["Hyperedges", "DenseTerm", "EntryTerm", "FactoredTerm"]),
    ("units", "Units", "fastboltz.units", None),
    ("sampling", "Gibbs sampling", "fastboltz", ["Gibbs", "ChainState"]),
    ("tempering", "Parallel tempering", "fastboltz.tempering", None),
    ("diagnostics", "Diagnostics of chains", "fastboltz.diagnostics", None),
    ("likelihood", "Likelihoods", "fastboltz.likelihood", None),
    ("carried", "Likelihoods along a training", "fastboltz.carried", None),
    ("low_rank", "Low-rank pretraining", "fastboltz.low_rank", None),
    ("objectives", "Objectives", "fastboltz.objectives", None),
    ("optimizers", "Optimizers and schedules", "fastboltz.optimizers", None),
    ("training", "Training loops", "fastboltz.training", None),
    ("callbacks", "Callbacks", "fastboltz.callbacks", None),
    ("recurrent", "Recurrent networks", "fastboltz.recurrent", None),
    ("gradients", "Gradients of expectations", "fastboltz.gradients", None),
    ("costs", "Costs", "fastboltz.gradients.costs", None),
    ("bridges", "Bridges to PyTorch and JAX", "fastboltz.gradients.bridges", None),
    ("files", "Files and configuration", "fastboltz", ["load", "Checkpoint", "show_config"]),
    ("plots", "Pictures", "fastboltz.plots", None),
    ("datasets", "Data", "fastboltz.datasets", None),
    ("distributed", "Many machines", "fastboltz.distributed", None),
    ("scaling", "Scaling", "fastboltz.scaling", None),
]


def public_names(module: Any) -> list[str]:
    """Functions and classes of a module that it names as public, or defines without underscore."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        ]
    # No constants, and no names of types such as a dict of arrays.
    own = {name: getattr(module, name) for name in names}
    return [
        name
        for name, value in own.items()
        if callable(value) and str(getattr(value, "__module__", "")).startswith("fastboltz")
    ]


def existing() -> list[tuple[str, str, Any, list[str]]]:
    """The pages whose module there is, each object on the first page that names it."""
    found, seen = [], set()
    for page, title, path, names in PAGES:
        try:
            module = import_module(path)
        except ModuleNotFoundError:
            continue
        names = public_names(module) if names is None else names
        names = [name for name in names if id(getattr(module, name)) not in seen]
        seen |= {id(getattr(module, name)) for name in names}
        found.append((page, title, module, names))
    return found


def _page(title: str, module: Any, names: list[str], whole: bool) -> str:
    lines = [title, "=" * len(title), ""]
    if whole:
        lines += [f".. automodule:: {module.__name__}", ""]
    lines += [f".. currentmodule:: {module.__name__}", ""]
    kinds = {
        "Classes": [name for name in names if inspect.isclass(getattr(module, name))],
        "Functions": [name for name in names if not inspect.isclass(getattr(module, name))],
    }
    for kind, own in kinds.items():
        if own:
            lines += [f".. rubric:: {kind}", "", ".. autosummary::", "   :toctree: generated", ""]
            lines += [f"   {name}" for name in own]
            lines.append("")
    return "\n".join(lines)


def _write(app: Sphinx, config: Any) -> None:
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    pages = existing()
    for page, title, module, names in pages:
        whole = module.__name__ != "fastboltz"
        _update(folder / f"{page}.rst", _page(title, module, names, whole))
    contents = [
        "Reference",
        "=========",
        "",
        "Everything public, by what it is for.",
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
        *(f"   {page}" for page, *_ in pages),
        "",
    ]
    _update(folder / "index.rst", "\n".join(contents))


def _update(path: Path, text: str) -> None:
    """Write a file only where it changes, so that unchanged pages are not built again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


# -- docstrings ------------------------------------------------------------------------------------


def _joined(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Join lines that end in a backslash: raw docstrings keep it."""
    text = "\n".join(lines)
    lines[:] = re.sub(r" *\\\n *", " ", text).split("\n")


def _escaped(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """``(n, *shape)`` is a shape and no emphasis."""
    for k, line in enumerate(lines):
        if line.lstrip().startswith(">>>"):
            continue
        parts = line.split("``")
        parts[::2] = [
            re.sub(r"(?<=, )\*(?=[a-z_])|(?<=\()\*(?=[a-z_])", r"\\*", x) for x in parts[::2]
        ]
        lines[k] = "``".join(parts)


def _skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what scikit-learn's base classes add: it is documented there."""
    owner = inspect.unwrap(obj) if callable(obj) else obj
    module = getattr(owner, "__module__", None) or getattr(
        getattr(obj, "fget", None), "__module__", ""
    )
    is_theirs = str(module).startswith(("sklearn", "builtins"))
    if is_theirs or name == "get_metadata_routing" or name.endswith("_request"):
        return True
    return None


# -- references ------------------------------------------------------------------------------------


def _resolved(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """What single backticks name: something documented by the end of its name, or a parameter.

    ``Unit``, ``fastboltz.Unit`` and ``fastboltz.units.Unit`` are one class, documented once.
    """
    if node.get("refdomain") != "py" or node.get("reftype") not in ("obj", "class"):
        return None
    target = node["reftarget"]
    known = env.domains["py"].objects
    # A lone word in small letters is a function, or a parameter, or another method of the class.
    if re.fullmatch(r"[a-z_0-9]+", target):
        module, cls = node.get("py:module") or "fastboltz", node.get("py:class")
        named = [f"{module}.{cls}.{target}", f"{module}.{target}", f"fastboltz.{target}"]
        found = [name for name in named if name in known][:1]
        if not found:
            return nodes.emphasis("", target)
    else:
        end = target.removeprefix("fastboltz.")
        found = [name for name in known if name == end or name.endswith(f".{end}")]
        # Of several of one name, that of the module in which it is named, else the shortest.
        own = [name for name in found if name.startswith(f"{node.get('py:module') or ''}.")]
        found = sorted(own or found, key=len)[:1]
    if found:
        at = known[found[0]]
        return make_refnode(app.builder, node["refdoc"], at.docname, at.node_id, contnode, found[0])
    # An attribute is described on the page of its class.
    owner, dot, _ = target.rpartition(".")
    if dot and [name for name in known if name.endswith(f".{owner}")]:
        node["reftarget"] = owner
        return _resolved(app, env, node, contnode)
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before autosummary looks for them."""
    app.connect("config-inited", _write)
    app.connect("autodoc-process-docstring", _joined, priority=400)  # numpydoc has 500
    app.connect("autodoc-process-docstring", _escaped, priority=600)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _resolved)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
