"""Names of a package that load on first use (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: dict[str, Any], where: Mapping[str, str | None]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package whose names load on first use.

    Parameters
    ----------
    package : dict
        The ``globals()`` of the package's ``__init__``.
    where : dict
        Public name -> the module of the package that it comes from; None for a module itself.
    """
    own = package["__name__"]

    def get(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {own!r} has no attribute {name!r}")
        module = import_module(f".{where[name] or name}", own)
        value = module if where[name] is None else getattr(module, name)
        package[name] = value
        return value

    def names() -> list[str]:
        # Without what the package's own code imports.
        return sorted({*where, *(name for name in package if name.startswith("__"))})

    return get, names
