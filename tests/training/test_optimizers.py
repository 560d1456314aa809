"""AdamW against NumPy, Muon against Keras's own, and which variables decay or are Muon's."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.layers import PooledHead
from tflm.models import HeadModel, build_model
from tflm.training import TrainingConfig
from tflm.training.optimizers import Muon, make_optimizer

CONFIG = TrainingConfig(
    peak_learning_rate=0.1,
    schedule="linear",
    warmup_steps=2,
    num_steps=10,
    weight_decay=0.3,
    beta_1=0.8,
    beta_2=0.9,
)
SHAPES = {
    "wide_kernel": (4, 6),
    "tall_kernel": (6, 4),
    "square_kernel": (5, 5),
    "bias": (4,),
    "embeddings": (7, 3),
}


def learning_rate(step):
    if step < 2:
        return 0.1 * (step + 1) / 2
    return 0.1 * (0.1 + 0.9 * (1 - (step - 2) / 8))


@pytest.fixture
def case():
    """Values and three steps of gradients by name."""
    rng = np.random.default_rng(2)
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    gradients = [
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()} for _ in range(3)
    ]
    return values, gradients


def take_steps(make, values, gradients):
    variables = [keras.Variable(value, name=name) for name, value in values.items()]
    optimizer = make(variables)
    for step in gradients:
        optimizer.apply([tf.constant(gradient) for gradient in step.values()], variables)
    return {name: np.array(variable) for name, variable in zip(values, variables, strict=True)}


def adamw_slowly(value, gradients, decays):
    """Loshchilov and Hutter, 2019, algorithm 2, in float64."""
    value, first, second = value.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients):
        first, second = (
            0.8 * first + 0.2 * gradient,
            0.9 * second + 0.1 * np.square(gradient, dtype=np.float64),
        )
        mean, variance = first / (1 - 0.8 ** (step + 1)), second / (1 - 0.9 ** (step + 1))
        rate = learning_rate(step)
        value = value - rate * mean / (np.sqrt(variance) + 1e-8) - (rate * 0.3 * value if decays else 0)
    return value


def test_adamw_against_numpy(case):
    values, gradients = case
    found = take_steps(lambda variables: make_optimizer(CONFIG, variables), values, gradients)
    for name, value in values.items():
        expected = adamw_slowly(value, [step[name] for step in gradients], decays="kernel" in name)
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)


PEERS = {
    "muon": lambda rate, iterations: keras.optimizers.Muon(
        rate,
        adam_beta_1=0.8,
        adam_beta_2=0.9,
        weight_decay=0.3,
        adam_weight_decay=0.3,
        adam_lr_ratio=0.5,
        ns_steps=iterations,
    ),
    "adafactor": lambda rate, _: keras.optimizers.Adafactor(rate, relative_step=False, weight_decay=0.3),
    "lion": lambda rate, _: keras.optimizers.Lion(rate, beta_1=0.8, beta_2=0.9, weight_decay=0.3),
    "sgd": lambda rate, _: keras.optimizers.SGD(rate, momentum=0.8, weight_decay=0.3),
}


@pytest.mark.parametrize("name", PEERS)
def test_the_others_are_those_of_keras(case, name):
    values, gradients = case
    config = dataclasses.replace(CONFIG, optimizer=name, muon_learning_rate_ratio=0.5)

    def make_peer(variables):
        peer = PEERS[name](make_optimizer(config, variables)._learning_rate, config.muon_iterations)
        peer.exclude_from_weight_decay(var_names=["bias", "embeddings"])
        peer.build(variables)
        return peer

    found = take_steps(lambda variables: make_optimizer(config, variables), values, gradients)
    expected = take_steps(make_peer, values, gradients)
    for name in values:
        assert np.abs(found[name] - values[name]).max() > 0.01
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)


def test_the_state_of_adafactor_is_a_row_and_a_column_of_each_matrix():
    variables = [
        keras.Variable(np.ones(SHAPES[name], np.float32), name=name) for name in ("wide_kernel", "bias")
    ]
    optimizer = make_optimizer(dataclasses.replace(CONFIG, optimizer="adafactor"), variables)
    shapes = sorted(tuple(each.shape) for each in optimizer.variables if len(each.shape))
    assert shapes == [(4,), (4,), (6,)]


def test_rules_give_rates_and_decays_by_name(case):
    """SGD without momentum in NumPy: the last rule that matches counts, for weight decay and L2 alike."""
    values, gradients = case
    config = dataclasses.replace(
        CONFIG,
        optimizer="sgd",
        beta_1=0.0,
        l2=0.2,
        rate_rules=("kernel=0.5", "^wide=2", "bias=0"),
        decay_rules=("square=0", "embeddings=0.25"),
    )
    rates = {"wide_kernel": 2.0, "tall_kernel": 0.5, "square_kernel": 0.5, "bias": 0.0, "embeddings": 1.0}
    decays = {"wide_kernel": 1.0, "tall_kernel": 1.0, "square_kernel": 0.0, "bias": 0.0, "embeddings": 0.25}
    found = take_steps(lambda variables: make_optimizer(config, variables), values, gradients)
    for name, value in values.items():
        for step, gradient in enumerate(gradients):
            rate = learning_rate(step) * rates[name]
            value = value - rate * 0.3 * decays[name] * value
            value = value - rate * (gradient[name] + 0.2 * decays[name] * value)
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(found["bias"], values["bias"])


def test_a_rule_that_matches_nothing():
    variables = [keras.Variable(np.ones([2, 2], np.float32), name="kernel")]
    config = dataclasses.replace(CONFIG, decay_rules=("kernel=1", "kernels=0"))
    with pytest.raises(UserError, match=r"decay_rules: no trained variable matches 'kernels=0'.*kernel"):
        make_optimizer(config, variables)


@pytest.mark.parametrize("rule", ["embeddings", "=2", "(=1", "a=-1", "a=nan", "a=inf", "a=two"])
def test_what_is_no_rule(rule):
    with pytest.raises(ValueError, match=r'rate_rules: each is "PATTERN=FACTOR"'):
        TrainingConfig(rate_rules=(rule,))


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8)])
def test_an_update_of_muon_is_nearly_orthogonal(shape):
    """Five iterations bring singular values that lie far apart near to 1, and keep their directions."""
    rng = np.random.default_rng(0)
    least = min(shape)
    left, _, right = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    spread = np.geomspace(0.05, 1.0, least)
    update = Muon(0.1).zeropower_via_newtonschulz5(tf.constant(left * spread @ right, tf.float32), 5).numpy()
    rotated = left.T @ update @ right.T
    assert (np.abs(rotated - np.diag(np.diag(rotated))) < 1e-3).all()
    assert (np.diag(rotated) > 0.5).all() and (np.diag(rotated) < 1.3).all()


MODELS = ["plain_transformer", "lstm", "everything"]


@pytest.fixture(params=MODELS)
def model(request, small_run):
    if request.param == "everything":
        config = dataclasses.replace(
            small_run.MODELS["transformer"],
            norm="layer_norm",
            positions="learned",
            use_bias=True,
            qk_norm=True,
            tied_output=False,
        )
    else:
        config = dataclasses.replace(small_run.MODELS[request.param], tied_output=False)
    model = build_model(config)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(1.0, 0.1, variable.shape))
    return model


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_matrices_decay_and_nothing_else(model, name):
    """With gradients of zero, all that changes a variable is the decay."""
    optimizer = make_optimizer(dataclasses.replace(CONFIG, optimizer=name), model.trainable_variables)
    before = [np.array(variable) for variable in model.trainable_variables]
    optimizer.apply([tf.zeros(variable.shape) for variable in model.trainable_variables])
    for variable, value in zip(model.trainable_variables, before, strict=True):
        decays = variable.path.endswith("kernel")
        assert decays == (len(variable.shape) == 2 and "embedding" not in variable.path)
        expected = value * (1 - 0.05 * 0.3) if decays else value
        np.testing.assert_allclose(variable, expected, rtol=1e-5, err_msg=variable.path)


@pytest.mark.parametrize("has_own_head", [False, True])
def test_muon_is_for_the_matrices_inside(model, has_own_head):
    """Vectors, embeddings and every head are AdamW's, which keeps a second moment of them."""
    if has_own_head:
        model = HeadModel(model, PooledHead(3, hidden_layer=True, name="classification_head"))
    optimizer = make_optimizer(dataclasses.replace(CONFIG, optimizer="muon"), model.trainable_variables)
    kept = {v.path.split("/", 1)[1] for v in optimizer.variables if v.path.endswith("_velocity")}
    for variable in model.trainable_variables:
        is_inside = variable.path.endswith("kernel") and "head/" not in variable.path
        has_velocity = f"{variable.path.replace('/', '_')}_velocity" in kept
        assert has_velocity != is_inside, variable.path


