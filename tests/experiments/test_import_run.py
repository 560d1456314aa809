"""Runs of public checkpoints: the task that is chosen, what the run has, its greedy texts, and what is refused."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tflm
from tests.experiments import tiny_checkpoints as tiny
from tests.text import templates
from tflm.errors import UserError
from tflm.experiments import Experiment
from tflm.experiments.import_run import chat_template_of, import_checkpoint
from tflm.models import build_model
from tflm.models.checkpoints import read_checkpoint
from tflm.tasks.features.template_rows import TemplateConversations

TEXTS = ["Hello there, how are you?", "你好，世界。今天天气很好！", "a! 你"]
KINDS = {
    "qwen2": ("chat", "transformer_decoder"),
    "gguf": ("chat", "transformer_decoder"),
    "gpt2": ("language_modeling", "transformer_decoder"),
    "bert": ("masked_language_modeling", "transformer_encoder"),
    "sentences": ("similarity", "transformer_encoder"),
    "electra": ("similarity", "transformer_encoder"),
    "t5": ("pairs", "transformer_encoder_decoder"),
}


def write(name, folder):
    """A tiny checkpoint; its path."""
    if name == "gguf":
        pytest.importorskip("gguf", reason='to test GGUF: pip install "tflm[gguf]"')
        return tiny.gguf_file(folder / "tiny.gguf")
    return tiny.sentences(folder / name) if name == "sentences" else tiny.of_family(folder / name, name)


@pytest.fixture(name="imported", scope="module")
def imported_fixture(tmp_path_factory):
    """`imported(name)`: path of the checkpoint, its run, and what was reported, each once."""
    known, folder = {}, tmp_path_factory.mktemp("imported")

    def get(name):
        if name not in known:
            path, notes = write(name, folder), []
            run = import_checkpoint(path, str(folder / "runs" / name), note_fn=notes.append)
            known[name] = path, run, notes
        return known[name]

    return get


def published_model(path):
    """The model of the checkpoint itself, without the run."""
    source = read_checkpoint(path)
    model = build_model(source.model_config)
    source.load_into(model)
    return model


def greedy(model, token_ids, end_ids, count, **context):
    """By whole passes over all tokens."""
    found = []
    while len(found) < count:
        logits = model(np.array([[*token_ids, *found]], np.int32), **context)
        found.append(int(np.argmax(logits[0, -1])))
        if found[-1] in end_ids:
            return found[:-1]
    return found


@pytest.mark.parametrize("name", KINDS)
def test_the_task_is_what_the_checkpoint_is_for(name, imported):
    path, run, notes = imported(name)
    assert (run.config.task.kind, run.config.model.kind) == KINDS[name]
    assert sorted(os.listdir(run.workdir)) == ["checkpoints", "config.json", "source.json", "tokenizer"]
    again = Experiment.open(run.workdir)
    assert again.config == run.config and again.trained_model()[1] == 0
    assert run.config.name == os.path.basename(path).removesuffix(".gguf")
    with open(f"{run.workdir}/source.json", encoding="utf-8") as file:
        source = json.load(file)
    assert source["checkpoint"] == path and source["family"] == read_checkpoint(path).family
    assert notes[0].startswith("reading the weights of ")


@pytest.mark.parametrize("name", ["qwen2", "gguf"])
def test_an_answer_has_the_greedy_tokens_of_the_checkpoint(name, imported):
    path, run, _ = imported(name)
    published, tokenizer, model = published_model(path), run.tokenizer, tflm.load(run.workdir)
    conversations = TemplateConversations(tokenizer, run.config.task.template)
    for text in TEXTS:
        prompt = conversations.prompts(tf.constant([["user"]]), tf.constant([[text]]), tf.constant([200]))
        expected = greedy(published, prompt.token_ids.to_list()[0], tokenizer.end_ids, 8)
        said = model.chat(text, temperature=0.0, max_new_tokens=8)
        assert said == tokenizer.detokenize([expected]).numpy()[0].decode()


def test_a_continuation_has_the_greedy_tokens_of_the_checkpoint(imported):
    path, run, _ = imported("gpt2")
    published, tokenizer, model = published_model(path), run.tokenizer, tflm.load(run.workdir)
    for text in TEXTS:
        prompt = tokenizer.tokenize([text]).to_list()[0]
        expected = greedy(published, prompt, tokenizer.end_ids, 8)
        said = model.generate(text, temperature=0.0, max_new_tokens=8)
        assert said == tokenizer.detokenize([expected]).numpy()[0].decode()


def test_a_translation_has_the_greedy_tokens_of_the_checkpoint(imported):
    path, run, _ = imported("t5")
    published, tokenizer, model = published_model(path), run.tokenizer, tflm.load(run.workdir)
    for text in ("the good 天气", "hello"):
        source = [*tokenizer.tokenize([text]).to_list()[0], tokenizer.end_id]
        context = {"source_ids": np.array([source], np.int32)}
        expected = greedy(published, [0], tokenizer.end_ids, 8, **context)
        said = model.generate(text, temperature=0.0, max_new_tokens=8)
        assert said == tokenizer.detokenize([expected]).numpy()[0].decode()


def test_the_vectors_of_sentence_transformers(imported):
    """The mean over all tokens, with length 1."""
    path, run, _ = imported("sentences")
    published, tokenizer = published_model(path), run.tokenizer
    found = tflm.load(run.workdir).embed(["the film is good", "今天天气很好！"])
    for text, vector in zip(["the film is good", "今天天气很好！"], found, strict=True):
        words = tokenizer.tokenize([text]).to_list()[0]
        token_ids = np.array([[tokenizer.start_id, *words, tokenizer.end_id]], np.int32)
        mean = np.mean(published.hidden_states(token_ids)[0], axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_the_body_of_a_bert_and_settings(imported, tmp_path):
    path, run, _ = imported("bert")
    assert tflm.load(run.workdir).embed("the film 今天").shape == (16,)
    shorter = import_checkpoint(
        path, str(tmp_path / "run"), ["model.max_length=24", "decoding.max_new_tokens=9"]
    )
    assert (shorter.config.model.max_length, shorter.config.decoding.max_new_tokens) == (24, 9)
    assert shorter.trained_model()[0].num_parameters() < run.trained_model()[0].num_parameters()


def test_a_long_context_is_cut_and_reported(tmp_path):
    folder = tmp_path / "long"
    theirs = {
        **tiny.DECODER,
        "vocab_size": tiny.byte_level().get_vocab_size(),
        "max_position_embeddings": 131072,
    }
    tiny.write_model(folder, "qwen2", theirs)
    tiny.write_byte_level(folder)
    notes = []
    run = import_checkpoint(str(folder), str(tmp_path / "run"), note_fn=notes.append)
    assert run.config.model.max_length == 4096
    assert notes[0] == (
        "the context is 4,096 tokens of the 131,072 that the model has. For all of them: "
        "--set model.max_length=131072."
    )


def test_thinking_on_and_off(tmp_path):
    folder = tmp_path / "qwen"
    tiny.qwen2(folder, templates.THINKING)
    texts = {}
    for thinking in (None, True, False):
        notes = []
        run = import_checkpoint(
            str(folder), str(tmp_path / str(thinking)), thinking=thinking, note_fn=notes.append
        )
        texts[thinking] = run.config.task.template.render([("user", "你好")], generation=True)
        assert len(notes) == 1
    assert texts[None] == texts[True] == "<|begin|>user\n你好<|end|>\n<|begin|>assistant\n"
    assert texts[False] == texts[True] + "<think>\n\n</think>\n\n"


def test_a_template_without_a_switch_for_thinking(imported, tmp_path):
    notes = []
    import_checkpoint(imported("qwen2")[0], str(tmp_path / "run"), thinking=False, note_fn=notes.append)
    assert notes[0] == "the model's chat template has no switch for thinking: --thinking changes nothing."


@pytest.mark.parametrize(
    "template, reason",
    [
        ("{% if %}", "cannot read the chat template: line 1: "),
        (templates.BY_NUMBER, "cannot use the chat template: "),
        (templates.MARKED.replace("<|end|>", "</s>"), "an answer is followed by "),
    ],
    ids=["broken", "no table", "no end"],
)
def test_a_template_that_cannot_be_used(template, reason, tmp_path):
    folder, notes = tmp_path / "qwen", []
    tiny.qwen2(folder, template)
    run = import_checkpoint(str(folder), str(tmp_path / "run"), note_fn=notes.append)
    assert run.config.task.kind == "language_modeling"
    assert reason in notes[0]
    assert notes[0].endswith(" The run is for language modelling, without the template.")


def test_templates_in_other_places(tmp_path):
    folder = tmp_path / "qwen"
    tiny.qwen2(folder, "")
    source = read_checkpoint(str(folder))
    assert chat_template_of(source) is None
    named = [{"name": "tools", "template": "{% if %}"}, {"name": "default", "template": "c"}]
    tiny.write_json(folder, "tokenizer_config.json", {"chat_template": named})
    assert chat_template_of(source) == "c"
    tiny.write_json(folder, "chat_template.json", {"chat_template": "b"})
    assert chat_template_of(source) == "b"
    (folder / "chat_template.jinja").write_text("你好 {{ a }}", encoding="utf-8")
    assert chat_template_of(source) == "你好 {{ a }}"


def nothing(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def unknown_type(folder):
    tiny.write_json(folder, "config.json", {"model_type": "rwkv"})


def no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def too_many_tokens(folder):
    theirs = {**tiny.DECODER, "vocab_size": 300}
    tiny.write_model(folder, "qwen2", theirs)


def damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"model": ', encoding="utf-8")


def truncated_weights(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def other_shapes(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tiny.write_json(folder, "config.json", {**config, "intermediate_size": 32})


REFUSED = {
    nothing: r"is no checkpoint: it has no config\.json \(found: nothing\)\. Give a folder with",
    unknown_type: r"is of the model_type 'rwkv'; supported: .*bert.*qwen2.*Choose a checkpoint",
    no_tokenizer: r"has no tokenizer: expected one of tokenizer\.json",
    too_many_tokens: r"the tokenizer has ids up to \d+, and the embedding of the checkpoint has 300 rows",
    damaged_tokenizer: r"is not JSON: .*Fetch the file again",
    truncated_weights: r"Download it again",
    no_weights: r"has no weights: expected model\.safetensors, .*Download the folder again, with its weights",
    other_shapes: r"does not fit its config: .*Download config\.json and the weights again, from one place",
}


@pytest.mark.parametrize("damage", REFUSED, ids=lambda damage: damage.__name__)
def test_what_is_refused_leaves_nothing(damage, tmp_path):
    folder = tmp_path / "qwen"
    tiny.qwen2(folder)
    damage(folder)
    with pytest.raises(UserError, match=REFUSED[damage]):
        import_checkpoint(str(folder), str(tmp_path / "run"))
    assert os.listdir(tmp_path) == ["qwen"]


def test_a_wrong_setting_leaves_nothing(imported, tmp_path):
    with pytest.raises(ValueError, match="max_lenght"):
        import_checkpoint(imported("gpt2")[0], str(tmp_path / "run"), ["model.max_lenght=3"])
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing(imported, tmp_path, largest_file):
    with pytest.raises(UserError, match=r"cannot write the"), largest_file(4096):
        import_checkpoint(imported("gpt2")[0], str(tmp_path / "run"))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_empty(imported, tmp_path):
    path, run, _ = imported("gpt2")
    own, other = tmp_path / "own", tmp_path / "other"
    shutil.copytree(run.workdir, own)
    (own / "old").write_text("old")
    with pytest.raises(UserError, match=r"own' is not empty\. Give a new --workdir, or --overwrite\.$"):
        import_checkpoint(path, str(own))
    import_checkpoint(path, str(own), overwrite=True)
    assert sorted(os.listdir(own)) == ["checkpoints", "config.json", "source.json", "tokenizer"]
    other.mkdir()
    (other / "diary.txt").write_text("你好", encoding="utf-8")
    with pytest.raises(UserError, match=r"other' is not empty and holds no run\. Give a new --workdir\.$"):
        import_checkpoint(path, str(other), overwrite=True)
    assert os.listdir(other) == ["diary.txt"]
    with pytest.raises(UserError, match=r"diary\.txt' is a file\. Give a new --workdir\.$"):
        import_checkpoint(path, str(other / "diary.txt"), overwrite=True)
    with pytest.raises(UserError, match=r"gpt2' holds the checkpoint itself\. Give a new --workdir\.$"):
        import_checkpoint(path, path, overwrite=True)
    assert os.path.exists(f"{path}/model.safetensors")
