"""Labels: unifying spellings, warnings about similar labels, and the location of unknown labels in the data."""

import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from absl import logging

from tflm.errors import UserError

_SHOWN = 20
_MOST_LABELS = 2000
_WHOLE_NUMBER = re.compile(r"(-?[0-9]+)\.0+")
_BOOLEANS = ("true", "false")


class UnknownLabelError(UserError):
    """An example has a label that the model does not know.

    Args:
        message: message to the user.
        known: the known labels, for `check_labels`, which locates the example.
    """

    def __init__(self, message: str, known: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.known = known


def labels_of(example: dict[str, str], separator: str = "") -> Iterator[str]:
    """The label, the labels or the span labels of an example.

    >>> list(labels_of({"text": "a", "label": "red| round"}, "|"))
    ['red', 'round']
    """
    if "spans" in example:
        yield from (str(label) for _, _, label in json.loads(example["spans"]))
    elif separator:
        yield from filter(None, (part.strip() for part in example["label"].split(separator)))
    else:
        yield example["label"]


def look_alike(label: str, known: Iterable[str]) -> str:
    """The known label that differs from `label` only in case, spaces or character forms; "" for none."""
    return next((each for each in known if _look(each) == _look(label)), "")


def unknown_label(label: str, known: Sequence[str]) -> str:
    """The error message for a label that is not in the training split."""
    return (
        f"the label {label!r} is not among those of the training side: {_listed_known(label, known)} Correct it, or "
        "add examples of it there."
    )


def check_labels(
    examples: Iterable[tuple[str, dict[str, str]]], known: Sequence[str], separator: str = ""
) -> None:
    """Checks all labels of a data set.

    Args:
        examples: examples with locations, from `Examples.with_places`.
        known: labels of the training split.
        separator: separator of the labels in multi-label classification; "" for single-label.
    Raises:
        UnknownLabelError: unknown labels; the message has the location of the first one and the counts.
    """
    spelling_of, counts, first = find_spelling(known), Counter[str](), ""
    for place, example in examples:
        unknown = [label for label in labels_of(example, separator) if spelling_of(label) is None]
        first = first or (f"{place}: the label {unknown[0]!r}" if unknown else "")
        counts.update(unknown)
    if counts:
        shown = ", ".join(f"{label!r} ({count:,})" for label, count in counts.most_common(5))
        more = f" and {len(counts) - 5:,} others" if len(counts) > 5 else ""
        names = _listed_known(next(iter(counts)), known)
        raise UnknownLabelError(
            f"{first} is not among those of the training side: {names} Found in all: "
            f"{shown}{more}. Correct these rows, or add examples of the label to the training side.",
            known,
        )


def label_key(label: str) -> str:
    """A key that is equal for spellings of a label: surrounding blanks, NFC and NFD, `1` and `1.0`, `true` and `True`.

    Other numbers are compared as text: 3.1 and 3.10 may be versions.

    >>> [label_key(label) for label in (" 1.0", "-0.0", "True", "07", "3.10")]
    ['1', '0', 'true', '07', '3.10']
    """
    label = unicodedata.normalize("NFC", label.strip())
    if number := _WHOLE_NUMBER.fullmatch(label):
        label = number[1]
    if label == "-0":
        return "0"
    return label.lower() if label.lower() in _BOOLEANS else label


def one_spelling(labels: Iterable[str]) -> dict[str, str]:
    """Maps each label to the canonical spelling of its key: the shortest one, then the first in sort order.

    >>> one_spelling(["1.0", "1", "yes"])
    {'1.0': '1', '1': '1', 'yes': 'yes'}
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[label_key(label)].append(label)
    return {
        label: min(group, key=lambda each: (len(each), each)) for group in groups.values() for label in group
    }


def find_spelling(known: Sequence[str]) -> Callable[[str], str | None]:
    """A function that maps a label to the known label that equals it, or has the same key; None if unknown.

    >>> find_spelling(["no", "1"])("1.0")
    '1'
    """
    names, by_key = frozenset(known), {label_key(label): label for label in reversed(known)}
    return lambda label: label if label in names else by_key.get(label_key(label))


def find_labels(examples: Iterable[dict[str, str]], separator: str = "") -> list[str]:
    """The labels of examples, sorted; numbers by their value. Spellings of one label, such as 1 and 1.0, are joined.

    >>> find_labels([{"text": "a", "label": "10"}, {"text": "b", "label": "9"}])
    ['9', '10']

    Args:
        separator: parts the labels of one example; "" where there is one each.
    Raises:
        UserError: examples have no label, or too many distinct ones to be labels.
    """
    found: Counter[str] = Counter()
    for example in examples:
        if "label" not in example:
            raise UserError(
                f"classification needs labels; an example has only {', '.join(example)}. Set data.label_column."
            )
        parts = example["label"].split(separator) if separator else [example["label"]]
        found.update(part.strip() for part in parts if part.strip())
        if len(found) > _MOST_LABELS:
            raise UserError(
                f"more than {_MOST_LABELS} different labels, such as {sorted(found)[0]!r}: is data.label_column the "
                "right column?"
            )
    return sorted(
        joined_labels(found),
        key=lambda label: (not label.isdecimal(), int(label) if label.isdecimal() else 0, label),
    )


def parse_weight(assignment: str) -> tuple[str, float]:
    """("bad", 3.0) of "bad=3".

    Raises:
        ValueError: it is not "LABEL=WEIGHT" with a positive number.
    """
    label, _, number = assignment.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not label or not 0.0 < weight < math.inf:
        raise ValueError(f'label_weights are "LABEL=WEIGHT" with a positive number; got {assignment!r}.')
    return label, weight


def joined_labels(counts: Mapping[str, int]) -> list[str]:
    """The distinct labels in canonical spelling. Logs merged spellings, and warns of distinct labels that differ only
    in case, spaces or character forms (NFKC), and of booleans next to 0 or 1.

    Args:
        counts: number of examples of each spelling.
    """
    spelling = one_spelling(counts)
    totals: dict[str, int] = defaultdict(int)
    alike: dict[str, list[str]] = defaultdict(list)
    for label, count in counts.items():
        totals[spelling[label]] += count
        if spelling[label] != label:
            logging.info("the label %r is read as %r (%d times)", label, spelling[label], count)
    for label in sorted(totals):
        alike[_look(label)].append(label)
    for group in alike.values():
        if len(group) > 1:
            logging.warning(
                "the labels %s differ only in case, spaces or the form of characters, and are classes of their own. If "
                "they are one, give them one spelling in the data.",
                _listed(group, totals),
            )
    mixed = [label for label in sorted(totals) if label.lower() in _BOOLEANS]
    numbers = [label for label in sorted(totals) if label in ("0", "1", "0.0", "1.0")]
    if mixed and numbers:
        logging.warning(
            "the labels %s and %s are classes of their own. If true is 1 and false is 0, give them one spelling in the "
            "data.",
            _listed(mixed, totals),
            _listed(numbers, totals),
        )
    return list(totals)


def _look(label: str) -> str:
    return "".join(unicodedata.normalize("NFKC", label_key(label)).casefold().split())


def _listed(labels: Iterable[str], counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label!r} ({counts[label]:,})" for label in labels)


def _listed_known(label: str, known: Sequence[str]) -> str:
    """The first known labels, and a hint at the one that `look_alike` finds."""
    alike = look_alike(label, known)
    hint = f" It differs from {alike!r} only in case, spaces or the form of characters." if alike else ""
    return f"{', '.join(known[:_SHOWN])}.{hint}"
