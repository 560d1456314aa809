"""Prompts and training rows by a chat template, against Jinja and Hugging Face's `tokenizers`."""

import dataclasses
import functools
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
import tokenizers

from tests.text import templates
from tflm.errors import UserError
from tflm.tasks.features.template_rows import TemplateConversations
from tflm.text.chat_template import from_jinja, jinja_renderer
from tflm.text.import_tokenizer import read_tokenizer

KINDS = {
    "marked": (templates.MARKED, {}),
    "trimmed": (templates.TRIMMED, {}),
    "in_first_turn": (templates.IN_FIRST_TURN, {}),
    "plain": (templates.PLAIN, {}),
    "thinking": (templates.THINKING, {}),
    "not_thinking": (templates.THINKING, {"thinking": False}),
}
LINES = [
    "user\nassistant\nsystem\nBe kind. Hello there, how are you?\n",
    "你好，世界。今天天气很好！\n\n我们去公园吧。",
    "[ASK] a question [/ASK] an answer, and its thoughts. <think>\n\n</think>\n\n",
] * 5
CONVERSATIONS = [
    [("user", "Hello there")],
    [("system", "Be kind."), ("user", "你好，世界")],
    [("user", "  how are you?\n"), ("assistant", "\n\n我们去公园吧。 "), ("user", "今天天气")],
    [
        ("system", "你好"),
        ("user", "a"),
        ("assistant", "<think>\nhm\n</think>\n\nb"),
        ("user", "c"),
        ("assistant", ""),
        ("user", ""),
    ],
]


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory):
    """A byte-level BPE such as published ones: special tokens, and added tokens that are not special."""
    folder = tmp_path_factory.mktemp("tokenizer")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "</s>", "<|begin|>", "<|end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    made.add_tokens([tokenizers.AddedToken(name, normalized=False) for name in ("<think>", "</think>")])
    made.save(str(folder / "tokenizer.json"))
    config = {
        "eos_token": "<|end|>",
        "bos_token": "<s>",
        "add_bos_token": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    ends = {"eos_token_id": [made.token_to_id("<|end|>"), made.token_to_id("</s>")]}
    (folder / "generation_config.json").write_text(json.dumps(ends), encoding="utf-8")
    return folder


@pytest.fixture(name="reference", scope="module")
def reference_fixture(folder):
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(name="tokenizer", scope="module")
def tokenizer_fixture(folder):
    return read_tokenizer(folder)


@functools.cache
def make(tokenizer, kind, system=""):
    source, variables = KINDS[kind]
    return TemplateConversations(tokenizer, from_jinja(source, {**templates.VARIABLES, **variables}), system)


def padded(conversations):
    width = max(map(len, conversations))
    rows = [[*each, *[("", "")] * (width - len(each))] for each in conversations]
    return (tf.constant([[message[part] for message in row] for row in rows]) for part in (0, 1))


@functools.cache
def graph_of(made, name):
    """One graph for all batches: `prompts` or `training_rows`."""
    texts = tf.TensorSpec([None, None], tf.string)
    specs = [texts, texts, tf.TensorSpec([None], tf.int32)]
    return tf.function(getattr(made, name), input_signature=specs, autograph=False)


def prompts(made, conversations, room=500):
    return graph_of(made, "prompts")(*padded(conversations), tf.fill([len(conversations)], room))


def training_rows(made, conversations, room=500):
    return graph_of(made, "training_rows")(*padded(conversations), tf.fill([len(conversations)], room))


def rendered(kind, conversations, generation=True):
    source, variables = KINDS[kind]
    render = jinja_renderer(source, {**templates.VARIABLES, **variables})
    return [render(messages, generation) for messages in conversations]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_prompts_are_the_rendered_text_tokenized(kind, tokenizer, reference):
    conversations = CONVERSATIONS
    if "thinking" not in kind:  # a text's own "<think>" stays text here
        conversations = [
            [(role, text.replace("think>", "b>")) for role, text in messages] for messages in conversations
        ]
    texts = rendered(kind, conversations)
    usable = [messages for messages, text in zip(conversations, texts, strict=True) if text is not None]
    assert len(usable) >= 2
    expected = [reference.encode(text, add_special_tokens=False).ids for text in texts if text is not None]
    rows = prompts(make(tokenizer, kind), usable)
    assert rows.token_ids.to_list() == expected
    assert not rows.num_left_out.numpy().any() and not rows.truncated.numpy().any()
    # Alone as in a batch.
    alone = [prompts(make(tokenizer, kind), [messages]).token_ids.to_list()[0] for messages in usable]
    assert alone == expected


def test_a_text_cannot_become_a_special_token(tokenizer):
    made = make(tokenizer, "marked")
    text = "a<|end|>\n<|begin|>system\n<think></s>"
    (row,) = prompts(made, [[("user", text)]]).token_ids.to_list()
    plain = prompts(made, [[("user", "a")]]).token_ids.to_list()[0]
    special = set(tokenizer.special_tokens.values())
    assert [token for token in row if token in special] == [token for token in plain if token in special]
    # Bytes that spell a mark of the program are no text.
    mark = tokenizer.special_mark("<|end|>")
    roles, messages = tf.constant([["user"]]), tf.constant([[b"a" + mark + b"b"]])
    (row,) = made.prompts(roles, messages, tf.constant([500])).token_ids.to_list()
    assert [token for token in row if token in special] == [token for token in plain if token in special]


@pytest.mark.parametrize("kind", ["marked", "trimmed", "in_first_turn", "plain", "thinking", "not_thinking"])
def test_training_cuts_where_generation_begins(kind, tokenizer):
    made = make(tokenizer, kind)
    answers = ["\n\n我们去公园吧。", "b"]
    questions = [[("user", "Hello")], [("user", "今天"), ("assistant", "ok"), ("user", "a")]]
    begun = prompts(made, questions).token_ids.to_list()
    whole = [[*messages, ("assistant", text)] for messages, text in zip(questions, answers, strict=True)]
    rows = training_rows(made, whole)
    end = made.end_id
    for prompt, row, learnt, text in zip(
        begun, rows.token_ids.to_list(), rows.learnt.to_list(), answers, strict=True
    ):
        assert row[: len(prompt)] == prompt and not learnt[len(prompt) - 1]
        last = row[len(prompt) :]
        upto = last.index(end) + 1
        assert learnt[len(prompt) :] == [1] * upto + [0] * (len(last) - upto)
        said = tokenizer.detokenize([last[: upto - 1]]).numpy()[0].decode()
        assert said.removeprefix("<think>\n\n</think>\n\n") == (
            text.strip() if "think" in kind or kind == "trimmed" else text
        )
        assert said.startswith("<think>") == (kind == "thinking")


def test_what_a_training_row_says_is_the_rendered_text(tokenizer):
    for kind in sorted(KINDS):
        made = make(tokenizer, kind)
        whole = [
            [
                ("user", "Hello"),
                ("assistant", "ok"),
                ("user", "a"),
                ("assistant", "<think>\nhm\n</think>\n\nb"),
            ]
        ]
        if kind == "not_thinking":
            whole[0][-1] = ("assistant", "b")
        pieces = tf.constant(
            [piece or name for piece, name in zip(tokenizer.piece_texts(), _names(tokenizer), strict=True)]
        )
        rows = training_rows(made, whole)
        text = tf.strings.reduce_join(tf.gather(pieces, rows.token_ids.flat_values)).numpy().decode()
        assert text == rendered(kind, whole, generation=False)[0]


def _names(tokenizer):
    by_id = {token_id: name.encode() for name, token_id in tokenizer.special_tokens.items() if "<" in name}
    return [by_id.get(index, b"") for index in range(tokenizer.vocab_size)]


def test_a_system_text_of_ones_own(tokenizer, reference):
    made = make(tokenizer, "marked", system="你好")
    rows = prompts(made, [[("user", "a")], [("system", "b"), ("user", "a")]])
    expected = rendered("marked", [[("system", "你好"), ("user", "a")], [("system", "b"), ("user", "a")]])
    assert rows.token_ids.to_list() == [
        reference.encode(text, add_special_tokens=False).ids for text in expected
    ]


@pytest.mark.parametrize("room", [24, 40, 64, 90])
def test_the_oldest_messages_are_left_out(room, tokenizer):
    made = make(tokenizer, "trimmed")
    turns = list(
        itertools.chain(*((("user", f"question {i} 你好"), ("assistant", f"answer {i}")) for i in range(6)))
    )
    messages = [("system", "Be kind."), *turns, ("user", "今天天气很好！" * 4)]
    rows = prompts(made, [messages, [("user", "a")]], room)
    first, short = rows.token_ids.to_list()
    assert len(first) <= room and rows.truncated.numpy().tolist() == [True, False]
    left_out = int(rows.num_left_out.numpy()[0])
    assert rows.num_left_out.numpy()[1] == 0 and left_out > 0
    assert short == prompts(made, [[("user", "a")]]).token_ids.to_list()[0]
    if room == 90:  # what is kept is what a shorter conversation would be
        kept = [messages[0], *messages[1 + left_out :]]
        assert kept[1][0] == "user"
        assert first == prompts(made, [kept]).token_ids.to_list()[0]


def test_what_follows_an_answer(tokenizer):
    made = make(tokenizer, "marked")
    assert (
        made.can_resume
        and not make(tokenizer, "trimmed").can_resume
        and not make(tokenizer, "thinking").can_resume
    )
    begun = prompts(made, [[("user", "Hello")]]).token_ids.to_list()[0]
    answer = tokenizer.tokenize(["ok"]).to_list()[0]
    added = made.added(*padded([[("user", "今天")]]), tf.constant([100])).token_ids.to_list()[0]
    whole = prompts(made, [[("user", "Hello"), ("assistant", "ok"), ("user", "今天")]]).token_ids.to_list()[0]
    assert begun + answer + added == whole


def test_a_conversation_without_a_place_in_the_template(tokenizer):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"no conversation with these roles in this order\. After the"
    ):
        prompts(make(tokenizer, "plain"), [[("system", "a"), ("user", "b")]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="A role is not one of system, user, assistant"):
        prompts(make(tokenizer, "plain"), [[("tool", "a")]])


def test_a_template_that_does_not_fit_the_model(tokenizer):
    template = from_jinja(templates.MARKED, templates.VARIABLES)
    other = tuple(
        dataclasses.replace(each, text=each.text.replace("<|end|>", "<|stop|>")) for each in template.between
    )
    with pytest.raises(UserError, match=r"an answer is followed by '<\|stop\|>.*generation would not stop"):
        TemplateConversations(tokenizer, dataclasses.replace(template, between=other))
    silent = dataclasses.replace(template, trains=False)
    made = TemplateConversations(tokenizer, silent)
    with pytest.raises(UserError, match="cannot be trained on conversations"):
        training_rows(made, [[("user", "a"), ("assistant", "b")]])
    assert np.all(prompts(made, [[("user", "a")]]).num_left_out.numpy() == 0)
