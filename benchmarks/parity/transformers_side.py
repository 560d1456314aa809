"""The peer's side of tests/generation/test_transformers_parity.py: what transformers generates, as golden files.

    python -m venv peer && peer/bin/pip install torch==2.13.0 transformers==5.23.0
    peer/bin/python benchmarks/parity/transformers_side.py tests/generation/golden

Runs in an environment with PyTorch, transformers and NumPy alone, in about a minute. It builds tiny models of random
weights (a GPT-2, a T5, a T5 with a gate as in T5 1.1), draws prompts of unequal length, and writes weights, prompts and
outputs, one `.npz` for each model and one for the filters of sampling. Weights are numbers that float16 holds, so
that they are stored in half the space and are the same on both sides. Everything is computed in float32, and a
second time with weights and matrix products in float64: where the two differ, two choices are as good as equal, and
the run stops. It also prints what the texts are like, and how often transformers' default `early_stopping` misses
the better text.
"""

import json
import pathlib
import sys
from typing import Any

import numpy as np
import torch
import transformers

PAD, VOCAB_SIZE, NUM_PROMPTS, MAX_NEW_TOKENS, NUM_BEAMS = 0, 120, 200, 20, 4
LENGTH_PENALTIES = (0.6, 1.0, 2.0)
END_LENGTHS = {"wte": 1.2, "shared": 2.0}
LAST_NORMS = {"transformer.ln_f.weight": 0.5, "decoder.final_layer_norm.weight": 3.0}
PENALIZED = {
    "repetition_penalty": {"repetition_penalty": 1.7},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "min_new_tokens": {"min_new_tokens": 12},
}
FILTERS: list[dict[str, Any]] = [
    {"top_k": 1},
    {"top_k": 50},
    {"top_p": 0.3},
    {"top_p": 0.9},
    {"min_p": 0.05},
    {"min_p": 0.3},
    {"typical_p": 0.2},
    {"typical_p": 0.9},
    {"temperature": 0.7, "top_k": 30, "top_p": 0.9, "min_p": 0.02},
    {"temperature": 1.6, "top_p": 0.8, "typical_p": 0.7},
]


def main(folder: pathlib.Path) -> None:
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    gpt2_config = transformers.GPT2Config(
        vocab_size=VOCAB_SIZE, n_positions=32, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2
    )
    t5_sizes: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "d_model": 32, "d_kv": 8, "num_heads": 4}
    t5_config = transformers.T5Config(**t5_sizes, num_layers=2, d_ff=64, decoder_start_token_id=PAD)
    gated_config = transformers.T5Config(
        **t5_sizes, num_layers=1, d_ff=48, feed_forward_proj="gated-gelu", decoder_start_token_id=PAD
    )
    write(folder / "transformers_gpt2.npz", transformers.GPT2LMHeadModel(gpt2_config), 12, 1)
    write(folder / "transformers_t5.npz", transformers.T5ForConditionalGeneration(t5_config), 16, 2)
    gated = transformers.T5ForConditionalGeneration(gated_config)
    write(folder / "transformers_t5_gated.npz", gated, 16, 3, only_greedy=True)
    write_filters(folder / "transformers_filters.npz", np.random.default_rng(4))


def write(path: pathlib.Path, model: Any, longest: int, seed: int, only_greedy: bool = False) -> None:
    """One model: `weight/NAME`, `config`, `prompts` with `lengths`, and for each run its tokens and its scores."""
    rng = np.random.default_rng(seed)
    weights = set_weights(model, rng)
    lengths = rng.integers(1, longest + 1, NUM_PROMPTS)
    prompts = rng.integers(3, VOCAB_SIZE, [NUM_PROMPTS, longest])
    prompts = np.where(np.arange(longest) < lengths[:, None], prompts, PAD)
    outputs = run_all(model, prompts, lengths, only_greedy)
    print(path.name)
    describe(model, as_inputs(model, prompts, lengths), outputs)
    again = run_all(model.double(), prompts, lengths, only_greedy)
    for name, value in outputs.items():
        if value.dtype == np.uint8 and not np.array_equal(value, again[name]):
            raise SystemExit(f"{path.name}: {name} differs in float64, a near-tie. Take another seed.")
    config = {**model.config.to_dict(), "model_type": model.config.model_type}
    kept = ("model_type", "n_head", "num_heads", "eos_token_id", "layer_norm_epsilon", "feed_forward_proj")
    np.savez_compressed(
        path,
        config=json.dumps({name: config[name] for name in kept if name in config}),
        prompts=prompts.astype(np.uint8),
        lengths=lengths.astype(np.uint8),
        **{f"weight/{name}": value for name, value in weights.items()},
        **outputs,
    )
    print(f"  {path.stat().st_size / 1000:.0f} KB")


