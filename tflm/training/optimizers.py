"""Optimizers of Keras, with learning rates and weight decay by variable."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tflm.errors import UserError
from tflm.training.config import TrainingConfig, parse_rule
from tflm.training.schedules import WarmupSchedule

# No weight decay on norms, biases and embeddings.
NO_DECAY = ("bias", "scale", "gamma", "beta", "embeddings")


class _PerVariable(keras.optimizers.Optimizer):
    """Mixin, listed before a Keras optimizer: a factor of the learning rate and one of the decay for each variable, and
    L2 regularization. Scaling gradients instead has no effect: most optimizers normalize them.

    With `use_ema` it averages the weights where they are updated, so that this works on replicas, too."""

    _rates: Mapping[Any, float] = {}
    _decays: Mapping[Any, float] = {}
    _l2 = 0.0
    _factor = 1.0

    def set_factors(
        self, variables: Sequence[Any], rates: Sequence[float], decays: Sequence[float], l2: float = 0.0
    ) -> None:
        """Sets the factors of each variable: of its learning rate, and of its weight decay and `l2`. Call before the
        first step."""
        keys = [self._var_key(variable) for variable in variables]
        self._rates = dict(zip(keys, rates, strict=True))
        self._decays, self._l2 = dict(zip(keys, decays, strict=True)), l2

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Updates one variable with its own learning rate."""
        rate, decay = self._rate(variable), self._l2 * self._decays[self._var_key(variable)]
        if decay:
            gradient = gradient + decay * tf.cast(variable, gradient.dtype)
        super().update_step(gradient, variable, learning_rate if rate == 1.0 else learning_rate * rate)
        if self.use_ema:
            average = self._model_variables_moving_average[self._get_variable_index(variable)]
            step = tf.cast(self.iterations, average.dtype)  # from 0 on: the first average is the first update
            decay = tf.minimum(tf.constant(self.ema_momentum, average.dtype), step / (step + 9.0))
            self.assign(average, decay * average + (1.0 - decay) * variable)

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        """Nothing: `update_step` did it."""

    def _rate(self, variable: Any) -> float:
        return self._rates[self._var_key(variable)]

    def _use_weight_decay(self, variable: Any) -> bool:
        return self._decays[self._var_key(variable)] != 0.0

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Applies weight decay once per distinct factor, since Keras reads the learning rate inside this method."""
        factors = [self._rate(variable) * self._decays[self._var_key(variable)] for variable in variables]
        for self._factor in sorted(set(factors) - {0.0}):
            same = [v for v, factor in zip(variables, factors, strict=True) if factor == self._factor]
            super()._apply_weight_decay(same)
        self._factor = 1.0

    def _get_current_learning_rate(self) -> Any:
        rate = super()._get_current_learning_rate()
        return rate if self._factor == 1.0 else rate * self._factor


class FusedAdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` in one pass over each variable and its moments, where Keras makes about a dozen."""

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Kingma and Ba, 2015, section 2, with the order of operations that Keras has, too."""
        index, step = self._get_variable_index(variable), tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.pow(tf.constant(self.beta_1), step),
            beta2_power=tf.pow(tf.constant(self.beta_2), step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def _handle(variable: Any) -> tf.Tensor:
    """The resource of a Keras or TensorFlow variable."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


class AdamW(_PerVariable, FusedAdamW):
    """`keras.optimizers.AdamW` with factors by variable."""


class _FactoredAdafactor(keras.optimizers.Adafactor):
    """`keras.optimizers.Adafactor` with a small state: Keras also stores the product of the row and column averages of
    a matrix, which is as large as the matrix, and computes it again in every step."""

    def add_variable_from_reference(self, reference_variable: Any, name: Any = None, **options: Any) -> Any:
        """None in place of the product."""
        if name == "velocity" and len(reference_variable.shape) >= 2:
            return None
        return super().add_variable_from_reference(reference_variable, name=name, **options)

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Shazeer and Stern, 2018, algorithm 4."""
        index = self._get_variable_index(variable)
        if self._v[index] is not None:
            super().update_step(gradient, variable, learning_rate)
            return
        rows, columns = self._r[index], self._c[index]
        step = tf.cast(self.iterations + 1, variable.dtype)
        kept = 1.0 - tf.pow(step, self.beta_2_decay)
        squares = tf.square(gradient) + self.epsilon_1
        self.assign(rows, kept * rows + (1.0 - kept) * tf.reduce_mean(squares, axis=-1))
        self.assign(columns, kept * columns + (1.0 - kept) * tf.reduce_mean(squares, axis=-2))
        shares = rows / tf.reduce_mean(tf.convert_to_tensor(rows), axis=-1, keepdims=True)
        update = gradient * tf.math.rsqrt(shares[..., None] * columns[..., None, :])
        update /= tf.maximum(1.0, self._rms(update) / self.clip_threshold)
        scale = tf.maximum(tf.cast(self.epsilon_2, variable.dtype), self._rms(variable))
        rate = tf.minimum(tf.cast(learning_rate, variable.dtype), tf.math.rsqrt(step))
        self.assign_sub(variable, scale * rate * update)


class Adafactor(_PerVariable, _FactoredAdafactor):
    """Adafactor with factors by variable."""


class Lion(_PerVariable, keras.optimizers.Lion):
    """`keras.optimizers.Lion` with factors by variable."""


class SGD(_PerVariable, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with factors by variable."""


