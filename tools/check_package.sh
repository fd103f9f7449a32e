#!/usr/bin/env bash
# Installs a build into a scratch prefix and builds, links and runs a consumer against the copy.
# Usage: tools/check_package.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$1" --prefix "$scratch/prefix" > /dev/null
cmake -S tests/package -B "$scratch/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$scratch/prefix" > /dev/null
cmake --build "$scratch/build" > /dev/null
"$scratch/build/consumer"
echo "find_package(Sluice) works"
