"""Classifies texts or pairs of texts, by the labels of a classifier or by labels given here.

  tflm classify --model=saved_models/reviews --text="Fast delivery, good quality"
  tflm classify --model=saved_models/reviews --input=reviews.txt > labels.txt
  tflm classify --model=saved_models/reviews --input=reviews.tsv --text_column=review --format=tsv
  tflm classify --model=saved_models/entailment --text="A dog runs." --text_pair="An animal moves."
  tflm classify --model=saved_models/chat --text="很好看" --choices=good --choices=bad
  tflm classify --model=saved_models/gpt --input=reviews.txt --choices=" good" --choices=" bad" \\
      --prompt="Review: {text}\\nThis film is"

Prints the label and its probability, separated by a tab, one line per text and in their order; --top=3 prints the
three most probable. With --format=json or tsv also the probability of every label, and `truncated`: whether the text is
longer than the model's maximum length, so that its end was not read. A model with several labels per text prints all
that reach its threshold.

A generative model classifies without training on labels (zero-shot): --choices names them, and the probability of
each is the model's own probability of generating exactly this text, normalized over the choices. --prompt is what the
model reads, with the text in the place of {text}; \\n is a line end there. A choice may begin with a space, as a word
does in the middle of a sentence.
"""

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from tflm.errors import UsageError

from .common.command_line import run_app
from .common.input_rows import Fields
from .common.items import Record, answer_items, define_items
from .common.model_flag import define_model, open_model
from .common.text_generation import with_line_ends

FLAGS = flags.FlagValues()
define_model(FLAGS)
define_items(FLAGS, {"text": "The text to classify.", "text_pair": "The second text of a pair."})
flags.DEFINE_integer(
    "top", 1, "How many labels to print, the most probable first.", lower_bound=1, flag_values=FLAGS
)

flags.DEFINE_multi_string(
    "choices",
    None,
    "For a generative model: a label, as the model would generate it. Example: good.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "prompt",
    None,
    "For a generative model: its prompt, with the text in the place of {text}. If not given: {text}.",
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    choices, prompt = flag_values.choices or [], flag_values.prompt
    _check_choices(choices, prompt)
    model = open_model(flag_values, "classify", "choose")
    writes = "classify" not in model.signatures
    if writes and not choices:
        raise UsageError(
            f"{flag_values.model!r} has learned no labels, it writes: name them, as --choices=good --choices=bad. Or "
            "try tflm generate."
        )
    if choices and not writes:
        raise UsageError(f"{flag_values.model!r} has labels of its own: leave out --choices.")
    names = ("text",) if writes else tuple(model.signatures["classify"].inputs)
    if "text_pair" not in names and flag_values.text_pair is not None:
        raise UsageError(f"--text_pair is for a model of pairs; {flag_values.model!r} labels single texts.")

    def answer(items: list[Fields]) -> Iterator[list[Record]]:
        columns = {name: [item[name] for item in items] for name in names}
        if writes:
            template = with_line_ends(prompt or "{text}")
            found = model.choose(columns["text"], choices, prompt=template, batch_size=flag_values.batch_size)
        else:
            found = model.classify(**columns, batch_size=flag_values.batch_size)
        for item, each in zip(items, found, strict=True):
            record = {**item, "label": each.label, "scores": each.scores}
            yield [record if each.truncated is None else {**record, "truncated": each.truncated}]

    answer_items(
        flag_values, sorted(names), answer, lambda record: _shown(record, flag_values.top), model.config
    )


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _check_choices(choices: Sequence[str], prompt: str | None) -> None:
    if prompt is not None and not choices:
        raise UsageError("--prompt is for generative models: also give --choices=LABEL for each label.")
    if prompt is not None and "{text}" not in prompt:
        raise UsageError(f"--prompt={prompt!r} lacks a placeholder: write {{text}} where the text goes.")
    if "" in choices:
        raise UsageError("--choices= is empty, and no label: give a text.")
    if choices and len({unicodedata.normalize("NFC", choice) for choice in choices}) < max(2, len(choices)):
        raise UsageError(f"--choices are two labels or more, each once; got {', '.join(choices)}.")


def _shown(record: dict[str, Any], top: int) -> str:
    """ "good\t0.9123", for each of the likeliest."""
    scores = record["scores"]
    if top == 1:
        # Of several labels together, none has a probability of its own.
        score = scores.get(record["label"])
        return record["label"] + ("" if score is None else f"\t{score:.4f}")
    best = sorted(scores, key=lambda label: -scores[label])[:top]
    return "\t".join(f"{label}\t{scores[label]:.4f}" for label in best)


if __name__ == "__main__":
    sys.exit(run())
