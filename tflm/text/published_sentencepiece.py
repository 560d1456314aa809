"""SentencePiece vocabularies of checkpoints, from `tokenizer.json`."""

import base64
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tflm.errors import UserError
from tflm.text.checkpoint_files import CheckpointFiles, parts_of, template_ids
from tflm.text.merge_model import check_merges, merged_pieces, read_merges
from tflm.text.published_ids import AddedToken, Roles, place_special_ids
from tflm.text.published_sentencepiece_tokenizer import SPACE, SpaceRules, compile_sentencepiece
from tflm.text.sentencepiece_model import Piece
from tflm.text.tokenizer import Tokenizer

_REPLACED = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_RUNS = {"type": "Replace", "pattern": {"Regex": " {2,}"}}
_RIGHT_STRIP = {"type": "Strip", "strip_left": False, "strip_right": True}


def read_merges_with_bytes(
    files: CheckpointFiles, spec: Mapping[str, Any], added: Sequence[AddedToken], num_rows: int | None
) -> Tokenizer:
    """BPE over characters, where unknown ones become bytes: Llama 2, Mistral, Gemma."""
    model = spec["model"]
    check_merges(model)
    spaces, splits = _spaces_of_merges(spec)
    taken = {each.token_id for each in added}
    byte_ids = {f"<0x{value:02X}>": model["vocab"].get(f"<0x{value:02X}>") for value in range(256)}
    if not model.get("byte_fallback") or None in byte_ids.values():
        raise UserError(
            "the BPE model has neither a ByteLevel pre-tokenizer nor a token for each byte (byte_fallback); supported "
            "are these two."
        )
    tokens = {
        token: index
        for token, index in model["vocab"].items()
        if token not in byte_ids and index not in taken and not (splits and SPACE in token[1:])
    }
    pieces = merged_pieces(tokens, read_merges_of(model["merges"], tokens))
    size = max(*model["vocab"].values(), *taken, 0) + 1
    pieces += [Piece.unused(index) for index in range(len(pieces), size)]
    unreachable = {index: token for token, index in tokens.items() if pieces[index].kind == "CONTROL"}
    if model.get("ignore_merges") and unreachable:
        raise UserError(
            f"the BPE model takes texts whole (ignore_merges) and has {len(unreachable)} tokens that no merges make, "
            "which is supported for byte-level BPE only."
        )
    for token, index in byte_ids.items():
        pieces[index] = Piece(token, 0.0, "BYTE")
    ids = {**model["vocab"], **{each.content: each.token_id for each in added}}
    roles = files.roles(ids, template_ids(spec.get("post_processor"), ids), unk=model.get("unk_token") or "")
    return place_pieces(pieces, "BPE", spaces, ids, added, roles, num_rows, unreachable)


def read_unigram(
    files: CheckpointFiles, spec: Mapping[str, Any], added: Sequence[AddedToken], num_rows: int | None
) -> Tokenizer:
    """Unigram of a `tokenizer.json`: T5, XLM-R."""
    model = spec["model"]
    spaces, charsmap = _spaces_of_unigram(spec)
    pieces = []
    for index, (token, score) in enumerate(model["vocab"]):
        kind = "UNKNOWN" if index == model["unk_id"] else "NORMAL"
        # Words are split at spaces first, so no piece goes on after one.
        pieces.append(Piece(token, score, kind) if SPACE not in token[1:] else Piece.unused(index))
    ids = {piece.text: index for index, piece in enumerate(pieces)}
    ids |= {each.content: each.token_id for each in added}
    unk = model["vocab"][model["unk_id"]][0]
    roles = files.roles(ids, template_ids(spec.get("post_processor"), ids), unk=unk)
    if model.get("byte_fallback"):
        pieces = [
            piece._replace(kind="BYTE") if len(piece.text) == 6 and piece.text.startswith("<0x") else piece
            for piece in pieces
        ]
    return place_pieces(pieces, "UNIGRAM", spaces, ids, added, roles, num_rows, {}, charsmap)


def read_merges_of(merges: Sequence[str | Sequence[str]], tokens: Mapping[str, int]) -> list[tuple[str, str]]:
    """The merges between these tokens; those of tokens that no text gives are left out."""
    return [
        (left, right)
        for left, right in read_merges(merges)
        if left in tokens and right in tokens and left + right in tokens
    ]


