"""The tokenizer files of a published checkpoint, in the layout of Hugging Face."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tflm.errors import UserError
from tflm.text.published_ids import AddedToken, Roles

SENTENCEPIECE_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
CONFIG_NAMES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "config.json",
)
_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", *SENTENCEPIECE_NAMES)
_NAMES = (*_VOCABULARIES, *CONFIG_NAMES, "chat_template.jinja")
# Files that a model with this tokenizer needs, and no other part of an import writes.
_KEPT = frozenset(_NAMES) - {"generation_config.json", "config.json"}


class CheckpointFiles:
    """What a folder has of these files, and what they say of core tokens.

    Attributes:
        contents: bytes by name.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self.contents: dict[str, bytes] = {}
        if not os.path.isdir(folder):
            raise UserError(
                f"{self.folder!r} is no folder; give the folder of a checkpoint with its tokenizer.json."
            )
        for name in _NAMES:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    self.contents[name] = file.read()

    def __contains__(self, name: str) -> bool:
        return name in self.contents

    @property
    def kept(self) -> dict[str, bytes]:
        """The files of the tokenizer, to be written again with the model."""
        return {name: content for name, content in self.contents.items() if name in _KEPT}

    def read_json(self, name: str) -> Any:
        """The values of a JSON file; empty without the file.

        Raises:
            UserError: it is not JSON.
        """
        if name not in self.contents:
            return {}
        try:
            return json.loads(self.contents[name])
        except ValueError as error:
            path = os.path.join(self.folder, name)
            raise UserError(
                f"{path!r} is not JSON: {error}. Fetch the file again; it may be cut off."
            ) from error

    def setting(self, name: str) -> Any:
        """A setting of the tokenizer; None without."""
        for file in ("tokenizer_config.json", "special_tokens_map.json"):
            value = self.read_json(file).get(name)
            if value is not None:
                return value
        return None

    def roles(
        self, ids: Mapping[str, int], template: "tuple[int | None, int | None] | None", unk: str | None = None
    ) -> Roles:
        """Core tokens.

        Args:
            ids: all tokens with their ids.
            template: the ids that the tokenizer puts before and after a text, where a file says so.
            unk: the token of unknown text, of the vocabulary itself.
        """

        def token(name: str) -> int | None:
            value = self.setting(name)
            return ids.get(value["content"] if isinstance(value, Mapping) else value)

        def model_ids(name: str) -> list[int]:
            for file in ("generation_config.json", "config.json"):
                value = self.read_json(file).get(name)
                if value is not None:
                    return list(value) if isinstance(value, list) else [value]
            return []

        before, after = template or (None, None)
        start = before
        if before is None and (
            self.setting("add_bos_token") or (template is None and token("cls_token") is not None)
        ):
            start = token("bos_token") if self.setting("add_bos_token") else token("cls_token")
        named_end = [token("eos_token"), after, token("sep_token")]
        ends = [each for each in named_end if each is not None][:1] + model_ids("eos_token_id")
        if self.read_json("config.json").get("is_encoder_decoder"):
            start = next(iter(model_ids("decoder_start_token_id")), start)
        pad = token("pad_token")
        pads = model_ids("pad_token_id") if pad is None else [pad]
        unk_id = token("unk_token") if unk is None else ids.get(unk)
        others = [each for each in (token("bos_token"), token("cls_token")) if each is not None]
        return Roles(
            start=start,
            ends=list(dict.fromkeys(ends)),
            pad=pads[0] if pads else None,
            unk=unk_id,
            separator=token("sep_token"),
            mask=token("mask_token"),
            others=others,
        )

    def added_tokens(self) -> list[AddedToken]:
        """Those of tokenizer_config.json and added_tokens.json, for a folder without tokenizer.json."""
        decoder = self.read_json("tokenizer_config.json").get("added_tokens_decoder", {})
        found = {int(key): AddedToken.from_json({**entry, "id": int(key)}) for key, entry in decoder.items()}
        for content, token_id in self.read_json("added_tokens.json").items():
            found.setdefault(token_id, AddedToken(content, token_id, special=False))
        return [found[token_id] for token_id in sorted(found)]


def template_ids(
    processor: Mapping[str, Any] | None, ids: Mapping[str, int]
) -> tuple[int | None, int | None]:
    """The ids that a `post_processor` of tokenizer.json puts before and after a text; None for none.

    Raises:
        UserError: more than one before or after, or an unknown kind.
    """
    kind = (processor or {}).get("type")
    if processor is None or kind == "ByteLevel":
        return None, None
    if kind == "Sequence":
        parts = [template_ids(each, ids) for each in processor["processors"]]
        return next((each for each in parts if each != (None, None)), (None, None))
    if kind in ("BertProcessing", "RobertaProcessing"):
        return processor["cls"][1], processor["sep"][1]
    if kind != "TemplateProcessing":
        raise UserError(
            f"the tokenizer has the post-processor {kind!r}; supported are templates, Bert, Roberta, ByteLevel."
        )
    before: list[int] = []
    after: list[int] = []
    side = before
    for each in processor["single"]:
        if "Sequence" in each:
            side = after
        else:
            side += processor["special_tokens"][each["SpecialToken"]["id"]]["ids"]
    return _only(before, "before"), _only(after, "after")


def _only(found: Sequence[int], place: str) -> int | None:
    if len(found) > 1:
        raise UserError(
            f"the tokenizer puts {len(found)} special tokens {place} a text; supported is one before and one after."
        )
    return found[0] if found else None


def parts_of(spec: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    """The parts of a `Sequence`, of sequences inside it too; of another kind itself."""
    if spec is None:
        return []
    if spec["type"] == "Sequence":
        return [part for each in spec[name] for part in parts_of(each, name)]
    return [spec]
