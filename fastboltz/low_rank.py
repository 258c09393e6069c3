r"""Pretraining of binary RBMs within a few principal directions of the data.

Data with strong modes lie near a space of few dimensions. An RBM whose weights are in the span of r
directions, ``W = A Q`` with orthonormal rows of Q, (r, n_visible), depends on v through its biases
and through ``m = Q (v - mean)`` alone,

    ``f(v) = exp(b'v + g(m))``,  ``g(m) = sum_j log(1 + exp(c_j + A_j'm))``,

and can be sampled without chains: by a mixture of independent units tilted along the directions,

    ``q(v) = sum_k pi_k exp(b'v + theta_k'm - K(theta_k))``,  ``K`` the log of the tilted Z.

Where such tilts cover the region that the model gives mass to, the importance weights
``f(v) / q(v)``, which also depend on m alone, are near one another. So gradients do not depend on
chains that would have to cross between modes, and log Z is estimated without bias, with the
effective number of samples to tell how well.

The training that follows begins with the modes, and their shares, in place (Decelle & Furtlehner,
"Exact training of restricted Boltzmann machines on intrinsically low dimensional data", Physical
Review Letters 127, 2021; Béreux, Decelle, Furtlehner, Rosset & Seoane, "Fast training and sampling
of restricted Boltzmann machines", ICLR 2025: they sum over a grid of m, which takes r up to three
or so; samples need no grid).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, svds
from scipy.special import expit, logsumexp

from .optimizers import Adam

#: Directions, and hidden units for each of them, of `fastboltz.RBM`.
RANK, UNITS_OF_DIRECTION = 4, 8
#: Samples of the mixture, its components, and rows of the data that an update sees at the most.
_SAMPLES, _COMPONENTS, _ROWS = 2000, 400, 4000
#: Updates, those between two mixtures at the most, and the largest rate of Adam.
_UPDATES, _MOST, _RATE = 400, 20, 0.05
#: A new mixture is made when fewer effective samples are left than this share of those at first.
_EFFECTIVE = 0.5
#: Strength of the pull of tilts to zero, without which those of extreme rows have no end.
_RIDGE = 0.02


def principal_directions(
    X: Any, rank: int, seed: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Leading right singular vectors of the rows less their mean, (rank, n_features).

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
    rank, seed : int
    weights : ndarray of shape (n_rows,), optional
        Of the rows: one of weight two counts as two.
    """
    n, m = X.shape
    share = _shares(n, weights)
    mean, root = np.asarray(X.T @ share, dtype=np.float64).reshape(-1), np.sqrt(share)

    def transposed(u: np.ndarray) -> np.ndarray:
        scaled = root * u.reshape(-1)
        return X.T @ scaled - mean * scaled.sum()

    centred = LinearOperator(
        (n, m),
        matvec=lambda v: root * (X @ v.reshape(-1) - mean @ v.reshape(-1)),
        rmatvec=transposed,
        dtype=np.float64,
    )
    side = np.random.default_rng(seed).normal(size=m)
    _, s, vt = svds(centred, k=rank, v0=side[: min(n, m)])
    vt = vt[np.argsort(-s)]
    # Which of its two signs a vector comes with may depend on rounding.
    return vt * np.where(vt @ side < 0, -1, 1)[:, None]


def _shares(n: int, weights: np.ndarray | None) -> np.ndarray:
    """Weights of n rows, which sum to one."""
    if weights is None:
        return np.full(n, 1 / n)
    weights = weights.astype(np.float64)
    return weights / weights.sum()


