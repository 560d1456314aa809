"""Requests to a server of two frozen models, and its answers as JSON that can be compared.

The server is `tflm serve` on free ports of 127.0.0.1, without TensorFlow's optimizer of functions. `chat` is the export
in greedy.tar.xz, which writes the texts it was trained on; `分类` is the classifier in 82625bc.tar.xz. Neither has a
tf.Example in its signatures, so of `:classify` and `:regress` there are the refusals; tests/serving/conformance has
their answers.

Ids and times are masked, floats are compared with a tolerance, and the texts are such that no rounding changes them, as
tests/test_frozen.py checks. The words of an error are kept where they are TensorFlow Serving's or TensorFlow's, and
masked where they are tflm's own.
"""

import base64
import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request

FOLDER = pathlib.Path(__file__).parent
CHECKOUT = FOLDER.parents[2]
CONFIG = """model_config_list {{
  config {{ name: "chat" base_path: "{folder}/chat" model_platform: "tensorflow"
            version_labels {{ key: "stable" value: 1 }} }}
  config {{ name: "分类" base_path: "{folder}/classifier" model_platform: "tensorflow" }}
}}
"""
SERVE = """
import sys
import apps.serve
from tests.older_exports import functions_as_written
with functions_as_written():
    sys.exit(apps.serve.run(["serve", *sys.argv[1:]]))
"""
CHAT, CLASSIFIER = "/v1/models/chat", "/v1/models/" + urllib.parse.quote("分类")
OPENAI = {"X-Stainless-Lang": "python"}
GREEDY = {
    "seed": 0,
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "no_repeat_ngram_size": 0,
    "min_new_tokens": 0,
    "max_new_tokens": 40,
    "slide": False,
    "banned_ids": [-1],
    "forced_ids": [-1],
    "stop": [""],
    "choices": [""],
}
"""A row of settings with which the likeliest token is written at every step."""
USER = [{"role": "user", "content": "What is a cat?"}]
HISTORY = [
    {"role": "user", "content": "你好"},
    {"role": "assistant", "content": "你好！很高兴见到你。"},
    {"role": "user", "content": "猫坐在哪里？"},
]
CHAT_REQUEST = {"model": "chat", "messages": USER, "temperature": 0, "seed": 1}
COMPLETION = {"model": "chat", "prompt": ["What is a cat?", "猫坐在哪里？"], "temperature": 0, "seed": 1}
COLUMNS = {name: [value, value] for name, value in GREEDY.items()}
OWN_WORDS = "(words of tflm's own)"

