"""Writes a SavedModel that takes strings and returns strings; publishes it once it has been checked."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tflm.errors import UserError
from tflm.export.about import about_signature
from tflm.export.audit import audit_ops
from tflm.export.checksums import CHECKSUMS_FILE, write_checksums
from tflm.export.model_card import CARD_FILE, model_card
from tflm.export.signatures import read_signatures
from tflm.export.trackables import module_to_save
from tflm.export.verify import answers_in_memory, arrays_of_requests, verify_export
from tflm.export.versions import reserve, split_output
from tflm.export.warmup import WARMUP_FILE, write_warmup
from tflm.export.weights import WEIGHTS_FILE, write_weight_names

CONFIG_FILE = "config.json"
_EXTRA = "assets.extra"  # servers leave alone what they do not know in it
_RESERVED = (
    "saved_model.pb",
    "fingerprint.pb",
    "variables",
    "assets",
    _EXTRA,
    CARD_FILE,
    CHECKSUMS_FILE,
    WARMUP_FILE,
    WEIGHTS_FILE,
)


def write_export(
    signatures: Mapping[str, Any],
    tracked: Iterable[Any],
    output: str,
    *,
    requests: Mapping[str, Sequence[Mapping[str, Any]]],
    card: Mapping[str, str | Mapping[str, Any]],
    files: Mapping[str, str | bytes],
) -> str:
    """Writes, audits and checks a SavedModel, then gives it its version number.

        write_export({"serving_default": answer}, [model, tokenizer], "saved_models/chat",
                     requests={"serving_default": [{"text": ["Hello"]}, {"text": ["你好", "Good morning"]}]},
                     card={"What it is": "An LSTM that answers.", "Settings": {"num_layers": 2}},
                     files={"config.json": config_text})
        # 'saved_models/chat/1': saved_model.pb, variables/, assets/, config.json, model_card.md, checksums.json,
        # assets.extra/ with the warm-up requests and the names of the weights (see `weights`)

    It is built in `NAME/VERSION.tmp`, which no server looks at, and renamed in one step. If anything fails,
    nothing stays behind.

    Args:
        signatures: name to `tf.function` with an `input_signature` of `tf.TensorSpec([None], dtype, name)`,
            that returns a dict of tensors, batch first. If a part is compiled by XLA, and only then, its name ends in
            `_xla`.
        tracked: the objects (Keras models, `tf.Module`s) that own the variables and tables of those
            functions.
        output: `saved_models/NAME` for the next free version, or `saved_models/NAME/7` for that one.
        requests: signature name to requests, each a dict of input name to list. Each signature needs one at
            least. They are checked and also become the warm-up requests of a server, but for signatures that XLA
            compiles.
        card: heading to text or to a dict of settings; the model card opens with these.
        files: file name to text or bytes, written beside the graph or below `assets.extra`
            (`assets.extra/tokenizer/pieces.model`). `config.json` is also what the signature `about` tells.
    Returns:
        The path of the new version.
    Raises:
        UserError: functions, requests or output do not fit, or an op that a stock server does not link.
        ExportError: the written model does not load or does not answer as it did in memory.
    """
    if CONFIG_FILE in files:
        signatures = {**signatures, "about": about_signature(_text(files[CONFIG_FILE]))}
        requests = {**requests, "about": [{"text": [""]}, {"text": ["", ""]}]}
    arrays, tracked = arrays_of_requests(signatures, requests), list(tracked)
    module = module_to_save(signatures, tracked)
    taken = [name for name in files if name in _RESERVED or not _is_plain(name)]
    if taken:
        raise UserError(
            f"cannot write {taken} beside the graph: give plain file names that the export does not use, or names "
            f"in {_EXTRA}/."
        )
    expected = answers_in_memory(signatures, arrays)
    with reserve(output) as reservation:
        path = reservation.path
        # As traced already: given the functions, it would trace each anew, and write what they share once for each.
        traced = {name: function.get_concrete_function() for name, function in signatures.items()}
        tf.saved_model.save(module, path, signatures=traced)
        custom_ops = audit_ops(path)
        name = os.path.basename(split_output(os.path.abspath(output))[0])
        write_warmup(path, name, arrays)
        text = model_card(name, card, read_signatures(path), custom_ops, arrays, expected, module.weights)
        write_weight_names(path, module, tracked)
        for file_name, content in {**files, CARD_FILE: text}.items():
            os.makedirs(os.path.dirname(os.path.join(path, file_name)), exist_ok=True)
            with open(os.path.join(path, file_name), "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
        write_checksums(path)
        verify_export(path, arrays, expected)
        return reservation.publish()


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()


def _is_plain(name: str) -> bool:
    """Whether it names a file in the export's folder, or one below `assets.extra`."""
    *folders, last = name.split("/")
    return (not folders or folders[0] == _EXTRA) and not {"", ".", ".."} & {*folders, last}
