"""Boltzmann machines, from the RBM to any energy that one can write down, on CPUs.

The public names load on first use, so that ``import fastboltz`` is quick.

- Units: `Bernoulli`, `Spin`, `Categorical`, `Gaussian`, `ReLU`, `UnitInterval`;
  `Unit` is their contract.
- `Energy`: named groups of units and the terms that couple them; `Hyperedges` lists couplings.
- `Gibbs`: block Gibbs sampling of an energy, with clamping.
- Modules: `objectives`, `optimizers`, `training`, `callbacks`, `likelihood`, `diagnostics`,
  `tempering`.
- `gradients`: gradients of expectations, and how sure they are.
- `show_config` prints which kernels run.
- ``model.save(path)`` and `load` keep models in files, `Checkpoint` trainings.
- Models: `RBM`, and `BernoulliRBM`, a drop-in for scikit-learn's; the classifiers
  `RBMClassifier`, `ClassGatedRBMClassifier` and `TwoGroupRBMClassifier`; `GatedRBM` for pairs of
  images; `PointwiseGatedRBM` and `PointwiseGatedRBMClassifier`; `HigherOrderBoltzmannMachine`;
  `DeepBoltzmannMachine`, `DeepBeliefNetwork` and the directed `SigmoidBeliefNetwork`;
  `RNNRBM` for sequences; and `BoltzmannMachine`, any declared energy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import (
        callbacks,
        datasets,
        diagnostics,
        gradients,
        likelihood,
        objectives,
        optimizers,
        plots,
        tempering,
        training,
        units,
    )
    from .config import show_config
    from .energy import Conditionals, Energy
    from .gibbs import ChainState, Gibbs
    from .likelihood import LogPartition
    from .models import (
        RBM,
        RNNRBM,
        BernoulliRBM,
        BoltzmannMachine,
        ClassGatedRBMClassifier,
        DeepBeliefNetwork,
        DeepBoltzmannMachine,
        GatedRBM,
        HigherOrderBoltzmannMachine,
        PointwiseGatedRBM,
        PointwiseGatedRBMClassifier,
        RBMClassifier,
        SigmoidBeliefNetwork,
        TwoGroupRBMClassifier,
    )
    from .models.files import load
    from .persistence import Checkpoint
    from .terms import Hyperedges
    from .units import Bernoulli, Categorical, Gaussian, ReLU, Spin, Unit, UnitInterval
    from .validation import NotEnumerableError

#: Public name -> the module it comes from; None for a module itself.
_WHERE: dict[str, str | None] = {
    "Bernoulli": "units",
    "Categorical": "units",
    "Gaussian": "units",
    "ReLU": "units",
    "Spin": "units",
    "Unit": "units",
    "UnitInterval": "units",
    "Hyperedges": "terms",
    "Energy": "energy",
    "Conditionals": "energy",
    "Gibbs": "gibbs",
    "ChainState": "gibbs",
    "LogPartition": "likelihood",
    "NotEnumerableError": "validation",
    "show_config": "config",
    "Checkpoint": "persistence",
    "load": "models.files",
    "RBM": "models",
    "RNNRBM": "models",
    "GatedRBM": "models",
    "HigherOrderBoltzmannMachine": "models",
    "PointwiseGatedRBM": "models",
    "PointwiseGatedRBMClassifier": "models",
    "BoltzmannMachine": "models",
    "BernoulliRBM": "models",
    "ClassGatedRBMClassifier": "models",
    "DeepBeliefNetwork": "models",
    "DeepBoltzmannMachine": "models",
    "RBMClassifier": "models",
    "SigmoidBeliefNetwork": "models",
    "TwoGroupRBMClassifier": "models",
    "callbacks": None,
    "datasets": None,
    "diagnostics": None,
    "gradients": None,
    "likelihood": None,
    "objectives": None,
    "optimizers": None,
    "plots": None,
    "tempering": None,
    "training": None,
    "units": None,
}

__all__ = [
    "RBM",
    "RNNRBM",
    "Bernoulli",
    "BernoulliRBM",
    "BoltzmannMachine",
    "Categorical",
    "ChainState",
    "Checkpoint",
    "ClassGatedRBMClassifier",
    "Conditionals",
    "DeepBeliefNetwork",
    "DeepBoltzmannMachine",
    "Energy",
    "GatedRBM",
    "Gaussian",
    "Gibbs",
    "HigherOrderBoltzmannMachine",
    "Hyperedges",
    "LogPartition",
    "NotEnumerableError",
    "PointwiseGatedRBM",
    "PointwiseGatedRBMClassifier",
    "RBMClassifier",
    "ReLU",
    "SigmoidBeliefNetwork",
    "Spin",
    "TwoGroupRBMClassifier",
    "Unit",
    "UnitInterval",
    "callbacks",
    "datasets",
    "diagnostics",
    "gradients",
    "likelihood",
    "load",
    "objectives",
    "optimizers",
    "plots",
    "show_config",
    "tempering",
    "training",
    "units",
]

__getattr__, __dir__ = lazy_names(globals(), _WHERE)
