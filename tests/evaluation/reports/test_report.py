"""Which report belongs to which task, and how a model's signatures are asked for."""

import json
import types

import numpy as np

from tflm.evaluation import REPORT_FNS, Signatures
from tflm.tasks import TASKS


def test_a_signature_is_made_once_and_score_takes_few_texts_at_a_time():
    made, sizes = [], []

    def find(name):
        made.append(name)

        def answer(columns):
            sizes.append(len(columns["text"]))
            return {"n": np.zeros(len(columns["text"]))}

        return answer

    signatures = Signatures(find, batch_size=32)
    assert signatures("classify") is signatures("classify")
    signatures("score")({"text": ["a"] * 20})
    assert made == ["classify", "score"]
    assert sizes == [8, 8, 8, 4]
    assert Signatures(find, batch_size=2)("score").batch_size == 2


def test_reports_ask_for_the_signatures_of_their_task():
    outputs = {
        "classify": {"label": ["a"], "scores": [[0.7, 0.3]], "labels": [["a", "b"]]},
        "tag": {"start": [[0]], "end": [[1]], "label": [["PER"]], "num_spans": [1]},
        "embed": {"embedding": [[1.0, 0.0]]},
        "score": {"log_probability": [-1.0], "num_tokens": [2]},
        "serving_default": {"text": ["t"]},
    }
    signatures = Signatures(
        lambda name: lambda columns: {key: np.array(value) for key, value in outputs[name].items()}
    )
    example = {"text": "x", "label": "a", "spans": '[[0, 1, "PER"]]', "source": "s", "target": "t"}
    task = types.SimpleNamespace(measure="rouge", label_separator="")
    expected = {
        "classification": ("accuracy", 1.0),
        "tagging": ("micro_f1", 1.0),
        "similarity": ("mrr", 100.0),
        "language_modeling": ("loss", 0.5),
        "pairs": ("rouge1", 100.0),
    }
    for kind, (name, value) in expected.items():
        declared = TASKS.get(kind).report(task)
        report = REPORT_FNS.get(declared.name)(signatures, [example], task)
        assert report["this model"][name] == value
        assert signatures.asked(declared.signature) is signatures(declared.signature)
        assert signatures(declared.signature).num_rows > 0
        assert set(declared.keys) & set(report["texts"][0])


def test_every_report_of_a_task_is_there():
    declared = {kind: task.report(task.config_class()) for kind in TASKS.names() if (task := TASKS.get(kind))}
    without = {"denoising", "masked_language_modeling", "word_vectors"}
    assert {kind for kind, report in declared.items() if report is None} == without
    assert all(REPORT_FNS.get(report.name) for report in declared.values() if report)


def test_a_conversation_is_asked_with_all_that_was_said_before():
    long = [("user", "Hi"), ("assistant", "Hello."), ("user", "你好"), ("assistant", "你好！")]
    talks = [long, [("user", "谁？"), ("assistant", "我。")]]
    examples = [
        {"messages": json.dumps([{"role": role, "content": text} for role, text in talk])} for talk in talks
    ]
    asked = {}

    def find(name):
        def answer(columns):
            for row, roles in enumerate(columns["roles"]):
                asked[tuple(roles)] = columns["messages"][row], columns["temperature"][row], name
            return {"text": np.array(["你好！" if "Hi" in each else "我。" for each in columns["messages"]])}

        return answer

    signatures = Signatures(find, settings={"temperature": 0.5})
    report = REPORT_FNS.get("conversations")(signatures, examples, types.SimpleNamespace(measure="rouge"))
    assert signatures.asked("serving_default") is signatures("chat")
    assert asked == {
        ("user", "assistant", "user"): (["Hi", "Hello.", "你好"], 0.5, "chat"),
        ("user", "", ""): (["谁？", "", ""], 0.5, "chat"),
    }
    assert [text["answer"] for text in report["texts"]] == ["你好！", "我。"]
    assert report["texts"][0]["source"] == "user: Hi\nassistant: Hello.\nuser: 你好"
    assert report["this model"]["rougeL"] == 100.0 and "perplexity" not in report["this model"]
