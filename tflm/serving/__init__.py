"""An exported model as something that answers requests: in this process, or behind a server's port.

Importing this package imports nothing heavy, so that a client of a server needs no TensorFlow.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tflm.serving.local import LocalModel
    from tflm.serving.model import Model


def connect(path_or_url: str) -> "Model":
    """What the apps' `--model` flag names.

    Args:
        path_or_url: a SavedModel folder, `http://host:port/v1/models/NAME[/versions/N|/labels/L]` or
            `grpc://host:port/NAME[/versions/N|/labels/L]`.
    Raises:
        UsageError: a URL of another form.
        UserError: no SavedModel in the folder, or no such model on the server.
        ServerError: no server that answers.
    """
    if path_or_url.startswith("grpc://"):
        from tflm.serving.grpc_client import GrpcModel

        return GrpcModel(path_or_url)
    if "://" in path_or_url:
        from tflm.serving.client import RestModel

        return RestModel(path_or_url)
    from tflm.serving.local import LocalModel

    return LocalModel(path_or_url)


def __getattr__(name: str) -> Any:
    if name == "LocalModel":
        from tflm.serving.local import LocalModel

        return LocalModel
    if name == "Model":
        from tflm.serving.model import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["LocalModel", "Model", "connect"]
