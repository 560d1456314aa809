"""The public names of a package, imported when they are first used.

    if TYPE_CHECKING:
        from tflm.tasks.chat import Chat, ChatConfig

    __getattr__, __all__ = lazy_exports(__name__, __file__)

The imports are written once. Type checkers and editors read them as they are, and Python when a name is asked for (PEP
562): `import tflm.tasks` then takes a millisecond, and `tflm.tasks.Chat` imports TensorFlow.
"""

import ast
import importlib
from collections.abc import Callable
from typing import Any


def lazy_exports(package: str, path: str) -> tuple[Callable[[str], Any], list[str]]:
    """`__getattr__` and `__all__` for a package.

    Args:
        package: its `__name__`.
        path: its `__file__`, with imports under `if TYPE_CHECKING:`.
    """
    with open(path, "rb") as file:
        tree = ast.parse(file.read())
    guarded = (
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [each for node in guarded for each in node.body if isinstance(each, ast.ImportFrom)]
    places = {alias.name: str(each.module) for each in imports for alias in each.names}

    def find(name: str) -> Any:
        if name in places:
            return getattr(importlib.import_module(places[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, sorted(places)
