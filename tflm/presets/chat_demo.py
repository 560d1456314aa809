"""The demo: real dialogues in English and Chinese that every machine can install."""

from tflm.data import DataConfig
from tflm.decoding import DecodingConfig
from tflm.models import TransformerDecoderConfig
from tflm.presets.config import ExperimentConfig
from tflm.tasks import ChatConfig
from tflm.text import TokenizerConfig
from tflm.training import TrainingConfig


def chat_demo() -> ExperimentConfig:
    """Conversations from chatterbot-corpus, English and Chinese, on a decoder-only Transformer.

    Cost: 1,500 steps, some seven minutes on two cores; 2.5M parameters.
    Result: it knows the training dialogues by heart (perplexity about 1.06), after others too, and little else (held
        out, in the thousands: 1,671 short dialogues say nothing about the other 49).
    Command: python -m apps.train --preset=chat_demo --workdir=runs/chat_demo
    """
    return ExperimentConfig(
        name="chat_demo",
        data=DataConfig(source="chatterbot", eval_fraction=0.05),
        tokenizer=TokenizerConfig(
            kind="sentencepiece", vocab_size=4000, special_tokens=("system", "user", "assistant")
        ),
        task=ChatConfig(max_history=3),
        model=TransformerDecoderConfig(
            num_layers=4, hidden_dim=192, num_heads=6, max_length=160, dropout=0.1
        ),
        training=TrainingConfig(
            num_steps=1500,
            global_batch_size=32,
            optimizer="muon",
            peak_learning_rate=4e-3,
            schedule="linear",
            final_learning_rate=0.0,
            log_every=20,
            eval_every=300,
            checkpoint_every=300,
        ),
        decoding=DecodingConfig(temperature=0.0, max_new_tokens=80),
    )
