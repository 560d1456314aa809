"""Tiny folders and files of public checkpoints, written by the tests: random weights, tokenizers of some lines."""

import io
import json
import os
import pathlib

import keras
import sentencepiece
import tokenizers

from tests.text import templates
from tflm.models import build_model
from tflm.models.checkpoints import FAMILIES, write_checkpoint
from tflm.models.checkpoints.family import FamilyTensors

LINES = [
    "user\nassistant\nsystem\nBe kind. Hello there, how are you?\n",
    "你好，世界。今天天气很好！\n\n我们去公园吧。",
    "[ASK] a question [/ASK] an answer!\n",
] * 5
SPECIAL = ("<s>", "</s>", "<|begin|>", "<|end|>")
NUM_TOKENS = 420
DECODER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 100.0,
    "hidden_act": "silu",
}
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 48,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,!?你好天气很今世界"]
WORDS += [*"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
WORDS += ["good", "bad", "the", "film", "is"]


HEADS = {
    "bert": ("cls.predictions.transform.dense.weight", "cls.predictions.bias", "pooler.dense.weight"),
    "roberta": ("lm_head.dense.weight", "lm_head.bias"),
    "xlm-roberta": ("lm_head.dense.weight", "lm_head.bias"),
    "distilbert": ("vocab_transform.weight", "vocab_projector.bias"),
    "albert": ("predictions.dense.weight", "predictions.bias", "pooler.weight"),
    "mt5": ("lm_head.weight",),
}
"""Tensors of a file from which a family finds its heads, beside the embedding."""
GEMMA = {
    **DECODER,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "head_dim": 8,
}
WINDOWS = {"sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"]}
DECODERS = {
    "llama": {**DECODER, "tie_word_embeddings": False},
    "mistral": {**DECODER, "sliding_window": 7},
    "qwen2": DECODER,
    "qwen3": {**DECODER, "head_dim": 8},
    "gemma": GEMMA,
    "gemma2": {
        **GEMMA,
        **WINDOWS,
        "query_pre_attn_scalar": 4,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
    },
    "gemma3": {**GEMMA, **WINDOWS, "query_pre_attn_scalar": 8, "rope_local_base_freq": 50.0},
}
ENCODERS = {
    "bert": BERT,
    "distilbert": {
        "dim": 16,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 24,
        "max_position_embeddings": 48,
    },
    "electra": {**BERT, "embedding_size": 8},
    "albert": {**BERT, "embedding_size": 8},
}


def model_of(family, theirs, seed=1, spread=0.3):
    """A model with random weights of a config.json."""
    keras.utils.set_random_seed(seed)
    made = FAMILIES.get(family)(family)
    width = theirs.get("embedding_size", theirs.get("hidden_size", 16))
    names = {made.embeddings: (theirs["vocab_size"], width), **dict.fromkeys(HEADS.get(family, ()), ())}
    if theirs.get("tie_word_embeddings") is False:
        names["lm_head.weight"] = ()
    model = build_model(made.read_config(theirs, FamilyTensors(names)))
    for variable in model.weights:
        is_norm = "norm" in variable.path
        noise = keras.random.normal(variable.shape, stddev=0.1 if is_norm else spread)
        variable.assign(noise + (1.0 if is_norm and not variable.path.endswith(("beta", "bias")) else 0.0))
    return model


def write_model(folder, family, theirs, **changes):
    """config.json and model.safetensors of a family."""
    write_checkpoint(model_of(family, theirs, **changes), str(folder), family=family)
    return str(folder)


