"""Parallel tempering: which neighbours exchange, and where replicas go."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..validation import check_count, one_of
from ._display import BLUE, COLOURS, INK, Display, bare, check_fitted


class SwapsDisplay(Display):
    """Swap diagram of parallel tempering.

    At the left, the share of exchanges that neighbouring inverse temperatures accept; a gap in the
    ladder shows as a low point. At the right, the inverse temperatures that the replicas of one
    chain go through: replicas that wander from the bottom (the reference, drawn anew at every
    sweep) to the top (the model) bring new states there. Where the levels are earlier models of the
    training, their positions stand in place of inverse temperatures.

    Parameters
    ----------
    betas : ndarray of shape (n_levels,)
        Inverse temperatures, from 0 to 1, or positions along the training.
    swap_rates : ndarray of shape (n_levels - 1,)
        Accepted exchanges by proposed ones, over all chains.
    level : ndarray of shape (n_sweeps + 1, n_levels)
        Level at which each replica of one chain stands, before and after each sweep.
    round_trips : int
        From the reference to the model and back, over all chains.
    n_chains : int
    of : str, default="inverse temperature"
        What the levels are, for the axes.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Of the rates, and of the replicas.
    figure_ : matplotlib Figure
    rates_ : matplotlib Line2D
    paths_ : list of matplotlib Line2D
        Of every replica.

    Examples
    --------
    >>> from fastboltz import RBM
    >>> from fastboltz.datasets import load_digits
    >>> from fastboltz.plots import SwapsDisplay
    >>> train, _ = load_digits()
    >>> rbm = RBM(n_components=16, n_iter=5, random_state=0).fit(train.X)
    >>> display = SwapsDisplay.from_estimator(rbm, n_chains=10, n_steps=40, n_adapt=40)
    """

    rates_: Any
    paths_: list[Any]

    def __init__(
        self,
        betas: Any,
        swap_rates: Any,
        level: Any,
        round_trips: int = 0,
        n_chains: int = 1,
        of: str = "inverse temperature",
    ) -> None:
        self.betas = np.asarray(betas)
        self.swap_rates = np.asarray(swap_rates)
        self.level = np.asarray(level)
        self.round_trips = round_trips
        self.n_chains = n_chains
        self.of = of

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        n_chains: int = 50,
        n_steps: int = 200,
        n_adapt: int = 500,
        n_levels: int | None = None,
        method: str = "tempered",
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Sample from a fitted model by parallel tempering, and draw the exchanges.

        Parameters
        ----------
        estimator : object with ``energy_`` and ``params_``
        n_chains : int
            Chains that the rates are counted over; the replicas of the first are drawn.
        n_steps : int
            Sweeps that are drawn.
        n_adapt : int
            Sweeps before them, in which the levels are placed.
        n_levels : int, optional
            The default lets `fastboltz.tempering.Tempering.adapt` choose.
        method : {"tempered", "trajectory"}, default="tempered"
            As of the estimator's `sample`; "trajectory" needs the models that
            `fastboltz.callbacks.Trajectory` keeps.
        random_state : None, int, RandomState or Generator
        ax : sequence of two matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        SwapsDisplay
        """
        from ..tempering import Tempering, TrajectoryTempering

        one_of("method", method, ("tempered", "trajectory"))
        check_fitted(estimator)
        check_count("n_chains", n_chains)
        check_count("n_steps", n_steps)
        check_count("n_adapt", n_adapt, minimum=0)
        energy = getattr(estimator, "energy_", None)
        if energy is None:
            raise TypeError(
                f"{type(estimator).__name__} has no energy_; parallel tempering is of models of "
                f"one energy, such as RBM and BoltzmannMachine."
            )
        options: dict[str, Any] = {"n_threads": estimator.n_threads, "n_levels": n_levels}
        if method == "tempered":
            sampler, of = Tempering(energy, **options), "inverse temperature"
        else:
            sampler = TrajectoryTempering(energy, estimator._trajectory(), **options)
            of = "position along the training"
        state = sampler.init(estimator.params_, n_chains, random_state)
        # Ends with the levels placed, so that what is counted begins at what is drawn.
        state = sampler.adapt(estimator.params_, state, n_adapt)
        level = [np.argsort(state.replica[:, 0])]
        for _ in range(n_steps):
            state = sampler.step(estimator.params_, state)
            level.append(np.argsort(state.replica[:, 0]))
        return cls(
            state.betas, state.swap_rates, np.array(level), state.round_trips, state.n_chains, of
        ).plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, n_replicas: int = 3) -> Self:
        """Draw the two panels.

        Parameters
        ----------
        ax : sequence of two matplotlib Axes, optional
            The default is a new figure.
        n_replicas : int
            Replicas in colour, those that have visited most levels; others are grey.

        Returns
        -------
        self
        """
        check_count("n_replicas", n_replicas, minimum=0)
        rates, paths = self._panels(ax, 2, (9.0, 3.4), width_ratios=(1, 1.7))
        n_levels = len(self.betas)
        pairs = np.arange(n_levels - 1)
        (self.rates_,) = rates.plot(
            pairs + 0.5, self.swap_rates, "o-", color=BLUE, markersize=4, linewidth=1.2
        )
        rates.set_ylim(0, 1)
        rates.set_xlim(0, n_levels - 1)
        rates.set_xlabel(f"between levels, by {self.of}")
        _ticks(rates.xaxis, self.betas, 5)
        rates.set_ylabel("share of exchanges accepted")
        visited = [len(np.unique(path)) for path in self.level.T]
        coloured = np.argsort(visited, kind="stable")[::-1][:n_replicas]
        self.paths_ = []
        sweeps = np.arange(len(self.level))
        for replica, path in enumerate(self.level.T):
            where = np.flatnonzero(coloured == replica)
            style: dict[str, Any] = {"color": "#dddddd", "linewidth": 0.7, "zorder": 1}
            if len(where):
                colour = COLOURS[int(where[0]) % len(COLOURS)]
                style = {"color": colour, "linewidth": 1.3, "zorder": 3}
            self.paths_ += paths.plot(sweeps, path, **style)
        paths.set_xlabel("sweep")
        paths.set_ylabel(self.of)
        _ticks(paths.yaxis, self.betas, 9)
        paths.set_xlim(0, len(self.level) - 1)
        trips = f"{self.round_trips} round trips of {self.n_chains} chains"
        paths.set_title(f"replicas of one chain; {trips}", fontsize=10, color=INK)
        for panel in (rates, paths):
            bare(panel)
        return self


def _ticks(axis: Any, betas: np.ndarray, most: int) -> None:
    """Levels at equal distances, named by their inverse temperatures or positions."""
    last = len(betas) - 1
    every = -(-last // (most - 1))
    # The model's own, and none that would run into it.
    at = [*range(0, last - every // 2, every), last]
    axis.set_ticks(at, [f"{betas[k]:.2g}" for k in at])


__all__ = ["SwapsDisplay"]
