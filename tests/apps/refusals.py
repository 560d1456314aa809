"""What every refusal of an app looks like."""

import re
import types


def check(done: types.SimpleNamespace, code: int, words: str = "") -> str:
    """The line of error of a `call`, which has that exit code; "" where there should be none.

    There is one such line, with those words, at the end, and nothing in it that a terminal obeys. Of wrong usage a hint
    at --help follows.
    """
    assert done.code == code, done.err
    lines = done.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert "Traceback" not in done.err
    if code == 0:
        assert errors == []
        return ""
    (error,) = errors
    assert words in error, done.err
    assert lines[lines.index(error) + 1 :] == (["Try --help."] if code == 2 else [])
    assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", error)
    return error
