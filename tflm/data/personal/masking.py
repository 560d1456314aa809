"""Masker: finds personal data in texts and puts a tag in its place; offsets move with the text."""

import bisect
import re
from collections.abc import Sequence
from typing import NamedTuple

from tflm.data.personal.patterns import ALL, PersonalData, find_kinds, plain_forms


class PersonalSpan(NamedTuple):
    """Personal data in a text."""

    start: int
    end: int
    """In characters."""
    kind: str


class MaskedText:
    """A text with a tag in the place of each span.

        "write to a@example.com."  ->  "write to <email>."

    Args:
        text: str.
        spans: of the text, in order, without overlaps.
        tags: kind to tag.
    """

    def __init__(self, text: str, spans: Sequence[PersonalSpan], tags: dict[str, str]) -> None:
        self.spans = spans
        parts, self._places, end, length = [], [], 0, 0
        for span in spans:
            kept, tag = text[end : span.start], tags[span.kind]
            self._places.append((length + len(kept), length + len(kept) + len(tag)))
            parts += [kept, tag]
            length, end = self._places[-1][1], span.end
        self.text = "".join([*parts, text[end:]])

    def moved(self, start: int, end: int) -> tuple[int, int]:
        """Where characters `start` to `end` of the text are in the masked one; what is partly masked has all of the
        tag."""
        return self._moved(start, 0), self._moved(end, 1)

    def kinds_in(self, start: int, end: int) -> list[str]:
        """The kinds of the spans that share a character with `start` to `end` of the text."""
        return [span.kind for span in self.spans if span.start < end and start < span.end]

    def _moved(self, old: int, side: int) -> int:
        """Where a start (side 0) or an end (side 1) is; inside a span it is that side of the tag."""
        number = bisect.bisect_right(self.spans, old - side, key=lambda span: span.start) - 1
        if number < 0:
            return old
        end, place = self.spans[number].end, self._places[number]
        return place[side] if old - side < end else old - end + place[1]


class Masker:
    """Finds and masks some kinds of personal data.

    >>> Masker(["email"]).mask("write to 张三：a@example.com.").text
    'write to 张三：<email>.'

    Args:
        kinds: names of `PATTERNS`, or "all".
    Raises:
        UserError: there is no such kind.
    """

    def __init__(self, kinds: Sequence[str] = (ALL,)) -> None:
        self.kinds = find_kinds(kinds)
        self._needs: dict[str, list[PersonalData]] = {}
        for each in self.kinds:
            self._needs.setdefault(each.needs, []).append(each)
        self._tags = {each.kind: each.tag for each in self.kinds}

    def find(self, text: str) -> list[PersonalSpan]:
        """What there is in a text, in order. Spans that overlap are joined, of the kind of the longest one.

        Args:
            text: str.
        Returns:
            Spans without overlaps, in characters of `text`.
        """
        likely = [each for needs, kinds in self._needs.items() if re.search(needs, text) for each in kinds]
        if not likely:
            return []
        plain = plain_forms(text)
        found = [
            PersonalSpan(start, end, each.kind)
            for each in sorted(likely, key=lambda each: each.kind)
            for start, end in each.function(plain)
            if start < end
        ]
        joined: list[PersonalSpan] = []
        longest = 0
        for span in sorted(found, key=lambda each: (each.start, -each.end)):
            if not joined or span.start >= joined[-1].end:
                joined.append(span)
                longest = span.end - span.start
                continue
            last, length = joined[-1], span.end - span.start
            kind = span.kind if length > longest else last.kind
            joined[-1] = PersonalSpan(last.start, max(last.end, span.end), kind)
            longest = max(longest, length)
        return joined

    def mask(self, text: str) -> MaskedText:
        """The text with a tag in the place of each span."""
        return MaskedText(text, self.find(text), self._tags)
