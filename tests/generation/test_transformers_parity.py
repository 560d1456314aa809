"""The same weights in transformers (PyTorch) and in tflm write the same: token for token, score for score.

`golden/transformers_*.npz` hold random weights, 200 prompts of unequal length and what transformers 5.23 made of them
in float32. They are written by, in an environment of its own,

    peer/bin/python benchmarks/parity/transformers_side.py tests/generation/golden

whose head says how to make it. There every choice came out the same in float64, so no near-tie hides here.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.generation.transformers_weights import gpt2_model, t5_model
from tflm.generation import DecodingConfig, generate, settings_tensors
from tflm.generation.beam_search import beam_search
from tflm.generation.config import BeamConfig
from tflm.generation.sampling import filter_logits
from tflm.generation.settings import beam_settings_tensors

GOLDEN = pathlib.Path(__file__).parent / "golden"
PAD, LIMIT, NUM_BEAMS = 0, 20, 4
GREEDY = {
    "greedy": {},
    "repetition_penalty": {"repetition_penalty": 1.7},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "min_new_tokens": {"min_new_tokens": 12},
}
LENGTH_PENALTIES = (0.6, 1.0, 2.0)
FILTERS = json.loads(str(np.load(GOLDEN / "transformers_filters.npz")["settings"]))


@dataclasses.dataclass
class Peer:
    """A model with transformers' weights, the prompts, and what transformers made of them."""

    model: Any
    golden: dict[str, np.ndarray]
    end_id: int

    def expected(self, run: str) -> tuple[np.ndarray, np.ndarray]:
        """Token ids [..., LIMIT] without the end token, then padding; and how many."""
        token_ids = self.golden[f"{run}/token_ids"].astype(np.int32)
        token_ids = np.where(token_ids == self.end_id, PAD, token_ids)
        return token_ids, np.sum(token_ids != PAD, axis=-1)

    def inputs(self, rows: np.ndarray) -> tuple[tf.RaggedTensor, tf.Tensor | None]:
        """Prompts and, of an encoder-decoder, sources of these rows."""
        token_ids = tf.constant(self.golden["prompts"][rows], tf.int32)
        if self.model.has_encoder:
            return tf.RaggedTensor.from_tensor(tf.zeros([len(rows), 1], tf.int32)), token_ids
        return tf.RaggedTensor.from_tensor(token_ids, lengths=self.golden["lengths"][rows]), None


def load(name: str) -> Peer:
    with np.load(GOLDEN / f"transformers_{name}.npz") as file:
        golden = dict(file)
    config = json.loads(str(golden["config"]))
    weights = {
        name.removeprefix("weight/"): value.astype(np.float32)
        for name, value in golden.items()
        if name.startswith("weight/")
    }
    epsilon, end_id = config["layer_norm_epsilon"], config["eos_token_id"]
    if config["model_type"] == "gpt2":
        return Peer(gpt2_model(weights, config["n_head"], epsilon), golden, end_id)
    return Peer(t5_model(weights, config["num_heads"], epsilon, max_length=32), golden, end_id)


@pytest.fixture(scope="module", params=["gpt2", "t5"])
def peer(request):
    return load(request.param)


@pytest.mark.parametrize("name", ["gpt2", "t5", "t5_gated"])
def test_reading_what_transformers_wrote(name):
    """One pass without a cache: each token is the likeliest at its place, and all have the same log-probability."""
    peer = load(name)
    written = peer.golden["greedy/token_ids"].astype(np.int32)
    prompts, sources = peer.inputs(np.arange(len(written)))
    texts = tf.concat([prompts, tf.RaggedTensor.from_tensor(written, padding=PAD)], axis=1).to_tensor(PAD)
    logits = np.array(peer.model(texts, **({} if sources is None else {"source_ids": sources})))
    places = prompts.row_lengths().numpy()[:, None] - 1 + np.arange(LIMIT)
    logits = np.take_along_axis(logits, np.minimum(places, logits.shape[1] - 1)[:, :, None], axis=1)
    logs = np.take_along_axis(tf.nn.log_softmax(logits).numpy(), written[:, :, None], axis=2)[:, :, 0]
    is_own = written != PAD
    expected = peer.golden["greedy/log_probability"]
    np.testing.assert_allclose(np.sum(logs * is_own, axis=1), expected, rtol=1e-5, atol=3e-4)
    logits[:, :, PAD] = -np.inf
    np.testing.assert_array_equal(np.argmax(logits, axis=2)[is_own], written[is_own])


