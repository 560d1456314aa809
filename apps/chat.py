"""Chats with an exported model, in the terminal, a pipe or the browser.

  tflm chat --model=saved_models/chat_demo
  tflm chat --model=saved_models/chat_demo --text="What is AI?"
  printf '你是谁\\n/reset\\nWho are you?\\n' | tflm chat --model=saved_models/chat_demo
  tflm chat --model=saved_models/chat_demo --input=questions.txt --format=json
  tflm chat --model=saved_models/chat_demo --web

The model sees the conversation so far; the oldest turns are dropped when its context is full, and /reset starts a new
conversation. A model that was trained on single questions sees the last one alone. With --input each line is a
question by itself. Commands, in a pipe too:
  /help, /set temperature=0.7, /settings, /system TEXT, /history, /reset, /save FILE, /load FILE, /quit
With --web the chat page is open until Ctrl-C; this needs: pip install "tflm[serve]"

With --documents the model answers from the passages of those files that are nearest to the question, and file and line
of what it rests on follow each answer. A question that no passage is near is not put to the model: the answer is that
the documents do not say.
  tflm chat --model=saved_models/qwen --documents=docs --embedder=saved_models/sentences
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from tflm.config import to_dict
from tflm.errors import UsageError, UserError
from tflm.serving.client.remote import ServerError

from .common.command_line import note, run_app
from .common.cut_texts import what_was_cut
from .common.documents import define_documents, open_documents
from .common.input_rows import Item
from .common.items import Printer, answer_items, define_items, read_items
from .common.text_generation import CommandLineGenerator, define_generation, read_setting
from .common.web_chat import serve_page

if TYPE_CHECKING:
    from tflm.retrieval.document_chat import DocumentAnswer, DocumentChat
    from tflm.serving.handle.conversation import Conversation

FLAGS = flags.FlagValues()
_FIELDS = {"text": "The question."}
_CITED = 100
"""Characters of a cited sentence that are printed."""
define_generation(FLAGS)
define_items(FLAGS, _FIELDS, batch_size=1)
flags.DEFINE_string(
    "system",
    "",
    "The system message, for models that were trained with one. Example: Answer in one sentence.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "stream",
    None,
    "Prints the answer as it is generated. If not given: on in a terminal, off in a pipe.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "web",
    False,
    "Opens a chat page in the browser instead of the terminal. Needs tflm[serve].",
    flag_values=FLAGS,
)

define_documents(FLAGS)
flags.DEFINE_float(
    "min_nearness",
    0.3,
    "With --documents: how near a passage must be for a question to be answered, from 0 (any) to 1: the mean of the "
    "cosine of the vectors and of the share of the question's words, weighted by their rarity, in the passage.",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=FLAGS,
)

_HELP = """/set NAME=VALUE  change a setting, such as temperature=0.7
/settings        show the settings
/system TEXT     set the system prompt; without TEXT, remove it
/history         show the conversation
/reset           start a new conversation
/save FILE       save the conversation, one JSON line
/load FILE       continue a saved conversation
/quit            exit
//TEXT           send a text that begins with /"""


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if flag_values.web:
        if flag_values.documents:
            raise UsageError("--documents is for the terminal and pipes: leave out --web.")
        serve_page(flag_values)
        return
    generator = CommandLineGenerator(flag_values)
    documents = _open_chat(generator, flag_values) if flag_values.documents else None
    if flag_values.text is not None or flag_values.input not in (None, "-"):
        if flag_values.system:
            raise UsageError(
                "--system is for a conversation: leave out --text and --input, and type or pipe the lines."
            )
        if documents is not None:
            _answer_from(documents, generator, flag_values)
        else:
            _answer_each(generator, flag_values)
        return
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    if documents is not None:
        conversation = documents.conversation
    else:
        conversation = generator.model.conversation(system=flag_values.system, **generator.given)
    streams = flag_values.stream
    if streams is None:
        streams = at_terminal and sys.stdout.isatty() and flag_values.format == "text"
    talk = _Talk(
        conversation,
        Printer(flag_values.format, _shown),
        generator.model.config,
        streams,
        at_terminal,
        documents,
    )
    if at_terminal:
        talk.note_once("/help lists the commands, /quit or Ctrl-D ends.")
        talk.go_on(_typed())
    else:
        talk.go_on(read_items(flag_values, tuple(_FIELDS)))
        talk.refuse_bad()


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _answer_each(generator: CommandLineGenerator, flag_values: flags.FlagValues) -> None:
    """Independent questions, in batches; blank ones are skipped."""

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
        questions = [item["text"] for item in items]
        asked = [question for question in questions if question.strip()]
        answers = iter(generator(asked))
        for question in questions:
            if question.strip():
                found = next(answers)
                yield [{"question": question, "answer": found.text, **generator.facts(found)}]
            else:
                yield []

    config = generator.model.config
    answer_items(flag_values, tuple(_FIELDS), answer, lambda record: record["answer"], config)


def _open_chat(generator: CommandLineGenerator, flag_values: flags.FlagValues) -> "DocumentChat":
    from tflm.retrieval.document_chat import DocumentChat

    grounding = open_documents(flag_values).grounding(flag_values.min_nearness)
    return DocumentChat(generator.model, grounding, flag_values.system, **generator.given)