GETS = {
    "models of OpenAI's API": "/v1/models",
    "models below /openai": "/openai/v1/models",
    "status": CHAT,
    "status of a version": f"{CHAT}/versions/1",
    "status of a label": f"{CHAT}/labels/stable",
    "status of a Chinese name": CLASSIFIER,
    "metadata": f"{CLASSIFIER}/metadata",
    "status of an unknown model": "/v1/models/none",
    "status of an unknown model, Chinese": "/v1/models/%E6%97%A0",
    "status of an unknown version": f"{CHAT}/versions/7",
    "status of an unknown label": f"{CHAT}/labels/canary",
    "metadata of an unknown model": "/v1/models/none/metadata",
    "GET to :predict": f"{CHAT}:predict",
    "alive": "/healthz",
    "ready": "/readyz",
}
POSTS: dict[str, tuple[str, object]] = {
    # Rows and columns.
    "rows, named input": (f"{CHAT}:predict", {"instances": [{"text": "猫坐在哪里？"}]}),
    "columns, one input": (f"{CHAT}:predict", {"inputs": ["What is a cat?", "你好"]}),
    "columns, named input": (f"{CHAT}:predict", {"inputs": {"text": ["猫坐在哪里？"]}}),
    "bytes in base64": (f"{CHAT}:predict", {"instances": [{"b64": "5L2g5aW9"}]}),
    "a version": (f"{CHAT}/versions/1:predict", {"instances": ["你好"]}),
    "a label": (f"{CHAT}/labels/stable:predict", {"instances": ["你好"]}),
    "rows, many outputs": (f"{CLASSIFIER}:predict", {"instances": ["the cat sat", "猫坐在垫子上。"]}),
    "columns, many outputs": (
        f"{CLASSIFIER}:predict",
        {"signature_name": "classify", "inputs": {"text": ["the cat sat", "猫坐在垫子上。"]}},
    ),
    "a named signature": (
        f"{CLASSIFIER}:predict",
        {"signature_name": "tokenize", "inputs": ["the cat", "猫 sat"]},
    ),
    "chat, columns": (
        f"{CHAT}:predict",
        {
            "signature_name": "chat",
            "inputs": {
                "roles": [["user"]] * 2,
                "messages": [["What is a cat?"], ["猫坐在哪里？"]],
                **COLUMNS,
            },
        },
    ),
    # What is refused.
    "unknown model": ("/v1/models/none:predict", {"instances": ["a"]}),
    "unknown version": (f"{CHAT}/versions/7:predict", {"instances": ["a"]}),
    "unknown label": (f"{CHAT}/labels/canary:predict", {"instances": ["a"]}),
    "unknown signature": (f"{CHAT}:predict", {"signature_name": "translate", "instances": ["a"]}),
    "unknown signature, Chinese": (f"{CHAT}:predict", {"signature_name": "翻译", "instances": ["a"]}),
    "wrong dtype, rows": (f"{CHAT}:predict", {"instances": [1, 2]}),
    "wrong dtype, columns": (f"{CHAT}:predict", {"inputs": {"text": [True]}}),
    "missing input, rows": (
        f"{CHAT}:predict",
        {"signature_name": "choose", "instances": [{"text": "你好"}]},
    ),
    "missing input, columns": (
        f"{CHAT}:predict",
        {"signature_name": "choose", "inputs": {"text": ["你好"]}},
    ),
    "unknown input": (f"{CHAT}:predict", {"instances": [{"text": "a", "文": "b"}]}),
    "wrong rank": (f"{CHAT}:predict", {"inputs": {"text": "hello"}}),
    "malformed JSON": (f"{CHAT}:predict", '{"instances": ["你好"'),
    "empty body": (f"{CHAT}:predict", ""),
    "rows and columns": (f"{CHAT}:predict", {"instances": ["a"], "inputs": ["a"]}),
    "neither rows nor columns": (f"{CHAT}:predict", {"signature_name": "serving_default"}),
    "no object": (f"{CHAT}:predict", ["a"]),
    "unknown verb": (f"{CHAT}:translate", {"instances": ["a"]}),
    ":classify": (f"{CLASSIFIER}:classify", {"examples": [{"text": "a"}]}),
    ":regress": (f"{CLASSIFIER}:regress", {"examples": [{"text": "a"}]}),
    # OpenAI's API.
    "completion, logprobs": ("/v1/completions", {**COMPLETION, "logprobs": 1}),
    "completion, streamed": (
        "/v1/completions",
        {**COMPLETION, "prompt": "猫坐在哪里？", "stream": True, "stream_options": {"include_usage": True}},
    ),
    "chat completion": ("/v1/chat/completions", CHAT_REQUEST),
    "chat completion below /openai": ("/openai/v1/chat/completions", {**CHAT_REQUEST, "messages": HISTORY}),
    "chat completion, cut": ("/v1/chat/completions", {**CHAT_REQUEST, "max_tokens": 5}),
    "chat completion, logprobs": (
        "/v1/chat/completions",
        {**CHAT_REQUEST, "logprobs": True, "top_logprobs": 1},
    ),
    "chat completion, streamed": (
        "/v1/chat/completions",
        {**CHAT_REQUEST, "stream": True, "stream_options": {"include_usage": True}},
    ),
    "chat completion, logprobs, streamed": (
        "/v1/chat/completions",
        {**CHAT_REQUEST, "messages": HISTORY[:1], "logprobs": True, "stream": True},
    ),
    "completion, unknown model": ("/v1/completions", {**COMPLETION, "model": "none"}),
    "completion, a model that writes nothing": ("/v1/completions", {**COMPLETION, "model": "分类"}),
    "completion, wrong dtype": ("/v1/completions", {**COMPLETION, "temperature": "cold"}),
    "chat completion, unknown model": ("/v1/chat/completions", {**CHAT_REQUEST, "model": "无"}),
    "chat completion, no messages": ("/v1/chat/completions", {"model": "chat"}),
    "chat completion, out of range": ("/v1/chat/completions", {**CHAT_REQUEST, "n": 0}),
    "chat completion, malformed JSON": ("/v1/chat/completions", '{"model": "chat",'),
    "chat completion, refused while streaming": (
        "/v1/chat/completions",
        {**CHAT_REQUEST, "model": "none", "stream": True},
    ),
    # :stream
    "stream": (f"{CHAT}:stream", {"inputs": {"text": "What is a cat?", "temperature": 0.0, "seed": 1}}),
    "stream of a conversation": (
        f"{CHAT}:stream",
        {
            "inputs": {"roles": ["user"], "messages": ["猫坐在哪里？"], "temperature": 0.0},
            "tokens_per_event": 3,
        },
    ),
    "stream, unknown model": ("/v1/models/none:stream", {"inputs": {"text": "a"}}),
    "stream, unknown member": (f"{CHAT}:stream", {"inputs": {"text": "a"}, "文": 1}),
    "stream, malformed JSON": (f"{CHAT}:stream", "{"),
}
SLOW = {
    "completion, logprobs",
    "completion, streamed",
    "chat completion, logprobs",
    "chat completion, logprobs, streamed",
}
"""Cases that take a server seconds, since they are the first to run a signature that writes."""
OWN = {
    "wrong rank",
    "stream, unknown member",
    "stream, malformed JSON",
    *(name for name, (path, _) in POSTS.items() if path.endswith("completions")),
    "of OpenAI's clients, unknown model",
}
"""Cases whose errors have tflm's own words."""
FOR_OPENAI = {"of OpenAI's clients": CHAT, "of OpenAI's clients, unknown model": "/v1/models/none"}
REST = (*GETS, *FOR_OPENAI, *POSTS)


