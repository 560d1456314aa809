"""DocumentChat: a conversation whose answers come from documents, with file and line.

    chat = DocumentChat(model, Grounding(index))
    answer = chat.ask("How are the weights saved?")
    answer.text, [(each.file, each.line) for each in answer.citations]

The passages are in the prompt of the last question alone; the model remembers questions and answers.
"""

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from tflm.retrieval.grounding import NOT_FOUND, Citation, Found, Grounding, language_of, prompt_of
from tflm.retrieval.passages import Passage

_BYTES_PER_TOKEN = 2.0  # of a model that does not count them
_TEMPLATE_TOKENS = 64  # of the chat template, about


class DocumentAnswer(NamedTuple):
    """An answer from documents."""

    text: str
    citations: list[Citation]
    """None of a question that no passage is near enough to, which the model is not asked."""
    passages: list[Passage]
    """Those in the prompt."""

    @property
    def is_found(self) -> bool:
        """Whether the documents have something about the question."""
        return bool(self.passages)


class DocumentChat:
    """Answers questions from the passages of documents. Not for several threads at a time."""

    def __init__(self, model: Any, grounding: Grounding, system: str = "", **settings: Any) -> None:
        """
        Args:
            model: a `ModelHandle` with the signature `chat` or `generate`, from `tflm.load`.
            grounding: finds passages and citations.
            system: the system message; "" for none.
            settings: of generation, in place of the model's own, such as `temperature=0.0`.
        Raises:
            UserError: a setting that is unknown or out of range, or a system text for a model that takes none.
        """
        self.conversation = model.conversation(system=system, **settings)
        self._model, self._grounding = model, grounding
        self._answer = DocumentAnswer("", [], [])

    def ask(self, question: str) -> DocumentAnswer:
        """The answer to a question.

        Raises:
            UserError: the model or its server refused or failed.
        """
        for _ in self.stream(question):
            pass
        return self._answer

    def stream(self, question: str) -> Generator[str, None, None]:
        """The answer in pieces; `answer` has its citations when all have come. Raises as `ask`."""
        found = self._find(question)
        if not found:
            text = NOT_FOUND[language_of(question)]
            self.conversation.note(question, text)
            self._answer = DocumentAnswer(text, [], [])
            yield text
            return
        prompt, passages = prompt_of(
            question, [each.passage for each in found], self._num_tokens, self._budget()
        )
        said = ""
        try:
            for piece in self.conversation.stream(question, prompt):
                said += piece
                yield piece
        finally:
            citations = self._grounding.cite(question, said, passages)
            self._answer = DocumentAnswer(said, citations, passages)

    @property
    def answer(self) -> DocumentAnswer:
        """The last answer."""
        return self._answer

    def _find(self, question: str) -> list[Found]:
        """By the question; where that finds nothing and has words of the documents alone, as "And in float32?", by
        the one before it, too."""
        found = self._grounding.find(question)
        before = next(self._questions(), "")
        if found or not before or not self._grounding.knows(question):
            return found
        return self._grounding.find(f"{before} {question}")

    def _questions(self) -> Iterator[str]:
        """Earlier questions, the last one first."""
        return (each["content"] for each in reversed(self.conversation.messages) if each["role"] == "user")

    def _budget(self) -> int:
        """Tokens of the prompt: half of what the context holds besides the answer, so that what was said fits, too."""
        length = int(self._model.config.get("model", {}).get("max_length", 0) or 1024)
        left = length - self.conversation.settings.decoding.max_new_tokens - _TEMPLATE_TOKENS
        spoken = sum(self._num_tokens(each["content"]) for each in self.conversation.messages)
        return max(left - spoken, left // 2)

    def _num_tokens(self, text: str) -> int:
        if "tokenize" in self._model.signatures:
            return len(self._model.tokenize(text))
        return int(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN) + 1
