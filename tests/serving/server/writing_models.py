"""Models that write what can be foretold, behind a port; and one that takes its time.

`chat` holds conversations, `lines` goes on with a text, `slow` needs seconds for every piece but the first, `old`
tells too little, `reviews` writes nothing. A token is a character.
"""

import contextlib
import functools
import http.client
import json
import tempfile

import tensorflow as tf
from tensorflow.python.data.experimental.ops.testing import sleep

from tflm.config import to_dict
from tflm.export.write import about_signature
from tflm.generation import DecodingConfig, cut_at_stop, settings_specs
from tflm.serving.server import ModelConfig, ModelManager
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.rest.http_server import RestServer

OWN = DecodingConfig(temperature=0.5, top_k=7, max_new_tokens=12, stop=("▮",))
"""What the models' configs say."""
LATER = 8
"""Seconds until `slow` has another piece."""
NAMES = ("chat", "lines", "slow", "old", "reviews")
STORY = "Once upon a time 从前有座山，山里有座庙😀。\n"
LONGEST = 200
ASKED_FOR_SETTINGS = "settings?"


def written(prompt: str, seed: int = 0, max_new_tokens: int = OWN.max_new_tokens, stop=()) -> tuple[str, str]:
    """The text and the finish reason of `Writer`, foretold."""
    text = prompt + STORY[seed % len(STORY) :] + STORY
    ends = [text.index(each) for each in stop if each in text]
    if ends and min(ends) < max_new_tokens:
        return text[: min(ends)], "stop"
    return text[:max_new_tokens], "stop" if len(text) <= max_new_tokens else "length"


@functools.cache
def folder() -> str:
    """With a folder for each model; written once in a process."""
    holder = tempfile.TemporaryDirectory()
    folder.holder = holder  # as long as the process lives
    for name, module in zip(NAMES, (Writer(True), Writer(False), Slow(), Old(), Reviews()), strict=True):
        signatures = {each: getattr(module, each) for each in module.names}
        if isinstance(module, Writer):
            signatures["about"] = about_signature(json.dumps({"decoding": to_dict(OWN)}))
        tf.saved_model.save(module, f"{holder.name}/{name}/1", signatures=signatures)
    return holder.name


@contextlib.contextmanager
def serving(*routes, names=NAMES, timeout_seconds=60.0):
    """`(manager, port)` of a server of these models with these routes."""
    labels = {"chat": {"stable": 1}}
    configs = [ModelConfig(name, f"{folder()}/{name}", labels=labels.get(name, {})) for name in names]
    manager = ModelManager(configs)
    manager.start()
    server = RestServer(manager, Runner(8, timeout_seconds), 1.0, routes)
    try:
        yield manager, server.start("127.0.0.1", 0)
    finally:
        server.stop()
        manager.stop()


