"""Estimators inside PyTorch and JAX programs.

A cost that is no part of the graph (a simulator, a jitted function, a discrete choice) becomes a
differentiable node: its value is the estimated expected cost, its gradient by the distribution's
parameters is the estimate of a method. Neither package is needed for anything else here; each is
imported when its bridge is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .distributions import Distribution
from .estimates import Estimate
from .methods import Method, State


def _parts(
    estimate: Estimate, distribution: Distribution
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Mean cost over rows, and its gradient by each parameter in order."""
    by_name = estimate.value
    if not isinstance(by_name, dict):
        by_name = {next(iter(distribution.parameters)): by_name}
    grads = tuple(by_name[k] / distribution.rows for k in distribution.parameters)
    return np.asarray(np.mean(estimate.cost)), grads


class TorchExpectation:
    """``E[J(y)]`` as a function of tensors; made by `torch_expectation`.

    Attributes
    ----------
    state : dict or None
        Of the method; it moves on with every call.
    last : Estimate or None
        Of the last call, with its standard errors.
    """

    def __init__(
        self,
        method: Method,
        cost: Any,
        family: Callable[..., Distribution],
        n_samples: int,
        random_state: Any,
        n_threads: int | None,
        fixed: dict[str, Any],
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise ImportError(
                "torch_expectation needs PyTorch, which is not installed; pip install torch."
            ) from error
        self.method, self.cost, self.family = method, cost, family
        self.n_samples, self.random_state, self.n_threads = n_samples, random_state, n_threads
        self.fixed = fixed
        self.state: State | None = None
        self.last: Estimate | None = None
        owner = self

        class Expectation(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, inputs: Any, *parameters: Any) -> Any:
                value, grads = owner._estimate(
                    [p.detach().cpu().numpy() for p in parameters],
                    None if inputs is None else inputs.detach().cpu().numpy(),
                )
                ctx.save_for_backward(
                    *(torch.as_tensor(g).to(p) for g, p in zip(grads, parameters, strict=True))
                )
                return torch.as_tensor(value).to(parameters[0])

            @staticmethod
            def backward(ctx: Any, gradient: Any) -> Any:
                return None, *(gradient * g for g in ctx.saved_tensors)

        self._function = Expectation

    def _estimate(
        self, parameters: list[np.ndarray], inputs: Any
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        distribution = self.family(*parameters, **self.fixed)
        if self.state is None:
            self.state = self.method.init(
                distribution, inputs=inputs, random_state=self.random_state
            )
        self.last, self.state = self.method.step(
            self.cost,
            distribution,
            self.state,
            self.n_samples,
            inputs=inputs,
            n_threads=self.n_threads,
        )
        return _parts(self.last, distribution)

    def __call__(self, *parameters: Any, inputs: Any = None) -> Any:
        """Estimated expected cost (the mean over rows) as a tensor that leads gradients back.

        Parameters
        ----------
        *parameters : tensor
            As the distribution takes them.
        inputs : tensor of shape (n_rows, n_inputs), optional
            What learnt baselines see; no gradient goes there.
        """
        return self._function.apply(inputs, *parameters)


def torch_expectation(
    method: Method,
    cost: Any,
    family: Callable[..., Distribution],
    *,
    n_samples: int = 100,
    random_state: Any = None,
    n_threads: int | None = None,
    **fixed: Any,
) -> TorchExpectation:
    """An expected cost as a `torch.autograd.Function`, its gradient estimated by a method.

    Parameters
    ----------
    method : Method
    cost : callable or Cost
        Of NumPy samples.
    family : type of Distribution
    n_samples : int
        Samples of a call (of each row).
    random_state : None, int, RandomState or Generator
    n_threads : int, optional
    **fixed
        Further arguments of the distribution, such as ``n_trials``.

    Returns
    -------
    TorchExpectation
        Called with tensors, it returns the estimated mean cost.
    """
    return TorchExpectation(method, cost, family, n_samples, random_state, n_threads, fixed)


def jax_expectation(
    method: Method,
    cost: Any,
    family: Callable[..., Distribution],
    *,
    n_samples: int = 100,
    n_threads: int | None = None,
    **fixed: Any,
) -> Callable[..., Any]:
    """An expected cost as a JAX function with a custom gradient, estimated by a method.

    Parameters
    ----------
    method, cost, family, n_samples, n_threads, **fixed
        As of `torch_expectation`.

    Returns
    -------
    callable
        ``f(seed, *parameters)``: the estimated mean cost. The whole number ``seed`` alone decides
        the samples, so that the function is pure; it can be jitted. No state is carried, so learnt
        baselines do not learn here.
    """
    try:
        import jax
        import jax.numpy as jnp
    except ImportError as error:
        raise ImportError(
            "jax_expectation needs JAX, which is not installed; pip install jax."
        ) from error

    def on_host(seed: Any, *parameters: Any) -> tuple[np.ndarray, ...]:
        arrays = [np.asarray(p) for p in parameters]
        distribution = family(*arrays, **fixed)
        estimate = method.estimate(
            cost, distribution, n_samples, random_state=int(seed), n_threads=n_threads
        )
        value, grads = _parts(estimate, distribution)
        return value.astype(arrays[0].dtype), *(
            g.astype(a.dtype) for g, a in zip(grads, arrays, strict=True)
        )

    def both(seed: Any, *parameters: Any) -> Any:
        like = tuple(jax.ShapeDtypeStruct(jnp.shape(p), jnp.result_type(p)) for p in parameters)
        value = jax.ShapeDtypeStruct((), like[0].dtype)
        return jax.pure_callback(on_host, (value, *like), seed, *parameters)

    @jax.custom_vjp
    def expectation(seed: Any, *parameters: Any) -> Any:
        return both(seed, *parameters)[0]

    def forward(seed: Any, *parameters: Any) -> Any:
        value, *grads = both(seed, *parameters)
        return value, (jnp.shape(seed), tuple(grads))

    def backward(kept: Any, gradient: Any) -> Any:
        shape, grads = kept
        # Whole numbers have no tangent.
        none = np.zeros(shape, dtype=jax.dtypes.float0)
        return none, *(gradient * g for g in grads)

    expectation.defvjp(forward, backward)
    return expectation
