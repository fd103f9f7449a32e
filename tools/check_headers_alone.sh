#!/usr/bin/env bash
# Compiles every public header by itself, with nothing before it, as C++20 (plugin.h also as C11).
# Usage: tools/check_headers_alone.sh [CXX]
set -euo pipefail
cd "$(dirname "$0")/.."
cxx=${1:-g++}
for header in include/sluice/*.hpp include/sluice/*.h; do
  [ -e "$header" ] || continue
  "$cxx" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -Iinclude -include "$header" -x c++ /dev/null ||
    { echo "$header does not compile alone" >&2; exit 1; }
  if [[ $header == *.h ]]; then
    gcc -std=c11 -Wall -Wextra -Werror -pedantic -fsyntax-only -Iinclude -include "$header" -x c /dev/null ||
      { echo "$header does not compile as C11" >&2; exit 1; }
  fi
done
echo "every public header compiles alone"
