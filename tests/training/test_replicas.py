"""Two replicas on two virtual CPUs are one replica with the whole batch, with dropout too; and a run may go on with
another number of them. In a process of its own: the number of devices is settled before TensorFlow's first op."""

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def differences(start, tmp_path_factory):
    output = tmp_path_factory.mktemp("replicas") / "result.json"
    process = start("replicas", output)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["adamw_1", "adamw_2", "muon_1", "muon_2", "adversarial"])
def test_two_replicas_equal_one(differences, name):
    """An optimizer and a number of micro-batches, with unequal numbers of targets on the replicas and in the parts:
    weights, slots, log and evaluation. adamw_1 trains low-rank adapters; muon and adamw_1 have a layer decay."""
    found = differences[name]
    assert found["weights"] < 1e-5 and found["log"] < 1e-5 and found["metrics"] < 1e-5


def test_replicas_have_the_same_weights(differences):
    assert differences["replicas_differ"] == 0.0


def test_resumed_on_two_replicas_with_dropout(differences):
    assert differences["resumed_with_dropout"] == {"weights": 0.0, "log": 0.0, "metrics": 0.0}


@pytest.mark.parametrize("name", ["parts", "two", "changed"])
def test_fifty_steps_with_dropout_are_those_of_one_device(differences, name):
    """Two micro-batches; two replicas; and a run that goes on with 1, 2, 4 and 1 replicas. Rows have unequal numbers
    of targets. Masks that depended on the device would change the first loss."""
    one, other = differences["fifty"]["one"], differences["fifty"][name]
    assert len(other["losses"]) == 50 and other["names"] == one["names"]
    np.testing.assert_allclose(other["losses"][0], one["losses"][0], rtol=1e-6)
    np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-4)
    assert other["weights"] == pytest.approx(one["weights"], rel=1e-4)


def test_the_gradient_noise_of_two_replicas_is_that_of_two_micro_batches(differences):
    parts, two, one = (differences["fifty"][name]["noise"] for name in ("parts", "two", "one"))
    np.testing.assert_allclose(two, parts, rtol=1e-3)
    assert min(two) < max(two) and set(one) == {None}
