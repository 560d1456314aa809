"""A decoder-only Transformer language model (Radford et al., 2018)."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from tflm.layers import cache_mask, causal_mask, document_mask
from tflm.layers.ngram_embedding import windows_of
from tflm.models.language_model import LanguageModel, State
from tflm.models.layer_groups import LayerGroup
from tflm.models.ngram_input import NgramInputConfig, write_ids
from tflm.models.text_model import register_model
from tflm.models.transformer_config import TransformerConfig
from tflm.models.transformer_stack import TransformerStack

Tensor = Any


@dataclasses.dataclass(frozen=True)
class TransformerDecoderConfig(NgramInputConfig, TransformerConfig):
    """Hyperparameters of a `TransformerDecoder`."""

    kind: str = "transformer_decoder"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_ngrams()


@register_model("transformer_decoder")
class TransformerDecoder(LanguageModel):
    """Embedding, Transformer blocks, final norm and output layer."""

    config_class = TransformerDecoderConfig
    features = ("document_ids", "next_ids")
    layer_groups = (LayerGroup("decoder/block"),)
    can_rewind = True

    def __init__(self, config: TransformerDecoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="transformer_decoder", **kwargs)
        self.decoder = TransformerStack(config, config.num_layers, causal=True, name="decoder")

    def adapted_layers(self) -> Iterator[keras.layers.Dense]:
        """The projections of attention and feed-forward."""
        return self.decoder.projections()

    def hidden_states(
        self,
        token_ids: Tensor,
        training: bool = False,
        document_ids: Tensor = None,
        next_ids: Tensor = None,
    ) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T].

        Args:
            token_ids: int32 [B, T].
            training: bool, with dropout.
            document_ids: int32 [B, T], document of each token in packed rows: attention is limited to the document,
                and positions restart in each document. None for one text per row.
            next_ids: int32 [B, T], the targets of rows whose n-grams are in the counts, which are then reduced by
                their own; None for other text. Read by a model with `ngram_contexts`.
        """
        length = ops.shape(token_ids)[1]
        positions = ops.arange(length, dtype="int32")[None]
        attention_mask = causal_mask(length)
        if document_ids is not None:
            same_document = document_mask(document_ids)
            # argmax gives the first position of the token's document.
            positions = positions - ops.cast(ops.argmax(same_document, axis=-1), "int32")
            attention_mask = attention_mask & same_document
        embedded = self.embed_rows(token_ids, training, document_ids, next_ids)
        return self.decoder(embedded, attention_mask, positions, training=training)[0]

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Any = None
    ) -> State:
        """Empty key/value caches: `keys` and `values`, num_layers tensors float [B, num_kv_heads, max_length, head_dim]
        each; and with counted n-grams `read_ids` int32 [B, max_length]."""
        del context
        return self.new_state(batch_size, num_padding, empty_caches(self, batch_size, max_length))

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Writes K positions into the caches at `cache_index` and attends over them."""
        return step_over_caches(self, token_ids, state)

    def extend_state(self, state: State, num_positions: Tensor) -> State:
        """The state with `num_positions` more cache positions."""
        return extend_caches(state, num_positions)

    def rewind(self, state: State, num_positions: Tensor) -> State:
        """See `LanguageModel` and `rewind_caches`."""
        return rewind_caches(state, num_positions)


def empty_caches(model: Any, batch_size: Tensor, max_length: Tensor) -> State:
    """Zero `keys` and `values` caches of a model with a causal `decoder`."""
    config, num_layers = model.config, model.decoder.num_layers
    num_kv_heads = config.num_kv_heads or config.num_heads
    empty = ops.zeros((batch_size, num_kv_heads, max_length, config.head_dim), dtype=model.compute_dtype)
    caches = {"keys": (empty,) * num_layers, "values": (empty,) * num_layers}
    if model.ngram_embedding is not None:
        caches["read_ids"] = ops.zeros((batch_size, max_length), dtype="int32")
    return caches


def extend_caches(state: State, num_positions: Tensor) -> State:
    """The state with `num_positions` more positions in `keys`, `values` and `read_ids`."""
    padding = [[0, 0], [0, 0], [0, num_positions], [0, 0]]
    longer = {name: tuple(ops.pad(x, padding) for x in state[name]) for name in ("keys", "values")}
    if "read_ids" in state:
        longer["read_ids"] = ops.pad(state["read_ids"], [[0, 0], [0, num_positions]])
    return {**state, **longer}


def step_over_caches(
    model: Any, token_ids: Tensor, state: State, memories: Any = None, memory_mask: Tensor = None
) -> tuple[Tensor, State]:
    """One step of a model with a causal `decoder` over its caches; see `LanguageModel.step_hidden_states`.

    Args:
        model: with `decoder`, a `TransformerStack`, and `embed`.
        token_ids: int32 [B, K].
        state: see `LanguageModel`.
        memories: from `TransformerStack.memories`, or None without an encoder.
        memory_mask: bool [B, 1, S], or None.
    Returns:
        Hidden states float [B, K, D], and the new state.
    """
    index, num_padding = state["cache_index"], state["num_padding"]
    count = ops.shape(token_ids)[1]
    places = index + ops.arange(count, dtype="int32")
    counted, new = None, {}
    if model.ngram_embedding is not None:
        new["read_ids"] = write_ids(state["read_ids"], token_ids, index)
        counted = model.ngrams_of(
            windows_of(new["read_ids"], places, num_padding, model.ngram_embedding.longest)
        )
    positions = places[None] - num_padding[:, None]
    # Left padding has negative positions. Finished rows may be stepped beyond max_length with the other rows.
    positions = ops.clip(positions, 0, model.config.max_length - 1)
    attention_mask = cache_mask(ops.shape(state["keys"][0])[2], count, index, num_padding)
    x, caches = model.decoder(
        model.embed(token_ids, added=counted),
        attention_mask,
        positions,
        caches=list(zip(state["keys"], state["values"], strict=True)),
        cache_index=index,
        memories=memories,
        memory_mask=memory_mask,
    )
    keys, values = zip(*caches, strict=True)
    return x, {**state, **new, "keys": keys, "values": values, "cache_index": index + count}


def rewind_caches(state: State, num_positions: Tensor) -> State:
    """Removes the last `num_positions` tokens of each row from the caches.

    All rows share one write index, so they must end at the same cache position: each row is shifted, and its left
    padding grows or shrinks by the shift. The longest row then starts at 0, so removed tokens use no capacity.
    Positions count from the first real token of a row and do not change.

    Keys of three rows, where "." is padding and "?" is undefined; the first removes two tokens, the third one:

        a b c d        . a b ?       cache_index 4 to 3
        . . . e   to   . . e ?       num_padding [0, 3, 0] to [1, 2, 0]
        g h i j        g h i ?

    Args:
        state: with `keys` and `values`, tensors float [B, G, S, D] each, `num_padding` int32 [B], `cache_index` int32;
            with counted n-grams also `read_ids` int32 [B, S].
        num_positions: int32 [B], from 0 to the number of real tokens in the row.
    Returns:
        A state of the same shapes.
    """
    num_read = state["cache_index"] - state["num_padding"] - num_positions
    index = ops.max(num_read)
    num_padding = index - num_read
    shift = num_padding - state["num_padding"]
    old = [*state["keys"], *state["values"]]
    if "read_ids" in state:
        old.append(state["read_ids"][:, None, :, None])

    def shifted() -> list[Tensor]:
        return [_shift_right(x, shift) for x in old]

    def unchanged() -> list[Tensor]:
        return list(old)

    # Without a shift (a single row, or rows of equal length) the caches stay; only the index moves back.
    caches = ops.cond(ops.any(shift != 0), shifted, unchanged)
    count = len(state["keys"])
    new = {"keys": tuple(caches[:count]), "values": tuple(caches[count : 2 * count])}
    if "read_ids" in state:
        new["read_ids"] = caches[-1][:, 0, :, 0]
    return {**state, **new, "num_padding": num_padding, "cache_index": index}


def _shift_right(cache: Tensor, shift: Tensor) -> Tensor:
    """Shifts row b of `cache` [B, G, S, D] by `shift[b]` positions along axis 2, to the left if negative. Vacated
    positions are undefined."""
    batch_size, num_heads, length, width = ops.shape(cache)
    sources = ops.clip(ops.arange(length, dtype="int32")[None] - shift[:, None], 0, length - 1)
    heads = ops.reshape(ops.arange(batch_size * num_heads, dtype="int32"), (batch_size, num_heads, 1))
    flat = ops.reshape(cache, (-1, width))
    gathered = ops.take(flat, heads * length + sources[:, None], axis=0)
    return ops.reshape(gathered, ops.shape(cache))
