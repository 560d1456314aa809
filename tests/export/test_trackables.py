"""What a model needs at work is saved, and nothing else of it."""

import keras
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.export.signatures import read_meta_graph
from tflm.export.write import module_to_save

NUMBERS = tf.TensorSpec([None], tf.int32, "ids")


@pytest.fixture
def model():
    layers = [keras.layers.Embedding(10, 4), keras.layers.Dropout(0.5), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model(tf.zeros([1, 2], tf.int32))
    return model


def test_a_keras_model_leaves_its_variables_alone(model, tmp_path):
    signatures = {
        "s": tf.function(lambda ids: {"logits": model(ids[:, None])[:, 0]}, input_signature=[NUMBERS])
    }
    module = module_to_save(signatures, [model])
    assert sorted(variable.shape.as_list() for variable in module.weights) == [[3], [4, 3], [10, 4]]
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    kinds = {node.user_object.identifier for node in read_meta_graph(str(tmp_path)).object_graph_def.nodes}
    assert not [kind for kind in kinds if "keras" in kind]
    answer = tf.saved_model.load(str(tmp_path)).signatures["s"](ids=tf.constant([1, 2]))["logits"]
    tf.debugging.assert_near(answer, model(tf.constant([[1], [2]]))[:, 0])


def test_variables_hidden_from_tracking_are_found_too(model):
    """Dropout's seed: Keras lists it, TensorFlow does not see it."""
    signatures = {
        "s": tf.function(
            lambda ids: {"logits": model(ids[:, None], training=True)[:, 0]}, input_signature=[NUMBERS]
        )
    }
    assert len(module_to_save(signatures, [model]).weights) == 4


def test_a_forgotten_owner_is_named(exports):
    with pytest.raises(UserError, match="signature 's' uses a variable or table that none of the tracked"):
        module_to_save({"s": exports.module.answer}, [tf.Module()])


def test_tables_are_kept(exports):
    module = module_to_save({"s": exports.module.answer}, [exports.module])
    assert len(module.weights) == 1
    assert len(module.resources) == 1
    assert not module_to_save({"fold": exports.module.fold}, [exports.module]).weights
