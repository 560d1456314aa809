"""Files of tokens: what is read, and what is refused without being shown."""

import pytest

from tflm.errors import UserError
from tflm.serving.tokens import check_token, read_tokens

TOKEN = "0123456789abcdef"


def write(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_one_a_line(tmp_path):
    content = f"# for 小明\n{TOKEN}\n\n  {TOKEN}._~+/-==  \r\n#{TOKEN}\n".encode()
    assert read_tokens(write(tmp_path / "t", content), "token_file") == [TOKEN, f"{TOKEN}._~+/-=="]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_from_a_windows_editor(tmp_path, encoding):
    content = f"# 令牌\r\n{TOKEN}\r\n".encode(encoding)
    assert read_tokens(write(tmp_path / "t", content), "token_file") == [TOKEN]


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o777])
def test_open_to_all(tmp_path, mode):
    path = write(tmp_path / "t", TOKEN.encode(), mode)
    with pytest.raises(
        UserError, match=rf"is readable by all users of this machine \(mode {mode:o}\).*chmod 600 {path}"
    ):
        read_tokens(path, "token_file")


def test_the_owner_and_the_group_may_read(tmp_path):
    for mode in (0o400, 0o600, 0o640):
        assert read_tokens(write(tmp_path / f"{mode}", TOKEN.encode(), mode), "token_file") == [TOKEN]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"# nothing\n\n", "has no token. Expected one a line. Make one with: openssl rand -hex 32"),
        (b"\xff\xff", "is not UTF-8: .*; save the file as UTF-8"),
        (TOKEN.encode("utf-16-le"), "looks like UTF-16-LE without a byte-order mark; save the file as UTF-8"),
        (b"# a\nsecret secret secret", r", line 2: the token has a character that tokens do not have"),
        ("秘密秘密秘密秘密秘密秘密秘密秘密".encode(), ", line 1: the token has a character"),
        (
            b"secret-12345678",
            ", line 1: the token has 15 characters, which can be guessed; expected 16 at least",
        ),
    ],
    ids=range(6),
)
def test_bad_ones(tmp_path, content, words):
    with pytest.raises(UserError, match=rf"--auth_token_file=.*{words}") as caught:
        read_tokens(write(tmp_path / "t", content), "auth_token_file")
    assert "secret" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"--token_file=\S+none cannot be read: No such file"):
        read_tokens(f"{tmp_path}/none", "token_file")


@pytest.mark.parametrize("token", ["a" * 15 + "\n" + "b", "a" * 16 + "=b", "Bearer " + "a" * 16])
def test_a_token_cannot_forge_a_header(token):
    with pytest.raises(UserError, match="TFLM_TOKEN: the token has a character"):
        check_token(token, "TFLM_TOKEN")
