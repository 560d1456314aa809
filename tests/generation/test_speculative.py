"""Speculative sampling: the large model's own distribution whatever the draft is, and greedy texts token for token.

The toy models' logits depend on the whole text; their tables are variables, so that one graph serves every draft. The
seeds are fixed, so no test fails by chance; for newly drawn seeds a chi-square test here would in one of 10,000 cases.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.generation import DecodingConfig, generate, settings_specs, settings_tensors
from tflm.generation.speculative import accept, speculative_generate
from tflm.models import TransformerDecoderConfig, build_model

PAD, START, END, VOCAB_SIZE, NUM_KEYS = 0, 1, 2, 12, 29
LETTERS = ["", "", "", *"abcdefghi"]
GREEDY = DecodingConfig(temperature=0.0, max_new_tokens=20)


class TallyModel(tf.Module):
    """Logits from a table, looked up by a sum over every token and its position. Its cache is the text itself."""

    can_rewind = True

    def __init__(self):
        super().__init__()
        self.table = tf.Variable(tf.zeros([NUM_KEYS, VOCAB_SIZE]))
        self.num_steps = tf.Variable(0)

    def initial_state(self, batch_size, max_length, num_padding=None, context=None):
        memory = tf.fill([batch_size, max_length], -999)
        return {"memory": memory, "num_padding": num_padding, "cache_index": tf.constant(0)}

    def step(self, token_ids, state, last_only=False):
        self.num_steps.assign_add(1)
        index, memory = state["cache_index"], state["memory"]
        end = index + tf.shape(token_ids)[1]
        tf.debugging.assert_less_equal(end, tf.shape(memory)[1], "The cache is full.")
        memory = tf.ensure_shape(tf.concat([memory[:, :index], token_ids, memory[:, end:]], 1), memory.shape)
        positions = tf.range(end)[None] - state["num_padding"][:, None]
        read = tf.where(positions >= 0, memory[:, :end], 0)
        keys = tf.cumsum((positions + 1) * read, axis=1) % NUM_KEYS
        logits = tf.gather(self.table, keys[:, index:])
        return logits[:, -1:] if last_only else logits, {**state, "memory": memory, "cache_index": end}

    def extend_state(self, state, num_positions):
        memory = tf.pad(state["memory"], [[0, 0], [0, num_positions]], constant_values=-999)
        return {**state, "memory": memory}

    def rewind(self, state, num_positions):
        """The rows rolled so that they end together and the longest begins at 0."""
        lengths = state["cache_index"] - state["num_padding"]
        tf.debugging.assert_less_equal(num_positions, lengths, "More than was read.")
        index = tf.reduce_max(lengths - num_positions)
        num_padding = index - (lengths - num_positions)
        places = tf.range(tf.shape(state["memory"])[1])[None] - (num_padding - state["num_padding"])[:, None]
        return {
            "memory": tf.gather(state["memory"], places % tf.shape(places)[1], batch_dims=1),
            "num_padding": num_padding,
            "cache_index": index,
        }


def some_table(seed, end_bonus=-1.0):
    table = np.random.default_rng(seed).normal(0, 1.5, [NUM_KEYS, VOCAB_SIZE]).astype(np.float32)
    table[:, END] += end_bonus
    return table


def text_fn(token_ids, finished):
    return tf.strings.reduce_join(tf.gather(LETTERS, token_ids), axis=1)


class Toys:
    """A model, a draft, and a graph of each way to write with them."""

    def __init__(self):
        self.model, self.draft = TallyModel(), TallyModel()
        specs = [tf.RaggedTensorSpec([None, None], tf.int32), settings_specs()]
        arguments = {"end_id": END, "pad_id": PAD, "suppressed_ids": [START], "max_total_length": 24}
        arguments |= {"segment_length": 5, "text_fn": text_fn}

        @tf.function(input_signature=specs, autograph=False)
        def slow(prompts, settings):
            return generate(self.model, prompts, settings, **arguments)

        @tf.function(input_signature=[*specs, tf.TensorSpec([None], tf.int32)], autograph=False)
        def fast(prompts, settings, num_draft_tokens):
            return speculative_generate(
                self.model, self.draft, prompts, settings, num_draft_tokens=num_draft_tokens, **arguments
            )

        self._slow, self._fast = slow, fast

    def slow(self, prompts, settings):
        """Tokens of each row, and their log-probabilities."""
        return texts(self._slow(ragged(prompts), settings))

    def fast(self, prompts, settings, num_draft_tokens):
        """The same, and the counts of accepted and of drafted tokens."""
        result = self._fast(ragged(prompts), settings, tf.constant(num_draft_tokens, tf.int32))
        return *texts(result.generation), result.num_accepted.numpy(), result.num_drafted.numpy()


def ragged(prompts):
    return tf.ragged.constant(prompts, tf.int32, ragged_rank=1)


def texts(generation):
    rows = zip(generation.token_ids.numpy(), generation.num_tokens.numpy(), strict=True)
    return [ids[:count].tolist() for ids, count in rows], generation.log_probability.numpy()


def each_row(configs):
    """Settings tensors of rows with a config each."""
    width = max(len(config.forced_ids) for config in configs) or 1
    rows = [settings_tensors(config, 1) for config in configs]

    def padded(name, value):
        if name != "forced_ids":
            return value
        return tf.pad(value, [[0, 0], [0, width - value.shape[1]]], constant_values=-1)

    return {name: tf.concat([padded(name, row[name]) for row in rows], 0) for name in settings_specs()}


@pytest.fixture(scope="module")
def toys():
    return Toys()


@pytest.fixture
def bad_draft(toys):
    toys.model.table.assign(some_table(0))
    toys.draft.table.assign(some_table(1))
    return toys


@pytest.fixture
def fair_draft(toys):
    toys.model.table.assign(some_table(0))
    toys.draft.table.assign(some_table(0) + 0.3 * some_table(1))
    return toys


PROMPTS = [[1], [1, 9, 9, 4, 11, 3, 8], [1, 3], [1, 5, 6], [1, 4], [1, 6, 5]]
NEVER_ENDS = dict(min_new_tokens=20, max_new_tokens=20)
CHANGES = [
    {},
    dict(no_repeat_ngram_size=2, repetition_penalty=1.3, **NEVER_ENDS),
    dict(banned_ids=(5,), forced_ids=(7, 4, 7), **NEVER_ENDS),
    dict(frequency_penalty=0.7, presence_penalty=0.4, no_repeat_ngram_size=1, **NEVER_ENDS),
    dict(min_new_tokens=9, max_new_tokens=11),
    dict(max_new_tokens=0),
]


@pytest.mark.parametrize("draft", ["bad_draft", "fair_draft"])
def test_greedy_rows_equal_generate_under_every_setting(request, draft):
    toys = request.getfixturevalue(draft)
    settings = each_row([DecodingConfig(**{"temperature": 0.0, "max_new_tokens": 20, **c}) for c in CHANGES])
    expected, log_probabilities = toys.slow(PROMPTS, settings)
    assert {len(text) for text in expected} >= {0, 11, 17, 20}, "rows that end, and rows that reach a limit"
    for counts in ([4] * 6, [0, 1, 2, 3, 4, 9], [99] * 6):
        found, found_log_probabilities, accepted, drafted = toys.fast(PROMPTS, settings, counts)
        assert found == expected
        np.testing.assert_allclose(found_log_probabilities, log_probabilities, atol=1e-4)
        assert (accepted <= drafted).all() and (
            draft != "fair_draft" or counts[2] == 2 or accepted.sum() > 20
        )


def test_without_drafted_tokens_sampled_rows_equal_generate_too(fair_draft):
    settings = each_row([DecodingConfig(seed=n, top_p=0.9, max_new_tokens=20) for n in range(6)])
    found, _, accepted, drafted = fair_draft.fast(PROMPTS, settings, [0] * 6)
    assert found == fair_draft.slow(PROMPTS, settings)[0]
    assert not accepted.any() and not drafted.any()


def test_a_row_does_not_depend_on_its_neighbours(fair_draft):
    configs = [DecodingConfig(**{"seed": n, "max_new_tokens": 20, **c}) for n, c in enumerate(CHANGES)]
    counts = [4, 2, 0, 9, 3, 4]
    together = fair_draft.fast(PROMPTS, each_row(configs), counts)
    for order in ([5, 4, 3, 2, 1, 0], [1, 1, 4], [0], [1], [2], [3]):
        parts = fair_draft.fast(
            [PROMPTS[n] for n in order], each_row([configs[n] for n in order]), [counts[n] for n in order]
        )
        for place, row in enumerate(order):
            assert [part[place] for part in (parts[0], *parts[2:])] == [
                part[row] for part in (together[0], *together[2:])
            ]
    assert together[2].sum() > 5, "accepted tokens"


def log_probability(table, prompt, text, limit):
    """Of a text and, if it is shorter than the limit, its end."""
    total, row = 0.0, list(prompt)
    for token in [*text, *([END] if len(text) < limit else [])]:
        logits = table[sum((i + 1) * t for i, t in enumerate(row)) % NUM_KEYS].astype(np.float64)
        total += logits[token] - np.log(np.exp(logits).sum())
        row.append(token)
    return total


def test_log_probability_is_that_of_scoring_the_text(fair_draft):
    settings = settings_tensors(DecodingConfig(seed=5, temperature=1.3, max_new_tokens=12), 6)
    found, log_probabilities, *_ = fair_draft.fast(PROMPTS, settings, [3] * 6)
    expected = [log_probability(some_table(0), p, t, 12) for p, t in zip(PROMPTS, found, strict=True)]
    np.testing.assert_allclose(log_probabilities, expected, atol=1e-4)


def test_a_draft_that_is_the_model_is_always_right(toys):
    for model in (toys.model, toys.draft):
        model.table.assign(some_table(0, end_bonus=-99.0))
    settings = settings_tensors(DecodingConfig(seed=3, top_k=5, max_new_tokens=20), 1)
    before = int(toys.model.num_steps)
    found, _, accepted, drafted = toys.fast([[1]], settings, [4])
    # One token of the prompt's step; three rounds of 4 and one; a last round of 3 and one.
    assert len(found[0]) == 20 and accepted == drafted == 15
    assert int(toys.model.num_steps) - before == 1 + 4


def test_a_stop_text_ends_a_row_in_the_middle_of_a_draft(fair_draft):
    config = DecodingConfig(temperature=0.0, **NEVER_ENDS)
    whole, _ = fair_draft.slow(PROMPTS, settings_tensors(config, 6))
    written = ["".join(LETTERS[t] for t in text) for text in whole]
    config = DecodingConfig(temperature=0.0, stop=(written[0][4:6], written[1][9:11]), **NEVER_ENDS)
    settings = settings_tensors(config, 6)
    expected, log_probabilities = fair_draft.slow(PROMPTS, settings)
    assert len(expected[0]) <= 6 and len(expected[1]) <= 11
    found, found_log_probabilities, *_ = fair_draft.fast(PROMPTS, settings, [6] * 6)
    assert found == expected
    np.testing.assert_allclose(found_log_probabilities, log_probabilities, atol=1e-4)


SAMPLED = [
    DecodingConfig(max_new_tokens=3),
    DecodingConfig(temperature=0.7, top_k=3, max_new_tokens=3),
    DecodingConfig(temperature=1.5, top_p=0.8, max_new_tokens=3),
    DecodingConfig(min_p=0.3, max_new_tokens=3),
    DecodingConfig(typical_p=0.7, max_new_tokens=3),
    DecodingConfig(repetition_penalty=1.8, max_new_tokens=3),
]
NUM_DRAWS = 1500


def next_probabilities(toy, logits, row, config):
    """float64 [V] by NumPy alone."""
    logits = np.where(np.arange(VOCAB_SIZE) == PAD, -np.inf, logits.astype(np.float64))
    for token in set(row) if config.repetition_penalty != 1.0 else ():
        logits[token] *= config.repetition_penalty if logits[token] < 0 else 1 / config.repetition_penalty
    logits[START] = -np.inf
    found = toy.filter_slowly(logits, vars(config))
    if config.typical_p == 1.0:
        return found
    surprise = -np.log(np.where(found > 0, found, 1.0))
    order = np.argsort(np.where(found > 0, np.abs(surprise - found @ surprise), np.inf))
    before = np.cumsum(found[order]) - found[order]
    kept = np.zeros_like(found)
    kept[order] = np.where(before < config.typical_p, found[order], 0.0)
    return kept / kept.sum()


def text_probabilities(toy, table, prompt, config):
    """Every text that may come, and how likely it is."""
    found, running = {}, {(): 1.0}
    for _ in range(config.max_new_tokens):
        grown = {}
        for text, probability in running.items():
            row = [*prompt, *text]
            logits = table[sum((i + 1) * t for i, t in enumerate(row)) % NUM_KEYS]
            for token, p in enumerate(next_probabilities(toy, logits, row, config)):
                if p > 0 and token == END:
                    found[text] = probability * p
                elif p > 0:
                    grown[(*text, token)] = probability * p
        running = grown
    return {**found, **running}


@pytest.mark.parametrize("draft", ["same", "fair", "bad", "always_wrong"])
def test_sampled_texts_have_the_models_own_distribution(toy, toys, draft):
    """Whole texts of up to three tokens, against the product of the exact probabilities; rare texts count together."""
    table = some_table(7)
    table[:, 6:] = -np.inf  # few texts
    table[:, START] = -np.inf
    toys.model.table.assign(table)
    other = {
        "same": table,
        "fair": table + 0.5 * some_table(8),
        "bad": some_table(9),
        "always_wrong": -3 * table,
    }
    toys.draft.table.assign(
        np.where(np.isfinite(other[draft]), other[draft], 0.0 if draft == "bad" else -1e9)
    )
    num_rows = NUM_DRAWS * len(SAMPLED)
    settings = {name: tf.repeat(x, NUM_DRAWS, 0) for name, x in each_row(SAMPLED).items()}
    settings["seed"] = tf.range(num_rows, dtype=tf.int64)
    found, _, accepted, drafted = toys.fast([[1, 4]] * num_rows, settings, [3, 1] * (num_rows // 2))
    for index, config in enumerate(SAMPLED):
        expected = text_probabilities(toy, table, [1, 4], config)
        assert sum(expected.values()) == pytest.approx(1.0)
        kept = [text for text, p in expected.items() if p * NUM_DRAWS >= 5]
        counts = dict.fromkeys([*kept, "rare"], 0)
        for text in found[index * NUM_DRAWS : (index + 1) * NUM_DRAWS]:
            assert tuple(text) in expected
            counts[tuple(text) if tuple(text) in counts else "rare"] += 1
        probabilities = [expected[text] for text in kept]
        rare = 1.0 - sum(probabilities)
        if rare * NUM_DRAWS < 5:
            counts.pop("rare")
            probabilities = np.array(probabilities) / sum(probabilities)
        else:
            probabilities = [*probabilities, rare]
        assert toy.chi_square_p_value(list(counts.values()), probabilities) > 1e-4, config
    share = accepted.sum() / drafted.sum()
    assert share == 1.0 if draft == "same" else 0.0 <= share < 0.95
    assert draft != "always_wrong" or share < 0.3


def test_one_place_exactly():
    """Over an even grid of random numbers every token is kept or drawn as often as the model wants it."""
    wanted, proposed = np.array([0.5, 0.2, 0.0, 0.3]), np.array([0.1, 0.6, 0.3, 0.0])
    numbers = (np.arange(60) + 0.5) / 60
    total = np.zeros(4)
    for token in range(3):
        first, second = (grid.ravel() for grid in np.meshgrid(numbers, numbers))
        count = len(first)
        tokens, num_accepted = accept(
            tf.constant(np.tile(wanted, [count, 2, 1]), tf.float32),
            tf.constant(np.tile(proposed, [count, 1, 1]), tf.float32),
            tf.fill([count, 1], token),
            tf.ones([count], tf.int32),
            tf.constant(first[:, None]),
            tf.constant(np.stack([second, second], 1)),
        )
        is_kept = num_accepted.numpy() == 1
        assert is_kept.mean() == pytest.approx(min(1, wanted[token] / proposed[token]), abs=0.02)
        total += proposed[token] * np.bincount(tokens.numpy()[:, 0], minlength=4) / count
    np.testing.assert_allclose(total, wanted, atol=0.02)


def test_greedy_texts_of_transformers():
    """Each token is the likeliest after what stands before it, read in one forward pass."""
    keras.utils.set_random_seed(1)
    sizes = {"vocab_size": 29, "hidden_dim": 16, "num_heads": 4, "max_length": 32, "tied_output": False}
    model, draft = (build_model(TransformerDecoderConfig(num_layers=n, **sizes)) for n in (2, 1))
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, 0.3, variable.shape))
    for name in ("embedding", "head"):  # a draft that is right now and then
        for own, other in zip(getattr(draft, name).variables, getattr(model, name).variables, strict=True):
            own.assign(other)

    @tf.function(autograph=False)
    def fast(prompts, settings):
        return speculative_generate(
            model, draft, prompts, settings, end_id=END, pad_id=PAD, max_total_length=32, segment_length=8
        )

    prompts = [[1, *rng.integers(3, 29, length)] for length in rng.integers(0, 12, 16)]
    result = fast(ragged(prompts), settings_tensors(GREEDY, 16))
    found, log_probabilities = texts(result.generation)
    for prompt, text, expected in zip(prompts, found, log_probabilities, strict=True):
        is_ended = len(text) < min(20, 32 - len(prompt))
        row = np.array([[*prompt, *text, *([END] if is_ended else [])]], np.int32)
        logits = model(row)[0].numpy().astype(np.float64)[len(prompt) - 1 : -1]
        logits_possible = np.where(np.arange(29) == PAD, -np.inf, logits)
        chosen = row[0, len(prompt) :]
        assert logits_possible.argmax(-1).tolist() == chosen.tolist()
        scores = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        assert expected == pytest.approx(scores[np.arange(len(chosen)), chosen].sum(), abs=1e-3)
    assert 0 < result.num_accepted.numpy().sum() < result.num_drafted.numpy().sum()


def test_models_that_cannot_take_back(toys):
    class Forgetful:
        can_rewind = False
        initial_state, step, extend_state = TallyModel.initial_state, toys.model.step, toys.model.extend_state

    with pytest.raises(UserError, match="the draft, a Forgetful, cannot take back what it has read"):
        speculative_generate(
            toys.model, Forgetful(), ragged([[1]]), settings_tensors(GREEDY, 1), end_id=END, pad_id=PAD
        )
