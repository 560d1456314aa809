"""What is read besides plain folders: relatives, other names, other sizes, Google's files, sentence-transformers."""

import dataclasses
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tests.models.checkpoints import folders
from tests.models.checkpoints.folders import change, float32, load
from tflm.errors import UserError
from tflm.layers.positions import RotaryScaling, rotary_frequencies
from tflm.models import build_model
from tflm.models.checkpoints import FAMILIES, read_checkpoint
from tflm.models.checkpoints.gguf_models import _gemma_config, _rotary_scaling


def test_a_token_more_has_zeros_and_fewer_positions_are_the_first(folder):
    checkpoint = read_checkpoint(str(folder / "bert"))
    assert checkpoint.num_rows == 72
    config = type(checkpoint.model_config)(
        **{**vars(checkpoint.model_config), "vocab_size": 73, "max_length": 8}
    )
    model = build_model(config)
    checkpoint.load_into(model)
    _, whole = load(folder / "bert")
    np.testing.assert_array_equal(model.embedding.embeddings[:72], whole.embedding.embeddings)
    assert not np.any(model.embedding.embeddings[72]) and not np.any(model.output_bias.bias[72])
    table = whole.encoder.position_embedding.embeddings
    np.testing.assert_array_equal(model.encoder.position_embedding.embeddings, table[:8])


def test_a_token_more_of_an_untied_output(folder):
    checkpoint = read_checkpoint(str(folder / "llama"))
    model = build_model(type(checkpoint.model_config)(**{**vars(checkpoint.model_config), "vocab_size": 73}))
    checkpoint.load_into(model)
    assert model.head.kernel.shape == (16, 73) and not np.any(model.head.kernel[:, 72])


def test_a_model_of_other_sizes_is_not_changed(folder):
    checkpoint = read_checkpoint(str(folder / "qwen2"))
    model = build_model(
        type(checkpoint.model_config)(**{**vars(checkpoint.model_config), "intermediate_dim": 32})
    )
    before = [np.array(variable) for variable in model.weights]
    with pytest.raises(UserError, match=r"gate_proj.weight \[24, 16\] .* is \[16, 32\], there \[16, 24\]"):
        checkpoint.load_into(model)
    for variable, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_model_of_another_kind(folder):
    checkpoint = read_checkpoint(str(folder / "qwen2"))
    model = build_model(type(checkpoint.model_config)(**{**vars(checkpoint.model_config), "qkv_bias": False}))
    with pytest.raises(
        UserError, match=r"does not fit .*query/bias.* Build it with the config of the checkpoint"
    ):
        checkpoint.load_into(model)


def test_weights_under_bfloat16(folder):
    checkpoint = read_checkpoint(str(folder / "qwen2"))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        model = build_model(checkpoint.model_config)
    finally:
        keras.config.set_dtype_policy(before)
    checkpoint.load_into(model)
    _, whole = load(folder / "qwen2")
    for variable, other in zip(model.weights, whole.weights, strict=True):
        assert variable.dtype == "bfloat16"
        np.testing.assert_array_equal(tf.cast(variable.value, "float32"), other.value)


def test_names_with_and_without_prefix_and_old_ones(copy):
    path = copy("bert")
    _, model = load(path)
    tensors = load_file(path / "model.safetensors")
    old = {
        name.removeprefix("bert.")
        .replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    old["embeddings.position_ids"] = np.arange(24)
    save_file(old, path / "model.safetensors")
    for variable, other in zip(load(path)[1].weights, model.weights, strict=True):
        np.testing.assert_array_equal(variable, other)


def test_tied_by_the_file_not_by_the_config(copy):
    path = copy("qwen2")
    change(path, tie_word_embeddings=False)
    assert read_checkpoint(str(path)).model_config.tied_output
    tensors = float32(path)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]}, path / "model.safetensors")
    assert read_checkpoint(str(path)).model_config.tied_output
    save_file(
        {**tensors, "lm_head.weight": 2 * tensors["model.embed_tokens.weight"]}, path / "model.safetensors"
    )
    checkpoint, model = load(path)
    assert not checkpoint.model_config.tied_output
    np.testing.assert_array_equal(model.head.kernel, 2 * np.transpose(model.embedding.embeddings))


