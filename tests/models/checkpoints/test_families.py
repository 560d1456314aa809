"""Every family against transformers: hidden states, logits, cached steps with left padding, greedy tokens; and written
again."""

import os
import subprocess

import numpy as np
import pytest

from tflm.models import build_model
from tflm.models.checkpoints import read_checkpoint, write_checkpoint

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gpt2", "gguf")
TRANSLATORS = ("t5", "t5_gated")
ENCODERS = ("bert", "roberta", "electra", "albert", "distilbert")
NAMES = (*DECODERS, *TRANSLATORS, *ENCODERS)
PYTHON = os.environ.get("TFLM_TRANSFORMERS_PYTHON", "")
TOLERANCE = 1e-4


def options(config):
    """What a config sets apart from sizes, as a reader of this test wants it."""
    names = (
        "tied_output num_kv_heads head_width qkv_bias qk_norm rotary_scaling sliding_window full_attention_layers "
        "local_rotary_base norm_position attention_cap logit_cap output_scale positions activation pooler output_bias "
        "embedding_dim shared_layers"
    )
    defaults = type(config)()
    values = {name: getattr(config, name, None) for name in names.split()}
    return {name: value for name, value in values.items() if value != getattr(defaults, name, None)}


EXPECTED = {
    "llama": {"tied_output": False, "num_kv_heads": 2, "rotary_scaling": "llama3"},
    "mistral": {"tied_output": False, "num_kv_heads": 2, "sliding_window": 5},
    "qwen2": {"num_kv_heads": 2, "qkv_bias": True, "rotary_scaling": "yarn"},
    "qwen3": {"num_kv_heads": 2, "head_width": 8, "qk_norm": True},
    "gemma": {"num_kv_heads": 2, "head_width": 8, "activation": "geglu"},
    "gemma2": {
        "num_kv_heads": 2,
        "head_width": 8,
        "sliding_window": 5,
        "full_attention_layers": (1,),
        "norm_position": "both",
        "attention_cap": 2.0,
        "logit_cap": 5.0,
        "activation": "geglu",
    },
    "gemma3": {
        "num_kv_heads": 2,
        "head_width": 8,
        "qk_norm": True,
        "rotary_scaling": "linear",
        "sliding_window": 5,
        "full_attention_layers": (1,),
        "local_rotary_base": 50.0,
        "norm_position": "both",
        "activation": "geglu",
    },
    "gpt2": {"positions": "learned", "activation": "gelu"},
    "gguf": {"num_kv_heads": 2},
    "t5": {"head_width": 6, "output_scale": 0.25, "positions": "relative", "activation": "relu"},
    "t5_gated": {"tied_output": False, "head_width": 6, "positions": "relative", "activation": "geglu"},
    "bert": {"pooler": True, "output_bias": True},
    "roberta": {"output_bias": True},
    "electra": {"embedding_dim": 8},
    "albert": {
        "embedding_dim": 8,
        "shared_layers": True,
        "pooler": True,
        "output_bias": True,
        "activation": "gelu",
    },
    "distilbert": {"output_bias": True},
}


@pytest.mark.parametrize("name", NAMES)
def test_the_config_is_found(load, name):
    expected = dict(EXPECTED[name])
    if name in ENCODERS:
        expected |= {"norm_position": "post", "positions": "learned"}
        expected.setdefault("activation", "gelu_exact")
    assert options(load(name)[0].model_config) == expected


@pytest.mark.parametrize("name", DECODERS)
def test_logits_of_a_decoder(load, name):
    _, model, reference = load(name)
    assert 0 in reference["token_ids"]
    np.testing.assert_allclose(model(reference["token_ids"]), reference["logits"], atol=TOLERANCE)


@pytest.mark.parametrize("name", DECODERS)
def test_cached_steps_with_left_padding(load, name):
    """The second text begins three tokens later; both are read in steps of 5, 1, 1 and the rest."""
    _, model, reference = load(name)
    token_ids, length = reference["token_ids"].copy(), reference["token_ids"].shape[1]
    token_ids[1] = np.concatenate([[0, 0, 0], token_ids[1, :-3]])
    state = model.initial_state(2, length, num_padding=np.array([0, 3], np.int32))
    logits = []
    for first, last in ((0, 5), (5, 6), (6, 7), (7, length)):
        step, state = model.step(token_ids[:, first:last], state)
        logits.append(step)
    logits = np.concatenate(logits, axis=1)
    np.testing.assert_allclose(logits[0], reference["logits"][0], atol=TOLERANCE)
    np.testing.assert_allclose(logits[1, 3:], reference["logits"][1, :-3], atol=TOLERANCE)


