"""The signatures that write: samples, choices, alternatives, scores token by token, stop texts in pieces, what was
cut."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.signatures.test_streaming import PROMPTS, check_pieces, request_of, run, stream
from tflm.generation import DecodingConfig, settings_lists
from tflm.tasks.signatures.generate import compiled_signature
from tflm.tasks.signatures.writer import Writer
from tflm.tasks.task import TEXT


@pytest.fixture(scope="module", params=["byte", "sentencepiece"])
def served(request, language_modeling, tokenizers, make_model):
    """(task, model, signatures), traced once."""
    task = language_modeling(tokenizers[request.param])
    model = make_model(task.tokenizer.vocab_size, task.max_length)
    return task, model, task.signatures(model)


def test_pieces_joined_are_the_text(served, request_settings):
    check_pieces(served[2], request_of(request_settings))


def test_choices_have_their_exact_probabilities(served, score_slowly):
    task, model, signatures = served
    texts, choices = (
        ["Hello", "你好，", ""],
        [["no", "不好", "a longer one"], ["好", "", "x"], ["y", "n", ""]],
    )
    outputs = run(signatures["choose"], {"text": texts, "choices": choices})
    prompts = task.prompts(tf.constant(texts), tf.fill([3], 16)).rows.to_list()
    for row, each in enumerate(choices):
        for place, choice in enumerate(each):
            found = outputs["log_probabilities"][row, place]
            if not choice:
                assert found == -np.inf and outputs["probabilities"][row, place] == 0.0
                continue
            ids = [*task.tokenizer.tokenize(tf.constant([choice])).to_list()[0], task.tokenizer.end_id]
            expected = score_slowly(model, [*prompts[row], *ids], len(prompts[row]))
            assert found == pytest.approx(expected, rel=1e-3)
        shares = np.exp(outputs["log_probabilities"][row])
        np.testing.assert_allclose(outputs["probabilities"][row], shares / shares.sum(), rtol=1e-4)
        assert outputs["choice"][row].decode() == each[int(np.argmax(shares))]


def test_a_text_is_one_of_its_choices_to_its_end(served, request_settings):
    choices = [["yes", "yes, but", "不"], ["好", "好的", ""], ["one", "", ""], ["", "", ""]]
    request = request_of(request_settings, choices=choices, max_new_tokens=[20] * 4)
    outputs = run(served[2]["generate"], request)
    free = run(served[2]["generate"], request_of(request_settings, max_new_tokens=[20] * 4))
    for row, each in enumerate(choices[:3]):
        assert outputs["text"][row].decode() in set(each) - {""}
        assert outputs["finish_reason"][row] == b"stop"
    assert outputs["text"][3] == free["text"][3]
    pieces, _ = stream(served[2], request, 2)
    assert [b"".join(row) for row in pieces] == outputs["text"].tolist()


def test_choices_are_drawn_as_often_as_they_are_likely(served):
    """Over 3,000 seeds; a false alarm once in a million sets of seeds. The trie renews the shares token by token, so
    what is compared with are its own products, over every choice."""
    task, model, signatures = served
    choices, count = ["a", "ab", "b"], 3000
    request = {
        "text": ["Hello"] * count,
        **settings_lists(DecodingConfig(choices=tuple(choices)), count),
        "seed": range(count),
    }
    texts = [text.decode() for text in run(signatures["generate"], request)["text"]]
    prompt = task.prompts(tf.constant(["Hello"]), tf.constant([16])).rows.to_list()[0]
    rows = task.choice_ids(tf.constant([choices])).numpy()[0]
    expected = np.ones(len(choices))
    for place, row in enumerate(rows):
        for depth, token in enumerate(row[row >= 0]):
            logits = model(np.array([[*prompt, *row[:depth]]], np.int32))[0, -1].numpy().astype(np.float64)
            same = [other for other in rows if (other[:depth] == row[:depth]).all()]
            allowed = {int(other[depth]) for other in same if other[depth] >= 0}
            total = sum(np.exp(logits[each]) for each in allowed)
            expected[place] *= np.exp(logits[token]) / total
    assert expected.sum() == pytest.approx(1.0)
    found = np.array([texts.count(choice) for choice in choices])
    assert found.sum() == count
    statistic = ((found - count * expected) ** 2 / (count * expected)).sum()
    assert float(tf.math.igammac(1.0, statistic / 2)) > 1e-6


def test_alternatives_are_those_of_a_forward_pass(served, request_settings):
    task, model, signatures = served
    request = request_of(request_settings)
    texts = run(signatures["generate"], request)
    asked = {name: request[name] for name in ("text", "max_new_tokens")}
    asked |= {"token_ids": texts["token_ids"], "num_alternatives": [4] * 4}
    outputs = run(signatures["alternatives"], asked)
    prompts = task.prompts(tf.constant(PROMPTS), tf.constant(request["max_new_tokens"])).rows.to_list()
    assert outputs["alternatives"].shape[2] == 4
    ended = texts["finish_reason"] == b"stop"
    assert outputs["num_tokens"].tolist() == (texts["num_tokens"] + ended).tolist()
    for row, prompt in enumerate(prompts):
        count = outputs["num_tokens"][row]
        ids = texts["token_ids"][row, :count]
        assert (ids[-1:] == task.tokenizer.end_id).any() == ended[row]
        total = outputs["log_probabilities"][row].sum()
        assert total == pytest.approx(texts["log_probability"][row], abs=1e-3)
        assert not outputs["log_probabilities"][row, count:].any()
        if not count:
            continue
        logits = (
            model(np.array([[*prompt, *ids[:-1]]], np.int32))[0, len(prompt) - 1 :].numpy().astype(np.float64)
        )
        shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        shares[:, [task.tokenizer.pad_id, *task.suppressed_ids()]] = -np.inf
        shares = np.sort(shares, axis=-1)[:, ::-1][:, :4]
        np.testing.assert_allclose(outputs["alternative_log_probabilities"][row, :count], shares, atol=1e-3)
        if (
            request["temperature"][row] == 0.0
        ):  # the likeliest was taken, unless it is one that is never written
            assert outputs["tokens"][row, 0] in outputs["alternatives"][row, 0]


def test_alternatives_of_ids_that_there_are_not_are_no_failure(served):
    asked = {"text": ["a", "b"], "token_ids": [[10**6, 7], [-1, -1]], "max_new_tokens": [4, 4]}
    outputs = run(served[2]["alternatives"], {**asked, "num_alternatives": [10**6, 0]})
    assert outputs["num_tokens"].tolist() == [2, 0]
    assert not outputs["log_probabilities"][1].any()


def test_scores_come_token_by_token(served):
    _, model, signatures = served
    outputs = run(signatures["score"], {"text": ["Hello 你好", "", "abc"]})
    np.testing.assert_allclose(
        outputs["token_log_probabilities"].sum(1), outputs["log_probability"], rtol=1e-5
    )
    assert ((outputs["token_log_probabilities"] != 0).sum(1) == outputs["num_tokens"]).all()
    row = [1, *outputs["token_ids"][0][: outputs["num_tokens"][0]]]
    logits = tf.nn.log_softmax(model(np.array([row[:-1]], np.int32))[0]).numpy()
    expected = [logits[place, token] for place, token in enumerate(row[1:])]
    np.testing.assert_allclose(outputs["token_log_probabilities"][0, : len(expected)], expected, atol=1e-4)


def test_stop_texts_end_a_text_and_its_pieces_alike(served, request_settings):
    """Whatever the model writes, some of its own later characters are taken as stop texts."""
    signatures = served[2]
    free = run(signatures["generate"], request_of(request_settings))
    texts = [text.decode() for text in free["text"]]
    stops = [[text[len(text) // 2 : len(text) // 2 + 2] or "zz", "never so"] for text in texts]
    request = request_of(request_settings, stop=stops)
    outputs = run(signatures["generate"], request)
    for text, stop, found, count in zip(texts, stops, outputs["text"], outputs["num_tokens"], strict=True):
        assert found.decode() == (text[: text.index(stop[0])] if stop[0] in text else text)
        assert count <= free["num_tokens"].max()
    assert (outputs["num_tokens"] < free["num_tokens"]).sum() >= 2
    for step in (1, 3):
        pieces, last = stream(signatures, request, step)
        assert [b"".join(row) for row in pieces] == outputs["text"].tolist()
        for name in ("num_tokens", "log_probability", "finish_reason"):
            np.testing.assert_array_equal(last[name], outputs[name])


def test_what_was_cut_and_why_it_ended_is_told(served, request_settings):
    task, _, signatures = served
    texts = ["x", "长" * 200, "word " * 60]
    settings = request_settings(3, max_new_tokens=[4, 4, 0], min_new_tokens=[4, 4, 0])
    outputs = signatures["generate"](tf.constant(texts), *settings.values())
    assert outputs["truncated"].numpy().tolist() == [False, True, True]
    assert outputs["finish_reason"].numpy().tolist() == [b"length"] * 3
    lengths = task.tokenizer.tokenize(tf.constant(texts)).row_lengths().numpy()
    assert (lengths > task.max_length).tolist() == [False, True, True]


def test_a_text_that_slides_goes_on_beyond_the_context(served, request_settings):
    task, _, signatures = served
    wanted = 3 * task.max_length
    settings = request_settings(
        2, seed=[1, 2], min_new_tokens=wanted, max_new_tokens=wanted, slide=[True, False]
    )
    outputs = signatures["generate"](tf.constant(["Hello", "Hello"]), *settings.values())
    assert outputs["num_tokens"].numpy()[0] == wanted and outputs["num_tokens"].numpy()[1] < task.max_length
    request = {"text": ["Hello"] * 2, **{name: value.numpy() for name, value in settings.items()}}
    pieces, _ = stream(signatures, request, 7)
    assert [b"".join(row) for row in pieces] == outputs["text"].numpy().tolist()


@pytest.mark.parametrize("served", ["byte"], indirect=True)
def test_compiled_by_xla_the_texts_are_the_same(served, request_settings):
    """Three rows are compiled as four, prompts as sixteen tokens; stop texts and choices are outside of what is
    compiled."""
    task, model, signatures = served
    request = request_of(request_settings, PROMPTS[:3], stop=[["o", "e"], ["", ""], ["\ufffd", "x"]])
    request["choices"] = [["", ""], ["好", "不好"], ["", ""]]
    plain = run(signatures["generate"], request)
    compiled = run(compiled_signature(Writer(task, model, compiled=True), [TEXT]), request)
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        if value.dtype == np.float32:
            np.testing.assert_allclose(compiled[name], value, atol=1e-3)
        else:
            np.testing.assert_array_equal(compiled[name], value, err_msg=name)
