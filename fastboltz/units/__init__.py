"""Unit types, one file each.

Every type answers the same short list of questions (`Unit`): base energy, cumulant, mean,
variance, mode, sample, and its states where they are finite. To add a type, subclass `Unit`;
energies, samplers, likelihoods and training take it as it is.

======================  ===========================  =================================
type                    values                       own parameters
======================  ===========================  =================================
`Bernoulli`             {0, 1}                       bias
`Spin`                  {-1, +1}                     bias
`Categorical`           one-hot over the last axis   bias
`Gaussian`              real                         bias, log_precision
`ReLU`                  real, >= 0                   bias, log_precision
`UnitInterval`          real, in [0, 1]              bias
======================  ===========================  =================================
"""

from .base import Field, Own, Unit
from .bernoulli import Bernoulli
from .categorical import Categorical
from .gaussian import Gaussian
from .relu import ReLU
from .spin import Spin
from .unit_interval import UnitInterval

#: Names that estimators accept for `visible` and `hidden`.
BY_NAME: dict[str, type[Unit]] = {
    t.name: t for t in (Bernoulli, Spin, Categorical, Gaussian, ReLU, UnitInterval)
}

__all__ = [
    "BY_NAME",
    "Bernoulli",
    "Categorical",
    "Field",
    "Gaussian",
    "Own",
    "ReLU",
    "Spin",
    "Unit",
    "UnitInterval",
]
