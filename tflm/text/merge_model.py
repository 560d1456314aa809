"""Byte pair encoding as a list of merges, compiled to a SentencePiece model, which a server runs.

`tokenizers` merges two tokens if their pair is in the list; SentencePiece merges two if their concatenation is a piece.
Both take the best rank first, and among equals the leftmost. They give the same tokens if no piece is a token that its
own merges do not make whole: as long as the characters of a token are not merged with others, they are merged as if
they were alone, so the last two parts of a token are always the same two. Tokens that merges do not make whole keep
their id, and no text gives them.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tflm.errors import UserError
from tflm.text.sentencepiece_model import Piece, serialized_model

Merge = tuple[str, str]


def unreachable_tokens(tokens: Mapping[str, int], merges: Sequence[Merge]) -> set[str]:
    """Tokens of several characters that their own merges do not make whole.

    >>> unreachable_tokens({"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}, [("b", "c"), ("a", "b"), ("ab", "c")])
    {"abc"}

    Raises:
        UserError: a merge of tokens that the vocabulary does not have.
    """
    from tokenizers import Tokenizer, models

    try:
        model = Tokenizer(models.BPE(dict(tokens), list(merges)))
    except Exception as error:  # the library raises no narrower one
        raise UserError(f"the merges do not fit the vocabulary: {error}") from error
    several = [token for token in tokens if len(token) > 1]
    return {
        token
        for token, encoding in zip(several, model.encode_batch_fast(several), strict=True)
        if len(encoding) != 1 or encoding.ids[0] != tokens[token]
    }


def merge_ranks(tokens: Collection[str], merges: Sequence[Merge]) -> dict[str, int]:
    """The rank at which each of the tokens is made: that of the last of its own merges.

    Args:
        tokens: reachable ones.
        merges: all, in order.
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    # Of each token, its first and last pair in the list, and their number.
    made: dict[str, tuple[int, int, int]] = {}
    for (left, right), rank in ranks.items():
        first, _, count = made.get(left + right, (rank, rank, 0))
        made[left + right] = (first, rank, count + 1)
    found = {}
    for token in tokens:
        first, last, count = made.get(token, (0, 0, 1))
        # Pairs next to each other in the list rank the same among all others.
        found[token] = first if last - first < count else _last_rank(token, ranks)
    return found


def _last_rank(token: str, ranks: Mapping[Merge, int]) -> int:
    """The rank of the merge that makes the token whole."""
    parts, last = list(token), 0
    while len(parts) > 1:
        pairs = [ranks.get(pair, len(ranks)) for pair in itertools.pairwise(parts)]
        place = min(range(len(pairs)), key=pairs.__getitem__)
        last = pairs[place]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return last


def merge_model(
    tokens: Mapping[str, int], merges: Sequence[Merge], *, whole: Callable[[str], str] | None = None
) -> bytes:
    """A SentencePiece model that gives each text the tokens of these merges.

    Args:
        tokens: ids by token; some ids may have none.
        merges: pairs in order of rank.
        whole: for tokens that no merges make whole, and that a word which is such a token is nevertheless
            (`ignore_merges`): how a text spells that word.
    Returns:
        The serialized model, with a piece of unknown characters after the last id.
    """
    pieces = merged_pieces(tokens, merges)
    if whole is not None:
        by_id = {token_id: token for token, token_id in tokens.items()}
        for token_id, piece in enumerate(pieces):
            if piece.kind == "CONTROL" and token_id in by_id:
                pieces[token_id] = Piece(whole(by_id[token_id]), 0.0, "USER_DEFINED")
    return serialized_model([*pieces, Piece("\u2400unknown\u2400", 0.0, "UNKNOWN")], "BPE")


def merged_pieces(tokens: Mapping[str, int], merges: Sequence[Merge]) -> list[Piece]:
    """A piece for each id up to the last. Ids without a token, and tokens that no merges make whole, are "CONTROL"."""
    unreachable = unreachable_tokens(tokens, merges)
    ranks = merge_ranks(tokens.keys() - unreachable, merges)
    pieces = [Piece.unused(token_id) for token_id in range(max(tokens.values()) + 1)]
    for token, rank in ranks.items():
        pieces[tokens[token]] = Piece(token, -float(rank), "NORMAL")
    return pieces


def read_merges(merges: Sequence[str | Sequence[str]]) -> list[Merge]:
    """Pairs, from "a b" or ["a", "b"]."""
    pairs = (each.split(" ", 1) if isinstance(each, str) else each for each in merges)
    return [(left, right) for left, right in pairs]


def check_merges(model: Mapping[str, Any]) -> None:
    """Refuses settings of a BPE model that change its tokens."""
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise UserError(f"the BPE model has {name}={model[name]!r}, which is not supported.")
