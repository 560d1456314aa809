"""Strings to ids and back, inside the graph; training a vocabulary."""

from tflm.text.load_tokenizer import load_bert_vocabulary, load_tokenizer
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import TokenizerConfig
from tflm.text.train_tokenizer import train_tokenizer

__all__ = ["Tokenizer", "TokenizerConfig", "load_bert_vocabulary", "load_tokenizer", "train_tokenizer"]
