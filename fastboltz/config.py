"""What was compiled, what the processor has, and which kernels run."""

from __future__ import annotations

import platform
import sys
from typing import Any

from . import threads


def config() -> dict[str, Any]:
    """Versions, kernels, threads and BLAS, as data.

    Returns
    -------
    dict
        ``fastboltz``, ``python``, ``numpy``, ``scipy``, ``machine``; ``openmp`` (whether the
        extensions were built with it), ``kernel`` (which code sums binary units: ``"avx512"``,
        ``"avx2"`` or ``"portable"``), ``kernels`` (those that the processor can run),
        ``site_kernel`` (which code sweeps site by site over hyperedges: ``"avx512"``,
        ``"portable"`` or ``"scalar"``), ``n_threads`` (what ``n_threads=None`` means now), ``blas``
        (the libraries that are loaded).
    """
    import numpy as np
    import scipy
    import scipy.linalg
    from threadpoolctl import threadpool_info

    from fastboltz_ext import layers, packed, processor, site_gibbs

    from . import __version__

    return {
        "fastboltz": __version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "machine": platform.machine(),
        "openmp": layers.has_openmp(),
        "kernel": packed.kernel(),
        "kernels": processor.kernels(),
        "site_kernel": site_gibbs.kernel(),
        "n_threads": threads.resolve(None),
        "blas": [
            {k: pool.get(k) for k in ("internal_api", "version", "architecture", "num_threads")}
            for pool in threadpool_info()
            if pool.get("user_api") == "blas"
        ],
    }


def show_config() -> None:
    """Print `config`: what to send along with a report of a fault or of a speed."""
    from fastboltz_ext import processor

    c = config()
    yes = {True: "yes", False: "no"}
    forced = processor.asked()
    why = f" (FASTBOLTZ_KERNEL={forced})" if forced else ""
    lines = [
        f"fastboltz {c['fastboltz']}, Python {c['python']}, NumPy {c['numpy']}, SciPy {c['scipy']}",
        f"processor        {c['machine']}, can run: {', '.join(c['kernels'])}",
        f"built with       OpenMP: {yes[c['openmp']]}",
        f"binary kernel    {c['kernel']}{why}",
        f"site sweeps      {c['site_kernel']}",
        f"n_threads=None   {c['n_threads']}",
    ]
    lines += [
        f"BLAS             {b['internal_api']} {b['version']}, kernels for {b['architecture']}, "
        f"{b['num_threads']} threads"
        for b in c["blas"]
    ]
    print("\n".join(lines))
