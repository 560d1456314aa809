"""WordPiece with BERT's own rules: ids of `tokenizers`, from tokenizer.json and vocab.txt."""

import dataclasses
import json

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tests.text.published import different, nasty_texts, user_text, write_folder
from tflm.errors import UserError
from tflm.text import TokenizerConfig, load_bert_vocabulary, load_tokenizer, train_tokenizer
from tflm.text.import_tokenizer import read_tokenizer
from tflm.text.token_offsets import token_offsets
from tflm.text.wordpiece_tokenizer import WordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module", name="pieces")
def pieces_fixture():
    """Characters and words of the texts, cased and uncased."""
    config = TokenizerConfig(
        kind="wordpiece", vocab_size=2500, special_tokens=("separator", "mask"), exact_bert=True
    )
    texts = nasty_texts(300)
    cased = train_tokenizer(config, texts)._asset.decode().split("\n")[6:]
    folded = (
        train_tokenizer(dataclasses.replace(config, case_fold=True), texts)._asset.decode().split("\n")[6:]
    )
    return [*SPECIAL, *dict.fromkeys([*cased, *folded])]


def bert(pieces, **rules):
    tokenizer = Tokenizer(
        models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(**rules)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


CONFIG = {
    name: f"[{name[:-6].upper()}]"
    for name in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
}
LONG = ["x" * 99, "x" * 100, "x" * 101, "я" * 60, "é" * 51 + " a", "ΣΑΣ ΟΔΟΣ, ΣΣ aΣb Σ", "İstanbul ıI"]


@pytest.mark.parametrize(
    "rules",
    [
        {"lowercase": True},
        {"lowercase": False},
        {"lowercase": True, "strip_accents": False},
        {"lowercase": False, "strip_accents": True},
        {"lowercase": True, "handle_chinese_chars": False},
    ],
    ids=str,
)
def test_same_ids_as_tokenizers(pieces, rules, tmp_path):
    theirs = bert(pieces, **rules)
    ours = read_tokenizer(write_folder(tmp_path, theirs, CONFIG))
    # The lower case of a letter of Unicode 16 is not known to every server.
    texts = [text for text in nasty_texts(1500) if "\u1c89" not in text] + LONG
    ids = ours.tokenize(texts)
    assert not different(ids.to_list(), user_text(theirs), texts)
    assert (ours.pad_id, ours.unk_id, ours.start_id, ours.end_ids) == (0, 1, 2, (3,))
    assert ours.special_tokens == {piece: index for index, piece in enumerate(SPECIAL)} | {
        "separator": 3,
        "mask": 4,
    }
    # The text that comes back gives the same ids, but for what BERT does not know.
    known = [text for text, row in zip(texts, ids.to_list()) if 1 not in row]
    again = ours.tokenize(ours.detokenize(ours.tokenize(known))).to_list()
    assert again == ours.tokenize(known).to_list()


def test_marks(pieces, tmp_path):
    theirs = bert(pieces, lowercase=True)
    ours = read_tokenizer(write_folder(tmp_path, theirs, CONFIG))
    mark = ours.special_mark("[MASK]")
    found = ours.tokenize_marked([b"Hello " + mark + b", World[SEP]"]).to_list()
    assert different(found, theirs, ["Hello [MASK], World[SEP]"])[0][1][-1] != 3
    assert ours.tokenize_marked([b"Hello " + mark + b" fox"]).to_list() == [
        theirs.encode("Hello [MASK] fox", add_special_tokens=False).ids
    ]


def test_vocabulary_file_with_settings(pieces, tmp_path):
    text = "HELLO Ünïcödé 你好 a[MASK]"
    file = "\n".join(pieces).encode() + b"\n"
    cased = {"lowercase": False, "handle_chinese_chars": False}
    for config, rules in (
        ({"do_lower_case": True}, {"lowercase": True}),
        ({"do_lower_case": False, "tokenize_chinese_chars": False}, cased),
        ({"do_lower_case": True, "strip_accents": False}, {"lowercase": True, "strip_accents": False}),
    ):
        folder = write_folder(tmp_path, None, {**CONFIG, **config}, vocab__txt=file)
        ours = read_tokenizer(folder, num_rows=3000)
        assert not different(ours.tokenize([text]).to_list(), user_text(bert(pieces, **rules)), [text])
        assert ours.vocab_size == 3000 and ours.detokenize([[2999, len(pieces), 3]]).numpy() == [b""]
    # Google's files have no settings; capital letters are those of a cased vocabulary.
    (tmp_path / "tokenizer_config.json").unlink()
    assert not read_tokenizer(tmp_path).config.case_fold
    (tmp_path / "vocab.txt").write_bytes("\n".join([*SPECIAL, "a", "b", "c"]).encode())
    assert read_tokenizer(tmp_path).config.case_fold
    assert load_bert_vocabulary(tmp_path / "vocab.txt", case_fold=True).config.exact_bert


def test_added_tokens_and_reload(pieces, tmp_path):
    theirs = bert(pieces, lowercase=True)
    theirs.add_tokens(["fox"])
    theirs.add_special_tokens(["[E1]"])
    ours = read_tokenizer(write_folder(tmp_path / "a", theirs, CONFIG))
    ours.save(tmp_path / "b")
    loaded = load_tokenizer(tmp_path / "b")
    assert loaded.special_tokens == ours.special_tokens and "[E1]" in loaded.special_tokens
    assert loaded.special_tokens["[E1]"] not in loaded.tokenize(["[E1] e1 fox"]).to_list()[0]


def test_offsets_of_long_words(pieces):
    config = TokenizerConfig(
        kind="wordpiece", vocab_size=2500, special_tokens=("separator", "mask"), exact_bert=True
    )
    tokenizer = WordPieceTokenizer(config, "\n".join(pieces).encode())
    text = "fox " + "x" * 101 + " dog"
    ids, starts, ends = token_offsets(tokenizer, [text])
    place = ids.to_list()[0].index(1)
    assert (starts.to_list()[0][place], ends.to_list()[0][place]) == (4, 105)


def test_other_rules_are_refused(pieces, tmp_path):
    theirs = json.loads(bert(pieces, lowercase=True).to_str())
    for change, message in (
        (
            {"normalizer": {"type": "Lowercase"}},
            "normalizes texts with .*Lowercase.*supported is BertNormalizer",
        ),
        (
            {"pre_tokenizer": {"type": "Whitespace"}},
            "splits texts with .*Whitespace.*supported is BertPreTokenizer",
        ),
        (
            {"model": {**theirs["model"], "unk_token": "<unk>"}},
            "the WordPiece model has .*<unk>.*supported is",
        ),
    ):
        folder = write_folder(tmp_path, None, CONFIG, tokenizer__json={**theirs, **change})
        with pytest.raises(UserError, match=message):
            read_tokenizer(folder)
    with pytest.raises(UserError, match=r"ids up to \d+, and the embedding of the checkpoint has 10 rows"):
        read_tokenizer(write_folder(tmp_path, None, CONFIG, tokenizer__json=theirs), num_rows=10)
