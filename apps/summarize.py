"""Summarizes texts with an exported model.

  python -m apps.summarize --model=saved_models/summarizer --text="Args: path: the file to read. Raises ..."
  python -m apps.summarize --model=saved_models/summarizer --input=texts.jsonl --format=json
  python -m apps.summarize --model=saved_models/summarizer --input=reports.jsonl --show_parts
  python -m apps.summarize --model=saved_models/summarizer --input=reports.jsonl --beam_size=4 --num_best=2
  cat texts.txt | python -m apps.summarize --model=saved_models/summarizer > summaries.txt

One summary a line, in the order of the texts. A text of several lines goes into JSONL, as {"text": "..."}.

A text that is longer than the model reads is cut at the ends of sentences into parts that it reads whole; each is
summarized, and then the summaries together are, again by parts if they are still too long. With --parts=off the model
reads a long text as far as it can and no further.
--show_parts prints the parts' summaries below; as JSON, the parts too.

--beam_size looks for the likeliest summary by beam search; --num_best prints the best so many of each text, each after
its score and a tab, the best first.
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags

from apps.command_line import run_app
from apps.items import answer_items, define_items
from apps.parts import CountFn, cut_into_parts
from apps.text_generation import (
    Generator,
    Record,
    define_beams,
    define_generation,
    one_line,
    scores_of,
    with_score,
)

FLAGS = flags.FlagValues()
_FIELDS = {"text": "A text to summarize."}
define_generation(FLAGS)
define_beams(FLAGS)
define_items(FLAGS, _FIELDS)
flags.DEFINE_enum(
    "parts",
    "auto",
    ["auto", "off"],
    "Whether a text too long for the model goes by parts.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("show_parts", False, "Show the parts' summaries too.", flag_values=FLAGS)

Parts = list[dict[str, Any]]
SummarizeFn = Callable[[Sequence[str]], Sequence[str]]


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = Generator(flag_values)
    limit = generator.model.config.get("task", {}).get("max_source_length", 0)
    if flag_values.parts == "off" or "tokenize" not in generator.model.signatures:
        limit = 0

    found: dict[str, list[Record]] = {}  # what the model was given, to its summaries

    def summarize(texts: Sequence[str]) -> list[str]:
        found.update(zip(texts, generator.best(texts), strict=True))
        return [one_line(found[text][0]["text"]) for text in texts]

    def count(texts: Sequence[str]) -> list[int]:
        return generator.model.predict("tokenize", {"text": list(texts)})["lengths"].tolist()

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        texts = [item["text"] for item in items]
        found.clear()
        for text, (_, parts) in zip(texts, by_parts(texts, summarize, count, limit), strict=True):
            shown = {"parts": parts} if flag_values.show_parts else {}
            yield [
                {"text": text, "summary": one_line(record["text"]), **scores_of(record), **shown}
                for record in found[last_read(text, parts)]
            ]

    answer_items(flag_values, tuple(_FIELDS), answer, lambda record: _shown(record, generator.num_best))


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def by_parts(
    texts: Sequence[str], summarize_fn: SummarizeFn, count_fn: CountFn, limit: int
) -> list[tuple[str, Parts]]:
    """Summaries of texts of any length. The parts of all texts go in one request, round by round.

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
        For each text its summary and its parts, `{"round": 1, "text": ..., "summary": ...}`; none where the model read
        it whole.
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
            shown += [{"round": number, "text": part.strip(), "summary": answer} for part, answer in pairs]
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
    return _joined([part["summary"] for part in parts if part["round"] == parts[-1]["round"]])


def _joined(texts: Sequence[str]) -> str:
    from tflm.evaluation.scripts import written_in_characters

    return ("" if written_in_characters(texts) else " ").join(texts)


def _shown(record: dict[str, Any], num_best: int) -> str:
    """The summary; below it, a little to the right, those of the parts."""
    parts = record.get("parts", [])
    lines = [f"  round {part['round']}, part {n}: {part['summary']}" for n, part in enumerate(parts, start=1)]
    return "\n".join([with_score(record, record["summary"], num_best), *lines])


if __name__ == "__main__":
    sys.exit(run())
