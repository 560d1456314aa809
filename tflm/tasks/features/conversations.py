"""Conversations as rows of tokens: whose turn it is, where a message ends, and what is left out when room is short."""

from typing import NamedTuple

import tensorflow as tf

from tflm.tasks.features.rows import join, keep_between
from tflm.text import Tokenizer

ROLES = ("system", "user", "assistant")


class ConversationRows(NamedTuple):
    """What `Conversations.rows` gives."""

    token_ids: tf.RaggedTensor
    """int32 [B, (T)]."""
    learnt: tf.RaggedTensor
    """int32 [B, (T)], 1 where the assistant says something, its end included."""
    num_left_out: tf.Tensor
    """int32 [B]: messages that did not fit."""
    truncated: tf.Tensor
    """bool [B]: whether a message was left out or cut."""


class Conversations:
    """The template: a special token of its own for each role, the message, the end token.

        user: Hello    assistant: Hi!    ->    <user> Hello <end> <assistant> Hi! <end>

    No text gives a special token, so that no message can pass for another role. A message of role "" is padding.

    Args:
        tokenizer: with the special tokens system, user and assistant.
        system: the system text of a conversation that brings none; "" for none.
    """

    def __init__(self, tokenizer: Tokenizer, system: str = "") -> None:
        self.tokenizer, self.system = tokenizer, system

    @property
    def end_id(self) -> int:
        """The token after an answer."""
        return self.tokenizer.end_id

    @property
    def can_resume(self) -> bool:
        """Whether a conversation goes on with the tokens of the answers as they were generated."""
        return True

    def training_rows(self, roles: tf.Tensor, messages: tf.Tensor, room: tf.Tensor) -> ConversationRows:
        """The start token and the messages; arguments and errors as of `rows`."""
        rows = self.rows(roles, messages, room)
        return rows._replace(
            token_ids=join(self.tokenizer.start_id, rows.token_ids),
            learnt=join(None if self.tokenizer.start_id is None else 0, rows.learnt),
        )

    def prompts(self, roles: tf.Tensor, messages: tf.Tensor, room: tf.Tensor) -> ConversationRows:
        """What generation begins from: the start token, the messages, and the assistant's token."""
        rows = self.rows(roles, messages, room - 2)
        assistant = self.tokenizer.special_tokens["assistant"]
        return rows._replace(token_ids=join(self.tokenizer.start_id, rows.token_ids, assistant))

    def added(self, roles: tf.Tensor, messages: tf.Tensor, room: tf.Tensor) -> ConversationRows:
        """What comes after an answer where the conversation goes on: its end first, without a system text."""
        rows = Conversations(self.tokenizer).rows(roles, messages, room)
        assistant = self.tokenizer.special_tokens["assistant"]
        return rows._replace(token_ids=join(self.tokenizer.end_id, rows.token_ids, assistant))

    def rows(self, roles: tf.Tensor, messages: tf.Tensor, room: tf.Tensor) -> ConversationRows:
        """The newest messages that fit into `room` tokens.

        System texts stay, cut to half of the room. Of the others whole turns are left out, the oldest first: what is
        kept begins with a message of the user. The last message always stays; where it is too long by itself, the
        user's loses its beginning, the assistant's its end. A conversation whose last question does not fit has
        nothing to learn.

        Args:
            roles: string [B, N]: system, user, assistant, or "" for no message.
            messages: string [B, N].
            room: int32 [B].
        Raises:
            tf.errors.InvalidArgumentError: another role (found when the graph runs).
        """
        roles, messages = with_system(roles, messages, self.system)
        is_role = {role: tf.equal(roles, role) for role in ROLES}
        is_message = is_role["system"] | is_role["user"] | is_role["assistant"]
        tf.debugging.assert_equal(
            is_message | tf.equal(roles, ""), True, "A role is not one of system, user, assistant."
        )
        texts = self.tokenizer.tokenize(tf.reshape(tf.where(is_message, messages, ""), [-1]))
        shape = tf.shape(roles)
        lengths = tf.reshape(tf.cast(texts.row_lengths(), tf.int32), shape)
        kept, allowed = fit_messages(lengths, is_role, room)
        allowed = tf.minimum(lengths, allowed)
        first = tf.where(is_role["user"], lengths - allowed, 0)
        texts = keep_between(texts, *(tf.reshape(each, [-1]) for each in (first, first + allowed)))
        token_ids = join(self._column(is_role), texts, self.tokenizer.end_id)
        has_question = tf.reduce_any(kept & is_role["user"], axis=1, keepdims=True)
        learnt = tf.cast(is_role["assistant"] & has_question, tf.int32)
        spoken = join(0, texts.with_flat_values(tf.ones_like(texts.flat_values)), 1)
        spoken = spoken.with_flat_values(
            spoken.flat_values * tf.gather(tf.reshape(learnt, [-1]), spoken.value_rowids())
        )
        num_left_out = tf.math.count_nonzero(is_message & ~kept, axis=1, dtype=tf.int32)
        truncated = tf.reduce_any(is_message & (~kept | (allowed < lengths)), axis=1)
        return ConversationRows(_merge(token_ids, kept), _merge(spoken, kept), num_left_out, truncated)

    def _column(self, is_role: dict[str, tf.Tensor]) -> tf.RaggedTensor:
        ids = sum(tf.cast(is_role[role], tf.int32) * self.tokenizer.special_tokens[role] for role in ROLES)
        return tf.RaggedTensor.from_tensor(tf.reshape(ids, [-1, 1]))


