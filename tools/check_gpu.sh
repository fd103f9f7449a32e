#!/usr/bin/env bash
# Checks the cuda backend on a GPU and prints a plain summary: audit, mutants, fuzzing, graphs, token
# counts, slot outputs that may be rounded, compute-sanitizer, and faults injected into the
# environment.
# Usage: tools/check_gpu.sh [FOLDER]   the programs' folder, default build/release/bin
#   SECTIONS="audit fuzz"    only these (default: all of them); a name that no part has is an error
#   PART_SECONDS=1800        time for each part
# Exit status: 0 all right, 1 something is wrong, 2 SECTIONS is, 77 skipped because there is no usable
# GPU.
set -uo pipefail
parts=(audit mutants fuzz graphs tokens router rounding rounded memcheck memcheck-rounded racecheck
  racecheck-rounded errors no-device)
for name in ${SECTIONS:-}; do
  if [[ " ${parts[*]} " != *" $name "* ]]; then
    echo "SECTIONS holds \"$name\"; the parts are: ${parts[*]}"
    exit 2
  fi
done
bin=${1:-build/release/bin}
suite=$bin/gpu_suite
if [[ ! -x $suite ]]; then
  echo "skipped: $suite does not exist; build the target gpu_suite (needs nvcc)"
  exit 77
fi
"$suite" --only none >/dev/null 2>&1
if [[ $? -eq 77 ]]; then
  "$suite"
  exit 77
fi

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
wrong=0
started=()

wanted() { [[ -z ${SECTIONS:-} || " $SECTIONS " == *" $1 "* ]]; }

# run NAME COMMAND…: in the background, since most of the work is the host's oracle.
run() {
  local name=$1
  shift
  wanted "$name" || return 0
  { timeout "${PART_SECONDS:-1800}" "$@" >"$logs/$name" 2>&1; echo $? >"$logs/$name.status"; } &
  started+=("$name")
}

# finish: waits for all that run, and shows what they said.
finish() {
  wait
  local name status
  for name in "${started[@]}"; do
    status=$(cat "$logs/$name.status")
    echo "== $name (exit status $status)"
    tail -n 40 "$logs/$name"
    [[ $status -eq 0 ]] || wrong=$((wrong + 1))
  done
  started=()
}

run audit "$suite" --only audit
run mutants "$suite" --only mutants
run fuzz "$suite" --only fuzz
run graphs "$suite" --only graphs
run tokens "$suite" --only tokens
run router "$suite" --only router
run rounding "$suite" --only rounding
run rounded "$suite" --round-slot-outputs --cases 300 --only audit,fuzz,graphs,tokens
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    run "$tool" compute-sanitizer --tool "$tool" --error-exitcode 99 \
      "$suite" --brief --only fuzz,graphs,tokens,router
    run "$tool-rounded" compute-sanitizer --tool "$tool" --error-exitcode 99 \
      "$suite" --brief --round-slot-outputs --only fuzz,graphs
  done
else
  echo "memcheck, racecheck: skipped, compute-sanitizer is not on the PATH"
fi
finish
# Takes the device's memory away, so nothing else may run beside it.
run errors "$suite" --only errors
finish

if wanted no-device; then
  echo "== no-device (CUDA_VISIBLE_DEVICES is empty)"
  said=$(CUDA_VISIBLE_DEVICES="" "$bin/sluice" audit --backend cuda 2>&1)
  status=$?
  echo "$said"
  if [[ $status -eq 0 || $said != *"not available"* ]]; then
    echo "FAIL   an audit of cuda without a device must be refused"
    wrong=$((wrong + 1))
  fi
  if ! CUDA_VISIBLE_DEVICES="" SLUICE_BACKEND="" "$bin/sluice" audit --backend cpu --suite K >/dev/null; then
    echo "FAIL   the cpu backend must work without a device"
    wrong=$((wrong + 1))
  fi
fi

if ((wrong > 0)); then
  echo "$wrong of the parts above are wrong"
  exit 1
fi
echo "all right"