@dataclass(frozen=True)
class TiltedMixture:
    """Independent binary units, tilted along some directions; see the module.

    Attributes
    ----------
    bias : ndarray of shape (n_visible,)
    directions : ndarray of shape (rank, n_visible)
    centre : ndarray of shape (rank,)
        ``Q mean``, which is taken off the projections.
    tilts : ndarray of shape (n_components, rank)
        All have the same share.
    """

    bias: np.ndarray
    directions: np.ndarray
    centre: np.ndarray
    tilts: np.ndarray

    @classmethod
    def at(
        cls, bias: np.ndarray, directions: np.ndarray, centre: np.ndarray, m: np.ndarray
    ) -> TiltedMixture:
        """Components whose mean projections are given ones, (n_components, rank), or near them."""
        tilts = np.zeros_like(m)
        eye = _RIDGE * np.eye(m.shape[1])
        for _ in range(20):
            p = expit(bias + tilts @ directions)
            gradient = m - (p @ directions.T - centre) - _RIDGE * tilts
            curvature = np.einsum(
                "ri,ki,si->krs", directions, p * (1 - p), directions, optimize=True
            )
            step = np.linalg.solve(curvature + eye, gradient[:, :, None])[:, :, 0]
            # A long way from its root, a step of Newton's method may go too far.
            length = np.linalg.norm(step, axis=1, keepdims=True)
            tilts = tilts + step * np.minimum(1, 2 / np.maximum(length, 1e-12))
            if length.max() < 1e-3:
                break
        return cls(bias, directions, centre, tilts)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Samples, (n, n_visible): as many of each component as of any other, or one more."""
        k = rng.permutation(np.resize(rng.permutation(len(self.tilts)), n))
        p = expit(self.bias + self.tilts @ self.directions)
        return (rng.random((n, len(self.bias))) < p[k]).astype(np.float64)

    def log_tilt(self, m: np.ndarray) -> np.ndarray:
        """``log q(v) - b'v`` at projections (n, rank)."""
        fields = self.bias + self.tilts @ self.directions
        log_z = np.logaddexp(0, fields).sum(axis=1) - self.tilts @ self.centre
        return logsumexp(m @ self.tilts.T - log_z, axis=1) - np.log(len(self.tilts))


@dataclass(frozen=True)
class LowRank:
    """An RBM whose weights are in the span of few directions.

    Attributes
    ----------
    bias_visible, bias_hidden : ndarray
        Of the RBM.
    loadings : ndarray of shape (n_hidden, rank)
    directions : ndarray of shape (rank, n_visible)
    log_partition : float
        Estimate of log Z.
    effective : float
        Share of the last samples that carries the estimate.
    """

    bias_visible: np.ndarray
    bias_hidden: np.ndarray
    loadings: np.ndarray
    directions: np.ndarray
    log_partition: float
    effective: float

    @property
    def weights(self) -> np.ndarray:
        """``A Q``, (n_hidden, n_visible)."""
        return self.loadings @ self.directions


def fit(
    X: Any,
    n_hidden: int,
    rank: int,
    seed: int,
    weights: np.ndarray | None = None,
    others: tuple[np.ndarray, np.ndarray] | None = None,
) -> LowRank:
    """Maximise the likelihood of rows by the biases and the weights in the principal directions.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        Between 0 and 1.
    n_hidden, rank, seed : int
    weights : ndarray of shape (n_rows,), optional
        Of the rows: one of weight two counts as two, one of weight zero as none.
    others : (ndarray of shape (n_others, n_features), ndarray of shape (n_others,)), optional
        Weights and biases of more hidden units, which stay as they are. They are taken into
        account: log Z is that of the whole RBM.
    """
    rng = np.random.default_rng(seed)
    if weights is not None and not weights.all():
        X, weights = X[weights > 0], weights[weights > 0]
    n = X.shape[0]
    share = _shares(n, weights)
    mean = np.asarray(X.T @ share, dtype=np.float64).reshape(-1)
    counted = n if weights is None else float(weights.sum(dtype=np.float64))
    smooth = (counted * mean + 0.5) / (counted + 1)
    directions = principal_directions(X, rank, seed, weights)
    centre = directions @ mean
    m = np.asarray(X @ directions.T, dtype=np.float64) - centre
    scale = np.maximum(np.sqrt(share @ m**2), 1e-3)
    params = {
        "b": np.log(smooth) - np.log1p(-smooth),
        "c": np.zeros(n_hidden),
        "a": rng.normal(size=(n_hidden, rank)) / scale,  # fields of order one
    }
    optimizer = Adam()
    state = optimizer.init(params)
    of = (directions, centre, m, share, others)
    drawn: _Drawn | None = None
    least = 0.0
    for update in range(_UPDATES):
        if drawn is not None:
            drawn = drawn.weighted(params)
        if drawn is None or update - drawn.since >= _MOST or drawn.effective < least:
            drawn = _Drawn.of(params, *of, drawn, update, rng).weighted(params)
            least = _EFFECTIVE * drawn.effective
            rows = np.arange(n) if n <= _ROWS else rng.choice(n, _ROWS, p=share)
            w = share if n <= _ROWS else np.full(_ROWS, 1 / _ROWS)
        gradient = _gradient(params, mean, (m[rows], w), (drawn.v, drawn.m, drawn.p))
        optimizer.step(params, gradient, state, _RATE * (1 - update / _UPDATES), {})
    assert drawn is not None
    drawn = _Drawn.of(params, *of, drawn, _UPDATES, rng).weighted(params)
    hidden = params["c"] - params["a"] @ centre
    return LowRank(
        params["b"], hidden, params["a"], directions, drawn.log_partition, drawn.effective
    )


