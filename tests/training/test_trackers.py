"""What trackers send to their libraries: stand-ins with the signatures of mlflow 3.17.2, wandb 0.31.0, swanlab 0.10.3.

The libraries are large, and one does not install with tflm's protobuf; all three were tried with these versions.
"""

import inspect
import json
import math
import sys
import types

import pytest

from apps.train import FLAGS
from tflm.errors import UsageError, UserError
from tflm.training import TRACKERS, make_tracker


def mlflow_client(tracking_uri=None, registry_uri=None, workspace_store_uri=None): ...


def mlflow_update_run(run_id, status=None, name=None): ...


def mlflow_get_experiment_by_name(name): ...


def mlflow_create_experiment(name, artifact_location=None, tags=None):
    return "experiment"


def mlflow_create_run(experiment_id, start_time=None, tags=None, run_name=None):
    return types.SimpleNamespace(info=types.SimpleNamespace(run_id="an id"))


def mlflow_log_batch(run_id, metrics=(), params=(), tags=(), synchronous=None): ...


def mlflow_set_terminated(run_id, status=None, end_time=None): ...


def mlflow_metric(
    key, value, timestamp, step, model_id=None, dataset_name=None, dataset_digest=None, run_id=None
):
    return {key: value, "step": step}


def mlflow_param(key, value):
    return {key: value}


def wandb_init(
    entity=None,
    project=None,
    dir=None,
    id=None,
    name=None,
    config=None,
    mode=None,
    resume=None,
    settings=None,
): ...


def wandb_define_metric(
    name, step_metric=None, step_sync=None, hidden=None, summary=None, overwrite=None
): ...


def wandb_log(data, step=None, commit=None): ...


def wandb_finish(exit_code=None): ...


def swanlab_init(
    *, log_dir=None, mode=None, workspace=None, project=None, name=None, id=None, resume=None, config=None
): ...


def swanlab_log(data, step=None): ...


def swanlab_finish(state="success", error=None, async_log_timeout=None): ...


@pytest.fixture
def calls(monkeypatch):
    """The calls of all stand-ins: (name, arguments by name). A call that the library would refuse is a TypeError."""
    made = []

    def recorded(function, result=None):
        signature, name = inspect.signature(function), function.__name__

        def call(*arguments, **named):
            made.append((name, dict(signature.bind(*arguments, **named).arguments)))
            return function(*arguments, **named) if result is None else result

        return call

    names = (
        "update_run",
        "get_experiment_by_name",
        "create_experiment",
        "create_run",
        "log_batch",
        "set_terminated",
    )
    client = types.SimpleNamespace(**{name: recorded(globals()[f"mlflow_{name}"]) for name in names})
    entities = types.SimpleNamespace(Metric=mlflow_metric, Param=mlflow_param)
    mlflow = types.SimpleNamespace(MlflowClient=recorded(mlflow_client, client), entities=entities)
    of_wandb = {name: recorded(globals()[f"wandb_{name}"]) for name in ("define_metric", "log", "finish")}
    run = types.SimpleNamespace(**of_wandb, dir="/runs/wandb/offline-run-1/files", url=None, offline=True)
    wandb = types.SimpleNamespace(init=recorded(wandb_init, run))
    of_swanlab = {name: recorded(globals()[f"swanlab_{name}"]) for name in ("log", "finish")}
    run = types.SimpleNamespace(**of_swanlab, dir="/runs/swanlab/run-1", mode="offline")
    swanlab = types.SimpleNamespace(init=recorded(swanlab_init, run))
    for name, module in (("mlflow", mlflow), ("wandb", wandb), ("swanlab", swanlab)):
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delenv(f"{name.upper()}_MODE", raising=False)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return made


CONFIG = {"name": "诗", "model": {"num_layers": 2}, "data": {"languages": ["中文"]}}


def track(kind, workdir, failed=False, notes=None):
    notes = [] if notes is None else notes
    tracker = make_tracker(kind, str(workdir), "诗", CONFIG)
    tracker.begin(0, [], notes.append)
    tracker.recorded(2, {"loss": 1.5})
    tracker.recorded(2, {"eval_loss": math.inf})
    tracker.end(failed)
    return notes


