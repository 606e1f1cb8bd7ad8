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

site_packages() { echo "$1"/lib/python3*/site-packages; }

# configure_and_build DIR [cmake arguments]: one build tree, with what is already built kept.
configure_and_build() {
  local dir="$1"; shift
  if [ ! -f "$dir/build.ninja" ]; then
    cmake -S "$ROOT" -B "$dir" -G Ninja -DOpenVINO_DIR="$(site_packages "$RUN_VENV")/openvino/cmake" "$@" \
      > "$ZEROHOP_CACHE/configure.log" 2>&1 || { cat "$ZEROHOP_CACHE/configure.log" >&2; die "cmake could not configure $dir"; }
  fi
  cmake --build "$dir"
}
