"""The layers of a model family by their depth, for freezing and for learning rates that fall layer by layer."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_OF_EMBEDDINGS = ("position_bias", "embedding_norm", "embedding_projection")


class LayerGroup(NamedTuple):
    """A stack of layers that a family declares.

    >>> LayerGroup("encoder/block", on_top=("encoder/final_norm",))
    """

    layers: str
    """Layer i is named MODEL/layers_i."""
    on_top: tuple[str, ...] = ()
    """The beginnings of the names of what follows the last layer, where another group comes after it."""


def variable_depths(paths: Iterable[str], groups: Sequence[LayerGroup], model_name: str) -> dict[str, int]:
    """The depth of each variable: embeddings (`NAME_embedding`, `position_bias`, `embedding_norm`,
    `embedding_projection`) 0, layer i at i + 1, what is not of a group, such as the last norm and the heads, at the
    top.

    >>> groups = [LayerGroup("lstm")]
    >>> variable_depths(["m/token_embedding/embeddings", "m/lstm_0/kernel", "m/lstm_1/kernel", "h/out"], groups, "m")
    {'m/token_embedding/embeddings': 0, 'm/lstm_0/kernel': 1, 'm/lstm_1/kernel': 2, 'h/out': 3}

    Args:
        paths: of all variables, of the model and of a head on it.
        groups: the family's, from the input up.
        model_name: of the model that has the groups; the first part of its variables' paths.
    """
    paths = list(paths)
    patterns = [re.compile(rf"{re.escape(model_name)}/{re.escape(group.layers)}_(\d+)/") for group in groups]
    found = {path: _layer(path, patterns) for path in paths}
    counts = [0] * len(groups)
    for place in filter(None, found.values()):
        counts[place[0]] = max(counts[place[0]], place[1] + 1)
    on_top = [
        (f"{model_name}/{name}", sum(counts[: index + 1]))
        for index, group in enumerate(groups)
        for name in group.on_top
    ]

    def depth(path: str) -> int:
        if place := found[path]:
            return sum(counts[: place[0]]) + place[1] + 1
        if any(name.endswith("_embedding") or name in _OF_EMBEDDINGS for name in path.split("/")[:-1]):
            return 0
        return next((depth for name, depth in on_top if path.startswith(name)), sum(counts) + 1)

    return {path: depth(path) for path in paths}


def _layer(path: str, patterns: Sequence[re.Pattern[str]]) -> tuple[int, int] | None:
    """The group and the number of the layer."""
    for index, pattern in enumerate(patterns):
        if match := pattern.match(path):
            return index, int(match[1])
    return None