def test_mlflow(calls, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert track("mlflow", tmp_path) == [f"mlflow: mlflow ui --backend-store-uri={uri}"]
    names = [name for name, _ in calls]
    assert names[0] == "mlflow_client" and calls[0][1] == {"tracking_uri": uri}
    assert ("mlflow_create_experiment", {"name": "tflm"}) in calls
    assert ("mlflow_create_run", {"experiment_id": "experiment", "run_name": "诗"}) in calls
    batches = [arguments for name, arguments in calls if name == "mlflow_log_batch"]
    assert batches[0]["params"] == [{"name": "诗"}, {"model.num_layers": "2"}, {"data.languages": '["中文"]'}]
    assert batches[1]["metrics"] == [{"loss": 1.5, "step": 2}] and batches[1]["run_id"] == "an id"
    assert batches[2]["metrics"] == [{"eval_loss": math.inf, "step": 2}]
    assert calls[-1] == ("mlflow_set_terminated", {"run_id": "an id", "status": "FINISHED"})
    calls.clear()
    track("mlflow", tmp_path, failed=True)
    assert calls[1] == ("mlflow_update_run", {"run_id": "an id", "status": "RUNNING"})
    assert not [name for name, _ in calls if "create" in name]
    assert calls[-1][1]["status"] == "FAILED"


def test_wandb(calls, tmp_path):
    assert track("wandb", tmp_path) == ["wandb: wandb sync /runs/wandb/offline-run-1"]
    first = calls[0][1]
    assert (first["mode"], first["dir"], first["name"]) == ("offline", str(tmp_path), "诗")
    assert (first["project"], first["config"], first["resume"]) == ("tflm", CONFIG, "allow")
    assert calls[1:] == [
        ("wandb_define_metric", {"name": "*", "step_metric": "step"}),
        ("wandb_log", {"data": {"step": 2, "loss": 1.5}}),
        ("wandb_log", {"data": {"step": 2, "eval_loss": math.inf}}),
        ("wandb_finish", {"exit_code": 0}),
    ]
    calls.clear()
    track("wandb", tmp_path, failed=True)
    assert calls[0][1]["id"] == first["id"] and len(first["id"]) == 8
    assert calls[-1] == ("wandb_finish", {"exit_code": 1})


def test_swanlab(calls, tmp_path):
    assert track("swanlab", tmp_path) == ["swanlab: swanlab sync /runs/swanlab/run-1"]
    first = calls[0][1]
    assert (first["mode"], first["log_dir"], first["name"]) == ("offline", f"{tmp_path}/swanlab", "诗")
    assert calls[1:3] == [
        ("swanlab_log", {"data": {"loss": 1.5}, "step": 2}),
        ("swanlab_log", {"data": {"eval_loss": math.inf}, "step": 2}),
    ]
    assert calls[-1] == ("swanlab_finish", {})
    calls.clear()
    track("swanlab", tmp_path, failed=True)
    assert calls[0][1]["id"] == first["id"]
    assert calls[-1] == ("swanlab_finish", {"state": "crashed", "error": "the training failed"})


def test_environment_variables_of_the_libraries_say_where(calls, tmp_path, monkeypatch):
    for name, value in (
        ("MLFLOW_TRACKING_URI", "http://服务器:5000"),
        ("MLFLOW_EXPERIMENT_NAME", "poems"),
        ("WANDB_MODE", "online"),
        ("WANDB_PROJECT", "poems"),
        ("SWANLAB_MODE", "online"),
    ):
        monkeypatch.setenv(name, value)
    assert track("mlflow", tmp_path) == ["mlflow: http://服务器:5000"]
    assert ("mlflow_create_experiment", {"name": "poems"}) in calls
    for kind in ("wandb", "swanlab"):
        calls.clear()
        track(kind, tmp_path)
        assert calls[0][1]["mode"] is None
        assert kind == "swanlab" or calls[0][1]["project"] is None
    assert set(json.loads((tmp_path / "trackers.json").read_text(encoding="utf-8"))) == {
        "mlflow",
        "wandb",
        "swanlab",
    }


def test_a_tracker_that_fails_is_reported_once_and_left_out(calls, tmp_path, monkeypatch):
    def full(data, step=None, commit=None):
        raise OSError("没有空间")

    monkeypatch.setattr(sys.modules["wandb"].init(), "log", full)
    notes = track("wandb", tmp_path)
    assert notes[1:] == ["wandb failed, and the training goes on without it: 没有空间"]
    assert "wandb_finish" not in [name for name, _ in calls]


@pytest.mark.parametrize("kind", sorted(TRACKERS))
def test_a_library_that_is_missing(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(
        UserError, match=rf"--tracker={kind}: .*Install it: (pip install 'tflm\[{kind}\]'|see docs)"
    ):
        make_tracker(kind, str(tmp_path), "a", {})


def test_another_kind(tmp_path):
    with pytest.raises(
        UsageError, match=r"--tracker=跟踪: no such tracker\. There are: mlflow, swanlab, wandb\."
    ):
        make_tracker("跟踪", str(tmp_path), "a", {})


def test_the_flag_has_all_trackers():
    assert FLAGS["tracker"].parser.enum_values == sorted(TRACKERS) == list(TRACKERS)
