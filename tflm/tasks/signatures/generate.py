"""The signatures that generate text, over one `Writer`; docs/architecture.md lists them."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tflm.generation import GenerationState, resume, settings_specs, settings_tensors
from tflm.generation.settings import repeat_rows
from tflm.generation.window import next_power_of_two
from tflm.tasks.signatures.streaming import NUM_BYTES_SENT, next_piece, row_outputs
from tflm.tasks.signatures.writer import Signature, Writer, call_by_name, settings_of, signature
from tflm.tasks.task import TEXT
from tflm.tasks.text_task import TextTask

_CHOICES = tf.TensorSpec([None, None], tf.string, "choices")
_WRITTEN = (
    tf.TensorSpec([None, None], tf.int32, "token_ids"),
    tf.TensorSpec([None], tf.int32, "max_new_tokens"),
    tf.TensorSpec([None], tf.int32, "num_alternatives"),
)


STREAMING = frozenset({"prefill", "decode", "resume"})
"""Signatures that return the generation state."""


def generate_signature(writer: Writer, specs: list[tf.TensorSpec]) -> Signature:
    """The inputs `specs` and the settings, to `text`, `num_tokens`, `log_probability`, `finish_reason`, `truncated`,
    and `token_ids` int32 [B, T], including an end token, padded with -1."""
    task = writer.task

    def generate(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        settings = settings_of(inputs, task.tokenizer)
        prompts, context, extra = _read_request(writer, inputs)
        state = writer.write(prompts, settings, context)
        text = task.answers(inputs.get("text"), writer.generator.generated_ids(state), settings["stop"])
        return {
            "text": text,
            **row_outputs(state),
            "token_ids": writer.generator.generated_ids_with_end(state),
            **extra,
        }

    return signature([*specs, *settings_specs().values()], generate)


def compiled_signature(writer: Writer, specs: list[tf.TensorSpec]) -> Signature:
    """`generate_signature` for a writer whose steps XLA compiles. The batch is padded to a power of two with rows that
    generate nothing, so that few shapes are compiled."""
    generate = generate_signature(writer, specs)

    def generate_xla(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        count = tf.shape(inputs["seed"])[0]
        rows = tf.range(next_power_of_two(count, 1))
        filled = {name: tf.gather(value, tf.minimum(rows, count - 1)) for name, value in inputs.items()}
        filled["max_new_tokens"] = tf.where(rows < count, filled["max_new_tokens"], 0)
        return {name: value[:count] for name, value in call_by_name(generate, filled).items()}

    return signature(list(generate.input_signature), generate_xla)


def serving_default_signature(task: TextTask, generate: Signature) -> Signature:
    """`text` to `text`, with the task's own settings."""

    def serve(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        settings = settings_tensors(task.decoding, tf.shape(inputs["text"])[0])
        return {"text": call_by_name(generate, {**inputs, **settings})["text"]}

    return signature([TEXT], serve)


def streaming_signatures(writer: Writer, specs: list[tf.TensorSpec]) -> dict[str, Signature]:
    """`prefill` and `decode`.

    The inputs of `prefill` are `specs` and the settings; those of `decode` are `num_tokens` int32 [B], whose maximum is
    used, and the generation state. Both return `piece` string [B], `finished` bool [B]; `num_tokens` int32 [B],
    `log_probability` float32 [B] and `finish_reason` string [B] of the whole text; and the state. The joined pieces of
    a row are the text of `generate`, and each piece consists of complete characters.
    """

    def prefill(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        prompts, context, extra = _read_request(writer, inputs)
        state = writer.begin(prompts, settings_of(inputs, writer.task.tokenizer), context)
        outputs = _piece_outputs(writer, state, tf.zeros_like(state.limits))
        return {**outputs, **extra, **writer.codec(state).pack(state)}

    first = signature([*specs, *settings_specs().values()], prefill)
    first.get_concrete_function()  # its trace determines the specs of the state
    codec = writer.known_codec()

    def decode(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        state = writer.advance(codec.unpack(inputs), tf.reduce_max(inputs["num_tokens"]))
        return {**_piece_outputs(writer, state, inputs[NUM_BYTES_SENT]), **codec.pack(state)}

    counts = [tf.TensorSpec([None], tf.int32, name) for name in ("num_tokens", NUM_BYTES_SENT)]
    return {"prefill": first, "decode": signature([*counts, *codec.specs], decode)}


def resume_signature(
    writer: Writer, specs: Sequence[tf.TensorSpec], added_fn: Callable[..., tuple[tf.RaggedTensor, tf.Tensor]]
) -> Signature:
    """The next turn of a conversation: the inputs `specs`, the settings and the state from `prefill`, `decode` or
    `resume`, to the outputs of `prefill`, and `fits` bool [B]. Only new tokens are read. Where the context has no room
    for them, or the last answer ended at a stop string, which the model has read, `fits` is False and nothing is
    generated: `prefill` then takes the conversation, and truncates it.

    Args:
        writer: the generative model.
        specs: the inputs.
        added_fn: from the inputs, the number of tokens of the conversation int32 [B], and `max_new_tokens` to the
            tokens to read and `fits`.
    """
    codec = writer.known_codec()

    def resume_(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        settings, before = settings_of(inputs, writer.task.tokenizer), codec.unpack(inputs)
        so_far = tf.math.count_nonzero(before.prompt_ids >= 0, axis=1, dtype=tf.int32)
        added, fits = added_fn(inputs, so_far + before.rows.num_tokens, settings["max_new_tokens"])
        # A stop string is in the state and not in the text that was returned.
        fits &= ~before.rows.has_stopped
        state = resume(writer.generator, before, added, settings, fits)
        outputs = _piece_outputs(writer, state, tf.zeros_like(state.limits))
        return {**outputs, "fits": fits, **codec.pack(state)}

    return signature([*specs, *settings_specs().values(), *codec.specs], resume_)


def choose_signature(writer: Writer) -> Signature:
    """`text` string [B] and `choices` string [B, C] to `choice` string [B], the most likely one; `log_probabilities`
    float32 [B, C], natural logarithms of the model's probability of each choice with its end token; and `probabilities`
    float32 [B, C], these normalized over the choices. A choice "" is padding: -inf and 0. `truncated` bool [B] as of
    `generate`."""
    task, model = writer.task, writer.model

    def choose(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        text, choices = inputs["text"], inputs["choices"]
        num_choices = tf.shape(choices)[1]
        prompts = task.prompts(text, tf.fill([tf.shape(text)[0]], task.max_length // 2))
        context, source_cut = task.context(model, text)
        logits, state = writer.generator.read(prompts.rows, context)
        ids = task.choice_ids(choices)
        ids = tf.reshape(ids, [-1, tf.shape(ids)[2]])
        logits, state = repeat_rows((logits, state), num_choices)
        state = model.extend_state(state, tf.shape(ids)[1])
        known = tf.where(ids < 0, task.tokenizer.pad_id, ids)
        later, _ = model.step(known, state)
        logits = tf.concat([logits[:, None], later[:, :-1]], axis=1)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(known, logits)
        sums = -tf.reduce_sum(tf.where(ids < 0, 0.0, losses), axis=1)
        log_probabilities = tf.where(choices == "", float("-inf"), tf.reshape(sums, tf.shape(choices)))
        best = tf.math.top_k(log_probabilities, 1).indices
        probabilities = tf.nn.softmax(tf.maximum(log_probabilities, -1e30))
        return {
            "choice": tf.gather(choices, best, batch_dims=1)[:, 0],
            "log_probabilities": log_probabilities,
            "probabilities": tf.where(choices == "", 0.0, probabilities),
            "truncated": prompts.truncated | source_cut,
        }

    return signature([TEXT, _CHOICES], choose)


def alternatives_signature(writer: Writer, specs: Sequence[tf.TensorSpec]) -> Signature:
    """Alternatives to each token of a text from `generate` or `chat`: the inputs are `specs`, `token_ids` int32 [B, T]
    and `max_new_tokens` int32 [B] of that text, and `num_alternatives` int32 [B].

    To `tokens` string [B, T], the text of each token; `log_probabilities` float32 [B, T], its log-probability; and the
    most likely tokens at each position, except suppressed ones, `alternatives` string [B, T, N] with
    `alternative_log_probabilities` float32 [B, T, N], where N is the largest `num_alternatives`. The end token is "".
    `num_tokens` int32 [B] is the number of positions with a token; `truncated` bool [B] as of `generate`.
    """
    task, model = writer.task, writer.model

    def alternatives(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        prompts, context, extra = _read_request(writer, inputs)
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
            "truncated": extra["truncated"],
        }

    return signature([*specs, *_WRITTEN], alternatives)


def _read_request(
    writer: Writer, inputs: dict[str, tf.Tensor]
) -> tuple[tf.RaggedTensor, Any, dict[str, tf.Tensor]]:
    """The prompts int32 [B, (P)], the output of the encoder or None, and outputs that follow from the request."""
    prompts, extra = writer.task.request_prompts(inputs, inputs["max_new_tokens"])
    context, source_cut = writer.task.context(writer.model, inputs.get("text"))
    return prompts.rows, context, {**extra, "truncated": prompts.truncated | source_cut}


def _token_texts(task: TextTask, ids: tf.Tensor) -> tf.Tensor:
    """The text of each token, in the shape of `ids`."""
    return tf.reshape(task.tokenizer.detokenize(tf.reshape(ids, [-1, 1])), tf.shape(ids))


def _piece_outputs(writer: Writer, state: GenerationState, num_bytes_sent: tf.Tensor) -> dict[str, tf.Tensor]:
    token_ids = writer.generator.generated_ids(state)
    return next_piece(state, token_ids, num_bytes_sent, writer.task.tokenizer.detokenize)
