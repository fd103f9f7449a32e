"""Golden regular expressions: what Oniguruma, as HF `tokenizers` uses it, makes of random patterns.

tests/data/regexes/regexes.json: `cases` of [pattern, [[text, pieces] ...]] where pieces are what is left of the text when
every match is removed.
Patterns that need what PCRE2 lacks (lookbehind of no fixed length), or that Oniguruma refuses, are left out.
"""

import random
import re

import tokenizers
from tokenizers import Regex, pre_tokenizers

import common

LITERALS = list("aAbBcsS1 2'\n.-_\u00e9\u4e2d\u00df") + ["\\n", "\\.", "\\-", "\\x41", "\\u4e2d", "\\x{e9}"]
CLASS_ITEMS = ["a", "b-d", "A-Z", "0-9", "_", " ", "\\s", "\\d", "\\w", "\\S", "\\p{L}", "\\P{L}", "\\p{Han}", "\\n", "\u00e9", "\u4e2d", "\\-", "."]
SETS = ["\\s", "\\S", "\\w", "\\d", "\\p{L}", "\\p{N}", "\\P{N}", ".", "\\h"]
ANCHORS = ["^", "$", "\\b", "\\B", "\\A", "\\z", "\\Z"]
GROUPS = ["(?:", "(", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?m:", "(?<x>"]
QUANTIFIERS = ["", "", "", "", "*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{1,2}", "{,2}", "{1,}", "{1,2}?", "{2}?", "{1,2}+"]
TEXT = list("aaAbBcsS12 \n'._-\u00e9\u4e2d\u00dfk") + ["\u0301", "\u3000", "\u017f"]


class Patterns:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def character_class(self, depth=0):
        rng = self.rng
        items = "".join(self.character_class(depth + 1) if depth < 2 and rng.random() < 0.15 else rng.choice(CLASS_ITEMS)
                        for _ in range(rng.randrange(1, 4)))
        if rng.random() < 0.15:
            items += "&&" + rng.choice(["[^a]", "\\p{L}", "a-z", "[\\p{Lu}b]"])
        return "[" + ("^" if rng.random() < 0.25 else "") + items + "]"

    def sequence(self, depth):
        out = ""
        for _ in range(self.rng.randrange(1, 4)):
            atom = self.atom(depth)
            fixed = atom in ANCHORS or atom.startswith(("(?=", "(?!", "(?<=", "(?<!"))
            out += atom + ("" if fixed else self.rng.choice(QUANTIFIERS))
        return out

    def atom(self, depth):
        rng = self.rng
        kind = rng.random()
        if kind < 0.45 or depth > 2:
            return rng.choice(LITERALS)
        if kind < 0.65:
            return self.character_class()
        if kind < 0.75:
            return rng.choice(SETS)
        if kind < 0.82:
            return rng.choice(ANCHORS)
        group = rng.choice(GROUPS)
        if group in ("(?<=", "(?<!"):
            return group + rng.choice(LITERALS + SETS) + ")"
        return group + self.pattern(depth + 1) + ")"

    def pattern(self, depth=0):
        return "|".join(self.sequence(depth) for _ in range(1 if self.rng.random() < 0.6 else 2))

    def text(self):
        return "".join(self.rng.choice(TEXT) for _ in range(self.rng.randrange(0, 14)))


def removed(pattern, text):
    return [piece for piece, _ in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(text)]


def random_cases(count):
    patterns = Patterns(seed=11)
    cases = []
    while len(cases) < count:
        pattern = patterns.pattern()
        texts = [patterns.text() for _ in range(40)]
        try:
            results = [[t, removed(pattern, t)] for t in texts]
        except Exception:  # Oniguruma's own refusals have no class of their own
            continue
        # Texts on which the pattern cuts somewhere, but not everywhere, say the most.
        telling = sorted(results, key=lambda r: -min(len(r[1]), 3))[:3]
        if re.search("\\\\b|\\\\B", pattern) and "(?<" in pattern:
            continue
        if any(len(r[1]) > 1 for r in telling):
            cases.append([pattern, telling])
    return cases


def main():
    path = common.fresh_dir("regexes")
    common.write_json(path / "regexes.json", {
        "versions": f"tokenizers {tokenizers.__version__}",
        "cases": random_cases(300),
    })
    print(common.directory_bytes(path) // 1024, "KiB")


if __name__ == "__main__":
    main()
