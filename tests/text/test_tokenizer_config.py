"""A bad setting is refused with the field, what came and what may come."""

import dataclasses

import pytest

from tflm.config import load_json, save_json
from tflm.text import TokenizerConfig


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"kind": "word"},
            r"kind is one of byte, byte_pair, character, .*, wordpiece; got 'word'",
        ),
        ({"algorithm": "wordlevel"}, r"algorithm is one of unigram, bpe; got 'wordlevel'"),
        ({"normalization": "NFC"}, r"normalization is one of auto, nfc, nfkc, none; got 'NFC'"),
        ({"special_tokens": ("pad",)}, r"except pad, start, end, unk; got 'pad'"),
        ({"special_tokens": ("<mask>",)}, r"lower-case names .* got '<mask>'"),
        ({"special_tokens": ("mask", "mask")}, r"special_tokens are all different; got \('mask', 'mask'\)"),
        ({"vocab_size": 5}, r"vocab_size is more than the number of special tokens, 5; got 5"),
    ],
)
def test_bad_settings(fields, words):
    with pytest.raises(ValueError, match=words):
        TokenizerConfig(**fields)


def test_auto_normalization():
    forms = {kind: TokenizerConfig(kind=kind).normalization_form for kind in ("sentencepiece", "wordpiece")}
    assert forms == {"sentencepiece": "NFC", "wordpiece": "NFC"}
    assert TokenizerConfig(kind="byte").normalization_form is None
    assert TokenizerConfig(kind="character").normalization_form is None
    assert TokenizerConfig(kind="byte", normalization="nfkc").normalization_form == "NFKC"
    assert TokenizerConfig(normalization="none").normalization_form is None


def test_frozen_and_json(tmp_path):
    config = TokenizerConfig(kind="character", special_tokens=("separator", "mask"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.kind = "byte"
    save_json(config, str(tmp_path / "c.json"))
    assert load_json(TokenizerConfig, str(tmp_path / "c.json")) == config
