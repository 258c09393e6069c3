"""Any declared energy as an estimator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from .. import rng, threads
from ..chunks import is_chunked, real_types
from ..energy import Energy
from ..enumeration import Enumeration, split
from ..gibbs import ChainState, Gibbs
from ..mean_field import mean_field
from ..objectives import LogLikelihood, Objective
from ..terms import Hyperedges
from ..training import Callback, Rows
from ..units import BY_NAME, Unit
from ..validation import check_count, check_state, one_of, unknown_group
from .base import CHUNK_ROWS, Data, EnergyEstimator, check_rows, unchanged_if_refused
from .unknown import ObjectiveOfKnown, completed, log2_completions, log_sum_by_row

#: With method="auto", gradients are exact up to so many states (log2).
_AUTO_LOG2_STATES = 10
#: Inference is exact where a row's unknown units have at most so many states (log2).
_EXACT_LOG2_STATES = 12


class BoltzmannMachine(ClassNamePrefixFeaturesOutMixin, TransformerMixin, EnergyEstimator):
    r"""Boltzmann machine of any energy that can be declared.

    ``E(x) = sum_g base_g(x_g) - sum_t <W_t, product of the groups in t>``. Training maximises
    ``log p(visible | given)``, with all other groups hidden: summed out in closed form where they
    can be, else sampled.

    A NaN marks a unit that is unknown in a row. Such a unit is hidden for that row: in every update
    it is drawn given what is known (with exact gradients, summed over), never imputed.

    Parameters
    ----------
    groups : dict of str to unit type
        As in `fastboltz.Energy`. An observed group may be a name or a type without a size
        (``"bernoulli"``, ``fastboltz.Gaussian``), which the data then give.
    terms : sequence of str or Hyperedges
        Couplings in index notation; see `fastboltz.terms`.
    visible : str or sequence of str
        Groups whose distribution is learnt.
    given : str or sequence of str, default=()
        Observed groups that are conditioned on.
    objective : LogLikelihood or sequence of them, default=None
        What is maximised in place of ``log p(visible | given)``: a weighted sum of
        `fastboltz.objectives.LogLikelihood`, each of some visible groups given others, with its own
        negative phase (`method`, `n_gibbs`, `n_positive` and `n_chains` are then not looked at). A
        visible group that is NaN as a whole in a row keeps that row out of the likelihoods that
        name it, so rows without a label may stand among others with one.
    method : {"auto", "pcd", "cd", "exact", "tempered", "trajectory"}, default="auto"
        Negative phase: persistent chains, chains from the data, or enumeration. "auto" enumerates
        up to 2**10 states, else takes "pcd", or "cd" where a group is given.
    n_gibbs : int, default=1
        Gibbs sweeps of an update.
    n_positive : int, default=10
        Sweeps over unknown units, and over hidden groups that cannot be summed out, in the positive
        phase.
    n_chains : int, default=None
        Persistent chains; None means `batch_size`.
    learning_rate : "auto", float or schedule, default="auto"
        As in `RBM`, and so are the parameters below.
    batch_size : int, default=50
    n_iter : int, default=50
    optimizer : {"sgd", "adam"} or Optimizer, default="sgd"
    momentum : float, default=0.0
    l1, l2 : float, default=0.0
    centered : bool, default=True
    n_threads : int, default=None
    callbacks : sequence of callables, default=None
    verbose : int, default=0
    random_state : None, int or RandomState, default=None

    Attributes
    ----------
    energy_ : Energy
    params_ : dict of arrays
    log_partition_ : LogPartition
    history_ : dict of lists
    n_iter_ : int
    n_features_in_ : int
        Entries of the observed groups together.

    References
    ----------
    Ackley, Hinton & Sejnowski, "A learning algorithm for Boltzmann machines", Cognitive Science 9,
    1985.
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, sections 20.1 and 20.8.

    Examples
    --------
    >>> import numpy as np
    >>> import fastboltz as fb
    >>> groups = {"v": fb.Bernoulli(3), "h": fb.Bernoulli(2)}
    >>> X = np.array([[0, 0, np.nan], [0, 1, 1], [1, 0, 0], [1, 1, 0]])
    >>> machine = fb.BoltzmannMachine(
    ...     groups, ["v_i v_j", "v_i h_k"], visible="v", random_state=0
    ... ).fit(X)
    >>> machine.transform(X).shape
    (4, 2)
    >>> machine.energy_.conditionals().site_sweeps
    ('v',)
    """

    _methods: tuple[str, ...] = ("auto", "pcd", "cd", "exact", "tempered", "trajectory")

    objective: LogLikelihood | Sequence[LogLikelihood] | None = None

    def __init__(
        self,
        groups: Mapping[str, Any],
        terms: Sequence[str | Hyperedges],
        *,
        visible: str | Sequence[str],
        given: str | Sequence[str] = (),
        objective: LogLikelihood | Sequence[LogLikelihood] | None = None,
        method: str = "auto",
        n_gibbs: int = 1,
        n_positive: int = 10,
        n_chains: int | None = None,
        learning_rate: Any = "auto",
        batch_size: int = 50,
        n_iter: int = 50,
        optimizer: Any = "sgd",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centered: bool = True,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.groups = groups
        self.terms = terms
        self.visible = visible
        self.given = given
        self.objective = objective
        self.method = method
        self.n_gibbs = n_gibbs
        self.n_positive = n_positive
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.optimizer = optimizer
        self.momentum = momentum
        self.l1 = l1
        self.l2 = l2
        self.centered = centered
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    # -- the description -----------------------------------------------------------------------

    @property
    def _visible(self) -> tuple[str, ...]:
        return (self.visible,) if isinstance(self.visible, str) else tuple(self.visible)

    @property
    def _given(self) -> tuple[str, ...]:
        return (self.given,) if isinstance(self.given, str) else tuple(self.given)

    @property
    def _observed(self) -> tuple[str, ...]:
        return (*self._visible, *self._given)

    @property
    def _hidden(self) -> tuple[str, ...]:
        return tuple(g for g in self.energy_.groups if g not in self._observed)

    def _declare(self, data: Data) -> Energy:
        groups = {}
        for g, kind in self.groups.items():
            if isinstance(kind, str):
                kind = BY_NAME[one_of(f"groups[{g!r}]", kind, BY_NAME)]
            if isinstance(kind, type) and issubclass(kind, Unit):
                if g not in data:
                    raise ValueError(
                        f"group {g!r} is hidden, so the data do not give its size; give the unit "
                        f"with its size, e.g. {kind.__name__}(10)."
                    )
                kind = kind(data[g].shape[1])
            groups[g] = kind
        return Energy(groups, self.terms)

    def _check_rows_apply(self, data: Data) -> None:
        """Raise a sentence if no likelihood of `objective` has a row that tells what it needs."""
        n = data[self._visible[0]].shape[0]
        dense = {g: x for g, x in data.items() if not hasattr(x, "toarray")}
        absent = {g: np.isnan(x).all(axis=1) for g, x in dense.items()}
        parts = [Objective._rows(one, absent, n) for one in self._likelihoods()]
        if all(rows is not None and len(rows) == 0 for rows in parts):
            raise ValueError(
                f"no row has what a likelihood of objective needs: all {n} lack a group that it "
                f"names. Give rows whose groups are known, or a likelihood of the others."
            )

    def _likelihoods(self) -> Sequence[LogLikelihood]:
        if self.objective is None:
            return [self._likelihood(self._visible, self._given)]
        return [self.objective] if isinstance(self.objective, LogLikelihood) else self.objective

    def _objective(self, energy: Energy, n_threads: int) -> Objective:
        if self.objective is not None:
            return ObjectiveOfKnown(energy, self._likelihoods(), n_threads, whole=True)
        negative = self._negative(energy) if self.method == "auto" else self.method
        one = self._likelihood(
            self._visible, self._given, negative=negative, n_positive=self.n_positive
        )
        return ObjectiveOfKnown(energy, one, n_threads)

    def _negative(self, energy: Energy) -> str:
        """The negative phase that "auto" means."""
        free = [g for g in energy.groups if g not in self._given]
        try:
            if split(energy, free).log2_states <= _AUTO_LOG2_STATES:
                return "exact"
        except ValueError:  # cannot be enumerated at all
            pass
        return "cd" if self._given else "pcd"

    def _moments(self, rows: Rows, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Weighted moments of what is known of each unit."""
        total = np.zeros((3, *rows.shape))
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            x = rows.take(chunk).astype(np.float64)
            w = np.ones(len(x)) if weight is None else weight[chunk]
            known = ~np.isnan(x)
            x = np.where(known, x, 0)
            total += [np.tensordot(w, part, axes=1) for part in (known, x, x * x)]
        never = total[0] == 0
        total[:, never] = np.array([1.0, 0.0, 1.0])[:, None]
        return total[1] / total[0], total[2] / total[0]

    def _weight_of_moments(self, rows: Rows, weight: np.ndarray | None) -> Any:
        total = np.zeros(rows.shape)
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            known = ~np.isnan(rows.take(chunk))
            w = np.ones(len(known)) if weight is None else weight[chunk].astype(np.float64)
            total += np.tensordot(w, known.astype(np.float64), axes=1)
        return total

    def _check_chunk(
        self, X: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Data, np.ndarray | None]:
        data = self._check_data(X, reset=reset)
        if not reset:
            data = {g: x.astype(self._dtype, copy=False) for g, x in data.items()}
        first = data[self._visible[0]]
        return data, self._check_weights(sample_weight, first, is_part=True)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """The parameters, then the report of the energy's conditionals."""
        text = super().__repr__(N_CHAR_MAX)
        energy = getattr(self, "energy_", None)
        if energy is None:
            try:
                energy = self._declare({})
            except (TypeError, ValueError, AttributeError, KeyError):
                return text  # sizes that the data will give, or a mistake that fit explains
        return f"{text}\n{energy.conditionals()}"

    # -- checks --------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_positive", self.n_positive)
        self._check_groups()

    def _check_groups(self) -> None:
        if not isinstance(self.groups, Mapping):
            raise TypeError(
                f"groups must be a dict of unit types, e.g. {{'v': fastboltz.Bernoulli(784)}}; "
                f"got {self.groups!r}."
            )
        for name in ("visible", "given"):
            named = getattr(self, name)
            named = (named,) if isinstance(named, str) else named
            if not isinstance(named, Sequence) or not all(isinstance(g, str) for g in named):
                raise TypeError(
                    f"{name} must be the name of a group or a list of names (the energy has "
                    f"{', '.join(map(repr, self.groups))}); got {getattr(self, name)!r}."
                )
            for g in named:
                if g not in self.groups:
                    raise unknown_group(name, g, self.groups)
        is_list = isinstance(self.terms, Iterable) and not isinstance(self.terms, Mapping)
        if not (is_list or isinstance(self.terms, Hyperedges)):
            raise TypeError(
                f"terms must be a list of couplings in index notation, e.g. ['v_i h_j']; got "
                f"{self.terms!r}."
            )
        if not self._visible:
            raise ValueError("visible names no group; name one whose distribution is to be learnt.")
        twice = [g for g in self._observed if self._observed.count(g) > 1]
        if twice:
            raise ValueError(
                f"group {twice[0]!r} is named twice in visible={self.visible!r} and "
                f"given={self.given!r}; name it in one of them, once."
            )
        if self.objective is not None:
            self._check_objective()

    def _check_objective(self) -> None:
        likelihoods = self._likelihoods()
        if not (
            isinstance(likelihoods, Sequence)
            and likelihoods
            and all(isinstance(one, LogLikelihood) for one in likelihoods)
        ):
            raise TypeError(
                f"objective must be one or more of fastboltz.objectives.LogLikelihood, e.g. "
                f"LogLikelihood('y', 'v', negative='exact'), or None; got {self.objective!r}."
            )
        for one in likelihoods:
            where = f"objective: log p({', '.join(one.of)} | {', '.join(one.given) or 'nothing'})"
            for g in (*one.of, *one.without):
                if g not in self._visible:
                    raise ValueError(
                        f"{where} needs group {g!r}, which is not visible; visible is "
                        f"{self.visible!r}."
                    )
            for g in one.given:
                if g not in self._observed:
                    raise ValueError(
                        f"{where} is given {g!r}, which the data do not give; name it in visible "
                        f"or in given."
                    )
            for g in self._given:
                if g not in one.given:
                    raise ValueError(
                        f"{where} leaves {g!r} open, but the model has given={self.given!r}; name "
                        f"it in the likelihood's given, or in visible."
                    )
        for g in self._visible:
            if not any(g in (*one.of, *one.given) for one in likelihoods):
                raise ValueError(
                    f"visible names {g!r}, but no likelihood of objective does; name it in one, or "
                    f"leave it out."
                )

    def _check_data(self, X: Any, *, reset: bool) -> dict[str, Any]:
        """Observed groups as rows of matrices, NaN where a visible unit is unknown."""
        observed = self._observed
        # A sparse matrix by keys is a dict too.
        by_group = isinstance(X, Mapping) and not hasattr(X, "toarray")
        if by_group:
            for g in X:
                if g not in observed:
                    raise unknown_group("X", g, observed)
            for g in observed:
                if g not in X:
                    raise ValueError(
                        f"X has no rows for the observed group {g!r} (it has "
                        f"{', '.join(map(repr, X)) or 'none'}); add X[{g!r}]."
                    )
            data = {g: self._check_group(f"X[{g!r}]", X[g]) for g in observed}
        else:
            sizes = self._sizes_in_table(X, reset)
            X = check_rows(self, X, reset=reset, ensure_all_finite="allow-nan")
            data = self._cut_table(X, sizes)
        n_rows = {g: x.shape[0] for g, x in data.items()}
        if len(set(n_rows.values())) > 1:
            listed = ", ".join(f"X[{g!r}] has {n}" for g, n in n_rows.items())
            raise ValueError(f"every observed group needs the same number of rows; {listed}.")
        energy = self._declare(data) if reset else self.energy_
        for g, x in data.items():
            name = f"X[{g!r}]" if by_group else "X"
            unit = energy.groups[g]
            if x.shape[1] != unit.size:
                encode = ""
                if unit.event_axes and x.shape[1] == unit.n_units:
                    encode = " Encode the columns with sklearn.preprocessing.OneHotEncoder."
                raise ValueError(
                    f"{name} has {x.shape[1]} columns, but group {g!r} is {unit}; expected "
                    f"{unit.size}, one an entry.{encode}"
                )
            self._check_known(name, g, unit, x)
            data[g] = self._check_support(unit, x, name)
        if by_group and reset:
            self.n_features_in_ = sum(x.shape[1] for x in data.values())
            self.__dict__.pop("feature_names_in_", None)
        return data

    def _sizes_in_table(self, X: Any, reset: bool) -> dict[str, int | None]:
        """Columns of each observed group in a table of all; None stands for those that are left."""
        if len(self._observed) == 1:
            return {self._observed[0]: None}
        groups = self.groups if reset else self.energy_.groups
        sizes = {g: getattr(groups[g], "size", None) for g in self._observed}
        sizes = {g: n if isinstance(n, int) else None for g, n in sizes.items()}
        if (unknown := [g for g, n in sizes.items() if n is None])[1:]:
            raise TypeError(
                f"X must be a dict of arrays, one for each observed group "
                f"({', '.join(map(repr, self._observed))}); got {type(X).__name__}. It may be one "
                f"table where at most one group has no size: give those of "
                f"{', '.join(map(repr, unknown))}, e.g. groups={{{unknown[0]!r}: "
                f"fastboltz.Bernoulli(10), ...}}."
            )
        return sizes

    def _cut_table(self, X: Any, sizes: Mapping[str, int | None]) -> dict[str, Any]:
        """The observed groups, which stand side by side in the columns of X."""
        left = X.shape[1] - sum(n or 0 for n in sizes.values())
        if left < 0 or (left > 0) != (None in sizes.values()):
            listed = ", ".join(f"{g!r} {n or 'at least 1'}" for g, n in sizes.items())
            raise ValueError(
                f"X has {X.shape[1]} columns, but the observed groups take, side by side, "
                f"{listed}; give as many, or a dict of arrays."
            )
        data, start = {}, 0
        for g, n in sizes.items():
            stop = start + (left if n is None else n)
            data[g], start = X[:, start:stop], stop
        return data

    def _check_group(self, name: str, x: Any) -> Any:
        x = check_array(
            x,
            accept_sparse="csr",
            dtype=real_types(x),
            ensure_all_finite="allow-nan",
            allow_nd=True,
            input_name=name,
        )
        return x.reshape(len(x), -1) if x.ndim > 2 else x

    def _check_known(self, name: str, group: str, unit: Unit, x: Any) -> None:
        values = x.data if hasattr(x, "toarray") else x
        if not np.isnan(values).any():
            return
        if group in self._given:
            raise ValueError(
                f"{name} contains NaN, but group {group!r} is given, so all of it must be known; "
                f"name it in visible, or fill its values."
            )
        if hasattr(x, "toarray"):
            raise ValueError(f"{name} is sparse and contains NaN; give unknown units densely.")
        check_state(group, unit, x.reshape(len(x), *unit.shape), allow_nan=True)
        if self.objective is not None and any(group in one.given for one in self._likelihoods()):
            unknown = np.isnan(x)
            in_part = unknown.any(axis=1) & ~unknown.all(axis=1)
            if in_part.any():
                raise ValueError(
                    f"{name} is known in part in row {in_part.argmax()}, but objective has a "
                    f"likelihood given {group!r}, which it takes whole; give all of its units, or "
                    f"NaN for all."
                )

    # -- fitting -------------------------------------------------------------------------------

    @unchanged_if_refused
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> BoltzmannMachine:
        """Learn the parameters from rows of the observed groups.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or dict of them
            Group -> rows, (n_samples, size) or (n_samples, *shape), for each observed group; or
            one table of the visible groups and then those that are given, side by side, which
            scikit-learn's splitters can take rows of. NaN marks unknown visible units. A function
            that returns an iterator of chunks stands for more than fits into memory, as in `RBM`.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        if is_chunked(X):
            self._fit_chunks(X, sample_weight)
            return self
        self._check_parameters()
        data = self._check_data(X, reset=True)
        if self.objective is not None:
            self._check_rows_apply(data)
        self._fit(data, self._check_weights(sample_weight, data[self._visible[0]]))
        return self

    @unchanged_if_refused
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> BoltzmannMachine:
        """Make one pass over the rows, going on from where the model stands.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or dict of them
            Or an iterator of chunks, or what `fit` takes in their place; it is read once.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        self._check_structure()
        if is_chunked(X):
            self._partial_fit_chunks(X, sample_weight)
            return self
        self._check_parameters()
        data = self._check_data(X, reset=not hasattr(self, "params_"))
        self._partial_fit(data, self._check_weights(sample_weight, data[self._visible[0]]))
        return self

    # -- inference -----------------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return sum(self.energy_.groups[g].size for g in self._hidden)

    def transform(self, X: Any) -> np.ndarray:
        """Means of the hidden units given what is known, group after group.

        They are those of `infer` with ``method="auto"``: exact where that is cheap, else
        mean-field.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or dict of them

        Returns
        -------
        ndarray of shape (n_samples, sizes of the hidden groups)
        """
        means = self.infer(X)
        if not self._hidden:
            raise ValueError(
                f"{type(self).__name__} has no hidden group, so there is nothing to transform to; "
                f"infer fills in unknown units."
            )
        return np.concatenate([means[g].reshape(len(means[g]), -1) for g in self._hidden], axis=1)

    def infer(
        self, X: Any, method: str = "auto", *, n_steps: int = 100, random_state: Any = None
    ) -> dict[str, np.ndarray]:
        """Means of all units given those that are known.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or dict of them
            NaN marks unknown visible units.
        method : {"auto", "exact", "mean-field", "gibbs"}
            "exact" sums hidden groups out in closed form or over their states, and unknown units
            over their states. "auto" does so for rows with at most 2**12 states to list, and takes
            "mean-field" for others. "gibbs" averages over sweeps.
        n_steps : int
            Sweeps of "gibbs", after half as many that are left out.
        random_state : None, int, RandomState or Generator
            For "gibbs".

        Returns
        -------
        dict of arrays
            Group -> (n_samples, *shape): known values as they are, means elsewhere.
        """
        check_is_fitted(self, "params_")
        one_of("method", method, ("auto", "exact", "mean-field", "gibbs"))
        check_count("n_steps", n_steps)
        data = self._check_data(X, reset=False)
        seed = self._sampling_seed(random_state) if method == "gibbs" else 0
        pieces = []
        with threads.computing():
            for number, part in enumerate(self._chunks(data)):
                if method == "gibbs":
                    address = rng.Address.of(seed, "sample", row=number * CHUNK_ROWS)
                    pieces.append(self._gibbs_means(part, n_steps, address))
                else:
                    pieces.append(self._means(part, method))
        return {g: np.concatenate([piece[g] for piece in pieces]) for g in self.energy_.groups}

    def _means(self, known: Mapping[str, np.ndarray], method: str) -> dict[str, np.ndarray]:
        listed, summed = self._split_hidden()
        n = len(next(iter(known.values())))
        open_ = dict(known)
        for g in listed:
            open_[g] = np.full((n, *self.energy_.groups[g].shape), np.nan, self._dtype)
        exact = np.full(n, method == "exact")
        if method == "auto":
            exact = log2_completions(self.energy_, open_) <= _EXACT_LOG2_STATES
        means: dict[str, np.ndarray] = {
            g: np.empty((n, *u.shape), self._dtype) for g, u in self.energy_.groups.items()
        }
        if exact.any():
            of = self._exact_means({g: x[exact] for g, x in open_.items()}, summed)
            for g, x in of.items():
                means[g][exact] = x
        if not exact.all():
            rest = {g: x[~exact] for g, x in known.items()}
            n_threads = threads.resolve(self.n_threads)
            of = mean_field(self.energy_, self.params_, rest, n_threads=n_threads)
            for g, x in of.items():
                means[g][~exact] = x
        return means

    def _split_hidden(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Hidden groups of which the states are listed, and those that are then summed out."""
        sets: list[tuple[str, ...]] = [()]
        for g in self._hidden:
            sets += [(*s, g) for s in sets if self.energy_.is_independent((*s, g))]

        def units_summed(s: tuple[str, ...]) -> tuple[bool, int]:
            units = self.energy_.groups
            real = any(units[g].states() is None for g in self._hidden if g not in s)
            return not real, sum(units[g].n_units for g in s)

        summed = max(sets, key=units_summed)
        return tuple(g for g in self._hidden if g not in summed), summed

    def _exact_means(
        self, open_: Mapping[str, np.ndarray], summed: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Conditional means by the completions of the unknown units, each with its probability."""
        n = len(next(iter(open_.values())))
        means = {g: np.zeros((n, *u.shape)) for g, u in self.energy_.groups.items()}
        for rows, full in completed(self.energy_, open_, "inference", "Use method='mean-field'."):
            log_p = -self.energy_.free_energy(self.params_, full, summed, check=False)
            p = np.exp(log_p - log_sum_by_row(log_p, rows, n)[rows])
            values = dict(full)
            for g in summed:
                shape = self.energy_.groups[g].shape
                values[g] = self._mean(g, full).reshape(-1, *shape)
            for g, x in values.items():
                np.add.at(means[g], rows, p.reshape(-1, *(1,) * (x.ndim - 1)) * x)
        return {g: x.astype(self._dtype) for g, x in means.items()}

    def _gibbs_means(
        self, known: Mapping[str, np.ndarray], n_steps: int, address: rng.Address
    ) -> dict[str, np.ndarray]:
        sampler = Gibbs(self.energy_, self._observed, n_threads=self.n_threads)
        n = len(next(iter(known.values())))
        chains = sampler.start(self.params_, n, address, known)
        chains = sampler.step(self.params_, chains, (n_steps + 1) // 2)
        total = {g: np.zeros(x.shape) for g, x in chains.values.items()}
        for _ in range(n_steps):
            chains = sampler.step(self.params_, chains)
            for g, x in chains.values.items():
                total[g] += x
        return {g: (x / n_steps).astype(self._dtype) for g, x in total.items()}

    # -- likelihood ----------------------------------------------------------------------------

    def free_energy(self, X: Any) -> np.ndarray:
        """``F = -log sum exp(-E)`` over the hidden groups and the unknown units of each row.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or dict of them

        Returns
        -------
        ndarray of shape (n_samples,), float64

        Raises
        ------
        NotEnumerableError
            Where hidden groups cannot be summed out and have too many states.
        """
        check_is_fitted(self, "params_")
        data = self._check_data(X, reset=False)
        return -np.concatenate([self._log_mass(part) for part in self._chunks(data)])

    #: What to do where too many states would have to be listed for a row.
    _fewer_states = "Use a smaller model, or fewer unknown units."

    def _log_mass(self, known: Mapping[str, np.ndarray]) -> np.ndarray:
        """``log sum exp(-E)`` over all that is not known, for each row."""
        n = len(next(iter(known.values())))
        total = np.full(n, -np.inf)
        what, remedy = "free energy", self._fewer_states
        for rows, full in completed(self.energy_, known, what, remedy):
            states = Enumeration(self.energy_, self.params_, full, what=what, remedy=remedy)
            np.logaddexp.at(total, rows, states.log_partition())
        return total

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-likelihood ``log p(visible | given)`` of what is known of each row, in nats.

        Without given groups it uses ``log_partition_``: exact where that can be enumerated, else
        annealed. With given groups each row has a log Z, exact or annealed;
        `conditional_log_partition` has its interval.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or dict of them

        Returns
        -------
        ndarray of shape (n_samples,), float64

        Raises
        ------
        NotEnumerableError
            Where the free energy has too many states.
        """
        log_mass = -self.free_energy(X)
        if not self._given:
            return self._credible(log_mass - self.log_partition_.value, self._visible)
        data = self._check_data(X, reset=False)
        given = {g: data[g] for g in self._given}
        log_z = self.conditional_log_partition(given).values
        return self._credible(log_mass - log_z, self._visible)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of the rows, in nats.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or dict of them
        y : ignored

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean())

    # -- sampling ------------------------------------------------------------------------------

    def sample(
        self,
        n_samples: int | None = None,
        n_steps: int = 100,
        *,
        given: Any = None,
        random_state: Any = None,
        method: str = "gibbs",
        return_info: bool = False,
        n_jobs: int | None = None,
    ) -> Any:
        """Draw the visible groups by Gibbs sampling.

        Parameters
        ----------
        n_samples : int, optional
            Number of rows, each a chain of its own; the default is the rows of `given`, else 1.
        n_steps : int
            Sweeps that each chain makes.
        given : array-like or dict of them, optional
            Known values, held: of the visible group where no other is observed, else group ->
            values, among them those of every group that the model has as given. NaN marks units to
            be drawn. One row serves for all samples.
        random_state : None, int, RandomState or Generator
            None goes on in the model's own sequence, so that calls differ, repeatably.
        method : {"gibbs", "tempered", "trajectory"}, default="gibbs"
            As in `RBM.sample`.
        return_info : bool, default=False
            Also return a `fastboltz.diagnostics.SamplingInfo`: R-hat, effective sample sizes and
            autocorrelation times of the second half of the sweeps, with a ``verdict`` in words.

        n_jobs : int, optional
            As in `RBM.sample`.

        Returns
        -------
        ndarray of shape (n_samples, n_features), or dict of them
            A dict where more than one group is visible. With ``return_info``, a tuple of it and
            the information.
        """
        check_is_fitted(self, "params_")
        check_count("n_steps", n_steps, minimum=0)
        known = self._check_given(given)
        rows = {len(x) for x in known.values() if len(x) != 1}
        if n_samples is None:
            n_samples = max(rows, default=1)
        check_count("n_samples", n_samples)
        if rows - {n_samples}:
            listed = ", ".join(f"given[{g!r}] has {len(x)}" for g, x in known.items())
            raise ValueError(
                f"every group needs n_samples={n_samples} rows, or one for all; {listed}."
            )
        values = {g: np.broadcast_to(x, (n_samples, *x.shape[1:])) for g, x in known.items()}
        if not known and (chains := self._chain_state()) is not None:
            chosen = np.arange(n_samples) % chains.n_chains
            values = {g: x[chosen] for g, x in chains.values.items()}
        address = rng.Address.of(self._sampling_seed(random_state), "sample")
        sampler = self._sampler(method, tuple(known))
        # Visible groups are drawn last, so that a sweep ends at them.
        sampler.blocks = sorted(
            sampler.blocks, key=lambda block: any(g in self._visible for g in block)
        )
        state = sampler.start(self.params_, n_samples, address, values)
        state, info = self._sweep(sampler, state, n_steps, return_info, n_jobs)
        groups = {g: self._shown(state, g) for g in self._visible}
        drawn = groups if len(groups) > 1 else groups[self._visible[0]]
        return drawn if info is None else (drawn, info)

    def _shown(self, state: ChainState, group: str) -> np.ndarray:
        return state.values[group].reshape(state.n_chains, -1)

    def _check_given(self, given: Any) -> dict[str, np.ndarray]:
        """Known groups of `sample`, each (rows, *shape)."""
        if given is None:
            given = {}
        elif not isinstance(given, Mapping):
            if len(self._observed) > 1:
                raise TypeError(
                    f"given must be a dict of arrays by group; got {type(given).__name__}."
                )
            given = {self._visible[0]: given}
        for g in self._given:
            if g not in given:
                raise ValueError(
                    f"the model is of {', '.join(map(repr, self._visible))} given {g!r}; give its "
                    f"values in given[{g!r}]."
                )
        known = {}
        for g, x in given.items():
            if g not in self.energy_.groups:
                raise unknown_group("given", g, self.energy_.groups)
            unit = self.energy_.groups[g]
            x = np.asarray(x, dtype=self._dtype)
            if x.shape == unit.shape or x.shape == (unit.size,):
                x = x[None]
            if x.ndim == 0 or x.size != len(x) * unit.size:
                raise ValueError(
                    f"given[{g!r}] has shape {x.shape}; expected ({unit.size},) or "
                    f"(n_samples, {unit.size}), with NaN for the units to be drawn."
                )
            x = check_state(g, unit, x.reshape(len(x), *unit.shape), allow_nan=True)
            self._check_known(f"given[{g!r}]", g, unit, x)
            known[g] = self._check_support(unit, x, f"given[{g!r}]")
        return known

    def _observed_kinds(self) -> list[Any]:
        groups = getattr(self, "groups", None)
        if groups is None:  # of a subclass that declares its own
            return super()._observed_kinds()
        return [groups.get(g) for g in self._observed]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
