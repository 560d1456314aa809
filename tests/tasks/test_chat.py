"""Chat: it learns to answer with what was said before, in English and Chinese; and forgets what is not sent."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.learn_by_heart import learn_store
from tflm.data import build_store
from tflm.errors import UserError
from tflm.generation import DecodingConfig, settings_lists
from tflm.models import TransformerDecoderConfig, build_model
from tflm.tasks import Chat, ChatConfig
from tflm.tasks.features.conversations import ROLES
from tflm.tasks.signatures.streaming import decode_request, state_of
from tflm.text import TokenizerConfig, train_tokenizer

NAMES = ["Ann", "Bo", "Cy", "李", "王", "张"]
LENGTH = 64


def conversation(name):
    """Tells a name, then asks for it: what was said before decides the answer."""
    return [("user", name), ("assistant", "ok"), ("user", "?"), ("assistant", name)]


def as_example(messages):
    return json.dumps([{"role": role, "content": text} for role, text in messages])


@pytest.fixture(scope="module")
def tokenizer():
    config = TokenizerConfig(kind="byte", special_tokens=("separator", *ROLES))
    return train_tokenizer(config, [])


def make_task(tokenizer, max_length=LENGTH, **settings):
    return Chat(
        ChatConfig(**settings), tokenizer, max_length, DecodingConfig(temperature=0.0, max_new_tokens=12)
    )


def ask(signature, conversations, state=None, **changes):
    """The outputs of `chat`, `prefill` or `resume` for lists of (role, text)."""
    count = len(conversations)
    width = max(map(len, conversations))
    padded = [[*each, *[("", "")] * (width - len(each))] for each in conversations]
    inputs = {
        "roles": [[m[0] for m in each] for each in padded],
        "messages": [[m[1] for m in each] for each in padded],
    }
    inputs |= settings_lists(DecodingConfig(temperature=0.0, max_new_tokens=12), count)
    inputs |= {name: value if isinstance(value, list) else [value] * count for name, value in changes.items()}
    inputs |= state or {}
    specs = signature.input_signature
    return {
        k: v.numpy() for k, v in signature(*(tf.constant(inputs[s.name], s.dtype) for s in specs)).items()
    }


@pytest.fixture(scope="module")
def trained(tokenizer, tmp_path_factory):
    task = make_task(tokenizer)
    examples = [{"messages": as_example(conversation(name))} for name in NAMES]
    store = build_store(examples, task.encode, str(tmp_path_factory.mktemp("store")), "x")
    keras.utils.set_random_seed(0)
    model = build_model(
        TransformerDecoderConfig(
            vocab_size=tokenizer.vocab_size, num_layers=2, hidden_dim=32, num_heads=2, max_length=LENGTH
        )
    )
    losses = learn_store(task, model, store, batch_size=6)
    assert losses[0] == pytest.approx(np.log(tokenizer.vocab_size), rel=0.1)
    return task, model, task.signatures(model)


def test_what_was_said_before_decides_the_answer(trained):
    chat = trained[2]["chat"]
    for name in NAMES:
        assert ask(chat, [conversation(name)[:3]])["text"][0].decode() == name
    told = [ask(chat, [conversation(name)[:3]])["log_probability"][0] for name in NAMES]
    assert min(told) > np.log(0.7)


def test_batched_equals_single(trained):
    conversations = [conversation("Ann")[:3], conversation("李")[:1], [("user", "?")], [("user", "")]]
    together = ask(trained[2]["chat"], conversations)
    for row, each in enumerate(conversations):
        alone = ask(trained[2]["chat"], [each])
        assert alone["text"][0] == together["text"][row]
        assert alone["log_probability"][0] == pytest.approx(together["log_probability"][row], abs=1e-4)


def test_one_message_is_a_conversation_of_one(trained):
    signatures = trained[2]
    for text in ("Ann", "王", "", "x" * 200):
        short = signatures["serving_default"](tf.constant([text]))["text"].numpy()
        assert short == ask(signatures["chat"], [[("user", text)]])["text"]


def test_streamed_equals_unstreamed(trained):
    from tests.tasks.signatures.test_streaming import run, stream

    _, _, signatures = trained
    request = trained[0].example_requests()["prefill"][1]
    pieces, _ = stream(signatures, request, 2)
    assert [b"".join(row) for row in pieces] == run(signatures["chat"], request)["text"].tolist()


def resumed(signatures, outputs, conversations, **changes):
    """The outputs of `resume`, for what is said next, after outputs of `prefill`, `decode` or `resume`."""
    return ask(signatures["resume"], conversations, state_of(outputs), **changes)


def said(signatures, first):
    """All of an answer that `prefill` or `resume` began: its texts, and the last outputs."""
    pieces = [[piece] for piece in first["piece"]]
    while not first["finished"].all():
        specs = signatures["decode"].input_signature
        request = decode_request(first, 3)
        first = {
            k: v.numpy()
            for k, v in signatures["decode"](*(tf.constant(request[s.name], s.dtype) for s in specs)).items()
        }
        for row, piece in zip(pieces, first["piece"], strict=True):
            row.append(piece)
    return [b"".join(row).decode() for row in pieces], first


@pytest.mark.parametrize("limits", [[12, 12, 12], [12, 1, 0]])
def test_a_second_turn_reads_only_what_is_new(trained, limits):
    """As if the whole conversation were read: rows that end at different times, by an end token and by a limit."""
    _, _, signatures = trained
    names = ["Ann", "李", "Bo"]
    turns = [[("user", name)] for name in names]
    answers, state = said(signatures, ask(signatures["prefill"], turns, max_new_tokens=limits))
    assert answers[0] == "ok" and (limits[1] == 12 or answers[1:] == ["o", ""])
    for question in ("?", "and then?"):
        again = [[("user", question)] for _ in names]
        first = resumed(signatures, state, again)
        assert first["fits"].all()
        told, state = said(signatures, first)
        turns = [
            [*turn, ("assistant", answer), ("user", question)]
            for turn, answer in zip(turns, answers, strict=True)
        ]
        whole = ask(signatures["chat"], turns)
        assert told == [text.decode() for text in whole["text"]]
        np.testing.assert_allclose(state["log_probability"], whole["log_probability"], rtol=1e-4, atol=1e-4)
        assert state["num_tokens"].tolist() == whole["num_tokens"].tolist()
        answers = told
    if limits == [12, 12, 12]:
        assert [turn[0][1] for turn in turns] == names


def test_what_does_not_fit_behind_the_state_says_so(trained):
    _, _, signatures = trained
    _, state = said(signatures, ask(signatures["prefill"], [[("user", "Ann")], [("user", "Bo")]]))
    first = resumed(signatures, state, [[("user", "x" * 60)], [("user", "?")]])
    assert first["fits"].tolist() == [False, True]
    assert first["finished"][0] and first["piece"][0] == b""


def test_after_a_stop_text_all_is_read_again(trained):
    """The model has read "k"; the answer that was given out is "o"."""
    _, _, signatures = trained
    turns = [[("user", "Ann")], [("user", "Bo")]]
    answers, state = said(signatures, ask(signatures["prefill"], turns, stop=[["k"], ["zz"]]))
    assert answers == ["o", "ok"]
    first = resumed(signatures, state, [[("user", "?")]] * 2)
    assert first["fits"].tolist() == [False, True]


def test_what_is_left_out_is_counted(trained):
    long = [("user", "a" * 20), ("assistant", "b" * 20), ("user", "c"), ("assistant", "d"), ("user", "?")]
    outputs = ask(trained[2]["chat"], [long, [("user", "?")]])
    assert outputs["num_left_out"].tolist() == [2, 0]
    assert outputs["text"][0] == ask(trained[2]["chat"], [long[2:]])["text"][0]


TURNS = [
    [("user", "Ann")],
    [("user", "李"), ("assistant", "ok"), ("user", "?")],
    [("system", "请简短"), ("user", "Bo"), ("assistant", "ok"), ("user", "?")],
    [("user", "a" * 20), ("assistant", "b" * 20), ("user", "王"), ("assistant", "ok"), ("user", "?")],
]


def alternatives(signatures, conversations, written, count=3):
    """The outputs of `chat_alternatives` for an answer of `chat`."""
    changes = {"token_ids": written["token_ids"].tolist(), "num_alternatives": count}
    return ask(signatures["chat_alternatives"], conversations, **changes)


def test_probabilities_of_an_answer_are_what_chat_says(trained):
    _, _, signatures = trained
    for conversations in (*([each] for each in TURNS), TURNS):
        written = ask(signatures["chat"], conversations)
        found = alternatives(signatures, conversations, written)
        sums = found["log_probabilities"].sum(axis=1)
        np.testing.assert_allclose(sums, written["log_probability"], rtol=1e-4, atol=1e-4)
        for text, tokens in zip(written["text"], found["tokens"], strict=True):
            assert not text.isascii() or b"".join(tokens) == text  # a byte of a character is U+FFFD
        assert found["truncated"].tolist() == written["truncated"].tolist()
        is_end = written["finish_reason"] == b"stop"
        assert found["num_tokens"].tolist() == (written["num_tokens"] + is_end).tolist()
    assert written["truncated"].tolist() == [False, False, False, True]


def test_what_was_said_before_decides_the_probabilities(trained):
    """Each name is likely after it was said; after the question alone they share what there is."""
    _, _, signatures = trained
    conversations = [conversation(name)[:3] for name in NAMES]
    written = ask(signatures["chat"], conversations)
    found = alternatives(signatures, conversations, written)
    assert np.exp(found["log_probabilities"].sum(axis=1)).min() > 0.7
    alone = alternatives(signatures, [[("user", "?")]] * len(NAMES), written)
    assert np.exp(alone["log_probabilities"].sum(axis=1)).sum() < 1.001


@pytest.mark.parametrize("texts", [["Ann"], ["王", "Bo", "", "x" * 200]])
def test_alternatives_of_one_message_are_those_of_its_text(trained, texts):
    _, _, signatures = trained
    conversations = [[("user", text)] for text in texts]
    written = ask(signatures["chat"], conversations)
    found = alternatives(signatures, conversations, written)
    counts = [tf.fill([len(texts)], value) for value in (12, 3)]
    expected = signatures["alternatives"](tf.constant(texts), tf.constant(written["token_ids"]), *counts)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if values.dtype == tf.float32:
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)
        elif name == "alternatives":  # of those that are nearly equal either may be first
            assert (found[name][:, :, 0] == values[:, :, 0].numpy()).all()
        else:
            assert (found[name] == values.numpy()).all()


def test_the_score_is_what_generation_says(trained):
    _, _, signatures = trained
    found = ask(signatures["chat"], [[("user", "Ann")]])
    score = signatures["score"](tf.constant(["Ann"]), tf.constant([found["text"][0]]))
    assert float(score["log_probability"][0]) == pytest.approx(float(found["log_probability"][0]), abs=1e-3)
    assert int(score["num_tokens"][0]) == int(found["num_tokens"][0]) + 1  # and the end


def test_pairs_are_conversations_of_two(tokenizer):
    task = make_task(tokenizer)
    pair = task.encode({"source": tf.constant(["ab"]), "target": tf.constant(["好"])})
    messages = task.encode({"messages": tf.constant([as_example([("user", "ab"), ("assistant", "好")])])})
    for name in pair:
        assert tf.reduce_all(tf.equal(pair[name], messages[name])), name
    ids = pair["token_ids"].to_list()[0]
    special, end = tokenizer.special_tokens, tokenizer.end_id
    assert [ids[0], ids[1], ids[4], ids[5], ids[-1]] == [
        tokenizer.start_id,
        special["user"],
        end,
        special["assistant"],
        end,
    ]
    assert sum(pair["learnt"].to_list()[0]) == len("好".encode()) + 1


def test_history_is_put_before_rows(tokenizer, tmp_path):
    """Each row of a batch ends as it did alone, and what stands before it are whole conversations of the batch."""
    task = make_task(tokenizer, max_length=30, max_history=2)
    texts = ["a", "bb", "ccc", "dddd", "你"]
    examples = [{"source": text, "target": text.upper()} for text in texts]
    store = build_store(examples, task.encode, str(tmp_path), "x")
    alone = {
        tuple(row[1:]): learnt[1:]
        for row, learnt in zip(*(_rows(store, name) for name in ("token_ids", "learnt")))
    }
    counts = set()
    for batch in task.batches(store, 5, 0, training=True).dataset().take(20):
        assert batch["token_ids"].shape[1] % 16 == 0
        for row, learnt in zip(batch["token_ids"].numpy(), batch["learnt"].numpy(), strict=True):
            length = np.count_nonzero(row)
            assert row[0] == tokenizer.start_id and length <= 31 and not row[length:].any()
            rest, flags, count = row[1:length].tolist(), learnt[1:length].tolist(), 0
            while rest:
                body = next(each for each in alone if tuple(rest[: len(each)]) == each)
                assert flags[: len(body)] == alone[body]
                rest, flags, count = rest[len(body) :], flags[len(body) :], count + 1
            counts.add(count)
    assert counts == {1, 2, 3}
    [batch] = task.batches(store, 5, 0, training=False).dataset()
    assert {tuple(row[1 : np.count_nonzero(row)].tolist()) for row in batch["token_ids"].numpy()} == set(
        alone
    )


def _rows(store, name):
    values, offsets = store.values(name), store.offsets(name)
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def test_a_tokenizer_without_roles_is_refused():
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte", special_tokens=("separator", "user")), [])
    with pytest.raises(
        UserError, match=r"it lacks system, assistant\. Train one with tokenizer\.special_tokens=system,"
    ):
        make_task(tokenizer)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"measure": "x"}, "measure is one of bleu, rouge; got 'x'"),
        ({"max_history": -1}, "0 or more; got -1"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ChatConfig(**settings)


def test_a_short_context_is_refused(tokenizer):
    with pytest.raises(UserError, match="max_length of 16 or more; got 8"):
        make_task(tokenizer, max_length=8)
