"""Progress bars: what a line says at each width, rates and times, nested bars, and nothing in a pipe."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from tflm import progress
from tflm.progress import ProgressBar, fit, track


class Terminal(io.StringIO):
    """Standard error or output that passes for a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True

    @property
    def plain(self):
        """What was written, without escape codes."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def clock(monkeypatch):
    """`clock.now` is the time in seconds."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.fixture
def use_terminal(monkeypatch):
    """`use_terminal(columns)` makes standard error a terminal; to be called in the test, as pytest replaces it too."""

    def use(columns=80):
        made = Terminal()
        monkeypatch.setattr(sys, "stderr", made)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.delenv("NO_COLOR", raising=False)
        return made

    return use


def texts(bar):
    return [text for _, text in bar.texts()]


def test_rate_and_time_left(clock):
    bar = ProgressBar("training", "steps", 1200, num_done=200)
    assert texts(bar) == ["200/1,200 steps", "0:00 elapsed"]
    clock.now += 50  # compilation and the first steps
    bar.update(300, values=("loss 2.310", "1,234 tokens/s"))
    assert bar.rate() == 2.0
    clock.now += 10
    bar.update(400, values=("loss 2.250", "9,876 tokens/s"))
    assert bar.rate() == 10.0, "without the compilation"
    clock.now += 5
    assert texts(bar) == [
        "400/1,200 steps",
        "loss 2.250",
        "9,876 tokens/s",
        "10.0 steps/s",
        "1:05 elapsed",
        "1:15 left",
    ]
    clock.now += 3600
    assert bar.seconds_left() == 0.0
    bar.close()
    clock.now += 60
    assert texts(bar)[-1] == "1:01:05 elapsed", "a closed bar stands still"


def test_updates_in_quick_succession_are_one_mark(clock):
    bar = ProgressBar("encoding", "examples")
    bar.advance(0)
    for _ in range(400):
        clock.now += 0.25
        bar.advance(5)
        assert bar.rate() == pytest.approx(20.0)
    assert texts(bar) == ["2,000 examples", "20.0 examples/s", "1:40 elapsed"]
    assert bar.seconds_left() is None


@pytest.mark.parametrize(
    "rate, expected",
    [(1234.5, "1,234 steps/s"), (99.94, "99.9 steps/s"), (0.1, "0.1 steps/s"), (0.05, "3.0 steps/min")],
)
def test_rates_are_short(rate, expected):
    assert progress._rate_text(rate, "steps") == expected


@pytest.mark.parametrize(
    "width, expected",
    [
        (60, "40/1,200 步  损失 2.310  1:02 elapsed  2:04 left"),
        (39, "40/1,200 步  损失 2.310  2:04 left"),
        (34, "40/1,200 步  损失 2.310  2:04 left"),
        (33, "40/1,200 步  2:04 left"),
        (12, "40/1,200 步"),
        (11, "40/1,200 步"),
        (10, ""),
    ],
)
def test_parts_are_left_out_by_priority_and_chinese_is_two_columns_wide(width, expected):
    parts = [(0, "40/1,200 步"), (2, "损失 2.310"), (3, "1:02 elapsed"), (1, "2:04 left")]
    assert fit(parts, width) == expected


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_a_line_fits_the_terminal(width, use_terminal, clock):
    from rich.cells import cell_len

    terminal = use_terminal(width)
    with ProgressBar("评测 answering", "texts", 10, delay=0) as bar:
        clock.now += 10
        bar.update(5, values=("loss 2.310", "12,345 tokens/s"))
        progress._DISPLAY._live.refresh()
    lines = [line for line in re.split(r"[\r\n]", terminal.plain) if line.strip()]
    assert lines and max(map(cell_len, lines)) <= width
    assert "评测 answering" in lines[-1]
    assert ("5/10 texts" in terminal.plain) == (width >= 40)
    assert ("loss 2.310" in terminal.plain) == (width >= 60)


def test_a_bar_appears_after_its_delay(use_terminal, clock):
    terminal = use_terminal()
    with ProgressBar("encoding", "examples") as bar:
        bar.advance(5)
        assert terminal.plain == ""
        clock.now += 3
        bar.advance(5)
        assert "encoding  10 examples" in terminal.plain
    assert progress._DISPLAY._live is None


def test_nested_bars_are_lines_of_one_display(use_terminal):
    terminal = use_terminal()
    with ProgressBar("training", "steps", 4, delay=0, keep=True) as outer:
        outer.advance(2)
        with ProgressBar("answering", "texts", 3, delay=0) as inner:
            inner.advance()
            live = progress._DISPLAY._live
            live.refresh()
            assert re.search(r"training +\S+ +2/4 steps.*\n.*answering +\S+ +1/3 texts", terminal.plain)
        assert progress._DISPLAY._live is live
        outer.advance(2)
    end = terminal.plain.rstrip("\n").splitlines()[-1]
    assert "training" in end and "4/4 steps" in end and "left" not in end.rpartition("training")[2]
    assert "answering" not in end


def test_lines_printed_meanwhile_stand_above_the_bar(use_terminal):
    terminal = use_terminal()
    with ProgressBar("training", "steps", 4, delay=0):
        print("held-out 困惑度 2.5", file=sys.stderr)
    assert "held-out 困惑度 2.5\n" in terminal.plain
    assert sys.stderr is terminal


def test_standard_output_in_a_pipe_is_left_alone(use_terminal, capsys):
    terminal = use_terminal()
    with ProgressBar("answering", "lines", delay=0):
        print("结果\tresult")
    assert capsys.readouterr().out == "结果\tresult\n"
    assert "result" not in terminal.plain


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_nothing_is_drawn_without_a_terminal(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(track(["a", "b"], "reading", "files")) == ["a", "b"]
    with ProgressBar("reading", "files", delay=0):
        assert progress._DISPLAY._live is None
    assert stream is None or stream.getvalue() == ""


def test_a_hidden_bar_counts_and_draws_nothing(use_terminal):
    terminal = use_terminal()
    with ProgressBar("answering", "lines", delay=0, hidden=True) as bar:
        bar.advance(3)
    assert (bar.num_done, terminal.getvalue()) == (3, "")


def test_track_counts_up_to_the_length(use_terminal, monkeypatch):
    use_terminal()
    made = []
    monkeypatch.setattr(ProgressBar, "close", lambda bar: made.append((bar.num_done, bar.total)))
    assert list(track([1, 2, 3], "reading", "files")) == [1, 2, 3]
    assert list(track(iter([1, 2]), "reading", "files")) == [1, 2]
    assert list(track(iter([1, 2]), "reading", "files", 5)) == [1, 2]
    assert made == [(3, 3), (2, None), (2, 5)]


def test_the_cursor_of_a_real_terminal_stays_visible():
    """A killed process could not show it again."""
    body = (
        "from tflm.progress import ProgressBar\n"
        "with ProgressBar('training', 'steps', 2, delay=0, keep=True) as bar: bar.advance()\n"
    )
    leader, follower = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", body], stdout=follower, stderr=follower, env=env, check=False
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError:  # the end, on Linux
        pass
    os.close(leader)
    assert done.returncode == 0 and "1/2 steps" in shown.decode()
    assert b"\x1b[?25l" not in shown


def test_rich_is_imported_with_the_first_bar():
    body = "import sys, tflm.progress; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "False\n"
