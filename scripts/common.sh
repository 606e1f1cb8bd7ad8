# Sourced by the other scripts: where things are, and how a script speaks.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Downloads live outside the tree, so that a new clone or a clean build starts in seconds.
ZEROHOP_CACHE="${ZEROHOP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zerohop}"
export ZEROHOP_CACHE

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The folder of the Python environment that a requirements list describes.
# Keyed by content: another list is another environment, never a patched one.
venv_for() {
  printf '%s/venv-%s' "$ZEROHOP_CACHE" "$(cat "$@" | sha256sum | cut -c1-12)"
}
RUN_VENV="$(venv_for "$ROOT/scripts/requirements.txt")"
TEST_VENV="$(venv_for "$ROOT/scripts/requirements-test.txt")"
ENGINES_VENV="$(venv_for "$ROOT/scripts/requirements-engines.txt")"

site_packages() { echo "$1"/lib/python3*/site-packages; }

# What every build tree with tests is configured with.
TESTS=(-DZEROHOP_TEST_PYTHON="$TEST_VENV/bin/python" -DZEROHOP_TESTS=ON)

# build_asan [--target names]: everything but OpenVINO with address and undefined-behaviour sanitizers, and the
# fuzzers, which run in it. By clang: libFuzzer is a part of it, and g++ takes twice as long with these checks.
build_asan() {
  # CMake forgets options where the compiler of a tree changes.
  grep -qs 'CMAKE_CXX_COMPILER:.*clang' "$ROOT/build-asan/CMakeCache.txt" || rm -rf "$ROOT/build-asan"
  configure_and_build "$ROOT/build-asan" "${TESTS[@]}" -DCMAKE_CXX_COMPILER=clang++-14 -DZEROHOP_FUZZ=ON \
    -DZEROHOP_OPENVINO=OFF -DZEROHOP_BENCH=OFF -DZEROHOP_SANITIZE=address,undefined,fuzzer-no-link "$@"
}

# configure_and_build DIR [-Dcmake options] [--target names]: one build tree; what is already built is kept.
# Several files are compiled at once; whoever changes one at a time has a tree without ZEROHOP_UNITY.
configure_and_build() {
  local dir="$1" options=() targets=() log
  shift
  while [ $# -gt 0 ]; do
    case "$1" in
      --target) targets+=(--target "$2"); shift 2 ;;
      *) options+=("$1"); shift ;;
    esac
  done
  log="$(mktemp)"
  cmake -S "$ROOT" -B "$dir" -G Ninja -DOpenVINO_DIR="$(site_packages "$RUN_VENV")/openvino/cmake" -DZEROHOP_UNITY=ON \
    "${options[@]}" > "$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; die "cmake could not configure $dir"; }
  rm -f "$log"
  cmake --build "$dir" "${targets[@]}"
}