@pytest.mark.parametrize("name", [*DECODERS, *TRANSLATORS])
def test_greedy_tokens(load, name):
    _, model, reference = load(name)
    new_ids = reference["new_ids"]
    context, inputs = None, reference["token_ids"][:, :6]
    if name in TRANSLATORS:
        context, inputs = model.encode(reference["source_ids"]), np.zeros([2, 1], np.int32)
    state, found = model.initial_state(2, inputs.shape[1] + new_ids.shape[1], context=context), []
    for _ in range(new_ids.shape[1]):
        logits, state = model.step(inputs, state, last_only=True)
        inputs = np.argmax(logits, axis=-1).astype(np.int32)
        found.append(inputs)
    assert np.concatenate(found, axis=1).tolist() == new_ids.tolist()


@pytest.mark.parametrize("name", TRANSLATORS)
def test_logits_of_an_encoder_decoder(load, name):
    _, model, reference = load(name)
    source_ids, token_ids = reference["source_ids"], reference["token_ids"]
    assert (source_ids[1] == 0).sum() == 3
    np.testing.assert_allclose(model(token_ids, source_ids=source_ids), reference["logits"], atol=TOLERANCE)
    state = model.initial_state(2, token_ids.shape[1], context=model.encode(source_ids))
    first, state = model.step(token_ids[:, :4], state)
    rest, _ = model.step(token_ids[:, 4:], state)
    np.testing.assert_allclose(np.concatenate([first, rest], 1), reference["logits"], atol=TOLERANCE)


@pytest.mark.parametrize("name", ENCODERS)
def test_states_logits_and_summary_of_an_encoder(load, name):
    checkpoint, model, reference = load(name)
    model.config = checkpoint.model_config.__class__(
        **{**vars(checkpoint.model_config), "pad_id": 1 if name == "roberta" else 0}
    )
    token_ids = reference["token_ids"]
    is_real = token_ids != model.config.pad_id
    assert (~is_real).sum() == 6
    segments = {"segment_ids": reference["segment_ids"]} if model.config.num_segments > 1 else {}
    states = model.hidden_states(token_ids, **segments)
    np.testing.assert_allclose(np.array(states)[is_real], reference["states"][is_real], atol=TOLERANCE)
    if model.config.pooler:
        np.testing.assert_allclose(model.pooled(states), reference["pooled"], atol=TOLERANCE)
    assert ("logits" in reference) == model.config.head_transform
    if model.config.head_transform:
        logits = np.array(model.logits(states))
        np.testing.assert_allclose(logits[is_real], reference["logits"][is_real], atol=TOLERANCE)


def test_what_is_left_out_is_reported(load):
    assert load("bert")[0].left_out == ("cls.seq_relationship.bias", "cls.seq_relationship.weight")
    assert len(load("electra")[0].left_out) == 4
    assert load("llama")[0].left_out == ()


@pytest.mark.parametrize("name", NAMES)
def test_written_and_read_again(load, tmp_path, name):
    """Weights and config come back as they were; in the dtype of the file no bit changes, except where RoBERTa's
    positions are a sum of two."""
    checkpoint, model, _ = load(name)
    dtype = "float32" if name == "roberta" else checkpoint.metadata.get("dtype", "float32")
    paths = write_checkpoint(model, str(tmp_path / "out"), family=checkpoint.family, dtype=dtype)
    assert [os.path.basename(path) for path in paths] == ["config.json", "model.safetensors"]
    again = read_checkpoint(str(tmp_path / "out"))
    assert again.model_config == checkpoint.model_config
    other = build_model(again.model_config)
    again.load_into(other)
    for variable, copy in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(variable, copy, err_msg=variable.path)


@pytest.mark.skipif(
    not PYTHON,
    reason="set TFLM_TRANSFORMERS_PYTHON to the Python of an environment with transformers; see "
    "tests/data/checkpoints/make.py",
)
def test_transformers_reads_what_is_written(load, folder, tmp_path):
    arguments = []
    families = {name: name for name in NAMES if name != "gguf"} | {
        "xlm-roberta": "roberta",
        "mt5": "t5_gated",
    }
    for written, name in families.items():
        checkpoint, model, _ = load(name)
        family = checkpoint.family if written == name else written
        write_checkpoint(model, str(tmp_path / written), family=family)
        arguments += [str(tmp_path / written), name]
    done = subprocess.run(
        [PYTHON, str(folder / "make.py"), "check", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count(" ok ") == len(families)
