"""Progress bars on standard error, drawn by rich. A pipe or a log gets nothing.

    for file in track(files, "reading docstrings", "files"):
        ...
    with ProgressBar("encoding", "examples") as bar:
        bar.advance(len(chunk))

    training ━━━━━━━━━━━━━╸━━━━━━━━━━━━━━━━━━━━━━━━━━  400/1,200 steps  loss 2.310  1:02 elapsed  2:04 left

All open bars are lines of one display, so bars can be nested.
"""

import collections
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.table import Table

T = TypeVar("T")

_SECONDS_BETWEEN_MARKS = 1.0
_NUM_MARKS = 60
_BAR_WIDTHS = (6, 40)


class ProgressBar:
    """The progress of one loop: elapsed time, rate, time left and some values.

    Args:
        description: what is done, such as "encoding".
        unit: what is counted, in the plural, such as "examples".
        total: int, the count at the end; None if unknown.
        num_done: int, the count at the beginning.
        delay: seconds until the bar appears.
        keep: leave the line on the terminal at the end.
        hidden: never show the bar.

    Attributes:
        num_done, total: int, as above, up to date.
        values: the last values that `update` was given.
    """

    def __init__(
        self,
        description: str,
        unit: str,
        total: int | None = None,
        *,
        num_done: int = 0,
        delay: float = 2.0,
        keep: bool = False,
        hidden: bool = False,
    ) -> None:
        self.description, self.unit, self.total, self.num_done = description, unit, total, num_done
        self.keep, self.values = keep, tuple[str, ...]()
        self._begin = (time.monotonic(), num_done)
        self._end: float | None = None
        self._marks = collections.deque[tuple[float, int]](maxlen=_NUM_MARKS)
        self._last = self._begin
        self._due = None if hidden or not _is_terminal(sys.stderr) else self._begin[0] + delay
        self._show_if_due()

    def advance(self, count: int = 1) -> None:
        """Adds to the count."""
        self.update(self.num_done + count)

    def update(self, num_done: int, total: int | None = None, values: Sequence[str] = ()) -> None:
        """Sets the count.

        Args:
            num_done: int, the new count.
            total: int, a new total; None to keep it.
            values: texts to show, such as "loss 2.310"; on narrow terminals the last ones are left out.
        """
        self.num_done, self.values = num_done, tuple(values)
        self.total = self.total if total is None else total
        self._last = (time.monotonic(), num_done)
        if not self._marks or self._last[0] - self._marks[-1][0] >= _SECONDS_BETWEEN_MARKS:
            self._marks.append(self._last)
        self._show_if_due()

    def rate(self) -> float | None:
        """Units per second over the last minute, or over the last 60 updates if these took longer; None before the
        first."""
        if not self._marks:
            return None
        # The first update of a training includes the compilation, so later ones are measured from it.
        first = self._marks[0] if self._last != self._marks[0] else self._begin
        seconds, count = self._last[0] - first[0], self._last[1] - first[1]
        return count / seconds if seconds > 0 and count > 0 else None

    def seconds_left(self) -> float | None:
        """Until the total is reached at this rate; None if unknown."""
        rate = self.rate()
        if rate is None or self.total is None:
            return None
        since = time.monotonic() - self._last[0]
        return max(0.0, (self.total - self._last[1]) / rate - since)

    def close(self) -> None:
        """Ends the bar."""
        if self._end is None:
            self._end, self._due = time.monotonic(), None
            _DISPLAY.remove(self)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def texts(self) -> list[tuple[int, str]]:
        """What the line says in its order, each part with its priority: 0 comes first."""
        count = f"{self.num_done:,}" if self.total is None else f"{self.num_done:,}/{self.total:,}"
        rate, left = self.rate(), self.seconds_left()
        parts = [(0, f"{count} {self.unit}")]
        parts += [(2 if place == 0 else 5, value) for place, value in enumerate(self.values)]
        parts += [] if rate is None else [(4, _rate_text(rate, self.unit))]
        parts.append((3, f"{_duration((self._end or time.monotonic()) - self._begin[0])} elapsed"))
        parts += [] if left is None or self._end else [(1, f"{_duration(left)} left")]
        return parts

    def _show_if_due(self) -> None:
        if self._due is not None and time.monotonic() >= self._due:
            _DISPLAY.add(self)


