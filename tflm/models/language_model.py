"""What every language model offers: hidden states and logits of whole sequences, and a state to go on from."""

from typing import Any

import keras
from keras import ops

Tensor = Any
State = dict[str, Any]


class LanguageModel(keras.Model):
    """The contract. A subclass gives `hidden_states`, `initial_state`, `step_hidden_states` and, if its state
    grows with the text, `extend_state`; and, unless its output is tied to the embedding, a Dense `head`.
    """

    embedding: keras.layers.Embedding
    head: keras.layers.Dense | None = None

    def call(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """Logits float32 [B, T, V] of the token after each of `token_ids` int32 [B, T]."""
        return self.logits(self.hidden_states(token_ids, training=training))

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """What the head reads, float [B, T, D], for `token_ids` int32 [B, T]."""
        raise NotImplementedError(f"{type(self).__name__} gives no hidden_states.")

    def logits(self, hidden_states: Tensor) -> Tensor:
        """float32 [..., V] from hidden states [..., D]."""
        kernel, bias = self.output_weights()
        logits = ops.cast(ops.matmul(hidden_states, ops.cast(kernel, hidden_states.dtype)), "float32")
        return logits if bias is None else logits + ops.cast(bias, "float32")

    def output_weights(self) -> tuple[Tensor, Tensor | None]:
        """The head's kernel [D, V] and its bias [V], or None. Tied: the embedding, transposed (Press and Wolf,
        2017)."""
        if self.head is None:
            return ops.transpose(self.embedding.embeddings), None
        return self.head.kernel, self.head.bias

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Tensor = None
    ) -> State:
        """A state before the first token.

        Args:
            batch_size: int scalar, B.
            max_length: int scalar, how many positions it has room for; `extend_state` adds more.
            num_padding: int32 [B], how many places on the left of each prompt are padding. None for none.
            context: what an encoder gave; a decoder alone takes None.
        Returns:
            A dict of tensors with the batch on axis 0, and `cache_index`, an int32 scalar.
        """
        raise NotImplementedError(f"{type(self).__name__} has no initial_state.")

    def step(self, token_ids: Tensor, state: State, last_only: bool = False) -> tuple[Tensor, State]:
        """Logits for the next tokens, and the state after them.

        Args:
            token_ids: int32 [B, K]. K > 1 is prefill, K = 1 decoding.
            state: from `initial_state` or an earlier step.
            last_only: give the last position's logits alone; a prompt needs no more.
        Returns:
            float32 [B, K, V], or [B, 1, V] with `last_only`; and the new state.
        """
        hidden_states, state = self.step_hidden_states(token_ids, state)
        return self.logits(hidden_states[:, -1:] if last_only else hidden_states), state

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """`step` before the head: float [B, K, D] and the new state."""
        raise NotImplementedError(f"{type(self).__name__} has no step.")

    def extend_state(self, state: State, num_positions: Tensor) -> State:
        """The state with room for `num_positions` more; unchanged where its size does not grow with the text."""
        del num_positions
        return state

    def build_variables(self) -> None:
        """Makes every variable, by running on two tokens."""
        self(ops.zeros((1, 2), dtype="int32"))

    def num_parameters(self) -> int:
        """How many numbers training changes."""
        return int(sum(ops.size(variable) for variable in self.trainable_variables))

    def new_state(self, batch_size: Tensor, num_padding: Tensor, parts: State) -> State:
        """`parts` with what every state remembers."""
        if num_padding is None:
            num_padding = ops.zeros((batch_size,), dtype="int32")
        return {**parts, "num_padding": num_padding, "cache_index": ops.zeros((), dtype="int32")}
