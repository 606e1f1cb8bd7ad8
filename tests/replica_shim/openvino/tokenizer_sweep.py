"""Compares our token ids with those of Hugging Face's `tokenizers`, character by character.

Usage: tokenizer_sweep.py TOKENIZE_LINES MODEL_FOLDER

Texts: every code point from U+0000 to U+10FFFF except surrogates, alone and inside a word; those of
the BMP before a combining mark; the BMP's first part under all combinations of the normalizer's flags; random
mixtures of scripts, marks, spaces, special tokens and long words, with and without truncation.
The reference runs with its padding cleared and its truncation set to ours. Prints each kind's count and
fails on the first kind that differs. Needs the package `tokenizers` only.
"""

import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

NO_LIMIT = 10_000
ALLOWED_DIFFERENCES = 0


def ours(tool, path, vocabulary, texts, limit):
    encoded = b"".join(b"%d\n%s" % (len(data), data) for data in (text.encode() for text in texts))
    done = subprocess.run([tool, path, str(limit), str(vocabulary)], input=encoded, stdout=subprocess.PIPE, check=True)
    lines = done.stdout.decode().split("\n")[:-1]
    assert len(lines) == len(texts), f"{len(lines)} lines for {len(texts)} texts"
    return [[int(word) for word in line.split()] for line in lines]


def reference(path, texts, limit):
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if limit != NO_LIMIT:
        tokenizer.enable_truncation(limit)
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]


def code_points(end):
    return [chr(c) for c in range(end) if not 0xD800 <= c < 0xE000]


def random_texts(count, seed):
    """Mixtures in which normalisation, words and special tokens meet."""
    rng = random.Random(seed)
    marks = [chr(c) for c in (0x301, 0x323, 0x327, 0x1D165, 0x302E, 0x302F, 0x8D4, 0x1DF6, 0x5B0, 0x340, 0x344,
                              0x1885, 0x900, 0x93C, 0x11C9, 0x111C9, 0x111CA, 0x1734, 0xA9BD)]
    pieces = ["the", "embedding", "Straße", "naïve", "ΟΔΟΣ", "İstanbul", "東京", "々〇", "한국어", "ﬁ", "µm", "don't", "3.14",
              "[SEP]", "[MASK]", "[CLS]", "[sep]", "[", "]", "[UNK]", "[PAD]", "##ing", "a" * 100, "b" * 101, "é" * 100,
              "é" * 101, "x" * 300, " ", "\t", "\n", "\u00a0", "\u3000", "\u200b", "\u200d", "\ufeff", "\x00", "👩‍👩‍👧", "𝔘𝔫", "!?"]
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x600), (0x900, 0xE00), (0x1100, 0x1200), (0x1E00, 0x2100),
              (0x3000, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xFB00, 0xFF00), (0x10000, 0x10FFFF)]
    texts = []
    for _ in range(count):
        text = []
        for _ in range(rng.randint(1, 30)):
            kind = rng.random()
            if kind < 0.3:
                text.append(rng.choice(pieces))
            elif kind < 0.5:
                text.extend(rng.choice(marks) for _ in range(rng.randint(1, 4)))
            elif kind < 0.8:
                text.append(chr(rng.randrange(*rng.choice(ranges))))
            else:
                text.append(rng.choice(" abcdeABCDE.,"))
        texts.append("".join(text))
    return texts


def flag_variants(path, folder):
    """The model's tokenizer with each combination of the normalizer's flags."""
    original = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    for number, (clean, chinese, accents, lower) in enumerate(
            itertools.product((True, False), (True, False), (True, False, None), (True, False))):
        original["normalizer"] = {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese,
                                  "strip_accents": accents, "lowercase": lower}
        variant = folder / f"tokenizer_{number}.json"
        variant.write_text(json.dumps(original), encoding="utf-8")
        yield f"clean={clean} chinese={chinese} accents={accents} lower={lower}", str(variant)


def main():
    tool, model = sys.argv[1:3]
    path = f"{model}/tokenizer.json"
    vocabulary = json.loads(pathlib.Path(f"{model}/config.json").read_text(encoding="utf-8"))["vocab_size"]
    every = code_points(0x110000)
    mixed = random_texts(4_000, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        kinds = [("alone", path, every, NO_LIMIT), ("in a word", path, [f"a{c}b" for c in every], NO_LIMIT),
                 ("before a mark", path, [f"a{c}\u0323e" for c in code_points(0x10000)], NO_LIMIT),
                 ("mixtures", path, mixed, NO_LIMIT)]
        kinds += [(f"mixtures, at most {limit}", path, mixed, limit) for limit in (3, 4, 8, 21)]
        some = [f"a{c}B" for c in code_points(0x3100)] + mixed[:1_000]
        kinds += [(name, variant, some, NO_LIMIT) for name, variant in flag_variants(path, pathlib.Path(folder))]
        failed = False
        for name, tokenizer, texts, limit in kinds:
            expected = reference(tokenizer, texts, limit)
            got = ours(tool, tokenizer, vocabulary, texts, limit)
            different = [i for i, ids in enumerate(got) if ids != expected[i]]
            print(f"{name}: {len(texts)} texts, {len(different)} different")
            for i in different[:10]:
                print(f"  {ascii(texts[i])[:200]}: expected {expected[i][:20]}, got {got[i][:20]}")
            failed = failed or len(different) > ALLOWED_DIFFERENCES
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
