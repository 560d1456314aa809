"""Tokenizers of every kind, trained once; a small model with random weights; a task to go with it."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.export.verify import as_written
from tflm.generation import DecodingConfig, settings_tensors
from tflm.models import LSTMConfig, TransformerDecoderConfig, build_model
from tflm.tasks import LanguageModeling, LanguageModelingConfig, Pairs, PairsConfig, chat, generative_task
from tflm.text import TokenizerConfig, train_tokenizer

TEXTS = [
    "Hello, world! The quick brown fox jumps over the lazy dog.",
    "你好，世界！我爱自然语言处理。他说“你好”，然后走了……",
    "Mixed 中文 and English：我用 TensorFlow 训练模型。",
    "A model that learns words: the words of this text, the texts of these words, and the end of the text.",
    "模型学习语言，语言模型学习语言处理；世界上的语言很多，模型的语言也很多。",
] * 3

KINDS = {
    "byte": TokenizerConfig(kind="byte"),
    "sentencepiece": TokenizerConfig(vocab_size=350),
    "wordpiece": TokenizerConfig(kind="wordpiece", vocab_size=200),
    "character": TokenizerConfig(kind="character", vocab_size=320),
}


@pytest.fixture(scope="session")
def tokenizers():
    return {name: train_tokenizer(config, TEXTS) for name, config in KINDS.items()}


@pytest.fixture(params=["byte", "sentencepiece"])
def tokenizer(request, tokenizers):
    """Each test that asks for it runs with both."""
    return tokenizers[request.param]


@pytest.fixture(scope="session")
def make_model():
    """make_model(vocab_size, max_length) -> a model whose weights are random and not small."""

    def make(vocab_size, max_length=32, kind="transformer_decoder", scale=0.2):
        if kind == "lstm":
            config = LSTMConfig(vocab_size=vocab_size, num_layers=1, hidden_dim=16, max_length=max_length)
        else:
            config = TransformerDecoderConfig(
                vocab_size=vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=max_length
            )
        keras.utils.set_random_seed(1)
        model = build_model(config)
        rng = np.random.default_rng(1)
        for variable in model.trainable_variables:
            variable.assign(rng.normal(0.0, scale, variable.shape))
        return model

    return make


@pytest.fixture(scope="session")
def language_modeling():
    def make(tokenizer, max_length=32, mark_documents=True, **decoding):
        config = LanguageModelingConfig(mark_documents=mark_documents)
        return LanguageModeling(config, tokenizer, max_length, DecodingConfig(**decoding))

    return make


@pytest.fixture(scope="session")
def pairs():
    def make(tokenizer, max_length=32, source=12, target=10, keep_source="start", **decoding):
        config = PairsConfig(max_source_length=source, max_target_length=target, keep_source=keep_source)
        return Pairs(config, tokenizer, max_length, DecodingConfig(**decoding))

    return make


@pytest.fixture(scope="session")
def score_slowly():
    """Sum of the log-softmax of one row's tokens from number `num_given` on, in NumPy over one forward pass."""

    def score(model, row, num_given):
        logits = model(np.array([row[:-1]], np.int32))[0].numpy().astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        log_shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return sum(log_shares[place - 1, row[place]] for place in range(num_given, len(row)))

    return score


@pytest.fixture(scope="session")
def request_settings():
    """request_settings(num_rows, seed=[1, 2], max_new_tokens=8) -> the inputs of `generate` after the text."""

    def make(num_rows, **changes):
        settings = settings_tensors(DecodingConfig(), num_rows)
        for name, value in changes.items():
            if settings[name].shape.rank == 2:
                settings[name] = tf.constant(value, settings[name].dtype)
            else:
                settings[name] = tf.broadcast_to(tf.cast(value, settings[name].dtype), [num_rows])
        return settings

    return make


@pytest.fixture(scope="session")
def eagerly():
    """`with eagerly():` signatures are made and called without graphs, where each is called once. There are none of
    streaming, which trace a graph when they are made."""

    @contextlib.contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(generative_task, "streaming_signatures", lambda *_: {})
            patch.setattr(chat, "resume_signature", lambda *_: None)
            tf.config.run_functions_eagerly(True)
            try:
                yield
            finally:
                tf.config.run_functions_eagerly(False)

    return context


@pytest.fixture(autouse=True, scope="module")
def without_graph_optimizer():
    """These graphs run a few times each: to optimise them takes longer than to run them."""
    with as_written():
        yield
