"""Models in GGUF files: their metadata as a config of transformers, their tensors under its names."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.layers.positions import RotaryScaling, rotary_frequencies
from tflm.models.checkpoints.gguf_file import GGUFFile, metadata_value
from tflm.models.checkpoints.tensor_files import TensorSource

# The architecture to the model_type of transformers.
ARCHITECTURES = {
    **{name: name for name in ("llama", "qwen2", "qwen3", "gemma", "gemma2")},
    "gemma3": "gemma3_text",
}
_KEYS = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "max_position_embeddings": "context_length",
    "rope_theta": "rope.freq_base",
}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Of Gemma 2 and 3, which have norms before and after each part.
_GEMMA2_NAMES = {
    "ffn_norm": "pre_feedforward_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_GEMMA2_KEYS = {
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "sliding_window": "attention.sliding_window",
    "rope_local_base_freq": "rope.freq_base_swa",
}
_GEMMA_27B = {"gemma2": 46, "gemma3": 62}
"""Layers of the models whose scores are not divided by the root of the width of a head; no key of a file says so."""
_FREQUENCIES = "rope_freqs.weight"
# What Llama 3 was trained with; its files hold the resulting frequencies alone.
_LLAMA3 = RotaryScaling("llama3", 0.0, 8192, 1.0, 4.0)


class GGUFModel(TensorSource):
    """The tensors of a GGUF file under the names, and in the order of rows, of transformers."""

    def __init__(self, file: GGUFFile) -> None:
        self._file = file
        metadata = file.metadata
        self._architecture = metadata["general.architecture"]
        self._places = {
            _renamed(name, self._architecture): name for name in file.shapes if name != _FREQUENCIES
        }
        super().__init__(file.place, {own: file.shapes[name] for own, name in self._places.items()})
        self._heads = {
            "q_proj": metadata_value(metadata, "attention.head_count"),
            "k_proj": metadata_value(
                metadata, "attention.head_count_kv", metadata_value(metadata, "attention.head_count")
            ),
        }

    def read(self, name: str) -> np.ndarray:
        """See `TensorSource`. The architecture llama has pairs of rotated rows next to each other; scales of norms of
        Gemma have the 1 added that transformers adds."""
        array = self._file.read(self._places[name])
        part = name.split(".")[-2]
        if self._architecture.startswith("gemma") and part.endswith("norm"):
            return array - 1
        if self._architecture != "llama" or part not in self._heads:
            return array
        pairs = array.reshape(self._heads[part], -1, 2, *array.shape[1:])
        return np.swapaxes(pairs, 1, 2).reshape(array.shape)


def open_gguf(path: str) -> tuple[dict[str, Any], dict[str, Any], TensorSource]:
    """A config of transformers, the metadata, and the tensors.

    Raises:
        UserError: the file is damaged, or its architecture is not supported.
    """
    file = GGUFFile(path)
    metadata, architecture = file.metadata, file.metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"{path!r} has the architecture {architecture!r}; supported in GGUF: {', '.join(ARCHITECTURES)}. Give the "
            "folder of the same model in the format of transformers."
        )
    config = {key: metadata_value(metadata, name) for key, name in _KEYS.items()}
    config = {key: value for key, value in config.items() if value is not None}
    config |= {"model_type": ARCHITECTURES[architecture], "initializer_range": 0.02, "hidden_act": "silu"}
    if architecture.startswith("gemma"):
        config |= _gemma_config(metadata)
    if scaling := _rotary_scaling(file, config):
        config["rope_scaling"] = scaling
    return config, metadata, GGUFModel(file)


def _gemma_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the config of a Gemma has beside that of a Llama."""
    architecture = metadata["general.architecture"]
    config = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}
    if architecture == "gemma":
        return config
    values = {key: metadata_value(metadata, name) for key, name in _GEMMA2_KEYS.items()}
    num_layers = metadata_value(metadata, "block_count")
    width = metadata_value(metadata, "attention.key_length", 256)
    if num_layers == _GEMMA_27B[architecture]:
        width = metadata_value(metadata, "embedding_length") // metadata_value(
            metadata, "attention.head_count"
        )
    config |= {key: value for key, value in values.items() if value is not None}
    pattern = metadata_value(
        metadata, "attention.sliding_window_pattern", 2 if architecture == "gemma2" else 6
    )
    slides = pattern if isinstance(pattern, list) else [(n + 1) % pattern != 0 for n in range(num_layers)]
    kinds = ["sliding_attention" if each else "full_attention" for each in slides]
    return config | {"query_pre_attn_scalar": width, "layer_types": kinds}


def _rotary_scaling(file: GGUFFile, config: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_scaling` of transformers; {} for none."""
    kind = metadata_value(file.metadata, "rope.scaling.type", "none")
    if _FREQUENCIES in file.shapes:
        return _llama3_scaling(file, config)
    if kind == "none":
        return {}
    length = metadata_value(file.metadata, "rope.scaling.original_context_length")
    scaling = {"rope_type": kind, "factor": float(metadata_value(file.metadata, "rope.scaling.factor", 1.0))}
    return scaling if length is None else {**scaling, "original_max_position_embeddings": length}


def _llama3_scaling(file: GGUFFile, config: Mapping[str, Any]) -> dict[str, Any]:
    """The scaling of Llama 3 whose frequencies are those in the file."""
    divisors = file.read(_FREQUENCIES).astype(np.float64)
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    base = float(config.get("rope_theta", 10000.0))
    scaling = _LLAMA3._replace(factor=float(divisors.max()))
    expected = np.array(rotary_frequencies(width, base)) / np.array(rotary_frequencies(width, base, scaling))
    if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-3):
        raise UserError(
            f"{file.place!r} scales its rotary positions by frequencies of its own ({_FREQUENCIES}); supported: those "
            "of Llama 3. Give the folder of the same model in the format of transformers."
        )
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_length,
        "low_freq_factor": scaling.low_turns,
        "high_freq_factor": scaling.high_turns,
    }


def _renamed(name: str, architecture: str) -> str:
    """
    >>> _renamed("blk.3.attn_q.weight", "llama")
    'model.layers.3.self_attn.q_proj.weight'
    """
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    names = {**_NAMES, **_GEMMA2_NAMES} if architecture in _GEMMA_27B else _NAMES
    if not match or match[2] not in names:
        return name
    place = f"model.layers.{match[1]}." if match[1] else ""
    return f"{place}{names[match[2]]}.{match[3]}"
