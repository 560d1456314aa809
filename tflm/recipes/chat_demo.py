"""The demo: real dialogues in English and Chinese that every machine can install."""

import dataclasses

from tflm.data import DataConfig
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.recipe_registry import recipe
from tflm.generation import DecodingConfig
from tflm.models import TransformerDecoderConfig
from tflm.tasks import ChatConfig
from tflm.text import TokenizerConfig
from tflm.training import TrainingConfig


@recipe
def chat_demo() -> ExperimentConfig:
    """Conversations from chatterbot-corpus, English and Chinese, on a small decoder-only Transformer.

    Cost: 1,200 steps, 15 TFLOP: two to six minutes on two cores; 1.3M parameters.
    Result: it memorises the 1,671 training dialogues (training perplexity about 1.1) and generalises little (held-out
        perplexity in the thousands).
    Command: tflm train --preset=chat_demo --workdir=runs/chat_demo
    """
    return ExperimentConfig(
        name="chat_demo",
        data=DataConfig(source="chatterbot", eval_fraction=0.05),
        tokenizer=TokenizerConfig(
            kind="sentencepiece", vocab_size=4000, special_tokens=("system", "user", "assistant")
        ),
        task=ChatConfig(max_history=1),
        model=TransformerDecoderConfig(num_layers=4, hidden_dim=128, num_heads=4, max_length=160),
        training=TrainingConfig(
            num_steps=1200,
            global_batch_size=32,
            optimizer="muon",
            peak_learning_rate=8e-3,
            schedule="linear",
            final_learning_rate=0.0,
            log_every=20,
            eval_every=400,
            checkpoint_every=400,
        ),
        decoding=DecodingConfig(temperature=0.0, max_new_tokens=80),
    )


@recipe
def chat_demo_long() -> ExperimentConfig:
    """As chat_demo, with a larger model that also sees the dialogues after up to three others.

    Cost: 1,500 steps, 85 TFLOP: seven to twenty minutes on two cores; 2.5M parameters.
    Result: it memorises the training dialogues (training perplexity about 1.06), and answers from them later in a
        conversation too.
    Command: tflm train --preset=chat_demo_long --workdir=runs/chat_demo_long
    """
    short = chat_demo()
    return dataclasses.replace(
        short,
        name="chat_demo_long",
        task=ChatConfig(max_history=3),
        model=TransformerDecoderConfig(
            num_layers=4, hidden_dim=192, num_heads=6, max_length=160, dropout=0.1
        ),
        training=dataclasses.replace(
            short.training, num_steps=1500, peak_learning_rate=4e-3, eval_every=300, checkpoint_every=300
        ),
    )
