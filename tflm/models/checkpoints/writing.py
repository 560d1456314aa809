"""A model as a folder that transformers, and what reads its folders, load: config.json and model.safetensors.

    write_checkpoint(model, "out", family="qwen2", dtype="bfloat16", token_ids={"eos_token_id": [151645, 151643]})

The file is written one tensor at a time: `safetensors` takes all of them at once, and copies each.
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import ml_dtypes
import numpy as np

from tflm.errors import UserError
from tflm.files.writing import whole_file, writing
from tflm.models.checkpoints.family import FAMILIES, Family
from tflm.models.checkpoints.tensor_files import SAFETENSORS
from tflm.models.checkpoints.weight_map import VOCABULARY, Entry

DTYPES = {
    "float32": (np.float32, "F32"),
    "float16": (np.float16, "F16"),
    "bfloat16": (ml_dtypes.bfloat16, "BF16"),
}


class NamedShape(NamedTuple):
    """A tensor of a file that is to be written."""

    name: str
    shape: tuple[int, ...]


def write_checkpoint(
    model: Any,
    folder: str,
    *,
    family: str = "",
    dtype: str = "float32",
    token_ids: Mapping[str, Any] | None = None,
    num_rows: int | None = None,
) -> list[str]:
    """Writes config.json, generation_config.json if there are `token_ids`, and model.safetensors into a folder.

    Args:
        model: a built model, or a head model, whose body alone is written; without low-rank adapters.
        folder: made if it is not there; other files in it stay.
        family: one of `FAMILIES`; "" for the first that expresses the model.
        dtype: float32, float16 or bfloat16.
        token_ids: `bos_token_id`, `eos_token_id`, `pad_token_id` and so on, for both configs.
        num_rows: rows of the vocabulary to write, where the last was added for padding; all if None.
    Returns:
        The paths of the files.
    Raises:
        UserError: the family lacks something that the model has; the message names it. Or the disk is full.
    """
    _check_dtype(dtype)
    body = getattr(model, "body", model)
    adapters = [variable.path for variable in body.weights if "lora_" in variable.path]
    if adapters:
        raise UserError(f"the model has low-rank adapters ({adapters[0]}, ...): merge them first.")
    chosen = _family(family) if family else family_of(body.config)
    token_ids = dict(token_ids or {})
    config = dataclasses.replace(body.config, vocab_size=num_rows or body.config.vocab_size)
    configs = {"config.json": {**chosen.write_config(config), "torch_dtype": dtype, **token_ids}}
    if token_ids and hasattr(body, "step"):
        configs["generation_config.json"] = token_ids
    paths = [os.path.join(folder, name) for name in (*configs, SAFETENSORS)]
    with writing(f"the checkpoint {folder!r}"):
        os.makedirs(folder, exist_ok=True)
        _write_tensors(body, chosen, config, dtype, paths[-1])
        for path, content in zip(paths, configs.values(), strict=False):
            with whole_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2, ensure_ascii=False)
                file.write("\n")
    return paths


def family_of(config: Any) -> Family:
    """The first family, by name, that expresses a config.

    Raises:
        UserError: there is none; the message says what each lacks.
    """
    reasons = []
    for name in FAMILIES.names():
        family = _family(name)
        if not isinstance(config, family.config_class):
            continue
        try:
            family.write_config(config)
            return family
        except UserError as error:
            reasons.append(f"- {error}")
    kinds = sorted({_family(name).config_class().kind for name in FAMILIES.names()})
    if not reasons:
        raise UserError(
            f"no public format holds a {config.kind}; supported: {', '.join(kinds)}. Export it for TensorFlow Serving."
        )
    raise UserError(
        "no public format expresses this model. Export it for TensorFlow Serving, or train one without these options:\n"
        + "\n".join(reasons)
    )


def _family(name: str) -> Family:
    return FAMILIES.get(name)(name)


def _write_tensors(body: Any, family: Family, config: Any, dtype: str, path: str) -> None:
    variables = {variable.path.partition("/")[2]: variable for variable in body.weights}
    entries = list(family.weight_map(config))
    written = [each for entry in entries for each in _shapes(entry, variables, family, config)]
    arrays = (array for entry in entries for array in _arrays(entry, variables, config.vocab_size))
    write_safetensors(path, written, arrays, dtype)


def write_safetensors(
    path: str, written: Sequence[NamedShape], arrays: Iterable[np.ndarray], dtype: str
) -> None:
    """Writes a file of tensors, one at a time.

    Args:
        path: the file.
        written: the name and the shape of each.
        arrays: of those, in the same order.
        dtype: float32, float16 or bfloat16.
    Raises:
        UserError: another dtype.
    """
    _check_dtype(dtype)
    kind, code = DTYPES[dtype]
    with whole_file(path) as aside, open(aside, "wb") as file:
        file.write(_header(written, code, np.dtype(kind).itemsize))
        for array in arrays:
            value = np.ascontiguousarray(array, dtype=kind)
            file.write(value.reshape(-1).view(np.uint8).data)


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise UserError(f"dtype is one of {', '.join(DTYPES)}; got {dtype!r}.")


def _shapes(entry: Entry, variables: Mapping[str, Any], family: Family, config: Any) -> Iterator[NamedShape]:
    empty = [
        _cut(name, np.broadcast_to(np.float32(0), tuple(variables[name].shape)), config.vocab_size)
        for name in entry.ours
    ]
    for name, array in zip(entry.theirs, entry.transform.write(*empty), strict=True):
        yield NamedShape(family.written_name(name, config), array.shape)


def _arrays(entry: Entry, variables: Mapping[str, Any], num_rows: int) -> Iterator[np.ndarray]:
    arrays = (_cut(name, keras.ops.convert_to_numpy(variables[name].value), num_rows) for name in entry.ours)
    yield from entry.transform.write(*arrays)


def _cut(name: str, array: np.ndarray, num_rows: int) -> np.ndarray:
    """Without the rows of the vocabulary beyond `num_rows`."""
    if name not in VOCABULARY:
        return array
    return array[:num_rows] if VOCABULARY[name] == 0 else array[:, :num_rows]


def _header(written: Sequence[NamedShape], code: str, size: int) -> bytes:
    """The length of a JSON object in 8 bytes, and the object: of each tensor its dtype, its shape, where it is."""
    places: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, shape in written:
        end = begin + math.prod(shape) * size
        places[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    header = json.dumps(places, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header
