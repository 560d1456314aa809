"""A graph of beam search over a toy model, its inputs and outputs as lists, for the tests of beam search."""

import numpy as np
import tensorflow as tf

from tflm.generation import DecodingConfig
from tflm.generation.beam_search import BeamResult, beam_search
from tflm.generation.config import BeamConfig
from tflm.generation.settings import beam_settings_specs, beam_settings_tensors

SUPPRESSED = [1, 3]


class Searcher:
    """A graph of beam search over a HashModel that knows no sizes, and the same model's logits in NumPy."""

    def __init__(self, toy):
        self.toy, self.model = toy, toy.HashModel(end_bonus=1.0)
        specs = [tf.RaggedTensorSpec([None, None], tf.int32), beam_settings_specs()]

        @tf.function(input_signature=specs, autograph=False)
        def graph(prompts, settings):
            ids = {"end_id": toy.END, "pad_id": toy.PAD, "suppressed_ids": SUPPRESSED}
            return beam_search(self.model, prompts, settings, segment_length=3, **ids)

        self.graph = graph

    def __call__(self, prompts, settings=None, **changes):
        """Each row's texts, [(score, log-probability, tokens), ...]."""
        settings = make_settings(len(prompts), **changes) if settings is None else settings
        self.model.num_steps.assign(0)
        return texts_of(self.graph(tf.ragged.constant(prompts, tf.int32, ragged_rank=1), settings))

    def logits(self, text):
        key = sum((place + 1) * token for place, token in enumerate(text)) % 29
        return self.model.table.numpy()[key]

    def change(self, min_new_tokens=0):
        """What the settings make of scores, in NumPy."""

        def change_fn(scores, text):
            scores[[self.toy.PAD, *SUPPRESSED]] = -np.inf
            if len(text) < min_new_tokens:
                scores[self.toy.END] = -np.inf
            return scores

        return change_fn


def make_settings(num_rows, **changes):
    settings = beam_settings_tensors(BeamConfig(), DecodingConfig(), num_rows)
    for name, value in changes.items():
        value = tf.cast(value, settings[name].dtype)
        settings[name] = value if value.shape.rank else tf.fill([num_rows], value)
    return settings


def take(settings, rows):
    return {name: tf.gather(value, rows) for name, value in settings.items()}


def texts_of(result):
    result = BeamResult(*(value.numpy() for value in result))
    rows = []
    for ids, counts, log_probabilities, scores in zip(*result):
        assert all(not row[count:].any() and row[:count].all() for row, count in zip(ids, counts))
        assert (np.diff(scores[scores > -np.inf]) <= 0).all()
        is_text = scores > -np.inf
        np.testing.assert_array_equal(np.sort(~is_text), ~is_text)  # what fills a row up stands last
        assert (log_probabilities[~is_text] == -np.inf).all() and not counts[~is_text].any()
        texts = zip(scores, log_probabilities, ids, counts, is_text)
        rows.append([(s, p, row[:count].tolist()) for s, p, row, count, is_one in texts if is_one])
    return rows


def assert_same(found, expected):
    assert [text for _, _, text in found] == [text for _, _, text in expected]
    numbers = [[each[:2] for each in texts] for texts in (found, expected)]
    np.testing.assert_allclose(*numbers, rtol=1e-5, atol=2e-5)


def random_prompts(num_rows, seed=3):
    rng = np.random.default_rng(seed)
    return [[1, *rng.integers(3, 17, rng.integers(0, 7)).tolist()] for _ in range(num_rows)]


def random_settings(num_rows):
    """Every row its own; half of them with groups."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 9, num_rows)
    groups = np.where(np.arange(num_rows) % 2, rng.integers(1, sizes + 1), 1)
    return {
        "beam_size": sizes,
        "num_groups": groups,
        "diversity_penalty": rng.choice([0.0, 0.5, 1.5], num_rows),
        "length_penalty": rng.choice([-1.0, 0.0, 0.6, 1.0, 2.0], num_rows),
        "length_offset": rng.choice([0.0, 5.0], num_rows),
        "min_new_tokens": rng.integers(0, 4, num_rows),
        "max_new_tokens": rng.integers(1, 9, num_rows),
    }
