"""Compression by command: a student of a classifier in English and Chinese, a report, what is refused."""

import json
import pathlib

import pytest

from tests.apps.refusals import check
from tflm.config import load_json
from tflm.experiments import ExperimentConfig
from tflm.export.verify import as_written

ROWS = [
    "text\tlabel",
    *(
        f"a {'good' if n % 2 else 'bad'} film {n} 很{'好' if n % 2 else '坏'}\t{'好' if n % 2 else 'bad'}"
        for n in range(40)
    ),
]
SETTINGS = (
    "task.ngrams=",
    "tokenizer.kind=byte",
    "model.embedding_dim=16",
    "model.hidden_dim=16",
    "model.max_length=32",
    "training.num_steps=3",
    "training.global_batch_size=8",
)


@pytest.fixture(autouse=True, scope="module")
def fast():
    """The peak of this machine takes a second to measure, and graphs that run a few times need no optimizer."""
    with pytest.MonkeyPatch.context() as patch, as_written():
        patch.setattr("tflm.training.trainer.peak_flops", lambda dtype: 1e12)
        patch.setattr("tflm.experiments.compression_report._LEAST_SECONDS", 0.0)
        patch.setattr("tflm.resident_memory.memory_of", lambda path, signature, columns: 12_000_000)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, call):
    """With a teacher and its student."""
    path = tmp_path_factory.mktemp("compress")
    (path / "评论.tsv").write_text("\n".join(ROWS), encoding="utf-8")
    sets = [f"--set={each}" for each in SETTINGS]
    done = call("train", "--task=classification", f"--data={path}/评论.tsv", f"--workdir={path}/big", *sets)
    assert done.code == 0, done.err
    return path


@pytest.fixture(scope="module")
def student(folder, call):
    small = ("--set=model.hidden_dim=8", "--set=model.embedding_dim=8", "--set=distillation.temperature=4")
    return call(
        "compress", f"--workdir={folder}/big", f"--output_workdir={folder}/small", "--distill", *small
    )


def test_a_student_is_trained(student, folder):
    assert student.code == 0, student.err
    assert f"teacher: {folder}/big, step 3, alpha 0.5, temperature 4" in student.err
    assert student.lines[0].startswith("training accuracy ")
    config = load_json(ExperimentConfig, f"{folder}/small/config.json")
    assert (config.name, config.model.hidden_dim) == ("classification_distilled", 8)
    assert config.distillation.checkpoint == "3"
    labels = [json.loads((folder / name / "labels.json").read_text("utf-8")) for name in ("big", "small")]
    assert labels[0] == labels[1] == ["bad", "好"]


def test_the_report_has_a_row_for_each_and_a_page(student, folder, call):
    assert student.code == 0
    models = f"--models={folder}/big,{folder}/small"
    done = call("compress", "--report", models, f"--output={folder}/report")
    assert done.code == 0, done.err
    header, big, small, star, written = done.lines
    assert header.split("  ")[0] == "model" and header.endswith("accuracy, %")
    assert big.startswith(f"1 {folder}/big") and small.startswith(f"2 {folder}/small *")
    assert "95% intervals" in star
    rows = json.loads((folder / "report/compression.json").read_text("utf-8"))
    assert [row["memory_bytes"] for row in rows] == [12_000_000] * 2
    assert rows[0]["num_parameters"] > rows[1]["num_parameters"]
    assert rows[0]["size_bytes"] == 4 * rows[0]["num_parameters"]
    assert all(row["examples_per_second"] > 0 and row["measure"] == "accuracy" for row in rows)
    page = (folder / "report/compression.html").read_text("utf-8")
    assert page.count("<svg") == 2 and f"2 {folder}/small *" in page and "<script" not in page
    assert written == f"report: {folder}/report/compression.html, {folder}/report/compression.json"


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ("", 2, "--workdir is needed: the folder of the trained run"),
        ("--workdir={d}/big", 2, "--output_workdir is needed"),
        ("{both}", 2, "--distill or --prune=SHARE is needed"),
        ("--workdir={d}/big --output_workdir={d}/big --distill", 2, "is the folder of the trained run itself"),
        ("{both} --prune=1", 2, "--prune is above 0 and below 1, such as 0.5; got 1."),
        ("{both} --structure=2:4 --distill", 2, "--structure needs --prune=SHARE."),
        ("{both} --prune=0.5 --structure=头", 2, "heads, units and layers; got '头'"),
        ("{both} --prune=0.4 --structure=2:4", 1, "removes a share of 0.5; got share=0.4"),
        ("{both} --prune=0.5 --structure=heads", 1, "is for Transformers; model.kind is"),
        ("{both} --prune=0.5 --teacher={d}/big", 2, "--teacher needs --distill."),
        ("--workdir={d}/none --output_workdir={d}/x --distill", 1, "holds no run: there is no config.json"),
        ("{both} --distill --teacher={d}/无", 1, "there is no teacher in "),
        ("{both} --distill --models=a,b", 2, "--models needs --report."),
        ("--report --models={d}/big", 2, "--models is needed: two runs or exports at least"),
        ("--report --models={d}/big,{d}/big --distill", 2, "--distill is for training: leave it out with --report."),
        ("--report --models={d}/big,{d}/无", 1, "no folder "),
    ],
)  # fmt: skip
def test_what_is_refused(folder, call, flags, code, words):
    both = f"--workdir={folder}/big --output_workdir={folder}/x"
    check(call("compress", *flags.format(d=folder, both=both).split()), code, words)
    assert not pathlib.Path(folder / "x").exists()
