"""Two files whose lines belong together, one a language, as Moses has them: train.en and train.de."""

import glob
import itertools
import os
from collections.abc import Iterator

from tflm.data.files import find_in_folder, list_files, read_lines
from tflm.data.rows import Row
from tflm.errors import UserError


def read_parallel(prefix: str, endings: dict[str, str], encoding: str = "utf-8") -> Iterator[Row]:
    """One row for each pair of lines that is not blank on both sides; a stream over both files in step.

    >>> [row.example for row in read_parallel("corpus/train", {"source": "en", "target": "de"})]
    [{'source': 'A dog.\\n', 'target': 'Ein Hund.\\n'}]

    Args:
        prefix: the path of both files without their endings; each may be packed (`train.en.gz`).
        endings: example key -> ending.

    Raises:
        UserError: a file is missing, or, when all has been read, they differ in their number of lines.
    """
    if os.path.isdir(prefix) and not glob.glob(f"{glob.escape(prefix)}.*"):
        raise UserError(
            f"path {prefix!r} is a folder; source 'parallel' needs train_file, too, the name of its files without "
            f"their endings; the files are {list_files(prefix)}"
        )
    folder, name = os.path.split(prefix)
    files = [
        find_in_folder(folder or ".", f"{name}.{ending}", f"{key}_column {ending!r} of {prefix!r}")
        for key, ending in endings.items()
    ]
    # By newline alone: a stray carriage return in a line of one side would shift all lines after it.
    sides = [read_lines(file, encoding, newline="\n") for file in files]
    ends = [0 for _ in sides]
    for number, lines in enumerate(itertools.zip_longest(*sides), 1):
        ends = [number if line is not None else end for line, end in zip(lines, ends)]
        if None not in lines and any(line.strip() for line in lines):
            yield Row(files[0], number, dict(zip(endings, lines)))
    if len(set(ends)) > 1:
        counts = " and ".join(f"{file} has {end} lines" for file, end in zip(files, ends))
        raise UserError(f"{counts}; line n of one must belong to line n of the other, so mend the files")
