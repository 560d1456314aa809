"""A run as something that answers requests, without an export: its signatures are traced when they are first used."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.config import to_dict
from tflm.experiments.run import Run
from tflm.export.verify import as_written
from tflm.serving.signature import Shape, Signature, find_signature
from tflm.training.stored_model import CheckpointChoice


class RunModel:
    """The newest checkpoint of a run; as `tflm.serving.LocalModel`.

    Args:
        run: with a checkpoint.
        step: which checkpoint; the newest when None.
    Raises:
        UserError: no checkpoint.
    """

    card = ""

    def __init__(self, run: Run, step: CheckpointChoice = None) -> None:
        model, found = run.trained_model(step)
        self.path = run.workdir
        signatures, writer = run.task.export_signatures(model)
        self._functions = _Traced({**signatures, **run.task.explanations(model, writer)})
        self.signatures: Mapping[str, Signature] = _Described(self._functions)
        config = {**to_dict(run.config), "source": {"run": run.config.name, "step": found}}
        self.config: dict[str, Any] = json.loads(json.dumps(config))

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """See `LocalModel.predict`. As there, the graph is not optimized: that takes most of the time of a first
        answer."""
        arrays = find_signature(self.signatures, signature, self.path).arrays(signature, inputs)
        with as_written():
            outputs = self._functions[signature](
                **{name: tf.constant(array) for name, array in arrays.items()}
            )
        return {name: value.numpy() for name, value in outputs.items()}

    def close(self) -> None:
        """Gives the memory back."""
        self._functions.clear()


class _Traced(Mapping[str, Any]):
    """Concrete functions by name, with inputs by name."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self._functions = dict(functions)
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            function = self._functions[name]
            specs = list(function.input_signature)

            @tf.function(autograph=False)
            def by_name(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
                return function(*(inputs[spec.name] for spec in specs))

            self._found[name] = by_name.get_concrete_function(**{spec.name: spec for spec in specs})
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def clear(self) -> None:
        """Forgets all."""
        self._functions.clear()
        self._found.clear()


class _Described(Mapping[str, Signature]):
    """What each takes and gives."""

    def __init__(self, functions: _Traced) -> None:
        self._functions = functions

    def __getitem__(self, name: str) -> Signature:
        function = self._functions[name]
        inputs = {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature[1])}
        outputs = dict(function.structured_outputs)
        sides = (inputs, outputs)
        dtypes = [{key: side[key].dtype.name for key in sorted(side)} for side in sides]
        shapes = [{key: _shape(side[key].shape) for key in sorted(side)} for side in sides]
        return Signature(*dtypes, *shapes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def __contains__(self, name: object) -> bool:  # without tracing it
        return any(name == each for each in self._functions)


def _shape(shape: tf.TensorShape) -> Shape:
    return None if shape.rank is None else tuple(shape.as_list())
