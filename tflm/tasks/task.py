"""What every task offers: features, batches, loss, metrics, the signatures of its export; and how it registers itself.

    @dataclasses.dataclass(frozen=True)
    class HeadlinesConfig(TaskConfig):
        kind: str = "headlines"

    @register_task("headlines")
    class Headlines(Task):
        config_class = HeadlinesConfig
        architectures = ("encoder",)
        columns = Columns(("text", "label"))
        report = TaskReport("labels", "classify", ("text", "label"))

docs/extending.md has a whole one.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from tflm.config import KindConfig, KindRegistry
from tflm.data import Batches, TokenStore
from tflm.errors import UserError
from tflm.generation import DecodingConfig
from tflm.models import ModelConfig, TextModel, model_class
from tflm.tasks.columns import Columns
from tflm.tasks.registry import TASKS
from tflm.tasks.soft_targets import SoftTargets
from tflm.text import Tokenizer

Batch = dict[str, tf.Tensor]
Features = dict[str, tf.RaggedTensor | tf.Tensor]
TEXT = tf.TensorSpec([None], tf.string, "text")


@dataclasses.dataclass(frozen=True)
class TaskConfig(KindConfig):
    """The base of the settings of a task; they set `kind`."""

    registry: ClassVar[KindRegistry[Any]] = TASKS


class TaskReport(NamedTuple):
    """What `tflm evaluate` reports of a task besides its loss."""

    name: str
    """The report's registered name; see `tflm.evaluation.reports`."""
    signature: str
    """The signature whose speed is reported."""
    keys: tuple[str, ...]
    """The columns of an example that are printed with its answer."""
    baseline: str = ""
    """ngram, logistic_regression, or "" for none."""
    known_labels: bool = False
    """Whether every label of an example has to be one that the model has learned."""
    beam_search: bool = False
    """Whether the signature `beam` may answer in place of `signature`."""


@dataclasses.dataclass(frozen=True)
class TaskInputs:
    """What a task is made from besides its config."""

    tokenizer: Tokenizer
    model: ModelConfig
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)
    """The settings of `serving_default`, of tasks that generate text."""
    labels_fn: Callable[[], Sequence[str]] = tuple
    """The labels of the training side; called by tasks that have labels."""


