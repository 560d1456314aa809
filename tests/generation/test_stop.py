"""Stop texts: found wherever tokens part them, at the very token that completes them; never half given out."""

import random

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation import DecodingConfig, cut_at_stop, generate, hold_back, settings_tensors

CASES = [
    (["abc", "ab\nc", "no"], ["\n", "c"], ["ab", "ab", "no"], ["abc", "ab\nc", "no"]),
    (["你好。再见", "你好", ""], ["。", ""], ["你好", "你好", ""], None),
    (["a.*b", "a(b", "a\\b", "a-b"], [".*", "(", "\\", "-"], ["a", "a", "a", "a"], None),
    (["one", "two"], ["", ""], ["one", "two"], ["one", "two"]),
    (["x<end", "x<", "x<en d", "<end<en"], ["<end>"], None, ["x", "x", "x<en d", "<end"]),
    (["说完", "说完了", "说"], ["完了啊", "了。"], None, ["说", "说", "说"]),
    (["aab", "abab"], ["abac"], None, ["a", "ab"]),
]


def graph_of(function):
    specs = [tf.TensorSpec([None, None], tf.string)] * 2
    return tf.function(function, input_signature=specs, autograph=False)


def of_rows(function, texts, stops):
    return [
        text.decode() for text in graph_of(function)(tf.constant([texts]), tf.constant([stops])).numpy()[0]
    ]


@pytest.mark.parametrize(("texts", "stops", "cut", "given"), CASES, ids=range(len(CASES)))
def test_texts_are_cut_and_held_back(texts, stops, cut, given):
    if cut is not None:
        assert of_rows(cut_at_stop, texts, stops) == cut
    if given is not None:
        assert of_rows(hold_back, texts, stops) == [
            text if text in given else want for text, want in zip(texts, given, strict=True)
        ]


def test_rows_have_stops_of_their_own():
    texts, stops = tf.constant([["a b"], ["a b"], ["a b"]]), tf.constant([["b", ""], ["a", " "], ["", ""]])
    assert graph_of(cut_at_stop)(texts, stops).numpy().tolist() == [[b"a "], [b""], [b"a b"]]


def test_against_plain_python():
    random.seed(4)
    texts = ["".join(random.choices("ab.你\n", k=random.randrange(9))) for _ in range(300)]
    stops = [["".join(random.choices("ab.你\n", k=random.randrange(4))) for _ in range(3)] for _ in texts]

    def cut(text, stops):
        return text[: min((text.index(s) for s in stops if s and s in text), default=len(text))]

    def held(text, stops):
        sizes = [n for s in stops for n in range(1, len(s)) if text.endswith(s[:n])]
        return text[: len(text) - max(sizes, default=0)]

    rows = tf.constant([[text] for text in texts]), tf.constant(stops)
    assert [row[0].decode() for row in graph_of(cut_at_stop)(*rows).numpy()] == list(map(cut, texts, stops))
    assert [row[0].decode() for row in graph_of(hold_back)(*rows).numpy()] == list(map(held, texts, stops))


LETTERS = [""] * 3 + list("abcdefghijklmn")


def spell(token_ids, finished):
    """Token 3 is a, 4 is b, ...; the newest letter is not settled before the text has finished."""
    texts = tf.strings.reduce_join(tf.gather(LETTERS, token_ids), axis=1)
    return tf.where(finished, texts, tf.strings.regex_replace(texts, ".$", ""))


@pytest.mark.parametrize("segment_length", [2, 64])
def test_a_row_ends_at_the_token_that_completes_a_stop_text(toy, segment_length):
    """From a on the model counts b, c, d, e, f, g, then the end. What comes after a stop text is not in the sums."""
    stops = [["de", "x"], ["g", ""], ["zz", ""], ["b", "c"], ["", ""]]
    settings = settings_tensors(DecodingConfig(temperature=0), 5) | {"stop": tf.constant(stops)}
    prompts = tf.ragged.constant([[1, 3]] * 5, tf.int32)
    model = toy.CountingModel()
    run = tf.function(generate, autograph=False) if segment_length == 2 else generate
    result = run(model, prompts, settings, end_id=2, pad_id=0, text_fn=spell, segment_length=segment_length)
    # One token more than the stop text has: only then is its last letter settled. The last row ends by itself.
    assert result.num_tokens.numpy().tolist() == [5, 6, 6, 2, 6]
    assert result.token_ids.numpy().tolist()[0] == [4, 5, 6, 7, 8, 0]
    assert result.is_complete.numpy().all()
    each = 8 - np.log(np.exp(8) + toy.VOCAB_SIZE - 1)
    np.testing.assert_allclose(result.log_probability, each * np.array([5, 7, 7, 2, 7]), rtol=1e-4)
