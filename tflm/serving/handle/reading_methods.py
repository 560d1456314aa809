"""The methods of a model handle that read a text: labels, spans, answers, vectors, log-probabilities."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np

from tflm.errors import UsageError
from tflm.serving.handle.base import HandleBase
from tflm.serving.handle.inputs import (
    DEFAULT_BATCH_SIZE,
    ProgressFn,
    Texts,
    as_columns,
    as_texts,
    check_count,
    num_bytes,
    run_in_batches,
    without_surrogates,
)
from tflm.serving.handle.outputs import (
    Columns,
    divide,
    read_answer,
    read_choices,
    read_classifications,
    read_filled,
    read_neighbors,
    read_scores,
    read_spans,
    read_token_ids,
)
from tflm.serving.handle.results import (
    Answer,
    Classification,
    Filled,
    Neighbor,
    Score,
    Span,
)

# Signatures whose outputs count characters: a lone surrogate would count as three, being invalid UTF-8.
_WITH_PLACES = ("tag", "answer")
_ReadFn = Callable[[Columns, Mapping[str, Any]], Sequence[Any]]


class ReadingMethods(HandleBase):
    """Each takes one text, or a list, and gives one result, or a list; large lists go in batches of similar length."""

    @overload
    def classify(
        self, text: str, text_pair: str | None = None, *, batch_size: int = ...
    ) -> Classification: ...
    @overload
    def classify(
        self, text: Texts, text_pair: str | Texts | None = None, *, batch_size: int = ...
    ) -> list[Classification]: ...
    @overload
    def classify(self, text: str, text_pair: Texts, *, batch_size: int = ...) -> list[Classification]: ...
    def classify(
        self, text: str | Texts, text_pair: str | Texts | None = None, *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Any:
        """`Classification` of a text or, by a model of pairs, of a text and its `text_pair`; of a list a list.

        Raises:
            UserError: the model does not classify, or the input is not as it takes it.
        """
        takes_pairs = "text_pair" in self._for("classify").signatures["classify"].inputs
        if takes_pairs != (text_pair is not None):
            expected = "pairs: give text_pair" if takes_pairs else "single texts: leave out text_pair"
            raise UsageError(f"classify: {self.path!r} labels {expected}.")
        pair = {"text_pair": text_pair} if takes_pairs else {}
        return self._read("classify", {"text": text, **pair}, read_classifications, batch_size)

    @overload
    def choose(
        self, text: str, choices: Sequence[str], *, prompt: str = ..., batch_size: int = ...
    ) -> Classification: ...
    @overload
    def choose(
        self, text: Texts, choices: Sequence[str], *, prompt: str = ..., batch_size: int = ...
    ) -> list[Classification]: ...
    def choose(
        self,
        text: str | Texts,
        choices: Sequence[str],
        *,
        prompt: str = "{text}",
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> Any:
        """`Classification` of a text by a generative model: the probability of each choice is that it is the whole text
        generated, if it is one of them.

        Args:
            choices: labels as the model would write them; one may begin with a space, as a word does after a prompt.
            prompt: what the model reads, with the text in the place of `{text}`.
        Raises:
            UserError: the model has no signature `choose`; no two different choices; a prompt without `{text}`.
        """
        self._for("choose")
        choices = as_texts("choose", "choices", choices)[0]
        if "" in choices or len({unicodedata.normalize("NFC", each) for each in choices}) < max(
            2, len(choices)
        ):
            raise UsageError(
                f"choose: choices are two texts or more, each once and not empty; got {', '.join(map(repr, choices))}."
            )
        if "{text}" not in prompt:
            raise UsageError(
                f"choose: the prompt {prompt!r} lacks a placeholder: write {{text}} where the text goes."
            )
        texts, single = as_texts("choose", "text", text)
        prompts: Any = [prompt.replace("{text}", each) for each in texts]

        def read(columns: Columns, outputs: Mapping[str, Any]) -> list[Classification]:
            return read_choices(choices, outputs)

        inputs = {"text": prompts[0] if single else prompts}
        return self._read("choose", inputs, read, batch_size, {"choices": choices})

    @overload
    def tag(self, text: str, *, batch_size: int = ...) -> list[Span]: ...
    @overload
    def tag(self, text: Texts, *, batch_size: int = ...) -> list[list[Span]]: ...
    def tag(self, text: str | Texts, *, batch_size: int = DEFAULT_BATCH_SIZE) -> Any:
        """The labelled spans of a text, a list of `Span` in their order; of a list a list of such lists. A lone
        surrogate in a text is read as U+FFFD."""
        return self._read("tag", {"text": text}, read_spans, batch_size)

    @overload
    def segment(self, text: str, *, batch_size: int = ...) -> list[str]: ...
    @overload
    def segment(self, text: Texts, *, batch_size: int = ...) -> list[list[str]]: ...
    def segment(self, text: str | Texts, *, batch_size: int = DEFAULT_BATCH_SIZE) -> Any:
        """The words of a text, as a model of word segmentation has them: a list of str; of a list a list of such lists.

        >>> model.segment("我爱北京！")
        ['我', '爱', '北京', '！']
        """
        texts, single = as_texts("segment", "text", text)
        self._for("segment")
        spans = self.tag(texts, batch_size=batch_size)
        found = [divide(without_surrogates(each), own) for each, own in zip(texts, spans, strict=True)]
        return found[0] if single else found

    @overload
    def answer(
        self,
        question: str,
        context: str,
        *,
        threshold: float | None = ...,
        num_answers: int = ...,
        batch_size: int = ...,
    ) -> Answer: ...
    @overload
    def answer(
        self,
        question: Texts,
        context: str | Texts,
        *,
        threshold: float | None = ...,
        num_answers: int = ...,
        batch_size: int = ...,
    ) -> list[Answer]: ...
    @overload
    def answer(
        self,
        question: str,
        context: Texts,
        *,
        threshold: float | None = ...,
        num_answers: int = ...,
        batch_size: int = ...,
    ) -> list[Answer]: ...
    def answer(
        self,
        question: str | Texts,
        context: str | Texts,
        *,
        threshold: float | None = None,
        num_answers: int = 1,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> Any:
        """`Answer` to a question from a context. Lists of both, or a list and one str that goes with each.

        Args:
            threshold: by how much an answer must be ahead of no answer, in log odds; the model's own when None.
            num_answers: how many `candidates` to give, at most as many as the model gives.
        Raises:
            UserError: the model answers no questions, or gives fewer answers.
        """
        self._for("answer")
        count = check_count("answer", "num_answers", num_answers)
        own = self._task("threshold", 0.0) if threshold is None else threshold

        def read(columns: Columns, outputs: Mapping[str, Any]) -> list[Answer]:
            if count > (most := outputs["answers"].shape[1]):
                raise UsageError(f"num_answers={count}: this model gives {most} at most.")
            return [read_answer(outputs, row, count) for row in range(len(columns["question"]))]

        inputs = {"question": question, "context": context}
        return self._read("answer", inputs, read, batch_size, {"threshold": float(own)})

    def embed(
        self,
        text: str | Texts,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        progress_fn: ProgressFn | None = None,
    ) -> np.ndarray:
        """The vector of a text, float32 [D]; of a list of B texts float32 [B, D]. Each different text is read once.

        Args:
            progress_fn: called after each batch with how many different texts are done, and how many there are.
        """
        model = self._for("embed")
        texts, single = as_texts("embed", "text", text)
        if not texts:
            shape = model.signatures["embed"].output_shapes.get("embedding")
            return np.zeros([0, (shape[-1] if shape else None) or 0], np.float32)
        distinct = sorted(set(texts), key=lambda each: (len(each), each))
        vectors = self._read(
            "embed",
            {"text": distinct},
            lambda _, outputs: list(outputs["embedding"]),
            batch_size,
            progress_fn=progress_fn,
        )
        places = {each: place for place, each in enumerate(distinct)}
        found = np.stack(vectors)[[places[each] for each in texts]].astype(np.float32)
        return found[0] if single else found

    @overload
    def similarity(self, text: str, text_pair: str, *, batch_size: int = ...) -> float: ...
    @overload
    def similarity(self, text: Texts, text_pair: str | Texts, *, batch_size: int = ...) -> list[float]: ...
    @overload
    def similarity(self, text: str, text_pair: Texts, *, batch_size: int = ...) -> list[float]: ...
    def similarity(
        self, text: str | Texts, text_pair: str | Texts, *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Any:
        """The cosine similarity of two texts, a float; of lists, or of a list and one str, a list of float."""
        inputs = {"text": text, "text_pair": text_pair}
        return self._read("similarity", inputs, lambda _, outputs: outputs["similarity"].tolist(), batch_size)

    @overload
    def nearest(self, text: str, *, batch_size: int = ...) -> list[Neighbor]: ...
    @overload
    def nearest(self, text: Texts, *, batch_size: int = ...) -> list[list[Neighbor]]: ...
    def nearest(self, text: str | Texts, *, batch_size: int = DEFAULT_BATCH_SIZE) -> Any:
        """The words nearest to a text by word vectors, a list of `Neighbor`, best first; of a list a list of lists."""
        return self._read("nearest", {"text": text}, read_neighbors, batch_size)

    @overload
    def fill(self, text: str, *, return_details: Literal[False] = ..., batch_size: int = ...) -> str: ...
    @overload
    def fill(
        self, text: Texts, *, return_details: Literal[False] = ..., batch_size: int = ...
    ) -> list[str]: ...
    @overload
    def fill(self, text: str, *, return_details: Literal[True], batch_size: int = ...) -> Filled: ...
    @overload
    def fill(self, text: Texts, *, return_details: Literal[True], batch_size: int = ...) -> list[Filled]: ...
    def fill(
        self, text: str | Texts, *, return_details: bool = False, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Any:
        """A text with its blanks, `____`, filled: str, or `Filled` with `return_details`; of a list a list."""
        found = self._read("fill", {"text": text}, read_filled, batch_size)
        if return_details:
            return found
        return [each.text for each in found] if isinstance(found, list) else found.text

    @overload
    def score(self, text: str, target: str | None = None, *, batch_size: int = ...) -> Score: ...
    @overload
    def score(
        self, text: Texts, target: str | Texts | None = None, *, batch_size: int = ...
    ) -> list[Score]: ...
    @overload
    def score(self, text: str, target: Texts, *, batch_size: int = ...) -> list[Score]: ...
    def score(
        self, text: str | Texts, target: str | Texts | None = None, *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Any:
        """`Score`: the log-probability of a text or, by a model of pairs or chat, of `target` given `text`; of lists a
        list."""
        takes_target = "target" in self._for("score").signatures["score"].inputs
        if takes_target != (target is not None):
            expected = "a target given a text: give target" if takes_target else "texts: leave out target"
            raise UsageError(f"score: {self.path!r} scores {expected}.")
        return self._read(
            "score", {"text": text, **({"target": target} if takes_target else {})}, read_scores, batch_size
        )

    @overload
    def tokenize(self, text: str, *, batch_size: int = ...) -> list[int]: ...
    @overload
    def tokenize(self, text: Texts, *, batch_size: int = ...) -> list[list[int]]: ...
    def tokenize(self, text: str | Texts, *, batch_size: int = DEFAULT_BATCH_SIZE) -> Any:
        """The token ids of a text, a list of int; of a list a list of lists."""
        return self._read("tokenize", {"text": text}, read_token_ids, batch_size)

    def _read(
        self,
        signature: str,
        inputs: dict[str, Any],
        read_fn: _ReadFn,
        batch_size: int,
        extra: Mapping[str, Any] | None = None,
        progress_fn: ProgressFn | None = None,
    ) -> Any:
        """Results of a signature that takes texts: of a single row one, else a list.

        Args:
            inputs: input name to a text or a list of them.
            read_fn: columns and outputs of a batch to a result for each row.
            extra: further inputs, the same for every row.
        """
        model = self._for(signature)
        size = check_count(signature, "batch_size", batch_size)
        columns, single = as_columns(signature, **inputs)
        if signature in _WITH_PLACES:
            columns = {name: [without_surrogates(each) for each in texts] for name, texts in columns.items()}
        rows = list(zip(*columns.values(), strict=True))

        def run(batch: list[tuple[str, ...]]) -> Sequence[Any]:
            given = dict(zip(columns, map(list, zip(*batch, strict=True)), strict=True))
            same = {name: [value] * len(batch) for name, value in (extra or {}).items()}
            return read_fn(given, model.predict(signature, {**given, **same}))

        found = run_in_batches(rows, run, size, lambda row: num_bytes(*row), progress_fn)
        return found[0] if single else found
