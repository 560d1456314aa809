"""Texts that a model did not read to their end: counted over a run, one warning at its end.

    cut = CutTexts(model.config)
    cut.count("reviews.tsv, line 3", [{"label": "good", "truncated": True}])
    cut.tell()

    reviews.tsv, line 3: the text is longer than the model reads (256 tokens); its end was left out. 1 of 1 texts was
    cut.

Exports of earlier versions do not report whether they cut a text; for them there is no warning.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .command_line import note


class CutTexts:
    """How many texts were cut.

    Args:
        config: of the model, which says how much it reads, and which side of a text it leaves out.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.first, self.num_cut, self.num_texts = "", 0, 0

    def count(self, place: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Takes note of a text and of what was answered to it.

        Args:
            place: of the text, as "reviews.tsv, line 3".
            records: `truncated` in any of them says that the text was cut.
        """
        self.num_texts += 1
        if any(record.get("truncated") for record in records):
            self.first = self.first or place
            self.num_cut += 1

    def tell(self) -> None:
        """Writes a line to standard error, if a text was cut."""
        if self.num_cut:
            were = "was" if self.num_cut == 1 else "were"
            note(
                f"{self.first}: {what_was_cut(self.config)} {self.num_cut:,} of {self.num_texts:,} texts {were} cut."
            )


def what_was_cut(config: Mapping[str, Any]) -> str:
    """What a model of that config does with a text that is too long for it.

    >>> what_was_cut({"task": {"kind": "classification"}, "model": {"max_length": 256}})
    'the text is longer than the model reads (256 tokens); its end was left out.'
    """
    task = config.get("task", {})
    kind = task.get("kind", "")
    name = "question" if kind == "question_answering" else "text"
    limit = task.get(f"max_{'question' if name == 'question' else 'source'}_length")
    limit = limit or config.get("model", {}).get("max_length")
    reads = f" ({limit:,} tokens)" if isinstance(limit, int) else ""
    keeps_end = kind == "language_modeling" or task.get("keep_source") == "end"
    keeps_end |= task.get("objective") == "prefix_lm"
    side = "a part of it" if kind in ("", "chat") else f"its {'beginning' if keeps_end else 'end'}"
    return f"the {name} is longer than the model reads{reads}; {side} was left out."
