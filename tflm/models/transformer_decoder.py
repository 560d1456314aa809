"""A decoder-only Transformer language model (Radford et al., 2018), with the choices made since."""

import dataclasses
from typing import Any

from keras import ops

from tflm.layers import cache_mask, causal_mask, document_mask
from tflm.models.language_model import LanguageModel, State
from tflm.models.transformer_config import TransformerConfig
from tflm.models.transformer_stack import TransformerStack

Tensor = Any


@dataclasses.dataclass(frozen=True)
class TransformerDecoderConfig(TransformerConfig):
    """Sizes and choices of a `TransformerDecoder`."""

    kind: str = "transformer_decoder"


class TransformerDecoder(LanguageModel):
    """Embedding, blocks, a last norm, and the head."""

    can_rewind = True

    def __init__(self, config: TransformerDecoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="transformer_decoder", **kwargs)
        self.decoder = TransformerStack(config, config.num_layers, causal=True, name="decoder")

    def hidden_states(self, token_ids: Tensor, training: bool = False, document_ids: Tensor = None) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T].

        Args:
            token_ids: int32 [B, T].
            training: bool, with dropout.
            document_ids: int32 [B, T]. Where several documents stand in one row, each sees itself alone and its
                positions count from its own beginning; None for one text a row.
        """
        length = ops.shape(token_ids)[1]
        positions = ops.arange(length, dtype="int32")[None]
        attention_mask = causal_mask(length)
        if document_ids is not None:
            same = document_mask(document_ids)
            # The first place of a token's own document is the first that it may see.
            positions = positions - ops.cast(ops.argmax(same, axis=-1), "int32")
            attention_mask = attention_mask & same
        embedded = self.embed(token_ids, training)
        return self.decoder(embedded, attention_mask, positions, training=training)[0]

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Any = None
    ) -> State:
        """Empty caches: `keys` and `values`, each num_layers tensors float [B, num_kv_heads, max_length,
        head_dim]."""
        del context
        return self.new_state(batch_size, num_padding, empty_caches(self, batch_size, max_length))

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Writes K positions into the caches at `cache_index` and attends over them."""
        return step_over_caches(self, token_ids, state)

    def extend_state(self, state: State, num_positions: Tensor) -> State:
        """Caches with `num_positions` more places."""
        return extend_caches(state, num_positions)

    def rewind(self, state: State, num_positions: Tensor) -> State:
        """See `LanguageModel` and `rewind_caches`."""
        return rewind_caches(state, num_positions)


def empty_caches(model: Any, batch_size: Tensor, max_length: Tensor) -> State:
    """`keys` and `values` of a model with a causal `decoder`, zeros."""
    config, num_layers = model.config, len(model.decoder.blocks)
    num_kv_heads = config.num_kv_heads or config.num_heads
    empty = ops.zeros((batch_size, num_kv_heads, max_length, config.head_dim), dtype=model.compute_dtype)
    return {"keys": (empty,) * num_layers, "values": (empty,) * num_layers}


def extend_caches(state: State, num_positions: Tensor) -> State:
    """The state with `num_positions` more places in `keys` and `values`."""
    room = [[0, 0], [0, 0], [0, num_positions], [0, 0]]
    return {**state, **{name: tuple(ops.pad(x, room) for x in state[name]) for name in ("keys", "values")}}


def step_over_caches(
    model: Any, token_ids: Tensor, state: State, memories: Any = None, memory_mask: Tensor = None
) -> tuple[Tensor, State]:
    """One step of a model with a causal `decoder`: float [B, K, D] and the new state; see `LanguageModel.step`."""
    index, num_padding = state["cache_index"], state["num_padding"]
    count = ops.shape(token_ids)[1]
    places = (index + ops.arange(count, dtype="int32"))[None] - num_padding[:, None]
    # Padding stands before 0; a row that has stopped may be stepped past the end with the others.
    positions = ops.clip(places, 0, model.config.max_length - 1)
    attention_mask = cache_mask(ops.shape(state["keys"][0])[2], count, index, num_padding)
    x, caches = model.decoder(
        model.embed(token_ids),
        attention_mask,
        positions,
        caches=list(zip(state["keys"], state["values"], strict=True)),
        cache_index=index,
        memories=memories,
        memory_mask=memory_mask,
    )
    keys, values = zip(*caches, strict=True)
    return x, {**state, "keys": keys, "values": values, "cache_index": index + count}


def rewind_caches(state: State, num_positions: Tensor) -> State:
    """The state as if the last `num_positions` tokens of each row had not been read.

    All rows are written at one place, so they must end together: each row moves by as many places as it takes, and
    the padding on its left grows or shrinks by as many. The longest row then begins at 0, so no place is lost to
    what was taken back. Positions count from a row's first token and do not change.

    Keys of three rows, where "." is padding and "?" is of no meaning; the first takes back two tokens, the third one:

        a b c d        . a b ?       cache_index 4 to 3
        . . . e   to   . . e ?       num_padding [0, 3, 0] to [1, 2, 0]
        g h i j        g h i ?

    Args:
        state: with `keys` and `values`, each tensors float [B, G, S, D], `num_padding` int32 [B], `cache_index` int32.
        num_positions: int32 [B], 0 and up, at most as many as the row has read, without padding.
    Returns:
        A state of the same shapes.
    """
    num_read = state["cache_index"] - state["num_padding"] - num_positions
    index = ops.max(num_read)
    num_padding = index - num_read
    shift = num_padding - state["num_padding"]

    def moved() -> list[Tensor]:
        return [_move_right(x, shift) for x in (*state["keys"], *state["values"])]

    def unmoved() -> list[Tensor]:
        return [*state["keys"], *state["values"]]

    # A single row, and rows that go on together, only forget.
    caches = ops.cond(ops.any(shift != 0), moved, unmoved)
    count = len(state["keys"])
    new = {"keys": tuple(caches[:count]), "values": tuple(caches[count:])}
    return {**state, **new, "num_padding": num_padding, "cache_index": index}


def _move_right(cache: Tensor, shift: Tensor) -> Tensor:
    """Row b of `cache` [B, G, S, D] moved by `shift[b]` places of axis 2, to the left where that is negative. What
    stands in the places that nothing moves to is of no meaning."""
    batch_size, num_heads, length, width = ops.shape(cache)
    places = ops.clip(ops.arange(length, dtype="int32")[None] - shift[:, None], 0, length - 1)
    heads = ops.reshape(ops.arange(batch_size * num_heads, dtype="int32"), (batch_size, num_heads, 1))
    flat = ops.reshape(cache, (-1, width))
    found = ops.take(flat, heads * length + places[:, None], axis=0)
    return ops.reshape(found, ops.shape(cache))