def _tensor(*texts: str) -> dict[str, object]:
    values = [base64.b64encode(text.encode()).decode() for text in texts]
    return {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": str(len(texts))}]}, "string_val": values}


_FLOAT = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "1"}]}, "float_val": [1.0]}
_CLASSIFIER = {"name": "分类"}
GRPC: dict[str, tuple[str, dict[str, object]]] = {
    "Predict": (
        "Predict",
        {"model_spec": _CLASSIFIER, "inputs": {"text": _tensor("the cat sat", "猫坐在垫子上。")}},
    ),
    "Predict, a version, a signature and an output": (
        "Predict",
        {
            "model_spec": {**_CLASSIFIER, "version": "1", "signature_name": "tokenize"},
            "inputs": {"text": _tensor("the cat", "猫 sat")},
            "output_filter": ["lengths"],
        },
    ),
    "GetModelMetadata": (
        "GetModelMetadata",
        {"model_spec": _CLASSIFIER, "metadata_field": ["signature_def"]},
    ),
    "GetModelStatus": ("GetModelStatus", {"model_spec": {"name": "chat"}}),
    "Predict, unknown model": ("Predict", {"model_spec": {"name": "无"}}),
    "Predict, unknown version": ("Predict", {"model_spec": {"name": "chat", "version": "7"}}),
    "Predict, unknown signature": (
        "Predict",
        {"model_spec": {"name": "chat", "signature_name": "translate"}, "inputs": {"text": _tensor("a")}},
    ),
    "Predict, missing input": ("Predict", {"model_spec": {"name": "chat"}}),
    "Predict, wrong dtype": ("Predict", {"model_spec": {"name": "chat"}, "inputs": {"text": _FLOAT}}),
    "Classify": ("Classify", {"model_spec": _CLASSIFIER}),
    "Regress": ("Regress", {"model_spec": _CLASSIFIER}),
    "GetModelMetadata, unknown model": (
        "GetModelMetadata",
        {"model_spec": {"name": "none"}, "metadata_field": ["signature_def"]},
    ),
    "GetModelStatus, unknown model": ("GetModelStatus", {"model_spec": {"name": "none"}}),
}
GRPC_OWN: set[str] = set()


def unpack_models(folder):
    """Writes chat/, classifier/ and models.config. They are not warmed: what is not asked need not run."""
    folder = pathlib.Path(folder)
    for archive, inside, name in (
        ("greedy.tar.xz", "chat", "chat"),
        ("82625bc.tar.xz", "exports/tiny_bert_classifier", "classifier"),
    ):
        with tarfile.open(FOLDER / archive) as file:
            members = [each for each in file.getmembers() if each.name.startswith(f"{inside}/1")]
            file.extractall(folder / "unpacked", members, filter="data")
        shutil.move(folder / "unpacked" / inside, folder / name)
        (folder / name / "1" / "assets.extra" / "tf_serving_warmup_requests").unlink(missing_ok=True)
    (folder / "models.config").write_text(CONFIG.format(folder=folder), encoding="utf-8")


