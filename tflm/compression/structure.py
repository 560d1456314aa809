"""Removal of attention heads, feed-forward units and layers of a Transformer: smaller matrices and a smaller config."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflm.compression.config import PruningConfig
from tflm.errors import UserError
from tflm.models import ModelConfig
from tflm.models.transformer_config import TransformerConfig

_PART = re.compile(
    r"(?P<attention>attention|cross_attention)/(?P<projection>query|key|value|output)/(kernel|bias)"
    r"|feed_forward/(?P<dense>inner|gate|outer)/(kernel|bias)"
)


@dataclasses.dataclass(frozen=True)
class Kept:
    """What stays of a stack of layers, in ascending order. Of each layer that stays: its heads, or with grouped-query
    attention its heads of keys and values, each with its group of query heads; and its units."""

    layers: list[int]
    heads: list[list[int]]
    cross_heads: list[list[int]]
    """Of cross-attention; empty without one."""
    units: list[list[int]]


def smaller_config(model: ModelConfig, pruning: PruningConfig) -> ModelConfig:
    """The config of a model after the removal of a share of its heads, units or layers; each layer keeps as many.

    >>> smaller_config(TransformerDecoderConfig(num_heads=4, hidden_dim=64), PruningConfig("a", structure=("heads",)))
    TransformerDecoderConfig(num_heads=2, hidden_dim=64, head_width=16)

    Raises:
        UserError: the model is no Transformer, its layers cannot be removed, or the share is too small to remove one.
    """
    if not isinstance(model, TransformerConfig):
        raise UserError(
            f"pruning.structure={list(pruning.structure)} is for Transformers; model.kind is {model.kind!r}. The "
            "structures weights and N:M prune any model."
        )
    if "layers" in pruning.structure and (getattr(model, "shared_layers", False) or model.sliding_window):
        field = "sliding_window" if model.sliding_window else "shared_layers"
        raise UserError(f"layers of a model with model.{field} cannot be removed: their order has a meaning.")
    changes: dict[str, Any] = {}
    if "heads" in pruning.structure:
        num_kv_heads = model.num_kv_heads or model.num_heads
        left = _left(num_kv_heads, pruning.share, "heads")
        changes |= {"num_heads": left * (model.num_heads // num_kv_heads), "head_width": model.head_dim}
        changes |= {"num_kv_heads": left} if model.num_kv_heads else {}
    if "units" in pruning.structure:
        changes["intermediate_dim"] = _left(model.feed_forward_dim, pruning.share, "units")
    if "layers" in pruning.structure:
        changes["num_layers"] = _left(model.num_layers, pruning.share, "layers")
        if decoders := getattr(model, "num_decoder_layers", 0):
            changes["num_decoder_layers"] = _left(decoders, pruning.share, "decoder layers")
    return dataclasses.replace(model, **changes)


def _left(count: int, share: float, noun: str) -> int:
    left = max(1, math.floor(count * (1.0 - share) + 0.5))
    if left == count:
        raise UserError(
            f"a share of {share:g} of {count} {noun} removes nothing. Give a larger one, or another structure."
        )
    return left


def choose_parts(
    importance: Mapping[str, np.ndarray], stack: str, large: TransformerConfig, small: TransformerConfig
) -> Kept:
    """The most important parts of a stack of layers, as many as the smaller config has.

    With relative positions, whose bias is by head and the same in all layers, all layers keep the same heads.

    Args:
        importance: from `tflm.compression.importance.row_importance`: by the path of a kernel, float [N, rows].
        stack: the beginning of its layers' paths, such as "transformer_encoder/encoder/block".
        large, small: the model before and after.
    """
    layers = sorted({int(match[1]) for path in importance if (match := re.match(rf"{stack}_(\d+)/", path))})

    def rows(layer: int, part: str) -> np.ndarray | None:
        return importance.get(f"{stack}_{layer}/{part}/kernel")

    def layer_score(layer: int) -> float:
        parts = (
            rows(layer, part) for part in ("attention/output", "cross_attention/output", "feed_forward/outer")
        )
        return float(np.abs(sum(each.sum(axis=1) for each in parts if each is not None)).mean())

    num_layers = small.num_layers
    if "/decoder/" in f"{stack}/" and hasattr(small, "num_decoder_layers"):
        num_layers = small.num_decoder_layers or small.num_layers
    kept = _best([layer_score(layer) for layer in layers], num_layers)
    kept = [layers[index] for index in kept]
    large_heads, small_heads = (each.num_kv_heads or each.num_heads for each in (large, small))

    def heads(part: str) -> list[list[int]]:
        found = [own for own in (rows(layer, part) for layer in kept) if own is not None]
        scores = [np.abs(own.reshape(len(own), large_heads, -1).sum(axis=2)).mean(axis=0) for own in found]
        if large.positions == "relative":
            scores = [np.sum(scores, axis=0)] * len(scores)
        return [_best(each, small_heads) for each in scores]

    units = [
        np.abs(own).mean(axis=0) for layer in kept if (own := rows(layer, "feed_forward/outer")) is not None
    ]
    return Kept(
        kept,
        heads("attention/output"),
        heads("cross_attention/output"),
        [_best(each, small.feed_forward_dim) for each in units],
    )


def _best(scores: Any, count: int) -> list[int]:
    """The places of the greatest scores, in ascending order; of equal ones the first.

    >>> _best([1.0, 3.0, 2.0, 3.0], 2)
    [1, 3]
    """
    return sorted(np.argsort(-np.asarray(scores), kind="stable")[:count].tolist())


def smaller_weights(
    weights: Mapping[str, Any], kept: Mapping[str, Kept], large: TransformerConfig
) -> dict[str, np.ndarray]:
    """The weights of the smaller model by their paths in it.

    Args:
        weights: of the large model, by path.
        kept: by the beginning of the layers' paths, such as "transformer_decoder/decoder/block".
        large: the config of the large model.
    """
    found: dict[str, np.ndarray] = {}
    for path, value in weights.items():
        stack = next((name for name in kept if path.startswith(f"{name}_")), None)
        if stack is not None:
            index, _, rest = path.removeprefix(f"{stack}_").partition("/")
            if int(index) in kept[stack].layers:
                number = kept[stack].layers.index(int(index))
                found[f"{stack}_{number}/{rest}"] = _part_of(
                    rest, np.asarray(value), kept[stack], number, large
                )
            continue
        found[path] = np.asarray(value)
        side = next(
            (name for name in kept if path.startswith(f"{name.rpartition('/')[0]}/position_bias/")), None
        )
        if side is not None:
            heads = _query_heads(kept[side].heads[0], large)
            found[path] = np.take(found[path], heads, axis=-1)
    return found


def _part_of(rest: str, value: np.ndarray, kept: Kept, number: int, large: TransformerConfig) -> np.ndarray:
    """What stays of a weight of layer `number`; `rest` is its path within the layer."""
    match = _PART.fullmatch(rest)
    if match is None:
        return value
    if match["dense"]:
        if match["dense"] == "outer":
            return np.take(value, kept.units[number], axis=0) if value.ndim == 2 else value
        return np.take(value, kept.units[number], axis=-1)
    heads = (kept.heads if match["attention"] == "attention" else kept.cross_heads)[number]
    if match["projection"] in ("query", "output"):
        heads = _query_heads(heads, large)
    places = [head * large.head_dim + place for head in heads for place in range(large.head_dim)]
    if match["projection"] == "output":
        return np.take(value, places, axis=0) if value.ndim == 2 else value
    return np.take(value, places, axis=-1)


def _query_heads(heads: Sequence[int], large: TransformerConfig) -> list[int]:
    """The query heads of heads of keys and values."""
    group = large.num_heads // (large.num_kv_heads or large.num_heads)
    return [head * group + place for head in heads for place in range(group)]