def set_weights(model: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Gives every parameter random values that float16 holds, and returns them, each shared one once.

    Larger than at the start of a training, so that a text depends on every part of the model. The last norm has
    weights of both signs, so that a token does not call itself up through the tied embedding, and the end token
    a longer vector, so that many texts end.
    """
    weights = {}
    for name, parameter in model.named_parameters():
        shape, layer = tuple(parameter.shape), name.split(".")[-2]
        value = rng.normal(size=shape)
        if layer in ("wte", "shared"):
            value[model.config.eos_token_id] *= END_LENGTHS[layer]
        elif name in LAST_NORMS:
            value *= LAST_NORMS[name]
        elif parameter.ndim == 1:
            value = 0.3 * value + (1.0 if name.endswith("weight") else 0.0)
        elif layer not in ("wpe", "relative_attention_bias"):
            value *= 1.5 / np.sqrt(shape[0] if model.config.model_type == "gpt2" else shape[1])
        weights[name] = value.astype(np.float16)
        parameter.data = torch.tensor(weights[name].astype(np.float32))
    return weights


def run_all(model: Any, prompts: np.ndarray, lengths: np.ndarray, only_greedy: bool) -> dict[str, np.ndarray]:
    """Every run of one model: greedy and beams; on the first 20 prompts greedy with each penalty, beams with all."""
    model.eval()
    inputs = as_inputs(model, prompts, lengths)
    first = {name: value[:20] for name, value in inputs.items()}
    found = {}
    found["greedy/token_ids"], found["greedy/log_probability"] = greedy(model, inputs)
    if only_greedy:
        return found
    for name, settings in PENALIZED.items():
        found[f"{name}/token_ids"], found[f"{name}/log_probability"] = greedy(model, first, **settings)
    for penalty in LENGTH_PENALTIES:
        token_ids, score = beams(model, inputs, penalty, "never")
        found[f"beams_{penalty}/token_ids"], found[f"beams_{penalty}/score"] = token_ids, score
    together = {name: value for settings in PENALIZED.values() for name, value in settings.items()}
    token_ids, score = beams(model, first, 1.0, "never", **together)
    found["beams_penalized/token_ids"], found["beams_penalized/score"] = token_ids, score
    return found


def as_inputs(model: Any, prompts: np.ndarray, lengths: np.ndarray) -> dict[str, torch.Tensor]:
    """A decoder's prompts are padded on the left, an encoder's sources on the right."""
    mask = np.arange(prompts.shape[1]) < lengths[:, None]
    if not model.config.is_encoder_decoder:
        prompts = np.stack([np.roll(row, -count) for row, count in zip(prompts, lengths)])
        mask = mask[:, ::-1].copy()
    return {"input_ids": torch.tensor(prompts), "attention_mask": torch.tensor(mask.astype(np.int64))}


def greedy(model: Any, inputs: dict[str, torch.Tensor], **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """Token ids uint8 [B, N] and the log-probability float32 [B] under the model's own distribution."""
    result = generate(model, inputs, num_beams=1, output_logits=True, **settings)
    token_ids = produced(model, inputs, result.sequences)
    logs = torch.stack(result.logits, dim=1).double().log_softmax(-1).numpy()
    new_ids = token_ids[:, : logs.shape[1], None].astype(np.int64)
    chosen = np.where(new_ids == PAD, 0.0, np.take_along_axis(logs, new_ids, axis=2))
    return token_ids, np.sum(chosen, axis=(1, 2)).astype(np.float32)


def beams(
    model: Any, inputs: dict[str, torch.Tensor], length_penalty: float, early_stopping: Any, **settings: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids uint8 [B, NUM_BEAMS, N] and scores float32 [B, NUM_BEAMS], the best first."""
    result = generate(
        model,
        inputs,
        num_beams=NUM_BEAMS,
        num_return_sequences=NUM_BEAMS,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        output_scores=True,
        **settings,
    )
    token_ids = produced(model, inputs, result.sequences)
    scores = result.sequences_scores.float().numpy()
    return token_ids.reshape([-1, NUM_BEAMS, MAX_NEW_TOKENS]), scores.reshape([-1, NUM_BEAMS])


def generate(model: Any, inputs: dict[str, torch.Tensor], **settings: Any) -> Any:
    with torch.no_grad():
        return model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
            pad_token_id=PAD,
            suppress_tokens=[PAD],
            return_dict_in_generate=True,
            **settings,
        )


def produced(model: Any, inputs: dict[str, torch.Tensor], sequences: torch.Tensor) -> np.ndarray:
    """The new tokens with the end token, then padding: uint8 [B, MAX_NEW_TOKENS].

    Beam search fills up with the end token where the pad id is 0 (`pad_token_id or eos_token_id`).
    """
    start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    token_ids = sequences[:, start:].numpy().astype(np.uint8)
    is_end = token_ids == model.config.eos_token_id
    token_ids[np.cumsum(is_end, axis=1) - is_end > 0] = PAD
    return np.pad(token_ids, [(0, 0), (0, MAX_NEW_TOKENS - token_ids.shape[1])])


def describe(model: Any, inputs: dict[str, torch.Tensor], found: dict[str, np.ndarray]) -> None:
    """Prints whether the texts are fit to tell two programs apart, and what `early_stopping=False` would change."""
    for name in (name.split("/")[0] for name in found if name.endswith("token_ids")):
        token_ids = found[f"{name}/token_ids"].reshape([-1, MAX_NEW_TOKENS])
        kinds = np.mean([len(set(row[row > 0])) / np.sum(row > 0) for row in token_ids])
        print(
            f"  {name}: {np.mean((token_ids == model.config.eos_token_id).any(1)):.0%} end,"
            f" {np.mean(np.sum(token_ids > 0, 1)):.1f} tokens, {kinds:.0%} of a text's tokens differ,"
            f" {len(np.unique(token_ids))} tokens used"
        )
    for penalty in [penalty for penalty in LENGTH_PENALTIES if f"beams_{penalty}/score" in found]:
        token_ids, score = found[f"beams_{penalty}/token_ids"], found[f"beams_{penalty}/score"]
        default_ids, default_score = beams(model, inputs, penalty, False)
        differ = (default_ids != token_ids).any(axis=-1)
        print(
            f"  length_penalty {penalty}: early_stopping=False has another best text for {differ[:, 0].sum()} of"
            f" {len(token_ids)} prompts ({np.sum(default_score[:, 0] < score[:, 0] - 1e-6)} of a lower score), other"
            f" {NUM_BEAMS} best for {differ.any(axis=1).sum()}"
        )


def write_filters(path: pathlib.Path, rng: np.random.Generator) -> None:
    """`logits` [20, V] of growing spread, `settings` as JSON, and the probabilities float32 [20, V] after each."""
    logits = rng.normal(size=[20, VOCAB_SIZE]) * np.linspace(0.3, 6.0, 20)[:, None]
    logits = logits.astype(np.float16).astype(np.float32)
    arrays = {}
    for index, settings in enumerate(FILTERS):
        found = torch.tensor(logits)
        for name, value in settings.items():
            found = WARPERS[name](value)(None, found)
        arrays[f"probabilities_{index}"] = found.softmax(-1).numpy()
    np.savez_compressed(path, settings=json.dumps(FILTERS), logits=logits.astype(np.float16), **arrays)
    print(path.name, f"{path.stat().st_size / 1000:.0f} KB")


WARPERS = {
    "temperature": transformers.TemperatureLogitsWarper,
    "top_k": transformers.TopKLogitsWarper,
    "top_p": transformers.TopPLogitsWarper,
    "min_p": transformers.MinPLogitsWarper,
    "typical_p": transformers.TypicalLogitsWarper,
}

if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
