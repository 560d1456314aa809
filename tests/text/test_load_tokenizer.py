"""A saved tokenizer comes back the same; published BERT vocabularies keep their ids; damage is named."""

import pytest

from tflm.errors import UserError
from tflm.text import load_bert_vocabulary, load_tokenizer

BERT = ["[PAD]", *(f"[unused{i}]" for i in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BERT += ["你", "好", "，", "!", "hello", "##s", "naive"]


def test_save_and_load(tokenizers, name, tmp_path, texts):
    tokenizers[name].save(tmp_path / "a" / "b")
    loaded = load_tokenizer(tmp_path / "a" / "b")
    assert type(loaded) is type(tokenizers[name]) and loaded.config == tokenizers[name].config
    assert loaded.vocab_size == tokenizers[name].vocab_size and loaded.ops == tokenizers[name].ops
    assert loaded.tokenize(texts).to_list() == tokenizers[name].tokenize(texts).to_list()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_vocabulary_saved_by_another_editor(tmp_path, encoding):
    (tmp_path / "vocab.txt").write_bytes("\n".join([*BERT, ""]).encode(encoding))
    tokenizer = load_bert_vocabulary(tmp_path / "vocab.txt", case_fold=True)
    assert tokenizer.tokenize(["你好， hellos"]).to_list() == [[104, 105, 106, 108, 109]]
    (tmp_path / "vocab.txt").write_bytes("\n".join(BERT).encode("utf-16-le"))
    with pytest.raises(
        UserError, match=r"the vocabulary '.*vocab\.txt' looks like UTF-16-LE.*save the file as UTF-8"
    ):
        load_bert_vocabulary(tmp_path / "vocab.txt", case_fold=True)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_published_bert_vocabulary(tmp_path, newline):
    (tmp_path / "vocab.txt").write_bytes(newline.join([*BERT, ""]).encode())
    tokenizer = load_bert_vocabulary(tmp_path / "vocab.txt", case_fold=True)
    assert (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id, tokenizer.unk_id) == (0, 101, 102, 100)
    assert tokenizer.special_tokens == {"separator": 102, "mask": 103}
    assert tokenizer.vocab_size == len(BERT)
    ids = tokenizer.tokenize(["你好， HELLOs naïve!", "[SEP] [unused5]"])
    assert ids.to_list()[0] == [104, 105, 106, 108, 109, 110, 107]
    assert set(ids.to_list()[1]) == {100}
    assert (
        tokenizer.detokenize([[101, *ids.to_list()[0], 102, 0, 0]]).numpy()[0].decode()
        == "你好，hellos naive!"
    )
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").special_tokens == {"separator": 102, "mask": 103}


def test_missing_files(tokenizers, tmp_path):
    with pytest.raises(UserError, match=r"cannot read the config .*tokenizer\.json"):
        load_tokenizer(tmp_path)
    tokenizers["unigram"].save(tmp_path)
    (tmp_path / "sentencepiece.model").unlink()
    with pytest.raises(
        UserError, match=r"cannot read the vocabulary .*sentencepiece\.model.* next to tokenizer"
    ):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match=r"cannot read the vocabulary .*vocab\.txt"):
        load_bert_vocabulary(tmp_path / "vocab.txt", case_fold=False)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\nb\nc\nd\ne\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has no \[START\] or \[CLS\], the start token"):
        load_bert_vocabulary(tmp_path / "vocab.txt", case_fold=False)
