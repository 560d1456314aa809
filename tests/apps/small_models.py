"""SavedModels of a few string operations, saved in a moment, with the signatures that the apps ask for.

What they answer is a plain function of one text, so that a text's answer among others can be compared with its answer
alone; and like a model of ours they write valid UTF-8, whatever they read.
"""

import json
import pathlib
from typing import Any

import tensorflow as tf

from tflm.generation import DecodingConfig, settings_specs
from tflm.generation.settings import beam_settings_specs

LABELS = ["good", "坏"]
# App that answers single texts -> the model of `save_all` that it asks.
APPS = {
    "classify": "labels",
    "tag": "spans",
    "embed": "vectors",
    "generate": "writer",
    "chat": "talker",
    "summarize": "pairs",
    "translate": "pairs",
}


def spec(name: str, dtype: tf.DType = tf.string, rank: int = 1) -> tf.TensorSpec:
    return tf.TensorSpec([None] * rank, dtype, name)


TEXT = [spec("text")]
PAIR = [spec("text"), spec("text_pair")]
ITEM = [spec("question"), spec("context")]
SETTINGS = list(settings_specs().values())
WRITTEN = [
    *TEXT,
    spec("token_ids", tf.int32, 2),
    spec("max_new_tokens", tf.int32),
    spec("num_alternatives", tf.int32),
]
BEAMS = [*beam_settings_specs().values(), spec("stop", rank=2), spec("choices", rank=2)]
TALK = [spec("roles", rank=2), spec("messages", rank=2), *SETTINGS]


