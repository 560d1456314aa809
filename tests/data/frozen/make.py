"""Wrote the files of this folder. What a commit wrote has to load, resume and answer the same with every later one.

Of commit 82625bc, with its code; they are not regenerated:

    PYTHONPATH=<checkout of 82625bc> python make.py OUTPUT && cd OUTPUT && tar cJf 82625bc.tar.xz data runs exports

configs.json      the config of every recipe
tasks.json        for every tiny recipe: its signatures (inputs, outputs, dtypes, ranks) and the variables of its model
runs/NAME         a run stopped at step 25 of 50, and `losses.json` with the 50 losses of the run that went on
exports/NAME      an export, and `answers.json`: requests and what it answered

Of commit 5b0f821, each by a command in the checkout. Regenerate one only if what it freezes changes on purpose, and
read its diff:

    PYTHONPATH=. python tests/data/frozen/make.py --outputs     outputs.json: the outputs of every task's signatures
    PYTHONPATH=. python tests/data/frozen/make.py --greedy      greedy.tar.xz: a chat that knows its texts by heart,
                                                                and greedy.json: what it writes
    PYTHONPATH=. python tests/data/frozen/make.py --bodies      bodies.json: what a server answers, see bodies.py
"""

import dataclasses
import json
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile

import numpy as np

from tflm.config import from_dict, to_dict
from tflm.data import DataConfig
from tflm.experiments import Experiment, ExperimentConfig
from tflm.experiments.export_run import publish
from tflm.recipes import RECIPES, load_preset
from tflm.serving import connect

WORDS = ["the", "cat", "sat", "on", "a", "mat;", "猫坐在垫子上。", "one", "two", "three", "你好", "world"]
FOLDER = pathlib.Path(__file__).parent
KNOWN = {
    "What is a cat?": "A small animal that sits on mats.",
    "What sat on the mat?": "The cat sat on the mat.",
    "Say three numbers.": "One, two, three.",
    "你好": "你好！很高兴见到你。",
    "猫坐在哪里？": "猫坐在垫子上。",
}
"""What the chat of greedy.tar.xz is trained on until it knows it by heart."""
KNOWN_SIGNATURES = (
    "serving_default",
    "generate",
    "alternatives",
    "choose",
    "tokenize",
    "chat",
    "chat_alternatives",
    "prefill",
    "decode",
)
RUNS = ("tiny_decoder", "tiny_lstm", "tiny_chat", "tiny_bert_classifier")


def write_data(folder):
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(0)

    def text():
        return " ".join(rng.choice(WORDS, rng.integers(3, 9)))

    with open(f"{folder}/text.txt", "w", encoding="utf-8") as file:
        file.writelines(text() + "\n" for _ in range(200))
    with open(f"{folder}/rows.jsonl", "w", encoding="utf-8") as file:
        for _ in range(200):
            first, second = text(), text()
            row = {
                "text": first,
                "pair": second,
                "label": "猫" if "猫" in first else "other",
                "spans": [[0, len(first.split()[0]), "first"]],
                "messages": [{"role": "user", "content": first}, {"role": "assistant", "content": second}],
                "question": first.split()[1],
                "context": first,
                "answer": first.split()[1],
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


COLUMNS = {
    "language_modeling": {"source": "text", "path": "data/text.txt"},
    "masked_language_modeling": {"source": "text", "path": "data/text.txt"},
    "denoising": {"source": "text", "path": "data/text.txt"},
    "word_vectors": {"source": "text", "path": "data/text.txt"},
    "classification": {"text_column": "text", "label_column": "label"},
    "pairs": {"source_column": "text", "target_column": "pair"},
    "similarity": {"source_column": "text", "target_column": "pair"},
    "chat": {"messages_column": "messages"},
    "tagging": {"text_column": "text", "spans_column": "spans"},
    "question_answering": {
        "question_column": "question",
        "context_column": "context",
        "answer_column": "answer",
    },
}


def small_config(name):
    config = load_preset(name)
    data = DataConfig(
        **{"source": "jsonl", "path": "data/rows.jsonl", "eval_fraction": 0.1, **COLUMNS[config.task.kind]}
    )
    model = {"hidden_dim": 16} | ({"num_heads": 2} if hasattr(config.model, "num_heads") else {})
    tokenizer = config.tokenizer
    if tokenizer.kind != "byte":
        tokenizer = dataclasses.replace(tokenizer, kind="character", vocab_size=400)
    task = config.task
    if config.task.kind == "masked_language_modeling":
        task = dataclasses.replace(task, whole_words=False)
    return dataclasses.replace(
        config,
        data=data,
        tokenizer=tokenizer,
        task=task,
        model=dataclasses.replace(config.model, **model),
        training=dataclasses.replace(
            config.training,
            num_steps=50,
            global_batch_size=4,
            warmup_steps=5,
            log_every=1,
            checkpoint_every=25,
            keep_checkpoints=2,
            max_eval_batches=1,
        ),
        decoding=dataclasses.replace(config.decoding, temperature=0.0, max_new_tokens=8),
    )


def tensors(structure):
    return {name: [spec.dtype.name, spec.shape.rank] for name, spec in sorted(structure.items())}


def describe(experiment):
    model = experiment.make_model()
    found = {}
    for name, function in experiment.task.signatures(model).items():
        concrete = function.get_concrete_function()
        inputs = {spec.name: [spec.dtype.name, spec.shape.rank] for spec in function.input_signature}
        found[name] = {"inputs": inputs, "outputs": tensors(concrete.structured_outputs)}
    return {"signatures": found, "variables": {v.path: list(v.shape) for v in model.variables}}


def one_layer(config):
    """The config of a task with one layer in place of several: the same signatures, traced in half the time."""
    model = config["model"]
    return {**config, "model": model | ({"num_layers": 1} if "num_layers" in model else {})}


def write_outputs():
    """outputs.json: for each kind of task the outputs of all signatures of its first tiny recipe."""
    tasks = json.loads((FOLDER / "tasks.json").read_text(encoding="utf-8"))
    found, kinds = {}, set()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_data("data")
        for name, task in tasks.items():
            if task["config"]["task"]["kind"] in kinds:
                continue
            kinds.add(task["config"]["task"]["kind"])
            config = from_dict(ExperimentConfig, one_layer(task["config"]))
            signatures = describe(Experiment.create(config, name))["signatures"]
            found[name] = {signature: each["outputs"] for signature, each in signatures.items()}
            print(name, len(found[name]), flush=True)
        os.chdir("/")
    dump(found, FOLDER / "outputs.json")


def write_greedy():
    """greedy.tar.xz and greedy.json."""

    config = small_config("tiny_chat")
    changes = {
        "num_steps": 300,
        "global_batch_size": 8,
        "log_every": 50,
        "checkpoint_every": 300,
        "warmup_steps": 20,
        "peak_learning_rate": 1e-2,
    }
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, path="known.jsonl"),
        model=dataclasses.replace(config.model, hidden_dim=32),
        training=dataclasses.replace(config.training, **changes),
        decoding=dataclasses.replace(config.decoding, max_new_tokens=40),
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open("known.jsonl", "w", encoding="utf-8") as file:
            for _ in range(20):
                for question, reply in KNOWN.items():
                    said = [
                        {"role": "user", "content": question},
                        {"role": "assistant", "content": reply},
                    ]
                    file.write(json.dumps({"messages": said}, ensure_ascii=False) + "\n")
        experiment = Experiment.create(config, "run")
        experiment.trainer().train(experiment.batches("train", True), None)
        model = connect(publish(experiment, "chat", only=KNOWN_SIGNATURES))
        os.remove("chat/1/assets.extra/tf_serving_warmup_requests")
        with tarfile.open(FOLDER / "greedy.tar.xz", "w:xz") as archive:
            archive.add("chat/1")
        os.chdir("/")
        texts = model.predict("serving_default", {"text": [*KNOWN]})["text"]
    dump(dict(zip(KNOWN, plain(texts), strict=True)), FOLDER / "greedy.json")


