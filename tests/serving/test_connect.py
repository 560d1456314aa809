"""`connect` takes a folder or a URL; `tests/serving/client/test_rest.py` has the URLs."""

import subprocess
import sys

import pytest

from tflm.errors import UsageError, UserError
from tflm.serving import connect


def test_a_folder_is_opened(tmp_path):
    with pytest.raises(UserError, match=r"neither saved_model.pb nor a version folder"):
        connect(str(tmp_path))


def test_a_folder_takes_no_token(tmp_path):
    words = (
        r"is a folder, which takes no ca_file and no token\. They go with a server's URL, such as https://"
    )
    with pytest.raises(UsageError, match=words) as caught:
        connect(str(tmp_path), token="0123456789abcdef", ca_file="x")
    assert "0123" not in str(caught.value)
    with pytest.raises(UserError, match=r"neither saved_model.pb"):
        connect(str(tmp_path), token=None)


SECRET = "s3cret0123456789"


@pytest.mark.parametrize(
    "form", ["http://{}/v1/models/m", "https://{}/v1/models/m", "grpc://{}/m", "grpcs://{}/m"]
)
@pytest.mark.parametrize(
    "place",
    [
        f"{SECRET}@h:1",
        f"user:{SECRET}@h:1",
        f"user:{SECRET}/x@h:1",
        f"u:{SECRET}#@h:x",
        f"h:1/m?token=a@{SECRET}",
    ],
)
def test_no_password_in_a_url(form, place):
    words = "The model's URL has an @, .* a user name or a password, .* give a token by TFLM_TOKEN or --token_file"
    with pytest.raises(UsageError, match=words) as caught:
        connect(form.format(place))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("end", [f"?token={SECRET}", f"#{SECRET}"])
def test_no_query_in_a_url(end):
    for url in ("http://h:1/v1/models/m", "grpc://h:1/m"):
        words = rf"'{url}' was given with a query behind it, which no model has\. Expected (http|grpc)://host"
        with pytest.raises(UsageError, match=words) as caught:
            connect(url + end)
        assert SECRET not in str(caught.value)


def test_the_package_imports_nothing_heavy():
    """The REST client needs no gRPC, neither of the clients TensorFlow."""
    script = (
        "import sys, tflm.serving.client.rest; print([n for n in ('tensorflow', 'grpc') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"