class Small(tf.Module):
    """Every signature that an app asks for, and some that give too little."""

    @tf.function(input_signature=[*TEXT, *SETTINGS])
    def generate(self, text, *settings):
        length = tf.strings.length(text)
        return {**self.write(text), "num_tokens": length, "log_probability": -float32(length)}

    @tf.function(input_signature=TEXT)
    def write(self, text):
        return {"text": "<" + clean(text) + ">"}

    @tf.function(input_signature=[*TEXT, *SETTINGS])
    def repeat(self, text, *settings):
        """The text itself, its characters as tokens, and 0 as the end."""
        letters = tf.strings.unicode_decode(clean(text), "UTF-8")
        ids = tf.concat([letters, tf.zeros([tf.size(text), 1], tf.int32)], 1)
        return {**self.generate(text, *settings), "text": clean(text), "token_ids": ids.to_tensor(-1)}

    @tf.function(input_signature=[*TEXT, *BEAMS])
    def beam(self, text, beam_size, *others):
        """The text, and the text with 1, 2, ... behind it; that with 3 and what comes after was not found. Of "" there
        is nothing at all."""
        places = tf.repeat(tf.range(tf.reduce_max(beam_size))[None], tf.size(text), 0)
        found = (places < 3) & (text != "")[:, None]
        texts = clean(text)[:, None] + tf.where(places > 0, tf.strings.as_string(places), "")
        score = tf.where(found, -float32(places) - 0.5, float("-inf"))
        return {
            "text": tf.where(found, texts, ""),
            "num_tokens": tf.where(found, tf.strings.length(texts), 0),
            "log_probability": 4.0 * score,
            "score": score,
            "truncated": text == "",
        }

    @tf.function(input_signature=WRITTEN)
    def alternatives(self, text, token_ids, max_new_tokens, num_alternatives):
        """The first is what was written by `repeat`, with 1/2, the others "好", with 1/8."""
        flat = tf.reshape(token_ids, [-1, 1])
        tokens = tf.where(flat[:, 0] > 0, tf.strings.unicode_encode(tf.maximum(flat, 1), "UTF-8"), "")
        tokens = tf.reshape(tokens, tf.shape(token_ids))[:, :, None]
        others = tf.fill(tf.concat([tf.shape(token_ids), [tf.reduce_max(num_alternatives) - 1]], 0), "好")
        shares = [tf.fill(tf.shape(x), tf.math.log(share)) for x, share in ((tokens, 0.5), (others, 0.125))]
        return {
            "tokens": tokens[:, :, 0],
            "log_probabilities": shares[0][:, :, 0],
            "alternatives": tf.concat([tokens, others], 2),
            "alternative_log_probabilities": tf.concat(shares, 2),
            "num_tokens": tf.math.count_nonzero(token_ids >= 0, 1, dtype=tf.int32),
        }

    @tf.function(input_signature=[*TEXT, spec("choices", rank=2)])
    def choose(self, text, choices):
        """The first choice, with 3/4; the second with 1/4."""
        shape = tf.shape(choices)
        probabilities = tf.fill([shape[0], 1], 1.0) * tf.one_hot(0, shape[1]) * 0.5 + 0.25
        return {"choice": choices[:, 0], "probabilities": probabilities}

    @tf.function(input_signature=TEXT)
    def score(self, text):
        return {"log_probability": -float32(tf.strings.length(text)), "num_tokens": tf.strings.length(text)}

    @tf.function(input_signature=TEXT)
    def tokenize(self, text):
        return {"token_ids": tf.zeros([tf.size(text), 1], tf.int32), "lengths": tf.strings.length(text)}

    @tf.function(input_signature=TALK)
    def chat(self, roles, messages, *settings):
        said = tf.strings.reduce_join(clean(messages), 1, separator="|")
        return {"text": "<" + said + ">", "num_left_out": tf.zeros_like(tf.strings.length(said))}

    @tf.function(input_signature=TALK)
    def prefill(self, roles, messages, *settings):
        """The first character of the answer that `chat` gives; `decode` gives the others."""
        said = self.chat(roles, messages, *settings)["text"]
        zeros = tf.zeros_like(tf.strings.length(said))
        piece, rest = (tf.strings.substr(said, begin, size) for begin, size in ((0, 1), (1, 2**30)))
        return {"piece": piece, "finished": zeros > 0, "num_left_out": zeros, "state_rest": rest}

    @tf.function(input_signature=[spec("num_tokens", tf.int32), spec("state_rest")])
    def decode(self, num_tokens, state_rest):
        return {"piece": state_rest, "finished": num_tokens > 0}

    @tf.function(input_signature=TEXT)
    def classify(self, text):
        return labelled(text)

    @tf.function(input_signature=PAIR)
    def classify_pairs(self, text, text_pair):
        return labelled(text + "\t" + text_pair)

    @tf.function(input_signature=TEXT)
    def embed(self, text):
        hashes = [tf.strings.to_hash_bucket_fast(text + end, 1000) for end in "abc"]
        return {"embedding": tf.stack([float32(value) / 1000.0 for value in hashes], 1)}

    @tf.function(input_signature=TEXT)
    def about(self, text):
        """The config that `save` writes for pairs, which a server's client cannot read otherwise."""
        config = {"task": {"kind": "pairs", "max_source_length": 24}, "decoding": {"max_new_tokens": 8}}
        return {"config": tf.fill(tf.shape(text), json.dumps(config))}

    @tf.function(input_signature=PAIR)
    def similarity(self, text, text_pair):
        """1 for the same text, else 0."""
        return {"similarity": float32(text == text_pair)}

    @tf.function(input_signature=TEXT)
    def nearest(self, text):
        """The text itself; of "" nothing."""
        known = float32(text != "")[:, None]
        return {
            "words": tf.stack([clean(text), tf.fill(tf.shape(text), "")], 1),
            "scores": known * [[0.75, 0.0]],
        }

    @tf.function(input_signature=TEXT)
    def fill(self, text):
        """好 for a blank."""
        filled = tf.strings.regex_replace(clean(text), "____", "好")
        return {"text": filled, "log_probability": halves(text), "truncated": text == ""}

    @tf.function(input_signature=[*TEXT, spec("target")])
    def score_pairs(self, text, target):
        """A token for each byte of the target, with 1/2."""
        length = tf.strings.length(target)
        places = tf.sequence_mask(length, 1 + tf.reduce_max(length))
        each = tf.where(places, tf.math.log(0.5), 0.0)
        return {
            "log_probability": tf.reduce_sum(each, 1),
            "num_tokens": length,
            "token_ids": tf.where(places, 7, 0),
            "token_log_probabilities": each,
            "truncated": text == "",
        }

    @tf.function(input_signature=TEXT)
    def tag(self, text):
        """The first character."""
        ends = tf.minimum(tf.strings.length(clean(text), "UTF8_CHAR"), 1)
        columns = {
            "start": 0 * ends,
            "end": ends,
            "label": tf.fill(tf.shape(ends), "字"),
            "score": halves(ends),
        }
        return {"num_spans": ends, **{name: column[:, None] for name, column in columns.items()}}

    @tf.function(input_signature=[*ITEM, spec("threshold", tf.float32)])
    def answer(self, question, context, threshold):
        return self.read(question, context)

    @tf.function(input_signature=ITEM)
    def read(self, question, context):
        """The first character of the text."""
        first = tf.strings.substr(clean(context), 0, 1, "UTF8_CHAR")
        ends = 2 * tf.minimum(tf.strings.length(first, "UTF8_CHAR"), 1) - 1  # -1 for no answer
        one = {"answer": first, "start": tf.minimum(ends, 0), "end": ends, "score": halves(ends)}
        return {
            **one,
            "margin": halves(ends),
            **{f"{name}s": column[:, None] for name, column in one.items()},
        }


