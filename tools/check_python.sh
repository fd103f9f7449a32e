#!/usr/bin/env bash
# Runs the Python package's tests in an environment of its own (build/python-venv). With a build at
# hand only the bindings are compiled, against its static libraries; without one, or with --pip, it
# is `pip install .`. Needs python3-dev and python3-venv, and a network for pip. Tests that need
# torch, FlashInfer or vLLM are skipped by name unless the interpreter has them.
# Usage: tools/check_python.sh [--pip | BUILD_DIR]    (BUILD_DIR: build/release, as ./run test makes
# it; PYTHON=… chooses the interpreter)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=$PWD/build/python-venv
release=${1:-build/release}

if ! "$python" -c 'import ensurepip, sysconfig, os, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' 2> /dev/null; then
  echo "tools/check_python.sh needs Python's headers and venv: apt-get install python3-dev python3-venv"
  exit 2
fi
"$python" -m venv --clear "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check \
  nanobind scikit-build-core numpy ml_dtypes pytest jsonschema mypy

# torch is large: it is used where the interpreter has it, behind everything of the environment's own.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
torch=$("$python" -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])' 2> /dev/null || true)
if [[ -n $torch ]]; then
  echo "$torch" > "$site/torch_of_interpreter.pth"
else
  echo "$python has no torch: tests with torch tensors are skipped"
fi

if [[ -e $release/src/audit/libsluice_audit.a ]]; then
  release=$(realpath "$release")
  echo "compiling the bindings against $release"
  # What the build is configured for is left as it was found.
  trap 'cmake -B "$release" -DSLUICE_BUILD_PYTHON=OFF > /dev/null' EXIT
  cmake -B "$release" -DSLUICE_BUILD_PYTHON=ON -DPython_EXECUTABLE="$venv/bin/python" > /dev/null
  cmake --build "$release" --target sluice_python_package
  echo "$release/python" > "$site/sluice_of_release.pth"
else
  if command -v ccache > /dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
  # The environment's own build tools: nothing is downloaded twice.
  "$venv/bin/pip" install --no-build-isolation --no-deps .
fi
echo "built after $SECONDS s"
PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" -m pytest -q -rs -p no:cacheprovider python/tests
echo "done after $SECONDS s"
