"""Bearer tokens in a file: what the server accepts, and what a client sends. No TensorFlow here."""

import os
import re
import stat

from tflm.errors import UserError
from tflm.files.encodings import decode_text

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # b64token of RFC 6750, section 2.1
_SHORTEST = 16
_MAKE_ONE = "Make one with: openssl rand -hex 32"


def read_tokens(path: str, flag: str) -> list[str]:
    """The tokens of a file, one a line, without empty lines and those that begin with "#".

    >>> read_tokens("tokens.txt", "auth_token_file")       # of '# until May\\n0123456789abcdef\\n'
    ['0123456789abcdef']

    Args:
        flag: that names the file, for messages. No message has a token in it.
    Raises:
        UserError: a file that cannot be read, that other users can read, or that has no token or a bad one.
    """
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = decode_text(file.read(), f"--{flag}={path}")
    except OSError as error:
        raise UserError(f"--{flag}={path} cannot be read: {error.strerror}.") from error
    if os.name == "posix" and mode & (stat.S_IROTH | stat.S_IWOTH):
        raise UserError(
            f"--{flag}={path} is readable by all users of this machine (mode {mode:o}). "
            f"Restrict it: chmod 600 {path}"
        )
    tokens = []
    for number, line in enumerate(map(str.strip, re.split("\r\n?|\n", text)), 1):
        if line and not line.startswith("#"):
            tokens.append(check_token(line, f"--{flag}={path}, line {number}"))
    if not tokens:
        raise UserError(f"--{flag}={path} has no token. Expected one a line. {_MAKE_ONE}")
    return tokens


def check_token(token: str, where: str) -> str:
    """The token.

    Args:
        where: it comes from, for the message.
    Raises:
        UserError: not of RFC 6750's characters, or so short that it can be guessed. Does not say the token.
    """
    if not _TOKEN.fullmatch(token):
        raise UserError(
            f"{where}: the token has a character that tokens do not have. Expected letters, digits and . _ ~ + / - , "
            f"with = at the end alone. {_MAKE_ONE}"
        )
    if len(token) < _SHORTEST:
        raise UserError(
            f"{where}: the token has {len(token)} characters, which can be guessed; expected {_SHORTEST} at least. "
            f"{_MAKE_ONE}"
        )
    return token
