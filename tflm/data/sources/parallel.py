"""Line-aligned parallel corpora in two files, as in Moses: train.en and train.de."""

import glob
import itertools
import os
from collections.abc import Iterator

from tflm.data.files import find_in_folder, list_files, read_lines
from tflm.data.sources.rows import Row
from tflm.errors import UserError


def read_parallel(prefix: str, endings: dict[str, str], encoding: str = "utf-8") -> Iterator[Row]:
    """Streams pairs of lines of both files, except pairs that are blank on both sides.

    >>> [row.example for row in read_parallel("corpus/train", {"source": "en", "target": "de"})]
    [{'source': 'A dog.\\n', 'target': 'Ein Hund.\\n'}]

    Args:
        prefix: path of both files without extension; each may be compressed (`train.en.gz`).
        endings: example key to file extension.
        encoding: Python name of the encoding.

    Raises:
        UserError: a file is missing, or, at the end, the numbers of lines differ.
    """
    if os.path.isdir(prefix) and not glob.glob(f"{glob.escape(prefix)}.*"):
        raise UserError(
            f"path {prefix!r} is a folder; source 'parallel' also needs train_file, the name of its files without "
            f"extension; the files are {list_files(prefix)}"
        )
    folder, name = os.path.split(prefix)
    files = [
        find_in_folder(folder or ".", f"{name}.{ending}", f"{key}_column {ending!r} of {prefix!r}")
        for key, ending in endings.items()
    ]
    # Lines end at "\n" only: a stray "\r" on one side would misalign all following lines.
    sides = [read_lines(file, encoding, newline="\n") for file in files]
    ends = [0 for _ in sides]
    for number, lines in enumerate(itertools.zip_longest(*sides), 1):
        ends = [number if line is not None else end for line, end in zip(lines, ends)]
        if None not in lines and any(line.strip() for line in lines):
            yield Row(files[0], number, dict(zip(endings, lines)))
    if len(set(ends)) > 1:
        counts = " and ".join(f"{file} has {end} lines" for file, end in zip(files, ends))
        raise UserError(f"{counts}; the files must be aligned line by line, so fix them")
