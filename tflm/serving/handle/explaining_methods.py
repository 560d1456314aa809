"""The methods of a model handle that explain a prediction: attribution and attention."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from tflm.errors import UsageError, UserError
from tflm.serving.about import config_section
from tflm.serving.handle.base import OUTPUTS, HandleBase, check_outputs
from tflm.serving.handle.inputs import (
    DEFAULT_BATCH_SIZE,
    Texts,
    as_columns,
    check_count,
    num_bytes,
    run_in_batches,
    truncated_column,
    without_surrogates,
)
from tflm.serving.handle.outputs import read_classifications
from tflm.serving.handle.results import (
    AttentionToken,
    AttentionWeights,
    ExplainedTarget,
    ExplainedToken,
    Explanation,
)

if TYPE_CHECKING:
    from tflm.evaluation.metrics.faithfulness import Faithfulness

METHODS = ("integrated_gradients", "gradient_x_input", "occlusion")
MOST_STEPS = 1000
DEFAULT_STEPS, DEFAULT_NEW_TOKENS = 32, 20
_TEXTS = ("text", "text_pair", "question", "context")
_Tokens = list[tuple[str, int, int, int]]  # name, start, end, part


class ExplainingMethods(HandleBase):
    """They need an export with `--explain`, or a run."""

    @overload
    def explain(
        self,
        text: str,
        text_pair: str | None = None,
        *,
        target: str = ...,
        method: str = ...,
        num_steps: int = ...,
        max_new_tokens: int = ...,
        batch_size: int = ...,
    ) -> Explanation: ...
    @overload
    def explain(
        self,
        text: Texts,
        text_pair: str | Texts | None = None,
        *,
        target: str | Texts = ...,
        method: str = ...,
        num_steps: int = ...,
        max_new_tokens: int = ...,
        batch_size: int = ...,
    ) -> list[Explanation]: ...
    def explain(
        self,
        text: str | Texts,
        text_pair: str | Texts | None = None,
        *,
        target: str | Texts = "",
        method: str = METHODS[0],
        num_steps: int = DEFAULT_STEPS,
        max_new_tokens: int = DEFAULT_NEW_TOKENS,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> Any:
        """`Explanation` of what a model predicts for a text: which tokens made the label, the spans, the answer or the
        generated tokens likely; of a list a list.

        >>> found = model.explain("A fine film.")
        >>> found.targets[0].text, [(token.text, token.attribution) for token in found.targets[0].tokens]
        ('good', [('A', 0.02), ('fine', 1.31), ('film', 0.2), ('.', -0.05)])

        Args:
            text: of a model that answers questions the question.
            text_pair: the second text of a pair; the context of a question.
            target: of a classifier the label to explain, of a generative model the continuation; "" for what the model
                predicts.
            method: integrated_gradients, gradient_x_input or occlusion.
            num_steps: of integrated gradients, 1 to 1000.
            max_new_tokens: of a generative model, the most tokens to explain.
        Raises:
            UserError: the model has no explanations, or the input is not as it takes it.
        """
        if method not in METHODS:
            raise UsageError(f"explain: method is {method!r}, expected {', '.join(METHODS)}.")
        if check_count("explain", "num_steps", num_steps) > MOST_STEPS:
            raise UsageError(f"explain: num_steps is {num_steps}, expected {MOST_STEPS} or less.")
        inputs = self._explained_texts("attribute", text, text_pair)
        takes = self._explaining("attribute").signatures["attribute"].inputs
        if "target" in takes:
            inputs["target"] = target
        elif target not in ("", None):
            raise UsageError("explain: this model explains what it predicts; leave out target.")
        extra = {"method": method, "num_steps": num_steps}
        if "max_new_tokens" in takes:
            extra["max_new_tokens"] = check_count("explain", "max_new_tokens", max_new_tokens)

        def read(columns: dict[str, list[str]], outputs: Mapping[str, Any]) -> list[Explanation]:
            return [_explanation(columns, outputs, row, method) for row in range(len(outputs["targets"]))]

        return self._explain("attribute", inputs, extra, read, batch_size)

    @overload
    def attention(
        self,
        text: str,
        text_pair: str | None = None,
        *,
        target: str = ...,
        max_new_tokens: int = ...,
        batch_size: int = ...,
    ) -> AttentionWeights: ...
    @overload
    def attention(
        self,
        text: Texts,
        text_pair: str | Texts | None = None,
        *,
        target: str | Texts = ...,
        max_new_tokens: int = ...,
        batch_size: int = ...,
    ) -> list[AttentionWeights]: ...
    def attention(
        self,
        text: str | Texts,
        text_pair: str | Texts | None = None,
        *,
        target: str | Texts = "",
        max_new_tokens: int = DEFAULT_NEW_TOKENS,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> Any:
        """`AttentionWeights` of a Transformer for a text, by layer and head, and attention rollout; of a list a list.

        Args:
            text, text_pair, max_new_tokens: see `explain`.
            target: of a generative model the continuation; "" for the one that it generates.
        Raises:
            UserError: the model is no Transformer, or was exported without explanations.
        """
        inputs = self._explained_texts("attention", text, text_pair)
        takes, extra = self._explaining("attention").signatures["attention"].inputs, {}
        if "target" in takes:
            inputs["target"] = target
            extra["max_new_tokens"] = check_count("attention", "max_new_tokens", max_new_tokens)

        def read(columns: dict[str, list[str]], outputs: Mapping[str, Any]) -> list[AttentionWeights]:
            return [_attention(columns, outputs, row) for row in range(len(outputs["weights"]))]

        return self._explain("attention", inputs, extra, read, batch_size)

    def faithfulness(
        self,
        texts: Texts,
        *,
        method: str = METHODS[0],
        num_steps: int = DEFAULT_STEPS,
        batch_size: int = DEFAULT_BATCH_SIZE,
        seed: int = 0,
    ) -> "Faithfulness":
        """How well a method ranks the tokens of texts: areas under deletion and insertion curves of the probability of
        the predicted label, next to random orders. Of a classifier of single texts.

        Args:
            texts: those of one token are left out.
            method, num_steps: see `explain`.
            seed: of the random orders.
        Raises:
            UserError: the model is no classifier of single texts, or no text has two tokens.
        """
        from tflm.evaluation.metrics.faithfulness import AttributedText, faithfulness

        if self.explained_inputs() != ("text",) or "classify" not in self._open_model().signatures:
            raise UsageError(
                f"faithfulness is for classifiers of single texts, with the signature 'classify'; {self.path!r} has "
                f"{', '.join(self.signatures)}."
            )
        known = []
        for text, each in zip(
            texts,
            self.explain(list(texts), method=method, num_steps=num_steps, batch_size=batch_size),
            strict=True,
        ):
            tokens = [token for token in each.targets[0].tokens if token.start >= 0]
            spans, values = [(t.start, t.end) for t in tokens], [t.attribution for t in tokens]
            known.append(AttributedText(text, each.targets[0].text, spans, values))

        def probabilities(asked: list[str], labels: list[str]) -> list[float]:
            found = run_in_batches(asked, self._label_scores, batch_size, num_bytes)
            return [scores[label] for scores, label in zip(found, labels, strict=True)]

        return faithfulness(known, probabilities, seed)

    def _label_scores(self, texts: list[str]) -> list[dict[str, float]]:
        return [
            each.scores
            for each in read_classifications({}, self._open_model().predict("classify", {"text": texts}))
        ]

    def _explaining(self, signature: str) -> Any:
        """The model, if it has the signature.

        Raises:
            UserError: it has not; says why, and how to get it.
        """
        model = self._open_model()
        if signature in model.signatures:
            check_outputs(model, signature, OUTPUTS[signature])
            return model
        if "attribute" in model.signatures:
            kind = config_section(model, "model").get("kind", "another kind of model")
            raise UserError(
                f"{self.path!r} has no attention weights: they are a Transformer's, and this is {kind}. Its other "
                f"methods work: {', '.join(METHODS)}."
            )
        raise UserError(
            f"{self.path!r} has no signature {signature!r}: explanations are exported on request. Export its run again "
            "with tflm export --explain; of the tasks classification, tagging, question_answering, language_modeling, "
            "pairs and chat."
        )

    def _explained_texts(self, signature: str, text: Any, text_pair: Any) -> dict[str, Any]:
        names = self.explained_inputs(signature)
        method = "explain" if signature == "attribute" else signature
        if (len(names) == 2) != (text_pair is not None):
            expected = f"{' and '.join(names)}: give both" if len(names) == 2 else "single texts: give one"
            raise UsageError(f"{method}: {self.path!r} takes {expected}.")
        return dict(zip(names, (text, text_pair), strict=False))

    def explained_inputs(self, signature: str = "attribute") -> tuple[str, ...]:
        """The names of the texts that are explained: text, text and text_pair, or question and context."""
        takes = self._explaining(signature).signatures[signature].inputs
        return tuple(name for name in _TEXTS if name in takes)

    def _explain(
        self, signature: str, inputs: dict[str, Any], extra: dict[str, Any], read_fn: Any, batch_size: int
    ) -> Any:
        method = "explain" if signature == "attribute" else signature
        model, size = self._explaining(signature), check_count(method, "batch_size", batch_size)
        columns, single = as_columns(method, **inputs)
        rows = list(
            zip(*([without_surrogates(each) for each in texts] for texts in columns.values()), strict=True)
        )

        def run(batch: list[tuple[str, ...]]) -> Sequence[Any]:
            given = dict(zip(columns, map(list, zip(*batch, strict=True)), strict=True))
            same = {name: [value] * len(batch) for name, value in extra.items()}
            return read_fn(given, model.predict(signature, {**given, **same}))

        found = run_in_batches(rows, run, size, lambda row: num_bytes(*row))
        return found[0] if single else found


def _explanation(
    columns: dict[str, list[str]], outputs: Mapping[str, Any], row: int, method: str
) -> Explanation:
    texts = _texts(columns, outputs, row)
    scores = {}
    if "labels" in outputs:
        names = [label.decode("utf-8") for label in outputs["labels"][row]]
        scores = dict(zip(names, outputs["probabilities"][row].tolist(), strict=True))
        if not outputs["num_targets"][row]:
            raise UsageError(
                f"explain: target is {columns['target'][row]!r}, which is no label of this model; its labels are "
                f"{', '.join(names)}."
            )
    tokens = _tokens(outputs, row)
    columns_of = ("targets", "target_starts", "target_ends", "scores", "baseline_scores", "attributions")
    found = list(zip(*(outputs[name][row] for name in columns_of), strict=True))
    is_generated, targets = "continuation" in outputs, []
    for number in range(int(outputs["num_targets"][row])):
        text, start, end, score, baseline, values = found[number]
        # Of a continuation a token is predicted from those before it.
        merged = tuple(_merged(texts, tokens, values.tolist(), number if is_generated else len(tokens)))
        name = text.decode("utf-8", "replace")
        targets.append(ExplainedTarget(name, int(start), int(end), float(score), float(baseline), merged))
    return Explanation(texts, method, tuple(targets), scores, truncated_column(outputs)[row])


def _attention(columns: dict[str, list[str]], outputs: Mapping[str, Any], row: int) -> AttentionWeights:
    texts = _texts(columns, outputs, row)
    read = _tokens(outputs, row)[: int(outputs["num_tokens"][row])]
    tokens = tuple(AttentionToken(_text_of(texts, each) or each[0], *each[1:]) for each in read)
    weights = outputs["weights"][row]
    queries, rollout = tokens, None
    if "rollout" in outputs:
        rollout = outputs["rollout"][row][: len(tokens), : len(tokens)]
    else:
        count = int(outputs["num_targets"][row])
        columns_of = ("targets", "target_starts", "target_ends")
        found = zip(*(outputs[name][row][:count].tolist() for name in columns_of), strict=True)
        queries = tuple(
            AttentionToken(name.decode("utf-8", "replace"), start, end, 1) for name, start, end in found
        )
    weights = weights[:, :, : len(queries), : len(tokens)]
    return AttentionWeights(texts, tokens, queries, weights, rollout, truncated_column(outputs)[row])


def _texts(columns: dict[str, list[str]], outputs: Mapping[str, Any], row: int) -> tuple[str, ...]:
    texts = [columns[name][row] for name in _TEXTS if name in columns]
    if "continuation" in outputs:
        texts.append(outputs["continuation"][row].decode("utf-8", "replace"))
    return tuple(texts)


def _tokens(outputs: Mapping[str, Any], row: int) -> _Tokens:
    names = ("tokens", "starts", "ends", "parts")
    found = zip(*(outputs[name][row].tolist() for name in names), strict=True)
    # With an encoder there is padding between the source and what follows it.
    return [(name.decode("utf-8", "replace"), *rest) for name, *rest in found]


def _merged(
    texts: tuple[str, ...], tokens: _Tokens, values: list[float], most: int
) -> Iterator[ExplainedToken]:
    """The tokens of the texts, those that share a character as one; of the second text the first `most`."""
    waiting: ExplainedToken | None = None
    count = 0
    for (name, start, end, part), value in zip(tokens, values, strict=True):
        count += part == 1
        if part < 0 or (part == 1 and count > most):
            continue
        if start < 0 and waiting is not None and waiting.part == part:
            start, end, value = waiting.start, max(end, waiting.end), value + waiting.attribution
        elif waiting is not None:
            yield waiting
        waiting = ExplainedToken(_text_of(texts, (name, start, end, part)) or name, start, end, part, value)
    if waiting is not None:
        yield waiting


def _text_of(texts: tuple[str, ...], token: tuple[str, int, int, int]) -> str:
    _, start, end, part = token
    return texts[part][start:end] if start >= 0 and 0 <= part < len(texts) else ""
