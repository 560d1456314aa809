"""Small models, minutes on a CPU, on text that every machine has: the docstrings of the installed Python packages."""

import dataclasses

from tflm.data import DataConfig
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.recipe_registry import recipe
from tflm.generation import DecodingConfig
from tflm.models import (
    LSTMConfig,
    SkipGramConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
)
from tflm.tasks import (
    ClassificationConfig,
    DenoisingConfig,
    LanguageModelingConfig,
    MaskedLanguageModelingConfig,
    SimilarityConfig,
    TaggingConfig,
    WordVectorsConfig,
)
from tflm.text import TokenizerConfig
from tflm.training import TrainingConfig

_DOCSTRINGS = DataConfig(source="docstrings", text_column="docstring", eval_fraction=0.02)
_TOKENIZER = TokenizerConfig(kind="sentencepiece", vocab_size=4000)
_ENCODER = TransformerEncoderConfig(
    num_layers=4, hidden_dim=192, num_heads=4, max_length=128, activation="relu_squared", qk_norm=True
)
_CONTEXTS = (1, 2, 3, 4, 6)
_TRAINING = TrainingConfig(
    num_steps=1500,
    global_batch_size=32,
    optimizer="muon",
    peak_learning_rate=5e-3,
    schedule="linear",
    final_learning_rate=0.0,
    precision="mixed_bfloat16",
    log_every=25,
    eval_every=500,
    checkpoint_every=250,
    max_eval_batches=20,
)


@recipe
def gpt_small() -> ExperimentConfig:
    """A Transformer decoder on docstrings, which reads counted n-grams.

    Cost: 1,200 steps, 6 minutes on two cores; 2.7M parameters.
    Result: held-out perplexity 9.9 a token of a vocabulary of 4,000; a 5-gram model 11.2.
    Command: tflm train --preset=gpt_small --workdir=runs/gpt_small
    """
    return ExperimentConfig(
        name="gpt_small",
        data=_DOCSTRINGS,
        tokenizer=_TOKENIZER,
        task=LanguageModelingConfig(separate_documents=True),
        model=TransformerDecoderConfig(
            num_layers=4,
            hidden_dim=192,
            num_heads=4,
            max_length=128,
            activation="relu_squared",
            qk_norm=True,
            ngram_contexts=_CONTEXTS,
            ngram_cells=2**23,
        ),
        training=dataclasses.replace(_TRAINING, num_steps=1200, peak_learning_rate=1.5e-2),
        decoding=DecodingConfig(temperature=0.7, top_p=0.9, max_new_tokens=80),
    )


@recipe
def lstm_small() -> ExperimentConfig:
    """An LSTM on the same docstrings.

    Cost: 1,500 steps, 6 minutes on two cores; 2.5M parameters.
    Result: held-out perplexity 18.2 a token of a vocabulary of 4,000; a 5-gram model 11.5.
    Command: tflm train --preset=lstm_small --workdir=runs/lstm_small
    """
    return dataclasses.replace(
        gpt_small(),
        name="lstm_small",
        task=LanguageModelingConfig(),
        model=LSTMConfig(num_layers=2, hidden_dim=288, max_length=128),
        training=dataclasses.replace(_TRAINING, peak_learning_rate=3e-2),
    )


@recipe
def bert_small() -> ExperimentConfig:
    """A Transformer encoder on masked words of docstrings.

    Cost: 1,500 steps, 11 minutes on two cores shared with other jobs; 2.6M parameters.
    Result: 45.7% of the held-out masked tokens found.
    Command: tflm train --preset=bert_small --workdir=runs/bert_small
    """
    return dataclasses.replace(
        gpt_small(),
        name="bert_small",
        data=dataclasses.replace(
            _DOCSTRINGS, test_fraction=0.1
        ),  # as docstring_topics_small, which follows it
        tokenizer=dataclasses.replace(_TOKENIZER, special_tokens=("separator", "mask")),
        task=MaskedLanguageModelingConfig(whole_words=True),
        model=_ENCODER,
        training=_TRAINING,
    )


