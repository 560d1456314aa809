"""Attention of an LSTM decoder to its source: Luong et al. (2015) and Bahdanau et al. (2015)."""

from typing import Any, ClassVar

import keras
from keras import ops

from tflm.layers.linear import Linear, as_tensor
from tflm.layers.lstm import LSTM
from tflm.layers.time_loop import Tensors, scan, step_cell

Tensor = Any
Memory = tuple[Tensor, Tensor, Tensor]


class SourceAttention(keras.layers.Layer):
    """Single-head attention over the source. A subclass defines the score.

    Args:
        hidden_dim: int, W, width of queries, keys and values.
    """

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.key = Linear(hidden_dim, use_bias=False, dtype=self.dtype_policy, name="key")

    def build(self, input_shape: Any) -> None:
        """Builds the key projection; keys have the width of the queries."""
        self.key.build(input_shape)
        self.built = True

    def keys(self, values: Tensor) -> Tensor:
        """Keys float [B, S, W] from values float [B, S, W]; computed once per source."""
        return self.key(values)

    def call(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Computes the context vectors.

        Args:
            queries: float [B, K, W].
            keys: float [B, S, W], from `keys`.
            values: float [B, S, W].
            mask: bool [B, S], True attends.
        Returns:
            float [B, K, W], context vectors.
        """
        scores = ops.where(mask[:, None], ops.cast(self.scores(queries, keys), "float32"), -1e9)
        return ops.matmul(ops.cast(ops.softmax(scores, axis=-1), values.dtype), values)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Attention scores float [B, K, S] of queries [B, K, W] and keys [B, S, W]."""
        raise NotImplementedError(f"{type(self).__name__} does not implement scores().")


class LuongAttention(SourceAttention):
    """The "general" score h W s (Luong et al., 2015, section 3.1); `keys` applies W to the source once."""

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Dot products float [B, K, S]."""
        return ops.matmul(queries, ops.transpose(keys, (0, 2, 1)))


class BahdanauAttention(SourceAttention):
    """The additive score v tanh(W h + U s) (Bahdanau et al., 2015, appendix A.1.2)."""

    def build(self, input_shape: Any) -> None:
        """Builds W (with a bias), v, and the key projection U."""
        self.query = Linear(self.hidden_dim, dtype=self.dtype_policy, name="query")
        self.query.build(input_shape)
        self.score = keras.layers.Dense(1, use_bias=False, dtype=self.dtype_policy, name="score")
        self.score.build((None, None, None, self.hidden_dim))
        super().build(input_shape)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Additive scores float [B, K, S]."""
        return self.score(ops.tanh(self.query(queries)[:, :, None] + keys[:, None]))[..., 0]


class AttentiveLSTM(LSTM):
    """An LSTM with attention in each step: the previous hidden state is the query, and the context vector is an
    additional input (Bahdanau et al., 2015, section 3.1)."""

    matrices: ClassVar[tuple[str, ...]] = (*LSTM.matrices, "context_kernel")

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(hidden_dim, **kwargs)
        self.attention = BahdanauAttention(hidden_dim, dtype=self.dtype_policy, name="attention")

    def build(self, input_shape: Any) -> None:
        """Creates the kernel [W, 4 W] of the context vector and the weights of `LSTM`."""
        self.context_kernel = self.add_weight(
            shape=(self.hidden_dim, 4 * self.hidden_dim), initializer="glorot_uniform", name="context_kernel"
        )
        self.attention.build((None, None, self.hidden_dim))
        super().build(input_shape)

    def call(  # type: ignore[override]
        self,
        inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        mask: Tensor,
        memory: Memory,
        training: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `LSTM.call`. `memory` is the keys, values and mask of `SourceAttention.call`."""
        del training
        gates, kernel, hidden, cell, keep = self.prepare(inputs, hidden, cell, mask)
        kernels = ops.concatenate([as_tensor(x, hidden.dtype) for x in (kernel, self.context_kernel)], axis=0)

        def step(carry: Tensors, gates: Tensor, *keep: Tensor) -> Tensors:
            context = self.attention(carry[0][:, None], *memory)[:, 0]
            recurrent_inputs = ops.concatenate([carry[0], context], axis=-1)
            return step_cell(gates + ops.matmul(recurrent_inputs, kernels), carry, keep)[:2]

        (hidden, cell), (outputs, _) = scan(step, (hidden, cell), (gates, keep))
        return outputs, hidden, cell
