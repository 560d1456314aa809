"""Heads, units and layers that write nothing are found and removed, and no output changes; what is refused."""

import dataclasses

import numpy as np
import pytest

from tflm.compression import PruningConfig
from tflm.compression.structure import choose_parts, smaller_config, smaller_weights
from tflm.errors import UserError
from tflm.models import (
    LSTMConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
    build_model,
)

SIZES = {"vocab_size": 17, "num_layers": 2, "hidden_dim": 12, "intermediate_dim": 10, "max_length": 8}
MODELS = {
    "grouped": TransformerDecoderConfig(**SIZES, num_heads=6, num_kv_heads=3, qk_norm=True),
    "relative": TransformerEncoderConfig(
        **SIZES, num_heads=3, positions="relative", num_segments=0, use_bias=True, activation="gelu"
    ),
    "encoder_decoder": TransformerEncoderDecoderConfig(
        **SIZES, num_heads=3, head_width=6, num_decoder_layers=3
    ),
}
HEADS = {"grouped": 3, "relative": 3, "encoder_decoder": 3}
IDS = np.array([[1, 5, 9, 3, 16], [2, 2, 7, 0, 0]], np.int32)


def outputs(model):
    features = {"source_ids": IDS[:, :4]} if model.config.kind == "transformer_encoder_decoder" else {}
    return model(IDS, **features).numpy()


def silence(model, name, rng):
    """Zeroes what one head, two units and one layer of each stack write, others in each layer, but for the heads of a
    relative bias; and gives everything else a size that nothing is lost in."""
    config, silent = model.config, {}
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.4)
    for stack in (getattr(model, side) for side in ("encoder", "decoder") if hasattr(model, side)):
        for index, block in enumerate(stack.blocks):
            head = 1 if config.positions == "relative" else index % HEADS[name]
            units = [index, 7]
            for attention in filter(None, (block.attention, block.cross_attention)):
                _zero_rows(attention.output_projection.kernel, rows_of_head(config, head))
            _zero_rows(block.feed_forward.outer.kernel, units)
            silent[f"{stack.path}/block_{index}"] = (head, units)
    return silent


def rows_of_head(config, head):
    width = config.num_heads // (config.num_kv_heads or config.num_heads) * config.head_dim
    return range(head * width, (head + 1) * width)


def _zero_rows(kernel, rows):
    values = np.array(kernel)
    values[list(rows)] = 0.0
    kernel.assign(values)


def importance_of(model):
    """As if each row had a gradient of its weights' size."""
    names = ("attention/output/kernel", "feed_forward/outer/kernel")
    return {
        weight.path: (np.asarray(weight, np.float64) ** 2).sum(axis=1)[None]
        for weight in model.weights
        if weight.path.endswith(names)
    }


def removed(model, pruning):
    small = smaller_config(model.config, pruning)
    importance = importance_of(model)
    stacks = [f"{model.name}/{group.layers}" for group in model.layer_groups]
    kept = {stack: choose_parts(importance, stack, model.config, small) for stack in stacks}
    weights = smaller_weights({weight.path: weight for weight in model.weights}, kept, model.config)
    made = build_model(small)
    assert {weight.path: tuple(weight.shape) for weight in made.weights} == {
        path: value.shape for path, value in weights.items()
    }
    for weight in made.weights:
        weight.assign(weights[weight.path])
    return made, kept


@pytest.mark.parametrize("name", MODELS)
def test_what_writes_nothing_is_removed_and_no_output_changes(name):
    model, rng = build_model(MODELS[name]), np.random.default_rng(2)
    silent = silence(model, name, rng)
    before = outputs(model)
    small, kept = removed(model, PruningConfig("runs/a", share=1 / 3, structure=("heads",)))
    assert small.config.num_heads == model.config.num_heads * 2 // 3
    assert small.config.head_dim == model.config.head_dim
    for path, (head, _) in silent.items():
        stack, _, index = path.rpartition("_")
        assert head not in kept[stack].heads[int(index)]
    np.testing.assert_allclose(outputs(small), before, rtol=1e-5, atol=1e-5)
    small, _ = removed(model, PruningConfig("runs/a", share=0.2, structure=("units",)))
    assert small.config.intermediate_dim == 8
    np.testing.assert_allclose(outputs(small), before, rtol=1e-5, atol=1e-5)


def test_a_layer_that_writes_nothing_is_removed_and_the_rest_renumbered():
    model, rng = build_model(dataclasses.replace(MODELS["grouped"], num_layers=3)), np.random.default_rng(4)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.4)
    block = model.decoder.blocks[1]
    for kernel in (block.attention.output_projection.kernel, block.feed_forward.outer.kernel):
        kernel.assign(np.zeros(kernel.shape))
    before = outputs(model)
    small, kept = removed(model, PruningConfig("runs/a", share=1 / 3, structure=("layers", "heads")))
    assert kept["transformer_decoder/decoder/block"].layers == [0, 2]
    assert (small.config.num_layers, small.config.num_kv_heads) == (2, 2)
    small, _ = removed(model, PruningConfig("runs/a", share=1 / 3, structure=("layers",)))
    np.testing.assert_allclose(outputs(small), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "structure", "words"),
    [
        (LSTMConfig(), ("heads",), "is for Transformers; model.kind is 'lstm'"),
        (MODELS["grouped"], ("heads",), "a share of 0.1 of 3 heads removes nothing"),
        (TransformerDecoderConfig(sliding_window=4), ("layers",), "model.sliding_window cannot be removed"),
        (TransformerEncoderConfig(shared_layers=True), ("layers",), "model.shared_layers cannot be removed"),
    ],
)
def test_refusals(config, structure, words):
    with pytest.raises(UserError, match=words):
        smaller_config(config, PruningConfig("runs/a", share=0.1, structure=structure))
