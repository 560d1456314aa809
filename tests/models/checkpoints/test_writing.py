"""What is written, and what a family cannot express."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tflm.errors import UserError
from tflm.models import (
    LSTMConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    build_model,
)
from tflm.models.checkpoints import family_of, read_checkpoint, write_checkpoint
from tflm.training.low_rank import add_adapters

DECODER = TransformerDecoderConfig(vocab_size=30, num_layers=1, hidden_dim=16, num_heads=4, max_length=16)


def test_the_files(load, folder, tmp_path):
    _, model, _ = load("qwen2")
    ids = {"eos_token_id": [2, 5], "bos_token_id": None}
    paths = write_checkpoint(
        model, str(tmp_path / "a" / "b"), family="qwen2", dtype="bfloat16", token_ids=ids
    )
    assert [path.rpartition("/")[2] for path in paths] == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    config, generation = (json.loads(pathlib.Path(path).read_text(encoding="utf-8")) for path in paths[:2])
    assert generation == ids and config["eos_token_id"] == [2, 5]
    assert config["architectures"] == ["Qwen2ForCausalLM"] and config["torch_dtype"] == "bfloat16"
    theirs, ours = load_file(folder / "qwen2" / "model.safetensors"), load_file(paths[2])
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        assert value.dtype == ours[name].dtype
        np.testing.assert_array_equal(value, ours[name])
    with safe_open(paths[2], framework="np") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_model_of_ones_own_is_a_llama(tmp_path):
    model = build_model(DECODER)
    assert family_of(DECODER).model_type == "llama"
    write_checkpoint(model, str(tmp_path))
    again = read_checkpoint(str(tmp_path))
    assert again.family == "llama" and again.model_config.intermediate_dim == DECODER.feed_forward_dim


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({"qkv_bias": True}, "qwen2"),
        ({"qk_norm": True, "qk_norm_epsilon": 1e-5}, "qwen3"),
        ({"sliding_window": 8}, "mistral"),
        ({"norm": "layer_norm", "positions": "learned", "use_bias": True, "activation": "gelu"}, "gpt2"),
    ],
)
def test_the_family_is_found(changes, family):
    assert family_of(dataclasses.replace(DECODER, **changes)).model_type == family


def test_a_body_without_head_is_written_without_prefix(tmp_path):
    config = TransformerEncoderConfig(
        vocab_size=30, num_layers=1, hidden_dim=16, num_heads=4, max_length=16, norm="layer_norm", norm_position="post",
        positions="learned", use_bias=True, activation="gelu_exact", embedding_norm=True, head_transform=False,
    )  # fmt: skip
    write_checkpoint(build_model(config), str(tmp_path), family="bert")
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["architectures"] == [
        "BertModel"
    ]
    assert "embeddings.word_embeddings.weight" in load_file(tmp_path / "model.safetensors")


def test_what_a_family_cannot_express_is_named():
    config = dataclasses.replace(DECODER, norm_position="post", scale_embedding=True)
    with pytest.raises(UserError) as error:
        family_of(config)
    message = str(error.value)
    assert message.startswith("no public format expresses this model. Export it for TensorFlow Serving")
    assert (
        "- llama cannot express model.norm_position='post' (there: 'pre'), model.scale_embedding=True (there: False)"
    ) in message
    with pytest.raises(
        UserError, match=r"no public format holds a lstm; supported: transformer_decoder, transformer_enc"
    ):
        family_of(LSTMConfig(vocab_size=30))


def test_a_family_of_another_kind(tmp_path):
    with pytest.raises(
        UserError, match=r"bert is a transformer_encoder; this model is a transformer_decoder"
    ):
        write_checkpoint(build_model(DECODER), str(tmp_path), family="bert")
    with pytest.raises(UserError, match=r"no model_type 'bart'. There are: albert"):
        write_checkpoint(build_model(DECODER), str(tmp_path), family="bart")
    with pytest.raises(UserError, match=r"dtype is one of float32, float16, bfloat16; got 'int8'"):
        write_checkpoint(build_model(DECODER), str(tmp_path), dtype="int8")
    assert not list(tmp_path.iterdir())


def test_adapters_are_to_be_merged_first(tmp_path):
    model = build_model(DECODER)
    add_adapters(model, 2, 2.0)
    with pytest.raises(UserError, match=r"low-rank adapters \(.*lora_kernel.*\): merge them first"):
        write_checkpoint(model, str(tmp_path))


def test_a_full_disk(tmp_path, largest_file):
    with largest_file(4096), pytest.raises(UserError, match=r"cannot write the checkpoint '.*': File too"):
        write_checkpoint(build_model(DECODER), str(tmp_path))
    assert not (tmp_path / "model.safetensors").exists()
