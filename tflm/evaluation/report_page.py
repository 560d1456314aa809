"""A report as a page to read: measures with intervals, slices by length and by label, best and worst examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tflm.evaluation.intervals import bootstrap

_NUM_SLICES = 4
_NUM_EXAMPLES = 5
_LONGEST = 200
_NO_ROWS = ("held_out", "signatures", "against")

Report = dict[str, Any]


def report_page(report: Report, plots: Sequence[str] = ()) -> str:
    """Markdown.

    Args:
        report: as `apps.evaluate` writes it: `name`, `step`, `split`, `held_out`, what `report_labels` or
            `report_texts` gave, `num_parameters`, `texts_per_second`.
        plots: file names of pictures beside the page.
    """
    parts = [_head(report)]
    texts = report.get("texts", [])
    if "this model" in report:
        parts.append(_measures(report))
    if texts:
        parts += [_slices(report, texts), *([_labels(report)] if _is_labelled(report) else [])]
    parts += [f"![{plot.rpartition('.')[0]}]({plot})" for plot in plots]
    if texts:
        parts.append(_examples(texts, "right" in texts[0]))
    return "\n\n".join(parts) + "\n"


def slices_by_length(texts: Sequence[dict[str, Any]], scores: np.ndarray, key: str) -> list[dict[str, Any]]:
    """Equal parts from short to long.

    Args:
        texts: N examples.
        scores: float [N], how good each is.
        key: what is measured in characters.
    Returns:
        For each part `shortest` and `longest` in characters, `count`, and `score`, an `Interval`.
    """
    lengths = np.array([len(text[key]) for text in texts])
    order = np.argsort(lengths, kind="stable")
    return [
        {
            "shortest": int(lengths[rows].min()),
            "longest": int(lengths[rows].max()),
            "count": len(rows),
            "score": bootstrap(scores[rows]),
        }
        for rows in np.array_split(order, min(_NUM_SLICES, len(order)))
    ]


def example_scores(texts: Sequence[dict[str, Any]]) -> tuple[str, np.ndarray]:
    """By what single examples are judged, and float [N] from 0 to 100: being right, or ROUGE-L, chrF or F1 of each."""
    if "right" in texts[0]:
        return "accuracy", np.array([100.0 * text["right"] for text in texts])
    name = next(name for name in ("rougeL", "chrf", "f1") if name in texts[0])
    return name, np.array([text[name] for text in texts]) * (1.0 if name == "chrf" else 100.0)


def _is_labelled(report: Report) -> bool:
    return "per_label" in report.get("this model", {})


def _head(report: Report) -> str:
    measures = ", ".join(
        f"{name} {value:,.4f}" if name.partition("_")[0] != "num" else f"{name} {value:,.0f}"
        for name, value in report["held_out"].items()
    )
    lines = [f"# {report['name']}, step {report['step']:,}, {report['split']} side", "", measures]
    if "num_parameters" in report:
        lines += ["", f"{report['num_parameters']:,} parameters."]
    if "texts_per_second" in report:
        lines[-1] += f" {report['texts_per_second']:,.1f} texts a second, in batches."
    return "\n".join(lines)


def _measures(report: Report) -> str:
    """A row for the model, and one for each baseline."""
    rows = {name: row for name, row in report.items() if isinstance(row, dict) and name not in _NO_ROWS}
    names = list(dict.fromkeys(name for row in rows.values() for name in _scores(row)))
    unit = 100.0 if _is_labelled(report) else 1.0
    lines = [f"{len(report['texts']):,} examples, with 95% intervals in brackets.", ""]
    lines += ["| | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for row_name, row in rows.items():
        cells = []
        for name in names:
            low_high = row.get(f"{name}_interval")
            cell = f"{unit * row[name]:.2f}" if name in row else ""
            cells.append(
                cell + (f" [{unit * low_high[0]:.2f}, {unit * low_high[1]:.2f}]" if low_high else "")
            )
        lines.append(f"| {row_name} | " + " | ".join(cells) + " |")
    if "signatures" in report:
        lines += ["", *(f"- {name}: `{text}`" for name, text in report["signatures"].items())]
    if "p_value" in report:
        lines += ["", f"p = {report['p_value']:.4f} that the regression is no worse (paired bootstrap)."]
    if "against" in report:
        found = report["against"]
        low, high = found["difference_interval"]
        lines += [
            "",
            f"Against {found['run']}: {found['measure']} {found['this']:.2f} and {found['other']:.2f}, "
            f"difference {found['difference']:+.2f} [{low:+.2f}, {high:+.2f}], p = {found['p_value']:.4f} that this "
            "run is no better.",
        ]
    return "\n".join(lines)


def _scores(row: dict[str, Any]) -> list[str]:
    """The names of its plain numbers that are measures."""
    return [name for name, value in row.items() if isinstance(value, float)]


def _slices(report: Report, texts: Sequence[dict[str, Any]]) -> str:
    key = "text" if "text" in texts[0] else "source"
    name, scores = example_scores(texts)
    lines = [f"## By length of the {key}", "", f"| characters | examples | {name} |", "|---|---|---|"]
    for part in slices_by_length(texts, scores, key):
        mean, low, high = part["score"]
        lines.append(
            f"| {part['shortest']}-{part['longest']} | {part['count']:,} | {mean:.1f} [{low:.1f}, {high:.1f}] |"
        )
    return "\n".join(lines)


def _labels(report: Report) -> str:
    lines = ["## By label", "", "| label | examples | precision | recall | F1 |", "|---|---|---|---|---|"]
    for name, row in report["this model"]["per_label"].items():
        values = " | ".join(f"{100 * row[key]:.1f}" for key in ("precision", "recall", "f1"))
        lines.append(f"| {_cell(name)} | {row['support']:,} | {values} |")
    return "\n".join(lines)


def _examples(texts: Sequence[dict[str, Any]], labelled: bool) -> str:
    """The surest answers that are right and wrong, or the best and the worst."""
    name, scores = example_scores(texts)
    sure = np.array([text["score"] for text in texts]) if labelled else scores
    best, worst = np.argsort(-sure, kind="stable"), np.argsort(-sure if labelled else sure, kind="stable")
    if labelled:
        best, worst = best[scores[best] > 0], worst[scores[worst] == 0]
    titles = ("Right and surest", "Wrong and surest") if labelled else (f"Best by {name}", f"Worst by {name}")
    keys = [
        key
        for key in ("source", "text", "text_pair", "target", "label", "spans", "answer")
        if key in texts[0]
    ]
    blocks = []
    for title, rows in zip(titles, (best, worst), strict=True):
        lines = [f"## {title}", "", "| | " + " | ".join(keys) + " |", "|" + "---|" * (len(keys) + 1)]
        for row in rows[:_NUM_EXAMPLES]:
            cells = " | ".join(_cell(str(texts[row][key])) for key in keys)
            lines.append(f"| {sure[row]:.2f} | {cells} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _cell(text: str) -> str:
    """Text that stays inside a cell of a table."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
