"""Classifiers with n-grams: a linear one alone, and with a network (wide and deep; Cheng et al., 2016)."""

import dataclasses
from typing import Any

import keras
from keras import ops

from tflm.layers.heads import NgramLogits
from tflm.models.head_model import HeadModel
from tflm.models.text_model import ModelConfig, TextModel, register_model

Tensor = Any


@dataclasses.dataclass(frozen=True)
class NgramConfig(ModelConfig):
    """A linear classifier over n-grams, without a network; `task.ngrams` says which n-grams. It is computed before the
    first step, so one step is enough."""

    kind: str = "ngram"
    hidden_dim: int = 1
    """Unused."""

    def __post_init__(self) -> None:
        if self.max_length < 3:
            raise ValueError(f"max_length is at least 3; got {self.max_length}.")


@register_model("ngram")
class Ngram(TextModel):
    """A body without variables: the n-grams are all that a text is classified by."""

    config_class = NgramConfig
    architecture = "bag of n-grams"

    def __init__(self, config: NgramConfig, **kwargs: Any) -> None:
        keras.Model.__init__(self, name="ngram", **kwargs)  # no embedding
        self.config = config

    def build_variables(self) -> None:
        """There are none."""
        self.built = True


class NgramClassifier(keras.Model):
    """The linear classifier alone.

    Args:
        body: an `Ngram`.
        num_outputs, num_buckets: see `NgramLogits`.
    """

    def __init__(self, body: Ngram, num_outputs: int, num_buckets: int, **kwargs: Any) -> None:
        super().__init__(name="ngram_classifier", **kwargs)
        self.body, self.config = body, body.config
        self.ngrams, self.scales = _ngram_parts(self, num_outputs, num_buckets)

    def call(
        self, token_ids: Tensor, training: bool = False, ngram_ids: Tensor = None, ngram_counts: Tensor = None
    ) -> Tensor:
        """Logits float32 [B, C]; `token_ids` are not read."""
        del token_ids, training
        return self.scales[0] * self.ngrams(ngram_ids, ngram_counts)

    def num_parameters(self) -> int:
        """Number of weights, those of the buckets included."""
        return int(sum(ops.size(variable) for variable in self.variables))


class WideAndDeep(HeadModel):
    """A network, and a linear classifier of n-grams next to it.

    In training the output is the network's alone, which learns as if it were by itself. Otherwise it is a log-linear
    combination of both (Hinton, 2002): `scales[0]` times the logits of the n-grams plus `scales[1]` times those of the
    network. The scales are not trained by steps; see `tflm.tasks.features.ngram_fit`.
    """

    def __init__(
        self, body: TextModel, head: keras.layers.Layer, num_outputs: int, num_buckets: int, **kwargs: Any
    ) -> None:
        super().__init__(body, head, **kwargs)
        self.ngrams, self.scales = _ngram_parts(self, num_outputs, num_buckets)

    def call(
        self,
        token_ids: Tensor,
        training: bool = False,
        ngram_ids: Tensor = None,
        ngram_counts: Tensor = None,
        **features: Tensor,
    ) -> Tensor:
        """Logits float32 [B, C]; without `ngram_ids` int32 [B, N] those of the network alone."""
        deep = super().call(token_ids, training=training, **features)
        if training or ngram_ids is None:
            return deep
        return self.scales[0] * self.ngrams(ngram_ids, ngram_counts) + self.scales[1] * deep


def _ngram_parts(model: keras.Model, num_outputs: int, num_buckets: int) -> tuple[NgramLogits, Any]:
    """The linear classifier, and the scales of its logits and of the network's: float32 [2], at first 1 and 0."""
    ngrams = NgramLogits(num_outputs, num_buckets, name="ngrams")
    ngrams.build()
    scales = model.add_weight(
        shape=(2,),
        initializer=lambda shape, dtype=None: ops.convert_to_tensor([1.0, 0.0], dtype="float32"),
        dtype="float32",
        trainable=False,
        name="ngram_scales",
    )
    return ngrams, scales
