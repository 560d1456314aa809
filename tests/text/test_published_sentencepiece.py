"""SentencePiece vocabularies of checkpoints: ids of `tokenizers` and of SentencePiece itself."""

import io
import json

import pytest
import sentencepiece
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tests.text.published import different, nasty_texts, user_text, write_folder
from tflm.errors import UserError
from tflm.text import TokenizerConfig, load_tokenizer, train_tokenizer
from tflm.text.import_tokenizer import read_tokenizer
from tflm.text.token_offsets import token_offsets
from tflm.text.token_texts import token_texts

TRAINING = nasty_texts(200)[:-100]
BASIC = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def learned(kind, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TRAINING if "\0" not in text]),
        model_writer=model,
        model_type=kind,
        vocab_size=900,
        hard_vocab_limit=kind == "bpe",
        minloglevel=2,
        num_threads=1,
        character_coverage=0.99,
        **options,
    )
    return model.getvalue()


@pytest.fixture(scope="module", name="merges_model")
def merges_model_fixture():
    """As of Llama 2."""
    return learned(
        "bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, split_digits=True,
    )  # fmt: skip


@pytest.fixture(scope="module", name="unigram_model")
def unigram_model_fixture():
    """As of T5."""
    return learned("unigram", normalization_rule_name="nmt_nfkc", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


def merges_of(processor):
    """All pairs that make a piece, in the order of the pieces, and the vocabulary."""
    vocabulary = {processor.id_to_piece(index): index for index in range(processor.get_piece_size())}
    plain = {piece: index for piece, index in vocabulary.items() if index > 258}
    pairs = []
    for piece in plain:
        cuts = [(piece[:place], piece[place:]) for place in range(1, len(piece))]
        found = [(left, right) for left, right in cuts if left in plain and right in plain]
        pairs += sorted(found, key=lambda pair: (plain[pair[0]], plain[pair[1]]))
    return vocabulary, sorted(pairs, key=lambda pair: plain["".join(pair)])


def metaspace(scheme, split=False):
    return None, pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)


