"""Imports run one way, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fastboltz
import fastboltz_ext

PACKAGE = Path(fastboltz.__file__).parent
KERNELS = Path(fastboltz_ext.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

#: A module imports from layers above its own line alone (a package also from itself).
LAYERS = [
    {"_lazy"},
    {"validation", "rng", "interrupts", "chunks"},
    {"threads"},
    {"config"},
    {"units"},
    {"products"},
    {"terms"},
    {"enumeration"},
    {"energy"},
    {"gibbs"},
    {"path", "jobs"},
    {"tempering", "diagnostics"},
    {"likelihood", "objectives", "optimizers", "mean_field"},
    {"carried"},
    {"pair_loop"},
    {"training", "gradients"},
    {"recurrent", "belief", "callbacks", "low_rank", "distributed"},
    {"persistence"},
    {"datasets"},
    {"models"},
    {"scaling"},
    {"plots"},
    {"commands"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

#: Where packages beyond NumPy and SciPy may be imported: at the head of a module, and in functions.
AT_HEAD = {"sklearn": {"models"}, "numba": {"gradients"}, "llvmlite": {"gradients"}}
IN_FUNCTIONS = {
    "sklearn": {"models", "validation", "rng", "datasets", "persistence", "plots", "cli"},
    "matplotlib": {"plots", "cli"},
    "threadpoolctl": {"threads", "config", "cli"},
    "tqdm": {"models", "training", "cli"},
    "numba": {"gradients", "units", "terms", "gibbs"},
    "llvmlite": {"gradients"},
    "joblib": {"persistence", "likelihood", "jobs"},
    "arviz": {"diagnostics"},
    "torch": {"gradients"},
    "jax": {"gradients"},
    "pandas": set(),
    "pyarrow": {"commands"},
    "mpi4py": {"distributed"},
    "dask": {"distributed"},
    "distributed": {"distributed"},
}
EVERYWHERE = {"numpy", "scipy", "fastboltz_ext"} | sys.stdlib_module_names


def _layer(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path):
    """Every import of a module as (absolute name, whether at its head), type checking aside."""
    package = ("fastboltz", *path.relative_to(PACKAGE).parts[:-1])
    found = []

    def visit(node, at_head):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_head) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names]
            # "from . import x" names modules; "from .x import y" names what is in one.
            found.extend((name, at_head) for name in (names if node.module is None else [source]))
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, at_head and not inside)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def _names(path):
    return str(path.relative_to(PACKAGE))


def test_every_module_has_its_layer():
    unknown = {_layer(path) for path in MODULES} - set(RANK) - {"__init__", "__main__"}
    assert not unknown, f"say in LAYERS where {sorted(unknown)} belong"


@pytest.mark.parametrize("path", MODULES, ids=_names)
def test_imports_do_not_run_upwards(path):
    own = _layer(path)
    for name, _ in _imports(path):
        parts = name.split(".")
        if parts[0] != "fastboltz" or len(parts) == 1 or parts[1].startswith("_"):
            continue
        assert own not in ("__init__",), f"fastboltz itself loads {name} on first use only"
        if own == "__main__" or parts[1] == own:
            continue
        assert RANK[parts[1]] < RANK[own], f"{own} imports {parts[1]}, which stands above it"


@pytest.mark.parametrize("path", MODULES, ids=_names)
def test_other_packages_are_imported_where_they_may_be(path):
    own = _layer(path)
    for name, at_head in _imports(path):
        package = name.split(".")[0]
        if package == "fastboltz" or package in EVERYWHERE:
            continue
        allowed = set(AT_HEAD.get(package, ()))
        if not at_head:
            allowed |= IN_FUNCTIONS.get(package, set())
        where = "at its head" if at_head else "in a function"
        assert own in allowed, f"{own} imports {package} {where}"


def test_the_check_of_imports_sees_what_it_should(tmp_path, monkeypatch):
    """Catches a reader of imports that overlooks a form of them, and so lets everything pass."""
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "units").mkdir()
    module = tmp_path / "units" / "new.py"
    module.write_text(
        "from typing import TYPE_CHECKING\n"
        "import scipy.special as sp\n"
        "from .. import rng, training\n"
        "from ..models.rbm import RBM\n"
        "from .base import Unit\n"
        "from . import base\n"
        "if TYPE_CHECKING:\n"
        "    from ..cli import main\n"
        "class A:\n"
        "    import matplotlib\n"
        "    def f(self):\n"
        "        from sklearn.base import clone\n"
        "        import fastboltz.energy\n"
    )
    assert _imports(module) == [
        ("typing", True),
        ("scipy.special", True),
        ("fastboltz.rng", True),
        ("fastboltz.training", True),
        ("fastboltz.models.rbm", True),
        ("fastboltz.units.base", True),
        ("fastboltz.units.base", True),
        ("matplotlib", True),
        ("sklearn.base", False),
        ("fastboltz.energy", False),
    ]
    with pytest.raises(AssertionError, match="units imports training, which stands above it"):
        test_imports_do_not_run_upwards(module)
    with pytest.raises(AssertionError, match="units imports matplotlib at its head"):
        test_other_packages_are_imported_where_they_may_be(module)


def test_the_kernels_import_nothing_of_the_library():
    sources = [*KERNELS.glob("*.py"), *KERNELS.glob("*.pyx"), *KERNELS.glob("*.pxd")]
    assert sources
    pattern = re.compile(r"^\s*(?:from|c?import)\s+fastboltz(?![_\w])", re.MULTILINE)
    for path in sources:
        assert not pattern.search(path.read_text(encoding="utf-8")), path.name
    loaded = _loaded_after(
        "import fastboltz_ext, pkgutil, importlib\n"
        "for m in pkgutil.iter_modules(fastboltz_ext.__path__):\n"
        "    importlib.import_module(f'fastboltz_ext.{m.name}')\n"
    )
    assert "fastboltz_ext.philox" in loaded
    assert "fastboltz" not in loaded


# ------------------------------------------------------------------------------- in a fresh process


def _loaded_after(code):
    """Names of the modules that a fresh interpreter has loaded after running some code."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    paths = [str(PACKAGE.parent), *(p for p in sys.path if p)]
    head = f"import sys; sys.path[:] = {paths!r} + sys.path\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", head + script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


