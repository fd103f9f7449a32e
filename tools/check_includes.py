#!/usr/bin/env python3
"""Checks that includes go one way: a folder uses only folders above it in ORDER, and itself.

Usage: tools/check_includes.py [ROOT]    (ROOT: the tree to check, by default the script's own)
Prints every offending include and exits with 1 if there is one, or if there is nothing to check.
"""

import pathlib
import re
import sys

# The layers, lowest first; ARCHITECTURE.md says what each is for. Public headers include only
# public headers.
ORDER = [
    "include/sluice", "src/base", "src/spec", "src/formats", "src/kernels", "src/routing",
    "src/backends", "src/collective", "src/layer", "src/checkpoint", "src/audit", "src/tokenizer",
    "src/model", "src/generate", "src/eval", "benchmarks", "apps", "python/src",
]
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)
SUFFIXES = {".hpp", ".cpp", ".inl", ".h", ".c", ".cu", ".cuh"}


def layer_of(path: str) -> int | None:
    for index, folder in enumerate(ORDER):
        if path == folder or path.startswith(folder + "/"):
            return index
    return None


def target_of(root: pathlib.Path, including: pathlib.Path, kind: str, name: str) -> str | None:
    """The file in this tree that an include names; None for a system or library header."""
    if kind == "<":
        return f"include/{name}" if name.startswith("sluice/") else None
    for base in ("src", "benchmarks", "apps/sluice", str(including.parent.relative_to(root))):
        if (root / base / name).is_file():
            return f"{base}/{name}"
    return "missing"


def check(root: pathlib.Path) -> list[str]:
    problems = []
    files = [f for top in ("include", "src", "benchmarks", "apps", "python/src")
             for f in (root / top).rglob("*")
             if f.suffix in SUFFIXES]
    if not files:
        return [f"{root}: no source files there"]
    for file in sorted(files):
        own = file.relative_to(root).as_posix()
        own_layer = layer_of(own)
        if own_layer is None:
            problems.append(f"{own}: its folder is not in the order of layers")
            continue
        for kind, name in INCLUDE.findall(file.read_text(encoding="utf-8")):
            target = target_of(root, file, kind, name)
            if target is None:
                continue
            target_layer = layer_of(target)
            if target_layer is None:
                problems.append(f"{own}: includes \"{name}\", which is not in this tree")
            elif target_layer > own_layer:
                problems.append(f"{own}: includes {target}, which stands above it")
    return problems


def main() -> int:
    own = pathlib.Path(__file__).resolve().parents[1]
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else own
    problems = check(root)
    print("\n".join(problems) if problems else "includes go one way")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
