"""tflm: language models on Keras 3 and TensorFlow, from a text file to a served model.

    import tflm
    model = tflm.load("saved_models/chat")        # a folder, or an http(s):// or grpc(s):// URL
    model.generate("Once upon", top_p=0.9)

Importing this package imports nothing heavy; each part is imported by name, for instance
`from tflm.text import load_tokenizer`.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tflm.experiments import Experiment
    from tflm.serving.handle.model_handle import ModelHandle

__version__ = "0.1.0"


def load(path_or_url: str, **credentials: str | None) -> "ModelHandle":
    """A model that is ready to use. For a URL no TensorFlow is imported.

        model = tflm.load("saved_models/chat")
        model = tflm.load("https://tflm.example.org/v1/models/chat", token=token)

    Args:
        path_or_url: a SavedModel folder, `saved_models/NAME[/VERSION]`; the folder of a run, `runs/NAME`, for its
            newest checkpoint; or a server's model,
            `http[s]://host:port/v1/models/NAME[/versions/N|/labels/L]` or
            `grpc[s]://host:port/NAME[/versions/N|/labels/L]`.
        credentials: for a URL: `token`, `token_file`, `ca_file`, `certificate_file` and `key_file`. What is not given
            comes from the environment: TFLM_TOKEN, TFLM_CA_FILE, TFLM_CERTIFICATE_FILE, TFLM_KEY_FILE.
    Raises:
        UserError: no such model, or credentials that cannot be used; `UsageError`: a URL of another form.
        ServerError: no server that answers.
    """
    is_run = "://" not in path_or_url and os.path.isdir(os.path.join(path_or_url, "checkpoints"))
    if is_run and not credentials:
        from tflm.experiments import Experiment
        from tflm.run_model import RunModel
        from tflm.serving import ModelHandle

        return ModelHandle(RunModel(Experiment.open(path_or_url)))
    from tflm.serving import load as load_

    return load_(path_or_url, **credentials)


def __getattr__(name: str) -> Any:
    if name == "Experiment":
        from tflm.experiments import Experiment

        return Experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Experiment", "load"]