def _gradient(
    params: dict[str, np.ndarray],
    mean: np.ndarray,
    data: tuple[np.ndarray, np.ndarray],
    model: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> dict[str, np.ndarray]:
    """Gradient of the mean log-likelihood.

    Parameters
    ----------
    params : dict of arrays
        Visible biases b, hidden biases c for projections less their centre, loadings a.
    mean : ndarray of shape (n_visible,)
        Of the data.
    data : projections of rows, (n_rows, rank), and their weights
    model : samples, (n_samples, n_visible), their projections, and their weights
    """
    v, *samples = model
    (m, plus), (other, minus) = (
        (x, expit(params["c"] + x @ params["a"].T) * p[:, None]) for x, p in (data, samples)
    )
    return {
        "b": mean - samples[1] @ v,
        "c": plus.sum(axis=0) - minus.sum(axis=0),
        "a": plus.T @ m - minus.T @ other,
    }


@dataclass(frozen=True)
class _Drawn:
    """Samples of a mixture, and their weights under a model.

    Attributes
    ----------
    log_q : ndarray of shape (n_samples,)
        Log density, without ``b'v`` of the mixture, less what units that stay add to ``log f``.
    since : int
        Number of the update before which they were drawn.
    p : ndarray of shape (n_samples,)
        Weights, which sum to one.
    effective : float
        Share of the samples that carries them.
    """

    mixture: TiltedMixture
    v: np.ndarray
    m: np.ndarray
    log_q: np.ndarray
    since: int
    p: np.ndarray
    effective: float = 1.0
    log_partition: float = np.nan

    @classmethod
    def of(
        cls,
        params: dict[str, np.ndarray],
        directions: np.ndarray,
        centre: np.ndarray,
        data: np.ndarray,
        share: np.ndarray,
        others: tuple[np.ndarray, np.ndarray] | None,
        before: _Drawn | None,
        update: int,
        rng: np.random.Generator,
    ) -> _Drawn:
        """New samples: half of the components where data are, half where the model has its mass."""
        at = data[rng.choice(len(data), _COMPONENTS, p=share)]
        if before is not None:
            p = before.p
            half = _COMPONENTS // 2
            at[:half] = before.m[rng.choice(len(p), half, p=p)]
        mixture = TiltedMixture.at(params["b"].copy(), directions, centre, at)
        v = mixture.draw(_SAMPLES, rng)
        m = v @ directions.T - centre
        log_q = mixture.log_tilt(m)
        if others is not None:
            log_q -= np.logaddexp(0, v @ others[0].T + others[1]).sum(axis=1)
        return cls(mixture, v, m, log_q, update, np.full(len(v), 1 / len(v)))

    def weighted(self, params: dict[str, np.ndarray]) -> _Drawn:
        """Weights under a model."""
        log_w = self.v @ (params["b"] - self.mixture.bias) - self.log_q
        log_w += np.logaddexp(0, params["c"] + self.m @ params["a"].T).sum(axis=1)
        total = logsumexp(log_w)
        p = np.exp(log_w - total)
        return _Drawn(
            self.mixture,
            self.v,
            self.m,
            self.log_q,
            self.since,
            p,
            float(1 / (p @ p) / len(p)),
            float(total - np.log(len(p))),
        )


__all__ = ["RANK", "UNITS_OF_DIRECTION", "LowRank", "TiltedMixture", "fit", "principal_directions"]
