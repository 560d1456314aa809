"""tflm's side of `generation.py`: an exported model, loaded as a server loads it.

    python tflm_side.py export|export_xla SETTING FOLDER [WEIGHTS]      the second with `generate_xla`
    python tflm_side.py generate|generate_xla|stream SETTING FOLDER

The tokenizer is that of bytes, so a prompt is as many characters, less the start token. Ids that are no byte give no
text; they cost the model as much as any. `stream` is `prefill`, then `decode` four tokens at a time, all states
going through NumPy as they would through a wire.
"""

import os
import sys
from typing import Any

from side import Setting, Write, measure

SIGNATURES = ("generate", "prefill", "decode")


def export(setting: Setting, folder: str, with_xla: bool, weights: str = "float32") -> None:
    """Writes a model of random weights with the signatures that are measured, checked as every export is. Weights are
    stored as float32, bfloat16, int8 or int4."""
    import keras
    import tensorflow as tf

    from tflm.export import write_export
    from tflm.export.quantize import SCHEMES, quantized_weights, replace_weights
    from tflm.generation import DecodingConfig
    from tflm.models import TransformerDecoderConfig, build_model
    from tflm.tasks.language_modeling import LanguageModeling, LanguageModelingConfig
    from tflm.tasks.signatures.generate import compiled_signature
    from tflm.tasks.signatures.streaming import decode_request
    from tflm.tasks.signatures.writer import Writer
    from tflm.text import TokenizerConfig, train_tokenizer

    if weights == "bfloat16":
        keras.config.set_dtype_policy(weights)
    model = build_model(
        TransformerDecoderConfig(
            vocab_size=setting.vocab_size,
            num_layers=setting.num_layers,
            hidden_dim=setting.hidden_dim,
            num_heads=setting.num_heads,
            max_length=setting.max_length,
            norm="layer_norm",
            positions="learned",
            activation="gelu",
            use_bias=True,
        )
    )
    model.build_variables()
    if weights in SCHEMES:
        replace_weights(quantized_weights(model, weights))
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte"), [])
    task = LanguageModeling(LanguageModelingConfig(), tokenizer, setting.max_length, DecodingConfig())
    made = task.signatures(model)
    signatures = {name: made[name] for name in SIGNATURES}
    if with_xla:
        writer = Writer(task, model, compiled=True)
        signatures["generate_xla"] = compiled_signature(writer, [*task.request_inputs])
    request = _request(setting, 1, 2)
    requests = {name: [request] for name in signatures if name != "decode"}
    specs = signatures["prefill"].input_signature
    outputs = signatures["prefill"](*(tf.constant(request[spec.name], spec.dtype) for spec in specs))
    requests["decode"] = [decode_request({name: value.numpy() for name, value in outputs.items()}, 1)]
    card = {"What it is": "Random weights, to measure how fast an export generates."}
    write_export(signatures, [model, tokenizer], folder, requests=requests, card=card, files={})


def writer(setting: Setting, folder: str, name: str) -> Any:
    """From a batch size to what writes, by one signature or as a stream."""
    from tflm.serving import connect
    from tflm.serving.stream import stream

    model = connect(folder)

    def writer_for(batch_size: int) -> Write:
        def write(num_tokens: int) -> None:
            request = _request(setting, batch_size, num_tokens)
            outputs = [*stream(model, request)] if name == "stream" else [model.predict(name, request)]
            _check_counts(outputs[-1]["num_tokens"].tolist(), num_tokens)

        return write

    return writer_for


def _check_counts(found: list[int], expected: int) -> None:
    if set(found) != {expected}:
        raise SystemExit(f"{found} tokens were written, expected {expected} in each row.")


def _request(setting: Setting, batch_size: int, num_tokens: int) -> dict[str, Any]:
    from tflm.generation import DecodingConfig, settings_lists

    config = DecodingConfig(temperature=0.0, min_new_tokens=num_tokens, max_new_tokens=num_tokens)
    texts = ["".join(chr(32 + id % 90) for id in row[1:]) for row in setting.prompts(batch_size)]
    return {"text": texts, **settings_lists(config, batch_size)}


def main(verb: str, setting_text: str, folder: str, weights: str = "float32") -> None:
    """Exports, or measures."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    setting = Setting.from_json(setting_text)
    if verb in ("export", "export_xla"):
        export(setting, folder, with_xla=verb == "export_xla", weights=weights)
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(setting.num_threads)
    measure(setting, writer(setting, folder, verb))


if __name__ == "__main__":
    main(*sys.argv[1:])
