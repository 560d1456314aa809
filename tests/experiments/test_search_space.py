"""What a study searches: ranges as text, their checks, and the ranges of a recipe that names none."""

import dataclasses

import pytest

from tflm.errors import UsageError, UserError
from tflm.experiments.search_space import (
    StudyConfig,
    check_same_study,
    default_search,
    new_study,
    parse_search,
    setting,
    value_in,
)
from tflm.recipes import load_preset


@pytest.fixture(scope="module")
def decoder():
    return load_preset("tiny_decoder")


def test_ranges(decoder):
    rate, dropout, width, layers, optimizer, norm, path = parse_search(
        decoder,
        [
            "training.peak_learning_rate=1e-4..1e-2:log",
            " model.dropout = 0 .. .3 ",
            "model.hidden_dim=32..100:step=32",
            "model.num_layers=1..4",
            "training.optimizer=adamw, muon",
            "model.qk_norm=true,false",
            'word_vectors=["向量.txt", "a,b.txt"]',
        ],
    )
    assert (rate.low, rate.high, rate.log, rate.step, rate.is_int) == (1e-4, 1e-2, True, 0, False)
    assert (dropout.low, dropout.high, dropout.log, dropout.is_int) == (0.0, 0.3, False, False)
    assert (width.low, width.high, width.step) == (32, 96, 32), "the last value that the steps reach"
    assert (layers.low, layers.high, layers.step, layers.is_int) == (1, 4, 1, True)
    assert (optimizer.choices, norm.choices) == (("adamw", "muon"), (True, False))
    assert path.choices == ("向量.txt", "a,b.txt")
    assert str(rate) == "training.peak_learning_rate=1e-4..1e-2:log"


def test_values(decoder):
    rate, width, optimizer = parse_search(
        decoder,
        [
            "training.peak_learning_rate=1e-4..1.2345e-2:log",
            "model.hidden_dim=32..96:step=32",
            "training.optimizer=adamw,muon",
        ],
    )
    assert [rate.has(value) for value in (1e-4, 0.005, 0.02)] == [True, True, False]
    assert [width.has(value) for value in (32, 64, 80, 128)] == [True, True, False, False]
    assert optimizer.has("muon") and not optimizer.has("lion")
    assert rate.rounded(0.00234567) == 0.00235
    assert rate.rounded(0.0123449) == 0.0123, "as many digits as one can read"
    assert rate.rounded(1.0000001e-4) == 1e-4, "in the range"
    assert width.rounded(64) == 64
    assert value_in(decoder, "model.hidden_dim") == 64 and value_in(decoder, "word_vectors") == ""
    assert setting("data.languages", ["中文"]) == 'data.languages=["中文"]'


@pytest.mark.parametrize(
    "text, words",
    [
        ("training.peak_learning_rate", "'training.peak_learning_rate' has no '='. Write it as FIELD=LOW..HIGH"),
        ("training.peak_learning_rate=high..low", "is no range. Write it as FIELD=LOW..HIGH"),
        ("training.peak_learning_rate=1e-2..1e-4", "the first number is below the second"),
        ("training.peak_learning_rate=0.1..0.1", "A single value is given by --set."),
        ("training.peak_learning_rate=0..0.1:log", "a logarithmic range begins above 0"),
        ("training.peak_learning_rate=1e-3..1e-2:linear", "is no range"),
        ("model.num_layers=1..2.5", "model.num_layers takes whole numbers"),
        ("model.num_layers=1..4:step=4", "the step is above 0 and at most 3"),
        ("model.num_layers=2", "expected two values or more, all different"),
        ("model.num_layers=2,2", "expected two values or more, all different"),
        ("training.optimizer=[1", "is not JSON"),
        ("model=a,b", "model is a section. Name one of its fields."),
        ("data.path=诗.txt,歌.txt", "data.path changes the held-out data"),
        ("tokenizer.vocab_size=100,200", "changes the vocabulary, and losses of other tokens cannot be compared"),
        ("decoding.top_k=1,2", "does not change what is learned. Give it by --set."),
    ],
)  # fmt: skip
def test_wrong_ranges(decoder, text, words):
    with pytest.raises(UsageError) as caught:
        parse_search(decoder, [text])
    assert str(caught.value).startswith("--search") and words in str(caught.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("model.droput=0..0.3", r"no field model\.droput\. Did you mean model\.dropout\?"),
        ("modell.dropout=0..0.3", r"no field modell\. Did you mean model\?"),
        ("training.peak_learning_rate=-1..1", r"^--search=training\.peak_learning_rate=-1\.\.1: training: peak_"),
        ("training.optimizer=adamw,adamx", r"optimizer is one of adamw, .*; got 'adamx'"),
        ("model.num_layers=two,three", r"model\.num_layers takes int; got 'two'"),
        ("model.hidden_dim=63,65", r"hidden_dim"),
    ],
)  # fmt: skip
def test_fields_and_values_that_the_config_refuses(decoder, text, words):
    with pytest.raises(UserError, match=words):
        parse_search(decoder, [text])


