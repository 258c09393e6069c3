"""Data that come in chunks, because all of them together do not fit into memory.

Chunks of any length are checked as they come and regrouped into blocks of a fixed number of rows,
so what is learnt does not depend on how the data were cut. No more than a block and a chunk is in
memory at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

#: Observed groups of some rows, and their weights or None.
Part = tuple[Mapping[str, Any], np.ndarray | None]
#: Bytes of a block, dense, in the model's precision.
BLOCK_BYTES = 2**26


def is_chunked(X: Any) -> bool:
    """Whether data are a function that returns chunks, an iterator of them, or Dask's."""
    return isinstance(X, Iterator) or _is_dask(X) or (callable(X) and not hasattr(X, "shape"))


def _is_dask(X: Any) -> bool:
    return hasattr(X, "__dask_graph__") and (hasattr(X, "blocks") or hasattr(X, "partitions"))


def is_small_whole(X: Any) -> bool:
    """Whether an array has values that single precision holds, in less memory."""
    return isinstance(X, np.ndarray) and X.dtype.kind in "bui" and X.dtype.itemsize <= 2


def precisions(X: Any) -> Any:
    """Types that scikit-learn's checks may leave rows in, small whole numbers among them."""
    return None if is_small_whole(X) else real_types(X)


def real_types(X: Any) -> Any:
    """Types that scikit-learn's checks may leave rows in: those of reals."""
    # Frames of polars and pyarrow, whose types the checks do not look at.
    is_frame = hasattr(X, "schema") and hasattr(X, "slice")
    if is_frame and np.asarray(X.slice(0, 1)).dtype == np.float64:
        return np.float64
    return np.float32, np.float64


def passes_over(X: Any, name: str) -> Callable[[int], Iterator[Any]]:
    """What begins a pass over chunked data, for the method ``name``.

    It is told the number of the epoch, 0 for a look at all rows before the first, and so is a
    function that has a parameter ``epoch``.
    """
    if _is_dask(X):
        return lambda epoch: _dask_chunks(X)
    if isinstance(X, Iterator):
        if name != "partial_fit":
            raise TypeError(
                f"{name} reads the data n_iter + 1 times, but a {type(X).__name__} can be read "
                f"only once. Give a function that returns a new iterator of chunks each time it is "
                f"called, or make one pass with partial_fit."
            )
        return lambda epoch: X
    hears = _hears_of_epochs(X)

    def begin(epoch: int) -> Iterator[Any]:
        chunks = X(epoch=epoch) if hears else X()
        if hasattr(chunks, "shape") or not isinstance(chunks, Iterable):
            raise TypeError(
                f"the function that was given in place of rows must return an iterator of chunks "
                f"of rows; got {type(chunks).__name__}."
            )
        return iter(chunks)

    return begin


def _hears_of_epochs(function: Any) -> bool:
    try:
        return "epoch" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some compiled functions have no signature
        return False


def _dask_chunks(X: Any) -> Iterator[Any]:
    """Rows of a Dask array or data frame as it is cut, computed when their turn comes."""
    if hasattr(X, "partitions") and not hasattr(X, "chunks"):
        for k in range(X.npartitions):
            yield X.partitions[k].compute()
        return
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; expected a table, (n_rows, n_columns).")
    whole_rows = X.rechunk({1: -1})
    for k in range(whole_rows.numblocks[0]):
        yield whole_rows.blocks[k].compute()


def parts_of(chunk: Any, what: tuple[str, ...] = ("rows",)) -> tuple[Any, Any]:
    """Rows and weights of a chunk, which is either rows or a pair of both.

    Where more is observed than rows, such as labels, ``what`` names all of it, and the first entry
    of the answer is a tuple.
    """
    n = len(what)
    if n == 1 and not isinstance(chunk, tuple):
        return chunk, None
    if not isinstance(chunk, tuple) or len(chunk) not in (n, n + 1):
        names = ", ".join(what)
        least = "rows, or a pair" if n == 1 else f"a tuple ({names}) or"
        got = f"a tuple of {len(chunk)}" if isinstance(chunk, tuple) else type(chunk).__name__
        raise ValueError(f"a chunk is {least} ({names}, sample_weight); got {got}.")
    if n == 1:
        return chunk if len(chunk) == 2 else (chunk[0], None)
    return chunk[:n], chunk[n] if len(chunk) > n else None


def mapped(function: Callable[[Any], Any], X: Any) -> Any:
    """What a function makes of rows; of chunks, a function that returns such as they come."""
    if not is_chunked(X):
        return function(X)
    begin = passes_over(X, "fit")

    def read(epoch: int) -> Iterator[tuple[Any, Any]]:
        for chunk in begin(epoch):
            rows, weight = parts_of(chunk)
            yield function(rows), weight

    return read


def take_names(model: Any, other: Any) -> None:
    """Have a model know of columns and labels what another, which has seen them, does."""
    for name in ("n_features_in_", "feature_names_in_", "classes_"):
        if name in vars(model):
            delattr(model, name)
        if name in vars(other):
            setattr(model, name, getattr(other, name))


def block_rows(data: Mapping[str, Any], dtype: np.dtype, batch_size: int) -> int:
    """Rows of a block: as many whole minibatches as fit, one at least."""
    row = sum(x.shape[1] for x in data.values()) * dtype.itemsize
    return max(1, BLOCK_BYTES // (row * batch_size)) * batch_size


def regrouped(parts: Iterable[Part], n_rows: int) -> Iterator[Part]:
    """The same rows in the same order, cut after every ``n_rows``."""
    held: list[Part] = []
    n_held = 0
    for data, weight in parts:
        n, start = next(iter(data.values())).shape[0], 0
        while n - start + n_held >= n_rows:
            stop = start + n_rows - n_held
            held.append(_cut(data, weight, start, stop))
            block = [_joined(held)]
            held, n_held, start = [], 0, stop
            yield block.pop()
        if start < n:
            held.append(_cut(data, weight, start, n))
            n_held += n - start
    if held:
        yield _joined(held)


def _cut(data: Mapping[str, Any], weight: np.ndarray | None, start: int, stop: int) -> Part:
    rows = {g: x[start:stop] for g, x in data.items()}
    return rows, None if weight is None else weight[start:stop]


def _joined(parts: list[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    data = {g: _stacked([rows[g] for rows, _ in parts]) for g in parts[0][0]}
    if all(weight is None for _, weight in parts):
        return data, None
    weights = [
        np.ones(next(iter(rows.values())).shape[0], np.float32) if weight is None else weight
        for rows, weight in parts
    ]
    return data, np.concatenate(weights)


def _stacked(tables: list[Any]) -> Any:
    if not all(hasattr(x, "toarray") for x in tables):
        return np.concatenate([x.toarray() if hasattr(x, "toarray") else x for x in tables])
    from scipy import sparse

    return sparse.vstack(tables, format="csr")
