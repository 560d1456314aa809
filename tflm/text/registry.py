"""Tokenizers by kind: trained on text, loaded from a saved folder, or from a published BERT vocabulary."""

import os
from collections.abc import Iterable

from tflm.config import load_json
from tflm.errors import UserError
from tflm.files.encodings import detect_encoding
from tflm.text.source_files import read_source_files
from tflm.text.tokenizer import CONFIG_NAME, Tokenizer
from tflm.text.tokenizer_config import TOKENIZERS, TokenizerConfig


def train_tokenizer(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """Learns a vocabulary; the same config and texts always give the same one.

    SentencePiece and WordPiece learn from lines spread over all the texts, about four million characters at
    most, which takes seconds. The texts are read once, so a generator over a large corpus will do.

    >>> tokenizer = train_tokenizer(TokenizerConfig(vocab_size=300), ["hello world", "你好，世界"])
    >>> tokenizer.detokenize(tokenizer.tokenize(["你好 world"])).numpy()[0].decode()
    '你好 world'

    Args:
        config: which kind and how large.
        texts: strings: lines, paragraphs or whole books.
    Raises:
        UserError: no text, or a `vocab_size` that does not fit it; the message has the nearest that does.
    """
    cls = TOKENIZERS.get(config.kind)
    return cls(config, cls.train(config, texts))


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer that `Tokenizer.save` wrote into `folder`.

    Raises:
        UserError: there is none, or a file of it is damaged.
    """
    config = load_json(TokenizerConfig, os.path.join(folder, CONFIG_NAME))
    tokenizer = TOKENIZERS.get(config.kind).load(config, folder)
    tokenizer.source_files = read_source_files(folder)
    return tokenizer


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
        normalization: "auto" for exactly what BERT does; otherwise as in `TokenizerConfig`, before that.
    Raises:
        UserError: no such file, or a special piece is missing.
    """
    from tflm.text.wordpiece_tokenizer import WordPieceTokenizer, read_vocabulary

    try:
        with open(path, "rb") as file:
            asset = file.read()
    except OSError as error:
        raise UserError(f"cannot read the vocabulary {os.fspath(path)!r}: {error.strerror}.") from error
    encoding = detect_encoding(asset, f"the vocabulary {os.fspath(path)!r}")
    if encoding != "utf-8":
        asset = asset.decode(encoding, "replace").encode()
    asset = asset.replace(b"\r\n", b"\n").rstrip(b"\n")
    config = TokenizerConfig(
        kind="wordpiece",
        vocab_size=len(read_vocabulary(asset)),
        normalization="none" if normalization == "auto" else normalization,
        case_fold=case_fold,
        exact_bert=True,
        special_tokens=("separator", "mask"),
    )
    return WordPieceTokenizer(config, asset)
