"""Writing SentencePiece models piece by piece."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Piece(NamedTuple):
    """An entry of a SentencePiece model; its place is its id."""

    text: str
    score: float
    kind: str
    """"NORMAL", "UNKNOWN", "CONTROL" (no text gives it), "USER_DEFINED" (found before all others), "BYTE"."""

    @classmethod
    def unused(cls, token_id: int) -> "Piece":
        """Of an id that no text gives."""
        return cls(f"\u2400{token_id}\u2400", 0.0, "CONTROL")


def serialized_model(
    pieces: Sequence[Piece],
    algorithm: str,
    *,
    charsmap: bytes = b"",
    add_dummy_prefix: bool = False,
    remove_extra_whitespaces: bool = False,
    escape_whitespaces: bool = False,
) -> bytes:
    """A SentencePiece model.

    Args:
        pieces: by id; exactly one is "UNKNOWN".
        algorithm: "BPE" or "UNIGRAM".
        charsmap: a compiled normalization; empty for none.
        add_dummy_prefix: put a space before each text.
        remove_extra_whitespaces: no space at the ends, and one for several.
        escape_whitespaces: write a space as U+2581.
    """
    from sentencepiece import sentencepiece_model_pb2

    protos: Any = sentencepiece_model_pb2
    model = protos.ModelProto()
    for text, score, kind in pieces:
        model.pieces.add(piece=text, score=score, type=getattr(protos.ModelProto.SentencePiece, kind))
    model.trainer_spec.model_type = getattr(protos.TrainerSpec, algorithm)
    model.trainer_spec.vocab_size = len(pieces)
    model.trainer_spec.byte_fallback = any(piece.kind == "BYTE" for piece in pieces)
    spec = model.normalizer_spec
    spec.name = "precompiled" if charsmap else "identity"
    spec.precompiled_charsmap = charsmap
    spec.add_dummy_prefix = add_dummy_prefix
    spec.remove_extra_whitespaces = remove_extra_whitespaces
    spec.escape_whitespaces = escape_whitespaces
    return model.SerializeToString()
