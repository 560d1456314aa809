"""Two hand-made models for the chat page: `parrot` says what it was asked, `story` goes on with a text."""

import json
import pathlib
import shutil

import tensorflow as tf

SETTINGS = {
    "temperature": tf.float32,
    "top_p": tf.float32,
    "top_k": tf.int32,
    "max_new_tokens": tf.int32,
    "seed": tf.int64,
}
DEFAULTS = {"temperature": 0.8, "top_p": 0.95, "top_k": 0, "max_new_tokens": 900, "seed": 0}
SYSTEM = "Be kind."
ANSWERS = {
    "What makes a good cup of tea?": "Fresh water, just off the boil, and a little patience.\n\nGreen tea likes it "
    "cooler, around 75 °C, and two minutes; black tea takes boiling water and three to four. Warm the pot first, and "
    "use a bit more leaf than you think.",
    "And if I have only tea bags?": "Then take two, pour the water over them, and do not squeeze: that is where the "
    "bitterness comes from. A lid on the cup keeps the aroma in.",
    "怎样泡一杯好茶？": "水要新鲜，刚开不久，再加一点耐心。\n\n"
    "绿茶用七十五度左右的水，泡两分钟；红茶用开水，泡三四分钟。先温壶，茶叶可以比你想的多一点。",
    "只有茶包怎么办？": "那就放两包，倒上水，不要挤：苦味就是这样来的。杯子盖上盖，香气就留住了。",
}
STORY = " a fox lived at the edge of the wood. 从前有一只狐狸。"


class Writer(tf.Module):
    """Gives a text out as our exports do: a character is a token. One that was asked "slowly" takes
    its time, one that was asked "very slowly" takes longer than a browser on a busy machine needs for a click."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        task = {"kind": kind, "system": SYSTEM} if kind == "chat" else {"kind": kind}
        self.config = json.dumps({"task": task, "decoding": DEFAULTS})
        pairs = tf.lookup.KeyValueTensorInitializer(list(ANSWERS), list(ANSWERS.values()))
        self.answers = tf.lookup.StaticHashTable(pairs, "")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def about(self, text):
        return {"config": tf.fill(tf.shape(text), self.config)}

    def echo(self, roles, messages, settings):
        """The prepared answer, or all that came with the request."""
        said = tf.strings.reduce_join(tf.strings.join([roles, messages], ": "), 1, separator="\n")
        told = [tf.strings.join([name, tf.strings.as_string(value)], "=") for name, value in settings.items()]
        found = self.answers.lookup(messages[:, -1])
        return tf.where(found == "", tf.strings.join([said, *told], "\n"), found)

    def first(self, text, asked, max_new_tokens):
        """What `prefill` gives: nothing of the text yet."""
        pause = tf.where(tf.strings.regex_full_match(asked, "(?s).*slowly.*"), 0.04, 0.0)
        pause = tf.where(tf.strings.regex_full_match(asked, "(?s).*very slowly.*"), 0.5, pause)
        length = tf.strings.length(text, "UTF8_CHAR")
        cut = tf.strings.substr(text, tf.zeros_like(length), tf.minimum(length, max_new_tokens), "UTF8_CHAR")
        reason = tf.where(length > max_new_tokens, "length", "stop")
        outputs = self.told(cut, tf.zeros_like(length), tf.zeros_like(length), reason, pause)
        return {**outputs, "truncated": tf.zeros_like(length, tf.bool), "num_left_out": tf.zeros_like(length)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], dtype, name)
            for name, dtype in (
                ("num_tokens", tf.int32),
                ("state_text", tf.string),
                ("state_position", tf.int32),
                ("state_reason", tf.string),
                ("state_pause", tf.float32),
            )
        ]
    )
    def decode(self, num_tokens, state_text, state_position, state_reason, state_pause):
        end = tf.timestamp() + tf.cast(tf.reduce_max(state_pause), tf.float64)
        tf.while_loop(lambda _: tf.timestamp() < end, lambda i: (i + 1,), (tf.constant(0),))
        return self.told(state_text, state_position, num_tokens, state_reason, state_pause)

    def told(self, text, position, count, reason, pause):
        length = tf.strings.length(text, "UTF8_CHAR")
        position = tf.minimum(position, length)
        after = tf.minimum(position + count, length)
        finished = after >= length
        return {
            "piece": tf.strings.substr(text, position, after - position, "UTF8_CHAR"),
            "finished": finished,
            "num_tokens": after,
            "log_probability": -tf.cast(after, tf.float32),
            "finish_reason": tf.where(finished, reason, ""),
            "state_text": text,
            "state_position": after,
            "state_reason": reason,
            "state_pause": pause,
        }


def write(folder: pathlib.Path) -> None:
    """Writes `parrot/1`, `parrot/2` (the same again) and `story/1`."""
    settings = [tf.TensorSpec([None], dtype, name) for name, dtype in SETTINGS.items()]
    texts = [tf.TensorSpec([None, None], tf.string, name) for name in ("roles", "messages")]

    def read_chat(roles, messages, *values):
        given = dict(zip(SETTINGS, values, strict=True))
        return parrot.first(parrot.echo(roles, messages, given), messages[:, -1], given["max_new_tokens"])

    def read_text(text, *values):
        return story.first(
            tf.fill(tf.shape(text), STORY), text, values[list(SETTINGS).index("max_new_tokens")]
        )

    parrot, story = Writer("chat"), Writer("language_modeling")
    chat = tf.function(read_chat, input_signature=[*texts, *settings])
    _save(parrot, folder / "parrot" / "1", "chat", chat)
    shutil.copytree(folder / "parrot" / "1", folder / "parrot" / "2")
    generate = tf.function(read_text, input_signature=[tf.TensorSpec([None], tf.string, "text"), *settings])
    _save(story, folder / "story" / "1", "generate", generate)


def _save(writer: Writer, path: pathlib.Path, name: str, prefill) -> None:
    signatures = {name: prefill, "prefill": prefill, "decode": writer.decode, "about": writer.about}
    tf.saved_model.save(writer, str(path), signatures=signatures)