def write_bodies():
    """bodies.json."""
    from tests.data.frozen import bodies

    with tempfile.TemporaryDirectory() as folder:
        bodies.unpack_models(folder)
        with bodies.served(folder) as (url, address):
            rest = {name: bodies.rest_answer(url, name) for name in bodies.REST}
            grpc = {name: bodies.grpc_answer(address, name) for name in bodies.GRPC}
    with open(FOLDER / "bodies.json", "w", encoding="utf-8") as file:
        json.dump({"rest": rest, "grpc": grpc}, file, ensure_ascii=False, indent=1, sort_keys=True)
        file.write("\n")


def answer(model, signature, request):
    """All outputs but the generation state."""
    outputs = model.predict(signature, request)
    return {name: plain(value) for name, value in outputs.items() if not name.startswith("state")}


def plain(value):
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


def main():

    output = os.path.abspath(sys.argv[1])
    scratch = f"{output}.scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    os.makedirs(output, exist_ok=True)
    os.chdir(scratch)
    write_data("data")
    shutil.copytree("data", f"{output}/data", dirs_exist_ok=True)

    configs = {}
    for name in RECIPES.names():
        config = to_dict(load_preset(name))
        if os.path.isabs(config["data"]["path"]):
            config["data"]["path"] = "elsewhere"
        configs[name] = config
    dump(configs, f"{output}/configs.json")

    tasks = {}
    for name in RECIPES.names():
        if name.startswith("tiny_"):
            experiment = Experiment.create(small_config(name), f"all/{name}")
            tasks[name] = {**describe(experiment), "config": to_dict(experiment.config)}
            print(name, len(tasks[name]["signatures"]), flush=True)
    dump(tasks, f"{output}/tasks.json")

    for name in RUNS:
        experiment = Experiment.create(small_config(name), f"runs/{name}")
        trainer = experiment.trainer()
        evaluation = experiment.batches("eval", False)
        trainer.train(experiment.batches("train", True), evaluation, stop_at=25)
        shutil.copytree(
            f"runs/{name}",
            f"{output}/runs/{name}",
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("tensorboard", "*.png"),
        )
        trainer.train(experiment.batches("train", True), evaluation)
        with open(f"runs/{name}/log.jsonl", encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        losses = [record["loss"] for record in records if "loss" in record]
        assert len(losses) == 50, len(losses)
        dump(losses, f"{output}/runs/{name}/losses.json")
        print(name, losses[0], losses[-1], flush=True)
        if name != "tiny_lstm":
            path = publish(experiment, f"exports/{name}")
            shutil.copytree(path, f"{output}/exports/{name}/1", dirs_exist_ok=True)
            model = connect(path)
            answers = {}
            for signature, requests in experiment.task.example_requests().items():
                answers[signature] = [
                    {"request": request, "answer": answer(model, signature, request)} for request in requests
                ]
            dump(answers, f"{output}/exports/{name}/answers.json")


def dump(value, path):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    modes = {"--outputs": write_outputs, "--greedy": write_greedy, "--bodies": write_bodies}
    modes.get(sys.argv[1], main)()
