"""Labels texts, or pairs of texts, with an exported classifier.

  python -m apps.classify --model=saved_models/reviews --text="Fast delivery, good quality"
  python -m apps.classify --model=saved_models/reviews --input=reviews.txt > labels.txt
  python -m apps.classify --model=saved_models/reviews --input=reviews.tsv --text_column=review --format=tsv
  python -m apps.classify --model=saved_models/entailment --text="A dog runs." --text_pair="An animal moves."

Prints the label and its probability, with a tab between, one line a text and in their order; --top=3 the likeliest
three. With --format=json or tsv also every label's probability. Of a model with several labels for a text, those that
reach its threshold stand together.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from apps.command_line import run_app
from apps.items import answer_items, define_items
from apps.model_flag import define_model, open_model
from tflm.errors import UsageError

FLAGS = flags.FlagValues()
define_model(FLAGS)
define_items(FLAGS, {"text": "A text to label.", "text_pair": "The second text of a pair."})
flags.DEFINE_integer(
    "top", 1, "How many labels to print, the likeliest first.", lower_bound=1, flag_values=FLAGS
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    model = open_model(flag_values, "classify")
    names = tuple(model.signatures["classify"].inputs)
    if "text_pair" not in names and flag_values.text_pair is not None:
        raise UsageError(f"--text_pair is for a model of pairs; {flag_values.model!r} labels single texts.")

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        outputs = model.predict("classify", {name: [item[name] for item in items] for name in names})
        for row, item in enumerate(items):
            labels = [label.decode("utf-8") for label in outputs["labels"][row]]
            scores = dict(zip(labels, outputs["scores"][row].tolist(), strict=True))
            yield [{**item, "label": outputs["label"][row].decode("utf-8"), "scores": scores}]

    answer_items(flag_values, sorted(names), answer, lambda record: _shown(record, flag_values.top))


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


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
