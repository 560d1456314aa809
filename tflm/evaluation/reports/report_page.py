"""A report as a Markdown page: metrics with intervals, slices by length and by label, best and worst examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflm.evaluation.metrics.intervals import bootstrap

_NUM_SLICES = 4
_NUM_EXAMPLES = 5
_LONGEST = 200
_NO_ROWS = ("held_out", "signatures", "against", "ngram", "texts")
_NO_SHARES = ("loss", "perplexity")
_SCORES = {"rougeL": 100.0, "chrf": 1.0, "f1": 100.0, "reciprocal_rank": 100.0, "log_probability": 1.0}

Report = dict[str, Any]


def report_page(
    report: Report, plots: Sequence[str] = (), legends: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Renders a report as Markdown.

    Args:
        report: a report of `tflm evaluate`: `name`, `step`, `split`, the result of the task's report, and optionally
            `held_out`, `model`, `num_parameters`, `size_bytes`, `texts_per_second`, `num_truncated`, `ngram`,
            `against`.
        plots: file names of plots in the same folder.
        legends: file name of a plot to the legend of its numbers.
    """
    parts = [_head(report)]
    texts = report.get("texts", [])
    if "this model" in report:
        parts.append(_measures(report))
    if texts:
        parts += [_slices(report, texts), *([_labels(report)] if _is_labelled(report) else [])]
    for plot in plots:
        parts.append(f"![{plot.rpartition('.')[0]}]({plot})")
        if legend := (legends or {}).get(plot):
            parts.append(_legend(legend))
    if texts:
        parts.append(_examples(texts, "right" in texts[0], report.get("text_score", "")))
    return "\n\n".join(parts) + "\n"


