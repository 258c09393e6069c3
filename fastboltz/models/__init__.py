"""The catalogue of models: each a declared energy, an objective and a scikit-learn face."""

from .rbm import RBM, BernoulliRBM

__all__ = ["RBM", "BernoulliRBM"]
