"""`tflm explain` over one export of a tiny classifier: lines, JSON, a page, faithfulness, a server, and refusals."""

import json
import re
import types

import pytest

import tflm
from tests.apps.conftest import load_once
from tests.apps.refusals import check
from tflm.errors import UsageError, UserError
from tflm.serving import ModelHandle
from tflm.serving.server import ModelConfig, ModelManager, Server

TEXTS = ["fine film", "不好看😀", "", "好 or bad\t?"]


@pytest.fixture(scope="module")
def model(films):
    return films.model


@pytest.fixture
def file(tmp_path):
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(tmp_path / "texts.jsonl")


def test_it_is_exported_on_request(model):
    names = {"serving_default", "classify", "tokenize", "attribute", "attention", "about"}
    assert set(load_once(model).signatures) == names


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_line_for_each_text(call, model, file, batch_size):
    done = call("explain", f"--model={model}", f"--input={file}", f"--batch_size={batch_size}")
    assert done.code == 0, done.err
    found = ModelHandle(load_once(model)).explain(TEXTS)
    for line, text, each in zip(done.lines, TEXTS, found, strict=True):
        shown, label, probability, places = line.split("\t")
        assert (shown, label) == (text.replace("\t", " "), each.targets[0].text)
        assert float(probability) == pytest.approx(each.targets[0].probability, abs=2e-4)
        assert each.scores[label] == pytest.approx(each.targets[0].probability, rel=1e-4)
        spans = [tuple(map(int, place.split(":")[0].split("-"))) for place in places.split()]
        assert [text[a:b] for a, b in spans] == list(text), "bytes of a character are one token"


def test_records(call, model, file):
    arguments = ("explain", f"--model={model}", f"--input={file}", "--method=occlusion", "--target=good")
    records = [json.loads(line) for line in call(*arguments, "--format=json").lines]
    for record, text in zip(records, TEXTS, strict=True):
        assert set(record) == {"text", "method", "targets", "truncated"}
        (target,) = record["targets"]
        assert (record["text"], record["method"], target["target"]) == (text, "occlusion", "good")
        assert set(target) == {"target", "probability", "log_odds", "baseline_log_odds", "tokens"}
        assert "".join(token["text"] for token in target["tokens"]) == text
    table = call(*arguments, "--format=tsv").lines
    assert table[0] == "text\tmethod\ttargets\ttruncated" and len(table) == 1 + len(TEXTS)


def test_attention(call, model):
    (line,) = call("explain", f"--model={model}", "--text=很好", "--attention", "--format=json").lines
    record = json.loads(line)
    size = len("很好".encode()) + 2
    assert len(record["tokens"]) == size and record["tokens"][0]["text"] == "<start>"
    for rows in (record["rollout"], *(head for layer in record["weights"] for head in layer)):
        assert len(rows) == size and all(sum(row) == pytest.approx(1.0, abs=1e-4) for row in rows)
    shown = call("explain", f"--model={model}", "--text=很好", "--attention").out
    assert re.match(r"很好\t0-1:0\.\d{4}", shown)


def test_a_page(call, model, file, tmp_path):
    done = call(
        "explain", f"--model={model}", f"--input={file}", f"--html={tmp_path}/页.html", "--num_steps=4"
    )
    assert (done.code, done.out) == (0, f"written: {tmp_path}/页.html\n"), done.err
    page = (tmp_path / "页.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=|https?://", page), "it needs nothing else"
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert [row["texts"] for row in data["rows"]] == [[text] for text in TEXTS]
    for row in data["rows"]:
        assert list(row["methods"]) == ["integrated_gradients", "gradient_x_input", "occlusion"]
        for targets in row["methods"].values():
            assert sorted(target["text"] for target in targets) == ["bad", "good"]
        assert len(row["attention"]["weights"][0][0]) == len(row["attention"]["tokens"])


def test_a_text_that_would_end_the_script(call, model, tmp_path):
    call(
        "explain", f"--model={model}", "--text=a</script>", f"--html={tmp_path}/a.html", "--method=occlusion"
    )
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2


def test_faithfulness(call, model, file):
    arguments = ("explain", f"--model={model}", "--faithfulness", f"--data={file}", "--num_steps=4")
    done = call(*arguments)
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.lines] == [
        "deletion", "integrated_gradients", "gradient_x_input", "occlusion",
    ]  # fmt: skip
    assert "3 texts; areas under the curves" in done.err
    records = [json.loads(line) for line in call(*arguments, "--format=json", "--method=occlusion").lines]
    assert [record["method"] for record in records] == ["occlusion"]
    assert len(records[0]["curves"]["deletion"]) == 11
    assert 0 <= records[0]["deletion"]["low"] <= records[0]["deletion"]["high"] <= 1


