"""Conversations as rows of tokens by the chat template of a published model; see `tflm.text.chat_template`."""

import itertools
from typing import NamedTuple

import tensorflow as tf

from tflm.errors import UserError
from tflm.tasks.features.conversations import ConversationRows, fit_messages, with_system
from tflm.tasks.features.rows import keep_between, keep_first
from tflm.text import Tokenizer
from tflm.text.chat_template import (
    BEGINNING,
    EMPTY_THOUGHTS,
    END,
    GENERATION,
    ROLES,
    ChatTemplate,
    special_parts,
    strip_pattern,
)

_BEFORE = (BEGINNING, *ROLES)
_AFTER = (*ROLES, GENERATION, END)
_ASSISTANT = ROLES.index("assistant")


class TemplateConversations:
    """What `Conversations` does, in the words of a chat template. Prompts equal the template's text, tokenised.

        user: Hello    ->    <|im_start|>user\\nHello<|im_end|>\\n<|im_start|>assistant\\n

    Special tokens of the template are inserted as ids; a message's content is text and cannot become one.

    Args:
        tokenizer: the model's.
        template: its table.
        system: the system text of a conversation that has none; "" for the template's own, if any.
    Raises:
        UserError: the template has tokens that the tokenizer lacks, or answers do not end with an end token.
    """

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, system: str = "") -> None:
        self.tokenizer, self.template, self.system = tokenizer, template, system
        self.end_id = self._end_of_answers()
        texts = [[template.text(before, after) for after in _AFTER] for before in _BEFORE]
        generation = [template.text(before, GENERATION) for before in _BEFORE]
        last = [template.text(before, "assistant", is_last=True) for before in _BEFORE]
        self._thinks = template.drops_thinking and not any(
            (text or "").endswith(EMPTY_THOUGHTS) for text in generation
        )
        if template.drops_thinking:  # an answer begins where generation would
            last = generation
        with tf.init_scope():
            self._allowed = tf.constant([[text is not None for text in row] for row in texts])
            self._texts = tf.constant([[self._marked(text or "") for text in row] for row in texts])
            self._last = tf.constant([self._marked(text or "") for text in last])
            # Which answers begin where generation would: the last of a conversation, and those before it.
            self._learns_last = tf.constant(
                [text == other for text, other in zip(last, generation, strict=True)]
            )
            self._learns = tf.constant(
                [
                    not template.drops_thinking and row[_ASSISTANT] == other
                    for row, other in zip(texts, generation, strict=True)
                ]
            )
            lengths = tokenizer.tokenize_marked(tf.reshape(self._texts, [-1])).row_lengths()
            self._longest = int(tf.reduce_max(lengths))
            """The largest number of tokens between two messages."""

    @property
    def can_resume(self) -> bool:
        """Whether a conversation goes on with the tokens of the answers as they were generated: the template changes
        no answer."""
        return not self.template.drops_thinking and "assistant" not in self.template.trimmed

    def training_rows(self, roles: tf.Tensor, messages: tf.Tensor, room: tf.Tensor) -> ConversationRows:
        """Rows of at most `room` + 1 tokens, cut where generation begins: the tokens of an answer are those that
        generation would have to give. See `Conversations.training_rows`."""
        if not self.template.trains:
            raise UserError(
                "this model cannot be trained on conversations: its chat template renders the last answer in a way "
                "of its own. It can chat."
            )
        walk = self._walk(roles, messages, room + 1, END)
        is_answer = tf.equal(walk.codes, _ASSISTANT + 1)
        positions = tf.range(tf.shape(is_answer)[1])
        is_last = tf.equal(
            positions, tf.reduce_max(tf.where(walk.codes > 0, positions, -1), axis=1, keepdims=True)
        )
        is_last &= is_answer
        contents = tf.where(is_last, self._last_answers(walk.contents), self._seen(walk.contents, walk.codes))
        between = tf.where(is_last, tf.gather(self._last, walk.before), walk.between)
        learns = tf.where(
            is_last, tf.gather(self._learns_last, walk.before), tf.gather(self._learns, walk.before)
        )
        has_question = tf.reduce_any(tf.equal(walk.codes, ROLES.index("user") + 1), axis=1, keepdims=True)
        learns &= is_answer & has_question
        end = tf.gather_nd(self._texts, _pairs(walk.last, tf.fill(tf.shape(walk.last), _AFTER.index(END))))
        # Text and content in turn, [B, 2 N + 1]; a part begins at each answer to learn.
        texts = tf.concat([_in_turn(between, contents), end[:, None]], axis=1)
        begins = tf.pad(_in_turn(tf.zeros_like(learns), learns), [[0, 0], [0, 1]])
        part = tf.cumsum(tf.cast(begins, tf.int32), axis=1)
        num_parts = tf.shape(roles)[1] + 2
        number = tf.range(tf.shape(part)[0])[:, None] * num_parts + part
        joined = tf.strings.unsorted_segment_join(
            tf.reshape(texts, [-1]), tf.reshape(number, [-1]), tf.shape(part)[0] * num_parts
        )
        rows = self.tokenizer.tokenize_marked(joined)
        learnt = self._until_end(rows, tf.range(tf.size(joined)) % num_parts > 0)
        rows, learnt = (_joined_parts(each, num_parts) for each in (rows, learnt))
        cut = tf.cast(rows.row_lengths(), tf.int32) > room + 1
        rows, learnt = (keep_first(each, room + 1) for each in (rows, learnt))
        return ConversationRows(rows, learnt, walk.num_left_out, walk.truncated | cut)

    def prompts(self, roles: tf.Tensor, messages: tf.Tensor, room: tf.Tensor) -> ConversationRows:
        """What generation begins from, in at most `room` tokens; see `Conversations.prompts`."""
        return self._prompts(self._walk(roles, messages, room, GENERATION), room)

    def added(self, roles: tf.Tensor, messages: tf.Tensor, room: tf.Tensor) -> ConversationRows:
        """What follows an answer, its end first; see `Conversations.added`."""
        return self._prompts(self._walk(roles, messages, room, GENERATION, first=_ASSISTANT + 1), room)

    def _prompts(self, walk: "_Walk", room: tf.Tensor) -> ConversationRows:
        contents = self._seen(walk.contents, walk.codes)
        generation = tf.gather_nd(
            self._texts, _pairs(walk.last, tf.fill(tf.shape(walk.last), _AFTER.index(GENERATION)))
        )
        text = tf.strings.reduce_join(_in_turn(walk.between, contents), axis=1) + generation
        rows = self.tokenizer.tokenize_marked(text)
        lengths = tf.cast(rows.row_lengths(), tf.int32)
        first = tf.maximum(
            lengths - room, 0
        )  # pieces of two texts that no longer meet may be more than before
        nothing = rows.with_flat_values(tf.zeros_like(rows.flat_values))
        rows = keep_between(rows, first, lengths)
        return ConversationRows(rows, nothing, walk.num_left_out, walk.truncated | (first > 0))

    def _walk(
        self, roles: tf.Tensor, messages: tf.Tensor, room: tf.Tensor, after: str, first: int = 0
    ) -> "_Walk":
        """The messages that fit, and the text before each.

        Args:
            after: what comes after the last message.
            first: what the conversation begins after, an index of `_BEFORE`.
        """
        if not first:
            roles, messages = with_system(roles, messages, self.system)
        is_role = {role: tf.equal(roles, role) for role in ROLES}
        codes = sum(tf.cast(is_role[role], tf.int32) * (index + 1) for index, role in enumerate(ROLES))
        tf.debugging.assert_equal(
            (codes > 0) | tf.equal(roles, ""), True, "A role is not one of system, user, assistant."
        )
        contents = tf.reshape(self.tokenizer.clean(tf.reshape(messages, [-1])), tf.shape(messages))
        contents = tf.where(codes > 0, contents, "")
        tokens = self.tokenizer.tokenize(tf.reshape(contents, [-1]))
        lengths = tf.reshape(tf.cast(tokens.row_lengths(), tf.int32), tf.shape(roles))
        kept, allowed = fit_messages(lengths, is_role, room - self._longest, num_marks=self._longest)
        is_cut = kept & (allowed < lengths)
        contents = tf.cond(
            tf.reduce_any(is_cut),
            lambda: tf.where(is_cut, self._cut(tokens, lengths, allowed, is_role["user"]), contents),
            lambda: contents,
        )
        codes = tf.where(kept, codes, 0)
        before = _previous(codes, first)
        last = _previous(tf.pad(codes, [[0, 0], [0, 1]]), first)[:, -1]
        pairs = _pairs(before, tf.maximum(codes - 1, 0))
        ends = _pairs(last, tf.fill(tf.shape(last), _AFTER.index(after)))
        is_allowed = tf.reduce_all(tf.gather_nd(self._allowed, pairs) | (codes == 0), axis=1)
        tf.debugging.assert_equal(
            is_allowed & tf.gather_nd(self._allowed, ends),
            True,
            f"The model's chat template takes no conversation with these roles in this order. {self._orders()}",
        )
        num_left_out = tf.math.count_nonzero(~kept & ~tf.equal(roles, ""), axis=1, dtype=tf.int32)
        between = tf.where(codes > 0, tf.gather_nd(self._texts, pairs), "")
        contents = tf.where(kept, contents, "")
        truncated = tf.reduce_any(is_cut, axis=1) | (num_left_out > 0)
        return _Walk(codes, before, between, contents, last, num_left_out, truncated)

    def _cut(
        self, tokens: tf.RaggedTensor, lengths: tf.Tensor, allowed: tf.Tensor, is_user: tf.Tensor
    ) -> tf.Tensor:
        """The contents, of which the user's lose their beginning and others their end."""
        allowed = tf.minimum(lengths, allowed)
        first = tf.where(is_user, lengths - allowed, 0)
        kept = keep_between(tokens, *(tf.reshape(each, [-1]) for each in (first, first + allowed)))
        return tf.reshape(self.tokenizer.detokenize(kept), tf.shape(lengths))

    def _seen(self, contents: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """Contents as the template writes them, but for the last answer; as `ChatTemplate.seen`."""
        trimmed = [ROLES.index(role) + 1 for role in self.template.trimmed]
        if trimmed:
            is_trimmed = tf.reduce_any(codes[..., None] == tf.constant(trimmed), axis=-1)
            contents = tf.where(is_trimmed, tf.strings.regex_replace(contents, strip_pattern(), ""), contents)
        if self.template.drops_thinking:
            without = tf.strings.regex_replace(contents, r"(?s)^.*</think>\n*", "")
            contents = tf.where(codes == _ASSISTANT + 1, without, contents)
        return contents

    def _last_answers(self, contents: tf.Tensor) -> tf.Tensor:
        """Contents of last answers: with their thoughts first, where the model thinks before it answers."""
        if not self.template.drops_thinking:
            return self._seen(contents, tf.fill(tf.shape(contents), _ASSISTANT + 1))
        answers = tf.strings.regex_replace(contents, r"(?s)^(.*</think>)?\n*", "")
        if not self._thinks:
            return answers
        has_thoughts = tf.strings.regex_full_match(contents, r"(?s).*</think>.*")
        thoughts = tf.strings.regex_replace(contents, r"(?s)</think>.*$", "")
        thoughts = tf.strings.regex_replace(thoughts, r"(?s)^.*<think>", "")
        thoughts = tf.strings.regex_replace(thoughts, r"^\n+|\n+$", "")
        opening, closing = (self._marked(text) for text in ("<think>\n", "\n</think>\n\n"))
        return opening + tf.where(has_thoughts, thoughts, "") + closing + answers

    def _until_end(self, rows: tf.RaggedTensor, is_learnt: tf.Tensor) -> tf.RaggedTensor:
        """int32, 1 up to the first end token of each row that bool [R] says."""
        is_end = tf.cast(tf.equal(rows.flat_values, self.end_id), tf.int32)
        ended = tf.concat([[0], tf.cumsum(is_end)], axis=0)  # end tokens before each place
        row = rows.value_rowids()
        before = ended[:-1] - tf.gather(tf.gather(ended, rows.row_starts()), row)
        return rows.with_flat_values(tf.cast(tf.gather(is_learnt, row) & (before == 0), tf.int32))

    def _marked(self, text: str) -> bytes:
        """A text of the template, its special tokens as marks."""
        parts = special_parts(text, tuple(self.tokenizer.special_tokens))
        marks = (self.tokenizer.special_mark(part) for part in parts[1::2])
        plain = (part.encode() for part in parts[::2])
        return b"".join(
            piece for pair in itertools.zip_longest(plain, marks, fillvalue=b"") for piece in pair
        )

    def _end_of_answers(self) -> int:
        """The token after an answer."""
        names = tuple(self.tokenizer.special_tokens)
        texts = [text for after in _AFTER if (text := self.template.text("assistant", after)) is not None]
        first = {
            part[1] if part[:1] == [""] and part[1:] else ""
            for part in (special_parts(text, names) for text in texts)
        }
        found = {self.tokenizer.special_tokens.get(name) for name in first}
        if len(found) != 1 or not found <= set(self.tokenizer.end_ids):
            raise UserError(
                f"cannot use the chat template: an answer is followed by {' or '.join(map(repr, texts))}, which does "
                f"not begin with an end token of the model, {list(self.tokenizer.end_ids)}: generation would not stop."
            )
        return found.pop()  # type: ignore[return-value]

    def _orders(self) -> str:
        followers = {
            before or "the beginning": [
                role for role in ROLES if self.template.text(before, role) is not None
            ]
            for before in _BEFORE
        }
        return " ".join(
            f"After {name}: {', '.join(roles) or 'nothing'}." for name, roles in followers.items()
        )


class _Walk(NamedTuple):
    """A batch of conversations as a walk through the table."""

    codes: tf.Tensor
    """int32 [B, N]: which role each kept message has, an index of `_BEFORE`; 0 for none."""
    before: tf.Tensor
    """int32 [B, N]: that of the kept message before it."""
    between: tf.Tensor
    """string [B, N]: the template's text before each kept message."""
    contents: tf.Tensor
    """string [B, N], clean."""
    last: tf.Tensor
    """int32 [B]: the role of the last kept message."""
    num_left_out: tf.Tensor
    truncated: tf.Tensor


def _previous(codes: tf.Tensor, first: int) -> tf.Tensor:
    """int32 [B, N]: the nearest code above 0 on the left of each place, `first` where there is none.

    >>> _previous([[2, 0, 3, 2]], first=0)
    [[0, 2, 2, 3]]
    """
    positions = tf.range(tf.shape(codes)[1])
    is_before = positions[None, :] < positions[:, None]
    places = tf.where(is_before & (codes > 0)[:, None], positions, -1)
    nearest = tf.reduce_max(
        tf.concat([places, tf.fill([*tf.unstack(tf.shape(places))[:2], 1], -1)], axis=2), axis=2
    )
    found = tf.gather(codes, tf.maximum(nearest, 0), batch_dims=1)
    return tf.where(nearest >= 0, found, first)


def _pairs(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    return tf.stack([before, after], axis=-1)


def _in_turn(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """[B, 2 N]: columns of two tensors [B, N] in turn.

    >>> _in_turn([["a", "b"]], [["1", "2"]])
    [["a", "1", "b", "2"]]
    """
    both = tf.stack([first, second], axis=2)
    return tf.reshape(both, [tf.shape(first)[0], 2 * tf.shape(first)[1]])


def _joined_parts(rows: tf.RaggedTensor, num_parts: tf.Tensor) -> tf.RaggedTensor:
    """Ragged [B, (T)] of the parts [B * P, (T)] of each conversation."""
    lengths = tf.reduce_sum(tf.reshape(rows.row_lengths(), [-1, num_parts]), axis=1)
    return tf.RaggedTensor.from_row_lengths(rows.flat_values, lengths, validate=False)
