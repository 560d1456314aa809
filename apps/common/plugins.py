"""The flag --plugins, of apps that make or read a run; and flags whose values are registered names."""

from collections.abc import Callable, Sequence

from absl import flags


class NamesParser(flags.ArgumentParser):
    """Any text. `apps.completion` completes the names; a plugin may bring more than are known when it is parsed.

    Args:
        names_fn: gives the names, without TensorFlow.
    """

    def __init__(self, names_fn: Callable[[], Sequence[str]]) -> None:
        super().__init__()
        self.names_fn = names_fn

    @property
    def enum_values(self) -> list[str]:
        """The names."""
        return list(self.names_fn())


def define_name(
    name: str, names_fn: Callable[[], Sequence[str]], help_text: str, flag_values: flags.FlagValues
) -> None:
    """Adds a flag that takes a registered name."""
    flags.DEFINE(NamesParser(names_fn), name, None, help_text, flag_values, flags.ArgumentSerializer())


def define_plugins(flag_values: flags.FlagValues) -> None:
    """Adds the flag."""
    flags.DEFINE_list(
        "plugins",
        [],
        "Folders, modules or .py files that register tasks, tokenizers, models, recipes or metrics, with commas "
        "between; TFLM_PLUGINS does the same. See docs/extending.md.",
        flag_values=flag_values,
    )


def use_plugins(flag_values: flags.FlagValues) -> None:
    """Makes what they register known.

    Raises:
        UserError: there is no such module or file.
    """
    from tflm import registry

    registry.use_plugins(flag_values.plugins)


def preset_names() -> list[str]:
    """Of recipes."""
    from tflm.recipes import RECIPES

    return RECIPES.names()


def task_names() -> list[str]:
    """What --task takes."""
    from tflm.tasks import TASK_RECIPES

    return TASK_RECIPES.names()
