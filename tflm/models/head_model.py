"""A language model's body with a task-specific head."""

from typing import Any

import keras
from keras import ops

from tflm.layers import padding_mask
from tflm.models.text_model import TextModel

Tensor = Any


class HeadModel(keras.Model):
    """Applies `head` to the hidden states of `body`. The variables of the body keep their paths, so that its weights
    can be loaded from a pretraining run.

    Args:
        body: a built `TextModel`. Its output layers are frozen.
        head: a layer with the call signature `head(hidden_states, mask, training=...)`; see `tflm.layers.heads`.
    """

    def __init__(self, body: TextModel, head: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(name=head.name, **kwargs)
        self.body, self.text_head = body, head
        self.config = body.config
        for layer in body.output_layers():
            layer.trainable = False  # unused by the head: neither trained nor exported
        head.build((None, None, body.config.hidden_dim))

    def call(self, token_ids: Tensor, training: bool = False, **features: Tensor) -> Tensor:
        """Output of the head for `token_ids` int32 [B, T], padded with `pad_id` on the right. `features` are the other
        inputs of the body, such as `segment_ids`."""
        states = self.body.hidden_states(token_ids, training=training, **features)
        return self.text_head(states, padding_mask(token_ids, self.config.pad_id), training=training)

    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return int(sum(ops.size(variable) for variable in self.trainable_variables))
