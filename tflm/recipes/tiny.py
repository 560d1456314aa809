"""Tiny models, one for each family and objective: seconds on a CPU, for tests and first steps. They learn from data
that every machine has: the Python sources of tflm itself, and the dialogues of chatterbot-corpus."""

import dataclasses
import importlib.util
import os

import tflm
from tflm.data import DataConfig
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.recipe_registry import recipe
from tflm.generation import DecodingConfig
from tflm.models import (
    LSTMConfig,
    LSTMEncoderConfig,
    LSTMEncoderDecoderConfig,
    SkipGramConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
)
from tflm.tasks import (
    ChatConfig,
    ClassificationConfig,
    DenoisingConfig,
    LanguageModelingConfig,
    MaskedLanguageModelingConfig,
    PairsConfig,
    QuestionAnsweringConfig,
    SimilarityConfig,
    TaggingConfig,
    WordVectorsConfig,
)
from tflm.text import TokenizerConfig
from tflm.training import TrainingConfig

_SOURCES = os.path.join(os.path.dirname(os.path.abspath(tflm.__file__)), "**", "*.py")
_KERAS = os.path.dirname(getattr(importlib.util.find_spec("keras"), "origin", None) or "")
_DIALOGUES = DataConfig(source="chatterbot", text_column="dialogue", eval_fraction=0.05)
_TRAINING = TrainingConfig(
    num_steps=300,
    global_batch_size=16,
    peak_learning_rate=3e-3,
    warmup_steps=20,
    log_every=10,
    max_eval_batches=20,
)


@recipe
def tiny_decoder() -> ExperimentConfig:
    """A Transformer over the bytes of Python code.

    Cost: 300 steps, about 15 seconds on two cores; 0.1M parameters.
    Result: text that looks like code from afar.
    Command: tflm train --preset=tiny_decoder --workdir=runs/tiny_decoder
    """
    return ExperimentConfig(
        name="tiny_decoder",
        data=DataConfig(source="text", path=_SOURCES, document="file"),
        tokenizer=TokenizerConfig(kind="byte"),
        model=TransformerDecoderConfig(num_layers=2, hidden_dim=64, num_heads=4, max_length=128),
        training=_TRAINING,
        decoding=DecodingConfig(temperature=0.8, max_new_tokens=80),
    )


@recipe
def tiny_lstm() -> ExperimentConfig:
    """An LSTM over the bytes of Python code.

    Cost: 300 steps, about 30 seconds on two cores; 0.1M parameters.
    Result: text that looks like code from afar.
    Command: tflm train --preset=tiny_lstm --workdir=runs/tiny_lstm
    """
    return ExperimentConfig(
        name="tiny_lstm",
        data=DataConfig(source="text", path=_SOURCES, document="file"),
        tokenizer=TokenizerConfig(kind="byte"),
        model=LSTMConfig(num_layers=1, hidden_dim=96, max_length=64),
        training=_TRAINING,
        decoding=DecodingConfig(temperature=0.8, max_new_tokens=80),
    )


@recipe
def tiny_pairs() -> ExperimentConfig:
    """A Transformer decoder on English and Chinese questions and answers, each pair by itself.

    Cost: 200 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: answers of the right language and little sense.
    Command: tflm train --preset=tiny_pairs --workdir=runs/tiny_pairs
    """
    return ExperimentConfig(
        name="tiny_pairs",
        data=DataConfig(source="chatterbot", eval_fraction=0.05),
        tokenizer=TokenizerConfig(kind="sentencepiece", vocab_size=2000),
        task=PairsConfig(max_source_length=24, max_target_length=36),
        model=TransformerDecoderConfig(num_layers=2, hidden_dim=64, num_heads=4, max_length=64),
        training=TrainingConfig(
            num_steps=200, global_batch_size=32, peak_learning_rate=5e-3, warmup_steps=20, log_every=20
        ),
        decoding=DecodingConfig(temperature=0.0, max_new_tokens=36),
    )


@recipe
def tiny_chat() -> ExperimentConfig:
    """The demo's data and task on a model of seconds: conversations in English and Chinese.

    Cost: 200 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: held-out perplexity 103: it says the same to everything.
    Command: tflm train --preset=tiny_chat --workdir=runs/tiny_chat
    """
    return dataclasses.replace(
        tiny_pairs(),
        name="tiny_chat",
        tokenizer=TokenizerConfig(
            kind="sentencepiece", vocab_size=2000, special_tokens=("system", "user", "assistant")
        ),
        task=ChatConfig(max_history=2),
    )


