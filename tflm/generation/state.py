"""The generation state: everything the loop needs to continue, as tensors, so that it can be sent to a client."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tflm.generation.rows import Rows
from tflm.generation.sampling import LoopInvariants
from tflm.generation.settings import Settings


class GenerativeModel(Protocol):
    """What generation requires of a model; docs/architecture.md, "Model". A model state is a nest of tensors."""

    def initial_state(
        self, batch_size: Any, max_length: Any, num_padding: Any = None, context: Any = None
    ) -> Any:
        """A state with `max_length` positions; the first `num_padding` int32 [B] of them are padding."""

    def step(self, token_ids: Any, state: Any, last_only: bool = False) -> tuple[Any, Any]:
        """Reads int32 [B, K]; returns logits float32 [B, K or 1, V] and a state of the same shapes."""

    def extend_state(self, state: Any, num_positions: Any) -> Any:
        """The state with room for `num_positions` (int32 scalar) more."""

    def rewind(self, state: Any, num_positions: Any) -> Any:
        """The state without the last int32 [B] tokens of each row. Required by `resume` alone."""


TextFn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From token ids int32 [R, N], padded with pad_id, and whether each row has finished, bool [R], to the part of its text
that no later token can change, string [R]."""


class Vocabulary(NamedTuple):
    """The special tokens, and how tokens become text."""

    end_ids: tuple[int, ...]
    """Tokens that end a text. The first is the one that tasks put at the end of a text."""
    pad_id: int
    suppressed_ids: Sequence[int]
    text_fn: TextFn | None
    """Without it stop strings are ignored."""


class LoopVariables(NamedTuple):
    """The part of a `GenerationState` that changes from step to step; fields as there."""

    model_state: Any
    rows: Rows
    num_read: tf.Tensor
    token_ids: tf.Tensor
    log_probabilities: tf.Tensor
    num_steps: tf.Tensor

    def with_room(self, model: GenerativeModel, count: tf.Tensor | int) -> "LoopVariables":
        """With `count` more columns, and as many more positions in the model's state."""
        right = [[0, 0], [0, count]]
        return self._replace(
            model_state=model.extend_state(self.model_state, count),
            token_ids=tf.pad(self.token_ids, right, constant_values=-1),
            log_probabilities=tf.pad(self.log_probabilities, right),
        )


class GenerationState(NamedTuple):
    """What `begin` returns and `advance` continues from."""

    model_state: Any
    """The model's own state, after all tokens but the newest."""
    rows: Rows
    settings: Settings
    limits: tf.Tensor
    """int32 [B]: the largest number of tokens to generate."""
    num_read: tf.Tensor
    """int32 [B]: tokens in the model's state."""
    prompt_ids: tf.Tensor
    """int32 [B, P], padded with -1 on the left."""
    choice_ids: tf.Tensor
    """int32 [B, C, L]; see `keep_choices`."""
    token_ids: tf.Tensor
    """int32 [B, N]: the generated tokens without the end token, padded with -1."""
    log_probabilities: tf.Tensor
    """float32 [B, N]: the model's own, of each generated token and of the end token."""
    num_steps: tf.Tensor
    """int32 scalar: columns of `token_ids` in use; the others are room for later steps."""

    def variables(self) -> LoopVariables:
        """The fields that change from step to step."""
        return LoopVariables(*(getattr(self, name) for name in LoopVariables._fields))

    def with_variables(self, variables: LoopVariables) -> "GenerationState":
        """This state with other values of the fields that change."""
        return self._replace(**variables._asdict())

    def invariants(self, vocabulary: Vocabulary) -> LoopInvariants:
        """The fields that stay constant, and the special tokens."""
        return LoopInvariants(
            settings=self.settings,
            limits=self.limits,
            prompt_ids=self.prompt_ids,
            choice_ids=self.choice_ids,
            suppressed_ids=(vocabulary.pad_id, *vocabulary.suppressed_ids),
            end_ids=vocabulary.end_ids,
            pad_id=vocabulary.pad_id,
        )


def open_specs(model: GenerativeModel, state: GenerationState) -> GenerationState:
    """TensorSpecs of this state and of every state that `advance` makes of it: dimensions that grow are None."""
    # Only the shapes of this extension are used, so the graph drops it.
    longer = state.with_variables(state.variables().with_room(model, 1))
    return tf.nest.map_structure(
        lambda one, other: tf.TensorSpec(one.shape.most_specific_compatible_shape(other.shape), one.dtype),
        state,
        longer,
    )
