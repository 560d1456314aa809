"""An exported model as something that answers requests."""

from tflm.errors import UsageError
from tflm.serving.local import LocalModel


def connect(path_or_url: str) -> LocalModel:
    """What the apps' `--model` flag names: a SavedModel folder.

    Raises:
        UsageError: a URL; requests to servers are not there yet.
        UserError: no SavedModel in the folder.
    """
    if "://" in path_or_url:
        raise UsageError(
            f"--model={path_or_url}: this version answers from a SavedModel folder alone; servers come in a "
            "later one. Give the folder, such as saved_models/NAME."
        )
    return LocalModel(path_or_url)


__all__ = ["LocalModel", "connect"]
