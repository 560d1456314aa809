"""Low-rank adapters (LoRA) as PEFT keeps them: adapter_config.json and adapter_model.safetensors.

    write_peft_adapter(model, "out", family="qwen2", base="Qwen/Qwen2.5-0.5B-Instruct")

PEFT, vLLM and llama.cpp apply such a folder to the checkpoint that `base` names.
https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import keras

from tflm.errors import UserError
from tflm.files.writing import whole_file, writing
from tflm.models.checkpoints.family import FAMILIES, Family
from tflm.models.checkpoints.weight_map import TRANSPOSED
from tflm.models.checkpoints.writing import NamedShape, write_safetensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TASK_TYPES = {
    "encoder": "FEATURE_EXTRACTION",
    "decoder": "CAUSAL_LM",
    "encoder-decoder": "SEQ_2_SEQ_LM",
}


def write_peft_adapter(
    model: Any, folder: str, *, family: str, base: str, revision: str = "", dtype: str = "float32"
) -> list[str]:
    """Writes the adapters of a model; that of an encoder for `AutoModel`, which has the body alone.

    Args:
        model: with adapters; see `tflm.training.low_rank.add_adapters`.
        folder: made if it is not there; other files in it stay.
        family: one of `FAMILIES`, that of the checkpoint.
        base: the checkpoint that the adapters belong to: a folder, or a name on the hub.
        revision: of `base` on the hub; "" for its newest.
        dtype: float32, float16 or bfloat16.
    Returns:
        The paths of the files.
    Raises:
        UserError: the model has no adapters; or the family keeps several adapted kernels in one tensor. Or the disk is
            full.
    """
    body = getattr(model, "body", model)
    layers = {layer.path.partition("/")[2]: layer for layer in body.adapted_layers() if layer.lora_enabled}
    if not layers:
        raise UserError("the model has no low-rank adapters. Write all weights: --format=huggingface.")
    modules = _modules(FAMILIES.get(family)(family), body.config, layers)
    first = next(iter(layers.values()))
    rank = int(first.lora_rank)
    written, values = [], []
    for name, layer in modules.items():
        width, units = layer.kernel.shape
        written += [
            NamedShape(f"base_model.model.{name}.lora_A.weight", (rank, width)),
            NamedShape(f"base_model.model.{name}.lora_B.weight", (units, rank)),
        ]
        values += [layer.lora_kernel_a, layer.lora_kernel_b]
    config = {
        "peft_type": "LORA",
        "task_type": _TASK_TYPES[body.architecture],
        "base_model_name_or_path": base,
        "revision": revision or None,
        "r": rank,
        "lora_alpha": float(first.lora_alpha),
        "lora_dropout": 0.0,
        "target_modules": _target_modules(body.config, modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    paths = [os.path.join(folder, name) for name in (CONFIG, WEIGHTS)]
    with writing(f"the adapter {folder!r}"):
        os.makedirs(folder, exist_ok=True)
        arrays = (keras.ops.convert_to_numpy(value).T for value in values)
        write_safetensors(paths[1], written, arrays, dtype)
        with whole_file(paths[0]) as aside, open(aside, "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2, ensure_ascii=False)
            file.write("\n")
    return paths


def _modules(family: Family, config: Any, layers: Mapping[str, Any]) -> dict[str, Any]:
    """Their names of the adapted layers."""
    modules = {}
    for entry in family.weight_map(config):
        names = [name.removesuffix("/kernel") for name in entry.ours if name.endswith("/kernel")]
        if not any(name in layers for name in names):
            continue
        if len(names) > 1 or entry.transform is not TRANSPOSED:
            raise UserError(
                f"{family.model_type} keeps {', '.join(names)} in one tensor, {entry.theirs[0]}: PEFT has no adapter "
                "for a part of it. Write all weights, with adapters merged: --format=huggingface."
            )
        own = entry.theirs[0].removesuffix(".weight")
        is_encoder = config.kind == "transformer_encoder"
        modules[own if is_encoder else family.written_name(own, config)] = layers[names[0]]
    return modules


def _target_modules(config: Any, modules: Mapping[str, Any]) -> list[str]:
    """The last part of each name; whole names in encoders, which have other layers named `dense`."""
    if config.kind == "transformer_encoder":
        return list(modules)
    return list(dict.fromkeys(name.rpartition(".")[2] for name in modules))
