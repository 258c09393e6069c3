"""Labels of rows as people give them: numbers, text, columns of data frames, and none."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

#: The label of rows without one, for semi-supervised learning: scikit-learn's convention.
UNLABELLED = -1


def plain_labels(labels: np.ndarray, name: str, hint: str = "") -> np.ndarray:
    """Labels of one kind: numbers in an array of numbers, text in any.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
    name : str
        What they are called in a sentence.
    hint : str
        A sentence on what to do where labels are missing.

    Returns
    -------
    ndarray of shape (n_samples,)
        Text beside the mark `UNLABELLED` stays an array of objects.
    """
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(
            f"{name} contains NaN or infinity; labels must be known for every row.{hint}"
        )
    if labels.dtype.kind != "O":
        return labels
    listed = labels.tolist()
    if any(_is_missing(x) for x in listed):
        raise ValueError(f"{name} contains None or NaN; labels must be known for every row.{hint}")
    is_text = [isinstance(x, str) for x in listed]
    if not any(is_text):
        return plain_labels(np.array(listed), name, hint) if _are_numbers(listed) else labels
    others = {x for x, text in zip(listed, is_text, strict=True) if not text and x != UNLABELLED}
    if others:
        raise ValueError(
            f"{name} has both text and {listed_labels(sorted(others, key=repr))} as labels; give "
            f"labels of one kind, e.g. all as text."
        )
    return labels


def is_unlabelled(labels: np.ndarray) -> np.ndarray:
    """Which labels are the mark of rows without one, (n_samples,).

    NumPy makes text of -1 where the others are text, so "-1" is the mark there.
    """
    if labels.dtype.kind in "OUS":
        marks = (UNLABELLED, str(UNLABELLED), str(UNLABELLED).encode())
        return np.array([x in marks for x in labels.tolist()], bool)
    return np.asarray(labels == UNLABELLED) & np.ones(len(labels), bool)


def listed_labels(labels: Sequence[Any] | np.ndarray, most: int = 8) -> str:
    """Some labels, as a sentence shows them."""
    shown = ", ".join(repr(x.item() if hasattr(x, "item") else x) for x in labels[:most])
    return shown + (f", ... ({len(labels)} in all)" if len(labels) > most else "")


def _is_missing(x: Any) -> bool:
    # pandas marks with objects of its own, whose comparisons have no truth value.
    return (
        x is None or type(x).__name__ in ("NAType", "NaTType") or (isinstance(x, float) and x != x)
    )


def _are_numbers(labels: Sequence[Any]) -> bool:
    return all(isinstance(x, (Real, np.bool_)) for x in labels)