def test_a_width_may_fit_only_together_with_other_fields(decoder):
    (found,) = parse_search(decoder, ["model.hidden_dim=63,64"])
    assert found.choices == (63, 64)


def test_a_field_has_one_range(decoder):
    with pytest.raises(UsageError, match=r"--search has model\.dropout twice"):
        parse_search(decoder, ["model.dropout=0..0.1", "model.dropout=0..0.2"])


def test_the_ranges_of_a_recipe_contain_its_values(decoder):
    vectors = load_preset("tiny_word_vectors")
    no_decay = dataclasses.replace(decoder.training, weight_decay=0.0, warmup_steps=0)
    for config in (decoder, vectors, dataclasses.replace(decoder, training=no_decay)):
        ranges = parse_search(config, default_search(config))
        has_dropout = hasattr(config.model, "dropout")
        assert [each.field for each in ranges][3:] == (["model.dropout"] if has_dropout else [])
        outside = [each.field for each in ranges if not each.has(value_in(config, each.field))]
        assert outside == ([] if config.training.warmup_steps else ["training.warmup_steps"])
    for dropout, text in (
        (0.0, "0..0.3:step=0.1"),
        (0.15, "0..0.3:step=0.05"),
        (0.12, "0..0.3"),
        (0.4, "0..0.4:step=0.1"),
    ):
        model = dataclasses.replace(decoder.model, dropout=dropout)
        assert default_search(dataclasses.replace(decoder, model=model))[3] == f"model.dropout={text}"
    rate = parse_search(decoder, default_search(decoder))[0]
    assert (rate.low, rate.high, rate.log) == (6e-4, 1.5e-2, True)


def test_a_new_study_has_the_measure_of_the_recipe(decoder):
    assert new_study(decoder, (), (), {"measure": None, "seed": 3}) == StudyConfig(
        decoder, tuple(default_search(decoder)), "loss", seed=3
    )
    kept = dataclasses.replace(decoder.training, keep_best="Eval accuracy")
    assert new_study(dataclasses.replace(decoder, training=kept), (), (), {}).measure == "accuracy"
    with pytest.raises(UserError, match=r"^sampler is one of tpe, random; got 'grid'\.$"):
        new_study(decoder, (), (), {"sampler": "grid"})
    whole = dataclasses.replace(decoder.data, eval_fraction=0.0)
    with pytest.raises(
        UserError, match=r"^trials are compared on held-out data, and the recipe has none\. Set data\."
    ):
        new_study(dataclasses.replace(decoder, data=whole), (), (), {})


def test_another_study_is_refused_and_the_differences_are_named(decoder):
    search = ("model.dropout=0..0.3", "model.num_layers=1,2")
    found = new_study(decoder, search, (), {})
    check_same_study(found, decoder, (), {"seed": None, "measure": "Loss"}, "studies/a")
    check_same_study(found, decoder, ("model.num_layers=1, 2", "model.dropout=0.0..3e-1"), {}, "studies/a")
    longer = dataclasses.replace(decoder, training=dataclasses.replace(decoder.training, num_steps=7))
    with pytest.raises(UserError) as caught:
        check_same_study(
            found, longer, ("model.dropout=0..0.5", "model.num_layers=1,2"), {"seed": 1}, "studies/诗"
        )
    assert str(caught.value) == (
        "'studies/诗' holds another study: training.num_steps was 300, is 7; model.dropout was 0..0.3, is 0..0.5; seed "
        "was 0, is 1. Give another --workdir, or the same values to continue that one."
    )
    with pytest.raises(UserError, match=r"model\.num_layers was 1,2, is not searched"):
        check_same_study(found, decoder, ("model.dropout=0..0.3",), {}, "studies/a")
