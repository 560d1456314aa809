"""The benchmark of generation: its parts, and tflm's side from the export to the table. The peers need more time."""

import contextlib
import importlib.util
import io
import json
import pathlib
import subprocess
import sys
import types

import pytest
import tensorflow as tf

PROGRAM = pathlib.Path(__file__).parents[1] / "benchmarks/generation.py"


def found(first, whole, peak):
    """What a side prints, with the same seconds for both batch sizes of `QUICK`."""
    return {"peak_bytes": peak * 2**30, "batches": {size: {"first": first, "all": whole} for size in "12"}}


def module_of(path):
    spec = importlib.util.spec_from_file_location(f"{path.stem}_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark():
    before = list(sys.path)
    module = module_of(PROGRAM)
    sys.path[:] = before
    return module


def test_the_table_has_medians_over_rounds_and_repeats_and_the_largest_memory(benchmark):
    rounds = [found([0.001, 0.5], [0.1, 9.0], 0.5), found([0.002], [0.2], 1.25)]
    head, line, row = benchmark.table(benchmark.QUICK, {"ctranslate2_int8": rounds}).splitlines()
    assert head == (
        "|  | batch 1, tokens/s | first token, ms | batch 2, tokens/s | first token, ms | memory, GiB |"
    )
    assert line.count("|") == head.count("|") == row.count("|")
    assert row == "| CTranslate2, int8 | 40.0 | 2 | 80.0 | 2 | 1.25 |"  # 8 tokens in 0.2 s, the middle one


def test_every_side_has_a_program_and_what_is_prepared_is_prepared_once(benchmark):
    sides = list(benchmark.NAMES)
    assert benchmark.prepared(sides) == ["generate_xla", "ctranslate2_float32", "ctranslate2_int8"]
    assert benchmark.prepared(["generate", "stream"]) == ["generate"], "without what takes long to compile"
    for side in sides:
        for verb in ("prepare", "measure"):
            python, program, *arguments = benchmark.command(verb, side, benchmark.QUICK, "folder", "peer")
            assert pathlib.Path(program).is_file()
            assert (python == "peer") == side.startswith(("transformers", "ctranslate2"))
            assert benchmark.QUICK.to_json() in arguments


def test_all_sides_get_the_same_prompts(benchmark):
    setting = benchmark.Setting.from_json(benchmark.QUICK.to_json())
    assert setting == benchmark.QUICK
    prompts = setting.prompts(2)
    assert prompts == benchmark.QUICK.prompts(2)
    assert [len(row) for row in prompts] == [8, 8] and prompts[0] != prompts[1]
    assert all(10 <= id < 300 for row in prompts for id in row)


def test_a_side_warms_up_and_then_measures(benchmark, capsys):
    calls = []
    side = sys.modules["side"]
    side.measure(benchmark.QUICK, lambda batch_size: lambda count: calls.append((batch_size, count)))
    assert calls == [(1, 1), (1, 8), (1, 1), (1, 8), (2, 1), (2, 8), (2, 1), (2, 8)]
    printed = json.loads(capsys.readouterr().out)
    assert printed["peak_bytes"] > 2**20
    assert [len(printed["batches"][size][kind]) for size in "12" for kind in ("first", "all")] == [1] * 4


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments], capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--sides=generate,vllm"], "--sides has ['vllm'], expected some of generate, generate_xla, stream"),
        (
            ["--quick", "--rounds=1", "--sides=ctranslate2_int8"],
            "need an environment of their own: give --environments",
        ),
    ],
)
def test_refused_flags(arguments, words):
    done = run(*arguments)
    assert done.returncode and words in done.stderr


def test_a_side_runs_in_a_process_of_its_own(benchmark):
    printed = benchmark.run([sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], 1)"])
    assert printed == " 1\n"
    with pytest.raises(SystemExit, match=r"(?s)failed:.*ZeroDivisionError"):
        benchmark.run([sys.executable, "-c", "1 / 0"])


@pytest.mark.slow
def test_tflm_from_the_export_to_the_table(benchmark, tmp_path, monkeypatch, capsys):
    """All in this process, where TensorFlow has its threads already."""
    tflm_side = module_of(pathlib.Path(benchmark.SIDES) / "tflm_side.py")

    def run_here(arguments):
        assert arguments[1] == tflm_side.__file__
        verb, setting, folder = arguments[2:]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            tflm_side.main(verb, setting, folder)
        return printed.getvalue()

    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", lambda count: None)
    monkeypatch.setattr(benchmark, "run", run_here)
    path = tmp_path / "found.json"
    values = {"quick": True, "rounds": 1, "sides": ["generate", "stream"], "output": str(path)}
    unset = dict.fromkeys(("environments", "repeats", "batch_sizes"))
    monkeypatch.setattr(benchmark.flags, "FLAGS", types.SimpleNamespace(**values, **unset))
    benchmark.main([])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| tflm, exported `generate`",
        "| tflm, exported `prefill` and `decode`",
    ]
    assert set(json.loads(path.read_text(encoding="utf-8"))["results"]) == {"generate", "stream"}
