"""The benchmark of padding: what it counts."""

import importlib.util
import pathlib

import pytest
import tensorflow as tf

PROGRAM = pathlib.Path(__file__).parents[1] / "benchmarks/padding.py"


class TwoWidths:
    """Batches of two rows, whose sources have one token less than their targets."""

    def dataset(self):
        def rows():
            for width in (4, 2, 4):
                ids = tf.constant([[7] * width, [7] + [9] * (width - 1)])
                yield {"token_ids": ids, "source_ids": ids[:, 1:], "loss_weights": tf.ones([2, width])}

        return tf.data.Dataset.from_generator(
            rows,
            output_signature={
                "token_ids": tf.TensorSpec([2, None], tf.int32),
                "source_ids": tf.TensorSpec([2, None], tf.int32),
                "loss_weights": tf.TensorSpec([2, None]),
            },
        )


def test_padding_of_tokens_and_sources():
    spec = importlib.util.spec_from_file_location("padding_benchmark", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    whole = module.count(TwoWidths(), pad_id=9, num_batches=5)
    # Of 8 + 6, 4 + 2 and 8 + 6 positions, 5 + 3, 3 + 1 and 5 + 3 are tokens.
    assert whole == {"padding": pytest.approx(14 / 34), "shapes": 2, "tokens": pytest.approx(20 / 3)}
    assert module.count(TwoWidths(), pad_id=9, num_batches=1)["shapes"] == 1
