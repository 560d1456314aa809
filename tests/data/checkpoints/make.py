"""Writes the tiny checkpoints of this folder with transformers, and what its models compute; or checks one.

    python -m venv hf && hf/bin/pip install torch transformers==5.24.0 gguf==0.19.0 peft==0.21.2 \\
        sentence-transformers==6.2.0
    hf/bin/python tests/data/checkpoints/make.py                    # writes every NAME/
    hf/bin/python tests/data/checkpoints/make.py check FOLDER NAME  # FOLDER has the outputs of NAME
    hf/bin/python tests/data/checkpoints/make.py adapters FOLDER    # PEFT computes what is in FOLDER/expected.npz
    hf/bin/python tests/data/checkpoints/make.py vectors FOLDER     # so does sentence-transformers

Each folder has the files of the checkpoint and reference.npz. Of a decoder: `token_ids` [2, T], `logits` [2, T, V] and
`new_ids` [2, N], the greedy continuation of the first PROMPT tokens. Of an encoder-decoder also `source_ids`, where
`token_ids` are the inputs of the decoder. Of an encoder: `token_ids` padded on the right, `segment_ids`, `states`, and
`logits` and `pooled` where it has them. Seeds are tried until every greedy token is ahead of the next by MARGIN, so
that rounding changes none. All are computed in float32 from the weights that are in the files.
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import torch
import transformers as hf

FOLDER = pathlib.Path(__file__).parent
VOCAB, LENGTH, PROMPT, NEW, MARGIN = 72, 20, 6, 8, 0.1
SMALL = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {
    **SMALL,
    "intermediate_size": 24,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
GEMMA = {**LLAMA, "head_dim": 8, "num_hidden_layers": 3}
BERT = {**SMALL, "intermediate_size": 24, "max_position_embeddings": 24}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16}
T5 = {
    "vocab_size": VOCAB,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 2,
    "num_decoder_layers": 1,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
}


def cases():
    """Name to model class, config and the dtype of the file."""
    bf16, fp16 = torch.bfloat16, torch.float16
    gemma3 = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    }
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    return {
        "llama": (
            hf.LlamaForCausalLM,
            hf.LlamaConfig(**LLAMA, rope_parameters=LLAMA3, tie_word_embeddings=False),
            bf16,
        ),
        "mistral": (hf.MistralForCausalLM, hf.MistralConfig(**LLAMA, sliding_window=5), fp16),
        "qwen2": (
            hf.Qwen2ForCausalLM,
            hf.Qwen2Config(**LLAMA, rope_parameters=YARN, tie_word_embeddings=True),
            bf16,
        ),
        "qwen3": (
            hf.Qwen3ForCausalLM,
            hf.Qwen3Config(**LLAMA, head_dim=8, rms_norm_eps=1e-3, tie_word_embeddings=True),
            bf16,
        ),
        "gemma": (hf.GemmaForCausalLM, hf.GemmaConfig(**GEMMA), bf16),
        "gemma2": (
            hf.Gemma2ForCausalLM,
            hf.Gemma2Config(
                **GEMMA,
                sliding_window=5,
                query_pre_attn_scalar=4,
                attn_logit_softcapping=2.0,
                final_logit_softcapping=5.0,
            ),
            bf16,
        ),
        "gemma3": (
            hf.Gemma3ForCausalLM,
            hf.Gemma3TextConfig(
                **GEMMA,
                sliding_window=5,
                query_pre_attn_scalar=8,
                layer_types=kinds,
                rope_parameters=gemma3,
            ),
            bf16,
        ),
        "gpt2": (
            hf.GPT2LMHeadModel,
            hf.GPT2Config(
                vocab_size=VOCAB,
                n_positions=32,
                n_embd=16,
                n_layer=2,
                n_head=4,
                bos_token_id=3,
                eos_token_id=3,
            ),
            torch.float32,
        ),
        "t5": (hf.T5ForConditionalGeneration, hf.T5Config(**T5), fp16),
        "t5_gated": (
            hf.T5ForConditionalGeneration,
            hf.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
            bf16,
        ),
        "bert": (hf.BertForPreTraining, hf.BertConfig(**BERT), fp16),
        "roberta": (
            hf.RobertaForMaskedLM,
            hf.RobertaConfig(**BERT, type_vocab_size=1, pad_token_id=1),
            fp16,
        ),
        "electra": (hf.ElectraForPreTraining, hf.ElectraConfig(**BERT, embedding_size=8), fp16),
        "albert": (hf.AlbertForPreTraining, hf.AlbertConfig(**BERT, embedding_size=8), fp16),
        "distilbert": (
            hf.DistilBertForMaskedLM,
            hf.DistilBertConfig(
                vocab_size=VOCAB, dim=16, n_layers=2, n_heads=4, hidden_dim=24, max_position_embeddings=24
            ),
            fp16,
        ),
    }


def make_model(cls, config, dtype, seed):
    """Large random weights, rounded to the dtype of the file."""
    torch.manual_seed(seed)
    model = cls(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            is_norm = "norm" in name.lower() or ".ln_" in name
            spread = 0.1 if is_norm or name.endswith("bias") else 0.35
            center = 1.0 if is_norm and name.endswith("weight") and "emma" not in cls.__name__ else 0.0
            if "emma" in cls.__name__ and "post_" in name:
                center = 2.0  # else the embedding, which is large, outweighs the layers: each token repeats
            if name == "decoder.final_layer_norm.weight":
                center = 4.0  # T5 divides what follows by the root of the width
            weight.copy_((center + spread * torch.randn(weight.shape)).to(dtype))
        if cls is hf.T5ForConditionalGeneration and config.scale_decoder_outputs is False:
            model.lm_head.weight = torch.nn.Parameter((0.5 * torch.randn(VOCAB, 16)).to(dtype).float())
    return model


@torch.no_grad()
def reference(model):
    """What the model computes, as arrays."""
    rng = np.random.default_rng(5)
    ids = torch.from_numpy(rng.integers(4, VOCAB, [2, LENGTH]))
    if model.config.is_encoder_decoder:
        return _translate(model, ids)
    if type(model).__name__.endswith(("CausalLM", "LMHeadModel")):
        ids[:, 2] = 0
        logits = model(ids).logits
        new_ids = _greedy(lambda tokens: model(tokens).logits, ids[:, :PROMPT])
        return {"token_ids": ids, "logits": logits, "new_ids": new_ids}
    return _read(model, ids)


def _translate(model, ids):
    mask = torch.ones(2, 12)
    mask[1, 9:] = 0
    source = torch.where(mask > 0, ids[:, :12], 0)
    inputs = torch.cat([torch.zeros(2, 1, dtype=torch.long), ids[:, 12:]], 1)

    def run(tokens):
        return model(input_ids=source, attention_mask=mask, decoder_input_ids=tokens).logits

    new_ids = _greedy(run, torch.zeros(2, 1, dtype=torch.long))
    return {"source_ids": source, "token_ids": inputs, "logits": run(inputs), "new_ids": new_ids}


def _greedy(run, ids):
    first = ids.shape[1]
    for _ in range(NEW):
        ids = torch.cat([ids, run(ids)[:, -1:].argmax(-1)], 1)
    return ids[:, first:]


def _read(model, ids):
    mask = torch.ones(2, LENGTH)
    mask[1, LENGTH - 6 :] = 0
    ids = torch.where(mask > 0, ids, model.config.pad_token_id)
    segments = torch.zeros_like(ids)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        segments[:, 9:] = 1
        inputs["token_type_ids"] = segments
    outputs = model(**inputs, output_hidden_states=True)
    found = {"token_ids": ids, "segment_ids": segments, "states": outputs.hidden_states[-1]}
    body = getattr(model, model.base_model_prefix, model)
    if getattr(body, "pooler", None) is not None:
        found["pooled"] = body(**inputs).pooler_output
    logits = getattr(outputs, "prediction_logits", getattr(outputs, "logits", None))
    if logits is not None and logits.shape[-1] == VOCAB:
        found["logits"] = logits
    return found


@torch.no_grad()
def margin(model, found):
    """By how much the greedy tokens are ahead of the next, at least."""
    if "new_ids" not in found:
        return 1.0
    if "source_ids" in found:
        start = torch.zeros(2, 1, dtype=torch.long)
        inputs = torch.cat([start, found["new_ids"]], 1)[:, :-1]
        mask = (found["source_ids"] != 0).float()
        logits = model(found["source_ids"], attention_mask=mask, decoder_input_ids=inputs).logits
    else:
        inputs = torch.cat([found["token_ids"][:, :PROMPT], found["new_ids"]], 1)[:, :-1]
        logits = model(inputs).logits[:, PROMPT - 1 :]
    assert (logits.argmax(-1) == found["new_ids"]).all()
    varied = len(set(found["new_ids"].flatten().tolist())) > 5
    top = logits.topk(2).values
    return float((top[..., 0] - top[..., 1]).min()) if varied else 0.0


def make(name, cls, config, dtype):
    """One folder."""
    for seed in range(1000):
        model = make_model(cls, config, dtype, seed)
        found = reference(model)
        if margin(model, found) > MARGIN:
            break
    else:
        raise SystemExit(f"{name}: no seed has the margin")
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size="6KB" if name == "llama" else "1GB")
    if (
        name == "gpt2"
    ):  # as a file of PyTorch, with the buffers and the copy of the embedding that old files have
        (folder / "model.safetensors").unlink()
        state = model.state_dict()
        state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 32, 32).bool()
        torch.save(state, folder / "pytorch_model.bin")
    _save(folder, found)
    print(name, "seed", seed, sum(path.stat().st_size for path in folder.iterdir()), "bytes")


def make_gguf():
    """A Llama of which rows of 32 can be quantized; transformers reads the file too, and computes the reference."""
    import gguf

    sizes = {**LLAMA, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = hf.LlamaConfig(**sizes, tie_word_embeddings=True)
    for seed in range(500):
        model = make_model(hf.LlamaForCausalLM, config, torch.float32, seed)
        path = FOLDER / "gguf" / "llama.gguf"
        path.parent.mkdir(exist_ok=True)
        _write_gguf(gguf, path, model, config)
        again = hf.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        ).eval()
        found = reference(again)
        if margin(again, found) > MARGIN:
            break
    _save(path.parent, found)
    print("gguf seed", seed, path.stat().st_size, "bytes")


def _write_gguf(gguf, path, model, config):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{index}>" for index in range(VOCAB)])
    writer.add_token_scores([0.0] * VOCAB)
    writer.add_token_types([1] * VOCAB)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        array = weight.float().numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = 4 if "q_proj" in name else 2
            pairs = array.reshape(heads, 2, array.shape[0] // heads // 2, -1)
            array = np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(array.shape))
        kind = gguf.GGMLQuantizationType.Q8_0 if array.ndim == 2 else gguf.GGMLQuantizationType.F32
        own = names.get_name(name, try_suffixes=(".weight",))
        writer.add_tensor(own, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _save(folder, found):
    arrays = {name: value.numpy() for name, value in found.items()}
    arrays = {
        name: value.astype(np.float32 if value.dtype.kind == "f" else np.int32)
        for name, value in arrays.items()
    }
    np.savez_compressed(folder / "reference.npz", **arrays)


def check(folder, name):
    """The outputs of what transformers loads from a folder, against the reference."""
    cls = cases()[name][0]
    architecture = json.loads((pathlib.Path(folder) / "config.json").read_text(encoding="utf-8"))[
        "architectures"
    ][0]
    cls = getattr(hf, architecture)
    model, report = cls.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    found = reference(model.eval())
    expected = np.load(FOLDER / name / "reference.npz")
    is_real = expected["token_ids"] != model.config.pad_token_id  # in an encoder; at padding nothing matters
    for key in found.keys() & set(expected.files):
        one, other = found[key].numpy(), expected[key]
        if key in ("states", "logits") and "states" in found:
            one, other = one[is_real], other[is_real]
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=2e-5, err_msg=f"{name} {key}")
    missing = [key for key in report["missing_keys"] if "pooler" not in key]
    assert not missing, f"{name}: {missing}"
    assert "logits" in found or "states" in found
    print(name, "ok", sorted(found.keys() & set(expected.files)), report["unexpected_keys"])


@torch.no_grad()
def check_adapter(folder):
    """The outputs of the checkpoint that an adapter belongs to, with it, against FOLDER/expected.npz."""
    import peft

    classes = {
        "CAUSAL_LM": hf.AutoModelForCausalLM,
        "SEQ_2_SEQ_LM": hf.AutoModelForSeq2SeqLM,
        "FEATURE_EXTRACTION": hf.AutoModel,
    }
    config = peft.PeftConfig.from_pretrained(folder)
    base = classes[config.task_type].from_pretrained(config.base_model_name_or_path, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, folder).eval()
    expected = {name: torch.from_numpy(value) for name, value in np.load(f"{folder}/expected.npz").items()}
    inputs = {"input_ids": expected["token_ids"].long()}
    if "source_ids" in expected:
        inputs = {"input_ids": expected["source_ids"].long(), "decoder_input_ids": inputs["input_ids"]}
    outputs = model(**inputs)
    key = "logits" if "logits" in expected else "states"
    found = outputs.logits if key == "logits" else outputs.last_hidden_state
    np.testing.assert_allclose(found, expected[key], atol=1e-4, rtol=1e-4, err_msg=folder)
    with model.disable_adapter():
        outputs = model(**inputs)
        plain = outputs.logits if key == "logits" else outputs.last_hidden_state
    assert not np.allclose(plain, expected[key], atol=1e-2), f"{folder}: the adapter changes nothing"
    print(folder, "ok", float((found - expected[key]).abs().max()))


def check_vectors(folder):
    """The vectors that sentence-transformers makes of FOLDER/texts.json, against FOLDER/expected.npz."""
    import sentence_transformers

    texts = json.loads((pathlib.Path(folder) / "texts.json").read_text(encoding="utf-8"))
    found = sentence_transformers.SentenceTransformer(folder, device="cpu").encode(texts)
    expected = np.load(f"{folder}/expected.npz")["vectors"]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5, err_msg=folder)
    print(folder, "ok", np.abs(found - expected).max())


if __name__ == "__main__":
    hf.logging.set_verbosity_error()
    torch.set_num_threads(1)
    checks = {"adapters": check_adapter, "vectors": check_vectors}
    if sys.argv[1:2] and sys.argv[1] in checks:
        for folder in sys.argv[2:]:
            checks[sys.argv[1]](folder)
    elif sys.argv[1:2] == ["check"]:
        for folder, name in zip(sys.argv[2::2], sys.argv[3::2]):
            check(folder, name)
    else:
        for name, case in cases().items():
            if name in (sys.argv[1:] or cases()):
                make(name, *case)
        if not sys.argv[1:] or "gguf" in sys.argv[1:]:
            make_gguf()
