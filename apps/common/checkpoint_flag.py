"""The flag --checkpoint: which weights of a run."""

from absl import flags

from tflm.errors import UsageError

NAMES = ("newest", "best", "average", "ema")


def define_checkpoint(flag_values: flags.FlagValues) -> None:
    """--step and --checkpoint."""
    flags.DEFINE_integer(
        "step", None, "Step of the checkpoint; the newest if not given.", flag_values=flag_values
    )
    flags.DEFINE_string(
        "checkpoint",
        None,
        "In place of --step: newest; best, by training.keep_best; average, from tflm average; ema, the moving average "
        "by training.ema_decay; or a step.",
        flag_values=flag_values,
    )


def chosen_checkpoint(flag_values: flags.FlagValues) -> int | str | None:
    """The step or the name that was given; None for the newest.

    Raises:
        UsageError: both flags, or a value that is neither a name nor a step.
    """
    name = flag_values.checkpoint
    if name is None:
        return flag_values.step
    if flag_values.step is not None:
        raise UsageError("--step and --checkpoint both choose the checkpoint: give one of them.")
    if name not in NAMES and not name.isdecimal():
        raise UsageError(f"--checkpoint is {', '.join(NAMES)} or a step, such as 500; got {name!r}.")
    return int(name) if name.isdecimal() else name
