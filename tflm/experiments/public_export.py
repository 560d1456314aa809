"""A run as a folder that transformers, and what reads its folders, load; or its adapters as PEFT loads them."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from tflm.errors import UserError
from tflm.experiments.run import Run
from tflm.experiments.warm_start import ORIGIN_FILE, origin_of
from tflm.files.writing import writing
from tflm.models import model_class
from tflm.models.checkpoints import write_checkpoint
from tflm.models.checkpoints.peft_adapter import write_peft_adapter
from tflm.models.checkpoints.sentence import SentenceSettings, write_sentence_settings
from tflm.tasks import SimilarityConfig
from tflm.training.stored_model import CheckpointChoice

_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
_MERGED = "Write all weights, with adapters merged: --format=huggingface."


def write_public(run: Run, output: str, step: CheckpointChoice = None, dtype: str = "float32") -> str:
    """Writes config.json, model.safetensors and the tokenizer's files; low-rank adapters are merged.

    The body of the model is written, without a task's own head. The files of the tokenizer, and with them the chat
    template, are those of the checkpoint that the run began with. An encoder for the task similarity becomes a folder
    of sentence-transformers.

    Args:
        run: with a checkpoint, whose vocabulary is that of an imported checkpoint.
        output: the folder to make.
        step: which checkpoint; the newest when None.
        dtype: float32, float16 or bfloat16.
    Returns:
        The folder.
    Raises:
        UserError: no checkpoint, a folder that is not empty, or something that the family cannot express; names it.
    """
    _check_empty(output)
    tokenizer, origin = run.tokenizer, origin_of(run.workdir)
    _check_tokenizer(run, origin)
    sentence = _sentence_settings(run, origin)
    model, _ = run.trained_model(step)
    _restore_length(model, origin)
    rows = origin.get("config", {}).get("vocab_size") or tokenizer.vocab_size
    write_checkpoint(
        model,
        output,
        family=origin.get("family", ""),
        dtype=dtype,
        token_ids=_token_ids(tokenizer, origin, rows),
        num_rows=min(rows, tokenizer.vocab_size),
    )
    with writing(f"the folder {output!r}"):
        for name, content in tokenizer.source_files.items():
            if name in ("config.json", "generation_config.json"):
                continue  # of the weights, which were written
            with open(os.path.join(output, name), "wb") as file:
                file.write(content)
    if sentence.pooling:
        write_sentence_settings(output, sentence, getattr(model, "body", model).config.hidden_dim)
    return output


def write_adapter(run: Run, output: str, step: CheckpointChoice = None, dtype: str = "float32") -> str:
    """Writes the low-rank adapters of a run as PEFT loads them onto the checkpoint that the run began with.

    Args:
        run: with a checkpoint and `fine_tuning.lora_rank`, begun with the run of an imported checkpoint.
        output: the folder to make.
        step: which checkpoint; the newest when None.
        dtype: float32, float16 or bfloat16.
    Returns:
        The folder.
    Raises:
        UserError: no checkpoint or no adapters; a folder that is not empty; the weights that the run began with are not
            those of a checkpoint that transformers loads; or the family cannot express the adapters.
    """
    _check_empty(output)
    if not run.config.fine_tuning.lora_rank:
        raise UserError(
            f"{run.workdir!r} has no low-rank adapters: its fine_tuning.lora_rank is 0. {_MERGED}"
        )
    begun = str(run.config.init_from)
    if not os.path.isfile(os.path.join(begun, ORIGIN_FILE)):
        raise UserError(
            f"the adapters of {run.workdir!r} belong to the weights of {begun!r}, which is not an imported checkpoint. "
            f"{_MERGED}"
        )
    origin = origin_of(run.workdir)
    base = origin["checkpoint"]
    has_no_config = os.path.exists(base) and not os.path.isfile(os.path.join(base, "config.json"))
    if has_no_config or base.partition("@")[0].endswith(".gguf") or "text_config" in origin["config"]:
        raise UserError(
            f"the adapters of {run.workdir!r} belong to {base!r}, which PEFT does not load as this model: it is a GGUF "
            f"file, has weights of TensorFlow, or also sees images. {_MERGED}"
        )
    name, revision = _name_and_revision(base)
    model, _ = run.adapted_model(step)
    write_peft_adapter(model, output, family=origin["family"], base=name, revision=revision, dtype=dtype)
    return output


def _name_and_revision(checkpoint: str) -> tuple[str, str]:
    """
    >>> _name_and_revision("hf://Qwen/Qwen3-0.6B@main")
    ('Qwen/Qwen3-0.6B', 'main')
    """
    _, is_hub, name = checkpoint.partition("://")
    name, _, revision = name.partition("@")
    return (name, revision) if is_hub else (checkpoint, "")


def _check_empty(output: str) -> None:
    if os.path.isdir(output) and os.listdir(output):
        raise UserError(f"{output!r} is not empty. Give a new folder.")


def _check_tokenizer(run: Run, origin: Mapping[str, Any]) -> None:
    if run.tokenizer.source_files:
        return
    if origin:
        raise UserError(
            f"{run.workdir!r} began with {origin['checkpoint']!r}, whose tokenizer has no file that transformers "
            "reads. Begin with the folder of the same model in the format of transformers."
        )
    raise UserError(
        f"the vocabulary of {run.workdir!r} was trained here, as {run.tokenizer.config.kind}, and has no file that "
        "transformers reads. Give the run of an imported checkpoint, or one that began with it."
    )


def _sentence_settings(run: Run, origin: Mapping[str, Any]) -> SentenceSettings:
    """How the run makes a vector of a text; without a pooling if that is not its task."""
    task = run.config.task
    if not isinstance(task, SimilarityConfig) or model_class(run.config.model).architecture != "encoder":
        return SentenceSettings()
    if task.embedding_dim:
        raise UserError(
            f"sentence-transformers has no part for task.embedding_dim={task.embedding_dim} that tflm writes. Train "
            "with task.embedding_dim=0, or export it for TensorFlow Serving."
        )
    longest = run.config.model.max_length
    return SentenceSettings(task.pooling, task.normalize, min(longest, origin.get("max_tokens") or longest))


def _restore_length(model: Any, origin: Mapping[str, Any]) -> None:
    """Gives the model's config the context of the checkpoint, of which a run may use a part. Learned positions are
    weights, and stay as they are."""
    body = getattr(model, "body", model)
    theirs = origin.get("config", {}).get("max_position_embeddings")
    if theirs and getattr(body.config, "positions", "learned") != "learned":
        body.config = dataclasses.replace(body.config, max_length=theirs)


def _token_ids(tokenizer: Any, origin: Mapping[str, Any], num_rows: int) -> dict[str, Any]:
    """Those of the checkpoint; what it does not say, as the tokenizer has it."""
    ends = list(tokenizer.end_ids)
    ids = {"bos_token_id": tokenizer.start_id, "eos_token_id": ends if len(ends) > 1 else ends[0]}
    if tokenizer.pad_id < num_rows:
        ids["pad_token_id"] = tokenizer.pad_id
    for theirs in (origin.get("config", {}), origin.get("generation_config", {})):
        ids |= {name: value for name, value in theirs.items() if name in _IDS}
    return {name: value for name, value in ids.items() if value is not None}
