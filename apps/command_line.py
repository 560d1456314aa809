"""What every app does the same way: flags, help, exit codes, input and output."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags, logging

from tflm.errors import UsageError, UserError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def run_app(
    main: Callable[[flags.FlagValues], None],
    flag_values: flags.FlagValues,
    doc: str,
    argv: Sequence[str] | None,
) -> int:
    """Parses flags, runs `main`, and turns what a user did wrong into one line and an exit code.

    Args:
        main: the app; takes the parsed flags.
        flag_values: the app's own flags.
        doc: the app's help, above the list of flags.
        argv: the command line with the program's name first; `sys.argv` when None.
    Returns:
        0 done, 1 the work failed, 2 wrong usage, 130 interrupted.
    """
    arguments = list(sys.argv if argv is None else argv)
    if {"--help", "-h", "-help"} & set(arguments[1:]):
        print(f"{doc.strip()}\n\nFlags:\n{_describe(flag_values)}")
        return DONE
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    try:
        rest = flag_values(arguments)
        if len(rest) > 1:
            raise UsageError(f"unexpected argument {rest[1]!r}. Flags are written --name=value.")
        main(flag_values)
    except (flags.Error, UsageError) as error:
        return _fail(f"{error}\nTry --help.", WRONG_USAGE)
    except UserError as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted.", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def define_input(flag_values: flags.FlagValues) -> None:
    """--text, --input, --format, --batch_size."""
    flags.DEFINE_string("text", None, "One text, given here.", flag_values=flag_values)
    flags.DEFINE_string(
        "input",
        None,
        "A file with one text a line, or JSONL with a field \"text\" (ending .jsonl). '-' or nothing: standard "
        "input.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "format", "text", ["text", "json"], "How to print: text or JSONL.", flag_values=flag_values
    )
    flags.DEFINE_integer("batch_size", 32, "Texts in one request.", lower_bound=1, flag_values=flag_values)


def read_texts(flag_values: flags.FlagValues) -> Iterator[str]:
    """The texts that --text, --input or standard input give, in order.

    Raises:
        UserError: the file cannot be read, or a line is not UTF-8 or not what JSONL should be.
    """
    if flag_values.text is not None:
        yield flag_values.text
        return
    path = flag_values.input or "-"
    if path == "-":
        yield from _lines(sys.stdin.buffer, "standard input", as_json=False)
        return
    try:
        with open(path, "rb") as file:
            yield from _lines(file, path, as_json=path.endswith(".jsonl"))
    except OSError as error:
        raise UserError(f"cannot read --input={path}: {error.strerror}.") from error


def batched(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Lists of at most `size` texts."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def write_result(flag_values: flags.FlagValues, text: str, record: dict[str, Any]) -> None:
    """Prints one result: `text`, or `record` as a line of JSON."""
    print(json.dumps(record, ensure_ascii=False) if flag_values.format == "json" else text, flush=True)


def note(message: str) -> None:
    """A line for the user that is no result: to standard error."""
    print(message, file=sys.stderr, flush=True)


def _lines(file: Any, name: str, as_json: bool) -> Iterator[str]:
    for number, raw in enumerate(file, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if not as_json:
                yield line
                continue
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{name}, line {number}: {error}.") from error
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise UserError(f'{name}, line {number}: expected {{"text": "..."}}; got {line[:80]}')
        yield record["text"]


def _describe(flag_values: flags.FlagValues) -> str:
    lines = []
    for name in sorted(flag_values):
        flag = flag_values[name]
        default = "" if flag.default in (None, "", []) else f" Default: {flag.default_as_str}."
        lines.append(f"  --{name}\n      {flag.help}{default}")
    return "\n".join(lines)


def _fail(message: str, code: int) -> int:
    note(f"error: {message}")
    return code
