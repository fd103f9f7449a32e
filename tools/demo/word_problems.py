#!/usr/bin/env python3
"""Deterministic generator of word problems in GSM8K's JSONL format.

Each line is {"question": ..., "answer": "reasoning lines\n#### N"}. Problem i of a seed is always the same text, and the
worked answer is a function of the question alone, so a model can be judged token by token.

Train, validation and test are disjoint by construction: a problem belongs to the split that the SHA-256 of its question
says, whatever seed or index produced it.

    word_problems.py --split test --count 500 --seed 2026 --out demo/problems/test.jsonl
    word_problems.py --check demo/problems/test.jsonl
"""

import argparse
import hashlib
import json
import random
import re

NAMES = ("Ada Ben Chloe Dev Elena Finn Grace Hugo Iris Jonas Kira Liam Maya Noah Olga Pedro Rosa Sami Tess Umar Vera Will Yara Zoe").split()
ITEMS = ("pens cards shells coins stamps beads books marbles tiles seeds nails bolts candles buttons pears plums ribbons stickers bricks cups").split()
PACKS = "packs boxes bags crates".split()
SPLIT_NAMES = ("train", "validation", "test")


def split_of(question: str) -> str:
    """2 % test, 2 % validation, the rest train, decided by the question's text only."""
    bucket = int.from_bytes(hashlib.sha256(question.encode()).digest()[:4], "big") % 100
    return "test" if bucket < 2 else "validation" if bucket < 4 else "train"


