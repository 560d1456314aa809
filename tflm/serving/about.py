"""The config of a served model, by its signature `about`."""

import json
from typing import Any

from tflm.errors import UserError
from tflm.serving.model import Model


def read_config(model: Model) -> dict[str, Any]:
    """The resolved config, by the signature `about`; empty if the model has none, as one not made by tflm.

    Raises:
        ServerError: the server did not answer.
        UserError: a signature of that name that returns no JSON.
    """
    if "about" not in model.signatures:
        return {}
    outputs = model.predict("about", {"text": [""]})
    try:
        found = json.loads(outputs["config"][0])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UserError(
            f"{model.path!r}: its signature 'about' returns no config, as those of exports by tflm do ({error!r}). "
            "Export its run again, or leave that signature out."
        ) from error
    return found if isinstance(found, dict) else {}


def config_section(model: Model, name: str) -> dict[str, Any]:
    """A section of a model's config, such as "task"; empty without one.

    Raises:
        UserError: the config is not as tflm writes it.
    """
    config: Any = model.config
    section = config.get(name, {}) if isinstance(config, dict) else None
    if not isinstance(section, dict):
        raise UserError(
            f"{model.path!r}: config.json is not as tflm writes it: it and its sections are JSON objects. Export the "
            "run again."
        )
    return section
