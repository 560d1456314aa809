"""Summaries of texts that are longer than a model reads: by parts, and then of the parts' summaries together."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import fields

from tflm.serving.handle.generation import TextGenerator
from tflm.serving.handle.results import Generated, Summary, SummaryPart
from tflm.text.cjk import HAN, KANA
from tflm.text.parts import CountFn, cut_into_parts
from tflm.text.words import one_line, written_in_characters

Parts = list[SummaryPart]
SummarizeFn = Callable[[Sequence[str]], Sequence[str]]


def summarize_texts(
    generator: TextGenerator, texts: Sequence[str], count_fn: CountFn, limit: int
) -> list[Summary]:
    """A summary of each text.

    Args:
        generator: a model that summarizes what it reads whole.
        count_fn: texts to how many tokens each is.
        limit: tokens that the model reads; 0 to let it read every text as far as it can.
    """
    found: dict[str, Generated] = {}  # what the model was given, to its summary

    def summarize(parts: Sequence[str]) -> list[str]:
        found.update(zip(parts, generator(parts), strict=True))
        return [one_line(found[part].text) for part in parts]

    summaries = []
    for text, (_, parts) in zip(texts, by_parts(texts, summarize, count_fn, limit), strict=True):
        last = found[last_read(text, parts)]
        values = {field.name: getattr(last, field.name) for field in fields(Generated)}
        summaries.append(Summary(**values, parts=tuple(parts)))
    return summaries


def by_parts(
    texts: Sequence[str], summarize_fn: SummarizeFn, count_fn: CountFn, limit: int
) -> list[tuple[str, Parts]]:
    """Summaries of texts of any length. The parts of all texts go together, round by round.

        limit 6 words: "One two three. Four five six. Seven eight nine."
        round 1        "One two three. Four five six." -> "A."     "Seven eight nine." -> "B."
        round 2        "A. B." -> "C.", the summary

    Where the summaries of a round are together no shorter than what was summarized, as of a model that was hardly
    trained, one more request reads them as far as the model does, and that is the summary.

    Args:
        texts: N of them.
        summarize_fn: the model's own summaries.
        count_fn: how many tokens each text is.
        limit: tokens that the model reads; 0 to leave every text whole.
    Returns:
        For each text its summary and its parts; no parts where the model read it whole.
    """
    found: list[tuple[str, Parts]] = [("", []) for _ in texts]
    waiting = dict(enumerate(texts))
    lengths = dict(enumerate(count_fn(texts) if limit else [0] * len(texts)))
    number = 0
    while waiting:
        number += 1
        cut = {
            row: cut_into_parts(text, count_fn, limit) if lengths[row] > limit else [text]
            for row, text in waiting.items()
        }
        summaries = iter(summarize_fn([part for parts in cut.values() for part in parts]))
        waiting = {}
        for row, parts in cut.items():
            answers = list(itertools.islice(summaries, len(parts)))
            shown = found[row][1]
            if len(parts) == 1:
                found[row] = (answers[0], shown)
                continue
            pairs = zip(parts, answers, strict=True)
            shown += [SummaryPart(number, part.strip(), answer) for part, answer in pairs]
            waiting[row] = _joined(answers)
        counts = count_fn(list(waiting.values())) if waiting else []
        for row, count in zip(waiting, counts, strict=True):
            lengths[row] = count if count < lengths[row] else 0  # no shorter: the next round is the last
    return found


def last_read(text: str, parts: Parts) -> str:
    """What the model read to write the summary that `by_parts` gave with these parts: the text itself, or the summaries
    of the last round."""
    if not parts:
        return text
    return _joined([part.summary for part in parts if part.round == parts[-1].round])


def _joined(texts: Sequence[str]) -> str:
    return ("" if written_in_characters(texts, HAN + KANA) else " ").join(texts)
