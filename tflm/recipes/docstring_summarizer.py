"""Summarize the body of a docstring in its summary line: real, hard data that is on every machine."""

from tflm.data import DataConfig
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.recipe_registry import recipe
from tflm.generation import DecodingConfig
from tflm.models import TransformerDecoderConfig
from tflm.tasks import PairsConfig
from tflm.text import TokenizerConfig
from tflm.training import TrainingConfig


@recipe
def docstring_summarizer() -> ExperimentConfig:
    """The docstrings of the installed Python packages, body to summary line; no body and no summary on both sides.

    Cost: 3,600 steps, 22.5 minutes on two cores; 5.2M parameters.
    Result: ROUGE-1/2/L 25.84 / 8.91 / 24.61 on 1,465 held-out docstrings, greedy; the body's first sentence
        20.24 / 4.95 / 16.66. Held-out perplexity 32.1. The packages of another environment give other pairs.
    Command: tflm train --preset=docstring_summarizer --workdir=runs/docstring_summarizer
    """
    return ExperimentConfig(
        name="docstring_summarizer",
        data=DataConfig(source="docstrings", eval_fraction=0.05),
        tokenizer=TokenizerConfig(kind="sentencepiece", vocab_size=8000),
        task=PairsConfig(max_source_length=160, max_target_length=40),
        model=TransformerDecoderConfig(
            num_layers=4,
            hidden_dim=256,
            num_heads=4,
            max_length=208,
            activation="relu_squared",
            qk_norm=True,
            zero_residual=True,
            dropout=0.15,
        ),
        training=TrainingConfig(
            num_steps=3600,
            global_batch_size=32,
            optimizer="muon",
            peak_learning_rate=5e-3,
            schedule="linear",
            final_learning_rate=0.0,
            precision="mixed_bfloat16",
            log_every=20,
            eval_every=600,
            checkpoint_every=300,
        ),
        decoding=DecodingConfig(temperature=0.0, max_new_tokens=40),
    )
