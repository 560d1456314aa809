"""Personal data in the examples of a data set: every text is masked, and places in texts move with it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tflm.data.personal.masking import MaskedText, Masker

_NO_TEXT = ("label", "spans", "answers")
"""Parts of an example that are not masked: labels, and places in a text, which move with it."""


class ExampleMasker:
    """Masks the texts of examples.

        {"text": "call 13812345678", "spans": '[[0, 4, "VERB"]]'}
        ->  {"text": "call <phone>", "spans": '[[0, 4, "VERB"]]'}

    Args:
        kinds: see `Masker`.
    Raises:
        UserError: there is no such kind.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self._masker = Masker(kinds)

    def masked(self, example: Mapping[str, str]) -> tuple[dict[str, str], Counter[str], str]:
        """The masked example, the number of spans that were masked by kind, and a problem, "" for none.

        A span of a tagged text, or an answer, that is partly masked has all of the tag. Spans with one label that have
        the same tag are one span; with several labels the example is of no use, which is the problem.

        Args:
            example: see `DataConfig.columns`; `messages`, `spans` and `answers` are JSON.
        """
        texts: dict[str, MaskedText] = {}
        counts: Counter[str] = Counter()
        masked = dict(example)
        for key, text in example.items():
            if key == "messages":
                masked[key] = self._messages(text, counts)
            elif key not in _NO_TEXT:
                texts[key] = self._masker.mask(text)
                masked[key] = texts[key].text
                counts.update(span.kind for span in texts[key].spans)
        problem = ""
        if "spans" in example and texts["text"].spans:
            spans, problem = _moved_spans(json.loads(example["spans"]), texts["text"])
            masked["spans"] = json.dumps(spans, ensure_ascii=False)
        if "answers" in example:
            answers = [self._moved_answer(each, texts["context"]) for each in json.loads(example["answers"])]
            masked["answers"] = json.dumps(answers, ensure_ascii=False)
        return masked, counts, problem

    def _messages(self, text: str, counts: Counter[str]) -> str:
        """A conversation as JSON with masked contents; unchanged where nothing is masked."""
        messages, is_changed = json.loads(text), False
        for message in messages:
            content = self._masker.mask(message["content"])
            counts.update(span.kind for span in content.spans)
            message["content"], is_changed = content.text, is_changed or bool(content.spans)
        return json.dumps(messages, ensure_ascii=False) if is_changed else text

    def _moved_answer(self, answer: Sequence[Any], context: MaskedText) -> list[Any]:
        """[start, text] in the masked context; of one that is not in the context, start -1 and the masked text."""
        if answer[0] < 0:
            return [answer[0], self._masker.mask(answer[1]).text]
        start, end = context.moved(answer[0], answer[0] + len(answer[1]))
        return [start, context.text[start:end]]


def _moved_spans(spans: Sequence[Any], text: MaskedText) -> tuple[list[list[Any]], str]:
    """[start, end, label] each in the masked text, and the problem where two labels share a tag."""
    moved: list[list[Any]] = []
    for start, end, label in spans:
        new_start, new_end = text.moved(start, end)
        if moved and new_start < moved[-1][1]:
            if moved[-1][2] != label:
                kind = text.kinds_in(start, end)[0]
                problem = (
                    f"personal data ({kind}) in spans of several labels: leave {kind} out of mask_personal"
                )
                return moved, problem
            moved[-1][1] = max(moved[-1][1], new_end)
        else:
            moved.append([new_start, new_end, label])
    return moved, ""
