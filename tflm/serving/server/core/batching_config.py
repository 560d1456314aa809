"""How requests are batched: a file as TensorFlow Serving's --batching_parameters_file.

max_batch_size { value: 16 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 8 }
num_batch_threads { value: 2 }
allowed_batch_sizes: 4
allowed_batch_sizes: 16
pad_variable_length_inputs: true
"""

import dataclasses
import itertools
import os

from tflm.errors import UserError
from tflm.serving.protos.server_config_pb2 import BatchingParameters
from tflm.serving.server.core.text_proto import read_text_proto

_FLAG = "batching_parameters_file"


@dataclasses.dataclass(frozen=True)
class BatchingConfig:
    """The parameters, with the defaults that TensorFlow Serving has for them.

    Raises:
        ValueError: numbers that do not go together.
    """

    max_batch_size: int = 1000
    """The most rows of a batch, unless `max_execution_batch_size` has fewer."""
    batch_timeout_micros: int = 0
    """How long a request waits for others to fill its batch."""
    max_enqueued_batches: int = 10
    """How many batches may wait; a request beyond them is refused with UNAVAILABLE."""
    num_batch_threads: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    """How many batches run at a time."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """A batch is filled up with copies of a row to the next of these; it keeps its size where there are none."""
    pad_variable_length_inputs: bool = False
    """Read, and without effect: here inputs that differ in other axes than the first go into other batches."""
    enable_large_batch_splitting: bool = False
    """Read, and not done: here a request of more rows than a batch may have is not divided, but goes alone."""
    max_execution_batch_size: int | None = None
    """The most rows of a batch, where large requests would be divided; `max_batch_size` if None."""

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")
        if self.batch_timeout_micros < 0:
            raise ValueError(f"batch_timeout_micros is {self.batch_timeout_micros}; expected 0 or more.")
        self._check_sizes()

    def _check_sizes(self) -> None:
        largest = self.max_execution_batch_size
        if largest is not None and not self.enable_large_batch_splitting:
            raise ValueError(
                "max_execution_batch_size is for enable_large_batch_splitting { value: true }; leave it out, or set "
                "that."
            )
        if largest is not None and not 1 <= largest <= self.max_batch_size:
            raise ValueError(
                f"max_execution_batch_size is {largest}; expected 1 to max_batch_size, {self.max_batch_size}."
            )
        sizes = self.allowed_batch_sizes
        if sizes and (sizes[0] < 1 or any(one >= other for one, other in itertools.pairwise(sizes))):
            raise ValueError(f"allowed_batch_sizes are {list(sizes)}; expected each larger than the last.")
        if sizes and sizes[-1] != self.max_batch_size:
            raise ValueError(
                f"the last of allowed_batch_sizes is {sizes[-1]}; expected max_batch_size, {self.max_batch_size}."
            )


def read_batching_file(path: str) -> BatchingConfig:
    """The parameters of a text file.

    >>> read_batching_file("batching.config")        # with "max_batch_size { value: 4 } allowed_batch_sizes: 4"
    BatchingConfig(max_batch_size=4, batch_timeout_micros=0, ..., allowed_batch_sizes=(4,), ...)

    Returns:
        What the file does not tell has its default; `thread_pool_name` has no effect here, nor have the fields that
        say so.
    Raises:
        UserError: no such file, a field or type that there is not, with its line, or numbers that do not go together.
    """
    message = read_text_proto(path, _FLAG, BatchingParameters(), "max_batch_size { value: 32 }")
    given = {}
    for field, value in message.ListFields():
        if field.name != "thread_pool_name":
            given[field.name] = getattr(value, "value", value)
    given["allowed_batch_sizes"] = tuple(message.allowed_batch_sizes)
    try:
        return BatchingConfig(**given)
    except ValueError as error:
        raise UserError(f"--{_FLAG}={path}: {error}") from error
