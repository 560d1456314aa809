"""The base class of remote models: checks requests and reads the config, whatever the protocol."""

import abc
import functools
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np

from tflm.errors import UsageError
from tflm.serving.about import read_config
from tflm.serving.signature import Signature, find_signature


class RemoteModel(abc.ABC):
    """A served model, used as if it were a folder. Thread-safe.

    Attributes:
        path: the URL.
        signatures: name to `Signature`: dtypes and shapes of its inputs and outputs.
        card: empty; a server does not tell it.
    """

    path: str
    signatures: dict[str, Signature]
    card = ""

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The config, by the signature `about`; empty without one."""
        return read_config(self)

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs a signature on a batch, on the server.

        Args:
            signature: its name.
            inputs: input name to values of the declared rank, such as `[B]` or `[B, L, H]`, as lists or an array:
                strings (or UTF-8 bytes), integers, floats or booleans.
        Returns:
            Output name to array, batch first; strings come as bytes in an object array.
        Raises:
            UserError: a request that the model does not take; `RequestError` where it was the server that found it.
            ServerError: no connection, a lost connection, a timeout or a failure; `tflm.serving.client.remote` has the
                kinds.
        """
        declared = find_signature(self.signatures, signature, self.path)
        return self._ask(signature, declared, declared.arrays(signature, inputs))

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the connections."""

    @abc.abstractmethod
    def _ask(
        self, name: str, signature: Signature, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """What the server answers to a request that fits the signature."""

    def __enter__(self) -> "RemoteModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def split_url(url: str, form: str) -> urllib.parse.SplitResult:
    """The parts of a URL; none if its host or its port cannot be one.

    Args:
        form: what is expected, for the message.
    Raises:
        UsageError: a URL with a user name, a query or a fragment. The message has none of them: they may be secret.
    """
    if "@" in url:  # the text on either side may be a secret
        raise UsageError(
            "The model's URL has an @, which ends a user name or a password, and logs would show them. Leave them out, "
            "and give a token by TFLM_TOKEN or --token_file. (An @ in a model's name is written %40.)"
        )
    if "?" in url or "#" in url:
        bare = url.partition("?")[0].partition("#")[0]
        raise UsageError(f"{bare!r} was given with a query behind it, which no model has. Expected {form}.")
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError:
        return urllib.parse.urlsplit("")
    is_clean = parts.netloc.isprintable() and " " not in parts.netloc
    return parts if is_clean else urllib.parse.urlsplit("")
