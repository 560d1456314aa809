"""The embedded server: TensorFlow Serving's REST and gRPC protocol over SavedModels. It needs `tflm[serve]`."""

from tflm.serving.server.access_log import AccessLog
from tflm.serving.server.batching_config import BatchingConfig, read_batching_file
from tflm.serving.server.bearer import TokenFile
from tflm.serving.server.manager import ModelManager
from tflm.serving.server.metrics import Metrics
from tflm.serving.server.model_config import ModelConfig, read_model_config_file
from tflm.serving.server.monitoring_config import MonitoringConfig, read_monitoring_file
from tflm.serving.server.options import ServingOptions
from tflm.serving.server.server import Server
from tflm.serving.server.status import ServingError
from tflm.serving.server.tls import Tls

__all__ = [
    "AccessLog",
    "BatchingConfig",
    "Metrics",
    "ModelConfig",
    "ModelManager",
    "MonitoringConfig",
    "Server",
    "ServingError",
    "ServingOptions",
    "Tls",
    "TokenFile",
    "read_batching_file",
    "read_model_config_file",
    "read_monitoring_file",
]
