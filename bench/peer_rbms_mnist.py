"""Trainings of rbms (https://github.com/DsysDML/rbms; PyTorch) for `mnist_curve.py`.

One JSON line in, one line out. An update is what its training loop does with a minibatch, rows
picked as there; what the loop writes to disk after each update is left out. One thread.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import torch
from rbms.bernoulli_bernoulli.classes import BBRBM
from rbms.training.pcd import fit_batch_pcd


class Training:
    """One training, from its own starting weights, with as many chains as rows of a minibatch
    or as ``n_chains`` says.

    Where ``falls`` is a number of passes, the rate falls to zero until then.
    """

    def __init__(self, asked: dict) -> None:
        torch.manual_seed(asked["seed"])
        self.x = torch.from_numpy(np.load(asked["x"])).to(torch.float32)
        self.rows, self.sweeps = asked["batch_size"], asked["gibbs_steps"]
        self.model = BBRBM.init_parameters(
            asked["n_hidden"],
            SimpleNamespace(data=self.x),
            torch.device("cpu"),
            torch.float32,
        )
        self.model.init_grad()
        self.rate, self.falls = asked["learning_rate"], asked["falls"]
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=self.rate, maximize=True)
        self.chains = self.model.init_chains(asked.get("n_chains") or self.rows)
        self.weights = torch.ones(self.rows)
        self.update, self.seconds = 0, 0.0

    @torch.no_grad()
    def advance(self, passes: int) -> None:
        """Train until so many passes were made in all."""
        begin, n_updates = time.process_time(), len(self.x) // self.rows
        while self.update < passes * n_updates:
            if self.falls is not None:
                share = self.update / (self.falls * n_updates)
                self.optimizer.param_groups[0]["lr"] = self.rate * (1 - share)
            chosen = torch.randperm(len(self.x))[: self.rows]
            self.optimizer.zero_grad(set_to_none=False)
            self.chains, _ = fit_batch_pcd(
                (self.x[chosen], self.weights), self.chains, self.model, self.sweeps, beta=1
            )
            self.optimizer.step()
            self.update += 1
        self.seconds += time.process_time() - begin

    def save(self, file: str) -> None:
        """Write the parameters."""
        w, visible, hidden = (x.numpy() for x in self.model.parameters())
        np.savez(file, w=w.T, visible=visible, hidden=hidden)


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    out, sys.stdout = sys.stdout, sys.stderr
    trainings: dict[str, Training] = {}

    def say(answer: dict) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    say({"cases": [], "versions": {name: version(name) for name in ("rbms", "torch")}})
    for line in sys.stdin:
        asked = json.loads(line)
        if "begin" in asked:
            trainings[asked["begin"]] = Training(asked)
            say({})
        else:
            training = trainings[asked["advance"]]
            training.advance(asked["passes"])
            training.save(asked["file"])
            say({"seconds": training.seconds})


if __name__ == "__main__":
    main()
