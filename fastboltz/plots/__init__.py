"""Pictures of models, as scikit-learn's displays: ``SomethingDisplay.from_estimator(model)``.

A display computes what it shows in its class method and keeps it; ``plot(ax=...)`` draws it, and
draws it again elsewhere if wished. What it drew is in ``figure_`` and ``axes_`` (``ax_`` where
there is one panel), and in attributes for the artists. matplotlib is imported when something is
drawn.

========================  ==========================================================================
`FiltersDisplay`          weights of the hidden units, as images
`SamplesDisplay`          samples, beside data where some is given
`ChainDisplay`            Gibbs chains as film strips
`CompletionDisplay`       draws of unknown pixels
`ImagesDisplay`           rows of any images under names
`HistoryDisplay`          learning curves with intervals
`EnergyDisplay`           histograms of the free energies of data and samples
`SwapsDisplay`            exchanges of parallel tempering
`ClassSamplesDisplay`     samples of a classifier, a row a class
`ClassFiltersDisplay`     weights that the label gates
`MasksDisplay`            masks of point-wise gated machines
`AnalogyDisplay`          what a gated machine takes from pairs, applied to other images
`TransformationsDisplay`  where the hidden units of a gated machine send a pixel
`FilterPairsDisplay`      factors of a gated machine
`PianoRollDisplay`        sequences, and how a recurrent model goes on with them
`ComparisonDisplay`       estimators of gradients side by side
`ScalingDisplay`          what more threads or ranks bring
========================  ==========================================================================

`demo_figure` is the picture of ``fastboltz demo``: filters, data and samples.
"""

from .curves import ComparisonDisplay, EnergyDisplay, HistoryDisplay
from .demo import demo_figure
from .filters import ClassFiltersDisplay, FilterPairsDisplay, FiltersDisplay
from .gated import AnalogyDisplay, TransformationsDisplay
from .images import (
    ChainDisplay,
    ClassSamplesDisplay,
    CompletionDisplay,
    ImagesDisplay,
    MasksDisplay,
    SamplesDisplay,
)
from .scaling import ScalingDisplay
from .sequences import PianoRollDisplay
from .swaps import SwapsDisplay

__all__ = [
    "AnalogyDisplay",
    "ChainDisplay",
    "ClassFiltersDisplay",
    "ClassSamplesDisplay",
    "ComparisonDisplay",
    "CompletionDisplay",
    "EnergyDisplay",
    "FilterPairsDisplay",
    "FiltersDisplay",
    "HistoryDisplay",
    "ImagesDisplay",
    "MasksDisplay",
    "PianoRollDisplay",
    "SamplesDisplay",
    "ScalingDisplay",
    "SwapsDisplay",
    "TransformationsDisplay",
    "demo_figure",
]
