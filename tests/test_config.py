"""What `show_config` says, and the kernel that the environment names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastboltz as fb
from fastboltz.config import config
from fastboltz_ext import packed, site_gibbs

SCRIPT = """
import hashlib, json
import numpy as np
import fastboltz as fb
from fastboltz.config import config
fb.show_config()
X = (np.random.default_rng(0).random((300, 90)) < 0.3).astype(np.float32)
rbm = fb.RBM(50, n_iter=2, batch_size=64, random_state=0).fit(X)
edges = [(i, (i + 1) % 90, (i + 5) % 90) for i in range(90)]
order = fb.HigherOrderBoltzmannMachine(edges=edges, n_iter=2, random_state=0).fit(X)
digest = hashlib.sha256()
for model in (rbm, order):
    for x in (*model.params_.values(), model.sample(100, 5)):
        digest.update(np.ascontiguousarray(x).tobytes())
print(json.dumps([config()["kernel"], config()["site_kernel"], digest.hexdigest()]))
"""


def _run(kernel, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "FASTBOLTZ_KERNEL"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(fb.__file__).parents[1]), *sys.path])
    if kernel is not None:
        environment["FASTBOLTZ_KERNEL"] = kernel
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_environment_chooses_the_kernel_and_no_byte_depends_on_it(tmp_path):
    """Catches a name that is not heeded, and output that names another kernel."""
    found = {}
    for name in (None, "", *packed.kernels()):
        done = _run(name, tmp_path)
        assert done.returncode == 0, done.stderr
        *lines, last = done.stdout.splitlines()
        kernel, site_kernel, found[name] = json.loads(last)
        assert kernel == (name or packed.kernels()[0])
        assert site_kernel == ("avx512" if kernel.startswith("avx512") else "portable")
        said = f"binary kernel    {kernel}" + (f" (FASTBOLTZ_KERNEL={name})" if name else "")
        assert said in lines
        assert f"site sweeps      {site_kernel}" in lines
    assert len(set(found.values())) == 1


def test_a_kernel_that_does_not_exist_is_refused_by_the_name_of_the_variable(tmp_path):
    done = _run("AVX2", tmp_path)
    assert done.returncode != 0
    assert "FASTBOLTZ_KERNEL: kernel 'AVX2' is not one that this processor can run" in done.stderr
    assert "'portable'" in done.stderr


def test_show_config_prints_what_config_holds(capsys):
    """Catches lines that are left out, and numbers of another process."""
    fb.show_config()
    said = capsys.readouterr().out
    c = config()
    assert c["kernel"] == packed.kernel()
    assert c["site_kernel"] == site_gibbs.kernel()
    assert c["kernels"][-1] == "portable"
    assert set(c["kernels"]) <= set(packed.kernels())
    for line in (
        f"fastboltz {fb.__version__}, Python {sys.version.split()[0]}, NumPy {np.__version__}",
        f"can run: {', '.join(c['kernels'])}",
        f"n_threads=None   {c['n_threads']}",
    ):
        assert line in said
    assert c["blas"]
    assert said.count("BLAS             ") == len(c["blas"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_model_samples_with_weights_that_are_no_numbers(value):
    """Catches rows of zeros, which is what NaN makes of draws."""
    X = (np.random.default_rng(0).random((40, 8)) < 0.3).astype(np.float32)
    rbm = fb.RBM(5, n_iter=1, random_state=0).fit(X)
    order = fb.HigherOrderBoltzmannMachine(order=2, n_iter=1, random_state=0).fit(X)
    for model in (rbm, order):
        next(x for x in model.params_.values() if x.ndim == 2)[...] = value
        with pytest.raises(ValueError, match="contains NaN or infinity"):
            model.sample(4, 2)
    with pytest.raises(ValueError, match="contains NaN or infinity"):
        rbm.gibbs(X)
