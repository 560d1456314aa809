"""Published tokenizers: from the files of a checkpoint, or the metadata of a GGUF file."""

import os
import types
from collections.abc import Mapping
from typing import Any

from tflm.errors import UserError
from tflm.text.checkpoint_files import SENTENCEPIECE_NAMES, CheckpointFiles
from tflm.text.tokenizer import Tokenizer


def read_tokenizer(
    source: str | os.PathLike[str] | Mapping[str, Any], num_rows: int | None = None
) -> Tokenizer:
    """The tokenizer of a published checkpoint, with the ids of the checkpoint.

    >>> tokenizer = read_tokenizer("Qwen2.5-0.5B-Instruct", num_rows=151_936)
    >>> tokenizer.end_ids, tokenizer.start_id, tokenizer.special_tokens["<|im_start|>"]
    ((151645, 151643), None, 151644)

    What would not give the checkpoint's own ids is refused. The exception are texts that spell a special or added
    token, such as "<|im_end|>" or "<think>": they stay text.

    Args:
        source: a folder with `tokenizer.json`; or `vocab.json` and `merges.txt`, `vocab.txt`, or a SentencePiece model.
            Or the metadata of a GGUF file by key.
        num_rows: rows of the checkpoint's embedding, where they are more than the tokens.
    Raises:
        UserError: no such files, damaged ones, or a tokenizer that is not supported.
    """
    if isinstance(source, Mapping):
        from tflm.text.gguf_tokenizer import read_gguf

        return read_gguf(source, num_rows)
    files = CheckpointFiles(source)
    tokenizer = _read_files(files, num_rows)
    tokenizer.source_files = types.MappingProxyType(files.kept)
    return tokenizer


def _read_files(files: CheckpointFiles, num_rows: int | None) -> Tokenizer:
    if "tokenizer.json" in files:
        from tflm.text.huggingface_tokenizer import read_huggingface

        return read_huggingface(files, num_rows)
    if "vocab.txt" in files:
        from tflm.text.bert_vocabulary import read_vocabulary_file

        return read_vocabulary_file(files, num_rows)
    for name in SENTENCEPIECE_NAMES:
        if name in files:
            from tflm.text.sentencepiece_file import read_model_file

            return read_model_file(files, name, num_rows)
    if "vocab.json" in files and "merges.txt" in files:
        from tflm.text.huggingface_tokenizer import read_vocabulary_and_merges

        return read_vocabulary_and_merges(files, num_rows)
    expected = ("tokenizer.json", "vocab.json with merges.txt", "vocab.txt", *SENTENCEPIECE_NAMES)
    raise UserError(f"{files.folder!r} has no tokenizer: expected one of {', '.join(expected)}.")
