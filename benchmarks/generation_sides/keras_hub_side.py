"""keras-hub's side of `generation.py`: `GPT2CausalLM.generate`, greedy, from token ids.

python keras_hub_side.py plain|xla SETTING
"""

import os
import sys

from side import Setting, Write, measure

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"


def main(kind: str, setting_text: str) -> None:
    """Builds the model and measures it."""
    import keras_hub
    import numpy as np
    import tensorflow as tf

    setting = Setting.from_json(setting_text)
    tf.config.threading.set_intra_op_parallelism_threads(setting.num_threads)
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=setting.vocab_size,
        num_layers=setting.num_layers,
        num_heads=setting.num_heads,
        hidden_dim=setting.hidden_dim,
        intermediate_dim=4 * setting.hidden_dim,
        max_sequence_length=setting.max_length,
        dropout=0.0,
    )
    model = keras_hub.models.GPT2CausalLM(backbone=backbone, preprocessor=None)
    model.compile(sampler="greedy", jit_compile=kind == "xla")

    def writer_for(batch_size: int) -> Write:
        prompts = np.array(setting.prompts(batch_size), np.int32)

        def write(num_tokens: int) -> None:
            room = [(0, 0), (0, num_tokens)]
            inputs = {
                "token_ids": np.pad(prompts, room),
                "padding_mask": np.pad(np.ones_like(prompts), room),
            }
            found = model.generate(inputs, stop_token_ids=None)["token_ids"]
            if found.shape != (batch_size, setting.prompt_length + num_tokens):
                raise SystemExit(f"The tokens have the shape {found.shape}.")

        return write

    measure(setting, writer_for)


if __name__ == "__main__":
    main(*sys.argv[1:])
