"""What a server answers to REST requests: a table, after TensorFlow Serving's source and its own tests.

A case is a name, a method, a path, a body, the status and the answer: a dict or the text of one, compared as parsed JSON
(white space is free), or `error("...")`, compared with the message.
"""

# ruff: noqa: E501

import dataclasses
import json
from typing import Any

MODEL = "/v1/models/probe"


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    method: str
    path: str
    body: Any
    status: int
    answer: Any


def error(message: str) -> dict[str, str]:
    return {"error": message}


def get(name, path, status, answer):
    return Case(name, "GET", path, None, status, answer)


def predict(name, body, answer, status=200, path=f"{MODEL}:predict"):
    return Case(name, "POST", path, body, status, answer)


def refused(name, body, message, path=f"{MODEL}:predict"):
    return predict(name, body, error(message), 400, path)


def row(message: str, element: int = 0, key: str = "") -> str:
    """What stands around an error in one of several rows."""
    return (
        f"Failed to process element: {element}{key} of 'instances' list. Error: INVALID_ARGUMENT: {message}"
    )


def wrong(value: str, found: str, expected: str) -> str:
    return f"JSON Value: {value} Type: {found} is not of expected type: {expected}"


AVAILABLE = [
    {"version": str(version), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for version in (2, 1)
]
TYPES = {"float32": 1.5, "float64": -2, "int32": -3, "int64": 2**53 + 1, "uint8": 255, "bool": True}
TYPES_OUT = {f"{name}_out": value for name, value in TYPES.items()}


def types(**changes: Any) -> dict[str, Any]:
    return {"signature_name": "types", "instances": [{**TYPES, **changes}]}


def floats(*values: Any) -> dict[str, Any]:
    return {"signature_name": "floats", "instances": list(values)}


URLS = [
    get("status", MODEL, 200, {"model_version_status": AVAILABLE}),
    get("status of a version", f"{MODEL}/versions/2", 200, {"model_version_status": AVAILABLE[:1]}),
    get("status of a label", f"{MODEL}/labels/stable", 200, {"model_version_status": AVAILABLE[1:]}),
    get("status, capitals", "/V1/MODELS/probe/VERSIONS/1", 200, {"model_version_status": AVAILABLE[1:]}),
    get("status, percent-encoded", "/v1/models/%70robe", 200, {"model_version_status": AVAILABLE}),
    get("status, leading zero", f"{MODEL}/versions/01", 200, {"model_version_status": AVAILABLE[1:]}),
    get("status, unknown model", "/v1/models/none", 404, error("Could not find any versions of model none")),
    get(
        "status, unknown, Chinese",
        "/v1/models/%E6%97%A0",
        404,
        error("Could not find any versions of model 无"),
    ),
    get("status, name's case", "/v1/models/PROBE", 404, error("Could not find any versions of model PROBE")),
    get(
        "status, unknown version",
        f"{MODEL}/versions/7",
        404,
        error("Could not find version 7 of model probe"),
    ),
    get("status, unknown label", f"{MODEL}/labels/x", 400, error("Unrecognized servable version label: x")),
    get(
        "status, unknown label, Chinese",
        f"{MODEL}/labels/%E7%A8%B3",
        400,
        error("Unrecognized servable version label: 稳"),
    ),
    # In small letters it is OpenAI's list of models.
    get("no model", "/v1/MODELS", 400, error("Missing model name in request.")),
    get("no model, slash", "/v1/models/", 400, error("Malformed request: GET /v1/models/")),
    get(
        "version is no number",
        f"{MODEL}/versions/a",
        400,
        error(f"Malformed request: GET {MODEL}/versions/a"),
    ),
    get(
        "version is negative",
        f"{MODEL}/versions/-1",
        400,
        error(f"Malformed request: GET {MODEL}/versions/-1"),
    ),
    get(
        "version too large",
        f"{MODEL}/versions/{2**63}",
        400,
        error(f"Failed to convert version: {2**63} to numeric."),
    ),
    get(
        "version and label",
        f"{MODEL}/versions/1/labels/stable",
        400,
        error(f"Malformed request: GET {MODEL}/versions/1/labels/stable"),
    ),
    get("trailing slash", f"{MODEL}/", 400, error(f"Malformed request: GET {MODEL}/")),
    get("something else below v1", "/v1/else", 400, error("Malformed request: GET /v1/else")),
    get("GET to predict", f"{MODEL}:predict", 400, error(f"Malformed request: GET {MODEL}:predict")),
    get(
        "metadata, unknown model",
        "/v1/models/none/metadata",
        404,
        error("Servable not found for request: Latest(none)"),
    ),
    get(
        "metadata, unknown version",
        f"{MODEL}/versions/7/metadata",
        404,
        error("Servable not found for request: Specific(probe, 7)"),
    ),
    get(
        "metadata, unknown label",
        f"{MODEL}/labels/x/metadata",
        400,
        error("Unrecognized servable version label: x"),
    ),
    Case("POST to status", "POST", MODEL, {}, 400, error(f"Malformed request: POST {MODEL}")),
    Case("PUT", "PUT", f"{MODEL}:predict", {}, 400, error(f"Malformed request: PUT {MODEL}:predict")),
    Case("DELETE", "DELETE", MODEL, None, 400, error(f"Malformed request: DELETE {MODEL}")),
    Case("unknown verb", "POST", f"{MODEL}:foo", {}, 400, error(f"Malformed request: POST {MODEL}:foo")),
    Case("no verb", "POST", f"{MODEL}:", {}, 400, error(f"Malformed request: POST {MODEL}:")),
    Case(
        "no name",
        "POST",
        "/v1/models/:predict",
        {},
        400,
        error("Malformed request: POST /v1/models/:predict"),
    ),
    Case(
        "dots in a path",
        "GET",
        "/v1/models/..%2F..",
        None,
        404,
        error("Could not find any versions of model ../.."),
    ),
]
VERSIONS = [
    predict("latest", {"signature_name": "which", "instances": [""]}, {"predictions": [2]}),
    predict(
        "a version",
        {"signature_name": "which", "instances": [""]},
        {"predictions": [1]},
        path=f"{MODEL}/versions/1:predict",
    ),
    predict(
        "a label",
        {"signature_name": "which", "instances": [""]},
        {"predictions": [1]},
        path=f"{MODEL}/labels/stable:predict",
    ),
    predict(
        "capitals",
        {"signature_name": "which", "instances": [""]},
        {"predictions": [1]},
        path="/V1/Models/probe/Versions/1:PREDICT",
    ),
    predict(
        "unknown model",
        {"instances": [""]},
        error("Servable not found for request: Latest(none)"),
        404,
        "/v1/models/none:predict",
    ),
    predict(
        "unknown version",
        {"instances": [""]},
        error("Servable not found for request: Specific(probe, 7)"),
        404,
        f"{MODEL}/versions/7:predict",
    ),
    refused(
        "unknown label",
        {"instances": [""]},
        "Unrecognized servable version label: x",
        f"{MODEL}/labels/x:predict",
    ),
]
BODIES = [
    refused("empty body", b"", "JSON Parse error: The document is empty"),
    refused("no JSON", b"x", "JSON Parse error: Invalid value. at offset: 0"),
    refused("no JSON, further on", b'{"instances": [x]}', "JSON Parse error: Invalid value. at offset: 15"),
    refused(
        "no JSON, behind Chinese", '{"你好": x}'.encode(), "JSON Parse error: Invalid value. at offset: 11"
    ),
    refused(
        "bad JSON comes before the model",
        b"x",
        "JSON Parse error: Invalid value. at offset: 0",
        "/v1/models/none:predict",
    ),
    refused("no object", b"[1]", "JSON Value: [\n    1\n] Is not object"),
    refused("a string", b'"x"', 'JSON Value: "x" Is not object'),
    refused("neither key", {}, "Missing 'inputs' or 'instances' key"),
    refused(
        "both keys",
        {"inputs": 1, "instances": [1]},
        'JSON Value: {\n    "inputs": 1,\n    "instances": [\n        1\n    ]\n} Not formatted correctly expecting '
        "only one of 'inputs' or 'instances' keys to exist ",
    ),
    refused(
        "instances is no list",
        {"instances": 1},
        "JSON Value: {\n    \"instances\": 1\n} Excepting 'instances' to be an list/array",
    ),
    refused(
        "no instances",
        {"instances": []},
        "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array",
    ),
    refused(
        "signature is no string",
        {"signature_name": 5, "instances": [""]},
        'JSON Value: {\n    "signature_name": 5,\n    "instances": [\n        ""\n    ]\n} not formatted correctly. '
        "'signature_name' key must be a string value.",
    ),
    refused(
        "unknown signature",
        {"signature_name": "s", "instances": [""]},
        'Serving signature name: "s" not found in signature def',
    ),
    refused(
        "TensorFlow's own signature",
        {"signature_name": "__saved_model_init_op", "instances": [""]},
        'Serving signature name: "__saved_model_init_op" not found in signature def',
    ),
    predict("more behind the object", b'{"instances": ["A"]} and more', {"predictions": ["a"]}),
    predict("the first of two members", b'{"instances": ["A"], "instances": ["B"]}', {"predictions": ["a"]}),
    predict("a byte-order mark", b'\xef\xbb\xbf{"instances": ["A"]}', {"predictions": ["a"]}),
    predict("unknown members", {"instances": ["A"], "more": 1}, {"predictions": ["a"]}),
    predict("an empty signature name", {"signature_name": "", "instances": ["A"]}, {"predictions": ["a"]}),
]
ROWS = [
    predict("rows", {"instances": ["A", "你Ö"]}, '{"predictions": ["a", "你ö"]}'),
    predict("rows, named", {"instances": [{"text": "A"}]}, {"predictions": ["a"]}),
    predict("rows, base64", {"instances": [{"b64": "QQ=="}, {"text": "B"}][:1]}, {"predictions": ["a"]}),
    predict("rows, base64 without padding", {"instances": [{"b64": "QQ"}]}, {"predictions": ["a"]}),
    predict("rows, base64, named", {"instances": [{"text": {"b64": "5L2g"}}]}, {"predictions": ["你"]}),
    predict("rows, two inputs, two outputs",
            {"signature_name": "linear", "instances": [{"x": [1, 2, 3], "n": 2}, {"x": [0.5, 0, 0], "n": 1}]},
            {"predictions": [{"sums": 12.0, "double": [2.0, 4.0, 6.0]}, {"sums": 0.5, "double": [1.0, 0.0, 0.0]}]}),
    predict("rows, every type", types(), {"predictions": [TYPES_OUT]}),
    predict("rows, lists", {"signature_name": "joined", "instances": [["a", "b"], ["c", ""]]},
            {"predictions": ["a|b", "c|"]}),
    predict("bytes", {"signature_name": "raw", "instances": [65]},
            '{"predictions": [{"text": "A","text_bytes": {'
            '"b64": "QQ=="}}]}'),
    refused("row of the wrong type", floats("x"), row(wrong('"x"', "String", "float"))),
    refused("second row of the wrong type", floats(1, None), row(wrong("null", "Null", "float"), 1)),
    refused("true for a number", floats(True), row(wrong("true", "True", "float"))),
    refused("number for a string", {"instances": [3]}, row(wrong("3", "Number", "string"))),
    refused("object for a number", floats({"b64": "QQ=="}),
            row('JSON Value: {\n    "b64": "QQ=="\n} Type: Object is not of expected type: float')),
    refused("3.0 for an int32", types(int32=3.0), row(wrong("3.0", "Number", "int32"), key=" key: int32")),
    refused("too large for an int32", types(int32=2**31),
            row(wrong(str(2**31), "Number", "int32"), key=" key: int32")),
    refused("too large for an int64", types(int64=2**63),
            row(wrong(str(2**63), "Number", "int64"), key=" key: int64")),
    refused("1 for a bool", types(bool=1), row(wrong("1", "Number", "bool"), key=" key: bool")),
    refused("too large for a float", floats(1e39),
            row("Cannot convert JSON value: 1e+39 to float without loss of precision.")),
    refused("an integer that a float cannot hold", floats(2**24 + 1),
            row("Cannot convert JSON value: 16777217 to float without loss of precision.")),
    refused("bad base64", {"instances": [{"b64": "?"}]}, row("Unable to base64 decode")),
    refused("base64 and more", {"instances": [{"text": {"b64": "QQ==", "x": 1}}]},
            row('JSON Value: {\n    "b64": "QQ==",\n    "x": 1\n} not formatted correctly for base64 data',
                key=" key: text")),
    refused("missing input", {"signature_name": "linear", "instances": [{"n": 1}]},
            "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"n\": 1\n} keys must be equal to: n,x"),
    refused("unknown input", {"instances": [{"text": "a", "x": 1}]},
            row("JSON object: does not have named input: x", key=" key: x")),
    refused("several inputs, plain rows", {"signature_name": "linear", "instances": [1]},
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"),
    refused("objects, then a value", {"instances": [{"text": "a"}, "b"]},
            "Expecting object but got list at item 1 of input list"),
    refused("a value, then an object", {"instances": ["b", {"text": "a"}]},
            "Expecting value/list but got object at item 1 of input list"),
    refused("ragged inside a row", {"signature_name": "joined", "instances": [[["a", "b", "c"], ["a", "b"]]]},
            row("Encountered list at unexpected size: 2 at level: 1 expected size: 3")),
    refused("ragged across rows", {"signature_name": "joined", "instances": [["a", "b", "c"], ["a", "b"]]},
            row("Expecting tensor size: 3 but got: 2", 1)),
    refused("other shape, same size", {"signature_name": "joined", "instances": [[["a", "b"]], [["a"], ["b"]]]},
            row("Expecting shape [1,2] but got: [2,1]", 1)),
    refused("deeper further on", {"signature_name": "joined", "instances": [["a", ["b"]]]},
            row("Encountered list at unexpected level: 1 expected < 1")),
    refused("flatter further on", {"signature_name": "joined", "instances": [[["a"], "b"]]},
            row('JSON Value: "b" found at incorrect level: 2 in the JSON DOM. Expected at level: 2')),
    refused("a scalar output", {"signature_name": "total", "instances": [1]},
            "Tensor name: y has no shape information "),
    refused("a shape that the kernel refuses", {"signature_name": "product", "instances": [[1, 2, 3]]},
            "Matrix size-incompatible"),
]  # fmt: skip
COLUMNS = [
    predict("columns", {"inputs": ["A", "B"]}, '{"outputs": ["a","b"]}'),
    predict("columns, named", {"inputs": {"text": ["A"]}}, {"outputs": ["a"]}),
    predict("columns, base64", {"inputs": [{"b64": "QQ=="}]}, {"outputs": ["a"]}),
    predict("columns, two inputs, two outputs",
            {"signature_name": "linear", "inputs": {"x": [[1, 2, 3]], "n": [2]}},
            {"outputs": {"sums": [12.0], "double": [[2.0, 4.0, 6.0]]}}),
    predict("columns, more than the model takes", {"inputs": {"text": ["A"], "more": [1]}}, {"outputs": ["a"]}),
    predict("columns, a scalar output", {"signature_name": "total", "inputs": [1, 2]}, '{"outputs": 3.0}'),
    predict("columns, a matrix", {"signature_name": "product", "inputs": [[1, 2], [3, 4]]},
            '{"outputs": [[3.0],[7.0]]}'),
    predict("columns, nothing", {"signature_name": "floats", "inputs": []}, '{"outputs": []}'),
    predict("columns, bytes", {"signature_name": "raw", "inputs": [255]}, None),
    refused("columns, missing", {"signature_name": "linear", "inputs": {"n": [1]}},
            "Missing named input: x in 'inputs' object."),
    refused("columns, plain for several", {"signature_name": "linear", "inputs": [1]},
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"),
    refused("columns, wrong type", {"signature_name": "floats", "inputs": ["x"]}, wrong('"x"', "String", "float")),
    refused("columns, null", {"signature_name": "floats", "inputs": None}, wrong("null", "Null", "float")),
    refused("columns, ragged", {"signature_name": "joined", "inputs": [["a", "b"], ["c"]]},
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    refused("columns, bad base64", {"inputs": [{"b64": "Q"}]}, "Unable to base64 decode"),
]  # fmt: skip
NUMBERS = [
    predict("a whole float", floats(2), '{"predictions": [2.0]}'),
    predict("a tenth", floats(0.1), '{"predictions": [0.1]}'),
    predict("a third", floats(1 / 3), '{"predictions": [0.333333343]}'),
    predict("a large float", floats(9000000), '{"predictions": [9e+06]}'),
    predict("a small float", floats(0.00003), '{"predictions": [3e-05]}'),
    predict("minus zero", floats(-0.0), '{"predictions": [-0.0]}'),
    predict(
        "no number",
        b'{"signature_name": "floats", "instances": [NaN, Infinity, -Infinity]}',
        '{"predictions": [NaN, Infinity, -Infinity]}',
    ),
    predict("the largest", floats(3.4028234663852886e38), '{"predictions": [3.40282347e+38]}'),
    predict(
        "control characters",
        b'{"signature_name": "joined", "instances": [["\\u0000\\u001f\\b\\n\\"\\\\/"]]}',
        '{"predictions": ["\\u0000\\u001F\\b\\n\\"\\\\/"]}',
    ),
    predict("an emoji from a pair of escapes", b'{"instances": ["\\ud83d\\ude00"]}', {"predictions": ["😀"]}),
    predict("bytes that are no UTF-8", {"signature_name": "raw", "inputs": [255]}, None),
]
EXAMPLES = [
    predict("classify", {"signature_name": "classify", "examples": [{"age": 0.25}, {"age": [0.75]}]},
            '{"results": [[["young", 0.75], ["老", 0.25]], [["young", 0.25], ["老", 0.75]]]}',
            path=f"{MODEL}:classify"),
    predict("classify with a context",
            {"signature_name": "classify", "context": {"age": 0.25}, "examples": [{}, {"age": 0.75}]},
            {"results": [[["young", 0.75], ["老", 0.25]], [["young", 0.25], ["老", 0.75]]]},
            path=f"{MODEL}:classify"),
    predict("regress", {"signature_name": "regress", "examples": [{"age": 0.25}, {}]}, {"results": [0.25, 0.5]},
            path=f"{MODEL}:regress"),
    refused("classify without examples", {"signature_name": "classify"},
            'JSON Value: {\n    "signature_name": "classify"\n} When method is classify, key \'examples\' is expected and '
            "was not found", f"{MODEL}:classify"),
    refused("classify, no list", {"examples": 1}, 'JSON Value: {\n    "examples": 1\n} Expecting \'examples\' value to be an '
            "list/array", f"{MODEL}:classify"),
    refused("classify, an empty list", {"examples": []},
            'JSON Value: {\n    "examples": []\n} \'examples\' value is an empty array', f"{MODEL}:classify"),
    refused("classify, no object", {"examples": [1]}, "Example must be JSON object but got JSON Number",
            f"{MODEL}:classify"),
    refused("classify, null", {"examples": [{"age": None}]}, "Feature: age has element with unexpected JSON type: Null",
            f"{MODEL}:classify"),
    refused("classify, mixed", {"examples": [{"age": [1.5, "x"]}]},
            "Unexpected element type in feature: age expecting type: float", f"{MODEL}:classify"),
]  # fmt: skip
CASES = [*URLS, *VERSIONS, *BODIES, *ROWS, *COLUMNS, *NUMBERS, *EXAMPLES]


def body_of(case: Case) -> bytes | None:
    return case.body if isinstance(case.body, bytes | None) else json.dumps(case.body).encode()