def test_googles_bert(folder, copy, tmp_path):
    """Written by TensorFlow under Google's names, with optimizer states."""
    _, model = load(folder / "bert")
    config = json.loads((folder / "bert" / "config.json").read_text(encoding="utf-8"))
    path = tmp_path / "google"
    path.mkdir()
    kept = {
        key: value
        for key, value in config.items()
        if key not in ("model_type", "architectures", "layer_norm_eps")
    }
    (path / "bert_config.json").write_text(json.dumps(kept), encoding="utf-8")
    names, values = [], []
    for name, value in load_file(folder / "bert" / "model.safetensors").items():
        place, _, last = name.replace("layer.", "layer_").rpartition(".")
        value = value.astype(np.float32)
        place = place.replace(".", "/")
        if place.endswith("_embeddings"):
            names.append(place)
        elif place == "cls/predictions":
            names.append(f"{place}/output_bias")
        elif place == "cls/seq_relationship":
            names.append(f"{place}/output_{'weights' if last == 'weight' else 'bias'}")
        elif "LayerNorm" in place:
            names.append(f"{place}/{'gamma' if last == 'weight' else 'beta'}")
        else:
            names.append(f"{place}/{'kernel' if last == 'weight' else 'bias'}")
            value = value.T if last == "weight" else value
        values.append(value)
    names += ["global_step", f"{names[0]}/adam_m"]
    values += [np.int64(3), values[0]]
    tf.raw_ops.SaveV2(
        prefix=str(path / "part"), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values
    )
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(path / "part")], destination_prefix=str(path / "bert_model.ckpt")
    )
    checkpoint, other = load(path)
    assert checkpoint.family == "bert" and len(checkpoint.left_out) == 2
    for variable, value in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(variable, value)
    (path / "bert_model.ckpt.index").unlink()
    with pytest.raises(
        UserError, match=r"there is no '.*bert_model.ckpt.index'. Unpack the whole checkpoint"
    ):
        read_checkpoint(str(path))


def test_relatives_under_another_model_type(copy):
    roberta, t5 = copy("roberta"), copy("t5_gated")
    before = [load(path)[1].weights for path in (roberta, t5)]
    change(roberta, model_type="xlm-roberta")
    change(t5, model_type="mt5")
    for path, weights, name in zip((roberta, t5), before, ("xlm-roberta", "mt5"), strict=True):
        checkpoint, model = load(path)
        assert checkpoint.family == name
        for variable, value in zip(model.weights, weights, strict=True):
            np.testing.assert_array_equal(variable, value)
    change(t5, tie_word_embeddings=True, scale_decoder_outputs=True)
    assert read_checkpoint(str(t5)).model_config.output_scale == 1.0  # mT5 scales none
    change(t5, model_type="t5")
    assert read_checkpoint(str(t5)).model_config.output_scale == 0.25


