"""Embeds texts: vectors, semantic search, near-duplicates, keywords, retrieval metrics.

  tflm embed --model=saved_models/sentences --input=texts.txt --output=vectors.npy
  tflm embed --model=saved_models/sentences --input=questions.txt --query="怎么退货？" --top=3
  tflm embed --model=saved_models/sentences --input=questions.txt --duplicates=0.95
  tflm embed --model=saved_models/sentences --text="A language model learns words." --keywords=3
  tflm embed --model=saved_models/sentences --input=sts.tsv --scores_column=score
  tflm embed --model=saved_models/sentences --input=faq.tsv --retrieval

Prints the numbers of each text's vector in a line, with tabs between, in the order of the texts; or, one at a time:

  --output      all vectors into a NumPy file, float32 [texts, numbers]
  --query       the lines most similar to it: similarity, line number, text
  --duplicates  pairs of lines that are at least so similar: similarity, both line numbers, both texts
  --keywords    for each text the most representative words and pairs of words, in Chinese of two to four characters
  --scores_column  of a table with pairs of texts and a score: Spearman's correlation of similarity and score
  --retrieval   of a table with texts and their answers, text_pair: how often an answer is the most similar to its text,
                or among the first 5 or 10, of all answers of the table; and the mean reciprocal rank

A similarity is a cosine, from -1 to 1, of texts in NFC. Lines that cannot be read are left out of what is computed over
all lines.
"""

import contextlib
import dataclasses
import math
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from tflm.errors import UsageError, UserError
from tflm.progress import ProgressBar

from .common.command_line import run_app
from .common.input_rows import Item, bad_lines
from .common.items import Printer, answer_items, define_items, read_items
from .common.model_flag import define_model, open_model

if TYPE_CHECKING:
    import numpy as np

Record = dict[str, Any]
EmbedFn = Callable[[Sequence[str]], "np.ndarray"]

FLAGS = flags.FlagValues()
define_model(FLAGS)
define_items(FLAGS, {"text": "The text to embed."})
flags.DEFINE_string(
    "output",
    None,
    "Writes all vectors to this NumPy file, float32 [texts, dimensions]. Example: vectors.npy.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "query", None, "Semantic search: ranks the lines by their similarity to this text.", flag_values=FLAGS
)
flags.DEFINE_integer("top", 10, "With --query: how many lines to print.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float(
    "duplicates",
    None,
    "Finds pairs of lines with at least this cosine similarity. Example: 0.95.",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "keywords",
    None,
    "Extracts this many keywords from each text. Example: 5.",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "scores_column",
    None,
    "Column with scores of pairs: prints Spearman's correlation of similarity and score.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "retrieval",
    False,
    "Prints recall and mean reciprocal rank of finding each text's text_pair among all of the table.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "text_pair_column",
    "text_pair",
    "With --scores_column and --retrieval: the column with the second text of each pair.",
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    modes: dict[str, Callable[[flags.FlagValues, EmbedFn], None]] = {
        "output": _write,
        "query": _rank,
        "duplicates": _find_duplicates,
        "keywords": _keywords,
        "scores_column": _measure_scores,
        "retrieval": _measure_retrieval,
    }
    given = [name for name in modes if flag_values[name].value != flag_values[name].default]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} are two different things to do: give one of them.")
    if flag_values.output is not None and not flag_values.output.endswith(".npy"):
        raise UsageError(f"--output={flag_values.output} must end in .npy; it is for NumPy.")
    embed_fn = _embedder(flag_values)
    if given in ([], ["output"]):
        (modes[given[0]] if given else _print_vectors)(flag_values, embed_fn)
    else:
        modes[given[0]](flag_values, _of_nfc(embed_fn))


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _embedder(flag_values: flags.FlagValues) -> EmbedFn:
    """One text or more to float32 [N, D]."""
    model, batch_size = open_model(flag_values, "embed"), flag_values.batch_size

    def embed(texts: Sequence[str]) -> "np.ndarray":
        with ProgressBar("embedding", "texts") as bar:
            return model.embed(list(texts), batch_size=batch_size, progress_fn=bar.update)

    return embed


def _of_nfc(embed_fn: EmbedFn) -> EmbedFn:
    """What is compared is in NFC, so that equal texts are equal to a model of bytes, too."""
    return lambda texts: embed_fn([unicodedata.normalize("NFC", text) for text in texts])


def _print_vectors(flag_values: flags.FlagValues, embed_fn: EmbedFn) -> None:
    def answer(items: list[dict[str, str]]) -> Iterator[list[Record]]:
        texts = [item["text"] for item in items]
        for text, vector in zip(texts, embed_fn(texts), strict=True):
            # By way of its text, so that 0.1 is not 0.10000000149011612.
            yield [{"text": text, "embedding": [float(str(number)) for number in vector]}]

    answer_items(
        flag_values,
        ("text",),
        answer,
        lambda record: "\t".join(str(number) for number in record["embedding"]),
    )


def _keywords(flag_values: flags.FlagValues, embed_fn: EmbedFn) -> None:
    from tflm.retrieval.keywords import find_keywords

    def answer(items: list[dict[str, str]]) -> Iterator[list[Record]]:
        texts = [item["text"] for item in items]
        for text, found in zip(texts, find_keywords(texts, embed_fn, flag_values.keywords), strict=True):
            keywords, scores = [phrase for phrase, _ in found], [round(score, 4) for _, score in found]
            yield [{"text": text, "keywords": keywords, "scores": scores}]

    answer_items(flag_values, ("text",), answer, lambda record: "\t".join(record["keywords"]))