def byte_level(special_tokens=SPECIAL):
    """A byte-level BPE of `LINES`."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=NUM_TOKENS,
        special_tokens=list(special_tokens),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    return made


def write_json(folder, name, content):
    """One file."""
    (pathlib.Path(folder) / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def write_byte_level(folder, template="", end="<|end|>"):
    """tokenizer.json and its settings, with a chat template if need be."""
    made = byte_level()
    made.save(f"{folder}/tokenizer.json")
    settings = {"eos_token": end, "bos_token": "<s>", "add_bos_token": False}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(
        folder, "tokenizer_config.json", {**settings, **({"chat_template": template} if template else {})}
    )
    write_json(folder, "generation_config.json", {"eos_token_id": made.token_to_id(end)})


def decoder(folder, family, template=templates.MARKED):
    """A decoder with a chat template."""
    size = byte_level().get_vocab_size()
    write_model(folder, family, {**DECODERS[family], "vocab_size": size + 12})
    write_byte_level(folder, template)
    return str(folder)


def qwen2(folder, template=templates.MARKED):
    """A decoder with a chat template."""
    return decoder(folder, "qwen2", template)


def gpt2(folder):
    """A decoder without a template."""
    size = byte_level().get_vocab_size()
    theirs = {"vocab_size": size, "n_layer": 2, "n_embd": 16, "n_head": 4, "n_positions": 64, "n_inner": 32}
    write_model(folder, "gpt2", theirs)
    write_byte_level(folder, end="</s>")
    return str(folder)


def encoder(folder, family):
    """An encoder with its vocabulary of words and characters."""
    write_model(folder, family, {**ENCODERS[family], "vocab_size": len(WORDS)})
    (pathlib.Path(folder) / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    write_json(folder, "tokenizer_config.json", {"do_lower_case": True})
    return str(folder)


def bert(folder):
    """An encoder with its vocabulary of words and characters."""
    return encoder(folder, "bert")


def roberta(folder):
    """An encoder with a byte-level vocabulary, whose padding id is 1."""
    names = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>", "cls": "<s>"}
    made = byte_level(dict.fromkeys(names.values()))
    made.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    sizes = {"vocab_size": made.get_vocab_size(), "type_vocab_size": 1, "pad_token_id": 1}
    write_model(folder, "roberta", {**BERT, **sizes})
    made.save(f"{folder}/tokenizer.json")
    settings = {f"{role}_token": name for role, name in names.items()}
    write_json(folder, "tokenizer_config.json", {**settings, "sep_token": "</s>"})
    return str(folder)


def xlm_roberta(folder):
    """The same architecture with a unigram model, whose ids are shifted."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in LINES for line in text.split("\n")),
        model_writer=model,
        vocab_size=100,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
    )
    size = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size() + 2
    write_model(folder, "xlm-roberta", {**BERT, "vocab_size": size, "type_vocab_size": 1, "pad_token_id": 1})
    (pathlib.Path(folder) / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})
    return str(folder)


def sentences(folder):
    """The same as a folder of sentence-transformers."""
    bert(folder)
    os.mkdir(f"{folder}/1_Pooling")
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(kinds)
    ]
    write_json(folder, "modules.json", modules)
    write_json(
        folder, "1_Pooling/config.json", {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    )
    write_json(folder, "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    return str(folder)


def t5(folder, family="t5"):
    """An encoder-decoder with a unigram vocabulary; as mT5, with a gate and an output of its own."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz", *"你好天气很今世界。，"]
    pieces += [(letter, -5.0 - index / 100) for index, letter in enumerate([*letters, "▁the", "▁good"])]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=2))
    splitters = tokenizers.pre_tokenizers
    made.pre_tokenizer = splitters.Sequence(
        [splitters.WhitespaceSplit(), splitters.Metaspace(prepend_scheme="always")]
    )
    made.decoder = tokenizers.decoders.Metaspace()
    made.add_special_tokens(["<pad>", "</s>", "<unk>"])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    theirs = {
        "vocab_size": len(pieces),
        "d_model": 16,
        "d_kv": 4,
        "d_ff": 24,
        "num_layers": 1,
        "num_heads": 4,
    }
    if family == "mt5":
        theirs |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    write_model(folder, family, {**theirs, "is_encoder_decoder": True})
    made.save(f"{folder}/tokenizer.json")
    write_json(
        folder, "tokenizer_config.json", {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    )
    write_json(
        folder, "generation_config.json", {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0}
    )
    return str(folder)


def gguf_file(path, template=templates.MARKED):
    """A decoder of one layer in GGUF, its matrices in 8 bits, with tokenizer and template."""
    import gguf
    import numpy as np

    made = byte_level()
    spec = json.loads(made.to_str())
    tokens = sorted(made.get_vocab(), key=made.get_vocab().get)
    rng = np.random.default_rng(3)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(100.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in spec["model"]["merges"]])
    writer.add_bos_token_id(made.token_to_id("<s>"))
    writer.add_eos_token_id(made.token_to_id("<|end|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,)}
    shapes |= {f"blk.0.{name}": (32,) for name in ("attn_norm", "ffn_norm")}
    shapes |= {f"blk.0.{name}": (16, 32) for name in ("attn_k", "attn_v")}
    names = ("attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes |= {f"blk.0.{name}": (32, 32) for name in names}
    for name, shape in shapes.items():
        kind = gguf.GGMLQuantizationType.Q8_0 if len(shape) == 2 else gguf.GGMLQuantizationType.F32
        array = rng.normal(0.0 if len(shape) == 2 else 1.0, 0.3, shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def of_family(folder, family):
    """A tiny checkpoint of any family."""
    if family in DECODERS:
        return decoder(folder, family)
    if family in ENCODERS:
        return encoder(folder, family)
    return t5(folder, family) if family == "mt5" else globals()[family](folder)
