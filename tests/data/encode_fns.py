"""What processes that encode call in the tests; without TensorFlow, so that they start at once."""

import os
import signal

from tflm.data import UnknownLabelError


def refuse():
    """Makes no encode_fn, with a user's error."""
    raise UnknownLabelError("no label '第7行'", ("a",))


def end():
    """Ends the process, as the system does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def encode_bytes():
    """That of `test_token_store`."""
    from tests.data import test_token_store

    return test_token_store.encode_bytes