WAYS = {
    "prepended": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
    "always": metaspace("always"),
    "first": metaspace("first"),
    "never": metaspace("never"),
    "split": metaspace("always", split=True),
    "gemma": (normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")),
}


def with_bytes(model, way):
    normalizer, splitter = WAYS[way]
    vocabulary, merges = merges_of(sentencepiece.SentencePieceProcessor(model_proto=model))
    bpe = models.BPE(vocabulary, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(bpe)
    if normalizer:
        tokenizer.normalizer = normalizer
    if splitter:
        tokenizer.pre_tokenizer = splitter
    strip = [] if way in ("never", "gemma") else [decoders.Strip(" ", 1, 0)]
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    tokenizer.decoder = decoders.Sequence(parts)
    names = ("<unk>", "<s>", "</s>", "<|im_start|>")
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


@pytest.mark.parametrize("way", WAYS)
def test_bpe_with_bytes(merges_model, way, tmp_path):
    theirs = with_bytes(merges_model, way)
    ours = read_tokenizer(write_folder(tmp_path, theirs, BASIC))
    texts = [*nasty_texts(1000), " ", "  a", "▁a", "a "]
    ids = ours.tokenize(texts)
    assert not different(ids.to_list(), user_text(theirs), texts)
    names = ours.special_tokens
    assert (ours.start_id, ours.end_ids, ours.unk_id) == (1, (2,), 0)
    assert ours.pad_id == names["<|im_start|>"] + 1 == ours.vocab_size - 1
    rows = [
        ("<|im_start|>", "user\n  hi 你", "</s>", "\n"),
        (" a", "<s>", " b", "</s>", "</s>", "c"),
        ("<s>", "▁y"),
    ]
    marked = [
        b"".join(ours.special_mark(part) if part in names else part.encode() for part in row) for row in rows
    ]
    assert not different(ours.tokenize_marked(marked).to_list(), theirs, ["".join(row) for row in rows])
    known = ["two  words", " 你好 x", "a"]
    written = ours.detokenize(ours.tokenize(known)).numpy()
    assert [text.decode() for text in written] == [
        theirs.decode(theirs.encode(text, add_special_tokens=False).ids) for text in known
    ]


def test_model_file_of_llama(merges_model, tmp_path):
    processor = sentencepiece.SentencePieceProcessor(model_proto=merges_model)
    ours = read_tokenizer(
        write_folder(tmp_path, None, {"tokenizer_class": "LlamaTokenizer"}, tokenizer__model=merges_model)
    )
    texts = nasty_texts(1000)
    assert ours.tokenize(texts).to_list() == processor.encode(texts)
    assert (ours.start_id, ours.end_ids, ours.unk_id) == (1, (2,), 0)
    assert ours.pad_id == processor.get_piece_size() and ours.special_tokens["</s>"] == 2
    later = ours.tokenize_marked([ours.special_mark("<s>") + b"a"]).to_list()[0]
    assert later == [1, *processor.encode("a")]
    folder = write_folder(tmp_path, None, {"tokenizer_class": "LlamaTokenizer", "legacy": False})
    later = read_tokenizer(folder)
    assert later.tokenize_marked([later.special_mark("<s>") + b"a"]).to_list()[0] == [
        1,
        processor.piece_to_id("a"),
    ]


def test_gguf_metadata_of_llama(merges_model):
    model = sentencepiece_model_pb2.ModelProto.FromString(merges_model)
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [piece.piece for piece in model.pieces],
        "tokenizer.ggml.scores": [piece.score for piece in model.pieces],
        "tokenizer.ggml.token_type": [piece.type for piece in model.pieces],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    ours = read_tokenizer(metadata)
    processor = sentencepiece.SentencePieceProcessor(model_proto=merges_model)
    texts = nasty_texts(300)
    assert ours.tokenize(texts).to_list() == processor.encode(texts)
    assert (ours.start_id, ours.end_ids, ours.unk_id, ours.pad_id) == (1, (2,), 0, len(model.pieces))
    no_prefix = read_tokenizer(metadata | {"tokenizer.ggml.add_space_prefix": False})
    assert no_prefix.tokenize(["a"]).to_list() == [[processor.piece_to_id("a")]]


def test_t5(unigram_model, tmp_path):
    processor = sentencepiece.SentencePieceProcessor(model_proto=unigram_model)
    size = processor.get_piece_size()
    config = {
        "tokenizer_class": "T5Tokenizer",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    model = {"is_encoder_decoder": True, "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    folder = write_folder(tmp_path, None, config, spiece__model=unigram_model, config__json=model)
    ours = read_tokenizer(folder, num_rows=size + 128)
    texts = nasty_texts(1000)
    assert ours.tokenize(texts).to_list() == processor.encode(texts)
    # The decoder starts with pad, so an id without a token pads.
    assert (ours.start_id, ours.end_ids, ours.unk_id) == (0, (1,), 2)
    assert ours.pad_id == size + 100 and ours.vocab_size == size + 128
    names = ours.special_tokens
    assert names["<extra_id_0>"] == names["sentinel_0"] == size + 99 and names["<extra_id_99>"] == size
    text = b"Hello " + ours.special_mark("<extra_id_0>") + b" world"
    assert ours.tokenize_marked([text]).to_list() == [
        [*processor.encode("Hello"), size + 99, *processor.encode("world")]
    ]
    few = read_tokenizer(write_folder(tmp_path, None, {**config, "extra_ids": 3}))
    assert few.vocab_size == size + 4 and few.special_tokens["<extra_id_2>"] == size


@pytest.mark.parametrize("way", ["words", "runs"])
def test_unigram_of_tokenizer_json(unigram_model, way, tmp_path):
    model = sentencepiece_model_pb2.ModelProto.FromString(unigram_model)
    vocabulary = [(piece.piece, piece.score) for piece in model.pieces] + [("<extra_id_0>", 0.0)]
    theirs = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    charsmap = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    space = pre_tokenizers.Metaspace(prepend_scheme="always")
    if way == "words":
        theirs.normalizer = charsmap
        theirs.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])
    else:
        runs = normalizers.Replace(Regex(" {2,}"), "▁")
        theirs.normalizer = normalizers.Sequence([charsmap, normalizers.Strip(left=False, right=True), runs])
        theirs.pre_tokenizer = space
    theirs.decoder = decoders.Metaspace(prepend_scheme="always")
    theirs.add_special_tokens(["<pad>", "</s>", "<unk>", "<extra_id_0>"])
    theirs.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    ours = read_tokenizer(write_folder(tmp_path, theirs, {**BASIC, "bos_token": None, "pad_token": "<pad>"}))
    # `tokenizers` normalizes a character with several marks in another way than SentencePiece, which learned the model.
    marks = ("\u0301", "\u20dd", "\u200d", "\U0001f3fd", "\u0903", "हि", "\u1161", "ไ")
    # And a text that spells a special token gets its id there.
    marks += ("<s>", "<unk>")
    texts = [text for text in nasty_texts(300)[:306] if not any(mark in text for mark in marks)]
    assert len(texts) > 100
    assert not different(ours.tokenize(texts).to_list(), user_text(theirs), texts)
    assert (ours.start_id, ours.pad_id, ours.end_ids, ours.unk_id) == (None, 0, (1,), 2)


def test_xlm_r_shifts_ids(tmp_path):
    model = learned("unigram", normalization_rule_name="nmt_nfkc")
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    ours = read_tokenizer(write_folder(tmp_path, None, {}, **{"sentencepiece__bpe__model": model}))
    texts = nasty_texts(300)
    wanted = [[index + 1 if index else 3 for index in row] for row in processor.encode(texts)]
    assert ours.tokenize(texts).to_list() == wanted
    mask = processor.get_piece_size() + 1
    assert (ours.start_id, ours.pad_id, ours.end_ids, ours.unk_id) == (0, 1, (2,), 3)
    assert ours.special_tokens["<mask>"] == ours.special_tokens["mask"] == mask == ours.vocab_size - 1
    # The mask takes the space before it.
    text = b"fox  " + ours.special_mark("<mask>") + b" dog"
    row = ours.tokenize(["fox", "dog"]).to_list()
    assert ours.tokenize_marked([text]).to_list() == [[*row[0], mask, *row[1]]]


def test_reload_and_offsets(merges_model, tmp_path):
    ours = read_tokenizer(write_folder(tmp_path / "a", with_bytes(merges_model, "always"), BASIC))
    ours.save(tmp_path / "b")
    loaded = load_tokenizer(tmp_path / "b")
    texts = nasty_texts(100)
    assert loaded.tokenize(texts).to_list() == ours.tokenize(texts).to_list()
    assert loaded.special_tokens == ours.special_tokens and loaded.piece_texts() == ours.piece_texts()
    ids, starts, ends = token_offsets(loaded, ["The fox 你"])
    assert ids.to_list() == loaded.tokenize(["The fox 你"]).to_list()
    assert min(start for start in starts.to_list()[0]) >= -1 and max(ends.to_list()[0]) == 9
    written = b"".join(token_texts(loaded, ids).to_list()[0])
    assert written == " The fox 你".encode()
    with pytest.raises(UserError, match=r"comes with an imported checkpoint.*sentencepiece.*byte_pair"):
        train_tokenizer(TokenizerConfig(kind="published_sentencepiece"), ["a"])


def test_what_is_refused(merges_model, unigram_model, tmp_path):
    spec = json.loads(with_bytes(merges_model, "always").to_str())
    changes = (
        ({"normalizer": {"type": "Lowercase"}}, "the BPE tokenizer normalizes texts with .*Lowercase"),
        (
            {"model": {**spec["model"], "byte_fallback": False}},
            r"neither a ByteLevel pre-tokenizer nor .*byte_fallback",
        ),
        (
            {"model": {**spec["model"], "dropout": 0.1}},
            r"the BPE model has dropout=0\.1, which is not supported",
        ),
    )
    for change, message in changes:
        with pytest.raises(UserError, match=message):
            read_tokenizer(write_folder(tmp_path / "a", None, BASIC, tokenizer__json={**spec, **change}))
    folder = write_folder(
        tmp_path / "b", None, {"tokenizer_class": "PegasusTokenizer"}, spiece__model=unigram_model
    )
    with pytest.raises(
        UserError, match=r"spiece\.model belongs to a PegasusTokenizer, .*Supported are T5Tokenizer"
    ):
        read_tokenizer(folder)
    with pytest.raises(UserError, match=r"spiece\.model is not a SentencePiece model"):
        read_tokenizer(write_folder(tmp_path / "b", None, {}, spiece__model=b"\xff\xff not one"))


def test_in_a_graph(merges_model, tmp_path):
    ours = read_tokenizer(write_folder(tmp_path, with_bytes(merges_model, "first"), BASIC))
    called = tf.function(ours.tokenize_marked, input_signature=[tf.TensorSpec([None], tf.string)])
    text = [b"a" + ours.special_mark("</s>") + b" b", b""]
    assert called(tf.constant(text)).to_list() == ours.tokenize_marked(text).to_list()
