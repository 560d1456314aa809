"""What goes into a method of a model handle: one text or several, in batches of similar length."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tflm.errors import UsageError

_Row = TypeVar("_Row")
_Result = TypeVar("_Result")
DEFAULT_BATCH_SIZE = 32
ProgressFn = Callable[[int, int], None]
"""How many rows are done, and how many there are."""
Texts = list[str] | tuple[str, ...] | np.ndarray
"""Several texts; one is a str."""
_SURROGATES = re.compile("[\ud800-\udfff]")


def as_texts(method: str, name: str, value: Any) -> tuple[list[str], bool]:
    """One text or several as a list, and whether it was one.

    >>> as_texts("embed", "text", "你好"), as_texts("embed", "text", ["a", "b"])
    ((['你好'], True), (['a', 'b'], False))

    Raises:
        UsageError: neither a str nor a list of str.
    """
    if isinstance(value, str):
        return [value], True
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, bytes) or not isinstance(value, Sequence):
        raise UsageError(
            f"{method}: {name} is {described(value)}, expected a str or a list of str.{_hint(value)}"
        )
    for place, each in enumerate(value):
        if not isinstance(each, str):
            raise UsageError(f"{method}: {name}[{place}] is {described(each)}, expected a str.{_hint(each)}")
    return [str(each) for each in value], False


def as_columns(method: str, **values: Any) -> tuple[dict[str, list[str]], bool]:
    """Several inputs with one text a row; a single str goes with every row of the others.

    >>> as_columns("answer", question=["Who?", "Where?"], context="Anna is in Paris.")
    ({'question': ['Who?', 'Where?'], 'context': ['Anna is in Paris.', 'Anna is in Paris.']}, False)

    Returns:
        Name to texts, equally many; and whether all of them were single.
    Raises:
        UsageError: not texts, or lists of unequal lengths.
    """
    columns = {name: as_texts(method, name, value) for name, value in values.items()}
    lengths = {name: len(texts) for name, (texts, single) in columns.items() if not single}
    if len(set(lengths.values())) > 1:
        found = " and ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UsageError(f"{method}: {found} texts; expected equally many.")
    number = next(iter(lengths.values()), 1)
    return {
        name: texts * number if single else texts for name, (texts, single) in columns.items()
    }, not lengths


def check_count(method: str, name: str, value: Any) -> int:
    """A whole number of at least 1.

    Raises:
        UsageError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise UsageError(f"{method}: {name} is {value!r}, expected a whole number of at least 1.")
    return int(value)


def run_in_batches(
    rows: Sequence[_Row],
    run_fn: Callable[[list[_Row]], Sequence[_Result]],
    batch_size: int,
    length_fn: Callable[[_Row], int],
    progress_fn: ProgressFn | None = None,
) -> list[_Result]:
    """Results of `run_fn` in the order of the rows; rows of similar length go together (length bucketing), so that
    little of a batch is padding.

    Args:
        run_fn: rows of a batch to a result for each.
        batch_size: rows of a batch at most. As many rows or fewer are one batch, in their order.
        length_fn: how long a row is.
        progress_fn: called after each batch with the numbers of rows that are done and of all.
    """
    order = list(range(len(rows)))
    if len(rows) > batch_size:
        order.sort(key=lambda place: length_fn(rows[place]))
    results: dict[int, _Result] = {}
    for begin in range(0, len(order), batch_size):
        places = order[begin : begin + batch_size]
        results.update(zip(places, run_fn([rows[place] for place in places]), strict=True))
        if progress_fn is not None:
            progress_fn(len(results), len(rows))
    return [results[place] for place in range(len(rows))]


def num_bytes(*texts: str) -> int:
    """Length in UTF-8. A token is about four bytes of English or three of Chinese, so that this orders texts as their
    numbers of tokens do, without asking the model for them."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def without_surrogates(text: str) -> str:
    """Lone surrogates as U+FFFD: what a model reads in their place, and one character as in Python.

    >>> without_surrogates("a\\ud800")
    'a\\ufffd'
    """
    return _SURROGATES.sub("\ufffd", text)


def truncated_column(outputs: Mapping[str, Any]) -> list[bool | None]:
    """`truncated` of each row; None where the export does not report it."""
    if "truncated" in outputs:
        return [bool(value) for value in outputs["truncated"]]
    return [None] * len(next(iter(outputs.values())))


def described(value: Any) -> str:
    """A value for a message: `int 5`, `bytes b'a'`, `NoneType`."""
    text = repr(value)
    name = type(value).__name__
    return name if value is None or len(text) > 60 else f"{name} {text}"


def _hint(value: Any) -> str:
    if isinstance(value, bytes):
        return " Decode it: value.decode('utf-8')."
    return " Use list(...)." if hasattr(value, "__iter__") and not isinstance(value, Mapping) else ""