def _answer_from(
    chat: "DocumentChat", generator: CommandLineGenerator, flag_values: flags.FlagValues
) -> None:
    """Independent questions about documents, one after the other; blank ones are skipped."""

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        for item in items:
            if not item["text"].strip():
                yield []
                continue
            chat.conversation.reset()
            yield [{"question": item["text"], **_cited(chat.ask(item["text"]))}]

    answer_items(flag_values, tuple(_FIELDS), answer, _shown, generator.model.config)


def _cited(answer: "DocumentAnswer") -> dict[str, Any]:
    citations = [each._asdict() for each in answer.citations]
    return {"answer": answer.text, "found": answer.is_found, "citations": citations}


def _shown(record: Mapping[str, Any]) -> str:
    """The answer, and below it a line for each citation."""
    return "\n".join([record["answer"], *map(_shown_citation, record.get("citations", ()))])


def _shown_citation(each: Mapping[str, Any]) -> str:
    text = each["text"] if len(each["text"]) <= _CITED else f"{each['text'][: _CITED - 1]}…"
    return f"  {each['file']}:{each['line']}  {text}"


class _Talk:
    """A conversation line by line, commands among them."""

    def __init__(
        self,
        conversation: "Conversation",
        printer: Printer,
        config: Mapping[str, Any],
        streams: bool,
        at_terminal: bool,
        documents: "DocumentChat | None" = None,
    ) -> None:
        self.conversation, self.printer, self.config = conversation, printer, config
        self.documents = documents
        self.streams, self.at_terminal = streams, at_terminal
        self.problems: list[str] = []
        self.num_left_out = 0
        self.cut_told = False

    def go_on(self, items: Iterator[Item]) -> None:
        """Until /quit or the end of the input."""
        for item in items:
            line = item.fields.get("text", "")
            if item.problem:
                self.problems.append(f"{item.place}: {item.problem}")
                self.printer.mark(item)
            elif line.strip() == "/quit":
                return
            elif line.startswith("/") and not line.startswith("//"):
                self._command(item, line)
            elif line.strip():
                self._answer(line[line.startswith("//") :])

    def note_once(self, text: str) -> None:
        """What the user should know before it begins."""
        note(text)
        if not self.conversation.remembers:
            note("Each question is answered without history: this model was trained on single questions.")

    def refuse_bad(self) -> None:
        """Raises UserError if a line could not be read or a command failed."""
        if self.problems:
            raise UserError(f"{len(self.problems)} lines went wrong; the first is {self.problems[0]}")

    def _answer(self, question: str) -> None:
        try:
            self._show_answer(question)
        except ServerError as error:
            if not self.at_terminal:
                raise
            words = str(error).removesuffix(".")
            note(f"error: {words}. The conversation is kept: ask again, or /save it.")

    def _show_answer(self, question: str) -> None:
        if self.documents is not None and not self.streams:
            self.printer.show({"question": question, **_cited(self.documents.ask(question))})
        elif not self.streams:
            answer, truncated = self.conversation.ask(question), self.conversation.truncated
            truncation = {} if truncated is None else {"truncated": truncated}
            self.printer.show({"question": question, "answer": answer, **truncation})
        else:
            pieces = (self.documents or self.conversation).stream(question)
            with (
                contextlib.closing(pieces),
                contextlib.suppress(KeyboardInterrupt),
            ):  # Ctrl-C stops the answer
                for piece in pieces:
                    print(piece, end="", flush=True)
            print(flush=True)
            for each in self.documents.answer.citations if self.documents else ():
                print(_shown_citation(each._asdict()), flush=True)
        left_out = self.conversation.num_left_out
        if left_out > self.num_left_out:
            note(f"({left_out} of the oldest messages no longer fit)")
        elif self.conversation.truncated and not left_out and not self.cut_told:
            note(f"({what_was_cut(self.config)[:-1]})")
            self.cut_told = True
        self.num_left_out = left_out

    def _command(self, item: Item, line: str) -> None:
        try:
            self._carry_out(line)
        except UserError as error:
            self.problems.append(f"{item.place}: {str(error).splitlines()[0]}")
            note(f"error: {error}")

    def _carry_out(self, line: str) -> None:
        name, _, rest = line.strip().partition(" ")
        rest, conversation = rest.strip(), self.conversation
        if name == "/settings":
            settings = to_dict(conversation.settings.decoding)
            note("\n".join(f"{key}={value}" for key, value in settings.items()))
        elif name == "/set" and "=" in rest:
            key, _, value = rest.partition("=")
            conversation.set(**{key.strip(): read_setting(key.strip(), value.strip())})
        elif name == "/system":
            conversation.set_system(rest)
        elif name == "/history":
            note("\n".join(f"{each['role']}: {each['content']}" for each in conversation.messages))
        elif name == "/reset":
            conversation.reset()
        elif name == "/save" and rest:
            conversation.save(rest)
            note(f"saved: {rest}")
        elif name == "/load" and rest:
            conversation.load(rest)
            note(f"loaded: {rest}, {len(conversation.messages)} messages")
        elif name == "/help":
            note(_HELP)
        else:
            raise UserError(f"no command {line.strip()!r}; /help lists what there is.\n{_HELP}")


def _typed() -> Iterator[Item]:
    """What is typed at the prompt; Ctrl-C drops a line, Ctrl-D ends."""
    import readline  # noqa: F401 (gives `input` line editing and history)

    while True:
        try:
            yield Item("the terminal", {"text": input("> ")})
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return


if __name__ == "__main__":
    sys.exit(run())
