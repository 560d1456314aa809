"""The methods of a model handle that generate text: whole, streamed, by beam search, in a conversation."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np

from tflm.errors import UsageError
from tflm.serving.about import config_section
from tflm.serving.handle.alternatives import find_alternatives
from tflm.serving.handle.base import OUTPUTS, HandleBase, check_outputs
from tflm.serving.handle.continuation import continue_texts
from tflm.serving.handle.conversation import Conversation, Message, as_conversations, chat_inputs
from tflm.serving.handle.generation import TextGenerator, generated
from tflm.serving.handle.inputs import (
    DEFAULT_BATCH_SIZE,
    Texts,
    as_texts,
    check_count,
    num_bytes,
    run_in_batches,
)
from tflm.serving.handle.results import Alternatives, Generated, Summary
from tflm.serving.handle.settings import GenerationSettings, find_settings
from tflm.serving.handle.summary import summarize_texts
from tflm.serving.model import Model
from tflm.serving.stream import stream

_KEYWORDS = ("return_details", "batch_size")


class GenerativeMethods(HandleBase):
    """Each takes one text, or a list, and gives one result, or a list; large lists go in batches of similar length.

    `**settings` are the fields of `tflm.generation.DecodingConfig` (temperature, top_p, top_k, max_new_tokens, seed,
    stop, ...); those that are not given are the model's own. For `generate`, `translate` and `summarize` also those of
    `BeamConfig`: `beam_size` turns beam search on. With `return_details` a result is `Generated` in place of str.
    """

    @property
    def continues_texts(self) -> bool:
        """Whether `generate` continues a text; otherwise it answers, translates or summarizes it."""
        model = self._open_model()
        if kind := self._task("kind"):
            return kind == "language_modeling"
        # Some servers' models have no config; but only of pairs does `score` take a target.
        score = model.signatures.get("score")
        return score is not None and "target" not in score.inputs

    def settings(self, /, **settings: Any) -> GenerationSettings:
        """The model's own settings of generation, with those given in their place.

        Raises:
            UsageError: an unknown setting, or one out of range.
        """
        return find_settings(self._for("generate"), "", settings, allow_beams=True)

    @overload
    def generate(self, text: str, *, return_details: Literal[False] = ..., **settings: Any) -> str: ...
    @overload
    def generate(
        self, text: Texts, *, return_details: Literal[False] = ..., **settings: Any
    ) -> list[str]: ...
    @overload
    def generate(self, text: str, *, return_details: Literal[True], **settings: Any) -> Generated: ...
    @overload
    def generate(self, text: Texts, *, return_details: Literal[True], **settings: Any) -> list[Generated]: ...
    def generate(
        self,
        text: str | Texts,
        *,
        return_details: bool = False,
        batch_size: int = DEFAULT_BATCH_SIZE,
        **settings: Any,
    ) -> Any:
        """The continuation of a text or, by a model of pairs or chat, its answer. `seed` may be a list, one a text.

        >>> model.generate("Once upon", temperature=0.8, max_new_tokens=20)
        ' a time'
        >>> model.generate("Once upon", beam_size=4, return_details=True).beams
        (Generated(text=' a time', ...), ...)

        Raises:
            UserError: the model does not generate; the input or a setting is not as it takes it.
        """
        return self._generate("generate", text, return_details, batch_size, settings)

    @overload
    def translate(self, text: str, *, return_details: Literal[False] = ..., **settings: Any) -> str: ...
    @overload
    def translate(
        self, text: Texts, *, return_details: Literal[False] = ..., **settings: Any
    ) -> list[str]: ...
    @overload
    def translate(self, text: str, *, return_details: Literal[True], **settings: Any) -> Generated: ...
    @overload
    def translate(
        self, text: Texts, *, return_details: Literal[True], **settings: Any
    ) -> list[Generated]: ...
    def translate(
        self,
        text: str | Texts,
        *,
        return_details: bool = False,
        batch_size: int = DEFAULT_BATCH_SIZE,
        **settings: Any,
    ) -> Any:
        """The translation of a text, as `generate` of a model trained on pairs."""
        return self._generate("translate", text, return_details, batch_size, settings)

    def samples(
        self, text: Any, num_samples: int, *, batch_size: int = DEFAULT_BATCH_SIZE, **settings: Any
    ) -> Any:
        """Several texts for one: a list of `Generated`, with the seeds `seed`, `seed + 1`, ...; of a list a list of
        lists. Each is what `generate` gives for its seed."""
        texts, single = as_texts("samples", "text", text)
        number = check_count("samples", "num_samples", num_samples)
        generator, _ = self._generator("samples", len(texts), batch_size, settings)
        seeds = [generator.settings.decoding.seed + sample for sample in range(number)]
        found = generator([each for each in texts for _ in seeds], seeds * len(texts))
        rows = [found[begin : begin + number] for begin in range(0, len(found), number)]
        return rows[0] if single else rows

    @overload
    def continue_text(
        self, text: str, num_tokens: int, *, return_details: Literal[False] = ..., **settings: Any
    ) -> str: ...
    @overload
    def continue_text(
        self, text: Texts, num_tokens: int, *, return_details: Literal[False] = ..., **settings: Any
    ) -> list[str]: ...
    @overload
    def continue_text(
        self, text: str, num_tokens: int, *, return_details: Literal[True], **settings: Any
    ) -> Generated: ...
    @overload
    def continue_text(
        self, text: Texts, num_tokens: int, *, return_details: Literal[True], **settings: Any
    ) -> list[Generated]: ...
    def continue_text(
        self,
        text: str | Texts,
        num_tokens: int,
        *,
        return_details: bool = False,
        batch_size: int = DEFAULT_BATCH_SIZE,
        **settings: Any,
    ) -> Any:
        """A continuation of any length, by several requests of `max_new_tokens` each: of each the prompt is the end of
        the text so far. It ends after `num_tokens`, or where the model ends it."""
        texts, single = as_texts("continue_text", "text", text)
        generator, seeds = self._generator("continue_text", len(texts), batch_size, settings)
        decoding = generator.settings.decoding
        found = continue_texts(
            generator,
            texts,
            seeds or [decoding.seed] * len(texts),
            check_count("continue_text", "num_tokens", num_tokens),
            max_new_tokens=decoding.max_new_tokens,
            min_new_tokens=decoding.min_new_tokens,
            max_length=config_section(generator.model, "model").get("max_length"),
        )
        return _results(found, single, return_details)

    @overload
    def summarize(self, text: str, *, return_details: Literal[False] = ..., **settings: Any) -> str: ...
    @overload
    def summarize(
        self, text: Texts, *, return_details: Literal[False] = ..., **settings: Any
    ) -> list[str]: ...
    @overload
    def summarize(self, text: str, *, return_details: Literal[True], **settings: Any) -> Summary: ...
    @overload
    def summarize(self, text: Texts, *, return_details: Literal[True], **settings: Any) -> list[Summary]: ...
    def summarize(
        self,
        text: str | Texts,
        *,
        by_parts: bool = True,
        return_details: bool = False,
        batch_size: int = DEFAULT_BATCH_SIZE,
        **settings: Any,
    ) -> Any:
        """The summary of a text; with `return_details` a `Summary`. A text longer than the model reads is divided at
        the ends of sentences into parts; each is summarized, and then their summaries together.

        Args:
            by_parts: False to let the model read a long text as far as it can.
        """
        texts, single = as_texts("summarize", "text", text)
        generator, seeds = self._generator("summarize", len(texts), batch_size, settings, allow_beams=True)
        if seeds is not None:
            raise UsageError("summarize: seed is a list, expected one seed for all texts.")
        model = generator.model
        limit = self._task("max_source_length", 0) if by_parts and "tokenize" in model.signatures else 0

        def count(parts: Sequence[str]) -> list[int]:
            def run(batch: list[str]) -> list[int]:
                return model.predict("tokenize", {"text": batch})["lengths"].tolist()

            return run_in_batches(parts, run, generator.batch_size, num_bytes)

        return _results(summarize_texts(generator, texts, count, limit), single, return_details)

    def stream(
        self, text: str | Sequence[Message], *, tokens_per_piece: int = 4, **settings: Any
    ) -> Generator[str, None, None]:
        """The text that `generate` gives, or the answer that `chat` gives to messages, in pieces as it is generated.
        Pieces are whole characters. To stop, close the iterator or leave the loop; nothing more is generated.

        >>> for piece in model.stream("Once upon"): print(piece, end="")

        Args:
            text: one text; of a chat model also the messages of one conversation.
            tokens_per_piece: tokens of one request.
        """
        model = self._for("stream")
        chosen = find_settings(model, "stream", settings, others=("tokens_per_piece",))
        size = check_count("stream", "tokens_per_piece", tokens_per_piece)
        request = {**chosen.inputs(model, "prefill", 1), **_stream_inputs(model, text)}
        return _pieces(model, request, size)

    def chat(
        self,
        messages: Any,
        *,
        return_details: bool = False,
        batch_size: int = DEFAULT_BATCH_SIZE,
        **settings: Any,
    ) -> Any:
        """The answer to the last message of a conversation; of a list of conversations a list.

        >>> model.chat([{"role": "user", "content": "你好"}])
        '你好！'

        Args:
            messages: `{"role": "user", "content": "..."}` each, oldest first; roles are system, user and assistant. A
                str is one message of the user.
        """
        model = self._for("chat")
        conversations, single = as_conversations("chat", messages)
        chosen = find_settings(model, "chat", settings, others=_KEYWORDS)

        def run(batch: list[list[Message]]) -> list[Generated]:
            inputs = chosen.inputs(model, "chat", len(batch))
            return generated(model.predict("chat", {**chat_inputs(batch), **inputs}))

        def length(conversation: list[Message]) -> int:
            return num_bytes(*(message["content"] for message in conversation))

        size = check_count("chat", "batch_size", batch_size)
        return _results(run_in_batches(conversations, run, size, length), single, return_details)

    def conversation(self, *, system: str = "", **settings: Any) -> Conversation:
        """A `Conversation`, which remembers what was said.

        Args:
            system: the text that instructs the assistant, for a model that was trained with one.
        """
        return Conversation(self._for("conversation"), settings, system)

    def alternatives(
        self,
        text: Any,
        *,
        num_alternatives: int = 5,
        batch_size: int = DEFAULT_BATCH_SIZE,
        **settings: Any,
    ) -> Any:
        """`Alternatives`: the text that `generate` gives, token by token, with the likeliest in the place of each; of a
        list a list. Probabilities are the model's own, so that a generated token need not be among the likeliest."""
        model = self._for("alternatives")
        check_outputs(model, "generate", ("token_ids",))
        texts, single = as_texts("alternatives", "text", text)
        generator, _ = self._generator("alternatives", len(texts), batch_size, settings)
        count = check_count("alternatives", "num_alternatives", num_alternatives)

        def run(batch: list[str]) -> list[Alternatives]:
            return find_alternatives(model, batch, generator.settings, count)

        found = run_in_batches(texts, run, generator.batch_size, num_bytes)
        return found[0] if single else found

    def _generate(
        self, method: str, text: Any, return_details: bool, batch_size: int, settings: Mapping[str, Any]
    ) -> Any:
        texts, single = as_texts(method, "text", text)
        generator, seeds = self._generator(method, len(texts), batch_size, settings, allow_beams=True)
        return _results(generator(texts, seeds), single, return_details)

    def _generator(
        self,
        method: str,
        num_texts: int,
        batch_size: int,
        settings: Mapping[str, Any],
        allow_beams: bool = False,
    ) -> tuple[TextGenerator, list[int] | None]:
        """The model with the settings; and the seeds, where there is one for each text."""
        model = self._for(method)
        seeds = settings.get("seed")
        given = dict(settings)
        if isinstance(seeds, Sequence | np.ndarray) and not isinstance(seeds, str):
            given.pop("seed")
            seeds = [int(seed) for seed in seeds]
            if len(seeds) != num_texts:
                raise UsageError(f"{method}: seed has {len(seeds)} values for {num_texts} texts.")
        else:
            seeds = None
        chosen = find_settings(model, method, given, allow_beams, _KEYWORDS)
        if chosen.beams is not None:
            check_outputs(model, "beam", OUTPUTS["beam"])
        return TextGenerator(model, chosen, check_count(method, "batch_size", batch_size)), seeds


def _results(found: Sequence[Generated], single: bool, return_details: bool) -> Any:
    results = list(found) if return_details else [each.text for each in found]
    return results[0] if single else results


def _stream_inputs(model: Model, text: Any) -> dict[str, Any]:
    """`text`, or `roles` and `messages`, as `prefill` takes them."""
    if "roles" in model.signatures["prefill"].inputs:
        conversations, single = as_conversations("stream", text)
        if single:
            return chat_inputs(conversations)
        expected = "the messages of one conversation"
    else:
        if isinstance(text, str):
            return {"text": [text]}
        expected = "one str"
    raise UsageError(f"stream takes {expected}; got {type(text).__name__}. Call it for each.")


def _pieces(model: Model, request: Mapping[str, Any], tokens_per_piece: int) -> Generator[str, None, None]:
    for outputs in stream(model, request, tokens_per_piece):
        if piece := outputs["piece"][0].decode("utf-8"):
            yield piece
