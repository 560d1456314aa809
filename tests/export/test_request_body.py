"""A request as TensorFlow Serving takes it over REST: every input, the first row, exact values."""

import json

import numpy as np

from tflm.export.model_card import request_body


def test_the_first_row_of_every_input():
    stops = np.empty([2, 2], object)
    stops[:] = [["。".encode(), b"\n"], [b"", b""]]
    request = {
        "text": np.array(['他说: "你好"'.encode(), b"x"], object),
        "stop": stops,
        "top_p": np.array([0.9, 0.1], np.float32),
        "temperature": np.array([1.0, 0.0], np.float32),
        "seed": np.array([2**62 + 1, 0], np.int64),
        "banned_ids": np.array([[-1, 7], [3, 4]], np.int32),
        "finished": np.array([False, True]),
    }
    body = request_body("generate", request)
    assert json.loads(body) == {
        "signature_name": "generate",
        "instances": [
            {
                "text": '他说: "你好"',
                "stop": ["。", "\n"],
                "top_p": 0.9,
                "temperature": 1.0,
                "seed": 2**62 + 1,
                "banned_ids": [-1, 7],
                "finished": False,
            }
        ],
    }
    assert '"top_p": 0.9, "temperature": 1.0, "seed": 4611686018427387905' in body, "integers stay integers"


def test_bytes_that_are_no_text():
    body = json.loads(request_body("s", {"state_bytes": np.array([b"\xff\x00"], object)}))
    assert body["instances"] == [{"state_bytes": {"b64": "/wA="}}]
