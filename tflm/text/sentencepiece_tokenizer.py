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
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import TokenizerConfig
from tflm.text.training_text import sampled_lines

# SentencePiece writes a space as U+2581 and reads every U+2581 as a space, a user's own too. So that one is
# spelled in two characters, DLE 1, and DLE itself in DLE 0: every DLE in the spelled text is followed by a
# digit of ours, and undoing 1 before 0 gives any text back.
_SPELLINGS = (("\x10", "\x100"), ("\u2581", "\x101"))


class _SharedModel(resource.TrackableResource):
    """The model under a name of its own, its hash.

    tensorflow-text leaves it to the kernel of the op that made it, and `tf.random.set_seed` (so also
    `keras.utils.set_random_seed`) throws kernels away: every tokenizer made before would be lost.
    """

    def __init__(self, asset: bytes) -> None:
        super().__init__()
        self._asset = asset
        _ = self.resource_handle  # makes it

    def _create_resource(self) -> tf.Tensor:
        name = hashlib.sha256(self._asset).hexdigest()
        return gen_sentencepiece_tokenizer.sentencepiece_op(model=self._asset, shared_name=name)


class SentencePieceTokenizer(Tokenizer):
    """Pieces of text that leave spaces, tabs and line ends as they are (Kudo and Richardson 2018).

    Ids in order: special tokens, the 256 bytes (if `byte_fallback`), pieces. Special tokens are "control"
    pieces and bytes "byte" pieces of SentencePiece: text that looks like their names never becomes them.

    This calls tensorflow-text and not keras-nlp's SentencePieceTokenizer, which wraps the same op in a Keras
    layer: outside a graph the layer turns ragged results into lists, and an export would hold a Keras object.

    The model is an attribute of an op, so an export needs no file beside it.
    """

    asset_name = "sentencepiece.model"

    def __init__(self, config: TokenizerConfig, asset: bytes) -> None:
        try:
            self._model = tensorflow_text.SentencepieceTokenizer(asset, out_type=tf.int32)
            self._model._model_resource = _SharedModel(asset)
            vocab_size = int(self._model.vocab_size())
        except tf.errors.OpError as error:
            raise UserError(f"{self.asset_name} is no SentencePiece model: {error.message}") from error
        super().__init__(config, asset, vocab_size)

    @property
    def ops(self) -> tuple[str, ...]:
        return (*super().ops, "SentencepieceOp", "SentencepieceTokenizeOp", "SentencepieceDetokenizeOp")

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """A SentencePiece model proto. The same texts always give the same one.

        Raises:
            UserError: no text, or a `vocab_size` that is too small or too large for it.
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
                # The text is normalized before it comes here; what is left must come back as it is.
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                allow_whitespace_only_pieces=True,
                # Sums over threads depend on their number, so it is not left to the machine.
                num_threads=4,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise _explained(error, config.vocab_size) from error
        return model.getvalue()

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        for character, spelling in _SPELLINGS:
            text = tf.strings.regex_replace(text, character, spelling)
        return self._model.tokenize(text)

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        text = self._model.detokenize(token_ids)
        for character, spelling in reversed(_SPELLINGS):
            text = tf.strings.regex_replace(text, spelling, character)
        return text


def _explained(error: RuntimeError, vocab_size: int) -> Exception:
    """SentencePiece's complaint about a size as one that names the field; any other as it is."""
    if most := re.search(r"Vocabulary size too high .* <= (\d+)", str(error)):
        return UserError(
            f"vocab_size={vocab_size} is more than this text gives pieces for: the largest possible is "
            f"{most[1]}. Set vocab_size to {most[1]} or less, or train on more text."
        )
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error)):
        return UserError(
            f"vocab_size={vocab_size} is too small for the special tokens, bytes and characters of this "
            f"text: the smallest possible is {least[1]}. Set vocab_size to {least[1]} or more."
        )
    return error
