#!/usr/bin/env bash
# Installs the Python package into a fresh virtual environment and runs its tests there. Tests that
# need torch, FlashInfer or vLLM are skipped by name unless the environment has them.
# Usage: tools/check_python.sh [FOLDER for the environment; default build/python-venv]
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-build/python-venv}

"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet nanobind scikit-build-core ml_dtypes numpy pytest
if command -v ccache > /dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
# The environment's own build tools: nothing is downloaded twice.
"$venv/bin/pip" install --no-build-isolation --no-deps .
"$venv/bin/python" -m pytest -q -p no:cacheprovider python/tests