@recipe
def tiny_gpt() -> ExperimentConfig:
    """A Transformer decoder on dialogues that are packed into one block and do not see each other.

    Cost: 300 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: held-out perplexity 67.
    Command: tflm train --preset=tiny_gpt --workdir=runs/tiny_gpt
    """
    return dataclasses.replace(
        tiny_pairs(),
        name="tiny_gpt",
        data=_DIALOGUES,
        task=LanguageModelingConfig(separate_documents=True),
        training=_TRAINING,
        decoding=DecodingConfig(temperature=0.8, max_new_tokens=30),
    )


@recipe
def tiny_transformer() -> ExperimentConfig:
    """The 2017 encoder-decoder on questions and answers.

    Cost: 300 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: held-out perplexity 119.
    Command: tflm train --preset=tiny_transformer --workdir=runs/tiny_transformer
    """
    return dataclasses.replace(
        tiny_pairs(),
        name="tiny_transformer",
        model=TransformerEncoderDecoderConfig(
            num_layers=1,
            hidden_dim=64,
            num_heads=4,
            max_length=64,
            norm="layer_norm",
            norm_position="post",
            positions="sinusoidal",
            activation="relu",
            use_bias=True,
            scale_embedding=True,
        ),
        training=_TRAINING,
    )


@recipe
def tiny_lstm_seq2seq() -> ExperimentConfig:
    """An LSTM encoder-decoder with Luong's attention on questions and answers; for Bahdanau's
    `--set model.attention=bahdanau`.

    Cost: 300 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: held-out perplexity 243: it has hardly begun.
    Command: tflm train --preset=tiny_lstm_seq2seq --workdir=runs/tiny_lstm_seq2seq
    """
    return dataclasses.replace(
        tiny_pairs(),
        name="tiny_lstm_seq2seq",
        model=LSTMEncoderDecoderConfig(num_layers=1, hidden_dim=64, max_length=64),
        training=_TRAINING,
    )


@recipe
def tiny_t5() -> ExperimentConfig:
    """An encoder-decoder with relative positions and gated GELU, pretrained by span corruption on dialogues; for the
    other objectives `--set task.objective=prefix_lm` or `infilling`.

    Cost: 300 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: held-out perplexity 71 of what is missing: it has hardly begun.
    Command: tflm train --preset=tiny_t5 --workdir=runs/tiny_t5
    """
    return dataclasses.replace(
        tiny_transformer(),
        name="tiny_t5",
        data=_DIALOGUES,
        tokenizer=_with_special("mask", *(f"sentinel_{n}" for n in range(16))),
        task=DenoisingConfig(),
        model=TransformerEncoderDecoderConfig(
            num_layers=1, hidden_dim=64, num_heads=4, max_length=64, positions="relative", activation="geglu"
        ),
    )


@recipe
def tiny_bert() -> ExperimentConfig:
    """A Transformer encoder on masked words of dialogues, whole words at a time.

    Cost: 300 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: 7% of the held-out masked tokens found: it has hardly begun.
    Command: tflm train --preset=tiny_bert --workdir=runs/tiny_bert
    """
    return dataclasses.replace(
        tiny_pairs(),
        name="tiny_bert",
        data=_DIALOGUES,
        tokenizer=_with_special("mask"),
        task=MaskedLanguageModelingConfig(whole_words=True),
        model=TransformerEncoderConfig(num_layers=2, hidden_dim=64, num_heads=4, max_length=64),
        training=_TRAINING,
    )


@recipe
def tiny_bert_classifier() -> ExperimentConfig:
    """A Transformer encoder that tells the topic of a question, English or Chinese; may begin from tiny_bert by
    `--init_from=runs/tiny_bert`.

    Cost: 300 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: held-out accuracy 72% on 21 topics.
    Command: tflm train --preset=tiny_bert_classifier --workdir=runs/tiny_bert_classifier
    """
    return dataclasses.replace(
        tiny_bert(),
        name="tiny_bert_classifier",
        data=DataConfig(source="chatterbot", label_column="topic", eval_fraction=0.1),
        task=ClassificationConfig(),
    )


