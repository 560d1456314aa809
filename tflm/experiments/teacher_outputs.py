"""A teacher's outputs for the training side: its labels, or the texts that it generates (Kim and Rush, 2016)."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence

from tflm.data import read_examples
from tflm.errors import UserError
from tflm.experiments.evaluate_run import by_beams
from tflm.experiments.measured import Measured, measured_run
from tflm.experiments.run import Run
from tflm.experiments.run_folder import is_run
from tflm.experiments.taught_examples import inputs_of, is_output_of, outputs_path, read_outputs
from tflm.files.writing import whole_file, writing
from tflm.progress import ProgressBar

_BATCH = 64
Example = dict[str, str]
OutputFn = Callable[[Sequence[Example]], list[str]]
"""Maps what is asked of the teacher to its outputs."""


def write_outputs(
    run: Run, note_fn: Callable[[str], None], make_output_fn: Callable[[], OutputFn] | None = None
) -> None:
    """Writes `teacher_outputs.jsonl`; what is there of an interrupted call is kept.

    Args:
        run: with `distillation.outputs`.
        note_fn: called with a line for the user.
        make_output_fn: makes the teacher's function; by default from the run in `distillation.teacher`.
    Raises:
        UserError: the teacher is not there or does not fit; or the file cannot be written.
    """
    path = outputs_path(run.workdir)
    examples = list(read_examples(run.config.data, "train"))
    found = read_outputs(path)
    kept = list(itertools.takewhile(lambda pair: is_output_of(*pair), zip(found, examples, strict=False)))
    if len(kept) == len(examples) == len(found):
        return
    teach = _teacher_fn(run) if make_output_fn is None else make_output_fn()
    key = "target" if "source" in examples[0] else "label"
    note_fn(f"the teacher answers {len(examples) - len(kept):,} training examples: {path}")
    with writing(f"the teacher's outputs {path!r}"):
        with whole_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
            file.writelines(_line(output) for output, _ in kept)
        bar = ProgressBar("teacher", "examples", len(examples), num_done=len(kept))
        with bar, open(path, "a", encoding="utf-8") as file:
            for batch in _batches(examples[len(kept) :]):
                asked = [inputs_of(example) for example in batch]
                outputs = teach(asked)
                file.writelines(
                    _line({**own, key: output}) for own, output in zip(asked, outputs, strict=True)
                )
                file.flush()
                bar.advance(len(batch))


def measured_fn(measured: Measured, beam_size: int) -> OutputFn:
    """The outputs of a run or an export.

    Args:
        measured: see `measured_run` and `measured_export`.
        beam_size: int, of texts; 0 for the model's own settings.
    Raises:
        UserError: its task gives neither texts nor labels.
    """
    report = measured.task_class.report(measured.config.task)
    is_labels = report is not None and report.signature == "classify"
    if report is None or not (is_labels or report.beam_search):
        raise UserError(
            f"distillation.outputs is for pairs of source and target, and for labels; the teacher's task is "
            f"{measured.config.task.kind}."
        )
    name = report.signature
    answer = (by_beams(measured, beam_size) if beam_size else measured.find_fn)(name)

    def outputs(asked: Sequence[Example]) -> list[str]:
        keys = ("text", "text_pair") if is_labels else ("source",)
        columns = {
            key.replace("source", "text"): [own[key] for own in asked] for key in keys if key in asked[0]
        }
        found = answer(columns)["label" if is_labels else "text"]
        return [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in found]

    return outputs


def _teacher_fn(run: Run) -> OutputFn:
    settings = run.config.distillation
    if not is_run(settings.teacher):
        raise UserError(
            f"the teacher {settings.teacher!r} is no run, and {outputs_path(run.workdir)!r} lacks some of its outputs. "
            "Give the command of `tflm compress` again: it asks exports and servers, too."
        )
    return measured_fn(measured_run(Run.open(settings.teacher), settings.checkpoint), settings.beam_size)


def _batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    return (examples[first : first + _BATCH] for first in range(0, len(examples), _BATCH))


def _line(output: Example) -> str:
    return json.dumps(output, ensure_ascii=False) + "\n"
