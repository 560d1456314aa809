"""Workers by command: their environment, their lines, restarts and exit codes. What the workers train is in
tests/training/test_workers.py."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from apps import launch
from tests.apps import refusals

ROOT = pathlib.Path(__file__).parents[2]

WORKER = """
import json, os, pathlib, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
index, folder = config["task"]["index"], pathlib.Path(sys.argv[2])
tries = len(list(folder.glob(f"{index}.*")))
(folder / f"{index}.{tries}").write_text(json.dumps([config, os.environ.get("CUDA_VISIBLE_DEVICES")]))
print(f"工人 {index}, try {tries}", flush=True)
print("a note", file=sys.stderr, flush=True)
def wait(code):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
    (folder / f"waits.{index}").touch()
    time.sleep(60)
"""


@pytest.fixture(name="start")
def start_fixture(tmp_path, monkeypatch, call):
    """`start(BODY, *FLAGS)`: launches workers that run BODY after `WORKER`; what it prints goes to files."""

    def start(body, *flag_values):
        script = tmp_path / "worker.py"
        script.write_text(WORKER + body, encoding="utf-8")
        monkeypatch.setattr(launch, "PROGRAM", (sys.executable, str(script)))
        return call("launch", *flag_values, "--", "train", str(tmp_path))

    return start


def config_of(folder, index, number=0):
    return json.loads((folder / f"{index}.{number}").read_text(encoding="utf-8"))


def test_workers_know_each_other_and_their_lines_are_numbered(start, tmp_path):
    done = start("", "--num_workers=3", "--gpus_per_worker=2")
    assert done.code == 0, done.err
    assert sorted(done.out.splitlines()) == [f"[{index}] 工人 {index}, try 0" for index in range(3)]
    assert sorted(done.err.splitlines()) == [f"[{index}] a note" for index in range(3)]
    configs = [config_of(tmp_path, index) for index in range(3)]
    workers = configs[0][0]["cluster"]["worker"]
    assert len(set(workers)) == 3 and all(each[0]["cluster"]["worker"] == workers for each in configs)
    assert [each[0]["task"] for each in configs] == [{"type": "worker", "index": i} for i in range(3)]
    assert [each[1] for each in configs] == ["0,1", "2,3", "4,5"]


FAILS = """
if index == 1:
    while not (folder / "waits.0").exists():
        time.sleep(0.01)
    sys.exit(1)
wait(75)
"""


def test_one_that_fails_ends_the_others(start):
    done = start(FAILS)
    assert done.code == 1
    assert done.err.splitlines()[-1] == "launch: exit codes of the workers: worker 0: 75, worker 1: 1."


def test_one_that_does_not_end_is_killed(start):
    done = start(
        FAILS.replace(
            "wait(75)",
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); (folder / 'waits.0').touch(); time.sleep(60)",
        ),
        "--grace=0.5",
    )
    assert done.code == 1 and "worker 0: -9, worker 1: 1" in done.err


RESTARTED = """
if index == 0:
    sys.exit(75 if tries < 2 else 0)
while not (folder / "0.2").exists():
    time.sleep(0.01)
"""


def test_restarts_until_it_is_done(start, tmp_path):
    done = start(RESTARTED, "--max_restarts=5")
    assert done.code == 0, done.err
    assert "launch: worker 0: 75, worker 1: -15; starting all again (2 of 5)." in done.err
    assert "(3 of 5)" not in done.err
    first, last = (config_of(tmp_path, 0, number)[0]["cluster"] for number in (0, 2))
    assert first != last, "other ports: those of before may still be in use"


@pytest.mark.parametrize(
    "body, code, restarts",
    [
        ("sys.exit(75)", 75, 1),
        ("sys.exit(2 if index else 0)", 2, 0),
        ("os.kill(os.getpid(), signal.SIGKILL) if index == 0 else wait(0)", 137, 1),
    ],
)
def test_exit_codes_after_the_last_restart(start, body, code, restarts):
    done = start(body, "--max_restarts=1")
    assert done.code == code and done.err.count("starting all again") == restarts


ENDS = """
def end(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it comes again as threads of the launcher end
    (folder / f"ended.{index}").touch()
    os._exit(75)
signal.signal(signal.SIGTERM, end)
(folder / f"waits.{index}").touch()
time.sleep(20)
(folder / "late").touch()
(folder / f"ended.{index}").touch()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_killed_it_leaves_no_workers(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER + ENDS, encoding="utf-8")
    program = "import sys; from apps import launch; launch.PROGRAM = sys.argv[1:3]; launch.run(sys.argv[3:])"
    arguments = [sys.executable, str(tmp_path / "worker.py"), "launch", "--", "train", str(tmp_path)]
    launched = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT)
    while len(list(tmp_path.glob("waits.*"))) < 2:
        assert launched.poll() is None
        time.sleep(0.05)
    launched.kill()
    launched.wait()
    while len(list(tmp_path.glob("ended.*"))) < 2:
        time.sleep(0.05)
    assert not (tmp_path / "late").exists(), "a worker went on alone"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_forwarded_and_75_passes_through(start, tmp_path, number):
    def interrupt():
        while not all((tmp_path / f"waits.{index}").exists() for index in range(2)):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    body = f"signal.signal({int(number)}, lambda *_: sys.exit(75))"
    wait = f"; {body}; (folder / f'waits.{{index}}').touch(); time.sleep(60)"
    done = start(body + wait, "--max_restarts=5")
    assert done.code == 75 and "starting all again" not in done.err
    assert signal.getsignal(number) is not launch.Workers._forward


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "give the command of the workers after --: tflm launch --num_workers=2 -- train ..."),
        (["--"], "give the command of the workers after --"),
        (["--", "serve"], "-- train ...; got 'serve'"),
        (["train"], "unexpected argument 'train'"),
        (["--num_workers=0", "--", "train"], "num_workers"),
    ],
)
def test_wrong_usage(call, arguments, words):
    refusals.check(call("launch", *arguments), 2, words)


def test_the_wrong_usage_of_the_workers_is_theirs(call, tmp_path):
    """By the true program: `tflm train` refuses the flag before it imports TensorFlow."""
    done = call("launch", "--num_workers=1", "--", "train", "--colour=red")
    assert done.code == 2 and "[0] error: Unknown command line flag 'colour'" in done.err


def test_ports_are_free_and_different():
    ports = launch.free_ports(5)
    assert len(set(ports)) == 5 and all(0 < port < 65536 for port in ports)
