"""The flag --model, and the model behind it."""

from typing import TYPE_CHECKING

from absl import flags

from apps.command_line import load_tensorflow, quiet_libraries
from tflm.errors import UsageError, UserError

if TYPE_CHECKING:
    from tflm.serving import LocalModel

_APPS = {
    "generate": "apps.generate",
    "classify": "apps.classify",
    "nearest": "apps.embed",
    "tag": "apps.tag",
    "embed": "apps.embed",
}


def define_model(flag_values: flags.FlagValues) -> None:
    """--model."""
    flags.DEFINE_string("model", None, "A SavedModel: saved_models/NAME[/VERSION].", flag_values=flag_values)


def open_model(flag_values: flags.FlagValues, signature: str) -> "LocalModel":
    """The model that --model names.

    Args:
        signature: what the app needs.
    Raises:
        UsageError: no --model.
        UserError: no SavedModel there, or one without that signature; says which app it is for.
    """
    if not flag_values.model:
        raise UsageError("--model is needed: a folder such as --model=saved_models/NAME.")
    load_tensorflow()
    from tflm.serving import connect

    with quiet_libraries():
        model = connect(flag_values.model)
    if signature not in model.signatures:
        apps = sorted({_APPS[name] for name in model.signatures if name in _APPS})
        hint = f" Try {' or '.join(apps)}." if apps else ""
        raise UserError(
            f"{flag_values.model!r} has no signature {signature!r}, which this app needs; it has "
            f"{', '.join(model.signatures)}.{hint}"
        )
    return model
