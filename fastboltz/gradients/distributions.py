r"""Distributions whose parameters are differentiated.

==========================  ===============  ========================  ==========  =========
type                        one sample       parameters                score       path-wise
==========================  ===============  ========================  ==========  =========
`Bernoulli`                 (n,), {0, 1}     logits (n,)               yes         no
`Binomial`                  (n,), counts     logits (n,)               yes         no
`Categorical`               (n, k), one-hot  logits (n, k)             yes         no
`Gaussian`                  (n,)             mean, log_scale (n,)      yes         yes
`MultivariateGaussian`      (n,)             mean (n,), cholesky       yes         yes
`LocationScale`             (n,)             location, log_scale (n,)  yes         yes
`RelaxedBernoulli`          (n,), (0, 1)     logits (n,)               no          biased
`RelaxedCategorical`        (n, k), simplex  logits (n, k)             no          biased
==========================  ===============  ========================  ==========  =========

Units of one sample are independent, but for the full covariance. Parameters may have one more axis
in front, the rows: then each row has a distribution and a cost of its own. ``given`` makes the rows
from inputs, p(y | x), and the chain rule leads the gradient back to the caller's parameters.

Relaxed distributions stand for the discrete ones with a bias that falls with the temperature;
estimates by them say ``biased``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.special import expit, gammaln, log_softmax, ndtri, softmax

from .. import rng
from ..validation import check_count, check_number, one_of

#: Probabilities count in multiples of 2**-32, so that drawing compares whole numbers.
_WORDS = 2.0**32
#: Streams of one call: what samples are made of, and the second table of REBAR and RELAX.
NOISE, SECOND = 0, 1
#: Of what is left of binary units' uniforms, where it is asked for.
LOWER = 2


def _array(name: str, value: Any, own_axes: int) -> np.ndarray:
    """A parameter as a finite float64 array of ``own_axes`` axes, or one more for rows."""
    x = np.array(value, dtype=np.float64, order="C")
    if x.ndim not in (own_axes, own_axes + 1) or x.size == 0:
        axes = ("n_units", "n_states")[:own_axes]
        plain = f"({axes[0]},)" if own_axes == 1 else f"({', '.join(axes)})"
        raise ValueError(
            f"{name} has shape {x.shape}; expected {plain}, or (n_rows, {', '.join(axes)}) with a "
            f"distribution for each row, and no axis empty."
        )
    if not np.isfinite(x).all():
        raise ValueError(f"{name} contains NaN or infinity; expected finite values.")
    return x


class Distribution(ABC):
    """What a method needs to know: draws, the score, and how draws move with the parameters.

    Inside this package samples have shape (n_samples, rows, *shape) and gradients (n_samples, rows,
    n_parameters), with one row where the parameters have none.

    Attributes
    ----------
    parameters : dict of ndarray
        Name -> value, float64.
    shape : tuple of int
        Shape of one sample (of one row).
    n_rows : int or None
        Rows of the parameters; None where they have no such axis.
    """

    name: ClassVar[str]
    discrete: ClassVar[bool] = False
    #: Whether samples are differentiable functions of parameters and noise.
    pathwise: ClassVar[bool] = False
    #: Whether the score can be had.
    scored: ClassVar[bool] = True
    #: What a relaxed distribution stands for, with a bias.
    relaxes: ClassVar[str] = ""

    parameters: dict[str, np.ndarray]
    shape: tuple[int, ...]
    n_rows: int | None

    def __repr__(self) -> str:
        listed = ", ".join(f"{k}: {v.shape}" for k, v in self.parameters.items())
        return f"{type(self).__name__}({listed})"

    @property
    def rows(self) -> int:
        """Number of rows, one where parameters have none."""
        return 1 if self.n_rows is None else self.n_rows

    @property
    def n_parameters(self) -> int:
        """Parameters of one row."""
        return sum(v.size for v in self.parameters.values()) // self.rows

    # -- what a type states --------------------------------------------------------------------

    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the uniforms that make one sample of one row."""
        return self.shape

    @abstractmethod
    def transform(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples, and the noise that they were made from, of uniforms (n, rows, *noise_shape)."""

    def score(self, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """``d log p(y) / d parameters``, (n, rows, n_parameters)."""
        raise NotImplementedError

    def pull(self, dy: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Chain rule from samples to parameters, the noise held: (n, rows, n_parameters)."""
        raise NotImplementedError

    # -- what is derived -----------------------------------------------------------------------

    def draw(self, address: rng.Address, first: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples number ``first`` to ``first + n``, and their noise."""
        return self.transform(self.uniform(address, NOISE, first, n))

    def uniform(
        self, address: rng.Address, group: int, first: int, n: int, shape: Any = None
    ) -> np.ndarray:
        """Uniforms of samples ``first`` to ``first + n``: a row of the address for each sample."""
        at = address.at(group=group)._replace(row=first)
        own = self.noise_shape() if shape is None else shape
        return rng.uniform(at, (n, self.rows, *own))

    def own(self, name: str) -> np.ndarray:
        """A parameter with the axis of rows."""
        value = self.parameters[name]
        return value[None] if self.n_rows is None else value

    def structured(self, flat: np.ndarray) -> Any:
        """(rows, n_parameters) as an array like the one parameter, or a dict of several."""
        if len(self.parameters) == 1:
            (value,) = self.parameters.values()
            return flat.reshape(value.shape).copy()
        out, at = {}, 0
        for name, value in self.parameters.items():
            size = value.size // self.rows
            out[name] = flat[:, at : at + size].reshape(value.shape).copy()
            at += size
        return out

    def flattened(self, given: Any, n: int, what: str) -> np.ndarray:
        """Gradients by parameter, each (n, *shape of the parameter), as (n, rows, n_parameters)."""
        if not isinstance(given, Mapping):
            given = {next(iter(self.parameters)): given} if len(self.parameters) == 1 else given
        if not isinstance(given, Mapping) or set(given) != set(self.parameters):
            found = sorted(given) if isinstance(given, Mapping) else type(given).__name__
            raise ValueError(
                f"{what} must return a dict with the parameters "
                f"{', '.join(map(repr, self.parameters))}; got {found}."
            )
        parts = []
        for name, value in self.parameters.items():
            x = np.asarray(given[name], dtype=np.float64)
            if x.shape != (n, *value.shape):
                raise ValueError(
                    f"{what} returned shape {x.shape} for {name!r}; expected {(n, *value.shape)}, "
                    f"an array like {name!r} for each sample."
                )
            parts.append(x.reshape(n, self.rows, -1))
        return np.concatenate(parts, axis=-1)

    @classmethod
    def given(cls, inputs: Any, link: Any, **fixed: Any) -> Conditional:
        """The distribution p(y | x) of each row of inputs.

        Parameters
        ----------
        inputs : array-like of shape (n_rows, ...)
        link : object with ``forward(inputs)`` and ``backward(inputs, gradient)``
            ``forward`` gives the parameters of this distribution, an array with a row for each
            input (a dict, where there are several parameters). ``backward`` is given the gradient
            by them and returns that by the link's own parameters, a dict. `Linear` is one.
        **fixed
            Further arguments of the distribution, such as ``n_trials``.

        Returns
        -------
        Conditional
        """
        return Conditional(cls, inputs, link, fixed)


# -- discrete --------------------------------------------------------------------------------------


class Relaxation(NamedTuple):
    """A hard sample, its relaxed origin z, and z drawn again given the hard sample.

    ``pull`` and ``pull_again`` lead gradients by z and by the second draw to the parameters, (n,
    rows, n_parameters); ``push`` and ``push_again`` are their transposes, (n, rows, width).
    """

    y: np.ndarray
    z: np.ndarray
    again: np.ndarray
    pull: Callable[[np.ndarray], np.ndarray]
    pull_again: Callable[[np.ndarray], np.ndarray]
    push: Callable[[np.ndarray], np.ndarray]
    push_again: Callable[[np.ndarray], np.ndarray]


class Discrete(Distribution):
    """Independent units of finitely many states, drawn by their inverse distribution functions.

    The logits are natural parameters, so that the score is ``y - mean``.

    Attributes
    ----------
    mean : ndarray of shape (rows, *shape)
    thresholds : ndarray of uint64, (rows, n_units, n_states - 1)
        Rising; a unit is in the state whose number is how many of them its random word reaches.
        (Of `Bernoulli`: the word below which the unit is 1.)
    """

    discrete = True
    mean: np.ndarray
    thresholds: np.ndarray
    #: How a compiled loop reads the thresholds: 0 below, 1 count, 2 one-hot.
    kind: ClassVar[int]

    def score(self, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return (y - self.mean).reshape(len(y), self.rows, -1)

    @property
    def n_units(self) -> int:
        """Units of one row."""
        return self.shape[0]

    @property
    def n_states(self) -> int:
        """States of one unit."""
        return self.thresholds.shape[-1] + 1

    @abstractmethod
    def from_states(self, states: np.ndarray) -> np.ndarray:
        """Samples from the numbers of the units' states, shape (..., n_units)."""

    @abstractmethod
    def log_probability(self, y: np.ndarray) -> np.ndarray:
        """``log p(y)`` of samples (n, rows, *shape): (n, rows)."""

    def relaxation(self, address: rng.Address, first: int, n: int) -> Relaxation:
        """Hard samples with a relaxed origin, as REBAR and RELAX need them."""
        raise NotImplementedError


def _as_words(probability: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(probability, 0, 1) * _WORDS).astype(np.uint64)


class Bernoulli(Discrete):
    r"""Independent binary units, ``p(y_i = 1) = sigma(logit_i)``.

    Parameters
    ----------
    logits : array-like of shape (n,) or (n_rows, n)

    Examples
    --------
    >>> import numpy as np
    >>> from fastboltz import gradients
    >>> gradients.Bernoulli(np.zeros(5))
    Bernoulli(logits: (5,))
    """

    name = "bernoulli"
    kind = 0

    def __init__(self, logits: Any) -> None:
        phi = _array("logits", logits, 1)
        self.parameters = {"logits": phi}
        self.n_rows = len(phi) if phi.ndim == 2 else None
        self.shape = phi.shape[-1:]
        self.mean = expit(self.own("logits"))
        self.thresholds = _as_words(self.mean)[..., None]

    def transform(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = uniform < self.thresholds[..., 0] / _WORDS
        return y.astype(np.float64), uniform

    def draw(self, address: rng.Address, first: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples number ``first`` to ``first + n``, and the words that they were made from.

        A random word serves four units, from its lowest byte up: 8 bits decide, but where they
        equal those of the threshold, 24 more do, the highest of the unit's word at ``LOWER``. So p
        counts in 32 bits all the same, and little more than a quarter of the random numbers is
        enough.
        """
        from fastboltz_ext import averages

        n_units = self.rows * self.n_units
        bits = np.empty((n, -(-n_units // 16) * 16), dtype=np.uint8)
        noise, lower = (address.at(group=g) for g in (NOISE, LOWER))
        thresholds = self.thresholds.reshape(-1)
        averages.ones(noise.as_words(), first, lower.stream, thresholds, bits)
        bits = np.ascontiguousarray(bits[:, :n_units])
        return bits.reshape(n, self.rows, self.n_units).astype(np.float64), bits

    def from_states(self, states: np.ndarray) -> np.ndarray:
        return states.astype(np.float64)

    def log_probability(self, y: np.ndarray) -> np.ndarray:
        phi = self.own("logits")
        return (y * phi - np.logaddexp(0, phi)).sum(axis=-1)

    def relaxed(self, temperature: float) -> RelaxedBernoulli:
        """The concrete distribution of the same logits."""
        return RelaxedBernoulli(self.parameters["logits"], temperature)

    def relaxation(self, address: rng.Address, first: int, n: int) -> Relaxation:
        phi, p = self.own("logits"), self.mean
        z = phi + _logit(self.uniform(address, NOISE, first, n))
        y = (z > 0).astype(np.float64)
        v = self.uniform(address, SECOND, first, n)
        # The uniform given y: above 1 - p for a one, below for a zero; with its complement.
        above = np.where(y > 0, p * (1 - v), 1 - v * (1 - p))
        below = np.where(y > 0, 1 - p * (1 - v), v * (1 - p))
        slope = 1 + np.where(y > 0, v - 1, -v) * p * (1 - p) / (above * below)
        again = phi + np.log(below) - np.log(above)

        def same(g: np.ndarray) -> np.ndarray:
            return g

        def stretched(g: np.ndarray) -> np.ndarray:
            return g * slope

        return Relaxation(y, z, again, same, stretched, same, stretched)


class Binomial(Discrete):
    r"""Independent counts of successes in ``n_trials`` trials of probability ``sigma(logit_i)``.

    Parameters
    ----------
    logits : array-like of shape (n,) or (n_rows, n)
    n_trials : int
    """

    name = "binomial"
    kind = 1

    def __init__(self, logits: Any, n_trials: int) -> None:
        phi = _array("logits", logits, 1)
        self.n_trials = check_count("n_trials", n_trials)
        self.parameters = {"logits": phi}
        self.n_rows = len(phi) if phi.ndim == 2 else None
        self.shape = phi.shape[-1:]
        self.mean = self.n_trials * expit(self.own("logits"))
        self.thresholds = _as_words(np.cumsum(np.exp(self._log_states()), axis=-1)[..., :-1])

    def _log_states(self) -> np.ndarray:
        k, n = np.arange(self.n_trials + 1), self.n_trials
        phi = self.own("logits")[..., None]
        choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
        return choose + k * phi - n * np.logaddexp(0, phi)

    def transform(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _count(uniform, self.thresholds).astype(np.float64), uniform

    def from_states(self, states: np.ndarray) -> np.ndarray:
        return states.astype(np.float64)

    def log_probability(self, y: np.ndarray) -> np.ndarray:
        log_p = np.broadcast_to(self._log_states(), (*y.shape, self.n_states))
        at = y.astype(np.intp)[..., None]
        return np.take_along_axis(log_p, at, axis=-1)[..., 0].sum(axis=-1)


class Categorical(Discrete):
    r"""Independent one-hot units, ``p(y_i = k) = softmax(logits_i)_k``.

    Parameters
    ----------
    logits : array-like of shape (n, n_states) or (n_rows, n, n_states)
    """

    name = "categorical"
    kind = 2

    def __init__(self, logits: Any) -> None:
        phi = _array("logits", logits, 2)
        if phi.shape[-1] < 2:
            raise ValueError(
                f"logits have shape {phi.shape}; expected at least 2 states on the last axis."
            )
        self.parameters = {"logits": phi}
        self.n_rows = len(phi) if phi.ndim == 3 else None
        self.shape = phi.shape[-2:]
        self.mean = softmax(self.own("logits"), axis=-1)
        self.thresholds = _as_words(np.cumsum(self.mean, axis=-1)[..., :-1])

    def noise_shape(self) -> tuple[int, ...]:
        return self.shape[:1]

    def transform(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.from_states(_count(uniform, self.thresholds)), uniform

    def from_states(self, states: np.ndarray) -> np.ndarray:
        return np.eye(self.n_states)[states]

    def log_probability(self, y: np.ndarray) -> np.ndarray:
        return (y * log_softmax(self.own("logits"), axis=-1)).sum(axis=(-2, -1))

    def relaxed(self, temperature: float) -> RelaxedCategorical:
        """The concrete distribution of the same logits."""
        return RelaxedCategorical(self.parameters["logits"], temperature)

    def relaxation(self, address: rng.Address, first: int, n: int) -> Relaxation:
        p, log_p = self.mean, log_softmax(self.own("logits"), axis=-1)
        z = log_p - np.log(-np.log(self.uniform(address, NOISE, first, n, self.shape)))
        y = self.from_states(z.argmax(axis=-1))
        # The largest is a Gumbel of its own; the others are Gumbels cut off at it.
        wait = -np.log(self.uniform(address, SECOND, first, n, self.shape))
        top = (wait * y).sum(axis=-1, keepdims=True)
        scaled = np.where(y > 0, 0, wait / np.maximum(p, np.finfo(float).tiny))
        again = -np.log(scaled + top)
        slope = scaled / (scaled + top)

        def pull(dz: np.ndarray) -> np.ndarray:
            # From log p = log softmax(logits) to the logits.
            g = dz.reshape(y.shape)
            return (g - p * g.sum(axis=-1, keepdims=True)).reshape(n, self.rows, -1)

        def pull_again(dz: np.ndarray) -> np.ndarray:
            return pull(dz.reshape(y.shape) * slope)

        def push(g: np.ndarray) -> np.ndarray:
            g = g.reshape(y.shape)
            return (g - (p * g).sum(axis=-1, keepdims=True)).reshape(n, self.rows, -1)

        def push_again(g: np.ndarray) -> np.ndarray:
            return push(g) * slope.reshape(n, self.rows, -1)

        return Relaxation(y, z, again, pull, pull_again, push, push_again)


def _count(uniform: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many thresholds each uniform reaches."""
    return (uniform[..., None] >= thresholds / _WORDS).sum(axis=-1)


def _logit(u: np.ndarray) -> np.ndarray:
    return np.log(u) - np.log1p(-u)


# -- continuous ------------------------------------------------------------------------------------


class Base(NamedTuple):
    """A fixed density on the line, for `LocationScale`.

    Parameters
    ----------
    quantile : callable
        Inverse distribution function.
    slope : callable
        ``d log f(z) / dz``.
    """

    quantile: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]


BASES = {
    "gaussian": Base(ndtri, lambda z: -z),
    "logistic": Base(_logit, lambda z: -np.tanh(z / 2)),
    "laplace": Base(
        lambda u: np.where(u < 0.5, np.log(2 * u), -np.log(2 * (1 - u))), lambda z: -np.sign(z)
    ),
    "gumbel": Base(lambda u: -np.log(-np.log(u)), lambda z: np.expm1(-z)),
}


class LocationScale(Distribution):
    r"""``y = location + exp(log_scale) z`` with z independent of both.

    Parameters
    ----------
    location : array-like of shape (n,) or (n_rows, n)
    log_scale : array-like of the same shape, or a number
    base : {"gaussian", "logistic", "laplace", "gumbel"} or (quantile, slope)
        Distribution of z, or a pair of vectorised functions: its inverse distribution function,
        and the derivative of its log density.
    """

    name = "location-scale"
    pathwise = True
    _names: ClassVar[tuple[str, str]] = ("location", "log_scale")

    def __init__(self, location: Any, log_scale: Any = 0.0, base: Any = "gaussian") -> None:
        center, width = self._names
        mu = _array(center, location, 1)
        scale = np.array(log_scale, dtype=np.float64)
        if scale.ndim == 0:
            scale = np.full_like(mu, scale)
        scale = _array(width, scale, 1)
        if scale.shape != mu.shape:
            raise ValueError(
                f"{width} has shape {scale.shape}; expected {mu.shape}, that of {center}, or a "
                f"number."
            )
        if isinstance(base, str):
            self.base = BASES[one_of("base", base, BASES)]
        elif isinstance(base, (tuple, list)) and len(base) == 2 and all(map(callable, base)):
            self.base = Base(*base)
        else:
            raise TypeError(
                f"base must be one of {', '.join(map(repr, BASES))}, or a pair of functions "
                f"(inverse distribution function, derivative of the log density); got {base!r}."
            )
        self.parameters = {center: mu, width: scale}
        self.n_rows = len(mu) if mu.ndim == 2 else None
        self.shape = mu.shape[-1:]

    def transform(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = np.asarray(self.base.quantile(uniform))
        center, width = map(self.own, self._names)
        return center + np.exp(width) * z, z

    def score(self, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        slope = self.base.slope(noise)
        scale = np.exp(self.own(self._names[1]))
        return np.concatenate([-slope / scale, -1 - noise * slope], axis=-1)

    def pull(self, dy: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        scale = np.exp(self.own(self._names[1]))
        return np.concatenate([dy, dy * scale * noise], axis=-1)


class Gaussian(LocationScale):
    r"""Independent normal units, ``y = mean + exp(log_scale) z`` with z ~ N(0, 1).

    Parameters
    ----------
    mean : array-like of shape (n,) or (n_rows, n)
    log_scale : array-like of the same shape, or a number
        Log of the standard deviation.
    """

    name = "gaussian"
    _names = ("mean", "log_scale")

    def __init__(self, mean: Any, log_scale: Any = 0.0) -> None:
        super().__init__(mean, log_scale, "gaussian")


class MultivariateGaussian(Distribution):
    r"""Normal with full covariance ``L L'``, by its Cholesky factor: ``y = mean + L z``.

    Parameters
    ----------
    mean : array-like of shape (n,) or (n_rows, n)
    cholesky : array-like of shape (n, n) or (n_rows, n, n)
        Lower triangular, with a positive diagonal. Its gradient is zero above the diagonal.
    """

    name = "multivariate gaussian"
    pathwise = True

    def __init__(self, mean: Any, cholesky: Any) -> None:
        mu = _array("mean", mean, 1)
        factor = np.array(cholesky, dtype=np.float64, order="C")
        n = mu.shape[-1]
        if factor.shape != (*mu.shape, n):
            raise ValueError(f"cholesky has shape {factor.shape}; expected {(*mu.shape, n)}.")
        diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
        if not np.isfinite(factor).all() or np.triu(factor, 1).any() or (diagonal <= 0).any():
            raise ValueError(
                "cholesky must be finite and lower triangular with a positive diagonal; of a "
                "covariance matrix, numpy.linalg.cholesky gives it."
            )
        self.parameters = {"mean": mu, "cholesky": factor}
        self.n_rows = len(mu) if mu.ndim == 2 else None
        self.shape = (n,)

    def transform(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = ndtri(uniform)
        return self.own("mean") + np.einsum("rij,brj->bri", self.own("cholesky"), z), z

    def score(self, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        factor = self.own("cholesky")
        # w = L'^-1 z is the score of the mean; that of L is tril(w z') less 1 / diagonal.
        w = np.einsum("rji,brj->bri", np.linalg.inv(factor), noise)
        outer = np.tril(w[..., :, None] * noise[..., None, :])
        outer -= np.eye(self.shape[0]) / np.diagonal(factor, axis1=-2, axis2=-1)[..., None]
        return np.concatenate([w, outer.reshape(*w.shape[:2], -1)], axis=-1)

    def pull(self, dy: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        outer = np.tril(dy[..., :, None] * noise[..., None, :])
        return np.concatenate([dy, outer.reshape(*dy.shape[:2], -1)], axis=-1)


# -- relaxed ---------------------------------------------------------------------------------------


class RelaxedBernoulli(Distribution):
    r"""Binary concrete units, ``y = sigma((logits + logistic noise) / temperature)``.

    It stands for `Bernoulli` with a bias that falls with the temperature, while the variance rises.

    Parameters
    ----------
    logits : array-like of shape (n,) or (n_rows, n)
    temperature : float > 0

    References
    ----------
    Maddison, Mnih & Teh, "The concrete distribution", ICLR 2017.
    Jang, Gu & Poole, "Categorical reparameterization with Gumbel-softmax", ICLR 2017.
    """

    name = "relaxed bernoulli"
    pathwise = True
    scored = False
    relaxes = "bernoulli"

    def __init__(self, logits: Any, temperature: float) -> None:
        phi = _array("logits", logits, 1)
        self.temperature = check_number("temperature", temperature, 0, strict=True)
        self.parameters = {"logits": phi}
        self.n_rows = len(phi) if phi.ndim == 2 else None
        self.shape = phi.shape[-1:]

    def transform(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = self.own("logits") + _logit(uniform)
        return expit(z / self.temperature), z

    def pull(self, dy: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return dy * y * (1 - y) / self.temperature

    def harden(self, noise: np.ndarray) -> np.ndarray:
        """The discrete samples that relaxed ones stand for."""
        return (noise > 0).astype(np.float64)


class RelaxedCategorical(Distribution):
    r"""Concrete units on the simplex, ``y = softmax((logits + Gumbel noise) / temperature)``.

    It stands for `Categorical` with a bias that falls with the temperature, while the variance
    rises.

    Parameters
    ----------
    logits : array-like of shape (n, n_states) or (n_rows, n, n_states)
    temperature : float > 0

    References
    ----------
    As of `RelaxedBernoulli`.
    """

    name = "relaxed categorical"
    pathwise = True
    scored = False
    relaxes = "categorical"

    def __init__(self, logits: Any, temperature: float) -> None:
        phi = _array("logits", logits, 2)
        self.temperature = check_number("temperature", temperature, 0, strict=True)
        self.parameters = {"logits": phi}
        self.n_rows = len(phi) if phi.ndim == 3 else None
        self.shape = phi.shape[-2:]

    def transform(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = self.own("logits") - np.log(-np.log(uniform))
        return softmax(z / self.temperature, axis=-1), z

    def pull(self, dy: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        dy = dy.reshape(y.shape)
        g = y * (dy - (dy * y).sum(axis=-1, keepdims=True)) / self.temperature
        return g.reshape(len(y), self.rows, -1)

    def harden(self, noise: np.ndarray) -> np.ndarray:
        """The discrete samples that relaxed ones stand for."""
        return np.eye(self.shape[-1])[noise.argmax(axis=-1)]


# -- given inputs ----------------------------------------------------------------------------------


class Linear:
    """``inputs @ weight + bias``, the plainest way from inputs to parameters.

    Parameters
    ----------
    weight : array-like of shape (n_inputs, n)
    bias : array-like of shape (n,)
    """

    def __init__(self, weight: Any, bias: Any) -> None:
        self.weight = np.array(weight, dtype=np.float64)
        self.bias = np.array(bias, dtype=np.float64)
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise ValueError(
                f"weight has shape {self.weight.shape} and bias {self.bias.shape}; expected "
                f"(n_inputs, n) and (n,)."
            )

    def forward(self, inputs: np.ndarray) -> np.ndarray:
        """Parameters of each row."""
        return inputs @ self.weight + self.bias

    def backward(self, inputs: np.ndarray, gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient by weight and bias."""
        return {"weight": inputs.T @ gradient, "bias": gradient.sum(axis=0)}


class Conditional:
    """p(y | x) for each row of inputs; made by `Distribution.given`.

    What is differentiated is the mean over rows of the expected cost, by the link's parameters.

    Attributes
    ----------
    distribution : Distribution
        With a row for each input.
    inputs : ndarray
    link : object with ``forward`` and ``backward``
    """

    def __init__(
        self, family: Callable[..., Distribution], inputs: Any, link: Any, fixed: Mapping[str, Any]
    ) -> None:
        self.inputs = np.asarray(inputs, dtype=np.float64)
        for name in ("forward", "backward"):
            if not callable(getattr(link, name, None)):
                raise TypeError(
                    f"link must have forward(inputs) and backward(inputs, gradient); "
                    f"{type(link).__name__} has no {name}."
                )
        self.link = link
        made = link.forward(self.inputs)
        if isinstance(made, Mapping):
            self.distribution: Distribution = family(**made, **fixed)
        else:
            self.distribution = family(made, **fixed)
        if self.distribution.n_rows != len(self.inputs):
            raise ValueError(
                f"link.forward made parameters of "
                f"{', '.join(str(v.shape) for v in self.distribution.parameters.values())} from "
                f"{len(self.inputs)} inputs; expected a row for each input."
            )

    def __repr__(self) -> str:
        return f"Conditional({self.distribution!r}, link={type(self.link).__name__})"

    def backward(self, gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient (rows, n_parameters) led back to the link's parameters."""
        by_row = self.distribution.structured(gradient / self.distribution.rows)
        return {k: np.asarray(v) for k, v in self.link.backward(self.inputs, by_row).items()}


def inner(distribution: Any) -> Distribution:
    """The distribution with its rows, of one that may be conditional."""
    if isinstance(distribution, Conditional):
        return distribution.distribution
    if isinstance(distribution, Distribution):
        return distribution
    raise TypeError(
        f"distribution must be one of fastboltz.gradients, such as Bernoulli(logits); got "
        f"{type(distribution).__name__}."
    )


def width(distribution: Distribution) -> int:
    """Entries of one sample of one row."""
    return math.prod(distribution.shape)
