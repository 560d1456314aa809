"""What the apps that write text share: their flags, and requests to the `generate` signature."""

from collections.abc import Sequence
from typing import Any

from absl import flags

from apps.command_line import load_tensorflow
from apps.model_flag import define_model, open_model
from tflm.errors import UsageError, UserError

_SETTINGS: dict[str, tuple[type, str]] = {
    "seed": (int, "Same seed, same text."),
    "temperature": (float, "0 takes the likeliest token; higher is more varied."),
    "top_k": (int, "Sample from the k likeliest tokens; 0 is off."),
    "top_p": (float, "Sample from the likeliest tokens that together reach p; 1 is off."),
    "min_p": (float, "Leave out tokens less than min_p times as likely as the likeliest; 0 is off."),
    "repetition_penalty": (float, "Above 1: what was said becomes less likely."),
    "min_new_tokens": (int, "No end before so many tokens."),
    "max_new_tokens": (int, "The end after so many tokens at the latest."),
}


def define_generation(flag_values: flags.FlagValues) -> None:
    """--model, and the settings of generation; what is not given is as the export says."""
    define_model(flag_values)
    for name, (kind, help_text) in _SETTINGS.items():
        define = flags.DEFINE_integer if kind is int else flags.DEFINE_float
        define(name, None, help_text, flag_values=flag_values)


class Generator:
    """A SavedModel with a `generate` signature, and the settings of the command line.

    Raises:
        UsageError: no --model, or a setting out of range.
        UserError: no SavedModel there, or one that does not generate.
    """

    def __init__(self, flag_values: flags.FlagValues) -> None:
        self.model = open_model(flag_values, "generate")
        given = {name: flag_values[name].value for name in _SETTINGS if flag_values[name].value is not None}
        own = self.model.config.get("decoding", {})
        try:
            _checked(own)
        except UsageError as error:
            raise UserError(f"{self.model.path!r} is damaged: of its own settings {error}") from error
        self.settings = _checked({**own, **given})

    def change(self, name: str, value: Any) -> None:
        """Sets one setting for the answers to come.

        Raises:
            UsageError: there is no such setting, or the value is out of range.
        """
        self.settings = _checked({**self.settings, name: value})

    def __call__(
        self, texts: Sequence[str], seeds: Sequence[int] | None = None, **changes: Any
    ) -> list[dict[str, Any]]:
        """For each text a record with `text`, `num_tokens` and `log_probability`.

        Args:
            seeds: one for each text; that of the settings when None.
            changes: settings of this call alone, such as `max_new_tokens=10`.
        """
        settings = {**self.settings, **changes}
        inputs: dict[str, Any] = {name: [value] * len(texts) for name, value in settings.items()}
        if seeds is not None:
            inputs["seed"] = list(seeds)
        outputs = self.model.predict("generate", {"text": list(texts), **inputs})
        return [
            {
                "text": text.decode("utf-8"),
                "num_tokens": int(count),
                "log_probability": float(log_probability),
            }
            for text, count, log_probability in zip(
                outputs["text"], outputs["num_tokens"], outputs["log_probability"], strict=True
            )
        ]


def one_line(text: str) -> str:
    """The words of a text with single spaces between.

    >>> one_line(" a\\n b")
    'a b'
    """
    return " ".join(text.split())


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """All settings, with the defaults of those that are not given."""
    load_tensorflow()  # behind a URL nothing else has loaded it, and `tflm.decoding` does
    from tflm.config import from_dict, to_dict
    from tflm.decoding import DecodingConfig

    try:
        return to_dict(from_dict(DecodingConfig, settings))
    except UserError as error:
        raise UsageError(str(error).removeprefix("DecodingConfig: ")) from error
