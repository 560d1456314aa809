"""The signature `beam` of a task that writes text: its likeliest texts, by beam search."""

from typing import Any

import tensorflow as tf

from tflm.decoding import DecodingConfig, settings_specs
from tflm.decoding.beam import search_beams
from tflm.decoding.beam_config import BeamConfig, beam_settings_lists
from tflm.decoding.beam_settings import beam_settings_specs
from tflm.tasks.task import TEXT
from tflm.tasks.writer import Signature, Writer, signature

_TEXT_SETTINGS = ("stop", "choices")


def beam_signature(writer: Writer) -> Signature:
    """`text` string [B] and the settings of beam search, `stop` and `choices` to the N best texts of each row, the best
    first, where N is the largest `beam_size`: `text` string [B, N], `log_probability` and `score` float32 [B, N],
    `num_tokens` int32 [B, N], and `truncated` bool [B].

    `text` is an answer as `generate` gives it. A stop text cuts the answer alone: the search does not see it, and the
    numbers are of the whole. A row with fewer texts is filled up with "" of score -inf.
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
        answers = task.answers(
            tf.repeat(text, shape[1]),
            tf.reshape(found.token_ids, [-1, shape[2]]),
            tf.repeat(inputs["stop"], shape[1], axis=0),
        )
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
