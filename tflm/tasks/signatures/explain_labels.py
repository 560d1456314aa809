"""The signatures `attribute` and `attention` of a classifier."""

from typing import Any

import tensorflow as tf

from tflm.layers import probing
from tflm.tasks.features.attribution import attribute_rows, log_odds
from tflm.tasks.features.ngram_tokens import NgramTokens
from tflm.tasks.features.probes import ScalingProbe
from tflm.tasks.features.token_places import joined_places, token_places
from tflm.tasks.signatures.explanations import (
    METHOD,
    NUM_STEPS,
    TARGET,
    ExplainedRows,
    Targets,
    attention_outputs,
    attribute_request,
    has_attention,
    is_special,
    target_outputs,
    token_outputs,
)
from tflm.tasks.signatures.writer import Signature, signature


def label_explanations(task: Any, model: Any, specs: list[tf.TensorSpec]) -> dict[str, Signature]:
    """`attribute`, and `attention` of a Transformer.

    Args:
        task: a `TextClassification`.
        model: a trained classifier.
        specs: `text`, of pairs also `text_pair`.
    """

    def attribute(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Of one label for each text; `target` is its name, "" for the one that is chosen."""
        rows, batch = _read(task, inputs)
        logits = task.logits(model, batch, training=False)
        labels = tf.constant(task.labels)
        is_named = tf.equal(inputs["target"][:, None], labels[None])
        is_known = tf.reduce_any(is_named, axis=1) | tf.equal(inputs["target"], "")
        chosen = tf.where(
            tf.equal(inputs["target"], ""),
            task.best(logits),
            tf.argmax(tf.cast(is_named, tf.int32), axis=1),
        )
        index = tf.cast(chosen, tf.int32)
        width = tf.shape(rows.token_ids)[1]

        def score(scales: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
            probe = ScalingProbe([scales[:, :width]], scales[:, width:] if task.ngrams else None)
            with probing(probe):
                found = task.logits(
                    model, {name: tf.gather(value, numbers) for name, value in batch.items()}, training=False
                )
            own = tf.gather(index, numbers)
            return (
                tf.gather(found, own, batch_dims=1) if task.config.label_separator else log_odds(found, own)
            )

        is_input, ngrams = rows.is_input, None
        if task.ngrams:
            ngrams = NgramTokens.find(task.ngrams, inputs["text"], inputs.get("text_pair"), rows.places)
            is_input = tf.concat([is_input, batch["ngram_ids"] > 0], axis=1)
        found = attribute_rows(
            score,
            is_input,
            inputs["method"],
            inputs["num_steps"],
            width,
            ngrams and ngrams.occluded_fn(batch["token_ids"], batch["ngram_ids"]),
        )
        values = found.values[:, :width]
        if ngrams:
            is_occlusion = tf.equal(inputs["method"], "occlusion")[:, None]
            values += tf.where(is_occlusion, 0.0, ngrams.spread(found.values[:, width:], width))
        none = tf.fill([tf.size(index), 1], -1)
        shares = tf.sigmoid(logits) if task.config.label_separator else tf.nn.softmax(logits)
        return {
            **token_outputs(task.tokenizer, rows),
            **target_outputs(Targets(tf.gather(labels, index)[:, None], none, none, is_known[:, None])),
            "scores": found.scores[:, None],
            "baseline_scores": found.baseline_scores[:, None],
            "attributions": values[:, None],
            "labels": tf.tile(labels[None], [tf.size(index), 1]),
            "probabilities": shares,
        }

    def attention(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rows, batch = _read(task, inputs)
        batch = {name: batch[name] for name in ("token_ids", "prefix_length")}
        mask = tf.not_equal(rows.token_ids, task.tokenizer.pad_id)
        outputs = attention_outputs(lambda: task.logits(model, batch, training=False), mask)
        return {**token_outputs(task.tokenizer, rows), **outputs}

    made = {"attribute": signature([*specs, TARGET, METHOD, NUM_STEPS], attribute)}
    return made | ({"attention": signature(specs, attention)} if has_attention(model) else {})


def label_explanation_requests(texts: list[dict[str, list[str]]]) -> dict[str, list[dict[str, list[Any]]]]:
    """Requests for each signature, from batches of input name to texts."""
    return {"attribute": [attribute_request(each) for each in texts], "attention": texts}


def _read(task: Any, inputs: dict[str, tf.Tensor]) -> tuple[ExplainedRows, dict[str, tf.Tensor]]:
    """The rows that `classify` reads, and the batch that they make."""
    text, text_pair = inputs["text"], inputs.get("text_pair")
    batch, truncated = task.batch_of(text, text_pair)
    token_ids, prefix = batch["token_ids"], batch["prefix_length"]
    is_first = tf.range(tf.shape(token_ids)[1])[None] < prefix[:, None]
    places = token_places(task.tokenizer, token_ids, text, 0, is_first)
    if text_pair is not None:
        places = joined_places(places, token_places(task.tokenizer, token_ids, text_pair, 1, ~is_first))
    is_text = ~is_special(task.tokenizer, token_ids)
    places = places._replace(part=tf.where(is_text, tf.where(is_first, 0, 1), -1))
    return ExplainedRows(token_ids, places, is_text, truncated), batch
