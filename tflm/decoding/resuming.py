"""Going on with a text after more was added behind it, without reading again what was read before."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tflm.decoding.generator import Generator
from tflm.decoding.pad_left import pad_left
from tflm.decoding.progress import Progress
from tflm.decoding.rows import start_rows
from tflm.decoding.settings import check_settings


def resume(
    generator: Generator,
    progress: Progress,
    added: tf.RaggedTensor,
    settings: Mapping[str, tf.Tensor],
    fits: tf.Tensor,
) -> Progress:
    """The texts so far and what was added are the prompts now; only what is new is read.

    After a text [5, 6] that went on from [1, 4] and came to its end, with `added` [[2, 9]] the next token is the one
    that `begin` chooses after [1, 4, 5, 6, 2, 9].

    A model reads on while other rows run, also in rows that have stopped, and beyond a stop text; that is taken back
    first (`rewind`). The stop text itself stays, as tokens of the text.

    Args:
        generator: its model can rewind.
        progress: from `begin`, `advance` or `resume` of this generator.
        added: int32 [B, (A)], no row empty. The end token of the text is one of them: it was not read.
        settings: for what comes now.
        fits: bool [B]; in the other rows nothing is produced.
    Returns:
        Progress, with the first token chosen.
    """
    check_settings(settings)
    model, steps = generator.model, progress.num_steps
    count = progress.rows.num_tokens
    num_beyond = steps - 1 - tf.minimum(count, steps - 1)
    state = model.rewind(progress.model_state, num_beyond)
    # The newest token is not read yet, if a limit ended the text there.
    newest = tf.gather(progress.token_ids, tf.maximum(count - 1, 0)[:, None], batch_dims=1)
    unread = tf.RaggedTensor.from_tensor(newest, lengths=tf.cast(count == steps, tf.int64))
    logits, state, num_new = _read_on(generator, state, tf.concat([unread, added], axis=1))
    history = tf.concat([progress.prompt_ids, progress.token_ids], axis=1)
    prompts = tf.concat([tf.ragged.boolean_mask(history, history >= 0), added], axis=1)
    limits = tf.where(fits, generator.limits(prompts, settings, can_slide=True), 0)
    return generator.first_token(
        Progress(
            model_state=state,
            rows=start_rows(limits, generator.vocabulary.pad_id),
            settings=dict(settings),
            limits=limits,
            num_read=progress.num_read - num_beyond + num_new,
            prompt_ids=pad_left(prompts, -1)[0],
            choice_ids=generator.choice_ids(settings),
            token_ids=tf.zeros([tf.size(limits), 0], tf.int32),
            log_probabilities=tf.zeros([tf.size(limits), 0]),
            num_steps=tf.constant(0),
        ),
        logits,
    )


def _read_on(generator: Generator, state: Any, tokens: tf.RaggedTensor) -> tuple[tf.Tensor, Any, tf.Tensor]:
    """Reads int32 [B, (A)]; gives the logits float32 [B, V] after the last, the state, and how many they were, int32
    [B].

    All but the last are read at once, padded on the right; the padding is taken back.
    """
    model = generator.model
    counts = tf.cast(tokens.row_lengths(), tf.int32)
    earlier, last = tokens[:, :-1].to_tensor(generator.vocabulary.pad_id), tokens[:, -1:].to_tensor()
    width = tf.shape(earlier)[1]
    state = model.extend_state(state, width + 1)

    def read_earlier() -> Any:
        _, after = model.step(earlier, state, last_only=True)
        return model.rewind(after, width - (counts - 1))

    state = tf.cond(width > 0, read_earlier, lambda: state)
    logits, state = model.step(last, state, last_only=True)
    return logits[:, -1], state, counts
