"""The special ids of a tokenizer: core ids, and named special tokens with what sets them apart."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tflm.text.tokenizer_config import CORE_SPECIAL_TOKENS
from tflm.text.unicode_classes import class_body


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """Ids that no user text gives, except unk."""

    pad: int
    start: int | None
    ends: Sequence[int]
    unk: int | None
    named: Mapping[str, int]
    """Named special tokens; several names may have one id."""
    written: Sequence[int] = ()
    """Ids of `named` that `detokenize` writes as their text, such as "<think>"; all others it drops."""
    strip_left: Sequence[int] = ()
    """Ids of tokens that take the white space before them."""
    strip_right: Sequence[int] = ()
    """Ids of tokens that take the white space after them."""

    @classmethod
    def by_name(cls, names: Sequence[str], ids: Mapping[str, int] | None = None) -> "SpecialIds":
        """From ids by name, those of pad, start, end and unk included; numbered from 0 without `ids`."""
        ids = ids or {name: index for index, name in enumerate((*CORE_SPECIAL_TOKENS, *names))}
        pad, start, end, unk = (ids[name] for name in CORE_SPECIAL_TOKENS)
        return cls(pad, start, (end,), unk, {name: ids[name] for name in names})

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> "SpecialIds":
        """What `dataclasses.asdict` made of one."""
        return cls(**mapping)

    def dropped(self) -> list[int]:
        """Ids that `detokenize` drops."""
        core = {self.pad, *self.ends, self.pad if self.start is None else self.start}
        return sorted(core | (set(self.named.values()) - {*self.written, self.unk}))

    def stripped(self, text: tf.Tensor, marks: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        """Text without the white space that the marks around it take.

        Args:
            text: string [P], the parts of all rows.
            marks: int32 [P], the id before each, or -1.
            is_first: bool [P], whether a part begins its row.
        """
        space = f"[{class_body('space')}]+"
        if self.strip_left:
            following = tf.where(is_first[1:], -1, marks[1:])
            following = tf.concat([following, tf.fill([1], -1)], axis=0)[: tf.size(marks)]
            text = tf.where(
                _among(following, self.strip_left), tf.strings.regex_replace(text, f"{space}$", ""), text
            )
        if self.strip_right:
            text = tf.where(
                _among(marks, self.strip_right), tf.strings.regex_replace(text, f"^{space}", ""), text
            )
        return text


def _among(ids: tf.Tensor, wanted: Sequence[int]) -> tf.Tensor:
    return tf.reduce_any(tf.equal(ids[:, None], tf.constant(wanted, tf.int32)), axis=1)
