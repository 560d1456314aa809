"""Chat templates of published models: a table of the text between two messages, found by rendering the Jinja template.

A template of the common kind writes, between the contents of two messages, a text that depends on their roles alone.
So a conversation is a walk through a table, which a graph can do without Jinja. `from_jinja` fills the table from probe
conversations, compares it with the template on random ones, and refuses a template that is not of this kind.
"""

import dataclasses
import datetime
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tflm.errors import UserError

ROLES = ("system", "user", "assistant")
BEGINNING, GENERATION, END = "", "generation", "end"
Message = tuple[str, str]
"""Role and content."""
RenderFn = Callable[[Sequence[Message], bool], str | None]
"""From messages, and whether the assistant speaks next, to text; None where the template refuses them."""

EMPTY_THOUGHTS = "<think>\n\n</think>\n\n"
_NUM_RANDOM = 1000
_SPACES = "\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What Python's `str.strip` and Jinja's `trim` remove."""


@dataclasses.dataclass(frozen=True)
class Between:
    """The text between two messages."""

    before: str
    """Role of the message before; "" at the beginning of the conversation."""
    after: str
    """Role of the message after; "generation" where the assistant's answer begins, "end" after the last message."""
    text: str
    """With special tokens by name, such as "<|im_end|>\\n<|im_start|>user\\n"."""
    is_last: bool = False
    """Before the last message of a conversation, an answer, where that differs from earlier answers."""


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """How a conversation becomes text.

    >>> template = from_jinja(source)
    >>> template.render([("user", "Hi")], generation=True)
    '<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n'
    """

    between: tuple[Between, ...]
    """A text for each two roles that may follow each other."""
    trimmed: tuple[str, ...] = ()
    """Roles whose contents lose the white space around them."""
    drops_thinking: bool = False
    """Whether earlier answers lose all up to "</think>", and the last answer's thoughts stand in a block of their
    own."""
    trains: bool = True
    """Whether conversations that end with an answer become the template's text, too, as in training."""

    def text(self, before: str, after: str, is_last: bool = False) -> str | None:
        """The text between two roles; None where one may not follow the other."""
        found = {(each.before, each.after, each.is_last): each.text for each in self.between}
        return found.get((before, after, is_last), found.get((before, after, False)))

    def render(self, messages: Sequence[Message], generation: bool) -> str:
        """The text of a conversation.

        Args:
            messages: role and content of each.
            generation: whether the assistant speaks next.
        Raises:
            UserError: a role may not follow another.
        """
        parts, before = [], BEGINNING
        for index, (role, content) in enumerate(messages):
            is_last = index == len(messages) - 1
            parts += [self._between(before, role, is_last), self.seen(role, content, is_last)]
            before = role
        return "".join([*parts, self._between(before, GENERATION if generation else END, False)])

    def seen(self, role: str, content: str, is_last: bool) -> str:
        """A message's content as the template writes it."""
        if role in self.trimmed:
            content = content.strip()
        if self.drops_thinking and role == "assistant":
            thoughts, mark, rest = content.rpartition("</think>")
            if not is_last:
                return rest.lstrip("\n") if mark else content
            thoughts = content.partition("</think>")[0].rstrip("\n").rpartition("<think>")[2] if mark else ""
            return f"<think>\n{thoughts.strip(chr(10))}\n</think>\n\n" + rest.lstrip("\n")
        return content

    def _between(self, before: str, after: str, is_last: bool) -> str:
        text = self.text(before, after, is_last)
        if text is None:
            raise UserError(
                f"this model's chat template has no place for {_described(after)} {_described(before, after=True)}."
            )
        return text


def from_jinja(source: str, variables: dict[str, Any] | None = None) -> ChatTemplate:
    """The table of a Jinja template.

    Dates that it asks for are those of today and stay. It is rendered without tools.

    Args:
        source: the template, as in `chat_template` of tokenizer_config.json.
        variables: `bos_token`, `eos_token`, and switches of the template such as `enable_thinking`.
    Raises:
        UserError: it is no Jinja template, or not of the kind that is a table; the message says why.
    """
    render = jinja_renderer(source, variables or {})
    table: dict[tuple[str, str, bool], str] = {}
    for roles in _usual_conversations():
        _learn(render, roles, table, required=True)
    if (BEGINNING, "user", False) not in table or ("user", GENERATION, False) not in table:
        raise UserError("cannot use the chat template: it refuses a conversation of one user message.")
    for roles in itertools.chain(*(itertools.product(ROLES, repeat=count) for count in (1, 2, 3))):
        if _describes_new_pair(roles, table):
            _learn(render, roles, table, required=False)
    _learn(render, ("user", "assistant"), table, required=False, after_answer=True)
    drops = _drops_thinking(render)
    if drops:  # the empty block belongs to the content; see `ChatTemplate.seen`
        table = {key: text.removesuffix(EMPTY_THOUGHTS) if key[2] else text for key, text in table.items()}
        table.pop(("assistant", "assistant", False), None)  # which of the two would keep its thoughts?
    table = {key: text for key, text in table.items() if not key[2] or text != table.get((*key[:2], False))}
    template = ChatTemplate(
        tuple(Between(*key[:2], text, key[2]) for key, text in table.items()), _trimmed(render), drops
    )
    _verify(render, template, generation=True)
    try:
        _verify(render, template, generation=False)
    except UserError:
        template = dataclasses.replace(template, trains=False)
    return template


