"""Continues a text, or answers one, with an exported model.

  python -m apps.generate --model=saved_models/tiny --text="def "
  python -m apps.generate --model=saved_models/tiny --text="class A" --temperature=0.9 --num_samples=3
  python -m apps.generate --model=saved_models/tiny --input=prompts.txt --format=json > out.jsonl
  python -m apps.generate --model=saved_models/stories --file=story.txt --length=500 --append
  python -m apps.generate --model=saved_models/tiny --text="def " --show_alternatives=5
  python -m apps.generate --model=saved_models/chat --text="你是谁" --beam_size=4 --length_penalty=0.6 --num_best=3
  python -m apps.generate --model=saved_models/chat --text="Hello" --stop="." --stop="。" --no_repeat_ngram_size=3

A model of language prints the text and its continuation; a model of pairs prints its answer alone. --num_samples gives
several for each prompt, each what its seed gives alone: --seed, and those that count up from it.

--file continues a whole file, from its last character on: a line end there is part of it. Prints the continuation
alone, which --append writes to the end of the file instead.

--length asks for more tokens than one request gives: further requests follow, each with the end of the text so far as
its prompt, as much as the model has room for, until there are so many or the model ends the text.

--show_alternatives prints the text token by token, each with its probability and so many that are likeliest in its
place, coloured in a terminal: · is a space, \\n a line end, <end> the end of the text, � a part of a character.

--beam_size looks for the likeliest text by beam search, in place of drawing one. --num_best prints the best so many,
each after its score and a tab, the best first.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from apps.alternatives import find_alternatives, is_colored, table
from apps.command_line import note, run_app
from apps.continuation import continue_texts
from apps.items import Printer, answer_items, define_items
from apps.model_flag import check_outputs, check_signature
from apps.text_generation import Generator, define_beams, define_generation, with_score
from tflm.errors import UsageError, UserError

if TYPE_CHECKING:
    from tflm.serving import Model

FLAGS = flags.FlagValues()
_FIELDS = {"text": "A text to continue, or to answer."}
define_generation(FLAGS)
define_beams(FLAGS)
define_items(FLAGS, _FIELDS)
flags.DEFINE_integer(
    "num_samples", 1, "Texts for each prompt, with seeds counting up.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer(
    "length", 0, "Tokens in all, by several requests; 0 for one request.", lower_bound=0, flag_values=FLAGS
)
flags.DEFINE_string("file", None, "A text file to continue.", flag_values=FLAGS)
flags.DEFINE_boolean("append", False, "Write the continuation to the end of --file.", flag_values=FLAGS)
flags.DEFINE_integer(
    "show_alternatives",
    0,
    "Show the text token by token, with so many of the likeliest in the place of each.",
    lower_bound=0,
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    _check_flags(flag_values)
    generator = Generator(flag_values)
    continues = continues_texts(generator.model)
    if not continues and (flag_values.length or flag_values.file):
        given = "--length" if flag_values.length else "--file"
        raise UsageError(f"{given} is for a model that continues texts; {flag_values.model!r} answers them.")

    if flag_values.show_alternatives:
        _show_alternatives(generator, flag_values)
        return

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        return _answers(generator, [item["text"] for item in items], flag_values)

    def show(record: dict[str, Any]) -> str:
        text = record["prompt"] + record["text"] if continues else record["text"]
        return with_score(record, text, generator.num_best)

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
    for name in ("num_samples", "num_best"):
        if flag_values.append and getattr(flag_values, name) > 1:
            raise UsageError(f"--append writes one continuation: leave --{name} at 1.")
    for name in ("text", "input"):
        if flag_values.file and flag_values[name].value is not None:
            raise UsageError(f"--file and --{name} both say what to continue. Give one of them.")
    if flag_values.beam_size and flag_values.num_samples > 1:
        raise UsageError("--num_samples has no part in beam search, which draws nothing: give --num_best.")
    if flag_values.beam_size and flag_values.length:
        raise UsageError("--beam_size looks for whole texts, by one request: leave out --length.")
    if flag_values.show_alternatives:
        for name in ("length", "file", "append", "beam_size"):
            if flag_values[name].value:
                raise UsageError(f"--show_alternatives is of one text by one request: leave out --{name}.")
        if flag_values.num_samples > 1:
            raise UsageError("--show_alternatives is of one text by one request: leave --num_samples at 1.")


def _answers(
    generator: Generator, texts: Sequence[str], flag_values: flags.FlagValues
) -> Iterator[list[dict[str, Any]]]:
    """For each prompt the records of its samples, or of its best texts; all of them in one request."""
    number = flag_values.num_samples
    if generator.beams:
        rows = generator.best(texts)
    elif flag_values.length:
        first = generator.settings["seed"]
        prompts = [text for text in texts for _ in range(number)]
        seeds = [first + sample for _ in texts for sample in range(number)]
        continued = continue_texts(generator, prompts, seeds, flag_values.length)
        found = [{"seed": seed, **record} for seed, record in zip(seeds, continued, strict=True)]
        rows = [found[begin : begin + number] for begin in range(0, len(found), number)]
    else:
        rows = generator.samples(texts, number)
    for text, records in zip(texts, rows, strict=True):
        yield [{"prompt": text, **record} for record in records]


def _show_alternatives(generator: Generator, flag_values: flags.FlagValues) -> None:
    """Prints what the model writes, token by token."""
    check_signature(generator.model, "alternatives", "--show_alternatives")
    check_outputs(generator.model, "generate", ("token_ids",))
    colored = is_colored()

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        texts = [item["text"] for item in items]
        for record in find_alternatives(generator, texts, flag_values.show_alternatives):
            yield [record]

    answer_items(flag_values, tuple(_FIELDS), answer, lambda record: table(record, colored))


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
    (records,) = _answers(generator, [text], flag_values)
    if not flag_values.append:
        printer = Printer(
            flag_values.format, lambda record: with_score(record, record["text"], generator.num_best)
        )
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
