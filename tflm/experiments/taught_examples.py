"""Training examples whose targets are a teacher's outputs.

WORKDIR/teacher_outputs.jsonl     a line for each training example: its inputs, and the teacher's target or label
"""

import os
from collections.abc import Iterable, Iterator, Mapping

from tflm.errors import UserError
from tflm.training.logs import read_records

OUTPUTS_FILE = "teacher_outputs.jsonl"
"""In the folder of the run."""


class TaughtExamples(Iterable[dict[str, str]]):
    """Each example with the teacher's target, or its label.

        {"source": "ab", "target": "c"}  ->  {"source": "ab", "target": "d"}

    Args:
        examples: of the training side.
        workdir: folder of the run, with the teacher's outputs.
    Raises:
        UserError: while reading: there are none, or they are of other examples.
    """

    def __init__(self, examples: Iterable[dict[str, str]], workdir: str) -> None:
        self._examples, self._path = examples, outputs_path(workdir)

    def __iter__(self) -> Iterator[dict[str, str]]:
        outputs, count = read_outputs(self._path), 0
        for count, example in enumerate(self._examples, start=1):
            if count > len(outputs) or not is_output_of(outputs[count - 1], example):
                raise UserError(
                    f"{self._path!r} lacks the teacher's output for training example {count:,}, or has one of other "
                    "data. Remove it; `tflm compress` or `tflm train` of this run makes it again."
                )
            yield {**example, **outputs[count - 1]}


def outputs_path(workdir: str) -> str:
    """The file of the teacher's outputs in the folder of a run."""
    return os.path.join(workdir, OUTPUTS_FILE)


def read_outputs(path: str) -> list[dict[str, str]]:
    """The lines that are whole."""
    return list(read_records(path))


def inputs_of(example: Mapping[str, str]) -> dict[str, str]:
    """What the teacher is asked.

    Raises:
        UserError: the example has neither a source nor a label.
    """
    if "source" in example:
        return {"source": example["source"]}
    if "label" in example:
        return {key: example[key] for key in ("text", "text_pair") if key in example}
    raise UserError(
        f"distillation.outputs is for pairs of source and target, and for labels; an example has {', '.join(example)}. "
        "Leave it false: the teacher's predictions are targets by distillation.alpha."
    )


def is_output_of(output: Mapping[str, str], example: Mapping[str, str]) -> bool:
    """Whether a line of the file belongs to an example."""
    asked = inputs_of(example)
    return {key: output.get(key) for key in asked} == asked
