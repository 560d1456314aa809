"""A conversation with a model: its messages, the next answer whole or in pieces, saved and loaded."""

import contextlib
import json
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from tflm.errors import UsageError, UserError
from tflm.files.encodings import decode_lines, decode_text
from tflm.files.formats import open_unpacked
from tflm.serving.handle.inputs import described, truncated_column
from tflm.serving.handle.settings import find_settings
from tflm.serving.model import Model
from tflm.serving.stream import can_stream, state_for, stream, stream_on

ROLES = ("system", "user", "assistant")
Message = dict[str, str]
_FORM = '{"role": "user", "content": "..."}'


class Conversation:
    """A conversation that remembers what was said; `model.conversation()`. Not for several threads at a time.

        talk = model.conversation(system="Be brief.")
        talk.ask("What is AI?")
        for piece in talk.stream("你是谁"):
            print(piece, end="")

    A model that was trained on single questions is given the last one alone.

    Attributes:
        messages: `{"role": ..., "content": ...}` each, oldest first.
        settings: of generation, for the answers to come.
        remembers: whether the model reads earlier messages.
        num_left_out: how many of the oldest messages did not fit into the last request.
        truncated: whether part of the conversation was not read for the last answer; None where it is not reported.
    """

    def __init__(self, model: Model, settings: Mapping[str, Any], system: str = "") -> None:
        """Begins with no messages.

        Args:
            model: with the signature `chat`, or `generate` alone.
            settings: of generation, in place of the model's own: `{"temperature": 0.7}`.
            system: the text that instructs the assistant; "" for none.
        Raises:
            UserError: a setting that is unknown or out of range, or a system text for a model that takes none.
        """
        self.settings = find_settings(model, "conversation", settings, others=("system",))
        self._given = dict(settings)
        self.messages: list[Message] = []
        self.remembers = "chat" in model.signatures
        self.num_left_out = 0
        self.truncated: bool | None = None
        self._model = model
        self._prompt = ""
        self._kept: tuple[list[Message], dict[str, Any]] | None = None  # messages, and the state after them
        if system:
            self.set_system(system)

    def set(self, /, **settings: Any) -> None:
        """Other settings of generation for the answers to come, such as `temperature=0.7`.

        Raises:
            UsageError: a setting that is unknown or out of range; nothing is changed.
        """
        given = {**self._given, **settings}
        self.settings, self._given = find_settings(self._model, "", given), given

    def set_system(self, text: str) -> None:
        """Another system text; "" for none.

        Raises:
            UserError: a model that takes none.
        """
        if not self.remembers:
            raise UserError("this model answers single questions and takes no system text.")
        spoken = [message for message in self.messages if message["role"] != "system"]
        self.messages = [*([as_message("system", text)] if text else []), *spoken]

    def reset(self) -> None:
        """Forgets what was said; the system text stays."""
        self.messages = [message for message in self.messages if message["role"] == "system"]

    def ask(self, text: str, prompt: str = "") -> str:
        """The answer to a message of the user.

        Args:
            text: the message, as it is remembered.
            prompt: what the model reads in its place for this answer, such as the message with passages of documents;
                the message itself if "".
        Raises:
            UserError: the model or its server refused or failed; the question is then as if it had not been asked.
        """
        return "".join(self._answer(text, prompt, in_pieces=False))

    def stream(self, text: str, prompt: str = "") -> Generator[str, None, None]:
        """The answer to a message of the user, in pieces; joined they are what `ask` gives. If iteration is broken off,
        the answer is remembered as far as it came. A model that cannot stream gives one piece.

        Args:
            text, prompt: as of `ask`.
        Raises:
            UserError: as of `ask`; what had come of the answer is remembered.
        """
        return self._answer(text, prompt, in_pieces=True)

    def note(self, text: str, answer: str) -> None:
        """Remembers a message and its answer, which the model was not asked for."""
        self.messages += [as_message("user", text), as_message("assistant", answer)]

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
        """Goes on from a conversation that `save` wrote, in UTF-8 or in UTF-16 with a byte-order mark, packed or not.

        Raises:
            UserError: no such file, or something else is in it; the conversation stays as it was.
        """
        try:
            with open_unpacked(path) as file:
                lines, _ = decode_lines(file, repr(path))
                line = decode_text(next(lines, b""), repr(path))
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"cannot read {path!r}: {getattr(error, 'strerror', None) or error}.") from error
        except ValueError as error:  # also a NUL in the name
            if isinstance(error, UserError):
                raise
            raise UserError(f"cannot read {path!r}: {error}. Give another name.") from error
        try:
            messages = json.loads(line)["messages"]
            self.messages = [as_message(each["role"], each["content"]) for each in messages]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f'{path!r} is no conversation: expected {{"messages": [{_FORM}, ...]}} '
                "on its first line, as /save writes it."
            ) from error

    def _answer(self, text: str, prompt: str, in_pieces: bool) -> Generator[str, None, None]:
        self.messages.append(as_message("user", text))
        self._prompt = prompt
        said, was_asked = "", True
        try:
            with contextlib.closing(self._pieces(in_pieces)) as pieces:
                for piece in pieces:
                    said += piece
                    yield piece
        except Exception:
            was_asked = bool(said)
            raise
        finally:
            if was_asked:
                self.messages.append(as_message("assistant", said))
            else:
                self.messages.pop()

    def _pieces(self, in_pieces: bool) -> Generator[str, None, None]:
        if not (in_pieces and can_stream(self._model)):
            outputs = self._model.predict("chat" if self.remembers else "generate", self._request())
            self._note(outputs)
            yield outputs["text"][0].decode("utf-8")
            return
        said, outputs = "", {}
        for outputs in self._outputs():
            self._note(outputs)
            if piece := outputs["piece"][0].decode("utf-8"):
                said += piece
                yield piece
        # What the model has read stays with it, for the question that comes after this answer.
        self._kept = None if self._prompt else ([*self.messages, as_message("assistant", said)], outputs)

    def _outputs(self) -> Iterator[dict[str, Any]]:
        """Of the answer to the last message. Where the state of the conversation before it is at hand, only that
        message is read."""
        model, kept, last = self._model, self._kept, self.messages[-1]
        if kept is not None and kept[0] == self.messages[:-1] and "resume" in model.signatures:
            first = model.predict(
                "resume",
                {
                    **self.settings.inputs(model, "resume", 1),
                    **state_for(model, "resume", kept[1]),
                    "roles": [[last["role"]]],
                    "messages": [[self._prompt or last["content"]]],
                },
            )
            if first["fits"].all():
                yield from stream_on(model, first)
                return
        yield from stream(model, self._request())

    def _request(self) -> dict[str, Any]:
        last = as_message("user", self._prompt or self.messages[-1]["content"])
        if self.remembers:
            settings = self.settings.inputs(self._model, "chat", 1)
            return {**settings, **chat_inputs([[*self.messages[:-1], last]])}
        settings = self.settings.inputs(self._model, "generate", 1)
        return {**settings, "text": [last["content"]]}

    def _note(self, outputs: dict[str, Any]) -> None:
        if "truncated" in outputs:
            (self.truncated,) = truncated_column(outputs)
        if "num_left_out" in outputs:
            self.num_left_out = int(outputs["num_left_out"][0])


