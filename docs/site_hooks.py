"""Hooks of the site: an API reference with a page for each package, and links that lead out of docs/.

mkdocstrings reads the sources; neither this module nor the build imports tflm.
"""

import ast
import pathlib
import re
from typing import Any

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
ORDER = ("text", "data", "layers", "models", "tasks", "training", "generation", "evaluation", "export", "experiments",
         "recipes", "retrieval", "serving")  # fmt: skip
"""The packages in the order of the pipeline; others follow by name."""


def on_config(config: Any) -> Any:
    """Adds the reference to the navigation."""
    pages = [{"tflm": "api/tflm.md"}, *({f"tflm.{name}": f"api/{name}.md"} for name in _packages())]
    config.nav.append({"API": pages})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages of the reference."""
    files.append(File.generated(config, "api/tflm.md", content=_page("tflm", ROOT / "tflm/__init__.py")))
    for name in _packages():
        content = _page(f"tflm.{name}", ROOT / "tflm" / name / "__init__.py")
        files.append(File.generated(config, f"api/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Links to files of the repository outside docs/: the README becomes the first page, of others the text stays."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def replaced(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        path = (folder / target.partition("#")[0]).resolve()
        if path == ROOT / "README.md":
            return f"[{text}]({'../' * page.file.src_uri.count('/')}index.md)"
        is_outside = path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / "docs")
        return text if is_outside and path.exists() else link[0]

    return re.sub(r"(?<!!)\[([^\]]*)\]\((\.\./[^)\s]+)\)", replaced, markdown)


def _packages() -> list[str]:
    """The packages of tflm that say what they offer."""
    found = [path.parent.name for path in (ROOT / "tflm").glob("*/__init__.py") if _public(path)]
    return sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def _public(path: pathlib.Path) -> list[str]:
    """`__all__` of a module; [] where it has none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))
    return []


def _page(name: str, path: pathlib.Path) -> str:
    """A package's docstring, then what it offers."""
    about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    entries = [f"::: {name}.{each}\n" for each in _public(path)]
    return "\n".join([f"# {name}\n", f"{about}\n", *entries])
