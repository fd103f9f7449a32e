#!/usr/bin/env bash
# Every environment variable that the code or a script reads is described in docs/environment.md.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=0
read_by_code() { grep -rhoE '(environment|getenv)\("[A-Z_]+"' src apps benchmarks python examples; }
# Scripts give what they read a default, with :- or :+.
read_by_scripts() { grep -hoE '\$\{[A-Z_]+:[-+]' run .ci/run tools/*.sh; }
for name in $({ read_by_code; read_by_scripts; } | grep -oE '[A-Z_]{2,}' | sort -u); do
  grep -q "\`$name\`" docs/environment.md || { echo "docs/environment.md lacks $name" >&2; missing=1; }
done
[ "$missing" = 0 ] && echo "every environment variable is documented"
exit "$missing"
