"""What every language model offers beside its logits: a state to go on from, token by token."""

from typing import Any

from keras import ops

from tflm.models.text_model import TextModel

Tensor = Any
State = dict[str, Any]


class LanguageModel(TextModel):
    """The contract of models that write. Hidden states at a place know what came before it and nothing after.

    A subclass gives `hidden_states`, `initial_state`, `step_hidden_states` and, if its state grows with the text,
    `extend_state`. One with an encoder also gives `encode`, and takes `source_ids` int32 [B, S] (padded with 0 on
    the right) in `hidden_states`.
    """

    has_encoder = False
    """Whether there is a source beside the text."""
    can_rewind = False
    """Whether `rewind` works: what was read can be taken back."""

    def encode(self, source_ids: Tensor, training: bool = False) -> Any:
        """Reads the source once: the `context` of `initial_state`.

        Args:
            source_ids: int32 [B, S], padded with 0 on the right.
        """
        raise NotImplementedError(f"{type(self).__name__} has no encoder.")

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Tensor = None
    ) -> State:
        """A state before the first token.

        Args:
            batch_size: int scalar, B.
            max_length: int scalar, how many positions it has room for; `extend_state` adds more.
            num_padding: int32 [B], how many places on the left of each prompt are padding. None for none.
            context: what `encode` gave; a model without an encoder takes None.
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
        return self.last_logits(hidden_states[:, -1:]) if last_only else self.logits(hidden_states), state

    def last_logits(self, hidden_states: Tensor) -> Tensor:
        """float32 [B, 1, V] from hidden states [B, 1, D]: `logits`, sooner. With a tied embedding it is the left one of
        the product, so that the large matrix is read along its rows: alone, for 8 states of 768 and 50,257 tokens, 0.6
        of the time on a CPU."""
        if self.head is not None:
            return self.logits(hidden_states)
        columns = ops.transpose(hidden_states[:, 0])
        kernel = ops.cast(self.embedding.embeddings, hidden_states.dtype)
        return ops.cast(ops.transpose(ops.matmul(kernel, columns))[:, None], "float32")

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """`step` before the head: float [B, K, D] and the new state."""
        raise NotImplementedError(f"{type(self).__name__} has no step.")

    def extend_state(self, state: State, num_positions: Tensor) -> State:
        """The state with room for `num_positions` more; unchanged where its size does not grow with the text."""
        del num_positions
        return state

    def rewind(self, state: State, num_positions: Tensor) -> State:
        """The state as if the last `num_positions` tokens of each row had not been read.

        Rows may take back unequal numbers. They end together all the same, so `num_padding` changes; the longest then
        has none, so `cache_index` is its number of tokens.

        Args:
            state: from `initial_state` or an earlier step.
            num_positions: int32 [B], 0 and up, at most as many as the row has read, without padding.
        Raises:
            NotImplementedError: the model keeps no memory of each token; `can_rewind` tells.
        """
        raise NotImplementedError(
            f"{type(self).__name__} cannot take back what it has read: its state is one memory of all tokens, not one "
            "of each. Use a Transformer."
        )

    def new_state(self, batch_size: Tensor, num_padding: Tensor, parts: State) -> State:
        """`parts` with what every state remembers."""
        if num_padding is None:
            num_padding = ops.zeros((batch_size,), dtype="int32")
        return {**parts, "num_padding": num_padding, "cache_index": ops.zeros((), dtype="int32")}
