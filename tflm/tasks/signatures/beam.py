"""The signature `beam` of a generative task: its most likely texts, by beam search."""

from typing import Any

import tensorflow as tf

from tflm.generation import (
    BeamConfig,
    DecodingConfig,
    beam_settings_lists,
    beam_settings_specs,
    search_beams,
    settings_specs,
)
from tflm.generation.settings import repeat_rows
from tflm.tasks.signatures.writer import Signature, Writer, as_written, signature
from tflm.tasks.task import TEXT

_TEXT_SETTINGS = ("stop", "choices")


def beam_signature(writer: Writer) -> Signature:
    """`text` string [B] and the settings of beam search, `stop` and `choices` to the N best texts of each row, the best
    first, where N is the largest `beam_size`: `text` string [B, N], `log_probability` and `score` float32 [B, N],
    `num_tokens` int32 [B, N], and `truncated` bool [B].

    A stop string cuts only `text`: the search ignores it, and the numbers cover the whole hypothesis. A row with fewer
    texts is padded with "" of score -inf.
    """
    task = writer.task
    settings = beam_settings_specs()
    others = [settings_specs()[name] for name in _TEXT_SETTINGS]

    def beam(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        text = inputs["text"]
        prompts = task.prompts(text, inputs["max_new_tokens"])
        context, source_cut = task.context(writer.model, text)
        found = search_beams(
            writer.generator,
            prompts.rows,
            {name: inputs[name] for name in settings},
            context,
            task.choice_ids(inputs["choices"]),
        )
        shape = tf.shape(found.token_ids)
        text, stop = repeat_rows((text, as_written(inputs["stop"], task.tokenizer)), shape[1])
        answers = task.answers(text, tf.reshape(found.token_ids, [-1, shape[2]]), stop)
        is_text = found.score > float("-inf")
        return {
            "text": tf.where(is_text, tf.reshape(answers, shape[:2]), ""),
            "log_probability": found.log_probability,
            "score": found.score,
            "num_tokens": found.num_tokens,
            "truncated": prompts.truncated | source_cut,
        }

    return signature([TEXT, *settings.values(), *others], beam)


def beam_requests(batches: list[list[str]]) -> list[dict[str, list[Any]]]:
    """An example request for each batch of texts, four at most, each row with beams of its own."""
    each: dict[str, list[Any]] = {
        "beam_size": [4, 1, 3, 4],
        "num_groups": [1, 1, 1, 2],
        "diversity_penalty": [0.0, 0.0, 0.0, 0.5],
        "length_penalty": [1.0, 1.0, 0.6, 0.0],
        "length_offset": [0.0, 0.0, 5.0, 0.0],
        "no_repeat_ngram_size": [0, 0, 3, 0],
        "stop": [[""], ["的"], ["\n"], [""]],
        "choices": [[""], [""], [""], [""]],
    }
    common = BeamConfig(), DecodingConfig(min_new_tokens=2, max_new_tokens=12)
    return [
        {
            "text": list(batch),
            **beam_settings_lists(*common, len(batch)),
            **{name: values[: len(batch)] for name, values in each.items()},
        }
        for batch in batches
    ]
