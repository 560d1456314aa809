"""What the tasks share: metrics, the four signatures, and that nothing a user sends makes them fail."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation import DecodingConfig

ODD_TEXTS = [
    "",
    " ",
    "\n",
    "　",
    "\t \n",
    "\u200b",
    "\x00",
    "\ufffd",
    b"\xff\xfe",
    "é",
    "😀",
    "a" * 300,
    "中" * 300,
]


@pytest.fixture(scope="module", params=["marked", "continuous", "pairs"])
def make_task(request, language_modeling, pairs):
    """make_task(tokenizer, **decoding) for each of the three uses."""
    if request.param == "pairs":
        return pairs
    return lambda tokenizer, **options: language_modeling(
        tokenizer, mark_documents=request.param == "marked", **options
    )


def test_metrics(language_modeling, tokenizers):
    task = language_modeling(tokenizers["byte"])
    metrics = task.metrics({"loss": 20.0, "weight": 10.0})
    assert metrics == {"loss": 2.0, "perplexity": pytest.approx(math.exp(2.0)), "num_tokens": 10.0}
    nothing = task.metrics({"loss": 0.0, "weight": 0.0})
    assert math.isnan(nothing["loss"]) and math.isnan(nothing["perplexity"]) and nothing["num_tokens"] == 0.0
    assert math.isfinite(task.metrics({"loss": 1e6, "weight": 1.0})["perplexity"])


def test_loss_is_a_sum_over_the_weights(make_task, tokenizers, make_model):
    """Two batches of one row add up to the batch of both, whatever counts in each."""
    task, model = make_task(tokenizers["byte"]), make_model(261)
    rng = np.random.default_rng(0)
    batch = {
        "token_ids": tf.constant(rng.integers(5, 261, [2, 6]), tf.int32),
        "targets": tf.constant(rng.integers(5, 261, [2, 6]), tf.int32),
        "loss_weights": tf.constant([[0, 0, 0, 0, 1, 0], [1, 1, 1, 1, 1, 0]], tf.float32),
    }
    total, weight = task.loss(model, batch, training=False)
    rows = [task.loss(model, {k: v[i : i + 1] for k, v in batch.items()}, training=False) for i in range(2)]
    assert float(total) == pytest.approx(sum(float(row[0]) for row in rows), rel=1e-5)
    assert float(weight) == 6.0 and [float(row[1]) for row in rows] == [1.0, 5.0]


@pytest.fixture(scope="module")
def served(make_task, tokenizers, make_model):
    """signatures of a task with a tokenizer, traced once: served("byte") -> (task, model, signatures)."""
    made = {}

    def serve(name):
        if name not in made:
            tokenizer = tokenizers[name]
            task = make_task(tokenizer, max_new_tokens=5, temperature=0.0)
            model = make_model(tokenizer.vocab_size, task.max_length)
            made[name] = task, model, task.signatures(model)
        return made[name]

    return serve


def test_signatures_are_those_of_the_contract(served):
    task, _, signatures = served("byte")
    texts = ["serving_default", "generate", "beam", "choose", "alternatives", "score", "tokenize"]
    assert set(texts) | {"prefill", "decode"} <= set(signatures)
    specs = {name: fn.input_signature for name, fn in signatures.items()}
    names = {name: [spec.name for spec in each] for name, each in specs.items()}
    settings = list(vars(DecodingConfig()))
    assert names["serving_default"] == names["tokenize"] == ["text"]
    assert names["generate"] == names["prefill"] == ["text", *settings]
    assert names["alternatives"] == ["text", "token_ids", "max_new_tokens", "num_alternatives"]
    assert names["choose"] == ["text", "choices"]
    assert names["score"] == (["text", "target"] if task.compact_loss else ["text"])
    assert names["decode"][0] == "num_tokens"
    lists = {"stop", "choices", "banned_ids", "forced_ids", "token_ids"}
    for name in texts:
        assert all(spec.shape.rank == (2 if spec.name in lists else 1) for spec in specs[name])


@pytest.mark.parametrize("name", ["byte", "sentencepiece", "wordpiece", "character"])
def test_every_prompt_has_a_token_and_fits(make_task, tokenizers, name):
    task = make_task(tokenizers[name])
    for max_new_tokens in (0, 5, 1000):
        lengths = task.prompts(
            tf.constant(ODD_TEXTS), tf.fill([len(ODD_TEXTS)], max_new_tokens)
        ).rows.row_lengths()
        assert min(lengths.numpy()) >= 1 and max(lengths.numpy()) <= task.max_length


def test_no_text_makes_generation_or_scoring_fail(served, request_settings):
    task, _, signatures = served("byte")
    text = tf.constant(ODD_TEXTS)
    settings = request_settings(len(ODD_TEXTS), max_new_tokens=5)
    answer = signatures["generate"](text, *settings.values())["text"]
    assert answer.shape == text.shape and answer.dtype == tf.string
    for value in answer.numpy():
        value.decode("utf-8")
    inputs = (text, text[::-1]) if task.compact_loss else (text,)
    score = signatures["score"](*inputs)
    assert np.isfinite(score["log_probability"]).all()
    assert (score["log_probability"].numpy() <= 0).all()
    assert score["num_tokens"].dtype == tf.int32 and score["num_tokens"].shape == text.shape


@pytest.mark.parametrize("max_new_tokens", [0, 1, 40, 10**6, -3])
def test_the_context_limit_is_kept(served, request_settings, max_new_tokens):
    """Whatever is asked for, prompt and answer together stay within max_length, and long prompts get an answer."""
    task, _, signatures = served("byte")
    text = tf.constant(["", "short", "x" * 31, "y" * 500, "中文" * 90])
    settings = request_settings(5, seed=range(5), min_new_tokens=3, max_new_tokens=max_new_tokens)
    answer = signatures["generate"](text, *settings.values())
    prompts = task.prompts(text, settings["max_new_tokens"]).rows
    num_tokens = answer["num_tokens"].numpy()
    assert (num_tokens + prompts.row_lengths().numpy() <= task.max_length).all() or max_new_tokens < 0
    assert (num_tokens <= max(max_new_tokens, 0)).all()
    if max_new_tokens > 0:
        assert (num_tokens >= min(3, max_new_tokens)).all()


def test_score_is_a_sum_of_log_softmax(served, score_slowly):
    task, model, signatures = served("byte")
    text, target = ["hello", "你好", "", "z" * 100], ["a", "好的！", "", "w" * 50]
    inputs = {"text": tf.constant(text)}
    if task.compact_loss:
        inputs["target"] = tf.constant(target)
    (rows, _), num_given = task.score_rows(inputs)
    rows = [row[: task.max_length + 1] for row in rows.to_list()]
    score = signatures["score"](*inputs.values())
    for index, (row, given) in enumerate(zip(rows, num_given.numpy(), strict=True)):
        assert int(score["num_tokens"][index]) == max(len(row) - given, 0)
        expected = score_slowly(model, row, given) if len(row) > given else 0.0
        assert float(score["log_probability"][index]) == pytest.approx(expected, abs=1e-3)


def test_an_lstm_scores_alike(tokenizers, language_modeling, make_model, score_slowly):
    task, model = language_modeling(tokenizers["byte"]), make_model(261, 32, "lstm")
    text = tf.constant(["hello", "你好", ""])
    scores = task.signatures(model)["score"](text)["log_probability"].numpy()
    rows = task.encode({"text": text})["token_ids"].to_list()
    np.testing.assert_allclose(scores, [score_slowly(model, row, 1) for row in rows], atol=1e-3)


def test_a_score_does_not_depend_on_the_other_rows(served):
    task, _, signatures = served("byte")
    text = tf.constant(["hi", "你好，世界！", ""])
    inputs = (text, text[::-1]) if task.compact_loss else (text,)
    together = signatures["score"](*inputs)["log_probability"]
    for row in range(3):
        alone = signatures["score"](*(part[row : row + 1] for part in inputs))["log_probability"]
        assert float(alone[0]) == pytest.approx(float(together[row]), abs=1e-3)


def test_tokenize_pads_at_the_end(served):
    task, _, signatures = served("sentencepiece")
    text = ["Hello, world!", "你好", ""]
    answer = signatures["tokenize"](tf.constant(text))
    rows = task.tokenizer.tokenize(tf.constant(text)).to_list()
    assert answer["lengths"].numpy().tolist() == [len(row) for row in rows]
    for ids, row in zip(answer["token_ids"].numpy().tolist(), rows, strict=True):
        assert ids == row + [task.tokenizer.pad_id] * (len(ids) - len(row))
