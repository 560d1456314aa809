"""Generation with real models: what stands beside a row does not change it, the cache changes nothing, XLA neither."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation import DecodingConfig, generate, settings_specs, settings_tensors

END, PAD, LIMIT = 2, 0, 16
PROMPTS = [[1, 9, 4, 21, 7], [1], [1, 28, 28], [1, 5, 6, 8], [1, 13], [1, 7, 7], [1, 20, 3, 4]]
SETTINGS = [
    DecodingConfig(temperature=0.0, max_new_tokens=8),
    DecodingConfig(seed=1, max_new_tokens=11),
    DecodingConfig(seed=2, temperature=0.7, top_k=5, max_new_tokens=0),
    DecodingConfig(seed=3, temperature=2.0, top_p=0.9, repetition_penalty=1.3, max_new_tokens=30),
    DecodingConfig(seed=4, min_p=0.05, min_new_tokens=4, max_new_tokens=9, typical_p=0.9),
    DecodingConfig(
        seed=5, frequency_penalty=0.5, presence_penalty=0.1, no_repeat_ngram_size=2, banned_ids=(5,)
    ),
    DecodingConfig(
        seed=6, temperature=1.5, forced_ids=(9, 9), min_new_tokens=20, max_new_tokens=40, slide=True
    ),
]
ROWS = list(range(len(PROMPTS)))


@pytest.fixture(scope="module", params=["grouped", "gpt2", "original", "relative", "lstm"])
def model(request, configs, make_model):
    config = configs[request.param]
    if request.param != "grouped":
        config = dataclasses.replace(config, num_layers=1)
    model = make_model(config, scale=0.3)
    if (
        model.config.kind == "lstm"
    ):  # its logits are flat: let the ends come now and then, and the rest differ
        model.embedding.embeddings.assign(6.0 * model.embedding.embeddings)
    return model


def make_graph(model, segment_length, compiled=False):
    """One graph for every batch size, prompt length and setting."""
    prompt_spec = tf.RaggedTensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[prompt_spec, *settings_specs().values()], autograph=False)
    def graph(prompts, *settings):
        return generate(
            model,
            prompts,
            dict(zip(settings_specs(), settings, strict=True)),
            end_id=END,
            pad_id=PAD,
            max_total_length=LIMIT,
            segment_length=segment_length,
            compiled=compiled,
        )

    return graph


def run_rows(graph, rows):
    """(tokens, log-probability) of each of the numbered rows, in one batch."""
    each = [settings_tensors(SETTINGS[row], 1) for row in rows]
    width = {name: max(one[name].shape[-1] for one in each) for name in ("banned_ids", "forced_ids")}
    for one in each:
        for name, wanted in width.items():
            one[name] = tf.pad(one[name], [[0, 0], [0, wanted - one[name].shape[-1]]], constant_values=-1)
    settings = [tf.concat([one[name] for one in each], 0) for name in settings_specs()]
    generation = graph(tf.ragged.constant([PROMPTS[row] for row in rows], dtype=tf.int32), *settings)
    parts = (generation.token_ids, generation.num_tokens, generation.log_probability)
    return [
        (ids[:count].tolist(), float(log_probability))
        for ids, count, log_probability in zip(*(part.numpy() for part in parts), strict=True)
    ]


@pytest.fixture(scope="module")
def run(model):
    """run(rows), in segments of 3 steps, so that caches grow."""
    graph = make_graph(model, segment_length=3)
    return lambda rows: run_rows(graph, rows)


def test_a_row_does_not_depend_on_its_neighbours(run):
    alone = [run([row])[0] for row in ROWS]
    assert any(len(tokens) > 3 for tokens, _ in alone)
    for order in (ROWS, [4, 2, 0, 6, 3, 1, 5], [3, 3, 1]):
        for row, (tokens, log_probability) in zip(order, run(order), strict=True):
            assert tokens == alone[row][0]
            assert log_probability == pytest.approx(alone[row][1], abs=1e-3)


def test_greedy_text_is_that_of_whole_sequences_read_again_for_each_token(model, run):
    (tokens, log_probability), *_ = run([0])
    text, expected, total = list(PROMPTS[0]), [], 0.0
    for _ in range(SETTINGS[0].max_new_tokens):
        logits = model(np.array([text], np.int32))[0, -1].numpy().astype(np.float64)
        allowed = logits.copy()
        allowed[PAD] = -np.inf
        choice = int(np.argmax(allowed))
        total += logits[choice] - np.log(np.exp(logits).sum())
        if choice == END:
            break
        text.append(choice)
        expected.append(choice)
    assert tokens == expected
    assert log_probability == pytest.approx(total, abs=1e-3)


def test_no_text_is_longer_than_the_context_unless_it_slides(run):
    for row, (tokens, _) in enumerate(run(ROWS)):
        assert len(PROMPTS[row]) + len(tokens) <= LIMIT or SETTINGS[row].slide
        assert len(tokens) <= SETTINGS[row].max_new_tokens
    assert len(run([6])[0][0]) >= 20 > LIMIT and run([6])[0][0][:2] == [9, 9]


def test_a_text_that_slides_is_that_of_its_last_half_read_again(model, run):
    """Where the context is full, the last half of it is read anew, and then token by token until it is full again."""
    tokens, log_probability = run([6])[0]
    text = PROMPTS[6] + tokens
    total, first = 0.0, 0
    if len(tokens) < SETTINGS[6].max_new_tokens:  # it came to its end, which has a log-probability too
        text.append(END)
    for place in range(len(PROMPTS[6]), len(text)):
        if place - 1 - first == LIMIT:  # all that the model holds before it reads token number place - 1
            first = place - 1 - LIMIT // 2
        logits = model(np.array([text[first:place]], np.int32))[0, -1].numpy().astype(np.float64)
        total += logits[text[place]] - np.log(np.exp(logits).sum())
    assert log_probability == pytest.approx(total, abs=2e-3)


@pytest.mark.parametrize("model", ["gpt2"], indirect=True)  # one: compiling takes long
def test_compiled_by_xla_the_texts_are_the_same(model, run):
    graph = make_graph(model, segment_length=32, compiled=True)
    for (tokens, log_probability), (expected, plain) in zip(run_rows(graph, ROWS), run(ROWS), strict=True):
        assert tokens == expected
        assert log_probability == pytest.approx(plain, abs=1e-3)
