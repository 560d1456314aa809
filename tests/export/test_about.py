"""What an export tells of itself is the config that was written beside it."""

import json

import tensorflow as tf

from tflm.export.write import about_signature


def test_every_row_is_told_the_config():
    config = json.dumps({"task": {"kind": "chat", "system": "请用中文"}}, ensure_ascii=False)
    found = about_signature(config)(tf.constant(["", "x", "你好"]))["config"].numpy()
    assert [text.decode() for text in found] == [config] * 3
    assert about_signature(config)(tf.constant([], tf.string))["config"].shape == [0]


def test_an_export_has_it(exports):
    with open(f"{exports.text}/config.json", encoding="utf-8") as file:
        config = file.read()
    loaded = tf.saved_model.load(exports.text)
    assert loaded.signatures["about"](tf.constant([""]))["config"].numpy()[0].decode() == config
