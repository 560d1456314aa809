"""The registry of logit filters, penalties and constraints: each is one decorated function of the logits."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.generation.config import DecodingConfig

ROW_INPUTS = ("prompt_ids", "token_ids", "num_tokens", "choice_ids", "end_ids")
"""What a registered function can read besides the settings; `process_logits` describes them."""

Function = Callable[..., tf.Tensor]


class _Step(NamedTuple):
    function: Function
    reads: tuple[str, ...]
    is_on: Callable[..., tf.Tensor] | None
    is_on_reads: tuple[str, ...]


class LogitPipeline:
    """Functions of logits float32 [B, V], applied in the order of their registration.

    A function's further parameters name what it reads: settings, which are fields of `DecodingConfig`, and
    `ROW_INPUTS`. A new filter is one function where the others are:

        @FILTERS.register(is_on=lambda min_p: min_p > 0.0)
        def keep_min_p(logits, min_p): ...

    and, if its setting is new, one field of `DecodingConfig`.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._graph: Any = None

    def register(self, is_on: Callable[..., tf.Tensor] | None = None) -> Callable[[Function], Function]:
        """A decorator that appends a function.

        Args:
            is_on: from some settings or row inputs, also by parameter name, to a bool tensor. Where it is False
                throughout, the function is skipped at no cost. None: the function is always applied.
        Raises:
            ValueError: a parameter is neither a setting nor in `ROW_INPUTS`.
        """

        def decorate(function: Function) -> Function:
            reads = _parameters(function)[1:]
            is_on_reads = () if is_on is None else _parameters(is_on)
            for name in (*reads, *is_on_reads):
                if name not in DecodingConfig.__dataclass_fields__ and name not in ROW_INPUTS:
                    raise ValueError(
                        f"{function.__name__} reads {name!r}, expected a field of DecodingConfig or one of "
                        f"{list(ROW_INPUTS)}. Rename the parameter, or add the setting to tflm/generation/config.py."
                    )
            self._steps.append(_Step(function, reads, is_on, is_on_reads))
            self._graph = None
            return function

        return decorate

    def __call__(self, logits: tf.Tensor, inputs: Mapping[str, Any]) -> tf.Tensor:
        """Applies every function that is on for some row.

        It is traced once for all models and signatures of a process: a graph that generates calls it in several
        places, and a `tf.cond` for each function takes long to trace.

        Args:
            logits: float32 [B, V].
            inputs: settings and row inputs by name; only those that are read are needed.
        Returns:
            float32 [B, V].
        """
        self._graph = self._graph or tf.function(self._apply_all, autograph=False)
        names = {name for step in self._steps for name in (*step.reads, *step.is_on_reads)}
        read = {name: inputs[name] for name in sorted(names)}
        specs = tf.nest.map_structure(_of_any_size, (logits, read))
        result = self._graph.get_concrete_function(*specs)(logits, read)
        return tf.ensure_shape(result, logits.shape)

    def _apply_all(self, logits: tf.Tensor, inputs: Mapping[str, Any]) -> tf.Tensor:
        for step in self._steps:
            logits = _apply(step, logits, inputs)
        return logits


def _apply(step: _Step, logits: tf.Tensor, inputs: Mapping[str, Any]) -> tf.Tensor:
    arguments = [inputs[name] for name in step.reads]
    if step.is_on is None:
        return step.function(logits, *arguments)
    is_on = step.is_on(*(inputs[name] for name in step.is_on_reads))
    return tf.cond(
        tf.reduce_any(is_on), lambda: step.function(logits, *arguments), lambda: tf.identity(logits)
    )


def _of_any_size(value: Any) -> Any:
    return tf.TensorSpec([None] * value.shape.rank, value.dtype) if tf.is_tensor(value) else value


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)
