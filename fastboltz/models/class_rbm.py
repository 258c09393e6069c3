"""Boltzmann machines with a label among their units, as classifiers.

The label y is one one-hot unit, so p(y | v) is exact: list its states, sum the hidden units out.
What tells the models apart is how the label meets the hidden units.

=========================  ==========================  ============================================
class                      terms                       source
=========================  ==========================  ============================================
`RBMClassifier`            ``h v``, ``h y``            Larochelle & Bengio 2008
`ClassGatedRBMClassifier`  ``y h v``                   Nair & Hinton 2009
`TwoGroupRBMClassifier`    one of these, and ``g v``   Luo, Shen, Niu & Ullrich 2011
=========================  ==========================  ============================================
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .. import rng, threads
from ..chunks import is_chunked, parts_of
from ..energy import Energy
from ..objectives import LogLikelihood
from ..optimizers import Linear, Schedule, as_optimizer
from ..terms import FactoredTerm, Params
from ..training import Best, Callback, Rows, Trainer, TrainingState
from ..units import Bernoulli, Categorical, Unit
from ..validation import check_count, check_flag, check_number, one_of
from .base import Data, EnergyEstimator, check_rows, unchanged_if_refused
from .labels import is_unlabelled, listed_labels, plain_labels

OBJECTIVES = ("hybrid", "discriminative", "generative", "semi-supervised")


class _LabelMachine(
    ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, EnergyEstimator
):
    """A classifier by an energy over visible units v, hidden units h and a label y."""

    classes_: np.ndarray

    def __init__(
        self,
        n_components: int = 256,
        *,
        objective: str = "hybrid",
        alpha: float = 0.01,
        beta: float = 0.1,
        visible: Any = "bernoulli",
        hidden: Any = "bernoulli",
        bias_decrement: float = 0.0,
        sparsity: float = 0.0,
        activity: float = 0.1,
        method: str = "cd",
        n_gibbs: int = 1,
        n_chains: int | None = None,
        learning_rate: Any = "auto",
        batch_size: int = 50,
        n_iter: int = 50,
        optimizer: Any = "sgd",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centered: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.objective = objective
        self.alpha = alpha
        self.beta = beta
        self.visible = visible
        self.hidden = hidden
        self.bias_decrement = bias_decrement
        self.sparsity = sparsity
        self.activity = activity
        self.method = method
        self.n_gibbs = n_gibbs
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.optimizer = optimizer
        self.momentum = momentum
        self.l1 = l1
        self.l2 = l2
        self.centered = centered
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    # -- the description -----------------------------------------------------------------------

    @abstractmethod
    def _terms(self, slots: dict[str, str]) -> list[str]:
        """Terms in index notation, from the slots ``v_...``, ``h_...``, ``g_...`` and ``y_...``."""

    def _hidden_groups(self) -> dict[str, Unit]:
        return {"h": self._unit("hidden", self.n_components)}

    def _declare(self, data: Data) -> Energy:
        groups = {
            "v": self._unit("visible", data["v"].shape[1]),
            **self._hidden_groups(),
            "y": Categorical(len(self.classes_)),
        }
        letters = iter("abcdefghijklmnopqrstuvwxyz")
        slots = {
            g: f"{g}_{''.join(next(letters) for _ in unit.shape)}" for g, unit in groups.items()
        }
        return Energy(groups, self._terms(slots))

    def _likelihoods(self) -> list[LogLikelihood]:
        discriminative = LogLikelihood("y", "v", negative="exact")
        joint = self._likelihood(("v", "y"), weight=self.alpha)
        if self.objective == "discriminative":
            return [discriminative]
        if self.objective == "generative":
            return [self._likelihood(("v", "y"))]
        parts = [discriminative]
        if self.alpha:
            parts.append(joint)
        if self.objective == "semi-supervised" and self.beta:
            parts.append(self._likelihood("v", weight=self.beta, without="y"))
        return parts

    def _moments(self, rows: Rows, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if rows.is_sparse or not np.isnan(rows.x[:, 0]).any():
            return rows.moments(weight)
        known = ~np.isnan(rows.x[:, 0])
        if not known.any():  # they have no weight, whatever they are
            return np.zeros(rows.shape), np.zeros(rows.shape)
        if weight is not None:
            weight = weight[known]
            if weight.sum() == 0:
                weight = None
        return Rows(rows.x[known], rows.shape, rows.dtype).moments(weight)

    def _weight_of_moments(self, rows: Rows, weight: np.ndarray | None) -> Any:
        if rows.is_sparse or not np.isnan(rows.x[:, 0]).any():
            return super()._weight_of_moments(rows, weight)
        known = ~np.isnan(rows.x[:, 0])
        return float(known.sum() if weight is None else weight[known].sum(dtype=np.float64))

    def _schedule(self, energy: Energy) -> Schedule:
        if not (isinstance(self.learning_rate, str) and self.learning_rate == "auto"):
            return super()._schedule(energy)
        # Statistics of real units, and of products of factors, have no bound.
        has_bound = all(u.states() is not None for u in energy.groups.values()) and not any(
            isinstance(t, FactoredTerm) for t in energy.terms
        )
        rate = 0.5 if has_bound else 0.1
        return Linear(rate * as_optimizer(self.optimizer).rate_factor)

    @property
    def _generative_weight(self) -> float:
        """Weight of ``log p(v, y)`` in what is maximised."""
        fixed = {"generative": 1.0, "discriminative": 0.0}
        return fixed.get(self.objective, self.alpha)

    def _starting_params(self, energy: Energy, dtype: np.dtype) -> Params:
        params = super()._starting_params(energy, dtype)
        if self.sparsity * self._generative_weight:
            for g, unit in self._hidden_groups().items():
                if not isinstance(unit, Bernoulli):
                    raise ValueError(
                        f"sparsity={self.sparsity!r} pulls the mean of units in {{0, 1}}, but "
                        f"hidden is {self.hidden!r}; use hidden='bernoulli' or sparsity=0."
                    )
                params[g] += np.asarray(np.log(self.activity / (1 - self.activity)), dtype)
        return params

    def _trainer(self, energy: Energy) -> Trainer:
        trainer = super()._trainer(energy)
        if self.bias_decrement:
            trainer.decrements["h"] = self.bias_decrement
        if strength := self.sparsity * self._generative_weight:
            trainer.activities = dict.fromkeys(self._hidden_groups(), (self.activity, strength))
        trainer.monitor = self._monitor
        return trainer

    # -- fitting -------------------------------------------------------------------------------

    @unchanged_if_refused
    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, validation: Any = None
    ) -> Any:
        """Learn from rows of X and their labels.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or function
            float32 and float64 are kept, and are the precision of the parameters; all else
            becomes float32.

            For data that do not fit into memory: a function that returns an iterator of chunks
            ``(X, y)`` or ``(X, y, sample_weight)``, with y left out here, such as
            `datasets.Redrawn` makes of grey values. It is called ``n_iter + 2`` times, first for
            all labels; the rest is as in `RBM.fit`. Early stopping
            then needs `validation`.
        y : array-like of shape (n_samples,)
            Labels, numbers or text. With ``objective="semi-supervised"`` -1 marks rows without one
            (beside text, in an array of objects or as "-1"); with the other objectives it is a
            label like any other.
        sample_weight : array-like of shape (n_samples,), optional
            Rows that early stopping holds out have a weight above zero, and count by it.
        validation : tuple (X, y), optional
            Rows for early stopping, in the place of `validation_fraction` of those given.

        Returns
        -------
        self
        """
        if is_chunked(X):
            self._fit_labelled_chunks(X, y, sample_weight, validation)
            return self
        X, weight = self._check_fit(X, y, sample_weight, reset=True)
        labels = self._check_labels(y, X.shape[0])
        known = self._is_labelled(labels)
        self.classes_ = self._check_classes(np.unique(labels[known]), "y")
        numbers = self._numbers(labels, "y")
        self._monitor = None
        rows: np.ndarray | slice = slice(None)
        if validation is not None:
            self._monitor = self._check_validation(validation)
        elif self.early_stopping:
            rows, held = self._hold_out(numbers, weight)
            theirs = None if weight is None else weight[held]
            self._monitor = _BestWeights(self, X[held], numbers[held], theirs)
        try:
            self._fit(
                {"v": X[rows], "y": self._one_hot(numbers[rows], X.dtype)},
                None if weight is None else weight[rows],
            )
        finally:
            # It holds rows of the data, and is of this call alone.
            self._monitor = None
        return self

    _chunk = ("X", "y")

    def _fit_labelled_chunks(self, X: Any, y: Any, sample_weight: Any, validation: Any) -> None:
        """`fit` from chunks of rows and labels: a pass for the labels, then as others do."""
        self._refuse_labels_apart(y)
        if self.early_stopping and validation is None:
            raise ValueError(
                "early_stopping holds out rows of an array; where the rows come in chunks, give "
                "validation=(X, y), or early_stopping=False."
            )
        found: list[np.ndarray] = []
        for chunk in self._passes_over(X, sample_weight, "fit")(0):
            (rows, labels), _ = parts_of(chunk, self._chunk)
            n = rows.shape[0] if hasattr(rows, "shape") else len(rows)
            labels = self._check_labels(labels, n)
            found = [np.unique(np.concatenate([*found, labels[self._is_labelled(labels)]]))]
            del chunk, rows
        if not found:
            raise ValueError("the function that was given in place of rows returned no rows.")

        def prepare(fresh: Any) -> None:
            if validation is not None:
                self._monitor = fresh._check_validation(validation)
                self._monitor.model = self

        self._monitor = None
        try:
            classes = self._check_classes(found[0], "y")
            self._fit_chunks(X, sample_weight, prepare, classes_=classes)
        finally:
            self._monitor = None

    def _refuse_labels_apart(self, y: Any) -> None:
        if y is not None:
            raise ValueError(
                "the labels of chunks come with them: let each be a pair (X, y), and leave the "
                "argument y out."
            )

    def _check_chunk(
        self, X: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Data, np.ndarray | None]:
        rows, y = X
        rows, _ = self._check_fit(rows, y, None, reset)
        numbers = self._numbers(self._check_labels(y, rows.shape[0]), "y")
        data = {"v": rows, "y": self._one_hot(numbers, rows.dtype)}
        return data, self._check_weights(sample_weight, rows, is_part=True)

    @unchanged_if_refused
    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None
    ) -> Any:
        """Make one pass over X in minibatches, going on from where the model stands.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features), or iterator
            An iterator of chunks ``(X, y)``, or what `fit` takes in place of rows, is read once.
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), optional
            All labels that will ever be given, in any order; needed in the first call.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        self._check_structure()
        first = not hasattr(self, "params_")
        labels = None
        if not is_chunked(X):
            X, weight = self._check_fit(X, y, sample_weight, reset=first)
            labels = self._check_labels(y, X.shape[0])
        if first:
            if classes is None:
                raise ValueError(
                    "the first call of partial_fit needs classes=, all labels that will ever be "
                    "given."
                )
            known = self._check_classes(self._unique(classes), "classes")
        elif classes is not None and not np.array_equal(self._unique(classes), self.classes_):
            raise ValueError(
                f"classes are {listed_labels(self._unique(classes))}, but the model was begun with "
                f"{listed_labels(self.classes_)}; give the same ones, or none."
            )
        self._monitor = None
        if labels is None:
            self._refuse_labels_apart(y)
            self._partial_fit_chunks(X, sample_weight, **({"classes_": known} if first else {}))
            return self
        if first:
            self.classes_ = known
        numbers = self._numbers(labels, "y")
        self._partial_fit({"v": X, "y": self._one_hot(numbers, X.dtype)}, weight)
        return self

    def _check_fit(
        self, X: Any, y: Any, sample_weight: Any, reset: bool
    ) -> tuple[Any, np.ndarray | None]:
        self._check_parameters()
        X = self._check_rows_of(X, reset=reset, y=y)
        if not reset:
            X = X.astype(self._dtype, copy=False)
        return X, self._check_weights(sample_weight, X)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_size()
        one_of("objective", self.objective, OBJECTIVES)
        check_number("alpha", self.alpha, 0)
        check_number("beta", self.beta, 0)
        check_number("bias_decrement", self.bias_decrement, 0)
        check_number("sparsity", self.sparsity, 0)
        check_number("activity", self.activity, 0, below=1, strict=True)
        check_number("validation_fraction", self.validation_fraction, 0, below=1, strict=True)
        check_flag("early_stopping", self.early_stopping)
        check_count("n_iter_no_change", self.n_iter_no_change)

    def _check_size(self) -> None:
        check_count("n_components", self.n_components)

    def _check_rows_of(self, X: Any, *, reset: bool, y: Any = "no_validation") -> Any:
        if y is not None and not isinstance(y, str):
            # Of y, whether it is there: its own sentences are `_check_labels`'s.
            y = "no_validation"
        X = check_rows(self, X, y, reset=reset)
        unit = self._unit("visible", X.shape[1]) if reset else self.energy_.groups["v"]
        return self._check_support(unit, X)

    def _check_labels(self, y: Any, n_rows: int, name: str = "y") -> np.ndarray:
        labels = column_or_1d(y, warn=True)
        if len(labels) != n_rows:
            raise ValueError(
                f"{name} has {len(labels)} labels, but X has {n_rows} rows; give one label a row."
            )
        labels = self._plain_labels(labels, name)
        check_classification_targets(labels[self._is_labelled(labels)])
        return labels

    def _plain_labels(self, labels: np.ndarray, name: str) -> np.ndarray:
        hint = " Mark rows without a label by -1." if self._may_lack_labels else ""
        return plain_labels(labels, name, hint)

    @property
    def _may_lack_labels(self) -> bool:
        return self.objective == "semi-supervised"

    def _is_labelled(self, labels: np.ndarray) -> np.ndarray:
        if not self._may_lack_labels:
            return np.ones(len(labels), bool)
        return ~is_unlabelled(labels)

    def _unique(self, classes: Any) -> np.ndarray:
        """Different labels in order, without the mark of rows that have none."""
        classes = self._plain_labels(column_or_1d(classes), "classes")
        return np.unique(classes[self._is_labelled(classes)])

    def _known_labels(self, y: Any, n_rows: int) -> np.ndarray:
        """Place of each row's label among ``classes_``, where every row needs one."""
        numbers = self._numbers(self._check_labels(y, n_rows), "y")
        if (numbers < 0).any():
            raise ValueError("y marks rows as unlabelled; give every label, or no y at all.")
        return numbers

    @staticmethod
    def _check_classes(classes: np.ndarray, name: str) -> np.ndarray:
        if len(classes) < 2:
            what = (
                f"one class only, {listed_labels(classes)}" if len(classes) else "no labelled row"
            )
            raise ValueError(f"{name} has {what}; a classifier needs rows of at least two classes.")
        return classes

    def _numbers(self, labels: np.ndarray, name: str) -> np.ndarray:
        """Place of each label among ``classes_``; -1 for rows without one."""
        known = self._is_labelled(labels)
        numbers = np.full(len(labels), -1)
        found, which = np.unique(labels[known], return_inverse=True)
        place = {label: k for k, label in enumerate(self.classes_.tolist())}
        unseen = [label for label in found.tolist() if label not in place]
        if unseen:
            raise ValueError(
                f"{name} has the labels {listed_labels(unseen)}, which are not among the model's "
                f"classes {listed_labels(self.classes_)}. Give all labels at the beginning: in y "
                f"of fit, or in classes of the first partial_fit."
            )
        numbers[known] = np.array([place[label] for label in found.tolist()], int)[which]
        return numbers

    def _one_hot(self, numbers: np.ndarray, dtype: Any) -> np.ndarray:
        out = np.eye(len(self.classes_), dtype=dtype)[numbers]
        out[numbers < 0] = np.nan
        return out

    def _hold_out(
        self, numbers: np.ndarray, weight: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on, and labelled rows to stop by: of each class about the same share."""
        # A row of weight zero counts as none, so it can neither stop a training nor teach a class.
        may_count = numbers >= 0 if weight is None else (numbers >= 0) & (weight > 0)
        labelled, rows = np.flatnonzero(may_count), "labelled rows"
        if weight is not None:
            rows += " with a weight above zero"
        if not len(labelled):
            raise ValueError(
                f"early stopping holds out some of the {rows}, but there are none; give labelled "
                f"rows a weight, or give validation=(X, y)."
            )
        n = max(1, round(self.validation_fraction * len(labelled)))
        # In each class the rows stand, in random order, evenly in (0, 1): those held out are the
        # first n of all classes together. The last of each class is learnt from.
        random = np.random.default_rng(rng.seed_from(self.random_state))
        order = random.permutation(labelled)
        order = order[numbers[order].argsort(kind="stable")]
        counts = np.unique(numbers[order], return_counts=True)[1]
        place = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
        may_go = np.ones(len(order), bool)
        may_go[counts.cumsum() - 1] = False
        if n > may_go.sum():
            raise ValueError(
                f"early stopping would hold out {n} of {len(labelled)} {rows} and leave no "
                f"row of some of the {len(counts)} classes to learn from; lower "
                f"validation_fraction (it is {self.validation_fraction:g}), give more rows, or "
                f"give validation=(X, y)."
            )
        order, place = order[may_go], place[may_go]
        # Ties are of classes of one size, none of which comes first.
        held = np.sort(order[np.lexsort((random.random(len(order)), place))[:n]])
        return np.setdiff1d(np.arange(len(numbers)), held), held

    def _check_validation(self, validation: Any) -> _BestWeights:
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise TypeError(
                "validation must be a pair (X, y) of rows and their labels; got "
                f"{type(validation).__name__}."
            )
        X, y = validation
        X = self._check_validation_rows(X)
        labels = self._check_labels(y, X.shape[0], "y of validation")
        numbers = self._numbers(labels, "y of validation")
        if X.shape[0] == 0 or (numbers < 0).any():
            raise ValueError("validation needs at least one row, and a label for every row.")
        return _BestWeights(self, X, numbers)

    def _check_validation_rows(self, X: Any) -> Any:
        X = check_rows(self, X, reset=False)
        return self._check_support(self._unit("visible", X.shape[1]), X, "X of validation")

    # -- what was learnt -----------------------------------------------------------------------

    _monitor: _BestWeights | None = None

    @property
    def _n_features_out(self) -> int:
        return self.energy_.groups["h"].size

    @property
    def intercept_hidden_(self) -> np.ndarray:
        """Biases of the hidden units, (n_components,)."""
        return self._learnt("intercept_hidden_")["h"].reshape(-1)

    @property
    def intercept_visible_(self) -> np.ndarray:
        """Biases of the visible units, (n_features,)."""
        return self._learnt("intercept_visible_")["v"].reshape(-1)

    @property
    def intercept_class_(self) -> np.ndarray:
        """Biases of the label, (n_classes,)."""
        return self._learnt("intercept_class_")["y"]

    # -- classification ------------------------------------------------------------------------

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Exact ``log p(y | v)``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self, "params_")
        return self._log_proba(self.params_, self._check_rows_of(X, reset=False))

    def _log_proba(self, params: Params, X: Any) -> np.ndarray:
        n_threads = threads.resolve(self.n_threads)
        with threads.computing():
            parts = [
                self.energy_.log_probabilities(params, "y", part, n_threads=n_threads, check=False)
                for part in self._chunks({"v": X})
            ]
        return np.concatenate(parts)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Exact ``p(y | v)``, in the order of ``classes_``: (n_samples, n_classes)."""
        return np.exp(self.predict_log_proba(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Log-odds of the second class for two classes, (n_samples,); else ``log p(y | v)``."""
        log_p = self.predict_log_proba(X)
        return log_p[:, 1] - log_p[:, 0] if log_p.shape[1] == 2 else log_p

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each row, (n_samples,)."""
        log_p = self.predict_log_proba(X)
        return self.classes_[log_p.argmax(axis=1)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the rows whose label `predict` finds.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            With ``objective="semi-supervised"`` rows labelled -1 are left out.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        predicted = self.predict(X)
        if self._may_lack_labels:
            labels = self._check_labels(y, len(predicted))
            known = self._is_labelled(labels)
            if not known.any():
                raise ValueError("y labels no row; a score needs rows with a label.")
            y, predicted = labels[known], predicted[known]
            if sample_weight is not None:
                sample_weight = column_or_1d(sample_weight)[known]
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Means of the hidden units: ``E[h | v]``, the label summed out, or ``E[h | v, y]``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
            Labels to be taken as known.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        check_is_fitted(self, "params_")
        X = self._check_rows_of(X, reset=False)
        data = {"v": X}
        if y is not None:
            data["y"] = self._one_hot(self._known_labels(y, X.shape[0]), self._dtype)
        with threads.computing():
            parts = [self._hidden_means(part) for part in self._chunks(data)]
        return np.concatenate(parts)

    def _hidden_means(self, state: dict[str, np.ndarray]) -> np.ndarray:
        if "y" in state:
            return self._mean("h", state)
        listing = self.energy_._listing(
            self.params_, ("y",), state, threads.resolve(self.n_threads)
        )
        return listing.mean("h").reshape(len(state["v"]), -1)

    def score_samples(self, X: Any, y: Any = None) -> np.ndarray:
        """``log p(v)``, or ``log p(v, y)`` where labels are given, with ``log_partition_``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        check_is_fitted(self, "params_")
        X = self._check_rows_of(X, reset=False)
        data = {"v": X}
        if y is not None:
            data["y"] = self._one_hot(self._known_labels(y, X.shape[0]), self._dtype)
        with threads.computing():
            parts = [self.energy_.log_partition(self.params_, part) for part in self._chunks(data)]
        return self._credible(np.concatenate(parts) - self.log_partition_.value, data)

    # -- sampling ------------------------------------------------------------------------------

    def sample(
        self,
        n_samples: int = 1,
        label: Any = None,
        *,
        n_steps: int = 100,
        init: Any = None,
        random_state: Any = None,
        method: str = "gibbs",
        return_info: bool = False,
        n_jobs: int | None = None,
    ) -> tuple[Any, ...]:
        """Draw visible vectors and labels by Gibbs sampling.

        Parameters
        ----------
        n_samples : int
            Number of rows, each a chain of its own.
        label : a label or array-like of shape (n_samples,), optional
            Held where given: draws of ``p(v | y)``.
        n_steps : int
            Sweeps that each chain makes.
        init : array-like of shape (n_samples, n_features), optional
            Visible vectors to start from; the default is independent units with the visible
            biases.
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
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
        info : SamplingInfo
            With ``return_info``.
        """
        check_is_fitted(self, "params_")
        check_count("n_samples", n_samples)
        check_count("n_steps", n_steps, minimum=0)
        values: dict[str, np.ndarray] = {}
        if init is not None:
            values["v"] = self._start_of_chains(self._check_rows_of(init, reset=False), n_samples)
        clamp: tuple[str, ...] = ()
        if label is not None:
            labels = np.asarray(label)
            if labels.ndim and labels.shape != (n_samples,):
                raise ValueError(
                    f"label has shape {labels.shape}; expected one label, or ({n_samples},)."
                )
            labels = self._plain_labels(np.broadcast_to(labels, n_samples), "label")
            numbers = self._numbers(labels, "label")
            if (numbers < 0).any():
                raise ValueError(
                    "label holds -1, the mark of rows without a label; leave label out to draw it."
                )
            clamp, values["y"] = ("y",), self._one_hot(numbers, self._dtype)
        address = rng.Address.of(self._sampling_seed(random_state), "sample")
        sampler = self._sampler(method, clamp)
        state = sampler.start(self.params_, n_samples, address, values)
        # Hidden units first and visible ones last, so that a sweep ends at a visible vector.
        sampler.blocks = sorted(self.energy_.blocks(clamp), key=lambda block: "v" in block)
        state, info = self._sweep(sampler, state, n_steps, return_info, n_jobs)
        numbers = state.values["y"].argmax(axis=1)
        drawn = state.values["v"].reshape(n_samples, -1), self.classes_[numbers]
        return drawn if info is None else (*drawn, info)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class _BestWeights(Best):
    """Early stopping: the parameters with the fewest errors on held-out rows.

    Among epochs with as many errors, that with the higher ``log p(y | v)``. Rows count by their
    weights, where they have some.
    """

    kept = ("best", "params", "epoch")

    def __init__(
        self, model: _LabelMachine, X: Any, numbers: np.ndarray, weight: np.ndarray | None = None
    ) -> None:
        super().__init__(model)
        self.X = X
        self.numbers = numbers
        self.weight = None if weight is None else weight.astype(np.float64)
        self.best: tuple[float, float] | None = None

    def __call__(self, params: Params, state: TrainingState) -> bool:
        log_p = self.model._log_proba(params, self.X)
        wrong = log_p.argmax(axis=1) != self.numbers
        error = float(np.average(wrong, weights=self.weight))
        right = log_p[np.arange(len(log_p)), self.numbers]
        fit = float(np.average(right, weights=self.weight))
        state.record(validation_error=error, validation_log_likelihood=fit)
        if self.best is None or (-error, fit) > self.best:
            self.best = (-error, fit)
            self.keep(params, state)
        return bool(state.epoch - self.epoch >= self.model.n_iter_no_change)

    def put_back(self) -> None:
        """Give the model its best parameters."""
        super().put_back()
        self.model._log_partition = None


class RBMClassifier(_LabelMachine):
    r"""Class RBM: an RBM whose hidden units also see the label.

    ``E(v, y, h) = base(v) + base(h) - d'y - h'Wv - h'Uy`` with y one-hot. For binary hidden units
    ``p(y | v)`` is the softmax over y of ``d_y + sum_j log(1 + exp(c_j + U_jy + W_j'v))``: exact,
    in O(V H + C H), and so is the gradient of its logarithm.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.
    objective : {"hybrid", "discriminative", "generative", "semi-supervised"}, default="hybrid"
        What is maximised: ``log p(y|v) + alpha log p(v,y)``; ``log p(y|v)``; ``log p(v,y)``; or
        the hybrid on labelled rows ``+ beta log p(v)`` on those labelled -1. Each sum runs over
        the rows it applies to and is divided by the number of all rows.
    alpha : float, default=0.01
        Weight of ``log p(v,y)``.
    beta : float, default=0.1
        Weight of ``log p(v)`` on unlabelled rows.
    visible, hidden : str or unit type, default="bernoulli"
        As in `RBM`.
    bias_decrement : float, default=0.0
        Taken off each hidden bias after every update, which makes hidden units sparse; it falls in
        the measure that the learning rate does.
    sparsity : float, default=0.0
        Strength of the pull of each hidden unit's mean activity towards `activity`, by its bias, as
        in `RBM`; weighed as ``log p(v,y)`` is, so that objective="discriminative" has none.
    activity : float, default=0.1
    method : {"cd", "pcd", "exact", "tempered", "trajectory"}, default="cd"
        Negative phase of ``log p(v,y)`` and ``log p(v)``, as in `RBM`; that of ``log p(y|v)`` is
        always exact.
    learning_rate : "auto", float or schedule, default="auto"
        As in `RBM`, but "auto" is 0.5 (0.1 where units are real-valued or weights factored),
        falling linearly: the exact gradient has no noise of sampling.
    n_gibbs, n_chains, batch_size, n_iter, optimizer, momentum, l1, l2, centered
        As in `RBM`.
    early_stopping : bool, default=False
        Hold `validation_fraction` of the labelled rows out, the same share of each class, stop when
        their error has not fallen for `n_iter_no_change` epochs, and keep the best epoch's
        parameters. Rows of one's own may be given to `fit` instead.
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=10
    n_threads, callbacks, verbose, random_state
        As in `RBM`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    components_ : ndarray of shape (n_components, n_features)
        W, a view of ``params_``.
    class_components_ : ndarray of shape (n_components, n_classes)
        U.
    intercept_hidden_, intercept_visible_, intercept_class_ : ndarray
    energy_ : Energy
        The declared energy, with groups "v", "h" and "y".
    params_ : dict of arrays
    history_ : dict of lists
        One entry an epoch; with early stopping also ``validation_error`` and
        ``validation_log_likelihood``.
    best_iter_ : int
        With early stopping, the epoch whose parameters were kept.
    log_partition_ : LogPartition
    n_iter_, n_features_in_ : int

    References
    ----------
    Larochelle & Bengio, "Classification using discriminative restricted Boltzmann machines",
    ICML 2008.
    Larochelle, Mandel, Pascanu & Bengio, "Learning algorithms for the classification restricted
    Boltzmann machine", JMLR 13, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import RBMClassifier
    >>> X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=np.float32)
    >>> y = np.array(["left", "left", "right", "right"])
    >>> model = RBMClassifier(4, n_iter=200, batch_size=4, random_state=0).fit(X, y)
    >>> model.predict(X).tolist()
    ['left', 'left', 'right', 'right']
    >>> model.predict_proba(X).shape
    (4, 2)
    """

    def _terms(self, slots: dict[str, str]) -> list[str]:
        # The hidden units stand first, so that the weights are components_ as they are.
        return [f"{slots['h']} {slots['v']}", f"{slots['h']} {slots['y']}"]

    @property
    def components_(self) -> np.ndarray:
        """Weights of the visible units, (n_components, n_features)."""
        w = self._learnt("components_")[self.energy_.terms[0].name]
        return w.reshape(self.energy_.groups["h"].size, -1)

    @property
    def class_components_(self) -> np.ndarray:
        """Weights of the label, (n_components, n_classes)."""
        w = self._learnt("class_components_")[self.energy_.terms[1].name]
        return w.reshape(self.energy_.groups["h"].size, -1)


class ClassGatedRBMClassifier(_LabelMachine):
    r"""Third-order RBM: each class has weights of its own between visible and hidden units.

    ``E(v, y, h) = base(v) + base(h) - d'y - sum_kji W_kji y_k h_j v_i``. For binary hidden units
    ``p(y_k = 1 | v)`` is the softmax over k of ``d_k + sum_j log(1 + exp(c_j + W_kj.v))``, in
    O(V H C); factored, ``W_kji = sum_f A_kf B_jf C_if``, in O((V + H C + C) F).

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.
    n_factors : int, default=None
        Rank-one factors F of the weights; None keeps the full array.
    objective : {"hybrid", "discriminative", "generative", "semi-supervised"}, default="hybrid"
        What is maximised: ``log p(y|v) + alpha log p(v,y)``; ``log p(y|v)``; ``log p(v,y)``; or
        the hybrid on labelled rows ``+ beta log p(v)`` on those labelled -1. Each sum runs over
        the rows it applies to and is divided by the number of all rows.
    alpha : float, default=0.01
        Weight of ``log p(v,y)``.
    beta : float, default=0.1
        Weight of ``log p(v)`` on unlabelled rows.
    visible, hidden : str or unit type, default="bernoulli"
        As in `RBM`.
    bias_decrement : float, default=0.0
        Taken off each hidden bias after every update, which makes hidden units sparse; it falls in
        the measure that the learning rate does.
    sparsity : float, default=0.0
        Strength of the pull of each hidden unit's mean activity towards `activity`, by its bias, as
        in `RBM`; weighed as ``log p(v,y)`` is, so that objective="discriminative" has none.
    activity : float, default=0.1
    method : {"cd", "pcd", "exact", "tempered", "trajectory"}, default="cd"
        Negative phase of ``log p(v,y)`` and ``log p(v)``, as in `RBM`; that of ``log p(y|v)`` is
        always exact.
    learning_rate : "auto", float or schedule, default="auto"
        As in `RBM`, but "auto" is 0.5 (0.1 where units are real-valued or weights factored),
        falling linearly: the exact gradient has no noise of sampling.
    n_gibbs, n_chains, batch_size, n_iter, optimizer, momentum, l1, l2, centered
        As in `RBM`.
    early_stopping : bool, default=False
        Hold `validation_fraction` of the labelled rows out, the same share of each class, stop when
        their error has not fallen for `n_iter_no_change` epochs, and keep the best epoch's
        parameters. Rows of one's own may be given to `fit` instead.
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=10
    n_threads, callbacks, verbose, random_state
        As in `RBM`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    components_ : ndarray of shape (n_classes, n_components, n_features)
        W; with ``n_factors`` the factors are in ``params_``.
    intercept_hidden_, intercept_visible_, intercept_class_ : ndarray
    energy_ : Energy
        The declared energy, with groups "v", "h" and "y".
    params_ : dict of arrays
    history_ : dict of lists
        One entry an epoch; with early stopping also ``validation_error`` and
        ``validation_log_likelihood``.
    best_iter_ : int
        With early stopping, the epoch whose parameters were kept.
    log_partition_ : LogPartition
    n_iter_, n_features_in_ : int

    References
    ----------
    Nair & Hinton, "3D object recognition with deep belief nets", NIPS 2009.
    Memisevic & Hinton, Neural Computation 22, 2010 (factoring).

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import ClassGatedRBMClassifier
    >>> X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=np.float32)
    >>> model = ClassGatedRBMClassifier(4, n_factors=3, n_iter=200, batch_size=4, random_state=0)
    >>> model.fit(X, [3, 3, 5, 5]).predict(X).tolist()
    [3, 3, 5, 5]
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        n_factors: int | None = None,
        objective: str = "hybrid",
        alpha: float = 0.01,
        beta: float = 0.1,
        visible: Any = "bernoulli",
        hidden: Any = "bernoulli",
        bias_decrement: float = 0.0,
        sparsity: float = 0.0,
        activity: float = 0.1,
        method: str = "cd",
        n_gibbs: int = 1,
        n_chains: int | None = None,
        learning_rate: Any = "auto",
        batch_size: int = 50,
        n_iter: int = 50,
        optimizer: Any = "sgd",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centered: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            n_components,
            objective=objective,
            alpha=alpha,
            beta=beta,
            visible=visible,
            hidden=hidden,
            bias_decrement=bias_decrement,
            sparsity=sparsity,
            activity=activity,
            method=method,
            n_gibbs=n_gibbs,
            n_chains=n_chains,
            learning_rate=learning_rate,
            batch_size=batch_size,
            n_iter=n_iter,
            optimizer=optimizer,
            momentum=momentum,
            l1=l1,
            l2=l2,
            centered=centered,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_threads=n_threads,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
        self.n_factors = n_factors

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.n_factors is not None:
            check_count("n_factors", self.n_factors)

    def _terms(self, slots: dict[str, str]) -> list[str]:
        return [_gated(slots) + (f" | {self.n_factors}" if self.n_factors else "")]

    @property
    def components_(self) -> np.ndarray:
        """Weights of each class, (n_classes, n_components, n_features)."""
        params = self._learnt("components_")
        term = self.energy_.terms[0]
        if isinstance(term, FactoredTerm):
            raise AttributeError(
                f"with n_factors={term.rank} the weights are never formed; their factors are "
                f"in params_."
            )
        return params[term.name].reshape(len(self.classes_), self.energy_.groups["h"].size, -1)


class TwoGroupRBMClassifier(_LabelMachine):
    r"""Class RBM with a second group of hidden units that never sees the label.

    The units h work for the class, the units g explain what else there is in the data:
    ``E(v, y, h, g) = base(v) + base(h) + base(g) - d'y - g'Rv - (coupling of v, h and y)``, with
    the coupling of `ClassGatedRBMClassifier` (``order=3``) or of `RBMClassifier` (``order=2``).
    Given v, g is independent of the label and cancels: p(y | v), and its gradient, cost what they
    cost without g. So g learns through ``log p(v, y)`` alone.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units h that meet the label.
    n_nuisance : int, default=256
        Number of hidden units g that do not.
    order : {3, 2}, default=3
        Order of the coupling to the label.
    objective : {"hybrid", "discriminative", "generative", "semi-supervised"}, default="hybrid"
        What is maximised: ``log p(y|v) + alpha log p(v,y)``; ``log p(y|v)``; ``log p(v,y)``; or
        the hybrid on labelled rows ``+ beta log p(v)`` on those labelled -1. Each sum runs over
        the rows it applies to and is divided by the number of all rows.
    alpha : float, default=0.01
        Weight of ``log p(v,y)``.
    beta : float, default=0.1
        Weight of ``log p(v)`` on unlabelled rows.
    visible, hidden : str or unit type, default="bernoulli"
        As in `RBM`.
    bias_decrement : float, default=0.0
        Taken off each bias of h after every update, which makes these units sparse; it falls in the
        measure that the learning rate does.
    sparsity : float, default=0.0
        Strength of the pull of each hidden unit's mean activity towards `activity`, by its bias, as
        in `RBM`; weighed as ``log p(v,y)`` is, so that objective="discriminative" has none.
    activity : float, default=0.1
    method : {"cd", "pcd", "exact", "tempered", "trajectory"}, default="cd"
        Negative phase of ``log p(v,y)`` and ``log p(v)``, as in `RBM`; that of ``log p(y|v)`` is
        always exact.
    learning_rate : "auto", float or schedule, default="auto"
        As in `RBM`, but "auto" is 0.5 (0.1 where units are real-valued or weights factored),
        falling linearly: the exact gradient has no noise of sampling.
    n_gibbs, n_chains, batch_size, n_iter, optimizer, momentum, l1, l2, centered
        As in `RBM`.
    early_stopping : bool, default=False
        Hold `validation_fraction` of the labelled rows out, the same share of each class, stop when
        their error has not fallen for `n_iter_no_change` epochs, and keep the best epoch's
        parameters. Rows of one's own may be given to `fit` instead.
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=10
    n_threads, callbacks, verbose, random_state
        As in `RBM`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    components_ : ndarray
        Weights of h: (n_classes, n_components, n_features) for ``order=3``, else
        (n_components, n_features).
    nuisance_components_ : ndarray of shape (n_nuisance, n_features)
        R.
    intercept_hidden_, intercept_visible_, intercept_class_ : ndarray
    energy_ : Energy
        The declared energy, with groups "v", "h", "g" and "y".
    params_ : dict of arrays
    history_ : dict of lists
        One entry an epoch; with early stopping also ``validation_error`` and
        ``validation_log_likelihood``.
    best_iter_ : int
        With early stopping, the epoch whose parameters were kept.
    log_partition_ : LogPartition
    n_iter_, n_features_in_ : int

    References
    ----------
    Luo, Shen, Niu & Ullrich, AISTATS 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import TwoGroupRBMClassifier
    >>> X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=np.float32)
    >>> model = TwoGroupRBMClassifier(4, n_nuisance=2, n_iter=200, batch_size=4, random_state=0)
    >>> model.fit(X, [0, 0, 1, 1]).predict(X).tolist()
    [0, 0, 1, 1]
    >>> model.transform_nuisance(X).shape
    (4, 2)
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        n_nuisance: int = 256,
        order: int = 3,
        objective: str = "hybrid",
        alpha: float = 0.01,
        beta: float = 0.1,
        visible: Any = "bernoulli",
        hidden: Any = "bernoulli",
        bias_decrement: float = 0.0,
        sparsity: float = 0.0,
        activity: float = 0.1,
        method: str = "cd",
        n_gibbs: int = 1,
        n_chains: int | None = None,
        learning_rate: Any = "auto",
        batch_size: int = 50,
        n_iter: int = 50,
        optimizer: Any = "sgd",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centered: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            n_components,
            objective=objective,
            alpha=alpha,
            beta=beta,
            visible=visible,
            hidden=hidden,
            bias_decrement=bias_decrement,
            sparsity=sparsity,
            activity=activity,
            method=method,
            n_gibbs=n_gibbs,
            n_chains=n_chains,
            learning_rate=learning_rate,
            batch_size=batch_size,
            n_iter=n_iter,
            optimizer=optimizer,
            momentum=momentum,
            l1=l1,
            l2=l2,
            centered=centered,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_threads=n_threads,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
        self.n_nuisance = n_nuisance
        self.order = order

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("n_nuisance", self.n_nuisance)
        if self.order not in (2, 3) or isinstance(self.order, bool):
            raise ValueError(
                f"order must be 3 (the label gates the weights of h) or 2 (it adds to the field of "
                f"h); got {self.order!r}."
            )
        of_v = self._generative_weight or (self.objective == "semi-supervised" and self.beta)
        if not of_v:
            alpha = "" if self.objective == "discriminative" else f" with alpha={self.alpha!r}"
            raise ValueError(
                f"objective={self.objective!r}{alpha} learns nothing of the n_nuisance units, "
                f"which cancel in p(y|v). Use objective='hybrid' with alpha > 0 or 'generative', "
                f"or a model without them."
            )

    def _hidden_groups(self) -> dict[str, Unit]:
        groups = super()._hidden_groups()
        kind = type(groups["h"])
        if groups["h"].event_axes or len(groups["h"].shape) > 1:
            raise ValueError(
                f"hidden={self.hidden!r} has a shape of its own; both groups of hidden units take "
                f"a name or a unit type, e.g. hidden='bernoulli'."
            )
        return groups | {"g": kind(self.n_nuisance)}

    def _terms(self, slots: dict[str, str]) -> list[str]:
        h, v, y, g = (slots[name] for name in "hvyg")
        coupling = [_gated(slots)] if self.order == 3 else [f"{h} {v}", f"{h} {y}"]
        return [*coupling, f"{g} {v}"]

    @property
    def components_(self) -> np.ndarray:
        """Weights of the hidden units that meet the label."""
        params, term = self._learnt("components_"), self.energy_.terms[0]
        w = params[term.name]
        shape = (len(self.classes_),) if "y" in term.groups else ()
        return w.reshape(*shape, self.energy_.groups["h"].size, -1)

    @property
    def nuisance_components_(self) -> np.ndarray:
        """Weights of the hidden units that do not meet the label, (n_nuisance, n_features)."""
        w = self._learnt("nuisance_components_")[self.energy_.terms[-1].name]
        return w.reshape(self.energy_.groups["g"].size, -1)

    def transform_nuisance(self, X: Any) -> np.ndarray:
        """Means ``E[g | v]`` of the hidden units that do not meet the label.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_nuisance)
        """
        check_is_fitted(self, "params_")
        X = self._check_rows_of(X, reset=False)
        with threads.computing():
            return np.concatenate([self._mean("g", part) for part in self._chunks({"v": X})])


def _gated(slots: dict[str, str]) -> str:
    # The label stands first, so that the weights of one class are one block of memory.
    return f"{slots['y']} {slots['h']} {slots['v']}"
