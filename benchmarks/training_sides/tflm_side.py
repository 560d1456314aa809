"""tflm's side of `training.py`: the compiled loop of `Trainer` over batches of a token store's form.

python tflm_side.py plain|xla SETTING
"""

import os
import sys

from training_side import Setting, take_turns

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(kind: str, setting_text: str) -> None:
    """Builds the model and measures it."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tflm.generation import DecodingConfig
    from tflm.models import LSTMConfig, TransformerDecoderConfig, build_model
    from tflm.tasks import LanguageModeling, LanguageModelingConfig
    from tflm.text import TokenizerConfig, train_tokenizer
    from tflm.training import TrainingConfig
    from tflm.training.optimizers import make_optimizer
    from tflm.training.train_step import make_train_steps

    setting = Setting.from_json(setting_text)
    tf.config.threading.set_intra_op_parallelism_threads(setting.num_threads)
    sizes = {
        "vocab_size": setting.vocab_size,
        "num_layers": setting.num_layers,
        "hidden_dim": setting.hidden_dim,
        "max_length": setting.length,
    }
    if setting.model == "gpt":
        config = TransformerDecoderConfig(
            **sizes,
            num_heads=setting.num_heads,
            norm="layer_norm",
            positions="learned",
            activation="gelu",
            use_bias=True,
        )
    else:
        config = LSTMConfig(**sizes)
    precision = "float32" if setting.precision == "float32" else f"mixed_{setting.precision}"
    keras.config.set_dtype_policy(precision)
    model = build_model(config)
    model.build_variables()
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte"), [])
    task = LanguageModeling(LanguageModelingConfig(), tokenizer, setting.length, DecodingConfig())
    training = TrainingConfig(
        global_batch_size=setting.batch_size, peak_learning_rate=3e-4, warmup_steps=1, schedule="constant"
    )
    train_steps = make_train_steps(
        tf.distribute.get_strategy(),
        lambda batch: task.loss(model, batch, training=True),
        model.trainable_variables,
        make_optimizer(training, model.trainable_variables),
        num_micro_batches=1,
        clip_norm=training.clip_norm,
        jit_compile=kind == "xla",
        pad_id=0,
        mask_seed=0,
    )
    rows = setting.batches()
    batches = {
        "token_ids": rows[..., :-1],
        "targets": rows[..., 1:],
        "loss_weights": np.ones(rows[..., 1:].shape, np.float32),
    }
    iterator = iter(tf.data.Dataset.from_tensor_slices(batches).repeat().prefetch(2))

    def train(count: int) -> list[float]:
        return train_steps(iterator, tf.constant(count))["loss"].numpy().tolist()

    take_turns(setting, train, model.num_parameters())


if __name__ == "__main__":
    main(*sys.argv[1:])
