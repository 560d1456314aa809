"""The flag --model, and the model behind it."""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from tflm.errors import UsageError, UserError

from .command_line import load_tensorflow, note, quiet_libraries

if TYPE_CHECKING:
    from tflm.serving import ModelHandle

_APPS = {
    "generate": "tflm generate",
    "classify": "tflm classify",
    "nearest": "tflm embed",
    "tag": "tflm tag",
    "answer": "tflm answer",
    "chat": "tflm chat",
    "embed": "tflm embed",
}
_CREDENTIALS = ("token_file", "ca_file")
_LOOPBACK = r"\w+://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?/"


def define_model(flag_values: flags.FlagValues) -> None:
    """--model, --token_file and --ca_file."""
    flags.DEFINE_string(
        "model",
        None,
        "The model: the folder saved_models/NAME for its highest version, or saved_models/NAME/VERSION; or the URL of "
        "a server, http[s]://HOST:PORT/v1/models/NAME or grpc[s]://HOST:PORT/NAME, both with /versions/N or /labels/L "
        "behind it if need be.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "In place of --model: the folder of a run, from tflm import or tflm train; its newest checkpoint, without an "
        "export. Example: runs/qwen.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "token_file",
        None,
        "With a URL: a file with the bearer token for the server. The environment variable TFLM_TOKEN if not given.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "ca_file",
        None,
        "With https:// or grpcs://: a PEM file with the certificate authority of the server. The environment variable "
        "TFLM_CA_FILE if not given; without both, the system's authorities.",
        flag_values=flag_values,
    )


def open_model(flag_values: flags.FlagValues, signature: str, other: str | None = None) -> "ModelHandle":
    """The model that --model names.

    Args:
        signature: what the app needs.
        other: what it can do with in its place.
    Raises:
        UsageError: no --model, or a token for a folder.
        UserError: no SavedModel there, or one without that signature; says which app it is for. Or what a signature of
            that name gives, or the config next to it, is not what tflm exports.
        ServerError: a URL, and no server that answers.
    """
    model = connect_model(flag_values)
    found = [name for name in (signature, other) if name in model.signatures]
    if not found:
        apps = sorted({_APPS[name] for name in model.signatures if name in _APPS})
        hint = f" Try {' or '.join(apps)}." if apps else ""
        name = flag_values.model or flag_values.workdir
        raise UserError(
            f"{name!r} has no signature {signature!r}, which this app needs; it has "
            f"{', '.join(model.signatures)}.{hint}"
        )
    check_outputs(model, str(found[0]))
    return model


def connect_model(flag_values: flags.FlagValues) -> "ModelHandle":
    """The model that --model names, whatever it does; errors as of `open_model`."""
    if flag_values.workdir and flag_values.model:
        raise UsageError("--model and --workdir both name a model: give one of them.")
    if not flag_values.model and not flag_values.workdir:
        raise UsageError("--model is needed: a folder such as --model=saved_models/NAME.")
    name = flag_values.model or flag_values.workdir
    credentials = {name: flag_values[name].value for name in _CREDENTIALS if flag_values[name].value}
    if "://" not in name:
        load_tensorflow()
    from tflm.serving.about import config_section

    if flag_values.workdir:
        model = _open_run(flag_values.workdir)
    else:
        import tflm

        _warn_of_plain_text(flag_values)
        with quiet_libraries():
            model = tflm.load(name, **credentials)
    for name in ("task", "model", "decoding"):
        config_section(model, name)
    return model


def _open_run(workdir: str) -> "ModelHandle":
    """The newest checkpoint of a run."""
    with quiet_libraries():
        from tflm.experiments import Experiment
        from tflm.run_model import RunModel
        from tflm.serving import ModelHandle

        return ModelHandle(RunModel(Experiment.open(workdir)))


def _warn_of_plain_text(flag_values: flags.FlagValues) -> None:
    """Where a token is about to cross a network that others may read."""
    url, has_token = flag_values.model, flag_values.token_file or os.environ.get("TFLM_TOKEN")
    if has_token and re.match("(http|grpc)://", url) and not re.match(_LOOPBACK, url):
        note("The token is sent unencrypted: use https:// or grpcs:// if the server supports them.")


def check_signature(model: "ModelHandle", signature: str, flag: str) -> None:
    """Raises UserError unless a model has the signature that a flag, as "--beam_size", needs, as tflm exports it."""
    if signature not in model.signatures:
        raise UserError(
            f"{model.path!r} has no signature {signature!r}, which {flag} needs; it has "
            f"{', '.join(model.signatures)}. Export its run again, if it is a generative model."
        )
    check_outputs(model, signature)


def check_outputs(model: "ModelHandle", signature: str, names: Sequence[str] = ()) -> None:
    """Raises UserError unless a signature that a model has gives those, and what apps read of one of that name."""
    from tflm.serving.handle.base import OUTPUTS

    given = model.signatures[signature].outputs
    if missing := [name for name in (*OUTPUTS.get(signature, ()), *names) if name not in given]:
        raise UserError(
            f"{model.path!r}: its signature {signature!r} gives {', '.join(given)}; this app needs "
            f"{', '.join(missing)} too. Give an export of tflm export."
        )
