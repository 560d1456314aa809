"""Generates text with an exported model: continues a prompt, or answers it.

  tflm generate --model=saved_models/tiny --text="def "
  tflm generate --model=saved_models/tiny --text="class A" --temperature=0.9 --num_samples=3
  tflm generate --model=saved_models/tiny --input=prompts.txt --format=json > out.jsonl
  tflm generate --model=saved_models/stories --file=story.txt --length=500 --append
  tflm generate --model=saved_models/tiny --text="def " --show_alternatives=5
  tflm generate --model=saved_models/chat --text="你是谁" --beam_size=4 --length_penalty=0.6 --num_best=3
  tflm generate --model=saved_models/chat --text="Hello" --stop="." --stop="。" --no_repeat_ngram_size=3

A language model prints the prompt and its continuation; a model of pairs, such as a translator, prints its answer
alone. --num_samples generates several texts per prompt, with the seeds --seed, --seed + 1, ...

--file continues a whole file from its last character; a line end there is part of the prompt. The continuation is
printed, or appended to the file with --append.

--length generates more tokens than one request allows: each further request has the end of the text so far as its
prompt, as much as fits the model's context, until the length is reached or the model ends the text.

--show_alternatives prints the text token by token, each with its probability and the most probable alternatives,
coloured in a terminal: · is a space, \\n a line end, <end> the end of the text, � a part of a character.

--beam_size searches for the most probable text by beam search, instead of sampling. --num_best prints the best texts,
each after its score and a tab, the best first.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from tflm.errors import UsageError, UserError
from tflm.files.encodings import decode_text, detect_encoding

from .alternatives import record_of, table
from .common.command_line import note, run_app
from .common.cut_texts import CutTexts
from .common.items import Printer, answer_items, define_items
from .common.model_flag import check_outputs, check_signature
from .common.tables import is_colored
from .common.text_generation import CommandLineGenerator, define_beams, define_generation, with_score

FLAGS = flags.FlagValues()
_FIELDS = {"text": "The prompt."}
define_generation(FLAGS)
define_beams(FLAGS)
define_items(FLAGS, _FIELDS)
flags.DEFINE_integer(
    "num_samples", 1, "Texts per prompt; their seeds count up from --seed.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer(
    "length",
    0,
    "Total number of tokens, by several requests if need be; 0 makes one request. Example: 500.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "file",
    None,
    "A text file to continue, in UTF-8, or in UTF-16 with a byte-order mark. Example: story.txt.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("append", False, "Appends the continuation to --file.", flag_values=FLAGS)
flags.DEFINE_integer(
    "show_alternatives",
    0,
    "Shows the text token by token, each with this many of the most probable alternatives. 0 is off. Example: 5.",
    lower_bound=0,
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    _check_flags(flag_values)
    generator = CommandLineGenerator(flag_values)
    continues = generator.model.continues_texts
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
        answer_items(flag_values, tuple(_FIELDS), answer, show, generator.model.config)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


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
    generator: CommandLineGenerator, texts: Sequence[str], flag_values: flags.FlagValues
) -> Iterator[list[dict[str, Any]]]:
    """For each prompt the records of its samples, or of its best texts; all of them in one request."""
    if generator.has_beams:
        for text, found in zip(texts, generator(texts), strict=True):
            yield [{"prompt": text, **generator.record(each)} for each in generator.best(found)]
        return
    number, first = flag_values.num_samples, generator.settings.decoding.seed
    seeds = range(first, first + number)
    model, common = generator.model, {"batch_size": number * generator.batch_size, **generator.given}
    if flag_values.length:
        if not generator.settings.decoding.max_new_tokens:
            raise UsageError("--length goes in requests of --max_new_tokens: give 1 or more of those.")
        common |= {"seed": [*seeds] * len(texts), "return_details": True}
        long = model.continue_text([text for text in texts for _ in seeds], flag_values.length, **common)
        long = [dataclasses.replace(each, finish_reason="") for each in long]
        rows = [long[begin : begin + number] for begin in range(0, len(long), number)]
    else:
        rows = model.samples(texts, number, **common)
    for text, row in zip(texts, rows, strict=True):
        yield [
            {"prompt": text, "seed": seed, **generator.record(each)}
            for seed, each in zip(seeds, row, strict=True)
        ]


def _show_alternatives(generator: CommandLineGenerator, flag_values: flags.FlagValues) -> None:
    """Prints what the model writes, token by token."""
    check_signature(generator.model, "alternatives", "--show_alternatives")
    check_outputs(generator.model, "generate", ("token_ids",))
    colored = is_colored()

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        texts = [item["text"] for item in items]
        common = {"batch_size": generator.batch_size, **generator.given}
        found = generator.model.alternatives(texts, num_alternatives=flag_values.show_alternatives, **common)
        for text, alternatives in zip(texts, found, strict=True):
            yield [record_of(text, alternatives)]

    config = generator.model.config
    answer_items(flag_values, tuple(_FIELDS), answer, lambda record: table(record, colored), config)


def _continue_file(generator: CommandLineGenerator, flag_values: flags.FlagValues) -> None:
    """Prints what follows a file's text, or writes it there."""
    path = flag_values.file
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UserError(f"cannot read --file={path}: {error.strerror}.") from error
    text = decode_text(data, f"--file={path}")
    if flag_values.append and (encoding := detect_encoding(data, path)).startswith(("utf-16", "utf-32")):
        raise UserError(
            f"--append writes UTF-8, and --file={path} is {encoding.upper()}; save the file as UTF-8"
        )
    (records,) = _answers(generator, [text], flag_values)
    cut = CutTexts(generator.model.config)
    cut.count(path, records)
    cut.tell()
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
