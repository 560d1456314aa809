"""Two replicas on two virtual CPUs are one replica with the whole batch. In a process of its own: the number of
devices is settled before TensorFlow's first op."""

import json

import pytest


@pytest.fixture(scope="module")
def differences(start, tmp_path_factory):
    output = tmp_path_factory.mktemp("replicas") / "result.json"
    process = start("replicas", output)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["adamw_1", "adamw_2", "muon_1", "muon_2"])
def test_two_replicas_equal_one(differences, name):
    """An optimizer and a number of micro-batches, with unequal numbers of targets on the replicas and in the parts:
    weights, slots, log and evaluation. adamw_1 trains low-rank adapters; all but adamw_2 have a layer decay."""
    found = differences[name]
    assert found["weights"] < 1e-5 and found["log"] < 1e-5 and found["metrics"] < 1e-5


def test_replicas_have_the_same_weights(differences):
    assert differences["replicas_differ"] == 0.0


def test_resumed_on_two_replicas_with_dropout(differences):
    assert differences["resumed_with_dropout"] == {"weights": 0.0, "log": 0.0, "metrics": 0.0}
