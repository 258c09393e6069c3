#!/bin/sh
# Build the extension into a temporary folder and call every kernel over odd sizes, which also compares
# the kernels' bytes. The checkout is left as it is.
#
#     tests/kernels/call_all.sh sanitized [arguments of kernels.py]
#     tests/kernels/call_all.sh emulated [arguments of kernels.py]
#
# sanitized: with the address and undefined-behaviour sanitizers; fails on any report.
# emulated: AVX-512 with its intrinsics in plain C (emulated_avx512.h), for processors that lack it.
#
# PYTHON and CC choose the programs.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python}
cc=${CC:-gcc}
preload=""
case "${1:-}" in
sanitized)
    flags="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
    # A bare name comes back where the compiler does not have the library.
    preload=$("$cc" -print-file-name=libasan.so)
    if [ ! -f "$preload" ]; then
        echo "$cc has no libasan" >&2
        exit 77
    fi
    ;;
emulated)
    flags="-DFB_EMULATED -I$here"
    ;;
*)
    sed -n '2,11p' "$0" >&2
    exit 2
    ;;
esac
shift

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

kept = [flag for flag in setup.UNIX_FLAGS if not flag.startswith("-O")]
setup.UNIX_FLAGS = [*kept, "-O1", "-g", *"$flags".split()]
sys.argv = ["setup.py", "build_ext", "--build-lib", "lib", "--build-temp", "objects"]
setup.main()
EOF
(cd "$folder" && CC="$cc" LDFLAGS="${LDFLAGS:-} $flags" "$python" build.py) \
    > "$folder/build.log" 2>&1 || {
    cat "$folder/build.log" >&2
    exit 1
}

# Python's own memory comes from malloc, so that its blocks have guards too. Python is not built
# for the search of leaks.
if [ -n "$preload" ]; then
    export LD_PRELOAD="$preload" PYTHONMALLOC=malloc
    export ASAN_OPTIONS="detect_leaks=0:abort_on_error=0:${ASAN_OPTIONS:-}"
    export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
fi
PYTHONPATH="$folder/lib" OPENBLAS_NUM_THREADS=1 "$python" -P "$here/kernels.py" "$folder/lib" "$@"
