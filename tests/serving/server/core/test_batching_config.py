"""TensorFlow Serving's batching parameters, read strictly."""

import os

import pytest

from tflm.errors import UserError
from tflm.serving.server.core.batching_config import BatchingConfig, read_batching_file

GOOD = """
# 批处理
max_batch_size { value: 32 }
batch_timeout_micros: { value: 5000 }
max_enqueued_batches < value: 8 >
num_batch_threads { value: 3 };
thread_pool_name { value: "threads" }
allowed_batch_sizes: 4, allowed_batch_sizes: 0x10
allowed_batch_sizes: [ 24, 32 ]
pad_variable_length_inputs: true
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 16 }
"""


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "batching.config"
        path.write_text(text, encoding="utf-8")
        return read_batching_file(str(path))

    return from_text


def test_a_file(read):
    assert read(GOOD) == BatchingConfig(
        max_batch_size=32,
        batch_timeout_micros=5000,
        max_enqueued_batches=8,
        num_batch_threads=3,
        allowed_batch_sizes=(4, 16, 24, 32),
        pad_variable_length_inputs=True,
        enable_large_batch_splitting=True,
        max_execution_batch_size=16,
    )


def test_what_is_not_told_has_the_defaults_of_the_server(read):
    expected = BatchingConfig(1000, 0, 10, os.cpu_count() or 1, (), False, False, None)
    assert read("") == BatchingConfig() == expected


def test_a_zero_is_told(read):
    assert read("batch_timeout_micros {}").batch_timeout_micros == 0
    with pytest.raises(UserError, match="max_batch_size is 0; expected at least 1"):
        read("max_batch_size {}")


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "max_batch_size { value: 4 }\nmax_size: 3",
            r"line 2:1 : .*no field named \"max_size\".*It may have: max_b",
        ),
        ("max_batch_size: 32", "line 1:.*such as: max_batch_size { value: 32 }"),
        ('\n\nmax_batch_size { value: "many" }', "line 3:"),
        ("max_batch_size { value: 4.5 }", "line 1:"),
        ("max_batch_size { value: 4 } max_batch_size { value: 5 }", "line 1:.*max_batch_size"),
        ("pad_variable_length_inputs: 2", "line 1:"),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: 2",
            "last of allowed_batch_sizes is 2; .* max_batch_size, 4",
        ),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: 4 allowed_batch_sizes: 4",
            r"allowed_batch_sizes are \[4, 4\]; expected each larger than the last",
        ),
        ("allowed_batch_sizes: 0 allowed_batch_sizes: 1000", r"allowed_batch_sizes are \[0, 1000\]"),
        ("num_batch_threads { value: -1 }", "num_batch_threads is -1; expected at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1; expected 0 or more"),
        ("max_execution_batch_size { value: 3 }", "is for enable_large_batch_splitting"),
        (
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 1001 }",
            "max_execution_batch_size is 1001; expected 1 to max_batch_size, 1000",
        ),
    ],
)
def test_what_is_wrong_is_said(read, text, words):
    with pytest.raises(UserError, match=f"(?s)--batching_parameters_file=.*batching.config: .*{words}"):
        read(text)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"--batching_parameters_file=.*none: cannot be read"):
        read_batching_file(str(tmp_path / "none"))
