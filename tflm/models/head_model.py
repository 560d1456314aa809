"""A body with a head of its own: the same bodies that model language, put to another use."""

from typing import Any

import keras
from keras import ops

from tflm.layers import padding_mask
from tflm.models.text_model import TextModel

Tensor = Any


class HeadModel(keras.Model):
    """What `head` makes of the body's hidden states. The body keeps its variables' names, so that it can be loaded
    from a run that trained it alone.

    Args:
        body: any TextModel with its variables made.
        head: a layer called as `head(hidden_states, mask, training=...)`; see `tflm.layers.heads`.
    """

    def __init__(self, body: TextModel, head: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(name=head.name, **kwargs)
        self.body, self.text_head = body, head
        self.config = body.config
        for layer in body.output_layers():
            layer.trainable = False  # nothing reads it: it is neither trained nor exported
        head.build((None, None, body.config.hidden_dim))

    def call(self, token_ids: Tensor, training: bool = False, **features: Tensor) -> Tensor:
        """The head's output for `token_ids` int32 [B, T], padded with 0 on the right, and what else the body
        reads (`segment_ids`)."""
        states = self.body.hidden_states(token_ids, training=training, **features)
        return self.text_head(states, padding_mask(token_ids), training=training)

    def num_parameters(self) -> int:
        """How many numbers training changes."""
        return int(sum(ops.size(variable) for variable in self.trainable_variables))
