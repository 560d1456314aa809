"""SIGTERM and Ctrl-C: a checkpoint at once, and the same weights in the end."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from apps.common.command_line import run_guarded
from tflm.errors import Interrupted
from tflm.training import preemption, read_log
from tflm.training.preemption import StopSignals

SPEED = {"time", "seconds", "tokens_per_second", "share_of_peak", "data_wait"}


def lines(workdir):
    return [{k: v for k, v in record.items() if k not in SPEED} for record in read_log(str(workdir))]


def sender(small_run, number, at, count=1):
    """Batches whose reading sends a signal to this process before batch `at`, once."""

    class Signalling(small_run.Numbers):
        is_sent = False

        def _batch(self, batch):
            if batch == at and not self.is_sent:
                self.is_sent = True
                os.kill(os.getpid(), number)
            return super()._batch(batch)

    return Signalling(count)


def assert_same_end(small_run, trainer, workdir, whole):
    other, whole_dir = whole
    for name, value in small_run.all_state(trainer).items():
        np.testing.assert_array_equal(value, small_run.all_state(other)[name], err_msg=name)
    assert lines(workdir) == lines(whole_dir)


@pytest.fixture(scope="module")
def whole(small_run, tmp_path_factory, no_measuring):
    workdir = tmp_path_factory.mktemp("whole")
    trainer = small_run.make_trainer(workdir, "lstm")
    trainer.train(small_run.Numbers(), small_run.Numbers(2))
    return trainer, workdir


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_steps_saves_and_the_run_goes_on(small_run, tmp_path, whole, number):
    handlers, notes = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)], []
    trainer = small_run.make_trainer(tmp_path, "lstm")
    with pytest.raises(Interrupted) as caught:
        trainer.train(
            sender(small_run, number, at=1, count=10**9), small_run.Numbers(2), note_fn=notes.append
        )
    step, name = caught.value.step, signal.Signals(number).name
    assert step in (2, 4, 6), "the data is read ahead"
    assert trainer.checkpoints.steps()[-1] == step and caught.value.signal == name
    assert str(caught.value) == (
        f"{name}: saved a checkpoint at step {step} of 8. The same command continues from there."
    )
    assert f"{name}: saving a checkpoint after the running steps." in notes[0]
    assert ("Ctrl-C again leaves at once" in notes[0]) == (number == signal.SIGINT)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    again = small_run.make_trainer(tmp_path, "lstm")
    again.train(small_run.Numbers(), small_run.Numbers(2))
    assert_same_end(small_run, again, tmp_path, whole)


@pytest.mark.parametrize("last", [4, 8])
def test_a_signal_during_an_evaluation_ends_it_and_it_is_made_when_resumed(small_run, tmp_path, whole, last):
    trainer = small_run.make_trainer(tmp_path, "lstm")
    trainer.train(small_run.Numbers(), small_run.Numbers(2), stop_at=last - 2)
    with pytest.raises(Interrupted, match=f"at step {last} of 8"):
        small_run.make_trainer(tmp_path, "lstm").train(
            small_run.Numbers(), sender(small_run, signal.SIGTERM, at=0, count=2)
        )
    assert [record["step"] for record in read_log(str(tmp_path)) if "eval_loss" in record][-1] == last - 2
    again = small_run.make_trainer(tmp_path, "lstm")
    metrics = again.train(small_run.Numbers(), small_run.Numbers(2))
    assert metrics["loss"] == pytest.approx(lines(whole[1])[-1]["eval_loss"], rel=1e-6)
    evaluated = [record["step"] for record in read_log(str(tmp_path)) if "eval_loss" in record]
    assert evaluated[-2:] == ([4, 8] if last == 4 else [6, 8])
    assert again.train(small_run.Numbers(), small_run.Numbers(2)) == {}


def test_a_signal_before_the_first_step(small_run, tmp_path):
    trainer = small_run.make_trainer(tmp_path, "lstm", keep_best="loss ")

    class Meter:
        def __init__(self, *arguments):
            os.kill(os.getpid(), signal.SIGTERM)

    trainer._speed_meter = Meter
    with pytest.raises(
        Interrupted, match=r"SIGTERM: stopped before the first step. The same command begins again"
    ):
        trainer.train(small_run.Numbers(), small_run.Numbers(2))
    assert trainer.checkpoints.steps() == []


def test_outside_the_main_thread_nothing_is_installed():
    handler, found = signal.getsignal(signal.SIGTERM), []

    def enter():
        with StopSignals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [handler]


def test_an_ignored_signal_stays_ignored():
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN and signals.received == ""
    finally:
        signal.signal(signal.SIGINT, handler)


def test_where_an_event_loop_has_the_wakeup_the_second_one_interrupts():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    kept = signal.set_wakeup_fd(writer)
    try:
        with pytest.raises(KeyboardInterrupt), StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.received == "SIGINT"
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.set_wakeup_fd(writer) == writer
    finally:
        signal.set_wakeup_fd(kept)
        os.close(reader)
        os.close(writer)


BLOCKED = """
import ctypes, os, runpy, sys
with runpy.run_path(sys.argv[1])["StopSignals"](lambda text: os.write(1, f"{text}\\n".encode())):
    os.write(1, b"ready\\n")
    mutex = ctypes.create_string_buffer(64)
    libc = ctypes.CDLL(None)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # as a call of compiled steps: no Python code runs
"""


def test_a_second_ctrl_c_leaves_at_once_also_during_a_call():
    command = [sys.executable, "-c", BLOCKED, preemption.__file__]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert b"SIGINT: saving a checkpoint" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert process.poll() is None, "SIGTERM is no second Ctrl-C"
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert b"interrupted again: left without a new checkpoint." in error


def test_the_exit_code_says_resume_me(capsys):
    def work():
        raise Interrupted("SIGTERM: saved a checkpoint at step 5 of 8. 检查点已保存。", "SIGTERM", 5)

    assert run_guarded(work) == 75
    assert capsys.readouterr().err == "SIGTERM: saved a checkpoint at step 5 of 8. 检查点已保存。\n"
