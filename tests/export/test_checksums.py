"""One changed bit, a lost file and a foreign one are all noticed."""

import pytest

from tflm.errors import UserError
from tflm.export.checksums import verify_checksums, write_checksums


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(bytes(range(256)))
    (tmp_path / "卡.md").write_text("你好", encoding="utf-8")
    write_checksums(str(tmp_path))
    verify_checksums(str(tmp_path))
    return tmp_path


def test_a_flipped_bit(folder):
    data = bytearray((folder / "variables" / "data").read_bytes())
    data[100] ^= 1
    (folder / "variables" / "data").write_bytes(data)
    with pytest.raises(UserError, match=r"not what was exported: variables/data has changed. Copy or export"):
        verify_checksums(str(folder))


def test_a_missing_and_a_foreign_file(folder):
    (folder / "卡.md").rename(folder / "card.md")
    with pytest.raises(UserError, match=r"card.md is not in the list; 卡.md is missing"):
        verify_checksums(str(folder))


def test_no_list(tmp_path):
    with pytest.raises(UserError, match=r"has no readable checksums.json"):
        verify_checksums(str(tmp_path))
