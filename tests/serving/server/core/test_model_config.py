"""The text file of TensorFlow Serving, read; what is wrong in it is said."""

import pytest

from tflm.errors import UserError
from tflm.serving.server import ModelConfig, read_model_config_file

GOOD = """
# 两个模型
model_config_list: {
  config: { name: "聊天" base_path: "saved_models/chat" model_platform: "tensorflow" }
  config {
    name: "b", base_path: "/models/b"
    model_version_policy { specific { versions: 4 versions: 2 } }
    version_labels { key: "stable" value: 2 }
  }
  config { name: "c" base_path: "c" model_version_policy { latest { num_versions: 3 } } }
  config { name: "d" base_path: "d" model_version_policy { all {} } }
}
"""


@pytest.fixture
def read(tmp_path):
    def from_text(text, encoding="utf-8"):
        path = tmp_path / "models.config"
        path.write_text(text, encoding=encoding)
        return read_model_config_file(str(path))

    return from_text


def test_a_file(read):
    assert read(GOOD) == [
        ModelConfig("聊天", "saved_models/chat"),
        ModelConfig("b", "/models/b", versions=(4, 2), labels={"stable": 2}),
        ModelConfig("c", "c", num_latest=3),
        ModelConfig("d", "d", num_latest=0),
    ]


def test_a_file_in_another_encoding(read):
    for encoding in ("utf-8-sig", "utf-16"):
        assert read(GOOD, encoding) == read(GOOD)
    with pytest.raises(UserError, match=r"--model_config_file=.*looks like UTF-16-LE without"):
        read(GOOD, "utf-16-le")
    with pytest.raises(UserError, match=r"--model_config_file=.*not UTF-8: .*save the file as UTF-8"):
        read(GOOD, "gb18030")


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "model_config_list {",
            "models.config: line 1:.*Expected TensorFlow Serving's form: model_config_list",
        ),
        ("models: 3", 'line 1:1 : .*"models"'),
        (
            'model_config_list { config { name: "a" } }',
            "needs a name and a base_path; got name 'a' and base_path ''",
        ),
        (
            'model_config_list { config { name: "a" base_path: "a" model_platform: "torch" } }',
            "model 'a': model_platform is 'torch'; expected \"tensorflow\"",
        ),
        (
            'model_config_list { config { name: "a" base_path: "a" } config { name: "a" base_path: "b" } }',
            "has 'a' more than once. Names must be different",
        ),
        (
            'model_config_list { config { name: "a" base_path: "a" model_version_policy { specific {} } } }',
            "model 'a': model_version_policy.specific names no versions",
        ),
        ("custom_model_config {}", "custom_model_config is not served here. Give a model_config_list"),
    ],
)
def test_what_is_wrong_is_said(read, text, words):
    with pytest.raises(UserError, match=words):
        read(text)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"--model_config_file=.*none: cannot be read"):
        read_model_config_file(str(tmp_path / "none"))
