"""What a server allows."""

import dataclasses

from tflm.serving.graph_session import NUM_CORES
from tflm.serving.server.batching_config import BatchingConfig

_MOST_THREADS = 512


@dataclasses.dataclass(frozen=True)
class ServingOptions:
    """Limits, the same for all models."""

    batching: BatchingConfig | None = None
    """How requests are put together; None: each runs alone."""
    max_runs: int = NUM_CORES
    """How many requests that are not batched run at a time; more of them make each slower."""
    max_waiting: int = 128
    """How many may wait for that; those beyond are refused with UNAVAILABLE, at once."""
    max_generated_tokens: int | None = None
    """The largest `max_new_tokens` that a request may ask for."""
    max_rows: int | None = None
    """The most rows in a request."""

    @property
    def max_requests(self) -> int:
        """How many may be here at a time, over REST, and as many over gRPC."""
        if self.batching is None:
            return self.max_runs + self.max_waiting
        num_batches = self.batching.num_batch_threads + self.batching.max_enqueued_batches
        in_batches = min(num_batches * self.batching.max_batch_size, _MOST_THREADS)
        return max(self.max_runs + self.max_waiting, in_batches)
