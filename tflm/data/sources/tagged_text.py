"""Texts with labelled spans: CoNLL columns, JSON lines, and segmented text with spaces between words.

Readers yield {"text": the text, "spans": a JSON list of [start, end, label]}, in code points, sorted.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tflm.data.files import read_lines
from tflm.data.sources.rows import Row
from tflm.data.sources.tables import read_records
from tflm.text.cjk import HAN, KANA, SOUTHEAST_ASIAN

Span = tuple[int, int, str]

WORD = "word"
"""The default label, for segmented words and for tags without a label (B, M, E, S)."""
# Scripts without spaces: Han, kana, CJK punctuation and full-width forms, Southeast Asian. Hangul uses spaces.
_UNSPACED = re.compile(f"[{HAN}{KANA}\u3000-\u30ff\uff01-\uff65{SOUTHEAST_ASIAN}]")
_TAG = re.compile(r"O|(?P<place>[BIMELSU])(?:-(?P<label>.+))?")
_BAD_TAG = "a tag that is not O, nor B, I, M, E, L, S or U with a dash and a label"
_DOCUMENT = "-DOCSTART-"


def read_conll(files: list[str], encoding: str = "utf-8") -> Iterator[Row]:
    """Streams CoNLL files: one token (first column) and its tag (last column) per line, separated by tabs or spaces,
    and blank lines between sentences. Reads IOB1, IOB2, BIOES, BILOU and BMES, see `tag_spans`; see `join_words` for
    the text.

        EU  B-ORG
        rejects  O          ->  {"text": "EU rejects", "spans": '[[0, 2, "ORG"]]'}

    A sentence with a malformed line is a bad row. Lines with -DOCSTART- are skipped.
    """
    for file in files:
        for sentence in _sentences(read_lines(file, encoding)):
            bad = [(number, problem) for number, cells in sentence if (problem := _problem(cells))]
            if bad:
                yield Row(file, bad[0][0], {}, bad[0][1], num_lines=len(sentence))
                continue
            text, places = join_words([cells[0] for _, cells in sentence])
            spans = [
                (places[first][0], places[end - 1][1], label)
                for first, end, label in tag_spans([cells[-1] for _, cells in sentence])
            ]
            yield tagged_row(file, sentence[0][0], text, spans)._replace(num_lines=len(sentence))


def read_segmented(files: list[str], encoding: str = "utf-8") -> Iterator[Row]:
    """Streams segmented text in the format of the SIGHAN bakeoffs: one text per line, words separated by spaces. Each
    word is a span.

    我 爱 北京  ->  {"text": "我爱北京", "spans": '[[0, 1, "word"], [1, 2, "word"], [2, 4, "word"]]'}
    """
    for file in files:
        for number, line in enumerate(read_lines(file, encoding), 1):
            if words := line.split():
                text, places = join_words(words)
                yield tagged_row(file, number, text, [(start, end, WORD) for start, end in places])


def read_tagged_jsonl(
    files: list[str], text_column: str, spans_column: str, encoding: str = "utf-8"
) -> Iterator[Row]:
    """Streams texts with spans, one JSON object per line. A span is [start, end, label] or an object with these keys,
    as printed by `tflm tag --format=json`. Spans may be in any order and must not overlap.

        {"text": "EU rejects", "spans": [[0, 2, "ORG"]]}
        {"text": "EU rejects", "spans": [{"start": 0, "end": 2, "label": "ORG"}]}
    """
    for file, number, record in read_records(files, (text_column, spans_column), encoding):
        if isinstance(record, Row):
            yield record
            continue
        text, spans = record.get(text_column), _read_spans(record.get(spans_column))
        if not isinstance(text, str):
            yield Row(file, number, {}, f"column {text_column!r} holds a {type(text).__name__}, not text")
        elif spans is None:
            yield Row(file, number, {}, f"column {spans_column!r} is not a list of [start, end, label]")
        else:
            yield tagged_row(file, number, text, spans)


def tagged_row(file: str, line: int, text: str, spans: Iterable[Span]) -> Row:
    """The row of a text and its spans; a bad row if a span is outside the text, blank or overlapping.

    Byte-order marks and outer spaces are removed and the spans adjusted.

    >>> tagged_row("f", 1, " EU rejects", [(1, 3, "ORG")]).example
    {'text': 'EU rejects', 'spans': '[[0, 2, "ORG"]]'}
    """
    spans = sorted(spans)
    last_end = 0
    for start, end, _ in spans:
        if not 0 <= start < end <= len(text):
            return Row(file, line, {}, "a span that is not inside the text")
        if not text[start:end].replace("\ufeff", "").strip():
            return Row(file, line, {}, "a span of spaces alone")
        if start < last_end:
            return Row(file, line, {}, "two spans that overlap")
        last_end = end
    kept = text.replace("\ufeff", "")
    tidy = kept.strip()
    before = len(kept) - len(kept.lstrip())

    def place(old: int) -> int:
        return min(max(old - text.count("\ufeff", 0, old) - before, 0), len(tidy))

    moved = [[place(start), place(end), label] for start, end, label in spans]
    return Row(file, line, {"text": tidy, "spans": json.dumps(moved, ensure_ascii=False)})


def tag_spans(tags: Sequence[str]) -> list[Span]:
    """Decodes tags to spans (first token, end token, label) by the rules of conlleval (Tjong Kim Sang and Buchholz,
    2000), which cover IOB1, IOB2, BIOES, BILOU and BMES and repair invalid sequences.

    >>> tag_spans(["I-LOC", "I-LOC", "B-LOC", "O", "S-PER", "I-ORG"])
    [(0, 2, 'LOC'), (2, 3, 'LOC'), (4, 5, 'PER'), (5, 6, 'ORG')]
    """
    spans: list[Span] = []
    start, label, is_open = 0, "", False
    for number, tag in enumerate([*tags, "O"]):
        found = _TAG.fullmatch(tag)
        place, name = (found["place"], found["label"] or WORD) if found and found["place"] else ("O", "")
        if is_open and (place in "OBSU" or name != label):
            spans.append((start, number, label))
            is_open = False
        if place != "O" and not is_open:
            start, label, is_open = number, name, True
        if is_open and place in "ESLU":
            spans.append((start, number + 1, label))
            is_open = False
    return spans


def join_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Joins words to a text; returns the text and the (start, end) of each word. Words are separated by a space unless
    a character at the boundary belongs to a script without spaces. Character-segmented Chinese is joined without any
    spaces, including around digits.

    >>> join_words(["我", "用", "Tensor", "Flow", "。"])
    ('我用Tensor Flow。', [(0, 1), (1, 2), (2, 8), (9, 13), (13, 14)])
    >>> join_words(["2", "8", "年"])
    ('28年', [(0, 1), (1, 2), (2, 3)])
    """
    by_character = all(len(word) == 1 for word in words) and any(map(_UNSPACED.match, words))
    text, places = "", []
    for word in words:
        if text and not by_character and not _UNSPACED.match(text[-1]) and not _UNSPACED.match(word):
            text += " "
        places.append((len(text), len(text) + len(word)))
        text += word
    return text, places


def _sentences(lines: Iterable[str]) -> Iterator[list[tuple[int, list[str]]]]:
    """Sentences as numbered lines of cells. Only tabs and ASCII spaces separate cells: U+3000 may be a token."""
    sentence: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        cells = line.split("\t") if "\t" in line else line.split(" ")
        cells = [cell for cell in (cell.strip(" ") for cell in cells) if cell]
        if cells and cells[0] != _DOCUMENT:
            sentence.append((number, cells))
        elif sentence:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _problem(cells: list[str]) -> str:
    if len(cells) < 2:
        return "not a token and a tag"
    return "" if _TAG.fullmatch(cells[-1]) else _BAD_TAG


def _read_spans(value: Any) -> list[Span] | None:
    """Spans of a JSON value; None if malformed."""
    if not isinstance(value, list):
        return None
    spans = []
    for each in value:
        parts = [each.get(name) for name in ("start", "end", "label")] if isinstance(each, dict) else each
        if not isinstance(parts, list) or [type(part) for part in parts] != [int, int, str] or not parts[2]:
            return None
        spans.append((parts[0], parts[1], parts[2]))
    return spans