HEAVY = ("numba", "matplotlib", "sklearn", "pandas", "tqdm", "joblib")


def test_importing_the_package_imports_nothing_heavy():
    """Not even NumPy: names load on first use."""
    loaded = _loaded_after("import fastboltz; fastboltz.__version__; dir(fastboltz)")
    assert not loaded & {*HEAVY, "scipy", "numpy"}


def test_energies_sample_and_train_without_scikit_learn():
    loaded = _loaded_after(
        "import fastboltz as fb\n"
        "e = fb.Energy({'v': fb.Bernoulli(3), 'h': fb.Gaussian(2)}, terms=['v_i h_j'])\n"
        "p = e.init(random_state=0)\n"
        "e.log_partition(p)\n"
        "s = fb.Gibbs(e)\n"
        "s.step(p, s.init(p, n_chains=2, random_state=0))\n"
        "fb.objectives, fb.optimizers, fb.training, fb.likelihood.ais(e, p, betas=3, n_chains=20)\n"
    )
    assert not loaded & set(HEAVY)


def test_gradients_load_numba_and_other_frameworks_on_first_use():
    loaded = _loaded_after(
        "import fastboltz as fb\nfb.gradients.ScoreFunction(baseline='optimal')\n"
    )
    assert not loaded & {*HEAVY, "llvmlite", "torch", "jax"}


def test_the_first_fit_of_an_rbm_compiles_nothing_and_plots_nothing():
    """Deliberate bug that this catches: a jitted kernel on the path of every user."""
    loaded = _loaded_after(
        "import numpy as np, fastboltz as fb\n"
        "X = (np.random.default_rng(0).random((30, 5)) < 0.5).astype(np.float32)\n"
        "for v in ('bernoulli', 'gaussian'):\n"
        "    r = fb.RBM(3, visible=v, n_iter=2, random_state=0).fit(X)\n"
        "    r.transform(X), r.score(X), r.sample(3), r.log_partition('ais', betas=5)\n"
        "fb.BernoulliRBM(3, n_iter=1).fit(X).pseudo_likelihood(X)\n"
    )
    assert "sklearn" in loaded
    assert not loaded & {"numba", "llvmlite", "matplotlib", "tqdm"}


@pytest.mark.parametrize("name", fastboltz.__all__)
def test_every_public_name_is_there(name):
    assert getattr(fastboltz, name) is not None
    assert name in dir(fastboltz)


@pytest.mark.parametrize("name", ["fastboltz", "fastboltz.models"])
def test_what_a_package_is_written_with_is_not_among_its_names(name):
    """Catches TYPE_CHECKING and annotations, offered where a person completes a name."""
    package = import_module(name)
    names = {one for one in dir(package) if not one.startswith("__")}
    assert names == set(package.__all__)
    assert {"__doc__", "__file__", "__name__"} <= set(dir(package))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fastboltz' has no attribute 'RMB'"):
        fastboltz.RMB  # noqa: B018


def test_the_public_names_that_type_checkers_see_are_those_that_load():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {
        alias.asname or alias.name
        for n in block.body
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
    }
    assert seen == set(fastboltz.__all__) == set(fastboltz._WHERE)
