"""Tasks whose model generates text: prompts, answers, loss and metrics. Their signatures: `generative_task.py`."""

import abc
import math
from typing import Any, ClassVar

import tensorflow as tf

from tflm.generation import DecodingConfig, cut_at_stop
from tflm.models import LanguageModel
from tflm.tasks.features.rows import Cut, join
from tflm.tasks.losses import token_cross_entropy
from tflm.tasks.soft_targets import SoftTargets
from tflm.tasks.task import TEXT, Batch, Task, TaskInputs, mean
from tflm.text import Tokenizer


class TextTask(Task):
    """A subclass defines the rows of tokens: `encode`, `batches`, `prompts` and `score_rows`; and, for a model with an
    encoder, `sources`.

    Args:
        tokenizer: strings to ids.
        max_length: int, the longest row of tokens, prompt and answer together.
        decoding: the settings of `serving_default`.
    """

    has_soft_targets = True
    compact_loss = False
    """See `token_cross_entropy`."""
    label_smoothing, z_loss, r_drop = 0.0, 0.0, 0.0
    """See `token_cross_entropy`; in training alone."""

    def __init__(self, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig) -> None:
        super().__init__(tokenizer, max_length)
        self.decoding = decoding

    keeps_end: bool = False
    """Whether of a text that is too long the end is kept."""
    explains: ClassVar[bool] = True
    """Whether what is generated is the text that the task gives, so that its tokens can be explained."""

    @classmethod
    def create(cls, config: Any, inputs: TaskInputs) -> Task:
        """With the settings of decoding; see `Task.create`."""
        return cls(config, inputs.tokenizer, inputs.model.max_length, inputs.decoding)  # type: ignore[call-arg,arg-type]

    @abc.abstractmethod
    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> Cut:
        """What generation begins from, for string [B]; leaves room for what is to come."""

    @abc.abstractmethod
    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[Cut, tf.Tensor]:
        """Rows int32 [B, (T)] to score, and how many of each row's first tokens are given, int32 [B]."""

    score_inputs: tuple[tf.TensorSpec, ...] = (TEXT,)

    def sources(self, text: tf.Tensor) -> Cut | None:
        """What an encoder reads, for string [B]; None where there is no encoder."""
        del text
        return None

    def suppressed_ids(self) -> tuple[int, ...]:
        """Tokens that are never generated: the special ones, but for those that end a text. A published model may
        generate every token of its own."""
        tokenizer = self.tokenizer
        named = (tokenizer.special_tokens.get(name) for name in tokenizer.config.special_tokens)
        found = (tokenizer.start_id, tokenizer.unk_id, *named)
        return tuple(sorted({each for each in found if each is not None} - {*tokenizer.end_ids}))

    request_inputs: tuple[tf.TensorSpec, ...] = (TEXT,)
    """The inputs of `prefill` in addition to the settings."""

    @property
    def streams(self) -> bool:
        """Whether what is written first stays first in the answer, so that it can be streamed."""
        return True

    def request_prompts(
        self, inputs: dict[str, tf.Tensor], max_new_tokens: tf.Tensor
    ) -> tuple[Cut, dict[str, tf.Tensor]]:
        """`prompts` for the inputs that `request_inputs` names, or for `text`; and further outputs about them."""
        return self.prompts(inputs["text"], max_new_tokens), {}

    def context(self, model: LanguageModel, text: tf.Tensor | None) -> tuple[Any, tf.Tensor]:
        """What the model's encoder makes of string [B], None without one; and of which texts something was left out."""
        sources = None if text is None else self.sources(text)
        if sources is None:
            return None, tf.constant(False)
        return model.encode(padded(sources.rows, self.tokenizer.pad_id)), sources.truncated

    def choice_ids(self, choices: tf.Tensor) -> tf.Tensor:
        """int32 [B, C, L] for string [B, C]: the tokens of each and the end token, filled up with -1; of "" none."""
        rows = join(self.tokenizer.tokenize(tf.reshape(choices, [-1])), self.tokenizer.end_id)
        is_given = tf.reshape(choices != "", [-1, 1])
        ids = tf.where(is_given, rows.to_tensor(-1), -1)
        return tf.reshape(ids, tf.concat([tf.shape(choices), tf.shape(ids)[1:]], axis=0))

    def answers(self, text: tf.Tensor | None, token_ids: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """What is answered to string [B] when int32 [B, N] was written, padded: string [B]. Stop texts string [B, S]
        and what comes after one are cut off."""
        del text
        written = self.tokenizer.detokenize(token_ids)
        cut = lambda: cut_at_stop(written[:, None], stop)[:, 0]  # noqa: E731
        return tf.cond(tf.reduce_any(stop != ""), cut, lambda: written)

    def predicted(self, batch: Batch) -> Batch:
        """A batch with `token_ids`, `targets` int32 [B, T] and `loss_weights` float32 [B, T], what counts of them."""
        return batch

    def features(self, batch: Batch) -> dict[str, tf.Tensor]:
        """What the model reads of a batch in addition to its `token_ids`."""
        return {"source_ids": batch["source_ids"]} if "source_ids" in batch else {}

    def training_features(self, model: LanguageModel, batch: Batch) -> dict[str, tf.Tensor]:
        """What a model reads of a batch of the training side besides `features`; of training alone."""
        del model, batch
        return {}

    def loss(self, model: LanguageModel, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Summed cross entropy of the targets that count, and their number: float32 scalars."""
        return self._loss(model, batch, training, None)

    def distilled_loss(
        self, model: LanguageModel, batch: Batch, soft: SoftTargets
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Task`."""
        return self._loss(model, batch, True, soft)

    def _loss(
        self, model: LanguageModel, batch: Batch, training: bool, soft: SoftTargets | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        batch = self.predicted(batch)
        features = self.features(batch) | (self.training_features(model, batch) if training else {})
        states = model.hidden_states(batch["token_ids"], training=training, **features)
        other_states = teacher_states = None
        if training and self.r_drop:
            other_states = model.hidden_states(batch["token_ids"], training=True, **features)
        if soft is not None:
            features = self.features(batch) | self.training_features(soft.teacher, batch)
            teacher_states = soft.teacher.hidden_states(batch["token_ids"], training=False, **features)
        return token_cross_entropy(
            model,
            states,
            batch["targets"],
            batch["loss_weights"],
            compact=self.compact_loss,
            label_smoothing=self.label_smoothing if training else 0.0,
            z_loss=self.z_loss if training else 0.0,
            training=training,
            soft=soft,
            teacher_states=teacher_states,
            other_states=other_states,
            r_drop=self.r_drop,
        )

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """`loss` in nats a token, `perplexity`, and the number of tokens they are over."""
        loss = mean(sums["loss"], sums["weight"])
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "num_tokens": sums["weight"]}


def padded(sources: tf.RaggedTensor, pad_id: int) -> tf.Tensor:
    """int32 [B, S], padded on the right; one place at least, so that a batch of empty texts has a column."""
    rows = sources.to_tensor(pad_id)
    right = [[0, 0], [0, tf.cast(tf.equal(tf.shape(rows)[1], 0), tf.int32)]]
    return tf.pad(rows, right, constant_values=pad_id)