@recipe
def docstring_topics_small() -> ExperimentConfig:
    """Which of the larger packages a docstring is from, by the body of bert_small; after it with
    `--init_from=runs/bert_small`.

    Cost: 200 steps, 1 to 3 minutes on two cores shared with other jobs; 1.8M parameters.
    Result: with 443 labelled docstrings (`--set data.train_fraction=0.02`) accuracy 60.5% on test, after bert_small
        64.0% (three seeds each, gain 3.5 [1.3, 5.7]); a logistic regression over words 51.4%.
    Command: tflm train --preset=docstring_topics_small --workdir=runs/topics --set data.train_fraction=0.02
    """
    config = bert_small()
    return dataclasses.replace(
        config,
        name="docstring_topics_small",
        data=dataclasses.replace(config.data, label_column="package"),
        task=ClassificationConfig(pooling="mean", dropout=0.2),
        model=dataclasses.replace(_ENCODER, dropout=0.1),
        training=dataclasses.replace(
            _TRAINING, num_steps=200, optimizer="adamw", peak_learning_rate=1e-3, eval_every=200
        ),
    )


@recipe
def similarity_small() -> ExperimentConfig:
    """The body of a docstring near its summary, by the body of bert_small; after it with `--init_from=runs/bert_small`.
    What `tflm embed --query` and `tflm answer --documents` search with.

    Cost: 1,500 steps, 18 minutes on two cores shared with other jobs; 2.5M parameters.
    Result: after bert_small 53.2% of 604 held-out bodies find their own summary first among 546, 83.0% among the first
        ten.
    Command: tflm train --preset=similarity_small --workdir=runs/similarity
    """
    config = bert_small()
    return dataclasses.replace(
        config,
        name="similarity_small",
        data=dataclasses.replace(config.data, text_column=""),
        task=SimilarityConfig(),
        training=dataclasses.replace(config.training, global_batch_size=64),
    )


@recipe
def tagging_small() -> ExperimentConfig:
    """Keywords, numbers, strings and comments in lines of Python code, character by character; docs/tagging.md makes
    the data, of the standard library.

    Cost: 1,500 steps, 3 minutes on two cores shared with other jobs; 0.6M parameters.
    Result: of the spans in held-out lines F1 99.7% [99.4, 99.9].
    Command: tflm train --preset=tagging_small --workdir=runs/tagging --set data.path=code.jsonl
    """
    return dataclasses.replace(
        gpt_small(),
        name="tagging_small",
        data=DataConfig(
            source="jsonl", path="code.jsonl", text_column="text", spans_column="spans", eval_fraction=0.02
        ),
        tokenizer=TokenizerConfig(kind="character", vocab_size=1000),
        task=TaggingConfig(),
        model=dataclasses.replace(_ENCODER, num_layers=3, hidden_dim=128),
        training=dataclasses.replace(_TRAINING, global_batch_size=64),
    )


@recipe
def t5_small() -> ExperimentConfig:
    """An encoder-decoder with T5's choices on damaged spans of docstrings.

    Cost: 1,500 steps, 13 minutes on two cores shared with other jobs; 3.9M parameters.
    Result: held-out perplexity 23.3 a token of the missing spans.
    Command: tflm train --preset=t5_small --workdir=runs/t5_small
    """
    sentinels = tuple(f"sentinel_{n}" for n in range(32))
    return dataclasses.replace(
        gpt_small(),
        name="t5_small",
        tokenizer=dataclasses.replace(_TOKENIZER, special_tokens=("separator", "mask", *sentinels)),
        task=DenoisingConfig(),
        model=TransformerEncoderDecoderConfig(
            num_layers=3,
            hidden_dim=192,
            num_heads=4,
            max_length=128,
            positions="relative",
            activation="geglu",
        ),
        training=dataclasses.replace(_TRAINING, peak_learning_rate=1e-2),
    )


@recipe
def word_vectors_small() -> ExperimentConfig:
    """Skip-gram vectors of the words of docstrings.

    Cost: 2,000 steps of 4,096 pairs, about a minute on two cores; 1.0M parameters.
    Result: neighbours such as file: dduf, filename, fileobj, files, folder; error: errors, thrown, rpcerror, raised,
        raising; list: tuples, tuple, containing, objects, lists.
    Command: tflm train --preset=word_vectors_small --workdir=runs/word_vectors
    """
    return dataclasses.replace(
        gpt_small(),
        name="word_vectors_small",
        tokenizer=TokenizerConfig(kind="sentencepiece", vocab_size=8000, case_fold=True),
        task=WordVectorsConfig(subsample=1e-4),
        model=SkipGramConfig(hidden_dim=100),
        training=TrainingConfig(
            num_steps=2000,
            global_batch_size=4096,
            peak_learning_rate=3e-3,
            warmup_steps=50,
            schedule="linear",
            final_learning_rate=0.01,
            weight_decay=0.0,
            beta_2=0.999,
            log_every=50,
        ),
    )
