"""Explanations as records and in a terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .items import Record
from .tables import is_colored, render

if TYPE_CHECKING:
    from tflm.serving.handle.results import AttentionWeights, Explanation

_MORE, _LESS = (33, 102, 172), (224, 110, 30)
_NO_TABS = str.maketrans("\t\r\n", "   ")


def explanation_record(names: Sequence[str], found: "Explanation") -> Record:
    """The record of `--format=json`; `names` are those of the given texts."""
    targets = []
    for target in found.targets:
        numbers = {
            "probability": _short(target.probability),
            "log_odds": _short(target.log_odds),
            "baseline_log_odds": _short(target.baseline_log_odds),
        }
        place = {"start": target.start, "end": target.end} if target.start >= 0 else {}
        tokens = [
            {
                "text": token.text,
                "start": token.start,
                "end": token.end,
                **({"part": token.part} if len(found.texts) > 1 else {}),
                "attribution": _short(token.attribution),
            }
            for token in target.tokens
        ]
        targets.append({"target": target.text, **place, **numbers, "tokens": tokens})
    record = {**_texts(names, found.texts), "method": found.method, "targets": targets}
    return record if found.truncated is None else {**record, "truncated": found.truncated}


def attention_record(names: Sequence[str], found: "AttentionWeights") -> Record:
    """The record of `--format=json`: the tokens, their rollout and all weights."""
    tokens = [
        {"text": token.text, "start": token.start, "end": token.end, "part": token.part}
        for token in found.tokens
    ]
    record = {
        **_texts(names, found.texts),
        "tokens": tokens,
        "queries": [token.text for token in found.queries],
        "received": [_short(value) for value in _received(found)],
        "rollout": None if found.rollout is None else _rows(found.rollout),
        "weights": [[_rows(head) for head in layer] for layer in found.weights],
    }
    return record if found.truncated is None else {**record, "truncated": found.truncated}


def show_explanation(record: Record) -> str:
    """Coloured tokens for each target in a terminal; elsewhere a line for each, parts separated by tabs."""
    texts = _texts_of(record)
    if not record["targets"]:
        return "\t".join([texts[0].translate(_NO_TABS), "", "", ""]) if not is_colored() else texts[0]
    lines = []
    for target in record["targets"]:
        if is_colored():
            lines.append(_colored(texts, target))
            continue
        places = " ".join(f"{_place(token)}:{token['attribution']:+.4f}" for token in target["tokens"])
        shown = [texts[0].translate(_NO_TABS), target["target"].translate(_NO_TABS)]
        lines.append("\t".join([*shown, f"{target['probability']:.4f}", places]))
    return "\n".join(lines)


def show_attention(record: Record) -> str:
    """Tokens coloured by what they receive; elsewhere the text, a tab, and START-END:SHARE of each token."""
    texts = _texts_of(record)
    tokens = [
        {**token, "attribution": share}
        for token, share in zip(record["tokens"], record["received"], strict=True)
        if token["start"] >= 0
    ]
    if is_colored():
        return "\n".join(render(_line(text, tokens, part), True) for part, text in enumerate(texts))
    places = " ".join(f"{_place(token)}:{token['attribution']:.4f}" for token in tokens)
    return f"{texts[0].translate(_NO_TABS)}\t{places}"


def _place(token: Record) -> str:
    """ "0-4" in the first text, "1/0-4" in the second."""
    part = token.get("part", 0)
    return f"{f'{part}/' if part else ''}{token['start']}-{token['end']}"


def _colored(texts: Sequence[str], target: Record) -> str:
    """A title and the texts, each token on the colour of its attribution."""
    from rich.text import Text

    title = Text()
    title.append(target["target"], style="bold")
    title.append(f"  {target['probability']:.4f}", style="dim")
    lines = [_line(text, target["tokens"], part) for part, text in enumerate(texts)]
    return "\n".join(render(line, True) for line in (title, *lines))


def _line(text: str, tokens: Iterable[Record], part: int) -> Any:
    from rich.text import Text

    tokens = list(tokens)
    most = max([abs(token["attribution"]) for token in tokens] + [1e-9])
    line, place = Text(), 0
    for token in tokens:
        if token.get("part", 0) != part or token["start"] < place:
            continue
        line.append(text[place : token["start"]])
        share = token["attribution"] / most
        line.append(text[token["start"] : token["end"]], style=_style(share))
        place = token["end"]
    line.append(text[place:])
    return line


def _style(share: float) -> str:
    """A background from white to blue, or to orange below 0; none near 0."""
    strength = abs(share)
    if strength < 0.05:
        return ""
    color = _MORE if share > 0 else _LESS
    red, green, blue = (round(255 - strength * (255 - part)) for part in color)
    ink = "white" if share > 0 and strength > 0.6 else "black"
    return f"{ink} on rgb({red},{green},{blue})"


def _received(found: "AttentionWeights") -> list[float]:
    """How much of each token is in the last layer, the mean over all tokens; with an encoder the mean weight."""
    if found.rollout is not None:
        return found.rollout.mean(axis=0).tolist()
    return found.weights.mean(axis=(0, 1, 2)).tolist()


def _texts(names: Sequence[str], texts: Sequence[str]) -> Record:
    keys = [*names, "continuation"] if len(texts) > len(names) else names
    return dict(zip(keys, texts, strict=True))


def _texts_of(record: Record) -> list[str]:
    names = ("text", "text_pair", "question", "context", "continuation")
    return [record[name] for name in names if name in record]


def _rows(values: Any) -> list[list[float]]:
    return [[_short(value) for value in row] for row in values.tolist()]


def _short(value: float) -> float:
    return round(float(value), 6)
