"""Perturbations of what a text says, or of what is around it: synonyms, names and places, negation, additions; and
texts that are hardly any.
"""

import functools
import random
import re

from tflm.data.augmentation import Synonyms, words_of
from tflm.errors import UserError
from tflm.robustness.perturbation import (
    DIRECTION,
    INPUT,
    INVARIANCE,
    PerturbationOptions,
    perturbation,
)
from tflm.text.cjk import HAN

_NAMES = (
    "James Mary John Patricia Robert Jennifer Michael Linda William Elizabeth David Barbara Richard Susan Joseph "
    "Jessica Thomas Sarah Charles Karen Anna Peter Paul Laura Emma Maria Daniel Ahmed Fatima Wei Priya "
    "Carlos Olga Kenji Aisha",
    "张伟 王芳 李娜 刘洋 陈静 杨帆 赵磊 黄丽 周杰 吴敏 徐强 孙悦 马超 朱琳 胡军 郭敏 林涛 何雪 罗丹",
)
_PLACES = (
    "London Paris Berlin Madrid Rome Vienna Chicago Boston Seattle Houston Toronto Sydney Dublin Lagos Cairo Nairobi "
    "Mumbai Tokyo Beijing Shanghai Seoul Jakarta Lima",
    "英国 法国 德国 意大利 西班牙 加拿大 澳大利亚 印度 日本 韩国 泰国",
    "北京 上海 广州 深圳 杭州 成都 武汉 南京 西安 重庆 天津 苏州 长沙 青岛 厦门",
    "England France Germany Italy Spain Canada Australia India Japan Korea Brazil Mexico Egypt Kenya",
)
_SENTENCES = (
    "The meeting is on Tuesday at ten.",
    "The train to the airport leaves every hour.",
    "There are seven days in a week.",
    "Water boils at 100 degrees.",
)
_CHINESE_SENTENCES = (
    "会议在星期二上午十点。",
    "机场大巴每小时一班。",
    "一个星期有七天。",
    "水在一百度沸腾。",
)
_LONG = 20_000
"""Characters of a very long text."""
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|am|can|could|will|would|should|must)\b(?!['’])(?!\s+not\b)", re.IGNORECASE
)
_NEGATED = re.compile(
    r"\b(is|are|was|were|could|would|should|must|do|does|did|has|have|had)n['’]t\b|\b(ca|wo)n['’]t\b|\b(can)not\b"
    r"|\s+not\b(?!\s+only\b)",
    re.IGNORECASE,
)
_WHOLE = {"ca": "can", "wo": "will"}
_VERBS = (
    "是|会|能|可以|应该|值得|喜欢|推荐|满意|建议|支持|同意|舒服|方便|清楚|干净|便宜|划算|好用|好看|好吃|好听|"
    "好(?=[，。！？,.!? 了]|$)"
)
_CHINESE_NEGATED = re.compile(f"不(?={_VERBS})|没(?=有)")
_CHINESE_VERB = re.compile(f"(?<![不没无])({_VERBS}|有(?![点些一]))")
_INTENSIFIER = re.compile(f"(很|非常|特别|十分|挺|真|太|超级)(?=[{HAN}])(?![不没有是的])")


@perturbation("synonyms", INVARIANCE)
def synonyms(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Words replaced by synonyms of the user's list."""
    if options.synonyms is None:
        raise UserError("the perturbation synonyms needs a list: give --synonyms=FILE.")
    known = options.synonyms
    parts, rest = words_of(text, known)
    places = [place for place, word in enumerate(parts) if known.of(word.text)]
    for place in sorted(draw.sample(places, options.count(len(places))) if places else []):
        old = parts[place].text
        new = draw.choice(known.of(old))
        parts[place] = parts[place]._replace(text=new[0].upper() + new[1:] if old[0].isupper() else new)
    return "".join(word.before + word.text for word in parts) + rest


@functools.cache
def _groups(groups: tuple[str, ...]) -> Synonyms:
    return Synonyms([group.split() for group in groups])


def _exchanged(text: str, groups: tuple[str, ...], draw: random.Random) -> str:
    """Each listed word by another of its group, the same one at each of its places."""
    known, chosen = _groups(groups), dict[str, str]()
    parts, rest = words_of(text, known)
    for place, word in enumerate(parts):
        if not known.of(word.text) or (word.text.islower() and not text.islower()):
            continue  # in a text with capitals, a word without one is no name
        other = chosen.setdefault(word.text, draw.choice(known.of(word.text)))
        parts[place] = word._replace(text=other.lower() if word.text.islower() else other)
    return "".join(word.before + word.text for word in parts) + rest


@perturbation("names", INVARIANCE)
def names(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Common English first names and Chinese names exchanged for others."""
    del options
    return _exchanged(text, _NAMES, draw)


@perturbation("places", INVARIANCE)
def places(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Large cities and countries exchanged for others."""
    del options
    return _exchanged(text, _PLACES, draw)


@perturbation("irrelevant", INVARIANCE, appends=True)
def irrelevant(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """An irrelevant sentence after the text, in Chinese after a Chinese text."""
    del options
    return _followed(text, draw.choice(_sentences_for(text)))


@perturbation("link", INVARIANCE, appends=True)
def link(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """A random user name and a random link after the text."""
    del options
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    user, path = ("".join(draw.choices(letters, k=6)) for _ in range(2))
    return f"{text} @{user} https://t.co/{path}"


@perturbation("very_long", INVARIANCE, appends=True)
def very_long(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Irrelevant sentences after the text, 20,000 characters of them."""
    del draw, options
    sentences = _sentences_for(text)
    between = "" if sentences is _CHINESE_SENTENCES else " "
    block = between.join(sentences) + between
    return _followed(text, (block * -(-_LONG // len(block))).rstrip())


def _sentences_for(text: str) -> tuple[str, ...]:
    return _CHINESE_SENTENCES if re.search(f"[{HAN}]", text) else _SENTENCES


def _followed(text: str, addition: str) -> str:
    """A text with a sentence end, and the addition."""
    text = text.rstrip(" \t\r\n\u3000,;，；、")
    is_chinese = bool(re.search(f"[{HAN}]", text))
    if text and not re.search(r"[.!?。！？…~～”\"')）]$", text):
        text += "。" if is_chinese else "."
    return f"{text}{addition}" if is_chinese or not text else f"{text} {addition}"


@perturbation("negation", DIRECTION)
def negation(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """The first negation taken away, or else "not" after the first auxiliary verb; in Chinese by 不 and 没."""
    del draw, options
    return _negated_chinese(text) if re.search(f"[{HAN}]", text) else _negated_english(text)


def _negated_english(text: str) -> str:
    if found := _NEGATED.search(text):
        verb = next((each for each in found.groups() if each), "")
        whole = _WHOLE.get(verb.lower(), verb)
        return (
            text[: found.start()]
            + (whole.capitalize() if verb[:1].isupper() else whole)
            + text[found.end() :]
        )
    if found := _AUXILIARY.search(text):
        return f"{text[: found.end()]} not{text[found.end() :]}"
    return text


def _negated_chinese(text: str) -> str:
    if "不错" in text:
        return text.replace("不错", "很差", 1)
    if found := _CHINESE_NEGATED.search(text):
        return text[: found.start()] + text[found.end() :]
    if found := _INTENSIFIER.search(text):
        return text[: found.start()] + "不" + text[found.end() :]
    if found := _CHINESE_VERB.search(text):
        return text[: found.start()] + ("没" if found[0] == "有" else "不") + text[found.start() :]
    return text


@perturbation("empty", INPUT)
def empty(text: str, draw: random.Random, options: PerturbationOptions) -> list[str]:
    """No text at all, only spaces, punctuation, an emoji, or characters that are not shown."""
    del text, draw, options
    return ["", " ", "\n\t", "\u3000", "...", "。", "😀", "\u200b\ufeff", "\ufffd"]
