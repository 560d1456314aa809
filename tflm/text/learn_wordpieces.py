"""Training of a WordPiece vocabulary from word counts, with the learner of tensorflow-text."""

import collections
import math
from collections.abc import Collection, Mapping, Sequence

from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

from tflm.errors import UserError

_COVERAGE = 0.9995
"""Character coverage of the alphabet; rare characters are excluded, as in SentencePiece."""

_MAX_WORDS = 20_000
"""The learner uses the most frequent words only; its time grows with their number."""

_MAX_WORD_LENGTH = 24


def learn_wordpieces(
    word_counts: Mapping[str, int], lone: Collection[str], specials: Sequence[str], vocab_size: int
) -> list[str]:
    """A vocabulary: special pieces, the alphabet, the alphabet as suffixes, then longer pieces.

    `compute_word_piece_vocabulary` of keras-nlp calls the same learner, but with at most 1,000 characters (Chinese
    texts have several thousand), with a suffix for every Han character (which never occurs), and with a threshold
    search that took 26 seconds on a text where this one takes 3.

    Args:
        word_counts: count of each word.
        lone: characters that are always separate words, and so need no suffix.
        specials: special pieces, which come first.
        vocab_size: int, maximum number of pieces.
    Returns:
        At most `vocab_size` distinct pieces.
    Raises:
        UserError: special pieces and alphabet exceed `vocab_size`.
    """
    alphabet = _alphabet(word_counts)
    suffixes = ["##" + character for character in alphabet if character not in lone]
    base = [*specials, *alphabet, *suffixes]
    if len(base) > vocab_size:
        raise UserError(
            f"vocab_size={vocab_size} is too small for the special tokens and characters of this text: the "
            f"smallest possible is {len(base)}. Set vocab_size to {len(base)} or more."
        )
    letters = set(alphabet).difference(lone)
    words = {
        word: count
        for word, count in word_counts.items()
        if 1 < len(word) <= _MAX_WORD_LENGTH and letters.issuperset(word)
    }
    frequent = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:_MAX_WORDS]
    room = vocab_size - len(base)
    pieces = _learn(frequent, room) if frequent and room else []
    return list(dict.fromkeys([*base, *pieces]))[:vocab_size]


def _alphabet(word_counts: Mapping[str, int]) -> list[str]:
    """The most frequent characters that cover `_COVERAGE` of the text, in descending order."""
    counts: collections.Counter[str] = collections.Counter()
    for word, count in word_counts.items():
        for character in word:
            counts[character] += count
    alphabet, covered, wanted = [], 0, _COVERAGE * counts.total()
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= wanted:
            break
        alphabet.append(character)
        covered += count
    return alphabet


def _learn(word_counts: Sequence[tuple[str, int]], num_pieces: int) -> list[str]:
    """At least `num_pieces` pieces longer than a character, most frequent first, if available.

    The learner keeps pieces above a frequency threshold; this is a binary search for the threshold on a log scale.
    """
    num_characters = sum(len(word) * count for word, count in word_counts)
    low, high = 1, num_characters // num_pieces + 1  # num_pieces pieces cannot be more frequent than this
    best: list[str] = []
    while low <= high:
        threshold = math.isqrt(low * high)
        learned = learner.learn(
            word_counts,
            vocab_size=num_pieces,
            reserved_tokens=[],
            lower_thresh=threshold,
            upper_thresh=threshold,
            num_iterations=2,  # 4 take twice as long and gain a quarter of a percent
            max_unique_chars=len(word_counts) * _MAX_WORD_LENGTH,
        )
        pieces = [piece for piece in learned if len(piece.removeprefix("##")) > 1]
        if len(best) < min(len(pieces), num_pieces) or num_pieces <= len(pieces) < len(best):
            best = pieces
        if num_pieces <= len(pieces) <= 1.05 * num_pieces:
            break
        low, high = (threshold + 1, high) if len(pieces) > num_pieces else (low, threshold - 1)
    return best
