"""What the settings refuse, and what is written into a config."""

import pytest

from tflm.compression import DistillationConfig, PruningConfig
from tflm.config import from_dict, override, to_dict
from tflm.errors import UserError
from tflm.experiments import ExperimentConfig
from tflm.recipes import load_preset


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": 0.0}, "temperature is above 0; got 0.0"),
        ({"alpha": 1.5}, "alpha is from 0 to 1; got 1.5"),
        ({"hidden": -1.0}, "hidden is not negative; got -1.0"),
    ],
)
def test_distillation_refuses(settings, words):
    with pytest.raises(ValueError, match=words):
        DistillationConfig("runs/a", **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"share": 1.0}, "share is above 0 and below 1; got 1.0"),
        ({"structure": ("neurons",)}, "some of heads, units and layers; got 'neurons'"),
        ({"structure": ()}, "heads, units and layers; got"),
        ({"structure": ("heads", "weights")}, "alone, or some of heads, units and layers; got"),
        ({"structure": ("4:4",)}, "has 0 < N < M, such as 2:4; got '4:4'"),
        ({"structure": ("1:4",)}, "'1:4' removes a share of 0.75; got share=0.5"),
        ({"begin": 0.7}, "0 <= begin <= end <= 1; got begin=0.7 and end=0.6"),
        ({"batches": 0}, "batches is at least 1; got 0 and 0"),
    ],
)
def test_pruning_refuses(settings, words):
    with pytest.raises(ValueError, match=words):
        PruningConfig("runs/a", **settings)


def test_a_config_without_them_is_written_as_before():
    config = load_preset("tiny_gpt")
    assert not {"distillation", "pruning"} & to_dict(config).keys()
    changed = override(config, ["distillation.teacher=runs/大", 'pruning.structure=["heads", "units"]'])
    assert from_dict(ExperimentConfig, to_dict(changed)) == changed
    assert changed.pruning.structure == ("heads", "units")
    with pytest.raises(UserError, match="alpha is from 0 to 1"):
        override(config, ["distillation.alpha=2"])
