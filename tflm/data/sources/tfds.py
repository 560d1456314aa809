"""Rows of a data set from TensorFlow Datasets."""

import importlib
from collections.abc import Iterator
from typing import Any

from tflm.data.sources.rows import Row
from tflm.data.sources.tables import check_columns, pick
from tflm.errors import UserError


def read_tfds(name: str, split: str, columns: dict[str, str]) -> Iterator[Row]:
    """The rows of a split, in file order.

    Args:
        name: data set.
        split: split.
        columns: example key to column.
    Raises:
        UserError: tensorflow-datasets is not installed, or the data set, the split or a column is missing.
    """
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise UserError("source 'tfds' needs tensorflow-datasets: pip install 'tflm[tfds]'") from error
    try:
        records = tfds.as_numpy(tfds.load(name, split=split, shuffle_files=False))
    except Exception as error:  # tfds raises many types; their messages describe the problem
        raise UserError(f"cannot load split {split!r} of data set {name!r} from tfds: {error}") from error
    for number, record in enumerate(records, 1):
        if number == 1:
            check_columns(columns.values(), record, f"{name}/{split}")
        yield pick(
            f"{name}/{split}",
            number,
            {column: _as_python(value) for column, value in record.items()},
            columns,
        )


def _as_python(value: Any) -> Any:
    """Converts bytes to str and NumPy scalars to Python scalars."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="surrogateescape")
    return value.item() if getattr(value, "ndim", None) == 0 else value
