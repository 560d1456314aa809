"""Completion in a shell, asked of bash itself; the other shells say whether they can read their scripts."""

import configparser
import pathlib
import shutil
import subprocess

import pytest

from apps.completion import find_flags

ROOT = pathlib.Path(__file__).parents[2]


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


def test_flags(complete):
    assert complete("tflm-evaluate", "--spl") == ["--split="]
    assert complete("/venv/bin/tflm-evaluate", "--base") == ["--baseline"]
    assert complete("tflm-evaluate", "--noba") == ["--nobaseline"]
    assert set(complete("tflm-generate", "--num_samples", "=", "3", "--m")) == {
        "--max_new_tokens=",
        "--min_new_tokens=",
        "--min_p=",
        "--model=",
    }
    assert "--help" in complete("tflm-train", "")


def test_values(complete):
    assert complete("tflm-evaluate", "--split", "=") == ["eval", "test"]
    assert complete("tflm-evaluate", "--split", "=", "t") == ["test"]
    assert complete("tflm-evaluate", "--split", "e") == ["eval"]
    assert complete("tflm-generate", "--num_samples", "=") == [], "a number may be any"


def test_files(complete):
    assert sorted(complete("tflm-classify", "--input", "=", "my")) == ["my texts.txt", "my_runs"]
    assert complete("tflm-train", "--workdir", "my_") == ["my_runs"]


def test_every_console_script_is_completed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    assert set(find_flags()) >= {line.split(" = ")[0] for line in lines}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_read_its_script(call, shell, tmp_path):
    done = call("completion", shell)
    assert done.code == 0, done.err
    assert "tflm-evaluate" in done.out and "split" in done.out and "eval test" in done.out
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed; its script was written, but not read")
    (tmp_path / "script").write_text(done.out, encoding="utf-8")
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_what_zsh_and_fish_are_told(call):
    zsh, fish = (call("completion", shell).lines for shell in ("zsh", "fish"))
    assert zsh[0].startswith("#compdef ") and " tflm-chat tflm-classify " in zsh[0]
    assert any(line.strip().startswith("'--split=[Which side.]:split:(eval test)'") for line in zsh)
    assert any(line.strip().startswith("'*--set=[") for line in zsh)
    assert "complete -c tflm-evaluate -l split -x -a 'eval test' -d 'Which side.'" in fish
    assert "complete -c tflm-evaluate -l nobaseline -d 'Train and measure the baseline too.'" in fish
    assert any(line.startswith("complete -c tflm-evaluate -l data -r -F -d '") for line in fish)


def test_which_shell(call):
    for arguments, words in (
        ((), "which shell? One of bash, zsh and fish"),
        (("csh",), "flag --shell=csh: value should be one of <bash|zsh|fish>"),
        (("bash", "zsh"), "unexpected argument 'bash'."),
    ):
        done = call("completion", *arguments)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
