"""The embedded server: TensorFlow Serving's REST and gRPC protocol over SavedModels. It needs `tflm[serve]`."""

from tflm.serving.server.auth.bearer import TokenFile
from tflm.serving.server.auth.tls import Tls
from tflm.serving.server.core.batching_config import BatchingConfig, read_batching_file
from tflm.serving.server.core.limits import ServingOptions
from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.model_config import ModelConfig, read_model_config_file
from tflm.serving.server.core.status import ServingError
from tflm.serving.server.monitoring.access_log import AccessLog
from tflm.serving.server.monitoring.metrics import Metrics, watch_models
from tflm.serving.server.monitoring.monitor import MonitoringConfig, read_monitoring_file
from tflm.serving.server.server import Server

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
    "watch_models",
]
