"""WordPiece vocabularies of published BERT models, from `tokenizer.json` or `vocab.txt`."""

from collections.abc import Mapping, Sequence
from typing import Any

from tflm.errors import UserError
from tflm.text.checkpoint_files import CheckpointFiles
from tflm.text.published_ids import AddedToken
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import TokenizerConfig
from tflm.text.wordpiece_tokenizer import ADDED, WordPieceTokenizer, read_vocabulary


def read_wordpiece_json(
    spec: Mapping[str, Any], added: Sequence[AddedToken], num_rows: int | None
) -> Tokenizer:
    """The WordPiece model of a `tokenizer.json`.

    Raises:
        UserError: rules other than BERT's.
    """
    model, normalizer, splitter = spec["model"], spec["normalizer"] or {}, spec["pre_tokenizer"] or {}
    wanted = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    found = {name: model.get(name, value) for name, value in wanted.items()}
    if found != wanted:
        raise UserError(f"the WordPiece model has {found}; supported is {wanted}.")
    if normalizer.get("type") != "BertNormalizer" or not normalizer["clean_text"]:
        raise UserError(
            f"the WordPiece tokenizer normalizes texts with {normalizer}; supported is BertNormalizer."
        )
    if splitter.get("type") != "BertPreTokenizer":
        raise UserError(
            f"the WordPiece tokenizer splits texts with {splitter}; supported is BertPreTokenizer."
        )
    return _tokenizer(
        model["vocab"],
        added,
        num_rows,
        case_fold=normalizer["lowercase"],
        strip_accents=normalizer["strip_accents"],
        split_han=normalizer["handle_chinese_chars"],
    )


def read_vocabulary_file(files: CheckpointFiles, num_rows: int | None) -> Tokenizer:
    """A `vocab.txt`, with the settings of `tokenizer_config.json`.

    Without `do_lower_case` there, a vocabulary with a capital letter in a word is that of a cased model.
    """
    asset = files.contents["vocab.txt"].removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").rstrip(b"\n")
    pieces = read_vocabulary(asset)
    case_fold = files.setting("do_lower_case")
    if case_fold is None:
        case_fold = not any("A" <= letter <= "Z" for piece in pieces if piece[:1] != "[" for letter in piece)
    split_han = files.setting("tokenize_chinese_chars")
    added = files.added_tokens() or [
        AddedToken(piece, index, special=True)
        for index, piece in enumerate(pieces)
        if piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    ]
    return _tokenizer(
        {piece: index for index, piece in enumerate(pieces)},
        added,
        num_rows,
        case_fold=case_fold,
        strip_accents=files.setting("strip_accents"),
        split_han=True if split_han is None else split_han,
    )


def _tokenizer(
    vocabulary: Mapping[str, int], added: Sequence[AddedToken], num_rows: int | None, **rules: bool | None
) -> Tokenizer:
    for each in added:
        if each.lstrip or each.rstrip:
            raise UserError(
                f"the added token {each.content!r} of the WordPiece tokenizer takes spaces around it (lstrip or "
                "rstrip), which is not supported."
            )
    pieces = {index: piece for piece, index in vocabulary.items()}
    pieces |= {each.token_id: ADDED + each.content for each in added}
    size = max(max(pieces) + 1, num_rows or 0)
    if num_rows is not None and size > num_rows:
        raise UserError(
            f"the tokenizer has ids up to {size - 1}, and the embedding of the checkpoint has {num_rows} rows."
        )
    lines = [pieces.get(index, f"{ADDED}{ADDED}{index}") for index in range(size)]
    names = tuple(name for name in ("separator", "mask") if name == "separator" or f"{ADDED}[MASK]" in lines)
    config = TokenizerConfig(
        kind="wordpiece",
        vocab_size=size,
        normalization="none",
        special_tokens=names,
        exact_bert=True,
        **rules,  # type: ignore[arg-type]
    )
    return WordPieceTokenizer(config, "\n".join(lines).encode())
