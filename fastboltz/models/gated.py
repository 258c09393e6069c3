"""Gated machines: hidden units that stand for the transformation of one image into another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from .. import rng, threads
from ..callbacks import check_pairs
from ..chunks import is_chunked, real_types
from ..energy import Energy
from ..likelihood import LogPartition
from ..objectives import LogLikelihood
from ..terms import FactoredTerm, Params
from ..training import Callback
from ..units import Gaussian, ReLU, Unit
from ..validation import check_count, check_flag, one_of
from .base import Data, EnergyEstimator, refuse_chunks, unchanged_if_refused

#: How strongly real images are coupled at the start; at 1 there is no distribution left.
_FIRST_COUPLING = 0.5
#: Units that take every real number, or every one >= 0, so that their squares have to be bounded.
_UNBOUNDED = (Gaussian, ReLU)


class GatedRBM(EnergyEstimator):
    r"""Gated restricted Boltzmann machine of pairs of images.

    ``E(x, y, h) = base(x) + base(y) + base(h) - sum_ijk W_ijk x_i y_j h_k``: each hidden unit
    gathers evidence for one way in which x turns into y. Factored, ``W_ijk = sum_f A_if B_jf C_kf``
    and a field costs O((I + J + K) F) in place of O(I J K).

    Parameters
    ----------
    n_components : int, default=64
        Number of hidden units.
    n_factors : int, default=None
        Rank-one factors of the weights; None keeps the full tensor.
    mode : {"conditional", "joint"}, default="conditional"
        Maximise ``log p(y | x)``, with x clamped in both phases, or ``log p(x, y)``. A joint
        distribution of real-valued images exists only while in every state of h their coupling is
        weaker than their precisions. Contrastive divergence may lead beyond, of which `fit` warns:
        then `transform`, `predict` and `analogy` answer, but there is no likelihood and no sample
        of pairs.
    visible, hidden : str or unit type, default="bernoulli"
        Units of both images, and of the hidden group, as in `RBM`.
    pairs : bool, default=False
        Whether also each image alone meets the hidden units: ``x_i h_k`` and ``y_j h_k``.
    method : {"cd", "pcd", "exact", "tempered", "trajectory"}, default="cd"
        Negative phase, as in `RBM`. Chains that are kept belong to no x, so only "cd" and "exact"
        are for ``mode="conditional"``.
    n_gibbs, n_chains, learning_rate, batch_size, n_iter, optimizer, momentum, l1, l2, centered, \