def track(items: Iterable[T], description: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Yields the items and shows a bar of how many were used; by default up to `len(items)`."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with ProgressBar(description, unit, total) as bar:
        for item in items:
            yield item
            bar.advance()


def fit(texts: Sequence[tuple[int, str]], width: int) -> str:
    """The texts that fit into a width, by priority, separated by two spaces.

    >>> fit([(0, "4 steps"), (2, "loss 2.3"), (1, "0:09 left")], 20)
    '4 steps  0:09 left'

    Args:
        texts: (priority, text) in the order of the line; the first of a priority comes first.
        width: int, columns of the terminal; a Chinese character takes two.
    """
    from rich.cells import cell_len

    kept: list[int] = []
    for place in sorted(range(len(texts)), key=lambda place: texts[place][0]):
        width -= cell_len(texts[place][1]) + (2 if kept else 0)
        if width < 0:
            break
        kept.append(place)
    return "  ".join(texts[place][1] for place in sorted(kept))


class _Display:
    """The lines of all bars that are shown."""

    def __init__(self) -> None:
        self._bars: list[ProgressBar] = []
        self._num_open = 0
        self._live: Live | None = None
        self._lock = threading.RLock()

    def add(self, bar: ProgressBar) -> None:
        """Shows a bar, if it is not shown yet."""
        with self._lock:
            if bar not in self._bars:
                self._bars.append(bar)
                self._num_open += 1
                if self._live is None:
                    self._live = _start_live(self)

    def remove(self, bar: ProgressBar) -> None:
        """Ends a bar; with the last one, the display."""
        with self._lock:
            if bar not in self._bars:
                return
            self._num_open -= 1
            if not bar.keep:
                self._bars.remove(bar)
            if not self._num_open and self._live is not None:
                live, self._live = self._live, None
                live.transient = not self._bars
                live.stop()
                self._bars.clear()

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        for bar in list(self._bars):
            yield _line(bar, options.max_width)


_DISPLAY = _Display()


def _line(bar: ProgressBar, width: int) -> "Table":
    from rich.cells import cell_len
    from rich.progress_bar import ProgressBar as Bar
    from rich.table import Table
    from rich.text import Text

    low, high = _BAR_WIDTHS
    rest = width - cell_len(bar.description) - 2
    line = Table.grid(padding=(0, 2, 0, 0))
    parts: list[Any] = [Text(bar.description, style="bold", no_wrap=True, overflow="ellipsis")]
    if bar.total and rest > low:
        text = fit(bar.texts(), rest - low - 2)
        room = min(high, rest - cell_len(text) - 2)
        parts.append(Bar(bar.total, min(bar.num_done, bar.total), width=room))
    else:
        text = fit(bar.texts(), rest)
    line.add_row(*parts, Text(text, no_wrap=True, overflow="ellipsis"))
    return line


def _start_live(display: _Display) -> "Live":
    """Draws four times a second. What is printed meanwhile goes above the bars."""
    from rich.console import Console
    from rich.live import Live

    class CursorConsole(Console):
        """Leaves the cursor visible: a killed process could not show it again."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    console = CursorConsole(file=sys.stderr, highlight=False)
    # Only a terminal's output is redirected: results in a pipe must stay there.
    redirected = _is_terminal(sys.stdout)
    live = Live(get_renderable=lambda: display, console=console, redirect_stdout=redirected)
    live.start(refresh=True)
    return live


def _is_terminal(stream: Any) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _duration(seconds: float) -> str:
    """
    >>> _duration(75), _duration(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rate_text(rate: float, unit: str) -> str:
    """
    >>> _rate_text(1234.5, "texts"), _rate_text(2.52, "steps"), _rate_text(0.05, "steps")
    ('1,234 texts/s', '2.5 steps/s', '3.0 steps/min')
    """
    if rate < 0.1:
        return f"{60 * rate:.1f} {unit}/min"
    return f"{rate:.1f} {unit}/s" if rate < 100 else f"{rate:,.0f} {unit}/s"
