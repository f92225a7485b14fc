#!/usr/bin/env bash
# An environment with transformers 4.57.6, the last release that has Jukebox: benchmarks/setup_peer.sh DIR
set -euo pipefail
"${PYTHON:-python3}" -m venv "$1"
"$1/bin/pip" install --quiet torch==2.13.0
"$1/bin/pip" install --quiet "transformers==4.57.6" torch==2.13.0
echo "Give it to a benchmark as: --peer $1/bin/python"
