"""What a check asks of a model: one prediction for each text, whatever the task is."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tflm.errors import UserError
from tflm.serving.about import config_section
from tflm.text.words import comparable, one_line

if TYPE_CHECKING:
    from tflm.serving import ModelHandle

Row = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of a text."""

    answer: str
    """The label; the labels of the spans, the answer or the generated text, as they are compared; "" of a
    similarity."""
    score: float = math.nan
    """Probability of the answer, or the similarity; NaN without one."""
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    """Of a classifier: label to probability."""

    @property
    def is_valid(self) -> bool:
        """Whether all numbers are finite."""
        values = list(self.scores.values())
        return all(map(math.isfinite, values)) and (math.isnan(self.score) or math.isfinite(self.score))


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A model as a function of rows of texts."""

    kind: str
    """classify, tag, similarity, answer, generate or chat."""
    names: tuple[str, ...]
    """What the model takes: ("text",), ("text", "text_pair") or ("question", "context")."""
    changed: tuple[str, ...]
    """Those of them that perturbations change."""
    appended: tuple[str, ...]
    """Those of them to whose end perturbations add."""
    predict: Callable[[Sequence[Row]], list[Prediction]]
    """A prediction for each row."""
    separator: str = ""
    """Of a classifier: what is between the labels of a text that may have several."""

    @property
    def has_labels(self) -> bool:
        """Whether there is a probability for each label."""
        return self.kind == "classify"


def predictor_of(model: "ModelHandle", batch_size: int = 32, max_new_tokens: int = 32) -> Predictor:
    """What a check asks of a model.

    Args:
        model: from `tflm.load`.
        batch_size: texts of a request.
        max_new_tokens: of a generative model; greedy.
    Raises:
        UserError: none of the model's signatures can be checked.
    """
    options: dict[str, Any] = {"batch_size": batch_size}

    def columns(rows: Sequence[Row]) -> list[list[str]]:
        return [list(column) for column in zip(*rows, strict=True)]

    def classify(rows: Sequence[Row]) -> list[Prediction]:
        found = model.classify(*columns(rows), **options)
        return [Prediction(each.label, _number(each.score), each.scores) for each in found]

    def tag(rows: Sequence[Row]) -> list[Prediction]:
        found = model.tag(columns(rows)[0], **options)
        return [Prediction(" ".join(span.label for span in spans)) for spans in found]

    def similarity(rows: Sequence[Row]) -> list[Prediction]:
        return [Prediction("", value) for value in model.similarity(*columns(rows), **options)]

    def answer(rows: Sequence[Row]) -> list[Prediction]:
        found = model.answer(*columns(rows), **options)
        return [Prediction(comparable(one_line(each.text)), each.score) for each in found]

    def generate(rows: Sequence[Row]) -> list[Prediction]:
        texts = model.generate(columns(rows)[0], temperature=0.0, max_new_tokens=max_new_tokens, **options)
        return [Prediction(comparable(one_line(text))) for text in texts]

    def chat(rows: Sequence[Row]) -> list[Prediction]:
        conversations = [[{"role": "user", "content": text}] for text in columns(rows)[0]]
        texts = model.chat(conversations, temperature=0.0, max_new_tokens=max_new_tokens, **options)
        return [Prediction(comparable(one_line(text))) for text in texts]

    pair = ("text", "text_pair")
    kinds: tuple[tuple[str, Row, Row, Row, Callable[[Sequence[Row]], list[Prediction]]], ...] = (
        ("classify", ("text",), ("text",), ("text",), classify),
        ("tag", ("text",), ("text",), ("text",), tag),
        ("similarity", pair, ("text",), ("text",), similarity),
        ("answer", ("question", "context"), ("question",), ("context",), answer),
        ("chat", ("text",), ("text",), ("text",), chat),
        ("generate", ("text",), ("text",), ("text",), generate),
    )
    for kind, names, changed, appended, predict in kinds:
        if kind not in model.methods:
            continue
        if kind == "classify" and "text_pair" in model.signatures["classify"].inputs:
            names, changed = pair, pair
        separator = (
            str(config_section(model, "task").get("label_separator", "")) if kind == "classify" else ""
        )
        return Predictor(kind, names, changed, appended, predict, separator)
    raise UserError(
        f"{model.path!r} has nothing to check: it has {', '.join(model.signatures)}. Give a classifier, a tagger, a "
        "model of similarity, of questions, or a generative model."
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
