"""The contract that every tokenizer keeps: strings to ids and back, inside the graph."""

import os
from collections.abc import Iterable, Mapping
from typing import ClassVar, Self

import numpy as np
import tensorflow as tf

from tflm.config import save_json
from tflm.errors import UserError
from tflm.text.clean_text import clean_text
from tflm.text.tokenizer_config import CORE_SPECIAL_TOKENS, TokenizerConfig

CONFIG_NAME = "tokenizer.json"


class Tokenizer(tf.Module):
    """Strings to ids and back, as TensorFlow ops.

    `detokenize(tokenize(x)) == normalize(x)` for every x, and no text of a user gives a special id: the ids
    of pad, start, end and the named special tokens come from a program alone. The id of unk arises only where
    there is no byte fallback.

    A subclass writes `_encode`, `_decode`, `train` and, where the text needs more care, `_clean`. It is a
    `tf.Module` and no Keras layer, so that an export needs no Keras and it works beside any Keras backend.

    Attributes:
        config: what it was made from.
        vocab_size: number of ids.
        pad_id, start_id, end_id, unk_id: 0, 1, 2, 3, except in a published vocabulary with ids of its own.
        special_tokens: name to id of the others, such as {"separator": 4}.
    """

    asset_name: ClassVar[str | None] = None
    """The file that holds what training found; None if there is nothing to hold."""

    def __init__(
        self,
        config: TokenizerConfig,
        asset: bytes,
        vocab_size: int,
        special_ids: Mapping[str, int] | None = None,
    ) -> None:
        """
        Args:
            config: its settings.
            asset: what `train` returned.
            vocab_size: number of ids.
            special_ids: name to id for pad, start, end, unk and `config.special_tokens`; by default counted
                from 0 in this order.
        """
        super().__init__(name="tokenizer")
        names = CORE_SPECIAL_TOKENS + config.special_tokens
        ids = special_ids or {name: index for index, name in enumerate(names)}
        self.config = config
        self.vocab_size = vocab_size
        self.pad_id, self.start_id, self.end_id, self.unk_id = (ids[name] for name in CORE_SPECIAL_TOKENS)
        self._asset = asset
        self._special_ids = tuple(ids[name] for name in config.special_tokens)
        dropped = np.array([self.pad_id, self.start_id, self.end_id, *self._special_ids])
        self._is_text = tf.constant(~np.isin(np.arange(vocab_size), dropped))

    @property
    def special_tokens(self) -> dict[str, int]:
        """Name to id of the named special tokens."""
        return dict(zip(self.config.special_tokens, self._special_ids))

    @property
    def ops(self) -> tuple[str, ...]:
        """Names of the ops outside TensorFlow's core that `tokenize`, `detokenize` and `normalize` use."""
        return ("NormalizeUTF8",) if self.config.normalization_form else ()

    @property
    def lossless(self) -> bool:
        """Whether every character comes back, so that `normalize` has nothing to do after cleaning."""
        return self.config.byte_fallback

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Ids of each text; no start and no end is added.

        >>> byte_tokenizer.tokenize(["hi", ""])
        <tf.RaggedTensor [[109, 110], []]>

        Args:
            text: string [B]; B may be 0.
        Returns:
            RaggedTensor int32 [B, (T)].
        """
        with _on_cpu():
            return self._encode(self._clean(_as_batch(text)))

    def detokenize(self, token_ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Text of each row of ids. Never fails on what a model may emit.

        Ids of pad, start, end and the named special tokens, and ids outside the vocabulary, are dropped; unk
        and bytes that are no UTF-8 become U+FFFD.

        >>> byte_tokenizer.detokenize([[1, 109, 110, 2, 0, 0]])
        <tf.Tensor: [b'hi']>

        Args:
            token_ids: int32 [B, T], padded with pad_id anywhere, or RaggedTensor int32 [B, (T)].
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
            # `tf.ragged.boolean_mask` does this in hundreds of ops.
            counts = tf.cumsum(tf.cast(tf.concat([[False], is_text], axis=0), tf.int64))
            flat = tf.gather(flat, tf.where(is_text)[:, 0])
            splits = tf.gather(counts, token_ids.row_splits)
            return self._decode(tf.RaggedTensor.from_row_splits(flat, splits, validate=False))

    def normalize(self, text: tf.Tensor) -> tf.Tensor:
        """The text as it comes back from `detokenize(tokenize(text))`.

        Args:
            text: string [B].
        Returns:
            string [B]: valid UTF-8, in the Unicode form and case of the config.
        """
        with _on_cpu():
            text = self._clean(_as_batch(text))
            return text if self.lossless else self._decode(self._encode(text))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` and the vocabulary into `folder`, which is made if need be."""
        os.makedirs(folder, exist_ok=True)
        if self.asset_name:
            with open(os.path.join(folder, self.asset_name), "wb") as file:
                file.write(self._asset)
        save_json(self.config, os.path.join(folder, CONFIG_NAME))

    @classmethod
    def load(cls, config: TokenizerConfig, folder: str | os.PathLike[str]) -> Self:
        """The tokenizer that `save` wrote; `load_tokenizer` finds the class by itself.

        Raises:
            UserError: the vocabulary's file is missing or is not one.
        """
        if cls.asset_name is None:
            return cls(config, b"")  # type: ignore[call-arg]
        path = os.path.join(folder, cls.asset_name)
        try:
            with open(path, "rb") as file:
                return cls(config, file.read())  # type: ignore[call-arg]
        except OSError as error:
            raise UserError(
                f"cannot read the vocabulary {path!r}: {error.strerror}. It stands beside {CONFIG_NAME} in "
                "the folder that Tokenizer.save wrote."
            ) from error

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """What `__init__` takes as `asset`, learned from texts."""
        raise NotImplementedError

    def _clean(self, text: tf.Tensor) -> tf.Tensor:
        """string [B] -> string [B]: what happens before the text is cut."""
        return clean_text(text, self.config.normalization_form, self.config.case_fold)

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Clean string [B] -> RaggedTensor int32 [B, (T)]."""
        raise NotImplementedError

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """RaggedTensor int32 [B, (T)] of text ids and unk alone -> string [B], valid UTF-8."""
        raise NotImplementedError


def _on_cpu() -> tf.device:
    """Strings live on the CPU; the integer work between string ops is not worth a trip to a GPU and back."""
    return tf.device("CPU:0")


def _as_batch(text: tf.Tensor) -> tf.Tensor:
    text = tf.convert_to_tensor(text, tf.string)
    if text.shape.rank not in (None, 1):
        raise UserError(f"a tokenizer takes a batch of texts, string [B]; got shape {text.shape}.")
    return text