def as_message(role: Any, content: Any) -> Message:
    """A message.

    Raises:
        ValueError: another role than `ROLES`, or a content that is no str.
    """
    if role not in ROLES or not isinstance(content, str):
        raise ValueError(role)
    return {"role": role, "content": content}


def as_conversations(method: str, value: Any) -> tuple[list[list[Message]], bool]:
    """One conversation or several, and whether it was one. A str is one message of the user.

    >>> as_conversations("chat", [{"role": "user", "content": "你好"}])
    ([[{'role': 'user', 'content': '你好'}]], True)

    Raises:
        UsageError: something else, or a conversation of no messages.
    """
    if isinstance(value, str) or (_is_list(value) and value and all(map(_is_mapping, value))):
        return [_messages(method, value, "messages")], True
    if not _is_list(value):
        raise UsageError(
            f"{method}: messages is {described(value)}, expected a str, a list of messages such as [{_FORM}], or a "
            "list of such lists."
        )
    return [_messages(method, each, f"messages[{place}]") for place, each in enumerate(value)], False


def chat_inputs(conversations: Sequence[Sequence[Message]]) -> dict[str, list[list[str]]]:
    """`roles` and `messages` [B, N], both "" where a conversation has fewer than N."""
    width = max(map(len, conversations))
    return {
        name: [[message[key] for message in each] + [""] * (width - len(each)) for each in conversations]
        for name, key in (("roles", "role"), ("messages", "content"))
    }


def _messages(method: str, value: Any, name: str) -> list[Message]:
    if isinstance(value, str):
        return [as_message("user", value)]
    if not _is_list(value) or not value:
        raise UsageError(f"{method}: {name} is {described(value)}, expected messages such as [{_FORM}].")
    found = []
    for place, each in enumerate(value):
        try:
            found.append(as_message(each["role"], each["content"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{method}: {name}[{place}] is {described(each)}, expected {_FORM}; a role is {', '.join(ROLES[:-1])} "
                f"or {ROLES[-1]}."
            ) from error
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)
