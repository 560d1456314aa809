"""Small published tokenizers that the tests write themselves, and texts to try them with."""

import json
import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.text.conftest import TEXTS
from tflm.text import split_patterns

ATOMS = [
    *(" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\r", "\x0b", "\x0c", "\x85", "\xa0", "\u3000"),
    *("\u2028", "\u200b", "\x00", "\x1f", "'s", "'S", "'ll", "'RE", "'ſ", "’s", "'", '"', "a", "A", "é"),
    *("é", "́", "ﬁ", "ß", "İ", "ΣΑΣ", "你", "你好", "，", "。", "１２", "12", "3", "½", "²", "Ⅷ", "٣"),
    *("ф", "عربي", "हिन्दी", "ไทย", "한국어", "각", "😀", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "!", "?!"),
    *("...", "---", "_", "<think>", "<|im_end|>", "[SEP]", "<s>", "/", "http://a.b/c?d=e", "�"),
    *("\U0010ffff", "\ue000", "𠀀", "\U0002ebf0", "\u1c89", "ÿ", "þÿ", "▁", "Ġ", "don't", "CamelCase", "ǅ"),
    *("ʰ"),
]


def nasty_texts(number: int) -> list[str]:
    """Joined atoms, and random code points; always the same."""
    rng = random.Random(0)
    limits = ((0, 0x7F), (0, 0x2FF), (0x2000, 0x33FF), (0, 0xD7FF), (0xE000, 0x10FFFF))
    joined = ["".join(rng.choices(ATOMS, k=rng.randint(1, 14))) for _ in range(number)]
    noise = [
        "".join(chr(rng.randint(*rng.choice(limits))) for _ in range(rng.randint(1, 12)))
        for _ in range(number // 2)
    ]
    return ["", *TEXTS, *joined, *noise]


def _isolated(*patterns: str) -> pre_tokenizers.PreTokenizer:
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


BYTE_LEVEL = {
    "gpt2": (None, lambda: pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "qwen2": (normalizers.NFC, lambda: _isolated(split_patterns.QWEN2)),
    "llama3": (None, lambda: _isolated(split_patterns.LLAMA3)),
    "smollm2": (
        None,
        lambda: pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        ),
    ),
    "o200k": (None, lambda: _isolated(split_patterns.O200K)),
    "deepseek_v3": (None, lambda: _isolated(*split_patterns.DEEPSEEK_V3)),
}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_level(kind: str) -> Tokenizer:
    """A byte-level BPE that cuts words as the published one does."""
    normalizer, splitter = BYTE_LEVEL[kind]
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    if normalizer:
        tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter(), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 2 + nasty_texts(100), trainer)
    if kind == "llama3":
        tokenizer = _with_unreachable(tokenizer)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    return tokenizer


def _with_unreachable(tokenizer: Tokenizer) -> Tokenizer:
    """With a word that is a token and that no merges make."""
    spec = json.loads(tokenizer.to_str())
    spec["model"]["vocab"].update({"Ġlazydog": 600, "QuickFox": 601})
    return Tokenizer.from_str(json.dumps(spec))


def write_folder(folder: Any, tokenizer: Tokenizer | None, config: Mapping[str, Any], **files: Any) -> str:
    """A folder of a checkpoint: tokenizer.json, tokenizer_config.json, and others by name with `__` for a dot."""
    os.makedirs(folder, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save(f"{folder}/tokenizer.json")
    for name, content in {"tokenizer_config__json": config, **files}.items():
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        with open(f"{folder}/{name.replace('__', '.')}", "wb") as file:
            file.write(content)
    return str(folder)


def user_text(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that takes every text as a user's: no special or added token is found in it."""
    spec = json.loads(tokenizer.to_str())
    kept = [each for each in spec["added_tokens"] if each["special"]]
    copy = Tokenizer.from_str(json.dumps({**spec, "added_tokens": kept, "post_processor": None}))
    copy.encode_special_tokens = True
    return copy


def different(ours: Sequence[Sequence[int]], reference: Tokenizer, texts: Sequence[str]) -> list[Any]:
    """Texts to which the reference gives other ids, with both."""
    wanted = [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]
    return [each for each in zip(texts, ours, wanted, strict=True) if each[1] != each[2]]
