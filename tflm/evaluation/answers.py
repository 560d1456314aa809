"""What a signature gives for many texts: in batches of like length, in the order that they came in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm


def answers(
    function: Callable[..., Mapping[str, tf.Tensor]], texts: Mapping[str, Sequence[str]], batch_size: int = 64
) -> dict[str, np.ndarray]:
    """Calls a signature on texts of like length together and puts its answers back into their order.

    Args:
        function: a `tf.function` with an input signature, as `Task.signatures` gives.
        texts: input name to N texts: `{"text": [...]}`, or with a second column `text_pair`.
        batch_size: texts in one call.
    Returns:
        Output name to an array [N, ...]; texts are `str`.
    """
    columns = [list(column) for column in texts.values()]
    order = sorted(range(len(columns[0])), key=lambda row: sum(len(column[row]) for column in columns))
    found: dict[str, list[Any]] = {}
    with tqdm(total=len(order), unit="text", desc="answering", delay=2) as bar:
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            batch = [tf.constant([column[row] for row in rows]) for column in columns]
            for name, value in function(*batch).items():
                found.setdefault(name, []).extend(value.numpy())
            bar.update(len(rows))
    places = np.argsort(order)
    return {name: _array([values[place] for place in places]) for name, values in found.items()}


def _array(values: list[Any]) -> np.ndarray:
    array = np.array(values)
    return np.char.decode(array.astype(np.bytes_), "utf-8") if array.dtype.kind in "SO" else array
