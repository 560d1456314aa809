"""Core ids of published tokenizers, and what is refused."""

import json

import pytest

from tests.text.published import byte_level, different, nasty_texts, user_text, write_folder
from tflm.errors import UserError
from tflm.text.import_tokenizer import read_tokenizer

CONFIG = {"eos_token": "<|im_end|>"}


@pytest.fixture(scope="module", name="qwen2")
def qwen2_fixture():
    return byte_level("qwen2")


@pytest.fixture(scope="module", name="gpt2")
def gpt2_fixture():
    return byte_level("gpt2")


def ids_of(folder, num_rows=None):
    read = read_tokenizer(folder, num_rows)
    return read.pad_id, read.start_id, read.end_ids, read.vocab_size


def test_pad_is_the_checkpoints_own_or_unused_or_appended(qwen2, tmp_path):
    assert ids_of(write_folder(tmp_path, qwen2, {**CONFIG, "pad_token": "<|endoftext|>"})) == (
        0,
        None,
        (2,),
        602,
    )
    # <|endoftext|> also ends texts.
    folder = write_folder(
        tmp_path,
        qwen2,
        {**CONFIG, "pad_token": "<|endoftext|>"},
        generation_config__json={"eos_token_id": [2, 0]},
    )
    assert ids_of(folder) == (602, None, (2, 0), 603)
    assert ids_of(folder, 602) == (602, None, (2, 0), 603)
    assert ids_of(folder, 640) == (602, None, (2, 0), 640)
    assert ids_of(write_folder(tmp_path, qwen2, {**CONFIG, "pad_token": {"content": "<|im_end|>"}}))[0] == 602
    # A token without a row is left out where it was added, as in a text model with the tokenizer of one for images.
    assert "</think>" not in read_tokenizer(folder, 601).special_tokens
    with pytest.raises(
        UserError, match=r"ids up to 599, and the embedding of the checkpoint has 599 rows\. .*another"
    ):
        read_tokenizer(folder, 599)


def test_end_ids(qwen2, tmp_path):
    generation = {"eos_token_id": [0, 1, 2]}
    assert ids_of(write_folder(tmp_path, qwen2, CONFIG, generation_config__json=generation))[2] == (2, 0, 1)
    assert ids_of(write_folder(tmp_path, qwen2, {}, generation_config__json={"eos_token_id": 1}))[2] == (1,)
    assert ids_of(
        write_folder(tmp_path, qwen2, {}, generation_config__json={}, config__json={"eos_token_id": 0})
    )[2] == (0,)
    with pytest.raises(
        UserError, match=r"found no end token: expected eos_token or sep_token in tokenizer_config\.json"
    ):
        read_tokenizer(write_folder(tmp_path, qwen2, {}, config__json={}))
    special_tokens = {"eos_token": {"content": "<|im_end|>"}}
    assert ids_of(write_folder(tmp_path, qwen2, {}, special_tokens_map__json=special_tokens))[2] == (2,)


def test_start_is_what_the_tokenizer_puts_before_a_text(qwen2, tmp_path):
    config = {**CONFIG, "bos_token": "<|endoftext|>"}
    assert ids_of(write_folder(tmp_path, qwen2, config))[1] is None
    assert ids_of(write_folder(tmp_path, qwen2, {**config, "add_bos_token": True}))[1] == 0
    spec = json.loads(qwen2.to_str())
    template = [
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    processor = {
        "type": "TemplateProcessing",
        "single": template,
        "pair": template,
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    sequence = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, processor]}
    for each in (processor, sequence):
        folder = write_folder(tmp_path, None, CONFIG, tokenizer__json={**spec, "post_processor": each})
        assert ids_of(folder)[1] == 0
    two = {**processor, "single": [template[0], *template]}
    with pytest.raises(UserError, match="puts 2 special tokens before a text; supported is one before"):
        read_tokenizer(write_folder(tmp_path, None, CONFIG, tokenizer__json={**spec, "post_processor": two}))
    with pytest.raises(UserError, match="the post-processor 'Other'; supported are templates"):
        folder = write_folder(
            tmp_path, None, CONFIG, tokenizer__json={**spec, "post_processor": {"type": "Other"}}
        )
        read_tokenizer(folder)


def test_vocabulary_and_merges(gpt2, tmp_path):
    model = json.loads(gpt2.to_str())["model"]
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"]), ""]).encode()
    vocabulary = {token: index for token, index in model["vocab"].items() if index < 600}
    config = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "tokenizer_class": "GPT2Tokenizer"}
    folder = write_folder(tmp_path, None, config, vocab__json=vocabulary, merges__txt=merges)
    read = read_tokenizer(folder)
    texts = nasty_texts(300)
    assert not different(read.tokenize(texts).to_list(), user_text(gpt2), texts)
    assert (read.start_id, read.end_ids, read.pad_id, read.vocab_size) == (None, (0,), 600, 601)
    assert set(read.source_files) == {"merges.txt", "tokenizer_config.json", "vocab.json"}
    with pytest.raises(
        UserError, match=r"merges.txt belong to a CLIPTokenizer, whose way to split words is not in them"
    ):
        read_tokenizer(write_folder(tmp_path, None, {**config, "tokenizer_class": "CLIPTokenizer"}))
    with pytest.raises(UserError, match="the tokenizer has add_prefix_space, which is not supported"):
        read_tokenizer(write_folder(tmp_path, None, {**config, "add_prefix_space": True}))


