"""Reading models from files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .. import models
from ..persistence import read
from ..training import Callback, restore_callbacks
from ..validation import check_callbacks


def load(path: str | os.PathLike[str], callbacks: Sequence[Callback] | None = None) -> Any:
    """Read a model that ``model.save(path)`` or a `fastboltz.Checkpoint` wrote.

    Loading runs no code of the file, which holds numbers, text and names of the library's own
    classes. Parameters of `fit` that the model had, callbacks apart, and all that it learnt are as
    they were: it answers, and learns on by ``partial_fit``, with the same bytes.

    Parameters
    ----------
    path : str or path
    callbacks : sequence of callables, optional
        Become the model's. Those that remember something (`fastboltz.callbacks`) go on from what
        the file says of them. By default the model has none but a `Checkpoint` that it was saved
        with.

    Returns
    -------
    estimator

    Raises
    ------
    fastboltz.persistence.ModelFileError
        If the file is truncated, altered or not that of a model.
    ValueError
        If callbacks are given, and one is missing of which the file has a state.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import fastboltz as fb
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 20, axis=0)
    >>> rbm = fb.RBM(2, n_iter=5, random_state=0).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "rbm.fbm")
    >>> rbm.save(path)
    >>> bool((fb.load(path).transform(X) == rbm.transform(X)).all())
    True
    """
    check_callbacks(callbacks)
    model = read(path, _estimator)
    if callbacks is not None:
        training = vars(model).get("_training")
        restore_callbacks(callbacks, {} if training is None else training.callbacks)
        # Not a constructor argument of BernoulliRBM, whose training hears of them all the same.
        model.callbacks = list(callbacks)
    return model


def _estimator(name: str) -> type:
    if name not in models.__all__:
        raise ValueError(f"no estimator is called {name!r}")
    kind: type = getattr(models, name)
    return kind
