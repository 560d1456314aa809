"""The access log: one line of JSON for each request, to a file or standard error.

    {"time":"2025-03-01T12:00:00.123Z","request_id":"4f1c...","client":"127.0.0.1:53122","entrypoint":"REST",
     "method":"POST","path":"/v1/models/chat:predict","api":"predict","model":"chat","signature":"generate",
     "status":"OK","http_status":200,"rows":1,"tokens":64,"bytes_in":113,"bytes_out":420,"ms":812.4}

(one line each). No header of a request is in it but its id, so no token; no text, unless asked for. Whatever a client
sends stays inside a JSON string: nothing can end the line or act on a terminal. The lines are written by a thread, so
a slow disk does not hold up answers; a file that is moved away (logrotate) is begun again under its name.
"""

import datetime
import json
import logging
import logging.handlers
import queue
import re
import sys
import threading
from collections.abc import Mapping
from typing import Any

from tflm.errors import UserError

_log = logging.getLogger(__name__)
_MAX_WAITING = 10_000
# Characters that JSON leaves as they are and that may break a line, hide or reorder text, or are no text at all.
_HIDDEN = re.compile(
    "[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


class AccessLog:
    """A file of lines. `write` may be called from any thread."""

    def __init__(self, path: str | None = None, max_text: int = 0) -> None:
        """Opens the file, to add to it, and starts the thread that writes.

        Args:
            path: None for standard error.
            max_text: how many characters of the texts of each request and answer are kept; 0 for none.
        Raises:
            UserError: a file that cannot be written.
        """
        self.max_text = max_text
        self._handler: logging.StreamHandler = logging.StreamHandler(sys.stderr)
        if path is not None:
            try:
                self._handler = _LogFile(path, encoding="utf-8")
            except OSError as error:
                raise UserError(
                    f"--access_log={path} cannot be written: {error.strerror}. Give a file in a folder that exists and "
                    "can be written."
                ) from error
        self._dropped, self._lock = 0, threading.Lock()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._listener = logging.handlers.QueueListener(self._queue, self._handler)
        self._listener.start()

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds a line: the time, and what of the record is not None. Does not wait for the disk.

        If the disk is so slow that too many lines wait, lines are left out, and the next one says how many:
        `"dropped_before"`.
        """
        with self._lock:
            if self._queue.qsize() >= _MAX_WAITING:
                self._dropped += 1
                return
            dropped, self._dropped = self._dropped, 0
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = one_line({"time": now, **record, "dropped_before": dropped or None})
        self._queue.put(logging.makeLogRecord({"msg": line}))

    def close(self) -> None:
        """Writes what waits, and closes the file. Nothing may be written afterwards."""
        self._listener.stop()
        if isinstance(self._handler, logging.FileHandler):
            self._handler.close()


class _LogFile(logging.handlers.WatchedFileHandler):
    """A line that cannot be written, to a full disk or a folder that is gone, is lost; the next one is tried again."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line."""
        try:
            super().emit(record)
        except OSError:  # to open the file again, which logging itself does not expect to fail
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Says why. Not what, as logging would: there may be texts in it."""
        del record
        _log.error("access log: a line was dropped: %s", sys.exc_info()[1])


def one_line(record: Mapping[str, Any]) -> str:
    """A record as one line of JSON, without what is None.

    >>> one_line({"model": "聊天", "label": None, "path": "/a\\nb"})
    '{"model":"聊天","path":"/a\\\\nb"}'
    """
    given = {key: value for key, value in record.items() if value is not None}
    text = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
