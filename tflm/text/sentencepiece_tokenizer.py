"""SentencePiece (unigram or BPE, with byte fallback): the default for every language."""

import hashlib
import io
import re
from collections.abc import Iterable

import tensorflow as tf
import tensorflow_text
from tensorflow.python.trackable import resource
from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

from tflm.errors import UserError
from tflm.text.byte_tokenizer import BYTES
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import TokenizerConfig, register_tokenizer
from tflm.text.training_text import sampled_lines

# SentencePiece represents a space as U+2581 and decodes every U+2581 as a space. To keep U+2581 in user text, it is
# escaped as DLE 1, and DLE as DLE 0. Unescaping DLE 1 before DLE 0 is exact, since every DLE is followed by a digit.
_SPELLINGS = (("\x10", "\x100"), ("\u2581", "\x101"))


class SharedModel(resource.TrackableResource):
    """The SentencePiece model as a resource with a shared name, its hash.

    Without a shared name, the resource belongs to the op's kernel, and `tf.random.set_seed` (also called by
    `keras.utils.set_random_seed`) discards kernels, which would destroy existing tokenizers.
    """

    def __init__(self, asset: bytes) -> None:
        super().__init__()
        self._asset = asset
        _ = self.resource_handle  # creates the resource

    def _create_resource(self) -> tf.Tensor:
        name = hashlib.sha256(self._asset).hexdigest()
        return gen_sentencepiece_tokenizer.sentencepiece_op(model=self._asset, shared_name=name)


@register_tokenizer("sentencepiece")
class SentencePieceTokenizer(Tokenizer):
    """SentencePiece tokenization that preserves spaces, tabs and line ends (Kudo and Richardson, 2018).

    Ids in order: special tokens, 256 bytes (with `byte_fallback`), pieces. Special tokens are "control" pieces and
    bytes are "byte" pieces of SentencePiece, so user text never becomes one.

    The op of tensorflow-text is used instead of the Keras layer of keras-nlp, which returns lists instead of ragged
    tensors in eager mode and would add a Keras object to exports.

    The model is an attribute of the op, so an export needs no additional file.
    """

    asset_name = "sentencepiece.model"
    default_normalization = "nfc"
    carries_spaces = True

    def __init__(self, config: TokenizerConfig, asset: bytes) -> None:
        try:
            self._model = tensorflow_text.SentencepieceTokenizer(asset, out_type=tf.int32)
            self._model._model_resource = SharedModel(asset)
            vocab_size = int(self._model.vocab_size())
        except tf.errors.OpError as error:
            raise UserError(f"{self.asset_name} is not a SentencePiece model: {error.message}") from error
        super().__init__(config, asset, vocab_size)

    @property
    def ops(self) -> tuple[str, ...]:
        return (*super().ops, "SentencepieceOp", "SentencepieceTokenizeOp", "SentencepieceDetokenizeOp")

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """A serialized SentencePiece model; deterministic.

        Raises:
            UserError: no text, or a `vocab_size` that is too small or too large for the text.
        """
        import sentencepiece

        lines = sampled_lines(config, texts)
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=config.algorithm,
                vocab_size=config.vocab_size,
                hard_vocab_limit=not config.soft_vocab_limit,
                byte_fallback=config.byte_fallback,
                pad_id=0,
                bos_id=1,
                eos_id=2,
                unk_id=3,
                unk_surface="\ufffd",
                control_symbols=[f"<|{name}|>" for name in config.special_tokens],
                # The text is already normalized; the model must preserve it.
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                allow_whitespace_only_pieces=True,
                # The result depends on the number of threads, so it is fixed.
                num_threads=4,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise _user_error(error, config.vocab_size) from error
        return model.getvalue()

    def piece_texts(self) -> list[bytes]:
        """The pieces, with a space for U+2581."""
        first_byte = self.config.num_special_tokens
        with tf.init_scope():
            pieces = self._model.id_to_string(tf.range(self.vocab_size)).numpy()
        texts = [piece.replace("\u2581".encode(), b" ") for piece in pieces]
        if self.config.byte_fallback:
            texts[first_byte : first_byte + 256] = BYTES
        return self.without_special(texts)

    def spelled(self, text: tf.Tensor) -> tf.Tensor:
        """With two characters in SentencePiece's way; see `_SPELLINGS`."""
        for character, spelling in _SPELLINGS:
            text = tf.strings.regex_replace(text, character, spelling)
        return text

    def encode_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """SentencePiece gives the last byte of a character the whole of it, and the others nothing."""
        ids, begins, ends = self._model.tokenize_with_offsets(text)
        return ids, begins.flat_values, ends.flat_values

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        return self._model.tokenize(self.spelled(text))

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        text = self._model.detokenize(token_ids)
        for character, spelling in reversed(_SPELLINGS):
            text = tf.strings.regex_replace(text, spelling, character)
        return text


def _user_error(error: RuntimeError, vocab_size: int) -> Exception:
    """SentencePiece's error about the vocabulary size as a `UserError` that names the field; others unchanged."""
    if most := re.search(r"Vocabulary size too high .* <= (\d+)", str(error)):
        return UserError(
            f"vocab_size={vocab_size} is too large for this text: the largest possible is "
            f"{most[1]}. Set vocab_size to {most[1]} or less, or train on more text."
        )
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error)):
        return UserError(
            f"vocab_size={vocab_size} is too small for the special tokens, bytes and characters of this "
            f"text: the smallest possible is {least[1]}. Set vocab_size to {least[1]} or more."
        )
    return error
