"""Extractive question answering: the answer is a span of the given context, in its code points, or no answer."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tflm.data import Batches, RowBatches, TokenStore
from tflm.data.store_views import SplitStore
from tflm.errors import UserError
from tflm.layers import SpanHead
from tflm.models import HeadModel, TextModel
from tflm.tasks.columns import JSON_LINES, Columns
from tflm.tasks.features.answer_spans import answer_tokens, trained_spans
from tflm.tasks.features.best_spans import LOWEST, ScoredSpans, best_spans, join_windows, keep_distinct
from tflm.tasks.features.context_tokens import ContextTokens, context_tokens, of_tokens
from tflm.tasks.features.rows import is_longer, keep_first
from tflm.tasks.features.windows import Windows, cut_windows, segment_ids
from tflm.tasks.registry import register_task
from tflm.tasks.signatures.explain_spans import answer_explanations
from tflm.tasks.signatures.explanations import attribute_request
from tflm.tasks.soft_targets import SoftTargets
from tflm.tasks.task import Batch, Features, Task, TaskConfig, TaskReport, mean
from tflm.tasks.task_recipes import num_steps, small_encoder, task_recipe
from tflm.text import Tokenizer, TokenizerConfig
from tflm.text.clean_text import replace_invalid_utf8

_QUESTION = tf.TensorSpec([None], tf.string, "question")
_CONTEXT = tf.TensorSpec([None], tf.string, "context")
_THRESHOLD = tf.TensorSpec([None], tf.float32, "threshold")
_SPARE = 4  # candidates for each answer that is given: others may have the same text


@dataclasses.dataclass(frozen=True)
class QuestionAnsweringConfig(TaskConfig):
    """Settings of `QuestionAnswering`."""

    kind: str = "question_answering"
    max_question_length: int = 32
    """In tokens; a longer question is read to there."""
    stride: int = 0
    """How many tokens of the context a window begins after the one before; 0 for half of what a window can hold."""
    max_answer_length: int = 30
    """In tokens."""
    num_answers: int = 5
    """How many answers of different text `answer` gives."""
    threshold: float = 0.0
    """By how much the best span must be ahead of "no answer", in log odds; the default of an export. -1000 for an
    answer always."""
    other_windows: float = 1.0
    """Of the windows that do not hold the answer though others of the same context do: how many to keep in the data,
    from 0 to 1."""
    dropout: float = 0.1
    """In the head."""

    def __post_init__(self) -> None:
        for field in ("max_question_length", "max_answer_length", "num_answers"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")
        if self.stride < 0:
            raise ValueError(f"stride is at least 1, or 0 for half of a window; got {self.stride}.")
        if not 0 <= self.other_windows <= 1:
            raise ValueError(f"other_windows is a share from 0 to 1; got {self.other_windows}.")


@register_task("question_answering")
class QuestionAnswering(Task):
    """Rows of start, question, separator, a window of the context, end (Devlin et al., 2019, sections 4.2 and 4.3). A
    span's score is the sum of its start's and its end's; "no answer" is the span of the first place. Contexts that are
    longer than a row are read in windows that overlap: the best span of all of them is compared with the least "no
    answer" of any.
    """

    config_class = QuestionAnsweringConfig
    has_soft_targets = True
    architectures = ("encoder",)
    columns = Columns(
        ("question", "context", "answer"),
        optional=("answer_start",),
        sources={".json": "squad", **JSON_LINES},
    )

    def __init__(self, config: QuestionAnsweringConfig, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__(tokenizer, max_length)
        self.config = config
        room = max_length - 3 - config.max_question_length
        self.stride = config.stride or max(1, room // 2)
        if "separator" not in tokenizer.special_tokens:
            raise UserError(
                "question answering needs a tokenizer with the special token 'separator'; it has "
                f"{list(tokenizer.special_tokens)}. Train one with special_tokens=('separator',)."
            )
        if room < self.stride:
            raise UserError(
                f"next to a question of {config.max_question_length} tokens (task.max_question_length) a row of "
                f"{max_length} (model.max_length) has room for {max(room, 0)} tokens of the context; with the stride "
                f"{self.stride} it needs {self.stride}. Raise model.max_length, or lower the others."
            )

    @classmethod
    def report(cls, config: QuestionAnsweringConfig) -> TaskReport:
        """Exact match and F1 of the answers."""
        del config
        return TaskReport("answers", "serving_default", ("question", "context", "answers"))

    def model_for(self, body: TextModel) -> HeadModel:
        """The body with two outputs for each token."""
        return HeadModel(body, SpanHead(self.config.dropout, name="span_head"))

    def encode(self, examples: dict[str, tf.Tensor]) -> Features:
        """All windows of an example, joined; `batches` parts them again.

            {"question": ["Who?"], "context": ["It was Anna."], "answers": ['[[7, "Anna"]]']}, words and marks as tokens
            token_ids [[start, Who, ?, separator, It, was, Anna, ., end]], places [[1, 0, 0, 0, 1, 1, 1, 1, 0]]
            row_lengths [[9]], prefix_lengths [[4]], starts [[6]], ends [[6]]

        `places` are 1 where an answer may start or end; `starts` and `ends` are places in the row, 0 and 0 where the
        window does not hold the whole answer. Of several answers the first that occurs in the context is the target. A
        span that ends inside a token is widened to the token (`num_widened`); one of more than `max_answer_length`
        tokens trains, but is never given; and one that no window holds does neither (both `num_long`). Not a function
        for a graph: the answers are JSON.

        Raises:
            UserError: no answers, or answers that are not as above.
        """
        texts, index = tf.unique(examples["context"])  # several questions have the same one
        tokens = context_tokens(self.tokenizer, texts)
        context = ContextTokens(*(tf.gather(each, index) for each in tokens))
        windows = self._windows(self.tokenizer.tokenize(examples["question"]), context)
        answers = answer_tokens(context, trained_spans(examples))
        inside, number = windows.context_places()
        number, row = np.where(inside, number, -1), windows.row.numpy()
        starts, ends = (_place_of(number, wanted[row]) for wanted in (answers.first, answers.last))
        whole = (starts > 0) & (ends > 0)
        asked, held = answers.first >= 0, np.bincount(row[whole], minlength=len(answers.first)) > 0
        long = answers.last - answers.first >= self.config.max_answer_length
        keep = self._kept(examples["question"].numpy(), windows, whole, asked)
        lengths = (windows.prefix_length + windows.count + 1).numpy()[keep]
        real = np.arange(number.shape[1])[None] < lengths[:, None]
        num_windows = np.bincount(row[keep], minlength=len(answers.first))
        num_tokens = np.bincount(row[keep], weights=lengths, minlength=len(answers.first)).astype(np.int64)

        def ragged(values: np.ndarray, row_lengths: np.ndarray) -> tf.RaggedTensor:
            return tf.RaggedTensor.from_row_lengths(values.astype(np.int32), row_lengths)

        return {
            "token_ids": ragged(windows.token_ids.numpy()[keep][real], num_tokens),
            "places": ragged(self._allowed(context, windows).numpy()[keep][real], num_tokens),
            "row_lengths": ragged(lengths, num_windows),
            "prefix_lengths": ragged(windows.prefix_length.numpy()[keep], num_windows),
            "starts": ragged(np.where(whole, starts, 0)[keep], num_windows),
            "ends": ragged(np.where(whole, ends, 0)[keep], num_windows),
            "num_widened": tf.constant(answers.widened, tf.int32),
            "num_long": tf.constant(long | (asked & ~held), tf.int32),
        }

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """A window a row, rows of like length together. Logs how many answers do not fit the tokens."""
        widened, long = (int(store.values(name).sum()) for name in ("num_widened", "num_long"))
        if widened or long:
            logging.warning(
                "answers: %d of %d were widened to whole tokens, %d have more than max_answer_length=%d tokens or are "
                "in no window whole, and can never be given. Shorter tokens or a greater task.max_answer_length help.",
                widened,
                store.num_rows,
                long,
                self.config.max_answer_length,
            )
        joined = ("token_ids", "places")
        rows = SplitStore(store, "row_lengths", joined, ("prefix_lengths", "starts", "ends"))
        return RowBatches(rows, batch_size, dict.fromkeys(joined, self.max_length), seed, training)

    def loss(self, model: Any, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Summed cross entropy of the windows, the mean of start's and end's, and their number."""
        logits = self._logits(model, batch["token_ids"], batch["prefix_lengths"], training)
        return self._loss(logits, batch)

    def distilled_loss(self, model: Any, batch: Batch, soft: SoftTargets) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Task`; the divergences of starts and of ends are averaged, too."""
        inputs = batch["token_ids"], batch["prefix_lengths"]
        logits = self._logits(model, *inputs, training=True)
        return self._loss(logits, batch, soft, self._logits(soft.teacher, *inputs, training=False))

    def sums(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """Also `correct`: windows whose exact span, or whose lack of an answer, was predicted."""
        logits = self._logits(model, batch["token_ids"], batch["prefix_lengths"], training=False)
        loss, weight = self._loss(logits, batch)
        allowed = (batch["places"] > 0) & (tf.range(tf.shape(batch["places"])[1]) > 0)
        best = best_spans(logits[..., 0], logits[..., 1], allowed, self.config.max_answer_length, 1)
        answered = best.score[:, 0] - tf.reduce_sum(logits[:, 0], axis=-1) > self.config.threshold
        found = [tf.where(answered, values[:, 0], 0) for values in (best.start, best.end)]
        right = tf.equal(found[0], batch["starts"]) & tf.equal(found[1], batch["ends"])
        correct = tf.reduce_sum(tf.cast(right, tf.float32) * batch["row_weights"])
        return {"loss": loss, "weight": weight, "correct": correct}

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """`loss` in nats a window, `accuracy` of the windows' spans, and the number of windows they are over."""
        weight = sums["weight"]
        accuracy = mean(sums["correct"], weight)
        return {"loss": mean(sums["loss"], weight), "accuracy": accuracy, "num_examples": weight}

    def signatures(self, model: Any) -> dict[str, Callable[..., Any]]:
        """`serving_default`, `answer` and `tokenize`.

        `answer` takes `question`, `context` string [B] and `threshold` float32 [B], and gives

            answer string [B], start, end int32 [B]         what it decides for: "", -1 and -1 for no answer
            score float32 [B]                               the probability of that
            margin float32 [B]                              how far the best span is ahead of no answer, in log odds
            answers string [B, N], starts, ends, scores     the likeliest spans of different text, the best first
            truncated bool [B]                              the question has more tokens than are read

        with `start` and `end` in code points, the end after the last one. It answers where `margin` is greater than
        `threshold`. The probabilities are over these N spans and "no answer", so that they and its own make 1. Rows
        with fewer spans are filled with "", -1 and 0; with none at all `margin` is about -1e9. `serving_default` takes
        `question` and `context`, has the config's threshold and gives the same.
        """
        threshold = self.config.threshold

        def answer(question: tf.Tensor, context: tf.Tensor, threshold: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._answer(model, question, context, threshold)

        def plain(question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._answer(model, question, context, tf.fill(tf.shape(question), threshold))

        inputs = [_QUESTION, _CONTEXT]
        return {
            "serving_default": tf.function(plain, input_signature=inputs, autograph=False),
            "answer": tf.function(answer, input_signature=[*inputs, _THRESHOLD], autograph=False),
            "tokenize": self.tokenize_signature(),
        }

    def explanations(self, model: Any, writer: Any = None) -> dict[str, Callable[..., Any]]:
        """See `answer_explanations`."""
        del writer
        return answer_explanations(self, model, [_QUESTION, _CONTEXT])

    def explanation_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """The texts of `example_requests`, with one method a row."""
        plain = self.example_requests()["serving_default"]
        return {"attribute": [attribute_request(each, False) for each in plain], "attention": plain}

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """One row and several of unequal length, in English and in Chinese; a context of several windows."""
        long = "Anna lives in Paris. 王小明在北京读书。 " * (1 + self.max_length // 12)
        plain: list[dict[str, list[Any]]] = [
            {"question": ["Where does Anna live?"], "context": ["Anna lives in Paris."]},
            {
                "question": ["谁在北京读书？", "", "Who?", "Where 😀?"],
                "context": ["王小明在北京大学读书。", "no question", "", long],
            },
        ]
        decided = [
            {**request, "threshold": [0.0, -1e3, 0.0, -1e3][: len(request["question"])]} for request in plain
        ]
        texts = [{"text": request["context"]} for request in plain]
        return {"serving_default": plain, "answer": decided, "tokenize": texts}

    def _windows(self, question: tf.RaggedTensor, context: ContextTokens) -> Windows:
        tokenizer = self.tokenizer
        asked = keep_first(question, self.config.max_question_length)
        marks = (tokenizer.first_id, tokenizer.special_tokens["separator"], tokenizer.end_id)
        return cut_windows(asked, context.token_ids, self.max_length, self.stride, marks, tokenizer.pad_id)

    def _allowed(self, context: ContextTokens, windows: Windows) -> tf.Tensor:
        """bool [N, T]: the first place, for no answer, and those where a span may start and end."""
        inside, number = windows.context_places()
        allowed = inside & of_tokens(context.allowed, windows.row[:, None], number, False)
        return tf.concat([tf.ones_like(allowed[:, :1]), allowed[:, 1:]], axis=1)

    def _kept(
        self, questions: np.ndarray, windows: Windows, whole: np.ndarray, answered: np.ndarray
    ) -> np.ndarray:
        """bool [N]: all windows but, by a hash, some that do not hold the answer that others of the context do."""
        row = windows.row.numpy()
        drawn = np.array(
            [zlib.crc32(questions[at] + b"%d" % first) for at, first in zip(row, windows.first.numpy())]
        )
        return whole | ~answered[row] | (drawn < self.config.other_windows * 2**32)

    def _logits(
        self, model: Any, token_ids: tf.Tensor, prefix_lengths: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """float32 [N, T, 2]."""
        features = {}
        if getattr(model.config, "num_segments", 0) > 1:
            features["segment_ids"] = segment_ids(token_ids, prefix_lengths)
        return model(token_ids, training=training, **features)

    def _loss(
        self, logits: tf.Tensor, batch: Batch, soft: SoftTargets | None = None, targets: tf.Tensor = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        is_place = batch["places"][..., None] > 0
        logits = tf.where(is_place, logits, LOWEST)
        losses = [
            tf.nn.sparse_softmax_cross_entropy_with_logits(batch[name], logits[..., side])
            for side, name in enumerate(("starts", "ends"))
        ]
        if soft is not None:
            targets = tf.where(is_place, targets, LOWEST)
            losses = [
                soft.mixed(own, logits[..., side], targets[..., side]) for side, own in enumerate(losses)
            ]
        weights = batch["row_weights"]
        return tf.reduce_sum((losses[0] + losses[1]) / 2 * weights), tf.reduce_sum(weights)

    def _spans(self, model: Any, context: ContextTokens, windows: Windows) -> tuple[ScoredSpans, tf.Tensor]:
        """The best spans of each question, in tokens of its context; and the score of no answer, float32 [B]."""
        logits = self._logits(model, windows.token_ids, windows.prefix_length, training=False)
        inside, number = windows.context_places()
        allowed = inside & self._allowed(context, windows)
        count = _SPARE * self.config.num_answers
        best = best_spans(logits[..., 0], logits[..., 1], allowed, self.config.max_answer_length, count)
        start, end = (tf.gather(number, place, batch_dims=1) for place in (best.start, best.end))
        num_rows = tf.cast(context.token_ids.nrows(), tf.int32)
        none = tf.math.unsorted_segment_min(tf.reduce_sum(logits[:, 0], axis=-1), windows.row, num_rows)
        return join_windows(ScoredSpans(best.score, start, end), windows.row, num_rows), none

    def _answer(
        self, model: Any, question: tf.Tensor, context: tf.Tensor, threshold: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        tokens = context_tokens(self.tokenizer, context)
        asked = self.tokenizer.tokenize(question)
        windows = self._windows(asked, tokens)
        best, none = self._spans(model, tokens, windows)
        real = best.is_real()
        row = tf.range(tf.shape(context)[0])[:, None]
        start = tf.where(real, of_tokens(tokens.starts, row, best.start, 0), 0)
        end = tf.where(real, of_tokens(tokens.ends, row, best.end, 0), 0)
        clean = replace_invalid_utf8(context)
        texts = tf.strings.substr(
            tf.repeat(clean[:, None], tf.shape(start)[1], axis=1), start, end - start, unit="UTF8_CHAR"
        )
        order, new = keep_distinct(texts, real, self.config.num_answers)
        texts, start, end, score = (
            tf.where(new, tf.gather(values, order, batch_dims=1), filling)
            for values, filling in ((texts, ""), (start, -1), (end, -1), (best.score, LOWEST))
        )
        shares = tf.nn.softmax(tf.concat([none[:, None], score], axis=1))
        margin = score[:, 0] - none
        answered = margin > threshold
        return {
            "answer": tf.where(answered, texts[:, 0], ""),
            "start": tf.where(answered, start[:, 0], -1),
            "end": tf.where(answered, end[:, 0], -1),
            "score": tf.where(answered, shares[:, 1], shares[:, 0]),
            "margin": margin,
            "answers": texts,
            "starts": start,
            "ends": end,
            "scores": shares[:, 1:],
            "truncated": is_longer(asked, self.config.max_question_length),
        }


def _place_of(numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """int [N]: the place of `wanted` int [N] in each row; 0 if it does not occur or is negative."""
    found = (numbers == wanted[:, None]) & (wanted[:, None] >= 0)
    return found.argmax(axis=1)


@task_recipe(QuestionAnswering)
def question_answering(config: Any, num_examples: int) -> Any:
    """A span of a text that answers a question. By pieces of words, with every Chinese character by itself, so that an
    answer begins and ends with one."""
    training = dataclasses.replace(
        config.training,
        num_steps=num_steps(num_examples, epochs=6, least=500, most=5000),
        optimizer="muon",
        peak_learning_rate=1e-2,
    )
    return dataclasses.replace(
        config,
        tokenizer=TokenizerConfig(kind="wordpiece", vocab_size=8000),
        task=QuestionAnsweringConfig(other_windows=0.2),
        model=small_encoder(num_layers=3, max_length=192, dropout=0.1),
        training=training,
    )
