"""Compiled training and evaluation steps, run on every replica of a strategy."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tflm.layers import drawing_masks, fusing, probing
from tflm.training.adversarial import AdversarialTraining, Pass, Perturbing
from tflm.training.dropout_masks import RowMasks, step_key
from tflm.training.weight_masks import WeightMasks
from tflm.training.xla_fusion import XlaFusion

Batch = dict[str, tf.Tensor]
LossFn = Callable[[Batch], tuple[tf.Tensor, tf.Tensor]]
GradientFn = Callable[[Batch, tf.Tensor], Any]


class LossScale:
    """Dynamic loss scale for float16 (Micikevicius et al., 2018, section 3.2): it multiplies the mean loss, so that
    small gradients do not vanish, and the gradients are divided by it in float32. A step whose gradients overflow is
    skipped and halves the scale; `_GROWTH_STEPS` steps in a row without an overflow double it.

    Created inside the scope of the strategy. `variables` belong in the checkpoint.
    """

    INITIAL, LEAST, _GREATEST, _GROWTH_STEPS = 2.0**15, 1.0, 2.0**24, 2000

    def __init__(self) -> None:
        def variable(value: float, name: str) -> tf.Variable:
            same = tf.VariableAggregation.ONLY_FIRST_REPLICA
            return tf.Variable(value, trainable=False, dtype=tf.float32, aggregation=same, name=name)

        self.value = variable(self.INITIAL, "loss_scale")
        self._good_steps = variable(0.0, "loss_scale_good_steps")
        self.variables = {"loss_scale/value": self.value, "loss_scale/good_steps": self._good_steps}

    def after_step(self) -> None:
        """Of a step without an overflow."""
        grows = self._good_steps + 1.0 >= self._GROWTH_STEPS
        self.value.assign(tf.where(grows, tf.minimum(self.value * 2.0, self._GREATEST), self.value))
        self._good_steps.assign(tf.where(grows, 0.0, self._good_steps + 1.0))

    def after_overflow(self) -> None:
        """Of a step that is skipped."""
        self.value.assign(tf.maximum(self.value / 2.0, self.LEAST))
        self._good_steps.assign(0.0)


def make_train_steps(
    strategy: tf.distribute.Strategy,
    loss_fn: LossFn,
    variables: list[Any],
    optimizer: keras.optimizers.Optimizer,
    *,
    num_micro_batches: int,
    clip_norm: float,
    jit_compile: bool,
    pad_id: int,
    mask_seed: int | None = None,
    loss_scale: LossScale | None = None,
    fuses: bool = True,
    largest_batch: tuple[int, int] | None = None,
    weight_masks: WeightMasks | None = None,
    adversarial: AdversarialTraining | None = None,
) -> Callable[[Any, tf.Tensor], dict[str, tf.Tensor]]:
    """Builds the compiled training loop: a function of a (distributed) iterator and an int32 scalar n that trains for n
    steps.

    It returns float32 [n] tensors: `loss` (weighted mean), `gradient_norm` (before clipping), `tokens` (tokens in
    the batch without padding, including source tokens), `positions` (the same with padding) and `data_seconds` (the
    time in which the step waited for its batch); with several micro-batches or replicas also `gradient_noise` and
    `gradient_signal`, see `noise_and_signal`; and `loss_scale` (in that step) with one. A step whose loss or gradient
    norm is not finite changes nothing but the optimizer's count of steps and the loss scale.

    Args:
        strategy: distribution strategy.
        loss_fn: maps a batch to the sum of the losses and the sum of the weights; not converted by AutoGraph.
        variables: trainable variables.
        optimizer: see `make_optimizer`.
        num_micro_batches: int, for gradient accumulation.
        clip_norm: float, maximum global norm of the gradients; 0 for no clipping.
        jit_compile: bool, compile the gradient step with XLA.
        pad_id: int, padding of `token_ids` and `source_ids`.
        mask_seed: int, seed of dropout masks that are a function of the step and the row's place in the whole batch;
            None for masks from each layer's own generator, which counts on each device.
        loss_scale: for float16; None for no scaling.
        fuses: bool, compile chains of elementwise operations by XLA, see `XlaFusion`.
        largest_batch: of a device and micro-batch, for batches of different lengths, see `XlaFusion`.
        weight_masks: of weights that stay 0; None without such.
        adversarial: perturbs the token embeddings; None for no adversarial training. It needs `mask_seed`.
    """

    is_compiled = jit_compile or isinstance(strategy, tf.distribute.TPUStrategy)
    fusion = XlaFusion(largest_batch) if fuses and not is_compiled else None

    def gradients(
        batch: Batch, first_row: tf.Tensor, key: tf.Tensor, scale: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        def run(loss_fn: LossFn, perturbing: Perturbing | None, of_weights: bool) -> Pass:
            masks = None if mask_seed is None else RowMasks(key, first_row)
            values = [variable.value for variable in variables] if of_weights else []
            with fusing(fusion):  # the backward pass, too
                with drawing_masks(masks), probing(perturbing), tf.GradientTape() as tape:
                    if perturbing is not None:
                        perturbing.tape = tape
                    loss_sum, weight = loss_fn(batch)
                    # The gradient of a sum over thousands of tokens would overflow at scales that a mean allows.
                    factor = None if scale is None else scale / tf.maximum(tf.stop_gradient(weight), 1.0)
                    scaled = loss_sum if factor is None else loss_sum * factor
                sources = [values, [] if perturbing is None else perturbing.added]
                zero = tf.UnconnectedGradients.ZERO
                parts, slopes = tape.gradient(scaled, sources, unconnected_gradients=zero)
            parts = [tf.convert_to_tensor(part) for part in parts]
            parts = parts if factor is None else [part / factor for part in parts]
            return Pass(loss_sum, weight, parts, slopes)

        if adversarial is None:
            found = run(loss_fn, None, True)
        else:
            found = adversarial.gradients(run, loss_fn, RowMasks(key, first_row))
        return found.loss_sum, found.weight, found.parts

    compiled = tf.function(gradients, autograph=False, jit_compile=True) if jit_compile else gradients
    estimates_noise = num_micro_batches * strategy.num_replicas_in_sync > 1
    names = ["loss", "gradient_norm", "tokens", "positions"]
    names += ["gradient_noise", "gradient_signal"] if estimates_noise else []
    names += [] if loss_scale is None else ["loss_scale"]
    names.append("data_seconds")

    def micro_batch(
        batch: Batch, first_row: tf.Tensor, key: tf.Tensor, scale: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        loss_sum, weight, parts = compiled(batch, first_row, key, scale)
        if not estimates_noise:
            return loss_sum, weight, [], parts
        squared_norm = tf.linalg.global_norm(parts) ** 2
        counted = [squared_norm * tf.math.reciprocal_no_nan(weight), tf.cast(weight > 0.0, tf.float32)]
        return loss_sum, weight, counted, parts

    def compute(batch: Batch) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        context = tf.distribute.get_replica_context()
        key = step_key(mask_seed or 0, tf.cast(optimizer.iterations.value, tf.int64))
        num_rows = tf.shape(next(iter(batch.values())), tf.int64)[0]
        first_row = tf.cast(context.replica_id_in_sync_group, tf.int64) * num_rows
        scale_now = None if loss_scale is None else tf.convert_to_tensor(loss_scale.value)
        loss_sum, weight, counted, parts = _accumulate(
            lambda part, row: micro_batch(part, first_row + row, key, scale_now), batch, num_micro_batches
        )
        counts = _num_tokens(batch, pad_id)
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [*counts, loss_sum, weight, *counted, *parts])
        tokens, positions, loss_sum, weight = sums[:4]
        counted, parts = sums[4 : 4 + len(counted)], sums[4 + len(counted) :]
        if weight_masks is not None:
            parts = weight_masks.mask_gradients(parts, variables)
        scale = tf.math.reciprocal_no_nan(weight)
        norm = tf.linalg.global_norm(parts) * scale
        if clip_norm:
            scale *= tf.minimum(1.0, clip_norm / tf.maximum(norm, 1e-12))
        values = [loss_sum * tf.math.reciprocal_no_nan(weight), norm, tokens, positions]
        if estimates_noise:
            values += noise_and_signal(norm, weight, *counted)
        return values, [part * scale for part in parts]

    def apply(parts: list[tf.Tensor]) -> None:
        optimizer.apply(parts, variables)
        if loss_scale is not None:
            loss_scale.after_step()

    def skip() -> None:
        optimizer.iterations.assign_add(1)
        if loss_scale is not None:
            loss_scale.after_overflow()

    # AutoGraph converts the loop below and nothing inside it: converting models and losses takes seconds per run.
    @tf.autograph.experimental.do_not_convert
    def one_step(batch: Batch) -> list[tf.Tensor]:
        values, parts = strategy.run(compute, args=(batch,))
        # After the all-reduce, every replica has the same sums.
        values = [strategy.experimental_local_results(value)[0] for value in values]
        if loss_scale is not None:
            values.append(strategy.experimental_local_results(loss_scale.value)[0] + 0.0)
        # Replicas update variables together: under a condition they can do so only if all of it is inside.
        tf.cond(
            tf.math.is_finite(values[0]) & tf.math.is_finite(values[1]),
            lambda: _done(strategy.run(apply, args=(parts,))),
            lambda: _done(strategy.run(skip)),
        )
        if weight_masks is not None:
            weight_masks.apply()
        return values

    @tf.function(reduce_retracing=True)
    def train_steps(iterator: Any, num_steps: tf.Tensor) -> dict[str, tf.Tensor]:
        logs = [tf.TensorArray(tf.float32, num_steps, element_shape=[]) for _ in names]
        for step in tf.range(num_steps):
            with tf.control_dependencies([step]):  # the step before is done
                begin = tf.timestamp()
            with tf.control_dependencies([begin]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                waited = tf.cast(tf.timestamp() - begin, tf.float32)
            values = [*one_step(batch), waited]
            logs = [log.write(step, value) for log, value in zip(logs, values, strict=True)]
        return {name: log.stack() for name, log in zip(names, logs, strict=True)}

    return train_steps


def make_eval_step(
    strategy: tf.distribute.Strategy, sums_fn: Callable[[Batch], dict[str, tf.Tensor]]
) -> Callable[[Any], dict[str, tf.Tensor]]:
    """Builds the compiled evaluation step: maps a (distributed) batch to `Task.sums`, summed over all replicas."""

    @tf.function(reduce_retracing=True, autograph=False)
    def eval_step(batch: Any) -> dict[str, tf.Tensor]:
        sums = strategy.run(sums_fn, args=(batch,))
        add = tf.distribute.ReduceOp.SUM
        return {name: strategy.reduce(add, value, axis=None) for name, value in sums.items()}

    return eval_step


def _done(nothing: None) -> tf.Tensor:
    """What both branches of a condition return."""
    del nothing
    return tf.constant(True)


def _num_tokens(batch: Batch, pad_id: int) -> list[tf.Tensor]:
    """The numbers of tokens and of positions, source tokens included; float32 scalars."""
    ids = [batch[name] for name in ("token_ids", "source_ids") if name in batch]
    tokens = tf.add_n([tf.math.count_nonzero(tf.not_equal(each, pad_id)) for each in ids])
    positions = tf.add_n([tf.size(each, tf.int64) for each in ids])
    return [tf.cast(tokens, tf.float32), tf.cast(positions, tf.float32)]


def noise_and_signal(
    norm: tf.Tensor, weight: tf.Tensor, weighted_norms: tf.Tensor, count: tf.Tensor
) -> list[tf.Tensor]:
    """Unbiased estimates of the variance of the gradient of a whole batch, tr(Σ)/B, and of |G|², the squared norm of
    the true gradient (McCandlish et al., 2018, appendix A.1). Their means over many steps give the noise scale:
    B_simple = B tr(Σ)/B / |G|².

    A mean gradient over the weight w is taken to have the expected squared norm |G|² + S/w. With the micro-batches
    weighted by their weights, the mean of their squared norms has the expectation |G|² + K S/W.

    Args:
        norm: float32 scalar, of the mean gradient of the whole batch.
        weight: float32 scalar W, of the whole batch.
        weighted_norms: float32 scalar, the sum over micro-batches of w times the squared norm of the mean gradient.
        count: float32 scalar K, of micro-batches with weight. Without two of them, both estimates are NaN.
    """
    big, small = norm**2, weighted_norms * tf.math.reciprocal_no_nan(weight)
    others = tf.where(count > 1.0, count - 1.0, float("nan"))
    return [(small - big) / others, (count * big - small) / others]


def _accumulate(gradients: GradientFn, batch: Batch, num_parts: int) -> Any:
    """Gradient accumulation: sums of losses, weights, gradients and what else `gradients` returns, over `num_parts`
    sequential micro-batches.

    Args:
        gradients: of some rows and the place of their first row in the batch, int64 scalar.
        batch: tensors [B, ...].
        num_parts: int, a divisor of B.
    """
    if num_parts == 1:
        return gradients(batch, tf.constant(0, tf.int64))
    parts = {
        name: tf.reshape(value, tf.concat([[num_parts, -1], tf.shape(value)[1:]], 0))
        for name, value in batch.items()
    }
    num_rows = tf.shape(next(iter(parts.values())), tf.int64)[1]
    first = gradients({name: value[0] for name, value in parts.items()}, tf.constant(0, tf.int64))
    flat = tf.nest.flatten(first)

    def body(index: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        place = tf.cast(index, tf.int64) * num_rows
        more = gradients({name: value[index] for name, value in parts.items()}, place)
        return (index + 1, *(a + b for a, b in zip(sums, tf.nest.flatten(more), strict=True)))

    _, *flat = tf.while_loop(
        lambda index, *_: index < num_parts, body, (tf.constant(1), *flat), parallel_iterations=1
    )
    return tf.nest.pack_sequence_as(first, flat)
