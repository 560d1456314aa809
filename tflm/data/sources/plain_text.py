"""Plain text documents: lines, paragraphs or whole files; the head-tail split of a single text."""

from collections.abc import Iterable, Iterator

from tflm.data.files import read_lines
from tflm.data.sources.rows import Row
from tflm.errors import UserError


def read_documents(files: list[str], document: str, encoding: str = "utf-8") -> Iterator[Row]:
    """The documents of each file. "line" and "paragraph" are streamed, a "file" is read into memory."""
    for file in files:
        yield from split_documents(file, enumerate(read_lines(file, encoding), 1), document)


def split_documents(file: str, lines: Iterable[tuple[int, str]], document: str) -> Iterator[Row]:
    """Splits numbered lines (with their newlines) into documents. Blank lines separate paragraphs and are skipped.

    >>> [row.example["text"] for row in split_documents("f", enumerate(["a\\n", "b\\n", "\\n"]), "paragraph")]
    ['a\\nb']
    """
    if document == "line":
        for number, line in lines:
            if not line.isspace():
                yield Row(file, number, {"text": line.rstrip("\n")})
        return
    collected: list[str] = []
    start = 1
    for number, line in lines:
        if document == "paragraph" and line.isspace():
            if collected:
                text = "".join(collected).rstrip("\n")
                yield Row(file, start, {"text": text}, num_lines=len(collected))
            collected = []
            continue
        if not collected:
            start = number
        collected.append(line)
    text = "".join(collected)
    if not text.isspace() and text:
        text = text if document == "file" else text.rstrip("\n")
        yield Row(file, start, {"text": text}, num_lines=len(collected))


def read_part(
    files: list[str], document: str, eval_fraction: float, part: str, encoding: str = "utf-8"
) -> Iterator[Row]:
    """The documents of a text before ("train") or after ("eval") character int(n * (1 - eval_fraction)).

    This is the split of char-rnn and nanoGPT: with eval_fraction 0.1, `text[: int(n * 0.9)]` and the rest. The text is
    read into memory, since the split position depends on its length.

    Raises:
        UserError: more than one file.
    """
    if len(files) != 1:
        raise UserError(
            f"split 'tail' needs one file, but {len(files)} files match; give one file or split 'hash'"
        )
    text = "".join(read_lines(files[0], encoding))
    cut = int(len(text) * (1 - eval_fraction))
    head, tail = text[:cut], text[cut:]
    chosen, first_line = (head, 1) if part == "train" else (tail, 1 + head.count("\n"))
    lines = (line + "\n" for line in chosen.split("\n")) if chosen else iter(())
    if document == "file":
        if chosen:
            yield Row(files[0], first_line, {"text": chosen}, num_lines=chosen.count("\n") + 1)
        return
    yield from split_documents(files[0], enumerate(lines, first_line), document)
