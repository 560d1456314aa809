"""The signature `contrastive`: a continuation by contrastive search; see tflm/generation/contrastive.py."""

from typing import Any

import tensorflow as tf

from tflm.generation.contrastive import contrastive_search, contrastive_specs
from tflm.tasks.signatures.writer import Signature, Writer, signature
from tflm.tasks.task import TEXT


def contrastive_signature(writer: Writer) -> Signature:
    """`text` and the settings of `contrastive_specs`, to `text`, `num_tokens`, `log_probability`, `finish_reason` and
    `truncated`, as of `generate`."""
    task, model = writer.task, writer.model

    def contrastive(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        text = inputs["text"]
        settings = {name: inputs[name] for name in contrastive_specs()}
        prompts = task.prompts(text, settings["max_new_tokens"])
        context, source_cut = task.context(model, text)
        found = contrastive_search(writer.generator, prompts.rows, settings, context)
        no_stops = tf.fill([tf.size(text), 1], "")
        return {
            "text": task.answers(text, found.token_ids, no_stops),
            "num_tokens": found.num_tokens,
            "log_probability": found.log_probability,
            "finish_reason": tf.where(found.is_complete, "stop", "length"),
            "truncated": prompts.truncated | source_cut,
        }

    return signature([TEXT, *contrastive_specs().values()], contrastive)


def contrastive_requests() -> list[dict[str, list[Any]]]:
    """Requests to check an export with."""
    return [
        {
            "text": ["What is a language model?", "你好，世界", ""],
            "penalty_alpha": [0.6, 0.3, 0.0],
            "top_k": [4, 6, 1],
            "min_new_tokens": [2, 0, 0],
            "max_new_tokens": [12, 9, 4],
        }
    ]
