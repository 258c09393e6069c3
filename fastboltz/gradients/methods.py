r"""Estimators of ``d/dw E[J(y)]``, interchangeable.

==================  =====================================  ===============================
class               distributions                          needs of the cost
==================  =====================================  ===============================
`Pathwise`          continuous, relaxed                    its gradient
`ScoreFunction`     all with a score                       values
`ARM`, `DisARM`     Bernoulli                              values, two a sample
`REBAR`             Bernoulli, Categorical                 gradient, at relaxed samples too
`RELAX`             Bernoulli, Categorical                 values
`VIMCO`             all with a score                       values (log weights), K a sample
`GumbelSoftmax`     Bernoulli, Categorical; **biased**     gradient, at relaxed samples
`Enumerate`         discrete; exact                        values, of every state
==================  =====================================  ===============================

Each has ``estimate(cost, distribution, n_samples)``, and ``init`` and ``step`` for training loops:
the state is a dict of arrays, which `numpy.savez` keeps (a `Regressor` aside, whose model is an
object: pickle it).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, logsumexp, softmax

from .. import rng
from ..validation import check_count, check_number, one_of, too_many_states
from .baselines import (
    Baseline,
    LeaveOneOut,
    adam_init,
    adam_step,
    as_baseline,
    averaged,
    coefficients,
)
from .costs import (
    Cost,
    as_cost,
    compiled,
    costs_of,
    gradients_of,
    is_jitted,
    parameter_gradients_of,
)
from .distributions import (
    Bernoulli,
    Categorical,
    Conditional,
    Discrete,
    Distribution,
    Relaxation,
    inner,
    width,
)
from .estimates import Estimate, finish
from .loop import Sums, antithetic_sums, contributed, resolve_threads, score_sums

#: What a method carries from call to call: arrays by name.
State = dict[str, Any]


class Method(ABC):
    """One estimator of the gradient of an expectation."""

    name: ClassVar[str]
    biased: ClassVar[bool] = False

    def __repr__(self) -> str:
        listed = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({listed})"

    def estimate(
        self,
        cost: Any,
        distribution: Any,
        n_samples: int = 1000,
        *,
        inputs: Any = None,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> Estimate:
        """Estimate the gradient of the expected cost, once.

        Parameters
        ----------
        cost : callable or Cost
            A vectorised function of samples (m, *shape), or (m, n_rows, *shape), that returns (m,),
            or (m, n_rows); or a function of one sample jitted by Numba. See `costs`.
        distribution : Distribution or Conditional
        n_samples : int
            Samples (of each row).
        inputs : array-like of shape (n_rows, n_inputs), optional
            What learnt baselines see. The default is the inputs of a conditional distribution, else
            a one.
        random_state : None, int, RandomState or Generator
        n_threads : int, optional
            Threads for jitted costs; it never changes a result.

        Returns
        -------
        Estimate

        Raises
        ------
        CostError
            Where the cost raises, or returns something else than finite numbers of the right shape.
        """
        state = self.init(distribution, inputs=inputs, random_state=random_state)
        return self.step(cost, distribution, state, n_samples, inputs=inputs, n_threads=n_threads)[
            0
        ]

    def init(self, distribution: Any, *, inputs: Any = None, random_state: Any = None) -> State:
        """State before the first `step`.

        Parameters
        ----------
        distribution : Distribution or Conditional
        inputs : array-like of shape (n_rows, n_inputs), optional
        random_state : None, int, RandomState or Generator

        Returns
        -------
        dict
        """
        own = inner(distribution)
        self._check(own)
        seed = rng.seed_from(random_state)
        state = {"seed": np.array(seed, dtype=np.uint64), "step": np.array(0)}
        return state | self._init(own, _inputs(distribution, inputs), seed)

    def step(
        self,
        cost: Any,
        distribution: Any,
        state: State,
        n_samples: int = 1,
        *,
        inputs: Any = None,
        n_threads: int | None = None,
    ) -> tuple[Estimate, State]:
        """Estimate the gradient where training stands, and learn from the samples.

        Parameters
        ----------
        cost, distribution, n_samples, inputs, n_threads
            As of `estimate`. The distribution's parameters may differ from call to call.
        state : dict
            Of `init` or of the step before; it is left as it is.

        Returns
        -------
        estimate : Estimate
        state : dict
            For the next step.
        """
        cost = as_cost(cost)
        own = inner(distribution)
        self._check(own)
        check_count("n_samples", n_samples)
        if n_samples * getattr(self, "n_particles", 1) >= 1 << 32:
            raise ValueError(
                f"n_samples must be below 2**32, after which samples would repeat; got "
                f"{n_samples}. Make several steps, and average their estimates."
            )
        if not isinstance(state, Mapping) or not {"seed", "step"} <= set(state):
            raise TypeError(
                f"state must be what init, or the step before, has returned; got {state!r}."
            )
        seed, step = int(state["seed"]), int(state["step"])
        address = rng.Address.of(seed, "gradients", step=step)
        x = _inputs(distribution, inputs)
        try:
            estimate, new = self._step(
                cost, distribution, own, state, n_samples, x, address, resolve_threads(n_threads)
            )
        except (KeyError, ValueError):
            self._check_state(state, own, x)
            raise
        return estimate, {**state, **new, "step": np.array(step + 1)}

    def _check_state(self, state: State, own: Distribution, inputs: np.ndarray) -> None:
        """Raise a sentence if a state is of another method, or of a problem of another size."""
        for key, value in self._init(own, inputs, 0).items():
            if key not in state:
                found = "has none"
            elif isinstance(value, np.ndarray) and np.shape(state[key]) != value.shape:
                found = f"has shape {np.shape(state[key])}"
            else:
                continue
            raise ValueError(
                f"the state does not belong to {self!r} on {own!r}: of {key!r}, with shape "
                f"{np.shape(value)}, it {found}. Take that of init for this method, distribution "
                f"and inputs."
            )

    # -- what a method states ------------------------------------------------------------------

    @abstractmethod
    def _check(self, distribution: Distribution) -> None:
        """Raise a sentence if the method does not serve the distribution."""

    def _init(self, distribution: Distribution, inputs: np.ndarray, seed: int) -> State:
        return {}

    @abstractmethod
    def _step(
        self,
        cost: Cost,
        distribution: Distribution | Conditional,
        own: Distribution,
        state: State,
        n_samples: int,
        inputs: np.ndarray,
        address: rng.Address,
        n_threads: int,
    ) -> tuple[Estimate, State]:
        """Estimate, and what changes in the state."""


def _inputs(distribution: Any, inputs: Any) -> np.ndarray:
    """Rows that learnt baselines see."""
    rows = inner(distribution).rows
    if inputs is None:
        if not isinstance(distribution, Conditional):
            return np.ones((rows, 1))
        inputs = distribution.inputs
    x = np.asarray(inputs, dtype=np.float64)
    x = x.reshape(len(x), -1) if x.ndim > 1 else x
    if x.ndim != 2 or len(x) != rows:
        raise ValueError(
            f"inputs have shape {np.shape(inputs)}; expected ({rows}, n_inputs), one for each row "
            f"of the distribution."
        )
    return x


#: Methods that fit, for the sentences below.
_FOR_DISCRETE = (
    "ScoreFunction, VIMCO and Enumerate; and for Bernoulli units ARM and DisARM, for Bernoulli and "
    "Categorical ones REBAR, RELAX and GumbelSoftmax (biased)"
)


def _only(method: Method, distribution: Distribution, *families: type[Distribution]) -> None:
    if isinstance(distribution, families):
        return
    named = " or ".join(f.__name__ for f in families)
    if isinstance(distribution, Discrete):
        remedy = f"Methods that fit discrete distributions: {_FOR_DISCRETE}."
    elif distribution.scored:
        remedy = "Methods that fit continuous distributions: Pathwise, ScoreFunction, VIMCO."
    else:
        remedy = "Relaxed distributions are for Pathwise."
    raise TypeError(
        f"{type(method).__name__} needs a {named} distribution; got {distribution!r}. {remedy}"
    )


def _needs_gradient(method: Method, cost: Cost, at: str) -> None:
    if cost.gradient is None:
        raise TypeError(
            f"{type(method).__name__} needs the gradient of the cost by the sample{at}; give "
            f"Cost(value, gradient=...), or use ScoreFunction."
        )


# -- path-wise -------------------------------------------------------------------------------------


class Pathwise(Method):
    r"""The chain rule through the sample: ``y = f(z; w)`` with z independent of w.

    ``d/dw E[J(y)] = E[J'(y) df/dw]`` (equations 20.54-20.57), where J has a gradient and the
    distribution is such a transform. Relaxed distributions stand for discrete ones with a bias;
    their estimates say so.
    """

    name = "pathwise"

    def _check(self, distribution: Distribution) -> None:
        if not distribution.pathwise:
            raise TypeError(
                f"Pathwise needs samples that are differentiable functions of noise, and "
                f"{type(distribution).__name__} is discrete. Methods that fit: {_FOR_DISCRETE}."
            )

    def _step(
        self,
        cost: Cost,
        distribution: Any,
        own: Distribution,
        state: State,
        n_samples: int,
        inputs: np.ndarray,
        address: rng.Address,
        n_threads: int,
    ) -> tuple[Estimate, State]:
        _needs_gradient(self, cost, "")
        sums = _pathwise_sums(cost, own, n_samples, address, n_threads, hard=False)
        return _plain(self, distribution, sums, 1, bool(own.relaxes)), {}


class GumbelSoftmax(Method):
    r"""Path-wise gradients of relaxed samples in place of discrete ones. **Biased.**

    Parameters
    ----------
    temperature : float > 0
        Bias falls with it, and variance rises.
    straight_through : bool
        Ask the cost of the hard samples, and lead its gradient back as if they were the relaxed
        ones.

    References
    ----------
    Jang, Gu & Poole, "Categorical reparameterization with Gumbel-softmax", ICLR 2017.
    Maddison, Mnih & Teh, "The concrete distribution", ICLR 2017.
    """

    name = "gumbel_softmax"
    biased = True

    def __init__(self, temperature: float = 0.5, straight_through: bool = False) -> None:
        self.temperature = check_number("temperature", temperature, 0, strict=True)
        self.straight_through = straight_through

    def _check(self, distribution: Distribution) -> None:
        _only(self, distribution, Bernoulli, Categorical)

    def _step(
        self,
        cost: Cost,
        distribution: Any,
        own: Any,
        state: State,
        n_samples: int,
        inputs: np.ndarray,
        address: rng.Address,
        n_threads: int,
    ) -> tuple[Estimate, State]:
        _needs_gradient(self, cost, ", also between its states")
        relaxed = own.relaxed(self.temperature)
        hard = self.straight_through
        sums = _pathwise_sums(cost, relaxed, n_samples, address, n_threads, hard)
        return _plain(self, distribution, sums, 1, True), {}


def _pathwise_sums(
    cost: Cost,
    own: Any,
    n_samples: int,
    address: rng.Address,
    n_threads: int,
    hard: bool,
) -> Sums:
    def contribute(first: int, n: int) -> tuple[np.ndarray, np.ndarray, None, None]:
        y, noise = own.draw(address, first, n)
        seen = own.harden(noise) if hard else y
        j = costs_of(cost, own, seen, first)
        dy = gradients_of(cost, own, seen, first).reshape(y.shape)
        g = own.pull(dy, y, noise) + parameter_gradients_of(cost, own, seen, first)
        return j, g, None, None

    return contributed(
        own, n_samples, contribute, parallel=_all_jitted(cost, own), n_threads=n_threads
    )


def _all_jitted(cost: Cost, distribution: Distribution) -> bool:
    """Whether no Python function of the caller's is asked, so that threads may run."""
    if cost.parameter_gradient is not None or not is_jitted(cost.value):
        return False
    if cost.gradient is not None and not is_jitted(cost.gradient):
        return False
    # Compiled here, so that no two threads do it.
    compiled(cost.value, distribution)
    if cost.gradient is not None:
        compiled(cost.gradient, distribution, gradient=True)
    return True


def _plain(
    method: Method, distribution: Any, sums: Sums, evaluations: int, biased: bool = False
) -> Estimate:
    return finish(
        distribution,
        sums,
        sums.moments[:, 0],
        sums.moments[:, 2],
        n_evaluations=evaluations * sums.n_samples,
        method=method.name,
        biased=biased,
    )


# -- score function --------------------------------------------------------------------------------


class Normalizer:
    """Variance normalisation: divide the centred cost by its moving standard deviation, if above 1.

    ``max(1, sqrt(v))`` with v of former calls, so the gradient is scaled by a number that does not
    depend on the samples. `Estimate.scale` tells it.

    Parameters
    ----------
    decay : float in [0, 1)

    References
    ----------
    Mnih & Gregor, "Neural variational inference and learning in belief networks", ICML 2014,
    section 2.4 and algorithm 1.
    """

    def __init__(self, decay: float = 0.8) -> None:
        self.decay = check_number("decay", decay, 0, below=1)

    def __repr__(self) -> str:
        return f"Normalizer(decay={self.decay})"


class ScoreFunction(Method):
    r"""REINFORCE: ``d/dw E[J(y)] = E[(J(y) - b) d log p(y)/dw]`` (equations 20.59-20.69).

    Parameters
    ----------
    baseline : str, number, Baseline or regressor
        "none", "constant", "moving_average", "leave_one_out", "optimal" or "learnt"; an object of
        `baselines`; or a regressor with ``partial_fit`` and ``predict``.
    normalizer : bool or Normalizer
        Variance normalisation as in NVIL.

    References
    ----------
    Williams, "Simple statistical gradient-following algorithms", Machine Learning 8, 1992.

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import gradients
    >>> method = gradients.ScoreFunction(baseline="optimal")
    >>> def cost(Y):
    ...     return (Y.sum(axis=1) - 2) ** 2
    >>> grad = method.estimate(cost, gradients.Bernoulli(np.zeros(4)), 1000, random_state=0)
    >>> grad.value.shape, grad.standard_error.shape
    ((4,), (4,))
    """

    name = "score_function"

    def __init__(self, baseline: Any = "leave_one_out", normalizer: Any = None) -> None:
        self.baseline: Baseline = as_baseline(baseline)
        if normalizer is True:
            normalizer = Normalizer()
        if normalizer not in (None, False) and not isinstance(normalizer, Normalizer):
            raise TypeError(
                f"normalizer must be None, True or a Normalizer(decay); got {normalizer!r}."
            )
        self.normalizer: Normalizer | None = normalizer or None

    def _check(self, distribution: Distribution) -> None:
        _check_scored(self, distribution)

    def _init(self, distribution: Distribution, inputs: np.ndarray, seed: int) -> State:
        state = self.baseline.init(distribution, inputs, seed)
        new = {f"baseline/{k}": v for k, v in state.items()}
        if self.normalizer is not None:
            new["normalizer/variance"] = np.array(np.nan)
        return new

    def _step(
        self,
        cost: Cost,
        distribution: Any,
        own: Distribution,
        state: State,
        n_samples: int,
        inputs: np.ndarray,
        address: rng.Address,
        n_threads: int,
    ) -> tuple[Estimate, State]:
        carried = {
            k.removeprefix("baseline/"): v for k, v in state.items() if k.startswith("baseline/")
        }
        self.baseline.check(n_samples, carried)
        each = isinstance(self.baseline, LeaveOneOut)
        # J less the mean of the others is m / (m - 1) times J less the mean.
        factor = n_samples / (n_samples - 1) if each else 1.0
        sums = score_sums(cost, own, n_samples, address, n_threads, 1 / factor)
        b = self.baseline.values(sums, carried, inputs)
        new = self.baseline.update(sums, carried, inputs)
        changed: State = {f"baseline/{k}": v for k, v in new.items()}
        scale = 1.0
        if self.normalizer is not None:
            before = state["normalizer/variance"]
            scale = 1 / max(1.0, float(np.sqrt(before))) if np.isfinite(before) else 1.0
            now = _centred_variance(sums, b)
            changed["normalizer/variance"] = averaged(before, now, self.normalizer.decay)
        totals, squares = controlled(sums, b - sums.shift[..., None])
        factor *= scale
        estimate = finish(
            distribution,
            sums,
            totals,
            squares,
            factor=factor,
            n_evaluations=n_samples,
            method=self.name,
            scale=scale,
        )
        return estimate, changed


def _check_scored(method: Method, distribution: Distribution) -> None:
    if not distribution.scored:
        raise TypeError(
            f"{type(method).__name__} needs a distribution with a score, and "
            f"{type(distribution).__name__} is a relaxed one, for Pathwise. Use "
            f"{distribution.relaxes.title()} itself."
        )


def controlled(sums: Sums, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of ``g - b h`` and of its square, (ranges, rows, n_parameters).

    Where costs in g have the shift of their range taken off, so must b.
    """
    from .kernels import take_control

    totals, squares = np.empty((2, *sums.moments[:, 0].shape))
    take_control(sums.moments, np.ascontiguousarray(b, dtype=np.float64), totals, squares)
    return totals, squares


def _centred_variance(sums: Sums, b: np.ndarray) -> float:
    """Mean of ``(J - b)^2`` less the square of the mean, over samples and rows; NVIL's v."""
    per_row = np.broadcast_to(b, (*sums.shift.shape, b.shape[-1])).mean(axis=-1) - sums.shift
    one = sums.costs[:, 0] - sums.counts * per_row
    two = sums.costs[:, 1] - 2 * per_row * sums.costs[:, 0] + sums.counts * per_row**2
    n = sums.n_samples * sums.shift.shape[1]
    # One signal says nothing of a variance; its own square is the best there is.
    mean = one.sum() / n if n > 1 else 0.0
    return max(float(two.sum() / n - mean**2), 0.0)


# -- antithetic pairs ------------------------------------------------------------------------------


class ARM(Method):
    r"""Augment, REINFORCE, merge: two mirrored samples of the same uniforms u.

    ``(J(1[u > sigma(-phi)]) - J(1[u < sigma(phi)])) (u - 1/2)``.

    References
    ----------
    Yin & Zhou, "ARM: augment-REINFORCE-merge gradient for stochastic binary networks", ICLR 2019.
    """

    name = "arm"
    _marginal: ClassVar[bool] = False

    def _check(self, distribution: Distribution) -> None:
        _only(self, distribution, Bernoulli)

    def _step(
        self,
        cost: Cost,
        distribution: Any,
        own: Any,
        state: State,
        n_samples: int,
        inputs: np.ndarray,
        address: rng.Address,
        n_threads: int,
    ) -> tuple[Estimate, State]:
        sums = antithetic_sums(cost, own, n_samples, address, n_threads, self._marginal)
        return _plain(self, distribution, sums, 2), {}


class DisARM(ARM):
    r"""ARM with the uniforms summed out given the pair (also known as U2G).

    With ``b = 1[1 - u < sigma(phi)]`` and ``b~ = 1[u < sigma(phi)]``,
    ``(J(b) - J(b~)) / 2 (-1)^b~ 1[b != b~] sigma(|phi|)``. Its variance is never above that of ARM.

    References
    ----------
    Dong, Mnih & Tucker, "DisARM: an antithetic gradient estimator for binary latent variables",
    NeurIPS 2020.
    Yin, Ho, Yan, Qian & Zhou, "Probabilistic best subset selection via gradient-based
    optimization", 2020.
    """

    name = "disarm"
    _marginal = True


# -- control variates by relaxation ----------------------------------------------------------------


class REBAR(Method):
    r"""Score function with the relaxed cost as a control variate.

    With a relaxed sample z, its hard version ``y = H(z)`` and a second relaxed sample z~ given y,
    ``g = J(y) s + eta (-J(sigma_t(z~)) s + d J(sigma_t(z)) / dw - d J(sigma_t(z~)) / dw)``;
    the bracket has mean zero.

    Parameters
    ----------
    temperature : float > 0
    coupling : "optimal" or float
        Eta; "optimal" takes for each parameter that of least variance, estimated from the other
        ranges of samples (from one sample: 1).

    References
    ----------
    Tucker, Mnih, Maddison, Lawson & Sohl-Dickstein, "REBAR: low-variance, unbiased gradient
    estimates for discrete latent variable models", NeurIPS 2017.
    """

    name = "rebar"
    _evaluations: ClassVar[int] = 3

    def __init__(self, temperature: float = 0.5, coupling: Any = "optimal") -> None:
        self.temperature = check_number("temperature", temperature, 0, strict=True)
        self.coupling = _coupling(coupling)

    def _check(self, distribution: Distribution) -> None:
        _only(self, distribution, Bernoulli, Categorical)

    def _check_cost(self, cost: Cost) -> None:
        _needs_gradient(self, cost, ", also between its states (or take RELAX)")

    def _step(
        self,
        cost: Cost,
        distribution: Any,
        own: Any,
        state: State,
        n_samples: int,
        inputs: np.ndarray,
        address: rng.Address,
        n_threads: int,
    ) -> tuple[Estimate, State]:
        self._check_cost(cost)

        def contribute(first: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
            r = own.relaxation(address, first, n)
            j = costs_of(cost, own, r.y, first)
            s = own.score(r.y, r.z)
            g = j[..., None] * s + parameter_gradients_of(cost, own, r.y, first)
            h, more = self._control(cost, own, state, r, s, j, first)
            return j, g, h, more

        sums = contributed(
            own,
            n_samples,
            contribute,
            parallel=_all_jitted(cost, own),
            n_threads=n_threads,
        )
        if self.coupling != "optimal":
            eta = np.full((1, 1, 1), -self.coupling)
        elif len(sums.moments) == 1:
            eta = np.full((1, 1, 1), -1.0)
        else:
            # Costs were not shifted in g: as if every shift were zero.
            plain = Sums(sums.edges, np.zeros_like(sums.shift), sums.costs, sums.moments)
            eta = coefficients(plain, np.full_like(plain.shift, -1.0))
        estimate = finish(
            distribution,
            sums,
            *controlled(sums, eta),
            n_evaluations=self._evaluations * n_samples,
            method=self.name,
        )
        return estimate, self._learn(state, sums)

    def _control(
        self,
        cost: Cost,
        own: Any,
        state: State,
        r: Relaxation,
        s: np.ndarray,
        j: np.ndarray,
        first: int,
    ) -> tuple[np.ndarray, Any]:
        """The bracket, (n, rows, n_parameters), and what is to be summed for learning."""
        t = self.temperature

        def relaxed(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Value of the relaxed cost and its gradient by z."""
            y = expit(z / t) if isinstance(own, Bernoulli) else softmax(z / t, axis=-1)
            value = costs_of(cost, own, y, first)
            dy = gradients_of(cost, own, y, first).reshape(y.shape)
            if isinstance(own, Bernoulli):
                return value, dy * y * (1 - y) / t
            return value, y * (dy - (dy * y).sum(axis=-1, keepdims=True)) / t

        _, dz = relaxed(r.z)
        again, dz_again = relaxed(r.again)
        return r.pull(dz) - r.pull_again(dz_again) - again[..., None] * s, None

    def _learn(self, state: State, sums: Sums) -> State:
        return {}


def _coupling(coupling: Any) -> Any:
    if isinstance(coupling, str):
        return one_of("coupling", coupling, ("optimal",), " or a number")
    return check_number("coupling", coupling)


class RELAX(REBAR):
    r"""REBAR with a learnt function in place of the relaxed cost: for costs without a gradient.

    The control variate is ``r(z) = v . tanh(W z + c) + d``, on relaxed samples of one row, learnt
    in `step` by descent on the sum of squares of the estimate. Before that, and so in `estimate`,
    it is zero, which leaves the plain score function.

    Parameters
    ----------
    hidden : int
        Units of the network.
    learning_rate : float
        Of Adam.
    coupling : "optimal" or float
        As of `REBAR`.

    References
    ----------
    Grathwohl, Choi, Wu, Roeder & Duvenaud, "Backpropagation through the void", ICLR 2018.
    """

    name = "relax"
    _evaluations = 1

    def __init__(
        self, hidden: int = 10, learning_rate: float = 1e-2, coupling: Any = "optimal"
    ) -> None:
        self.hidden = check_count("hidden", hidden)
        self.learning_rate = check_number("learning_rate", learning_rate, 0, strict=True)
        self.coupling = _coupling(coupling)

    def _check_cost(self, cost: Cost) -> None:
        pass

    def _init(self, distribution: Distribution, inputs: np.ndarray, seed: int) -> State:
        n = width(distribution)
        at = rng.Address.of(seed, "weights", group=1)
        net = {
            "net/W": rng.normal(at, (n, self.hidden)) / np.sqrt(n),
            "net/c": np.zeros(self.hidden),
            "net/v": np.zeros(self.hidden),
            "net/d": np.zeros(1),
        }
        return net | adam_init(net)

    def _control(
        self,
        cost: Cost,
        own: Any,
        state: State,
        r: Relaxation,
        s: np.ndarray,
        j: np.ndarray,
        first: int,
    ) -> tuple[np.ndarray, Any]:
        W, c, v, d = (state[f"net/{k}"] for k in "Wcvd")
        n, rows = j.shape

        def layer(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            z = z.reshape(n, rows, -1)
            return z, np.tanh(z @ W + c)

        z, a = layer(r.z)
        again, b = layer(r.again)
        slope_a, slope_b = 1 - a * a, 1 - b * b
        h = r.pull(((v * slope_a) @ W.T).reshape(r.z.shape))
        h = h - r.pull_again(((v * slope_b) @ W.T).reshape(r.z.shape))
        h = h - (b @ v + d)[..., None] * s
        # With g the estimate at eta = 1, held: descent of sum g^2 is descent of sum 2 g h.
        g = j[..., None] * s + h
        push, push_again = r.push(g), r.push_again(g)
        weight = -(g * s).sum(axis=-1, keepdims=True)
        at_b = weight * v * slope_b
        # Pairs (towards, from) whose outer products sum to the derivative by W. That of r along a
        # direction p is sum_k v_k (1 - tanh^2) (p W)_k.
        along, along_again = push @ W, push_again @ W
        bent = -2 * v * a * slope_a * along
        at_b = at_b + 2 * v * b * slope_b * along_again
        by_v = weight * b + slope_a * along - slope_b * along_again
        pairs = ((again, at_b), (z, bent), (push, v * slope_a), (-push_again, v * slope_b))

        def gradients(part: slice) -> dict[str, np.ndarray]:
            """Of half the sum of squares over some of the samples."""
            both = ((0, 1), (0, 1))
            return {
                "net/d": weight[part].sum(axis=(0, 1)),
                "net/v": by_v[part].sum(axis=(0, 1)),
                "net/c": (at_b + bent)[part].sum(axis=(0, 1)),
                "net/W": sum(np.tensordot(x[part], y[part], both) for x, y in pairs),
            }

        return h, gradients

    def _learn(self, state: State, sums: Sums) -> State:
        total = {k: sum(x[k] for x in sums.extra) for k in sums.extra[0]}
        n = sums.n_samples * sums.shift.shape[1]
        new = adam_step(state, {k: x / n for k, x in total.items()}, self.learning_rate)
        return {k: v for k, v in new.items() if k.startswith(("net/", "adam/"))}


# -- many-sample bound -----------------------------------------------------------------------------


class VIMCO(Method):
    r"""Gradient of the K-sample bound ``E[log 1/K sum_k exp J(y_k)]``, J being a log weight.

    Each sample learns from what it adds to the bound of the others,
    ``sum_k (L - L_-k) s(y_k)`` with ``L_-k`` the bound in which ``J(y_k)`` is replaced by the mean
    of the other log weights. Where J depends on the parameters (as ``log p(x, y) - log q(y)`` does)
    its ``parameter_gradient`` is averaged with the normalised weights. ``cost`` of the estimate is
    the bound. Its exact counterpart is ``Enumerate(n_particles=K)``.

    Parameters
    ----------
    n_particles : int >= 2
        K; ``n_samples`` counts bounds, of K samples each.

    References
    ----------
    Mnih & Rezende, "Variational inference for Monte Carlo objectives", ICML 2016.
    """

    name = "vimco"

    def __init__(self, n_particles: int = 5) -> None:
        self.n_particles = check_count("n_particles", n_particles, minimum=2)

    def _check(self, distribution: Distribution) -> None:
        _check_scored(self, distribution)

    def _step(
        self,
        cost: Cost,
        distribution: Any,
        own: Distribution,
        state: State,
        n_samples: int,
        inputs: np.ndarray,
        address: rng.Address,
        n_threads: int,
    ) -> tuple[Estimate, State]:
        k = self.n_particles

        def contribute(first: int, n: int) -> tuple[np.ndarray, np.ndarray, None, None]:
            y, noise = own.draw(address, first * k, n * k)
            log_w = costs_of(cost, own, y, first * k)
            signal, bound = vimco_signals(log_w.reshape(n, k, own.rows))
            s = own.score(y, noise).reshape(n, k, own.rows, -1)
            g = np.einsum("nkr,nkrp->nrp", signal, s)
            if cost.parameter_gradient is not None:
                d = np.asarray(parameter_gradients_of(cost, own, y, first * k))
                w = softmax(log_w.reshape(n, k, own.rows), axis=1)
                g = g + np.einsum("nkr,nkrp->nrp", w, d.reshape(s.shape))
            return bound, g, None, None

        sums = contributed(
            own,
            n_samples,
            contribute,
            parallel=_all_jitted(cost, own),
            n_threads=n_threads,
            particles=k,
        )
        return _plain(self, distribution, sums, k), {}


def vimco_signals(log_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``L - L_-k`` (n, k, rows) and L (n, rows) of log weights (n, k, rows)."""
    k = log_w.shape[1]
    bound = logsumexp(log_w, axis=1) - np.log(k)
    mean_of_others = (log_w.sum(axis=1, keepdims=True) - log_w) / (k - 1)
    replaced = np.where(np.eye(k, dtype=bool)[None, :, :, None], 0.0, log_w[:, None])
    replaced = replaced + np.eye(k)[None, :, :, None] * mean_of_others[:, :, None]
    return bound[:, None] - (logsumexp(replaced, axis=2) - np.log(k)), bound


# -- exact -----------------------------------------------------------------------------------------


class Enumerate(Method):
    r"""The exact gradient, ``sum_y p(y) (J(y) s(y) + dJ/dw)``, over all states of each row.

    ``n_samples`` is ignored, and the standard error is zero.

    Parameters
    ----------
    n_particles : int
        With more than one: the gradient of `VIMCO`'s bound, over all tuples of states.
    max_states : int
        More are refused.
    """

    name = "enumerate"

    def __init__(self, n_particles: int = 1, max_states: int = 1 << 20) -> None:
        self.n_particles = check_count("n_particles", n_particles)
        self.max_states = check_count("max_states", max_states)

    def _check(self, distribution: Distribution) -> None:
        if not isinstance(distribution, Discrete):
            # Relaxed distributions are sampled along their path alone.
            remedy = "Use Pathwise or ScoreFunction." if distribution.scored else "Use Pathwise."
            raise TypeError(
                f"Enumerate needs a discrete distribution, and {type(distribution).__name__} has "
                f"infinitely many states. {remedy}"
            )
        log2 = self.n_particles * distribution.n_units * np.log2(distribution.n_states)
        if log2 > np.log2(self.max_states):
            raise too_many_states(
                "gradient",
                log2,
                np.log2(self.max_states),
                "Use ScoreFunction, or a larger max_states.",
            )

    def _step(
        self,
        cost: Cost,
        distribution: Any,
        own: Any,
        state: State,
        n_samples: int,
        inputs: np.ndarray,
        address: rng.Address,
        n_threads: int,
    ) -> tuple[Estimate, State]:
        own_states = own.n_states**own.n_units
        if self.n_particles > 1:
            mean, gradient = self._tuples(cost, own, own_states)
        else:
            mean = np.zeros(own.rows)
            gradient = np.zeros((own.rows, own.n_parameters))
            size = max(1, (1 << 18) // (own.rows * width(own)))
            for first in range(0, own_states, size):
                p, j, s, d = self._part(cost, own, first, min(first + size, own_states))
                mean += (p * j).sum(axis=0)
                gradient += np.einsum("nr,nrp->rp", p, j[..., None] * s + d)
        total = own_states**self.n_particles
        if isinstance(distribution, Conditional):
            value: Any = distribution.backward(gradient)
            zero: Any = {k: np.zeros_like(v) for k, v in value.items()}
        else:
            value = own.structured(gradient)
            zero = own.structured(np.zeros_like(gradient))
        exact = mean if own.n_rows is not None else float(mean[0])
        return Estimate(
            value=value,
            standard_error=zero,
            variance=zero,
            cost=exact,
            cost_standard_error=np.zeros_like(mean) if own.n_rows is not None else 0.0,
            n_samples=total,
            n_evaluations=own_states,
            method=self.name,
        ), {}

    def _part(self, cost: Cost, own: Any, first: int, last: int) -> tuple[Any, ...]:
        """States with a number: probabilities, costs, scores, parameter gradients."""
        digits = np.arange(first, last)[:, None] // own.n_states ** np.arange(own.n_units)
        y = own.from_states(digits % own.n_states)[:, None]
        y = np.array(np.broadcast_to(y, (len(y), own.rows, *own.shape)))
        p = np.exp(own.log_probability(y))
        j = costs_of(cost, own, y, first)
        d = parameter_gradients_of(cost, own, y, first)
        return p, j, own.score(y, y), d + np.zeros(own.n_parameters)

    def _tuples(self, cost: Cost, own: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The bound of K particles and its gradient, over all tuples of states."""
        k, rows = self.n_particles, own.rows
        p, j, s, d = self._part(cost, own, 0, n)
        d = np.broadcast_to(d, s.shape)
        mean, gradient = np.zeros(rows), np.zeros((rows, own.n_parameters))
        size = max(1, (1 << 18) // (k * rows * own.n_parameters))
        for first in range(0, n**k, size):
            at = np.arange(first, min(first + size, n**k))[:, None] // n ** np.arange(k) % n
            weight = p[at].prod(axis=1)
            bound = logsumexp(j[at], axis=1) - np.log(k)
            mean += (weight * bound).sum(axis=0)
            gradient += np.einsum("tr,trp->rp", weight * bound, s[at].sum(axis=1))
            share = weight[:, None] * softmax(j[at], axis=1)
            gradient += np.einsum("tkr,tkrp->rp", share, d[at])
        return mean, gradient
