"""SentencePiece model files of checkpoints: `tokenizer.model`, `spiece.model`, `sentencepiece.bpe.model`."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tflm.errors import UserError
from tflm.text.checkpoint_files import CheckpointFiles
from tflm.text.published_ids import AddedToken, Roles, with_rows
from tflm.text.published_sentencepiece import place_pieces
from tflm.text.published_sentencepiece_tokenizer import SpaceRules
from tflm.text.sentencepiece_model import Piece
from tflm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class _ModelFile:
    """A parsed SentencePiece model file."""

    pieces: list[Piece]
    algorithm: str
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    core: dict[str, int]


_KINDS = {1: "NORMAL", 2: "UNKNOWN", 3: "CONTROL", 4: "USER_DEFINED", 5: "UNUSED", 6: "BYTE"}
_T5 = ("T5Tokenizer", "T5TokenizerFast", "MT5Tokenizer", "MT5TokenizerFast")
_SHIFTED = ("XLMRobertaTokenizer", "XLMRobertaTokenizerFast")
_PLAIN = (
    "LlamaTokenizer",
    "LlamaTokenizerFast",
    "GemmaTokenizer",
    "GemmaTokenizerFast",
    "PreTrainedTokenizerFast",
)


def read_model_file(files: CheckpointFiles, name: str, num_rows: int | None) -> Tokenizer:
    """A SentencePiece model, with the tokens that the checkpoint's tokenizer class adds to it.

    Raises:
        UserError: no model, or a class that changes ids in an unknown way.
    """
    model = _parse(files, name)
    kind = files.setting("tokenizer_class") or (_SHIFTED[0] if name == "sentencepiece.bpe.model" else None)
    if kind is None and files.read_json("config.json").get("model_type") in ("t5", "mt5", "umt5"):
        kind = _T5[0]
    if kind not in (None, *_T5, *_SHIFTED, *_PLAIN):
        raise UserError(
            f"{files.folder!r}: {name} belongs to a {kind}, which changes the ids of the model in its own way. "
            f"Supported are {', '.join((*_T5[::2], _SHIFTED[0], *_PLAIN[::2]))}; save the tokenizer as tokenizer.json "
            "with its library and import that."
        )
    pieces, added = list(model.pieces), with_rows(files.added_tokens(), num_rows)
    if kind in _SHIFTED:
        pieces, shifted = _shifted(pieces)
        added = added or shifted
    elif kind in _T5:
        added = _with_sentinels(files, pieces, added)
    known = {each.token_id for each in added}
    for index, piece in enumerate(pieces):
        if piece.kind in ("CONTROL", "USER_DEFINED", "UNKNOWN") and index not in known:
            added.append(AddedToken(piece.text, index, special=piece.kind != "USER_DEFINED"))
    ids = {piece.text: index for index, piece in enumerate(pieces)} | {
        each.content: each.token_id for each in added
    }
    unk = next(piece.text for piece in pieces if piece.kind == "UNKNOWN")
    roles = _model_roles(files, model, kind, files.roles(ids, None, unk=unk))
    # After special tokens too, as in the reference code of Llama 2; `legacy: false` asks for the first text alone.
    prefix = "never" if not model.add_dummy_prefix else "always"
    if prefix == "always" and files.setting("legacy") is False and kind not in (*_T5, *_SHIFTED):
        prefix = "first"
    spaces = SpaceRules(prefix, collapses=model.remove_extra_whitespaces)
    pieces = [Piece.unused(index) if piece.kind == "UNUSED" else piece for index, piece in enumerate(pieces)]
    return place_pieces(pieces, model.algorithm, spaces, ids, added, roles, num_rows, {}, model.charsmap)


def _parse(files: CheckpointFiles, name: str) -> _ModelFile:
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    protos: Any = sentencepiece_model_pb2
    model = protos.ModelProto()
    try:
        model.ParseFromString(files.contents[name])
    except DecodeError as error:
        raise UserError(f"{files.folder!r}: {name} is not a SentencePiece model: {error}.") from error
    algorithm = {1: "UNIGRAM", 2: "BPE"}.get(model.trainer_spec.model_type)
    kinds = [_KINDS[each.type] for each in model.pieces]
    if algorithm is None or "UNKNOWN" not in kinds or not model.normalizer_spec.escape_whitespaces:
        raise UserError(f"{files.folder!r}: {name} is no SentencePiece model of the kinds BPE and unigram.")
    trainer = model.trainer_spec
    return _ModelFile(
        [Piece(each.piece, each.score, kind) for each, kind in zip(model.pieces, kinds)],
        algorithm,
        model.normalizer_spec.precompiled_charsmap,
        model.normalizer_spec.add_dummy_prefix,
        model.normalizer_spec.remove_extra_whitespaces,
        {"start": trainer.bos_id, "end": trainer.eos_id, "pad": trainer.pad_id},
    )


def _shifted(pieces: Sequence[Piece]) -> tuple[list[Piece], list[AddedToken]]:
    """XLM-R: the ids of fairseq, with four tokens before the pieces and a mask after them (Conneau et al., 2020)."""
    names = ("<s>", "<pad>", "</s>", "<unk>")
    core = [Piece(name, 0.0, "UNKNOWN" if name == "<unk>" else "CONTROL") for name in names]
    placed = [*core, *pieces[3:], Piece("<mask>", 0.0, "CONTROL")]
    added = [AddedToken(name, index, special=True) for index, name in enumerate(names)]
    return placed, [*added, AddedToken("<mask>", len(placed) - 1, special=True, lstrip=True)]


def _with_sentinels(
    files: CheckpointFiles, pieces: Sequence[Piece], added: Sequence[AddedToken]
) -> list[AddedToken]:
    """T5: `<extra_id_N>` after the pieces, the last first (Raffel et al., 2020)."""
    if any(each.content.startswith("<extra_id_") for each in added):
        return list(added)
    in_model = any(piece.text == "<extra_id_0>" for piece in pieces)
    count = files.setting("extra_ids")
    count = (0 if in_model else 100) if count is None else count
    sentinels = [
        AddedToken(f"<extra_id_{number}>", len(pieces) + count - 1 - number, special=True)
        for number in range(count)
    ]
    return [*added, *sentinels]


def _model_roles(files: CheckpointFiles, model: _ModelFile, kind: str | None, roles: Roles) -> Roles:
    """Core ids that no file says, from the model itself and from what its class does by default."""
    core = {name: index for name, index in model.core.items() if index >= 0}
    if kind in _SHIFTED:
        return dataclasses.replace(
            roles,
            start=0,
            ends=roles.ends or (2,),
            pad=1 if roles.pad is None else roles.pad,
            separator=2,
            mask=roles.mask if roles.mask is not None else len(model.pieces) + 1,
        )
    start = roles.start
    if start is None and kind not in _T5 and files.setting("add_bos_token") is None:
        start = core.get("start")
    ends = roles.ends or [index for name, index in core.items() if name == "end"]
    pad = core.get("pad") if roles.pad is None else roles.pad
    return dataclasses.replace(roles, start=start, ends=ends, pad=pad)
