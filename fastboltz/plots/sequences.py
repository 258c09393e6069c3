"""Sequences: time runs to the right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from ..validation import check_count
from ._display import INK, RED, Display, check_can, dense, matplotlib

#: The lowest key of a piano of 88 keys, as a MIDI number.
LOWEST_KEY = 21


class PianoRollDisplay(Display):
    """Piano rolls: steps to the right, keys upwards.

    Parameters
    ----------
    rolls : dict of str to ndarray of shape (n_steps, n_keys)
        Panels, from the top downwards.
    n_prefix : int
        Steps that were given to the model, before the red line.
    lowest_pitch : int
        MIDI number of the first column; 60 is the middle C.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One a roll.
    figure_ : matplotlib Figure
    images_ : list of matplotlib AxesImage

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import RNNRBM
    >>> from fastboltz.plots import PianoRollDisplay
    >>> scale = np.eye(12, dtype=np.float32)[np.arange(48) % 12]
    >>> rnn = RNNRBM(8, n_recurrent=8, n_iter=2, random_state=0).fit([scale, scale])
    >>> display = PianoRollDisplay.from_estimator(rnn, scale, n_prefix=12, lowest_pitch=60)
    """

    images_: list[Any]

    def __init__(
        self, rolls: Mapping[str, Any], n_prefix: int = 0, lowest_pitch: int = LOWEST_KEY
    ) -> None:
        self.rolls = {name: dense(x) for name, x in rolls.items()}
        self.n_prefix = n_prefix
        self.lowest_pitch = lowest_pitch

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        sequence: Any,
        *,
        n_prefix: int | None = None,
        n_steps: int | None = None,
        predictions: bool = False,
        lowest_pitch: int = LOWEST_KEY,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw a sequence, and how a fitted model goes on after its beginning.

        Parameters
        ----------
        estimator : object with ``sample(n_steps, prefix, random_state=...)``, as `RNNRBM`
        sequence : array-like of shape (n_rows, n_keys)
        n_prefix : int, optional
            Steps of the sequence that the model is given; the default is a quarter of them.
        n_steps : int, optional
            Steps that are drawn, those of the prefix among them; the default is those of the
            sequence.
        predictions : bool
            Whether to draw also the mean of each step of the sequence given those before it.
        lowest_pitch : int
            MIDI number of the first column; 21 is the lowest key of a piano, 60 the middle C.
        random_state : None, int, RandomState or Generator
        ax : matplotlib Axes or sequence of them, optional
            One a panel; the default is a new figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        PianoRollDisplay
        """
        sample = check_can(estimator, "sample")
        sequence = dense(sequence)
        if sequence.ndim != 2 or not len(sequence):
            raise ValueError(
                f"sequence has shape {sequence.shape}; expected one sequence, (n_steps, n_keys)."
            )
        n = len(sequence)
        n_prefix = max(1, n // 4) if n_prefix is None else check_count("n_prefix", n_prefix)
        n_steps = n if n_steps is None else check_count("n_steps", n_steps)
        if n_prefix > min(n, n_steps):
            raise ValueError(
                f"n_prefix is {n_prefix}, but the sequence has {n} steps and {n_steps} are drawn; "
                f"expected {min(n, n_steps)} at most."
            )
        rolls = {"data": sequence[:n_steps]}
        if predictions:
            predict = check_can(estimator, "predict")
            rolls["mean given\nthe past"] = predict(rolls["data"])
        rolls["sample"] = sample(n_steps, sequence[:n_prefix], random_state=random_state)
        return cls(rolls, n_prefix, lowest_pitch).plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, cmap: Any = "gray_r") -> Self:
        """Draw the rolls, from the lowest to the highest key that one of them has.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, optional
            One a roll; the default is a new figure.
        cmap : str or Colormap

        Returns
        -------
        self
        """
        n = len(self.rolls)
        axes = self._panels(ax, n, (9.0, 1.9 * n + 0.5), 1, sharex=True, sharey=True)
        cmap = matplotlib().colormaps[cmap] if isinstance(cmap, str) else cmap
        used = np.flatnonzero(
            np.any([np.nanmax(np.abs(x), axis=0) > 0.05 for x in self.rolls.values()], axis=0)
        )
        n_keys = next(iter(self.rolls.values())).shape[1]
        low, high = (used[0], used[-1]) if len(used) else (0, n_keys - 1)
        longest = max(len(x) for x in self.rolls.values())
        bottom = self.lowest_pitch - 0.5
        self.images_ = []
        for panel, (name, roll) in zip(axes, self.rolls.items(), strict=True):
            self.images_.append(
                panel.imshow(
                    roll.T,
                    cmap=cmap,
                    vmin=0,
                    vmax=max(1.0, float(np.nanmax(roll))),
                    origin="lower",
                    aspect="auto",
                    interpolation="nearest",
                    extent=(0.0, float(len(roll)), bottom, bottom + n_keys),
                )
            )
            panel.set_ylabel(name, color=INK)
            panel.set_xlim(0, longest)
            panel.set_ylim(bottom + low - 1, bottom + high + 2)
            at = [p for p in range(0, 128, 12) if bottom + low - 1 <= p <= bottom + high + 2]
            panel.set_yticks(at, [f"C{p // 12 - 1}" for p in at])
            for pitch in at:  # between keys, so that no line runs through notes
                panel.axhline(pitch - 0.5, color="#dddddd", linewidth=0.6)
            if 0 < self.n_prefix < longest:
                panel.axvline(self.n_prefix, color=RED, linewidth=1.2)
        axes[-1].set_xlabel("step")
        return self


__all__ = ["PianoRollDisplay"]
