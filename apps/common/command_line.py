"""What every app does the same way: flags, help and exit codes. `items` has input and output."""

import contextlib
import io
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags, logging

from tflm.errors import Interrupted, UsageError, UserError
from tflm.files.writing import advice, io_error_number, is_full

from .tables import bold, fitted, text_width

DONE, FAILED, WRONG_USAGE, RESUMABLE, INTERRUPTED = 0, 1, 2, 75, 130
_CONTROL = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"


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
        0 done, 1 the work failed, 2 wrong usage, 75 interrupted with its state saved (EX_TEMPFAIL: the same command
        continues), 130 interrupted.
    """
    arguments = list(sys.argv if argv is None else argv)
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    flags.FLAGS.mark_as_parsed()  # absl's own, which its logging asks for
    flag_values.unparse_flags()  # forget an earlier call in this process

    def work() -> None:
        if {"--help", "-h", "-help"} & set(arguments[1:]):
            print(f"{fitted(doc.strip())}\n\n{bold('Flags:')}\n{describe_flags(flag_values)}")
            return
        rest = flag_values(arguments)
        if len(rest) > 1:
            raise UsageError(f"unexpected argument {rest[1]!r}. Flags are written --name=value.")
        _check_numbers(flag_values)
        main(flag_values)

    return run_guarded(work)


def run_guarded(work: Callable[[], None]) -> int:
    """Calls `work`, and turns what a user did wrong into one line on standard error and an exit code.

    Returns:
        As `run_app`.
    """
    _check_streams()
    try:
        work()
        sys.stdout.flush()
    except (flags.Error, UsageError) as error:
        return _fail(f"{error}\nTry --help.", WRONG_USAGE)
    except UserError as error:
        return _fail(str(error), FAILED)
    except Interrupted as stop:
        note(str(stop))
        return RESUMABLE
    except KeyboardInterrupt:
        return _fail("interrupted.", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        _drop_output()
    except Exception as error:
        number = io_error_number(error)
        if number is None:
            raise
        return _fail(_explain(error, number), FAILED)
    return DONE


def note(message: str) -> None:
    """A line for the user that is no result: to standard error."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hides what C++ libraries write to standard error, such as TensorFlow's greeting, which no setting hides.

    Exceptions pass; only for short blocks, since a crash inside would be silent.
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


def _explain(error: Exception, number: int) -> str:
    """A failure to read or write a file that nothing has explained on the way."""
    name = getattr(error, "filename", None)
    if is_full(number):
        _drop_output()  # it may be what could not be written
        where = f" to {name}" if name else ""
        return f"cannot write{where}: {os.strerror(number)}. Earlier output was kept. {advice(number)}"
    if not name:  # one of TensorFlow's: "{{node}} run/state; Read-only file system [Op]"
        name = str(error).partition(f"; {os.strerror(number)}")[0].split("}} ")[-1]
    return f"cannot read or write {name!r}: {os.strerror(number)}. {advice(number)}"


def _drop_output() -> None:
    """What could not be written is not tried again at the end of the program."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_numbers(flag_values: flags.FlagValues) -> None:
    for name in flag_values:
        if isinstance(value := flag_values[name].value, float) and math.isnan(value):
            raise UsageError(f"--{name}=nan is not a number: give one.")


def _check_streams() -> None:
    """Closed ones, `>&-`, go nowhere. A character that the terminal's encoding lacks becomes '?', and does not end the
    program."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def flag_form(flag: flags.Flag) -> str:
    """How a flag is written on the command line.

    >>> flag_form(flags.EnumFlag("split", "eval", "Side.", ["eval", "test"]))
    '--split=eval|test'
    >>> flag_form(flags.BooleanFlag("stream", None, "Stream."))
    '--[no]stream'
    """
    if flag.boolean:
        return f"--[no]{flag.name}"
    if isinstance(flag.parser, flags.EnumParser):
        return f"--{flag.name}={'|'.join(flag.parser.enum_values)}"
    kinds = ((flags.IntegerParser, "INTEGER"), (flags.FloatParser, "NUMBER"), (flags.ListParser, "A,B,..."))
    value = next((name for parser, name in kinds if isinstance(flag.parser, parser)), "VALUE")
    return f"--{flag.name}={value}"


def flag_help(flag: flags.Flag) -> str:
    """The help of a flag on one line, without what absl adds to it."""
    text = " ".join((flag.help or "").split())
    return re.sub(r"^<[^>]*>: |; repeat this option to specify a list of values$", "", text)


def _default(flag: flags.Flag) -> str:
    return ("on" if flag.default else "off") if flag.boolean else str(flag.default_as_str).strip("'")


def describe_flags(flag_values: flags.FlagValues) -> str:
    """A flag's form, its help and its default, flag by flag in the order of definition."""
    lines, width = [], text_width(106) - 6
    for name in flag_values:
        flag = flag_values[name]
        repeated = " May be given several times." if isinstance(flag, flags.MultiFlag) else ""
        default = "" if flag.default in (None, "", []) else f" Default: {_default(flag)}."
        text = textwrap.fill(flag_help(flag) + repeated + default, width, break_on_hyphens=False)
        lines += [f"  {flag_form(flag)}", textwrap.indent(text, " " * 6)]
    return "\n".join(lines)


def _fail(message: str, code: int) -> int:
    # It contains names and texts of the user, which may hold escape codes of a terminal.
    shown = re.sub(_CONTROL, lambda found: found[0].encode("unicode_escape").decode("ascii"), message)
    note(f"{bold('error:', 'red', sys.stderr)} {shown}")
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
