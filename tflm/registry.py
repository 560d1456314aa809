"""Registries: a task, a tokenizer, a recipe and so on register themselves where they are defined.

    TASKS: Registry[type[Task]] = Registry("task", "register_task", "tflm.tasks")

    @register_task("chat")          # in tflm/tasks/chat.py; there is no list to edit elsewhere
    class Chat(GenerativeTask): ...

    TASKS.names()                   # reads the sources: nothing is imported
    TASKS.get("chat")               # imports tflm.tasks.chat

Code outside this package takes part as a plugin: a module or a .py file that `TFLM_PLUGINS` names (several with commas
between), or an installed package with an entry point in the group `tflm.plugins`. A plugin that was imported is known
anyway.
"""

import ast
import functools
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import os
import pathlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from tflm.errors import UserError

PLUGINS = "TFLM_PLUGINS"
ENTRY_POINTS = "tflm.plugins"

T = TypeVar("T")


class UnknownNameError(UserError):
    """Nothing of this name is registered."""


class Declaration(NamedTuple):
    """What the source of a module says about a registered class or function."""

    name: str
    module: str
    """The dotted name of the module; of a plugin in a file, its path."""
    doc: str
    """The docstring, without its indentation; "" for none."""

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring, in one line."""
        return " ".join(self.doc.partition("\n\n")[0].split())


class Registry(Generic[T]):
    """Classes or functions of one sort, by name.

    Args:
        noun: what they are, for messages: "task".
        decorator: the name of the decorator that registers them. Its first argument, a string literal, is the name;
            without such an argument the name is that of the class or the function.
        package: the built-in ones are in the modules of this package.
    """

    def __init__(self, noun: str, decorator: str, package: str) -> None:
        self.noun, self.decorator, self.package = noun, decorator, package
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Registers `thing`; a module that is imported a second time replaces its own.

        Raises:
            ValueError: another one has the name.
        """
        known = self._things.get(name)
        if known is not None and _place(known) != _place(thing):
            raise ValueError(
                f"two {self.noun}s are named {name!r}: {'.'.join(_place(known))} and {'.'.join(_place(thing))}. "
                "Rename one of them."
            )
        self._things[name] = thing
        return thing

    def register(self, name: str) -> Callable[[Any], Any]:
        """A decorator that adds what it decorates."""
        return lambda thing: self.add(name, thing)

    def get(self, name: str) -> T:
        """The class or function of this name; its module is imported if need be.

        Raises:
            UnknownNameError: nothing is registered under the name.
        """
        if name not in self._things and (declared := self.declarations().get(name)):
            _import(declared.module)
        if name not in self._things:  # a plugin may register without a decorator that the source shows
            for plugin in plugins():
                for module, _ in _modules(plugin):
                    _import(module)
        if name not in self._things:
            raise UnknownNameError(
                f"no {self.noun} {name!r}. There are: {', '.join(self.names())}. One of a plugin needs "
                f"{PLUGINS}=MODULE_OR_FILE."
            )
        return self._things[name]

    def remove(self, name: str) -> None:
        """Forgets a class or function that is registered; a test that registers one does so at its end."""
        self._things.pop(name, None)

    def __contains__(self, name: object) -> bool:
        """Whether there is one of this name. Nothing is imported."""
        return name in self._things or name in self.declarations()

    def names(self) -> list[str]:
        """All names, sorted. Nothing is imported."""
        return sorted(self._things.keys() | self.declarations().keys())

    def declarations(self) -> dict[str, Declaration]:
        """Name to what the sources of the package and of the plugins declare. Nothing is imported.

        Raises:
            UserError: two modules declare the same name, or a plugin cannot be found.
        """
        found: dict[str, Declaration] = {}
        for module, path in [
            *_modules(self.package),
            *(each for name in plugins() for each in _modules(name)),
        ]:
            for declared in _declarations(path, os.stat(path).st_mtime_ns, module, self.decorator):
                other = found.setdefault(declared.name, declared)
                if other != declared:
                    raise UserError(
                        f"two {self.noun}s are named {declared.name!r}: in {other.module} and in {module}. Rename one "
                        "of them."
                    )
        return found


def plugins() -> list[str]:
    """The modules and files of `TFLM_PLUGINS`, then those of installed packages."""
    named = [name.strip() for name in os.environ.get(PLUGINS, "").split(",") if name.strip()]
    return list(dict.fromkeys([*named, *_installed_plugins()]))


def use_plugins(names: list[str]) -> None:
    """Adds plugins for this process and those that it starts.

    Raises:
        UserError: there is no such module or file.
    """
    for name in names:
        _modules(name)
    os.environ[PLUGINS] = ",".join(dict.fromkeys([*os.environ.get(PLUGINS, "").split(","), *names])).strip(
        ","
    )


@functools.cache
def _installed_plugins() -> tuple[str, ...]:
    return tuple(each.module for each in importlib.metadata.entry_points(group=ENTRY_POINTS))


def _modules(name: str) -> list[tuple[str, str]]:
    """(dotted name, path) of the modules of a package, of one module, or of a file."""
    if name.endswith(".py"):
        if not os.path.isfile(name):
            raise UserError(f"there is no plugin {name!r}: no such file. Check --plugins or {PLUGINS}.")
        return [(name, os.path.abspath(name))]
    folder, base = os.path.split(os.path.abspath(name))
    spec = _find_spec(name)
    if spec is None and os.path.isdir(name) and base.isidentifier():
        sys.path.append(folder)
        name, spec = base, _find_spec(base)
    if spec is None:
        raise UserError(
            f"there is no plugin {name!r}: no such module or folder. Install it or put its folder on PYTHONPATH, or "
            "name a file that ends in .py."
        )
    if not spec.submodule_search_locations:
        return [(name, str(spec.origin))] if str(spec.origin).endswith(".py") else []
    found = []
    for location in map(pathlib.Path, spec.submodule_search_locations):
        for path in sorted(location.rglob("*.py")):
            parts = path.relative_to(location).with_suffix("").parts
            found.append((".".join([name, *(part for part in parts if part != "__init__")]), str(path)))
    return found


def _find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _import(name: str) -> ModuleType:
    """A module by its dotted name, or a file, once in a process."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = os.path.abspath(name)
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == path:
            return module
    stem = pathlib.Path(path).stem
    spec = importlib.util.spec_from_file_location(
        stem if stem not in sys.modules else f"tflm_plugin_{stem}", path
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


@functools.cache
def _declarations(path: str, time: int, module: str, decorator: str) -> tuple[Declaration, ...]:
    """Those in a file, as it was at `time`."""
    del time
    with open(path, "rb") as file:
        source = file.read()
    if decorator.encode() not in source:
        return ()
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: not Python: {error.msg}.") from error
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names = (_registered_name(each, decorator, node.name) for each in node.decorator_list)
            doc = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
            found += [Declaration(name, module, doc) for name in names if name]
    return tuple(found)


def _registered_name(node: ast.expr, decorator: str, default: str) -> str:
    """The name under which `@decorator`, `@decorator(...)` or `@module.decorator("name")` registers; "" for another
    decorator."""
    call = node if isinstance(node, ast.Call) else None
    target = call.func if call else node
    if (target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")) != decorator:
        return ""
    first = call.args[0] if call and call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else default


def _place(thing: Any) -> tuple[str, str]:
    """The module and the name of a class or a function."""
    return (thing.__module__, thing.__qualname__)
