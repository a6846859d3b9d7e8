#!/usr/bin/env bash
# Print how many compilers to run at once: one a core, and 2 GB of memory for each.
set -euo pipefail
cores="$(nproc)"
memory="$(awk '/MemAvailable/ {print int($2 / 2000000)}' /proc/meminfo)"
jobs=$((memory < cores ? memory : cores))
echo $((jobs > 0 ? jobs : 1))
