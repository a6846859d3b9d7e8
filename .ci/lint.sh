#!/usr/bin/env bash
# Lint everything with one command.
#
#   .ci/lint.sh          formats, ruff, mypy, header rules; clang-tidy on what the branch changed
#   .ci/lint.sh --all    clang-tidy on every file
#   .ci/lint.sh --fix    let the formatters and ruff repair what they can, then check
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=0 fix=0
for arg in "$@"; do
  case "$arg" in
    --all) all=1 ;;
    --fix) fix=1 ;;
    *) echo "lint: unknown argument $arg" >&2; exit 2 ;;
  esac
done

failures=()
check() {
  local name="$1"
  shift
  printf -- '-- %s\n' "$name"
  "$@" || failures+=("$name")
}

# tracked files, and new ones that git does not ignore; deleted ones are still listed
existing() {
  git ls-files -z --cached --others --exclude-standard -- "$@" | sort -zu |
    while IFS= read -r -d '' file; do [[ ! -f "$file" ]] || printf '%s\n' "$file"; done
}
mapfile -t cpp_files < <(existing '*.h' '*.cpp')
mapfile -t python_files < <(existing '*.py' '*.pyi')

# An include of these in a public header costs every user half a minute a file, or a dependency.
header_rules() {
  ! grep -rnE '#include *[<"](torch/torch\.h|torch/extension\.h|torch/types\.h|ATen/ATen\.h|fmt/|hdf5|H5|nlohmann/)' \
    include/tierod
}
pragma_once() {
  local file rc=0
  for file in "${cpp_files[@]}"; do
    if [[ "$file" == *.h ]] && ! grep -q '^#pragma once' "$file"; then
      echo "$file: no #pragma once"
      rc=1
    fi
  done
  return $rc
}
no_leftovers() { ! git grep -nIE --untracked '\b(TO''DO|FIX''ME|X''XX)\b' -- ':!LICENSE'; }

if ((fix)); then
  .venv/bin/clang-format -i "${cpp_files[@]}"
  .venv/bin/ruff check --fix-only --quiet "${python_files[@]}"
  .venv/bin/ruff format --quiet "${python_files[@]}"
fi
check clang-format .venv/bin/clang-format --dry-run --Werror "${cpp_files[@]}"
check "ruff check" .venv/bin/ruff check --quiet "${python_files[@]}"
check "ruff format" .venv/bin/ruff format --check --quiet "${python_files[@]}"
check mypy .venv/bin/mypy
check "header rules" header_rules
check "pragma once" pragma_once
check leftovers no_leftovers
if ((all)); then check clang-tidy .ci/tidy.sh --all; else check clang-tidy .ci/tidy.sh; fi

if ((${#failures[@]})); then
  printf 'lint failed: %s\n' "${failures[@]}"
  exit 1
fi
echo "lint: clean"
