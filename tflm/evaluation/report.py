"""What is reported of a trained model beside its loss, by the kind of its task; from what it answers alone.

fns = Signatures(lambda name: signature_fn(task.signatures(model)[name]))       # of a run
fns = Signatures(lambda name: functools.partial(connect(path).predict, name))   # of an export
REPORTS["pairs"].report_fn(fns, examples, config.task)
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tflm.evaluation.answers import AnswerFn, BatchedAnswers
from tflm.evaluation.document_losses import report_losses
from tflm.evaluation.label_report import report_labels
from tflm.evaluation.question_answering import report_answers
from tflm.evaluation.retrieval_report import report_retrieval
from tflm.evaluation.scripts import written_in_characters
from tflm.evaluation.spans import report_spans
from tflm.evaluation.text_report import report_texts

_MOST_SCORED = 8  # texts at a time: the logits of all their tokens are in memory together


class Signatures:
    """A model's signatures as functions, each made when it is first asked for.

    Args:
        find_fn: the name of a signature to its `AnswerFn`.
        batch_size: rows in one request; `score` gets 8 at most.
        settings: the model's own settings of generation, for signatures that take them.
    """

    def __init__(
        self,
        find_fn: Callable[[str], AnswerFn],
        batch_size: int = 64,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.find_fn, self.batch_size, self.settings = find_fn, batch_size, settings or {}
        self._found: dict[str, BatchedAnswers] = {}

    def __call__(self, name: str) -> BatchedAnswers:
        """The signature of that name."""
        if name not in self._found:
            size = min(self.batch_size, _MOST_SCORED) if name == "score" else self.batch_size
            self._found[name] = BatchedAnswers(self.find_fn(name), size)
        return self._found[name]


class TaskReport(NamedTuple):
    """How a kind of task is reported."""

    signature: str
    """The one whose speed is told."""
    keys: tuple[str, ...]
    """What of an example is shown, beside its answer."""
    report_fn: Callable[[Signatures, Sequence[dict[str, str]], Any], dict[str, Any]]
    """Signatures, examples and the task's config to `this model` with its measures, `texts` with every example, and
    what else there is."""


def _report_chat(fns: Signatures, examples: Sequence[dict[str, str]], task: Any) -> dict[str, Any]:
    """What the model says where the last answer of a conversation stands, after all that came before it."""
    if "messages" not in examples[0]:
        return report_texts(fns("serving_default"), fns("score"), examples, task.measure)
    talks = [json.loads(example["messages"]) for example in examples]
    width = max(len(talk) for talk in talks) - 1

    def column(key: str) -> list[list[str]]:
        said = [[message[key] for message in talk[:-1]] for talk in talks]
        return [[*each, *[""] * (width - len(each))] for each in said]

    settings = {name: [value] * len(talks) for name, value in fns.settings.items()}
    request = {"roles": column("role"), "messages": column("content"), **settings}
    pairs = [{"source": _transcript(talk[:-1]), "target": talk[-1]["content"]} for talk in talks]
    return report_texts(lambda _: fns("chat")(request), None, pairs, task.measure)


def _language(examples: Sequence[dict[str, str]]) -> str:
    """Whose words `report_answers` counts."""
    return "chinese" if written_in_characters(example["question"] for example in examples) else "english"


def _transcript(messages: Sequence[dict[str, str]]) -> str:
    """
    >>> _transcript([{"role": "user", "content": "Hi"}])
    'user: Hi'
    """
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


REPORTS: dict[str, TaskReport] = {
    "language_modeling": TaskReport(
        "score", ("text",), lambda fns, examples, task: report_losses(fns("score"), examples)
    ),
    "pairs": TaskReport(
        "serving_default",
        ("source", "target"),
        lambda fns, examples, task: report_texts(
            fns("serving_default"), fns("score"), examples, task.measure
        ),
    ),
    "chat": TaskReport("serving_default", ("source", "target"), _report_chat),
    "classification": TaskReport(
        "classify",
        ("text", "text_pair", "label"),
        lambda fns, examples, task: report_labels(fns("classify"), examples, task.label_separator),
    ),
    "question_answering": TaskReport(
        "serving_default",
        ("question", "context", "answers"),
        lambda fns, examples, task: report_answers(fns("serving_default"), examples, _language(examples)),
    ),
    "tagging": TaskReport(
        "tag", ("text", "spans"), lambda fns, examples, task: report_spans(fns("tag"), examples)
    ),
    "similarity": TaskReport(
        "embed", ("source", "target"), lambda fns, examples, task: report_retrieval(fns("embed"), examples)
    ),
}