def test_tokens_that_were_added_in_other_files(qwen2, tmp_path):
    token = {"content": "<|system|>", "special": True, "lstrip": False, "rstrip": False, "single_word": False}
    config = {**CONFIG, "added_tokens_decoder": {"2": {**token, "content": "<|im_end|>"}, "602": token}}
    files = {"added_tokens__json": {"<call>": 603}, "chat_template__jinja": b"{{ messages }}"}
    read = read_tokenizer(write_folder(tmp_path, qwen2, config, **files))
    assert (read.special_tokens["<|system|>"], read.special_tokens["<call>"], read.vocab_size) == (
        602,
        603,
        605,
    )
    assert read.detokenize([[602, 603]]).numpy() == [b"<call>"]
    assert (
        read.source_files["chat_template.jinja"] == b"{{ messages }}"
        and "added_tokens.json" in read.source_files
    )


def test_a_mask_takes_the_space_before_it(gpt2, tmp_path):
    theirs = type(gpt2).from_str(gpt2.to_str())
    added = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
    spec = json.loads(theirs.to_str())
    spec["added_tokens"].append({"id": 602, "special": True, **added})
    theirs = type(gpt2).from_str(json.dumps(spec))
    read = read_tokenizer(write_folder(tmp_path, theirs, {**CONFIG, "mask_token": "<mask>"}))
    assert read.special_tokens["mask"] == 602
    text = b"quick \t" + read.special_mark("mask") + b" fox " + read.special_mark("mask")
    assert not different(
        read.tokenize_marked([text, b""]).to_list(), theirs, ["quick \t<mask> fox <mask>", ""]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"normalizer": {"type": "Lowercase"}},
            r"normalizes texts with \{'type': 'Lowercase'\}; supported are NFC, NFKC",
        ),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
            r"splits texts with .*'add_prefix_space': True.*Supported are Split without invert, Digits, and ByteLevel",
        ),
        (
            {"decoder": {"type": "Metaspace"}},
            "splits bytes and decodes with .*Metaspace.*supported is ByteLevel",
        ),
        (
            {"model": {"type": "WordLevel", "vocab": {}}},
            "a model of type 'WordLevel'; supported are BPE, Unigram and",
        ),
        ({"added_tokens": 3}, r"tokenizer\.json is not one of the library tokenizers: TypeError"),
    ],
    ids=str,
)
def test_unsupported_parts_are_named(qwen2, tmp_path, change, message):
    spec = json.loads(qwen2.to_str())
    with pytest.raises(UserError, match=message):
        read_tokenizer(write_folder(tmp_path, None, CONFIG, tokenizer__json={**spec, **change}))


def test_unsupported_vocabularies_are_named(qwen2, tmp_path):
    spec = json.loads(qwen2.to_str())
    token = {
        "id": 602,
        "special": False,
        "content": "fox",
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
    }
    for change, message in (
        (
            {**token, "single_word": True},
            "the added token 'fox' is marked single_word, which is not supported",
        ),
        ({**token, "content": "   "}, "takes '   ' out of a text before it splits words"),
    ):
        changed = {**spec, "added_tokens": [*spec["added_tokens"], change]}
        with pytest.raises(UserError, match=message):
            read_tokenizer(write_folder(tmp_path, None, CONFIG, tokenizer__json=changed))
    vocabulary = {token: index for token, index in spec["model"]["vocab"].items() if token != "!"}
    for model, message in (
        ({"vocab": vocabulary}, "has no token for 1 of the bytes, such as 0x21"),
        (
            {"vocab": {**spec["model"]["vocab"], "你": 700}},
            "is not byte-level: its token '你' has '你', which stands for no byte",
        ),
        ({"merges": [*spec["model"]["merges"], ["Z", "Z"]]}, "the merges do not fit the vocabulary"),
        ({"continuing_subword_prefix": "##"}, "the BPE model has continuing_subword_prefix='##'"),
    ):
        changed = {**spec, "model": {**spec["model"], **model}}
        with pytest.raises(UserError, match=message):
            read_tokenizer(write_folder(tmp_path, None, CONFIG, tokenizer__json=changed))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(UserError, match="is no folder; give the folder of a checkpoint"):
        read_tokenizer(tmp_path / "none")
    with pytest.raises(
        UserError, match=r"has no tokenizer: expected one of tokenizer\.json, vocab\.json with merges"
    ):
        read_tokenizer(tmp_path)
    with pytest.raises(UserError, match=r"tokenizer\.json' is not JSON: .*it may be cut off"):
        read_tokenizer(write_folder(tmp_path, None, {}, tokenizer__json=b'{"model": {"vo'))
