#!/usr/bin/env bash
# python/tierod/_core.pyi is generated from the built module and committed. Check that it is what the
# module says, and that it is a valid stub; --fix writes it anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rm -rf build/stubs
PYTHONPATH=build/release/python .venv/bin/pybind11-stubgen tierod._core \
  --output-dir build/stubs --exit-code --enum-class-locations '.*:tierod._core'
generated=build/stubs/tierod/_core.pyi
PYTHONPATH=build/release/python .venv/bin/python .ci/finish_stub.py "$generated" tierod._core
.venv/bin/ruff check --quiet --fix-only --config pyproject.toml --select I,UP,F401 "$generated"
.venv/bin/ruff format --quiet --config pyproject.toml "$generated"

if [[ "${1-}" == --fix ]]; then
  cp "$generated" python/tierod/_core.pyi
  cmake --preset release > /dev/null 2>&1
  echo "stubs: wrote python/tierod/_core.pyi"
elif ! diff -u python/tierod/_core.pyi "$generated"; then
  echo "stubs: python/tierod/_core.pyi is out of date; run .ci/stubs.sh --fix" >&2
  exit 1
fi
PYTHONPATH=build/release/python MYPYPATH=build/release/python \
  .venv/bin/python -m mypy.stubtest tierod._core --allowlist .ci/stubtest_allowlist.txt
