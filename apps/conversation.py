"""A conversation with an exported model: what was said, the next answer whole or in pieces, saved and loaded."""

import json
from collections.abc import Generator as Pieces
from collections.abc import Iterator
from typing import Any

from apps.text_generation import Generator
from tflm.errors import UserError
from tflm.serving.remote import ServerError
from tflm.serving.stream import can_stream, state_for, stream, stream_on

_ROLES = ("system", "user", "assistant")
Message = dict[str, str]


class Conversation:
    """The messages so far. A model that answers single questions alone is sent the last one.

    Args:
        generator: the model and its settings.
        system: the text that tells the assistant how to be; "" for none.
    Raises:
        UserError: a system text for a model that takes none.
    """

    def __init__(self, generator: Generator, system: str = "") -> None:
        self.generator, self.messages = generator, []  # type: ignore[var-annotated]
        self.remembers = "chat" in generator.model.signatures
        self.num_left_out = 0
        """How many of the oldest messages did not fit into the last request."""
        self._kept: tuple[list[Message], dict[str, Any]] | None = None
        """A conversation, and the model's state after it."""
        if system:
            self.set_system(system)

    def set_system(self, text: str) -> None:
        """Another system text; "" for none."""
        if not self.remembers:
            raise UserError("this model answers single questions and takes no system text.")
        spoken = [message for message in self.messages if message["role"] != "system"]
        self.messages = [*([_message("system", text)] if text else []), *spoken]

    def reset(self) -> None:
        """Forgets what was said; the system text stays."""
        self.messages = [message for message in self.messages if message["role"] == "system"]

    def ask(self, text: str, in_pieces: bool) -> Pieces[str, None, None]:
        """The pieces of the answer to `text`; joined they are the same in one piece or in many.

        What was said is remembered, if iteration is broken off as far as it came.

        Raises:
            ServerError: the server is gone; if it had not begun to answer, the question is as if it had not been asked.
        """
        self.messages.append(_message("user", text))
        said, was_asked = "", True
        try:
            for piece in self._pieces(in_pieces):
                said += piece
                yield piece
        except ServerError:
            was_asked = bool(said)
            raise
        finally:
            if was_asked:
                self.messages.append(_message("assistant", said))
            else:
                self.messages.pop()

    def save(self, path: str) -> None:
        """Writes one JSON line, which `load` and the training of chat models read.

        Raises:
            UserError: it cannot be written there.
        """
        line = json.dumps({"messages": self.messages}, ensure_ascii=False)
        try:
            # A lone surrogate, which `load` may have found as "\\ud800", is written as it was.
            with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")
        except OSError as error:
            raise UserError(f"cannot write {path!r}: {error.strerror}.") from error
        except ValueError as error:  # a NUL in the name
            raise UserError(f"cannot write {path!r}: {error}. Give another name.") from error

    def load(self, path: str) -> None:
        """Goes on from a conversation that `save` wrote.

        Raises:
            UserError: no such file, or something else is in it; the conversation stays as it was.
        """
        try:
            with open(path, encoding="utf-8-sig") as file:
                messages = json.loads(file.readline())["messages"]
            messages = [_message(each["role"], each["content"]) for each in messages]
        except OSError as error:
            raise UserError(f"cannot read {path!r}: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f'{path!r} is no conversation: expected {{"messages": [{{"role": "user", "content": "..."}}, ...]}} '
                "on its first line, as /save writes it."
            ) from error
        self.messages = messages

    def _pieces(self, in_pieces: bool) -> Iterator[str]:
        model = self.generator.model
        if not (in_pieces and can_stream(model)):
            outputs = model.predict("chat" if self.remembers else "generate", self._request())
            self._count(outputs)
            yield outputs["text"][0].decode("utf-8")
            return
        said, outputs = "", {}
        for outputs in self._outputs():
            self._count(outputs)
            if piece := outputs["piece"][0].decode("utf-8"):
                said += piece
                yield piece
        # What the model has read stays with it, for the question that comes after this answer.
        self._kept = ([*self.messages, _message("assistant", said)], outputs)

    def _outputs(self) -> Iterator[dict[str, Any]]:
        """Of the answer to the last message. Where the state of the conversation before it is at hand, only that
        message is read."""
        model, kept, last = self.generator.model, self._kept, self.messages[-1]
        if kept is not None and kept[0] == self.messages[:-1] and "resume" in model.signatures:
            request = {
                **self._settings("resume"),
                **state_for(model, "resume", kept[1]),
                "roles": [[last["role"]]],
                "messages": [[last["content"]]],
            }
            first = model.predict("resume", request)
            if first["fits"].all():
                yield from stream_on(model, first)
                return
        yield from stream(model, self._request())

    def _settings(self, signature: str) -> dict[str, Any]:
        return self.generator.inputs(1, signature)

    def _request(self) -> dict[str, Any]:
        if not self.remembers:
            return {**self._settings("generate"), "text": [self.messages[-1]["content"]]}
        roles, texts = ([message[key] for message in self.messages] for key in ("role", "content"))
        return {**self._settings("chat"), "roles": [roles], "messages": [texts]}

    def _count(self, outputs: dict[str, Any]) -> None:
        if "num_left_out" in outputs:
            self.num_left_out = int(outputs["num_left_out"][0])


def _message(role: Any, content: Any) -> Message:
    if role not in _ROLES or not isinstance(content, str):
        raise ValueError(role)
    return {"role": role, "content": content}