def test_the_text_model_of_a_gemma_that_sees(copy):
    path = copy("gemma3")
    _, model = load(path)
    text = json.loads((path / "config.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in text.items() if key not in ("num_key_value_heads", "rms_norm_eps")}
    rope = {
        "rope_theta": 1000.0,
        "rope_local_base_freq": 50.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    for nested in (text, {**kept, "num_key_value_heads": 2, "rope_parameters": None, **rope}):
        (path / "config.json").write_text(
            json.dumps({"model_type": "gemma3", "text_config": nested}), encoding="utf-8"
        )
        for prefix in ("language_model.model.", "model.language_model."):
            tensors = {
                re.sub(r"^(language_model\.)?(model\.)?(language_model\.)?", prefix, name): value
                for name, value in load_file(path / "model.safetensors").items()
                if "vision" not in name
            }
            tensors["vision_tower.embeddings.weight"] = tensors[f"{prefix}norm.weight"]
            save_file(tensors, path / "model.safetensors")
            checkpoint, other = load(path)
            assert checkpoint.family == "gemma3_text" and checkpoint.left_out == (
                "vision_tower.embeddings.weight",
            )
            assert checkpoint.model_config == read_checkpoint(str(path)).model_config == model.config
            for variable, value in zip(other.weights, model.weights, strict=True):
                np.testing.assert_array_equal(variable, value)


class _Frequencies:
    """A GGUF file that says of its rotary positions only what they are divided by."""

    place, metadata = "some.gguf", {"general.architecture": "llama"}

    def __init__(self, divisors):
        self.shapes, self._divisors = {"rope_freqs.weight": divisors.shape}, divisors

    def read(self, name):
        assert name == "rope_freqs.weight"
        return self._divisors


def test_llama3_scaling_in_gguf():
    config = {"hidden_size": 2048, "num_attention_heads": 32, "rope_theta": 500000.0}
    scaling = RotaryScaling("llama3", 32.0, 8192)
    divisors = np.array(rotary_frequencies(64, 500000.0)) / np.array(
        rotary_frequencies(64, 500000.0, scaling)
    )
    assert _rotary_scaling(_Frequencies(divisors.astype(np.float32)), config) == {
        "rope_type": "llama3",
        "factor": 32.0,
        "original_max_position_embeddings": 8192,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    with pytest.raises(UserError, match=r"'some.gguf' scales its rotary positions by frequencies of its own"):
        _rotary_scaling(_Frequencies(np.linspace(1, 8, 32)), config)


def as_gguf(folder, path, name):
    """A checkpoint as llama.cpp's `convert_hf_to_gguf.py` writes it, in float32."""
    gguf = pytest.importorskip("gguf", reason='to test GGUF: pip install "tflm[gguf]"')
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    num_layers, rotary = config["num_hidden_layers"], config["rope_parameters"]
    writer = gguf.GGUFWriter(path, name)
    writer.add_block_count(num_layers)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if name == "gemma3":
        writer.add_rope_freq_base(rotary["full_attention"]["rope_theta"])
        writer.add_rope_freq_base_swa(rotary["sliding_attention"]["rope_theta"])
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rotary["full_attention"]["factor"])
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])
    elif name == "qwen3":
        writer.add_rope_freq_base(rotary["rope_theta"])
    if name in ("gemma2", "gemma3"):
        writer.add_sliding_window(config["sliding_window"])
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, name.upper()), num_layers)
    for theirs, value in float32(folder).items():
        array = value + 1 if name.startswith("gemma") and theirs.endswith("norm.weight") else value
        writer.add_tensor(names.get_name(theirs, try_suffixes=(".weight",)), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("name", ["qwen3", "gemma", "gemma2", "gemma3"])
def test_gguf_of_other_families(load, folder, tmp_path, name):
    checkpoint, model, _ = load(name)
    as_gguf(folder / name, tmp_path / "tiny.gguf", name)
    found, other = folders.load(tmp_path / "tiny.gguf")
    expected = checkpoint.model_config
    if name == "gemma2":  # divides scores by another number than any published Gemma 2
        expected = dataclasses.replace(expected, attention_scale=0.0)
    assert (found.model_config, found.family) == (expected, checkpoint.family)
    for variable, value in zip(other.weights, model.weights, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-6, err_msg=variable.path)


@pytest.mark.parametrize(
    "name, num_layers, scalar", [("gemma2", 46, 144), ("gemma2", 42, 128), ("gemma3", 62, 144)]
)
def test_the_scale_of_scores_of_gemma_27b_in_gguf(name, num_layers, scalar):
    """4608 / 32 = 144; of other sizes the width of a head."""
    values = {"block_count": num_layers, "embedding_length": 4608, "attention.head_count": 32}
    values |= {"attention.key_length": 128, "attention.sliding_window": 512}
    metadata = {f"{name}.{key}": value for key, value in values.items()}
    config = _gemma_config({"general.architecture": name, **metadata})
    assert config["query_pre_attn_scalar"] == scalar
    every = 2 if name == "gemma2" else 6
    assert config["layer_types"][:every].count("full_attention") == 1
    assert config["layer_types"][every - 1] == "full_attention" and len(config["layer_types"]) == num_layers


def test_every_family_is_declared():
    names = "albert bert distilbert electra gemma gemma2 gemma3 gemma3_text gpt2 llama mistral mt5 qwen2 qwen3 roberta"
    assert FAMILIES.names() == [*names.split(), "t5", "xlm-roberta"]


# Folders of sentence-transformers.


def _sentence(path, pooling, kinds=("Transformer", "Pooling", "Normalize")):
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": f"{index}_{kind}" if index else ""}
        for index, kind in enumerate(kinds)
    ]
    (path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (path / "1_Pooling").mkdir(exist_ok=True)
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 16}', encoding="utf-8")


def test_pooling_and_normalization_are_found(copy):
    path = copy("bert")
    assert read_checkpoint(str(path)).sentence.pooling == ""
    _sentence(path, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    sentence = read_checkpoint(str(path)).sentence
    assert (sentence.pooling, sentence.normalize, sentence.max_tokens) == ("first", True, 16)
    _sentence(path, {"pooling_mode": "mean"}, ("Transformer", "Pooling"))
    assert read_checkpoint(str(path)).sentence[:2] == ("mean", False)


def test_pooling_that_is_not_supported(copy):
    path = copy("bert")
    _sentence(path, {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True})
    with pytest.raises(
        UserError, match=r"has the pooling pooling_mode_mean_tokens and .*max_tokens; supported"
    ):
        read_checkpoint(str(path))
    _sentence(path, {"pooling_mode_mean_tokens": True}, ("Transformer", "Pooling", "Dense"))
    with pytest.raises(UserError, match=r"has a module 'Dense'; supported: Transformer, Pooling, Normalize"):
        read_checkpoint(str(path))
