"""Classification: one label, or several, for a text or a pair of texts."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.config import option
from tflm.data import Batches, RowBatches, TokenStore, UnknownLabelError
from tflm.data.labels import find_labels, find_spelling, parse_weight, unknown_label
from tflm.errors import UserError
from tflm.layers import PooledHead
from tflm.layers.heads import POOLINGS
from tflm.models import (
    HeadModel,
    LSTMEncoderConfig,
    ModelConfig,
    Ngram,
    NgramClassifier,
    TextModel,
    WideAndDeep,
)
from tflm.tasks.columns import Columns
from tflm.tasks.features.ngram_part import NgramPart
from tflm.tasks.features.rows import Cut, is_longer, join, keep_first
from tflm.tasks.losses import divergence
from tflm.tasks.registry import register_task
from tflm.tasks.signatures.explain_labels import label_explanation_requests, label_explanations
from tflm.tasks.soft_targets import SoftTargets
from tflm.tasks.task import TEXT, Batch, Features, Task, TaskConfig, TaskReport, mean
from tflm.tasks.task_recipes import task_recipe
from tflm.text import Tokenizer
from tflm.text.ngrams import UNITS

_PAIR = tf.TensorSpec([None], tf.string, "text_pair")


@dataclasses.dataclass(frozen=True)
class ClassificationConfig(TaskConfig):
    """Settings of `TextClassification`."""

    kind: str = "classification"
    text_pair: bool = False
    """Each example is two texts: `text` and `text_pair`."""
    label_separator: str = ""
    """An example may have several labels, written with this between them ("red|round"); "" for exactly one."""
    pooling: str = "mean"
    """Pooling of the hidden states of a text: the first token, the last, the mean or the maximum of all."""
    hidden_layer: bool = False
    """A dense layer with tanh before the output."""
    dropout: float = 0.1
    """In the head."""
    label_smoothing: float = 0.0
    """Fraction of a target's probability that is spread evenly over all labels in training (Szegedy et al., 2016)."""
    threshold: float = 0.5
    """With several labels: minimum probability of a label."""
    label_weights: tuple[str, ...] = option(())
    """"LABEL=WEIGHT" each, 1 for the others: the label with the greatest probability times its weight is chosen, such
    as a rare one that must not be missed (Elkan, 2001, section 2). Probabilities stay as they are."""
    r_drop: float = option(0.0)
    """R-Drop (Liang et al., 2021): each batch is computed twice in training, under two dropout masks, and this times
    the divergence between the two predictions is added to the loss; 1 to 5 are usual. Twice the time and memory."""
    ngrams: str = option("")
    """characters or words: a linear classifier over their n-grams is computed from the training side and combined with
    the network (see docs/training.md); with model.kind=ngram it is all there is. "" for none."""
    ngram_buckets: int = option(2**18)
    """Hash buckets of the n-grams, a power of 2. With more than 128 labels fewer, so that 2^25 weights are enough."""

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is one of {', '.join(POOLINGS)}; got {self.pooling!r}.")
        if self.label_weights and self.label_separator:
            raise ValueError("label_weights choose one label; with label_separator set threshold.")
        for assignment in self.label_weights:
            parse_weight(assignment)
        if self.r_drop < 0.0:
            raise ValueError(f"r_drop is not negative; got {self.r_drop}.")
        if self.ngrams not in ("", *UNITS):
            raise ValueError(f"ngrams is {', '.join(UNITS)} or empty; got {self.ngrams!r}.")
        if self.ngram_buckets < 2 or self.ngram_buckets & (self.ngram_buckets - 1):
            raise ValueError(f"ngram_buckets is a power of 2; got {self.ngram_buckets}.")


