"""A public checkpoint as a run: config, tokenizer and weights, to chat with, to begin a training from, to export."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tflm.config import override, save_json
from tflm.data import DataConfig
from tflm.errors import UserError
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.hub import download
from tflm.experiments.run import Run
from tflm.experiments.warm_start import ORIGIN_FILE
from tflm.files.writing import writing
from tflm.generation import DecodingConfig
from tflm.models import build_model, model_class
from tflm.models.checkpoints import Checkpoint, read_checkpoint
from tflm.tasks import (
    ChatConfig,
    LanguageModelingConfig,
    MaskedLanguageModelingConfig,
    PairsConfig,
    SimilarityConfig,
    TaskConfig,
)
from tflm.tasks.features.template_rows import TemplateConversations
from tflm.text import Tokenizer
from tflm.text.chat_template import ChatTemplate, from_jinja
from tflm.text.import_tokenizer import read_tokenizer
from tflm.training import Checkpoints, TrainingConfig

NoteFn = Callable[[str], None]
"""In the run's folder: where the weights are from, and their own config."""
_LONGEST = 4096
"""Of contexts that cost nothing until they are used, the largest that is taken without being asked for."""


def import_checkpoint(
    checkpoint: str,
    workdir: str,
    settings: Sequence[str] = (),
    *,
    thinking: bool | None = None,
    overwrite: bool = False,
    note_fn: NoteFn = lambda text: None,
) -> Run:
    """Makes a run of a public checkpoint.

        run = import_checkpoint("Qwen2.5-0.5B-Instruct", "runs/qwen")

    The task is what the checkpoint is for: chat with a chat template, sentence vectors for a folder of
    sentence-transformers and for an encoder without an output layer, masked language modelling for other encoders,
    pairs for a T5, else language modelling. Nothing is left in `workdir` where something goes wrong.

    Args:
        checkpoint: a folder as transformers writes it, a GGUF file, or `hf://OWNER/NAME`, `modelscope://OWNER/NAME`.
        workdir: the run's folder, which is made.
        settings: `section.field=value` each, such as "model.max_length=1024".
        thinking: whether a template that can do both lets the model think before it answers; its own default if None.
        overwrite: whether to remove what is in `workdir`.
        note_fn: called with what is to be said on the way.
    Raises:
        UserError: the checkpoint is missing, damaged or not supported; or the folder is not empty.
    """
    _check_folder(checkpoint, workdir, overwrite)
    source = read_checkpoint(download(checkpoint, note_fn))
    tokenizer = read_tokenizer(_tokenizer_source(source), source.num_rows)
    if source.sentence.lowercase and not tokenizer.config.case_fold:
        raise UserError(
            f"{checkpoint!r} puts texts into lower case before its tokenizer (do_lower_case in "
            "sentence_bert_config.json), which tflm does not. Choose another checkpoint."
        )
    config = override(_config(checkpoint, source, tokenizer, thinking, note_fn), settings)
    aside = f"{os.path.normpath(workdir)}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with writing(f"the run {workdir!r}"):
            os.makedirs(aside)
            save_json(config, os.path.join(aside, "config.json"))
            tokenizer.save(os.path.join(aside, "tokenizer"))
            with open(os.path.join(aside, ORIGIN_FILE), "w", encoding="utf-8") as file:
                json.dump(_described(checkpoint, source), file, indent=2, ensure_ascii=False)
        run = Run.open(aside)
        run.task  # noqa: B018 (whether config and tokenizer fit)
        note_fn(f"reading the weights of {checkpoint} ({source.family}).")
        _write_weights(run, source)
        with writing(f"the run {workdir!r}"):
            shutil.rmtree(workdir, ignore_errors=True)
            os.replace(aside, workdir)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if source.left_out:
        note_fn(f"left out, heads of other tasks: {', '.join(source.left_out)}.")
    return Run.open(workdir)


def _check_folder(checkpoint: str, workdir: str, overwrite: bool) -> None:
    """Whether the run may be written there; with `overwrite` only another run is removed."""
    if os.path.exists(workdir) and not os.path.isdir(workdir):
        raise UserError(f"{workdir!r} is a file. Give a new --workdir.")
    if not os.path.isdir(workdir) or not os.listdir(workdir):
        return
    if not overwrite:
        raise UserError(f"{workdir!r} is not empty. Give a new --workdir, or --overwrite.")
    origin, own = os.path.realpath(checkpoint), os.path.realpath(workdir)
    if os.path.exists(checkpoint) and os.path.commonpath([origin, own]) in (origin, own):
        raise UserError(f"{workdir!r} holds the checkpoint itself. Give a new --workdir.")
    try:
        Run.open(workdir)
    except ValueError as error:
        raise UserError(f"{workdir!r} is not empty and holds no run. Give a new --workdir.") from error


def _tokenizer_source(source: Checkpoint) -> str | Mapping[str, Any]:
    return source.metadata if os.path.isfile(source.folder) else source.folder