def with_system(roles: tf.Tensor, messages: tf.Tensor, system: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Conversations string [B, N], each that has no system text with this one before it; "" for none."""
    if not system:
        return roles, messages
    has_one = tf.reduce_any(tf.equal(roles, "system"), axis=1, keepdims=True)
    role, text = tf.where(has_one, "", "system"), tf.where(has_one, "", system)
    return tf.concat([role, roles], axis=1), tf.concat([text, messages], axis=1)


def fit_messages(
    lengths: tf.Tensor, is_role: dict[str, tf.Tensor], room: tf.Tensor, num_marks: int = 2
) -> tuple[tf.Tensor, tf.Tensor]:
    """Which messages are kept, and how many tokens of each may stay.

    With room for 12, each message taking 2 tokens more than its text:

    >>> fit_messages([[9, 3, 2, 1]], {"user": [[True, False, True, False]], ...}, [12])
    [[False, False, True, True]], [[..., ..., 7, 8]]

    Args:
        lengths: int32 [B, N], tokens of the texts.
        is_role: role to bool [B, N].
        room: int32 [B].
        num_marks: int, tokens that a message takes besides its text.
    Returns:
        bool [B, N], and int32 [B, N], 0 or more.
    """
    room = room[:, None]
    is_system, is_user = is_role["system"], is_role["user"]
    is_spoken = is_user | is_role["assistant"]
    # System texts have half of the room, one after the other.
    costs = tf.where(is_system, lengths + num_marks, 0)
    left = tf.maximum(room // 2 - tf.cumsum(costs, axis=1, exclusive=True), 0)
    system_kept = is_system & (left > num_marks)
    system_allowed = tf.maximum(left - num_marks, 0)
    system_cost = tf.where(system_kept, tf.minimum(lengths, system_allowed) + num_marks, 0)
    rest = room - tf.reduce_sum(system_cost, axis=1, keepdims=True)
    # The others from the last one back, then on to the first that is a user's.
    costs = tf.where(is_spoken, lengths + num_marks, 0)
    fits = is_spoken & (tf.cumsum(costs, axis=1, reverse=True) <= rest)
    begun = tf.cumsum(tf.cast(fits & is_user, tf.int32), axis=1) > 0
    places = tf.range(tf.shape(lengths)[1])[None]
    is_last = tf.equal(places, tf.reduce_max(tf.where(is_spoken, places, -1), axis=1, keepdims=True))
    kept = system_kept | (fits & begun) | is_last
    allowed = tf.where(is_system, system_allowed, tf.maximum(rest - num_marks, 0))
    return kept, allowed


def _merge(rows: tf.RaggedTensor, kept: tf.Tensor) -> tf.RaggedTensor:
    """Ragged [B, (T)]: of the rows [B * N, (T)] those that bool [B, N] keeps, each conversation's side by side."""
    lengths = tf.where(tf.reshape(kept, [-1]), rows.row_lengths(), 0)
    ends = tf.cast(lengths, tf.int32)
    rows = keep_between(rows, tf.zeros_like(ends), ends)
    totals = tf.reduce_sum(tf.reshape(lengths, tf.shape(kept)), axis=1)
    return tf.RaggedTensor.from_row_lengths(rows.flat_values, totals, validate=False)
