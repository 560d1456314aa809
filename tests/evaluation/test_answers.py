"""Answers come back in the order of the texts, whatever the batches."""

import tensorflow as tf

from tflm.evaluation.answers import answers


def test_order_and_names():
    sizes = []

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2, autograph=False)
    def function(text, text_pair):
        return {"text": text + "|" + text_pair, "length": tf.strings.length(text, unit="UTF8_CHAR")}

    def counted(*batch):
        sizes.append(len(batch[0]))
        return function(*batch)

    texts = ["longest of all", "", "中文", "b", "ccc"]
    pairs = ["1", "2", "三", "4", ""]
    found = answers(counted, {"text": texts, "text_pair": pairs}, batch_size=2)
    assert found["text"].tolist() == [f"{a}|{b}" for a, b in zip(texts, pairs, strict=True)]
    assert found["length"].tolist() == [14, 0, 2, 1, 3]
    assert sizes == [2, 2, 1]