@recipe
def tiny_similarity() -> ExperimentConfig:
    """A Transformer encoder whose vectors of question and answer are near each other; may begin from tiny_bert by
    `--init_from=runs/tiny_bert`.

    Cost: 300 steps, 16 seconds on two cores shared with other jobs; 0.2M parameters.
    Result: 41% of held-out questions find their answer in a batch of 32.
    Command: tflm train --preset=tiny_similarity --workdir=runs/tiny_similarity
    """
    return dataclasses.replace(
        tiny_bert(),
        name="tiny_similarity",
        data=tiny_pairs().data,
        task=SimilarityConfig(),
        training=dataclasses.replace(_TRAINING, global_batch_size=32),
    )


@recipe
def tiny_tagger() -> ExperimentConfig:
    """A Transformer encoder that finds labelled spans; docs/tagging.md makes the data, the tokens of Python code.

    Cost: 400 steps, 37 seconds on two cores shared with other jobs; 0.1M parameters.
    Result: of the spans in held-out lines F1 82%: keywords 93%, numbers 89%, strings 59%, comments 49%.
    Command: tflm train --preset=tiny_tagger --workdir=runs/tagger --set data.path=code.jsonl
    """
    return dataclasses.replace(
        tiny_bert(),
        name="tiny_tagger",
        data=DataConfig(
            source="jsonl", path="code.jsonl", text_column="text", spans_column="spans", eval_fraction=0.1
        ),
        tokenizer=TokenizerConfig(kind="character", vocab_size=1000),
        task=TaggingConfig(),
        model=TransformerEncoderConfig(num_layers=2, hidden_dim=64, num_heads=4, max_length=128),
        training=dataclasses.replace(
            _TRAINING, num_steps=400, global_batch_size=32, optimizer="muon", peak_learning_rate=1e-2
        ),
    )


@recipe
def tiny_question_answering() -> ExperimentConfig:
    """A Transformer encoder that finds in a docstring of Keras what a parameter is; may begin from another run of an
    encoder by `--init_from`.

    Cost: 600 steps, 32 seconds on two cores shared with other jobs; 0.2M parameters.
    Result: of 448 held-out questions F1 44%, exact match 34%; no answer to any would be 23%. It has learned what an
        answer looks like, and hardly which parameter was asked for.
    Command: tflm train --preset=tiny_question_answering --workdir=runs/tiny_questions
    """
    return dataclasses.replace(
        tiny_bert(),
        name="tiny_question_answering",
        data=DataConfig(source="docstring_parameters", path=_KERAS, eval_fraction=0.1),
        task=QuestionAnsweringConfig(max_question_length=24, other_windows=0.2),
        model=TransformerEncoderConfig(num_layers=2, hidden_dim=64, num_heads=4, max_length=128),
        training=dataclasses.replace(
            _TRAINING, num_steps=600, global_batch_size=32, optimizer="muon", peak_learning_rate=1e-2
        ),
    )


@recipe
def tiny_lstm_classifier() -> ExperimentConfig:
    """A bidirectional LSTM that tells the topic of a question, English or Chinese.

    Cost: 300 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: held-out accuracy 49% on 21 topics.
    Command: tflm train --preset=tiny_lstm_classifier --workdir=runs/tiny_lstm_classifier
    """
    return dataclasses.replace(
        tiny_bert_classifier(),
        name="tiny_lstm_classifier",
        task=ClassificationConfig(pooling="max"),
        model=LSTMEncoderConfig(num_layers=1, hidden_dim=64, max_length=64),
    )


@recipe
def tiny_word_vectors() -> ExperimentConfig:
    """Skip-gram vectors of the pieces of dialogues.

    Cost: 300 steps, about 20 seconds on two cores; 0.1M parameters.
    Result: a held-out loss of 2.82 a pair, from 4.16 at first.
    Command: tflm train --preset=tiny_word_vectors --workdir=runs/tiny_word_vectors
    """
    return dataclasses.replace(
        tiny_pairs(),
        name="tiny_word_vectors",
        data=_DIALOGUES,
        task=WordVectorsConfig(),
        model=SkipGramConfig(hidden_dim=32),
        training=dataclasses.replace(_TRAINING, global_batch_size=256),
    )


def _with_special(*names: str) -> TokenizerConfig:
    return TokenizerConfig(kind="sentencepiece", vocab_size=2000, special_tokens=("separator", *names))