def test_a_server_explains_as_the_folder(call, model):
    """REST, with signatures alone."""
    manager = ModelManager([ModelConfig("films", model)])
    manager.start()
    with Server(manager, rest_port=0) as server:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/films"
        there = call("explain", f"--model={url}", f"--text={TEXTS[1]}", "--format=json")
    manager.stop()
    assert there.code == 0, there.err
    here = json.loads(call("explain", f"--model={model}", f"--text={TEXTS[1]}", "--format=json").out)
    there = json.loads(there.out)
    values = [[token["attribution"] for token in each["targets"][0]["tokens"]] for each in (here, there)]
    assert values[0] == pytest.approx(values[1], rel=1e-3, abs=1e-5)
    assert here["targets"][0]["target"] == there["targets"][0]["target"]


def test_a_run_explains_without_an_export(films):
    model, exported = tflm.load(films.workdir), ModelHandle(load_once(films.model))
    own, other = (each.explain("bad film", method="gradient_x_input") for each in (model, exported))
    assert [token.text for token in own.targets[0].tokens] == list("bad film")
    assert own.targets[0].log_odds == pytest.approx(other.targets[0].log_odds, rel=1e-3)
    assert abs(own.targets[0].remainder) > 0, "gradient x input is not complete"
    model.close()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ("--text=a", "--target=nope"),
            2,
            "target is 'nope', which is no label of this model; its labels are bad, good.",
        ),
        (
            ("--text=a", "--method=lime"),
            2,
            "value should be one of <integrated_gradients|gradient_x_input|occlusion>",
        ),
        (("--text=a", "--num_steps=0"), 2, "flag --num_steps=0"),
        (("--text=a", "--text_pair=b"), 2, "--text_pair is not what this model takes: give --text."),
        (("--question=a", "--context=b"), 2, "--question is not what this model takes: give --text."),
        (("--text=a", "--html=a.txt"), 2, "--html=a.txt must end in .html."),
        (("--text=a", "--html=/sys/a.html", "--method=occlusion"), 1, "cannot write --html=/sys/a.html: "),
        (
            ("--text=a", "--html=a.html", "--attention"),
            2,
            "--html and --attention are two different things to do",
        ),
        (("--text=a", "--data=a.txt"), 2, "--data is for --faithfulness;"),
        (("--faithfulness", "--data=a.txt", "--input=b.txt"), 2, "--data and --input both name the file"),
        (("--faithfulness", "--data=none.txt"), 1, "cannot read --input=none.txt: No such file"),
        (("--faithfulness", "--text=a"), 1, "faithfulness needs texts of two tokens or more; of 1 none has"),
        (("--faithfulness", "--text=a", "--target=good"), 2, "--target is for one text;"),
        (("--text=a", "--attention", "--method=occlusion"), 2, "--method is for attributions;"),
    ],
)
def test_refused(call, model, arguments, code, words):
    done = call("explain", f"--model={model}", *arguments)
    check(done, code, words)
    assert done.out == ""


def test_an_export_without_explanations(call, chat):
    done = call("explain", f"--model={chat.model}", "--text=a")
    check(
        done,
        1,
        "has no signature 'attribute': explanations are exported on request. Export its run again with tflm",
    )
    with pytest.raises(UserError, match="has no signature 'attention': explanations are exported on request"):
        ModelHandle(load_once(chat.model)).attention("a")


def test_a_model_without_attention(model):
    """An LSTM has the signature `attribute` alone."""

    signatures = {name: each for name, each in load_once(model).signatures.items() if name != "attention"}
    config = {"model": {"kind": "lstm_encoder"}}
    lstm = ModelHandle(types.SimpleNamespace(path="m/1", config=config, signatures=signatures))
    with pytest.raises(
        UserError, match="has no attention weights: they are a Transformer's, and this is lstm_encoder"
    ):
        lstm.attention("a")
    assert "attention" not in lstm.methods


def test_wrong_arguments(model):
    handle = ModelHandle(load_once(model))
    for arguments, options, words in (
        (("a", "b"), {}, "takes single texts: give one"),
        ((5,), {}, "explain: text is int 5, expected a str or a list of str."),
        (
            ("a",),
            {"method": "shap"},
            "method is 'shap', expected integrated_gradients, gradient_x_input, occlusion.",
        ),
        (("a",), {"num_steps": 2000}, "num_steps is 2000, expected 1000 or less."),
    ):
        with pytest.raises(UsageError, match=re.escape(words)):
            handle.explain(*arguments, **options)


def test_a_task_without_explanations(call, films, tmp_path, monkeypatch):
    monkeypatch.setattr("tflm.tasks.TextClassification.explanations", lambda *_: {})
    done = call("export", f"--workdir={films.workdir}", f"--output={tmp_path}/m", "--explain")
    check(done, 1, "'classification', has no explanations. Leave out --explain.")