def ask(port, body, path="/v1/models/lines:stream", method="POST", **headers):
    """(status, headers, bytes)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def _spec(name, dtype=tf.string, rank=1):
    return tf.TensorSpec([None] * rank, dtype, name)


def _signature(specs, function):
    def call(*inputs):
        return function({spec.name: value for spec, value in zip(specs, inputs, strict=True)})

    return tf.function(call, input_signature=specs, autograph=False)


class Writer(tf.Module):
    """Repeats what it was asked, and goes on with `STORY` from character number `seed` on, twice; asked "settings?" it
    tells its settings. "fail?" and "fail later?" are what they say."""

    def __init__(self, is_chat: bool) -> None:
        super().__init__()
        text, settings = [_spec("text")], [*settings_specs().values()]
        asked = [_spec("roles", rank=2), _spec("messages", rank=2)] if is_chat else text
        state = [_spec("state_text"), _spec("state_reason"), _spec("state_at", tf.int32)]
        self.names = (
            "generate",
            "prefill",
            "decode",
            "alternatives",
            "tokenize",
            *(["chat", "chat_alternatives"] if is_chat else []),
        )
        self.generate = _signature([*text, *settings], self._generate)
        self.chat = _signature([*asked, *settings], self._generate)
        self.prefill = _signature([*asked, *settings], self._prefill)
        self.decode = _signature([_spec("num_tokens", tf.int32), *state], self._decode)
        self.tokenize = _signature(text, lambda inputs: {"lengths": _length(inputs["text"])})
        counts = [_spec(name, tf.int32) for name in ("max_new_tokens", "num_alternatives")]
        answer = [_spec("token_ids", tf.int32, 2), *counts]
        self.alternatives = _signature([*text, *answer], self._alternatives)
        self.chat_alternatives = _signature([*asked, *answer], self._alternatives)

    def _whole(self, inputs):
        """Text and finish reason."""
        if "text" in inputs:
            prompt, more = inputs["text"], {}
        else:
            said = tf.strings.join([inputs["roles"], ":", inputs["messages"], "\n"])
            said = tf.where(inputs["roles"] == "", "", said)
            prompt = tf.strings.reduce_join(said, 1)
            prompt = tf.where(prompt == f"user:{ASKED_FOR_SETTINGS}\n", ASKED_FOR_SETTINGS, prompt)
            more = {"num_left_out": tf.zeros_like(inputs["seed"], tf.int32)}
        with tf.control_dependencies(
            [tf.debugging.assert_equal(prompt == "fail?", False, "it failed at once")]
        ):
            begin = tf.cast(inputs["seed"] % len(STORY), tf.int32)
        size = tf.fill(tf.shape(begin), len(STORY))
        story = tf.strings.substr(tf.fill(tf.shape(begin), STORY), begin, size, "UTF8_CHAR")
        text = tf.strings.join([prompt, story, STORY])
        text = tf.where(prompt == ASKED_FOR_SETTINGS, _shown(inputs), text)
        cut = cut_at_stop(text[:, None], inputs["stop"])[:, 0]
        cut = tf.where(prompt == ASKED_FOR_SETTINGS, text, cut)
        limited = tf.strings.substr(cut, tf.zeros_like(begin), inputs["max_new_tokens"], "UTF8_CHAR")
        reason = tf.where(_length(cut) <= inputs["max_new_tokens"], "stop", "length")
        return limited, reason, {"truncated": _length(prompt) > LONGEST, **more}

    def _generate(self, inputs):
        text, reason, more = self._whole(inputs)
        return {
            "text": text,
            **_told(_length(text), reason),
            "token_ids": tf.strings.unicode_decode(text, "UTF-8").to_tensor(-1),
            **more,
        }

    def _prefill(self, inputs):
        text, reason, more = self._whole(inputs)
        return {**_piece(text, reason, tf.zeros_like(_length(text)), 1), **more}

    def _decode(self, inputs):
        check = tf.strings.regex_full_match(inputs["state_text"], "fail later.*")
        with tf.control_dependencies([tf.debugging.assert_equal(check, False, "it failed later")]):
            at = tf.identity(inputs["state_at"])
        return _piece(inputs["state_text"], inputs["state_reason"], at, inputs["num_tokens"][0])

    def _alternatives(self, inputs):
        ids = inputs["token_ids"]
        each = tf.strings.unicode_encode(tf.reshape(tf.maximum(ids, 0), [-1, 1]), "UTF-8")
        tokens = tf.where(ids < 0, "", tf.reshape(each, tf.shape(ids)))
        shares = -tf.cast(ids, tf.float32) / 1024.0
        if "roles" in inputs:  # the messages after the first count
            count = tf.math.count_nonzero(inputs["roles"], axis=1, keepdims=True, dtype=tf.int32)
            shares -= tf.cast(count - 1, tf.float32)
        others = tf.range(inputs["num_alternatives"][0])
        likeliest = tokens[:, :, None] + tf.where(others == 0, "", tf.strings.as_string(others))
        return {
            "tokens": tokens,
            "log_probabilities": shares,
            "alternatives": likeliest,
            "alternative_log_probabilities": shares[:, :, None] - tf.cast(others, tf.float32),
            "num_tokens": tf.math.count_nonzero(ids >= 0, axis=1, dtype=tf.int32),
        }


def _piece(text, reason, at, count):
    end = tf.minimum(at + count, _length(text))
    finished = end >= _length(text)
    return {
        "piece": tf.strings.substr(text, at, end - at, "UTF8_CHAR"),
        "finished": finished,
        **_told(end, tf.where(finished, reason, "")),
        "state_text": text,
        "state_reason": reason,
        "state_at": end,
    }


def _told(num_tokens, reason):
    shares = -0.5 * tf.cast(num_tokens, tf.float32)
    return {"num_tokens": num_tokens, "log_probability": shares, "finish_reason": reason}


def _shown(inputs):
    """`{"top_k": ["5"], ..., "stop": ["a", "b"]}`."""
    members = []
    for name in settings_specs():
        value = inputs[name]
        value = (
            value
            if value.dtype == tf.string
            else tf.strings.as_string(value, shortest=value.dtype == tf.float32)
        )
        value = value if value.shape.rank == 2 else value[:, None]
        members.append(
            tf.strings.join([f'"{name}": ["', tf.strings.reduce_join(value, 1, separator='", "'), '"]'])
        )
    return tf.strings.join(["{", tf.strings.join(members, ", "), "}"])


def _length(text):
    return tf.strings.length(text, "UTF8_CHAR")


class Slow(tf.Module):
    """Its first piece comes after as many seconds as its text says, the next `LATER` seconds later."""

    names = ("generate", "prefill", "decode")

    @tf.function(input_signature=[_spec("text"), _spec("seed", tf.int64)], autograph=False)
    def generate(self, text, seed):
        return {"text": text, **self._first(text, seed)}

    @tf.function(input_signature=[_spec("text"), _spec("seed", tf.int64)], autograph=False)
    def prefill(self, text, seed):
        return self._first(text, seed)

    @tf.function(input_signature=[_spec("num_tokens", tf.int32), _spec("state_text")], autograph=False)
    def decode(self, num_tokens, state_text):
        del num_tokens
        return self._waited(tf.constant([float(LATER)]), state_text)

    def _first(self, text, seed):
        return {"truncated": seed < 0, **self._waited(tf.strings.to_number(text), text)}

    def _waited(self, seconds, text):
        microseconds = tf.cast(1e6 * tf.reduce_max(seconds), tf.int64)
        slept = tf.data.Dataset.range(1).apply(sleep(microseconds)).take(1)  # it takes no processor
        zero = slept.reduce(tf.constant(0, tf.int64), lambda state, _: state)
        nothing = tf.zeros_like(text, tf.int32) * tf.cast(zero, tf.int32)
        return {
            "piece": tf.strings.join(["。", tf.strings.as_string(nothing)]),
            "finished": nothing > 0,
            **_told(nothing, tf.strings.substr(text, 0, 0)),
            "state_text": text,
        }


class Old(tf.Module):
    """As it was once."""

    names = ("generate", "prefill", "decode")

    @tf.function(input_signature=[_spec("text")], autograph=False)
    def generate(self, text):
        return {"text": text, "num_tokens": _length(text), "log_probability": tf.zeros_like(text, tf.float32)}

    prefill = decode = generate


class Reviews(tf.Module):
    """A classifier."""

    names = ("serving_default",)

    @tf.function(input_signature=[_spec("text")], autograph=False)
    def serving_default(self, text):
        return {"label": tf.strings.lower(text)}
