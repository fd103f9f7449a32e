"""Golden tokenizers: small ones trained here with HF `tokenizers` and `tiktoken`, and what those libraries make of a corpus.

tests/data/tokenizer/
  corpus.json      the strings (the whole list is used with every tokenizer)
  <name>.json      tokenizer.json files: trinity, gpt2, llama3
  <name>.expected.json
  variants.json    patches of those files (top-level keys replaced), one per pre-tokenizer behaviour, with the strings whose
                   ids differ from the unpatched file's; every other string must give the unpatched ids
  kimi/            tiktoken.model, tokenizer_config.json, expected.json
In expected files `ids` has one list per string, without special tokens; with them it is `prefix` + ids + `suffix`.
`decoded` (ids, special tokens kept) and `decoded_skip` (prefix + ids + suffix, special tokens skipped) hold null where
the text comes back unchanged. `decode_cases` are arbitrary ids, cut inside characters.
"""

import base64
import copy
import json
import random

import tiktoken
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

import common

OUT = "tokenizer"

PUNCTUATION = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
DEEPSEEK_V3 = (
    PUNCTUATION + "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)
# Runs of the CJK and South-East Asian blocks that Trinity isolates.
ASIAN_BLOCKS = (
    "[一-鿿㐀-䶿豈-\ufaff぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿"
    "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff가-\ud7afᄀ-ᇿ]+"
)
DIGITS_FROM_RIGHT = "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))"
LLAMA3 = (
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)
UPPER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
LOWER = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
KIMI = "|".join([
    "[\\p{Han}]+",
    f"[^\\r\\n\\p{{L}}\\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTION}",
    f"[^\\r\\n\\p{{L}}\\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTION}",
    "\\p{N}{1,3}",
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*",
    "\\s*[\\r\\n]+",
    "\\s+(?!\\S)",
    "\\s+",
])

TRINITY_SPECIALS = ["<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
LLAMA_SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
# Kimi's special tokens by their distance from the first special id; the others are reserved.
KIMI_SPECIALS = {
    0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 4: "<|im_assistant|>", 6: "<|start_header_id|>",
    7: "<|end_header_id|>", 9: "[EOT]", 10: "<|im_system|>", 11: "<|tool_calls_section_begin|>",
    12: "<|tool_calls_section_end|>", 13: "<|tool_call_begin|>", 14: "<|tool_call_argument_begin|>",
    15: "<|tool_call_end|>", 17: "<|im_middle|>", 254: "[UNK]", 255: "[PAD]",
}
KIMI_NUM_SPECIALS = 258


def corpus():
    digits = "314159265358"
    texts = [
        "", " ", "  ", "   ", "a", "\n", "\r\n", "\t", "\x00", "a\x00b", "\x00\x00 \x00",
        "Hello, world!", "  leading and trailing  ", "The quick brown fox jumps over the lazy dog.",
        "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.",
        "She makes 9 * 2 = $<<9*2=18>>18 every day at the farmer's market.\n#### 18",
        "It's we're I'm you'll they'd I've don't", "IT'S WE'RE I'M YOU'LL THEY'D I'VE DON'T", "it's It'S 'tis 'twas '\u017f \u2019s",
        "camelCase PascalCase SCREAMING_SNAKE snake_case kebab-case HTTPServer iPhone eBay McDonald", "XMLHttpRequest2JSONParser",
        "f(x)=x^2+2*x-1; // comment\n\tif (a && !b) { return a[0]->b::c; }\n", "#include <vector>\n\n\nint main(){return 0;}",
        "https://example.org/a/b?c=d&e=%20#f", "user.name+tag@example.co.uk", "C:\\Users\\x\\n\\t", "$1,234.56 and €7.890,12 or £3",
        "1", "12", "123", "1234", "12345", "123456", "1234567", "12345678", "123456789", "1234567890", "12345678901", digits,
        "3.14159 1e-10 0x1F 1_000_000 12,345,678", "a1b22c333d4444e55555", "2024-01-31T23:59:60Z", "v1.2.3-rc4", " 1234", "-1234567",
        "\u0661\u0662\u0663\u0664\u0665 \u06f1\u06f2\u06f3\u06f4 \u0967\u0968\u0969\u096a", "\u00b2\u00b3\u00b9 \u00bd\u00bc \u2167 \u2460\u2461 \u3007 \uff11\uff12\uff13\uff14",
        "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u516c\u56ed\u5427\u3002", "\u4e2d\u6587English\u6df7\u6392123\u6d4b\u8bd5", "\u6c49\u5b57abc\u6f22\u5b57DEF",
        "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c", "\u30ab\u30bf\u30ab\u30ca\u3068\u3072\u3089\u304c\u306a\u30fc", "\uff76\uff80\uff76\uff85 \uff21\uff22\uff23", "\u3005\u3006\u303b \u30fb \u3001\u3002",
        "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0e51\u0e52\u0e53", "\u0e2a\u0e27\u0e31\u0e2aabc",
        "\u0eaa\u0eb0\u0e9a\u0eb2\u0e8d\u0e94\u0eb5", "\u179f\u17bd\u179f\u17d2\u178f\u17b8", "\u1019\u1004\u103a\u1039\u1002\u101c\u102c\u1015\u102b",
        "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u0627\u0644\u0633\u064e\u0651\u0644\u064e\u0627\u0645\u064f \u0639\u064e\u0644\u064e\u064a\u0652\u0643\u064f\u0645\u0652", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u09a8\u09ae\u09b8\u09cd\u0995\u09be\u09b0", "\u0bb5\u0ba3\u0b95\u0bcd\u0b95\u0bae\u0bcd", "\u0c28\u0c2e\u0c38\u0c4d\u0c15\u0c3e\u0c30\u0c02",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0401\u043b\u043a\u0430", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5 \u03c2\u03c3\u03a3", "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0", "\u0532\u0561\u0580\u0587",
        "\u12a0\u121b\u122d\u129b", "\u13e3\u13b3\u13a9 \ua900", "Z\u00fcrich stra\u00dfe \u00c6r\u00f8 na\u00efve fa\u00e7ade co\u00f6perate", "\u0130stanbul \u0131\u015f\u0131k", "\u01c5\u01c6 \u01f2 \u1f88\u1f80 \u2c61",
        "Ti\u1ebfng Vi\u1ec7t c\u00f3 d\u1ea5u", "Tie\u0302\u0301ng Vie\u0323\u0302t", "e\u0301 \u00e9 E\u0301\u00c9", "A\u030a \u212b \u00c5", "\u1e9b\u0323 \u017f\u0323\u0307", "\ufb01n \ufb03 \u00bd \u2122",
        "\u0301", "\u0301\u0301", " \u0301a", "a\u0301\u0302\u0303\u0304\u0305\u0306", "1\u0301", "\n\u0301x", "x\u20dd\u20e3", "\u0e31", "\u093f\u0915",
        "\U0001f600", "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd\U0001f44d\U0001f3ff", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7\U0001f1ef", "\u2764\ufe0f\u200d\U0001f525 \u2764", "1\ufe0f\u20e3 #\ufe0f\u20e3",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "hi\U0001f600there \U0001f600 \U0001f600\n", "\u263a\u2639 \u2605 \u2192 \u2211\u222b\u221e \u2260\u2264", "\U0001d400\U0001d41a\U0001d7d8\U0001d7d9", "\U00020000\U0002a6d6\u9fff \u3400\u4dbf \uf900",
        "\u200b\u200c\u200d\ufeff\u2060", "a\u00a0b\u2003c\u3000d\u202fe", "a\u2028b\u2029c\u0085d", "\u1680 \u180e \u205f", "\x0b\x0c\x1c\x1d\x1e\x1f x", "\x01\x02\x07\x08\x1b[31m\x7f", "\u0080\u0081\u009f", "\ufffd \ufffe \U0010ffff \ue000",
        "a  b   c    d", "a \n b", "a\n\nb\n\n\nc", "a\r\nb\r\n\r\nc\r\rd", " \n", "\n ", " \r\n \t \n  x", "\t\t\tx", "x\t \t", "end \n\n", "end.\n\n  next", "...\n", "!?!?\r\n\r\n", " !!! ???  ...", "\u00a0\u00a0x", "\u3000\u3000\u4f60", "x \u00a0 y",
        "\u201cquoted\u201d \u2018single\u2019 \u00ab\u0433\u00bb \u300c\u5f15\u7528\u300d", "\u2014\u2013-\u2010 \u2026 \u00b7 \u00a7 \u00b6", "\u00a1\u00bf?!", "(a)[b]{c}<d>", "@#%^&*~`|\\", "'''\"\"\"```", "a/b/c//d", "-- --- ----", "_a__b_", "'", "' s", "x's'", "'S't",
        "<|begin_of_text|>Hi<|im_end|>", "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n", "a <|im_end|> b", "<|im_end|><|im_end|>", "<|im_end|", "<|pad|> <|eot_id|>x<|end_of_text|>",
        "<|im_user|>user<|im_middle|>2+2?<|im_end|><|im_assistant|>assistant<|im_middle|>4<|im_end|>[EOS]", "[BOS][EOT]<|reserved_token_605|>", "<mask>  x <mask>", "a <rs>   b<rs>\n c", "word sword words a word, (word) word1 _word",
        "caf\u00e9 cafe\u0301 Caf\u00e9", "<x><y> <x> <xy>", "<x><x><y>z", "\u00e9t\u00e9 e\u0301te\u0301",
        "a" * 300, " " * 300, "\n" * 100, "ab" * 150, "!" * 255, "0" * 200, "1234567890" * 12, "\u4e2d" * 100, "\U0001f600" * 40, "\u0301" * 64, "aA" * 60, " a" * 90, "\t \n" * 40,
        "\u00df\u1e9e \ufb00 \u0149 \u1f50", "\u02b0\u02b2 \u00aa\u00ba \u2071", "\u2c7c\u1d43 \ua7f8", "\u01bb\u01c0\u0294", "\u24b6\u24d0 \u2160\u2170",
    ]
    assert len(set(texts)) == len(texts), [t for t in texts if texts.count(t) > 1]
    return texts


def training_texts(texts):
    """Every window of two to five characters. Merges learned here cross the boundaries that pre-tokenizers set, so that a
    boundary set wrongly changes the ids; merges learned from well-cut words would hide it."""
    windows = []
    for text in texts:
        capped = text[:40]
        windows += [capped[i : i + n] for n in (2, 3, 5) for i in range(len(capped) - n + 1)]
    digits = [str(n) for n in range(10, 1000, 7)] * 2
    return windows + digits


def train(pre_tokenizer, vocab_size, texts, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(training_texts(texts), trainer)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_level():
    return ByteLevel(add_prefix_space=False, use_regex=False)


def special(content, **flags):
    return AddedToken(content, special=True, normalized=False, **flags)


def trinity(texts):
    tokenizer = train(
        Sequence([
            Split(Regex(DIGITS_FROM_RIGHT), "isolated"), Split(Regex(ASIAN_BLOCKS), "isolated"),
            Split(Regex(DEEPSEEK_V3), "isolated"), byte_level(),
        ]), 590, texts)
    tokenizer.add_tokens([special(t) for t in TRINITY_SPECIALS])
    return tokenizer


def gpt2(texts):
    """add_prefix_space, the built-in regex, NFC, and every flag of an added token."""
    tokenizer = train(ByteLevel(add_prefix_space=True, use_regex=True), 580, texts, normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_tokens([
        special("<mask>", lstrip=True), special("<rs>", rstrip=True), special("<|im_end|>", lstrip=True, rstrip=True),
        AddedToken("word", single_word=True, normalized=False), AddedToken("caf\u00e9", normalized=True),
        AddedToken("<x>", normalized=False), AddedToken("<x><y>", normalized=False),
        AddedToken("\u00e9t\u00e9", single_word=True, normalized=True),
    ])
    return tokenizer


def llama3(texts):
    """ignore_merges: a piece that is in the vocabulary is one token, although no merge leads to it."""
    tokenizer = train(Sequence([Split(Regex(LLAMA3), "isolated"), byte_level()]), 580, texts)
    spec = json.loads(tokenizer.to_str())
    for piece in ("\u0120jumps", "PascalCase", "Natalia", "\u0120friends", "1234", "\u0120" * 7):
        spec["model"]["vocab"].setdefault(piece, len(spec["model"]["vocab"]))
    spec["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.add_tokens([special(t) for t in LLAMA_SPECIALS])
    bos, eos = (tokenizer.token_to_id(t) for t in LLAMA_SPECIALS[:2])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single=f"{LLAMA_SPECIALS[0]} $A {LLAMA_SPECIALS[1]}",
            pair=f"{LLAMA_SPECIALS[0]} $A {LLAMA_SPECIALS[0]} $B:1",
            special_tokens=[(LLAMA_SPECIALS[0], bos), (LLAMA_SPECIALS[1], eos)],
        ),
    ])
    return tokenizer


def with_bos(spec):
    """The patch that makes trinity.json prepend its begin-of-text token."""
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    bos = TRINITY_SPECIALS[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.token_to_id(bos))])
    return {"post_processor": json.loads(tokenizer.to_str())["post_processor"]}


