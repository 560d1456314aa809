"""Runs a SavedModel through TensorFlow's C API, the way a C++ server does; no TensorFlow in Python at all.

    python -I c_api_runner.py < TASK.json

TASK.json: `library` (libtensorflow_cc), `op_libraries` (to load first), `path` (the SavedModel), `inputs`
(a list of `{"tensor": "serving_default_text:0", "dtype": "string", "values": [...]}`) and `outputs` (the same
without values). Strings travel in base64. Prints the outputs as a JSON list of `{"shape", "values"}`.

The functions are those of tensorflow/c/c_api.h and tensorflow/c/tf_tstring.h.
"""

import base64
import ctypes
import json
import math
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any

DTYPES: dict[str, tuple[int, Any]] = {  # name -> (TF_DataType, C type)
    "float32": (1, ctypes.c_float),
    "int32": (3, ctypes.c_int32),
    "string": (7, ctypes.c_char * 24),  # TF_TString
    "int64": (9, ctypes.c_int64),
    "bool": (10, ctypes.c_bool),
}
FUNCTIONS: dict[str, tuple[Any, list]] = {  # name -> (result, arguments)
    "TF_NewStatus": (c_void_p, []),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_LoadLibrary": (c_void_p, [c_char_p, c_void_p]),
    "TF_NewGraph": (c_void_p, []),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        [c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, c_void_p, c_void_p],
    ),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_StringInit": (None, [c_void_p]),
    "TF_StringCopy": (None, [c_void_p, c_char_p, c_size_t]),
    "TF_StringGetDataPointer": (c_void_p, [c_void_p]),
    "TF_StringGetSize": (c_size_t, [c_void_p]),
}


class Output(ctypes.Structure):
    """`TF_Output`: an operation and the number of one of its outputs."""

    _fields_ = [("operation", c_void_p), ("index", c_int)]


class Session:
    """A SavedModel loaded by the C API."""

    def __init__(self, library: str, op_libraries: list[str], path: str) -> None:
        self.c = ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
        for name, (result, arguments) in FUNCTIONS.items():
            getattr(self.c, name).restype = result
            getattr(self.c, name).argtypes = arguments
        self.status = self.c.TF_NewStatus()
        for op_library in op_libraries:
            self.c.TF_LoadLibrary(op_library.encode(), self.status)
            self.check()
        self.graph = self.c.TF_NewGraph()
        options = self.c.TF_NewSessionOptions()
        tags = (c_char_p * 1)(b"serve")
        self.session = self.c.TF_LoadSessionFromSavedModel(
            options, None, path.encode(), tags, 1, self.graph, None, self.status
        )
        self.check()

    def check(self) -> None:
        if self.c.TF_GetCode(self.status):
            raise SystemExit(
                f"TF_Code {self.c.TF_GetCode(self.status)}: {self.c.TF_Message(self.status).decode()}"
            )

    def run(self, inputs: list[dict], outputs: list[dict]) -> list[dict]:
        feeds = (Output * len(inputs))(*(self.output(item["tensor"]) for item in inputs))
        values = (c_void_p * len(inputs))(*(self.tensor(item["dtype"], item["values"]) for item in inputs))
        fetches = (Output * len(outputs))(*(self.output(item["tensor"]) for item in outputs))
        results = (c_void_p * len(outputs))()
        run = self.c.TF_SessionRun
        run.restype = None
        run.argtypes = [c_void_p] * 4 + [
            c_int,
            c_void_p,
            c_void_p,
            c_int,
            c_void_p,
            c_int,
            c_void_p,
            c_void_p,
        ]
        run(
            *(self.session, None, byref(feeds), byref(values), len(inputs)),
            *(byref(fetches), byref(results), len(outputs), None, 0, None, self.status),
        )
        self.check()
        return [self.values(result, item["dtype"]) for result, item in zip(results, outputs)]

    def output(self, tensor: str) -> Output:
        name, _, index = tensor.partition(":")
        operation = self.c.TF_GraphOperationByName(self.graph, name.encode())
        if not operation:
            raise SystemExit(f"no operation {name!r} in the graph")
        return Output(operation, int(index or 0))

    def tensor(self, dtype: str, values: list) -> Any:
        """A TF_Tensor `[B]`, or `[B, N]` of lists."""
        code, kind = DTYPES[dtype]
        shape = [len(values)]
        if values and isinstance(values[0], list):
            shape.append(len(values[0]))
            values = [value for row in values for value in row]
        size = len(values) * ctypes.sizeof(kind)
        tensor = self.c.TF_AllocateTensor(code, (c_int64 * len(shape))(*shape), len(shape), size)
        address = self.c.TF_TensorData(tensor)
        if dtype != "string":
            (kind * len(values)).from_address(address)[:] = values
            return tensor
        for row, value in enumerate(values):
            data = base64.b64decode(value)
            self.c.TF_StringInit(address + row * 24)
            self.c.TF_StringCopy(address + row * 24, data, len(data))
        return tensor

    def values(self, tensor: int, dtype: str) -> dict:
        code, kind = DTYPES[dtype]
        if self.c.TF_TensorType(tensor) != code:
            raise SystemExit(f"expected {dtype}, got TF_DataType {self.c.TF_TensorType(tensor)}")
        shape = [self.c.TF_Dim(tensor, axis) for axis in range(self.c.TF_NumDims(tensor))]
        address = self.c.TF_TensorData(tensor)
        size = math.prod(shape)
        if dtype != "string":
            return {"shape": shape, "values": list((kind * size).from_address(address))}
        texts = []
        for row in range(size):
            string = address + row * 24
            data = ctypes.string_at(self.c.TF_StringGetDataPointer(string), self.c.TF_StringGetSize(string))
            texts.append(base64.b64encode(data).decode())
        return {"shape": shape, "values": texts}


if __name__ == "__main__":
    task = json.load(sys.stdin)
    session = Session(task["library"], task["op_libraries"], task["path"])
    answers = session.run(task["inputs"], task["outputs"])
    assert "tensorflow" not in sys.modules
    print(json.dumps(answers))
