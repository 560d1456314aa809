"""Strings to ids and back, inside the graph; training a vocabulary.

Importing this package imports nothing heavy: a client of a server splits words without TensorFlow.
"""

from typing import TYPE_CHECKING

from tflm.lazy import lazy_exports

if TYPE_CHECKING:
    from tflm.text.registry import load_bert_vocabulary, load_tokenizer, train_tokenizer
    from tflm.text.tokenizer import Tokenizer
    from tflm.text.tokenizer_config import TokenizerConfig, register_tokenizer

__getattr__, __all__ = lazy_exports(__name__, __file__)
