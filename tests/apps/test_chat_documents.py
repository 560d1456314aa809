"""`tflm chat --documents`: answers from files, with file and line; what the files do not say is not asked."""

import json

import pytest
import tensorflow as tf

from tests.apps.common.test_documents import Characters
from tflm.export.checksums import write_checksums

CITIES = "# Cities\n\nParis lies on the Seine.\n\nBerlin lies on the Spree.\n"
RETURNS = "怎么退货？\n七天内可以退货。\n\n运费由谁承担？\n由买家承担运费。\n"
GREEDY = ("--temperature=0", "--max_new_tokens=8", "--min_new_tokens=3", "--min_nearness=0.55")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, chat):
    """Flags that name the model, an embedder and documents."""
    folder, module = tmp_path_factory.mktemp("documents"), Characters()
    path = f"{folder}/embed/1"
    tf.saved_model.save(module, path, signatures={"embed": module.embed})
    write_checksums(path)
    (folder / "docs").mkdir()
    (folder / "docs/cities.md").write_text(CITIES, encoding="utf-8")
    (folder / "docs/returns.txt").write_text(RETURNS, encoding="utf-8")
    return [
        f"--model={chat.model}",
        f"--documents={folder}/docs",
        f"--embedder={folder}/embed",
        f"--index={folder}/index",
        "--passage_length=60",
        *GREEDY,
    ]


def places(record):
    return [(each["file"].rpartition("/")[2], each["line"]) for each in record["citations"]]


def test_questions_by_themselves(arguments, call, tmp_path):
    file = tmp_path / "questions.txt"
    file.write_text("Which river is Berlin on?\n\n运费由谁承担？\n%%%%\n", encoding="utf-8")
    done = call("chat", *arguments, f"--input={file}", "--format=json")
    assert done.code == 0, done.err
    english, chinese, nothing = map(json.loads, done.lines)
    assert ("cities.md", 5) in places(english) and ("returns.txt", 4) in places(chinese)
    assert english["found"] and english["answer"] and 0 <= english["citations"][0]["support"] <= 1
    assert nothing["answer"] == "The documents do not say." and not nothing["found"]
    again = call("chat", *arguments, "--text=Which river is Berlin on?")
    lines = [f"  {each['file']}:{each['line']}  {each['text']}" for each in english["citations"]]
    assert again.out == "\n".join([english["answer"], *lines]) + "\n"
    assert "2 unchanged" in again.err


def test_a_conversation_streamed_and_whole(arguments, call):
    stdin = "运费由谁承担？\nWhich river is Paris on?\n".encode()
    whole, streamed = (
        call("chat", *arguments, f"--stream={value}", stdin=stdin) for value in ("false", "true")
    )
    assert whole.code == streamed.code == 0, whole.err + streamed.err
    assert whole.out == streamed.out and "cities.md:3  Paris lies on the Seine." in whole.out


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--web"], 2, "--documents is for the terminal and pipes"),
        (["--embedder="], 2, "--documents needs --embedder"),
        (["--min_nearness=2"], 2, "--min_nearness=2"),
    ],
)
def test_refused(arguments, call, given, code, words):
    done = call("chat", *arguments, *given)
    assert done.code == code and words in done.err
