"""keras-hub's side of `training.py`: `GPT2CausalLM.train_on_batch`, or Keras's LSTM layers.

python keras_hub_side.py plain|xla SETTING
"""

import os
import sys

from training_side import Setting, take_turns

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"


def main(kind: str, setting_text: str) -> None:
    """Builds the model and measures it."""
    import keras
    import numpy as np
    import tensorflow as tf

    setting = Setting.from_json(setting_text)
    tf.config.threading.set_intra_op_parallelism_threads(setting.num_threads)
    keras.config.set_dtype_policy(
        "float32" if setting.precision == "float32" else f"mixed_{setting.precision}"
    )
    if setting.model == "gpt":
        import keras_hub

        backbone = keras_hub.models.GPT2Backbone(
            vocabulary_size=setting.vocab_size,
            num_layers=setting.num_layers,
            num_heads=setting.num_heads,
            hidden_dim=setting.hidden_dim,
            intermediate_dim=4 * setting.hidden_dim,
            max_sequence_length=setting.length,
            dropout=0.0,
        )
        model = keras_hub.models.GPT2CausalLM(backbone=backbone, preprocessor=None)
    else:
        import keras_hub

        embedding = keras_hub.layers.ReversibleEmbedding(setting.vocab_size, setting.hidden_dim)
        inputs = keras.Input((None,), dtype="int32")
        states = embedding(inputs)
        for _ in range(setting.num_layers):
            states = keras.layers.LSTM(setting.hidden_dim, return_sequences=True)(states)
        model = keras.Model(inputs, embedding(states, reverse=True))
    model.compile(
        optimizer=keras.optimizers.AdamW(3e-4, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=kind == "xla",
    )
    rows, place = setting.batches(), [0]

    def train(count: int) -> list[float]:
        losses = []
        for _ in range(count):
            batch = rows[place[0] % len(rows)]
            place[0] += 1
            ids, targets = batch[:, :-1], batch[:, 1:]
            inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)} if setting.model == "gpt" else ids
            losses.append(float(np.ravel(model.train_on_batch(inputs, targets))[0]))  # then metrics
        return losses

    take_turns(setting, train, model.count_params())


if __name__ == "__main__":
    main(*sys.argv[1:])
