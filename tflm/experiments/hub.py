"""Checkpoints from a model hub, by its own client: `hf://OWNER/NAME[@REVISION]` and `modelscope://OWNER/NAME`."""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tflm.errors import UserError

_TEXTS = (".json", ".jinja", ".txt", ".model")
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
_INDEX = ".index.json"
_PARTS = re.compile(r"\d+_\w+")
"""Folders of sentence-transformers: 0_Transformer, 1_Pooling, 2_Normalize."""
_FORMS = "{scheme}://OWNER/NAME, with @REVISION behind it if need be, or {scheme}://OWNER/NAME/FILE.gguf"


def download(checkpoint: str, note_fn: Callable[[str], None] = lambda text: None) -> str:
    """A local folder or file.

    Args:
        checkpoint: a path, which is returned as it is; or `hf://OWNER/NAME` or `modelscope://OWNER/NAME`, both with
            `/FILE.gguf` behind it for one file of GGUF, and with `@REVISION` if need be. What was downloaded before is
            found again in the client's own cache, also without a connection.
        note_fn: called before a download.
    Raises:
        UserError: no such checkpoint, no connection, a damaged file, or the client is not installed.
    """
    scheme, found, name = checkpoint.partition("://")
    if not found:
        if not os.path.exists(checkpoint):
            hint = f" Is it hf://{checkpoint}?" if checkpoint.count("/") == 1 else ""
            raise UserError(
                f"no file or folder {checkpoint!r}. A checkpoint is a folder, a .gguf file, hf://OWNER/NAME or "
                f"modelscope://OWNER/NAME.{hint}"
            )
        return checkpoint
    if scheme not in _HUBS:
        raise UserError(f"{checkpoint!r} begins with {scheme}://; supported: hf:// and modelscope://.")
    name, _, revision = name.partition("@")
    owner, _, rest = name.partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name or (file and not file.endswith(".gguf")):
        raise UserError(f"{checkpoint!r} is not {_FORMS.format(scheme=scheme)}.")
    note_fn(f"downloading {checkpoint}; what is there already is not downloaded again.")
    folder = _HUBS[scheme](checkpoint, f"{owner}/{name}", revision or None, file)
    return os.path.join(folder, file) if file else folder


def wanted_files(checkpoint: str, listed: Iterable[str], file: str = "") -> list[str]:
    """Those that an import reads, of all files of a repository.

    >>> wanted_files("hf://a/b", ["README.md", "config.json", "model.safetensors", "pytorch_model.bin"])
    ['config.json', 'model.safetensors']

    Args:
        checkpoint: for messages.
        listed: paths in the repository.
        file: the only one that is wanted; "" for a whole checkpoint.
    Raises:
        UserError: there is no such file, or there are no weights in a format that is supported.
    """
    listed = sorted(listed)
    ggufs = [path for path in listed if path.endswith(".gguf")]
    if file:
        if file not in listed:
            raise UserError(f"{checkpoint!r} has no file {file!r}; found: {', '.join(ggufs) or 'no .gguf'}.")
        return [file]
    found = [path for path in listed if not os.path.dirname(path) or _PARTS.fullmatch(os.path.dirname(path))]
    texts = [path for path in found if path.endswith(_TEXTS) and not path.endswith(_INDEX)]
    for pattern in (_WEIGHTS, _PICKLED):
        weights = [path for path in found if pattern.fullmatch(os.path.basename(path).removesuffix(_INDEX))]
        if weights:
            return [*texts, *weights]
    if ggufs:
        where = checkpoint.partition("@")[0]
        raise UserError(f"{checkpoint!r} has files of GGUF: give one of them, such as {where}/{ggufs[0]}.")
    raise UserError(
        f"{checkpoint!r} has no weights that are supported: expected model.safetensors, pytorch_model.bin or a .gguf "
        f"file; found: {', '.join(listed[:8]) or 'no files'}{', ...' if len(listed) > 8 else ''}."
    )


