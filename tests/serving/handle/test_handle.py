"""What a model handle refuses, how it batches, and that it can be shared: by a scripted model, without TensorFlow."""

import concurrent.futures
import subprocess
import sys
import threading

import numpy as np
import pytest

import tflm
from tests.serving.handle.conftest import address
from tflm.errors import UsageError, UserError
from tflm.generation import BeamConfig, DecodingConfig, beam_settings_lists, settings_lists
from tflm.serving import ModelHandle
from tflm.serving.handle.base import OUTPUTS
from tflm.serving.signature import Signature

SETTINGS = settings_lists(DecodingConfig(), 1)
BEAMS = [name for name in beam_settings_lists(BeamConfig(), DecodingConfig(), 1) if name != "slide"]
INPUTS = {
    "generate": ["text", *SETTINGS],
    "beam": ["text", *BEAMS, "stop"],
    "chat": ["roles", "messages", *SETTINGS],
    "prefill": ["text", *SETTINGS],
    "decode": ["num_tokens"],
    "classify": ["text"],
    "embed": ["text"],
    "choose": ["text", "choices"],
    "score": ["text", "target"],
    "answer": ["question", "context", "threshold"],
}


class Scripted:
    """Upper case of each text; keeps the texts of every request."""

    path, card = "models/scripted", ""

    def __init__(self, *names, config=None):
        self.config = config or {"decoding": {"max_new_tokens": 9}}
        self.signatures = {
            name: Signature(
                dict.fromkeys(INPUTS[name], "string"),
                dict.fromkeys(OUTPUTS.get(name, ()), "string"),
                {},
                {"embedding": (None, 2)},
            )
            for name in names
        }
        self.requests, self.is_closed, self._lock = [], False, threading.Lock()

    def predict(self, signature, inputs):
        with self._lock:
            self.requests.append((signature, inputs))
        if signature == "embed":
            return {"embedding": np.array([[len(text), 1.0] for text in inputs["text"]], np.float32)}
        texts = inputs["text"] if "text" in inputs else [row[-1] for row in inputs["messages"]]
        return {
            "text": np.array([text.upper().encode() for text in texts], object),
            "num_tokens": np.array([len(text) for text in texts]),
            "log_probability": np.zeros(len(texts), np.float32),
        }

    def close(self):
        self.is_closed = True


@pytest.fixture
def model():
    return Scripted("generate", "beam", "chat", "embed")


@pytest.fixture
def handle(model):
    return ModelHandle(model)


def test_a_method_that_the_model_lacks():
    handle = ModelHandle(Scripted("classify", "embed"))
    assert handle.methods == ("classify", "embed")
    words = (
        r"'models/scripted' cannot generate: it has no signature 'generate'\. Its methods: classify, embed\."
    )
    with pytest.raises(UserError, match=words):
        handle.generate("你好")
    for method in (
        "stream",
        "chat",
        "tag",
        "fill",
        "nearest",
        "tokenize",
        "summarize",
        "translate",
        "conversation",
    ):
        with pytest.raises(
            UserError, match=f"cannot {method}: it has no signature .*Its methods: classify, embed"
        ):
            result = getattr(handle, method)(*(["a"] if method != "conversation" else []))
            next(result)
    with pytest.raises(UserError, match=r"cannot generate: .* Its methods: none\."):
        ModelHandle(Scripted()).generate([])


def test_a_signature_that_gives_too_little(model):
    model.signatures["embed"] = Signature({"text": "string"}, {"vector": "float32"}, {}, {})
    words = "its signature 'embed' gives vector; embedding is needed too. Load a model that tflm exported"
    with pytest.raises(UserError, match=words):
        ModelHandle(model).embed("a")


UNKNOWN = {
    "temprature": r"generate has no setting temprature\. Did you mean temperature\?",
    "num_beams": r"generate has no setting num_beams\. Did you mean beam_size\?",
    "max_tokens": r"generate has no setting max_tokens\. Did you mean max_new_tokens\?",
    "return_detail": r"generate has no setting return_detail\. Did you mean return_details\?",
    "温度": r"generate has no setting 温度\. The settings are seed, temperature, top_k, ",
}


def test_unknown_settings(handle):
    for name, words in UNKNOWN.items():
        with pytest.raises(UsageError, match=words):
            handle.generate("a", **{name: 1})
    with pytest.raises(
        UsageError, match=r"chat has no setting beam_size, which is for beam search: generate, trans"
    ):
        handle.chat("a", beam_size=4)
    with pytest.raises(UsageError, match=r"there is no setting heat\. The settings are seed, temperature"):
        handle.settings(heat=1)


