#!/bin/sh
# Asserts that the object files compiled for one instruction set define no weak symbol: the linker
# keeps one copy of each, and could let code for a newer processor run on an older one.
#   tools/check_weak_symbols.sh BUILD_DIR
set -eu
build=${1:?usage: tools/check_weak_symbols.sh BUILD_DIR}
found=0
for name in sluice_kernels.dir/isa/avx2 sluice_kernels.dir/isa/avx512 \
    sluice_kernels.dir/isa/avx512_bf16 sluice_kernels.dir/isa/amx_bf16 \
    sluice_model.dir/blocks/primitives_avx2 sluice_model.dir/blocks/primitives_avx512; do
  object=$(find "$build" -path "*$name.cpp.o" | head -n 1)
  [ -n "$object" ] || continue
  found=$((found + 1))
  # V and W: weak, defined. u: unique, which behaves alike.
  weak=$(nm -C --defined-only "$object" | grep -E '^[0-9a-f]* [VWu] ' || true)
  if [ -n "$weak" ]; then
    echo "$object defines weak symbols:" >&2
    echo "$weak" >&2
    exit 1
  fi
done
if [ "$found" -eq 0 ]; then
  case $(uname -m) in
    x86_64) echo "no object files of src/kernels/isa under $build: build sluice_kernels and sluice_model" >&2; exit 1 ;;
  esac
fi
echo "no weak symbols in $found instruction-set object files"
