"""Checkpoints: what goes in comes out, damage is noticed whatever byte it hits, and nothing half-written counts."""

import collections
import json
import logging
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from absl import logging as absl_logging

from tflm.errors import UserError
from tflm.training import Checkpoints
from tflm.training.checkpoint_files import stored_weights

SHAPES = {
    "model/a/kernel": [3, 4],
    "model/a_b/kernel": [4],
    "model/a/b_kernel": [2],
    "optimizer/iteration": [],
}


def make_variables(value, shapes=None):
    return {
        name: tf.Variable(tf.fill(shape, float(value) + index))
        for index, (name, shape) in enumerate((shapes or SHAPES).items())
    }


def values_of(variables):
    return {name: variable.numpy().tolist() for name, variable in variables.items()}


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "checkpoints")


@pytest.fixture
def warnings(caplog):
    """The text of what is logged."""
    absl_logging.get_absl_logger().addHandler(caplog.handler)
    caplog.set_level(logging.WARNING, logger="absl")
    yield lambda: caplog.text
    absl_logging.get_absl_logger().removeHandler(caplog.handler)


def save_steps(folder, *steps, keep=10):
    for step in steps:
        Checkpoints(folder, make_variables(step), keep).save(step)


def files_of(folder, step):
    return sorted(path for path in pathlib.Path(folder, f"step_{step:08d}").iterdir())


def test_restored_is_what_was_saved(folder):
    saved = make_variables(5)
    path = Checkpoints(folder, saved).save(7)
    assert path == os.path.join(folder, "step_00000007") and os.path.isdir(path)
    other = make_variables(0)
    assert Checkpoints(folder, other).restore() == 7
    assert values_of(other) == values_of(saved)


def test_nothing_to_restore(folder):
    variables = make_variables(1)
    assert Checkpoints(folder, variables).restore() is None
    assert values_of(variables) == values_of(make_variables(1))
    assert Checkpoints(folder, variables).steps() == []


def test_the_newest_few_stay(folder):
    save_steps(folder, 5, 100, 20, 9, keep=2)
    assert Checkpoints(folder, make_variables(0)).steps() == [20, 100]
    assert sorted(os.listdir(folder)) == ["step_00000020", "step_00000100"]


def test_the_newest_is_loaded_or_the_one_asked_for(folder):
    save_steps(folder, 9, 100)
    variables = make_variables(0)
    checkpoints = Checkpoints(folder, variables)
    assert checkpoints.restore() == 100 and values_of(variables) == values_of(make_variables(100))
    assert checkpoints.restore(9) == 9 and values_of(variables) == values_of(make_variables(9))
    with pytest.raises(UserError, match=r"no checkpoint of step 10 in .*; available steps: 9, 100"):
        checkpoints.restore(10)
    with pytest.raises(UserError, match="available steps: none"):
        Checkpoints(f"{folder}/other", variables).restore(10)


def test_a_step_may_be_saved_again(folder):
    save_steps(folder, 5)
    Checkpoints(folder, make_variables(50)).save(5)
    variables = make_variables(0)
    assert Checkpoints(folder, variables).restore() == 5
    assert values_of(variables) == values_of(make_variables(50))


def test_what_a_kill_left_half_written_does_not_count(folder):
    save_steps(folder, 5)
    shutil.copytree(f"{folder}/step_00000005", f"{folder}/step_00000009.tmp")
    checkpoints = Checkpoints(folder, make_variables(0), keep=1)
    assert checkpoints.steps() == [5] and checkpoints.restore() == 5
    checkpoints.save(9)
    assert os.listdir(folder) == ["step_00000009"]


@pytest.mark.parametrize("harm", ["cut", "empty", "missing"])
@pytest.mark.parametrize("name", ["shapes.json", "state.index", "state.data-00000-of-00001"])
def test_a_damaged_file_is_passed_over(folder, warnings, name, harm):
    save_steps(folder, 5, 9)
    path = pathlib.Path(folder, "step_00000009", name)
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 if harm == "cut" else 0])
    variables = make_variables(0)
    assert Checkpoints(folder, variables).restore() == 5
    assert values_of(variables) == values_of(make_variables(5))
    assert "step_00000009 is damaged and skipped" in warnings()


def test_a_changed_byte_anywhere_never_gives_wrong_numbers(folder):
    """The checkpoint is passed over, or refused (a digit of a shape was hit), or the byte did not matter."""
    save_steps(folder, 5, 9)
    rng = np.random.default_rng(0)
    good, older, untouched = (values_of(make_variables(value)) for value in (9, 5, 0))
    outcomes = collections.Counter()
    for path in files_of(folder, 9):
        content = path.read_bytes()
        for place in rng.choice(len(content), min(len(content), 40), replace=False):
            changed = bytes([content[place] ^ int(rng.integers(1, 256))])
            path.write_bytes(content[:place] + changed + content[place + 1 :])
            variables = make_variables(0)
            try:
                step = Checkpoints(folder, variables).restore()
                assert values_of(variables) == (good if step == 9 else older), (path.name, place)
            except UserError as error:
                assert path.name == "shapes.json" and "belongs to another model" in str(error)
                assert values_of(variables) == untouched
                step = None
            outcomes[step] += 1
        path.write_bytes(content)
    assert outcomes[5] > 60 and outcomes[5] > 4 * outcomes[None]