def pre(*parts):
    return {"pre_tokenizer": json.loads(Sequence([*parts, byte_level()]).__getstate__())}


def variants():
    """(name, base, patch of top-level keys)."""
    out = []
    for behaviour in ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            suffix = "_inverted" if invert else ""
            out.append((f"split_regex_{behaviour}{suffix}", "llama3", pre(Split(Regex("[aeiou]|\\p{N}| +"), behaviour, invert))))
        out.append((f"split_string_{behaviour}", "llama3", pre(Split("a", behaviour))))
    out += [
        ("split_string_is_not_a_regex", "llama3", pre(Split(".", "isolated"))),
        ("split_words_inverted", "llama3", pre(Split(Regex(LLAMA3), "removed", True))),
        ("digits_individual", "llama3", pre(pre_tokenizers.Digits(individual_digits=True))),
        ("digits_runs", "llama3", pre(pre_tokenizers.Digits(individual_digits=False))),
        ("digits_then_gpt2", "gpt2", {"pre_tokenizer": json.loads(Sequence([
            pre_tokenizers.Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]).__getstate__())}),
        ("zero_width", "trinity", pre(Split(Regex("\\p{N}+"), "isolated"), Split(Regex("(?=(\\d{3})+(?!\\d))"), "isolated"))),
        ("word_boundary", "trinity", pre(Split(Regex("\\d{1,3}(?=(?:\\d{3})*\\b)"), "isolated"))),
        ("possessive", "trinity", pre(Split(Regex("[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,2}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++"), "isolated"))),
        ("lookbehind_and_negation", "trinity", pre(Split(Regex("(?<=[a-z])(?=[A-Z])|\\P{L}+|[^\\W\\d_]+"), "isolated"))),
        ("case_insensitive_group", "trinity", pre(Split(Regex("(?i:the|ab+)|\\s"), "isolated"))),
        ("kimi_pattern", "trinity", pre(Split(Regex(KIMI), "isolated"))),
        ("gpt2_no_prefix_space", "gpt2", {"pre_tokenizer": json.loads(ByteLevel(add_prefix_space=False, use_regex=True).__getstate__())}),
        ("prefix_space_no_regex", "gpt2", {"pre_tokenizer": json.loads(ByteLevel(add_prefix_space=True, use_regex=False).__getstate__())}),
        ("no_normalizer", "gpt2", {"normalizer": None}),
        ("normalizer_sequence", "trinity", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}}),
        ("nested_sequence", "trinity", {"pre_tokenizer": json.loads(Sequence([
            Sequence([Split(Regex("\\s+"), "isolated")]), Sequence([pre_tokenizers.Digits(True), byte_level()])]).__getstate__())}),
    ]
    return out


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def affixes(tokenizer, texts):
    """The special tokens around every text, which must be the same everywhere."""
    probe = next(t for t in texts if encode(tokenizer, t))
    whole = tokenizer.encode(probe, add_special_tokens=True).ids
    ids = encode(tokenizer, probe)
    at = next(i for i in range(len(whole)) if whole[i : i + len(ids)] == ids)
    prefix, suffix = whole[:at], whole[at + len(ids) :]
    for text in texts:
        assert tokenizer.encode(text, add_special_tokens=True).ids == prefix + encode(tokenizer, text) + suffix
    return prefix, suffix


