"""The signature `speculative`: speculative sampling with a draft model; see tflm/generation/speculative.py."""

from typing import Any

import tensorflow as tf

from tflm.errors import UserError
from tflm.generation import settings_specs
from tflm.generation.speculative import RewindableModel, speculate, without_slide
from tflm.tasks.signatures.streaming import row_outputs
from tflm.tasks.signatures.writer import Signature, Writer, settings_of, signature
from tflm.tasks.task import TEXT

_COUNT = tf.TensorSpec([None], tf.int32, "num_draft_tokens")


def speculative_signature(writer: Writer, draft: RewindableModel) -> Signature:
    """The inputs of `generate` on `text`, and `num_draft_tokens` int32 [B], to its outputs, and `num_accepted` and
    `num_drafted` int32 [B]. `slide` is off.

    Args:
        writer: of the large model, whose `begin` it shares with the other signatures.
        draft: the small model.
    Raises:
        UserError: the two do not fit: an LSTM, an encoder, another vocabulary.
    """
    check_draft(writer.model, draft)
    task = writer.task

    def speculative(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        settings = without_slide(settings_of(inputs, task.tokenizer))
        prompts = task.prompts(inputs["text"], settings["max_new_tokens"])
        state = writer.begin(prompts.rows, settings, None)
        found = speculate(writer.generator, draft, state, inputs["num_draft_tokens"])
        token_ids = writer.generator.generated_ids(found.state)
        return {
            "text": task.answers(inputs["text"], token_ids, settings["stop"]),
            **row_outputs(found.state),
            "truncated": prompts.truncated,
            "num_accepted": found.num_accepted,
            "num_drafted": found.num_drafted,
        }

    return signature([TEXT, *settings_specs().values(), _COUNT], speculative)


def speculative_requests(generate_requests: list[dict[str, list[Any]]]) -> list[dict[str, list[Any]]]:
    """Requests to check an export with: those of `generate`, with drafts of unequal length."""
    return [
        {**request, "num_draft_tokens": [4, 2, 7, 0][: len(request["text"])]} for request in generate_requests
    ]


def check_draft(model: Any, draft: Any) -> None:
    """Raises UserError unless both models can take tokens back, read a text alone and have one vocabulary."""
    for name, each in (("model", model), ("draft", draft)):
        kind = each.config.kind
        if each.has_encoder:
            raise UserError(
                f"the {name} is a {kind}, and a draft goes with models without an encoder. Take a transformer_decoder."
            )
        if not each.can_rewind:
            raise UserError(
                f"the {name} is a {kind}, which cannot take back what it has read. Take a transformer_decoder."
            )
    sizes = model.config.vocab_size, draft.config.vocab_size
    if sizes[0] != sizes[1]:
        raise UserError(
            f"the model has {sizes[0]} tokens, the draft {sizes[1]}. Train the draft on the same data with "
            "the same settings of the tokenizer."
        )
