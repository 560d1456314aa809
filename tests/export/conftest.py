"""Tiny models from strings to strings, exported once for all tests here.

One is of core ops alone, one also uses tensorflow-text.
"""

import types

import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from tflm.export import write_export

TEXT = tf.TensorSpec([None], tf.string, "text")
SCALE = tf.TensorSpec([None], tf.float32, "scale")
REQUESTS = {
    "serving_default": [{"text": ["hello"]}, {"text": ["你好", "a longer line, it's here", ""]}],
    "fold": [
        {"text": ["ＦＵＬＬ width"], "scale": [1.5]},
        {"text": ["Straße", "你好Ａ"], "scale": [-2.0, 0.0]},
    ],
}


class Shift(tf.Module):
    """Moves every byte up by a variable; a table translates some texts beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = tf.Variable([1])
        pairs = tf.lookup.KeyValueTensorInitializer(["你好"], ["再见"])
        self.table = tf.lookup.StaticHashTable(pairs, default_value="")

    @tf.function(input_signature=[TEXT])
    def answer(self, text):
        translated = self.table.lookup(text)
        text = tf.where(translated == "", text, translated)
        codes = tf.strings.unicode_decode(text, "UTF-8") + self.shift[0]
        return {"text": tf.strings.unicode_encode(codes, "UTF-8"), "num_characters": codes.row_lengths()}

    @tf.function(input_signature=[TEXT, SCALE])
    def fold(self, text, scale):
        folded = tf_text.normalize_utf8(tf_text.case_fold_utf8(text), "NFKC")
        return {"text": folded, "scaled": scale / 3.0}


def shifted(text: str) -> bytes:
    """What `answer` gives, in plain Python."""
    return "".join(chr(ord(character) + 1) for character in {"你好": "再见"}.get(text, text)).encode()


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """`core` and `text`: paths of the exports; `module`: what they were made from; `requests`."""
    module = Shift()
    folder = tmp_path_factory.mktemp("saved_models")
    card = {"What it is": "A toy. 玩具。", "Settings": {"shift": 1}}
    files = {"config.json": '{"language": "中文"}'}
    core = write_export(
        {"serving_default": module.answer},
        [module],
        str(folder / "core"),
        requests={"serving_default": REQUESTS["serving_default"]},
        card=card,
        files=files,
    )
    text = write_export(
        {"serving_default": module.answer, "fold": module.fold},
        [module],
        str(folder / "text"),
        requests=REQUESTS,
        card=card,
        files=files,
    )
    return types.SimpleNamespace(core=core, text=text, module=module, requests=REQUESTS, shifted=shifted)
