"""The kernels under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "sanitizers" / "sanitize.sh"


def _reason_to_skip():
    if sys.platform != "linux":
        return "the script preloads a library as Linux does"
    if not (ROOT / "setup.py").exists() or not list((ROOT / "fastboltz_ext").glob("*.pyx")):
        return "the sources of the extension are not here"
    gcc = shutil.which("gcc")
    if gcc is None or shutil.which("sh") is None:
        return "there is no gcc"
    for library in ("libasan.so", "libubsan.so"):
        found = subprocess.run(
            [gcc, f"-print-file-name={library}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if not Path(found).is_file():
            return f"gcc has no {library}"
    for module in ("Cython", "setuptools"):
        try:
            __import__(module)
        except ImportError:
            return f"building needs {module}"
    return None


def test_kernels_read_and_write_only_what_is_theirs():
    """Every kernel over odd sizes. Catches an entry too far, misaligned loads, sums that overflow.

    Under a minute, most of it spent in the compiler.
    """
    reason = _reason_to_skip()
    if reason:
        pytest.skip(reason)
    environment = os.environ | {"PYTHON": sys.executable}
    environment.pop("FASTBOLTZ_KERNEL", None)
    done = subprocess.run(
        ["sh", str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("clean: philox layers updates site_gibbs packed")
