"""Text from an exported model by command: inputs, outputs, samples, seeds, refusals."""

import json
import os
import shutil

import pytest
import tensorflow as tf

from tests.apps import small_models
from tests.apps.conftest import built_once, load_once, rows
from tests.apps.refusals import check
from tflm.generation import DecodingConfig
from tflm.generation.config import BeamConfig, beam_settings_lists
from tflm.serving import ModelHandle, connect

SAMPLED = ("--temperature=1", "--min_new_tokens=4", "--max_new_tokens=8")


def test_a_language_model_prints_the_text_and_its_continuation(lstm, call):
    done = call("generate", f"--model={lstm.model}", "--text=def ", *SAMPLED)
    assert done.code == 0, done.err
    settings = {"temperature": 1.0, "min_new_tokens": 4, "max_new_tokens": 8}
    assert done.out == "def " + lstm.in_memory(["def "], **settings)[0] + "\n"


def test_a_name_stands_for_its_highest_version(models, call, tmp_path):
    for version, name in ((9, "older"), (10, "complete")):
        shutil.copytree(f"{models[name]}/1", tmp_path / str(version))
    older, newer, by_name = (
        call("generate", f"--model={tmp_path}{version}", "--text=class").out
        for version in ("/9/", "/10/", "")
    )
    assert (older, newer) == ("class<class>\n", "classclass\n")
    assert by_name == newer


def test_a_model_of_pairs_prints_its_answer_alone(chat, call):
    done = call("generate", f"--model={chat.model}", "--text=什么是ai", "--min_new_tokens=3")
    assert done.code == 0, done.err
    settings = {"temperature": 0.0, "min_new_tokens": 3, "max_new_tokens": 36}
    assert done.out == chat.in_memory(["什么是ai"], **settings)[0] + "\n"


def test_lines_of_a_file_in_their_order_whatever_the_batch(chat, call, tmp_path):
    (tmp_path / "prompts.txt").write_text("What is AI?\n你好\n\n再见", encoding="utf-8")
    arguments = (f"--model={chat.model}", f"--input={tmp_path}/prompts.txt", "--format=json", *SAMPLED)
    done = call("generate", *arguments)
    records = [json.loads(line) for line in done.lines]
    assert [record["prompt"] for record in records] == ["What is AI?", "你好", "", "再见"]
    by_two = [json.loads(line) for line in call("generate", *arguments, "--batch_size=2").lines]
    assert [record["text"] for record in by_two] == [record["text"] for record in records]


def test_json_goes_into_another_app(chat, call, tmp_path):
    first = call(
        "generate", f"--model={chat.model}", "--format=json", *SAMPLED, stdin="你好\nHello\n".encode()
    )
    record = json.loads(first.lines[0])
    assert set(record) == {
        "prompt",
        "seed",
        "text",
        "num_tokens",
        "log_probability",
        "finish_reason",
        "truncated",
    }
    assert record["num_tokens"] >= 4 and record["log_probability"] < 0
    (tmp_path / "answers.jsonl").write_text(first.out, encoding="utf-8")
    second = call("summarize", f"--model={chat.model}", f"--input={tmp_path}/answers.jsonl", "--format=json")
    assert [json.loads(line)["text"] for line in second.lines] == [json.loads(x)["text"] for x in first.lines]


