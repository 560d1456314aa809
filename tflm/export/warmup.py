"""Warm-up requests, which a server runs on a new version before it receives traffic. TensorFlow Serving reads them from
`assets.extra/tf_serving_warmup_requests`.

The file is a TFRecord of `PredictionLog` messages, defined in tensorflow-serving-api. Exporting does not require that
package, so the small messages around the tensors are encoded here
(protobuf wire format, https://protobuf.dev/programming-guides/encoding/; all fields are length-delimited):

    PredictionLog  { PredictLog predict_log = 6 }
    PredictLog     { PredictRequest request = 1 }
    PredictRequest { ModelSpec model_spec = 1; map<string, TensorProto> inputs = 2 }
    ModelSpec      { string name = 1; string signature_name = 3 }
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tflm.export.signatures import is_compiled

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_MAX_RECORDS = 1000  # servers reject a model with more


def write_warmup(
    path: str, model_name: str, requests: Mapping[str, Sequence[Mapping[str, np.ndarray]]]
) -> None:
    """Writes the warm-up requests of all signatures to an export, except signatures compiled by XLA: a stock server
    rejects these, and a failing warm-up request makes it unload the version.

    Args:
        path: the SavedModel folder.
        model_name: the name under which the model is served.
        requests: requests of each signature, each a dict of input name to array `[B, ...]`.
    """
    os.makedirs(os.path.join(path, os.path.dirname(WARMUP_FILE)), exist_ok=True)
    records = [
        prediction_log(model_name, signature, inputs)
        for signature, batches in requests.items()
        if not is_compiled(signature)
        for inputs in batches
    ]
    with tf.io.TFRecordWriter(os.path.join(path, WARMUP_FILE)) as writer:
        for record in records[:_MAX_RECORDS]:
            writer.write(record)


def prediction_log(model_name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialized `PredictionLog` with a predict request."""
    model_spec = _field(1, model_name.encode()) + _field(3, signature.encode())
    request = _field(1, model_spec)
    for name, array in inputs.items():
        tensor = tf.make_tensor_proto(array).SerializeToString()
        request += _field(
            2, _field(1, name.encode()) + _field(2, tensor)
        )  # an entry of a map: key 1, value 2
    return _field(6, _field(1, request))


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field (wire type 2).

    >>> _field(2, b"testing")
    b'\\x12\\x07testing'
    """
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    """A varint: seven bits per byte, least significant first, with a continuation bit.

    >>> _varint(150)
    b'\\x96\\x01'
    """
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])
