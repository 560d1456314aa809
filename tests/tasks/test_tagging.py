"""Tagging: offsets beside Python's own strings, spans to tags and back, and learned spans from the signatures."""

import itertools
import json
import re
import unicodedata

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.learn_by_heart import learn_store
from tflm.data import build_store
from tflm.errors import UserError
from tflm.models import LSTMEncoderConfig, TransformerEncoderConfig, build_model
from tflm.tasks.tagging import Tagging, TaggingConfig, find_span_labels, find_spans
from tflm.text import TokenizerConfig, train_tokenizer
from tflm.text.token_offsets import token_offsets
from tflm.text.token_texts import token_texts

EXAMPLES = [
    {"text": "Hello New York, it is Anna!", "spans": '[[6, 14, "LOC"], [22, 26, "PER"]]'},
    {"text": "我在北京爱李雷", "spans": '[[2, 4, "LOC"], [5, 7, "PER"]]'},
    {"text": "李雷李雷😀", "spans": '[[0, 2, "PER"], [2, 4, "PER"]]'},
    {"text": "the words of the text", "spans": "[]"},
]
TEXTS = [
    "Hello 鑫鑫 😀👨‍👩‍👧 ❤️!",
    "",
    "\ufeff你好，世界\x00 x",
    "e\u0301te\u0301 a\u0323\u0307b ＡＢＣ㍿ ｶﾞ ㄱㅏ 가ㄳ İx 한국어",
    "हिन्दी में",
    "  two  spaces\t\n",
    "\u0301 begins with a mark",
    "o\u200d\u0301 我爱\u3000Python xyzzyq",
]
NORMALIZED = {
    "byte": TokenizerConfig(kind="byte"),
    "byte nfkc": TokenizerConfig(kind="byte", normalization="nfkc"),
    "byte lower nfc": TokenizerConfig(kind="byte", normalization="nfc", case_fold=True),
    "character": TokenizerConfig(kind="character", vocab_size=320),
    "bpe nfkc": TokenizerConfig(algorithm="bpe", vocab_size=420, normalization="nfkc"),
    "unigram": TokenizerConfig(vocab_size=334),
}
LOSING = {
    "wordpiece": TokenizerConfig(kind="wordpiece", vocab_size=220),
    "wordpiece uncased": TokenizerConfig(kind="wordpiece", vocab_size=220, case_fold=True),
    "unigram without bytes": TokenizerConfig(vocab_size=78, byte_fallback=False),
    "character without bytes": TokenizerConfig(kind="character", vocab_size=60, byte_fallback=False),
}
CORPUS = [
    "Hello, world! The quick brown fox jumps over the lazy dog, naïve façade.",
    "你好，世界！我爱自然语言处理，北京很大。",
    "I love New York and Tokyo; 我用 TensorFlow 训练模型。 한국어",
] * 3


