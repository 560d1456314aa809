"""Weights of transformers' GPT-2 and T5 in tflm's models: names, shapes, and the factors that T5 does without.

`weights` are those of transformers' `named_parameters()` by their names there, a tied one once.
"""

from collections.abc import Mapping

import keras
import numpy as np

from tflm.models import (
    TransformerDecoder,
    TransformerDecoderConfig,
    TransformerEncoderDecoder,
    TransformerEncoderDecoderConfig,
    build_model,
)
from tflm.models.transformer_stack import TransformerStack

Weights = Mapping[str, np.ndarray]


def gpt2_model(weights: Weights, num_heads: int, epsilon: float) -> TransformerDecoder:
    """GPT-2 (Radford et al., 2019). Its kernels are [in, out] as those of Keras; queries, keys and values are one."""
    max_length, hidden_dim = weights["transformer.wpe.weight"].shape
    config = TransformerDecoderConfig(
        vocab_size=len(weights["transformer.wte.weight"]),
        num_layers=_count(weights, "transformer.h"),
        hidden_dim=hidden_dim,
        num_heads=num_heads,
        intermediate_dim=weights["transformer.h.0.mlp.c_fc.weight"].shape[1],
        max_length=max_length,
        norm="layer_norm",
        positions="learned",
        activation="gelu",
        use_bias=True,
        norm_epsilon=epsilon,
    )
    model = build_model(config)
    model.embedding.embeddings.assign(weights["transformer.wte.weight"])
    model.decoder.position_embedding.embeddings.assign(weights["transformer.wpe.weight"])
    _set_norm(model.decoder.final_norm, weights, "transformer.ln_f")
    for index, block in enumerate(model.decoder.blocks):
        place = f"transformer.h.{index}"
        _set_norm(block.attention_norm, weights, f"{place}.ln_1")
        _set_norm(block.feed_forward_norm, weights, f"{place}.ln_2")
        kernels = np.split(weights[f"{place}.attn.c_attn.weight"], 3, axis=1)
        biases = np.split(weights[f"{place}.attn.c_attn.bias"], 3)
        attention = block.attention
        parts = (attention.query, attention.key, attention.value)
        for part, kernel, bias in zip(parts, kernels, biases, strict=True):
            part.kernel.assign(kernel)
            part.bias.assign(bias)
        layers = {
            "attn.c_proj": attention.output_projection,
            "mlp.c_fc": block.feed_forward.inner,
            "mlp.c_proj": block.feed_forward.outer,
        }
        for name, layer in layers.items():
            layer.kernel.assign(weights[f"{place}.{name}.weight"])
            layer.bias.assign(weights[f"{place}.{name}.bias"])
    return model


def t5_model(weights: Weights, num_heads: int, epsilon: float, max_length: int) -> TransformerEncoderDecoder:
    """T5 (Raffel et al., 2020); with a gate, T5 1.1.

    T5 does not divide attention scores by sqrt(head_dim): its queries are multiplied by it here. It multiplies the
    last hidden states by 1/sqrt(hidden_dim) where the output is tied: here the last norm's scale is. Widths of
    which the root is a power of two lose no bit by this. tflm's position bias is ten times its table. In tflm
    num_heads * head_dim is hidden_dim, so a T5 where `d_kv` is something else (T5 1.1 small, 3b, 11b) does not fit.
    """
    vocab_size, hidden_dim = weights["shared.weight"].shape
    feed_forward = "encoder.block.0.layer.1.DenseReluDense"
    is_gated = f"{feed_forward}.wi_0.weight" in weights
    config = TransformerEncoderDecoderConfig(
        vocab_size=vocab_size,
        num_layers=_count(weights, "encoder.block"),
        num_decoder_layers=_count(weights, "decoder.block"),
        hidden_dim=hidden_dim,
        num_heads=num_heads,
        intermediate_dim=weights[f"{feed_forward}.wo.weight"].shape[1],
        max_length=max_length,
        norm="rms_norm",
        positions="relative",
        activation="geglu" if is_gated else "relu",
        tied_output="lm_head.weight" not in weights,
        norm_epsilon=epsilon,
    )
    model = build_model(config)
    model.embedding.embeddings.assign(weights["shared.weight"])
    _set_t5_stack(model.encoder, weights, "encoder")
    _set_t5_stack(model.decoder, weights, "decoder")
    if model.head is None:
        model.decoder.final_norm.scale.assign(model.decoder.final_norm.scale * hidden_dim**-0.5)
    else:
        model.head.kernel.assign(weights["lm_head.weight"].T)
    return model


def _set_t5_stack(stack: TransformerStack, weights: Weights, place: str) -> None:
    """An encoder, or a decoder that attends to one; kernels there are [out, in]."""
    table = weights[f"{place}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    stack.position_bias.embeddings.assign(table / 10.0)
    stack.final_norm.scale.assign(weights[f"{place}.final_layer_norm.weight"])
    for index, block in enumerate(stack.blocks):
        attentions = [(block.attention, block.attention_norm, "SelfAttention")]
        if block.cross_attention is not None:
            attentions += [(block.cross_attention, block.cross_attention_norm, "EncDecAttention")]
        for part, (attention, norm, name) in enumerate(attentions):
            layer = f"{place}.block.{index}.layer.{part}"
            norm.scale.assign(weights[f"{layer}.layer_norm.weight"])
            attention.query.kernel.assign(weights[f"{layer}.{name}.q.weight"].T * attention.head_dim**0.5)
            attention.key.kernel.assign(weights[f"{layer}.{name}.k.weight"].T)
            attention.value.kernel.assign(weights[f"{layer}.{name}.v.weight"].T)
            attention.output_projection.kernel.assign(weights[f"{layer}.{name}.o.weight"].T)
        layer = f"{place}.block.{index}.layer.{len(attentions)}"
        block.feed_forward_norm.scale.assign(weights[f"{layer}.layer_norm.weight"])
        parts = {"wi": block.feed_forward.inner, "wo": block.feed_forward.outer}
        if block.feed_forward.gate is not None:
            parts = {"wi_0": block.feed_forward.gate, "wi_1": block.feed_forward.inner, "wo": parts["wo"]}
        for name, part in parts.items():
            part.kernel.assign(weights[f"{layer}.DenseReluDense.{name}.weight"].T)


def _set_norm(norm: keras.layers.LayerNormalization, weights: Weights, name: str) -> None:
    norm.gamma.assign(weights[f"{name}.weight"])
    norm.beta.assign(weights[f"{name}.bias"])


def _count(weights: Weights, place: str) -> int:
    """Blocks whose names begin with `place`."""
    return len({name.removeprefix(place).split(".")[1] for name in weights if name.startswith(f"{place}.")})
