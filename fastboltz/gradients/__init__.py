r"""Gradients of expectations, ``d/dw E[J(y)]`` with y ~ p(y; w), and how sure they are.

>>> import numpy as np
>>> from fastboltz import gradients
>>> def cost(Y):
...     return (Y.sum(axis=1) - 2) ** 2
>>> method = gradients.ScoreFunction(baseline="optimal")
>>> grad = method.estimate(cost, gradients.Bernoulli(np.zeros(5)), 10_000, random_state=0)
>>> exact = gradients.Enumerate().estimate(cost, gradients.Bernoulli(np.zeros(5)))
>>> bool((np.abs(grad.value - exact.value) < 5 * grad.standard_error).all())
True

- Distributions, with parameters given or made of inputs: `Bernoulli`, `Binomial`, `Categorical`,
  `Gaussian`, `MultivariateGaussian`, `LocationScale`; biased, `RelaxedBernoulli` and
  `RelaxedCategorical`; `Linear` is the plainest link from inputs.
- Methods: `Pathwise`, `ScoreFunction`, `ARM`, `DisARM`, `REBAR`, `RELAX`, `VIMCO`, `GumbelSoftmax`
  (biased), `Enumerate` (exact). Each has ``estimate``, and ``init`` and ``step``.
- Baselines of the score function: `NoBaseline`, `Constant`, `MovingAverage`, `LeaveOneOut`,
  `Optimal`, `Learnt`, `Regressor`; `Normalizer` for its variance.
- `Cost` holds a cost with its derivatives. Costs are vectorised Python functions, or functions of
  one sample jitted by Numba, which run inside the loop over samples on all threads.
- `compare` measures methods side by side.
- `bridges` for PyTorch and JAX.

The first use on a machine compiles the loops, which takes some seconds; they are kept on disk.
Samples are never stored: memory does not grow with their number. The same seed gives the same
result for every number of threads.
"""

from .baselines import (
    Baseline,
    Constant,
    Learnt,
    LeaveOneOut,
    MovingAverage,
    NoBaseline,
    Optimal,
    Regressor,
)
from .comparison import Comparison, compare
from .costs import Cost, CostError
from .distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Conditional,
    Distribution,
    Gaussian,
    Linear,
    LocationScale,
    MultivariateGaussian,
    RelaxedBernoulli,
    RelaxedCategorical,
)
from .estimates import Estimate
from .methods import (
    ARM,
    REBAR,
    RELAX,
    VIMCO,
    DisARM,
    Enumerate,
    GumbelSoftmax,
    Method,
    Normalizer,
    Pathwise,
    ScoreFunction,
)

__all__ = [
    "ARM",
    "REBAR",
    "RELAX",
    "VIMCO",
    "Baseline",
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Comparison",
    "Conditional",
    "Constant",
    "Cost",
    "CostError",
    "DisARM",
    "Distribution",
    "Enumerate",
    "Estimate",
    "Gaussian",
    "GumbelSoftmax",
    "Learnt",
    "LeaveOneOut",
    "Linear",
    "LocationScale",
    "Method",
    "MovingAverage",
    "MultivariateGaussian",
    "NoBaseline",
    "Normalizer",
    "Optimal",
    "Pathwise",
    "Regressor",
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "ScoreFunction",
    "compare",
]