def test_the_learning_rate_follows_the_schedule():
    variables = [keras.Variable(np.ones([2, 2], np.float32), name="kernel")]
    optimizer = make_optimizer(CONFIG, variables)
    for step in range(4):
        assert float(optimizer.learning_rate) == pytest.approx(learning_rate(step))
        optimizer.apply([tf.ones([2, 2])], variables)


@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "sgd"])
def test_a_factor_is_a_learning_rate_of_its_own(case, name):
    """Updates and decay: with a factor of 1/2, every variable is to the last bit what half the rate gives."""
    values, gradients = case
    config = dataclasses.replace(CONFIG, optimizer=name)
    factors = [0.5 if name in ("wide_kernel", "bias") else 1.0 for name in values]

    def take(config, factors=()):
        return take_steps(lambda variables: make_optimizer(config, variables, factors), values, gradients)

    slow = take(dataclasses.replace(config, peak_learning_rate=CONFIG.peak_learning_rate / 2))
    fast, found = take(config), take(config, factors)
    for variable, factor in zip(values, factors, strict=True):
        np.testing.assert_array_equal(found[variable], (slow if factor == 0.5 else fast)[variable])
        assert np.any(slow[variable] != fast[variable])


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_factors_of_one_change_no_bit(case, name):
    values, gradients = case
    config = dataclasses.replace(CONFIG, optimizer=name)
    one, none = (
        take_steps(lambda variables, f=factors: make_optimizer(config, variables, f), values, gradients)
        for factors in ([1.0] * len(values), [])
    )
    for variable in values:
        np.testing.assert_array_equal(one[variable], none[variable])


def test_the_learning_rate_that_is_shown_has_no_factor():
    variables = [keras.Variable(np.ones([2, 2], np.float32), name="kernel")]
    optimizer = make_optimizer(CONFIG, variables, [0.25])
    optimizer.apply([tf.ones([2, 2])], variables)
    assert float(optimizer.learning_rate) == pytest.approx(learning_rate(1))
