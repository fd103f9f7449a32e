"""Goldens of the GSM8K scoring rules, computed by Python's `re` with the published patterns.

Sources: grade-school-math/dataset.py; lm-evaluation-harness tasks/gsm8k/gsm8k.yaml (version 3),
filters/extraction.py and api/metrics.py (exact_match); vLLM tests/evals/gsm8k/gsm8k_eval.py.
Standard library only; written with Python 3.11.

    python3 tools/goldens/scoring.py > tests/data/eval/scoring.json
"""

import ast
import json
import re
import sys

MARKED = re.compile(r"#### (\-?[0-9\.\,]+)")
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
IGNORED = [",", r"\$", r"(?s).*#### ", r"\.$"]


def gsm8k(text):
    match = MARKED.search(text)
    return match.group(1).strip().replace(",", "") if match else None


def normalised(text):
    for pattern in IGNORED:
        text = re.sub(pattern, "", text)
    return text.lower()


def strict(text):
    found = MARKED.findall(text)
    return normalised(found[0].strip()) if found else None


def flexible(text):
    found = FLEXIBLE.findall(text)
    return normalised([group for group in found[-1] if group][0].strip()) if found else None


def vllm(text):
    numbers = re.findall(r"\d+", text.replace(",", ""))
    if not numbers:
        return None
    try:
        return str(ast.literal_eval(numbers[-1]))
    except SyntaxError:
        return None


def golden(completion, answer):
    read = {"gsm8k": gsm8k(completion), "lm-eval-strict": strict(completion),
            "lm-eval-flexible": flexible(completion), "vllm": vllm(completion)}
    gold = {"gsm8k": gsm8k(answer if "#### " in answer else "#### " + answer),
            "lm-eval-strict": normalised(answer), "lm-eval-flexible": normalised(answer),
            "vllm": vllm(answer)}
    return {"completion": completion, "answer": answer, "read": read,
            "correct": {rule: read[rule] is not None and read[rule] == gold[rule]
                        for rule in read}}


COMPLETIONS = [
    "#### 42", " 6 * 7 = 42\n#### 42", "#### 42.", "#### 42.0", "#### 42.00", "#### 42,", "####42",
    "####  42", "### 42", "##### 42", "#### #### 42", "#### x\n#### 42", "#### 41\n#### 42",
    "#### 42\n#### 41", "#### -42", "#### - 42", "#### --42", "#### $42", "#### 1,234", "1,234",
    "$1,234.50", "#### 1,2,3,4", "#### ,", "#### .", "#### -", "#### .,.", "", " ", "no number",
    "The answer is 42.", "The answer is 42", "42 apples", "4 apples and 2 pears", "7", "-7", "a-7",
    "5-7", "5 -7", "$7", "-$7", "$", "$$", "$.", "..", "7.", "7..", "7...", "1.5", ".5", "-.5",
    "1.2.3", "12:30", "50%", "3/4", "1e3", "0x1F", "007", "00", "0", "0.0", "000,000",
    "the year 2,024 has 366 days", "42,", ",42", "4,2", "4 2", "4\n2", "42\u00a0000", "42\u2009000",
    "\u0663", "42 \u0664\u0662", "42\u0664", "\uff14\uff12", "x\u00b2", "42\u00b2", "\u2212" "42",
    "#### \u0664\u0662", "\u00a342", "\u20ac42 and \u00a37", "\u2460", "\U0001d7d2\U0001d7d0",
    "<<6*7=42>>42\n#### 42<|endoftext|>", "Question: 13", "**42**", "\\boxed{42}", "(42)", "[42]",
    "42\r\n", "#### 42\r\n", "#### 42\u0000", "#### 42 43", "#### 42\n\nQuestion: 9",
    "9" * 60, "#### " + "9" * 60, "1" + ",000" * 20, "-" * 60 + "5", "$" * 60,
    "#### " * 50 + "42", "42.\n", "42.\n\n", "a.b", "...", "1-2-3", "2 - -3", "$5.-", "-,-", "1,-",
]
ANSWERS = ["6 * 7 = <<6*7=42>>42\n#### 42", "42", "#### 1,234", "-7", "#### 7", "#### 0",
           "#### 42.", "#### 42 ", "1.5", "#### 5"]


def main():
    goldens = [golden(completion, ANSWERS[0]) for completion in COMPLETIONS]
    # Every answer against the completions that come near one.
    for answer in ANSWERS[1:]:
        goldens += [golden(c, answer) for c in COMPLETIONS
                    if any(golden(c, answer)["correct"].values())]
    json.dump(goldens, sys.stdout, separators=(",", ":"))
    print()


main()
