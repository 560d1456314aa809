"""Three tiny models, each trained and exported once by the apps themselves, and a way to call an app."""

import contextlib
import functools
import importlib
import io
import os
import pathlib
import pickle
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.parallel import reopen_log_handlers
from tflm.experiments import Experiment
from tflm.export.verify import as_written
from tflm.generation import DecodingConfig, settings_lists, settings_specs
from tflm.serving import connect

FEW_STEPS = ("training.num_steps=24", "training.warmup_steps=4", "training.log_every=6")
SMALL_EVAL = "training.max_eval_batches=2"


class Terminal(io.TextIOWrapper):
    """Standard input that passes for a terminal."""

    def isatty(self) -> bool:
        return True


def call(name: str, *arguments: str, stdin: bytes = b"", at_terminal: bool = False) -> types.SimpleNamespace:
    """Runs `apps.NAME` in this process: its exit code, and what it wrote to standard output and error."""
    tf.get_logger()  # it keeps the standard error of its first message, which is not to be that of this call
    reopen_log_handlers()  # after an earlier call, whose standard error is closed
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    kept = sys.stdin
    sys.stdin = (Terminal if at_terminal else io.TextIOWrapper)(io.BytesIO(stdin), "utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = importlib.import_module(f"apps.{name}").run([name, *arguments])
    finally:
        sys.stdin = kept
    shown = [stream.buffer.getvalue().decode("utf-8") for stream in (out, err)]
    return types.SimpleNamespace(code=code, out=shown[0], err=shown[1], lines=shown[0].splitlines())


load_once = functools.cache(connect)


@pytest.fixture(name="call", scope="session")
def call_fixture():
    """`call(NAME, *arguments, stdin=b"", at_terminal=False)`. An export is loaded once for all calls: that takes time,
    and some hundred megabytes that TensorFlow never gives back. A server is connected to anew by each call."""

    def connect_or_take(path: str, **options: Any) -> Any:
        return connect(path, **options) if "://" in path else load_once(path, **options)

    def call_with_models_kept(*arguments: Any, **options: Any) -> types.SimpleNamespace:
        # For this call alone: other tests open models of their own.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tflm.serving.connect", connect_or_take)
            return call(*arguments, **options)

    return call_with_models_kept


class Trained:
    """One run of `tflm train` and its export by `tflm export`."""

    BATCHES = (["What is AI?"], ["你好"], ["什么是ai", "Are you a robot?", "def f(", "你 and I 😀"])
    """Batches of one and of unequal lengths, in English and in Chinese."""

    def __init__(
        self, folder: str, preset: str, *overrides: str, version: int = 1, signatures: str = ""
    ) -> None:
        self.preset, self.workdir, self.model = preset, f"{folder}/runs/{preset}", f"{folder}/models/{preset}"
        self.train_arguments = [f"--preset={preset}", f"--workdir={self.workdir}"]
        self.train_arguments += [f"--set={assignment}" for assignment in (*FEW_STEPS, SMALL_EVAL, *overrides)]
        self.training = call("train", *self.train_arguments)
        only = [f"--signatures={signatures}"] if signatures else []
        self.exporting = call("export", f"--workdir={self.workdir}", f"--output={self.model}", *only)
        self.version = f"{self.model}/{version}"

    def exported(self, texts: list[str], **settings) -> list[str]:
        """What the exported `generate` answers. A setting is one value, or one for each text."""
        outputs = load_once(self.model).predict("generate", {"text": texts, **rows(settings, len(texts))})
        return [text.decode("utf-8") for text in outputs["text"]]

    def in_memory(self, texts: list[str], **settings) -> list[str]:
        """What the model of the run answers, never exported."""
        with as_written():
            outputs = self.signatures["generate"](tf.constant(texts), *tensors(settings, len(texts)))
        return [text.decode("utf-8") for text in outputs["text"].numpy()]

    def in_memory_chat(self, conversations: list[list[tuple[str, str]]], **settings) -> list[str]:
        """What the model of a chat says next to lists of (role, text); greedy if nothing else is asked for."""
        width = max(map(len, conversations))
        padded = [[*each, *[("", "")] * (width - len(each))] for each in conversations]
        inputs = [tf.constant([[message[i] for message in each] for each in padded]) for i in (0, 1)]
        settings = {"temperature": 0.0, **settings}
        with as_written():
            outputs = self.signatures["chat"](*inputs, *tensors(settings, len(padded)))
        return [text.decode("utf-8") for text in outputs["text"].numpy()]

    @functools.cached_property
    def signatures(self) -> dict:
        """Those of the model of the run."""
        experiment = Experiment.open(self.workdir)
        return experiment.task.signatures(experiment.trained_model()[0])


def rows(settings: dict, num_rows: int) -> dict[str, list]:
    """Every setting of generation, one value for each row."""
    given = {name: np.broadcast_to(value, [num_rows]).tolist() for name, value in settings.items()}
    return {**settings_lists(DecodingConfig(max_new_tokens=12), num_rows), **given}


def tensors(settings: dict, num_rows: int) -> list[tf.Tensor]:
    """`rows` in the order of the signatures."""
    values = rows(settings, num_rows)
    return [tf.constant(values[name], spec.dtype) for name, spec in settings_specs().items()]


def built_once(factory: pytest.TempPathFactory, name: str, build_fn: Callable[[pathlib.Path], Any]) -> Any:
    """What `build_fn` makes in a new folder, once for all test processes: the others wait for the first."""
    common = factory.getbasetemp()  # of all processes of `tests.parallel`
    folder, made = common / name, common / f"{name}.made"
    try:
        folder.mkdir()
    except FileExistsError:
        end = time.monotonic() + 900
        while not made.exists() and time.monotonic() < end:
            time.sleep(0.1)
        found = pickle.loads(made.read_bytes())
        if found is None:
            pytest.fail(f"another test process could not build {name}")
        return found
    found = None
    try:
        found = build_fn(folder)
        return found
    finally:
        aside = common / f"{name}.aside"
        aside.write_bytes(pickle.dumps(found))
        aside.rename(made)


@pytest.fixture(scope="session")
def chat(tmp_path_factory, verified):
    """Questions and answers in English and Chinese, SentencePiece, a Transformer."""

    def build(folder: pathlib.Path) -> Trained:
        with verified():
            return Trained(str(folder), "tiny_chat", "training.checkpoint_every=8")

    return built_once(tmp_path_factory, "chat", build)


@pytest.fixture(scope="session")
def decoder(tmp_path_factory, verified):
    """Python code by bytes, a Transformer; `lstm` has the other signatures of such a model."""
    signatures = "serving_default,generate,score,tokenize,prefill,decode"

    def build(folder: pathlib.Path) -> Trained:
        with verified():
            return Trained(str(folder), "tiny_decoder", signatures=signatures)

    return built_once(tmp_path_factory, "decoder", build)


@pytest.fixture(scope="session")
def pairs(call, tmp_path_factory):
    """An encoder-decoder that reads 24 bytes of a source, after two steps: `workdir` of its run, `model` of its
    export."""

    def build(folder: pathlib.Path) -> types.SimpleNamespace:
        rows = ["source\ttarget", *(f"What is {n}? 你好。\tAn answer {n}. 再见" for n in range(9))]
        (folder / "pairs.tsv").write_text("\n".join(rows), encoding="utf-8")
        settings = ["training.num_steps=2", "training.warmup_steps=1", "training.global_batch_size=8"]
        settings += ["tokenizer.kind=byte", "task.max_source_length=24", f"data.eval_path={folder}/pairs.tsv"]
        settings += ["model.hidden_dim=32", "model.num_heads=2", "model.intermediate_dim=32"]
        settings += ["model.num_layers=1", "model.num_decoder_layers=1"]
        changes = [f"--set={setting}" for setting in settings]
        for arguments in (
            ("train", "--task=pairs", f"--data={folder}/pairs.tsv", f"--workdir={folder}/run", *changes),
            ("export", f"--workdir={folder}/run", f"--output={folder}/model"),
        ):
            done = call(*arguments)
            assert done.code == 0, done.err
        return types.SimpleNamespace(workdir=f"{folder}/run", model=f"{folder}/model")

    return built_once(tmp_path_factory, "pairs", build)


@pytest.fixture(scope="session")
def films(call, tmp_path_factory):
    """Labels of texts, good or bad, in English and in Chinese, by bytes, after three steps of a Transformer: `workdir`
    of its run, `model` of its export, with explanations."""

    def build(folder: pathlib.Path) -> types.SimpleNamespace:
        rows = [("fine film", "good"), ("很好看", "good"), ("bad film", "bad"), ("不好看", "bad")] * 3
        (folder / "films.tsv").write_text("\n".join("\t".join(row) for row in rows), encoding="utf-8")
        settings = ["training.num_steps=3", "data.source=tsv", "data.eval_fraction=0", "tokenizer.kind=byte"]
        settings += ["model.num_layers=1", f"data.path={folder}/films.tsv"]
        settings += ["data.text_column=0", "data.label_column=1"]
        changes = [f"--set={setting}" for setting in settings]
        for arguments in (
            ("train", "--preset=tiny_bert_classifier", f"--workdir={folder}/run", *changes),
            ("export", f"--workdir={folder}/run", f"--output={folder}/model", "--explain"),
        ):
            done = call(*arguments)
            assert done.code == 0, done.err
        return types.SimpleNamespace(workdir=f"{folder}/run", model=f"{folder}/model")

    return built_once(tmp_path_factory, "films", build)


@pytest.fixture(scope="session")
def lstm(tmp_path_factory, verified):
    """Python code by bytes, an LSTM. Its versions 1 and 4 are taken, and others look as if they were."""

    def build(folder: pathlib.Path) -> Trained:
        for name in ("1", "4", "007", "9.tmp", "notes"):
            (folder / "models/tiny_lstm" / name).mkdir(parents=True)
        with verified():
            return Trained(str(folder), "tiny_lstm", version=5)

    return built_once(tmp_path_factory, "lstm", build)


@pytest.fixture
def checkout() -> str:
    """The folder from which `python -m apps.NAME` works."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
