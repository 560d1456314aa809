"""Text sources to examples, to a token store on disk, to resumable batches that a seed decides."""

from tflm.data.batches import Batches, BatchIterator
from tflm.data.bucketed import BucketedBatches
from tflm.data.config import DataConfig
from tflm.data.cut_store import CutStore
from tflm.data.examples import Examples, Report, read_examples
from tflm.data.mapped_batches import MappedBatches
from tflm.data.packed import PackedBatches
from tflm.data.row_batches import RowBatches
from tflm.data.store import TokenStore, build_store

__all__ = [
    "BatchIterator",
    "Batches",
    "BucketedBatches",
    "CutStore",
    "DataConfig",
    "Examples",
    "MappedBatches",
    "PackedBatches",
    "Report",
    "RowBatches",
    "TokenStore",
    "build_store",
    "read_examples",
]
