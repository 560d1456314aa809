"""The report of a model that writes texts for sources: by ROUGE, or by BLEU and chrF, and by perplexity."""

from collections.abc import Sequence
from typing import Any

from tflm.evaluation.answers import AnswerFn
from tflm.evaluation.baseline import first_sentence
from tflm.evaluation.bleu import bleu
from tflm.evaluation.document_losses import document_losses
from tflm.evaluation.intervals import bootstrap
from tflm.evaluation.rouge import rouge, rouge_signature

Examples = Sequence[dict[str, str]]


def report_texts(
    write_fn: AnswerFn, score_fn: AnswerFn | None, examples: Examples, measure: str = "rouge"
) -> dict[str, Any]:
    """What the model writes for sources, and how likely it finds the targets.

    Args:
        write_fn: answers `text` to `text`.
        score_fn: answers `log_probability` and `num_tokens` to `text` and `target`; None for no perplexity.
        examples: {"source", "target"}.
        measure: rouge or bleu.
    Returns:
        `this model`: `rouge1`, `rouge2` and `rougeL`, or `bleu` and `chrf`, in percent, and `loss` and `perplexity` of
        the targets, each with `NAME_interval`, the ends of its 95% interval; by ROUGE also `source's first sentence`,
        the baseline; `signatures`, what must be told with the numbers; and `texts`, each example with its `answer` and
        its `rougeL` or `chrf`.
    """
    sources, targets = ([example[key] for example in examples] for key in ("source", "target"))
    written = write_fn({"text": sources})["text"].tolist()
    report = _by_bleu(targets, written) if measure == "bleu" else _by_rouge(sources, targets, written)
    if score_fn:
        report["this model"] |= document_losses(score_fn, {"text": sources, "target": targets})[0]
    values = report.pop("scores")
    name = "chrf" if measure == "bleu" else "rougeL"
    report["texts"] = [
        {**example, "answer": answer, name: value}
        for example, answer, value in zip(examples, written, values, strict=True)
    ]
    return report


def _by_bleu(targets: list[str], written: list[str]) -> dict[str, Any]:
    corpus = bleu(targets, written)
    measures: dict[str, Any] = {}
    for name, each in corpus.items():
        measures |= {name: float(each.score.mean), f"{name}_interval": [float(end) for end in each.score[1:]]}
    return {
        "this model": measures,
        "signatures": {name: each.signature for name, each in corpus.items()},
        "scores": [round(float(score), 2) for score in corpus["chrf"].segments],
    }


def _by_rouge(sources: list[str], targets: list[str], written: list[str]) -> dict[str, Any]:
    report: dict[str, Any] = {}
    baseline = [first_sentence(source) for source in sources]
    for name, texts in (("this model", written), ("source's first sentence", baseline)):
        scores = rouge(targets, texts)
        report[name] = {}
        for kind, values in scores.items():
            mean, *ends = bootstrap(100 * values)
            report[name] |= {kind: mean, f"{kind}_interval": ends}
        if name == "this model":
            report["scores"] = [round(float(score), 4) for score in scores["rougeL"]]
    return {**report, "signatures": {"rouge": rouge_signature(targets)}}
