"""Tokenizers from the metadata of a GGUF file, the format of llama.cpp."""

from collections.abc import Mapping, Sequence
from typing import Any

from tflm.errors import UserError
from tflm.text.huggingface_tokenizer import byte_pair_tokenizer
from tflm.text.merge_model import read_merges
from tflm.text.published_ids import END_NAMES, AddedToken, Roles
from tflm.text.split_patterns import DEEPSEEK_V3, DIGITS, GPT2, LLAMA3, O200K, QWEN2
from tflm.text.tokenizer import Tokenizer

_PREFIX = "tokenizer.ggml."
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_LLAMA3 = ((LLAMA3,), "none", True)
_QWEN2 = ((QWEN2,), "nfc", False)
# tokenizer.ggml.pre: patterns, Unicode normalization, whether words that are tokens need no merges.
_PRE = {
    "gpt-2": ((GPT2,), "none", False),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "smollm": ((DIGITS, GPT2), "none", False),
    "deepseek-v3": (DEEPSEEK_V3, "none", False),
    "gpt-4o": ((O200K,), "none", True),
}


def read_gguf(metadata: Mapping[str, Any], num_rows: int | None) -> Tokenizer:
    """The tokenizer of a GGUF file.

    Args:
        metadata: values by key, such as `tokenizer.ggml.tokens`.
        num_rows: rows of the embedding; by default as many as the file has tokens.
    Raises:
        UserError: no tokenizer, or one of a kind that is not supported.
    """
    model = metadata.get(f"{_PREFIX}model")
    if model is None:
        raise UserError(
            f"the GGUF metadata has no {_PREFIX}model; a file of a vision part or a LoRA has no tokenizer."
        )
    tokens = [str(token) for token in metadata[f"{_PREFIX}tokens"]]
    types = [int(kind) for kind in metadata.get(f"{_PREFIX}token_type", [_NORMAL] * len(tokens))]
    added = [
        AddedToken(token, index, special=kind != _USER_DEFINED)
        for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED)
    ]
    ids = {token: index for index, (token, kind) in enumerate(zip(tokens, types)) if kind != _UNUSED}
    num_rows = num_rows or len(tokens)
    if model == "gpt2":
        return _byte_level(metadata, ids, added, num_rows)
    if model == "llama":
        return _sentencepiece(metadata, types, ids, added, num_rows)
    raise UserError(f"the GGUF file has a tokenizer of the model {model!r}; supported are gpt2 and llama.")


def _byte_level(
    metadata: Mapping[str, Any], ids: Mapping[str, int], added: Sequence[AddedToken], num_rows: int
) -> Tokenizer:
    from tflm.text.byte_pair_tokenizer import BytePairs, as_latin1

    pre = metadata.get(f"{_PREFIX}pre")
    if pre not in _PRE:
        raise UserError(
            f"the GGUF file splits texts as {pre!r} (tokenizer.ggml.pre); supported are {', '.join(_PRE)}. Import the "
            "folder with tokenizer.json of this checkpoint instead."
        )
    patterns, normalization, ignore_merges = _PRE[pre]
    contents = {each.content for each in added}
    pairs = BytePairs(
        {as_latin1(token): index for token, index in ids.items() if token not in contents},
        [(as_latin1(left), as_latin1(right)) for left, right in read_merges(metadata[f"{_PREFIX}merges"])],
        ignore_merges,
    )
    splits = [(pattern, "Isolated") for pattern in patterns]
    roles = _roles(metadata, ids, added, adds_start=pre in ("llama-bpe", "llama3", "llama-v3"))
    return byte_pair_tokenizer(pairs, splits, normalization, ids, added, roles, num_rows)


def _sentencepiece(
    metadata: Mapping[str, Any],
    types: Sequence[int],
    ids: Mapping[str, int],
    added: Sequence[AddedToken],
    num_rows: int,
) -> Tokenizer:
    """A SentencePiece model of merges, whose scores are their ranks."""
    from tflm.text.published_sentencepiece import place_pieces
    from tflm.text.published_sentencepiece_tokenizer import SpaceRules
    from tflm.text.sentencepiece_model import Piece

    tokens, scores = metadata[f"{_PREFIX}tokens"], metadata[f"{_PREFIX}scores"]
    kinds = {_NORMAL: "NORMAL", _BYTE: "BYTE"}
    pieces = [
        Piece(str(token), float(score), kinds[kind]) if kind in kinds else Piece.unused(index)
        for index, (token, score, kind) in enumerate(zip(tokens, scores, types, strict=True))
    ]
    spaces = SpaceRules("always" if metadata.get(f"{_PREFIX}add_space_prefix", True) else "never")
    roles = _roles(metadata, ids, added, adds_start=True)
    return place_pieces(pieces, "BPE", spaces, ids, added, roles, num_rows)


def _roles(
    metadata: Mapping[str, Any], ids: Mapping[str, int], added: Sequence[AddedToken], adds_start: bool
) -> Roles:
    """Core ids; further ends are control tokens whose names say so."""

    def token(name: str) -> int | None:
        value = metadata.get(f"{_PREFIX}{name}_token_id")
        return None if value is None else int(value)

    special = {each.content for each in added if each.special}
    named = [ids[name] for name in END_NAMES if name in special]
    ends = [token("eos"), token("eot"), *named]
    bos = token("bos")
    starts = metadata.get(f"{_PREFIX}add_bos_token", adds_start)
    return Roles(
        start=bos if starts else None,
        ends=list(dict.fromkeys(each for each in ends if each is not None)),
        pad=token("padding"),
        unk=token("unknown"),
        separator=token("seperator"),  # the key is spelled so
        mask=token("mask"),
        others=() if bos is None else (bos,),
    )
