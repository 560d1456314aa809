"""The interface of generative language models: incremental decoding with a state."""

from typing import Any

from keras import ops

from tflm.layers.ngram_embedding import NgramEmbedding
from tflm.layers.quantized import QuantizedMatrix
from tflm.models.ngram_input import windows_of_rows
from tflm.models.text_model import TextModel

Tensor = Any
State = dict[str, Any]


class LanguageModel(TextModel):
    """The contract of autoregressive models: the hidden state at a position depends on that position and earlier ones.

    A subclass implements `hidden_states`, `initial_state`, `step_hidden_states` and, if its state grows with the
    sequence, `extend_state`. A subclass with an encoder also implements `encode`, and its `hidden_states` takes
    `source_ids` int32 [B, S], padded with 0 on the right.
    """

    architecture = "decoder"
    has_encoder = False
    """Whether the model is an encoder-decoder and reads a source."""
    can_rewind = False
    """Whether `rewind` is supported."""
    ngram_embedding: NgramEmbedding | None = None
    """Counted n-grams, with `ngram_contexts` in the config."""

    def __init__(self, config: Any, name: str, **kwargs: Any) -> None:
        super().__init__(config, name, **kwargs)
        if contexts := getattr(config, "ngram_contexts", ()):
            width = getattr(config, "embedding_dim", 0) or config.hidden_dim
            self.ngram_embedding = NgramEmbedding(
                contexts,
                config.ngram_cells,
                config.ngram_candidates,
                config.vocab_size,
                width,
                name="ngram_embedding",
            )

    def ngrams_of(self, windows: Tensor, next_ids: Tensor = None) -> Tensor:
        """float [B, T, E], the input of counted n-grams after the last tokens int32 [B, T, C] of each position; see
        `NgramEmbedding`."""
        assert self.ngram_embedding is not None
        found = self.ngram_embedding(windows, next_ids=next_ids)
        return self.ngram_embedding.combine(found, self.embedding(found.token_ids))

    def embed_rows(
        self, token_ids: Tensor, training: bool, document_ids: Tensor = None, next_ids: Tensor = None
    ) -> Tensor:
        """`embed` of whole rows int32 [B, T], with the counted n-grams of the model, if it has some; `next_ids` as of
        `NgramEmbedding`."""
        if self.ngram_embedding is None:
            return self.embed(token_ids, training)
        windows = windows_of_rows(token_ids, document_ids, self.ngram_embedding.longest)
        counted = self.ngrams_of(windows, next_ids)
        return self.embed(token_ids, training, counted)

    def encode(self, source_ids: Tensor, training: bool = False) -> Any:
        """Encodes the source.

        Args:
            source_ids: int32 [B, S], padded with 0 on the right.
            training: bool, with dropout.
        Returns:
            The `context` of `initial_state`.
        Raises:
            NotImplementedError: the model has no encoder (`has_encoder` is False).
        """
        raise NotImplementedError(f"{type(self).__name__} has no encoder.")

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Tensor = None
    ) -> State:
        """The state before the first token.

        Args:
            batch_size: int scalar, B.
            max_length: int scalar, capacity in positions; `extend_state` adds more.
            num_padding: int32 [B], left padding of each prompt. None for no padding.
            context: the result of `encode`; None for a model without an encoder.
        Returns:
            A dict of tensors with the batch on axis 0, and `cache_index`, an int32 scalar.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement initial_state().")

    def step(self, token_ids: Tensor, state: State, last_only: bool = False) -> tuple[Tensor, State]:
        """Next-token logits for K tokens, and the updated state.

        Args:
            token_ids: int32 [B, K]. K > 1 is prefill, K = 1 is decoding.
            state: from `initial_state` or a previous step.
            last_only: return only the logits of the last position, as prefill needs.
        Returns:
            Logits float32 [B, K, V], or [B, 1, V] with `last_only`, and the new state.
        """
        hidden_states, state = self.step_hidden_states(token_ids, state)
        return self.last_logits(hidden_states[:, -1:]) if last_only else self.logits(hidden_states), state

    def last_logits(self, hidden_states: Tensor) -> Tensor:
        """`logits` for one position: float32 [B, 1, V] from hidden states [B, 1, D].

        With a tied embedding, the embedding is the left operand of the product and is read row by row: 0.6 of the time
        on a CPU for 8 hidden states of width 768 and 50,257 tokens.
        """
        if self.head is not None or isinstance(self.embedding.embeddings, QuantizedMatrix):
            return self.logits(hidden_states)
        columns = ops.transpose(self.scale_outputs(hidden_states)[:, 0])
        kernel = ops.cast(self.embedding.embeddings, hidden_states.dtype)
        return self.finish_logits(ops.transpose(ops.matmul(kernel, columns))[:, None])

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """`step` without the output layer: hidden states float [B, K, D], and the new state."""
        raise NotImplementedError(f"{type(self).__name__} does not implement step_hidden_states().")

    def extend_state(self, state: State, num_positions: Tensor) -> State:
        """The state with capacity for `num_positions` more positions; unchanged if its size is constant."""
        del num_positions
        return state

    def rewind(self, state: State, num_positions: Tensor) -> State:
        """Removes the last `num_positions` tokens of each row from the state.

        Rows may remove different numbers of tokens. All rows still end at the same cache index, so `num_padding`
        changes; the longest row has no padding, and `cache_index` is its number of tokens.

        Args:
            state: from `initial_state` or a previous step.
            num_positions: int32 [B], from 0 to the number of real tokens in the row.
        Raises:
            NotImplementedError: the model cannot rewind (`can_rewind` is False), such as an LSTM.
        """
        raise NotImplementedError(
            f"{type(self).__name__} cannot rewind: its state summarizes all tokens and keeps none of them apart. "
            "Use a Transformer."
        )

    def new_state(self, batch_size: Tensor, num_padding: Tensor, parts: State) -> State:
        """`parts` and the entries that every state has: `num_padding` int32 [B] and `cache_index` int32 scalar."""
        if num_padding is None:
            num_padding = ops.zeros((batch_size,), dtype="int32")
        return {**parts, "num_padding": num_padding, "cache_index": ops.zeros((), dtype="int32")}
