"""The kernels under the sanitizers, and AVX-512 without the processor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastboltz_ext import packed

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "kernels" / "call_all.sh"


def _reason_to_skip(libraries=()):
    if sys.platform != "linux":
        return "the script preloads a library as Linux does"
    if not (ROOT / "setup.py").exists() or not list((ROOT / "fastboltz_ext").glob("*.pyx")):
        return "the sources of the extension are not here"
    gcc = shutil.which("gcc")
    if gcc is None or shutil.which("sh") is None:
        return "there is no gcc"
    for library in libraries:
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


def _call_all(how):
    environment = os.environ | {"PYTHON": sys.executable}
    environment.pop("FASTBOLTZ_KERNEL", None)
    done = subprocess.run(
        ["sh", str(SCRIPT), how], env=environment, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(
        "clean: averages philox layers recurrent updates site_gibbs packed"
    )
    return done.stdout


def test_kernels_read_and_write_only_what_is_theirs():
    """Every kernel over odd sizes. Catches an entry too far, misaligned loads, sums that overflow.

    A few minutes, most of them spent in the compiler.
    """
    reason = _reason_to_skip(("libasan.so", "libubsan.so"))
    if reason:
        pytest.skip(reason)
    _call_all("sanitized")


def test_avx512_gives_the_same_bytes_without_the_processor():
    """The code for AVX-512, its intrinsics in plain C, beside the portable code over odd sizes.

    Catches what a machine without AVX-512 would let pass, and, on one that has it, an intrinsic
    that is not written out. About a minute.
    """
    reason = _reason_to_skip()
    if reason:
        pytest.skip(reason)
    if "avx2" not in packed.kernels():
        pytest.skip("the plain C stands on AVX2, which this processor does not have")
    said = _call_all("emulated")
    assert " avx512 and avx512 tables " in said
    assert said.rstrip().endswith("site sweeps with scalar and portable and avx512")
