"""A run as a folder that transformers, and what reads its folders, load."""

import dataclasses
import json
import os
from typing import Any

from tflm.errors import UserError
from tflm.experiments.import_run import SOURCE
from tflm.experiments.run import Run
from tflm.files.writing import writing
from tflm.models.checkpoints import write_checkpoint


def write_public(run: Run, output: str, step: int | None = None, dtype: str = "float32") -> str:
    """Writes config.json, model.safetensors and the tokenizer's files; low-rank adapters are merged.

    The body of the model is written, without a task's own head. The files of the tokenizer, and with them the chat
    template, are those of the checkpoint that the run began with.

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
    if os.path.isdir(output) and os.listdir(output):
        raise UserError(f"{output!r} is not empty. Give a new folder.")
    tokenizer = run.tokenizer
    if not tokenizer.source_files:
        raise UserError(
            f"the vocabulary of {run.workdir!r} was trained here, as {tokenizer.config.kind}, and has no file that "
            "transformers reads. Give the run of an imported checkpoint, or one that began with it."
        )
    model, _ = run.trained_model(step)
    origin = _origin(run)
    _restore_length(model, origin)
    rows = (origin.get("config") or {}).get("vocab_size") or tokenizer.vocab_size
    write_checkpoint(
        model,
        output,
        family=origin.get("family", ""),
        dtype=dtype,
        token_ids=_token_ids(tokenizer, rows),
        num_rows=min(rows, tokenizer.vocab_size),
    )
    with writing(f"the folder {output!r}"):
        for name, content in tokenizer.source_files.items():
            if name in ("config.json", "generation_config.json"):
                continue  # of the weights, which were written
            with open(os.path.join(output, name), "wb") as file:
                file.write(content)
    return output


def _origin(run: Run) -> dict[str, Any]:
    """What is known of the checkpoint that the run is of or began with: its family and its own config."""
    folder: str | None = run.workdir
    while folder:
        path = os.path.join(folder, SOURCE)
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        config = os.path.join(folder, "config.json")
        folder = None
        if os.path.isfile(config):
            with open(config, encoding="utf-8") as file:
                folder = json.load(file).get("init_from")
    return {}


def _restore_length(model: Any, origin: dict[str, Any]) -> None:
    """Gives the model's config the context of the checkpoint, of which a run may use a part. Learned positions are
    weights, and stay as they are."""
    body = getattr(model, "body", model)
    theirs = (origin.get("config") or {}).get("max_position_embeddings")
    if theirs and getattr(body.config, "positions", "learned") != "learned":
        body.config = dataclasses.replace(body.config, max_length=theirs)


def _token_ids(tokenizer: Any, num_rows: int) -> dict[str, Any]:
    ends = list(tokenizer.end_ids)
    ids = {"bos_token_id": tokenizer.start_id, "eos_token_id": ends if len(ends) > 1 else ends[0]}
    if tokenizer.pad_id < num_rows:
        ids["pad_token_id"] = tokenizer.pad_id
    return {name: value for name, value in ids.items() if value is not None}
