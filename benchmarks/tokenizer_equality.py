"""Whether published tokenizers give the ids of the library `tokenizers` inside an export, and how fast: one table.

    python benchmarks/tokenizer_equality.py --tokenizers=Qwen3-0.6B,all-MiniLM-L6-v2 --texts=input.txt,reviews.csv.gz

`--tokenizers` are folders with a tokenizer.json. Each is exported as a SavedModel, which a process without tflm and
Keras loads and asks for the ids of every line of `--texts`, and of every code point between letters, spaces and digits.
The table is printed as Markdown; texts with other ids are listed below it, ten of each tokenizer.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import app, flags, logging

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BATCH_SIZE = 1024
CODE_POINTS = (*range(0xD800), *range(0xE000, 0x32000), *range(0xE0000, 0xE0200))
"""All but surrogates and the planes without characters."""
CHILD = """
import json, sys, time
for name in ("tflm", "keras", "keras_hub", "keras_nlp", "tensorflow_text"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf

folder, libraries = json.loads(sys.argv[1])
for library in libraries:
    tf.load_op_library(library)
tokenize = tf.saved_model.load(folder).signatures["serving_default"]
batches = json.load(open(f"{folder}/texts.json", encoding="utf-8"))
tokenize(tf.constant(batches[0][:1]))
ids, lengths, seconds = [], [], 0.0
for batch in batches:
    texts, begin = tf.constant(batch), time.perf_counter()
    outputs = tokenize(texts)
    seconds += time.perf_counter() - begin
    ids.append(outputs["token_ids"].numpy())
    lengths.append(outputs["lengths"].numpy())
np.savez(f"{folder}/ids.npz", ids=np.concatenate(ids), lengths=np.concatenate(lengths), seconds=seconds)
"""


def define_flags() -> None:
    """Only where this is the program: a test that reads this file has flags of its own."""
    flags.DEFINE_list("tokenizers", None, "Folders with a tokenizer.json.", required=True)
    flags.DEFINE_list("texts", [], "Text files, a text a line; compressed where they end in .gz.")
    flags.DEFINE_integer("code_points", 1, "Take each N-th code point; 0 for none.", lower_bound=0)


def lines(path: str) -> list[str]:
    """Those of a file that are not empty."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [line for line in file.read().split("\n") if line]


def code_points(every: int) -> Iterator[str]:
    """Each code point in three contexts."""
    for point in CODE_POINTS[::every]:
        yield f"a{chr(point)}a"
        yield f" {chr(point)} {chr(point)}"
        yield f"1{chr(point)}!"


def in_an_export(folder: str, texts: list[str]) -> tuple[list[list[int]], float]:
    """The ids of each text, and the seconds that they took."""
    import tensorflow as tf

    from tflm.export import text_op_libraries
    from tflm.text.import_tokenizer import read_tokenizer

    tokenizer = read_tokenizer(folder)

    class Exported(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = tokenizer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def tokenize(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = self.tokenizer.tokenize(text)
            return {"token_ids": rows.flat_values, "lengths": tf.cast(rows.row_lengths(), tf.int32)}

    with tempfile.TemporaryDirectory() as path:
        module = Exported()
        tf.saved_model.save(module, path, signatures=module.tokenize)
        with open(os.path.join(path, "texts.json"), "w", encoding="utf-8") as file:
            json.dump([texts[i : i + BATCH_SIZE] for i in range(0, len(texts), BATCH_SIZE)], file)
        argument = json.dumps([path, text_op_libraries() if tokenizer.ops else []])
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([sys.executable, "-I", "-c", CHILD, argument], check=True, env=environment)
        with np.load(os.path.join(path, "ids.npz")) as found:
            rows = np.split(found["ids"], np.cumsum(found["lengths"])[:-1])
            return [row.tolist() for row in rows], float(found["seconds"])


def in_the_library(folder: str, texts: list[str]) -> tuple[list[list[int]], float]:
    """The same by `tokenizers`, with texts taken as a user's."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    tokenizer.no_padding()
    tokenizer.no_truncation()
    begin = time.perf_counter()
    found = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [each.ids for each in found], time.perf_counter() - begin


def compare(folder: str, texts: list[str]) -> dict[str, Any]:
    """Texts with other ids, and million characters a second of both."""
    found, seconds = in_an_export(folder, texts)
    expected, their_seconds = in_the_library(folder, texts)
    different = [
        (text, one, other) for text, one, other in zip(texts, found, expected, strict=True) if one != other
    ]
    size = sum(map(len, texts)) / 1e6
    return {
        "different": different,
        "speed": size / seconds,
        "their_speed": size / their_seconds,
        "size": size,
    }


def main(argv: list[str]) -> None:
    """Compares each tokenizer on each kind of text."""
    del argv
    sys.path.insert(0, ROOT)
    logging.set_verbosity(logging.WARNING)
    values = flags.FLAGS
    kinds = {os.path.basename(path): lines(path) for path in values.texts}
    if values.code_points:
        kinds["code points"] = list(code_points(values.code_points))
    head = (
        "tokenizer",
        "texts",
        "number",
        "million characters",
        "different",
        "exported, M/s",
        "tokenizers, M/s",
    )
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    shown = []
    for folder in values.tokenizers:
        name = os.path.basename(os.path.normpath(folder))
        for kind, texts in kinds.items():
            found = compare(folder, texts)
            cells = (f"{found['size']:.2f}", len(found["different"]))
            speeds = (f"{found['speed']:.2f}", f"{found['their_speed']:.2f}")
            print("| " + " | ".join(map(str, (name, kind, len(texts), *cells, *speeds))) + " |", flush=True)
            shown += [(name, *each) for each in found["different"][:10]]
    for name, text, ours, theirs in shown:
        print(f"{name}: {text!a}: {ours} in the export, {theirs} by tokenizers")


if __name__ == "__main__":
    define_flags()
    app.run(main)
