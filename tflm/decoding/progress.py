"""Texts on their way: all that a loop needs to go on, as tensors, so that it can cross the wire."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tflm.decoding.rows import Rows, Rules


class LanguageModel(Protocol):
    """What `generate` asks of a model; docs/architecture.md, "Model". A state is a nest of tensors."""

    def initial_state(
        self, batch_size: Any, max_length: Any, num_padding: Any = None, context: Any = None
    ) -> Any:
        """A state for `max_length` positions; `num_padding` int32 [B] of the first hold no token."""

    def step(self, token_ids: Any, state: Any, last_only: bool = False) -> tuple[Any, Any]:
        """Reads int32 [B, K]; returns logits float32 [B, K or 1, V] and a state of the same shapes."""

    def extend_state(self, state: Any, num_positions: Any) -> Any:
        """The state with room for `num_positions` (int32 scalar) more."""

    def rewind(self, state: Any, num_positions: Any) -> Any:
        """The state as if the last int32 [B] tokens had not been read. Only `resume` asks for it."""


TextFn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From token ids int32 [R, N], padded with pad_id, and whether each row has finished, bool [R], to the part of its text
that no later token will change, string [R]."""


class Vocabulary(NamedTuple):
    """What generation knows of the tokens."""

    end_id: int
    pad_id: int
    suppressed_ids: Sequence[int]
    text_fn: TextFn | None
    """Without it no stop text is looked for."""


class Progress(NamedTuple):
    """What `begin` returns and `advance` goes on from."""

    model_state: Any
    """The model's own state, after all tokens but the newest."""
    rows: Rows
    settings: Mapping[str, tf.Tensor]
    limits: tf.Tensor
    """int32 [B]: tokens that a row may produce."""
    num_read: tf.Tensor
    """int32 [B]: how many tokens of a row the model's state holds."""
    prompt_ids: tf.Tensor
    """int32 [B, P], -1 on the left of the shorter ones."""
    choice_ids: tf.Tensor
    """int32 [B, C, L]; see `keep_choices`."""
    token_ids: tf.Tensor
    """int32 [B, N]: what was produced, without the end token; -1 where nothing was."""
    log_probabilities: tf.Tensor
    """float32 [B, N]: the model's own of each produced token, and of the end token where it came."""
    num_steps: tf.Tensor
    """int32 scalar: columns of `token_ids` that are behind us; the rest is room."""

    def moving(self) -> dict[str, Any]:
        """What changes from step to step, by name."""
        names = ("model_state", "rows", "num_read", "token_ids", "log_probabilities", "num_steps")
        return {name: getattr(self, name) for name in names}

    def rules(self, vocabulary: Vocabulary) -> Rules:
        """What stays the same from step to step."""
        return Rules(
            self.settings,
            self.limits,
            self.prompt_ids,
            self.choice_ids,
            (vocabulary.pad_id, *vocabulary.suppressed_ids),
            vocabulary.end_id,
            vocabulary.pad_id,
        )

    def with_room(self, model: LanguageModel, count: tf.Tensor) -> "Progress":
        """With `count` columns more, and places in the model's state for them."""
        right = [[0, 0], [0, count]]
        return self._replace(
            model_state=model.extend_state(self.model_state, count),
            token_ids=tf.pad(self.token_ids, right, constant_values=-1),
            log_probabilities=tf.pad(self.log_probabilities, right),
        )


def open_specs(model: LanguageModel, progress: Progress) -> Progress:
    """A Progress of TensorSpecs that fit this one and all that `advance` makes of it: what grows is open."""
    specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), progress)
    # Of this extension only the shape is used, so the graph drops it.
    extended = model.extend_state(progress.model_state, 1)
    state = tf.nest.map_structure(
        lambda old, new: tf.TensorSpec(old.shape.most_specific_compatible_shape(new.shape), old.dtype),
        progress.model_state,
        extended,
    )
    num_rows = progress.limits.shape[0]
    return specs._replace(
        model_state=state,
        token_ids=tf.TensorSpec([num_rows, None], tf.int32),
        log_probabilities=tf.TensorSpec([num_rows, None], tf.float32),
    )
