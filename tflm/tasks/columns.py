"""The columns that a task's data has: which it needs, what people name them, and which files hold them."""

import dataclasses
from collections.abc import Mapping

from tflm.files.formats import ENDINGS

PAIR = ("source", "target")
JSON_LINES = dict.fromkeys(ENDINGS["jsonl"], "jsonl")
"""The ending of a file to `data.source`."""
TABLES = {".tsv": "tsv", ".csv": "csv", **JSON_LINES}

_NAMES = {
    "text": "text sentence review content comment sentence1 premise 文本 内容 句子 评论",
    "text_pair": "text_pair sentence2 hypothesis",
    "label": "label labels class category sentiment 标签 类别 情感",
    "source": "source src input prompt question query anchor document article body text sentence1 原文 问题 文章 正文",
    "target": "target tgt output answer response reply positive summary translation title sentence2 text_pair "
    "译文 答案 回答 摘要 标题",
    "messages": "messages conversation conversations dialogue 对话",
    "question": "question query 问题",
    "context": "context passage paragraph document text 上下文 段落 文章 正文",
    "answer": "answer answers 答案 回答",
    "answer_start": "answer_start",
    "spans": "spans entities 实体",
}


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns by their roles: the role `text` is the field `data.text_column`."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    """What may be there in place of the required ones."""
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Role to more column names that mean it, with spaces between: {"text": "headline 标题"}."""
    sources: Mapping[str, str] = dataclasses.field(default_factory=lambda: {**TABLES, ".txt": "text"})
    """The ending of a file, in lower case, to its `data.source`."""

    def names_of(self, role: str) -> list[str]:
        """What a column with this role may be named, the likeliest first.

        >>> Columns(("text",), names={"text": "headline"}).names_of("text")[:3]
        ['headline', 'text', 'sentence']
        """
        return [*self.names.get(role, "").split(), *_NAMES.get(role, role).split()]

    @property
    def plain_text(self) -> bool:
        """Whether a file of text without columns will do."""
        return self.required == ("text",)
