#!/usr/bin/env bash
# clang-tidy on the .cpp files that changed since the merge base with origin/main (on main itself:
# since the last commit), or on --all. A unit that includes torch takes about ten seconds, so without
# --all no new one is begun after 40 seconds, and what was left is said. A clean result is remembered
# under a key of the project's files that the unit includes, so that a second run goes on from there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

changed() {
  local base head
  head="$(git rev-parse --verify --quiet HEAD || true)"
  base="$(git merge-base HEAD origin/main 2> /dev/null || echo "$head")"
  if [[ -n "$base" && "$base" == "$head" ]]; then
    base="$(git rev-parse --verify --quiet 'HEAD~' || true)"
  fi
  if [[ -z "$base" ]]; then
    echo "clang-tidy: no earlier commit to compare with; --all checks every file" >&2
  else
    git diff --name-only --diff-filter=d "$base"
  fi
  git ls-files --others --exclude-standard
}

candidates() {
  if [[ "${1-}" == --all ]]; then
    git ls-files --cached --others --exclude-standard
  else
    # a changed header is checked through the unit of its name
    changed | sed -E 's#^include/tierod/(.*)\.h$#src/\1.cpp#; s#(_internal)?\.h$#.cpp#'
  fi | grep -E '^(src|python/bindings|examples/cpp)/.*\.cpp$' | sort -u
}

mapfile -t files < <(candidates "$@" | while IFS= read -r file; do [[ ! -f "$file" ]] || echo "$file"; done)
if ((${#files[@]} == 0)); then
  echo "clang-tidy: nothing changed"
  exit 0
fi

cache=build/tidy
mkdir -p "$cache"
deadline=0
[[ "${1-}" == --all ]] || deadline=$(($(date +%s) + 40))
ninja -C build/release -t deps > "$cache/deps"

# What the unit's own compilation included of this project; all headers where it was never compiled.
includes() {
  local found
  found="$(awk -v unit="/$1.o:" '
    index($0, unit) { on = 1; next }
    /^$/ { on = 0 }
    on && $1 ~ "^../../(include|src|python|examples)/" { print substr($1, 7) }' "$2/deps" | sort)"
  if [[ -n "$found" ]]; then echo "$found"; else find include src examples/cpp -name '*.h' | sort; fi
}

tidy_one() {
  local file="$1" cache="$2" deadline="$3" key start="$SECONDS"
  key="$({ echo "$file"; .venv/bin/clang-tidy --version; cat .clang-tidy "$file"
    includes "$file" "$cache" | xargs cat; } | sha256sum | cut -d ' ' -f 1)"
  if [[ -e "$cache/$key" ]]; then
    return 0
  fi
  if ((deadline && $(date +%s) > deadline)); then
    printf '   %s: left to --all\n' "$file"
    return 0
  fi
  # the compile database holds g++'s command lines; libstdc++ itself uses what it deprecates
  if ! .venv/bin/clang-tidy --quiet -p build/release --extra-arg=-Wno-unknown-warning-option \
    --extra-arg=-Wno-deprecated-declarations "$file" > "$cache/$key.log" 2>&1; then
    sed '/warnings generated/d' "$cache/$key.log"
    return 1
  fi
  mv "$cache/$key.log" "$cache/$key"
  printf '   %s (%d s)\n' "$file" $((SECONDS - start))
}
export -f tidy_one includes

printf '%s\0' "${files[@]}" |
  xargs -0 -P "$(.ci/jobs.sh)" -I {} bash -euo pipefail -c 'tidy_one "$@"' _ {} "$cache" "$deadline"
echo "clang-tidy: no complaint in ${#files[@]} files"
