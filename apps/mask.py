"""Masks personal data in texts: phone, identity and card numbers, e-mail addresses.

  tflm mask --input=reviews.txt > masked.txt
  tflm mask --input=客服.csv --columns=对话,备注 --report=counts.json > 客服_masked.csv
  cat chats.jsonl | tflm mask --input=- --input_format=jsonl --kinds=email,chinese_mobile > masked.jsonl
  tflm mask --list

Standard output has the same lines with a tag such as <email> or <phone> in the place of what was found; all else stays
as it is. Of a table or of JSON lines the cells and strings of --columns are masked. Standard error has the counts.

Patterns with check digits and plausible ranges find the data; there is no model. Names, postal addresses and numbers
without a recognizable form are not found. docs/privacy.md has what each kind covers. --set data.mask_personal masks
the data of a training.
"""

import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from absl import flags

from tflm.errors import UsageError, UserError
from tflm.files.formats import source_of

from .common.command_line import note, run_app
from .common.input_rows import FILES, FORMATS
from .common.plugins import use_plugins

if TYPE_CHECKING:
    from tflm.data.personal import Masker
    from tflm.data.personal.masked_files import MaskReport

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "input",
    None,
    f"A file of texts: one text per line; {FILES} - reads standard input.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "input_format",
    "auto",
    ["auto", *FORMATS],
    "The format of --input. auto goes by the ending of the file; standard input is text.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "columns",
    [],
    "The columns of a table or of JSON lines to mask: their names; without a header their numbers, from 0. If not "
    "given: all.",
    flag_values=FLAGS,
)
flags.DEFINE_list("kinds", ["all"], "The kinds to mask, as --list names them, or all.", flag_values=FLAGS)
flags.DEFINE_string(
    "report",
    None,
    "Writes the counts and the lines of the first finds of each kind to this file. Example: counts.json.",
    flag_values=FLAGS,
)
flags.DEFINE_bool("list", False, "Lists the kinds and ends.", flag_values=FLAGS)
flags.DEFINE_list(
    "plugins",
    [],
    "Folders, modules or .py files that register kinds, with commas between; TFLM_PLUGINS does the same.",
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    from tflm.data.personal import Masker, check_kinds

    use_plugins(flag_values)
    if flag_values.list:
        _list()
        return
    path, report_path = flag_values.input, flag_values.report
    if not path:
        raise UsageError("--input is needed: a file of texts, or - for standard input.")
    if report_path and not report_path.endswith(".json"):
        raise UsageError(f"--report={report_path} must end in .json.")
    if not flag_values.kinds:
        raise UsageError("--kinds is empty: name some kinds, or all.")
    try:
        check_kinds(flag_values.kinds, "--kinds")
    except UserError as error:
        raise UsageError(str(error)) from error
    format_name = flag_values.input_format if flag_values.input_format != "auto" else source_of(path)
    if flag_values.columns and format_name == "text":
        raise UsageError(
            "--columns are those of a table or of JSON lines; plain text has none. See --input_format."
        )
    report = _write_masked(path, format_name, Masker(flag_values.kinds), flag_values.columns)
    if report_path:
        _write_report(report_path, path, report)
    _note(report)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _list() -> None:
    from tflm.data.personal.patterns import ALL, find_kinds

    kinds = find_kinds([ALL])
    width, tag_width = (max(len(getattr(each, name)) for each in kinds) for name in ("kind", "tag"))
    for each in kinds:
        print(f"{each.kind:{width}}  {each.tag:{tag_width}}  {each.summary}")


def _write_masked(path: str, format_name: str, masker: "Masker", columns: Sequence[str]) -> "MaskReport":
    """The masked lines to standard output."""
    from tflm.data.personal.masked_files import FileMasker
    from tflm.files.formats import open_unpacked

    file_masker = FileMasker(masker, format_name, columns)
    name = "standard input" if path == "-" else path
    try:
        file = sys.stdin.buffer if path == "-" else open_unpacked(path)
    except OSError as error:
        raise UserError(f"cannot read --input={path}: {error.strerror}.") from error
    with file:
        for line in file_masker.masked(_lines(file, name), name):
            sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
    return file_masker.report


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    """Lines with their ends; bytes that are not UTF-8 as surrogates, which are written as the same bytes."""
    from tflm.files.encodings import HEAD_BYTES, decode_lines, detect_encoding

    try:
        if hasattr(file, "peek") and not file.isatty():
            detect_encoding(file.peek(HEAD_BYTES), name)
        lines: Iterable[bytes] = decode_lines(file, name)[0]
        for line in lines:
            yield line.decode("utf-8", "surrogateescape")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read --input={name}: {error}. Check the file.") from error


def _note(report: "MaskReport") -> None:
    counts = ", ".join(f"{kind} {count:,}" for kind, count in report.counts.most_common())
    lines = "1 line" if report.num_lines == 1 else f"{report.num_lines:,} lines"
    note(f"{lines}; masked: {counts or 'nothing'}.")
    if bad := report.bad_rows:
        rows = "1 row was" if len(bad) == 1 else f"{len(bad):,} rows were"
        note(f"{rows} not readable and masked as plain text, in every column; the first is {bad[0]}")


def _write_report(path: str, name: str, report: "MaskReport") -> None:
    from tflm.files.writing import whole_file, writing

    record = {
        "input": name,
        "num_lines": report.num_lines,
        "counts": dict(report.counts.most_common()),
        "first_lines": report.lines,
        "num_bad_rows": len(report.bad_rows),
    }
    with writing(f"--report={path}"), whole_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run())
