"""The pieces of a scripted model, and what each request carries."""

import numpy as np

from tflm.serving.signature import Signature
from tflm.serving.stream import can_stream, stream


class Countdown:
    """Writes a digit a token, down to 0; its state is the digit."""

    def __init__(self) -> None:
        self.signatures = {
            "prefill": Signature({"text": "string"}, {}, {"text": (None,)}, {}),
            "decode": Signature(
                {"num_tokens": "int32", "state_digit": "int32"},
                {},
                {"num_tokens": (None,), "state_digit": (None,)},
                {},
            ),
        }
        self.requests = []

    def predict(self, signature, inputs):
        self.requests.append((signature, sorted(inputs)))
        if signature == "prefill":
            return self._outputs([int(text) for text in inputs["text"]], [b"" for _ in inputs["text"]])
        digits, pieces = [], []
        for digit, count in zip(inputs["state_digit"], inputs["num_tokens"], strict=True):
            end = max(int(digit) - int(count), -1)
            pieces.append("".join(str(d) for d in range(int(digit), end, -1)).encode())
            digits.append(end)
        return self._outputs(digits, pieces)

    def _outputs(self, digits, pieces):
        digits = np.array(digits, np.int32)
        return {
            "piece": np.array(pieces, object),
            "finished": digits < 0,
            "state_digit": digits,
            "num_tokens": digits,
        }


def test_pieces_until_all_rows_have_finished():
    model = Countdown()
    outputs = list(stream(model, {"text": ["9", "2"]}, tokens_a_piece=4))
    texts = [b"".join(pieces) for pieces in zip(*(each["piece"] for each in outputs), strict=True)]
    assert texts == [b"9876543210", b"210"]
    assert model.requests == [("prefill", ["text"])] + [("decode", ["num_tokens", "state_digit"])] * 3


def test_whoever_stops_asks_no_more():
    model = Countdown()
    pieces = stream(model, {"text": ["9"]})
    next(pieces)
    pieces.close()
    assert len(model.requests) == 1


def test_which_models_can():
    model = Countdown()
    assert can_stream(model)
    del model.signatures["decode"]
    assert not can_stream(model)
