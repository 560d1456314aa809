"""Cuts of RE2 against words of Oniguruma."""

import pytest
import tensorflow as tf
from tokenizers import Regex, pre_tokenizers

from tests.text.published import nasty_texts
from tflm.errors import UserError
from tflm.text.split_patterns import CUT, DIGITS, GPT2, LLAMA3, O200K, QWEN2, split_passes


def words(pattern, texts, behavior="Isolated"):
    text = tf.constant([text.encode() for text in texts])
    for each, rewrite in split_passes(pattern, behavior):
        text = tf.strings.regex_replace(text, each, rewrite)
    return [[word.decode() for word in row.split(CUT) if word] for row in text.numpy()]


@pytest.mark.parametrize(
    "pattern", [GPT2, QWEN2, LLAMA3, O200K, DIGITS, "[一-龥]+", r" ?[\p{P}\p{S}]+[\r\n]*"]
)
def test_same_words_as_tokenizers(pattern):
    texts = nasty_texts(1500)
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    assert words(pattern, texts) == [[word for word, _ in split.pre_tokenize_str(text)] for text in texts]


@pytest.mark.parametrize("behavior", ["MergedWithPrevious", "MergedWithNext"])
def test_behaviors(behavior):
    texts = ["a1b2", "1", "11a", "ab", "a12"]
    name = {"MergedWithPrevious": "merged_with_previous", "MergedWithNext": "merged_with_next"}[behavior]
    split = pre_tokenizers.Split(Regex(r"\p{N}"), name)
    wanted = [[word for word, _ in split.pre_tokenize_str(text)] for text in texts]
    assert words(r"\p{N}", texts, behavior) == wanted


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("a(?=b)", r"\(\?=b\)"),
        ("(?<!a)b", r"\(\?<!a\)b"),
        (r"\bx", r"\\\\bx"),
        ("x++", r"\+\+"),
        (r"\s+$", r"\$"),
        (r"(a)\1", r"\\\\1"),
        ("[a&&b]", "&&b"),
        ("[[:alpha:]]", r"\[:alpha:"),
        (r"[^\S]", r"\\\\S"),
        (r"\p{Han}+", r"\\\\p\{Han\}"),
        ("(?i:'ss)", r"\(\?i:'ss\)"),
        ("(?i:[st])", r"\(\?i:"),
    ],
)
def test_what_may_mean_something_else_is_refused(pattern, part):
    with pytest.raises(UserError, match=f"by a pattern with ['\"]{part}.*no known equal in RE2"):
        split_passes(pattern)
    with pytest.raises(UserError, match="the behavior 'Removed'; supported are Isolated, MergedWithPrevious"):
        split_passes("a", "Removed")
