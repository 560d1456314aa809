"""From files to a tokenizer: one that was saved, or a published BERT vocabulary."""

import os

from tflm.config import load_json
from tflm.errors import UserError
from tflm.text.tokenizer import CONFIG_NAME, Tokenizer
from tflm.text.tokenizer_config import TokenizerConfig


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer that `Tokenizer.save` wrote into `folder`.

    Raises:
        UserError: there is none, or a file of it is damaged.
    """
    config = load_json(TokenizerConfig, os.path.join(folder, CONFIG_NAME))
    return tokenizer_class(config.kind).load(config, folder)


def load_bert_vocabulary(
    path: str | os.PathLike[str], case_fold: bool, normalization: str = "auto"
) -> Tokenizer:
    """A wordpiece tokenizer with the ids of a published BERT: the line number of each piece in `vocab.txt`.

    >>> tokenizer = load_bert_vocabulary("bert-base-chinese/vocab.txt", case_fold=True)
    >>> tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id, tokenizer.unk_id, tokenizer.special_tokens
    (0, 101, 102, 100, {"separator": 102, "mask": 103})

    Args:
        path: one piece a line, with [PAD], [UNK], [CLS], [SEP] and [MASK] among them.
        case_fold: True for an uncased model (it also strips accents), False for a cased one.
        normalization: as in `TokenizerConfig`.
    Raises:
        UserError: no such file, or a special piece is missing.
    """
    from tflm.text.wordpiece_tokenizer import WordPieceTokenizer, read_vocabulary

    try:
        with open(path, "rb") as file:
            asset = file.read().replace(b"\r\n", b"\n").rstrip(b"\n")
    except OSError as error:
        raise UserError(f"cannot read the vocabulary {os.fspath(path)!r}: {error.strerror}.") from error
    config = TokenizerConfig(
        kind="wordpiece",
        vocab_size=len(read_vocabulary(asset)),
        normalization=normalization,
        case_fold=case_fold,
        special_tokens=("separator", "mask"),
    )
    return WordPieceTokenizer(config, asset)


def tokenizer_class(kind: str) -> type[Tokenizer]:
    """The class of a kind, imported on demand: byte and character ones work without tensorflow-text."""
    match kind:
        case "sentencepiece":
            from tflm.text.sentencepiece_tokenizer import SentencePieceTokenizer

            return SentencePieceTokenizer
        case "wordpiece":
            from tflm.text.wordpiece_tokenizer import WordPieceTokenizer

            return WordPieceTokenizer
        case "byte":
            from tflm.text.byte_tokenizer import ByteTokenizer

            return ByteTokenizer
        case _:
            from tflm.text.character_tokenizer import CharacterTokenizer

            return CharacterTokenizer