def test_samples_have_seeds_that_count_up(decoder, call):
    arguments = (f"--model={decoder.model}", "--text=x", "--format=json", *SAMPLED)
    three = call("generate", *arguments, "--num_samples=3", "--seed=5")
    records = [json.loads(line) for line in three.lines]
    assert [record["seed"] for record in records] == [5, 6, 7]
    assert len({record["text"] for record in records}) > 1
    alone = json.loads(call("generate", *arguments, "--seed=6").out)
    # A row alone goes through other kernels than one of three: the sum may differ in its last bits.
    assert alone.pop("log_probability") == pytest.approx(records[1].pop("log_probability"), rel=1e-5)
    assert alone == records[1]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Name to path of those of `save_writers`."""
    return built_once(tmp_path_factory, "writers", small_models.save_writers)


def test_the_best_texts_of_beams(models, call):
    arguments = ("generate", f"--model={models['complete']}", "--input=-", "--beam_size=4")
    stdin = "a\n你\n\n".encode()
    assert call(*arguments, stdin=stdin).lines == ["aa", "你你", ""]
    several = call(*arguments, "--num_best=2", stdin=stdin).lines
    assert several == ["-0.5000\taa", "-1.5000\taa1", "-0.5000\t你你", "-1.5000\t你你1", "none\t"]
    records = [json.loads(x) for x in call(*arguments, "--num_best=4", "--format=json", stdin=stdin).lines]
    assert len(records) == 7, "three of four are found, and for the empty text none"
    assert records[2] == {
        "prompt": "a",
        "text": "a2",
        "num_tokens": 2,
        "log_probability": -10.0,
        "score": -2.5,
        "truncated": False,
    }
    assert records[6] == {
        "prompt": "",
        "text": "",
        "num_tokens": 0,
        "log_probability": None,
        "score": None,
        "truncated": True,
    }


def test_beams_of_a_real_model(chat, call, tmp_path):
    """What its `beam` answers to the flags; one beam is greedy, and a text alone as among others."""
    texts = ["What is AI?", "你好"]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    arguments = (
        f"--model={chat.model}",
        f"--input={tmp_path}/texts.txt",
        "--max_new_tokens=9",
        "--format=json",
    )
    flags = ("--beam_size=4", "--length_penalty=0.6", "--length_offset=5", "--num_best=3")
    flags += ("--num_groups=2", "--diversity_penalty=0.5", "--no_repeat_ngram_size=3", "--stop=的")
    done = call("generate", *arguments, *flags)
    assert done.code == 0, done.err
    records = [json.loads(line) for line in done.lines]
    model = load_once(chat.model)
    own = DecodingConfig(**{**model.config["decoding"], "max_new_tokens": 9, "no_repeat_ngram_size": 3})
    settings = beam_settings_lists(BeamConfig(4, 2, 0.5, 0.6, 5.0), own, 2)
    outputs = model.predict("beam", {"text": texts, **settings, "stop": [["的"]] * 2, "choices": [[""]] * 2})
    expected = [text.decode() for row in outputs["text"] for text in row[:3]]
    assert [record["text"] for record in records] == expected
    assert [record["prompt"] for record in records] == [text for text in texts for _ in range(3)]
    assert [record["score"] for record in records] == outputs["score"][:, :3].ravel().tolist()
    one = [json.loads(line)["text"] for line in call("generate", *arguments, "--beam_size=1").lines]
    greedy = model.predict("generate", {"text": texts, **rows({"temperature": 0.0, "max_new_tokens": 9}, 2)})
    assert one == [text.decode() for text in greedy["text"]]


def test_a_stop_text_of_line_ends(decoder, call):
    """They are typed as \\n."""
    forced = [str(byte + 5) for byte in b"a\nb"]  # after pad, start, end, unk and the mark of this model
    arguments = (f"--model={decoder.model}", "--text=x", "--max_new_tokens=3", "--format=json")
    arguments += (f"--forced_ids={','.join(forced)}",)
    assert json.loads(call("generate", *arguments).out)["text"] == "a\nb"
    assert json.loads(call("generate", *arguments, "--stop=\\n").out)["text"] == "a"
    assert json.loads(call("generate", *arguments, "--stop=\\\\n").out)["text"] == "a\nb"


BAD_BEAMS = {
    "--length_penalty=0.6": "--length_penalty is for beam search: also give --beam_size=4.",
    "--num_best=2": "--num_best is for beam search: also give --beam_size=4.",
    "--beam_size=0 --num_groups=2": "--num_groups is for beam search",
    "--beam_size=4 --temperature=0": "--temperature has no part in beam search, which draws nothing",
    "--beam_size=4 --top_k=5": "leave out --top_k or --beam_size.",
    "--beam_size=4 --seed=5": "leave out --seed or --beam_size.",
    "--beam_size=4 --slide": "leave out --slide or --beam_size.",
    "--beam_size=-1": "beam_size is -1, expected a whole number from 1 to 64.",
    "--beam_size=65": "beam_size is 65, expected a whole number from 1 to 64.",
    "--beam_size=2 --num_groups=3": "num_groups is 3, expected a whole number from 1 to beam_size, which is 2.",
    "--beam_size=2 --num_best=3": "--num_best=3: 2 beams give 2 texts at most. Raise --beam_size.",
    "--beam_size=2 --num_samples=2": "--num_samples has no part in beam search, which draws nothing: give",
    "--beam_size=2 --length=9": "--beam_size looks for whole texts, by one request: leave out --length.",
}


def test_bad_beams(models, call):
    for arguments, words in BAD_BEAMS.items():
        check(call("generate", f"--model={models['complete']}", "--text=a", *arguments.split()), 2, words)
    for app in ("generate", "translate", "summarize"):
        done = call(app, f"--model={models['older']}", "--text=a", "--beam_size=4")
        check(done, 1, "has no signature 'beam', which --beam_size needs; it has generate, ")
    done = call("generate", f"--model={models['too_little']}", "--text=a", "--beam_size=4")
    check(done, 1, "its signature 'beam' gives text; this app needs num_tokens, log_probability, score too.")


def test_same_seed_same_text_and_another_seed_another(decoder, call):
    arguments = (f"--model={decoder.model}", "--text=import ", "--temperature=1", "--min_new_tokens=20")
    first, again, other = (call("generate", *arguments, f"--seed={seed}").out for seed in (1, 1, 2))
    assert first == again != other


@pytest.fixture
def story(tmp_path):
    """A file with a line end of another system, and no last one."""
    (tmp_path / "story.txt").write_bytes("\ufeffimport os\r\n# 你好".encode())
    return tmp_path / "story.txt"


def test_a_file_is_continued(decoder, call, story):
    before = story.read_bytes()
    arguments = ("generate", f"--model={decoder.model}", f"--file={story}", *SAMPLED)
    settings = {"temperature": 1.0, "min_new_tokens": 4, "max_new_tokens": 8}
    (expected,) = decoder.in_memory(["import os\r\n# 你好"], **settings)
    done = call(*arguments)
    assert (done.code, done.out) == (0, expected + "\n"), done.err
    assert story.read_bytes() == before
    records = [json.loads(line) for line in call(*arguments, "--format=json", "--num_samples=2").lines]
    assert [record["seed"] for record in records] == [0, 1]
    assert set(records[0]) == {
        "file",
        "seed",
        "text",
        "num_tokens",
        "log_probability",
        "finish_reason",
        "truncated",
    }
    assert records[0]["text"] == expected
    done = call(*arguments, "--append")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith(f"{story}: ") and " tokens more, " in done.err
    assert story.read_bytes() == before + expected.encode()


def test_a_server_tells_no_config(decoder, pairs, monkeypatch):
    """So what its `score` takes says whether it continues texts."""
    for run, expected in ((decoder, True), (pairs, False)):
        model = connect(run.model)
        assert ModelHandle(model).continues_texts == expected
        monkeypatch.setattr(model, "config", {})
        assert ModelHandle(model).continues_texts == expected


def test_files_that_cannot_be_continued(decoder, chat, call, story):
    (story.parent / "bad.txt").write_bytes(b"a\xff")
    model = f"--model={decoder.model}"
    for arguments, code, words in (
        ((model, "--append"), 2, "--append writes to --file: name the file."),
        ((model, f"--file={story}", "--append", "--num_samples=2"), 2, "leave --num_samples at 1."),
        ((model, f"--file={story}", "--append", "--beam_size=2", "--num_best=2"), 2, "--num_best at 1."),
        ((model, f"--file={story}", "--text=a"), 2, "--file and --text both say what to continue."),
        ((model, f"--file={story}.none"), 1, "cannot read --file="),
        ((model, f"--file={story.parent}/bad.txt"), 1, "is not UTF-8: invalid start byte at byte 1; save"),
        ((f"--model={chat.model}", f"--file={story}"), 2, "--file is for a model that continues texts; "),
        ((f"--model={chat.model}", "--text=a", "--length=9"), 2, "--length is for a model that continues"),
    ):
        done = call("generate", *arguments)
        assert (done.code, done.out) == (code, ""), arguments
        assert words in done.err


def test_no_text_at_all(decoder, call):
    assert vars(call("generate", f"--model={decoder.model}")) | {"err": ""} == {
        "code": 0,
        "out": "",
        "err": "",
        "lines": [],
    }
    done = call("generate", f"--model={decoder.model}", "--text=", *SAMPLED)
    assert done.code == 0 and done.out


@pytest.fixture
def broken(decoder, tmp_path):
    """A folder with models that are none."""
    (tmp_path / "empty").mkdir()
    shutil.copytree(decoder.version, tmp_path / "unfinished" / "1.tmp")
    shutil.copytree(decoder.version, tmp_path / "no_graph" / "1")
    (tmp_path / "no_graph/1/saved_model.pb").write_bytes(b"nonsense")
    shutil.copytree(decoder.version, tmp_path / "cut" / "1")
    os.truncate(tmp_path / "cut/1/variables/variables.data-00000-of-00001", 1000)
    shutil.copytree(decoder.version, tmp_path / "config" / "1")
    (tmp_path / "config/1/config.json").write_text("{", encoding="utf-8")
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None], name="x")])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"serving_default": module.f})
    return tmp_path


BAD_MODELS = {
    "absent": ("{0}/none", 1, "no folder '{0}/none'. A model is saved_models/NAME or saved_models/NAME/V"),
    "empty": (
        "{0}/empty",
        1,
        "has neither saved_model.pb nor a version folder such as 1/. Found there: noth",
    ),
    "unfinished": ("{0}/unfinished/1.tmp", 1, "is an unfinished export. Give '{0}/unfinished' or a version"),
    "only unfinished": ("{0}/unfinished", 1, "nor a version folder such as 1/. Found there: 1.tmp."),
    "no graph": ("{0}/no_graph", 1, "'{0}/no_graph/1/saved_model.pb' is damaged: "),
    "cut short": ("{0}/cut", 1, "'{0}/cut/1' is damaged: "),
    "bad config": ("{0}/config", 1, "'{0}/config/1' is damaged: "),
    "not generating": (
        "{0}/other",
        1,
        "has no signature 'generate', which this app needs; it has serving_default.",
    ),
    "server": ("http://127.0.0.1:9/v1/models/x", 1, "cannot connect to the server"),
}


@pytest.mark.parametrize("app", ["generate", "chat", "summarize"])
def test_bad_models(broken, call, app):
    for path, code, words in BAD_MODELS.values():
        done = call(app, f"--model={path.format(broken)}", "--text=x")
        assert (done.code, done.out) == (code, "")
        assert done.err.startswith("error: ") and words.format(broken) in done.err
    done = call(app, "--text=x")
    assert done.code == 2 and "--model is needed: a folder such as --model=saved_models/NAME." in done.err


BAD_SETTINGS = {
    "--temperature=-1": "error: temperature is -1.0, expected 0 (greedy) or a positive number. Set another",
    "--top_p=1.5": "error: top_p is 1.5, expected a number from 0 to 1 (off).",
    "--top_k=-1": "error: top_k is -1, expected 0 (off)",
    "--repetition_penalty=0": "error: repetition_penalty is 0.0, expected a positive number",
    "--min_new_tokens=500": "expected a whole number from 0 to max_new_tokens, which is 80.",
    "--temperature=hot": "flag --temperature=hot: could not convert string to float: 'hot'",
    "--num_samples=0": "flag --num_samples=0: 0 is not a positive integer",
}


def test_bad_settings(decoder, call):
    for argument, words in BAD_SETTINGS.items():
        done = call("generate", f"--model={decoder.model}", "--text=x", argument)
        assert (done.code, done.out) == (2, ""), argument
        assert words in done.err and "Traceback" not in done.err


def test_bad_input(decoder, call, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"fine\n\xff\n")
    done = call("generate", f"--model={decoder.model}", f"--input={tmp_path}/bad.txt")
    assert done.code == 1
    assert done.out.startswith("fine"), "the good line is answered"
    problem = f"{tmp_path}/bad.txt, line 2: not UTF-8"
    assert done.lines[-1].startswith(f"# error: {problem}")
    assert done.err.startswith("error: 1 of 2 lines could not be read") and problem in done.err


def test_text_that_is_not_unicode_is_read_as_the_model_reads_it(decoder, call):
    """A lone surrogate is what Python makes of a byte on the command line that is not UTF-8."""
    done = call("generate", f"--model={decoder.model}", "--text=a\udcff", *SAMPLED)
    assert done.code == 0, done.err
    assert done.out.startswith("a?")


def test_a_long_text_by_several_requests(decoder, call):
    arguments = (
        "generate",
        f"--model={decoder.model}",
        "--text=def ",
        "--format=json",
        "--min_new_tokens=60",
    )
    done = call(*arguments, "--length=150", "--max_new_tokens=60", "--num_samples=2", "--seed=3")
    assert done.code == 0, done.err
    records = [json.loads(line) for line in done.lines]
    assert [record["seed"] for record in records] == [3, 4]
    assert all(60 <= record["num_tokens"] <= 150 for record in records)
    assert records[0]["text"] != records[1]["text"]
    alone = json.loads(call(*arguments, "--length=150", "--max_new_tokens=60", "--seed=4").out)
    # A row alone goes through other kernels than one of two: the sum may differ in its last bits.
    assert alone.pop("log_probability") == pytest.approx(records[1].pop("log_probability"), rel=1e-5)
    assert alone == records[1]
    done = call("generate", f"--model={decoder.model}", "--text=a", "--length=9", "--max_new_tokens=0")
    check(done, 2, "--length goes in requests of --max_new_tokens: give 1 or more of those.")
