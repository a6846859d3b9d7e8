#!/usr/bin/env bash
# Set everything up, then capture and patch activations of a small C++ transformer and print what
# moved. A second run starts in seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.ci/setup.sh --no-build
cmake --build --preset release -j "$(.ci/jobs.sh)" --target example_quickstart
exec build/release/examples/quickstart "$@"
