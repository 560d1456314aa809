"""Explains predictions: which tokens made a label, a span, an answer or a text likely.

  tflm explain --model=saved_models/reviews --text="Fast delivery, good quality"
  tflm explain --model=saved_models/reviews --text="质量很好，物流太慢" --target=0 --method=occlusion
  tflm explain --model=saved_models/reviews --input=reviews.txt --format=json > explained.jsonl
  tflm explain --model=saved_models/reviews --input=reviews.txt --html=explained.html
  tflm explain --model=saved_models/chat --text="What is AI?" --target="A program."
  tflm explain --model=saved_models/reader --question="Who?" --context="It was Anna."
  tflm explain --model=saved_models/reviews --faithfulness --data=test.tsv --limit=100
  tflm explain --workdir=runs/reviews --text="Good quality"

The model is an export that was made with tflm export --explain, also behind a server, or a run. In a terminal the
tokens are coloured: blue made the prediction more likely, orange less. Elsewhere a line has the text, the target, its
probability, and START-END:ATTRIBUTION of each token, with tabs between the parts; START and END count characters from
0. Attributions are in log odds, ln p / (1 - p).

  --method       integrated_gradients (Sundararajan et al., 2017), gradient_x_input, or occlusion, which leaves out one
                 token at a time
  --target       of a classifier a label, of a generative model a continuation, in place of its prediction
  --html         writes a page to look at: methods and targets to choose, attention by layer and head for Transformers
  --attention    of a Transformer, how much of each token attention rollout (Abnar and Zuidema, 2020) finds in the last
                 layer; with --format=json also all weights by layer and head
  --faithfulness of a classifier of single texts: areas under deletion and insertion curves next to random orders
"""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from tflm.errors import UsageError
from tflm.progress import ProgressBar

from .common.command_line import note, run_app
from .common.explanations import attention_record, explanation_record, show_attention, show_explanation
from .common.input_rows import Fields, bad_lines
from .common.items import Record, answer_items, define_items, read_items
from .common.model_flag import check_signature, connect_model, define_model
from .common.tables import show_table

if TYPE_CHECKING:
    from tflm.serving import ModelHandle

FLAGS = flags.FlagValues()
define_model(FLAGS)
define_items(
    FLAGS,
    {
        "text": "The text to explain.",
        "text_pair": "The second text of a pair.",
        "question": "Of a model that answers questions: the question.",
        "context": "The text to answer from.",
    },
)
flags.DEFINE_enum(
    "method",
    None,
    ["integrated_gradients", "gradient_x_input", "occlusion"],
    "How attributions are computed. If not given: integrated_gradients; with --html and --faithfulness all three.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "target",
    None,
    "What is explained in place of the prediction: a label of a classifier, or a continuation of a generative model.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_steps",
    32,
    "Steps of integrated gradients; more are more exact.",
    lower_bound=1,
    upper_bound=1000,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_new_tokens",
    20,
    "Of a generative model: the most tokens to explain.",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "html", None, "Writes an HTML page of all texts to this file. Example: explained.html.", flag_values=FLAGS
)
flags.DEFINE_bool("attention", False, "Shows attention rollout in place of attributions.", flag_values=FLAGS)
flags.DEFINE_bool(
    "faithfulness",
    False,
    "Measures the attributions of all texts: deletion and insertion curves against random orders.",
    flag_values=FLAGS,
)
flags.DEFINE_string("data", None, "With --faithfulness: the file of texts, as --input.", flag_values=FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    _check_flags(flag_values)
    model = connect_model(flag_values)
    names = model.explained_inputs()
    _check_fields(flag_values, names)
    if flag_values.faithfulness:
        _measure(flag_values, model, names)
    elif flag_values.html:
        _write_page(flag_values, model, names)
    elif flag_values.attention:
        model.explained_inputs("attention")
        options = _options(flag_values, model, "attention")

        def look(items: list[Fields]) -> Iterator[list[Record]]:
            found = model.attention(*_columns(items, names), batch_size=flag_values.batch_size, **options)
            yield from ([attention_record(names, each)] for each in found)

        answer_items(flag_values, names, look, show_attention, model.config)
    else:
        options = _options(flag_values, model, "attribute")
        options |= {"method": _methods(flag_values)[0], "num_steps": flag_values.num_steps}

        def explain(items: list[Fields]) -> Iterator[list[Record]]:
            found = model.explain(*_columns(items, names), batch_size=flag_values.batch_size, **options)
            yield from ([explanation_record(names, each)] for each in found)

        answer_items(flag_values, names, explain, show_explanation, model.config)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _check_flags(flag_values: flags.FlagValues) -> None:
    modes = [name for name in ("html", "attention", "faithfulness") if flag_values[name].value]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0]} and --{modes[1]} are two different things to do: give one of them.")
    if flag_values.data:
        if not flag_values.faithfulness:
            raise UsageError("--data is for --faithfulness; texts to explain come from --input.")
        if flag_values.input:
            raise UsageError("--data and --input both name the file: give one of them.")
        flag_values.input = flag_values.data
    if flag_values.html and not flag_values.html.endswith((".html", ".htm")):
        raise UsageError(f"--html={flag_values.html} must end in .html.")
    if flag_values.faithfulness and flag_values.target:
        raise UsageError("--target is for one text; --faithfulness explains the predicted labels.")
    if flag_values.attention and flag_values.method:
        raise UsageError("--method is for attributions; leave it out with --attention.")


