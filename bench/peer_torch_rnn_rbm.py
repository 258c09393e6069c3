"""The RNN-RBM's updates written plainly in PyTorch, served to `run.py` from an environment with it.

``python bench/run.py --cases rnn-rbm --peer torch_rnn_rbm=<that environment's python>``. An update
is the paper's: the recurrent network is unrolled over a chunk, all steps' biases are computed
together, CD-15 samples all steps together without a gradient, automatic differentiation of the
difference of free energies does the rest, and Adam moves the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cases
import torch
from torch import nn
from worker import serve


class RNNRBM(nn.Module):
    """A recurrent network that emits the biases of an RBM."""

    def __init__(self, n_visible: int, n_hidden: int, n_recurrent: int) -> None:
        super().__init__()
        self.w = nn.Parameter(0.05 * torch.randn(n_visible, n_hidden))
        self.b = nn.Parameter(torch.full((n_visible,), -3.0))
        self.c = nn.Parameter(torch.zeros(n_hidden))
        self.to_b = nn.Parameter(0.05 * torch.randn(n_recurrent, n_visible))
        self.to_c = nn.Parameter(0.05 * torch.randn(n_recurrent, n_hidden))
        self.w_in = nn.Parameter(0.1 * torch.randn(n_visible, n_recurrent))
        self.w_state = nn.Parameter(nn.init.orthogonal_(torch.empty(n_recurrent, n_recurrent)))
        self.b_state = nn.Parameter(torch.zeros(n_recurrent))

    def states(self, v: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """u(t - 1) of all steps, and the last u; v is (n_steps, n_sequences, n_visible)."""
        drive = v @ self.w_in + self.b_state
        before = []
        for step in drive:
            before.append(u)
            u = torch.tanh(step + u @ self.w_state)
        return torch.stack(before), u

    def free_energy(self, v: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Of every step."""
        return -(v * b).sum(-1) - nn.functional.softplus(c + v @ self.w).sum(-1)

    @torch.no_grad()
    def gibbs(self, v: torch.Tensor, b: torch.Tensor, c: torch.Tensor, k: int) -> torch.Tensor:
        """K sweeps of all steps together."""
        for _ in range(k):
            h = torch.bernoulli(torch.sigmoid(c + v @ self.w))
            v = torch.bernoulli(torch.sigmoid(b + h @ self.w.T))
        return v

    def loss(self, v: torch.Tensor, u: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What contrastive divergence descends, and the last u."""
        before, u = self.states(v, u)
        rows = v.reshape(-1, v.shape[-1])
        before = before.reshape(len(rows), -1)
        b, c = self.b + before @ self.to_b, self.c + before @ self.to_c
        model = self.gibbs(rows, b, c, k)
        loss = self.free_energy(rows, b, c) - self.free_energy(model, b, c)
        return loss.mean(), u.detach()


def training(n_gibbs: int, n_threads: int) -> Callable[[], object]:
    """The updates of an epoch."""
    torch.set_num_threads(n_threads)
    torch.manual_seed(0)
    model = RNNRBM(*cases.SEQUENCE_UNITS)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    x = torch.from_numpy(cases.sequences())  # (n_steps, n_sequences, n_visible)

    def call() -> None:
        u = torch.zeros(x.shape[1], cases.SEQUENCE_UNITS[2])
        for chunk in x.split(cases.CHUNK):
            loss, u = model.loss(chunk, u, n_gibbs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return call


def main() -> None:
    """Serve."""
    served = {f"rnn-rbm-cd{k}": partial(training, k) for k in cases.SEQUENCE_SWEEPS}
    serve(served, {"torch": torch.__version__})


if __name__ == "__main__":
    main()
