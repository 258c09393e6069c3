#!/bin/sh
# Build the extension with the address and undefined-behaviour sanitizers into a temporary folder,
# and call every kernel over odd sizes. Fails on any report; the checkout is left as it is.
#
#     tests/sanitizers/sanitize.sh [arguments of kernels.py]
#
# PYTHON and CC choose the programs.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python}
cc=${CC:-gcc}
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=all"

# A bare name comes back where the compiler does not have the library.
library=$("$cc" -print-file-name=libasan.so)
if [ ! -f "$library" ]; then
    echo "$cc has no libasan" >&2
    exit 77
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$folder/fastboltz_ext" "$folder/lib" "$folder/lib/fastboltz_ext"
cp "$root/setup.py" "$folder/"
cp "$root"/fastboltz_ext/*.pyx "$root"/fastboltz_ext/*.pxd "$root"/fastboltz_ext/*.h \
    "$root"/fastboltz_ext/*.py "$folder/fastboltz_ext/"
cp "$root"/fastboltz_ext/*.py "$folder/lib/fastboltz_ext/"

# The flags of setup.py, but for the level of optimisation.
cat > "$folder/build.py" <<EOF
import sys

import setup

flags = [flag for flag in setup.UNIX_FLAGS if not flag.startswith("-O")]
setup.UNIX_FLAGS = [*flags, "-O1", "-g", "-fno-omit-frame-pointer", *"$sanitizers".split()]
sys.argv = ["setup.py", "build_ext", "--build-lib", "lib", "--build-temp", "objects"]
setup.main()
EOF
(cd "$folder" && CC="$cc" LDFLAGS="${LDFLAGS:-} $sanitizers" "$python" build.py) \
    > "$folder/build.log" 2>&1 || {
    cat "$folder/build.log" >&2
    exit 1
}

# Python's own memory comes from malloc, so that its blocks have guards too. Python is not built
# for the search of leaks.
LD_PRELOAD="$library" PYTHONPATH="$folder/lib" PYTHONMALLOC=malloc \
    ASAN_OPTIONS="detect_leaks=0:abort_on_error=0:${ASAN_OPTIONS:-}" \
    UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}" \
    OPENBLAS_NUM_THREADS=1 "$python" -P "$here/kernels.py" "$folder/lib" "$@"
