"""Low-rank adapters in PEFT's layout: names, shapes and values; and PEFT itself, where there is one."""

import json
import os
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file

from tflm.errors import UserError
from tflm.models import build_model
from tflm.models.checkpoints.peft_adapter import write_peft_adapter
from tflm.training.low_rank import add_adapters, merged_weights

RANK, ALPHA = 3, 4.5
NAMES = (
    "bert",
    "roberta",
    "electra",
    "albert",
    "distilbert",
    "t5",
    "t5_gated",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
)
NAMES += ("gemma", "gemma2", "gemma3")
PYTHON = os.environ.get("TFLM_TRANSFORMERS_PYTHON", "")


def adapted(load, name):
    """A checkpoint, and its model with random adapters."""
    checkpoint, published, _ = load(name)
    model = build_model(checkpoint.model_config)
    for variable, value in zip(model.weights, published.weights, strict=True):
        variable.assign(value)
    add_adapters(model, RANK, ALPHA)
    rng = np.random.default_rng(7)
    for layer in model.adapted_layers():
        for matrix in (layer.lora_kernel_a, layer.lora_kernel_b):
            matrix.assign(rng.normal(0.0, 0.3, matrix.shape))
    return checkpoint, model


@pytest.mark.parametrize("name", ["qwen2", "gemma3", "t5_gated", "albert", "bert"])
def test_names_and_values(load, tmp_path, name):
    """Of each layer its own tensors; kernel [out, in] + alpha / rank * B A is the kernel with adapters merged."""
    checkpoint, model = adapted(load, name)
    paths = write_peft_adapter(
        model, str(tmp_path / "out"), family=checkpoint.family, base="owner/name", revision="v1"
    )
    assert [os.path.basename(path) for path in paths] == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((tmp_path / "out/adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/name", "v1")
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (RANK, ALPHA, "LORA")
    tensors, merged = load_file(paths[1]), merged_weights(model)
    prefix = "model." if name in ("qwen2", "gemma3") else ""
    ours = {
        f"base_model.model.{prefix}{entry.theirs[0].removesuffix('.weight')}": f"{model.name}/{entry.ours[0]}"
        for entry in checkpoint.entries
    }
    modules = {key.rpartition(".lora_")[0] for key in tensors}
    assert len(tensors) == 2 * len(modules) == 2 * len(list(model.adapted_layers()))
    before = {variable.path: np.array(variable) for variable in model.weights}
    for module in modules:
        a, b = tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"]
        kernel = before[ours[module]]
        assert (a.shape, b.shape) == ((RANK, kernel.shape[0]), (kernel.shape[1], RANK))
        np.testing.assert_allclose(kernel.T + ALPHA / RANK * (b @ a), merged[ours[module]].T, atol=1e-5)
        targets = config["target_modules"]
        assert any(module.endswith(f".{target}") for target in targets)


def test_what_is_for_which_class(load, tmp_path):
    """transformers' class for the body of an encoder has names without a prefix, and other layers named dense."""
    kinds = {"bert": "FEATURE_EXTRACTION", "t5": "SEQ_2_SEQ_LM", "qwen2": "CAUSAL_LM"}
    targets = {}
    for name, kind in kinds.items():
        checkpoint, model = adapted(load, name)
        write_peft_adapter(
            model, str(tmp_path / name), family=checkpoint.family, base="there", dtype="bfloat16"
        )
        config = json.loads((tmp_path / name / "adapter_config.json").read_text(encoding="utf-8"))
        assert (config["task_type"], config["revision"]) == (kind, None)
        targets[name] = config["target_modules"]
    assert "encoder.layer.0.attention.output.dense" in targets["bert"] and len(targets["bert"]) == 12
    assert sorted(targets["t5"]) == ["k", "o", "q", "v", "wi", "wo"]
    assert len(targets["qwen2"]) == 7


def test_what_cannot_be_written(load, tmp_path):
    model = adapted(load, "gpt2")[1]
    with pytest.raises(UserError) as error:
        write_peft_adapter(model, str(tmp_path / "out"), family="gpt2", base="there")
    assert str(error.value).startswith(
        "gpt2 keeps decoder/block_0/attention/query, decoder/block_0/attention/key, decoder/block_0/attention/value in "
        "one tensor, h.0.attn.c_attn.weight: PEFT has no adapter for a part of it. Write all weights"
    )
    with pytest.raises(
        UserError, match=r"has no low-rank adapters\. Write all weights: --format=huggingface"
    ):
        write_peft_adapter(load("qwen2")[1], str(tmp_path / "out"), family="qwen2", base="there")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    not PYTHON,
    reason="set TFLM_TRANSFORMERS_PYTHON to the Python of an environment with transformers and peft; see "
    "tests/data/checkpoints/make.py",
)
def test_peft_loads_it_onto_the_checkpoint(load, folder, tmp_path):
    """The same logits, or hidden states, as the model with its adapters."""
    for name in NAMES:
        checkpoint, model = adapted(load, name)
        write_peft_adapter(model, str(tmp_path / name), family=checkpoint.family, base=str(folder / name))
        reference = load(name)[2]
        token_ids = reference["token_ids"][:1]  # without padding
        found = {"token_ids": token_ids}
        if "source_ids" in reference:
            found["source_ids"] = reference["source_ids"][:1]
            found["logits"] = model(token_ids, source_ids=found["source_ids"])
        elif "new_ids" in reference:
            found["logits"] = model(token_ids)
        else:
            found["states"] = model.hidden_states(token_ids)
        np.savez(tmp_path / name / "expected.npz", **{key: np.asarray(value) for key, value in found.items()})
    done = subprocess.run(
        [PYTHON, str(folder / "make.py"), "adapters", *(str(tmp_path / name) for name in NAMES)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count(" ok") == len(NAMES)
