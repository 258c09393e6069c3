"""Boltzmann machines of any order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..energy import Energy
from ..gibbs import ChainState
from ..terms import DenseTerm, Hyperedges, Params, as_edges
from ..training import Callback
from ..units import Bernoulli, Spin, Unit
from ..units.base import check_range
from ..units.spin import refuse_bits
from ..validation import check_count, one_of
from .base import Data, check_rows
from .boltzmann_machine import BoltzmannMachine

_UNITS = {"bernoulli": Bernoulli, "spin": Spin}
#: Letters of the slots of a dense term.
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Entries of the largest dense array of weights.
_DENSE_LIMIT = 1 << 26


class HigherOrderBoltzmannMachine(BoltzmannMachine):
    r"""Boltzmann machine with couplings of any order.

    ``E(s) = -sum_a b_a s_a - sum_{a<b} w_ab s_a s_b - sum_{a<b<c} w_abc s_a s_b s_c - ...``, over
    the visible units and `n_hidden` hidden ones; of order two it is the Boltzmann machine of
    Ackley, Hinton & Sejnowski. Learning is the difference of two averages of each product of units:
    with the visible units clamped, and free.

    Parameters
    ----------
    n_hidden : int, default=0
        Hidden units, numbered after the visible ones.
    order : int, default=2
        Every set of two to `order` units has a weight.
    edges : sequence of sequences of int, default=None
        Only these sets of units have one, whatever their order: visible units are numbered as the
        columns of X, hidden ones go on from there. `order` is then not looked at.
    units : {"bernoulli", "spin"}, default="bernoulli"
        Values {0, 1} or {-1, +1}. A product of spins is their parity.
    method : {"auto", "pcd", "cd", "exact"}, default="auto"
        "auto" takes exact gradients up to ten units, and persistent chains beyond.
    n_gibbs, n_positive, n_chains, learning_rate, batch_size, n_iter, optimizer, momentum, l1, l2, \
