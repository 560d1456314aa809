"""Chat: answer the last message of a conversation, with a decoder alone."""

import dataclasses
import json
from collections.abc import Callable, Collection
from typing import Any

import tensorflow as tf
from absl import logging

from tflm.config import option
from tflm.data import Batches, MappedBatches, RowBatches, TokenStore
from tflm.errors import UserError
from tflm.generation import DecodingConfig
from tflm.models import TransformerDecoderConfig
from tflm.tasks.columns import PAIR, Columns
from tflm.tasks.features.conversations import ROLES, Conversations
from tflm.tasks.features.rows import Cut, is_longer, join, keep_first
from tflm.tasks.features.template_rows import TemplateConversations
from tflm.tasks.generative_task import GenerativeTask
from tflm.tasks.registry import check_measure, register_task
from tflm.tasks.sequence_to_sequence import next_token_batch
from tflm.tasks.signatures.generate import alternatives_signature, generate_signature, resume_signature
from tflm.tasks.signatures.streaming import state_of
from tflm.tasks.signatures.writer import Writer
from tflm.tasks.task import Batch, TaskConfig, TaskReport
from tflm.tasks.task_recipes import num_steps, task_recipe
from tflm.text import Tokenizer
from tflm.text.chat_template import ChatTemplate

_WIDTH = 16  # batches with a history are padded to a multiple of it, so that there are few shapes


@dataclasses.dataclass(frozen=True)
class ChatConfig(TaskConfig):
    """Settings of `Chat`."""

    kind: str = "chat"
    system: str = ""
    """The system text of a conversation that brings none."""
    max_history: int = 0
    """Maximum number of other conversations of the batch that are put before each in training, so that a model that
    learns from single questions still works in longer conversations. 0 for data with long conversations."""
    template: ChatTemplate | None = option(None)
    """The chat template of a published model; it is found when its checkpoint is imported."""
    label_smoothing: float = 0.0
    """How much of a target's weight is spread over the vocabulary in training (Szegedy et al., 2016)."""
    z_loss: float = option(0.0)
    """Weight of the squared log of the softmax's denominator in the training loss (Chowdhery et al., 2022, section 5);
    1e-4 is usual."""
    measure: str = "rouge"
    """Metric of `tflm evaluate`: rouge, bleu (with chrF), or another registered metric."""

    def __post_init__(self) -> None:
        check_measure(self.measure)
        if self.max_history < 0:
            raise ValueError(f"max_history is 0 or more; got {self.max_history}.")
        if self.max_history and self.template:
            raise ValueError(f"max_history is 0 with a chat template; got {self.max_history}.")


