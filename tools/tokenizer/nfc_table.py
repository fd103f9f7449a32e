#!/usr/bin/env python3
"""Writes src/tokenizer/nfc_table.cpp: what canonical composition needs, from this Python's Unicode data.

Ids must equal those of HF `tokenizers`, whose normalizer has older Unicode data: characters that it does not know yet
are left out, so that they stay as they are here too.

    tools/tokenizer/nfc_table.py > src/tokenizer/nfc_table.cpp
"""

import sys
import unicodedata

import tokenizers

ORACLE = tokenizers.normalizers.NFC()
MARKS = ("\u0334", "\u0345")  # of the lowest and the highest combining class

HANGUL = range(0xAC00, 0xAC00 + 11172)  # composed by arithmetic


def known(text):
    return ORACLE.normalize_str(text) == unicodedata.normalize("NFC", text)


def decompositions():
    """(code, first, second, composes): second is 0 for a character that stands for one other."""
    for code in range(sys.maxunicode + 1):
        mapping = unicodedata.decomposition(chr(code))
        if not mapping or mapping.startswith("<") or code in HANGUL:
            continue
        parts = [int(part, 16) for part in mapping.split()]
        assert len(parts) <= 2
        if not known("".join(map(chr, parts))):
            continue
        composes = len(parts) == 2 and unicodedata.normalize("NFC", chr(code)) == chr(code)
        yield code, parts[0], parts[1] if len(parts) == 2 else 0, composes


def combining_ranges():
    """(first, last, combining class), class 0 left out."""
    ranges = []
    for code in range(sys.maxunicode + 1):
        combining = unicodedata.combining(chr(code))
        if combining == 0 or not all(known("a" + chr(code) + m) and known("a" + m + chr(code)) for m in MARKS):
            continue
        if ranges and ranges[-1][1] == code - 1 and ranges[-1][2] == combining:
            ranges[-1][1] = code
        else:
            ranges.append([code, code, combining])
    return ranges


def rows(items, width=100):
    line = "   "
    for item in items:
        if len(line) + 1 + len(item) + 1 > width:
            yield line
            line = "   "
        line += " " + item + ","
    yield line


def main():
    print(f"// Made by tools/tokenizer/nfc_table.py from Unicode {unicodedata.unidata_version} as far as "
          f"tokenizers {tokenizers.__version__} knows it. Not to be edited.")
    print('#include "tokenizer/nfc_table.hpp"\n')
    print("namespace sluice::tokenizer {\n\nnamespace {\n\n// clang-format off")
    print("constexpr Decomposition kDecompositions[] = {")
    print("\n".join(rows(f"{{0x{c:X},0x{a:X},0x{b:X},{int(p)}}}" for c, a, b, p in decompositions())))
    print("};\n\nconstexpr CombiningRange kCombiningRanges[] = {")
    print("\n".join(rows(f"{{0x{a:X},0x{b:X},{c}}}" for a, b, c in combining_ranges())))
    print("};\n// clang-format on\n\n}  // namespace\n")
    print("std::span<const Decomposition> decompositions() { return kDecompositions; }")
    print("std::span<const CombiningRange> combining_ranges() { return kCombiningRanges; }\n")
    print("}  // namespace sluice::tokenizer")


if __name__ == "__main__":
    main()
