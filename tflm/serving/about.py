"""What a served model tells of itself."""

import json
from typing import Any

from tflm.errors import UserError
from tflm.serving.model import Model


def read_config(model: Model) -> dict[str, Any]:
    """The resolved config, by the signature `about`; empty if the model has none, as one not made by tflm.

    Raises:
        ServerError: the server did not answer.
        UserError: a signature of that name that tells no JSON.
    """
    if "about" not in model.signatures:
        return {}
    outputs = model.predict("about", {"text": [""]})
    try:
        found = json.loads(outputs["config"][0])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UserError(
            f"{model.path!r}: its signature 'about' tells no config, as those of apps.export do ({error!r}). "
            "Export its run again, or leave that signature out."
        ) from error
    return found if isinstance(found, dict) else {}
