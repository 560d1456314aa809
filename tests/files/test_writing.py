"""A failure to write is one sentence, whoever reports it; a file is whole or as it was."""

import errno
import os

import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.files.writing import advice, io_error_number, whole_file, writing


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "甲"),
            "cannot write the vocabulary: No space left on device. Kept. Free disk space and run the same command",
        ),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "{{node}} /r/甲; No space left on device [Op:SaveV2]"
            ),
            "cannot write the vocabulary: No space left on device. Kept. Free disk space and run the same command",
        ),
        (
            tf.errors.PermissionDeniedError(None, None, "/r/甲; Read-only file system"),
            "cannot write the vocabulary: Read-only file system. Kept. Change the permissions",
        ),
        (
            IsADirectoryError(errno.EISDIR, "x"),
            "cannot write the vocabulary: Is a directory. Kept. Fix this",
        ),
        (
            tf.errors.OutOfRangeError(None, None, "/r/甲; File too large [Op:SaveV2]"),
            "cannot write the vocabulary: File too large. Kept. Raise the limit",
        ),
    ],
)
def test_failures_to_write(error, words):
    with pytest.raises(UserError, match=words) as caught, writing("the vocabulary", "Kept."):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[2,2]"),
        KeyboardInterrupt(),
        UserError("as it is"),
    ],
)
def test_other_errors_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught, writing("the vocabulary"):
        raise error
    assert caught.value is error
    assert io_error_number(error) is None


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "报告.json"
    for content in ("first", "second"):
        with whole_file(path) as aside:
            with open(aside, "w", encoding="utf-8") as file:
                file.write(content)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == content
    with pytest.raises(OSError, match="full"), whole_file(path) as aside:
        with open(aside, "w", encoding="utf-8") as file:
            file.write("third")
        raise OSError("full")
    assert path.read_text() == "second" and os.listdir(tmp_path) == ["报告.json"]


def test_a_full_device():
    """`/dev/full` is a disk without space."""
    words = r"cannot write it: No space left on device\. Free disk space"
    with (
        pytest.raises(UserError, match=words),
        writing("it"),
        open("/dev/full", "w", encoding="utf-8") as file,
    ):
        file.write("长" * 100_000)


def test_every_reason_has_an_advice():
    assert "permissions" in advice(errno.EROFS) and "disk space" in advice(errno.EDQUOT)
    assert advice(errno.EIO) and advice(errno.EFBIG)
