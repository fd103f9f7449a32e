#!/usr/bin/env python3
"""Trains the demo models' tokenizers on the word problems. Deterministic.

    train_tokenizer.py afmoe demo/trinity-tiny        tokenizer.json and tokenizer_config.json, in Trinity's manner
    train_tokenizer.py kimi  demo/kimi-linear-tiny    tiktoken.model and tokenizer_config.json, in Kimi's manner

Both are byte-level BPE: merges for words are learnt from problem texts, merges for numbers are given, so that every
number up to `--digits` digits is one token (1: each digit is a token of its own).
"""

import argparse
import base64
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import word_problems

# Trinity: digit runs in groups of three counted from the right, then runs of CJK, then DeepSeek-V3's main pattern.
DIGIT_GROUPS = r"\p{N}{1,SIZE}(?=(?:\p{N}{SIZE})*(?:\P{N}|$))"
CJK_RUNS = r"[一-龥぀-ゟ゠-ヿ]+"
MAIN = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
# Kimi: `&&` intersections as published.
KIMI_PATTERN = "|".join([
    r"""[\p{Han}]+""",
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""\p{N}{1,3}""",
    r""" ?[^\s\p{L}\p{N}]+[\r\n]*""",
    r"""\s*[\r\n]+""",
    r"""\s+(?!\S)""",
    r"""\s+""",
])

TRINITY_SPECIALS = ["<|begin_of_text|>", "<|im_end|>", "<|pad|>", "<|im_start|>"]
TRINITY_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
KIMI_SPECIALS = ["[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>",
                 "[UNK]", "[PAD]"]
KIMI_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|im_system|>' }}{% elif message['role'] == 'user' %}"
    "{{ '<|im_user|>' }}{% else %}{{ '<|im_assistant|>' }}{% endif %}{{ message['role'] + '<|im_middle|>' + message['content'] "
    "+ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_assistant|>assistant<|im_middle|>' }}{% endif %}")


def corpus(count: int, largest: int):
    """Problem texts with every digit run replaced by '0', so that no merge learnt joins digits."""
    for p in word_problems.generate("train", count, seed=1, largest=largest, operand=largest // 2):
        text = f"Question: {p['question']}\nAnswer: {p['answer']}"
        yield "".join("\n" if c == "\n" else c for c in word_problems.re.sub(r"\d+", "0", text))


def number_merges(digits: int):
    """Merges that join any run of up to `digits` digits, whichever of its pairs is joined first."""
    pairs = [(a, b) for a in "0123456789" for b in "0123456789"] if digits >= 2 else []
    triples = []
    if digits >= 3:
        for a, b in pairs:
            for c in "0123456789":
                triples += [(a + b, c), (a, b + c)]
    return pairs + triples


def learn(pre_tokenizer, count: int, largest: int, vocab: int, digits: int):
    """(vocabulary token -> id, merges): bytes, then merges in rank order."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizer
    tok.train_from_iterator(corpus(count, largest), trainers.BpeTrainer(
        vocab_size=vocab, min_frequency=20, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False))
    model = json.loads(tok.to_str())["model"]
    tokens, merges = dict(model["vocab"]), [tuple(m) for m in model["merges"]]
    for left, right in number_merges(digits):
        merges.append((left, right))
        tokens.setdefault(left + right, len(tokens))
    return tokens, merges


def byte_level_to_bytes() -> dict:
    """The inverse of GPT-2's printable byte alphabet."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in printable}
    shifted = 0
    for b in range(256):
        if b not in printable:
            table[chr(256 + shifted)] = b
            shifted += 1
    return table


def write_trinity(folder: pathlib.Path, a) -> None:
    split = lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated")
    groups = DIGIT_GROUPS.replace("SIZE", "2" if a.digits == 2 else "3")
    pre = pre_tokenizers.Sequence([split(groups), split(CJK_RUNS), split(MAIN),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokens, merges = learn(pre, a.corpus, a.largest, a.vocab, a.digits)
    tok = Tokenizer(models.BPE(vocab=tokens, merges=merges))
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in TRINITY_SPECIALS])
    tok.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": TRINITY_SPECIALS[0], "eos_token": TRINITY_SPECIALS[1],
        "pad_token": TRINITY_SPECIALS[2], "clean_up_tokenization_spaces": False, "model_max_length": 1024,
        "chat_template": TRINITY_TEMPLATE}, indent=2, ensure_ascii=False) + "\n")


def write_kimi(folder: pathlib.Path, a) -> None:
    # HF's Onigmo reads the published pattern, intersections included, only with its own class syntax; for learning
    # merges on this ASCII corpus letters are enough.
    learn_pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(learn_pattern), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokens, _ = learn(pre, a.corpus, a.largest, a.vocab, a.digits)
    to_byte = byte_level_to_bytes()
    ranks = sorted(tokens, key=tokens.get)
    lines = [f"{base64.b64encode(bytes(to_byte[c] for c in t)).decode()} {rank}" for rank, t in enumerate(ranks)]
    (folder / "tiktoken.model").write_text("\n".join(lines) + "\n")
    first = len(ranks)
    added = {str(first + i): {"content": s, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                              "special": True} for i, s in enumerate(KIMI_SPECIALS)}
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "added_tokens_decoder": added, "bos_token": "[BOS]", "eos_token": "<|im_end|>", "unk_token": "[UNK]",
        "pad_token": "[PAD]", "additional_special_tokens": KIMI_SPECIALS[2:7], "clean_up_tokenization_spaces": False,
        "model_max_length": 1024, "tokenizer_class": "TikTokenTokenizer", "chat_template": KIMI_TEMPLATE}, indent=2) + "\n")


def load_trinity(folder):
    """(encode: text -> ids, decode: ids -> text, vocabulary size, eos id, pad id)"""
    tok = Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))
    return (lambda texts: [e.ids for e in tok.encode_batch(texts)], lambda ids: tok.decode(ids), tok.get_vocab_size(),
            tok.token_to_id("<|im_end|>"), tok.token_to_id("<|pad|>"))


def load_kimi(folder):
    import tiktoken
    folder = pathlib.Path(folder)
    ranks = {base64.b64decode(t): int(r) for t, r in (l.split() for l in open(folder / "tiktoken.model"))}
    config = json.loads((folder / "tokenizer_config.json").read_text())
    special = {v["content"]: int(k) for k, v in config["added_tokens_decoder"].items()}
    enc = tiktoken.Encoding("kimi", pat_str=KIMI_PATTERN, mergeable_ranks=ranks, special_tokens=special)
    skip = set(special.values())
    return (lambda texts: enc.encode_ordinary_batch(texts), lambda ids: enc.decode([i for i in ids if i not in skip]),
            enc.n_vocab, special["<|im_end|>"], special["[PAD]"])


def load(folder):
    return load_kimi(folder) if (pathlib.Path(folder) / "tiktoken.model").exists() else load_trinity(folder)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("kind", choices=("afmoe", "kimi"))
    ap.add_argument("folder", type=pathlib.Path)
    ap.add_argument("--digits", type=int, choices=(1, 2, 3), default=3, help="longest number that is one token")
    ap.add_argument("--vocab", type=int, default=640, help="limit of bytes and learnt merges, before numbers and specials")
    ap.add_argument("--corpus", type=int, default=5000, help="problems to learn from")
    ap.add_argument("--largest", type=int, default=999)
    a = ap.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    (write_trinity if a.kind == "afmoe" else write_kimi)(a.folder, a)
    encode, decode, size, eos, pad = load(a.folder)
    texts = [f"Question: {p['question']}\nAnswer: {p['answer']}" for p in
             word_problems.generate("validation", 200, seed=2, largest=a.largest, operand=a.largest // 2)]
    ids = encode(texts)
    assert [decode(i) for i in ids] == texts
    print(f"{a.folder}: {size} tokens, eos {eos}, pad {pad}; {sum(map(len, ids)) / len(ids):.1f} tokens per problem, "
          f"longest {max(map(len, ids))}")


if __name__ == "__main__":
    main()
