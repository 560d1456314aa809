"""What is frozen stays to the last bit and costs no gradient; layers learn at rates of their own; both resume."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tflm.training.trainer as trainer_module
from tflm.errors import UserError
from tflm.layers import PooledHead
from tflm.models import (
    HeadModel,
    LSTMConfig,
    LSTMEncoderDecoderConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
    build_model,
)
from tflm.training import FineTuningConfig, Trainer
from tflm.training.fine_tuning import choose_trainable, depths_of, rate_factors
from tflm.training.optimizers import FusedAdamW
from tflm.training.schedules import WarmupSchedule

SIZES = {"vocab_size": 9, "hidden_dim": 4, "num_layers": 2}
CONFIGS = {
    "lstm": LSTMConfig(**SIZES, tied_output=False),
    "decoder": TransformerDecoderConfig(**SIZES, num_heads=2, tied_output=False),
    "encoder": TransformerEncoderConfig(**SIZES, num_heads=2, positions="learned"),
    "encoder_decoder": TransformerEncoderDecoderConfig(
        **SIZES, num_heads=2, num_decoder_layers=1, positions="relative"
    ),
    "lstm_encoder_decoder": LSTMEncoderDecoderConfig(**SIZES),
}


def with_head(config):
    return HeadModel(build_model(config), PooledHead(3, name="classification_head"))


def paths(variables):
    return {variable.path for variable in variables}


def weights_of(trainer):
    return {variable.path: np.array(variable) for variable in trainer.model.weights}


@pytest.mark.parametrize(
    "name, depths",
    [
        (
            "lstm",
            {
                "token_embedding": 0,
                "lstm_0/bias": 1,
                "lstm_1/kernel": 2,
                "/head/": 3,
                "classification_head": 3,
            },
        ),
        (
            "decoder",
            {"token_embedding": 0, "block_1/attention/query": 2, "decoder/final_norm": 3, "/head/": 3},
        ),
        (
            "encoder",
            {
                "token_embedding": 0,
                "segment_embedding": 0,
                "encoder/position_embedding": 0,
                "encoder/block_0/attention_norm": 1,
                "encoder/final_norm": 3,
                "head_transform": 3,
                "classification_head": 3,
            },
        ),
        (
            "encoder_decoder",
            {
                "encoder/position_bias": 0,
                "decoder/position_bias": 0,
                "encoder/block_1/feed_forward": 2,
                "encoder/final_norm": 2,
                "decoder/block_0/cross_attention/key": 3,
                "decoder/final_norm": 4,
            },
        ),
        (
            "lstm_encoder_decoder",
            {"/encoder_0/forward": 1, "/bridge_0": 2, "/decoder_1": 4, "/attention/key": 5},
        ),
    ],
)
def test_how_far_a_variable_is_from_the_tokens(name, depths):
    model = build_model(CONFIGS[name]) if "decoder" in name else with_head(CONFIGS[name])
    found = depths_of(model)
    for part, depth in depths.items():
        assert {value for path, value in found.items() if part in path} == {depth}, part
    assert all(
        value < max(found.values()) for path, value in found.items() if "block" in path or "lstm_" in path[9:]
    )


def test_the_factor_falls_by_layer_from_the_top():
    model = with_head(CONFIGS["decoder"])
    found = dict(zip([v.path for v in model.trainable_variables], rate_factors(model, 0.5), strict=True))
    assert found["transformer_decoder/token_embedding/embeddings"] == 0.125
    assert found["transformer_decoder/decoder/block_0/attention/query/kernel"] == 0.25
    assert found["transformer_decoder/decoder/block_1/feed_forward/outer/kernel"] == 0.5
    assert found["transformer_decoder/decoder/final_norm/scale"] == 1.0
    assert [rate for path, rate in found.items() if path.endswith("_head/output/bias")] == [1.0]


@pytest.mark.parametrize("name", ["lstm", "decoder", "encoder"])
@pytest.mark.parametrize(
    "freeze, trains",
    [
        ("none", lambda depth, is_head: True),
        ("embeddings", lambda depth, is_head: depth > 0),
        ("layers:1", lambda depth, is_head: depth > 1),
        ("body", lambda depth, is_head: is_head),
    ],
)
def test_what_trains(name, freeze, trains):
    model = with_head(CONFIGS[name])
    before = model.num_parameters()
    everything = paths(model.trainable_variables)
    depths = depths_of(model)
    num_frozen = choose_trainable(model, FineTuningConfig(freeze=freeze))
    expected = {p for p in everything if trains(depths[p], p.startswith("classification_head/"))}
    assert paths(model.trainable_variables) == expected
    assert model.num_parameters() + num_frozen == before


def test_a_language_model_keeps_its_output_layer_when_the_body_is_frozen():
    model = build_model(CONFIGS["decoder"])
    choose_trainable(model, FineTuningConfig(freeze="body"))
    assert paths(model.trainable_variables) == {"transformer_decoder/head/kernel"}


def test_nothing_to_train():
    tied = dataclasses.replace(CONFIGS["decoder"], tied_output=True)
    with pytest.raises(
        UserError, match=r"freeze='body' leaves nothing to train: .* or set model.tied_output=false"
    ):
        choose_trainable(build_model(tied), FineTuningConfig(freeze="body"))


def test_more_layers_than_there_are():
    with pytest.raises(UserError, match=r"fine_tuning.freeze='layers:3', but the model has 2 layers."):
        choose_trainable(build_model(CONFIGS["lstm"]), FineTuningConfig(freeze="layers:3"))


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"freeze": "layers"}, "freeze must be none, body, embeddings or layers:N; got 'layers'"),
        ({"freeze": "layers:-1"}, "freeze must be none, body"),
        ({"layer_decay": 0.0}, "layer_decay is above 0 and at most 1; got 0.0"),
        ({"layer_decay": 1.5}, "layer_decay is above 0 and at most 1; got 1.5"),
        ({"lora_rank": -1}, "lora_rank is not negative and lora_alpha is above 0; got -1 and 16.0"),
        ({"lora_rank": 2, "lora_alpha": 0.0}, "got 2 and 0.0"),
        (
            {"lora_rank": 2, "freeze": "layers:1"},
            "lora_rank=2 freezes the whole body; got freeze='layers:1' too",
        ),
    ],
)
def test_settings_that_cannot_be_meant(fields, words):
    with pytest.raises(ValueError, match=words):
        FineTuningConfig(**fields)


FROZEN = {"freeze": "layers:1", "layer_decay": 0.5}
LORA = {"lora_rank": 2, "layer_decay": 0.9}


def test_frozen_variables_keep_every_bit_and_have_no_slots(small_run, tmp_path):
    """With decay and dropout, which would both show."""
    options = {"weight_decay": 0.5, "dropout_masks": "per_device"}  # their generators count
    trainer = small_run.make_trainer(tmp_path, "transformer", fine_tuning=FROZEN, **options)
    before = weights_of(trainer)
    trainer.train(small_run.Numbers(), None)
    changed = {path for path, value in weights_of(trainer).items() if np.any(value != before[path])}
    assert (
        changed
        == {"transformer_decoder/decoder/final_norm/scale"}
        == paths(trainer.model.trainable_variables)
    )
    slots = [variable.path for variable in trainer.optimizer.variables if "momentum" in variable.path]
    assert len(slots) == 1 and slots[0].endswith("final_norm_scale_momentum")
    generators = {
        name: value for name, value in small_run.all_state(trainer).items() if "seed_generator" in name
    }
    assert generators and all(value[1] == 8 for value in generators.values()), "dropout goes on"


def test_the_compiled_step_has_the_trained_variables_alone(small_run, tmp_path, monkeypatch):
    """So gradients of the others are never asked for."""
    seen = {}

    def record(strategy, loss_fn, variables, optimizer, **options):
        seen["variables"] = paths(variables)

    monkeypatch.setattr(trainer_module, "make_train_steps", record)
    small_run.make_trainer(tmp_path, "plain_transformer", fine_tuning={"freeze": "body"})
    assert seen["variables"] == {"transformer_decoder/head/kernel"}


@pytest.mark.parametrize(
    "fine_tuning, optimizer", [(FROZEN, "muon"), (LORA, "adamw")], ids=["frozen", "lora"]
)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(small_run, tmp_path, fine_tuning, optimizer):
    def make(name):
        return small_run.make_trainer(
            tmp_path / name, "transformer", optimizer=optimizer, fine_tuning=fine_tuning, num_steps=6
        )

    whole = make("whole")
    whole.train(small_run.Numbers(), None)
    make("parts").train(small_run.Numbers(), None, stop_at=3)
    parts = make("parts")
    parts.train(small_run.Numbers(), None)
    expected = small_run.all_state(whole)
    for name, value in small_run.all_state(parts).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_adapters_alone_change_and_are_in_the_checkpoint(small_run, tmp_path):
    trainer = small_run.make_trainer(tmp_path, "plain_transformer", fine_tuning=LORA, weight_decay=0.5)
    before = weights_of(trainer)
    trainer.train(small_run.Numbers(), None)
    changed = {path for path, value in weights_of(trainer).items() if np.any(value != before[path])}
    assert changed == paths(trainer.model.trainable_variables)
    assert {path.rpartition("/")[2] for path in changed} == {"lora_kernel_a", "lora_kernel_b"}
    assert {f"model/{path}" for path in changed} <= trainer._state().keys()


def test_a_decay_of_one_changes_nothing(small_run, tmp_path):
    """The same bits as an optimizer that knows of no factors."""
    trained = []
    for patched in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if patched:
                patch.setattr(
                    trainer_module,
                    "make_optimizer",
                    lambda config, variables, factors: plain(config, variables),
                )
            trainer = small_run.make_trainer(
                tmp_path / str(patched), "transformer", fine_tuning={"layer_decay": 1.0}
            )
            trainer.train(small_run.Numbers(), None)
        trained.append(weights_of(trainer))
    for path, value in trained[0].items():
        np.testing.assert_array_equal(value, trained[1][path], err_msg=path)


def plain(config, variables):
    """AdamW without factors, set up as ours is."""
    schedule = WarmupSchedule(
        config.schedule,
        config.peak_learning_rate,
        config.warmup_steps,
        config.num_steps,
        config.final_learning_rate,
    )
    optimizer = FusedAdamW(
        schedule, config.weight_decay, beta_1=config.beta_1, beta_2=config.beta_2, epsilon=1e-8
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale", "embeddings"])
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
    optimizer.build(variables)
    return optimizer


def test_a_head_on_a_frozen_body_learns(small_run, tmp_path):
    """Classification of two kinds of texts, with a trained head alone."""

    class FirstToken:
        def loss(self, model, batch, training):
            labels = tf.cast(batch["token_ids"][:, 0] > 14, tf.int32)
            logits = model(batch["token_ids"], training=training)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            return tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32)

    def make_model():
        body = build_model(small_run.MODELS["plain_transformer"])
        return HeadModel(body, PooledHead(2, "first", name="classification_head"))

    config = small_run.make_config(num_steps=30, peak_learning_rate=0.1, checkpoint_every=30)
    trainer = Trainer(
        make_model, FirstToken(), config, str(tmp_path), fine_tuning=FineTuningConfig(freeze="body")
    )
    batch = next(iter(small_run.Numbers().dataset(100)))
    before = float(FirstToken().loss(trainer.model, batch, False)[0])
    trainer.train(small_run.Numbers(), None)
    assert float(FirstToken().loss(trainer.model, batch, False)[0]) < 0.7 * before