def slices_by_length(texts: Sequence[dict[str, Any]], scores: np.ndarray, key: str) -> list[dict[str, Any]]:
    """Slices of equal size by length, from short to long.

    Args:
        texts: N examples.
        scores: float [N], score of each example.
        key: the column whose length in characters counts.
    Returns:
        For each slice `shortest` and `longest` in characters, `count`, and `score`, an `Interval`.
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


def example_scores(texts: Sequence[dict[str, Any]], name: str = "") -> tuple[str, np.ndarray]:
    """The per-example metric and its values float [N], higher is better: accuracy, ROUGE-L, chrF, F1 or reciprocal rank
    in [0, 100]; for language models the mean log-probability per token in nats; or another metric, which the report
    names in `text_score`."""
    if "right" in texts[0]:
        return "accuracy", np.array([100.0 * text["right"] for text in texts])
    if name and name not in _SCORES:
        return name, np.array([float(text[name]) for text in texts])
    name = next(name for name in _SCORES if name in texts[0])
    return name, np.array([text[name] for text in texts]) * _SCORES[name]


def _is_labelled(report: Report) -> bool:
    return "per_label" in report.get("this model", {})


def _head(report: Report) -> str:
    measures = ", ".join(
        f"{name} {value:,.4f}" if name.partition("_")[0] != "num" else f"{name} {value:,.0f}"
        for name, value in report.get("held_out", {}).items()
        if name != "sources"
    )
    lines = [f"# {report['name']}, step {report['step']:,}, {report['split']} side"]
    lines += [f"Model: `{report['model']}`."] if "model" in report else []
    lines += [measures] if measures else []
    for source, own in report.get("held_out", {}).get("sources", {}).items():
        shown = ", ".join(f"{name} {value:,.4f}" for name, value in own.items() if name[:4] != "num_")
        lines.append(f"Source {source}: {shown}.")
    facts = [f"{report['num_parameters']:,} parameters."] if "num_parameters" in report else []
    if "size_bytes" in report:
        facts.append(f"{report['size_bytes'] / 1e6:,.1f} MB on disk.")
    if "texts_per_second" in report:
        facts.append(
            f"{report['texts_per_second']:,.1f} texts a second, in batches, after a warm-up: tracing is not counted."
        )
    if report.get("num_truncated"):
        facts.append(
            f"{report['num_truncated']:,} of the texts are longer than the model reads; measured is what it read."
        )
    lines += [" ".join(facts)] if facts else []
    if "ngram" in report:
        ngram = report["ngram"]
        lines.append(
            f"{ngram['order']}-gram, Kneser-Ney, over the same tokens: perplexity {ngram['perplexity']:,.4f}."
        )
    return "\n\n".join(lines)


def _measures(report: Report) -> str:
    """The table of metrics: a row for the model and for each baseline."""
    rows = {name: row for name, row in report.items() if isinstance(row, dict) and name not in _NO_ROWS}
    names = list(dict.fromkeys(name for row in rows.values() for name in _scores(row)))
    lines = [f"{_counted(report)}, with 95% intervals in brackets.", ""]
    lines += ["| | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for row_name, row in rows.items():
        cells = []
        for name in names:
            unit = 100.0 if _is_labelled(report) and name not in _NO_SHARES else 1.0
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


def _counted(report: Report) -> str:
    """Sample sizes: examples, and other counts of the report."""
    counts = {name: value for name, value in report["this model"].items() if isinstance(value, int)}
    parts = [f"{value:,} {name.removeprefix('num_')}" for name, value in counts.items()]
    return " and ".join([f"{len(report['texts']):,} examples", *parts])


def _scores(row: dict[str, Any]) -> list[str]:
    """Names of the scalar metrics of a row."""
    return [name for name, value in row.items() if isinstance(value, float)]


def _slices(report: Report, texts: Sequence[dict[str, Any]]) -> str:
    key = next(name for name in ("text", "source", "context") if name in texts[0])
    name, scores = example_scores(texts, report.get("text_score", ""))
    digits = 2 if name == "log_probability" else 1
    lines = [f"## By length of the {key}", "", f"| characters | examples | {name} |", "|---|---|---|"]
    for part in slices_by_length(texts, scores, key):
        mean, low, high = part["score"]
        lines.append(
            f"| {part['shortest']}-{part['longest']} | {part['count']:,} | {mean:.{digits}f} "
            f"[{low:.{digits}f}, {high:.{digits}f}] |"
        )
    return "\n".join(lines)


def _labels(report: Report) -> str:
    lines = ["## By label", "", "| label | examples | precision | recall | F1 |", "|---|---|---|---|---|"]
    for name, row in report["this model"]["per_label"].items():
        values = " | ".join(_share(row, key) for key in ("precision", "recall", "f1"))
        lines.append(f"| {_cell(name)} | {row['support']:,} | {values} |")
    return "\n".join(lines)


def _legend(legend: Mapping[str, str]) -> str:
    lines = ["| number in the picture | label |", "|---|---|"]
    return "\n".join([*lines, *(f"| {number} | {_cell(text)} |" for number, text in legend.items())])


def _share(row: dict[str, Any], key: str) -> str:
    """ "50.0 [41.2, 58.9]", in percent."""
    ends = [f"{100 * end:.1f}" for end in row.get(f"{key}_interval", ())]
    return f"{100 * row[key]:.1f}" + (f" [{', '.join(ends)}]" if ends else "")


def _examples(texts: Sequence[dict[str, Any]], labelled: bool, score_name: str) -> str:
    """The most confident correct and incorrect predictions, or the best and worst examples."""
    name, scores = example_scores(texts, score_name)
    sure = np.array([text["score"] for text in texts]) if labelled else scores
    best, worst = np.argsort(-sure, kind="stable"), np.argsort(-sure if labelled else sure, kind="stable")
    if labelled:
        best, worst = best[scores[best] > 0], worst[scores[worst] == 0]
    titles = ("Right and surest", "Wrong and surest") if labelled else (f"Best by {name}", f"Worst by {name}")
    keys = [
        key
        for key in (
            "source",
            "question",
            "context",
            "text",
            "text_pair",
            "target",
            "label",
            "spans",
            "answer",
        )
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
    """Text for a table cell: one line, escaped, truncated."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
