"""Questions, answers and their topics from the YAML files of the chatterbot-corpus package (BSD licence)."""

import difflib
import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path

from tflm.data.files import read_lines
from tflm.data.sources.rows import Row
from tflm.data.sources.tables import as_text
from tflm.errors import UserError

# In these topics, each turn answers the previous one. In all others ("emotion", "computers", ...), the first turn is a
# question and each further turn is an alternative answer.
_DIALOGUES = frozenset({"conversations", "health", "sports"})


def read_chatterbot(
    languages: tuple[str, ...], text_column: str = "", label_column: str = ""
) -> Iterator[Row]:
    """The distinct examples of the languages, with files in name order.

    The corpus repeats many conversations verbatim (english/tech_support); duplicates are skipped.

    Args:
        languages: folders of the corpus.
        text_column: "dialogue" for {"text": "question\\nanswer"}; "" for {"source": question, "target": answer}.
        label_column: "topic" or "language" for {"text", "label"}; the text is the question if `text_column` is "".

    Raises:
        UserError: the package is not installed, or does not have the language.
    """
    folder = _corpus_folder()
    seen: set[tuple[str, ...]] = set()
    for language in languages:
        if not (folder / language).is_dir():
            present = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
            close = difflib.get_close_matches(language, present, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UserError(
                f"chatterbot-corpus has no language {language!r}, only {', '.join(present)}{hint}"
            )
        for file in sorted((folder / language).glob("*.yml")):
            label = {"topic": file.stem, "language": language}.get(label_column)
            for row in _read_file(file):
                if row.problem:
                    yield row
                    continue
                example = _shaped(row.example, text_column, label)
                content = tuple(example.values())
                if content not in seen:
                    yield row._replace(example=example, key=row.example["source"])
                seen.add(content)


def _corpus_folder() -> Path:
    spec = importlib.util.find_spec("chatterbot_corpus")
    if spec is None or importlib.util.find_spec("yaml") is None:
        raise UserError("source 'chatterbot' needs the chatterbot-corpus package: pip install 'tflm[demo]'")
    return Path((spec.submodule_search_locations or [""])[0]) / "data"


def _shaped(pair: dict[str, str], text_column: str, label: str | None) -> dict[str, str]:
    if not text_column and label is None:
        return pair
    text = "\n".join(pair.values()) if text_column == "dialogue" else pair["source"]
    return {"text": text} if label is None else {"text": text, "label": label}


def _read_file(file: Path) -> Iterator[Row]:
    import yaml

    try:
        content = yaml.safe_load("".join(read_lines(str(file))))
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    conversations = content.get("conversations") if isinstance(content, dict) else None
    if not isinstance(conversations, list):
        raise UserError(f"{file} is no file of the chatterbot corpus: it has no list 'conversations'")
    for conversation in conversations:
        turns = [as_text(turn) for turn in conversation] if isinstance(conversation, list) else []
        if len(turns) < 2:
            yield Row(str(file), 0, {}, "a conversation of less than two turns")
            continue
        for source, target in pair_turns([(turn or "").strip() for turn in turns], file.stem):
            yield Row(str(file), 0, {"source": source, "target": target})


def pair_turns(turns: list[str], topic: str) -> list[tuple[str, str]]:
    """The (source, target) pairs of one conversation.

    >>> pair_turns(["Hello", "Hi", "How are you?"], "conversations")
    [('Hello', 'Hi'), ('Hi', 'How are you?')]
    >>> pair_turns(["Are you sad?", "No.", "Should I be?"], "emotion")
    [('Are you sad?', 'No.'), ('Are you sad?', 'Should I be?')]
    """
    if topic in _DIALOGUES:
        return list(itertools.pairwise(turns))
    return [(turns[0], answer) for answer in turns[1:] if answer != turns[0]]
