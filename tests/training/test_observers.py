"""What looks at a training: when it is called, that it changes nothing, profiles and histograms."""

import glob

import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UsageError
from tflm.training import read_log
from tflm.training.observers import Histograms, Profile, TrainingObserver, parse_profile


class Recorder(TrainingObserver):
    """Keeps what it is called with."""

    def __init__(self):
        self.calls = []

    def begin(self, step, past, note_fn):
        self.calls.append(("begin", step, len(list(past))))

    def steps_until_pause(self, step):
        return 3 - step if step < 3 else None

    def before_steps(self, step):
        self.calls.append(("before", step))

    def recorded(self, step, values):
        self.calls.append(("recorded", step, "eval_loss" if "eval_loss" in values else "loss"))

    def evaluated(self, step):
        self.calls.append(("evaluated", step))

    def end(self, failed):
        self.calls.append(("end", failed))


def tags(workdir):
    """(step, name) of all that TensorBoard has."""
    found = set()
    for path in glob.glob(f"{workdir}/tensorboard/events*"):
        for record in tf.data.TFRecordDataset(path):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found |= {(event.step, value.tag) for value in event.summary.value}
    return found


@pytest.fixture(scope="module")
def watched(small_run, tmp_path_factory):
    """A run with observers, and one without: their trainers and folders."""
    made = []
    for name in ("watched", "plain"):
        workdir = tmp_path_factory.mktemp(name)
        trainer = small_run.make_trainer(workdir, num_micro_batches=2)
        recorder, notes = Recorder(), []
        observers = [recorder, Profile("5:6", str(workdir), 8), Histograms(trainer.model.trainable_variables)]
        trainer.train(
            small_run.Numbers(),
            small_run.Numbers(2),
            note_fn=notes.append,
            observers=observers if name == "watched" else [],
        )
        made.append((trainer, workdir, recorder, notes))
    return made


def test_an_observer_is_called_in_order(watched):
    recorder = watched[0][2]
    assert recorder.calls[:9] == [
        ("begin", 0, 0),
        ("before", 0),
        ("recorded", 2, "loss"),
        ("before", 2),
        ("recorded", 3, "loss"),
        ("before", 3),
        ("recorded", 4, "loss"),
        ("recorded", 4, "eval_loss"),
        ("evaluated", 4),
    ]
    assert recorder.calls[-1] == ("end", False)


def test_observers_change_nothing(small_run, watched):
    """Dropout included; the steps are cut into other calls."""
    one, other = (small_run.all_state(made[0]) for made in watched)
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_the_noise_scale_is_logged(watched):
    records = [record for record in read_log(str(watched[1][1])) if "loss" in record]
    assert all("gradient_noise" in record and "gradient_signal" in record for record in records)
    for record in records:
        if "gradient_noise_scale" in record:
            assert record["gradient_noise_scale"] > 0.0


def test_a_profile_of_some_steps(watched):
    _, workdir, _, notes = watched[0]
    assert glob.glob(f"{workdir}/tensorboard/plugins/profile/*/*.xplane.pb")
    assert f"profile of the steps 5 to 6: {workdir}/tensorboard" in notes
    steps = [record["step"] for record in read_log(str(workdir)) if "loss" in record]
    assert steps == [2, 3, 4, 5, 6, 8]


def test_histograms_of_the_weights_after_each_evaluation(watched):
    trainer, workdir = watched[0][:2]
    paths = {variable.path for variable in trainer.model.trainable_variables}
    assert {(step, f"weights/{path}") for step in (4, 8) for path in paths} <= tags(workdir)
    assert not [name for _, name in tags(watched[1][1]) if name.startswith("weights/")]


def test_a_failed_training_is_said_to_observers(small_run, tmp_path):
    recorder = Recorder()
    trainer = small_run.make_trainer(tmp_path, "plain_lstm")
    with pytest.raises(tf.errors.OpError, match="no space left"):
        trainer.train(small_run.Numbers(fail_at=3), None, observers=[recorder])
    assert recorder.calls[-1] == ("end", True)


@pytest.mark.parametrize(
    "steps, words",
    [
        ("100", "--profile is FIRST:LAST, such as 100:110 for the steps 101 to 110; got '100'."),
        ("五:六", "got '五:六'."),
        ("8:8", "got '8:8'."),
        ("1:2:3", "got '1:2:3'."),
        (
            "90:110",
            "--profile=90:110: the training has 100 steps. Choose earlier ones, such as --profile=90:100.",
        ),
    ],
)
def test_a_wrong_profile(steps, words):
    with pytest.raises(UsageError) as error:
        parse_profile(steps, 100)
    assert words in str(error.value)


def test_a_profile_whose_steps_are_done(tmp_path):
    notes = []
    Profile("2:4", str(tmp_path)).begin(5, [], notes.append)
    assert notes == ["no profile: the steps 2 to 4 are done."]