def jinja_renderer(source: str, variables: dict[str, Any]) -> RenderFn:
    """A function that renders a Jinja template as transformers does: sandboxed, blocks trimmed, loop controls."""
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = datetime.datetime.now().strftime
    environment.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
    try:
        template = environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"cannot read the chat template: line {error.lineno}: {error.message}.") from error

    def render(messages: Sequence[Message], generation: bool) -> str | None:
        given = [{"role": role, "content": content} for role, content in messages]
        try:
            return template.render(messages=given, add_generation_prompt=generation, **variables)
        except (jinja2.TemplateError, TypeError, KeyError, IndexError):
            return None

    return render


def _usual_conversations() -> Iterator[tuple[str, ...]]:
    """Questions and answers in turn, up to two of each, with and without a system text."""
    for count in range(1, 6):
        turns = tuple(("user", "assistant")[index % 2] for index in range(count))
        yield turns
        yield ("system", *turns)


def _describes_new_pair(roles: Sequence[str], table: dict[tuple[str, str, bool], str]) -> bool:
    return any((*pair, False) not in table for pair in itertools.pairwise((BEGINNING, *roles)))


def _learn(
    render: RenderFn,
    roles: Sequence[str],
    table: dict[tuple[str, str, bool], str],
    required: bool,
    after_answer: bool = False,
) -> None:
    """Adds what stands between the messages of a conversation of these roles to the table."""
    contents = [f"\ue0f0{index}\ue0f1" for index in range(len(roles))]
    messages = list(zip(roles, contents, strict=True))
    for generation in (False, True):
        if generation and roles[-1] == "assistant" and not after_answer:
            continue
        text = render(messages, generation)
        if text is None:
            continue
        walk = (BEGINNING, *roles, GENERATION if generation else END)
        pieces = list(_pieces(text, contents))
        found: dict[tuple[str, str, bool], str] = {}
        problem = "" if len(pieces) == len(roles) + 1 else "it does not write each message once and in order"
        for index, (pair, piece) in enumerate(zip(itertools.pairwise(walk), pieces, strict=False)):
            key = (*pair, pair[1] == "assistant" and index == len(roles) - 1 and not generation)
            if {table.get(key, piece), found.get(key, piece)} != {piece}:
                problem = "what it writes between two messages depends on more than their roles"
            found[key] = piece
        if problem and required:
            raise UserError(
                f"cannot use the chat template: {problem}. In a conversation of {', '.join(roles)} it writes {text!r}."
            )
        if problem:
            return
        table |= found


def _pieces(text: str, contents: Sequence[str]) -> Iterator[str]:
    """The text before, between and after the contents; it ends at one that is not there exactly once and in order."""
    for content in contents:
        before, found, text = text.partition(content)
        if not found or content in text:
            return
        yield before
    yield text


def _trimmed(render: RenderFn) -> tuple[str, ...]:
    """The roles whose contents are stripped."""
    bare, padded = "\ue0f0", " \n\t\ue0f0\u3000\n "
    probes = {
        "system": lambda content: [("system", content), ("user", "a")],
        "user": lambda content: [("user", content)],
        "assistant": lambda content: [("user", "a"), ("assistant", content), ("user", "b")],
    }
    return tuple(
        role
        for role, probe in probes.items()
        if (text := render(probe(padded), True)) is not None and text == render(probe(bare), True)
    )


def _drops_thinking(render: RenderFn) -> bool:
    answer = "<think>\ue0f0</think>\n\n\ue0f1"
    text = render([("user", "a"), ("assistant", answer), ("user", "b")], True)
    return text is not None and "\ue0f0" not in text and "\ue0f1" in text


def _verify(render: RenderFn, template: ChatTemplate, generation: bool) -> None:
    """Compares both on random conversations.

    Raises:
        UserError: they differ; the message has an example.
    """
    rng = random.Random(0)
    for _ in range(_NUM_RANDOM):
        messages = _random_conversation(rng, any_order=generation)
        if (messages[-1][0] == "assistant") == generation:
            continue
        expected = render(messages, generation)
        if expected is None:
            continue
        try:
            found = template.render(messages, generation)
        except UserError:
            continue  # a refusal is not a wrong text
        if found != expected:
            raise UserError(
                f"cannot use the chat template: for {messages!r} it writes {expected!r}, and a table of the text "
                f"between two roles {found!r}."
            )


def _random_conversation(rng: random.Random, any_order: bool) -> list[Message]:
    words = (
        "hello",
        "你好",
        "\n",
        "  ",
        "<b>",
        "{{ x }}",
        "{% if %}",
        "a'b",
        "😀",
        "1 2",
        "</think>",
        "<think>",
        "user",
    )
    roles = ["system"] * (rng.random() < 0.4)
    roles += [("user", "assistant")[index % 2] for index in range(rng.randint(1, 7))]
    if any_order and rng.random() < 0.1:
        rng.shuffle(roles)
    return [(role, "".join(rng.choices(words, k=rng.randint(1, 6)))) for role in roles]


def _described(role: str, after: bool = False) -> str:
    names = {BEGINNING: "at the beginning", GENERATION: "an answer", END: "an end"}
    if after:
        return names.get(role, f"after a message of {role}")
    return names.get(role, f"a message of {role}")


def strip_pattern() -> str:
    """An RE2 pattern of the white space around a text, as `str.strip` removes it."""
    return f"^[{_SPACES}]+|[{_SPACES}]+$"


def special_parts(text: str, special_tokens: Sequence[str]) -> list[str]:
    """A template's text, cut at special tokens: every other part is one.

    >>> special_parts("<|im_start|>user\\n", ["<|im_start|>"])
    ['', '<|im_start|>', 'user\\n']
    """
    names = sorted(special_tokens, key=len, reverse=True)
    return re.split(f"({'|'.join(map(re.escape, names))})", text) if names else [text]
