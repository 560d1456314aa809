"""Tagging: spans of a text and a label for each, such as names, or words; in code points of the text as given."""

import collections
import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tflm.data import Batches, RowBatches, TokenStore, UnknownLabelError
from tflm.data.labels import find_spelling, joined_labels, unknown_label
from tflm.errors import UserError
from tflm.layers import TokenHead
from tflm.models import HeadModel, TextModel
from tflm.tasks.columns import JSON_LINES, Columns
from tflm.tasks.features.rows import join, keep_first
from tflm.tasks.features.windows import by_blocks, places_in_windows, text_windows
from tflm.tasks.registry import register_task
from tflm.tasks.signatures.explain_spans import tag_explanations
from tflm.tasks.signatures.explanations import attribute_request
from tflm.tasks.soft_targets import SoftTargets
from tflm.tasks.task import TEXT, Batch, Features, Task, TaskConfig, TaskReport, mean
from tflm.tasks.task_recipes import small_encoder, task_recipe
from tflm.text import Tokenizer, TokenizerConfig
from tflm.text.token_offsets import changes, token_offsets

_TAGGED = {".conll": "conll", ".bio": "conll", ".bioes": "conll", ".txt": "segmented", ".utf8": "segmented"}


@dataclasses.dataclass(frozen=True)
class TaggingConfig(TaskConfig):
    """Settings of `Tagging`."""

    kind: str = "tagging"
    dropout: float = 0.1
    """In the head."""