def _write(flag_values: flags.FlagValues, embed_fn: EmbedFn) -> None:
    """All vectors into a file, whole or not at all."""
    import numpy as np

    path, temporary = flag_values.output, f"{flag_values.output}.tmp"
    try:
        with open(temporary, "wb") as file:  # first of all, so that a folder that is not there costs no time
            items = _Items(read_items(flag_values, ("text",)))
            vectors = embed_fn(items.column("text"))
            np.save(file, vectors)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write --output={path}: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    print(f"{len(vectors):,} vectors of {vectors.shape[1]} numbers: {path}")
    items.tell_bad()


def _rank(flag_values: flags.FlagValues, embed_fn: EmbedFn) -> None:
    from tflm.evaluation.metrics.retrieval import nearest

    items = _Items(read_items(flag_values, ("text",)))
    vectors = embed_fn([*items.column("text"), flag_values.query])
    places, scores = nearest(vectors[-1], vectors[:-1], flag_values.top)
    records = (
        {"score": float(score), "line": items.line(place), "text": items.good[place].fields["text"]}
        for place, score in zip(places, scores, strict=True)
    )
    _show(flag_values, records)
    items.tell_bad()


def _find_duplicates(flag_values: flags.FlagValues, embed_fn: EmbedFn) -> None:
    from tflm.evaluation.metrics.retrieval import near_duplicates

    items = _Items(read_items(flag_values, ("text",)))
    texts = items.column("text")
    records = (
        {
            "score": pair.similarity,
            "line": items.line(pair.first),
            "other_line": items.line(pair.second),
            "text": texts[pair.first],
            "other_text": texts[pair.second],
        }
        for pair in near_duplicates(embed_fn(texts), flag_values.duplicates)
    )
    _show(flag_values, records)
    items.tell_bad()


def _measure_scores(flag_values: flags.FlagValues, embed_fn: EmbedFn) -> None:
    from tflm.evaluation.metrics.retrieval import spearman

    items = _Items(_table(flag_values, ("text", "text_pair", "scores")), numbers="scores")
    one, other = (embed_fn(items.column(name)) for name in ("text", "text_pair"))
    correlation = spearman(one, other, [float(score) for score in items.column("scores")])
    _show_measures(flag_values, {"spearman": correlation, "pairs": len(items.good)})
    items.tell_bad()


def _measure_retrieval(flag_values: flags.FlagValues, embed_fn: EmbedFn) -> None:
    from tflm.evaluation.metrics.retrieval import measure_retrieval

    items = _Items(_table(flag_values, ("text", "text_pair")))
    measures = measure_retrieval(items.column("text"), items.column("text_pair"), embed_fn)
    _show_measures(flag_values, measures)
    items.tell_bad()


class _Items:
    """All lines at once.

    Args:
        items: of the input.
        numbers: a field that must hold a number.
    Raises:
        UserError: none of them could be read.
    """

    def __init__(self, items: Iterable[Item], numbers: str = "") -> None:
        found = [_with_number(item, numbers) if numbers else item for item in items]
        self.good = [item for item in found if not item.problem]
        self.bad = [item for item in found if item.problem]
        if not self.good:
            self.tell_bad()
            raise UserError("there is nothing to read: the input is empty.")

    def column(self, name: str) -> list[str]:
        """The texts of a field."""
        return [item.fields[name] for item in self.good]

    def line(self, place: int) -> int:
        """The number of a line in the input, from 1."""
        return self.good[place].line

    def tell_bad(self) -> None:
        """Says at the end that lines were left out.

        Raises:
            UserError: there were such lines.
        """
        if self.bad:
            num_lost, first = bad_lines(self.bad)
            raise UserError(
                f"{num_lost} of {num_lost + len(self.good)} lines could not be read and are left out; the first is "
                f"{first}"
            )


def _with_number(item: Item, name: str) -> Item:
    try:
        if item.problem or math.isfinite(float(item.fields[name])):
            return item
    except ValueError:
        pass
    problem = f"expected a number as its score; got {item.fields[name]!r}."
    return dataclasses.replace(item, fields={}, problem=problem)


def _table(flag_values: flags.FlagValues, names: Sequence[str]) -> Iterator[Item]:
    """The lines of a table with several fields, of which only the first has a flag of its own.

    Raises:
        UsageError: that flag is given.
    """
    if flag_values.text is not None:
        raise UsageError("--text is one text; what is measured are the pairs of a table: give --input.")
    own = flags.FlagValues()
    define_items(own, dict.fromkeys(names, ""))
    own.mark_as_parsed()
    for flag in ("input", "input_format", "offset", "limit", *(f"{name}_column" for name in names)):
        own[flag].value = flag_values[flag].value
    return read_items(own, names)


def _show(flag_values: flags.FlagValues, records: Iterable[Record]) -> None:
    """Prints records whose first value is a similarity, as text a line each."""

    def shown(record: Record) -> str:
        similarity, *rest = record.values()
        return "\t".join([f"{similarity:.4f}", *(" ".join(str(value).split()) for value in rest)])

    printer = Printer(flag_values.format, shown)
    for record in records:
        printer.show(record)


def _show_measures(flag_values: flags.FlagValues, measures: dict[str, float]) -> None:
    """Prints a measure a line."""

    def shown(record: Record) -> str:
        lines = (
            f"{name}\t{value:.4f}" if isinstance(value, float) else f"{name}\t{value:,}"
            for name, value in record.items()
        )
        return "\n".join(lines)

    Printer(flag_values.format, shown).show(measures)


if __name__ == "__main__":
    sys.exit(run())
