"""Attention against a loop over rows, heads and queries that looks only at the keys it may see."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import Attention, cache_mask, causal_mask

B, T, WIDTH, H, D = 2, 5, 12, 4, 6
EPSILON = 1e-6


def project(x, weights, name, num_heads):
    projected = x @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0)
    return projected.reshape(*x.shape[:-1], num_heads, -1)


def rms(x, scale):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * scale


def turn(x, position, base):
    half = x.shape[-1] // 2
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * position * base ** (-np.arange(half) / half))
    return np.concatenate([z.real, z.imag], -1)


def attend_slowly(layer, x, base=None, first=0):
    """One row, float64 [N, WIDTH] of N real tokens: the outputs of the tokens from `first` on, causally."""
    weights = {v.path.split("/", 1)[1]: np.array(v, np.float64) for v in layer.weights}
    num_kv_heads = layer.num_kv_heads
    query = project(x, weights, "query", H)
    key, value = project(x, weights, "key", num_kv_heads), project(x, weights, "value", num_kv_heads)
    if "query_norm/scale" in weights:
        query, key = rms(query, weights["query_norm/scale"]), rms(key, weights["key_norm/scale"])
    if base is not None:
        query = np.stack([turn(vector, position, base) for position, vector in enumerate(query)])
        key = np.stack([turn(vector, position, base) for position, vector in enumerate(key)])
    outputs = np.zeros((len(x), H, D))
    for t, h in itertools.product(range(len(x)), range(H)):
        group = h // (H // num_kv_heads)
        scores = np.array([query[t, h] @ key[s, group] for s in range(t + 1)]) * layer.scale
        if layer.cap:
            scores = layer.cap * np.tanh(scores / layer.cap)
        shares = np.exp(scores - scores.max())
        outputs[t, h] = sum(p * value[s, group] for s, p in enumerate(shares / shares.sum()))
    flat = outputs.reshape(len(x), -1) @ weights["output/kernel"] + weights.get("output/bias", 0)
    return flat[first:]


KINDS = {
    "plain": {},
    "grouped": {"num_kv_heads": 2},
    "one_kv_head": {"num_kv_heads": 1, "use_bias": True},
    "rotary": {"rotary": True, "rotary_base": 500.0},
    "qk_norm": {"qk_norm": True},
    "bias": {"use_bias": True},
    "qkv_bias": {"qkv_bias": True, "scale": 0.7, "cap": 1.5},
    "everything": {
        "num_kv_heads": 2,
        "rotary": True,
        "rotary_base": 500.0,
        "qk_norm": True,
        "use_bias": True,
    },
}


def make(kind):
    options = {"num_kv_heads": H, **KINDS[kind]}
    return Attention(H, options.pop("num_kv_heads"), D, name="attention", **options)


def base_of(kind):
    return KINDS[kind].get("rotary_base")


@pytest.fixture(params=list(KINDS))
def kind(request):
    return request.param


@pytest.fixture
def layer(kind, randomize_layer):
    attention = make(kind)
    attention.build((None, None, WIDTH))
    return randomize_layer(attention)


def test_options():
    assert make("plain").scale == pytest.approx(D**-0.5)
    layer = make("qkv_bias")
    layer.build((None, None, WIDTH))
    assert [v.path.split("/", 1)[1] for v in layer.weights if "bias" in v.path] == [
        "query/bias",
        "key/bias",
        "value/bias",
    ]
    with_norms = Attention(H, H, D, qk_norm=True, qk_norm_epsilon=0.25)
    assert with_norms.query_norm.epsilon == with_norms.key_norm.epsilon == 0.25
    assert make("qk_norm").query_norm.epsilon == EPSILON


def test_a_whole_sequence(rng, kind, layer):
    x = rng.normal(size=(B, T, WIDTH)).astype(np.float32)
    result, (keys, values) = layer(x, causal_mask(T), tf.range(T)[None])
    assert result.shape == (B, T, WIDTH)
    assert keys.shape == values.shape == (B, layer.num_kv_heads, T, D)
    for row in range(B):
        np.testing.assert_allclose(result[row], attend_slowly(layer, x[row], base_of(kind)), atol=1e-4)


@pytest.mark.parametrize("shape", [(B, None), (None, T), (None, None)])
def test_a_graph_of_unknown_sizes(rng, randomize_layer, shape):
    layer = make("grouped")
    layer.build((None, None, WIDTH))
    randomize_layer(layer)
    x = rng.normal(size=(B, T, WIDTH)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([*shape, WIDTH])], autograph=False)
    def graph(x):
        return layer(x, causal_mask(tf.shape(x)[1]))[0]

    np.testing.assert_allclose(graph(x), layer(x, causal_mask(T))[0], rtol=1e-4, atol=1e-5)


def test_a_cache_with_padding_on_the_left(rng, kind, layer):
    """A prompt of 4 places, 0, 2 and 3 of them padding; then one token; then two at once."""
    num_padding, capacity = np.array([0, 2, 3]), 8
    x = rng.normal(size=(3, 7, WIDTH)).astype(np.float32)
    x[1, :2], x[2, :3] = 50.0, -70.0  # padding that would be seen if it leaked
    cache = (np.zeros((3, layer.num_kv_heads, capacity, D), np.float32),) * 2
    outputs = []
    for begin, end in [(0, 4), (4, 5), (5, 7)]:
        mask = cache_mask(capacity, end - begin, begin, tf.constant(num_padding, tf.int32))
        positions = tf.maximum(np.arange(begin, end)[None] - num_padding[:, None], 0)
        output, cache = layer(x[:, begin:end], mask, positions, cache=cache, cache_index=tf.constant(begin))
        outputs.append(output)
    outputs = np.concatenate(outputs, axis=1)
    for row, padding in enumerate(num_padding):
        expected = attend_slowly(layer, x[row, padding:], base_of(kind))
        np.testing.assert_allclose(outputs[row, padding:], expected, atol=1e-4)
    assert np.isfinite(outputs).all()
    assert not np.any(cache[0][:, :, 7:]) and not np.any(cache[1][:, :, 7:])


def test_graph_shapes_and_precision(rng, check_layer, kind):
    x = rng.normal(size=(B, T, WIDTH)).astype(np.float32)
    mask = np.repeat(np.tril(np.ones((1, T, T), bool)), B, axis=0)
    positions = np.repeat(np.arange(T, dtype=np.int32)[None], B, axis=0)
    check_layer(lambda: make(kind), [x, mask, positions])


def test_a_cache_in_a_graph_of_unknown_sizes(rng, layer):
    @tf.function(reduce_retracing=True)
    def step(x, keys, values, index):
        mask = cache_mask(tf.shape(keys)[2], tf.shape(x)[1], index, tf.zeros([tf.shape(x)[0]], tf.int32))
        positions = (index + tf.range(tf.shape(x)[1]))[None]
        return layer(x, mask, positions, cache=(keys, values), cache_index=index)

    specs = (
        tf.TensorSpec([None, None, WIDTH]),
        *[tf.TensorSpec([None, layer.num_kv_heads, None, D])] * 2,
        tf.TensorSpec([], tf.int32),
    )
    function = step.get_concrete_function(*specs)
    x = tf.constant(rng.normal(size=(B, T, WIDTH)), tf.float32)
    empty = tf.zeros((B, layer.num_kv_heads, T, D))
    _, (keys, values) = function(x[:, :2], empty, empty, tf.constant(0))
    rest, _ = function(x[:, 2:], keys, values, tf.constant(2))
    whole, _ = layer(x, causal_mask(T), tf.range(T)[None])
    np.testing.assert_allclose(rest, whole[:, 2:], atol=1e-5)
    # Ops of XLA need not be in a server.
    assert not [op.type for op in function.graph.get_operations() if op.type.startswith("Xla")]


def test_softmax_is_float32_under_mixed_precision(under_policy):
    with under_policy("mixed_bfloat16"):
        layer = make("plain")
        layer.build((None, None, WIDTH))
    call = tf.function(lambda x: layer(x, causal_mask(T), tf.range(T)[None]))
    graph = call.get_concrete_function(tf.TensorSpec([B, T, WIDTH])).graph
    dtypes = {op.type: op.inputs[0].dtype for op in graph.get_operations() if op.inputs}
    assert dtypes["Softmax"] == tf.float32 and dtypes["BatchMatMulV2"] == tf.bfloat16


def step_graph(layer, jit_compile):
    """One token more over caches of 3 rows and 8 places, with every size known, as inside a segment."""

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step(x, keys, values, index):
        mask = cache_mask(8, 1, index, tf.constant([0, 2, 3]))
        return layer(x, mask, tf.fill([3, 1], index), cache=(keys, values), cache_index=index)

    return step


def test_a_compiled_step_equals_the_plain_one(rng, layer):
    x = tf.constant(rng.normal(size=(3, 1, WIDTH)), tf.float32)
    cache = [tf.constant(rng.normal(size=(3, layer.num_kv_heads, 8, D)), tf.float32) for _ in range(2)]
    plain, plain_cache = step_graph(layer, False)(x, *cache, tf.constant(5))
    compiled, compiled_cache = step_graph(layer, True)(x, *cache, tf.constant(5))
    np.testing.assert_allclose(compiled, plain, atol=1e-5)
    for one, other, before in zip(compiled_cache, plain_cache, cache, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        kept = [0, 1, 2, 3, 4, 6, 7]
        np.testing.assert_array_equal(one.numpy()[:, :, kept], before.numpy()[:, :, kept])
        assert np.any(one[:, :, 5] != before[:, :, 5])
