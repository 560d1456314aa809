"""What every app does the same way: flags, help and exit codes. `items` has input and output."""

import contextlib
import errno
import io
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags, logging

from tflm.errors import UsageError, UserError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
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
        0 done, 1 the work failed, 2 wrong usage, 130 interrupted.
    """
    arguments = list(sys.argv if argv is None else argv)
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    flags.FLAGS.mark_as_parsed()  # absl's own, which its logging asks for
    flag_values.unparse_flags()  # forget an earlier call in this process
    _check_streams()
    try:
        if {"--help", "-h", "-help"} & set(arguments[1:]):
            print(f"{doc.strip()}\n\nFlags:\n{_describe(flag_values)}")
        else:
            rest = flag_values(arguments)
            if len(rest) > 1:
                raise UsageError(f"unexpected argument {rest[1]!r}. Flags are written --name=value.")
            _check_numbers(flag_values)
            main(flag_values)
        sys.stdout.flush()
    except (flags.Error, UsageError) as error:
        return _fail(f"{error}\nTry --help.", WRONG_USAGE)
    except UserError as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted.", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        _drop_output()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _drop_output()
        where = f" to {error.filename}" if error.filename else ""
        return _fail(f"cannot write{where}: {error.strerror}. What came before is there; make room.", FAILED)
    return DONE


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


def _drop_output() -> None:
    """What could not be written is not tried again at the end of the program."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_numbers(flag_values: flags.FlagValues) -> None:
    for name in flag_values:
        if isinstance(value := flag_values[name].value, float) and math.isnan(value):
            raise UsageError(f"--{name}=nan is no number: give one.")


def _check_streams() -> None:
    """Closed ones, `>&-`, go nowhere. A character that the terminal's encoding lacks becomes '?', and does not end the
    program."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
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
    # Names and texts of the user stand in it, and may hold what a terminal obeys.
    shown = re.sub(_CONTROL, lambda found: found[0].encode("unicode_escape").decode("ascii"), message)
    note(f"error: {shown}")
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
