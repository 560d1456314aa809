"""What processes that encode call in the tests; without TensorFlow at the top, so that they start at once."""

import os
import signal

from tflm.data import UnknownLabelError
from tflm.errors import UserError


def refuse():
    """Cannot make an encode_fn, as where a plugin is missing."""
    raise UserError("task.kind is one of chat; got 'rating'")


def end():
    """Ends the process, as the system does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def encode_bytes():
    """That of `test_token_store`, which does not know one text."""
    from tests.data import test_token_store

    def encode(examples):
        if (examples["text"] == "第7行").numpy().any():
            raise UnknownLabelError("no label '第7行'", ("a",))
        return test_token_store.encode_bytes(examples)

    return encode
