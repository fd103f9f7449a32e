#!/usr/bin/env bash
# Every environment variable that the code reads is described in docs/environment.md.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=0
for name in $(grep -rhoE '(environment|getenv)\("[A-Z_]+"' src apps benchmarks | grep -oE '[A-Z_]{3,}' | sort -u); do
  grep -q "\`$name\`" docs/environment.md || { echo "docs/environment.md lacks $name" >&2; missing=1; }
done
[ "$missing" = 0 ] && echo "every environment variable is documented"
exit "$missing"
