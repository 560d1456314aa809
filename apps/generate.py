"""Continues a text, or answers one, with an exported model.

  python -m apps.generate --model=saved_models/tiny --text="def "
  python -m apps.generate --model=saved_models/tiny --text="class A" --temperature=0.9 --num_samples=3
  python -m apps.generate --model=saved_models/tiny --input=prompts.txt --format=json > out.jsonl
  python -m apps.generate --model=saved_models/stories --file=story.txt --length=500 --append

A model of language prints the text and its continuation; a model of pairs prints its answer alone. --num_samples gives
several for each prompt, each what its seed gives alone: --seed, and those that count up from it.

--file continues a whole file, from its last character on: a line end there is part of it. Prints the continuation
alone, which --append writes to the end of the file instead.

--length asks for more tokens than one request gives: further requests follow, each with the end of the text so far as
its prompt, as much as the model has room for, until there are so many or the model ends the text.
"""

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from apps.command_line import note, run_app
from apps.continuation import continue_texts
from apps.items import Printer, answer_items, define_items
from apps.text_generation import Generator, define_generation
from tflm.errors import UsageError, UserError

if TYPE_CHECKING:
    from tflm.serving import Model

FLAGS = flags.FlagValues()
_FIELDS = {"text": "A text to continue, or to answer."}
define_generation(FLAGS)
define_items(FLAGS, _FIELDS)
flags.DEFINE_integer(
    "num_samples", 1, "Texts for each prompt, with seeds counting up.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer(
    "length", 0, "Tokens in all, by several requests; 0 for one request.", lower_bound=0, flag_values=FLAGS
)
flags.DEFINE_string("file", None, "A text file to continue.", flag_values=FLAGS)
flags.DEFINE_boolean("append", False, "Write the continuation to the end of --file.", flag_values=FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    _check_flags(flag_values)
    generator = Generator(flag_values)
    continues = continues_texts(generator.model)
    if not continues and (flag_values.length or flag_values.file):
        given = "--length" if flag_values.length else "--file"
        raise UsageError(f"{given} is for a model that continues texts; {flag_values.model!r} answers them.")

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        return _samples(generator, [item["text"] for item in items], flag_values)

    def show(record: dict[str, Any]) -> str:
        return record["prompt"] + record["text"] if continues else record["text"]

    if flag_values.file:
        _continue_file(generator, flag_values)
    else:
        answer_items(flag_values, tuple(_FIELDS), answer, show)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def continues_texts(model: "Model") -> bool:
    """Whether a model continues texts. Some tell no config; but only of pairs does `score` take a target."""
    kind = model.config.get("task", {}).get("kind")
    if kind:
        return kind == "language_modeling"
    score = model.signatures.get("score")
    return score is not None and "target" not in score.inputs


def _check_flags(flag_values: flags.FlagValues) -> None:
    if flag_values.append and not flag_values.file:
        raise UsageError("--append writes to --file: name the file.")
    if flag_values.append and flag_values.num_samples > 1:
        raise UsageError("--append writes one continuation: leave --num_samples at 1.")
    for name in ("text", "input"):
        if flag_values.file and flag_values[name].value is not None:
            raise UsageError(f"--file and --{name} both say what to continue. Give one of them.")


def _samples(
    generator: Generator, texts: Sequence[str], flag_values: flags.FlagValues
) -> Iterator[list[dict[str, Any]]]:
    """For each prompt the records of its samples; all of them in one request."""
    number, first_seed = flag_values.num_samples, generator.settings["seed"]
    prompts = [text for text in texts for _ in range(number)]
    seeds = [first_seed + sample for _ in texts for sample in range(number)]
    if flag_values.length:
        found = continue_texts(generator, prompts, seeds, flag_values.length)
    else:
        found = generator(prompts, seeds)
    rows = iter(zip(prompts, seeds, found, strict=True))
    for _ in texts:
        yield [
            {"prompt": prompt, "seed": seed, **record}
            for prompt, seed, record in itertools.islice(rows, number)
        ]


def _continue_file(generator: Generator, flag_values: flags.FlagValues) -> None:
    """Prints what follows a file's text, or writes it there."""
    path = flag_values.file
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read().removeprefix("\ufeff")
    except OSError as error:
        raise UserError(f"cannot read --file={path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"--file={path} is not UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8."
        ) from error
    (records,) = _samples(generator, [text], flag_values)
    if not flag_values.append:
        printer = Printer(flag_values.format, lambda record: record["text"])
        for record in records:
            printer.show({"file": path, **{key: value for key, value in record.items() if key != "prompt"}})
        return
    try:
        with open(path, "a", encoding="utf-8", newline="") as file:
            file.write(records[0]["text"])
    except OSError as error:
        raise UserError(f"cannot write --file={path}: {error.strerror}.") from error
    note(f"{path}: {records[0]['num_tokens']:,} tokens more, {len(records[0]['text']):,} characters.")


if __name__ == "__main__":
    sys.exit(run())