def clean(text: tf.Tensor) -> tf.Tensor:
    """Invalid UTF-8 becomes U+FFFD, as a tokenizer does it."""
    return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", replace_control_characters=False)


def float32(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float32)


def halves(values: tf.Tensor) -> tf.Tensor:
    return tf.fill(tf.shape(values), 0.5)


def labelled(text: tf.Tensor) -> dict[str, tf.Tensor]:
    place = tf.strings.to_hash_bucket_fast(text, 2)
    labels = tf.fill([tf.size(text), 1], "") + tf.constant(LABELS)
    return {"label": tf.gather(LABELS, place), "scores": tf.one_hot(place, 2) * 0.5 + 0.25, "labels": labels}


def save(folder: pathlib.Path, task: str, *names: str, **renamed: str) -> str:
    """Saves a model with those signatures, and its config; the path of its folder.

        save(path, "pairs", "generate", serving_default="write")

    Args:
        task: the kind of task in the config.
        names: of functions of `Small`, and of signatures.
        renamed: signature to the function that does its work.
    """
    module = Small()
    functions = {**{name: name for name in names}, **renamed}
    signatures = {name: getattr(module, function) for name, function in functions.items()}
    tf.saved_model.save(module, str(folder / "1"), signatures)
    config: dict[str, Any] = {"task": {"kind": task}, "decoding": vars(DecodingConfig(max_new_tokens=8))}
    if task == "pairs":
        config["task"]["max_source_length"] = 24
    (folder / "1" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def save_all(folder: pathlib.Path) -> dict[str, str]:
    """Name to path of a model for each app, and one for none."""
    return {
        "writer": save(
            folder / "writer", "language_modeling", "generate", "score", "tokenize", serving_default="write"
        ),
        "pairs": save(folder / "pairs", "pairs", "generate", "tokenize", serving_default="write"),
        "talker": save(folder / "talker", "chat", "generate", "chat", "prefill", "decode"),
        "labels": save(folder / "labels", "classification", "classify"),
        "labels_of_pairs": save(folder / "labels_of_pairs", "classification", classify="classify_pairs"),
        "spans": save(folder / "spans", "tagging", "tag"),
        "vectors": save(folder / "vectors", "similarity", "embed"),
        "reader": save(folder / "reader", "question_answering", "answer", serving_default="read"),
        "plain": save(folder / "plain", "", serving_default="write"),
        "foreign": save(
            folder / "foreign",
            "",
            generate="embed",
            classify="embed",
            tag="embed",
            embed="write",
            answer="embed",
        ),
    }


def save_writers(folder: pathlib.Path) -> dict[str, str]:
    """Models that continue texts: one with all signatures, one as older exports are, one that answers too little."""
    several = ("beam", "alternatives", "choose")
    kind = "language_modeling"
    return {
        "complete": save(folder / "complete", kind, *several, generate="repeat"),
        "older": save(folder / "older", kind, "generate", "score"),
        "too_little": save(folder / "too_little", kind, "generate", **dict.fromkeys(several, "write")),
    }
