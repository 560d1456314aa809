"""Generation with real models: what stands beside a row does not change it, and the cache changes nothing."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.decoding import DecodingConfig, generate, settings_specs, settings_tensors

END, PAD, LIMIT = 2, 0, 16
PROMPTS = [[1, 9, 4, 21, 7], [1], [1, 28, 28], [1, 5, 6, 8], [1, 13]]
SETTINGS = [
    DecodingConfig(temperature=0.0, max_new_tokens=8),
    DecodingConfig(seed=1, max_new_tokens=11),
    DecodingConfig(seed=2, temperature=0.7, top_k=5, max_new_tokens=0),
    DecodingConfig(seed=3, temperature=2.0, top_p=0.9, repetition_penalty=1.3, max_new_tokens=30),
    DecodingConfig(seed=4, min_p=0.05, min_new_tokens=4, max_new_tokens=9),
]


@pytest.fixture(scope="module", params=["grouped", "gpt2", "original", "lstm"])
def model(request, configs, make_model):
    model = make_model(configs[request.param], scale=0.3)
    if (
        model.config.kind == "lstm"
    ):  # its logits are flat: let the ends come now and then, and the rest differ
        model.embedding.embeddings.assign(6.0 * model.embedding.embeddings)
    return model


@pytest.fixture(scope="module")
def run(model):
    """One graph for every batch size, prompt length and setting; segments of 3 steps, so that caches grow."""
    prompt_spec = tf.RaggedTensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[prompt_spec, *settings_specs().values()], autograph=False)
    def graph(prompts, *settings):
        settings = dict(zip(settings_specs(), settings, strict=True))
        return generate(
            model, prompts, settings, end_id=END, pad_id=PAD, max_total_length=LIMIT, segment_length=3
        )

    def run_rows(rows):
        """(tokens, log-probability) of each of the numbered rows, in one batch."""
        each = [settings_tensors(SETTINGS[row], 1) for row in rows]
        settings = [tf.concat([one[name] for one in each], 0) for name in settings_specs()]
        generation = graph(tf.ragged.constant([PROMPTS[row] for row in rows], dtype=tf.int32), *settings)
        return [
            (ids[:count].tolist(), float(log_probability))
            for ids, count, log_probability in zip(*(part.numpy() for part in generation), strict=True)
        ]

    return run_rows


def test_a_row_does_not_depend_on_its_neighbours(run):
    alone = [run([row])[0] for row in range(len(PROMPTS))]
    assert any(len(tokens) > 3 for tokens, _ in alone)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1], [3, 3, 1]):
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


def test_no_text_is_longer_than_the_context(run):
    for row, (tokens, _) in enumerate(run([0, 1, 2, 3, 4])):
        assert len(PROMPTS[row]) + len(tokens) <= LIMIT
        assert len(tokens) <= SETTINGS[row].max_new_tokens
