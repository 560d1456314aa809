"""The report of a sequence-to-sequence model: ROUGE, BLEU and chrF or another metric, and perplexity."""

import json
from collections.abc import Sequence
from typing import Any

from tflm.evaluation.metrics.text_losses import document_losses
from tflm.evaluation.registry import METRICS, register_report
from tflm.evaluation.reports.answers import AnswerFn, Signatures
from tflm.text.sentences import first_sentence

Examples = Sequence[dict[str, str]]


def report_texts(
    write_fn: AnswerFn,
    score_fn: AnswerFn | None,
    examples: Examples,
    measure: str = "rouge",
    bleu_tokenizer: str = "",
) -> dict[str, Any]:
    """Metrics of generated texts, and the perplexity of the targets.

    Args:
        write_fn: maps `text` to the generated `text`.
        score_fn: maps `text` and `target` to `log_probability` and `num_tokens`; None for no perplexity.
        examples: {"source", "target"}.
        measure: name of a metric: rouge, bleu, or one of `register_metric`.
        bleu_tokenizer: name of a sacreBLEU tokenizer; "" to choose by the script of the targets.
    Returns:
        `this model`: `rouge1`, `rouge2` and `rougeL`, or `bleu` and `chrf`, in percent, and `loss` and `perplexity` of
        the targets, each with its 95% interval `NAME_interval`; with ROUGE also the baseline `source's first sentence`
        (lead-1); `signatures` of the metrics; and `texts`, each example with its `answer` and its score, named in
        `text_score`: `rougeL` or `chrf`.
    """
    sources, targets = ([example[key] for example in examples] for key in ("source", "target"))
    written = write_fn({"text": sources})["text"].tolist()
    metric = METRICS.get(measure)
    scores = metric(targets, written, tokenizer=bleu_tokenizer)
    report: dict[str, Any] = {"this model": dict(scores.measures)}
    if scores.has_baseline:
        baseline = metric(targets, [first_sentence(source) for source in sources], tokenizer=bleu_tokenizer)
        report["source's first sentence"] = baseline.measures
    report["signatures"] = dict(scores.signatures)
    if score_fn:
        report["this model"] |= document_losses(score_fn, {"text": sources, "target": targets})[0]
    report["text_score"] = scores.name
    report["texts"] = [
        {**example, "answer": answer, scores.name: round(float(value), 4)}
        for example, answer, value in zip(examples, written, scores.by_text, strict=True)
    ]
    return report


@register_report("texts")
def _texts_report(fns: Signatures, examples: Examples, config: Any) -> dict[str, Any]:
    """`report_texts` by `serving_default` and `score`."""
    return report_texts(fns("serving_default"), fns("score"), examples, config.measure, fns.bleu_tokenizer)


@register_report("conversations")
def _conversations_report(fns: Signatures, examples: Examples, config: Any) -> dict[str, Any]:
    """What the model answers at the end of a conversation, after all that came before; of pairs, `texts`."""
    if "messages" not in examples[0]:
        return _texts_report(fns, examples, config)
    talks = [json.loads(example["messages"]) for example in examples]
    width = max(len(talk) for talk in talks) - 1

    def column(key: str) -> list[list[str]]:
        said = [[message[key] for message in talk[:-1]] for talk in talks]
        return [[*each, *[""] * (width - len(each))] for each in said]

    settings = {name: [value] * len(talks) for name, value in fns.settings.items()}
    request = {"roles": column("role"), "messages": column("content"), **settings}
    pairs = [{"source": _transcript(talk[:-1]), "target": talk[-1]["content"]} for talk in talks]
    return report_texts(lambda _: fns("chat")(request), None, pairs, config.measure, fns.bleu_tokenizer)


def _transcript(messages: Sequence[dict[str, str]]) -> str:
    """
    >>> _transcript([{"role": "user", "content": "Hi"}])
    'user: Hi'
    """
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
