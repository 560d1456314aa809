"""The tokenizer interface: strings to ids and back, in graph."""

import os
import types
from collections.abc import Iterable, Mapping
from typing import ClassVar, Self

import numpy as np
import tensorflow as tf

from tflm.config import save_json
from tflm.errors import UserError
from tflm.text.clean_text import clean_text
from tflm.text.source_files import write_source_files
from tflm.text.special_ids import SpecialIds
from tflm.text.special_marks import special_mark, split_marks
from tflm.text.tokenizer_config import TokenizerConfig

CONFIG_NAME = "tokenizer.json"


class Tokenizer(tf.Module):
    """Strings to ids and back, as TensorFlow ops.

    `detokenize(tokenize(x)) == normalize(x)` for every x. No user text gives a special id: pad, start, end and the
    named special tokens are inserted by programs only, as ids or, in a text, as marks. unk occurs only without byte
    fallback.

    A subclass is registered by `register_tokenizer` and implements `_encode`, `_decode`, `train` and, for additional
    normalization, `_clean`; and `piece_texts` and `encode_with_offsets` where the defaults do not fit. It is a
    `tf.Module` rather than a Keras layer, so that exports do not depend on Keras and any Keras backend works.

    Attributes:
        config: the TokenizerConfig.
        vocab_size: int, number of ids; the last may have no token.
        pad_id, start_id, end_id, unk_id: 0, 1, 2, 3, except in published vocabularies, where start and unk may be
            None. Nothing but padding has pad_id.
        end_ids: every id that ends a text; end_id is the first.
        special_tokens: named special tokens to ids, such as {"separator": 4}; of a published vocabulary also every
            added token by its content, such as "<|im_start|>".
        source_files: files from which a published tokenizer was read, by name; saved with it.
    """

    asset_name: ClassVar[str | None] = None
    """File name of the trained vocabulary; None without one."""
    reads_vocab_size: ClassVar[bool] = True
    """Whether `vocab_size` of the config says how large the vocabulary is."""
    default_normalization: ClassVar[str] = "none"
    """What `normalization="auto"` is."""
    carries_spaces: ClassVar[bool] = False
    """Whether the first piece of a word holds the space before it."""

    def __init__(
        self,
        config: TokenizerConfig,
        asset: bytes,
        vocab_size: int,
        special_ids: Mapping[str, int] | SpecialIds | None = None,
    ) -> None:
        """
        Args:
            config: settings.
            asset: the result of `train`.
            vocab_size: int, number of ids.
            special_ids: ids of pad, start, end, unk and `config.special_tokens` by name; by default numbered from 0 in
                this order.
        """
        super().__init__(name="tokenizer")
        if not isinstance(special_ids, SpecialIds):
            special_ids = SpecialIds.by_name(config.special_tokens, special_ids)
        self.config = config
        self.vocab_size = vocab_size
        self.pad_id, self.start_id, self.unk_id = special_ids.pad, special_ids.start, special_ids.unk
        self.end_id, self.end_ids = special_ids.ends[0], tuple(special_ids.ends)
        self.source_files: Mapping[str, bytes] = types.MappingProxyType({})
        self._asset = asset
        self._specials = special_ids
        self._is_text = tf.constant(~np.isin(np.arange(vocab_size), special_ids.dropped()))

    @property
    def special_tokens(self) -> dict[str, int]:
        """Ids of the named special tokens, by name."""
        return dict(self._specials.named)

    @property
    def first_id(self) -> int:
        """`start_id`, for what cannot do without.

        Raises:
            UserError: the vocabulary has none, such as GPT-2's.
        """
        if self.start_id is None:
            raise UserError(
                "this task begins each text with a start token, and the vocabulary has none. Choose a model with one, "
                "such as a BERT or a T5."
            )
        return self.start_id

    @property
    def ops(self) -> tuple[str, ...]:
        """Names of the ops used by `tokenize`, `detokenize` and `normalize` that are not in core TensorFlow."""
        return ("NormalizeUTF8",) if self.config.normalization_form else ()

    @property
    def lossless(self) -> bool:
        """Whether every character of the normalized text is preserved."""
        return self.config.byte_fallback

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Ids of each text, without start and end tokens.

        >>> byte_tokenizer.tokenize(["hi", ""])
        <tf.RaggedTensor [[109, 110], []]>

        Args:
            text: string [B]; B may be 0.
        Returns:
            RaggedTensor int32 [B, (T)].
        """
        with _on_cpu():
            return self._encode(self._clean(_as_batch(text)))

    def special_mark(self, token: str | int) -> bytes:
        """The code of a special token in a text for `tokenize_marked`; no user text has one.

        Args:
            token: an id, or a name of `special_tokens`.
        Raises:
            UserError: no such token.
        """
        if isinstance(token, str):
            if token not in self._specials.named:
                names = ", ".join(self._specials.named) or "none"
                raise UserError(f"the tokenizer has no special token {token!r:.80}; it has {names:.500}.")
            token = self._specials.named[token]
        if not 0 <= token < self.vocab_size:
            raise UserError(f"the tokenizer has ids from 0 to {self.vocab_size - 1}; got {token}.")
        return special_mark(token)

    def clean(self, text: tf.Tensor) -> tf.Tensor:
        """Valid UTF-8 in the Unicode form and case of the config: what `tokenize` splits, without marks.

        Args:
            text: string [B], of any bytes.
        Returns:
            string [B].
        """
        with _on_cpu():
            return self._clean(_as_batch(text))

    def tokenize_marked(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Ids of texts with marks: the ids of the marks, and between them those of the text.

        Text on both sides of a place without a mark is one text: "user\\n" and what the user wrote are tokenized
        together, as in `tokenizers`.

            mark = tokenizer.special_mark("<|im_start|>")
            tokenizer.tokenize_marked(mark + b"user\\n" + tokenizer.clean(["hello"]))

        Args:
            text: string [B], joined from marks, text of the program, and text of users from `clean`, which keeps marks
                out of it.
        Returns:
            RaggedTensor int32 [B, (T)].
        """
        with _on_cpu():
            parts, marks = split_marks(_as_batch(text))
            place = tf.range(tf.size(marks, tf.int64)) - tf.gather(parts.row_starts(), parts.value_rowids())
            flat = self._specials.stripped(self._clean(parts.flat_values), marks, tf.equal(place, 0))
            rows = self._encode_parts(flat, tf.equal(place, 0))
            here = marks >= 0
            ids = tf.RaggedTensor.from_row_lengths(
                tf.boolean_mask(marks, here), tf.cast(here, tf.int64), validate=False
            )
            joined = tf.concat([ids, rows], axis=1)
            splits = tf.gather(joined.row_splits, parts.row_splits)
            return tf.RaggedTensor.from_row_splits(joined.flat_values, splits, validate=False)

    def detokenize(self, token_ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Text of each row of ids. Accepts any ids.

        Ids of pad, start, end and the named special tokens, and ids outside the vocabulary, are dropped; unk and
        invalid UTF-8 become U+FFFD.

        >>> byte_tokenizer.detokenize([[1, 109, 110, 2, 0, 0]])
        <tf.Tensor: [b'hi']>

        Args:
            token_ids: int32 [B, T], with pad_id at any position, or RaggedTensor int32 [B, (T)].
        Returns:
            string [B], valid UTF-8.
        """
        with _on_cpu():
            if not isinstance(token_ids, tf.RaggedTensor):
                token_ids = tf.RaggedTensor.from_tensor(tf.convert_to_tensor(token_ids))
            flat = token_ids.flat_values
            inside = (flat >= 0) & (flat < self.vocab_size)
            flat = tf.where(inside, tf.cast(flat, tf.int32), self.pad_id)
            is_text = tf.gather(self._is_text, flat)
            # `tf.ragged.boolean_mask` takes hundreds of ops.
            counts = tf.cumsum(tf.cast(tf.concat([[False], is_text], axis=0), tf.int64))
            flat = tf.gather(flat, tf.where(is_text)[:, 0])
            splits = tf.gather(counts, token_ids.row_splits)
            return self._decode(tf.RaggedTensor.from_row_splits(flat, splits, validate=False))

    def normalize(self, text: tf.Tensor) -> tf.Tensor:
        """`detokenize(tokenize(text))`.

        Args:
            text: string [B].
        Returns:
            string [B]: valid UTF-8, in the Unicode form and case of the config.
        """
        with _on_cpu():
            text = self._clean(_as_batch(text))
            return text if self.lossless else self._decode(self._encode(text))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json`, the vocabulary and `source_files` to `folder`, which is created if missing."""
        os.makedirs(folder, exist_ok=True)
        if self.asset_name:
            with open(os.path.join(folder, self.asset_name), "wb") as file:
                file.write(self._asset)
        write_source_files(folder, self.source_files)
        save_json(self.config, os.path.join(folder, CONFIG_NAME))

    @classmethod
    def load(cls, config: TokenizerConfig, folder: str | os.PathLike[str]) -> Self:
        """Loads a tokenizer written by `save`; see `load_tokenizer`, which selects the class.

        Raises:
            UserError: the vocabulary file is missing or invalid.
        """
        if cls.asset_name is None:
            return cls(config, b"")  # type: ignore[call-arg]
        path = os.path.join(folder, cls.asset_name)
        try:
            with open(path, "rb") as file:
                return cls(config, file.read())  # type: ignore[call-arg]
        except OSError as error:
            raise UserError(
                f"cannot read the vocabulary {path!r}: {error.strerror}. It belongs next to {CONFIG_NAME} in "
                "the folder written by Tokenizer.save."
            ) from error

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """Trains a vocabulary: the `asset` of `__init__`."""
        raise NotImplementedError

    def piece_texts(self) -> list[bytes]:
        """What each id writes by itself, [V]; special tokens nothing, unk U+FFFD, a suffix of a word no mark. By
        default each id is decoded, which does for pieces of whole characters."""
        with tf.init_scope():
            ids = tf.RaggedTensor.from_tensor(tf.range(self.vocab_size)[:, None])
            return self.without_special(self._decode(ids).numpy().tolist())

    def without_special(self, texts: list[bytes]) -> list[bytes]:
        """`texts` of all ids, [V], with nothing for special tokens and U+FFFD for unk."""
        dropped = set(self._specials.dropped())
        texts = [b"" if index in dropped else text for index, text in enumerate(texts)]
        if self.unk_id is not None:
            texts[self.unk_id] = "\ufffd".encode()
        return texts

    def suffix_pieces(self) -> np.ndarray:
        """bool [V], True where a piece continues a word; all False for pieces that carry their spaces, or have none."""
        return np.zeros(self.vocab_size, bool)

    def needs_space(self, token_ids: tf.RaggedTensor) -> tf.Tensor | None:
        """bool [N], for the flat ids: where `detokenize` puts a space before a token that does not hold it; None for
        nowhere."""
        del token_ids
        return None

    def spelled(self, text: tf.Tensor) -> tf.Tensor:
        """Clean string [B] as the pieces spell it."""
        return text

    def composed_spellings(self) -> dict[str, str]:
        """Characters written in several code points to the one that the vocabulary has; see `compose_marks`."""
        return {}

    def encode_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Tokens, and the bytes that they stand for. By default pieces are as long as what they write, one after
        another.

        Args:
            text: clean string [B], `spelled`.
        Returns:
            RaggedTensor int32 [B, (T)]; begins and ends int32 [N], in bytes from the beginning of each row.
        """
        if not self.lossless:
            raise NotImplementedError(f"{type(self).__name__} loses text and gives no encode_with_offsets.")
        ids = self._encode(text)
        lengths = tf.gather(tf.constant([len(piece) for piece in self.piece_texts()]), ids.flat_values)
        return ids, *self.offsets_of(ids, lengths)

    @staticmethod
    def offsets_of(ids: tf.RaggedTensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Start and end byte, int32 [N] each, of tokens with the given numbers of bytes, int32 [N], in their row."""
        rows = ids.with_flat_values(lengths)
        ends = tf.cumsum(lengths)
        before = tf.gather(tf.concat([[0], ends], axis=0), tf.gather(rows.row_starts(), rows.value_rowids()))
        return ends - lengths - before, ends - before

    def _clean(self, text: tf.Tensor) -> tf.Tensor:
        """Normalizes string [B] before tokenization."""
        return clean_text(text, self.config.normalization_form, self.config.case_fold)

    def _encode_parts(self, text: tf.Tensor, is_first: tf.Tensor) -> tf.RaggedTensor:
        """Normalized string [P], each from the beginning of a text (where `is_first`, bool [P]) or after a mark, to
        RaggedTensor int32 [P, (T)]."""
        del is_first
        return self._encode(text)

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Normalized string [B] to RaggedTensor int32 [B, (T)]."""
        raise NotImplementedError

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """RaggedTensor int32 [B, (T)], without special ids except unk, to string [B], valid UTF-8."""
        raise NotImplementedError


def _on_cpu() -> tf.device:
    """String ops run on the CPU; integer ops between them are not worth a copy to a GPU."""
    return tf.device("CPU:0")


def _as_batch(text: tf.Tensor) -> tf.Tensor:
    text = tf.convert_to_tensor(text, tf.string)
    if text.shape.rank not in (None, 1):
        raise UserError(f"a tokenizer takes a batch of texts, string [B]; got shape {text.shape}.")
    return text