class Story:
    """A problem under construction: sentences of the question, lines of the answer."""

    def __init__(self, rng: random.Random, largest: int, operand: int):
        self.rng, self.largest, self.operand = rng, largest, operand
        self.sentences, self.lines = [], []

    def finish(self, question: str, result: int) -> dict:
        return {"question": " ".join(self.sentences + [question]), "answer": "\n".join(self.lines + [f"#### {result}"])}

    def factors(self, limit: int):
        """Two factors, 2..9 and 12..99, whose product is at most `limit`; None if there is no room."""
        if limit < 2 * 12:
            return None
        count = self.rng.randint(2, min(9, limit // 12))
        return count, self.rng.randint(12, min(99, limit // count))


def inventory(s: Story, steps: int) -> dict:
    """One person's stock, changed `steps` times; every new total has to be right for the next."""
    rng = s.rng
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    total = rng.randint(15, s.operand)
    s.sentences.append(f"{name} has {total} {item}.")
    last = None
    for _ in range(steps):
        while True:
            kind = rng.choice(("add", "add", "sub", "sub", "buy", "buy", "sell", "times", "share"))
            if kind == last and kind in ("times", "share"):
                continue
            if kind == "add" and s.largest - total >= 11:
                n = rng.randint(11, min(s.operand, s.largest - total))
                s.sentences.append(rng.choice((f"{name} finds {n} more.", f"A friend brings {n} more.")))
                s.lines.append(f"{total}+{n}={total + n} {item}.")
                total += n
            elif kind == "sub" and total >= 13:
                n = rng.randint(11, min(s.operand, total - 2))
                s.sentences.append(rng.choice((f"{name} gives away {n}.", f"{name} loses {n}.", f"{name} sells {n}.")))
                s.lines.append(f"{total}-{n}={total - n} {item}.")
                total -= n
            elif kind == "buy" and (f := s.factors(s.largest - total)):
                s.sentences.append(f"{name} buys {f[0]} {rng.choice(PACKS)} of {f[1]}.")
                n = f[0] * f[1]
                s.lines.append(f"{f[0]}*{f[1]}={n}, {total}+{n}={total + n} {item}.")
                total += n
            elif kind == "sell" and (f := s.factors(total - 2)):
                s.sentences.append(f"{name} sells {f[0]} {rng.choice(PACKS)} of {f[1]}.")
                n = f[0] * f[1]
                s.lines.append(f"{f[0]}*{f[1]}={n}, {total}-{n}={total - n} {item}.")
                total -= n
            elif kind == "times" and 2 * total <= s.largest:
                k = rng.randint(2, min(9, s.largest // total))
                s.sentences.append(f"Then {name} has {k} times as many.")
                s.lines.append(f"{total}*{k}={total * k} {item}.")
                total *= k
            elif kind == "share" and (ks := [k for k in range(2, 10) if total % k == 0 and total // k >= 12]):
                k = rng.choice(ks)
                s.sentences.append(f"{name} shares them equally among {k} friends and is left with one share.")
                s.lines.append(f"{total}/{k}={total // k} {item}.")
                total //= k
            else:
                continue
            last = kind
            break
    return s.finish(f"How many {item} does {name} have now?", total)


def shopping(s: Story, steps: int) -> dict:
    """Several purchases, a coupon, and the change."""
    rng = s.rng
    name = rng.choice(NAMES)
    kinds = max(2, (steps + 1) // 2)
    items = rng.sample(ITEMS, kinds)
    share = s.largest * 9 // 10 // kinds
    bought = [s.factors(share) for _ in items]
    listing = [f"{n} {item} for {price} dollars each" for (n, price), item in zip(bought, items)]
    s.sentences.append(f"{name} buys " + ", ".join(listing[:-1]) + " and " + listing[-1] + ".")
    total = 0
    for (n, price), item in zip(bought, items):
        cost = n * price
        s.lines.append(f"{n}*{price}={cost}" + (f", {total}+{cost}={total + cost}" if total else "") + " dollars.")
        total += cost
    if total >= 40:
        coupon = rng.randint(11, min(s.operand, total // 2))
        s.sentences.append(f"A coupon takes off {coupon} dollars.")
        s.lines.append(f"{total}-{coupon}={total - coupon} dollars.")
        total -= coupon
    paid = rng.randint(total + 1, s.largest)
    s.sentences.append(f"{name} pays with {paid} dollars.")
    s.lines.append(f"{paid}-{total}={paid - total} dollars.")
    return s.finish(f"How much change does {name} get?", paid - total)


def comparison(s: Story, steps: int) -> dict:
    """A chain of people compared with the one before, then summed."""
    rng = s.rng
    people = rng.sample(NAMES, max(3, (steps + 3) // 2))
    item = rng.choice(ITEMS)
    budget = s.largest // len(people)
    amounts = [rng.randint(15, min(s.operand, budget))]
    s.sentences.append(f"{people[0]} has {amounts[0]} {item}.")
    for before, person in zip(people, people[1:]):
        a = amounts[-1]
        while True:
            kind = rng.choice(("more", "fewer", "times"))
            if kind == "more" and budget - a >= 11:
                n = rng.randint(11, min(s.operand, budget - a))
                s.sentences.append(f"{person} has {n} more than {before}.")
                s.lines.append(f"{person}: {a}+{n}={a + n}.")
                amounts.append(a + n)
            elif kind == "fewer" and a >= 24:
                n = rng.randint(11, min(s.operand, a - 2))
                s.sentences.append(f"{person} has {n} fewer than {before}.")
                s.lines.append(f"{person}: {a}-{n}={a - n}.")
                amounts.append(a - n)
            elif kind == "times" and 2 * a <= budget:
                k = rng.randint(2, min(9, budget // a))
                s.sentences.append(f"{person} has {k} times as many as {before}.")
                s.lines.append(f"{person}: {a}*{k}={a * k}.")
                amounts.append(a * k)
            else:
                continue
            break
    total = amounts[0]
    for a in amounts[1:]:
        s.lines.append(f"{total}+{a}={total + a} {item}.")
        total += a
    return s.finish(f"How many {item} do they have altogether?", total)


SCHEMAS = (inventory, inventory, shopping, comparison)


def problem(seed: int, index: int, steps: tuple, largest: int, operand: int) -> dict:
    rng = random.Random(f"{seed}:{index}")
    return rng.choice(SCHEMAS)(Story(rng, largest, operand), rng.randint(*steps))


def generate(split: str, count: int, seed: int, steps=(5, 6), largest=999, operand=499, first=0):
    """Yields `count` different problems of `split`, from index `first` on."""
    seen, index = set(), first
    while count:
        p = problem(seed, index, steps, largest, operand)
        index += 1
        if split_of(p["question"]) == split and p["question"] not in seen:
            seen.add(p["question"])
            count -= 1
            yield p


def check(problems, split: str) -> None:
    """Recomputes every equation, the chain's last value, the split and the absence of duplicates."""
    questions = set()
    for p in problems:
        assert split_of(p["question"]) == split, p
        assert p["question"] not in questions, p
        questions.add(p["question"])
        body, final = p["answer"].split("\n#### ")
        equations = re.findall(r"(\d+)([-+*/])(\d+)=(\d+)", body)
        for a, op, b, c in equations:
            a, b, c = int(a), int(b), int(c)
            assert c > 0 and {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": a == b * c}[op], p
        assert equations[-1][3] == final, p


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--split", choices=SPLIT_NAMES, default="test")
    ap.add_argument("--count", type=int, default=500)
    ap.add_argument("--seed", type=int, default=2026)
    ap.add_argument("--steps", type=int, nargs=2, default=(5, 6), metavar=("MIN", "MAX"))
    ap.add_argument("--largest", type=int, default=999, help="no number of a problem exceeds this")
    ap.add_argument("--operand", type=int, default=499, help="largest summand")
    ap.add_argument("--out", help="JSONL file to write")
    ap.add_argument("--check", metavar="FILE", help="verify a file of the chosen split instead")
    a = ap.parse_args()
    if a.check:
        problems = [json.loads(line) for line in open(a.check, encoding="utf-8")]
        check(problems, a.split)
        print(f"{len(problems)} {a.split} problems: equations right, no duplicate, none in another split")
        return
    problems = list(generate(a.split, a.count, a.seed, tuple(a.steps), a.largest, a.operand))
    check(problems, a.split)
    lines = "".join(json.dumps(p) + "\n" for p in problems)
    if a.out:
        with open(a.out, "w", encoding="utf-8") as f:
            f.write(lines)
    else:
        print(lines, end="")


if __name__ == "__main__":
    main()
