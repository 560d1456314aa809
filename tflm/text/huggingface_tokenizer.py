"""Tokenizers from a `tokenizer.json`, the format of the library `tokenizers`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tflm.errors import UserError
from tflm.text.checkpoint_files import CheckpointFiles, parts_of, template_ids
from tflm.text.merge_model import check_merges, read_merges
from tflm.text.published_ids import AddedToken, Roles, place_special_ids, with_rows
from tflm.text.split_patterns import DIGITS, GPT2, QWEN2, Pass, covers_everything, split_passes
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import TokenizerConfig

_GPT2_SPLITTER = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
# Tokenizer classes: pre-tokenizer and normalizer.
_CLASSES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any] | None]] = {
    "GPT2Tokenizer": (_GPT2_SPLITTER, None),
    "RobertaTokenizer": (_GPT2_SPLITTER, None),
    "Qwen2Tokenizer": (
        {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False},
        {"type": "NFC"},
    ),
}
FORMS = {None: "none", "NFC": "nfc", "NFKC": "nfkc"}


def read_huggingface(files: CheckpointFiles, num_rows: int | None) -> Tokenizer:
    """The tokenizer of a folder with a `tokenizer.json`.

    Raises:
        UserError: a part that is not supported, by name.
    """
    spec = files.read_json("tokenizer.json")
    try:
        kind = spec["model"].get("type") or ("BPE" if "merges" in spec["model"] else None)
        added = [AddedToken.from_json(entry) for entry in spec.get("added_tokens", ())]
        # Some tools add tokens to the other files alone.
        known = {each.content for each in added} | {each.token_id for each in added}
        added += [each for each in files.added_tokens() if not {each.content, each.token_id} & known]
        added = with_rows(added, num_rows)
        if kind == "BPE" and any(
            part["type"] == "ByteLevel" for part in parts_of(spec["pre_tokenizer"], "pretokenizers")
        ):
            return byte_level(files, spec, added, num_rows)
        if kind in ("BPE", "Unigram"):
            from tflm.text.published_sentencepiece import read_merges_with_bytes, read_unigram

            read = read_merges_with_bytes if kind == "BPE" else read_unigram
            return read(files, spec, added, num_rows)
        if kind == "WordPiece":
            from tflm.text.bert_vocabulary import read_wordpiece_json

            return read_wordpiece_json(spec, added, num_rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{files.folder!r}: tokenizer.json is not one of the library tokenizers: {type(error).__name__} {error}."
        ) from error
    raise UserError(
        f"{files.folder!r}: tokenizer.json has a model of type {kind!r}; supported are BPE, Unigram and WordPiece."
    )


def byte_level(
    files: CheckpointFiles, spec: Mapping[str, Any], added: Sequence[AddedToken], num_rows: int | None
) -> Tokenizer:
    """Byte-level BPE."""
    from tflm.text.byte_pair_tokenizer import BytePairs, as_latin1

    model = spec["model"]
    check_merges(model)
    if not any(part["type"] == "ByteLevel" for part in parts_of(spec.get("decoder"), "decoders")):
        raise UserError(
            f"the tokenizer splits bytes and decodes with {spec.get('decoder')}; supported is ByteLevel."
        )
    contents = {each.content for each in added}
    pairs = BytePairs(
        {as_latin1(token): index for token, index in model["vocab"].items() if token not in contents},
        [(as_latin1(left), as_latin1(right)) for left, right in read_merges(model["merges"])],
        bool(model.get("ignore_merges")),
    )
    ids = {**model["vocab"], **{each.content: each.token_id for each in added}}
    template = template_ids(spec.get("post_processor"), ids)
    return byte_pair_tokenizer(
        pairs,
        splits_of(spec["pre_tokenizer"]),
        form_of(spec.get("normalizer")),
        ids,
        added,
        files.roles(ids, template, unk=""),
        num_rows,
    )


def read_vocabulary_and_merges(files: CheckpointFiles, num_rows: int | None) -> Tokenizer:
    """`vocab.json` and `merges.txt`, of GPT-2 or of a class that `tokenizer_config.json` names."""
    kind = files.setting("tokenizer_class") or "GPT2Tokenizer"
    kind = kind.removesuffix("Fast")
    if kind not in _CLASSES:
        raise UserError(
            f"{files.folder!r}: vocab.json and merges.txt belong to a {kind}, whose way to split words is not in them. "
            f"Supported are {', '.join(_CLASSES)}; save the tokenizer as tokenizer.json with its library and import it."
        )
    if files.setting("add_prefix_space"):
        raise UserError(f"{files.folder!r}: the tokenizer has add_prefix_space, which is not supported.")
    splitter, normalizer = _CLASSES[kind]
    lines = files.contents["merges.txt"].decode().split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    added = files.added_tokens()
    vocabulary = files.read_json("vocab.json")
    known = {each.content for each in added}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token"):
        value = files.setting(name)
        content = value["content"] if isinstance(value, Mapping) else value
        if content in vocabulary and content not in known:
            added.append(AddedToken(content, vocabulary[content], special=True, lstrip=name == "mask_token"))
            known.add(content)
    if kind == "GPT2Tokenizer" and "<|endoftext|>" in vocabulary and "<|endoftext|>" not in known:
        added.append(AddedToken("<|endoftext|>", vocabulary["<|endoftext|>"], special=True))
    spec = {
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
        "pre_tokenizer": splitter,
        "normalizer": normalizer,
        "decoder": {"type": "ByteLevel"},
        "post_processor": {
            "type": "RobertaProcessing",
            "cls": ["<s>", vocabulary.get("<s>")],
            "sep": ["</s>", vocabulary.get("</s>")],
        }
        if kind == "RobertaTokenizer"
        else None,
    }
    return byte_level(files, spec, added, num_rows)


def byte_pair_tokenizer(
    pairs: Any,
    splits: Sequence[tuple[str, str]],
    normalization: str,
    ids: Mapping[str, int],
    added: Sequence[AddedToken],
    roles: Roles,
    num_rows: int | None,
) -> Tokenizer:
    """A `BytePairTokenizer` of a published vocabulary.

    Args:
        pairs: the `BytePairs`.
        splits: patterns with behaviors, in order.
        normalization: as in `TokenizerConfig`.
        ids: all tokens with their ids.
        added: special and added tokens.
        roles: of core tokens.
        num_rows: rows of the embedding.
    """
    from tflm.text.byte_pair_tokenizer import BytePairTokenizer, compile_byte_pair

    if texts := [each.content for each in added if each.is_text]:
        raise UserError(
            f"the byte-level tokenizer takes {texts[0]!r} out of a text before it splits words, which is not supported."
        )
    special_ids, vocab_size = place_special_ids(ids, added, roles, num_rows)
    passes: list[Pass] = []
    for place, (pattern, behavior) in enumerate(splits):
        is_last = place == len(splits) - 1
        passes += split_passes(pattern, behavior, keeps_words=is_last and pairs.ignore_merges)
    if pairs.ignore_merges and not (
        splits and covers_everything(splits[-1][0]) and splits[-1][1] == "Isolated"
    ):
        raise UserError(
            "the tokenizer takes words whole (ignore_merges) and splits them by a pattern that leaves text between "
            f"words: {splits[-1:]}. Supported are patterns of words, numbers, other characters and spaces."
        )
    texts_of = {each.token_id: each.content for each in added}
    asset = compile_byte_pair(pairs, passes, special_ids, vocab_size, texts_of)
    config = TokenizerConfig(
        kind="byte_pair", vocab_size=vocab_size, normalization=normalization, special_tokens=()
    )
    return BytePairTokenizer(config, asset)


def splits_of(spec: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Patterns and behaviors of a byte-level `pre_tokenizer`."""
    return [split for part in parts_of(spec, "pretokenizers") for split in _splits(part)]


def _splits(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    match part:
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}:
            yield pattern, behavior
        case {"type": "Split", "pattern": {"String": text}, "behavior": behavior, "invert": False}:
            yield re.escape(text), behavior
        case {"type": "Digits", "individual_digits": alone}:
            yield DIGITS if alone else f"{DIGITS}+", "Isolated"
        case {"type": "ByteLevel", "add_prefix_space": False}:
            if part.get("use_regex", True):
                yield GPT2, "Isolated"
        case _:
            raise UserError(
                f"the tokenizer splits texts with {part}, which is not supported. Supported are Split without invert, "
                "Digits, and ByteLevel without add_prefix_space."
            )


def form_of(spec: Mapping[str, Any] | None) -> str:
    """The `normalization` of a `TokenizerConfig` for a `normalizer` of a byte-level tokenizer."""
    kinds = [part["type"] for part in parts_of(spec, "normalizers")]
    if len(kinds) > 1 or any(kind not in FORMS for kind in kinds):
        raise UserError(f"the tokenizer normalizes texts with {spec}; supported are NFC, NFKC and nothing.")
    return FORMS[kinds[0] if kinds else None]
