"""`connect` takes a folder; URLs are for a later version and say so."""

import pytest

from tflm.errors import UsageError, UserError
from tflm.serving import connect


@pytest.mark.parametrize(
    "url", ["http://localhost:8501/v1/models/m", "https://h/m", "grpc://localhost:8500/m"]
)
def test_urls_are_not_there_yet(url):
    with pytest.raises(
        UsageError, match=r"servers come in a later one. Give the folder, such as saved_models/NAME"
    ):
        connect(url)


def test_a_folder_is_opened(tmp_path):
    with pytest.raises(UserError, match=r"neither saved_model.pb nor a version folder"):
        connect(str(tmp_path))