def random_cuts(ids_of_texts, vocab_size, seed):
    """Id sequences that start and end inside characters, and plain noise."""
    rng = random.Random(seed)
    long = [ids for ids in ids_of_texts if len(ids) > 3]
    cases = []
    for _ in range(24):
        ids = rng.choice(long)
        start = rng.randrange(len(ids) - 2)
        cases.append(ids[start : start + rng.randrange(1, 9)])
    cases += [[rng.randrange(vocab_size) for _ in range(6)] for _ in range(16)]
    return cases


def changed_only(decoded, texts):
    return [None if d == t else d for d, t in zip(decoded, texts)]


def expected(tokenizer, texts, seed):
    ids = [encode(tokenizer, t) for t in texts]
    prefix, suffix = affixes(tokenizer, texts)
    cuts = random_cuts(ids, tokenizer.get_vocab_size(), seed)
    return {
        "versions": f"tokenizers {tokenizers.__version__}",
        "prefix": prefix,
        "suffix": suffix,
        "ids": ids,
        "decoded": changed_only([tokenizer.decode(i, skip_special_tokens=False) for i in ids], texts),
        "decoded_skip": changed_only([tokenizer.decode(prefix + i + suffix, skip_special_tokens=True) for i in ids], texts),
        "decode_cases": [{"ids": c, "text": tokenizer.decode(c, skip_special_tokens=False),
                          "text_skip": tokenizer.decode(c, skip_special_tokens=True)} for c in cuts],
    }


