r"""The regular expressions with which published tokenizers cut a text into words, rewritten for RE2.

`tokenizers` has Oniguruma, a server RE2, which knows no lookahead. Every pattern becomes global replacements that write
the byte FF, a cut, between two words. Valid UTF-8 never has that byte, RE2 matches it with no class, negated ones
included, so no later pattern crosses a cut. The one lookahead in use is `\s+(?!\S)|\s+`: a run of spaces leaves its
last to what follows. A first replacement cuts before that last space; the rest needs no lookahead.

Classes such as `\p{L}` are written out, see `unicode_classes`. A pattern with anything else that is not known to mean
the same to both is refused.
"""

import re
from collections.abc import Iterator

from tflm.errors import UserError
from tflm.text.unicode_classes import class_body, class_names

CUT = b"\xff"

Pass = tuple[str, bytes]
"""A pattern and the rewrite of `tf.strings.regex_replace`."""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SUFFIX = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SUFFIX}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DIGITS = r"\p{N}"
DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)

_LAST_SPACE = r"\s+(?!\S)|\s+"
_REWRITES = {
    "Isolated": CUT + rb"\0" + CUT,
    "MergedWithPrevious": rb"\0" + CUT,
    "MergedWithNext": CUT + rb"\0",
}
# What a pattern outside of brackets is made of. Possessive quantifiers (`++`), lookaround, anchors, back references and
# other escapes match none of these.
_TOKEN = re.compile(
    r"""\[(?P<class>(?:\\.|[^\]\\])+)\]
    |\\p\{(?P<category>\w+)\}
    |(?P<space>\\[sS])
    |(?P<same>\\[rnt] | \\[^\w\s] | \(\?i?: | \((?!\?) | [)|] | [^\\\[\](){}|^$*+?.])
    |(?P<repeat>(?:[*+?]|\{\d+(?:,\d*)?\})(?![+*?]))""",
    re.VERBOSE | re.DOTALL,
)
_CLASS_TOKEN = re.compile(
    r"\\p\{(?P<category>\w+)\}|(?P<space>\\s)|(?P<same>\\[rnt]|\\[^\w\s]|[^\\\[&]|&(?!&))", re.DOTALL
)
_CATEGORIES = frozenset(name for name in class_names() if len(name) <= 2)
_CONTRACTIONS = re.compile(r"\(\?i:([a-z'|]*)\)")
# Letters that ignoring case makes equal to one character of another length in Oniguruma, and not in RE2.
_FOLDED_PAIRS = re.compile("ss|st|ff|fi|fl")


def split_passes(pattern: str, behavior: str = "Isolated", *, keeps_words: bool = False) -> list[Pass]:
    r"""The replacements that put a cut where `tokenizers` splits.

    >>> split_passes(r"[A-Z]+")
    [('[A-Z]+', b'\xff\\0\xff')]

    Args:
        pattern: as in a `tokenizer.json`.
        behavior: "Isolated", "MergedWithPrevious" or "MergedWithNext".
        keeps_words: put a cut on both sides of every match, even where one between two matches will do.
    Raises:
        UserError: a part of the pattern that is not known to mean the same to RE2.
    """
    if behavior not in _REWRITES:
        raise UserError(
            f"the tokenizer splits with the behavior {behavior!r}; supported are {', '.join(_REWRITES)}."
        )
    # Some files have the characters themselves.
    pattern = pattern.replace("\r", r"\r").replace("\n", r"\n")
    passes: list[Pass] = []
    if pattern.endswith(_LAST_SPACE):
        pattern = pattern.removesuffix(_LAST_SPACE) + r"\s+"
        # `\s*[\r\n]+` before it takes line ends with the spaces before them: then no line end is given away.
        last = _spaces(line_ends=r"\s*[\r\n]+|" not in pattern)
        passes.append((f"([{_spaces()}])([{last}][^{_spaces()}])", rb"\1" + CUT + rb"\2"))
    rewrite = _REWRITES[behavior]
    if behavior == "Isolated" and covers_everything(pattern) and not keeps_words:
        rewrite = rb"\0" + CUT
    # \0 and no group: with a group RE2 leaves its automaton, and long matches take ten times as long.
    return [*passes, (re2_pattern(pattern), rewrite)]


def covers_everything(pattern: str) -> bool:
    """Whether no character is left between two matches: words, digits, other characters and spaces, as in GPT-2."""
    rest = r"[^\s\p{L}\p{N}]+"
    return rest in pattern and pattern.endswith((r"|\s+", _LAST_SPACE)) and r"\p{N}" in pattern


def re2_pattern(pattern: str) -> str:
    r"""A pattern for Oniguruma as one for RE2 with the same matches.

    Raises:
        UserError: a part that is not known to mean the same.
    """
    for body in _CONTRACTIONS.findall(pattern):
        if _FOLDED_PAIRS.search(body):
            raise _unknown(pattern, f"(?i:{body})")
    if "(?i:" in _CONTRACTIONS.sub("", pattern):
        raise _unknown(pattern, "(?i:")
    written = []
    for match in _matches(_TOKEN, pattern, pattern):
        if match["class"]:
            written.append(_re2_class(match["class"], pattern))
        elif match["category"]:
            written.append(f"[{_category(match['category'], pattern)}]")
        elif match["space"]:
            written.append(f"[{_spaces()}]" if match["space"] == r"\s" else f"[^{_spaces()}]")
        else:
            written.append(match[0])
    return "".join(written)


def _re2_class(inside: str, pattern: str) -> str:
    """A bracketed class, without its brackets, as one of RE2."""
    negated = inside.startswith("^")
    written = []
    for match in _matches(_CLASS_TOKEN, inside.removeprefix("^"), pattern):
        if match["category"]:
            written.append(_category(match["category"], pattern))
        else:
            written.append(_spaces() if match["space"] else match[0])
    return f"[{'^' if negated else ''}{''.join(written)}]"


def _matches(token: re.Pattern[str], text: str, pattern: str) -> Iterator[re.Match[str]]:
    """The tokens of a text, which they fill."""
    place = 0
    while place < len(text):
        match = token.match(text, place)
        if match is None:
            raise _unknown(pattern, text[place : place + 12])
        yield match
        place = match.end()


def _spaces(line_ends: bool = True) -> str:
    """The inside of a class of what is white space, with CR and LF or without."""
    body = class_body("space")
    return body if line_ends else r"\x{9}\x{B}-\x{C}" + body.removeprefix(r"\x{9}-\x{D}")


def _category(name: str, pattern: str) -> str:
    if name not in _CATEGORIES:
        raise _unknown(pattern, rf"\p{{{name}}}")
    return class_body(name)


def _unknown(pattern: str, part: str) -> UserError:
    return UserError(
        f"the tokenizer splits texts by a pattern with {part!r}, which has no known equal in RE2: {pattern!r}. "
        "Supported are alternatives of literals, classes, quantifiers and a last `\\s+(?!\\S)|\\s+`."
    )
