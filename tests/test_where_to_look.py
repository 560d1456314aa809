"""The table "Where to look" of docs/architecture.md: its files exist, are few, and are those of their subject."""

import pathlib
import re

import pytest

from tests.test_import_ranks import imported_modules

ROOT = pathlib.Path(__file__).parents[1]
LONGEST = {"from a REST request to the graph": 6}
"""Maximum number of files of a subject; 3 of the others."""
WORDS = {
    "top-p sampling": "top_p",
    "learning rate schedule": "schedule",
    "SIGTERM": "SIGTERM|stop",
    "a killed training": "heckpoint",
    "a lost worker": "worker",
    "hyperparameter search": "[tT]rial",
    "a mixture of sources": "[mM]ixture",
    "the cache of tokenised data": "cache",
    "quantized weights": "[qQ]uantized",
    "kernels of a training step": "[cC]ompile",
    "a dropout mask": "[mM]ask",
    "which rows a replica trains on": "rows",
    "distillation": "[tT]eacher",
    "pruning": "[pP]run",
    "the page of `tflm report`": "report|Curve",
    "explanations": "ttribut",
    "perturbations of texts": "[pP]erturbation",
    "adversarial training": "dversarial|Probe",
    "personal data": "[Pp]ersonal",
    "counted n-grams in language models": "[nN]gram",
    "trackers (MLflow, wandb)": "[tT]racker|Observer",
    "a new task": "Task",
    "a new tokenizer": "Tokenizer",
    "a new model family": "TextModel|LanguageModel",
    "a new recipe": "@recipe",
    "from a REST request to the graph": "",
}
"""An expression that each file of a subject contains."""


def table():
    """Subject to its files."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Where to look\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    return {subject.strip(): re.findall(r"`([^`]+)`", files) for subject, files in rows}


TABLE = table()


def test_the_subjects():
    assert TABLE.keys() == WORDS.keys()


@pytest.mark.parametrize("subject", TABLE)
def test_the_files_of_a_subject(subject):
    files = TABLE[subject]
    assert 0 < len(files) <= LONGEST.get(subject, 3)
    for name in files:
        assert re.search(WORDS[subject], (ROOT / name).read_text(encoding="utf-8")), name


def test_a_rest_request_goes_from_file_to_file():
    files = TABLE["from a REST request to the graph"]
    reached = set()
    for name in files:
        module = name.removesuffix(".py").replace("/", ".")
        assert name == files[0] or any(f"{each}.".startswith(f"{module}.") for each in reached), name
        reached |= imported_modules(ROOT / name)