def _check_fields(flag_values: flags.FlagValues, names: Sequence[str]) -> None:
    for name in ("text", "text_pair", "question", "context"):
        if flag_values[name].value is not None and name not in names:
            raise UsageError(
                f"--{name} is not what this model takes: give {' and '.join(f'--{n}' for n in names)}."
            )


def _methods(flag_values: flags.FlagValues) -> tuple[str, ...]:
    from tflm.serving.handle.explaining_methods import METHODS

    return (flag_values.method,) if flag_values.method else METHODS


def _options(flag_values: flags.FlagValues, model: "ModelHandle", signature: str) -> dict[str, Any]:
    takes = model.signatures[signature].inputs
    options: dict[str, Any] = {}
    if "max_new_tokens" in takes:
        options["max_new_tokens"] = flag_values.max_new_tokens
    if flag_values.target is not None:
        if "target" not in takes:
            raise UsageError(
                "--target is for classifiers and generative models; this model explains what it finds."
            )
        options["target"] = flag_values.target
    return options


def _columns(items: Sequence[Fields], names: Sequence[str]) -> list[list[str]]:
    return [[item[name] for item in items] for name in names]


def _good_items(flag_values: flags.FlagValues, names: Sequence[str]) -> list[Fields]:
    """The texts; those that cannot be read are reported and left out."""
    items = list(read_items(flag_values, names))
    if (lost := bad_lines(items))[0]:
        note(f"{lost[0]} of {len(items)} lines could not be read and are left out; the first is {lost[1]}")
    good = [item.fields for item in items if not item.problem]
    if not good:
        raise UsageError("there is nothing to read: the input is empty.")
    return good


def _write_page(flag_values: flags.FlagValues, model: "ModelHandle", names: Sequence[str]) -> None:
    from tflm.files.writing import whole_file, writing
    from tflm.serving.explanation_page import explanation_page

    texts = [tuple(item[name] for name in names) for item in _good_items(flag_values, names)]
    options = _options(flag_values, model, "attribute")
    options |= {"num_steps": flag_values.num_steps, "batch_size": flag_values.batch_size}
    with ProgressBar("explaining", "texts") as bar:
        page = explanation_page(model, texts, _methods(flag_values), bar.update, **options)
    with (
        writing(f"--html={flag_values.html}"),
        whole_file(flag_values.html) as path,
        open(path, "w", encoding="utf-8") as file,
    ):
        file.write(page)
    print(f"written: {flag_values.html}")


def _measure(flag_values: flags.FlagValues, model: "ModelHandle", names: Sequence[str]) -> None:
    from tflm.evaluation.metrics.faithfulness import NUM_RANDOM

    check_signature(model, "classify", "--faithfulness")
    if tuple(names) != ("text",):
        raise UsageError("--faithfulness is for classifiers of single texts.")
    texts = [item["text"] for item in _good_items(flag_values, names)]
    options = {"num_steps": flag_values.num_steps, "batch_size": flag_values.batch_size}
    methods, rows = _methods(flag_values), []
    with ProgressBar("explaining", "methods") as bar:
        for method in methods:
            rows.append((method, model.faithfulness(texts, method=method, **options)))
            bar.update(len(rows), len(methods))
    _show_faithfulness(flag_values.format, rows)
    note(
        f"{rows[0][1].num_texts} texts; areas under the curves of the probability of the predicted label, with 95% "
        "intervals over the texts. Deletion: lower is better; insertion: higher. "
        f"Random: {NUM_RANDOM} orders for each text."
    )


def _show_faithfulness(format_name: str, rows: Sequence[tuple[str, Any]]) -> None:
    parts = (
        "deletion",
        "random_deletion",
        "deletion_gain",
        "insertion",
        "random_insertion",
        "insertion_gain",
    )
    if format_name == "json":
        for method, found in rows:
            record = {name: dict(zip(("mean", "low", "high"), getattr(found, name))) for name in parts}
            print(
                json.dumps({"method": method, "num_texts": found.num_texts, **record, "curves": found.curves})
            )
        return
    if format_name in ("tsv", "csv"):
        between = "\t" if format_name == "tsv" else ","
        print(between.join(["method", "num_texts", *parts]))
        for method, found in rows:
            print(
                between.join(
                    [method, str(found.num_texts), *(f"{getattr(found, n).mean:.4f}" for n in parts)]
                )
            )
        return
    header = ["", "deletion", "random", "gain", "insertion", "random", "gain"]
    show_table(
        header, [[method, *(_cell(getattr(found, name), name) for name in parts)] for method, found in rows]
    )


def _cell(interval: Any, name: str) -> str:
    if name.startswith("random"):
        return f"{interval.mean:.3f}"
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


if __name__ == "__main__":
    sys.exit(run())