@register_task("tagging")
class Tagging(Task):
    """Rows of start, text, end; the tokens of a span are tagged B-LABEL I-LABEL ..., all others O (Ramshaw and Marcus,
    1995, the scheme called IOB2). A text of more than `max_length` - 2 tokens is learned from to there; the signatures
    read the whole of it, in windows that overlap by half, and tag each token in the window where it has most context.

    A tag covers whole characters: of tokens that share one (the bytes of an emoji), the first has the tag and the
    others are ignored. `token_offsets` gives the characters of a token.
    """

    config_class = TaggingConfig
    architectures = ("encoder",)
    columns = Columns(("text", "spans"), sources={**JSON_LINES, **_TAGGED})
    has_labels = True
    has_soft_targets = True

    def __init__(
        self, config: TaggingConfig, tokenizer: Tokenizer, max_length: int, labels: Sequence[str]
    ) -> None:
        super().__init__(tokenizer, max_length)
        self.config, self.labels = config, tuple(labels)
        self._spelling_of = find_spelling(self.labels)
        if not self.labels:
            raise UserError("tagging needs one label at least; no text of the training side has a span.")

    @classmethod
    def report(cls, config: TaggingConfig) -> TaskReport:
        """F1 of the spans."""
        del config
        return TaskReport("spans", "tag", ("text", "spans"))

    @classmethod
    def find_labels(cls, config: TaggingConfig, examples: Iterable[dict[str, str]]) -> list[str]:
        """See `find_span_labels`."""
        del config
        return find_span_labels(examples)

    def model_for(self, body: TextModel) -> HeadModel:
        """The body with a head on each token: O, and B and I of each label."""
        return HeadModel(body, TokenHead(1 + 2 * len(self.labels), self.config.dropout, name="tagging_head"))

    def encode(self, examples: dict[str, tf.Tensor]) -> Features:
        """Tokens and tags; a span that ends inside a token is widened to the token, and of two in one token the first
        stays.

            {"text": ["to York"], "spans": ['[[3, 7, "LOC"]]']}, pieces "to", " Yo", "rk", with LOC as the one label
            token_ids [[start, to, _Yo, rk, end]], tag_ids [[0, 1, 2, 3, 0]], num_widened [0], num_lost [0]

        A tag's id is 1 for O, 2 and 3 for B and I of the first label, 4 and 5 of the second; 0 is not asked. Not a
        function for a graph: the spans are JSON.

        Raises:
            UserError: no spans, spans that are not as above, or a label that the training side does not have.
        """
        token_ids, starts, ends = self._rows(examples["text"])
        tags, num_widened, num_lost = [], [], []
        columns = zip(*([text.decode() for text in column.numpy()] for column in examples.values()))
        rows = (np.split(each.flat_values.numpy(), each.row_splits[1:-1].numpy()) for each in (starts, ends))
        for values, row_starts, row_ends in zip(columns, *rows):
            spans = read_spans(dict(zip(examples, values)))
            row, widened, lost = self._row_tags(row_starts, row_ends, spans)
            tags.append(row)
            num_widened.append(widened)
            num_lost.append(lost)
        flat = tf.constant(np.concatenate([*tags, np.zeros(0)]), tf.int32)
        return {
            "token_ids": join(self.tokenizer.first_id, token_ids, self.tokenizer.end_id),
            "tag_ids": join(0, token_ids.with_flat_values(flat), 0),
            "num_widened": tf.constant(num_widened, tf.int32),
            "num_lost": tf.constant(num_lost, tf.int32),
        }

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Rows of like length together. Logs how many spans do not begin and end where tokens do."""
        widened, lost = (int(store.values(name).sum()) for name in ("num_widened", "num_lost"))
        if widened or lost:
            logging.warning(
                "spans: %d were widened to whole tokens or cut at max_length, %d lost, with another span in the same "
                "token or beyond max_length. Shorter tokens (tokenizer.kind=character) or a greater max_length help.",
                widened,
                lost,
            )
        lengths = dict.fromkeys(("token_ids", "tag_ids"), self.max_length)
        return RowBatches(store, batch_size, lengths, seed, training)

    def loss(self, model: Any, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Summed cross entropy of the tokens that have a tag, and their number."""
        logits = model(batch["token_ids"], training=training)
        return self._loss(logits, batch["tag_ids"])

    def distilled_loss(self, model: Any, batch: Batch, soft: SoftTargets) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Task`."""
        logits = model(batch["token_ids"], training=True)
        targets = soft.teacher(batch["token_ids"], training=False)
        return self._loss(logits, batch["tag_ids"], soft, targets)

    def sums(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """Also `correct`: tokens whose tag was found."""
        logits, tags = model(batch["token_ids"], training=False), batch["tag_ids"]
        loss, weight = self._loss(logits, tags)
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32) + 1, tags)
        return {"loss": loss, "weight": weight, "correct": tf.reduce_sum(tf.cast(right, tf.float32))}

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """`loss` in nats a token, `accuracy` of the tokens' tags, and the number of tokens they are over."""
        weight = sums["weight"]
        accuracy = mean(sums["correct"], weight)
        return {"loss": mean(sums["loss"], weight), "accuracy": accuracy, "num_tokens": weight}

    def signatures(self, model: Any) -> dict[str, Callable[..., Any]]:
        """`tag`, the same as `serving_default`, and `tokenize`.

        `tag` gives `start` and `end` int32 [B, N] (code points, the end after the last one), `label` string [B, N] and
        `score` float32 [B, N], the mean probability of the span's tags; rows with fewer spans are filled with -1, ""
        and 0. `num_spans` int32 [B] counts those that are real. The whole text is read, however long it is.
        """

        def tag(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._tag(model, text)

        functions = {
            name: tf.function(tag, input_signature=[TEXT], autograph=False)
            for name in ("serving_default", "tag")
        }
        return {**functions, "tokenize": self.tokenize_signature()}

    def explanations(self, model: Any, writer: Any = None) -> dict[str, Callable[..., Any]]:
        """See `tag_explanations`."""
        del writer
        return tag_explanations(self, model)

    def explanation_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """The texts of `example_requests`, with one method a row."""
        plain = self.example_requests()["tag"]
        return {"attribute": [attribute_request(each, False) for each in plain[:2]], "attention": plain[:2]}

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """One row and several of unequal length, in English and in Chinese; a text of several windows."""
        batches = [
            ["Anna lives in Paris."],
            ["王小明在北京大学读书。", "", "no name", "我用 iPhone 😀 in e\u0301te\u0301"],
            ["Anna lives in Paris. 王小明在北京读书。 " * (1 + self.max_length // 12)],
        ]
        plain = [{"text": list(batch)} for batch in batches]
        return {"serving_default": plain, "tag": plain, "tokenize": plain}

    def _rows(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, ...]:
        """Tokens, starts and ends as `token_offsets` gives them, as many as there is room for."""
        first, second, third = token_offsets(self.tokenizer, text)
        room = self.max_length - 2
        return keep_first(first, room), keep_first(second, room), keep_first(third, room)

    def _row_tags(
        self, starts: np.ndarray, ends: np.ndarray, spans: list[tuple[int, int, str]]
    ) -> tuple[np.ndarray, int, int]:
        """Tag ids [T] of one row's tokens, and how many spans were widened and lost."""
        asked, num_tokens = np.flatnonzero(starts >= 0), len(starts)
        starts, ends = starts[asked], ends[asked]
        tags = np.zeros(len(starts), np.int32)
        free = widened = lost = 0
        for start, end, label in sorted(spans):
            known = self._spelling_of(label)
            if known is None:
                raise UnknownLabelError(unknown_label(label, self.labels), self.labels)
            first = max(free, int(np.searchsorted(ends, start, side="right")))
            free = max(free, int(np.searchsorted(starts, end, side="left")))
            if first >= free:
                lost += 1
                continue
            widened += int(starts[first] != start or ends[free - 1] != end)
            tags[first:free] = 2 + 2 * self.labels.index(known)
            tags[first] -= 1
        all_tags = np.zeros(num_tokens, np.int32)
        all_tags[asked] = tags + 1
        return all_tags, widened, lost

    def _loss(
        self, logits: tf.Tensor, tags: tf.Tensor, soft: SoftTargets | None = None, targets: tf.Tensor = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(tags - 1, 0), logits)
        if soft is not None:
            losses = soft.mixed(losses, logits, targets)
        weights = tf.cast(tags > 0, tf.float32)
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)

    def _shares(self, model: Any, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """float32 [number of tokens, 1 + 2 * labels]: the probabilities of each token's tags."""
        room = self.max_length - 2
        stride = max(1, room // 2)
        tokenizer = self.tokenizer
        windows = text_windows(
            token_ids, self.max_length, stride, tokenizer.first_id, tokenizer.end_id, tokenizer.pad_id
        )
        places = places_in_windows(windows, token_ids, stride, room)
        shape = (None, 1 + 2 * len(self.labels))
        logits = by_blocks(lambda rows: model(rows, training=False), windows.token_ids, shape)
        return tf.nn.softmax(tf.gather_nd(logits, tf.stack(places, axis=1)))

    def _tag(self, model: Any, text: tf.Tensor) -> dict[str, tf.Tensor]:
        token_ids, starts, ends = token_offsets(self.tokenizer, text)
        shares = self._shares(model, token_ids)
        asked = starts.flat_values >= 0
        row, start, end, tag, share = (
            tf.boolean_mask(values, asked)
            for values in (
                starts.value_rowids(),
                starts.flat_values,
                ends.flat_values,
                tf.argmax(shares, axis=-1, output_type=tf.int32),
                tf.reduce_max(shares, axis=-1),
            )
        )
        begins, inside, number = find_spans(tag, row)
        num_spans = tf.math.count_nonzero(begins, dtype=tf.int32)
        score = tf.boolean_mask(share, inside)
        label = tf.gather(tf.constant(self.labels), (tf.boolean_mask(tag, begins) - 1) // 2)
        counts = tf.math.unsorted_segment_sum(tf.cast(begins, tf.int32), row, tf.shape(text)[0])

        def padded(values: tf.Tensor, filling: Any) -> tf.Tensor:
            return tf.RaggedTensor.from_row_lengths(values, counts, validate=False).to_tensor(filling)

        return {
            "start": padded(tf.boolean_mask(start, begins), -1),
            "end": padded(tf.math.unsorted_segment_max(tf.boolean_mask(end, inside), number, num_spans), -1),
            "label": padded(label, ""),
            "score": padded(tf.math.unsorted_segment_mean(score, number, num_spans), 0.0),
            "num_spans": counts,
        }


def find_spans(tags: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where spans begin and what is in them. An I with no B or I of its label before it begins a span, too.

    >>> find_spans([0, 1, 2, 2, 4, 0, 2], rows=[0, 0, 0, 0, 0, 1, 1])  # O B-a I-a I-a I-b, O I-a
    [F, T, F, F, T, F, T], [F, T, T, T, T, F, T], [0, 0, 0, 1, 2]

    Args:
        tags: int32 [N], 0 for O, 1 and 2 for B and I of the first label, 3 and 4 of the second.
        rows: int64 [N], the text that each token belongs to, rising.
    Returns:
        bool [N], the first token of a span; bool [N], any token of one; int32 [M], for those the number of the span.
    """
    labels = (tags + 1) // 2
    inside = labels > 0
    begins = inside & ((tags % 2 == 1) | changes(labels) | changes(rows))
    return begins, inside, tf.boolean_mask(tf.cumsum(tf.cast(begins, tf.int32)) - 1, inside)


def find_span_labels(examples: Iterable[dict[str, str]]) -> list[str]:
    """The labels of examples' spans, sorted. Spellings of one label, such as those in NFC and NFD, are joined.

    >>> find_span_labels([{"text": "a b", "spans": '[[0, 1, "PER"], [2, 3, "LOC"]]'}])
    ['LOC', 'PER']

    Raises:
        UserError: examples have no spans.
    """
    counts = collections.Counter(label for example in examples for _, _, label in read_spans(example))
    return sorted(joined_labels(counts))


def read_spans(example: dict[str, str]) -> list[tuple[int, int, str]]:
    """An example's spans, each (start, end, label).

    Raises:
        UserError: it has none, or they are not a JSON list of such triples.
    """
    if "spans" not in example:
        raise UserError(
            f"tagging needs spans; an example has only {', '.join(example)}. Set data.source to 'conll' or "
            "'segmented', or data.spans_column."
        )
    try:
        return [(int(start), int(end), str(label)) for start, end, label in json.loads(example["spans"])]
    except (ValueError, TypeError) as error:
        raise UserError(
            f'spans are a JSON list of [start, end, label], such as [[0, 2, "PER"]]; got {example["spans"][:80]!r}.'
        ) from error


@task_recipe(Tagging)
def tagging(config: Any, num_examples: int) -> Any:
    """Labelled spans of a text; by characters, so that a span may begin and end anywhere."""
    del num_examples
    return dataclasses.replace(
        config,
        tokenizer=TokenizerConfig(kind="character", vocab_size=4000),
        task=TaggingConfig(),
        model=small_encoder(),
        training=dataclasses.replace(config.training, optimizer="muon", peak_learning_rate=1e-2),
    )
