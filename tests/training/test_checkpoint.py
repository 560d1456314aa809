"""Checkpoints: what goes in comes out, damage is noticed whatever byte it hits, and nothing half-written counts."""

import collections
import hashlib
import json
import logging
import os
import pathlib
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf
from absl import logging as absl_logging

from tflm.errors import UserError
from tflm.training import Checkpoints
from tflm.training import checkpoint as checkpoint_module
from tflm.training.checkpoint_files import stored_weights
from tflm.training.stored_model import average_checkpoints, check_choice, newest_steps

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
@pytest.mark.parametrize("name", ["shapes.json", "state.index", "state.data-00000-of-00001", "SHA256SUMS"])
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
    """The checkpoint is passed over, whichever file and byte was hit."""
    save_steps(folder, 5, 9)
    rng = np.random.default_rng(0)
    older, tried = values_of(make_variables(5)), collections.Counter()
    for path in files_of(folder, 9):
        content = path.read_bytes()
        for place in rng.choice(len(content), min(len(content), 40), replace=False):
            changed = bytes([content[place] ^ int(rng.integers(1, 256))])
            path.write_bytes(content[:place] + changed + content[place + 1 :])
            variables = make_variables(0)
            assert Checkpoints(folder, variables).restore() == 5, (path.name, place)
            assert values_of(variables) == older, (path.name, place)
            tried[path.name] += 1
        path.write_bytes(content)
    assert len(tried) == 4 and min(tried.values()) == 40


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


def test_the_checksums_are_those_of_sha256sum(folder):
    save_steps(folder, 5)
    *files, sums = sorted(files_of(folder, 5), key=lambda path: path.name == "SHA256SUMS")
    expected = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    assert sums.read_text(encoding="utf-8").splitlines() == expected


def test_a_checkpoint_of_an_earlier_version_has_no_checksums(folder, warnings):
    """It loads, and TensorFlow's own checksums still tell a damaged one."""
    save_steps(folder, 5, 9)
    for step in (5, 9):
        path = pathlib.Path(folder, f"step_{step:08d}")
        (path / "SHA256SUMS").unlink()
        (path / "shapes.json").write_text(json.dumps({"step": step, "shapes": SHAPES}), encoding="utf-8")
    variables = make_variables(0)
    assert Checkpoints(folder, variables).restore() == 9
    assert values_of(variables) == values_of(make_variables(9))
    data = pathlib.Path(folder, "step_00000009", "state.data-00000-of-00001")
    content = data.read_bytes()
    data.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    assert Checkpoints(folder, variables).restore() == 5
    assert "step_00000009 is damaged and skipped" in warnings()


def test_tensorflow_reads_it_as_its_own_checkpoint(folder):
    """Earlier versions restore with `tf.train.Checkpoint`, by its graph of objects."""
    path = Checkpoints(folder, make_variables(5, {"model/a_b": [2], "step": []})).save(7)
    target = {"model_.a__b": tf.Variable([0.0, 0.0]), "step": tf.Variable(0.0)}
    tf.train.Checkpoint(**target).read(f"{path}/state").assert_consumed()
    assert values_of(target) == {"model_.a__b": [5.0, 5.0], "step": 6.0}


@pytest.fixture
def held_write(monkeypatch):
    """Writes in the background wait for this event."""
    event, write = threading.Event(), checkpoint_module.write_files

    def write_later(*arguments):
        assert event.wait(60)
        write(*arguments)

    monkeypatch.setattr(checkpoint_module, "write_files", write_later)
    yield event
    event.set()


def test_in_the_background_the_values_at_the_save_are_written(folder, held_write):
    """The variables change in place, by a compiled function as in training, before anything is written."""
    variables = {name: tf.Variable(tf.ones([300, 300]) * n) for n, name in enumerate(("a", "b"))}
    variables["step"] = tf.Variable(3, dtype=tf.int64)
    saved = values_of(variables)
    checkpoints = Checkpoints(folder, variables, background=True)

    @tf.function
    def train():
        for variable in variables.values():
            variable.assign_add(tf.ones_like(variable))

    train()
    for variable in variables.values():
        variable.assign_sub(tf.ones_like(variable))
    assert checkpoints.save(3) == checkpoints.path(3)
    for _ in range(3):
        train()
    assert not os.path.exists(checkpoints.path(3))
    held_write.set()
    assert checkpoints.steps() == [3], "it waits for the write"
    checkpoints.restore()
    assert values_of(variables) == saved


def test_a_save_waits_for_the_one_before(folder, held_write):
    variables = make_variables(0)
    checkpoints = Checkpoints(folder, variables, background=True)
    checkpoints.save(1)
    threading.Timer(0.2, held_write.set).start()
    variables["model/a/kernel"].assign_add(tf.ones([3, 4]))
    checkpoints.save(2)
    assert os.path.isdir(checkpoints.path(1))
    checkpoints.wait()
    for step, value in ((1, 0.0), (2, 1.0)):
        assert checkpoints.restore(step) == step
        assert np.all(variables["model/a/kernel"].numpy() == value)


