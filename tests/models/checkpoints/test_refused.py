"""The messages of what cannot be read."""

import json
import os
import pickle
import shutil
import sys
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.models.checkpoints.folders import change, float32
from tflm.errors import UserError
from tflm.models import build_model
from tflm.models.checkpoints import read_checkpoint
from tflm.models.checkpoints.pickled import PickledFile


def test_no_such_folder_and_no_files(tmp_path):
    with pytest.raises(
        UserError, match=r"no checkpoint: it has no config.json \(found: no such folder\). Give a folder"
    ):
        read_checkpoint(str(tmp_path / "none"))
    (tmp_path / "README.md").touch()
    with pytest.raises(UserError, match=r"it has no config.json \(found: README.md\)"):
        read_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(
        UserError, match=r"has no weights: expected model.safetensors, pytorch_model.bin.* found README.md"
    ):
        read_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type":', encoding="utf-8")
    with pytest.raises(UserError, match=r"config.json' is not JSON: .* Download it again"):
        read_checkpoint(str(tmp_path))


def test_unknown_model_type(copy):
    path = copy("bert")
    change(path, model_type="mamba")
    with pytest.raises(
        UserError, match=r"model_type 'mamba'; supported: albert, bert, .*qwen3, .*xlm-roberta"
    ):
        read_checkpoint(str(path))


def test_quantized(copy):
    path = copy("qwen2")
    change(path, quantization_config={"quant_method": "awq"})
    with pytest.raises(
        UserError, match=r"is quantized \(awq\). Give the checkpoint that it was made from, or a GGUF"
    ):
        read_checkpoint(str(path))


def test_a_config_that_is_not_supported(copy):
    path = copy("qwen3")
    change(path, attention_bias=True)
    with pytest.raises(
        UserError, match=r"this qwen3 has attention_bias=True in its config; supported: False"
    ):
        read_checkpoint(str(path))
    change(path, attention_bias=False, rope_parameters={"rope_type": "longrope"})
    with pytest.raises(UserError, match=r"rotary positions by 'longrope'; supported: linear, llama3, yarn"):
        read_checkpoint(str(path))
    change(path, rope_parameters=None, hidden_size=None)
    with pytest.raises(UserError, match=r"the config of this qwen3 lacks 'hidden_size'"):
        read_checkpoint(str(path))


def test_names_left_over_and_missing(copy):
    path = copy("qwen2")
    tensors = float32(path)
    tensors["model.layers.9.mlp.extra"] = np.zeros(2, np.float32)
    del tensors["model.norm.weight"]
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(
        UserError,
        match=r"It lacks norm.weight. It has layers.9.mlp.extra, which tflm does not know. Check that",
    ):
        read_checkpoint(str(path))


def test_weights_of_another_model(copy, folder):
    path = copy("bert")
    shutil.copy(folder / "qwen2" / "model.safetensors", path / "model.safetensors")
    with pytest.raises(UserError, match=r"has no embeddings.word_embeddings.weight, which bert needs; found"):
        read_checkpoint(str(path))


def test_a_shape_that_does_not_fit(copy):
    path = copy("gemma")
    change(path, head_dim=16)
    checkpoint = read_checkpoint(str(path))
    with pytest.raises(UserError, match=r"q_proj.weight \[32, 16\] of '.*' does not fit its config"):
        checkpoint.load_into(build_model(checkpoint.model_config))


def test_a_truncated_file(copy):
    path = copy("bert") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"cannot read '.*model.safetensors'.* Download it again"):
        read_checkpoint(str(path.parent))
    path.write_bytes(b"\x10\0\0")
    with pytest.raises(UserError, match=r"cannot read '.*model.safetensors'.*3 bytes"):
        read_checkpoint(str(path.parent))


def test_shards(copy):
    path = copy("llama")
    shards = sorted(path.glob("model-*.safetensors"))
    assert len(shards) > 1
    whole = shards[0].read_bytes()
    shards[0].write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"cannot read '.*model-00001.*Download it again"):
        read_checkpoint(str(path))
    shards[0].unlink()
    with pytest.raises(UserError, match=r"lacks model-00001.*, which model.safetensors.index.json names"):
        read_checkpoint(str(path))
    shards[0].write_bytes(whole)
    index = json.loads((path / "model.safetensors.index.json").read_text(encoding="utf-8"))
    index["weight_map"]["model.norm.weight"] = shards[0].name
    index["weight_map"]["lm_head.weight"] = shards[0].name
    (path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(UserError, match=r"lacks .*, which '.*index.json' says are in it"):
        read_checkpoint(str(path))
    (path / "model.safetensors.index.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match=r"is no index of shards: expected JSON with a 'weight_map'"):
        read_checkpoint(str(path))


class _Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def _pickled(path, content, name="archive/data.pkl"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, pickle.dumps(content, protocol=2))


def test_a_pickle_with_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _pickled("evil.bin", {"weight": _Evil()})
    with pytest.raises(
        UserError, match=r"is a pickle that names \w+.system; only tensors are read.* convert it"
    ):
        PickledFile("evil.bin")
    assert not os.path.exists("pwned")
    _pickled("other.bin", {"epoch": 3})
    with pytest.raises(UserError, match=r"holds other things than tensors: epoch. Convert it"):
        PickledFile("other.bin")
    _pickled("list.bin", [1])
    with pytest.raises(UserError, match=r"holds list, not named tensors. Convert it"):
        PickledFile("list.bin")
    with open("old.bin", "wb") as file:
        pickle.dump({"weight": 1}, file)
    with pytest.raises(
        UserError, match=r"not a complete zip archive .*if it was saved by PyTorch before 1.6, convert it"
    ):
        PickledFile("old.bin")


def test_a_truncated_pytorch_file(copy):
    path = copy("gpt2") / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"not a complete zip archive .*Download it again"):
        read_checkpoint(str(path.parent))


def test_gguf_files(copy, tmp_path):
    path = copy("gguf") / "llama.gguf"
    data = path.read_bytes()
    assert read_checkpoint(str(path)).metadata["tokenizer.ggml.tokens"][3] == "<3>"
    path.write_bytes(data[:-1])
    with pytest.raises(UserError, match=rf"llama.gguf' is not complete: .* bytes, expected {len(data):,}"):
        read_checkpoint(str(path))
    path.write_bytes(data[:300])
    with pytest.raises(UserError, match=r"llama.gguf' is not a complete GGUF file"):
        read_checkpoint(str(path))
    path.write_bytes(b"GGML" + data[4:])
    with pytest.raises(UserError, match=r"is not a GGUF file: it does not begin with GGUF"):
        read_checkpoint(str(path))
    path.write_bytes(data[:4] + b"\x01" + data[5:])
    with pytest.raises(UserError, match=r"has version 1 of GGUF; supported: 2, 3"):
        read_checkpoint(str(path))
    path.write_bytes(data.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0mamba", 1))
    with pytest.raises(
        UserError, match=r"has the architecture 'mamba'; supported in GGUF: llama, qwen2, qwen3"
    ):
        read_checkpoint(str(path))
    path.write_bytes(data)
    shutil.copy(path, path.parent / "other.gguf")
    with pytest.raises(UserError, match=r"has several GGUF files: llama.gguf, other.gguf. Give one of them"):
        read_checkpoint(str(path.parent))


def test_without_the_package_gguf(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r"the package gguf is needed: pip install 'tflm\[gguf\]'"):
        read_checkpoint(str(folder / "gguf" / "llama.gguf"))
