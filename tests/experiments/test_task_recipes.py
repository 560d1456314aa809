"""Recipes by task: the tokenizer that fits the writing, and that each makes a task."""

import json

import pytest

from tflm.data import DataConfig
from tflm.experiments.auto_recipe import tokenizer_for, usual_config
from tflm.tasks import TASK_RECIPES, TaskInputs, build_task
from tflm.text import train_tokenizer

DATA = DataConfig(source="jsonl", path="a.jsonl", source_column="a", target_column="b")
TALK = DataConfig(source="jsonl", path="a.jsonl", messages_column="messages")
TEXTS = ["今天天气很好", "a fine day", "the quick brown fox"] * 4


def task_recipe(task, data, sample, num_examples):
    """The config that `apps.train --task` would train."""
    return TASK_RECIPES.get(task)(usual_config(task, data, sample, num_examples), num_examples)


def talk(*texts):
    messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), texts)]
    return {"messages": json.dumps(messages, ensure_ascii=False)}


@pytest.mark.parametrize(
    "examples, kind",
    [
        ([{"text": "今天天气很好", "label": "a very long label in English words"}], "character"),
        ([{"text": "今天 iPhone 很好"}] * 9 + [{"text": "good"}], "character"),
        ([{"text": "今天 iPhone 很好"}] * 8 + [{"text": "good"}], "sentencepiece"),
        ([{"text": "a fine day"}, {"text": "好"}], "sentencepiece"),
        ([{"source": "今天天气很好", "target": "a fine day"}], "sentencepiece"),
        ([{"source": "a fine day", "target": "今天天气很好"}], "sentencepiece"),
        ([{"source": "今天天气很好，明天下雨", "target": "天气"}], "character"),
        ([talk("你好", "你好，我在")], "character"),
        ([talk("Hi", "Hello")], "sentencepiece"),
        ([], "sentencepiece"),
    ],
)
def test_characters_where_every_part_is_written_in_them(examples, kind):
    assert tokenizer_for(examples).kind == kind


@pytest.mark.parametrize("task", TASK_RECIPES.names())
def test_every_recipe_fits_together(task):
    data = TALK if task == "chat" else DATA
    config = task_recipe(task, data, [{"source": "今天天气很好"}], num_examples=10)
    assert config.name == task and config.data == data
    tokenizer = train_tokenizer(config.tokenizer, TEXTS)
    made = build_task(config.task, TaskInputs(tokenizer, config.model, config.decoding, lambda: ("a", "b")))
    assert made.config == config.task


def test_a_chat_of_single_questions_sees_some_together():
    assert task_recipe("chat", DATA, [], 10).task.max_history == 3
    assert task_recipe("chat", TALK, [], 10).task.max_history == 0


def test_the_steps_follow_the_examples_within_limits():
    steps = [
        task_recipe("question_answering", DATA, [], number).training.num_steps
        for number in (10, 20_000, 10**7)
    ]
    assert steps == [500, 1900, 5000]


def test_a_summary_reads_more_than_a_translation():
    recipes = [task_recipe(task, DATA, [], 10).task for task in ("summarization", "translation", "pairs")]
    assert [recipe.max_source_length for recipe in recipes] == [256, 62, 62]
    assert [recipe.measure for recipe in recipes] == ["rouge", "bleu", "rouge"]
