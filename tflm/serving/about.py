"""What a served model tells of itself."""

import json
from typing import Any

from tflm.serving.model import Model


def read_config(model: Model) -> dict[str, Any]:
    """The resolved config, by the signature `about`; empty if the model has none, as one not made by tflm.

    Raises:
        ServerError: the server did not answer.
    """
    if "about" not in model.signatures:
        return {}
    found = json.loads(model.predict("about", {"text": [""]})["config"][0])
    return found if isinstance(found, dict) else {}