@register_task("chat")
class Chat(GenerativeTask):
    """Rows of a start token, the messages and the answer; see `Conversations`. What the assistant says counts.

    `serving_default` and `generate` answer one message, `text`. `chat` takes the whole conversation, oldest message
    first: `roles` and `messages`, string [B, N] each, both "" where a row has fewer than N.
    """

    config_class = ChatConfig
    architectures = ("decoder",)
    columns = Columns(("messages",), otherwise=PAIR)
    loss_covers_text = True

    compact_loss = True
    keeps_end = True
    score_inputs = (tf.TensorSpec([None], tf.string, "text"), tf.TensorSpec([None], tf.string, "target"))
    request_inputs = (
        tf.TensorSpec([None, None], tf.string, "roles"),
        tf.TensorSpec([None, None], tf.string, "messages"),
    )

    def __init__(
        self, config: ChatConfig, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig
    ) -> None:
        super().__init__(tokenizer, max_length, decoding)
        self.config, self.label_smoothing, self.z_loss = config, config.label_smoothing, config.z_loss
        self.conversations: Conversations | TemplateConversations
        missing = [role for role in ROLES if role not in tokenizer.special_tokens]
        if config.template is not None:
            self.conversations = TemplateConversations(tokenizer, config.template, config.system)
        elif missing:
            raise UserError(
                f"chat needs a tokenizer with the special tokens {', '.join(ROLES)}; it lacks {', '.join(missing)}. "
                f"Train one with tokenizer.special_tokens={','.join(ROLES)}."
            )
        else:
            self.conversations = Conversations(tokenizer, config.system)
        if max_length < 16:
            raise UserError(f"chat needs model.max_length of 16 or more; got {max_length}.")

    @classmethod
    def report(cls, config: ChatConfig) -> TaskReport:
        """What is answered at the end of a conversation, next to what was."""
        del config
        return TaskReport("conversations", "serving_default", PAIR, beam_search=True)

    def encode(self, examples: dict[str, tf.Tensor]) -> dict[str, tf.RaggedTensor | tf.Tensor]:
        """Conversations to rows and what counts in them. An example is `messages`, JSON as `tflm.data` gives it, or
        `source` and `target`: a question and its answer.

        `{"source": ["ab"], "target": ["c"]}` to `{"token_ids": [[start, user, a, b, end, assistant, c, end]],
        "learnt": [[0, 0, 0, 0, 0, 0, 1, 1]]}`.
        """
        roles, messages = self._messages(examples)
        room = tf.fill([tf.shape(roles)[0]], self.max_length)
        rows = self.conversations.training_rows(roles, messages, room)
        return {"token_ids": rows.token_ids, "learnt": rows.learnt, "num_left_out": rows.num_left_out}

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Conversations of like length together, in training with others before them. Logs how many are cut."""
        cut = int((store.values("num_left_out") > 0).sum())
        if cut:
            logging.warning("%d of %d conversations lose their first messages", cut, store.num_rows)
        limits = dict.fromkeys(("token_ids", "learnt"), self.max_length + 1)
        batches = RowBatches(store, batch_size, limits, seed, training)
        if not training or not self.config.max_history:
            return batches
        open_spec = tf.TensorSpec([batch_size, None], tf.int32)
        spec = {**batches.element_spec, "token_ids": open_spec, "learnt": open_spec}
        return MappedBatches(batches, self._with_history, spec)

    def predicted(self, batch: Batch) -> Batch:
        """What the assistant says, with the end of each message."""
        batch = next_token_batch(batch, self.tokenizer.pad_id)
        learnt = tf.cast(batch["learnt"][:, 1:], tf.float32)
        return {**batch, "loss_weights": batch["loss_weights"] * learnt}

    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> Cut:
        """The conversation of one message of the user."""
        one = text[:, None]
        inputs = {"roles": tf.fill(tf.shape(one), "user"), "messages": one}
        return self._conversation(inputs, max_new_tokens)[0]

    def request_prompts(
        self, inputs: dict[str, tf.Tensor], max_new_tokens: tf.Tensor
    ) -> tuple[Cut, dict[str, tf.Tensor]]:
        """The conversation, or the one message `text`, up to where the assistant begins to speak; and of a conversation
        `num_left_out` int32 [B]."""
        if "text" in inputs:
            return self.prompts(inputs["text"], max_new_tokens), {}
        prompts, num_left_out = self._conversation(inputs, max_new_tokens)
        return prompts, {"num_left_out": num_left_out}

    def _conversation(self, inputs: dict[str, tf.Tensor], max_new_tokens: tf.Tensor) -> tuple[Cut, tf.Tensor]:
        # Half of the context is for the conversation, however long the answer may become.
        room = tf.maximum(self.max_length - max_new_tokens, self.max_length // 2)
        rows = self.conversations.prompts(inputs["roles"], inputs["messages"], room)
        return Cut(rows.token_ids, rows.truncated), rows.num_left_out

    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[Cut, tf.Tensor]:
        """A message and its answer; all up to the answer is given."""
        room = tf.fill([tf.size(inputs["text"])], self.max_length // 2)
        prompts, prompt_cut = self.prompts(inputs["text"], room)
        targets = self.tokenizer.tokenize(inputs["target"])
        room = self.max_length + 1 - tf.cast(prompts.row_lengths(), tf.int32) - 1
        rows = join(prompts, keep_first(targets, room), self.conversations.end_id)
        return Cut(rows, prompt_cut | is_longer(targets, room)), tf.cast(prompts.row_lengths(), tf.int32)

    def signatures_of(self, writer: Writer, only: Collection[str] = ()) -> dict[str, Callable[..., Any]]:
        """Those of every text task; `chat`: as `generate`, with `num_left_out` int32 [B], how many of the oldest
        messages did not fit; and `chat_alternatives`, as `alternatives`."""
        made = {
            **super().signatures_of(writer, only),
            "chat": generate_signature(writer, [*self.request_inputs]),
            "chat_alternatives": alternatives_signature(writer, self.request_inputs),
        }
        if "prefill" in made and writer.model.can_rewind and self.conversations.can_resume:
            made["resume"] = resume_signature(writer, self.request_inputs, self._added)
        return made

    def _added(
        self, inputs: dict[str, tf.Tensor], length: tf.Tensor, max_new_tokens: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """What comes after an answer, its end first, when `roles` and `messages` are said next, int32 [B, (A)]; and
        whether it fits, bool [B], behind `length` int32 [B] tokens."""
        room = tf.fill(tf.shape(length), self.max_length)
        rows = self.conversations.added(inputs["roles"], inputs["messages"], room)
        added = rows.token_ids
        room = tf.maximum(self.max_length - max_new_tokens, self.max_length // 2)
        fits = length + tf.cast(added.row_lengths(), tf.int32) <= room
        return added, fits & ~rows.truncated

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Those of every text task; conversations of one message and of several."""
        requests = super().example_requests()
        conversations = [
            ([["user"]], [["What is a language model?"]]),
            (
                [["user", "assistant", "user"], ["system", "user", ""], ["user", "", ""], ["user", "", ""]],
                [
                    ["你好", "你好！", "你是谁？"],
                    ["Be brief.", "Hello", ""],
                    ["", "", ""],
                    ["中文 mixed 😀", "", ""],
                ],
            ),
        ]
        for name, of_text in (("chat", "generate"), ("chat_alternatives", "alternatives")):
            requests[name] = [
                {
                    **{key: value for key, value in request.items() if key != "text"},
                    "roles": roles,
                    "messages": texts,
                }
                for request, (roles, texts) in zip(requests[of_text], conversations, strict=True)
            ]
        requests["prefill"] = [dict(request) for request in requests["chat"]]
        return requests

    def follow_ups(self, request: dict[str, Any], outputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """`decode`, and `resume` with a further question."""
        rows = len(request["roles"])
        more = {"roles": [["user"]] * rows, "messages": [["And 然后?"]] * rows}
        return {**super().follow_ups(request, outputs), "resume": {**request, **more, **state_of(outputs)}}

    def _messages(self, examples: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """`roles` and `messages` string [B, N] of examples."""
        if "source" in examples:
            messages = tf.stack([examples["source"], examples["target"]], axis=1)
            return tf.broadcast_to(["user", "assistant"], tf.shape(messages)), messages
        read = [json.loads(text) for text in examples["messages"].numpy()]
        columns = [[[message[key] for message in each] for each in read] for key in ("role", "content")]
        roles, messages = (
            tf.ragged.constant(column, tf.string, ragged_rank=1).to_tensor("") for column in columns
        )
        return roles, messages

    def _with_history(self, batch: Batch, seed: tf.Tensor) -> Batch:
        """Before each row the conversations of rows above it, a random number of them and as many as there is room
        for. With max_history=1, for the row that draws 1 while the other draws 0:

            1 u a e A b e 0     ->  1 u a e A b e 0 0 0 0 0 0
            1 u c e A d e 0         1 u a e A b e u c e A d e
        """
        count, pad_id = self.config.max_history, self.tokenizer.pad_id
        token_ids, learnt = batch["token_ids"], batch["learnt"]
        lengths = tf.math.count_nonzero(tf.not_equal(token_ids, pad_id), axis=1, dtype=tf.int32)
        drawn = tf.random.stateless_uniform(tf.shape(lengths), seed, 0, count + 1, tf.int32)
        bodies = [tf.roll(lengths - 1, shift, axis=0) for shift in range(count + 1)]
        ends = (
            tf.cumsum(tf.stack(bodies, axis=1), axis=1) + 1
        )  # of the row with 0, 1, ... before it: int32 [B, 1 + H]
        fits = (tf.range(count + 1) <= drawn[:, None]) & (ends <= self.max_length + 1)
        fits = fits | (tf.range(count + 1) == 0)[None]  # a row itself always stays

        def joined(values: tf.Tensor, padding: int) -> tf.Tensor:
            rows = tf.RaggedTensor.from_tensor(values, lengths=tf.cast(lengths, tf.int64))
            parts = [
                keep_first(_rolled(rows[:, 1:], shift), tf.where(fits[:, shift], bodies[shift], 0))
                for shift in reversed(range(count + 1))
            ]
            dense = tf.concat([rows[:, :1], *parts], axis=1).to_tensor(padding)
            right = [[0, 0], [0, -tf.shape(dense)[1] % _WIDTH]]
            return tf.pad(dense, right, constant_values=padding)

        return {**batch, "token_ids": joined(token_ids, pad_id), "learnt": joined(learnt, 0)}


def _rolled(rows: tf.RaggedTensor, shift: int) -> tf.RaggedTensor:
    """Every row `shift` places further down, the last ones first."""
    count = tf.cast(rows.nrows(), tf.int32)
    return tf.gather(rows, (tf.range(count) - shift) % count)


@task_recipe(Chat)
def chat(config: Any, num_examples: int) -> Any:
    """The next message of a conversation. From single questions and answers, the model also sees some after one
    another."""
    training = dataclasses.replace(
        config.training,
        num_steps=num_steps(num_examples, epochs=30, least=500, most=5000),
        optimizer="muon",
        peak_learning_rate=4e-3,
    )
    return dataclasses.replace(
        config,
        tokenizer=dataclasses.replace(config.tokenizer, special_tokens=ROLES),
        task=ChatConfig(max_history=0 if config.data.messages_column else 3),
        model=TransformerDecoderConfig(
            num_layers=4, hidden_dim=192, num_heads=6, max_length=192, dropout=0.1
        ),
        training=training,
        decoding=DecodingConfig(temperature=0.0, max_new_tokens=80),
    )
