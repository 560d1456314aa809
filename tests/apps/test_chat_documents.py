"""`tflm chat --documents`: answers from files, with file and line; what the files do not say is not asked."""

import json

import pytest
import tensorflow as tf

from tests.apps.common.test_documents import Characters
from tflm.export.checksums import write_checksums

CITIES = "# Cities\n\nParis lies on the Seine.\n\nBerlin lies on the Spree.\n"
RETURNS = "怎么退货？\n七天内可以退货。\n\n运费由谁承担？\n由买家承担运费。\n"
ENGLISH, CHINESE = "Which river is Berlin on?", "运费由谁承担？"


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
        "--min_nearness=0.55",
        "--max_new_tokens=40",
    ]


def places(record):
    return [(each["file"].rpartition("/")[2], each["line"]) for each in record["citations"]]


@pytest.mark.parametrize(
    ("question", "answer", "place"),
    [(ENGLISH, "On the Spree.", ("cities.md", 5)), (CHINESE, "由买家承担。", ("returns.txt", 5))],
)
def test_a_question_by_itself(arguments, call, question, answer, place):
    """The model is bound to say what is expected: what it would say itself is not the matter."""
    done = call("chat", *arguments, f"--text={question}", f"--choices={answer}", "--format=json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert (record["answer"], record["found"], places(record)[0]) == (answer, True, place)
    cited = record["citations"][0]
    assert 0.7 < cited["support"] <= 1
    shown = call("chat", *arguments, f"--text={question}", f"--choices={answer}")
    assert shown.lines[:2] == [answer, f"  {cited['file']}:{cited['line']}  {cited['text']}"]
    assert "2 unchanged" in shown.err, "documents are embedded once"


def test_what_the_documents_do_not_say(arguments, call, tmp_path):
    file = tmp_path / "questions.txt"
    file.write_text("%%%%\n\n%%%%？ 你\n", encoding="utf-8")
    done = call("chat", *arguments, f"--input={file}", "--format=json")
    assert done.code == 0, done.err
    english, chinese = map(json.loads, done.lines)
    assert english == {
        "question": "%%%%",
        "answer": "The documents do not say.",
        "found": False,
        "citations": [],
    }
    assert (chinese["answer"], chinese["found"]) == ("文档中没有说明。", False)


def test_a_conversation_streamed_and_whole(arguments, call):
    stdin = f"{CHINESE}\n{ENGLISH}\n".encode()
    given = [*arguments, "--choices=On the Spree."]
    whole, streamed = (call("chat", *given, f"--stream={value}", stdin=stdin) for value in ("false", "true"))
    assert whole.code == streamed.code == 0, whole.err + streamed.err
    assert whole.out == streamed.out and "cities.md:5  Berlin lies on the Spree." in whole.out


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
