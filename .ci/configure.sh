# Sourced by tests/run.sh, examples/run.sh and .ci/run, in the repository root.
#   configure <preset> <packages...>   cmake --preset <preset>, with the Debian packages it needs if they are missing
#   jobs                               how many compilers to run at once

jobs=$(nproc 2>/dev/null || sysctl -n hw.ncpu)

# Installs the packages if this machine lets us, else says which and ends.
need() {
  mkdir -p build
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    echo "Installing $*" >&2
    if { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y --no-install-recommends "$@"; } >build/apt.log 2>&1; then
      return
    fi
    tail -n 5 build/apt.log >&2
  fi
  printf 'Please install these packages (names of Debian and Ubuntu) and run this again:\n  sudo apt-get install %s\n' "$*" >&2
  exit 1
}

configure() {
  local preset=$1 log=build/$1.log
  shift
  mkdir -p build
  command -v cmake >/dev/null || need "$@"
  cmake --preset "$preset" >"$log" 2>&1 && return
  grep -A 3 'CMake Error' "$log" >&2 || true
  rm -rf "build/$preset/CMakeCache.txt" "build/$preset/CMakeFiles"
  need "$@"
  cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
}