BAD = [
    ({"temperature": -1}, r"^temperature is -1\.0, expected 0 \(greedy\) or a positive number\."),
    ({"temperature": "hot"}, r"^temperature takes float; got 'hot'\."),
    ({"stop": 5}, r'^stop is a list, written as \["a", "b"\]; got 5\.'),
    (
        {"length_penalty": 0.6},
        r"^generate: length_penalty is a setting of beam search; give beam_size=4 too\.",
    ),
    (
        {"beam_size": 4, "top_p": 0.9},
        r"^generate: beam search does not use top_p; leave out top_p or beam_size\.",
    ),
    ({"beam_size": 65}, r"^beam_size is 65, expected a whole number from 1 to 64"),
    ({"seed": [1, 2]}, r"^generate: seed has 2 values for 1 texts\."),
    ({"batch_size": 0}, r"^generate: batch_size is 0, expected a whole number of at least 1\."),
]


def test_settings_out_of_range(handle, model):
    for settings, words in BAD:
        with pytest.raises(UsageError, match=words):
            handle.generate("a", **settings)
    assert model.requests == []
    del model.signatures["generate"].inputs["min_p"]
    with pytest.raises(
        UsageError, match=r"was exported before there was min_p: it has no such setting\. Export it"
    ):
        handle.generate("a", min_p=0.1)
    del model.signatures["beam"]
    with pytest.raises(
        UserError, match="has no signature 'beam', which beam_size needs; it has generate, chat, embed"
    ):
        handle.generate("a", beam_size=2)


def test_a_damaged_config():
    for config, words in (
        ({"decoding": {"top_p": 7}}, "'models/scripted' is damaged: of its own settings top_p is 7.0"),
        ({"decoding": [1]}, "config.json is not as tflm writes it: it and its sections are JSON objects"),
    ):
        with pytest.raises(UserError, match=words):
            ModelHandle(Scripted("generate", config=config)).generate("a")


def test_settings_that_are_not_given_are_the_models_own(handle, model):
    handle.generate(["a", "b"], stop="。", temperature=np.float32(0.5), top_k=None)
    _, inputs = model.requests[0]
    assert inputs["max_new_tokens"] == [9, 9] and inputs["stop"] == [["。"], ["。"]]
    assert inputs["temperature"] == [0.5, 0.5] and inputs["top_k"] == [0, 0] and inputs["seed"] == [0, 0]


INPUT_ERRORS = [
    (5, r"^generate: text is int 5, expected a str or a list of str\."),
    (None, r"^generate: text is NoneType, expected a str or a list of str\."),
    (
        b"a",
        r"^generate: text is bytes b'a', expected a str or a list of str\. Decode it: value\.decode\('utf-8'\)\.",
    ),
    (["a", 5], r"^generate: text\[1\] is int 5, expected a str\."),
    ({"a"}, r"^generate: text is set \{'a'\}, expected a str or a list of str\. Use list\(\.\.\.\)\."),
]


def test_what_is_no_text(handle, model):
    for value, words in INPUT_ERRORS:
        with pytest.raises(UsageError, match=words):
            handle.generate(value)
    assert handle.generate(np.array(["a", "好"])) == ["A", "好"] and handle.generate(("a",)) == ["A"]


def test_what_is_no_conversation(handle):
    form = r'\{"role": "user", "content": "\.\.\."\}'
    for value, words in (
        (
            5,
            rf"chat: messages is int 5, expected a str, a list of messages such as \[{form}\], or a list of such",
        ),
        (
            [{"role": "boss", "content": "a"}],
            rf"chat: messages\[0\] is dict .*, expected {form}; a role is system, us",
        ),
        ([{"role": "user"}], r"chat: messages\[0\] is dict"),
        ([[]], rf"chat: messages\[0\] is list \[\], expected messages such as \[{form}\]"),
    ):
        with pytest.raises(UsageError, match=words):
            handle.chat(value)
    assert handle.chat(["你好", "a"]) == ["你好", "A"], "two conversations of one message"


def test_other_inputs_that_do_not_fit():
    model = ModelHandle(Scripted("classify", "choose", "score", "answer", "prefill", "decode"))
    for call, words in (
        (
            lambda: model.classify("a", "b"),
            "classify: 'models/scripted' labels single texts: leave out text_pair",
        ),
        (lambda: model.score("a"), "score: 'models/scripted' scores a target given a text: give target"),
        (
            lambda: model.score(["a", "b"], ["c"]),
            "score: text has 2 and target has 1 texts; expected equally many",
        ),
        (
            lambda: model.choose("a", ["x", "x"]),
            "choose: choices are two texts or more, each once and not empty; got",
        ),
        (lambda: model.choose("a", ["x", ""]), "choose: choices are two texts or more"),
        (
            lambda: model.choose("a", ["x", "y"], prompt="{txt}"),
            "the prompt '{txt}' lacks a placeholder: write",
        ),
        (
            lambda: model.answer("a", "b", num_answers=True),
            "answer: num_answers is True, expected a whole number",
        ),
        (lambda: model.stream(["a"]), "stream takes one str; got list. Call it for each"),
    ):
        with pytest.raises(UsageError, match=words):
            call()


