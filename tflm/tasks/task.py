"""What every task offers: features, batches, loss, metrics, and the signatures of its export."""

import abc
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tflm.data import Batches, TokenStore
from tflm.models import TextModel
from tflm.text import Tokenizer

Batch = dict[str, tf.Tensor]
Features = dict[str, tf.RaggedTensor | tf.Tensor]
TEXT = tf.TensorSpec([None], tf.string, "text")


class Task(abc.ABC):
    """Training, evaluation and export see this interface and nothing else.

    Args:
        tokenizer: strings to ids.
        max_length: int, the longest row of tokens.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length

    @abc.abstractmethod
    def encode(self, examples: dict[str, tf.Tensor]) -> Features:
        """Features of examples string [B], for `tflm.data.build_store`."""

    @abc.abstractmethod
    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Batches of a store that `encode` filled."""

    @abc.abstractmethod
    def loss(self, model: Any, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss as a sum, and its weight: float32 scalars. Over replicas and micro-batches both add up."""

    @abc.abstractmethod
    def signatures(self, model: Any) -> dict[str, Callable[..., Any]]:
        """Name to `tf.function`, as docs/architecture.md lists them."""

    @abc.abstractmethod
    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Requests for each signature, to check an export with and to warm a server up."""

    def requests(self, signatures: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """`example_requests`, and those of signatures that take what another gave: a request for each of `signatures`,
        which are this task's own, or some of them."""
        del signatures
        return self.example_requests()

    def tokenize_signature(self) -> Callable[..., Any]:
        """`text` string [B] to `token_ids` int32 [B, T], padded with 0, and `lengths` int32 [B]."""

        @tf.function(input_signature=[TEXT], autograph=False)
        def tokenize(text: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = self.tokenizer.tokenize(text)
            return {"token_ids": rows.to_tensor(0), "lengths": tf.cast(rows.row_lengths(), tf.int32)}

        return tokenize

    def model_for(self, body: TextModel) -> Any:
        """What is trained: the body, with a head where the task has one of its own."""
        return body

    def sums(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """What an evaluation adds up over the batches: `loss` and `weight`, and a task's own; float32 scalars."""
        loss, weight = self.loss(model, batch, training=False)
        return {"loss": loss, "weight": weight}

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """What is reported of the sums: `loss`, the mean, and whatever the task is measured by."""
        return {"loss": mean(sums["loss"], sums["weight"])}


def mean(total: float, weight: float) -> float:
    """`total / weight`; not a number where nothing was weighed."""
    return total / weight if weight else math.nan