@contextlib.contextmanager
def served(folder):
    """(http://127.0.0.1:PORT, 127.0.0.1:PORT for gRPC) of a server of what `unpack_models` wrote there."""
    command = [sys.executable, "-c", SERVE, f"--model_config_file={folder}/models.config"]
    with subprocess.Popen(
        [*command, "--rest_api_port=0", "--port=0", "--rest_api_timeout_in_ms=300000"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        try:
            line = process.stdout.readline()
            found = re.match(r"ready: (http://127\.0\.0\.1:\d+)/\S+ and grpc://(127\.0\.0\.1:\d+)/", line)
            assert found, f"the server said {line!r} in place of its ports"
            yield found.groups()
        finally:
            process.kill()


def rest_answer(url, name):
    """The answer to one of GETS, POSTS or FOR_OPENAI: status, media type and body."""
    if name in POSTS:
        path, body = POSTS[name]
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        request = urllib.request.Request(url + path, text.encode(), {"Content-Type": "application/json"})
    elif name in GETS:
        request = urllib.request.Request(url + GETS[name])
    else:
        request = urllib.request.Request(url + FOR_OPENAI[name], headers=OPENAI)
    try:
        response = urllib.request.urlopen(request, timeout=300)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        kind, text = response.headers.get_content_type(), response.read().decode("utf-8")
    body = _events(text) if kind == "text/event-stream" else json.loads(text)
    return {"status": response.status, "type": kind, "body": masked(body, name in OWN)}


def _events(text):
    events = []
    for block in text.strip().split("\n\n"):
        event = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if not event:  # a comment, by which a slow server keeps the connection
            continue
        data = event["data"]
        events.append({**event, "data": data if data == "[DONE]" else json.loads(data)})
    return events


def grpc_answer(address, name):
    """The answer to one of GRPC, as the JSON of its message; or the code and the words of the error."""
    import grpc
    from google.protobuf import json_format
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )

    method, fields = GRPC[name]
    message = {
        "Predict": predict_pb2.PredictRequest,
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
        "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    }[method]()
    json_format.ParseDict(fields, message)
    with grpc.insecure_channel(address) as channel:
        kind = prediction_service_pb2_grpc.PredictionServiceStub
        if method == "GetModelStatus":
            kind = model_service_pb2_grpc.ModelServiceStub
        try:
            response = getattr(kind(channel), method)(message, timeout=300)
        except grpc.RpcError as error:
            words = OWN_WORDS if name in GRPC_OWN else error.details()
            return {"code": error.code().name, "words": words}
    body = json_format.MessageToDict(response, preserving_proto_field_name=True)
    for tensor in body.get("outputs", {}).values():
        if (
            tensor["dtype"] == "DT_FLOAT" and "tensor_content" in tensor
        ):  # as numbers, to compare them as such
            content = base64.b64decode(tensor["tensor_content"])
            tensor["tensor_content"] = list(struct.unpack(f"<{len(content) // 4}f", content))
    return {"code": "OK", "body": body}


def masked(value, own_words):
    """Without ids and times, and where `own_words` without the words of an error."""
    if isinstance(value, list):
        return [masked(each, own_words) for each in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, each in value.items():
        if key == "id" and isinstance(each, str):
            each = re.sub(r"^(cmpl|chatcmpl)-.+", r"\1-(id)", each)
        elif key == "created" and isinstance(each, int):
            each = "(time)"
        elif (
            own_words and isinstance(each, str) and (key == "error" or (key == "message" and "type" in value))
        ):
            each = OWN_WORDS
        found[key] = masked(each, own_words)
    return found


def differences(frozen, now, path=""):
    """Places where two answers differ. Floats may differ by what another processor's rounding makes of them."""
    if isinstance(frozen, float) and isinstance(now, float):
        return (
            []
            if math.isclose(frozen, now, rel_tol=1e-3, abs_tol=1e-4)
            else [f"{path}: {frozen} became {now}"]
        )
    if isinstance(frozen, dict) and isinstance(now, dict):
        return [
            found
            for name in sorted({*frozen, *now})
            for found in differences(
                frozen.get(name, "(missing)"), now.get(name, "(missing)"), f"{path}.{name}"
            )
        ]
    if isinstance(frozen, list) and isinstance(now, list) and len(frozen) == len(now):
        pairs = enumerate(zip(frozen, now, strict=True))
        return [found for place, (old, new) in pairs for found in differences(old, new, f"{path}[{place}]")]
    return [] if type(frozen) is type(now) and frozen == now else [f"{path}: {frozen!r} became {now!r}"]