@pytest.fixture(scope="module")
def tokenizer_of():
    """tokenizer_of(name), each trained once."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = train_tokenizer((NORMALIZED | LOSING)[name], CORPUS)
        return made[name]

    return make


def offsets(tokenizer, texts):
    """For each text its ids, starts and ends, as lists."""
    return [part.to_list() for part in token_offsets(tokenizer, tf.constant(texts))]


def with_known_marks(tokenizer, texts):
    """Of bytes and characters without a Unicode form: letters with marks as NFC, where it knows one character."""
    config = tokenizer.config
    if config.kind not in ("byte", "character") or config.normalization_form:
        return texts
    known = "".join(CORPUS) if config.kind == "character" else None

    def joined(found):
        text = unicodedata.normalize("NFC", found[0])
        return text if len(text) == 1 and (known is None or text in known) else found[0]

    return [re.sub("[a-zA-Z][\u0300-\u036f]+", joined, text) for text in texts]


def groups(starts, ends):
    """(start, end, the tokens) of each run of tokens that belong together."""
    firsts = [place for place, start in enumerate(starts) if start >= 0]
    return [(starts[a], ends[a], slice(a, b)) for a, b in zip(firsts, [*firsts[1:], len(starts)])]


@pytest.mark.parametrize("name", [*NORMALIZED, *LOSING])
def test_the_tokens_are_those_of_the_tokenizer_and_alone_as_in_a_batch(tokenizer_of, name):
    tokenizer = tokenizer_of(name)
    texts = [text.replace("\x00", "") for text in TEXTS]  # lower-casing ends a text there
    ids, starts, ends = offsets(tokenizer, texts)
    assert ids == tokenizer.tokenize(tf.constant(with_known_marks(tokenizer, texts))).to_list()
    for row, text in enumerate(texts):
        assert offsets(tokenizer, [text]) == [[ids[row]], [starts[row]], [ends[row]]]
        inside = [(a, b) for a, b, _ in groups(starts[row], ends[row])]
        assert all(0 <= a < b <= len(text) for a, b in inside)
        assert all(b <= c for (_, b), (c, _) in itertools.pairwise(inside))  # in order, never twice
    assert offsets(tokenizer, [""]) == [[[]], [[]], [[]]]


@pytest.mark.parametrize("name", NORMALIZED)
def test_what_stands_at_a_token_is_what_the_token_writes(tokenizer_of, name):
    tokenizer = tokenizer_of(name)
    texts = [text.replace("\x00", "") for text in TEXTS]
    ids, starts, ends = offsets(tokenizer, texts)
    written = token_texts(tokenizer, tf.ragged.constant(ids, tf.int32)).to_list()
    form, fold = tokenizer.config.normalization_form, tokenizer.config.case_fold
    for text, row_written, *row in zip(texts, written, starts, ends):
        covered = [False] * len(text)
        for start, end, tokens in groups(*row):
            (found,) = with_known_marks(tokenizer, [text[start:end]])
            found = found.lower() if fold else found
            found = unicodedata.normalize(form, found) if form else found
            assert b"".join(row_written[tokens]).decode().strip() == found.strip()
            covered[start:end] = [True] * (end - start)
        assert all(is_covered or text[place].isspace() for place, is_covered in enumerate(covered))


def pieces(tokenizer, text):
    """The text of each group of tokens."""
    _, (starts,), (ends,) = offsets(tokenizer, [text])
    return [text[start:end] for start, end, _ in groups(starts, ends)]


def test_known_offsets(tokenizer_of):
    assert pieces(tokenizer_of("byte"), "a😀e\u0301") == ["a", "😀", "e\u0301"]
    assert pieces(tokenizer_of("character"), "Zoe\u0301 हिन्दी น้ำ") == [
        *["Z", "o", "e\u0301", " ", "हि", "न्", "दी", " ", "น้ำ"]
    ]
    assert pieces(tokenizer_of("character without bytes"), "\u1112\u1161\u11ab글") == [
        "\u1112\u1161\u11ab",
        "글",
    ]
    assert pieces(tokenizer_of("byte nfkc"), "a😀e\u0301 ㍿ｶﾞ") == ["a", "😀", "e\u0301", " ", "㍿", "ｶﾞ"]
    assert pieces(tokenizer_of("byte lower nfc"), "ΣΑΣ İI") == ["Σ", "Α", "Σ", " ", "İ", "I"]
    # SentencePiece has a spelling of its own for these two characters.
    assert pieces(tokenizer_of("unigram"), "鑫▁\x10鑫") == ["鑫", "▁", "\x10", "鑫"]
    assert pieces(tokenizer_of("unigram without bytes"), "我鑫鑫😀 爱") == ["我", "鑫鑫😀", " ", "爱"]
    assert pieces(tokenizer_of("character without bytes"), "我鑫鑫 爱") == ["我", "鑫", "鑫", " ", "爱"]
    uncased = tokenizer_of("wordpiece uncased")
    assert pieces(uncased, "He\u0301LLO\u200d,  wo\u0308rld！我鑫爱\u3000xyzzyq☎") == [
        "He\u0301LLO", ",", "wo\u0308rld", "！", "我", "鑫", "爱", "xyzzyq☎",
    ]  # fmt: skip
    # Broken UTF-8 counts as the U+FFFDs that Python makes of it.
    broken = b"ab\xff\xe4\xb8c"
    _, (starts,), _ = offsets(tokenizer_of("byte"), [broken])
    assert [start for start in starts if start >= 0] == list(range(len(broken.decode(errors="replace"))))


def make_task(tokenizer, examples=EXAMPLES, max_length=64):
    return Tagging(TaggingConfig(dropout=0.0), tokenizer, max_length, find_span_labels(examples))


def columns(*examples):
    return {key: tf.constant([example[key] for example in examples]) for key in examples[0]}


def example(text, *spans):
    return {"text": text, "spans": json.dumps(spans)}


@pytest.mark.parametrize(
    "kind, names",
    [
        ("byte", ["Zoé", "Đặng", "Ångel"]),
        ("character", ["Zoé", "한별", "がく"]),
        ("character", ["Zoe\u0301", "A\u030angel"]),  # one that has learned NFD
    ],
)
def test_a_name_has_the_same_tokens_and_all_its_marks_in_nfc_and_nfd(kind, names):
    tokenizer = train_tokenizer(TokenizerConfig(kind=kind, vocab_size=400), names)
    task = make_task(tokenizer, [example("", [0, 1, "PER"])])
    own, other = (
        [example(text, [0, len(text), "PER"]) for text in texts]
        for texts in (names, [unicodedata.normalize("NFD", name) for name in names])
    )
    one, two = (task.encode(columns(*side)) for side in (own, other))
    for name in ("token_ids", "tag_ids"):
        assert one[name].to_list() == two[name].to_list()
    for side, features in ((own, one), (other, two)):
        _, starts, ends = token_offsets(tokenizer, tf.constant([each["text"] for each in side]))
        for each, row_starts, row_ends in zip(side, starts.to_list(), ends.to_list()):
            inside = [each["text"][a:b] for a, b, _ in groups(row_starts, row_ends)]
            assert "".join(inside) == each["text"]
            assert not any(unicodedata.combining(piece[0]) for piece in inside)
        assert features["num_widened"].numpy().sum() == 0


def test_encode(tokenizers):
    task = make_task(tokenizers["byte"], max_length=20)
    assert task.labels == ("LOC", "PER")
    found = task.encode(columns(EXAMPLES[2], example("to 北京", [3, 5, "LOC"]), example("")))
    assert found["token_ids"].row_lengths().numpy().tolist() == [18, 11, 2]
    assert found["token_ids"][2].numpy().tolist() == [1, 2]
    # 1 is O, 2 and 3 B and I of LOC, 4 and 5 of PER; further bytes of a character are not asked.
    assert found["tag_ids"].to_list() == [
        [0, *[4, 0, 0, 5, 0, 0] * 2, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 2, 0, 0, 3, 0, 0, 0],
        [0, 0],
    ]
    long = task.encode(columns(example("x" * 17 + "Anna", [17, 21, "PER"], [0, 1, "LOC"])))
    assert long["tag_ids"].to_list() == [[0, 2, *[1] * 16, 4, 0]]  # cut as the text is
    assert (int(long["num_widened"][0]), int(long["num_lost"][0])) == (1, 0)
    beyond = task.encode(columns(example("x" * 18 + "Anna", [18, 22, "PER"])))
    assert (int(beyond["num_widened"][0]), int(beyond["num_lost"][0])) == (0, 1)


def test_spans_inside_tokens_are_widened_and_counted(tokenizers, caplog, tmp_path):
    task = make_task(tokenizers["wordpiece"], [example("", [0, 1, "A"], [0, 1, "B"])])
    text = "the words，语言"  # tokens the words ， 语 言
    found = task.encode(
        columns(
            example(text, [0, 2, "A"], [6, 12, "B"]),  # both widened
            example(text, [4, 6, "A"], [6, 9, "B"], [10, 11, "A"]),  # the second has no token of its own
            example(text, [3, 4, "A"], [10, 12, "B"]),  # the first is the space, which is no token
            example(text, [0, 9, "A"], [9, 10, "B"]),
        )
    )
    assert found["tag_ids"].to_list() == [
        [0, 2, 4, 5, 5, 5, 0],
        [0, 1, 2, 1, 2, 1, 0],
        [0, 1, 1, 1, 4, 5, 0],
        [0, 2, 3, 4, 1, 1, 0],
    ]
    assert found["num_widened"].numpy().tolist() == [2, 1, 0, 0]
    assert found["num_lost"].numpy().tolist() == [0, 1, 1, 0]
    store = build_store([example(text, [0, 2, "A"], [1, 2, "B"])], task.encode, tmp_path / "store", "a")
    (batch,) = task.batches(store, 2, seed=0, training=False).dataset()
    assert batch["tag_ids"].shape == batch["token_ids"].shape
    assert "spans: 1 were widened to whole tokens or cut at max_length, 1 lost" in caplog.text


def test_find_spans_equals_a_slow_count():
    random = np.random.default_rng(0)
    tags, rows = random.integers(0, 5, 400), np.sort(random.integers(0, 40, 400))
    begins, inside, number = (
        each.numpy() for each in find_spans(tf.constant(tags, tf.int32), tf.constant(rows))
    )
    spans = []  # of places
    for place, (tag, row) in enumerate(zip(tags, rows)):
        label = (tag + 1) // 2
        if not label:
            continue
        last = spans[-1] if spans else None
        goes_on = last and last["label"] == label and last["row"] == row and last["places"][-1] == place - 1
        if goes_on and tag % 2 == 0:
            last["places"].append(place)
        else:
            spans.append({"label": label, "row": row, "places": [place]})
    assert np.flatnonzero(begins).tolist() == [span["places"][0] for span in spans]
    assert np.flatnonzero(inside).tolist() == [place for span in spans for place in span["places"]]
    assert number.tolist() == [index for index, span in enumerate(spans) for _ in span["places"]]


def read(outputs):
    """The spans of each row; what fills the rows up is checked."""
    found = []
    for row, count in enumerate(outputs["num_spans"].numpy()):
        parts = [outputs[name][row].numpy().tolist() for name in ("start", "end", "label", "score")]
        assert [part[count:] for part in parts] == [[x] * (len(parts[0]) - count) for x in (-1, -1, b"", 0.0)]
        assert all(0 < score <= 1 + 1e-5 for score in parts[3][:count])
        spans = zip(*(part[:count] for part in parts[:3]))
        found.append([[start, end, label.decode()] for start, end, label in spans])
    return found


def train(task, body, folder):
    """A model that has learned EXAMPLES through store and batches; and the store."""
    store = build_store(EXAMPLES, task.encode, folder / "store", "a")
    keras.utils.set_random_seed(1)
    model = task.model_for(build_model(body))
    losses = learn_store(task, model, store, len(EXAMPLES), 1e-2)
    assert losses[0] == pytest.approx(np.log(5), abs=0.3)
    return model, store


@pytest.mark.parametrize("kind", ["byte", "wordpiece"])
def test_learned_spans_come_back(tokenizers, tmp_path, kind):
    task = make_task(tokenizers[kind])
    sizes = {"vocab_size": task.tokenizer.vocab_size, "num_layers": 1, "hidden_dim": 32, "max_length": 64}
    body = TransformerEncoderConfig(num_heads=2, **sizes) if kind == "byte" else LSTMEncoderConfig(**sizes)
    model, store = train(task, body, tmp_path)
    signatures = task.signatures(model)
    texts = [each["text"] for each in EXAMPLES]
    together = signatures["serving_default"](tf.constant([*texts, ""]))
    assert read(together) == [*(json.loads(each["spans"]) for each in EXAMPLES), []]
    for row, text in enumerate(texts):  # alone as in the batch
        alone = signatures["tag"](tf.constant([text]))
        assert read(alone) == [json.loads(EXAMPLES[row]["spans"])]
        count = int(alone["num_spans"][0])
        np.testing.assert_allclose(alone["score"][0, :count], together["score"][row, :count], atol=1e-5)
    assert read(signatures["tag"](tf.constant(["", ""]))) == [[], []]
    sums = {}
    for batch in task.batches(store, 3, seed=0, training=False).dataset():  # the last batch has rows too few
        for name, value in task.sums(model, batch).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    metrics = task.metrics(sums)
    assert metrics["accuracy"] == 1.0
    assert metrics["num_tokens"] == np.count_nonzero(store.values("tag_ids"))
    assert metrics["loss"] < 0.05


def test_loss_and_score_equal_numpy(tokenizers):
    task = make_task(tokenizers["byte"])
    body = TransformerEncoderConfig(
        vocab_size=task.tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=64
    )
    keras.utils.set_random_seed(2)
    model = task.model_for(build_model(body))
    kernel = model.text_head.output_layer.kernel
    kernel.assign(np.random.default_rng(0).normal(0.0, 1.0, kernel.shape))
    features = task.encode(columns(EXAMPLES[1]))
    batch = {name: features[name].to_tensor(0) for name in ("token_ids", "tag_ids")}
    logits = model(batch["token_ids"]).numpy()[0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    tags = batch["tag_ids"].numpy()[0]
    asked = np.flatnonzero(tags)
    loss, weight = task.loss(model, batch, training=False)
    assert float(weight) == len(asked) == 7
    assert float(loss) == pytest.approx(-np.log(shares[asked, tags[asked] - 1]).sum(), rel=1e-4)
    best = shares[asked].argmax(-1)
    outputs = task.signatures(model)["tag"](tf.constant([EXAMPLES[1]["text"]]))
    found = read(outputs)[0]
    assert found, "weights that find something"
    for (start, end, label), score in zip(found, outputs["score"][0].numpy()):
        assert {task.labels[(tag - 1) // 2] for tag in best[start:end]} == {label}
        assert score == pytest.approx(shares[asked].max(-1)[start:end].mean(), rel=1e-4)


def test_mistakes(tokenizers):
    task = make_task(tokenizers["byte"])
    with pytest.raises(
        UserError, match=r"the label 'ORG' is not among those of the training side: LOC, PER. Correct it"
    ):
        task.encode(columns(example("EU", [0, 2, "ORG"])))
    with pytest.raises(
        UserError, match=r"tagging needs spans; an example has only text. Set data.source to 'conll'"
    ):
        task.encode(columns({"text": "EU"}))
    with pytest.raises(UserError, match=r"spans are a JSON list of \[start, end, label\].*got 'LOC'"):
        task.encode(columns({"text": "EU", "spans": "LOC"}))
    with pytest.raises(
        UserError, match="tagging needs one label at least; no text of the training side has a span"
    ):
        make_task(tokenizers["byte"], [example("EU")])


@pytest.fixture(scope="module")
def random_tagger(tokenizers):
    """random_tagger(kind, max_length): a task, and its model with weights that find something."""

    def make(kind, max_length):
        task = make_task(tokenizers[kind], max_length=max_length)
        sizes = {"vocab_size": task.tokenizer.vocab_size, "num_layers": 1, "hidden_dim": 16}
        keras.utils.set_random_seed(2)
        model = task.model_for(
            build_model(TransformerEncoderConfig(num_heads=2, max_length=max_length, **sizes))
        )
        random = np.random.default_rng(4)
        for variable in model.trainable_variables:
            variable.assign(random.normal(0.0, 0.7, variable.shape))
        return task, model

    return make


LONG = [
    "Anna moved from New York to Paris, and then Hello Bob! " * 7 + "The end is Anna.",
    "我在北京爱李雷，李雷在上海读书😀。" * 9 + "最后是李雷",
]


@pytest.mark.parametrize("kind", ["byte", "wordpiece"])
def test_a_long_text_is_read_to_its_end(random_tagger, kind):
    """Each token has the tag that the window has in which it stands farthest from the edges, one window at a time."""
    task, model = random_tagger(kind, 34)
    room, stride = 32, 16
    tag = task.signatures(model)["tag"]
    outputs = tag(tf.constant([*LONG, "Anna 北京", ""]))
    found = read(outputs)
    for row, text in enumerate(LONG):
        ids, starts, ends = (each[0] for each in offsets(task.tokenizer, [text]))
        assert len(ids) > 3 * room
        firsts = [stride * n for n in range(1 + -(-(len(ids) - room) // stride))]
        best = {
            first: np.argmax(model(tf.constant([[1, *ids[first : first + room], 2]]))[0], axis=-1)
            for first in firsts
        }
        tags = []
        for place in range(len(ids)):
            first = max(firsts, key=lambda first: _context(place, first, room, len(ids)))
            tags.append(best[first][1 + place - first])
        asked = np.array(starts) >= 0
        tags, starts, ends = (np.array(each)[asked] for each in (tags, starts, ends))
        begins, inside, number = find_spans(tf.constant(tags, tf.int32), tf.zeros(len(tags), tf.int64))
        expected = [
            [int(starts[inside][number == n][0]), int(ends[inside][number == n][-1])]
            for n in range(int(tf.reduce_sum(tf.cast(begins, tf.int32))))
        ]
        assert [span[:2] for span in found[row]] == expected
        assert found[row][-1][1] > len(text) - 16
        alone = tag(tf.constant([text]))
        assert read(alone) == [found[row]]
        count = len(found[row])
        np.testing.assert_allclose(alone["score"][0, :count], outputs["score"][row, :count], atol=1e-4)


def _context(place, first, room, size):
    if not first <= place < first + room:
        return -1
    after = first + room - 1 - place if first + room < size else size
    # Of two windows with the same context the later one, as the middle of an even overlap says.
    return min(place - first if first else size, after) + first / (size + 1e6)


@pytest.mark.parametrize("kind", ["byte", "sentencepiece"])
def test_a_text_of_one_window_has_the_tags_of_its_row(random_tagger, kind):
    task, model = random_tagger(kind, 34)
    for text in ("Anna in New York", "我在北京爱李雷"):
        ids = task.tokenizer.tokenize(tf.constant([text])).to_list()[0]
        assert len(ids) <= 32
        shares = tf.nn.softmax(model(tf.constant([[1, *ids, 2]])))[0, 1:-1]
        tokens = tf.ragged.constant([ids], tf.int32)
        np.testing.assert_allclose(task._shares(model, tokens), shares, rtol=1e-5)
