"""Build of the compiled extension `fastboltz_ext`; everything else is in pyproject.toml."""

import os
import sys
import tempfile
from glob import glob
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

#: The same for every extension. The headers are dependencies: editing one rebuilds all.
EXTENSION_ARGUMENTS = {
    "include_dirs": ["fastboltz_ext", np.get_include()],
    "depends": sorted(glob("fastboltz_ext/*.h") + glob("fastboltz_ext/*.pxd")),
    "define_macros": [
        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
        ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
    ],
}

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
}

# Never -ffast-math: it breaks the rounding trick of the exponential, and linking with it turns on
# flush-to-zero for the whole process. Never -march=native: the loops choose their instruction set
# when they are loaded. -ffp-contract=off: the same bits whatever that set is.
UNIX_FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
# A pointer that is taken for a number is a fault, which C lets pass with a warning.
UNIX_FLAGS += ["-Werror=int-conversion", "-Werror=incompatible-pointer-types"]
MSVC_FLAGS = ["/O2", "/fp:precise"]

#: Compile and link flags to try for OpenMP, by type of compiler.
OPENMP_FLAGS = {
    "unix": [(["-fopenmp"], ["-fopenmp"]), (["-Xpreprocessor", "-fopenmp"], ["-lomp"])],
    "msvc": [(["/openmp"], [])],
}

OPENMP_PROGRAM = """
#include <omp.h>
int main(void) { return omp_get_max_threads() > 0 ? 0 : 1; }
"""


def openmp_flags(compiler):
    """Flags with which a small OpenMP program compiles and links, or None."""
    for compile_flags, link_flags in OPENMP_FLAGS.get(compiler.compiler_type, []):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(OPENMP_PROGRAM)
            try:
                objects = compiler.compile(
                    [str(source)], output_dir=folder, extra_postargs=compile_flags
                )
                compiler.link_executable(
                    objects, str(Path(folder, "probe")), extra_postargs=link_flags
                )
            except Exception:  # whatever the compiler says, the answer is no
                continue
        return compile_flags, link_flags
    return None


class BuildExtensions(build_ext):
    """Chooses the flags of the compiler at hand and builds the extensions side by side."""

    def finalize_options(self):
        super().finalize_options()
        if not self.parallel:
            self.parallel = os.cpu_count() or 1

    def build_extensions(self):
        flags = MSVC_FLAGS if self.compiler.compiler_type == "msvc" else UNIX_FLAGS
        openmp = openmp_flags(self.compiler)
        if openmp is None:
            print(
                "fastboltz: no OpenMP with this compiler (on macOS: brew install libomp). "
                "Building without it: results are the same, on one thread.",
                file=sys.stderr,
            )
        compile_flags, link_flags = openmp or ([], [])
        for extension in self.extensions:
            extension.extra_compile_args = flags + compile_flags
            extension.extra_link_args = link_flags
        super().build_extensions()


def main():
    """Declare one extension for every .pyx file."""
    extensions = [
        Extension(f"fastboltz_ext.{Path(source).stem}", [source], **EXTENSION_ARGUMENTS)
        for source in sorted(glob("fastboltz_ext/*.pyx"))
    ]
    setup(
        # The generated C goes to build/, away from the C that is written by hand.
        ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, build_dir="build"),
        cmdclass={"build_ext": BuildExtensions},
    )


if __name__ == "__main__":
    main()