def test_an_error_of_the_background_is_raised_at_the_next_save_and_at_the_end(folder, largest_file):
    variables = {"model/kernel": tf.Variable(tf.ones([4000])), "step": tf.Variable(5)}
    checkpoints = Checkpoints(folder, variables, background=True)
    checkpoints.save(1500)
    checkpoints.wait()
    words = r"step_00002000': File too large\. The checkpoint of step 1,500 was kept\."
    with largest_file(8000):
        checkpoints.save(2000)
        with pytest.raises(UserError, match=words):
            checkpoints.save(2500)
        with pytest.raises(UserError, match=words), checkpoints.finishing():
            checkpoints.save(2000)
    assert os.listdir(folder) == ["step_00001500"] and checkpoints.restore() == 1500
    checkpoints.save(2000)
    assert checkpoints.steps() == [1500, 2000]


def test_the_error_under_way_is_the_one_that_is_raised(folder, largest_file, warnings):
    checkpoints = Checkpoints(folder, {"kernel": tf.Variable(tf.ones([4000]))}, background=True)
    with largest_file(8000), pytest.raises(RuntimeError, match="first"), checkpoints.finishing():
        checkpoints.save(1)
        raise RuntimeError("first")
    assert "step_00000001': File too large" in warnings()


def test_multiples_of_keep_every_and_the_best_are_kept(folder):
    checkpoints = Checkpoints(folder, make_variables(0), keep=1, keep_every=4)
    values = {1: 3.0, 2: 2.0, 3: None, 4: None, 5: 1.5, 6: None, 7: None, 8: None, 9: None}
    for step, value in values.items():
        checkpoints.save(step, value and {"measure": "loss", "value": value})
    assert checkpoints.steps() == [4, 5, 8, 9]
    assert checkpoints.best() == {"step": 5, "measure": "loss", "value": 1.5}
    checkpoints.save(10, {"measure": "loss", "value": 1.0})
    checkpoints.save(11)
    assert checkpoints.steps() == [4, 8, 10, 11]
    pathlib.Path(folder, "best.json").write_text("{", encoding="utf-8")
    assert checkpoints.best() is None


def test_an_average(folder):
    steps = (10, 20, 30)
    for step in steps:
        variables = make_variables(step)
        variables["model/generator"] = tf.Variable([step, 7])
        variables["step"] = tf.Variable(step)
        Checkpoints(folder, variables, 10).save(step)
    path, averaged = average_checkpoints(folder, [30, 10])
    assert averaged == [10, 30] and path == f"{folder}/average"
    target = {name: tf.Variable(tf.zeros(shape)) for name, shape in SHAPES.items() if name[:5] == "model"}
    target["model/generator"] = tf.Variable([0, 0])
    checkpoints = Checkpoints(folder, target)
    assert checkpoints.restore_from(path) == 30
    assert values_of(target)["model/a_b/kernel"] == [(11 + 31) / 2] * 4
    assert values_of(target)["model/generator"] == [30, 7], "that of the newest"
    assert checkpoints.steps() == [10, 20, 30], "it is not one of a step"
    assert newest_steps(folder, 2) == [20, 30]
    with pytest.raises(UserError, match=r"4 checkpoints are needed; .* has 3 \(steps 10, 20, 30\)"):
        newest_steps(folder, 4)
    with pytest.raises(UserError, match="at least 2 checkpoints; got 1"):
        average_checkpoints(folder, [10, 10])
    with pytest.raises(UserError, match=r"no checkpoint of step 15 in .*; available steps: 10, 20, 30"):
        average_checkpoints(folder, [10, 15])
    data = pathlib.Path(path, "state.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(
        UserError, match=r"average' is damaged: state.data-00000-of-00001 is not what was written"
    ):
        checkpoints.restore_from(path)


def test_an_average_of_different_models(folder):
    Checkpoints(folder, {"model/a": tf.Variable([1.0])}).save(1)
    Checkpoints(folder, {"model/a": tf.Variable([1.0, 2.0])}).save(2)
    with pytest.raises(UserError, match="steps 1 and 2 differ in the shape of model/a"):
        average_checkpoints(folder, [1, 2])
    assert sorted(os.listdir(folder)) == ["step_00000001", "step_00000002"]


@pytest.mark.parametrize("choice, expected", [(None, "newest"), ("best", "best"), (7, 7), ("500", 500)])
def test_a_choice(choice, expected):
    assert check_choice(choice) == expected


def test_a_choice_that_is_none():
    with pytest.raises(UserError, match="newest, best, average, ema or a step, such as 500; got '最好'"):
        check_choice("最好")