n_threads, callbacks, verbose, random_state
        As in `RBM`.

    Attributes
    ----------
    energy_ : Energy
        With groups ``"x"``, ``"y"`` and ``"h"``.
    params_ : dict of arrays
        The weights are under ``"x_i y_j h_k"``, factored ones under
        ``"x_i y_j h_k | F @ x_i"`` and so on.
    log_partition_ : LogPartition
        Of all three groups.
    history_ : dict of lists
    n_iter_ : int
    n_features_in_, n_features_y_ : int
        Columns of X and of Y.
    feature_names_in_ : ndarray of str
        Where the columns of X have names.

    References
    ----------
    Memisevic & Hinton, "Unsupervised learning of image transformations", CVPR 2007.
    Memisevic & Hinton, "Learning to represent spatial transformations with factored higher-order
    Boltzmann machines", Neural Computation 22, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import GatedRBM
    >>> X = (np.random.default_rng(0).random((100, 6)) < 0.3).astype(np.float32)
    >>> gated = GatedRBM(4, n_iter=5, random_state=0).fit(X, np.roll(X, 1, axis=1))
    >>> H = gated.transform(X, np.roll(X, 1, axis=1))
    >>> gated.predict(X, H).shape
    (100, 6)
    """

    def __init__(
        self,
        n_components: int = 64,
        *,
        n_factors: int | None = None,
        mode: str = "conditional",
        visible: Any = "bernoulli",
        hidden: Any = "bernoulli",
        pairs: bool = False,
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
        n_threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.n_factors = n_factors
        self.mode = mode
        self.visible = visible
        self.hidden = hidden
        self.pairs = pairs
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
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    # -- the description -----------------------------------------------------------------------

    def _declare(self, data: Data) -> Energy:
        groups = {g: self._unit("visible", data[g].shape[1]) for g in ("x", "y")}
        groups["h"] = self._unit("hidden", self.n_components)
        letters = iter("ijklmnopqrstuvwabcdefg")
        x, y, h = (f"{g}_{''.join(next(letters) for _ in u.shape)}" for g, u in groups.items())
        gate = f"{x} {y} {h}" + (f" | {self.n_factors}" if self.n_factors else "")
        return Energy(groups, [gate, *((f"{x} {h}", f"{y} {h}") if self.pairs else ())])

    def _likelihoods(self) -> LogLikelihood:
        if self.mode == "joint":
            return self._likelihood(of=("x", "y"))
        return self._likelihood(of="y", given="x")

    def _has_bounds(self, energy: Energy) -> bool:
        """Whether there is a distribution for some weights only."""
        groups = energy.groups
        if not all(isinstance(groups[g], _UNBOUNDED) for g in ("x", "y")):
            return False
        if self.mode == "joint" and isinstance(groups["h"], _UNBOUNDED):
            raise ValueError(
                f"visible={self.visible!r} and hidden={self.hidden!r} with mode='joint' have no "
                f"distribution, because a product of three real units has no bound. Use "
                f"hidden='bernoulli', or mode='conditional'."
            )
        return not isinstance(groups["h"], _UNBOUNDED)

    def _check_coupling(self) -> None:
        """Raise a sentence where there is no joint distribution."""
        if not self._has_bounds(self.energy_):
            return
        found = _Coupling(self.energy_).strongest(self.params_)
        if found >= 1:
            raise ValueError(
                f"there is no joint distribution of x and y: in some state of h their coupling is "
                f"{found:.3g} times what their precisions hold, and it must be below 1. Learn with "
                f"a stronger l2 or a lower learning rate, or with mode='conditional', which needs "
                f"none; transform, predict and analogy do not either."
            )

    def _doubt(self, group: str, unit: Unit, square: np.ndarray) -> str | None:
        return None  # the weights begin at the size of the pixels

    def _begin_at(self, energy: Energy, *args: Any) -> None:
        super()._begin_at(energy, *args)
        # Weights in the units of the data, so that a change of these changes nothing.
        for term in energy.terms:
            for g in ("x", "y"):
                unit = energy.groups[g]
                if g not in term.groups or not isinstance(unit, _UNBOUNDED):
                    continue
                scale = np.exp(self.params_[f"{g}.log_precision"] / 2)
                if isinstance(term, FactoredTerm):
                    key = next(term.key(s) for s in term.slots if s.group == g)
                    self.params_[key] *= scale[..., None]
                    continue
                before = [u for u in term.groups[: term.groups.index(g)]]
                axes = sum(len(energy.groups[u].shape) for u in before)
                w = self.params_[term.name]
                shape = (1,) * axes + unit.shape
                w *= scale.reshape(shape + (1,) * (w.ndim - len(shape)))
        if self._has_bounds(energy) and self.mode == "joint":
            _Coupling(energy).bound(self.params_, _FIRST_COUPLING)

    def _starting_params(self, energy: Energy, dtype: np.dtype) -> Params:
        """Weights at which a field is of order one, whatever the number of products in it."""
        params = energy.init(self._seed, 1.0, dtype)
        for term in energy.terms:
            sizes = [energy.groups[g].size for g in term.groups]
            if isinstance(term, FactoredTerm):
                # A field sums rank products of one number of each image's factors.
                scale = (term.rank * np.prod(sizes[:2])) ** (-0.5 / len(sizes))
            else:
                scale = np.prod(sizes[:-1]) ** -0.5
            for key in term.parameter_shapes:
                params[key] *= np.asarray(scale, dtype)
        return params

    # -- checks --------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        check_count("n_components", self.n_components)
        if self.n_factors is not None:
            check_count("n_factors", self.n_factors)
        one_of("mode", self.mode, ("conditional", "joint"))
        check_flag("pairs", self.pairs)
        super()._check_parameters()
        check_pairs(self.callbacks, type(self).__name__)
        if self.mode == "conditional" and self.method not in ("cd", "exact"):
            raise ValueError(
                f"method={self.method!r} keeps chains that belong to no x; with mode='conditional' "
                f"use method='cd' or 'exact', or mode='joint'."
            )

    def _check_images(self, reset: bool = False, **tables: Any) -> dict[str, np.ndarray]:
        """Tables by name (X, Y, H, X_new), as rows of the groups x, y and h."""
        data = {}
        for name, table in tables.items():
            g = name[0].lower()
            if table is None:
                raise ValueError(
                    f"{name} is missing; {type(self).__name__} learns from pairs, the rows of X "
                    f"and those of Y, as in fit(X, Y)."
                )
            refuse_chunks(self, table, name, learns=reset)
            x = check_array(table, dtype=real_types(table), input_name=name)
            if not reset:
                unit = self.energy_.groups[g]
                if x.shape[1] != unit.size:
                    raise ValueError(
                        f"{name} has {x.shape[1]} columns, but the model was fitted with "
                        f"{unit.size} in group {g!r} ({unit}); give as many."
                    )
            elif g != "h":
                unit = self._unit("visible", x.shape[1])
            if g != "h":
                x = self._check_support(unit, x, name)
            data[g] = x
        rows = {name: len(data[name[0].lower()]) for name in tables}
        if rows.get("H") == 1:
            # One transformation serves for all images.
            rows["H"] = len(data["x"])
            data["h"] = np.repeat(data["h"], rows["H"], axis=0)
        if len(set(rows.values())) > 1:
            listed = " and ".join(f"{name} has {n}" for name, n in rows.items())
            raise ValueError(f"pairs need as many rows of one as of the other; {listed} rows.")
        for name in tables:
            if name[0] == "X":
                # The names of columns, where there are some.
                validate_data(self, tables[name], reset=reset, skip_check_array=True)
        return data

    # -- fitting -------------------------------------------------------------------------------

    _chunk = ("X", "Y")

    @unchanged_if_refused
    def fit(self, X: Any, Y: Any = None, sample_weight: Any = None) -> GatedRBM:
        """Learn the transformations between the rows of X and those of Y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or function
            For pairs that do not fit into memory: a function that returns an iterator of chunks
            ``(X, Y)`` or ``(X, Y, sample_weight)``, as in `RBM.fit`, with Y left out here.
        Y : array-like of shape (n_samples, n_features_y)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        if is_chunked(X):
            self._refuse_images_apart(Y)
            self._fit_chunks(X, sample_weight)
        else:
            self._check_parameters()
            data = self._check_images(reset=True, X=X, Y=Y)
            self._fit(data, self._check_weights(sample_weight, data["x"]))
        self._count_features()
        if self.mode == "joint":
            try:
                self._check_coupling()
            except ValueError as error:
                warnings.warn(str(error), RuntimeWarning, stacklevel=3)
        return self

    @unchanged_if_refused
    def partial_fit(self, X: Any, Y: Any = None, sample_weight: Any = None) -> GatedRBM:
        """Make one pass over the pairs, going on from where the model stands.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or iterator
            An iterator of chunks ``(X, Y)``, or what `fit` takes in place of rows, is read once.
        Y : array-like of shape (n_samples, n_features_y)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        self._check_structure()
        if is_chunked(X):
            self._refuse_images_apart(Y)
            self._partial_fit_chunks(X, sample_weight)
        else:
            self._check_parameters()
            data = self._check_images(reset=not hasattr(self, "params_"), X=X, Y=Y)
            self._partial_fit(data, self._check_weights(sample_weight, data["x"]))
        self._count_features()
        return self

    def _refuse_images_apart(self, Y: Any) -> None:
        if Y is not None:
            raise ValueError(
                "both images of a pair come in one chunk: let each be a pair (X, Y), and leave the "
                "argument Y out."
            )

    def _check_chunk(
        self, X: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Data, np.ndarray | None]:
        x, y = X
        data = self._check_images(reset=reset, X=x, Y=y)
        if not reset:
            data = {g: table.astype(self._dtype, copy=False) for g, table in data.items()}
        return dict(data), self._check_weights(sample_weight, data["x"], is_part=True)

    def _count_features(self) -> None:
        groups = self.energy_.groups
        self.n_features_in_, self.n_features_y_ = groups["x"].size, groups["y"].size

    # -- transformations -----------------------------------------------------------------------

    def transform(self, X: Any, Y: Any) -> np.ndarray:
        """``E[h | x, y]``: the hidden units that explain each pair.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        Y : array-like of shape (n_samples, n_features_y)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        check_is_fitted(self, "params_")
        data = self._check_images(X=X, Y=Y)
        with threads.computing():
            return np.concatenate([self._mean("h", part) for part in self._chunks(data)])

    def predict(self, X: Any, H: Any) -> np.ndarray:
        """``E[y | x, h]``: a transformation applied to images.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        H : array-like of shape (n_samples, n_components)
            Values or means of the hidden units, as `transform` gives them; one row serves for all
            images.

        Returns
        -------
        ndarray of shape (n_samples, n_features_y)
        """
        return self._applied(X=X, H=H)

    def _applied(self, **tables: Any) -> np.ndarray:
        """Means of y given x and h."""
        check_is_fitted(self, "params_")
        data = self._check_images(**tables)
        with threads.computing():
            return np.concatenate([self._mean("y", part) for part in self._chunks(data)])

    def analogy(self, X: Any, Y: Any, X_new: Any) -> np.ndarray:
        """What X_new becomes as X became Y, row by row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        Y : array-like of shape (n_samples, n_features_y)
            One pair serves for all rows of X_new.
        X_new : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features_y)
        """
        H = self.transform(X, Y)
        n = len(self._check_images(X_new=X_new)["x"])
        if len(H) not in (1, n):
            raise ValueError(
                f"X_new has {n} rows, but there are {len(H)} pairs of X and Y; give as "
                f"many, or one pair for all."
            )
        return self._applied(X_new=X_new, H=H)

    # -- likelihood and samples ----------------------------------------------------------------

    def log_partition(self, method: str = "auto", **options: Any) -> LogPartition:
        """Log Z of all three groups, with its 95 % interval; see `RBM.log_partition`.

        Raises
        ------
        ValueError
            Where real-valued images are coupled so strongly that there is no distribution.
        """
        check_is_fitted(self, "params_")
        self._check_coupling()
        return super().log_partition(method, **options)

    def score_samples(self, X: Any, Y: Any) -> np.ndarray:
        """``log p(y | x)`` of each pair (``log p(x, y)`` with ``mode="joint"``), in nats.

        The conditional one enumerates the hidden units, or y, for each row, up to 2**20 states;
        beyond, log Z of each row is annealed. `conditional_log_partition` has its interval.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        Y : array-like of shape (n_samples, n_features_y)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        check_is_fitted(self, "params_")
        data = self._check_images(X=X, Y=Y)
        n_threads = threads.resolve(self.n_threads)
        free = [
            self.energy_.free_energy(self.params_, part, "h", n_threads=n_threads, check=False)
            for part in self._chunks(data)
        ]
        log_z: Any = self.log_partition_.value if self.mode == "joint" else None
        if log_z is None:
            log_z = self.conditional_log_partition({"x": data["x"]}).values
        observed = ("x", "y") if self.mode == "joint" else ("y",)
        return self._credible(-np.concatenate(free) - log_z, observed)

    def score(self, X: Any, Y: Any) -> float:
        """Mean of `score_samples`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        Y : array-like of shape (n_samples, n_features_y)

        Returns
        -------
        float
        """
        return float(self.score_samples(X, Y).mean())

    def sample(
        self,
        X: Any = None,
        n_steps: int = 100,
        *,
        n_samples: int | None = None,
        random_state: Any = None,
        method: str = "gibbs",
        return_info: bool = False,
        n_jobs: int | None = None,
    ) -> Any:
        """Draw a y for each row of X, by Gibbs sampling with x held, or pairs of images.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
            Without it, pairs are drawn, of which ``mode="joint"`` learns the distribution.
        n_steps : int
        n_samples : int, optional
            Number of pairs, 1 by default; with X there is a y for each of its rows.
        random_state : None, int, RandomState or Generator
            None goes on in the model's own sequence, so that calls differ, repeatably.
        method : {"gibbs", "tempered", "trajectory"}, default="gibbs"
        return_info : bool, default=False
            As in `RBM.sample`.

        n_jobs : int, optional
            As in `RBM.sample`.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_features_y)
            For pairs, a tuple of X and it. With ``return_info`` also the information.
        """
        check_is_fitted(self, "params_")
        check_count("n_steps", n_steps, minimum=0)
        start: dict[str, np.ndarray] = {}
        clamp: tuple[str, ...] = ()
        if X is not None:
            if n_samples is not None:
                raise ValueError(
                    f"n_samples={n_samples!r} is for pairs, but X is given, and each of its rows "
                    f"has a y drawn; repeat its rows for more (numpy.repeat)."
                )
            x = self._check_images(X=X)["x"]
            n, clamp = len(x), ("x",)
            start["x"] = x.reshape(n, *self.energy_.groups["x"].shape)
        elif self.mode != "joint":
            raise ValueError(
                f"mode={self.mode!r} learns y given x, and nothing of how x is distributed; give "
                f"X, or fit with mode='joint'."
            )
        else:
            n = check_count("n_samples", 1 if n_samples is None else n_samples)
            self._check_coupling()
            if (chains := self._chain_state()) is not None:
                chosen = np.arange(n) % chains.n_chains
                start = {g: values[chosen] for g, values in chains.values.items()}
        address = rng.Address.of(self._sampling_seed(random_state), "sample")
        sampler = self._sampler(method, clamp)
        # Images are drawn last, so that a sweep ends at them.
        sampler.blocks = [("h",), *((g,) for g in ("x", "y") if g not in clamp)]
        state = sampler.start(self.params_, n, address, start)
        state, info = self._sweep(sampler, state, n_steps, return_info, n_jobs)
        drawn = tuple(state.values[g].reshape(n, -1) for g in ("x", "y") if g not in clamp)
        if info is not None:
            return (*drawn, info)
        return drawn if len(drawn) > 1 else drawn[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.two_d_labels = True
        return tags


class _Coupling:
    """How strongly two real images are coupled, in the state of h in which they are most.

    Given h, x and y are normal with the precision matrix ``[[P, -M], [-M', Q]]``, where P and Q are
    diagonal and ``M_ij = sum_k W_ijk h_k``. It is positive definite where the largest singular
    value of ``P^(-1/2) M Q^(-1/2)`` is below 1 (for rectified units: the largest ``u' . v`` over
    unit vectors without negative entries). The largest over the states of h is approached from
    below, by ascent in turns over u, v and h from a few fixed starts.

    Parameters
    ----------
    energy : Energy
        Of a `GatedRBM`.
    """

    def __init__(self, energy: Energy) -> None:
        self.energy = energy
        self.term = energy.terms[0]
        self.is_positive = {g: isinstance(energy.groups[g], ReLU) for g in ("x", "y")}
        unit = energy.groups["h"]
        table = unit.states()
        # Where units fill an interval the ends are the strongest.
        table = np.array([0.0, 1.0]) if table is None else table
        self.table = table.reshape(len(table), -1)
        sizes = (energy.groups["x"].size, energy.groups["y"].size)
        starts = np.random.default_rng(0)
        self.starts = [tuple(starts.standard_normal(n) for n in sizes) for _ in range(32)]

    def bound(self, params: Params, largest: float) -> None:
        """Scale the weights down, in place, where the coupling is stronger than this."""
        found = self.strongest(params)
        if found > largest:
            keys = list(self.term.parameter_shapes)
            for key in keys:
                params[key] *= params[key].dtype.type((largest / found) ** (1 / len(keys)))

    def strongest(self, params: Params, n_steps: int = 16) -> float:
        """The largest value that is found."""
        scale = {g: np.exp(-params[f"{g}.log_precision"].reshape(-1) / 2) for g in ("x", "y")}
        if isinstance(self.term, FactoredTerm):
            keys = {s.group: self.term.key(s) for s in self.term.slots}
            a, b, c = (params[keys[g]].reshape(-1, self.term.rank) for g in ("x", "y", "h"))
            a, b = a * scale["x"][:, None], b * scale["y"][:, None]

            def gains(u: np.ndarray, v: np.ndarray) -> np.ndarray:
                return c @ ((u @ a) * (v @ b))

            def matrix(h: np.ndarray) -> np.ndarray:
                return (a * (h @ c)) @ b.T

        else:
            w = params[self.term.name].reshape(len(scale["x"]), len(scale["y"]), -1)
            w = w * (scale["x"][:, None, None] * scale["y"][None, :, None])

            def gains(u: np.ndarray, v: np.ndarray) -> np.ndarray:
                return v @ np.tensordot(u, w, axes=1)

            def matrix(h: np.ndarray) -> np.ndarray:
                return w @ h

        best = 0.0
        for u, v in self.starts:
            u, v = self._unit("x", u), self._unit("y", v)
            for _ in range(n_steps):
                m = matrix(self._state(gains(u, v)))
                for _ in range(2):
                    u = self._unit("x", m @ v)
                    v = self._unit("y", u @ m)
                best = max(best, float(u @ m @ v))
        return best

    def _state(self, gain: np.ndarray) -> np.ndarray:
        """The state of h in which the products of these weights are largest."""
        per_unit = gain.reshape(-1, self.table.shape[1]) @ self.table.T
        if not any(self.is_positive.values()):
            # Then -u is as good as u.
            turned = -gain.reshape(-1, self.table.shape[1]) @ self.table.T
            if turned.max(axis=1).sum() > per_unit.max(axis=1).sum():
                per_unit = turned
        return self.table[per_unit.argmax(axis=1)].reshape(-1).astype(gain.dtype)

    def _unit(self, group: str, x: np.ndarray) -> np.ndarray:
        """A vector of length one that these units can take the direction of."""
        if self.is_positive[group]:
            x = np.maximum(x, 0)
        return x / max(float(np.linalg.norm(x)), 1e-30)
