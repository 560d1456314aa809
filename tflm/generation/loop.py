"""The generation loop, once for all generation methods: segments of fixed shapes with cache growth in between."""

from typing import Any, NamedTuple

import tensorflow as tf

from tflm.generation.rows import append_token
from tflm.generation.sampling import step_uniforms
from tflm.generation.state import GenerationState, GenerativeModel, LoopVariables, Vocabulary
from tflm.generation.stop import has_stops, stop_rows
from tflm.generation.window import room_before_sliding, slide_full_rows

_STOP_INTERVAL = 8
"""Steps between two searches for stop strings. Tokens generated after a stop string are discarded."""


class SegmentedLoop:
    """Runs the steps of a generation method until every row has stopped.

        while is_running(state):
            state, segment = begin_segment(state)           caches grow, full contexts slide
            while has_steps(state, segment):                fixed shapes: compiled by XLA where `compiled`
                state = step(state, segment)
            state = end_segment(state, segment)             stop strings

    A generation method is a subclass with its own `step`. Its loop state is a nest of tensors.
    """

    compiled = False

    def is_running(self, state: Any) -> tf.Tensor:
        """bool scalar: whether there is another segment."""
        raise NotImplementedError

    def with_room(self, state: Any, count: tf.Tensor | int) -> Any:
        """The state with room for `count` more tokens. Dimensions that it changes have no static size in the loop."""
        raise NotImplementedError

    def begin_segment(self, state: Any) -> tuple[Any, Any]:
        """The state with room for a segment, and a nest of tensors that stays constant over the segment."""
        raise NotImplementedError

    def has_steps(self, state: Any, segment: Any) -> tf.Tensor:
        """bool scalar: whether the segment has another step."""
        raise NotImplementedError

    def step(self, state: Any, segment: Any) -> Any:
        """The state one step later, of the same shapes."""
        raise NotImplementedError

    def end_segment(self, state: Any, segment: Any) -> Any:
        """The state after what runs between two segments."""
        del segment
        return state

    def run(self, start: Any) -> Any:
        """The state in which no row is running."""
        # Only the shapes of this extension are used, so the graph drops it.
        shapes = tf.nest.map_structure(
            lambda one, other: one.shape.most_specific_compatible_shape(other.shape),
            start,
            self.with_room(start, 1),
        )
        run_segment = self._run_segment
        if self.compiled:
            run_segment = tf.function(run_segment, autograph=False, jit_compile=True)

        def body(state: Any) -> tuple[Any]:
            state, segment = self.begin_segment(state)
            state = self.end_segment(run_segment(state, segment), segment)
            return (_with_shapes(state, shapes),)

        return tf.while_loop(self.is_running, body, (start,), shape_invariants=(shapes,))[0]

    def _run_segment(self, state: Any, segment: Any) -> Any:
        shapes = tf.nest.map_structure(lambda leaf: leaf.shape, state)
        return tf.while_loop(
            lambda state: self.has_steps(state, segment),
            lambda state: (_with_shapes(self.step(state, segment), shapes),),
            (state,),
        )[0]


def _with_shapes(state: Any, shapes: Any) -> Any:
    """The state with these static shapes, also where shape inference could not find them."""
    tf.nest.map_structure(lambda leaf, shape: leaf.set_shape(shape), state, shapes)
    return state


class _Segment(NamedTuple):
    """The inputs of one segment of `TokenLoop`."""

    start: tf.Tensor
    """int32 scalar: the first step."""
    end: tf.Tensor
    """int32 scalar: one after the last step."""
    uniforms: tf.Tensor
    """float64 [L, B]: random numbers of the steps."""


class TokenLoop(SegmentedLoop):
    """Autoregressive generation: each step reads the newest token of every row and chooses the next. The loop state is
    `LoopVariables`.

    Args:
        model: a GenerativeModel.
        state: the state that `run` starts from; its fields outside `LoopVariables` stay constant.
        vocabulary: special tokens.
        end: int32 scalar, the number of steps at which to stop, at most the largest limit.
        segment_length: steps of a segment.
        max_total_length: context length at which rows slide; None if none can.
        compiled: whether XLA compiles the segments. Room is then always made for a whole segment, so that there are few
            shapes.
    """

    def __init__(
        self,
        model: GenerativeModel,
        state: GenerationState,
        vocabulary: Vocabulary,
        end: tf.Tensor,
        segment_length: int,
        max_total_length: int | None,
        compiled: bool,
    ) -> None:
        self.model, self.state, self.vocabulary, self.end = model, state, vocabulary, end
        self.segment_length, self.max_total_length, self.compiled = segment_length, max_total_length, compiled
        self.invariants = state.invariants(vocabulary)
        has_stop = tf.reduce_any(has_stops(state.settings["stop"]))
        self.longest = tf.where(has_stop, min(_STOP_INTERVAL, segment_length), segment_length)

    def is_running(self, state: LoopVariables) -> tf.Tensor:
        return (state.num_steps < self.end) & tf.reduce_any(state.rows.is_running)

    def with_room(self, state: LoopVariables, count: tf.Tensor | int) -> LoopVariables:
        return state.with_room(self.model, count)

    def begin_segment(self, state: LoopVariables) -> tuple[LoopVariables, _Segment]:
        start = state.num_steps
        if self.max_total_length is not None:
            slid = slide_full_rows(
                self.model,
                self.state.with_variables(state),
                self.vocabulary.pad_id,
                self.max_total_length,
                self.compiled,
            )
            state = slid.variables()
        left, room = self.end - start, tf.shape(state.token_ids)[1] - start
        new_room = self.segment_length if self.compiled else tf.minimum(self.segment_length, left)
        more = tf.where(room > 0, 0, new_room)
        state = self.with_room(state, more)
        length = tf.minimum(tf.minimum(self.longest, left), room + more)
        if self.max_total_length is not None:
            now = self.state.with_variables(state)
            length = tf.minimum(length, room_before_sliding(now, self.max_total_length))
        num_uniforms = self.segment_length if self.compiled else length
        uniforms = step_uniforms(self.state.settings, start, num_uniforms)
        return state, _Segment(start, start + length, uniforms)

    def has_steps(self, state: LoopVariables, segment: _Segment) -> tf.Tensor:
        return (state.num_steps < segment.end) & tf.reduce_any(state.rows.is_running)

    def step(self, state: LoopVariables, segment: _Segment) -> LoopVariables:
        rows, token_ids, place = state.rows, state.token_ids, state.num_steps
        logits, model_state = self.model.step(rows.token_ids[:, None], state.model_state, last_only=True)
        uniform = segment.uniforms[place - segment.start]
        rows, new_ids, log_probabilities = append_token(
            rows, token_ids, logits[:, -1], uniform, self.invariants
        )
        is_here = (tf.range(tf.shape(token_ids)[1]) == place)[None]
        return LoopVariables(
            model_state=model_state,
            rows=rows,
            num_read=state.num_read + 1,
            token_ids=tf.where(is_here, new_ids[:, None], token_ids),
            log_probabilities=tf.where(is_here, log_probabilities[:, None], state.log_probabilities),
            num_steps=place + 1,
        )

    def end_segment(self, state: LoopVariables, segment: _Segment) -> LoopVariables:
        now = self.state.with_variables(state)
        return stop_rows(now, self.vocabulary, segment.start).variables()