def _config(
    name: str, source: Checkpoint, tokenizer: Tokenizer, thinking: bool | None, note_fn: NoteFn
) -> ExperimentConfig:
    model = source.model_config
    if getattr(model, "positions", "") != "learned" and model.max_length > _LONGEST:
        note_fn(
            f"the context is {_LONGEST:,} tokens of the {model.max_length:,} that the model has. For all of them: "
            f"--set model.max_length={model.max_length}."
        )
        model = dataclasses.replace(model, max_length=_LONGEST)
    task = _task(source, tokenizer, thinking, note_fn)
    return ExperimentConfig(
        name=_base_name(name),
        data=DataConfig(source="none"),
        tokenizer=tokenizer.config,
        task=task,
        model=model,
        training=TrainingConfig(
            optimizer="adamw", peak_learning_rate=5e-5, global_batch_size=8, num_steps=1000
        ),
        decoding=DecodingConfig(temperature=0.0, max_new_tokens=256),
    )


def _base_name(name: str) -> str:
    """ "Qwen2.5-0.5B-Instruct" of hf://Qwen/Qwen2.5-0.5B-Instruct@main and of a folder or file of that name."""
    if "://" in name:
        name = name.partition("@")[0]
    return re.sub(r"\.gguf$", "", os.path.basename(name.rstrip("/"))) or "checkpoint"


def _task(source: Checkpoint, tokenizer: Tokenizer, thinking: bool | None, note_fn: NoteFn) -> TaskConfig:
    architecture = model_class(source.model_config).architecture
    if architecture == "encoder":
        if source.sentence.pooling:
            return SimilarityConfig(pooling=source.sentence.pooling, normalize=source.sentence.normalize)
        has_head = getattr(source.model_config, "head_transform", False)
        return MaskedLanguageModelingConfig() if has_head else SimilarityConfig()
    if architecture == "encoder-decoder":
        return PairsConfig(max_source_length=510, max_target_length=510)
    jinja = chat_template_of(source)
    if jinja is None:
        return LanguageModelingConfig()
    try:
        return ChatConfig(template=_template(jinja, source, tokenizer, thinking, note_fn))
    except UserError as error:
        note_fn(f"{error} The run is for language modelling, without the template.")
        return LanguageModelingConfig()


def _template(
    jinja: str, source: Checkpoint, tokenizer: Tokenizer, thinking: bool | None, note_fn: NoteFn
) -> ChatTemplate:
    """The table of a Jinja template.

    Raises:
        UserError: there is none, or it does not fit the tokenizer.
    """
    names: dict[str, Any] = dict(_named_tokens(source))
    template = from_jinja(jinja, names | _switches(thinking))
    TemplateConversations(tokenizer, template)
    if thinking is not None and template == from_jinja(jinja, names | _switches(not thinking)):
        note_fn("the model's chat template has no switch for thinking: --thinking changes nothing.")
    return template


def _switches(thinking: bool | None) -> dict[str, Any]:
    """Those of Qwen3 and of DeepSeek."""
    return {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}


def _named_tokens(source: Checkpoint) -> dict[str, str]:
    """`bos_token` and `eos_token` as text."""
    if os.path.isfile(source.folder):
        metadata, tokens = source.metadata, source.metadata["tokenizer.ggml.tokens"]
        keys = {"bos": "bos", "eos": "eos", "pad": "padding"}
        ids = {key: metadata.get(f"tokenizer.ggml.{name}_token_id") for key, name in keys.items()}
        return {f"{key}_token": "" if each is None else str(tokens[each]) for key, each in ids.items()}
    found = {}
    config = _read_json(os.path.join(source.folder, "tokenizer_config.json"))
    for key in ("bos_token", "eos_token", "pad_token"):
        value = config.get(key)
        found[key] = value.get("content", "") if isinstance(value, Mapping) else value or ""
    return found


def chat_template_of(source: Checkpoint) -> str | None:
    """The Jinja template of a checkpoint, from the first of the places that transformers knows; None without one."""
    if os.path.isfile(source.folder):
        return source.metadata.get("tokenizer.chat_template")
    path = os.path.join(source.folder, "chat_template.jinja")
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            return file.read()
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = _read_json(os.path.join(source.folder, name)).get("chat_template")
        if isinstance(found, list):  # of several, by name
            found = {each["name"]: each["template"] for each in found}.get("default")
        if found:
            return found
    return None


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):  # without it, or beside a GGUF file
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path!r} is damaged: {error}. Download it again.") from error


def _described(checkpoint: str, source: Checkpoint) -> dict[str, Any]:
    """Where the weights are from, their config and settings of generation; without vocabularies, which are kept with
    the tokenizer."""
    metadata = {
        key: value
        for key, value in source.metadata.items()
        if isinstance(value, str | int | float | bool | dict)
        or (isinstance(value, list) and len(value) < 100)
    }
    return {
        "checkpoint": checkpoint,
        "family": source.family,
        "max_tokens": source.sentence.max_tokens,
        "config": json.loads(json.dumps(metadata, default=str)),
        "generation_config": _read_json(os.path.join(source.folder, "generation_config.json")),
    }


def _write_weights(run: Run, source: Checkpoint) -> None:
    """A checkpoint of step 0 with the weights alone."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        config = dataclasses.replace(
            run.config.model, vocab_size=run.tokenizer.vocab_size, pad_id=run.tokenizer.pad_id
        )
        model = run.task.model_for(build_model(config))
    finally:
        keras.config.set_dtype_policy(policy)
    source.load_into(model)
    state: dict[str, Any] = {f"model/{variable.path}": variable.value for variable in model.weights}
    state["step"] = tf.Variable(0, dtype=tf.int64, trainable=False)
    Checkpoints(f"{run.workdir}/checkpoints", state).save(0)
