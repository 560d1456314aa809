"""`connect` takes a folder or a URL; `tests/serving/test_client.py` has the URLs."""

import subprocess
import sys

import pytest

from tflm.errors import UserError
from tflm.serving import connect


def test_a_folder_is_opened(tmp_path):
    with pytest.raises(UserError, match=r"neither saved_model.pb nor a version folder"):
        connect(str(tmp_path))


def test_the_package_imports_nothing_heavy():
    script = "import sys, tflm.serving.client; print([n for n in ('tensorflow', 'grpc') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