@register_task("classification")
class TextClassification(Task):
    """Rows of start, text, end; with a pair start, text, separator, text_pair, end (Devlin et al., 2019).

    `serving_default` and `classify` give `label`, `scores` [B, C] (probabilities), `labels` [B, C], and `truncated`
    [B], whether the end of a text was left out because a row does not hold it.

    With `ngrams`, a linear classifier over n-grams is computed before the first step, and before each evaluation how it
    and the network are combined; see `tflm.tasks.features.ngram_fit`.
    """

    config_class = ClassificationConfig
    architectures = ("encoder", "decoder", "skip-gram model", "bag of n-grams")
    columns = Columns(("text", "label"), optional=("text_pair",))
    augmented = ("text", "text_pair")
    has_labels = True
    has_soft_targets = True

    def __init__(
        self, config: ClassificationConfig, tokenizer: Tokenizer, max_length: int, labels: Sequence[str]
    ) -> None:
        super().__init__(tokenizer, max_length)
        self.config, self.labels = config, tuple(labels)
        if len(self.labels) < 2:
            raise UserError(f"classification needs two labels at least; the data has {list(self.labels)}.")
        if config.text_pair and "separator" not in tokenizer.special_tokens:
            raise UserError(
                "pairs of texts need a tokenizer with the special token 'separator'; it has "
                f"{list(tokenizer.special_tokens)}. Train one with special_tokens=('separator',)."
            )
        weights = dict(map(parse_weight, config.label_weights))
        if unknown := sorted(set(weights) - set(self.labels)):
            raise UserError(
                f"task.label_weights names {', '.join(map(repr, unknown))}; the labels are {', '.join(self.labels)}."
            )
        self._log_weights = np.log([weights.get(label, 1.0) for label in self.labels]).astype(np.float32)
        self.ngrams: NgramPart | None = None
        if config.ngrams:
            several = bool(config.label_separator)
            self.ngrams = NgramPart(config.ngrams, config.ngram_buckets, len(self.labels), several)

    @classmethod
    def check_model(cls, config: TaskConfig, model: ModelConfig) -> None:
        """Also that a model of n-grams has some."""
        super().check_model(config, model)
        if model.kind == "ngram" and not getattr(config, "ngrams", ""):
            raise UserError(
                "model.kind='ngram' needs task.ngrams: words, or characters for Chinese and Japanese; it is empty. Add "
                "--set task.ngrams=words."
            )

    @classmethod
    def report(cls, config: ClassificationConfig) -> TaskReport:
        """Accuracy and F1; with one label each next to a logistic regression."""
        baseline = "" if config.label_separator else "logistic_regression"
        return TaskReport("labels", "classify", ("text", "text_pair", "label"), baseline, known_labels=True)

    @classmethod
    def find_labels(cls, config: ClassificationConfig, examples: Iterable[dict[str, str]]) -> list[str]:
        """See `find_labels`."""
        return find_labels(examples, config.label_separator)

    @classmethod
    def label_separator(cls, config: ClassificationConfig) -> str:
        """Where examples may have several labels."""
        return config.label_separator

    def model_for(self, body: TextModel) -> Any:
        """The body with a pooled head, and n-grams next to it or in its place."""
        config = self.config
        if self.ngrams and isinstance(body, Ngram):
            return NgramClassifier(body, len(self.labels), self.ngrams.num_buckets)
        head = PooledHead(
            len(self.labels), config.pooling, config.dropout, config.hidden_layer, name="classification_head"
        )
        if self.ngrams:
            return WideAndDeep(body, head, len(self.labels), self.ngrams.num_buckets)
        return HeadModel(body, head)

    def encode(self, examples: dict[str, tf.Tensor]) -> Features:
        """`{"text": ["ab"], "label": ["good"]}` to `{"token_ids": [[start, a, b, end]], "prefix_length": [3],
        "label_ids": [[2]]}`; a label's id is its place among the labels plus 1. With `ngrams` also `ngram_ids`,
        `ngram_counts` and the `fold` of the text."""
        text, text_pair = examples["text"], examples.get("text_pair")
        rows, prefix_length = self._rows(text, text_pair)
        features: Features = {
            "token_ids": rows.rows,
            "prefix_length": prefix_length,
            "label_ids": self._label_ids(examples),
        }
        if self.ngrams:
            features |= {**self.ngrams.features(text, text_pair), "fold": self.ngrams.fold(text, text_pair)}
        return features

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Rows of like length together."""
        lengths = {"token_ids": self.max_length, "label_ids": len(self.labels)}
        if self.ngrams and not training:  # the network alone is trained by steps
            longest = max(1, int(store.lengths("ngram_ids").max(initial=0)))
            lengths |= {"ngram_ids": longest, "ngram_counts": longest}
        return RowBatches(store, batch_size, lengths, seed, training)

    def logits(self, model: Any, batch: Batch, training: bool) -> tf.Tensor:
        """float32 [B, C]."""
        features = {}
        if self.config.text_pair and getattr(model.config, "num_segments", 0) > 1:
            places = tf.range(tf.shape(batch["token_ids"])[1])[None]
            features["segment_ids"] = tf.cast(places >= batch["prefix_length"][:, None], tf.int32)
        features |= {name: batch[name] for name in ("ngram_ids", "ngram_counts") if name in batch}
        return model(batch["token_ids"], training=training, **features)

    def loss(self, model: Any, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Summed cross entropy of the rows (of all labels of a row where it may have several), and their number."""
        return self._loss(model, batch, training, None)

    def distilled_loss(self, model: Any, batch: Batch, soft: SoftTargets) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Task`. With `ngrams`, the network learns from the teacher's network alone."""
        return self._loss(model, batch, True, soft)

    def _loss(
        self, model: Any, batch: Batch, training: bool, soft: SoftTargets | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if training and isinstance(model, NgramClassifier):  # it has no weights that steps change
            return tf.constant(0.0), tf.reduce_sum(batch["row_weights"])
        logits, weights = self.logits(model, batch, training), batch["row_weights"]
        if training and self.ngrams:
            weights *= tf.cast(batch["fold"] > 0, tf.float32)
        losses = self._losses(logits, batch, training)
        if training and self.config.r_drop:
            other = self.logits(model, batch, training)
            losses = 0.5 * (losses + self._losses(other, batch, training))
            losses += self.config.r_drop * self._divergence(logits, other)
        if soft is not None:
            targets = self.logits(soft.teacher, batch, training=False)
            losses = soft.mixed(losses, logits, targets, several=bool(self.config.label_separator))
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)

    def sums(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """Also `correct`: rows whose every label was found, and no other."""
        logits, weights = self.logits(model, batch, training=False), batch["row_weights"]
        losses = self._losses(logits, batch, training=False)
        right = tf.reduce_all(tf.equal(self._chosen(logits), self._wanted(batch) > 0.5), axis=1)
        return {
            "loss": tf.reduce_sum(losses * weights),
            "weight": tf.reduce_sum(weights),
            "correct": tf.reduce_sum(tf.cast(right, tf.float32) * weights),
        }

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """`loss` in nats an example, `accuracy`, and the number of examples they are over."""
        weight = sums["weight"]
        return {
            "loss": mean(sums["loss"], weight),
            "accuracy": mean(sums["correct"], weight),
            "num_examples": weight,
        }

    def start(self, model: Any, store: TokenStore) -> str:
        """Computes the linear classifier of a new model with `ngrams`."""
        return self.ngrams.start(model, store) if self.ngrams else ""

    def calibrate(self, model: Any, store: TokenStore) -> str:
        """Chooses how n-grams and network are combined, by the texts of fold 0, which the network does not train on."""
        if self.ngrams is None or isinstance(model, NgramClassifier):
            return ""

        def network(batch: Batch) -> tf.Tensor:
            return self.logits(model, batch, training=False)

        return self.ngrams.calibrate(model, store, network, self.max_length)

    def signatures(self, model: Any) -> dict[str, Callable[..., Any]]:
        """`classify`, the same as `serving_default`, and `tokenize`."""
        inputs = [TEXT, _PAIR] if self.config.text_pair else [TEXT]

        def classify(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._classify(model, text, None)

        def classify_pair(text: tf.Tensor, text_pair: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._classify(model, text, text_pair)

        function = classify_pair if self.config.text_pair else classify
        return {
            "serving_default": tf.function(function, input_signature=inputs, autograph=False),
            "classify": tf.function(function, input_signature=inputs, autograph=False),
            "tokenize": self.tokenize_signature(),
        }

    def explanations(self, model: Any, writer: Any = None) -> dict[str, Callable[..., Any]]:
        """See `label_explanations`."""
        del writer
        return label_explanations(self, model, [TEXT, _PAIR] if self.config.text_pair else [TEXT])

    def explanation_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """The texts of `example_requests`, with one method a row."""
        return label_explanation_requests(self.example_requests()["classify"])

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """One row and several of unequal length, in English and in Chinese."""
        batches = [["A fine film."], ["很好，下次还会买", "", "not good, not bad", "质量 very good 😀"]]
        plain = [{"text": list(batch)} for batch in batches]
        pairs = [{**request, "text_pair": request["text"][::-1]} for request in plain]
        requests = pairs if self.config.text_pair else plain
        return {"serving_default": requests, "classify": requests, "tokenize": plain}

    def _classify(self, model: Any, text: tf.Tensor, text_pair: tf.Tensor | None) -> dict[str, tf.Tensor]:
        batch, truncated = self.batch_of(text, text_pair)
        logits = self.logits(model, batch, training=False)
        return {
            "label": self._label_text(logits),
            "scores": tf.sigmoid(logits) if self.config.label_separator else tf.nn.softmax(logits),
            "labels": tf.tile(tf.constant(self.labels)[None], [tf.shape(logits)[0], 1]),
            "truncated": truncated,
        }

    def batch_of(self, text: tf.Tensor, text_pair: tf.Tensor | None) -> tuple[Batch, tf.Tensor]:
        """What `logits` takes of texts string [B], and which of them were cut, bool [B]."""
        rows, prefix_length = self._rows(text, text_pair)
        batch = {"token_ids": rows.rows.to_tensor(self.tokenizer.pad_id), "prefix_length": prefix_length}
        if self.ngrams:
            batch |= {name: each.to_tensor(0) for name, each in self.ngrams.features(text, text_pair).items()}
        return batch, rows.truncated

    def _rows(self, text: tf.Tensor, text_pair: tf.Tensor | None) -> tuple[Cut, tf.Tensor]:
        """Rows int32 [B, (T)], and how many of each row's tokens belong to the first text, int32 [B]."""
        tokenizer = self.tokenizer
        if not self.config.text_pair:
            tokens, room = tokenizer.tokenize(text), self.max_length - 2
            first = join(tokenizer.start_id, keep_first(tokens, room))
            rows = Cut(join(first, tokenizer.end_id), is_longer(tokens, room))
            return rows, tf.cast(first.row_lengths(), tf.int32)
        half = (self.max_length - 3) // 2
        second = tokenizer.tokenize(text_pair)
        # The first text may have what the second leaves.
        room = self.max_length - 3 - tf.minimum(tf.cast(second.row_lengths(), tf.int32), half)
        tokens = tokenizer.tokenize(text)
        first = join(tokenizer.start_id, keep_first(tokens, room), tokenizer.special_tokens["separator"])
        lengths = tf.cast(first.row_lengths(), tf.int32)
        rest = self.max_length - 1 - lengths
        rows = join(first, keep_first(second, rest), tokenizer.end_id)
        return Cut(rows, is_longer(tokens, room) | is_longer(second, rest)), lengths

    def _label_ids(self, examples: dict[str, tf.Tensor]) -> tf.RaggedTensor:
        labels = examples["label"]
        if self.config.label_separator:
            rows = tf.strings.split(labels, self.config.label_separator)
            rows = rows.with_flat_values(tf.strings.strip(rows.flat_values))
            rows = tf.ragged.boolean_mask(rows, tf.strings.length(rows) > 0)
        else:
            rows = tf.RaggedTensor.from_tensor(labels[:, None])
        spelling_of, ids = find_spelling(self.labels), []
        for label in (each.decode() for each in rows.flat_values.numpy()):
            known = spelling_of(label)
            if known is None:
                raise UnknownLabelError(unknown_label(label, self.labels), self.labels)
            ids.append(self.labels.index(known) + 1)
        return rows.with_flat_values(tf.constant(ids, tf.int32))

    def _wanted(self, batch: Batch) -> tf.Tensor:
        """float32 [B, C], 1 for each label of a row."""
        return tf.reduce_max(tf.one_hot(batch["label_ids"] - 1, len(self.labels)), axis=1)

    def _losses(self, logits: tf.Tensor, batch: Batch, training: bool) -> tf.Tensor:
        wanted = self._wanted(batch)
        if self.config.label_separator:
            return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits), axis=1)
        if training and self.config.label_smoothing:
            share = self.config.label_smoothing
            wanted = wanted * (1.0 - share) + share / len(self.labels)
        return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)

    def _divergence(self, logits: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """See `divergence`; with several labels, the sum of theirs. float32 [B]."""
        if not self.config.label_separator:
            return divergence(logits, other)
        return 0.5 * tf.reduce_sum((tf.sigmoid(logits) - tf.sigmoid(other)) * (logits - other), axis=1)

    def _chosen(self, logits: tf.Tensor) -> tf.Tensor:
        """bool [B, C]."""
        if self.config.label_separator:
            return tf.sigmoid(logits) >= self.config.threshold
        return tf.one_hot(self.best(logits), len(self.labels), on_value=True, off_value=False)

    def best(self, logits: tf.Tensor) -> tf.Tensor:
        """int64 [B], the place of the label that is chosen of float32 [B, C], where there is one."""
        return tf.argmax(logits + self._log_weights, axis=1)

    def _label_text(self, logits: tf.Tensor) -> tf.Tensor:
        """string [B]: the label that is chosen; or all that reach the threshold, with the separator between."""
        names = tf.constant(self.labels)
        if not self.config.label_separator:
            return tf.gather(names, self.best(logits))
        chosen = self._chosen(logits)
        rows = tf.RaggedTensor.from_row_lengths(
            tf.gather(names, tf.where(chosen)[:, 1]), tf.math.count_nonzero(chosen, axis=1)
        )
        return tf.strings.reduce_join(rows, axis=1, separator=self.config.label_separator)


@task_recipe(TextClassification)
def classification(config: Any, num_examples: int) -> Any:
    """A label for a text, or for a pair of texts."""
    del num_examples
    text_pair = bool(config.data.text_pair_column)
    ngrams = "characters" if config.tokenizer.kind == "character" else "words"
    return dataclasses.replace(
        config,
        task=ClassificationConfig(text_pair=text_pair, pooling="max", dropout=0.4, ngrams=ngrams),
        model=LSTMEncoderConfig(num_layers=1, max_length=256, dropout=0.4, token_dropout=0.2),
    )
