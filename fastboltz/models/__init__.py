"""The catalogue of models: each a declared energy, an objective and a scikit-learn face."""

from .boltzmann_machine import BoltzmannMachine
from .class_rbm import ClassGatedRBMClassifier, RBMClassifier, TwoGroupRBMClassifier
from .deep import DeepBeliefNetwork, DeepBoltzmannMachine
from .gated import GatedRBM
from .higher_order import HigherOrderBoltzmannMachine
from .point_wise_gated import PointwiseGatedRBM, PointwiseGatedRBMClassifier
from .rbm import RBM, BernoulliRBM
from .rnn_rbm import RNNRBM

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
    "TwoGroupRBMClassifier",
]
