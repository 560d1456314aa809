"""Labels texts, or pairs of texts, with an exported classifier; or with a model that writes, and labels given here.

  python -m apps.classify --model=saved_models/reviews --text="Fast delivery, good quality"
  python -m apps.classify --model=saved_models/reviews --input=reviews.txt > labels.txt
  python -m apps.classify --model=saved_models/reviews --input=reviews.tsv --text_column=review --format=tsv
  python -m apps.classify --model=saved_models/entailment --text="A dog runs." --text_pair="An animal moves."
  python -m apps.classify --model=saved_models/chat --text="很好看" --choices=good --choices=bad
  python -m apps.classify --model=saved_models/gpt --input=reviews.txt --choices=" good" --choices=" bad" \\
      --prompt="Review: {text}\\nThis film is"

Prints the label and its probability, with a tab between, one line a text and in their order; --top=3 the likeliest
three. With --format=json or tsv also every label's probability. Of a model with several labels for a text, those that
reach its threshold stand together.

A model that writes labels texts without having learned any labels: --choices names them, and the probability of each is
the model's own, exactly, that its text is this one and ends there, if it is one of them. --prompt is what the model
reads, with the text in the place of {text}; \\n is a line end there. A choice may begin with a space, as a word does
that goes on after a prompt.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from apps.command_line import run_app
from apps.items import Fields, Record, answer_items, define_items
from apps.model_flag import define_model, open_model
from apps.text_generation import with_line_ends
from tflm.errors import UsageError

if TYPE_CHECKING:
    from tflm.serving import Model

FLAGS = flags.FlagValues()
define_model(FLAGS)
define_items(FLAGS, {"text": "A text to label.", "text_pair": "The second text of a pair."})
flags.DEFINE_integer(
    "top", 1, "How many labels to print, the likeliest first.", lower_bound=1, flag_values=FLAGS
)

flags.DEFINE_multi_string(
    "choices",
    None,
    "For a model that writes: a label, as it would write it; give the flag again for each.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "prompt",
    None,
    "For a model that writes: what it reads, with {text} in it. Default: {text}.",
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
            "try apps.generate."
        )
    if choices and not writes:
        raise UsageError(f"{flag_values.model!r} has labels of its own: leave out --choices.")
    names = ("text",) if writes else tuple(model.signatures["classify"].inputs)
    if "text_pair" not in names and flag_values.text_pair is not None:
        raise UsageError(f"--text_pair is for a model of pairs; {flag_values.model!r} labels single texts.")

    def answer(items: list[Fields]) -> Iterator[list[Record]]:
        if writes:
            found = _choose(model, [item["text"] for item in items], choices, prompt or "{text}")
        else:
            found = _classify(model, {name: [item[name] for item in items] for name in names})
        for item, record in zip(items, found, strict=True):
            yield [{**item, **record}]

    answer_items(flag_values, sorted(names), answer, lambda record: _shown(record, flag_values.top))


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _check_choices(choices: Sequence[str], prompt: str | None) -> None:
    if prompt is not None and not choices:
        raise UsageError(
            "--prompt is for a model that writes: give --choices=LABEL for each label beside it."
        )
    if prompt is not None and "{text}" not in prompt:
        raise UsageError(f"--prompt={prompt!r} has no place for the text: write {{text}} where it stands.")
    if "" in choices:
        raise UsageError("--choices= is empty, and no label: give a text.")
    if choices and len(set(choices)) < max(2, len(choices)):
        raise UsageError(f"--choices are two labels or more, each once; got {', '.join(choices)}.")


def _classify(model: "Model", columns: dict[str, list[str]]) -> Iterator[Record]:
    """`label` and `scores` of each text, as the model has learned them."""
    outputs = model.predict("classify", columns)
    for label, labels, scores in zip(outputs["label"], outputs["labels"], outputs["scores"], strict=True):
        names = [each.decode("utf-8") for each in labels]
        yield {"label": label.decode("utf-8"), "scores": dict(zip(names, scores.tolist(), strict=True))}


def _choose(model: "Model", texts: Sequence[str], choices: Sequence[str], prompt: str) -> Iterator[Record]:
    """`label` and `scores` of each text, by what the model gives the choices after the prompt."""
    prompts = [with_line_ends(prompt).replace("{text}", text) for text in texts]
    outputs = model.predict("choose", {"text": prompts, "choices": [list(choices)] * len(texts)})
    for label, scores in zip(outputs["choice"], outputs["probabilities"].tolist(), strict=True):
        yield {"label": label.decode("utf-8"), "scores": dict(zip(choices, scores, strict=True))}


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
