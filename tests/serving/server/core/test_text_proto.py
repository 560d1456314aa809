"""Text files of protocol buffers, read strictly."""

import pytest

from tflm.errors import UserError
from tflm.serving.protos.server_config_pb2 import BatchingParameters, SSLConfig
from tflm.serving.server.core.text_proto import read_text_proto


@pytest.fixture
def read(tmp_path):
    def from_bytes(content, message=None):
        path = tmp_path / "ssl.txt"
        path.write_bytes(content)
        return read_text_proto(str(path), "ssl_file", message or SSLConfig(), 'server_key: "A"')

    return from_bytes


def test_fields_of_every_kind(read):
    config = read('server_key: "三体" client_verify: true'.encode())
    assert (config.server_key, config.client_verify) == ("三体", True)
    config = read(b"max_batch_size { value: 9 } allowed_batch_sizes: [3, -4]", BatchingParameters())
    assert (config.max_batch_size.value, list(config.allowed_batch_sizes)) == (9, [3, -4])


def test_what_is_wrong_is_said(read):
    with pytest.raises(
        UserError,
        match=r"--ssl_file=.*: line 2:.*Serving's SSLConfig, such as: server_key: \"A\" It may have: server_key,",
    ):
        read(b'server_key: "a"\nauthor: "b"')
    with pytest.raises(UserError, match=r"--ssl_file=.* is not UTF-8: .*; save the file as UTF-8"):
        read(b"server_key: '\xff'")
    with pytest.raises(UserError, match=r"--ssl_file=.* looks like UTF-16-LE without a byte-order mark"):
        read('server_key: "三体"'.encode("utf-16-le"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark(read, encoding):
    assert read('server_key: "三体"\r\n'.encode(encoding)).server_key == "三体"
