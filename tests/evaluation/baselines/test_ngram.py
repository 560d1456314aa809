"""Kneser-Ney: against a slow implementation by the paper's words, against numbers by hand, and as a distribution."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation import NgramModel
from tflm.evaluation.baselines.ngram import discounts
from tflm.text import TokenizerConfig, train_tokenizer

POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。明月几时有，把酒问青天。" * 3
ENGLISH = "the cat sat on the mat and the dog sat on the log and the cat saw the dog on the mat " * 2


class SlowKneserNey:
    """Chen and Goodman (1999), section 3, word by word: n-grams are tuples, sums are loops."""

    def __init__(self, tokens, vocab_size, order):
        self.vocab_size = vocab_size
        raw = {
            k: Counter(tuple(tokens[i : i + k]) for i in range(len(tokens) - k + 1))
            for k in range(1, order + 1)
        }
        self.counts = {order: raw[order]}
        for k in range(1, order):
            before = defaultdict(set)
            for ngram in raw[k + 1]:
                before[ngram[1:]].add(ngram[0])
            self.counts[k] = {ngram: len(tokens_before) for ngram, tokens_before in before.items()}
        self.taken = {k: self.discounts(counts.values()) for k, counts in self.counts.items()}

    @staticmethod
    def discounts(counts):
        n = Counter(counts)
        if not (n[1] and n[2]):
            return {1: 0.5, 2: 0.5, 3: 0.5}
        y = n[1] / (n[1] + 2 * n[2])
        found = {i: i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)} if n[3] and n[4] else {}
        return found if found and min(found.values()) > 0 else {1: y, 2: y, 3: y}

    def probability(self, history, token):
        k = len(history) + 1
        lower = self.probability(history[1:], token) if k > 1 else 1 / self.vocab_size
        after = {ngram[-1]: c for ngram, c in self.counts[k].items() if ngram[:-1] == history}
        total = sum(after.values())
        if not total:
            return lower
        taken = self.taken[k]
        number = {i: sum(1 for c in after.values() if (c if c < 3 else 3) == i) for i in (1, 2, 3)}
        gamma = sum(taken[i] * number[i] for i in (1, 2, 3)) / total
        count = after.get(token, 0)
        return max(count - (taken[min(count, 3)] if count else 0), 0) / total + gamma * lower


def character_ids(text):
    config = TokenizerConfig(kind="character", vocab_size=200, byte_fallback=False)
    tokenizer = train_tokenizer(config, [text])
    return tokenizer.tokenize([text]).flat_values.numpy(), tokenizer.vocab_size


def zipf_ids(size, vocab_size, seed=0):
    return (np.random.default_rng(seed).zipf(1.5, size) % vocab_size).astype(np.int32)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("text", ["zipf", "english", "chinese"])
def test_it_equals_the_slow_one(text, order):
    if text == "zipf":
        tokens, vocab_size = zipf_ids(400, 40), 40
    else:
        tokens, vocab_size = character_ids(ENGLISH if text == "english" else POEM)
    split = len(tokens) * 3 // 4
    train = tokens[:split].tolist()
    # Beside the rest of the text some tokens at random, to meet histories that are new in every order.
    held_out = [*tokens[split:][:60].tolist(), *np.random.default_rng(1).integers(0, vocab_size, 30).tolist()]
    slow, model = (
        SlowKneserNey(train, vocab_size, order),
        NgramModel.train(np.array(train), vocab_size, order),
    )
    expected = [
        math.log(slow.probability(tuple(held_out[max(0, i - order + 1) : i]), token))
        for i, token in enumerate(held_out)
    ]
    np.testing.assert_allclose(model.log_probabilities(np.array(held_out)), expected, rtol=1e-11)
    raw = sum(len({tuple(train[i : i + k]) for i in range(split - k + 1)}) for k in range(1, order + 1))
    assert (model.order, model.num_parameters) == (order, raw)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one_after_any_history(order):
    vocab_size = 30
    model = NgramModel.train(zipf_ids(500, 25), vocab_size, order)
    random = np.random.default_rng(3)
    for length in range(order + 1):
        history = random.integers(0, vocab_size, length)
        ends = [model.log_probabilities(np.append(history, token))[-1] for token in range(vocab_size)]
        assert np.exp(ends).sum() == pytest.approx(1.0, abs=1e-12)
        assert np.isfinite(ends).all(), "a token that training has not met has a probability too"


def test_unigrams_by_hand():
    # Token 4 three times, 5 once. n1 = 1, n2 = 0, so every discount is 0.5: p(4) = 2.5/4 + (0.5 + 0.5)/4 * 1/6.
    model = NgramModel.train(np.array([4, 4, 5, 4]), vocab_size=6, order=1)
    expected = [2.5 / 4 + 0.25 / 6, 0.5 / 4 + 0.25 / 6, 0.25 / 6]
    np.testing.assert_allclose(np.exp(model.log_probabilities(np.array([4, 5, 0]))), expected, rtol=1e-14)


def test_bigrams_by_hand():
    # The stream 1 2 1 2 1 3. Bigrams: (1,2) twice, (2,1) twice, (1,3) once: n1 = 1, n2 = 2, n3 = 0, so every
    # discount is 1/(1 + 2*2) = 0.2. What came before, once each: 1 before 2, 2 before 1, 1 before 3; so unigrams
    # count 1, 1, 1, with n2 = 0 and a discount of 0.5. Vocabulary of 4.
    model = NgramModel.train(np.array([1, 2, 1, 2, 1, 3]), vocab_size=4, order=2)
    unigram = 0.5 / 3 + 1.5 / 3 / 4
    assert np.exp(model.log_probabilities(np.array([2])))[0] == pytest.approx(unigram)
    after_1 = {2: 1.8 / 3 + 0.4 / 3 * unigram, 3: 0.8 / 3 + 0.4 / 3 * unigram, 0: 0.4 / 3 * (1.5 / 3 / 4)}
    for token, expected in after_1.items():
        assert np.exp(model.log_probabilities(np.array([1, token])))[1] == pytest.approx(expected)
    # Nothing has been seen after 3: the shorter history answers.
    assert np.exp(model.log_probabilities(np.array([3, 2])))[1] == pytest.approx(unigram)


def test_a_token_of_one_context_counts_once():
    # Kneser and Ney's San Francisco: "francisco" (7) is frequent, but only after "san" (6).
    tokens = np.array([6, 7, 1, 6, 7, 2, 6, 7, 3, 6, 7, 8, 1, 8, 2, 8, 3, 8])
    model = NgramModel.train(tokens, vocab_size=10, order=2)
    new_context = [model.log_probabilities(np.array([9, token]))[1] for token in (7, 8)]
    assert new_context[0] < new_context[1], "8 came after four different tokens"
    assert model.log_probabilities(np.array([6, 7]))[1] > math.log(0.5)


def test_modified_discounts_by_hand():
    # n1 = 10, n2 = 4, n3 = 2, n4 = 1: Y = 10/18.
    counts = np.repeat([1, 2, 3, 4, 9], [10, 4, 2, 1, 3])
    y = 10 / 18
    np.testing.assert_allclose(discounts(counts), [1 - 2 * y * 0.4, 2 - 3 * y * 0.5, 3 - 4 * y * 0.5])


@pytest.mark.parametrize(
    "number_of_each, expected",
    [
        ((10, 4, 0, 1), 10 / 18),  # no count of 3
        ((10, 4, 2, 0), 10 / 18),  # no count of 4
        ((2, 1, 9, 1), 2 / 4),  # D2 = 2 - 3 * 0.5 * 9 is negative
        ((0, 4, 2, 1), 0.5),
        ((10, 0, 2, 1), 0.5),
    ],
)
def test_few_counts_have_one_discount(number_of_each, expected):
    np.testing.assert_allclose(discounts(np.repeat([1, 2, 3, 4], number_of_each)), [expected] * 3)


def test_a_longer_history_helps_where_there_is_one():
    tokens, vocab_size = character_ids(ENGLISH * 3)
    split = len(tokens) // 2
    losses = [
        -NgramModel.train(tokens[:split], vocab_size, order).log_probabilities(tokens[split:]).mean()
        for order in (1, 2, 4)
    ]
    assert losses[0] > losses[1] > losses[2]


def test_a_large_vocabulary_does_not_overflow():
    # Six tokens of 50,000 kinds need 94 bits: a key must not hold them all.
    vocab_size, tokens = 50_000, np.array([49_999, 49_998, 49_997] * 20 + [5, 6, 7, 8, 9, 10])
    model = NgramModel.train(tokens, vocab_size, order=6)
    slow = SlowKneserNey(tokens.tolist(), vocab_size, 6)
    history = (49_998, 49_997, 49_999, 49_998, 49_997)
    found = model.log_probabilities(np.array([*history, 49_999]))[-1]
    assert found == pytest.approx(math.log(slow.probability(history, 49_999)), rel=1e-11)


def test_an_empty_stream_has_no_probabilities():
    assert NgramModel.train(np.arange(4), 6, 2).log_probabilities(np.zeros(0, np.int32)).shape == (0,)


def test_refusals():
    with pytest.raises(UserError, match=r"order of an n-gram model is at least 1; got 0"):
        NgramModel.train(np.arange(4), 6, 0)
    with pytest.raises(UserError, match=r"order 5 needs at least 5 tokens; the training split has 4"):
        NgramModel.train(np.arange(4), 6, 5)
    for tokens in ([1, 6], [-1, 2]):
        with pytest.raises(UserError, match=r"token (6|-1) is outside the vocabulary of 6 ids"):
            NgramModel.train(np.array(tokens), 6, 1)
        with pytest.raises(
            UserError, match=r"outside the vocabulary of 6 ids. Use the vocab_size of the tokenizer"
        ):
            NgramModel.train(np.arange(4), 6, 2).log_probabilities(np.array(tokens))
