"""The signature `about`: what an export is, told by a server that has no folder to look into."""

from typing import Any

import tensorflow as tf


def about_signature(config: str) -> Any:
    """`text` string [B] (what it says does not matter) to `config` string [B], the resolved config as JSON.

    The metadata of a server tell names and dtypes alone; with this a client knows the defaults of generation, the
    length that the model reads, and what it was made from.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")], autograph=False)
    def about(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"config": tf.fill(tf.shape(text), config)}

    return about
