"""Byte-level BPE: ids of `tokenizers`, from tokenizer.json, GGUF metadata and learned."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.text.published import BYTE_LEVEL, byte_level, different, nasty_texts, user_text, write_folder
from tflm.errors import UserError
from tflm.text import TokenizerConfig, load_tokenizer, train_tokenizer
from tflm.text.import_tokenizer import read_tokenizer
from tflm.text.token_offsets import token_offsets

CONFIG = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


@pytest.fixture(scope="module", name="published")
def published_fixture(tmp_path_factory):
    """kind -> (the library's, ours)."""
    made = {}
    for kind in BYTE_LEVEL:
        theirs = byte_level(kind)
        made[kind] = theirs, read_tokenizer(write_folder(tmp_path_factory.mktemp(kind), theirs, CONFIG))
    return made


@pytest.mark.parametrize("kind", BYTE_LEVEL)
def test_same_ids_as_tokenizers(published, kind):
    theirs, ours = published[kind]
    texts = nasty_texts(1500)
    assert not different(ours.tokenize(texts).to_list(), user_text(theirs), texts)


@pytest.mark.parametrize("kind", BYTE_LEVEL)
def test_same_ids_around_special_tokens(published, kind):
    theirs, ours = published[kind]
    texts = nasty_texts(200)
    parts = [("<|im_start|>", "user\n", text, "<|im_end|>", "\n", "<think>") for text in texts]
    special = [not any(mark in text for mark in ours.special_tokens) for text in texts]
    marked = [
        b"".join(
            ours.special_mark(part) if place in (0, 3, 5) else ours.clean([part]).numpy()[0]
            for place, part in enumerate(row)
        )
        for row in parts
    ]
    found = np.array(ours.tokenize_marked(marked).to_list(), object)
    plain = ["".join(row) for row in np.array(parts, object)[special]]
    assert not different(found[special].tolist(), theirs, plain)


def test_a_word_that_no_merges_make_is_one_token(published):
    theirs, ours = published["llama3"]
    texts = ["the lazydog", "the lazydogs", "QuickFox", "QuickFoxes"]
    ids = ours.tokenize(texts).to_list()
    assert not different(ids, user_text(theirs), texts)
    assert 600 in ids[0] and 600 not in ids[1] and ids[2] == [601] and 601 not in ids[3]
    assert ours.detokenize(tf.ragged.constant([[600, 601]], tf.int32)).numpy() == [b" lazydogQuickFox"]


def test_ids_and_texts(published):
    _, ours = published["qwen2"]
    names = ours.special_tokens
    assert names["<|im_end|>"] == 2 == ours.end_id and ours.end_ids == (2,)
    assert (ours.pad_id, ours.start_id, ours.unk_id) == (0, None, None)
    assert ours.vocab_size == 602 and names["<think>"] == 600
    # A user's text gives no special or added token; a program's ids are written unless special.
    texts = ["<think> 你好 <|im_end|>"]
    ids = ours.tokenize(texts)
    assert not {*names.values()} & {*ids.flat_values.numpy()}
    assert ours.detokenize(ids).numpy()[0].decode() == texts[0]
    assert ours.detokenize([[1, 600, 71, 2, 0, 9999, -1]]).numpy().tolist() == [
        b"<think>" + ours.piece_texts()[71]
    ]
    pieces = ours.piece_texts()
    assert pieces[600] == b"<think>" and pieces[2] == b"" and len(pieces) == 602


def test_offsets(published):
    _, ours = published["qwen2"]
    text = "The quick 中 fox e\u0301"
    ids, starts, ends = token_offsets(ours, [text])
    assert ids.to_list() == ours.tokenize([text]).to_list()
    covered = set()
    for start, end in zip(starts.to_list()[0], ends.to_list()[0]):
        covered |= set(range(max(start, 0), end)) if start >= 0 else set()
    assert {place for place, character in enumerate(text) if character != " "} <= covered


def test_saved_and_loaded(published, tmp_path):
    _, ours = published["llama3"]
    ours.save(tmp_path)
    assert sorted(path.name for path in (tmp_path / "source").iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    loaded = load_tokenizer(tmp_path)
    assert loaded.source_files == ours.source_files and loaded.config == ours.config
    assert json.loads(loaded.source_files["tokenizer_config.json"]) == CONFIG
    texts = nasty_texts(50)
    assert loaded.tokenize(texts).to_list() == ours.tokenize(texts).to_list()
    for name in ("vocab_size", "pad_id", "start_id", "end_ids", "unk_id", "special_tokens"):
        assert getattr(loaded, name) == getattr(ours, name)
    (tmp_path / "byte_pair.zip").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match=r"byte_pair\.zip is damaged: .*import the checkpoint again"):
        load_tokenizer(tmp_path)


def gguf_metadata(theirs, pre):
    spec = json.loads(theirs.to_str())
    added = {each["id"]: each for each in spec["added_tokens"]}
    by_id = {index: token for token, index in spec["model"]["vocab"].items()}
    by_id |= {index: each["content"] for index, each in added.items()}
    size = max(by_id) + 3
    kinds = {True: 3, False: 4}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [by_id.get(index, f"[PAD{index}]") for index in range(size)],
        "tokenizer.ggml.token_type": [
            kinds[added[index]["special"]] if index in added else 1 if index in by_id else 5
            for index in range(size)
        ],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in spec["model"]["merges"]],
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }


def test_gguf_metadata(published):
    theirs, ours = published["qwen2"]
    metadata = gguf_metadata(theirs, "qwen2")
    read = read_tokenizer(metadata)
    texts = nasty_texts(200)
    assert read.tokenize(texts).to_list() == ours.tokenize(texts).to_list()
    assert read.special_tokens == ours.special_tokens
    # <|endoftext|> ends a text too, so an id without a token pads.
    assert read.end_ids == (2, 0) and read.pad_id == 602 and read.vocab_size == 604
    assert read_tokenizer(metadata, num_rows=700).vocab_size == 700
    with pytest.raises(UserError, match=r"splits texts as 'tekken'.*supported are gpt-2, llama-bpe"):
        read_tokenizer(metadata | {"tokenizer.ggml.pre": "tekken"})
    with pytest.raises(UserError, match=r"a tokenizer of the model 'rwkv'; supported are gpt2 and llama"):
        read_tokenizer(metadata | {"tokenizer.ggml.model": "rwkv"})
    with pytest.raises(UserError, match=r"the GGUF metadata has no tokenizer\.ggml\.model"):
        read_tokenizer({"general.architecture": "clip"})


def test_learned_from_text(texts):
    config = TokenizerConfig(kind="byte_pair", vocab_size=420, special_tokens=("separator", "mask"))
    tokenizer, again = train_tokenizer(config, texts), train_tokenizer(config, texts)
    assert tokenizer._asset == again._asset and tokenizer.vocab_size == 420
    assert tokenizer.special_tokens == {"separator": 4, "mask": 5}
    pieces = tokenizer.piece_texts()
    assert pieces[6:262] == [bytes([value]) for value in range(256)]
    assert len(tokenizer.tokenize(["The quick brown fox"]).flat_values) < 12
    with pytest.raises(
        UserError, match=r"vocab_size=200 has no room for 6 special tokens and 256 bytes.*262"
    ):
        train_tokenizer(TokenizerConfig(kind="byte_pair", vocab_size=200, special_tokens=("a", "b")), texts)


def test_case_fold(texts):
    config = TokenizerConfig(kind="byte_pair", vocab_size=300, case_fold=True)
    assert train_tokenizer(config, texts).normalize(["HELLO，你好"]).numpy()[0].decode() == "hello，你好"
