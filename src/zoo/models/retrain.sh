#!/usr/bin/env bash
# Train every model of the zoo that ships again, hold each against its specification, and only then
# put it here. About an hour and a half of one core; two models at a time, one thread each.
#
#   src/zoo/models/retrain.sh [NAME ...]      default: all; mixed2 starts from trunk
#
# The tables of docs/zoo_models.md are build/retrain/NAME.md.
#
# Interrupted, it goes on where it stopped. The same machine and versions give the same bits.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
.ci/setup.sh >&2
work=build/retrain
mkdir -p "$work"
export PYTHONPATH="build/release/python${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS=1
tierod() { .venv/bin/python -m tierod "$@"; }

names=("$@")
((${#names[@]})) || names=(trunk mixed faithful_vision faithful_text decorative mixed2)

# $1 name: train unless it is there, hold it against its specification, put it in its place
make_model() {
  local name=$1 file="$work/$1.h5" from=()
  [[ "$name" == mixed2 ]] && from=(--trunk file:src/zoo/models/trunk.h5)
  [[ -e "$file" ]] || tierod zoo train "$name" --out "$file" "${from[@]}" 2>>"$work/$name.log"
  tierod zoo truth "file:$file" --markdown >"$work/$name.md" || {
    echo "retrain: $name misses its specification, see $work/$name.md" >&2
    return 1
  }
  cp "$file" "src/zoo/models/$name.h5"
  echo "src/zoo/models/$name.h5"
}

running=0
for name in "${names[@]}"; do
  [[ "$name" == mixed2 ]] && { while ((running)); do wait -n; running=$((running - 1)); done; }
  ((running == 2)) && { wait -n; running=$((running - 1)); }
  make_model "$name" &
  running=$((running + 1))
done
while ((running)); do wait -n; running=$((running - 1)); done
