"""Several files as one asset of a tokenizer: an archive that is the same for the same files."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from tflm.errors import UserError

SETTINGS = "settings.json"


def pack(settings: Any, files: Mapping[str, bytes]) -> bytes:
    """A zip archive of `settings.json` and the files.

    Args:
        settings: JSON values.
        files: contents by name.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        content = json.dumps(settings, ensure_ascii=False).encode()
        for name, each in {SETTINGS: content, **files}.items():
            entry = zipfile.ZipInfo(name)  # with a fixed date
            file.writestr(entry, each, compress_type=zipfile.ZIP_DEFLATED, compresslevel=6)
    return archive.getvalue()


def unpack(asset: bytes, name: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Settings and files of `pack`.

    Args:
        asset: the archive.
        name: its file name, for the message.
    Raises:
        UserError: it is none.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(asset)) as archive:
            files = {each: archive.read(each) for each in archive.namelist()}
        return json.loads(files.pop(SETTINGS)), files
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(
            f"{name} is damaged: {error}. Expected the archive that Tokenizer.save wrote; import the checkpoint again, "
            "or copy the folder again."
        ) from error