def joined(parts: list[dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
    """The settings of several runs as the rows of one batch."""
    return {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}


def parted(tensors: Any, counts: dict[str, int]) -> dict[str, list[np.ndarray]]:
    """The rows of each run again: {run: one array for each tensor}."""
    ends = np.cumsum(list(counts.values()))[:-1]
    parts = [np.split(np.array(tensor), ends) for tensor in tensors]
    return dict(zip(counts, map(list, zip(*parts, strict=True)), strict=True))


def padded(token_ids: tf.Tensor) -> np.ndarray:
    room = LIMIT - token_ids.shape[-1]
    return np.pad(token_ids, [(0, 0)] * (token_ids.shape.rank - 1) + [(0, room)])


@pytest.fixture(scope="module")
def greedy_texts(peer):
    """All greedy runs as one batch, each row with its own settings: {run: (token_ids, num_tokens, log_probability)}."""
    counts = {run: len(peer.golden[f"{run}/token_ids"]) for run in GREEDY}
    config = DecodingConfig(temperature=0.0, max_new_tokens=LIMIT)
    settings = joined(
        [settings_tensors(dataclasses.replace(config, **GREEDY[run]), counts[run]) for run in counts]
    )
    prompts, sources = peer.inputs(np.concatenate([np.arange(count) for count in counts.values()]))

    @tf.function(autograph=False)
    def run():
        context = None if sources is None else peer.model.encode(sources)
        return generate(peer.model, prompts, settings, end_id=peer.end_id, pad_id=PAD, context=context)

    found = run()
    return parted((padded(found.token_ids), found.num_tokens, found.log_probability), counts)


@pytest.mark.parametrize("run", GREEDY)
def test_greedy_texts(peer, greedy_texts, run):
    token_ids, num_tokens, log_probability = greedy_texts[run]
    expected_ids, expected_count = peer.expected(run)
    np.testing.assert_array_equal(token_ids, expected_ids)
    np.testing.assert_array_equal(num_tokens, expected_count)
    np.testing.assert_allclose(log_probability, peer.golden[f"{run}/log_probability"], rtol=1e-5, atol=3e-4)


PENALIZED = {name: value for settings in GREEDY.values() for name, value in settings.items()}
BEAMS = {
    f"beams_{penalty}": (BeamConfig(NUM_BEAMS, length_penalty=penalty), {}) for penalty in LENGTH_PENALTIES
}
BEAMS["beams_penalized"] = (BeamConfig(NUM_BEAMS), PENALIZED)
ONE_BEAM = {f"one_{penalty}": (BeamConfig(1, length_penalty=penalty), {}) for penalty in LENGTH_PENALTIES}


@pytest.fixture(scope="module")
def beam_texts(peer):
    """All beam runs as one batch, each row with its own settings: {run: (token_ids, num_tokens, log_probability,
    score)}."""
    runs = {**BEAMS, **ONE_BEAM}
    counts = {run: 20 if changes else len(peer.golden["prompts"]) for run, (_, changes) in runs.items()}
    settings = joined(
        [
            beam_settings_tensors(beams, DecodingConfig(max_new_tokens=LIMIT, **changes), counts[run])
            for run, (beams, changes) in runs.items()
        ]
    )
    prompts, sources = peer.inputs(np.concatenate([np.arange(count) for count in counts.values()]))

    @tf.function(autograph=False)
    def run():
        context = None if sources is None else peer.model.encode(sources)
        return beam_search(peer.model, prompts, settings, end_id=peer.end_id, pad_id=PAD, context=context)

    found = run()
    return parted((padded(found.token_ids), found.num_tokens, found.log_probability, found.score), counts)


@pytest.mark.parametrize("run", BEAMS)
def test_the_four_best_texts(peer, beam_texts, run):
    """Golden scores are of `early_stopping="never"`; with penalties they are not the model's own probabilities."""
    token_ids, num_tokens, log_probability, score = beam_texts[run]
    expected_ids, expected_count = peer.expected(run)
    expected_score = peer.golden[f"{run}/score"]
    np.testing.assert_array_equal(token_ids, expected_ids)
    np.testing.assert_array_equal(num_tokens, expected_count)
    np.testing.assert_allclose(score, expected_score, rtol=1e-5, atol=1e-4)
    if run != "beams_penalized":
        has_end = (peer.golden[f"{run}/token_ids"] == peer.end_id).any(axis=-1)
        expected = expected_score * (expected_count + has_end) ** BEAMS[run][0].length_penalty
        np.testing.assert_allclose(log_probability, expected, rtol=1e-5, atol=3e-4)


@pytest.mark.parametrize("length_penalty", LENGTH_PENALTIES)
def test_one_beam_is_greedy(peer, beam_texts, length_penalty):
    token_ids, _, log_probability, score = beam_texts[f"one_{length_penalty}"]
    np.testing.assert_array_equal(token_ids[:, 0], peer.expected("greedy")[0])
    expected = peer.golden["greedy/log_probability"]
    np.testing.assert_allclose(log_probability[:, 0], expected, rtol=1e-5, atol=3e-4)
    assert np.isneginf(score[:, 1:]).all()


def test_the_texts_tell_programs_apart(peer):
    """Some end and some are cut off, they are not one token over and over, and each setting changes many."""
    plain_ids, plain_count = peer.expected("greedy")
    assert 30 < np.sum(plain_count == LIMIT) < 170
    assert np.mean([len(set(row)) for row in plain_ids]) > 4
    assert len(np.unique(peer.golden["lengths"])) >= 12
    for run in GREEDY.keys() - {"greedy"}:
        assert np.sum((peer.expected(run)[0] != plain_ids[:20]).any(axis=1)) >= 5
    best = [peer.expected(f"beams_{penalty}")[0][:, 0] for penalty in LENGTH_PENALTIES]
    for token_ids, other in [(best[0], plain_ids), (best[1], best[0]), (best[2], best[1])]:
        assert np.sum((token_ids != other).any(axis=1)) >= 25


@pytest.mark.parametrize("index", range(len(FILTERS)), ids=lambda i: "-".join(FILTERS[i]) + f"-{i}")
def test_what_is_sampled_from(index):
    with np.load(GOLDEN / "transformers_filters.npz") as file:
        logits, expected = file["logits"].astype(np.float32), file[f"probabilities_{index}"]
    settings = settings_tensors(DecodingConfig(**FILTERS[index]), len(logits))
    found = tf.nn.softmax(filter_logits(tf.constant(logits), settings)).numpy()
    np.testing.assert_array_equal(found > 0, expected > 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
