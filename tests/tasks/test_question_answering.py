"""Question answering: targets and windows beside plain Python, joined windows beside one, and learned answers."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.learn_by_heart import learn_store
from tflm.data import build_store
from tflm.errors import UserError
from tflm.models import TransformerEncoderConfig, build_model
from tflm.tasks.features.answer_spans import read_answers
from tflm.tasks.features.context_tokens import context_tokens
from tflm.tasks.question_answering import QuestionAnswering, QuestionAnsweringConfig
from tflm.text import TokenizerConfig, train_tokenizer

CORPUS = [
    "Who lives in Paris? Anna lives in Paris and Bob in Rome.",
    "谁住在北京？王小明住在北京，李雷住在上海。",
    "When? 我用 TensorFlow 训练模型 😀 cafe\u0301",
] * 3
KINDS = {
    "byte": TokenizerConfig(kind="byte", special_tokens=("separator",)),
    "sentencepiece": TokenizerConfig(vocab_size=312, special_tokens=("separator",)),
    "wordpiece": TokenizerConfig(kind="wordpiece", vocab_size=150, special_tokens=("separator",)),
}


@pytest.fixture(scope="module")
def tokenizer_of():
    """tokenizer_of(kind), each trained once."""
    made = {}

    def make(kind):
        made[kind] = made.get(kind) or train_tokenizer(KINDS[kind], CORPUS)
        return made[kind]

    return make


def example(question, context, *answers):
    found = [[context.find(answer), answer] for answer in answers]
    return {"question": question, "context": context, "answers": json.dumps(found, ensure_ascii=False)}


def columns(*examples):
    return {key: tf.constant([each[key] for each in examples]) for key in examples[0]}


def make_task(tokenizer, max_length=64, **settings):
    settings = {"dropout": 0.0, "max_question_length": 24, "max_answer_length": 24, **settings}
    return QuestionAnswering(QuestionAnsweringConfig(**settings), tokenizer, max_length)


EXAMPLES = [
    example("Who is in Paris?", "Anna is in Paris, Bob in Rome.", "Anna"),
    example("Who is in Rome?", "Anna is in Paris, Bob in Rome.", "Bob"),
    example("谁在北京？", "王小明在北京😀，李雷在上海。", "王小明"),
    example("Where e\u0301?", "王小明在北京😀, cafe\u0301 ok", "cafe\u0301"),
    example("什么时候？", "李雷在上海。"),
]


def test_encode(tokenizer_of):
    task = make_task(
        tokenizer_of("byte"), max_length=16, max_question_length=3, stride=5, max_answer_length=4
    )
    separator = task.tokenizer.special_tokens["separator"]
    found = task.encode(columns(example("Who?", "我 saw Anna.", "Anna"), example("W?", "a", *[])))
    # 13 bytes in windows of 10, 5 apart: the first ends within the answer, so "no answer" is right there.
    assert found["row_lengths"].to_list() == [[16, 14], [6]]
    assert found["prefix_lengths"].to_list() == [[5, 5], [4]]
    assert found["starts"].to_list() == [[0, 8], [0]]
    assert found["ends"].to_list() == [[0, 11], [0]]
    first, second = np.split(found["token_ids"][0].numpy(), [16])
    assert (first[0], first[4], first[15]) == (1, separator, 2)
    text = b"".join(np.array(task.tokenizer._pieces)[second[5:-1]])
    assert text == "我 saw Anna.".encode()[5:]
    # One place for the three bytes of 我, none for spaces; the first is "no answer".
    assert found["places"][0].numpy().tolist() == [
        *[1, 0, 0, 0, 0], *[1, 0, 0, 0, 1, 1, 1, 0, 1, 1], 0,
        *[1, 0, 0, 0, 0], *[1, 1, 0, 1, 1, 1, 1, 1], 0,
    ]  # fmt: skip
    assert found["num_widened"].numpy().tolist() == found["num_long"].numpy().tolist() == [0, 0]
    few = make_task(tokenizer_of("byte"), 16, max_question_length=3, stride=5, other_windows=0.0)
    assert few.encode(columns(example("Who?", "我 saw Anna.", "Anna")))["starts"].to_list() == [[8]]
    assert few.encode(columns(example("Who?", "我 saw Anna.")))["starts"].to_list() == [[0, 0]]


def test_answers_that_do_not_fit_the_tokens_are_counted(tokenizer_of, tmp_path, caplog):
    task = make_task(tokenizer_of("wordpiece"), max_answer_length=2)
    rows = [
        example("Who?", "Anna lives in Paris.", "nna"),
        example("Who?", "Anna lives in Paris.", "Anna lives in"),
        {"question": "Who?", "context": "Anna lives", "answers": '[[-1, "Bob"], [5, "lives"]]'},
    ]
    found = task.encode(columns(*rows))
    assert found["num_widened"].numpy().tolist() == [1, 0, 0]
    assert found["num_long"].numpy().tolist() == [0, 1, 0]
    prefix = found["prefix_lengths"].to_list()[0][0]
    assert [starts[0] - prefix for starts in found["starts"].to_list()] == [0, 0, 1]
    assert [ends[0] - prefix for ends in found["ends"].to_list()] == [0, 2, 1]
    store = build_store(rows, task.encode, tmp_path / "store", "a")
    task.batches(store, 2, seed=0, training=False)
    assert "answers: 1 of 3 were widened to whole tokens, 1 have more than max_answer_length=2" in caplog.text


class ByToken:
    """Logits that depend on a token alone, so that windows cannot matter; "no answer" is never likely."""

    config = types.SimpleNamespace()

    def __init__(self, tokenizer):
        self.table = np.random.default_rng(0).normal(size=(tokenizer.vocab_size, 2)).astype(np.float32)
        self.table[tokenizer.start_id] = -20.0

    def __call__(self, token_ids, training=False):
        return tf.gather(self.table, token_ids)


LONG = "Anna cafe\u0301 住在北京😀， and Bob in Rome; 李雷 lives in 上海。 When? 我用 TensorFlow."


@pytest.mark.parametrize("kind", ["byte", "sentencepiece"])
def test_windows_give_what_one_window_gives_and_plain_python(tokenizer_of, kind):
    tokenizer = tokenizer_of(kind)
    model = ByToken(tokenizer)
    settings = {"max_question_length": 4, "max_answer_length": 6, "num_answers": 3}
    contexts = [LONG, "北京", LONG[::-1], ""]
    arguments = (tf.constant(["Who?"] * 4), tf.constant(contexts), tf.fill([4], -1e3))
    large, small = (
        make_task(tokenizer, length, **settings).signatures(model)["answer"](*arguments)
        for length in (512, 23)
    )
    for name, value in large.items():
        assert value.shape == small[name].shape, name
        if value.dtype == tf.float32:
            np.testing.assert_allclose(small[name], value, rtol=1e-5)
        else:
            assert value.numpy().tolist() == small[name].numpy().tolist(), name
    context = context_tokens(tokenizer, arguments[1])
    for row, text in enumerate(contexts):
        ids, starts, ends, allowed = (each[row].numpy() for each in context)
        sums = {}
        for first in np.flatnonzero(allowed):
            for last in np.flatnonzero(allowed):
                if first <= last < first + 6:
                    span = text[starts[first] : ends[last]]
                    assert span == span.strip() and span
                    score = float(model.table[ids[first], 0] + model.table[ids[last], 1])
                    sums[span] = max(score, sums.get(span, -np.inf))
        best = sorted(sums, key=lambda span: -sums[span])[:3]
        got = [answer.decode() for answer in large["answers"][row].numpy()]
        assert got == best + [""] * (3 - len(best))
        places = zip(large["starts"][row].numpy(), large["ends"][row].numpy())
        assert [text[start:end] if start >= 0 else "" for start, end in places] == got
        shares = np.exp([-40.0, *(sums[span] for span in best)])
        shares = shares[1:] / shares.sum()
        np.testing.assert_allclose(large["scores"][row].numpy()[: len(best)], shares, rtol=1e-4)
        if best:
            assert float(large["margin"][row]) == pytest.approx(sums[best[0]] + 40, rel=1e-4)
    assert large["answer"][3] == b"" and large["start"][3] == large["end"][3] == -1
    assert float(large["score"][3]) == 1.0


def test_the_threshold_is_by_row_and_has_a_default(tokenizer_of):
    tokenizer = tokenizer_of("byte")
    model = ByToken(tokenizer)
    context = "Anna in Rome"
    signatures = make_task(tokenizer, threshold=1e6).signatures(model)
    margin = float(
        signatures["answer"](tf.constant(["a"]), tf.constant([context]), tf.constant([0.0]))["margin"][0]
    )
    found = signatures["answer"](
        tf.constant(["a"] * 2), tf.constant([context] * 2), tf.constant([margin - 0.1, margin + 0.1])
    )
    assert found["start"].numpy().tolist()[1] == -1 and found["start"].numpy()[0] >= 0
    shares = found["scores"].numpy()
    assert float(found["score"][0]) == pytest.approx(shares[0, 0])
    assert float(found["score"][1]) == pytest.approx(1 - shares[1].sum(), abs=1e-5)
    assert signatures["serving_default"](tf.constant(["a"]), tf.constant([context]))[
        "end"
    ].numpy().tolist() == [-1]


def train(task, body, folder):
    """A model that has learned EXAMPLES through store and batches; and the store."""
    store = build_store(EXAMPLES, task.encode, folder / "store", "a")
    keras.utils.set_random_seed(1)
    model = task.model_for(build_model(body))
    learn_store(task, model, store, 8)
    return model, store


@pytest.mark.parametrize("kind", ["byte", "sentencepiece"])
def test_learned_answers_come_back(tokenizer_of, tmp_path, kind):
    # Windows of bytes: contexts are cut in two or more.
    task = make_task(tokenizer_of(kind), 48 if kind == "byte" else 64, max_question_length=20)
    sizes = {"vocab_size": task.tokenizer.vocab_size, "num_layers": 1, "hidden_dim": 32, "max_length": 64}
    body = TransformerEncoderConfig(num_heads=2, num_segments=2 if kind == "byte" else 0, **sizes)
    model, store = train(task, body, tmp_path)
    signatures = task.signatures(model)
    asked = [tf.constant([each[name] for each in EXAMPLES]) for name in ("question", "context")]
    together = signatures["serving_default"](*asked)
    wanted = [next(iter(read_answers(each)), (-1, "")) for each in EXAMPLES]
    assert [text.decode() for text in together["answer"].numpy()] == [text for _, text in wanted]
    assert together["start"].numpy().tolist() == [start for start, _ in wanted]
    assert together["end"].numpy().tolist() == [start + len(text) for start, text in wanted[:-1]] + [-1]
    assert (together["score"].numpy() > 0.5).all()
    for row in range(len(EXAMPLES)):  # alone as in the batch
        alone = signatures["answer"](*(column[row : row + 1] for column in asked), tf.constant([0.0]))
        assert alone["answer"][0] == together["answer"][row]
        for name in ("score", "margin"):
            np.testing.assert_allclose(alone[name][0], together[name][row], atol=1e-4, rtol=1e-4)
    sums = {}
    for batch in task.batches(store, 3, seed=0, training=False).dataset():  # the last batch has rows too few
        for name, value in task.sums(model, batch).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    metrics = task.metrics(sums)
    assert metrics["num_examples"] == len(store.values("starts")) >= len(EXAMPLES) + 2 * (kind == "byte")
    assert metrics["accuracy"] == 1.0
    assert metrics["loss"] < 0.05


def test_the_loss_equals_numpy(tokenizer_of, tmp_path):
    task = make_task(tokenizer_of("byte"))
    model = ByToken(task.tokenizer)
    store = build_store(EXAMPLES[:1], task.encode, tmp_path / "store", "a")
    (batch,) = task.batches(store, 2, seed=0, training=False).dataset()
    loss, weight = task.loss(model, batch, training=False)
    assert float(weight) == 1.0  # the second row only fills up
    ids, places = (batch[name][0].numpy() for name in ("token_ids", "places"))
    wanted = 0.0
    for side, name in enumerate(("starts", "ends")):
        logits = model.table[ids[places > 0], side].astype(np.float64)
        wanted += np.log(np.exp(logits).sum()) - model.table[ids[int(batch[name][0])], side]
    assert float(loss) == pytest.approx(wanted / 2, rel=1e-5)


def test_mistakes(tokenizer_of):
    with pytest.raises(
        UserError, match=r"question answering needs a tokenizer with the special token 'separator'"
    ):
        make_task(train_tokenizer(TokenizerConfig(kind="byte", special_tokens=()), []))
    with pytest.raises(
        UserError, match=r"a row of 32 .* has room for 5 tokens of the context; with the stride 9"
    ):
        make_task(tokenizer_of("byte"), 32, stride=9)
    with pytest.raises(UserError, match=r"a row of 20 .* has room for 0 tokens of the context"):
        make_task(tokenizer_of("byte"), 20)
    with pytest.raises(
        UserError, match=r"question answering needs answers; an example has only question. Set data"
    ):
        read_answers({"question": "a"})
    with pytest.raises(UserError, match=r"answers are a JSON list of \[start, text\].*got 'Anna'"):
        read_answers({"answers": "Anna"})
    for settings in ({"stride": -1}, {"num_answers": 0}, {"other_windows": 1.5}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            QuestionAnsweringConfig(**settings)
