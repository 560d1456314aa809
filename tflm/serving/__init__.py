"""An exported model as something that answers requests: in this process, or behind a server's port.

Importing this package imports nothing heavy, so that a client of a server needs no TensorFlow.
"""

from typing import TYPE_CHECKING, Any

from tflm.errors import UsageError

if TYPE_CHECKING:
    from tflm.serving.handle.model_handle import ModelHandle
    from tflm.serving.model import Model, OpenModel
    from tflm.serving.runtime.local import LocalModel


def connect(path_or_url: str, **credentials: str | None) -> "OpenModel":
    """What the apps' `--model` flag names.

        connect("https://tflm.example.org/v1/models/chat", token=token)

    Args:
        path_or_url: a SavedModel folder, `http[s]://host:port/v1/models/NAME[/versions/N|/labels/L]` or
            `grpc[s]://host:port/NAME[/versions/N|/labels/L]`.
        credentials: for a URL: `token`, `token_file`, `ca_file`, `certificate_file` and `key_file`, as
            `tflm.serving.client.credentials.Credentials.find` takes them. What is not given comes from the environment:
            TFLM_TOKEN, TFLM_CA_FILE, TFLM_CERTIFICATE_FILE, TFLM_KEY_FILE.
    Raises:
        UsageError: a URL of another form, or credentials for a folder.
        UserError: no SavedModel in the folder, or no such model on the server, or credentials that cannot be used.
        ServerError: no server that answers.
    """
    if "://" not in path_or_url:
        if given := sorted(name for name, value in credentials.items() if value):
            raise UsageError(
                f"{path_or_url!r} is a folder, which takes no {' and no '.join(given)}. They go with a server's URL, "
                "such as https://host:port/v1/models/NAME."
            )
        from tflm.serving.runtime.local import LocalModel

        return LocalModel(path_or_url)
    from tflm.serving.client.credentials import Credentials

    found = Credentials.find(**credentials)
    if path_or_url.startswith(("grpc://", "grpcs://")):
        from tflm.serving.client.grpc import GrpcModel

        return GrpcModel(path_or_url, credentials=found)
    from tflm.serving.client.rest import RestModel

    return RestModel(path_or_url, credentials=found)


def load(path_or_url: str, **credentials: str | None) -> "ModelHandle":
    """`tflm.load`: as `connect`, with a method for each thing that a model does."""
    from tflm.serving.handle.model_handle import ModelHandle

    return ModelHandle(connect(path_or_url, **credentials))


def __getattr__(name: str) -> Any:
    if name == "ModelHandle":
        from tflm.serving.handle.model_handle import ModelHandle

        return ModelHandle
    if name == "LocalModel":
        from tflm.serving.runtime.local import LocalModel

        return LocalModel
    if name in ("Model", "OpenModel"):
        from tflm.serving import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["LocalModel", "Model", "ModelHandle", "OpenModel", "connect", "load"]
