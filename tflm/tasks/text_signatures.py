"""The signatures that write text, over one `Writer`; docs/architecture.md lists them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tflm.decoding import Progress, resume, settings_specs, settings_tensors
from tflm.decoding.pad_left import next_power_of_two
from tflm.tasks.streaming import NUM_BYTES_SENT, next_piece, told
from tflm.tasks.task import TEXT
from tflm.tasks.writer import Signature, Writer, settings_of, signature

if TYPE_CHECKING:
    from tflm.tasks.text_task import TextTask

_CHOICES = tf.TensorSpec([None, None], tf.string, "choices")
_WRITTEN = (
    tf.TensorSpec([None, None], tf.int32, "token_ids"),
    tf.TensorSpec([None], tf.int32, "max_new_tokens"),
    tf.TensorSpec([None], tf.int32, "num_alternatives"),
)


def generate_signature(writer: Writer, specs: list[tf.TensorSpec]) -> Signature:
    """What `specs` says and the settings, to `text`, `num_tokens`, `log_probability`, `finish_reason`, `truncated`, and
    `token_ids` int32 [B, T], with the end token where it came and then -1."""
    task = writer.task

    def generate(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        settings = settings_of(inputs)
        prompts, context, extra = _read_request(writer, inputs)
        progress = writer.write(prompts, settings, context)
        text = task.answers(inputs.get("text"), writer.generator.produced(progress), settings["stop"])
        return {
            "text": text,
            **told(progress),
            "token_ids": writer.generator.written(progress),
            **extra,
        }

    return signature([*specs, *settings_specs().values()], generate)


def compiled_signature(writer: Writer, specs: list[tf.TensorSpec]) -> Signature:
    """`generate_signature` for a writer whose steps XLA compiles. Rows are filled up to a power of two with some that
    produce nothing, so that few shapes are compiled."""
    generate = generate_signature(writer, specs)

    def generate_xla(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        count = tf.shape(inputs["seed"])[0]
        rows = tf.range(next_power_of_two(count, 1))
        filled = {name: tf.gather(value, tf.minimum(rows, count - 1)) for name, value in inputs.items()}
        filled["max_new_tokens"] = tf.where(rows < count, filled["max_new_tokens"], 0)
        return {name: value[:count] for name, value in generate(*filled.values()).items()}

    return signature(list(generate.input_signature), generate_xla)


def serving_default_signature(task: "TextTask", generate: Signature) -> Signature:
    """`text` to `text`, under the task's own settings."""

    def serve(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        settings = settings_tensors(task.decoding, tf.shape(inputs["text"])[0])
        return {"text": generate(inputs["text"], *settings.values())["text"]}

    return signature([TEXT], serve)


def streaming_signatures(writer: Writer, specs: list[tf.TensorSpec]) -> dict[str, Signature]:
    """`prefill` and `decode`.

    `prefill` takes what `specs` says and the settings; `decode` takes `num_tokens` int32 [B], of which the largest
    counts, and the state. Both give `piece` string [B], `finished` bool [B], and of all the text so far `num_tokens`
    int32 [B], `log_probability` float32 [B] and `finish_reason` string [B]; and the state. The pieces of a row joined
    are the text of `generate`, and each is whole characters.
    """

    def prefill(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        prompts, context, extra = _read_request(writer, inputs)
        progress = writer.begin(prompts, settings_of(inputs), context)
        outputs = _told(writer, progress, tf.zeros_like(progress.limits))
        return {**outputs, **extra, **writer.wire(progress).pack(progress)}

    first = signature([*specs, *settings_specs().values()], prefill)
    first.get_concrete_function()  # it says what the state looks like
    wire = writer.known_wire()

    def decode(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        progress = writer.advance(wire.unpack(inputs), tf.reduce_max(inputs["num_tokens"]))
        return {**_told(writer, progress, inputs[NUM_BYTES_SENT]), **wire.pack(progress)}

    counts = [tf.TensorSpec([None], tf.int32, name) for name in ("num_tokens", NUM_BYTES_SENT)]
    return {"prefill": first, "decode": signature([*counts, *wire.specs], decode)}


def resume_signature(
    writer: Writer, specs: Sequence[tf.TensorSpec], added_fn: Callable[..., tuple[tf.RaggedTensor, tf.Tensor]]
) -> Signature:
    """A further turn of a conversation: what `specs` says, the settings and the state that `prefill`, `decode` or
    `resume` left, to what `prefill` gives, and `fits` bool [B]. Only what is new is read. Where it does not fit behind
    what the state holds, or the last answer ended at a stop text, which the model has read, `fits` is False and nothing
    is produced: `prefill` then takes the conversation, and cuts it.

    Args:
        added_fn: inputs, int32 [B] tokens of the conversation so far, `max_new_tokens`, to the tokens to be read and
        `fits`.
    """
    wire = writer.known_wire()

    def resume_(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        settings, before = settings_of(inputs), wire.unpack(inputs)
        so_far = tf.math.count_nonzero(before.prompt_ids >= 0, axis=1, dtype=tf.int32)
        added, fits = added_fn(inputs, so_far + before.rows.num_tokens, settings["max_new_tokens"])
        # A stop text is in the state and not in the text that was given out.
        fits &= ~before.rows.has_stopped
        progress = resume(writer.generator, before, added, settings, fits)
        outputs = _told(writer, progress, tf.zeros_like(progress.limits))
        return {**outputs, "fits": fits, **wire.pack(progress)}

    return signature([*specs, *settings_specs().values(), *wire.specs], resume_)


def choose_signature(writer: Writer) -> Signature:
    """`text` string [B] and `choices` string [B, C] to `choice` string [B], the likeliest; `log_probabilities` float32
    [B, C], natural logarithms of what the model gives each choice to its end; and `probabilities` float32 [B, C], those
    made to add up to 1. A choice "" is none: -inf and 0."""
    task, model = writer.task, writer.model

    def choose(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        text, choices = inputs["text"], inputs["choices"]
        num_choices = tf.shape(choices)[1]
        prompts = task.prompts(text, tf.fill([tf.shape(text)[0]], task.max_length // 2)).rows
        context, _ = task.context(model, text)
        logits, state = writer.generator.read(prompts, context)
        ids = task.choice_ids(choices)
        ids = tf.reshape(ids, [-1, tf.shape(ids)[2]])
        state = tf.nest.map_structure(
            lambda leaf: leaf if leaf.shape.rank == 0 else tf.repeat(leaf, num_choices, axis=0), state
        )
        state = model.extend_state(state, tf.shape(ids)[1])
        known = tf.where(ids < 0, task.tokenizer.pad_id, ids)
        later, _ = model.step(known, state)
        logits = tf.concat([tf.repeat(logits, num_choices, axis=0)[:, None], later[:, :-1]], axis=1)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(known, logits)
        sums = -tf.reduce_sum(tf.where(ids < 0, 0.0, losses), axis=1)
        log_probabilities = tf.where(choices == "", float("-inf"), tf.reshape(sums, tf.shape(choices)))
        best = tf.math.top_k(log_probabilities, 1).indices
        probabilities = tf.nn.softmax(tf.maximum(log_probabilities, -1e30))
        return {
            "choice": tf.gather(choices, best, batch_dims=1)[:, 0],
            "log_probabilities": log_probabilities,
            "probabilities": tf.where(choices == "", 0.0, probabilities),
        }

    return signature([TEXT, _CHOICES], choose)


def alternatives_signature(writer: Writer) -> Signature:
    """What the model might have written in place of each token of a text that `generate` gave: `text`, `token_ids`
    int32 [B, T] as `generate` gave them, its `max_new_tokens` int32 [B], and `num_alternatives` int32 [B].

    To `tokens` string [B, T], each token's own text; `log_probabilities` float32 [B, T], what the model gave it; and
    the likeliest at each place of those that may be written, `alternatives` string [B, T, N] with
    `alternative_log_probabilities` float32 [B, T, N], where N is the largest `num_alternatives`. The end token is "".
    `num_tokens` int32 [B] counts the places that hold a token.
    """
    task, model = writer.task, writer.model

    def alternatives(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        prompts = task.prompts(inputs["text"], inputs["max_new_tokens"]).rows
        context, _ = task.context(model, inputs["text"])
        is_here = inputs["token_ids"] >= 0
        logits, state = writer.generator.read(prompts, context)
        vocab_size = tf.shape(logits)[-1]
        ids = tf.where(is_here, tf.minimum(inputs["token_ids"], vocab_size - 1), task.tokenizer.pad_id)
        later, _ = model.step(ids, model.extend_state(state, tf.shape(ids)[1]))
        log_probabilities = tf.nn.log_softmax(tf.concat([logits[:, None], later[:, :-1]], axis=1))
        count = tf.clip_by_value(tf.reduce_max(inputs["num_alternatives"]), 1, vocab_size)
        never = tf.constant([task.tokenizer.pad_id, *task.suppressed_ids()], tf.int32)
        is_never = tf.reduce_any(tf.range(vocab_size)[:, None] == never, axis=1)
        best = tf.math.top_k(tf.where(is_never, float("-inf"), log_probabilities), count)
        own = tf.gather(log_probabilities, ids, batch_dims=2)
        return {
            "tokens": tf.where(is_here, _token_texts(task, ids), ""),
            "log_probabilities": tf.where(is_here, own, 0.0),
            "alternatives": tf.where(is_here[:, :, None], _token_texts(task, best.indices), ""),
            "alternative_log_probabilities": tf.where(is_here[:, :, None], best.values, 0.0),
            "num_tokens": tf.math.count_nonzero(is_here, axis=1, dtype=tf.int32),
        }

    return signature([TEXT, *_WRITTEN], alternatives)


def _read_request(
    writer: Writer, inputs: dict[str, tf.Tensor]
) -> tuple[tf.RaggedTensor, Any, dict[str, tf.Tensor]]:
    """The prompts int32 [B, (P)], what the encoder makes of them or None, and what is told of the request."""
    prompts, extra = writer.task.request_prompts(inputs, inputs["max_new_tokens"])
    context, source_cut = writer.task.context(writer.model, inputs.get("text"))
    return prompts.rows, context, {**extra, "truncated": prompts.truncated | source_cut}


def _token_texts(task: "TextTask", ids: tf.Tensor) -> tf.Tensor:
    """Each id's own text, of the shape of `ids`."""
    return tf.reshape(task.tokenizer.detokenize(tf.reshape(ids, [-1, 1])), tf.shape(ids))


def _told(writer: Writer, progress: Progress, num_bytes_sent: tf.Tensor) -> dict[str, tf.Tensor]:
    token_ids = writer.generator.produced(progress)
    return next_piece(progress, token_ids, num_bytes_sent, writer.task.tokenizer.detokenize)
