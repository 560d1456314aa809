"""Which ids of a published vocabulary begin, end and pad a text, and its named special tokens."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tflm.errors import UserError
from tflm.text.special_ids import SpecialIds

# Tokens that end a text or a turn where a file does not list all that do.
END_NAMES = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
)


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that a published tokenizer takes out of a text before its vocabulary sees it."""

    content: str
    token_id: int
    special: bool
    """Whether decoding drops it."""
    lstrip: bool = False
    rstrip: bool = False

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "AddedToken":
        """Of `added_tokens` in a tokenizer.json.

        Raises:
            UserError: one with `single_word`.
        """
        if entry.get("single_word"):
            raise UserError(
                f"the added token {entry['content']!r} is marked single_word, which is not supported; set it to false "
                "in tokenizer.json if no text needs it."
            )
        return cls(
            entry["content"],
            entry["id"],
            entry.get("special", False),
            entry.get("lstrip", False),
            entry.get("rstrip", False),
        )

    @property
    def is_text(self) -> bool:
        """Whether it is nothing but spaces and line ends, which any text may have, and no mark of a program."""
        return not self.special and not self.content.replace("\u2581", "").strip()


@dataclasses.dataclass(frozen=True)
class Roles:
    """What the files of a checkpoint say of its core tokens; None for nothing."""

    start: int | None = None
    """The id that the tokenizer puts before a text."""
    ends: Sequence[int] = ()
    pad: int | None = None
    unk: int | None = None
    separator: int | None = None
    mask: int | None = None
    others: Sequence[int] = ()
    """Further ids with a use, such as a `bos_token` that no text begins with."""


def with_rows(added: Iterable[AddedToken], num_rows: int | None) -> list[AddedToken]:
    """The added tokens that have a row of the embedding: a text model may come with the tokenizer of one that also has
    tokens for images."""
    return [each for each in added if num_rows is None or each.token_id < num_rows]


def place_special_ids(
    ids: Mapping[str, int], added: Sequence[AddedToken], roles: Roles, num_rows: int | None
) -> tuple[SpecialIds, int]:
    """The special ids, and the number of ids.

    The pad id is the checkpoint's own if nothing else uses it; else an id without a token below the number of rows;
    else one that is appended.

    Args:
        ids: all tokens with their ids.
        added: special and added tokens.
        roles: of the core tokens.
        num_rows: rows of the checkpoint's embedding; by default as many as there are tokens.
    Raises:
        UserError: no end token, or more tokens than rows.
    """
    num_tokens = max(ids.values()) + 1
    if num_rows is not None and num_rows < num_tokens:
        raise UserError(
            f"the tokenizer has ids up to {num_tokens - 1}, and the embedding of the checkpoint has {num_rows} rows. "
            "The tokenizer belongs to another checkpoint, or has tokens that were added later."
        )
    if not roles.ends:
        raise UserError(
            "found no end token: expected eos_token or sep_token in tokenizer_config.json or special_tokens_map.json, "
            "or eos_token_id in generation_config.json or config.json."
        )
    num_rows = num_rows or num_tokens
    pad = roles.pad
    if pad is None or pad in (
        roles.start,
        *roles.ends,
        roles.unk,
        roles.separator,
        roles.mask,
        *roles.others,
    ):
        taken = set(ids.values())
        pad = next((each for each in range(num_rows) if each not in taken), num_rows)
    special_ids = SpecialIds(
        pad=pad,
        start=roles.start,
        ends=tuple(roles.ends),
        unk=roles.unk,
        named=dict(_named(added, roles)),
        written=tuple(each.token_id for each in added if not each.special and not each.is_text),
        strip_left=tuple(each.token_id for each in added if each.lstrip),
        strip_right=tuple(each.token_id for each in added if each.rstrip),
    )
    return special_ids, max(num_rows, pad + 1)


def _named(added: Sequence[AddedToken], roles: Roles) -> Iterator[tuple[str, int]]:
    """Added tokens by content, and those that tasks look for by their names here."""
    for each in added:
        if not each.is_text:
            yield each.content, each.token_id
        if extra := re.fullmatch(r"<extra_id_(\d+)>", each.content):
            yield f"sentinel_{extra[1]}", each.token_id
    for name, token_id in (("separator", roles.separator), ("mask", roles.mask)):
        if token_id is not None:
            yield name, token_id