def variant_cases(specs, texts):
    out = []
    todo = variants() + [("begin_of_text", "trinity", with_bos(specs["trinity"]))]
    for name, base, patch in todo:
        base_tokenizer = Tokenizer.from_str(json.dumps(specs[base]))
        spec = copy.deepcopy(specs[base]) | patch
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        prefix, suffix = affixes(tokenizer, texts)
        differs = {}
        for i, text in enumerate(texts):
            ids = encode(tokenizer, text)
            if ids != encode(base_tokenizer, text):
                differs[str(i)] = ids
        assert differs or prefix, name
        out.append({"name": name, "base": base, "patch": patch, "prefix": prefix, "suffix": suffix, "differs": differs})
    return {"versions": f"tokenizers {tokenizers.__version__}", "variants": out}


def byte_of_character():
    """GPT-2's printable stand-in for each byte, as `tokenizers` writes it."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in printable}
    hidden = [b for b in range(256) if b not in printable]
    return table | {chr(256 + n): b for n, b in enumerate(hidden)}


def kimi(texts, path):
    trained = train(Sequence([Split(Regex(KIMI), "isolated"), byte_level()]), 600, texts)
    to_byte = byte_of_character()
    ranks = {bytes(to_byte[c] for c in piece): rank for piece, rank in trained.get_vocab().items()}
    assert sorted(ranks.values()) == list(range(600))
    lines = [f"{base64.b64encode(piece).decode()} {rank}\n" for piece, rank in sorted(ranks.items(), key=lambda r: r[1])]
    (path / "tiktoken.model").write_text("".join(lines))

    first = len(ranks)
    named = {first + offset: content for offset, content in KIMI_SPECIALS.items()}
    specials = {named.get(i, f"<|reserved_token_{i}|>"): i for i in range(first, first + KIMI_NUM_SPECIALS)}
    flags = dict(lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
    config = {
        "added_tokens_decoder": {str(i): {"content": content, **flags} for i, content in named.items()},
        "additional_special_tokens": [c for c in named.values() if c.startswith("<|")],
        "bos_token": "[BOS]", "eos_token": "[EOS]", "pad_token": "[PAD]", "unk_token": "[UNK]",
        "clean_up_tokenization_spaces": False, "tokenizer_class": "TikTokenTokenizer",
    }
    common.write_json(path / "tokenizer_config.json", config)

    encoding = tiktoken.Encoding("kimi", pat_str=KIMI, mergeable_ranks=ranks, special_tokens=specials)
    ids = [encoding.encode(t, allowed_special="all") for t in texts]
    plain = [encoding.encode(t, allowed_special=set(), disallowed_special=()) for t in texts]
    assert [encoding.decode(i) for i in ids] == texts
    cuts = random_cuts(ids, first + KIMI_NUM_SPECIALS, 4)
    common.write_json(path / "expected.json", {
        "versions": f"tiktoken {tiktoken.__version__}, trained with tokenizers {tokenizers.__version__}",
        "pattern": KIMI,
        "num_ranks": first,
        "num_specials": KIMI_NUM_SPECIALS,
        "ids": ids,
        "ids_specials_as_text": {str(n): p for n, (p, i) in enumerate(zip(plain, ids)) if p != i},
        "decode_cases": [{"ids": c, "text": encoding.decode(c)} for c in cuts],
    })


def main():
    path = common.fresh_dir(OUT)
    texts = corpus()
    common.write_json(path / "corpus.json", texts)
    specs = {}
    for seed, (name, make) in enumerate({"trinity": trinity, "gpt2": gpt2, "llama3": llama3}.items(), 1):
        tokenizer = make(texts)
        (path / f"{name}.json").write_text(tokenizer.to_str(pretty=False) + "\n")
        specs[name] = json.loads(tokenizer.to_str())
        common.write_json(path / f"{name}.expected.json", expected(tokenizer, texts, seed))
        uncut = Tokenizer.from_str(json.dumps(specs[name] | {"pre_tokenizer": json.loads(byte_level().__getstate__())}))
        seen = sum(encode(tokenizer, t) != encode(uncut, t) for t in texts)
        print(f"{name}: {tokenizer.get_vocab_size()} tokens; without its pre-tokenizer {seen} strings change")
        assert seen > len(texts) // 3
    common.write_json(path / "variants.json", variant_cases(specs, texts))
    (path / "kimi").mkdir()
    kimi(texts, path / "kimi")
    for f in sorted(path.rglob("*.*")):
        print(f"{f.stat().st_size / 1024:7.1f} KiB {f.relative_to(path)}")
    print(len(texts), "strings;", common.directory_bytes(path) // 1024, "KiB")
    assert common.directory_bytes(path) <= 600 * 1024


if __name__ == "__main__":
    main()
