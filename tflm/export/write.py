"""Writes a SavedModel that maps strings to strings, and publishes it after verification.

Also what it saves besides the signatures of a task: the signature `about`, and a Keras-free module with the variables.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.trackable import resource

from tflm.errors import UserError
from tflm.export.audit import audit_ops
from tflm.export.checksums import CHECKSUMS_FILE, write_checksums
from tflm.export.model_card import CARD_FILE, model_card
from tflm.export.signatures import read_signatures
from tflm.export.verify import answers_in_memory, arrays_of_requests, verify_export
from tflm.export.versions import reserve, split_output
from tflm.export.warmup import WARMUP_FILE, write_warmup
from tflm.export.weights import WEIGHTS_FILE, write_weight_names
from tflm.files.writing import writing

CONFIG_FILE = "config.json"
_EXTRA = "assets.extra"  # servers ignore unknown files in this folder
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
    expected: Mapping[str, Sequence[Mapping[str, np.ndarray]]] | None = None,
) -> str:
    """Writes, audits and verifies a SavedModel, then publishes it as a version.

        write_export({"serving_default": answer}, [model, tokenizer], "saved_models/chat",
                     requests={"serving_default": [{"text": ["Hello"]}, {"text": ["你好", "Good morning"]}]},
                     card={"What it is": "An LSTM that answers.", "Settings": {"num_layers": 2}},
                     files={"config.json": config_text})
        # 'saved_models/chat/1': saved_model.pb, variables/, assets/, config.json, model_card.md, checksums.json,
        # assets.extra/ with the warm-up requests and the names of the weights (see `weights`)

    The export is built in `NAME/VERSION.tmp`, which servers ignore, and renamed atomically. On an error, everything is
    removed.

    Args:
        signatures: name to `tf.function` with an `input_signature` of `tf.TensorSpec([None], dtype, name)` that returns
            a dict of tensors, batch axis first. The name ends in `_xla` if and only if a part is compiled by XLA.
        tracked: the objects (Keras models, `tf.Module`s) that own the variables and tables of the functions.
        output: `saved_models/NAME` for the next free version, or `saved_models/NAME/7` for version 7.
        requests: requests of each signature, at least one, each a dict of input name to list. They verify the export,
            and become the warm-up requests of a server, except for signatures compiled by XLA.
        card: heading to text or to a dict of settings, the first sections of the model card.
        files: file name to text or bytes, written next to the graph or below `assets.extra`
            (`assets.extra/tokenizer/pieces.model`). `config.json` is also the output of the signature `about`.
        expected: the outputs that the export must give to `requests`, by signature; those of the functions in memory
            where it has none.
    Returns:
        The path of the new version.
    Raises:
        UserError: invalid functions, requests or output, or an op that a stock server does not link.
        ExportError: the export does not load, or its outputs differ from those in memory.
    """
    if CONFIG_FILE in files:
        signatures = {**signatures, "about": about_signature(_text(files[CONFIG_FILE]))}
        requests = {**requests, "about": [{"text": [""]}, {"text": ["", ""]}]}
    arrays, tracked = arrays_of_requests(signatures, requests), list(tracked)
    module = module_to_save(signatures, tracked)
    taken = [name for name in files if name in _RESERVED or not _is_plain(name)]
    if taken:
        raise UserError(
            f"cannot write {taken} next to the graph: give plain file names that the export does not use, or names "
            f"in {_EXTRA}/."
        )
    given = dict(expected or {})
    expected = given | answers_in_memory(
        {name: function for name, function in signatures.items() if name not in given}, arrays
    )
    with reserve(output) as reservation:
        path = reservation.path
        with writing(f"the export {path!r}", "Earlier versions were kept."):
            # Concrete functions: saving `tf.function`s would trace them again and duplicate shared functions.
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
        with writing(f"the export {path!r}", "Earlier versions were kept."):
            return reservation.publish()


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()


def _is_plain(name: str) -> bool:
    """Whether the name is a file in the folder of the export, or below `assets.extra`."""
    *folders, last = name.split("/")
    return (not folders or folders[0] == _EXTRA) and not {"", ".", ".."} & {*folders, last}


def about_signature(config: str) -> Any:
    """A signature from `text` string [B] (ignored) to `config` string [B], the resolved config as JSON.

    The metadata of a server has names and dtypes only; the config has the generation defaults, the maximum length and
    the training configuration.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")], autograph=False)
    def about(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"config": tf.fill(tf.shape(text), config)}

    return about


def module_to_save(signatures: Mapping[str, Any], tracked: Iterable[Any]) -> tf.Module:
    """A `tf.Module` with exactly the variables and tables that the signatures capture.

    Saving the Keras model would also store its classes, its config and all of its variables, including those of dropout
    layers, metrics and optimizers.

    Args:
        signatures: name to `tf.function` with an `input_signature`.
        tracked: Keras models, `tf.Module`s, variables or tables that own everything the functions capture.
    Raises:
        UserError: a function captures a variable or table that no object of `tracked` owns.
    """
    owners = {id(handle): owner for owner, handle in _owners(tracked)}
    used: dict[int, Any] = {}
    for name, function in signatures.items():
        for tensor in function.get_concrete_function().captured_inputs:
            if tensor.dtype != tf.resource:
                continue
            if id(tensor) not in owners:
                raise UserError(
                    f"signature {name!r} uses a variable or table that none of the tracked objects owns "
                    f"({tensor!r}). Pass the object that holds it in `tracked`."
                )
            used[id(tensor)] = owners[id(tensor)]
    module = tf.Module(name="export")
    module.weights = [owner for owner in used.values() if isinstance(owner, tf.Variable)]
    module.resources = [owner for owner in used.values() if not isinstance(owner, tf.Variable)]
    return module


def _owners(tracked: Iterable[Any]) -> Iterator[tuple[Any, tf.Tensor]]:
    """(variable or table, handle) of everything reachable from the tracked objects."""
    for root in tracked:
        # Keras excludes some variables (seed generators) from TensorFlow's tracking, but lists them in `variables`.
        reachable = [*tf.train.TrackableView(root).descendants(), *getattr(root, "variables", ())]
        for item in reachable:
            if isinstance(item, resource.CapturableResource):
                yield item, item.resource_handle
            elif isinstance(item, tf.Variable):
                yield item, item.handle
            elif isinstance(getattr(item, "value", None), tf.Variable):  # a Keras variable
                yield item.value, item.value.handle
