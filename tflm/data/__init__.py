"""The data pipeline: sources to examples, to a token store on disk, to deterministic, resumable batches.

Importing this package does not import TensorFlow, so that apps can read tables without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tflm.data.back_translation import back_translate
    from tflm.data.batching.batches import Batches, BatchIterator
    from tflm.data.batching.length_bucketing import BucketedBatches
    from tflm.data.batching.mapped_batches import MappedBatches
    from tflm.data.batching.packed import PackedBatches
    from tflm.data.batching.row_batches import RowBatches
    from tflm.data.config import DataConfig
    from tflm.data.examples import Examples, Report, read_examples
    from tflm.data.labels import UnknownLabelError, check_labels
    from tflm.data.store_views import CutStore
    from tflm.data.token_store import TokenStore, build_store

_MODULES = {
    "BatchIterator": "batching.batches",
    "Batches": "batching.batches",
    "BucketedBatches": "batching.length_bucketing",
    "CutStore": "store_views",
    "DataConfig": "config",
    "Examples": "examples",
    "MappedBatches": "batching.mapped_batches",
    "PackedBatches": "batching.packed",
    "Report": "examples",
    "RowBatches": "batching.row_batches",
    "TokenStore": "token_store",
    "UnknownLabelError": "labels",
    "back_translate": "back_translation",
    "build_store": "token_store",
    "check_labels": "labels",
    "read_examples": "examples",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
    "UnknownLabelError",
    "back_translate",
    "build_store",
    "check_labels",
    "read_examples",
]
