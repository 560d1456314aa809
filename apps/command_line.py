"""What every app does the same way: flags, help, exit codes, input and output."""

import contextlib
import io
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
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    flags.FLAGS.mark_as_parsed()  # absl's own, which its logging asks for
    flag_values.unparse_flags()  # forget an earlier call in this process
    _replace_unprintable()
    try:
        if {"--help", "-h", "-help"} & set(arguments[1:]):
            print(f"{doc.strip()}\n\nFlags:\n{_describe(flag_values)}")
        else:
            rest = flag_values(arguments)
            if len(rest) > 1:
                raise UsageError(f"unexpected argument {rest[1]!r}. Flags are written --name=value.")
            main(flag_values)
        sys.stdout.flush()
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


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hides what C++ libraries write to standard error, such as TensorFlow's greeting, which no setting hides.

    An exception passes as ever; only for short blocks, since a crash inside would be silent.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def load_tensorflow() -> None:
    """Imports TensorFlow without its greeting; some seconds, so after the flags have been checked."""
    with quiet_libraries():
        import tensorflow  # noqa: F401


def _lines(file: Any, name: str, as_json: bool) -> Iterator[str]:
    for number, raw in enumerate(file, start=1):
        place = f"{name}, line {number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if not as_json:
                yield line
            elif line.strip():
                yield _text_of(json.loads(line), place, line)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{place} is not UTF-8: {error.reason} at byte {error.start}. Save the file as UTF-8."
            ) from error
        except json.JSONDecodeError as error:
            raise UserError(
                f'{place} is not JSON: {error.msg} at column {error.colno}. Expected {{"text": "..."}}.'
            ) from error


def _text_of(record: Any, place: str, line: str) -> str:
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise UserError(f'{place}: expected {{"text": "..."}}; got {line[:80]}')
    return record["text"]


def _replace_unprintable() -> None:
    """A character that the terminal's encoding lacks becomes '?', and does not end the program."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


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


def describe(side: str, metrics: dict[str, float]) -> str:
    """A line for the eye, by what the task is measured by.

    >>> describe("held-out", {"loss": 0.25, "accuracy": 0.9})
    'held-out accuracy 90.00% (loss 0.2500)'
    """
    loss = f"(loss {metrics['loss']:.4f})"
    if "perplexity" in metrics:
        return f"{side} perplexity {metrics['perplexity']:.2f} {loss}"
    if "accuracy" in metrics:
        return f"{side} accuracy {100 * metrics['accuracy']:.2f}% {loss}"
    return f"{side} loss {metrics['loss']:.4f}"