centered, n_threads, callbacks, verbose, random_state
        As in `BoltzmannMachine`.

    Attributes
    ----------
    energy_ : Energy
        Its one group ``"s"`` holds the visible and then the hidden units.
    params_ : dict of arrays
        Biases ``"s"``, and weights ``"s_a s_b"``, ``"s_a s_b s_c"``, ... (symmetric, each set of
        units counted once) or ``"hyperedges(s)"``, one number an edge.
    log_partition_ : LogPartition
    history_ : dict of lists
    n_iter_ : int
    n_features_in_ : int

    References
    ----------
    Sejnowski, "Higher-order Boltzmann machines", AIP Conference Proceedings 151, 1987.
    Ackley, Hinton & Sejnowski, "A learning algorithm for Boltzmann machines", Cognitive Science 9,
    1985.

    Examples
    --------
    The parity of two spins is one weight of third order:

    >>> import numpy as np
    >>> from fastboltz import HigherOrderBoltzmannMachine
    >>> X = np.array([[-1, -1, 1], [-1, 1, -1], [1, -1, -1], [1, 1, 1]])
    >>> machine = HigherOrderBoltzmannMachine(edges=[(0, 1, 2)], units="spin", random_state=0)
    >>> bool(machine.fit(X).params_["hyperedges(s)"][0] > 1)
    True
    """

    visible = "s"
    given = ()

    def __init__(
        self,
        n_hidden: int = 0,
        order: int = 2,
        *,
        edges: Sequence[Sequence[int]] | None = None,
        units: str = "bernoulli",
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
        self.n_hidden = n_hidden
        self.order = order
        self.edges = edges
        self.units = units
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

    def _declare(self, data: Data) -> Energy:
        n = data["s"].shape[1]
        group = {"s": _UNITS[self.units](n)}
        if self.edges is not None:
            return Energy(group, [Hyperedges("s", self._checked_edges(n))])
        if n**self.order > _DENSE_LIMIT:
            raise ValueError(
                f"order={self.order} over {n} units is a dense array of {n}**{self.order} weights "
                f"(limit 2**{math.log2(_DENSE_LIMIT):.0f}). List the sets that matter in edges, or "
                f"lower the order."
            )
        orders = range(2, min(self.order, n) + 1)
        return Energy(group, [" ".join(f"s_{x}" for x in _LETTERS[:m]) for m in orders])

    def _checked_edges(self, n: int) -> list[tuple[int, ...]]:
        edges = as_edges(self.edges, "edges", "edges[{}]")
        for number, edge in enumerate(edges):
            outside = [i for i in edge if not 0 <= i < n]
            if outside:
                raise ValueError(
                    f"edges[{number}] is {edge}, but there are {n - self.n_hidden} visible and "
                    f"{self.n_hidden} hidden units, numbered from 0 to {n - 1}; found "
                    f"{outside[0]}."
                )
        return edges

    def _starting_params(self, energy: Energy, dtype: np.dtype) -> Params:
        """Weights that differ where hidden units must; without any, no start is better than zero.

        Without hidden units the likelihood is concave. With them, a field should be of order one,
        whatever the number of products in it.
        """
        params = energy.init(self._seed, 1.0 if self.n_hidden else 0.0, dtype)
        n = energy.groups["s"].size
        for term in energy.terms:
            if isinstance(term, DenseTerm):
                products = math.comb(n - 1, len(term.slots) - 1)
            else:
                assert isinstance(term, Hyperedges)
                products = max(1, sum(map(len, term.edges)) // n)
            params[term.name] *= np.asarray(products**-0.5, dtype)
        return params

    # -- checks --------------------------------------------------------------------------------

    def _check_groups(self) -> None:
        check_count("n_hidden", self.n_hidden, minimum=0)
        check_count("order", self.order)
        one_of("units", self.units, _UNITS)
        if isinstance(self.edges, Iterator):
            raise TypeError(
                f"edges is a {type(self.edges).__name__}, which can be read only once; give "
                f"list(edges)."
            )

    def _check_data(self, X: Any, *, reset: bool) -> dict[str, Any]:
        options = {"accept_sparse": False, "ensure_all_finite": "allow-nan"}
        X = check_rows(self, X, reset=reset, **options)
        X = self._check_support(_UNITS[self.units](X.shape[1]), X)
        n_hidden = self.n_hidden if reset else self.energy_.groups["s"].size - X.shape[1]
        return {"s": self._beside_hidden(X, n_hidden)}

    def _refuse_values(self, unit: Unit, X: Any, name: str) -> None:
        hints = {
            "bernoulli": "Map {-1, 1} data by (X + 1) / 2, or use units='spin'.",
            "spin": "Map {0, 1} data by 2 * X - 1, or use units='bernoulli'.",
        }
        low = -1 if self.units == "spin" else 0
        check_range(name, X, low, 1, type(unit).__name__, f"[{low}, 1]", hints[self.units])
        refuse_bits(unit, X, name, "units")

    @staticmethod
    def _beside_hidden(X: np.ndarray, n_hidden: int) -> np.ndarray:
        """A hidden unit is one that no row tells."""
        return np.concatenate([X, np.full((len(X), n_hidden), np.nan, X.dtype)], axis=1)

    def _check_given(self, given: Any) -> dict[str, np.ndarray]:
        if given is None:
            return {}
        x = np.atleast_2d(np.asarray(given, dtype=self._dtype))
        if x.shape[1:] != (self.n_features_in_,):
            raise ValueError(
                f"given has shape {x.shape}; expected ({self.n_features_in_},) or (n_samples, "
                f"{self.n_features_in_}), with NaN for the units to be drawn."
            )
        x = self._check_support(self.energy_.groups["s"], x, "given")
        return super()._check_given({"s": self._beside_hidden(x, self._n_features_out)})

    # -- what is given as one dense table ------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> HigherOrderBoltzmannMachine:
        """Learn the weights from rows of the visible units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN marks unknown units. A function that returns an iterator of chunks stands for more
            than fits into memory, as in `RBM`.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        super().fit(X, y, sample_weight)
        return self

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None
    ) -> HigherOrderBoltzmannMachine:
        """Make one pass over the rows, going on from where the model stands.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Or an iterator of chunks, or what `fit` takes in their place; it is read once.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        super().partial_fit(X, y, sample_weight)
        return self

    def infer(
        self, X: Any, method: str = "auto", *, n_steps: int = 100, random_state: Any = None
    ) -> dict[str, np.ndarray]:
        """Means of all units given those that are known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN marks unknown visible units.
        method : {"auto", "exact", "mean-field", "gibbs"}
            "exact" sums over the states of the hidden and the unknown units. "auto" does so for
            rows with at most 2**12 of them, and takes "mean-field" for others. "gibbs" averages
            over sweeps.
        n_steps : int
            Sweeps of "gibbs", after half as many that are left out.
        random_state : None, int, RandomState or Generator
            For "gibbs".

        Returns
        -------
        dict of arrays
            ``"s"`` -> (n_samples, n_features + n_hidden): known values as they are, means
            elsewhere.
        """
        return super().infer(X, method, n_steps=n_steps, random_state=random_state)

    def free_energy(self, X: Any) -> np.ndarray:
        """``F = -log sum exp(-E)`` over the hidden and the unknown units of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64

        Raises
        ------
        NotEnumerableError
            Where these have too many states.
        """
        return super().free_energy(X)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-likelihood of what is known of each row, in nats.

        It uses ``log_partition_``: exact where that can be enumerated, else annealed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64

        Raises
        ------
        NotEnumerableError
            Where the free energy has too many states.
        """
        return super().score_samples(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of the rows, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        float
        """
        return super().score(X, y)

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
        """Draw the visible units by Gibbs sampling.

        Parameters
        ----------
        n_samples : int, optional
            Number of rows, each a chain of its own; the default is the rows of `given`, else 1.
        n_steps : int
            Sweeps that each chain makes.
        given : array-like of shape (n_features,) or (n_samples, n_features), optional
            Known visible units, held; NaN marks those to be drawn. One row serves for all samples.
        random_state : None, int, RandomState or Generator
            None goes on in the model's own sequence, so that calls differ, repeatably.
        method : {"gibbs", "tempered", "trajectory"}, default="gibbs"
            As in `RBM.sample`.
        return_info : bool, default=False
            Also return a `fastboltz.diagnostics.SamplingInfo`, as in `RBM.sample`.
        n_jobs : int, optional
            As in `RBM.sample`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            With ``return_info``, a tuple of it and the information.
        """
        return super().sample(
            n_samples,
            n_steps,
            given=given,
            random_state=random_state,
            method=method,
            return_info=return_info,
            n_jobs=n_jobs,
        )

    # -- what differs from groups that are wholly hidden ---------------------------------------

    @property
    def _n_features_out(self) -> int:
        self._learnt("n_features_out")
        return self.energy_.groups["s"].size - self.n_features_in_

    def transform(self, X: Any) -> np.ndarray:
        """Means of the hidden units given what is known: exact up to twelve unknown units a row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_hidden)
        """
        return self.infer(X)["s"][:, self.n_features_in_ :]

    def _shown(self, state: ChainState, group: str) -> np.ndarray:
        return state.values[group][:, : self.n_features_in_]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags

    def _observed_kinds(self) -> list[Any]:
        return [self.units]