def test_all_damaged(folder):
    save_steps(folder, 5, 9)
    for step in (5, 9):
        pathlib.Path(folder, f"step_{step:08d}", "state.index").unlink()
    variables = make_variables(0)
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged. Remove the folder"):
        Checkpoints(folder, variables).restore()
    assert values_of(variables) == values_of(make_variables(0))


@pytest.mark.parametrize(
    "shapes,words",
    [
        (
            {**SHAPES, "model/a/kernel": [3, 5]},
            r"model/a/kernel is \[3, 4\] in the checkpoint and \[3, 5\] in",
        ),
        ({**SHAPES, "model/z": [2]}, r"model/z is absent in the checkpoint and \[2\] in the model"),
        ({"model/a/kernel": [3, 4]}, r"model/a/b_kernel is \[2\] in the checkpoint and absent in the model"),
    ],
)
def test_the_checkpoint_of_another_model(folder, shapes, words):
    save_steps(folder, 5)
    variables = make_variables(0, shapes)
    with pytest.raises(
        UserError,
        match=f"belongs to another model: the shape of {words}.*Use the config of the checkpoint, or another workdir",
    ):
        Checkpoints(folder, variables).restore()
    assert values_of(variables) == values_of(make_variables(0, shapes))


def test_a_part_of_the_variables(folder):
    save_steps(folder, 5)
    part = {"model/a_b/kernel": tf.Variable(tf.zeros([4]))}
    assert Checkpoints(folder, part).restore(partial=True) == 5
    np.testing.assert_array_equal(part["model/a_b/kernel"], [6.0] * 4)
    with pytest.raises(UserError, match="model/q is absent in the checkpoint"):
        Checkpoints(folder, {"model/q": tf.Variable(0.0)}).restore(partial=True)


def test_weights_are_read_one_at_a_time(folder):
    variables = make_variables(5)
    path = Checkpoints(folder, variables).save(7)
    weights = stored_weights(path)
    assert sorted(weights) == ["a/b_kernel", "a/kernel", "a_b/kernel"]
    for name, weight in weights.items():
        assert weight.shape == tuple(SHAPES[f"model/{name}"])
        np.testing.assert_array_equal(np.asarray(weight), variables[f"model/{name}"].numpy())
    state = next(pathlib.Path(path).glob("state.data*"))
    state.write_bytes(state.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"the checkpoint '.*step_00000007' is damaged: "):
        stored_weights(path)


def test_names_that_look_alike_stay_apart(folder):
    names = ["a/b", "a_b", "a__b", "a_/b", "a/_b", "a.b", "a/b+", "a/b++"]
    saved = {name: tf.Variable(float(index)) for index, name in enumerate(names)}
    Checkpoints(folder, saved).save(1)
    loaded = {name: tf.Variable(-1.0) for name in reversed(names)}
    Checkpoints(folder, loaded).restore()
    assert [float(loaded[name]) for name in names] == list(range(len(names)))


def test_the_file_of_shapes(folder):
    save_steps(folder, 5)
    record = json.loads(pathlib.Path(folder, "step_00000005", "shapes.json").read_text(encoding="utf-8"))
    assert record == {"step": 5, "shapes": SHAPES, "checksums": "SHA256SUMS"}


def test_a_disk_without_space_keeps_the_last_checkpoint_and_no_half(folder, largest_file):
    variables = {"model/kernel": tf.Variable(tf.ones([4000])), "step": tf.Variable(5)}
    checkpoints = Checkpoints(folder, variables)
    words = r"cannot write the checkpoint .*step_00000009': File too large\. "
    with pytest.raises(UserError, match=words + "There is no earlier checkpoint"), largest_file(8000):
        checkpoints.save(9)
    checkpoints.save(1500)
    with pytest.raises(UserError, match=r"The checkpoint of step 1,500 was kept\."), largest_file(8000):
        checkpoints.save(2000)
    assert os.listdir(folder) == ["step_00001500"] and checkpoints.restore() == 1500
    checkpoints.save(2000)
    assert checkpoints.steps() == [1500, 2000]


def test_tensorflow_s_own_message_of_a_full_disk(folder, monkeypatch):
    save_steps(folder, 7)
    checkpoints = Checkpoints(folder, make_variables(8))

    def save(prefix, **arguments):
        raise tf.errors.ResourceExhaustedError(
            None,
            None,
            f"{{{{function_node __wrapped__SaveV2}}}} {prefix}; No space left on device [Op:SaveV2]",
        )

    monkeypatch.setattr(tf.raw_ops, "SaveV2", save)
    with pytest.raises(UserError) as caught:
        checkpoints.save(8)
    assert str(caught.value) == (
        f"cannot write the checkpoint '{folder}/step_00000008': No space left on device. The checkpoint of step 7 was "
        "kept. Free disk space and run the same command again."
    )
    assert os.listdir(folder) == ["step_00000007"]
