"""Estimators inside PyTorch and JAX, where they are installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fastboltz.gradients as G  # noqa: N812
from fastboltz.gradients.bridges import jax_expectation, torch_expectation

Z_LIMIT = 4.5


def cost(Y):
    return (Y.sum(axis=-1) - 1.2) ** 2


X = np.random.default_rng(0).normal(size=(4, 3))
W = np.random.default_rng(1).normal(size=(3, 2))


def test_torch_leads_the_gradient_through_its_graph():
    """The gradient of a loss by the weights of a torch layer, against the exact one of the same
    expectation by the package's own chain rule.

    Deliberate bug that this catches: the sum over rows in place of the mean; a factor of the graph
    around the node forgotten.
    """
    torch = pytest.importorskip("torch")
    x = torch.tensor(X)
    exact = G.Enumerate().estimate(cost, G.Bernoulli.given(X, G.Linear(W, np.zeros(2))))
    for method, n in ((G.Enumerate(), 1), (G.ScoreFunction("optimal"), 20_000)):
        w = torch.tensor(W, requires_grad=True)
        expectation = torch_expectation(method, cost, G.Bernoulli, n_samples=n, random_state=0)
        value = expectation(x @ w)
        assert value.shape == () and value.dtype == torch.float64
        (3 * value).backward()
        found = w.grad.numpy() / 3
        if n == 1:
            np.testing.assert_allclose(found, exact.value["weight"], rtol=1e-9)
            assert value.item() == pytest.approx(float(np.mean(exact.cost)))
        else:
            # An upper bound on the error of the mean over rows.
            error = np.abs(X.T) @ expectation.last.standard_error / 4
            assert (np.abs(found - exact.value["weight"]) < Z_LIMIT * error).all()
            assert int(expectation.state["step"]) == 1


def test_torch_trains_with_several_parameters_and_inputs():
    torch = pytest.importorskip("torch")
    mean = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    log_scale = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    expectation = torch_expectation(
        G.ScoreFunction("leave_one_out"),
        lambda Y: ((Y - np.array([1.0, -2.0])) ** 2).sum(axis=1),
        G.Gaussian,
        n_samples=200,
        random_state=0,
    )
    optimizer = torch.optim.SGD([mean, log_scale], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        expectation(mean, log_scale).backward()
        optimizer.step()
    np.testing.assert_allclose(mean.detach().numpy(), [1, -2], atol=0.1)
    assert (log_scale.detach().numpy() < -1).all()
    single = torch.zeros((3, 2), dtype=torch.float32, requires_grad=True)
    learnt = torch_expectation(
        G.ScoreFunction("learnt"), cost, G.Bernoulli, n_samples=3, random_state=0
    )
    value = learnt(single, inputs=torch.ones((3, 5)))
    value.backward()
    assert value.dtype == torch.float32 and single.grad.dtype == torch.float32
    assert learnt.state["baseline/net/out"].shape == (5, 1)


def test_jax_leads_the_gradient_through_its_functions():
    jax = pytest.importorskip("jax")
    exact = G.Enumerate().estimate(cost, G.Bernoulli.given(X, G.Linear(W, np.zeros(2))))
    whole = jax_expectation(G.Enumerate(), cost, G.Bernoulli)

    def loss(w, f, seed):
        return 3 * f(seed, jax.numpy.asarray(X, dtype="float32") @ w)

    w = jax.numpy.asarray(W, dtype="float32")
    for gradient in (jax.grad(loss), jax.jit(jax.grad(loss), static_argnums=1)):
        np.testing.assert_allclose(
            np.asarray(gradient(w, whole, 0)) / 3, exact.value["weight"], rtol=1e-4, atol=1e-5
        )
    sampled = jax_expectation(G.DisARM(), cost, G.Bernoulli, n_samples=5000)
    one, same, other = (np.asarray(jax.grad(loss)(w, sampled, s)) / 3 for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    error = (
        np.abs(X.T)
        @ G.DisARM().estimate(cost, G.Bernoulli(X @ W), 5000, random_state=1).standard_error
        / 4
    )
    assert (np.abs(one - exact.value["weight"]) < Z_LIMIT * error).all()


@pytest.mark.parametrize("package", ["torch", "jax"])
def test_without_the_package_a_sentence_says_what_to_install(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    make = {"torch": torch_expectation, "jax": jax_expectation}[package]
    with pytest.raises(ImportError, match=f"which is not installed; pip install {package}"):
        make(G.DisARM(), cost, G.Bernoulli)