class Task(abc.ABC):
    """Training, evaluation and export see this interface and nothing else. A task is registered by `register_task`.

    Args:
        tokenizer: strings to ids.
        max_length: int, the longest row of tokens.
    """

    config_class: ClassVar[type[TaskConfig]]
    """The dataclass of its settings."""
    architectures: ClassVar[tuple[str, ...]]
    """The architectures of the models that it accepts; see `TextModel.architecture`."""
    columns: ClassVar[Columns] = Columns(("text",))
    """The columns that its examples have."""
    has_labels: ClassVar[bool] = False
    """Whether it has labels, which `find_labels` finds."""
    loss_covers_text: ClassVar[bool] = False
    """Whether the loss is over every token of the text that the model is asked for, so that bits per byte compare runs
    with different tokenizers."""
    augmented: ClassVar[tuple[str, ...]] = ()
    """The parts of an example that `data.augment` may change, since labels and targets stay right; empty where they do
    not."""
    has_soft_targets: ClassVar[bool] = False
    """Whether a teacher's predictions may be targets: `distilled_loss`."""
    few_widths: ClassVar[bool] = True
    """Whether a training batch has one of a few widths (`WindowedBatches`): a kernel may be compiled for each."""
    config: Any

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length

    @classmethod
    def create(cls, config: Any, inputs: TaskInputs) -> "Task":
        """The task of a config. A task whose `__init__` has other arguments overrides this.

        Raises:
            UserError: tokenizer, lengths or labels do not fit.
        """
        arguments = [config, inputs.tokenizer, inputs.model.max_length]
        return cls(*arguments, *([inputs.labels_fn()] if cls.has_labels else []))

    @classmethod
    def check_model(cls, config: TaskConfig, model: ModelConfig) -> None:
        """
        Raises:
            UserError: the task does not accept this family of models.
        """
        if model_class(model).architecture not in cls.architectures:
            wanted = [f"{'an' if each[0] in 'aeiou' else 'a'} {each}" for each in cls.architectures]
            listed = " or ".join([", ".join(wanted[:-1]), wanted[-1]] if len(wanted) > 1 else wanted)
            raise UserError(
                f"task.kind={config.kind!r} needs {listed}; model.kind is {model.kind!r}. Choose a preset "
                "with another model or another task."
            )

    @classmethod
    def report(cls, config: Any) -> TaskReport | None:
        """How `tflm evaluate` reports this task; None for its loss alone."""
        del config
        return None

    @classmethod
    def find_labels(cls, config: Any, examples: Iterable[dict[str, str]]) -> list[str]:
        """The labels of examples, of a task with `has_labels`."""
        raise NotImplementedError(f"{cls.__name__} has no labels.")

    @classmethod
    def label_separator(cls, config: Any) -> str:
        """What is between several labels of an example; "" where it has one."""
        del config
        return ""

    @classmethod
    def files(cls, config: Any) -> tuple[str, ...]:
        """Files that the task reads besides the data. Where one changes, the data is tokenised again."""
        del config
        return ()

    @abc.abstractmethod
    def encode(self, examples: dict[str, tf.Tensor]) -> Features:
        """Features of examples string [B], for `tflm.data.build_store`."""

    @abc.abstractmethod
    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Batches of a store that `encode` filled."""

    @abc.abstractmethod
    def loss(self, model: Any, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss as a sum, and its weight: float32 scalars. Over replicas and micro-batches both add up.

        Traced without AutoGraph: control flow on tensors is `tf.cond` and `tf.while_loop`.
        """

    def distilled_loss(self, model: Any, batch: Batch, soft: SoftTargets) -> tuple[tf.Tensor, tf.Tensor]:
        """`loss` in training against labels and a teacher's predictions, of a task with `has_soft_targets`."""
        raise NotImplementedError(f"{type(self).__name__} has no soft targets.")

    @abc.abstractmethod
    def signatures(self, model: Any) -> dict[str, Callable[..., Any]]:
        """Name to `tf.function`, as docs/architecture.md lists them."""

    @abc.abstractmethod
    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Requests for each signature, to check an export with and to warm a server up."""

    def requests(self, signatures: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """`example_requests`, and those of signatures that take what another gave: a request for each of `signatures`,
        which are this task's own, or some of them."""
        del signatures
        return self.example_requests()

    def explanations(self, model: Any, writer: Any = None) -> dict[str, Callable[..., Any]]:
        """The signatures `attribute` and `attention`, which an export has on request; none where a task has no such
        explanations.

        Args:
            writer: the `Writer` of the other signatures, of a task that generates text; a new one when None.
        """
        del model, writer
        return {}

    def explanation_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Requests for each of `explanations`, as `example_requests`."""
        return {}

    def export_signatures(
        self, model: Any, only: Collection[str] = ()
    ) -> tuple[dict[str, Callable[..., Any]], Any]:
        """The signatures of an export, and the `Writer` that they share where the task generates text, else None.

        Args:
            only: the names that are exported, all if empty. Others may be missing where they would take time.
        """
        del only
        return self.signatures(model), None

    def tokenize_signature(self) -> Callable[..., Any]:
        """`text` string [B] to `token_ids` int32 [B, T], padded with the pad id, and `lengths` int32 [B]."""

        @tf.function(input_signature=[TEXT], autograph=False)
        def tokenize(text: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = self.tokenizer.tokenize(text)
            return {
                "token_ids": rows.to_tensor(self.tokenizer.pad_id),
                "lengths": tf.cast(rows.row_lengths(), tf.int32),
            }

        return tokenize

    def model_for(self, body: TextModel) -> Any:
        """What is trained: the body, with a head where the task has one of its own."""
        return body

    def start(self, model: Any, store: TokenStore) -> str:
        """Gives a new model what is computed from the training side before the first step; once in a run.

        Returns:
            A line for the user, or "".
        Raises:
            UserError: the model reads counted n-grams, and has none of the weights that it began with.
        """
        del store
        layer = getattr(getattr(model, "body", model), "ngram_embedding", None)
        if layer is not None and not np.any(np.asarray(layer.table)):
            raise UserError(
                f"model.ngram_contexts={list(layer.contexts)}, but only the task language_modeling counts n-grams. "
                "Begin with a model of it (--init_from), or set model.ngram_contexts=[]."
            )
        return ""

    def calibrate(self, model: Any, store: TokenStore) -> str:
        """Changes what is not trained by steps, before each evaluation and at the end: a function of the weights and
        the training side.

        Returns:
            A line for the user, or "".
        """
        del model, store
        return ""

    def sums(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """What an evaluation adds up over the batches: `loss` and `weight`, and a task's own; float32 scalars."""
        loss, weight = self.loss(model, batch, training=False)
        return {"loss": loss, "weight": weight}

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """What is reported of the sums: `loss`, the mean, and whatever the task is measured by."""
        return {"loss": mean(sums["loss"], sums["weight"])}


def build_task(config: TaskConfig, inputs: TaskInputs) -> Task:
    """The task that a config describes, after a check that the model can do it.

    Raises:
        UserError: the task does not accept this family of models, or something else does not fit.
    """
    cls = TASKS.get(config.kind)
    cls.check_model(config, inputs.model)
    return cls.create(config, inputs)


def task_class(config: TaskConfig) -> type[Task]:
    """The class that a config belongs to; see `register_task`."""
    return TASKS.get(config.kind)


def mean(total: float, weight: float) -> float:
    """`total / weight`; not a number where nothing was weighed."""
    return total / weight if weight else math.nan
