"""Completion in a shell, asked of bash itself; the other shells say whether they can read their scripts."""

import importlib
import re
import shlex
import shutil
import subprocess

import pytest

from apps.common.command_line import flag_help
from apps.main import COMMANDS


@pytest.fixture(scope="module")
def complete(call, tmp_path_factory):
    """`complete(*words)`: what bash offers for the last of the words of a command line, in a folder with two files."""
    folder = tmp_path_factory.mktemp("completion")
    script = call("completion", "bash")
    assert script.code == 0, script.err
    (folder / "tflm.bash").write_text(script.out, encoding="utf-8")
    (folder / "my texts.txt").touch()
    (folder / "my_runs").mkdir()

    def ask(*words):
        line = f"""source tflm.bash
            COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
            $(complete -p {words[0].rpartition("/")[2]} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
            printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, encoding="utf-8", cwd=folder, check=False
        )
        assert done.stderr == ""
        return [reply for reply in done.stdout.splitlines() if reply]

    return ask


def test_commands(complete):
    assert complete("tflm", "") == list(COMMANDS)
    assert complete("/venv/bin/tflm", "ev") == ["evaluate"]
    assert complete("tflm", "--v") == ["--version"]


def test_flags(complete):
    assert complete("tflm", "evaluate", "--spl") == ["--split"]
    assert complete("/venv/bin/tflm", "evaluate", "--base") == ["--baseline"]
    assert complete("tflm", "evaluate", "--noba") == ["--nobaseline"]
    assert set(complete("tflm", "generate", "--num_samples", "=", "3", "--m")) == {
        "--max_new_tokens",
        "--min_new_tokens",
        "--min_p",
        "--model",
    }
    assert "--help" in complete("tflm", "train", "--")


def test_values(complete):
    assert complete("tflm", "evaluate", "--split", "=") == ["eval", "test"]
    assert complete("tflm", "evaluate", "--split", "=", "t") == ["test"]
    assert complete("tflm", "evaluate", "--split", "e") == ["eval"]
    assert complete("tflm", "evaluate", "--limit", "=", "3", "--split", "=", "t") == ["test"]
    assert complete("tflm", "generate", "--num_samples", "=") == [], "a number may be any"
    assert complete("tflm", "completion", "z") == ["zsh"]


def test_files(complete):
    assert sorted(complete("tflm", "classify", "--input", "=", "my")) == ["my texts.txt", "my_runs"]
    assert complete("tflm", "train", "--workdir", "my_") == ["my_runs"]
    assert complete("tflm", "compare", "other", "my_") == ["my_runs"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_read_its_script(call, shell, tmp_path):
    done = call("completion", shell)
    assert done.code == 0, done.err
    assert "evaluate" in done.out and "split" in done.out and "eval test" in done.out
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here to read its script; to test that: apt-get install {shell}")
    (tmp_path / "script").write_text(done.out, encoding="utf-8")
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_the_scripts_of_zsh_and_fish(call):
    zsh, fish = (call("completion", shell).lines for shell in ("zsh", "fish"))
    split = flag_help(importlib.import_module("apps.evaluate").FLAGS["split"])
    assert zsh[0] == "#compdef tflm"
    assert any(re.fullmatch(r' *"--split=\[.*\]:split:\(eval test\)"', line) for line in zsh)
    assert any(line.strip().startswith('"*--set=[') for line in zsh)
    assert any(line.strip().startswith('"--nobaseline[') for line in zsh)
    start = "complete -c tflm -n '_shtab_tflm_using evaluate'"
    assert f'{start} -l split -xka "eval test" -d {shlex.quote(split)}' in fish
    assert any(line.startswith(f"{start} -l nobaseline -d ") for line in fish)
    assert any(line.startswith(f'{start} -l data -xka "(__fish_complete_path ') for line in fish)


def test_which_shell(call):
    for arguments, words in (
        ((), "which shell? One of bash, zsh, fish, such as `tflm completion bash`."),
        (("csh",), "flag --shell=csh: value should be one of <bash|zsh|fish>"),
        (("bash", "zsh"), "unexpected argument 'bash'."),
    ):
        done = call("completion", *arguments)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
