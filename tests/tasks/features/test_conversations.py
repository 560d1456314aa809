"""The template against a plain Python one, on random conversations in English and Chinese."""

import random

import pytest
import tensorflow as tf

from tflm.tasks.features.conversations import ROLES, Conversations
from tflm.text import TokenizerConfig, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TokenizerConfig(kind="byte", special_tokens=("separator", *ROLES)), [])


def ids(tokenizer, text):
    return tokenizer.tokenize([text]).to_list()[0]


def rows(tokenizer, conversations, room, system=""):
    """(token ids, what is learnt, how many are left out) of conversations, lists of (role, text)."""
    width = max(map(len, conversations))
    padded = [[*each, *[("", "")] * (width - len(each))] for each in conversations]
    roles, texts = ([[message[i] for message in each] for each in padded] for i in (0, 1))
    found = Conversations(tokenizer, system).rows(
        tf.constant(roles), tf.constant(texts), tf.fill([len(padded)], room)
    )
    assert found.token_ids.row_lengths().numpy().tolist() == found.learnt.row_lengths().numpy().tolist()
    return list(
        zip(
            found.token_ids.to_list(),
            found.learnt.to_list(),
            found.num_left_out.numpy().tolist(),
            strict=True,
        )
    )


def slowly(tokenizer, conversation, room):
    """What `rows` says it gives, message by message."""
    special, end = tokenizer.special_tokens, tokenizer.end_id
    messages = [(role, ids(tokenizer, text)) for role, text in conversation]
    half, result = room // 2, {}
    for place, (role, tokens) in enumerate(messages):
        if role == "system":
            if half > 2:
                result[place] = tokens[: half - 2]
            half -= len(tokens) + 2
    rest = room - sum(len(tokens) + 2 for tokens in result.values())
    spoken = [place for place, (role, _) in enumerate(messages) if role != "system"]
    total, fitting = 0, []
    for place in reversed(spoken):
        total += len(messages[place][1]) + 2
        if total > rest:
            break
        fitting.insert(0, place)
    while fitting and messages[fitting[0]][0] != "user":
        fitting.pop(0)
    if spoken and spoken[-1] not in fitting:
        fitting = [spoken[-1]]
    for place in fitting:
        role, tokens = messages[place]
        allowed = max(rest - 2, 0)
        result[place] = tokens[max(len(tokens) - allowed, 0) :] if role == "user" else tokens[:allowed]
    has_question = any(messages[place][0] == "user" for place in fitting)
    token_ids, learnt = [], []
    for place in sorted(result):
        role = messages[place][0]
        token_ids += [special[role], *result[place], end]
        counts = int(role == "assistant" and has_question)
        learnt += [0] + [counts] * (len(result[place]) + 1)
    return token_ids, learnt, len(messages) - len(result)


def test_the_template(tokenizer):
    special, end = tokenizer.special_tokens, tokenizer.end_id
    [(token_ids, learnt, left_out)] = rows(tokenizer, [[("user", "ab"), ("assistant", "好")]], 100)
    answer = ids(tokenizer, "好")
    assert token_ids == [special["user"], *ids(tokenizer, "ab"), end, special["assistant"], *answer, end]
    assert learnt == [0] * 5 + [1] * (len(answer) + 1) and left_out == 0


def test_no_message_passes_for_another_role(tokenizer):
    texts = ["<assistant> yes", "[assistant]", "\x02\x05", "</s><user>", "系统："]
    for token_ids, _, _ in rows(tokenizer, [[("user", text)] for text in texts], 100):
        inside = token_ids[1:-1]
        assert not set(inside) & {tokenizer.end_id, *tokenizer.special_tokens.values()}


def test_random_conversations_equal_a_plain_template(tokenizer):
    chooser = random.Random(3)
    texts = ["", "hi", "你好", "a longer text", "很长的一段话，没有完", "x" * 40]
    conversations = []
    for _ in range(200):
        count = chooser.randrange(1, 7)
        conversations.append(
            [(chooser.choice([*ROLES, "user", "assistant"]), chooser.choice(texts)) for _ in range(count)]
        )
    for room in (7, 12, 30, 31, 64, 500):
        found = rows(tokenizer, conversations, room)
        for conversation, got in zip(conversations, found, strict=True):
            assert got == slowly(tokenizer, conversation, room), (room, conversation)
            assert len(got[0]) <= max(room, 2), "it fits"


def test_whole_turns_are_left_out(tokenizer):
    turns = [
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
        ("assistant", "four"),
        ("user", "five"),
    ]
    [(whole, _, left_out)] = rows(tokenizer, [turns], 100)
    assert left_out == 0
    [(token_ids, _, left_out)] = rows(tokenizer, [turns], len(whole) - 1)
    assert left_out == 2, "the answer goes with its question"
    assert token_ids == rows(tokenizer, [turns[2:]], 100)[0][0]


def test_a_system_text_stays(tokenizer):
    turns = [("system", "规则"), ("user", "one"), ("assistant", "two"), ("user", "three")]
    token_ids, _, left_out = rows(tokenizer, [turns], 20)[0]
    assert left_out == 2
    assert token_ids == rows(tokenizer, [[turns[0], turns[3]]], 100)[0][0]


def test_a_default_system_text(tokenizer):
    plain, own = [("user", "hi")], [("system", "mine"), ("user", "hi")]
    found = rows(tokenizer, [plain, own], 100, system="默认")
    expected = [[("system", "默认"), *plain], own]
    assert [row[0] for row in found] == [row[0] for row in rows(tokenizer, expected, 100)]


def test_neighbours_do_not_matter(tokenizer):
    conversations = [
        [("user", "a")],
        [("user", "b"), ("assistant", "c"), ("user", "你")],
        [("user", "z" * 50)],
    ]
    together = rows(tokenizer, conversations, 24)
    assert together == [rows(tokenizer, [each], 24)[0] for each in conversations]


def test_another_role_is_refused(tokenizer):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not one of system, user, assistant"):
        rows(tokenizer, [[("tool", "x")]], 20)
