"""Scaling with threads or ranks."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..scaling import CostModel, Scaling, counts
from ..validation import check_count
from ._display import BLUE, GREY, INK, RED, Display, bare


class ScalingDisplay(Display):
    """Strong and weak scaling: what was measured, and what the model of the cost has.

    At the left the speed-up with a minibatch of fixed size, at the right the efficiency with fixed
    rows for each worker. Where the model knows what communication costs, its curves go on to more
    machines.

    Parameters
    ----------
    scaling : fastboltz.scaling.Scaling
    model : fastboltz.scaling.CostModel

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Of strong scaling, and of weak scaling.
    figure_ : matplotlib Figure
    measured_ : list of matplotlib Line2D
        One in each panel.
    predicted_ : list of matplotlib Line2D
        One in each panel, if the model knows what communication costs.
    """

    measured_: list[Any]
    predicted_: list[Any]

    def __init__(self, scaling: Scaling, model: CostModel) -> None:
        self.scaling = scaling
        self.model = model

    @classmethod
    def from_scaling(
        cls, scaling: Scaling, model: CostModel | None = None, *, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw what was measured.

        Parameters
        ----------
        scaling : fastboltz.scaling.Scaling
        model : fastboltz.scaling.CostModel, optional
            The default is the one that is fitted to the measured runs.
        ax : sequence of two matplotlib Axes, optional
            The default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        ScalingDisplay
        """
        return cls(scaling, scaling.model() if model is None else model).plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, n_workers: int = 64) -> Self:
        """Draw the two panels.

        Parameters
        ----------
        ax : sequence of two matplotlib Axes, optional
            The default is a new figure.
        n_workers : int
            To which the model's curves go.

        Returns
        -------
        self
        """
        check_count("n_workers", n_workers, minimum=2)
        strong, weak = self._panels(ax, 2, (9.0, 3.6))
        unit = self.scaling.unit
        # Of threads, the model's workers are whole machines, which have no place on this axis.
        has_curve = self.model.has_network and unit == "rank"
        measured = self.scaling.workers()
        most = max(n_workers, measured[-1]) if has_curve else max(2, measured[-1])
        ticks = counts(most)
        self.measured_, self.predicted_ = [], []
        for panel, kind, what in (
            (strong, "strong", "speed_up"),
            (weak, "weak", "efficiency"),
        ):
            ideal = ticks if what == "speed_up" else np.ones(len(ticks))
            panel.plot(ticks, ideal, "--", color=GREY, linewidth=1, label="ideal")
            if has_curve:
                rows = self.scaling.predict(self.model, range(1, most + 1))
                (line,) = panel.plot(
                    [row["workers"] for row in rows],
                    [row[kind][what] for row in rows],
                    color=RED,
                    linewidth=1.3,
                    label="model",
                )
                self.predicted_.append(line)
            table = self.scaling.table(kind)
            (line,) = panel.plot(
                [row["workers"] for row in table],
                [row[what] for row in table],
                "o",
                color=BLUE,
                markersize=6,
                label="measured",
                zorder=3,
            )
            self.measured_.append(line)
            panel.set_xscale("log", base=2)
            panel.set_xticks(ticks, [str(n) for n in ticks])
            panel.minorticks_off()
            panel.set_xlabel(f"{unit}s")
            bare(panel)
        strong.set_yscale("log", base=2)
        # Slower than one, where it comes to that.
        low = min(1.0, *(float(np.min(x.get_ydata())) for x in strong.lines))
        halves = [2.0**k for k in range(int(np.floor(np.log2(low))), 0)]
        strong.set_yticks([*halves, *ticks], [f"{n:g}" for n in (*halves, *ticks)])
        strong.minorticks_off()
        strong.set_ylabel("speed-up")
        size = f"{self.scaling.batch_size:,}"
        strong.set_title(f"strong: {size} rows in a minibatch", fontsize=10, color=INK)
        strong.legend(frameon=False)
        weak.set_ylim(0, max(1.1, *(1.05 * float(y) for y in self.measured_[1].get_ydata())))
        weak.set_ylabel("efficiency")
        weak.set_title(f"weak: {size} rows for each {unit}", fontsize=10, color=INK)
        return self


__all__ = ["ScalingDisplay"]