def test_empty_lists_ask_nothing(handle, model):
    assert handle.generate([]) == handle.chat([]) == handle.summarize([]) == handle.samples([], 2) == []
    assert handle.embed([]).shape == (0, 2)
    assert model.requests == []


def test_many_texts_go_in_batches_of_similar_length_and_keep_their_order(handle, model):
    texts = [letter * number for number in (9, 1, 5, 30, 2) for letter in ("a", "好")]
    seeds = list(range(10))
    assert handle.generate(texts, batch_size=4, seed=seeds) == [text.upper() for text in texts]
    batches = [inputs for _, inputs in model.requests]
    assert [len(inputs["text"]) for inputs in batches] == [4, 4, 2]
    sizes = [len(text.encode()) for inputs in batches for text in inputs["text"]]
    assert sizes == sorted(sizes)
    of_text = {
        text: seed for inputs in batches for text, seed in zip(inputs["text"], inputs["seed"], strict=True)
    }
    assert of_text == dict(zip(texts, seeds, strict=True))
    model.requests.clear()
    handle.generate(texts[:4], batch_size=4)
    assert model.requests[0][1]["text"] == texts[:4], "one batch stays in its order"


def test_vectors_of_each_text_once(handle, model):
    calls = []
    vectors = handle.embed(
        ["ab", "c", "ab"], batch_size=1, progress_fn=lambda *numbers: calls.append(numbers)
    )
    assert vectors.tolist() == [[2, 1], [1, 1], [2, 1]]
    assert [inputs["text"] for _, inputs in model.requests] == [["c"], ["ab"]] and calls == [(1, 2), (2, 2)]


def test_a_question_that_failed_was_not_asked(model):
    talk = ModelHandle(model).conversation()
    talk.ask("a")

    def fail(signature, inputs):
        raise UserError("refused")

    model.predict = fail
    with pytest.raises(UserError, match="refused"):
        talk.ask("b")
    assert [message["content"] for message in talk.messages] == ["a", "A"]


def test_settings_of_a_conversation(model):
    talk = ModelHandle(model).conversation(temperature=0.5)
    talk.set(top_k=3)
    talk.ask("a")
    assert model.requests[0][1]["temperature"] == [0.5] and model.requests[0][1]["top_k"] == [3]
    with pytest.raises(UsageError, match=r"there is no setting heat\."):
        talk.set(heat=1)
    with pytest.raises(UserError, match="this model answers single questions and takes no system text"):
        ModelHandle(Scripted("generate")).conversation(system="Be brief.")


def test_closed(model):
    with ModelHandle(model) as handle:
        assert repr(handle) == "ModelHandle('models/scripted')"
    assert model.is_closed
    handle.close()
    words = r"the model 'models/scripted' is closed\. Load it again: tflm\.load\('models/scripted'\)\."
    for call in (lambda: handle.generate("a"), lambda: handle.methods, lambda: handle.config):
        with pytest.raises(UserError, match=words):
            call()


def test_several_threads(loaded):
    for way in ("folder", "rest", "grpc"):
        model = loaded("small", way)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(model.generate, [f"好{number}" for number in range(40)]))
        assert found == [f"好{number}" for number in range(40)], way


REMOTE = """
import sys, tflm
for url in sys.argv[1:]:
    with tflm.load(url) as model:
        print(model.chat([{"role": "user", "content": "你好"}]), "".join(model.stream("a")), model.generate(["b"]))
        print(model.conversation().ask("c"), model.settings(temperature=1).decoding.temperature)
print([name for name in ("tensorflow", "keras") if name in sys.modules])
"""


def test_no_tensorflow_for_a_url(served):
    urls = [address(served, "small", way) for way in ("rest", "grpc")]
    command = [sys.executable, "-c", REMOTE, *urls]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.stdout == "<你好> <a> ['b']\n<c> 1.0\n" * 2 + "[]\n", done.stderr


def test_importing_the_package_imports_nothing():
    script = "import sys, tflm; print(sorted(n for n in sys.modules if n.startswith(('tflm.', 'numpy', 'tensor'))))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"


def test_what_the_package_has():
    assert tflm.Experiment.__module__ == "tflm.experiments.experiment"
    with pytest.raises(AttributeError, match="module 'tflm' has no attribute 'lode'"):
        tflm.lode  # noqa: B018


def test_load_refuses_what_connect_refuses(tmp_path):
    with pytest.raises(UserError, match=r"neither saved_model.pb nor a version folder"):
        tflm.load(str(tmp_path))
    with pytest.raises(UsageError, match=r"is a folder, which takes no token\."):
        tflm.load(str(tmp_path), token="0123456789abcdef")
