"""The flag --model, and the model behind it."""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from apps.command_line import load_tensorflow, note, quiet_libraries
from tflm.errors import UsageError, UserError

if TYPE_CHECKING:
    from tflm.serving import Model

_APPS = {
    "generate": "apps.generate",
    "classify": "apps.classify",
    "nearest": "apps.embed",
    "tag": "apps.tag",
    "answer": "apps.answer",
    "chat": "apps.chat",
    "embed": "apps.embed",
}
_CREDENTIALS = ("token_file", "ca_file")
_LOOPBACK = r"\w+://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?/"
_OUTPUTS = {  # that the apps read
    "generate": ("text", "num_tokens", "log_probability"),
    "beam": ("text", "num_tokens", "log_probability", "score"),
    "alternatives": (
        "tokens",
        "log_probabilities",
        "alternatives",
        "alternative_log_probabilities",
        "num_tokens",
    ),
    "classify": ("label", "labels", "scores"),
    "choose": ("choice", "probabilities"),
    "tag": ("start", "end", "label", "score", "num_spans"),
    "answer": ("answers", "starts", "ends", "scores", "start", "score", "margin"),
    "embed": ("embedding",),
}


def define_model(flag_values: flags.FlagValues) -> None:
    """--model, --token_file and --ca_file."""
    flags.DEFINE_string(
        "model",
        None,
        "A SavedModel, saved_models/NAME[/VERSION], or a server's: http[s]://HOST:PORT/v1/models/NAME or "
        "grpc[s]://HOST:PORT/NAME, both with [/versions/N|/labels/L].",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "token_file",
        None,
        "With a URL: a file with the token that the server wants; TFLM_TOKEN if not given.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "ca_file",
        None,
        "With https:// or grpcs://: a PEM file of who signed the server's certificate; TFLM_CA_FILE if not given.",
        flag_values=flag_values,
    )


def open_model(flag_values: flags.FlagValues, signature: str, other: str | None = None) -> "Model":
    """The model that --model names.

    Args:
        signature: what the app needs.
        other: what it can do with in its place.
    Raises:
        UsageError: no --model, or a token for a folder.
        UserError: no SavedModel there, or one without that signature; says which app it is for. Or what a signature of
            that name gives, or the config beside it, is not what tflm exports.
        ServerError: a URL, and no server that answers.
    """
    if not flag_values.model:
        raise UsageError("--model is needed: a folder such as --model=saved_models/NAME.")
    credentials = {name: flag_values[name].value for name in _CREDENTIALS if flag_values[name].value}
    if "://" not in flag_values.model:
        load_tensorflow()
    from tflm.serving import connect

    _warn_of_plain_text(flag_values)
    with quiet_libraries():
        model = connect(flag_values.model, **credentials)
    found = [name for name in (signature, other) if name in model.signatures]
    if not found:
        apps = sorted({_APPS[name] for name in model.signatures if name in _APPS})
        hint = f" Try {' or '.join(apps)}." if apps else ""
        raise UserError(
            f"{flag_values.model!r} has no signature {signature!r}, which this app needs; it has "
            f"{', '.join(model.signatures)}.{hint}"
        )
    check_outputs(model, str(found[0]))
    _check_config(model)
    return model


def _warn_of_plain_text(flag_values: flags.FlagValues) -> None:
    """Where a token is about to cross a network that others may read."""
    url, has_token = flag_values.model, flag_values.token_file or os.environ.get("TFLM_TOKEN")
    if has_token and re.match("(http|grpc)://", url) and not re.match(_LOOPBACK, url):
        note(
            "The token crosses the network unencrypted, and whoever is on the way can read it: use https:// or "
            "grpcs:// if the server has them."
        )


def check_signature(model: "Model", signature: str, flag: str) -> None:
    """Raises UserError unless a model has the signature that a flag, as "--beam_size", needs, as tflm exports it."""
    if signature not in model.signatures:
        raise UserError(
            f"{model.path!r} has no signature {signature!r}, which {flag} needs; it has "
            f"{', '.join(model.signatures)}. Export its run again, if it is a model that writes text."
        )
    check_outputs(model, signature)


def check_outputs(model: "Model", signature: str, names: Sequence[str] = ()) -> None:
    """Raises UserError unless a signature that a model has gives those, and what apps read of one of that name."""
    given = model.signatures[signature].outputs
    if missing := [name for name in (*_OUTPUTS.get(signature, ()), *names) if name not in given]:
        raise UserError(
            f"{model.path!r}: its signature {signature!r} gives {', '.join(given)}; this app needs "
            f"{', '.join(missing)} too. Give an export of apps.export."
        )


def _check_config(model: "Model") -> None:
    config: Any = model.config
    sections = [config]
    if isinstance(config, dict):
        sections += [config.get(name, {}) for name in ("task", "model", "decoding")]
    if not all(isinstance(section, dict) for section in sections):
        raise UserError(
            f"{model.path!r}: config.json is not as tflm writes it: it and its sections are JSON objects. Export the "
            "run again."
        )