class Muon(_PerVariable, keras.optimizers.Muon):
    """`keras.optimizers.Muon` with factors by variable, and with the transposes of its iteration folded into
    the matrix products: twice as fast on a CPU."""

    def zeropower_via_newtonschulz5(self, x: tf.Tensor, steps: int) -> tf.Tensor:
        """Approximately orthogonalizes a matrix by a quintic Newton-Schulz iteration (Jordan et al., 2024).

        Args:
            x: float [N, M].
            steps: int, number of iterations.
        Returns:
            float [N, M] with singular values near 1.
        """
        wide = x.shape[0] <= x.shape[1]
        x = x / (tf.norm(x) + 1e-7)
        for _ in range(steps):
            gram = tf.matmul(x, x, transpose_a=not wide, transpose_b=wide)
            factor = self.muon_b * gram + self.muon_c * tf.matmul(gram, gram)
            x = self.muon_a * x + (tf.matmul(factor, x) if wide else tf.matmul(x, factor))
        return x


def make_optimizer(
    config: TrainingConfig, variables: Sequence[Any], rate_factors: Sequence[float] = ()
) -> keras.optimizers.Optimizer:
    """Creates the optimizer and builds it for `variables`. Call inside the scope of the strategy.

    AdamW: Loshchilov and Hutter, 2019. Muon: Jordan et al., 2024, with the update scale of Liu et al., 2025
    (arXiv 2502.16982, section 2.2), so that one learning rate serves Muon and AdamW. Adafactor: Shazeer and Stern,
    2018, whose updates are relative to the scale of a variable. Lion: Chen et al., 2023.

    Args:
        config: training hyperparameters.
        variables: trainable variables.
        rate_factors: learning rate factor of each variable, in addition to the rules of `config`; empty for 1.
    Raises:
        UserError: a rule of `config` matches no variable.
    """
    optimizer = _keras_optimizer(config)
    # The trainer all-reduces gradients before clipping; Keras would all-reduce them a second time.
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
    paths = [variable.path for variable in variables]
    decays = [0.0 if any(name in variable.name for name in NO_DECAY) else 1.0 for variable in variables]
    rates = _by_rules("rate_rules", config.rate_rules, paths, [1.0] * len(paths))
    if rate_factors:
        rates = [rate * factor for rate, factor in zip(rates, rate_factors, strict=True)]
    optimizer.set_factors(
        variables, rates, _by_rules("decay_rules", config.decay_rules, paths, decays), config.l2
    )
    optimizer.build(variables)
    return optimizer


def _keras_optimizer(config: TrainingConfig) -> _PerVariable:
    schedule = WarmupSchedule(
        config.schedule,
        config.peak_learning_rate,
        config.warmup_steps,
        config.num_steps,
        config.final_learning_rate,
        config.decay_fraction,
    )
    average = {"use_ema": True, "ema_momentum": config.ema_decay} if config.ema_decay else {}
    options: dict[str, Any] = {"weight_decay": config.weight_decay, **average}
    if config.optimizer == "muon":
        return Muon(
            schedule,
            adam_beta_1=config.beta_1,
            adam_beta_2=config.beta_2,
            adam_weight_decay=config.weight_decay,
            adam_lr_ratio=config.muon_learning_rate_ratio,
            ns_steps=config.muon_iterations,
            exclude_layers=["/head/", "_head/"],
            **options,
        )
    if config.optimizer == "adafactor":
        return Adafactor(schedule, relative_step=False, **options)
    if config.optimizer == "lion":
        return Lion(schedule, beta_1=config.beta_1, beta_2=config.beta_2, **options)
    if config.optimizer == "sgd":
        return SGD(schedule, momentum=config.beta_1, **options)
    return AdamW(schedule, beta_1=config.beta_1, beta_2=config.beta_2, epsilon=1e-8, **options)


def _by_rules(
    field: str, rules: Sequence[str], paths: Sequence[str], factors: Sequence[float]
) -> list[float]:
    """The factor of each variable: that of the last rule which matches its path, or the one in `factors`."""
    found = list(factors)
    for rule in rules:
        pattern, factor = parse_rule(field, rule)
        matches = [place for place, path in enumerate(paths) if pattern.search(path)]
        if not matches:
            shown = ", ".join(paths[:: max(1, len(paths) // 5)][:6])
            raise UserError(
                f"training.{field}: no trained variable matches {rule!r}. Names are such as {shown}."
            )
        for place in matches:
            found[place] = factor
    return found
