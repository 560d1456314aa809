"""Texts there and back: what is written, what is left out, what is refused; and with models."""

import json

import pytest

import tflm
from tests.apps import small_models
from tflm.data import DataConfig, back_translate, read_examples
from tflm.errors import UserError


@pytest.fixture
def reviews(write):
    rows = [f"很好 {n}\t好" for n in range(20)] + [f"Not good {n}\tbad" for n in range(20)]
    path = write("reviews.tsv", "\n".join(["text\tlabel", *rows]))
    return DataConfig(source="tsv", path=path, text_column="text", label_column="label", eval_fraction=0.2)


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def there(texts):
    return [text.replace("很", "非常").replace("Not", "hardly") for text in texts]


def test_each_example_is_followed_by_its_translation(reviews, tmp_path):
    def back(texts):
        """Empty, or the text itself but for its case, where nothing is to be added."""
        return ["" if text.endswith(" 3") else text.replace("hardly good 4", "NOT  good 4") for text in texts]

    count = back_translate(reviews, str(tmp_path / "more"), there, back)
    before, written = list(read_examples(reviews, "train")), lines_of(tmp_path / "more" / "train.jsonl")
    added = [{**each, "text": there([each["text"]])[0]} for each in before]
    kept = [each for each in added if not each["text"].endswith((" 3", "good 4"))]
    assert [each for each in written if each in before] == before
    assert [each for each in written if each not in before] == kept and len(kept) == count > 20
    assert written.index(before[5]) < written.index(before[6])
    assert lines_of(tmp_path / "more" / "eval.jsonl") == list(read_examples(reviews, "eval"))


def test_models_translate(reviews, tmp_path):
    path = small_models.save(tmp_path / "pairs", "pairs", "generate", "tokenize", serving_default="write")
    model = tflm.load(path)
    count = back_translate(reviews, str(tmp_path / "more"), model.translate, model.translate)
    texts = [each["text"] for each in lines_of(tmp_path / "more" / "train.jsonl")]
    assert count == len(texts) // 2 and {texts[1], texts[-1]} == {f"<<{texts[0]}>>", f"<<{texts[-2]}>>"}


def test_refusals(reviews, tmp_path, write):
    with pytest.raises(
        UserError, match=r"back_translate changes 'source', and the examples have text, label; give"
    ):
        back_translate(reviews, str(tmp_path / "a"), there, there, key="source")
    tagged = DataConfig(source="segmented", path=write("words.utf8", "很 好\n我 们\n" * 9), eval_fraction=0.0)
    with pytest.raises(
        UserError, match=r"the examples have text, spans; give the key of a text without labelled"
    ):
        back_translate(tagged, str(tmp_path / "b"), there, there)
    with pytest.raises(UserError, match=r"texts were translated to 1; expected one for one"):
        back_translate(reviews, str(tmp_path / "c"), there, lambda texts: texts[:1])
    assert not list((tmp_path / "c").iterdir())
