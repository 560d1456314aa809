"""The models that `serving.py` and `soak_serving.py` ask: of random weights, made by tflm and exported as any other.

`writer` continues a text (`generate`, `prefill`, `decode`), `sorter` says which of four labels it has (`classify`).
"""

import dataclasses
import pathlib
import shutil
from typing import Any

LABELS = ["good", "bad", "坏", "好"]
CONFIG = """model_config_list {{
  config {{ name: "writer" base_path: "{folder}/writer" model_platform: "tensorflow" }}
  config {{ name: "sorter" base_path: "{folder}/sorter" model_platform: "tensorflow" }}
}}
"""


@dataclasses.dataclass(frozen=True)
class Size:
    """Of both models; the tokenizer is that of bytes, and the vocabulary is larger, since its size is what costs."""

    num_layers: int
    hidden_dim: int
    num_heads: int
    vocab_size: int
    max_length: int


SIZES = {
    "tiny": Size(2, 64, 4, 300, 128),
    "medium": Size(6, 384, 6, 16000, 256),
    "small": Size(12, 768, 12, 50257, 1024),
}
""""small" is GPT-2 124M."""


def write_models(folder: pathlib.Path, size: Size) -> pathlib.Path:
    """Writes `writer/1`, `sorter/1` and `models.config`; the path of the latter."""
    import keras

    keras.utils.set_random_seed(1)
    _write_writer(str(folder / "writer"), size)
    _write_sorter(str(folder / "sorter"), size)
    return write_config(folder)


def write_config(folder: pathlib.Path) -> pathlib.Path:
    """The file for `apps.serve --model_config_file`."""
    path = folder / "models.config"
    path.write_text(CONFIG.format(folder=folder), encoding="utf-8")
    return path


def add_version(model: pathlib.Path, number: int) -> None:
    """A new version, a copy of the first, which appears whole, as a server wants it."""
    aside = model / f"{number}.tmp"
    shutil.copytree(model / "1", aside)
    aside.rename(model / str(number))


def generate_request(text: str, num_tokens: int, seed: int = 0, temperature: float = 0.0) -> dict[str, Any]:
    """What `generate` and `prefill` take, one row that generates exactly the given number of tokens."""
    from tflm.generation import DecodingConfig, settings_lists

    config = DecodingConfig(
        temperature=temperature, seed=seed, min_new_tokens=num_tokens, max_new_tokens=num_tokens
    )
    return {"text": [text], **settings_lists(config, 1)}


def _write_writer(folder: str, size: Size) -> None:
    import tensorflow as tf

    from tflm.export import write_export
    from tflm.generation import DecodingConfig
    from tflm.models import TransformerDecoderConfig, build_model
    from tflm.tasks.language_modeling import LanguageModeling, LanguageModelingConfig
    from tflm.tasks.signatures.streaming import decode_request
    from tflm.text import TokenizerConfig, train_tokenizer

    model = build_model(
        TransformerDecoderConfig(
            **dataclasses.asdict(size), norm="layer_norm", positions="learned", use_bias=True
        )
    )
    model.build_variables()
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte"), [])
    task = LanguageModeling(LanguageModelingConfig(), tokenizer, size.max_length, DecodingConfig())
    made = task.signatures(model)
    signatures = {name: made[name] for name in ("generate", "prefill", "decode")}
    request = generate_request("ab", 2)
    specs = signatures["prefill"].input_signature
    outputs = signatures["prefill"](*(tf.constant(request[spec.name], spec.dtype) for spec in specs))
    requests = {name: [request] for name in ("generate", "prefill")}
    requests["decode"] = [decode_request({name: value.numpy() for name, value in outputs.items()}, 1)]
    _export(write_export, signatures, [model, tokenizer], folder, requests)


def _write_sorter(folder: str, size: Size) -> None:
    import keras

    from tflm.export import write_export
    from tflm.models import TransformerEncoderConfig, build_model
    from tflm.tasks.classification import ClassificationConfig, TextClassification
    from tflm.text import TokenizerConfig, train_tokenizer

    body = build_model(TransformerEncoderConfig(**dataclasses.asdict(size)))
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte"), [])
    task = TextClassification(ClassificationConfig(), tokenizer, size.max_length, LABELS)
    body.build_variables()
    model = task.model_for(body)
    model(keras.ops.ones((1, 4), "int32"))
    signatures = {"classify": task.signatures(model)["classify"]}
    requests = {"classify": [{"text": ["ab", "你好"]}]}
    _export(write_export, signatures, [model, tokenizer], folder, requests)


def _export(write_export: Any, signatures: Any, tracked: list[Any], folder: str, requests: Any) -> None:
    card = {"What it is": "Random weights, to measure how an export is served."}
    write_export(signatures, tracked, folder, requests=requests, card=card, files={})
