"""The catalogue of models: each a declared energy, an objective and a scikit-learn face."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .belief_net import SigmoidBeliefNetwork
    from .boltzmann_machine import BoltzmannMachine
    from .class_rbm import ClassGatedRBMClassifier, RBMClassifier, TwoGroupRBMClassifier
    from .deep import DeepBeliefNetwork, DeepBoltzmannMachine
    from .gated import GatedRBM
    from .higher_order import HigherOrderBoltzmannMachine
    from .point_wise_gated import PointwiseGatedRBM, PointwiseGatedRBMClassifier
    from .rbm import RBM, BernoulliRBM
    from .rnn_rbm import RNNRBM

#: Public name -> the module it comes from.
_WHERE: dict[str, str | None] = {
    "BernoulliRBM": "rbm",
    "BoltzmannMachine": "boltzmann_machine",
    "ClassGatedRBMClassifier": "class_rbm",
    "DeepBeliefNetwork": "deep",
    "DeepBoltzmannMachine": "deep",
    "GatedRBM": "gated",
    "HigherOrderBoltzmannMachine": "higher_order",
    "PointwiseGatedRBM": "point_wise_gated",
    "PointwiseGatedRBMClassifier": "point_wise_gated",
    "RBM": "rbm",
    "RBMClassifier": "class_rbm",
    "RNNRBM": "rnn_rbm",
    "SigmoidBeliefNetwork": "belief_net",
    "TwoGroupRBMClassifier": "class_rbm",
}

__all__ = [
    "RBM",
    "RNNRBM",
    "BernoulliRBM",
    "BoltzmannMachine",
    "ClassGatedRBMClassifier",
    "DeepBeliefNetwork",
    "DeepBoltzmannMachine",
    "GatedRBM",
    "HigherOrderBoltzmannMachine",
    "PointwiseGatedRBM",
    "PointwiseGatedRBMClassifier",
    "RBMClassifier",
    "SigmoidBeliefNetwork",
    "TwoGroupRBMClassifier",
]

__getattr__, __dir__ = lazy_names(globals(), _WHERE)
