"""What is reported of a trained model beside its loss, by the kind of its task; from what it answers alone.

fns = Signatures(lambda name: signature_fn(task.signatures(model)[name]))       # of a run
fns = Signatures(lambda name: functools.partial(connect(path).predict, name))   # of an export
REPORTS["pairs"].report_fn(fns, examples, config.task)
"""

import json
from collections.abc import Callable, Sequence
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
    """

    def __init__(self, find_fn: Callable[[str], AnswerFn], batch_size: int = 64) -> None:
        self.find_fn, self.batch_size = find_fn, batch_size
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
    """Of a conversation its last question and the answer to it, without what came before."""
    pairs = [_last_exchange(example) for example in examples]
    return report_texts(fns("serving_default"), fns("score"), pairs, task.measure)


def _language(examples: Sequence[dict[str, str]]) -> str:
    """Whose words `report_answers` counts."""
    return "chinese" if written_in_characters(example["question"] for example in examples) else "english"


def _last_exchange(example: dict[str, str]) -> dict[str, str]:
    """
    >>> _last_exchange({"messages": '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]'})
    {'source': 'Hi', 'target': 'Hello.'}
    """
    if "messages" not in example:
        return example
    messages = json.loads(example["messages"])
    sides = (("source", "user"), ("target", "assistant"))
    return {
        side: next((each["content"] for each in reversed(messages) if each["role"] == role), "")
        for side, role in sides
    }


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
        "answer",
        ("question", "context", "answers"),
        lambda fns, examples, task: report_answers(fns("answer"), examples, _language(examples)),
    ),
    "tagging": TaskReport(
        "tag", ("text", "spans"), lambda fns, examples, task: report_spans(fns("tag"), examples)
    ),
    "similarity": TaskReport(
        "embed", ("source", "target"), lambda fns, examples, task: report_retrieval(fns("embed"), examples)
    ),
}
