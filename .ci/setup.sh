#!/usr/bin/env bash
# Make a fresh Debian 12 machine ready: packages, .venv, and a release build. A second run takes
# seconds. Everything lands in .venv and build/; the system's Python is never touched.
#
#   .ci/setup.sh [--no-build]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=1
for arg in "$@"; do
  case "$arg" in
    --no-build) build=0 ;;
    *) echo "setup: unknown argument $arg" >&2; exit 2 ;;
  esac
done

say() { printf '== %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }
at_least() { [[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" == "$2" ]]; }

python="${PYTHON:-python3}"

missing_packages() {
  local need=()
  have g++ || need+=(g++)
  have cmake || need+=(cmake)
  have git || need+=(git)
  have ninja || need+=(ninja-build)
  have ccache || need+=(ccache)
  [[ -e /usr/include/gtest/gtest.h ]] || need+=(libgtest-dev)
  [[ -e /usr/include/nlohmann/json.hpp ]] || need+=(nlohmann-json3-dev)
  [[ -e /usr/include/boost/math/distributions/students_t.hpp ]] || need+=(libboost-dev)
  compgen -G "/usr/include/hdf5/serial/hdf5.h" >/dev/null || need+=(libhdf5-dev)
  [[ -e /usr/include/xxhash.h ]] || need+=(libxxhash-dev)
  if have "$python"; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || need+=(python3-venv)
    "$python" -c 'import os, sysconfig, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || need+=(python3-dev)
  else
    need+=(python3 python3-venv python3-dev)
  fi
  echo "${need[*]-}"
}

install_packages() {
  local packages="$1" as_root=()
  have apt-get || die "these are missing, and this is no Debian to install them on: $packages"
  if ((EUID != 0)); then
    have sudo || die "please run as root: apt-get install $packages (neither root nor sudo here)"
    as_root=(sudo)
    sudo -v || die "please run as root: apt-get install $packages (sudo was refused)"
  fi
  say "installing Debian packages: $packages"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
  # shellcheck disable=SC2086
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages
}

packages="$(missing_packages)"
if [[ -n "$packages" ]]; then
  install_packages "$packages"
  packages="$(missing_packages)"
  [[ -z "$packages" ]] || die "still missing after the installation: $packages"
fi

version="$("$python" -c 'import platform; print(platform.python_version())')"
at_least "$version" 3.11 || die "Python >= 3.11 is needed, $python is $version; set PYTHON=/path/to/python3.11"
version="$("${CXX:-g++}" -dumpfullversion)"
at_least "$version" 12 || die "g++ >= 12 is needed, this is $version; set CXX=g++-12"
version="$(cmake --version | sed -n '1s/[^0-9]*//p')"
at_least "$version" 3.25 || die "CMake >= 3.25 is needed, this is $version"

# --- .venv ---
stamp=.venv/.tierod-setup
wanted="$(sha256sum tests/requirements.txt | cut -d ' ' -f 1)"
if [[ ! -x .venv/bin/python ]] || ! .venv/bin/python -c '' 2>/dev/null; then
  say "creating .venv"
  "$python" -m venv --clear .venv
fi
if [[ ! -e $stamp || "$(<"$stamp")" != "$wanted" ]]; then
  say "installing Python packages into .venv"
  # byte code is half of the time, and is made when a module is first imported
  pip=(.venv/bin/python -m pip --disable-pip-version-check install --quiet --no-compile)
  # torch first and alone: what follows finds it installed and cannot drag in another build of it
  "${pip[@]}" "$(grep '^torch==' tests/requirements.txt)"
  "${pip[@]}" -r tests/requirements.txt
  site="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  echo "$PWD/build/release/python" > "$site/tierod-dev.pth"
  printf '#!/bin/sh\nexec "%s" -m tierod "$@"\n' "$PWD/.venv/bin/python" > .venv/bin/tierod
  chmod +x .venv/bin/tierod
  echo "$wanted" > "$stamp"
fi

# --- build ---
# The generator files are written last, so that their presence means a finished configuration.
if [[ ! -e build/release/build.ninja ]]; then
  say "configuring build/release"
  cmake --preset release
fi
if ((build)); then
  say "building build/release"
  cmake --build --preset release -j "$(.ci/jobs.sh)"
fi