def place_pieces(
    pieces: Sequence[Piece],
    algorithm: str,
    spaces: SpaceRules,
    ids: Mapping[str, int],
    added: Sequence[AddedToken],
    roles: Roles,
    num_rows: int | None,
    written: Mapping[int, str] = types.MappingProxyType({}),
    charsmap: bytes = b"",
) -> Tokenizer:
    """The tokenizer of a SentencePiece vocabulary, with its added tokens out of reach of any text, and those of spaces
    or line ends found in it.

    Args:
        pieces: by id.
        algorithm: "BPE" or "UNIGRAM".
        spaces: what is done with spaces.
        ids: all tokens with their ids.
        added: special and added tokens.
        roles: of core tokens.
        num_rows: rows of the embedding.
        written: texts of ids that no text gives, and a model may.
        charsmap: compiled normalization.
    """
    pieces = [*pieces, *(Piece.unused(index) for index in range(len(pieces), max(ids.values()) + 1))]
    for each in added:
        if each.token_id == roles.unk:
            pieces[each.token_id] = Piece(each.content, 0.0, "UNKNOWN")
        elif each.is_text:
            pieces[each.token_id] = Piece(each.content.replace(" ", SPACE), 0.0, "USER_DEFINED")
        else:
            pieces[each.token_id] = Piece.unused(each.token_id)
    special_ids, vocab_size = place_special_ids(ids, added, roles, num_rows)
    texts = {index: token.replace(SPACE, " ") for index, token in written.items()}
    texts |= {each.token_id: each.content for each in added if not each.is_text}
    return compile_sentencepiece(
        pieces, algorithm, spaces, special_ids, vocab_size, charsmap=charsmap, added=texts
    )


def _spaces_of_merges(spec: Mapping[str, Any]) -> tuple[SpaceRules, bool]:
    """The rules of a BPE tokenizer, and whether words are split at spaces before they are merged."""
    normalizers = parts_of(spec.get("normalizer"), "normalizers")
    splitters = parts_of(spec.get("pre_tokenizer"), "pretokenizers")
    if normalizers == [{"type": "Prepend", "prepend": SPACE}, _REPLACED] and not splitters:
        return SpaceRules("always"), False
    gemma = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    if normalizers == [_REPLACED] and splitters in ([], [gemma]):
        return SpaceRules("never"), False
    if not normalizers and len(splitters) == 1 and splitters[0]["type"] == "Metaspace":
        return SpaceRules(_prefix_of(splitters[0]), doubles_prefix=False), splitters[0].get("split", True)
    raise UserError(
        f"the BPE tokenizer normalizes texts with {spec.get('normalizer')} and splits them with "
        f"{spec.get('pre_tokenizer')}, which is not supported. Supported are the ways of Llama, Mistral and Gemma: "
        "spaces as U+2581, with one before a text or none."
    )


def _prefix_of(metaspace: Mapping[str, Any]) -> str:
    if metaspace.get("replacement", SPACE) != SPACE:
        raise UserError(f"the tokenizer writes a space as {metaspace['replacement']!r}; supported is U+2581.")
    scheme = metaspace.get("prepend_scheme")
    return scheme or ("always" if metaspace.get("add_prefix_space", True) else "never")


def _spaces_of_unigram(spec: Mapping[str, Any]) -> tuple[SpaceRules, bytes]:
    """The rules of a unigram tokenizer, and its compiled normalization."""
    normalizers = parts_of(spec.get("normalizer"), "normalizers")
    splitters = parts_of(spec.get("pre_tokenizer"), "pretokenizers")
    charsmap = b""
    if normalizers and normalizers[0]["type"] == "Precompiled":
        charsmap = base64.b64decode(normalizers[0]["precompiled_charsmap"] or "")
        normalizers = normalizers[1:]
    runs = [{**each, "content": SPACE} if each.get("content") == " " else each for each in normalizers]
    collapsed = runs in ([{**_RUNS, "content": SPACE}], [_RIGHT_STRIP, {**_RUNS, "content": SPACE}])
    kinds = [each["type"] for each in splitters]
    if kinds == ["WhitespaceSplit", "Metaspace"] and not normalizers and _prefix_of(splitters[1]) == "always":
        return SpaceRules("always", collapses=True, blanks=_other_blanks(charsmap)), charsmap
    if (
        kinds == ["Metaspace"]
        and collapsed
        and _prefix_of(splitters[0]) == "always"
        and _RIGHT_STRIP in normalizers
    ):
        return SpaceRules("always", collapses=True, ends=_blank_ends(charsmap)), charsmap
    raise UserError(
        f"the unigram tokenizer splits texts with {spec.get('pre_tokenizer')} after the normalizers "
        f"{[each['type'] for each in parts_of(spec.get('normalizer'), 'normalizers')]}, which is not supported. "
        "Supported are the ways of T5 and XLM-R: words at white space, each with U+2581 before it."
    )


def _other_blanks(charsmap: bytes) -> str:
    """The white space, other than the space, that a normalization leaves as it is, as the inside of a class."""
    return _class_of(charsmap, lambda each, normal: each.isspace() and each not in " " and normal == each)


def _blank_ends(charsmap: bytes) -> str:
    """What a normalization makes nothing or white space of, as the inside of a class."""
    return _class_of(charsmap, lambda each, normal: not normal.strip())


def _class_of(charsmap: bytes, belongs: Callable[[str, str], bool]) -> str:
    from tokenizers import normalizers

    normalize: Callable[[str], str] = normalizers.Precompiled(charsmap).normalize_str if charsmap else str
    characters = map(chr, (*range(0x3001), 0xFEFF))
    found = [each for each in characters if belongs(each, normalize(each))]
    return "".join(rf"\x{{{ord(each):X}}}" for each in found)
