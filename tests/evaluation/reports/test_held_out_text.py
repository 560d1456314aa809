"""The text that is predicted, in English and in Chinese: its length, and whether it is the same."""

import pytest

from tflm.data import build_store
from tflm.evaluation import held_out_text
from tflm.generation import DecodingConfig
from tflm.tasks import LanguageModeling, LanguageModelingConfig, Pairs, PairsConfig, SequenceToSequence
from tflm.text import TokenizerConfig, train_tokenizer

TEXTS = ["a cat", "你好，世界", "", "naïve 😀"]
TOKENIZERS = [
    TokenizerConfig(kind="byte", special_tokens=("separator",)),
    TokenizerConfig(kind="character", vocab_size=300, special_tokens=("separator",)),
    TokenizerConfig(kind="sentencepiece", vocab_size=276, special_tokens=("separator",)),
]


def size_of(texts):
    return sum(len(text.encode()) for text in texts), sum(len(text) for text in texts)


@pytest.fixture(scope="module", params=TOKENIZERS, ids=lambda config: config.kind)
def tokenizer(request):
    return train_tokenizer(request.param, TEXTS * 3)


@pytest.mark.parametrize("mark_documents", [False, True])
def test_language_modelling_predicts_the_whole_text(tokenizer, mark_documents, tmp_path):
    config = LanguageModelingConfig(mark_documents=mark_documents)
    task = LanguageModeling(config, tokenizer, 64, DecodingConfig())
    store = build_store(({"text": text} for text in TEXTS * 300), task.encode, tmp_path / "store", "")
    num_bytes, num_characters = size_of(TEXTS)
    assert held_out_text(store, tokenizer)[:2] == (300 * num_bytes, 300 * num_characters)


@pytest.mark.parametrize("kind", [Pairs, SequenceToSequence])
def test_of_pairs_the_target_alone(tokenizer, kind, tmp_path):
    task = kind(PairsConfig(max_source_length=40, max_target_length=40), tokenizer, 100, DecodingConfig())
    pairs = [{"source": source, "target": target} for source, target in zip(TEXTS, TEXTS[::-1])]
    store = build_store(pairs, task.encode, tmp_path / "store", "")
    assert held_out_text(store, tokenizer)[:2] == size_of(TEXTS)


def test_a_cut_target_counts_as_it_was_cut(tmp_path):
    tokenizer = train_tokenizer(TOKENIZERS[1], TEXTS)
    task = Pairs(PairsConfig(max_source_length=4, max_target_length=2), tokenizer, 10, DecodingConfig())
    store = build_store([{"source": "a", "target": "你好，世界"}], task.encode, tmp_path / "store", "")
    assert held_out_text(store, tokenizer)[:2] == size_of(["你好"])


def test_equal_texts_are_known_by_their_digest(tmp_path):
    digests = []
    for number, (config, texts, mark) in enumerate(
        [
            (TOKENIZERS[0], TEXTS, True),
            (TOKENIZERS[1], TEXTS, False),
            (TOKENIZERS[0], ["a catä", *TEXTS[1:]], True),
        ]
    ):
        tokenizer = train_tokenizer(config, TEXTS)
        task = LanguageModeling(LanguageModelingConfig(mark_documents=mark), tokenizer, 64, DecodingConfig())
        store = build_store(({"text": text} for text in texts), task.encode, tmp_path / str(number), "")
        digests.append(held_out_text(store, tokenizer).digest)
    assert digests[0] == digests[1] != digests[2]
