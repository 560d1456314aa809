"""The embedded server: TensorFlow Serving's REST and gRPC protocol over SavedModels. It needs `tflm[serve]`."""

from tflm.serving.server.manager import ModelManager
from tflm.serving.server.model_config import ModelConfig, read_model_config_file
from tflm.serving.server.server import Server
from tflm.serving.server.status import ServingError

__all__ = ["ModelConfig", "ModelManager", "Server", "ServingError", "read_model_config_file"]
