"""The files from which a published tokenizer was read, kept in a folder of the saved one."""

import os
import types
from collections.abc import Mapping

FOLDER = "source"


def write_source_files(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Writes the files into `folder/source`; nothing without files."""
    for name, content in files.items():
        path = os.path.join(folder, FOLDER, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


def read_source_files(folder: str | os.PathLike[str]) -> Mapping[str, bytes]:
    """The files of `folder/source` by name; none without that folder."""
    path = os.path.join(folder, FOLDER)
    files = {}
    for name in sorted(os.listdir(path)) if os.path.isdir(path) else ():
        with open(os.path.join(path, name), "rb") as file:
            files[name] = file.read()
    return types.MappingProxyType(files)
