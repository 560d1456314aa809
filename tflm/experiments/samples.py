"""Texts that a model generates during its training, for prompts from the held-out side.

WORKDIR/samples.jsonl     {"step": 500, "samples": [{"prompt": "...", "text": "...", "target": "..."}]}
"""

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.data import read_examples
from tflm.errors import UserError
from tflm.experiments.run import Run
from tflm.files.writing import whole_file, writing
from tflm.generation import settings_tensors
from tflm.tasks.generative_task import GenerativeTask
from tflm.tasks.signatures.generate import generate_signature
from tflm.tasks.signatures.writer import Writer, call_by_name
from tflm.tasks.task import TEXT
from tflm.text.cjk import CHARACTER
from tflm.training.logs import read_records
from tflm.training.observers import TrainingObserver

SAMPLES_FILE = "samples.jsonl"
"""In the folder of the run."""
_MOST_READ = 1000  # examples that prompts are chosen from
_LONGEST = 64  # tokens of a sample


class Prompt(NamedTuple):
    """A text that the model continues or answers."""

    text: str
    target: str
    """What the example has there; "" for nothing."""


class Samples(TrainingObserver):
    """Generates the same few texts after each evaluation, with the recipe's settings of decoding, at most 64 tokens.
    Generation is stateless: training is the same with and without it. The graph is traced once.

    Args:
        workdir: folder of the run.
        task: of the run.
        model: that is trained.
        prompts: at least one.
    """

    def __init__(self, workdir: str, task: GenerativeTask, model: Any, prompts: Sequence[Prompt]) -> None:
        self.prompts = list(prompts)
        self._path = os.path.join(workdir, SAMPLES_FILE)
        self._decoding = dataclasses.replace(
            task.decoding, max_new_tokens=min(task.decoding.max_new_tokens, _LONGEST)
        )
        self._generate = generate_signature(Writer(task, model), [TEXT])

    def begin(self, step: int, past: Iterable[Mapping[str, Any]], note_fn: Callable[[str], None]) -> None:
        """Removes the samples of steps that are repeated."""
        kept = [record for record in read_records(self._path) if record["step"] <= step]
        with self._writing(), whole_file(self._path) as aside, open(aside, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in kept)

    def evaluated(self, step: int) -> None:
        """Generates, and writes the texts into the file and to TensorBoard."""
        samples = [
            {"prompt": prompt.text, "text": text, **({"target": prompt.target} if prompt.target else {})}
            for prompt, text in zip(self.prompts, self.texts(), strict=True)
        ]
        with self._writing(), open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "samples": samples}, ensure_ascii=False) + "\n")
        cells = [[sample["prompt"], sample["text"]] for sample in samples]
        tf.summary.text("samples", [["prompt", "generated"], *cells], step=step)

    def texts(self) -> list[str]:
        """One for each prompt."""
        prompts = tf.constant([prompt.text for prompt in self.prompts])
        settings = settings_tensors(self._decoding, len(self.prompts))
        found = call_by_name(self._generate, {"text": prompts, **settings})["text"]
        return [text.decode("utf-8", "replace") for text in found.numpy()]

    def _writing(self) -> Any:
        return writing(f"the samples {self._path!r}")


def samples_of(run: Run, model: Any, note_fn: Callable[[str], None]) -> Samples | None:
    """The observer for a run with `training.num_samples`; None, with a line for the user, where it has no prompts.

    Args:
        run: whose model is trained.
        model: that is trained.
        note_fn: called with the line.
    """
    if not isinstance(run.task, GenerativeTask):
        note_fn(f"no samples: the task {run.config.task.kind!r} does not generate text.")
    elif not run.config.data.has_eval:
        note_fn(
            "no samples: there is no held-out side for prompts; set data.eval_fraction or data.eval_path."
        )
    else:
        try:
            examples = itertools.islice(read_examples(run.config.data, "eval"), _MOST_READ)
            prompts = choose_prompts(
                map(run.task.prompt_and_target, examples), run.config.training.num_samples
            )
        except UserError as error:  # the data was moved, and the run has it in tokens
            note_fn(f"no samples: {error}")
            return None
        if prompts:
            return Samples(run.workdir, run.task, model, prompts)
        note_fn("no samples: the held-out side has no text for a prompt.")
    return None


def choose_prompts(pairs: Iterable[tuple[str, str]], count: int) -> list[Prompt]:
    """`count` prompts at equal distances, by turns with and without Chinese or Japanese where both are there.

    >>> [prompt.text for prompt in choose_prompts([("a", ""), ("b", ""), ("c", ""), ("你", "")], 2)]
    ['a', '你']
    """
    groups: dict[bool, list[Prompt]] = {False: [], True: []}
    for text, target in pairs:
        if text.strip():
            groups[bool(re.search(f"[{CHARACTER}]", text))].append(Prompt(text, target))
    shares = {True: min(len(groups[True]), count // 2), False: 0}
    shares[False] = min(len(groups[False]), count - shares[True])
    shares[True] = min(len(groups[True]), count - shares[False])
    chosen = [
        [group[place * len(group) // shares[key]] for place in range(shares[key])]
        for key, group in groups.items()
    ]
    paired = itertools.zip_longest(*chosen)
    return [prompt for pair in paired for prompt in pair if prompt is not None]