def _from_hugging_face(checkpoint: str, name: str, revision: str | None, file: str) -> str:
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors
        from huggingface_hub.utils import disable_progress_bars
    except ImportError as error:
        raise UserError('hf:// needs the client of that hub: pip install "tflm[hub]".') from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    endpoint = constants.ENDPOINT
    try:
        try:
            timeout = constants.HF_HUB_ETAG_TIMEOUT
            info = huggingface_hub.HfApi().model_info(
                name, revision=revision, files_metadata=True, timeout=timeout
            )
        except errors.HfHubHTTPError:
            raise
        except (errors.HTTPError, OSError) as error:  # no answer; what is there may be enough
            return _cached(huggingface_hub, name, revision, error, file)
        described = {each.rfilename: each for each in info.siblings or ()}
        wanted = wanted_files(checkpoint, described, file)
        folder = _fetch(huggingface_hub, name, revision, wanted)
        _check_sums(checkpoint, folder, [described[each] for each in wanted])
        return folder
    except errors.GatedRepoError as error:
        raise UserError(
            f"{checkpoint!r} is gated: accept its licence at {endpoint}/{name}, and set HF_TOKEN to a token of the "
            "same account."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{checkpoint!r} is not on the hub {endpoint}, or is private. Check the name; for a private one set "
            "HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{checkpoint!r}: {name} has no revision {revision!r}. Give a branch, a tag or a commit of it, or none."
        ) from error
    except UserError:
        raise
    except _Unreachable as error:
        raise UserError(
            f"cannot download {checkpoint!r}: no answer from {endpoint} ({_first_line(error)}), and it is not in the "
            "cache. Check the connection; for another address of the hub set HF_ENDPOINT."
        ) from error
    except (errors.HTTPError, OSError, ValueError, AssertionError) as error:
        raise _failed(checkpoint, error) from error


class _Unreachable(Exception):
    """No answer, and nothing in the cache."""


def _cached(client: Any, name: str, revision: str | None, reason: Exception, file: str) -> str:
    """The folder of an earlier download, where the hub does not answer."""
    try:
        if file:
            path = client.hf_hub_download(name, file, revision=revision, local_files_only=True)
            return path.removesuffix(file).rstrip("/")
        return client.snapshot_download(name, revision=revision, local_files_only=True)
    except (OSError, ValueError):
        raise _Unreachable(_first_line(reason)) from reason


def _fetch(client: Any, name: str, revision: str | None, files: Sequence[str]) -> str:
    """Downloads files, one after the other; the folder that they are in.

    Not by `snapshot_download`, whose requests for the list of files have no time limit.
    """
    folders = set()
    for file in files:
        path = client.hf_hub_download(name, file, revision=revision)
        folders.add(path.removesuffix(file).rstrip("/"))
    if len(folders) != 1:
        raise OSError("its files changed during the download")
    return folders.pop()


def _check_sums(checkpoint: str, folder: str, described: Sequence[Any]) -> None:
    """Compares files with their checksums at the hub, which the client does not do. A damaged one is removed from the
    cache.

    Raises:
        UserError: one differs.
    """
    for each in described:
        path = os.path.join(folder, each.rfilename)
        expected = each.lfs.sha256 if each.lfs else each.blob_id
        if expected is None:
            continue
        found = _sha256(path) if each.lfs else _git_hash(path)
        if found != expected:
            for place in {os.path.realpath(path), path}:
                os.remove(place)
            raise UserError(
                f"{each.rfilename} of {checkpoint!r} is damaged: its checksum is {found[:16]}..., at the hub "
                f"{expected[:16]}.... It was removed from the cache: run the command again."
            )


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_hash(path: str) -> str:
    """The name that git gives to a file's content."""
    with open(path, "rb") as file:
        content = file.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _from_modelscope(checkpoint: str, name: str, revision: str | None, file: str) -> str:
    os.environ.setdefault("MODELSCOPE_LOG_LEVEL", "30")  # warnings; its client reports every step
    try:
        import modelscope
        from modelscope.hub.api import HubApi
    except ImportError as error:
        raise UserError(
            'modelscope:// needs the client of that hub: pip install "tflm[modelscope]".'
        ) from error
    try:
        listed = [each["Path"] for each in HubApi().get_model_files(name, revision=revision, recursive=True)]
        wanted = wanted_files(checkpoint, listed, file)
        return str(modelscope.snapshot_download(name, revision=revision, allow_patterns=wanted))
    except UserError:
        raise
    except Exception as error:  # its client raises errors of several libraries
        if not isinstance(error, ConnectionError | TimeoutError):
            raise _failed(checkpoint, error) from error
        return _cached_by_modelscope(modelscope, checkpoint, name, revision or "master", file, error)


def _cached_by_modelscope(
    client: Any, checkpoint: str, name: str, revision: str, file: str, reason: Exception
) -> str:
    """The folder of an earlier download, where the hub does not answer."""
    try:
        folder = str(client.snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # as above
        raise _failed(checkpoint, reason) from reason
    if file and not os.path.isfile(os.path.join(folder, file)):
        raise _failed(checkpoint, reason) from reason
    return folder


def _failed(checkpoint: str, error: BaseException) -> UserError:
    failed = getattr(error, "failed_files", {})  # of ModelScope
    reasons = [f"{name}: {_first_line(each)}" for name, each in failed.items()] or [_first_line(error)]
    reason = "; ".join(reasons).rstrip(".")
    return UserError(
        f"cannot download {checkpoint!r}: {reason}. Check the name and the connection, and run the command again; it "
        "goes on where it stopped."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_HUBS = {"hf": _from_hugging_face, "modelscope": _from_modelscope}
