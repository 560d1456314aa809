"""The signatures `attribute` and `attention` of a model that generates text: each token of a continuation by the tokens
before it and, with an encoder, by those of the source."""

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.generation import settings_tensors
from tflm.layers import probing
from tflm.tasks.features.attribution import log_odds
from tflm.tasks.features.probes import ScalingProbe
from tflm.tasks.features.rows import join, keep_first
from tflm.tasks.features.token_places import TokenPlaces, token_places
from tflm.tasks.signatures.explanations import (
    METHOD,
    NUM_STEPS,
    TARGET,
    ExplainedRows,
    Targets,
    attention_outputs,
    attribute_request,
    explain_targets,
    has_attention,
    target_outputs,
    token_outputs,
)
from tflm.tasks.signatures.writer import Signature, Writer, signature
from tflm.tasks.task import TEXT
from tflm.tasks.text_task import TextTask, padded

_LIMIT = tf.TensorSpec([None], tf.int32, "max_new_tokens")


def text_explanations(writer: Writer) -> dict[str, Signature]:
    """`attribute`, and `attention` of a Transformer. The inputs of both are `text`, `target`, the continuation or
    answer to explain, "" for the one that is generated greedily, and `max_new_tokens`, the most tokens of it."""
    task, model = writer.task, writer.model

    def attribute(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        read = _read(writer, inputs)
        targets = _targets(task, read)

        def score(scales: tf.Tensor, row: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
            sides = [scales]
            if model.has_encoder:
                sides = tf.split(scales, [tf.shape(read.source_ids)[1], tf.shape(read.token_ids)[1]], axis=1)
            with probing(ScalingProbe(sides)):
                states = _states(model, read, row)
            # The state of the token before gives the probability of a token.
            place = tf.gather(read.num_given, row) + number - 1
            logits = model.logits(tf.gather(states, place, batch_dims=1))
            return log_odds(logits, tf.gather_nd(read.continuation, tf.stack([row, number], axis=1)))

        rows = _explained(task, read)
        return {
            **token_outputs(task.tokenizer, rows),
            **target_outputs(targets),
            **explain_targets(score, rows, targets, inputs),
            "continuation": task.tokenizer.detokenize(read.continuation),
        }

    def attention(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        read, pad_id = _read(writer, inputs), task.tokenizer.pad_id
        rows = _explained(task, read)
        outputs = token_outputs(task.tokenizer, rows)
        if model.has_encoder:
            targets = _targets(task, read)
            # What a token is generated from attends: the one before it.
            queries = read.token_ids[:, : tf.shape(read.continuation)[1]]
            source = read._replace(places=_cut(read.places, tf.shape(read.source_ids)[1]))
            outputs = {**token_outputs(task.tokenizer, _of_source(source)), **target_outputs(targets)}
            found = attention_outputs(
                lambda: _states(model, read._replace(token_ids=queries), None),
                tf.not_equal(read.source_ids, pad_id),
                targets.is_real,
            )
        else:
            mask = tf.not_equal(read.token_ids, pad_id)
            found = attention_outputs(lambda: _states(model, read, None), mask)
        continuation = task.tokenizer.detokenize(read.continuation)
        return {**outputs, **found, "continuation": continuation}

    specs = [TEXT, TARGET, _LIMIT]
    made = {"attribute": signature([*specs, METHOD, NUM_STEPS], attribute)}
    return made | ({"attention": signature(specs, attention)} if has_attention(model) else {})


def text_explanation_requests() -> dict[str, list[dict[str, list[Any]]]]:
    """Requests for each signature: greedy continuations and given ones."""
    texts = [{"text": ["What is AI?"]}, {"text": ["你好，世界", "a language model", ""]}]
    targets = [[""], ["", "好 ok", "的"]]
    requests = []
    for each, target in zip(texts, targets, strict=True):
        limits = {"max_new_tokens": [3, 2, 4][: len(target)]}
        requests.append({**attribute_request(each), "target": target, **limits})
    names = ("text", "target", "max_new_tokens")
    return {
        "attribute": requests,
        "attention": [{name: request[name] for name in names} for request in requests],
    }


class _Read(NamedTuple):
    """What is read of B texts and their continuations."""

    token_ids: tf.Tensor
    """int32 [B, T]: the prompt and the continuation, padded."""
    source_ids: tf.Tensor | None
    """int32 [B, S], of an encoder."""
    continuation: tf.Tensor
    """int32 [B, N], padded."""
    num_given: tf.Tensor
    """int32 [B], the tokens before the continuation."""
    places: TokenPlaces
    """Of the source's tokens and then those of `token_ids`: part 0 is the text, part 1 the continuation."""
    truncated: tf.Tensor


def _read(writer: Writer, inputs: dict[str, tf.Tensor]) -> _Read:
    task, pad_id = writer.task, writer.task.tokenizer.pad_id
    text, limit = inputs["text"], inputs["max_new_tokens"]
    prompts = task.prompts(text, limit)
    num_given = tf.cast(prompts.rows.row_lengths(), tf.int32)
    room = tf.maximum(tf.minimum(limit, task.max_length - num_given), 0)
    given = keep_first(task.tokenizer.tokenize(inputs["target"]), room)
    generated = _greedy(writer, prompts.rows, inputs)
    is_given = tf.not_equal(inputs["target"], "")
    continuation = join(
        keep_first(given, tf.where(is_given, room, 0)), keep_first(generated, tf.where(is_given, 0, room))
    )
    rows = join(prompts.rows, continuation)
    token_ids, source_ids = padded(rows, pad_id), None
    truncated, read_ids = prompts.truncated, token_ids
    if (sources := task.sources(text)) is not None:
        source_ids, truncated = padded(sources.rows, pad_id), truncated | sources.truncated
        read_ids = source_ids
    before = tf.range(tf.shape(read_ids)[1])[None] < (
        num_given[:, None] if source_ids is None else tf.int32.max
    )
    prefer_end = truncated & tf.constant(task.keeps_end)
    places = token_places(
        task.tokenizer, read_ids, text, 0, before & tf.not_equal(read_ids, pad_id), prefer_end
    )
    ids = padded(continuation, pad_id)
    return _Read(
        token_ids,
        source_ids,
        ids,
        num_given,
        _with_continuation(task, places, ids, num_given, tf.shape(token_ids)[1], source_ids is not None),
        truncated,
    )


def _greedy(writer: Writer, prompts: tf.RaggedTensor, inputs: dict[str, tf.Tensor]) -> tf.RaggedTensor:
    """The tokens that are generated greedily, without an end token, int32 [B, (N)]; none where a target is given."""
    is_given, pad_id = tf.not_equal(inputs["target"], ""), writer.task.tokenizer.pad_id
    decoding = dataclasses.replace(writer.task.decoding, temperature=0.0)
    settings = settings_tensors(decoding, tf.shape(is_given)[0])
    settings["max_new_tokens"] = tf.where(is_given, 0, inputs["max_new_tokens"])

    def generate() -> tf.Tensor:
        context, _ = writer.task.context(writer.model, inputs["text"])
        return writer.generator.generated_ids(writer.write(prompts, settings, context))

    found = tf.cond(tf.reduce_all(is_given), lambda: tf.zeros([tf.shape(is_given)[0], 0], tf.int32), generate)
    lengths = tf.math.count_nonzero(tf.not_equal(found, pad_id), axis=1)
    return tf.RaggedTensor.from_tensor(found, lengths=lengths)


def _with_continuation(
    task: TextTask,
    places: TokenPlaces,
    continuation: tf.Tensor,
    num_given: tf.Tensor,
    width: tf.Tensor,
    has_source: bool,
) -> TokenPlaces:
    """The places of the text's tokens, and of those of the continuation in `token_ids` [B, width]."""
    number = tf.range(width)[None] - num_given[:, None]
    size = tf.shape(continuation)[1]
    start, end, is_real = _continuation_places(task, continuation)
    inside = (number >= 0) & (number < size)
    at = tf.clip_by_value(number, 0, size - 1)
    inside &= tf.gather(is_real, at, batch_dims=1)
    own = TokenPlaces(
        tf.where(inside, 1, -1),
        *(tf.where(inside, tf.gather(values, at, batch_dims=1), -1) for values in (start, end)),
    )
    pairs = zip(places, own, strict=True)
    if has_source:
        return TokenPlaces(*(tf.concat(pair, axis=1) for pair in pairs))
    return TokenPlaces(*(tf.maximum(*pair) for pair in pairs))


def _continuation_places(task: TextTask, token_ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Starts and ends int32 [B, N] of tokens in their text, -1 for one that begins inside a character, as
    `token_offsets` gives them; and which are real, bool [B, N]. A token ends where the text up to it does."""
    pad_id, size = task.tokenizer.pad_id, tf.shape(token_ids)[1]
    numbers = tf.range(size)
    prefixes = tf.where(numbers[None] <= numbers[:, None], token_ids[:, None], pad_id)
    texts = task.tokenizer.detokenize(tf.reshape(prefixes, [-1, size]))
    # What ends inside a character ends with the character.
    ends = tf.reshape(tf.strings.length(texts, unit="UTF8_CHAR"), tf.shape(token_ids))
    starts = tf.concat([tf.zeros_like(ends[:, :1]), ends[:, :-1]], axis=1)
    is_real = tf.not_equal(token_ids, pad_id)
    return tf.where(is_real & (starts < ends), starts, -1), tf.where(is_real, ends, -1), is_real


def _targets(task: TextTask, read: _Read) -> Targets:
    start, end, is_real = _continuation_places(task, read.continuation)
    texts = task.tokenizer.detokenize(tf.reshape(read.continuation, [-1, 1]))
    return Targets(tf.reshape(texts, tf.shape(is_real)), start, end, is_real)


def _explained(task: TextTask, read: _Read) -> ExplainedRows:
    ids = read.token_ids if read.source_ids is None else tf.concat([read.source_ids, read.token_ids], axis=1)
    return ExplainedRows(ids, read.places, read.places.part >= 0, read.truncated)


def _of_source(read: _Read) -> ExplainedRows:
    return ExplainedRows(read.source_ids, read.places, read.places.part >= 0, read.truncated)


def _cut(places: TokenPlaces, width: tf.Tensor) -> TokenPlaces:
    return TokenPlaces(*(values[:, :width] for values in places))


def _states(model: Any, read: _Read, row: tf.Tensor | None) -> tf.Tensor:
    """Hidden states of the rows int32 [r], or of all."""
    given = {"token_ids": read.token_ids, "source_ids": read.source_ids}
    chosen = {
        name: value if row is None else tf.gather(value, row)
        for name, value in given.items()
        if value is not None
    }
    return model.hidden_states(training=False, **chosen)
