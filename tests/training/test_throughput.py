"""The peak is a number of this machine, so only its order can be tested; the count of operations is exact."""

from tflm.training.logs import batch_shares, peak_flops, training_flops_per_token


def test_the_peak_is_that_of_a_machine():
    for dtype in ("float32", "bfloat16"):
        assert 1e7 < peak_flops(dtype, size=128, rounds=2) < 1e16


def test_six_operations_a_parameter():
    assert training_flops_per_token(1000) == 6000.0


def test_padding_is_of_all_positions_and_waiting_of_all_seconds():
    values = {"tokens": [60.0, 20.0], "positions": [80.0, 80.0], "data_seconds": [0.5, 0.25]}
    assert batch_shares(values, seconds=3.0) == {"padding": 0.5, "data_wait": 0.25}
